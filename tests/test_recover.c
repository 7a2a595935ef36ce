/* SPDX-License-Identifier: MIT */
/* Recovery: the same state however often it is tried, what it tells meanwhile, and where it refuses. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "action.h"
#include "codec.h"
#include "meta.h"
#include "recover_rig.h"
#include "sim_inode.h"
#include "slab.h"
#include "slab_forger.h"

/* ---- Again and again --------------------------------------------------------------------------------------------- */

/* A second recovery would find another state, other digests, or a seq that is taken already. */
Test(recover, the_same_again)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit), *next;
	struct digest digest = { 0 };
	uint64_t first_free = limit + 1; /* the process may have handed out all below it */

	for (unsigned i = 0; i < 6; i++) {
		struct slf_db *db = NULL;

		must_work(open_three(disk, i % 2 ? SLF_READONLY : 0, NULL, &db));
		cr_assert_eq(prefix(db), COMMITS);
		cr_assert_eq(atomic_load(&db->core.commit.durable_seq), seqs[COMMITS - 1]);
		if (i)
			must(digest.low == db->core.versions.tip->digest.low &&
			     digest.high == db->core.versions.tip->digest.high);
		digest = db->core.versions.tip->digest;
		cr_assert_geq(db->core.commit.next_seq, first_free);
		first_free = i % 2 ? first_free : db->core.commit.seq_limit + 1;
		next = i % 3 == 2 ? sim_disk_crash_seed(disk, i, true) : sim_disk_kill(disk);
		must_work(slf_close(db));
		sim_disk_free(disk);
		disk = next;
	}
	sim_disk_free(disk);
}

/* The power goes while the database is recovered; then the next recovery is cut as well. */
struct cutter {
	unsigned depth, images;
	uint64_t seed;
};

static void cut_here(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct cutter *cutter = context;
	struct cutter inner = { .depth = cutter->depth - 1, .seed = rng_mix(cutter->seed) };
	struct sim_disk *crashed;
	struct slf_db *db = NULL;

	if (call != SIM_WRITE && call != SIM_WRITTEN && call != SIM_SYNC && call != SIM_PUNCH && call != SIM_ALLOCATE)
		return;
	cutter->seed++;
	crashed = sim_disk_crash_seed(disk, rng_mix(cutter->seed), cutter->seed % 3 == 0);
	if (inner.depth)
		sim_disk_set_hook(crashed, cut_here, &inner);
	must_work(open_three(crashed, 0, NULL, &db));
	sim_disk_set_hook(crashed, NULL, NULL);
	cr_assert_eq(prefix(db), COMMITS);
	must_work(slf_close(db));
	sim_disk_free(crashed);
	cutter->images += 1 + inner.images;
}

/* What recovery writes would stand in the way of the next one. */
Test(recover, power_cuts_inside)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct cutter cutter = { .depth = 3, .seed = test_seed("recover power_cuts_inside") };
	struct slf_db *db = NULL;

	sim_disk_set_hook(disk, cut_here, &cutter);
	must_work(open_three(disk, 0, NULL, &db));
	sim_disk_set_hook(disk, NULL, NULL);
	cr_assert_eq(prefix(db), COMMITS);
	must_work(slf_close(db));
	printf("recover power_cuts_inside: %u crash images\n", cutter.images);
	cr_assert_gt(cutter.images, 100);
	sim_disk_free(disk);
}

/* What stood in the page cache only when the process died would be shown after the next opening, and then be lost with the
 * power; on the second and third device above all, which no slab makes anybody flush. */
Test(recover, what_it_shows_survives)
{
	struct sim_disk *disk = sim_disk_new(), *killed, *crashed;
	struct slf_db *db = NULL;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	db->core.commit.sync = SLF_SYNC_NONE;
	db->core.tuning.sync = SLF_SYNC_NONE;
	for (unsigned i = 0; i < COMMITS; i++)
		commit_one(db, i);
	commit_huge(db);
	must_work(commit_write_out(&db->core.commit));
	killed = sim_disk_kill(disk);
	crashed = sim_disk_crash(disk, NULL, NULL);
	must_work(slf_close(db));
	sim_disk_free(disk);
	must_work(open_three(crashed, 0, NULL, &db));
	cr_assert_eq(prefix(db), 0); /* so nothing of it was durable */
	must_work(slf_close(db));
	sim_disk_free(crashed);
	must_work(open_three(killed, 0, NULL, &db));
	cr_assert_eq(prefix(db), COMMITS);
	must(has_huge(db));
	crashed = sim_disk_crash(killed, NULL, NULL);
	must_work(slf_close(db));
	sim_disk_free(killed);
	must_work(open_three(crashed, 0, NULL, &db));
	cr_assert_eq(prefix(db), COMMITS);
	must(has_huge(db));
	must_work(slf_close(db));
	sim_disk_free(crashed);
}

