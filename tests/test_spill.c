/* SPDX-License-Identifier: MIT */
/* Transactions that outgrow the heap or the log: what they read, what they leave, and what they cost. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "codec.h"
#include "db.h"
#include "scratch.h"
#include "sim_disk.h"
#include "txn.h"

#define KEYS 4000
#define LONGEST 2048
#define HEAP_BYTES (128 * KIB)
#define LOG_BYTES (256 * KIB)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Directories that exist: the paths of further spindles are resolved, all else is simulated. */
static const char *const paths[] = { "/tmp/db", "/usr/spindle", "/var/spindle" };

/* For each key the nonce from which its value is made, 0 when it is absent. */
struct content {
	uint32_t nonces[KEYS];
};

struct rig {
	struct sim_disk *disk;
	struct slf_db *db;
	int sync;
	unsigned spindle_count;
	uint64_t heap_bytes, log_bytes;
	struct rng rng;
	struct content committed, working;
};

static struct slf_slice key_of(uint32_t index, uint8_t *data)
{
	put_be32(data, (uint32_t)rng_mix(index));
	put_be32(data + 4, index);
	return slice(data, 8);
}

static struct slf_slice value_of(uint32_t nonce, uint8_t *data)
{
	uint64_t number = rng_mix(nonce);
	size_t size = number % 8 == 0 ? 200 + number / 8 % 1800 : number / 8 % 110;

	bytes_fill(data, size, nonce, nonce % 4 == 0);
	return slice(data, size);
}

static int open_on(const struct rig *rig, struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags;
	options.sync = rig->sync;
	options.heap_bytes = rig->heap_bytes;
	options.log_bytes = rig->log_bytes;
	options.spindles = paths + 1;
	options.spindle_count = rig->spindle_count - 1;
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(paths[0], &options, io, db);
}

static struct rig *rig_new(unsigned flags, int sync, unsigned spindle_count, uint64_t heap_bytes, uint64_t log_bytes)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	*rig = (struct rig){ .disk = sim_disk_new(), .sync = sync, .spindle_count = spindle_count, .rng = { 1 },
			     .heap_bytes = heap_bytes, .log_bytes = log_bytes };
	must_work(open_on(rig, rig->disk, SLF_CREATE | flags, &rig->db));
	return rig;
}

static void rig_free(struct rig *rig)
{
	must_work(slf_close(rig->db));
	sim_disk_free(rig->disk);
	free(rig);
}

static void rig_reopen(struct rig *rig)
{
	must_work(slf_close(rig->db));
	must_work(open_on(rig, rig->disk, SLF_NO_THREADS, &rig->db));
}

/* ---- What a transaction sees ------------------------------------------------------------------------------------- */

static void change(struct rig *rig, struct slf_txn *txn, uint32_t index)
{
	uint8_t key[8], value[LONGEST];
	uint32_t *nonce = &rig->working.nonces[index];

	if (*nonce && rng_below(&rig->rng, 4) == 0) {
		must_work(slf_del(txn, SLF_MAIN, key_of(index, key)));
		*nonce = 0;
		return;
	}
	*nonce = 1 + (uint32_t)rng_below(&rig->rng, UINT32_MAX);
	must_work(slf_put(txn, SLF_MAIN, key_of(index, key), value_of(*nonce, value)));
}

static void change_many(struct rig *rig, struct slf_txn *txn, unsigned count)
{
	while (count--)
		change(rig, txn, (uint32_t)rng_below(&rig->rng, KEYS));
}

static bool holds(struct slf_txn *txn, const struct content *content, uint32_t index)
{
	uint8_t key[8], data[LONGEST];
	struct slf_slice value, expected;
	int result = slf_get(txn, SLF_MAIN, key_of(index, key), &value);

	must(result == 0 || result == SLF_NOTFOUND);
	if (result || !content->nonces[index])
		return result && !content->nonces[index];
	expected = value_of(content->nonces[index], data);
	return slice_is(value, expected.data, expected.size);
}

static bool holds_all(struct slf_txn *txn, const struct content *content)
{
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	uint64_t entries = 0;

	for (uint32_t i = 0; i < KEYS; i++) {
		if (!holds(txn, content, i))
			return false;
		entries += content->nonces[i] != 0;
	}
	must_work(slf_tree_stat(txn, SLF_MAIN, &stat));
	return stat.entries == entries;
}

