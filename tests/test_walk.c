/* SPDX-License-Identifier: MIT */
/* Walks over trees of all kinds of leaves, against a sorted array. */
#include <criterion/criterion.h>

#include "error.h"
#include "tree_rig.h"
#include "walk.h"

static struct tree_rig rig;
static struct walk walk;

static const struct rig_options shapes[] = {
	{ .map = true, .leaf_bytes = 512, .branch_bytes = 512, .inline_bytes = 64 },
	{ .map = true, .leaf_bytes = 2048, .branch_bytes = 4096, .inline_bytes = 128 },
	{ .map = false, .leaf_bytes = 512, .branch_bytes = 4096, .inline_bytes = 16 },
	{ .map = false, .leaf_bytes = 2048, .branch_bytes = 512, .inline_bytes = 128 },
};

static void start(size_t shape)
{
	rig_init(&rig, &shapes[shape]);
	walk_init(&walk, &rig.store, RIG_TREE);
}

static void stop(void)
{
	walk_release(&walk);
	rig_release(&rig);
}

/* Passes one record and holds it against the model; *place is the number of entries before the walk. */
static void pass(bool forward, size_t *place)
{
	struct found found;
	int result = forward ? walk_next(&walk, &found) : walk_prev(&walk, &found);

	if (forward ? *place == rig.model.count : *place == 0) {
		rig_must(result == SLF_END);
		return;
	}
	rig_must(result == 0);
	*place = forward ? *place + 1 : *place - 1;
	rig_must(rig_found_is(&rig, &found, rig.model.items[forward ? *place - 1 : *place]));
}

/* Bytes of all leaves and deltas that were ever written. */
static uint64_t leaf_bytes(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < rig.entry_count; i++)
		sum += rig.entries[i].level == 0 ? rig.entries[i].length : 0;
	return sum;
}

/* What a walk counts as passed is no more than was written: files that are full to the brim are not refused. */
static void full_scans(void)
{
	size_t place = 0;

	rig_must(walk_seek_first(&walk, &rig.root) == 0);
	for (size_t i = 0; i < rig.model.count + 2; i++)
		pass(true, &place);
	rig_must(walk.passed_bytes <= leaf_bytes());
	for (size_t i = 0; i < rig.model.count + 2; i++)
		pass(false, &place);
	rig_must(walk.passed_bytes <= leaf_bytes());
	rig_must(walk_seek_last(&walk, &rig.root) == 0);
	place = rig.model.count;
	pass(true, &place);
	for (size_t i = 0; i < rig.model.count + 2; i++)
		pass(false, &place);
}

/* Goes to and fro from a random key. */
static void wander(struct rig_random *random, const struct rig_mix *mix)
{
	uint8_t buffer[RIG_KEY_BYTES];
	struct slf_slice key = rig_key(mix->keys, rig_below(random, mix->range), buffer);
	bool forward = rig_random(random) & 1, there;
	size_t place = rig_model_find(&rig.model, key, &there);

	rig_must(walk_seek(&walk, &rig.root, key) == 0);
	for (unsigned i = 0; i < 60; i++) {
		if (rig_below(random, 5) == 0)
			forward = !forward;
		pass(forward, &place);
	}
}

/* A walk over nothing would follow a root that leads nowhere. */
Test(walk, empty_tree)
{
	struct found found;

	start(0);
	for (unsigned seek = 0; seek < 3; seek++) {
		int result = seek == 0 ? walk_seek(&walk, &rig.root, slice("a", 1)) :
			     seek == 1 ? walk_seek_first(&walk, &rig.root) :
					 walk_seek_last(&walk, &rig.root);

		cr_assert_eq(result, 0);
		cr_assert_eq(walk_next(&walk, &found), SLF_END);
		cr_assert_eq(walk_prev(&walk, &found), SLF_END);
	}
	stop();
}

