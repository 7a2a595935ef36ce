/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <stdlib.h>

#include "error.h"

#define CHUNK_BYTES_MIN 4096
#define CHUNK_BYTES_MAX (1024 * 1024)
#define CHUNK_BYTES_KEPT (64 * 1024)

struct arena_chunk {
	struct arena_chunk *next;
	size_t capacity;
	size_t size; /* what counts of it: as much as was wanted */
	_Alignas(16) uint8_t bytes[];
};

void arena_init(struct arena *arena, uint64_t limit)
{
	*arena = (struct arena){ .limit = limit };
}

/* The kept chunk where it is large enough, else it goes. */
static struct arena_chunk *chunk_take(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk = arena->kept;

	arena->kept = NULL;
	if (!chunk || chunk->capacity < size) {
		free(chunk);
		chunk = malloc(sizeof(*chunk) + size);
		if (!chunk)
			return NULL;
		chunk->capacity = size;
	}
	chunk->size = size;
	return chunk;
}

static int arena_grow(struct arena *arena, size_t size)
{
	size_t bytes = arena->chunk ? u64_min(arena->chunk->size * 2, CHUNK_BYTES_MAX) : CHUNK_BYTES_MIN;
	struct arena_chunk *chunk;

	if (size > arena->limit || arena->total > arena->limit - size)
		return error_set(SLF_EARENA, NULL, -1, OFFSET_NONE,
				 "the transaction's arena has reached its limit of %llu bytes: end the transaction, call "
				 "slf_txn_trim, use SLF_TRANSIENT cursors or raise arena_bytes",
				 (unsigned long long)arena->limit);
	if (bytes < size)
		bytes = size;
	bytes = u64_min(bytes, u64_max(arena->limit - arena->total, size));
	chunk = chunk_take(arena, bytes);
	if (!chunk)
		return -ENOMEM;
	chunk->next = arena->chunk;
	arena->chunk = chunk;
	arena->total += bytes;
	arena->used = 0;
	return 0;
}

void *arena_alloc(struct arena *arena, size_t size, int *error)
{
	void *piece;

	size = size > SIZE_MAX - 7 ? size : align_up(size, 8);
	if (!arena->chunk || size > arena->chunk->size - arena->used) {
		int result = arena_grow(arena, size);

		if (result) {
			*error = result;
			return NULL;
		}
	}
	piece = arena->chunk->bytes + arena->used;
	arena->used += size;
	return piece;
}

void arena_reset(struct arena *arena)
{
	struct arena_chunk *chunk;

	while ((chunk = arena->chunk)) {
		arena->chunk = chunk->next;
		if (!chunk->next && chunk->capacity <= CHUNK_BYTES_KEPT)
			arena->kept = chunk;
		else
			free(chunk);
	}
	arena->used = 0;
	arena->total = 0;
}

void arena_release(struct arena *arena)
{
	arena_reset(arena);
	free(arena->kept);
	arena->kept = NULL;
}