/* Walks the whole tree, forward or backward: the entries are those of the content, in order. */
static void walk(struct slf_txn *txn, const struct content *content, bool forward)
{
	struct slf_cursor *cursor = NULL;
	struct slf_slice key, value;
	uint8_t data[LONGEST], before[8];
	uint64_t left = 0;
	bool first = true;

	for (uint32_t i = 0; i < KEYS; i++)
		left += content->nonces[i] != 0;
	must_work(slf_cursor_open(txn, SLF_MAIN, NULL, &cursor));
	while ((forward ? slf_cursor_next(cursor, &key, &value) : slf_cursor_prev(cursor, &key, &value)) == 0) {
		uint32_t nonce = content->nonces[get_be32((const uint8_t *)key.data + 4)];
		struct slf_slice expected = value_of(nonce, data);

		must(nonce && slice_is(value, expected.data, expected.size));
		must(first || (memcmp(key.data, before, 8) > 0) == forward);
		memcpy(before, key.data, 8);
		first = false;
		left--;
	}
	must(left == 0);
	slf_cursor_close(cursor);
}

static bool database_holds(struct slf_db *db, const struct content *content)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	bool all = holds_all(txn, content);

	slf_abort(txn);
	return all;
}

static int commit(struct rig *rig, struct slf_txn *txn)
{
	int result = slf_commit(txn, NULL);

	if (result)
		rig->working = rig->committed;
	else
		rig->committed = rig->working;
	return result;
}

/* A transaction of so many changes. */
static void commit_many(struct rig *rig, unsigned count)
{
	struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);

	change_many(rig, txn, count);
	must_work(commit(rig, txn));
}

/* ---- Larger than the heap ---------------------------------------------------------------------------------------- */

/* What was written out of the heap would be missing, old, or out of order for the transaction that wrote it. */
Test(spill, reads_its_own_writes)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, HEAP_BYTES, 0);
	struct sim_disk *killed;
	struct slf_db *db = NULL;
	struct slf_txn *txn;

	commit_many(rig, 500);
	txn = txn_begin(rig->db, SLF_WRITE);
	for (unsigned i = 0; i < 12; i++) {
		change_many(rig, txn, 700);
		for (unsigned j = 0; j < 200; j++)
			must(holds(txn, &rig->working, (uint32_t)rng_below(&rig->rng, KEYS)));
		if (i % 4 == 0) {
			walk(txn, &rig->working, true);
			walk(txn, &rig->working, false);
		}
	}
	must(txn->spilled);
	must(holds_all(txn, &rig->working));
	must(database_holds(rig->db, &rig->committed)); /* readers go on with what was before */
	must_work(commit(rig, txn));
	must(database_holds(rig->db, &rig->committed));
	killed = sim_disk_kill(rig->disk);
	must_work(open_on(rig, killed, SLF_NO_THREADS, &db));
	must(database_holds(db, &rig->committed));
	cr_assert_eq(db->core.stats.values.replay_commits, 0); /* it was a checkpoint */
	must_work(slf_close(db));
	sim_disk_free(killed);
	rig_reopen(rig);
	must(database_holds(rig->db, &rig->committed));
	cr_assert_eq(rig->db->core.stats.values.replay_commits, 0);
	rig_free(rig);
}

/* A slice or a cursor would die when the node that it came from is written out. */
Test(spill, slices_and_cursors_survive)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, HEAP_BYTES, 0);
	struct slf_cursor *cursor = NULL;
	struct slf_slice values[40], key;
	struct content seen;
	struct slf_txn *txn;
	uint8_t data[LONGEST], before[8] = { 0 };
	uint64_t steps = 0;

	commit_many(rig, 400);
	txn = txn_begin(rig->db, SLF_WRITE);
	change_many(rig, txn, 100);
	seen = rig->working;
	for (uint32_t i = 0, n = 0; n < ARRAY_SIZE(values); i++)
		if (seen.nonces[i])
			must_work(slf_get(txn, SLF_MAIN, key_of(i, data), &values[n++]));
	must_work(slf_cursor_open(txn, SLF_MAIN, NULL, &cursor));
	while (slf_cursor_next(cursor, &key, NULL) == 0) {
		must(!steps || memcmp(key.data, before, 8) > 0);
		memcpy(before, key.data, 8);
		steps++;
		change_many(rig, txn, 20);
	}
	must(txn->spilled && steps > 400);
	for (uint32_t i = 0, n = 0; n < ARRAY_SIZE(values); i++) {
		struct slf_slice expected = value_of(seen.nonces[i], data);

		if (seen.nonces[i])
			must(slice_is(values[n++], expected.data, expected.size));
	}
	slf_cursor_close(cursor);
	slf_abort(txn);
	rig_free(rig);
}

