/* SPDX-License-Identifier: MIT */
/*
 * Actions and commit entries. digest_action runs for every put of every transaction: it hashes the value, then folds
 * a block of fixed layout with the key behind it, both on the stack, so that no hash state is ever set up. Keys that do
 * not fit in the block are hashed first; the block holds the key's length, so neither form can pass for the other.
 */
#include "action.h"

#include <xxhash.h>

#include "codec.h"

/* The block that is folded for an action:
 *
 *     0    16  running digest, low word first
 *    16     8  XXH3-64 of the raw value; 0 for ACTION_DEL
 *    24     4  tree
 *    28     2  key bytes
 *    30     1  op; ACTION_PUT also for ACTION_PUT_REF, since it is the same change
 *    31     1  0
 *    32     .  key, or when it is longer than FOLD_KEY_BYTES_MAX its XXH3-128, low word first
 */
#define FOLD_HEADER_BYTES 32
#define FOLD_KEY_BYTES_MAX 96 /* up to 128 bytes XXH3 takes its short way */

/* The block for a commit: previous logical digest, the transaction's digest, seq, blob bytes, XXH3-64 of the blob. */
#define FOLD_COMMIT_BYTES 56

_Static_assert(1 + 1 + 2 + 4 + 4 == ACTION_HEADER_BYTES, "action header");
_Static_assert(8 + 8 + 8 + 16 + 4 + 4 + 2 + 2 + 4 == COMMIT_BODY_BYTES, "commit entry");
_Static_assert(16 + 8 + 4 + 2 + 1 + 1 == FOLD_HEADER_BYTES, "folded block of an action");
_Static_assert(16 + 16 + 8 + 8 + 8 == FOLD_COMMIT_BYTES, "folded block of a commit");

static void digest_put(void *bytes, const struct digest *digest)
{
	put_u64(bytes, digest->low);
	put_u64((uint8_t *)bytes + 8, digest->high);
}

static struct digest digest_get(const void *bytes)
{
	return (struct digest){ .low = get_u64(bytes), .high = get_u64((const uint8_t *)bytes + 8) };
}

static struct digest digest_of(const void *bytes, size_t size)
{
	XXH128_hash_t hash = XXH3_128bits(bytes, size);

	return (struct digest){ .low = hash.low64, .high = hash.high64 };
}

static size_t action_value_bytes(const struct action *action)
{
	switch (action->op) { /* GCOVR_EXCL_BR_LINE each value has its case */
	case ACTION_PUT:
		return action->value.size;
	case ACTION_PUT_REF:
		return ACTION_REF_BYTES;
	case ACTION_DEL:
		break;
	}
	return 0;
}

size_t action_bytes(const struct action *action)
{
	return ACTION_HEADER_BYTES + action->key.size + action_value_bytes(action);
}

void action_encode(void *bytes, const struct action *action)
{
	uint8_t *to = bytes;
	size_t value_bytes = action_value_bytes(action);

	assert(action->key.size <= KEY_BYTES_MAX && value_bytes <= VALUE_BYTES_MAX);
	to[0] = (uint8_t)action->op;
	to[1] = 0;
	put_u16(to + 2, (uint16_t)action->key.size);
	put_u32(to + 4, action->tree);
	put_u32(to + 8, (uint32_t)value_bytes);
	to += ACTION_HEADER_BYTES;
	if (action->key.size)
		memcpy(to, action->key.data, action->key.size);
	to += action->key.size;
	if (action->op == ACTION_PUT_REF) {
		value_ref_encode(to, &action->ref);
		put_u64(to + VALUE_REF_BYTES, action->value_hash);
	} else if (value_bytes) {
		memcpy(to, action->value.data, value_bytes);
	}
}

/* What stands behind the key, by op. */
static int action_value_decode(const uint8_t *from, uint32_t value_bytes, struct action *action)
{
	bool possible;

	switch (action->op) {
	case ACTION_PUT:
		action->value = slice(from, value_bytes);
		possible = value_bytes <= VALUE_BYTES_MAX;
		break;
	case ACTION_PUT_REF:
		if (value_bytes != ACTION_REF_BYTES)
			return SLF_ECORRUPT;
		value_ref_decode(from, &action->ref);
		action->value_hash = get_u64(from + VALUE_REF_BYTES);
		possible = action->ref.stored <= action->ref.raw && action->ref.raw <= VALUE_BYTES_MAX;
		break;
	case ACTION_DEL:
		possible = value_bytes == 0;
		break;
	default: /* bytes of a file */
		return SLF_EINCOMPATIBLE;
	}
	return possible ? 0 : SLF_ECORRUPT;
}

int action_decode(struct slf_slice *bytes, struct action *action)
{
	const uint8_t *from = bytes->data;
	struct action decoded = { 0 };
	uint32_t value_bytes;
	uint64_t total;
	int result;

	if (!bytes->size)
		return SLF_END;
	if (bytes->size < ACTION_HEADER_BYTES || from[1])
		return SLF_ECORRUPT;
	decoded.op = (enum action_op)from[0];
	decoded.key = slice(from + ACTION_HEADER_BYTES, get_u16(from + 2));
	decoded.tree = get_u32(from + 4);
	value_bytes = get_u32(from + 8);
	total = ACTION_HEADER_BYTES + (uint64_t)decoded.key.size + value_bytes;
	if (total > bytes->size)
		return SLF_ECORRUPT;
	result = action_value_decode(from + ACTION_HEADER_BYTES + decoded.key.size, value_bytes, &decoded);
	*action = decoded;
	if (result)
		return result;
	*bytes = slice(from + total, bytes->size - total);
	return 0;
}

