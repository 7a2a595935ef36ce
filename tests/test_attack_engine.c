/* SPDX-License-Identifier: MIT */
/*
 * Findings of an attack on the engine, each with the situation that showed it: on the simulated disk, with the power cut,
 * the failing call or the other process at the one moment where it hurts.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "crash_rig.h"
#include "txn.h"

#define PATH "/tmp/db"
#define LARGE_BYTES 50000

static uint8_t large[LARGE_BYTES];

static int open_on(struct sim_disk *disk, unsigned flags, uint64_t log_bytes, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags;
	options.heap_bytes = 64 * 1024;
	options.log_bytes = log_bytes;
	sim_disk_io(disk, &unused, &io);
	return db_open_io(PATH, &options, io, db);
}

static struct slf_db *open_alone(struct sim_disk *disk)
{
	struct slf_db *db = NULL;

	must_work(open_on(disk, SLF_CREATE | SLF_NO_THREADS, 0, &db));
	return db;
}

static void large_put(struct slf_txn *txn, const char *key, uint64_t seed)
{
	bytes_fill(large, sizeof(large), seed, false);
	must_work(slf_put(txn, SLF_MAIN, text(key), slice(large, sizeof(large))));
}

static void large_commit(struct slf_db *db, const char *key, uint64_t seed)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	large_put(txn, key, seed);
	must_work(slf_commit(txn, NULL));
}

static bool large_has(struct slf_db *db, const char *key, uint64_t seed)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_slice value;
	bool has;

	bytes_fill(large, sizeof(large), seed, false);
	has = slf_get(txn, SLF_MAIN, text(key), &value) == 0 && slice_is(value, large, sizeof(large));
	slf_abort(txn);
	return has;
}

/* ---- Power cuts -------------------------------------------------------------------------------------------------- */

/* Keeps what was written to the log and loses bulk. */
static enum sim_fate lose_bulk(void *context, const struct sim_unit *unit)
{
	(void)context;
	return unit->kind == SIM_UNIT_WRITE && unit->offset >= EXTENT_BYTES ? SIM_LOST : SIM_KEPT;
}

struct moment {
	enum sim_call call;
	unsigned calls;
	struct sim_disk *images[16];
};

static void take_image(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct moment *moment = context;

	if (call == moment->call && moment->calls < 16)
		moment->images[moment->calls++] = sim_disk_crash(disk, lose_bulk, NULL);
}

/* The slab of a checkpoint's MARK holds a commit whose value was lost: the slab does not count, and so its MARK must not
 * either, or the pages lead to a place that is overwritten. */
Test(attack_engine, mark_in_a_slab_without_its_bulk)
{
	struct moment moment = { .call = SIM_SYNC };
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	struct rig rig;

	rig_init(&rig, 1, 3, SLF_SYNC_COMMIT); /* value and nodes lie on different spindles */
	must_work(rig_open(&rig));
	db_put(rig.db, "a", "1");
	txn = txn_begin(rig.db, SLF_WRITE);
	large_put(txn, "large", 1);
	must_work(slf_commit_async(txn, NULL));
	sim_disk_set_hook(rig.disk, take_image, &moment);
	must_work(checkpoint_run(&rig.db->core)); /* as in the background: slf_checkpoint first flushes the commit */
	sim_disk_set_hook(rig.disk, NULL, NULL);
	must(moment.calls >= 2);
	for (unsigned i = 0; i < moment.calls; i++) {
		struct sim_disk *again;

		must_work(rig_open_on(&rig, moment.images[i], 0, &db));
		must(db_has(db, "a", "1"));
		db_put(db, "b", "2");
		again = sim_disk_crash(moment.images[i], NULL, NULL);
		must_work(slf_close(db));
		sim_disk_free(moment.images[i]);
		must_work(rig_open_on(&rig, again, 0, &db));
		must(db_has(db, "a", "1") && db_has(db, "b", "2"));
		must_work(slf_close(db));
		sim_disk_free(again);
	}
	rig_release(&rig);
}

/* After a clean close the page could not be written at the next opening: it goes on saying "clean", and the extents taken
 * since must not be taken again. */
