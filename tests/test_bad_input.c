/* SPDX-License-Identifier: MIT */
/*
 * What the library is given that is no database, no longer one, not yet one, or not to be had: each case has to end in
 * a stable code and a text that names the file (and the offset where there is one), with the file as it was, no
 * descriptor and no thread left behind.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "codec.h"
#include "entry.h"
#include "format.h"
#include "meta.h"
#include "scratch.h"
#include "solifuge.h"

#define NOBODY 65534
#define KEYS 2000

static struct scratch scratch;
static char mount_point[SCRATCH_PATH_BYTES];

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	if (mount_point[0])
		(void)umount2(mount_point, MNT_DETACH);
	scratch_release(&scratch);
}

TestSuite(bad_input, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---- Files as bytes ---------------------------------------------------------------------------------------------- */

static void file_patch(const char *path, uint64_t offset, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	must(fd >= 0 && pwrite(fd, data, size, (off_t)offset) == (ssize_t)size);
	must(close(fd) == 0);
}

/* Names in a directory. */
static unsigned files_count(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry = NULL;
	unsigned count = 0;

	must(directory != NULL);
	while ((entry = readdir(directory)))
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static void key_make(char *key, int i)
{
	sprintf(key, "key %06d of the test", i);
}

/* A database with KEYS entries, closed cleanly, so that its leaves are in bulk. */
static void database_make(const char *path)
{
	struct slf_db *db = open_database(path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char key[32] = "";
	int i = 0;

	for (i = 0; i < KEYS; i++) {
		key_make(key, i);
		must_work(slf_put(txn, SLF_MAIN, text(key), text(key)));
	}
	must_work(slf_commit(txn, NULL));
	must_work(slf_close(db));
}

/* ---- Refusals ---------------------------------------------------------------------------------------------------- */

static struct slf_errinfo kept;

/* Keeps the last failure for expect_errinfo: the next call will note one of its own. */
static void failure_keep(void)
{
	kept.size = sizeof(kept);
	must_work(slf_errinfo(&kept));
}

/* The thread's last failure: its code, a text with the path and some words, as long as they are more than the path. */
static void expect_errinfo(int code, const char *path)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	cr_assert_eq(slf_errinfo(&info), 0);
	if (info.code == SLF_ECANCELLED)
		info = kept;
	cr_assert_eq(info.code, code, "%d (%s)", info.code, info.text);
	cr_assert_not_null(strstr(info.text, path), "no path: %s", info.text);
	cr_assert_gt(strlen(info.text), strlen(path) + 8, "no reason: %s", info.text);
}

/* Opens path, which has to fail with code and leave no trace. unchanged: path is a file whose bytes have to stay. */
static void refuse(const char *path, unsigned flags, int code, bool unchanged)
{
	unsigned threads = process_count("task"), descriptors = 0, files = files_count(scratch.directory);
	struct file_bytes before = { 0 }, after = { 0 };
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	int result = 0, io = 0;

	if (unchanged)
		before = file_read(path);
	for (io = SLF_IO_DEFAULT; io <= SLF_IO_POSIX; io += SLF_IO_POSIX) {
		options.flags = flags;
		options.io = io;
		descriptors = process_count("fd");
		result = slf_open(path, &options, &db);
		cr_assert_eq(result, code, "%s: %d instead of %d", path, result, code);
		cr_assert_null(db);
		expect_errinfo(code, path);
		cr_assert_eq(process_count("fd"), descriptors, "a descriptor is left");
		cr_assert(threads_within(threads), "a thread is left");
		cr_assert_eq(files_count(scratch.directory), files, "a file is left");
	}
	if (!unchanged)
		return;
	after = file_read(path);
	cr_assert_eq(before.size, after.size);
	cr_assert_eq(memcmp(before.data, after.data, before.size), 0, "the file has changed");
	free(before.data);
	free(after.data);
}

/* In every way of opening. */
static void refuse_all(const char *path, int code)
{
	refuse(path, 0, code, true);
	refuse(path, SLF_CREATE, code, true);
	refuse(path, SLF_READONLY, code, true);
	refuse(path, SLF_READONLY | SLF_NO_MAP, code, true);
}

/* A file of another program would be taken over, or opened as an empty database. */
Test(bad_input, foreign_files)
{
	static const char sqlite[4096] = "SQLite format 3\0\x10\0\1\1\0\x40\x20\x20";
	static const char zeros[200000];
	char *line = malloc(200000);

	must(line != NULL);
	memset(line, 'x', 200000);
	file_write(scratch.path, "", 0);
	refuse_all(scratch.path, SLF_ENOTDB);
	file_write(scratch.path, "S", 1);
	refuse_all(scratch.path, SLF_ENOTDB);
	file_write(scratch.path, "hello, this is a text\n", 22);
	refuse_all(scratch.path, SLF_ENOTDB);
	file_write(scratch.path, line, 200000);
	refuse_all(scratch.path, SLF_ENOTDB);
	file_write(scratch.path, sqlite, sizeof(sqlite));
	refuse_all(scratch.path, SLF_ENOTDB);
	file_write(scratch.path, zeros, 4096);
	refuse_all(scratch.path, SLF_ENOTDB);
	file_write(scratch.path, zeros, sizeof(zeros));
	refuse_all(scratch.path, SLF_ENOTDB);
	free(line);
}

/* A database whose magic is gone from both pages would pass for one, or be made anew. */
Test(bad_input, wrong_magic)
{
	database_make(scratch.path);
	file_patch(scratch.path, META_PAGE_A, "solifuge", 8);
	file_patch(scratch.path, META_PAGE_B, "solifuge", 8);
	refuse_all(scratch.path, SLF_ENOTDB);
}

/* A damaged metadata page would be believed, or one that is whole not be used. */
Test(bad_input, metadata_pages)
{
	struct slf_db *db = NULL;

	database_make(scratch.path);
	file_patch(scratch.path, META_PAGE_A + 200, "rot", 3);
	db = open_database(scratch.path, SLF_READONLY);
	cr_assert(db_has(db, "key 000000 of the test", "key 000000 of the test"));
	cr_assert_eq(slf_close(db), 0);
	file_patch(scratch.path, META_PAGE_B + 300, "rot", 3);
	refuse_all(scratch.path, SLF_ECORRUPT);
}

/* A database with the magic gone from one page and rot in the other would be told to be none. */
Test(bad_input, one_page_foreign_and_one_damaged)
{
	for (unsigned foreign = 0; foreign < 2; foreign++) {
		unlink(scratch.path);
		database_make(scratch.path);
		file_patch(scratch.path, foreign ? META_PAGE_B : META_PAGE_A, "solifuge", 8);
		file_patch(scratch.path, (foreign ? META_PAGE_A : META_PAGE_B) + 200, "rot", 3);
		refuse_all(scratch.path, SLF_ECORRUPT);
	}
}

/* A directory or a pipe would be opened, or the open would hang. */
Test(bad_input, not_a_file)
{
	char path[SCRATCH_PATH_BYTES];

	alarm(30);
	cr_assert_eq(mkdir(scratch.path, 0700), 0);
	refuse(scratch.path, 0, -EISDIR, false);
	refuse(scratch.path, SLF_CREATE, -EISDIR, false);
	refuse(scratch.path, SLF_READONLY, -EISDIR, false);
	scratch_name(&scratch, "pipe", path);
	cr_assert_eq(mkfifo(path, 0600), 0);
	refuse(path, 0, SLF_ENOTDB, false);
	refuse(path, SLF_CREATE, SLF_ENOTDB, false);
	refuse(path, SLF_READONLY, SLF_ENOTDB, false);
}

/* A symbolic link would lead the library into a file that its caller never meant. */
Test(bad_input, symbolic_link)
{
	char path[SCRATCH_PATH_BYTES];

	database_make(scratch.path);
	scratch_name(&scratch, "link", path);
	cr_assert_eq(symlink(scratch.path, path), 0);
	refuse(path, 0, -ELOOP, true);
	refuse(path, SLF_READONLY, -ELOOP, true);
	scratch_name(&scratch, "dangling", path);
	cr_assert_eq(symlink("nowhere", path), 0);
	refuse(path, SLF_CREATE, -ELOOP, false);
	cr_assert_eq(access(scratch_name(&scratch, "nowhere", path), F_OK), -1);
}

/* A path into nothing would make directories, or say nothing of the path. */
Test(bad_input, missing)
{
	char path[SCRATCH_PATH_BYTES];

	refuse(scratch.path, 0, -ENOENT, false);
	refuse(scratch.path, SLF_READONLY, -ENOENT, false);
	scratch_name(&scratch, "no/such/directory", path);
	refuse(path, SLF_CREATE, -ENOENT, false);
	file_write(scratch.path, "file", 4);
	snprintf(path, sizeof(path), "%.400s/below", scratch.path);
	refuse(path, SLF_CREATE, -ENOTDIR, false);
}

/* ---- Permission, space, other writers ---------------------------------------------------------------------------- */

/* Is the thread's last failure told with the path and the reason? For children, which have no asserts. */
static bool is_told(int code, const char *path, const char *reason)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	must_work(slf_errinfo(&info));
	if (info.code == code && strstr(info.text, path) && strstr(info.text, reason))
		return true;
	fprintf(stderr, "%d (%s), not %d, %s and %s\n", info.code, info.text, code, path, reason);
	return false;
}

