/* SPDX-License-Identifier: MIT */
/* Parts of slabs: read in pieces, whatever their length, and believed only when all of their bytes are right. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "codec.h"
#include "fault_memory.h"
#include "part.h"
#include "scratch.h"
#include "sim_disk.h"

#define PATH "/tmp/part"
#define SEED 77u
#define PLACE (EXTENT_BYTES + 64) /* in the midst of a sector */

static struct sim_disk *disk;
static struct stats stats;
static struct io *io;
static struct spindle spindle;
static struct store store;

static void set_up(void)
{
	struct io_file *file;

	disk = sim_disk_new();
	must_work(sim_disk_io(disk, &stats, &io));
	must_work(io_open(io, PATH, IO_OPEN_WRITE | IO_OPEN_CREATE, &file));
	must_work(io_close(file));
	must_work(spindle_open(&spindle, io, PATH, 0, IO_OPEN_WRITE, false));
	store = (struct store){ .io = io, .stats = &stats, .seed = SEED, .spindle_count = 1, .spindles = &spindle };
}

static void tear_down(void)
{
	spindle_close(&spindle);
	io_free(io);
	sim_disk_free(disk);
}

TestSuite(part, .init = set_up, .fini = tear_down, .timeout = 120);

/* What was told, and when to stop. */
struct heard {
	unsigned pieces;
	uint64_t bytes, largest;
	unsigned stop_at; /* the call with this number; 0: none */
};

static int hear(void *context, uint64_t bytes)
{
	struct heard *heard = context;

	heard->bytes += bytes;
	heard->largest = u64_max(heard->largest, bytes);
	return ++heard->pieces == heard->stop_at ? -ECANCELED : 0;
}

/* Writes bytes as all of the file behind offset. */
static void file_put(uint64_t offset, const void *bytes, uint64_t length)
{
	must_work(io_truncate(spindle.file, offset));
	must_work(spindle_write(&spindle, 0, offset, bytes, length));
	must_work(spindle_refresh(&spindle));
}

/* An entry of so many bytes at PLACE, which ends the file. */
static struct entry_ref put_value(uint64_t length)
{
	uint32_t size = (uint32_t)(length - VALUE_HEADER_BYTES - 3);
	uint8_t *value = malloc(size), *entry = malloc(length);
	struct value_ref ref;

	bytes_fill(value, size, length, false);
	value_entry_encode(entry, SEED, PLACE, 16, text("key"), value, size, size, &ref);
	file_put(PLACE, entry, length);
	free(value);
	free(entry);
	return (struct entry_ref){ .position = PLACE, .hash = ref.hash, .length = (uint32_t)length };
}

static struct entry_ref put_actions(uint64_t length)
{
	uint8_t *entry = malloc(length);
	struct entry_ref ref;

	bytes_fill(entry, length, length, false);
	actions_entry_seal(entry, (uint32_t)length, SEED, PLACE, 0, &ref);
	file_put(PLACE, entry, length);
	free(entry);
	return ref;
}

static int check_told(const struct entry_ref *part, struct heard *heard)
{
	struct part_reader reader = { .store = &store, .told = heard ? hear : NULL, .context = heard };
	int result = part_check(&reader, part);

	part_reader_release(&reader);
	return result;
}

static int check(const struct entry_ref *part)
{
	return check_told(part, NULL);
}

static void flip(uint64_t offset)
{
	uint8_t byte;

	must_work(spindle_read(&spindle, 0, offset, &byte, 1));
	byte ^= 0x10;
	must_work(spindle_write(&spindle, 0, offset, &byte, 1));
}

/* ---- Pieces ------------------------------------------------------------------------------------------------------ */

