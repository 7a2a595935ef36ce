/* SPDX-License-Identifier: MIT */
/*
 * A leaf's values come before the leaf, a branch's children before the branch. A block that was noted before (by the
 * checkpoint whose install is still under way, or a value that a newer leaf carries on) is not written again. Depth of
 * recursion is the height of the tree.
 */
#include "materialise.h"

#include <stdlib.h>

#include "error.h"

#define AHEAD_BYTES 3072 /* of the next node, on their way to the cache while this one is written */

int materialiser_init(struct materialiser *materialiser, struct store *store, struct extents *extents)
{
	*materialiser = (struct materialiser){ .store = store };
	bulk_init(&materialiser->nodes, extents, true);
	bulk_init(&materialiser->values, extents, true);
	return heap_new(&materialiser->heap);
}

void materialiser_release(struct materialiser *materialiser)
{
	bulk_release(&materialiser->nodes);
	bulk_release(&materialiser->values);
	heap_free_all(materialiser->heap);
	garbage_release(&materialiser->written);
	records_release(&materialiser->records);
	free(materialiser->scratch);
	materialiser->store = NULL;
}

void materialise_begin(struct materialiser *materialiser)
{
	materialiser->written.count = 0;
	materialiser->bytes = 0;
	materialiser->owed = 0;
	bulk_begin(&materialiser->nodes);
	bulk_begin(&materialiser->values);
}

void materialise_forget(struct materialiser *materialiser)
{
	for (size_t i = 0; i < materialiser->written.count; i++) {
		materialiser->written.blocks[i]->position = 0;
		materialiser->written.blocks[i]->settled = 0;
	}
	materialiser->written.count = 0;
}

void materialise_undo(struct materialiser *materialiser)
{
	materialise_forget(materialiser);
	bulk_undo(&materialiser->nodes);
	bulk_undo(&materialiser->values);
}

void materialise_trim(struct materialiser *materialiser)
{
	bulk_trim(&materialiser->nodes);
	bulk_trim(&materialiser->values);
}

/* In extents of its own kind, or where there is no space for them among those of the other one. */
static int place(struct materialiser *materialiser, bool node, uint64_t length, uint64_t *position, void **bytes)
{
	struct bulk *bulk = node ? &materialiser->nodes : &materialiser->values;
	struct bulk *other = node ? &materialiser->values : &materialiser->nodes;
	int result = bulk_place(bulk, length, node, position, bytes);

	if (!error_is_space(result) || bulk->lost)
		return result;
	return bulk_place(other, length, node, position, bytes);
}

static int scratch_need(struct materialiser *materialiser, size_t bytes)
{
	uint8_t *scratch;

	if (bytes <= materialiser->scratch_capacity)
		return 0;
	bytes = align_up(bytes, 4096);
	scratch = realloc(materialiser->scratch, bytes);
	if (!scratch)
		return -ENOMEM;
	materialiser->scratch = scratch;
	materialiser->scratch_capacity = bytes;
	return 0;
}

/* The block has a place now. */
static void note_place(struct materialiser *materialiser, struct block *block, uint64_t position)
{
	block->position = position;
	block->settled = 1;
	materialiser->owed += block->owed;
	materialiser->bytes += block->length;
}

/* Writes a heap value where nobody did; its block then holds the reference. */
static int write_value(struct materialiser *materialiser, uint32_t tree, struct slf_slice key, struct block *block,
		       uint8_t *compressed)
{
	struct slf_stats *stats = &materialiser->store->stats->values;
	const void *stored = block_payload(block);
	uint32_t stored_bytes = block->raw;
	struct value_ref ref;
	uint64_t position, length;
	void *entry;
	int result;

	if (block->position)
		return 0;
	if (materialiser->store->settings.compression) {
		uint32_t small = value_compress(slice(stored, stored_bytes), compressed);

		if (small) {
			stored = compressed;
			stored_bytes = small;
		}
	}
	length = value_entry_bytes(key.size, stored_bytes);
	result = place(materialiser, false, length, &position, &entry);
	if (result)
		return result;
	result = garbage_add(&materialiser->written, block);
	if (result)
		return result;
	value_entry_encode(entry, materialiser->store->seed, position, tree, key, stored, stored_bytes, block->raw, &ref);
	block->hash = ref.hash;
	block->stored = ref.stored;
	block->length = (uint32_t)length;
	note_place(materialiser, block, position);
	stats_add(&stats->bulk_values, 1);
	stats_add(&stats->bulk_value_raw_bytes, block->raw);
	stats_add(&stats->bulk_value_stored_bytes, stored_bytes);
	return 0;
}

