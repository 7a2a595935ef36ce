/* SPDX-License-Identifier: MIT */
/*
 * Metadata pages and the spindle table: encode and decode. Pure; any thread; safe on any bytes.
 */
#ifndef META_H
#define META_H

#include "base.h"
#include "format.h"

#define META_GENERATION_NEW 2u /* of the newer page of a database that nobody has opened yet */

struct meta {
	uint32_t version;
	uint32_t sector;
	uint64_t incompat, ro_compat, compat;
	uint8_t uuid[16];
	uint64_t generation;
	uint64_t salt;
	uint64_t created_ns;
	uint16_t spindle_index, spindle_count;
	uint16_t slot, flags;
	uint32_t table_bytes;
	uint64_t table_digest;
	uint64_t mark_position, mark_number, mark_digest;
	uint64_t log_end, log_number;
	uint64_t durable_seq, seq_limit, floor_seq;
	uint32_t leaf_bytes, branch_bytes, inline_bytes, bulk_bytes, compression;
};

/* Writes META_PAGE_BYTES; meta->slot says for which place. */
void meta_encode(void *page, const struct meta *meta);

enum meta_state {
	META_GOOD,
	META_FOREIGN, /* no magic: not one of our files */
	META_DAMAGED, /* magic, but the digest or a field is wrong */
};
/* Decodes the page read from `slot`. Feature words and version are reported, not judged. *reason says what is wrong,
 * NULL for META_GOOD. *meta is set in any case, for a damaged page with whatever stands there. */
enum meta_state meta_decode(const void *page, uint16_t slot, struct meta *meta, const char **reason);

/* Sizes and counts on which reading relies: NULL, or which of them cannot be. meta_decode has looked at them, but not in a
 * page with unknown features. */
const char *meta_settings_check(const struct meta *meta);

/* Names the unknown bits or the newer version in words: NULL when this library knows everything it must know for
 * reading (or for writing). The text is written to buffer. */
const char *meta_incompatible(const struct meta *meta, bool writing, char *buffer, size_t size);

/* Spindle table, META_TABLE_BYTES of room: paths of spindles 1..count (paths[0] is that of spindle 1; count is one less
 * than the database has). encode returns the bytes used, 0 when they do not fit or one is empty or too long. */
size_t meta_table_encode(void *table, const char *const *paths, unsigned count);
/* Calls back with each path, zero-terminated in buffer: 0, SLF_ECORRUPT, or what the callback returned. */
int meta_table_decode(const void *table, size_t bytes, unsigned count,
		      int (*found)(void *context, unsigned index, const char *path), void *context);
uint64_t meta_table_digest(const void *table, size_t bytes);

#endif
