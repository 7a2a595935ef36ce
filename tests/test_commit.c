/* SPDX-License-Identifier: MIT */
/* Group commit: who is told what when slabs reach the disk, fail to, or leave it in doubt; on the simulated disk. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "gate_rig.h"

#define MEDIUM_BYTES 30000u

/* ---- Groups ------------------------------------------------------------------------------------------------------ */

/* Every commit would pay for a slab and a flush of its own. */
Test(commit, many_commits_in_one_slab)
{
	struct rig rig;
	uint64_t seqs[20], slabs, syncs, durable = 0;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "first", "1");
	slabs = rig.db->core.stats.values.log_slabs;
	syncs = sim_disk_calls(rig.disk, SIM_SYNC);
	for (unsigned i = 0; i < ARRAY_SIZE(seqs); i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%u", i);
		seqs[i] = put_async(&rig, key, 100);
		must(!i || seqs[i] > seqs[i - 1]);
	}
	cr_assert_eq(gathered(&rig), ARRAY_SIZE(seqs));
	must(!has_key(rig.db, "key0"));
	must_work(slf_wait(rig.db, seqs[19], -1));
	cr_assert_eq(rig.db->core.stats.values.log_slabs, slabs + 1);
	cr_assert_leq(sim_disk_calls(rig.disk, SIM_SYNC), syncs + 1);
	must(has_key(rig.db, "key0") && has_key(rig.db, "key19") && survives(&rig, "key19"));
	for (unsigned i = 0; i < ARRAY_SIZE(seqs); i++)
		must_work(slf_wait(rig.db, seqs[i], 0));
	must_work(slf_sync(rig.db, &durable));
	cr_assert_eq(durable, seqs[19]);
	rig_close(&rig);
}

/* A commit would be acknowledged before the value that it refers to is on the disk, or before the commits below it are. */
Test(commit, parts_are_flushed)
{
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	must_work(slf_wait(rig.db, put_async(&rig, "large", RIG_LARGE_BYTES), -1));
	must(survives(&rig, "large"));
	db_put(rig.db, "small", "1");
	must(survives(&rig, "large") && survives(&rig, "small"));
	rig_close(&rig);
	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	put_async(&rig, "first", RIG_LARGE_BYTES);
	must_work(commit_write_out(rig.commit));
	must(!survives(&rig, "first") && comes_back(&rig, "first"));
	must_work(slf_wait(rig.db, put_async(&rig, "second", 10), -1));
	must(survives(&rig, "first") && survives(&rig, "second"));
	rig_close(&rig);
}

static void *commit_beyond_a_group(void *context)
{
	struct caller *caller = context;

	for (unsigned i = 0; i < 60; i++) {
		char key[16];

		snprintf(key, sizeof(key), "full%u", i);
		caller->seq = put_async(caller->rig, key, MEDIUM_BYTES);
	}
	atomic_store(&caller->done, true);
	return NULL;
}

/* More would be put into a group than its slab can hold, or whoever finds it full would not go on when it has gone. */
Test(commit, full_group_waits_for_the_flight)
{
	struct rig rig;
	struct caller leader = { 0 }, filler = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "leader", caller_commit);
	wait_until_stopped(&rig);
	callers_start(&rig, &filler, 1, "", commit_beyond_a_group);
	wait_until_gathered(&rig, GROUP_BYTES / MEDIUM_BYTES - 1);
	usleep(50000);
	must(!atomic_load(&filler.done));
	atomic_store(&rig.gate.shut, false);
	callers_join(&leader, 1);
	callers_join(&filler, 1);
	must_work(leader.result);
	must_work(slf_wait(rig.db, filler.seq, -1));
	must(survives(&rig, "full0") && survives(&rig, "full59"));
	rig_close(&rig);
}

static void *fill_until_refused(void *context)
{
	static uint8_t data[MEDIUM_BYTES];
	struct caller *caller = context;

	for (unsigned i = 0; i < 60 && !caller->result; i++) {
		struct slf_txn *txn = NULL;

		caller->result = slf_begin(caller->rig->db, SLF_WRITE, &txn);
		if (caller->result)
			break;
		must_work(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), slice(data, sizeof(data))));
		caller->result = slf_commit_async(txn, &caller->seq);
	}
	atomic_store(&caller->done, true);
	return NULL;
}

/* Who waits for room behind a flight that fails, or on a handle that is poisoned meanwhile, would commit on what is taken back,
 * or wait for ever. */
