/* SPDX-License-Identifier: MIT */
/* Nodes on disk: what the two digests cover, and that node_check stands against any bytes. */
#include <criterion/criterion.h>
#include <xxhash.h>

#include "node_keys.h"

#define SEED 0x1234567812345678u
#define PLACE 0x0000000000345640u
#define RECORDS_MAX 64

enum form { FORM_LEAF, FORM_LEAF_REFS, FORM_DELTA, FORM_BRANCH, FORMS };

static struct slf_slice random_ref(struct source *source, uint64_t position)
{
	uint8_t *bytes = source_alloc(source, VALUE_REF_BYTES);
	struct value_ref ref = { .position = position, .hash = source_next(source), .stored = 100, .raw = 200 };

	value_ref_encode(bytes, &ref);
	return slice(bytes, VALUE_REF_BYTES);
}

static uint64_t random_position(struct source *source)
{
	return 64 * (1 + source_next(source) % (1 << 30));
}

/* Sorted, distinct and not empty. */
static size_t random_keys(struct source *source, enum key_style style, struct slf_slice keys[RECORDS_MAX], size_t tries)
{
	size_t count = 0;

	for (size_t i = 0; i < tries; i++) {
		struct slf_slice key = source_key(source, style);
		size_t index = 0;

		while (index < count && slice_compare(keys[index], key) < 0)
			index++;
		if (!key.size || (index < count && !slice_compare(keys[index], key)))
			continue;
		memmove(&keys[index + 1], &keys[index], (count - index) * sizeof(keys[0]));
		keys[index] = key;
		count++;
	}
	return count;
}

static struct record random_record(struct source *source, enum form form, struct slf_slice key)
{
	size_t kind = source_below(source, form == FORM_LEAF ? 1 : form == FORM_DELTA ? 3 : 2);

	if (kind == 2)
		return (struct record){ .key = key, .kind = RECORD_TOMB };
	if (kind == 1)
		return (struct record){ .key = key,
					.kind = RECORD_REF,
					.value = random_ref(source, random_position(source)) };
	return (struct record){ .key = key, .value = source_bytes(source, source_below(source, 120)) };
}

/* A sealed node of exactly its size. */
static struct node *random_node(struct source *source, enum form form, enum key_style style, size_t tries)
{
	struct slf_slice keys[RECORDS_MAX] = { 0 }, fence = source_key(source, KEYS_TINY);
	struct record records[RECORDS_MAX] = { 0 };
	struct child children[RECORDS_MAX] = { 0 };
	struct delta_base base = { .position = random_position(source), .hash = 5, .length = 2048, .count = 100 };
	size_t count = random_keys(source, style, keys, tries);
	struct node *node = NULL;

	if (form == FORM_BRANCH) {
		count += !count;
		for (size_t i = 0; i < count; i++)
			children[i] = (struct child){ .word = random_position(source),
						      .hash = source_next(source),
						      .count = 5,
						      .length = 2000,
						      .separator = keys[i] };
		size_t size = node_branch_bytes(children, count, fence.size);

		node = source_alloc(source, size);
		node_branch_build(node, size, 7, 2, fence, children, count);
	} else {
		for (size_t i = 0; i < count; i++)
			records[i] = random_record(source, form, keys[i]);
		size_t size = node_leaf_bytes(records, count, count, fence.size, form == FORM_DELTA);

		node = source_alloc(source, size);
		node_leaf_build(node, size, 7, fence, form == FORM_DELTA ? &base : NULL, records, count, count,
				form == FORM_DELTA ? 100 : (uint32_t)count);
	}
	node_seal(node, SEED, PLACE);
	return node;
}

static const char *verify(const struct node *node, uint64_t hash, uint32_t length)
{
	uint64_t expected = 1, found = 2;
	const char *wrong = node_verify(node, length, SEED, PLACE, hash, length, &expected, &found);

	if (!wrong)
		cr_assert_eq(expected, found);
	return wrong;
}

static volatile uint8_t sink;

static void touch(struct slf_slice bytes)
{
	for (size_t i = 0; i < bytes.size; i++)
		sink ^= ((const uint8_t *)bytes.data)[i];
}

