/* SPDX-License-Identifier: MIT */
/*
 * Branches as bytes. Besides child words (and what belongs to them), an image that only its maker sees may get further
 * children in place, while it has spare capacity and room behind its separators; all else is a new image.
 *
 * Separators 1..n-1 are searched as the keys of a leaf are; separator 0 stands for everything below the first of them
 * and is stored empty. The prefix is that of separators 1 and n-1, and 0 when there are fewer than two of them.
 */
#include "node_image.h"

#include <stdlib.h>

/* Bytes of the arrays for one child; the separator comes on top. */
#define CHILD_BYTES (4 + 8 + 8 + 8 + 4 + 4)
/* Behind the heads when their number is odd. */
#define HEADS_PADDING_BYTES 4

void children_release(struct children *children)
{
	free(children->items);
	*children = (struct children){ 0 };
}

int children_add(struct children *children, const struct child *child)
{
	if (children->count == children->capacity) {
		struct child *items = array_grow(children->items, &children->capacity, sizeof(*items));

		if (!items)
			return -ENOMEM;
		children->items = items;
	}
	children->items[children->count++] = *child;
	return 0;
}

/* ---- Search ------------------------------------------------------------------------------------------------------ */

struct slf_slice node_separator(const struct node *branch, uint32_t index)
{
	const uint8_t *slots = node_bytes(branch) + branch_layout(node_capacity(branch)).slots;
	const uint8_t *bytes = node_bytes(branch) + get_u32(slots + 4 * (size_t)index);

	return slice(bytes + SEPARATOR_HEADER_BYTES, get_u16(bytes));
}

/* Goes on below separator `high`, whose head equals the key's but which is greater. */
static uint32_t find_among_equals(const struct node *branch, struct slf_slice key, uint32_t head, uint32_t high)
{
	uint32_t low = heads_below(node_bytes(branch) + NODE_HEADER_BYTES + 4, node_count(branch) - 1, head);

	/* separator[low] <= key < separator[high]; separator 0 is below every key. */
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (tail_compare(key, node_separator(branch, middle), node_prefix(branch)) < 0)
			high = middle;
		else
			low = middle;
	}
	return low;
}

static int branch_prefix_compare(const struct node *branch, struct slf_slice key, uint32_t prefix)
{
	return node_prefix_compare(branch, key, prefix, branch_layout(node_capacity(branch)).slots + 4,
				   SEPARATOR_HEADER_BYTES);
}

uint32_t node_branch_find(const struct node *branch, struct slf_slice key)
{
	const uint8_t *heads = node_bytes(branch) + NODE_HEADER_BYTES;
	uint32_t count = node_count(branch);
	uint32_t prefix = node_prefix(branch);
	uint32_t head = 0, index = 0;

	if (prefix) {
		int order = branch_prefix_compare(branch, key, prefix);

		if (unlikely(order))
			return order < 0 ? 0 : count - 1;
	}
	head = head_make(key, prefix);
	index = heads_below(heads + 4, count - 1, (uint64_t)head + 1);
	if (likely(!index || get_u32(heads + 4 * (size_t)index) != head))
		return index;
	if (tail_compare(key, node_separator(branch, index), prefix) >= 0)
		return index;
	return find_among_equals(branch, key, head, index);
}

/* ---- Children ---------------------------------------------------------------------------------------------------- */

/* Hash, length and entries may be read while the install pass of a checkpoint writes them; whoever does has seen the
 * old word and makes no use of them. Atomic accesses keep that within the language. */
void node_child(const struct node *branch, uint32_t index, struct child *child)
{
	struct branch_layout layout = branch_layout(node_capacity(branch));
	const uint8_t *bytes = node_bytes(branch);
	const void *hash = bytes + layout.hashes + 8 * (size_t)index;
	const void *count = bytes + layout.counts + 8 * (size_t)index;
	const void *length = bytes + layout.lengths + 4 * (size_t)index;

	assert(index < node_count(branch));
	child->word = node_child_word(branch, index);
	child->hash = le64toh(__atomic_load_n((const uint64_t *)hash, __ATOMIC_RELAXED));
	child->count = le64toh(__atomic_load_n((const uint64_t *)count, __ATOMIC_RELAXED));
	child->length = le32toh(__atomic_load_n((const uint32_t *)length, __ATOMIC_RELAXED));
	child->separator = index ? node_separator(branch, index) : slice(NULL, 0);
}

void node_child_set(struct node *branch, uint32_t index, const struct child *child)
{
	struct branch_layout layout = branch_layout(node_capacity(branch));
	uint8_t *bytes = node_bytes_mutable(branch);

	assert(index < node_count(branch));
	put_u64(bytes + layout.words + 8 * (size_t)index, child->word);
	put_u64(bytes + layout.hashes + 8 * (size_t)index, child->hash);
	put_u64(bytes + layout.counts + 8 * (size_t)index, child->count);
	put_u32(bytes + layout.lengths + 4 * (size_t)index, child->length);
}

