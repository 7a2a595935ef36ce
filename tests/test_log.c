/* SPDX-License-Identifier: MIT */
/* The log stream: where slabs go, how one extent leads to the next, and that the reader follows it and nothing else. */
#include <criterion/criterion.h>

#include "fault_memory.h"
#include "replay.h"
#include "space_rig.h"

#define BUFFER_BYTES (512 * KIB)
#define RECORDS_MAX 10000

static uint8_t *buffer;
static struct log_slab slabs[RECORDS_MAX]; /* what was written, bridges too, by number - 1 */

static void set_up(void)
{
	buffer = aligned_alloc(4096, BUFFER_BYTES);
	must(buffer != NULL);
}

static void tear_down(void)
{
	free(buffer);
}

TestSuite(log, .init = set_up, .fini = tear_down, .timeout = 60);

/* One slab with a record of so many bytes; the payload is a multiple of 8. */
static int try_write(struct space_rig *rig, uint64_t payload, bool stable, struct slab_header *header)
{
	*header = (struct slab_header){ .payload = (uint32_t)payload, .seq_limit = 1000, .record_count = payload != 0 };
	memset(buffer, 0x77, SLAB_HEADER_BYTES + payload);
	if (payload)
		log_record_begin(buffer + SLAB_HEADER_BYTES, LOG_OPEN, payload - LOG_RECORD_HEADER_BYTES);
	return log_write(&rig->core.log, buffer, header, 0, stable);
}

static struct slab_header put(struct space_rig *rig, uint64_t payload)
{
	struct slab_header header;

	must_work(try_write(rig, payload, false, &header));
	must(header.number <= RECORDS_MAX);
	slabs[header.number - 1] = rig->core.log.last;
	return header;
}

/* Writes slabs of one length until no more than `room` bytes are left in the extent. */
static void fill(struct space_rig *rig, uint64_t payload, uint64_t room)
{
	while (log_room(&rig->core.log) > room)
		put(rig, payload);
}

/* Reads from the first slab (number first, at a place) to the end: how many there are. *reason says what ends them. */
static uint64_t read_all(struct space_rig *rig, const struct log_place *place, const char **reason)
{
	struct log_reader reader;
	uint64_t count = 0;
	int result;

	must_work(log_reader_init(&reader, &rig->core));
	log_reader_start(&reader, place);
	while ((result = log_reader_next(&reader, reason)) == 0) {
		const struct log_slab *slab = &slabs[reader.header.number - 1];

		must(reader.header.number == place->number + count);
		if (slab->number) /* not noted for bridges */
			must(slab->position == reader.position && slab->digest == reader.header.digest);
		count++;
	}
	must(result == SLF_END);
	log_reader_release(&reader);
	return count;
}

static uint64_t read_from_start(struct space_rig *rig, const char **reason)
{
	return read_all(rig, &(struct log_place){ .position = EXTENT_ZERO_DATA, .number = 1 }, reason);
}

/* ---- Slabs ------------------------------------------------------------------------------------------------------- */

static void check_row(uint32_t sector)
{
	struct space_rig *rig = space_new(1, sector);
	struct log *log = &rig->core.log;
	struct rng rng = { test_seed("log row") };
	uint64_t position = EXTENT_ZERO_DATA;
	struct slab_header last = { 0 };
	const char *reason;

	memset(slabs, 0, sizeof(slabs));
	for (uint64_t i = 1; i <= 100; i++) {
		struct slab_header header = put(rig, 8 + 8 * rng_below(&rng, 1000));

		cr_assert_eq(header.number, i);
		cr_assert_eq(header.previous, last.digest);
		cr_assert_eq(header.salt, SPACE_SALT);
		cr_assert_eq(header.length % sector, 0);
		cr_assert_eq(log->last.position, position);
		position += header.length;
		cr_assert_eq(log->end.position, position);
		last = header;
	}
	cr_assert_eq(read_from_start(rig, &reason), 100);
	space_free(rig);
}

