/* SPDX-License-Identifier: MIT */
/* The contracts of solifuge.h that concern what the library tells: info, statistics, failures, texts, the callbacks. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proof.h"
#include "scratch.h"
#include "solifuge.h"

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(api_report, .init = set_up, .fini = tear_down, .timeout = 60);

/* The facts about a database would be wrong, or change when it is opened again. */
Test(api_report, info)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_info info = { .size = sizeof(info) }, again = { .size = sizeof(again) };
	uint64_t now_ns = (uint64_t)time(NULL) * 1000000000, seq = 0;
	struct slf_db *db = NULL;

	options.flags = SLF_CREATE;
	options.leaf_bytes = 1024;
	options.branch_bytes = 2048;
	options.inline_bytes = 64;
	options.io = SLF_IO_POSIX;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	seq = db_put(db, "key", "value");
	cr_assert_eq(slf_info(db, &info), 0);
	cr_assert_eq(info.format, 1);
	cr_assert_eq(info.spindle_count, 1);
	cr_assert(info.created_ns + 60000000000u > now_ns && info.created_ns < now_ns + 60000000000u);
	cr_assert_eq(info.seq, seq);
	cr_assert_eq(info.durable_seq, seq);
	cr_assert_leq(info.checkpoint_seq, seq);
	cr_assert_gt(info.file_bytes, 0);
	cr_assert_gt(info.allocated_bytes, 0);
	cr_assert_eq(info.leaf_bytes, 1024);
	cr_assert_eq(info.branch_bytes, 2048);
	cr_assert_eq(info.inline_bytes, 64);
	cr_assert_str_eq(info.io, "posix");
	cr_assert_str_eq(info.map, "map");
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, SLF_READONLY | SLF_NO_MAP);
	cr_assert_eq(slf_info(db, &again), 0);
	cr_assert_arr_eq(again.uuid, info.uuid, sizeof(info.uuid));
	cr_assert_eq(again.created_ns, info.created_ns);
	cr_assert_eq(again.seq, seq);
	cr_assert_eq(again.checkpoint_seq, seq, "close writes a checkpoint");
	cr_assert_eq(again.leaf_bytes, 1024);
	cr_assert_eq(again.clean, 1);
	cr_assert_str_eq(again.map, "pread");
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_close(db), 0);
}

/* A caller with an older, smaller struct would be written past its end. */
Test(api_report, info_smaller)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	union {
		struct slf_info info;
		unsigned char raw[sizeof(struct slf_info)];
	} u;
	size_t i = 0;

	memset(u.raw, 0xa5, sizeof(u.raw));
	u.info.size = offsetof(struct slf_info, created_ns);
	cr_assert_eq(slf_info(db, &u.info), 0);
	cr_assert_eq(u.info.format, 1);
	for (i = offsetof(struct slf_info, created_ns); i < sizeof(u.raw); i++)
		cr_assert_eq(u.raw[i], 0xa5);
	u.info.size = 0;
	cr_assert_eq(slf_info(db, &u.info), -EINVAL);
	cr_assert_eq(slf_close(db), 0);
}

/* A run of these suites for one back end would be one for the other, wherever that is chosen in silence. */
Test(api_report, io_as_wished)
{
	struct slf_info info = { .size = sizeof(info) };
	const char *wish = getenv("SOLIFUGE_IO");
	struct slf_db *db = NULL;
	long ring = 0;

	if (!wish)
		cr_skip_test("SOLIFUGE_IO asks for no back end");
	ring = syscall(SYS_io_uring_setup, 1, &(struct io_uring_params){ 0 });
	if (ring < 0 && strcmp(wish, "uring") == 0) {
		proof_not_run("H the public interface by io_uring", strerror(errno));
		cr_skip_test("no io_uring here");
	}
	if (ring >= 0)
		close((int)ring);
	db = open_database(scratch.path, SLF_CREATE);
	cr_assert_eq(slf_info(db, &info), 0);
	cr_assert_str_eq(info.io, wish);
	cr_assert_eq(slf_close(db), 0);
}

