/* SPDX-License-Identifier: MIT */
/*
 * Three sizes of blocks, header and rounding included:
 *
 *   small    up to 8 KiB, in classes of 128 bytes. A class draws from spans: 64 KiB that are cut into blocks of one
 *            size, with a bitmap of the free ones.
 *   large    up to 1 MiB, whole pages of 4 KiB: a run of pages of one chunk.
 *   huge     above, each with a mapping of its own.
 *
 * Chunks are 2 MiB of memory at a multiple of 2 MiB, so that the kernel can back each by one huge page and the chunk of
 * a block is found by a mask. What is known of a chunk stands outside it, in struct chunk, packed closely: were it at
 * the head of each chunk, the hot lines of all chunks would compete for the same few sets of the processor's caches.
 * The first page of a chunk holds just the pointer to its struct chunk, for the same reason at a place that depends on
 * the address. Spans begin at multiples of 64 KiB (the first one behind that page); large runs anywhere.
 *
 * States of a span: unused (its pages are free) -> partial (on its class's list) <-> full (on no list), and partial
 * -> empty. One empty span per class is kept as the class's spare, the others give back their pages. A chunk without
 * live blocks is idle; the heap keeps a few of these, spares within included, and unmaps the others. So neither a block
 * nor a span nor a chunk that comes and goes in turn costs a call into the kernel.
 *
 * Failure modes: the system gives no memory (for a chunk, its struct, a mapping): heap_alloc returns NULL and nothing
 * has changed. The system takes no memory back (munmap at the limit of mappings): the chunk stays idle, a huge mapping
 * stays held until heap_free_all.
 *
 * Rejected: free lists through the blocks (each step is a cache miss, and a stray write destroys the list); glibc's
 * malloc (its headers and its trimming cost a third of the random fill).
 */
#include "heap.h"

#include <stdlib.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#define PAGE_BYTES ((size_t)4096)
#define SPAN_BYTES ((size_t)65536)
#define CHUNK_BYTES ((size_t)2 << 20)
#define CLASS_UNIT_BYTES ((size_t)128)
#define SMALL_BYTES_MAX ((size_t)8192)
#define LARGE_BYTES_MAX ((size_t)1 << 20)
#define CLASS_COUNT (SMALL_BYTES_MAX / CLASS_UNIT_BYTES)
#define PAGE_COUNT (CHUNK_BYTES / PAGE_BYTES)
#define SPAN_COUNT (CHUNK_BYTES / SPAN_BYTES)
#define SPAN_PAGES (SPAN_BYTES / PAGE_BYTES)
#define SPAN_BLOCKS_MAX (SPAN_BYTES / CLASS_UNIT_BYTES)
#define IDLE_CHUNKS_MAX 2

/* block->origin */
enum origin { ORIGIN_SPAN, ORIGIN_PAGES, ORIGIN_MAPPING };

struct span {
	_Alignas(128) uint64_t free[SPAN_BLOCKS_MAX / 64]; /* 1: the block is free */
	char *base;                          /* first block */
	struct chunk *chunk;
	struct span *next, *previous; /* on the class's list of partial spans */
	uint32_t block_bytes;
	uint16_t free_count, block_count;
	uint32_t reciprocal; /* 65536 / (block_bytes / 128), rounded up */
	uint8_t class;
	uint8_t words; /* bit i: free[i] is not 0 */
	bool active;   /* its pages are its own */
};
_Static_assert(sizeof(struct span) == 128, "two cache lines");

struct chunk {
	char *base;
	struct chunk *next, *previous;
	uint32_t busy;      /* spans with live blocks, and large blocks */
	uint16_t page_free; /* pages that neither a span nor a large block has */
	uint16_t run_max;   /* no free run is longer than this (it may be less) */
	bool spans_none;    /* no free pages make up a span */
	uint64_t used[PAGE_COUNT / 64]; /* 1: page is taken */
	uint64_t last[PAGE_COUNT / 64]; /* 1: page is the last one of a large block */
	struct span spans[SPAN_COUNT];
};