/* A hole between slabs, or a wrong number, would end the log for recovery. */
Test(log, slabs_follow_each_other)
{
	check_row(512);
	check_row(4096);
}

/* A commit would be acknowledged that a power cut takes, or commits without sync would pay for flushes. */
Test(log, stable)
{
	struct space_rig *rig = space_new(1, 512);
	struct slab_header header;
	uint8_t durable[8];

	put(rig, 80);
	cr_assert(rig->core.log.unsynced);
	cr_assert_eq(sim_disk_calls(rig->disk, SIM_SYNC), 0);
	must_work(log_sync(&rig->core.log));
	cr_assert_not(rig->core.log.unsynced);
	must_work(try_write(rig, 80, true, &header));
	cr_assert_not(rig->core.log.unsynced);
	cr_assert_eq(sim_disk_calls(rig->disk, SIM_SYNC), 1);
	must_work(sim_disk_peek_durable(rig->disk, space_path(0), rig->core.log.last.position, durable, 8));
	cr_assert_eq(memcmp(durable, &header.digest, 8), 0);
	space_free(rig);
}

/* ---- From extent to extent --------------------------------------------------------------------------------------- */

/* With a spare extent at hand the log would not announce it in time and write a slab for that alone. */
Test(log, announced_next_extent)
{
	struct space_rig *rig = space_new(1, 512);
	struct log *log = &rig->core.log;
	struct slab_header header;
	const char *reason;

	memset(slabs, 0, sizeof(slabs));
	fill(rig, 4000, EXTENT_BYTES / 2 + 20000);
	cr_assert_not(log_low(log));
	fill(rig, 4000, EXTENT_BYTES / 2 - 8192);
	cr_assert(log_low(log) && !log->spare);
	cr_assert_eq(log->end.next, 0);
	must_work(log_spare(log, true));
	cr_assert(!log_low(log) && log->spare);
	header = put(rig, 4000);
	cr_assert_eq(header.next, EXTENT_BYTES);
	fill(rig, 4000, 0x1200);
	header = put(rig, 40000); /* does not fit */
	cr_assert_eq(log->last.position, EXTENT_BYTES + EXTENT_DATA);
	cr_assert_eq(slabs[header.number - 2].number, header.number - 1); /* no bridge between */
	cr_assert_eq(header.next, 0);
	cr_assert_eq(log->spare, 0);
	cr_assert_eq(log->live_count, 2);
	cr_assert_eq(log->live[1].first_number, header.number);
	cr_assert_eq(read_from_start(rig, &reason), header.number);
	space_free(rig);
}

/* A log that fills before anyone has made a spare extent would have no way on. */
Test(log, bridge)
{
	for (uint64_t payload = 8; payload <= 8 + 3 * 512; payload += 512) {
		struct space_rig *rig = space_new(1, 512);
		struct log *log = &rig->core.log;
		struct slab_header header;
		const char *reason;
		uint64_t number;

		memset(slabs, 0, sizeof(slabs));
		fill(rig, 30000, 40000);
		fill(rig, payload, slab_bytes(payload, 512) - 1); /* to where the next one of them does not fit */
		number = log->end.number;
		cr_assert_geq(log->extent_end - log->end.position, 512); /* the sector that is always kept */
		header = put(rig, payload);
		cr_assert_eq(header.number, number + 1);
		cr_assert_eq(log->last.position, EXTENT_BYTES + EXTENT_DATA);
		cr_assert_eq(log->live[1].first_number, number + 1);
		cr_assert_eq(read_from_start(rig, &reason), header.number);
		space_free(rig);
	}
}

/* The commit behind a bridge would be durable, but not the bridge that leads to it. */
Test(log, stable_behind_a_bridge)
{
	struct space_rig *rig = space_new(1, 512);
	struct slab_header header;
	uint8_t durable[SLAB_HEADER_BYTES];
	uint64_t bridge;

	fill(rig, 4000, 0x1200);
	must_work(log_sync(&rig->core.log));
	bridge = rig->core.log.end.position;
	must_work(try_write(rig, 8000, true, &header));
	cr_assert_not(rig->core.log.unsynced);
	must_work(sim_disk_peek_durable(rig->disk, space_path(0), bridge, durable, sizeof(durable)));
	cr_assert_eq(memcmp(durable, &header.previous, 8), 0);
	space_free(rig);
}

