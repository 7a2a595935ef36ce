/* SPDX-License-Identifier: MIT */
/* Recovery beside what others do to the files, and on a system that fails in one thing. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "recover_rig.h"

static bool no_randomness;

ssize_t __real_getrandom(void *buffer, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags);

ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags)
{
	if (no_randomness) {
		errno = ENOSYS;
		return -1;
	}
	return __real_getrandom(buffer, size, flags);
}

/* Two histories would have the same salt, or one that anybody can guess. */
Test(recover_beside, no_randomness)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct slf_db *db = NULL;

	no_randomness = true;
	cr_assert_eq(open_three(disk, 0, NULL, &db), -ENOSYS);
	no_randomness = false;
	must_work(open_three(disk, 0, NULL, &db));
	cr_assert_eq(prefix(db), COMMITS);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* A writer that commits at the n-th read of somebody else. */
struct neighbour {
	struct slf_db *db;
	uint64_t nth;
	bool fired;
	bool small; /* commits in slabs only */
	uint64_t calls, pause;
};

static void commit_beside(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct neighbour *neighbour = context;

	(void)disk;
	if (call != SIM_READ || neighbour->fired || --neighbour->nth)
		return;
	neighbour->fired = true;
	if (!neighbour->small)
		commit_huge(neighbour->db);
	for (unsigned i = 1; i <= 3; i++)
		db_put(neighbour->db, "beside", "1");
}

/* A reader that opens while a writer makes the files grow would call what lies behind their former ends damage. */
Test(recover_beside, files_grow_beside_a_reader)
{
	struct neighbour neighbour = { .fired = true };
	unsigned seen = 0;

	for (uint64_t nth = 1; neighbour.fired; nth++) {
		struct sim_disk *disk = sim_disk_new();
		struct slf_db *reader = NULL;
		struct slf_txn *txn;

		must_work(open_three(disk, SLF_CREATE, NULL, &neighbour.db));
		commit_one(neighbour.db, 0);
		neighbour.nth = nth;
		neighbour.fired = false;
		sim_disk_set_hook(disk, commit_beside, &neighbour);
		must_work(open_three(disk, SLF_READONLY, NULL, &reader));
		sim_disk_set_hook(disk, NULL, NULL);
		txn = txn_begin(reader, SLF_READ);
		if (slf_get(txn, SLF_MAIN, text("key1005"), NULL) == 0) {
			must(has_huge(reader));
			seen++;
		}
		slf_abort(txn);
		must_work(slf_close(reader));
		must_work(slf_close(neighbour.db));
		sim_disk_free(disk);
	}
	cr_assert_gt(seen, 0);
}

static void go_on_beside(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct neighbour *neighbour = context;

	(void)disk;
	if (call != SIM_READ || ++neighbour->calls < neighbour->nth || neighbour->fired)
		return;
	if (neighbour->calls == neighbour->nth)
		commit_huge(neighbour->db);
	else if (neighbour->calls >= neighbour->nth + neighbour->pause)
		db_put(neighbour->db, "beside", "1");
	neighbour->fired = neighbour->calls > neighbour->nth + neighbour->pause + 10;
}

/* A value for which the files have grown is the newest thing in the log when a reader looks for its end, and there is more when it
 * looks for the value: it would take the value for missing, and what is more for a sign of damage. */
Test(recover_beside, log_goes_on_while_values_are_checked)
{
	struct neighbour neighbour = { .calls = UINT64_MAX };

	for (uint64_t round = 0; neighbour.calls > round / 8; round++) {
		struct sim_disk *disk = sim_disk_new();
		struct slf_info info = { .size = sizeof(info) };
		struct slf_db *reader = NULL;

		neighbour = (struct neighbour){ .nth = 1 + round / 8, .pause = 1 + round % 8 };
		must_work(open_three(disk, SLF_CREATE, NULL, &neighbour.db));
		commit_one(neighbour.db, 0);
		sim_disk_set_hook(disk, go_on_beside, &neighbour);
		must_work(open_three(disk, SLF_READONLY, NULL, &reader));
		sim_disk_set_hook(disk, NULL, NULL);
		must_work(slf_info(reader, &info));
		cr_assert_eq(info.damaged, 0, "commits at read %llu, and %llu behind it", (unsigned long long)neighbour.nth,
			     (unsigned long long)neighbour.pause);
		must_work(slf_close(reader));
		must_work(slf_close(neighbour.db));
		sim_disk_free(disk);
	}
}