static void walk_leaf(const struct node *leaf)
{
	struct records records = { 0 };
	uint32_t index = 0;

	cr_assert_eq(node_gather(leaf, &records), 0);
	for (uint32_t i = 0; i < records.count; i++) {
		touch(records.items[i].key);
		touch(records.items[i].value);
		cr_assert(node_find(leaf, records.items[i].key, &index));
		cr_assert_eq(index, i, "passed the check, but its keys cannot be found");
	}
	cr_assert_eq(node_merge(leaf, leaf, &records), 0);
	records_release(&records);
}

/* Uses all that a reader would use. */
static void walk(const struct node *node)
{
	struct children children = { 0 };

	touch(node_fence(node));
	node_entries(node);
	if (node_kind(node) != NODE_BRANCH) {
		walk_leaf(node);
		return;
	}
	cr_assert_eq(node_branch_gather(node, &children), 0);
	cr_assert_eq(node_branch_find(node, slice(NULL, 0)), 0);
	for (uint32_t i = 1; i < children.count; i++) {
		touch(children.items[i].separator);
		cr_assert_eq(node_branch_find(node, children.items[i].separator), i);
	}
	children_release(&children);
}

/* A node that the engine wrote and then calls damaged is a database lost to its own check. */
Test(node_disk, sealed_nodes_verify)
{
	static const size_t tries[] = { 0, 1, 2, 3, 20, RECORDS_MAX };

	for (unsigned form = 0; form < FORMS; form++) {
		for (unsigned round = 0; round < KEY_STYLES * ARRAY_SIZE(tries); round++) {
			struct source source = { 0 };
			enum key_style style = (enum key_style)(round % KEY_STYLES);

			source_init(&source, "disk verify");
			struct node *node =
				random_node(&source, form, style, style == KEYS_LONG ? 6 : tries[round / KEY_STYLES]);
			const char *wrong = verify(node, node_hash(node), node_length(node));

			if (node_kind(node) == NODE_LEAF && !node_count(node)) /* never written */
				cr_assert_str_eq(wrong, "leaf: no records");
			else
				cr_assert_null(wrong, "form %u style %u: %s", form, style, wrong);
			walk(node);
			source_release(&source);
		}
	}
}

/* A record of four bytes, an empty key without a value, would be taken for one that is cut off. */
Test(node_disk, shortest_record)
{
	struct record record = { .key = slice("", 0), .value = slice("", 0) };
	size_t size = node_leaf_bytes(&record, 1, 1, 0, false);
	struct node *node = aligned_alloc(8, align_up(size, 8));

	node_leaf_build(node, size, 7, slice("", 0), NULL, &record, 1, 1, 1);
	node_seal(node, SEED, PLACE);
	cr_assert_null(verify(node, node_hash(node), node_length(node)));
	free(node);
}

/* A delta's hash would depend on where its base stands: the same content, written again elsewhere, would have another one. */
Test(node_disk, hash_of_a_delta_without_references)
{
	struct record record = { .key = slice("key", 3), .kind = RECORD_TOMB };
	size_t size = node_leaf_bytes(&record, 1, 1, 0, true);
	uint64_t hashes[2];

	for (unsigned i = 0; i < 2; i++) {
		struct delta_base base = { .position = (i + 1) * EXTENT_BYTES, .hash = 5, .length = 2048, .count = 100 };
		struct node *node = aligned_alloc(8, align_up(size, 8));

		node_leaf_build(node, size, 7, slice("", 0), &base, &record, 1, 1, 100);
		node_seal(node, SEED, PLACE);
		hashes[i] = node_hash(node);
		free(node);
	}
	cr_assert_eq(hashes[0], hashes[1]);
}

/* A header could name another content than its node has, under a checksum that is right: whoever compares hashes would be misled. */
Test(node_disk, node_with_another_hash_in_its_header)
{
	struct source source = { 0 };

	source_init(&source, "disk header");
	struct node *node = random_node(&source, FORM_LEAF, KEYS_RANDOM, 15);
	uint64_t hash = node_hash(node);

	put_u64((uint8_t *)node + 8, hash + 1);
	put_u64(node, entry_checksum(node, SEED, PLACE, NULL, 0));
	cr_assert_not_null(verify(node, hash, node_length(node)));
	source_release(&source);
}

