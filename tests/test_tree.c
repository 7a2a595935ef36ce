/* SPDX-License-Identifier: MIT */
/* Trees against a sorted array: fills, deletions, layers of disk and heap, epochs, undoing, failures at every place. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "fault_memory.h"
#include "tree_rig.h"

static struct tree_rig rig;

static const struct rig_options shapes[] = {
	{ .map = true, .leaf_bytes = 512, .branch_bytes = 512, .inline_bytes = 64 },
	{ .map = true, .leaf_bytes = 2048, .branch_bytes = 4096, .inline_bytes = 128 },
	{ .map = false, .leaf_bytes = 512, .branch_bytes = 4096, .inline_bytes = 16 },
	{ .map = false, .leaf_bytes = 2048, .branch_bytes = 512, .inline_bytes = 128 },
};

static void end(void)
{
	rig_release(&rig);
}

TestSuite(tree, .fini = end);

static void check(void)
{
	rig_check(&rig, &rig.root, &rig.model);
}

/* Everything that the tree held must be garbage when its last entry is gone: nothing else frees it. */
static void check_empty_heap(void)
{
	rig_must(rig.root.word == 0 && rig.root.height == 0 && rig.root.count == 0);
	rig_commit(&rig);
	rig_collect(&rig);
	cr_assert_eq(heap_used(rig.heap), rig.heap_start_bytes);
}

static void empty_tree(void)
{
	while (rig.model.count) {
		struct slf_slice key = rig.model.items[rig.model.count / 2]->key;

		rig_del(&rig, key);
	}
}

/* The smallest trees have no branches and no neighbours to be merged with. */
Test(tree, few_entries)
{
	struct tree_lenses lenses = { 0 };
	struct found found;

	rig_init(&rig, &shapes[0]);
	check();
	cr_assert_eq(tree_get(&rig.store, RIG_TREE, &rig.root, slice("a", 1), &lenses, &found), SLF_NOTFOUND);
	rig_del(&rig, slice("a", 1));
	rig_put(&rig, slice("", 0), slice("", 0));
	check();
	rig_put(&rig, slice("a", 1), slice("1", 1));
	rig_put(&rig, slice("a", 1), slice("2", 1));
	rig_del(&rig, slice("b", 1));
	check();
	rig_del(&rig, slice("", 0));
	check();
	rig_del(&rig, slice("a", 1));
	check();
	check_empty_heap();
	tree_lenses_release(&lenses);
}

/* A fill in key order takes the ways that append; it has to fill leaves, not to leave them half empty. */
Test(tree, fill_in_key_order)
{
	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		uint8_t key[RIG_KEY_BYTES], value[RIG_VALUE_BYTES];
		size_t bytes = 0, leaves = 0;

		rig_init(&rig, &shapes[shape]);
		for (uint64_t i = 0; i < 3000; i++) {
			rig_put(&rig, rig_key(RIG_NUMBERS, i, key), rig_value(i, 40, value));
			bytes += 8 + RECORD_HEADER_BYTES + 8;
			bytes += rig.model.items[i]->value.size > rig.store.settings.inline_bytes ?
					 VALUE_REF_BYTES :
					 rig.model.items[i]->value.size;
		}
		check();
		rig_write(&rig);
		check();
		for (size_t i = 0; i < rig.entry_count; i++)
			leaves += rig.entries[i].type == ENTRY_NODE && rig.entries[i].level == 0;
		cr_assert_lt(leaves, bytes * 5 / 4 / (rig.store.settings.leaf_bytes - NODE_HEADER_BYTES));
		empty_tree();
		check_empty_heap();
		if (shape + 1 < ARRAY_SIZE(shapes))
			rig_release(&rig);
	}
}

/* A fill from the right end to the left never appends. */
Test(tree, fill_in_reverse_order)
{
	uint8_t key[RIG_KEY_BYTES];

	rig_init(&rig, &shapes[0]);
	for (uint64_t i = 3000; i-- > 0;)
		rig_put(&rig, rig_key(RIG_WORDS, i, key), slice("v", 1));
	check();
	for (uint64_t i = 0; i < 3000; i++)
		rig_del(&rig, rig_key(RIG_WORDS, i, key));
	check_empty_heap();
}

