/* SPDX-License-Identifier: MIT */
/*
 * What surrounds a database: limits of the process, its standard descriptors, its mask, what a path leads to, a read-only
 * mount, the clock, forks, and everybody opening at once. test_bad_input has foreign and damaged files, permission and space.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "format.h"
#include "proof.h"
#include "scratch.h"
#include "solifuge.h"
#include "volume.h"

#define SPINDLES 3
#define VALUE_BYTES 3000
#define WITHOUT_RIGHTS 77 /* a child that may not do what it is there for */

static struct scratch scratch;
static struct volume volume;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	volume_release(&volume);
	scratch_release(&scratch);
}

TestSuite(environment, .init = set_up, .fini = tear_down, .timeout = 120);

/* One put of VALUE_BYTES under a number, in a transaction of its own: its result. */
static int put(struct slf_db *db, unsigned number)
{
	unsigned char value[VALUE_BYTES];
	struct slf_txn *txn = NULL;
	int result = slf_begin(db, SLF_WRITE, &txn);

	bytes_fill(value, sizeof(value), number, false);
	if (result == 0)
		result = slf_put(txn, SLF_MAIN, bytes(&number, sizeof(number)), bytes(value, sizeof(value)));
	if (result == 0)
		return slf_commit(txn, NULL);
	slf_abort(txn);
	return result;
}

/* The numbers from 1 to last, and nothing else, are there. */
static void check_numbers(struct slf_db *db, unsigned last)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	unsigned char value[VALUE_BYTES];
	struct slf_slice found = { 0 };
	unsigned number = 0;

	for (number = 1; number <= last; number++) {
		bytes_fill(value, sizeof(value), number, false);
		must_work(slf_get(txn, SLF_MAIN, bytes(&number, sizeof(number)), &found));
		must(slice_is(found, value, sizeof(value)));
	}
	must_work(slf_tree_stat(txn, SLF_MAIN, &stat));
	cr_assert_eq(stat.entries, last);
	slf_abort(txn);
}

/* ---- Descriptors ------------------------------------------------------------------------------------------------- */

static void spindles_set(struct slf_options *options, char paths[SPINDLES - 1][SCRATCH_PATH_BYTES],
			 const char **further)
{
	further[0] = scratch_name(&scratch, "second", paths[0]);
	further[1] = scratch_name(&scratch, "third", paths[1]);
	options->spindles = further;
	options->spindle_count = SPINDLES - 1;
}

static void descriptors_limit(unsigned count)
{
	struct rlimit limit = { 0 };

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = count;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Opens with room for 0, 1, 2 and so on further descriptors until it works: how many failed. */
static unsigned open_with_few(unsigned flags, const struct slf_options *model, struct slf_db **db)
{
	struct slf_options options = *model;
	unsigned room = 0, threads = 0, before = 0;
	int next = dup(STDIN_FILENO), result = 0;

	close(next); /* the number of the next one */
	options.flags = flags;
	for (room = 0; room < 64; room++) {
		before = process_count("fd");
		threads = process_count("task"); /* the test's runner may still be ending some of its own */
		descriptors_limit((unsigned)next + room);
		result = slf_open(scratch.path, &options, db);
		descriptors_limit(1024);
		if (result == 0)
			return room;
		cr_assert(result == -EMFILE, "%u descriptors: %d", room, result);
		cr_assert_eq(process_count("fd"), before, "a descriptor is left");
		cr_assert(threads_within(threads), "a thread is left");
	}
	cr_assert_fail("it never opens");
	return room;
}

/* Without descriptors an opening would leave something behind, half a database among it, or give a wrong reason. */
Test(environment, descriptors_at_opening)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	char paths[SPINDLES - 1][SCRATCH_PATH_BYTES];
	const char *further[SPINDLES - 1];
	struct slf_db *db = NULL;
	unsigned failures = 0;
	int result = 0, io = 0;

	spindles_set(&options, paths, further);
	for (io = SLF_IO_URING; io <= SLF_IO_POSIX; io++) {
		options.io = SLF_IO_DEFAULT; /* io_uring, which gives way where it gets no descriptor */
		setenv("SOLIFUGE_IO", io == SLF_IO_URING ? "uring" : "posix", 1);
		failures += open_with_few(SLF_CREATE, &options, &db);
		must_work(put(db, 1));
		must_work(slf_close(db));
		failures += open_with_few(0, &options, &db);
		check_numbers(db, 1);
		must_work(slf_close(db));
		failures += open_with_few(SLF_READONLY, &options, &db);
		check_numbers(db, 1);
		must_work(slf_close(db));
		result = unlink(scratch.path) | unlink(further[0]) | unlink(further[1]);
		cr_assert_eq(result, 0);
	}
	cr_assert_gt(failures, 6 * SPINDLES);
	proof_count("H openings without descriptors, refused without a trace", failures);
}