/* Who copies or removes a database would miss one of its files, or a path be written past its buffer. */
Test(api_report, spindle_path)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	char further[SCRATCH_PATH_BYTES], path[SCRATCH_PATH_BYTES];
	const char *spindle = scratch_name(&scratch, "further", further);
	struct slf_db *db = NULL;

	options.flags = SLF_CREATE;
	options.spindles = &spindle;
	options.spindle_count = 1;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, SLF_READONLY);
	cr_assert_eq(slf_spindle_path(db, 0, path, sizeof(path)), (int)strlen(scratch.path));
	cr_assert_str_eq(path, scratch.path);
	cr_assert_eq(slf_spindle_path(db, 1, path, sizeof(path)), (int)strlen(further));
	cr_assert_str_eq(path, further);
	memset(path, 'x', sizeof(path));
	cr_assert_eq(slf_spindle_path(db, 1, path, 4), (int)strlen(further));
	cr_assert(!strncmp(path, further, 3) && path[3] == 0 && path[4] == 'x');
	cr_assert_eq(slf_spindle_path(db, 1, NULL, 0), (int)strlen(further));
	cr_assert_eq(slf_spindle_path(db, 1, NULL, 1), -EINVAL);
	cr_assert_eq(slf_spindle_path(db, 2, path, sizeof(path)), -EINVAL);
	cr_assert_eq(slf_close(db), 0);
}

/* A crash would pass for a clean close. */
Test(api_report, info_unclean)
{
	struct slf_info info = { .size = sizeof(info) };
	struct slf_db *db = NULL;
	pid_t child = fork();

	if (child == 0) {
		db_put(open_database(scratch.path, SLF_CREATE), "key", "value");
		child_exit(0);
	}
	cr_assert_eq(child_wait(child), 0);
	db = open_database(scratch.path, 0);
	cr_assert_eq(slf_info(db, &info), 0);
	cr_assert_eq(info.clean, 0);
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_close(db), 0);
}

static void hear_damage(void *context, int level, const char *text)
{
	*(unsigned *)context += level == 3 && strstr(text, scratch.path) && strstr(text, "the newest good commit is 5");
}

/* Acknowledged commits that the damage has taken would just be missing. */
Test(api_report, info_damaged)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_info info = { .size = sizeof(info) };
	struct slf_db *db = NULL;
	unsigned heard = 0;
	pid_t child = fork();

	if (child == 0) {
		db = open_database(scratch.path, SLF_CREATE);
		for (uint64_t i = 1; i <= 12; i++)
			must(db_put(db, i == 6 ? "the sixth" : "key", "value") == i);
		child_exit(0);
	}
	cr_assert_eq(child_wait(child), 0);
	db = open_database(scratch.path, SLF_READONLY);
	cr_assert_eq(slf_info(db, &info), 0);
	cr_assert_eq(info.seq, 12);
	cr_assert_eq(info.damaged, 0);
	cr_assert_eq(slf_close(db), 0);
	file_rot(scratch.path, "the sixth");
	cr_assert_eq(slf_open(scratch.path, NULL, &db), SLF_ECORRUPT);
	options.flags = SLF_READONLY;
	options.log = hear_damage;
	options.log_context = &heard;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	cr_assert_eq(heard, 1);
	cr_assert_eq(slf_info(db, &info), 0);
	cr_assert_eq(info.seq, 5);
	cr_assert_eq(info.damaged, 1);
	cr_assert_eq(slf_close(db), 0);
}