static void as_nobody(const char *path, const char *readable)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;

	must(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
	must(slf_open(path, NULL, &db) == -EACCES && is_told(-EACCES, path, "Permission denied"));
	options.flags = SLF_READONLY;
	must(slf_open(path, &options, &db) == -EACCES && is_told(-EACCES, path, "Permission denied"));
	options.flags = SLF_CREATE;
	must(slf_open(path, &options, &db) == -EACCES && is_told(-EACCES, path, "Permission denied"));
	/* A file that may be read, in a directory that may not be written: reading works, writing does not. */
	must(slf_open(readable, NULL, &db) == -EACCES && is_told(-EACCES, readable, "Permission denied"));
	options.flags = SLF_READONLY;
	must_work(slf_open(readable, &options, &db));
	must(db_has(db, "key 000007 of the test", "key 000007 of the test"));
	must_work(slf_close(db));
	child_exit(0);
}

/* Someone without permission would get in, or a reader need the permission to write. */
Test(bad_input, no_permission)
{
	char readable[SCRATCH_PATH_BYTES];
	pid_t child = 0;

	if (geteuid() != 0)
		cr_skip_test("needs root, to become someone else");
	database_make(scratch.path);
	database_make(scratch_name(&scratch, "readable", readable));
	cr_assert_eq(chmod(scratch.path, 0), 0);
	cr_assert_eq(chmod(readable, 0444), 0);
	cr_assert_eq(chmod(scratch.directory, 0755), 0);
	child = fork();
	if (child == 0)
		as_nobody(scratch.path, readable);
	cr_assert_eq(child_wait(child), 0);
}