/* Each byte counts for one digest or the other, so damage anywhere is seen. */
Test(node_disk, every_flipped_bit_is_seen)
{
	for (unsigned form = 0; form < FORMS; form++) {
		struct source source = { 0 };

		source_init(&source, "disk flips");
		struct node *node = random_node(&source, form, KEYS_RANDOM, 15);
		uint32_t length = node_length(node);
		uint64_t hash = node_hash(node);
		uint8_t *bytes = (uint8_t *)node;

		for (uint32_t i = 0; i < 8 * length; i++) {
			bytes[i / 8] ^= (uint8_t)(1 << i % 8);
			cr_assert_not_null(verify(node, hash, length), "form %u: bit %u of byte %u", form, i % 8,
					   i / 8);
			bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		}
		cr_assert_null(verify(node, hash, length));
		source_release(&source);
	}
}

/* A stale node at a place that was used again, or the right node at the wrong place, must not pass for another. */
Test(node_disk, another_node_or_place_is_seen)
{
	struct source source = { 0 };
	uint64_t expected = 0, found = 0;

	source_init(&source, "disk place");
	for (unsigned form = 0; form < FORMS; form++) {
		struct node *node = random_node(&source, form, KEYS_RANDOM, 15);
		uint32_t length = node_length(node);
		uint64_t hash = node_hash(node);

		cr_assert_not_null(node_verify(node, length, SEED, PLACE + 64, hash, length, &expected, &found));
		cr_assert_neq(expected, found);
		cr_assert_not_null(node_verify(node, length, SEED + 1, PLACE, hash, length, &expected, &found));
		cr_assert_not_null(node_verify(node, length, SEED, PLACE, hash + 1, length, &expected, &found));
		cr_assert_eq(expected, hash + 1);
		cr_assert_eq(found, hash);
		cr_assert_not_null(node_verify(node, length - 1, SEED, PLACE, hash, length, &expected, &found));
		cr_assert_eq(expected, length);
		cr_assert_eq(found, length - 1);
		cr_assert_not_null(node_verify(node, length - 1, SEED, PLACE, hash, length - 1, &expected, &found));
		cr_assert_null(node_verify(node, length + 1, SEED, PLACE, hash, length, &expected, &found));
	}
	source_release(&source);
}

/* Leaves the content as it is and moves all it refers to. */
static void move_references(struct node *node, struct source *source)
{
	uint8_t *bytes = (uint8_t *)node;
	struct child child = { 0 };

	if (node_kind(node) == NODE_DELTA)
		put_u64(bytes + NODE_HEADER_BYTES, random_position(source));
	for (uint32_t i = 0; i < node_count(node); i++) {
		if (node_kind(node) == NODE_BRANCH) {
			node_child(node, i, &child);
			child.word = random_position(source);
			node_child_set(node, i, &child);
		} else if (record_kind(leaf_record(node, i)) == RECORD_REF) {
			put_u64(bytes + (record_ref(leaf_record(node, i)) - bytes), random_position(source));
		}
	}
}

/* Compaction moves values and children: were that a change of content, each move would rewrite the path to the root. A
 * position that no digest covers, on the other hand, could be damaged unseen. */
Test(node_disk, moved_references_are_the_same_content)
{
	for (unsigned form = FORM_LEAF_REFS; form < FORMS; form++) {
		struct source source = { 0 };
		struct node *node = NULL;

		source_init(&source, "disk moves");
		do {
			node = random_node(&source, form, KEYS_RANDOM, 20);
		} while (form == FORM_LEAF_REFS && !node_bytes(node)[NODE_AT_FLAGS]);
		uint64_t hash = node_hash(node), checksum = get_u64(node);

		move_references(node, &source);
		cr_assert_str_eq(verify(node, hash, node_length(node)), "node: wrong checksum");
		node_seal(node, SEED, PLACE + 128);
		cr_assert_eq(node_hash(node), hash);
		cr_assert_neq(get_u64(node), checksum);
		source_release(&source);
	}
}

