/* SPDX-License-Identifier: MIT */
/*
 * The whole library against an oracle: one writer does random things, three readers compare whole snapshots with what
 * the oracle kept, and the database is opened again and again, after a clean close and after the end of its process,
 * with other back ends, budgets and modes each time.
 *
 * What the writer does depends on the round's seed and on the oracle only. So a round that ran in a child process,
 * which left without closing, is played again in the parent on the oracle alone (model.db == NULL): struct record
 * carries over what the database decided, the seqs and the tree ids.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"
#include "scratch.h"
#include "solifuge.h"

#define NAMES_TREE 1 /* in the oracle: name -> id of each named tree */
#define TREES 4      /* the main tree and three named ones */
#define READERS 3
#define COMMITS_MAX 200 /* of a round; less than ORACLE_VERSIONS, so that readers find their version */
#define ACTIONS_MAX 60
#define KEY_SPACE 600
#define BATCH 64
#define SECONDS_MAX 12 /* of a case when SOLIFUGE_TEST_ROUNDS does not say how many rounds */

/* What a round's database decided; in memory shared with the child. */
struct record {
	unsigned id_count, seq_count;
	uint32_t ids[COMMITS_MAX];
	uint64_t seqs[COMMITS_MAX];
	_Atomic uint64_t durable_seq; /* newest seq known to be durable */
};

struct model {
	struct oracle oracle;
	struct slf_db *db; /* NULL: only the oracle is changed */
	struct record *record;
	unsigned id_next, seq_next; /* where in the record a replayed round is */
	struct rng rng;             /* of the writer */
	_Atomic bool stop;          /* the readers' */
	_Atomic unsigned snapshots; /* that were compared */
	char key[70000];
	unsigned char value[400000];
};

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(model, .init = set_up, .fini = tear_down, .timeout = 600);

/* ---- Keys and values --------------------------------------------------------------------------------------------- */

/* One of KEY_SPACE keys: short ones mostly, some with long common beginnings, few very long, the empty one. */
static struct slf_slice key_make(char *buffer, uint64_t number)
{
	uint64_t mixed = rng_mix(number + 1);
	size_t size = 0;

	if (number == 0)
		return bytes(buffer, 0);
	if (mixed % 8 == 0)
		size = (size_t)sprintf(buffer, "a beginning that many keys of this tree share/%06" PRIx64, mixed >> 44);
	else
		size = (size_t)sprintf(buffer, "%" PRIx64, mixed >> (mixed % 5 * 8));
	if (mixed % 97 == 0) {
		size_t full = mixed % 3 == 0 ? 65535 : 3000;

		memset(buffer + size, 'k', full - size);
		size = full;
	}
	return bytes(buffer, size);
}

static struct slf_slice key_random(struct model *model)
{
	return key_make(model->key, rng_below(&model->rng, KEY_SPACE));
}

static struct slf_slice value_random(struct model *model)
{
	static const uint64_t limits[] = { 1, 129, 129, 129, 129, 129, 600, 600, 600, 2100, 2100, 5000, 33000 };
	uint64_t limit = limits[rng_below(&model->rng, sizeof(limits) / sizeof(limits[0]))];
	size_t size = 0;

	if (rng_below(&model->rng, 100) == 0)
		limit = 120000;
	if (rng_below(&model->rng, 400) == 0)
		limit = sizeof(model->value);
	size = rng_below(&model->rng, limit);
	bytes_fill(model->value, size, rng_next(&model->rng), rng_below(&model->rng, 2));
	return bytes(model->value, size);
}

/* A range with random bounds; the keys go to low and high. */
static struct slf_range range_random(struct rng *rng, char *low, char *high)
{
	struct slf_range range = { .flags = (unsigned)rng_below(rng, 16) };

	range.flags |= range.flags & SLF_LOWER_EXCLUSIVE ? SLF_LOWER : 0;
	range.flags |= range.flags & SLF_UPPER_INCLUSIVE ? SLF_UPPER : 0;
	range.low = key_make(low, rng_below(rng, KEY_SPACE));
	range.high = key_make(high, rng_below(rng, KEY_SPACE));
	if (rng_below(rng, 4) == 0) {
		range.flags = SLF_PREFIX;
		range.low.size = rng_below(rng, range.low.size < 3 ? range.low.size + 1 : 3);
	}
	if (rng_below(rng, 4) == 0)
		range.flags |= SLF_TRANSIENT;
	return range;
}