/* Turns the heap values of the gathered records into references, which stand in scratch. */
static int write_values(struct materialiser *materialiser, uint32_t tree)
{
	struct records *records = &materialiser->records;
	size_t count = 0, largest = 0;
	uint8_t *refs, *compressed;
	int result;

	for (size_t i = 0; i < records->count; i++)
		if (records->items[i].kind == RECORD_HEAP) {
			count++;
			largest = u64_max(largest, heap_ref_block(records->items[i].value)->raw);
		}
	if (!count)
		return 0;
	result = scratch_need(materialiser, count * VALUE_REF_BYTES + largest);
	if (result)
		return result;
	refs = materialiser->scratch;
	compressed = refs + count * VALUE_REF_BYTES;
	for (size_t i = 0; i < records->count; i++) {
		struct record *record = &records->items[i];
		struct block *block;

		if (record->kind != RECORD_HEAP)
			continue;
		block = heap_ref_block(record->value);
		result = write_value(materialiser, tree, record->key, block, compressed);
		if (result)
			return result;
		value_ref_encode(refs, &(struct value_ref){ block->position, block->hash, block->stored, block->raw });
		record->kind = RECORD_REF;
		record->value = slice(refs, VALUE_REF_BYTES);
		refs += VALUE_REF_BYTES;
	}
	return 0;
}

/* The child on the heap is now at position. */
static int note(struct materialiser *materialiser, struct child *child, const struct node *image, uint64_t position)
{
	struct block *block = block_of(word_node(child->word));
	int result = garbage_add(&materialiser->written, block);

	if (result)
		return result;
	block->hash = node_hash(image);
	block->length = node_length(image);
	note_place(materialiser, block, position);
	child->word = position;
	child->hash = block->hash;
	child->length = block->length;
	stats_add(&materialiser->store->stats->values.bulk_nodes, 1);
	store_node_vouch(materialiser->store, position, block->length); /* nobody is led to it before it is in the file */
	return 0;
}

static int write_leaf(struct materialiser *materialiser, uint32_t tree, struct child *child)
{
	const struct node *leaf = word_node(child->word);
	struct records *records = &materialiser->records;
	bool delta = node_kind(leaf) == NODE_DELTA;
	struct slf_slice fence = node_fence(leaf);
	struct delta_base base;
	uint64_t position;
	size_t bytes;
	void *image;
	int result;

	records->count = 0;
	result = node_gather(leaf, records);
	if (!result)
		result = write_values(materialiser, tree);
	if (result)
		return result;
	if (delta)
		node_delta_base(leaf, &base);
	bytes = node_leaf_bytes(records->items, records->count, records->count, fence.size, delta);
	assert(store_room(bytes, true) <= block_of(leaf)->owed);
	result = place(materialiser, true, bytes, &position, &image);
	if (result)
		return result;
	node_leaf_build(image, bytes, tree, fence, delta ? &base : NULL, records->items, records->count, records->count,
			node_live(leaf));
	node_seal(image, materialiser->store->seed, position);
	return note(materialiser, child, image, position);
}

static int write_subtree(struct materialiser *materialiser, uint32_t tree, unsigned level, struct child *child);

static int write_branch(struct materialiser *materialiser, uint32_t tree, unsigned level, struct child *child)
{
	const struct node *branch = word_node(child->word);
	struct slf_slice fence = node_fence(branch);
	struct children children = { 0 };
	uint64_t position;
	size_t bytes;
	void *image;
	int result = node_branch_gather(branch, &children);

	for (size_t i = 0; i < children.count && !result; i++) {
		if (i + 1 < children.count && word_is_heap(children.items[i + 1].word))
			node_lines_prefetch(block_of(word_node(children.items[i + 1].word)), AHEAD_BYTES);
		result = write_subtree(materialiser, tree, level - 1, &children.items[i]);
	}
	if (result)
		goto out;
	bytes = node_branch_bytes(children.items, children.count, fence.size);
	assert(store_room(bytes, true) <= block_of(branch)->owed);
	result = place(materialiser, true, bytes, &position, &image);
	if (result)
		goto out;
	node_branch_build(image, bytes, tree, level, fence, children.items, children.count);
	node_seal(image, materialiser->store->seed, position);
	result = note(materialiser, child, image, position);
out:
	children_release(&children);
	return result;
}

static int write_subtree(struct materialiser *materialiser, uint32_t tree, unsigned level, struct child *child)
{
	const struct block *block;

	if (!word_is_heap(child->word))
		return 0;
	block = block_of(word_node(child->word));
	if (block->position) {
		child->word = block->position;
		child->hash = block->hash;
		child->length = block->length;
		return 0;
	}
	return level ? write_branch(materialiser, tree, level, child) : write_leaf(materialiser, tree, child);
}