/* Wrong merging of layers, wrong turns or wrong crossings give entries twice, not at all, or deleted ones. */
Test(walk, layers)
{
	struct rig_random random = rig_seed("walk/layers");

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++)
		for (enum rig_keys keys = RIG_NUMBERS; keys <= RIG_MIXED; keys++) {
			struct rig_mix mix = { .keys = keys, .range = 2500, .del_percent = 30, .value_bytes_max = 200 };

			start(shape);
			rig_layers(&rig, &random, &mix, 4000);
			full_scans();
			for (unsigned i = 0; i < 200; i++)
				wander(&random, &mix);
			stop();
		}
}

/* The same walk is used on one root after the other, higher, lower and empty ones: nothing of the old may be left. */
Test(walk, sought_again_after_changes)
{
	struct rig_random random = rig_seed("walk/sought_again_after_changes");
	struct rig_mix mix = { .keys = RIG_WORDS, .range = 1500, .del_percent = 30, .value_bytes_max = 100 };

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape += 2) {
		start(shape);
		for (unsigned round = 0; round < 12; round++) {
			mix.del_percent = round % 4 == 3 ? 95 : 20;
			rig_change(&rig, &random, &mix, 700);
			if (round % 3 == 1)
				rig_write(&rig);
			for (unsigned i = 0; i < 20; i++)
				wander(&random, &mix);
		}
		while (rig.model.count)
			rig_del(&rig, rig.model.items[0]->key);
		full_scans();
		stop();
	}
}

/* Tombstones next to the place where a walk turns, at the ends of leaves, and a leaf of which little is left. */
Test(walk, turns_at_tombstones)
{
	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		uint8_t key[RIG_KEY_BYTES];

		start(shape);
		for (uint64_t i = 0; i < 600; i++)
			rig_put(&rig, rig_key(RIG_NUMBERS, 2 * i, key), slice("on disk", 7));
		rig_write(&rig);
		for (uint64_t i = 0; i < 600; i += 1 + i % 7)
			rig_del(&rig, rig_key(RIG_NUMBERS, 2 * i, key));
		for (uint64_t i = 0; i < 600; i += 1 + i % 11)
			rig_put(&rig, rig_key(RIG_NUMBERS, 2 * i + i % 2, key), slice("on the heap", 11));
		for (size_t from = 0; from <= rig.model.count; from++)
			for (unsigned turns = 0; turns < 4; turns++) {
				struct slf_slice at = from < rig.model.count ? rig.model.items[from]->key :
									       slice("\xff", 1);
				size_t place = from;

				rig_must(walk_seek(&walk, &rig.root, at) == 0);
				pass(turns & 1, &place);
				pass(turns & 2, &place);
				pass(!(turns & 2), &place);
				pass(!(turns & 1), &place);
			}
		full_scans();
		stop();
	}
}

/* Passes records until the end or a failure; every record must be a right one, in order. */
static int scan_damaged(bool forward)
{
	size_t place = forward ? 0 : rig.model.count;
	int result = forward ? walk_seek_first(&walk, &rig.root) : walk_seek_last(&walk, &rig.root);
	struct found found;

	while (result == 0) {
		const struct rig_item *item;

		result = forward ? walk_next(&walk, &found) : walk_prev(&walk, &found);
		if (result)
			break;
		rig_must(forward ? place < rig.model.count : place > 0);
		place = forward ? place + 1 : place - 1;
		item = rig.model.items[forward ? place - 1 : place];
		rig_must(slice_compare(found.record.key, item->key) == 0);
	}
	rig_must(result != SLF_END || place == (forward ? rig.model.count : 0));
	return result;
}

