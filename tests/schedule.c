/* SPDX-License-Identifier: MIT */
/*
 * Who holds the baton runs; `go` of the others is 0 and they sleep on it. Everything here is changed by the holder alone, so
 * there is no lock. A thread that would block is marked with what it waits for and gives the baton away; who ends the wait
 * marks it ready, and it goes on when it is chosen. Mutexes are real ones that are only ever tried; futexes and condition
 * variables are no more than the lists of who waits for an address.
 */
#include "schedule.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scratch.h"
#include "sim_world.h"

#define POINTS_MAX 2000000 /* a history that is longer goes round in circles */
#define JUMPS_MAX 2000     /* in a row, of the clock, without an end of the history: only timers run */
#define SWITCHES_SHOWN 64
#define CHANGES_MAX 5
#define PLACES_SHOWN 6

enum actor_state { ACTOR_READY, ACTOR_WAITING, ACTOR_ENDED };

struct actor {
	pthread_t thread;
	_Atomic uint32_t go;
	enum actor_state state;
	struct schedule_place places[PLACES_SHOWN]; /* where it stands, and stood before */
	const void *address;            /* what it waits for: a mutex, a condition variable, a word, an actor */
	uint64_t deadline_ns;           /* of its wait; 0: none */
	bool expired;
	int priority;                   /* PCT: the highest runs */
	void *(*main)(void *context);
	void *context;
};

struct shown {
	unsigned from, to;
	uint64_t point;
	struct schedule_place place;
};

bool schedule_running;

static struct {
	uint64_t seed;
	struct rng rng;
	bool by_priority;
	unsigned switch_one_in; /* by chance */
	unsigned spurious_one_in;
	unsigned late_one_in;   /* looks at a clock between which much time passes */
	uint64_t changes[CHANGES_MAX]; /* by priorities: the decisions at which the running thread falls, */
	unsigned fall_one_in;          /* or how often it does; 0: not else */
	int priority_low;
	struct actor actors[SCHEDULE_THREADS_MAX];
	unsigned count, current, jumps;
	struct schedule_counts counts;
	struct schedule_faults faults;
	uint64_t hook_point;
	void (*hook)(void *context);
	void *hook_context;
	void (*main)(void *context);
	struct shown shown[SWITCHES_SHOWN];
	uint64_t shown_count;
} all;

static struct actor *self(void)
{
	return &all.actors[all.current];
}

static void stand_at(struct actor *actor, const struct schedule_place *place)
{
	memmove(&actor->places[1], &actor->places[0], (PLACES_SHOWN - 1) * sizeof(*place));
	actor->places[0] = *place;
}

static bool one_in(unsigned number)
{
	return number && rng_below(&all.rng, number) == 0;
}

/* ---- Failures ---------------------------------------------------------------------------------------------------- */

static void tell_place(const struct schedule_place *place)
{
	const char *slash = place->file ? strrchr(place->file, '/') : NULL;

	fprintf(stderr, "%s at %s:%d", place->what, slash ? slash + 1 : place->file, place->line);
}

static void tell(void)
{
	static const char *const states[] = { "can run", "waits", "has ended" };
	uint64_t first = all.shown_count > SWITCHES_SHOWN ? all.shown_count - SWITCHES_SHOWN : 0;

	fprintf(stderr, "schedule: SOLIFUGE_TEST_SEED=%llu, %s, point %llu, decisions %016llx; the last switches:\n",
		(unsigned long long)all.seed, all.by_priority ? "by priorities" : "by chance",
		(unsigned long long)all.counts.points, (unsigned long long)all.counts.hash);
	for (uint64_t i = first; i < all.shown_count; i++) {
		const struct shown *shown = &all.shown[i % SWITCHES_SHOWN];

		fprintf(stderr, "  %8llu: thread %u -> %u, ", (unsigned long long)shown->point, shown->from, shown->to);
		tell_place(&shown->place);
		fprintf(stderr, "\n");
	}
	for (unsigned i = 0; i < all.count; i++) {
		fprintf(stderr, "  thread %u %s%s", i, i == all.current ? "runs and " : "", states[all.actors[i].state]);
		for (unsigned j = 0; j < PLACES_SHOWN && all.actors[i].places[j].file; j++) {
			fprintf(stderr, j ? ", after " : ", ");
			tell_place(&all.actors[i].places[j]);
		}
		fprintf(stderr, "\n");
	}
}

