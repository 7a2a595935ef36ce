/* SPDX-License-Identifier: MIT */
/*
 * Metadata pages of several spindles: whatever ends an opening, and wherever, and whichever one page is lost then or later, no
 * database is refused that nobody has tampered with.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db.h"
#include "format.h"
#include "meta.h"
#include "scratch.h"
#include "sim_disk.h"

#define FILES 2
#define PAGES (2 * FILES)
#define NO_PAGE PAGES
#define LEVELS 2 /* openings that are ended one after the other */
#define STATES_MAX 300

static const char *const paths[FILES] = { "/tmp/db", "/tmp/further" };

static unsigned examined;

static int open_on(struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io = NULL;

	options.flags = flags | SLF_NO_THREADS;
	options.spindles = &paths[1];
	options.spindle_count = flags & SLF_CREATE ? FILES - 1 : 0;
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(paths[0], &options, io, db);
}

static uint64_t page_place(unsigned page)
{
	return page % 2 ? META_PAGE_B : META_PAGE_A;
}

static void lose_page(struct sim_disk *disk, unsigned page)
{
	static const uint8_t garbage[64] = "what a disk has left of it";

	if (page != NO_PAGE)
		must_work(sim_disk_poke(disk, paths[page / 2], page_place(page), garbage, sizeof(garbage)));
}

/* What a killed process and what power cuts leave, before each call of an opening and at its end. */
struct states {
	struct sim_disk *disks[STATES_MAX];
	bool torn[STATES_MAX];
	size_t count;
};

static enum sim_fate choose_none(void *context, const struct sim_unit *unit)
{
	(void)context;
	(void)unit;
	return SIM_LOST;
}

static enum sim_fate choose_all(void *context, const struct sim_unit *unit)
{
	(void)context;
	(void)unit;
	return SIM_KEPT;
}

static enum sim_fate choose_torn(void *context, const struct sim_unit *unit)
{
	(void)context;
	return unit->kind == SIM_UNIT_WRITE ? SIM_TORN : SIM_KEPT;
}

static void keep_state(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct states *states = context;

	if (call != SIM_WRITE && call != SIM_WRITTEN && call != SIM_SYNC && call != SIM_CALLS)
		return;
	must(states->count + 3 <= STATES_MAX);
	states->disks[states->count++] = sim_disk_kill(disk);
	if (!sim_disk_pending(disk))
		return;
	states->disks[states->count++] = sim_disk_crash(disk, choose_none, NULL);
	states->torn[states->count] = true;
	states->disks[states->count++] = sim_disk_crash(disk, choose_torn, NULL);
}

static void check_value(struct sim_disk *disk, unsigned flags, const char *when)
{
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;
	struct slf_slice value;
	struct slf_errinfo info = { .size = sizeof(info) };
	int result = open_on(disk, flags, &db);

	slf_errinfo(&info);
	cr_assert_eq(result, 0, "%s: %d, %s", when, result, info.text);
	txn = txn_begin(db, SLF_READ);
	must_work(slf_get(txn, SLF_MAIN, text("key"), &value));
	cr_assert(slice_is(value, "value", 5));
	slf_abort(txn);
	must_work(slf_close(db));
	examined++;
}

/* The disk goes. lost: it has lost a page on its way; a second one would be one too many. */
static void examine(struct sim_disk *disk, unsigned level, bool lost)
{
	struct states *states = calloc(1, sizeof(*states));
	struct slf_db *db = NULL;
	char when[64] = "";

	must(states != NULL);
	sprintf(when, "level %u%s", level, lost ? ", a page was lost" : "");
	check_value(disk, SLF_READONLY, when);
	if (level == LEVELS) {
		check_value(disk, 0, when);
	} else {
		sim_disk_set_hook(disk, keep_state, states);
		must_work(open_on(disk, 0, &db));
		keep_state(states, disk, SIM_CALLS);
		sim_disk_set_hook(disk, NULL, NULL);
		must_work(slf_close(db));
	}
	sim_disk_free(disk);
	for (size_t i = 0; i < states->count; i++) {
		for (unsigned page = 0; page < PAGES && !lost && !states->torn[i]; page++) {
			struct sim_disk *copy = sim_disk_kill(states->disks[i]);

			lose_page(copy, page);
			examine(copy, level + 1, true);
		}
		examine(states->disks[i], level + 1, lost || states->torn[i]);
	}
	free(states);
}