/* A damaged node would be walked over as if nothing were, or the walk would go on with what it had before. */
Test(walk, damaged_nodes)
{
	struct rig_random random = rig_seed("walk/damaged_nodes");
	struct rig_mix mix = { .keys = RIG_MIXED, .range = 2500, .del_percent = 30, .value_bytes_max = 60 };
	unsigned met = 0;

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		start(shape);
		rig_layers(&rig, &random, &mix, 3000);
		for (unsigned round = 0; round < 100; round++) {
			const struct rig_entry *entry = &rig.entries[rig_below(&random, rig.entry_count)];
			uint64_t at = entry->position + rig_below(&random, entry->length);
			uint8_t mask = (uint8_t)(1 + rig_below(&random, 255));
			bool forward = rig_random(&random) & 1;
			struct slf_errinfo info = { .size = sizeof(info) };
			struct found found;
			int result;

			rig_damage(&rig, at, mask);
			result = scan_damaged(forward);
			if (result != SLF_END) {
				met++;
				rig_must(result == SLF_ECORRUPT);
				error_get(&info);
				cr_assert_eq(info.code, SLF_ECORRUPT);
				cr_assert_eq(info.spindle, (int)position_spindle(entry->position));
				cr_assert_eq(info.offset, position_offset(entry->position));
				cr_assert_eq(walk_next(&walk, &found), SLF_ECORRUPT);
				cr_assert_eq(walk_prev(&walk, &found), SLF_ECORRUPT);
			} else {
				/* Only entries that the tree no longer leads to, and values, can be passed by. */
				rig_must(scan_damaged(!forward) == SLF_END);
			}
			rig_damage(&rig, at, mask);
		}
		full_scans();
		stop();
	}
	cr_assert_gt(met, 60);
}

/* Makes a root on the heap that leads from two neighbouring places to one branch. */
static void name_twice(uint32_t index)
{
	unsigned level = rig.root.height - 1;
	struct children children = { 0 };
	const struct node *root = NULL;
	struct block *block = NULL;
	struct lens lens = { 0 };
	size_t size = 0;

	rig_must(tree_node(&rig.store, RIG_TREE, level, rig.root.word, rig.root.hash, rig.root.length, &lens, &root) == 0);
	rig_must(node_branch_gather(root, &children) == 0 && index + 1 < children.count);
	children.items[index + 1].word = children.items[index].word;
	children.items[index + 1].hash = children.items[index].hash;
	children.items[index + 1].length = children.items[index].length;
	size = node_branch_bytes(children.items, children.count, 0);
	block = edit_alloc(&rig.edit, size, BLOCK_NODE);
	rig_must(block != NULL);
	node_branch_build(block_payload(block), size, RIG_TREE, level, slice(NULL, 0), children.items, children.count);
	rig.root.word = node_word(block_payload(block));
	children_release(&children);
	lens_release(&lens);
}

/* Branches that lead to one another again and again would be walked for years, though each node is good for itself. */
Test(walk, branch_named_twice)
{
	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		struct tree_root good;
		uint8_t key[RIG_KEY_BYTES];
		size_t passed = 0;
		struct found found;

		start(shape);
		for (uint64_t i = 0; rig.root.height < 3 || node_count(word_node(rig.root.word)) < 4; i++)
			rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice("value", 5));
		rig_write(&rig);
		good = rig.root;
		name_twice(1);
		rig_must(walk_seek_first(&walk, &rig.root) == 0);
		while (walk_next(&walk, &found) == 0)
			rig_must(slice_compare(found.record.key, rig.model.items[passed++]->key) == 0);
		cr_assert_eq(walk_next(&walk, &found), SLF_ECORRUPT);
		cr_assert(passed > 0 && passed < rig.model.count);
		rig_must(walk_seek_last(&walk, &rig.root) == 0);
		while (walk_prev(&walk, &found) == 0)
			;
		cr_assert_eq(walk_prev(&walk, &found), SLF_ECORRUPT);
		rig.root = good;
		stop();
	}
}

