/* SPDX-License-Identifier: MIT */
/*
 * The checksums of slabs and pages are computed here over the bytes as they stand, not by encoding them anew, which would
 * set reserved bytes to zero and refuse fields that cannot be. Digests of slabs are names: a table tells which new digest
 * took the place of which old one.
 */
#include "seal.h"

#include <xxhash.h>

#include "entry.h"
#include "meta.h"
#include "node_image.h"
#include "slab.h"

#define NODES_MAX 4096
#define NAMES_MAX 256
#define DEPTH_MAX (2 * NODE_LEVELS_MAX)

struct sealing {
	seal_find_fn *find;
	void *context;
	uint64_t seed;
	unsigned nodes; /* that were met: a hostile tree may lead to the same ones again and again */
	struct {
		uint64_t from, end;
	} busy[DEPTH_MAX + 4]; /* what is being walked: nothing that lies over it is sealed meanwhile */
	unsigned busy_count;
	struct {
		uint64_t old, now;
	} names[NAMES_MAX];
	size_t name_count;
	bool replaying; /* behind the newest mark's root */
	uint64_t root_seq;
	struct digest digest;
};

static uint8_t *find(const struct sealing *sealing, uint64_t position, uint64_t length)
{
	return sealing->find(sealing->context, position, length);
}

/* The same, where nothing that is being walked lies. */
static uint8_t *find_free(const struct sealing *sealing, uint64_t position, uint64_t length)
{
	for (unsigned i = 0; i < sealing->busy_count; i++)
		if (position < sealing->busy[i].end && position + length > sealing->busy[i].from)
			return NULL;
	return find(sealing, position, length);
}

static void busy_push(struct sealing *sealing, uint64_t position, uint64_t length)
{
	sealing->busy[sealing->busy_count].from = position;
	sealing->busy[sealing->busy_count++].end = position + length;
}

static uint8_t *mutable(const void *data)
{
	return (uint8_t *)(uintptr_t)data;
}

static void rename_digest(const struct sealing *sealing, uint8_t *digest)
{
	for (size_t i = sealing->name_count; i-- > 0;)
		if (sealing->names[i].old == get_u64(digest)) {
			put_u64(digest, sealing->names[i].now);
			return;
		}
}

/* ---- Bulk -------------------------------------------------------------------------------------------------------- */

/* Values and actions: the content hash, and the checksum over it. */
static uint64_t seal_content(const struct sealing *sealing, uint8_t *entry, uint64_t position, uint64_t bytes)
{
	uint64_t hash = XXH3_64bits(entry + 16, bytes - 16);

	put_u64(entry + 8, hash);
	put_u64(entry, entry_checksum(entry, sealing->seed, position, NULL, 0));
	return hash;
}

/* ref: an encoded value_ref. */
static void seal_value(const struct sealing *sealing, uint8_t *ref)
{
	struct value_ref value;
	struct entry_header header;
	uint8_t *entry;
	uint64_t bytes;

	value_ref_decode(ref, &value);
	entry = find_free(sealing, value.position, VALUE_HEADER_BYTES);
	if (!entry)
		return;
	entry_header_decode(entry, &header);
	bytes = value_entry_bytes(header.aux, value.stored);
	if (!find_free(sealing, value.position, bytes))
		return;
	value.hash = seal_content(sealing, entry, value.position, bytes);
	value_ref_encode(ref, &value);
}

/* Folds them into the digest, as replay does. Returns how many there are. */
static uint32_t seal_actions(const struct sealing *sealing, struct slf_slice actions, struct digest *digest)
{
	struct action action;
	uint32_t count = 0;

	for (; action_decode(&actions, &action) == 0; count++) {
		if (action.op == ACTION_PUT_REF)
			seal_value(sealing, mutable(action.key.data) + action.key.size);
		digest_action(digest, &action);
	}
	return count;
}

/* ref: an encoded entry_ref, to a value or to actions. Returns the number of actions. */
static uint32_t seal_part(struct sealing *sealing, uint8_t *ref, struct digest *digest)
{
	uint64_t position = get_u64(ref);
	uint32_t length = get_u32(ref + 16), count = 0;
	uint8_t *entry = length < ACTIONS_ENTRY_HEADER_BYTES ? NULL : find_free(sealing, position, length);

	if (!entry)
		return 0;
	busy_push(sealing, position, length);
	if (entry[20] == ENTRY_ACTIONS)
		count = seal_actions(sealing, slice(entry + ACTIONS_ENTRY_HEADER_BYTES, length - ACTIONS_ENTRY_HEADER_BYTES),
				     digest);
	sealing->busy_count--;
	put_u64(ref + 8, seal_content(sealing, entry, position, length));
	return count;
}

