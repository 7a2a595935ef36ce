/* SPDX-License-Identifier: MIT */
/*
 * Slabs, the records in them, and extent headers. A slab is proven once, as a whole, by slab_check: digest, end mark,
 * zeros where zeros belong, parts and the chain of records. What walks it afterwards still compares every length with
 * the payload, which costs little and makes each function safe on its own.
 *
 * The digest alone would do against accidents; the other checks are for bytes that were sealed wrongly, on purpose or
 * by a fault of ours, and keep reserved space free for later use.
 */
#include "slab.h"

#include <xxhash.h>

#include "codec.h"

#define SLAB_UNIT_BYTES 512 /* every slab is a multiple of the smallest physical sector */
#define RECORD_ALIGN 8

_Static_assert(sizeof(struct slab_header) == SLAB_HEADER_BYTES - 8, "no holes: two of them can be compared as bytes");
_Static_assert(sizeof(struct open_record) == OPEN_BODY_BYTES, "open record");
_Static_assert(sizeof(struct mark_spindle) == 16, "spindle of a mark");
_Static_assert(sizeof(struct tree_root) == TREE_ROOT_BYTES - 8, "tree root, but for its reserved word");
_Static_assert(64 + TREE_ROOT_BYTES + 4 + 4 + 8 + 8 + 8 + 8 + 4 + 4 == MARK_BODY_BYTES, "mark");
_Static_assert(4 + 1 + 1 + 2 == LOG_RECORD_HEADER_BYTES, "record header");
_Static_assert(SLAB_HEADER_BYTES % RECORD_ALIGN == 0 && SLAB_PART_BYTES % RECORD_ALIGN == 0, "records are aligned");

uint64_t slab_bytes(uint64_t payload, uint32_t sector)
{
	return align_up(SLAB_HEADER_BYTES + payload + SLAB_TAIL_BYTES, sector);
}

static uint64_t slab_digest(const uint8_t *slab, uint32_t length, uint64_t seed, uint64_t position)
{
	return XXH3_64bits_withSeed(slab + 8, length - 8, seed ^ position);
}

void slab_seal(void *slab, struct slab_header *header, uint64_t seed, uint64_t position)
{
	uint8_t *to = slab;
	uint64_t end = SLAB_HEADER_BYTES + (uint64_t)header->payload;

	assert(header->number && header->length % SLAB_UNIT_BYTES == 0 && end + SLAB_TAIL_BYTES <= header->length);
	assert(header->payload % RECORD_ALIGN == 0 && header->part_count <= SLAB_PARTS_MAX);
	put_u64(to + 8, SLAB_MAGIC);
	put_u64(to + 16, header->previous);
	put_u64(to + 24, header->number);
	put_u64(to + 32, header->salt);
	put_u32(to + 40, header->length);
	put_u32(to + 44, header->payload);
	put_u64(to + 48, header->first_seq);
	put_u64(to + 56, header->last_seq);
	put_u64(to + 64, header->seq_limit);
	put_u64(to + 72, header->durable_seq);
	put_u64(to + 80, header->next);
	put_u32(to + 88, header->part_count);
	put_u32(to + 92, header->record_count);
	memset(to + end, 0, header->length - SLAB_TAIL_BYTES - end);
	put_u64(to + header->length - SLAB_TAIL_BYTES, ~header->number);
	header->digest = slab_digest(to, header->length, seed, position);
	put_u64(to, header->digest);
}

/* Sizes and counts that cannot be. Sums stay within 64 bits, the addends being 32 bits wide. */
static const char *slab_sizes_check(const struct slab_header *header, uint64_t extent_room)
{
	uint64_t parts_bytes = (uint64_t)header->part_count * SLAB_PART_BYTES;

	if (!header->length || header->length % SLAB_UNIT_BYTES)
		return "slab length is not a multiple of 512";
	if (header->length > extent_room)
		return "slab reaches beyond its extent";
	if (SLAB_HEADER_BYTES + (uint64_t)header->payload + SLAB_TAIL_BYTES > header->length)
		return "slab payload is larger than the slab";
	if (header->part_count > SLAB_PARTS_MAX || parts_bytes > header->payload)
		return "slab has more parts than it has room for";
	if ((uint64_t)header->record_count * LOG_RECORD_HEADER_BYTES > header->payload - parts_bytes)
		return "slab has more records than it has room for";
	if (!header->number)
		return "slab number is 0";
	return NULL;
}