Test(attack_engine, clean_flag_that_outlives_commits)
{
	struct sim_disk *disk = sim_disk_new(), *crashed;
	struct slf_db *db = open_alone(disk);
	struct sim_fault fault = { .call = SIM_WRITE, .nth = 3, .error = -ENOSPC };

	db_put(db, "a", "1");
	must_work(slf_close(db));
	sim_disk_add_fault(disk, &fault); /* the side file, the slab of the opening, the page */
	db = open_alone(disk);
	cr_assert_eq(sim_disk_faults_fired(disk), 1);
	large_commit(db, "first", 1);
	crashed = sim_disk_crash(disk, NULL, NULL);
	must_work(slf_close(db));
	sim_disk_free(disk);
	db = open_alone(crashed);
	must(large_has(db, "first", 1));
	large_commit(db, "second", 2);
	must(large_has(db, "first", 1));
	must(large_has(db, "second", 2));
	must_work(slf_close(db));
	sim_disk_free(crashed);
}

static void blob_commit(struct slf_db *db, size_t size)
{
	static uint8_t blob[65535];
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	must_work(slf_txn_blob(txn, slice(blob, size)));
	must_work(slf_commit(txn, NULL));
}

/* Fills the log until less than `room` bytes are left in the current extent, which is to be number `extent`. */
static void fill_log(struct slf_db *db, uint64_t extent, uint64_t room)
{
	struct log *log = &db->core.log;

	while (log->extent / EXTENT_BYTES != extent)
		blob_commit(db, 65535);
	while (log_room(log) > 80000)
		blob_commit(db, 65535);
	while (log_room(log) > room)
		blob_commit(db, 300);
}

/* The MARK of a large commit stands in a new extent, its replay begins in the one before, with the slab that leads over: that
 * extent must not be recycled yet. */
Test(attack_engine, large_commit_behind_a_bridge)
{
	struct sim_disk *disk = sim_disk_new(), *crashed;
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	uint64_t old;

	must_work(open_on(disk, SLF_CREATE | SLF_NO_THREADS, 64 * 1024, &db));
	fill_log(db, 0, 10000);
	blob_commit(db, 65535);
	old = db->core.log.extent / EXTENT_BYTES;
	must(old != 0);
	fill_log(db, old, 10000);
	txn = txn_begin(db, SLF_WRITE);
	bytes_fill(large, sizeof(large), 5, false);
	must_work(slf_put(txn, SLF_MAIN, text("a"), slice(large, 30000)));
	must_work(slf_commit(txn, NULL));
	must(db->core.log.extent / EXTENT_BYTES != old);
	fill_log(db, db->core.log.extent / EXTENT_BYTES, 10000);
	blob_commit(db, 65535);
	fill_log(db, db->core.log.extent / EXTENT_BYTES, 1600); /* all over, the place of the bridge too */
	blob_commit(db, 65535);
	crashed = sim_disk_crash(disk, NULL, NULL);
	must_work(slf_close(db));
	sim_disk_free(disk);
	db = open_alone(crashed);
	txn = txn_begin(db, SLF_READ);
	must_work(slf_get(txn, SLF_MAIN, text("a"), NULL));
	slf_abort(txn);
	must_work(slf_close(db));
	sim_disk_free(crashed);
}

/* Every close sets log extents free: when the next opening does not know them, the file grows with every round. */
Test(attack_engine, log_extents_freed_at_close)
{
	struct sim_disk *disk = sim_disk_new();
	uint64_t next = 0;

	for (unsigned round = 0; round < 8; round++) {
		struct slf_db *db = open_alone(disk);
		uint64_t extent = db->core.log.extent / EXTENT_BYTES;

		if (round == 4)
			next = db->core.extents.spindles[0].next;
		for (unsigned i = 0; i < 80; i++)
			blob_commit(db, 65535);
		must(db->core.log.extent / EXTENT_BYTES != extent);
		db_put(db, "round", "x");
		must_work(slf_close(db));
	}
	{
		struct slf_db *db = open_alone(disk);

		must(db->core.extents.spindles[0].next <= next + 6); /* bulk takes one or two each round */
		must_work(slf_close(db));
	}
	sim_disk_free(disk);
}

