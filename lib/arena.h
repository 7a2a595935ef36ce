/* SPDX-License-Identifier: MIT */
/*
 * An arena: memory that lives as long as a transaction, given in pieces and ended at once, with a limit. One thread at a
 * time.
 */
#ifndef ARENA_H
#define ARENA_H

#include "base.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *chunk; /* newest */
	struct arena_chunk *kept;  /* a small one for the first need after arena_reset; it counts as what it is taken for */
	size_t used;               /* of the newest chunk, bytes */
	uint64_t total;            /* of all chunks, bytes */
	uint64_t limit;            /* bytes */
};

void arena_init(struct arena *arena, uint64_t limit);
/* size bytes, 8-byte aligned, or NULL with *error: SLF_EARENA (noted) or -ENOMEM. */
void *arena_alloc(struct arena *arena, size_t size, int *error);
/* Ends everything, and keeps one small chunk; what the arena gives and refuses next is as after arena_init. */
void arena_reset(struct arena *arena);
void arena_release(struct arena *arena);

#endif
