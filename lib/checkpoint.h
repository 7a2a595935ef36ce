/* SPDX-License-Identifier: MIT */
/*
 * Checkpoints: writing a version's heap nodes to bulk, the MARK, the metadata pages, and the install that lets go of the
 * heap nodes. States:
 *
 *   IDLE -> WRITING (materialise F, sync, MARK, pages A and B) -> INSTALLING (slices under the turn) -> IDLE
 *
 * WRITING needs no turn: F is the durable version, frozen by the pin. A transaction that outgrows the heap writes its own
 * nodes with the same materialiser (checkpoint_enter_private), which excludes WRITING and so may wait for its end while it
 * holds the turn; INSTALLING does not hinder it.
 *
 * Lock order: turn, checkpoint->mutex, commit->lock. The mutex is not held while waiting for the turn.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include <pthread.h>

#include "base.h"
#include "log.h"
#include "materialise.h"
#include "meta.h"

struct core;
struct version;

enum checkpoint_state { CHECKPOINT_IDLE, CHECKPOINT_WRITING, CHECKPOINT_INSTALLING };

struct checkpoint {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	enum checkpoint_state state;
	uint64_t ended;       /* checkpoints that came back to IDLE */
	_Atomic uint32_t word; /* bumped with each change of state: for who waits with a limit of time */
	bool private;         /* a transaction is using the materialiser */
	bool list_lent;       /* and materialiser.written is its */
	struct garbage set_aside; /* the written list of an install under way, meanwhile */
	struct materialiser materialiser;
	uint64_t owed;        /* by what has been written and is to be installed */
	_Atomic uint64_t seq;   /* root_seq of the newest checkpoint */
	_Atomic int failed;       /* how the last one did, 0: it did not */
	unsigned failures;        /* in a row */
	_Atomic uint64_t retry_ns; /* none is tried again before, unless the heap is full */
	_Atomic bool tried_again; /* by checkpoint_again, before the transaction that runs, which need not do it at its end */
	bool snapshots_told;  /* that they keep much of the heap */
	struct meta meta;     /* the newest metadata page */
	uint16_t slot;        /* that it stands in */
	_Atomic uint64_t generation; /* of it, for slf_info */
};

int checkpoint_init(struct core *core);
void checkpoint_release(struct checkpoint *checkpoint);

/* Writes a checkpoint of the newest durable version (in the no-sync modes: makes the newest version durable first), and
 * waits for a running one before. The calling thread must not hold the turn. */
int checkpoint_run(struct core *core);
#define CHECKPOINT_RETRY_NS 200000000u /* behind one that was of no use; behind failures up to 16 times as long */

/* Is it time: two thirds of the heap's budget are used, or half of the log's. */
bool checkpoint_due(struct core *core);

/* For who has just ended a write transaction: without threads the checkpoint that is due is written by them, for only with the
 * turn free it is sure to end. One that fails stops them as little as one in the background. */
void checkpoint_alone(struct core *core);
/* For who is to begin one, and would wait for ever: the same where a full heap waits for space, which may have come. The calling
 * thread must not hold the turn. */
void checkpoint_again(struct core *core);

/* What a checkpoint may free of the heap, and how much that may be. What snapshots keep is left out of both, for neither a
 * checkpoint nor waiting frees it; the budget never falls below a quarter, or there would be one checkpoint after the other. */
struct heap_load {
	uint64_t used, budget; /* bytes */
};
struct heap_load checkpoint_heap(struct core *core);

/* Delays writers smoothly between three quarters and all of the heap's budget, or of the log's; at the limit they wait for the
 * running checkpoint, unless two have ended without making room. Called without the turn. *timeout_ns, unless it is negative,
 * becomes what is left of it. 0, -ETIMEDOUT, or -EBUSY for who would not wait (0), who is not delayed either. */
int checkpoint_hold_back(struct core *core, int64_t *timeout_ns);

/* The materialiser for a transaction; the caller holds the turn. */
void checkpoint_enter_private(struct core *core);
void checkpoint_leave_private(struct core *core);
/* Gives the list of written blocks back to an install under way; before the turn is passed, since that needs it then. */
void checkpoint_return_list(struct core *core);
/* Fills a mark for the version with this root of the roots tree, to be replayed from place. recyclable: room for
 * MARK_RECYCLABLE_MAX positions, encoded. */
void checkpoint_mark(struct core *core, struct mark *mark, const struct version *version, const struct tree_root *roots,
		     const struct log_place *place, uint64_t *recyclable);
/* After the mark of the version root_seq is durable, in this slab: metadata pages, and recycling of the log before the place
 * where the mark's replay begins. */
void checkpoint_publish(struct core *core, const struct log_slab *slab, uint64_t root_seq, const struct log_place *replay);

/* Writes both metadata pages with the present state, the older one first. */
int checkpoint_write_pages(struct core *core, bool clean);

#endif
