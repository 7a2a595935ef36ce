/* SPDX-License-Identifier: MIT */
/* Spindles, mostly on the simulated disk; what needs a real file system says so. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "error.h"
#include "sim_disk.h"
#include "spindle.h"

struct bench {
	struct stats stats;
	struct sim_disk *disk;
	struct io *io;
	struct spindle spindle;
};

static void bench_init(struct bench *bench, bool map)
{
	memset(bench, 0, sizeof(*bench));
	bench->disk = sim_disk_new();
	sim_disk_io(bench->disk, &bench->stats, &bench->io);
	cr_assert_eq(spindle_create(&bench->spindle, bench->io, "/d/db", 3, map), 0);
}

static void bench_release(struct bench *bench)
{
	spindle_close(&bench->spindle);
	io_free(bench->io);
	sim_disk_free(bench->disk);
}

static const char *last_text(struct slf_errinfo *info)
{
	*info = (struct slf_errinfo){ .size = sizeof(*info) };
	error_get(info);
	return info->text;
}

static void fail_next(struct bench *bench, enum sim_call call, int error)
{
	sim_disk_clear_faults(bench->disk);
	sim_disk_add_fault(bench->disk, &(struct sim_fault){ .call = call, .error = error });
}

/* A new database could not be found again, or would take the place of another. */
Test(spindle, create_and_link)
{
	struct bench bench;
	struct spindle other, again;
	char data[4] = "";

	bench_init(&bench, true);
	cr_assert_eq(spindle_write(&bench.spindle, 0, 0, "abc", 3), 0);
	cr_assert_eq(spindle_open(&again, bench.io, "/d/db", 3, 0, true), -ENOENT);
	cr_assert_eq(spindle_link(&bench.spindle), 0);
	cr_assert_eq(spindle_create(&other, bench.io, "/d/db", 3, true), 0);
	cr_assert_eq(spindle_link(&other), -EEXIST);
	spindle_close(&other);
	spindle_close(&other);
	cr_assert_eq(spindle_open(&again, bench.io, "/d/db", 3, 0, true), 0);
	cr_assert_eq(spindle_read(&again, 0, 0, data, 3), 0);
	cr_assert_str_eq(data, "abc");
	cr_assert_str_eq(again.path, "/d/db");
	cr_assert_eq(again.size, 3);
	cr_assert_eq(again.info.inode, bench.spindle.info.inode);
	spindle_close(&again);
	bench_release(&bench);
}

/* A view beyond the end would kill the program with SIGBUS; one across two windows would show foreign memory. */
Test(spindle, view_bounds)
{
	struct bench bench;
	const uint8_t *view = NULL;
	uint8_t data[100];

	bench_init(&bench, true);
	cr_assert_null(spindle_view(&bench.spindle, 0, 1));
	cr_assert_eq(spindle_allocate(&bench.spindle, 0, 10000), 0);
	memset(data, 7, sizeof(data));
	cr_assert_eq(spindle_write(&bench.spindle, 0, 9900, data, 100), 0);
	view = spindle_view(&bench.spindle, 9900, 100);
	cr_assert_not_null(view);
	cr_assert_eq(memcmp(view, data, 100), 0);
	cr_assert_null(spindle_view(&bench.spindle, 9900, 101));
	cr_assert_null(spindle_view(&bench.spindle, 10000, 1));
	cr_assert_null(spindle_view(&bench.spindle, 0, 0));
	cr_assert_null(spindle_view(&bench.spindle, 1, UINT64_MAX));
	cr_assert_null(spindle_view(&bench.spindle, UINT64_MAX, 1));
	cr_assert_null(spindle_view(&bench.spindle, UINT64_MAX, UINT64_MAX));
	cr_assert_eq(spindle_allocate(&bench.spindle, 2 * WINDOW_BYTES - 4096, 8192), 0);
	cr_assert_null(spindle_view(&bench.spindle, 2 * WINDOW_BYTES - 10, 11));
	cr_assert_not_null(spindle_view(&bench.spindle, 2 * WINDOW_BYTES - 10, 10));
	cr_assert_not_null(spindle_view(&bench.spindle, 2 * WINDOW_BYTES, 10));
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_MAP), 3);
	cr_assert_not_null(spindle_view(&bench.spindle, 2 * WINDOW_BYTES + 5, 10));
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_MAP), 3, "a window is mapped once");
	cr_assert_eq(spindle_write(&bench.spindle, 0, 2 * WINDOW_BYTES, data, 100), 0);
	cr_assert_eq(memcmp(spindle_view(&bench.spindle, 2 * WINDOW_BYTES, 100), data, 100), 0);
	atomic_store(&bench.spindle.size, UINT64_MAX); /* no file is so long, but one that is damaged may say so */
	cr_assert_null(spindle_view(&bench.spindle, WINDOWS_MAX * WINDOW_BYTES, 1));
	cr_assert_null(spindle_view(&bench.spindle, UINT64_MAX - 10, 5));
	bench_release(&bench);
}

