/* SPDX-License-Identifier: MIT */
/* Commits and recoveries in which an allocation fails, each in turn: they are there, or they are not, and nobody is told otherwise. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "fault_memory.h"
#include "gate_rig.h"

#define VALUES 40u
#define VALUE_BYTES 30000u /* more of them than a record of the log takes: they go to bulk in chunks */

static const uint8_t value[VALUE_BYTES];

/* Whether any allocation was made to fail. */
static bool disarm(void)
{
	uint64_t failed = 0;

	fault_memory_disarm(&failed);
	return failed != 0;
}

/* A slab that cannot be written, and no memory to note that its commits have failed: they would be told to be durable. */
Test(commit_memory, aborted_commit)
{
	unsigned poisoned = 0, told = 0;
	bool failed = true;

	for (uint64_t nth = 1; failed; nth++) {
		struct rig rig;
		uint64_t seq;
		int result;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		db_put(rig.db, "before", "1");
		seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
		rig_fail(&rig, SIM_WRITE, -EIO, false);
		fault_memory_arm(nth, false);
		result = commit_write_out(rig.commit);
		failed = disarm();
		must(result == -EIO || result == SLF_EUNKNOWN);
		if (commit_check(rig.commit)) {
			cr_assert_eq(slf_wait(rig.db, seq, -1), SLF_EUNKNOWN);
			poisoned++;
		} else {
			cr_assert_eq(slf_wait(rig.db, seq, -1), -EIO);
			must(!has_key(rig.db, "failed"));
			db_put(rig.db, "after", "1");
			must(survives(&rig, "after") && !survives(&rig, "failed"));
			told++;
		}
		rig_close(&rig);
	}
	printf("commit_memory aborted_commit: %u times poisoned, %u told\n", poisoned, told);
	cr_assert_geq(poisoned, 2);
	cr_assert_gt(told, 0);
}

/* Commits that are shown already, and the log goes on to its next extent for them: without memory the handle would be poisoned, and
 * they be lost. */
Test(commit_memory, next_extent_of_the_log)
{
	bool failed = true;

	for (uint64_t nth = 1; failed; nth++) {
		const struct log *log;
		struct rig rig;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
		log = &rig.db->core.log;
		rig.db->core.log.live_capacity = log->live_count; /* as when there are many extents */
		for (unsigned i = 0; log_room(log) >= commit_load(rig.commit).gathered; i++) {
			char key[16];

			snprintf(key, sizeof(key), "key%u", i % 3);
			put_async(&rig, key, 30000);
			if (log_room(log) > 300000)
				must_work(commit_write_out(rig.commit));
		}
		fault_memory_arm(nth, false);
		must_work(commit_write_out(rig.commit));
		failed = disarm();
		must_work(commit_check(rig.commit));
		rig_close(&rig);
	}
}

/* One commit of values in the log's chunks, and in bulk, with all its allocations failing in turn. */
static void commit_with_little_memory(uint64_t log_bytes)
{
	unsigned refused = 0;
	bool failed = true;

	for (uint64_t nth = 1; failed; nth++) {
		struct slf_txn *txn;
		struct rig rig;
		int result;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		db_put(rig.db, "before", "1");
		txn = txn_begin(rig.db, SLF_WRITE);
		for (unsigned i = 0; i < VALUES; i++) {
			char key[16];

			snprintf(key, sizeof(key), "key%u", i);
			must_work(slf_put(txn, SLF_MAIN, text(key), slice(value, sizeof(value))));
		}
		rig.db->core.tuning.log_bytes = log_bytes;
		fault_memory_arm(nth, false);
		result = slf_commit(txn, NULL);
		failed = disarm();
		refused += result != 0;
		must(failed || !result);
		must_work(commit_check(rig.commit));
		for (unsigned i = 0; i < VALUES; i += VALUES - 1) {
			char key[16];

			snprintf(key, sizeof(key), "key%u", i);
			cr_assert_eq(has_key(rig.db, key), result == 0);
			cr_assert_eq(survives(&rig, key), result == 0);
		}
		db_put(rig.db, "after", "1");
		must(survives(&rig, "before") && survives(&rig, "after"));
		rig_close(&rig);
	}
	printf("commit_memory %llu: %u times refused\n", (unsigned long long)log_bytes, refused);
	cr_assert_gt(refused, 3);
}

/* A commit would be there in part, or be refused and be there. */
Test(commit_memory, actions_in_chunks, .timeout = 120)
{
	commit_with_little_memory(64 * MIB);
}

Test(commit_memory, large_commit, .timeout = 120)
{
	commit_with_little_memory(MIB);
}

/* Of the trees of a transaction, which are looked up by an index when they are many, some would not be found again. */
Test(commit_memory, many_trees)
{
	unsigned refused = 0;
	bool failed = true;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (uint64_t nth = 1; failed; nth++) {
		struct slf_txn *txn = txn_begin(rig.db, SLF_WRITE);
		int result = 0;
		uint32_t id;

		fault_memory_arm(nth, false);
		for (unsigned i = 0; i < 2 * VALUES && !result; i++) {
			char name[16];

			snprintf(name, sizeof(name), "tree%u", i);
			result = slf_tree_open(txn, name, SLF_CREATE, &id);
			if (!result)
				result = slf_put(txn, id, text("key"), text(name));
		}
		failed = disarm();
		must(!result || (failed && result == -ENOMEM)); /* a sweep does without */
		refused += result != 0;
		slf_abort(txn);
	}
	cr_assert_gt(refused, 2);
	rig_close(&rig);
}

/* What was read from the log would be applied in part. */
Test(commit_memory, recovery, .timeout = 120)
{
	static const char *const names[] = { "one", "two", "three", "four", "five", "six" };
	struct sim_disk *disk, *origin;
	unsigned refused = 0;
	bool failed = true;
	struct slf_txn *txn;
	uint32_t id;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		txn = txn_begin(rig.db, SLF_WRITE);
		must_work(slf_tree_open(txn, names[i], SLF_CREATE, &id));
		must_work(slf_put(txn, id, text("key"), text(names[i])));
		must_work(slf_commit(txn, NULL));
	}
	must_work(slf_wait(rig.db, put_async(&rig, "large", RIG_LARGE_BYTES), -1));
	txn = txn_begin(rig.db, SLF_WRITE); /* a slab that needs more than the reader of the log has */
	for (unsigned i = 0; i < 3; i++)
		must_work(slf_put(txn, SLF_MAIN, text(names[i]), slice(value, sizeof(value))));
	must_work(slf_commit(txn, NULL));
	origin = sim_disk_kill(rig.disk);
	rig_close(&rig);
	for (uint64_t nth = 1; failed; nth++) {
		struct slf_db *db = NULL;
		int result;

		disk = sim_disk_kill(origin);
		fault_memory_arm(nth, false);
		result = disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db);
		failed = disarm();
		refused += result != 0;
		must(failed || !result);
		if (result)
			must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		txn = txn_begin(db, SLF_READ);
		for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
			struct slf_slice found;

			must_work(slf_tree_open(txn, names[i], 0, &id));
			must_work(slf_get(txn, id, text("key"), &found));
			must(slice_is(found, names[i], strlen(names[i])));
		}
		slf_abort(txn);
		must(has_key(db, "large") && has_key(db, names[2]));
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	printf("commit_memory recovery: %u times refused\n", refused);
	cr_assert_gt(refused, 10);
	sim_disk_free(origin);
}
