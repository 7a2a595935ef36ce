/* SPDX-License-Identifier: MIT */
/* Group commit: who is told what when slabs reach the disk, fail to, or leave it in doubt; on the simulated disk. */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "db.h"
#include "scratch.h"
#include "sim_disk.h"

#define PATH "/tmp/db"
#define LARGE_BYTES 40000u /* goes to bulk at once, so its slab has a part and is not written with IO_DSYNC */
#define MEDIUM_BYTES 30000u
#define SECONDS_MAX 60

static uint8_t large[LARGE_BYTES];

/* Stops the calls of one kind while it is shut. */
struct gate {
	enum sim_call call;
	_Atomic bool shut;
	_Atomic unsigned stopped; /* calls that have come to it */
};

struct rig {
	struct sim_disk *disk;
	struct slf_db *db;
	struct commit *commit;
	struct gate gate;
};

static void stop_at_gate(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct gate *gate = context;

	(void)disk;
	if (call != gate->call || !atomic_load(&gate->shut))
		return;
	atomic_fetch_add(&gate->stopped, 1);
	while (atomic_load(&gate->shut))
		usleep(200);
}

static int open_on(struct sim_disk *disk, unsigned flags, int sync, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags;
	options.sync = sync;
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(PATH, &options, io, db);
}

static void rig_open(struct rig *rig, unsigned flags, int sync)
{
	*rig = (struct rig){ .disk = sim_disk_new(), .gate = { .call = SIM_WRITE } };
	alarm(SECONDS_MAX);
	sim_disk_set_hook(rig->disk, stop_at_gate, &rig->gate);
	must_work(open_on(rig->disk, SLF_CREATE | flags, sync, &rig->db));
	rig->commit = &rig->db->core.commit;
}

static void rig_close(struct rig *rig)
{
	sim_disk_clear_faults(rig->disk);
	slf_close(rig->db);
	sim_disk_free(rig->disk);
	alarm(0);
}

/* Writes that fail do so when all is written. */
static void rig_fail(struct rig *rig, enum sim_call call, int error, bool sticky)
{
	sim_disk_add_fault(rig->disk, &(struct sim_fault){ .call = call, .error = error, .sticky = sticky,
							   .partial = true });
}

/* One put of so many bytes, committed without a wait: its seq. */
static uint64_t put_async(struct rig *rig, const char *key, size_t size)
{
	struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);
	uint64_t seq = 0;

	must_work(slf_put(txn, SLF_MAIN, text(key), slice(large, size)));
	must_work(slf_commit_async(txn, &seq));
	return seq;
}

static bool has(struct slf_db *db, const char *key)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	int result = slf_get(txn, SLF_MAIN, text(key), NULL);

	must(result == 0 || result == SLF_NOTFOUND);
	slf_abort(txn);
	return result == 0;
}

