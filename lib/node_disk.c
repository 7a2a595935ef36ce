/* SPDX-License-Identifier: MIT */
/*
 * Nodes on disk: their two digests, and the check that everything behind relies on. No other code looks at a node from
 * disk before node_check has passed it, and no other code checks offsets.
 *
 * Content hash: XXH3-64 of the bytes from the tree id on, with positions counted as zero. A branch hashes the bytes
 * before its words, then those behind them seeded with the first result. A leaf without references is hashed as it
 * stands; any other leaf or delta is copied piece by piece and the positions in the copy are blanked.
 * Checksum: of the header and the positions, see entry_checksum.
 */
#include "node_image.h"

/* Compiled in: the state of a running digest then is ours and can stand on the stack. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#define SCRATCH_BYTES 8192
#define POSITION_BYTES 8

/* ---- Content hash ------------------------------------------------------------------------------------------------ */

/* Zeroes what of the 8 bytes at `offset` lies in the piece that begins at `start`. */
static void blank_position(uint8_t *piece, size_t start, size_t size, size_t offset)
{
	size_t from = offset < start ? start : offset;
	size_t to = offset + POSITION_BYTES < start + size ? offset + POSITION_BYTES : start + size;

	if (from < to)
		memset(piece + (from - start), 0, to - from);
}

static void copy_without_positions(const struct node *leaf, uint8_t *piece, size_t start, size_t size)
{
	memcpy(piece, node_bytes(leaf) + start, size);
	if (node_kind(leaf) == NODE_DELTA)
		blank_position(piece, start, size, NODE_HEADER_BYTES);
	if (!(node_bytes(leaf)[NODE_AT_FLAGS] & NODE_FLAG_REFS))
		return;
	for (uint32_t i = 0; i < node_count(leaf); i++) {
		const uint8_t *record = leaf_record(leaf, i);

		if (record_kind(record) == RECORD_REF)
			blank_position(piece, start, size, (size_t)(record_ref(record) - node_bytes(leaf)));
	}
}

static uint64_t leaf_hash_blanked(const struct node *leaf)
{
	uint8_t scratch[SCRATCH_BYTES];
	size_t length = node_length(leaf);
	size_t start = NODE_AT_TREE;
	XXH3_state_t state;

	if (length - start <= sizeof(scratch)) {
		copy_without_positions(leaf, scratch, start, length - start);
		return XXH3_64bits(scratch, length - start);
	}
	XXH3_64bits_reset(&state);
	while (start < length) {
		size_t size = length - start < sizeof(scratch) ? length - start : sizeof(scratch);

		copy_without_positions(leaf, scratch, start, size);
		XXH3_64bits_update(&state, scratch, size);
		start += size;
	}
	return XXH3_64bits_digest(&state);
}

static uint64_t branch_hash(const struct node *branch)
{
	struct branch_layout layout = branch_layout(node_capacity(branch));
	const uint8_t *bytes = node_bytes(branch);
	uint64_t first = XXH3_64bits(bytes + NODE_AT_TREE, layout.words - NODE_AT_TREE);

	return XXH3_64bits_withSeed(bytes + layout.hashes, node_length(branch) - layout.hashes, first);
}

int node_content_hash(const struct node *node, uint64_t *hash)
{
	const uint8_t *bytes = node_bytes(node);

	if (node_kind(node) == NODE_BRANCH)
		*hash = branch_hash(node);
	else if (node_kind(node) == NODE_DELTA || bytes[NODE_AT_FLAGS] & NODE_FLAG_REFS)
		*hash = leaf_hash_blanked(node);
	else
		*hash = XXH3_64bits(bytes + NODE_AT_TREE, node_length(node) - NODE_AT_TREE);
	return 0;
}

/* ---- Checksum ---------------------------------------------------------------------------------------------------- */

