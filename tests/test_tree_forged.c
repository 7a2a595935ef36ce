/* SPDX-License-Identifier: MIT */
/* Trees whose nodes are each good for themselves, sealed by somebody who lets them lead to one another as he likes. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "error.h"
#include "tree_rig.h"

static struct tree_rig rig;

static void end(void)
{
	rig_release(&rig);
}

TestSuite(tree_forged, .fini = end);

static struct slf_slice text(const char *string)
{
	return slice(string, strlen(string));
}

static struct child store_image(struct node *image, size_t size)
{
	uint64_t position = rig_place(&rig, size);
	struct child child;

	node_seal(image, rig.store.seed, position);
	rig_store(&rig, position, image, size);
	child = (struct child){ .word = position, .hash = node_hash(image), .count = node_entries(image),
				.length = (uint32_t)size };
	free(image);
	return child;
}

static struct child disk_leaf(struct slf_slice fence, const struct record *records, size_t count)
{
	size_t size = node_leaf_bytes(records, count, count, fence.size, false);
	struct node *image = malloc(size);

	rig_must(image != NULL);
	node_leaf_build(image, size, RIG_TREE, fence, NULL, records, count, count, (uint32_t)count);
	return store_image(image, size);
}

/* The separators stand in the children. */
static struct child disk_branch(unsigned level, const struct child *children, size_t count)
{
	size_t size = node_branch_bytes(children, count, 0);
	struct node *image = malloc(size);

	rig_must(image != NULL);
	node_branch_build(image, size, RIG_TREE, level, slice("", 0), children, count);
	return store_image(image, size);
}

/* A branch that leads `count` times to the same node, each time with another number as the separator. */
static struct child disk_repeat(unsigned level, struct child same, uint32_t count)
{
	struct child *children = calloc(count, sizeof(*children));
	uint8_t *separators = malloc(4 * (size_t)count);
	struct child branch;

	rig_must(children && separators);
	for (uint32_t i = 0; i < count; i++) {
		put_be32(separators + 4 * (size_t)i, i);
		children[i] = same;
		children[i].separator = slice(separators + 4 * (size_t)i, 4);
	}
	branch = disk_branch(level, children, count);
	free(children);
	free(separators);
	return branch;
}

static void plant(const struct child *top, uint32_t height)
{
	rig.root = (struct tree_root){ .word = top->word, .hash = top->hash, .count = top->count, .length = top->length,
				       .height = height };
	rig_commit(&rig);
}

static int put(struct slf_slice key, struct slf_slice value)
{
	struct record record = { .key = key, .value = value, .kind = RECORD_INLINE };

	return tree_put(&rig.edit, RIG_TREE, &rig.root, &record);
}

/* A refusal, for which nothing of the edit has to be kept. */
static void must_refuse(int result, const char *what)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	cr_assert_eq(result, SLF_ECORRUPT, "%d", result);
	error_get(&info);
	cr_assert(strstr(info.text, what), "%s", info.text);
	rig_undo(&rig);
	cr_assert_eq(heap_used(rig.heap), rig.heap_start_bytes);
}

/* ---- Nodes that are named more than once ------------------------------------------------------------------------- */

#define NAMES 200

/* Puts one record below each name of a node. What the heap holds in the end must not be much more than the files have. */
static void put_below_each_name(void)
{
	uint64_t most = store_bytes(&rig.store);
	uint8_t key[5] = { 0 };
	int result = 0;

	for (unsigned round = 0; round < 2; round++) { /* after the undoing all is as before */
		uint32_t i = 0;

		for (result = 0; i < NAMES && !result; i++) {
			put_be32(key, i);
			result = put(slice(key, sizeof(key)), slice("v", 1));
		}
		rig_must(i > 2);
		cr_assert_lt(heap_used(rig.heap), 2 * most);
		must_refuse(result, "named more than once");
	}
}

/* One branch that all children of the root are would be copied for each of them: some megabytes of file, and a log of small
 * puts, would take all the memory there is. */
