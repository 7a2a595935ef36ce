/* SPDX-License-Identifier: MIT */
/* Slabs, log records, marks and extent headers. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <xxhash.h>

#include "codec.h"
#include "scratch.h"
#include "slab.h"

#define SEED 0x0123456789abcdefu
#define POSITION position_make(0, 0x21000)
#define SLAB_BYTES 512

/* A sealed slab of 512 bytes: one part, an OPEN record and a record of 13 bytes that has padding. */
struct slab_fixture {
	uint8_t *bytes;
	struct slab_header header;
};

static struct slab_fixture slab_make(enum log_record_kind second)
{
	struct slab_fixture slab = { .bytes = malloc(SLAB_BYTES) };
	struct open_record open = { .salt = 1, .inode = 2, .birth_ns = 3, .clock_ns = 4 };
	struct entry_ref part = { .position = position_make(1, 0x200000), .hash = 99, .length = 1000 };
	uint8_t *to = slab.bytes;

	memset(to, 0xff, SLAB_BYTES);
	entry_ref_encode(to + SLAB_HEADER_BYTES, &part);
	to += SLAB_HEADER_BYTES + SLAB_PART_BYTES;
	open_record_encode(log_record_begin(to, LOG_OPEN, OPEN_BODY_BYTES), &open);
	to += log_record_bytes(OPEN_BODY_BYTES);
	memcpy(log_record_begin(to, second, 13), "thirteen byte", 13);
	slab.header = (struct slab_header){
		.previous = 0x1111, .number = 7, .salt = 0x2222, .length = SLAB_BYTES,
		.payload = (uint32_t)(SLAB_PART_BYTES + log_record_bytes(OPEN_BODY_BYTES) + log_record_bytes(13)),
		.first_seq = 10, .last_seq = 12, .seq_limit = 1 << 20, .durable_seq = 9, .next = 0x400000,
		.part_count = 1, .record_count = 2,
	};
	slab_seal(slab.bytes, &slab.header, SEED, POSITION);
	return slab;
}

static const char *slab_prove(const uint8_t *slab, uint64_t room, uint64_t seed, uint64_t position)
{
	struct slab_header header = { 0 };
	const char *wrong = slab_header_decode(slab, room, &header);

	return wrong ? wrong : slab_check(slab, &header, seed, position);
}

/* Seals again after a change that only the checks behind the digest can find. */
static void reseal(uint8_t *slab)
{
	put_u64(slab, XXH3_64bits_withSeed(slab + 8, SLAB_BYTES - 8, SEED ^ POSITION));
}

/* Would break if the header, a part, or a record did not come back as written. */
Test(slab, round_trip)
{
	struct slab_fixture slab = slab_make(LOG_FINAL);
	struct slab_header header = { 0 };
	struct log_record record = { 0 };
	struct open_record open = { 0 };
	struct entry_ref part = { 0 };
	uint64_t offset = 0;

	cr_assert_null(slab_header_decode(slab.bytes, SLAB_BYTES, &header));
	cr_assert_arr_eq((uint8_t *)&header, (uint8_t *)&slab.header, sizeof(header));
	cr_assert_null(slab_check(slab.bytes, &header, SEED, POSITION));
	slab_part(slab.bytes, 0, &part);
	cr_assert(part.position == position_make(1, 0x200000) && part.hash == 99 && part.length == 1000);
	cr_assert_eq(slab_next_record(slab.bytes, &header, &offset, &record), 0);
	cr_assert_eq(record.kind, LOG_OPEN);
	cr_assert_eq(open_record_decode(record.body, &open), 0);
	cr_assert(open.salt == 1 && open.inode == 2 && open.birth_ns == 3 && open.clock_ns == 4);
	cr_assert_eq(slab_next_record(slab.bytes, &header, &offset, &record), 0);
	cr_assert(record.kind == LOG_FINAL && slice_is(record.body, "thirteen byte", 13));
	cr_assert_eq(slab_next_record(slab.bytes, &header, &offset, &record), SLF_END);
	cr_assert_eq(get_u64(slab.bytes + SLAB_BYTES - 8), ~(uint64_t)7);
	free(slab.bytes);
}