/* What entry_checksum gives for the positions of a leaf, without gathering them: there may be tens of thousands. */
static uint64_t leaf_checksum(const struct node *leaf, uint64_t seed, uint64_t position)
{
	bool delta = node_kind(leaf) == NODE_DELTA;
	uint64_t header = entry_checksum(leaf, seed, position, NULL, 0);
	XXH3_state_t state;

	if (!delta && !(node_bytes(leaf)[NODE_AT_FLAGS] & NODE_FLAG_REFS))
		return header;
	XXH3_INITSTATE(&state); /* else a seed that an earlier call has left there is taken for a secret made of it */
	XXH3_64bits_reset_withSeed(&state, header);
	if (delta)
		XXH3_64bits_update(&state, node_bytes(leaf) + NODE_HEADER_BYTES, POSITION_BYTES);
	for (uint32_t i = 0; i < node_count(leaf); i++) {
		const uint8_t *record = leaf_record(leaf, i);

		if (record_kind(record) == RECORD_REF)
			XXH3_64bits_update(&state, record_ref(record), POSITION_BYTES);
	}
	return XXH3_64bits_digest(&state);
}

static uint64_t node_checksum(const struct node *node, uint64_t seed, uint64_t position)
{
	if (node_kind(node) == NODE_BRANCH)
		return entry_checksum(node, seed, position, node_branch_words(node), node_count(node));
	return leaf_checksum(node, seed, position);
}

/* Makes the flag exact, and asserts that no record leads into memory. */
static void leaf_flag_settle(struct node *leaf)
{
	uint8_t flags = 0;

	for (uint32_t i = 0; i < node_count(leaf); i++) {
		enum record_kind kind = record_kind(leaf_record(leaf, i));

		assert(kind != RECORD_HEAP);
		if (kind == RECORD_REF)
			flags = NODE_FLAG_REFS;
	}
	node_bytes_mutable(leaf)[NODE_AT_FLAGS] = flags;
}

void node_seal(struct node *node, uint64_t seed, uint64_t position)
{
	uint8_t *bytes = node_bytes_mutable(node);
	uint64_t hash = 0;

	assert(node_capacity(node) == node_count(node) && !node_dead(node) && node_length(node) <= NODE_BYTES_MAX);
	if (node_kind(node) != NODE_BRANCH)
		leaf_flag_settle(node);
	node_content_hash(node, &hash);
	put_u64(bytes + NODE_AT_HASH, hash);
	put_u64(bytes, node_checksum(node, seed, position));
}

/* ---- Check ------------------------------------------------------------------------------------------------------- */

static bool position_possible(uint64_t position)
{
	return position && !(position % ENTRY_ALIGN);
}

static bool length_possible(uint64_t length)
{
	return length >= NODE_HEADER_BYTES && length <= NODE_BYTES_MAX;
}

static const char unknown_kind[] = "node: a kind that this version does not know";
static const char unknown_flags[] = "node: flags that this version does not know";

static unsigned known_flags(const struct node *node)
{
	return node_kind(node) == NODE_BRANCH ? 0 : NODE_FLAG_REFS;
}

static const char *check_header(const struct node *node, uint64_t length)
{
	const uint8_t *bytes = node_bytes(node);

	if (!length_possible(length))
		return "node: impossible length";
	if (node_length(node) != length)
		return "node: another length than its header says";
	if (bytes[NODE_AT_TYPE] != ENTRY_NODE)
		return "node: entry of another type";
	if (bytes[NODE_AT_KIND] > NODE_DELTA)
		return unknown_kind;
	if (node_kind(node) == NODE_BRANCH ? !node_level(node) || node_level(node) >= NODE_LEVELS_MAX
					   : node_level(node))
		return "node: impossible level";
	if (bytes[NODE_AT_FLAGS] & ~known_flags(node))
		return unknown_flags;
	if (get_u32(bytes + NODE_AT_AUX))
		return "node: reserved bytes are not zero";
	if (node_capacity(node) != node_count(node))
		return "node: spare capacity";
	if (node_dead(node))
		return "node: dead bytes";
	return NULL;
}

/* The walk over the keys of a node, leaf or branch, in order. */
struct key_check {
	size_t prefix;
	struct slf_slice first, last;
	uint32_t head, count;
};

