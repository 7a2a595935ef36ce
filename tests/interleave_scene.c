/* SPDX-License-Identifier: MIT */
/*
 * The model needs no lock: between two points of the scheduler a thread has the world for itself, and what stands here has
 * none. A state is made under the turn; its fate is known when the library has told it to the thread that asked, which may
 * be later than others see it. So each claim is kept and held against the fates at the end: who was seen is never refused,
 * and who is acknowledged stands on nothing that was refused.
 */
#include "interleave_scene.h"

#include <stdio.h>
#include <stdlib.h>

#include "codec.h"
#include "scratch.h"
#include "sim_world.h"

#define DB_PATH "/tmp/db"
#define TREES_MAX 8
#define KEYS_MAX 48
#define KEYS_NARROW 12
#define STATES_MAX 64
#define VALUE_BUFFER_BYTES 40000
#define NUMBER_KEY "#"
#define THREADS_MAX 16
#define WAITS_MAX 8

enum verdict {
	OPEN,    /* nobody was told */
	SURE,    /* acknowledged */
	REFUSED, /* never to be seen */
	DOUBT,   /* may be there or not */
};

struct state {
	uint64_t seq;     /* 0 while it is not known */
	size_t base;
	enum verdict verdict;
	bool seen;        /* in a snapshot that was not asked to be of a running transaction */
	uint32_t nonces[TREES_MAX][KEYS_MAX];
};

struct stage {
	const struct interleave_scene *scene;
	struct interleave_counts *counts;
	struct sim_disk *disk;
	struct slf_db *db;
	struct rng rng;
	uint32_t trees[TREES_MAX];
	unsigned tree_count, keys;
	uint32_t next_nonce;
	unsigned flags, spindle_count; /* the seed's, besides those of the scene */
	struct state *states; /* the first is empty */
	size_t count;
	size_t acked;         /* the newest that must survive */
	size_t shown;         /* the newest that a snapshot begun now must have */
	bool poisoned;
	/* the power cut */
	struct sim_disk *cut;
	size_t cut_acked, cut_count;
	bool cut_torn;
};

struct actor {
	struct stage *stage;
	pthread_t thread;
	struct rng rng;
	unsigned rounds;
	uint64_t waits[WAITS_MAX]; /* states that were committed without a wait */
	size_t wait_count;
};

const struct interleave_scene interleave_scenes[INTERLEAVE_SCENES] = {
	{ "durable commits of a group", SLF_SYNC_COMMIT, 0, .writers = { 4, 3 } },
	{ "asynchronous commits, waits, syncs and a close", SLF_SYNC_COMMIT, 0, .writers = { 3, 4 }, .syncers = { 1, 3 },
	  .async = 3 },
	{ "a writer beside checkpoints", SLF_SYNC_COMMIT, 0, .writers = { 2, 5 }, .checkpointers = { 1, 3 }, .async = 1,
	  .preload = 4, .wide = true },
	/* what is freed is freed after every thirty-second commit, and after checkpoints */
	{ "readers beside writer and checkpoint", SLF_SYNC_COMMIT, 0, .writers = { 1, 8 }, .readers = { 2, 4 },
	  .checkpointers = { 1, 2 }, .async = 1, .preload = 28 },
	{ "a failing disk", SLF_SYNC_COMMIT, 0, .writers = { 3, 4 }, .readers = { 1, 3 }, .checkpointers = { 1, 1 },
	  .syncers = { 1, 1 }, .async = 1, .bulky = 1, .faults = true },
	{ "no threads of its own", SLF_SYNC_COMMIT, SLF_NO_THREADS, .writers = { 3, 3 }, .readers = { 1, 3 },
	  .checkpointers = { 1, 2 }, .syncers = { 1, 2 }, .async = 2 },
	{ "a power cut", SLF_SYNC_COMMIT, 0, .writers = { 3, 4 }, .readers = { 1, 2 }, .checkpointers = { 1, 2 },
	  .async = 1, .bulky = 1, .cut = true },
	{ "sync on request, trees changed beside an install", SLF_SYNC_NONE, 0, .writers = { 2, 6 },
	  .readers = { 1, 2 }, .checkpointers = { 1, 3 }, .syncers = { 1, 2 }, .preload = 4, .trees = 8 },
	{ "sync on request, a power cut", SLF_SYNC_NONE, 0, .writers = { 2, 5 }, .checkpointers = { 1, 2 },
	  .syncers = { 1, 3 }, .bulky = 1, .preload = 2, .cut = true },
	{ "sync in the background, a failing disk", SLF_SYNC_AUTO, 0, .writers = { 2, 5 }, .readers = { 1, 2 },
	  .checkpointers = { 1, 1 }, .syncers = { 1, 1 }, .faults = true },
	{ "sync on request, a failing disk", SLF_SYNC_NONE, 0, .writers = { 2, 4 }, .readers = { 1, 2 },
	  .checkpointers = { 1, 2 }, .syncers = { 1, 2 }, .async = 1, .bulky = 1, .faults = true },
	{ "transactions larger than the log", SLF_SYNC_COMMIT, 0, .writers = { 2, 3 }, .readers = { 1, 2 },
	  .checkpointers = { 1, 2 }, .large = 3, .preload = 2, .async = 1 },
	{ "sync in the background, a power cut", SLF_SYNC_AUTO, 0, .writers = { 2, 6 }, .readers = { 1, 2 },
	  .checkpointers = { 1, 1 }, .syncers = { 1, 1 }, .bulky = 1, .cut = true },
};