const char *slab_header_decode(const void *bytes, uint64_t extent_room, struct slab_header *header)
{
	const uint8_t *from = bytes;

	if (get_u64(from + 8) != SLAB_MAGIC)
		return "no slab here";
	header->digest = get_u64(from);
	header->previous = get_u64(from + 16);
	header->number = get_u64(from + 24);
	header->salt = get_u64(from + 32);
	header->length = get_u32(from + 40);
	header->payload = get_u32(from + 44);
	header->first_seq = get_u64(from + 48);
	header->last_seq = get_u64(from + 56);
	header->seq_limit = get_u64(from + 64);
	header->durable_seq = get_u64(from + 72);
	header->next = get_u64(from + 80);
	header->part_count = get_u32(from + 88);
	header->record_count = get_u32(from + 92);
	return slab_sizes_check(header, extent_room);
}

static const uint8_t *slab_records(const void *slab, const struct slab_header *header, uint64_t *bytes)
{
	uint64_t parts_bytes = (uint64_t)header->part_count * SLAB_PART_BYTES;

	*bytes = header->payload - parts_bytes;
	return (const uint8_t *)slab + SLAB_HEADER_BYTES + parts_bytes;
}

/* The record at *offset, whatever its kind, with its padding: 0, SLF_END, SLF_ECORRUPT. */
static int record_walk(const void *slab, const struct slab_header *header, uint64_t *offset, struct log_record *record)
{
	uint64_t bytes = 0, length, padded;
	const uint8_t *from = slab_records(slab, header, &bytes);

	if (*offset == bytes)
		return SLF_END;
	if (*offset > bytes || bytes - *offset < LOG_RECORD_HEADER_BYTES)
		return SLF_ECORRUPT;
	from += *offset;
	length = get_u32(from);
	padded = align_up(length, RECORD_ALIGN);
	if (length < LOG_RECORD_HEADER_BYTES || padded > bytes - *offset)
		return SLF_ECORRUPT;
	if (from[5] || get_u16(from + 6) || !all_zero(from + length, padded - length))
		return SLF_ECORRUPT;
	record->kind = (enum log_record_kind)from[4];
	record->body = slice(from + LOG_RECORD_HEADER_BYTES, length - LOG_RECORD_HEADER_BYTES);
	*offset += padded;
	return 0;
}

/* Everything between header and end mark of a slab whose digest is right. */
static const char *slab_payload_check(const uint8_t *slab, const struct slab_header *header)
{
	uint64_t end = SLAB_HEADER_BYTES + (uint64_t)header->payload, offset = 0, records = 0;
	struct log_record record;
	int result;

	if (!all_zero(slab + end, header->length - SLAB_TAIL_BYTES - end))
		return "slab padding is not zero";
	for (uint32_t i = 0; i < header->part_count; i++)
		if (get_u32(slab + SLAB_HEADER_BYTES + (size_t)i * SLAB_PART_BYTES + 20))
			return "part of a slab has a reserved word that is not zero";
	while ((result = record_walk(slab, header, &offset, &record)) == 0)
		records++;
	if (result != SLF_END)
		return "record of a slab is malformed";
	if (records != header->record_count)
		return "slab has another number of records than it says";
	return NULL;
}

const char *slab_check(const void *slab, const struct slab_header *header, uint64_t seed, uint64_t position)
{
	const uint8_t *from = slab;
	struct slab_header again = { 0 };
	const char *wrong = slab_header_decode(from, header->length, &again);

	if (wrong)
		return wrong;
	if (memcmp(&again, header, sizeof(again)))
		return "slab header changed between two reads";
	if (slab_digest(from, header->length, seed, position) != header->digest)
		return "slab digest is wrong";
	if (get_u64(from + header->length - SLAB_TAIL_BYTES) != ~header->number)
		return "slab end mark is wrong";
	if (header->first_seq > header->last_seq)
		return "slab's first seq is greater than its last";
	return slab_payload_check(from, header);
}

void slab_part(const void *slab, uint32_t index, struct entry_ref *part)
{
	entry_ref_decode((const uint8_t *)slab + SLAB_HEADER_BYTES + (size_t)index * SLAB_PART_BYTES, part);
}

int slab_next_record(const void *slab, const struct slab_header *header, uint64_t *offset, struct log_record *record)
{
	int result = record_walk(slab, header, offset, record);

	if (result)
		return result;
	switch (record->kind) {
	case LOG_FINAL:
	case LOG_OPEN:
	case LOG_MARK:
		return 0;
	case LOG_TENTATIVE:
	case LOG_DECIDE:
	case LOG_PIN:
	case LOG_SETTING:
		break; /* a later version may write them; nothing here could obey them */
	}
	return SLF_EINCOMPATIBLE;
}

