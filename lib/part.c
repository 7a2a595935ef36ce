/* SPDX-License-Identifier: MIT */
/*
 * A part may have 4 GiB. So it is read in pieces into one buffer: from the first one its header is checked, and its content hash
 * runs over all of them. Rejected: a look through the map, which is the page cache.
 *
 * Failure: nothing is changed by a check, so it may be made again.
 */
#include "part.h"

#include <stdlib.h>
#define XXH_INLINE_ALL /* the state is larger than what a shared library tells of it */
#include <xxhash.h>

#include "error.h"

/* One part on its way through the buffer; offsets in its file. */
struct reading {
	struct spindle *spindle;
	uint64_t from;  /* of what has not been read */
	uint64_t end;   /* of the entry */
	uint8_t *piece; /* bytes of the entry, in the buffer */
	uint64_t bytes;
};

void part_reader_release(struct part_reader *reader)
{
	free(reader->buffer);
	reader->buffer = NULL;
}

uint64_t part_bytes(const struct entry_ref *part)
{
	return part->length < VALUE_HEADER_BYTES ? part->length + 4 * GIB : part->length;
}

/* 0; SLF_END where the file ends before it; an error of reading. */
static int read_piece(struct part_reader *reader, struct reading *reading)
{
	struct spindle *spindle = reading->spindle;
	uint64_t unit = u64_max(spindle->info.logical_sector, 4096), start = align_down(reading->from, unit);
	uint64_t end = u64_min(align_up(reading->end, unit), start + PART_PIECE_BYTES);
	struct io_request request = { .op = IO_READ,
				      .flags = IO_DIRECT,
				      .file = spindle->file,
				      .offset = start,
				      .length = end - start,
				      .data = reader->buffer };
	int result = io_run(spindle->io, &request, 1);

	if (result)
		return error_set(result, spindle->path, (int)spindle->index, start, "cannot be read: %s", error_text(result));
	end = u64_min(end, reading->end);
	if (request.done < end - start)
		return SLF_END;
	reading->piece = reader->buffer + (reading->from - start);
	reading->bytes = end - reading->from;
	reading->from = end;
	return reader->told ? reader->told(reader->context, reading->bytes) : 0;
}

static int check_pieces(struct part_reader *reader, const struct entry_ref *part, struct reading *reading)
{
	XXH3_state_t state;
	int result = read_piece(reader, reading);

	if (result)
		return result;
	if (part_header_check(reading->piece, part_bytes(part), reader->store->seed, part))
		return SLF_END;
	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, reading->piece + ENTRY_CONTENT_FROM, reading->bytes - ENTRY_CONTENT_FROM);
	while (reading->from < reading->end) {
		result = read_piece(reader, reading);
		if (result)
			return result;
		XXH3_64bits_update(&state, reading->piece, reading->bytes);
	}
	return XXH3_64bits_digest(&state) == part->hash ? 0 : SLF_END;
}

int part_check(struct part_reader *reader, const struct entry_ref *part)
{
	unsigned index = position_spindle(part->position);
	struct reading reading = { .from = position_offset(part->position) };

	if (index >= reader->store->spindle_count)
		return SLF_END;
	reading.spindle = &reader->store->spindles[index];
	reading.end = reading.from + part_bytes(part);
	if (reading.end > atomic_load(&reading.spindle->size))
		return SLF_END;
	if (!reader->buffer)
		reader->buffer = aligned_alloc(PART_PIECE_BYTES, PART_PIECE_BYTES);
	return reader->buffer ? check_pieces(reader, part, &reading) : -ENOMEM;
}