/* With no descriptor left an open database would stop working, or take one that it does not need. */
Test(environment, descriptors_at_work)
{
	unsigned number = 0, count = 0;
	int io = 0, next = 0;

	for (io = SLF_IO_DEFAULT; io <= SLF_IO_POSIX; io += SLF_IO_POSIX) {
		struct slf_options options = SLF_OPTIONS_INIT;
		struct slf_db *db = NULL;

		options.flags = SLF_CREATE;
		options.io = io;
		options.log_bytes = 1 << 20;
		(void)unlink(scratch.path);
		must_work(slf_open(scratch.path, &options, &db));
		next = dup(STDIN_FILENO);
		close(next);
		descriptors_limit((unsigned)next);
		cr_assert_eq(slf_eventfd(db), -EMFILE);
		for (number = 1; number <= 1000; number++, count++)
			must_work(put(db, number));
		must_work(slf_checkpoint(db));
		check_numbers(db, 1000);
		must_work(slf_close(db));
		descriptors_limit(1024);
		db = open_database(scratch.path, SLF_READONLY);
		check_numbers(db, 1000);
		must_work(slf_close(db));
	}
	proof_count("H commits with no descriptor left", count);
}

static void without_standard(unsigned closed)
{
	static const char noise[] = "what a program prints must not end up in a database";
	struct slf_db *db = NULL;
	int fd = 0, i = 0;

	for (fd = 0; fd < 3; fd++)
		if (closed >> fd & 1)
			close(fd);
	db = open_database(scratch.path, SLF_CREATE);
	for (i = 0; i < 100; i++) {
		if (put(db, 1 + (unsigned)i) != 0)
			child_exit(1);
		for (fd = 0; fd < 3; fd++)
			if ((closed >> fd & 1) && write(fd, noise, sizeof(noise)) != -1)
				child_exit(2);
	}
	if (slf_checkpoint(db) != 0 || slf_eventfd(db) <= STDERR_FILENO)
		child_exit(3);
	for (fd = 0; fd < 3; fd++)
		if ((closed >> fd & 1) && fcntl(fd, F_GETFD) != -1)
			child_exit(4);
	child_exit(slf_close(db) == 0 ? 0 : 5);
}

/* A program that was started without standard streams would print into its database. */
Test(environment, standard_descriptors_closed)
{
	unsigned closed = 0, io = 0, count = 0;

	for (io = 0; io < 2; io++) {
		setenv("SOLIFUGE_IO", io ? "posix" : "uring", 1);
		for (closed = 1; closed < 8; closed++, count++) {
			struct slf_db *db = NULL;
			pid_t child = 0;

			(void)unlink(scratch.path);
			child = fork();
			if (child == 0)
				without_standard(closed);
			cr_assert_eq(child_wait(child), 0, "with descriptors %u closed", closed);
			db = open_database(scratch.path, SLF_READONLY);
			check_numbers(db, 100);
			must_work(slf_close(db));
		}
	}
	proof_count("H processes without standard descriptors", count);
}

/* ---- Sizes ------------------------------------------------------------------------------------------------------- */