/* ---- Comparing --------------------------------------------------------------------------------------------------- */

static bool same(struct slf_slice a, struct slf_slice b)
{
	return slice_is(a, b.data, b.size);
}

static void compare_range(struct slf_txn *txn, const struct oracle_version *version, uint32_t tree,
			  const struct slf_range *range, bool forward)
{
	struct slf_slice key = { 0 }, value = { 0 };
	struct slf_cursor *cursor = NULL;
	size_t first = 0, end = 0, i = 0;

	oracle_range(version, tree, range, &first, &end);
	must_work(slf_cursor_open(txn, tree, range, &cursor));
	for (i = first; i < end; i++) {
		const struct oracle_entry *entry = version->entries[forward ? i : first + end - 1 - i];

		must_work(forward ? slf_cursor_next(cursor, &key, &value) : slf_cursor_prev(cursor, &key, &value));
		must(same(key, entry->key));
		must(same(value, entry->value));
	}
	must((forward ? slf_cursor_next(cursor, &key, &value) : slf_cursor_prev(cursor, &key, &value)) == SLF_END);
	slf_cursor_close(cursor);
}

/* Steps and seeks at random: a cursor may turn anywhere, at its ends too. */
static void compare_wander(struct slf_txn *txn, const struct oracle_version *version, uint32_t tree,
			   const struct slf_range *range, struct rng *rng)
{
	size_t first = 0, end = 0, next = 0, back = 0, beyond = 0; /* next gives entries[next], prev entries[back - 1] */
	struct slf_slice key = { 0 }, value = { 0 };
	struct slf_cursor *cursor = NULL;
	char *buffer = malloc(70000);

	must(buffer != NULL);
	oracle_range(version, tree, range, &first, &end);
	next = first;
	back = end;
	must_work(slf_cursor_open(txn, tree, range, &cursor));
	for (unsigned step = 0; step < 40; step++) {
		uint64_t choice = rng_below(rng, 9);
		bool forward = choice < 4, over = forward ? next == end : back == first;
		const struct oracle_entry *entry = NULL;

		if (choice == 8) {
			struct slf_range from = { .flags = SLF_LOWER, .low = key_make(buffer, rng_below(rng, KEY_SPACE)) };

			must_work(slf_cursor_seek(cursor, from.low));
			oracle_range(version, tree, &from, &next, &beyond);
			next = next < first ? first : next > end ? end : next;
			back = next;
			continue;
		}
		must((forward ? slf_cursor_next(cursor, &key, &value) : slf_cursor_prev(cursor, &key, &value)) ==
		     (over ? SLF_END : 0));
		if (over) {
			next = back = forward ? end : first;
			continue;
		}
		entry = version->entries[forward ? next : back - 1];
		must(same(key, entry->key) && same(value, entry->value));
		back = forward ? next : back - 1;
		next = back + 1;
	}
	slf_cursor_close(cursor);
	free(buffer);
}

/* BATCH keys at once, some of which are missing and some doubled. */
static void compare_batch(struct slf_txn *txn, const struct oracle_version *version, uint32_t tree, struct rng *rng)
{
	struct slf_slice keys[BATCH], values[BATCH];
	char (*buffers)[512] = malloc(BATCH * sizeof(*buffers));
	char *long_key = malloc(70000);
	int results[BATCH], i = 0;

	must(buffers && long_key);
	for (i = 0; i < BATCH; i++) {
		keys[i] = key_make(long_key, rng_below(rng, KEY_SPACE + 50));
		keys[i].size = keys[i].size < sizeof(buffers[i]) ? keys[i].size : 5;
		memcpy(buffers[i], long_key, keys[i].size);
		keys[i].data = buffers[i];
	}
	must_work(slf_multi_get(txn, tree, keys, BATCH, values, results));
	for (i = 0; i < BATCH; i++) {
		const struct oracle_entry *entry = oracle_get(version, tree, keys[i]);

		must(results[i] == (entry ? 0 : SLF_NOTFOUND));
		must(!entry || same(values[i], entry->value));
	}
	free(long_key);
	free(buffers);
}