/* The format page gives these formulas; another implementation has only them. */
Test(node_disk, digests_follow_the_formulas)
{
	struct source source = { 0 };

	source_init(&source, "disk formulas");
	for (unsigned form = 0; form < FORM_BRANCH; form++) {
		struct node *leaf = random_node(&source, form, KEYS_RANDOM, 40);
		uint32_t length = node_length(leaf);
		uint8_t *copy = source_alloc(&source, length);
		uint64_t positions[RECORDS_MAX + 1] = { 0 };
		size_t count = 0;

		memcpy(copy, leaf, length);
		if (form == FORM_DELTA) {
			memcpy(&positions[count++], copy + 64, 8);
			memset(copy + 64, 0, 8);
		}
		for (uint32_t i = 0; i < node_count(leaf); i++) {
			size_t at = (size_t)(record_ref(leaf_record(leaf, i)) - node_bytes(leaf));

			if (record_kind(leaf_record(leaf, i)) != RECORD_REF)
				continue;
			memcpy(&positions[count++], copy + at, 8);
			memset(copy + at, 0, 8);
		}
		cr_assert_eq(node_hash(leaf), XXH3_64bits(copy + 24, length - 24));
		cr_assert_eq(get_u64(leaf), entry_checksum(leaf, SEED, PLACE, positions, count));
	}
	struct node *branch = random_node(&source, FORM_BRANCH, KEYS_RANDOM, 41);
	struct branch_layout layout = branch_layout(node_count(branch));
	uint64_t first = XXH3_64bits(node_bytes(branch) + 24, layout.words - 24);

	cr_assert_eq(node_hash(branch), XXH3_64bits_withSeed(node_bytes(branch) + layout.hashes,
							     node_length(branch) - layout.hashes, first));
	cr_assert_eq(get_u64(branch),
		     entry_checksum(branch, SEED, PLACE, node_branch_words(branch), node_count(branch)));
	source_release(&source);
}

/* A large leaf with references is hashed in pieces; a position may lie across the border of two. */
Test(node_disk, large_leaf_with_references)
{
	enum { COUNT = 3000 };
	static struct record records[COUNT];
	static uint64_t positions[COUNT];
	struct source source = { 0 };

	source_init(&source, "disk large");
	for (size_t shift = 0; shift < 40; shift++) {
		uint8_t *fence = source_alloc(&source, shift);
		uint32_t offset = 0;

		memset(fence, 'f', shift);
		for (uint32_t i = 0; i < COUNT; i++) {
			uint8_t *key = source_alloc(&source, 5);

			put_be32(key, i);
			key[4] = 0;
			memcpy(&positions[i], &(uint64_t){ htole64(random_position(&source)) }, 8);
			records[i] = (struct record){ .key = slice(key, 5),
						      .kind = RECORD_REF,
						      .value = random_ref(&source, le64toh(positions[i])) };
		}
		size_t size = node_leaf_bytes(records, COUNT, COUNT, shift, false);
		struct node *leaf = source_alloc(&source, size);
		uint8_t *copy = source_alloc(&source, size);

		node_leaf_build(leaf, size, 7, slice(fence, shift), NULL, records, COUNT, COUNT, COUNT);
		node_seal(leaf, SEED, PLACE);
		memcpy(copy, leaf, size);
		for (uint32_t i = 0; i < COUNT; i++) {
			offset = (uint32_t)(record_ref(leaf_record(leaf, i)) - node_bytes(leaf));
			memset(copy + offset, 0, 8);
		}
		cr_assert_eq(node_hash(leaf), XXH3_64bits(copy + 24, size - 24));
		cr_assert_eq(get_u64(leaf), entry_checksum(leaf, SEED, PLACE, positions, COUNT));
		cr_assert_null(verify(leaf, node_hash(leaf), (uint32_t)size));
		source_release(&source);
	}
}

/* The flag may outlive the last reference in memory; on disk it is part of the format, and readers trust it. */
Test(node_disk, seal_makes_the_flag_exact)
{
	struct source source = { 0 };
	struct record record = { .key = slice("k", 1), .kind = RECORD_REF, .value = random_ref(&source, 64) };
	size_t size = node_leaf_bytes(&record, 1, 1, 0, false);
	struct node *leaf = source_alloc(&source, size);

	node_leaf_build(leaf, size, 7, slice(NULL, 0), NULL, &record, 1, 1, 1);
	cr_assert_eq(node_bytes(leaf)[NODE_AT_FLAGS], NODE_FLAG_REFS);
	record.kind = RECORD_INLINE;
	cr_assert_eq(put(leaf, &record), 0);
	cr_assert_eq(node_bytes(leaf)[NODE_AT_FLAGS], NODE_FLAG_REFS);
	node_seal(leaf, SEED, PLACE);
	cr_assert_null(node_check(leaf, size));
	record.kind = RECORD_REF;
	cr_assert_eq(put(leaf, &record), 0);
	cr_assert_eq(node_bytes(leaf)[NODE_AT_FLAGS], NODE_FLAG_REFS, "put sets it at once");
	source_release(&source);
}

/* ---- Hostile bytes ----------------------------------------------------------------------------------------------- */