Test(commit, full_group_behind_a_failure)
{
	for (unsigned poisoned = 0; poisoned < 2; poisoned++) {
		struct rig rig;
		struct caller leader = { .timeout_ns = -1 }, filler = { 0 };

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		leader.seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
		atomic_store(&rig.gate.shut, true);
		if (!poisoned)
			rig_fail(&rig, SIM_WRITE, -EIO, false);
		callers_start(&rig, &leader, 1, "", caller_wait);
		wait_until_stopped(&rig);
		callers_start(&rig, &filler, 1, "", fill_until_refused);
		wait_until_gathered(&rig, GROUP_BYTES / MEDIUM_BYTES - 1);
		usleep(50000);
		must(!atomic_load(&filler.done));
		if (poisoned) {
			commit_poison(rig.commit);
			cr_assert_eq(callers_done(&filler, 1), 1, "it waits on");
		}
		atomic_store(&rig.gate.shut, false);
		callers_join(&leader, 1);
		callers_join(&filler, 1);
		cr_assert_eq(filler.result, poisoned ? SLF_EPOISONED : SLF_ECANCELLED);
		must(poisoned || leader.result == -EIO);
		rig_close(&rig);
	}
}

/* A log that seems to be full while a group is in flight may not be so when that has landed: a commit would be refused that has
 * room; or it would wait on when the handle is poisoned. */
Test(commit, no_room_beside_a_flight)
{
	static const int results[] = { 0, -ENOSPC, SLF_EPOISONED };

	for (unsigned i = 0; i < ARRAY_SIZE(results); i++) {
		struct rig rig;
		struct caller leader = { .timeout_ns = -1 }, behind = { 0 };

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		leader.seq = put_async(&rig, "leader", RIG_LARGE_BYTES);
		atomic_store(&rig.gate.shut, true);
		callers_start(&rig, &leader, 1, "", caller_wait);
		wait_until_stopped(&rig);
		promise_space(rig.db); /* only the log is to find the disk full */
		rig.commit->reserved_bytes = 0;
		rig.db->core.log.space.allocated_end = rig.db->core.log.space.position;
		rig_fail(&rig, SIM_ALLOCATE, -ENOSPC, true);
		callers_start(&rig, &behind, 1, "behind", caller_commit);
		usleep(50000);
		must(!atomic_load(&behind.done));
		if (i == 0)
			sim_disk_clear_faults(rig.disk);
		if (i == 2) {
			commit_poison(rig.commit);
			cr_assert_eq(callers_done(&behind, 1), 1, "it waits on");
		}
		atomic_store(&rig.gate.shut, false);
		callers_join(&leader, 1);
		callers_join(&behind, 1);
		cr_assert_eq(behind.result, results[i], "way %u: %d", i, behind.result);
		must(i || survives(&rig, "behind0"));
		rig_close(&rig);
	}
}

/* Beyond the numbers that the log has room for, commits would be made that a later opening makes again; or a failure to make
 * room be passed over. */
Test(commit, beyond_the_limit_of_numbers)
{
	static const int modes[] = { SLF_SYNC_COMMIT, SLF_SYNC_NONE };

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(modes); i++) {
		struct slf_txn *txn;
		struct rig rig;
		int result;

		rig_open(&rig, SLF_NO_THREADS, modes[i / 2]);
		put_async(&rig, "before", 100);
		txn = txn_begin(rig.db, SLF_WRITE);
		must_work(slf_put(txn, SLF_MAIN, text("key"), text("value")));
		rig.commit->durable_limit = rig.commit->next_seq - 1; /* as after a million commits without a flush */
		if (i % 2)
			rig_fail(&rig, SIM_WRITE, -ENOSPC, true);
		result = slf_commit(txn, NULL);
		if (i % 2) {
			cr_assert_eq(result, SLF_EUNKNOWN);
			cr_assert_eq(commit_check(rig.commit), SLF_EPOISONED);
		} else {
			must_work(result);
			must_work(slf_sync(rig.db, NULL));
			must(survives(&rig, "before") && survives(&rig, "key"));
			cr_assert_geq(rig.commit->durable_limit, rig.commit->next_seq);
		}
		rig_close(&rig);
	}
}