static void random_changes(const struct rig_options *shape, enum rig_keys keys, struct rig_random *random)
{
	struct rig_mix mix = { .keys = keys, .range = 1500, .del_percent = 30, .value_bytes_max = 300 };

	rig_init(&rig, shape);
	for (unsigned round = 0; round < 4; round++) {
		rig_change(&rig, random, &mix, 1200);
		check();
		switch (rig_below(random, 3)) {
		case 0:
			rig_commit(&rig);
			break;
		case 1:
			rig_write(&rig);
			break;
		default:
			break;
		}
		check();
	}
	mix.del_percent = 90;
	rig_change(&rig, random, &mix, 1500);
	check();
	rig_commit(&rig);
	empty_tree();
	check_empty_heap();
}

/* Wrong splits, merges, folds and counts show as entries that are lost, doubled or resurrected. */
Test(tree, random_changes)
{
	struct rig_random random = rig_seed("tree/random_changes");

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++)
		for (enum rig_keys keys = RIG_NUMBERS; keys <= RIG_MIXED; keys++) {
			random_changes(&shapes[shape], keys, &random);
			if (shape + 1 < ARRAY_SIZE(shapes) || keys < RIG_MIXED)
				rig_release(&rig);
		}
}

/* Few changes between two writings leave deltas; many fold them. Both have to read the same, again and again. */
Test(tree, layers_of_deltas)
{
	struct rig_random random = rig_seed("tree/layers_of_deltas");
	struct rig_mix mix = { .keys = RIG_WORDS, .range = 2000, .del_percent = 25, .value_bytes_max = 60 };
	size_t deltas = 0, longest = 0;

	rig_init(&rig, &shapes[1]);
	rig_change(&rig, &random, &mix, 3000);
	for (unsigned round = 0; round < 12; round++) {
		rig_write(&rig);
		check();
		rig_change(&rig, &random, &mix, round % 3 ? 30 : 400);
		check();
		rig_collect(&rig);
		check();
	}
	for (size_t i = 0; i < rig.entry_count; i++)
		if (rig.entries[i].type == ENTRY_NODE && rig.entries[i].kind == NODE_DELTA) {
			deltas++;
			longest = u64_max(longest, rig.entries[i].length);
		}
	cr_assert_gt(deltas, 20);
	/* A fold is due at a quarter; half as much room again is made (grown_bytes), and what fits into it in place may still come. */
	cr_assert_lt(longest, shapes[1].leaf_bytes / 8 * 5, "%zu of %u", longest, shapes[1].leaf_bytes);
	empty_tree();
	check_empty_heap();
}

#define EPOCHS 12

/* A snapshot would see changes made after it if a node were changed that a later epoch does not own. */
Test(tree, older_roots_stay_as_they_are)
{
	struct rig_random random = rig_seed("tree/older_roots_stay_as_they_are");
	struct rig_mix mix = { .keys = RIG_MIXED, .range = 1200, .del_percent = 35, .value_bytes_max = 200 };

	for (size_t shape = 0; shape < 3; shape += 2) {
		struct tree_root roots[EPOCHS];
		struct rig_model models[EPOCHS] = { 0 };

		rig_init(&rig, &shapes[shape]);
		rig_change(&rig, &random, &mix, 1500);
		for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
			if (epoch % 4 == 1)
				rig_write(&rig);
			else
				rig_commit(&rig);
			roots[epoch] = rig.root;
			rig_model_copy(&models[epoch], &rig.model);
			rig_change(&rig, &random, &mix, epoch % 2 ? 200 : 10);
		}
		for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
			rig_check(&rig, &roots[epoch], &models[epoch]);
			rig_model_release(&models[epoch]);
		}
		check();
		if (shape == 0)
			rig_release(&rig);
	}
}

/* An aborted transaction would leak blocks, or leave the committed tree changed or its blocks marked as garbage. */
Test(tree, undo_leaves_nothing_behind)
{
	struct rig_random random = rig_seed("tree/undo_leaves_nothing_behind");
	struct rig_mix mix = { .keys = RIG_MIXED, .range = 1000, .del_percent = 40, .value_bytes_max = 300 };

	rig_init(&rig, &shapes[0]);
	for (unsigned round = 0; round < 12; round++) {
		uint64_t used;

		rig_change(&rig, &random, &mix, 300);
		if (round % 4 == 3)
			rig_write(&rig);
		rig_commit(&rig);
		used = heap_used(rig.heap);
		rig_change(&rig, &random, &mix, 1 + rig_below(&random, 500));
		rig_undo(&rig);
		cr_assert_eq(heap_used(rig.heap), used);
		check();
	}
	/* All of it: an edit that empties the tree and fills it again. */
	uint64_t used = heap_used(rig.heap);

	empty_tree();
	rig_change(&rig, &random, &mix, 100);
	rig_undo(&rig);
	cr_assert_eq(heap_used(rig.heap), used);
	check();
	empty_tree();
	check_empty_heap();
}

