/* SPDX-License-Identifier: MIT */
/*
 * Reads that fail in the middle of a lookup, a walk or a change: without maps every node comes
 * through a read, so that each of them can fail. What was asked for then fails, and nothing else.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "gate_rig.h"

#define KEYS 1500u
#define LARGE_BYTES 40000u

static int open_small(struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags | SLF_NO_MAP | SLF_NO_THREADS;
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

	must_work(open_small(disk, SLF_CREATE, &db));
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
	struct slf_tree_stat stat;
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

/* The nth read fails, for every small n and ever fewer large ones, up to the last that the actions come to; each time the database goes on as if nothing had been. */
static void suffer(struct sim_disk *original, action_fn *first, action_fn *second, unsigned flags)
{
	uint64_t failed = 0;

	for (uint64_t nth = 1;; nth += 1 + nth / 16) {
		struct sim_disk *disk = sim_disk_kill(original);
		struct slf_db *db = NULL;
		struct slf_txn *txn;
		uint64_t fired;
		int result;

		must_work(open_small(disk, 0, &db));
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
Test(read_faults, changes, .timeout = 120)
{
	struct sim_disk *disk = disk_make();

	suffer(disk, put_some, delete_many, SLF_WRITE);
	suffer(disk, put_more, delete_many, SLF_WRITE);
	suffer(disk, delete_many, put_more, SLF_WRITE);
	sim_disk_free(disk);
}

/* A lookup would answer that there is nothing, or a walk leave entries out. */
Test(read_faults, lookups, .timeout = 120)
{
	struct sim_disk *disk = disk_make();

	suffer(disk, look_up, NULL, SLF_READ);
	suffer(disk, walk, NULL, SLF_READ);
	suffer(disk, walk, NULL, SLF_WRITE);
	sim_disk_free(disk);
}