/* ---- Other processes --------------------------------------------------------------------------------------------- */

struct intruder {
	struct slf_db *db;
	unsigned locks;
	bool stay;
	bool busy;
};

/* Another process comes in between our first look and our lock. */
static void intrude(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct intruder *intruder = context;

	if (intruder->busy || call != SIM_LOCK || intruder->locks++)
		return;
	intruder->busy = true;
	if (!intruder->db)
		intruder->db = open_alone(disk);
	large_commit(intruder->db, "first", 1);
	if (!intruder->stay) {
		commit_poison(&intruder->db->core.commit); /* it dies here, without closing */
		cr_expect_neq(slf_close(intruder->db), 0);
	}
	intruder->busy = false;
}

/* The writer before us makes the file grow after we have opened it, and dies: its extents must not be taken again. */
Test(attack_engine, file_grows_before_the_lock)
{
	struct sim_disk *disk = sim_disk_new();
	struct intruder intruder = { .db = open_alone(disk) };
	struct slf_db *db;

	sim_disk_set_hook(disk, intrude, &intruder);
	db = open_alone(disk);
	sim_disk_set_hook(disk, NULL, NULL);
	must(large_has(db, "first", 1));
	large_commit(db, "second", 2);
	must_work(slf_close(db));
	db = open_alone(disk);
	must(large_has(db, "first", 1));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* We made the database, another process was faster with the lock: our failure must not remove what is now its file. */
Test(attack_engine, creator_that_came_second)
{
	struct sim_disk *disk = sim_disk_new();
	struct intruder intruder = { .stay = true };
	struct slf_db *db = NULL;

	sim_disk_set_hook(disk, intrude, &intruder);
	cr_assert_eq(open_on(disk, SLF_CREATE | SLF_NO_THREADS, 0, &db), SLF_ELOCKED);
	sim_disk_set_hook(disk, NULL, NULL);
	must_work(slf_close(intruder.db));
	must_work(open_on(disk, SLF_NO_THREADS, 0, &db));
	must(large_has(db, "first", 1));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* ---- Large transactions ------------------------------------------------------------------------------------------ */

static struct slf_slice number_key(unsigned number, char *buffer)
{
	snprintf(buffer, 16, "key %06u", number);
	return text(buffer);
}

/* What a transaction has written out of the heap must be there to be read before it commits. */
Test(attack_engine, spilled_nodes_are_read_back)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = open_alone(disk);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char buffer[16];

	for (unsigned i = 0; i < 3000; i++)
		must_work(slf_put(txn, SLF_MAIN, number_key(i * 7 % 3000, buffer), slice(large, 60)));
	for (unsigned i = 0; i < 3000; i++)
		must_work(slf_get(txn, SLF_MAIN, number_key(i, buffer), NULL));
	must_work(slf_commit(txn, NULL));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* A read of an own large value found that it cannot be written: the commit must not refer to it. */
Test(attack_engine, own_value_that_was_lost)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = open_alone(disk);
	struct sim_fault fault = { .call = SIM_WRITE, .error = -ENOSPC };
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_slice value;

	large_put(txn, "large", 1);
	sim_disk_add_fault(disk, &fault);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("large"), &value), -ENOSPC);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("other"), &value), SLF_ECANCELLED, "a doomed transaction is not read");
	cr_assert_eq(slf_txn_seq(txn), 0);
	cr_assert_eq(slf_commit(txn, NULL), SLF_ECANCELLED);
	must(db_has(db, "large", NULL));
	large_commit(db, "large", 2);
	must(large_has(db, "large", 2));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

/* Makes a call slow, so that others gather meanwhile. */
static void linger(void *context, struct sim_disk *disk, enum sim_call call)
{
	(void)disk;
	if (call == *(const enum sim_call *)context)
		usleep(150000);
}

static void *commit_twenty_kilobytes(void *context)
{
	struct slf_txn *txn = NULL;
	uint8_t *value = calloc(1, 20000);

	if (slf_begin(context, SLF_WRITE, &txn) == 0 &&
	    slf_put(txn, SLF_MAIN, text("key"), slice(value, 20000)) == 0) {
		int result = slf_commit(txn, NULL);
		must(result < 0);
	} else {
		slf_abort(txn);
	}
	free(value);
	return NULL;
}

