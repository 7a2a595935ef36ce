/* SPDX-License-Identifier: MIT */
/* Branches: search, children, building and cutting, against a plain array of separators. */
#include <criterion/criterion.h>

#include "node_keys.h"

#define CHILDREN_MAX 200

struct model {
	struct child items[CHILDREN_MAX];
	size_t count;
};

/* Random children with ascending separators, none of them empty; the first one's is not looked at. */
static void model_fill(struct model *model, struct source *source, enum key_style style, size_t tries)
{
	model->count = 1;
	model->items[0] = (struct child){ .word = 64, .length = 64, .separator = source_bytes(source, 3) };
	for (size_t i = 0; i < tries; i++) {
		struct slf_slice key = source_key(source, style);
		size_t index = 1;

		while (index < model->count && slice_compare(model->items[index].separator, key) < 0)
			index++;
		if (!key.size || (index < model->count && !slice_compare(model->items[index].separator, key)))
			continue;
		memmove(&model->items[index + 1], &model->items[index],
			(model->count - index) * sizeof(model->items[0]));
		model->items[index] = (struct child){ .word = 64 * (1 + source_next(source) % 1000),
						      .hash = source_next(source),
						      .count = source_next(source) % 5000,
						      .length = 64 + (uint32_t)source_below(source, 4000),
						      .separator = key };
		model->count++;
	}
}

static struct node *model_build(const struct model *model, struct source *source)
{
	struct slf_slice fence = source_key(source, KEYS_TINY);
	size_t size = node_branch_bytes(model->items, model->count, fence.size);
	struct node *branch = source_alloc(source, size);

	memset(branch, 0xEE, size);
	node_branch_build(branch, size, 7, 3, fence, model->items, model->count);
	cr_assert_eq(node_length(branch), size);
	cr_assert_eq(node_level(branch), 3);
	cr_assert_eq(node_tree(branch), 7);
	cr_assert_eq(node_kind(branch), NODE_BRANCH);
	cr_assert_eq(slice_compare(node_fence(branch), fence), 0);
	return branch;
}

static void find_must_agree(const struct node *branch, const struct model *model, struct slf_slice key)
{
	size_t expected = 0;
	uint32_t index = node_branch_find(branch, key);

	while (expected + 1 < model->count && slice_compare(model->items[expected + 1].separator, key) <= 0)
		expected++;
	cr_assert_eq(index, expected, "child %u instead of %zu of %zu", index, expected, model->count);
}

static void child_must_equal(const struct child *a, const struct child *b, bool first)
{
	cr_assert_eq(a->word, b->word);
	cr_assert_eq(a->hash, b->hash);
	cr_assert_eq(a->count, b->count);
	cr_assert_eq(a->length, b->length);
	cr_assert_eq(first ? a->separator.size : (size_t)slice_compare(a->separator, b->separator), 0);
}

/* A key sent to the wrong child is a key that is not there. */
Test(node_branch, find_agrees_with_a_sorted_array)
{
	static const size_t tries[] = { 0, 1, 2, 3, 4, 30, 90, 150 };

	for (unsigned style = 0; style < KEY_STYLES; style++) {
		for (size_t round = 0; round < (style == KEYS_LONG ? 5 : 3 * ARRAY_SIZE(tries)); round++) {
			struct source source = { 0 };
			struct model model = { 0 };

			source_init(&source, "branch find");
			model_fill(&model, &source, style, tries[round % ARRAY_SIZE(tries)]);
			struct node *branch = model_build(&model, &source);

			find_must_agree(branch, &model, slice(NULL, 0));
			for (size_t i = 1; i < model.count; i++) {
				find_must_agree(branch, &model, model.items[i].separator);
				for (int k = 0; k < 3; k++)
					find_must_agree(branch, &model,
							source_neighbour(&source, model.items[i].separator));
			}
			for (int i = 0; i < 50; i++)
				find_must_agree(branch, &model, source_key(&source, style % KEYS_LONG));
			source_release(&source);
		}
	}
}

/* The greatest head has no successor of 32 bits: a bound that wraps around would find child 0. */
Test(node_branch, greatest_head)
{
	static const uint8_t ones[12] = { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 };
	struct source source = { 0 };
	struct model model = { .count = 6 };

	for (size_t i = 0; i < 6; i++)
		model.items[i] = (struct child){ .word = 64, .length = 64, .separator = slice(ones, 2 * i) };
	struct node *branch = model_build(&model, &source);

	for (size_t size = 0; size <= sizeof(ones); size++)
		find_must_agree(branch, &model, slice(ones, size));
	source_release(&source);
}