/* Keys and values of which one fills a leaf make leaves of one record and separators as long as a node. */
Test(tree, records_as_large_as_leaves)
{
	struct rig_random random = rig_seed("tree/records_as_large_as_leaves");
	uint8_t *key = calloc(1, KEY_BYTES_MAX);

	rig_must(key != NULL);
	rig_init(&rig, &shapes[0]);
	rig.store.settings.inline_bytes = 3000;
	for (unsigned i = 0; i < 400; i++) {
		uint8_t value[3000];
		size_t key_bytes = 4 + (size_t)rig_below(&random, i % 20 ? 700 : KEY_BYTES_MAX - 4);

		put_be32(key + key_bytes - 4, (uint32_t)rig_below(&random, 60));
		if (i % 3 == 2 && rig.model.count)
			rig_del(&rig, rig.model.items[rig_below(&random, rig.model.count)]->key);
		else
			rig_put(&rig, slice(key, key_bytes), rig_value(i, sizeof(value), value));
		memset(key + key_bytes - 4, 0, 4);
		if (i % 50 == 49) {
			rig_write(&rig);
			check();
		}
	}
	check();
	empty_tree();
	check_empty_heap();
	free(key);
}

/* Deleting from one end, or every other entry, merges leaves and lowers the root in ways that random deletes do not. */
Test(tree, deletes_in_patterns)
{
	uint8_t key[RIG_KEY_BYTES];

	for (unsigned pattern = 0; pattern < 8; pattern++) {
		rig_init(&rig, &shapes[pattern % 2 ? 0 : 3]);
		for (uint64_t i = 0; i < 2000; i++)
			rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice("value", 5));
		if (pattern >= 4)
			rig_write(&rig);
		for (uint64_t i = 0; i < 2000; i++) {
			uint64_t number = pattern % 4 == 0 ? i : pattern % 4 == 1 ? 1999 - i : i * 2 % 2000 + i / 1000;

			if (pattern % 4 == 3)
				number = i * 677 % 2000;
			rig_del(&rig, rig_key(RIG_NUMBERS, number, key));
			if (i % 400 == 399)
				check();
		}
		check_empty_heap();
		if (pattern < 7)
			rig_release(&rig);
	}
}

/* Where whole ranges go, branches are joined under separators that are not the fences of their children; where ranges
 * come, such children are split. */
Test(tree, ranges_come_and_go)
{
	struct rig_random random = rig_seed("tree/ranges_come_and_go");
	struct rig_options shape = { .map = true, .branch_bytes = 256, .inline_bytes = 64 };

	for (unsigned size = 0; size < 2; size++) {
		shape.leaf_bytes = size ? 600 : 256;
		rig_init(&rig, &shape);
		for (unsigned round = 0; round < 300; round++) {
			uint64_t first = rig_below(&random, 3000), count = 1 + rig_below(&random, round % 3 ? 300 : 30);
			bool put = rig_random(&random) & 1;
			uint8_t key[RIG_KEY_BYTES];

			for (uint64_t i = first; i < first + count; i++)
				if (put)
					rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice("some value", 10));
				else
					rig_del(&rig, rig_key(RIG_NUMBERS, i, key));
			if (round % 10 == 9)
				check();
			if (round % 25 == 24)
				rig_write(&rig);
		}
		empty_tree();
		check_empty_heap();
		if (!size)
			rig_release(&rig);
	}
}

/* Small leaves after deletes cost height and space until they are merged. */
Test(tree, sparse_leaves_are_merged)
{
	struct rig_random random = rig_seed("tree/sparse_leaves_are_merged");
	size_t leaves = 0;
	uint8_t key[RIG_KEY_BYTES];

	rig_init(&rig, &shapes[0]);
	for (uint64_t i = 0; i < 4000; i++)
		rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice("value", 5));
	for (uint64_t i = 0; i < 4000; i++)
		if (rig_below(&random, 20))
			rig_del(&rig, rig_key(RIG_NUMBERS, i, key));
	check();
	rig_write(&rig);
	for (size_t i = 0; i < rig.entry_count; i++)
		leaves += rig.entries[i].level == 0;
	/* 200 records of 25 bytes would fill some 12 leaves. */
	cr_assert_lt(leaves, 60);
	while (rig.model.count > 1)
		rig_del(&rig, rig.model.items[rig.model.count / 2]->key);
	cr_assert_eq(rig.root.height, 1);
	check();
}

