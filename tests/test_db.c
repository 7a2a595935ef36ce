/* SPDX-License-Identifier: MIT */
/* What an opening finds: other processes that are at the same files, at the worst moments too; locks; further files. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "format.h"
#include "gate_rig.h"
#include "meta.h"
#include "sim_inode.h"
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
		{ "pid 1\n", true }, { "pid 0\n", true }, { "pid -7\n", true }, { "pid x\n", true }, { "", false },
		{ "pid 2147483647\n", true }, { NULL, false },
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

/* ---- Side files -------------------------------------------------------------------------------------------------- */

static const char side[] = RIG_PATH SIDE_SUFFIX;

struct bytes {
	const void *data;
	size_t size;
};

static struct io *io_on(struct sim_disk *disk)
{
	static struct stats unused;
	struct io *io;

	must_work(sim_disk_io(disk, &unused, &io));
	return io;
}

static bool exists(struct sim_disk *disk, const char *path)
{
	struct io *io = io_on(disk);
	struct io_file *file = NULL;
	int result = io_open(io, path, 0, &file);

	must(!result || result == -ENOENT);
	io_close(file);
	io_free(io);
	return !result;
}

/* A new file with these bytes stands in the place of the side file. */
static void put_side(struct sim_disk *disk, const struct bytes *bytes)
{
	struct io *io = io_on(disk);
	struct io_file *file = NULL;

	(void)io_remove(io, side);
	must_work(io_open(io, side, IO_OPEN_WRITE | IO_OPEN_CREATE, &file));
	must_work(io_write(file, 0, 0, bytes->data, bytes->size));
	must_work(io_close(file));
	io_free(io);
}

static bool side_is(struct sim_disk *disk, const struct bytes *bytes)
{
	const struct inode *inode = inode_find(disk, side);

	return inode && inode->seen.size == bytes->size && memcmp(inode->seen.data, bytes->data, bytes->size) == 0;
}

static void refuse_side(struct sim_disk *disk, unsigned flags, const struct bytes *bytes)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db = NULL;

	put_side(disk, bytes);
	cr_assert_eq(disk_open(disk, flags | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db), -EEXIST);
	must_work(slf_errinfo(&info));
	cr_assert(strstr(info.text, side), "%s", info.text);
	cr_assert(side_is(disk, bytes));
}

/* A file of somebody else that happens to bear the name of the side file would be written over, or a database be made beside
 * it that cannot be opened. */
Test(db, side_file_of_somebody_else)
{
	static const uint8_t longer[SIDE_BYTES + 1] = { [SIDE_OWNER] = 'p', 'i', 'd', ' ', '1' };
	static uint8_t garbage[SIDE_BYTES + 1];
	const struct bytes files[] = {
		{ "pid 1, says my own note\n", 24 },
		{ "1", 1 },
		{ longer, sizeof(longer) },
		{ garbage, sizeof(garbage) },
	};

	bytes_fill(garbage, sizeof(garbage), 1, false);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct sim_disk *disk = sim_disk_new();
		struct slf_db *db = NULL;

		refuse_side(disk, SLF_CREATE, &files[i]);
		cr_assert(!exists(disk, RIG_PATH), "file %zu", i);
		put_side(disk, &(struct bytes){ "", 0 });
		must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		commit_key(db);
		refuse_side(disk, 0, &files[i]);
		refuse_side(disk, SLF_CREATE, &files[i]);
		must_work(disk_open(disk, SLF_READONLY, SLF_SYNC_COMMIT, &db));
		cr_assert(has_key(db, "rival"));
		must_work(slf_close(db));
		cr_assert(side_is(disk, &files[i]));
		sim_disk_free(disk);
	}
}

