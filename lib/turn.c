/* SPDX-License-Identifier: MIT */
/*
 * The writer's turn, and the futex calls beneath it.
 *
 * A turn is mostly shorter than a sleep and its wake-up. So who comes while it is taken first lets others run a few times, and
 * a turn that becomes free is had by whoever runs: were it handed to one that must be woken first, all that come meanwhile
 * would have to sleep too, and each of them be woken. Who sleeps stands in a queue; the first one is roused when the turn
 * becomes free, to try again. Once it has waited for TURN_PATIENCE_NS the turn is handed to it and nobody can slip in
 * between. (The two modes of Go's sync.Mutex.)
 *
 * Each waiter is on its own stack and sleeps on a word of its own, which is changed under the mutex only. GRANTED and CLOSED
 * take it out of the queue: from then on it may return and its stack be reused, so whoever changed the word may use its
 * address as a key for the wake, but not touch it. A wake that hits somebody else by this is one that every futex user has
 * to bear. A waiter whose time is up takes the mutex and looks: what was GRANTED must be kept, or the turn would be lost.
 */
#include "turn.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ROUSED: woken to take the turn if it is free; at most one waiter, the first. */
enum waiter_state { WAITER_SLEEPING, WAITER_ROUSED, WAITER_GRANTED, WAITER_CLOSED };

#define YIELDS 4

struct turn_waiter {
	struct turn_waiter *next, *previous;
	uint64_t since_ns;
	_Atomic uint32_t state; /* enum waiter_state */
	bool service;
	bool tries; /* waits as long as the service has the turn, for no transaction */
};

int futex_wait(const _Atomic uint32_t *word, uint32_t value, int64_t timeout_ns)
{
	struct timespec timeout = { 0 };
	int saved_errno = errno;
	int error = 0;

	if (timeout_ns >= 0) {
		timeout.tv_sec = timeout_ns / (int64_t)NS_PER_S;
		timeout.tv_nsec = timeout_ns % (int64_t)NS_PER_S;
	}
	if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns >= 0 ? &timeout : NULL, NULL, 0) < 0)
		error = errno;
	errno = saved_errno;
	/* A signal ends the wait as a wake without reason does; the caller looks at the word again in any case. */
	return error == EINTR ? 0 : -error;
}

void futex_wake(_Atomic uint32_t *word, int count)
{
	int saved_errno = errno;

	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
	errno = saved_errno;
}

int turn_init(struct turn *turn)
{
	*turn = (struct turn){ 0 };
	return -pthread_mutex_init(&turn->mutex, NULL);
}

void turn_release_all(struct turn *turn)
{
	assert(!turn->first);
	pthread_mutex_destroy(&turn->mutex);
}

static void queue_append(struct turn *turn, struct turn_waiter *waiter)
{
	waiter->previous = turn->last;
	if (turn->last)
		turn->last->next = waiter;
	else
		turn->first = waiter;
	turn->last = waiter;
}

static void queue_remove(struct turn *turn, struct turn_waiter *waiter)
{
	if (waiter->previous)
		waiter->previous->next = waiter->next;
	else
		turn->first = waiter->next;
	if (waiter->next)
		waiter->next->previous = waiter->previous;
	else
		turn->last = waiter->previous;
}

/* Tells a waiter its new state. It may be gone on return when that takes it out of the queue: the result is for futex_wake
 * only. */
static _Atomic uint32_t *tell(struct turn *turn, struct turn_waiter *waiter, enum waiter_state state)
{
	_Atomic uint32_t *word = &waiter->state;

	turn->roused = state == WAITER_ROUSED;
	if (state != WAITER_ROUSED)
		queue_remove(turn, waiter);
	atomic_store_explicit(word, state, memory_order_release);
	return word;
}

/* The mutex is held. */
static bool take_free(struct turn *turn, bool service)
{
	if (turn->taken)
		return false;
	turn->taken = true;
	turn->service = service;
	return true;
}

/* Whether the turn could be had while others were let run. */
static bool take_soon(struct turn *turn, bool service)
{
	bool taken = false;

	for (unsigned i = 0; i < YIELDS && !taken; i++) {
		sched_yield();
		pthread_mutex_lock(&turn->mutex);
		taken = !turn->closed && take_free(turn, service);
		pthread_mutex_unlock(&turn->mutex);
	}
	return taken;
}

