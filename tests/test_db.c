/* SPDX-License-Identifier: MIT */
/* What an opening finds: other processes that are at the same files, at the worst moments too; locks; further files. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "format.h"
#include "gate_rig.h"
#include "txn.h"

/* What another process does when this one is about to take its lock. */
struct rival {
	enum sim_call call;
	bool removes;  /* it takes the files away and makes new ones, else it commits into those that are there */
	bool creates;  /* or makes them */
	bool fails;    /* and then nothing can be read any more */
	bool done;
};

static void commit_key(struct slf_db *db)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	must_work(slf_put(txn, SLF_MAIN, text("rival"), text("was here")));
	must_work(slf_commit(txn, NULL));
	must_work(slf_close(db));
}

static void meet_rival(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct rival *rival = context;
	static struct stats unused;
	struct slf_db *db;
	struct io *io;

	if (call != rival->call || rival->done)
		return;
	rival->done = true;
	if (rival->removes) {
		must_work(sim_disk_io(disk, &unused, &io));
		must_work(io_remove(io, RIG_PATH));
		io_free(io);
	}
	must_work(disk_open(disk, rival->removes || rival->creates ? SLF_CREATE : 0, SLF_SYNC_COMMIT, &db));
	commit_key(db);
	if (rival->fails)
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_READ, .error = -EIO, .sticky = true });
}

/* Who made the files and cannot open them removes them: with what another process has committed meanwhile. */
Test(db, failed_creation_leaves_the_commits_of_others)
{
	struct rival rival = { .call = SIM_LOCK, .fails = true };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	sim_disk_set_hook(disk, meet_rival, &rival);
	cr_assert_eq(disk_open(disk, SLF_CREATE, SLF_SYNC_COMMIT, &db), -EIO);
	cr_assert(rival.done);
	sim_disk_clear_faults(disk);
	must_work(disk_open(disk, 0, SLF_SYNC_COMMIT, &db));
	cr_assert(has_key(db, "rival"));
	cr_assert_eq(slf_close(db), 0);
	sim_disk_free(disk);
}

/* Commits into a file without a name would be lost when it is closed. */
Test(db, file_removed_while_it_is_opened)
{
	struct rival rival = { .call = SIM_LOCK };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(disk_open(disk, SLF_CREATE, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(slf_close(db), 0);
	rival.removes = true;
	sim_disk_set_hook(disk, meet_rival, &rival);
	cr_assert_eq(disk_open(disk, 0, SLF_SYNC_COMMIT, &db), -ENOENT);
	cr_assert(rival.done);
	must_work(disk_open(disk, 0, SLF_SYNC_COMMIT, &db));
	cr_assert(has_key(db, "rival"));
	cr_assert_eq(slf_close(db), 0);
	sim_disk_free(disk);
}

/* Two processes that make the same database: the second one would take the place of the first one's, or be refused although it
 * would have opened that. */
Test(db, created_by_another_meanwhile)
{
	for (unsigned exclusive = 0; exclusive < 2; exclusive++) {
		struct rival rival = { .call = SIM_LINK, .creates = true };
		struct sim_disk *disk = sim_disk_new();
		struct slf_db *db = NULL;

		sim_disk_set_hook(disk, meet_rival, &rival);
		cr_assert_eq(disk_open(disk, SLF_CREATE | (exclusive ? SLF_EXCLUSIVE : 0), SLF_SYNC_COMMIT, &db),
			     exclusive ? -EEXIST : 0);
		cr_assert(rival.done);
		if (exclusive)
			must_work(disk_open(disk, 0, SLF_SYNC_COMMIT, &db));
		cr_assert(has_key(db, "rival"));
		cr_assert_eq(slf_close(db), 0);
		sim_disk_free(disk);
	}
}

/* Who has made the files would not see what another one has committed into them before the lock was taken. */
Test(db, created_and_used_by_another_meanwhile)
{
	struct rival rival = { .call = SIM_LOCK };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	sim_disk_set_hook(disk, meet_rival, &rival);
	must_work(disk_open(disk, SLF_CREATE, SLF_SYNC_COMMIT, &db));
	cr_assert(rival.done && has_key(db, "rival"));
	cr_assert_eq(slf_close(db), 0);
	sim_disk_free(disk);
}

/* ---- Locks ------------------------------------------------------------------------------------------------------- */

static void fail_reads(void *context, struct sim_disk *disk, enum sim_call call)
{
	(void)context;
	if (call == SIM_LOCK)
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_READ, .error = -EIO, .sticky = true });
}