/* What an earlier writer has left, or a crash has cut short, would keep the database from being opened. */
Test(db, side_file_of_an_earlier_writer)
{
	static const uint8_t zeros[SIDE_BYTES], owner[SIDE_BYTES] = { [SIDE_OWNER] = 'p', 'i', 'd', ' ', '7', '\n' };
	static const struct bytes files[] = { { zeros, 0 }, { zeros, 40 }, { zeros, SIDE_BYTES }, { owner, 70 },
					      { owner, SIDE_BYTES } };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct sim_disk *disk = sim_disk_new();
		struct slf_db *db = NULL;

		put_side(disk, &files[i]);
		must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		must_work(slf_close(db));
		put_side(disk, &files[i]);
		for (unsigned opening = 0; opening < 2; opening++) {
			must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
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

/* ---- Metadata pages ---------------------------------------------------------------------------------------------- */

static void hear(void *context, int level, const char *line)
{
	unsigned *lost = context;

	*lost += level == 4 && strstr(line, " is lost");
}

/* lost: how often it was told that a page is. */
static int open_hearing(struct sim_disk *disk, unsigned flags, unsigned *lost, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;

	*lost = 0;
	options.flags = flags | SLF_NO_THREADS;
	options.log = hear;
	options.log_context = lost;
	return db_open_io(RIG_PATH, &options, io_on(disk), db);
}

static struct sim_disk *pair_disk(void)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(open_with(disk, RIG_PATH, SLF_CREATE, spindles, 1, &db));
	commit_key(db);
	return disk;
}

/* Of two pages one is enough, and of two tables: a place that cannot be read would keep the database from being opened. But
 * a disk that loses one page may lose the other, and nobody would know before. */
Test(db, metadata_that_cannot_be_read)
{
	/* A reader asks for the pages A and B (reads 1 and 2), for a table, for the other one if that is not good, and for the
	 * pages of the further file; a writer for the pages, the side file, the pages once more (4 and 5), and so on. */
	static const struct {
		unsigned flags;
		uint64_t nth, other;
		int result;
		unsigned lost;
	} cases[] = {
		{ SLF_READONLY, 1, 0, 0, 1 }, { SLF_READONLY, 2, 0, 0, 1 }, { SLF_READONLY, 1, 2, -EIO, 0 },
		{ SLF_READONLY, 3, 0, 0, 1 }, { SLF_READONLY, 3, 4, -EIO, 0 },
		{ SLF_READONLY, 4, 0, 0, 1 }, { SLF_READONLY, 5, 0, 0, 1 }, { SLF_READONLY, 4, 5, -EIO, 0 },
		{ 0, 4, 0, 0, 1 },            { 0, 5, 0, 0, 1 },            { 0, 4, 5, -EIO, 0 },
		{ 0, 1, 2, -EIO, 0 },         { 0, 6, 0, 0, 1 },            { 0, 6, 7, -EIO, 0 },
	};
	struct sim_disk *origin = pair_disk();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sim_fault fault = { .call = SIM_READ, .nth = cases[i].nth, .error = -EIO };
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *db = NULL;
		unsigned lost;

		sim_disk_add_fault(disk, &fault);
		fault.nth = cases[i].other;
		if (cases[i].other)
			sim_disk_add_fault(disk, &fault);
		cr_assert_eq(open_hearing(disk, cases[i].flags, &lost, &db), cases[i].result, "case %zu", i);
		cr_assert_eq(lost, cases[i].lost, "case %zu: %u", i, lost);
		if (!cases[i].result) {
			cr_assert(has_key(db, "rival"));
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* The same of a page that is damaged; and one that has been made anew would be told to be lost for ever. */
Test(db, metadata_page_that_is_damaged)
{
	static const unsigned flags[] = { SLF_READONLY, 0, 0 };
	static const uint8_t damage[] = { 0xda };

	for (unsigned slot = 0; slot < 2; slot++) {
		uint64_t place = (slot ? META_PAGE_B : META_PAGE_A) + 2000;
		struct sim_disk *disk = pair_disk();

		must_work(sim_disk_poke(disk, RIG_PATH, place, damage, sizeof(damage)));
		for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
			struct slf_db *db = NULL;
			unsigned lost;

			must_work(open_hearing(disk, flags[i], &lost, &db));
			cr_assert_eq(lost, i < 2, "slot %u, opening %zu: %u", slot, i, lost);
			cr_assert(has_key(db, "rival"));
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
}

static enum sim_fate tear_pages(void *context, const struct sim_unit *unit)
{
	const uint64_t *inode = context;
	bool page = unit->kind == SIM_UNIT_WRITE && unit->inode == *inode && unit->offset < EXTENT_ZERO_DATA;

	return page ? SIM_TORN : SIM_LOST;
}

/* The power goes: what is being written of the pages is torn. */
static void tear_here(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct sim_disk *crashed;
	struct slf_db *db = NULL;

	if (call != SIM_WRITE && call != SIM_WRITTEN && call != SIM_SYNC)
		return;
	crashed = sim_disk_crash(disk, tear_pages, context);
	must_work(disk_open(crashed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert(db_has(db, "key", "value"));
	must_work(slf_close(db));
	sim_disk_free(crashed);
}

/* A checkpoint of which the nth flush fails: what it should have flushed is shown, but is not on the device. */
static struct sim_disk *dropped_disk(uint32_t direct, uint64_t nth)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	sim_disk_set_direct(disk, direct);
	must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	db_put(db, "key", "value");
	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_SYNC, .nth = nth, .error = -EIO, .drop = true });
	(void)slf_checkpoint(db);
	(void)slf_close(db);
	sim_disk_clear_faults(disk);
	return disk;
}

/* Spoils on the device the page that only the page cache has: 1, or 0 when there is none. *newest: the generation of the
 * newest one that the device has. */
static unsigned spoil_dropped(struct inode *inode, uint64_t *newest)
{
	static const uint8_t garbage[META_PAGE_BYTES] = { 1 };
	unsigned spoilt = 0;

	*newest = 0;
	for (uint16_t slot = 0; slot < 2; slot++) {
		uint64_t at = slot ? META_PAGE_B : META_PAGE_A;
		const char *reason;
		struct meta meta;

		if (memcmp(inode->seen.data + at, inode->durable.data + at, META_PAGE_BYTES)) {
			image_write(&inode->durable, at, garbage, sizeof(garbage));
			spoilt++;
		}
		if (meta_decode(inode->durable.data + at, slot, &meta, &reason) == META_GOOD)
			*newest = u64_max(*newest, meta.generation);
	}
	return spoilt;
}

/* After the flush of a page has failed, the page cache may show it while the device has half of it: the next opening would
 * count on it, and write over the other one, the only good one there is. */
Test(db, page_whose_flush_failed)
{
	unsigned spoilt = 0;

	for (unsigned i = 0; i < 2 * 5; i++) {
		uint32_t direct = i % 2 ? 0 : SIM_SECTOR_BYTES;
		struct sim_disk *disk = dropped_disk(direct, 1 + i / 2);
		struct inode *inode = inode_find(disk, RIG_PATH);
		struct slf_db *db = NULL;
		uint64_t newest;

		spoilt += spoil_dropped(inode, &newest);
		if (direct) {
			must_work(disk_open(disk, SLF_READONLY, SLF_SYNC_COMMIT, &db));
			cr_assert_eq(db->core.meta.generation, newest, "flush %u", 1 + i / 2);
			must_work(slf_close(db));
		}
		sim_disk_set_hook(disk, tear_here, &inode->number);
		must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		sim_disk_set_hook(disk, NULL, NULL);
		cr_assert(db_has(db, "key", "value"));
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	cr_assert_geq(spoilt, 2 * 2);
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

/* The same when the database is made: what nobody may open would be left there. */
Test(db, creation_on_a_network_file_system)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	sim_disk_set_network(disk, true);
	cr_assert_eq(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db), -EOPNOTSUPP);
	cr_assert(!exists(disk, RIG_PATH) && !exists(disk, side));
	must_work(disk_open(disk, SLF_CREATE | SLF_NETWORK_FS | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* The file that is asked about at this call lies on a network file system. */
static void answer_network(void *context, struct sim_disk *disk, enum sim_call call)
{
	uint64_t *infos = context;

	if (call == SIM_INFO)
		sim_disk_set_network(disk, --*infos == 0);
}

/* The same of a further file alone, which would be believed because the first one lies elsewhere. */
Test(db, further_file_on_a_network_file_system)
{
	static const struct {
		unsigned flags, refused, further;
	} cases[] = { { 0, 2, 1 }, { SLF_READONLY, 0, 0 }, { SLF_NETWORK_FS, 0, 0 } };
	struct slf_errinfo info = { .size = sizeof(info) };
	struct sim_disk *origin = pair_disk(), *disk;
	struct slf_db *db = NULL;
	uint64_t infos;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned refused = 0, further = 0;

		for (uint64_t nth = 1; nth < 8; nth++) {
			int result;

			disk = sim_disk_kill(origin);
			infos = nth;
			sim_disk_set_hook(disk, answer_network, &infos);
			result = open_with(disk, RIG_PATH, cases[i].flags, NULL, 0, &db);
			must(!result || result == -EOPNOTSUPP);
			must_work(slf_errinfo(&info));
			refused += result != 0;
			further += result && strstr(info.text, spindles[0]);
			if (!result)
				must_work(slf_close(db));
			sim_disk_free(disk);
		}
		cr_assert_eq(refused, cases[i].refused, "case %zu: %u", i, refused);
		cr_assert_eq(further, cases[i].further, "case %zu: %u", i, further);
	}
	sim_disk_free(origin);
	for (uint64_t nth = 1; nth < 3; nth++) {
		disk = sim_disk_new();
		infos = nth;
		sim_disk_set_hook(disk, answer_network, &infos);
		cr_assert_eq(open_with(disk, RIG_PATH, SLF_CREATE, spindles, 1, &db), -EOPNOTSUPP);
		cr_assert(!exists(disk, RIG_PATH) && !exists(disk, spindles[0]));
		sim_disk_free(disk);
	}
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
		cr_assert_eq(disk_open(disk, SLF_READONLY, SLF_SYNC_COMMIT, &db), commits ? -EBUSY : 0);
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

/* More files than anybody would try by hand: a set of files that is a bit too small, or an index that is cut to a byte. */
Test(db, as_many_files_as_there_may_be)
{
	struct sim_disk *disk = sim_disk_new();
	const char *further[SPINDLES_MAX - 1];
	char names[SPINDLES_MAX - 1][16], key[16];
	static char value[40 * 1024];
	struct slf_db *db = NULL;
	struct slf_slice found;
	struct slf_txn *txn;

	for (unsigned i = 0; i < SPINDLES_MAX - 1; i++) {
		sprintf(names[i], "/tmp/f%u", i);
		further[i] = names[i];
	}
	must_work(open_with(disk, RIG_PATH, SLF_CREATE, further, SPINDLES_MAX - 1, &db));
	for (unsigned i = 0; i < 2 * SPINDLES_MAX; i++) { /* each in an extent of its own, on the emptiest file */
		sprintf(key, "key%u", i);
		bytes_fill(value, sizeof(value), i, false);
		txn = txn_begin(db, SLF_WRITE);
		must_work(slf_put(txn, SLF_MAIN, text(key), slice(value, sizeof(value))));
		must_work(slf_commit(txn, NULL));
		if (i % 50 == 49) {
			must_work(slf_close(db));
			must_work(open_with(disk, RIG_PATH, 0, NULL, 0, &db));
		}
	}
	cr_assert_eq(db->core.store.spindle_count, SPINDLES_MAX);
	must_work(slf_close(db));
	must_work(open_with(disk, RIG_PATH, SLF_READONLY, NULL, 0, &db));
	txn = txn_begin(db, SLF_READ);
	for (unsigned i = 0; i < 2 * SPINDLES_MAX; i++) {
		sprintf(key, "key%u", i);
		bytes_fill(value, sizeof(value), i, false);
		must_work(slf_get(txn, SLF_MAIN, text(key), &found));
		cr_assert(slice_is(found, value, sizeof(value)));
	}
	slf_abort(txn);
	must_work(slf_close(db));
	sim_disk_free(disk);
}