static void compare_one(struct slf_txn *txn, const struct oracle_version *version, uint32_t tree, struct slf_slice key)
{
	const struct oracle_entry *entry = oracle_get(version, tree, key);
	struct slf_slice value = text("untouched");

	must(slf_get(txn, tree, key, &value) == (entry ? 0 : SLF_NOTFOUND));
	must(entry ? same(value, entry->value) : slice_is(value, "untouched", 9));
}

/* The names of the trees, in order, with their ids; each tree's number of entries. */
static void compare_names(struct slf_txn *txn, const struct oracle_version *version)
{
	size_t i = oracle_find(version, NAMES_TREE, bytes(NULL, 0)), first = 0, end = 0;
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	char name[256] = "";
	uint32_t tree = 0;

	for (; i < version->count && version->entries[i]->tree == NAMES_TREE; i++) {
		must_work(slf_tree_next(txn, name, sizeof(name), &tree));
		must(same(text(name), version->entries[i]->key));
		must(slice_is(version->entries[i]->value, &tree, sizeof(tree)));
		must_work(slf_tree_stat(txn, tree, &stat));
		oracle_range(version, tree, NULL, &first, &end);
		must(stat.entries == end - first);
	}
	must(slf_tree_next(txn, name, sizeof(name), &tree) == SLF_END);
	must_work(slf_tree_stat(txn, SLF_MAIN, &stat));
	oracle_range(version, SLF_MAIN, NULL, &first, &end);
	must(stat.entries == end - first);
}

/* The id of one of the trees that version has. */
static uint32_t tree_random(const struct oracle_version *version, struct rng *rng)
{
	char name[8] = "";
	const struct oracle_entry *entry = NULL;
	uint32_t tree = SLF_MAIN;

	snprintf(name, sizeof(name), "t%u", (unsigned)rng_below(rng, TREES));
	entry = oracle_get(version, NAMES_TREE, text(name));
	if (entry)
		memcpy(&tree, entry->value.data, sizeof(tree));
	return tree;
}

/* All trees, from one end or the other. */
static void compare_all(struct slf_txn *txn, const struct oracle_version *version, bool forward)
{
	size_t i = oracle_find(version, NAMES_TREE, bytes(NULL, 0));
	struct slf_range range = { .flags = SLF_TRANSIENT };
	uint32_t tree = 0;

	compare_names(txn, version);
	compare_range(txn, version, SLF_MAIN, &range, forward);
	for (; i < version->count && version->entries[i]->tree == NAMES_TREE; i++) {
		memcpy(&tree, version->entries[i]->value.data, sizeof(tree));
		compare_range(txn, version, tree, &range, forward);
	}
}

/* ---- The readers ------------------------------------------------------------------------------------------------- */

/* Looks at one snapshot for a while. */
static void read_snapshot(struct model *model, struct rng *rng)
{
	struct slf_txn *txn = txn_begin(model->db, rng_below(rng, 4) ? SLF_READ : SLF_READ | SLF_DURABLE);
	struct oracle_version *version = oracle_acquire(&model->oracle, slf_txn_seq(txn));
	char *low = malloc(70000), *high = malloc(70000);
	int i = 0;

	must(low && high);
	for (i = 0; version && i < 3; i++) {
		struct slf_range range = range_random(rng, low, high);

		compare_all(txn, version, rng_below(rng, 2));
		compare_range(txn, version, tree_random(version, rng), &range, rng_below(rng, 2));
		compare_wander(txn, version, tree_random(version, rng), &range, rng);
		compare_batch(txn, version, tree_random(version, rng), rng);
		compare_one(txn, version, tree_random(version, rng), key_make(low, rng_below(rng, KEY_SPACE)));
		if (rng_below(rng, 2))
			must_work(slf_txn_trim(txn));
		if (rng_below(rng, 2))
			usleep((useconds_t)rng_below(rng, 3000));
	}
	model->snapshots += version != NULL;
	free(low);
	free(high);
	oracle_version_release(version);
	slf_abort(txn);
}