static struct sim_disk *make_database(void)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;

	must_work(open_on(disk, SLF_CREATE, &db));
	txn = txn_begin(db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("key"), text("value")));
	must_work(slf_commit(txn, NULL));
	must_work(slf_close(db));
	return disk;
}

TestSuite(recover_pages, .timeout = 240);

/* A database would be refused, for its files would seem to be of different times. */
Test(recover_pages, one_is_lost_between_openings)
{
	examine(make_database(), 0, false);
	fprintf(stderr, "%u openings\n", examined);
	cr_assert_gt(examined, 1000);
}

/* Loses one page before one call of an opening. */
struct loss {
	uint64_t calls, nth;
	unsigned page;
};

static void lose_within(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct loss *loss = context;

	(void)call;
	if (++loss->calls == loss->nth)
		lose_page(disk, loss->page);
}

/* What was announced would not be there, and the next opening refuse what this one has let commit. */
Test(recover_pages, one_is_lost_within_an_opening)
{
	struct sim_disk *base = make_database();
	bool more = true;

	for (uint64_t nth = 1; more; nth++)
		for (unsigned page = 0; page < PAGES; page++) {
			struct loss loss = { .nth = nth, .page = page };
			struct sim_disk *disk = sim_disk_kill(base);
			struct slf_db *db = NULL;

			sim_disk_set_hook(disk, lose_within, &loss);
			if (open_on(disk, 0, &db) == 0)
				must_work(slf_close(db));
			sim_disk_set_hook(disk, NULL, NULL);
			more = loss.calls >= nth;
			check_value(disk, SLF_READONLY, "lost within an opening");
			check_value(disk, 0, "lost within an opening");
			check_value(disk, 0, "lost within an opening, again");
			sim_disk_free(disk);
		}
	sim_disk_free(base);
	fprintf(stderr, "%u openings\n", examined);
	cr_assert_gt(examined, 100);
}

/* ---- Walks ------------------------------------------------------------------------------------------------------- */

#define STEPS 7
#define CALLS 30 /* of an opening, about */

/* One opening of a walk: where the disk is taken that goes on, and how. */
struct cut {
	struct rng *rng;
	uint64_t calls, nth;
	bool may_tear, torn;
	struct sim_disk *left;
};

static void cut_at(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct cut *cut = context;

	if ((call != SIM_WRITE && call != SIM_WRITTEN && call != SIM_SYNC) || ++cut->calls != cut->nth)
		return;
	cut->torn = cut->may_tear && sim_disk_pending(disk) && rng_below(cut->rng, 3) == 0;
	if (cut->torn) /* in parts, or as garbage */
		cut->left = sim_disk_crash_seed(disk, rng_next(cut->rng), rng_below(cut->rng, 2));
	else
		cut->left = rng_below(cut->rng, 2) ? sim_disk_kill(disk) : sim_disk_crash(disk, choose_none, NULL);
}

/* A page may be lost for as long as one opening lasts, and come back unless it was written meanwhile. */
static bool give_back(struct sim_disk *disk, unsigned page, const uint8_t *before, const uint8_t *lost)
{
	struct sim_disk *seen = sim_disk_crash(disk, choose_all, NULL); /* with what is written and not flushed */
	uint8_t now[META_PAGE_BYTES];

	must_work(sim_disk_peek_durable(seen, paths[page / 2], page_place(page), now, sizeof(now)));
	sim_disk_free(seen);
	if (memcmp(now, lost, sizeof(now)))
		return false;
	must_work(sim_disk_poke(disk, paths[page / 2], page_place(page), before, sizeof(now)));
	return true;
}

/* An opening that may be cut off, meet a failing call and lose a page, but no page before the last loss has been made good by an
 * opening that came to its end. *whole: nothing is lost. The disk goes; what is left of it. */