/* ---- Keys and values --------------------------------------------------------------------------------------------- */

static struct slf_slice key_make(unsigned index, uint8_t *data)
{
	put_be32(data, index);
	memset(data + 4, 'k', index % 20);
	return slice(data, 4 + index % 20);
}

enum kind { SMALL, LARGE, BULKY };
#define NONCE_KIND_SHIFT 28

static struct slf_slice value_make(uint32_t nonce, uint8_t *data)
{
	uint64_t number = rng_mix(nonce);
	size_t size = number % 6 ? number / 7 % 60 : 100 + number / 7 % 300;

	if (nonce >> NONCE_KIND_SHIFT == LARGE)
		size = 2000 + number / 7 % 2000;
	if (nonce >> NONCE_KIND_SHIFT == BULKY)
		size = 33000 + number / 7 % 6000;
	bytes_fill(data, size, nonce, nonce % 3 == 0);
	return slice(data, size);
}

/* ---- Comparing --------------------------------------------------------------------------------------------------- */

/* Which state a transaction stands on. */
static size_t number_of(const struct stage *stage, struct slf_txn *txn)
{
	struct slf_slice value;
	int result = slf_get(txn, SLF_MAIN, text(NUMBER_KEY), &value);
	uint32_t number;

	if (result == SLF_NOTFOUND)
		return 0;
	must_work(result);
	must(value.size == sizeof(number));
	number = get_u32(value.data);
	must(number < stage->count);
	return number;
}

static void check_key(const struct stage *stage, struct slf_txn *txn, const struct state *state, unsigned tree, unsigned key)
{
	uint8_t key_bytes[64], data[VALUE_BUFFER_BYTES];
	uint32_t nonce = state->nonces[tree][key];
	struct slf_slice value = { 0 }, expected;
	int result = slf_get(txn, stage->trees[tree], key_make(key, key_bytes), &value);

	if (result != (nonce ? 0 : SLF_NOTFOUND))
		fprintf(stderr, "state %zu: tree %u key %u: nonce %u, result %d\n", (size_t)(state - stage->states), tree,
			key, nonce, result);
	must(result == (nonce ? 0 : SLF_NOTFOUND));
	if (!nonce)
		return;
	expected = value_make(nonce, data);
	must(slice_is(value, expected.data, expected.size));
}

