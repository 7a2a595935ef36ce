/* SPDX-License-Identifier: MIT */
/*
 * Somebody copies the files of a database while a writer works on it: the copy is made of pieces of several moments. It
 * opens and holds one state of the history, or is refused; and once it has been opened it loses nothing that is committed
 * on it.
 *
 * SOLIFUGE_TEST_SEED is the first round's seed, each other round has the next number: one round alone is one with its own seed.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "crash_rig.h"
#include "proof.h"
#include "sim_inode.h"

#define BLOB_BYTES 65000u
#define SPINDLES_OF_TEST 3
#define CYCLES 5
#define EXTENTS_NOTED 64
#define FILLS_MAX 2000 /* blobs until the log has come to all extents that were free */
#define BUDGET_MAX (256 * MIB)

TestSuite(copy_in_use, .timeout = 600);

enum order { FORWARDS, BACKWARDS, SHUFFLED, ORDERS };
enum pages { IN_PLACE, FIRST, LAST, SCATTERED, PAGES };

static const char *const order_names[] = { "forwards", "backwards", "shuffled" };
static const char *const pages_names[] = { "in place", "first", "last", "scattered" };

/* How the files are copied. */
struct way {
	enum order order;
	enum pages pages;    /* when those with the metadata are copied */
	uint64_t piece;      /* bytes; 0: of all sizes */
	bool interleaved;    /* the files at one time */
	bool follows;        /* up to where a file ends when the copying comes there, not where it ended at first */
};

struct piece {
	unsigned spindle;
	bool page;
	uint64_t offset, length;
};

struct copier {
	struct rig *rig; /* the writer's */
	struct rng rng;
	struct way way;
	struct sim_disk *copy;
	struct piece *pieces;
	size_t count, done;
	size_t quota; /* of this step */
	uint64_t ends[SPINDLES_OF_TEST]; /* what of the files is among the pieces */
	bool pages_added, finished;
};

static uint64_t seed_of_round;

static void tell_round(int number)
{
	char line[64];
	int length = snprintf(line, sizeof(line), "SOLIFUGE_TEST_SEED=%llu SOLIFUGE_TEST_ROUNDS=1\n",
			      (unsigned long long)seed_of_round);

	if (write(STDERR_FILENO, line, (size_t)length) == length)
		signal(number, SIG_DFL);
}

/* ---- Copying ----------------------------------------------------------------------------------------------------- */

static void add_piece(struct copier *copier, struct piece piece)
{
	copier->pieces = sim_grow(copier->pieces, copier->count + 1, sizeof(piece));
	copier->pieces[copier->count++] = piece;
}

static void exchange(struct copier *copier, size_t first, size_t second)
{
	struct piece piece = copier->pieces[first];

	copier->pieces[first] = copier->pieces[second];
	copier->pieces[second] = piece;
}

static void shuffle(struct copier *copier, size_t from)
{
	for (size_t i = copier->count; i > from + 1; i--)
		exchange(copier, i - 1, from + rng_below(&copier->rng, i - from));
}

static uint64_t piece_length(struct copier *copier)
{
	static const uint64_t lengths[] = { 4 * KIB, 64 * KIB, 2 * MIB, 12 * KIB };

	return copier->way.piece ? copier->way.piece : lengths[rng_below(&copier->rng, ARRAY_SIZE(lengths))];
}

/* What a file has grown by, in the order of copying. */
static void add_file(struct copier *copier, unsigned spindle)
{
	uint64_t end = inode_find(copier->rig->disk, rig_path(spindle))->seen.size;
	size_t first = copier->count, last;

	while (copier->ends[spindle] < end) {
		struct piece piece = { .spindle = spindle, .offset = copier->ends[spindle] };

		piece.length = u64_min(piece_length(copier), end - piece.offset);
		copier->ends[spindle] += piece.length;
		add_piece(copier, piece);
	}
	must_work(sim_disk_resize(copier->copy, rig_path(spindle), copier->ends[spindle]));
	if (copier->way.order == SHUFFLED)
		shuffle(copier, first);
	for (last = copier->count; copier->way.order == BACKWARDS && last > first + 1; first++)
		exchange(copier, first, --last);
}