static void die(int number)
{
	signal(number, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	schedule_running = false;
	tell();
	raise(number);
}

#ifdef __SANITIZE_ADDRESS__
/* What a sanitizer finds ends the process without a signal. */
static void watch(void)
{
	signal(SIGABRT, die);
	__sanitizer_set_death_callback(tell);
}
#else
static void watch(void)
{
	signal(SIGABRT, die);
	signal(SIGSEGV, die);
}
#endif

static void fail(const char *why)
{
	fprintf(stderr, "schedule: %s\n", why);
	abort();
}

/* ---- The baton --------------------------------------------------------------------------------------------------- */

static void futex_sleep(_Atomic uint32_t *word)
{
	while (!atomic_load_explicit(word, memory_order_acquire))
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	atomic_store_explicit(word, 0, memory_order_relaxed);
}

static void hand_over(struct actor *to)
{
	atomic_store_explicit(&to->go, 1, memory_order_release);
	syscall(SYS_futex, &to->go, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void end_wait(struct actor *actor, bool expired)
{
	actor->state = ACTOR_READY;
	actor->address = NULL;
	actor->deadline_ns = 0;
	actor->expired = expired;
}

static void expire(uint64_t now_ns)
{
	for (unsigned i = 0; i < all.count; i++) {
		struct actor *actor = &all.actors[i];

		if (actor->state == ACTOR_WAITING && actor->deadline_ns && actor->deadline_ns <= now_ns)
			end_wait(actor, true);
	}
}

/* Nobody can run: time passes. */
static void jump(void)
{
	struct sim_world world = sim_world_get();
	uint64_t next_ns = UINT64_MAX;

	for (unsigned i = 0; i < all.count; i++)
		if (all.actors[i].state == ACTOR_WAITING && all.actors[i].deadline_ns &&
		    all.actors[i].deadline_ns < next_ns)
			next_ns = all.actors[i].deadline_ns;
	if (next_ns == UINT64_MAX)
		fail("nobody can run: a deadlock or a lost wake-up");
	if (++all.jumps > JUMPS_MAX)
		fail("only timers run: a lost wake-up");
	if (world.now_ns < next_ns)
		world.now_ns = next_ns;
	sim_world_set(world);
	expire(next_ns);
}

static bool falls(void)
{
	for (unsigned i = 0; i < CHANGES_MAX; i++)
		if (all.changes[i] == all.counts.decisions)
			return true;
	return false;
}

/* Who goes on: one of count that are ready. */
static unsigned choose(const unsigned *ready, unsigned count, bool stays)
{
	unsigned best = ready[0];

	if (count == 1)
		return ready[0];
	all.counts.decisions++;
	if (!all.by_priority) {
		if (stays && !one_in(all.switch_one_in))
			return all.current;
		return ready[rng_below(&all.rng, count)];
	}
	if (stays && (falls() || one_in(all.fall_one_in)))
		self()->priority = --all.priority_low;
	for (unsigned i = 1; i < count; i++)
		if (all.actors[ready[i]].priority > all.actors[best].priority)
			best = ready[i];
	return best;
}

/* Gives the baton to whoever is chosen, and comes back with it. away: not to the present holder while another can run. */
static void decide(bool away)
{
	unsigned ready[SCHEDULE_THREADS_MAX], count = 0, chosen;
	struct actor *from = self();
	bool stays = from->state == ACTOR_READY && !away;

	expire(sim_world_get().now_ns);
	while (count == 0) {
		for (unsigned i = 0; i < all.count; i++)
			if (all.actors[i].state == ACTOR_READY && (!away || i != all.current))
				ready[count++] = i;
		if (count == 0 && away && from->state == ACTOR_READY)
			ready[count++] = all.current;
		if (count == 0)
			jump();
	}
	chosen = choose(ready, count, stays);
	if (count > 1)
		all.counts.hash = rng_mix(all.counts.hash + chosen + 1) ^ all.counts.points;
	if (chosen == all.current)
		return;
	all.counts.switches++;
	all.shown[all.shown_count++ % SWITCHES_SHOWN] =
		(struct shown){ all.current, chosen, all.counts.points, from->places[0] };
	all.current = chosen;
	hand_over(&all.actors[chosen]);
	if (from->state != ACTOR_ENDED)
		futex_sleep(&from->go);
}

static void point(const struct schedule_place *place, bool away)
{
	stand_at(self(), place);
	if (++all.counts.points > POINTS_MAX)
		fail("the history has no end");
	if (all.hook && all.counts.points >= all.hook_point) {
		void (*hook)(void *context) = all.hook;

		all.hook = NULL;
		schedule_running = false;
		hook(all.hook_context);
		schedule_running = true;
	}
	decide(away);
}

void schedule_atomic_slow(const struct schedule_place *place)
{
	all.counts.atomics++;
	point(place, false);
}

/* Waits for the address; true when the time was up. No point before the others: what the caller has looked at still holds. */
static bool wait_for(const void *address, uint64_t deadline_ns)
{
	struct actor *actor = self();

	actor->state = ACTOR_WAITING;
	actor->address = address;
	actor->deadline_ns = deadline_ns;
	actor->expired = false;
	if (deadline_ns == 0)
		all.jumps = 0;
	if (one_in(all.spurious_one_in))
		end_wait(actor, false);
	decide(false);
	return actor->expired;
}

/* Ends the wait of count of those who wait for the address. */
static unsigned wake(const void *address, unsigned count)
{
	unsigned woken = 0;

	for (; woken < count; woken++) {
		unsigned waiting[SCHEDULE_THREADS_MAX], found = 0;

		for (unsigned i = 0; i < all.count; i++)
			if (all.actors[i].state == ACTOR_WAITING && all.actors[i].address == address)
				waiting[found++] = i;
		if (!found)
			break;
		end_wait(&all.actors[waiting[found > 1 ? rng_below(&all.rng, found) : 0]], false);
	}
	return woken;
}

/* ---- Histories --------------------------------------------------------------------------------------------------- */

static void *actor_main(void *context)
{
	struct actor *actor = context;

	futex_sleep(&actor->go);
	actor->main(actor->context);
	assert(self() == actor);
	actor->state = ACTOR_ENDED;
	stand_at(actor, SCHEDULE_PLACE("end"));
	wake(actor, UINT32_MAX);
	for (unsigned i = 0; i < all.count; i++)
		if (all.actors[i].state != ACTOR_ENDED) {
			decide(false);
			return NULL;
		}
	schedule_running = false;
	return NULL;
}

static struct actor *actor_start(void *(*main)(void *context), void *context)
{
	struct actor *actor = &all.actors[all.count];

	must(all.count < SCHEDULE_THREADS_MAX);
	*actor = (struct actor){ .main = main, .context = context, .places = { { "start", __FILE__, __LINE__ } },
				 .priority = (int)rng_below(&all.rng, 1 << 20) };
	must(pthread_create(&actor->thread, NULL, actor_main, actor) == 0);
	all.count++;
	return actor;
}

static void *first_main(void *context)
{
	all.main(context);
	return NULL;
}

/* What the seed says about the whole history. */
static void plan(uint64_t seed)
{
	unsigned steps_log;

	all.seed = seed;
	all.rng = (struct rng){ rng_mix(seed ^ 0x5ced) };
	all.by_priority = rng_below(&all.rng, 2);
	all.switch_one_in = 2u << rng_below(&all.rng, 8);
	all.spurious_one_in = one_in(4) ? 4u << rng_below(&all.rng, 5) : 0;
	all.late_one_in = 2u << rng_below(&all.rng, 8);
	all.fall_one_in = one_in(2) ? 8u << rng_below(&all.rng, 6) : 0;
	steps_log = 4 + (unsigned)rng_below(&all.rng, 9);
	for (unsigned i = 0, count = (unsigned)rng_below(&all.rng, CHANGES_MAX + 1); i < count; i++)
		all.changes[i] = 1 + rng_below(&all.rng, 1u << steps_log);
}

/* The baton goes round faster on one processor than between two; now and then the system may say which. */
static void stay_on_one_processor(void)
{
	static unsigned histories;
	static cpu_set_t allowed;
	cpu_set_t one;

	if (histories++ % 256)
		return;
	if (histories == 1)
		(void)sched_getaffinity(0, sizeof(allowed), &allowed);
	(void)sched_setaffinity(0, sizeof(allowed), &allowed);
	usleep(100);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
}

void schedule_run(uint64_t seed, void (*main)(void *context), void *context, const struct schedule_faults *faults,
		  struct schedule_counts *counts)
{
	struct actor *first;

	stay_on_one_processor();
	memset(&all, 0, sizeof(all));
	plan(seed);
	if (faults)
		all.faults = *faults;
	all.main = main;
	first = actor_start(first_main, context);
	watch();
	schedule_running = true;
	hand_over(first);
	for (unsigned i = 0; i < all.count; i++) /* those that were joined have ended before */
		if (all.actors[i].thread)
			must(pthread_join(all.actors[i].thread, NULL) == 0);
	must(!schedule_running);
	if (counts)
		*counts = all.counts;
}

void schedule_hook(uint64_t nth, void (*hook)(void *context), void *context)
{
	all.hook_point = all.counts.points + nth;
	all.hook = hook;
	all.hook_context = context;
}

/* ---- The seam ---------------------------------------------------------------------------------------------------- */

int schedule_mutex_lock(pthread_mutex_t *mutex, const struct schedule_place *place)
{
	if (!schedule_running)
		return pthread_mutex_lock(mutex);
	point(place, false);
	while (pthread_mutex_trylock(mutex)) {
		if (one_in(all.faults.open_mutexes))
			break;
		wait_for(mutex, 0);
	}
	return 0;
}

int schedule_mutex_unlock(pthread_mutex_t *mutex, const struct schedule_place *place)
{
	int result = pthread_mutex_unlock(mutex);

	if (!schedule_running)
		return result;
	wake(mutex, UINT32_MAX);
	point(place, false);
	return result;
}

int schedule_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct schedule_place *place)
{
	if (!schedule_running)
		return pthread_cond_wait(cond, mutex);
	stand_at(self(), place);
	pthread_mutex_unlock(mutex);
	wake(mutex, UINT32_MAX);
	wait_for(cond, 0);
	return schedule_mutex_lock(mutex, place);
}

static int cond_wake(const void *cond, unsigned count, const struct schedule_place *place)
{
	point(place, false);
	if (!one_in(all.faults.lost_wakes))
		wake(cond, count);
	return 0;
}

int schedule_cond_signal(pthread_cond_t *cond, const struct schedule_place *place)
{
	return schedule_running ? cond_wake(cond, 1, place) : pthread_cond_signal(cond);
}

int schedule_cond_broadcast(pthread_cond_t *cond, const struct schedule_place *place)
{
	return schedule_running ? cond_wake(cond, UINT32_MAX, place) : pthread_cond_broadcast(cond);
}

int schedule_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *context), void *context,
		    const struct schedule_place *place)
{
	if (!schedule_running)
		return pthread_create(thread, attributes, main, context);
	*thread = actor_start(main, context)->thread;
	point(place, false);
	return 0;
}

