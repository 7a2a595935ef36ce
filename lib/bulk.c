/* SPDX-License-Identifier: MIT */
/*
 * Failure: the caller gives up what it was writing. A checkpoint, or a transaction that spills, takes back what it has placed
 * (bulk_undo): nothing has ever led there, so the next attempt may write there again. What else was placed is dead space, never
 * referred to, and never handed out again (I1).
 */
#include "bulk.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "error.h"

#define BLOCK_BYTES 4096
#define ALLOCATE_STEP (64 * KIB)

void bulk_init(struct bulk *bulk, struct extents *extents, bool set_aside)
{
	*bulk = (struct bulk){ .extents = extents, .set_aside = set_aside };
}

void bulk_release(struct bulk *bulk)
{
	if (bulk->image)
		munmap(bulk->image, EXTENT_BYTES);
	bulk->image = NULL;
	free(bulk->taken);
	bulk->taken = NULL;
}

static struct spindle *spindle_of(struct bulk *bulk, uint64_t position)
{
	return &bulk->extents->store->spindles[position_spindle(position)];
}

static void mark_dirty(struct bulk *bulk, uint64_t position)
{
	unsigned spindle = position_spindle(position);

	bulk->dirty[spindle / 64] |= (uint64_t)1 << spindle % 64;
}

/* Write-out of a range begins without anyone waiting for it, so a later flush finds little to do. */
static void start_write_out(struct spindle *spindle, uint64_t offset, uint64_t length)
{
	struct io_request request = { .op = IO_WRITE_OUT, .file = spindle->file, .offset = offset, .length = length };

	io_run(spindle->io, &request, 1);
}

int bulk_flush(struct bulk *bulk)
{
	uint64_t end = align_up(bulk->at.fill, BLOCK_BYTES), offset;
	struct spindle *spindle;
	int result;

	if (!bulk->at.position || bulk->at.fill == bulk->flushed)
		return 0;
	spindle = spindle_of(bulk, bulk->at.position);
	offset = position_offset(bulk->at.position) + bulk->flushed;
	memset(bulk->image + bulk->at.fill, 0, end - bulk->at.fill);
	mark_dirty(bulk, bulk->at.position);
	result = spindle_write(spindle, 0, offset, bulk->image + bulk->flushed, end - bulk->flushed);
	if (result) {
		bulk->lost = bulk->set_aside;
		if (!bulk->lost) {
			bulk->at.position = 0; /* the next entry starts a new extent */
			bulk->gap = 0;
		}
		return result;
	}
	start_write_out(spindle, offset, end - bulk->flushed);
	stats_add(&bulk->extents->store->stats->values.bulk_bytes, end - bulk->flushed);
	bulk->at.fill = end;
	bulk->flushed = end;
	bulk->gap = 0;
	return 0;
}

/* ---- Extents ----------------------------------------------------------------------------------------------------- */

/* Room to note one more extent: what bulk_undo has to give back must be known. */
static int reserve_taken(struct bulk *bulk)
{
	size_t capacity = u64_max(16, 2 * bulk->taken_capacity);
	struct bulk_place *taken;

	if (bulk->taken_count < bulk->taken_capacity)
		return 0;
	taken = realloc(bulk->taken, capacity * sizeof(*taken));
	if (!taken)
		return -ENOMEM;
	bulk->taken = taken;
	bulk->taken_capacity = capacity;
	return 0;
}

/* The current one is done. */
static void leave_extent(struct bulk *bulk)
{
	if (bulk->taken_count)
		bulk->taken[bulk->taken_count - 1].allocated = bulk->at.allocated;
	else
		bulk->start.allocated = bulk->at.allocated;
}

/* What its first entry needs is allocated before the extent is taken: on a full disk none is used up in vain. */
static int take_extent(struct bulk *bulk, uint64_t length, struct bulk_place *place)
{
	uint64_t allocate = align_up(EXTENT_DATA + length, BLOCK_BYTES);
	int result;

	if (!bulk->set_aside)
		return extents_take(bulk->extents, STREAM_BULK, 1, allocate, &place->position, bulk->image);
	result = reserve_taken(bulk);
	if (!result)
		result = extents_take_set_aside(bulk->extents, allocate, &place->position, &place->allocated, bulk->image);
	if (result)
		return result;
	place->allocated = align_down(place->allocated, BLOCK_BYTES);
	leave_extent(bulk);
	bulk->taken[bulk->taken_count++] = *place;
	return 0;
}