/* Work would not be counted. */
Test(api_report, stats_count)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_stats stats = { .size = sizeof(stats) };
	struct slf_txn *txn = NULL, *old = NULL;
	uint64_t old_seq = db_put(db, "a", "1"), seq = 0;

	old = txn_begin(db, SLF_READ);
	seq = db_put(db, "b", "2");
	txn = txn_begin(db, SLF_WRITE);
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("a")), 0);
	slf_abort(txn);
	cr_assert(db_has(db, "a", "1"));
	cr_assert_eq(slf_checkpoint(db), 0);
	cr_assert_eq(slf_stats(db, &stats), 0);
	cr_assert_geq(stats.txn_commits, 2);
	cr_assert_geq(stats.txn_writes, 3);
	cr_assert_geq(stats.txn_aborts, 1);
	cr_assert_geq(stats.txn_reads, 2);
	cr_assert_geq(stats.ops_put, 2);
	cr_assert_geq(stats.ops_del, 1);
	cr_assert_geq(stats.ops_get, 1);
	cr_assert_geq(stats.commit_groups, 2);
	cr_assert_geq(stats.commit_ns.count, 2);
	cr_assert_geq(stats.commit_ns.sum_ns, stats.commit_ns.max_ns);
	cr_assert_geq(stats.io_writes, 3);
	cr_assert_gt(stats.io_write_bytes, 0);
	cr_assert_geq(stats.log_slabs, 2);
	cr_assert_geq(stats.checkpoints, 1);
	cr_assert_gt(stats.heap_limit_bytes, 0);
	cr_assert_eq(stats.readers, 1);
	cr_assert_eq(stats.oldest_reader_seq, old_seq);
	cr_assert_eq(stats.seq, seq);
	cr_assert_eq(stats.durable_seq, seq);
	cr_assert_eq(stats.checkpoint_seq, seq);
	slf_abort(old);
	cr_assert_eq(slf_stats(db, NULL), -EINVAL);
	stats.size = 3;
	cr_assert_eq(slf_stats(db, &stats), -EINVAL);
	cr_assert_eq(slf_info(db, NULL), -EINVAL);
	cr_assert_eq(slf_errinfo(NULL), -EINVAL);
	cr_assert_eq(slf_stats_format(NULL, 0, NULL, 0), -EINVAL);
	cr_assert_eq(slf_close(db), 0);
}

/* Text or JSON would be cut, miscounted, unparsable or without the numbers. */
Test(api_report, stats_format)
{
	struct slf_stats stats = { .size = sizeof(stats), .txn_commits = 4711, .commit_ns = { .count = 3 } };
	char *buffer = malloc(65536), small[8] = "xxxxxxx";
	int format = 0, depth = 0, i = 0;

	cr_assert_not_null(buffer);
	for (format = SLF_TEXT; format <= SLF_JSON; format++) {
		int length = slf_stats_format(&stats, format, NULL, 0);

		cr_assert_gt(length, 0);
		cr_assert_lt(length, 65536);
		cr_assert_eq(slf_stats_format(&stats, format, small, sizeof(small)), length);
		cr_assert_eq(strlen(small), sizeof(small) - 1);
		cr_assert_eq(slf_stats_format(&stats, format, buffer, 65536), length);
		cr_assert_eq(strlen(buffer), (size_t)length);
		cr_assert_eq(strncmp(buffer, small, sizeof(small) - 1), 0);
		cr_assert_not_null(strstr(buffer, "4711"));
		cr_assert_not_null(strstr(buffer, "txn_commits"));
		cr_assert_not_null(strstr(buffer, "checkpoint_seq"));
	}
	cr_assert_eq(buffer[0], '{');
	cr_assert_not_null(strstr(buffer, "\"txn_commits\""));
	for (i = 0; buffer[i]; i++) {
		depth += buffer[i] == '{' ? 1 : buffer[i] == '}' ? -1 : 0;
		cr_assert(depth > 0 || strspn(buffer + i, "}\n") == strlen(buffer + i), "more than one object");
	}
	cr_assert_eq(depth, 0);
	cr_assert_eq(slf_stats_format(&stats, 99, buffer, 65536), -EINVAL);
	cr_assert_eq(slf_stats_format(&stats, SLF_TEXT, buffer, 65536) > 0, 1);
	cr_assert_not_null(strstr(buffer, "txn_commits 4711\n"));
	free(buffer);
}