static _Atomic unsigned size_signals;

static void count_signal(int number)
{
	(void)number;
	size_signals++;
}

/* Fills a database below a limit of the file size in a process whose SIGXFSZ is handled as handler says. */
static void fill_below_limit(void (*handler)(int), rlim_t bytes, int io)
{
	struct rlimit limit = { 0 }, old = { 0 };
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	unsigned last = 0;
	int result = 0;

	signal(SIGXFSZ, handler);
	must(getrlimit(RLIMIT_FSIZE, &old) == 0);
	limit = (struct rlimit){ .rlim_cur = bytes, .rlim_max = old.rlim_max };
	options.flags = SLF_CREATE;
	options.io = io;
	options.sync = bytes > 1 << 20 ? SLF_SYNC_NONE : SLF_SYNC_COMMIT; /* it would take long */
	must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	result = slf_open(scratch.path, &options, &db);
	while (result == 0 && (result = put(db, last + 1)) == 0)
		last++;
	must(result == -EFBIG);
	if (db) {
		check_numbers(db, last);
		(void)slf_close(db); /* a checkpoint may have no room */
	}
	must(setrlimit(RLIMIT_FSIZE, &old) == 0);
	options.io = SLF_IO_DEFAULT;
	must_work(slf_open(scratch.path, &options, &db));
	check_numbers(db, last);
	must_work(put(db, last + 1));
	must_work(slf_close(db));
	must(size_signals == 0);
	child_exit(0);
}

/* A limit of the file size would end the process by SIGXFSZ, interrupt it, lose a commit, or be there for ever. */
Test(environment, file_size_limit)
{
	static void (*const handlers[])(int) = { SIG_IGN, SIG_DFL, count_signal };
	static const rlim_t limits[] = { 1,       4096,   65536, 200000, 262144, 1 << 20, 2 << 20, (2 << 20) + 4096,
					 5 << 20, 8 << 20 };
	unsigned i = 0, j = 0, count = 0;

	for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		for (j = 0; j < 6; j++, count++) {
			pid_t child = 0;

			(void)unlink(scratch.path);
			child = fork();
			if (child == 0)
				fill_below_limit(handlers[j / 2], limits[i], j & 1 ? SLF_IO_POSIX : SLF_IO_DEFAULT);
			cr_assert_eq(child_wait(child), 0, "a limit of %llu bytes, way %u",
				     (unsigned long long)limits[i], j);
		}
	}
	proof_count("H limits of the file size met", count);
}

/* ---- Paths ------------------------------------------------------------------------------------------------------- */

/* Opens path in all ways: the code. Nothing may be left. */
static void expect_refused(const char *path, int code, int code_of_creation)
{
	static const unsigned ways[] = { 0, SLF_READONLY, SLF_READONLY | SLF_NO_MAP, SLF_CREATE };
	struct slf_options options = SLF_OPTIONS_INIT;
	unsigned before = process_count("fd"), i = 0;
	struct slf_db *db = NULL;
	int result = 0, expected = 0;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		options.flags = ways[i];
		expected = ways[i] & SLF_CREATE ? code_of_creation : code;
		result = slf_open(path, &options, &db);
		cr_assert_eq(result, expected, "%s: %d instead of %d", path, result, expected);
		cr_assert_eq(process_count("fd"), before, "%s: a descriptor is left", path);
	}
}

