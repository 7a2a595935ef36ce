/* SPDX-License-Identifier: MIT */
/* The arena: pieces that stay as they were, the limit, and what is kept between two uses. */
#include <criterion/criterion.h>

#include "arena.h"
#include "error.h"
#include "scratch.h"

#define PIECES 2000

static int arena_copy(struct arena *arena, struct slf_slice from, struct slf_slice *to)
{
	int error = 0;
	void *copy = arena_alloc(arena, from.size, &error);

	if (!copy)
		return error;
	if (from.size)
		memcpy(copy, from.data, from.size);
	*to = slice(copy, from.size);
	return 0;
}

/* Would break if a piece lay on another one, outside its chunk, or not on 8 bytes. */
Test(arena, pieces_are_apart)
{
	struct rng rng = { .state = test_seed("arena/pieces_are_apart") };
	static struct { uint8_t *bytes; size_t size; } pieces[PIECES];
	struct arena arena;
	int error = 0;

	arena_init(&arena, 64 * MIB);
	for (unsigned i = 0; i < PIECES; i++) {
		pieces[i].size = rng_below(&rng, rng_below(&rng, 40) ? 500 : 20000);
		pieces[i].bytes = arena_alloc(&arena, pieces[i].size, &error);
		cr_assert_not_null(pieces[i].bytes);
		cr_assert_eq((uintptr_t)pieces[i].bytes % 8, 0);
		memset(pieces[i].bytes, (int)(i % 251), pieces[i].size);
	}
	for (unsigned i = 0; i < PIECES; i++)
		for (size_t k = 0; k < pieces[i].size; k++)
			cr_assert_eq(pieces[i].bytes[k], i % 251, "piece %u", i);
	cr_assert_eq(error, 0);
	arena_release(&arena);
}

/* Would break if more were taken than the limit says, or if the refusal spoilt what had been given before. */
Test(arena, limit_is_kept)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_slice copy = { 0 }, untouched = slice("x", 1);
	struct arena arena;
	unsigned count = 0;
	int result;

	arena_init(&arena, 100000);
	while ((result = arena_copy(&arena, slice("0123456789abcdef", 16), &copy)) == 0) {
		cr_assert_leq(arena.total, arena.limit);
		cr_assert(slice_is(copy, "0123456789abcdef", 16));
		cr_assert_leq(++count, 100000 / 16);
	}
	cr_assert_eq(result, SLF_EARENA);
	cr_assert_gt(count, 90000 / 16, "the limit came too early");
	error_get(&info);
	cr_assert_eq(info.code, SLF_EARENA);
	cr_assert(slice_is(copy, "0123456789abcdef", 16));
	cr_assert_eq(arena_copy(&arena, copy, &untouched), SLF_EARENA);
	cr_assert(slice_is(untouched, "x", 1));
	arena_reset(&arena);
	cr_assert_eq(arena_copy(&arena, slice("again", 5), &copy), 0);
	arena_release(&arena);
}

/* Would break if sizes near the limit, or near the end of the address space, were rounded past it. */
Test(arena, sizes_at_the_edges)
{
	static const size_t too_large[] = { 4097, 4104, 1 << 20, SIZE_MAX - 8, SIZE_MAX - 7, SIZE_MAX - 1, SIZE_MAX };
	struct arena arena;
	int error = 0;

	arena_init(&arena, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(too_large); i++) {
		error = 0;
		cr_assert_null(arena_alloc(&arena, too_large[i], &error), "size %zu", too_large[i]);
		cr_assert_eq(error, SLF_EARENA);
		cr_assert_eq(arena.total, 0);
	}
	cr_assert_not_null(arena_alloc(&arena, 4096, &error));
	cr_assert_not_null(arena_alloc(&arena, 0, &error)); /* needs no room */
	cr_assert_null(arena_alloc(&arena, 1, &error));
	arena_release(&arena);
	arena_init(&arena, 0);
	cr_assert_null(arena_alloc(&arena, 1, &error));
	cr_assert_not_null(arena_alloc(&arena, 0, &error));
	arena_release(&arena);
}

/* Would break if an empty slice became one that points nowhere, or read its NULL. */
Test(arena, copy_of_nothing)
{
	struct slf_slice copy = slice("x", 1);
	struct arena arena;

	arena_init(&arena, 4096);
	cr_assert_eq(arena_copy(&arena, slice(NULL, 0), &copy), 0);
	cr_assert_eq(copy.size, 0);
	cr_assert_not_null(copy.data);
	arena_release(&arena);
}

/* Would break if large memory were kept between two transactions, or none at all, or were counted wrongly. */
Test(arena, reset_keeps_one_small_chunk)
{
	struct arena arena;
	const void *first;
	int error = 0;

	arena_init(&arena, 16 * MIB);
	arena_reset(&arena);
	first = arena_alloc(&arena, 100, &error);
	cr_assert_not_null(first);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 20; i++)
			cr_assert_not_null(arena_alloc(&arena, 100000, &error));
		arena_reset(&arena);
		cr_assert_eq(arena.total, 0);
		cr_assert_eq(arena.used, 0);
		cr_assert_eq(arena_alloc(&arena, 100, &error), first, "the kept chunk is not used");
	}
	arena_reset(&arena);
	arena_reset(&arena);
	cr_assert_not_null(arena.kept, "ended by a transaction that needs no memory");
	cr_assert_not_null(arena_alloc(&arena, 1 << 20, &error));
	cr_assert_null(arena.kept, "it is too small, and not given back");
	arena_reset(&arena); /* the only chunk is too large to keep */
	cr_assert_eq(arena.total, 0);
	cr_assert_null(arena.kept);
	cr_assert_not_null(arena_alloc(&arena, 100, &error));
	arena_reset(&arena);
	arena_release(&arena);
	cr_assert_null(arena.kept);
}

/* Would break if what is kept of a use counted in the next one: that would be refused what a new arena gives, again and
 * again. */
Test(arena, reset_is_as_good_as_new)
{
	static const size_t before[] = { 5, 5000, 40000, 62000 };
	static const size_t uses[][3] = { { 62000 }, { 5, 60000 }, { 5, 50000, 50000 }, { 5000, 55000 }, { 5000, 5000, 50000 } };

	for (size_t i = 0; i < ARRAY_SIZE(before); i++)
		for (size_t use = 0; use < ARRAY_SIZE(uses); use++) {
			struct arena arena, fresh;
			int error = 0;

			arena_init(&arena, 65536);
			arena_init(&fresh, 65536);
			cr_assert_not_null(arena_alloc(&arena, before[i], &error));
			arena_reset(&arena);
			for (size_t k = 0; k < ARRAY_SIZE(uses[use]); k++) {
				bool given = arena_alloc(&arena, uses[use][k], &error);

				cr_assert_eq(given, arena_alloc(&fresh, uses[use][k], &error) != NULL, "after %zu: %zu, piece %zu",
					     before[i], uses[use][0], k);
				cr_assert_eq(arena.total, fresh.total);
			}
			arena_release(&arena);
			arena_release(&fresh);
		}
}
