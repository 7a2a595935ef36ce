/* SPDX-License-Identifier: MIT */
/* Checkpoints on disks that are full: what is set aside for them, and what they give back. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "codec.h"
#include "gate_rig.h"
#include "txn.h"

#define KEYS 4000

static uint64_t allocated(struct slf_db *db)
{
	struct io_info info;

	must_work(io_info(db->core.store.spindles[0].file, &info));
	return info.allocated_bytes;
}

#define SCATTER 7919 /* between the keys of one put and the next */

/* A commit of ten puts. */
static int put_ten_at(struct slf_db *db, unsigned first, unsigned step, size_t key_bytes, size_t bytes)
{
	static uint8_t value[2000], key[8000];
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	int result = 0;

	bytes_fill(value, sizeof(value), first, false);
	for (unsigned i = 0; i < 10 && !result; i++) {
		put_be32(key, (first + i) * step % 100000);
		bytes_fill(key + 4, sizeof(key) - 4, first + i, false);
		result = slf_put(txn, SLF_MAIN, slice(key, key_bytes), slice(value, bytes));
	}
	if (!result)
		return slf_commit(txn, NULL);
	slf_abort(txn);
	return result;
}

static int put_ten(struct slf_db *db, unsigned first, size_t key_bytes, size_t bytes)
{
	return put_ten_at(db, first, SCATTER, key_bytes, bytes);
}

/* What the heap holds has its place when puts are refused, whatever extents were begun, and whichever kind comes to it first. */
static void fill_and_write(unsigned step, size_t key_bytes, size_t bytes, uint64_t room)
{
	unsigned count = 0;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	must_work(put_ten_at(rig.db, 90000, step, key_bytes, bytes));
	must_work(slf_checkpoint(rig.db));
	sim_disk_set_capacity(rig.disk, allocated(rig.db) + room);
	while (put_ten_at(rig.db, count, step, key_bytes, bytes) == 0)
		count += 10;
	cr_assert_gt(count, 0);
	must_work(slf_checkpoint(rig.db));
	rig_close(&rig);
}

Test(checkpoint_space, has_its_space_when_puts_are_refused)
{
	static const struct { unsigned step; size_t key_bytes, bytes; } puts[] = {
		{ SCATTER, 12, 20 }, { SCATTER, 12, 50 }, { SCATTER, 12, 300 }, { SCATTER, 12, 1000 }, { SCATTER, 12, 2000 },
		{ SCATTER, 2000, 1 }, { SCATTER, 2040, 1 }, { SCATTER, 2100, 1 }, { SCATTER, 3000, 1 }, { SCATTER, 4100, 200 },
		{ SCATTER, 6000, 200 }, { 1, 300, 130 }, { 1, 400, 180 }, { 1, 400, 1000 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(puts); i++)
		for (uint64_t room = MIB; room <= 9 * MIB; room += 3300 * KIB)
			fill_and_write(puts[i].step, puts[i].key_bytes, puts[i].bytes, room);
}

/* Puts of any size up to the largest that stays in memory, until one is refused. */
static void put_any(struct slf_db *db, struct rng *rng)
{
	static uint8_t value[32000];
	int result = 0;

	while (!result) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);

		for (unsigned i = 0; i < 4 && !result; i++) {
			size_t bytes = rng_below(rng, 4) ? 20 + rng_below(rng, 800) : 9000 + rng_below(rng, 22000);
			uint8_t key[12] = { 0 };

			put_be32(key, (uint32_t)rng_next(rng));
			bytes_fill(value, bytes, (unsigned)rng_next(rng), false);
			result = slf_put(txn, SLF_MAIN, slice(key, sizeof(key)), slice(value, bytes));
		}
		if (result)
			slf_abort(txn);
		else
			result = slf_commit(txn, NULL);
	}
	cr_assert_eq(result, -ENOSPC);
}