/* Stands before a huge block. */
struct mapping {
	struct mapping *next, *previous;
	uint64_t bytes; /* of the whole mapping */
	uint64_t unused[5];
};
_Static_assert(sizeof(struct mapping) == 64, "keeps the block aligned");

struct class {
	struct span *first; /* partial spans; full ones are on no list */
	struct span *spare; /* an empty one, or NULL */
};

struct heap {
	struct class classes[CLASS_COUNT];
	struct chunk *first, *last; /* all chunks: those with free pages before those without */
	struct mapping *mappings;
	unsigned idle_count;        /* chunks without live blocks */
	_Atomic uint64_t used_bytes, held_bytes, owed_bytes;
};

/* Only one thread at a time changes a counter, so it needs no locked instruction. */
static void counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + amount, memory_order_relaxed);
}

static void counter_subtract(_Atomic uint64_t *counter, uint64_t amount)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	assert(value >= amount);
	atomic_store_explicit(counter, value - amount, memory_order_relaxed);
}

/* Bitmaps of pages */

/* The first page from page on whose bit is value; PAGE_COUNT when there is none. */
static size_t bits_find(const uint64_t *words, size_t page, bool value)
{
	while (page < PAGE_COUNT) {
		uint64_t word = (value ? words[page / 64] : ~words[page / 64]) >> page % 64;

		if (word)
			return page + (size_t)__builtin_ctzll(word);
		page = align_down(page, 64) + 64;
	}
	return PAGE_COUNT;
}

static void bits_set(uint64_t *words, size_t page, size_t count, bool value)
{
	for (size_t end = page + count; page < end;) {
		size_t here = u64_min(end - page, 64 - page % 64);
		uint64_t mask = (here == 64 ? ~(uint64_t)0 : ((uint64_t)1 << here) - 1) << page % 64;

		if (value)
			words[page / 64] |= mask;
		else
			words[page / 64] &= ~mask;
		page += here;
	}
}

/* Chunks */

/* Where a chunk's first page keeps the pointer to its struct chunk. */
static struct chunk **chunk_place(const void *address)
{
	uintptr_t base = align_down((uintptr_t)address, CHUNK_BYTES);

	return (struct chunk **)(base + base / CHUNK_BYTES % 64 * 64);
}

static struct chunk *chunk_of(const struct block *block)
{
	return *chunk_place(block);
}

static void chunk_link(struct heap *heap, struct chunk *chunk, bool at_front)
{
	chunk->previous = at_front ? NULL : heap->last;
	chunk->next = at_front ? heap->first : NULL;
	*(chunk->previous ? &chunk->previous->next : &heap->first) = chunk;
	*(chunk->next ? &chunk->next->previous : &heap->last) = chunk;
}

static void chunk_unlink(struct heap *heap, struct chunk *chunk)
{
	*(chunk->previous ? &chunk->previous->next : &heap->first) = chunk->next;
	*(chunk->next ? &chunk->next->previous : &heap->last) = chunk->previous;
}

static void *memory_map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* 2 MiB at a multiple of 2 MiB, or NULL. Recent kernels align by themselves; else map twice as much and trim it. */
static char *memory_map_chunk(void)
{
	char *memory = memory_map(CHUNK_BYTES);
	size_t head = 0;

	if (!memory || (uintptr_t)memory % CHUNK_BYTES == 0)
		return memory;
	munmap(memory, CHUNK_BYTES);
	memory = memory_map(2 * CHUNK_BYTES);
	if (!memory)
		return NULL;
	head = align_up((uintptr_t)memory, CHUNK_BYTES) - (uintptr_t)memory;
	if ((head && munmap(memory, head)) || munmap(memory + head + CHUNK_BYTES, CHUNK_BYTES - head)) {
		munmap(memory, 2 * CHUNK_BYTES);
		return NULL;
	}
	return memory + head;
}

static struct chunk *chunk_new(struct heap *heap)
{
	struct chunk *chunk = aligned_alloc(_Alignof(struct chunk), sizeof(*chunk));