/* A waiter that is awake looks what has become of it. The mutex is held. 1: it is to sleep on. */
static int look(struct turn *turn, struct turn_waiter *waiter, bool late)
{
	uint32_t state = atomic_load_explicit(&waiter->state, memory_order_relaxed);
	bool free = false, busy;

	if (state == WAITER_GRANTED || state == WAITER_CLOSED)
		return state == WAITER_GRANTED ? 0 : SLF_EBADHANDLE;
	free = take_free(turn, waiter->service);
	if (state == WAITER_ROUSED)
		turn->roused = false;
	busy = waiter->tries && !turn->service;
	if (free || late || busy) {
		queue_remove(turn, waiter);
		return free ? 0 : late ? -ETIMEDOUT : -EBUSY;
	}
	atomic_store_explicit(&waiter->state, WAITER_SLEEPING, memory_order_relaxed);
	return 1;
}

/* Called with the mutex held, left without. deadline_ns: 0 for none. */
static int sleep_in_queue(struct turn *turn, bool service, bool tries, uint64_t deadline_ns)
{
	struct turn_waiter waiter = { .service = service, .tries = tries, .since_ns = clock_now_ns() };
	int result = 1;

	queue_append(turn, &waiter);
	while (result == 1) {
		uint64_t now_ns = clock_now_ns();
		bool late = deadline_ns && now_ns >= deadline_ns;

		pthread_mutex_unlock(&turn->mutex);
		if (!late)
			late = futex_wait(&waiter.state, WAITER_SLEEPING,
					  deadline_ns ? (int64_t)(deadline_ns - now_ns) : -1) == -ETIMEDOUT;
		pthread_mutex_lock(&turn->mutex);
		result = look(turn, &waiter, late);
	}
	pthread_mutex_unlock(&turn->mutex);
	return result;
}

/* 0, a failure, or 1: it is to be waited for. Who only tries waits for the service, which has it for a moment, where nobody comes
 * first. The mutex is held. */
static int try_take(struct turn *turn, bool service, bool tries)
{
	if (turn->closed)
		return SLF_EBADHANDLE;
	if (take_free(turn, service))
		return 0;
	return tries && (!turn->service || turn->first) ? -EBUSY : 1;
}

static int take(struct turn *turn, int64_t timeout_ns, bool service)
{
	uint64_t deadline_ns = timeout_ns > 0 ? clock_now_ns() + (uint64_t)timeout_ns : 0;
	bool tries = timeout_ns == 0;
	int result;

	pthread_mutex_lock(&turn->mutex);
	result = try_take(turn, service, tries);
	pthread_mutex_unlock(&turn->mutex);
	if (result != 1)
		return result;
	if (take_soon(turn, service))
		return 0;
	pthread_mutex_lock(&turn->mutex);
	result = try_take(turn, service, tries);
	if (result == 1)
		return sleep_in_queue(turn, service, tries, deadline_ns);
	pthread_mutex_unlock(&turn->mutex);
	return result;
}

int turn_take(struct turn *turn, int64_t timeout_ns)
{
	return take(turn, timeout_ns, false);
}

int turn_take_service(struct turn *turn)
{
	return take(turn, -1, true);
}

void turn_pass(struct turn *turn)
{
	_Atomic uint32_t *word = NULL;

	pthread_mutex_lock(&turn->mutex);
	assert(turn->taken);
	if (turn->first && clock_now_ns() - turn->first->since_ns >= TURN_PATIENCE_NS) {
		turn->service = turn->first->service;
		word = tell(turn, turn->first, WAITER_GRANTED);
	} else {
		turn->taken = false;
		if (turn->first && !turn->roused)
			word = tell(turn, turn->first, WAITER_ROUSED);
	}
	pthread_mutex_unlock(&turn->mutex);
	if (word)
		futex_wake(word, 1);
}

void turn_close(struct turn *turn)
{
	pthread_mutex_lock(&turn->mutex);
	turn->closed = true;
	while (turn->first)
		futex_wake(tell(turn, turn->first, WAITER_CLOSED), 1);
	pthread_mutex_unlock(&turn->mutex);
}
