/* SPDX-License-Identifier: MIT */
/*
 * Many lookups at once in one tree. Probes advance level by level together: each step prefetches the memory of the next
 * level while others work, and entries that are not known to be in memory are asked for together (store_prefetch), so a
 * cold batch reads at depth instead of one page fault after the other.
 */
#ifndef PROBE_H
#define PROBE_H

#include "base.h"
#include "tree.h"

#define PROBE_BATCH 64

/* Called for each key with 0 and the record, SLF_NOTFOUND, or a failure; in pread mode the record lives until it
 * returns. Returns 0, or a failure that ends the whole. */
typedef int probe_fn(void *context, size_t index, int result, const struct found *found);

/* values: each will ask for the values, so they are brought nearer, too. */
int probe_run(struct store *store, uint32_t tree, const struct tree_root *root, const struct slf_slice *keys,
	      size_t count, bool values, probe_fn *each, void *context);

#endif