	if (!chunk)
		return NULL;
	memset(chunk, 0, sizeof(*chunk));
	chunk->base = memory_map_chunk();
	if (!chunk->base) {
		free(chunk);
		return NULL;
	}
	madvise(chunk->base, CHUNK_BYTES, MADV_HUGEPAGE); /* a wish: without huge pages it works as well */
	*chunk_place(chunk->base) = chunk;
	ASAN_POISON_MEMORY_REGION(chunk->base + PAGE_BYTES, CHUNK_BYTES - PAGE_BYTES);
	chunk->used[0] = 1;
	chunk->page_free = PAGE_COUNT - 1;
	chunk->run_max = PAGE_COUNT - 1;
	chunk_link(heap, chunk, true);
	heap->idle_count++;
	counter_add(&heap->held_bytes, CHUNK_BYTES);
	return chunk;
}

/* Gives an idle chunk back to the system, and with it the spare spans inside. */
static void chunk_free(struct heap *heap, struct chunk *chunk)
{
	assert(!chunk->busy);
	ASAN_UNPOISON_MEMORY_REGION(chunk->base + PAGE_BYTES, CHUNK_BYTES - PAGE_BYTES);
	if (munmap(chunk->base, CHUNK_BYTES)) {
		ASAN_POISON_MEMORY_REGION(chunk->base + PAGE_BYTES, CHUNK_BYTES - PAGE_BYTES);
		return;
	}
	for (struct span *span = chunk->spans; span < chunk->spans + SPAN_COUNT; span++)
		if (span->active) {
			assert(heap->classes[span->class].spare == span);
			heap->classes[span->class].spare = NULL;
		}
	chunk_unlink(heap, chunk);
	heap->idle_count--;
	counter_subtract(&heap->held_bytes, CHUNK_BYTES);
	free(chunk);
}

static void chunk_busy_add(struct heap *heap, struct chunk *chunk)
{
	if (chunk->busy++ == 0)
		heap->idle_count--;
}

/* chunk may be gone on return. */
static void chunk_busy_drop(struct heap *heap, struct chunk *chunk)
{
	assert(chunk->busy);
	if (--chunk->busy)
		return;
	heap->idle_count++;
	if (heap->idle_count > IDLE_CHUNKS_MAX)
		chunk_free(heap, chunk);
}

static void pages_take(struct heap *heap, struct chunk *chunk, size_t page, size_t count)
{
	assert(chunk->page_free >= count);
	bits_set(chunk->used, page, count, true);
	chunk->page_free = (uint16_t)(chunk->page_free - count);
	if (!chunk->page_free) {
		chunk_unlink(heap, chunk);
		chunk_link(heap, chunk, false);
	}
}

static void pages_give(struct heap *heap, struct chunk *chunk, size_t page, size_t count)
{
	if (!chunk->page_free) {
		chunk_unlink(heap, chunk);
		chunk_link(heap, chunk, true);
	}
	bits_set(chunk->used, page, count, false);
	chunk->page_free = (uint16_t)(chunk->page_free + count);
	chunk->run_max = PAGE_COUNT;
	chunk->spans_none = false;
}

/* A free run of count pages; PAGE_COUNT when there is none. */
static size_t chunk_find_run(struct chunk *chunk, size_t count)
{
	size_t end = 0;

	if (count > chunk->run_max)
		return PAGE_COUNT;
	for (size_t page = bits_find(chunk->used, 0, false); page < PAGE_COUNT;
	     page = bits_find(chunk->used, end, false)) {
		end = bits_find(chunk->used, page, true);
		if (end - page >= count)
			return page;
	}
	chunk->run_max = (uint16_t)(count - 1);
	return PAGE_COUNT;
}

/* The first page of a free span; PAGE_COUNT when there is none. Page 0 is never free, so span 0 begins with page 1. */
static size_t chunk_find_span(struct chunk *chunk)
{
	for (size_t page = 0; page < PAGE_COUNT && !chunk->spans_none; page += SPAN_PAGES) {
		uint64_t used = chunk->used[page / 64] >> page % 64 & 0xffff;

		if (used == (page == 0))
			return page ? page : 1;
	}
	chunk->spans_none = true;
	return PAGE_COUNT;
}

