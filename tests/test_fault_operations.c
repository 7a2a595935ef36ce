/* SPDX-License-Identifier: MIT */
/*
 * Something fails in the middle of an operation on a database of several levels: a read of the disk (without maps every node
 * comes through one), or anything that fault_memory.h and fault_layer.c can refuse. What was asked for then fails, and nothing
 * else: the database goes on as if nothing had been. fault_scenes has whole histories, of small databases.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "fault_memory.h"
#include "gate_rig.h"

#define KEYS 1500u
#define LARGE_BYTES 40000u

static int open_small(struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags | SLF_NO_THREADS;
	options.leaf_bytes = 512;
	options.branch_bytes = 512;
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(RIG_PATH, &options, io, db);
}

static struct slf_slice name_of(unsigned number, char *name)
{
	snprintf(name, 16, "key%06u", number * 2);
	return text(name);
}

static struct slf_slice value_of(unsigned number)
{
	static char data[LARGE_BYTES];

	memset(data, (int)('a' + number % 26), sizeof(data));
	return bytes(data, number % 300 ? 10 + number % 90 : LARGE_BYTES);
}

/* A database whose nodes all stand on the disk. */
static struct sim_disk *disk_make(void)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	char name[16];

	must_work(open_small(disk, SLF_CREATE | SLF_NO_MAP, &db));
	txn = txn_begin(db, SLF_WRITE);
	for (unsigned i = 0; i < KEYS; i++)
		must_work(slf_put(txn, SLF_MAIN, name_of(i, name), value_of(i)));
	must_work(slf_commit(txn, NULL));
	must_work(slf_close(db));
	return disk;
}

static int put_some(struct slf_txn *txn)
{
	char name[16];
	int result = 0;

	for (unsigned i = 0; i < 40 && !result; i++)
		result = slf_put(txn, SLF_MAIN, name_of(i * 37 % KEYS, name), value_of(i + 1));
	return result;
}

/* Leaves and branches split. */
static int put_more(struct slf_txn *txn)
{
	char name[24];
	int result = 0;

	for (unsigned i = 0; i < 60 && !result; i++) {
		snprintf(name, sizeof(name), "key%06u.%u", 600 + i / 20 * 200, i);
		result = slf_put(txn, SLF_MAIN, text(name), value_of(99));
	}
	return result;
}

/* Leaves and branches are joined. */
static int delete_many(struct slf_txn *txn)
{
	char name[16];
	int result = 0;

	for (unsigned i = 200; i < 600 && !result; i++)
		result = slf_del(txn, SLF_MAIN, name_of(i, name));
	return result;
}

static int look_up(struct slf_txn *txn)
{
	struct slf_slice keys[60], values[60];
	static char names[60][16];
	int results[60], result = 0;

	for (unsigned i = 0; i < 60; i++)
		keys[i] = name_of(i * 25, names[i]);
	for (unsigned i = 0; i < 60 && !result; i += 4)
		result = slf_get(txn, SLF_MAIN, keys[i], &values[i]);
	return result ? result : slf_multi_get(txn, SLF_MAIN, keys, 60, values, results);
}

static int walk(struct slf_txn *txn)
{
	struct slf_range range = { .flags = SLF_LOWER | SLF_UPPER | SLF_UPPER_INCLUSIVE, .low = text("key000500"),
				   .high = text("key001500") };
	struct slf_slice key, value;
	struct slf_cursor *cursor = NULL;
	int result = slf_cursor_open(txn, SLF_MAIN, &range, &cursor);

	if (result)
		return result;
	result = slf_cursor_prev(cursor, &key, &value);
	for (unsigned i = 0; i < 40 && !result; i++)
		result = slf_cursor_prev(cursor, &key, &value);
	if (!result)
		result = slf_cursor_seek(cursor, text("key000611"));
	for (unsigned i = 0; i < 40 && !result; i++)
		result = slf_cursor_next(cursor, &key, &value);
	slf_cursor_close(cursor);
	return result;
}

/* What was committed is there, and nothing else. */
static void compare(struct slf_db *db)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	char name[16];

	must_work(slf_tree_stat(txn, SLF_MAIN, &stat));
	must(stat.entries == KEYS);
	for (unsigned i = 0; i < KEYS; i++) {
		struct slf_slice value, expected = value_of(i);

		must_work(slf_get(txn, SLF_MAIN, name_of(i, name), &value));
		must(slice_is(value, expected.data, expected.size));
	}
	slf_abort(txn);
}

