/* SPDX-License-Identifier: MIT */
/*
 * Transactions: a snapshot to read from; for a writer also the working roots, the edit, and the actions that its commit
 * entry will carry. The public functions check handles and arguments (api.c) and call these. One thread at a time.
 */
#ifndef TXN_H
#define TXN_H

#include "arena.h"
#include "base.h"
#include "core.h"

struct slf_db;
struct slf_cursor;

/* A tree's root as the transaction sees it. */
struct txn_tree {
	uint32_t id;
	bool dirty;
	struct tree_root root;
};

#define TXN_TREES_INLINE 4
#define TXN_GROUP 16 /* puts that are applied to the trees together */

enum txn_state { TXN_ENDED, TXN_READING, TXN_WRITING };

struct slf_txn {
	struct core *core;
	struct slf_db *db;
	struct reader *reader;
	enum txn_state state;
	struct version *version;    /* read: its snapshot; write: what it builds on */
	struct txn_tree *trees;     /* working roots that have been looked at */
	size_t tree_count, tree_capacity;
	struct txn_tree trees_inline[TXN_TREES_INLINE];
	uint32_t *tree_index;       /* where there are many: places in trees, from 1 on, by id; 0: free. 2 * tree_capacity */
	struct tree_lenses lenses;
	struct arena arena;
	struct slf_cursor *cursors; /* open ones, linked */
	uint64_t changes;           /* counts own writes: cursors seek again when it moved */
	/* counted by the one thread that uses the handle, summed by slf_stats */
	_Atomic uint64_t reads, gets, puts, dels, moves;
	_Atomic uint64_t read_seq;  /* version->seq of a reader, for slf_stats */

	/* writers only */
	struct edit edit;
	int doom;                   /* the failure that doomed it, 0 */
	uint32_t rollbacks;
	uint8_t *actions;           /* encoded, not yet spilled */
	size_t pending[TXN_GROUP];  /* offsets of those not yet applied to the trees */
	size_t pending_count;
	uint64_t pending_bytes;     /* of heap that they may take */
	size_t action_bytes, action_capacity;
	uint64_t action_total;      /* bytes, spilled ones included */
	uint32_t action_count;
	bool grows;                 /* one of the actions is not a deletion */
	struct digest digest;
	uint8_t *blob;
	size_t blob_bytes;
	struct entry_ref *chunks;   /* spilled actions */
	size_t chunk_count, chunk_capacity;
	struct entry_ref *parts;    /* bulk entries that the commit depends on, chunks included */
	size_t part_count, part_capacity;
	uint32_t next_tree;
	uint64_t entries_added;     /* user trees; modulo 2^64 */
	uint64_t heap_start;        /* heap_used at the beginning, or behind the last spill */
	uint64_t owed_start;        /* heap_owed at the beginning: by commits before it */
	bool starved;               /* the heap was full then, and no checkpoint found space */
	bool spilled;
	struct log_place replay;    /* of a large commit: where the replay of its mark begins */
};

/* A handle from the pool with a reader slot. */
int txn_new(struct core *core, struct slf_db *db, struct slf_txn **txn);
/* Ends the state and gives the handle back; cursors have been detached. Returns false when the database is gone (the
 * caller then drops its reference). */
bool txn_recycle(struct slf_txn *txn);
/* Frees a pooled handle's memory. txn may be NULL. */
void txn_free(struct slf_txn *txn);

int txn_begin_read(struct slf_txn *txn, bool durable);
/* timeout_ns as turn_take. On success the transaction has the turn. */
int txn_begin_write(struct slf_txn *txn, int64_t timeout_ns);

/* The root of a tree, with all own writes applied; an id that no tree can have is -EINVAL. Dirty roots are the edit's. */
int txn_tree(struct slf_txn *txn, uint32_t id, struct txn_tree **tree);

/* Is a record in the transaction's own memory, which its next write may change or free? */
static inline bool txn_owns(const struct slf_txn *txn, uint64_t birth)
{
	return txn->state == TXN_WRITING && birth == txn->edit.epoch;
}
/* The key or value of a record as a slice for the caller: in place where that lives as long as the transaction, else
 * copied into memory from alloc. */
int txn_key(struct slf_txn *txn, const struct found *found, value_alloc_fn *alloc, void *context, struct slf_slice *key);
int txn_value(struct slf_txn *txn, const struct found *found, value_alloc_fn *alloc, void *context,
	      struct slf_slice *value);
/* The usual alloc: the transaction's arena; context is the txn. */
void *txn_arena_alloc(void *context, size_t size, int *error);

int txn_get(struct slf_txn *txn, uint32_t tree, struct slf_slice key, struct slf_slice *value);
int txn_put(struct slf_txn *txn, uint32_t tree, struct slf_slice key, struct slf_slice value);
int txn_del(struct slf_txn *txn, uint32_t tree, struct slf_slice key);

/* Moves the gathered actions to bulk, as a chunk of the commit. */
int txn_spill_actions(struct slf_txn *txn);
/* Writes the working trees' heap nodes to bulk and frees them: for transactions that outgrow the heap. */
int txn_spill(struct slf_txn *txn);

/* Seals and passes the turn. A commit without changes is not sealed: *seq is that of its base. On
 * failure everything is undone. The transaction is over either way. */
int txn_commit(struct slf_txn *txn, bool async, uint64_t *seq);
/* Undoes and passes the turn. */
void txn_abort(struct slf_txn *txn);

/* Applies up to TXN_GROUP actions to the working trees, in order; nothing is recorded. SLF_NOTFOUND: one deletes what is not
 * there. */
int txn_apply(struct slf_txn *txn, struct action *actions, size_t count);
/* Applies the puts that have been recorded only. */
int txn_flush(struct slf_txn *txn);

#endif
