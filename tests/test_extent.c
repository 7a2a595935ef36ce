/* SPDX-License-Identifier: MIT */
/* Extents: who gets which piece of which spindle, and that a failure gives nothing away. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "space_rig.h"

#define PER_WINDOW (WINDOW_BYTES / EXTENT_BYTES)

/* Of what is set aside in more than an extent so much is not promised: two headers, two rests, and what nodes and values that share
 * an extent may leave empty. */
#define LOSS (84 * KIB + EXTENT_BYTES / 10 * 3)

static uint8_t header[EXTENT_HEADER_BYTES];

static uint64_t take(struct space_rig *rig, enum stream stream, uint32_t run, uint64_t allocate)
{
	uint64_t position = 0;

	must_work(extents_take(&rig->core.extents, stream, run, allocate, &position, header));
	return position;
}

static uint64_t at(unsigned spindle, uint64_t extent)
{
	return position_make(spindle, extent * EXTENT_BYTES);
}

/* ---- Taking ------------------------------------------------------------------------------------------------------ */

/* An extent would be given to two owners, or extent 0 with the metadata to one. */
Test(extent, ascending)
{
	struct space_rig *rig = space_new(1, 512);

	for (uint64_t i = 1; i <= 20; i++)
		cr_assert_eq(take(rig, i % 3 ? STREAM_BULK : STREAM_LOG, 1, 0), at(0, i));
	cr_assert_eq(take(rig, STREAM_BULK, 7, 0), at(0, 21));
	cr_assert_eq(take(rig, STREAM_LOG, 1, 0), at(0, 28));
	cr_assert_eq(rig->core.stats.values.log_extents, 7);
	cr_assert_eq(rig->core.stats.values.bulk_extents, 14 + 7);
	space_free(rig);
}

/* The spindles would fill unevenly, or the log leave the spindle where recovery looks for it. */
Test(extent, least_filled_spindle)
{
	struct space_rig *rig = space_new(3, 512);

	cr_assert_eq(take(rig, STREAM_LOG, 1, 0), at(0, 1));
	cr_assert_eq(take(rig, STREAM_LOG, 1, 0), at(0, 2));
	/* the log does not count: it is recycled */
	cr_assert_eq(take(rig, STREAM_BULK, 2, 0), at(0, 3));
	cr_assert_eq(take(rig, STREAM_BULK, 1, 0), at(1, 1));
	cr_assert_eq(take(rig, STREAM_BULK, 3, 0), at(2, 1));
	cr_assert_eq(take(rig, STREAM_BULK, 1, 0), at(1, 2));
	cr_assert_eq(take(rig, STREAM_BULK, 1, 0), at(0, 5));
	cr_assert_eq(take(rig, STREAM_BULK, 1, 0), at(1, 3));
	cr_assert_eq(take(rig, STREAM_LOG, 1, 0), at(0, 6));
	cr_assert_eq(rig->core.extents.spindles[0].bulk_bytes, 3 * EXTENT_BYTES);
	space_free(rig);
}

/* A value that crosses a window could not be given from the map. */
Test(extent, runs_and_windows)
{
	struct space_rig *rig = space_new(1, 512);

	cr_assert_eq(take(rig, STREAM_BULK, PER_WINDOW - 3, 0), at(0, 1));
	cr_assert_eq(take(rig, STREAM_BULK, 2, 0), at(0, PER_WINDOW - 2)); /* just fits */
	cr_assert_eq(take(rig, STREAM_BULK, PER_WINDOW - 1, 0), at(0, PER_WINDOW));
	cr_assert_eq(take(rig, STREAM_BULK, 2, 0), at(0, 2 * PER_WINDOW)); /* would have crossed */
	cr_assert_eq(take(rig, STREAM_BULK, PER_WINDOW, 0), at(0, 3 * PER_WINDOW));
	cr_assert_eq(take(rig, STREAM_BULK, 1, 0), at(0, 4 * PER_WINDOW));
	/* what is larger than a window has to cross one and begins at once */
	cr_assert_eq(take(rig, STREAM_BULK, PER_WINDOW + 1, 0), at(0, 4 * PER_WINDOW + 1));
	space_free(rig);
}

static void header_is(enum stream stream, uint32_t run, uint64_t number, uint64_t seq, uint64_t position)
{
	struct extent_header found;

	cr_assert_null(extent_header_decode(header, SPACE_SEED, position, &found));
	cr_assert_eq(found.salt, SPACE_SALT);
	cr_assert_eq(found.stream, stream);
	cr_assert_eq(found.run, run);
	cr_assert_eq(found.number, number);
	cr_assert_eq(found.seq, seq);
}

