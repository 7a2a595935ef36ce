/* SPDX-License-Identifier: MIT */
/* The cache of verified bits: what is set is told, what is not set is never told, whatever else happens to a slot. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "verified.h"

static struct verified verified;

static void start(void)
{
	cr_assert_eq(verified_init(&verified), 0);
}

static void end(void)
{
	verified_release(&verified);
}

TestSuite(verified, .init = start, .fini = end);

/* A bit that is set would otherwise vouch for its neighbours, or be forgotten at once. */
Test(verified, one_bit_is_one_entry)
{
	uint64_t position = position_make(3, 5 * EXTENT_BYTES + 4096);

	cr_assert(!verified_test(&verified, position));
	verified_set(&verified, position);
	cr_assert(verified_test(&verified, position));
	for (uint64_t at = 0; at < EXTENT_BYTES; at += ENTRY_ALIGN)
		cr_assert_eq(verified_test(&verified, position_make(3, 5 * EXTENT_BYTES + at)), at == 4096);
	cr_assert(!verified_test(&verified, position_make(2, 5 * EXTENT_BYTES + 4096)));
	cr_assert(!verified_test(&verified, position_make(3, 4 * EXTENT_BYTES + 4096)));
}

/* The first and the last place there are would be mixed up with an empty slot or with each other. */
Test(verified, ends_of_the_space)
{
	uint64_t last = position_make(SPINDLES_MAX - 1, align_down(OFFSET_MAX, ENTRY_ALIGN));

	cr_assert(!verified_test(&verified, 0));
	verified_set(&verified, 0);
	cr_assert(verified_test(&verified, 0));
	cr_assert(!verified_test(&verified, last));
	verified_set(&verified, last);
	cr_assert(verified_test(&verified, last));
}

/* A punched extent would keep its bits, or take those of others with it. */
Test(verified, clear_forgets_one_extent)
{
	uint64_t gone = position_make(0, 7 * EXTENT_BYTES), kept = position_make(0, 8 * EXTENT_BYTES);

	for (uint64_t at = 0; at < 10 * ENTRY_ALIGN; at += ENTRY_ALIGN) {
		verified_set(&verified, gone + at);
		verified_set(&verified, kept + at);
	}
	verified_clear(&verified, gone + 5 * ENTRY_ALIGN);
	for (uint64_t at = 0; at < 10 * ENTRY_ALIGN; at += ENTRY_ALIGN) {
		cr_assert(!verified_test(&verified, gone + at));
		cr_assert(verified_test(&verified, kept + at));
	}
	verified_set(&verified, gone);
	cr_assert(verified_test(&verified, gone));
	cr_assert(!verified_test(&verified, gone + ENTRY_ALIGN));
}

Test(verified, clear_all_forgets_every_extent)
{
	uint64_t first = position_make(0, 0), last = position_make(3, (uint64_t)4000 * EXTENT_BYTES);

	verified_set(&verified, first);
	verified_set(&verified, last);
	verified_clear_all(&verified);
	cr_assert(!verified_test(&verified, first));
	cr_assert(!verified_test(&verified, last));
	verified_set(&verified, last + ENTRY_ALIGN);
	cr_assert(!verified_test(&verified, last));
	cr_assert(verified_test(&verified, last + ENTRY_ALIGN));
}

/* Two extents that share a slot would see each other's bits. */
Test(verified, extents_that_share_a_slot)
{
	uint64_t one = position_make(0, 9 * EXTENT_BYTES);
	uint64_t other = position_make(0, (9 + VERIFIED_SLOTS) * EXTENT_BYTES);

	cr_assert_eq(verified_slot_of(verified_extent(one)), verified_slot_of(verified_extent(other)));
	verified_set(&verified, one);
	cr_assert(!verified_test(&verified, other));
	verified_set(&verified, other + ENTRY_ALIGN);
	cr_assert(!verified_test(&verified, one));
	cr_assert(!verified_test(&verified, other));
	cr_assert(verified_test(&verified, other + ENTRY_ALIGN));
	/* Clearing an extent that is no longer there leaves the one that is. */
	verified_clear(&verified, one);
	cr_assert(verified_test(&verified, other + ENTRY_ALIGN));
}

#define CONTENDERS 3
#define CONTENDER_ROUNDS 40000

static uint64_t contender_position(unsigned extent, uint64_t granule)
{
	return position_make(0, (11 + extent * VERIFIED_SLOTS) * EXTENT_BYTES) + granule * ENTRY_ALIGN;
}

static void *contend(void *argument)
{
	unsigned own = (unsigned)(uintptr_t)argument;
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < CONTENDER_ROUNDS; i++) {
		uint64_t granule = i * 7919 % (EXTENT_BYTES / ENTRY_ALIGN / CONTENDERS) * CONTENDERS;

		if (i % 16 == 0)
			verified_set(&verified, contender_position(own, granule + own));
		for (unsigned extent = 0; extent < CONTENDERS; extent++)
			for (unsigned rest = 0; rest < CONTENDERS; rest++)
				wrong += rest != extent &&
					 verified_test(&verified, contender_position(extent, granule + rest));
	}
	return (void *)(uintptr_t)wrong;
}

/* A reader would take a bit that another extent has earned in the same slot while the slot changes hands. */
Test(verified, no_bit_passes_from_extent_to_extent)
{
	pthread_t threads[CONTENDERS];

	for (uintptr_t i = 0; i < CONTENDERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, contend, (void *)i), 0);
	for (unsigned i = 0; i < CONTENDERS; i++) {
		void *wrong = NULL;

		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong);
	}
}
/* Spindles grow side by side: if their extents shared slots, every bit would be lost as soon as it is set. */
Test(verified, spindles_of_the_same_size_do_not_share_slots)
{
	for (unsigned extent = 1; extent < 100; extent++)
		for (unsigned spindle = 0; spindle < 8; spindle++)
			verified_set(&verified, position_make(spindle, extent * EXTENT_BYTES));
	for (unsigned extent = 1; extent < 100; extent++)
		for (unsigned spindle = 0; spindle < 8; spindle++)
			cr_assert(verified_test(&verified, position_make(spindle, extent * EXTENT_BYTES)));
}
