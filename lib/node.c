/* SPDX-License-Identifier: MIT */
/*
 * Leaves and deltas as bytes: search, building, changes in place, merging and cutting.
 *
 * A search compares the key with the prefix all keys share (the beginning of record 0's key), finds the key's head
 * among the heads without a jump that depends on data, and looks at whole keys only where heads are equal. Heads are
 * filled up with zeros, so a key and the same key with zero bytes behind it may have equal heads: equal heads say
 * nothing.
 *
 * Records grow downward from the end. A builder lays them in key order, so that record 0, which gives the prefix, is
 * next to the arrays and a scan runs forward. Changes in place only ever append below the lowest record and count what
 * they leave behind as dead; to make use of dead bytes is a rebuild, which the caller orders when it is told NODE_FULL.
 *
 * The prefix is exact when built. It stays valid under node_put, which refuses keys outside it, and may become too
 * short under node_remove.
 */
#include "node_image.h"

#include <stdlib.h>

struct slf_slice node_fence(const struct node *node)
{
	uint64_t offset =
		node_kind(node) == NODE_BRANCH ? branch_layout(node_capacity(node)).fence : leaf_fence_offset(node);

	return slice(node_bytes(node) + offset, node_fence_bytes(node));
}

/* ---- Vectors ----------------------------------------------------------------------------------------------------- */

void records_release(struct records *records)
{
	free(records->items);
	*records = (struct records){ 0 };
}

