/* SPDX-License-Identifier: MIT */
/* The writer of bulk: where entries come to stand, when they are in the file, and what a failed write costs. */
#include <criterion/criterion.h>

#include "space_rig.h"

#define BLOCK_BYTES 4096
#define ENTRIES 3000

struct placed {
	uint64_t position, length, seed;
};

static uint8_t data[8 * MIB], found[8 * MIB];

/* ---- Watching the writes ----------------------------------------------------------------------------------------- */

#define BLOCKS_WATCHED (256 * MIB / BLOCK_BYTES)

static const struct io_ops *real_ops;
static uint8_t blocks_written[BLOCKS_WATCHED];

static int watching_run(struct io *io, struct io_request *requests, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t end = requests[i].offset + requests[i].length;

		if (requests[i].op != IO_WRITE)
			continue;
		must(end <= 256 * MIB);
		for (uint64_t block = requests[i].offset / BLOCK_BYTES; block * BLOCK_BYTES < end; block++)
			must(!blocks_written[block]++);
	}
	return real_ops->run(io, requests, count);
}

/* From here on a write to a block that has been written before ends the test. For one spindle. */
static void watch(struct space_rig *rig)
{
	static struct io_ops ops;

	memset(blocks_written, 0, sizeof(blocks_written));
	real_ops = rig->core.io->ops;
	ops = *real_ops;
	ops.run = watching_run;
	rig->core.io->ops = &ops;
}

static struct placed place(struct space_rig *rig, uint64_t length, bool node, uint64_t seed)
{
	struct placed placed = { .length = length, .seed = seed };
	void *bytes;

	must_work(bulk_place(&rig->core.large, length, node, &placed.position, &bytes));
	bytes_fill(bytes, length, seed, false);
	return placed;
}

static bool reads_back(struct space_rig *rig, const struct placed *placed)
{
	struct spindle *spindle = &rig->core.store.spindles[position_spindle(placed->position)];

	must(placed->length <= sizeof(data));
	bytes_fill(data, placed->length, placed->seed, false);
	if (spindle_read(spindle, 0, position_offset(placed->position), found, placed->length))
		return false;
	return memcmp(data, found, placed->length) == 0;
}

static bool is_durable(struct space_rig *rig, const struct placed *placed)
{
	bytes_fill(data, placed->length, placed->seed, false);
	must_work(sim_disk_peek_durable(rig->disk, space_path(position_spindle(placed->position)),
					position_offset(placed->position), found, placed->length));
	return memcmp(data, found, placed->length) == 0;
}

static uint64_t extent_of(uint64_t position)
{
	return position / EXTENT_BYTES;
}

/* ---- Placement --------------------------------------------------------------------------------------------------- */

static void check_place(const struct placed *placed, bool node)
{
	uint64_t start = placed->position % EXTENT_BYTES, last = start + placed->length - 1;

	cr_assert_eq(start % ENTRY_ALIGN, 0);
	cr_assert_geq(start, EXTENT_DATA);
	cr_assert_lt(last, EXTENT_BYTES);
	if (node && placed->length <= BLOCK_BYTES)
		cr_assert_eq(start / BLOCK_BYTES, last / BLOCK_BYTES);
	if (node && placed->length > BLOCK_BYTES)
		cr_assert_eq(start % BLOCK_BYTES, 0);
}

static int compare_places(const void *a, const void *b)
{
	uint64_t left = ((const struct placed *)a)->position, right = ((const struct placed *)b)->position;

	return left < right ? -1 : left > right;
}

/* Readers of a node would touch two pages for one, entries overwrite each other, or bytes of an older extent show up
 * between them. */
Test(bulk, placement)
{
	struct space_rig *rig = space_new(1, 512);
	static struct placed placed[ENTRIES];
	struct rng rng = { test_seed("bulk placement") };

	watch(rig);
	for (unsigned i = 0; i < ENTRIES; i++) {
		bool node = rng_below(&rng, 2);
		uint64_t limit = (uint64_t[]){ 200, 4096, 4097, 20000 }[rng_below(&rng, 4)];

		placed[i] = place(rig, 32 + rng_below(&rng, limit), node, rng_next(&rng));
		check_place(&placed[i], node);
		if (rng_below(&rng, 20) == 0)
			must_work(bulk_flush(&rig->core.large));
	}
	must_work(bulk_flush(&rig->core.large));
	for (unsigned i = 0; i < ENTRIES; i++)
		cr_assert(reads_back(rig, &placed[i]));
	qsort(placed, ENTRIES, sizeof(placed[0]), compare_places);
	cr_assert_gt(extent_of(placed[ENTRIES - 1].position), 2);
	for (unsigned i = 1; i < ENTRIES; i++) {
		uint64_t from = placed[i - 1].position + placed[i - 1].length, gap = placed[i].position - from;

		cr_assert_leq(from, placed[i].position);
		if (extent_of(placed[i].position) != extent_of(from - 1) || !gap)
			continue;
		must_work(spindle_read(&rig->core.store.spindles[0], 0, from, found, gap));
		for (uint64_t at = 0; at < gap; at++)
			cr_assert_eq(found[at], 0);
	}
	space_free(rig);
}

