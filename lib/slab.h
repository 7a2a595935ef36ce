/* SPDX-License-Identifier: MIT */
/*
 * Slabs and the records in them: encode and decode. Pure; any thread. Safe on any bytes when decoding.
 */
#ifndef SLAB_H
#define SLAB_H

#include "action.h"
#include "base.h"
#include "entry.h"
#include "format.h"

struct slab_header {
	uint64_t digest; /* set by slab_seal */
	uint64_t previous;
	uint64_t number;
	uint64_t salt;
	uint32_t length;
	uint32_t payload;
	uint64_t first_seq, last_seq;
	uint64_t seq_limit;
	uint64_t durable_seq;
	uint64_t next;
	uint32_t part_count;
	uint32_t record_count;
};

/* Bytes of a slab with this payload, padded to `sector`. */
uint64_t slab_bytes(uint64_t payload, uint32_t sector);

/* Writes header and end mark around a payload that stands at SLAB_HEADER_BYTES, zeroes the padding, computes the
 * digest. header->length says how long; header->digest is set. */
void slab_seal(void *slab, struct slab_header *header, uint64_t seed, uint64_t position);

/* Decodes the first SLAB_HEADER_BYTES without proving anything but sane sizes (magic, length within available_extent, a
 * multiple of 512): NULL or what is wrong. */
const char *slab_header_decode(const void *bytes, uint64_t extent_room, struct slab_header *header);

/* Proves a whole slab of header->length bytes: digest, end mark, padding, counts. NULL or what is wrong. */
const char *slab_check(const void *slab, const struct slab_header *header, uint64_t seed, uint64_t position);

/* The i-th part of a checked slab. */
void slab_part(const void *slab, uint32_t index, struct entry_ref *part);

struct log_record {
	enum log_record_kind kind;
	struct slf_slice body;
};

/* Walks the records of a checked slab: *offset starts at 0. 0, SLF_END, SLF_ECORRUPT; an unknown kind is
 * SLF_EINCOMPATIBLE (reserved kinds too), with *record set and *offset moved on, so that the caller can name it. */
int slab_next_record(const void *slab, const struct slab_header *header, uint64_t *offset, struct log_record *record);

/* Bytes of a record with its header, padded to 8. */
size_t log_record_bytes(size_t body_bytes);
/* Writes the record header and zeroes the padding; returns where the body goes (it may already stand there). */
void *log_record_begin(void *bytes, enum log_record_kind kind, size_t body_bytes);

struct tree_root {
	uint64_t word;  /* child word: a position, or a heap pointer with bit 0 set; 0 when the tree is empty */
	uint64_t hash;
	uint64_t count; /* entries */
	uint32_t length;
	uint32_t height; /* levels; a tree of one leaf has 1 */
};
void tree_root_encode(void *bytes, const struct tree_root *root);
/* 0, or SLF_ECORRUPT for what cannot stand on disk: a word that is no position of an entry (bit 0 set would pass for a
 * heap pointer), too many levels, reserved bytes. *root is set in any case. */
int tree_root_decode(const void *bytes, struct tree_root *root);

struct open_record {
	uint64_t salt, inode, birth_ns, clock_ns;
	uint8_t uuid[16];
};
void open_record_encode(void *body, const struct open_record *open);
int open_record_decode(struct slf_slice body, struct open_record *open);

struct mark_spindle {
	uint64_t next_extent; /* index of the first extent never taken */
	uint64_t bulk_bytes;  /* written there */
};

struct mark {
	uint64_t root_seq;
	struct digest digest;
	uint64_t search_ns;
	uint64_t replay_position, replay_number, replay_previous, replay_next;
	struct tree_root roots; /* word is a position */
	uint32_t next_tree;
	uint32_t spindle_count;
	uint64_t user_entries;
	uint64_t space_map;
	uint64_t log_extents, bulk_extents;
	struct mark_spindle spindles[SPINDLES_MAX];
	uint32_t recyclable_count;
	struct slf_slice recyclable; /* recyclable_count u64 positions, little-endian */
};
size_t mark_bytes(const struct mark *mark);
void mark_encode(void *body, const struct mark *mark);
int mark_decode(struct slf_slice body, struct mark *mark);
uint64_t mark_recyclable(const struct mark *mark, uint32_t index);

/* Extent headers. */
struct extent_header {
	uint64_t salt, number, seq;
	enum stream stream;
	uint32_t run;
	uint8_t uuid[16];
};
void extent_header_encode(void *bytes, const struct extent_header *extent, uint64_t seed, uint64_t position);
const char *extent_header_decode(const void *bytes, uint64_t seed, uint64_t position, struct extent_header *extent);

#endif