/* Commits with more parts than a slab lists would go into one slab, which then no recovery believes. */
Test(commit, more_parts_than_a_slab_lists)
{
	static uint8_t zeros[RIG_LARGE_BYTES];
	uint64_t slabs;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	slabs = rig.db->core.stats.values.log_slabs;
	for (unsigned i = 0; i < 3; i++) {
		struct slf_txn *txn = txn_begin(rig.db, SLF_WRITE);
		char key[16];

		for (unsigned j = 0; j < SLAB_PARTS_MAX / 5 * 2; j++) {
			snprintf(key, sizeof(key), "%u/%u", i, j);
			must_work(slf_put(txn, SLF_MAIN, text(key), slice(zeros, sizeof(zeros))));
		}
		must_work(slf_commit_async(txn, NULL));
	}
	must_work(slf_sync(rig.db, NULL));
	cr_assert_eq(rig.db->core.stats.values.log_slabs, slabs + 2);
	must(survives(&rig, "0/0") && survives(&rig, "1/100") && survives(&rig, "2/400"));
	rig_close(&rig);
}

/* What is only written would pass as durable; or who asks for that afterwards, when nothing is left to write, would be told so
 * without a flush. */
Test(commit, written_is_not_durable)
{
	for (unsigned waits = 0; waits < 2; waits++) {
		struct rig rig;
		uint64_t seq, durable = 0;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
		seq = put_async(&rig, "key", 100);
		must_work(commit_write_out(rig.commit));
		cr_assert_eq(gathered(&rig), 0);
		must(comes_back(&rig, "key") && !survives(&rig, "key"));
		cr_assert_lt(atomic_load(&rig.commit->durable_seq), seq);
		must(commit_load(rig.commit).unflushed > 0);
		if (waits)
			must_work(slf_wait(rig.db, seq, -1));
		else
			must_work(slf_sync(rig.db, &durable));
		must(survives(&rig, "key"));
		cr_assert_eq(atomic_load(&rig.commit->durable_seq), seq);
		must(waits || durable == seq);
		must(commit_load(rig.commit).unflushed == 0);
		rig_close(&rig);
	}
}

/* The same where the flush fails: nothing may be told to be durable, then or later. */
Test(commit, failed_flush_of_what_was_written)
{
	struct rig rig;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	seq = put_async(&rig, "key", 100);
	must_work(commit_write_out(rig.commit));
	rig_fail(&rig, SIM_SYNC, -EIO, false);
	cr_assert_eq(slf_sync(rig.db, NULL), SLF_EUNKNOWN);
	cr_assert_eq(slf_sync(rig.db, NULL), SLF_EUNKNOWN);
	cr_assert_eq(slf_wait(rig.db, seq, -1), SLF_EUNKNOWN);
	cr_assert_eq(commit_check(rig.commit), SLF_EPOISONED);
	cr_assert_lt(atomic_load(&rig.commit->durable_seq), seq);
	rig_close(&rig);
}

/* Who commits without changes and does not want to wait would wait for the disk, or for what others have made. */
Test(commit, asynchronous_commit_of_nothing)
{
	struct slf_txn *txn;
	struct rig rig;
	uint64_t seq, base = 0;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	seq = put_async(&rig, "key", 100);
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_commit_async(txn, &base));
	cr_assert_eq(base, seq);
	cr_assert_eq(gathered(&rig), 1);
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_commit(txn, &base));
	cr_assert_eq(base, seq);
	must(gathered(&rig) == 0 && survives(&rig, "key"));
	rig_close(&rig);
}

/* A transaction that was open when the handle was poisoned would be committed to a log that is not written any more, and in a
 * mode that does not wait nobody would be told. */
Test(commit, seal_after_poison)
{
	struct slf_txn *txn;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	put_async(&rig, "before", 100);
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("key"), text("value")));
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_sync(rig.db, NULL), SLF_EUNKNOWN);
	cr_assert_eq(slf_commit(txn, NULL), SLF_EPOISONED);
	must(!comes_back(&rig, "key"));
	rig_close(&rig);
}

/* ---- Aborts ------------------------------------------------------------------------------------------------------ */

/* A slab that could not be written would come back at the next opening, be seen, or be where the log ends for ever. */
Test(commit, failed_write_aborts_cleanly)
{
	struct rig rig;
	uint64_t seq, next;
	uint8_t place[512];
	static const uint8_t zeros[sizeof(place)];

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -EIO);
	must_work(sim_disk_peek_durable(rig.disk, RIG_PATH, position_offset(rig.db->core.log.end.position), place,
					sizeof(place)));
	cr_assert_eq(memcmp(place, zeros, sizeof(place)), 0);
	must_work(commit_check(rig.commit));
	must(!has_key(rig.db, "failed") && has_key(rig.db, "before"));
	must(!survives(&rig, "failed") && survives(&rig, "before"));
	must(!comes_back(&rig, "failed") && comes_back(&rig, "before"));
	next = db_put(rig.db, "after", "1");
	cr_assert_gt(next, seq);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -EIO);
	must_work(slf_wait(rig.db, next, 0));
	must(!has_key(rig.db, "failed") && survives(&rig, "after") && !survives(&rig, "failed"));
	rig_close(&rig);
}