/* One field of one byte to eight is overwritten with something that is likely to hurt. */
static void damage(uint8_t *bytes, size_t size, struct source *source)
{
	static const uint64_t nasty[] = { 0,        1,          2,          63,         64,          255,
					  0x3FFF,   0x4000,     0x7FFF,     0x8000,     0xC000,      0xFFFF,
					  0x100000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, UINT64_MAX };
	size_t width = (size_t)1 << source_below(source, 4);
	size_t range = source_below(source, 3) ? size : source_below(source, 2) ? 128 : 64;
	size_t at = source_below(source, range < size ? range : size) / width * width;
	uint64_t value = nasty[source_below(source, ARRAY_SIZE(nasty))];
	uint64_t old = 0;

	if (at + width > size)
		return;
	memcpy(&old, bytes + at, width);
	switch (source_below(source, 5)) {
	case 0: value = old ^ (uint64_t)1 << source_below(source, 8 * width); break;
	case 1: value = old + source_below(source, 9) - 4; break;
	case 2: value = source_below(source, size + 2); break;
	}
	memcpy(bytes + at, &value, width);
}

/* Whatever node_check lets pass is walked, sealed and verified; the sanitizer watches. Returns whether it passed. */
static bool survive(struct node *node, size_t size)
{
	uint64_t expected = 0, found = 0;

	if (node_check(node, size))
		return false;
	walk(node);
	node_seal(node, SEED, PLACE);
	cr_assert_null(verify(node, node_hash(node), (uint32_t)size));
	cr_assert_not_null(
		node_verify(node, size, SEED, PLACE + 64, node_hash(node), (uint32_t)size, &expected, &found));
	return true;
}

/* A file from a stranger may hold any bytes under a right checksum: no step may leave the node or fail to end. */
Test(node_disk, hostile_fields_do_no_harm)
{
	unsigned passed = 0, refused = 0;

	for (int round = 0; round < 1000; round++) {
		struct source source = { 0 };

		source_init(&source, "disk hostile");
		struct node *node = random_node(&source, round % FORMS, source_below(&source, KEYS_LONG),
						source_below(&source, 20));
		size_t size = node_length(node);

		for (int i = 0; i < 200; i++) {
			struct node *copy = malloc(size);

			cr_assert_not_null(copy);
			memcpy(copy, node, size);
			for (size_t k = 0; k <= source_below(&source, 3); k++)
				damage((uint8_t *)copy, size, &source);
			if (survive(copy, size))
				passed++;
			else
				refused++;
			free(copy);
		}
		source_release(&source);
	}
	cr_assert(passed > 100 && refused > 100, "%u passed, %u refused: this tests only one side", passed, refused);
}

/* The reference, too, is from the file: a length that is not the node's, or bytes that are no node at all. */
Test(node_disk, hostile_lengths_and_noise_do_no_harm)
{
	for (int round = 0; round < 100; round++) {
		struct source source = { 0 };

		source_init(&source, "disk noise");
		struct node *node = random_node(&source, round % FORMS, source_below(&source, KEYS_LONG), 8);
		size_t size = node_length(node);

		for (size_t cut = 0; cut < size; cut++) {
			uint8_t *copy = malloc(cut + !cut);

			cr_assert_not_null(copy);
			memcpy(copy, node, cut);
			if (cut >= NODE_HEADER_BYTES)
				put_u32(copy + NODE_AT_LENGTH, (uint32_t)cut);
			cr_assert_not_null(node_check((const struct node *)copy, cut), "%zu bytes of %zu", cut, size);
			free(copy);
		}
		for (size_t i = 0; i < 100; i++) {
			size_t length = NODE_HEADER_BYTES + source_below(&source, 200);
			uint8_t *noise = malloc(length);

			cr_assert_not_null(noise);
			memcpy(noise, source_bytes(&source, length).data, length);
			memcpy(noise, node, size < 48 + i % 17 ? size : 48 + i % 17);
			put_u32(noise + NODE_AT_LENGTH, (uint32_t)length);
			put_u32(noise + NODE_AT_COUNT, (uint32_t)source_below(&source, 10));
			put_u32(noise + NODE_AT_CAPACITY, get_u32(noise + NODE_AT_COUNT));
			survive((struct node *)noise, length);
			free(noise);
		}
		source_release(&source);
	}
}

/* ---- Each rule of node_check, broken alone ----------------------------------------------------------------------- */