/* An abort would leave changes, or nodes on the heap, behind, or take nodes of the version below along. */
Test(spill, abort_leaves_nothing)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, HEAP_BYTES, 0);
	struct slf_txn *txn;
	uint64_t used;

	commit_many(rig, 600); /* a checkpoint is due, */
	commit_many(rig, 80);  /* and this stays on the heap */
	used = heap_used(rig->db->core.heap);
	must(used > 0);
	for (unsigned i = 0; i < 3; i++) {
		txn = txn_begin(rig->db, SLF_WRITE);
		change_many(rig, txn, 4000);
		must(txn->spilled);
		slf_abort(txn);
		rig->working = rig->committed;
		cr_assert_eq(heap_used(rig->db->core.heap), used);
		must(database_holds(rig->db, &rig->committed));
	}
	commit_many(rig, 100);
	must(database_holds(rig->db, &rig->committed));
	rig_reopen(rig);
	must(database_holds(rig->db, &rig->committed));
	rig_free(rig);
}

/* The heap would hold the whole transaction. */
Test(spill, heap_stays_small)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, MIB, 0);
	struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);
	uint8_t key[8], value[100] = { 0 };
	uint64_t most = 0;

	for (uint32_t i = 0; i < 60000; i++) {
		must_work(slf_put(txn, SLF_MAIN, key_of(i, key), slice(value, sizeof(value))));
		most = u64_max(most, heap_used(rig->db->core.heap));
	}
	must_work(slf_commit(txn, NULL));
	cr_assert_gt(most, MIB / 2);
	cr_assert_lt(most, 5 * MIB / 4);
	must_work(slf_close(rig->db));
	sim_disk_free(rig->disk);
	free(rig);
}

/* What an edit may copy is bounded by what the files have. A transaction that spills again and again copies the leaves
 * under its deltas each time, and writes little: it would be refused as if its nodes were named more than once. */
Test(spill, same_leaves_again_and_again)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, 64 * KIB, 0);
	struct slf_txn *txn;
	uint64_t charged = 0;
	uint8_t key[8];

	commit_many(rig, 3 * KEYS);
	must_work(slf_checkpoint(rig->db));
	txn = txn_begin(rig->db, SLF_WRITE);
	for (uint32_t i = 0; charged <= store_bytes(&rig->db->core.store); i++) {
		uint64_t before = txn->edit.charged_bytes;

		must_work(slf_put(txn, SLF_MAIN, key_of(10 * i % KEYS, key), slice(&i, sizeof(i))));
		if (txn->edit.charged_bytes < before) /* it has spilled */
			charged += before;
	}
	slf_abort(txn);
	rig->working = rig->committed;
	must(database_holds(rig->db, &rig->committed));
	rig_free(rig);
}

/* ---- Larger than the log ----------------------------------------------------------------------------------------- */

/* A crash after a transaction that is larger than the log's budget would replay it, or lose it. */
Test(spill, larger_than_the_log)
{
	static const unsigned counts[] = { 100, 1000, 3000, 20000 }; /* the last one's actions go to bulk in chunks */

	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, 64 * MIB, LOG_BYTES);
		struct sim_disk *crashed;
		struct slf_db *db = NULL;
		struct slf_txn *txn;

		commit_many(rig, 50);
		txn = txn_begin(rig->db, SLF_WRITE);
		change_many(rig, txn, counts[i]);
		must(!txn->spilled);
		must_work(commit(rig, txn));
		commit_many(rig, 5);
		crashed = sim_disk_crash(rig->disk, NULL, NULL);
		must_work(open_on(rig, crashed, SLF_NO_THREADS, &db));
		must(database_holds(db, &rig->committed));
		cr_assert_leq(db->core.stats.values.replay_commits, counts[i] < 200 ? 3 : 1);
		must_work(slf_close(db));
		sim_disk_free(crashed);
		rig_free(rig);
	}
}

