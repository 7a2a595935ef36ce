/* SPDX-License-Identifier: MIT */
/* Processes that open the same files at the same time, made to meet at the worst moments. */
#include <criterion/criterion.h>

#include "gate_rig.h"
#include "txn.h"

/* What another process does when this one is about to take its lock. */
struct rival {
	bool removes;  /* it takes the files away and makes new ones, else it commits into those that are there */
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

	if (call != SIM_LOCK || rival->done)
		return;
	rival->done = true;
	if (rival->removes) {
		must_work(sim_disk_io(disk, &unused, &io));
		must_work(io_remove(io, RIG_PATH));
		io_free(io);
	}
	must_work(disk_open(disk, rival->removes ? SLF_CREATE : 0, SLF_SYNC_COMMIT, &db));
	commit_key(db);
	if (rival->fails)
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_READ, .error = -EIO, .sticky = true });
}

/* Who made the files and cannot open them removes them: with what another process has committed meanwhile. */
Test(db, failed_creation_leaves_the_commits_of_others)
{
	struct rival rival = { .fails = true };
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
	struct rival rival = { 0 };
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