/* ---- Recycling --------------------------------------------------------------------------------------------------- */

/* Leaves the log in the third extent with the second recycled; extent 0 is never. Number of the first slab in the third. */
static uint64_t recycle_one(struct space_rig *rig)
{
	struct log *log = &rig->core.log;
	uint64_t positions[4];

	while (log->extent != 2 * EXTENT_BYTES)
		put(rig, 4000);
	must(log->live_count == 3);
	must(log_free_list(log, log->live[2].first_number - 1, positions, 4) == 0);
	must(log_free_list(log, log->live[2].first_number, positions, 4) == 1 && positions[0] == EXTENT_BYTES);
	log_recycle(log, log->live[2].first_number - 1);
	must(log->live_count == 2 && log->free_count == 0);
	log_recycle(log, log->live[1].first_number);
	must(log->live_count == 1 && log->free_count == 1 && log->free[0] == EXTENT_BYTES);
	must(log_free_list(log, 0, positions, 4) == 1 && log_free_list(log, 0, positions, 0) == 0);
	return log->live[0].first_number;
}

/* The log would grow for ever, or be written over where replay still begins. */
Test(log, recycled_extents)
{
	struct space_rig *rig = space_new(1, 512);
	struct log *log = &rig->core.log;
	struct log_place place;
	uint64_t taken;
	const char *reason;

	memset(slabs, 0, sizeof(slabs));
	(void)recycle_one(rig);
	taken = rig->core.extents.spindles[0].next;
	for (unsigned i = 0; i < 4; i++) { /* to and fro between the two */
		uint64_t extent = log->extent;

		while (log->extent == extent)
			put(rig, 4000);
		cr_assert_eq(log->extent, 3 * EXTENT_BYTES - extent);
		log_recycle(log, log->live[1].first_number);
	}
	cr_assert_eq(rig->core.extents.spindles[0].next, taken);
	cr_assert_eq(rig->core.stats.values.log_extents_recycled, 4);
	place = (struct log_place){ .position = log->extent + EXTENT_DATA,
				    .number = log->live[0].first_number,
				    .previous = slabs[log->live[0].first_number - 2].digest };
	cr_assert_eq(read_all(rig, &place, &reason), 0); /* a bridge came before: another digest */
	space_free(rig);
}

/* A mark has room for so many extents that it sets free; more would be written behind it. */
Test(log, more_extents_than_are_asked_for)
{
	struct space_rig *rig = space_new(1, 512);
	struct log *log = &rig->core.log;
	uint64_t positions[4];

	while (log->extent != 3 * EXTENT_BYTES)
		put(rig, 4000);
	cr_assert_eq(log_free_list(log, log->live[3].first_number, positions, 4), 2);
	cr_assert(positions[0] == EXTENT_BYTES && positions[1] == 2 * EXTENT_BYTES);
	cr_assert_eq(log_free_list(log, log->live[3].first_number, positions + 3, 1), 1);
	cr_assert_eq(positions[3], EXTENT_BYTES);
	cr_assert_eq(log_spare(log, false), 0);
	cr_assert_eq(log_free_list(log, log->live[3].first_number, positions, 3), 3);
	cr_assert(positions[2] >= 4 * EXTENT_BYTES, "the spare is free, too");
	cr_assert_eq(log_free_list(log, log->live[3].first_number, positions + 2, 2), 2);
	log_recycle(log, log->live[3].first_number);
	cr_assert_eq(log_free_list(log, 0, positions, 1), 1);
	space_free(rig);
}

