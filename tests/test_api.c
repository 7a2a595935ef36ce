/* SPDX-License-Identifier: MIT */
/*
 * The contracts of solifuge.h that concern handles, transactions and commits; those of data are in test_api_data.c,
 * those of reports in test_api_report.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.h"
#include "solifuge.h"

#define MS ((int64_t)1000000)

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(api, .init = set_up, .fini = tear_down, .timeout = 60);

static uint64_t durable_seq(struct slf_db *db)
{
	struct slf_info info = { .size = sizeof(info) };

	must_work(slf_info(db, &info));
	return info.durable_seq;
}

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

/* Opening without SLF_CREATE would make databases out of typing errors. */
Test(api, open_missing)
{
	struct slf_db *db = (void *)&scratch;

	cr_assert_eq(slf_open(scratch.path, NULL, &db), -ENOENT);
	cr_assert_eq(db, (void *)&scratch, "the output was touched");
	cr_assert_eq(access(scratch.path, F_OK), -1);
}

/* SLF_CREATE would wipe or refuse a database that exists. */
Test(api, open_create_twice)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);

	db_put(db, "key", "value");
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, SLF_CREATE);
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_close(db), 0);
	cr_assert_eq(slf_open(scratch.path, NULL, &db), 0, "options may be NULL");
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_close(db), 0);
}

/* SLF_EXCLUSIVE would take over a file that someone else made. */
Test(api, open_exclusive)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = open_database(scratch.path, SLF_CREATE | SLF_EXCLUSIVE);

	cr_assert_eq(slf_close(db), 0);
	options.flags = SLF_CREATE | SLF_EXCLUSIVE;
	cr_assert_eq(slf_open(scratch.path, &options, &db), -EEXIST);
	options.flags = SLF_EXCLUSIVE;
	cr_assert_eq(slf_open(scratch.path, &options, &db), -EINVAL, "nothing would be exclusive");
}

/* Other users of the machine could read the database. */
Test(api, open_mode)
{
	mode_t old = umask(0);
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct stat status = { 0 };

	umask(old);
	cr_assert_eq(slf_close(db), 0);
	cr_assert_eq(stat(scratch.path, &status), 0);
	cr_assert_eq(status.st_mode & 07777, 0600);
}

/* An empty database would cost more than the promised 64 KiB. */
Test(api, open_empty_is_small)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct stat status = { 0 };

	cr_assert_eq(slf_close(db), 0);
	cr_assert_eq(stat(scratch.path, &status), 0);
	cr_assert_leq(status.st_blocks * 512, 64 * 1024, "%lld bytes are allocated", (long long)status.st_blocks * 512);
}

/* A read-only handle would write, or refuse to read. */
Test(api, open_readonly)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	struct slf_txn *txn = NULL;

	options.flags = SLF_READONLY;
	cr_assert_eq(slf_open(scratch.path, &options, &db), -ENOENT);
	db = open_database(scratch.path, SLF_CREATE);
	db_put(db, "key", "value");
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, SLF_READONLY);
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_begin(db, SLF_WRITE, &txn), SLF_EREADONLY);
	cr_assert_eq(slf_begin_timeout(db, SLF_WRITE, 0, &txn), SLF_EREADONLY);
	cr_assert_null(txn);
	cr_assert_lt(slf_checkpoint(db), 0);
	cr_assert_eq(slf_close(db), 0);
}

/* A program built with an older header would not run, or its missing fields would be read from behind the struct. */
Test(api, options_smaller)
{
	union {
		struct slf_options options;
		unsigned char raw[sizeof(struct slf_options)];
	} u;
	struct slf_db *db = NULL;

	memset(u.raw, 0xa5, sizeof(u.raw));
	u.options.size = offsetof(struct slf_options, spindles);
	u.options.flags = SLF_CREATE;
	u.options.sync = SLF_SYNC_NONE;
	cr_assert_eq(slf_open(scratch.path, &u.options, &db), 0);
	db_put(db, "key", "value");
	cr_assert_eq(slf_close(db), 0);
}