/* Is the key in the database on the disk, which it frees? */
static bool disk_has(struct sim_disk *disk, const char *key)
{
	struct slf_db *db = NULL;
	bool found;

	must_work(open_on(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	found = has(db, key);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return found;
}

/* Does a power cut that takes all it can leave the key? */
static bool survives(struct rig *rig, const char *key)
{
	return disk_has(sim_disk_crash(rig->disk, NULL, NULL), key);
}

/* Does the next opening find the key when only the process ends? */
static bool comes_back(struct rig *rig, const char *key)
{
	return disk_has(sim_disk_kill(rig->disk), key);
}

/* Records that wait for the next slab. */
static unsigned gathered(struct rig *rig)
{
	unsigned count;

	pthread_mutex_lock(&rig->commit->lock);
	count = rig->commit->groups[rig->commit->fill].record_count;
	pthread_mutex_unlock(&rig->commit->lock);
	return count;
}

static void wait_until_stopped(struct rig *rig)
{
	while (!atomic_load(&rig->gate.stopped))
		usleep(200);
}

static void wait_until_gathered(struct rig *rig, unsigned count)
{
	while (gathered(rig) < count)
		usleep(200);
	usleep(20000); /* from there to the futex */
}

/* A thread that makes one call. */
struct caller {
	struct rig *rig;
	pthread_t thread;
	char key[16];
	uint64_t seq;
	int64_t timeout_ns;
	int result;
	_Atomic bool done;
};

static void *caller_commit(void *context)
{
	struct caller *caller = context;
	struct slf_txn *txn = NULL;

	caller->result = slf_begin(caller->rig->db, SLF_WRITE, &txn);
	if (!caller->result) {
		must_work(slf_put(txn, SLF_MAIN, text(caller->key), text("value")));
		caller->result = slf_commit(txn, &caller->seq);
	}
	atomic_store(&caller->done, true);
	return NULL;
}

static void *caller_commit_nothing(void *context)
{
	struct caller *caller = context;
	struct slf_txn *txn = NULL;

	caller->result = slf_begin(caller->rig->db, SLF_WRITE, &txn);
	if (!caller->result)
		caller->result = slf_commit(txn, &caller->seq);
	atomic_store(&caller->done, true);
	return NULL;
}

static void *caller_wait(void *context)
{
	struct caller *caller = context;

	caller->result = slf_wait(caller->rig->db, caller->seq, caller->timeout_ns);
	atomic_store(&caller->done, true);
	return NULL;
}

static void callers_start(struct rig *rig, struct caller *callers, unsigned count, const char *name,
			  void *(*main)(void *context))
{
	for (unsigned i = 0; i < count; i++) {
		callers[i].rig = rig;
		snprintf(callers[i].key, sizeof(callers[i].key), "%s%u", name, i);
		must(pthread_create(&callers[i].thread, NULL, main, &callers[i]) == 0);
	}
}

static void callers_join(struct caller *callers, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		must(pthread_join(callers[i].thread, NULL) == 0);
}

/* All of them have returned after a while; else the first that has not. */
static unsigned callers_done(struct caller *callers, unsigned count)
{
	unsigned done = 0;

	for (unsigned tries = 0; tries < 3000 && done < count; tries++) {
		for (done = 0; done < count && atomic_load(&callers[done].done);)
			done++;
		usleep(1000);
	}
	return done;
}

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
	must(!has(rig.db, "key0"));
	must_work(slf_wait(rig.db, seqs[19], -1));
	cr_assert_eq(rig.db->core.stats.values.log_slabs, slabs + 1);
	cr_assert_leq(sim_disk_calls(rig.disk, SIM_SYNC), syncs + 1);
	must(has(rig.db, "key0") && has(rig.db, "key19") && survives(&rig, "key19"));
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
	must_work(slf_wait(rig.db, put_async(&rig, "large", LARGE_BYTES), -1));
	must(survives(&rig, "large"));
	db_put(rig.db, "small", "1");
	must(survives(&rig, "large") && survives(&rig, "small"));
	rig_close(&rig);
	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	put_async(&rig, "first", LARGE_BYTES);
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
	seq = put_async(&rig, "failed", LARGE_BYTES);
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -EIO);
	must_work(sim_disk_peek_durable(rig.disk, PATH, position_offset(rig.db->core.log.end.position), place,
					sizeof(place)));
	cr_assert_eq(memcmp(place, zeros, sizeof(place)), 0);
	must_work(commit_check(rig.commit));
	must(!has(rig.db, "failed") && has(rig.db, "before"));
	must(!survives(&rig, "failed") && survives(&rig, "before"));
	must(!comes_back(&rig, "failed") && comes_back(&rig, "before"));
	next = db_put(rig.db, "after", "1");
	cr_assert_gt(next, seq);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -EIO);
	must_work(slf_wait(rig.db, next, 0));
	must(!has(rig.db, "failed") && survives(&rig, "after") && !survives(&rig, "failed"));
	rig_close(&rig);
}

/* A transaction that stands on commits which are taken back would keep their changes. */
Test(commit, abort_dooms_what_stands_on_it)
{
	struct rig rig;
	struct slf_txn *txn;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	seq = put_async(&rig, "failed", LARGE_BYTES);
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_get(txn, SLF_MAIN, text("failed"), NULL));
	must_work(slf_put(txn, SLF_MAIN, text("doomed"), text("value")));
	rig_fail(&rig, SIM_WRITE, -ENOSPC, false);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -ENOSPC);
	cr_assert_eq(slf_commit(txn, NULL), SLF_ECANCELLED);
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
	first.seq = put_async(&rig, "failed", LARGE_BYTES);
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
		must(!has(rig.db, behind[i].key) && !survives(&rig, behind[i].key));
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
		first[i] = put_async(&rig, "one", LARGE_BYTES);
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
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(behind[i].result, SLF_EUNKNOWN);
		cr_assert_eq(slf_wait(rig.db, first.seq + 1 + i, -1), SLF_EUNKNOWN);
	}
	cr_assert_eq(slf_sync(rig.db, NULL), SLF_EUNKNOWN);
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
	doubt(SIM_SYNC, LARGE_BYTES, false);
	doubt(SIM_SYNC, LARGE_BYTES, true);
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
	seq = put_async(&rig, "doubt0", LARGE_BYTES);
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
	must(has(rig.db, "visible"));
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
	rig.db->core.reserved_bytes = 64 * MIB; /* only the log is to find the disk full */
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
	must(has(rig.db, "key") && survives(&rig, "key"));
	rig_close(&rig);
}

