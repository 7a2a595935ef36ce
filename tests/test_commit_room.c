/* SPDX-License-Identifier: MIT */
/*
 * Group commit at its limits: how much one slab takes, for whom there is room in the log, which seqs may be handed out, and who
 * is told what where it is about the last byte. On the simulated disk.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gate_rig.h"
#include "slab_forger.h"
#include "txn.h"

#define MEDIUM_BYTES 30000u
#define MEDIUM_RECORD_BYTES 30080u /* what it takes in the log */

static const uint8_t medium[MEDIUM_BYTES];

static uint64_t slabs_written(const struct rig *rig)
{
	return rig->db->core.stats.values.log_slabs;
}

/* In the place of the services, which then leave all work to the test. */
static void count_wake(void *context)
{
	(*(unsigned *)context)++;
}

/* As if there were services: a commit that does not wait leaves the writing to them. */
static void pretend_services(struct rig *rig, unsigned *wakes)
{
	*wakes = 0;
	rig->commit->wake = count_wake;
	rig->commit->wake_context = wakes;
}

/* One commit of so many puts. */
static int put_mediums(struct slf_db *db, unsigned count, uint64_t *seq)
{
	struct slf_txn *txn = NULL;
	int result = slf_begin(db, SLF_WRITE, &txn);

	if (result)
		return result;
	for (unsigned i = 0; i < count; i++)
		must_work(slf_put(txn, SLF_MAIN, text("medium"), slice(medium, sizeof(medium))));
	return slf_commit_async(txn, seq);
}

static int put_medium(struct slf_db *db, uint64_t *seq)
{
	return put_mediums(db, 1, seq);
}

static void *sync_inside(void *context)
{
	struct caller *caller = context;

	caller->result = commit_sync(caller->rig->commit, NULL);
	atomic_store(&caller->done, true);
	return NULL;
}

static void *caller_put_medium(void *context)
{
	struct caller *caller = context;

	caller->result = put_medium(caller->rig->db, &caller->seq);
	atomic_store(&caller->done, true);
	return NULL;
}

static void *caller_fill(void *context)
{
	struct caller *caller = context;

	while (!caller->result)
		caller->result = put_medium(caller->rig->db, &caller->seq);
	atomic_store(&caller->done, true);
	return NULL;
}

/* A record of the engine that means nothing. */
static int put_record(struct rig *rig, size_t record_bytes)
{
	uint8_t *body = calloc(1, record_bytes);
	int result = commit_record(rig->commit, LOG_OPEN, slice(body, record_bytes - LOG_RECORD_HEADER_BYTES));

	free(body);
	return result;
}

/* ---- One slab ---------------------------------------------------------------------------------------------------- */

/* A record as long as a slab can be would be refused, or one that is longer be waited for until there is room. */
Test(commit_room, longest_record)
{
	struct rig rig;
	uint64_t groups;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	rig.commit->durable_limit = rig.commit->next_seq;
	groups = rig.db->core.stats.values.commit_groups;
	cr_assert_eq(put_record(&rig, GROUP_BYTES + 8), SLF_ETOOBIG);
	cr_assert_eq(gathered(&rig), 0);
	cr_assert_eq(rig.db->core.stats.values.commit_groups, groups);
	must_work(put_record(&rig, GROUP_BYTES));
	must_work(commit_sync(rig.commit, NULL));
	db_put(rig.db, "after", "1");
	must(survives(&rig, "after"));
	rig_close(&rig);
}

/* A slab would have more parts than it may, or be written before it is full. */
Test(commit_room, parts_of_one_slab)
{
	struct rig rig;
	unsigned wakes;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	pretend_services(&rig, &wakes);
	for (unsigned i = 0; i < SLAB_PARTS_MAX; i++)
		put_async(&rig, "key", RIG_LARGE_BYTES);
	cr_assert_eq(gathered(&rig), SLAB_PARTS_MAX);
	put_async(&rig, "last", RIG_LARGE_BYTES);
	cr_assert_eq(gathered(&rig), 1);
	must_work(commit_sync(rig.commit, NULL));
	must(survives(&rig, "key") && survives(&rig, "last"));
	rig_close(&rig);
}