/* A program built with a newer header would not run, or a field that this library does not know would be ignored. */
Test(api, options_larger)
{
	struct {
		struct slf_options options;
		uint64_t unknown[4];
	} newer = { .options = { .size = sizeof(newer), .flags = SLF_CREATE } };
	struct slf_db *db = NULL;

	cr_assert_eq(slf_open(scratch.path, &newer.options, &db), 0);
	cr_assert_eq(slf_close(db), 0);
	newer.unknown[2] = 1;
	cr_assert_lt(slf_open(scratch.path, &newer.options, &db), 0);
}

/* Nonsense in the options would be taken for something. */
Test(api, options_garbage)
{
	static const char *const no_path[] = { "/nowhere/a", NULL }, *const empty_path[] = { "/nowhere/a", "" };
	struct slf_options wrong[] = {
		{ .size = 0, .flags = SLF_CREATE },
		{ .size = 3, .flags = SLF_CREATE },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE | 0x40000000u },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .sync = 77 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .sync = -1 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .io = 77 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .compression = 77 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .spindle_count = 255 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .leaf_bytes = UINT32_MAX },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .branch_bytes = UINT32_MAX },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .inline_bytes = UINT32_MAX },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE | SLF_READONLY },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .io = -1 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .compression = -1 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .spindle_count = 1 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .spindle_count = 2, .spindles = no_path },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .spindle_count = 2, .spindles = empty_path },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .leaf_bytes = 255 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .branch_bytes = 255 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .heap_bytes = 65535 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .log_bytes = 65535 },
		{ .size = sizeof(struct slf_options), .flags = SLF_CREATE, .log_bytes = ((uint64_t)4 << 30) + 1 },
	};
	struct slf_db *db = NULL;
	size_t i = 0;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int result = slf_open(scratch.path, &wrong[i], &db);

		cr_assert_eq(result, -EINVAL, "options %zu gave %d", i, result);
		cr_assert_eq(access(scratch.path, F_OK), -1, "options %zu made a file", i);
	}
}

/* A program that goes on after a failed open would crash in the library. */
Test(api, no_handle)
{
	struct slf_info info = { .size = sizeof(info) };
	struct slf_stats stats = { .size = sizeof(stats) };
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;

	cr_assert_eq(slf_open(NULL, NULL, &db), -EINVAL);
	cr_assert_eq(slf_open("", NULL, &db), -EINVAL);
	cr_assert_eq(slf_open(scratch.path, NULL, NULL), -EINVAL);
	cr_assert_eq(slf_checkpoint(NULL), -EINVAL);
	cr_assert_eq(slf_wait(NULL, 1, 0), -EINVAL);
	cr_assert_eq(slf_sync(NULL, NULL), -EINVAL);
	cr_assert_eq(slf_eventfd(NULL), -EINVAL);
	cr_assert_eq(slf_info(NULL, &info), -EINVAL);
	cr_assert_eq(slf_spindle_path(NULL, 0, NULL, 0), -EINVAL);
	cr_assert_eq(slf_stats(NULL, &stats), -EINVAL);
	cr_assert_eq(slf_begin(NULL, SLF_READ, &txn), -EINVAL);
	cr_assert_eq(slf_begin_at(NULL, 1, &txn), -EINVAL);
	cr_assert_eq(slf_commit(NULL, NULL), -EINVAL);
	cr_assert_eq(slf_commit_async(NULL, NULL), -EINVAL);
	cr_assert_eq(slf_txn_seq(NULL), 0);
	cr_assert_eq(slf_txn_blob(NULL, text("blob")), -EINVAL);
	cr_assert_eq(slf_txn_trim(NULL), -EINVAL);
	db = open_database(scratch.path, SLF_CREATE);
	cr_assert_eq(slf_begin(db, SLF_READ, NULL), -EINVAL);
	cr_assert_eq(slf_begin(db, SLF_WRITE | SLF_DURABLE, &txn), -EINVAL);
	cr_assert_eq(slf_close(db), 0);
}

/* Two writers would write over each other. */
Test(api, open_second_handle)
{
	struct slf_db *first = open_database(scratch.path, SLF_CREATE);
	struct slf_db *second = NULL;

	cr_assert_eq(slf_open(scratch.path, NULL, &second), SLF_ELOCKED);
	cr_assert_null(second);
	db_put(first, "key", "value");
	cr_assert_eq(slf_close(first), 0);
	cr_assert_eq(slf_open(scratch.path, NULL, &second), 0, "close keeps the lock");
	cr_assert_eq(slf_close(second), 0);
}