/* Old slabs, sound in themselves and standing exactly where the next one belongs, would be replayed as new. */
Test(log, stale_slabs_are_not_followed)
{
	struct space_rig *rig = space_new(1, 512);
	struct log *log = &rig->core.log;
	struct log_place place;
	struct log_reader reader;
	const char *reason;
	uint64_t first, count;

	memset(slabs, 0, sizeof(slabs));
	first = recycle_one(rig);
	while (log->extent != EXTENT_BYTES)
		put(rig, 4000);
	for (unsigned i = 0; i < 9; i++)
		put(rig, 4000);
	/* slabs of the same length as in the first round: the old one stands right behind the newest */
	must_work(log_reader_init(&reader, &rig->core));
	must_work(log_reader_at(&reader, log->end.position, &reason));
	cr_assert_lt(reader.header.number, first);
	log_reader_at(&reader, 2 * EXTENT_BYTES + EXTENT_DATA, &reason);
	place = (struct log_place){ .position = 2 * EXTENT_BYTES + EXTENT_DATA,
				    .number = first,
				    .previous = reader.header.previous };
	log_reader_release(&reader);
	count = read_all(rig, &place, &reason);
	cr_assert_eq(place.number + count, log->end.number);
	cr_assert(strstr(reason, "another number"));
	space_free(rig);
}

/* A slab with the right number that stands on another history would be taken for the next. */
Test(log, slab_of_another_history)
{
	struct space_rig *rig = space_new(1, 512);
	struct log *log = &rig->core.log;
	struct log_place fork;
	const char *reason;

	memset(slabs, 0, sizeof(slabs));
	put(rig, 80);
	fork = log->end;
	put(rig, 80);
	put(rig, 88); /* number 3 */
	must_work(log_continue(log, &fork, EXTENT_ZERO_DATA, false));
	log->salt++; /* another opening wrote another number 2 */
	put(rig, 80);
	memset(slabs, 0, sizeof(slabs));
	cr_assert_eq(read_from_start(rig, &reason), 2);
	cr_assert(strstr(reason, "follows another"));
	space_free(rig);
}

/* ---- Space ------------------------------------------------------------------------------------------------------- */

/* Every small database would take megabytes, or every commit pay for an allocation. */
Test(log, allocation_in_small_steps)
{
	struct space_rig *rig = space_new(1, 512);
	uint64_t calls, before;

	put(rig, 8);
	cr_assert_eq(space_info(rig, 0).allocated_bytes, 16 * KIB);
	while (rig->core.log.extent == EXTENT_ZERO_DATA) {
		before = space_info(rig, 0).allocated_bytes;
		cr_assert_leq(before, u64_max(16 * KIB, 2 * (rig->core.log.end.position - EXTENT_ZERO_DATA)));
		put(rig, 8);
	}
	calls = sim_disk_calls(rig->disk, SIM_ALLOCATE);
	cr_assert_leq(calls, 10); /* eight steps and the next extent, that one as a whole */
	fill(rig, 4000, 0x1200);
	cr_assert_eq(sim_disk_calls(rig->disk, SIM_ALLOCATE), calls);
	cr_assert_eq(space_info(rig, 0).allocated_bytes, 2 * EXTENT_BYTES - EXTENT_ZERO_DATA);
	space_free(rig);
}

/* A commit without sync is visible at once; without the promised space it could not be written any more. */
Test(log, reserved_space_suffices)
{
	struct rng rng = { test_seed("log reserve") };

	for (unsigned round = 0; round < 30; round++) {
		struct space_rig *rig = space_new(1, rng_below(&rng, 2) ? 512 : 4096);
		struct log *log = &rig->core.log;
		uint64_t payload = 8 + 8 * rng_below(&rng, 30000), bytes = slab_bytes(payload, log->store->settings.sector);
		uint64_t before = 8 + 8 * rng_below(&rng, 4000), room = rng_below(&rng, EXTENT_BYTES - EXTENT_ZERO_DATA);

		/* with less room than a slab needs it would go on in one extent after the other */
		fill(rig, before, u64_max(room, slab_bytes(before, log->store->settings.sector)));
		must_work(log_reserve(log, bytes));
		space_leave(rig, 0);
		put(rig, payload);
		space_free(rig);
	}
}

