/* SPDX-License-Identifier: MIT */
/* Metadata pages and the spindle table. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "codec.h"
#include "entry.h"
#include "meta.h"
#include "scratch.h"

/* Every number differs from every other, so that two that change places are noticed. */
static struct meta meta_example(uint16_t slot)
{
	return (struct meta){
		.version = FORMAT_VERSION, .sector = 512,
		.uuid = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
		.generation = 101, .salt = 102, .created_ns = 103, .spindle_index = 2, .spindle_count = 3, .slot = slot,
		.flags = META_FLAG_CLEAN, .table_bytes = 104, .table_digest = 105, .mark_position = 106,
		.mark_number = 107, .mark_digest = 108, .log_end = 109, .log_number = 110, .durable_seq = 111,
		.seq_limit = 112, .floor_seq = 113, .leaf_bytes = 2048, .branch_bytes = 4096, .inline_bytes = 128,
		.bulk_bytes = 32768, .compression = 1,
	};
}

/* Seals again after a change that only the checks behind the digest can find. */
static void reseal(uint8_t *page, uint16_t slot)
{
	uint64_t position = position_make(get_u16(page + 80) & 0xff, slot ? META_PAGE_B : META_PAGE_A);

	put_u64(page + 4088, XXH3_64bits_withSeed(page, 4088, format_seed(page + 40) ^ position));
}

static bool meta_same(const struct meta *a, const struct meta *b)
{
	return a->version == b->version && a->sector == b->sector && a->incompat == b->incompat &&
	       a->ro_compat == b->ro_compat && a->compat == b->compat && !memcmp(a->uuid, b->uuid, 16) &&
	       a->generation == b->generation && a->salt == b->salt && a->created_ns == b->created_ns &&
	       a->spindle_index == b->spindle_index && a->spindle_count == b->spindle_count && a->slot == b->slot &&
	       a->flags == b->flags && a->table_bytes == b->table_bytes && a->table_digest == b->table_digest &&
	       a->mark_position == b->mark_position && a->mark_number == b->mark_number &&
	       a->mark_digest == b->mark_digest && a->log_end == b->log_end && a->log_number == b->log_number &&
	       a->durable_seq == b->durable_seq && a->seq_limit == b->seq_limit && a->floor_seq == b->floor_seq &&
	       a->leaf_bytes == b->leaf_bytes && a->branch_bytes == b->branch_bytes &&
	       a->inline_bytes == b->inline_bytes && a->bulk_bytes == b->bulk_bytes &&
	       a->compression == b->compression;
}

/* Would break if a page lost a field, in either slot. */
Test(meta, round_trip)
{
	uint8_t page[META_PAGE_BYTES];

	for (uint16_t slot = 0; slot < 2; slot++) {
		struct meta meta = meta_example(slot), again;
		const char *reason = "";

		memset(page, 0xff, sizeof(page));
		meta_encode(page, &meta);
		cr_assert_eq(meta_decode(page, slot, &again, &reason), META_GOOD, "%s", reason);
		cr_assert_null(reason);
		cr_assert(meta_same(&meta, &again));
	}
}