/* Who looks for the reason of slow writes would be shown splits, joins or folds that were none, or not all of them. */
Test(tree, counted)
{
	const struct slf_stats *stats = &rig.stats.values;
	struct rig_options shape = { .map = true, .leaf_bytes = 2048, .branch_bytes = 256, .inline_bytes = 64 };
	uint64_t i = 0;
	uint8_t key[RIG_KEY_BYTES];

	rig_init(&rig, &shape);
	for (; i < 20; i++)
		rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice("some value", 10));
	cr_assert(!stats->tree_splits && !stats->tree_joins && !stats->tree_folds);
	rig_write(&rig);
	do {
		rig_put(&rig, rig_key(RIG_NUMBERS, i++ % 20, key), slice("other value", 11));
		cr_assert_eq(stats->tree_folds, node_kind(word_node(rig.root.word)) != NODE_DELTA);
	} while (!stats->tree_folds);
	rig_write(&rig);
	cr_assert_eq(rig.root.height, 1);
	for (i = 20; rig.root.height < 2; i++)
		rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice("some value", 10));
	cr_assert(stats->tree_splits == 1 && !stats->tree_joins);
	while (rig.root.height > 1)
		rig_del(&rig, rig.model.items[0]->key);
	cr_assert(stats->tree_splits == 1 && stats->tree_joins == 1);
	rig_release(&rig);
	rig_init(&rig, &shape);
	for (i = 0; i < 3000; i++)
		rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice("some value", 10));
	rig_write(&rig);
	cr_assert_gt(rig.root.height, 3); /* each level but the first began with a root over what was there */
	cr_assert_eq(rig.entry_count, stats->tree_splits + rig.root.height);
}

/* Damage that is met in the middle of a change must be told, and the undone edit must leave the tree as it was. */
Test(tree, damage_in_the_middle_of_an_edit)
{
	struct rig_random random = rig_seed("tree/damage_in_the_middle_of_an_edit");
	struct rig_mix mix = { .keys = RIG_NUMBERS, .range = 2000, .del_percent = 20, .value_bytes_max = 60 };
	unsigned met = 0;

	for (unsigned shape = 0; shape < 2; shape++) {
		rig_init(&rig, &shapes[shape ? 2 : 0]);
		rig_layers(&rig, &random, &mix, 3000);
		for (unsigned round = 0; round < 100; round++) {
			const struct rig_entry *entry = &rig.entries[rig_below(&random, rig.entry_count)];
			uint64_t at = entry->position + rig_below(&random, entry->length);
			uint64_t used = heap_used(rig.heap);
			struct record record = { .value = slice("other", 5), .kind = RECORD_INLINE };
			uint8_t key[RIG_KEY_BYTES];
			int result = 0;

			rig_damage(&rig, at, 0x10);
			for (unsigned i = 0; i < 400 && result >= 0; i++) {
				record.key = rig_key(RIG_NUMBERS, rig_below(&random, mix.range), key);
				if (i % 2)
					result = tree_put(&rig.edit, RIG_TREE, &rig.root, &record);
				else
					result = tree_del(&rig.edit, RIG_TREE, &rig.root, record.key);
			}
			cr_assert(result >= 0 || result == SLF_ECORRUPT);
			met += result < 0;
			rig_undo(&rig);
			cr_assert_eq(heap_used(rig.heap), used);
			rig_damage(&rig, at, 0x10);
			check();
		}
		if (!shape)
			rig_release(&rig);
	}
	cr_assert_gt(met, 10);
}

/* What one large leaf or branch has needed would be kept by every handle. */
Test(tree, scratch_stays_small)
{
	static const struct rig_options large[] = {
		{ .map = true, .leaf_bytes = 32768, .branch_bytes = 512, .inline_bytes = 64 },
		{ .map = true, .leaf_bytes = 256, .branch_bytes = 32768, .inline_bytes = 64 },
	};
	uint8_t key[RIG_KEY_BYTES];

	for (size_t shape = 0; shape < ARRAY_SIZE(large); shape++) {
		rig_init(&rig, &large[shape]);
		for (uint64_t i = 6000; i-- > 0;)
			rig_put(&rig, rig_key(RIG_NUMBERS, i, key), slice("v", 1));
		cr_assert_gt(u64_max(rig.edit.records.capacity, rig.edit.children.capacity), 256);
		edit_rest(&rig.edit);
		cr_assert_leq(u64_max(rig.edit.records.capacity, rig.edit.children.capacity), 256);
		check();
		if (!shape)
			rig_release(&rig);
	}
}