/* Commits until no other one finds room in the group. */
static void fill_group(struct rig *rig)
{
	while (commit_load(rig->commit).gathered + MEDIUM_RECORD_BYTES + 4096 <= GROUP_BYTES)
		must_work(put_medium(rig->db, NULL));
}

/* Who finds the group full, and leads, and fails, would be told that its own commit was built on something. */
Test(commit_room, full_group_that_cannot_be_written)
{
	struct rig rig;
	unsigned wakes;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	pretend_services(&rig, &wakes);
	put_async(&rig, "part", RIG_LARGE_BYTES); /* so the slab is not flushed by its own write, which would leave doubt */
	fill_group(&rig);
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(put_medium(rig.db, NULL), -EIO);
	must_work(commit_check(rig.commit));
	db_put(rig.db, "after", "1");
	must(survives(&rig, "after") && !survives(&rig, "part"));
	rig_close(&rig);
}

/* Who waits for room in a full group would go on, and write, when the handle has been poisoned meanwhile. */
Test(commit_room, full_group_on_a_poisoned_handle)
{
	struct rig rig;
	struct caller leader = { 0 }, filler = { 0 };
	uint64_t slabs;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "leader", caller_commit);
	wait_until_stopped(&rig);
	slabs = slabs_written(&rig);
	callers_start(&rig, &filler, 1, "", caller_fill);
	wait_until_gathered(&rig, GROUP_BYTES / MEDIUM_RECORD_BYTES - 1);
	usleep(50000);
	must(!atomic_load(&filler.done));
	commit_poison(rig.commit);
	atomic_store(&rig.gate.shut, false);
	callers_join(&leader, 1);
	callers_join(&filler, 1);
	cr_assert_eq(filler.result, SLF_EPOISONED);
	cr_assert_eq(slabs_written(&rig), slabs + 1);
	must_work(commit_write_out(rig.commit));
	cr_assert_eq(put_record(&rig, 64), SLF_EPOISONED);
	cr_assert_eq(slabs_written(&rig), slabs + 1);
	rig_close(&rig);
}

/* ---- Seqs -------------------------------------------------------------------------------------------------------- */

/* A seq would be handed out that the log does not know to be taken: the next opening would give it to another commit. Or each
 * commit would pay for a flush of its own. */
Test(commit_room, limit_of_seqs)
{
	struct rig rig;
	uint64_t seq, groups;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "key", "1");
	rig.commit->durable_limit = rig.commit->next_seq;
	groups = rig.db->core.stats.values.commit_groups;
	put_async(&rig, "key", 10);
	cr_assert_eq(rig.db->core.stats.values.commit_groups, groups);
	seq = put_async(&rig, "key", 10);
	cr_assert_eq(rig.db->core.stats.values.commit_groups, groups + 1);
	cr_assert_geq(rig.commit->durable_limit, seq);
	must_work(commit_sync(rig.commit, NULL));
	rig.commit->durable_limit = rig.commit->next_seq - 1; /* and nothing has gathered */
	seq = put_async(&rig, "key", 10);
	cr_assert_geq(rig.commit->durable_limit, seq);
	rig_close(&rig);
}

/* A slab that was aborted, or a flush without one, would raise the limit that no slab on the disk has. */
Test(commit_room, limit_of_seqs_that_was_not_written)
{
	struct rig rig;
	uint64_t limit, seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "key", "1");
	limit = rig.commit->seq_limit;
	seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -EIO);
	cr_assert_eq(rig.commit->seq_limit, limit);
	rig.db->core.log.unsynced = true;
	rig.commit->written_bytes.slabs += 512;
	must_work(commit_sync(rig.commit, NULL));
	cr_assert_eq(rig.commit->seq_limit, limit);
	db_put(rig.db, "key", "2");
	cr_assert_gt(rig.commit->seq_limit, limit);
	rig_close(&rig);
}

/* A slab without commits would say that the newest one is older than it is, or is one that was never written; a slab without a
 * MARK would pass as one with it. */