/* The eventfd would be raised for what failed, or not for what is durable. */
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
	seq = put_async(&rig, "key", LARGE_BYTES);
	cr_assert_eq(read(fd, &count, sizeof(count)), -1);
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -EIO);
	cr_assert_eq(read(fd, &count, sizeof(count)), -1);
	db_put(rig.db, "key", "3");
	cr_assert_eq(read(fd, &count, sizeof(count)), sizeof(count));
	cr_assert_eq(count, 1);
	rig_close(&rig);
	cr_assert_eq(read(fd, &count, sizeof(count)), -1);
	cr_assert_eq(errno, EBADF);
}

/* ---- Many threads ------------------------------------------------------------------------------------------------ */

#define THREADS 16
#define COMMITS_EACH 40
#define SEQS_MAX 4096

struct crowd {
	struct rig rig;
	_Atomic uint32_t counts[SEQS_MAX]; /* the counter that the commit with this seq has set; 0: not acknowledged */
};

struct member {
	struct crowd *crowd;
	pthread_t thread;
	unsigned index;
};

static uint32_t counter_read(struct slf_txn *txn, const char *key)
{
	struct slf_slice value;
	uint32_t count = 0;

	if (slf_get(txn, SLF_MAIN, text(key), &value) == 0)
		memcpy(&count, value.data, sizeof(count));
	return count;
}

/* Raises the common counter and the thread's own. */
static uint64_t counter_commit(struct slf_db *db, const char *key, uint32_t own, uint32_t *count)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	uint64_t seq = 0;

	*count = counter_read(txn, "all") + 1;
	must(counter_read(txn, key) == own);
	own++;
	must_work(slf_put(txn, SLF_MAIN, text("all"), slice(count, sizeof(*count))));
	must_work(slf_put(txn, SLF_MAIN, text(key), slice(&own, sizeof(own))));
	must_work(slf_commit(txn, &seq));
	return seq;
}

static void *member_main(void *context)
{
	struct member *member = context;
	struct crowd *crowd = member->crowd;
	struct slf_db *db = crowd->rig.db;
	char key[16];
	uint64_t before = 0;

	snprintf(key, sizeof(key), "thread%u", member->index);
	for (uint32_t own = 0; own < COMMITS_EACH; own++) {
		struct slf_txn *txn;
		uint32_t count;
		uint64_t seq = counter_commit(db, key, own, &count);

		must(seq > before && seq < SEQS_MAX);
		before = seq;
		must(atomic_exchange(&crowd->counts[seq], count) == 0);
		must(atomic_load(&crowd->rig.commit->durable_seq) >= seq);
		txn = txn_begin(db, SLF_READ);
		must(slf_txn_seq(txn) >= seq && counter_read(txn, "all") >= count && counter_read(txn, key) == own + 1);
		slf_abort(txn);
		if (own % 16 == member->index)
			must(survives(&crowd->rig, key));
	}
	return NULL;
}

/* A commit would be acknowledged before it is durable or visible, twice, in another order than it was made, or never. */
static void crowd_run(unsigned flags)
{
	static struct crowd crowd;
	struct member members[THREADS];
	uint32_t last = 0;

	memset(&crowd, 0, sizeof(crowd));
	rig_open(&crowd.rig, flags, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < THREADS; i++) {
		members[i] = (struct member){ .crowd = &crowd, .index = i };
		must(pthread_create(&members[i].thread, NULL, member_main, &members[i]) == 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		must(pthread_join(members[i].thread, NULL) == 0);
	for (unsigned seq = 0; seq < SEQS_MAX; seq++) {
		uint32_t count = atomic_load(&crowd.counts[seq]);

		if (count)
			cr_assert_eq(count, ++last);
	}
	cr_assert_eq(last, THREADS * COMMITS_EACH);
	rig_close(&crowd.rig);
}

Test(commit, sixteen_threads)
{
	crowd_run(0);
}

/* The same when the committers themselves do the checkpoints and there is no flusher to wake anyone. */
Test(commit, sixteen_threads_without_services)
{
	crowd_run(SLF_NO_THREADS);
}

/* ---- Many threads and a failing disk ----------------------------------------------------------------------------- */

struct sufferer {
	struct rig *rig;
	pthread_t thread;
	unsigned index;
	unsigned good, bad;
};

/* One commit of a value on which the next one is checked; its result. */
static int suffer_once(struct sufferer *sufferer, const char *key, uint64_t *value, struct rng *rng)
{
	struct slf_txn *txn = NULL;
	uint64_t next = rng_next(rng);
	struct slf_slice found;
	int result = slf_begin(sufferer->rig->db, SLF_WRITE, &txn);

	if (result)
		return result;
	result = slf_get(txn, SLF_MAIN, text(key), &found);
	must(*value ? result == 0 && slice_is(found, value, sizeof(*value)) : result == SLF_NOTFOUND);
	result = slf_put(txn, SLF_MAIN, text(key), slice(&next, sizeof(next)));
	if (!result)
		result = slf_put(txn, SLF_MAIN, text("large"), slice(large, LARGE_BYTES));
	if (result) { /* the disk, or what it stands on has been taken back meanwhile */
		slf_abort(txn);
		return result;
	}
	result = slf_commit(txn, NULL);
	if (!result)
		*value = next;
	return result;
}

static void *sufferer_main(void *context)
{
	struct sufferer *sufferer = context;
	struct rng rng = { sufferer->index };
	uint64_t value = 0;
	char key[16];

	snprintf(key, sizeof(key), "thread%u", sufferer->index);
	for (unsigned i = 0; i < 100 && !commit_check(sufferer->rig->commit); i++) {
		int result = suffer_once(sufferer, key, &value, &rng);

		sufferer->good += result == 0;
		sufferer->bad += result != 0;
	}
	return NULL;
}

/* Refuses a write now and then: of a value, of a slab, and when two threads meet of the zeros in the place of one. */
static void refuse(void *context, struct sim_disk *disk, enum sim_call call)
{
	_Atomic unsigned *calls = context;
	unsigned number;

	if (call != SIM_WRITE)
		return;
	number = atomic_fetch_add(calls, 1);
	if (rng_mix(number) % 5 || rng_mix(number - 1) % 5 == 0)
		return;
	sim_disk_clear_faults(disk);
	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_WRITE, .error = -ENOSPC });
}

