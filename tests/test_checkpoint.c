/* SPDX-License-Identifier: MIT */
/* Checkpoints and their install: beside snapshots and a writer, with calls that fail, and what they let go of. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gate_rig.h"

#define KEYS 400
#define DUE_BYTES 40000 /* of log, which make a checkpoint due where log_bytes is 64 KiB */

static bool txn_has_stamps(struct slf_txn *txn, unsigned from, unsigned to, uint64_t stamp)
{
	for (unsigned i = from; i < to; i++) {
		struct slf_slice value;
		char key[16];

		snprintf(key, sizeof(key), "key%04u", i);
		if (slf_get(txn, SLF_MAIN, text(key), &value) || !slice_is(value, &stamp, sizeof(stamp)))
			return false;
	}
	return true;
}

static bool has_stamps(struct slf_db *db, unsigned from, unsigned to, uint64_t stamp)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	bool has = txn_has_stamps(txn, from, to, stamp);

	slf_abort(txn);
	return has;
}

static void *checkpoint_main(void *context)
{
	struct caller *caller = context;

	caller->result = slf_checkpoint(caller->rig->db);
	atomic_store(&caller->done, true);
	return NULL;
}

/* As in the background: of what is durable, without making the rest so before. */
static void *background_main(void *context)
{
	struct caller *caller = context;

	caller->result = checkpoint_run(&caller->rig->db->core);
	atomic_store(&caller->done, true);
	return NULL;
}

/* Lines of the log. */
struct heard {
	_Atomic unsigned failed;    /* checkpoints */
	_Atomic unsigned snapshots; /* that keep much */
};

static void hear(void *context, int level, const char *line)
{
	struct heard *heard = context;

	heard->failed += level == 3 && strstr(line, "checkpoint failed") != NULL;
	heard->snapshots += strstr(line, "snapshots keep") != NULL;
}

/* For a database without threads. */
static void rig_hear(struct rig *rig, struct heard *heard)
{
	rig->db->core.tuning.log_context = heard;
	rig->db->core.tuning.log = hear;
}

static void commit_blob(struct slf_db *db, size_t size)
{
	static const uint8_t blob[DUE_BYTES];
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	must_work(slf_txn_blob(txn, slice(blob, size)));
	must_work(slf_commit(txn, NULL));
}

static uint64_t writes(struct rig *rig)
{
	return sim_disk_calls(rig->disk, SIM_WRITE) + sim_disk_calls(rig->disk, SIM_SYNC);
}

/* A checkpoint would cost something where nothing has changed. */
Test(checkpoint, nothing_to_do)
{
	struct slf_txn *txn;
	struct rig rig;
	uint64_t before, seq = 0;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	before = writes(&rig);
	must_work(slf_checkpoint(rig.db));
	cr_assert_eq(writes(&rig), before);
	stamp_keys(rig.db, 0, KEYS, 1);
	must_work(slf_checkpoint(rig.db));
	before = writes(&rig);
	must_work(slf_checkpoint(rig.db));
	cr_assert_eq(writes(&rig), before);
	/* a commit that changes no tree is a change all the same */
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_txn_blob(txn, text("blob")));
	must_work(slf_commit(txn, &seq));
	before = writes(&rig);
	must_work(slf_checkpoint(rig.db));
	cr_assert_gt(writes(&rig), before);
	cr_assert_eq(atomic_load(&rig.db->core.checkpoint.seq), seq);
	rig_close(&rig);
}

/* A checkpoint would leave out what has been committed and not waited for, and answer as if all were safe. */
Test(checkpoint, takes_asynchronous_commits_along)
{
	struct rig rig;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	seq = put_async(&rig, "key", 100);
	must(!survives(&rig, "key"));
	must_work(slf_checkpoint(rig.db));
	cr_assert_eq(atomic_load(&rig.db->core.checkpoint.seq), seq);
	must(survives(&rig, "key"));
	rig_close(&rig);
}

/* While the checkpoint waits for the disk the writer would wait for it, or a snapshot see what came later. What was committed
 * meanwhile is not in the checkpoint: it would be lost by the next opening, or applied twice. */