/* Every key has the prefix and the head it should have and is greater than the one before. Inline: the hot loop. */
static inline const char *check_key(struct key_check *check, struct slf_slice key, uint32_t head)
{
	if (!check->count++)
		check->first = key;
	if (key.size < check->prefix || memcmp(key.data, check->first.data, check->prefix) != 0)
		return "node: a key without the prefix";
	if (head != head_make(key, check->prefix))
		return "node: wrong head";
	if (check->count > 1 &&
	    (head < check->head || (head == check->head && tail_compare(check->last, key, check->prefix) >= 0)))
		return "node: keys out of order";
	check->last = key;
	check->head = head;
	return NULL;
}

/* After the last key: they are sorted, so a longer prefix of all would be one of the first and last. */
static const char *check_prefix_end(const struct node *node, const struct key_check *check)
{
	size_t exact = check->count < 2 ? 0 : common_prefix(check->first, check->last);
	uint64_t lead = exact ? prefix_lead(check->first, exact) : 0;

	if (exact != check->prefix)
		return "node: wrong prefix";
	return get_be64(node_bytes(node) + NODE_AT_LEAD) == lead ? NULL : "node: wrong lead";
}

static const char *check_base(const struct node *delta)
{
	struct delta_base base = { 0 };
	uint64_t live = node_live(delta), count = node_count(delta);

	node_delta_base(delta, &base);
	if (!position_possible(base.position) || !length_possible(base.length))
		return "delta: impossible base";
	if (get_u64(node_bytes(delta) + NODE_HEADER_BYTES + 24))
		return "delta: reserved bytes are not zero";
	/* Each change adds at most one entry and removes at most one. */
	if (live > base.count + count || live + count < base.count)
		return "delta: impossible number of entries";
	return NULL;
}

/* The record at `offset`, as far as it can be judged alone; `left` bytes of the node begin there. */
static inline const char *check_record(const uint8_t *record, uint64_t left, bool delta)
{
	uint32_t size = 0;

	if (left < RECORD_HEADER_BYTES || left < record_bytes(record))
		return "leaf: a record reaches beyond the end";
	size = record_value_bytes(record);
	switch (record_kind(record)) { /* GCOVR_EXCL_BR_LINE each value has its case */
	case RECORD_INLINE: return NULL;
	case RECORD_REF:
		if (size != VALUE_REF_BYTES || !position_possible(get_u64(record_ref(record))))
			return "leaf: impossible value reference";
		return NULL;
	case RECORD_TOMB: return delta && !size ? NULL : "leaf: impossible deletion";
	case RECORD_HEAP: break;
	}
	return "leaf: a record of unknown kind";
}

static const char *check_leaf(const struct node *leaf, uint64_t length)
{
	bool delta = node_kind(leaf) == NODE_DELTA;
	uint64_t count = node_count(leaf);
	uint64_t records = leaf_heads_offset(node_kind(leaf)) + 8 * count + node_fence_bytes(leaf);
	struct key_check check = { .prefix = node_prefix(leaf) };
	const uint8_t *heads = NULL, *slots = NULL;
	uint64_t used = 0;
	uint8_t flags = 0;
	const char *wrong = NULL;

	if (records > length || records != node_records(leaf))
		return "leaf: arrays of impossible size";
	heads = leaf_heads(leaf);
	slots = heads + 4 * count;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t offset = get_u32(slots + 4 * i);
		const uint8_t *record = node_bytes(leaf) + offset;

		if (offset < records || offset > length)
			return "leaf: a slot leads nowhere";
		wrong = check_record(record, length - offset, delta);
		if (!wrong)
			wrong = check_key(&check, record_key(record), get_u32(heads + 4 * i));
		if (wrong)
			return wrong;
		used += record_bytes(record);
		if (record_kind(record) == RECORD_REF)
			flags = NODE_FLAG_REFS;
	}
	if (used != length - records)
		return "leaf: records do not fill their room";
	if (node_bytes(leaf)[NODE_AT_FLAGS] != flags)
		return "leaf: wrong flags";
	if (!delta && !count) /* walks rely on it: see check_neighbours */
		return "leaf: no records";
	if (!delta && node_live(leaf) != count)
		return "leaf: wrong number of entries";
	wrong = check_prefix_end(leaf, &check);
	return wrong || !delta ? wrong : check_base(leaf);
}

