/* SPDX-License-Identifier: MIT */
/*
 * Real file systems that are full but for k blocks of 4 KiB, for a series of k, filled by somebody else: ext4, XFS, XFS with
 * the database's blocks shared with a copy (reflinks), btrfs, tmpfs. The database is open meanwhile, has been closed, or has
 * been killed and is opened when there is no space any more. It is filled until it says so; then nothing acknowledged may be
 * missing, at least DELETES_MIN commits that only delete have to work, and it goes on when there is space again.
 *
 * Where blocks are shared a write of the log may need new space for what is already written. There deletes may find no room,
 * and a flush may fail and the handle be poisoned, which is counted; what was acknowledged is there all the same.
 *
 * SOLIFUGE_TEST_MATRIX=1: every k up to 256.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format.h"
#include "proof.h"
#include "scratch.h"
#include "solifuge.h"
#include "volume.h"

#define VOLUME_BYTES (320ull << 20)
#define LEVEL_BYTES 4096u
#define FIRST 300 /* keys that are there before the file system is full */
#define FIRST_BYTES 1000
#define VALUE_BYTES 3000
#define DELETES_MIN 12u /* RESERVE_SLABS less RESERVE_ENGINE_SLABS of the log's reserve */
#define PATH_BYTES (SCRATCH_PATH_BYTES + 32)

static const unsigned levels[] = { 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256 };
#define LEVEL_MAX 256u

enum before { STAYS_OPEN, CLOSED, KILLED, BEFORE_END };

struct cell {
	enum volume_kind kind;
	enum before before;
	unsigned level;
	int sync;
	struct slf_db *db;
	unsigned acknowledged, deleted;         /* the keys deleted + 1 to acknowledged are there */
	unsigned doubtful_put, doubtful_delete; /* those that the answer was SLF_EUNKNOWN for, else 0 */
	bool few;                               /* fewer than DELETES_MIN worked */
	int ballast;
	uint64_t ballast_bytes;
	char path[PATH_BYTES], ballast_path[PATH_BYTES], copy_path[PATH_BYTES];
};

struct tally {
	uint64_t cells, opened, acknowledged, deleted, poisoned, few;
};

static struct scratch scratch;
static struct volume volume;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	volume_release(&volume);
	scratch_release(&scratch);
}

TestSuite(file_systems, .init = set_up, .fini = tear_down, .timeout = 3600);

/* ---- Space ------------------------------------------------------------------------------------------------------- */

/* Takes all space but level blocks. Twice, since what a file system keeps back at first it gives later. */
static void space_take(struct cell *cell)
{
	static const uint64_t steps[] = { 64 << 20, 8 << 20, 1 << 20, 64 << 10, 4 << 10 };
	unsigned round = 0, i = 0;

	cell->ballast = open(cell->ballast_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(cell->ballast >= 0);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
			while (fallocate(cell->ballast, 0, (off_t)cell->ballast_bytes, (off_t)steps[i]) == 0)
				cell->ballast_bytes += steps[i];
		must(syncfs(cell->ballast) == 0);
	}
	must(ftruncate(cell->ballast, (off_t)(cell->ballast_bytes - (uint64_t)cell->level * LEVEL_BYTES)) == 0);
	must(syncfs(cell->ballast) == 0);
}

static void space_give(struct cell *cell)
{
	must(ftruncate(cell->ballast, 0) == 0 && syncfs(cell->ballast) == 0);
}

/* ---- One commit -------------------------------------------------------------------------------------------------- */

static struct slf_slice value_of(unsigned key, unsigned char *buffer)
{
	size_t size = key <= FIRST ? FIRST_BYTES : VALUE_BYTES;

	bytes_fill(buffer, size, key, false);
	return bytes(buffer, size);
}

/* The key put, or deleted, in a transaction of its own. */
static int change(struct slf_db *db, unsigned key, bool delete)
{
	unsigned char buffer[VALUE_BYTES];
	struct slf_txn *txn = NULL;
	int result = slf_begin(db, SLF_WRITE, &txn);

	if (result)
		return result;
	result = delete ? slf_del(txn, SLF_MAIN, bytes(&key, sizeof(key)))
			: slf_put(txn, SLF_MAIN, bytes(&key, sizeof(key)), value_of(key, buffer));
	if (result == 0)
		return slf_commit(txn, NULL);
	slf_abort(txn);
	return result;
}

static bool is_full(int result)
{
	return result == -ENOSPC || result == -EDQUOT;
}