Test(checkpoint, writer_and_snapshots_beside_it)
{
	struct rig rig;
	struct caller checkpointer = { 0 };
	struct slf_txn *old, *newer;
	struct sim_disk *crashed;
	struct slf_db *db = NULL;
	uint64_t root;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	rig.gate.call = SIM_SYNC;
	stamp_keys(rig.db, 0, KEYS, 1);
	old = txn_begin(rig.db, SLF_READ);
	root = slf_txn_seq(old);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &checkpointer, 1, "", checkpoint_main);
	wait_until_stopped(&rig);
	stamp_keys(rig.db, 0, KEYS / 2, 2);
	newer = txn_begin(rig.db, SLF_READ);
	stamp_keys(rig.db, KEYS / 4, KEYS / 2, 3);
	must(!atomic_load(&checkpointer.done));
	must(txn_has_stamps(old, 0, KEYS, 1) && txn_has_stamps(newer, 0, KEYS / 2, 2));
	must(has_stamps(rig.db, KEYS / 4, KEYS / 2, 3));
	atomic_store(&rig.gate.shut, false);
	callers_join(&checkpointer, 1);
	must_work(checkpointer.result);
	cr_assert_eq(atomic_load(&rig.db->core.checkpoint.seq), root);
	must(txn_has_stamps(old, 0, KEYS, 1));
	must(txn_has_stamps(newer, 0, KEYS / 2, 2) && txn_has_stamps(newer, KEYS / 2, KEYS, 1));
	must(has_stamps(rig.db, 0, KEYS / 4, 2) && has_stamps(rig.db, KEYS / 4, KEYS / 2, 3));
	slf_abort(old);
	slf_abort(newer);
	crashed = sim_disk_crash(rig.disk, NULL, NULL);
	must_work(disk_open(crashed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(db->core.stats.values.replay_commits, 2);
	must(has_stamps(db, 0, KEYS / 4, 2) && has_stamps(db, KEYS / 4, KEYS / 2, 3) &&
	     has_stamps(db, KEYS / 2, KEYS, 1));
	must_work(slf_close(db));
	sim_disk_free(crashed);
	rig_close(&rig);
}

/* Without a reader on it, what the checkpoint is writing would be freed by the writer that goes on beside it. */
Test(checkpoint, frozen_version_stays)
{
	struct rig rig;
	struct caller checkpointer = { 0 };
	unsigned round;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	rig.gate.call = SIM_SYNC;
	stamp_keys(rig.db, 0, KEYS, 1);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &checkpointer, 1, "", checkpoint_main);
	wait_until_stopped(&rig);
	for (round = 2; round < 3 * VERSIONS_SWEEP_EVERY; round++)
		stamp_keys(rig.db, round % 4, KEYS, round);
	stamp_keys(rig.db, 0, KEYS, round);
	atomic_store(&rig.gate.shut, false);
	callers_join(&checkpointer, 1);
	must_work(checkpointer.result);
	must(has_stamps(rig.db, 0, KEYS, round));
	stamp_keys(rig.db, KEYS / 2, KEYS, ++round);
	must_work(slf_checkpoint(rig.db));
	must(has_stamps(rig.db, 0, KEYS / 2, round - 1) && has_stamps(rig.db, KEYS / 2, KEYS, round));
	cr_assert_lt(heap_used(rig.db->core.heap), 4 * KIB);
	rig_close(&rig);
}

