/* SPDX-License-Identifier: MIT */
/* Group commit with many threads: each sees its own commits, once and in order; also on a disk that refuses writes. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "gate_rig.h"
#include "wrapped.h"

static uint8_t large[RIG_LARGE_BYTES];

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

Test(commit_threads, sixteen_threads)
{
	crowd_run(0);
}

/* The same when the committers themselves do the checkpoints and there is no flusher to wake anyone. */
Test(commit_threads, sixteen_threads_without_services)
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
		result = slf_put(txn, SLF_MAIN, text("large"), slice(large, sizeof(large)));
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
Test(commit_threads, on_a_failing_disk)
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
	printf("commit_threads on_a_failing_disk: %u commits, %u refused, %llu rollbacks%s\n", good, bad,
	       (unsigned long long)rig.db->core.stats.values.rollbacks,
	       commit_check(rig.commit) ? ", poisoned" : "");
	cr_assert_gt(good, 0);
	cr_assert_gt(bad, 0);
	sim_disk_clear_faults(rig.disk);
	slf_close(rig.db);
	must_work(disk_open(rig.disk, 0, SLF_SYNC_COMMIT, &rig.db)); /* each commit gives the digest that it carries */
	rig_close(&rig);
}

/* ---- Many threads that do not stop ------------------------------------------------------------------------------- */

struct busy {
	struct rig rig;
	_Atomic bool stop;
};

static void *commit_on(void *context)
{
	struct busy *busy = context;

	while (!atomic_load(&busy->stop))
		db_put(busy->rig.db, "key", "value");
	return NULL;
}

/* So slow that there is always somebody who has sealed a commit meanwhile. */
static void write_slowly(void *context, struct sim_disk *disk, enum sim_call call)
{
	(void)context;
	(void)disk;
	if (call == SIM_WRITE || call == SIM_SYNC)
		usleep(2000);
}

/* Who asks for all commits to be durable, or for a checkpoint, would do the flushes of those that come later, for as long as
 * they come. */
Test(commit_threads, sync_ends_beside_committers)
{
	static const int modes[] = { SLF_SYNC_COMMIT, SLF_SYNC_NONE, SLF_SYNC_NONE, SLF_SYNC_AUTO };

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(modes); i++) {
		static struct busy busy;
		struct slf_stats *stats = NULL;
		struct caller caller = { 0 };
		pthread_t threads[4];
		uint64_t slabs;

		memset(&busy, 0, sizeof(busy));
		rig_open(&busy.rig, 0, modes[i / 4]);
		stats = &busy.rig.db->core.stats.values;
		sim_disk_set_hook(busy.rig.disk, write_slowly, NULL);
		for (unsigned j = 0; j < ARRAY_SIZE(threads); j++)
			must(pthread_create(&threads[j], NULL, commit_on, &busy) == 0);
		usleep(30000);
		slabs = stats_get(&stats->log_slabs);
		callers_start(&busy.rig, &caller, 1, "", i % 2 ? caller_checkpoint : caller_sync);
		callers_done(&caller, 1);
		slabs = stats_get(&stats->log_slabs) - slabs;
		atomic_store(&busy.stop, true);
		for (unsigned j = 0; j < ARRAY_SIZE(threads); j++)
			must(pthread_join(threads[j], NULL) == 0);
		callers_join(&caller, 1);
		must_work(caller.result);
		cr_assert_lt(slabs, 50, "mode %d, %s: %u slabs", modes[i / 4], i % 2 ? "checkpoint" : "sync", (unsigned)slabs);
		rig_close(&busy.rig);
	}
}

/* ---- Beside a flight --------------------------------------------------------------------------------------------- */

static _Atomic unsigned kernel_wakes;

WRAPPED(void, futex_wake, _Atomic uint32_t *word, int count)
{
	atomic_fetch_add(&kernel_wakes, 1);
	__real_futex_wake(word, count);
}

/* A commit alone would pay for two calls into the kernel that wake nobody; who sleeps would not be woken, and who gives up not be
 * taken off the count. */