/* Without maps everything has to be read; a window that cannot be mapped must not be the end. */
Test(spindle, unmapped)
{
	struct bench bench;
	struct spindle other;
	uint8_t byte = 0;

	bench_init(&bench, false);
	cr_assert_eq(spindle_allocate(&bench.spindle, 0, WINDOW_BYTES + 4096), 0);
	cr_assert_null(spindle_view(&bench.spindle, 0, 1));
	cr_assert_eq(spindle_read(&bench.spindle, 0, 0, &byte, 1), 0);
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_MAP), 0);
	cr_assert_eq(spindle_link(&bench.spindle), 0);
	fail_next(&bench, SIM_MAP, -ENODEV);
	cr_assert_eq(spindle_open(&other, bench.io, "/d/db", 3, 0, true), 0);
	cr_assert(!other.mapped);
	cr_assert_null(spindle_view(&other, 0, 1));
	spindle_close(&other);
	sim_disk_clear_faults(bench.disk);
	cr_assert_eq(spindle_open(&other, bench.io, "/d/db", 3, 0, true), 0);
	fail_next(&bench, SIM_MAP, -ENOMEM);
	cr_assert_null(spindle_view(&other, WINDOW_BYTES, 1));
	cr_assert_not_null(spindle_view(&other, WINDOW_BYTES, 1), "it is tried again");
	cr_assert_not_null(spindle_view(&other, 0, 1));
	spindle_close(&other);
	bench_release(&bench);
}

/* A reference into nowhere is damage of the database, not a fault of the system. */
Test(spindle, read_past_end)
{
	static const uint64_t places[][2] = { { 995, 10 }, { 1000, 1 }, { UINT64_MAX - 5, 3 }, { OFFSET_MAX, 1 } };
	struct bench bench;
	struct slf_errinfo info;
	uint8_t data[16];

	bench_init(&bench, true);
	cr_assert_eq(spindle_allocate(&bench.spindle, 0, 1000), 0);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		cr_assert_eq(spindle_read(&bench.spindle, 0, places[i][0], data, places[i][1]), SLF_ECORRUPT);
		cr_assert(strstr(last_text(&info), "file ends at 1000"), "%s", info.text);
		cr_assert(info.code == SLF_ECORRUPT && info.spindle == 3 && info.offset == places[i][0]);
	}
	cr_assert_eq(spindle_read(&bench.spindle, 0, 990, data, 10), 0);
	/* where even the size cannot be had, that of the opening is told */
	fail_next(&bench, SIM_INFO, -EIO);
	cr_assert_eq(spindle_read(&bench.spindle, 0, 995, data, 10), SLF_ECORRUPT);
	cr_assert(strstr(last_text(&info), "file ends at 0"), "%s", info.text);
	bench_release(&bench);
}

/* The caller could not tell which file fails, and where. */
Test(spindle, failures_are_noted)
{
	struct bench bench;
	struct slf_errinfo info;
	struct spindle other;
	uint8_t byte = 0;

	bench_init(&bench, true);
	cr_assert_eq(spindle_allocate(&bench.spindle, 0, 1000), 0);
	fail_next(&bench, SIM_WRITE, -ENOSPC);
	cr_assert_eq(spindle_write(&bench.spindle, 0, 77, "x", 1), -ENOSPC);
	cr_assert(strstr(last_text(&info), "/d/db") && strstr(info.text, "77") && strstr(info.text, "write"));
	cr_assert(info.code == -ENOSPC && info.spindle == 3 && info.offset == 77);
	fail_next(&bench, SIM_READ, -EIO);
	cr_assert_eq(spindle_read(&bench.spindle, 0, 5, &byte, 1), -EIO);
	cr_assert(strstr(last_text(&info), "read") && info.offset == 5);
	fail_next(&bench, SIM_SYNC, -EDQUOT);
	cr_assert_eq(spindle_sync(&bench.spindle), -EDQUOT);
	cr_assert(strstr(last_text(&info), "flush") && info.offset == OFFSET_NONE && info.code == -EDQUOT);
	fail_next(&bench, SIM_ALLOCATE, -ENOSPC);
	cr_assert_eq(spindle_allocate(&bench.spindle, 1000, 1000), -ENOSPC);
	cr_assert_eq(bench.spindle.size, 1000);
	cr_assert(strstr(last_text(&info), "allocate"));
	fail_next(&bench, SIM_INFO, -EIO);
	cr_assert_eq(spindle_refresh(&bench.spindle), -EIO);
	cr_assert_eq(bench.spindle.size, 1000);
	cr_assert_eq(spindle_open(&other, bench.io, "/d/none", 1, 0, true), -ENOENT);
	cr_assert(strstr(last_text(&info), "/d/none") && info.spindle == 1);
	spindle_close(&other);
	bench_release(&bench);
}

