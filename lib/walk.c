/* SPDX-License-Identifier: MIT */
/*
 * Walking leaf by leaf, with one step per level of branches to find the way to the neighbour.
 *
 * The place is told by two numbers: how many records of the leaf's top, and how many of the base under it, lie before
 * it. A record of the base whose key the top has too is always passed together with it. So both numbers stay on the
 * same side of every key, and a walk may turn anywhere, also behind a tombstone. A place at the end of a leaf is not
 * the same as one at the start of the next, but both give the same records either way.
 *
 * Nothing changes when a neighbour is sought and there is none: after SLF_END a walk can go back. After a failure the
 * steps may lead to different leaves or to a lens that was overwritten, so the walk forgets its leaf and repeats the
 * failure.
 */
#include "walk.h"

#define AHEAD_BYTES_MAX 4096 /* of the next leaf */

enum towards { TOWARDS_FIRST, TOWARDS_LAST, TOWARDS_KEY };

void walk_init(struct walk *walk, struct store *store, uint32_t tree)
{
	*walk = (struct walk){ .store = store, .tree = tree };
}

void walk_release(struct walk *walk)
{
	for (unsigned level = 0; level < NODE_LEVELS_MAX; level++)
		lens_release(&walk->steps[level].lens);
	for (size_t i = 0; i < ARRAY_SIZE(walk->lenses); i++) {
		lens_release(&walk->lenses[i].node);
		lens_release(&walk->lenses[i].base);
	}
}

/* Leaves the walk without a leaf; failure is what it answers from now on, 0 for SLF_END. */
static void walk_forget(struct walk *walk, int failure)
{
	walk->height = 0;
	walk->failure = failure;
	walk->passed_bytes = walk->passed_max = 0;
	walk->leaf = (struct leaf_view){ 0 };
	walk->top_index = walk->top_count = 0;
	walk->base_index = walk->base_count = 0;
}

/* Takes the place in the leaf. */
static void leaf_place(struct walk *walk, enum towards towards, struct slf_slice key)
{
	walk->top_count = node_count(walk->leaf.top);
	walk->base_count = walk->leaf.base ? node_count(walk->leaf.base) : 0;
	walk->top_index = towards == TOWARDS_LAST ? walk->top_count : 0;
	walk->base_index = towards == TOWARDS_LAST ? walk->base_count : 0;
	if (towards != TOWARDS_KEY)
		return;
	node_find(walk->leaf.top, key, &walk->top_index);
	if (walk->leaf.base)
		node_find(walk->leaf.base, key, &walk->base_index);
}

/* Goes down from the node at this level that `from` leads to, and takes a place in the leaf. */
static int walk_descend(struct walk *walk, unsigned level, const struct child *from, enum towards towards,
			struct slf_slice key)
{
	struct child child = *from;
	int result = 0;

	for (; level > 0; level--) {
		struct walk_step *step = &walk->steps[level];

		result = tree_node(walk->store, walk->tree, level, child.word, child.hash, child.length, &step->lens,
				   &step->node);
		if (unlikely(result))
			goto out;
		if (towards == TOWARDS_KEY)
			step->index = node_branch_find(step->node, key);
		else
			step->index = towards == TOWARDS_LAST ? node_count(step->node) - 1 : 0;
		node_child_locate(step->node, step->index, &child);
	}
	walk->lens ^= 1;
	result = tree_leaf(walk->store, walk->tree, child.word, child.hash, child.length, &walk->lenses[walk->lens],
			   &walk->leaf);
	if (unlikely(result))
		goto out;
	walk->passed_bytes += child.length + (walk->leaf.base ? node_length(walk->leaf.base) : 0);
	leaf_place(walk, towards, key);
out:
	if (unlikely(result))
		walk_forget(walk, result);
	return result;
}

static int walk_place(struct walk *walk, const struct tree_root *root, enum towards towards, struct slf_slice key)
{
	struct child top = { .word = root->word, .hash = root->hash, .length = root->length };

	walk_forget(walk, 0);
	if (!root->word)
		return 0;
	assert(root->height > 0 && root->height <= NODE_LEVELS_MAX);
	walk->height = root->height;
	return walk_descend(walk, root->height - 1, &top, towards, key);
}

int walk_seek(struct walk *walk, const struct tree_root *root, struct slf_slice key)
{
	return walk_place(walk, root, TOWARDS_KEY, key);
}

int walk_seek_first(struct walk *walk, const struct tree_root *root)
{
	return walk_place(walk, root, TOWARDS_FIRST, slice(NULL, 0));
}

int walk_seek_last(struct walk *walk, const struct tree_root *root)
{
	return walk_place(walk, root, TOWARDS_LAST, slice(NULL, 0));
}

static bool step_can(const struct walk_step *step, bool forward)
{
	return forward ? step->index + 1 < node_count(step->node) : step->index > 0;
}

/* Starts loading the leaf behind the one that is being entered, all of it: with the first lines only, a scan of leaves
 * that lie apart took 24 instead of 15 ns per record of 120 bytes. */
static void neighbour_prefetch(struct walk *walk, bool forward)
{
	const struct walk_step *step = &walk->steps[1];
	size_t bytes = u64_min(walk->store->settings.leaf_bytes, AHEAD_BYTES_MAX);
	struct child child;

	if (!step_can(step, forward))
		return;
	node_child_locate(step->node, forward ? step->index + 1 : step->index - 1, &child);
	if (word_is_heap(child.word))
		node_lines_prefetch(word_node(child.word), bytes);
	else
		store_lines_prefetch(walk->store, child.word, child.length, bytes);
}