/* The heap would keep what stands on disk, or let go of what a snapshot still reads. */
Test(checkpoint, lets_go_of_the_heap)
{
	struct rig rig;
	struct slf_txn *snapshot;
	uint64_t used;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	stamp_keys(rig.db, 0, KEYS, 1);
	must_work(slf_checkpoint(rig.db));
	for (unsigned i = 0; i < 2 * VERSIONS_SWEEP_EVERY; i++)
		stamp_keys(rig.db, 0, 1, 1);
	must_work(slf_checkpoint(rig.db));
	used = heap_used(rig.db->core.heap);
	cr_assert_lt(used, 4 * KIB);
	stamp_keys(rig.db, 0, KEYS, 2);
	snapshot = txn_begin(rig.db, SLF_READ);
	stamp_keys(rig.db, 0, KEYS, 3);
	must_work(slf_checkpoint(rig.db));
	must(txn_has_stamps(snapshot, 0, KEYS, 2) && has_stamps(rig.db, 0, KEYS, 3));
	cr_assert_gt(heap_used(rig.db->core.heap), used);
	slf_abort(snapshot);
	for (unsigned i = 0; i < 2 * VERSIONS_SWEEP_EVERY; i++)
		stamp_keys(rig.db, 0, 1, 3);
	must_work(slf_checkpoint(rig.db));
	cr_assert_lt(heap_used(rig.db->core.heap), 4 * KIB);
	must(has_stamps(rig.db, 0, KEYS, 3));
	rig_close(&rig);
}

/* A transaction that is open while the install runs would lose its changes, or go on with nodes that are gone. */
Test(checkpoint, install_beside_an_open_transaction)
{
	struct rig rig;
	struct caller checkpointer = { 0 };
	struct slf_txn *txn;
	uint64_t stamp = 2;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	stamp_keys(rig.db, 0, KEYS, 1);
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("key0000"), slice(&stamp, sizeof(stamp))));
	must(txn_has_stamps(txn, 0, 1, 2));
	callers_start(&rig, &checkpointer, 1, "", checkpoint_main);
	usleep(50000); /* it waits for the turn now */
	must(!atomic_load(&checkpointer.done));
	must(txn_has_stamps(txn, 0, 1, 2) && txn_has_stamps(txn, 1, KEYS, 1));
	must_work(slf_commit(txn, NULL));
	callers_join(&checkpointer, 1);
	must_work(checkpointer.result);
	must(has_stamps(rig.db, 0, 1, 2) && has_stamps(rig.db, 1, KEYS, 1));
	must(comes_back(&rig, "key0399") && survives(&rig, "key0000"));
	rig_close(&rig);
}

struct cutter {
	uint64_t seed;
	unsigned images;
};