/* The pieces of each file stay in their order. */
static void interleave(struct copier *copier, size_t from)
{
	size_t count = copier->count - from, next[SPINDLES_OF_TEST + 1] = { 0 };
	struct piece *pieces = sim_grow(NULL, count, sizeof(*pieces));

	if (count)
		memcpy(pieces, copier->pieces + from, count * sizeof(*pieces));
	for (size_t i = 0; i < count; i++)
		next[pieces[i].spindle + 1] = i + 1;
	for (unsigned i = 1; i <= SPINDLES_OF_TEST; i++)
		next[i] = u64_max(next[i], next[i - 1]);
	for (size_t i = 0; i < count;) {
		unsigned spindle = (unsigned)rng_below(&copier->rng, copier->rig->spindle_count);

		if (next[spindle] < count && pieces[next[spindle]].spindle == spindle)
			copier->pieces[from + i++] = pieces[next[spindle]++];
	}
	sim_free(pieces);
}

static bool add_files(struct copier *copier)
{
	size_t from = copier->count;

	for (unsigned i = 0; i < copier->rig->spindle_count; i++)
		add_file(copier, i);
	if (copier->way.interleaved)
		interleave(copier, from);
	return copier->count > from;
}

static void add_pages(struct copier *copier)
{
	for (unsigned i = 0; i < copier->rig->spindle_count; i++) {
		add_piece(copier, (struct piece){ i, true, META_PAGE_A, META_PAGE_BYTES });
		add_piece(copier, (struct piece){ i, true, META_PAGE_B, META_PAGE_BYTES });
	}
	copier->pages_added = true;
}

static void plan(struct copier *copier)
{
	size_t from;

	if (copier->way.pages == FIRST)
		add_pages(copier);
	add_files(copier);
	if (copier->way.pages != SCATTERED)
		return;
	from = copier->count;
	add_pages(copier);
	while (from < copier->count) {
		struct piece piece = copier->pieces[from];
		size_t to = rng_below(&copier->rng, from + 1);

		memmove(copier->pieces + to + 1, copier->pieces + to, (from++ - to) * sizeof(piece));
		copier->pieces[to] = piece;
	}
}

/* As a process sees the file. A page that has its own moment is left out of other pieces. */
static void copy_piece(struct copier *copier, const struct piece *piece)
{
	static const uint64_t pages[] = { META_PAGE_A, META_PAGE_B };
	static uint8_t data[2 * MIB];
	const char *path = rig_path(piece->spindle);

	image_read(&inode_find(copier->rig->disk, path)->seen, piece->offset, data, piece->length);
	for (unsigned i = 0; i < 2 && copier->way.pages != IN_PLACE && !piece->page; i++)
		if (pages[i] >= piece->offset && pages[i] < piece->offset + piece->length)
			must_work(sim_disk_peek_durable(copier->copy, path, pages[i], data + (pages[i] - piece->offset),
							META_PAGE_BYTES));
	must_work(sim_disk_poke(copier->copy, path, piece->offset, data, piece->length));
}

static bool has_more(struct copier *copier)
{
	if (copier->done < copier->count || (copier->way.follows && add_files(copier)))
		return true;
	if (copier->way.pages != LAST || copier->pages_added)
		return false;
	add_pages(copier);
	return true;
}

static void copy_pieces(struct copier *copier, size_t count)
{
	for (; count && !copier->finished; count--) {
		copier->finished = !has_more(copier);
		if (!copier->finished)
			copy_piece(copier, &copier->pieces[copier->done++]);
	}
}

/* Between the calls of the writer. */
static void copy_here(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct copier *copier = context;
	size_t count;

	(void)disk;
	(void)call;
	if (!copier->quota || rng_below(&copier->rng, 4))
		return;
	count = 1 + rng_below(&copier->rng, copier->quota);
	copier->quota -= count;
	copy_pieces(copier, count);
}

static void choose_way(struct copier *copier)
{
	static const uint64_t pieces[] = { 0, 4 * KIB, 64 * KIB, 2 * MIB };
	struct rng *rng = &copier->rng;

	copier->way = (struct way){ .order = (enum order)rng_below(rng, ORDERS), .pages = (enum pages)rng_below(rng, PAGES),
				    .piece = pieces[rng_below(rng, ARRAY_SIZE(pieces))], .follows = rng_below(rng, 3) > 0,
				    .interleaved = rng_below(rng, 2) };
}