Test(tree_forged, branch_named_by_all)
{
	for (unsigned map = 0; map < 2; map++) {
		struct rig_options options = { .map = map, .leaf_bytes = 512, .branch_bytes = 4096, .inline_bytes = 64 };
		struct record record = { .key = slice("", 0), .value = slice("v", 1), .kind = RECORD_INLINE };
		struct child top;

		rig_init(&rig, &options);
		top = disk_leaf(slice("", 0), &record, 1);
		top = disk_repeat(1, top, 4000);
		rig_must(top.length > 128 * KIB);
		top = disk_repeat(2, top, NAMES);
		plant(&top, 3);
		put_below_each_name();
		if (!map)
			rig_release(&rig);
	}
}

/* The same of a leaf, of which an overlay copies the fence, and of a delta, which is folded with what lies under it. */
Test(tree_forged, leaf_named_by_all)
{
	static const struct rig_options options = { .map = true, .leaf_bytes = 100000, .branch_bytes = 4096,
						    .inline_bytes = 64 };
	static uint8_t fence[65000];

	for (unsigned delta = 0; delta < 2; delta++) {
		struct record records[] = { { .key = slice(fence, sizeof(fence)), .kind = RECORD_INLINE },
					    { .key = slice("k", 1), .value = slice("v", 1), .kind = RECORD_INLINE } };
		struct child top;

		rig_init(&rig, &options);
		if (delta) {
			struct delta_base base = { .count = 1 };
			struct node *image;
			size_t size = node_leaf_bytes(records, 1, 1, 0, true);

			top = disk_leaf(slice("", 0), &records[1], 1);
			base.position = top.word;
			base.hash = top.hash;
			base.length = top.length;
			image = malloc(size);
			rig_must(image != NULL);
			node_leaf_build(image, size, RIG_TREE, slice("", 0), &base, records, 1, 1, 2);
			top = store_image(image, size);
		} else {
			records[0].value = slice(fence, 60);
			top = disk_leaf(slice(fence, sizeof(fence)), records, 2);
		}
		top = disk_repeat(1, top, NAMES);
		plant(&top, 2);
		put_below_each_name();
		if (!delta)
			rig_release(&rig);
	}
}

/* A leaf of two records, whose keys are the letter and a number. */
static struct child letter_leaf(char letter)
{
	char keys[2][2] = { { letter, '1' }, { letter, '2' } };
	struct record records[] = { { .key = slice(keys[0], 2), .value = slice("v", 1), .kind = RECORD_INLINE },
				    { .key = slice(keys[1], 2), .value = slice("v", 1), .kind = RECORD_INLINE } };

	return disk_leaf(slice(keys[0], 1), records, 2);
}

/* What joins copy would not count, or what they only look at would: the second makes honest files that are full to the brim
 * refused. A record goes from the first or the last of four leaves, which is joined with its neighbour, and then their branch
 * with the other one. */
Test(tree_forged, joins_count)
{
	static const struct rig_options options = { .map = true, .leaf_bytes = 2048, .branch_bytes = 4096, .inline_bytes = 64 };

	for (unsigned last = 0; last < 2; last++) {
		struct child leaves[4], branches[2], top;
		uint64_t all;

		rig_init(&rig, &options);
		for (unsigned i = 0; i < 4; i++) {
			leaves[i] = letter_leaf((char)('a' + i));
			leaves[i].separator = slice("abcd" + i, 1);
		}
		for (unsigned i = 0; i < 2; i++) {
			branches[i] = disk_branch(1, &leaves[2 * i], 2);
			branches[i].separator = slice("ac" + i, 1);
		}
		top = disk_branch(2, branches, 2);
		plant(&top, 3);
		all = (uint64_t)top.length + branches[0].length + branches[1].length + leaves[2 * last].length +
		      leaves[2 * last + 1].length;
		for (uint64_t left = 0; left < all; left++) {
			rig.edit.charged_bytes = store_bytes(&rig.store) - left;
			must_refuse(tree_del(&rig.edit, RIG_TREE, &rig.root, text(last ? "d1" : "a1")),
				    "named more than once");
		}
		rig.edit.charged_bytes = store_bytes(&rig.store) - all;
		rig.stats.values.tree_joins = 0;
		cr_assert_eq(tree_del(&rig.edit, RIG_TREE, &rig.root, text(last ? "d1" : "a1")), 0);
		cr_assert_eq(rig.stats.values.tree_joins, 2);
		cr_assert_eq(rig.root.height, 2);
		cr_assert_eq(rig.root.count, 7);
		if (!last)
			rig_release(&rig);
	}
}