/*
 * Finds room for a span (count 0) or for a large block of count pages. Idle chunks are the second choice, so that they
 * stay idle, and a new chunk is the last. NULL when there is no memory.
 */
static struct chunk *chunk_find(struct heap *heap, size_t count, size_t *page)
{
	struct chunk *idle = NULL;
	size_t idle_page = 0, found = PAGE_COUNT;

	for (struct chunk *chunk = heap->first; chunk && chunk->page_free; chunk = chunk->next) {
		if (idle && !chunk->busy)
			continue;
		found = count ? chunk_find_run(chunk, count) : chunk_find_span(chunk);
		if (found == PAGE_COUNT)
			continue;
		if (chunk->busy) {
			*page = found;
			return chunk;
		}
		idle = chunk;
		idle_page = found;
	}
	if (!idle) {
		idle = chunk_new(heap);
		idle_page = 1;
	}
	if (idle)
		*page = idle_page;
	return idle;
}

/* Small blocks */

static void span_link(struct class *class, struct span *span)
{
	span->previous = NULL;
	span->next = class->first;
	if (span->next)
		span->next->previous = span;
	class->first = span;
}

static void span_unlink(struct class *class, struct span *span)
{
	*(span->previous ? &span->previous->next : &class->first) = span->next;
	if (span->next)
		span->next->previous = span->previous;
}

static size_t span_page(const struct span *span)
{
	return (size_t)(span->base - span->chunk->base) / PAGE_BYTES;
}

/* Pages of the span that begins with page: the first one of a chunk lacks one. */
static size_t span_pages(size_t page)
{
	return SPAN_PAGES - page % SPAN_PAGES;
}

/* Cuts free pages into blocks of a class. */
static struct span *span_new(struct heap *heap, unsigned class)
{
	size_t units = class + 1, page = 0;
	struct chunk *chunk = chunk_find(heap, 0, &page);
	struct span *span = NULL;

	if (!chunk)
		return NULL;
	pages_take(heap, chunk, page, span_pages(page));
	span = &chunk->spans[page / SPAN_PAGES];
	assert(!span->active);
	*span = (struct span){ .base = chunk->base + page * PAGE_BYTES, .chunk = chunk, .active = true };
	span->class = (uint8_t)class;
	span->block_bytes = (uint32_t)(units * CLASS_UNIT_BYTES);
	span->reciprocal = (uint32_t)((65536 + units - 1) / units);
	span->block_count = (uint16_t)(span_pages(page) * PAGE_BYTES / span->block_bytes);
	span->free_count = span->block_count;
	bits_set(span->free, 0, span->block_count, true);
	for (unsigned i = 0; i < ARRAY_SIZE(span->free); i++)
		if (span->free[i])
			span->words = (uint8_t)(span->words | 1u << i);
	return span;
}

/* Makes sure that the class has a partial span. */
static struct span *class_refill(struct heap *heap, unsigned index)
{
	struct class *class = &heap->classes[index];
	struct span *span = class->spare ? class->spare : span_new(heap, index);

	if (!span)
		return NULL;
	class->spare = NULL;
	span_link(class, span);
	chunk_busy_add(heap, span->chunk);
	return span;
}

/* The last live block of a span has gone. */
static void span_emptied(struct heap *heap, struct span *span)
{
	struct class *class = &heap->classes[span->class];
	size_t page = span_page(span);

	span_unlink(class, span);
	if (class->spare) {
		span->active = false;
		pages_give(heap, span->chunk, page, span_pages(page));
	} else {
		class->spare = span;
	}
	chunk_busy_drop(heap, span->chunk);
}

static struct block *small_alloc(struct heap *heap, size_t total)
{
	unsigned index = (unsigned)((total - 1) / CLASS_UNIT_BYTES);
	struct span *span = heap->classes[index].first;
	struct block *block = NULL;
	unsigned word = 0, bit = 0;