/* Children that come back otherwise than they were given lead to other nodes. */
Test(node_branch, children_come_back)
{
	struct source source = { 0 };
	struct model model = { 0 };
	struct children children = { 0 };
	uint64_t entries = 0;

	source_init(&source, "branch children");
	for (size_t tries = 0; tries < 150; tries += 13) {
		model_fill(&model, &source, KEYS_RANDOM, tries);
		struct node *branch = model_build(&model, &source);

		entries = 0;
		for (uint32_t i = 0; i < model.count; i++) {
			struct child child = { 0 };

			node_child(branch, i, &child);
			child_must_equal(&child, &model.items[i], i == 0);
			cr_assert_eq(slice_compare(node_separator(branch, i), child.separator), 0);
			cr_assert_eq(node_child_word(branch, i), child.word);
			cr_assert_eq(node_child_entries(branch, i), child.count);
			entries += model.items[i].count;
		}
		cr_assert_eq(node_entries(branch), entries);
		children.count = 0;
		cr_assert_eq(node_branch_gather(branch, &children), 0);
		cr_assert_eq(children.count, model.count);
		for (size_t i = 0; i < model.count; i++)
			child_must_equal(&children.items[i], &model.items[i], i == 0);
	}
	children_release(&children);
	source_release(&source);
}

/* To set one child must leave all others, and every separator, as they were. */
Test(node_branch, set_changes_one_child)
{
	struct source source = { 0 };
	struct model model = { 0 };

	source_init(&source, "branch set");
	model_fill(&model, &source, KEYS_PREFIX, 40);
	struct node *branch = model_build(&model, &source);

	for (int round = 0; round < 100; round++) {
		size_t index = source_below(&source, model.count);
		struct child *changed = &model.items[index];

		changed->word = source_next(&source);
		changed->hash = source_next(&source);
		changed->count = source_next(&source);
		changed->length = (uint32_t)source_next(&source);
		node_child_set(branch, (uint32_t)index, changed);
		for (uint32_t i = 0; i < model.count; i++) {
			struct child child = { 0 };

			node_child(branch, i, &child);
			child_must_equal(&child, &model.items[i], i == 0);
		}
	}
	source_release(&source);
}

/* A branch with one child is a detour, and one above the limit may not fit the disk: pieces have two at least. */
Test(node_branch, cut_keeps_the_limit)
{
	for (int round = 0; round < 300; round++) {
		struct source source = { 0 };
		struct model model = { 0 };
		size_t cuts[CHILDREN_MAX] = { 0 };
		bool append = round % 2;

		source_init(&source, "branch cut");
		model_fill(&model, &source, (enum key_style)source_below(&source, KEYS_LONG),
			   source_below(&source, round % 3 ? 150 : 6));
		size_t limit = 100 + source_below(&source, 4000);
		size_t pieces = node_branch_cut(model.items, model.count, limit, append, cuts, ARRAY_SIZE(cuts));
		size_t from = 0;

		for (size_t i = 0; i < pieces; i++) {
			size_t to = i + 1 < pieces ? cuts[i] : model.count;
			size_t bytes = node_branch_bytes(model.items + from, to - from, 0);

			cr_assert(to <= model.count && to > from && (to - from >= 2 || model.count < 2));
			/* One or two, and the last three, cannot be parted. */
			cr_assert(bytes <= limit || to - from <= 2 || (to == model.count && to - from == 3),
				  "children %zu to %zu of %zu: %zu bytes, limit %zu", from, to, model.count, bytes,
				  limit);
			from = to;
		}
		cr_assert_eq(from, model.count, "children left over");
		if (node_branch_bytes(model.items, model.count, 0) + model.items[0].separator.size + 4 <= limit)
			cr_assert_eq(pieces, 1, "cut without need");
		if (pieces > 2)
			cr_assert_eq(node_branch_cut(model.items, model.count, limit, append, cuts, 1), 2);
		source_release(&source);
	}
}

/* As with leaves: halves, unless the tree grows at its right end. */
Test(node_branch, cut_halves_unless_appending)
{
	uint8_t keys[40][4] = { 0 };
	struct child children[40] = { 0 };
	size_t cuts[4] = { 0 };

	for (uint8_t i = 0; i < 40; i++) {
		keys[i][0] = i;
		children[i] = (struct child){ .separator = slice(keys[i], 4) };
	}
	size_t limit = node_branch_bytes(children, 39, 0);

	cr_assert_eq(node_branch_cut(children, 40, limit, false, cuts, ARRAY_SIZE(cuts)), 2);
	cr_assert(cuts[0] >= 19 && cuts[0] <= 21, "cut at %zu", cuts[0]);
	cr_assert_eq(node_branch_cut(children, 40, limit, true, cuts, ARRAY_SIZE(cuts)), 2);
	cr_assert_eq(cuts[0], 38);
}