/* A reading handle beside a writer would be refused, see less than what was durable, or disturb the writer. */
Test(api, open_readonly_beside_writer)
{
	struct slf_db *writer = open_database(scratch.path, SLF_CREATE);
	struct slf_db *reader = NULL;

	db_put(writer, "a", "1");
	cr_assert_eq(slf_checkpoint(writer), 0);
	db_put(writer, "b", "2");
	reader = open_database(scratch.path, SLF_READONLY);
	cr_assert(db_has(reader, "a", "1"));
	cr_assert(db_has(reader, "b", "2"));
	db_put(writer, "c", "3");
	cr_assert(db_has(reader, "a", "1"));
	cr_assert_eq(slf_close(reader), 0);
	db_put(writer, "d", "4");
	cr_assert_eq(slf_close(writer), 0);
	reader = open_database(scratch.path, SLF_READONLY);
	cr_assert(db_has(reader, "c", "3"));
	cr_assert(db_has(reader, "d", "4"));
	cr_assert_eq(slf_close(reader), 0);
}

/* The further files would not be found again, or not hold anything. */
Test(api, open_spindles)
{
	char names[2][SCRATCH_PATH_BYTES];
	const char *spindles[2] = { scratch_name(&scratch, "one", names[0]), scratch_name(&scratch, "two", names[1]) };
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_info info = { .size = sizeof(info) };
	struct slf_db *db = NULL;

	options.flags = SLF_CREATE;
	options.spindles = spindles;
	options.spindle_count = 2;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	db_put(db, "key", "value");
	cr_assert_eq(slf_close(db), 0);
	cr_assert_eq(access(spindles[0], F_OK), 0);
	cr_assert_eq(access(spindles[1], F_OK), 0);
	db = open_database(scratch.path, 0);
	cr_assert_eq(slf_info(db, &info), 0);
	cr_assert_eq(info.spindle_count, 3);
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_close(db), 0);
}

/* Without background threads nothing would become durable, or there would be threads. */
Test(api, open_no_threads)
{
	unsigned threads = process_count("task");
	struct slf_db *db = open_database(scratch.path, SLF_CREATE | SLF_NO_THREADS);
	char key[16] = "";
	int i = 0;

	cr_assert(threads_within(threads));
	for (i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		db_put(db, key, "value");
	}
	cr_assert_eq(slf_checkpoint(db), 0);
	cr_assert_eq(slf_sync(db, NULL), 0);
	cr_assert(threads_within(threads));
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, SLF_NO_THREADS);
	cr_assert(db_has(db, "key 99", "value"));
	cr_assert_eq(slf_close(db), 0);
}

/* Closing would leave descriptors or threads behind: a program that opens often would run out of them. */
Test(api, close_leaves_nothing)
{
	unsigned threads = 0, descriptors = 0;
	int i = 0;

	/* the first thread of a process may bring one of the sanitizer's own */
	cr_assert_eq(slf_close(open_database(scratch.path, SLF_CREATE)), 0);
	threads = process_count("task");
	descriptors = process_count("fd");
	for (i = 0; i < 3; i++) {
		struct slf_db *db = open_database(scratch.path, SLF_CREATE);

		db_put(db, "key", "value");
		cr_assert_geq(slf_eventfd(db), 0);
		cr_assert_eq(slf_close(db), 0);
		cr_assert(threads_within(threads));
		cr_assert_eq(process_count("fd"), descriptors);
	}
	cr_assert_eq(slf_close(NULL), 0);
}

/* ---- Transactions ------------------------------------------------------------------------------------------------ */

/* Changes would be seen too early, too late, or after an abort. */
Test(api, begin_commit_abort)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE), *before = txn_begin(db, SLF_READ);
	struct slf_slice value = { 0 };

	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("value")), 0);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), &value), 0, "a transaction sees its own writes");
	cr_assert(db_has(db, "key", NULL), "others see it before the commit");
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_get(before, SLF_MAIN, text("key"), &value), SLF_NOTFOUND, "a snapshot moved");
	slf_abort(before);
	txn = txn_begin(db, SLF_WRITE);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("other")), 0);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("more"), text("more")), 0);
	slf_abort(txn);
	cr_assert(db_has(db, "key", "value"));
	cr_assert(db_has(db, "more", NULL));
	slf_abort(NULL);
	cr_assert_eq(slf_close(db), 0);
}

