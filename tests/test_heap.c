/* SPDX-License-Identifier: MIT */
/* The heap: a shadow that knows every block, what returns to the system, and what happens when it gives nothing. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "fault_system.h"
#include "heap.h"
#include "scratch.h"

#define CHUNK_BYTES (2 * MIB)
#define IDLE_BYTES_MAX (2 * CHUNK_BYTES)

#define ALWAYS 1000000u

/* What the manual of sizes says of a payload of size bytes, header and rounding included. */
static uint64_t rounded_bytes(uint64_t size)
{
	if (size + 64 <= 8192)
		return align_up(size + 64, 128);
	if (size + 64 <= MIB)
		return align_up(size + 64, 4096);
	return align_up(size + 128, 4096);
}

/* A block with the bytes that should be in it. */
struct shadow {
	struct block *block;
	size_t size;
	uint64_t seed;
};

static void shadow_fill(const struct shadow *shadow)
{
	unsigned char *payload = block_payload(shadow->block);
	size_t words = shadow->size / 8;

	for (size_t i = 0; i < words; i++)
		memcpy(payload + 8 * i, &(uint64_t){ shadow->seed + i }, 8);
	memset(payload + 8 * words, (int)(shadow->seed & 0x7f), shadow->size % 8);
}

static void shadow_check(const struct shadow *shadow)
{
	const unsigned char *payload = block_payload(shadow->block);
	size_t words = shadow->size / 8;

	must(shadow->block->birth == shadow->seed);
	must(shadow->block->size == shadow->size);
	for (size_t i = 0; i < words; i++)
		must(memcmp(payload + 8 * i, &(uint64_t){ shadow->seed + i }, 8) == 0);
	for (size_t i = 8 * words; i < shadow->size; i++)
		must(payload[i] == (shadow->seed & 0x7f));
}

/* Allocates and checks what every block promises. */
static bool shadow_alloc(struct shadow *shadow, struct heap *heap, size_t size, uint64_t seed)
{
	struct block *block = heap_alloc(heap, size, BLOCK_VALUE, seed);
	static const struct block zero;

	if (!block)
		return false;
	*shadow = (struct shadow){ .block = block, .size = size, .seed = seed };
	must((uintptr_t)block_payload(block) % 64 == 0);
	must(heap_room(block) >= size);
	must(block->birth == seed && block->size == size && block->kind == BLOCK_VALUE);
	must(block->position == 0 && block->hash == 0 && block->length == 0 && block->stored == 0 && block->raw == 0);
	must(block->owed == 0 && block->retired == 0 && block->settled == 0 && block->born_next == 0 && block->retired_at == 0);
	must(memcmp(&zero.born_next, &block->born_next, sizeof(zero.born_next)) == 0);
	shadow_fill(shadow);
	return true;
}

static void shadow_free(struct shadow *shadow, struct heap *heap)
{
	shadow_check(shadow);
	heap_free(heap, shadow->block);
	shadow->block = NULL;
}

/* Mostly the engine's sizes, now and then one of the others. */
static size_t random_size(struct rng *rng)
{
	switch (rng_below(rng, 40)) {
	case 0:
		return rng_below(rng, 70000);
	case 1:
		return rng_below(rng, 20) ? rng_below(rng, 20000) : rng_below(rng, 3 * MIB);
	case 2:
		return (128 << rng_below(rng, 8)) - 64 + rng_below(rng, 3) - 1;
	default:
		return rng_below(rng, 4400);
	}
}

static int shadow_order(const void *left, const void *right)
{
	const struct shadow *a = left, *b = right;

	return (uintptr_t)a->block < (uintptr_t)b->block ? -1 : (uintptr_t)a->block > (uintptr_t)b->block;
}

/* No two blocks share a byte, and the counter knows the sum. Sorts the shadows. */
static void shadows_check(const struct heap *heap, struct shadow *shadows, size_t count)
{
	const char *end = NULL;
	uint64_t used = 0;

	qsort(shadows, count, sizeof(*shadows), shadow_order);
	for (size_t i = 0; i < count; i++) {
		if (!shadows[i].block)
			continue;
		must((const char *)shadows[i].block >= end);
		end = (const char *)(shadows[i].block + 1) + heap_room(shadows[i].block);
		used += rounded_bytes(shadows[i].size);
	}
	must(heap_used(heap) == used);
	must(heap_held(heap) >= used);
}

