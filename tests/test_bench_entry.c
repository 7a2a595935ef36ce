/* SPDX-License-Identifier: MIT */
/* The entries of the benchmark: keys differ and have the order that they promise, and what was changed is found. */
#include "../bench/entry.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "scratch.h"

#define ENTRIES 20000
#define KEY_BYTES_MAX 300
#define VALUE_BYTES_MAX (3 * ENTRY_PIECE_BYTES)

static const struct entry_shape shapes[] = {
	{ ENTRY_DIGITS, 16, 100, false },  { ENTRY_HASHED, 8, 48, false },  { ENTRY_HASHED, 16, 100, false },
	{ ENTRY_HASHED, 300, 102, false }, { ENTRY_USER, 24, 1000, false }, { ENTRY_HASHED, 16, 100, true },
	{ ENTRY_DIGITS, 16, 1000, true },  { ENTRY_DIGITS, 16, VALUE_BYTES_MAX, false },
	{ ENTRY_DIGITS, 16, VALUE_BYTES_MAX, true },
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static size_t key_bytes;

static int by_key(const void *a, const void *b)
{
	return memcmp(a, b, key_bytes);
}

/* Would break if two entries had one key: stores would hold less than is said. Those of absent entries differ, too. */
Test(bench_entry, keys_differ)
{
	cr_assert_eq(entry_init(VALUE_BYTES_MAX), 0);
	for (unsigned s = 0; s < SHAPES; s++) {
		unsigned char *keys = NULL, missing[KEY_BYTES_MAX];

		key_bytes = shapes[s].key_bytes;
		keys = malloc(ENTRIES * key_bytes);
		for (uint64_t i = 0; i < ENTRIES; i++)
			cr_assert_eq(entry_key(&shapes[s], i, keys + i * key_bytes).size, key_bytes);
		qsort(keys, ENTRIES, key_bytes, by_key);
		for (uint64_t i = 1; i < ENTRIES; i++)
			cr_assert_lt(by_key(keys + (i - 1) * key_bytes, keys + i * key_bytes), 0, "shape %u", s);
		for (uint64_t i = 0; i < ENTRIES; i++) {
			cr_assert_eq(entry_missing(&shapes[s], i, missing).size, key_bytes);
			cr_assert_null(bsearch(missing, keys, ENTRIES, key_bytes, by_key), "shape %u", s);
		}
		free(keys);
	}
}

/* Would break if keys of digits did not have the order of their numbers, which "in key order" relies on. */
Test(bench_entry, digits_have_order)
{
	unsigned char last[16], key[16];

	entry_key(&shapes[0], 0, last);
	cr_assert_eq(memcmp(last, "0000000000000000", 16), 0);
	for (uint64_t i = 1; i < 3000000; i += i < 2000 ? 1 : 997) {
		entry_key(&shapes[0], i, key);
		cr_assert_lt(memcmp(last, key, sizeof(key)), 0);
		memcpy(last, key, sizeof(key));
	}
}

static void check_changes(const struct entry_shape *shape, struct bytes key, struct bytes value, unsigned char *changed,
			  size_t size)
{
	for (size_t i = 0; i < size; i++) {
		for (unsigned bit = 0; bit < 8; bit += 7) {
			changed[i] ^= (unsigned char)(1 << bit);
			cr_assert_not(entry_is(shape, key, value), "byte %zu of %zu", i, size);
			changed[i] ^= (unsigned char)(1 << bit);
		}
	}
	cr_assert(entry_is(shape, key, value));
}

/* Would break if a byte that a store has changed, of a key or of a value, passed the thorough check. */
Test(bench_entry, each_changed_byte_is_found)
{
	unsigned char key_buffer[KEY_BYTES_MAX], value_buffer[VALUE_BYTES_MAX];

	cr_assert_eq(entry_init(VALUE_BYTES_MAX), 0);
	for (unsigned s = 0; s < SHAPES; s++) {
		for (uint64_t number = 0; number < 20; number++) {
			struct bytes key = entry_key(&shapes[s], number, key_buffer);
			struct bytes value = entry_value(&shapes[s], number, number * 3, value_buffer);

			cr_assert_eq(entry_number(value), number);
			cr_assert_eq(entry_version(value), number * 3);
			cr_assert(entry_value_is(&shapes[s], number, value));
			cr_assert_not(entry_value_is(&shapes[s], number + 1, value));
			check_changes(&shapes[s], key, value, key_buffer, key.size);
			check_changes(&shapes[s], key, value, value_buffer, value.size);
			value.size--;
			cr_assert_not(entry_is(&shapes[s], key, value));
			cr_assert_not(entry_value_is(&shapes[s], number, value));
			value.size++;
			key.size--;
			cr_assert_not(entry_is(&shapes[s], key, value));
		}
	}
}

/* Would break if the quick check of measured loops took the value of another entry, or an older version that was changed. */
Test(bench_entry, quick_check)
{
	unsigned char value_buffer[VALUE_BYTES_MAX];
	uint64_t version = 7;
	struct bytes value;

	cr_assert_eq(entry_init(VALUE_BYTES_MAX), 0);
	for (unsigned s = 0; s < SHAPES; s++) {
		value = entry_value(&shapes[s], 5, 6, value_buffer);
		cr_assert_not(entry_value_is(&shapes[s], 4, value));
		memcpy(value_buffer + sizeof(uint64_t), &version, sizeof(version));
		cr_assert_not(entry_value_is(&shapes[s], 5, value), "shape %u", s);
		value = entry_value(&shapes[s], 5, 6, value_buffer);
		value_buffer[value.size - 1] ^= 1;
		cr_assert_not(entry_value_is(&shapes[s], 5, value), "shape %u", s);
	}
}

/* Would break if values compressed more, or less, than is said: one half of a piece repeats the other, and versions differ in
 * all of it, as the pieces do. */
Test(bench_entry, halves)
{
	unsigned char first[VALUE_BYTES_MAX], second[VALUE_BYTES_MAX];
	unsigned same = 0;

	cr_assert_eq(entry_init(VALUE_BYTES_MAX), 0);
	for (unsigned s = 0; s < SHAPES; s++) {
		size_t bytes = shapes[s].value_bytes, piece = bytes < ENTRY_PIECE_BYTES ? bytes : ENTRY_PIECE_BYTES;

		entry_value(&shapes[s], 3, 1, first);
		for (size_t i = 0; i < bytes; i += piece)
			cr_assert_eq(memcmp(first + i, first + i + piece / 2, piece / 2) == 0, !shapes[s].incompressible);
	}
	entry_value(&shapes[4], 3, 1, first);
	entry_value(&shapes[4], 3, 2, second);
	for (unsigned i = 16; i < 500; i++)
		same += first[i] == second[i];
	entry_value(&shapes[7], 3, 1, first);
	for (unsigned i = 16; i < ENTRY_PIECE_BYTES / 2; i++)
		same += first[i] == first[i + ENTRY_PIECE_BYTES];
	cr_assert_lt(same, 30);
}
