/* SPDX-License-Identifier: MIT */
/*
 * The writer's turn: a lock that can be tried, can time out and is not owned by a thread (a transaction may be begun on one
 * thread and ended on another). Who has waited for it for TURN_PATIENCE_NS gets it before all that came later. Built on futex
 * words; no spinning.
 */
#ifndef TURN_H
#define TURN_H

#include <pthread.h>

#include "base.h"

struct turn_waiter;

#define TURN_PATIENCE_NS ((uint64_t)1000000)

struct turn {
	pthread_mutex_t mutex; /* guards the rest; never held across a wait */
	bool taken;
	bool closed;
	bool service; /* the holder is no writer and will pass it in a moment */
	bool roused;  /* the first waiter is on its way */
	struct turn_waiter *first, *last;
};

int turn_init(struct turn *turn);
void turn_release_all(struct turn *turn); /* destroys; nobody waits any more */

/* 0, -EBUSY (timeout_ns == 0), -ETIMEDOUT, or SLF_EBADHANDLE after turn_close. timeout_ns < 0 waits forever. */
int turn_take(struct turn *turn, int64_t timeout_ns);
/* Takes it for a moment of work that is no writer's: a try that meets only this waits. */
int turn_take_service(struct turn *turn);
/* Frees the turn, or hands it to the first waiter. */
void turn_pass(struct turn *turn);
/* Sends all waiters home with SLF_EBADHANDLE; later takes fail likewise. The holder keeps its turn. */
void turn_close(struct turn *turn);

/* Futex wait and wake on a 32-bit word, shared by turn and the commit groups. wait returns 0, -EAGAIN when the word was
 * not value, -ETIMEDOUT. Bump the word before the wake. */
int futex_wait(const _Atomic uint32_t *word, uint32_t value, int64_t timeout_ns);
void futex_wake(_Atomic uint32_t *word, int count);

#endif
