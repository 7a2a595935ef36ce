/* SPDX-License-Identifier: MIT */
/* The writer's turn: order, tries, timeouts, closing, and the races between them. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

#include "scratch.h"
#include "turn.h"

#define MS ((int64_t)1000000)

static void nap(int64_t ns)
{
	struct timespec time = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	nanosleep(&time, NULL);
}

struct waiter {
	pthread_t thread;
	struct turn *turn;
	int64_t timeout_ns;
	int result;
	unsigned *order; /* the turn guards it */
	unsigned place;
};

static void *waiter_run(void *context)
{
	struct waiter *waiter = context;

	waiter->result = turn_take(waiter->turn, waiter->timeout_ns);
	if (waiter->result == 0) {
		waiter->place = (*waiter->order)++;
		turn_pass(waiter->turn);
	}
	return NULL;
}

static struct turn_waiter *queue_last(struct turn *turn)
{
	struct turn_waiter *last = NULL;

	pthread_mutex_lock(&turn->mutex);
	last = turn->last;
	pthread_mutex_unlock(&turn->mutex);
	return last;
}

/* Starts a waiter and returns when it stands in the queue, which nobody may leave meanwhile. */
static void waiter_start(struct waiter *waiter, struct turn *turn, unsigned *order, int64_t timeout_ns)
{
	struct turn_waiter *before = queue_last(turn);

	*waiter = (struct waiter){ .turn = turn, .timeout_ns = timeout_ns, .order = order, .place = 1000 };
	must(pthread_create(&waiter->thread, NULL, waiter_run, waiter) == 0);
	while (queue_last(turn) == before)
		nap(MS / 20);
}

static void waiter_join(struct waiter *waiter)
{
	must(pthread_join(waiter->thread, NULL) == 0);
}

/* A free turn would not be given, or a taken one would be given twice. */
Test(turn, taken_once)
{
	struct turn turn;

	cr_assert_eq(turn_init(&turn), 0);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(turn_take(&turn, i ? -1 : 0), 0);
		cr_assert_eq(turn_take(&turn, 0), -EBUSY);
		cr_assert_not(queue_last(&turn));
		turn_pass(&turn);
	}
	turn_release_all(&turn);
}

/* A timeout would end early, or the waiter would stay in the queue and get a turn that nobody passes on. */
Test(turn, timeout)
{
	struct turn turn;
	uint64_t start_ns = 0;

	cr_assert_eq(turn_init(&turn), 0);
	cr_assert_eq(turn_take(&turn, -1), 0);
	start_ns = clock_now_ns();
	cr_assert_eq(turn_take(&turn, 20 * MS), -ETIMEDOUT);
	cr_assert_geq(clock_now_ns() - start_ns, 20 * MS);
	cr_assert_eq(turn_take(&turn, 1), -ETIMEDOUT);
	cr_assert_not(queue_last(&turn));
	turn_pass(&turn);
	cr_assert_eq(turn_take(&turn, INT64_MAX), 0);
	turn_pass(&turn);
	turn_release_all(&turn);
}

/* Who only tries would wait behind a writer that stands in the queue already, or not for the background, which is done soon. */
Test(turn, try_while_the_background_has_it)
{
	struct waiter waiter;
	unsigned order = 0;
	struct turn turn;

	cr_assert_eq(turn_init(&turn), 0);
	cr_assert_eq(turn_take_service(&turn), 0);
	waiter_start(&waiter, &turn, &order, 0);
	cr_assert_eq(turn_take(&turn, 0), -EBUSY);
	turn_pass(&turn);
	waiter_join(&waiter);
	cr_assert_eq(waiter.result, 0);
	turn_release_all(&turn);
}

/* Who only tries would wait for a writer that comes first when the background has passed the turn. */
Test(turn, try_that_comes_second, .timeout = 20)
{
	unsigned order = 0;
	bool met = false;
	struct turn turn;

	cr_assert_eq(turn_init(&turn), 0);
	for (unsigned i = 0; i < 1000 && !met; i++) {
		struct waiter waiter;
		bool first;

		cr_assert_eq(turn_take_service(&turn), 0);
		waiter_start(&waiter, &turn, &order, 0);
		turn_pass(&turn);
		first = turn_take(&turn, 0) == 0; /* unless the other one was faster, or it was handed over */
		waiter_join(&waiter); /* before it is passed on: who waits for that hangs here */
		cr_assert(waiter.result == 0 || (first && waiter.result == -EBUSY), "%d", waiter.result);
		met = waiter.result == -EBUSY;
		if (first)
			turn_pass(&turn);
	}
	cr_assert(met, "no writer was ever first");
	turn_release_all(&turn);
}