/* Whose bytes a failed flush has dropped would be told by the next one that they are on the disk: no flush is tried twice. */
Test(spindle, no_flush_behind_a_failed_one)
{
	struct bench bench;
	uint64_t none = 0, first = 1, syncs;

	bench_init(&bench, true);
	cr_assert_eq(spindle_write(&bench.spindle, 0, 0, "mine", 4), 0);
	cr_assert_eq(spindles_sync(&bench.spindle, 1, &none), 0);
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_SYNC), 0);
	fail_next(&bench, SIM_SYNC, -EIO);
	cr_assert_eq(spindle_sync(&bench.spindle), -EIO);
	sim_disk_clear_faults(bench.disk);
	syncs = sim_disk_calls(bench.disk, SIM_SYNC);
	cr_assert_eq(spindles_sync(&bench.spindle, 1, &first), -EIO);
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_SYNC), syncs);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC, 0, "mine", 4), -EIO);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC | IO_DIRECT, 0, "mine", 4), 0); /* was never in memory only */
	bench_release(&bench);
}

/* The same of a direct write that was none, on a file system that carries it out through memory all the same. */
Test(spindle, no_direct_write_behind_a_failed_flush)
{
	struct bench bench;

	bench_init(&bench, true);
	fail_next(&bench, SIM_SYNC, -EIO);
	cr_assert_eq(spindle_sync(&bench.spindle), -EIO);
	sim_disk_clear_faults(bench.disk);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC | IO_DIRECT, 0, "mine", 4), 0);
	sim_disk_set_direct(bench.disk, 0);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC | IO_DIRECT, 0, "mine", 4), -EIO);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DIRECT, 0, "mine", 4), 0); /* nobody counts on it yet */
	bench_release(&bench);
	/* one that fails tells its own failure */
	bench_init(&bench, true);
	fail_next(&bench, SIM_SYNC, -EIO);
	cr_assert_eq(spindle_sync(&bench.spindle), -EIO);
	sim_disk_clear_faults(bench.disk);
	fail_next(&bench, SIM_WRITE, -ENOSPC);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC | IO_DIRECT, 0, "mine", 4), -ENOSPC);
	sim_disk_clear_faults(bench.disk);
	bench_release(&bench);
}

/* A write that flushes and fails has heard, instead of the next flush, of what the system could not write, whoever wrote it. */
Test(spindle, no_flush_behind_a_failed_write_that_flushes)
{
	static const unsigned flags[] = { 0, IO_DIRECT };
	struct slf_errinfo info;
	struct bench bench;
	uint64_t syncs;

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		bench_init(&bench, true);
		cr_assert_eq(spindle_write(&bench.spindle, 0, 4096, "theirs", 6), 0);
		fail_next(&bench, SIM_WRITE, -EIO);
		cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC | flags[i], 0, "mine", 4), -EIO);
		cr_assert(strstr(last_text(&info), "cannot write"), "%s", info.text);
		sim_disk_clear_faults(bench.disk);
		syncs = sim_disk_calls(bench.disk, SIM_SYNC);
		cr_assert_eq(spindle_sync(&bench.spindle), -EIO);
		cr_assert(strstr(last_text(&info), "earlier flush"), "%s", info.text);
		cr_assert_eq(sim_disk_calls(bench.disk, SIM_SYNC), syncs);
		cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC, 0, "mine", 4), -EIO);
		cr_assert(strstr(last_text(&info), "earlier flush"), "%s", info.text);
		bench_release(&bench);
		/* one that only writes is nobody's flush */
		bench_init(&bench, true);
		fail_next(&bench, SIM_WRITE, -EIO);
		cr_assert_eq(spindle_write(&bench.spindle, flags[i], 0, "mine", 4), -EIO);
		sim_disk_clear_faults(bench.disk);
		cr_assert_eq(spindle_sync(&bench.spindle), 0);
		bench_release(&bench);
	}
}