/* Whoever looks for an extent's owner would be told a wrong one. */
Test(extent, headers)
{
	struct space_rig *rig = space_new(2, 512);
	uint64_t position = take(rig, STREAM_BULK, 1, 0);

	header_is(STREAM_BULK, 1, 0, 0, position);
	extents_note(&rig->core.extents, 77);
	position = take(rig, STREAM_LOG, 1, 0);
	header_is(STREAM_LOG, 1, 0, 77, position);
	position = take(rig, STREAM_BULK, 5, 0); /* numbers go over all spindles, one for each run */
	header_is(STREAM_BULK, 5, 1, 77, position);
	cr_assert_eq(position_spindle(position), 1);
	position = take(rig, STREAM_BULK, 1, 0);
	header_is(STREAM_BULK, 1, 2, 77, position);
	space_free(rig);
}

/* A new entry would pass as checked because an older one at its place had been. */
Test(extent, checked_bits_are_forgotten)
{
	struct space_rig *rig = space_new(1, 512);
	struct verified *verified = &rig->core.store.verified;

	verified_set(verified, at(0, 1) + EXTENT_DATA);
	cr_assert(verified_test(verified, at(0, 1) + EXTENT_DATA));
	take(rig, STREAM_BULK, 1, 0);
	cr_assert_not(verified_test(verified, at(0, 1) + EXTENT_DATA));
	space_free(rig);
}

#define TAKERS 4
#define TAKES 500

struct taker {
	struct space_rig *rig;
	bool log;
	uint64_t positions[TAKES];
};

static void *take_many(void *context)
{
	struct taker *taker = context;
	uint8_t own[EXTENT_HEADER_BYTES];

	for (unsigned i = 0; i < TAKES; i++)
		must_work(extents_take(&taker->rig->core.extents, taker->log ? STREAM_LOG : STREAM_BULK, 1, 0,
				       &taker->positions[i], own));
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Threads that take at once would get the same extent. */
Test(extent, threads)
{
	static struct taker takers[TAKERS];
	static uint64_t all[TAKERS * TAKES];
	struct space_rig *rig = space_new(2, 512);
	pthread_t ids[TAKERS];

	for (unsigned i = 0; i < TAKERS; i++) {
		takers[i] = (struct taker){ .rig = rig, .log = i == 0 };
		must(pthread_create(&ids[i], NULL, take_many, &takers[i]) == 0);
	}
	for (unsigned i = 0; i < TAKERS; i++) {
		pthread_join(ids[i], NULL);
		memcpy(all + i * TAKES, takers[i].positions, sizeof(takers[i].positions));
	}
	qsort(all, TAKERS * TAKES, sizeof(*all), compare);
	for (unsigned i = 1; i < TAKERS * TAKES; i++)
		cr_assert_neq(all[i], all[i - 1]);
	cr_assert_eq(rig->core.extents.log_count, TAKES);
	cr_assert_eq(rig->core.extents.bulk_count, (TAKERS - 1) * TAKES);
	space_free(rig);
}

/* ---- Space ------------------------------------------------------------------------------------------------------- */

/* What the heap holds could not be written although it had been promised. */
Test(extent, reserve_keeps_its_promise)
{
	struct space_rig *rig = space_new(1, 512);
	struct extents *extents = &rig->core.extents;
	struct spindle *spindle = &rig->core.store.spindles[0];
	static uint8_t data[3 * MIB];
	uint64_t position, length, allocates;

	must_work(extents_reserve(extents, sizeof(data)));
	cr_assert_geq(space_info(rig, 0).allocated_bytes, sizeof(data));
	allocates = sim_disk_calls(rig->disk, SIM_ALLOCATE);
	must_work(extents_reserve(extents, sizeof(data))); /* it is there already */
	must_work(extents_reserve(extents, 100));
	cr_assert_eq(sim_disk_calls(rig->disk, SIM_ALLOCATE), allocates);
	space_leave(rig, 0);
	must_work(extents_take_set_aside(extents, 4096, &position, &length, header));
	must_work(spindle_write(spindle, 0, position_offset(position), data, EXTENT_BYTES));
	must_work(extents_take_set_aside(extents, 4096, &position, &length, header));
	must_work(spindle_write(spindle, 0, position_offset(position), data, sizeof(data) - EXTENT_BYTES));
	extents_redeem(extents, 0); /* what has been taken is no reserve any more */
	cr_assert_eq(extents_reserve(extents, sizeof(data)), -ENOSPC);
	space_free(rig);
}

static uint64_t allocated(struct space_rig *rig)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < rig->core.store.spindle_count; i++)
		sum += space_info(rig, i).allocated_bytes;
	return sum;
}

