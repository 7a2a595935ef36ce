/* SPDX-License-Identifier: MIT */
/*
 * The reading half of trees, and the bookkeeping of an edit: what was born in it and what it dropped. The changing half
 * is tree_edit.c.
 */
#include "tree.h"

#include <stdlib.h>

void tree_lenses_release(struct tree_lenses *lenses)
{
	for (size_t i = 0; i < TREE_LENSES; i++) {
		lens_release(&lenses->level[i].node);
		lens_release(&lenses->level[i].base);
	}
}

int tree_node(struct store *store, uint32_t tree, unsigned level, uint64_t word, uint64_t hash, uint32_t length,
	      struct lens *lens, const struct node **node)
{
	struct node_ref ref = { .position = word, .hash = hash, .length = length, .tree = tree, .level = level };

	if (word_is_heap(word)) {
		*node = word_node(word);
		return 0;
	}
	return store_node(store, &ref, lens, node);
}

static int leaf_base(struct store *store, uint32_t tree, const struct node *delta, struct lens *lens,
		     const struct node **base)
{
	struct node_ref ref = { .tree = tree };
	struct delta_base at = { 0 };
	int result;

	node_delta_base(delta, &at);
	ref.position = at.position;
	ref.hash = at.hash;
	ref.length = at.length;
	result = store_node(store, &ref, lens, base);
	if (result)
		return result;
	if (node_kind(*base) != NODE_LEAF || node_count(*base) != at.count)
		return store_corrupt(store, at.position, at.count, node_count(*base), "base of a delta is no such leaf");
	return 0;
}

int tree_leaf(struct store *store, uint32_t tree, uint64_t word, uint64_t hash, uint32_t length,
	      struct tree_lens *lens, struct leaf_view *leaf)
{
	const struct node *top = NULL, *base = NULL;
	int result = tree_node(store, tree, 0, word, hash, length, &lens->node, &top);

	if (result)
		return result;
	if (node_kind(top) == NODE_DELTA) {
		result = leaf_base(store, tree, top, &lens->base, &base);
		if (result)
			return result;
	}
	leaf->top = top;
	leaf->base = base;
	leaf->heap = word_is_heap(word);
	leaf->copied = (const void *)top == lens->node.buffer || (base && (const void *)base == lens->base.buffer);
	leaf->birth = leaf->heap ? block_of(top)->birth : 0;
	return 0;
}

bool leaf_find(const struct leaf_view *leaf, struct slf_slice key, struct found *found)
{
	const struct node *node = leaf->top;
	uint32_t index;

	found->heap = leaf->heap;
	found->settled = !leaf->heap;
	found->copied = !leaf->heap && leaf->copied;
	found->birth = leaf->birth;
	if (!node_find(node, key, &index)) {
		if (!leaf->base || !node_find(leaf->base, key, &index))
			return false;
		node = leaf->base;
		found->heap = false;
		found->settled = true;
		found->copied = leaf->copied;
		found->birth = 0;
	}
	node_record(node, index, &found->record);
	return found->record.kind != RECORD_TOMB;
}

int tree_get(struct store *store, uint32_t tree, const struct tree_root *root, struct slf_slice key,
	     struct tree_lenses *lenses, struct found *found)
{
	uint64_t word = root->word, hash = root->hash;
	uint32_t length = root->length;
	struct leaf_view leaf;
	int result;

	if (!word)
		return SLF_NOTFOUND;
	for (unsigned level = root->height - 1; level > 0; level--) {
		const struct node *branch;
		struct child child;

		result = tree_node(store, tree, level, word, hash, length, &lenses->level[level % TREE_LENSES].node,
				   &branch);
		if (unlikely(result))
			return result;
		node_child_locate(branch, node_branch_find(branch, key), &child);
		word = child.word;
		hash = child.hash;
		length = child.length;
	}
	result = tree_leaf(store, tree, word, hash, length, &lenses->level[0], &leaf);
	if (unlikely(result))
		return result;
	return leaf_find(&leaf, key, found) ? 0 : SLF_NOTFOUND;
}

/* ---- Edits ------------------------------------------------------------------------------------------------------- */

void garbage_release(struct garbage *garbage)
{
	free(garbage->blocks);
	*garbage = (struct garbage){ 0 };
}

int garbage_add(struct garbage *garbage, struct block *block)
{
	if (garbage->count == garbage->capacity) {
		struct block **blocks = array_grow(garbage->blocks, &garbage->capacity, sizeof(*blocks));

		if (!blocks)
			return -ENOMEM;
		garbage->blocks = blocks;
	}
	garbage->blocks[garbage->count++] = block;
	return 0;
}

void edit_init(struct edit *edit, struct store *store, struct heap *heap, uint64_t epoch)
{
	*edit = (struct edit){ .store = store, .heap = heap, .epoch = epoch };
}

void edit_start(struct edit *edit, struct store *store, struct heap *heap, uint64_t epoch)
{
	assert(!edit->born && !edit->garbage.count);
	edit->store = store;
	edit->heap = heap;
	edit->epoch = epoch;
	edit->charged_bytes = 0;
}

#define SCRATCH_KEPT 256 /* items */