/* What is no file would be written to, hang the opening, or be replaced. */
Test(environment, paths_that_are_no_files)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[SCRATCH_PATH_BYTES], other[SCRATCH_PATH_BYTES], *longest = malloc(5000);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	alarm(60);
	must(longest != NULL && fd >= 0);
	expect_refused("/dev/null", SLF_ENOTDB, SLF_ENOTDB);
	expect_refused("/dev/zero", SLF_ENOTDB, SLF_ENOTDB);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/s", scratch.directory);
	must(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	expect_refused(address.sun_path, -ENXIO, -ENXIO);
	close(fd);
	must(mkfifo(scratch_name(&scratch, "pipe", path), 0600) == 0);
	expect_refused(path, SLF_ENOTDB, SLF_ENOTDB);
	must(symlink(path, scratch_name(&scratch, "to_pipe", other)) == 0);
	expect_refused(other, -ELOOP, -ELOOP);
	must(symlink("around", scratch_name(&scratch, "around", path)) == 0);
	expect_refused(path, -ELOOP, -ELOOP);
	must(symlink(scratch.directory, scratch_name(&scratch, "to_directory", path)) == 0);
	expect_refused(path, -ELOOP, -ELOOP);
	must(symlink("nowhere", scratch_name(&scratch, "dangling", path)) == 0);
	expect_refused(path, -ELOOP, -ELOOP);
	cr_assert_eq(access(scratch_name(&scratch, "nowhere", path), F_OK), -1);
	expect_refused(scratch.directory, -EISDIR, -EISDIR);
	expect_refused("", -EINVAL, -EINVAL);
	memset(longest, 'x', 4999);
	longest[4999] = 0;
	expect_refused(longest, -ENAMETOOLONG, -ENAMETOOLONG);
	free(longest);
}

/* A directory on the way may be a link: only the last name may not. */
Test(environment, directory_through_a_link)
{
	char link[SCRATCH_PATH_BYTES], path[SCRATCH_PATH_BYTES + 8];
	struct slf_db *db = NULL;

	must(symlink(scratch.directory, scratch_name(&scratch, "way", link)) == 0);
	snprintf(path, sizeof(path), "%s/db", link);
	db = open_database(path, SLF_CREATE);
	db_put(db, "key", "value");
	must_work(slf_close(db));
	db = open_database(scratch.path, SLF_READONLY);
	cr_assert(db_has(db, "key", "value"));
	must_work(slf_close(db));
}

/* Further files whose names are relative would not be found from another directory, or others be found in their place. */
Test(environment, relative_names)
{
	static const char *const names[][2] = { { "one", "second" }, { "../two", "third" }, { "three", "below/fourth" } };
	struct slf_options options = SLF_OPTIONS_INIT;
	char below[SCRATCH_PATH_BYTES], path[SCRATCH_PATH_BYTES];
	struct slf_db *db = NULL;
	unsigned i = 0;

	must(mkdir(scratch_name(&scratch, "below", below), 0700) == 0);
	options.spindle_count = 1;
	for (i = 0; i < 3; i++) {
		must(chdir(i == 1 ? below : scratch.directory) == 0);
		options.flags = SLF_CREATE;
		options.spindles = &names[i][1];
		must_work(slf_open(names[i][0], &options, &db));
		must_work(put(db, 1));
		must_work(slf_close(db));
		must(chdir("/") == 0);
		db = open_database(scratch_name(&scratch, i == 1 ? "two" : names[i][0], path), 0);
		check_numbers(db, 1);
		must_work(slf_close(db));
	}
	cr_assert_eq(access(scratch_name(&scratch, "below/third", path), F_OK), 0);
}

/* A further file that is no file would be taken, and a database be left without it. */
Test(environment, spindles_that_are_no_files)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	char path[SCRATCH_PATH_BYTES];
	const char *further = path;
	struct slf_db *db = NULL;
	int result = 0, i = 0;

	alarm(60);
	options.flags = SLF_CREATE;
	options.spindles = &further;
	options.spindle_count = 1;
	for (i = 0; i < 4; i++) {
		scratch_name(&scratch, "spindle", path);
		result = i == 0   ? mkfifo(path, 0600)
			 : i == 1 ? mkdir(path, 0700)
			 : i == 2 ? symlink("/dev/null", path)
				  : symlink("nowhere", path);
		cr_assert_eq(result, 0);
		cr_assert_lt(slf_open(scratch.path, &options, &db), 0);
		cr_assert_eq(access(scratch.path, F_OK), -1, "half a database is left");
		cr_assert_eq(remove(path), 0);
	}
}