struct reader {
	struct model *model;
	struct rng rng;
	pthread_t thread;
};

static void *reader_run(void *context)
{
	struct reader *reader = context;

	do {
		read_snapshot(reader->model, &reader->rng);
	} while (!reader->model->stop);
	return NULL;
}

/* ---- The writer -------------------------------------------------------------------------------------------------- */

/* Opens or makes a named tree, in both worlds. */
static void act_tree(struct model *model, struct slf_txn *txn, struct oracle_version *version)
{
	struct record *record = model->record;
	bool create = rng_below(&model->rng, 2);
	const struct oracle_entry *entry = NULL;
	uint32_t tree = 0, known = 0;
	char name[8] = "";

	snprintf(name, sizeof(name), "t%u", 1 + (unsigned)rng_below(&model->rng, TREES - 1));
	entry = oracle_get(version, NAMES_TREE, text(name));
	if (entry)
		memcpy(&known, entry->value.data, sizeof(known));
	if (txn)
		must(slf_tree_open(txn, name, create ? SLF_CREATE : 0, &tree) == (entry || create ? 0 : SLF_NOTFOUND));
	if (entry || !create) {
		must(!txn || tree == known);
		return;
	}
	must(model->id_next < COMMITS_MAX);
	if (txn)
		record->ids[record->id_count++] = tree;
	tree = record->ids[model->id_next++];
	oracle_put(version, NAMES_TREE, text(name), bytes(&tree, sizeof(tree)));
}

/* Deletes what a cursor walks over, all or every second entry of a random range. */
static void act_delete_range(struct model *model, struct slf_txn *txn, struct oracle_version *version, uint32_t tree)
{
	char *low = malloc(70000), *high = malloc(70000);
	struct slf_cursor *cursor = NULL;
	struct slf_range range = { 0 };
	struct slf_slice key = { 0 };
	uint64_t step = 1 + rng_below(&model->rng, 3), limit = rng_below(&model->rng, 40), i = 0;
	size_t first = 0, end = 0;

	must(low && high);
	range = range_random(&model->rng, low, high);
	oracle_range(version, tree, &range, &first, &end);
	if (txn)
		must_work(slf_cursor_open(txn, tree, &range, &cursor));
	for (i = 0; i < limit; i++) {
		if (cursor)
			must(slf_cursor_next(cursor, &key, NULL) == (first < end ? 0 : SLF_END));
		if (first >= end)
			break;
		must(!cursor || same(key, version->entries[first]->key));
		if (i % step) {
			first++;
			continue;
		}
		if (txn)
			must_work(slf_del(txn, tree, version->entries[first]->key));
		must(oracle_del(version, tree, version->entries[first]->key));
		end--;
	}
	slf_cursor_close(cursor);
	free(low);
	free(high);
}

/* What the writer reads back from its own transaction; draws nothing from the writer's numbers. */
static void act_read(struct model *model, struct slf_txn *txn, const struct oracle_version *version, uint32_t tree)
{
	struct rng rng = { .state = model->rng.state };
	char *low = malloc(70000), *high = malloc(70000);
	struct slf_range range = { 0 };

	must(low && high);
	range = range_random(&rng, low, high);
	compare_range(txn, version, tree, &range, rng_below(&rng, 2));
	compare_wander(txn, version, tree, &range, &rng);
	compare_batch(txn, version, tree, &rng);
	compare_one(txn, version, tree, key_make(low, rng_below(&rng, KEY_SPACE)));
	if (rng_below(&rng, 8) == 0)
		compare_all(txn, version, rng_below(&rng, 2));
	if (rng_below(&rng, 4) == 0)
		must_work(slf_txn_trim(txn));
	free(low);
	free(high);
}