/* Whether a commit has what checkpoints share to itself. */
static void look_at_private(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct checkpoint **checkpoint = context;

	(void)disk;
	if (call == SIM_WRITE && *checkpoint && (*checkpoint)->private)
		*checkpoint = NULL;
}

/* What a large commit has written to bulk would stay on the heap, too: above all what was there before it. It is a checkpoint, beside
 * which no other one may run, and the next commit is none. */
Test(spill, large_commits_empty_the_heap)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, 64 * MIB, 64 * MIB);
	uint8_t value[100];
	struct checkpoint *watched = &rig->db->core.checkpoint;
	struct slf_txn *txn;
	uint64_t before, checkpoints;

	commit_many(rig, 3000);
	before = heap_used(rig->db->core.heap);
	must(before > 200 * KIB);
	txn = txn_begin(rig->db, SLF_WRITE); /* it touches next to nothing of that */
	rig->db->core.tuning.log_bytes = LOG_BYTES;
	memset(value, 0xff, sizeof(value));
	for (unsigned i = 0; i < 1000; i++) {
		memcpy(value + sizeof(value) - 4, &i, 4);
		must_work(slf_put(txn, SLF_MAIN, slice(value, sizeof(value)), slice(value, 100)));
	}
	checkpoints = rig->db->core.stats.values.checkpoints;
	sim_disk_set_hook(rig->disk, look_at_private, &watched);
	must_work(slf_commit(txn, NULL));
	must(!watched);
	rig->db->core.tuning.log_bytes = 64 * MIB;
	commit_sweep(&rig->db->core.commit);
	cr_assert_eq(heap_used(rig->db->core.heap), 0);
	watched = &rig->db->core.checkpoint;
	db_put(rig->db, "small", "1");
	must(watched != NULL);
	sim_disk_set_hook(rig->disk, NULL, NULL);
	for (unsigned i = 0; i < 40; i++) /* with each of the handles that there are */
		db_put(rig->db, "small", "2");
	cr_assert_eq(rig->db->core.stats.values.checkpoints, checkpoints + 1);
	commit_sweep(&rig->db->core.commit);
	printf("spill large_commits_empty_the_heap: %llu KiB before, %llu KiB after\n", (unsigned long long)(before / KIB),
	       (unsigned long long)(heap_used(rig->db->core.heap) / KIB));
	cr_assert_lt(heap_used(rig->db->core.heap), before / 8);
	rig_free(rig);
}

/* The asynchronous form would return before the checkpoint that it is, or without its seq. */
Test(spill, asynchronous)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, HEAP_BYTES, LOG_BYTES);

	for (unsigned i = 0; i < 4; i++) {
		struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);
		uint64_t seq = 0;

		change_many(rig, txn, i % 2 ? 10 : 4000);
		must_work(slf_commit_async(txn, &seq));
		rig->committed = rig->working;
		must_work(slf_wait(rig->db, seq, -1));
		must(atomic_load(&rig->db->core.commit.durable_seq) == seq);
		must(database_holds(rig->db, &rig->committed));
	}
	rig_reopen(rig);
	must(database_holds(rig->db, &rig->committed));
	rig_free(rig);
}

/* Without sync nothing would ever set the log free: it would grow, and so would the time that the next opening takes. */
Test(spill, log_budget_without_sync)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_NONE, 1, 64 * MIB, LOG_BYTES);
	struct slf_stats stats = { .size = sizeof(stats) };
	struct sim_disk *killed;
	struct slf_db *db = NULL;

	for (unsigned i = 0; i < 3000; i++)
		commit_many(rig, 4);
	must_work(slf_stats(rig->db, &stats));
	cr_assert_gt(stats.checkpoints, 3);
	cr_assert_leq(stats.log_live_bytes, 3 * EXTENT_BYTES);
	must_work(slf_sync(rig->db, NULL));
	killed = sim_disk_kill(rig->disk);
	must_work(open_on(rig, killed, SLF_NO_THREADS, &db));
	must(database_holds(db, &rig->committed));
	cr_assert_lt(db->core.log.end.bytes.payload, 2 * LOG_BYTES);
	cr_assert_lt(db->core.stats.values.replay_commits, 2000);
	must_work(slf_close(db));
	sim_disk_free(killed);
	rig_free(rig);
}