/* A failed change may have happened only where its answer was that nobody knows. */
static unsigned doubt(struct cell *cell, int result, unsigned key)
{
	if (is_full(result))
		return 0;
	cr_assert(cell->kind == VOLUME_XFS && result == SLF_EUNKNOWN, "%d with %u blocks free", result, cell->level);
	return key;
}

/* ---- One database on one full file system ------------------------------------------------------------------------ */

static void check_content(const struct cell *cell, struct slf_db *db)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	unsigned char buffer[VALUE_BYTES];
	unsigned key = 0;

	for (key = 1; key <= cell->acknowledged + 1; key++) {
		struct slf_slice found = { 0 }, value = value_of(key, buffer);
		int result = slf_get(txn, SLF_MAIN, bytes(&key, sizeof(key)), &found);
		bool there = key > cell->deleted && key <= cell->acknowledged;

		must(result == 0 || result == SLF_NOTFOUND);
		must(result != 0 || slice_is(found, value.data, value.size));
		if (key != cell->doubtful_put && key != cell->doubtful_delete)
			cr_assert_eq(result == 0, there, "key %u of %u, %u deleted: %d", key, cell->acknowledged,
				     cell->deleted, result);
	}
	slf_abort(txn);
}

static int cell_open(struct cell *cell)
{
	struct slf_options options = SLF_OPTIONS_INIT;

	options.sync = cell->sync;
	options.flags = cell->acknowledged ? 0 : SLF_CREATE;
	options.io = cell->level & 1 ? SLF_IO_POSIX : SLF_IO_DEFAULT;
	return slf_open(cell->path, &options, &cell->db);
}

static void make_content(struct cell *cell)
{
	unsigned key = 0;

	must_work(cell_open(cell));
	for (key = 1; key <= FIRST; key++)
		must_work(change(cell->db, key, false));
	must_work(slf_sync(cell->db, NULL));
}

static void prepare(struct cell *cell)
{
	pid_t child = 0;

	if (cell->before == KILLED) {
		child = fork();
		if (child == 0) {
			make_content(cell);
			child_exit(0);
		}
		must(child_wait(child) == 0);
	} else {
		make_content(cell);
	}
	cell->acknowledged = FIRST;
	if (cell->before == CLOSED) {
		must_work(slf_close(cell->db));
		cell->db = NULL;
	}
	if (cell->kind == VOLUME_XFS)
		volume_share(cell->path, cell->copy_path);
	space_take(cell);
}

/* Opens on the full file system. False where that is in doubt, and allowed to be. */
static bool open_when_full(struct cell *cell)
{
	struct slf_db *reader = open_database(cell->path, SLF_READONLY);
	int result = 0;

	check_content(cell, reader);
	must_work(slf_close(reader));
	if (cell->before == STAYS_OPEN)
		return true;
	result = cell_open(cell);
	if (result == 0)
		return true;
	cr_assert(cell->kind == VOLUME_XFS && (is_full(result) || result == SLF_EUNKNOWN),
		  "opening: %d with %u blocks free", result, cell->level);
	return false;
}

/* Fills the database, then empties it, until it says that it is full. */
static void fill_and_delete(struct cell *cell)
{
	unsigned deletes = 0;
	int result = 0;

	while ((result = change(cell->db, cell->acknowledged + 1, false)) == 0)
		cell->acknowledged++;
	cell->doubtful_put = doubt(cell, result, cell->acknowledged + 1);
	if (cell->doubtful_put)
		return;
	check_content(cell, cell->db);
	while (cell->deleted < cell->acknowledged && (result = change(cell->db, cell->deleted + 1, true)) == 0)
		deletes = ++cell->deleted;
	if (result)
		cell->doubtful_delete = doubt(cell, result, cell->deleted + 1);
	if (cell->doubtful_delete)
		return;
	cell->few = deletes < DELETES_MIN;
	cr_assert(!cell->few || cell->kind == VOLUME_XFS, "%u deletes with %u blocks free, then %d", deletes,
		  cell->level, result);
	check_content(cell, cell->db);
}