static void cut_here(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct cutter *cutter = context;
	struct sim_disk *crashed;
	struct slf_db *db = NULL;

	if (call != SIM_WRITE && call != SIM_WRITTEN && call != SIM_SYNC && call != SIM_ALLOCATE)
		return;
	cutter->seed++;
	crashed = sim_disk_crash_seed(disk, rng_mix(cutter->seed), cutter->seed % 3 == 0);
	must_work(disk_open(crashed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must(has_stamps(db, 0, KEYS / 2, 2) && has_stamps(db, KEYS / 2, KEYS, 1) && has_key(db, "large"));
	must_work(slf_checkpoint(db));
	must_work(slf_close(db));
	sim_disk_free(crashed);
	cutter->images++;
}

/* A power cut inside a checkpoint would leave neither the old one nor the new one. */
Test(checkpoint, power_cuts)
{
	struct rig rig;
	struct cutter cutter = { .seed = test_seed("checkpoint power_cuts") };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	stamp_keys(rig.db, 0, KEYS, 1);
	must_work(slf_checkpoint(rig.db));
	stamp_keys(rig.db, 0, KEYS / 2, 2);
	must_work(slf_wait(rig.db, put_async(&rig, "large", RIG_LARGE_BYTES), -1));
	sim_disk_set_hook(rig.disk, cut_here, &cutter);
	must_work(slf_checkpoint(rig.db));
	must_work(slf_close(rig.db)); /* one more, and a page that says that all is well */
	cut_here(&cutter, rig.disk, SIM_SYNC);
	sim_disk_set_hook(rig.disk, NULL, NULL);
	printf("checkpoint power_cuts: %u crash images\n", cutter.images);
	cr_assert_gt(cutter.images, 6);
	sim_disk_free(rig.disk);
	alarm(0);
}

/* A checkpoint that fails would take commits with it, keep the database from going on, or let the log go that is still
 * needed. */
static bool fail_checkpoint(enum sim_call call, uint64_t nth, int error)
{
	struct rig rig;
	bool fired, poisoned;
	uint64_t before;
	int result;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	stamp_keys(rig.db, 0, KEYS, 1);
	must_work(slf_checkpoint(rig.db));
	stamp_keys(rig.db, 0, KEYS, 2);
	must_work(slf_wait(rig.db, put_async(&rig, "large", RIG_LARGE_BYTES), -1));
	before = sim_disk_faults_fired(rig.disk);
	sim_disk_add_fault(rig.disk, &(struct sim_fault){ .call = call, .nth = nth, .error = error });
	result = slf_checkpoint(rig.db);
	fired = sim_disk_faults_fired(rig.disk) != before;
	must(fired || result == 0);
	sim_disk_clear_faults(rig.disk);
	poisoned = commit_check(rig.commit) != 0;
	must(!poisoned || result == SLF_EUNKNOWN || result == -EIO || result == SLF_EPOISONED);
	must(survives(&rig, "key0399") && survives(&rig, "large"));
	if (!poisoned) {
		must_work(slf_checkpoint(rig.db));
		for (unsigned i = 0; i < 2 * VERSIONS_SWEEP_EVERY; i++)
			stamp_keys(rig.db, 0, 1, 2);
		must_work(slf_checkpoint(rig.db));
		must(heap_used(rig.db->core.heap) < 4 * KIB);
		stamp_keys(rig.db, 0, KEYS, 3);
		must_work(slf_checkpoint(rig.db));
		must(has_stamps(rig.db, 0, KEYS, 3) && survives(&rig, "large"));
	}
	slf_close(rig.db);
	must_work(disk_open(rig.disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &rig.db));
	must(has_stamps(rig.db, 0, KEYS, poisoned ? 2 : 3) && has_key(rig.db, "large"));
	rig_close(&rig);
	return fired;
}

#define LOG_VALUE_BYTES 30000 /* below bulk_bytes: it goes through the log */
#define LOG_VALUES 160        /* more than two extents of the log */

static void fill_log(struct slf_db *db, uint64_t stamp)
{
	static uint8_t value[LOG_VALUE_BYTES];

	for (unsigned i = 0; i < LOG_VALUES; i++) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);

		must_work(slf_put(txn, SLF_MAIN, slice(&i, sizeof(i)), slice(value, sizeof(value))));
		must_work(slf_commit(txn, NULL));
	}
	stamp_keys(db, 0, KEYS, stamp);
}

/* Opens what a killed process would leave, without one of the two pages. */
static void open_without_page(struct rig *rig, uint64_t offset, uint64_t stamp)
{
	static uint8_t zeros[META_PAGE_BYTES];
	static struct stats unused;
	struct sim_disk *disk = sim_disk_kill(rig->disk);
	struct slf_db *db = NULL;
	struct io_file *file;
	struct io *io;

	must_work(sim_disk_io(disk, &unused, &io));
	must_work(io_open(io, RIG_PATH, IO_OPEN_WRITE, &file));
	must_work(io_write(file, 0, offset, zeros, sizeof(zeros)));
	io_close(file);
	io_free(io);
	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must(has_stamps(db, 0, KEYS, stamp));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* With a page that could not be written, or with both in one place, the log that the other page needs would be used again. */
static bool fail_page(uint64_t nth)
{
	struct rig rig;
	bool fired;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	fill_log(rig.db, 1);
	must_work(slf_checkpoint(rig.db));
	fill_log(rig.db, 2);
	sim_disk_add_fault(rig.disk, &(struct sim_fault){ .call = SIM_WRITE, .nth = nth, .error = -ENOSPC });
	slf_checkpoint(rig.db);
	fired = sim_disk_faults_fired(rig.disk);
	sim_disk_clear_faults(rig.disk);
	if (commit_check(rig.commit) == 0) {
		fill_log(rig.db, 3);
		open_without_page(&rig, META_PAGE_A, 3);
		open_without_page(&rig, META_PAGE_B, 3);
	}
	rig_close(&rig);
	return fired;
}

Test(checkpoint, either_page_leads_to_everything)
{
	uint64_t nth = 1;

	while (fail_page(nth))
		nth++;
	cr_assert_gt(nth, 4);
}

/* A commit on its way to the disk when the checkpoint begins is not in it: recovery has to begin before its slab. */
Test(checkpoint, begins_beside_a_commit_in_flight)
{
	struct rig rig;
	struct caller committer = { .timeout_ns = -1 }, checkpointer = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	rig.gate.call = SIM_SYNC;
	stamp_keys(rig.db, 0, KEYS, 1);
	committer.seq = put_async(&rig, "flight", RIG_LARGE_BYTES);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &committer, 1, "", caller_wait);
	wait_until_stopped(&rig);
	callers_start(&rig, &checkpointer, 1, "", background_main);
	while (!atomic_load(&rig.db->core.versions.pinned))
		usleep(200);
	usleep(20000); /* from there to the gate */
	atomic_store(&rig.gate.shut, false);
	callers_join(&committer, 1);
	callers_join(&checkpointer, 1);
	must_work(committer.result);
	must_work(checkpointer.result);
	must(survives(&rig, "flight") && survives(&rig, "key0399"));
	rig_close(&rig);
}

