/* SPDX-License-Identifier: MIT */
/*
 * A writer of bulk: gathers entries in a 2 MiB image of its extent and writes them in large pieces, write-out started at
 * once. One thread at a time. What has been placed is in the file after bulk_flush, on stable storage after bulk_sync.
 */
#ifndef BULK_H
#define BULK_H

#include "base.h"
#include "extent.h"

struct bulk_place {
	uint64_t position;   /* of the extent, 0 for none */
	uint64_t fill;       /* bytes placed, from the start of the extent */
	uint64_t allocated;  /* bytes that are; of one that takes what is set aside */
};

struct bulk {
	struct extents *extents;
	bool set_aside;      /* takes what extents_reserve has set aside, and places nothing where no space is allocated */
	uint8_t *image;      /* EXTENT_BYTES, mapped when first needed */
	struct bulk_place at;
	uint64_t flushed;    /* bytes written, a multiple of 4096 */
	uint64_t gap;        /* where a block has room for small entries yet, behind flushed; 0 for none */
	bool lost;           /* what was placed could not be written: nothing more is, until bulk_undo */
	struct bulk_place start;  /* where bulk_begin was called */
	struct bulk_place *taken; /* the extents that came after it */
	size_t taken_count, taken_capacity;
	uint64_t bytes;      /* placed ever */
	uint64_t dirty[SPINDLE_WORDS]; /* spindles with unsynced writes */
};

void bulk_init(struct bulk *bulk, struct extents *extents, bool set_aside);
void bulk_release(struct bulk *bulk);

/* Gives room for an entry (length <= BULK_ENTRY_BYTES_MAX): its position and where to build it, until the next call.
 * node: placed by the rules for nodes. */
#define BULK_ENTRY_BYTES_MAX (EXTENT_BYTES - EXTENT_DATA)
int bulk_place(struct bulk *bulk, uint64_t length, bool node, uint64_t *position, void **bytes);

/* Of one that takes what is set aside: bulk_undo takes back all that has been placed since bulk_begin, to which nothing leads. Its
 * space, and what more was allocated for it, is there for the next attempt. */
void bulk_begin(struct bulk *bulk);
void bulk_undo(struct bulk *bulk);

/* Gives back what has been allocated behind the last entry: nothing more will be placed. */
void bulk_trim(struct bulk *bulk);

/* Takes a run of extents for one large entry; the caller has it written by bulk_write_run once it is built. */
int bulk_take_run(struct bulk *bulk, uint64_t length, uint64_t *position, void *header);
int bulk_write_run(struct bulk *bulk, uint64_t position, const void *header, const void *entry, uint64_t length);

/* Writes what has been placed. The next entry begins on a fresh 4 KiB block, so nothing is written twice. */
int bulk_flush(struct bulk *bulk);
/* Flushes and syncs all spindles it has written to. */
int bulk_sync(struct bulk *bulk);

#endif