/* A transaction that stands on commits which are taken back would keep their changes. */
Test(commit, abort_dooms_what_stands_on_it)
{
	struct rig rig;
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_txn *txn;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_get(txn, SLF_MAIN, text("failed"), NULL));
	must_work(slf_put(txn, SLF_MAIN, text("doomed"), text("value")));
	rig_fail(&rig, SIM_WRITE, -ENOSPC, false);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -ENOSPC);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("more"), text("value")), SLF_ECANCELLED);
	cr_assert_eq(slf_commit(txn, NULL), SLF_ECANCELLED);
	must_work(slf_errinfo(&info));
	cr_assert_eq(info.code, SLF_ECANCELLED);
	cr_assert_not_null(strstr(info.text, "taken back"));
	must_work(turn_take(&rig.db->core.turn, -1));
	must(atomic_load(&rig.commit->rollback));
	cr_assert_eq(commit_rollback(rig.commit), atomic_load(&rig.commit->rollbacks));
	must(!atomic_load(&rig.commit->rollback)); /* who takes back dooms itself not */
	cr_assert_eq(commit_rollback(rig.commit), atomic_load(&rig.commit->rollbacks));
	turn_pass(&rig.db->core.turn);
	txn = txn_begin(rig.db, SLF_WRITE);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("failed"), NULL), SLF_NOTFOUND);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("doomed"), NULL), SLF_NOTFOUND);
	slf_abort(txn);
	rig_close(&rig);
}

/* The group that filled behind a failed slab stands on it: its commits would hang, or be told that they are durable. */
Test(commit, abort_takes_the_next_group_with_it)
{
	struct rig rig;
	struct caller first = { 0 }, behind[3] = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	first.seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
	first.timeout_ns = -1;
	atomic_store(&rig.gate.shut, true);
	rig_fail(&rig, SIM_WRITE, -ENOSPC, false);
	callers_start(&rig, &first, 1, "", caller_wait);
	wait_until_stopped(&rig);
	callers_start(&rig, behind, 3, "behind", caller_commit);
	wait_until_gathered(&rig, 3);
	atomic_store(&rig.gate.shut, false);
	callers_join(&first, 1);
	callers_join(behind, 3);
	cr_assert_eq(first.result, -ENOSPC);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(behind[i].result, -ENOSPC);
		must(!has_key(rig.db, behind[i].key) && !survives(&rig, behind[i].key));
		cr_assert_eq(slf_wait(rig.db, first.seq + 1 + i, -1), -ENOSPC);
	}
	db_put(rig.db, "after", "1");
	must(survives(&rig, "after"));
	rig_close(&rig);
}

/* A seq would get the fate of its neighbour: of another failure, or of a commit that is durable. */
Test(commit, burnt_ranges)
{
	static const int codes[] = { 0, -ENOSPC, -ENOSPC, -EIO, 0, 0, -EIO, -EFBIG, -ENOSPC, 0, -ENOSPC, -EDQUOT, 0 };
	uint64_t first[ARRAY_SIZE(codes)], last[ARRAY_SIZE(codes)];
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		first[i] = put_async(&rig, "one", RIG_LARGE_BYTES);
		put_async(&rig, "two", 10);
		last[i] = put_async(&rig, "three", 10);
		if (codes[i])
			rig_fail(&rig, SIM_WRITE, codes[i], false);
		cr_assert_eq(slf_wait(rig.db, first[i], -1), codes[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++)
		for (uint64_t seq = first[i]; seq <= last[i]; seq++) {
			struct slf_errinfo info = { .size = sizeof(info) };

			cr_assert_eq(slf_wait(rig.db, seq, -1), codes[i]);
			must_work(slf_errinfo(&info));
			must(!codes[i] || info.code == codes[i]);
		}
	rig_close(&rig);
}

/* Failures of commits that nobody has waited for would be told once for all of them, again and again, or never. */
Test(commit, untold_failures)
{
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < 3; i++) {
		put_async(&rig, "key", RIG_LARGE_BYTES);
		rig_fail(&rig, SIM_WRITE, i == 1 ? -ENOSPC : -EIO, false);
		cr_assert_eq(commit_sync(rig.commit, NULL), i == 1 ? -ENOSPC : -EIO);
	}
	cr_assert_eq(commit_untold(rig.commit), -EIO);
	cr_assert_eq(commit_untold(rig.commit), -ENOSPC);
	cr_assert_eq(commit_untold(rig.commit), -EIO);
	cr_assert_eq(commit_untold(rig.commit), 0);
	db_put(rig.db, "key", "value");
	must_work(slf_sync(rig.db, NULL));
	rig_close(&rig);
}