Test(commit_room, slabs_tell_the_newest_commit)
{
	static struct slab_forger forger;
	uint64_t seq = 0, failed, number;
	unsigned wakes, bridges = 0;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	pretend_services(&rig, &wakes);
	db_put(rig.db, "key", "1");
	must_work(slf_checkpoint(rig.db));
	number = rig.commit->mark_slab.number;
	while (log_room(&rig.db->core.log) > 8 * MEDIUM_RECORD_BYTES) {
		must_work(put_medium(rig.db, &seq));
		must_work(slf_wait(rig.db, seq, -1));
	}
	cr_assert_eq(rig.commit->mark_slab.number, number); /* those have no MARK */
	for (unsigned i = 0; i < 2; i++) { /* the second one behind a bridge to the next extent */
		failed = put_async(&rig, "failed", RIG_LARGE_BYTES);
		rig_fail(&rig, SIM_WRITE, -EIO, false);
		cr_assert_eq(slf_wait(rig.db, failed, -1), -EIO);
		must_work(put_mediums(rig.db, i ? 20 : 1, &seq));
		must_work(slf_wait(rig.db, seq, -1));
	}
	failed = put_async(&rig, "failed", RIG_LARGE_BYTES);
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_wait(rig.db, failed, -1), -EIO);
	must_work(slf_checkpoint(rig.db));
	slab_forger_read(&forger, rig.disk);
	for (size_t i = 1; i < forger.count; i++) {
		const struct slab_header *slab = &forger.slabs[i];

		must(slab->last_seq == (slab->first_seq ? slab->first_seq : forger.slabs[i - 1].last_seq));
		bridges += !slab->record_count;
	}
	cr_assert_eq(bridges, 1);
	cr_assert_eq(forger.slabs[forger.count - 1].first_seq, 0);
	cr_assert_eq(forger.slabs[forger.count - 1].last_seq, seq);
	free(forger.bytes);
	rig_close(&rig);
}

