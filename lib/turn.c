/* SPDX-License-Identifier: MIT */
/*
 * The writer's turn, and the futex calls beneath it.
 *
 * Each waiter stands on its own stack in a queue and sleeps on a word of its own, so a hand-over wakes exactly one
 * thread. The turn stays taken while it is handed over: nobody who arrives later can slip in between.
 *
 * A waiter's word leaves WAITING and SLEEPING once, under the mutex, at the moment it is taken out of the queue. So a
 * waiter whose time is up takes the mutex and looks: still waiting means that it leaves the queue itself; GRANTED means that the
 * turn was given to it meanwhile, and it must keep it, or the turn would be lost. As soon as the word has changed the
 * waiter may return and its stack be reused: from then on whoever changed it may use the word's address as a key for
 * the wake, but not touch it. A wake that hits somebody else by this is one that every futex user has to bear.
 */
#include "turn.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* SLEEPING is WAITING with a call into the kernel under way, so whoever dismisses it has to wake it. */
enum waiter_state { WAITER_WAITING, WAITER_SLEEPING, WAITER_GRANTED, WAITER_CLOSED };

/* How often a waiter lets others run before it sleeps. A turn is mostly shorter than a sleep and its wake-up, and the
 * holder may be one of those who want the processor. */
#define YIELDS 4

struct turn_waiter {
	struct turn_waiter *next, *previous;
	_Atomic uint32_t state; /* enum waiter_state */
	bool service;
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

/* Takes the first waiter out and tells it why. The waiter may be gone on return: the result is for futex_wake only; NULL
 * when it is awake. */
static _Atomic uint32_t *queue_dismiss_first(struct turn *turn, enum waiter_state state)
{
	struct turn_waiter *waiter = turn->first;
	_Atomic uint32_t *word = &waiter->state;

	queue_remove(turn, waiter);
	turn->service = waiter->service;
	return atomic_exchange_explicit(word, state, memory_order_acq_rel) == WAITER_SLEEPING ? word : NULL;
}

static bool is_waiting(enum waiter_state state)
{
	return state == WAITER_WAITING || state == WAITER_SLEEPING;
}

/* Sleeps until the waiter's word changes or the time is up, and tells what the word says then. */
static enum waiter_state waiter_sleep(struct turn_waiter *waiter, int64_t timeout_ns)
{
	uint64_t deadline_ns = timeout_ns < 0 ? 0 : clock_now_ns() + (uint64_t)timeout_ns;
	uint32_t state = WAITER_WAITING;
	int64_t left_ns = timeout_ns;

	for (unsigned i = 0; i < YIELDS; i++) {
		sched_yield();
		state = atomic_load_explicit(&waiter->state, memory_order_acquire);
		if (!is_waiting(state))
			return state;
	}
	for (;;) {
		state = WAITER_WAITING;
		if (!atomic_compare_exchange_strong_explicit(&waiter->state, &state, WAITER_SLEEPING,
							     memory_order_acquire, memory_order_acquire) &&
		    state != WAITER_SLEEPING)
			return state;
		if (timeout_ns >= 0) {
			left_ns = (int64_t)(deadline_ns - clock_now_ns());
			if (left_ns <= 0)
				return WAITER_WAITING;
		}
		futex_wait(&waiter->state, WAITER_SLEEPING, left_ns);
	}
}

static int take(struct turn *turn, int64_t timeout_ns, bool service)
{
	struct turn_waiter waiter = { .service = service };
	enum waiter_state state = WAITER_GRANTED;
	int result = 0;

	pthread_mutex_lock(&turn->mutex);
	if (turn->closed) {
		result = SLF_EBADHANDLE;
	} else if (!turn->taken) {
		turn->taken = true;
		turn->service = service;
	} else if (timeout_ns == 0 && (!turn->service || turn->first)) {
		result = -EBUSY;
	} else {
		if (timeout_ns == 0) /* held for a moment only, and nobody comes first */
			timeout_ns = -1;
		queue_append(turn, &waiter);
		state = WAITER_WAITING;
	}
	pthread_mutex_unlock(&turn->mutex);
	if (state == WAITER_GRANTED)
		return result;

	state = waiter_sleep(&waiter, timeout_ns);
	if (is_waiting(state)) {
		pthread_mutex_lock(&turn->mutex);
		state = atomic_load_explicit(&waiter.state, memory_order_acquire);
		if (is_waiting(state))
			queue_remove(turn, &waiter);
		pthread_mutex_unlock(&turn->mutex);
	}
	if (is_waiting(state))
		return -ETIMEDOUT;
	return state == WAITER_CLOSED ? SLF_EBADHANDLE : 0;
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
	if (turn->first)
		word = queue_dismiss_first(turn, WAITER_GRANTED);
	else
		turn->taken = false;
	pthread_mutex_unlock(&turn->mutex);
	if (word)
		futex_wake(word, 1);
}

void turn_close(struct turn *turn)
{
	pthread_mutex_lock(&turn->mutex);
	turn->closed = true;
	while (turn->first) {
		_Atomic uint32_t *word = queue_dismiss_first(turn, WAITER_CLOSED);

		if (word)
			futex_wake(word, 1);
	}
	pthread_mutex_unlock(&turn->mutex);
}

bool turn_wanted(struct turn *turn)
{
	bool wanted = false;

	pthread_mutex_lock(&turn->mutex);
	wanted = turn->first;
	pthread_mutex_unlock(&turn->mutex);
	return wanted;
}