/* A commit that was reported as failed would be seen by the next one, or one that was acknowledged be missing. */
Test(commit, threads_on_a_failing_disk)
{
	static _Atomic unsigned calls;
	struct sufferer sufferers[6] = { 0 };
	struct rig rig;
	unsigned good = 0, bad = 0;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	sim_disk_set_hook(rig.disk, refuse, &calls);
	for (unsigned i = 0; i < ARRAY_SIZE(sufferers); i++) {
		sufferers[i] = (struct sufferer){ .rig = &rig, .index = i };
		must(pthread_create(&sufferers[i].thread, NULL, sufferer_main, &sufferers[i]) == 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sufferers); i++) {
		must(pthread_join(sufferers[i].thread, NULL) == 0);
		good += sufferers[i].good;
		bad += sufferers[i].bad;
	}
	sim_disk_set_hook(rig.disk, NULL, NULL);
	printf("commit threads_on_a_failing_disk: %u commits, %u refused, %llu rollbacks%s\n", good, bad,
	       (unsigned long long)rig.db->core.stats.values.rollbacks,
	       commit_check(rig.commit) ? ", poisoned" : "");
	cr_assert_gt(good, 0);
	cr_assert_gt(bad, 0);
	sim_disk_clear_faults(rig.disk);
	slf_close(rig.db);
	must_work(open_on(rig.disk, 0, SLF_SYNC_COMMIT, &rig.db)); /* each commit gives the digest that it carries */
	rig_close(&rig);
}

/* ---- Waiting for what is in flight ------------------------------------------------------------------------------- */

/* Who waits for a commit that another thread is flushing would sleep on when it is durable: only one of them is woken. */
Test(commit, all_that_wait_for_the_flight, .disabled = true)
{
	struct rig rig;
	struct caller leader = { .timeout_ns = -1 }, waiters[4] = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
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
	rig_close(&rig);
}

/* A commit without changes waits for its base, which is in flight, and takes the wake-up of the one that should lead next. */
Test(commit, empty_commits_do_not_take_wake_ups, .disabled = true)
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

/* Slabs that are written and not flushed lie below one that fails: they would be told to be durable, and be taken back. */
Test(commit, abort_above_a_slab_that_is_not_flushed, .disabled = true)
{
	struct rig rig;
	uint64_t seqs[3], failed;
	char key[16];

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < 3; i++) { /* the third has 64 KiB written out */
		snprintf(key, sizeof(key), "key%u", i);
		seqs[i] = put_async(&rig, key, MEDIUM_BYTES);
	}
	failed = put_async(&rig, "failed", LARGE_BYTES);
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_wait(rig.db, failed, -1), -EIO);
	for (unsigned i = 0; i < 3; i++) {
		int result = slf_wait(rig.db, seqs[i], -1);

		snprintf(key, sizeof(key), "key%u", i);
		cr_assert_eq(has(rig.db, key), result == 0);
		cr_assert_eq(survives(&rig, key), result == 0);
	}
	db_put(rig.db, "after", "1");
	must(survives(&rig, "after"));
	rig_close(&rig);
}