struct breach {
	enum form form;
	uint32_t at, width;
	uint64_t value;
	const char *wrong;
};

/* Three keys "pre1" to "pre3" in every form: a leaf with an inline value of 4 bytes, one of 8 and a reference; a delta
 * with a deletion as the second; a branch whose separators are the keys behind an empty one. */
static struct node *plain_node(struct source *source, enum form form)
{
	struct slf_slice keys[] = { slice("", 0), slice("pre1", 4), slice("pre2", 4), slice("pre3", 4) };
	struct delta_base base = { .position = 640, .length = 2048, .count = 10 };
	struct record records[3] = {
		{ .key = keys[1], .value = slice("4444", 4) },
		{ .key = keys[2], .value = slice("88888888", 8) },
		{ .key = keys[3], .value = random_ref(source, 6400), .kind = RECORD_REF },
	};
	struct child children[4] = { 0 };
	struct node *node = NULL;

	if (form == FORM_BRANCH) {
		for (size_t i = 0; i < 4; i++)
			children[i] = (struct child){ .word = 64, .length = 64, .separator = keys[i] };
		size_t size = node_branch_bytes(children, 4, 2);

		node = source_alloc(source, size);
		node_branch_build(node, size, 7, 1, slice("fe", 2), children, 4);
		return node;
	}
	if (form == FORM_DELTA)
		records[1] = (struct record){ .key = keys[2], .kind = RECORD_TOMB };
	size_t size = node_leaf_bytes(records, 3, 3, 2, form == FORM_DELTA);

	node = source_alloc(source, size);
	node_leaf_build(node, size, 7, slice("fe", 2), form == FORM_DELTA ? &base : NULL, records, 3, 3,
			form == FORM_DELTA ? 10 : 3);
	return node;
}

/* Offsets in plain_node. Leaf: heads 64, slots 76, fence 88, records 90, 102, 118, end 150. Delta: base 64, heads 96,
 * slots 108, fence 120, records 122, 134, 142, end 174. Branch: heads 64, words 80, hashes 112, counts 144, lengths
 * 176, slots 192, fence 208, separators 210, 212, 218, 224, end 230. */