/* Only the log is to find the disk full, and only when it writes: its reserve is gone. */
static void forget_reserves(struct slf_db *db)
{
	db->core.extents.promised = MIB;
	db->core.extents.spent = MIB;
	db->core.commit.reserved_bytes = MIB;
	db->core.log.space.allocated_end = db->core.log.space.position;
}

/* A group is aborted while several wait behind it: all of them are to be told, not one. */
Test(attack_engine, abort_wakes_all_that_wait)
{
	struct sim_disk *disk = sim_disk_new();
	static enum sim_call slow = SIM_ALLOCATE;
	struct sim_fault fault = { .call = SIM_ALLOCATE, .error = -ENOSPC, .sticky = true };
	struct slf_db *db = open_alone(disk);
	pthread_t threads[6];

	alarm(20);
	large_commit(db, "warm", 1);
	sim_disk_set_hook(disk, linger, &slow);
	forget_reserves(db);
	sim_disk_add_fault(disk, &fault);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, commit_twenty_kilobytes, db);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	sim_disk_clear_faults(disk);
	sim_disk_set_hook(disk, NULL, NULL);
	db_put(db, "after", "1");
	must_work(slf_close(db));
	sim_disk_free(disk);
	alarm(0);
}

/* An asynchronous commit is taken back by the leader that came after it, and nobody waits for it: whoever asks for all
 * commits to be durable is to be told, once. */
Test(attack_engine, lost_asynchronous_commit_is_told)
{
	struct sim_disk *disk = sim_disk_new();
	struct sim_fault fault = { .call = SIM_ALLOCATE, .error = -ENOSPC, .sticky = true };
	struct slf_db *db = open_alone(disk);
	struct slf_txn *txn;

	large_commit(db, "warm", 1);
	forget_reserves(db);
	sim_disk_add_fault(disk, &fault);
	txn = txn_begin(db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("a"), text("1")));
	must_work(slf_commit_async(txn, NULL));
	commit_twenty_kilobytes(db);
	sim_disk_clear_faults(disk);
	cr_assert_eq(slf_sync(db, NULL), -ENOSPC);
	cr_assert_eq(slf_sync(db, NULL), 0);
	must(!db_has(db, "a", "1"));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* The checkpointer waits for the turn that an open transaction holds: closing has to end both. */
Test(attack_engine, close_while_an_install_waits)
{
	struct sim_disk *disk = sim_disk_new();
	static enum sim_call slow = SIM_SYNC;
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	char buffer[16];

	alarm(20);
	must_work(open_on(disk, SLF_CREATE, 0, &db));
	txn = txn_begin(db, SLF_WRITE);
	for (unsigned i = 0; i < 700; i++)
		must_work(slf_put(txn, SLF_MAIN, number_key(i, buffer), slice(large, 100)));
	sim_disk_set_hook(disk, linger, &slow);
	must_work(slf_commit(txn, NULL));
	txn = txn_begin(db, SLF_WRITE);
	usleep(1200000);
	sim_disk_set_hook(disk, NULL, NULL);
	must_work(slf_close(db));
	slf_abort(txn);
	must_work(open_on(disk, SLF_NO_THREADS, 0, &db));
	txn = txn_begin(db, SLF_READ);
	must_work(slf_get(txn, SLF_MAIN, number_key(699, buffer), NULL));
	slf_abort(txn);
	must_work(slf_close(db));
	sim_disk_free(disk);
	alarm(0);
}

/* Without threads a writer writes the checkpoint that is due, which needs the turn: where that was at the beginning
 * one with a limit of time would not give up beside another. */
Test(attack_engine, begin_with_timeout_without_threads)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = open_alone(disk);
	struct slf_txn *second = NULL;
	uint64_t calls;

	alarm(20);
	db_put(db, "key", "1");
	db->core.tuning.log_bytes = 1; /* a checkpoint is due */
	must(checkpoint_due(&db->core));
	calls = sim_disk_calls(disk, SIM_ANY);
	must_work(turn_take(&db->core.turn, 0));
	cr_assert_eq(slf_begin_timeout(db, SLF_WRITE, 1000000, &second), -ETIMEDOUT);
	turn_pass(&db->core.turn);
	must_work(slf_begin_timeout(db, SLF_WRITE, 1000000, &second));
	cr_assert_eq(sim_disk_calls(disk, SIM_ANY), calls);
	slf_abort(second);
	cr_assert_eq(db->core.stats.values.checkpoints, 1);
	must_work(slf_close(db));
	sim_disk_free(disk);
	alarm(0);
}

