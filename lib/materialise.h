/* SPDX-License-Identifier: MIT */
/*
 * Writing heap nodes to bulk, bottom-up and in key order: the one routine behind checkpoints and large transactions. The
 * nodes are only *noted* (block->position, hash, length); whoever asked decides when child words are swapped. One thread at
 * a time (struct checkpoint sees to it); the trees must not change meanwhile.
 */
#ifndef MATERIALISE_H
#define MATERIALISE_H

#include "base.h"
#include "bulk.h"
#include "forest.h"
#include "tree.h"

struct materialiser {
	struct store *store;
	struct bulk nodes, values;
	struct heap *heap;       /* of the roots tree while it is being changed */
	struct garbage written;  /* blocks noted since materialise_begin, children before parents */
	struct records records;  /* scratch */
	uint8_t *scratch;        /* references of a leaf, compressed values */
	size_t scratch_capacity;
	uint64_t bytes, owed;    /* written since materialise_begin; what the blocks noted since then owed */
};

int materialiser_init(struct materialiser *materialiser, struct store *store, struct extents *extents);
void materialiser_release(struct materialiser *materialiser);

void materialise_begin(struct materialiser *materialiser);
/* Writes what of the tree is on the heap; *root becomes its place on disk. On failure the caller calls
 * materialise_undo. */
int materialise_tree(struct materialiser *materialiser, uint32_t tree, struct tree_root *root);
/* Writes all trees of the forest and the roots tree that leads to them; *roots becomes the new root of the roots tree. */
int materialise_forest(struct materialiser *materialiser, const struct forest *forest, struct tree_root *roots);
/* All of it is in the files. */
int materialise_flush(struct materialiser *materialiser);
/* And on stable storage. Only a failed flush of a device fails when materialise_flush was called before. */
int materialise_sync(struct materialiser *materialiser);
/* Takes back the notes of everything written since materialise_begin. */
void materialise_forget(struct materialiser *materialiser);
/* And what was written, to which nothing leads: the space is set aside again. */
void materialise_undo(struct materialiser *materialiser);
/* Gives back the space behind what was written. */
void materialise_trim(struct materialiser *materialiser);

/* Takes blocks that have been retired by others out of the written list, which afterwards can be left to itself: from
 * *at on, until the time is up; 0 when it is done, SLF_END when there is more. */
int materialise_prune(struct materialiser *materialiser, size_t *at, size_t *kept, uint64_t deadline_ns);

/* Drops the first *left of the written nodes where they are not retired, and the values that only they lead to, by the
 * function; counts *left down, until the time is up (0: all). 0 when it is done, SLF_END when there is more, or a failure
 * of drop. */
typedef int drop_fn(void *context, struct block *block);
int materialise_drop(struct materialiser *materialiser, size_t *left, drop_fn *drop, void *context,
		     uint64_t deadline_ns);

#endif