/* A second process would write into the same file. */
Test(bad_input, second_writer)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	pid_t child = fork();

	if (child == 0) {
		struct slf_db *other = NULL;
		unsigned descriptors = process_count("fd"), threads = process_count("task");
		char owner[64] = "";

		snprintf(owner, sizeof(owner), "pid %d has the database open for writing", (int)getppid());
		must(slf_open(scratch.path, NULL, &other) == SLF_ELOCKED && is_told(SLF_ELOCKED, scratch.path, owner));
		must(process_count("fd") == descriptors && threads_within(threads));
		child_exit(0);
	}
	cr_assert_eq(child_wait(child), 0);
	refuse(scratch.path, 0, SLF_ELOCKED, false);
	db_put(db, "the first", "goes on");
	cr_assert_eq(slf_close(db), 0);
}

/* Fills db until a put or commit fails: its code. The number of the last acknowledged commit goes to *last. */
static int fill(struct slf_db *db, unsigned *last)
{
	unsigned char *junk = malloc(20000);
	int result = 0;

	must(junk != NULL);
	while (result == 0) {
		struct slf_txn *txn = NULL;
		unsigned n = *last + 1;

		must(n < 5000); /* 100 MB have gone into what has less room */
		bytes_fill(junk, 20000, n, false);
		result = slf_begin(db, SLF_WRITE, &txn);
		if (result == 0)
			result = slf_put(txn, SLF_MAIN, bytes(&n, sizeof(n)), bytes(junk, 20000));
		if (result == 0) {
			result = slf_commit(txn, NULL);
		} else if (txn) {
			failure_keep();
			must(slf_put(txn, SLF_MAIN, text("key"), text("value")) == SLF_ECANCELLED);
			slf_abort(txn);
		}
		*last += result == 0;
	}
	free(junk);
	return result;
}