/* ---- Failure ----------------------------------------------------------------------------------------------------- */

static void stays(struct space_rig *rig, uint64_t payload, bool stable, int error, bool torn)
{
	struct log *log = &rig->core.log;
	struct log_place before = log->end, after;
	struct slab_header header;

	cr_assert_eq(try_write(rig, payload, stable, &header), error);
	after = log->end;
	cr_assert_eq(memcmp(&before, &after, sizeof(before)), 0);
	cr_assert_eq(log->torn, torn);
	cr_assert_eq(log->doubt, torn && stable);
}

/* After a full disk the chain would have a gap, or go on behind half a slab. */
Test(log, failed_write_keeps_the_place)
{
	struct sim_fault fault = { .call = SIM_WRITE, .error = -ENOSPC, .partial = true, .short_bytes = 512 };
	struct space_rig *rig = space_new(1, 512);
	struct slab_header header;
	const char *reason;

	memset(slabs, 0, sizeof(slabs));
	put(rig, 80);
	space_fail(rig, SIM_ALLOCATE, -ENOSPC, true);
	stays(rig, 40000, false, -ENOSPC, false);
	stays(rig, 40000, true, -ENOSPC, false);
	sim_disk_clear_faults(rig->disk);
	sim_disk_add_fault(rig->disk, &fault);
	stays(rig, 4000, false, -ENOSPC, true);
	space_fail(rig, SIM_WRITE, -EIO, false);
	stays(rig, 4000, true, -EIO, true); /* it may have failed in its flush */
	put(rig, 2000);
	header = put(rig, 4000);
	cr_assert_eq(header.number, 3);
	cr_assert_eq(read_from_start(rig, &reason), 3);
	space_free(rig);
}

/* A commit reported as failed would come back at the next opening. */
Test(log, invalidate)
{
	/* all but nothing: the slab is whole, and yet the write is reported as failed */
	struct sim_fault fault = { .call = SIM_WRITE, .error = -EIO, .partial = true };
	struct space_rig *rig = space_new(1, 512);
	struct slab_header header;
	const char *reason;
	uint8_t durable[8], zeros[8] = { 0 };

	memset(slabs, 0, sizeof(slabs));
	put(rig, 80);
	sim_disk_add_fault(rig->disk, &fault);
	cr_assert_eq(try_write(rig, 4000, false, &header), -EIO);
	cr_assert_eq(read_from_start(rig, &reason), 2);
	must_work(log_invalidate(&rig->core.log, header.length));
	cr_assert_eq(read_from_start(rig, &reason), 1);
	must_work(sim_disk_peek_durable(rig->disk, space_path(0), rig->core.log.end.position, durable, 8));
	cr_assert_eq(memcmp(durable, zeros, 8), 0);
	put(rig, 4000);
	cr_assert_eq(read_from_start(rig, &reason), 2);
	space_free(rig);
}

/* On a full disk the way into the next extent fails; it has to be found again when there is space. */
Test(log, no_space_for_the_next_extent)
{
	struct space_rig *rig = space_new(1, 512);
	struct log *log = &rig->core.log;
	struct slab_header header;
	const char *reason;

	memset(slabs, 0, sizeof(slabs));
	fill(rig, 4000, 0x1200);
	space_leave(rig, 0);
	for (unsigned i = 0; i < 3; i++)
		stays(rig, 8000, false, -ENOSPC, false);
	cr_assert_eq(log_reserve(log, 8000), -ENOSPC);
	cr_assert_eq(rig->core.extents.spindles[0].next, 1);
	sim_disk_set_capacity(rig->disk, UINT64_MAX);
	header = put(rig, 8000);
	cr_assert_eq(log->last.position, EXTENT_BYTES + EXTENT_DATA);
	cr_assert_eq(read_from_start(rig, &reason), header.number);
	space_free(rig);
}

