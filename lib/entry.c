/* SPDX-License-Identifier: MIT */
/*
 * Entries in bulk. The content hash of a value or of actions is XXH3-64, unseeded, of everything behind it: bytes 16
 * to the end of the entry. So it is the same wherever the entry stands, and the checksum, which is seeded with the
 * place and covers the content hash, needs to look at the header only.
 *
 * Nothing here trusts a length before it has been compared with the bytes at hand. All failures are of one kind: the
 * bytes are not what the reference says; the texts name what differs.
 */
#include "entry.h"

#include <limits.h>
#include <lz4.h>
#include <xxhash.h>

#include "codec.h"

#define ENTRY_CHECKED_FROM 8  /* the checksum covers the header from here */

/* What the fields of each layout add up to. */
_Static_assert(8 + 8 + 4 + 1 + 1 + 1 + 1 + 4 + 4 == ENTRY_HEADER_BYTES, "common header");
_Static_assert(ENTRY_HEADER_BYTES + 8 == VALUE_HEADER_BYTES, "value header");
_Static_assert(8 + 8 + 4 + 4 == VALUE_REF_BYTES, "value reference");
_Static_assert(8 + 8 + 4 + 4 == SLAB_PART_BYTES, "entry reference");
_Static_assert(LZ4_BYTES_MAX == LZ4_MAX_INPUT_SIZE, "the largest value that lz4 takes");
_Static_assert(LZ4_BYTES_MAX <= INT_MAX, "lz4 counts in int");

uint64_t format_seed(const uint8_t uuid[16])
{
	return get_u64(uuid) ^ get_u64(uuid + 8);
}

void entry_header_encode(void *entry, const struct entry_header *header)
{
	uint8_t *bytes = entry;

	put_u64(bytes, header->checksum);
	put_u64(bytes + 8, header->hash);
	put_u32(bytes + 16, header->length);
	bytes[20] = header->type;
	bytes[21] = header->kind;
	bytes[22] = header->level;
	bytes[23] = 0;
	put_u32(bytes + 24, header->tree);
	put_u32(bytes + 28, header->aux);
}

void entry_header_decode(const void *entry, struct entry_header *header)
{
	const uint8_t *bytes = entry;

	header->checksum = get_u64(bytes);
	header->hash = get_u64(bytes + 8);
	header->length = get_u32(bytes + 16);
	header->type = bytes[20];
	header->kind = bytes[21];
	header->level = bytes[22];
	header->tree = get_u32(bytes + 24);
	header->aux = get_u32(bytes + 28);
}

uint64_t entry_checksum(const void *entry, uint64_t seed, uint64_t position, const void *positions, size_t count)
{
	uint64_t sum = XXH3_64bits_withSeed((const uint8_t *)entry + ENTRY_CHECKED_FROM,
					    ENTRY_HEADER_BYTES - ENTRY_CHECKED_FROM, seed ^ position);

	return count ? XXH3_64bits_withSeed(positions, 8 * count, sum) : sum;
}

void value_ref_encode(void *bytes, const struct value_ref *ref)
{
	uint8_t *to = bytes;

	put_u64(to, ref->position);
	put_u64(to + 8, ref->hash);
	put_u32(to + 16, ref->stored);
	put_u32(to + 20, ref->raw);
}

void value_ref_decode(const void *bytes, struct value_ref *ref)
{
	const uint8_t *from = bytes;

	ref->position = get_u64(from);
	ref->hash = get_u64(from + 8);
	ref->stored = get_u32(from + 16);
	ref->raw = get_u32(from + 20);
}

void entry_ref_encode(void *bytes, const struct entry_ref *ref)
{
	uint8_t *to = bytes;

	put_u64(to, ref->position);
	put_u64(to + 8, ref->hash);
	put_u32(to + 16, ref->length);
	put_u32(to + 20, 0);
}

void entry_ref_decode(const void *bytes, struct entry_ref *ref)
{
	const uint8_t *from = bytes;

	ref->position = get_u64(from);
	ref->hash = get_u64(from + 8);
	ref->length = get_u32(from + 16);
}

/* Content hash of a value or of actions: of what stands behind the hash itself. */
static uint64_t content_hash(const void *entry, uint64_t bytes)
{
	return XXH3_64bits((const uint8_t *)entry + ENTRY_CONTENT_FROM, bytes - ENTRY_CONTENT_FROM);
}