static const struct breach breaches[] = {
	{ FORM_LEAF, 16, 4, 151, "node: another length than its header says" },
	{ FORM_LEAF, 20, 1, ENTRY_VALUE, "node: entry of another type" },
	{ FORM_LEAF, 21, 1, 3, "node: a kind that this version does not know" },
	{ FORM_LEAF, 22, 1, 1, "node: impossible level" },
	{ FORM_BRANCH, 22, 1, 0, "node: impossible level" },
	{ FORM_BRANCH, 22, 1, NODE_LEVELS_MAX, "node: impossible level" },
	{ FORM_LEAF, 23, 1, 3, "node: flags that this version does not know" },
	{ FORM_BRANCH, 23, 1, 1, "node: flags that this version does not know" },
	{ FORM_LEAF, 28, 4, 1, "node: reserved bytes are not zero" },
	{ FORM_LEAF, 63, 1, 1, "node: wrong lead" },
	{ FORM_LEAF, 36, 4, 4, "node: spare capacity" },
	{ FORM_LEAF, 44, 4, 1, "node: dead bytes" },
	{ FORM_LEAF, 40, 4, 91, "leaf: arrays of impossible size" },
	{ FORM_LEAF, 48, 2, 3, "leaf: arrays of impossible size" },
	{ FORM_LEAF, 50, 2, 2, "node: wrong head" },
	{ FORM_LEAF, 50, 2, 5, "node: a key without the prefix" },
	{ FORM_LEAF, 92 + 2, 1, 'q', "node: a key without the prefix" },
	{ FORM_LEAF, 52, 4, 2, "leaf: wrong number of entries" },
	{ FORM_LEAF, 64, 1, 1, "node: wrong head" },
	{ FORM_LEAF, 76, 4, 89, "leaf: a slot leads nowhere" },
	{ FORM_LEAF, 76, 4, 151, "leaf: a slot leads nowhere" },
	{ FORM_LEAF, 76, 4, 148, "leaf: a record reaches beyond the end" },
	{ FORM_LEAF, 118, 2, 5, "leaf: a record reaches beyond the end" },
	{ FORM_LEAF, 92, 2, 3, "leaf: records do not fill their room" },
	{ FORM_LEAF, 92, 2, RECORD_HEAP << 14 | 24, "leaf: a record of unknown kind" },
	{ FORM_LEAF, 92, 2, RECORD_TOMB << 14, "leaf: impossible deletion" },
	{ FORM_DELTA, 136, 2, RECORD_TOMB << 14 | 1, "leaf: impossible deletion" },
	{ FORM_LEAF, 120, 2, RECORD_REF << 14 | 23, "leaf: impossible value reference" },
	{ FORM_LEAF, 126, 8, 0, "leaf: impossible value reference" },
	{ FORM_LEAF, 126, 8, 6401, "leaf: impossible value reference" },
	{ FORM_LEAF, 120, 2, 24, "leaf: wrong flags" },
	{ FORM_LEAF, 23, 1, 0, "leaf: wrong flags" },
	{ FORM_LEAF, 80, 4, 90, "node: wrong head" },
	{ FORM_DELTA, 64, 8, 0, "delta: impossible base" },
	{ FORM_DELTA, 64, 8, 32, "delta: impossible base" },
	{ FORM_DELTA, 80, 4, 63, "delta: impossible base" },
	{ FORM_DELTA, 80, 4, NODE_BYTES_MAX + 1, "delta: impossible base" },
	{ FORM_DELTA, 88, 8, 1, "delta: reserved bytes are not zero" },
	{ FORM_DELTA, 52, 4, 14, "delta: impossible number of entries" },
	{ FORM_DELTA, 52, 4, 6, "delta: impossible number of entries" },
	{ FORM_BRANCH, 32, 8, 0, "branch: no children" },
	{ FORM_BRANCH, 40, 4, 209, "branch: arrays of impossible size" },
	{ FORM_BRANCH, 48, 2, 30, "branch: arrays of impossible size" },
	{ FORM_BRANCH, 50, 2, 2, "node: wrong head" },
	{ FORM_BRANCH, 52, 4, 1, "branch: reserved bytes are not zero" },
	{ FORM_BRANCH, 64, 4, 1, "branch: a separator is empty, or the first one is not" },
	{ FORM_BRANCH, 80, 8, 0, "branch: a child at an impossible position" },
	{ FORM_BRANCH, 104, 8, 65, "branch: a child at an impossible position" },
	{ FORM_BRANCH, 176, 4, 63, "branch: a child of impossible length" },
	{ FORM_BRANCH, 188, 4, NODE_BYTES_MAX + 1, "branch: a child of impossible length" },
	{ FORM_BRANCH, 204, 4, 229, "branch: a slot leads nowhere" },
	{ FORM_BRANCH, 204, 4, 200, "branch: a slot leads nowhere" },
	{ FORM_BRANCH, 224, 2, 5, "branch: a separator reaches beyond the end" },
	{ FORM_BRANCH, 224, 2, 0, "branch: a separator is empty, or the first one is not" },
	{ FORM_BRANCH, 192, 4, 212, "branch: a separator is empty, or the first one is not" },
	{ FORM_BRANCH, 68, 1, 1, "node: wrong head" },
};

/* Whoever reads a file of a later version would be told that it is damaged, and not what is unknown. */
Test(node_disk, what_is_unknown_is_named)
{
	static const struct { enum form form; uint8_t at, found, expected; } cases[] = {
		{ FORM_LEAF, 21, 7, NODE_DELTA }, { FORM_BRANCH, 21, 255, NODE_DELTA },
		{ FORM_LEAF, 23, 6, NODE_FLAG_REFS }, { FORM_BRANCH, 23, 1, 0 },
	};
	struct source source = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct node *node = plain_node(&source, cases[i].form);
		uint64_t expected = 0, found = 0;

		((uint8_t *)node)[cases[i].at] = cases[i].found;
		cr_assert_not_null(node_verify(node, node_length(node), SEED, PLACE, 0, node_length(node), &expected, &found));
		cr_assert(expected == cases[i].expected && found == cases[i].found, "case %zu", i);
	}
	source_release(&source);
}

/* A rule that is never broken in a test may have been lost from the check. */
Test(node_disk, each_rule_is_checked)
{
	struct source source = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(breaches); i++) {
		const struct breach *breach = &breaches[i];
		struct node *node = plain_node(&source, breach->form);
		uint8_t *bytes = (uint8_t *)node;
		uint64_t value = htole64(breach->value);
		uint32_t length = node_length(node);
		const char *wrong = node_check(node, length);

		cr_assert_null(wrong, "breach %zu: %s before it", i, wrong);
		memcpy(bytes + breach->at, &value, breach->width);
		wrong = node_check(node, length);
		cr_assert_not_null(wrong, "breach %zu passes", i);
		cr_assert_str_eq(wrong, breach->wrong, "breach %zu: %s", i, wrong);
	}
	source_release(&source);
}