/* How long a waiter has to wait until the turn is handed to it. */
static void be_patient(void)
{
	nap(2 * (int64_t)TURN_PATIENCE_NS);
}

/* Writers that have waited would overtake each other. */
Test(turn, order_of_arrival)
{
	struct waiter waiters[8];
	unsigned order = 0;
	struct turn turn;

	cr_assert_eq(turn_init(&turn), 0);
	cr_assert_eq(turn_take(&turn, -1), 0);
	for (unsigned i = 0; i < 8; i++)
		waiter_start(&waiters[i], &turn, &order, i % 2 ? -1 : 60000 * MS);
	cr_assert(queue_last(&turn));
	be_patient();
	turn_pass(&turn);
	for (unsigned i = 0; i < 8; i++) {
		waiter_join(&waiters[i]);
		cr_assert_eq(waiters[i].result, 0);
		cr_assert_eq(waiters[i].place, i);
	}
	cr_assert_eq(turn_take(&turn, 0), 0, "the last one has passed it");
	turn_pass(&turn);
	turn_release_all(&turn);
}

static void *hold_a_while(void *context)
{
	struct turn *turn = context;

	must(turn_take(turn, -1) == 0);
	nap(30 * MS);
	turn_pass(turn);
	return NULL;
}

/* Whoever asks while the turn is handed over would get it before the one who has waited. */
Test(turn, no_overtaking_at_the_hand_over)
{
	struct turn turn;
	pthread_t thread;

	cr_assert_eq(turn_init(&turn), 0);
	cr_assert_eq(turn_take(&turn, -1), 0);
	cr_assert_eq(pthread_create(&thread, NULL, hold_a_while, &turn), 0);
	while (!queue_last(&turn))
		nap(MS / 20);
	be_patient();
	turn_pass(&turn);
	cr_assert_eq(turn_take(&turn, 0), -EBUSY);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	turn_release_all(&turn);
}

/* A waiter that leaves from the front, the middle or the end of the queue would break it. */
Test(turn, some_give_up)
{
	static const bool patient[7] = { false, true, false, false, true, true, false };
	struct waiter waiters[7];
	unsigned order = 0, expected = 0;
	struct turn turn;

	cr_assert_eq(turn_init(&turn), 0);
	cr_assert_eq(turn_take(&turn, -1), 0);
	for (unsigned i = 0; i < 7; i++)
		waiter_start(&waiters[i], &turn, &order, patient[i] ? -1 : 500 * MS);
	for (unsigned i = 0; i < 7; i++)
		if (!patient[i]) {
			waiter_join(&waiters[i]);
			cr_assert_eq(waiters[i].result, -ETIMEDOUT);
		}
	turn_pass(&turn);
	for (unsigned i = 0; i < 7; i++)
		if (patient[i]) {
			waiter_join(&waiters[i]);
			cr_assert_eq(waiters[i].result, 0);
			cr_assert_eq(waiters[i].place, expected++);
		}
	turn_release_all(&turn);
}

static void *pass_it(void *context)
{
	turn_pass(context);
	return NULL;
}

