/* SPDX-License-Identifier: MIT */
/*
 * Extents: which 2 MiB pieces of the spindles have been given to the log and to bulk, and the space that is set aside for writing
 * what the heap holds. Extents are taken in ascending order on each spindle. Any thread; a mutex guards all of it, inside of which
 * only a spindle's mutex and the lock of a verified slot are taken.
 *
 * Set aside is what is allocated behind the frontiers, and extents of bulk that were given back. extents_reserve makes a promise
 * of it. extents_take leaves as much of it as is promised; extents_take_set_aside keeps the promise, and what it has taken counts
 * as spent until the promise ends or the extent is given back.
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
	uint64_t spent;                 /* of these: taken */
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

/* seq is the newest commit now, for the headers of extents taken from here on. */
void extents_note(struct extents *extents, uint64_t seq);

/* Gives back the space that is set aside, where the file system can. */
void extents_trim(struct extents *extents);

/* Promises that so many bytes of what is set aside are there for extents_take_set_aside. */
int extents_reserve(struct extents *extents, uint64_t bytes);
/* Nothing is promised any more: what it was made for has been written. */
void extents_redeem(struct extents *extents);
static inline uint64_t extents_promised(struct extents *extents)
{
	return atomic_load_explicit(&extents->promised, memory_order_relaxed);
}

#endif