/* A reader's recovery would write. */
Test(recover, readonly_writes_nothing)
{
	static const enum sim_call calls[] = { SIM_WRITE, SIM_ALLOCATE, SIM_PUNCH, SIM_TRUNCATE, SIM_LINK, SIM_REMOVE };
	uint64_t seqs[COMMITS], before[ARRAY_SIZE(calls)], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct slf_db *db = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		before[i] = sim_disk_calls(disk, calls[i]);
	must_work(open_three(disk, SLF_READONLY, NULL, &db));
	cr_assert_eq(prefix(db), COMMITS);
	must_work(slf_close(db));
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		cr_assert_eq(sim_disk_calls(disk, calls[i]), before[i]);
	sim_disk_free(disk);
}

/* Lets every call fail once while a disk like origin is opened; how many there are. */
static uint64_t fail_calls(struct sim_disk *origin, unsigned flags)
{
	uint64_t nth = 0, fired = 1;

	while (fired) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct sim_fault fault = { .call = SIM_ANY, .nth = ++nth, .error = -EIO, .drop = nth % 2,
					   .partial = nth % 3 == 0 };
		struct slf_db *db = NULL;

		sim_disk_add_fault(disk, &fault);
		if (open_three(disk, flags, NULL, &db) == 0) {
			fired = sim_disk_faults_fired(disk);
			if (!commit_check(&db->core.commit))
				cr_assert_eq(prefix(db), COMMITS);
			slf_close(db);
		}
		sim_disk_clear_faults(disk);
		must_work(open_three(disk, 0, NULL, &db));
		cr_assert_eq(prefix(db), COMMITS);
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	return nth - 1;
}

/* A call that fails during recovery would lose a commit, leak, or keep the next recovery from working. */
Test(recover, failing_calls)
{
	uint64_t seqs[COMMITS], limit, writer, reader;
	struct sim_disk *origin = unclean_disk(seqs, &limit);

	writer = fail_calls(origin, 0);
	reader = fail_calls(origin, SLF_READONLY);
	printf("recover failing_calls: %llu, and of a reader %llu\n", (unsigned long long)writer, (unsigned long long)reader);
	cr_assert(writer > 29 && reader > 20);
	sim_disk_free(origin);
}

/* ---- What it tells ----------------------------------------------------------------------------------------------- */

/* Who watches a long recovery would see nothing, or more done than there is to do. */
Test(recover, progress)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct heard heard = { 0 };
	struct slf_db *db = NULL;

	must_work(open_three(disk, 0, &heard, &db));
	cr_assert_gt(heard.reading, COMMITS / 3);
	cr_assert_gt(heard.replaying, COMMITS / 3);
	cr_assert_eq(heard.done, heard.total);
	must(!heard.wrong);
	must_work(slf_close(db));
	heard = (struct heard){ 0 };
	must_work(open_three(disk, 0, &heard, &db));
	must(!heard.wrong);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* Commits while a checkpoint is written, which stand before its MARK and are replayed all the same. */
static void commit_inside(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct slf_db **db = context, *once = *db;

	if (call != SIM_WRITE || !once)
		return;
	sim_disk_set_hook(disk, NULL, NULL);
	*db = NULL;
	for (unsigned i = COMMITS / 2; i < COMMITS; i++)
		commit_one(once, i);
}