/* The sizes at the edges: a node of a block exactly, the largest entry there is. */
Test(bulk, placement_edges)
{
	struct space_rig *rig = space_new(1, 512);
	struct placed first = place(rig, 100, true, 1), block = place(rig, BLOCK_BYTES, true, 2);
	struct placed value = place(rig, BLOCK_BYTES, false, 3), small = place(rig, BLOCK_BYTES - 64, true, 4);
	struct placed next, rest, largest, after;

	cr_assert_eq(first.position, EXTENT_BYTES + EXTENT_DATA);
	cr_assert_eq(block.position, first.position + BLOCK_BYTES);
	cr_assert_eq(value.position, block.position + BLOCK_BYTES);
	cr_assert_eq(small.position, value.position + BLOCK_BYTES);
	next = place(rig, 60, true, 8); /* into what was left free before a node of a block */
	cr_assert_eq(next.position, first.position + 128);
	rest = place(rig, BLOCK_BYTES - 192, true, 9);
	cr_assert_eq(rest.position, first.position + 192);
	next = place(rig, 64, true, 5); /* fills the block */
	cr_assert_eq(next.position, small.position + BLOCK_BYTES - 64);
	largest = place(rig, BULK_ENTRY_BYTES_MAX, true, 6);
	cr_assert_eq(largest.position, 2 * EXTENT_BYTES + EXTENT_DATA);
	after = place(rig, 1, false, 7);
	cr_assert_eq(after.position, 3 * EXTENT_BYTES + EXTENT_DATA);
	must_work(bulk_flush(&rig->core.large));
	cr_assert(reads_back(rig, &first) && reads_back(rig, &rest) && reads_back(rig, &block));
	cr_assert(reads_back(rig, &next) && reads_back(rig, &largest) && reads_back(rig, &after));
	space_free(rig);
}

/* An extent would be in the file without the header that tells whose it is. */
Test(bulk, header_comes_with_the_first_flush)
{
	struct space_rig *rig = space_new(1, 512);
	struct placed placed = place(rig, 100, false, 1);
	uint8_t bytes[EXTENT_HEADER_BYTES];
	struct extent_header header;

	must_work(bulk_flush(&rig->core.large));
	must_work(spindle_read(&rig->core.store.spindles[0], 0, EXTENT_BYTES, bytes, sizeof(bytes)));
	cr_assert_null(extent_header_decode(bytes, SPACE_SEED, align_down(placed.position, EXTENT_BYTES), &header));
	cr_assert_eq(header.stream, STREAM_BULK);
	space_free(rig);
}

/* ---- Flush and sync ---------------------------------------------------------------------------------------------- */

/* A later write to a block could tear an entry that is durable and referred to. */
Test(bulk, nothing_is_written_twice)
{
	struct space_rig *rig = space_new(1, 512);
	struct placed first, second, third;
	uint64_t writes;

	watch(rig);
	first = place(rig, 100, false, 1);
	must_work(bulk_flush(&rig->core.large));
	cr_assert(reads_back(rig, &first));
	writes = sim_disk_calls(rig->disk, SIM_WRITE);
	must_work(bulk_flush(&rig->core.large));
	cr_assert_eq(sim_disk_calls(rig->disk, SIM_WRITE), writes);
	second = place(rig, 5000, false, 2);
	cr_assert_eq(second.position, first.position + BLOCK_BYTES);
	must_work(bulk_flush(&rig->core.large));
	third = place(rig, 70, true, 3);
	cr_assert_eq(third.position, second.position + 2 * BLOCK_BYTES);
	must_work(bulk_sync(&rig->core.large));
	cr_assert(reads_back(rig, &first) && reads_back(rig, &second) && reads_back(rig, &third));
	space_free(rig);
}

