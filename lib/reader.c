/* SPDX-License-Identifier: MIT */
#include "reader.h"

#include <stdlib.h>

/* Where this thread found a free slot last; only a hint, for any database. */
static _Thread_local uint32_t reader_hint;

int readers_init(struct readers *readers)
{
	memset(readers, 0, sizeof(*readers));
	return -pthread_mutex_init(&readers->mutex, NULL);
}

void readers_release(struct readers *readers)
{
	for (unsigned i = 0; i < READER_BLOCKS; i++)
		free(atomic_load(&readers->blocks[i]));
	pthread_mutex_destroy(&readers->mutex);
}

static size_t block_slots(unsigned block)
{
	return (size_t)1 << (READER_BLOCK_BITS + block);
}

static bool try_claim(struct reader *reader)
{
	uint32_t expected = READER_FREE;

	return atomic_load_explicit(&reader->state, memory_order_relaxed) == READER_FREE &&
	       atomic_compare_exchange_strong_explicit(&reader->state, &expected, READER_CLAIMED, memory_order_acquire,
						       memory_order_relaxed);
}

static struct reader *reader_at(struct readers *readers, uint32_t index)
{
	uint32_t shifted = (index >> READER_BLOCK_BITS) + 1;
	unsigned block = 31 - (unsigned)__builtin_clz(shifted);
	struct reader *slots;

	assert(block < READER_BLOCKS);
	slots = atomic_load_explicit(&readers->blocks[block], memory_order_acquire);
	return slots ? &slots[index - (((1u << block) - 1) << READER_BLOCK_BITS)] : NULL;
}

/* Adds block number `block` unless another thread did. */
static int block_add(struct readers *readers, unsigned block)
{
	size_t count = block_slots(block);
	struct reader *slots;

	pthread_mutex_lock(&readers->mutex);
	if (atomic_load(&readers->blocks[block])) {
		pthread_mutex_unlock(&readers->mutex);
		return 0;
	}
	slots = aligned_alloc(64, count * sizeof(*slots));
	if (slots) {
		memset(slots, 0, count * sizeof(*slots));
		for (size_t i = 0; i < count; i++)
			slots[i].index = (uint32_t)(i + (((size_t)1 << block) - 1) * block_slots(0));
		atomic_store_explicit(&readers->blocks[block], slots, memory_order_release);
	}
	pthread_mutex_unlock(&readers->mutex);
	return slots ? 0 : -ENOMEM;
}

struct reader *reader_claim(struct readers *readers)
{
	struct reader *reader = reader_at(readers, reader_hint);

	if (reader && try_claim(reader))
		return reader;
	for (unsigned block = 0; block < READER_BLOCKS; block++) {
		struct reader *slots = atomic_load_explicit(&readers->blocks[block], memory_order_acquire);

		if (!slots) {
			if (block_add(readers, block))
				return NULL;
			slots = atomic_load_explicit(&readers->blocks[block], memory_order_acquire);
		}
		for (size_t i = 0; i < block_slots(block); i++)
			if (try_claim(&slots[i])) {
				reader_hint = slots[i].index;
				return &slots[i];
			}
	}
	return NULL;
}

bool reader_free(struct reader *reader)
{
	uint32_t expected = READER_CLAIMED;

	if (atomic_compare_exchange_strong_explicit(&reader->state, &expected, READER_FREE, memory_order_release,
						    memory_order_acquire))
		return true;
	atomic_store_explicit(&reader->state, READER_ENDED, memory_order_relaxed);
	return false;
}

void readers_each(struct readers *readers, void (*each)(void *context, struct reader *reader), void *context)
{
	for (unsigned block = 0; block < READER_BLOCKS; block++) {
		struct reader *slots = atomic_load_explicit(&readers->blocks[block], memory_order_acquire);

		for (size_t i = 0; slots && i < block_slots(block); i++)
			each(context, &slots[i]);
	}
}
