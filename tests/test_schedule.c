/* SPDX-License-Identifier: MIT */
/* The scheduler: it replays what it has played, plays all that can be, and what is wrong is found out. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "interleave_scene.h"
#include "scratch.h"
#include "sim_world.h"
#include "turn.h"

#define SEEDS 2000

/* ---- Protocols of a few lines ------------------------------------------------------------------------------------ */

/* One thread hands work to another, which sleeps on a word while there is none. */
struct hand {
	_Atomic uint32_t word;
	_Atomic bool work, asleep;
	bool looks_twice; /* as it has to: for work once more when it has said that it sleeps */
};

static void *hand_sleeper(void *context)
{
	struct hand *hand = context;

	while (!atomic_load(&hand->work)) {
		uint32_t seen = atomic_load(&hand->word);

		atomic_store(&hand->asleep, true);
		if (!hand->looks_twice || !atomic_load(&hand->work))
			futex_wait(&hand->word, seen, -1);
		atomic_store(&hand->asleep, false);
	}
	return NULL;
}

static void hand_over_work(void *context)
{
	struct hand *hand = context;
	pthread_t sleeper;

	atomic_store(&hand->word, 0);
	atomic_store(&hand->work, false);
	must(pthread_create(&sleeper, NULL, hand_sleeper, hand) == 0);
	atomic_store(&hand->work, true);
	atomic_fetch_add(&hand->word, 1);
	if (atomic_load(&hand->asleep))
		futex_wake(&hand->word, 1);
	must(pthread_join(sleeper, NULL) == 0);
}

/* Two threads count, each in two steps that another may come between. */
struct tally {
	_Atomic unsigned count;
	pthread_mutex_t mutex;
	bool locks;
};

static void *tally_add(void *context)
{
	struct tally *tally = context;
	unsigned count;

	if (tally->locks)
		pthread_mutex_lock(&tally->mutex);
	count = atomic_load(&tally->count);
	atomic_store(&tally->count, count + 1);
	if (tally->locks)
		pthread_mutex_unlock(&tally->mutex);
	return NULL;
}

static void tally_twice(void *context)
{
	struct tally *tally = context;
	pthread_t threads[2];

	atomic_store(&tally->count, 0);
	for (unsigned i = 0; i < 2; i++)
		must(pthread_create(&threads[i], NULL, tally_add, tally) == 0);
	for (unsigned i = 0; i < 2; i++)
		must(pthread_join(threads[i], NULL) == 0);
	must(atomic_load(&tally->count) == 2);
}

/* ---- Finding ----------------------------------------------------------------------------------------------------- */

/* Plays the seeds from..to in a child: the seed that ended it by SIGABRT, or UINT64_MAX. */
static uint64_t first_failure(void (*main)(void *context), void *context, const struct schedule_faults *faults,
			      uint64_t from, uint64_t to)
{
	uint64_t *seed = mmap(NULL, sizeof(*seed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), found;
	int child, status;

	must(seed != MAP_FAILED);
	child = fork();
	if (child == 0) {
		for (*seed = from; *seed < to; ++*seed) {
			sim_world_start(*seed);
			schedule_run(*seed, main, context, faults, NULL);
		}
		_exit(0);
	}
	status = child_wait(child);
	must(status == 0 || status == 256 + SIGABRT);
	found = status ? *seed : UINT64_MAX;
	munmap(seed, sizeof(*seed));
	return found;
}

/* A scheduler that overlooks what it is there for, or cannot bring it back. */
Test(schedule, lost_wake_up_is_found)
{
	struct hand good = { .looks_twice = true }, bad = { 0 };
	uint64_t seed;

	cr_assert_eq(first_failure(hand_over_work, &good, NULL, 0, SEEDS), UINT64_MAX);
	seed = first_failure(hand_over_work, &bad, NULL, 0, SEEDS);
	cr_assert_lt(seed, SEEDS);
	cr_assert_eq(first_failure(hand_over_work, &bad, NULL, seed, seed + 1), seed);
}

/* The same for two that come between each other's steps. */
Test(schedule, lost_update_is_found)
{
	struct tally good = { .mutex = PTHREAD_MUTEX_INITIALIZER, .locks = true }, bad = { 0 };
	struct schedule_faults open = { .open_mutexes = 2 };
	uint64_t seed;

	cr_assert_eq(first_failure(tally_twice, &good, NULL, 0, SEEDS), UINT64_MAX);
	cr_assert_lt(first_failure(tally_twice, &good, &open, 0, SEEDS), SEEDS);
	seed = first_failure(tally_twice, &bad, NULL, 0, SEEDS);
	cr_assert_lt(seed, SEEDS);
	cr_assert_eq(first_failure(tally_twice, &bad, NULL, seed, seed + 1), seed);
}

/* ---- All orders -------------------------------------------------------------------------------------------------- */

struct order {
	_Atomic unsigned written;
	unsigned digits, seen[1000];
};

static void write_digits(struct order *order, unsigned digit)
{
	for (unsigned i = 0; i < 2; i++) {
		(void)atomic_load(&order->written);
		order->digits = order->digits * 2 + digit;
	}
}

static void *write_ones(void *context)
{
	write_digits(context, 1);
	return NULL;
}

static void order_run(void *context)
{
	struct order *order = context;
	pthread_t thread;

	order->digits = 0;
	must(pthread_create(&thread, NULL, write_ones, order) == 0);
	write_digits(order, 0);
	must(pthread_join(thread, NULL) == 0);
	order->seen[order->digits]++;
}

/* An order that is never played: there are six of two threads with two steps each. */
Test(schedule, all_orders_are_played)
{
	static struct order order;
	unsigned orders = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		sim_world_start(seed);
		schedule_run(seed, order_run, &order, NULL, NULL);
	}
	for (unsigned i = 0; i < 16; i++)
		orders += order.seen[i] > 0;
	cr_assert_eq(orders, 6);
}

