/* SPDX-License-Identifier: MIT */
/* Entries in bulk: what is written is read, and nothing else is taken for it. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <xxhash.h>

#include "codec.h"
#include "entry.h"
#include "scratch.h"

#define SEED 0x0123456789abcdefu
#define POSITION position_make(3, 0x200040)

struct value_fixture {
	uint8_t *entry;
	uint64_t length;
	struct value_ref ref;
};

/* An entry on the heap in a block of exactly its size, so that reading past it is noticed. */
static struct value_fixture value_make(struct slf_slice key, struct slf_slice value, uint32_t raw_bytes)
{
	struct value_fixture fixture = { .length = value_entry_bytes(key.size, value.size) };

	fixture.entry = malloc(fixture.length);
	cr_assert_not_null(fixture.entry);
	value_entry_encode(fixture.entry, SEED, POSITION, 16, key, value.data, (uint32_t)value.size, raw_bytes,
			   &fixture.ref);
	return fixture;
}

static const char *value_check(const struct value_fixture *fixture, uint64_t available, struct slf_slice *stored)
{
	uint64_t expected = 0, found = 0;

	return value_entry_check(fixture->entry, available, SEED, POSITION, &fixture->ref, stored, &expected, &found);
}

/* Would break if a field of the common header moved, or shared a byte with another. */
Test(entry, header_round_trip)
{
	struct entry_header header = { 0x1112131415161718, 0x2122232425262728, 0x31323334, 2, 1, 3, 0x41424344,
				       0x51525354 };
	struct entry_header again = { 0 };
	uint8_t bytes[ENTRY_HEADER_BYTES];

	memset(bytes, 0xff, sizeof(bytes));
	entry_header_encode(bytes, &header);
	entry_header_decode(bytes, &again);
	cr_assert_eq(again.checksum, header.checksum);
	cr_assert_eq(again.hash, header.hash);
	cr_assert_eq(again.length, header.length);
	cr_assert(again.type == 2 && again.kind == 1 && again.level == 3);
	cr_assert_eq(again.tree, header.tree);
	cr_assert_eq(again.aux, header.aux);
	cr_assert_eq(bytes[0], 0x18, "integers are little-endian");
	cr_assert_eq(bytes[23], 0, "the reserved byte is written");
}

/* Would break if references lost bits, or their reserved word kept what had stood there. */
Test(entry, references_round_trip)
{
	struct value_ref value = { 0x1112131415161718, 0x2122232425262728, 0x31323334, 0x41424344 }, value_again;
	struct entry_ref entry = { 0x1112131415161718, 0x2122232425262728, 0x31323334 }, entry_again;
	uint8_t bytes[SLAB_PART_BYTES];

	memset(bytes, 0xff, sizeof(bytes));
	value_ref_encode(bytes, &value);
	value_ref_decode(bytes, &value_again);
	cr_assert(value_again.position == value.position && value_again.hash == value.hash);
	cr_assert(value_again.stored == value.stored && value_again.raw == value.raw);
	memset(bytes, 0xff, sizeof(bytes));
	entry_ref_encode(bytes, &entry);
	entry_ref_decode(bytes, &entry_again);
	cr_assert(entry_again.position == entry.position && entry_again.hash == entry.hash);
	cr_assert_eq(entry_again.length, entry.length);
	cr_assert_eq(get_u32(bytes + 20), 0);
}

