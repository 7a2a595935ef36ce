/* SPDX-License-Identifier: MIT */
/* Reading entries: what is right is given, from the map or copied; what is not is refused, with the place. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "error.h"
#include "slab.h"
#include "tree_rig.h"

static struct tree_rig rig;

static void start(bool map)
{
	struct rig_options options = { .map = map, .leaf_bytes = 2048, .branch_bytes = 4096, .inline_bytes = 128 };

	rig_init(&rig, &options);
}

/* ---- Entries ----------------------------------------------------------------------------------------------------- */

static uint64_t node_place; /* of the nodes to come; 0: the next free one of each */

static void node_write(struct node *image, struct node_ref *ref)
{
	ref->length = node_length(image);
	ref->level = node_level(image);
	ref->tree = RIG_TREE;
	ref->position = node_place ? node_place : rig_place(&rig, ref->length);
	node_seal(image, rig.store.seed, ref->position);
	ref->hash = node_hash(image);
	rig_store(&rig, ref->position, image, ref->length);
	free(image);
}

/* A leaf of `count` records; with a base, a delta. */
static void leaf_write(size_t count, const struct delta_base *base, struct node_ref *ref)
{
	struct record records[400];
	uint8_t keys[400][4];
	struct node *image;
	size_t bytes;

	rig_must(count <= ARRAY_SIZE(records));
	for (size_t i = 0; i < count; i++) {
		put_be32(keys[i], (uint32_t)(7 * i));
		records[i] = (struct record){ .key = slice(keys[i], 4), .value = slice("a value", 7) };
	}
	bytes = node_leaf_bytes(records, count, count, 0, base != NULL);
	image = malloc(bytes);
	rig_must(image != NULL);
	node_leaf_build(image, bytes, RIG_TREE, slice("", 0), base, records, count, count, (uint32_t)count);
	node_write(image, ref);
}

static void branch_write(size_t count, const struct node_ref *below, struct node_ref *ref)
{
	struct child children[100];
	uint8_t keys[100][4];
	struct node *image;
	size_t bytes;

	rig_must(count <= ARRAY_SIZE(children));
	for (size_t i = 0; i < count; i++) {
		put_be32(keys[i], (uint32_t)(7 * i));
		children[i] = (struct child){ .word = below->position,
					      .hash = below->hash,
					      .length = below->length,
					      .count = 5,
					      .separator = slice(keys[i], 4) };
	}
	bytes = node_branch_bytes(children, count, 0);
	image = malloc(bytes);
	rig_must(image != NULL);
	node_branch_build(image, bytes, RIG_TREE, 1, slice("", 0), children, count);
	node_write(image, ref);
}

/* A value of `raw` bytes at a place of its own, or at the given position. */
static void value_write(uint64_t position, size_t key_bytes, size_t raw, bool compress, struct value_ref *ref)
{
	uint8_t *value = malloc(raw + 1), *stored = malloc(raw + 1), *key = calloc(1, key_bytes + 1), *entry;
	uint32_t size = 0;
	size_t bytes;

	rig_must(value && stored && key);
	for (size_t i = 0; i < raw; i++)
		value[i] = (uint8_t)(i % 20);
	if (compress)
		size = value_compress(slice(value, raw), stored);
	rig_must(!compress || size);
	bytes = value_entry_bytes(key_bytes, compress ? size : raw);
	entry = malloc(bytes);
	rig_must(entry != NULL);
	if (!position)
		position = rig_place(&rig, bytes);
	value_entry_encode(entry, rig.store.seed, position, RIG_TREE, slice(key, key_bytes), compress ? stored : value,
			   compress ? size : (uint32_t)raw, (uint32_t)raw, ref);
	rig_store(&rig, position, entry, bytes);
	free(entry);
	free(key);
	free(stored);
	free(value);
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

static uint64_t checks(void)
{
	return stats_get(&rig.stats.values.store_checks);
}

/* The last failure has to be a damaged entry at position, and counted. */
static void told_damage(uint64_t position, uint64_t corruptions_before)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	error_get(&info);
	rig_must(info.code == SLF_ECORRUPT);
	rig_must(info.spindle == (int)position_spindle(position));
	rig_must(info.offset == position_offset(position));
	rig_must(position_spindle(position) >= RIG_SPINDLES ||
		 strstr(info.text, rig.spindles[position_spindle(position)].path) != NULL);
	rig_must(stats_get(&rig.stats.values.store_corruptions) == corruptions_before + 1);
}

