/* SPDX-License-Identifier: MIT */
/*
 * What is where is found by looking: slabs by their magic, bulk entries by their headers at multiples of 64 bytes. So a
 * change works on databases that are broken already.
 */
#include "mutate.h"

#include "codec.h"
#include "forge.h"
#include "node_image.h"
#include "rig.h"
#include "seal.h"
#include "slab.h"

#define ENTRIES_MAX 1024

struct entries {
	size_t count;
	uint64_t positions[ENTRIES_MAX];
};

static uint8_t *at(uint64_t position)
{
	return flat.bytes[position_spindle(position)] + position_offset(position);
}

/* Bytes from the position to the end of the file. */
static uint64_t room_at(uint64_t position)
{
	return flat.sizes[position_spindle(position)] - position_offset(position);
}

static uint64_t entry_length(uint64_t position)
{
	uint64_t length = get_u32(at(position) + 16);

	return u64_min(length < ENTRY_HEADER_BYTES ? ENTRY_HEADER_BYTES : length, room_at(position));
}

/* Entries of the types from first to last. */
static void find_entries(struct entries *entries, enum entry_type first, enum entry_type last)
{
	entries->count = 0;
	for (unsigned spindle = 0; spindle < flat.spindles; spindle++) {
		uint64_t end = align_down(flat.sizes[spindle], ENTRY_ALIGN), offset = EXTENT_BYTES;

		while (entries->count < ENTRIES_MAX && (offset = flat_next_touched(spindle, offset, end)) < end) {
			const uint8_t *entry = flat.bytes[spindle] + offset;
			uint64_t length = get_u32(entry + 16);

			if (entry[20] >= first && entry[20] <= last && length >= ENTRY_HEADER_BYTES && length <= NODE_BYTES_MAX &&
			    get_u64(entry + 8))
				entries->positions[entries->count++] = position_make(spindle, offset);
			offset += ENTRY_ALIGN;
		}
	}
}

static uint64_t choose(struct rng *rng, const struct entries *entries)
{
	return entries->positions[rng_below(rng, entries->count)];
}

/* Some of the bytes, by libFuzzer's means or as a forger does. */
static void change_bytes(struct rng *rng, uint8_t *data, uint64_t length)
{
	if (!length)
		return;
	if (rng_below(rng, 3) == 0) {
		uint64_t from = rng_below(rng, length);

		LLVMFuzzerMutate(data + from, u64_min(length - from, 64), u64_min(length - from, 64));
	} else {
		forge_bytes(rng, data, length);
	}
}

