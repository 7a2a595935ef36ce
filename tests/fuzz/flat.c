/* SPDX-License-Identifier: MIT */
#include "flat.h"

#include "codec.h"
#include "format.h"
#include "scratch.h"

#define PACK_HEADER_BYTES 16
#define PIECE_HEADER_BYTES 8
#define FIND_BYTES_MAX (256 * KIB) /* longer ones would only make the input large */
#define GAP_WORDS 3                /* so many words of zeros are dearer than the header of a piece */

struct flat flat;

/* Directories that exist: the paths of further spindles are resolved, all else is simulated. */
const char *const flat_paths[FLAT_SPINDLES] = { "/tmp/db", "/usr/spindle", "/var/spindle" };

const char *flat_path(unsigned spindle)
{
	return flat_paths[spindle];
}

static void touch(unsigned spindle, uint64_t offset, uint64_t length)
{
	for (uint64_t block = offset / FLAT_BLOCK; length && block <= (offset + length - 1) / FLAT_BLOCK; block++)
		flat.touched[spindle][block] = 1;
}

void flat_clear(void)
{
	for (unsigned spindle = 0; spindle < FLAT_SPINDLES; spindle++)
		for (uint64_t block = 0; block < FLAT_BLOCKS; block++)
			if (flat.touched[spindle][block])
				memset(flat.bytes[spindle] + block * FLAT_BLOCK, 0, FLAT_BLOCK);
	memset(flat.touched, 0, sizeof(flat.touched));
	memset(flat.sizes, 0, sizeof(flat.sizes));
	flat.flags = 0;
	flat.spindles = 1;
}

void flat_unpack(const uint8_t *data, size_t size)
{
	size_t at = PACK_HEADER_BYTES;

	flat_clear();
	if (size < PACK_HEADER_BYTES)
		return;
	flat.flags = data[0];
	flat.spindles = data[1] && data[1] <= FLAT_SPINDLES ? data[1] : 1;
	for (unsigned i = 0; i < flat.spindles; i++)
		flat.sizes[i] = u64_min(get_u32(data + 4 + 4 * i), FLAT_FILE_BYTES);
	while (size - at > PIECE_HEADER_BYTES) {
		uint32_t place = get_u32(data + at);
		unsigned spindle = place >> 28;
		uint64_t offset = (uint64_t)(place & 0xfffffff) * 8;
		uint64_t length = u64_min(get_u32(data + at + 4), size - at - PIECE_HEADER_BYTES);

		at += PIECE_HEADER_BYTES;
		if (spindle < flat.spindles && offset < flat.sizes[spindle]) {
			uint64_t fits = u64_min(length, flat.sizes[spindle] - offset);

			memcpy(flat.bytes[spindle] + offset, data + at, fits);
			touch(spindle, offset, fits);
		}
		at += length;
	}
}

static bool word_zero(unsigned spindle, uint64_t offset)
{
	return offset >= flat.sizes[spindle] || get_u64(flat.bytes[spindle] + offset) == 0;
}

uint64_t flat_touched_bytes(void)
{
	uint64_t bytes = 0;

	for (unsigned spindle = 0; spindle < FLAT_SPINDLES; spindle++)
		for (uint64_t block = 0; block < FLAT_BLOCKS; block++)
			bytes += flat.touched[spindle][block] ? FLAT_BLOCK : 0;
	return bytes;
}

uint64_t flat_next_touched(unsigned spindle, uint64_t from, uint64_t end)
{
	for (; from < end; from = align_down(from, FLAT_BLOCK) + FLAT_BLOCK)
		if (flat.touched[spindle][from / FLAT_BLOCK])
			return from;
	return FLAT_FILE_BYTES;
}

/* The next piece at or behind *from: its end, with *from at its start; 0 when there is none. */
static uint64_t piece_next(unsigned spindle, uint64_t *from)
{
	uint64_t end = flat.sizes[spindle], at = flat_next_touched(spindle, *from, end), last = 0;

	while (at < end && word_zero(spindle, at))
		at = flat_next_touched(spindle, at + 8, end);
	if (at >= end)
		return 0;
	*from = at;
	for (last = at; at < end && at - last <= 8 * GAP_WORDS; at += 8)
		if (!word_zero(spindle, at))
			last = at;
	return last + 8;
}