/* All acknowledged commits, and none beyond them. */
static void check_filled(struct slf_db *db, unsigned last)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	unsigned char *junk = malloc(20000);
	struct slf_slice value = { 0 };
	unsigned n = 0;

	must(junk != NULL);
	for (n = 1; n <= last; n++) {
		bytes_fill(junk, 20000, n, false);
		cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(&n, sizeof(n)), &value), 0, "commit %u is lost", n);
		cr_assert(slice_is(value, junk, 20000));
		if (n % 100 == 0)
			cr_assert_eq(slf_txn_trim(txn), 0);
	}
	cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(&n, sizeof(n)), &value), SLF_NOTFOUND, "a failed commit is there");
	free(junk);
	slf_abort(txn);
}

/* A small tmpfs over a directory of its own, that only this process sees and that ends with it; skips the test where
 * that is not allowed. */
static void mount_small(const char *options)
{
	scratch_name(&scratch, "small", mount_point);
	cr_assert_eq(mkdir(mount_point, 0700), 0);
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("tmpfs", mount_point, "tmpfs", 0, options) == 0)
		return;
	mount_point[0] = 0;
	cr_skip_test("needs to mount a tmpfs");
}

/* A full disk would lose what had been acknowledged, poison the database, or keep it from going on with new space. */
Test(bad_input, no_space)
{
	char path[SCRATCH_PATH_BYTES], ballast[SCRATCH_PATH_BYTES];
	struct file_bytes filler = { .data = calloc(1, 16 << 20), .size = 16 << 20 };
	struct slf_db *db = NULL;
	unsigned last = 0, more = 0;

	must(filler.data != NULL);
	mount_small("size=32m");
	snprintf(path, sizeof(path), "%.400s/db", mount_point);
	snprintf(ballast, sizeof(ballast), "%.400s/ballast", mount_point);
	file_write(ballast, filler.data, filler.size);
	free(filler.data);
	db = open_database(path, SLF_CREATE);
	cr_assert_eq(fill(db, &last), -ENOSPC);
	expect_errinfo(-ENOSPC, path);
	cr_assert_gt(last, 10);
	check_filled(db, last);
	cr_assert_eq(unlink(ballast), 0);
	more = last;
	cr_assert_eq(fill(db, &more), -ENOSPC);
	cr_assert_gt(more, last + 10, "it does not go on when there is space again");
	check_filled(db, more);
	(void)slf_close(db); /* may fail: there is no space for a checkpoint */
	db = open_database(path, SLF_READONLY);
	check_filled(db, more);
	cr_assert_eq(slf_close(db), 0);
}

/* A writer that is refused behind its locks would change the database; the file that it locks it has to make. */
Test(bad_input, refused_without_side_file)
{
	char side[SCRATCH_PATH_BYTES], log[SCRATCH_PATH_BYTES];
	struct slf_db *db = NULL;
	unsigned files = 0;

	database_make(scratch.path);
	cr_assert_eq(unlink(scratch_name(&scratch, "db" SIDE_SUFFIX, side)), 0);
	files = files_count(scratch.directory);
	file_patch(scratch.path, META_PAGE_A + 200, "rot", 3);
	file_patch(scratch.path, META_PAGE_B + 300, "rot", 3);
	refuse_all(scratch.path, SLF_ECORRUPT);
	cr_assert_eq(files_count(scratch.directory), files, "refused for its pages: nothing was locked");
	database_make(scratch_name(&scratch, "log", log));
	cr_assert_eq(unlink(scratch_name(&scratch, "log" SIDE_SUFFIX, side)), 0);
	files = files_count(scratch.directory);
	cr_assert_eq(truncate(log, 131072), 0);
	refuse(log, SLF_READONLY, SLF_ECORRUPT, true);
	cr_assert_eq(files_count(scratch.directory), files, "a reader locks nothing");
	cr_assert_eq(slf_open(log, NULL, &db), SLF_ECORRUPT);
	cr_assert_eq(files_count(scratch.directory), files + 1, "only the side file");
	cr_assert_eq(access(side, F_OK), 0);
	refuse(log, 0, SLF_ECORRUPT, true);
}

