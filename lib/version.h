/* SPDX-License-Identifier: MIT */
/*
 * Versions: the states after commits, and the freeing of what no version in use can reach.
 *
 * An *epoch* counts published versions (a checkpoint's install publishes one with the seq of the version before); births
 * and retirements of blocks are epochs. A block born at b and retired at r is seen by the snapshots in [b, r).
 *
 * Chain: oldest ... visible ... tip. Versions behind visible are pending: sealed, not yet acknowledged; they can be taken
 * back (versions_rollback). Garbage of a version is looked at when it is visible; blocks that an active snapshot still
 * sees are held in the list of the youngest such snapshot and looked at again when that one is gone (as the deadlists of
 * ZFS: Ahrens, "How ZFS snapshots really work").
 *
 * Thread rule: the holder of the turn, but for `visible`, `durable` and their epoch, which any thread loads, and
 * version_show/version_settle, which the committer calls under its lock.
 */
#ifndef VERSION_H
#define VERSION_H

#include "action.h"
#include "base.h"
#include "forest.h"
#include "reader.h"
#include "slab.h"

struct version {
	uint64_t epoch, seq;
	struct forest *forest;
	struct tree_root roots; /* the roots tree on disk */
	uint64_t roots_epoch;   /* of the version that brought it */
	struct digest digest;
	uint64_t search_ns;
	uint32_t next_tree;
	uint64_t user_entries;
	struct version *next; /* newer */
	struct block *born;   /* while pending */
	struct garbage garbage; /* retired at epoch; emptied once looked at */
	bool swept;             /* garbage has been looked at */
};

/* Garbage that a snapshot still sees. */
struct held {
	uint64_t epoch;
	struct garbage garbage;
	uint64_t bytes; /* of its blocks */
};

struct versions {
	struct heap *heap;
	struct readers readers;
	_Atomic(struct version *) visible, durable;
	_Atomic uint64_t visible_epoch;
	struct version *oldest, *tip;
	_Atomic uint64_t pinned; /* epoch of the version that a checkpoint is writing, 0 for none */
	struct held *held;
	size_t held_count, held_capacity;
	_Atomic uint64_t snapshot_bytes; /* that only snapshots keep, after the last sweep; any thread looks at it */
	uint64_t *active;  /* scratch of the sweep */
	size_t active_count, active_capacity;
	uint64_t floor;    /* lowest floor among the slots, UINT64_MAX without one */
	uint64_t frozen;   /* no checkpoint that is not over writes an older version */
	unsigned unswept;  /* versions since the last sweep, */
	size_t backlog;    /* and blocks that they have retired */
	struct version *spare; /* of the last sweep, for the next commits */
	unsigned spare_count;
	struct garbage late; /* retired after the version that let go of them was published; block->retired_at: its epoch */
};

int versions_init(struct versions *versions, struct heap *heap);
void versions_release(struct versions *versions);

/* A zeroed version (but for the room in its empty garbage) that is not in the chain; freed by version_free, which keeps some
 * for the next ones. */
struct version *version_new(struct versions *versions);
void version_free(struct versions *versions, struct version *version);

/* Makes version the new tip. */
void versions_append(struct versions *versions, struct version *version);
/* The first version of an open. */
void versions_start(struct versions *versions, struct version *version);

/* Lets readers see version (release: they find its nodes complete). */
void version_show(struct versions *versions, struct version *version);
void version_settle(struct versions *versions, struct version *version);

/* Takes back all versions newer than `last` (a pending suffix): revives what they dropped, frees what they bore. */
void versions_rollback(struct versions *versions, struct version *last);

/* Retires a block that no version from epoch on leads to. */
int versions_retire(struct versions *versions, struct block *block, uint64_t epoch);

/* Is it time for a sweep? */
#define VERSIONS_SWEEP_EVERY 32
#define VERSIONS_SWEEP_BACKLOG 1024
static inline bool versions_wants_sweep(const struct versions *versions)
{
	return versions->unswept >= VERSIONS_SWEEP_EVERY || versions->backlog >= VERSIONS_SWEEP_BACKLOG;
}

/* Frees what nobody sees, a bounded number of blocks beyond the backlog. targets: further epochs in use (versions on their
 * way to the disk). True when there is more to free. */
bool versions_sweep(struct versions *versions, const uint64_t *targets, size_t count);

/* Starts a snapshot in the slot: no lock, no call into the kernel. */
static inline struct version *version_acquire(struct versions *versions, struct reader *reader, bool durable)
{
	struct version *version;

	if (durable) {
		/* the durable version may be older than the visible one: floor 0 holds everything for a moment */
		reader_floor(reader, 0);
		version = atomic_load_explicit(&versions->durable, memory_order_acquire);
	} else {
		reader_floor(reader, atomic_load_explicit(&versions->visible_epoch, memory_order_relaxed));
		version = atomic_load_explicit(&versions->visible, memory_order_acquire);
	}
	reader_exact(reader, version->epoch);
	return version;
}

#endif