size_t log_record_bytes(size_t body_bytes)
{
	return align_up(LOG_RECORD_HEADER_BYTES + body_bytes, RECORD_ALIGN);
}

void *log_record_begin(void *bytes, enum log_record_kind kind, size_t body_bytes)
{
	uint8_t *to = bytes;
	size_t length = LOG_RECORD_HEADER_BYTES + body_bytes;

	assert(length <= EXTENT_BYTES);
	put_u32(to, (uint32_t)length);
	to[4] = (uint8_t)kind;
	to[5] = 0;
	put_u16(to + 6, 0);
	memset(to + length, 0, log_record_bytes(body_bytes) - length);
	return to + LOG_RECORD_HEADER_BYTES;
}

void tree_root_encode(void *bytes, const struct tree_root *root)
{
	uint8_t *to = bytes;

	put_u64(to, root->word);
	put_u64(to + 8, root->hash);
	put_u64(to + 16, root->count);
	put_u32(to + 24, root->length);
	put_u32(to + 28, root->height);
	put_u64(to + 32, 0);
}

int tree_root_decode(const void *bytes, struct tree_root *root)
{
	const uint8_t *from = bytes;

	root->word = get_u64(from);
	root->hash = get_u64(from + 8);
	root->count = get_u64(from + 16);
	root->length = get_u32(from + 24);
	root->height = get_u32(from + 28);
	if (root->word % ENTRY_ALIGN || root->height > NODE_LEVELS_MAX || (root->word == 0) != (root->height == 0) ||
	    get_u64(from + 32))
		return SLF_ECORRUPT;
	return 0;
}

void open_record_encode(void *body, const struct open_record *open)
{
	uint8_t *to = body;

	put_u64(to, open->salt);
	put_u64(to + 8, open->inode);
	put_u64(to + 16, open->birth_ns);
	put_u64(to + 24, open->clock_ns);
	memcpy(to + 32, open->uuid, sizeof(open->uuid));
}

int open_record_decode(struct slf_slice body, struct open_record *open)
{
	const uint8_t *from = body.data;

	if (body.size != OPEN_BODY_BYTES)
		return SLF_ECORRUPT;
	open->salt = get_u64(from);
	open->inode = get_u64(from + 8);
	open->birth_ns = get_u64(from + 16);
	open->clock_ns = get_u64(from + 24);
	memcpy(open->uuid, from + 32, sizeof(open->uuid));
	return 0;
}

static uint64_t mark_spindles_end(uint32_t spindle_count)
{
	return MARK_BODY_BYTES + sizeof(struct mark_spindle) * (uint64_t)spindle_count;
}

size_t mark_bytes(const struct mark *mark)
{
	return mark_spindles_end(mark->spindle_count) + 8 * (size_t)mark->recyclable_count;
}

void mark_encode(void *body, const struct mark *mark)
{
	uint8_t *to = body;

	assert(mark->spindle_count >= 1 && mark->spindle_count <= SPINDLES_MAX && !mark->space_map);
	assert(mark->recyclable.size == 8 * (size_t)mark->recyclable_count);
	put_u64(to, mark->root_seq);
	put_u64(to + 8, mark->digest.low);
	put_u64(to + 16, mark->digest.high);
	put_u64(to + 24, mark->search_ns);
	put_u64(to + 32, mark->replay_position);
	put_u64(to + 40, mark->replay_number);
	put_u64(to + 48, mark->replay_previous);
	put_u64(to + 56, mark->replay_next);
	tree_root_encode(to + 64, &mark->roots);
	put_u32(to + 104, mark->next_tree);
	put_u32(to + 108, mark->spindle_count);
	put_u64(to + 112, mark->user_entries);
	put_u64(to + 120, mark->space_map);
	put_u64(to + 128, mark->log_extents);
	put_u64(to + 136, mark->bulk_extents);
	put_u32(to + 144, mark->recyclable_count);
	put_u32(to + 148, 0);
	to += MARK_BODY_BYTES;
	for (uint32_t i = 0; i < mark->spindle_count; i++, to += sizeof(struct mark_spindle)) {
		put_u64(to, mark->spindles[i].next_extent);
		put_u64(to + 8, mark->spindles[i].bulk_bytes);
	}
	if (mark->recyclable.size)
		memcpy(to, mark->recyclable.data, mark->recyclable.size);
}