/* Would break if any bit of a page could change unseen. */
Test(meta, every_bit_flip_is_detected)
{
	uint8_t page[META_PAGE_BYTES];
	struct meta meta = meta_example(1), again;
	const char *reason;

	meta_encode(page, &meta);
	for (unsigned bit = 0; bit < 8 * META_PAGE_BYTES; bit++) {
		page[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(meta_decode(page, 1, &again, &reason), bit < 64 ? META_FOREIGN : META_DAMAGED, "bit %u",
			     bit);
		cr_assert_not_null(reason);
		page[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	cr_assert_eq(meta_decode(page, 1, &again, &reason), META_GOOD);
}

/* Would break if a page that was written in part only were valid. */
Test(meta, torn_at_every_length)
{
	uint8_t old_page[META_PAGE_BYTES], new_page[META_PAGE_BYTES], page[META_PAGE_BYTES];
	struct meta meta = meta_example(0), again;
	const char *reason;

	meta_encode(old_page, &meta);
	meta.generation++;
	meta.log_end += 4096;
	meta_encode(new_page, &meta);
	for (size_t size = 57; size < META_PAGE_BYTES; size++) {
		memcpy(page, new_page, size);
		memcpy(page + size, old_page + size, META_PAGE_BYTES - size);
		cr_assert_eq(meta_decode(page, 0, &again, &reason), META_DAMAGED, "length %zu", size);
	}
}

/* Would break if page A were taken for page B: a misdirected write would count as both. */
Test(meta, belongs_to_its_slot)
{
	uint8_t page[META_PAGE_BYTES];
	struct meta meta = meta_example(0), again;
	const char *reason;

	meta_encode(page, &meta);
	cr_assert_eq(meta_decode(page, 1, &again, &reason), META_DAMAGED);
	reseal(page, 1);
	cr_assert_eq(meta_decode(page, 1, &again, &reason), META_DAMAGED);
	meta.compat = 1; /* then the digest alone has to tell */
	meta_encode(page, &meta);
	cr_assert_eq(meta_decode(page, 0, &again, &reason), META_GOOD);
	cr_assert_eq(meta_decode(page, 1, &again, &reason), META_DAMAGED);
}

/* Would break if a file of someone else were called a damaged database, or the reverse. */
Test(meta, foreign_and_garbage)
{
	struct rng rng = { .state = test_seed("meta/foreign_and_garbage") };
	uint8_t page[META_PAGE_BYTES] = { 0 };
	const char *reason;
	struct meta meta;

	cr_assert_eq(meta_decode(page, 0, &meta, &reason), META_FOREIGN);
	for (unsigned i = 0; i < 2000; i++) {
		bytes_fill(page, sizeof(page), rng_next(&rng), false);
		cr_assert_eq(meta_decode(page, i & 1, &meta, &reason), META_FOREIGN);
		memcpy(page, FORMAT_MAGIC, 8);
		cr_assert_eq(meta_decode(page, i & 1, &meta, &reason), META_DAMAGED);
		reseal(page, i & 1);
		put_u32(page + 8, 1);
		memset(page + 16, 0, 24);
		cr_assert_eq(meta_decode(page, i & 1, &meta, &reason), META_DAMAGED);
	}
}

/* Would break if fields that cannot be were handed on, though the digest is right. */
Test(meta, impossible_fields_with_right_digest)
{
	static const struct { size_t offset; uint16_t value; } cases[] = {
		{ 8, 0 }, { 12, 0 }, { 12, 256 }, { 12, 768 }, { 12, 8192 }, { 80, 3 }, { 82, 0 }, { 82, 256 },
		{ 84, 2 }, { 63, 128 }, { 90, 1 }, { 92, 1 }, { 168 + 2, 2 }, { 172 + 2, 2 }, { 168, 255 }, { 172, 255 },
		{ 176, 4097 }, { 180, 128 }, { 180 + 2, 17 },
		{ 84, 1 },
		{ 188, 1 }, { 192, 1 }, { 2000, 1 }, { 4086, 256 },
	};
	uint8_t page[META_PAGE_BYTES];
	const char *reason;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct meta meta = meta_example(0);

		meta_encode(page, &meta);
		put_u16(page + cases[i].offset, cases[i].value);
		reseal(page, 0);
		cr_assert_eq(meta_decode(page, 0, &meta, &reason), META_DAMAGED, "case %zu", i);
	}
}

/* Would break if a field that is as large, or as small, as it can be were refused. */
Test(meta, limits_of_fields)
{
	static const struct { size_t offset; uint32_t value; } cases[] = {
		{ 12, 512 }, { 12, EXTENT_DATA }, { 82, SPINDLES_MAX }, { 88, META_TABLE_BYTES }, { 86, META_FLAG_CLEAN },
		{ 168, NODE_SIZE_MIN }, { 168, NODE_SIZE_MAX }, { 172, NODE_SIZE_MIN }, { 172, NODE_SIZE_MAX }, { 176, 0 },
		{ 176, INLINE_SIZE_MAX }, { 180, 129 }, { 180, MIB }, { 184, 0 }, { 184, 1 },
	};
	uint8_t page[META_PAGE_BYTES];
	const char *reason;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct meta meta = meta_example(0);

		meta_encode(page, &meta);
		if (cases[i].offset == 82 || cases[i].offset == 86)
			put_u16(page + cases[i].offset, (uint16_t)cases[i].value);
		else
			put_u32(page + cases[i].offset, cases[i].value);
		reseal(page, 0);
		cr_assert_eq(meta_decode(page, 0, &meta, &reason), META_GOOD, "case %zu: %s", i, reason);
	}
}

/* Would break if reserved bytes were judged of a page that one word of features alone, or its version, makes another's. */
Test(meta, fields_of_others)
{
	static const size_t offsets[] = { 8, 16, 24, 32 };
	uint8_t page[META_PAGE_BYTES];
	const char *reason;

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		struct meta meta = meta_example(0);

		meta_encode(page, &meta);
		put_u32(page + offsets[i], 1u << 9);
		put_u64(page + 2000, 1);
		reseal(page, 0);
		cr_assert_eq(meta_decode(page, 0, &meta, &reason), META_GOOD, "offset %zu: %s", offsets[i], reason);
	}
}