static void check_scan(const struct stage *stage, struct slf_txn *txn, const struct state *state, unsigned tree,
		       bool backwards)
{
	uint8_t key_bytes[64], data[VALUE_BUFFER_BYTES];
	struct slf_cursor *cursor = NULL;
	struct slf_slice key, value, expected;

	must_work(slf_cursor_open(txn, stage->trees[tree], NULL, &cursor));
	for (unsigned i = 0; i < stage->keys; i++) {
		unsigned at = backwards ? stage->keys - 1 - i : i;

		if (!state->nonces[tree][at])
			continue;
		must_work(backwards ? slf_cursor_prev(cursor, &key, &value) : slf_cursor_next(cursor, &key, &value));
		expected = key_make(at, key_bytes);
		must(slice_is(key, expected.data, expected.size));
		expected = value_make(state->nonces[tree][at], data);
		must(slice_is(value, expected.data, expected.size));
	}
	must((backwards ? slf_cursor_prev(cursor, &key, &value) : slf_cursor_next(cursor, &key, &value)) == SLF_END);
	slf_cursor_close(cursor);
}

/* The list of trees: the first commit makes all of them. */
static void check_trees(const struct stage *stage, struct slf_txn *txn, const struct state *state)
{
	unsigned count = state == stage->states ? 1 : stage->tree_count;
	char name[256] = "", expected[16];
	uint32_t tree = 0;

	for (unsigned i = 1; i < count; i++) {
		must_work(slf_tree_next(txn, name, sizeof(name), &tree));
		snprintf(expected, sizeof(expected), "tree %u", i);
		must(strcmp(name, expected) == 0 && tree == stage->trees[i]);
	}
	must(slf_tree_next(txn, name, sizeof(name), &tree) == SLF_END);
}

/* All that the transaction sees is the state. The main tree holds the number, and is not scanned. */
static void check_state(const struct stage *stage, struct slf_txn *txn, const struct state *state, struct rng *rng)
{
	unsigned way = (unsigned)rng_below(rng, 3);

	check_trees(stage, txn, state);
	for (unsigned tree = 0; tree < stage->tree_count; tree++) {
		if (tree && way) {
			check_scan(stage, txn, state, tree, way == 1);
			continue;
		}
		for (unsigned key = 0; key < stage->keys; key++)
			check_key(stage, txn, state, tree, key);
	}
}