/* The first or the last key of a leaf and what lies under it; on disk there is always one. */
static bool leaf_edge(const struct leaf_view *leaf, bool last, struct slf_slice *key)
{
	const struct node *nodes[] = { leaf->top, leaf->base };
	bool there = false;

	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		struct record record;

		if (!nodes[i] || !node_count(nodes[i]))
			continue;
		node_record(nodes[i], last ? node_count(nodes[i]) - 1 : 0, &record);
		if (!there || (slice_compare(record.key, *key) > 0) == last)
			*key = record.key;
		there = true;
	}
	return there;
}

/* Nodes are checked each for itself; this is for what leads to them. Looked at is each step between two lowest branches: at each
 * step between leaves it took 8 % of a scan. */
static int check_neighbours(struct walk *walk, const struct leaf_view *left, const struct leaf_view *right)
{
	struct slf_slice end, begin;
	struct child child;

	if (!leaf_edge(left, true, &end) || !leaf_edge(right, false, &begin) || likely(slice_compare(end, begin) < 0))
		return 0;
	node_child_locate(walk->steps[1].node, walk->steps[1].index, &child);
	return store_corrupt(walk->store, word_is_heap(child.word) ? 0 : child.word, 0, 0,
			     "keys of a leaf do not follow those of its neighbour");
}

/* Where branches lead to one node again and again, all of them with good checksums, a walk of a few nodes could take years. So
 * a walk in one direction passes no more bytes than the files have, bases of deltas and of overlays among them: each belongs to
 * one leaf. What it has passed is first compared with a lower bound. */
static int check_passed(struct walk *walk)
{
	walk->passed_max = store_bytes(walk->store);
	return walk->passed_bytes <= walk->passed_max ? 0 :
		store_corrupt(walk->store, 0, walk->passed_max, walk->passed_bytes,
			      "a walk has passed more bytes of leaves than the files have: nodes are named more than once");
}

/* Enters the neighbouring leaf: 0, SLF_END with nothing changed, or a failure. */
static int leaf_cross(struct walk *walk, bool forward)
{
	struct leaf_view from = walk->leaf;
	struct child child;
	unsigned crossed = 1; /* level of the branch that the step is taken in */
	int result;

	if (!walk->height)
		return walk->failure ? walk->failure : SLF_END;
	while (crossed < walk->height && !step_can(&walk->steps[crossed], forward))
		crossed++;
	if (crossed == walk->height)
		return SLF_END;
	if (unlikely(forward != walk->forward))
		walk->passed_bytes = 0;
	walk->forward = forward;
	if (forward)
		walk->steps[crossed].index++;
	else
		walk->steps[crossed].index--;
	node_child_locate(walk->steps[crossed].node, walk->steps[crossed].index, &child);
	result = walk_descend(walk, crossed - 1, &child, forward ? TOWARDS_FIRST : TOWARDS_LAST, slice(NULL, 0));
	if (unlikely(result))
		return result;
	neighbour_prefetch(walk, forward);
	if (unlikely(crossed > 1))
		result = check_neighbours(walk, forward ? &from : &walk->leaf, forward ? &walk->leaf : &from);
	if (unlikely(!result && walk->passed_bytes > walk->passed_max))
		result = check_passed(walk);
	if (unlikely(result))
		walk_forget(walk, result);
	return result;
}

/* The record stands in the walk's leaf, in its base when heap is false. */
static void found_set(const struct walk *walk, struct found *found, bool heap)
{
	found->heap = heap;
	found->settled = !heap;
	found->copied = !heap && walk->leaf.copied;
	found->birth = heap ? walk->leaf.birth : 0;
}

/* Passes one record of a leaf that lies on a base: 0, or SLF_END at the end of the leaf. */
static int merged_pass(struct walk *walk, bool forward, struct found *found)
{
	for (;;) {
		bool has_top = forward ? walk->top_index < walk->top_count : walk->top_index > 0;
		bool has_base = forward ? walk->base_index < walk->base_count : walk->base_index > 0;
		struct record top, base;
		int order = has_top ? 1 : -1; /* negative: the base's record is the next one on the way */

		if (!has_top && !has_base)
			return SLF_END;
		if (has_top)
			node_record(walk->leaf.top, walk->top_index - !forward, &top);
		if (has_base)
			node_record(walk->leaf.base, walk->base_index - !forward, &base);
		if (has_top && has_base)
			order = forward ? slice_compare(base.key, top.key) : slice_compare(top.key, base.key);
		if (order >= 0)
			walk->top_index = forward ? walk->top_index + 1 : walk->top_index - 1;
		if (order <= 0)
			walk->base_index = forward ? walk->base_index + 1 : walk->base_index - 1;
		if (order < 0) {
			found->record = base;
			found_set(walk, found, false);
			return 0;
		}
		if (top.kind != RECORD_TOMB) {
			found->record = top;
			found_set(walk, found, walk->leaf.heap);
			return 0;
		}
	}
}

int walk_next(struct walk *walk, struct found *found)
{
	int result;

	for (;;) {
		if (likely(!walk->leaf.base && walk->top_index < walk->top_count)) {
			node_record(walk->leaf.top, walk->top_index++, &found->record);
			found_set(walk, found, walk->leaf.heap);
			return 0;
		}
		if (walk->leaf.base && merged_pass(walk, true, found) == 0)
			return 0;
		result = leaf_cross(walk, true);
		if (result)
			return result;
	}
}

int walk_prev(struct walk *walk, struct found *found)
{
	int result;

	for (;;) {
		if (likely(!walk->leaf.base && walk->top_index > 0)) {
			node_record(walk->leaf.top, --walk->top_index, &found->record);
			found_set(walk, found, walk->leaf.heap);
			return 0;
		}
		if (walk->leaf.base && merged_pass(walk, false, found) == 0)
			return 0;
		result = leaf_cross(walk, false);
		if (result)
			return result;
	}
}