/* A value of gigabytes would be read whole into memory, and nobody be told for as long as that takes. */
Test(part, longer_than_a_piece)
{
	struct entry_ref parts[2] = { put_value(5 * MIB) };
	struct heard heard = { 0 };

	fault_memory_largest();
	must_work(check_told(&parts[0], &heard));
	cr_assert_eq(fault_memory_largest(), PART_PIECE_BYTES);
	cr_assert_eq(heard.pieces, 3);
	cr_assert_eq(heard.bytes, 5 * MIB);
	cr_assert_eq(heard.largest, PART_PIECE_BYTES);
	parts[1] = put_actions(5 * MIB);
	heard = (struct heard){ 0 };
	must_work(check_told(&parts[1], &heard));
	cr_assert(heard.pieces == 3 && heard.bytes == 5 * MIB);
	cr_assert_eq(check(&parts[0]), SLF_END); /* whose place it has taken */
}

/* An entry that ends where a piece does, or beside it, would be taken for damaged, or its last bytes not be looked at. */
Test(part, ends_of_pieces)
{
	static const uint64_t ends[] = { 4096, PART_PIECE_BYTES, 2 * PART_PIECE_BYTES };
	struct part_reader reader = { .store = &store };

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		for (uint64_t end = ends[i] - 1; end <= ends[i] + 1; end++) {
			struct entry_ref part = put_value(end - PLACE % 4096);

			must_work(part_check(&reader, &part));
			flip(PLACE + part.length - 1);
			cr_assert_eq(part_check(&reader, &part), SLF_END, "end at %llu", (unsigned long long)end);
		}
	part_reader_release(&reader);
}

/* The low bits of its length alone would be believed: an acknowledged value would be cut off as missing. */
Test(part, longest_value_with_the_longest_key)
{
	uint8_t header[VALUE_HEADER_BYTES];
	struct entry_header fields = { .hash = 5, .length = 39, .type = ENTRY_VALUE, .tree = 16, .aux = KEY_BYTES_MAX };
	struct entry_ref part = { .position = PLACE, .hash = 5, .length = 39 };
	struct heard heard = { .stop_at = 2 };

	if (PLACE + 4 * GIB + 39 > SIM_FILE_BYTES_MAX)
		return;
	cr_assert_eq(part_bytes(&part), value_entry_bytes(KEY_BYTES_MAX, VALUE_BYTES_MAX));
	entry_header_encode(header, &fields);
	put_u64(header + ENTRY_HEADER_BYTES, VALUE_BYTES_MAX);
	put_u64(header, entry_checksum(header, SEED, PLACE, NULL, 0));
	file_put(PLACE, header, sizeof(header));
	cr_assert_eq(check(&part), SLF_END);
	must_work(io_truncate(spindle.file, PLACE + part_bytes(&part)));
	must_work(spindle_refresh(&spindle));
	cr_assert_eq(check_told(&part, &heard), -ECANCELED); /* so its header was right */
	flip(PLACE + 28);
	heard = (struct heard){ .stop_at = 2 };
	cr_assert_eq(check_told(&part, &heard), SLF_END);
	fields = (struct entry_header){ .hash = 5, .length = 39, .type = ENTRY_ACTIONS }; /* which are never so long */
	entry_header_encode(header, &fields);
	put_u64(header, entry_checksum(header, SEED, PLACE, NULL, 0));
	must_work(spindle_write(&spindle, 0, PLACE, header, sizeof(header)));
	heard = (struct heard){ .stop_at = 2 };
	cr_assert_eq(check_told(&part, &heard), SLF_END);
	part.length = VALUE_HEADER_BYTES;
	cr_assert_eq(part_bytes(&part), VALUE_HEADER_BYTES);
}

/* ---- What is wrong ----------------------------------------------------------------------------------------------- */

/* A commit whose value never reached the disk would count. */
Test(part, damage)
{
	static const uint64_t places[] = { 0, 8, 16, 20, 24, 32, VALUE_HEADER_BYTES, MIB, PART_PIECE_BYTES, 5 * MIB - 1 };

	for (unsigned actions = 0; actions < 2; actions++)
		for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
			struct entry_ref part = actions ? put_actions(5 * MIB) : put_value(5 * MIB);

			must_work(check(&part));
			flip(PLACE + places[i]);
			cr_assert_eq(check(&part), SLF_END, "byte %llu", (unsigned long long)places[i]);
		}
}