/* The files of the copy are there, with other inodes, and empty. */
static void copier_init(struct copier *copier, struct rig *rig)
{
	*copier = (struct copier){ .rig = rig, .rng = { rng_next(&rig->rng) }, .copy = sim_disk_new() };
	choose_way(copier);
	sim_disk_set_physical_sector(copier->copy, rig->disk->physical_sector);
	copier->copy->inode_next = 1000;
	for (unsigned i = 0; i < rig->spindle_count; i++) {
		struct name *name = name_add(copier->copy, rig_path(i));

		name->seen = inode_new(copier->copy, copier->copy->inode_next++);
		name->durable = name->seen;
	}
}

/* ---- The writer -------------------------------------------------------------------------------------------------- */

/* Leaves bulk that nothing refers to, be it taken for values or for nodes. */
static void abort_large(struct rig *rig)
{
	static uint8_t data[3 * MIB];
	bool huge = rng_below(&rig->rng, 2);
	struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);
	char key[24];
	int result = 0;

	for (unsigned i = 0; i < (huge ? 1 : 40) && !result; i++) {
		size_t size = huge ? sizeof(data) : i % 2 ? 1500 : 40000;

		snprintf(key, sizeof(key), "aborted%u", i);
		bytes_fill(data, size, rng_next(&rig->rng), true);
		result = slf_put(txn, SLF_MAIN, text(key), slice(data, size));
	}
	slf_abort(txn);
}

static int commit_blob(struct rig *rig, unsigned changes)
{
	int result;

	rig->blob_bytes = BLOB_BYTES;
	result = rig_commit(rig, changes, false);
	rig->blob_bytes = 0;
	return result;
}

static int fill_log(struct rig *rig, unsigned blobs)
{
	int result = 0;

	for (unsigned i = 0; i < blobs && !result; i++)
		result = commit_blob(rig, 0);
	return result;
}

/* With the largest ones checkpoints are made on demand alone, and free several extents of the log at once. */
static void choose_budgets(struct rig *rig, bool largest)
{
	static const uint64_t budgets[] = { 64 * KIB, 4 * MIB, BUDGET_MAX };

	rig->log_bytes = largest ? BUDGET_MAX : budgets[rng_below(&rig->rng, ARRAY_SIZE(budgets))];
	rig->heap_bytes = largest ? BUDGET_MAX : budgets[rng_below(&rig->rng, ARRAY_SIZE(budgets))];
}

/* Ends the process, be it by a power cut. What copies goes on. */
static void end_process(struct rig *rig, bool kill)
{
	uint64_t number = rng_next(&rig->rng);
	struct sim_disk *ended = kill ? sim_disk_kill(rig->disk) : sim_disk_crash_seed(rig->disk, number, number % 3 == 0);

	sim_disk_set_hook(ended, rig->disk->hook, rig->disk->hook_context);
	sim_disk_set_hook(rig->disk, NULL, NULL);
	if (rig->db)
		rig_abandon(rig->db);
	rig->db = NULL;
	sim_disk_free(rig->disk);
	rig->disk = ended;
}

/* An opening that ends in the midst. */
static void end_opening(struct rig *rig)
{
	static const enum sim_call calls[] = { SIM_WRITE, SIM_WRITE, SIM_WRITE, SIM_SYNC, SIM_PUNCH, SIM_ANY };
	struct sim_fault fault = { .call = calls[rng_below(&rig->rng, ARRAY_SIZE(calls))], .error = -EIO, .sticky = true };

	fault.nth = 1 + rng_below(&rig->rng, fault.call == SIM_ANY ? 60 : 8);
	fault.partial = rng_below(&rig->rng, 2);
	fault.short_bytes = 512 * rng_below(&rig->rng, 4);
	sim_disk_add_fault(rig->disk, &fault);
	if (rig_open_on(rig, rig->disk, 0, &rig->db))
		rig->db = NULL;
	end_process(rig, rng_below(&rig->rng, 2));
}