/* ---- Trees ------------------------------------------------------------------------------------------------------- */

static void seal_node(struct sealing *sealing, uint64_t position, uint64_t *hash, uint32_t *length, unsigned depth);

/* root: an encoded tree_root. */
static void seal_root(struct sealing *sealing, uint8_t *root, unsigned depth)
{
	uint64_t hash = get_u64(root + 8);
	uint32_t length = get_u32(root + 24);

	seal_node(sealing, get_u64(root), &hash, &length, depth);
	put_u64(root + 8, hash);
	put_u32(root + 24, length);
}

static void seal_children(struct sealing *sealing, struct node *branch, unsigned depth)
{
	for (uint32_t i = 0; i < node_count(branch); i++) {
		struct child child;

		node_child(branch, i, &child);
		seal_node(sealing, child.word, &child.hash, &child.length, depth);
		node_child_set(branch, i, &child);
	}
}

static void seal_records(struct sealing *sealing, struct node *leaf, unsigned depth)
{
	uint8_t *base = node_bytes_mutable(leaf) + NODE_HEADER_BYTES;

	if (node_kind(leaf) == NODE_DELTA) {
		uint64_t hash = get_u64(base + 8);
		uint32_t length = get_u32(base + 16);

		seal_node(sealing, get_u64(base), &hash, &length, depth);
		put_u64(base + 8, hash);
		put_u32(base + 16, length);
	}
	for (uint32_t i = 0; i < node_count(leaf); i++) {
		const uint8_t *record = leaf_record(leaf, i);

		if (record_kind(record) == RECORD_REF)
			seal_value(sealing, mutable(record_ref(record)));
		else if (node_tree(leaf) == TREE_ROOTS && record_value_bytes(record) == TREE_ROOT_BYTES)
			seal_root(sealing, mutable(record_ref(record)), depth);
	}
}

/* Of a node that node_check refuses no checksum is ever looked at. */
static void seal_node(struct sealing *sealing, uint64_t position, uint64_t *hash, uint32_t *length, unsigned depth)
{
	struct node *node = (struct node *)(void *)find(sealing, position, NODE_HEADER_BYTES);
	uint32_t bytes = node ? node_length(node) : 0;

	if (!node || depth == DEPTH_MAX || sealing->nodes == NODES_MAX || !find_free(sealing, position, bytes) ||
	    node_check(node, bytes))
		return;
	sealing->nodes++;
	busy_push(sealing, position, bytes);
	if (node_kind(node) == NODE_BRANCH)
		seal_children(sealing, node, depth + 1);
	else
		seal_records(sealing, node, depth + 1);
	sealing->busy_count--;
	node_seal(node, sealing->seed, position);
	*hash = node_hash(node);
	*length = bytes;
}

/* ---- Log --------------------------------------------------------------------------------------------------------- */

/* The whole slab at position, or NULL. */
static uint8_t *slab_find(const struct sealing *sealing, uint64_t position, struct slab_header *header)
{
	uint64_t offset = position_offset(position);
	uint64_t room = align_down(offset, EXTENT_BYTES) + EXTENT_BYTES - offset;
	uint8_t *slab = find(sealing, position, SLAB_HEADER_BYTES);

	if (!slab || slab_header_decode(slab, room, header))
		return NULL;
	return find(sealing, position, header->length);
}

static void seal_commit(struct sealing *sealing, struct slf_slice body)
{
	struct digest digest = { 0 };
	struct commit_entry commit;
	uint32_t count = 0;

	if (commit_entry_decode(body, &commit))
		return;
	for (uint32_t i = 0; i < commit.chunk_count; i++)
		count += seal_part(sealing, mutable(commit.chunks.data) + (size_t)i * SLAB_PART_BYTES, &digest);
	count += seal_actions(sealing, commit.actions, &digest);
	if (!sealing->replaying || commit.seq <= sealing->root_seq)
		return;
	sealing->digest = digest_commit(&sealing->digest, commit.seq, &digest, commit.blob);
	put_u64(mutable(body.data) + 24, sealing->digest.low);
	put_u64(mutable(body.data) + 32, sealing->digest.high);
	put_u32(mutable(body.data) + 40, count);
}