/* ---- Keys of another range --------------------------------------------------------------------------------------- */

#define LETTERS_KEY 70

/* A record for each letter, with so much behind the letter that few of them fill a leaf. */
static size_t letter_records(const char *letters, struct record *records)
{
	static uint8_t keys[26][LETTERS_KEY];
	size_t count = strlen(letters);

	for (size_t i = 0; i < count; i++) {
		uint8_t *key = keys[letters[i] - 'a'];

		memset(key, letters[i], LETTERS_KEY);
		records[i] = (struct record){ .key = slice(key, LETTERS_KEY), .value = slice("v", 1), .kind = RECORD_INLINE };
	}
	return count;
}

/* Leaves with the records of these letters, each reached by its separator. */
static void letter_leaves(const char *const *letters, const char *separators, struct child *leaves)
{
	for (size_t i = 0; letters[i]; i++) {
		struct record records[26];
		size_t count = letter_records(letters[i], records);

		leaves[i] = disk_leaf(slice("", 0), records, count);
		leaves[i].separator = slice(separators + i, 1);
	}
}

static int delete_letter(char letter)
{
	char string[] = { letter, 0 };
	struct record record;

	letter_records(string, &record);
	return tree_del(&rig.edit, RIG_TREE, &rig.root, record.key);
}

/* Each leaf is in order, both together are not: joined they were a leaf in which a search finds nothing, or where they were cut
 * again bytes behind a key were taken for its separator. */
Test(tree_forged, leaves_joined_out_of_order)
{
	static const struct {
		const char *leaves[3];
		char deleted;
		int result;
	} pairs[] = {
		{ { "abe", "mxz" }, 'z', 0 },
		{ { "abm", "mxz" }, 'z', SLF_ECORRUPT },
		{ { "abn", "mxz" }, 'z', SLF_ECORRUPT },
		{ { "abn", "mxz" }, 'a', SLF_ECORRUPT },
		{ { "abz", "amz" }, 'm', SLF_ECORRUPT },
	};
	static const struct rig_options options = { .map = true, .leaf_bytes = 2048, .branch_bytes = 4096, .inline_bytes = 64 };

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct child leaves[2], top;
		int result;

		rig_init(&rig, &options);
		letter_leaves(pairs[i].leaves, "am", leaves);
		top = disk_branch(1, leaves, 2);
		plant(&top, 2);
		result = delete_letter(pairs[i].deleted);
		if (pairs[i].result)
			must_refuse(result, "do not follow those of its neighbour");
		else
			cr_assert_eq(result, 0);
		if (i + 1 < ARRAY_SIZE(pairs))
			rig_release(&rig);
	}
}

#define HIDDEN 12

/* A delta over small records of one letter, which says that almost nothing is left of them. The key that it does not hide
 * is so long that it fills a leaf; it stands in front of them, or behind. */
static struct child hiding_delta(char letter, struct slf_slice hidden, bool in_front, uint32_t live)
{
	struct record all[HIDDEN + 1], *own = in_front ? &all[1] : all;
	size_t size;
	struct node *image;
	struct child under;
	char keys[HIDDEN][4];

	for (unsigned i = 0; i < HIDDEN; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%c%02u", letter, i);
		own[i] = (struct record){ .key = slice(keys[i], 3), .value = slice("v", 1), .kind = RECORD_INLINE };
	}
	all[in_front ? 0 : HIDDEN] = (struct record){ .key = hidden, .value = slice("v", 1), .kind = RECORD_INLINE };
	under = disk_leaf(slice("", 0), all, HIDDEN + 1);
	size = node_leaf_bytes(own, HIDDEN, HIDDEN, 0, true);
	image = malloc(size);
	rig_must(image != NULL);
	node_leaf_build(image, size, RIG_TREE, slice("", 0),
			&(struct delta_base){ under.word, under.hash, under.length, HIDDEN + 1 }, own, HIDDEN, HIDDEN,
			live);
	return store_image(image, size);
}

/* The same of deltas. What comes together is cut where they meet, at a key that both have: bytes behind it were taken for the
 * separator. */