/* After one checkpoint that had found no space no other was tried: puts were refused for ever when the heap was full. */
Test(attack_engine, checkpoint_without_threads_is_tried_again)
{
	struct sim_disk *disk = sim_disk_new();
	struct sim_fault fault = { .call = SIM_WRITE, .error = -ENOSPC, .sticky = true };
	struct slf_db *db = open_alone(disk);
	uint64_t checkpoints;

	db_put(db, "first", "1");
	sim_disk_add_fault(disk, &fault);
	cr_assert_eq(slf_checkpoint(db), -ENOSPC);
	sim_disk_clear_faults(disk);
	checkpoints = db->core.stats.values.checkpoints;
	for (unsigned i = 0; i < 200; i++) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);
		char buffer[16];

		must_work(slf_put(txn, SLF_MAIN, number_key(i, buffer), slice(large, 1000)));
		must_work(slf_commit(txn, NULL));
	}
	cr_assert_gt(db->core.stats.values.checkpoints, checkpoints);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

static uint64_t checkpoints_ended(struct slf_db *db)
{
	struct checkpoint *checkpoint = &db->core.checkpoint;
	uint64_t ended;

	pthread_mutex_lock(&checkpoint->mutex);
	ended = checkpoint->ended;
	pthread_mutex_unlock(&checkpoint->mutex);
	return ended;
}