/* A commit that had not reached the disk when the process ended would be told to be durable after the next opening. */
Test(commit_room, wait_for_what_was_lost)
{
	struct rig rig;
	struct slf_db *db = NULL;
	struct sim_disk *killed;
	uint64_t kept, lost, durable;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	kept = db_put(rig.db, "kept", "1");
	lost = put_async(&rig, "lost", 100);
	killed = sim_disk_kill(rig.disk);
	must_work(disk_open(killed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must_work(slf_wait(db, kept, 0));
	cr_assert_eq(slf_wait(db, lost, 0), SLF_ECANCELLED);
	must_work(slf_sync(db, &durable));
	cr_assert_eq(durable, kept);
	must_work(slf_wait(db, db_put(db, "new", "1"), 0));
	must_work(slf_close(db));
	sim_disk_free(killed);
	rig_close(&rig);
}

/* Numbers of earlier openings would be told to be durable though nobody knows: such as one that was lost in a crash,
 * and lies below a commit that survived the next one. */
Test(commit_room, wait_for_what_earlier_openings_gave)
{
	struct rig rig;
	struct slf_db *db = NULL;
	struct sim_disk *first, *second;
	uint64_t older, kept, lost, newer;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	older = db_put(rig.db, "older", "1");
	kept = db_put(rig.db, "kept", "1");
	lost = put_async(&rig, "lost", 100);
	first = sim_disk_kill(rig.disk);
	must_work(disk_open(first, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must_work(slf_wait(db, 0, 0));
	cr_assert_eq(slf_wait(db, older, 0), SLF_ENOTRETAINED);
	must_work(slf_wait(db, kept, 0));
	cr_assert_eq(slf_wait(db, lost, 0), SLF_ECANCELLED);
	newer = db_put(db, "newer", "1");
	cr_assert_eq(slf_wait(db, newer - 1, 0), SLF_ECANCELLED);
	second = sim_disk_kill(first);
	must_work(slf_close(db));
	sim_disk_free(first);
	must_work(disk_open(second, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must_work(slf_wait(db, 0, 0));
	cr_assert_eq(slf_wait(db, lost, 0), SLF_ENOTRETAINED);
	must_work(slf_wait(db, newer, 0));
	must_work(slf_close(db));
	sim_disk_free(second);
	rig_close(&rig);
}

/* ---- The log ----------------------------------------------------------------------------------------------------- */

/* A commit that finds no room in the log while one is in flight. The flight counts twice until it has been written. */
static void wait_for_log(uint64_t room, int error, bool poison, int expected)
{
	struct rig rig;
	struct caller leader = { 0 }, behind = { 0 };
	struct log *log;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	db_put(rig.db, "warm", "1");
	must_work(slf_sync(rig.db, NULL));
	log = &rig.db->core.log;
	promise_space(rig.db); /* only the log is to find the disk full */
	must_work(put_medium(rig.db, NULL));
	log->space.allocated_end = log->space.position + room;
	rig_fail(&rig, SIM_ALLOCATE, error, true);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "", sync_inside);
	wait_until_stopped(&rig);
	callers_start(&rig, &behind, 1, "", caller_put_medium);
	usleep(50000);
	must(!atomic_load(&behind.done));
	if (poison)
		commit_poison(rig.commit);
	atomic_store(&rig.gate.shut, false);
	callers_join(&leader, 1);
	callers_join(&behind, 1);
	cr_assert_eq(behind.result, expected, "%d of %d, error %d", behind.result, expected, error);
	rig_close(&rig);
}

/* Room for a commit that can not be taken back, with that of the slabs that deletes need: twice its slab and 64 KiB. */
#define ROOM_BYTES (2 * (30208 + 4096) + 64 * KIB)

/* A commit would be refused that has room when the one in flight has been written; or one go on that has none even then. */
Test(commit_room, room_behind_the_flight)
{
	wait_for_log(ROOM_BYTES + 40 * KIB, -ENOSPC, false, 0);
	wait_for_log(ROOM_BYTES + 40 * KIB, -EDQUOT, false, 0);
	wait_for_log(ROOM_BYTES + 20 * KIB, -ENOSPC, false, -ENOSPC);
	wait_for_log(ROOM_BYTES + 40 * KIB, -ENOSPC, true, SLF_EPOISONED);
}

/* A commit that can not be taken back would find no room for its slab, however it is cut; or one that can ask for as much. */
Test(commit_room, room_that_is_set_aside)
{
	static const int modes[] = { SLF_SYNC_COMMIT, SLF_SYNC_NONE };

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		struct rig rig;

		rig_open(&rig, SLF_NO_THREADS, modes[i]);
		db_put(rig.db, "warm", "1");
		must_work(slf_sync(rig.db, NULL));
		promise_space(rig.db);
		rig.db->core.log.space.allocated_end = rig.db->core.log.space.position + ROOM_BYTES - 20 * KIB;
		rig_fail(&rig, SIM_ALLOCATE, -ENOSPC, true);
		cr_assert_eq(put_medium(rig.db, NULL), modes[i] == SLF_SYNC_NONE ? -ENOSPC : 0);
		rig_close(&rig);
	}
}

/* A commit that is refused would end what another one, a large one, has to itself until it is finished. */
Test(commit_room, refused_beside_a_large_one)
{
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	promise_space(rig.db);
	rig.db->core.log.space.allocated_end = rig.db->core.log.space.position;
	rig_fail(&rig, SIM_ALLOCATE, -ENOSPC, true);
	rig.db->core.checkpoint.private = true;
	cr_assert_eq(put_medium(rig.db, NULL), -ENOSPC);
	must(rig.db->core.checkpoint.private);
	rig.db->core.checkpoint.private = false;
	rig_close(&rig);
}

/* Nothing was written, so there is nothing to overwrite: to try it on a full disk would poison the handle. */
Test(commit_room, failed_before_the_write)
{
	struct rig rig;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
	rig.db->core.log.space.allocated_end = rig.db->core.log.space.position;
	rig_fail(&rig, SIM_ALLOCATE, -ENOSPC, true);
	rig_fail(&rig, SIM_WRITE, -EIO, true);
	cr_assert_eq(slf_wait(rig.db, seq, -1), -ENOSPC);
	must_work(commit_check(rig.commit));
	sim_disk_clear_faults(rig.disk);
	db_put(rig.db, "after", "1");
	must(survives(&rig, "after") && !survives(&rig, "failed"));
	rig_close(&rig);
}

/* A commit would be there without its value, which could not be written. */
Test(commit_room, bulk_that_cannot_be_written)
{
	static const uint8_t value[RIG_LARGE_BYTES];
	struct rig rig;
	struct slf_txn *txn;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("failed"), slice(value, sizeof(value))));
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(slf_commit_async(txn, NULL), -EIO);
	cr_assert_eq(gathered(&rig), 0);
	must(!has_key(rig.db, "failed"));
	put_async(&rig, "after", RIG_LARGE_BYTES);
	must_work(slf_sync(rig.db, NULL));
	must(survives(&rig, "after") && !survives(&rig, "failed"));
	rig_close(&rig);
}

/* ---- Records of the engine --------------------------------------------------------------------------------------- */

/* A checkpoint's MARK that another thread has put in flight would pass as written: the pages would lead to the MARK before, and
 * the log that it needs be used again. */
Test(commit_room, record_in_flight)
{
	struct rig rig;
	struct caller first = { 0 }, second = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "key", "1");
	must_work(put_record(&rig, 64));
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &first, 1, "", sync_inside);
	wait_until_stopped(&rig);
	callers_start(&rig, &second, 1, "", sync_inside);
	usleep(50000);
	must(!atomic_load(&second.done));
	must_work(put_record(&rig, 64)); /* what comes later is nobody's business */
	must_work(commit_write_out(rig.commit)); /* and who only wants it written does not wait */
	cr_assert_eq(gathered(&rig), 1);
	atomic_store(&rig.gate.shut, false);
	callers_join(&first, 1);
	callers_join(&second, 1);
	must(!first.result && !second.result);
	rig_close(&rig);
}