/* A failure would not say what it was about, or smaller structs would be overrun. */
Test(api_report, errinfo)
{
	union {
		struct slf_errinfo info;
		unsigned char raw[sizeof(struct slf_errinfo)];
	} u;
	struct slf_db *db = NULL;

	memset(&u, 0, sizeof(u));
	u.info.size = sizeof(u.info);
	cr_assert_eq(slf_errinfo(&u.info), 0);
	cr_assert_eq(u.info.code, 0, "nothing failed yet");
	cr_assert_eq(slf_open(scratch.path, NULL, &db), -ENOENT);
	cr_assert_eq(slf_errinfo(&u.info), 0);
	cr_assert_eq(u.info.code, -ENOENT);
	cr_assert_not_null(strstr(u.info.text, scratch.path), "%s", u.info.text);
	cr_assert_eq(u.info.offset, UINT64_MAX);
	memset(u.raw, 0xa5, sizeof(u.raw));
	u.info.size = offsetof(struct slf_errinfo, spindle);
	cr_assert_eq(slf_errinfo(&u.info), 0);
	cr_assert_eq(u.info.code, -ENOENT);
	cr_assert_eq(u.raw[offsetof(struct slf_errinfo, offset)], 0xa5);
	cr_assert_eq(u.raw[sizeof(u.raw) - 1], 0xa5);
	u.info.size = 1;
	cr_assert_eq(slf_errinfo(&u.info), -EINVAL);
}

/* A code would have no text, or the same as another. */
Test(api_report, strerror)
{
	static const int codes[] = { 0, SLF_NOTFOUND, SLF_END, SLF_ECORRUPT, SLF_EPOISONED, SLF_ECONFLICT,
				     SLF_ENOTRETAINED, SLF_EREADONLY, SLF_ETOOBIG, SLF_EINCOMPATIBLE, SLF_EBADHANDLE,
				     SLF_ECANCELLED, SLF_EARENA, SLF_ELOCKED, SLF_EUNKNOWN, SLF_ENOTDB, -ENOSPC,
				     -ENOENT, -EIO };
	static const int strange[] = { 3, 12345, -4000, -4097, -5000, -5014, -99999, INT_MAX, INT_MIN };
	size_t i = 0, k = 0;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		cr_assert_not_null(slf_strerror(codes[i]));
		cr_assert_gt(strlen(slf_strerror(codes[i])), 1);
		for (k = 0; k < i; k++)
			cr_assert_str_neq(slf_strerror(codes[i]), slf_strerror(codes[k]));
	}
	for (i = 0; i < sizeof(strange) / sizeof(strange[0]); i++)
		cr_assert_gt(strlen(slf_strerror(strange[i])), 1);
}

/* The library would not say which version runs. */
Test(api_report, version)
{
	char expected[32] = "";

	snprintf(expected, sizeof(expected), "%d.%d.%d", SLF_VERSION_MAJOR, SLF_VERSION_MINOR, SLF_VERSION_PATCH);
	cr_assert_str_eq(slf_version(), expected);
}

struct heard {
	unsigned progress, log;
	unsigned stop_at; /* the call with this number stops the opening; 0: none does */
	bool wrong;
};

#define HOUR_NS ((uint64_t)3600 * 1000000000)

static int hear_progress(void *context, const struct slf_progress *progress)
{
	struct heard *heard = context;

	heard->progress++;
	heard->wrong |= progress->size != sizeof(*progress) || !progress->phase || !*progress->phase ||
			(progress->total && progress->done > progress->total);
	heard->wrong |= progress->left_ns && (progress->done >= progress->total || progress->left_ns > HOUR_NS);
	return heard->progress == heard->stop_at;
}

static void hear_log(void *context, int level, const char *line)
{
	struct heard *heard = context;

	heard->log++;
	heard->wrong |= level < 3 || level > 6 || !line || !*line || line[strlen(line) - 1] == '\n';
}

/* Recovery of a long log would run in silence. */
Test(api_report, callbacks)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct heard heard = { 0 };
	struct slf_db *db = NULL;
	pid_t child = fork();
	int i = 0;

	if (child == 0) {
		options.flags = SLF_CREATE;
		options.sync = SLF_SYNC_NONE;
		must_work(slf_open(scratch.path, &options, &db));
		for (i = 0; i < 2000; i++)
			db_put(db, "key", "value");
		must_work(slf_sync(db, NULL));
		child_exit(0);
	}
	cr_assert_eq(child_wait(child), 0);
	options.progress = hear_progress;
	options.progress_context = &heard;
	options.log = hear_log;
	options.log_context = &heard;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	cr_assert_gt(heard.progress, 0);
	cr_assert(db_has(db, "key", "value"));
	cr_assert_eq(slf_close(db), 0);
	cr_assert_not(heard.wrong);
}