/* What log and values take would be missing when the heap is written, and nobody would know; or what is set aside on one spindle be
 * of no use, for the heap is written to another. */
Test(extent, others_leave_what_is_promised)
{
	struct space_rig *rig = space_new(3, 512);
	struct extents *extents = &rig->core.extents;
	uint64_t position, have, length;

	take(rig, STREAM_BULK, 2, 0);
	take(rig, STREAM_BULK, 3, 0); /* on spindle 1; then 2 is the emptiest */
	must_work(extents_reserve(extents, 8 * MIB));
	cr_assert_eq(take(rig, STREAM_BULK, 1, 0), at(2, 1));
	take(rig, STREAM_LOG, 1, 0);
	take(rig, STREAM_BULK, 5, 0); /* makes another one the emptiest */
	have = allocated(rig);
	for (unsigned i = 0; i < 4; i++) {
		must_work(extents_take_set_aside(extents, 4096, &position, &length, header));
		cr_assert_eq(length, EXTENT_BYTES);
		cr_assert_eq(allocated(rig), have, "extent %u", i);
	}
	extents_redeem(extents, 0);
	cr_assert_eq(extents_promised(extents), 0);
	space_free(rig);
}

/* On a full disk the log and values are refused as long as what there is has been promised. */
Test(extent, what_is_promised_and_no_more)
{
	struct space_rig *rig = space_new(2, 512);
	struct extents *extents = &rig->core.extents;
	uint64_t position, length;

	must_work(extents_reserve(extents, 4 * MIB));
	space_leave(rig, 0);
	cr_assert_eq(extents_take(extents, STREAM_LOG, 1, EXTENT_BYTES, &position, header), -ENOSPC);
	cr_assert_eq(extents_take(extents, STREAM_BULK, 2, 3 * MIB, &position, header), -ENOSPC);
	must_work(extents_take_set_aside(extents, 4096, &position, &length, header));
	cr_assert_eq(extents_take(extents, STREAM_BULK, 2, 3 * MIB, &position, header), -ENOSPC);
	extents_return(extents, position, length);
	must_work(extents_take_set_aside(extents, 4096, &position, &length, header));
	must_work(extents_take_set_aside(extents, 4096, &position, &length, header));
	extents_redeem(extents, 0); /* the rest was the step ahead */
	cr_assert_eq(extents_take(extents, STREAM_LOG, 1, EXTENT_BYTES, &position, header), -ENOSPC);
	space_free(rig);
}

/* What was given back is taken before anything new, and counts as set aside. */
Test(extent, given_back)
{
	struct space_rig *rig = space_new(1, 512);
	struct extents *extents = &rig->core.extents;
	uint64_t position[3], length, again;

	for (unsigned i = 0; i < 3; i++)
		must_work(extents_take_set_aside(extents, EXTENT_BYTES, &position[i], &length, header));
	for (unsigned i = 0; i < 3; i++)
		extents_return(extents, position[i], length);
	space_leave(rig, 0);
	must_work(extents_reserve(extents, 3 * EXTENT_BYTES - LOSS));
	cr_assert_eq(extents_reserve(extents, 3 * EXTENT_BYTES - LOSS + 1), -ENOSPC);
	for (unsigned i = 3; i-- > 0;) {
		must_work(extents_take_set_aside(extents, 4096, &again, &length, header));
		cr_assert_eq(again, position[i]);
		header_is(STREAM_BULK, 1, 3 + 2 - i, 0, again);
	}
	cr_assert_eq(extents_take_set_aside(extents, 4096, &again, &length, header), -ENOSPC);
	extents_return(extents, position[0], EXTENT_BYTES);
	extents_trim(extents);
	cr_assert_eq(allocated(rig), 2 * EXTENT_BYTES);
	space_leave(rig, UINT64_MAX / 2);
	extents_return(extents, position[1], 4096); /* too little of it is allocated */
	must_work(extents_take_set_aside(extents, 8192, &again, &length, header));
	cr_assert_gt(again, position[2]);
	must_work(extents_take_set_aside(extents, 4096, &again, &length, header));
	cr_assert_eq(again, position[1]);
	cr_assert_eq(length, 4096);
	extents_return(extents, position[2], 64 * KIB);
	extents_return(extents, position[0], 4096); /* the rest of its space is the disk's */
	space_leave(rig, 0);
	must_work(extents_take_set_aside(extents, 8192, &again, &length, header)); /* it hides no other one */
	cr_assert_eq(again, position[2]);
	cr_assert_eq(extents_take_set_aside(extents, 8192, &again, &length, header), -ENOSPC);
	space_leave(rig, 4096);
	must_work(extents_take_set_aside(extents, 8192, &again, &length, header)); /* and gets what it lacks */
	cr_assert_eq(again, position[0]);
	cr_assert_eq(length, 8192);
	space_free(rig);
}