/* A record that is only written would pass as durable, and the pages lead to what a power cut takes. */
Test(commit_room, record_that_is_only_written)
{
	struct rig rig;
	uint64_t syncs;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	db_put(rig.db, "key", "1");
	must_work(slf_sync(rig.db, NULL));
	must_work(put_record(&rig, 64));
	must_work(commit_write_out(rig.commit));
	syncs = sim_disk_calls(rig.disk, SIM_SYNC);
	must_work(commit_sync(rig.commit, NULL));
	cr_assert_gt(sim_disk_calls(rig.disk, SIM_SYNC), syncs);
	rig_close(&rig);
}

static _Thread_local bool stays;

/* Stops the writes of one thread only. */
static void stop_who_stays(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct gate *gate = context;

	(void)disk;
	if (!stays || call != SIM_WRITE)
		return;
	atomic_fetch_add(&gate->stopped, 1);
	while (atomic_load(&gate->shut))
		usleep(200);
}

static void *stay_and_wait(void *context)
{
	stays = true;
	return caller_wait(context);
}

/* As in the background. */
static void *checkpoint_inside(void *context)
{
	struct caller *caller = context;

	caller->result = checkpoint_run(&caller->rig->db->core);
	return NULL;
}

/* A MARK that waits for room in a full group comes behind the flight that is aborted: it would pass for aborted, too,
 * and all that the checkpoint has written be lost. */
Test(commit_room, mark_behind_an_aborted_flight)
{
	struct rig rig;
	struct caller leader = { .timeout_ns = -1 }, checkpointer = { 0 };
	uint64_t root, syncs;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	root = db_put(rig.db, "key", "1");
	leader.seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
	sim_disk_set_hook(rig.disk, stop_who_stays, &rig.gate);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "", stay_and_wait);
	wait_until_stopped(&rig);
	must_work(put_record(&rig, GROUP_BYTES));
	syncs = sim_disk_calls(rig.disk, SIM_SYNC);
	callers_start(&rig, &checkpointer, 1, "", checkpoint_inside);
	while (sim_disk_calls(rig.disk, SIM_SYNC) == syncs) /* of its bulk */
		usleep(200);
	usleep(50000); /* from there to where it waits for room */
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	atomic_store(&rig.gate.shut, false);
	callers_join(&leader, 1);
	callers_join(&checkpointer, 1);
	cr_assert_eq(leader.result, -EIO);
	must_work(checkpointer.result);
	cr_assert_eq(atomic_load(&rig.db->core.checkpoint.seq), root);
	must(!has_key(rig.db, "failed") && survives(&rig, "key"));
	rig_close(&rig);
}

static void *caller_tell_checkpoint(void *context)
{
	struct caller *caller = context;
	struct slf_errinfo info = { .size = sizeof(info) };

	checkpoint_inside(context);
	must_work(slf_errinfo(&info));
	caller->told = strstr(info.text, "cannot write") ? info.code : 0;
	return NULL;
}

