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

/* One branch that all children of the root are would be copied for each of them: some megabytes of file, and a log of small puts,
 * would take all the memory there is. */
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
	static const struct rig_options options = { .map = true, .leaf_bytes = 512, .branch_bytes = 4096, .inline_bytes = 64 };
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
