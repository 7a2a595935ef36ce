/* SPDX-License-Identifier: MIT */
/*
 * Extents: which 2 MiB pieces of the spindles have been given to the log and to bulk, and the space allocated ahead.
 * Extents are taken in ascending order on each spindle. Any thread; a mutex guards the
 * rest, inside of which only a spindle's mutex and the lock of a verified slot are taken.
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
	_Atomic uint64_t drawn;         /* bytes that extents_reserve had set aside and that went to others */
	struct extent_spindle {
		uint64_t next;          /* index of the first extent never taken */
		uint64_t bulk_bytes;    /* taken for bulk */
		uint64_t allocated_end; /* space behind the frontier is allocated up to here */
	} *spindles;
};

int extents_init(struct extents *extents, struct store *store);
void extents_release(struct extents *extents);

/* Takes `run` extents in a row for a stream: on spindle 0 for the log, else where the least bulk is. Runs of up to 1 GiB
 * do not cross a map window. The header has been encoded into header (EXTENT_HEADER_BYTES) for the caller to write.
 * allocate: bytes at the beginning to allocate now. set_aside: it is for what extents_reserve has set space aside for, and
 * goes where that is. -ENOSPC and the like leave everything as it was. */
int extents_take(struct extents *extents, enum stream stream, uint32_t run, uint64_t allocate, bool set_aside,
		 uint64_t *position, void *header);

/* seq is the newest commit now, for the headers of extents taken from here on. */
void extents_note(struct extents *extents, uint64_t seq);

/* Gives back the space that is allocated behind the frontiers, where the file system can. */
void extents_trim(struct extents *extents);

/* Makes sure that at least `bytes` behind the frontiers are allocated: what the heap holds can then be written. Others may take
 * some of it all the same, which is to be set aside anew: extents_drawn tells how much, once. */
int extents_reserve(struct extents *extents, uint64_t bytes);
uint64_t extents_drawn(struct extents *extents);

#endif