int materialise_tree(struct materialiser *materialiser, uint32_t tree, struct tree_root *root)
{
	struct child child = { .word = root->word, .hash = root->hash, .count = root->count, .length = root->length };
	int result;

	if (!root->word)
		return 0;
	result = write_subtree(materialiser, tree, root->height - 1, &child);
	root->word = child.word;
	root->hash = child.hash;
	root->length = child.length;
	return result;
}

struct forest_work {
	struct materialiser *materialiser;
	struct edit edit;
	struct tree_root *roots;
};

static int write_root(void *context, uint32_t id, const struct tree_root *at, uint64_t birth)
{
	struct forest_work *work = context;
	struct tree_root root = *at;
	uint8_t key[4] = { 0 }, value[TREE_ROOT_BYTES];
	struct record record = { .key = slice(key, sizeof(key)),
				 .value = slice(value, sizeof(value)),
				 .kind = RECORD_INLINE };
	int result = materialise_tree(work->materialiser, id, &root);

	(void)birth;
	if (result)
		return result;
	put_be32(key, id);
	if (!root.word) {
		result = tree_del(&work->edit, TREE_ROOTS, work->roots, record.key);
		return result == SLF_NOTFOUND ? 0 : result;
	}
	tree_root_encode(value, &root);
	return tree_put(&work->edit, TREE_ROOTS, work->roots, &record);
}

int materialise_forest(struct materialiser *materialiser, const struct forest *forest, struct tree_root *roots)
{
	struct forest_work work = { .materialiser = materialiser, .roots = roots };
	uint64_t owed;
	size_t noted;
	int result;

	edit_init(&work.edit, materialiser->store, materialiser->heap, 1);
	result = forest_each(forest, 0, write_root, &work);
	noted = materialiser->written.count;
	owed = materialiser->owed;
	if (!result)
		result = materialise_tree(materialiser, TREE_ROOTS, roots);
	materialiser->written.count = noted; /* the roots tree's heap nodes end here, and owed nothing to the heap of the others */
	materialiser->owed = owed;
	edit_undo(&work.edit);
	edit_release(&work.edit);
	return result;
}

int materialise_flush(struct materialiser *materialiser)
{
	int result = bulk_flush(&materialiser->values);

	return result ? result : bulk_flush(&materialiser->nodes);
}

int materialise_sync(struct materialiser *materialiser)
{
	int result = materialise_flush(materialiser);

	if (result)
		return result;
	for (unsigned i = 0; i < SPINDLE_WORDS; i++) { /* one flush for both */
		materialiser->nodes.dirty[i] |= materialiser->values.dirty[i];
		materialiser->values.dirty[i] = 0;
	}
	return bulk_sync(&materialiser->nodes);
}

#define DROPS_PER_LOOK 16 /* blocks between two looks at the clock */

int materialise_prune(struct materialiser *materialiser, size_t *at, size_t *kept, uint64_t deadline_ns)
{
	struct garbage *written = &materialiser->written;

	while (*at < written->count) {
		struct block *block = written->blocks[(*at)++];

		if (!block->retired && block->kind == BLOCK_NODE)
			written->blocks[(*kept)++] = block;
		if (*at % DROPS_PER_LOOK == 0 && clock_now_ns() >= deadline_ns)
			return SLF_END;
	}
	written->count = *kept;
	return 0;
}

/* The values of a leaf that is going; those that a newer leaf carries on stand in retired leaves only. */
static int drop_values(const struct node *leaf, drop_fn *drop, void *context)
{
	for (uint32_t at = 0; node_has_heap_values(leaf) && at < node_count(leaf); at++) {
		struct record record;
		int result;

		node_record(leaf, at, &record);
		if (record.kind != RECORD_HEAP || heap_ref_block(record.value)->retired)
			continue;
		result = drop(context, heap_ref_block(record.value));
		if (result)
			return result;
	}
	return 0;
}

int materialise_drop(struct materialiser *materialiser, size_t *left, drop_fn *drop, void *context,
		     uint64_t deadline_ns)
{
	while (*left) {
		struct block *block = materialiser->written.blocks[*left - 1];
		int result = 0;

		if (block->kind == BLOCK_NODE && !block->retired) {
			if (node_level(block_payload(block)) == 0)
				result = drop_values(block_payload(block), drop, context);
			if (!result)
				result = drop(context, block);
			if (result)
				return result;
		}
		--*left;
		if (deadline_ns && *left % DROPS_PER_LOOK == 0 && clock_now_ns() >= deadline_ns)
			return *left ? SLF_END : 0;
	}
	return 0;
}