size_t flat_pack(uint8_t *data, size_t room)
{
	size_t used = PACK_HEADER_BYTES;

	if (room < PACK_HEADER_BYTES)
		return 0;
	memset(data, 0, PACK_HEADER_BYTES);
	data[0] = (uint8_t)flat.flags;
	data[1] = (uint8_t)flat.spindles;
	for (unsigned spindle = 0; spindle < flat.spindles; spindle++) {
		uint64_t from = 0, end;

		put_u32(data + 4 + 4 * spindle, (uint32_t)flat.sizes[spindle]);
		for (; (end = piece_next(spindle, &from)) != 0; from = end) {
			if (room - used < PIECE_HEADER_BYTES + end - from)
				return used;
			put_u32(data + used, spindle << 28 | (uint32_t)(from / 8));
			put_u32(data + used + 4, (uint32_t)(end - from));
			memcpy(data + used + PIECE_HEADER_BYTES, flat.bytes[spindle] + from, end - from);
			used += PIECE_HEADER_BYTES + end - from;
		}
	}
	return used;
}

uint8_t *flat_find(void *unused, uint64_t position, uint64_t length)
{
	unsigned spindle = position_spindle(position);
	uint64_t offset = position_offset(position);

	(void)unused;
	if (spindle >= flat.spindles || offset % 8 || length > FIND_BYTES_MAX || length > flat.sizes[spindle] ||
	    offset > flat.sizes[spindle] - length)
		return NULL;
	touch(spindle, offset, length);
	return flat.bytes[spindle] + offset;
}

size_t flat_slabs(uint64_t slabs[FLAT_SLABS_MAX])
{
	uint64_t end = align_down(flat.sizes[0], 512), at = EXTENT_ZERO_DATA;
	size_t count = 0;

	while (count < FLAT_SLABS_MAX && (at = flat_next_touched(0, at, end)) < end) {
		if (get_u64(flat.bytes[0] + at + 8) == SLAB_MAGIC) {
			uint64_t number = get_u64(flat.bytes[0] + at + 24);
			size_t i = count++;

			for (; i && get_u64(flat.bytes[0] + slabs[i - 1] + 24) > number; i--)
				slabs[i] = slabs[i - 1];
			slabs[i] = at;
		}
		at += 512;
	}
	return count;
}

/* ---- Disks ------------------------------------------------------------------------------------------------------- */

static int file_open(struct sim_disk *disk, unsigned spindle, unsigned flags, struct io **io, struct io_file **file)
{
	static struct stats unused;

	sim_disk_io(disk, &unused, io);
	return io_open(*io, flat_paths[spindle], flags, file);
}

struct sim_disk *flat_disk(void)
{
	struct sim_disk *disk = sim_disk_new();

	for (unsigned spindle = 0; spindle < flat.spindles; spindle++) {
		struct io_file *file = NULL;
		struct io *io = NULL;
		uint64_t end = flat.sizes[spindle], at = 0;

		must_work(file_open(disk, spindle, IO_OPEN_WRITE | IO_OPEN_CREATE, &io, &file));
		must_work(io_truncate(file, end));
		must_work(io_sync(file));
		must_work(io_close(file));
		must_work(io_sync_directory(io, flat_paths[spindle]));
		io_free(io);
		for (; (at = flat_next_touched(spindle, at, end)) < end; at += FLAT_BLOCK)
			must_work(sim_disk_poke(disk, flat_paths[spindle], at, flat.bytes[spindle] + at,
						u64_min(FLAT_BLOCK, end - at)));
	}
	return disk;
}

static void take_blocks(struct sim_disk *disk, unsigned spindle)
{
	static const uint8_t zeros[FLAT_BLOCK];

	for (uint64_t at = 0; at < flat.sizes[spindle]; at += FLAT_BLOCK) {
		uint8_t *block = flat.bytes[spindle] + at;

		must_work(sim_disk_peek_durable(disk, flat_paths[spindle], at, block,
						u64_min(FLAT_BLOCK, flat.sizes[spindle] - at)));
		if (memcmp(block, zeros, FLAT_BLOCK) != 0)
			touch(spindle, at, FLAT_BLOCK);
	}
}

void flat_take(struct sim_disk *disk, unsigned spindles)
{
	flat_clear();
	flat.spindles = spindles;
	for (unsigned spindle = 0; spindle < spindles; spindle++) {
		struct io_file *file = NULL;
		struct io_info info = { 0 };
		struct io *io = NULL;

		must_work(file_open(disk, spindle, 0, &io, &file));
		must_work(io_info(file, &info));
		must_work(io_close(file));
		io_free(io);
		must(info.size <= FLAT_FILE_BYTES);
		flat.sizes[spindle] = info.size;
		take_blocks(disk, spindle);
	}
}