static mode_t mode_of(const char *path)
{
	struct stat status = { 0 };

	cr_assert_eq(stat(path, &status), 0, "%s", path);
	return status.st_mode & 07777;
}

/* Whatever the mask of the process, others could read the database or the files beside it. */
Test(environment, mode_under_every_mask)
{
	static const mode_t masks[] = { 0, 022, 027, 077, 0177 };
	struct slf_options options = SLF_OPTIONS_INIT;
	char paths[SPINDLES - 1][SCRATCH_PATH_BYTES], side[SCRATCH_PATH_BYTES + 16];
	const char *further[SPINDLES - 1];
	struct slf_db *db = NULL;
	unsigned i = 0, j = 0;

	spindles_set(&options, paths, further);
	options.flags = SLF_CREATE;
	snprintf(side, sizeof(side), "%s%s", scratch.path, SIDE_SUFFIX);
	for (i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		mode_t old = umask(masks[i]);

		must_work(slf_open(scratch.path, &options, &db));
		umask(old);
		must_work(put(db, 1));
		must_work(slf_close(db));
		cr_assert_eq(mode_of(scratch.path), 0600 & ~masks[i]);
		cr_assert_eq(mode_of(side), 0600 & ~masks[i]);
		for (j = 0; j < SPINDLES - 1; j++) {
			cr_assert_eq(mode_of(further[j]), 0600 & ~masks[i]);
			cr_assert_eq(unlink(further[j]), 0);
		}
		cr_assert_eq(unlink(scratch.path) | unlink(side), 0);
	}
}

/* On a read-only mount reading would not work, or writing be told as something else. */
Test(environment, read_only_mount)
{
	static const enum volume_kind kinds[] = { VOLUME_TMPFS, VOLUME_EXT4, VOLUME_XFS, VOLUME_BTRFS };
	char point[SCRATCH_PATH_BYTES], path[SCRATCH_PATH_BYTES + 8], other[SCRATCH_PATH_BYTES + 8];
	unsigned i = 0, unclean = 0, seen = 0;

	for (i = 0; i < 2 * sizeof(kinds) / sizeof(kinds[0]); i++) {
		enum volume_kind kind = kinds[i / 2];
		const char *why = volume_make(&volume, kind, 320 << 20, scratch_name(&scratch, "volume", point));
		struct slf_options options = SLF_OPTIONS_INIT;
		struct slf_db *db = NULL;
		pid_t child = 0;

		unclean = i & 1;
		if (why) {
			proof_not_run("H read-only mounts", why);
			continue;
		}
		snprintf(path, sizeof(path), "%s/db", point);
		snprintf(other, sizeof(other), "%s/other", point);
		child = fork();
		if (child == 0) {
			db = open_database(path, SLF_CREATE);
			child_exit(put(db, 1) == 0 && (unclean || slf_close(db) == 0) ? 0 : 1);
		}
		cr_assert_eq(child_wait(child), 0);
		volume_read_only(&volume);
		cr_assert_eq(slf_open(path, NULL, &db), -EROFS);
		options.flags = SLF_CREATE;
		cr_assert_eq(slf_open(path, &options, &db), -EROFS);
		cr_assert_eq(slf_open(other, &options, &db), -EROFS);
		db = open_database(path, SLF_READONLY);
		check_numbers(db, 1);
		cr_assert_eq(put(db, 2), SLF_EREADONLY);
		must_work(slf_close(db));
		volume_release(&volume);
		seen++;
	}
	if (!seen)
		cr_skip_test("no volumes here");
	proof_count("H read-only mounts", seen);
}

