/* SPDX-License-Identifier: MIT */
/* Recovery: the same state however often it is tried, what it tells meanwhile, and where it refuses. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "gate_rig.h"

#define COMMITS 30

static const char *const further[] = { "/usr/spindle", "/var/spindle" };

struct heard {
	uint64_t done, total;
	unsigned reading, replaying;
	bool wrong;
};

static void hear(void *context, const char *phase, uint64_t done, uint64_t total)
{
	struct heard *heard = context;
	bool replaying = strstr(phase, "replay") != NULL;

	heard->wrong |= (total && done > total) || (replaying && heard->replaying && done < heard->done);
	heard->done = done;
	heard->total = total;
	heard->reading += !replaying;
	heard->replaying += replaying;
}

static int open_three(struct sim_disk *disk, unsigned flags, struct heard *heard, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags | (flags & SLF_READONLY ? 0 : SLF_NO_THREADS);
	options.spindles = further;
	options.spindle_count = 2;
	options.progress = heard ? hear : NULL;
	options.progress_context = heard;
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(RIG_PATH, &options, io, db);
}

static const char *name_of(unsigned index, char *name)
{
	snprintf(name, 16, "key%u", index);
	return name;
}

/* Every third value goes to bulk at once. */
static uint64_t commit_one(struct slf_db *db, unsigned index)
{
	static uint8_t data[RIG_LARGE_BYTES];
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	size_t size = index % 3 ? 10 + index : sizeof(data);
	uint64_t seq = 0;
	char name[16];

	bytes_fill(data, size, index, false);
	must_work(slf_put(txn, SLF_MAIN, text(name_of(index, name)), slice(data, size)));
	must_work(slf_commit(txn, &seq));
	return seq;
}

/* How many of the commits are there; they have to be the first ones, whole. */
static unsigned prefix(struct slf_db *db)
{
	static uint8_t data[RIG_LARGE_BYTES];
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	unsigned count = 0;
	bool ended = false;

	for (unsigned i = 0; i < COMMITS; i++) {
		size_t size = i % 3 ? 10 + i : sizeof(data);
		struct slf_slice value;
		char name[16];
		int result = slf_get(txn, SLF_MAIN, text(name_of(i, name)), &value);

		must(result == 0 || result == SLF_NOTFOUND);
		bytes_fill(data, size, i, false);
		must(result || (!ended && slice_is(value, data, size)));
		ended |= result != 0;
		count += result == 0;
	}
	slf_abort(txn);
	return count;
}

/* A database that has not been closed, with a checkpoint in the middle. */
static struct sim_disk *unclean_disk(uint64_t *seqs, uint64_t *seq_limit)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	struct slf_db *db = NULL;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	for (unsigned i = 0; i < COMMITS; i++) {
		seqs[i] = commit_one(db, i);
		if (i == COMMITS / 3)
			must_work(slf_checkpoint(db));
	}
	*seq_limit = db->core.commit.seq_limit;
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return killed;
}

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

	if (call != SIM_WRITE && call != SIM_SYNC && call != SIM_PUNCH && call != SIM_ALLOCATE)
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

#define HUGE_BYTES (3 * MIB / 2)

/* Values that fill extents of all three spindles. */
static void commit_huge(struct slf_db *db)
{
	uint8_t *data = malloc(HUGE_BYTES);

	for (unsigned i = 0; i < 6; i++) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);
		char name[16];

		bytes_fill(data, HUGE_BYTES, 1000 + i, false);
		must_work(slf_put(txn, SLF_MAIN, text(name_of(1000 + i, name)), slice(data, HUGE_BYTES)));
		must_work(slf_commit(txn, NULL));
	}
	free(data);
}

static bool has_huge(struct slf_db *db)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	uint8_t *data = malloc(HUGE_BYTES);
	bool all = true;

	for (unsigned i = 0; i < 6 && all; i++) {
		struct slf_slice value;
		char name[16];

		bytes_fill(data, HUGE_BYTES, 1000 + i, false);
		all = slf_get(txn, SLF_MAIN, text(name_of(1000 + i, name)), &value) == 0 &&
		      slice_is(value, data, HUGE_BYTES);
	}
	free(data);
	slf_abort(txn);
	return all;
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

/* A call that fails during recovery would lose a commit, leak, or keep the next recovery from working. */
Test(recover, failing_calls)
{
	uint64_t seqs[COMMITS], nth = 0, fired = 1, limit;
	struct sim_disk *origin = unclean_disk(seqs, &limit);

	while (fired) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct sim_fault fault = { .call = SIM_ANY, .nth = ++nth, .error = -EIO, .drop = nth % 2,
					   .partial = nth % 3 == 0 };
		struct slf_db *db = NULL;

		sim_disk_add_fault(disk, &fault);
		if (open_three(disk, 0, NULL, &db) == 0) {
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
	printf("recover failing_calls: %llu\n", (unsigned long long)nth - 1);
	cr_assert_gt(nth, 30);
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

	if (call != SIM_SYNC || !once)
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

/* Turns a byte at a place of the file; false beyond its end. */
static void flip(struct sim_disk *disk, uint64_t offset)
{
	uint8_t byte;

	must_work(sim_disk_peek_durable(disk, RIG_PATH, offset, &byte, 1));
	byte ^= 0x40;
	must_work(sim_disk_poke(disk, RIG_PATH, offset, &byte, 1));
}

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