/* A transaction with more large values than a slab lists would be durable without them, or not at all; and where their flush
 * fails, it would be told that it may go on. */
Test(spill, more_parts_than_a_slab_lists)
{
	static uint8_t value[40000];

	for (unsigned fails = 0; fails < 2; fails++) {
		struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, 0, 0);
		struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);
		struct sim_disk *crashed;
		struct slf_db *db = NULL;
		struct slf_tree_stat stat = { .size = sizeof(stat) };
		uint8_t key[8];
		int result = 0;

		if (fails)
			sim_disk_add_fault(rig->disk, &(struct sim_fault){ .call = SIM_SYNC, .error = -EIO });
		for (uint32_t i = 0; i < 1100 && !result; i++)
			result = slf_put(txn, SLF_MAIN, key_of(i, key), slice(value, sizeof(value)));
		cr_assert_eq(result, fails ? -EIO : 0);
		result = slf_commit(txn, NULL);
		cr_assert_eq(result, fails ? SLF_ECANCELLED : 0);
		cr_assert_eq(commit_check(&rig->db->core.commit), fails ? SLF_EPOISONED : 0);
		crashed = sim_disk_crash(rig->disk, NULL, NULL);
		(void)slf_close(rig->db);
		must_work(open_on(rig, crashed, SLF_NO_THREADS, &db));
		txn = txn_begin(db, SLF_READ);
		must_work(slf_tree_stat(txn, SLF_MAIN, &stat));
		cr_assert_eq(stat.entries, fails ? 0 : 1100);
		for (uint32_t i = 0; i < stat.entries; i++) {
			struct slf_slice found;

			must_work(slf_get(txn, SLF_MAIN, key_of(i, key), &found));
			must(slice_is(found, value, sizeof(value)));
		}
		slf_abort(txn);
		must_work(slf_close(db));
		sim_disk_free(crashed);
		sim_disk_free(rig->disk);
		free(rig);
	}
}

/* A transaction whose actions fill more chunks than its entry can name, which takes 8 GiB, would name some of them. */
Test(spill, more_actions_than_an_entry_names)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, 0, 0);
	struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);

	must_work(slf_put(txn, SLF_MAIN, text("key"), text("value")));
	txn->chunk_count = UINT16_MAX;
	cr_assert_eq(txn_spill_actions(txn), SLF_ETOOBIG);
	slf_abort(txn);
	rig_free(rig);
}

/* With a full heap, and no space to write it out, puts would go on until memory ends; or deletes, which could mend it, not go on. */
Test(spill, full_heap_on_a_full_disk)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, HEAP_BYTES, 0);
	struct core *core = &rig->db->core;
	struct slf_txn *txn;
	uint8_t key[8];
	uint32_t there = 0;

	commit_many(rig, 100);
	while (!rig->committed.nonces[there])
		there++;
	core->tuning.heap_bytes = heap_used(core->heap) - 1;
	sim_disk_add_fault(rig->disk, &(struct sim_fault){ .call = SIM_WRITE, .error = -ENOSPC, .sticky = true });
	slf_abort(txn_begin(rig->db, SLF_WRITE)); /* tries a checkpoint */
	txn = txn_begin(rig->db, SLF_WRITE);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("value")), -ENOSPC);
	slf_abort(txn);
	sim_disk_clear_faults(rig->disk);
	txn = txn_begin(rig->db, SLF_WRITE | SLF_TRY);
	must_work(slf_del(txn, SLF_MAIN, key_of(there, key)));
	must_work(slf_commit(txn, NULL));
	core->tuning.heap_bytes = HEAP_BYTES;
	rig_free(rig);
}

/* ---- Crashes and full disks -------------------------------------------------------------------------------------- */

struct cutter {
	struct rig *rig;
	struct content *before, *after; /* before: not committed yet; after: what the transaction will have made */
	_Atomic bool acknowledged;
	unsigned images, every;
	uint64_t calls;
};