/* Without threads one that had found no space was the last until the heap was full, however long the log became. */
Test(attack_engine, checkpoint_without_threads_for_the_logs_sake)
{
	struct sim_disk *disk = sim_disk_new();
	struct sim_fault fault = { .call = SIM_WRITE, .error = -ENOSPC };
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct slf_db *db = NULL;
	uint64_t ended;
	struct io *io;

	options.flags = SLF_CREATE | SLF_NO_THREADS;
	options.log_bytes = 64 * KIB;
	must_work(sim_disk_io(disk, &unused, &io));
	must_work(db_open_io(PATH, &options, io, &db));
	db_put(db, "key", "1");
	sim_disk_add_fault(disk, &fault);
	cr_assert_eq(slf_checkpoint(db), -ENOSPC);
	sim_disk_clear_faults(disk);
	atomic_store(&db->core.checkpoint.retry_ns, UINT64_MAX); /* the pause lasts */
	ended = checkpoints_ended(db);
	blob_commit(db, 40000); /* more than half of the log's budget */
	blob_commit(db, 1);
	cr_assert_eq(checkpoints_ended(db), ended);
	atomic_store(&db->core.checkpoint.retry_ns, clock_now_ns()); /* and is over */
	blob_commit(db, 1);
	cr_assert_eq(checkpoints_ended(db), ended + 1);
	cr_assert_eq(db->core.checkpoint.failed, 0);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

static void hear_failure(void *context, int level, const char *line)
{
	_Atomic unsigned *failed = context;

	*failed += level == 3 && strstr(line, "checkpoint failed") != NULL;
}

/* Where checkpoints fail one would follow the other for as long as writers go on. The log is told once, and again when it is
 * another failure or one behind a success. */
Test(attack_engine, pause_behind_a_checkpoint_that_fails)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_options options = SLF_OPTIONS_INIT;
	_Atomic unsigned failed = 0;
	static struct stats unused;
	struct slf_db *db = NULL;
	struct extents *extents;
	uint64_t end_ns, ended, tries;
	struct io *io;

	alarm(20);
	options.flags = SLF_CREATE;
	options.log_bytes = 64 * KIB;
	options.log = hear_failure;
	options.log_context = (void *)&failed;
	sim_disk_io(disk, &unused, &io);
	must_work(db_open_io(PATH, &options, io, &db));
	db_put(db, "key", "1");
	extents = &db->core.extents;
	pthread_mutex_lock(&extents->mutex);
	extents->spindles[0].allocated_end = 0; /* what had been set aside is gone, */
	db->core.store.spindles[0].info.size_max = MIB; /* and no more is to be had */
	pthread_mutex_unlock(&extents->mutex);
	ended = checkpoints_ended(db);
	blob_commit(db, 40000); /* more than half of the log's budget */
	for (end_ns = clock_now_ns() + NS_PER_S / 2; clock_now_ns() < end_ns || checkpoints_ended(db) < ended + 2; usleep(500))
		blob_commit(db, 1); /* each 32nd wakes the checkpointer */
	tries = checkpoints_ended(db) - ended;
	cr_assert_leq(tries, 4 + (clock_now_ns() - end_ns) / (NS_PER_S / 5), "%llu attempts", (unsigned long long)tries);
	cr_assert_eq(failed, 1, "%u lines", failed);
	pthread_mutex_lock(&extents->mutex);
	db->core.store.spindles[0].info.size_max = INT64_MAX;
	pthread_mutex_unlock(&extents->mutex);
	must_work(slf_checkpoint(db));
	cr_assert_eq(db->core.checkpoint.failed, 0, "the same failure would not be told again");
	alarm(0);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* Without threads the first transaction behind a checkpoint that found no space would be refused where the heap is full, although
 * space has come. */
static void fail_and_recover(int error)
{
	struct sim_fault fault = { .call = SIM_WRITE, .error = error, .sticky = true };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = open_alone(disk);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	alarm(20);
	for (unsigned i = 0; i < 60; i++) {
		char value[100];

		snprintf(value, sizeof(value), "%099u", i);
		must_work(slf_put(txn, SLF_MAIN, text(value), text(value)));
	}
	must_work(slf_commit(txn, NULL));
	db->core.tuning.heap_bytes = 4 * KIB;
	sim_disk_add_fault(disk, &fault);
	cr_assert_eq(slf_checkpoint(db), error);
	sim_disk_clear_faults(disk);
	cr_assert_eq(db->core.checkpoint.failed, error);
	must_work(slf_begin(db, SLF_WRITE | SLF_TRY, &txn)); /* who has no time does not write it, and is refused */
	cr_assert_eq(db->core.checkpoint.failed, error);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("more"), text("of it")), error);
	sim_disk_add_fault(disk, &fault);
	slf_abort(txn); /* tries it, and fails */
	sim_disk_clear_faults(disk);
	txn = txn_begin(db, SLF_WRITE);
	cr_assert(!db->core.checkpoint.failed);
	must_work(slf_put(txn, SLF_MAIN, text("more"), text("of it")));
	must_work(slf_commit(txn, NULL));
	alarm(0);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

Test(attack_engine, space_has_come)
{
	fail_and_recover(-ENOSPC);
}

/* Where checkpoints fail for another reason the heap would grow without a bound. */
Test(attack_engine, checkpoints_fail_at_a_full_heap)
{
	fail_and_recover(-EIO);
}

/* The beginning of a writer waits for the checkpoint at the limit of the heap, and this for the turn, which the same thread may
 * have: with a limit of time it must give up, or it waits for itself. */
Test(attack_engine, begin_with_timeout_beside_an_install)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;
	struct slf_txn *txn, *second = NULL;
	char buffer[16];

	alarm(20);
	must_work(open_on(disk, SLF_CREATE, 0, &db));
	db->core.tuning.heap_bytes = 64 * MIB; /* no checkpoint as yet */
	txn = txn_begin(db, SLF_WRITE);
	for (unsigned i = 0; i < 300; i++)
		must_work(slf_put(txn, SLF_MAIN, number_key(i, buffer), slice(large, 100)));
	must_work(slf_commit(txn, NULL));
	txn = txn_begin(db, SLF_WRITE);
	for (unsigned i = 300; i < 320; i++)
		must_work(slf_put(txn, SLF_MAIN, number_key(i, buffer), slice(large, 100)));
	db->core.tuning.heap_bytes = heap_used(db->core.heap) / 2;
	db->core.wake_checkpoint(db->core.wake_context);
	for (bool installs = false; !installs; usleep(1000)) {
		pthread_mutex_lock(&db->core.checkpoint.mutex);
		installs = db->core.checkpoint.state == CHECKPOINT_INSTALLING;
		pthread_mutex_unlock(&db->core.checkpoint.mutex);
	}
	cr_assert_eq(slf_begin_timeout(db, SLF_WRITE, 10000000, &second), -ETIMEDOUT);
	cr_assert_eq(slf_begin(db, SLF_WRITE | SLF_TRY, &second), -EBUSY);
	must_work(slf_commit(txn, NULL));
	must_work(slf_close(db));
	sim_disk_free(disk);
	alarm(0);
}