Test(commit_threads, nobody_is_woken_for_nothing)
{
	struct rig rig;
	struct caller waiting[3] = { 0 };
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	atomic_store(&kernel_wakes, 0);
	db_put(rig.db, "alone", "1");
	cr_assert_eq(atomic_load(&kernel_wakes), 0);
	seq = put_async(&rig, "flight", 10);
	atomic_store(&rig.gate.shut, true);
	for (unsigned i = 0; i < ARRAY_SIZE(waiting); i++) {
		waiting[i].seq = seq;
		waiting[i].timeout_ns = -1;
	}
	callers_start(&rig, waiting, 1, "", caller_wait); /* leads */
	wait_until_stopped(&rig);
	callers_start(&rig, waiting + 1, 2, "", caller_wait);
	while (atomic_load(&rig.commit->sleepers[0]) + atomic_load(&rig.commit->sleepers[1]) < 2)
		usleep(200);
	cr_assert_eq(slf_wait(rig.db, seq, 1000000), -ETIMEDOUT);
	atomic_store(&rig.gate.shut, false);
	callers_join(waiting, 3);
	for (unsigned i = 0; i < ARRAY_SIZE(waiting); i++)
		must_work(waiting[i].result);
	cr_assert_gt(atomic_load(&kernel_wakes), 0);
	cr_assert_eq(atomic_load(&rig.commit->sleepers[0]) + atomic_load(&rig.commit->sleepers[1]), 0);
	atomic_store(&kernel_wakes, 0);
	db_put(rig.db, "again", "1");
	cr_assert_eq(atomic_load(&kernel_wakes), 0);
	rig_close(&rig);
}

/* A commit that is sealed while somebody waits for another one would stay in memory until more come, though the flusher has
 * promised to flush it in time, or to write it. */
Test(commit_threads, flusher_hears_of_what_was_sealed_beside_a_flight)
{
	static const int modes[] = { SLF_SYNC_AUTO, SLF_SYNC_NONE };

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		struct caller waiter = { .timeout_ns = -1 };
		struct rig rig;
		bool there = false;

		rig_open(&rig, 0, modes[i]);
		atomic_store(&rig.gate.shut, true);
		waiter.seq = put_async(&rig, "first", 100);
		callers_start(&rig, &waiter, 1, "", caller_wait);
		wait_until_stopped(&rig);
		usleep(300000); /* the flusher finds nothing to do, and sleeps */
		put_async(&rig, "beside", 100);
		atomic_store(&rig.gate.shut, false);
		callers_join(&waiter, 1);
		must_work(waiter.result);
		for (unsigned tries = 0; tries < 30 && !there; tries++) {
			usleep(100000);
			there = modes[i] == SLF_SYNC_AUTO ? survives(&rig, "beside") : comes_back(&rig, "beside");
		}
		cr_assert(there, "mode %d", modes[i]);
		rig_close(&rig);
	}
}

/* Commits of one size until another one would not fit into the group that fills, which stays there. */
static void fill_group_up(struct rig *rig, const char *name)
{
	static const size_t sizes[] = { 30000, 3000, 300 };
	char key[32];
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		while (commit_load(rig->commit).gathered + sizes[i] + 256 < GROUP_BYTES) {
			snprintf(key, sizeof(key), "%s%u", name, n++);
			put_async(rig, key, sizes[i]);
		}
}

static void *caller_write_out(void *context)
{
	struct caller *caller = context;

	caller->result = commit_write_out(caller->rig->commit);
	atomic_store(&caller->done, true);
	return NULL;
}

static void start_flight(struct rig *rig, struct caller *leader)
{
	atomic_store(&rig->gate.stopped, 0);
	atomic_store(&rig->gate.shut, true);
	*leader = (struct caller){ 0 };
	callers_start(rig, leader, 1, "", caller_write_out);
	wait_until_stopped(rig);
}

static void land(struct rig *rig, struct caller *leader)
{
	atomic_store(&rig->gate.shut, false);
	callers_join(leader, 1);
	must_work(leader->result);
}

/* Where the group in flight does not fit into what is left of an extent, the one that fills behind it would find no place in
 * the next, on a full disk, though all its commits have been promised theirs. */