/* What stands in the side file is only for people to read: with anything in it, or where it cannot be read, the lock would be
 * passed over, waited for without end, or be told to be another's. */
Test(db, owner_of_the_lock)
{
	static const struct {
		const char *owner;
		bool told;
	} cases[] = {
		{ "pid 1\n", true }, { "pid 0\n", true }, { "pid -7\n", true }, { "pid x\n", true }, { "nobody\n", false },
		{ "", false }, { "pid 2147483647\n", true }, { NULL, false },
	};
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db = NULL, *other = NULL;
	struct sim_disk *disk = sim_disk_new();
	char line[32];

	must_work(disk_open(disk, SLF_CREATE, SLF_SYNC_COMMIT, &db));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *owner = cases[i].owner;

		memset(line, 0, sizeof(line));
		snprintf(line, sizeof(line), "%s", owner ? owner : "pid 1\n");
		must_work(sim_disk_poke(disk, RIG_PATH SIDE_SUFFIX, 64, line, sizeof(line)));
		if (!owner)
			sim_disk_set_hook(disk, fail_reads, NULL);
		cr_assert_eq(disk_open(disk, 0, SLF_SYNC_COMMIT, &other), SLF_ELOCKED, "case %zu", i);
		must_work(slf_errinfo(&info));
		line[strcspn(line, "\n")] = 0;
		cr_assert_eq(strstr(info.text, " of pid") != NULL, cases[i].told, "case %zu: %s", i, info.text);
		cr_assert(!cases[i].told || strstr(info.text, line), "case %zu: %s", i, info.text);
	}
	sim_disk_set_hook(disk, NULL, NULL);
	sim_disk_clear_faults(disk);
	cr_assert_eq(slf_close(db), 0);
	sim_disk_free(disk);
}