/* A checkpoint would refer to bytes that a power cut takes. */
Test(bulk, sync_makes_durable)
{
	struct space_rig *rig = space_new(3, 512);
	struct placed placed[4];
	uint64_t syncs;

	placed[0] = place(rig, 100, false, 1);
	must_work(bulk_flush(&rig->core.large));
	cr_assert_not(is_durable(rig, &placed[0]));
	must_work(bulk_sync(&rig->core.large));
	cr_assert(is_durable(rig, &placed[0]));
	for (unsigned i = 1; i < 4; i++) /* over all three spindles */
		placed[i] = place(rig, BULK_ENTRY_BYTES_MAX, false, i);
	cr_assert_neq(position_spindle(placed[1].position), position_spindle(placed[2].position));
	syncs = sim_disk_calls(rig->disk, SIM_SYNC);
	must_work(bulk_sync(&rig->core.large));
	cr_assert_eq(sim_disk_calls(rig->disk, SIM_SYNC), syncs + 3);
	for (unsigned i = 0; i < 4; i++)
		cr_assert(is_durable(rig, &placed[i]));
	must_work(bulk_sync(&rig->core.large)); /* only what has been written to */
	cr_assert_eq(sim_disk_calls(rig->disk, SIM_SYNC), syncs + 3);
	placed[0] = place(rig, 100, false, 9);
	must_work(bulk_sync(&rig->core.large));
	cr_assert_eq(sim_disk_calls(rig->disk, SIM_SYNC), syncs + 4);
	cr_assert(is_durable(rig, &placed[0]));
	space_free(rig);
}

/* A failed flush would be taken for done. */
Test(bulk, failed_sync_is_told)
{
	struct space_rig *rig = space_new(1, 512);
	struct placed placed = place(rig, 100, false, 1);
	uint64_t syncs;

	space_fail(rig, SIM_SYNC, -EIO, false);
	cr_assert_eq(bulk_sync(&rig->core.large), -EIO);
	cr_assert_not(is_durable(rig, &placed));
	syncs = sim_disk_calls(rig->disk, SIM_SYNC);
	cr_assert_eq(bulk_sync(&rig->core.large), -EIO);
	cr_assert_eq(sim_disk_calls(rig->disk, SIM_SYNC), syncs);
	space_free(rig);
}

/* ---- Runs -------------------------------------------------------------------------------------------------------- */

/* A large value would overlap what comes behind it, or disturb the extent that is being filled. */
Test(bulk, runs)
{
	struct space_rig *rig = space_new(1, 512);
	struct placed before, after, run = { .length = 5 * MIB, .seed = 7 };
	uint8_t bytes[EXTENT_HEADER_BYTES];
	struct extent_header header;

	watch(rig);
	before = place(rig, 100, false, 1);
	must_work(bulk_take_run(&rig->core.large, run.length, &run.position, bytes));
	cr_assert_eq(run.position, 2 * EXTENT_BYTES + EXTENT_DATA);
	cr_assert_geq(space_info(rig, 0).allocated_bytes, run.length);
	bytes_fill(data, run.length, run.seed, false);
	must_work(bulk_write_run(&rig->core.large, run.position, bytes, data, run.length));
	after = place(rig, 100, false, 2);
	cr_assert_eq(after.position, before.position + 128);
	after = place(rig, BULK_ENTRY_BYTES_MAX, false, 3);
	cr_assert_eq(after.position, 5 * EXTENT_BYTES + EXTENT_DATA);
	must_work(bulk_sync(&rig->core.large));
	cr_assert(is_durable(rig, &before) && is_durable(rig, &run) && is_durable(rig, &after));
	must_work(spindle_read(&rig->core.store.spindles[0], 0, 2 * EXTENT_BYTES, bytes, sizeof(bytes)));
	cr_assert_null(extent_header_decode(bytes, SPACE_SEED, 2 * EXTENT_BYTES, &header));
	cr_assert_eq(header.run, 3);
	space_free(rig);
}

/* The length at which one more extent is needed. */
Test(bulk, run_edges)
{
	struct space_rig *rig = space_new(1, 512);
	uint8_t bytes[EXTENT_HEADER_BYTES];
	uint64_t position;

	must_work(bulk_take_run(&rig->core.large, 2 * EXTENT_BYTES - EXTENT_DATA, &position, bytes));
	cr_assert_eq(position, EXTENT_BYTES + EXTENT_DATA);
	must_work(bulk_take_run(&rig->core.large, 2 * EXTENT_BYTES - EXTENT_DATA + 1, &position, bytes));
	cr_assert_eq(position, 3 * EXTENT_BYTES + EXTENT_DATA);
	must_work(bulk_take_run(&rig->core.large, 1, &position, bytes));
	cr_assert_eq(position, 6 * EXTENT_BYTES + EXTENT_DATA);
	space_leave(rig, MIB);
	cr_assert_eq(bulk_take_run(&rig->core.large, 3 * EXTENT_BYTES, &position, bytes), -ENOSPC);
	cr_assert_eq(position, 6 * EXTENT_BYTES + EXTENT_DATA);
	space_free(rig);
}