/* ---- Time -------------------------------------------------------------------------------------------------------- */

static void *sleep_long(void *context)
{
	struct timespec pause = { .tv_sec = 1000 };

	nanosleep(&pause, NULL);
	atomic_store((_Atomic bool *)context, true);
	return NULL;
}

static void sleep_run(void *context)
{
	_Atomic bool *slept = context;
	_Atomic uint32_t word = 0;
	pthread_t thread;

	atomic_store(slept, false);
	must(pthread_create(&thread, NULL, sleep_long, context) == 0);
	while (futex_wait(&word, 0, 999999999999) != -ETIMEDOUT) /* an end without a reason */
		;
	must(!atomic_load(slept));
	must(pthread_join(thread, NULL) == 0);
	must(atomic_load(slept));
}

/* Who waits for a time would wait in earnest, or not until then. */
Test(schedule, time_jumps)
{
	_Atomic bool slept;
	struct schedule_counts counts;

	for (uint64_t seed = 0; seed < 20; seed++) {
		sim_world_start(seed);
		schedule_run(seed, sleep_run, (void *)&slept, NULL, &counts);
		cr_assert_gt(counts.points, 0);
	}
}

/* ---- The library ------------------------------------------------------------------------------------------------- */

/* A seed that does not bring back the history that failed: neither its decisions nor the bytes on the disk. */
Test(schedule, one_seed_one_history)
{
	for (size_t i = 0; i < INTERLEAVE_SCENES; i++)
		for (uint64_t seed = 1; seed < 13; seed++) {
			struct interleave_counts one, same, other;

			interleave_run(&interleave_scenes[i], seed, NULL, &one);
			interleave_run(&interleave_scenes[i], seed + 100, NULL, &other);
			interleave_run(&interleave_scenes[i], seed, NULL, &same);
			cr_assert(!memcmp(&one, &same, sizeof(one)), "%s, seed %llu", interleave_scenes[i].name,
				  (unsigned long long)seed);
			cr_assert_neq(one.schedule.hash, other.schedule.hash);
		}
}

/* How a child ends that plays scenes on a system which is broken now and then: a signal, in one way or another. */
static int play_broken(const struct schedule_faults *faults)
{
	int child = fork();

	if (child == 0) {
		for (uint64_t seed = 1; seed < SEEDS; seed++) {
			struct interleave_counts counts;

			interleave_run(&interleave_scenes[seed % INTERLEAVE_SCENES], seed, faults, &counts);
		}
		_exit(0);
	}
	return child_wait(child);
}

/* No scene would notice that a wake-up is lost, or that a lock lets two in. */
Test(schedule, broken_system_is_found_out)
{
	cr_assert_eq(play_broken(&(struct schedule_faults){ 0 }), 0);
	cr_assert_eq(play_broken(&(struct schedule_faults){ .lost_wakes = 20 }), 256 + SIGABRT);
	cr_assert_gt(play_broken(&(struct schedule_faults){ .open_mutexes = 4 }), 256);
}
