/* SPDX-License-Identifier: MIT */
/*
 * The changing half of trees. A change goes down once and makes the branches on its way its own (copied where another
 * epoch made them), changes the leaf, and goes up once: counts where nothing else changed, else the child is replaced by
 * pieces (none: it became empty; two or more: it was split), level by level.
 *
 * What happens to a leaf: a leaf on disk gets an overlay; an overlay that has grown to a quarter of its base is folded
 * with it into a whole leaf; a whole leaf above leaf_bytes is split; one below a quarter of it is merged with a neighbour
 * when both fit in three quarters.
 *
 * The fence of a node is a key by which it is found from the root, not a bound: when the first child of a branch goes,
 * the second takes over its range and keeps its fence.
 *
 * Failure: -ENOMEM and errors of reading leave the working tree in between; the caller undoes the edit as a whole.
 *
 * A forged file has nodes that are each good for themselves, and lead to one another as they like. An edit would copy a branch
 * that is named a thousand times for each of its names: so it copies no more than the files have (charge). And keys stand in
 * order within each node only: where records or separators of two nodes come together, in joins and behind splits, they are
 * compared, so that all nodes that are built have theirs in order again.
 */
#include "tree.h"

#define OVERLAY_BASE_BYTES_MIN 512
#define PIECES_MAX 16

struct step {
	struct node *node; /* owned branch */
	uint32_t index;
};

struct path {
	unsigned height;
	bool rightmost; /* every index is the last */
	struct step steps[NODE_LEVELS_MAX]; /* by level; steps[0] unused */
};

/* What takes the place of a child. separator of the first: that of the place. */
struct pieces {
	struct child items[PIECES_MAX];
	size_t count;
};

static struct slf_stats *stats_of(struct edit *edit)
{
	return &edit->store->stats->values;
}

/* One node has become these. */
static void count_splits(struct edit *edit, const struct pieces *pieces)
{
	if (pieces->count > 1)
		stats_add(&stats_of(edit)->tree_splits, pieces->count - 1);
}

static bool is_owned(const struct edit *edit, uint64_t word)
{
	return word_is_heap(word) && block_of(word_node(word))->birth == edit->epoch;
}

static int drop_word(struct edit *edit, uint64_t word)
{
	return word_is_heap(word) ? edit_drop(edit, block_of(word_node(word))) : 0;
}

/* ---- Down -------------------------------------------------------------------------------------------------------- */

/* The word is about to lead to the heap; where it led to a node on disk until now, that is charged. In a tree that names
 * each node once no other word leads there, so all that an edit is charged for are different nodes: no more than the files
 * have. What is only read again, as the base of an overlay is, and what only leaves the tree must not be charged. */
static int charge(struct edit *edit, uint64_t word, uint64_t bytes)
{
	uint64_t most;

	if (word_is_heap(word))
		return 0;
	most = store_bytes(edit->store);
	edit->charged_bytes += bytes;
	if (likely(edit->charged_bytes <= most))
		return 0;
	return store_corrupt(edit->store, word, most, edit->charged_bytes,
			     "changes have copied more bytes of nodes than the files have: nodes are named more than once");
}

/* The same of a leaf: of a delta with its base, which from now on lies under an overlay or is folded. */
static int charge_leaf(struct edit *edit, const struct leaf_view *leaf, uint64_t word)
{
	return charge(edit, word, (uint64_t)node_length(leaf->top) + (leaf->base ? node_length(leaf->base) : 0));
}

/* Makes the branch at *child the edit's own. */
static int own_branch(struct edit *edit, uint32_t tree, unsigned level, struct child *child, struct node **owned)
{
	const struct node *branch;
	struct block *copy;
	int result;

	if (is_owned(edit, child->word)) {
		*owned = word_node(child->word);
		return 0;
	}
	result = tree_node(edit->store, tree, level, child->word, child->hash, child->length,
			   &edit->lenses.level[0].node, &branch);
	if (!result)
		result = charge(edit, child->word, node_length(branch));
	if (result)
		return result;
	copy = edit_alloc(edit, node_length(branch), BLOCK_NODE);
	if (!copy)
		return -ENOMEM;
	*owned = block_payload(copy);
	memcpy(*owned, branch, node_length(branch));
	result = drop_word(edit, child->word);
	child->word = node_word(*owned);
	child->hash = 0;
	child->length = 0;
	return result;
}