/* A read transaction would write. */
Test(api, begin_read_refuses_writes)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	uint32_t tree = 7;

	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("value")), SLF_EREADONLY);
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("key")), SLF_EREADONLY);
	cr_assert_eq(slf_txn_blob(txn, text("blob")), SLF_EREADONLY);
	cr_assert_lt(slf_tree_open(txn, "tree", SLF_CREATE, &tree), 0);
	cr_assert_eq(tree, 7);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* Unknown flags would be ignored, and a later version would give them another meaning. */
Test(api, begin_unknown_flags)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = NULL;

	cr_assert_eq(slf_begin(db, 0x800u, &txn), -EINVAL);
	cr_assert_eq(slf_begin(db, SLF_WRITE | 0x800u, &txn), -EINVAL);
	cr_assert_null(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* SLF_TRY would wait, or a timeout would not end. */
Test(api, begin_try_and_timeout)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *writer = txn_begin(db, SLF_WRITE), *txn = NULL;
	int i = 0;

	for (i = 0; i < 3; i++) {
		cr_assert_eq(slf_begin(db, SLF_WRITE | SLF_TRY, &txn), -EBUSY);
		cr_assert_eq(slf_begin_timeout(db, SLF_WRITE, 0, &txn), -ETIMEDOUT);
		cr_assert_eq(slf_begin_timeout(db, SLF_WRITE, 5 * MS, &txn), -ETIMEDOUT);
		cr_assert_null(txn);
	}
	slf_abort(writer);
	cr_assert_eq(slf_begin(db, SLF_WRITE | SLF_TRY, &txn), 0, "those who gave up still stand in the queue");
	slf_abort(txn);
	cr_assert_eq(slf_begin_timeout(db, SLF_WRITE, 0, &txn), 0);
	slf_abort(txn);
	cr_assert_eq(slf_begin_timeout(db, SLF_WRITE, -1, &txn), 0);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

struct queue {
	struct slf_db *db;
	_Atomic unsigned arrived, served;
	unsigned order[8];
};

static void *queue_writer(void *context)
{
	struct queue *queue = context;
	unsigned number = queue->arrived++;
	struct slf_txn *txn = txn_begin(queue->db, SLF_WRITE);

	queue->order[queue->served++] = number;
	slf_abort(txn);
	return NULL;
}

/* A writer could be overtaken for ever. */
Test(api, begin_writers_queue_in_order)
{
	struct queue queue = { .db = open_database(scratch.path, SLF_CREATE) };
	struct slf_txn *txn = txn_begin(queue.db, SLF_WRITE);
	pthread_t threads[8];
	unsigned i = 0;

	for (i = 0; i < 8; i++) {
		cr_assert_eq(pthread_create(&threads[i], NULL, queue_writer, &queue), 0);
		usleep(50000); /* time to reach the queue: nothing tells from outside that it has */
	}
	cr_assert_eq(queue.served, 0, "two write transactions at once");
	slf_abort(txn);
	for (i = 0; i < 8; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	for (i = 0; i < 8; i++)
		cr_assert_eq(queue.order[i], i);
	cr_assert_eq(slf_close(queue.db), 0);
}

static void *put_elsewhere(void *context)
{
	must_work(slf_put(context, SLF_MAIN, text("moved"), text("put")));
	return NULL;
}

static void *commit_elsewhere(void *context)
{
	must_work(slf_commit(context, NULL));
	return NULL;
}

/* A transaction would be tied to the thread that began it. */
Test(api, txn_moves_between_threads)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, put_elsewhere, txn), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(pthread_create(&thread, NULL, commit_elsewhere, txn), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert(db_has(db, "moved", "put"));
	db_put(db, "next", "writer");
	cr_assert_eq(slf_close(db), 0);
}

/* Many readers, or readers that never end, would meet a limit or stop the writer. */
Test(api, begin_many_readers)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *readers[1000];
	struct slf_slice value = { 0 };
	char number[16] = "";
	int i = 0;

	db_put(db, "key", "-1");
	for (i = 0; i < 1000; i++) {
		readers[i] = txn_begin(db, SLF_READ);
		snprintf(number, sizeof(number), "%d", i);
		if (i % 20 == 0)
			db_put(db, "key", number);
	}
	for (i = 0; i < 1000; i++) {
		snprintf(number, sizeof(number), "%d", i ? (i - 1) / 20 * 20 : -1);
		cr_assert_eq(slf_get(readers[i], SLF_MAIN, text("key"), &value), 0);
		cr_assert(slice_is(value, number, strlen(number)), "reader %d", i);
	}
	for (i = 0; i < 1000; i++)
		slf_abort(readers[i * 7 % 1000]);
	cr_assert_eq(slf_close(db), 0);
}

