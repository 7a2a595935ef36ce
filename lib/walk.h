/* SPDX-License-Identifier: MIT */
/*
 * Walking a tree in key order, both ways: the part of a cursor that knows nodes but no transactions. One thread at a time.
 * The root must stay protected by a snapshot and unchanged between calls; after a change the walk is sought again.
 *
 * A walk stands between two records. walk_next gives the one behind and passes it; walk_prev the one before and passes it.
 */
#ifndef WALK_H
#define WALK_H

#include "base.h"
#include "tree.h"

struct walk_step {
	const struct node *node;
	uint32_t index;   /* child that the walk is in */
	struct lens lens; /* pread mode */
};

struct walk {
	struct store *store;
	uint32_t tree;
	unsigned height; /* of the root sought last; 0: nothing to walk */
	int failure;     /* of the last crossing or search: told again until the walk is sought again */
	struct walk_step steps[NODE_LEVELS_MAX]; /* by level, 1 .. height - 1 are branches */
	struct leaf_view leaf;
	struct tree_lens lenses[2]; /* pread mode: of the leaf, and of the one before it */
	unsigned lens;             /* which of the two is the leaf's */
	uint32_t top_index;        /* records of the leaf's top before the place */
	uint32_t base_index;       /* records of its base before the place */
	uint32_t top_count;        /* records of the top; 0 while there is no leaf */
	uint32_t base_count;       /* records of the base; 0 while there is none */
	bool forward;              /* the direction of the last crossing */
	uint64_t passed_bytes;     /* of leaves and bases on disk, in that direction since the walk was sought */
	uint64_t passed_max;       /* up to here they need not be compared with the files */
};

/* No memory is taken until pread mode needs a lens. */
void walk_init(struct walk *walk, struct store *store, uint32_t tree);
void walk_release(struct walk *walk);

/* Places the walk before the first record with key >= key. */
int walk_seek(struct walk *walk, const struct tree_root *root, struct slf_slice key);
/* Before the first record, behind the last. */
int walk_seek_first(struct walk *walk, const struct tree_root *root);
int walk_seek_last(struct walk *walk, const struct tree_root *root);

/* 0 and the record passed, SLF_END, or a failure (then the walk must be sought again). In pread mode the record lives
 * until the walk leaves the leaf; in map mode as long as the snapshot. */
int walk_next(struct walk *walk, struct found *found);
int walk_prev(struct walk *walk, struct found *found);

#endif
