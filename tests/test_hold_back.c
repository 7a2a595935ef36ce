/* SPDX-License-Identifier: MIT */
/* Writers that are faster than checkpoints: how full heap and log may get before they wait. */
#include <criterion/criterion.h>
#include <unistd.h>

#include "gate_rig.h"

#define KEYS 400

/* Writers that are faster than the disk would fill the memory, or who only tries would wait with them. */
Test(checkpoint, writers_wait_for_room)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_txn *txn = NULL;
	struct caller late = { 0 };
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
	callers_start(&rig, &late, 1, "late", caller_commit);
	usleep(100000);
	cr_assert(!atomic_load(&late.done));
	cr_assert_eq(slf_begin(rig.db, SLF_WRITE | SLF_TRY, &txn), -EBUSY);
	atomic_store(&rig.gate.shut, false);
	callers_join(&late, 1);
	must_work(late.result);
	must(has_key(rig.db, "late0"));
	must_work(slf_checkpoint(rig.db)); /* behind which there is room */
	must_work(slf_begin(rig.db, SLF_WRITE | SLF_TRY, &txn));
	slf_abort(txn);
	rig_close(&rig);
}

/* Writers that are faster than checkpoints would make an opening as long as they like. */
Test(checkpoint, writers_wait_for_the_log)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_txn *txn = NULL;
	struct caller late = { 0 };
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
	callers_start(&rig, &late, 1, "late", caller_commit);
	usleep(100000);
	cr_assert(!atomic_load(&late.done));
	cr_assert_eq(slf_begin(rig.db, SLF_WRITE | SLF_TRY, &txn), -EBUSY);
	atomic_store(&rig.gate.shut, false);
	callers_join(&late, 1);
	must_work(late.result);
	must_work(slf_checkpoint(rig.db));
	cr_assert_lt(atomic_load(&core->commit.replay_bytes), 4 * KIB, "its own records alone");
	rig_close(&rig);
}