/* A power cut at this call leaves the state before the transaction or the one after it, and a database that goes on. */
static void cut_here(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct cutter *cutter = context;
	struct sim_disk *crashed;
	struct slf_db *db = NULL;
	bool before, after;

	if (call != SIM_WRITE && call != SIM_WRITTEN && call != SIM_SYNC && call != SIM_ALLOCATE)
		return;
	if (cutter->calls++ % cutter->every)
		return;
	crashed = sim_disk_crash_seed(disk, rng_mix(cutter->calls), cutter->calls % 3 == 0);
	must_work(open_on(cutter->rig, crashed, SLF_NO_THREADS, &db));
	before = database_holds(db, cutter->before);
	after = database_holds(db, cutter->after);
	must(before || after);
	db_put(db, "proof", "1");
	must(db_has(db, "proof", "1"));
	must_work(slf_close(db));
	sim_disk_free(crashed);
	cutter->images++;
}

static void cut_large_commit(unsigned spindles, uint64_t heap_bytes, unsigned changes, unsigned every)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, spindles, heap_bytes, LOG_BYTES);
	struct cutter cutter = { .rig = rig, .every = every };
	struct rng start;
	struct slf_txn *txn;

	commit_many(rig, 600);
	commit_many(rig, 80); /* on the heap */
	start = rig->rng;
	cutter.before = malloc(sizeof(*cutter.before));
	cutter.after = malloc(sizeof(*cutter.after));
	*cutter.before = rig->committed;
	txn = txn_begin(rig->db, SLF_WRITE); /* once to learn what it makes */
	change_many(rig, txn, changes);
	slf_abort(txn);
	*cutter.after = rig->working;
	rig->working = rig->committed;
	rig->rng = start;
	sim_disk_set_hook(rig->disk, cut_here, &cutter);
	txn = txn_begin(rig->db, SLF_WRITE);
	change_many(rig, txn, changes);
	must_work(commit(rig, txn));
	cutter.before = memcpy(cutter.before, cutter.after, sizeof(*cutter.before)); /* from now on it must be there */
	cut_here(&cutter, rig->disk, SIM_SYNC);
	sim_disk_set_hook(rig->disk, NULL, NULL);
	must(database_holds(rig->db, cutter.after));
	printf("spill cut: %u spindles, %u crash images\n", spindles, cutter.images);
	must(cutter.images > 8);
	free(cutter.before);
	free(cutter.after);
	rig_free(rig);
}

/* A power cut while a transaction is written out of the heap, or commits as a checkpoint, would leave a part of it. */
Test(spill, power_cuts)
{
	cut_large_commit(1, HEAP_BYTES, 3000, 1);
	cut_large_commit(1, 64 * MIB, 3000, 1);
	cut_large_commit(1, 64 * MIB, 20000, 1);
}

/* The same where nodes and values are spread over three devices. */
Test(spill, power_cuts_on_three_spindles)
{
	cut_large_commit(3, HEAP_BYTES, 3000, 1);
	cut_large_commit(3, 64 * MIB, 3000, 1);
}

/* Where a large commit cannot be written the state before it must stay, and the database go on or be poisoned. */
static void fail_large_commit(enum sim_call call, uint64_t nth, int error, bool sticky, unsigned *poisoned)
{
	struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, nth % 2 ? 1 : 3, nth % 3 ? HEAP_BYTES : 64 * MIB,
				  LOG_BYTES);
	struct sim_fault fault = { .call = call, .nth = nth, .error = error, .sticky = sticky, .drop = nth % 4 == 0 };
	struct content tried;
	struct slf_txn *txn;
	int result = 0;

	commit_many(rig, 400);
	commit_many(rig, 80);
	txn = txn_begin(rig->db, SLF_WRITE);
	sim_disk_add_fault(rig->disk, &fault);
	for (unsigned i = 0; i < 2500 && !result; i++) {
		uint8_t key[8], value[LONGEST];
		uint32_t index = (uint32_t)rng_below(&rig->rng, KEYS), nonce = i + 1;

		result = slf_put(txn, SLF_MAIN, key_of(index, key), value_of(nonce, value));
		rig->working.nonces[index] = nonce;
	}
	tried = rig->working;
	if (result)
		slf_abort(txn);
	else
		result = slf_commit(txn, NULL);
	sim_disk_clear_faults(rig->disk);
	rig->committed = result ? rig->committed : tried;
	rig->working = rig->committed;
	if (commit_check(&rig->db->core.commit)) {
		(*poisoned)++;
		slf_close(rig->db);
		must_work(open_on(rig, rig->disk, SLF_NO_THREADS, &rig->db));
		must(database_holds(rig->db, &rig->committed) ||
		     (result == SLF_EUNKNOWN && database_holds(rig->db, &tried)));
	} else {
		must(database_holds(rig->db, &rig->committed));
		commit_many(rig, 100);
		rig_reopen(rig);
		must(database_holds(rig->db, &rig->committed));
	}
	rig_free(rig);
}