struct watch {
	struct spindle *spindle;
	unsigned alone, beside;
};

static void watch_flushing(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct watch *watch = context;

	(void)disk;
	if (call != SIM_WRITE)
		return;
	if (pthread_mutex_trylock(&watch->spindle->flushing)) {
		watch->alone++;
	} else {
		pthread_mutex_unlock(&watch->spindle->flushing);
		watch->beside++;
	}
}

/* A buffered write that flushes would take a failure away from the flush that runs beside it. One past the page cache need not
 * wait; one that was refused that is not tried so again. */
Test(spindle, buffered_writes_that_flush_run_alone)
{
	struct bench bench;
	struct watch watch = { .spindle = &bench.spindle };

	bench_init(&bench, true);
	sim_disk_set_hook(bench.disk, watch_flushing, &watch);
	cr_assert_eq(spindle_write(&bench.spindle, 0, 0, "mine", 4), 0);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC | IO_DIRECT, 0, "mine", 4), 0);
	cr_assert(watch.alone == 0 && watch.beside == 2);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC, 0, "mine", 4), 0);
	cr_assert(watch.alone == 1 && watch.beside == 2);
	sim_disk_set_direct(bench.disk, 0);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC | IO_DIRECT, 0, "mine", 4), 0);
	cr_assert(watch.alone == 1 && watch.beside == 3);
	cr_assert_eq(spindle_write(&bench.spindle, IO_DSYNC | IO_DIRECT, 0, "mine", 4), 0);
	cr_assert(watch.alone == 2 && watch.beside == 3);
	bench_release(&bench);
}

/* Of several files whose flushes have failed the first one is told; none of them may be flushed again. */
Test(spindle, two_failed_flushes)
{
	const uint64_t both = 3;
	struct slf_errinfo info;
	struct bench bench;
	struct spindle pair[2];
	uint64_t syncs;

	bench_init(&bench, false);
	cr_assert_eq(spindle_create(&pair[0], bench.io, "/d/first", 0, false), 0);
	cr_assert_eq(spindle_create(&pair[1], bench.io, "/d/second", 1, false), 0);
	sim_disk_add_fault(bench.disk, &(struct sim_fault){ .call = SIM_SYNC, .error = -EIO, .sticky = true });
	cr_assert_eq(spindles_sync(pair, 2, &both), -EIO);
	cr_assert(strstr(last_text(&info), "/d/first"));
	sim_disk_clear_faults(bench.disk);
	syncs = sim_disk_calls(bench.disk, SIM_SYNC);
	cr_assert_eq(spindles_sync(pair, 2, &both), -EIO);
	cr_assert(strstr(last_text(&info), "/d/first") && strstr(info.text, "earlier flush"));
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_SYNC), syncs);
	spindle_close(&pair[0]);
	spindle_close(&pair[1]);
	bench_release(&bench);
}

/* Below the limit cold data would come page by page, above it each page would push out others. */
Test(spindle, read_ahead_ends_at_its_limit)
{
	struct bench bench;

	bench_init(&bench, true);
	cr_assert_eq(spindle_allocate(&bench.spindle, 0, 8192), 0);
	spindle_read_ahead(&bench.spindle, 8192);
	cr_assert_not(bench.spindle.at_random);
	cr_assert_eq(spindle_allocate(&bench.spindle, 0, 4096), 0);
	cr_assert_not(bench.spindle.at_random);
	cr_assert_eq(spindle_allocate(&bench.spindle, 8192, 4096), 0);
	cr_assert(bench.spindle.at_random);
	bench_release(&bench);
	bench_init(&bench, true);
	cr_assert_eq(spindle_allocate(&bench.spindle, 0, 8192), 0);
	spindle_read_ahead(&bench.spindle, 4096);
	cr_assert(bench.spindle.at_random);
	/* a window that is made later is like the others */
	cr_assert_eq(spindle_allocate(&bench.spindle, WINDOW_BYTES, 4096), 0);
	cr_assert_not_null(spindle_view(&bench.spindle, WINDOW_BYTES, 4096));
	bench_release(&bench);
	bench_init(&bench, false);
	spindle_read_ahead(&bench.spindle, 0);
	cr_assert_eq(spindle_allocate(&bench.spindle, 0, 8192), 0);
	cr_assert_not(bench.spindle.at_random, "there is no map");
	bench_release(&bench);
}

