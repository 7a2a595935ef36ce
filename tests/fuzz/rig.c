/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#include "db.h"
#include "fault_memory.h"
#include "format.h"
#include "sim_world.h"

#define ALLOCATION_MAX (64 * MIB)
#define SECONDS_MAX 1
#define SECONDS_HUNG 10
#define TREES_MAX 6
#define KEYS_MAX 24
#define KEY_BYTES 64
#define VALUES_MAX 400 /* of a scan are read: many may lead to the same long one */
#define PUTS_MAX (TREES_MAX * (2 * KEYS_MAX + 1)) /* of write_all */

/* ---- A run ------------------------------------------------------------------------------------------------------- */

static clock_t start;

/* Freed blocks are few and large here; what was freed long ago is not used again by mistake. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=16:malloc_context_size=8:detect_stack_use_after_return=0:allocator_may_return_null=1";
}

const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
	return "print_stacktrace=1:halt_on_error=1";
}

static void on_hang(int number)
{
	(void)number;
	abort();
}

/* By processor time: a machine that stands still for a while is no finding. What sleeps for ever is found by who waits for
 * the program. */
static void watch(time_t seconds)
{
	struct itimerval timer = { .it_value = { .tv_sec = seconds } };

	must(setitimer(ITIMER_PROF, &timer, NULL) == 0);
}

void run_begin(void)
{
	static bool prepared;

	if (!prepared) {
		must(signal(SIGPROF, on_hang) != SIG_ERR);
		prepared = true;
	}
	watch(SECONDS_HUNG);
	start = clock();
	(void)fault_memory_largest();
	sim_world_start(1);
}