/* ---- Failures ---------------------------------------------------------------------------------------------------- */

/* One change, with all scratch to be allocated anew, in which the nth allocation or read fails. Tells whether it came to that. */
static int change_failing(const struct record *record, bool put, uint64_t nth, bool *failed)
{
	uint64_t count = 0;
	int result = 0;

	edit_release(&rig.edit);
	fault_memory_arm(nth, false);
	if (put)
		result = tree_put(&rig.edit, RIG_TREE, &rig.root, record);
	else
		result = tree_del(&rig.edit, RIG_TREE, &rig.root, record->key);
	fault_memory_disarm(&count);
	*failed = count != 0;
	return result;
}

/* Lets a change fail at every place, undoes it each time, and makes it at last. How often it failed. */
static unsigned suffer(uint64_t number, bool put, size_t value_bytes_max)
{
	uint8_t key[RIG_KEY_BYTES], value[RIG_VALUE_BYTES];
	struct record record = { .key = rig_key(RIG_NUMBERS, number, key), .value = slice("other", 5), .kind = RECORD_INLINE };
	uint64_t used = heap_used(rig.heap);
	unsigned failures = 0;
	bool failed = true;

	for (uint64_t nth = 1; failed; nth++) {
		int result = change_failing(&record, put, nth, &failed);

		rig_must(result >= 0 || (failed && (result == -ENOMEM || result == -EIO)));
		failures += result < 0;
		rig_undo(&rig);
		rig_must(heap_used(rig.heap) == used);
	}
	if (put)
		rig_put(&rig, record.key, rig_value(number * 7, value_bytes_max, value));
	else
		rig_del(&rig, record.key);
	rig_commit(&rig);
	rig_collect(&rig);
	return failures;
}

#define SUFFERERS 900u /* keys */

/* A change in whose middle memory runs out, or a read fails, would be told as done, leave blocks behind, or leave the tree in
 * between: wherever it happens, in splits, joins, folds and when the root comes and goes. */
Test(tree, every_failure_of_a_change, .timeout = 300)
{
	static const struct rig_options small[] = {
		{ .map = false, .leaf_bytes = 256, .branch_bytes = 256, .inline_bytes = 24 },
		{ .map = false, .leaf_bytes = 512, .branch_bytes = 1024, .inline_bytes = 64 },
		{ .map = true, .leaf_bytes = 512, .branch_bytes = 256, .inline_bytes = 24 },
	};
	struct rig_random random = rig_seed("tree/every_failure_of_a_change");
	struct rig_mix mix = { .keys = RIG_NUMBERS, .range = SUFFERERS, .del_percent = 10, .value_bytes_max = 60 };
	uint8_t key[RIG_KEY_BYTES];
	unsigned failures = 0;

	for (size_t shape = 0; shape < ARRAY_SIZE(small); shape++) {
		rig_init(&rig, &small[shape]);
		rig_layers(&rig, &random, &mix, 2 * SUFFERERS);
		for (unsigned i = 0; i < 200; i++) {
			failures += suffer(rig_below(&random, SUFFERERS), rig_below(&random, 3), 60);
			if (i % 50 == 49) {
				rig_write(&rig);
				check();
			}
		}
		/* the first child of a branch is split, that has no room for it */
		for (uint64_t number = 0; number < SUFFERERS / 4; number++)
			rig_del(&rig, rig_key(RIG_NUMBERS, number, key));
		rig_write(&rig);
		for (uint64_t number = SUFFERERS / 4; number-- > 0;)
			failures += suffer(number, true, 60);
		/* ranges go, and what is joined stands on disk, on the heap, or half and half */
		for (uint64_t number = 0; number < SUFFERERS; number++) {
			uint64_t at = shape == 1 ? SUFFERERS - 1 - number : number;

			failures += suffer(at, false, 0);
			if (number % 100 == 99)
				rig_write(&rig);
			if (number % 60 == 59)
				check();
		}
		failures += suffer(1, true, 60);
		check();
		rig_release(&rig);
	}
	rig_init(&rig, &small[0]);
	cr_assert_gt(failures, 10000);
}