static void node_is_refused(const struct node_ref *ref)
{
	uint64_t before = stats_get(&rig.stats.values.store_corruptions);
	struct lens lens = { 0 };
	const struct node *node = NULL;

	rig_must(store_node(&rig.store, ref, &lens, &node) == SLF_ECORRUPT);
	rig_must(node == NULL);
	told_damage(ref->position, before);
	lens_release(&lens);
}

static void node_is_given(const struct node_ref *ref)
{
	struct lens lens = { 0 };
	const struct node *node = NULL;

	rig_must(store_node(&rig.store, ref, &lens, &node) == 0);
	rig_must(node_matches(node, ref));
	rig_must((lens.buffer != NULL) == !rig.spindles[0].mapped);
	lens_release(&lens);
}

/* Memory that a value was copied to, and an allocator that can refuse. */
struct copy {
	void *memory;
	size_t size;
	int error;
};

static void *copy_alloc(void *context, size_t size, int *error)
{
	struct copy *copy = context;

	rig_must(!copy->memory);
	if (copy->error) {
		*error = copy->error;
		return NULL;
	}
	copy->size = size;
	return copy->memory = malloc(size + 1);
}

/* No value that is refused here has a file that could hold more, so no more memory may be asked for. */
#define VALUES_REFUSED_BYTES_MAX (4 * MIB)

static void value_is_refused(const struct value_ref *ref)
{
	uint64_t before = stats_get(&rig.stats.values.store_corruptions);
	struct slf_slice value = { .data = "untouched", .size = 9 };
	struct copy copy = { 0 };

	rig_must(store_value(&rig.store, ref, true, copy_alloc, &copy, &value) == SLF_ECORRUPT);
	rig_must(copy.size <= VALUES_REFUSED_BYTES_MAX);
	told_damage(ref->position, before);
	free(copy.memory);
}