static void root_child(const struct tree_root *root, struct child *child)
{
	*child = (struct child){ .word = root->word, .hash = root->hash, .count = root->count, .length = root->length };
}

static void root_set(struct tree_root *root, const struct child *child)
{
	root->word = child->word;
	root->hash = child->hash;
	root->count = child->count;
	root->length = child->length;
}

/* Descends to the leaf for key; all branches on the way become the edit's own. *leaf is the child word of the leaf. */
static int descend(struct edit *edit, uint32_t tree, struct tree_root *root, struct slf_slice key, struct path *path,
		   struct child *leaf)
{
	struct child child;

	path->height = root->height;
	path->rightmost = true;
	root_child(root, &child);
	for (unsigned level = root->height - 1; level > 0; level--) {
		struct step *step = &path->steps[level];
		uint64_t before = child.word;
		int result = own_branch(edit, tree, level, &child, &step->node);

		if (result)
			return result;
		if (child.word != before) {
			if (level + 1 == root->height)
				root_set(root, &child);
			else
				node_child_move(path->steps[level + 1].node, path->steps[level + 1].index, child.word);
		}
		step->index = node_branch_find(step->node, key);
		path->rightmost &= step->index + 1 == node_count(step->node);
		node_child_locate(step->node, step->index, &child);
	}
	*leaf = child;
	return 0;
}

/* ---- Leaves ------------------------------------------------------------------------------------------------------ */

static size_t leaf_used_bytes(const struct leaf_view *leaf)
{
	if (leaf->base) /* whose count is not 0: node_check has seen to it */
		return (size_t)((uint64_t)node_length(leaf->base) * node_live(leaf->top) / node_count(leaf->base));
	return node_used_bytes(leaf->top);
}

static int leaf_gather(const struct leaf_view *leaf, struct records *records)
{
	return leaf->base ? node_merge(leaf->base, leaf->top, records) : node_gather(leaf->top, records);
}