/* Two commits would share a number, or a number would go back, across aborts and openings. */
Test(api, commit_seq_increases)
{
	uint64_t last = 0;
	int round = 0, i = 0;

	for (round = 0; round < 3; round++) {
		struct slf_db *db = open_database(scratch.path, SLF_CREATE);

		for (i = 0; i < 20; i++) {
			struct slf_txn *txn = txn_begin(db, SLF_WRITE);
			uint64_t seq = 0;

			cr_assert_eq(slf_txn_seq(txn), i || round ? last : slf_txn_seq(txn));
			cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), bytes(&i, sizeof(i))), 0);
			if (i % 5 == 4) {
				slf_abort(txn);
				continue;
			}
			cr_assert_eq(slf_commit(txn, &seq), 0);
			cr_assert_gt(seq, last);
			last = seq;
			txn = txn_begin(db, SLF_READ);
			cr_assert_eq(slf_txn_seq(txn), last);
			slf_abort(txn);
		}
		cr_assert_eq(slf_close(db), 0);
	}
}

/* A commit without changes would take a number, or fail. */
Test(api, commit_empty)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	uint64_t seq = db_put(db, "key", "value"), empty = 0;

	cr_assert_eq(slf_commit(txn_begin(db, SLF_WRITE), &empty), 0);
	cr_assert_eq(empty, seq);
	empty = 0;
	cr_assert_eq(slf_commit_async(txn_begin(db, SLF_WRITE), &empty), 0);
	cr_assert_eq(empty, seq);
	cr_assert_eq(slf_wait(db, empty, -1), 0);
	empty = 0;
	cr_assert_eq(slf_commit(txn_begin(db, SLF_READ), &empty), 0);
	cr_assert_eq(empty, seq);
	cr_assert_eq(slf_commit(txn_begin(db, SLF_READ), NULL), 0);
	cr_assert_gt(db_put(db, "key", "other"), seq);
	cr_assert_eq(slf_close(db), 0);
}

/* A blob would be refused below its limit or cut above it. */
Test(api, txn_blob_limits)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	unsigned char *blob = malloc(65536);

	cr_assert_not_null(blob);
	bytes_fill(blob, 65536, 1, false);
	cr_assert_eq(slf_txn_blob(txn, bytes(blob, 65536)), SLF_ETOOBIG);
	cr_assert_eq(slf_txn_blob(txn, bytes(NULL, 1)), -EINVAL);
	cr_assert_eq(slf_txn_blob(txn, bytes(NULL, 0)), 0);
	cr_assert_eq(slf_txn_blob(txn, bytes(blob, 65535)), 0);
	memset(blob, 0, 65536); /* it is copied */
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("value")), 0);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	free(blob);
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, 0);
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_close(db), 0);
}

/* Old versions would be given out although space may take them, or the newest refused. */
Test(api, begin_at)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = NULL;
	struct slf_slice value = { 0 };
	uint64_t first = db_put(db, "key", "1"), last = 0;

	cr_assert_eq(slf_checkpoint(db), 0);
	db_put(db, "key", "2");
	cr_assert_eq(slf_checkpoint(db), 0);
	last = db_put(db, "key", "3");
	cr_assert_eq(slf_begin_at(db, last, &txn), 0);
	cr_assert_eq(slf_txn_seq(txn), last);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), &value), 0);
	cr_assert(slice_is(value, "3", 1));
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("4")), SLF_EREADONLY);
	slf_abort(txn);
	txn = NULL;
	cr_assert_eq(slf_begin_at(db, first, &txn), SLF_ENOTRETAINED);
	cr_assert_neq(slf_begin_at(db, last + 1000, &txn), 0, "a version that does not exist yet");
	cr_assert_null(txn);
	cr_assert_eq(slf_begin_at(db, last, NULL), -EINVAL);
	cr_assert_eq(slf_close(db), 0);
}