/* Would break if a slab were shorter than what goes into it, or longer than its sectors ask for. */
Test(slab, bytes_are_padded_to_the_sector)
{
	cr_assert_eq(slab_bytes(0, 512), 512);
	cr_assert_eq(slab_bytes(408, 512), 512);
	cr_assert_eq(slab_bytes(416, 512), 1024);
	cr_assert_eq(slab_bytes(408, 4096), 4096);
	cr_assert_eq(log_record_bytes(0), 8);
	cr_assert_eq(log_record_bytes(1), 16);
	cr_assert_eq(log_record_bytes(8), 16);
}

/* Would break if any bit of a slab could change unseen: padding and end mark too. */
Test(slab, every_bit_flip_is_detected)
{
	struct slab_fixture slab = slab_make(LOG_FINAL);

	for (unsigned bit = 0; bit < 8 * SLAB_BYTES; bit++) {
		slab.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_not_null(slab_prove(slab.bytes, SLAB_BYTES, SEED, POSITION), "bit %u", bit);
		slab.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	cr_assert_null(slab_prove(slab.bytes, SLAB_BYTES, SEED, POSITION));
	free(slab.bytes);
}

/* Would break if a slab were valid at another place or in another database. */
Test(slab, belongs_to_its_place)
{
	struct slab_fixture slab = slab_make(LOG_FINAL);

	cr_assert_not_null(slab_prove(slab.bytes, SLAB_BYTES, SEED, POSITION + 512));
	cr_assert_not_null(slab_prove(slab.bytes, SLAB_BYTES, SEED, position_make(1, POSITION)));
	cr_assert_not_null(slab_prove(slab.bytes, SLAB_BYTES, SEED ^ 1, POSITION));
	free(slab.bytes);
}

/* Would break if a slab that was written in part only were valid: every torn tail, and every room it does not fit. */
Test(slab, truncated_at_every_length)
{
	struct slab_fixture slab = slab_make(LOG_FINAL);
	uint8_t torn[SLAB_BYTES];
	struct slab_header header;

	for (size_t size = 0; size < SLAB_BYTES; size++) {
		memcpy(torn, slab.bytes, size);
		memset(torn + size, 0xa5, SLAB_BYTES - size);
		cr_assert_not_null(slab_prove(torn, SLAB_BYTES, SEED, POSITION), "length %zu", size);
		memset(torn + size, 0, SLAB_BYTES - size);
		cr_assert_not_null(slab_prove(torn, SLAB_BYTES, SEED, POSITION), "length %zu", size);
		cr_assert_not_null(slab_header_decode(slab.bytes, size, &header));
	}
	free(slab.bytes);
}

/* Would break if a slab that is full to the last byte, or holds one seq only, or nothing, were refused. */
Test(slab, full_and_empty)
{
	static const uint32_t payloads[] = { 0, SLAB_BYTES - SLAB_HEADER_BYTES - SLAB_TAIL_BYTES };

	for (size_t i = 0; i < ARRAY_SIZE(payloads); i++) {
		uint8_t bytes[SLAB_BYTES] = { 0 };
		struct slab_header header = { .number = 1, .length = SLAB_BYTES, .payload = payloads[i], .first_seq = 5,
					      .last_seq = 5, .record_count = payloads[i] / LOG_RECORD_HEADER_BYTES };

		for (uint32_t at = 0; at < payloads[i]; at += LOG_RECORD_HEADER_BYTES)
			log_record_begin(bytes + SLAB_HEADER_BYTES + at, LOG_FINAL, 0);
		slab_seal(bytes, &header, SEED, POSITION);
		cr_assert_null(slab_prove(bytes, SLAB_BYTES, SEED, POSITION), "payload %u", payloads[i]);
	}
}

/* Would break if a slab with as many parts as there can be, or with nothing else, were refused. */
Test(slab, nothing_but_parts)
{
	static const uint32_t counts[] = { 1, SLAB_PARTS_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		uint32_t length = (uint32_t)slab_bytes(counts[i] * SLAB_PART_BYTES, 512);
		struct slab_header header = { .number = 1, .length = length, .payload = counts[i] * SLAB_PART_BYTES,
					      .part_count = counts[i] };
		uint8_t *bytes = calloc(1, length);

		slab_seal(bytes, &header, SEED, POSITION);
		cr_assert_null(slab_prove(bytes, length, SEED, POSITION), "%u parts", counts[i]);
		free(bytes);
	}
}

/* Would break if sizes and counts that cannot be led the reader out of the slab, though the digest is right. */
Test(slab, impossible_sizes_with_right_digest)
{
	static const struct { size_t offset; uint32_t value; } cases[] = {
		{ 40, 0 }, { 40, 511 }, { 40, 1024 }, { 40, 0xfffffe00 }, { 44, 409 }, { 44, 416 }, { 44, UINT32_MAX },
		{ 44, 8 }, { 88, SLAB_PARTS_MAX + 1 }, { 88, 5 }, { 88, SLAB_PARTS_MAX }, { 88, UINT32_MAX }, { 92, UINT32_MAX }, { 92, 1 },
		{ 92, 3 }, { 24, 0 },                /* number */
		{ 48, 13 },                          /* first seq above the last */
		{ 96 + 20, 1 },                      /* reserved word of the part */
		{ 120, 7 }, { 120, 0 }, { 120, 400 }, /* length of the first record */
		{ 120, UINT32_MAX }, { 120, UINT32_MAX - 7 }, { 120, 32 },
		{ 124, LOG_OPEN | 1 << 8 }, { 124, LOG_OPEN | 1 << 16 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct slab_fixture slab = slab_make(LOG_FINAL);

		put_u32(slab.bytes + cases[i].offset, cases[i].value);
		reseal(slab.bytes);
		cr_assert_not_null(slab_prove(slab.bytes, SLAB_BYTES, SEED, POSITION), "case %zu", i);
		free(slab.bytes);
	}
}

/* Would break if a slab with too many parts for its reader were taken, which has room for them, or one that ends inside a sector. */
Test(slab, more_parts_and_other_lengths)
{
	static const struct { uint32_t length, parts; } cases[] = {
		{ 32 * KIB, SLAB_PARTS_MAX + 1 }, { 32 * KIB - 8, 1 }, { 32 * KIB - 256, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct slab_header header = { .number = 1, .length = 32 * KIB, .part_count = 1 };
		uint8_t *bytes = calloc(1, 32 * KIB);

		header.payload = cases[i].parts * SLAB_PART_BYTES;
		slab_seal(bytes, &header, SEED, POSITION);
		put_u32(bytes + 40, cases[i].length);
		put_u32(bytes + 88, cases[i].parts);
		put_u64(bytes + cases[i].length - SLAB_TAIL_BYTES, ~header.number);
		put_u64(bytes, XXH3_64bits_withSeed(bytes + 8, cases[i].length - 8, SEED ^ POSITION));
		cr_assert_not_null(slab_prove(bytes, 32 * KIB, SEED, POSITION), "case %zu", i);
		free(bytes);
	}
}

/* Would break if the records were only counted: here there are as many as the slab says, and bytes behind them that are none. */
Test(slab, malformed_behind_the_last_record)
{
	struct slab_fixture slab = slab_make(LOG_FINAL);

	put_u32(slab.bytes + 92, 1);
	put_u32(slab.bytes + SLAB_HEADER_BYTES + SLAB_PART_BYTES + log_record_bytes(OPEN_BODY_BYTES), 7);
	reseal(slab.bytes);
	cr_assert_not_null(slab_prove(slab.bytes, SLAB_BYTES, SEED, POSITION));
	free(slab.bytes);
}

/* Would break if a slab of number 0 were taken: there is none, and zeros where a number belongs would pass for one. */
Test(slab, number_zero_with_right_digest)
{
	struct slab_fixture slab = slab_make(LOG_FINAL);

	put_u64(slab.bytes + 24, 0);
	put_u64(slab.bytes + SLAB_BYTES - SLAB_TAIL_BYTES, ~(uint64_t)0);
	reseal(slab.bytes);
	cr_assert_str_eq(slab_prove(slab.bytes, SLAB_BYTES, SEED, POSITION), "slab number is 0");
	free(slab.bytes);
}

/* Would break if space that is kept free for later could hold anything: padding of the slab, of a record, end mark. */
Test(slab, padding_is_checked_with_right_digest)
{
	struct slab_fixture slab = slab_make(LOG_FINAL);
	size_t end = SLAB_HEADER_BYTES + slab.header.payload;

	for (size_t i = end - 3; i < SLAB_BYTES; i++) { /* 13 + 8 bytes: the record's padding is 3 */
		slab.bytes[i] ^= 1;
		reseal(slab.bytes);
		cr_assert_not_null(slab_prove(slab.bytes, SLAB_BYTES, SEED, POSITION), "byte %zu", i);
		slab.bytes[i] ^= 1;
	}
	reseal(slab.bytes);
	cr_assert_null(slab_prove(slab.bytes, SLAB_BYTES, SEED, POSITION));
	free(slab.bytes);
}

/* Would break if the bytes could change between the reading of the header and the check of the whole. */
Test(slab, header_read_twice)
{
	struct slab_fixture slab = slab_make(LOG_FINAL);
	struct slab_header header;

	cr_assert_null(slab_header_decode(slab.bytes, SLAB_BYTES, &header));
	put_u64(slab.bytes + 72, 8);
	reseal(slab.bytes);
	cr_assert_not_null(slab_check(slab.bytes, &header, SEED, POSITION));
	free(slab.bytes);
}

/* Would break if a record that this library cannot obey were skipped, or called damage: it has to be named. */
Test(slab, unknown_record_kinds)
{
	for (unsigned kind = 0; kind < 256; kind++) {
		struct slab_fixture slab = slab_make((enum log_record_kind)kind);
		bool known = kind == LOG_FINAL || kind == LOG_OPEN || kind == LOG_MARK;
		struct log_record record = { 0 };
		uint64_t offset = 0;

		cr_assert_null(slab_prove(slab.bytes, SLAB_BYTES, SEED, POSITION));
		cr_assert_eq(slab_next_record(slab.bytes, &slab.header, &offset, &record), 0);
		cr_assert_eq(slab_next_record(slab.bytes, &slab.header, &offset, &record),
			     known ? 0 : SLF_EINCOMPATIBLE);
		cr_assert_eq((unsigned)record.kind, kind);
		cr_assert_eq(slab_next_record(slab.bytes, &slab.header, &offset, &record), SLF_END);
		free(slab.bytes);
	}
}

/* Would break if a walk from an offset that lies nowhere left the slab. */
Test(slab, walk_from_any_offset)
{
	struct slab_fixture slab = slab_make(LOG_FINAL);

	for (uint64_t start = 0; start < 2 * SLAB_BYTES; start++) {
		struct log_record record;
		uint64_t offset = start;
		unsigned steps = 0;

		while (slab_next_record(slab.bytes, &slab.header, &offset, &record) == 0)
			cr_assert_lt(++steps, SLAB_BYTES);
		offset = UINT64_MAX - start;
		cr_assert_eq(slab_next_record(slab.bytes, &slab.header, &offset, &record), SLF_ECORRUPT);
	}
	free(slab.bytes);
}

/* Would break if random bytes behind a right magic and a right digest crashed the checks or the walk. */
Test(slab, garbage)
{
	struct rng rng = { .state = test_seed("slab/garbage") };
	unsigned good = 0;

	for (unsigned i = 0; i < 20000; i++) {
		struct slab_fixture slab = slab_make(LOG_FINAL);
		struct log_record record;
		uint64_t offset = 0;

		for (uint64_t n = rng_below(&rng, 4); n; n--)
			slab.bytes[8 + rng_below(&rng, 200)] = (uint8_t)rng_next(&rng);
		if (i % 8 == 0)
			bytes_fill(slab.bytes + 16, SLAB_BYTES - 16, rng_next(&rng), false);
		reseal(slab.bytes);
		if (!slab_header_decode(slab.bytes, SLAB_BYTES, &slab.header) &&
		    !slab_check(slab.bytes, &slab.header, SEED, POSITION)) {
			good++;
			while (slab_next_record(slab.bytes, &slab.header, &offset, &record) == 0)
				;
		}
		free(slab.bytes);
	}
	cr_assert_gt(good, 0, "some have to get through, or the test says nothing");
}

/* Would break if a tree's root lost a field, or if a word from disk could pass for a pointer into memory. */
Test(slab, tree_root)
{
	struct tree_root root = { .word = 0x1112131415161700, .hash = 2, .count = 3, .length = 4, .height = 5 }, again;
	uint8_t encoded[TREE_ROOT_BYTES];

	memset(encoded, 0xff, sizeof(encoded));
	tree_root_encode(encoded, &root);
	cr_assert_eq(tree_root_decode(encoded, &again), 0);
	cr_assert(again.word == root.word && again.hash == 2 && again.count == 3 && again.length == 4 &&
		  again.height == 5);
	for (unsigned bit = 0; bit < 6; bit++) {
		encoded[0] = (uint8_t)(1 << bit);
		cr_assert_eq(tree_root_decode(encoded, &again), SLF_ECORRUPT);
	}
	encoded[0] = 0;
	encoded[28] = NODE_LEVELS_MAX;
	cr_assert_eq(tree_root_decode(encoded, &again), 0);
	encoded[28] = NODE_LEVELS_MAX + 1;
	cr_assert_eq(tree_root_decode(encoded, &again), SLF_ECORRUPT);
	encoded[28] = 5;
	encoded[39] = 1;
	cr_assert_eq(tree_root_decode(encoded, &again), SLF_ECORRUPT);
}

/* Would break if an open record of another size were read. */
Test(slab, open_record_has_one_size)
{
	uint8_t body[OPEN_BODY_BYTES + 1] = { 0 };
	struct open_record open;

	for (size_t size = 0; size <= sizeof(body); size++)
		cr_assert_eq(open_record_decode(slice(body, size), &open), size == OPEN_BODY_BYTES ? 0 : SLF_ECORRUPT);
}

static struct mark mark_example(uint32_t spindle_count, const uint8_t *recyclable, uint32_t recyclable_count)
{
	struct mark mark = {
		.root_seq = 1, .digest = { 2, 3 }, .search_ns = 4, .replay_position = 5, .replay_number = 6,
		.replay_previous = 7, .replay_next = 8, .next_tree = 17, .spindle_count = spindle_count,
		.roots = { .word = 0x200000, .hash = 10, .count = 11, .length = 12, .height = 1 },
		.user_entries = 13, .log_extents = 14, .bulk_extents = 15, .recyclable_count = recyclable_count,
		.recyclable = slice(recyclable, 8 * (size_t)recyclable_count),
	};

	for (uint32_t i = 0; i < spindle_count; i++)
		mark.spindles[i] = (struct mark_spindle){ .next_extent = 100 + i, .bulk_bytes = 1000 + i };
	return mark;
}

/* Would break if a mark lost a field, with one spindle or all of them, with or without recyclable extents. */
Test(slab, mark_round_trip)
{
	static const uint32_t spindle_counts[] = { 1, 2, SPINDLES_MAX }, recyclable_counts[] = { 0, 1, 3 };
	static uint8_t body[MARK_BODY_BYTES + 16 * SPINDLES_MAX + 8 * 3], list[24];
	static struct mark again;

	for (size_t i = 0; i < 9; i++) {
		struct mark mark = mark_example(spindle_counts[i / 3], list, recyclable_counts[i % 3]);

		for (uint32_t j = 0; j < mark.recyclable_count; j++)
			put_u64(list + (size_t)8 * j, (j + 1) * EXTENT_BYTES);
		mark_encode(body, &mark);
		cr_assert_eq(mark_decode(slice(body, mark_bytes(&mark)), &again), 0);
		for (uint32_t j = 0; j < mark.recyclable_count; j++)
			cr_assert_eq(mark_recyclable(&again, j), (j + 1) * EXTENT_BYTES);
		cr_assert_eq(again.recyclable.size, mark.recyclable.size);
		again.recyclable = mark.recyclable;
		for (uint32_t j = mark.spindle_count; j < SPINDLES_MAX; j++)
			again.spindles[j] = mark.spindles[j];
		/* All fields are numbers now, and the holes between them are zero in both. */
		cr_assert_arr_eq((uint8_t *)&again, (uint8_t *)&mark, offsetof(struct mark, spindles));
		cr_assert_arr_eq((uint8_t *)again.spindles, (uint8_t *)mark.spindles, sizeof(mark.spindles));
		cr_assert_eq(again.recyclable_count, mark.recyclable_count);
	}
}

/* Would break if a mark that is cut off, too long, or says impossible counts were taken. */
Test(slab, mark_truncated_and_impossible)
{
	static const struct { size_t offset; uint32_t value; } cases[] = {
		{ 108, 0 }, { 108, 3 }, { 108, SPINDLES_MAX + 1 }, { 108, UINT32_MAX }, { 144, 1 }, { 144, 3 },
		{ 144, UINT32_MAX }, { 148, 1 }, { 120, 1 }, { 124, 1 }, { 64, 1 }, { 96, 1 }, { 100, 1 },
		{ 132, 1u << 31 }, { 140, 1u << 31 }, { 164, 1u << 31 }, { 180, 1u << 31 }, /* counters */
	};
	uint8_t body[MARK_BODY_BYTES + 16 * 2 + 8 * 2 + 8] = { 0 }, list[16] = { 0 };
	struct mark mark = mark_example(2, list, 2), again;

	mark_encode(body, &mark);
	for (size_t size = 0; size <= sizeof(body); size++) {
		uint8_t *cut = malloc(size + !size);

		memcpy(cut, body, size);
		cr_assert_eq(mark_decode(slice(cut, size), &again), size == mark_bytes(&mark) ? 0 : SLF_ECORRUPT);
		free(cut);
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		mark_encode(body, &mark);
		put_u32(body + cases[i].offset, cases[i].value);
		cr_assert_eq(mark_decode(slice(body, mark_bytes(&mark)), &again), SLF_ECORRUPT, "case %zu", i);
	}
	for (uint32_t count = MARK_RECYCLABLE_MAX; count <= MARK_RECYCLABLE_MAX + 1; count++) {
		size_t size = MARK_BODY_BYTES + sizeof(struct mark_spindle) + 8 * (size_t)count;
		uint8_t *many = calloc(1, size);

		put_u32(many + 108, 1);
		put_u32(many + 144, count);
		cr_assert_eq(mark_decode(slice(many, size), &again), count > MARK_RECYCLABLE_MAX ? SLF_ECORRUPT : 0);
		free(many);
	}
	for (uint32_t count = SPINDLES_MAX; count <= SPINDLES_MAX + 1; count++) { /* with all the bytes that they need */
		size_t size = MARK_BODY_BYTES + count * sizeof(struct mark_spindle);
		uint8_t *many = calloc(1, size);

		put_u32(many + 108, count);
		cr_assert_eq(mark_decode(slice(many, size), &again), count > SPINDLES_MAX ? SLF_ECORRUPT : 0);
		free(many);
	}
}

/* Would break if an extent header did not come back, changed unseen, or were valid at another extent. */
Test(slab, extent_header)
{
	struct extent_header extent = { .salt = 1, .number = 2, .seq = 3, .stream = STREAM_BULK, .run = 4, .uuid = "database" },
			     again;
	uint8_t header[EXTENT_HEADER_BYTES];

	extent_header_encode(header, &extent, SEED, EXTENT_BYTES);
	cr_assert_null(extent_header_decode(header, SEED, EXTENT_BYTES, &again));
	cr_assert(again.salt == 1 && again.number == 2 && again.seq == 3 && again.stream == STREAM_BULK &&
		  again.run == 4 && memcmp(again.uuid, extent.uuid, sizeof(extent.uuid)) == 0);
	extent.stream = STREAM_LOG;
	extent_header_encode(header, &extent, SEED, EXTENT_BYTES);
	cr_assert_null(extent_header_decode(header, SEED, EXTENT_BYTES, &again));
	cr_assert_eq(again.stream, STREAM_LOG);
	cr_assert_not_null(extent_header_decode(header, SEED, 2 * EXTENT_BYTES, &again));
	cr_assert_not_null(extent_header_decode(header, SEED + 1, EXTENT_BYTES, &again));
	for (unsigned bit = 0; bit < 8 * EXTENT_HEADER_BYTES; bit++) {
		header[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_not_null(extent_header_decode(header, SEED, EXTENT_BYTES, &again), "bit %u", bit);
		header[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* Would break if an extent header with a right digest but an impossible stream, run, or reserved byte were taken. */
Test(slab, extent_header_impossible_fields)
{
	struct extent_header extent = { .stream = STREAM_LOG, .run = 1 }, again;
	static const struct { size_t offset; uint8_t byte; } cases[] = {
		{ 8, 0 }, { 32, 0 }, { 32, 3 }, { 33, 1 }, { 35, 1 }, { 36, 0 },
	};
	uint8_t header[EXTENT_HEADER_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		extent_header_encode(header, &extent, SEED, EXTENT_BYTES);
		header[cases[i].offset] = cases[i].byte;
		put_u64(header, XXH3_64bits_withSeed(header + 8, EXTENT_HEADER_BYTES - 8, SEED ^ EXTENT_BYTES));
		cr_assert_not_null(extent_header_decode(header, SEED, EXTENT_BYTES, &again), "case %zu", i);
	}
}
