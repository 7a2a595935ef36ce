/* SPDX-License-Identifier: MIT */
/*
 * The heap: memory for changed nodes, values and version parts. Size classes of 128 bytes in 64 KiB spans of 2 MiB
 * chunks (advised for huge pages); the bitmaps of free blocks stand outside the blocks; larger blocks are whole pages
 * of a chunk, above 1 MiB from mmap. Blocks are 64-byte aligned.
 *
 * Thread rule: one thread at a time may allocate and free (the holder of the writer's turn); any thread may read
 * blocks. Counters may be read by any thread. Under AddressSanitizer free blocks are poisoned.
 */
#ifndef HEAP_H
#define HEAP_H

#include "base.h"

enum block_kind { BLOCK_NODE = 1, BLOCK_VALUE = 2, BLOCK_FOREST = 3, BLOCK_ROOT = 4 };

/* Stands before every block's payload; 64 bytes, so the payload is 64-byte aligned. */
struct block {
	uint64_t birth;    /* epoch of the transaction that made it */
	uint64_t position; /* where materialise has written it; 0: nowhere yet. Written by the checkpointer, read by the
			      holder of the turn after the checkpoint handed over */
	uint64_t hash;     /* content hash there */
	uint32_t length;   /* length there, bytes */
	uint32_t stored;   /* of a value: stored bytes there */
	uint32_t raw;      /* of a value: bytes */
	uint32_t size;     /* of the payload as asked for, bytes */
	uint32_t owed;     /* bytes that its entry may need in bulk, see heap_owe */
	uint8_t kind;      /* enum block_kind */
	uint8_t retired;   /* it stands on a list of garbage */
	uint8_t origin;    /* heap's own: how it was allocated */
	uint8_t settled;   /* what it owes counts no more, or will not when its checkpoint is done; written as position is */
	uint64_t born_next; /* address of the block that the same transaction has made before it; 0: none */
	union {
		uint64_t born_previous; /* of the one made after it; while the transaction is open */
		uint64_t retired_at;    /* epoch from which on versions do without it; once it is on its way to be freed */
	};
};
_Static_assert(sizeof(struct block) == 64, "block header");

struct heap;

int heap_new(struct heap **heap);
void heap_free_all(struct heap *heap); /* unmaps everything; heap may be NULL */

/* A block whose payload has at least size bytes, not zeroed; the header is zeroed but for birth, kind, size and origin.
 * NULL when there is no memory, or size is above UINT32_MAX. */
struct block *heap_alloc(struct heap *heap, size_t size, enum block_kind kind, uint64_t birth);
void heap_free(struct heap *heap, struct block *block);
/* Payload bytes that the block really has (>= size). For the thread that may allocate; block->origin must be intact. */
size_t heap_room(const struct block *block);

static inline void *block_payload(struct block *block) { return block + 1; }
static inline struct block *block_of(const void *payload) { return (struct block *)(uintptr_t)payload - 1; }

/* Bytes of live blocks with headers and rounding; bytes that the heap has mapped from the system. */
uint64_t heap_used(const struct heap *heap);
uint64_t heap_held(const struct heap *heap);

/* The next checkpoint needs room for so many bytes more, until the block is freed or they are settled. */
void heap_owe(struct heap *heap, struct block *block, uint64_t bytes);
/* No checkpoint will write the block. */
void heap_waive(struct heap *heap, struct block *block);
/* A checkpoint has written blocks, and marked them as settled, that owed so many bytes. */
void heap_settle(struct heap *heap, uint64_t bytes);
uint64_t heap_owed(const struct heap *heap);

#endif
