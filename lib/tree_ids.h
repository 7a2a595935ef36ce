/* SPDX-License-Identifier: MIT */
/*
 * Ids of trees that a handle has given out. One that a transaction was given which then did not come to be is not given to
 * another tree: who still has it would write there. Guarded by the turn; not kept over openings, as ids are not.
 */
#ifndef TREE_IDS_H
#define TREE_IDS_H

#include "base.h"

struct tree_gap {
	uint32_t first, end;
};

struct tree_ids {
	uint32_t next;          /* above all that were given out by this handle */
	struct tree_gap *gaps;  /* ids that no tree has, in order */
	size_t count, capacity;
};

/* Before a transaction that stands on a version with this next id: *next gets its own. 0 or -ENOMEM. */
int tree_ids_begin(struct tree_ids *ids, uint32_t version_next, uint32_t *next);
/* The id has been given out. */
static inline void tree_ids_give(struct tree_ids *ids, uint32_t id)
{
	ids->next = id + 1;
}
/* Was it given to a tree that did not come to be? */
bool tree_ids_lost(const struct tree_ids *ids, uint32_t id);
void tree_ids_release(struct tree_ids *ids);

#endif