/* A creation that fails for space would leave half a database. */
Test(bad_input, no_space_to_create)
{
	char path[SCRATCH_PATH_BYTES], options[32];
	struct slf_db *db = NULL;
	unsigned refused = 0, kib = 0;
	int result = -ENOSPC;

	mount_small("size=16k");
	snprintf(path, sizeof(path), "%.400s/db", mount_point);
	refuse(path, SLF_CREATE, -ENOSPC, false);
	for (kib = 4; result == -ENOSPC; kib += 4) {
		must(kib < 8192);
		snprintf(options, sizeof(options), "size=%uk", kib);
		must(mount(NULL, mount_point, NULL, MS_REMOUNT, options) == 0);
		result = slf_open(path, &(struct slf_options){ .size = sizeof(struct slf_options), .flags = SLF_CREATE }, &db);
		cr_assert(result == 0 || files_count(mount_point) == 0, "%u KiB: a file is left", kib);
		refused += result == -ENOSPC;
	}
	cr_assert_eq(result, 0);
	cr_assert_geq(refused, 4);
	cr_assert_eq(slf_close(db), 0);
}

/* A file size limit would end the process by SIGXFSZ, or be told as something else. */
Test(bad_input, file_limit)
{
	struct rlimit old = { 0 }, limit = { 0 };
	struct slf_db *db = NULL;
	unsigned last = 0;

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){ .rlim_cur = 8 << 20, .rlim_max = old.rlim_max };
	db = open_database(scratch.path, SLF_CREATE);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_eq(fill(db, &last), -EFBIG);
	expect_errinfo(-EFBIG, scratch.path);
	check_filled(db, last);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	db_put(db, "after", "the limit");
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, 0);
	check_filled(db, last);
	cr_assert(db_has(db, "after", "the limit"));
	cr_assert_eq(slf_close(db), 0);
}

/* ---- Damage ------------------------------------------------------------------------------------------------------ */

/* Reads all keys: no answer may be wrong. The number of keys that could not be read. */
static int damaged_keys(struct slf_db *db, const char *path)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	int i = 0, damaged = 0;

	for (i = 0; i < KEYS; i++) {
		struct slf_slice value = { 0 };
		char key[32] = "";
		int result = 0;

		key_make(key, i);
		result = slf_get(txn, SLF_MAIN, text(key), &value);
		if (result == 0) {
			cr_assert(slice_is(value, key, strlen(key)), "a wrong answer");
			continue;
		}
		cr_assert_eq(result, SLF_ECORRUPT);
		expect_errinfo(SLF_ECORRUPT, path);
		damaged++;
	}
	slf_abort(txn);
	return damaged;
}

/* A file that ends too early would crash the reader (SIGBUS), or give wrong answers. */
Test(bad_input, truncated)
{
	static const long lengths[] = { 1, 7, 8, 100, 4095, 4096,  5000, 65536,
		   69632, 131072, 131073, 140000, -2,   -4096, -1 };
	size_t i = 0;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct slf_options options = SLF_OPTIONS_INIT;
		struct slf_errinfo info = { .size = sizeof(info) };
		struct stat status = { 0 };
		struct slf_db *db = NULL;
		long length = lengths[i];
		int result = 0;

		(void)unlink(scratch.path);
		database_make(scratch.path);
		cr_assert_eq(stat(scratch.path, &status), 0);
		length = length == -2 ? status.st_size / 2 : length < 0 ? status.st_size + length : length;
		cr_assert_eq(truncate(scratch.path, length), 0);
		options.flags = i & 1 ? SLF_READONLY : SLF_READONLY | SLF_NO_MAP;
		result = slf_open(scratch.path, &options, &db);
		if (result == 0) { /* what was cut off may have been room that nothing lived in */
			cr_assert_gt(length, 131072);
			(void)damaged_keys(db, scratch.path);
			cr_assert_eq(slf_close(db), 0);
			continue;
		}
		cr_assert(result == SLF_ECORRUPT || (length < META_PAGE_BYTES && result == SLF_ENOTDB),
			  "length %ld gave %d", length, result);
		(void)slf_errinfo(&info);
		refuse_all(scratch.path, result);
		cr_assert(result == SLF_ENOTDB || strstr(info.text, "offset"), "length %ld: no offset: %s", length, info.text);
	}
}