static void seal_slab(struct sealing *sealing, uint64_t position)
{
	struct slab_header header;
	struct digest unused = { 0 };
	struct log_record record;
	uint64_t offset = 0, old, digest;
	uint8_t *slab = slab_find(sealing, position, &header);

	if (!slab)
		return;
	busy_push(sealing, position, header.length);
	for (uint32_t i = 0; i < header.part_count; i++)
		seal_part(sealing, slab + SLAB_HEADER_BYTES + (size_t)i * SLAB_PART_BYTES, &unused);
	while (slab_next_record(slab, &header, &offset, &record) == 0) {
		if (record.kind == LOG_FINAL)
			seal_commit(sealing, record.body);
		else if (record.kind == LOG_MARK && record.body.size >= MARK_BODY_BYTES) {
			rename_digest(sealing, mutable(record.body.data) + 48);
			seal_root(sealing, mutable(record.body.data) + 64, 0);
		}
	}
	sealing->busy_count--;
	rename_digest(sealing, slab + 16);
	put_u64(slab + header.length - SLAB_TAIL_BYTES, ~header.number);
	old = header.digest;
	digest = XXH3_64bits_withSeed(slab + 8, header.length - 8, sealing->seed ^ position);
	put_u64(slab, digest);
	if (old && sealing->name_count < NAMES_MAX) {
		sealing->names[sealing->name_count].old = old;
		sealing->names[sealing->name_count++].now = digest;
	}
}

/* The newest mark: commits behind its root are replayed, from its logical digest on. */
static void find_mark(struct sealing *sealing, const uint64_t *slabs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct slab_header header;
		struct log_record record;
		uint64_t offset = 0;
		const uint8_t *slab = slab_find(sealing, slabs[i], &header);

		while (slab && slab_next_record(slab, &header, &offset, &record) == 0) {
			const uint8_t *body = record.body.data;

			if (record.kind != LOG_MARK || record.body.size < MARK_BODY_BYTES)
				continue;
			sealing->replaying = true;
			sealing->root_seq = get_u64(body);
			sealing->digest = (struct digest){ get_u64(body + 8), get_u64(body + 16) };
		}
	}
}

/* ---- Pages ------------------------------------------------------------------------------------------------------- */

static uint8_t *page_find(const struct sealing *sealing, unsigned spindle, unsigned slot)
{
	uint8_t *page = find(sealing, position_make(spindle, slot ? META_PAGE_B : META_PAGE_A), META_PAGE_BYTES);

	return page && memcmp(page, FORMAT_MAGIC, 8) == 0 ? page : NULL;
}

static void seal_page(const struct sealing *sealing, unsigned spindle, unsigned slot)
{
	uint8_t *page = page_find(sealing, spindle, slot), *table = NULL;
	uint64_t offset = slot ? META_PAGE_B : META_PAGE_A;
	uint32_t table_bytes = page ? get_u32(page + 88) : 0;

	if (!page)
		return;
	if (table_bytes && table_bytes <= META_TABLE_BYTES)
		table = find(sealing, position_make(spindle, slot ? META_TABLE_B : META_TABLE_A), table_bytes);
	if (table)
		put_u64(page + 96, meta_table_digest(table, table_bytes));
	rename_digest(sealing, page + 120);
	put_u64(page + META_PAGE_BYTES - 8,
		XXH3_64bits_withSeed(page, META_PAGE_BYTES - 8,
				     format_seed(page + 40) ^ position_make(get_u16(page + 80) & 0xff, offset)));
}

void seal_database(seal_find_fn *finder, void *context, const uint64_t *slabs, size_t count)
{
	struct sealing sealing = { .find = finder, .context = context };
	const uint8_t *a = page_find(&sealing, 0, 0), *b = page_find(&sealing, 0, 1);

	if (!a && !b)
		return;
	if (!a || (b && get_u64(b + 56) > get_u64(a + 56)))
		a = b;
	sealing.seed = format_seed(a + 40);
	find_mark(&sealing, slabs, count);
	for (size_t i = 0; i < count; i++)
		seal_slab(&sealing, slabs[i]);
	for (unsigned spindle = 0; spindle < SPINDLES_MAX; spindle++)
		for (unsigned slot = 0; slot < 2; slot++)
			seal_page(&sealing, spindle, slot);
}
