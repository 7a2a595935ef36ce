/* SPDX-License-Identifier: MIT */
/*
 * Entries in bulk: the common header, value entries and references to them. Pure; any thread. Nodes have their own
 * file.
 *
 * Two digests: the *content hash* covers what the entry says and is what references hold; the *checksum* covers the
 * header (content hash included), the place, and the positions inside, which the content hash leaves out, so that an
 * entry whose children only moved is not a changed one. The content hash of a value or of actions is XXH3-64, unseeded,
 * of bytes 16 to the end of the entry; that of a node is told in node.c.
 */
#ifndef ENTRY_H
#define ENTRY_H

#include "base.h"
#include "format.h"

/* The common header, decoded. */
struct entry_header {
	uint64_t checksum;
	uint64_t hash;
	uint32_t length;
	uint8_t type, kind, level;
	uint32_t tree;
	uint32_t aux;
};

/* Where a value is. An absent one has position 0. */
struct value_ref {
	uint64_t position;
	uint64_t hash;
	uint32_t stored; /* bytes on disk */
	uint32_t raw;    /* bytes of the value; stored < raw: compressed by lz4 */
};

/* A part of a slab, a chunk of a commit's actions: a bulk entry by position, content hash and length. */
struct entry_ref {
	uint64_t position;
	uint64_t hash;
	uint32_t length; /* bytes, the low 32 bits; see part_bytes */
};

/* The seed of a database: from its uuid. Every digest is seeded with this xor the position. */
uint64_t format_seed(const uint8_t uuid[16]);

void entry_header_encode(void *entry, const struct entry_header *header);
void entry_header_decode(const void *entry, struct entry_header *header);

/* XXH3-64 of header bytes 8..31 seeded with seed ^ position; where there are positions, XXH3-64 of their little-endian
 * bytes seeded with that. */
uint64_t entry_checksum(const void *entry, uint64_t seed, uint64_t position, const void *positions, size_t count);

void value_ref_encode(void *bytes, const struct value_ref *ref);
void value_ref_decode(const void *bytes, struct value_ref *ref);
void entry_ref_encode(void *bytes, const struct entry_ref *ref);
void entry_ref_decode(const void *bytes, struct entry_ref *ref);

/* Bytes of a value entry, without padding to ENTRY_ALIGN. The longest value with the longest key is more than the
 * header's length can hold: the header of a value holds the low 32 bits, the reference and the key bytes tell all. */
uint64_t value_entry_bytes(size_t key_bytes, uint64_t stored_bytes);
/* Writes header, owner key and stored bytes (which may already stand in their place) and seals the entry; *ref gets the
 * reference. entry has room for value_entry_bytes(). */
void value_entry_encode(void *entry, uint64_t seed, uint64_t position, uint32_t tree, struct slf_slice key,
			const void *stored, uint32_t stored_bytes, uint32_t raw_bytes, struct value_ref *ref);
/* Checks a value entry of `available` bytes against the reference that led to it: NULL, or what is wrong. On NULL
 * *stored is the stored bytes inside the entry. Safe on any bytes. expected and found are set where numbers differ. */
const char *value_entry_check(const void *entry, uint64_t available, uint64_t seed, uint64_t position,
			      const struct value_ref *ref, struct slf_slice *stored, uint64_t *expected,
			      uint64_t *found);
/* The owner of a checked value entry. */
void value_entry_owner(const void *entry, uint32_t *tree, struct slf_slice *key);

/* Compresses value into buffer (room for value.size) where that saves at least an eighth: returns the stored size, or 0
 * when it is to be stored raw. */
uint32_t value_compress(struct slf_slice value, void *buffer);
/* Decompresses into raw_bytes of buffer: 0 or SLF_ECORRUPT. */
int value_decompress(struct slf_slice stored, void *buffer, uint32_t raw_bytes);

/* ACTIONS entry: seals an entry of `length` bytes, header included, whose content already stands at
 * ACTIONS_ENTRY_HEADER_BYTES. ref->length is `length`. */
void actions_entry_seal(void *entry, uint32_t length, uint64_t seed, uint64_t position, uint64_t seq,
			struct entry_ref *ref);
/* NULL, or what is wrong. *content is the actions inside. */
const char *actions_entry_check(const void *entry, uint64_t available, uint64_t seed, const struct entry_ref *ref,
				struct slf_slice *content);
#define ACTIONS_ENTRY_HEADER_BYTES (ENTRY_HEADER_BYTES + 8)

/* The same for either kind, of `bytes` bytes (VALUE_HEADER_BYTES at least), by its first VALUE_HEADER_BYTES: NULL, or what is
 * wrong. Leaves to the caller whether what stands from ENTRY_CONTENT_FROM on has the content hash. */
const char *part_header_check(const void *entry, uint64_t bytes, uint64_t seed, const struct entry_ref *part);
#define ENTRY_CONTENT_FROM 16

#endif