typedef int action_fn(struct slf_txn *txn);

/* ---- Reads of the disk ------------------------------------------------------------------------------------------- */

/* The nth read fails, for every small n and ever fewer large ones, up to the last that the actions come to. */
static void fail_reads(struct sim_disk *original, action_fn *first, action_fn *second, unsigned flags)
{
	uint64_t failed = 0;

	for (uint64_t nth = 1;; nth += 1 + nth / 16) {
		struct sim_disk *disk = sim_disk_kill(original);
		struct slf_db *db = NULL;
		struct slf_txn *txn;
		uint64_t fired;
		int result;

		must_work(open_small(disk, SLF_NO_MAP, &db));
		txn = txn_begin(db, flags);
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_READ, .nth = nth, .error = -EIO });
		result = first(txn);
		if (!result && second)
			result = second(txn);
		fired = sim_disk_faults_fired(disk);
		sim_disk_clear_faults(disk);
		if (fired && result) {
			must(result == -EIO || result == SLF_ECANCELLED);
			if (second) { /* changes: a failure has doomed them */
				must(slf_commit(txn, NULL) == SLF_ECANCELLED);
				txn = NULL;
			}
			failed++;
		}
		slf_abort(txn); /* what went well, too */
		if (result && nth % 4 == 1)
			compare(db);
		must_work(slf_close(db));
		sim_disk_free(disk);
		if (!fired)
			break;
	}
	cr_assert_gt(failed, 10);
}

/* A change that fails half-way would stay, or take the database along. */
Test(fault_operations, reads_of_changes, .timeout = 120)
{
	struct sim_disk *disk = disk_make();

	fail_reads(disk, put_some, delete_many, SLF_WRITE);
	fail_reads(disk, put_more, delete_many, SLF_WRITE);
	fail_reads(disk, delete_many, put_more, SLF_WRITE);
	sim_disk_free(disk);
}

/* A lookup would answer that there is nothing, or a walk leave entries out. */
Test(fault_operations, reads_of_lookups, .timeout = 120)
{
	struct sim_disk *disk = disk_make();

	fail_reads(disk, look_up, NULL, SLF_READ);
	fail_reads(disk, walk, NULL, SLF_READ);
	fail_reads(disk, walk, NULL, SLF_WRITE);
	sim_disk_free(disk);
}

/* ---- Everything else --------------------------------------------------------------------------------------------- */

typedef int operation_fn(struct slf_db *db);

/* Nothing is left behind. */
static void expect_balance(struct memory_balance before)
{
	struct memory_balance after = fault_memory_balance();

	must(after.blocks == before.blocks && after.mapped_bytes == before.mapped_bytes);
}

#define DENSE 100u /* at the beginning and at the end of an operation every place fails, between them some do */

static uint64_t next_place(uint64_t nth, uint64_t count)
{
	uint64_t behind = nth + 1 + nth / 16;

	return nth < DENSE || nth + DENSE > count ? nth + 1 : u64_min(behind, count - DENSE + 1);
}

/* How much an operation asks for in a database like that on the disk. */
static uint64_t count_places(struct sim_disk *original, unsigned flags, operation_fn *operation)
{
	struct sim_disk *disk = sim_disk_kill(original);
	struct slf_db *db = NULL;
	uint64_t count;

	must_work(open_small(disk, flags, &db));
	fault_memory_arm(0, false);
	must_work(operation(db));
	count = fault_memory_disarm(NULL);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return count;
}

/* The same for all that can be refused, in one database that stays open. */
static void fail_all(struct slf_db *db, operation_fn *operation, uint64_t count)
{
	uint64_t failed = 1, failures = 0;

	for (uint64_t nth = 1; failed; nth = next_place(nth, count)) {
		int result;

		fault_memory_arm(nth, false);
		result = operation(db);
		fault_memory_disarm(&failed);
		must(failed || result == 0);
		must(result == 0 || result == -ENOMEM || result == -EIO || result == SLF_ECANCELLED);
		must_work(commit_check(&db->core.commit));
		failures += result != 0;
		if (nth % 16 == 1)
			compare(db);
	}
	compare(db);
	cr_assert_gt(failures, 10);
}