/* Who has no time for a long recovery would have to end the process; or what was stopped would leave descriptors, or
 * a new database that is none, or take commits with it. */
Test(api_report, progress_stops_the_opening)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct heard heard = { .stop_at = 1 };
	char fresh[SCRATCH_PATH_BYTES];
	struct slf_db *db = NULL;
	unsigned descriptors = 0;
	int result = -ECANCELED;
	pid_t child = fork();

	if (child == 0) {
		db = open_database(scratch.path, SLF_CREATE);
		for (unsigned i = 0; i < 12; i++)
			db_put(db, i ? "key" : "first", "value");
		child_exit(0);
	}
	cr_assert_eq(child_wait(child), 0);
	options.progress = hear_progress;
	options.progress_context = &heard;
	options.flags = SLF_CREATE;
	descriptors = process_count("fd");
	cr_assert_eq(slf_open(scratch_name(&scratch, "fresh", fresh), &options, &db), -ECANCELED);
	cr_assert_eq(access(fresh, F_OK), -1, "it was created");
	for (unsigned n = 1; result == -ECANCELED; n++) {
		heard = (struct heard){ .stop_at = n };
		result = slf_open(scratch.path, &options, &db);
		cr_assert_eq(result, heard.progress < n ? 0 : -ECANCELED, "call %u", n);
		cr_assert_leq(heard.progress, n, "it was tried again");
		cr_assert_not(heard.wrong);
		cr_assert(result == 0 || process_count("fd") == descriptors);
	}
	cr_assert_gt(heard.progress, 12);
	cr_assert(db_has(db, "first", "value") && db_has(db, "key", "value"));
	cr_assert_eq(slf_close(db), 0);
}

/* The text of an earlier failure would be shown for one that has none of its own. */
Test(api_report, every_failure_has_its_text)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE), *reader = NULL;
	struct slf_txn *writer = NULL, *txn = NULL;
	struct slf_stats stats = { .size = sizeof(stats) };
	uint64_t seq = 0;

	writer = txn_begin(db, SLF_WRITE);
	must_work(slf_put(writer, SLF_MAIN, text("key"), text("value")));
	must_work(slf_commit(writer, &seq));
	reader = open_database(scratch.path, SLF_READONLY);
	must_work(slf_wait(reader, seq, 0)); /* what it has found is durable */
	writer = txn_begin(db, SLF_WRITE);
	must_work(slf_put(writer, SLF_MAIN, text("key"), text("other")));
	for (unsigned i = 0; i < 5; i++) {
		struct slf_errinfo info = { .size = sizeof(info) };
		int result = 0;

		cr_assert_eq(slf_txn_trim(NULL), -EINVAL); /* the earlier failure */
		if (i == 0)
			result = slf_begin(db, SLF_WRITE | SLF_TRY, &txn);
		else if (i == 1)
			result = slf_begin_timeout(db, SLF_WRITE, 1000, &txn);
		else if (i == 2)
			result = slf_stats_format(&stats, 77, NULL, 0);
		else if (i == 3)
			result = slf_stats_format(&stats, SLF_TEXT, NULL, 10);
		else
			result = slf_wait(reader, 1000000, 0);
		cr_assert_eq(result, ((int[]){ -EBUSY, -ETIMEDOUT, -EINVAL, -EINVAL, SLF_ENOTRETAINED })[i], "case %u: %d", i, result);
		must_work(slf_errinfo(&info));
		cr_assert_eq(info.code, result, "case %u: %d", i, info.code);
		cr_assert_not_null(strstr(info.text, ((const char *[]){ "another transaction", "another transaction", "slf_stats_format",
									"slf_stats_format", "read-only handle" })[i]), "%s",
				   info.text);
	}
	must_work(slf_commit(writer, &seq));
	cr_assert_eq(slf_wait(reader, seq, 0), SLF_ENOTRETAINED, "what it cannot know");
	must_work(slf_close(reader));
	must_work(slf_close(db));
}