	if (unlikely(!span)) {
		span = class_refill(heap, index);
		if (!span)
			return NULL;
	}
	word = (unsigned)__builtin_ctz(span->words);
	bit = (unsigned)__builtin_ctzll(span->free[word]);
	span->free[word] &= span->free[word] - 1;
	if (!span->free[word])
		span->words = (uint8_t)(span->words & (span->words - 1));
	if (--span->free_count == 0)
		span_unlink(&heap->classes[index], span);
	block = (struct block *)(void *)(span->base + (size_t)(word * 64 + bit) * span->block_bytes);
	ASAN_UNPOISON_MEMORY_REGION(block, span->block_bytes);
	counter_add(&heap->used_bytes, span->block_bytes);
	return block;
}

static struct span *small_span(const struct block *block)
{
	return &chunk_of(block)->spans[(uintptr_t)block % CHUNK_BYTES / SPAN_BYTES];
}

static void small_free(struct heap *heap, struct block *block)
{
	struct span *span = small_span(block);
	size_t offset = (size_t)((char *)block - span->base);
	/* offset / block_bytes without a division; exact, since there are no more than 512 units of 128 bytes. */
	size_t index = (offset / CLASS_UNIT_BYTES * span->reciprocal) >> 16;
	uint64_t bit = (uint64_t)1 << index % 64;

	assert(span->active && index * span->block_bytes == offset && !(span->free[index / 64] & bit));
	ASAN_POISON_MEMORY_REGION(block, span->block_bytes);
	counter_subtract(&heap->used_bytes, span->block_bytes);
	span->free[index / 64] |= bit;
	span->words = (uint8_t)(span->words | 1u << index / 64);
	if (span->free_count++ == 0)
		span_link(&heap->classes[span->class], span);
	if (unlikely(span->free_count == span->block_count))
		span_emptied(heap, span);
}

/* Large blocks */

static struct block *large_alloc(struct heap *heap, size_t total)
{
	size_t count = (total + PAGE_BYTES - 1) / PAGE_BYTES, page = 0;
	struct chunk *chunk = chunk_find(heap, count, &page);
	struct block *block = NULL;

	if (!chunk)
		return NULL;
	pages_take(heap, chunk, page, count);
	bits_set(chunk->last, page + count - 1, 1, true);
	chunk_busy_add(heap, chunk);
	block = (struct block *)(void *)(chunk->base + page * PAGE_BYTES);
	ASAN_UNPOISON_MEMORY_REGION(block, count * PAGE_BYTES);
	counter_add(&heap->used_bytes, count * PAGE_BYTES);
	return block;
}

static size_t large_pages(const struct block *block)
{
	size_t page = (uintptr_t)block % CHUNK_BYTES / PAGE_BYTES;

	return bits_find(chunk_of(block)->last, page, true) + 1 - page;
}

static void large_free(struct heap *heap, struct block *block)
{
	struct chunk *chunk = chunk_of(block);
	size_t page = (uintptr_t)block % CHUNK_BYTES / PAGE_BYTES, count = large_pages(block);

	assert(page + count <= PAGE_COUNT);
	ASAN_POISON_MEMORY_REGION(block, count * PAGE_BYTES);
	counter_subtract(&heap->used_bytes, count * PAGE_BYTES);
	bits_set(chunk->last, page + count - 1, 1, false);
	pages_give(heap, chunk, page, count);
	chunk_busy_drop(heap, chunk);
}

/* Huge blocks */

static struct block *huge_alloc(struct heap *heap, size_t total)
{
	size_t bytes = align_up(sizeof(struct mapping) + total, PAGE_BYTES);
	struct mapping *mapping = memory_map(bytes);

	if (!mapping)
		return NULL;
	*mapping = (struct mapping){ .next = heap->mappings, .bytes = bytes };
	if (mapping->next)
		mapping->next->previous = mapping;
	heap->mappings = mapping;
	counter_add(&heap->used_bytes, bytes);
	counter_add(&heap->held_bytes, bytes);
	return (struct block *)(void *)(mapping + 1);
}

static const struct mapping *huge_mapping(const struct block *block)
{
	return (const struct mapping *)(const void *)block - 1;
}