/* Writes the hash, then the checksum that covers it, into an entry of `bytes` bytes that is complete but for these. */
static uint64_t entry_seal(void *entry, uint64_t bytes, uint64_t seed, uint64_t position)
{
	uint8_t *to = entry;
	uint64_t hash = content_hash(entry, bytes);

	put_u64(to + 8, hash);
	put_u64(to, entry_checksum(entry, seed, position, NULL, 0));
	return hash;
}

/* The sum of an entry's header, and the hash that led to it. */
static const char *header_sum_check(const void *entry, uint64_t seed, uint64_t position, uint64_t hash, uint64_t *expected,
				    uint64_t *found)
{
	const uint8_t *from = entry;

	*expected = get_u64(from);
	*found = entry_checksum(entry, seed, position, NULL, 0);
	if (*expected != *found)
		return "entry header checksum is wrong";
	*expected = hash;
	*found = get_u64(from + 8);
	return *expected != *found ? "entry is not the one that the reference means" : NULL;
}

/* The two sums of an entry of `bytes` bytes, all of them at hand, and the hash that led to it. */
static const char *entry_sums_check(const void *entry, uint64_t bytes, uint64_t seed, uint64_t position,
				    uint64_t hash, uint64_t *expected, uint64_t *found)
{
	const char *wrong = header_sum_check(entry, seed, position, hash, expected, found);

	if (wrong)
		return wrong;
	*found = content_hash(entry, bytes);
	return *expected != *found ? "entry content hash is wrong" : NULL;
}

uint64_t value_entry_bytes(size_t key_bytes, uint64_t stored_bytes)
{
	return VALUE_HEADER_BYTES + (uint64_t)key_bytes + stored_bytes;
}

void value_entry_encode(void *entry, uint64_t seed, uint64_t position, uint32_t tree, struct slf_slice key,
			const void *stored, uint32_t stored_bytes, uint32_t raw_bytes, struct value_ref *ref)
{
	uint8_t *to = entry;
	uint64_t bytes = value_entry_bytes(key.size, stored_bytes);
	struct entry_header header = {
		.length = (uint32_t)bytes,
		.type = ENTRY_VALUE,
		.kind = stored_bytes < raw_bytes ? VALUE_LZ4 : VALUE_RAW,
		.tree = tree,
		.aux = (uint32_t)key.size,
	};

	assert(key.size <= KEY_BYTES_MAX && stored_bytes <= raw_bytes);
	entry_header_encode(to, &header);
	put_u64(to + ENTRY_HEADER_BYTES, raw_bytes);
	if (key.size)
		memcpy(to + VALUE_HEADER_BYTES, key.data, key.size);
	if (stored_bytes && stored != to + VALUE_HEADER_BYTES + key.size)
		memcpy(to + VALUE_HEADER_BYTES + key.size, stored, stored_bytes);
	ref->position = position;
	ref->hash = entry_seal(to, bytes, seed, position);
	ref->stored = stored_bytes;
	ref->raw = raw_bytes;
}

/* What the header of a value says, against its reference. *bytes gets the whole length. */
static const char *value_header_check(const uint8_t *entry, uint64_t available, const struct value_ref *ref,
				      uint64_t *bytes, uint64_t *expected, uint64_t *found)
{
	struct entry_header header;

	entry_header_decode(entry, &header);
	*expected = ENTRY_VALUE;
	*found = header.type;
	if (header.type != ENTRY_VALUE)
		return "entry is not a value";
	if (ref->stored > ref->raw)
		return "value reference has more stored than raw bytes";
	*expected = ref->stored < ref->raw ? VALUE_LZ4 : VALUE_RAW;
	*found = header.kind;
	if (*expected != *found)
		return "value is not coded as its reference says";
	if (header.level || entry[23])
		return "value entry has a reserved byte that is not zero";
	if (header.aux > KEY_BYTES_MAX)
		return "value entry's owner key is longer than keys can be";
	*expected = ref->raw;
	*found = get_u64(entry + ENTRY_HEADER_BYTES);
	if (*expected != *found)
		return "value has another size than its reference says";
	*bytes = value_entry_bytes(header.aux, ref->stored);
	*expected = (uint32_t)*bytes;
	*found = header.length;
	if (*expected != *found)
		return "value entry has another length than its reference says";
	*found = available;
	if (*bytes > available)
		return "value entry is cut off";
	return NULL;
}