/* Makes a root on the heap that leads to the one leaf there is from so many places, each with its own separator. */
static void name_often(uint32_t count)
{
	struct child leaf = { .word = rig.root.word, .hash = rig.root.hash, .count = rig.root.count,
			      .length = rig.root.length };
	uint8_t *separators = malloc(4 * (size_t)count);
	struct children children = { 0 };
	struct block *block = NULL;
	size_t size = 0;

	rig_must(separators && rig.root.height == 1);
	for (uint32_t i = 0; i < count; i++) {
		put_be32(separators + 4 * (size_t)i, i);
		leaf.separator = slice(separators + 4 * (size_t)i, 4);
		rig_must(children_add(&children, &leaf) == 0);
	}
	size = node_branch_bytes(children.items, children.count, 0);
	block = edit_alloc(&rig.edit, size, BLOCK_NODE);
	rig_must(block != NULL);
	node_branch_build(block_payload(block), size, RIG_TREE, 1, slice(NULL, 0), children.items, children.count);
	rig.root.word = node_word(block_payload(block));
	rig.root.height = 2;
	children_release(&children);
	free(separators);
}

/* Scans both ways a branch that leads to the one leaf again and again. */
static void scan_named_often(void)
{
	struct tree_root good = rig.root;
	size_t passed, passed_max;
	struct found found;
	uint64_t bytes;

	rig_must(walk_seek_first(&walk, &rig.root) == 0);
	bytes = good.length + (walk.leaf.base ? node_length(walk.leaf.base) : 0);
	passed_max = (store_bytes(&rig.store) / bytes + 1) * rig.model.count;
	name_often(4000);
	rig_must(4000 * rig.model.count > 4 * passed_max);
	for (unsigned forward = 0; forward < 2; forward++) {
		int result = forward ? walk_seek_first(&walk, &rig.root) : walk_seek_last(&walk, &rig.root);

		for (passed = 0; !result; passed += !result)
			result = forward ? walk_next(&walk, &found) : walk_prev(&walk, &found);
		cr_assert_eq(result, SLF_ECORRUPT);
		cr_assert(passed > rig.model.count && passed <= passed_max, "%zu of %zu", passed, passed_max);
		cr_assert_eq(forward ? walk_next(&walk, &found) : walk_prev(&walk, &found), SLF_ECORRUPT);
	}
	rig.root = good;
}

/* The same of one branch alone, which leads to a leaf thousands of times: there is no step from branch to branch where it
 * could be seen. A delta, and an overlay, may be tiny where its base is not. */
Test(walk, leaf_named_often)
{
	static const struct rig_options options = { .map = true, .leaf_bytes = 32 * KIB, .branch_bytes = 4096,
						    .inline_bytes = 128 };
	uint8_t key[RIG_KEY_BYTES], value[100] = { 0 };

	rig_init(&rig, &options);
	walk_init(&walk, &rig.store, RIG_TREE);
	for (uint64_t i = 0; i < 200; i++)
		rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice(value, sizeof(value)));
	rig_write(&rig);
	scan_named_often();
	rig_put(&rig, rig_key(RIG_NUMBERS, 200, key), slice("of an overlay", 13));
	rig_must(word_is_heap(rig.root.word));
	scan_named_often();
	rig_write(&rig);
	rig_must(rig.root.length < KIB);
	scan_named_often();
	stop();
}

/* A walk that turns at the edge of a leaf as often as it likes would pass for one that is led in a circle. */
Test(walk, turns_without_end)
{
	const struct node *first;
	uint8_t key[RIG_KEY_BYTES];
	size_t place = 0;

	start(0);
	for (uint64_t i = 0; i < 100; i++)
		rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice("value", 5));
	rig_write(&rig);
	rig_must(walk_seek_first(&walk, &rig.root) == 0);
	first = walk.leaf.top;
	while (walk.leaf.top == first)
		pass(true, &place);
	for (uint64_t bytes = 0; bytes <= 2 * store_bytes(&rig.store); bytes += rig.entries[0].length)
		for (unsigned i = 0; i < 4; i++)
			pass(i >= 2, &place);
	stop();
}