/* ---- Failure ----------------------------------------------------------------------------------------------------- */

/* Bytes of a write that failed half way would be written over. */
Test(bulk, failed_flush_abandons_the_extent)
{
	struct space_rig *rig = space_new(1, 512);
	struct sim_fault fault = { .call = SIM_WRITE, .error = -ENOSPC, .partial = true, .short_bytes = 512 };
	struct placed first = place(rig, 100, false, 1), lost, second;

	must_work(bulk_flush(&rig->core.large));
	lost = place(rig, 9000, false, 2);
	sim_disk_add_fault(rig->disk, &fault);
	cr_assert_eq(bulk_flush(&rig->core.large), -ENOSPC);
	cr_assert_eq(extent_of(lost.position), extent_of(first.position));
	must_work(bulk_flush(&rig->core.large)); /* of nothing */
	second = place(rig, 100, false, 3);
	cr_assert_eq(second.position, 2 * EXTENT_BYTES + EXTENT_DATA);
	must_work(bulk_sync(&rig->core.large));
	cr_assert(is_durable(rig, &first) && is_durable(rig, &second));
	space_free(rig);
}

/* The same when the write happens because an extent is full. */
Test(bulk, failed_place_abandons_the_extent)
{
	struct space_rig *rig = space_new(1, 512);
	struct placed placed = place(rig, BULK_ENTRY_BYTES_MAX, false, 1);
	uint64_t position = 12345;
	void *bytes = NULL;

	space_fail(rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(bulk_place(&rig->core.large, 100, false, &position, &bytes), -EIO);
	cr_assert_eq(position, 12345);
	cr_assert_null(bytes);
	placed = place(rig, 100, false, 2);
	cr_assert_eq(placed.position, 2 * EXTENT_BYTES + EXTENT_DATA);
	must_work(bulk_flush(&rig->core.large));
	cr_assert(reads_back(rig, &placed));
	space_free(rig);
}

/* A failure of a run's write would be kept from the transaction, whichever of its two writes it is. */
Test(bulk, failed_run_is_told)
{
	for (uint64_t nth = 1; nth <= 2; nth++) {
		struct space_rig *rig = space_new(1, 512);
		struct sim_fault fault = { .call = SIM_WRITE, .nth = nth, .error = -EIO };
		uint8_t bytes[EXTENT_HEADER_BYTES];
		uint64_t position;

		must_work(bulk_take_run(&rig->core.large, 3 * MIB, &position, bytes));
		sim_disk_add_fault(rig->disk, &fault);
		cr_assert_eq(bulk_write_run(&rig->core.large, position, bytes, data, 3 * MIB), -EIO);
		must_work(bulk_take_run(&rig->core.large, 3 * MIB, &position, bytes)); /* never the same place */
		cr_assert_eq(position, 3 * EXTENT_BYTES + EXTENT_DATA);
		space_free(rig);
	}
}

/* On a full disk each value that finds no space would use up an extent, until the file may not grow any more. */
Test(bulk, full_disk_uses_up_no_extents)
{
	static const uint64_t left[] = { 0, 8 * KIB, 44 * KIB, 60 * KIB };

	for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
		struct space_rig *rig = space_new(1, 512);
		uint64_t next = rig->core.extents.spindles[0].next, position;
		struct placed placed;
		unsigned failures = 0;
		void *bytes;

		space_leave(rig, left[i]);
		for (unsigned tries = 0; tries < 20; tries++) {
			int result = bulk_place(&rig->core.large, 40 * KIB, false, &position, &bytes);

			if (!result)
				memset(bytes, 1, 40 * KIB);
			result = result ? result : bulk_flush(&rig->core.large);
			cr_assert(!result || result == -ENOSPC);
			failures += result != 0;
		}
		cr_assert_geq(failures, 19);
		cr_assert_leq(rig->core.extents.spindles[0].next, next + 1, "%llu left", (unsigned long long)left[i]);
		sim_disk_set_capacity(rig->disk, UINT64_MAX);
		placed = place(rig, 40 * KIB, false, 1);
		must_work(bulk_flush(&rig->core.large));
		cr_assert(reads_back(rig, &placed));
		space_free(rig);
	}
}