/* Without /proc, as in some containers and early in a boot, a file without a name can be given none, and not be opened again. */
Test(environment, without_proc)
{
	char paths[SPINDLES - 1][SCRATCH_PATH_BYTES];
	const char *further[SPINDLES - 1];
	struct slf_options options = SLF_OPTIONS_INIT;
	pid_t child = 0;
	int end = 0;

	spindles_set(&options, paths, further);
	options.flags = SLF_CREATE;
	child = fork();
	if (child == 0) {
		struct slf_db *db = NULL;

		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("tmpfs", "/proc", "tmpfs", 0, NULL) < 0)
			child_exit(WITHOUT_RIGHTS);
		must(access("/proc/self", F_OK) < 0);
		for (unsigned number = 1; number <= 3; number++) {
			must_work(slf_open(scratch.path, &options, &db));
			must_work(put(db, number));
			must_work(slf_checkpoint(db));
			check_numbers(db, number);
			must_work(slf_close(db));
		}
		child_exit(0);
	}
	end = child_wait(child);
	if (end == WITHOUT_RIGHTS) {
		proof_not_run("H work without /proc", "not root, or no mount namespaces");
		cr_skip_test("no mount namespaces");
	}
	cr_assert_eq(end, 0);
	proof_count("H work without /proc", 3);
}

/* ---- The clock --------------------------------------------------------------------------------------------------- */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

static _Atomic int64_t clock_step_s;
static _Atomic bool clock_fails;

/* The wall clock is the test's; the monotonic one is not touched. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = 0;

	if (clock == CLOCK_REALTIME && clock_fails) {
		memset(now, 0x5a, sizeof(*now)); /* what is there then is no time */
		errno = EINVAL;
		return -1;
	}
	result = __real_clock_gettime(clock, now);
	if (clock == CLOCK_REALTIME)
		now->tv_sec += clock_step_s;
	return result;
}

static int64_t real_ms(void)
{
	struct timespec now = { 0 };

	(void)__real_clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* How far the wall clock is wrong from now on. Counts when that is another time. */
static void clock_set(int64_t step_s, unsigned *jumps)
{
	*jumps += clock_step_s != step_s;
	clock_step_s = step_s;
}

/* Commits, waits that end by their time and others, and a checkpoint. n: the number put last. Returns the seq of the last. */
static uint64_t use_clock(struct slf_db *db, unsigned *n, uint64_t before)
{
	struct slf_txn *writer = NULL, *second = NULL;
	uint64_t seq = 0, last = 0;
	int64_t begin_ms = 0;
	unsigned i = 0;

	for (i = 0; i < 30; i++)
		must_work(put(db, ++*n));
	seq = db_put(db, "again", "and again");
	cr_assert_gt(seq, before, "the numbers of commits go back");
	writer = txn_begin(db, SLF_WRITE);
	must_work(slf_del(writer, SLF_MAIN, text("again")));
	begin_ms = real_ms();
	cr_assert_eq(slf_begin_timeout(db, SLF_WRITE, 20000000, &second), -ETIMEDOUT);
	cr_assert_lt(real_ms() - begin_ms, 5000);
	must_work(slf_commit(writer, &last));
	cr_assert_gt(last, seq, "the numbers of commits go back");
	must_work(slf_wait(db, last, 1000000000));
	must_work(slf_checkpoint(db));
	check_numbers(db, *n);
	return last;
}

/* A clock that jumps, or fails, would put commits out of order, lose them, or stretch a wait. */
Test(environment, clock_jumps)
{
	static const int64_t steps[] = { 0, 315360000, -315360000, 1, -1, -4000000000, 9000000000, 0 };
	const unsigned count = sizeof(steps) / sizeof(steps[0]);
	struct slf_options options = SLF_OPTIONS_INIT;
	unsigned i = 0, n = 0, closed = 0, open = 0;
	struct slf_db *db = NULL;
	uint64_t last = 0;

	options.flags = SLF_CREATE;
	options.log_bytes = 1 << 20;
	for (i = 0; i < count; i++) {
		clock_set(steps[i], &closed);
		must_work(slf_open(scratch.path, &options, &db));
		check_numbers(db, n);
		last = use_clock(db, &n, last);
		clock_set(steps[(i + 3) % count], &open); /* between two commits of one handle */
		clock_fails = i == 3;                     /* until the middle of the next opening */
		last = use_clock(db, &n, last);
		must_work(slf_close(db));
	}
	cr_assert_eq(closed, count - 1);
	cr_assert_eq(open, count);
	proof_count("H jumps of the clock while the database is closed", closed);
	proof_count("H jumps of the clock between two commits", open);
}

/* ---- Forks ------------------------------------------------------------------------------------------------------- */

static void child_of_writer(struct slf_db *db, unsigned way)
{
	struct slf_txn *txn = NULL;

	if (way & 1) {
		must(slf_begin(db, SLF_WRITE, &txn) == SLF_EBADHANDLE);
		must(slf_begin(db, SLF_READ, &txn) == SLF_EBADHANDLE);
		must(slf_sync(db, NULL) == SLF_EBADHANDLE && slf_checkpoint(db) == SLF_EBADHANDLE);
		must(slf_wait(db, 1, 0) == SLF_EBADHANDLE && slf_eventfd(db) == SLF_EBADHANDLE);
	}
	if (way & 2)
		must(slf_close(db) == SLF_EBADHANDLE);
	if (way & 4) { /* what it opens itself is its own */
		char path[SCRATCH_PATH_BYTES];
		struct slf_db *own = open_database(scratch_name(&scratch, "own", path), SLF_CREATE);

		must_work(put(own, 1));
		must_work(slf_close(own));
	}
	child_exit(0);
}

/* A child that ends, or closes what it has inherited, would give away its parent's lock or change its database. */
Test(environment, forks_beside_a_writer)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE), *other = NULL;
	unsigned round = 0, n = 0;

	for (round = 0; round < 32; round++) {
		pid_t child = 0;

		must_work(put(db, ++n));
		child = fork();
		if (child == 0)
			child_of_writer(db, round % 8);
		must_work(put(db, ++n));
		cr_assert_eq(child_wait(child), 0);
		child = fork();
		if (child == 0) /* a process that has nothing to do with the handle */
			child_exit(slf_open(scratch.path, NULL, &other) == SLF_ELOCKED ? 0 : 1);
		cr_assert_eq(child_wait(child), 0, "the lock is gone");
	}
	check_numbers(db, n);
	must_work(slf_close(db));
	db = open_database(scratch.path, 0);
	check_numbers(db, n);
	must_work(slf_close(db));
	proof_count("H forks beside a writer", 2 * round);
}

