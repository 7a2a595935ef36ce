/* SPDX-License-Identifier: MIT */
/*
 * Metadata pages and the spindle table. A page is judged in three steps: is it ours (magic), is it whole (digest,
 * seeded with the uuid inside and the place), and, where no feature is set that this library does not know, are its
 * fields possible and its reserved bytes zero. A page with unknown features is taken as it is: what they put into the
 * reserved bytes is theirs, and meta_incompatible decides whether that matters.
 */
#include "meta.h"

#include <limits.h>
#include <stdio.h>
#include <xxhash.h>

#include "codec.h"
#include "entry.h"

#define META_USED_BYTES 192
#define META_DIGEST_OFFSET (META_PAGE_BYTES - 8)
#define SECTOR_BYTES_MIN 512
#define SECTOR_BYTES_MAX EXTENT_DATA /* the first slab of an extent has to start on a sector */
#define COMPAT_KNOWN ((uint64_t)0)
#define COMPRESSION_MAX 1 /* lz4 */

_Static_assert(sizeof(FORMAT_MAGIC) - 1 == 8, "magic");
_Static_assert(8 + 4 + 4 + 3 * 8 + 16 + 3 * 8 + 4 * 2 + 4 + 4 + 9 * 8 + 5 * 4 + 4 == META_USED_BYTES, "page");
_Static_assert(META_TABLE_A + META_TABLE_BYTES <= META_PAGE_B, "table A ends before page B");
_Static_assert(META_TABLE_B + META_TABLE_BYTES <= EXTENT_ZERO_DATA, "table B ends before the data");

static uint64_t page_digest(const uint8_t *page, uint16_t slot)
{
	uint64_t offset = slot ? META_PAGE_B : META_PAGE_A;
	uint64_t position = position_make(get_u16(page + 80) & 0xff, offset);

	return XXH3_64bits_withSeed(page, META_DIGEST_OFFSET, format_seed(page + 40) ^ position);
}

void meta_encode(void *page, const struct meta *meta)
{
	uint8_t *to = page;

	assert(meta->slot <= 1 && meta->spindle_index < meta->spindle_count && meta->spindle_count <= SPINDLES_MAX);
	memset(to, 0, META_PAGE_BYTES);
	memcpy(to, FORMAT_MAGIC, 8);
	put_u32(to + 8, meta->version);
	put_u32(to + 12, meta->sector);
	put_u64(to + 16, meta->incompat);
	put_u64(to + 24, meta->ro_compat);
	put_u64(to + 32, meta->compat);
	memcpy(to + 40, meta->uuid, 16);
	put_u64(to + 56, meta->generation);
	put_u64(to + 64, meta->salt);
	put_u64(to + 72, meta->created_ns);
	put_u16(to + 80, meta->spindle_index);
	put_u16(to + 82, meta->spindle_count);
	put_u16(to + 84, meta->slot);
	put_u16(to + 86, meta->flags);
	put_u32(to + 88, meta->table_bytes);
	put_u64(to + 96, meta->table_digest);
	put_u64(to + 104, meta->mark_position);
	put_u64(to + 112, meta->mark_number);
	put_u64(to + 120, meta->mark_digest);
	put_u64(to + 128, meta->log_end);
	put_u64(to + 136, meta->log_number);
	put_u64(to + 144, meta->durable_seq);
	put_u64(to + 152, meta->seq_limit);
	put_u64(to + 160, meta->floor_seq);
	put_u32(to + 168, meta->leaf_bytes);
	put_u32(to + 172, meta->branch_bytes);
	put_u32(to + 176, meta->inline_bytes);
	put_u32(to + 180, meta->bulk_bytes);
	put_u32(to + 184, meta->compression);
	put_u64(to + META_DIGEST_OFFSET, page_digest(to, meta->slot));
}

static void meta_fields_decode(const uint8_t *from, struct meta *meta)
{
	meta->version = get_u32(from + 8);
	meta->sector = get_u32(from + 12);
	meta->incompat = get_u64(from + 16);
	meta->ro_compat = get_u64(from + 24);
	meta->compat = get_u64(from + 32);
	memcpy(meta->uuid, from + 40, 16);
	meta->generation = get_u64(from + 56);
	meta->salt = get_u64(from + 64);
	meta->created_ns = get_u64(from + 72);
	meta->spindle_index = get_u16(from + 80);
	meta->spindle_count = get_u16(from + 82);
	meta->slot = get_u16(from + 84);
	meta->flags = get_u16(from + 86);
	meta->table_bytes = get_u32(from + 88);
	meta->table_digest = get_u64(from + 96);
	meta->mark_position = get_u64(from + 104);
	meta->mark_number = get_u64(from + 112);
	meta->mark_digest = get_u64(from + 120);
	meta->log_end = get_u64(from + 128);
	meta->log_number = get_u64(from + 136);
	meta->durable_seq = get_u64(from + 144);
	meta->seq_limit = get_u64(from + 152);
	meta->floor_seq = get_u64(from + 160);
	meta->leaf_bytes = get_u32(from + 168);
	meta->branch_bytes = get_u32(from + 172);
	meta->inline_bytes = get_u32(from + 176);
	meta->bulk_bytes = get_u32(from + 180);
	meta->compression = get_u32(from + 184);
}

static bool reserved_zero(const uint8_t *page)
{
	return !get_u32(page + 92) && !get_u32(page + 188) &&
	       all_zero(page + META_USED_BYTES, META_DIGEST_OFFSET - META_USED_BYTES);
}

static bool node_size_possible(uint32_t bytes)
{
	return bytes >= NODE_SIZE_MIN && bytes <= NODE_SIZE_MAX;
}