void node_child_settle(struct node *branch, uint32_t index, const struct child *child)
{
	struct branch_layout layout = branch_layout(node_capacity(branch));
	uint8_t *bytes = node_bytes_mutable(branch);
	void *word = bytes + layout.words + 8 * (size_t)index;
	void *hash = bytes + layout.hashes + 8 * (size_t)index;
	void *length = bytes + layout.lengths + 4 * (size_t)index;

	assert(index < node_count(branch));
	__atomic_store_n((uint64_t *)hash, htole64(child->hash), __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)length, htole32(child->length), __ATOMIC_RELAXED);
	__atomic_store_n((uint64_t *)word, htole64(child->word), __ATOMIC_RELEASE);
}

void node_child_move(struct node *branch, uint32_t index, uint64_t word)
{
	struct branch_layout layout = branch_layout(node_capacity(branch));
	uint8_t *bytes = node_bytes_mutable(branch);

	assert(index < node_count(branch) && word & 1);
	put_u64(bytes + layout.hashes + 8 * (size_t)index, 0);
	put_u32(bytes + layout.lengths + 4 * (size_t)index, 0);
	put_u64(bytes + layout.words + 8 * (size_t)index, word);
}

void node_child_count(struct node *branch, uint32_t index, int64_t added)
{
	uint8_t *count = node_bytes_mutable(branch) + branch_layout(node_capacity(branch)).counts + 8 * (size_t)index;

	assert(index < node_count(branch));
	put_u64(count, get_u64(count) + (uint64_t)added);
}

int node_branch_gather(const struct node *branch, struct children *children)
{
	struct child child = { 0 };
	int result = 0;

	for (uint32_t i = 0; !result && i < node_count(branch); i++) {
		node_child(branch, i, &child);
		result = children_add(children, &child);
	}
	return result;
}

uint64_t node_entries(const struct node *node)
{
	uint64_t entries = 0;

	if (node_kind(node) != NODE_BRANCH)
		return node_live(node);
	for (uint32_t i = 0; i < node_count(node); i++)
		entries += node_child_entries(node, i);
	return entries;
}

/* ---- Building and cutting ---------------------------------------------------------------------------------------- */

size_t node_branch_bytes(const struct child *children, size_t count, size_t fence_bytes)
{
	size_t bytes = branch_layout(count).fence + fence_bytes + count * SEPARATOR_HEADER_BYTES;

	for (size_t i = 1; i < count; i++)
		bytes += children[i].separator.size;
	return bytes;
}

/* Where the next separator goes in an image with room; NODE_AT_AUX is 0 in one without. */
static uint32_t separators_end(const struct node *branch)
{
	uint32_t end = get_u32(node_bytes(branch) + NODE_AT_AUX);

	return end ? end : node_length(branch);
}

static void build(struct node *image, size_t size, uint32_t tree, unsigned level, struct slf_slice fence,
		  const struct child *children, size_t count, size_t capacity)
{
	struct branch_layout layout = branch_layout(capacity);
	uint8_t *bytes = node_bytes_mutable(image);
	size_t prefix = count < 3 ? 0 : common_prefix(children[1].separator, children[count - 1].separator);
	size_t offset = layout.fence + fence.size;

	assert(count && level && level < NODE_LEVELS_MAX && size <= UINT32_MAX && fence.size <= KEY_BYTES_MAX);
	memset(bytes, 0, layout.fence);
	put_u32(bytes + NODE_AT_LENGTH, (uint32_t)size);
	bytes[NODE_AT_TYPE] = ENTRY_NODE;
	bytes[NODE_AT_KIND] = NODE_BRANCH;
	bytes[NODE_AT_LEVEL] = (uint8_t)level;
	put_u32(bytes + NODE_AT_TREE, tree);
	put_u32(bytes + NODE_AT_COUNT, (uint32_t)count);
	put_u32(bytes + NODE_AT_CAPACITY, (uint32_t)capacity);
	put_u32(bytes + NODE_AT_RECORDS, (uint32_t)offset);
	put_u16(bytes + NODE_AT_FENCE, (uint16_t)fence.size);
	node_prefix_set(image, count > 1 ? children[1].separator : slice("", 0), prefix);
	slice_copy(bytes + layout.fence, fence);
	for (size_t i = 0; i < count; i++) {
		struct slf_slice separator = i ? children[i].separator : slice(NULL, 0);

		assert(separator.size <= KEY_BYTES_MAX);
		if (i)
			put_u32(bytes + NODE_HEADER_BYTES + 4 * i, head_make(separator, prefix));
		put_u32(bytes + layout.slots + 4 * i, (uint32_t)offset);
		put_u16(bytes + offset, (uint16_t)separator.size);
		slice_copy(bytes + offset + SEPARATOR_HEADER_BYTES, separator);
		offset += SEPARATOR_HEADER_BYTES + separator.size;
		node_child_set(image, (uint32_t)i, &children[i]);
	}
	assert(offset <= size);
	if (offset < size || capacity > count)
		put_u32(bytes + NODE_AT_AUX, (uint32_t)offset);
	memset(bytes + offset, 0, size - offset);
}