/* The same where the log to replay begins long before the newest checkpoint's record. */
Test(recover, progress_of_commits_before_the_mark)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	struct heard heard = { 0 };
	struct slf_db *db = NULL, *inside;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	for (unsigned i = 0; i < COMMITS / 2; i++)
		commit_one(db, i);
	inside = db;
	sim_disk_set_hook(disk, commit_inside, &inside);
	must_work(slf_checkpoint(db));
	must(!inside);
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	must_work(open_three(killed, 0, &heard, &db));
	cr_assert_eq(prefix(db), COMMITS);
	cr_assert_eq(db->core.stats.values.replay_commits, COMMITS / 2);
	must(!heard.wrong);
	cr_assert_eq(heard.done, heard.total);
	must_work(slf_close(db));
	sim_disk_free(killed);
}

/* ---- Damage ------------------------------------------------------------------------------------------------------ */

/* A hole in the middle of the log would be taken for its end: acknowledged commits would be gone in silence. A torn last slab,
 * which nobody can know to have been whole, would keep the database from being opened. */
Test(recover, damaged_slabs)
{
	uint64_t places[COMMITS];
	struct sim_disk *disk = sim_disk_new(), *origin;
	struct slf_db *db = NULL;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	for (unsigned i = 0; i < COMMITS; i++) {
		places[i] = position_offset(db->core.log.end.position);
		commit_one(db, i);
	}
	origin = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	for (unsigned i = 0; i < COMMITS; i++) {
		disk = sim_disk_kill(origin);
		flip(disk, places[i] + 100);
		if (i + 1 < COMMITS) {
			cr_assert_eq(open_three(disk, 0, NULL, &db), SLF_ECORRUPT);
			cr_assert_eq(open_three(disk, 0, NULL, &db), SLF_ECORRUPT);
			must_work(open_three(disk, SLF_READONLY, NULL, &db));
		} else {
			must_work(open_three(disk, 0, NULL, &db));
		}
		cr_assert_eq(prefix(db), i);
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* Gives the files other inode numbers, as a copy of them has. */
static void make_copy(struct sim_disk *disk)
{
	for (size_t i = 0; i < disk->inode_count; i++)
		disk->inodes[i]->number += 1000;
}

/* A copy that was taken file by file while the database was in use could not be opened, though nothing that is missing in it
 * was ever acknowledged to anybody; or what was lost in the original would pass as such a copy. */
static void copy_while_in_use(bool checkpoint, bool page)
{
	uint64_t seqs[COMMITS], limit, place;
	struct sim_disk *disk = unclean_disk(seqs, &limit), *copy;
	struct cutter cutter = { .depth = 2, .seed = test_seed("recover copy_taken_while_in_use") };
	struct slf_db *db = NULL;

	must_work(open_three(disk, 0, NULL, &db));
	commit_one(db, 1);
	if (checkpoint) /* with which the log begins */
		must_work(slf_checkpoint(db));
	place = position_offset(db->core.log.end.position);
	db_put(db, "last", "1");
	db_put(db, "behind", "1");
	if (page) /* copied after the log it tells of */
		must_work(checkpoint_write_pages(&db->core, false));
	copy = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	disk = copy;
	flip(disk, place + 100);
	cr_assert_eq(open_three(disk, 0, NULL, &db), SLF_ECORRUPT);
	make_copy(disk);
	sim_disk_set_hook(disk, cut_here, &cutter); /* what says that it is a copy would be lost on the way */
	must_work(open_three(disk, 0, NULL, &db));
	sim_disk_set_hook(disk, NULL, NULL);
	must(cutter.images > 10);
	cr_assert_eq(prefix(db), COMMITS);
	must(!has_key(db, "last"));
	must_work(slf_close(db));
	must_work(open_three(disk, 0, NULL, &db));
	cr_assert_eq(prefix(db), COMMITS);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

Test(recover, copy_taken_while_in_use)
{
	for (unsigned i = 0; i < 4; i++)
		copy_while_in_use(i & 1, i & 2);
}

/* A database that was restored from a copy, and opened since, has lost what tells that it was: with it all commits since then
 * would be cut off, as if the copy had just been made. */
Test(recover, damage_in_a_restored_copy)
{
	uint64_t seqs[COMMITS], limit, place;
	struct sim_disk *disk = unclean_disk(seqs, &limit), *killed;
	struct slf_db *db = NULL;

	must_work(open_three(disk, 0, NULL, &db));
	must_work(slf_close(db)); /* with a checkpoint, behind which its session stands */
	make_copy(disk);
	must_work(open_three(disk, 0, NULL, &db));
	place = position_offset(db->core.log.last.position);
	db_put(db, "last", "1");
	db_put(db, "behind", "1");
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	flip(killed, place + 100);
	cr_assert_eq(open_three(killed, 0, NULL, &db), SLF_ECORRUPT);
	sim_disk_free(killed);
}

/* The time of birth tells a copy where the number of the file is the same by chance, and says nothing where there is none; and
 * without any record of an opening nothing can be told. */
Test(recover, copies_by_their_birth)
{
	static struct slab_forger forger;
	static const struct {
		uint64_t added; /* to the birth time; UINT64_MAX: it is set to 0 */
		int result;
	} cases[] = { { 0, SLF_ECORRUPT }, { 1, 0 }, { UINT64_MAX, SLF_ECORRUPT } };
	uint64_t seqs[COMMITS], limit, place;
	struct sim_disk *origin = unclean_disk(seqs, &limit);
	struct slf_db *db = NULL;

	must_work(open_three(origin, 0, NULL, &db));
	place = position_offset(db->core.log.end.position);
	db_put(db, "last", "1");
	db_put(db, "behind", "1");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *other = NULL;
		size_t slab = 0;
		uint8_t *body;

		slab_forger_read(&forger, disk);
		body = slab_forger_find(&forger, LOG_OPEN, &slab);
		put_u64(body + 16, cases[i].added == UINT64_MAX ? 0 : get_u64(body + 16) + cases[i].added);
		slab_forger_write(&forger, disk, slab);
		flip(disk, place + 100);
		cr_assert_eq(open_three(disk, 0, NULL, &other), cases[i].result, "case %zu", i);
		if (!cases[i].result) {
			cr_assert_eq(prefix(other), COMMITS);
			must_work(slf_close(other));
		}
		sim_disk_free(disk);
	}
	must_work(slf_close(db));
	sim_disk_free(origin);
}

static void keep_kill(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct sim_disk **killed = context;

	if (call == SIM_SYNC_DIRECTORY && !*killed)
		*killed = sim_disk_kill(disk);
}

static enum sim_fate keep_all(void *context, const struct sim_unit *unit)
{
	(void)context;
	(void)unit;
	return SIM_KEPT;
}

/* A database that nobody has opened, and of which something is missing, would pass for a copy. */
Test(recover, lost_before_the_first_opening)
{
	static struct slab_forger forger;
	struct sim_disk *disk = sim_disk_new(), *killed = NULL, *made;
	struct slf_db *db = NULL;

	sim_disk_set_hook(disk, keep_kill, &killed);
	must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must_work(slf_close(db));
	sim_disk_free(disk);
	must(killed != NULL);
	made = sim_disk_crash(killed, keep_all, NULL);
	slab_forger_read(&forger, made);
	for (unsigned slot = 0; slot < 2; slot++)
		forger.meta[slot].log_number += 5;
	slab_forger_write(&forger, made, forger.count);
	cr_assert_eq(disk_open(made, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db), SLF_ECORRUPT);
	sim_disk_free(made);
	sim_disk_free(killed);
}

/* ---- What cannot be flushed -------------------------------------------------------------------------------------- */

/* A reader would show what may be gone after the next power cut, or could read nothing from a medium that cannot be written;
 * a writer would go on there. */
Test(recover, flushes_that_fail)
{
	static const struct { int error, reader; } cases[] = {
		{ -EROFS, 0 }, { -EINVAL, 0 }, { -EBADF, 0 }, { -EIO, SLF_EUNKNOWN }, { -ENOSPC, SLF_EUNKNOWN },
	};
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct slf_db *db = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_SYNC, .nth = 1, .error = cases[i].error,
							      .sticky = true });
		cr_assert_eq(open_three(disk, SLF_READONLY, NULL, &db), cases[i].reader, "case %zu", i);
		if (!cases[i].reader) {
			cr_assert_eq(prefix(db), COMMITS);
			must_work(slf_close(db));
		}
		cr_assert_eq(open_three(disk, 0, NULL, &db), SLF_EUNKNOWN, "case %zu", i);
		sim_disk_clear_faults(disk);
	}
	must_work(open_three(disk, 0, NULL, &db));
	cr_assert_eq(prefix(db), COMMITS);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* ---- Behind a flush that failed ---------------------------------------------------------------------------------- */

