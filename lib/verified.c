/* SPDX-License-Identifier: MIT */
/*
 * Replacing a slot: tag = 0; release fence; words = 0; tag = new (release). A reader that loaded a word of the new owner
 * under the old tag sees the tag changed: the word was stored after the tag was cleared, and the reader's second load of
 * the tag comes after its load of the word. The generation in the tag keeps A-B-A from fooling it.
 */
#include "verified.h"

#include <sched.h>
#include <sys/mman.h>

int verified_init(struct verified *verified)
{
	size_t bytes = (size_t)VERIFIED_SLOTS * VERIFIED_WORDS * sizeof(uint64_t);
	void *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (words == MAP_FAILED)
		return -errno;
	verified->words = words;
	return 0;
}

void verified_release(struct verified *verified)
{
	if (verified->words)
		munmap((void *)verified->words, (size_t)VERIFIED_SLOTS * VERIFIED_WORDS * sizeof(uint64_t));
	verified->words = NULL;
}

/* Held for a few dozen stores at most, so yielding is enough. */
static void slot_lock(struct verified_slot *slot)
{
	while (atomic_exchange_explicit(&slot->lock, 1, memory_order_acquire))
		sched_yield();
}

static void slot_unlock(struct verified_slot *slot)
{
	atomic_store_explicit(&slot->lock, 0, memory_order_release);
}

static void slot_replace(struct verified *verified, unsigned index, uint64_t extent)
{
	struct verified_slot *slot = &verified->slots[index];
	_Atomic uint64_t *words = verified->words + (size_t)index * VERIFIED_WORDS;

	atomic_store_explicit(&slot->tag, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	for (size_t i = 0; i < VERIFIED_WORDS; i++)
		atomic_store_explicit(&words[i], 0, memory_order_relaxed);
	slot->generation = (slot->generation + 1) & 0x1fffff;
	atomic_store_explicit(&slot->tag, extent << 21 | slot->generation, memory_order_release);
}

void verified_set(struct verified *verified, uint64_t position)
{
	uint64_t extent = verified_extent(position) & (((uint64_t)1 << 43) - 1);
	unsigned index = verified_slot_of(verified_extent(position));
	struct verified_slot *slot = &verified->slots[index];
	uint64_t granule = position % EXTENT_BYTES / ENTRY_ALIGN;

	slot_lock(slot);
	if (atomic_load_explicit(&slot->tag, memory_order_relaxed) >> 21 != extent)
		slot_replace(verified, index, extent);
	atomic_fetch_or_explicit(&verified->words[index * VERIFIED_WORDS + granule / 64],
				 (uint64_t)1 << granule % 64, memory_order_release);
	slot_unlock(slot);
}

void verified_clear(struct verified *verified, uint64_t position)
{
	uint64_t extent = verified_extent(position) & (((uint64_t)1 << 43) - 1);
	unsigned index = verified_slot_of(verified_extent(position));
	struct verified_slot *slot = &verified->slots[index];

	slot_lock(slot);
	if (atomic_load_explicit(&slot->tag, memory_order_relaxed) >> 21 == extent)
		slot_replace(verified, index, extent);
	slot_unlock(slot);
}

void verified_clear_all(struct verified *verified)
{
	for (unsigned i = 0; i < VERIFIED_SLOTS; i++) {
		struct verified_slot *slot = &verified->slots[i];
		uint64_t tag;

		slot_lock(slot);
		tag = atomic_load_explicit(&slot->tag, memory_order_relaxed);
		if (tag)
			slot_replace(verified, i, tag >> 21);
		slot_unlock(slot);
	}
}
