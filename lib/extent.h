/* SPDX-License-Identifier: MIT */
/*
 * Extents: which 2 MiB pieces of the spindles have been given to the log and to bulk, and the space that is set aside for writing
 * what the heap holds. Extents are taken in ascending order on each spindle. Any thread; a mutex guards all of it, inside of which
 * only a spindle's mutex and the lock of a verified slot are taken.
 *
 * Set aside is what is allocated behind the frontiers, and extents of bulk that were given back. extents_reserve makes a promise
 * of it. extents_take leaves as much of it as is promised; extents_take_set_aside keeps the promise, and what it has taken counts
 * as spent until the promise is redeemed or the extent is given back. Invariant, where nothing has failed: what is set aside, the
 * rest of the extents that were begun, and what is spent are at least what is promised.
 */
#ifndef EXTENT_H
#define EXTENT_H

#include <pthread.h>

#include "base.h"
#include "slab.h"
#include "store.h"

struct extents {
	struct store *store;
	pthread_mutex_t mutex;
	uint64_t salt;
	uint64_t log_count, bulk_count; /* taken ever: numbers for headers */
	_Atomic uint64_t seq;           /* newest commit, for headers; relaxed, not under the mutex */
	_Atomic uint64_t promised;      /* bytes; raised by extents_reserve; relaxed, a look at it needs no mutex */
	uint64_t spent;                 /* taken since a promise was made */
	struct extent_spindle {
		uint64_t next;          /* index of the first extent never taken */
		uint64_t bulk_bytes;    /* taken for bulk */
		uint64_t allocated_end; /* space behind the frontier is allocated up to here */
	} *spindles;
	struct extent_returned {
		uint64_t position;
		uint64_t allocated; /* bytes at its beginning */
	} *returned;                    /* extents of bulk to which nothing leads */
	size_t returned_count, returned_capacity;
};

int extents_init(struct extents *extents, struct store *store);
void extents_release(struct extents *extents);

/* Takes `run` extents in a row for a stream: on spindle 0 for the log, else where the least bulk is, or where there is space. Runs
 * of up to 1 GiB do not cross a map window. The header has been encoded into header (EXTENT_HEADER_BYTES) for the caller to
 * write. allocate: bytes at the beginning to allocate now. -ENOSPC and the like leave everything as it was. */
int extents_take(struct extents *extents, enum stream stream, uint32_t run, uint64_t allocate, uint64_t *position, void *header);
/* Takes an extent of bulk from what is set aside, as far as it goes. *allocated: bytes at its beginning that are allocated,
 * `allocate` or more. */
int extents_take_set_aside(struct extents *extents, uint64_t allocate, uint64_t *position, uint64_t *allocated, void *header);
/* Gives back an extent of bulk to which nothing leads, neither in the files nor in memory: it is set aside again. */
void extents_return(struct extents *extents, uint64_t position, uint64_t allocated);

/* Gives the space of a range back to the file system, where it can take it. */
void extents_give_back(struct extents *extents, uint64_t position, uint64_t length);

/* seq is the newest commit now, for the headers of extents taken from here on. */
void extents_note(struct extents *extents, uint64_t seq);

/* Gives back the space that is set aside, where the file system can. */
void extents_trim(struct extents *extents);

/* Promises that extents_take_set_aside finds room for entries of so many bytes, as store_room() counts them, what is spent included:
 * up to a quarter more, where there is space. */
int extents_reserve(struct extents *extents, uint64_t bytes);
/* No more than so many bytes need be promised. */
void extents_relax(struct extents *extents, uint64_t bytes);
/* What has been spent is gone, for what was promised or for nothing. So many bytes are needed now: as much of it as is there is
 * promised. */
void extents_redeem(struct extents *extents, uint64_t bytes);
static inline uint64_t extents_promised(const struct extents *extents)
{
	return atomic_load_explicit(&extents->promised, memory_order_relaxed);
}

#endif