/* The put of commit_one, with flushes that fail: the device has nothing of it, the page cache shows it. Ends the database. */
static void fail_commit(struct sim_disk *disk, struct slf_db *db, unsigned index)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	static uint8_t data[RIG_LARGE_BYTES];
	size_t size = index % 3 ? 10 + index : sizeof(data);
	char name[16];

	bytes_fill(data, size, index, false);
	must_work(slf_put(txn, SLF_MAIN, text(name_of(index, name)), slice(data, size)));
	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_FLUSH, .error = -EIO, .sticky = true, .drop = true });
	cr_assert_eq(slf_commit(txn, NULL), SLF_EUNKNOWN);
	(void)slf_close(db);
	sim_disk_clear_faults(disk);
}

/* Without direct transfers recovery finds what the device has never got: commits that are acknowledged behind it would stand
 * on nothing, and be gone with the power. */
Test(recover, slab_whose_flush_failed)
{
	for (unsigned failing = 3; failing < 5; failing++) { /* with a value in bulk, and without */
		struct sim_disk *disk = sim_disk_new(), *crashed;
		struct slf_db *db = NULL;

		sim_disk_set_direct(disk, 0);
		must_work(open_three(disk, SLF_CREATE, NULL, &db));
		for (unsigned i = 0; i < failing; i++)
			commit_one(db, i);
		fail_commit(disk, db, failing);
		must_work(open_three(disk, 0, NULL, &db));
		cr_assert_eq(prefix(db), failing);
		commit_one(db, failing);
		crashed = sim_disk_crash(disk, NULL, NULL);
		must_work(slf_close(db));
		sim_disk_free(disk);
		must_work(open_three(crashed, 0, NULL, &db));
		cr_assert_eq(prefix(db), failing + 1);
		must_work(slf_close(db));
		sim_disk_free(crashed);
	}
}