const char *meta_settings_check(const struct meta *meta)
{
	if (meta->sector < SECTOR_BYTES_MIN || meta->sector > SECTOR_BYTES_MAX || (meta->sector & (meta->sector - 1)))
		return "metadata page has an impossible sector size";
	if (meta->spindle_count > SPINDLES_MAX || meta->spindle_index >= meta->spindle_count)
		return "metadata page has an impossible spindle index or count";
	if (meta->generation > COUNTER_MAX)
		return "metadata page has an impossible generation";
	if (meta->table_bytes > META_TABLE_BYTES)
		return "metadata page has an impossible spindle table size";
	if (!node_size_possible(meta->leaf_bytes) || !node_size_possible(meta->branch_bytes))
		return "metadata page has an impossible node size";
	if (meta->inline_bytes > INLINE_SIZE_MAX)
		return "metadata page has an impossible inline size";
	if (meta->bulk_bytes <= meta->inline_bytes || meta->bulk_bytes > MIB)
		return "metadata page has an impossible size of values for bulk";
	return NULL;
}

/* Fields of a whole page of this version without unknown features. NULL, or what cannot be. */
static const char *meta_fields_check(const uint8_t *page, uint16_t slot, const struct meta *meta)
{
	if (meta->slot != slot)
		return "metadata page belongs to the other slot";
	if (!reserved_zero(page))
		return "metadata page has a reserved byte that is not zero";
	return meta_settings_check(meta);
}

enum meta_state meta_decode(const void *page, uint16_t slot, struct meta *meta, const char **reason)
{
	const uint8_t *from = page;

	*reason = NULL;
	meta_fields_decode(from, meta);
	if (memcmp(from, FORMAT_MAGIC, 8)) {
		*reason = "no metadata page of a database";
		return META_FOREIGN;
	}
	if (get_u64(from + META_DIGEST_OFFSET) != page_digest(from, slot))
		*reason = "metadata page digest is wrong";
	else if (!meta->version)
		*reason = "metadata page has format version 0";
	else if (meta->version == FORMAT_VERSION && !(meta->incompat & ~INCOMPAT_KNOWN) &&
		 !(meta->ro_compat & ~RO_COMPAT_KNOWN) && !(meta->compat & ~COMPAT_KNOWN))
		*reason = meta_fields_check(from, slot, meta);
	return *reason ? META_DAMAGED : META_GOOD;
}

/* "start 3, 17": the bits of word by number. */
static const char *bits_format(const char *start, uint64_t word, char *buffer, size_t size)
{
	const char *separator = " ";

	snprintf(buffer, size, "%s", start);
	for (unsigned bit = 0; bit < 64; bit++) {
		size_t used = strlen(buffer);

		if (!(word >> bit & 1))
			continue;
		snprintf(buffer + used, size - used, "%s%u", separator, bit);
		separator = ", ";
	}
	return buffer;
}

const char *meta_incompatible(const struct meta *meta, bool writing, char *buffer, size_t size)
{
	assert(size);
	if (meta->version != FORMAT_VERSION) {
		snprintf(buffer, size, "format version %u; this library knows version %u", (unsigned)meta->version,
			 (unsigned)FORMAT_VERSION);
		return buffer;
	}
	if (meta->incompat & ~INCOMPAT_KNOWN)
		return bits_format("features unknown to this library, without which nothing can be read: incompat bits",
				   meta->incompat & ~INCOMPAT_KNOWN, buffer, size);
	if (meta->compression > COMPRESSION_MAX || meta->flags & ~META_FLAG_CLEAN) {
		snprintf(buffer, size, "compression %u, flags 0x%x; this library knows compressions up to %u, flags 0x%x",
			 (unsigned)meta->compression, (unsigned)meta->flags, (unsigned)COMPRESSION_MAX,
			 (unsigned)META_FLAG_CLEAN);
		return buffer;
	}
	if (writing && (meta->ro_compat & ~RO_COMPAT_KNOWN))
		return bits_format("features unknown to this library, which allow reading only: ro-compat bits",
				   meta->ro_compat & ~RO_COMPAT_KNOWN, buffer, size);
	return NULL;
}

size_t meta_table_encode(void *table, const char *const *paths, unsigned count)
{
	uint8_t *to = table;
	size_t used = 0, length;

	for (unsigned i = 0; i < count; i++) {
		length = strlen(paths[i]);
		if (!length || length >= PATH_MAX || used + 2 + length > META_TABLE_BYTES)
			return 0;
		put_u16(to + used, (uint16_t)length);
		memcpy(to + used + 2, paths[i], length);
		used += 2 + length;
	}
	return used;
}

int meta_table_decode(const void *table, size_t bytes, unsigned count,
		      int (*found)(void *context, unsigned index, const char *path), void *context)
{
	const uint8_t *from = table;
	char path[PATH_MAX];
	size_t used = 0, length;
	int result;

	for (unsigned i = 0; i < count; i++) {
		if (bytes - used < 2)
			return SLF_ECORRUPT;
		length = get_u16(from + used);
		used += 2;
		if (!length || length >= sizeof(path) || length > bytes - used || memchr(from + used, 0, length))
			return SLF_ECORRUPT;
		memcpy(path, from + used, length);
		path[length] = 0;
		used += length;
		result = found(context, i + 1, path);
		if (result)
			return result;
	}
	return used == bytes ? 0 : SLF_ECORRUPT;
}

uint64_t meta_table_digest(const void *table, size_t bytes)
{
	return XXH3_64bits(table, bytes);
}