/* One spindle is full, and others have room. */
Test(extent, another_spindle_has_room)
{
	struct space_rig *rig = space_new(3, 512);
	struct extents *extents = &rig->core.extents;
	uint64_t position, length;

	for (unsigned i = 0; i < 2; i++)
		rig->core.store.spindles[i].info.size_max = 3 * EXTENT_BYTES;
	for (unsigned i = 0; i < 10; i++)
		take(rig, STREAM_BULK, 1, EXTENT_BYTES);
	must_work(extents_reserve(extents, 8 * MIB));
	for (unsigned i = 0; i < 4; i++)
		must_work(extents_take_set_aside(extents, EXTENT_BYTES, &position, &length, header));
	rig->core.store.spindles[2].info.size_max = 3 * EXTENT_BYTES;
	extents_trim(extents);
	extents_redeem(extents, 0);
	cr_assert_eq(extents_take(extents, STREAM_BULK, 1, EXTENT_BYTES, &position, header), -EFBIG);
	cr_assert_eq(extents_take_set_aside(extents, EXTENT_BYTES, &position, &length, header), -EFBIG);
	cr_assert_eq(extents_reserve(extents, 80 * MIB), -EFBIG);
	space_free(rig);
}

/* With the space for what is asked, but not for the step ahead, nothing could be written. */
Test(extent, reserve_without_the_step)
{
	struct space_rig *rig = space_new(1, 512);

	space_leave(rig, 4 * MIB);
	must_work(extents_reserve(&rig->core.extents, 4 * MIB - LOSS));
	cr_assert_eq(space_info(rig, 0).allocated_bytes, 4 * MIB);
	cr_assert_eq(extents_reserve(&rig->core.extents, 4 * MIB - LOSS + 1), -ENOSPC);
	must_work(extents_reserve(&rig->core.extents, 4 * MIB - LOSS));
	space_free(rig);
}

/* A closed database would keep the space allocated ahead, or lose what was written. */
Test(extent, trim)
{
	struct space_rig *rig = space_new(2, 512);
	struct extents *extents = &rig->core.extents;
	struct spindle *spindle = &rig->core.store.spindles[0];
	uint64_t position = take(rig, STREAM_BULK, 1, EXTENT_BYTES);
	char data[5] = "";

	must_work(spindle_write(spindle, 0, position_offset(position) + EXTENT_BYTES - 5, "bytes", 5));
	must_work(extents_reserve(extents, 10 * MIB)); /* goes to spindle 1 */
	take(rig, STREAM_BULK, 3, 0);                  /* as this does */
	must_work(extents_reserve(extents, 30 * MIB)); /* and this to spindle 0 */
	cr_assert_gt(space_info(rig, 0).allocated_bytes, 20 * MIB);
	extents_trim(extents);
	cr_assert_eq(space_info(rig, 0).allocated_bytes, EXTENT_BYTES);
	cr_assert_eq(space_info(rig, 1).allocated_bytes, 3 * EXTENT_BYTES);
	must_work(spindle_read(spindle, 0, position_offset(position) + EXTENT_BYTES - 5, data, 5));
	cr_assert_eq(memcmp(data, "bytes", 5), 0);
	space_leave(rig, 0);
	cr_assert_eq(extents_reserve(extents, 1), -ENOSPC); /* nothing is thought to be there that is not */
	space_free(rig);
}

/* ---- Failure ----------------------------------------------------------------------------------------------------- */

struct state {
	uint64_t log_count, bulk_count;
	struct extent_spindle spindles[2];
};

static struct state state_of(const struct space_rig *rig)
{
	struct state state = { .log_count = rig->core.extents.log_count, .bulk_count = rig->core.extents.bulk_count };