/* ---- The last slab ------------------------------------------------------------------------------------------------ */

/* The last slab has a part, which has to be read to prove it: where that call fails, what is there would be taken for something
 * that never reached the disk, and be cut off. */
Test(recover, part_that_cannot_be_read)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	uint64_t fired = 1, nth = 0;
	struct slf_db *db = NULL;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	commit_one(db, 0);
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	while (fired) {
		disk = sim_disk_kill(killed);
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_READ, .nth = ++nth, .error = -EIO });
		if (open_three(disk, 0, NULL, &db) == 0) {
			fired = sim_disk_faults_fired(disk);
			cr_assert_eq(prefix(db), 1);
			must_work(slf_close(db));
		}
		sim_disk_clear_faults(disk);
		must_work(open_three(disk, 0, NULL, &db));
		cr_assert_eq(prefix(db), 1);
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	cr_assert_gt(nth, 3);
	sim_disk_free(killed);
}

/* What a torn slab left behind the end of the log would stay there, to be met by a later slab that ends before it. */
Test(recover, torn_tail_is_cleared)
{
	uint64_t seqs[COMMITS], limit, end;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	uint8_t torn[SIM_SECTOR_BYTES];
	static const uint8_t zeros[sizeof(torn)];
	struct slf_db *db = NULL;

	must_work(open_three(disk, SLF_READONLY, NULL, &db));
	end = position_offset(db->core.log.end.position);
	must_work(slf_close(db));
	memset(torn, 0xa5, sizeof(torn));
	must_work(sim_disk_poke(disk, RIG_PATH, end + 65536, torn, sizeof(torn)));
	must_work(open_three(disk, 0, NULL, &db));
	must_work(sim_disk_peek_durable(disk, RIG_PATH, end + 65536, torn, sizeof(torn)));
	cr_assert_eq(memcmp(torn, zeros, sizeof(torn)), 0);
	cr_assert_eq(prefix(db), COMMITS);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* ---- Evidence that cannot be read -------------------------------------------------------------------------------- */

static const struct io_ops *disk_ops;
static struct range unreadable; /* of the first file, behind its metadata */

static int run_around(struct io *io, struct io_request *requests, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct io_request *request = &requests[i];

		if (request->op == IO_READ && request->offset < unreadable.end &&
		    request->offset + request->length > unreadable.offset)
			return requests[i].result = -EIO;
	}
	return disk_ops->run(io, requests, count);
}