/* A further spindle that is missing, foreign or of another database would go unnoticed. */
Test(bad_input, spindles)
{
	char names[2][SCRATCH_PATH_BYTES], other[SCRATCH_PATH_BYTES];
	const char *first = scratch_name(&scratch, "one", names[0]), *second = scratch_name(&scratch, "two", names[1]);
	struct slf_options options = SLF_OPTIONS_INIT;
	struct file_bytes before = { 0 }, after = { 0 };
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db = NULL;

	options.flags = SLF_CREATE;
	options.spindles = &first;
	options.spindle_count = 1;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	cr_assert_eq(slf_close(db), 0);
	options.spindles = &second;
	cr_assert_eq(slf_open(scratch_name(&scratch, "other", other), &options, &db), 0);
	cr_assert_eq(slf_close(db), 0);
	before = file_read(scratch.path);
	cr_assert_eq(rename(first, scratch_name(&scratch, "away", other)), 0);
	cr_assert_eq(slf_open(scratch.path, NULL, &db), -ENOENT);
	expect_errinfo(-ENOENT, first);
	cr_assert_eq(rename(second, first), 0);
	cr_assert_eq(slf_open(scratch.path, NULL, &db), SLF_ECORRUPT, "the spindle of another database");
	expect_errinfo(SLF_ECORRUPT, first);
	must_work(slf_errinfo(&info));
	cr_assert_not_null(strstr(info.text, "spindle 1 of another database, not spindle 1 of this one"), "%s", info.text);
	file_write(first, "hello", 5);
	cr_assert_lt(slf_open(scratch.path, NULL, &db), -4096);
	cr_assert_eq(rename(other, first), 0);
	after = file_read(scratch.path);
	cr_assert_eq(after.size, before.size);
	cr_assert_eq(memcmp(before.data, after.data, before.size), 0);
	free(before.data);
	free(after.data);
	db = open_database(scratch.path, 0);
	cr_assert_eq(slf_close(db), 0);
}

/* Changes both metadata pages of the database at path as change says. */
static void meta_patch(const char *path, void (*change)(struct meta *meta))
{
	struct file_bytes content = file_read(path);
	uint16_t slot = 0;

	for (slot = 0; slot < 2; slot++) {
		uint64_t offset = slot ? META_PAGE_B : META_PAGE_A;
		unsigned char page[META_PAGE_BYTES];
		const char *reason = NULL;
		struct meta meta;

		cr_assert_eq(meta_decode(content.data + offset, slot, &meta, &reason), META_GOOD, "%s", reason);
		change(&meta);
		meta_encode(page, &meta);
		file_patch(path, offset, page, sizeof(page));
	}
	free(content.data);
}

static void newer_version(struct meta *meta)
{
	meta->version = FORMAT_VERSION + 1;
}

static void newer_incompat(struct meta *meta)
{
	meta->incompat |= (uint64_t)1 << 41;
}

static void newer_ro_compat(struct meta *meta)
{
	meta->ro_compat |= (uint64_t)1 << 42;
}

static void newer_compression(struct meta *meta)
{
	meta->compression = 77;
}

static void newer_flag(struct meta *meta)
{
	meta->flags |= 0x4000;
}

static void newer_compat(struct meta *meta)
{
	meta->compat |= (uint64_t)1 << 43;
}

