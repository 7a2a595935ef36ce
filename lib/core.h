/* SPDX-License-Identifier: MIT */
/*
 * The parts of one open database, put together. Each part's header says who may touch it; what is left here belongs to the
 * holder of the turn unless said otherwise.
 */
#ifndef CORE_H
#define CORE_H

#include "base.h"
#include "bulk.h"
#include "checkpoint.h"
#include "commit.h"
#include "extent.h"
#include "heap.h"
#include "log.h"
#include "stats.h"
#include "store.h"
#include "tree_ids.h"
#include "turn.h"
#include "version.h"

/* Budgets and modes, after defaults. Constant after opening. */
struct tuning {
	int sync;
	uint64_t heap_bytes, log_bytes, arena_bytes, auto_sync_ns, auto_sync_bytes;
	uint64_t memory_bytes; /* that there is to keep files in */
	bool readonly, map, threads;
	bool network; /* files on network file systems are taken */
	slf_progress_fn *progress;
	void *progress_context;
	slf_log_fn *log;
	void *log_context;
};

struct core {
	struct tuning tuning;
	struct io *io;
	struct stats stats;
	struct store store;
	struct extents extents;
	struct log log;
	struct heap *heap;
	struct versions versions;
	struct commit commit;
	struct checkpoint checkpoint;
	struct turn turn;
	struct bulk large;            /* values that go to bulk at once */
	struct meta meta;             /* as opened */
	struct tree_ids tree_ids;     /* guarded by the turn */
	uint64_t epoch;               /* of the next version */
	bool created;                 /* by this opening */
	const char *damage;           /* why the log ends before what had been durable: a reader gets what is left; or NULL */
	bool cut;                     /* the files are a copy that was taken in use: the log ends where it is whole */
	bool closing;                 /* set by slf_close when nobody else is left */
	uint64_t install_epoch;       /* frozen epoch of the install under way, 0 for none; guarded by the turn */
	_Atomic uint32_t *alive;      /* 1 while the database is open; its page is wiped in a forked child */
	void (*wake_checkpoint)(void *context); /* background threads; NULL without */
	void *wake_context;
};

/* Passes a message to the caller's log function. */
void core_log(struct core *core, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