static size_t records_find(const struct records *records, struct slf_slice key, bool *found)
{
	size_t low = 0, high = records->count;

	*found = false;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = slice_compare(records->items[middle].key, key);

		if (order == 0) {
			*found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Puts the record into the sorted vector; a tombstone stays one. */
static int records_put(struct records *records, const struct record *record)
{
	bool found;
	size_t index = records_find(records, record->key, &found);
	int result = found ? 0 : records_add(records, record);

	if (result)
		return result;
	if (!found)
		memmove(&records->items[index + 1], &records->items[index],
			(records->count - 1 - index) * sizeof(*records->items));
	records->items[index] = *record;
	return 0;
}

static void records_remove(struct records *records, struct slf_slice key)
{
	bool found;
	size_t index = records_find(records, key, &found);

	if (!found)
		return;
	records->count--;
	memmove(&records->items[index], &records->items[index + 1],
		(records->count - index) * sizeof(*records->items));
}

/* One image on the heap, with room to grow up to `limit`. */
static int emit_image(struct edit *edit, uint32_t tree, struct slf_slice fence, const struct delta_base *base,
		      const struct record *records, size_t count, uint32_t live, size_t limit, struct child *piece)
{
	size_t capacity = count + count / 2 + 3;
	size_t bytes = node_leaf_bytes(records, count, capacity, fence.size, base != NULL);
	size_t room = bytes + bytes / 2 < limit ? bytes + bytes / 2 : limit;
	struct block *block = edit_alloc(edit, room > bytes ? room : bytes, BLOCK_NODE);

	if (!block)
		return -ENOMEM;
	node_leaf_build(block_payload(block), heap_room(block), tree, fence, base, records, count, capacity, live);
	*piece = (struct child){ .word = node_word(block_payload(block)),
				 .count = live,
				 .separator = node_fence(block_payload(block)) };
	return 0;
}

/* Nodes of a forged file may be larger than its settings allow: they are cut into pieces of more than `limit` bytes, so that
 * there are not too many of them, and none is larger than a node can be. */
static size_t piece_limit(size_t limit, size_t bytes)
{
	return u64_max(limit, bytes / (PIECES_MAX / 2));
}

/* Whole leaves on the heap for the records. */
static int emit_leaves(struct edit *edit, uint32_t tree, struct slf_slice fence, const struct records *records,
		       bool append, struct pieces *pieces)
{
	size_t bytes = node_leaf_bytes(records->items, records->count, records->count, fence.size, false);
	size_t limit = piece_limit(edit->store->settings.leaf_bytes, bytes);
	size_t cuts[PIECES_MAX - 1], from = 0;

	pieces->count = 0;
	if (records->count == 0)
		return 0;
	/* Keys below the fence have come when the leaf took over a range; the second piece must not get the fence. */
	if (slice_compare(records->items[0].key, fence) < 0)
		fence = records->items[0].key;
	size_t count = node_cut(records->items, records->count, limit, append, cuts, ARRAY_SIZE(cuts));
	for (size_t i = 0; i < count; i++) {
		size_t to = i + 1 < count ? cuts[i] : records->count;
		int result;

		if (i) {
			struct slf_slice first = records->items[from].key;
			fence = slice(first.data, node_separator_bytes(records->items[from - 1].key, first));
		}
		result = emit_image(edit, tree, fence, NULL, records->items + from, to - from, (uint32_t)(to - from),
				    limit, &pieces->items[i]);
		if (result)
			return result;
		pieces->count = i + 1;
		from = to;
	}
	return 0;
}

/* The leaf's own image as a base. */
static void base_of(const struct leaf_view *leaf, const struct child *at, struct delta_base *base)
{
	if (leaf->base)
		node_delta_base(leaf->top, base);
	else
		*base = (struct delta_base){ .position = at->word,
					     .hash = at->hash,
					     .length = at->length,
					     .count = node_count(leaf->top) };
}

/* A change of one leaf, on its way. */
struct change {
	struct slf_slice key;
	const struct record *record; /* NULL: delete */
	struct record tomb;
	uint32_t index;    /* of the key in the top image, or where it would stand */
	bool in_top;       /* the top image has the key, maybe deleted */
	bool in_base;      /* of a delete: the base (or the leaf on disk that becomes one) has the key */
	bool exists;       /* the key is there before */
	struct record old; /* its record */
	uint32_t live;     /* entries of the leaf afterwards */
	bool append;
};

/* What a delta gets: tombstones only where the base has the key. NULL: nothing, the key is to be removed. */
static const struct record *delta_record(const struct change *change)
{
	if (change->record)
		return change->record;
	return change->in_base ? &change->tomb : NULL;
}

/* Gathers the overlay's records with the change applied. */
static int gather_overlay(struct edit *edit, const struct leaf_view *leaf, const struct change *change)
{
	const struct record *record = delta_record(change);
	int result = 0;

	edit->records.count = 0;
	if (node_kind(leaf->top) == NODE_DELTA)
		result = node_gather(leaf->top, &edit->records);
	if (result)
		return result;
	if (record)
		return records_put(&edit->records, record);
	records_remove(&edit->records, change->key);
	return 0;
}

/* Above it an overlay is folded. */
static size_t overlay_limit(const struct node *base)
{
	return node_length(base) / 4 + NODE_HEADER_BYTES + DELTA_BASE_BYTES;
}

/* Tries an overlay: 0 done, NODE_FULL when the leaf is to be folded instead. */
static int rebuild_overlay(struct edit *edit, uint32_t tree, const struct leaf_view *leaf, const struct child *at,
			   const struct change *change, struct pieces *pieces)
{
	const struct node *bottom = leaf->base ? leaf->base : leaf->top;
	struct delta_base base;
	size_t bytes;
	int result;

	if (node_length(bottom) < OVERLAY_BASE_BYTES_MIN)
		return NODE_FULL;
	result = gather_overlay(edit, leaf, change);
	if (result)
		return result;
	bytes = node_leaf_bytes(edit->records.items, edit->records.count, edit->records.count, 0, true);
	if (bytes > overlay_limit(bottom))
		return NODE_FULL;
	base_of(leaf, at, &base);
	pieces->count = 1;
	return emit_image(edit, tree, node_fence(leaf->top), &base, edit->records.items, edit->records.count,
			  change->live, node_length(bottom), &pieces->items[0]);
}

static int rebuild_whole(struct edit *edit, uint32_t tree, const struct leaf_view *leaf, const struct change *change,
			 struct pieces *pieces)
{
	struct records *records = &edit->records;
	bool last;
	int result;

	records->count = 0;
	result = leaf_gather(leaf, records);
	if (!result && change->record)
		result = records_put(records, change->record);
	if (result)
		return result;
	if (!change->record)
		records_remove(records, change->key);
	last = records->count && slice_compare(records->items[records->count - 1].key, change->key) == 0;
	result = emit_leaves(edit, tree, node_fence(leaf->top), records, change->append && last, pieces);
	if (!result && leaf->base)
		stats_add(&stats_of(edit)->tree_folds, 1);
	if (!result)
		count_splits(edit, pieces);
	return result;
}

/* Applies the change to an image that the edit owns: 0 or NODE_FULL. */
static int change_in_place(struct node *top, const struct change *change)
{
	const struct record *record = node_kind(top) == NODE_DELTA ? delta_record(change) : change->record;
	int result = 0;

	if (record)
		result = node_put(top, change->index, change->in_top, record);
	else /* the key exists, and not in a base alone: that would have given a tombstone */
		node_remove(top, change->index);
	if (result == 0)
		node_set_live(top, change->live);
	return result;
}

/* Size and capacity of a copy with more room; 0 when the leaf is to be squeezed, folded or split instead. */
static size_t grown_bytes(const struct edit *edit, const struct leaf_view *leaf, const struct record *record,
			  size_t *capacity)
{
	size_t count = node_count(leaf->top), used = node_used_bytes(leaf->top) + node_record_bytes(record);
	size_t limit = edit->store->settings.leaf_bytes, room = limit, bytes;

	if (leaf->base) {
		limit = overlay_limit(leaf->base);
		room = node_length(leaf->base);
	}
	if (node_dead(leaf->top) || used > limit)
		return 0;
	*capacity = count + count / 2 + 3;
	bytes = used + 8 * (*capacity - count - 1);
	return u64_max(bytes, u64_min(bytes + bytes / 2, room));
}

/* Copies a heap image, of another epoch or without room, and changes the copy: 0, NODE_FULL or -ENOMEM. */
static int change_copy(struct edit *edit, const struct leaf_view *leaf, const struct change *change,
		       struct pieces *pieces)
{
	const struct node *top = leaf->top;
	const struct record *record = leaf->base ? delta_record(change) : change->record;
	size_t size = node_length(top), capacity = node_capacity(top);
	struct block *copy;
	int result;

	if (record && !node_has_room(top, change->index, change->in_top, record))
		size = grown_bytes(edit, leaf, record, &capacity);
	if (!size)
		return NODE_FULL;
	copy = edit_alloc(edit, size, BLOCK_NODE);
	if (!copy)
		return -ENOMEM;
	node_leaf_copy(block_payload(copy), size, capacity, top);
	result = change_in_place(block_payload(copy), change);
	if (result) {
		edit_drop(edit, copy);
		return result;
	}
	pieces->count = 1;
	pieces->items[0] = (struct child){ .word = node_word(block_payload(copy)),
					   .count = change->live,
					   .separator = node_fence(block_payload(copy)) };
	return 0;
}

/* Changes the leaf at *at. *same: it was changed in place and nothing else is to be done but counts. */
static int change_leaf(struct edit *edit, uint32_t tree, const struct leaf_view *leaf, const struct child *at,
		       const struct change *change, struct pieces *pieces, bool *same)
{
	int result = change->live ? charge_leaf(edit, leaf, at->word) : drop_word(edit, at->word);

	*same = false;
	pieces->count = 0;
	if (result || !change->live)
		return result;
	result = NODE_FULL;
	if (is_owned(edit, at->word)) {
		result = change_in_place(word_node(at->word), change);
		if (result == 0) {
			*same = true;
			return 0;
		}
	}
	if (leaf->heap)
		result = change_copy(edit, leaf, change, pieces);
	if (result == NODE_FULL && (leaf->base || !leaf->heap))
		result = rebuild_overlay(edit, tree, leaf, at, change, pieces);
	if (result == NODE_FULL)
		result = rebuild_whole(edit, tree, leaf, change, pieces);
	return result ? result : drop_word(edit, at->word);
}

/* word: of a node that is not where it belongs; of one on the heap there is no more to be told. */
static int disordered(struct edit *edit, uint64_t word, const char *what)
{
	return store_corrupt(edit->store, word_is_heap(word) ? 0 : word, 0, 0, what);
}

/* ---- Up ---------------------------------------------------------------------------------------------------------- */

static void path_add(struct tree_root *root, const struct path *path, unsigned level, int64_t added)
{
	for (; added && level < path->height; level++)
		node_child_count(path->steps[level].node, path->steps[level].index, added);
	root->count += (uint64_t)added;
}

static int emit_branches(struct edit *edit, uint32_t tree, unsigned level, struct slf_slice fence,
			 const struct child *children, size_t count, bool append, struct pieces *pieces)
{
	size_t limit = piece_limit(edit->store->settings.branch_bytes, node_branch_bytes(children, count, fence.size));
	size_t cuts[PIECES_MAX - 1], from = 0;
	size_t pieces_count = node_branch_cut(children, count, limit, append, cuts, ARRAY_SIZE(cuts));

	/* As for leaves. */
	if (pieces_count > 1 && slice_compare(children[1].separator, fence) < 0)
		fence = children[1].separator;
	for (size_t i = 0; i < pieces_count; i++) {
		size_t to = i + 1 < pieces_count ? cuts[i] : count;
		struct slf_slice low = i ? children[from].separator : fence;
		size_t bytes = node_branch_bytes(children + from, to - from, low.size);
		size_t room = bytes + bytes / 4 < limit ? bytes + bytes / 4 : limit;
		struct block *block = edit_alloc(edit, room > bytes ? room : bytes, BLOCK_NODE);

		if (!block)
			return -ENOMEM;
		node_branch_build_roomy(block_payload(block), room > bytes ? room : bytes, tree, level, low,
					children + from, to - from);
		pieces->items[i] = (struct child){ .word = node_word(block_payload(block)),
						   .count = node_entries(block_payload(block)),
						   .separator = node_fence(block_payload(block)) };
		from = to;
	}
	pieces->count = pieces_count;
	return 0;
}

/* Gathers the children of branch with [from, from + removed) replaced by the pieces. */
static int splice_children(struct edit *edit, const struct node *branch, uint32_t from, uint32_t removed,
			   const struct pieces *pieces)
{
	edit->children.count = 0;
	for (uint32_t i = 0; i < node_count(branch); i++) {
		struct child child;
		int result = 0;

		if (i == from)
			for (size_t j = 0; j < pieces->count && !result; j++) {
				child = pieces->items[j];
				if (j == 0)
					child.separator = node_separator(branch, from);
				result = children_add(&edit->children, &child);
			}
		if (!result && (i < from || i >= from + removed)) {
			node_child(branch, i, &child);
			result = children_add(&edit->children, &child);
		}
		if (result)
			return result;
	}
	return 0;
}

/* The replaced root: grows by a level while there are several pieces. */
static int replace_root(struct edit *edit, uint32_t tree, struct tree_root *root, bool append, struct pieces *pieces)
{
	while (pieces->count > 1) {
		struct pieces above = { 0 };
		int result;

		if (root->height == NODE_LEVELS_MAX) /* forged: no tree grows so high */
			return store_corrupt(edit->store, 0, 0, 0, "tree has all the levels that a tree can have");
		result = emit_branches(edit, tree, root->height, slice("", 0), pieces->items, pieces->count, append,
				       &above);
		if (result)
			return result;
		root->height++;
		*pieces = above;
	}
	if (pieces->count == 0)
		*root = (struct tree_root){ 0 };
	else
		root_set(root, &pieces->items[0]);
	return 0;
}

/* A root with one child is not needed. */
static int lower_root(struct edit *edit, uint32_t tree, struct tree_root *root)
{
	while (root->height > 1) {
		const struct node *branch;
		struct child child;
		uint64_t word = root->word;
		int result = tree_node(edit->store, tree, root->height - 1, word, root->hash, root->length,
				       &edit->lenses.level[0].node, &branch);

		if (result || node_count(branch) > 1)
			return result;
		node_child(branch, 0, &child);
		root_set(root, &child);
		root->height--;
		result = drop_word(edit, word);
		if (result)
			return result;
	}
	return 0;
}

/* Of children that stood under two branches: does the separator that the parent had between them stand in order? seam: the
 * index of the child that it belongs to. */
static int check_seam(struct edit *edit, uint64_t word, size_t seam)
{
	const struct child *items = edit->children.items;

	if ((seam < 2 || slice_compare(items[seam - 1].separator, items[seam].separator) < 0) &&
	    (seam + 1 == edit->children.count || slice_compare(items[seam].separator, items[seam + 1].separator) < 0))
		return 0;
	return disordered(edit, word, "separators of a branch do not follow those of its neighbour");
}

/* The gathered children of a branch that became small, joined with those of its neighbour under the same parent, when
 * both fit in one node. *from and *removed become the pair in the parent; *fence that of the left one. */
static int join_branch(struct edit *edit, uint32_t tree, const struct path *path, unsigned level, uint32_t *from,
		       uint32_t *removed, struct slf_slice *fence, uint64_t *joined)
{
	const struct step *up = &path->steps[level + 1];
	uint32_t left = up->index ? up->index - 1 : up->index;
	size_t own = edit->children.count;
	struct children *children = &edit->children;
	const struct node *other;
	struct child child;
	int result;

	if (node_count(up->node) < 2)
		return 0;
	node_child_locate(up->node, up->index ? up->index - 1 : 1, &child);
	result = tree_node(edit->store, tree, level, child.word, child.hash, child.length, &edit->sibling.node, &other);
	if (result || node_length(other) + node_branch_bytes(children->items, own, 0) >
			      edit->store->settings.branch_bytes * 3 / 4)
		return result;
	result = charge(edit, child.word, node_length(other));
	if (up->index) { /* own children stand to the right: their first gets the separator of the own node */
		children->items[0].separator = node_separator(up->node, up->index);
		*fence = node_fence(other);
	}
	for (uint32_t i = 0; i < node_count(other) && !result; i++) {
		struct child moved;

		node_child(other, i, &moved);
		if (i == 0 && !up->index)
			moved.separator = node_separator(up->node, 1);
		result = children_add(children, &moved);
	}
	if (result)
		return result;
	if (up->index) { /* rotate: the neighbour's children come first */
		for (uint32_t i = 0; i < node_count(other); i++) {
			struct child last = children->items[children->count - 1];

			memmove(children->items + 1, children->items, (children->count - 1) * sizeof(last));
			children->items[0] = last;
		}
	}
	*from = left;
	*removed = 2;
	*joined = child.word;
	return check_seam(edit, child.word, up->index ? node_count(other) : own);
}

/* One level of replace: gives the pieces for the level above. */
static int replace_at(struct edit *edit, uint32_t tree, const struct path *path, unsigned level, uint32_t *from,
		      uint32_t *removed, struct pieces *pieces)
{
	struct node *branch = path->steps[level].node;
	struct slf_slice fence = node_fence(branch);
	bool top = level + 1 == path->height, shrunk = pieces->count < *removed;
	uint64_t joined = 0;
	int result = splice_children(edit, branch, *from, *removed, pieces);

	if (result)
		return result;
	*from = top ? 0 : path->steps[level + 1].index;
	*removed = 1;
	if (edit->children.count == 0) {
		pieces->count = 0;
		return edit_drop(edit, block_of(branch));
	}
	if (shrunk && !top &&
	    node_branch_bytes(edit->children.items, edit->children.count, 0) < edit->store->settings.branch_bytes / 4) {
		result = join_branch(edit, tree, path, level, from, removed, &fence, &joined);
		if (result)
			return result;
	}
	result = emit_branches(edit, tree, level, fence, edit->children.items, edit->children.count, path->rightmost,
			       pieces);
	if (result)
		return result;
	count_splits(edit, pieces);
	if (joined) {
		stats_add(&stats_of(edit)->tree_joins, 1);
		result = drop_word(edit, joined);
	}
	return result ? result : edit_drop(edit, block_of(branch));
}

/* Do the pieces begin where they are reached from [from, from + removed) of the branch? A node that was split may have had
 * keys of another range; among separators in another order a search would read beyond the end. */
static int check_pieces(struct edit *edit, const struct node *branch, uint32_t from, uint32_t removed,
			const struct pieces *pieces)
{
	if (likely(pieces->count < 2))
		return 0;
	if (slice_compare(node_separator(branch, from), pieces->items[1].separator) < 0 &&
	    (from + removed == node_count(branch) ||
	     slice_compare(pieces->items[pieces->count - 1].separator, node_separator(branch, from + removed)) < 0))
		return 0;
	return disordered(edit, node_word(branch), "keys of a node are not those that its branch leads to");
}

/* One piece, or two where the branch has room: the usual cases. */
static bool replace_in_place(struct node *branch, uint32_t index, const struct pieces *pieces)
{
	if (pieces->count < 1 || pieces->count > 2)
		return false;
	if (pieces->count == 2 && node_branch_insert(branch, index + 1, &pieces->items[1]))
		return false;
	node_child_set(branch, index, &pieces->items[0]);
	return true;
}

/* Replaces children [from, from + removed) of the branch at `level` by the pieces, and what follows from it above.
 * added: change of the number of entries. */
static int replace(struct edit *edit, uint32_t tree, struct tree_root *root, const struct path *path, unsigned level,
		   uint32_t from, uint32_t removed, struct pieces *pieces, int64_t added)
{
	for (; level < path->height; level++) {
		int result = check_pieces(edit, path->steps[level].node, from, removed, pieces);

		if (result)
			return result;
		if (removed == 1 && replace_in_place(path->steps[level].node, from, pieces)) {
			path_add(root, path, level + 1, added);
			return 0;
		}
		result = replace_at(edit, tree, path, level, &from, &removed, pieces);
		if (result)
			return result;
	}
	int result = replace_root(edit, tree, root, path->rightmost, pieces);
	return result ? result : lower_root(edit, tree, root);
}

/* ---- Merging leaves ---------------------------------------------------------------------------------------------- */

/* The records of two neighbours. */
static int gather_both(struct edit *edit, const struct leaf_view *views, const struct child *at)
{
	struct records *records = &edit->records;
	size_t seam;
	int result;

	records->count = 0;
	result = leaf_gather(&views[0], records);
	seam = records->count;
	if (!result)
		result = leaf_gather(&views[1], records);
	/* a forged delta deletes all that it lies on */
	if (result || !seam || seam == records->count ||
	    likely(slice_compare(records->items[seam - 1].key, records->items[seam].key) < 0))
		return result;
	return disordered(edit, at[1].word, "keys of a leaf do not follow those of its neighbour");
}

/* After a deletion: joins the leaf under the path with a neighbour when it became small and both fit. The path is owned
 * and its counts are right. */
static int join_leaf(struct edit *edit, uint32_t tree, struct tree_root *root, const struct path *path)
{
	const struct step *up = &path->steps[1];
	uint32_t left = up->index ? up->index - 1 : 0;
	size_t limit = edit->store->settings.leaf_bytes;
	struct leaf_view views[2] = { 0 };
	struct child at[2];
	struct pieces pieces = { 0 };
	int result;

	if (path->height < 2 || node_count(up->node) < 2)
		return 0;
	node_child_locate(up->node, up->index, &at[0]);
	result = tree_leaf(edit->store, tree, at[0].word, at[0].hash, at[0].length, &edit->lenses.level[0], &views[0]);
	if (result || leaf_used_bytes(&views[0]) >= limit / 4)
		return result;
	node_child_locate(up->node, left, &at[0]);
	node_child_locate(up->node, left + 1, &at[1]);
	result = tree_leaf(edit->store, tree, at[0].word, at[0].hash, at[0].length, &edit->lenses.level[0], &views[0]);
	if (!result)
		result = tree_leaf(edit->store, tree, at[1].word, at[1].hash, at[1].length, &edit->sibling, &views[1]);
	if (result || leaf_used_bytes(&views[0]) + leaf_used_bytes(&views[1]) > limit * 3 / 4)
		return result;
	for (unsigned i = 0; i < 2 && !result; i++)
		result = charge_leaf(edit, &views[i], at[i].word);
	if (!result)
		result = gather_both(edit, views, at);
	if (!result)
		result = emit_leaves(edit, tree, node_fence(views[0].top), &edit->records, false, &pieces);
	if (!result)
		result = drop_word(edit, at[0].word);
	if (!result)
		result = drop_word(edit, at[1].word);
	if (result)
		return result;
	stats_add(&stats_of(edit)->tree_joins, 1);
	return replace(edit, tree, root, path, 1, left, 2, &pieces, 0);
}

/* ---- The two changes --------------------------------------------------------------------------------------------- */

static int first_leaf(struct edit *edit, uint32_t tree, struct tree_root *root, const struct record *record)
{
	struct child piece;
	int result = emit_image(edit, tree, slice("", 0), NULL, record, 1, 1, edit->store->settings.leaf_bytes, &piece);

	if (result)
		return result;
	root_set(root, &piece);
	root->height = 1;
	return 0;
}

/* The heap block of the value that is being replaced or deleted. */
static struct block *old_value(const struct change *change)
{
	if (!change->exists || change->old.kind != RECORD_HEAP)
		return NULL;
	return heap_ref_block(change->old.value);
}

/* Looks at the leaf for what the change meets there. */
static void change_meet(const struct leaf_view *leaf, struct change *change)
{
	uint32_t index;

	change->tomb = (struct record){ .key = change->key, .kind = RECORD_TOMB };
	change->in_top = node_find(leaf->top, change->key, &change->index);
	if (leaf->base && (!change->in_top || !change->record)) /* a put over a record of the overlay need not know */
		change->in_base = node_find(leaf->base, change->key, &index);
	if (change->in_top)
		node_record(leaf->top, change->index, &change->old);
	else if (change->in_base)
		node_record(leaf->base, index, &change->old);
	change->exists = (change->in_top || change->in_base) && change->old.kind != RECORD_TOMB;
	if (!leaf->base)
		change->in_base = !leaf->heap && change->exists;
	change->live = node_live(leaf->top);
	if (change->record)
		change->live += !change->exists;
	else
		change->live -= change->exists;
}

static int tree_change(struct edit *edit, uint32_t tree, struct tree_root *root, struct change *change)
{
	struct path path;
	struct pieces pieces;
	struct leaf_view leaf = { 0 };
	struct child at = { 0 };
	struct block *value;
	int64_t added;
	bool same, stands;
	int result = descend(edit, tree, root, change->key, &path, &at);

	if (!result)
		result = tree_leaf(edit->store, tree, at.word, at.hash, at.length, &edit->lenses.level[1], &leaf);
	if (result)
		return result;
	change_meet(&leaf, change);
	assert(change->record || change->exists);
	change->append = path.rightmost && change->record && !change->exists;
	added = change->record ? !change->exists : -(int64_t)change->exists;
	value = old_value(change);
	result = change_leaf(edit, tree, &leaf, &at, change, &pieces, &same);
	if (!result && value)
		result = edit_drop(edit, value);
	if (result)
		return result;
	stands = same || pieces.count == 1; /* else branches of the path are about to be replaced */
	if (same)
		path_add(root, &path, 1, added);
	else if (path.height == 1)
		result = replace_root(edit, tree, root, path.rightmost, &pieces);
	else
		result = replace(edit, tree, root, &path, 1, path.steps[1].index, 1, &pieces, added);
	if (result || change->record || !stands)
		return result;
	return join_leaf(edit, tree, root, &path);
}

int tree_put(struct edit *edit, uint32_t tree, struct tree_root *root, const struct record *record)
{
	struct change change = { .key = record->key, .record = record };

	if (!root->word)
		return first_leaf(edit, tree, root, record);
	return tree_change(edit, tree, root, &change);
}

int tree_del(struct edit *edit, uint32_t tree, struct tree_root *root, struct slf_slice key)
{
	struct change change = { .key = key };
	struct found found;
	/* Looked up first: what is not there must not cost a copy of the path. */
	int result = tree_get(edit->store, tree, root, key, &edit->lenses, &found);

	return result ? result : tree_change(edit, tree, root, &change);
}