	memcpy(state.spindles, rig->core.extents.spindles, sizeof(state.spindles));
	return state;
}

static void refused(struct space_rig *rig, enum stream stream, uint32_t run, uint64_t allocate, int error)
{
	struct state before = state_of(rig), after;
	uint8_t untouched[EXTENT_HEADER_BYTES];
	uint64_t position = 12345;

	memset(untouched, 0xa5, sizeof(untouched));
	memset(header, 0xa5, sizeof(header));
	cr_assert_eq(extents_take(&rig->core.extents, stream, run, allocate, &position, header), error);
	cr_assert_eq(position, 12345);
	cr_assert_eq(memcmp(header, untouched, sizeof(header)), 0);
	after = state_of(rig);
	cr_assert_eq(memcmp(&before, &after, sizeof(before)), 0);
}

/* On a full disk every try would cost an extent, or a number that the headers then lack. */
Test(extent, failure_leaves_all_as_it_was)
{
	struct space_rig *rig = space_new(2, 512);
	struct state before, after;

	take(rig, STREAM_LOG, 1, EXTENT_BYTES);
	take(rig, STREAM_BULK, 1, 0);
	must_work(extents_reserve(&rig->core.extents, 100));
	space_fail(rig, SIM_ALLOCATE, -ENOSPC, true);
	refused(rig, STREAM_LOG, 1, EXTENT_BYTES, -ENOSPC);
	refused(rig, STREAM_BULK, 3, 5 * MIB, -ENOSPC);
	refused(rig, STREAM_BULK, PER_WINDOW, 5 * MIB, -ENOSPC);
	before = state_of(rig);
	cr_assert_eq(extents_reserve(&rig->core.extents, 50 * MIB), -ENOSPC);
	after = state_of(rig);
	cr_assert_eq(memcmp(&before, &after, sizeof(before)), 0);
	sim_disk_clear_faults(rig->disk);
	cr_assert_eq(take(rig, STREAM_LOG, 1, EXTENT_BYTES), at(0, 3));
	header_is(STREAM_LOG, 1, 1, 0, at(0, 3));
	cr_assert_eq(take(rig, STREAM_BULK, 3, 5 * MIB), at(1, 1));
	header_is(STREAM_BULK, 3, 1, 0, at(1, 1));
	space_free(rig);
}

/* The last bytes that a file can have would be used up before anyone was told, with no room left to compact. */
Test(extent, near_the_size_limit)
{
	struct space_rig *rig = space_new(2, 512);
	struct slf_errinfo info = { .size = sizeof(info) };
	uint64_t size_max = 100 * EXTENT_BYTES;

	rig->core.store.spindles[0].info.size_max = size_max;
	rig->core.store.spindles[1].info.size_max = EXTENT_BYTES;
	cr_assert_eq(take(rig, STREAM_LOG, 87, 0), at(0, 1));
	cr_assert_eq(take(rig, STREAM_LOG, 1, EXTENT_BYTES), at(0, 88));
	cr_assert_eq(take(rig, STREAM_LOG, 1, EXTENT_BYTES), at(0, 89)); /* ends at nine tenths */
	refused(rig, STREAM_LOG, 1, EXTENT_BYTES, -EFBIG);
	slf_errinfo(&info);
	cr_assert(strstr(info.text, "spindle0") && strstr(info.text, "largest file"));
	cr_assert_eq(info.spindle, 0);
	refused(rig, STREAM_BULK, 3, 3 * EXTENT_BYTES, -EFBIG);
	cr_assert_eq(extents_reserve(&rig->core.extents, MIB), -EFBIG);
	rig->core.store.spindles[1].info.size_max = size_max;
	cr_assert_eq(take(rig, STREAM_BULK, 3, 3 * EXTENT_BYTES), at(1, 1));
	space_free(rig);
}

/* The first file of a spindle would grow over the place of the second, which another version may have. */
Test(extent, near_the_end_of_the_segment)
{
	struct space_rig *rig = space_new(2, 512);
	struct slf_errinfo info = { .size = sizeof(info) };

	rig->core.store.spindles[0].info.size_max = INT64_MAX;
	rig->core.extents.spindles[0].next = SEGMENT_BYTES / EXTENT_BYTES / 10 * 9 + 9;
	refused(rig, STREAM_LOG, 1, EXTENT_BYTES, -EFBIG);
	must_work(slf_errinfo(&info));
	cr_assert(strstr(info.text, "(1099511627776 bytes)"), "%s", info.text);
	space_free(rig);
}