/* ---- Durability -------------------------------------------------------------------------------------------------- */

/* An asynchronous commit would not complete, or not say so. */
Test(api, commit_async)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct pollfd event = { .fd = slf_eventfd(db), .events = POLLIN };
	uint64_t seqs[100] = { 0 }, count = 0;
	int i = 0;

	cr_assert_geq(event.fd, 3);
	for (i = 0; i < 100; i++) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);

		cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), bytes(&i, sizeof(i))), 0);
		cr_assert_eq(slf_commit_async(txn, &seqs[i]), 0);
		cr_assert(i == 0 || seqs[i] > seqs[i - 1]);
	}
	cr_assert_eq(poll(&event, 1, 10000), 1, "the eventfd stays silent");
	cr_assert_eq(slf_wait(db, seqs[50], 10000 * MS), 0);
	cr_assert_geq(durable_seq(db), seqs[50]);
	cr_assert_eq(slf_wait(db, seqs[99], -1), 0);
	cr_assert_eq(slf_wait(db, seqs[0], 0), 0, "what is durable needs no time");
	cr_assert_eq(read(event.fd, &count, sizeof(count)), (ssize_t)sizeof(count));
	cr_assert_gt(count, 0);
	cr_assert_lt(slf_wait(db, seqs[99] + 1000, 5 * MS), 0, "a seq of the future is durable");
	cr_assert_eq(slf_close(db), 0);
}

/* In the default mode a commit would return, or be seen, before it is durable. */
Test(api, sync_commit)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	uint64_t seq = 0, durable = 0;
	int i = 0;

	for (i = 0; i < 20; i++) {
		seq = db_put(db, "key", "value");
		cr_assert_geq(durable_seq(db), seq);
	}
	cr_assert_eq(slf_sync(db, &durable), 0);
	cr_assert_eq(durable, seq);
	cr_assert_eq(slf_sync(db, NULL), 0);
	cr_assert_eq(slf_close(db), 0);
}

/* Without sync, a commit would not be seen, slf_sync not make it durable, or SLF_DURABLE show what may vanish. */
Test(api, sync_none)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	struct slf_txn *txn = NULL;
	uint64_t seq = 0, durable = 0;

	options.flags = SLF_CREATE;
	options.sync = SLF_SYNC_NONE;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	seq = db_put(db, "key", "value");
	cr_assert(db_has(db, "key", "value"));
	txn = txn_begin(db, SLF_READ | SLF_DURABLE);
	cr_assert_leq(slf_txn_seq(txn), durable_seq(db));
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), NULL), slf_txn_seq(txn) >= seq ? 0 : SLF_NOTFOUND);
	slf_abort(txn);
	cr_assert_eq(slf_sync(db, &durable), 0);
	cr_assert_geq(durable, seq);
	cr_assert_eq(slf_wait(db, seq, 0), 0);
	txn = txn_begin(db, SLF_READ | SLF_DURABLE);
	cr_assert_eq(slf_txn_seq(txn), seq);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), NULL), 0);
	slf_abort(txn);
	db_put(db, "last", "one");
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, 0);
	cr_assert(db_has(db, "last", "one"), "close makes everything durable");
	cr_assert_eq(slf_close(db), 0);
}

/* The automatic mode would never flush, neither by time nor by bytes. */
Test(api, sync_auto)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	uint64_t seq = 0;
	int i = 0, mode = 0;

	for (mode = 0; mode < 2; mode++) {
		options.flags = SLF_CREATE;
		options.sync = SLF_SYNC_AUTO;
		options.auto_sync_ns = mode ? (uint64_t)3600 * 1000000000 : 2 * MS;
		options.auto_sync_bytes = mode ? 1 : 0;
		cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
		seq = db_put(db, "key", "value");
		cr_assert(db_has(db, "key", "value"));
		for (i = 0; i < 5000 && durable_seq(db) < seq; i++)
			usleep(1000);
		cr_assert_geq(durable_seq(db), seq);
		cr_assert_eq(slf_wait(db, seq, 0), 0);
		cr_assert_eq(slf_close(db), 0);
	}
}