/* The actions, one after the other, in a transaction that is aborted. */
static int try_actions(struct slf_db *db, unsigned flags, action_fn *const *actions, size_t count)
{
	struct slf_txn *txn = NULL;
	int result = slf_begin(db, flags, &txn);

	for (size_t i = 0; i < count && !result; i++)
		result = actions[i](txn);
	slf_abort(txn);
	return result;
}

static int change_first(struct slf_db *db)
{
	static action_fn *const actions[] = { put_some, delete_many, put_more };

	return try_actions(db, SLF_WRITE, actions, ARRAY_SIZE(actions));
}

static int delete_first(struct slf_db *db)
{
	static action_fn *const actions[] = { delete_many, put_more, walk };

	return try_actions(db, SLF_WRITE, actions, ARRAY_SIZE(actions));
}

/* Trees that are made, and listed. */
static int make_trees(struct slf_txn *txn)
{
	char name[256] = "", value[8] = "value";
	uint32_t tree = 0;
	int result = 0;

	for (unsigned i = 0; i < 9 && !result; i++) {
		snprintf(name, sizeof(name), "tree %u", i);
		result = slf_tree_open(txn, name, SLF_CREATE, &tree);
		if (!result)
			result = slf_put(txn, tree, text(name), text(value));
		if (!result)
			result = slf_get(txn, tree, text(name), NULL);
	}
	name[0] = 0;
	for (unsigned i = 0; i < 9 && !result; i++)
		result = slf_tree_next(txn, name, sizeof(name), &tree);
	return result;
}

static int trees(struct slf_db *db)
{
	static action_fn *const actions[] = { make_trees };

	return try_actions(db, SLF_WRITE, actions, ARRAY_SIZE(actions));
}

/* Values that go to bulk at once: one of many in an extent, and one that fills more than one. */
static int put_large(struct slf_txn *txn)
{
	static uint8_t data[2200000];
	int result = slf_put(txn, SLF_MAIN, text("zeros"), slice(data, LARGE_BYTES));

	bytes_fill(data, sizeof(data), 1, false);
	for (unsigned i = 0; i < 10 && !result; i++)
		result = slf_put(txn, SLF_MAIN, name_of(i, (char[16]){ 0 }), slice(data + i, LARGE_BYTES));
	if (!result)
		result = slf_put(txn, SLF_MAIN, text("run"), slice(data, sizeof(data)));
	memset(data, 0, LARGE_BYTES);
	return result ? result : slf_txn_blob(txn, text("a blob"));
}

static int large(struct slf_db *db)
{
	static action_fn *const actions[] = { put_large };

	return try_actions(db, SLF_WRITE, actions, ARRAY_SIZE(actions));
}

static int walk_range(struct slf_txn *txn, const struct slf_range *range)
{
	struct slf_cursor *cursor = NULL;
	struct slf_slice key, value;
	int result = slf_cursor_open(txn, SLF_MAIN, range, &cursor);

	if (result)
		return result;
	for (const char *step = "pppnnppn"; *step && !result; step++)
		result = *step == 'p' ? slf_cursor_prev(cursor, &key, &value) : slf_cursor_next(cursor, &key, &value);
	if (!result)
		result = slf_cursor_seek(cursor, text("key001007"));
	if (!result)
		result = slf_cursor_next(cursor, &key, &value);
	slf_cursor_close(cursor);
	return result;
}

/* Ranges of all kinds, whose ends are there, between two keys, or behind the last. */
static int walk_ranges(struct slf_txn *txn)
{
	static const char *const highs[] = { "key001500", "key001501", "z" };
	int result = 0;

	for (unsigned i = 0; i < 6 && !result; i++) {
		struct slf_range range = { .flags = SLF_LOWER | SLF_UPPER | SLF_UPPER_INCLUSIVE, .low = text("key000500"),
					   .high = text(highs[i % 3]) };

		range.flags |= i < 3 ? 0 : SLF_TRANSIENT;
		result = walk_range(txn, &range);
	}
	if (!result)
		result = walk_range(txn, &(struct slf_range){ .flags = SLF_PREFIX, .low = text("key00") });
	return result ? result : walk_range(txn, NULL);
}