static void huge_free(struct heap *heap, struct block *block)
{
	struct mapping *mapping = (struct mapping *)(void *)block - 1;
	struct mapping *next = mapping->next, *previous = mapping->previous;
	uint64_t bytes = mapping->bytes;

	counter_subtract(&heap->used_bytes, bytes);
	if (munmap(mapping, bytes))
		return; /* it stays in the list and held, heap_free_all tries again */
	*(previous ? &previous->next : &heap->mappings) = next;
	if (next)
		next->previous = previous;
	counter_subtract(&heap->held_bytes, bytes);
}

/* The interface */

int heap_new(struct heap **heap)
{
	struct heap *made = calloc(1, sizeof(*made));

	if (!made)
		return -ENOMEM;
	*heap = made;
	return 0;
}

void heap_free_all(struct heap *heap)
{
	if (!heap)
		return;
	for (struct mapping *mapping = heap->mappings, *next = NULL; mapping; mapping = next) {
		next = mapping->next;
		munmap(mapping, mapping->bytes);
	}
	for (struct chunk *chunk = heap->first, *next = NULL; chunk; chunk = next) {
		next = chunk->next;
		ASAN_UNPOISON_MEMORY_REGION(chunk->base, CHUNK_BYTES);
		munmap(chunk->base, CHUNK_BYTES);
		free(chunk);
	}
	free(heap);
}

struct block *heap_alloc(struct heap *heap, size_t size, enum block_kind kind, uint64_t birth)
{
	size_t total = sizeof(struct block) + size;
	enum origin origin = ORIGIN_SPAN;
	struct block *block = NULL;

	if (size > UINT32_MAX)
		return NULL;
	if (likely(total <= SMALL_BYTES_MAX)) {
		block = small_alloc(heap, total);
	} else if (total <= LARGE_BYTES_MAX) {
		origin = ORIGIN_PAGES;
		block = large_alloc(heap, total);
	} else {
		origin = ORIGIN_MAPPING;
		block = huge_alloc(heap, total);
	}
	if (!block)
		return NULL;
	*block = (struct block){
		.birth = birth, .size = (uint32_t)size, .kind = (uint8_t)kind, .origin = (uint8_t)origin,
	};
	return block;
}

void heap_free(struct heap *heap, struct block *block)
{
	if (!block->settled)
		counter_subtract(&heap->owed_bytes, block->owed);
	switch ((enum origin)block->origin) { /* GCOVR_EXCL_BR_LINE each value has its case */
	case ORIGIN_SPAN:
		small_free(heap, block);
		break;
	case ORIGIN_PAGES:
		large_free(heap, block);
		break;
	case ORIGIN_MAPPING:
		huge_free(heap, block);
		break;
	}
}

static size_t block_bytes(const struct block *block)
{
	switch ((enum origin)block->origin) { /* GCOVR_EXCL_BR_LINE each value has its case */
	case ORIGIN_SPAN:
		return small_span(block)->block_bytes;
	case ORIGIN_PAGES:
		return large_pages(block) * PAGE_BYTES;
	case ORIGIN_MAPPING:
		return huge_mapping(block)->bytes - sizeof(struct mapping);
	}
	return 0;
}

size_t heap_room(const struct block *block)
{
	return block_bytes(block) - sizeof(*block);
}

uint64_t heap_used(const struct heap *heap)
{
	return atomic_load_explicit(&heap->used_bytes, memory_order_relaxed);
}

uint64_t heap_held(const struct heap *heap)
{
	return atomic_load_explicit(&heap->held_bytes, memory_order_relaxed);
}

void heap_owe(struct heap *heap, struct block *block, uint64_t bytes)
{
	assert(!block->settled && bytes <= UINT32_MAX - block->owed);
	block->owed += (uint32_t)bytes;
	counter_add(&heap->owed_bytes, bytes);
}

void heap_waive(struct heap *heap, struct block *block)
{
	if (block->settled)
		return;
	block->settled = 1;
	counter_subtract(&heap->owed_bytes, block->owed);
}

void heap_settle(struct heap *heap, uint64_t bytes)
{
	counter_subtract(&heap->owed_bytes, bytes);
}

uint64_t heap_owed(const struct heap *heap)
{
	return atomic_load_explicit(&heap->owed_bytes, memory_order_relaxed);
}