Test(tree_forged, deltas_joined_out_of_order)
{
	static const struct rig_options options = { .map = true, .leaf_bytes = 32768, .branch_bytes = 4096,
						    .inline_bytes = 64 };
	static uint8_t both[60000];
	struct child leaves[2], top;

	memset(both, 'k', sizeof(both));
	rig_init(&rig, &options);
	leaves[0] = hiding_delta('a', slice(both, sizeof(both)), false, 1);
	leaves[1] = hiding_delta('z', slice(both, sizeof(both)), true, 2);
	leaves[1].separator = slice("z", 1);
	top = disk_branch(1, leaves, 2);
	plant(&top, 2);
	must_refuse(tree_del(&rig.edit, RIG_TREE, &rig.root, text("z05")), "do not follow those of its neighbour");
}

/* A delta deletes all that it lies on and says that something is left. Joined with its neighbour it brings no key that could be
 * compared: one before the first or behind the last would be read. */
Test(tree_forged, joined_with_nothing)
{
	static const struct rig_options options = { .map = true, .leaf_bytes = 2048, .branch_bytes = 4096, .inline_bytes = 64 };

	for (unsigned side = 0; side < 2; side++) {
		struct record records[] = { { .key = slice(side ? "z" : "a", 1), .kind = RECORD_INLINE } };
		size_t size = node_leaf_bytes(records, 1, 1, 0, true);
		struct node *image = malloc(size);
		struct child leaves[2], top;

		rig_must(image != NULL);
		rig_init(&rig, &options);
		leaves[side] = disk_leaf(slice("", 0), records, 1);
		records[0].kind = RECORD_TOMB;
		node_leaf_build(image, size, RIG_TREE, slice("", 0),
				&(struct delta_base){ leaves[side].word, leaves[side].hash, leaves[side].length, 1 }, records, 1, 1, 1);
		leaves[side] = store_image(image, size);
		leaves[!side] = letter_leaf('m');
		leaves[1].separator = slice(side ? "z" : "b", 1);
		top = disk_branch(1, leaves, 2);
		plant(&top, 2);
		cr_assert_eq(tree_del(&rig.edit, RIG_TREE, &rig.root, text("m1")), 0);
		cr_assert_eq(rig.stats.values.tree_joins, 1);
		if (!side)
			rig_release(&rig);
	}
}

/* A leaf has keys for which another one is searched. Where it is split they became separators out of order, among which a
 * search goes astray beyond the end of the branch. */
Test(tree_forged, leaves_split_out_of_range)
{
	static const struct {
		const char *leaves[4];
		const char *put;
		int result;
	} trees[] = {
		{ { "ab", "mnopq", "z" }, "rst", 0 },
		{ { "ab", "mnopqz", "z" }, "rst", 0 }, /* not yet where it is split */
		{ { "ab", "muvwxyz", "z" }, "rst", SLF_ECORRUPT },
		{ { "ab", "bcdefgm", "z" }, "rst", SLF_ECORRUPT },
		{ { "mnopqrs", "x", "z" }, "bcd", SLF_ECORRUPT },
		{ { "a", "n", "bcdefghi" }, "vwxyz", SLF_ECORRUPT },
		{ { "a", "n", "vwxyz" }, "bcdefghi", 0 },
	};
	static const struct rig_options options = { .map = true, .leaf_bytes = 700, .branch_bytes = 4096, .inline_bytes = 64 };

	for (size_t i = 0; i < ARRAY_SIZE(trees); i++) {
		struct child leaves[3], top;
		struct record records[26];
		size_t count;
		int result = 0;

		rig_init(&rig, &options);
		letter_leaves(trees[i].leaves, "amu", leaves);
		top = disk_branch(1, leaves, 3);
		plant(&top, 2);
		count = letter_records(trees[i].put, records);
		for (size_t j = 0; j < count && !result; j++)
			result = put(records[j].key, records[j].value);
		if (trees[i].result)
			must_refuse(result, "not those that its branch leads to");
		else
			cr_assert_eq(result, 0, "%zu", i);
		if (i + 1 < ARRAY_SIZE(trees))
			rig_release(&rig);
	}
}

/* Two branches whose leaves have two letters each; the first letter of a leaf is its separator. `between` is that of the
 * second. */