/* ---- Doubt ------------------------------------------------------------------------------------------------------- */

static void expect_poison(struct rig *rig, struct slf_txn *snapshot)
{
	struct slf_txn *txn = NULL;

	cr_assert_eq(slf_begin(rig->db, SLF_WRITE, &txn), SLF_EPOISONED);
	cr_assert_eq(slf_begin(rig->db, SLF_READ, &txn), SLF_EPOISONED);
	must_work(slf_get(snapshot, SLF_MAIN, text("before"), NULL));
	cr_assert_eq(slf_get(snapshot, SLF_MAIN, text("doubt0"), NULL), SLF_NOTFOUND);
	must_work(slf_begin(rig->db, SLF_READ | SLF_DURABLE, &txn));
	must_work(slf_get(txn, SLF_MAIN, text("before"), NULL));
	slf_abort(txn);
	slf_abort(snapshot);
}

/* Commits in a flush that failed would be told that they are durable, or not be told at all. */
static void doubt(enum sim_call call, size_t first_bytes, bool drop)
{
	struct rig rig;
	struct caller first = { .timeout_ns = -1 }, behind[4] = { 0 };
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_txn *snapshot;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	snapshot = txn_begin(rig.db, SLF_READ);
	first.seq = put_async(&rig, "doubt0", first_bytes);
	rig.gate.call = call;
	atomic_store(&rig.gate.shut, true);
	sim_disk_add_fault(rig.disk, &(struct sim_fault){ .call = call, .error = -EIO, .drop = drop });
	callers_start(&rig, &first, 1, "", caller_wait);
	wait_until_stopped(&rig);
	callers_start(&rig, behind, 4, "behind", caller_commit);
	wait_until_gathered(&rig, 4);
	atomic_store(&rig.gate.shut, false);
	callers_join(&first, 1);
	callers_join(behind, 4);
	cr_assert_eq(first.result, SLF_EUNKNOWN);
	cr_assert_eq(first.told, SLF_EUNKNOWN);
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(behind[i].result, SLF_EUNKNOWN);
		cr_assert_eq(behind[i].told, SLF_EUNKNOWN);
		cr_assert_eq(slf_wait(rig.db, first.seq + 1 + i, -1), SLF_EUNKNOWN);
	}
	cr_assert_eq(slf_sync(rig.db, NULL), SLF_EUNKNOWN);
	must_work(slf_errinfo(&info));
	cr_assert_eq(info.code, SLF_EUNKNOWN);
	cr_assert_not_null(strstr(info.text, RIG_PATH));
	expect_poison(&rig, snapshot);
	must(survives(&rig, "before"));
	rig_close(&rig);
}

/* A slab that is written and flushed in one call, and fails: nobody knows what the disk has. */
Test(commit, failed_durable_write_poisons)
{
	doubt(SIM_WRITE, 100, false);
	doubt(SIM_WRITE, 100, true);
}

/* The flush behind a slab with parts. */
Test(commit, failed_flush_poisons)
{
	doubt(SIM_SYNC, RIG_LARGE_BYTES, false);
	doubt(SIM_SYNC, RIG_LARGE_BYTES, true);
}

/* A slab that may be there in part, and cannot be overwritten, would come back after it was reported aborted. */
Test(commit, failed_invalidation_poisons)
{
	struct rig rig;
	struct slf_txn *snapshot;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	snapshot = txn_begin(rig.db, SLF_READ);
	seq = put_async(&rig, "doubt0", RIG_LARGE_BYTES);
	rig_fail(&rig, SIM_WRITE, -EIO, true);
	cr_assert_eq(slf_wait(rig.db, seq, -1), SLF_EUNKNOWN);
	expect_poison(&rig, snapshot);
	rig_close(&rig);
}