void edit_rest(struct edit *edit)
{
	if (edit->records.capacity > SCRATCH_KEPT)
		records_release(&edit->records);
	if (edit->children.capacity > SCRATCH_KEPT)
		children_release(&edit->children);
	if (edit->garbage.capacity > SCRATCH_KEPT)
		garbage_release(&edit->garbage);
	tree_lenses_release(&edit->lenses);
	lens_release(&edit->sibling.node);
	lens_release(&edit->sibling.base);
}

void edit_release(struct edit *edit)
{
	edit_rest(edit);
	records_release(&edit->records);
	children_release(&edit->children);
	garbage_release(&edit->garbage);
}

void born_free(struct heap *heap, struct block *born)
{
	while (born) {
		struct block *next = (struct block *)(uintptr_t)born->born_next;

		heap_free(heap, born);
		born = next;
	}
}

void garbage_unmark(struct garbage *garbage)
{
	for (size_t i = 0; i < garbage->count; i++)
		garbage->blocks[i]->retired = 0;
	garbage->count = 0;
}

void edit_undo(struct edit *edit)
{
	garbage_unmark(&edit->garbage);
	born_free(edit->heap, edit->born);
	edit->born = NULL;
	edit->charged_bytes = 0;
}

struct block *edit_alloc(struct edit *edit, size_t size, enum block_kind kind)
{
	struct block *block = heap_alloc(edit->heap, size, kind, edit->epoch);

	if (!block)
		return NULL;
	block->born_next = (uint64_t)(uintptr_t)edit->born;
	block->born_previous = 0;
	if (edit->born)
		edit->born->born_previous = (uint64_t)(uintptr_t)block;
	edit->born = block;
	if (kind == BLOCK_NODE)
		heap_owe(edit->heap, block, store_room(heap_room(block), true));
	else if (kind == BLOCK_ROOT)
		heap_owe(edit->heap, block, TREE_ROOT_ROOM);
	return block;
}

int edit_drop(struct edit *edit, struct block *block)
{
	struct block *next, *previous;
	int result;

	if (block->birth != edit->epoch) {
		assert(!block->retired);
		result = garbage_add(&edit->garbage, block);
		if (!result)
			block->retired = 1;
		return result;
	}
	next = (struct block *)(uintptr_t)block->born_next;
	previous = (struct block *)(uintptr_t)block->born_previous;
	if (previous)
		previous->born_next = block->born_next;
	else
		edit->born = next;
	if (next)
		next->born_previous = block->born_previous;
	heap_free(edit->heap, block);
	return 0;
}

#ifdef PARANOID
static uint64_t assert_node(struct store *store, uint32_t tree, unsigned level, const struct child *at,
			    struct slf_slice low, struct slf_slice high);

static uint64_t assert_leaf(struct store *store, uint32_t tree, const struct child *at, struct slf_slice low,
			    struct slf_slice high)
{
	struct tree_lens lens = { 0 };
	struct leaf_view leaf = { 0 };
	struct records records = { 0 };
	uint64_t count = at->count; /* no memory for this, or damage on disk, is no error of ours */

	if (tree_leaf(store, tree, at->word, at->hash, at->length, &lens, &leaf) == 0) {
		if ((leaf.base ? node_merge(leaf.base, leaf.top, &records) : node_gather(leaf.top, &records)) == 0) {
			count = records.count;
			assert(count == node_live(leaf.top));
			for (size_t i = 0; i < count; i++) {
				assert(slice_compare(records.items[i].key, low) >= 0);
				assert(!high.data || slice_compare(records.items[i].key, high) < 0);
				assert(!i || slice_compare(records.items[i - 1].key, records.items[i].key) < 0);
			}
		}
	}
	records_release(&records);
	lens_release(&lens.node);
	lens_release(&lens.base);
	return count;
}

static uint64_t assert_branch(struct store *store, uint32_t tree, unsigned level, const struct child *at,
			      struct slf_slice low, struct slf_slice high)
{
	struct lens lens = { 0 };
	const struct node *branch = NULL;
	uint64_t sum = 0;

	if (tree_node(store, tree, level, at->word, at->hash, at->length, &lens, &branch)) {
		lens_release(&lens);
		return at->count; /* damage on disk is an error of reading, not of ours */
	}
	assert(node_kind(branch) == NODE_BRANCH && node_level(branch) == level && node_count(branch) > 0);
	for (uint32_t i = 0; i < node_count(branch); i++) {
		struct child child;
		bool last = i + 1 == node_count(branch);

		node_child(branch, i, &child);
		sum += assert_node(store, tree, level - 1, &child, i ? child.separator : low,
				   last ? high : node_separator(branch, i + 1));
	}
	lens_release(&lens);
	return sum;
}

static uint64_t assert_node(struct store *store, uint32_t tree, unsigned level, const struct child *at,
			    struct slf_slice low, struct slf_slice high)
{
	uint64_t count = level ? assert_branch(store, tree, level, at, low, high)
			       : assert_leaf(store, tree, at, low, high);

	assert(count == at->count);
	return count;
}

void tree_assert(struct store *store, uint32_t tree, const struct tree_root *root)
{
	struct child at = { .word = root->word, .hash = root->hash, .length = root->length, .count = root->count };

	if (root->word)
		assert_node(store, tree, root->height - 1, &at, slice("", 0), slice(NULL, 0));
	else
		assert(root->count == 0 && root->height == 0);
}
#endif
