/* SPDX-License-Identifier: MIT */
/*
 * Which entries have been checked: one bit per 64-byte granule, in a bounded, lossy cache of 16 MB (4096 extents' bitmaps,
 * direct-mapped). A lost bit costs a second check; a bit that is set has been earned by a check at that place, or by
 * writing an entry there that was sealed by this process.
 *
 * Memory ordering: a slot is a seqlock whose sequence is its tag (extent and generation). Any thread may test without a
 * lock; setting and clearing take a slot's lock.
 */
#ifndef VERIFIED_H
#define VERIFIED_H

#include "base.h"
#include "format.h"

#define VERIFIED_SLOTS 4096
#define VERIFIED_WORDS (EXTENT_BYTES / ENTRY_ALIGN / 64)

struct verified_slot {
	_Atomic uint64_t tag; /* extent number (43 bits) << 21 | generation; 0: empty or being replaced */
	_Atomic uint32_t lock;
	uint32_t generation;
};

struct verified {
	struct verified_slot slots[VERIFIED_SLOTS];
	_Atomic uint64_t *words; /* VERIFIED_SLOTS * VERIFIED_WORDS, mapped on demand */
};

/* verified is all zeros. */
int verified_init(struct verified *verified);
void verified_release(struct verified *verified);

static inline uint64_t verified_extent(uint64_t position)
{
	/* spindle in the top 8 of 43 bits; + 1, so that no extent has number 0 */
	return (position >> 21) + 1;
}

static inline unsigned verified_slot_of(uint64_t extent)
{
	/* spindles grow side by side: the same extent of each has a slot of its own */
	return (unsigned)((extent + (extent >> 35) * 2531) % VERIFIED_SLOTS);
}

/* Has the entry at position been checked? */
static inline bool verified_test(const struct verified *verified, uint64_t position)
{
	uint64_t extent = verified_extent(position);
	unsigned index = verified_slot_of(extent);
	const struct verified_slot *slot = &verified->slots[index];
	uint64_t granule = position % EXTENT_BYTES / ENTRY_ALIGN;
	uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire);
	uint64_t word;

	if (tag >> 21 != (extent & (((uint64_t)1 << 43) - 1)))
		return false;
	word = atomic_load_explicit(&verified->words[index * VERIFIED_WORDS + granule / 64], memory_order_acquire);
	if (!(word >> granule % 64 & 1))
		return false;
	/* The word's acquire keeps this load behind it: were the slot replaced in between, the tag would tell. */
	return atomic_load_explicit(&slot->tag, memory_order_relaxed) == tag;
}

void verified_set(struct verified *verified, uint64_t position);
/* Forgets all bits of the extent: before it is punched or taken anew. */
void verified_clear(struct verified *verified, uint64_t position);
/* The same for all extents. */
void verified_clear_all(struct verified *verified);

#endif