Test(commit_threads, no_sync_space_for_two_full_groups)
{
	struct caller leader;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	must_work(log_reserve(&rig.db->core.log, EXTENT_BYTES));
	put_async(&rig, "first", 100);
	start_flight(&rig, &leader);
	fill_group_up(&rig, "a");
	land(&rig, &leader);
	start_flight(&rig, &leader);
	fill_group_up(&rig, "b");
	land(&rig, &leader);
	promise_space(rig.db); /* only the log is to find the disk full, */
	rig.db->core.extents.spindles[0].allocated_end = 0; /* and not what is allocated ahead for the heap */
	rig_fail(&rig, SIM_ALLOCATE, -ENOSPC, true);
	cr_assert_lt(log_room(&rig.db->core.log), GROUP_BYTES);
	start_flight(&rig, &leader); /* stops where it announces the next extent */
	fill_group_up(&rig, "c");
	land(&rig, &leader);
	must_work(slf_sync(rig.db, NULL));
	must_work(commit_check(rig.commit));
	must(survives(&rig, "b0") && survives(&rig, "c0"));
	rig_close(&rig);
}

/* A flush of the flusher's zeros fails: the system may have dropped with them what a commit has written, which would be told
 * to be durable. */
Test(commit_threads, flush_of_zeros_that_fails)
{
	static const uint8_t blob[65000];
	struct slf_txn *txn, *next = NULL;
	struct rig rig;
	int result;

	rig_open(&rig, 0, SLF_SYNC_COMMIT);
	rig.gate.call = SIM_SYNC; /* which commits without values in bulk do not need */
	atomic_store(&rig.gate.shut, true);
	rig_fail(&rig, SIM_SYNC, -EIO, false);
	while (!log_low(&rig.db->core.log)) {
		txn = txn_begin(rig.db, SLF_WRITE);
		must_work(slf_txn_blob(txn, slice(blob, sizeof(blob))));
		must_work(slf_commit(txn, NULL));
	}
	wait_until_stopped(&rig);
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("beside"), text("value")));
	atomic_store(&rig.gate.shut, false);
	for (unsigned tries = 0; tries < 3000 && !atomic_load(&rig.commit->poisoned); tries++)
		usleep(1000);
	result = slf_commit(txn, NULL);
	cr_assert(result == SLF_EPOISONED || result == SLF_EUNKNOWN, "%d", result);
	cr_assert_eq(slf_begin(rig.db, SLF_WRITE, &next), SLF_EPOISONED);
	rig_close(&rig);
}

/* What the flusher is told of the disk, and tells. */
struct preparing {
	struct sim_disk *disk;
	_Atomic bool full;
	_Atomic unsigned tries, lines;
};

/* For the flusher alone there is no space. */
static void refuse_flusher(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct preparing *preparing = context;
	char name[16] = "";

	(void)disk;
	pthread_getname_np(pthread_self(), name, sizeof(name));
	if (call != SIM_ALLOCATE || strcmp(name, "slf-flush") != 0)
		return;
	sim_disk_clear_faults(preparing->disk);
	if (atomic_load(&preparing->full))
		sim_disk_add_fault(preparing->disk, &(struct sim_fault){ .call = SIM_ALLOCATE, .error = -ENOSPC });
	atomic_fetch_add(&preparing->tries, 1);
}

static void hear_flusher(void *context, int level, const char *text)
{
	struct preparing *preparing = context;

	(void)level;
	if (strstr(text, "the next log extent cannot be prepared"))
		atomic_fetch_add(&preparing->lines, 1);
}

/* Commits until the flusher has tried so many times more. */
static void commit_until_tried(struct rig *rig, struct preparing *preparing, unsigned times)
{
	static const uint8_t blob[65000];

	for (unsigned i = 0; i < times; i++) {
		unsigned before = atomic_load(&preparing->tries);

		while (atomic_load(&preparing->tries) == before) {
			struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);

			must_work(slf_txn_blob(txn, slice(blob, log_low(&rig->db->core.log) ? 10 : sizeof(blob))));
			must_work(slf_commit(txn, NULL));
			usleep(1000);
		}
	}
}

/* A disk that stays full would fill the log of the host with one line, for each commit that still finds room; or one that is
 * full again would not be told. */
Test(commit_threads, full_disk_is_told_once)
{
	struct preparing preparing = { 0 };
	struct rig rig;

	rig_open(&rig, 0, SLF_SYNC_COMMIT);
	preparing.disk = rig.disk;
	rig.db->core.tuning.log_context = &preparing;
	rig.db->core.tuning.log = hear_flusher;
	sim_disk_set_hook(rig.disk, refuse_flusher, &preparing);
	atomic_store(&preparing.full, true);
	commit_until_tried(&rig, &preparing, 6);
	cr_assert_eq(atomic_load(&preparing.lines), 1);
	atomic_store(&preparing.full, false);
	commit_until_tried(&rig, &preparing, 1);
	while (log_low(&rig.db->core.log))
		usleep(1000);
	atomic_store(&preparing.full, true);
	commit_until_tried(&rig, &preparing, 6);
	cr_assert_eq(atomic_load(&preparing.lines), 2);
	atomic_store(&preparing.full, false);
	rig_close(&rig);
}