int schedule_join(pthread_t thread, void **result, const struct schedule_place *place)
{
	struct actor *actor = all.actors;

	if (!schedule_running)
		return pthread_join(thread, result);
	while (actor < all.actors + all.count && !pthread_equal(actor->thread, thread))
		actor++;
	must(actor < all.actors + all.count && !result);
	point(place, false);
	while (actor->state != ACTOR_ENDED)
		wait_for(actor, 0);
	actor->thread = 0; /* numbers are used again */
	return pthread_join(thread, NULL);
}

int schedule_sched_yield(const struct schedule_place *place)
{
	if (!schedule_running)
		return sched_yield();
	if (all.by_priority)
		self()->priority = --all.priority_low;
	point(place, true);
	return 0;
}

void schedule_yield(void)
{
	schedule_sched_yield(SCHEDULE_PLACE("yield"));
}

static uint64_t deadline_after(const struct timespec *time)
{
	return sim_world_get().now_ns + (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
}

int schedule_nanosleep(const struct timespec *pause, struct timespec *left, const struct schedule_place *place)
{
	uint64_t deadline_ns;

	if (!schedule_running)
		return nanosleep(pause, left);
	point(place, false);
	deadline_ns = deadline_after(pause);
	while (sim_world_get().now_ns < deadline_ns)
		wait_for(&deadline_ns, deadline_ns);
	return 0;
}

int schedule_clock_gettime(clockid_t clock, struct timespec *now)
{
	if (schedule_running && one_in(all.late_one_in)) {
		struct sim_world world = sim_world_get();

		world.now_ns += rng_below(&all.rng, 4000000);
		sim_world_set(world);
	}
	return clock_gettime(clock, now);
}

static long futex_wait_for(const _Atomic uint32_t *word, uint32_t value, const struct timespec *timeout)
{
	if (*word != value)
		errno = EAGAIN;
	else if (wait_for((const void *)word, timeout ? deadline_after(timeout) : 0))
		errno = ETIMEDOUT;
	else
		return 0;
	return -1;
}

long schedule_syscall(const struct schedule_place *place, long number, ...)
{
	long arguments[6];
	va_list list;

	va_start(list, number);
	for (unsigned i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	if (!schedule_running || number != SYS_futex)
		return syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
	point(place, false);
	if (arguments[1] == FUTEX_WAIT_PRIVATE)
		return futex_wait_for((const _Atomic uint32_t *)arguments[0], (uint32_t)arguments[2],
				      (const struct timespec *)arguments[3]);
	must(arguments[1] == FUTEX_WAKE_PRIVATE);
	if (one_in(all.faults.lost_wakes))
		return 0;
	return (long)wake((const void *)arguments[0], (unsigned)arguments[2]);
}