/* Bulk that is lost as a whole, and slabs of which each vouches for the one before: the log would be read once more for each. */
Test(attack_engine, log_whose_bulk_is_lost)
{
	static uint8_t zeros[EXTENT_BYTES];
	struct sim_disk *disk = sim_disk_new(), *copy;
	struct slf_db *db = open_alone(disk);
	uint64_t size, reads;

	alarm(60);
	db_put(db, "a", "1");
	for (unsigned i = 0; i < 60; i++)
		large_commit(db, "large", i);
	size = atomic_load(&db->core.store.spindles[0].size);
	copy = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	for (uint64_t at = EXTENT_BYTES; at < size; at += EXTENT_BYTES)
		must_work(sim_disk_poke(copy, PATH, at, zeros, u64_min(size - at, EXTENT_BYTES)));
	reads = sim_disk_calls(copy, SIM_READ);
	must_work(open_on(copy, SLF_READONLY, 0, &db));
	cr_assert_lt(sim_disk_calls(copy, SIM_READ) - reads, 2000);
	must(db_has(db, "a", "1") && db_has(db, "large", NULL));
	must_work(slf_close(db));
	sim_disk_free(copy);
	alarm(0);
}

/* Keys among the names of trees that are no names, of a forged file: who lists the trees would meet them again and again. */
Test(attack_engine, names_that_are_none)
{
	static const struct slf_slice names[] = { { "", 0 }, { "a\0b", 3 }, { large, 256 } };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct sim_disk *disk = sim_disk_new();
		struct slf_db *db = open_alone(disk);
		uint8_t value[NAME_VALUE_BYTES] = { 17 };
		char buffer[256] = "";
		struct slf_txn *txn;
		uint32_t tree = 77;

		memset(large, 'x', sizeof(large));
		txn = txn_begin(db, SLF_WRITE);
		must_work(txn_put(txn, TREE_NAMES, names[i], slice(value, sizeof(value))));
		must_work(slf_commit(txn, NULL));
		txn = txn_begin(db, SLF_READ);
		cr_assert_eq(slf_tree_next(txn, buffer, sizeof(buffer), &tree), i ? SLF_ECORRUPT : SLF_END);
		must(!buffer[0] && tree == 77);
		slf_abort(txn);
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
}

/* After a million commits that could not be written no slab is there to raise the limit of numbers: the next commit, which could
 * be, would wait for one for ever. */
Test(attack_engine, limit_of_numbers_without_a_slab)
{
	struct sim_disk *disk = sim_disk_new(), *crashed;
	struct slf_db *db = open_alone(disk);
	struct commit *commit = &db->core.commit;

	alarm(20);
	db_put(db, "before", "1");
	commit->next_seq = commit->durable_limit + 1;
	commit->settled_seq = commit->durable_limit;
	db_put(db, "key", "1");
	crashed = sim_disk_crash(disk, NULL, NULL);
	must_work(slf_close(db));
	sim_disk_free(disk);
	must_work(open_on(crashed, SLF_NO_THREADS, 0, &db));
	must(db_has(db, "before", "1") && db_has(db, "key", "1"));
	must_work(slf_close(db));
	sim_disk_free(crashed);
	alarm(0);
}

/* A transaction of many large values flushes them itself now and then. Where they cannot be written that is its own affair; the
 * handle would be poisoned, as if a flush had failed. */