/* A transaction that is begun on one thread could not be ended on another. */
Test(turn, passed_by_another_thread)
{
	struct turn turn;
	pthread_t thread;

	cr_assert_eq(turn_init(&turn), 0);
	cr_assert_eq(turn_take(&turn, -1), 0);
	cr_assert_eq(pthread_create(&thread, NULL, pass_it, &turn), 0);
	cr_assert_eq(turn_take(&turn, 60000 * MS), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	turn_pass(&turn);
	turn_release_all(&turn);
}

/* Closing would leave waiters asleep for ever, let new ones in, or take the turn from its holder. */
Test(turn, close_while_waiting)
{
	struct waiter waiters[5];
	unsigned order = 0;
	struct turn turn;

	cr_assert_eq(turn_init(&turn), 0);
	cr_assert_eq(turn_take(&turn, -1), 0);
	for (unsigned i = 0; i < 5; i++)
		waiter_start(&waiters[i], &turn, &order, i % 2 ? -1 : 60000 * MS);
	turn_close(&turn);
	for (unsigned i = 0; i < 5; i++) {
		waiter_join(&waiters[i]);
		cr_assert_eq(waiters[i].result, SLF_EBADHANDLE);
	}
	cr_assert_not(queue_last(&turn));
	cr_assert_eq(turn_take(&turn, 0), SLF_EBADHANDLE);
	cr_assert_eq(turn_take(&turn, -1), SLF_EBADHANDLE);
	turn_pass(&turn);
	cr_assert_eq(turn_take(&turn, 10 * MS), SLF_EBADHANDLE);
	turn_close(&turn);
	turn_release_all(&turn);
}

static void on_signal(int number)
{
	(void)number;
}

static void signal_and_pass(struct turn *turn, struct waiter *waiter)
{
	for (unsigned i = 0; i < 20; i++) {
		pthread_kill(waiter->thread, SIGUSR1);
		nap(MS);
	}
	cr_assert(queue_last(turn));
	turn_pass(turn);
	waiter_join(waiter);
	cr_assert_eq(waiter->result, 0);
}

/* A signal would end a wait as if the turn had been given. */
Test(turn, signals_do_not_end_a_wait)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct waiter waiter;
	unsigned order = 0;
	struct turn turn;

	cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
	cr_assert_eq(turn_init(&turn), 0);
	cr_assert_eq(turn_take(&turn, -1), 0);
	waiter_start(&waiter, &turn, &order, 60000 * MS);
	signal_and_pass(&turn, &waiter);
	/* nor that of one who only tries, and waits for the background */
	cr_assert_eq(turn_take_service(&turn), 0);
	waiter_start(&waiter, &turn, &order, 0);
	signal_and_pass(&turn, &waiter);
	turn_release_all(&turn);
}

struct edge {
	struct turn turn;
	_Atomic uint32_t round; /* the round that the waiter may begin */
	_Atomic uint32_t done;  /* the round that it has ended */
	uint32_t rounds;
	int result;
};

#define EDGE_TIMEOUT_NS (200 * 1000)

static void *edge_waiter(void *context)
{
	struct edge *edge = context;

	for (uint32_t round = 1; round <= edge->rounds; round++) {
		while (atomic_load(&edge->round) != round)
			futex_wait(&edge->round, round - 1, -1);
		edge->result = turn_take(&edge->turn, EDGE_TIMEOUT_NS);
		if (edge->result == 0)
			turn_pass(&edge->turn);
		atomic_store(&edge->done, round);
		futex_wake(&edge->done, 1);
	}
	return NULL;
}

/*
 * A turn that is handed to a waiter in the moment it gives up would be lost for all time, or be had by two. The delay
 * of the hand-over follows the outcomes, so that it stays on the edge between them.
 */
Test(turn, hand_over_meets_timeout)
{
	struct edge edge = { .rounds = test_rounds(4000) };
	uint64_t delay_ns = EDGE_TIMEOUT_NS, until_ns = 0;
	unsigned granted = 0, timed_out = 0;
	pthread_t thread;

	cr_assert_eq(turn_init(&edge.turn), 0);
	cr_assert_eq(pthread_create(&thread, NULL, edge_waiter, &edge), 0);
	for (uint32_t round = 1; round <= edge.rounds; round++) {
		must(turn_take(&edge.turn, 0) == 0);
		atomic_store(&edge.round, round);
		futex_wake(&edge.round, 1);
		while (!queue_last(&edge.turn) && atomic_load(&edge.done) != round)
			;
		for (until_ns = clock_now_ns() + delay_ns; clock_now_ns() < until_ns;)
			;
		turn_pass(&edge.turn);
		while (atomic_load(&edge.done) != round)
			futex_wait(&edge.done, round - 1, -1);
		must(edge.result == 0 || edge.result == -ETIMEDOUT);
		granted += edge.result == 0;
		timed_out += edge.result != 0;
		if (edge.result == 0)
			delay_ns += 2000;
		else if (delay_ns >= 2000)
			delay_ns -= 2000;
	}
	cr_assert_eq(pthread_join(thread, NULL), 0);
	fprintf(stderr, "granted %u, timed out %u\n", granted, timed_out);
	cr_assert(granted > 0 && timed_out > 0, "the edge was never met");
	cr_assert_eq(turn_take(&edge.turn, 0), 0);
	turn_pass(&edge.turn);
	turn_release_all(&edge.turn);
}