/* slf_checkpoint would return before the checkpoint is there. */
Test(api, checkpoint)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_info info = { .size = sizeof(info) };
	uint64_t seq = 0;
	int i = 0;

	cr_assert_eq(slf_checkpoint(db), 0, "of an empty database");
	for (i = 0; i < 5; i++) {
		seq = db_put(db, "key", "value");
		cr_assert_eq(slf_checkpoint(db), 0);
		cr_assert_eq(slf_checkpoint(db), 0, "a second one has nothing to do");
		cr_assert_eq(slf_info(db, &info), 0);
		cr_assert_eq(info.checkpoint_seq, seq);
		cr_assert(db_has(db, "key", "value"));
	}
	cr_assert_eq(slf_close(db), 0);
}

/* ---- After the end ----------------------------------------------------------------------------------------------- */

static void expect_dead(struct slf_txn *txn, struct slf_cursor *cursor)
{
	struct slf_slice value = bytes("untouched", 9), key = text("key");
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	struct slf_cursor *other = NULL;
	char name[256] = "";
	uint32_t tree = 0;
	int result = 0;

	must(slf_get(txn, SLF_MAIN, key, &value) == SLF_EBADHANDLE);
	must(slf_multi_get(txn, SLF_MAIN, &key, 1, &value, &result) == SLF_EBADHANDLE);
	must(slf_put(txn, SLF_MAIN, key, text("value")) == SLF_EBADHANDLE);
	must(slf_del(txn, SLF_MAIN, key) == SLF_EBADHANDLE);
	must(slf_txn_blob(txn, text("blob")) == SLF_EBADHANDLE);
	must(slf_txn_trim(txn) == SLF_EBADHANDLE);
	must(slf_tree_open(txn, "tree", 0, &tree) == SLF_EBADHANDLE);
	must(slf_tree_next(txn, name, sizeof(name), &tree) == SLF_EBADHANDLE);
	must(slf_tree_stat(txn, SLF_MAIN, &stat) == SLF_EBADHANDLE);
	must(slf_cursor_open(txn, SLF_MAIN, NULL, &other) == SLF_EBADHANDLE);
	must(slf_cursor_next(cursor, &key, &value) == SLF_EBADHANDLE);
	must(slf_cursor_prev(cursor, &key, &value) == SLF_EBADHANDLE);
	must(slf_cursor_seek(cursor, text("key")) == SLF_EBADHANDLE);
	must(slice_is(value, "untouched", 9));
	must(other == NULL);
}

/* Transactions and cursors that outlive their database would touch freed memory, or could not be closed. */
Test(api, close_with_open_transactions)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *read = NULL, *write = NULL, *third = NULL;
	struct slf_cursor *cursors[2] = { NULL };

	db_put(db, "key", "value");
	read = txn_begin(db, SLF_READ);
	third = txn_begin(db, SLF_READ);
	write = txn_begin(db, SLF_WRITE);
	cr_assert_eq(slf_put(write, SLF_MAIN, text("lost"), text("write")), 0);
	cr_assert_eq(slf_cursor_open(read, SLF_MAIN, NULL, &cursors[0]), 0);
	cr_assert_eq(slf_cursor_open(write, SLF_MAIN, NULL, &cursors[1]), 0);
	cr_assert_eq(slf_cursor_next(cursors[0], NULL, NULL), 0);
	cr_assert_eq(slf_close(db), 0);
	expect_dead(read, cursors[0]);
	expect_dead(write, cursors[1]);
	cr_assert_eq(slf_commit(write, NULL), SLF_EBADHANDLE, "a dead transaction is committed");
	cr_assert_eq(slf_commit_async(third, NULL), SLF_EBADHANDLE);
	slf_cursor_close(cursors[1]);
	slf_abort(read);
	slf_cursor_close(cursors[0]);
	slf_cursor_close(NULL);
	db = open_database(scratch.path, 0);
	cr_assert(db_has(db, "key", "value"));
	cr_assert(db_has(db, "lost", NULL));
	cr_assert_eq(slf_close(db), 0);
}