void digest_action(struct digest *digest, const struct action *action)
{
	uint8_t block[FOLD_HEADER_BYTES + FOLD_KEY_BYTES_MAX];
	size_t key_bytes = action->key.size;
	uint64_t value_hash = 0;
	struct digest key;

	if (action->op == ACTION_PUT)
		value_hash = XXH3_64bits(action->value.data, action->value.size);
	else if (action->op == ACTION_PUT_REF)
		value_hash = action->value_hash;
	digest_put(block, digest);
	put_u64(block + 16, value_hash);
	put_u32(block + 24, action->tree);
	put_u16(block + 28, (uint16_t)key_bytes);
	block[30] = action->op == ACTION_DEL ? ACTION_DEL : ACTION_PUT;
	block[31] = 0;
	if (key_bytes > FOLD_KEY_BYTES_MAX) {
		key = digest_of(action->key.data, key_bytes);
		digest_put(block + FOLD_HEADER_BYTES, &key);
		key_bytes = sizeof(key);
	} else if (key_bytes) {
		memcpy(block + FOLD_HEADER_BYTES, action->key.data, key_bytes);
	}
	*digest = digest_of(block, FOLD_HEADER_BYTES + key_bytes);
}

struct digest digest_commit(const struct digest *previous, uint64_t seq, const struct digest *txn,
			    struct slf_slice blob)
{
	uint8_t block[FOLD_COMMIT_BYTES];

	digest_put(block, previous);
	digest_put(block + 16, txn);
	put_u64(block + 32, seq);
	put_u64(block + 40, blob.size);
	put_u64(block + 48, XXH3_64bits(blob.data, blob.size));
	return digest_of(block, sizeof(block));
}

size_t commit_entry_bytes(const struct commit_entry *commit)
{
	return COMMIT_BODY_BYTES + commit->blob.size + (size_t)commit->chunk_count * SLAB_PART_BYTES +
	       commit->actions.size;
}

/* Returns where the next one goes. */
static uint8_t *slice_append(uint8_t *to, struct slf_slice from)
{
	if (from.size)
		memcpy(to, from.data, from.size);
	return to + from.size;
}

void commit_entry_encode(void *body, const struct commit_entry *commit)
{
	uint8_t *to = body;

	assert(commit->seq && commit->blob.size <= BLOB_BYTES_MAX && commit->chunk_count <= UINT16_MAX);
	assert(commit->chunks.size == (size_t)commit->chunk_count * SLAB_PART_BYTES);
	assert(commit->actions.size <= UINT32_MAX && (!commit->actions.size || !commit->chunk_count));
	put_u64(to, commit->seq);
	put_u64(to + 8, commit->clock_ns);
	put_u64(to + 16, commit->search_ns);
	digest_put(to + 24, &commit->digest);
	put_u32(to + 40, commit->action_count);
	put_u32(to + 44, (uint32_t)commit->actions.size);
	put_u16(to + 48, (uint16_t)commit->blob.size);
	put_u16(to + 50, (uint16_t)commit->chunk_count);
	put_u32(to + 52, 0);
	to = slice_append(to + COMMIT_BODY_BYTES, commit->blob);
	to = slice_append(to, commit->chunks);
	slice_append(to, commit->actions);
}

/* Counts against sizes, and the reserved words of the chunks. */
static bool commit_entry_sane(const struct commit_entry *commit)
{
	const uint8_t *chunks = commit->chunks.data;

	if (!commit->seq)
		return false;
	if (commit->chunk_count && (commit->actions.size || !commit->action_count))
		return false;
	if (!commit->chunk_count && commit->actions.size / ACTION_HEADER_BYTES < commit->action_count)
		return false;
	if (!commit->action_count && commit->actions.size)
		return false;
	for (uint32_t i = 0; i < commit->chunk_count; i++)
		if (get_u32(chunks + (size_t)i * SLAB_PART_BYTES + 20))
			return false;
	return true;
}

int commit_entry_decode(struct slf_slice body, struct commit_entry *commit)
{
	const uint8_t *from = body.data;
	struct commit_entry decoded = { 0 };
	size_t chunks_bytes;

	if (body.size < COMMIT_BODY_BYTES || get_u32(from + 52))
		return SLF_ECORRUPT;
	decoded.seq = get_u64(from);
	decoded.clock_ns = get_u64(from + 8);
	decoded.search_ns = get_u64(from + 16);
	decoded.digest = digest_get(from + 24);
	decoded.action_count = get_u32(from + 40);
	decoded.chunk_count = get_u16(from + 50);
	chunks_bytes = (size_t)decoded.chunk_count * SLAB_PART_BYTES;
	/* 16 and 32 bits each: no sum overflows. Nothing behind the fixed part is touched before it is proven. */
	decoded.actions.size = get_u32(from + 44);
	decoded.blob.size = get_u16(from + 48);
	if (COMMIT_BODY_BYTES + (uint64_t)decoded.blob.size + chunks_bytes + decoded.actions.size != body.size)
		return SLF_ECORRUPT;
	decoded.blob.data = from + COMMIT_BODY_BYTES;
	decoded.chunks = slice(from + COMMIT_BODY_BYTES + decoded.blob.size, chunks_bytes);
	decoded.actions.data = from + (body.size - decoded.actions.size);
	if (!commit_entry_sane(&decoded))
		return SLF_ECORRUPT;
	*commit = decoded;
	return 0;
}