/* A child that lives on would keep the lock of a database that its parent has closed. */
Test(environment, lock_ends_with_the_handle)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	must_work(slf_close(db));
	must_work(slf_open(scratch.path, NULL, &db));
	must_work(put(db, 1));
	must_work(slf_close(db));
	kill(child, SIGKILL);
	cr_assert_eq(child_wait(child), 256 + SIGKILL);
}

/* A writer that was killed may keep its lock for a moment after its end, when the kernel still has requests of it; who comes
 * next would be refused. Here it is a child that keeps it. */
Test(environment, lock_of_the_dead)
{
	struct slf_db *db = NULL;
	pid_t child = fork();

	if (child == 0) {
		db = open_database(scratch.path, SLF_CREATE);
		must_work(put(db, 1));
		if (fork() == 0) {
			usleep(200000);
			child_exit(0);
		}
		raise(SIGKILL);
	}
	cr_assert_eq(child_wait(child), 256 + SIGKILL);
	db = open_database(scratch.path, 0);
	check_numbers(db, 1);
	must_work(slf_close(db));
}

/* ---- Everybody at once ------------------------------------------------------------------------------------------- */

#define RACERS 8 /* processes, */
#define LANES 8  /* threads in each, */
#define LAPS 16  /* and openings of each thread, twice */

struct race {
	_Atomic bool started;
	_Atomic int writers; /* that have it open now */
	_Atomic unsigned held; /* readers that are open and wait for the others */
	_Atomic unsigned won, locked, read;
};

static struct race *race;