/* Two cursors that keep their places when the memory of the slices goes. */
static int trim(struct slf_txn *txn)
{
	struct slf_cursor *cursors[2] = { NULL, NULL };
	int result = 0;

	for (unsigned i = 0; i < 2 && !result; i++) {
		result = slf_cursor_open(txn, SLF_MAIN, NULL, &cursors[i]);
		if (!result)
			result = slf_cursor_next(cursors[i], NULL, NULL);
	}
	if (!result)
		result = slf_txn_trim(txn);
	for (unsigned i = 0; i < 2 && !result; i++) { /* there is none before the first */
		result = slf_cursor_prev(cursors[i], NULL, NULL);
		result = result == SLF_END ? 0 : result;
	}
	for (unsigned i = 0; i < 2; i++)
		slf_cursor_close(cursors[i]);
	return result;
}

/* A cursor between changes of its own transaction, which it has to see. */
static int walk_and_put(struct slf_txn *txn)
{
	struct slf_cursor *cursor = NULL;
	struct slf_slice key, value;
	int result = slf_cursor_open(txn, SLF_MAIN, NULL, &cursor);
	char name[16];

	for (unsigned i = 0; i < 12 && !result; i++) {
		result = slf_put(txn, SLF_MAIN, name_of(i * 100, name), value_of(i + 1));
		if (!result)
			result = i % 3 == 2 ? slf_cursor_prev(cursor, &key, &value) : slf_cursor_next(cursor, &key, &value);
	}
	slf_cursor_close(cursor);
	return result;
}

static int read_all(struct slf_db *db)
{
	static action_fn *const actions[] = { trim, look_up, walk, walk_ranges };

	return try_actions(db, SLF_READ, actions, ARRAY_SIZE(actions));
}

static int walk_own_changes(struct slf_db *db)
{
	static action_fn *const actions[] = { walk_and_put, put_more, trim, walk_ranges };

	return try_actions(db, SLF_WRITE, actions, ARRAY_SIZE(actions));
}

static struct slf_db *open_or_end(struct sim_disk *disk, unsigned flags)
{
	struct slf_db *db = NULL;

	must_work(open_small(disk, flags, &db));
	return db;
}

/* A transaction that meets a failure would go on, leave something behind, or change what others see. */
static void fail_transactions(unsigned flags)
{
	static operation_fn *const operations[] = { change_first, delete_first, trees, read_all, walk_own_changes, large };
	struct sim_disk *original = disk_make();

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		struct sim_disk *disk = sim_disk_kill(original);
		struct memory_balance before = fault_memory_balance();
		struct slf_db *db = open_or_end(disk, flags);

		fail_all(db, operations[i], count_places(original, flags, operations[i]));
		must_work(slf_close(db));
		expect_balance(before);
		sim_disk_free(disk);
	}
	sim_disk_free(original);
}

Test(fault_operations, transactions, .timeout = 300)
{
	fail_transactions(SLF_NO_MAP);
}

Test(fault_operations, transactions_with_maps, .timeout = 300)
{
	fail_transactions(0);
}

/* ---- What lasts -------------------------------------------------------------------------------------------------- */

/* Puts what is there already, so that every outcome is the same database. */
static int put_same(struct slf_txn *txn)
{
	char name[16];
	int result = 0;

	for (unsigned i = 0; i < 60 && !result; i++) {
		unsigned number = i * 41 % KEYS;

		result = slf_put(txn, SLF_MAIN, name_of(number, name), value_of(number));
	}
	return result;
}

static int commit_same(struct slf_db *db)
{
	struct slf_txn *txn = NULL;
	int result = slf_begin(db, SLF_WRITE, &txn);

	if (!result)
		result = make_trees(txn);
	if (!result)
		result = put_same(txn);
	if (result) {
		slf_abort(txn);
		return result;
	}
	return slf_commit(txn, NULL);
}

static int checkpoint_same(struct slf_db *db)
{
	int result = commit_same(db);

	return result ? result : slf_checkpoint(db);
}

static struct sim_disk *disk_beside;