static void plant_branches(const char *const *left, const char *const *right, char between)
{
	struct child leaves[2][5], branches[2], top;
	const char *const *sides[] = { left, right };

	for (unsigned side = 0; side < 2; side++) {
		char separators[5] = { 0 };
		size_t count = 0;

		for (; sides[side][count]; count++)
			separators[count] = sides[side][count][0];
		letter_leaves(sides[side], separators, leaves[side]);
		branches[side] = disk_branch(1, leaves[side], count);
	}
	branches[1].separator = slice(&between, 1);
	top = disk_branch(2, branches, 2);
	plant(&top, 3);
}

/* A branch of one range stands in the place of another. Joined with its neighbour it was a branch out of order, as above. */
Test(tree_forged, branches_joined_out_of_order)
{
	static const struct {
		const char *left[5], *right[5];
		char between, deleted[3];
		int result;
	} trees[] = {
		{ { "ab", "cd" }, { "mn", "op" }, 'm', "ab", 0 },
		{ { "ab", "cd" }, { "mn", "op" }, 'm', "mn", 0 },
		{ { "ab", "cd", "pq" }, { "mn", "op" }, 'm', "ab", SLF_ECORRUPT },
		{ { "ab", "cd", "mq" }, { "mn", "op" }, 'm', "ab", SLF_ECORRUPT },
		{ { "ab", "cd" }, { "mn", "fg", "uv" }, 'm', "ab", SLF_ECORRUPT },
		{ { "ab", "cd" }, { "mn", "op", "uv" }, 'o', "ab", SLF_ECORRUPT },
		{ { "ab", "pq" }, { "mn", "op", "uv" }, 'm', "uv", SLF_ECORRUPT },
		{ { "ab", "cd" }, { "mn", "fg", "uv" }, 'm', "uv", SLF_ECORRUPT },
		{ { "ab", "cd", "fg", "pq" }, { "mn", "uv" }, 'm', "uv", SLF_ECORRUPT },
	};
	/* a leaf of one record is not joined: its branch becomes small when it is empty */
	static const struct rig_options options = { .map = true, .leaf_bytes = 256, .branch_bytes = 4096, .inline_bytes = 64 };

	for (size_t i = 0; i < ARRAY_SIZE(trees); i++) {
		int result = 0;

		rig_init(&rig, &options);
		plant_branches(trees[i].left, trees[i].right, trees[i].between);
		for (const char *letter = trees[i].deleted; *letter && !result; letter++)
			result = delete_letter(*letter);
		if (trees[i].result)
			must_refuse(result, "separators of a branch do not follow");
		else
			cr_assert(result == 0 && rig.stats.values.tree_joins > 0, "%zu", i);
		if (i + 1 < ARRAY_SIZE(trees))
			rig_release(&rig);
	}
}

/* ---- Trees that are as they should be ---------------------------------------------------------------------------- */

/* A delta and what lies under it would count again when they are folded, and honest files that are full to the brim be
 * refused; or the lower one not at all, which a forger could lay under as many deltas as he likes. */
Test(tree_forged, deltas_count_once)
{
	static const struct rig_options options = { .map = true, .leaf_bytes = 2048, .branch_bytes = 4096, .inline_bytes = 64 };
	static uint8_t hidden[1000];
	struct child leaves[2], top;
	uint64_t folds, counted;
	uint8_t key[2] = "b";

	memset(hidden, 'k', sizeof(hidden));
	rig_init(&rig, &options);
	leaves[0] = hiding_delta('a', slice(hidden, sizeof(hidden)), false, HIDDEN + 1);
	leaves[1] = letter_leaf('z');
	leaves[1].separator = slice("z", 1);
	top = disk_branch(1, leaves, 2);
	plant(&top, 2);
	counted = (uint64_t)top.length + rig.entries[0].length + rig.entries[1].length;
	folds = rig.stats.values.tree_folds;
	for (uint8_t i = 0; i < 60; i++) {
		key[1] = i;
		cr_assert_eq(put(slice(key, 2), slice("v", 1)), 0);
		cr_assert_eq(rig.edit.charged_bytes, counted);
	}
	cr_assert_eq(rig.stats.values.tree_folds, folds + 1);
}