static size_t size_max(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* ---- Writers ----------------------------------------------------------------------------------------------------- */

/* A call may only have failed where something fails by plan. */
static void may_fail(const struct stage *stage, int result)
{
	if (!stage->scene->faults)
		must_work(result);
}

static void refuse(struct stage *stage, struct state *state)
{
	must(!state->seen && state->verdict != SURE);
	state->verdict = REFUSED;
	stage->counts->refused++;
}

static void acknowledge(struct stage *stage, size_t number)
{
	must(stage->states[number].verdict != REFUSED);
	stage->states[number].verdict = SURE;
	stage->acked = size_max(stage->acked, number);
	stage->shown = size_max(stage->shown, number);
}

/* What the library has told about a state. */
static void judge(struct stage *stage, size_t number, int result)
{
	struct state *state = &stage->states[number];

	may_fail(stage, result);
	if (result == 0) {
		acknowledge(stage, number);
	} else if (result == SLF_EUNKNOWN) {
		state->verdict = state->verdict == SURE ? SURE : DOUBT;
		stage->counts->unknown++;
		stage->poisoned = true;
	} else {
		refuse(stage, state);
	}
}

static int change(struct actor *actor, struct slf_txn *txn, struct state *state, enum kind kind)
{
	struct stage *stage = actor->stage;
	unsigned tree = (unsigned)rng_below(&actor->rng, stage->tree_count), key = (unsigned)rng_below(&actor->rng, stage->keys);
	uint32_t *nonce = &state->nonces[tree][key], fresh = stage->next_nonce++;
	uint8_t key_bytes[64], data[VALUE_BUFFER_BYTES];
	struct slf_slice name = key_make(key, key_bytes);
	int result;

	if (rng_below(&actor->rng, 8) < stage->scene->bulky)
		kind = BULKY;
	if (kind == SMALL && rng_below(&actor->rng, 4) == 0) {
		result = slf_del(txn, stage->trees[tree], name);
		if (result >= 0)
			must(result == (*nonce ? 0 : SLF_NOTFOUND));
		if (result >= 0)
			*nonce = 0;
		return result < 0 ? result : 0;
	}
	fresh |= (uint32_t)kind << NONCE_KIND_SHIFT;
	result = slf_put(txn, stage->trees[tree], name, value_make(fresh, data));
	if (!result)
		*nonce = fresh;
	if (!result && rng_below(&actor->rng, 4) == 0 && !stage->scene->faults)
		check_key(stage, txn, state, tree, key);
	return result;
}

static int fill(struct actor *actor, struct slf_txn *txn, struct state *state, size_t number)
{
	bool large = rng_below(&actor->rng, 8) < actor->stage->scene->large;
	unsigned changes = large ? 30 : 1 + (unsigned)rng_below(&actor->rng, 4);
	uint8_t bytes[4];
	int result;

	put_u32(bytes, (uint32_t)number);
	result = slf_put(txn, SLF_MAIN, text(NUMBER_KEY), slice(bytes, sizeof(bytes)));
	for (unsigned i = 0; i < changes && !result; i++)
		result = change(actor, txn, state, large ? LARGE : SMALL);
	return result;
}

/* A transaction on whatever the library says is the newest state. False when there is no more writing. */
static bool write_once(struct actor *actor)
{
	struct stage *stage = actor->stage;
	bool async = rng_below(&actor->rng, 4) < stage->scene->async;
	bool was_poisoned = stage->poisoned;
	struct slf_txn *txn = NULL;
	struct state *state;
	size_t number, least = stage->shown;
	int64_t timeout_ns = rng_below(&actor->rng, 8) ? -1 : (int64_t)rng_below(&actor->rng, 3000000);
	int result = slf_begin_timeout(stage->db, SLF_WRITE, timeout_ns, &txn);

	if (result == -ETIMEDOUT && timeout_ns >= 0)
		return true;
	may_fail(stage, result);
	if (result)
		return result != SLF_EPOISONED;
	must(!was_poisoned);
	must(stage->count < STATES_MAX);
	number = stage->count;
	state = &stage->states[number];
	*state = (struct state){ .base = stage->scene->faults ? SIZE_MAX : number_of(stage, txn) };
	if (state->base == SIZE_MAX) { /* the read itself may fail: the transaction is doomed by an abort beside it */
		struct slf_slice value;

		result = slf_get(txn, SLF_MAIN, text(NUMBER_KEY), &value);
		state->base = result == 0 ? get_u32(value.data) : 0;
		if (result < 0) {
			slf_abort(txn);
			return true;
		}
	}
	stage->count++;
	must(state->base >= least);
	/* What it stands on may have been refused since: then it is doomed, which is seen at the end. */
	must(stage->scene->faults || stage->states[state->base].verdict != REFUSED);
	memcpy(state->nonces, stage->states[state->base].nonces, sizeof(state->nonces));
	if (!stage->scene->faults && rng_below(&actor->rng, 8) == 0)
		check_state(stage, txn, state, &actor->rng);
	result = fill(actor, txn, state, number);
	may_fail(stage, result);
	if (result || rng_below(&actor->rng, 12) == 0) {
		slf_abort(txn);
		refuse(stage, state);
		return true;
	}
	if (async) {
		result = slf_commit_async(txn, &state->seq);
		if (!result && stage->scene->sync != SLF_SYNC_COMMIT)
			stage->shown = size_max(stage->shown, number);
		if (result)
			judge(stage, number, result);
		else if (actor->wait_count < WAITS_MAX)
			actor->waits[actor->wait_count++] = number;
	} else {
		result = slf_commit(txn, &state->seq);
		if (result || stage->scene->sync == SLF_SYNC_COMMIT)
			judge(stage, number, result);
		else
			stage->shown = size_max(stage->shown, number);
	}
	stage->counts->commits += !result;
	return true;
}

static void wait_once(struct actor *actor)
{
	static const int64_t timeouts[] = { 0, 100000, 3000000, -1 };
	struct stage *stage = actor->stage;
	size_t index = rng_below(&actor->rng, actor->wait_count), number = actor->waits[index];
	int64_t timeout_ns = timeouts[rng_below(&actor->rng, 4)];
	int result = slf_wait(stage->db, stage->states[number].seq, timeout_ns);

	if (result == -ETIMEDOUT && timeout_ns >= 0)
		return;
	judge(stage, number, result);
	actor->waits[index] = actor->waits[--actor->wait_count];
}

static void *writer_main(void *context)
{
	struct actor *actor = context;

	for (unsigned i = 0; i < actor->rounds; i++) {
		if (!write_once(actor))
			break;
		if (actor->wait_count && rng_below(&actor->rng, 2))
			wait_once(actor);
	}
	return NULL;
}

/* ---- Readers and the others -------------------------------------------------------------------------------------- */

static void look_once(struct actor *actor)
{
	struct stage *stage = actor->stage;
	bool durable = rng_below(&actor->rng, 4) == 0 || stage->poisoned;
	size_t least = durable ? stage->acked : stage->shown, number;
	struct slf_txn *txn = NULL;
	int result = slf_begin(stage->db, durable ? SLF_DURABLE : SLF_READ, &txn);

	may_fail(stage, result);
	if (result) {
		must(result == SLF_EPOISONED && !durable);
		return;
	}
	number = number_of(stage, txn);
	must(number >= least);
	must(stage->states[number].verdict != REFUSED);
	stage->states[number].seen = true;
	if (stage->states[number].seq)
		must(slf_txn_seq(txn) == stage->states[number].seq);
	if (durable || stage->scene->sync == SLF_SYNC_COMMIT) { /* nobody sees what may still be lost */
		stage->acked = size_max(stage->acked, number);
		stage->shown = size_max(stage->shown, number);
	}
	check_state(stage, txn, &stage->states[number], &actor->rng);
	if (rng_below(&actor->rng, 2)) { /* and stays what it is */
		schedule_yield();
		check_state(stage, txn, &stage->states[number], &actor->rng);
	}
	slf_abort(txn);
	stage->counts->snapshots++;
}

static void *reader_main(void *context)
{
	struct actor *actor = context;

	for (unsigned i = 0; i < actor->rounds; i++)
		look_once(actor);
	return NULL;
}

static void *checkpointer_main(void *context)
{
	struct actor *actor = context;

	for (unsigned i = 0; i < actor->rounds; i++) {
		int result = slf_checkpoint(actor->stage->db);

		may_fail(actor->stage, result);
		actor->stage->counts->checkpoints += !result;
	}
	return NULL;
}

/* What has a number up to that one, and was not refused, is durable. */
static void settle(struct stage *stage, size_t before, uint64_t durable_seq)
{
	for (size_t i = 0; i < stage->count; i++) {
		const struct state *state = &stage->states[i];

		if (i < before && state->seq && state->verdict == SURE)
			must(state->seq <= durable_seq);
		if (i < before && state->seq && !stage->scene->faults)
			must(state->seq <= durable_seq);
		if (state->seq && state->seq <= durable_seq && state->verdict != REFUSED)
			stage->acked = size_max(stage->acked, i);
	}
	stage->shown = size_max(stage->shown, stage->acked);
}

static void *syncer_main(void *context)
{
	struct actor *actor = context;
	struct stage *stage = actor->stage;

	for (unsigned i = 0; i < actor->rounds; i++) {
		bool known[STATES_MAX] = { false };
		uint64_t seq = 0;
		size_t before = 0;
		int result;

		for (size_t at = 0; at < stage->count; at++)
			known[at] = stage->states[at].seq;
		while (before < stage->count && (before == 0 || known[before] || stage->states[before].verdict == REFUSED))
			before++;
		result = slf_sync(stage->db, &seq);
		may_fail(stage, result);
		if (!result)
			settle(stage, before, seq);
		if (result == SLF_EUNKNOWN)
			stage->poisoned = true;
	}
	return NULL;
}

/* ---- The history ------------------------------------------------------------------------------------------------- */

static int open_on(const struct stage *stage, struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	/* A directory that exists: the paths of further spindles are resolved, all else is simulated. */
	static const char *const spindles[] = { "/usr/spindle" };
	static struct stats unused;
	struct io *io = NULL;

	options.flags = flags | stage->flags;
	options.spindles = spindles;
	options.spindle_count = stage->spindle_count;
	options.sync = stage->scene->sync;
	options.heap_bytes = 64 * 1024;
	options.log_bytes = 64 * 1024;
	options.leaf_bytes = 256;
	options.branch_bytes = 256;
	options.auto_sync_ns = 3000000;
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(DB_PATH, &options, io, db);
}

static void cut_power(void *context)
{
	struct stage *stage = context;

	stage->cut = sim_disk_crash_seed(stage->disk, rng_next(&stage->rng), stage->cut_torn);
	stage->cut_acked = stage->acked;
	stage->cut_count = stage->count;
	stage->counts->cuts++;
}

static void plan_fault(struct stage *stage)
{
	/* reads go on: all that is looked at can be compared */
	static const enum sim_call calls[] = { SIM_WRITE, SIM_WRITE, SIM_SYNC, SIM_SYNC, SIM_ALLOCATE };
	static const int errors[] = { -EIO, -ENOSPC, -EDQUOT };
	struct sim_fault fault = {
		.call = calls[rng_below(&stage->rng, ARRAY_SIZE(calls))],
		.nth = 1 + rng_below(&stage->rng, 12),
		.error = errors[rng_below(&stage->rng, ARRAY_SIZE(errors))],
		.sticky = rng_below(&stage->rng, 2),
		.partial = rng_below(&stage->rng, 2),
		.short_bytes = rng_below(&stage->rng, 2) * 512,
		.drop = rng_below(&stage->rng, 2),
	};

	sim_disk_add_fault(stage->disk, &fault);
}

static void actors_start(struct stage *stage, struct actor *actors, size_t *count, struct crew crew,
			 void *(*main)(void *context))
{
	for (unsigned i = 0; i < crew.threads; i++) {
		struct actor *actor = &actors[(*count)++];

		must(*count <= THREADS_MAX);
		*actor = (struct actor){ .stage = stage, .rng = { rng_next(&stage->rng) }, .rounds = crew.rounds };
		must(pthread_create(&actor->thread, NULL, main, actor) == 0);
	}
}

static void prepare(struct stage *stage)
{
	struct actor first = { .stage = stage, .rng = { rng_next(&stage->rng) } };
	struct slf_txn *txn = NULL;
	struct state *state = &stage->states[1];

	must_work(open_on(stage, stage->disk, SLF_CREATE | stage->scene->flags, &stage->db));
	must_work(slf_begin(stage->db, SLF_WRITE, &txn));
	stage->trees[0] = SLF_MAIN;
	for (unsigned i = 1; i < stage->tree_count; i++) {
		char name[16];

		snprintf(name, sizeof(name), "tree %u", i);
		must_work(slf_tree_open(txn, name, SLF_CREATE, &stage->trees[i]));
	}
	stage->count = 2;
	for (unsigned i = 0; i < (stage->scene->preload ? stage->tree_count * stage->keys / 2 : 0); i++)
		must_work(change(&first, txn, state, SMALL));
	must_work(fill(&first, txn, state, 1));
	must_work(slf_commit(txn, &state->seq));
	must_work(slf_sync(stage->db, NULL));
	acknowledge(stage, 1);
	for (unsigned i = 0; i < stage->scene->preload; i++) {
		write_once(&first);
		if (i == 1)
			must_work(slf_checkpoint(stage->db));
	}
}

static void play(void *context)
{
	struct stage *stage = context;
	const struct interleave_scene *scene = stage->scene;
	struct actor actors[THREADS_MAX];
	size_t count = 0, last = 0;
	int result;

	prepare(stage);
	if (scene->faults)
		plan_fault(stage);
	if (scene->cut)
		schedule_hook(1 + rng_below(&stage->rng, 1u << (6 + rng_below(&stage->rng, 8))), cut_power, stage);
	actors_start(stage, actors, &count, scene->writers, writer_main);
	actors_start(stage, actors, &count, scene->readers, reader_main);
	actors_start(stage, actors, &count, scene->checkpointers, checkpointer_main);
	actors_start(stage, actors, &count, scene->syncers, syncer_main);
	for (size_t i = 0; i < count; i++)
		must(pthread_join(actors[i].thread, NULL) == 0);
	result = slf_close(stage->db);
	may_fail(stage, result);
	for (size_t i = 0; i < stage->count; i++)
		if (stage->states[i].verdict != REFUSED)
			last = i;
	if (!result && !scene->faults)
		stage->acked = last;
	stage->counts->poisoned += stage->poisoned;
}

/* ---- Judgement --------------------------------------------------------------------------------------------------- */

/* No seq twice, and in the order of the states; what was acknowledged or seen stands on what was not refused. */
static void check_fates(const struct stage *stage)
{
	uint64_t seq = 0;

	for (size_t i = 1; i < stage->count; i++) {
		const struct state *state = &stage->states[i];

		if (state->seq) {
			must(state->seq > seq);
			seq = state->seq;
		}
		if (state->verdict != SURE && !state->seen)
			continue;
		must(state->verdict != REFUSED);
		for (size_t base = state->base; base; base = stage->states[base].base)
			must(stage->states[base].verdict != REFUSED);
	}
}

/* Recovers what is on the disk, which it frees: an allowed state, and one that can be written to. */
static void recover(struct stage *stage, struct sim_disk *disk, size_t acked, size_t count)
{
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	size_t number;

	must_work(open_on(stage, disk, SLF_NO_THREADS, &db));
	txn = txn_begin(db, SLF_READ);
	number = number_of(stage, txn);
	if (number < acked || number >= count)
		fprintf(stderr, "recovered: state %zu; acknowledged: %zu; tried: %zu\n", number, acked, count);
	must(number >= acked && number < count);
	for (size_t at = number; at; at = stage->states[at].base)
		must(stage->states[at].verdict != REFUSED);
	if (stage->states[number].seq)
		must(slf_txn_seq(txn) == stage->states[number].seq);
	check_state(stage, txn, &stage->states[number], &stage->rng);
	slf_abort(txn);
	db_put(db, "proof", "of life");
	must_work(slf_close(db));
	sim_disk_free(disk);
}

void interleave_run(const struct interleave_scene *scene, uint64_t seed, const struct schedule_faults *faults,
		    struct interleave_counts *counts)
{
	struct stage stage = { .scene = scene, .counts = counts, .rng = { rng_mix(seed) }, .next_nonce = 1,
			       .tree_count = scene->trees ? scene->trees : 2, .keys = scene->wide ? KEYS_MAX : KEYS_NARROW, .count = 1 };

	*counts = (struct interleave_counts){ 0 };
	stage.cut_torn = rng_below(&stage.rng, 2);
	stage.flags = rng_below(&stage.rng, 4) ? 0 : SLF_NO_MAP;
	stage.spindle_count = rng_below(&stage.rng, 4) == 0;
	sim_world_start(rng_mix(seed));
	stage.states = calloc(STATES_MAX, sizeof(*stage.states));
	stage.disk = sim_disk_new();
	schedule_run(seed, play, &stage, faults, &counts->schedule);
	sim_disk_clear_faults(stage.disk);
	check_fates(&stage);
	counts->digest = sim_disk_digest(stage.disk);
	if (stage.cut)
		recover(&stage, stage.cut, stage.cut_acked, stage.cut_count);
	recover(&stage, seed % 2 ? sim_disk_kill(stage.disk) : sim_disk_crash_seed(stage.disk, seed, seed % 4), stage.acked,
		stage.count);
	sim_disk_free(stage.disk);
	free(stage.states);
}