Test(attack_engine, many_values_that_cannot_be_written)
{
	struct sim_disk *disk = sim_disk_new();
	struct sim_fault fault = { .call = SIM_WRITE, .error = -ENOSPC, .sticky = true };
	struct slf_db *db = open_alone(disk);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char buffer[16];

	for (unsigned i = 0; i < 512; i++) {
		bytes_fill(large, sizeof(large), i, false);
		must_work(slf_put(txn, SLF_MAIN, number_key(i, buffer), slice(large, sizeof(large))));
	}
	sim_disk_add_fault(disk, &fault);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("one more"), slice(large, sizeof(large))), -ENOSPC);
	slf_abort(txn);
	sim_disk_clear_faults(disk);
	must_work(commit_check(&db->core.commit));
	db_put(db, "after", "1");
	must(db_has(db, "after", "1") && db_has(db, "one more", NULL));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* A transaction that spills uses the space that was allocated ahead: its next puts would not be told that there is none. */
Test(attack_engine, spill_uses_the_space_ahead)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = open_alone(disk);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char buffer[16];

	for (unsigned i = 0; !txn->spilled; i++) {
		must(i < 10000);
		must_work(slf_put(txn, SLF_MAIN, number_key(i, buffer), slice(large, 1000)));
	}
	cr_assert_eq(extents_promised(&db->core.extents), 0);
	must_work(slf_commit(txn, NULL));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* Puts gather, 16 at a time, before the heap has them: on a full disk they would be accepted with no space set aside,
 * and no checkpoint could ever be written. */
Test(attack_engine, puts_that_the_heap_does_not_have_yet)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = open_alone(disk);
	struct slf_txn *txn;
	char buffer[16];
	int result = 0;

	for (unsigned i = 0; i < 8; i++)
		db_put(db, number_key(i, buffer).data, "value");
	must_work(slf_close(db));
	db = open_alone(disk);
	cr_assert_eq(heap_used(db->core.heap), 0);
	sim_disk_set_capacity(disk, 0); /* what is allocated stays */
	txn = txn_begin(db, SLF_WRITE);
	for (unsigned i = 0; i < TXN_GROUP && !result; i++)
		result = slf_put(txn, SLF_MAIN, number_key(100 + i, buffer), slice(large, 30 * KIB));
	cr_assert_eq(result, -ENOSPC);
	slf_abort(txn);
	for (unsigned i = 0; i < 8; i++) {
		txn = txn_begin(db, SLF_WRITE);
		must_work(slf_del(txn, SLF_MAIN, number_key(i, buffer)));
		must_work(slf_commit(txn, NULL));
	}
	sim_disk_set_capacity(disk, UINT64_MAX);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* ---- Many trees -------------------------------------------------------------------------------------------------- */

/* Makes so many trees in one transaction, puts into each, and lets the next opening replay it: how long both take. */
static uint64_t trees_ns(unsigned count)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	uint64_t start;
	struct io *io;

	options.flags = SLF_CREATE | SLF_NO_THREADS;
	sim_disk_io(disk, &unused, &io);
	must_work(db_open_io(PATH, &options, io, &db));
	start = processor_ns();
	txn = txn_begin(db, SLF_WRITE);
	for (unsigned i = 0; i < count; i++) {
		char name[16];
		uint32_t tree;

		must_work(slf_tree_open(txn, number_key(i, name).data, SLF_CREATE, &tree));
		must_work(slf_put(txn, tree, text(name), text("value")));
	}
	must_work(slf_commit(txn, NULL));
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	sim_disk_io(killed, &unused, &io);
	must_work(db_open_io(PATH, &options, io, &db));
	start = processor_ns() - start;
	txn = txn_begin(db, SLF_READ);
	for (unsigned i = 0; i < count; i++) {
		struct slf_slice value;
		char name[16];

		must_work(slf_get(txn, SLF_MAIN + 1 + i, number_key(i, name), &value));
	}
	slf_abort(txn);
	must_work(slf_close(db));
	sim_disk_free(killed);
	return start;
}

/* Each put, and each action of the log, would look at all trees that were touched before. */
Test(attack_engine, many_trees)
{
	uint64_t few = trees_ns(5000), many = trees_ns(40000);

	cr_assert_lt(many, 24 * few, "%llu and %llu ns", (unsigned long long)few, (unsigned long long)many);
}