Test(spill, failing_calls)
{
	unsigned poisoned = 0;

	for (uint64_t nth = 1; nth <= 14; nth++) {
		fail_large_commit(SIM_WRITE, nth, -EIO, false, &poisoned);
		fail_large_commit(SIM_WRITE, nth, -ENOSPC, true, &poisoned);
		fail_large_commit(SIM_ALLOCATE, nth, -ENOSPC, true, &poisoned);
		fail_large_commit(SIM_SYNC, nth, -EIO, false, &poisoned);
	}
	printf("spill failing_calls: 56 runs, %u times poisoned\n", poisoned);
	cr_assert_gt(poisoned, 0);
}

/* A write of a large commit's nodes or values that fails, before anything of it is in the log, would poison the handle. */
Test(spill, failing_writes_before_the_log)
{
	uint64_t fired = 1, nth = 0;
	unsigned refused = 0;

	while (fired) {
		struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 1, 64 * MIB, 64 * MIB);
		static uint8_t large[40000];
		struct slf_txn *txn;
		int result;

		commit_many(rig, 300);
		txn = txn_begin(rig->db, SLF_WRITE);
		must_work(slf_put(txn, SLF_MAIN, text("large"), slice(large, sizeof(large))));
		rig->db->core.tuning.log_bytes = 64;
		sim_disk_add_fault(rig->disk, &(struct sim_fault){ .call = SIM_WRITE, .nth = ++nth, .error = -EIO });
		result = slf_commit(txn, NULL);
		fired = sim_disk_faults_fired(rig->disk);
		sim_disk_clear_faults(rig->disk);
		rig->db->core.tuning.log_bytes = 64 * MIB;
		if (result == -EIO && !commit_check(&rig->db->core.commit)) {
			must(database_holds(rig->db, &rig->committed));
			db_put(rig->db, "proof", "1");
			refused++;
		}
		slf_close(rig->db);
		sim_disk_free(rig->disk);
		free(rig);
	}
	printf("spill failing_writes_before_the_log: %u\n", refused);
	cr_assert_geq(refused, 3); /* heap values, nodes, the large value */
}

/* A large commit would be acknowledged though the flush of its nodes failed: what that dropped no later flush brings back. */
Test(spill, failed_flushes_before_a_power_cut)
{
	uint64_t fired = 1, nth = 0;
	unsigned failed = 0;

	while (fired) {
		struct rig *rig = rig_new(SLF_NO_THREADS, SLF_SYNC_COMMIT, 3, HEAP_BYTES, LOG_BYTES);
		struct slf_txn *txn = NULL;
		struct sim_disk *crashed;
		struct content tried;
		struct slf_db *db;
		int result;

		commit_many(rig, 400);
		txn = txn_begin(rig->db, SLF_WRITE);
		change_many(rig, txn, 2500);
		tried = rig->working;
		sim_disk_add_fault(rig->disk, &(struct sim_fault){ .call = SIM_SYNC, .nth = ++nth, .error = -EIO, .drop = true });
		result = commit(rig, txn);
		fired = sim_disk_faults_fired(rig->disk);
		failed += result != 0;
		crashed = sim_disk_crash(rig->disk, NULL, NULL);
		must_work(open_on(rig, crashed, SLF_NO_THREADS, &db));
		must(database_holds(db, &rig->committed) || (result && database_holds(db, &tried)));
		must_work(slf_close(db));
		sim_disk_free(crashed);
		sim_disk_clear_faults(rig->disk);
		must(!result || commit_check(&rig->db->core.commit) == SLF_EPOISONED);
		slf_close(rig->db);
		sim_disk_free(rig->disk);
		free(rig);
	}
	cr_assert_geq(failed, 2); /* that of the nodes, that of the slab; the page may go without */
}