static int open_again(struct rig *rig)
{
	int result = rig_close(rig);

	return result ? result : rig_open_on(rig, rig->disk, 0, &rig->db);
}

static int work(struct rig *rig)
{
	unsigned few = 1 + (unsigned)rng_below(&rig->rng, 6);
	int result;

	switch (rng_below(&rig->rng, 24)) {
	case 0:
	case 1:
		result = slf_checkpoint(rig->db);
		rig->acked = result ? rig->acked : rig->newest;
		return result;
	case 2:
		return rig_commit(rig, 40 + (unsigned)rng_below(&rig->rng, 60), false);
	case 3:
		return open_again(rig);
	case 4:
		abort_large(rig);
		return 0;
	case 5:
	case 6:
		return commit_blob(rig, few);
	case 7:
	case 8:
		return fill_log(rig, 4 * few);
	case 9:
		return fill_log(rig, 35);
	case 10:
		return log_spare(&rig->db->core.log, rng_below(&rig->rng, 2));
	case 11:
	case 12:
		return rig_commit(rig, few, true);
	default:
		return rig_commit(rig, few, false);
	}
}

/* What the copy is made of has not always been closed. */
static void end_and_open(struct rig *rig, bool kill)
{
	end_process(rig, kill);
	if (!kill && rng_below(&rig->rng, 2))
		end_opening(rig);
	choose_budgets(rig, false);
	must_work(rig_open_on(rig, rig->disk, 0, &rig->db));
	rig->rollbacks = 0;
	rig_adopt(rig, true);
}

static void rig_prepare(struct rig *rig, uint64_t seed, unsigned spindles)
{
	rig_init(rig, seed, spindles, SLF_SYNC_COMMIT);
	rig->values_large = rng_below(&rig->rng, 3) ? 6 + (unsigned)rng_below(&rig->rng, 20) : 1;
	rig->values_huge = 60 + (unsigned)rng_below(&rig->rng, 200);
	choose_budgets(rig, false);
	if (rng_below(&rig->rng, 2))
		sim_disk_set_physical_sector(rig->disk, 4096);
}

/* The state with the newest checkpoint: no copy that is begun now holds an older one. */
static size_t state_of_checkpoint(const struct rig *rig)
{
	uint64_t seq = atomic_load(&rig->db->core.checkpoint.seq);
	size_t index = rig->newest;

	while (rig->states[index].seq > seq)
		index--;
	return index;
}

/* The oldest state that the copy may hold. */
static size_t copy_while_it_works(struct copier *copier)
{
	struct rig *rig = copier->rig;
	size_t oldest = state_of_checkpoint(rig), acked = rig->acked, steps = rng_below(&rig->rng, 24);

	plan(copier);
	sim_disk_set_hook(rig->disk, copy_here, copier);
	for (; steps; steps--) {
		copier->quota = rng_below(&copier->rng, 2 * (copier->count - copier->done) / steps + 2);
		must_work(work(rig));
		if (rng_below(&rig->rng, 40) == 0)
			end_and_open(rig, true);
		copy_pieces(copier, copier->quota);
		copier->quota = 0;
	}
	sim_disk_set_hook(rig->disk, NULL, NULL);
	copy_pieces(copier, SIZE_MAX);
	return state_of_checkpoint(rig) == oldest ? acked : oldest;
}

/* ---- The copy ---------------------------------------------------------------------------------------------------- */

/*
 * HOLES: the newest MARK, or a slab that a later one tells to have been durable, was copied after the bulk that it leads to, and
 * an opening looks at neither. Calls that come there answer SLF_ECORRUPT, and all other answers are right.
 */
enum outcome { WHOLE, CUT, HOLES, REFUSED, OUTCOMES };

static const char *const outcome_names[] = { "whole", "cut", "with holes", "refused" };

struct user {
	struct rig rig; /* the copy's */
	bool holes;     /* what was copied too early is missing: calls that come there are refused */
	uint64_t extents[EXTENTS_NOTED]; /* of the log, that were free at first and that it has not come to yet */
	size_t extent_count;
};