/* Rules that need more than one field to break. */
Test(node_disk, order_and_prefix_are_checked)
{
	struct source source = { 0 };
	struct node *node = plain_node(&source, FORM_LEAF);
	uint8_t *bytes = (uint8_t *)node;

	/* Two records change places with their heads: each of them is right, the order is not. */
	put_u64(bytes + 64, get_u64(bytes + 64) << 32 | get_u64(bytes + 64) >> 32);
	put_u64(bytes + 76, get_u64(bytes + 76) << 32 | get_u64(bytes + 76) >> 32);
	cr_assert_str_eq(node_check(node, node_length(node)), "node: keys out of order");

	/* The second key becomes the first one: equal heads, equal keys. */
	node = plain_node(&source, FORM_LEAF);
	bytes = (uint8_t *)node;
	bytes[102 + 4 + 3] = '1';
	put_u32(bytes + 68, get_u32(bytes + 64));
	cr_assert_str_eq(node_check(node, node_length(node)), "node: keys out of order");

	/* The same record twice, and the room of the other nobody's. */
	node = plain_node(&source, FORM_BRANCH);
	bytes = (uint8_t *)node;
	put_u32(bytes + 200, get_u32(bytes + 196));
	put_u32(bytes + 72, get_u32(bytes + 68));
	cr_assert_str_eq(node_check(node, node_length(node)), "node: keys out of order");

	/* A prefix shorter than it could be, with heads to match. */
	node = plain_node(&source, FORM_BRANCH);
	bytes = (uint8_t *)node;
	put_u16(bytes + 50, 2);
	for (uint8_t i = 1; i < 4; i++)
		put_u32(bytes + 64 + 4 * i, 0x65u << 24 | (uint32_t)('0' + i) << 16);
	cr_assert_str_eq(node_check(node, node_length(node)), "node: wrong prefix");
	source_release(&source);
}

/* Branches that lead to empty leaves, and these to none, would be walked for years. */
Test(node_disk, leaf_without_records)
{
	struct source source = { 0 };
	size_t size = node_leaf_bytes(NULL, 0, 0, 0, false);
	struct node *node = source_alloc(&source, size);

	node_leaf_build(node, size, 7, slice("", 0), NULL, NULL, 0, 0, 0);
	cr_assert_str_eq(node_check(node, node_length(node)), "leaf: no records");
	source_release(&source);
}

/* Bytes that belong to nothing could hold anything, and the same content would have many hashes. */
Test(node_disk, bytes_that_belong_to_nothing)
{
	struct source source = { 0 };

	for (unsigned form = 0; form < FORMS; form++) {
		const struct node *node = plain_node(&source, form);
		uint32_t length = node_length(node);
		uint8_t *longer = source_alloc(&source, length + 1);

		memcpy(longer, node, length);
		longer[length] = 0;
		put_u32(longer + NODE_AT_LENGTH, length + 1);
		cr_assert_str_eq(node_check((const struct node *)longer, length + 1),
				 form == FORM_BRANCH ? "branch: separators do not fill their room"
						     : "leaf: records do not fill their room");
	}
	source_release(&source);
}

/* The padding of a branch with an odd number of children is part of the format, as are the limits of length. */
Test(node_disk, padding_and_length)
{
	struct source source = { 0 };
	struct child child = { .word = 64, .length = 64 };
	size_t size = node_branch_bytes(&child, 1, 0);
	struct node *branch = source_alloc(&source, size);

	node_branch_build(branch, size, 7, 1, slice(NULL, 0), &child, 1);
	cr_assert_null(node_check(branch, size));
	((uint8_t *)branch)[NODE_HEADER_BYTES + 4] = 1;
	cr_assert_str_eq(node_check(branch, size), "branch: padding is not zero");
	cr_assert_str_eq(node_check(branch, NODE_HEADER_BYTES - 1), "node: impossible length");
	cr_assert_str_eq(node_check(branch, NODE_BYTES_MAX + 1), "node: impossible length");
	source_release(&source);
}
