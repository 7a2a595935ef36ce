/* SPDX-License-Identifier: MIT */
/* Checkpoints on disks that are full: what is set aside for them, and what they give back. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "codec.h"
#include "gate_rig.h"

#define KEYS 4000

static uint64_t allocated(struct slf_db *db)
{
	struct io_info info;

	must_work(io_info(db->core.store.spindles[0].file, &info));
	return info.allocated_bytes;
}

/* A commit of ten puts. */
static int put_ten(struct slf_db *db, unsigned first, size_t key_bytes, size_t bytes)
{
	static uint8_t value[2000], key[4000];
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	int result = 0;

	bytes_fill(value, sizeof(value), first, false);
	for (unsigned i = 0; i < 10 && !result; i++) {
		put_be32(key, (first + i) * 7919 % 100000);
		bytes_fill(key + 4, sizeof(key) - 4, first + i, false);
		result = slf_put(txn, SLF_MAIN, slice(key, key_bytes), slice(value, bytes));
	}
	if (!result)
		return slf_commit(txn, NULL);
	slf_abort(txn);
	return result;
}

/* What the heap holds has its place when puts are refused, whatever extents were begun, and whichever kind comes to it first. */
static void fill_and_write(size_t key_bytes, size_t bytes, uint64_t room)
{
	unsigned count = 0;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	must_work(put_ten(rig.db, 90000, key_bytes, bytes));
	must_work(slf_checkpoint(rig.db));
	sim_disk_set_capacity(rig.disk, allocated(rig.db) + room);
	while (put_ten(rig.db, count, key_bytes, bytes) == 0)
		count += 10;
	cr_assert_gt(count, 0);
	must_work(slf_checkpoint(rig.db));
	rig_close(&rig);
}