/* The commit behind a bridge whose flush fails would be told to be durable, or to be gone, and nobody knows. */
Test(log, failed_flush_behind_a_bridge)
{
	struct space_rig *rig = space_new(1, 512);
	struct slab_header header;

	fill(rig, 4000, 0x1200);
	space_fail(rig, SIM_SYNC, -EIO, false);
	cr_assert_eq(try_write(rig, 8000, true, &header), -EIO);
	cr_assert(rig->core.log.doubt);
	space_free(rig);
}

/* The zeros that are written ahead are a wish: without memory, or where they cannot be written, there would be no next extent. */
Test(log, spare_without_zeros)
{
	for (unsigned way = 0; way < 3; way++) {
		struct space_rig *rig = space_new(1, 512);
		struct log *log = &rig->core.log;

		fill(rig, 4000, EXTENT_BYTES / 2 - 8192);
		if (way == 1)
			space_fail(rig, SIM_WRITE, -EIO, false);
		fault_memory_arm(way == 2, false);
		must_work(log_spare(log, true));
		fault_memory_disarm(NULL);
		cr_assert_eq(log->spare, EXTENT_BYTES);
		cr_assert_eq(log->spare_written, way == 0);
		space_free(rig);
	}
}

/* But a flush of them that fails may have lost what a committer counts on, who would be told that all is well. */
Test(log, spare_whose_flush_fails)
{
	struct space_rig *rig = space_new(1, 512);
	struct slf_errinfo info = { .size = sizeof(info) };

	fill(rig, 4000, EXTENT_BYTES / 2 - 8192);
	space_fail(rig, SIM_SYNC, -EIO, false);
	cr_assert_eq(log_spare(&rig->core.log, true), SLF_EUNKNOWN);
	must_work(slf_errinfo(&info));
	cr_assert_eq(info.code, SLF_EUNKNOWN);
	cr_assert_eq(rig->core.log.spare, 0);
	space_free(rig);
}

/* Each try to make the next extent on a disk that takes no writes would use up another one. */
Test(log, header_that_cannot_be_written)
{
	for (unsigned prepare = 0; prepare < 2; prepare++) {
		struct space_rig *rig = space_new(1, 512);
		struct log *log = &rig->core.log;
		uint8_t bytes[EXTENT_HEADER_BYTES];
		struct extent_header header;

		fill(rig, 4000, EXTENT_BYTES / 2 - 8192);
		space_fail(rig, SIM_WRITE, -ENOSPC, true);
		for (unsigned i = 0; i < 4; i++)
			cr_assert_eq(log_spare(log, prepare), -ENOSPC);
		cr_assert_eq(log->spare, 0);
		cr_assert_eq(rig->core.extents.spindles[0].next, 2);
		sim_disk_clear_faults(rig->disk);
		must_work(log_spare(log, prepare));
		cr_assert_eq(log->spare, EXTENT_BYTES);
		cr_assert_eq(log->spare_written, prepare);
		cr_assert_eq(rig->core.extents.spindles[0].next, 2);
		must_work(spindle_read(&rig->core.store.spindles[0], 0, EXTENT_BYTES, bytes, sizeof(bytes)));
		cr_assert_null(extent_header_decode(bytes, SPACE_SEED, EXTENT_BYTES, &header));
		cr_assert_eq(header.stream, STREAM_LOG);
		log->spare = 0; /* the next one is another */
		must_work(log_spare(log, prepare));
		cr_assert_eq(log->spare, 2 * EXTENT_BYTES);
		space_free(rig);
	}
}

static void make_spare(void *context, struct sim_disk *disk, enum sim_call call)
{
	if (call != SIM_WRITE)
		return;
	sim_disk_set_hook(disk, NULL, NULL);
	must_work(log_spare(context, false));
}