/* A lock that cannot be had for another reason would pass for somebody else's. */
Test(db, locks_that_fail)
{
	static const int errors[] = { -EACCES, -ENOLCK, -EIO };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(disk_open(disk, SLF_CREATE, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(slf_close(db), 0);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_LOCK, .error = errors[i], .sticky = true });
		cr_assert_eq(disk_open(disk, 0, SLF_SYNC_COMMIT, &db), errors[i]);
		sim_disk_clear_faults(disk);
	}
	must_work(disk_open(disk, 0, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(slf_close(db), 0);
	sim_disk_free(disk);
}

/* ---- Names ------------------------------------------------------------------------------------------------------- */

static void keep_kill(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct sim_disk **killed = context;

	if (call == SIM_SYNC_DIRECTORY && !*killed)
		*killed = sim_disk_kill(disk);
}

/* The name of a database whose maker was killed would be taken for durable though it cannot be flushed; or a directory that may
 * not be read would keep it from being opened. */
Test(db, name_that_cannot_be_flushed)
{
	struct sim_disk *disk = sim_disk_new(), *killed = NULL;
	struct slf_db *db = NULL;

	sim_disk_set_hook(disk, keep_kill, &killed);
	must_work(disk_open(disk, SLF_CREATE, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(slf_close(db), 0);
	must(killed != NULL);
	sim_disk_add_fault(killed, &(struct sim_fault){ .call = SIM_SYNC_DIRECTORY, .error = -EIO });
	cr_assert_eq(disk_open(killed, 0, SLF_SYNC_COMMIT, &db), -EIO);
	sim_disk_clear_faults(killed);
	sim_disk_add_fault(killed, &(struct sim_fault){ .call = SIM_SYNC_DIRECTORY, .error = -EACCES });
	must_work(disk_open(killed, 0, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(slf_close(db), 0);
	sim_disk_free(killed);
	sim_disk_free(disk);
}

/* ---- Further files ----------------------------------------------------------------------------------------------- */

static int open_with(struct sim_disk *disk, const char *path, unsigned flags, const char *const *further, unsigned count,
		     struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags | SLF_NO_THREADS;
	options.spindles = further;
	options.spindle_count = count;
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(path, &options, io, db);
}

static const char *const spindles[] = { "/usr/spindle", "/var/spindle" };

/* A creation would take another database's file, or say that there is a database. */
Test(db, further_file_exists)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(open_with(disk, "/tmp/first", SLF_CREATE, spindles, 2, &db));
	commit_key(db);
	cr_assert_eq(open_with(disk, "/tmp/second", SLF_CREATE, spindles + 1, 1, &db), -EEXIST);
	cr_assert_eq(open_with(disk, "/tmp/second", SLF_CREATE | SLF_EXCLUSIVE, spindles + 1, 1, &db), -EEXIST);
	cr_assert_eq(open_with(disk, "/tmp/second", 0, NULL, 0, &db), -ENOENT);
	must_work(open_with(disk, "/tmp/first", 0, NULL, 0, &db));
	cr_assert(has_key(db, "rival"));
	cr_assert_eq(slf_close(db), 0);
	sim_disk_free(disk);
}

/* A file would be taken for another one of the same database. */
Test(db, further_files_in_each_others_place)
{
	static uint8_t pages[META_PAGE_B + META_PAGE_BYTES];
	struct slf_errinfo info = { .size = sizeof(info) };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(open_with(disk, RIG_PATH, SLF_CREATE, spindles, 2, &db));
	cr_assert_eq(slf_close(db), 0);
	must_work(sim_disk_peek_durable(disk, spindles[0], 0, pages, sizeof(pages)));
	must_work(sim_disk_poke(disk, spindles[1], 0, pages, sizeof(pages)));
	cr_assert_eq(open_with(disk, RIG_PATH, 0, NULL, 0, &db), SLF_ECORRUPT);
	must_work(slf_errinfo(&info));
	cr_assert(strstr(info.text, "this file is spindle 1 of this database, not spindle 2"), "%s", info.text);
	sim_disk_free(disk);
}

/* Names for which the table has no room would be cut off, or half a database be left. */
Test(db, names_of_further_files_too_long)
{
	char (*names)[256] = calloc(SPINDLES_MAX, sizeof(*names));
	struct sim_disk *disk = sim_disk_new();
	const char *further[SPINDLES_MAX - 1];
	struct slf_db *db = NULL;

	must(names != NULL);
	for (unsigned i = 0; i < SPINDLES_MAX - 1; i++) {
		snprintf(names[i], sizeof(names[i]), "/tmp/%0249u", i);
		further[i] = names[i];
	}
	cr_assert_eq(open_with(disk, RIG_PATH, SLF_CREATE, further, SPINDLES_MAX - 1, &db), SLF_ETOOBIG);
	cr_assert_eq(open_with(disk, RIG_PATH, 0, NULL, 0, &db), -ENOENT);
	cr_assert_eq(open_with(disk, further[0], 0, NULL, 0, &db), -ENOENT);
	free(names);
	sim_disk_free(disk);
}

/* ---- Handles ----------------------------------------------------------------------------------------------------- */

/* A handle that is used after its end, which is kept for the next transaction, would read or write in that. */
Test(db, transactions_after_their_end)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;
	struct slf_txn *txn;

	must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	txn = txn_begin(db, SLF_WRITE);
	slf_abort(txn);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), NULL), SLF_EBADHANDLE);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("value")), SLF_EBADHANDLE);
	cr_assert_eq(slf_txn_seq(txn), 0);
	cr_assert_eq(slf_close(db), 0);
	sim_disk_free(disk);
}

/* Sizes that cannot be had would be told as nothing. */
Test(db, info_that_fails)
{
	struct slf_info info = { .size = sizeof(info) };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_INFO, .error = -EIO });
	cr_assert_eq(slf_info(db, &info), -EIO);
	cr_assert_eq(slf_info(db, &info), 0);
	cr_assert_gt(info.file_bytes, 0);
	cr_assert_eq(slf_close(db), 0);
	sim_disk_free(disk);
}