/* The same where branches of many children are joined, for which the lists that gather them have to grow. */
Test(tree, every_failure_of_joining_large_branches, .timeout = 300)
{
	const struct rig_options wide = { .map = false, .leaf_bytes = 256, .branch_bytes = 4096, .inline_bytes = 24 };
	uint8_t key[RIG_KEY_BYTES];
	unsigned failures = 0;

	rig_init(&rig, &wide);
	for (uint64_t number = 0; number < 4000; number++)
		rig_put(&rig, rig_key(RIG_NUMBERS, number, key), slice("value", 5));
	rig_write(&rig);
	for (uint64_t number = 0; number < 4000; number++) {
		rig_del(&rig, rig_key(RIG_NUMBERS, number, key));
		if (number % 8 == 6) { /* what is undone begins behind the last commit */
			rig_commit(&rig);
			rig_collect(&rig);
			failures += suffer(++number, false, 0);
		}
		if (number % 500 == 499)
			check();
	}
	check_empty_heap();
	cr_assert_gt(failures, 2000);
}

/* ---- Forged trees ------------------------------------------------------------------------------------------------ */

#define LONG_KEY_BYTES 60000

static struct slf_slice long_key(uint8_t *key, char first, unsigned number)
{
	memset(key, first, LONG_KEY_BYTES);
	key[LONG_KEY_BYTES - 1] = (uint8_t)number;
	return slice(key, LONG_KEY_BYTES);
}

/* Nodes larger than the settings of their file allow, which a forger can make: there were at most so many pieces, and what was
 * left over became a node larger than any can be. */
Test(tree, nodes_larger_than_the_settings)
{
	for (unsigned branches = 0; branches < 2; branches++) {
		struct rig_options options = { .map = true, .leaf_bytes = 1000000, .branch_bytes = 4096, .inline_bytes = 128 };
		static uint8_t key[LONG_KEY_BYTES];

		if (branches) {
			options.leaf_bytes = 256;
			options.branch_bytes = 1000000;
		}
		rig_init(&rig, &options);
		memset(key, 'a', 100);
		for (unsigned i = 0; i < 6500; i++)
			rig_put(&rig, slice(key, 100 + (size_t)snprintf((char *)key + 100, 16, "%06u", i)),
				slice(key, branches ? 100 : 20));
		rig_write(&rig);
		rig.store.settings.leaf_bytes = 256;
		rig.store.settings.branch_bytes = 256;
		for (unsigned i = 0; i < 8; i++)
			rig_put(&rig, long_key(key, 'b', i), slice("", 0));
		rig_write(&rig);
		check();
		rig_release(&rig);
	}
	rig_init(&rig, &shapes[0]);
}

/* A tree of all levels that there can be, whose branches are full: it would grow by one more. */
Test(tree, all_levels)
{
	struct child children[5] = { 0 };
	uint8_t separators[5][200];
	int result = 0;

	rig_init(&rig, &shapes[0]);
	rig_put(&rig, slice("", 0), slice("", 0));
	for (unsigned level = 1; level < NODE_LEVELS_MAX; level++) {
		struct block *block;
		size_t bytes;

		for (size_t i = 0; i < ARRAY_SIZE(children); i++) {
			memset(separators[i], 'b' + (int)level, sizeof(separators[i])); /* above those of the levels below */
			separators[i][1] = (uint8_t)i;
			children[i] = (struct child){ .word = rig.root.word, .count = 1,
						      .separator = slice(separators[i], sizeof(separators[i])) };
		}
		bytes = node_branch_bytes(children, ARRAY_SIZE(children), 0);
		block = edit_alloc(&rig.edit, bytes, BLOCK_NODE);
		rig_must(block != NULL);
		node_branch_build(block_payload(block), bytes, RIG_TREE, level, slice("", 0), children, ARRAY_SIZE(children));
		rig.root.word = node_word(block_payload(block));
		rig.root.height = level + 1;
	}
	for (unsigned i = 0; i < 100 && !result; i++) {
		uint8_t key[2] = { 'a', (uint8_t)i };
		struct record record = { .key = slice(key, 2), .value = slice(separators, 60), .kind = RECORD_INLINE };

		result = tree_put(&rig.edit, RIG_TREE, &rig.root, &record);
	}
	cr_assert_eq(result, SLF_ECORRUPT);
	rig_undo(&rig);
	check();
}