/* Who waits for a commit in flight would wait for the group that has gathered behind it before they come. */
Test(commit_threads, all_that_wait_for_the_flight_before_a_group)
{
	struct rig rig;
	struct caller leader = { .timeout_ns = -1 }, behind = { 0 }, waiters[4] = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	leader.seq = put_async(&rig, "key", 100);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "", caller_wait);
	wait_until_stopped(&rig);
	put_async(&rig, "gathered", 100);
	for (unsigned i = 0; i < 4; i++) {
		waiters[i].seq = leader.seq;
		waiters[i].timeout_ns = -1;
	}
	callers_start(&rig, waiters, 4, "", caller_wait);
	usleep(50000);
	callers_start(&rig, &behind, 1, "behind", caller_commit);
	wait_until_gathered(&rig, 2);
	atomic_store(&rig.gate.shut, false);
	cr_assert_eq(callers_done(waiters, 4), 4, "a waiter sleeps on");
	cr_assert_eq(callers_done(&behind, 1), 1, "nobody leads");
	must(survives(&rig, behind.key));
	callers_join(&leader, 1);
	callers_join(&behind, 1);
	callers_join(waiters, 4);
	rig_close(&rig);
}

/* Who asks why would be told of what came later, and follows from it. */
Test(commit_threads, first_reason_is_kept)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	error_set(-EIO, NULL, -1, OFFSET_NONE, "the disk has gone");
	commit_poison(rig.commit);
	error_set(-ENOSPC, NULL, -1, OFFSET_NONE, "something else");
	commit_poison(rig.commit);
	cr_assert_eq(commit_check(rig.commit), SLF_EPOISONED);
	must_work(slf_errinfo(&info));
	must(strstr(info.text, "the disk has gone") != NULL);
	must_work(commit_sync(rig.commit, NULL)); /* there is nothing that could be in doubt */
	rig_close(&rig);
}

/* A sync that has nothing to write, but to flush, would write an empty slab. */
Test(commit_threads, sync_of_what_is_written)
{
	struct rig rig;
	uint64_t writes;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	db_put(rig.db, "key", "value");
	must_work(commit_write_out(rig.commit));
	writes = sim_disk_calls(rig.disk, SIM_WRITE);
	must_work(slf_sync(rig.db, NULL));
	must_work(slf_sync(rig.db, NULL));
	cr_assert_eq(sim_disk_calls(rig.disk, SIM_WRITE), writes);
	must(survives(&rig, "key"));
	rig_close(&rig);
}

/* Without threads nobody would ever flush what has gathered. */
Test(commit_threads, automatic_flush_of_bytes_without_threads)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_info info = { .size = sizeof(info) };
	struct rig rig;
	uint64_t seq = 0;

	options.flags = SLF_NO_THREADS;
	options.sync = SLF_SYNC_AUTO;
	options.auto_sync_ns = UINT64_MAX;
	options.auto_sync_bytes = 64 * KIB;
	rig_open_with(&rig, &options);
	seq = db_put(rig.db, "first", "1");
	must_work(slf_info(rig.db, &info));
	cr_assert_lt(info.durable_seq, seq);
	for (unsigned i = 0; i < 20; i++) {
		stamp_keys(rig.db, 0, 400, i);
		must_work(slf_info(rig.db, &info));
		if (info.durable_seq > seq)
			break;
	}
	cr_assert_gt(info.durable_seq, seq);
	rig_close(&rig);
}

/* The time runs from the opening on: the first commit does not wait for a flush of its own. */
Test(commit_threads, no_flush_before_its_time_without_threads)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_info info = { .size = sizeof(info) };
	struct rig rig;

	options.flags = SLF_NO_THREADS;
	options.sync = SLF_SYNC_AUTO;
	options.auto_sync_ns = 3600 * NS_PER_S;
	rig_open_with(&rig, &options);
	db_put(rig.db, "first", "1");
	must_work(slf_info(rig.db, &info));
	cr_assert_lt(info.durable_seq, info.seq);
	rig_close(&rig);
}