/* A format of the future would be misread, or written without what it needs. */
Test(bad_input, newer_formats)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	char paths[6][SCRATCH_PATH_BYTES];
	struct slf_db *db = NULL;

	database_make(scratch_name(&scratch, "version", paths[0]));
	meta_patch(paths[0], newer_version);
	refuse_all(paths[0], SLF_EINCOMPATIBLE);
	(void)slf_errinfo(&info);
	cr_assert_not_null(strstr(info.text, "2"), "which version: %s", info.text);
	database_make(scratch_name(&scratch, "incompat", paths[1]));
	meta_patch(paths[1], newer_incompat);
	refuse_all(paths[1], SLF_EINCOMPATIBLE);
	(void)slf_errinfo(&info);
	cr_assert(strstr(info.text, "41") || strstr(info.text, "20000000000"), "which bit: %s", info.text);
	database_make(scratch_name(&scratch, "compression", paths[4]));
	meta_patch(paths[4], newer_compression);
	refuse_all(paths[4], SLF_EINCOMPATIBLE);
	(void)slf_errinfo(&info);
	cr_assert_not_null(strstr(info.text, "compression 77"), "%s", info.text);
	database_make(scratch_name(&scratch, "flag", paths[5]));
	meta_patch(paths[5], newer_flag);
	refuse_all(paths[5], SLF_EINCOMPATIBLE);
	database_make(scratch_name(&scratch, "ro_compat", paths[2]));
	meta_patch(paths[2], newer_ro_compat);
	refuse(paths[2], 0, SLF_EINCOMPATIBLE, true);
	db = open_database(paths[2], SLF_READONLY);
	cr_assert_eq(damaged_keys(db, paths[2]), 0);
	cr_assert_eq(slf_close(db), 0);
	database_make(scratch_name(&scratch, "compat", paths[3]));
	meta_patch(paths[3], newer_compat);
	db = open_database(paths[3], 0);
	cr_assert_eq(damaged_keys(db, paths[3]), 0);
	cr_assert_eq(slf_close(db), 0);
}

static void leaf_small(struct meta *meta)
{
	meta->leaf_bytes = 255;
}

static void leaf_large(struct meta *meta)
{
	meta->leaf_bytes = 65537;
}

static void branch_small(struct meta *meta)
{
	meta->branch_bytes = 255;
}

static void branch_large(struct meta *meta)
{
	meta->branch_bytes = 65537;
}

static void inline_large(struct meta *meta)
{
	meta->inline_bytes = 4097;
}

static void sector_small(struct meta *meta)
{
	meta->sector = 256;
}

static void sector_large(struct meta *meta)
{
	meta->sector = 131072;
}

static void sector_odd(struct meta *meta)
{
	meta->sector = 513;
}

static void bulk_small(struct meta *meta)
{
	meta->bulk_bytes = meta->inline_bytes;
}

static void bulk_large(struct meta *meta)
{
	meta->bulk_bytes = MIB + 1;
}

static void table_large(struct meta *meta)
{
	meta->table_bytes = META_TABLE_BYTES + 1;
}

/* Says in both pages that there are so many spindles, what no encoder would write. */
static void count_patch(const char *path, uint16_t count)
{
	struct file_bytes content = file_read(path);

	for (unsigned slot = 0; slot < 2; slot++) {
		uint64_t offset = slot ? META_PAGE_B : META_PAGE_A;
		unsigned char *page = content.data + offset;

		put_u16(page + 82, count);
		put_u64(page + META_PAGE_BYTES - 8, XXH3_64bits_withSeed(page, META_PAGE_BYTES - 8,
									 format_seed(page + 40) ^ position_make(0, offset)));
		file_patch(path, offset, page, META_PAGE_BYTES);
	}
	free(content.data);
}