/* Would break if features that this library does not know were ignored, or not named, or judged too hard. */
Test(meta, unknown_features_are_named)
{
	struct meta meta = meta_example(0), again;
	uint8_t page[META_PAGE_BYTES];
	char buffer[512];
	const char *reason;

	cr_assert_null(meta_incompatible(&meta, true, buffer, sizeof(buffer)));
	meta.compat = (uint64_t)1 << 9;
	cr_assert_null(meta_incompatible(&meta, true, buffer, sizeof(buffer)));
	meta.ro_compat = (uint64_t)1 << 63 | 1 << 4;
	cr_assert_null(meta_incompatible(&meta, false, buffer, sizeof(buffer)));
	cr_assert_eq(meta_incompatible(&meta, true, buffer, sizeof(buffer)), buffer);
	cr_assert_not_null(strstr(buffer, "ro-compat bits 4, 63"), "%s", buffer);
	meta.incompat = (uint64_t)1 << 17 | 1;
	cr_assert_eq(meta_incompatible(&meta, false, buffer, sizeof(buffer)), buffer);
	cr_assert_not_null(strstr(buffer, "incompat bits 0, 17"), "%s", buffer);
	meta_encode(page, &meta);
	put_u64(page + 2000, 1);
	reseal(page, 0);
	cr_assert_eq(meta_decode(page, 0, &again, &reason), META_GOOD, "features may use reserved bytes");
	cr_assert(again.incompat == meta.incompat && again.ro_compat == meta.ro_compat && again.compat == meta.compat);
	meta.version = 2;
	meta_encode(page, &meta);
	cr_assert_eq(meta_decode(page, 0, &again, &reason), META_GOOD, "the version is reported, not judged");
	cr_assert_eq(meta_incompatible(&again, false, buffer, sizeof(buffer)), buffer);
	cr_assert_not_null(strstr(buffer, "format version 2"), "%s", buffer);
}

/* Would break if the text ran over the caller's buffer: all 64 bits, and every size. */
Test(meta, unknown_features_in_small_buffers)
{
	struct meta meta = meta_example(0);

	meta.incompat = UINT64_MAX;
	for (size_t size = 1; size < 400; size++) {
		char *buffer = malloc(size);

		cr_assert_eq(meta_incompatible(&meta, false, buffer, size), buffer);
		cr_assert_lt(strlen(buffer), size);
		free(buffer);
	}
}

struct found_paths {
	unsigned count;
	int stop;
	char paths[SPINDLES_MAX][64];
};

static int path_found(void *context, unsigned index, const char *path)
{
	struct found_paths *found = context;

	cr_assert_eq(index, ++found->count);
	snprintf(found->paths[index], sizeof(found->paths[index]), "%.60s", path);
	return found->stop;
}