/* With space again: opened anew where a flush had failed, else as it is. */
static void go_on(struct cell *cell, struct tally *tally)
{
	bool poisoned = cell->doubtful_put || cell->doubtful_delete;
	int result = 0;

	space_give(cell);
	if (poisoned)
		(void)slf_close(cell->db);
	if (poisoned || !cell->db)
		must_work(cell_open(cell));
	tally->poisoned += poisoned;
	check_content(cell, cell->db);
	if (cell->doubtful_put) { /* whatever has become of it */
		must_work(change(cell->db, cell->doubtful_put, false));
		cell->acknowledged = cell->doubtful_put;
	}
	if (cell->doubtful_delete) {
		result = change(cell->db, cell->doubtful_delete, true);
		must(result == 0 || result == SLF_NOTFOUND);
		cell->deleted = cell->doubtful_delete;
	}
	cell->doubtful_put = cell->doubtful_delete = 0;
	for (result = 0; result < 20; result++)
		must_work(change(cell->db, ++cell->acknowledged, false));
	must_work(slf_close(cell->db));
	cell->db = open_database(cell->path, 0);
	check_content(cell, cell->db);
	must_work(slf_close(cell->db));
}

static void cell_run(enum volume_kind kind, enum before before, unsigned level, int sync, struct tally *tally)
{
	struct cell cell = { .kind = kind, .before = before, .level = level, .sync = sync };
	char side[PATH_BYTES + 16];

	snprintf(cell.path, sizeof(cell.path), "%s/db", volume.point);
	snprintf(cell.ballast_path, sizeof(cell.ballast_path), "%s/ballast", volume.point);
	snprintf(cell.copy_path, sizeof(cell.copy_path), "%s/copy", volume.point);
	snprintf(side, sizeof(side), "%s%s", cell.path, SIDE_SUFFIX);
	prepare(&cell);
	if (open_when_full(&cell)) {
		tally->opened += before != STAYS_OPEN;
		fill_and_delete(&cell);
	}
	tally->deleted += cell.deleted;
	tally->few += cell.few;
	go_on(&cell, tally);
	tally->acknowledged += cell.acknowledged;
	tally->cells++;
	(void)unlink(cell.path);
	(void)unlink(cell.copy_path);
	(void)unlink(side);
	must(ftruncate(cell.ballast, 0) == 0 && syncfs(cell.ballast) == 0);
	close(cell.ballast);
}

static void matrix(enum volume_kind kind)
{
	static const int modes[] = { SLF_SYNC_COMMIT, SLF_SYNC_NONE, SLF_SYNC_AUTO };
	bool all = getenv("SOLIFUGE_TEST_MATRIX") && atoi(getenv("SOLIFUGE_TEST_MATRIX"));
	unsigned count = all ? LEVEL_MAX + 1 : sizeof(levels) / sizeof(levels[0]), i = 0, number = 0;
	char point[SCRATCH_PATH_BYTES], what[96] = "";
	struct tally tally = { 0 };
	enum before before = STAYS_OPEN;
	const char *why = volume_make(&volume, kind, VOLUME_BYTES, scratch_name(&scratch, "volume", point));

	snprintf(what, sizeof(what), "G %s: levels, each in three ways", volume_name(kind));
	if (why) {
		proof_not_run(what, why);
		cr_skip_test("no such file system here");
	}
	for (i = 0; i < count; i++) {
		for (before = STAYS_OPEN; before < BEFORE_END; before++, number++) {
			/* a poisoned handle may lose what was only visible */
			int sync = kind == VOLUME_XFS ? SLF_SYNC_COMMIT : modes[(number + i) % 3];

			cell_run(kind, before, all ? i : levels[i], sync, &tally);
		}
	}
	proof_count(what, tally.cells / BEFORE_END);
	proof_count("G databases filled, emptied and compared", tally.cells);
	proof_count("G opened for writing when full", tally.opened);
	proof_count("G commits acknowledged", tally.acknowledged);
	proof_count("G deletes committed when full", tally.deleted);
	proof_count("G where blocks are shared: fewer than twelve deletes had room", tally.few);
	proof_count("G where blocks are shared: poisoned, opened again", tally.poisoned);
}

/* A full disk would lose what had been acknowledged, keep a database from deleting or from being opened, or from going on
 * when there is space again. */
Test(file_systems, ext4)
{
	matrix(VOLUME_EXT4);
}

/* The same where asking for space that is already there fails. */
Test(file_systems, xfs)
{
	matrix(VOLUME_XFS_PLAIN);
}

/* The same where what is written again goes to new space, because a copy of the file has the old one. */
Test(file_systems, xfs_reflinked)
{
	matrix(VOLUME_XFS);
}

/* The same where everything that is written again goes to new space. */
Test(file_systems, btrfs)
{
	matrix(VOLUME_BTRFS);
}

/* The same without a device. */
Test(file_systems, tmpfs)
{
	matrix(VOLUME_TMPFS);
}