void run_end(void)
{
	double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
	uint64_t largest = fault_memory_largest();

	watch(0);
	sim_world_set((struct sim_world){ 0 });
	if (largest > ALLOCATION_MAX)
		fprintf(stderr, "%llu bytes in one allocation\n", (unsigned long long)largest);
	must(largest <= ALLOCATION_MAX);
	if (seconds > SECONDS_MAX)
		fprintf(stderr, "%.3f s of processor time\n", seconds);
	must(seconds <= SECONDS_MAX);
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

/* Keys that a database has shown. */
struct keys {
	size_t count, seen;
	struct {
		size_t size;
		uint8_t bytes[KEY_BYTES];
	} items[KEYS_MAX];
};

static void keys_add(struct keys *keys, struct slf_slice key)
{
	size_t at = keys->seen++ % (3 * KEYS_MAX); /* the first ones, and some of the later */

	if (key.size > KEY_BYTES || at >= KEYS_MAX)
		return;
	keys->items[at].size = key.size;
	if (key.size)
		memcpy(keys->items[at].bytes, key.data, key.size);
	keys->count = at >= keys->count ? at + 1 : keys->count;
}

static struct slf_slice keys_get(const struct keys *keys, size_t i)
{
	return slice(keys->items[i].bytes, keys->items[i].size);
}

/* Every byte of a slice is looked at: it has to be there. By a call, which costs less than a loop that is traced. */
static void touch(struct slf_slice bytes)
{
	static uint8_t sink[64 * KIB];

	for (size_t at = 0; at < bytes.size; at += sizeof(sink))
		memcpy(sink, (const uint8_t *)bytes.data + at, u64_min(bytes.size - at, sizeof(sink)));
}

/* No scan has more steps: so many records fit into the bytes that the database was made of, and what is put besides. */
static uint64_t steps_max;

static void scan(struct slf_txn *txn, uint32_t tree, bool forward, struct keys *keys)
{
	struct slf_range range = { .flags = SLF_TRANSIENT };
	struct slf_slice key, value = { 0 };
	struct slf_cursor *cursor = NULL;

	if (slf_cursor_open(txn, tree, &range, &cursor))
		return;
	for (uint64_t steps = 0;; steps++) {
		struct slf_slice *wanted = steps < VALUES_MAX ? &value : NULL;

		if (forward ? slf_cursor_next(cursor, &key, wanted) : slf_cursor_prev(cursor, &key, wanted))
			break;
		must(steps < steps_max); /* the same leaf again and again: a scan of years */
		touch(key);
		if (wanted)
			touch(value);
		keys_add(keys, key);
	}
	for (size_t i = 0; i < keys->count; i += 5)
		if (slf_cursor_seek(cursor, keys_get(keys, i)) == 0 && slf_cursor_prev(cursor, &key, &value) == 0)
			touch(value);
	slf_cursor_close(cursor);
}

static void get_all(struct slf_txn *txn, uint32_t tree, const struct keys *keys)
{
	struct slf_slice wanted[KEYS_MAX], values[KEYS_MAX], value;
	int results[KEYS_MAX];

	for (size_t i = 0; i < keys->count; i++) {
		wanted[i] = keys_get(keys, i);
		if (slf_get(txn, tree, wanted[i], &value) == 0)
			touch(value);
	}
	(void)slf_multi_get(txn, tree, wanted, keys->count, values, results);
	for (size_t i = 0; i < keys->count; i++)
		if (results[i] == 0)
			touch(values[i]);
}

/* The main tree and those that the list names. */
static size_t list_trees(struct slf_txn *txn, uint32_t *trees)
{
	char name[256] = "";
	size_t count = 0;

	trees[count++] = SLF_MAIN;
	while (count < TREES_MAX && slf_tree_next(txn, name, sizeof(name), &trees[count]) == 0)
		count++;
	return count;
}

static void read_all(struct slf_db *db, struct keys *keys)
{
	uint32_t trees[TREES_MAX];
	struct slf_txn *txn = NULL;
	size_t count;

	if (slf_begin(db, SLF_READ, &txn))
		return;
	count = list_trees(txn, trees);
	for (size_t i = 0; i < count; i++) {
		struct slf_tree_stat stat = { .size = sizeof(stat) };

		(void)slf_tree_stat(txn, trees[i], &stat);
		scan(txn, trees[i], true, keys);
		scan(txn, trees[i], false, keys);
		get_all(txn, trees[i], keys);
	}
	slf_abort(txn);
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static void put(struct slf_txn *txn, uint32_t tree, struct slf_slice key, unsigned number)
{
	static uint8_t bytes[40000];
	size_t size = number % 23 == 0 ? sizeof(bytes) : number % 3 ? number % 40 : 300;

	memset(bytes, (int)number, size);
	(void)slf_put(txn, tree, key, slice(bytes, size));
}

/* Overwrites and deletes what was seen, and puts so much between that nodes are split. */
static void change_tree(struct slf_txn *txn, uint32_t tree, const struct keys *keys)
{
	for (unsigned i = 0; i < keys->count; i++) {
		char longer[KEY_BYTES + 8];

		if (i % 3 == 0)
			(void)slf_del(txn, tree, keys_get(keys, i));
		else
			put(txn, tree, keys_get(keys, i), i);
		memcpy(longer, keys->items[i].bytes, keys->items[i].size);
		memset(longer + keys->items[i].size, (int)i, 8);
		put(txn, tree, slice(longer, keys->items[i].size + 1 + i % 7), i + 1);
	}
}

static void change(struct slf_db *db, const struct keys *keys, bool deletes)
{
	uint32_t trees[TREES_MAX], made;
	struct slf_txn *txn = NULL;
	size_t count;

	if (slf_begin(db, SLF_WRITE, &txn))
		return;
	count = list_trees(txn, trees);
	for (size_t i = 0; i < count && !deletes; i++)
		change_tree(txn, trees[i], keys);
	for (size_t i = 0; i < count * keys->count && deletes; i++)
		(void)slf_del(txn, trees[i / keys->count], keys_get(keys, i % keys->count));
	if (!deletes && slf_tree_open(txn, "made now", SLF_CREATE, &made) == 0)
		put(txn, made, text("key"), 1);
	(void)slf_commit(txn, NULL);
}

static void write_all(struct slf_db *db, struct keys *keys)
{
	change(db, keys, false);
	(void)slf_checkpoint(db);
	read_all(db, keys);
	change(db, keys, true);
	(void)slf_checkpoint(db);
}

/* ---- A database -------------------------------------------------------------------------------------------------- */

static struct slf_db *open_on(struct sim_disk *disk, unsigned flags)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct slf_db *db = NULL;
	struct io *io = NULL;

	options.flags = SLF_NO_THREADS | flags;
	options.heap_bytes = 64 * KIB;
	options.log_bytes = 64 * KIB;
	sim_disk_io(disk, &unused, &io);
	return db_open_io(flat_path(0), &options, io, &db) ? NULL : db;
}

uint64_t run_opened;

void run_database(struct sim_disk *disk, unsigned flags)
{
	struct keys keys = { 0 };
	struct slf_db *db = open_on(disk, SLF_READONLY | (flags & 1 ? SLF_NO_MAP : 0));

	steps_max = flat_touched_bytes() / RECORD_HEADER_BYTES + PUTS_MAX;
	if (db)
		read_all(db, &keys);
	run_opened += keys.count > 0;
	(void)slf_close(db);
	if (flags & 2) {
		sim_disk_free(disk);
		return;
	}
	db = open_on(disk, flags & 4 ? SLF_NO_MAP : 0);
	if (db && !(flags & 8))
		read_all(db, &keys);
	if (db)
		write_all(db, &keys);
	(void)slf_close(db);
	if (flags & 16) {
		db = open_on(disk, SLF_READONLY);
		if (db)
			read_all(db, &keys);
		(void)slf_close(db);
	}
	sim_disk_free(disk);
}