/* Sizes on the edges of classes, pages and kinds would get too little room, a wrong count or a false header. */
Test(heap, edges_of_sizes)
{
	static const size_t edges[] = { 0, 64, 192, 1024, 4096, 8192 - 64, 12288 - 64, 65536, MIB - 4096, MIB - 64,
					2 * MIB - 128, 2 * MIB, 5 * MIB };
	struct shadow shadow = { 0 };
	struct heap *heap = NULL;

	cr_assert_eq(heap_new(&heap), 0);
	for (size_t i = 0; i < ARRAY_SIZE(edges); i++)
		for (size_t size = edges[i] > 2 ? edges[i] - 2 : 0; size <= edges[i] + 2; size++) {
			must(shadow_alloc(&shadow, heap, size, size));
			cr_assert_eq(heap_used(heap), rounded_bytes(size), "size %zu", size);
			memset(block_payload(shadow.block), 1, heap_room(shadow.block));
			shadow_fill(&shadow);
			shadow_free(&shadow, heap);
			cr_assert_eq(heap_used(heap), 0);
		}
	cr_assert_null(heap_alloc(heap, (size_t)UINT32_MAX + 1, BLOCK_VALUE, 1));
	cr_assert_null(heap_alloc(heap, SIZE_MAX, BLOCK_VALUE, 1));
	cr_assert_eq(heap_used(heap), 0);
	heap_free_all(heap);
	heap_free_all(NULL);
}

/* Every block of every class would have to be found again from its address alone. */
Test(heap, every_class_filled)
{
	static struct shadow shadows[1200];
	struct heap *heap = NULL;

	cr_assert_eq(heap_new(&heap), 0);
	for (size_t size = 0; size <= 8192 - 64; size += 64) {
		size_t count = 2 * 65536 / (size + 64) + 2;

		for (size_t i = 0; i < count && i < ARRAY_SIZE(shadows); i++)
			must(shadow_alloc(&shadows[i], heap, size, size + i));
		shadows_check(heap, shadows, ARRAY_SIZE(shadows));
		for (size_t i = 0; i < ARRAY_SIZE(shadows); i++)
			if (shadows[i].block)
				shadow_free(&shadows[i], heap);
		must(heap_used(heap) == 0);
	}
	heap_free_all(heap);
}

/* Blocks would overlap, lose their bytes or be miscounted in some order of calls. */
Test(heap, random_against_shadow)
{
	static struct shadow shadows[4000];
	struct rng rng = { .state = test_seed("heap random") };
	unsigned rounds = test_rounds(60000);
	struct heap *heap = NULL;
	size_t window = 0;

	cr_assert_eq(heap_new(&heap), 0);
	for (unsigned i = 0; i < rounds; i++) {
		struct shadow *shadow = NULL;

		/* The number of live blocks swings, so that spans and chunks fill, empty and return. */
		if (i % 4000 == 0) {
			shadows_check(heap, shadows, ARRAY_SIZE(shadows));
			window = 1 + rng_below(&rng, ARRAY_SIZE(shadows));
			for (size_t j = window; j < ARRAY_SIZE(shadows); j++)
				if (shadows[j].block)
					shadow_free(&shadows[j], heap);
		}
		shadow = &shadows[rng_below(&rng, window)];
		if (shadow->block)
			shadow_free(shadow, heap);
		else
			must(shadow_alloc(shadow, heap, random_size(&rng), rng_next(&rng)));
	}
	for (size_t i = 0; i < ARRAY_SIZE(shadows); i++)
		if (shadows[i].block)
			shadow_free(&shadows[i], heap);
	cr_assert_eq(heap_used(heap), 0);
	cr_assert_leq(heap_held(heap), IDLE_BYTES_MAX);
	heap_free_all(heap);
}

/* The memory of a large transaction would stay with the process. */
Test(heap, memory_returns)
{
	static struct shadow shadows[24000];
	struct rng rng = { .state = test_seed("heap return") };
	struct shadow keeper = { 0 };
	struct heap *heap = NULL;
	uint64_t held = 0;

	cr_assert_eq(heap_new(&heap), 0);
	for (unsigned round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(shadows); i++)
			must(shadow_alloc(&shadows[i], heap, rng_below(&rng, 100) ? rng_below(&rng, 4400) : 30000, i));
		must(shadow_alloc(&keeper, heap, 300, 1));
		held = heap_held(heap);
		cr_assert_gt(held, 48 * MIB);
		cr_assert_lt(held, heap_used(heap) + heap_used(heap) / 16 + 8 * MIB, "filled tightly");
		for (size_t i = ARRAY_SIZE(shadows) - 1; i > 0; i--) {
			size_t other = rng_below(&rng, i + 1);
			struct shadow swapped = shadows[other];

			shadows[other] = shadows[i];
			shadows[i] = swapped;
		}
		for (size_t i = 0; i < ARRAY_SIZE(shadows); i++)
			shadow_free(&shadows[i], heap);
		cr_assert_eq(heap_used(heap), 384);
		cr_assert_leq(heap_held(heap), IDLE_BYTES_MAX + CHUNK_BYTES);
		shadow_free(&keeper, heap);
		cr_assert_leq(heap_held(heap), IDLE_BYTES_MAX);
	}
	heap_free_all(heap);
}