static void act(struct model *model, struct slf_txn *txn, struct oracle_version *version)
{
	uint32_t tree = tree_random(version, &model->rng);
	struct slf_slice key = { 0 }, value = { 0 };
	uint64_t choice = rng_below(&model->rng, 100);
	bool was_there = false;

	if (choice < 60) {
		key = key_random(model);
		value = value_random(model);
		oracle_put(version, tree, key, value);
		if (txn)
			must_work(slf_put(txn, tree, key, value));
	} else if (choice < 85) {
		key = key_random(model);
		was_there = oracle_del(version, tree, key);
		must(!txn || slf_del(txn, tree, key) == (was_there ? 0 : SLF_NOTFOUND));
	} else if (choice < 87) {
		act_delete_range(model, txn, version, tree);
	} else if (choice < 90) {
		act_tree(model, txn, version);
	} else if (choice < 92) {
		value = value_random(model);
		value.size = value.size < 65535 ? value.size : 65535;
		if (txn)
			must_work(slf_txn_blob(txn, value));
	} else if (txn) {
		act_read(model, txn, version, tree);
	}
}

/* Ends a transaction that changed something, or not. */
static void finish(struct model *model, struct slf_txn *txn, struct oracle_version *version, bool changed)
{
	struct record *record = model->record;
	uint64_t how = rng_below(&model->rng, 8), seq = 0, base = txn ? slf_txn_seq(txn) : 0;

	if (how == 0 || !changed) {
		if (txn && how == 0)
			slf_abort(txn);
		else if (txn)
			must_work(slf_commit(txn, &seq));
		must(!txn || how == 0 || seq == base);
		oracle_version_release(version);
		return;
	}
	if (txn) {
		must_work(how < 3 ? slf_commit_async(txn, &seq) : slf_commit(txn, &seq));
		must(seq > base);
		record->seqs[record->seq_count++] = seq;
	}
	seq = record->seqs[model->seq_next++];
	oracle_commit(&model->oracle, version, seq);
}

/* Calls of the handle itself, between two transactions. */
static void handle_calls(struct model *model, struct rng *rng)
{
	struct slf_stats stats = { .size = sizeof(stats) };
	struct slf_info info = { .size = sizeof(info) };
	struct slf_txn *txn = NULL;
	uint64_t seq = 0;
	int result = 0;

	switch (rng_below(rng, 12)) {
	case 0:
		must_work(slf_checkpoint(model->db));
		break;
	case 1:
	case 2:
		must_work(slf_sync(model->db, &seq));
		must(seq >= model->record->durable_seq);
		model->record->durable_seq = seq;
		must_work(slf_wait(model->db, seq, 0));
		break;
	case 3:
		must_work(slf_info(model->db, &info));
		must(info.durable_seq >= model->record->durable_seq);
		model->record->durable_seq = info.durable_seq;
		break;
	case 4:
		must_work(slf_stats(model->db, &stats));
		break;
	case 5: /* the newest version by its number; it may be gone when asynchronous commits complete meanwhile */
		must_work(slf_info(model->db, &info));
		result = slf_begin_at(model->db, info.seq, &txn);
		must(result == 0 || result == SLF_ENOTRETAINED);
		must(!txn || slf_txn_seq(txn) == info.seq);
		slf_abort(txn);
		break;
	case 6: { /* raised by what the sync before has made durable, if nobody has taken it since */
		struct pollfd raised = { .fd = slf_eventfd(model->db), .events = POLLIN };
		uint64_t count = 0;

		must(raised.fd >= 0);
		if (poll(&raised, 1, 0) == 1)
			must(read(raised.fd, &count, sizeof(count)) == sizeof(count) && count > 0);
		break;
	}
	default:
		break;
	}
}

static struct slf_txn *write_begin(struct model *model, struct rng *rng)
{
	struct slf_txn *txn = NULL;
	int result;

	switch (rng_below(rng, 3)) {
	case 0:
		must_work(slf_begin_timeout(model->db, SLF_WRITE, 60000000000, &txn));
		break;
	case 1:
		result = slf_begin(model->db, SLF_WRITE | SLF_TRY, &txn);
		if (result == -EBUSY) /* the heap is full */
			return txn_begin(model->db, SLF_WRITE);
		must_work(result);
		must(slf_begin_timeout(model->db, SLF_WRITE, 0, &(struct slf_txn *){ NULL }) == -ETIMEDOUT);
		break;
	default:
		txn = txn_begin(model->db, SLF_WRITE);
	}
	return txn;
}

