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
	struct arena_chunk *chunk; /* newest; the last of the list is kept by arena_reset when it is small */
	size_t used;               /* of the newest chunk, bytes */
	uint64_t total;            /* of all chunks, bytes */
	uint64_t limit;            /* bytes */
};

void arena_init(struct arena *arena, uint64_t limit);
/* size bytes, 8-byte aligned, or NULL with *error: SLF_EARENA (noted) or -ENOMEM. */
void *arena_alloc(struct arena *arena, size_t size, int *error);
/* Ends everything; keeps one small chunk for the next use. */
void arena_reset(struct arena *arena);
void arena_release(struct arena *arena);

#endif