int records_add(struct records *records, const struct record *record)
{
	if (records->count == records->capacity) {
		struct record *items = array_grow(records->items, &records->capacity, sizeof(*items));

		if (!items)
			return -ENOMEM;
		records->items = items;
	}
	records->items[records->count++] = *record;
	return 0;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

void node_delta_base(const struct node *delta, struct delta_base *base)
{
	const uint8_t *bytes = node_bytes(delta) + NODE_HEADER_BYTES;

	assert(node_kind(delta) == NODE_DELTA);
	base->position = get_u64(bytes);
	base->hash = get_u64(bytes + 8);
	base->length = get_u32(bytes + 16);
	base->count = get_u32(bytes + 20);
}

/* Goes on behind record `low`, whose head equals the key's but which is less than it. */
static bool find_among_equals(const struct node *leaf, struct slf_slice key, uint32_t head, uint32_t low,
			      uint32_t *index)
{
	uint32_t high = heads_below(leaf_heads(leaf), node_count(leaf), (uint64_t)head + 1);

	low++;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = tail_compare(key, record_key(leaf_record(leaf, middle)), node_prefix(leaf));

		if (!order) {
			*index = middle;
			return true;
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	*index = low;
	return false;
}

static int leaf_prefix_compare(const struct node *leaf, struct slf_slice key, uint32_t prefix)
{
	return node_prefix_compare(leaf, key, prefix, (size_t)(leaf_slots(leaf) - node_bytes(leaf)),
				   RECORD_HEADER_BYTES);
}

bool node_find(const struct node *leaf, struct slf_slice key, uint32_t *index)
{
	const uint8_t *heads = leaf_heads(leaf);
	uint32_t count = node_count(leaf);
	uint32_t prefix = node_prefix(leaf);
	uint32_t head = 0, low = 0;
	int order = 0;

	if (prefix) {
		order = leaf_prefix_compare(leaf, key, prefix);
		if (unlikely(order)) {
			*index = order < 0 ? 0 : count;
			return false;
		}
	}
	head = head_make(key, prefix);
	low = heads_below(heads, count, head);
	*index = low;
	if (low == count || get_u32(heads + 4 * (size_t)low) != head)
		return false;
	order = tail_compare(key, record_key(leaf_record(leaf, low)), prefix);
	if (likely(order <= 0))
		return order == 0;
	return find_among_equals(leaf, key, head, low, index);
}

void node_record(const struct node *leaf, uint32_t index, struct record *record)
{
	const uint8_t *bytes = leaf_record(leaf, index);

	assert(index < node_count(leaf));
	record->key = record_key(bytes);
	record->value = slice(record_ref(bytes), record_value_bytes(bytes));
	record->kind = record_kind(bytes);
}

/* ---- Building ---------------------------------------------------------------------------------------------------- */

/* Without the arrays. */
static size_t stored_bytes(const struct record *record)
{
	return RECORD_HEADER_BYTES + record->key.size + record->value.size;
}

size_t node_record_bytes(const struct record *record)
{
	return 8 + stored_bytes(record);
}

size_t node_leaf_bytes(const struct record *records, size_t count, size_t capacity, size_t fence_bytes, bool delta)
{
	size_t bytes = leaf_heads_offset(delta ? NODE_DELTA : NODE_LEAF) + 8 * capacity + fence_bytes;

	assert(capacity >= count);
	for (size_t i = 0; i < count; i++)
		bytes += stored_bytes(&records[i]);
	return bytes;
}

static void record_header_write(uint8_t *to, const struct record *record)
{
	assert(record->key.size <= KEY_BYTES_MAX && record->value.size <= INLINE_BYTES_MAX);
	assert(record->kind != RECORD_TOMB || !record->value.size);
	assert((record->kind != RECORD_REF && record->kind != RECORD_HEAP) || record->value.size == VALUE_REF_BYTES);
	put_u16(to, (uint16_t)record->key.size);
	put_u16(to + 2, (uint16_t)((unsigned)record->kind << 14 | (unsigned)record->value.size));
}

static void record_write(uint8_t *to, const struct record *record)
{
	record_header_write(to, record);
	slice_copy(to + RECORD_HEADER_BYTES, record->key);
	slice_copy(to + RECORD_HEADER_BYTES + record->key.size, record->value);
}

static void delta_base_write(uint8_t *to, const struct delta_base *base)
{
	put_u64(to, base->position);
	put_u64(to + 8, base->hash);
	put_u32(to + 16, base->length);
	put_u32(to + 20, base->count);
	put_u64(to + 24, 0);
}

static uint8_t record_flag(enum record_kind kind)
{
	return kind == RECORD_REF ? NODE_FLAG_REFS : kind == RECORD_HEAP ? NODE_FLAG_HEAP : 0;
}

void node_leaf_build(struct node *image, size_t size, uint32_t tree, struct slf_slice fence,
		     const struct delta_base *base, const struct record *records, size_t count, size_t capacity,
		     uint32_t live)
{
	uint8_t *bytes = node_bytes_mutable(image);
	uint8_t *heads = bytes + leaf_heads_offset(base ? NODE_DELTA : NODE_LEAF);
	size_t prefix = count < 2 ? 0 : common_prefix(records[0].key, records[count - 1].key);
	size_t needed = node_leaf_bytes(records, count, capacity, fence.size, base != NULL);
	size_t fence_end = (size_t)(heads - bytes) + 8 * capacity + fence.size;
	size_t lowest = size - (needed - fence_end);
	size_t offset = lowest;

	assert(size >= needed && size <= UINT32_MAX && fence.size <= KEY_BYTES_MAX);
	memset(bytes, 0, lowest);
	for (size_t i = 0; i < count; i++) {
		assert(records[i].kind != RECORD_TOMB || base);
		put_u32(heads + 4 * i, head_make(records[i].key, prefix));
		put_u32(heads + 4 * (capacity + i), (uint32_t)offset);
		record_write(bytes + offset, &records[i]);
		offset += stored_bytes(&records[i]);
		bytes[NODE_AT_FLAGS] |= record_flag(records[i].kind);
	}
	assert(offset == size);
	put_u32(bytes + NODE_AT_LENGTH, (uint32_t)size);
	bytes[NODE_AT_TYPE] = ENTRY_NODE;
	bytes[NODE_AT_KIND] = base ? NODE_DELTA : NODE_LEAF;
	put_u32(bytes + NODE_AT_TREE, tree);
	put_u32(bytes + NODE_AT_COUNT, (uint32_t)count);
	put_u32(bytes + NODE_AT_CAPACITY, (uint32_t)capacity);
	put_u32(bytes + NODE_AT_RECORDS, (uint32_t)lowest);
	put_u16(bytes + NODE_AT_FENCE, (uint16_t)fence.size);
	node_prefix_set(image, count ? records[0].key : slice("", 0), prefix);
	put_u32(bytes + NODE_AT_LIVE, live);
	if (base)
		delta_base_write(bytes + NODE_HEADER_BYTES, base);
	slice_copy(bytes + fence_end - fence.size, fence);
}

/* ---- Changes in place -------------------------------------------------------------------------------------------- */

static void dead_add(struct node *leaf, size_t bytes)
{
	put_u32(node_bytes_mutable(leaf) + NODE_AT_DEAD, node_dead(leaf) + (uint32_t)bytes);
}

/* Between the fence and the lowest record. */
static size_t room_bytes(const struct node *leaf)
{
	size_t floor = leaf_fence_offset(leaf) + node_fence_bytes(leaf);

	assert(floor <= node_records(leaf));
	return node_records(leaf) - floor;
}

bool node_has_room(const struct node *leaf, uint32_t index, bool there, const struct record *record)
{
	if (there && stored_bytes(record) <= record_bytes(leaf_record(leaf, index)))
		return true;
	return (there || node_count(leaf) < node_capacity(leaf)) && stored_bytes(record) <= room_bytes(leaf);
}

bool node_has_heap_values(const struct node *leaf)
{
	return node_bytes(leaf)[NODE_AT_FLAGS] & NODE_FLAG_HEAP;
}

size_t node_used_bytes(const struct node *leaf)
{
	return leaf_heads_offset(node_kind(leaf)) + 8 * (size_t)node_count(leaf) + node_fence_bytes(leaf) +
	       node_length(leaf) - node_records(leaf) - node_dead(leaf);
}

void node_leaf_copy(struct node *image, size_t size, size_t capacity, const struct node *leaf)
{
	const uint8_t *from = node_bytes(leaf), *from_slots = leaf_slots(leaf);
	uint8_t *to = node_bytes_mutable(image);
	size_t count = node_count(leaf), heads = leaf_heads_offset(node_kind(leaf));
	size_t records = node_length(leaf) - node_records(leaf);
	uint32_t shift = (uint32_t)size - node_length(leaf); /* may wrap around: offsets do so with it */
	uint8_t *slots = to + heads + 4 * capacity;

	assert(capacity >= count && size >= heads + 8 * capacity + node_fence_bytes(leaf) + records);
	memcpy(to, from, heads + 4 * count);
	put_u32(to + NODE_AT_LENGTH, (uint32_t)size);
	put_u32(to + NODE_AT_CAPACITY, (uint32_t)capacity);
	put_u32(to + NODE_AT_RECORDS, node_records(leaf) + shift);
	for (size_t i = 0; i < count; i++)
		put_u32(slots + 4 * i, get_u32(from_slots + 4 * i) + shift);
	slice_copy(slots + 4 * capacity, node_fence(leaf));
	memcpy(to + size - records, from + node_length(leaf) - records, records);
}

/* Writes the record below the lowest one, where there is room, and returns its offset. */
static uint32_t record_append(struct node *leaf, const struct record *record)
{
	uint8_t *bytes = node_bytes_mutable(leaf);
	uint32_t lowest = node_records(leaf) - (uint32_t)stored_bytes(record);

	assert(stored_bytes(record) <= room_bytes(leaf));
	record_write(bytes + lowest, record);
	put_u32(bytes + NODE_AT_RECORDS, lowest);
	return lowest;
}

static void record_replace(struct node *leaf, uint32_t index, const struct record *record)
{
	uint8_t *bytes = node_bytes_mutable(leaf);
	uint8_t *slot = bytes + (leaf_slots(leaf) - bytes) + 4 * (size_t)index;
	uint8_t *old = bytes + get_u32(slot);
	uint32_t old_bytes = record_bytes(old);

	if (stored_bytes(record) <= old_bytes) {
		slice_copy(old + RECORD_HEADER_BYTES + record->key.size, record->value);
		record_header_write(old, record);
		dead_add(leaf, old_bytes - stored_bytes(record));
		return;
	}
	put_u32(slot, record_append(leaf, record));
	dead_add(leaf, old_bytes);
}

/* Sets the prefix of a leaf with at most one record, whose head it changes. */
static void prefix_set(struct node *leaf, size_t prefix)
{
	uint8_t *bytes = node_bytes_mutable(leaf);
	struct slf_slice key = node_count(leaf) ? record_key(leaf_record(leaf, 0)) : slice("", 0);

	if (node_count(leaf))
		put_u32(bytes + (leaf_heads(leaf) - bytes), head_make(key, prefix));
	node_prefix_set(leaf, key, prefix);
}

static void record_insert(struct node *leaf, uint32_t index, const struct record *record)
{
	uint8_t *bytes = node_bytes_mutable(leaf);
	uint8_t *heads = bytes + (leaf_heads(leaf) - bytes);
	uint8_t *slots = bytes + (leaf_slots(leaf) - bytes);
	uint32_t count = node_count(leaf);
	size_t behind = 4 * (size_t)(count - index);
	size_t prefix = node_prefix(leaf);
	uint32_t offset = record_append(leaf, record);

	if (count == 1) {
		/* A single record has no prefix; two have one. */
		prefix = common_prefix(record_key(leaf_record(leaf, 0)), record->key);
		prefix_set(leaf, prefix);
	}
	memmove(heads + 4 * ((size_t)index + 1), heads + 4 * (size_t)index, behind);
	memmove(slots + 4 * ((size_t)index + 1), slots + 4 * (size_t)index, behind);
	put_u32(heads + 4 * (size_t)index, head_make(record->key, prefix));
	put_u32(slots + 4 * (size_t)index, offset);
	put_u32(bytes + NODE_AT_COUNT, count + 1);
}

int node_put(struct node *leaf, uint32_t index, bool there, const struct record *record)
{
	uint32_t prefix = node_prefix(leaf);

	assert(record->kind != RECORD_TOMB || node_kind(leaf) == NODE_DELTA);
	if (!node_has_room(leaf, index, there, record))
		return NODE_FULL;
	if (!there && prefix && leaf_prefix_compare(leaf, record->key, prefix))
		return NODE_FULL;
	if (there)
		record_replace(leaf, index, record);
	else
		record_insert(leaf, index, record);
	node_bytes_mutable(leaf)[NODE_AT_FLAGS] |= record_flag(record->kind);
	return 0;
}

void node_remove(struct node *leaf, uint32_t index)
{
	uint8_t *bytes = node_bytes_mutable(leaf);
	uint8_t *heads = bytes + (leaf_heads(leaf) - bytes);
	uint8_t *slots = bytes + (leaf_slots(leaf) - bytes);
	uint32_t count = node_count(leaf);
	size_t behind = 4 * ((size_t)count - index - 1);

	assert(index < count);
	dead_add(leaf, record_bytes(leaf_record(leaf, index)));
	memmove(heads + 4 * (size_t)index, heads + 4 * ((size_t)index + 1), behind);
	memmove(slots + 4 * (size_t)index, slots + 4 * ((size_t)index + 1), behind);
	put_u32(bytes + NODE_AT_COUNT, count - 1);
	if (count <= 2)
		prefix_set(leaf, 0);
}

void node_set_live(struct node *leaf, uint32_t live)
{
	put_u32(node_bytes_mutable(leaf) + NODE_AT_LIVE, live);
}

/* ---- Merging and cutting ----------------------------------------------------------------------------------------- */

int node_gather(const struct node *leaf, struct records *records)
{
	struct record record = { 0 };
	int result = 0;

	for (uint32_t i = 0; !result && i < node_count(leaf); i++) {
		node_record(leaf, i, &record);
		result = records_add(records, &record);
	}
	return result;
}

int node_merge(const struct node *base, const struct node *delta, struct records *records)
{
	uint32_t base_count = node_count(base), delta_count = node_count(delta);
	uint32_t i = 0, j = 0;
	struct record old = { 0 }, new = { 0 };
	int result = 0;

	while (!result && (i < base_count || j < delta_count)) {
		int order = i == base_count ? 1 : -1;

		if (i < base_count)
			node_record(base, i, &old);
		if (j < delta_count) {
			node_record(delta, j, &new);
			if (i < base_count)
				order = slice_compare(old.key, new.key);
		}
		i += order <= 0;
		j += order >= 0;
		if (order < 0)
			result = records_add(records, &old);
		else if (new.kind != RECORD_TOMB)
			result = records_add(records, &new);
	}
	return result;
}

size_t node_cut(const struct record *records, size_t count, size_t limit, bool append, size_t *cuts, size_t cuts_max)
{
	size_t room = limit - NODE_HEADER_BYTES;
	size_t rest = 0, pieces = 1, i = 0;

	assert(limit > NODE_HEADER_BYTES);
	for (size_t k = 0; k < count; k++)
		rest += node_record_bytes(&records[k]);
	while (rest > room && pieces <= cuts_max) {
		size_t target = append ? room : rest / ((rest + room - 1) / room);
		size_t used = node_record_bytes(&records[i++]);

		/* A record goes to the piece that has the greater part of it, but never above the limit. */
		while (i < count) {
			size_t next = node_record_bytes(&records[i]);

			if (used + next > room || (!append && used + next / 2 > target))
				break;
			used += next;
			i++;
		}
		if (i == count)
			break;
		rest -= used;
		cuts[pieces++ - 1] = i;
	}
	return pieces;
}

size_t node_separator_bytes(struct slf_slice left, struct slf_slice right)
{
	return common_prefix(left, right) + 1;
}