/* A reference from a hostile log would lead out of the files, or an entry's own header out of the entry. */
Test(part, references_that_cannot_be)
{
	struct entry_ref good = put_value(100), part = good;

	part.position |= (uint64_t)1 << OFFSET_BITS;
	cr_assert_eq(check(&part), SLF_END);
	part = good;
	part.hash++;
	cr_assert_eq(check(&part), SLF_END);
	for (uint32_t length = 0; length < 110; length++) {
		part = good;
		part.length = length;
		cr_assert_eq(check(&part), length == 100 ? 0 : SLF_END, "length %u", length);
	}
	part = put_actions(ACTIONS_ENTRY_HEADER_BYTES);
	must_work(check(&part));
	if (PLACE + 5 * GIB <= SIM_FILE_BYTES_MAX) { /* room for lengths that pass for long ones */
		must_work(io_truncate(spindle.file, PLACE + 5 * GIB));
		must_work(spindle_refresh(&spindle));
	}
	part.length = 39;
	cr_assert_eq(check(&part), SLF_END);
	part = put_value(VALUE_HEADER_BYTES + 3); /* of no bytes */
	must_work(check(&part));
	part.length = VALUE_HEADER_BYTES + 2;
	cr_assert_eq(check(&part), SLF_END);
}

/* Bytes of the piece before would stand for those that the file has lost since it was opened. */
Test(part, file_that_has_become_shorter)
{
	struct entry_ref part = put_value(5 * MIB);

	must_work(io_truncate(spindle.file, PLACE + 5 * MIB - 1));
	cr_assert_eq(check(&part), SLF_END);
	must_work(io_truncate(spindle.file, PLACE + 3 * MIB));
	cr_assert_eq(check(&part), SLF_END);
	must_work(io_truncate(spindle.file, PLACE));
	cr_assert_eq(check(&part), SLF_END);
}

/* ---- What fails -------------------------------------------------------------------------------------------------- */

/* What cannot be read just now would be taken for missing: the log would be cut before it. */
Test(part, reads_that_fail)
{
	struct entry_ref part = put_value(5 * MIB);

	for (uint64_t nth = 1; nth <= 3; nth++) {
		struct slf_errinfo info = { .size = sizeof(info) };
		struct heard heard = { 0 };

		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_READ, .nth = nth, .error = -EIO });
		cr_assert_eq(check_told(&part, &heard), -EIO);
		cr_assert_eq(heard.pieces, nth - 1);
		must_work(slf_errinfo(&info));
		cr_assert(info.code == -EIO && info.spindle == 0 && strstr(info.text, PATH));
		cr_assert_eq(info.offset, EXTENT_BYTES + (nth - 1) * PART_PIECE_BYTES);
		sim_disk_clear_faults(disk);
		must_work(check(&part));
	}
}

/* The same where it is memory that is missing; the next check has to find its buffer. */
Test(part, no_memory)
{
	struct part_reader reader = { .store = &store };
	struct entry_ref part = put_value(3 * MIB);

	fault_memory_arm(1, false);
	cr_assert_eq(part_check(&reader, &part), -ENOMEM);
	cr_assert_eq(fault_memory_disarm(NULL), 1);
	must_work(part_check(&reader, &part));
	fault_memory_arm(1, false);
	must_work(part_check(&reader, &part)); /* asks for none */
	cr_assert_eq(fault_memory_disarm(NULL), 0);
	part_reader_release(&reader);
	part_reader_release(&reader);
}

/* Who ends a long opening would wait for the end of a long value. */
Test(part, told_to_stop)
{
	struct entry_ref part = put_value(5 * MIB);

	for (unsigned nth = 1; nth <= 3; nth++) {
		struct heard heard = { .stop_at = nth };

		cr_assert_eq(check_told(&part, &heard), -ECANCELED);
		cr_assert_eq(heard.pieces, nth);
	}
}