/* A checkpoint whose MARK is given up with the flight before it would tell of a doomed transaction, where the disk is full. */
Test(commit_room, mark_given_up_with_another)
{
	struct rig rig;
	struct caller leader = { .timeout_ns = -1 }, checkpointer = { 0 };
	uint64_t root;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	root = db_put(rig.db, "key", "1");
	leader.seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
	sim_disk_set_hook(rig.disk, stop_who_stays, &rig.gate);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &leader, 1, "", stay_and_wait);
	wait_until_stopped(&rig);
	callers_start(&rig, &checkpointer, 1, "", caller_tell_checkpoint);
	wait_until_gathered(&rig, 2); /* the MARK and the OPEN record */
	rig_fail(&rig, SIM_WRITE, -ENOSPC, false);
	atomic_store(&rig.gate.shut, false);
	callers_join(&leader, 1);
	callers_join(&checkpointer, 1);
	cr_assert_eq(leader.result, -ENOSPC);
	cr_assert_eq(checkpointer.result, -ENOSPC);
	cr_assert_eq(checkpointer.told, -ENOSPC);
	must(atomic_load(&rig.db->core.checkpoint.failed));
	must_work(slf_checkpoint(rig.db));
	cr_assert_eq(atomic_load(&rig.db->core.checkpoint.seq), root);
	rig_close(&rig);
}

/* Without sync what is visible already would vanish while something older becomes durable. */
Test(commit_room, visible_behind_a_flight)
{
	struct rig rig;
	struct caller first = { 0 };

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	put_async(&rig, "older", 10);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &first, 1, "", sync_inside);
	wait_until_stopped(&rig);
	put_async(&rig, "newer", 10);
	must(has_key(rig.db, "newer"));
	atomic_store(&rig.gate.shut, false);
	callers_join(&first, 1);
	must_work(first.result);
	must(has_key(rig.db, "newer") && survives(&rig, "older"));
	rig_close(&rig);
}

/* A record that could not be written would take commits along that have been acknowledged. */
Test(commit_room, record_that_cannot_be_written)
{
	struct rig rig;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	seq = db_put(rig.db, "before", "1");
	must_work(put_record(&rig, 64));
	rig.db->core.log.unsynced = true; /* as a bridge leaves it: the slab is not flushed by its own write */
	rig_fail(&rig, SIM_WRITE, -EIO, false);
	cr_assert_eq(commit_sync(rig.commit, NULL), -EIO);
	must_work(commit_check(rig.commit));
	cr_assert_eq(rig.db->core.stats.values.rollbacks, 0);
	cr_assert_eq(atomic_load(&rig.commit->settled_seq), seq);
	must_work(slf_wait(rig.db, seq, 0));
	db_put(rig.db, "after", "1");
	must(survives(&rig, "before") && survives(&rig, "after"));
	rig_close(&rig);
}

/* Commits that gathered behind it would wait for ever, or be taken back though they do not stand on it, and doom the transaction
 * that stands on them. */
Test(commit_room, commits_behind_a_record_that_cannot_be_written)
{
	struct rig rig;
	struct caller first = { 0 }, behind[2] = { 0 };
	struct slf_txn *txn;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	must_work(put_record(&rig, 64));
	rig.db->core.log.unsynced = true;
	rig_fail(&rig, SIM_WRITE, -ENOSPC, false);
	atomic_store(&rig.gate.shut, true);
	callers_start(&rig, &first, 1, "", sync_inside);
	wait_until_stopped(&rig);
	callers_start(&rig, behind, 2, "behind", caller_commit);
	wait_until_gathered(&rig, 2);
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("beside"), text("value")));
	atomic_store(&rig.gate.shut, false);
	callers_join(&first, 1);
	callers_join(behind, 2);
	cr_assert_eq(first.result, -ENOSPC);
	must_work(slf_commit(txn, NULL));
	for (unsigned i = 0; i < 2; i++) {
		must_work(behind[i].result);
		must(has_key(rig.db, behind[i].key) && survives(&rig, behind[i].key));
	}
	must(has_key(rig.db, "beside") && survives(&rig, "beside"));
	cr_assert_eq(rig.db->core.stats.values.rollbacks, 0);
	rig_close(&rig);
}

/* ---- Services ---------------------------------------------------------------------------------------------------- */

