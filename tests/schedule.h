/* SPDX-License-Identifier: MIT */
/*
 * A deterministic scheduler: threads of which exactly one runs at a time, and who goes on at each point follows from a
 * seed. One seed replays one history, whole.
 *
 * Threads are real ones that hand a baton to each other. The library and the test are compiled with schedule_seam.h, which
 * puts a point before every lock, wait, wake, start and end of a thread, and before every atomic operation, and brings the
 * calls that would block here. Between two points a thread has the world for itself; so what is explored is sequentially
 * consistent: weaker orders of memory are not, and races on plain memory are for ThreadSanitizer.
 *
 * The seed chooses between two ways. By chance: at a point another thread goes on with a probability that is drawn for the
 * history, from one in two to one in 256. By priorities (PCT: Burckhardt et al., "A Randomized Scheduler with Probabilistic
 * Guarantees of Finding Bugs", ASPLOS 2010): the thread of the highest random priority runs, and at a few random points the
 * running one falls below all others; a bug that needs d orderings is found with a known probability. In half of these
 * histories threads fall again and again, one time in 8 to 256: each pause is as long as the others have work.
 *
 * Time is that of sim_world.h. It passes with each look at a clock, now and then much at once, and jumps to the next
 * deadline when nobody can run. When nobody can run and nobody waits for a time, a wake-up was lost or there is a
 * deadlock: the process ends by SIGABRT with the seed, what each thread waits for and the last switches. The same is told
 * when anything else ends it by SIGABRT or SIGSEGV inside or behind a history. In some histories waits end without reason now and
 * then, as those of futexes and condition variables may.
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SCHEDULE_THREADS_MAX 32

struct schedule_counts {
	uint64_t points;    /* passed */
	uint64_t atomics;   /* of them: before an atomic operation */
	uint64_t decisions; /* points at which more than one thread could go on */
	uint64_t switches;  /* of them: another one did */
	uint64_t hash;      /* of all decisions */
};

/* What a history may be given to prove that it is looked at: a kernel that forgets wake-ups, a mutex that lets a second
 * thread in, one time in so many; 0 for never. */
struct schedule_faults {
	unsigned lost_wakes;
	unsigned open_mutexes;
};

/* Runs main in a thread of its own and all that it starts, until all have ended. counts, faults: may be NULL. */
void schedule_run(uint64_t seed, void (*main)(void *context), void *context, const struct schedule_faults *faults,
		  struct schedule_counts *counts);
/* Calls hook(context) once, at the n-th point from now, in whatever thread; no point is one inside. Each thread is between
 * two of its steps then, none inside a call to the simulated disk. */
void schedule_hook(uint64_t nth, void (*hook)(void *context), void *context);
/* Lets the others go first. */
void schedule_yield(void);

/* ---- What schedule_seam.h puts in the place of the system's ------------------------------------------------------ */

/* Where in the source. */
struct schedule_place {
	const char *what, *file;
	int line;
};
#define SCHEDULE_PLACE(what) (&(const struct schedule_place){ what, __FILE__, __LINE__ })

extern bool schedule_running;
void schedule_atomic_slow(const struct schedule_place *place);
static inline void schedule_atomic(const struct schedule_place *place)
{
	if (schedule_running)
		schedule_atomic_slow(place);
}

int schedule_mutex_lock(pthread_mutex_t *mutex, const struct schedule_place *place);
int schedule_mutex_unlock(pthread_mutex_t *mutex, const struct schedule_place *place);
int schedule_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct schedule_place *place);
int schedule_cond_signal(pthread_cond_t *cond, const struct schedule_place *place);
int schedule_cond_broadcast(pthread_cond_t *cond, const struct schedule_place *place);
int schedule_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *context), void *context,
		    const struct schedule_place *place);
int schedule_join(pthread_t thread, void **result, const struct schedule_place *place);
int schedule_sched_yield(const struct schedule_place *place);
int schedule_nanosleep(const struct timespec *pause, struct timespec *left, const struct schedule_place *place);
int schedule_clock_gettime(clockid_t clock, struct timespec *now);
/* Futexes are scheduled, all else goes to the system. */
long schedule_syscall(const struct schedule_place *place, long number, ...);

#endif