/* A page that somebody has sealed with other settings would make the library write beyond its buffers. */
Test(bad_input, settings_out_of_range)
{
	static const struct {
		void (*make)(struct meta *meta);
		const char *reason;
	} changes[] = {
		{ leaf_small, "an impossible node size" },
		{ leaf_large, "an impossible node size" },
		{ branch_small, "an impossible node size" },
		{ branch_large, "an impossible node size" },
		{ inline_large, "an impossible inline size" },
		{ sector_small, "an impossible sector size" },
		{ sector_large, "an impossible sector size" },
		{ sector_odd, "an impossible sector size" },
		{ bulk_small, "an impossible size of values for bulk" },
		{ bulk_large, "an impossible size of values for bulk" },
		{ table_large, "an impossible spindle table size" },
	};
	const size_t count = sizeof(changes) / sizeof(changes[0]);

	for (size_t i = 0; i < 2 * count + 4; i++) {
		const char *reason = i < 2 * count ? changes[i / 2].reason : "an impossible spindle index or count";
		struct slf_errinfo info = { .size = sizeof(info) };
		char name[32], path[SCRATCH_PATH_BYTES];

		snprintf(name, sizeof(name), "settings%zu", i);
		database_make(scratch_name(&scratch, name, path));
		if (i % 2) /* of a page with features that may be ignored nothing else is known */
			meta_patch(path, newer_compat);
		if (i < 2 * count)
			meta_patch(path, changes[i / 2].make);
		else
			count_patch(path, i < 2 * count + 2 ? 0 : SPINDLES_MAX + 1);
		refuse(path, 0, SLF_ECORRUPT, true);
		refuse(path, SLF_READONLY, SLF_ECORRUPT, true);
		cr_assert_eq(slf_errinfo(&info), 0);
		cr_assert_not_null(strstr(info.text, reason), "%zu: %s", i, info.text);
	}
}

/* The offset of needle in a bulk extent: 0 when it is in none. */
static uint64_t bulk_find(const struct file_bytes *content, const char *needle)
{
	uint64_t extent = 0;

	for (extent = EXTENT_BYTES; extent + EXTENT_HEADER_BYTES <= content->size; extent += EXTENT_BYTES) {
		size_t size = content->size - extent < EXTENT_BYTES ? content->size - extent : EXTENT_BYTES;
		const unsigned char *found = NULL;

		if (get_u64(content->data + extent + 8) != EXTENT_MAGIC || content->data[extent + 32] != STREAM_BULK)
			continue;
		found = memmem(content->data + extent, size, needle, strlen(needle));
		if (found)
			return (uint64_t)(found - content->data);
	}
	return 0;
}

/* A flipped bit in a leaf would be served, or the error not say where it is. */
Test(bad_input, flipped_leaf)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	struct file_bytes content = { 0 };
	struct slf_cursor *cursor = NULL;
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;
	uint64_t offset = 0;
	int result = 0, damaged = 0, way = 0;

	database_make(scratch.path);
	content = file_read(scratch.path);
	offset = bulk_find(&content, "key 001234 of the test");
	cr_assert_gt(offset, 0, "the leaf is not where the format says");
	content.data[offset + 9] ^= 4;
	file_patch(scratch.path, offset + 9, content.data + offset + 9, 1);
	free(content.data);
	for (way = 0; way < 3; way++) {
		db = open_database(scratch.path, way == 0 ? SLF_READONLY : way == 1 ? SLF_READONLY | SLF_NO_MAP : 0);
		damaged = damaged_keys(db, scratch.path);
		cr_assert(damaged > 0 && damaged < KEYS / 10, "%d keys cannot be read", damaged);
		txn = txn_begin(db, SLF_READ);
		cr_assert_eq(slf_get(txn, SLF_MAIN, text("key 001234 of the test"), NULL), SLF_ECORRUPT);
		cr_assert_eq(slf_errinfo(&info), 0);
		cr_assert_eq(info.spindle, 0);
		cr_assert(info.offset <= offset && offset - info.offset < 64 * KIB, "%s", info.text);
		cr_assert_not_null(strstr(info.text, scratch.path));
		cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, NULL, &cursor), 0);
		do {
			result = slf_cursor_next(cursor, NULL, NULL);
		} while (result == 0);
		cr_assert_eq(result, SLF_ECORRUPT, "a scan passes over the damage");
		slf_cursor_close(cursor);
		slf_abort(txn);
		if (way == 2) { /* a put that is looked up with others, at the latest by the commit */
			txn = txn_begin(db, SLF_WRITE);
			cr_assert_eq(slf_put(txn, SLF_MAIN, text("key 001234 of the test"), text("new")), 0);
			cr_assert_eq(slf_commit(txn, NULL), SLF_ECORRUPT);
			cr_assert_eq(slf_errinfo(&info), 0);
			cr_assert(info.offset <= offset && offset - info.offset < 64 * KIB, "%s", info.text);
		}
		(void)slf_close(db);
	}
}