/* Who only asks would do the work of the services, or nobody would where there are none. */
Test(commit_room, who_leads)
{
	struct rig rig;
	unsigned wakes;
	uint64_t seq;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	must_work(slf_wait(rig.db, put_async(&rig, "alone", 10), 0));
	pretend_services(&rig, &wakes);
	seq = put_async(&rig, "key", 10);
	cr_assert_eq(wakes, 1);
	cr_assert_eq(slf_wait(rig.db, seq, 0), -ETIMEDOUT);
	cr_assert_eq(gathered(&rig), 1);
	must_work(slf_wait(rig.db, seq, -1));
	must(survives(&rig, "key"));
	rig_close(&rig);
}

/* Without sync the flusher would not be told when the first commit has gathered, or be told by each. */
Test(commit_room, flusher_is_told)
{
	struct rig rig;
	unsigned wakes;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	pretend_services(&rig, &wakes);
	put_async(&rig, "first", 10);
	cr_assert_eq(wakes, 1);
	put_async(&rig, "second", 10);
	cr_assert_eq(wakes, 1);
	while (commit_load(rig.commit).gathered < 64 * KIB)
		must_work(put_medium(rig.db, NULL));
	cr_assert_gt(wakes, 1);
	cr_assert_gt(gathered(&rig), 2); /* it is for the flusher to write them */
	rig_close(&rig);
}

/* Without services who commits writes 64 KiB out, and no less. */
Test(commit_room, written_out_at_64_kib)
{
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_NONE);
	put_async(&rig, "half", 32768 - LOG_RECORD_HEADER_BYTES - COMMIT_BODY_BYTES - ACTION_HEADER_BYTES - 4);
	cr_assert_eq(commit_load(rig.commit).gathered, 32 * KIB);
	put_async(&rig, "half", 32768 - LOG_RECORD_HEADER_BYTES - COMMIT_BODY_BYTES - ACTION_HEADER_BYTES - 4);
	cr_assert_eq(gathered(&rig), 0);
	must(comes_back(&rig, "half"));
	rig_close(&rig);
}

/* The thread of checkpoints would not be told that one is due. */
Test(commit_room, checkpointer_is_told)
{
	struct rig rig;
	unsigned wakes = 0;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	rig.db->core.tuning.threads = true; /* else the transaction does it */
	rig.db->core.wake_checkpoint = count_wake;
	rig.db->core.wake_context = &wakes;
	put_async(&rig, "key", MEDIUM_BYTES);
	must_work(slf_sync(rig.db, NULL));
	cr_assert_eq(wakes, 0); /* none is due */
	rig.db->core.tuning.log_bytes = 2048 * KIB;
	rig.db->core.log.mark_bytes.payload -= 1024 * KIB;
	for (unsigned i = 0; i < 1000 && !wakes; i++)
		put_async(&rig, "key", 10);
	cr_assert_eq(wakes, 1); /* at one of many commits, */
	put_async(&rig, "key", 10);
	cr_assert_eq(wakes, 1);
	must_work(slf_sync(rig.db, NULL));
	must_work(put_medium(rig.db, NULL));
	cr_assert_eq(wakes, 1);
	for (unsigned i = 0; i < 2; i++) { /* and at one that is large */
		struct slf_txn *txn = txn_begin(rig.db, SLF_WRITE);

		for (unsigned j = 0; j < 3; j++)
			must_work(slf_put(txn, SLF_MAIN, text("medium"), slice(medium, sizeof(medium))));
		must_work(slf_commit(txn, NULL));
		cr_assert_eq(wakes, 2 + i);
	}
	rig.db->core.wake_checkpoint = NULL;
	rig.db->core.tuning.threads = false;
	rig_close(&rig);
}

/* Versions that nobody reads any more would gather until the next checkpoint. */
Test(commit_room, versions_are_swept)
{
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < 3 * VERSIONS_SWEEP_EVERY; i++) {
		put_async(&rig, "key", 10);
		cr_assert_leq(rig.db->core.versions.unswept, VERSIONS_SWEEP_EVERY);
	}
	rig_close(&rig);
}