/* Would break if a seed ignored a part of the uuid: two databases would take each other's bytes. */
Test(entry, seed_depends_on_whole_uuid)
{
	uint8_t uuid[16] = { 0 };
	uint64_t zero = format_seed(uuid);

	for (unsigned bit = 0; bit < 128; bit++) {
		uuid[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_neq(format_seed(uuid), zero);
		uuid[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* Would break if the checksum left out a header byte, the seed, the place, or a position inside. */
Test(entry, checksum_covers_header_place_and_positions)
{
	uint8_t header[ENTRY_HEADER_BYTES] = { 0 }, positions[16] = { 0 };
	uint64_t sum = entry_checksum(header, SEED, POSITION, positions, 2);

	for (unsigned bit = 8 * 8; bit < 8 * ENTRY_HEADER_BYTES; bit++) {
		header[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_neq(entry_checksum(header, SEED, POSITION, positions, 2), sum);
		header[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (unsigned bit = 0; bit < 8 * sizeof(positions); bit++) {
		positions[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_neq(entry_checksum(header, SEED, POSITION, positions, 2), sum);
		positions[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	header[3] = 1;
	cr_assert_eq(entry_checksum(header, SEED, POSITION, positions, 2), sum, "the checksum does not cover itself");
	cr_assert_neq(entry_checksum(header, SEED + 1, POSITION, positions, 2), sum);
	cr_assert_neq(entry_checksum(header, SEED, POSITION + 64, positions, 2), sum);
	cr_assert_neq(entry_checksum(header, SEED, POSITION, positions, 1), sum);
	cr_assert_neq(entry_checksum(header, SEED, POSITION, NULL, 0), sum);
}

/* Would break if empty or longest keys, or empty values, were not entries like all others. */
Test(entry, value_round_trip)
{
	static const size_t key_sizes[] = { 0, 1, 16, KEY_BYTES_MAX };
	static const size_t value_sizes[] = { 0, 1, 100, 70000 };
	static uint8_t key[KEY_BYTES_MAX], value[70000];
	struct slf_slice stored = { 0 }, owner = { 0 };
	uint32_t tree = 0;

	bytes_fill(key, sizeof(key), 1, false);
	bytes_fill(value, sizeof(value), 2, false);
	for (size_t i = 0; i < 16; i++) {
		struct slf_slice k = bytes(key, key_sizes[i / 4]), v = bytes(value, value_sizes[i % 4]);
		struct value_fixture fixture = value_make(k, v, (uint32_t)v.size);

		cr_assert_null(value_check(&fixture, fixture.length, &stored));
		cr_assert(slice_is(stored, v.data, v.size));
		value_entry_owner(fixture.entry, &tree, &owner);
		cr_assert(tree == 16 && slice_is(owner, k.data, k.size));
		cr_assert_eq(fixture.ref.position, POSITION);
		free(fixture.entry);
	}
}

/* Would break if a value that already stands in its place were moved or lost. */
Test(entry, value_in_place)
{
	uint8_t entry[VALUE_HEADER_BYTES + 3 + 5] = { 0 };
	struct value_fixture fixture = { .entry = entry, .length = sizeof(entry) };
	struct slf_slice stored = { 0 };

	memcpy(entry + VALUE_HEADER_BYTES + 3, "value", 5);
	value_entry_encode(entry, SEED, POSITION, 16, text("key"), entry + VALUE_HEADER_BYTES + 3, 5, 5, &fixture.ref);
	cr_assert_null(value_check(&fixture, fixture.length, &stored));
	cr_assert(slice_is(stored, "value", 5));
}

/* Would break if any bit of a value entry were outside of both sums. */
Test(entry, value_every_bit_flip_is_detected)
{
	struct value_fixture fixture = value_make(text("some key"), text("a value of a few bytes"), 22);
	struct slf_slice stored = { 0 };

	for (uint64_t bit = 0; bit < 8 * fixture.length; bit++) {
		fixture.entry[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_not_null(value_check(&fixture, fixture.length, &stored), "bit %u", (unsigned)bit);
		fixture.entry[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	cr_assert_null(value_check(&fixture, fixture.length, &stored));
	free(fixture.entry);
}

/* Would break if fields that cannot be were let through because both sums are right. */
Test(entry, value_impossible_fields_with_right_sums)
{
	static const struct { size_t offset; uint8_t byte; } cases[] = {
		{ 16, 1 }, { 20, ENTRY_NODE }, { 21, VALUE_LZ4 }, { 21, 2 }, { 22, 1 }, { 23, 1 }, { 28, 9 }, { 30, 1 },
		{ 32, 1 }, { 36, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct value_fixture fixture = value_make(text("some key"), text("a value of a few bytes"), 22);
		struct slf_slice stored = { 0 };

		fixture.entry[cases[i].offset] = cases[i].byte;
		fixture.ref.hash = XXH3_64bits(fixture.entry + 16, fixture.length - 16);
		put_u64(fixture.entry + 8, fixture.ref.hash);
		put_u64(fixture.entry, entry_checksum(fixture.entry, SEED, POSITION, NULL, 0));
		cr_assert_not_null(value_check(&fixture, fixture.length, &stored), "case %zu", i);
		free(fixture.entry);
	}
}

/* Would break if a reference to more stored than raw bytes were followed where an entry is just so. */
Test(entry, value_with_more_stored_than_raw)
{
	struct value_fixture fixture = value_make(text("some key"), text("a value of a few bytes"), 22);
	struct slf_slice stored = { 0 };

	put_u64(fixture.entry + ENTRY_HEADER_BYTES, 21);
	fixture.ref.raw = 21;
	fixture.ref.hash = XXH3_64bits(fixture.entry + 16, fixture.length - 16);
	put_u64(fixture.entry + 8, fixture.ref.hash);
	put_u64(fixture.entry, entry_checksum(fixture.entry, SEED, POSITION, NULL, 0));
	cr_assert_not_null(value_check(&fixture, fixture.length, &stored));
	free(fixture.entry);
}

/* Would break if the hash in the header could be another one than that of the content, though its checksum is right. */
Test(entry, value_with_another_hash_in_its_header)
{
	struct value_fixture fixture = value_make(text("some key"), text("a value of a few bytes"), 22);
	struct slf_slice stored = { 0 };

	put_u64(fixture.entry + 8, fixture.ref.hash + 1);
	put_u64(fixture.entry, entry_checksum(fixture.entry, SEED, POSITION, NULL, 0));
	cr_assert_not_null(value_check(&fixture, fixture.length, &stored));
	free(fixture.entry);
}

/* Would break if any bit of a reference could change and still lead to the same value. */
Test(entry, value_every_reference_bit_counts)
{
	struct value_fixture fixture = value_make(text("some key"), text("a value of a few bytes"), 22);
	uint8_t bytes[VALUE_REF_BYTES];
	struct slf_slice stored = { 0 };
	struct value_ref ref;
	uint64_t expected, found;

	value_ref_encode(bytes, &fixture.ref);
	for (unsigned bit = 0; bit < 8 * VALUE_REF_BYTES; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		value_ref_decode(bytes, &ref);
		cr_assert_not_null(value_entry_check(fixture.entry, fixture.length, SEED, ref.position, &ref, &stored,
						     &expected, &found), "bit %u", bit);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	free(fixture.entry);
}

/* Would break if the check looked at bytes that are not there. */
Test(entry, value_truncated_at_every_length)
{
	struct value_fixture fixture = value_make(text("key"), text("value"), 5);
	struct slf_slice stored = { 0 };

	for (uint64_t length = 0; length < fixture.length; length++) {
		struct value_fixture cut = { .entry = malloc(length + !length), .ref = fixture.ref };

		memcpy(cut.entry, fixture.entry, length);
		cr_assert_not_null(value_check(&cut, length, &stored), "length %u", (unsigned)length);
		cr_assert_not_null(value_check(&fixture, length, &stored), "length %u of more", (unsigned)length);
		free(cut.entry);
	}
	free(fixture.entry);
}

/* Would break if a value were taken for one of another place or database, or its hash depended on the place: then
 * equal contents could not be seen to be equal. */
Test(entry, value_belongs_to_its_place)
{
	struct value_fixture fixture = value_make(text("key"), text("value"), 5);
	uint8_t moved[VALUE_HEADER_BYTES + 8];
	struct value_ref ref = fixture.ref;
	struct slf_slice stored = { 0 };
	uint64_t expected, found;

	cr_assert_not_null(value_entry_check(fixture.entry, fixture.length, SEED, POSITION + 64, &ref, &stored,
					     &expected, &found));
	cr_assert_not_null(value_entry_check(fixture.entry, fixture.length, SEED ^ 1, POSITION, &ref, &stored,
					     &expected, &found));
	value_entry_encode(moved, SEED, POSITION + 64, 16, text("key"), "value", 5, 5, &ref);
	cr_assert_eq(ref.hash, fixture.ref.hash);
	value_entry_encode(moved, SEED, POSITION, 17, text("key"), "value", 5, 5, &ref);
	cr_assert_neq(ref.hash, fixture.ref.hash, "the owner is part of what the entry says");
	free(fixture.entry);
}

/* Would break if the numbers that differ were not told to the caller. */
Test(entry, value_failure_tells_numbers)
{
	struct value_fixture fixture = value_make(text("key"), text("value"), 5);
	struct value_ref other = fixture.ref;
	struct slf_slice stored = { 0 };
	uint64_t expected = 0, found = 0;

	other.hash ^= 0xff;
	cr_assert_not_null(value_entry_check(fixture.entry, fixture.length, SEED, POSITION, &other, &stored,
					     &expected, &found));
	cr_assert_eq(expected, other.hash);
	cr_assert_eq(found, fixture.ref.hash);
	cr_assert_null(stored.data, "outputs are untouched on failure");
	free(fixture.entry);
}

/* Would break if a compressed value did not come back, or one that gains less than an eighth were compressed. */
Test(entry, compression)
{
	static uint8_t value[100000], packed[100000], raw[100000];
	struct slf_slice stored = { 0 };
	struct value_fixture fixture;
	uint32_t size;

	bytes_fill(value, sizeof(value), 3, true);
	size = value_compress(bytes(value, sizeof(value)), packed);
	cr_assert(size > 0 && size <= sizeof(value) - sizeof(value) / 8);
	fixture = value_make(text("key"), bytes(packed, size), sizeof(value));
	cr_assert_null(value_check(&fixture, fixture.length, &stored));
	cr_assert_eq(fixture.entry[21], VALUE_LZ4);
	cr_assert_eq(value_decompress(stored, raw, sizeof(value)), 0);
	cr_assert_arr_eq(raw, value, sizeof(value));
	cr_assert_eq(value_decompress(stored, raw, sizeof(value) - 1), SLF_ECORRUPT);
	cr_assert_eq(value_decompress(bytes(packed, size - 1), raw, sizeof(value)), SLF_ECORRUPT);
	free(fixture.entry);
	bytes_fill(value, sizeof(value), 4, false);
	cr_assert_eq(value_compress(bytes(value, sizeof(value)), packed), 0);
	for (size_t i = 0; i < 20; i++)
		cr_assert_lt(value_compress(bytes(value, i), packed), i + !i);
}

/* Would break if garbage handed to lz4 wrote outside of the room it was given. */
Test(entry, decompression_of_garbage)
{
	struct rng rng = { .state = test_seed("entry/decompression_of_garbage") };
	uint8_t garbage[64];

	for (unsigned i = 0; i < 20000; i++) {
		size_t size = rng_below(&rng, sizeof(garbage) + 1);
		uint32_t room = (uint32_t)rng_below(&rng, 256);
		uint8_t *raw = malloc(room + 1);
		int result;

		bytes_fill(garbage, sizeof(garbage), rng_next(&rng), false);
		result = value_decompress(bytes(garbage, size), raw, room);
		cr_assert(result == 0 || result == SLF_ECORRUPT);
		free(raw);
	}
	cr_assert_eq(value_decompress(bytes(garbage, sizeof(garbage)), garbage, UINT32_MAX), SLF_ECORRUPT);
}

/* Would break if actions in bulk were not proven as values are. */
Test(entry, actions_round_trip_flips_and_truncations)
{
	uint8_t entry[ACTIONS_ENTRY_HEADER_BYTES + 7];
	struct slf_slice content = { 0 };
	struct entry_ref ref = { 0 };

	memcpy(entry + ACTIONS_ENTRY_HEADER_BYTES, "actions", 7);
	actions_entry_seal(entry, sizeof(entry), SEED, POSITION, 77, &ref);
	cr_assert(ref.position == POSITION && ref.length == sizeof(entry));
	cr_assert_null(actions_entry_check(entry, sizeof(entry), SEED, &ref, &content));
	cr_assert(slice_is(content, "actions", 7));
	cr_assert_eq(get_u64(entry + ENTRY_HEADER_BYTES), 77);
	for (size_t bit = 0; bit < 8 * sizeof(entry); bit++) {
		entry[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_not_null(actions_entry_check(entry, sizeof(entry), SEED, &ref, &content));
		entry[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t length = 0; length < sizeof(entry); length++) {
		struct entry_ref shorter = { ref.position, ref.hash, (uint32_t)length };
		uint8_t *cut = malloc(length + !length);

		memcpy(cut, entry, length);
		cr_assert_not_null(actions_entry_check(cut, length, SEED, &ref, &content));
		cr_assert_not_null(actions_entry_check(cut, length, SEED, &shorter, &content));
		free(cut);
	}
	ref.position += 64;
	cr_assert_not_null(actions_entry_check(entry, sizeof(entry), SEED, &ref, &content));
}

/* Would break if fields that cannot be were let through because both sums are right; or if no actions at all were refused. */
Test(entry, actions_impossible_fields_with_right_sums)
{
	static const struct { size_t offset; uint8_t byte; } cases[] = {
		{ 16, 1 }, { 20, ENTRY_VALUE }, { 20, ENTRY_NODE }, { 21, 1 }, { 22, 1 }, { 23, 1 }, { 24, 1 }, { 28, 1 },
	};

	for (size_t i = 0; i <= ARRAY_SIZE(cases); i++) {
		uint8_t entry[ACTIONS_ENTRY_HEADER_BYTES] = { 0 };
		struct slf_slice content = { 0 };
		struct entry_ref ref = { 0 };

		actions_entry_seal(entry, sizeof(entry), SEED, POSITION, 77, &ref);
		if (i < ARRAY_SIZE(cases))
			entry[cases[i].offset] = cases[i].byte;
		ref.hash = XXH3_64bits(entry + 16, sizeof(entry) - 16);
		put_u64(entry + 8, ref.hash);
		put_u64(entry, entry_checksum(entry, SEED, POSITION, NULL, 0));
		cr_assert_eq(actions_entry_check(entry, sizeof(entry), SEED, &ref, &content) == NULL, i == ARRAY_SIZE(cases),
			     "case %zu", i);
	}
}

/* Would break if random bytes, or random bytes behind a plausible header, crashed the check or passed it. */
Test(entry, garbage)
{
	struct rng rng = { .state = test_seed("entry/garbage") };

	for (unsigned i = 0; i < 20000; i++) {
		uint64_t size = rng_below(&rng, 200), expected, found;
		uint8_t *entry = malloc(size + 1);
		struct value_ref ref = { POSITION, rng_next(&rng), 0, 0 };
		struct entry_ref actions = { POSITION, ref.hash, 0 };
		struct slf_slice content = { 0 };

		bytes_fill(entry, size, rng_next(&rng), false);
		ref.raw = ref.stored = (uint32_t)(rng_next(&rng) >> rng_below(&rng, 64));
		actions.length = (uint32_t)(rng_next(&rng) >> rng_below(&rng, 64));
		if (size >= VALUE_HEADER_BYTES) {
			struct entry_header header = { .type = (uint8_t)(1 + rng_below(&rng, 3)) };

			header.aux = header.type == ENTRY_VALUE ? (uint32_t)(rng_next(&rng) >> rng_below(&rng, 64)) : 0;
			header.length = header.type == ENTRY_VALUE ?
					(uint32_t)value_entry_bytes(header.aux, ref.stored) : actions.length;
			entry_header_encode(entry, &header);
			put_u64(entry + ENTRY_HEADER_BYTES, ref.raw);
		}
		cr_assert_not_null(value_entry_check(entry, size, SEED, POSITION, &ref, &content, &expected, &found));
		cr_assert_not_null(actions_entry_check(entry, size, SEED, &actions, &content));
		free(entry);
	}
}
