/* SPDX-License-Identifier: MIT */
/*
 * The inside of a node image, for the node files only: offsets of header fields, places of the arrays, and the search
 * over heads that leaves and branches share. Nothing here checks its input: images are built by us or have passed
 * node_check.
 */
#ifndef NODE_IMAGE_H
#define NODE_IMAGE_H

#include "node.h"

/* Header fields that node.h has no function for. */
enum {
	NODE_AT_HASH = 8,
	NODE_AT_LENGTH = 16,
	NODE_AT_TYPE = 20,
	NODE_AT_KIND = 21,
	NODE_AT_LEVEL = 22,
	NODE_AT_FLAGS = 23,
	NODE_AT_TREE = 24, /* the content hash begins here */
	NODE_AT_AUX = 28,
	NODE_AT_COUNT = 32,
	NODE_AT_CAPACITY = 36,
	NODE_AT_RECORDS = 40,
	NODE_AT_DEAD = 44,
	NODE_AT_FENCE = 48,
	NODE_AT_PREFIX = 50,
	NODE_AT_LIVE = 52,
	NODE_AT_LEAD = 56,
};

/* The leaf or delta holds value references. Set whenever it does; may outlive the last one until the next rebuild. */
#define NODE_FLAG_REFS 0x1u
/* The same of values on the heap; never on disk. */
#define NODE_FLAG_HEAP 0x2u

#define HEAD_BYTES 4
#define LEAD_BYTES 8

static inline uint8_t *node_bytes_mutable(struct node *node)
{
	return (uint8_t *)node;
}
static inline uint32_t node_records(const struct node *node)
{
	return get_u32(node_bytes(node) + NODE_AT_RECORDS);
}
static inline uint32_t node_fence_bytes(const struct node *node)
{
	return get_u16(node_bytes(node) + NODE_AT_FENCE);
}
static inline uint32_t node_prefix(const struct node *node)
{
	return get_u16(node_bytes(node) + NODE_AT_PREFIX);
}

/* memcpy of a slice that may be empty and then point nowhere. */
static inline void slice_copy(uint8_t *to, struct slf_slice from)
{
	if (from.size)
		memmove(to, from.data, from.size);
}

/* ---- Leaves ------------------------------------------------------------------------------------------------------ */

static inline uint32_t leaf_heads_offset(enum node_kind kind)
{
	return kind == NODE_DELTA ? NODE_HEADER_BYTES + DELTA_BASE_BYTES : NODE_HEADER_BYTES;
}
static inline const uint8_t *leaf_heads(const struct node *leaf)
{
	return node_bytes(leaf) + leaf_heads_offset(node_kind(leaf));
}
static inline const uint8_t *leaf_slots(const struct node *leaf)
{
	return leaf_heads(leaf) + 4 * (size_t)node_capacity(leaf);
}
static inline size_t leaf_fence_offset(const struct node *leaf)
{
	return leaf_heads_offset(node_kind(leaf)) + 8 * (size_t)node_capacity(leaf);
}

/* The bytes of a record. */
static inline const uint8_t *leaf_record(const struct node *leaf, uint32_t index)
{
	return node_bytes(leaf) + get_u32(leaf_slots(leaf) + 4 * (size_t)index);
}
static inline struct slf_slice record_key(const uint8_t *record)
{
	return slice(record + RECORD_HEADER_BYTES, get_u16(record));
}
static inline enum record_kind record_kind(const uint8_t *record)
{
	return (enum record_kind)(get_u16(record + 2) >> 14);
}
static inline uint32_t record_value_bytes(const uint8_t *record)
{
	return get_u16(record + 2) & INLINE_BYTES_MAX;
}
static inline uint32_t record_bytes(const uint8_t *record)
{
	return RECORD_HEADER_BYTES + (uint32_t)get_u16(record) + record_value_bytes(record);
}
/* The reference inside a RECORD_REF; it begins with the position. */
static inline const uint8_t *record_ref(const uint8_t *record)
{
	return record + RECORD_HEADER_BYTES + get_u16(record);
}

/* ---- Branches ---------------------------------------------------------------------------------------------------- */

/* Where the arrays of a branch begin, from the start of the node. The heads stand at NODE_HEADER_BYTES. */
struct branch_layout {
	uint64_t words, hashes, counts, lengths, slots, fence;
};
static inline struct branch_layout branch_layout(uint64_t capacity)
{
	uint64_t words = NODE_HEADER_BYTES + align_up(4 * capacity, 8);
	uint64_t lengths = words + 24 * capacity;

	return (struct branch_layout){
		.words = words,
		.hashes = words + 8 * capacity,
		.counts = words + 16 * capacity,
		.lengths = lengths,
		.slots = lengths + 4 * capacity,
		.fence = lengths + 8 * capacity,
	};
}

