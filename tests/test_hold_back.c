/* SPDX-License-Identifier: MIT */
/* Writers that are faster than checkpoints: how full heap and log may get before they wait. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "gate_rig.h"

#define KEYS 400

/* Who comes waits until the gate is open, and who only tries is sent away. */
static void expect_full(struct rig *rig)
{
	struct slf_txn *txn = NULL;
	struct caller late = { 0 };

	callers_start(rig, &late, 1, "late", caller_commit);
	usleep(100000);
	cr_assert(!atomic_load(&late.done));
	cr_assert_eq(slf_begin(rig->db, SLF_WRITE | SLF_TRY, &txn), -EBUSY);
	atomic_store(&rig->gate.shut, false);
	callers_join(&late, 1);
	must_work(late.result);
}

/* Writers that are faster than the disk would fill the memory, or who only tries would wait with them. */
Test(hold_back, writers_wait_for_room)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_txn *txn = NULL;
	struct rig rig;
	uint64_t limit;
	struct core *core;

	options.sync = SLF_SYNC_NONE;
	options.heap_bytes = 680 * KIB; /* to be full soon */
	rig_open_with(&rig, &options);
	core = &rig.db->core;
	limit = core->tuning.heap_bytes;
	atomic_store(&rig.gate.shut, true);
	for (unsigned i = 0; heap_used(core->heap) < limit / 4 * 3; i += 10)
		stamp_keys(rig.db, i, i + 10, i);
	must_work(slf_begin(rig.db, SLF_WRITE | SLF_TRY, &txn));
	slf_abort(txn);
	cr_assert_eq(stats_get(&core->stats.values.checkpoint_stall_ns), 0);
	for (unsigned i = 5000; heap_used(core->heap) < limit; i += 10)
		stamp_keys(rig.db, i, i + 10, i);
	cr_assert_gt(stats_get(&core->stats.values.checkpoint_stall_ns), 0);
	expect_full(&rig);
	must(has_key(rig.db, "late0"));
	must_work(slf_checkpoint(rig.db)); /* behind which there is room */
	must_work(slf_begin(rig.db, SLF_WRITE | SLF_TRY, &txn));
	slf_abort(txn);
	rig_close(&rig);
}

/* Writers that are faster than checkpoints would make an opening as long as they like. */
Test(hold_back, writers_wait_for_the_log)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct rig rig;
	struct core *core;

	options.sync = SLF_SYNC_NONE;
	options.log_bytes = 4 * MIB;
	rig_open_with(&rig, &options);
	core = &rig.db->core;
	rig.gate.call = SIM_WRITE_OUT; /* of checkpoints alone */
	atomic_store(&rig.gate.shut, true);
	for (unsigned i = 0; atomic_load(&core->commit.replay_bytes) < options.log_bytes; i++)
		stamp_keys(rig.db, 0, KEYS, i);
	cr_assert_eq(atomic_load(&rig.gate.stopped), 1, "a checkpoint is under way");
	cr_assert_gt(stats_get(&core->stats.values.checkpoint_stall_ns), 0);
	cr_assert_lt(heap_used(core->heap), core->tuning.heap_bytes / 4, "it is not the heap");
	expect_full(&rig);
	must_work(slf_checkpoint(rig.db));
	cr_assert_lt(atomic_load(&core->commit.replay_bytes), 4 * KIB, "its own records alone");
	rig_close(&rig);
}

/* Without threads, so that checkpoints are made on request or when one is due. */
static void open_alone(struct rig *rig, uint64_t log_bytes)
{
	struct slf_options options = SLF_OPTIONS_INIT;

	options.flags = SLF_NO_THREADS;
	options.log_bytes = log_bytes;
	rig_open_with(rig, &options);
}

static uint64_t replay_bytes(struct slf_db *db)
{
	return atomic_load(&db->core.commit.replay_bytes);
}

/* A commit of so many bytes of values. */
static void commit_actions(struct slf_db *db, size_t bytes)
{
	static const uint8_t value[1000];
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	for (unsigned i = 0; i < bytes / sizeof(value); i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%04u", i);
		must_work(slf_put(txn, SLF_MAIN, text(key), slice(value, sizeof(value))));
	}
	must_work(slf_commit(txn, NULL));
}

/* The slab of a commit whose actions are in bulk has next to nothing, and a replay reads them all. */
Test(hold_back, actions_in_bulk_count)
{
	struct rig rig;

	open_alone(&rig, 4 * MIB);
	commit_actions(rig.db, 900000);
	cr_assert_gt(stats_get(&rig.db->core.stats.values.bulk_bytes), 900000, "it is not in its slab");
	cr_assert_gt(replay_bytes(rig.db), 900000);
	cr_assert(!checkpoint_due(&rig.db->core));
	rig_close(&rig);
}

/* Padding is no payload: a process that opens the log of another would be held back where that one was not. */
Test(hold_back, an_opening_counts_what_it_has_replayed)
{
	struct sim_disk *killed;
	struct slf_db *db = NULL;
	struct rig rig;
	uint64_t before;

	open_alone(&rig, 4 * MIB);
	for (unsigned i = 0; i < 100; i++)
		stamp_keys(rig.db, i, i + 1, i);
	commit_actions(rig.db, 900000);
	before = replay_bytes(rig.db);
	killed = sim_disk_kill(rig.disk);
	must_work(disk_open(killed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert_geq(replay_bytes(db), before);
	cr_assert_lt(replay_bytes(db), before + 8 * KIB, "its own records");
	must_work(slf_close(db));
	sim_disk_free(killed);
	rig_close(&rig);
}

/* The log before it would be kept, and replayed, until another one comes. */
Test(hold_back, large_commit_is_a_checkpoint)
{
	struct slf_info info = { .size = sizeof(info) };
	struct rig rig;

	open_alone(&rig, 4 * MIB);
	commit_actions(rig.db, 1100000);
	must_work(slf_info(rig.db, &info));
	cr_assert_eq(info.checkpoint_seq, info.durable_seq);
	cr_assert_lt(replay_bytes(rig.db), MIB);
	rig_close(&rig);
}

/* A large commit is a checkpoint, and yet its slab lies behind the place where replay starts. */
Test(hold_back, checkpoint_without_a_change)
{
	struct rig rig;

	open_alone(&rig, 64 * KIB);
	commit_actions(rig.db, 200000);
	must_work(slf_checkpoint(rig.db));
	cr_assert_lt(replay_bytes(rig.db), 4 * KIB);
	cr_assert(!checkpoint_due(&rig.db->core));
	rig_close(&rig);
}

/* Who gives up soon would never be let in while the others are merely delayed. */
Test(hold_back, delay_is_no_timeout)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_txn *txn = NULL;
	struct rig rig;

	options.sync = SLF_SYNC_NONE;
	options.log_bytes = 4 * MIB;
	rig_open_with(&rig, &options);
	rig.gate.call = SIM_WRITE_OUT;
	atomic_store(&rig.gate.shut, true);
	for (unsigned i = 0; replay_bytes(rig.db) < options.log_bytes / 10 * 9; i++)
		stamp_keys(rig.db, 0, KEYS, i);
	must_work(slf_begin_timeout(rig.db, SLF_WRITE, 1000, &txn));
	slf_abort(txn);
	for (unsigned i = 0; replay_bytes(rig.db) < options.log_bytes; i++)
		stamp_keys(rig.db, 0, KEYS, i);
	cr_assert_eq(slf_begin_timeout(rig.db, SLF_WRITE, 1000, &txn), -ETIMEDOUT);
	atomic_store(&rig.gate.shut, false);
	rig_close(&rig);
}