Test(checkpoint_space, has_its_space_when_puts_are_refused)
{
	static const struct { size_t key_bytes, bytes; } sizes[] = {
		{ 12, 20 }, { 12, 50 }, { 12, 300 }, { 12, 1000 }, { 12, 2000 }, { 2000, 1 }, { 2040, 1 }, { 2100, 1 }, { 3000, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (uint64_t room = MIB; room <= 9 * MIB; room += 2200 * KIB)
			fill_and_write(sizes[i].key_bytes, sizes[i].bytes, room);
}

/* A checkpoint that fails gives back what it has taken: else each attempt would eat what space there is, and none succeed. */
Test(checkpoint_space, failure_gives_the_space_back)
{
	struct sim_fault fault = { .call = SIM_WRITE, .error = -ENOSPC };
	uint64_t promised, next, taken = 0, pause_ns = 0;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	stamp_keys(rig.db, 0, KEYS, 1);
	promised = extents_promised(&rig.db->core.extents);
	cr_assert_gt(promised, 0);
	sim_disk_set_capacity(rig.disk, allocated(rig.db));
	for (unsigned i = 0; i < 20; i++) {
		sim_disk_add_fault(rig.disk, &fault);
		cr_assert_eq(slf_checkpoint(rig.db), -ENOSPC);
		sim_disk_clear_faults(rig.disk);
		next = rig.db->core.extents.spindles[0].next;
		cr_assert(!i || next == taken, "attempt %u", i);
		taken = next;
		cr_assert_eq(extents_promised(&rig.db->core.extents), promised);
		cr_assert_eq(rig.db->core.extents.spent, 0);
		pause_ns = rig.db->core.checkpoint.retry_ns - clock_now_ns();
		cr_assert(pause_ns <= (uint64_t)CHECKPOINT_RETRY_NS << u64_min(i, 4));
	}
	cr_assert_gt(pause_ns, (uint64_t)CHECKPOINT_RETRY_NS << 3);
	must_work(slf_checkpoint(rig.db));
	cr_assert_eq(rig.db->core.checkpoint.failures, 0);
	cr_assert_eq(rig.db->core.extents.returned_count, 0);
	cr_assert_eq(rig.db->core.extents.spindles[0].next, taken);
	must(comes_back(&rig, "key0000"));
	rig_close(&rig);
}

/* A little space comes, and the checkpoint needs more: what it was given must be there the next time. */
Test(checkpoint_space, space_that_comes_in_pieces)
{
	struct rig rig;
	uint64_t limit, begin;
	unsigned attempts = 0;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	promise_space(rig.db); /* nothing is set aside */
	for (unsigned i = 0; i < 100; i++)
		must_work(put_ten(rig.db, 10 * i, 12, 1000));
	begin = limit = allocated(rig.db);
	sim_disk_set_capacity(rig.disk, limit);
	while (slf_checkpoint(rig.db)) {
		limit += 60 * KIB;
		sim_disk_set_capacity(rig.disk, limit);
		cr_assert_lt(++attempts, 100);
	}
	cr_assert_lt(limit - begin, 2 * MIB, "%u attempts took %llu KiB", attempts, (unsigned long long)(limit - begin) / KIB);
	rig_close(&rig);
}

/* A transaction that commits as a checkpoint, and fails, has used nothing either: what is acknowledged next has its space. */
Test(checkpoint_space, large_commit_that_fails)
{
	static uint8_t value[20000];
	struct slf_options options = SLF_OPTIONS_INIT;
	struct sim_fault fault = { .call = SIM_WRITE, .nth = 2, .error = -ENOSPC };
	struct slf_txn *txn;
	struct rig rig;

	options.flags = SLF_CREATE | SLF_NO_THREADS;
	options.log_bytes = 256 * KIB;
	options.compression = SLF_COMPRESSION_NONE;
	rig_open_with(&rig, &options);
	db_put(rig.db, "old", "1");
	txn = txn_begin(rig.db, SLF_WRITE);
	for (unsigned i = 0; i < 40; i++) { /* above a quarter of the log's budget */
		char key[16];

		snprintf(key, sizeof(key), "large%u", i);
		must_work(slf_put(txn, SLF_MAIN, text(key), slice(value, sizeof(value))));
	}
	sim_disk_add_fault(rig.disk, &fault);
	cr_assert_eq(slf_commit(txn, NULL), -ENOSPC);
	sim_disk_clear_faults(rig.disk);
	cr_assert_eq(rig.db->core.extents.spent, 0);
	sim_disk_set_capacity(rig.disk, allocated(rig.db) + 200 * KIB);
	for (unsigned i = 0; put_ten(rig.db, 10 * i, 12, 2000) == 0; i++)
		must(i < 1000);
	must_work(slf_checkpoint(rig.db));
	rig_close(&rig);
}

/* So has one that spills. */
Test(checkpoint_space, spill_that_fails)
{
	static uint8_t value[1000];
	struct slf_options options = SLF_OPTIONS_INIT;
	struct sim_fault fault = { .call = SIM_WRITE, .error = -ENOSPC };
	struct slf_txn *txn;
	uint64_t promised;
	struct rig rig;
	int result = 0;

	options.flags = SLF_CREATE | SLF_NO_THREADS;
	options.heap_bytes = 64 * KIB;
	rig_open_with(&rig, &options);
	db_put(rig.db, "old", "1");
	txn = txn_begin(rig.db, SLF_WRITE);
	sim_disk_add_fault(rig.disk, &fault);
	for (unsigned i = 0; !result; i++) {
		char key[16];

		promised = extents_promised(&rig.db->core.extents);
		snprintf(key, sizeof(key), "key%u", i);
		result = slf_put(txn, SLF_MAIN, text(key), slice(value, sizeof(value)));
		must(i < 1000);
	}
	cr_assert_eq(result, -ENOSPC);
	cr_assert_gt(promised, 0);
	cr_assert_geq(extents_promised(&rig.db->core.extents), promised);
	cr_assert_eq(rig.db->core.extents.spent, 0);
	slf_abort(txn);
	sim_disk_set_capacity(rig.disk, allocated(rig.db));
	must_work(slf_checkpoint(rig.db));
	rig_close(&rig);
}