static void grow_beside_a_reader(bool checkpoint)
{
	struct neighbour neighbour = { .fired = true, .small = true };

	for (uint64_t nth = 1; neighbour.fired; nth++) {
		struct sim_disk *disk = sim_disk_new();
		struct slf_info info = { .size = sizeof(info) };
		struct slf_db *reader = NULL;

		must_work(open_three(disk, SLF_CREATE, NULL, &neighbour.db));
		commit_one(neighbour.db, 0);
		if (checkpoint)
			must_work(slf_checkpoint(neighbour.db));
		neighbour.nth = nth;
		neighbour.fired = false;
		sim_disk_set_hook(disk, commit_beside, &neighbour);
		must_work(open_three(disk, SLF_READONLY, NULL, &reader));
		sim_disk_set_hook(disk, NULL, NULL);
		must_work(slf_info(reader, &info));
		cr_assert_eq(info.damaged, 0, "commits at read %llu", (unsigned long long)nth);
		must_work(slf_close(reader));
		must_work(slf_close(neighbour.db));
		sim_disk_free(disk);
	}
}

/* What is appended while a reader looks whether the log ends where it has found nothing more would be taken for evidence that
 * something is missing there. */
Test(recover_beside, log_grows_beside_a_reader)
{
	grow_beside_a_reader(false);
	grow_beside_a_reader(true); /* who finds nothing behind the checkpoint yet */
}

/* The size of a file that cannot be asked for would be taken for what it was. */
Test(recover_beside, sizes_that_cannot_be_asked_for)
{
	uint64_t seqs[COMMITS], limit, fired = 1;
	struct sim_disk *origin = unclean_disk(seqs, &limit);

	for (uint64_t nth = 1; fired; nth++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *db = NULL;
		int result;

		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_INFO, .nth = nth, .error = -EIO });
		result = open_three(disk, SLF_READONLY, NULL, &db);
		fired = sim_disk_faults_fired(disk);
		cr_assert_eq(result, fired ? -EIO : 0, "the %lluth", (unsigned long long)nth);
		if (!result)
			must_work(slf_close(db));
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* A flush fails and drops what it should have flushed, on any of the devices; the process ends, and the system goes on showing the
 * bytes: they would be taken for commits, be flushed by a flush that has nothing to do, and go with the next power cut. */
Test(recover_beside, what_a_failed_flush_dropped)
{
	for (uint64_t nth = 1; nth <= 3; nth++) {
		struct sim_disk *disk = sim_disk_new(), *next;
		struct slf_db *db = NULL;
		unsigned shown;

		must_work(open_three(disk, SLF_CREATE, NULL, &db));
		db->core.commit.sync = SLF_SYNC_NONE;
		db->core.tuning.sync = SLF_SYNC_NONE;
		for (unsigned i = 0; i < COMMITS; i++)
			commit_one(db, i);
		commit_huge(db);
		must_work(commit_write_out(&db->core.commit));
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_SYNC, .nth = nth, .error = -EIO, .drop = true });
		cr_assert_eq(slf_sync(db, NULL), SLF_EUNKNOWN);
		next = sim_disk_kill(disk);
		slf_close(db);
		sim_disk_free(disk);
		must_work(open_three(next, 0, NULL, &db));
		shown = prefix(db);
		disk = sim_disk_crash(next, NULL, NULL);
		must_work(slf_close(db));
		sim_disk_free(next);
		must_work(open_three(disk, 0, NULL, &db));
		cr_assert_eq(prefix(db), shown);
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
}

/* What a torn slab left behind the end of the log would stay there, to be met by a later slab that ends before it; also where
 * nothing had been committed since the opening, or all of it been known when the page was written. */
Test(recover_beside, torn_tail_is_cleared)
{
	static const uint64_t distances[] = { 64 * KIB, 256 * KIB };
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit), *killed;

	for (unsigned round = 0; round < 2; round++) {
		uint8_t torn[SIM_SECTOR_BYTES];
		static const uint8_t zeros[sizeof(torn)];
		struct slf_db *db = NULL;
		uint64_t end;

		must_work(open_three(disk, SLF_READONLY, NULL, &db));
		end = position_offset(db->core.log.end.position);
		must_work(slf_close(db));
		memset(torn, 0xa5, sizeof(torn));
		for (unsigned i = 0; i < 2; i++)
			must_work(sim_disk_poke(disk, RIG_PATH, end + distances[i], torn, sizeof(torn)));
		must_work(open_three(disk, 0, NULL, &db));
		for (unsigned i = 0; i < 2; i++) {
			must_work(sim_disk_peek_durable(disk, RIG_PATH, end + distances[i], torn, sizeof(torn)));
			cr_assert_eq(memcmp(torn, zeros, sizeof(torn)), 0);
		}
		cr_assert_eq(prefix(db), COMMITS);
		killed = sim_disk_kill(disk);
		must_work(slf_close(db));
		sim_disk_free(disk);
		disk = killed;
	}
	sim_disk_free(disk);
}

/* An opening that is stopped by its progress function would leave files open or memory behind, take something away,
 * or be told as a failure of another kind. */