/* Commits while a checkpoint writes, for which nothing fails. */
static void commit_beside(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct slf_txn *txn = NULL;

	if (call != SIM_WRITE)
		return;
	sim_disk_set_hook(disk, NULL, NULL);
	fault_memory_hold(true);
	must_work(slf_begin(context, SLF_WRITE | SLF_TRY, &txn));
	must_work(put_same(txn));
	must_work(slf_commit(txn, NULL));
	fault_memory_hold(false);
}

/* A checkpoint whose install has to look through what was changed meanwhile. */
static int checkpoint_beside(struct slf_db *db)
{
	int result = commit_same(db);

	if (result)
		return result;
	sim_disk_set_hook(disk_beside, commit_beside, db);
	result = slf_checkpoint(db);
	sim_disk_set_hook(disk_beside, NULL, NULL);
	return result;
}

/* A commit for which there is no memory would be there in part; a checkpoint would lose what it could not write. */
Test(fault_operations, commits_and_checkpoints, .timeout = 300)
{
	static operation_fn *const operations[] = { commit_same, checkpoint_same, checkpoint_beside };

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(operations); i++) {
		struct sim_disk *disk = disk_make(), *killed;
		uint64_t count = i / 2 == 2 ? 3000 : count_places(disk, 0, operations[i / 2]);
		struct memory_balance before = fault_memory_balance();
		struct slf_db *db = open_or_end(disk, i % 2 ? SLF_NO_MAP : 0);

		disk_beside = disk;
		fail_all(db, operations[i / 2], count);
		killed = sim_disk_kill(disk);
		must_work(slf_close(db));
		expect_balance(before);
		sim_disk_free(disk);
		db = open_or_end(killed, 0);
		compare(db);
		must_work(slf_close(db));
		sim_disk_free(killed);
	}
}

/* The same for a transaction that outgrows the heap, and whose actions outgrow the log. */
static int spill_same(struct slf_db *db)
{
	static uint8_t data[30000];
	struct slf_txn *txn = NULL;
	uint32_t tree = 0;
	int result = slf_begin(db, SLF_WRITE, &txn);

	if (!result)
		result = slf_tree_open(txn, "other", SLF_CREATE, &tree);
	for (unsigned i = 0; i < 30 && !result; i++)
		result = slf_put(txn, tree, bytes(&i, sizeof(i)), bytes(data, sizeof(data)));
	for (unsigned i = 0; i < 4 && !result; i++)
		result = put_same(txn);
	if (result) {
		slf_abort(txn);
		return result;
	}
	return slf_commit(txn, NULL);
}

Test(fault_operations, transactions_that_spill, .timeout = 300)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct memory_balance before = fault_memory_balance();
	struct sim_disk *disk = disk_make();
	static struct stats unused;
	struct slf_db *db = NULL;
	struct io *io;

	options.flags = SLF_NO_THREADS | SLF_NO_MAP;
	options.heap_bytes = 64 * KIB;
	must_work(sim_disk_io(disk, &unused, &io));
	must_work(db_open_io(RIG_PATH, &options, io, &db));
	fail_all(db, spill_same, 2000);
	must_work(slf_close(db));
	expect_balance(before);
	db = open_or_end(disk, 0);
	compare(db);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* Where there is no memory to note that a commit has failed, its fate would be told wrongly. */
Test(fault_operations, commits_that_fail)
{
	uint64_t failed = 1, unknown = 0;

	for (uint64_t nth = 1; failed; nth++) {
		struct rig rig;
		uint64_t seq;
		int result;

		rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
		db_put(rig.db, "before", "1");
		seq = put_async(&rig, "failed", RIG_LARGE_BYTES);
		rig_fail(&rig, SIM_WRITE, -EIO, false);
		fault_memory_arm(nth, false);
		result = slf_wait(rig.db, seq, -1);
		fault_memory_disarm(&failed);
		cr_assert_eq(result, failed ? SLF_EUNKNOWN : -EIO);
		cr_assert(survives(&rig, "before"));
		unknown += failed;
		rig_close(&rig);
	}
	cr_assert_eq(unknown, 2); /* for the note of the seqs */
}

/* ---- Openings ---------------------------------------------------------------------------------------------------- */

static int open_files(struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	static const char *const further[] = { "/tmp/second", "/usr/third" }; /* one beside the first file */
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags;
	options.spindles = further;
	options.spindle_count = ARRAY_SIZE(further);
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(RIG_PATH, &options, io, db);
}