/* Reads a value of value_write; *copied says how many bytes were asked for. */
static void value_is_given(const struct value_ref *ref, bool settled, size_t *copied)
{
	struct slf_slice value = { 0 };
	struct copy copy = { 0 };

	rig_must(store_value(&rig.store, ref, settled, copy_alloc, &copy, &value) == 0);
	rig_must(value.size == ref->raw);
	for (size_t i = 0; i < value.size; i++)
		rig_must(((const uint8_t *)value.data)[i] == i % 20);
	*copied = copy.size;
	free(copy.memory);
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------- */

/* A node that is checked on every access makes every get slow; one that is never checked makes rot readable. */
Test(store, a_mapped_node_is_checked_once)
{
	struct node_ref leaf;
	uint64_t before;

	start(true);
	leaf_write(40, NULL, &leaf);
	before = checks();
	for (unsigned i = 0; i < 3; i++)
		node_is_given(&leaf);
	cr_assert_eq(checks(), before + 1);
	cr_assert_eq(stats_get(&rig.stats.values.store_check_bytes), leaf.length);
	verified_clear(&rig.store.verified, leaf.position);
	node_is_given(&leaf);
	cr_assert_eq(checks(), before + 2);
	rig_release(&rig);
}

/* A copy that is not checked may differ from the one that was. */
Test(store, a_copied_node_is_checked_every_time)
{
	struct node_ref small, large;
	struct lens lens = { 0 };
	const struct node *node = NULL;

	start(false);
	leaf_write(3, NULL, &small);
	leaf_write(400, NULL, &large);
	for (unsigned i = 0; i < 3; i++)
		node_is_given(&small);
	cr_assert_eq(checks(), 3);
	cr_assert(!verified_test(&rig.store.verified, small.position));
	/* One lens, for a small node and then for one that it has no room for yet. */
	cr_assert_eq(store_node(&rig.store, &small, &lens, &node), 0);
	cr_assert_eq(store_node(&rig.store, &large, &lens, &node), 0);
	cr_assert(node_matches(node, &large) && node_count(node) == 400);
	cr_assert_eq(store_node(&rig.store, &small, &lens, &node), 0);
	cr_assert(node_matches(node, &small) && node_count(node) == 3);
	lens_release(&lens);
	rig_release(&rig);
}

/* A reference that is wrong in one word must not lead to the node that is there, checked already or not. */
Test(store, a_node_that_is_not_the_one_meant)
{
	for (unsigned map = 0; map < 2; map++)
		for (unsigned checked = 0; checked < 2; checked++) {
			struct node_ref leaf, wrong;

			start(map);
			leaf_write(40, NULL, &leaf);
			if (checked)
				node_is_given(&leaf);
			wrong = leaf;
			wrong.hash ^= 1;
			node_is_refused(&wrong);
			wrong = leaf;
			wrong.length--;
			node_is_refused(&wrong);
			wrong = leaf;
			wrong.length++;
			node_is_refused(&wrong);
			wrong = leaf;
			wrong.tree++;
			node_is_refused(&wrong);
			wrong = leaf;
			wrong.level = 1;
			node_is_refused(&wrong);
			node_is_given(&leaf);
			rig_release(&rig);
		}
}

/* A reference that leads to where no node can be must be refused before anything is read or taken for it. */
Test(store, a_place_where_no_node_can_be)
{
	for (unsigned map = 0; map < 2; map++) {
		struct node_ref leaf, wrong;
		uint64_t before;

		start(map);
		leaf_write(40, NULL, &leaf);
		before = checks();
		wrong = leaf;
		for (unsigned i = 0; i < 8; i++) {
			static const uint64_t offsets[] = {
				0, ENTRY_ALIGN, EXTENT_BYTES - 4096, EXTENT_BYTES + 1, EXTENT_BYTES + ENTRY_ALIGN / 2,
				EXTENT_BYTES + 4096 - ENTRY_ALIGN, /* across two blocks */
				GIB, OFFSET_MAX - 63,
			};

			wrong.position = position_make(0, offsets[i]);
			node_is_refused(&wrong);
		}
		wrong.position = position_make(RIG_SPINDLES, position_offset(leaf.position));
		node_is_refused(&wrong);
		wrong.position = position_make(1, position_offset(leaf.position)); /* the file is empty */
		node_is_refused(&wrong);
		wrong = leaf;
		wrong.length = 0;
		node_is_refused(&wrong);
		wrong.length = NODE_HEADER_BYTES - 1;
		node_is_refused(&wrong);
		wrong.length = NODE_BYTES_MAX + 1;
		node_is_refused(&wrong);
		wrong.length = UINT32_MAX;
		node_is_refused(&wrong);
		wrong = leaf;
		wrong.position = rig.spindles[0].size - 4096; /* its second half is behind the end of the file */
		wrong.length = 8192;
		node_is_refused(&wrong);
		cr_assert_eq(checks(), before);
		rig_release(&rig);
	}
}

/* What was checked once would be overwritten by the log: a node in an extent of the log, or that reaches into the next one. */
Test(store, a_node_where_the_log_writes)
{
	uint8_t header[EXTENT_HEADER_BYTES];
	struct extent_header extent = { .stream = STREAM_LOG, .run = 1 };
	struct node_ref first, second, across;

	start(true);
	leaf_write(40, NULL, &first);
	leaf_write(40, NULL, &second);
	node_is_given(&second);
	rig_release(&rig);
	for (unsigned damaged = 0; damaged < 2; damaged++) {
		start(true);
		leaf_write(40, NULL, &first); /* in place of the header */
		leaf_write(40, NULL, &second);
		extent_header_encode(header, &extent, rig.store.seed, align_down(second.position, EXTENT_BYTES));
		header[20] ^= (uint8_t)damaged; /* then it says nothing */
		rig_store(&rig, align_down(second.position, EXTENT_BYTES), header, sizeof(header));
		if (damaged)
			node_is_given(&second);
		else
			node_is_refused(&second);
		rig_release(&rig);
	}
	start(true);
	node_place = position_make(0, 2 * EXTENT_BYTES - 4096);
	leaf_write(400, NULL, &across);
	node_place = 0;
	rig_must(across.length > 4096);
	node_is_refused(&across);
	rig_release(&rig);
}

/* A single wrong bit anywhere in a node must be seen. */
Test(store, every_byte_of_a_node_counts)
{
	for (unsigned map = 0; map < 2; map++) {
		struct node_ref refs[3];
		struct delta_base base;

		start(map);
		leaf_write(6, NULL, &refs[0]);
		base = (struct delta_base){ refs[0].position, refs[0].hash, refs[0].length, 6 };
		leaf_write(5, &base, &refs[1]);
		branch_write(5, &refs[0], &refs[2]);
		for (unsigned node = 0; node < ARRAY_SIZE(refs); node++) {
			for (uint32_t i = 0; i < refs[node].length; i++) {
				rig_damage(&rig, refs[node].position + i, (uint8_t)(1u << i % 8));
				node_is_refused(&refs[node]);
				rig_damage(&rig, refs[node].position + i, (uint8_t)(1u << i % 8));
			}
			node_is_given(&refs[node]);
		}
		rig_release(&rig);
	}
}

/* A delta over a node that is no leaf, or not of as many records, would give entries that were never there. */
Test(store, a_base_that_is_none)
{
	for (unsigned map = 0; map < 2; map++) {
		struct node_ref leaf, delta, wrong;
		struct tree_lens lens = { 0 };
		struct delta_base base;
		struct leaf_view view;

		start(map);
		leaf_write(6, NULL, &leaf);
		base = (struct delta_base){ leaf.position, leaf.hash, leaf.length, 6 };
		leaf_write(5, &base, &delta);
		rig_must(tree_leaf(&rig.store, RIG_TREE, delta.position, delta.hash, delta.length, &lens, &view) == 0);
		base.count = 7;
		leaf_write(5, &base, &wrong);
		rig_must(tree_leaf(&rig.store, RIG_TREE, wrong.position, wrong.hash, wrong.length, &lens, &view) ==
			 SLF_ECORRUPT);
		base = (struct delta_base){ delta.position, delta.hash, delta.length, 5 };
		leaf_write(5, &base, &wrong);
		rig_must(tree_leaf(&rig.store, RIG_TREE, wrong.position, wrong.hash, wrong.length, &lens, &view) ==
			 SLF_ECORRUPT);
		lens_release(&lens.node);
		lens_release(&lens.base);
		rig_release(&rig);
	}
}

/* Bytes that were checked as a value must not pass as a node, nor a node as a value. */
Test(store, a_bit_does_not_change_types)
{
	struct node_ref leaf, node_at_value;
	struct value_ref value, value_at_node;
	size_t copied;

	start(true);
	leaf_write(6, NULL, &leaf);
	value_write(0, 4, 500, false, &value);
	node_is_given(&leaf);
	value_is_given(&value, true, &copied);
	cr_assert(verified_test(&rig.store.verified, leaf.position));
	cr_assert(verified_test(&rig.store.verified, value.position));
	node_at_value = (struct node_ref){ .position = value.position,
					   .hash = value.hash,
					   .length = (uint32_t)value_entry_bytes(4, 500),
					   .tree = RIG_TREE };
	node_is_refused(&node_at_value);
	value_at_node = (struct value_ref){ leaf.position, leaf.hash, leaf.length - 40, leaf.length - 40 };
	value_is_refused(&value_at_node);
	rig_release(&rig);
}

/* ---- Values ------------------------------------------------------------------------------------------------------ */

/* Raw values stand in the map; all else is copied, and the copy is as large as it has to be. */
Test(store, values_of_all_kinds)
{
	static const size_t sizes[] = { 0, 1, 63, 64, 300, 70000, 3 * 1000 * 1000 };
	static const size_t keys[] = { 0, 1, 500, KEY_BYTES_MAX };

	for (unsigned map = 0; map < 2; map++) {
		start(map);
		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
			for (unsigned j = 0; j < ARRAY_SIZE(keys); j++)
				for (unsigned compress = 0; compress < (sizes[i] >= 300 ? 2 : 1); compress++) {
					struct value_ref ref;
					size_t copied;

					value_write(0, keys[j], sizes[i], compress, &ref);
					cr_assert_eq(ref.stored < ref.raw, compress);
					for (unsigned settled = 0; settled < 2; settled++) {
						value_is_given(&ref, settled, &copied);
						if (compress)
							cr_assert_eq(copied, ref.raw);
						else
							cr_assert_eq(copied, map ? 0 : 40 + keys[j] + ref.raw);
					}
				}
		rig_release(&rig);
	}
}

/* A value in an extent of the log, where it would be overwritten after it was checked. */
Test(store, a_value_where_the_log_writes)
{
	struct extent_header extent = { .stream = STREAM_LOG, .run = 1 };
	uint8_t header[EXTENT_HEADER_BYTES];

	for (unsigned damaged = 0; damaged < 2; damaged++) {
		struct value_ref first, second;
		size_t copied;

		start(true);
		value_write(0, 10, 1000, false, &first); /* in place of the header */
		value_write(0, 10, 1000, false, &second);
		extent_header_encode(header, &extent, rig.store.seed, align_down(second.position, EXTENT_BYTES));
		header[20] ^= (uint8_t)damaged; /* then it says nothing */
		rig_store(&rig, align_down(second.position, EXTENT_BYTES), header, sizeof(header));
		if (damaged)
			value_is_given(&second, true, &copied);
		else
			value_is_refused(&second);
		rig_release(&rig);
	}
}

/* A bit set for a value that no flush has covered would outlive the loss of its pages. */
Test(store, only_settled_values_are_remembered)
{
	struct value_ref ref;
	size_t copied;

	start(true);
	value_write(0, 4, 500, false, &ref);
	value_is_given(&ref, false, &copied);
	value_is_given(&ref, false, &copied);
	cr_assert_eq(checks(), 2);
	cr_assert(!verified_test(&rig.store.verified, ref.position));
	value_is_given(&ref, true, &copied);
	value_is_given(&ref, true, &copied);
	value_is_given(&ref, false, &copied);
	cr_assert_eq(checks(), 3);
	/* the node that leads to it has been spilled, as the value has: neither is flushed */
	value_write(0, 5, 500, false, &ref);
	atomic_store(&rig.store.unflushed, true);
	value_is_given(&ref, true, &copied);
	cr_assert(!verified_test(&rig.store.verified, ref.position));
	atomic_store(&rig.store.unflushed, false);
	value_is_given(&ref, true, &copied);
	cr_assert(verified_test(&rig.store.verified, ref.position));
	rig_release(&rig);
}

/* A single wrong bit anywhere in a value must be seen. */
Test(store, every_byte_of_a_value_counts)
{
	for (unsigned map = 0; map < 2; map++)
		for (unsigned compress = 0; compress < 2; compress++) {
			struct value_ref ref;
			uint64_t length;
			size_t copied;

			start(map);
			value_write(0, 20, 400, compress, &ref);
			length = value_entry_bytes(20, ref.stored);
			for (uint64_t i = 0; i < length; i++) {
				rig_damage(&rig, ref.position + i, (uint8_t)(1u << i % 8));
				value_is_refused(&ref);
				rig_damage(&rig, ref.position + i, (uint8_t)(1u << i % 8));
			}
			value_is_given(&ref, true, &copied);
			rig_release(&rig);
		}
}

/* A reference with a wrong or an insane number must not lead to a value, nor to a large allocation. */
Test(store, a_value_that_is_not_the_one_meant)
{
	for (unsigned map = 0; map < 2; map++)
		for (unsigned checked = 0; checked < 2; checked++) {
			struct value_ref ref, wrong;
			size_t copied;

			start(map);
			value_write(0, 20, 400, true, &ref);
			if (checked)
				value_is_given(&ref, true, &copied);
			wrong = ref;
			wrong.hash ^= 1;
			value_is_refused(&wrong);
			wrong = ref;
			wrong.raw++;
			value_is_refused(&wrong);
			wrong = ref;
			wrong.stored++;
			value_is_refused(&wrong);
			wrong = ref;
			wrong.stored = wrong.raw;
			value_is_refused(&wrong);
			wrong = ref;
			wrong.stored = wrong.raw + 1;
			value_is_refused(&wrong);
			wrong = ref;
			wrong.raw = LZ4_BYTES_MAX;
			value_is_refused(&wrong);
			wrong.raw = LZ4_BYTES_MAX + 1;
			value_is_refused(&wrong);
			wrong = ref;
			wrong.stored = wrong.raw = UINT32_MAX;
			value_is_refused(&wrong);
			wrong.stored = wrong.raw = (uint32_t)VALUE_BYTES_MAX;
			value_is_refused(&wrong);
			wrong = ref;
			wrong.position += ENTRY_ALIGN;
			value_is_refused(&wrong);
			wrong.position = position_make(0, 4096);
			value_is_refused(&wrong);
			wrong.position = position_make(0, rig.spindles[0].size - ENTRY_ALIGN);
			value_is_refused(&wrong);
			wrong.position = position_make(9, EXTENT_BYTES);
			value_is_refused(&wrong);
			value_is_given(&ref, true, &copied);
			/* one that is not compressed, and is said to be */
			value_write(0, 20, 400, false, &ref);
			if (checked)
				value_is_given(&ref, true, &copied);
			wrong = ref;
			wrong.raw++;
			value_is_refused(&wrong);
			rig_release(&rig);
		}
}

/* A few stored bytes under good checksums that claim to become gigabytes must not get the memory. */
Test(store, a_value_that_grows_too_much)
{
	for (unsigned map = 0; map < 2; map++) {
		uint8_t entry[200], stored[100] = { 0 };
		struct value_ref ref;
		uint64_t position;

		start(map);
		position = rig_place(&rig, sizeof(entry));
		value_entry_encode(entry, rig.store.seed, position, RIG_TREE, slice("key", 3), stored, sizeof(stored),
				   LZ4_BYTES_MAX, &ref);
		rig_store(&rig, position, entry, value_entry_bytes(3, sizeof(stored)));
		value_is_refused(&ref);
		/* This one could be true, and its bytes are no output of the compressor. */
		value_entry_encode(entry, rig.store.seed, position, RIG_TREE, slice("key", 3), stored, sizeof(stored),
				   200, &ref);
		rig_store(&rig, position, entry, value_entry_bytes(3, sizeof(stored)));
		value_is_refused(&ref);
		rig_release(&rig);
	}
}

/* Values that the map cannot show in one piece are copied, at the seam of two windows. */
Test(store, a_value_across_two_windows)
{
	uint64_t position = position_make(0, WINDOW_BYTES - 4096);
	struct value_ref ref;
	size_t copied;

	start(true);
	/* The file is sparse below. */
	rig_must(spindle_allocate(&rig.spindles[0], WINDOW_BYTES - EXTENT_BYTES, 2 * EXTENT_BYTES) == 0);
	value_write(position, 10, 10000, false, &ref);
	value_is_given(&ref, true, &copied);
	cr_assert_eq(copied, 40 + 10 + 10000);
	cr_assert(!verified_test(&rig.store.verified, position));
	rig_damage(&rig, position + 9000, 1);
	value_is_refused(&ref);
	rig_damage(&rig, position + 9000, 1);
	value_write(position, 10, 10000, true, &ref);
	value_is_given(&ref, true, &copied);
	cr_assert_eq(copied, 10000);
	rig_release(&rig);
}

/* An arena at its limit must be told as such, and must not be taken for damage. */
Test(store, no_memory_for_a_value)
{
	for (unsigned map = 0; map < 2; map++)
		for (unsigned compress = 0; compress < 2; compress++) {
			struct copy copy = { .error = SLF_EARENA };
			struct slf_slice value = { 0 };
			struct value_ref ref;
			int result;

			start(map);
			value_write(0, 20, 400, compress, &ref);
			result = store_value(&rig.store, &ref, true, copy_alloc, &copy, &value);
			cr_assert_eq(result, map && !compress ? 0 : SLF_EARENA);
			cr_assert_eq(stats_get(&rig.stats.values.store_corruptions), 0);
			rig_release(&rig);
		}
}

/* A file that was cut after its size was learnt: the read ends early. */
Test(store, a_file_that_was_cut)
{
	struct value_ref value;
	struct node_ref leaf;

	start(false);
	value_write(0, 20, 400, false, &value);
	leaf_write(40, NULL, &leaf);
	rig_must(io_truncate(rig.spindles[0].file, position_offset(leaf.position) + 100) == 0);
	{
		uint64_t before = stats_get(&rig.stats.values.store_corruptions);
		struct lens lens = { 0 };
		const struct node *node = NULL;

		cr_assert_eq(store_node(&rig.store, &leaf, &lens, &node), SLF_ECORRUPT);
		cr_assert_eq(stats_get(&rig.stats.values.store_corruptions), before + 1);
		lens_release(&lens);
	}
	rig_release(&rig);
}

/* ---- Actions ----------------------------------------------------------------------------------------------------- */

/* Actions are what a commit did: wrong ones would make another commit of it. */
Test(store, actions)
{
	for (unsigned map = 0; map < 2; map++) {
		uint8_t entry[300];
		struct entry_ref ref, wrong;
		struct slf_slice actions = { 0 };
		void *buffer = NULL;

		start(map);
		for (unsigned i = 0; i < sizeof(entry); i++)
			entry[i] = (uint8_t)i;
		actions_entry_seal(entry, sizeof(entry), rig.store.seed, rig_place(&rig, sizeof(entry)), 5, &ref);
		rig_store(&rig, ref.position, entry, sizeof(entry));
		cr_assert_eq(store_actions(&rig.store, &ref, &buffer, &actions), 0);
		cr_assert_eq(actions.size, sizeof(entry) - ACTIONS_ENTRY_HEADER_BYTES);
		cr_assert_arr_eq(actions.data, entry + ACTIONS_ENTRY_HEADER_BYTES, actions.size);
		free(buffer);
		buffer = NULL;
		for (uint32_t i = 0; i < sizeof(entry); i++) {
			uint64_t before = stats_get(&rig.stats.values.store_corruptions);

			rig_damage(&rig, ref.position + i, 0x20);
			cr_assert_eq(store_actions(&rig.store, &ref, &buffer, &actions), SLF_ECORRUPT);
			cr_assert_null(buffer);
			told_damage(ref.position, before);
			rig_damage(&rig, ref.position + i, 0x20);
		}
		wrong = ref;
		for (wrong.length = 0; wrong.length < sizeof(entry); wrong.length += 13)
			cr_assert_eq(store_actions(&rig.store, &wrong, &buffer, &actions), SLF_ECORRUPT);
		wrong.length = UINT32_MAX;
		cr_assert_eq(store_actions(&rig.store, &wrong, &buffer, &actions), SLF_ECORRUPT);
		cr_assert_null(buffer);
		rig_release(&rig);
	}
}

/* ---- Prefetch ---------------------------------------------------------------------------------------------------- */

/* Warm nodes must cost no reads, cold ones must be read, and references that lead nowhere must do no harm. */
Test(store, prefetch)
{
	for (unsigned map = 0; map < 2; map++) {
		struct node_ref refs[150];
		uint64_t before;

		start(map);
		for (unsigned i = 0; i < ARRAY_SIZE(refs); i++)
			leaf_write(60, NULL, &refs[i]);
		before = stats_get(&rig.stats.values.io_reads);
		store_prefetch(&rig.store, refs, 0);
		store_prefetch(&rig.store, refs, ARRAY_SIZE(refs));
		cr_assert_eq(stats_get(&rig.stats.values.io_reads) - before, map ? ARRAY_SIZE(refs) : 0);
		for (unsigned i = 0; i < ARRAY_SIZE(refs); i++)
			node_is_given(&refs[i]);
		before = stats_get(&rig.stats.values.io_reads);
		store_prefetch(&rig.store, refs, ARRAY_SIZE(refs));
		cr_assert_eq(stats_get(&rig.stats.values.io_reads), before);
		for (unsigned i = 0; i < 4; i++) {
			refs[i].position = position_make(i, i % 2 ? OFFSET_MAX : GIB);
			refs[i].length = i % 2 ? UINT32_MAX : 0;
		}
		store_prefetch(&rig.store, refs, 4);
		rig_release(&rig);
	}
}
