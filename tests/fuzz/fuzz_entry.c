/* SPDX-License-Identifier: MIT */
/*
 * Bytes from disk, alone: nodes, values, actions, commit entries, slabs with their records, pages, tables, roots. The input:
 * which of them, flags (1: its checksums are made right first), two bytes that are split off for what needs a second part,
 * then the bytes, which end where memory ends. What passes the check is used in every way that relies on it.
 */
#include <stdlib.h>
#include <xxhash.h>

#include "forge.h"
#include "meta.h"
#include "node_image.h"
#include "rig.h"
#include "slab.h"

#define HEAD_BYTES_INPUT 4
#define SEED 0x5eed
#define POSITION (2 * MIB)
#define SEALED 1u

static volatile uint64_t sum;

static void touch(struct slf_slice bytes)
{
	for (size_t i = 0; i < bytes.size; i++)
		sum += ((const uint8_t *)bytes.data)[i];
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------- */

/* The records of a good leaf are found where they are, and make a leaf again. */
static void use_records(const struct node *leaf, const struct records *records)
{
	struct slf_slice fence = node_fence(leaf);
	size_t count = records->count, cuts[8];
	size_t bytes = node_leaf_bytes(records->items, count, count + 2, fence.size, false);
	struct node *built = aligned_alloc(64, align_up(bytes + 200, 64));
	struct record extra = { .key = slice("an extra key", 12), .value = slice("its value", 9), .kind = RECORD_INLINE };
	uint32_t index = 0;
	bool there;

	must(built != NULL);
	node_leaf_build(built, bytes + 64, node_tree(leaf), fence, NULL, records->items, count, count + 2, (uint32_t)count);
	for (uint32_t i = 0; i < count; i++) {
		must(node_find(built, records->items[i].key, &index) && index == i);
		touch(records->items[i].value);
	}
	there = node_find(built, extra.key, &index);
	if (node_put(built, index, there, &extra) == 0) {
		must(node_find(built, extra.key, &index));
		node_remove(built, index);
	}
	if (count)
		must(node_cut(records->items, count, 512, false, cuts, ARRAY_SIZE(cuts)) >= 1);
	free(built);
}

static void use_leaf(const struct node *leaf)
{
	struct records records = { 0 };
	uint32_t index = 0;

	must(node_gather(leaf, &records) == 0 && records.count == node_count(leaf));
	for (uint32_t i = 0; i < records.count; i++)
		must(node_find(leaf, records.items[i].key, &index) && index == i);
	must(!records.count || slice_compare(records.items[0].key, records.items[records.count - 1].key) <= 0);
	if (node_kind(leaf) == NODE_LEAF)
		use_records(leaf, &records);
	records_release(&records);
}

static void use_branch(const struct node *branch)
{
	struct children children = { 0 };
	struct slf_slice fence = node_fence(branch);
	size_t bytes;
	struct node *built;

	must(node_branch_gather(branch, &children) == 0 && children.count == node_count(branch));
	for (uint32_t i = 1; i < children.count; i++)
		must(node_branch_find(branch, node_separator(branch, i)) == i);
	sum += node_entries(branch);
	bytes = node_branch_bytes(children.items, children.count, fence.size);
	built = aligned_alloc(64, align_up(bytes, 64));
	must(built != NULL);
	node_branch_build(built, bytes, node_tree(branch), node_level(branch), fence, children.items, children.count);
	must(node_check(built, bytes) == NULL);
	free(built);
	children_release(&children);
}

static bool is_good_node(uint8_t *bytes, size_t size, bool sealed)
{
	struct node *node = (struct node *)(void *)bytes;
	uint64_t expected, found;

	if (size < NODE_HEADER_BYTES || node_check(node, size))
		return false;
	if (sealed)
		node_seal(node, SEED, POSITION);
	return node_verify(node, size, SEED, POSITION, node_hash(node), (uint32_t)size, &expected, &found) == NULL;
}

static void use_node(uint8_t *bytes, size_t size, bool sealed)
{
	const struct node *node = (const struct node *)(const void *)bytes;

	if (!is_good_node(bytes, size, sealed))
		return;
	touch(node_fence(node));
	if (node_kind(node) == NODE_BRANCH)
		use_branch(node);
	else
		use_leaf(node);
}

/* A leaf and a delta over it, each for itself good. */
static void use_pair(uint8_t *bytes, size_t size, bool sealed, size_t first)
{
	size_t left = u64_min(align_down(first, 8), size), right = size - left;
	uint8_t *delta = aligned_alloc(64, align_up(right + 1, 64)), *base = aligned_alloc(64, align_up(left + 1, 64));
	struct records records = { 0 };

	must(delta != NULL && base != NULL);
	memcpy(base, bytes, left);
	memcpy(delta, bytes + left, right);
	if (is_good_node(base, left, sealed) && is_good_node(delta, right, sealed) && base[NODE_AT_KIND] == NODE_LEAF &&
	    delta[NODE_AT_KIND] == NODE_DELTA) {
		const struct node *leaf = (const struct node *)(const void *)base;

		must(node_merge(leaf, (const struct node *)(const void *)delta, &records) == 0);
		for (size_t i = 1; i < records.count; i++)
			must(slice_compare(records.items[i - 1].key, records.items[i].key) < 0);
		use_records(leaf, &records);
		records_release(&records);
	}
	free(base);
	free(delta);
}

/* ---- Values and actions ------------------------------------------------------------------------------------------ */

/* The reference says how long the value is: two bytes of the input. */
static void use_value(uint8_t *bytes, size_t size, bool sealed, uint32_t number)
{
	struct value_ref ref = { .position = POSITION };
	struct slf_slice stored, key;
	uint64_t expected, found;
	uint32_t tree;

	if (size < VALUE_HEADER_BYTES)
		return;
	ref.raw = get_u32(bytes + ENTRY_HEADER_BYTES);
	ref.stored = (uint32_t)u64_min(size - VALUE_HEADER_BYTES - u64_min(get_u32(bytes + 28), size - VALUE_HEADER_BYTES),
				       number & 0x8000 ? number & 0x7fff : size);
	if (sealed) {
		put_u64(bytes + 8, XXH3_64bits(bytes + 16, size - 16));
		put_u64(bytes, entry_checksum(bytes, SEED, POSITION, NULL, 0));
	}
	ref.hash = get_u64(bytes + 8);
	if (value_entry_check(bytes, size, SEED, POSITION, &ref, &stored, &expected, &found))
		return;
	value_entry_owner(bytes, &tree, &key);
	touch(key);
	touch(stored);
	if (ref.stored < ref.raw && ref.raw < MIB) {
		uint8_t *raw = malloc(ref.raw);

		must(raw != NULL);
		if (value_decompress(stored, raw, ref.raw) == 0)
			touch(slice(raw, ref.raw));
		free(raw);
	}
}

static void use_action_list(struct slf_slice actions)
{
	struct digest digest = { 0 };
	struct action action;
	int result;

	while ((result = action_decode(&actions, &action)) == 0) {
		uint8_t *encoded = malloc(action_bytes(&action));

		must(encoded != NULL);
		action_encode(encoded, &action);
		digest_action(&digest, &action);
		touch(action.key);
		free(encoded);
	}
	must(result == SLF_END || result == SLF_ECORRUPT || result == SLF_EINCOMPATIBLE);
	sum += digest.low;
}

static void use_actions(uint8_t *bytes, size_t size, bool sealed)
{
	struct entry_ref ref = { .position = POSITION, .length = (uint32_t)size };
	struct slf_slice content;

	if (sealed && size >= ACTIONS_ENTRY_HEADER_BYTES)
		actions_entry_seal(bytes, (uint32_t)size, SEED, POSITION, 1, &ref);
	if (actions_entry_check(bytes, size, SEED, &ref, &content) == NULL)
		use_action_list(content);
	use_action_list(slice(bytes, size));
}

/* ---- Log --------------------------------------------------------------------------------------------------------- */

static void use_commit(struct slf_slice body)
{
	struct commit_entry commit;
	uint8_t *encoded;

	if (commit_entry_decode(body, &commit))
		return;
	must(commit_entry_bytes(&commit) == body.size);
	encoded = malloc(body.size);
	must(encoded != NULL);
	commit_entry_encode(encoded, &commit);
	must(memcmp(encoded, body.data, body.size) == 0);
	free(encoded);
	use_action_list(commit.actions);
}

static void use_mark(struct slf_slice body)
{
	static struct mark mark;
	struct tree_root root;

	if (mark_decode(body, &mark))
		return;
	for (uint32_t i = 0; i < mark.recyclable_count; i++)
		sum += mark_recyclable(&mark, i);
	must(mark_bytes(&mark) == body.size);
	sum += (uint64_t)tree_root_decode((const uint8_t *)body.data + 64, &root);
}

static void use_record(const struct log_record *record)
{
	struct open_record open;

	if (record->kind == LOG_FINAL)
		use_commit(record->body);
	else if (record->kind == LOG_MARK)
		use_mark(record->body);
	else if (record->kind == LOG_OPEN)
		sum += (uint64_t)open_record_decode(record->body, &open);
}

static void use_slab(uint8_t *bytes, size_t size, bool sealed)
{
	struct slab_header header;
	struct log_record record;
	uint64_t offset = 0;
	int result;

	if (size < SLAB_HEADER_BYTES || slab_header_decode(bytes, size, &header))
		return;
	if (sealed) {
		put_u64(bytes + header.length - SLAB_TAIL_BYTES, ~header.number);
		header.digest = XXH3_64bits_withSeed(bytes + 8, header.length - 8, SEED ^ POSITION);
		put_u64(bytes, header.digest);
	}
	if (slab_check(bytes, &header, SEED, POSITION))
		return;
	for (uint32_t i = 0; i < header.part_count; i++) {
		struct entry_ref part;

		slab_part(bytes, i, &part);
		sum += part.hash;
	}
	while ((result = slab_next_record(bytes, &header, &offset, &record)) == 0 || result == SLF_EINCOMPATIBLE)
		use_record(&record);
	must(result == SLF_END);
}

static int find_nothing(void *unused, unsigned index, const char *path)
{
	(void)unused;
	sum += index + strlen(path);
	return 0;
}

static void use_page(uint8_t *bytes, size_t size, uint32_t number)
{
	uint8_t page[META_PAGE_BYTES] = { 0 };
	struct meta meta;
	const char *reason;
	char text[200];

	memcpy(page, bytes, u64_min(size, sizeof(page)));
	for (uint16_t slot = 0; slot < 2; slot++) {
		if (get_u16(page + 82) && get_u16(page + 80) < get_u16(page + 82) && get_u16(page + 82) <= SPINDLES_MAX) {
			(void)meta_decode(page, slot, &meta, &reason);
			meta.slot = slot;
			meta_encode(page, &meta);
		}
		if (meta_decode(page, slot, &meta, &reason) == META_GOOD)
			(void)meta_incompatible(&meta, true, text, 1 + number % sizeof(text));
	}
	(void)meta_table_decode(bytes, size, number % 255, find_nothing, NULL);
}

static void use_input(unsigned kind, uint8_t *bytes, size_t size, bool sealed, uint32_t number)
{
	struct extent_header extent;
	struct log_record record = { .body = slice(bytes, size) };

	switch (kind % 8) {
	case 0:
	case 1:
		use_node(bytes, size, sealed);
		break;
	case 2:
		use_pair(bytes, size, sealed, number);
		break;
	case 3:
		use_value(bytes, size, sealed, number);
		break;
	case 4:
		use_actions(bytes, size, sealed);
		break;
	case 5:
		use_slab(bytes, size, sealed);
		break;
	case 6:
		use_page(bytes, size, number);
		break;
	default:
		for (unsigned i = 0; i < 3; i++) {
			static const enum log_record_kind kinds[] = { LOG_FINAL, LOG_MARK, LOG_OPEN };

			record.kind = kinds[i];
			use_record(&record);
		}
		if (size >= EXTENT_HEADER_BYTES)
			sum += extent_header_decode(bytes, SEED, POSITION, &extent) == NULL;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes;
	size_t length = size - HEAD_BYTES_INPUT;

	if (size < HEAD_BYTES_INPUT)
		return 0;
	bytes = malloc(length ? length : 1); /* of its own, so that it is seen when it is left */
	must(bytes != NULL);
	memcpy(bytes, data + HEAD_BYTES_INPUT, length);
	run_begin();
	use_input(data[0], bytes, length, data[1] & SEALED, get_u16(data + 2));
	run_end();
	free(bytes);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
	struct rng rng = { seed };

	if (size <= HEAD_BYTES_INPUT || rng_below(&rng, 3) == 0)
		return LLVMFuzzerMutate(data, size, room);
	for (uint64_t changes = 1 + rng_below(&rng, 3); changes; changes--)
		forge_bytes(&rng, data + HEAD_BYTES_INPUT, size - HEAD_BYTES_INPUT);
	if (rng_below(&rng, 20) == 0)
		data[1] ^= SEALED;
	return size;
}
