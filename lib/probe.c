/* SPDX-License-Identifier: MIT */
/*
 * Lookups in batches of PROBE_BATCH. A probe is only the reference to the node that it looks into next, 24 bytes. On
 * each level all probes of the batch are moved one node down; as soon as a probe knows its next node, that node's
 * first lines are on their way while the others still search. Nodes whose check is still to be made may be on disk
 * only: they are collected and asked for together between two levels. Leaves take one round more, for the bases of
 * deltas.
 *
 * Nodes that are not mapped are copied to the one lens: such a node is read, searched and left before the next one is
 * looked at. A probe that fails is told at once, while the detail of its failure is still at hand, and the others go on.
 */
#include "probe.h"

struct probe {
	uint64_t word;
	uint64_t hash;
	uint32_t length;
	uint32_t index; /* of the key in the batch */
};

struct batch {
	struct store *store;
	uint32_t tree;
	const struct slf_slice *keys;
	size_t first; /* index of keys[0] for the caller */
	bool values;
	probe_fn *each;
	void *context;
	struct tree_lens lens;
	uint32_t active;
	struct probe probes[PROBE_BATCH];
	uint32_t cold_count;
	struct node_ref cold[PROBE_BATCH];
};

static int probe_tell(const struct batch *batch, const struct probe *probe, int result, const struct found *found)
{
	return batch->each(batch->context, batch->first + probe->index, result, result ? NULL : found);
}

/* Starts bringing the node at a position nearer: from memory, or with the others of the batch from disk. */
static void batch_want(struct batch *batch, const struct node_ref *ref)
{
	if (likely(verified_test(&batch->store->verified, ref->position)))
		store_lines_prefetch(batch->store, ref->position, ref->length, NODE_SEARCH_BYTES);
	else if (!batch->cold_count || batch->cold[batch->cold_count - 1].position != ref->position)
		batch->cold[batch->cold_count++] = *ref;
}

static void batch_fetch(struct batch *batch)
{
	if (unlikely(batch->cold_count))
		store_prefetch(batch->store, batch->cold, batch->cold_count);
	batch->cold_count = 0;
}

/* Moves all probes from their branches at this level to the children. */
static int batch_descend(struct batch *batch, unsigned level)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < batch->active; i++) {
		struct probe probe = batch->probes[i];
		const struct node *branch = NULL;
		struct child child;
		int result;

		result = tree_node(batch->store, batch->tree, level, probe.word, probe.hash, probe.length,
				   &batch->lens.node, &branch);
		if (unlikely(result)) {
			result = probe_tell(batch, &probe, result, NULL);
			if (result)
				return result;
			continue;
		}
		node_child_locate(branch, node_branch_find(branch, batch->keys[probe.index]), &child);
		if (word_is_heap(child.word)) /* with the block's header, which tells the age */
			node_lines_prefetch(block_of(word_node(child.word)), sizeof(struct block) + NODE_SEARCH_BYTES);
		else
			batch_want(batch, &(struct node_ref){ .position = child.word, .length = child.length });
		batch->probes[kept++] = (struct probe){ .word = child.word,
							.hash = child.hash,
							.length = child.length,
							.index = probe.index };
	}
	batch->active = kept;
	batch_fetch(batch);
	return 0;
}

static bool is_mapped(const struct batch *batch)
{
	return batch->store->spindles[0].mapped;
}

/* Brings the bases of deltas nearer. Pointless where nodes are copied: then each would be read twice. */
static int batch_bases(struct batch *batch)
{
	uint32_t kept = 0;

	if (!is_mapped(batch))
		return 0;
	for (uint32_t i = 0; i < batch->active; i++) {
		struct probe probe = batch->probes[i];
		const struct node *top = NULL;
		struct delta_base base;
		int result;

		result = tree_node(batch->store, batch->tree, 0, probe.word, probe.hash, probe.length,
				   &batch->lens.node, &top);
		if (unlikely(result)) {
			result = probe_tell(batch, &probe, result, NULL);
			if (result)
				return result;
			continue;
		}
		if (node_kind(top) == NODE_DELTA) {
			node_delta_base(top, &base);
			batch_want(batch, &(struct node_ref){ .position = base.position, .length = base.length });
		}
		batch->probes[kept++] = probe;
	}
	batch->active = kept;
	batch_fetch(batch);
	return 0;
}

static int batch_look(struct batch *batch, const struct probe *probe, struct found *found)
{
	struct leaf_view leaf = { 0 };
	int result = tree_leaf(batch->store, batch->tree, probe->word, probe->hash, probe->length, &batch->lens, &leaf);

	if (likely(!result) && !leaf_find(&leaf, batch->keys[probe->index], found))
		result = SLF_NOTFOUND;
	return result;
}

/* Where values are wanted, those that stand outside of their leaves are asked for together. */
static int batch_finish(struct batch *batch)
{
	struct found founds[PROBE_BATCH];
	uint32_t kept = 0;
	int result;

	for (uint32_t i = 0; i < batch->active; i++) {
		const struct probe probe = batch->probes[i];
		struct found *found = &founds[kept];
		struct value_ref ref;

		result = batch_look(batch, &probe, found);
		if (result || found->copied) { /* told while its detail, or the copy, is at hand */
			result = probe_tell(batch, &probe, result, found);
			if (result)
				return result;
			continue;
		}
		if (batch->values && found->record.kind == RECORD_REF) {
			value_ref_decode(found->record.value.data, &ref);
			batch_want(batch, &(struct node_ref){
					  .position = ref.position,
					  .length = (uint32_t)u64_min(value_entry_bytes(found->record.key.size, ref.stored),
								      UINT32_MAX),
				  });
		}
		batch->probes[kept++] = probe;
	}
	batch_fetch(batch);
	for (uint32_t i = 0; i < kept; i++) {
		result = probe_tell(batch, &batch->probes[i], 0, &founds[i]);
		if (result)
			return result;
	}
	return 0;
}

static int batch_run(struct batch *batch, const struct tree_root *root, size_t count)
{
	int result = 0;

	batch->active = (uint32_t)count;
	for (uint32_t i = 0; i < count; i++)
		batch->probes[i] = (struct probe){ .word = root->word,
						   .hash = root->hash,
						   .length = root->length,
						   .index = i };
	for (unsigned level = root->height - 1; !result && level > 0; level--)
		result = batch_descend(batch, level);
	if (!result)
		result = batch_bases(batch);
	return result ? result : batch_finish(batch);
}

int probe_run(struct store *store, uint32_t tree, const struct tree_root *root, const struct slf_slice *keys,
	      size_t count, bool values, probe_fn *each, void *context)
{
	struct batch batch = { .store = store, .tree = tree, .values = values, .each = each, .context = context };
	int result = 0;

	if (!root->word) {
		for (size_t i = 0; !result && i < count; i++)
			result = each(context, i, SLF_NOTFOUND, NULL);
		return result;
	}
	assert(root->height > 0 && root->height <= NODE_LEVELS_MAX);
	for (size_t first = 0; !result && first < count; first += PROBE_BATCH) {
		batch.first = first;
		batch.keys = keys + first;
		result = batch_run(&batch, root, u64_min(count - first, PROBE_BATCH));
	}
	lens_release(&batch.lens.node);
	lens_release(&batch.lens.base);
	return result;
}