/* A failure on the way of opening would leak the file or leave a spindle that cannot be closed. */
Test(spindle, open_fails_at_every_call)
{
	struct bench bench;
	struct spindle other;
	uint64_t closed = 0;

	bench_init(&bench, true);
	cr_assert_eq(spindle_link(&bench.spindle), 0);
	for (uint64_t nth = 1; nth <= 2; nth++) {
		sim_disk_clear_faults(bench.disk);
		sim_disk_add_fault(bench.disk, &(struct sim_fault){ .call = SIM_ANY, .nth = nth, .error = -EMFILE });
		closed = sim_disk_calls(bench.disk, SIM_CLOSE);
		cr_assert_eq(spindle_open(&other, bench.io, "/d/db", 0, IO_OPEN_WRITE, true), -EMFILE);
		cr_assert_null(other.path);
		spindle_close(&other);
		cr_assert_eq(sim_disk_calls(bench.disk, SIM_CLOSE), closed + nth - 1);
	}
	cr_assert_eq(sim_disk_faults_fired(bench.disk), 2);
	bench_release(&bench);
}

/* A reader would not see what another process has appended. */
Test(spindle, refresh)
{
	struct bench bench;
	struct spindle other;

	bench_init(&bench, true);
	cr_assert_eq(spindle_link(&bench.spindle), 0);
	cr_assert_eq(spindle_open(&other, bench.io, "/d/db", 0, 0, true), 0);
	cr_assert_eq(spindle_allocate(&bench.spindle, 0, 4096), 0);
	cr_assert_null(spindle_view(&other, 0, 4096));
	cr_assert_eq(spindle_refresh(&other), 0);
	cr_assert_not_null(spindle_view(&other, 0, 4096));
	spindle_close(&other);
	bench_release(&bench);
}

#define WINDOWS 4

static void delay_maps(void *context, struct sim_disk *disk, enum sim_call call)
{
	(void)context;
	(void)disk;
	if (call == SIM_MAP)
		usleep(5000);
}

static void *view_all(void *context)
{
	struct spindle *spindle = context;

	for (uint64_t i = 0; i < WINDOWS; i++)
		if (!spindle_view(spindle, i * WINDOW_BYTES, 1))
			return context;
	return NULL;
}

/* Two threads that look into a new window at once would map it twice and lose one. */
Test(spindle, threads_make_windows)
{
	struct bench bench;
	pthread_t ids[8];
	void *failed = NULL;

	bench_init(&bench, true);
	cr_assert_eq(spindle_allocate(&bench.spindle, (WINDOWS - 1) * WINDOW_BYTES, 4096), 0);
	sim_disk_set_hook(bench.disk, delay_maps, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, view_all, &bench.spindle), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		pthread_join(ids[i], &failed);
		cr_assert_null(failed);
	}
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_MAP), WINDOWS);
	bench_release(&bench);
}

/* On a real file system: maps of real windows, and plain words for what is not a file. */
Test(spindle, real_files)
{
	struct stats stats = { 0 };
	struct io *io = NULL;
	struct spindle spindle;
	struct slf_errinfo info;
	char directory[] = "/tmp/test_spindle.XXXXXX", path[64], link_path[64];

	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/db", directory);
	snprintf(link_path, sizeof(link_path), "%s/link", directory);
	cr_assert_eq(io_new(SLF_IO_DEFAULT, &stats, &io), 0);
	cr_assert_eq(spindle_create(&spindle, io, path, 0, true), 0);
	cr_assert_eq(spindle_allocate(&spindle, WINDOW_BYTES - 4096, 8192), 0);
	cr_assert_eq(spindle_write(&spindle, IO_DSYNC, WINDOW_BYTES, "real", 4), 0);
	cr_assert_eq(memcmp(spindle_view(&spindle, WINDOW_BYTES, 4), "real", 4), 0);
	cr_assert_eq(spindle_link(&spindle), 0);
	spindle_close(&spindle);
	cr_assert_eq(symlink(path, link_path), 0);
	cr_assert_eq(spindle_open(&spindle, io, link_path, 0, 0, true), -ELOOP);
	cr_assert(strstr(last_text(&info), "symbolic link"));
	cr_assert_eq(spindle_open(&spindle, io, directory, 0, 0, true), -EISDIR);
	cr_assert(strstr(last_text(&info), "directory"));
	cr_assert_eq(spindle_open(&spindle, io, "/dev/null", 0, 0, true), SLF_ENOTDB);
	cr_assert(strstr(last_text(&info), "not a regular file"));
	io_free(io);
	unlink(path);
	unlink(link_path);
	cr_assert_eq(rmdir(directory), 0);
}