struct crowd {
	struct turn turn;
	unsigned inside;    /* guarded by the turn, as the next */
	uint64_t turns;
	uint64_t rounds;    /* each thread's takes */
	uint64_t counted;   /* takes that worked; guarded by mutex */
	pthread_mutex_t mutex;
	_Atomic uint64_t closed; /* takes that were refused */
	_Atomic bool begun;      /* somebody has had the turn */
	uint64_t seed;
	_Atomic unsigned next;
};

static void *crowd_member(void *context)
{
	struct crowd *crowd = context;
	struct rng rng = { .state = crowd->seed + atomic_fetch_add(&crowd->next, 1) };
	uint64_t counted = 0;

	for (uint64_t i = 0; i < crowd->rounds; i++) {
		uint64_t way = rng_below(&rng, 4);
		int result = turn_take(&crowd->turn, way == 0 ? 0 : way == 1 ? (int64_t)rng_below(&rng, 50000) : -1);

		if (result == SLF_EBADHANDLE) {
			atomic_fetch_add(&crowd->closed, 1);
			break;
		}
		if (result) {
			must(way == 0 ? result == -EBUSY : result == -ETIMEDOUT || result == -EBUSY);
			must(way < 2);
			continue;
		}
		must(crowd->inside++ == 0);
		crowd->turns++;
		counted++;
		must(--crowd->inside == 0);
		turn_pass(&crowd->turn);
		atomic_store(&crowd->begun, true);
	}
	pthread_mutex_lock(&crowd->mutex);
	crowd->counted += counted;
	pthread_mutex_unlock(&crowd->mutex);
	return NULL;
}

static void crowd_run(struct crowd *crowd, bool close)
{
	pthread_t threads[6];

	crowd->seed = test_seed("turn crowd");
	must(turn_init(&crowd->turn) == 0);
	must(pthread_mutex_init(&crowd->mutex, NULL) == 0);
	for (unsigned i = 0; i < 6; i++)
		must(pthread_create(&threads[i], NULL, crowd_member, crowd) == 0);
	if (close) {
		do
			nap(20 * MS);
		while (!atomic_load(&crowd->begun)); /* on a machine that has much else to do */
		turn_close(&crowd->turn);
	}
	for (unsigned i = 0; i < 6; i++)
		must(pthread_join(threads[i], NULL) == 0);
	must(crowd->turns == crowd->counted);
	must(crowd->turns > 0);
	turn_release_all(&crowd->turn);
	pthread_mutex_destroy(&crowd->mutex);
}

/* Two would have the turn at once, or a wake-up would be lost and the crowd stand still. */
Test(turn, crowd)
{
	struct crowd crowd = { .rounds = test_rounds(5000) };

	crowd_run(&crowd, false);
	cr_assert_eq(crowd.closed, 0);
}

/* Closing amid hand-overs and timeouts would leave somebody waiting. */
Test(turn, crowd_is_closed)
{
	for (unsigned i = 0; i < 10; i++) {
		struct crowd crowd = { .rounds = UINT64_MAX };

		crowd_run(&crowd, true);
		cr_assert_eq(crowd.closed, 6);
	}
}

static void *wake_later(void *context)
{
	_Atomic uint32_t *word = context;

	nap(20 * MS);
	atomic_fetch_add(word, 1);
	futex_wake(word, 1);
	return NULL;
}

/* The commit groups would sleep through a wake-up, or take a timeout for one. */
Test(turn, futex)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct itimerval alarm = { .it_value.tv_usec = 20000 };
	_Atomic uint32_t word = 5;
	pthread_t thread;

	errno = EXDEV;
	cr_assert_eq(futex_wait(&word, 4, -1), -EAGAIN);
	cr_assert_eq(futex_wait(&word, 5, 0), -ETIMEDOUT);
	cr_assert_eq(futex_wait(&word, 5, 1100 * 1000), -ETIMEDOUT);
	cr_assert_eq(errno, EXDEV);
	cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
	cr_assert_eq(setitimer(ITIMER_REAL, &alarm, NULL), 0);
	cr_assert_eq(futex_wait(&word, 5, 60000 * MS), 0, "ended by a signal");
	cr_assert_eq(pthread_create(&thread, NULL, wake_later, &word), 0);
	while (atomic_load(&word) == 5) {
		int result = futex_wait(&word, 5, 60000 * MS);

		cr_assert(result == 0 || result == -EAGAIN);
	}
	cr_assert_eq(pthread_join(thread, NULL), 0);
}