static const char *check_separators(const struct node *branch, uint64_t length, const struct branch_layout *layout)
{
	const uint8_t *bytes = node_bytes(branch);
	struct key_check check = { .prefix = node_prefix(branch) };
	uint64_t records = node_records(branch);
	uint64_t used = 0;

	for (uint64_t i = 0; i < node_count(branch); i++) {
		uint64_t offset = get_u32(bytes + layout->slots + 4 * i);
		uint32_t head = get_u32(bytes + NODE_HEADER_BYTES + 4 * i);
		const char *wrong = NULL;
		size_t size = 0;

		if (offset < records || offset + SEPARATOR_HEADER_BYTES > length)
			return "branch: a slot leads nowhere";
		size = get_u16(bytes + offset);
		used += SEPARATOR_HEADER_BYTES + size;
		if (size > length - offset - SEPARATOR_HEADER_BYTES)
			return "branch: a separator reaches beyond the end";
		if (i ? !size : size || head)
			return "branch: a separator is empty, or the first one is not";
		if (i)
			wrong = check_key(&check, slice(bytes + offset + SEPARATOR_HEADER_BYTES, size), head);
		if (wrong)
			return wrong;
	}
	if (used != length - records)
		return "branch: separators do not fill their room";
	return check_prefix_end(branch, &check);
}

static const char *check_branch(const struct node *branch, uint64_t length)
{
	const uint8_t *bytes = node_bytes(branch);
	uint64_t count = node_count(branch);
	struct branch_layout layout = branch_layout(count);
	uint64_t records = layout.fence + node_fence_bytes(branch);

	if (!count)
		return "branch: no children";
	if (records > length || records != node_records(branch))
		return "branch: arrays of impossible size";
	if (count % 2 && get_u32(bytes + NODE_HEADER_BYTES + 4 * count))
		return "branch: padding is not zero";
	if (node_live(branch))
		return "branch: reserved bytes are not zero";
	for (uint64_t i = 0; i < count; i++) {
		if (!position_possible(get_u64(bytes + layout.words + 8 * i)))
			return "branch: a child at an impossible position";
		if (!length_possible(get_u32(bytes + layout.lengths + 4 * i)))
			return "branch: a child of impossible length";
	}
	return check_separators(branch, length, &layout);
}

const char *node_check(const struct node *node, uint64_t length)
{
	const char *wrong = check_header(node, length);

	if (wrong)
		return wrong;
	return node_kind(node) == NODE_BRANCH ? check_branch(node, length) : check_leaf(node, length);
}

const char *node_verify(const struct node *node, uint64_t available, uint64_t seed, uint64_t position, uint64_t hash,
			uint32_t length, uint64_t *expected, uint64_t *found)
{
	const char *wrong = NULL;

	*expected = length;
	*found = available;
	if (length > available)
		return "node: reaches beyond the bytes there are";
	*expected = 0;
	*found = 0;
	wrong = node_check(node, length);
	if (wrong == unknown_kind) {
		*expected = NODE_DELTA; /* the last one known */
		*found = node_bytes(node)[NODE_AT_KIND];
	} else if (wrong == unknown_flags) {
		*expected = known_flags(node);
		*found = node_bytes(node)[NODE_AT_FLAGS];
	}
	if (wrong)
		return wrong;
	*expected = get_u64(node);
	*found = node_checksum(node, seed, position);
	if (*expected != *found)
		return "node: wrong checksum";
	*expected = hash;
	*found = node_hash(node);
	if (*expected != *found)
		return "node: not the one the reference means";
	node_content_hash(node, found);
	if (*expected != *found)
		return "node: wrong content hash";
	*expected = 0;
	*found = 0;
	return NULL;
}