static int open_unreadable(struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	static struct io_ops ops;
	struct io *io;

	must_work(sim_disk_io(disk, &unused, &io));
	disk_ops = io->ops;
	ops = *disk_ops;
	ops.run = run_around;
	io->ops = &ops;
	options.flags = flags | SLF_NO_THREADS;
	return db_open_io(RIG_PATH, &options, io, db);
}

/* A value in bulk, in the first extent behind the metadata; a log that goes on in the second, which one slab alone names, the
 * one at *place. Behind it are commits that prove that it was durable. */
static struct sim_disk *hidden_extent_disk(uint64_t *place)
{
	static const uint8_t blob[65000];
	static struct slab_forger forger;
	struct sim_disk *disk = sim_disk_new(), *killed;
	struct slf_db *db = NULL;
	size_t last = 0;

	must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	commit_one(db, 0);
	while (db->core.log.extent < EXTENT_BYTES) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);

		must_work(slf_txn_blob(txn, slice(blob, sizeof(blob))));
		must_work(slf_commit(txn, NULL));
	}
	must(db->core.log.extent == 2 * EXTENT_BYTES);
	db_put(db, "behind", "1");
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	slab_forger_read(&forger, killed);
	for (; forger.places[last + 1] < EXTENT_BYTES; last++)
		forger.slabs[last].next = 0;
	must(forger.slabs[last].next == 2 * EXTENT_BYTES && last + 2 < forger.count);
	*place = forger.places[last];
	slab_forger_write(&forger, killed, 0);
	return killed;
}

/* The slab that names the next extent is rotten, and so is the head of that extent: what is there would be cut off, though
 * nobody has seen that it is nothing. Or bulk that cannot be read would keep the database from being opened. */