static void write_round(struct model *model)
{
	unsigned commits = 20 + (unsigned)rng_below(&model->rng, COMMITS_MAX - 20), i = 0;

	for (i = 0; i < commits; i++) {
		uint64_t actions = rng_below(&model->rng, rng_below(&model->rng, 8) ? 12 : ACTIONS_MAX);
		struct rng rng = { .state = rng_next(&model->rng) }; /* for what does not change the data */
		struct oracle_version *version = oracle_begin(&model->oracle);
		uint64_t k = 0;
		bool changed = actions > 0;
		struct slf_txn *txn = NULL;

		if (model->db) {
			handle_calls(model, &rng);
			txn = write_begin(model, &rng);
			must(slf_txn_seq(txn) == version->seq);
		}
		if (changed) { /* one change at least, so that the commit has a number of its own */
			struct slf_slice key = key_random(model), value = value_random(model);

			oracle_put(version, SLF_MAIN, key, value);
			if (txn)
				must_work(slf_put(txn, SLF_MAIN, key, value));
		}
		for (k = 1; k < actions; k++)
			act(model, txn, version);
		finish(model, txn, version, changed);
	}
}

/* ---- Rounds ------------------------------------------------------------------------------------------------------ */

/* What the options of a database are, at creation and at each opening. */
static void options_random(struct slf_options *options, struct rng *rng, int io, bool creation)
{
	*options = (struct slf_options)SLF_OPTIONS_INIT;
	options->io = io;
	options->sync = (int)rng_below(rng, 3);
	options->auto_sync_ns = 1000000;
	if (rng_below(rng, 2)) {
		options->heap_bytes = 1 << 20;
		options->log_bytes = 1 << 20;
	}
	if (rng_below(rng, 4) == 0)
		options->flags |= SLF_NO_MAP;
	if (rng_below(rng, 8) == 0)
		options->flags |= SLF_NO_THREADS;
	if (!creation)
		return;
	options->flags |= SLF_CREATE | SLF_EXCLUSIVE;
	options->spindle_count = rng_below(rng, 2) ? 2 : 0;
	if (rng_below(rng, 2)) {
		options->leaf_bytes = 512;
		options->branch_bytes = 512;
	}
	options->compression = rng_below(rng, 4) ? SLF_COMPRESSION_DEFAULT : SLF_COMPRESSION_NONE;
}

/* The seq of the newest version, whose content is compared as a whole. */
static void compare_opened(struct model *model)
{
	struct slf_txn *txn = txn_begin(model->db, SLF_READ);
	struct oracle_version *version = NULL;

	oracle_cut(&model->oracle, slf_txn_seq(txn));
	version = oracle_begin(&model->oracle);
	compare_all(txn, version, true);
	compare_all(txn, version, false);
	oracle_version_release(version);
	slf_abort(txn);
}

/* Opens, lets the threads work, and closes when that is wished. */
static void round_live(struct model *model, const char *path, const struct slf_options *options, uint64_t seed,
		       bool clean)
{
	struct reader readers[READERS];
	int i = 0;

	must_work(slf_open(path, options, &model->db));
	compare_opened(model);
	oracle_restart(&model->oracle, model->oracle.versions[model->oracle.count - 1]->seq);
	model->stop = false;
	for (i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .model = model, .rng = { .state = seed + 1 + (uint64_t)i } };
		must(pthread_create(&readers[i].thread, NULL, reader_run, &readers[i]) == 0);
	}
	write_round(model);
	model->stop = true;
	for (i = 0; i < READERS; i++)
		must(pthread_join(readers[i].thread, NULL) == 0);
	if (options->sync == SLF_SYNC_COMMIT && model->record->seq_count)
		must_work(slf_wait(model->db, model->record->seqs[model->record->seq_count - 1], -1));
	if (options->sync == SLF_SYNC_COMMIT && model->record->seq_count)
		model->record->durable_seq = model->record->seqs[model->record->seq_count - 1];
	if (clean) {
		must_work(slf_close(model->db));
		model->db = NULL;
	}
}