/* Of two that make the spare extent at the same time, one's would be lost, or both be the same. */
Test(log, two_spares_at_once)
{
	for (unsigned memory = 0; memory < 2; memory++) {
		struct space_rig *rig = space_new(1, 512);
		struct log *log = &rig->core.log;
		int result;

		fill(rig, 4000, EXTENT_BYTES / 2 - 8192);
		sim_disk_set_hook(rig->disk, make_spare, log);
		fault_memory_arm(!memory, false);
		result = log_spare(log, false);
		fault_memory_disarm(NULL);
		cr_assert_eq(result, memory ? 0 : -ENOMEM);
		cr_assert_eq(log->spare, 2 * EXTENT_BYTES); /* of the one that came between */
		cr_assert_eq(log->free_count, memory);
		cr_assert(!memory || log->free[0] == EXTENT_BYTES);
		space_free(rig);
	}
}

/* An extent would be used twice, or forgotten, where there is no memory to list it. */
Test(log, no_memory_for_the_lists)
{
	struct space_rig *rig = space_new(1, 512);
	struct log *log = &rig->core.log;
	unsigned failures = 0;

	for (uint64_t i = 1; i < 80; i++) {
		int live, oldest;

		fault_memory_arm(1, false);
		live = log_add_live(log, i * EXTENT_BYTES, 1000 + i);
		fault_memory_arm(1, false);
		oldest = log_add_oldest(log, i * EXTENT_BYTES);
		fault_memory_disarm(NULL);
		failures += (live != 0) + (oldest != 0);
		must(!live || live == -ENOMEM);
		must(!oldest || oldest == -ENOMEM);
		if (live)
			must_work(log_add_live(log, i * EXTENT_BYTES, 1000 + i));
		if (oldest)
			must_work(log_add_oldest(log, i * EXTENT_BYTES));
		must(log->live_count == 2 * i + 1);
		must(log->live[0].position == i * EXTENT_BYTES && log->live[0].first_number == 0);
		must(log->live[2 * i].position == i * EXTENT_BYTES && log->live[2 * i].first_number == 1000 + i);
	}
	cr_assert_gt(failures, 3);
	space_free(rig);
}

/* The way into the next extent would be lost with the memory that it needs. */
Test(log, no_memory_for_the_next_extent)
{
	struct space_rig *rig = space_new(1, 512);
	struct log *log = &rig->core.log;
	uint64_t failed = 1, failures = 0;
	struct slab_header header;
	const char *reason;

	memset(slabs, 0, sizeof(slabs));
	while (log->live_count < 16) /* the list is full then */
		must_work(log_add_live(log, 0, 1));
	fill(rig, 4000, 0x1200);
	for (uint64_t nth = 1; failed; nth++) {
		int result;

		fault_memory_arm(nth, false);
		result = try_write(rig, 8000, false, &header);
		fault_memory_disarm(&failed);
		cr_assert_eq(result, failed ? -ENOMEM : 0);
		failures += failed;
	}
	cr_assert_eq(failures, 1); /* of the list, before there is a spare extent */
	cr_assert_eq(log->last.position, EXTENT_BYTES + EXTENT_DATA);
	cr_assert_eq(read_from_start(rig, &reason), header.number);
	fault_memory_arm(1, false);
	must_work(log_invalidate(log, header.length));
	fault_memory_disarm(NULL);
	space_free(rig);
}

/* What is recycled later would be lost, or be used while replay still begins there. */
Test(log, no_memory_to_recycle)
{
	struct space_rig *rig = space_new(1, 512);
	struct log *log = &rig->core.log;

	while (log->extent != 2 * EXTENT_BYTES)
		put(rig, 4000);
	fault_memory_arm(1, false);
	log_recycle(log, log->live[2].first_number);
	fault_memory_disarm(NULL);
	cr_assert_eq(log->live_count, 2); /* extent 0 needs no list */
	cr_assert_eq(log->free_count, 0);
	log_recycle(log, log->live[1].first_number);
	cr_assert_eq(log->live_count, 1);
	cr_assert(log->free_count == 1 && log->free[0] == EXTENT_BYTES);
	space_free(rig);
}