static struct sim_disk *walk_step(struct sim_disk *disk, struct rng *rng, bool *whole)
{
	struct cut cut = { .rng = rng, .nth = rng_below(rng, 2) ? 1 + rng_below(rng, CALLS) : 0 };
	unsigned page = *whole && rng_below(rng, 2) ? (unsigned)rng_below(rng, PAGES) : NO_PAGE;
	bool passing = rng_below(rng, 2), done;
	uint8_t before[META_PAGE_BYTES], lost[META_PAGE_BYTES];
	struct sim_disk *flushed = sim_disk_crash(disk, choose_all, NULL); /* a disk loses what it has */
	struct slf_db *db = NULL;

	sim_disk_free(disk);
	disk = flushed;
	if (page != NO_PAGE) {
		must_work(sim_disk_peek_durable(disk, paths[page / 2], page_place(page), before, sizeof(before)));
		lose_page(disk, page);
		must_work(sim_disk_peek_durable(disk, paths[page / 2], page_place(page), lost, sizeof(lost)));
		*whole = false;
	}
	cut.may_tear = *whole;
	if (rng_below(rng, 3) == 0)
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = (enum sim_call)rng_below(rng, SIM_SYNC + 1),
							      .nth = 1 + rng_below(rng, CALLS), .error = -EIO,
							      .sticky = rng_below(rng, 4) == 0 });
	sim_disk_set_hook(disk, cut_at, &cut);
	done = open_on(disk, 0, &db) == 0;
	sim_disk_set_hook(disk, NULL, NULL);
	sim_disk_clear_faults(disk);
	if (!cut.left)
		cut.left = sim_disk_kill(disk);
	else
		done = false;
	if (db)
		slf_close(db);
	sim_disk_free(disk);
	*whole = (*whole && !cut.torn) || (page != NO_PAGE && passing && give_back(cut.left, page, before, lost)) || done;
	return cut.left;
}

/* A database would be refused after a sequence of accidents, each of which is forgiven. */
Test(recover_pages, walks)
{
	struct rng rng = { .state = test_seed("recover_pages/walks") };
	struct sim_disk *base = make_database();

	for (unsigned round = 0; round < test_rounds(800); round++) {
		struct sim_disk *disk = sim_disk_kill(base);
		bool whole = true;

		for (unsigned step = 0; step < STEPS; step++) {
			struct sim_disk *copy;

			disk = walk_step(disk, &rng, &whole);
			check_value(disk, SLF_READONLY, "on a walk, for reading");
			copy = sim_disk_kill(disk);
			check_value(copy, 0, "on a walk");
			sim_disk_free(copy);
		}
		sim_disk_free(disk);
	}
	sim_disk_free(base);
}

/* Fails one call of an opening, once or for ever: it has to tell which, and the next one has to find the database whole. */
static bool fail_call(struct sim_disk *base, unsigned lost, const struct sim_fault *fault)
{
	struct sim_disk *disk = sim_disk_kill(base);
	struct slf_db *db = NULL;
	bool fired;
	int result;

	lose_page(disk, lost);
	sim_disk_add_fault(disk, fault);
	result = open_on(disk, 0, &db);
	if (!result)
		slf_close(db);
	must(!result || result == fault->error || result == SLF_EUNKNOWN || result == SLF_EPOISONED);
	sim_disk_clear_faults(disk);
	fired = sim_disk_faults_fired(disk) > 0;
	check_value(disk, SLF_READONLY, "after a failure");
	check_value(disk, 0, "after a failure");
	sim_disk_free(disk);
	return fired;
}

/* Each call of an opening of this kind, once and for ever. */
static void fail_calls(struct sim_disk *base, unsigned lost, enum sim_call call, int error)
{
	for (unsigned sticky = 0; sticky < 2; sticky++) {
		struct sim_fault fault = { .call = call, .nth = 1, .error = error, .sticky = sticky };

		while (fail_call(base, lost, &fault))
			fault.nth++;
	}
}

Test(recover_pages, calls_fail)
{
	struct sim_disk *base = make_database();

	for (unsigned lost = 0; lost <= NO_PAGE; lost++) {
		fail_calls(base, lost, SIM_READ, -EIO);
		fail_calls(base, lost, SIM_WRITE, -ENOSPC);
		fail_calls(base, lost, SIM_SYNC, -EIO);
	}
	sim_disk_free(base);
}