/* Is the MARK of the first checkpoint durable, and a page about to be written? */
static bool page_is_next(struct rig *rig, enum sim_call call)
{
	return call == SIM_WRITE && atomic_load(&rig->db->core.checkpoint.seq);
}

/* A commit while a checkpoint is written, once: too late for the flush of its MARK. */
static void commit_late(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct rig *rig = context;

	if (!page_is_next(rig, call))
		return;
	sim_disk_set_hook(disk, NULL, NULL);
	put_async(rig, "late", 10);
}

/* Without sync the version that a checkpoint installs may have commits that are not durable: it would pass as durable. */
Test(checkpoint, installed_is_not_durable)
{
	struct slf_txn *txn;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	stamp_keys(rig.db, 0, KEYS, 1);
	sim_disk_set_hook(rig.disk, commit_late, &rig);
	must_work(slf_checkpoint(rig.db));
	must(has_key(rig.db, "late"));
	txn = txn_begin(rig.db, SLF_READ | SLF_DURABLE);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("late"), NULL), SLF_NOTFOUND);
	slf_abort(txn);
	must(!survives(&rig, "late"));
	cr_assert_lt(atomic_load(&rig.commit->durable_seq), rig.db->core.versions.tip->seq);
	rig_close(&rig);
}

/* The same, and its slab, behind both pages, cannot be written. */
static void commit_in_vain(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct rig *rig = context;

	if (!page_is_next(rig, call))
		return;
	sim_disk_set_hook(disk, NULL, NULL);
	put_async(rig, "failed", RIG_LARGE_BYTES);
	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_WRITE, .nth = 3, .error = -EIO, .partial = true });
}

/* Commits that fail before a checkpoint, or beside its install, would make it fail. */
Test(checkpoint, goes_on_where_a_group_is_aborted)
{
	for (unsigned before = 0; before < 2; before++) {
		struct rig rig;
		uint64_t root;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		stamp_keys(rig.db, 0, KEYS, 1);
		root = atomic_load(&rig.commit->durable_seq);
		if (before) {
			put_async(&rig, "failed", RIG_LARGE_BYTES);
			rig_fail(&rig, SIM_WRITE, -EIO, false);
			cr_assert_eq(commit_sync(rig.commit, NULL), -EIO);
		} else {
			sim_disk_set_hook(rig.disk, commit_in_vain, &rig);
		}
		must_work(checkpoint_run(&rig.db->core));
		cr_assert_eq(atomic_load(&rig.db->core.checkpoint.seq), root);
		cr_assert_eq(slf_sync(rig.db, NULL), -EIO);
		must(!has_key(rig.db, "failed") && has_stamps(rig.db, 0, KEYS, 1));
		must(!survives(&rig, "failed") && survives(&rig, "key0399"));
		rig_close(&rig);
	}
}