/* What is visible already can not be taken back: a failed write of it must poison. */
Test(commit, failed_write_of_what_is_visible_poisons)
{
	struct rig rig;
	struct slf_txn *txn = NULL;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	seq = put_async(&rig, "visible", 100);
	must(has_key(rig.db, "visible"));
	rig_fail(&rig, SIM_WRITE, -ENOSPC, false);
	cr_assert_eq(slf_wait(rig.db, seq, -1), SLF_EUNKNOWN);
	cr_assert_eq(slf_begin(rig.db, SLF_WRITE, &txn), SLF_EPOISONED);
	rig_close(&rig);
}

/* Without sync a commit that returned 0 would be lost to a full disk; and one that finds it full would take others along. */
Test(commit, no_sync_space_is_reserved)
{
	struct rig rig;
	unsigned made = 0;
	int result = 0;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	db_put(rig.db, "warm", "1");
	promise_space(rig.db); /* only the log is to find the disk full */
	rig_fail(&rig, SIM_ALLOCATE, -ENOSPC, true);
	while (!result && made < 10000) {
		struct slf_txn *txn = txn_begin(rig.db, SLF_WRITE);

		must_work(slf_put(txn, SLF_MAIN, text("key"), slice(&made, sizeof(made))));
		result = slf_commit(txn, NULL);
		made += result == 0;
	}
	cr_assert_eq(result, -ENOSPC);
	cr_assert_gt(made, 0);
	must_work(slf_sync(rig.db, NULL));
	must_work(commit_check(rig.commit));
	sim_disk_clear_faults(rig.disk);
	db_put(rig.db, "after", "1");
	must_work(slf_sync(rig.db, NULL));
	must(survives(&rig, "after") && survives(&rig, "key"));
	rig_close(&rig);
}

/* Puts would take the room that deletes, checkpoints and the next opening live on: a full disk could never be emptied. */
Test(commit, puts_leave_room_for_deletes)
{
	static const int modes[] = { SLF_SYNC_COMMIT, SLF_SYNC_NONE };
	char name[32] = "";

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		unsigned deleted = 0, n = 0;
		struct slf_txn *txn = NULL;
		struct rig rig;
		int result = 0;

		rig_open(&rig, SLF_NO_THREADS, modes[i]);
		for (n = 0; n < 200; n++) {
			snprintf(name, sizeof(name), "key %u", n);
			db_put(rig.db, name, "value");
		}
		promise_space(rig.db); /* only the log is to find the disk full */
		rig_fail(&rig, SIM_ALLOCATE, -ENOSPC, true);
		for (n = 0; !result; n++) {
			must(n < 10000);
			txn = txn_begin(rig.db, SLF_WRITE);
			must_work(slf_put(txn, SLF_MAIN, text("more"), slice(&n, sizeof(n))));
			result = slf_commit(txn, NULL);
		}
		cr_assert_eq(result, -ENOSPC);
		for (result = 0; !result && deleted < 200; deleted += !result) {
			txn = txn_begin(rig.db, SLF_WRITE);
			snprintf(name, sizeof(name), "key %u", deleted);
			must_work(slf_del(txn, SLF_MAIN, text(name)));
			result = slf_commit(txn, NULL);
		}
		cr_assert_geq(deleted, 12, "%u deletes, then %d", deleted, result);
		must_work(commit_check(rig.commit));
		must_work(slf_sync(rig.db, NULL));
		rig_close(&rig);
	}
}

/* ---- Waiting ----------------------------------------------------------------------------------------------------- */

/* Waiting for a commit that nobody has made would hang, or say that it is durable. */
Test(commit, wait_for_what_was_not_made)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	struct rig rig;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	seq = db_put(rig.db, "key", "1");
	must_work(slf_wait(rig.db, seq, -1));
	must_work(slf_wait(rig.db, 0, 0));
	cr_assert_eq(slf_wait(rig.db, seq + 1, -1), -EINVAL);
	must_work(slf_errinfo(&info));
	cr_assert_eq(info.code, -EINVAL);
	cr_assert_eq(slf_wait(rig.db, UINT64_MAX, 0), -EINVAL);
	seq = put_async(&rig, "key", 10);
	cr_assert_eq(slf_wait(rig.db, seq + 1, -1), -EINVAL);
	must_work(slf_wait(rig.db, seq, -1));
	rig_close(&rig);
}