/* The same where an opening was cut off and a page lost: a further file may then have to be given its page anew. */
Test(recover_pages, writes_fail_after_a_crash)
{
	struct states *states = calloc(1, sizeof(*states));
	struct sim_disk *disk = make_database();
	struct slf_db *db = NULL;

	must(states != NULL);
	sim_disk_set_hook(disk, keep_state, states);
	must_work(open_on(disk, 0, &db));
	sim_disk_set_hook(disk, NULL, NULL);
	must_work(slf_close(db));
	sim_disk_free(disk);
	for (size_t i = 0; i < states->count; i++) {
		for (unsigned lost = 0; lost <= NO_PAGE; lost++)
			if (lost == NO_PAGE || !states->torn[i])
				fail_calls(states->disks[i], lost, SIM_WRITE, -ENOSPC);
		sim_disk_free(states->disks[i]);
	}
	free(states);
}

/* ---- Pages that cannot be ---------------------------------------------------------------------------------------- */

static void forge(struct meta *meta, unsigned way)
{
	if (way == 0) {
		meta->spindle_count++;
	} else if (way == 1) {
		meta->generation = COUNTER_MAX / 2 + 1; /* from where no writer counts on */
	} else {
		meta->compat |= (uint64_t)1 << 63; /* so that nobody has looked at the rest */
		meta->sector = 3;
	}
}

/* A further file with the name of one of this database, and settings that it cannot have, would be taken. */
Test(recover_pages, settings_of_another_database)
{
	for (unsigned way = 0; way < 3; way++) {
		struct slf_errinfo info = { .size = sizeof(info) };
		struct sim_disk *disk = make_database();
		struct slf_db *db = NULL;

		for (unsigned page = 2; page < PAGES; page++) {
			uint8_t bytes[META_PAGE_BYTES];
			const char *reason;
			struct meta meta;

			must_work(sim_disk_peek_durable(disk, paths[1], page_place(page), bytes, sizeof(bytes)));
			cr_assert_eq(meta_decode(bytes, page % 2, &meta, &reason), META_GOOD);
			forge(&meta, way);
			meta_encode(bytes, &meta);
			must_work(sim_disk_poke(disk, paths[1], page_place(page), bytes, sizeof(bytes)));
		}
		for (unsigned i = 0; i < 2; i++) {
			cr_assert_eq(open_on(disk, i ? SLF_READONLY : 0, &db), SLF_ECORRUPT, "way %u", way);
			must_work(slf_errinfo(&info));
			cr_assert_not_null(strstr(info.text, "do not fit those of spindle 0"), "%s", info.text);
		}
		sim_disk_free(disk);
	}
}

struct older {
	uint8_t pages[2][META_PAGE_BYTES];
};

/* The further file has its older pages again, whatever was written. */
static void bring_back(void *context, struct sim_disk *disk, enum sim_call call)
{
	const struct older *older = context;

	for (unsigned i = 0; i < 2 && call == SIM_SYNC; i++)
		must_work(sim_disk_poke(disk, paths[1], page_place(i), older->pages[i], META_PAGE_BYTES));
}

/* A disk that loses what it has acknowledged: the database would be written to, and be refused at the next opening. */
Test(recover_pages, page_that_was_written_is_not_there)
{
	static struct older older;
	struct slf_errinfo info = { .size = sizeof(info) };
	struct sim_disk *disk = make_database();
	struct slf_db *db = NULL;

	for (unsigned i = 0; i < 2; i++)
		must_work(sim_disk_peek_durable(disk, paths[1], page_place(i), older.pages[i], META_PAGE_BYTES));
	must_work(open_on(disk, 0, &db));
	must_work(slf_close(db));
	bring_back(&older, disk, SIM_SYNC);
	lose_page(disk, 0); /* so that nobody can tell whether the files are of one time */
	sim_disk_set_hook(disk, bring_back, &older);
	cr_assert_eq(open_on(disk, 0, &db), -EIO);
	must_work(slf_errinfo(&info));
	cr_assert_not_null(strstr(info.text, "another one stands there"), "%s", info.text);
	sim_disk_set_hook(disk, NULL, NULL);
	check_value(disk, 0, "when the disk writes again");
	sim_disk_free(disk);
}