Test(recover, evidence_that_cannot_be_read)
{
	static const struct range log_head = { 2 * EXTENT_BYTES, 2 * EXTENT_BYTES + EXTENT_DATA };
	static const struct range bulk = { EXTENT_BYTES + EXTENT_DATA, EXTENT_BYTES + 2 * EXTENT_DATA };
	const struct {
		struct range lost;
		unsigned flags;
		int result;
		bool rotten;
	} cases[] = {
		{ { 0, 0 }, 0, 0, false },  { bulk, 0, 0, false },
		{ bulk, 0, SLF_ECORRUPT, true }, { bulk, SLF_READONLY, 0, true },
		{ log_head, 0, -EIO, true }, { log_head, SLF_READONLY, 0, true },
	};
	uint64_t place;
	struct sim_disk *origin = hidden_extent_disk(&place);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *db = NULL;

		if (cases[i].rotten)
			flip(disk, place + 100);
		unreadable = cases[i].lost;
		cr_assert_eq(open_unreadable(disk, cases[i].flags, &db), cases[i].result, "case %zu", i);
		if (!cases[i].result) {
			cr_assert(has_key(db, "key0"));
			cr_assert_eq(has_key(db, "behind"), !cases[i].rotten, "case %zu", i);
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* ---- Slabs whose sums are good ----------------------------------------------------------------------------------- */

/* A field of a record that is set to a value, and what opening says. */
struct forgery {
	enum log_record_kind kind;
	size_t offset; /* in the body */
	size_t size;
	uint64_t value;
	int result;
	const char *text;
};

static void try_forgery(struct sim_disk *origin, const struct forgery *forgery)
{
	struct sim_disk *disk = sim_disk_kill(origin);
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db = NULL;
	struct slab_forger forger;
	uint8_t number[8];
	size_t slab = 0;
	uint8_t *body;

	slab_forger_read(&forger, disk);
	body = slab_forger_find(&forger, forgery->kind, &slab);
	put_u64(number, forgery->value);
	memcpy(body + forgery->offset, number, forgery->size);
	slab_forger_write(&forger, disk, slab);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(open_three(disk, i ? SLF_READONLY : 0, NULL, &db), forgery->result, "%s", forgery->text);
		must_work(slf_errinfo(&info));
		must(strstr(info.text, forgery->text) != NULL);
	}
	sim_disk_free(disk);
}

/* The body of a commit entry is followed by its first action: op, reserved, key's length, tree, value's length. */
#define AT_ACTION COMMIT_BODY_BYTES
#define HEADER_OF_RECORD (-(size_t)LOG_RECORD_HEADER_BYTES)

/* A record that was sealed wrongly, by a fault of ours or of a disk that is written by others, would be applied: other commits
 * than were made, in another order, trees of ours that are changed, a record passed over that had to be obeyed. */
Test(recover, impossible_records_with_right_digests)
{
	static const struct forgery forgeries[] = {
		{ LOG_MARK, 104, 4, SLF_MAIN, SLF_ECORRUPT, "checkpoint record is out of range" },
		{ LOG_MARK, 108, 4, 4, SLF_ECORRUPT, "checkpoint record is out of range" },
		{ LOG_MARK, 32, 8, 0, SLF_ECORRUPT, "the extent ends" },
		{ LOG_MARK, 64, 8, 1, SLF_ECORRUPT, "checkpoint record is out of range" },
		{ LOG_MARK, 64 + 28, 4, NODE_LEVELS_MAX + 1, SLF_ECORRUPT, "checkpoint record is out of range" },
		{ LOG_FINAL, 0, 8, 0, SLF_ECORRUPT, "commit entry cannot be decoded" },
		{ LOG_FINAL, 0, 8, UINT64_MAX, SLF_ECORRUPT, "do not give its logical digest" },
		{ LOG_FINAL, 24, 8, 1, SLF_ECORRUPT, "do not give its logical digest" },
		{ LOG_FINAL, 32, 8, 1, SLF_ECORRUPT, "do not give its logical digest" },
		{ LOG_FINAL, 40, 4, 2, SLF_ECORRUPT, "do not give its logical digest" },
		{ LOG_FINAL, AT_ACTION, 1, 0, SLF_EINCOMPATIBLE, "an action of kind 0" },
		{ LOG_FINAL, AT_ACTION + 4, 4, TREE_FIRST_USER - 1, SLF_ECORRUPT, "changes a system tree" },
		{ LOG_FINAL, HEADER_OF_RECORD + 4, 1, LOG_TENTATIVE, SLF_EINCOMPATIBLE, "" },
		{ LOG_FINAL, HEADER_OF_RECORD + 4, 1, LOG_DECIDE, SLF_EINCOMPATIBLE, "" },
		{ LOG_FINAL, HEADER_OF_RECORD + 4, 1, LOG_PIN, SLF_EINCOMPATIBLE, "" },
		{ LOG_FINAL, HEADER_OF_RECORD + 4, 1, LOG_SETTING, SLF_EINCOMPATIBLE, "" },
		{ LOG_FINAL, HEADER_OF_RECORD + 4, 1, 99, SLF_EINCOMPATIBLE, "" },
	};
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);

	for (size_t i = 0; i < ARRAY_SIZE(forgeries); i++)
		try_forgery(disk, &forgeries[i]);
	/* the seq of the commit before */
	try_forgery(disk, &(struct forgery){ LOG_FINAL, 0, 8, seqs[COMMITS - 2], SLF_ECORRUPT, "commits are out of order" });
	sim_disk_free(disk);
}