/* Fills chunks, half of them for good; then what came free in the others is used for blocks of other sizes. */
static void pages_use_again(size_t every_eighth_size)
{
	static const size_t sizes[] = { 300, 9000, 4300, 100000, 1200 };
	static struct block *blocks[40000], *others[80000];
	size_t count = 0, kept = 0, added = 0;
	struct heap *heap = NULL;
	uint64_t used = 0, held = 0;

	must(heap_new(&heap) == 0);
	while (heap_held(heap) <= 32 * MIB) {
		must(count < ARRAY_SIZE(blocks));
		blocks[count] = heap_alloc(heap, count % 8 ? 8000 : every_eighth_size, BLOCK_NODE, 1);
		count++;
	}
	used = heap_used(heap);
	held = heap_held(heap);
	for (size_t i = kept = count / 2; i < count; i++) {
		if (i % 250 == 0)
			blocks[kept++] = blocks[i];
		else
			heap_free(heap, blocks[i]);
	}
	must(heap_held(heap) == held); /* a block lives in each chunk */
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (added = 0; heap_used(heap) < used - used / 16; added++) {
			must(added < ARRAY_SIZE(others));
			others[added] = heap_alloc(heap, sizes[i], BLOCK_NODE, 1);
			must(heap_held(heap) == held);
		}
		while (added > 0)
			heap_free(heap, others[--added]);
	}
	heap_free_all(heap);
}

/*
 * Pages that come free in chunks which stay in use would not be found again, and the heap would grow with every change
 * of sizes: behind chunks that are full to the last page, or in chunks where the search had failed before.
 */
Test(heap, pages_of_busy_chunks_are_used_again)
{
	pages_use_again(8000);
	pages_use_again(9000);
}

/* New blocks would keep idle chunks from returning, although there is room where others live. */
Test(heap, idle_chunks_are_the_second_choice)
{
	static struct block *blocks[12000];
	struct block *other = NULL;
	struct heap *heap = NULL;
	size_t count = 0;

	cr_assert_eq(heap_new(&heap), 0);
	while (heap_held(heap) <= 2 * CHUNK_BYTES && count < ARRAY_SIZE(blocks))
		blocks[count++] = heap_alloc(heap, 300, BLOCK_NODE, 1);
	for (size_t i = 1; i < count; i++)
		heap_free(heap, blocks[i]);
	cr_assert_eq(heap_held(heap), 3 * CHUNK_BYTES);
	other = heap_alloc(heap, 5000, BLOCK_NODE, 1);
	cr_assert_eq((uintptr_t)other / CHUNK_BYTES, (uintptr_t)blocks[0] / CHUNK_BYTES);
	other = heap_alloc(heap, 50000, BLOCK_NODE, 1);
	cr_assert_eq((uintptr_t)other / CHUNK_BYTES, (uintptr_t)blocks[0] / CHUNK_BYTES);
	heap_free_all(heap);
}

/* A huge block would stay held, or break the list of its kind when it goes from the middle. */
Test(heap, huge_blocks_return)
{
	struct shadow shadows[4] = { 0 };
	struct heap *heap = NULL;

	cr_assert_eq(heap_new(&heap), 0);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 4; i++)
			must(shadow_alloc(&shadows[i], heap, MIB + i * 10000, i));
		shadows_check(heap, shadows, 4);
		cr_assert_eq(heap_held(heap), heap_used(heap));
		for (unsigned i = 0; i < 4; i++)
			shadow_free(&shadows[(i + round) % 4], heap);
		cr_assert_eq(heap_held(heap), 0);
	}
	must(shadow_alloc(&shadows[0], heap, 3 * MIB, 1)); /* left for heap_free_all; a leak checker sees it */
	heap_free_all(heap);
}

/*
 * A steady load would call into the kernel: everything that does so changes heap_held. Loads that cross the edge of a
 * block, a span and a chunk in turn are the ones at risk.
 */