/* ---- Keys and heads ---------------------------------------------------------------------------------------------- */

/* Bytes that both begin with. */
static inline size_t common_prefix(struct slf_slice a, struct slf_slice b)
{
	const uint8_t *left = a.data, *right = b.data;
	size_t size = a.size < b.size ? a.size : b.size;
	size_t same = 0;

	while (same + 8 <= size && get_u64(left + same) == get_u64(right + same))
		same += 8;
	while (same < size && left[same] == right[same])
		same++;
	return same;
}

/* The head of a key that has the prefix. */
static inline uint32_t head_make(struct slf_slice key, size_t prefix)
{
	const uint8_t *bytes = key.data;
	uint8_t padded[HEAD_BYTES] = { 0 };

	if (likely(key.size >= prefix + HEAD_BYTES))
		return get_be32(bytes + prefix);
	for (size_t i = prefix; i < key.size; i++)
		padded[i - prefix] = bytes[i];
	return get_be32(padded);
}

/* How many of the ascending heads are less than bound (64 bits, so that "at most the greatest head" can be asked for).
 * The comparison becomes a mask, not a jump: where a key lies is what a branch predictor cannot know. */
static inline uint32_t heads_below(const uint8_t *heads, uint32_t count, uint64_t bound)
{
	const uint8_t *base = heads;

	if (!count)
		return 0;
	while (count > 1) {
		uint32_t half = count / 2;

		base += -(size_t)(get_u32(base + 4 * (size_t)(half - 1)) < bound) & (4 * (size_t)half);
		count -= half;
	}
	return (uint32_t)((size_t)(base - heads) / 4) + (get_u32(base) < bound);
}

/* The first bytes of a key as a number that orders as they do. */
static inline uint64_t lead_make(struct slf_slice key)
{
	uint8_t padded[LEAD_BYTES] = { 0 };

	if (likely(key.size >= LEAD_BYTES))
		return get_be64(key.data);
	slice_copy(padded, key);
	return get_be64(padded);
}

/* Of a prefix that key begins with. */
static inline uint64_t prefix_lead(struct slf_slice key, size_t prefix)
{
	uint64_t lead = lead_make(key);

	if (prefix < LEAD_BYTES)
		lead &= ~(~(uint64_t)0 >> 8 * prefix);
	return lead;
}

static inline void node_prefix_set(struct node *node, struct slf_slice key, size_t prefix)
{
	put_u16(node_bytes_mutable(node) + NODE_AT_PREFIX, (uint16_t)prefix);
	put_be64(node_bytes_mutable(node) + NODE_AT_LEAD, prefix ? prefix_lead(key, prefix) : 0);
}

/* Where key lies against all keys that begin with a prefix above LEAD_BYTES, or against a key too short for it. */
static inline int prefix_compare(struct slf_slice key, const void *prefix, size_t prefix_bytes)
{
	int order = 0;

	if (likely(key.size >= prefix_bytes))
		return memcmp(key.data, prefix, prefix_bytes);
	if (key.size)
		order = memcmp(key.data, prefix, key.size);
	return order ? order : -1;
}

/* Where key lies against all keys of a node whose prefix is not empty: negative below, positive above, 0 when it shares the
 * prefix. The header says it for most keys; `at` is the offset of the slot of one that has the prefix, for the others. */
static inline int node_prefix_compare(const struct node *node, struct slf_slice key, uint32_t prefix, size_t at,
				      size_t header_bytes)
{
	uint64_t lead = get_be64(node_bytes(node) + NODE_AT_LEAD), own = prefix_lead(key, prefix);

	if (own != lead)
		return own < lead ? -1 : 1;
	if (likely(prefix <= LEAD_BYTES && key.size >= prefix))
		return 0;
	return prefix_compare(key, node_bytes(node) + get_u32(node_bytes(node) + at) + header_bytes, prefix);
}

/* slice_compare of two keys whose first `skip` bytes are known to be the same. */
static inline int tail_compare(struct slf_slice a, struct slf_slice b, size_t skip)
{
	return slice_compare(slice((const uint8_t *)a.data + skip, a.size - skip),
			     slice((const uint8_t *)b.data + skip, b.size - skip));
}

#endif