/* What failed attempts give back comes in pieces; one that is too small for an entry must not hide the others. */
Test(checkpoint_space, has_its_space_when_attempts_have_failed)
{
	struct rng rng = { .state = test_seed("checkpoint_space/has_its_space_when_attempts_have_failed") };

	for (unsigned round = 0; round < 12; round++) {
		struct sim_fault fault = { .call = SIM_WRITE, .error = -EIO };
		struct rig rig;
		uint64_t fired;
		int result;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		must_work(slf_checkpoint(rig.db));
		sim_disk_set_capacity(rig.disk, allocated(rig.db) + 4 * MIB + rng_below(&rng, 2 * MIB));
		put_any(rig.db, &rng);
		for (fault.nth = 1;; fault.nth++) {
			fired = sim_disk_faults_fired(rig.disk);
			sim_disk_add_fault(rig.disk, &fault);
			result = slf_checkpoint(rig.db);
			sim_disk_clear_faults(rig.disk);
			if (!result || rig.db->core.commit.poisoned)
				break;
			cr_assert_neq(sim_disk_faults_fired(rig.disk), fired, "round %u: %d without a fault", round, result);
		}
		rig_close(&rig);
	}
}

/* Where there is space for one extent nodes and values share it. A node that fills its block leaves empty what is left of the one in
 * which a value ended. */
Test(checkpoint_space, values_between_nodes)
{
	static uint8_t value[600], key[3700];

	for (uint64_t room = 500 * KIB; room < 2600 * KIB; room += 300 * KIB) {
		unsigned count = 0;
		struct rig rig;
		int result = 0;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		sim_disk_set_capacity(rig.disk, allocated(rig.db) + room);
		while (!result) {
			struct slf_txn *txn = txn_begin(rig.db, SLF_WRITE);

			for (unsigned i = 0; i < 4 && !result; i++, count++) {
				bytes_fill(value, sizeof(value), count, false);
				bytes_fill(key, sizeof(key), count, false);
				put_be32(key, count);
				result = slf_put(txn, SLF_MAIN, slice(key, count % 2 ? 8 : sizeof(key)),
						 slice(value, count % 2 ? sizeof(value) : 100));
			}
			if (result)
				slf_abort(txn);
			else
				result = slf_commit(txn, NULL);
		}
		cr_assert_eq(result, -ENOSPC);
		cr_assert_gt(count, 4);
		must_work(slf_checkpoint(rig.db));
		rig_close(&rig);
	}
}

/* The roots of many trees, which change with the commit only, need little each, and not none. */
Test(checkpoint_space, roots_of_many_trees)
{
	static uint32_t ids[2000];

	for (uint64_t room = 2 * MIB; room <= 8 * MIB; room += 2 * MIB) {
		struct slf_txn *txn;
		struct rig rig;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		txn = txn_begin(rig.db, SLF_WRITE);
		for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
			char name[16];

			snprintf(name, sizeof(name), "%u", i);
			must_work(slf_tree_open(txn, name, SLF_CREATE, &ids[i]));
			must_work(slf_put(txn, ids[i], text("key"), text("1")));
		}
		must_work(slf_commit(txn, NULL));
		must_work(slf_checkpoint(rig.db));
		put_blob(rig.db);
		sim_disk_set_capacity(rig.disk, allocated(rig.db) + room);
		txn = txn_begin(rig.db, SLF_WRITE);
		for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
			must_work(slf_put(txn, ids[i], text("key"), text("2")));
		must_work(slf_commit(txn, NULL));
		cr_assert_geq(extents_promised(&rig.db->core.extents), heap_owed(rig.db->core.heap));
		db_put(rig.db, "key", "3");
		must_work(slf_checkpoint(rig.db));
		rig_close(&rig);
	}
}