Test(heap, steady_state_holds_still)
{
	static const size_t sizes[] = { 300, 4300, 8000, 9000, 200000, MIB - 64 };
	static struct block *blocks[100000];
	struct rng rng = { .state = test_seed("heap steady") };
	struct heap *heap = NULL;
	size_t count = 0;

	cr_assert_eq(heap_new(&heap), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t held = 0;

		while (heap_used(heap) < 6 * MIB && count < ARRAY_SIZE(blocks)) {
			struct block *block = heap_alloc(heap, sizes[i], BLOCK_NODE, 1);

			must(block);
			blocks[count++] = block;
			held = heap_held(heap);
			for (unsigned j = 0; j < 4; j++) {
				struct block *other = heap_alloc(heap, sizes[i], BLOCK_NODE, 1);

				must(other);
				if (j == 0)
					held = heap_held(heap);
				must(heap_held(heap) == held);
				heap_free(heap, other);
				must(heap_held(heap) == held);
			}
		}
		while (count > 0)
			heap_free(heap, blocks[--count]);
	}
	for (count = 0; count < 3000; count++)
		blocks[count] = heap_alloc(heap, rng_below(&rng, 4400), BLOCK_NODE, 1);
	for (unsigned i = 0, changes = 0; i < 100000; i++) {
		uint64_t held = heap_held(heap);
		size_t index = rng_below(&rng, count);

		heap_free(heap, blocks[index]);
		blocks[index] = heap_alloc(heap, rng_below(&rng, 4400), BLOCK_NODE, 1);
		changes += heap_held(heap) != held;
		must(changes <= 4);
	}
	heap_free_all(heap);
}