/* Some behind the digests of an entry. */
static void change_content(struct rng *rng, uint64_t position, uint64_t length)
{
	if (flat_find(NULL, position, length))
		change_bytes(rng, at(position) + 16, length - 16);
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------- */

static bool good_node(uint64_t position)
{
	uint64_t length = entry_length(position);

	return flat_find(NULL, position, length) &&
	       node_check((const struct node *)(const void *)at(position), length) == NULL;
}

/* A child, base or root becomes another node, which may be above it. */
static void graft(struct rng *rng, const struct entries *nodes)
{
	uint64_t to = choose(rng, nodes), from = choose(rng, nodes);
	struct node *node = (struct node *)(void *)at(to);
	uint32_t i = 0;

	if (!good_node(to) || !node_count(node))
		return;
	i = (uint32_t)rng_below(rng, node_count(node));
	if (node_kind(node) == NODE_BRANCH) {
		struct child child;

		node_child(node, i, &child);
		child.word = from;
		if (rng_below(rng, 3) == 0)
			child.count = forge_number(rng, child.count);
		node_child_set(node, i, &child);
	} else if (node_kind(node) == NODE_DELTA) {
		put_u64(node_bytes_mutable(node) + NODE_HEADER_BYTES, from);
	} else if (node_tree(node) == TREE_ROOTS && record_value_bytes(leaf_record(node, i)) == TREE_ROOT_BYTES) {
		uint8_t *root = (uint8_t *)(uintptr_t)record_ref(leaf_record(node, i));

		put_u64(root, from);
		put_u32(root + 28, node_level((const struct node *)(const void *)at(from)) + 1u);
	}
}

/* The bytes of a key or separator: what is in order within the node need not be in its parent. */
static void change_key(struct rng *rng, uint64_t position)
{
	struct node *node = (struct node *)(void *)at(position);
	struct slf_slice key;

	if (!good_node(position) || !node_count(node))
		return;
	if (node_kind(node) == NODE_BRANCH)
		key = node_separator(node, (uint32_t)rng_below(rng, node_count(node)));
	else
		key = record_key(leaf_record(node, (uint32_t)rng_below(rng, node_count(node))));
	if (key.size)
		((uint8_t *)(uintptr_t)key.data)[rng_below(rng, key.size)] += (uint8_t)(1 + rng_below(rng, 255));
}

/* All keys of a leaf move together, so that they stay in order: a byte of what they share. */
static void shift_keys(struct rng *rng, uint64_t position)
{
	struct node *node = (struct node *)(void *)at(position);
	uint8_t add = (uint8_t)(1 + rng_below(rng, 255));
	uint64_t at_byte = 0;

	if (!good_node(position) || node_kind(node) == NODE_BRANCH || !node_prefix(node))
		return;
	at_byte = rng_below(rng, node_prefix(node));
	for (uint32_t i = 0; i < node_count(node); i++)
		((uint8_t *)(uintptr_t)record_key(leaf_record(node, i)).data)[at_byte] += add;
	node_prefix_set(node, record_key(leaf_record(node, 0)), node_prefix(node));
}

/* A whole entry in the place of another. */
static void copy_entry(struct rng *rng, const struct entries *entries)
{
	uint64_t to = choose(rng, entries), from = choose(rng, entries);
	uint64_t length = u64_min(entry_length(from), room_at(to));

	if (flat_find(NULL, to, length))
		memmove(at(to), at(from), length);
}

static void change_node(struct rng *rng)
{
	static struct entries nodes;
	uint64_t position;

	find_entries(&nodes, ENTRY_NODE, ENTRY_NODE);
	if (!nodes.count)
		return;
	position = choose(rng, &nodes);
	switch (rng_below(rng, 8)) {
	case 0:
	case 1:
		graft(rng, &nodes);
		break;
	case 2:
		change_key(rng, position);
		break;
	case 3:
		shift_keys(rng, position);
		break;
	case 4:
		copy_entry(rng, &nodes);
		break;
	case 5:
		change_content(rng, position, NODE_HEADER_BYTES);
		break;
	default:
		change_content(rng, position, entry_length(position));
	}
}

static void change_entry(struct rng *rng)
{
	static struct entries entries;
	uint64_t position;

	find_entries(&entries, ENTRY_VALUE, ENTRY_ACTIONS);
	if (!entries.count)
		return;
	position = choose(rng, &entries);
	if (rng_below(rng, 5) == 0)
		copy_entry(rng, &entries);
	else
		change_content(rng, position, entry_length(position));
}

/* ---- Log and pages ----------------------------------------------------------------------------------------------- */

/* One more slab at the end of the chain, with the payload of another. */
static void append_slab(struct rng *rng, const uint64_t *slabs, size_t count)
{
	uint64_t last = slabs[count - 1], from = slabs[rng_below(rng, count)], to = 0;
	uint32_t length = get_u32(at(from) + 40);

	to = last + align_up(get_u32(at(last) + 40), 512);
	if (to == last || to == from || to % EXTENT_BYTES == 0 || length < 512 || !flat_find(NULL, from, length) ||
	    !flat_find(NULL, to, length))
		return;
	memmove(at(to), at(from), length);
	put_u64(at(to) + 16, get_u64(at(last)));
	put_u64(at(to) + 24, get_u64(at(last) + 24) + 1);
	put_u64(at(to), rng_next(rng)); /* a name for the table of seal.c */
}

/* Bytes of a record's body; commits get seqs that grow, else nothing behind them would be replayed. */
static void change_record(struct rng *rng, uint8_t *slab, const struct slab_header *header)
{
	struct log_record record;
	uint64_t offset = 0, chosen = header->record_count ? rng_below(rng, header->record_count) : 0;

	for (uint64_t i = 0; slab_next_record(slab, header, &offset, &record) == 0; i++) {
		if (i != chosen)
			continue;
		if (record.kind == LOG_FINAL && rng_below(rng, 4) == 0)
			put_u64((uint8_t *)(uintptr_t)record.body.data, header->last_seq + rng_below(rng, 5));
		else
			change_bytes(rng, (uint8_t *)(uintptr_t)record.body.data, record.body.size);
		return;
	}
}

static void change_slab(struct rng *rng, uint64_t tail)
{
	uint64_t slabs[FLAT_SLABS_MAX], position;
	size_t count = flat_slabs(slabs);
	struct slab_header header;
	uint8_t *slab;

	if (!count)
		return;
	position = slabs[rng_below(rng, count)];
	if (position < tail || rng_below(rng, 8) == 0) {
		append_slab(rng, slabs, count);
		return;
	}
	slab = at(position);
	if (rng_below(rng, 5) == 0)
		forge_slab_field(rng, slab);
	else if (slab_header_decode(slab, room_at(position), &header) || !flat_find(NULL, position, header.length) ||
	    rng_below(rng, 4) == 0)
		change_bytes(rng, slab + 16, SLAB_HEADER_BYTES - 16);
	else if (rng_below(rng, 3) && header.record_count)
		change_record(rng, slab, &header);
	else
		change_bytes(rng, slab + SLAB_HEADER_BYTES, header.payload);
}

static void change_page(struct rng *rng)
{
	unsigned spindle = (unsigned)rng_below(rng, flat.spindles);
	uint64_t page = rng_below(rng, 2) ? META_PAGE_A : META_PAGE_B;
	uint64_t offset = rng_below(rng, 6) ? page : page + META_TABLE_A;

	if (flat_find(NULL, position_make(spindle, page), 2 * META_PAGE_BYTES))
		change_bytes(rng, flat.bytes[spindle] + offset + 8, offset == page ? 184 : 64);
}

static void change_size(struct rng *rng)
{
	uint64_t *size = &flat.sizes[rng_below(rng, flat.spindles)];

	*size = rng_below(rng, 2) ? rng_below(rng, *size + 8192) : forge_number(rng, *size);
	*size = u64_min(*size, FLAT_FILE_BYTES);
}

void mutate_flat(struct rng *rng, uint64_t tail)
{
	uint64_t choice = tail ? 90 : rng_below(rng, 100);

	if (choice < 50)
		change_node(rng);
	else if (choice < 65)
		change_entry(rng);
	else if (choice < 92)
		change_slab(rng, tail);
	else if (choice < 97)
		change_page(rng);
	else if (choice < 98)
		change_size(rng);
	else
		flat.flags = (unsigned)rng_below(rng, 1 << RUN_FLAG_BITS);
}

void mutate_seal(void)
{
	uint64_t slabs[FLAT_SLABS_MAX];
	size_t count = flat_slabs(slabs);

	seal_database(flat_find, NULL, slabs, count);
}