Test(recover_beside, stopped_by_the_caller)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *origin = unclean_disk(seqs, &limit);
	bool stopped = true;
	unsigned n;

	for (n = 1; stopped; n++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *db = NULL;

		for (unsigned writes = 0; writes < 2; writes++) {
			struct slf_errinfo info = { .size = sizeof(info) };
			struct heard heard = { .stop_at = n };
			int result = open_three(disk, writes ? 0 : SLF_READONLY, &heard, &db);

			must(!heard.wrong && heard.reading + heard.replaying <= n);
			stopped = heard.reading + heard.replaying == n;
			cr_assert_eq(result, stopped ? -ECANCELED : 0, "call %u: %d", n, result);
			if (!stopped) {
				must_work(slf_close(db));
				continue;
			}
			must_work(slf_errinfo(&info));
			must(info.code == -ECANCELED && strstr(info.text, heard.replaying ? "replaying" : "reading"));
			cr_assert_eq(sim_disk_open_files(disk), 0);
		}
		must_work(open_three(disk, 0, NULL, &db));
		cr_assert_eq(prefix(db), COMMITS);
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	cr_assert_gt(n, COMMITS);
	sim_disk_free(origin);
}

/* Values that may not have reached the disk are read at an opening: who waits for gigabytes of them would be told nothing, and
 * could not end it. */
Test(recover_beside, stopped_among_values)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	struct slf_db *db = NULL;
	struct heard heard;
	uint64_t bytes = 0;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	db->core.commit.sync = SLF_SYNC_NONE;
	db->core.tuning.sync = SLF_SYNC_NONE;
	commit_huge(db);
	bytes = db->core.stats.values.bulk_value_stored_bytes;
	must_work(commit_write_out(&db->core.commit));
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	for (unsigned nth = 3; nth > 0; nth--) {
		heard = (struct heard){ .stop_check_at = nth };
		cr_assert_eq(open_three(killed, nth % 2 ? 0 : SLF_READONLY, &heard, &db), -ECANCELED);
		cr_assert(heard.checking == nth && !heard.replaying);
	}
	heard = (struct heard){ 0 };
	must_work(open_three(killed, 0, &heard, &db));
	must(!heard.wrong);
	cr_assert_geq(heard.checking, 6);
	cr_assert_geq(heard.checked, bytes);
	cr_assert_eq(heard.checked, heard.check_total);
	must(has_huge(db));
	must_work(slf_close(db));
	sim_disk_free(killed);
}

static enum sim_fate tear_all(void *context, const struct sim_unit *unit)
{
	(void)context;
	return unit->kind == SIM_UNIT_WRITE ? SIM_TORN : SIM_KEPT;
}

/* A power cut in the writing of the side file, whose sector then holds garbage, would keep the database from being opened. */
Test(recover_beside, torn_side_file)
{
	struct sim_disk *disk = sim_disk_new(), *crashed;
	struct slf_db *db = NULL;

	must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	db_put(db, "key", "value");
	crashed = sim_disk_crash(disk, tear_all, NULL); /* nothing but PATH.lock is pending */
	must_work(slf_close(db));
	sim_disk_free(disk);
	must_work(disk_open(crashed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must(has_key(db, "key"));
	must_work(slf_close(db));
	sim_disk_free(crashed);
}

static enum sim_fate tear_log(void *context, const struct sim_unit *unit)
{
	(void)context;
	return unit->kind == SIM_UNIT_WRITE && unit->offset >= EXTENT_ZERO_DATA ? SIM_TORN : SIM_LOST;
}

static void tear_log_here(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct sim_disk *crashed;
	struct slf_db *db = NULL;

	(void)context;
	if (call != SIM_WRITE && call != SIM_WRITTEN && call != SIM_SYNC)
		return;
	crashed = sim_disk_crash(disk, tear_log, NULL);
	must_work(disk_open(crashed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must(has_key(db, "small") && has_key(db, "key3"));
	must_work(slf_close(db));
	sim_disk_free(crashed);
}

/* Without direct transfers: an acknowledged slab (or value) that an opening wrote once more, to be sure of it, could be torn in
 * that, though it had been on stable storage. */
Test(recover_beside, torn_opening)
{
	for (unsigned large = 0; large < 2; large++) {
		struct sim_disk *disk = sim_disk_new(), *killed;
		struct slf_db *db = NULL;

		sim_disk_set_direct(disk, 0);
		must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		if (large)
			db_put(db, "small", "1"), commit_one(db, 3);
		else
			commit_one(db, 3), db_put(db, "small", "1");
		killed = sim_disk_kill(disk);
		must_work(slf_close(db));
		sim_disk_free(disk);
		sim_disk_set_hook(killed, tear_log_here, NULL);
		must_work(disk_open(killed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		sim_disk_set_hook(killed, NULL, NULL);
		must_work(slf_close(db));
		sim_disk_free(killed);
	}
}