/* ---- Beside checkpoints and readers ------------------------------------------------------------------------------ */

#define STAMPED 1500

struct bustle {
	struct rig *rig;
	_Atomic bool stop;
	_Atomic unsigned snapshots, checkpoints;
};

/* Every version has one stamp in all its keys. */
static uint64_t check_stamps(struct slf_txn *txn, unsigned step)
{
	uint64_t stamp = 0;

	for (uint32_t i = 0; i < STAMPED; i += step) {
		struct slf_slice value;
		uint64_t found;
		uint8_t key[8];

		must_work(slf_get(txn, SLF_MAIN, key_of(i, key), &value));
		must(value.size >= 8);
		memcpy(&found, value.data, 8);
		must(i == 0 || found == stamp);
		stamp = found;
	}
	return stamp;
}

static void *read_snapshots(void *context)
{
	struct bustle *bustle = context;
	uint64_t before = 0;

	while (!atomic_load(&bustle->stop)) {
		struct slf_txn *txn = txn_begin(bustle->rig->db, SLF_READ);
		uint64_t stamp = check_stamps(txn, 7);

		must(stamp >= before);
		before = stamp;
		usleep(3000); /* checkpoints come and go meanwhile */
		must(check_stamps(txn, 1) == stamp);
		slf_abort(txn);
		atomic_fetch_add(&bustle->snapshots, 1);
	}
	return NULL;
}

static void *run_checkpoints(void *context)
{
	struct bustle *bustle = context;

	while (!atomic_load(&bustle->stop)) {
		must_work(slf_checkpoint(bustle->rig->db));
		atomic_fetch_add(&bustle->checkpoints, 1);
		usleep(1000);
	}
	return NULL;
}

/* Stamps all keys; every second time larger than the heap. */
static void stamp_all(struct slf_db *db, uint64_t stamp)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	uint8_t key[8], value[400] = { 0 };
	size_t size = stamp % 2 ? 8 : 100 + stamp % 300;

	memcpy(value, &stamp, 8);
	for (uint32_t i = 0; i < STAMPED; i++)
		must_work(slf_put(txn, SLF_MAIN, key_of(i, key), slice(value, size)));
	if (stamp % 5 == 0)
		slf_abort(txn);
	else
		must_work(slf_commit(txn, NULL));
}

/* A checkpoint, its install and a large transaction share the materialiser, and readers look at what they exchange: one of
 * them would free, move or show what is another's. */
static void bustle_run(uint64_t heap_bytes, int sync)
{
	const uint64_t last = SANITIZED ? 29 : 99;
	struct rig *rig = rig_new(0, sync, 3, heap_bytes, LOG_BYTES);
	struct bustle bustle = { .rig = rig };
	pthread_t readers[2], checkpointer;
	struct slf_txn *txn;

	stamp_all(rig->db, 1);
	for (unsigned i = 0; i < 2; i++)
		must(pthread_create(&readers[i], NULL, read_snapshots, &bustle) == 0);
	must(pthread_create(&checkpointer, NULL, run_checkpoints, &bustle) == 0);
	for (uint64_t stamp = 2; stamp <= last + 1; stamp++)
		stamp_all(rig->db, stamp);
	atomic_store(&bustle.stop, true);
	for (unsigned i = 0; i < 2; i++)
		must(pthread_join(readers[i], NULL) == 0);
	must(pthread_join(checkpointer, NULL) == 0);
	printf("spill bustle: %u snapshots, %u checkpoints\n", atomic_load(&bustle.snapshots),
	       atomic_load(&bustle.checkpoints));
	rig_reopen(rig);
	txn = txn_begin(rig->db, SLF_READ);
	cr_assert_eq(check_stamps(txn, 1), last);
	slf_abort(txn);
	rig_free(rig);
}

Test(spill, beside_checkpoints)
{
	bustle_run(HEAP_BYTES, SLF_SYNC_COMMIT);
	bustle_run(2 * MIB, SLF_SYNC_COMMIT);
}

Test(spill, beside_checkpoints_without_sync)
{
	bustle_run(HEAP_BYTES, SLF_SYNC_NONE);
}