/* What the child of a fork does with the handles of its parent. */
static void fork_child(struct slf_db *db, struct slf_txn *read, struct slf_txn *write, struct slf_cursor *cursor)
{
	struct slf_info info = { .size = sizeof(info) };
	struct slf_stats stats = { .size = sizeof(stats) };
	struct slf_txn *txn = NULL;
	struct slf_db *other = NULL;

	alarm(20);
	must(slf_begin(db, SLF_READ, &txn) == SLF_EBADHANDLE);
	must(slf_begin(db, SLF_WRITE, &txn) == SLF_EBADHANDLE);
	must(slf_begin_timeout(db, SLF_WRITE, MS, &txn) == SLF_EBADHANDLE);
	must(slf_begin_at(db, 1, &txn) == SLF_EBADHANDLE);
	must(slf_sync(db, NULL) == SLF_EBADHANDLE);
	must(slf_wait(db, 1, 0) == SLF_EBADHANDLE);
	must(slf_eventfd(db) == SLF_EBADHANDLE);
	must(slf_checkpoint(db) == SLF_EBADHANDLE);
	must(slf_info(db, &info) == SLF_EBADHANDLE);
	must(slf_spindle_path(db, 0, NULL, 0) == SLF_EBADHANDLE);
	must(slf_stats(db, &stats) == SLF_EBADHANDLE);
	must(txn == NULL);
	expect_dead(read, cursor);
	must(slf_commit(write, NULL) == SLF_EBADHANDLE);
	must(slf_open(scratch.path, NULL, &other) == SLF_ELOCKED);
	slf_cursor_close(cursor);
	slf_abort(read);
	must(slf_close(db) == SLF_EBADHANDLE);
	child_exit(0);
}

/* A forked child would write into its parent's database, or hang on its locks. */
Test(api, fork_makes_handles_dead)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *read = NULL, *write = NULL;
	struct slf_cursor *cursor = NULL;
	pid_t child = 0;

	db_put(db, "key", "value");
	read = txn_begin(db, SLF_READ);
	write = txn_begin(db, SLF_WRITE);
	cr_assert_eq(slf_put(write, SLF_MAIN, text("parent"), text("goes on")), 0);
	cr_assert_eq(slf_cursor_open(read, SLF_MAIN, NULL, &cursor), 0);
	child = fork();
	if (child == 0)
		fork_child(db, read, write, cursor);
	cr_assert_gt(child, 0);
	cr_assert_eq(child_wait(child), 0);
	cr_assert_eq(slf_cursor_next(cursor, NULL, NULL), 0);
	slf_cursor_close(cursor);
	slf_abort(read);
	cr_assert_eq(slf_commit(write, NULL), 0);
	cr_assert(db_has(db, "parent", "goes on"));
	cr_assert_eq(slf_close(db), 0);
}

/* A transaction that is ended once more would end the database. */
Test(api, ended_twice)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	uint64_t seq = 77;

	for (unsigned i = 0; i < 16; i++) {
		struct slf_txn *txn = txn_begin(db, i & 1 ? SLF_WRITE : SLF_READ);

		if (i & 2)
			slf_abort(txn);
		else
			cr_assert_eq(slf_commit(txn, NULL), 0);
		if (i & 4)
			slf_abort(txn);
		if (i & 8)
			cr_assert_eq(slf_commit(txn, &seq), SLF_EBADHANDLE);
		cr_assert_eq(slf_commit_async(txn, &seq), SLF_EBADHANDLE);
		cr_assert_eq(slf_txn_seq(txn), 0);
		cr_assert_eq(seq, 77);
	}
	db_put(db, "key", "value");
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_close(db), 0);
}

/* The same of handles whose database was closed before: the others would lose what they stand on. */
Test(api, ended_twice_after_closing)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *first = txn_begin(db, SLF_READ), *second = txn_begin(db, SLF_WRITE), *third = txn_begin(db, SLF_READ);

	cr_assert_eq(slf_close(db), 0);
	slf_abort(first);
	slf_abort(first);
	cr_assert_eq(slf_commit(second, NULL), SLF_EBADHANDLE);
	cr_assert_eq(slf_commit(second, NULL), SLF_EBADHANDLE);
	slf_abort(third);
}