/* A transaction of exactly a quarter of the log's budget would be a checkpoint, or a larger one none. */
Test(commit_room, quarter_of_the_log)
{
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "key", "1");
	for (unsigned i = 0; i < 2; i++) {
		struct slf_txn *txn = txn_begin(rig.db, SLF_WRITE);
		uint64_t checkpoints = rig.db->core.stats.values.checkpoints;

		must_work(slf_put(txn, SLF_MAIN, text("medium"), slice(medium, sizeof(medium))));
		rig.db->core.tuning.log_bytes = 4 * (txn->action_total - i);
		must_work(slf_commit(txn, NULL));
		cr_assert_eq(rig.db->core.stats.values.checkpoints, checkpoints + i);
	}
	rig_close(&rig);
}

/* ---- Alone, and behind others ------------------------------------------------------------------------------------ */

/* What has not been made would be released like what has been: descriptor 0 would be closed, for one. */
Test(commit_room, released_before_it_was_made)
{
	struct commit commit = { 0 };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	must(fd >= 0 && (fd == 0 || dup2(fd, 0) == 0));
	commit_release(&commit);
	cr_assert_neq(fcntl(0, F_GETFD), -1);
}

/* A commit alone would pay for a flush of the whole file, where its own write can do it. */
Test(commit_room, lone_commit_flushes_itself)
{
	struct rig rig;
	uint64_t syncs;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "first", "1");
	syncs = sim_disk_calls(rig.disk, SIM_SYNC);
	db_put(rig.db, "second", "2");
	cr_assert_eq(sim_disk_calls(rig.disk, SIM_SYNC), syncs);
	must(survives(&rig, "second"));
	rig_close(&rig);
}

/* A failure that nobody has waited for would be told again and again, or not at all: once for those that follow each other for one
 * reason, once for each of the others, the newest first. */
Test(commit_room, failures_that_were_not_told)
{
	static const int codes[] = { -EIO, -EIO, -ENOSPC, -EIO };
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		put_async(&rig, "failed", RIG_LARGE_BYTES);
		rig_fail(&rig, SIM_WRITE, codes[i], false);
		cr_assert_eq(commit_write_out(rig.commit), codes[i]);
		if (i == 1) {
			cr_assert_eq(commit_untold(rig.commit), -EIO);
			cr_assert_eq(commit_untold(rig.commit), 0);
		}
	}
	cr_assert_eq(commit_untold(rig.commit), -EIO);
	cr_assert_eq(commit_untold(rig.commit), -ENOSPC);
	cr_assert_eq(commit_untold(rig.commit), 0);
	rig_close(&rig);
}

/* Who asks twice for one of two commits that failed together would pass for both, and nobody hear of the other; or
 * what all have heard of be told once more. */
Test(commit_room, failure_that_was_asked_for_twice)
{
	static const int codes[] = { -EIO, -EIO }; /* one range of burnt numbers, grown after it was told */
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (unsigned both = 0; both < 2; both++) {
		uint64_t first = put_async(&rig, "first", RIG_LARGE_BYTES), second = put_async(&rig, "second", 10);

		rig_fail(&rig, SIM_WRITE, codes[both], false);
		for (unsigned i = 0; i < 2; i++)
			cr_assert_eq(slf_wait(rig.db, first, -1), codes[both]);
		if (both)
			cr_assert_eq(slf_wait(rig.db, second, -1), codes[both]);
		cr_assert_eq(slf_sync(rig.db, NULL), both ? 0 : codes[both]);
		cr_assert_eq(slf_sync(rig.db, NULL), 0);
	}
	rig_close(&rig);
}

/* Fates would be lost when there are many, or the memory for them double with each. */
Test(commit_room, many_burnt_ranges)
{
	static const int codes[] = { -EIO, -ENOSPC };
	uint64_t seqs[60];
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < ARRAY_SIZE(seqs); i++) {
		seqs[i] = put_async(&rig, "failed", RIG_LARGE_BYTES);
		rig_fail(&rig, SIM_WRITE, codes[i % 2], false);
		cr_assert_eq(slf_wait(rig.db, seqs[i], -1), codes[i % 2]);
		sim_disk_clear_faults(rig.disk);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(seqs); i++)
		cr_assert_eq(slf_wait(rig.db, seqs[i], -1), codes[i % 2]);
	must_work(commit_check(rig.commit));
	rig_close(&rig);
}