/* Bytes of address space in use. */
static uint64_t address_space_bytes(void)
{
	unsigned long long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	must(file && fscanf(file, "%llu", &pages) == 1);
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void address_space_limit(uint64_t bytes)
{
	struct rlimit limit = { 0 };

	must(getrlimit(RLIMIT_AS, &limit) == 0);
	limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
	must(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* A system without memory would crash the heap, damage what lives in it, or leave it unusable afterwards. */
Test(heap, no_memory)
{
	static const size_t sizes[] = { 100, 300, 4300, 8000, 9000, 60000, 500000, 2 * MIB };
	static struct shadow shadows[60000];
	struct heap *heap = NULL;

	cr_assert_eq(heap_new(&heap), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t used = 0, held = 0;
		size_t count = 0;

		address_space_limit(address_space_bytes() + 10 * MIB);
		while (count < ARRAY_SIZE(shadows) && shadow_alloc(&shadows[count], heap, sizes[i], count))
			count++;
		must(count > 1 && count < ARRAY_SIZE(shadows));
		used = heap_used(heap);
		held = heap_held(heap);
		must(!heap_alloc(heap, sizes[i], BLOCK_NODE, 1));
		must(!heap_alloc(heap, 16 * MIB, BLOCK_NODE, 1));
		must(heap_used(heap) == used && heap_held(heap) == held);
		/* What is given back can be had again. */
		shadow_free(&shadows[count / 2], heap);
		must(shadow_alloc(&shadows[count / 2], heap, sizes[i], 1));
		must(heap_used(heap) == used);
		address_space_limit(RLIM_INFINITY);
		must(shadow_alloc(&shadows[count], heap, sizes[i], 1));
		count++;
		for (size_t j = 0; j < count; j++)
			shadow_free(&shadows[j], heap);
		must(heap_used(heap) == 0);
	}
	heap_free_all(heap);
}

#ifdef __SANITIZE_ADDRESS__
/* A use after free, or beyond the last block, would go unseen in the other tests. */
Test(heap, free_blocks_are_poisoned)
{
	static const size_t sizes[] = { 0, 300, 4300, 8000, 9000, 300000 };
	struct heap *heap = NULL;

	cr_assert_eq(heap_new(&heap), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct block *keeper = heap_alloc(heap, sizes[i], BLOCK_NODE, 1);
		struct block *block = heap_alloc(heap, sizes[i], BLOCK_NODE, 1);
		size_t room = heap_room(block);
		char *payload = block_payload(block);

		cr_assert_null(__asan_region_is_poisoned(block, sizeof(*block) + room));
		cr_assert(__asan_address_is_poisoned(payload + room), "nothing was allocated behind it");
		heap_free(heap, block);
		cr_assert(__asan_address_is_poisoned(block));
		cr_assert(__asan_address_is_poisoned(payload));
		cr_assert(__asan_address_is_poisoned(payload + room - 1));
		cr_assert_null(__asan_region_is_poisoned(keeper, sizeof(*keeper) + sizes[i]));
		heap_free(heap, keeper);
	}
	heap_free_all(heap);
}
#endif

#define READERS 3

struct exchange {
	struct block *_Atomic published;
	_Atomic uint64_t seen[READERS]; /* the newest birth that each reader has taken up; older ones it has left */
	const struct heap *heap;
	_Atomic bool stop;
	_Atomic unsigned next;
};

static void *exchange_reader(void *context)
{
	struct exchange *exchange = context;
	unsigned me = atomic_fetch_add(&exchange->next, 1);
	uint64_t newest = 0;

	while (!atomic_load(&exchange->stop)) {
		struct block *block = atomic_load_explicit(&exchange->published, memory_order_acquire);

		if (!block)
			continue;
		must(block->birth >= newest);
		newest = block->birth;
		shadow_check(&(struct shadow){ .block = block, .size = block->size, .seed = newest });
		must(heap_used(exchange->heap) > 0 && heap_held(exchange->heap) > 0);
		atomic_store_explicit(&exchange->seen[me], newest, memory_order_release);
	}
	atomic_store_explicit(&exchange->seen[me], UINT64_MAX, memory_order_release);
	return NULL;
}

/* Readers of published blocks would race with what the allocator does to others, or see a block without its bytes. */
Test(heap, readers_beside_the_writer)
{
	static const size_t sizes[] = { 40, 300, 1000, 4300, 9000 };
	struct exchange exchange = { 0 };
	pthread_t threads[READERS];
	struct heap *heap = NULL;
	struct block *old[64] = { 0 };
	struct shadow shadow = { 0 };

	cr_assert_eq(heap_new(&heap), 0);
	exchange.heap = heap;
	for (unsigned i = 0; i < READERS; i++)
		must(pthread_create(&threads[i], NULL, exchange_reader, &exchange) == 0);
	for (uint64_t birth = 1; birth <= 4000; birth++) {
		struct block *victim = old[birth % 64];

		/* A block may go when every reader has taken up a newer one. */
		for (unsigned i = 0; victim && i < READERS; i++)
			while (atomic_load_explicit(&exchange.seen[i], memory_order_acquire) <= victim->birth)
				;
		if (victim)
			heap_free(heap, victim);
		must(shadow_alloc(&shadow, heap, sizes[birth % ARRAY_SIZE(sizes)], birth));
		old[birth % 64] = shadow.block;
		atomic_store_explicit(&exchange.published, shadow.block, memory_order_release);
	}
	atomic_store(&exchange.stop, true);
	for (unsigned i = 0; i < READERS; i++)
		must(pthread_join(threads[i], NULL) == 0);
	heap_free_all(heap);
}

/* A chunk that an older kernel places between two multiples would be cut to blocks of other chunks. */
Test(heap, chunk_out_of_place)
{
	for (unsigned times = 1; times < 3; times++) { /* the second time what is to be trimmed is out of place, too */
		struct shadow shadow = { 0 };
		struct heap *heap = NULL;

		must_work(heap_new(&heap));
		fault_system_arm(SYSTEM_MMAP_ASIDE, 0, times, 0);
		must(shadow_alloc(&shadow, heap, 100, 1));
		cr_assert_eq(fault_system_disarm(), times);
		shadow_check(&shadow);
		cr_assert_eq(heap_held(heap), CHUNK_BYTES);
		heap_free(heap, shadow.block);
		heap_free_all(heap);
	}
}

/* Memory that the system does not take back, for want of memory, would be lost to the heap, or be freed twice. */
Test(heap, system_takes_nothing_back)
{
	enum { LARGE = 40 };
	struct shadow shadows[LARGE], huge = { 0 };
	struct heap *heap = NULL;
	uint64_t held = 0;

	must_work(heap_new(&heap));
	for (unsigned i = 0; i < LARGE; i++)
		must(shadow_alloc(&shadows[i], heap, MIB / 2, i + 1));
	must(shadow_alloc(&huge, heap, 3 * MIB, 1));
	held = heap_held(heap);
	fault_system_arm(SYSTEM_MUNMAP, 0, ALWAYS, ENOMEM);
	for (unsigned i = 0; i < LARGE; i++)
		heap_free(heap, shadows[i].block);
	heap_free(heap, huge.block);
	cr_assert_gt(fault_system_disarm(), 1);
	cr_assert_eq(heap_used(heap), 0);
	cr_assert_eq(heap_held(heap), held);
	for (unsigned i = 0; i < LARGE; i++)
		must(shadow_alloc(&shadows[i], heap, MIB / 2, i + 1));
	cr_assert_eq(heap_held(heap), held, "what is left is used again");
	for (unsigned i = 0; i < LARGE; i++) {
		shadow_check(&shadows[i]);
		heap_free(heap, shadows[i].block);
	}
	heap_free_all(heap);
}