static void *sync_main(void *context)
{
	struct caller *caller = context;

	while (!atomic_load(&caller->done) && !caller->result)
		caller->result = slf_sync(caller->rig->db, NULL);
	return NULL;
}

/* Somebody else puts the MARK in flight: the checkpoint would publish the one before, and recycle the log that it needs. */
Test(checkpoint, beside_syncs)
{
	struct rig rig;
	struct caller callers[3] = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	callers_start(&rig, callers, 3, "", sync_main);
	for (uint64_t i = 1; i <= 1000; i++) {
		uint64_t before = rig.db->core.checkpoint.meta.mark_number;

		stamp_keys(rig.db, 0, 10, i);
		must_work(slf_checkpoint(rig.db));
		cr_assert_gt(rig.db->core.checkpoint.meta.mark_number, before);
	}
	for (unsigned i = 0; i < 3; i++)
		atomic_store(&callers[i].done, true);
	callers_join(callers, 3);
	must(survives(&rig, "key0009"));
	rig_close(&rig);
}

Test(checkpoint, failing_calls)
{
	static const enum sim_call calls[] = { SIM_WRITE, SIM_SYNC, SIM_ALLOCATE };
	unsigned runs = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		for (uint64_t nth = 1; fail_checkpoint(calls[i], nth, calls[i] == SIM_SYNC ? -EIO : -ENOSPC); nth++)
			runs++;
	printf("checkpoint failing_calls: %u\n", runs);
	cr_assert_geq(runs, 6);
}

/* Where a checkpoint fills several extents, and one of them cannot be written, what stood in it would be taken for written. */
Test(checkpoint, failing_writes_of_many_extents)
{
	static const uint8_t value[110];
	uint64_t fired = 1, soft = 0;
	struct slf_txn *txn;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	txn = txn_begin(rig.db, SLF_WRITE);
	for (unsigned i = 0; i < 60000; i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%06u", i);
		must_work(slf_put(txn, SLF_MAIN, text(key), slice(value, sizeof(value))));
	}
	must_work(slf_commit(txn, NULL));
	for (uint64_t nth = 1; fired && !commit_check(rig.commit); nth++) {
		int result;

		sim_disk_clear_faults(rig.disk);
		fired = sim_disk_faults_fired(rig.disk);
		sim_disk_add_fault(rig.disk, &(struct sim_fault){ .call = SIM_WRITE, .nth = nth, .error = -ENOSPC });
		result = slf_checkpoint(rig.db);
		fired = sim_disk_faults_fired(rig.disk) - fired;
		must(result == 0 || result == -ENOSPC || result == SLF_EUNKNOWN);
		soft += result == -ENOSPC;
	}
	sim_disk_clear_faults(rig.disk);
	cr_assert_gt(soft, 2);
	must(comes_back(&rig, "key000000") && comes_back(&rig, "key030000") && comes_back(&rig, "key059999"));
	rig_close(&rig);
}

#define KEPT (20 * KEYS)

/* What a snapshot keeps on the heap no checkpoint frees. There would be one after the other, each of a handful of changes: a
 * forgotten reader would make the file grow. */
Test(checkpoint, not_for_what_a_snapshot_keeps)
{
	struct rig rig;
	struct slf_txn *snapshot;
	struct core *core;
	uint64_t checkpoints;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	core = &rig.db->core;
	stamp_keys(rig.db, 0, KEPT, 1);
	snapshot = txn_begin(rig.db, SLF_READ);
	stamp_keys(rig.db, 0, KEPT, 2);
	must_work(slf_checkpoint(rig.db));
	core->tuning.heap_bytes = heap_used(core->heap);
	checkpoints = core->stats.values.checkpoints;
	for (unsigned i = 0; i < 40; i++)
		stamp_keys(rig.db, i, i + 1, 3);
	cr_assert_leq(core->stats.values.checkpoints, checkpoints + 10);
	cr_assert(txn_has_stamps(snapshot, 0, KEPT, 1));
	core->tuning.heap_bytes = 2 * heap_used(core->heap); /* so that it is no transaction that spills */
	checkpoints = core->stats.values.checkpoints;
	stamp_keys(rig.db, 0, KEPT / 100 * 85, 4);
	cr_assert_gt(core->stats.values.checkpoints, checkpoints, "but when much has been changed");
	slf_abort(snapshot);
	rig_close(&rig);
}