/* Which state it holds; *holes: or as much of it as it has. */
static size_t state_held(const struct rig *rig, struct slf_db *db, bool *holes)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	uint64_t seq = slf_txn_seq(txn);
	size_t index = rig->newest;
	char wrong[256] = "";
	enum rig_answer answer;

	slf_abort(txn);
	while (index && rig->states[index].seq != seq)
		index--;
	if (rig->states[index].seq != seq || index < rig->acked)
		fprintf(stderr, "seq %llu " RIG_NO_STATE " %zu (seq %llu) to %zu (seq %llu)\n", (unsigned long long)seq,
			rig->acked, (unsigned long long)rig->states[rig->acked].seq, rig->newest,
			(unsigned long long)rig->states[rig->newest].seq);
	must(rig->states[index].seq == seq && index >= rig->acked && !rig->states[index].refused);
	answer = rig_inspect(rig, db, index, wrong);
	if (answer == RIG_WRONG)
		fprintf(stderr, "state %zu (seq %llu): %s\n", index, (unsigned long long)seq, wrong);
	must(answer != RIG_WRONG);
	*holes = answer == RIG_REFUSED;
	return index;
}

static void adopt(struct user *user)
{
	bool holes;
	size_t index = state_held(&user->rig, user->rig.db, &holes);

	must(!holes || user->holes);
	user->rig.newest = index;
	user->rig.acked = index;
	user->rig.rollbacks = 0;
}

/* A refusal names a reason. */
static void must_say_why(int result)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	must_work(slf_errinfo(&info));
	if (result != SLF_ECORRUPT || info.code != result || !info.text[0])
		fprintf(stderr, "refused with %d (%d: %s)\n", result, info.code, info.text);
	must(result == SLF_ECORRUPT && info.code == result && info.text[0]);
}

/* What a reader gets: the state, or SIZE_MAX. */
static size_t read_only(const struct rig *rig, struct sim_disk *disk)
{
	struct slf_db *db = NULL;
	int result = rig_open_on(rig, disk, SLF_READONLY, &db);
	bool holes;
	size_t index = SIZE_MAX;

	if (result) {
		must_say_why(result);
		return index;
	}
	index = state_held(rig, db, &holes);
	must_work(slf_close(db));
	return index;
}

/* What a writer gets whom nothing disturbs. The disk is freed. */
static enum outcome write_alone(const struct rig *rig, struct sim_disk *disk, size_t *state)
{
	struct slf_info info = { .size = sizeof(info) };
	struct slf_db *db = NULL;
	int result = rig_open_on(rig, disk, 0, &db);
	bool holes = false;

	if (result) {
		must_say_why(result);
	} else {
		must_work(slf_info(db, &info));
		*state = state_held(rig, db, &holes);
		rig_abandon(db);
	}
	sim_disk_free(disk);
	return result ? REFUSED : holes ? HOLES : info.cut ? CUT : WHOLE;
}

/* ---- Its use ----------------------------------------------------------------------------------------------------- */

static void note_free(struct user *user)
{
	const struct log *log = &user->rig.db->core.log;

	while (user->extent_count < log->free_count && user->extent_count < EXTENTS_NOTED - 1) {
		user->extents[user->extent_count] = log->free[user->extent_count];
		user->extent_count++;
	}
	if (log->spare)
		user->extents[user->extent_count++] = log->spare;
}

static void note_extent(struct user *user)
{
	for (size_t i = 0; i < user->extent_count; i++)
		if (user->extents[i] == user->rig.db->core.log.extent)
			user->extents[i] = user->extents[--user->extent_count];
}

static void must_go_on(const struct user *user, int result)
{
	if (!(user->holes && result == SLF_ECORRUPT))
		must_work(result);
}

/* A commit that met a hole is no state. */
static void forget_refused(struct rig *rig)
{
	while (rig->states[rig->newest].refused)
		rig->newest--;
	rig->acked = u64_min(rig->acked, rig->newest);
}

static void use(struct user *user, bool to_all)
{
	struct rig *rig = &user->rig;

	for (size_t steps = 1 + rng_below(&rig->rng, 8); steps; steps--) {
		must_go_on(user, work(rig));
		forget_refused(rig);
		note_extent(user);
	}
	for (unsigned i = 0; to_all && user->extent_count && i < FILLS_MAX; i++) {
		must_go_on(user, commit_blob(rig, 0));
		note_extent(user);
	}
}