/* Locks and flushes that lie would be believed. */
Test(db, network_file_systems)
{
	static const struct {
		unsigned flags;
		int expected;
	} cases[] = { { 0, -EOPNOTSUPP }, { SLF_CREATE, -EOPNOTSUPP }, { SLF_READONLY, 0 }, { SLF_NETWORK_FS, 0 } };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(disk_open(disk, SLF_CREATE, SLF_SYNC_COMMIT, &db));
	commit_key(db);
	sim_disk_set_network(disk, true);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int result = disk_open(disk, cases[i].flags, SLF_SYNC_COMMIT, &db);

		cr_assert_eq(result, cases[i].expected, "case %zu: %d", i, result);
		if (result == 0) {
			cr_assert(db_has(db, "rival", "was here"));
			must_work(slf_close(db));
		}
	}
	sim_disk_free(disk);
}

/* A tree that a later version has given properties would be changed as if it had none. */
Test(db, names_with_unknown_bits)
{
	uint8_t value[NAME_VALUE_BYTES] = { 20, 0, 0, 0, 1 };
	struct slf_errinfo info = { .size = sizeof(info) };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	char name[256] = "";
	uint32_t tree;

	must_work(disk_open(disk, SLF_CREATE, SLF_SYNC_COMMIT, &db));
	txn = txn_begin(db, SLF_WRITE);
	must_work(txn_put(txn, TREE_NAMES, text("marked"), bytes(value, sizeof(value))));
	must_work(txn_put(txn, TREE_NAMES, text("short"), bytes(value, sizeof(value) - 1)));
	cr_assert_eq(slf_tree_next(txn, name, sizeof(name), &tree), SLF_EINCOMPATIBLE);
	cr_assert_eq(slf_tree_open(txn, "marked", 0, &tree), SLF_EINCOMPATIBLE);
	must_work(slf_errinfo(&info));
	cr_assert_not_null(strstr(info.text, "marked"));
	cr_assert_not_null(strstr(info.text, RIG_PATH));
	cr_assert_eq(slf_tree_open(txn, "short", 0, &tree), SLF_ECORRUPT);
	slf_abort(txn);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* What a writer does while a reader follows the log: it leaves a newer page, and uses a piece of that log again. */
struct recycler {
	uint64_t offset; /* of the piece */
	unsigned reads;  /* by the reader */
	bool commits;    /* else nobody but rot is at work */
};

static void use_log_again(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct recycler *recycler = context;
	struct slf_db *db;

	if (call != SIM_READ || ++recycler->reads != 3) /* the two pages have been read */
		return;
	if (recycler->commits) {
		must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		commit_key(db);
	}
	must_work(sim_disk_poke(disk, RIG_PATH, recycler->offset, "again", 5));
}

/* A log that is used again while it is read would pass for one that has rotted, and an old state for all that is left. */
Test(db, log_used_again_while_it_is_read)
{
	for (int commits = 0; commits < 2; commits++) {
		struct recycler recycler = { .commits = commits };
		struct slf_info info = { .size = sizeof(info) };
		struct sim_disk *disk;
		struct slf_db *db = NULL;
		struct rig rig;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		for (unsigned i = 0; i < 12; i++) {
			if (i == 6)
				recycler.offset = position_offset(rig.commit->settled_place.position);
			db_put(rig.db, "key", "value");
		}
		disk = sim_disk_kill(rig.disk);
		rig_close(&rig);
		sim_disk_set_hook(disk, use_log_again, &recycler);
		cr_assert_eq(disk_open(disk, SLF_READONLY, SLF_SYNC_COMMIT, &db), commits ? SLF_ECORRUPT : 0);
		cr_assert_geq(recycler.reads, 3);
		if (!commits) {
			cr_assert_eq(slf_info(db, &info), 0);
			cr_assert_eq(info.damaged, 1);
			cr_assert_eq(info.seq, 6);
			cr_assert_eq(slf_close(db), 0);
		}
		sim_disk_free(disk);
	}
}