/* Has a snapshot keep most of the heap. */
static struct slf_txn *keep_heap(struct rig *rig, uint64_t stamp)
{
	struct core *core = &rig->db->core;
	struct slf_txn *snapshot;

	core->tuning.heap_bytes = 64 * MIB;
	stamp_keys(rig->db, 0, KEPT, stamp);
	snapshot = txn_begin(rig->db, SLF_READ);
	stamp_keys(rig->db, 0, KEPT, stamp + 1);
	must_work(slf_checkpoint(rig->db));
	core->tuning.heap_bytes = heap_used(core->heap) / 4 * 5;
	return snapshot;
}

static void ignore_wake(void *context)
{
	(void)context;
}

/* Writers would wait for a reader, checkpoints come one after the other that free nothing, and nobody be told why the
 * memory grows; or be told so with each checkpoint. */
Test(checkpoint, what_snapshots_keep)
{
	struct heard heard = { 0 };
	struct core *core;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	rig_hear(&rig, &heard);
	core = &rig.db->core;
	for (unsigned round = 1; round <= 2; round++) {
		struct slf_txn *snapshot = keep_heap(&rig, 10 * round);

		cr_assert_not(checkpoint_due(core));
		must_work(slf_checkpoint(rig.db));
		must_work(slf_checkpoint(rig.db));
		cr_assert_eq(heard.snapshots, round);
		core->wake_checkpoint = ignore_wake; /* as if there were services: only then writers are delayed */
		core->tuning.threads = true;
		stamp_keys(rig.db, 0, 1, 2);
		core->tuning.threads = false;
		core->wake_checkpoint = NULL;
		cr_assert_eq(stats_get(&core->stats.values.checkpoint_stall_ns), 0);
		cr_assert(txn_has_stamps(snapshot, 0, KEPT, 10 * round));
		slf_abort(snapshot);
		stamp_keys(rig.db, 0, 1, 3);
		must_work(slf_checkpoint(rig.db));
		cr_assert_eq(heard.snapshots, round);
	}
	rig_close(&rig);
}

/* ---- Without threads --------------------------------------------------------------------------------------------- */

enum ending { ENDING_COMMIT, ENDING_ASYNC, ENDING_FAILURE, ENDING_ABORT, ENDINGS };

static void end_transaction(struct rig *rig, struct slf_txn *txn, enum ending ending, uint64_t failed)
{
	switch (ending) {
	case ENDING_COMMIT:
		must_work(slf_commit(txn, NULL));
		break;
	case ENDING_ASYNC:
		must_work(slf_commit_async(txn, NULL));
		break;
	case ENDING_FAILURE: /* of what it stands on */
		rig_fail(rig, SIM_WRITE, -EIO, false);
		cr_assert_eq(slf_wait(rig->db, failed, -1), -EIO);
		cr_assert_eq(slf_commit(txn, NULL), SLF_ECANCELLED);
		break;
	default:
		slf_abort(txn);
	}
}

/* Without threads the checkpoint that is due would never come where writers only try, or do not commit; or it would
 * come when one begins, who does not want to wait. */
Test(checkpoint, alone_at_the_end_of_a_transaction)
{
	for (enum ending ending = 0; ending < ENDINGS; ending++) {
		struct slf_txn *txn = NULL;
		uint64_t failed = 0, calls;
		struct core *core;
		struct rig rig;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		core = &rig.db->core;
		stamp_keys(rig.db, 0, 4 * KEYS, 1);
		if (ending == ENDING_FAILURE)
			failed = put_async(&rig, "failed", RIG_LARGE_BYTES);
		core->tuning.heap_bytes = heap_used(core->heap);
		must(checkpoint_due(core));
		calls = sim_disk_calls(rig.disk, SIM_ANY);
		must_work(slf_begin(rig.db, SLF_WRITE | SLF_TRY, &txn));
		cr_assert_eq(sim_disk_calls(rig.disk, SIM_ANY), calls);
		must_work(slf_put(txn, SLF_MAIN, text("key"), text("value")));
		cr_assert_eq(core->stats.values.checkpoints, 0);
		end_transaction(&rig, txn, ending, failed);
		cr_assert_eq(core->stats.values.checkpoints, 1, "ending %u", (unsigned)ending);
		must(has_stamps(rig.db, 0, 4 * KEYS, 1) && survives(&rig, "key0000"));
		rig_close(&rig);
	}
}