static void use_and_end(struct user *user)
{
	struct rig *rig = &user->rig;

	for (unsigned cycle = 0; cycle < CYCLES; cycle++) {
		bool to_all = cycle == 1 || cycle == 3;

		choose_budgets(rig, to_all);
		must_work(rig_open_on(rig, rig->disk, 0, &rig->db));
		adopt(user);
		if (cycle == 0)
			note_free(user);
		use(user, to_all);
		end_process(rig, rng_below(&rig->rng, 2));
		if (rng_below(&rig->rng, 4) == 0)
			end_opening(rig);
	}
	must_work(rig_open_on(rig, rig->disk, 0, &rig->db));
	adopt(user);
	must_go_on(user, rig_close(rig));
}

static enum outcome use_copy(const struct rig *writer, struct sim_disk *copy, size_t oldest, size_t *never)
{
	struct user user = { .rig = *writer };
	struct rig *rig = &user.rig;
	size_t state = SIZE_MAX, read;
	enum outcome outcome, again;

	rig->disk = copy;
	rig->db = NULL;
	rig->acked = oldest;
	rig->states = calloc(RIG_COMMITS_MAX, sizeof(*rig->states));
	memcpy(rig->states, writer->states, (writer->newest + 1) * sizeof(*rig->states));
	read = read_only(rig, copy);
	outcome = write_alone(rig, sim_disk_kill(copy), &state);
	must(outcome == REFUSED || read == state);
	user.holes = outcome == HOLES;
	if (outcome != REFUSED) {
		if (rng_below(&rig->rng, 2)) { /* nothing has been acknowledged on it yet: another state will do */
			end_opening(rig);
			again = write_alone(rig, sim_disk_kill(rig->disk), &state);
			must(again != REFUSED);
			user.holes = again == HOLES;
		}
		rig->acked = state;
		rig->newest = state;
		use_and_end(&user);
	}
	*never += user.extent_count;
	rig_release(rig);
	return outcome;
}

/* ---- Rounds ------------------------------------------------------------------------------------------------------ */

struct report {
	unsigned counts[ORDERS][PAGES][OUTCOMES];
	size_t never; /* extents that were free and that the log did not come to */
};

static void play(struct report *report, uint64_t seed, unsigned spindles)
{
	struct rig rig;
	struct copier copier;
	enum outcome outcome;
	size_t oldest;

	seed_of_round = seed;
	rig_prepare(&rig, seed, spindles);
	must_work(rig_open(&rig));
	for (size_t steps = rng_below(&rig.rng, 50); steps; steps--) {
		must_work(work(&rig));
		if (rng_below(&rig.rng, 30) == 0)
			end_and_open(&rig, false);
	}
	copier_init(&copier, &rig);
	oldest = copy_while_it_works(&copier);
	outcome = use_copy(&rig, copier.copy, oldest, &report->never);
	report->counts[copier.way.order][copier.way.pages][outcome]++;
	sim_free(copier.pieces);
	rig_release(&rig);
}

static void tell(const char *name, const struct report *report)
{
	for (unsigned order = 0; order < ORDERS; order++)
		for (unsigned pages = 0; pages < PAGES; pages++) {
			printf("%s: %s, pages %s:", name, order_names[order], pages_names[pages]);
			for (unsigned outcome = 0; outcome < OUTCOMES; outcome++)
				printf(" %u %s", report->counts[order][pages][outcome], outcome_names[outcome]);
			printf("\n");
		}
	printf("%s: %zu free extents were never come to\n", name, report->never);
}

static void play_all(const char *name, unsigned spindles, unsigned rounds)
{
	uint64_t seed = test_seed(name);
	struct report report = { 0 };

	signal(SIGABRT, tell_round);
	rounds = test_rounds(rounds);
	for (unsigned i = 0; i < rounds; i++)
		play(&report, seed + i, spindles);
	signal(SIGABRT, SIG_DFL);
	tell(name, &report);
	proof_count("H copies of a database in use", rounds);
}

Test(copy_in_use, one_spindle)
{
	play_all("copy_in_use one_spindle", 1, 8);
}

Test(copy_in_use, three_spindles)
{
	play_all("copy_in_use three_spindles", 3, 8);
}