const char *value_entry_check(const void *entry, uint64_t available, uint64_t seed, uint64_t position,
			      const struct value_ref *ref, struct slf_slice *stored, uint64_t *expected,
			      uint64_t *found)
{
	const uint8_t *from = entry;
	uint64_t bytes = 0;
	const char *wrong;

	*expected = VALUE_HEADER_BYTES;
	*found = available;
	if (available < VALUE_HEADER_BYTES)
		return "value entry is cut off";
	wrong = value_header_check(from, available, ref, &bytes, expected, found);
	if (!wrong)
		wrong = entry_sums_check(from, bytes, seed, position, ref->hash, expected, found);
	if (!wrong)
		*stored = slice(from + (bytes - ref->stored), ref->stored);
	return wrong;
}

void value_entry_owner(const void *entry, uint32_t *tree, struct slf_slice *key)
{
	struct entry_header header;

	entry_header_decode(entry, &header);
	assert(header.type == ENTRY_VALUE);
	*tree = header.tree;
	*key = slice((const uint8_t *)entry + VALUE_HEADER_BYTES, header.aux);
}

uint32_t value_compress(struct slf_slice value, void *buffer)
{
	size_t room = value.size - (value.size + 7) / 8;
	int stored;

	/* The call must not be reached with a size that int cannot hold, nor with nothing to write to. */
	if (!room || value.size > LZ4_BYTES_MAX)
		return 0;
	stored = LZ4_compress_default(value.data, buffer, (int)value.size, (int)room);
	return stored > 0 ? (uint32_t)stored : 0;
}

int value_decompress(struct slf_slice stored, void *buffer, uint32_t raw_bytes)
{
	if (!stored.size || stored.size > INT_MAX || raw_bytes > LZ4_BYTES_MAX)
		return SLF_ECORRUPT;
	if (LZ4_decompress_safe(stored.data, buffer, (int)stored.size, (int)raw_bytes) != (int)raw_bytes)
		return SLF_ECORRUPT;
	return 0;
}

void actions_entry_seal(void *entry, uint32_t length, uint64_t seed, uint64_t position, uint64_t seq,
			struct entry_ref *ref)
{
	uint8_t *to = entry;
	struct entry_header header = { .length = length, .type = ENTRY_ACTIONS };

	assert(length >= ACTIONS_ENTRY_HEADER_BYTES);
	entry_header_encode(to, &header);
	put_u64(to + ENTRY_HEADER_BYTES, seq);
	ref->position = position;
	ref->hash = entry_seal(to, length, seed, position);
	ref->length = length;
}

/* What the header of actions says, against its reference. */
static const char *actions_header_check(const uint8_t *entry, const struct entry_ref *ref)
{
	struct entry_header header;

	entry_header_decode(entry, &header);
	if (header.type != ENTRY_ACTIONS)
		return "entry is not one of actions";
	if (header.length != ref->length)
		return "actions entry has another length than its reference says";
	if (header.kind || header.level || entry[23] || header.tree || header.aux)
		return "actions entry has a reserved byte that is not zero";
	return NULL;
}

const char *actions_entry_check(const void *entry, uint64_t available, uint64_t seed, const struct entry_ref *ref,
				struct slf_slice *content)
{
	const uint8_t *from = entry;
	uint64_t expected = 0, found = 0;
	const char *wrong;

	if (ref->length < ACTIONS_ENTRY_HEADER_BYTES)
		return "reference to actions is shorter than their header";
	if (available < ref->length)
		return "actions entry is cut off";
	wrong = actions_header_check(from, ref);
	if (!wrong)
		wrong = entry_sums_check(from, ref->length, seed, ref->position, ref->hash, &expected, &found);
	if (!wrong)
		*content = slice(from + ACTIONS_ENTRY_HEADER_BYTES, ref->length - ACTIONS_ENTRY_HEADER_BYTES);
	return wrong;
}

const char *part_header_check(const void *entry, uint64_t bytes, uint64_t seed, const struct entry_ref *part)
{
	const uint8_t *from = entry;
	struct entry_header header;
	uint64_t expected = 0, found = 0, length = 0;
	struct value_ref ref;
	const char *wrong;

	entry_header_decode(from, &header);
	if (header.type == ENTRY_ACTIONS) {
		wrong = bytes == part->length ? actions_header_check(from, part) : "actions entry is longer than these can be";
	} else if (header.aux > bytes - VALUE_HEADER_BYTES) {
		wrong = "value entry's owner key is longer than the entry";
	} else {
		ref = (struct value_ref){ .stored = (uint32_t)(bytes - VALUE_HEADER_BYTES - header.aux),
					  .raw = get_u32(from + ENTRY_HEADER_BYTES) };
		wrong = value_header_check(from, bytes, &ref, &length, &expected, &found);
	}
	return wrong ? wrong : header_sum_check(from, seed, part->position, part->hash, &expected, &found);
}