void node_branch_build(struct node *image, size_t size, uint32_t tree, unsigned level, struct slf_slice fence,
		       const struct child *children, size_t count)
{
	assert(size == node_branch_bytes(children, count, fence.size));
	build(image, size, tree, level, fence, children, count, count);
}

void node_branch_build_roomy(struct node *image, size_t size, uint32_t tree, unsigned level, struct slf_slice fence,
			     const struct child *children, size_t count)
{
	size_t exact = node_branch_bytes(children, count, fence.size), average = (exact - fence.size) / count + 1;
	size_t spare = size > exact + HEADS_PADDING_BYTES ? (size - exact - HEADS_PADDING_BYTES) / average : 0;

	build(image, size, tree, level, fence, children, count, count + spare);
}

/* Opens a gap at index in an array of `count` items and fills it. */
static void array_insert(uint8_t *array, uint32_t count, uint32_t index, const void *item, size_t item_bytes)
{
	memmove(array + (index + 1) * item_bytes, array + index * item_bytes, (count - index) * item_bytes);
	memcpy(array + index * item_bytes, item, item_bytes);
}

int node_branch_insert(struct node *branch, uint32_t index, const struct child *child)
{
	struct branch_layout layout = branch_layout(node_capacity(branch));
	uint8_t *bytes = node_bytes_mutable(branch);
	uint32_t count = node_count(branch), offset = separators_end(branch), prefix = node_prefix(branch);
	uint32_t head, slot = htole32(offset);
	uint64_t zero = 0;

	assert(index > 0 && index <= count);
	if (count == node_capacity(branch) ||
	    offset + SEPARATOR_HEADER_BYTES + child->separator.size > node_length(branch) ||
	    (prefix && branch_prefix_compare(branch, child->separator, prefix)))
		return NODE_FULL;
	head = htole32(head_make(child->separator, prefix));
	put_u16(bytes + offset, (uint16_t)child->separator.size);
	slice_copy(bytes + offset + SEPARATOR_HEADER_BYTES, child->separator);
	put_u32(bytes + NODE_AT_AUX, offset + SEPARATOR_HEADER_BYTES + (uint32_t)child->separator.size);
	array_insert(bytes + NODE_HEADER_BYTES, count, index, &head, sizeof(head));
	array_insert(bytes + layout.words, count, index, &zero, sizeof(zero));
	array_insert(bytes + layout.hashes, count, index, &zero, sizeof(zero));
	array_insert(bytes + layout.counts, count, index, &zero, sizeof(zero));
	array_insert(bytes + layout.lengths, count, index, &zero, 4);
	array_insert(bytes + layout.slots, count, index, &slot, sizeof(slot));
	put_u32(bytes + NODE_AT_COUNT, count + 1);
	node_child_set(branch, index, child);
	return 0;
}

static size_t child_bytes(const struct child *child)
{
	return CHILD_BYTES + SEPARATOR_HEADER_BYTES + child->separator.size;
}

size_t node_branch_cut(const struct child *children, size_t count, size_t limit, bool append, size_t *cuts,
		       size_t cuts_max)
{
	size_t room = limit - NODE_HEADER_BYTES - HEADS_PADDING_BYTES;
	size_t rest = 0, pieces = 1, start = 0;

	assert(limit > NODE_HEADER_BYTES + HEADS_PADDING_BYTES);
	for (size_t k = 0; k < count; k++)
		rest += child_bytes(&children[k]);
	while (rest > room && pieces <= cuts_max && count - start >= 4) {
		size_t target = append ? room : rest / ((rest + room - 1) / room);
		size_t used = child_bytes(&children[start]) + child_bytes(&children[start + 1]);
		size_t i = start + 2;

		/* At least two stay behind for the next piece. */
		while (i < count - 2) {
			size_t next = child_bytes(&children[i]);

			if (used + next > room || (!append && used + next / 2 > target))
				break;
			used += next;
			i++;
		}
		rest -= used;
		start = i;
		cuts[pieces++ - 1] = i;
	}
	return pieces;
}