static int bulk_next_extent(struct bulk *bulk, uint64_t length)
{
	struct bulk_place place = { .fill = EXTENT_DATA };
	int result = bulk_flush(bulk);

	if (result)
		return result;
	if (!bulk->image) {
		void *image = mmap(NULL, EXTENT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (image == MAP_FAILED)
			return -ENOMEM;
		bulk->image = image;
	}
	result = take_extent(bulk, length, &place);
	if (result)
		return result;
	memset(bulk->image + EXTENT_HEADER_BYTES, 0, EXTENT_DATA - EXTENT_HEADER_BYTES);
	bulk->at = place;
	bulk->flushed = 0;
	bulk->gap = 0;
	return 0;
}

void bulk_begin(struct bulk *bulk)
{
	assert(!bulk->at.position || bulk->at.fill == bulk->flushed);
	bulk->start = bulk->at;
	bulk->taken_count = 0;
}

void bulk_undo(struct bulk *bulk)
{
	leave_extent(bulk);
	while (bulk->taken_count) {
		const struct bulk_place *last = &bulk->taken[--bulk->taken_count];

		extents_return(bulk->extents, last->position, last->allocated);
	}
	bulk->at = bulk->start;
	bulk->flushed = bulk->start.fill;
	bulk->gap = 0;
	bulk->lost = false;
	if (bulk->at.position)
		verified_clear(&bulk->extents->store->verified, bulk->at.position);
}

void bulk_trim(struct bulk *bulk)
{
	uint64_t from = align_up(bulk->at.fill, BLOCK_BYTES);

	if (bulk->at.position && bulk->at.allocated > from)
		extents_give_back(bulk->extents, bulk->at.position + from, bulk->at.allocated - from);
	bulk->at.allocated = from;
}

/* ---- Entries ----------------------------------------------------------------------------------------------------- */

static uint64_t entry_start(const struct bulk *bulk, uint64_t length, bool node)
{
	uint64_t start = align_up(bulk->at.fill, ENTRY_ALIGN);

	if (node && (length > BLOCK_BYTES || start / BLOCK_BYTES != (start + length - 1) / BLOCK_BYTES))
		start = align_up(start, BLOCK_BYTES);
	return start;
}

static uint64_t block_rest(uint64_t at)
{
	return align_up(at, BLOCK_BYTES) - at;
}

/* A node that is to begin with a block leaves room in the one before: the larger such gap is kept for small entries. */
static void note_gap(struct bulk *bulk, uint64_t start)
{
	uint64_t gap = align_up(bulk->at.fill, ENTRY_ALIGN);

	if (start > gap && block_rest(gap) > block_rest(bulk->gap))
		bulk->gap = gap;
}

static bool fits_gap(const struct bulk *bulk, uint64_t length)
{
	return length <= block_rest(bulk->gap);
}

/* Makes sure of the current extent up to an end: 0, SLF_END where it ends before, or why there is no space. */
static int reach(struct bulk *bulk, uint64_t end)
{
	struct spindle *spindle = spindle_of(bulk, bulk->at.position);
	uint64_t from = bulk->at.allocated, to = u64_min(align_up(end, ALLOCATE_STEP), EXTENT_BYTES);
	int result;

	if (!bulk->at.position || end > EXTENT_BYTES)
		return SLF_END;
	if (!bulk->set_aside || end <= from)
		return 0;
	result = spindle_allocate(spindle, position_offset(bulk->at.position) + from, to - from);
	if (!result)
		bulk->at.allocated = to;
	return result;
}

int bulk_place(struct bulk *bulk, uint64_t length, bool node, uint64_t *position, void **bytes)
{
	uint64_t start = entry_start(bulk, length, node);
	int result;

	assert(length <= BULK_ENTRY_BYTES_MAX && !bulk->lost);
	if (fits_gap(bulk, length)) {
		*position = bulk->at.position + bulk->gap;
		*bytes = bulk->image + bulk->gap;
		bulk->gap += align_up(length, ENTRY_ALIGN);
		bulk->bytes += length;
		return 0;
	}
	result = reach(bulk, start + length);
	if (result == SLF_END || error_is_space(result)) {
		result = bulk_next_extent(bulk, length);
		start = EXTENT_DATA;
	}
	if (result)
		return result;
	note_gap(bulk, start);
	memset(bulk->image + bulk->at.fill, 0, start - bulk->at.fill);
	bulk->at.fill = start + length;
	bulk->bytes += length;
	*position = bulk->at.position + start;
	*bytes = bulk->image + start;
	return 0;
}

int bulk_take_run(struct bulk *bulk, uint64_t length, uint64_t *position, void *header)
{
	uint64_t run = align_up(EXTENT_DATA + length, EXTENT_BYTES) / EXTENT_BYTES, start;
	int result = extents_take(bulk->extents, STREAM_BULK, (uint32_t)run, EXTENT_DATA + length, &start, header);

	if (!result)
		*position = start + EXTENT_DATA;
	return result;
}

int bulk_write_run(struct bulk *bulk, uint64_t position, const void *header, const void *entry, uint64_t length)
{
	struct spindle *spindle = spindle_of(bulk, position);
	uint64_t offset = position_offset(position);
	int result;

	mark_dirty(bulk, position);
	result = spindle_write(spindle, 0, offset - EXTENT_DATA, header, EXTENT_HEADER_BYTES);
	if (!result)
		result = spindle_write(spindle, 0, offset, entry, length);
	if (result)
		return result;
	start_write_out(spindle, offset, length);
	stats_add(&bulk->extents->store->stats->values.bulk_bytes, length);
	bulk->bytes += length;
	return 0;
}

int bulk_sync(struct bulk *bulk)
{
	struct store *store = bulk->extents->store;
	int result = bulk_flush(bulk);

	if (!result)
		result = spindles_sync(store->spindles, store->spindle_count, bulk->dirty);
	if (!result)
		memset(bulk->dirty, 0, sizeof(bulk->dirty));
	return result;
}