/* A database on three files that was killed behind large values, and so many puts in one transaction. */
static struct sim_disk *unclean_disk(unsigned puts)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	static uint8_t data[LARGE_BYTES];
	struct slf_db *db = NULL;
	struct slf_txn *txn;

	must_work(open_files(disk, SLF_CREATE | SLF_NO_THREADS, &db));
	for (unsigned i = 0; i < 3; i++) {
		txn = txn_begin(db, SLF_WRITE);
		must_work(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), bytes(data, LARGE_BYTES - i)));
		must_work(slf_commit(txn, NULL));
	}
	txn = txn_begin(db, SLF_WRITE);
	must_work(make_trees(txn));
	for (unsigned i = 0; i < puts; i++)
		must_work(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), bytes(data, 110)));
	must_work(slf_commit(txn, NULL));
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return killed;
}

#define READERS 40u /* more than the first slots are for */

/* Opens, begins many transactions, and closes. */
static int open_begin_close(struct sim_disk *disk, unsigned flags)
{
	struct slf_txn *readers[READERS] = { NULL };
	struct slf_db *db = NULL;
	int result = open_files(disk, flags, &db), closed;

	if (result)
		return result;
	for (unsigned i = 0; i < READERS && !result; i++)
		result = slf_begin(db, SLF_READ, &readers[i]);
	for (unsigned i = 0; i < READERS; i++)
		slf_abort(readers[i]);
	closed = slf_close(db);
	return result ? result : closed;
}

/* What a copy of the disk holds: it stays as it was left. */
static uint64_t entries_of(struct sim_disk *original)
{
	struct sim_disk *disk = sim_disk_kill(original);
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	struct slf_db *db = NULL;
	struct slf_txn *txn;

	must_work(open_files(disk, SLF_NO_THREADS, &db));
	txn = txn_begin(db, SLF_READ);
	must_work(slf_tree_stat(txn, SLF_MAIN, &stat));
	slf_abort(txn);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return stat.entries;
}

/* Lets everything fail once while a copy of the disk is opened and closed; a disk that is NULL: while one is made. */
static void fail_openings(struct sim_disk *original, unsigned flags)
{
	uint64_t failed = 1, failures = 0, entries = original ? entries_of(original) : 0, count = 0;

	for (uint64_t nth = 0; failed; nth = next_place(nth, count)) { /* at 0 they are counted */
		struct sim_disk *disk = original ? sim_disk_kill(original) : sim_disk_new();
		struct memory_balance before = fault_memory_balance();
		struct slf_db *db = NULL;
		int result;

		fault_memory_arm(nth, false);
		result = open_begin_close(disk, flags);
		count = nth ? count : fault_memory_disarm(NULL);
		fault_memory_disarm(&failed);
		failed |= !nth;
		must(failed || result == 0);
		must(result == 0 || result == -ENOMEM || result == -EIO || result == -EAGAIN);
		expect_balance(before);
		must(sim_disk_open_files(disk) == 0);
		failures += result != 0;
		if (original) {
			must(nth % 8 || entries_of(disk) == entries);
		} else if (open_files(disk, SLF_NO_THREADS, &db) == 0) {
			must_work(slf_close(db)); /* it failed when it was there */
		} else {
			must_work(open_files(disk, SLF_NO_THREADS | SLF_CREATE, &db)); /* nothing of it is in the way */
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
	cr_assert_gt(failures, 20);
}

/* An opening that fails would leave memory, files or locks behind, or half of what it found. */
Test(fault_operations, openings, .timeout = 300)
{
	struct sim_disk *few = unclean_disk(300), *many = unclean_disk(7000); /* whose actions are in bulk */

	fail_openings(few, SLF_NO_THREADS);
	fail_openings(few, 0); /* with threads, which can be refused as well */
	fail_openings(many, SLF_READONLY | SLF_NO_MAP);
	sim_disk_free(few);
	sim_disk_free(many);
}

/* A creation that fails would leave files that are in the way of the next one. */
Test(fault_operations, creations, .timeout = 300)
{
	fail_openings(NULL, SLF_CREATE | SLF_NO_THREADS);
}
