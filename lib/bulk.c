/* SPDX-License-Identifier: MIT */
/*
 * Failure: a write that fails leaves fill and flushed as they were; the caller gives up what it was writing (a checkpoint,
 * a transaction); entries placed since are dead space, never referred
 * to. Space already handed out is never handed out again (I1).
 */
#include "bulk.h"

#include <stdlib.h>
#include <sys/mman.h>

#define BLOCK_BYTES 4096

void bulk_init(struct bulk *bulk, struct extents *extents, bool set_aside)
{
	*bulk = (struct bulk){ .extents = extents, .set_aside = set_aside };
}

void bulk_release(struct bulk *bulk)
{
	if (bulk->image)
		munmap(bulk->image, EXTENT_BYTES);
	bulk->image = NULL;
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
	uint64_t end = align_up(bulk->fill, BLOCK_BYTES), offset;
	struct spindle *spindle;
	int result;

	if (!bulk->position || bulk->fill == bulk->flushed)
		return 0;
	spindle = spindle_of(bulk, bulk->position);
	offset = position_offset(bulk->position) + bulk->flushed;
	memset(bulk->image + bulk->fill, 0, end - bulk->fill);
	mark_dirty(bulk, bulk->position);
	result = spindle_write(spindle, 0, offset, bulk->image + bulk->flushed, end - bulk->flushed);
	if (result) {
		bulk->position = 0; /* what was placed here is lost; the next entry starts a new extent */
		return result;
	}
	start_write_out(spindle, offset, end - bulk->flushed);
	stats_add(&bulk->extents->store->stats->values.bulk_bytes, end - bulk->flushed);
	bulk->fill = end;
	bulk->flushed = end;
	return 0;
}

/* What its first entry needs is allocated before the extent is taken: on a full disk none is used up in vain. */
static int bulk_next_extent(struct bulk *bulk, uint64_t length)
{
	int result = bulk_flush(bulk);

	if (result)
		return result;
	if (!bulk->image) {
		void *image = mmap(NULL, EXTENT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (image == MAP_FAILED)
			return -ENOMEM;
		bulk->image = image;
	}
	bulk->position = 0;
	result = extents_take(bulk->extents, STREAM_BULK, 1, align_up(EXTENT_DATA + length, BLOCK_BYTES), bulk->set_aside,
			      &bulk->position, bulk->image);
	if (result)
		return result;
	memset(bulk->image + EXTENT_HEADER_BYTES, 0, EXTENT_DATA - EXTENT_HEADER_BYTES);
	bulk->fill = EXTENT_DATA;
	bulk->flushed = 0;
	return 0;
}

static uint64_t entry_start(const struct bulk *bulk, uint64_t length, bool node)
{
	uint64_t start = align_up(bulk->fill, ENTRY_ALIGN);

	if (node && (length > BLOCK_BYTES || start / BLOCK_BYTES != (start + length - 1) / BLOCK_BYTES))
		start = align_up(start, BLOCK_BYTES);
	return start;
}

int bulk_place(struct bulk *bulk, uint64_t length, bool node, uint64_t *position, void **bytes)
{
	uint64_t start = 0;

	assert(length <= BULK_ENTRY_BYTES_MAX);
	if (bulk->position)
		start = entry_start(bulk, length, node);
	if (!bulk->position || start + length > EXTENT_BYTES) {
		int result = bulk_next_extent(bulk, length);

		if (result)
			return result;
		start = entry_start(bulk, length, node);
	}
	memset(bulk->image + bulk->fill, 0, start - bulk->fill);
	bulk->fill = start + length;
	bulk->bytes += length;
	*position = bulk->position + start;
	*bytes = bulk->image + start;
	return 0;
}

int bulk_take_run(struct bulk *bulk, uint64_t length, uint64_t *position, void *header)
{
	uint64_t run = align_up(EXTENT_DATA + length, EXTENT_BYTES) / EXTENT_BYTES, start;
	int result = extents_take(bulk->extents, STREAM_BULK, (uint32_t)run, EXTENT_DATA + length, bulk->set_aside, &start, header);

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
