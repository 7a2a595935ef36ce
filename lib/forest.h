/* SPDX-License-Identifier: MIT */
/*
 * The forest of a version: tree id -> root, for the trees that changed since the last checkpoint; all others stand in the
 * roots tree on disk. A persistent radix tree of 16-way nodes on the heap, copied on write as trees are. Any thread reads
 * a forest that its snapshot protects; the holder of the turn makes new ones.
 */
#ifndef FOREST_H
#define FOREST_H

#include "base.h"
#include "slab.h"
#include "tree.h"

struct forest; /* NULL: empty */

/* NULL when the tree is not in the forest. */
const struct tree_root *forest_get(const struct forest *forest, uint32_t id);

/* Sets id to root in *forest. */
int forest_put(struct edit *edit, struct forest **forest, uint32_t id, const struct tree_root *root);

/* Calls each for the ids >= from, in their order, until it returns non-zero. birth: epoch in which the root was put. */
typedef int forest_fn(void *context, uint32_t id, const struct tree_root *root, uint64_t birth);
int forest_each(const struct forest *forest, uint32_t from, forest_fn *each, void *context);

/* Drops all of it. */
int forest_drop(struct edit *edit, struct forest *forest);

#endif
