/* SPDX-License-Identifier: MIT */
/* Arithmetic, slices, clocks and the integers of the format. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "base.h"
#include "codec.h"
#include "scratch.h"
#include "wrapped.h"

static int sign(int value)
{
	return (value > 0) - (value < 0);
}

static int compare(const char *a, size_t a_size, const char *b, size_t b_size)
{
	return sign(slice_compare(slice(a, a_size), slice(b, b_size)));
}

/* Keys would be in another order than that of their bytes, a prefix not come first, or an empty key be compared by NULL. */
Test(base, order_of_slices)
{
	cr_assert_eq(compare(NULL, 0, NULL, 0), 0);
	cr_assert_eq(compare(NULL, 0, "", 1), -1);
	cr_assert_eq(compare("a", 1, NULL, 0), 1);
	cr_assert_eq(compare("abc", 3, "abc", 3), 0);
	cr_assert_eq(compare("abc", 2, "abc", 3), -1);
	cr_assert_eq(compare("b", 1, "abc", 3), 1);
	cr_assert_eq(compare("\x7f", 1, "\x80", 1), -1);
	cr_assert_eq(compare("a\0b", 3, "a\0c", 3), -1);
	cr_assert_eq(compare("a\0", 2, "a", 1), 1);
}

/* What an array held would be lost as it grows, or its capacity not be what there is room for. */
Test(base, arrays_that_grow)
{
	size_t capacity = 0, before = 0;
	uint32_t *items = NULL;

	for (uint32_t i = 0; i < 5000; i++) {
		if (i == capacity) {
			items = array_grow(items, &capacity, sizeof(*items));
			must(items && capacity == (before ? 2 * before : 8));
			before = capacity;
		}
		items[i] = i * 2654435761u;
	}
	for (uint32_t i = 0; i < 5000; i++)
		must(items[i] == i * 2654435761u);
	free(items);
}

/* Places in files would overlap, or be off by a unit. */
Test(base, alignment)
{
	for (uint64_t unit = 1; unit <= 4 * MIB; unit *= 2)
		for (uint64_t value = 4 * unit - 1; value <= 4 * unit + 1; value++) {
			uint64_t up = align_up(value, unit), down = align_down(value, unit);

			must(up % unit == 0 && down % unit == 0);
			must(up >= value && up - value < unit && down <= value && value - down < unit);
		}
	cr_assert_eq(u64_min(1, UINT64_MAX), 1);
	cr_assert_eq(u64_max(1, UINT64_MAX), UINT64_MAX);
}

/* A database would not be readable on a machine of the other byte order, or at addresses that are not aligned. */
Test(base, integers_of_the_format)
{
	static const uint8_t expected[] = { 0xff, 0x02, 0x01, 0x04, 0x03, 0x02, 0x01, 0x08, 0x07, 0x06, 0x05,
					    0x04, 0x03, 0x02, 0x01, 0x01, 0x02, 0x03, 0x04, 0xff };
	uint8_t data[sizeof(expected)];

	memset(data, 0xff, sizeof(data));
	put_u16(data + 1, 0x0102);
	put_u32(data + 3, 0x01020304);
	put_u64(data + 7, 0x0102030405060708);
	put_be32(data + 15, 0x01020304);
	cr_assert_eq(memcmp(data, expected, sizeof(data)), 0);
	cr_assert_eq(get_u16(data + 1), 0x0102);
	cr_assert_eq(get_u32(data + 3), 0x01020304);
	cr_assert_eq(get_u64(data + 7), 0x0102030405060708);
	cr_assert_eq(get_be32(data + 15), 0x01020304);
}

/* Limits of time would end at once, or commits be dated into another century. */
Test(base, clocks)
{
	uint64_t before = clock_now_ns(), wall = clock_wall_ns();

	cr_assert_leq(before, clock_now_ns());
	cr_assert_gt(wall / NS_PER_S, 1700000000);
	cr_assert_lt(wall / NS_PER_S, 4102444800);
}

static bool clock_fails;

WRAPPED(int, clock_gettime, clockid_t clock, struct timespec *now)
{
	if (!clock_fails)
		return __real_clock_gettime(clock, now);
	memset(now, 0x5a, sizeof(*now));
	errno = EINVAL;
	return -1;
}

/* A commit would be dated by what lay in memory when the clock failed. */
Test(base, failing_clock)
{
	uint64_t wall = 0;

	clock_fails = true;
	wall = clock_wall_ns();
	clock_fails = false;
	cr_assert_eq(wall, 0);
}