/* Would break if a path did not come back under its index, or the callback's wish to stop were not heard. */
Test(meta, table_round_trip)
{
	static const char *const paths[] = { "db.1", "/mnt/other disk/db.2", "../db.3" };
	static uint8_t table[META_TABLE_BYTES];
	struct found_paths found = { 0 };
	size_t size = meta_table_encode(table, paths, 3);
	uint64_t digest = meta_table_digest(table, size);

	cr_assert_eq(size, 3 * 2 + 4 + 20 + 7);
	cr_assert_eq(meta_table_decode(table, size, 3, path_found, &found), 0);
	cr_assert_eq(found.count, 3);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_str_eq(found.paths[i + 1], paths[i]);
	found = (struct found_paths){ .stop = -EIO };
	cr_assert_eq(meta_table_decode(table, size, 3, path_found, &found), -EIO);
	cr_assert_eq(found.count, 1);
	cr_assert_eq(meta_table_encode(table, paths, 0), 0);
	cr_assert_eq(meta_table_decode(table, 0, 0, path_found, &found), 0);
	for (unsigned bit = 0; bit < 8 * size; bit++) {
		table[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_neq(meta_table_digest(table, size), digest, "bit %u", bit);
		table[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* Would break if paths that cannot be stored, or do not fit, were cut or written over the end. */
Test(meta, table_refuses_what_does_not_fit)
{
	static char longest[PATH_MAX + 1];
	const char *paths[SPINDLES_MAX];
	uint8_t *table = malloc(META_TABLE_BYTES);
	size_t size;

	memset(longest, 'x', PATH_MAX);
	paths[0] = longest;
	cr_assert_eq(meta_table_encode(table, paths, 1), 0);
	longest[PATH_MAX - 1] = 0;
	cr_assert_eq(meta_table_encode(table, paths, 1), 2 + PATH_MAX - 1);
	paths[0] = "";
	cr_assert_eq(meta_table_encode(table, paths, 1), 0);
	for (unsigned i = 0; i < SPINDLES_MAX - 1; i++)
		paths[i] = longest;
	cr_assert_eq(meta_table_encode(table, paths, SPINDLES_MAX - 1), 0);
	longest[200] = 0;
	size = meta_table_encode(table, paths, SPINDLES_MAX - 1);
	cr_assert_eq(size, 254 * 202);
	free(table);
}

/* Would break if a table that is cut off, has bytes left over, or holds impossible paths were taken. */
Test(meta, table_truncated_and_impossible)
{
	static const char *const paths[] = { "one", "two" };
	static uint8_t table[META_TABLE_BYTES];
	struct found_paths found = { 0 };
	size_t size = meta_table_encode(table, paths, 2);

	for (size_t length = 0; length <= size + 1; length++) {
		uint8_t *cut = malloc(length + 1);

		found.count = 0;
		memcpy(cut, table, length);
		cr_assert_eq(meta_table_decode(cut, length, 2, path_found, &found), length == size ? 0 : SLF_ECORRUPT);
		free(cut);
	}
	found.count = 0;
	table[3] = 0;
	cr_assert_eq(meta_table_decode(table, size, 2, path_found, &found), SLF_ECORRUPT);
	put_u16(table, 0);
	cr_assert_eq(meta_table_decode(table, size, 2, path_found, &found), SLF_ECORRUPT);
	cr_assert_eq(meta_table_decode(table, 2, 1, path_found, &found), SLF_ECORRUPT); /* a path of no bytes */
	put_u16(table, PATH_MAX);
	memset(table + 2, 'x', PATH_MAX);
	cr_assert_eq(meta_table_decode(table, PATH_MAX + 2, 1, path_found, &found), SLF_ECORRUPT);
}

/* Would break if random bytes crashed the decoder. */
Test(meta, table_garbage)
{
	struct rng rng = { .state = test_seed("meta/table_garbage") };

	for (unsigned i = 0; i < 20000; i++) {
		size_t size = rng_below(&rng, 100);
		uint8_t *table = malloc(size + 1);
		struct found_paths found = { 0 };

		bytes_fill(table, size, rng_next(&rng), false);
		for (size_t at = 0; at + 1 < size; at += 2 + (size_t)table[at])
			put_u16(table + at, (uint16_t)rng_below(&rng, 20));
		(void)meta_table_decode(table, size, (unsigned)rng_below(&rng, SPINDLES_MAX), path_found, &found);
		cr_assert_leq(found.count, size);
		free(table);
	}
}