/* A limit of time would not be kept, or who gives up would take the wake-up of somebody else along. */
Test(commit, wait_times_out)
{
	struct rig rig;
	struct caller leader = { 0 }, patient = { .timeout_ns = -1 }, hasty[3] = { 0 };
	uint64_t start;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "leader", caller_commit);
	wait_until_stopped(&rig);
	patient.seq = put_async(&rig, "behind", 100);
	for (unsigned i = 0; i < 3; i++) {
		hasty[i].seq = patient.seq;
		hasty[i].timeout_ns = 1000000 * i;
	}
	start = clock_now_ns();
	callers_start(&rig, &patient, 1, "", caller_wait);
	callers_start(&rig, hasty, 3, "", caller_wait);
	callers_join(hasty, 3);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(hasty[i].result, -ETIMEDOUT);
	cr_assert_lt(clock_now_ns() - start, 10 * NS_PER_S);
	must(!atomic_load(&patient.done));
	atomic_store(&rig.gate.shut, false);
	callers_join(&leader, 1);
	callers_join(&patient, 1);
	must_work(leader.result);
	must_work(patient.result);
	must(survives(&rig, "behind"));
	rig_close(&rig);
}

/* With the flusher at work an asynchronous commit becomes durable by itself, or it would wait for ever. */
Test(commit, flusher_completes_asynchronous_commits)
{
	struct rig rig;
	struct pollfd descriptor = { .events = POLLIN };
	uint64_t seq, count;

	rig_open(&rig, 0, SLF_SYNC_COMMIT);
	descriptor.fd = slf_eventfd(rig.db);
	cr_assert_geq(descriptor.fd, 0);
	cr_assert_eq(slf_eventfd(rig.db), descriptor.fd);
	seq = put_async(&rig, "key", 100);
	do {
		cr_assert_eq(poll(&descriptor, 1, 10000), 1);
		cr_assert_eq(read(descriptor.fd, &count, sizeof(count)), sizeof(count));
	} while (atomic_load(&rig.commit->durable_seq) < seq);
	must_work(slf_wait(rig.db, seq, 0));
	must(has_key(rig.db, "key") && survives(&rig, "key"));
	rig_close(&rig);
}

/* The eventfd would not be raised for what is durable or has failed, or for what is open: a loop would wait for ever. */
Test(commit, eventfd)
{
	struct rig rig;
	uint64_t seq, count = 0;
	int fd;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "key", "0");
	fd = slf_eventfd(rig.db);
	cr_assert_eq(read(fd, &count, sizeof(count)), -1);
	db_put(rig.db, "key", "1");
	db_put(rig.db, "key", "2");
	cr_assert_eq(read(fd, &count, sizeof(count)), sizeof(count));
	cr_assert_eq(count, 2);
	seq = put_async(&rig, "key", RIG_LARGE_BYTES);
	cr_assert_eq(read(fd, &count, sizeof(count)), -1);
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -EIO);
	cr_assert_eq(read(fd, &count, sizeof(count)), sizeof(count));
	cr_assert_eq(count, 1);
	db_put(rig.db, "key", "3");
	cr_assert_eq(read(fd, &count, sizeof(count)), sizeof(count));
	cr_assert_eq(count, 1);
	seq = put_async(&rig, "key", 100);
	rig_fail(&rig, SIM_WRITE, -EIO, true);
	cr_assert_eq(slf_wait(rig.db, seq, -1), SLF_EUNKNOWN);
	cr_assert_eq(read(fd, &count, sizeof(count)), sizeof(count));
	cr_assert_eq(count, 1);
	rig_close(&rig);
	cr_assert_eq(read(fd, &count, sizeof(count)), -1);
	cr_assert_eq(errno, EBADF);
}

/* ---- Waiting for what is in flight ------------------------------------------------------------------------------- */

/* Who waits for a commit that another thread is flushing would sleep on when it is durable, for only one of them is woken; or,
 * behind one that failed, be told that one's fate. */
static void wait_for_the_flight(bool failed_before)
{
	struct rig rig;
	struct caller leader = { .timeout_ns = -1 }, waiters[4] = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	if (failed_before) {
		uint64_t seq = put_async(&rig, "failed", RIG_LARGE_BYTES);

		rig_fail(&rig, SIM_WRITE, -EIO, false);
		cr_assert_eq(slf_wait(rig.db, seq, -1), -EIO);
	}
	leader.seq = put_async(&rig, "key", 100);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "", caller_wait);
	wait_until_stopped(&rig);
	for (unsigned i = 0; i < 4; i++) {
		waiters[i].seq = leader.seq;
		waiters[i].timeout_ns = -1;
	}
	callers_start(&rig, waiters, 4, "", caller_wait);
	usleep(50000);
	atomic_store(&rig.gate.shut, false);
	cr_assert_eq(callers_done(waiters, 4), 4, "a waiter sleeps on");
	callers_join(&leader, 1);
	callers_join(waiters, 4);
	for (unsigned i = 0; i < 4; i++)
		must_work(waiters[i].result);
	rig_close(&rig);
}