/* What the allocator counts on from; recovery bounds the places. */
static bool mark_counters_possible(const struct mark *mark)
{
	for (uint32_t i = 0; i < mark->spindle_count; i++)
		if (mark->spindles[i].bulk_bytes > COUNTER_MAX)
			return false;
	return mark->log_extents <= COUNTER_MAX && mark->bulk_extents <= COUNTER_MAX;
}

int mark_decode(struct slf_slice body, struct mark *mark)
{
	const uint8_t *from = body.data;
	uint32_t spindle_count, recyclable_count;
	struct tree_root roots;

	if (body.size < MARK_BODY_BYTES || tree_root_decode(from + 64, &roots))
		return SLF_ECORRUPT;
	spindle_count = get_u32(from + 108);
	recyclable_count = get_u32(from + 144);
	if (!spindle_count || spindle_count > SPINDLES_MAX || recyclable_count > MARK_RECYCLABLE_MAX || get_u64(from + 120) ||
	    get_u32(from + 148))
		return SLF_ECORRUPT;
	if (mark_spindles_end(spindle_count) + 8 * (uint64_t)recyclable_count != body.size)
		return SLF_ECORRUPT;
	mark->root_seq = get_u64(from);
	mark->digest = (struct digest){ .low = get_u64(from + 8), .high = get_u64(from + 16) };
	mark->search_ns = get_u64(from + 24);
	mark->replay_position = get_u64(from + 32);
	mark->replay_number = get_u64(from + 40);
	mark->replay_previous = get_u64(from + 48);
	mark->replay_next = get_u64(from + 56);
	mark->roots = roots;
	mark->next_tree = get_u32(from + 104);
	mark->spindle_count = spindle_count;
	mark->user_entries = get_u64(from + 112);
	mark->space_map = 0;
	mark->log_extents = get_u64(from + 128);
	mark->bulk_extents = get_u64(from + 136);
	for (uint32_t i = 0; i < spindle_count; i++) {
		mark->spindles[i].next_extent = get_u64(from + mark_spindles_end(i));
		mark->spindles[i].bulk_bytes = get_u64(from + mark_spindles_end(i) + 8);
	}
	mark->recyclable_count = recyclable_count;
	mark->recyclable = slice(from + mark_spindles_end(spindle_count), 8 * (size_t)recyclable_count);
	return mark_counters_possible(mark) ? 0 : SLF_ECORRUPT;
}

uint64_t mark_recyclable(const struct mark *mark, uint32_t index)
{
	assert(index < mark->recyclable_count);
	return get_u64((const uint8_t *)mark->recyclable.data + 8 * (size_t)index);
}

static uint64_t extent_digest(const uint8_t *bytes, uint64_t seed, uint64_t position)
{
	return XXH3_64bits_withSeed(bytes + 8, EXTENT_HEADER_BYTES - 8, seed ^ position);
}

void extent_header_encode(void *bytes, const struct extent_header *extent, uint64_t seed, uint64_t position)
{
	uint8_t *to = bytes;

	assert(extent->run >= 1);
	memset(to, 0, EXTENT_HEADER_BYTES);
	put_u64(to + 8, EXTENT_MAGIC);
	put_u64(to + 16, extent->salt);
	put_u64(to + 24, extent->number);
	to[32] = (uint8_t)extent->stream;
	put_u32(to + 36, extent->run);
	put_u64(to + 40, extent->seq);
	memcpy(to + 48, extent->uuid, sizeof(extent->uuid));
	put_u64(to, extent_digest(to, seed, position));
}

const char *extent_header_decode(const void *bytes, uint64_t seed, uint64_t position, struct extent_header *extent)
{
	const uint8_t *from = bytes;

	if (get_u64(from + 8) != EXTENT_MAGIC)
		return "no extent header here";
	if (get_u64(from) != extent_digest(from, seed, position))
		return "extent header digest is wrong";
	if (from[32] != STREAM_LOG && from[32] != STREAM_BULK)
		return "extent belongs to an unknown stream";
	if (!all_zero(from + 33, 3))
		return "extent header has a reserved byte that is not zero";
	if (!get_u32(from + 36))
		return "extent header has a run of 0";
	extent->salt = get_u64(from + 16);
	extent->number = get_u64(from + 24);
	extent->stream = (enum stream)from[32];
	extent->run = get_u32(from + 36);
	extent->seq = get_u64(from + 40);
	memcpy(extent->uuid, from + 48, sizeof(extent->uuid));
	return NULL;
}