/* Readers that stay open until all of all lanes are. */
static void lane_hold(struct rng *rng)
{
	struct slf_db *held[LAPS] = { NULL };
	unsigned lap = 0;

	for (lap = 0; lap < LAPS; lap++) {
		struct slf_options options = SLF_OPTIONS_INIT;

		options.flags = SLF_READONLY;
		options.io = rng_below(rng, 2) ? SLF_IO_POSIX : SLF_IO_DEFAULT;
		must_work(slf_open(scratch.path, &options, &held[lap]));
		race->held++;
	}
	while (race->held < RACERS * LANES * LAPS)
		usleep(100);
	for (lap = 0; lap < LAPS; lap++)
		must(db_has(held[lap], "key", "value"));
	for (lap = 0; lap < LAPS; lap++)
		must_work(slf_close(held[lap]));
}

static void *lane_run(void *context)
{
	struct rng rng = { .state = (uintptr_t)context };
	unsigned lap = 0;

	while (!race->started)
		usleep(100);
	lane_hold(&rng);
	for (lap = 0; lap < LAPS; lap++) {
		struct slf_options options = SLF_OPTIONS_INIT;
		struct slf_db *db = NULL;
		int result = 0;

		usleep((useconds_t)rng_below(&rng, 60000));
		options.flags = rng_below(&rng, 2) ? SLF_READONLY : rng_below(&rng, 2) ? SLF_CREATE : 0;
		options.io = rng_below(&rng, 2) ? SLF_IO_POSIX : SLF_IO_DEFAULT;
		result = slf_open(scratch.path, &options, &db);
		if (options.flags == SLF_READONLY) {
			must_work(result);
			must(db_has(db, "key", "value"));
			must_work(slf_close(db));
			race->read++;
			continue;
		}
		if (result == SLF_ELOCKED) {
			race->locked++;
			continue;
		}
		must_work(result);
		must(race->writers++ == 0); /* there is no other */
		db_put(db, "key", "value");
		race->won++;
		usleep((useconds_t)rng_below(&rng, 2000));
		race->writers--;
		must_work(slf_close(db));
	}
	return NULL;
}

static void racer_run(unsigned number)
{
	unsigned before = process_count("fd"), threads_before = process_count("task"), i = 0;
	pthread_t threads[LANES];

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* it waits for others that may have failed */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* 2 MiB for each of a thousand handles is much */
	for (i = 0; i < LANES; i++)
		must(pthread_create(&threads[i], NULL, lane_run, (void *)(uintptr_t)(number * LANES + i + 1)) == 0);
	for (i = 0; i < LANES; i++)
		must(pthread_join(threads[i], NULL) == 0);
	must(process_count("fd") == before && threads_within(threads_before));
	child_exit(0);
}

/* Of many that open at once, two would get the writer's lock, none would, or somebody would find the database broken. */
Test(environment, a_thousand_openings)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	pid_t children[RACERS];
	unsigned i = 0;

	race = mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(race != MAP_FAILED);
	descriptors_limit(1024); /* a file and a ring for each of 128 readers in a process */
	db_put(db, "key", "value");
	must_work(slf_close(db));
	for (i = 0; i < RACERS; i++) {
		children[i] = fork();
		if (children[i] == 0)
			racer_run(i);
	}
	race->started = true;
	for (i = 0; i < RACERS; i++)
		cr_assert_eq(child_wait(children[i]), 0);
	cr_assert_eq(race->held, RACERS * LANES * LAPS);
	cr_assert_eq(race->won + race->locked + race->read, RACERS * LANES * LAPS);
	cr_assert_gt(race->won, 0);
	cr_assert_gt(race->locked, 0);
	db = open_database(scratch.path, 0);
	cr_assert(db_has(db, "key", "value"));
	must_work(slf_close(db));
	proof_count("H openings at once: readers held open together", race->held);
	proof_count("H openings at once: as the writer", race->won);
	proof_count("H openings at once: refused, another writes", race->locked);
	proof_count("H openings at once: for reading", race->read);
}
