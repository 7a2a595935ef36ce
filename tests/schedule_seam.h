/* SPDX-License-Identifier: MIT */
/*
 * Included before every file of a library that is to run under the scheduler (with -include), so that no file of lib/ knows
 * of it: after the system's headers and before all else the names of what threads do to each other get another meaning. The
 * functions of GCC beneath <stdatomic.h> are macros here, which name themselves and so mean the functions in turn.
 */
#ifndef SCHEDULE_SEAM_H
#define SCHEDULE_SEAM_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "schedule.h"
#include "stats.h" /* counters order nothing: no points inside */

#define pthread_mutex_lock(mutex) schedule_mutex_lock(mutex, SCHEDULE_PLACE("lock"))
#define pthread_mutex_unlock(mutex) schedule_mutex_unlock(mutex, SCHEDULE_PLACE("unlock"))
#define pthread_cond_wait(cond, mutex) schedule_cond_wait(cond, mutex, SCHEDULE_PLACE("cond wait"))
#define pthread_cond_signal(cond) schedule_cond_signal(cond, SCHEDULE_PLACE("cond signal"))
#define pthread_cond_broadcast(cond) schedule_cond_broadcast(cond, SCHEDULE_PLACE("cond broadcast"))
#define pthread_create(thread, attributes, main, context) \
	schedule_create(thread, attributes, main, context, SCHEDULE_PLACE("create"))
#define pthread_join(thread, result) schedule_join(thread, result, SCHEDULE_PLACE("join"))
#define sched_yield() schedule_sched_yield(SCHEDULE_PLACE("yield"))
#define nanosleep(pause, left) schedule_nanosleep(pause, left, SCHEDULE_PLACE("sleep"))
#define clock_gettime(clock, now) schedule_clock_gettime(clock, now)
#define syscall(...) schedule_syscall(SCHEDULE_PLACE("futex"), __VA_ARGS__)

#define SCHEDULE_ATOMIC(function, ...) (schedule_atomic(SCHEDULE_PLACE(#function)), function(__VA_ARGS__))
#define __atomic_load(...) SCHEDULE_ATOMIC(__atomic_load, __VA_ARGS__)
#define __atomic_load_n(...) SCHEDULE_ATOMIC(__atomic_load_n, __VA_ARGS__)
#define __atomic_store(...) SCHEDULE_ATOMIC(__atomic_store, __VA_ARGS__)
#define __atomic_store_n(...) SCHEDULE_ATOMIC(__atomic_store_n, __VA_ARGS__)
#define __atomic_exchange(...) SCHEDULE_ATOMIC(__atomic_exchange, __VA_ARGS__)
#define __atomic_compare_exchange(...) SCHEDULE_ATOMIC(__atomic_compare_exchange, __VA_ARGS__)
#define __atomic_compare_exchange_n(...) SCHEDULE_ATOMIC(__atomic_compare_exchange_n, __VA_ARGS__)
#define __atomic_fetch_add(...) SCHEDULE_ATOMIC(__atomic_fetch_add, __VA_ARGS__)
#define __atomic_fetch_sub(...) SCHEDULE_ATOMIC(__atomic_fetch_sub, __VA_ARGS__)
#define __atomic_fetch_or(...) SCHEDULE_ATOMIC(__atomic_fetch_or, __VA_ARGS__)
#define __atomic_thread_fence(...) SCHEDULE_ATOMIC(__atomic_thread_fence, __VA_ARGS__)

#endif