/* What was promised to a transaction that is aborted is free for the log again. */
Test(checkpoint_space, aborted_puts_need_none)
{
	struct rig rig;
	struct slf_txn *txn;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	txn = txn_begin(rig.db, SLF_WRITE);
	for (unsigned i = 0; i < 2000; i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%u", i);
		must_work(slf_put(txn, SLF_MAIN, text(key), text(key)));
	}
	cr_assert_gt(extents_promised(&rig.db->core.extents), 0);
	slf_abort(txn);
	cr_assert_eq(extents_promised(&rig.db->core.extents), 0);
	rig_close(&rig);
}

/* No checkpoint writes what only a snapshot keeps: space for it was asked for, of each put, and for ever when the snapshot had
 * ended, since nothing was committed any more. */
Test(checkpoint_space, what_a_snapshot_keeps_needs_none)
{
	struct slf_txn *reader;
	uint64_t owed = 0;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	reader = txn_begin(rig.db, SLF_READ);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 4000; i += 10)
			must_work(put_ten(rig.db, i, 12, 1000));
		while (commit_sweep(rig.commit))
			;
		if (round) /* of the first one all is kept by the reader, but owed to nobody */
			cr_assert_lt(heap_owed(rig.db->core.heap), owed + owed / 8);
		owed = heap_owed(rig.db->core.heap);
		slf_abort(reader);
		reader = txn_begin(rig.db, SLF_READ);
	}
	must_work(slf_checkpoint(rig.db));
	cr_assert_gt(heap_used(rig.db->core.heap), 4 * MIB);
	sim_disk_set_capacity(rig.disk, allocated(rig.db) + MIB);
	must_work(put_ten(rig.db, 0, 12, 10));
	slf_abort(reader);
	must_work(slf_checkpoint(rig.db));
	cr_assert_eq(heap_owed(rig.db->core.heap), 0);
	rig_close(&rig);
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

/* It has written its bulk, but finds no room in the log. */
Test(checkpoint_space, large_commit_without_log)
{
	static uint8_t value[20000];
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_txn *txn;
	uint64_t promised;
	struct rig rig;

	options.flags = SLF_CREATE | SLF_NO_THREADS;
	options.log_bytes = 64 * MIB;
	options.compression = SLF_COMPRESSION_NONE;
	rig_open_with(&rig, &options);
	for (unsigned i = 0; heap_used(rig.db->core.heap) < 4 * MIB; i += 10)
		must_work(put_ten(rig.db, i, 12, 1000));
	while (rig.db->core.log.space.end - rig.db->core.log.space.position > 600 * KIB)
		put_blob(rig.db);
	rig.db->core.tuning.log_bytes = 256 * KIB;
	txn = txn_begin(rig.db, SLF_WRITE);
	for (unsigned i = 0; i < 36; i++) {
		char key[16];

		snprintf(key, sizeof(key), "large%u", i);
		must_work(slf_put(txn, SLF_MAIN, text(key), slice(value, sizeof(value))));
	}
	promised = extents_promised(&rig.db->core.extents);
	atomic_store(&rig.db->core.checkpoint.failed, -ENOSPC); /* none is tried right behind it */
	atomic_store(&rig.db->core.checkpoint.retry_ns, UINT64_MAX);
	sim_disk_set_capacity(rig.disk, allocated(rig.db));
	cr_assert_eq(slf_commit(txn, NULL), -ENOSPC);
	cr_assert_eq(extents_promised(&rig.db->core.extents), promised);
	cr_assert_eq(rig.db->core.extents.spent, 0);
	must_work(slf_checkpoint(rig.db));
	rig_close(&rig);
}