/* Who commits would be told what has become of the checkpoint behind it: a durable commit would have failed, or a
 * failed one for another reason. */
Test(checkpoint, alone_and_failing)
{
	for (unsigned doomed = 0; doomed < 2; doomed++) {
		struct slf_errinfo info = { .size = sizeof(info) };
		struct heard heard = { 0 };
		struct slf_txn *txn;
		uint64_t failed = 0;
		struct rig rig;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		rig_hear(&rig, &heard);
		stamp_keys(rig.db, 0, 4 * KEYS, 1);
		if (doomed)
			failed = put_async(&rig, "failed", RIG_LARGE_BYTES);
		rig.db->core.tuning.heap_bytes = heap_used(rig.db->core.heap);
		txn = txn_begin(rig.db, SLF_WRITE);
		must_work(slf_put(txn, SLF_MAIN, text("key"), text("value")));
		if (doomed) {
			rig_fail(&rig, SIM_WRITE, -EIO, false);
			cr_assert_eq(slf_wait(rig.db, failed, -1), -EIO);
		}
		cr_assert_eq(slf_wait(rig.db, UINT64_MAX, 0), -EINVAL); /* what has failed last */
		sim_disk_add_fault(rig.disk, &(struct sim_fault){ .call = SIM_WRITE, .nth = doomed ? 1 : 2, /* of bulk */
								  .error = -ENOSPC });
		cr_assert_eq(slf_commit(txn, NULL), doomed ? SLF_ECANCELLED : 0);
		cr_assert_eq(heard.failed, 1);
		must_work(slf_errinfo(&info));
		cr_assert_eq(info.code, doomed ? SLF_ECANCELLED : -EINVAL);
		must(strstr(info.text, doomed ? "taken back" : "has not been made") != NULL);
		must(survives(&rig, "key0000") && survives(&rig, "key") == !doomed);
		rig_close(&rig);
	}
}

/* ---- In the background ------------------------------------------------------------------------------------------- */

static void wait_until_installing(struct core *core)
{
	for (bool installs = false; !installs; usleep(200)) {
		pthread_mutex_lock(&core->checkpoint.mutex);
		installs = core->checkpoint.state == CHECKPOINT_INSTALLING;
		pthread_mutex_unlock(&core->checkpoint.mutex);
	}
}

/* A checkpoint that has all on the disk, and is cut short by closing, would be logged as one that has failed. */
Test(checkpoint, closing_ends_an_install)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct heard heard = { 0 };
	struct slf_txn *txn;
	struct core *core;
	struct rig rig;

	options.log_bytes = 64 * KIB;
	options.log = hear;
	options.log_context = &heard;
	rig_open_with(&rig, &options);
	core = &rig.db->core;
	rig.gate.call = SIM_SYNC;
	stamp_keys(rig.db, 0, 100, 1);
	atomic_store(&rig.gate.shut, true);
	commit_blob(rig.db, DUE_BYTES);
	core->wake_checkpoint(core->wake_context);
	wait_until_stopped(&rig);
	txn = txn_begin(rig.db, SLF_WRITE); /* the install waits for its turn */
	atomic_store(&rig.gate.shut, false);
	wait_until_installing(core);
	must_work(slf_close(rig.db));
	cr_assert_eq(heard.failed, 0);
	slf_abort(txn);
	must_work(disk_open(rig.disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &rig.db));
	must(has_stamps(rig.db, 0, 100, 1));
	rig_close(&rig);
}
