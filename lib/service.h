/* SPDX-License-Identifier: MIT */
/*
 * Background threads of one database: the flusher (writes what no-sync commits have gathered, flushes for asynchronous and
 * automatic ones, keeps the next log extent ready) and the checkpointer. Without them (SLF_NO_THREADS) callers do the work.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <pthread.h>

#include "base.h"
#include "core.h"

struct worker {
	struct core *core;
	pthread_t thread;
	bool started;
	_Atomic uint32_t word; /* bumped to wake it */
	_Atomic bool asleep;
	_Atomic bool stop;
	bool told; /* its own: that what it tried last has failed */
};

struct service {
	struct worker flusher, checkpointer;
};

/* Starts both threads with all signals blocked, so that handlers of the host run elsewhere. */
int service_start(struct service *service, struct core *core);
/* Ends and joins them. */
void service_stop(struct service *service);

#endif