/* A slab that says that seqs near the end of all numbers are taken would let a writer wait for ever. */
Test(recover, limit_of_seqs_at_the_end_of_numbers)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *origin = unclean_disk(seqs, &limit);

	for (unsigned above = 0; above < 2; above++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *db = NULL;
		struct slab_forger forger;

		slab_forger_read(&forger, disk);
		forger.slabs[forger.count - 1].seq_limit = COUNTER_MAX / 2 + above;
		slab_forger_write(&forger, disk, forger.count - 1);
		cr_assert_eq(open_three(disk, 0, NULL, &db), above ? SLF_ECORRUPT : 0);
		if (!above) {
			cr_assert_eq(prefix(db), COMMITS);
			cr_assert_gt(db_put(db, "more", "1"), COUNTER_MAX / 2);
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* The same of slabs: the next would have number 0, which none has. */
Test(recover, slabs_at_the_end_of_numbers)
{
	static const uint64_t last[] = { COUNTER_MAX / 2 - 1, COUNTER_MAX / 2, COUNTER_MAX, UINT64_MAX - 1, UINT64_MAX };
	struct sim_disk *origin = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(open_three(origin, SLF_CREATE, NULL, &db));
	db_put(db, "key", "value");
	for (unsigned i = 0; i < ARRAY_SIZE(last); i++) {
		static struct slab_forger forger;
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *forged = NULL;
		uint64_t shift;
		size_t slab = 0;
		uint8_t *mark;

		slab_forger_read(&forger, disk);
		shift = last[i] - forger.slabs[forger.count - 1].number;
		for (size_t j = 0; j < forger.count; j++)
			forger.slabs[j].number += shift;
		for (unsigned slot = 0; slot < 2; slot++) {
			forger.meta[slot].mark_number += shift;
			forger.meta[slot].log_number = 0;
		}
		mark = slab_forger_find(&forger, LOG_MARK, &slab);
		put_u64(mark + 40, get_u64(mark + 40) + shift);
		slab_forger_write(&forger, disk, 0);
		if (i) {
			cr_assert_eq(open_three(disk, 0, NULL, &forged), SLF_ECORRUPT);
		} else {
			must_work(open_three(disk, 0, NULL, &forged));
			must(db_has(forged, "key", "value"));
			db_put(forged, "more", "1");
			must_work(slf_close(forged));
		}
		sim_disk_free(disk);
	}
	must_work(slf_close(db));
	sim_disk_free(origin);
}

/* A checkpoint of another database, whose record has as many bytes, would be taken for ours. */
Test(recover, checkpoint_of_other_files)
{
	static struct slab_forger forger;
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db = NULL;
	size_t slab = 0;
	uint8_t *body;

	slab_forger_read(&forger, disk);
	body = slab_forger_find(&forger, LOG_MARK, &slab);
	must(get_u32(body + 108) == 3);
	put_u32(body + 108, 2);
	put_u32(body + 144, get_u32(body + 144) + 2); /* extents that are free, in the place of a file's numbers */
	slab_forger_write(&forger, disk, slab);
	cr_assert_eq(open_three(disk, SLF_READONLY, NULL, &db), SLF_ECORRUPT);
	must_work(slf_errinfo(&info));
	cr_assert(strstr(info.text, "checkpoint record is out of range"), "%s", info.text);
	sim_disk_free(disk);
}

/* With the ids used up a tree would get one that another tree has. */
Test(recover, no_tree_ids_left)
{
	static struct slab_forger forger;
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	uint32_t tree = 0;
	size_t slab = 0;

	slab_forger_read(&forger, disk);
	put_u32(slab_forger_find(&forger, LOG_MARK, &slab) + 104, UINT32_MAX);
	slab_forger_write(&forger, disk, slab);
	must_work(open_three(disk, 0, NULL, &db));
	cr_assert_eq(prefix(db), COMMITS);
	txn = txn_begin(db, SLF_WRITE);
	cr_assert_eq(slf_tree_open(txn, "one more", SLF_CREATE, &tree), SLF_ETOOBIG);
	slf_abort(txn);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* A free extent that a checkpoint names, and that cannot be one, would be written to: what stands there, or the log itself, would
 * be gone. */
Test(recover, impossible_free_extents)
{
	static struct slab_forger forger;
	static const uint64_t places[] = { EXTENT_BYTES, (uint64_t)1 << OFFSET_BITS | EXTENT_BYTES, EXTENT_BYTES + 512, 0,
					   2 * EXTENT_BYTES, 1000 * EXTENT_BYTES };
	static uint8_t data[30000];
	struct sim_disk *disk = sim_disk_new(), *origin;
	struct slf_db *db = NULL;

	must_work(disk_open(disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	while (db->core.log.extent != 2 * EXTENT_BYTES) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);

		must_work(slf_put(txn, SLF_MAIN, text("key"), slice(data, sizeof(data))));
		must_work(slf_commit(txn, NULL));
	}
	must_work(slf_checkpoint(db));
	db_put(db, "key", "value");
	origin = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		size_t slab = 0;
		uint8_t *body;

		disk = sim_disk_kill(origin);
		slab_forger_read(&forger, disk);
		body = slab_forger_find(&forger, LOG_MARK, &slab);
		must(get_u32(body + 144) == 1 && get_u64(body + MARK_BODY_BYTES + 16) == EXTENT_BYTES);
		put_u64(body + MARK_BODY_BYTES + 16, places[i]);
		slab_forger_write(&forger, disk, slab);
		must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		cr_assert_eq(db->core.log.free_count, i == 0, "place %zu", i);
		cr_assert(db_has(db, "key", "value"));
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}