Test(commit, all_that_wait_for_the_flight)
{
	wait_for_the_flight(false);
	wait_for_the_flight(true);
}

/* A commit without changes waits for its base, which is in flight, and takes the wake-up of the one that should lead next. */
Test(commit, empty_commits_do_not_take_wake_ups)
{
	struct rig rig;
	struct caller leader = { .timeout_ns = -1 }, empty[2] = { 0 }, behind = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	leader.seq = put_async(&rig, "key", 100);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "", caller_wait);
	wait_until_stopped(&rig);
	callers_start(&rig, empty, 2, "", caller_commit_nothing);
	usleep(50000);
	callers_start(&rig, &behind, 1, "behind", caller_commit);
	wait_until_gathered(&rig, 1);
	atomic_store(&rig.gate.shut, false);
	cr_assert_eq(callers_done(empty, 2), 2, "an empty commit sleeps on");
	cr_assert_eq(callers_done(&behind, 1), 1, "nobody leads");
	callers_join(&leader, 1);
	callers_join(empty, 2);
	callers_join(&behind, 1);
	rig_close(&rig);
}

/* The handle is poisoned beside a flight: the one of those behind it that is woken to lead does not, and the others sleep on. */
Test(commit, poison_ends_all_waits)
{
	struct rig rig;
	struct caller leader = { .timeout_ns = -1 }, behind[3] = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	leader.seq = put_async(&rig, "key", 100);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "", caller_wait);
	wait_until_stopped(&rig);
	callers_start(&rig, behind, 3, "behind", caller_commit);
	wait_until_gathered(&rig, 3);
	commit_poison(rig.commit);
	atomic_store(&rig.gate.shut, false);
	cr_assert_eq(callers_done(behind, 3), 3, "a waiter sleeps on");
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(behind[i].result, SLF_EUNKNOWN);
	callers_join(&leader, 1);
	callers_join(behind, 3);
	rig_close(&rig);
}

/* Between the two steps of an acknowledgement a durable snapshot would show a commit that the next snapshot does not. */
Test(commit, durable_snapshot_is_not_ahead)
{
	struct slf_txn *durable, *newest;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	put_async(&rig, "key", 100);
	version_settle(&rig.db->core.versions, rig.db->core.versions.tip);
	durable = txn_begin(rig.db, SLF_READ | SLF_DURABLE);
	newest = txn_begin(rig.db, SLF_READ);
	cr_assert_leq(slf_txn_seq(durable), slf_txn_seq(newest));
	slf_abort(durable);
	slf_abort(newest);
	rig_close(&rig);
}

/* Without threads nobody would ever flush what is committed. */
Test(commit, automatic_flush_without_threads)
{
	struct slf_info info = { .size = sizeof(info) };
	struct rig rig;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_AUTO);
	db_put(rig.db, "first", "1");
	db_put(rig.db, "second", "2");
	usleep(120000); /* more than the standard of auto_sync_ns */
	seq = db_put(rig.db, "third", "3");
	must_work(slf_info(rig.db, &info));
	cr_assert_eq(info.durable_seq, seq);
	must(survives(&rig, "third"));
	rig_close(&rig);
}

/* Slabs that are written and not flushed lie below one that fails: they would be told to be durable, and be taken back. */
Test(commit, abort_above_a_slab_that_is_not_flushed)
{
	struct rig rig;
	uint64_t seqs[3], failed;
	char key[16];

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < 3; i++) { /* the third has 64 KiB written out */
		snprintf(key, sizeof(key), "key%u", i);
		seqs[i] = put_async(&rig, key, MEDIUM_BYTES);
	}
	failed = put_async(&rig, "failed", RIG_LARGE_BYTES);
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_wait(rig.db, failed, -1), -EIO);
	for (unsigned i = 0; i < 3; i++) {
		int result = slf_wait(rig.db, seqs[i], -1);

		snprintf(key, sizeof(key), "key%u", i);
		cr_assert_eq(has_key(rig.db, key), result == 0);
		cr_assert_eq(survives(&rig, key), result == 0);
	}
	db_put(rig.db, "after", "1");
	must(survives(&rig, "after"));
	rig_close(&rig);
}