/* What a transaction has spilled is lost with it. What was acknowledged before is promised its space still. */
Test(checkpoint_space, spill_that_is_aborted)
{
	static uint8_t value[1000];
	struct slf_options options = SLF_OPTIONS_INIT;
	unsigned spilled = 0;

	options.flags = SLF_CREATE | SLF_NO_THREADS;
	options.heap_bytes = 16 * MIB;
	options.log_bytes = 64 * MIB;
	for (uint64_t room = 6 * MIB; room < 32 * MIB; room += 6 * MIB) {
		struct slf_txn *txn;
		struct rig rig;
		int result = 0;

		rig_open_with(&rig, &options);
		for (unsigned i = 0; heap_used(rig.db->core.heap) < 7500 * KIB; i += 10)
			must_work(put_ten(rig.db, i, 12, 1000));
		sim_disk_set_capacity(rig.disk, allocated(rig.db) + room);
		txn = txn_begin(rig.db, SLF_WRITE);
		for (unsigned i = 0; !result && !txn->spilled; i++) {
			char key[16];

			bytes_fill(value, sizeof(value), i, false);
			snprintf(key, sizeof(key), "large%u", i);
			result = slf_put(txn, SLF_MAIN, text(key), slice(value, sizeof(value)));
		}
		cr_assert(!result || result == -ENOSPC);
		spilled += txn->spilled;
		atomic_store(&rig.db->core.checkpoint.failed, -ENOSPC); /* none is tried right behind it */
		atomic_store(&rig.db->core.checkpoint.retry_ns, UINT64_MAX);
		slf_abort(txn);
		cr_assert_geq(extents_promised(&rig.db->core.extents), heap_owed(rig.db->core.heap));
		sim_disk_set_capacity(rig.disk, allocated(rig.db));
		must_work(slf_checkpoint(rig.db));
		rig_close(&rig);
	}
	cr_assert_gt(spilled, 0);
}

/* What the mark of a failed checkpoint leads to stays, and is no space for others: no more is promised than there is. */
Test(checkpoint_space, mark_that_is_aborted)
{
	unsigned aborted = 0;

	for (unsigned nth = 1; nth < 9; nth++) {
		struct sim_fault fault = { .call = SIM_WRITE, .error = -EIO, .nth = nth };
		struct rig rig;
		int result;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		for (unsigned i = 0; heap_used(rig.db->core.heap) < 5 * MIB; i += 10)
			must_work(put_ten(rig.db, i, 12, 1000));
		must(put_async(&rig, "large", RIG_LARGE_BYTES));
		sim_disk_add_fault(rig.disk, &fault);
		result = checkpoint_run(&rig.db->core);
		sim_disk_clear_faults(rig.disk);
		if (result && !rig.db->core.commit.poisoned && !rig.db->core.extents.returned_count) {
			aborted++;
			cr_assert_eq(slf_sync(rig.db, NULL), -EIO); /* of the commit that was beside the mark */
			cr_assert_eq(rig.db->core.extents.spent, 0);
			sim_disk_set_capacity(rig.disk, allocated(rig.db));
			cr_assert_eq(put_ten(rig.db, 50000, 12, 1000), -ENOSPC);
			sim_disk_set_capacity(rig.disk, UINT64_MAX);
			must_work(put_ten(rig.db, 50000, 12, 1000));
			sim_disk_set_capacity(rig.disk, allocated(rig.db));
			must_work(slf_checkpoint(rig.db));
		}
		rig_close(&rig);
	}
	cr_assert_gt(aborted, 0);
}

/* What was allocated behind the entries of the last extents, which no later session fills. */
Test(checkpoint_space, close_gives_back_what_is_not_filled)
{
	const struct materialiser *materialiser;
	uint64_t before, rest;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	must_work(put_ten(rig.db, 0, 12, 1000));
	must_work(extents_reserve(&rig.db->core.extents, 4 * MIB));
	must_work(slf_checkpoint(rig.db));
	materialiser = &rig.db->core.checkpoint.materialiser;
	rest = materialiser->values.at.allocated - materialiser->values.at.fill;
	rest += materialiser->nodes.at.allocated - materialiser->nodes.at.fill;
	cr_assert_gt(rest, 2 * MIB);
	before = allocated(rig.db) - rest;
	extents_trim(&rig.db->core.extents);
	must_work(slf_close(rig.db));
	must_work(disk_open(rig.disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &rig.db));
	rig.commit = &rig.db->core.commit;
	cr_assert_lt(allocated(rig.db), before + 100 * KIB);
	rig_close(&rig);
}