/* A round in a child that leaves without closing; then the same on the oracle, cut back to what was found again. */
static void round_unclean(struct model *model, const char *path, const struct slf_options *options, uint64_t seed)
{
	uint64_t found = 0;
	struct slf_db *db = NULL;
	struct slf_txn *txn = NULL;
	pid_t child = fork();

	if (child == 0) {
		round_live(model, path, options, seed, false);
		child_exit(0);
	}
	must(child > 0 && child_wait(child) == 0);
	oracle_restart(&model->oracle, model->oracle.versions[model->oracle.count - 1]->seq);
	write_round(model);
	db = open_database(path, 0);
	txn = txn_begin(db, SLF_READ);
	found = slf_txn_seq(txn);
	slf_abort(txn);
	must(found >= model->record->durable_seq); /* nothing durable is lost */
	oracle_cut(&model->oracle, found);         /* and what is there is a version that was committed */
	must_work(slf_close(db));
}

static void database_run(struct model *model, struct rng *rng, int io, unsigned number, unsigned rounds)
{
	char path[SCRATCH_PATH_BYTES], name[32] = "", spindles[2][SCRATCH_PATH_BYTES];
	const char *spindle_paths[2] = { spindles[0], spindles[1] };
	struct slf_options options;
	unsigned i = 0;

	snprintf(name, sizeof(name), "db%u", number);
	scratch_name(&scratch, name, path);
	for (i = 0; i < 2; i++)
		snprintf(spindles[i], sizeof(spindles[i]), "%.400s.spindle%u", path, i + 1);
	options_random(&options, rng, io, true);
	options.spindles = spindle_paths;
	must_work(slf_open(path, &options, &model->db));
	{
		struct slf_txn *txn = txn_begin(model->db, SLF_READ);

		oracle_init(&model->oracle, slf_txn_seq(txn));
		slf_abort(txn);
	}
	must_work(slf_close(model->db));
	model->db = NULL;
	for (i = 0; i < rounds; i++) {
		uint64_t seed = rng_next(rng);

		memset(model->record, 0, sizeof(*model->record));
		model->id_next = model->seq_next = 0;
		model->rng.state = seed;
		model->snapshots = 0;
		options_random(&options, rng, io, false);
		if (rng_below(rng, 2))
			round_live(model, path, &options, seed, true);
		else
			round_unclean(model, path, &options, seed);
	}
	oracle_release(&model->oracle);
}

static double seconds_now(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Each back end has a case of its own: when the environment asks for one of them, the other is left out. */
static void skip_unless_asked(const char *io)
{
	const char *asked = getenv("SOLIFUGE_IO");

	if (asked && *asked && strcmp(asked, io) != 0)
		cr_skip_test("SOLIFUGE_IO asks for the other back end");
}

static void model_run(const char *test, int io)
{
	struct rng rng = { .state = test_seed(test) };
	struct model *model = calloc(1, sizeof(*model));
	unsigned rounds = test_rounds(0), done = 0, number = 0;
	double start = seconds_now();

	must(model != NULL);
	model->record = mmap(NULL, sizeof(*model->record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(model->record != MAP_FAILED);
	while (rounds ? done < rounds : seconds_now() - start < SECONDS_MAX) {
		unsigned now = 1 + (unsigned)rng_below(&rng, 4);

		database_run(model, &rng, io, number++, now);
		done += now;
	}
	fprintf(stderr, "%s: %u rounds, %u databases\n", test, done, number);
	munmap(model->record, sizeof(*model->record));
	free(model);
	cr_assert_gt(done, 0);
}

/* With plain system calls, some sequence of calls would make the database differ from what was written. */
Test(model, posix)
{
	skip_unless_asked("posix");
	model_run("model/posix", SLF_IO_POSIX);
}

/* The same by io_uring, where the kernel has it. */
Test(model, uring)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	int result = 0;

	skip_unless_asked("uring");
	options.flags = SLF_CREATE;
	options.io = SLF_IO_URING;
	result = slf_open(scratch.path, &options, &db);
	if (result == -ENOSYS || result == -EPERM || result == -EACCES)
		cr_skip_test("no io_uring here");
	must_work(result);
	must_work(slf_close(db));
	model_run("model/uring", SLF_IO_URING);
}
