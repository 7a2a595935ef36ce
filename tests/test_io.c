/* SPDX-License-Identifier: MIT */
/*
 * The contract of the I/O seam, run against every back end: plain calls, io_uring where the system has it, and the
 * simulated disk, so that what is proven on the last one holds for the others.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "io_bench.h"

static void round_trip(struct bench *bench)
{
	static const uint64_t places[][2] = { { 0, 1 }, { 100, 5000 }, { 511, 2 }, { 65536, 4096 }, { 70000, 100000 } };
	static const unsigned flags[] = { 0, IO_DSYNC };
	struct io_file *file = make(bench);
	static uint8_t data[100000];

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		fill(data, places[i][1], places[i][0]);
		cr_assert_eq(io_write(file, flags[i % 2], places[i][0], data, places[i][1]), 0);
		memset(data, 0, places[i][1]);
		cr_assert_eq(io_read(file, 0, places[i][0], data, places[i][1]), 0);
		cr_assert(filled(data, places[i][1], places[i][0]), "%s, place %zu", io_name(bench->io), i);
	}
	cr_assert_eq(io_sync(file), 0);
	cr_assert_eq(size_of(file), 170000);
	cr_assert_eq(io_write(file, 0, 200000, data, 0), 0);
	cr_assert_eq(size_of(file), 170000);
	done(bench, file);
}

/* Bytes would come back wrong, from another place or not at all. */
Test(io, round_trip)
{
	for_each(round_trip, true);
}

static void end_of_file(struct bench *bench)
{
	struct io_file *file = make(bench);
	uint8_t data[9000] = { 0 };
	struct io_request request = { .op = IO_READ, .file = file, .offset = 4000, .length = 2000, .data = data };

	fill(data, 5000, 0);
	cr_assert_eq(io_write(file, 0, 0, data, 5000), 0);
	cr_assert_eq(io_run(bench->io, &request, 1), 0);
	cr_assert_eq(request.done, 1000);
	cr_assert_eq(io_read(file, 0, 4000, data, 1001), -ENODATA);
	cr_assert_eq(io_read(file, 0, 4000, data, 1000), 0);
	cr_assert_eq(io_read(file, 0, 1 << 20, data, 1), -ENODATA);
	done(bench, file);
}

/* A read across the end would fail, loop, or be taken for whole. */
Test(io, end_of_file)
{
	for_each(end_of_file, true);
}

#define MIXED_COUNT 100u
#define MIXED_BYTES 3000u

/* The kind of request i: the pieces are apart, so that the order does not matter. */
static struct io_request mixed(struct io_file *file, uint8_t *data, unsigned i)
{
	static const enum io_op ops[] = { IO_WRITE, IO_READ, IO_WRITE, IO_ALLOCATE, IO_PUNCH, IO_SYNC, IO_WRITE_OUT };
	enum io_op op = ops[i % ARRAY_SIZE(ops)];

	return (struct io_request){ .op = op, .flags = op == IO_WRITE && i % 3 == 0 ? IO_DSYNC : 0, .file = file,
				    .offset = (uint64_t)i * 65536, .length = MIXED_BYTES, .data = data, .done = 77,
				    .result = 77 };
}

static void batch(struct bench *bench)
{
	static uint8_t data[MIXED_COUNT][MIXED_BYTES];
	struct io_request requests[MIXED_COUNT + 1];
	struct io_file *file = make(bench);

	for (unsigned i = 0; i < MIXED_COUNT; i++) {
		fill(data[i], MIXED_BYTES, (uint64_t)i * 65536);
		cr_assert_eq(io_write(file, 0, (uint64_t)i * 65536, data[i], MIXED_BYTES), 0);
		requests[i] = mixed(file, data[i], i);
		if (requests[i].op == IO_READ)
			memset(data[i], 0, MIXED_BYTES);
		else if (requests[i].op == IO_WRITE)
			fill(data[i], MIXED_BYTES, i);
	}
	/* Across the end of the file, by whatever way. */
	requests[MIXED_COUNT] = (struct io_request){ .op = IO_READ, .file = file, .offset = 99 * 65536 + 2000,
						     .length = MIXED_BYTES, .data = data[1] };
	cr_assert_eq(requests[99].op, IO_READ);
	requests[1].op = IO_SYNC; /* its buffer is taken */
	cr_assert_eq(io_run(bench->io, requests, MIXED_COUNT + 1), 0);
	cr_assert_eq(requests[MIXED_COUNT].done, 1000);
	for (unsigned i = 0; i < MIXED_COUNT; i++) {
		bool transfers = requests[i].op == IO_READ || requests[i].op == IO_WRITE;
		uint8_t back[MIXED_BYTES];

		cr_assert_eq(requests[i].result, 0, "%s, request %u", io_name(bench->io), i);
		cr_assert_eq(requests[i].done, transfers ? MIXED_BYTES : 0, "%s, request %u", io_name(bench->io), i);
		cr_assert_eq(io_read(file, 0, (uint64_t)i * 65536, back, MIXED_BYTES), 0);
		if (requests[i].op == IO_PUNCH)
			cr_assert(zeroed(back, MIXED_BYTES), "%s, request %u", io_name(bench->io), i);
		else
			cr_assert(filled(back, MIXED_BYTES, requests[i].op == IO_WRITE ? i : (uint64_t)i * 65536),
				  "%s, request %u", io_name(bench->io), i);
		if (requests[i].op == IO_READ)
			cr_assert(filled(data[i], MIXED_BYTES, (uint64_t)i * 65536));
	}
	done(bench, file);
}

/* More requests than a ring holds, of all kinds: one would be lost, done twice or answered for another. */
Test(io, batch)
{
	for_each(batch, true);
}

static void batch_failure(struct bench *bench)
{
	struct io_file *writable = make(bench), *readable = NULL;
	uint8_t data[4][512] = { 0 };
	struct io_request requests[4];

	cr_assert_eq(io_open(bench->io, bench->path, 0, &readable), 0);
	for (unsigned i = 0; i < 4; i++)
		requests[i] = (struct io_request){ .op = IO_WRITE, .file = i == 0 || i == 3 ? writable : readable,
						   .offset = i * 512, .length = 512, .data = data[i] };
	requests[2].offset = UINT64_MAX - 100;
	cr_assert_eq(io_run(bench->io, requests, 4), -EBADF);
	cr_assert_eq(requests[0].result, 0);
	cr_assert_eq(requests[1].result, -EBADF);
	cr_assert_eq(requests[2].result, -EINVAL);
	cr_assert_eq(requests[3].result, 0);
	cr_assert_eq(requests[3].done, 512);
	cr_assert_eq(requests[1].done, 0);
	cr_assert_eq(size_of(writable), 2048);
	cr_assert_eq(bench->stats.values.io_errors, 2);
	io_close(readable);
	done(bench, writable);
}

/* One failure would stop the others, hide behind a later one, or be told of the wrong request. */
Test(io, batch_failure)
{
	for_each(batch_failure, true);
}

static void direct(struct bench *bench)
{
	struct io_file *file = make(bench);
	struct io_info info;
	bool was_direct = false;
	uint8_t *data = aligned_alloc(4096, 65536);
	struct io_request request = { .op = IO_READ, .flags = IO_DIRECT, .file = file, .length = 65536, .data = data };
	struct io_request pair[2];

	cr_assert_not_null(data);
	cr_assert_eq(io_info(file, &info), 0);
	was_direct = info.direct;
	fill(data, 65536, 0);
	cr_assert_eq(io_write(file, IO_DIRECT | IO_DSYNC, 0, data, 65536), 0);
	memset(data, 0, 65536);
	cr_assert_eq(io_read(file, 0, 0, data, 65536), 0);
	cr_assert(filled(data, 65536, 0), "a buffered read does not see a direct write");
	/* Buffered after direct and the other way round. */
	fill(data, 4096, 7);
	cr_assert_eq(io_write(file, 0, 8192, data, 4096), 0);
	memset(data, 0, 65536);
	cr_assert_eq(io_read(file, IO_DIRECT, 8192, data, 4096), 0);
	cr_assert(filled(data, 4096, 7), "a direct read does not see a buffered write");
	/* An end that is no multiple of a sector. */
	cr_assert_eq(io_truncate(file, 10000), 0);
	cr_assert_eq(io_run(bench->io, &request, 1), 0);
	cr_assert_eq(request.done, 10000);
	cr_assert(filled(data, 8192, 0));
	pair[0] = pair[1] = request;
	pair[1].offset = 4096;
	pair[1].data = data + 32768;
	pair[0].length = pair[1].length = 32768;
	cr_assert_eq(io_run(bench->io, pair, 2), 0);
	cr_assert_eq(pair[0].done, 10000);
	cr_assert_eq(pair[1].done, 10000 - 4096);
	/* What is not aligned is done all the same. */
	cr_assert_eq(io_write(file, IO_DIRECT, 3, data, 7), 0);
	cr_assert_eq(io_read(file, IO_DIRECT, 1, data + 1, 9999), 0);
	cr_assert_eq(io_info(file, &info), 0);
	cr_assert_eq(info.direct, was_direct, "what is not aligned must not end it for all");
	cr_assert(info.logical_sector >= 512 && info.physical_sector >= info.logical_sector);
	free(data);
	done(bench, file);
}

/* The log is written past the page cache and read through it. */
Test(io, direct)
{
	for_each(direct, true);
}

static void allocate(struct bench *bench)
{
	struct io_file *file = make(bench);
	uint8_t data[4096] = { 0 };
	struct io_info before, after;

	cr_assert_eq(io_write(file, 0, 0, "abc", 3), 0);
	cr_assert_eq(io_allocate(file, 0, 1 << 20), 0);
	cr_assert_eq(io_info(file, &before), 0);
	cr_assert_eq(before.size, 1 << 20);
	cr_assert_geq(before.allocated_bytes, 1 << 20);
	cr_assert_eq(io_read(file, 0, 0, data, 4096), 0);
	cr_assert(memcmp(data, "abc", 3) == 0 && zeroed(data + 3, 4093));
	/* Inside: the size stays. */
	cr_assert_eq(io_allocate(file, 4096, 4096), 0);
	cr_assert_eq(size_of(file), 1 << 20);
	fill(data, 4096, 0);
	cr_assert_eq(io_write(file, 0, 512 * 1024 - 4096, data, 4096), 0);
	cr_assert_eq(io_write(file, 0, 768 * 1024, data, 4096), 0);
	{
		struct io_request punch = { .op = IO_PUNCH, .file = file, .offset = 512 * 1024, .length = 2 << 20 };

		cr_assert_eq(io_run(bench->io, &punch, 1), 0);
	}
	cr_assert_eq(io_info(file, &after), 0);
	cr_assert_eq(after.size, 1 << 20);
	cr_assert_leq(after.allocated_bytes, before.allocated_bytes - 512 * 1024);
	cr_assert_eq(io_read(file, 0, 768 * 1024, data, 4096), 0);
	cr_assert(zeroed(data, 4096));
	cr_assert_eq(io_read(file, 0, 512 * 1024 - 4096, data, 4096), 0);
	cr_assert(filled(data, 4096, 0));
	done(bench, file);
}

/* Space that is not really there fails a write that must not fail; a punch that takes too much loses data. */
Test(io, allocate_and_punch)
{
	for_each(allocate, true);
}

static void truncated(struct bench *bench)
{
	struct io_file *file = make(bench), *readable = NULL;
	uint8_t data[4096];

	memset(data, 0xff, sizeof(data));
	cr_assert_eq(io_write(file, 0, 0, data, 4096), 0);
	cr_assert_eq(io_truncate(file, 1000), 0);
	cr_assert_eq(size_of(file), 1000);
	cr_assert_eq(io_truncate(file, 4096), 0);
	cr_assert_eq(io_read(file, 0, 0, data, 4096), 0);
	cr_assert(data[999] == 0xff && zeroed(data + 1000, 3096));
	cr_assert_eq(io_open(bench->io, bench->path, 0, &readable), 0);
	cr_assert_eq(io_truncate(readable, 0), -EBADF);
	io_close(readable);
	done(bench, file);
}

/* Old bytes would come back when a file that was cut grows again. */
Test(io, truncate)
{
	for_each(truncated, true);
}

static void locks(struct bench *bench)
{
	struct io_file *a = make(bench), *b = NULL, *reader = NULL;

	cr_assert_eq(io_open(bench->io, bench->path, IO_OPEN_WRITE, &b), 0);
	cr_assert_eq(io_open(bench->io, bench->path, 0, &reader), 0);
	cr_assert_eq(io_lock(a, IO_LOCK_EXCLUSIVE, 0, 100), 0);
	cr_assert_eq(io_lock(b, IO_LOCK_EXCLUSIVE, 99, 1), -EAGAIN);
	cr_assert_eq(io_lock(b, IO_LOCK_SHARED, 0, 1), -EAGAIN);
	cr_assert_eq(io_lock(b, IO_LOCK_EXCLUSIVE, 100, 1), 0);
	cr_assert_eq(io_lock(a, IO_LOCK_SHARED, 0, 50), 0, "one's own lock can be weakened");
	cr_assert_eq(io_lock(b, IO_LOCK_SHARED, 0, 50), 0);
	cr_assert_eq(io_lock(b, IO_LOCK_SHARED, 50, 1), -EAGAIN);
	cr_assert_eq(io_lock(a, IO_LOCK_EXCLUSIVE, 0, 1), -EAGAIN);
	cr_assert_eq(io_lock(a, IO_UNLOCK, 20, 60), 0, "from the middle");
	cr_assert_eq(io_lock(b, IO_LOCK_EXCLUSIVE, 20, 60), 0);
	cr_assert_eq(io_lock(b, IO_LOCK_EXCLUSIVE, 80, 1), -EAGAIN);
	cr_assert_eq(io_lock(reader, IO_LOCK_SHARED, 1000, 1), 0);
	cr_assert_eq(io_lock(reader, IO_LOCK_EXCLUSIVE, 2000, 1), -EBADF);
	cr_assert_eq(io_lock(a, IO_LOCK_EXCLUSIVE, 500, 0), -EAGAIN, "to the end");
	cr_assert_eq(io_close(reader), 0);
	cr_assert_eq(io_lock(a, IO_LOCK_EXCLUSIVE, 500, 0), 0);
	cr_assert_eq(io_lock(b, IO_LOCK_SHARED, INT64_MAX, 0), -EAGAIN);
	cr_assert_eq(io_lock(a, IO_LOCK_SHARED, UINT64_MAX, 1), -EINVAL);
	cr_assert_eq(io_close(a), 0);
	cr_assert_eq(io_lock(b, IO_LOCK_EXCLUSIVE, 0, 0), 0);
	done(bench, b);
}

/* Two writers, or a puncher that does not see a reader. */
Test(io, locks)
{
	for_each(locks, true);
}

static void temporary(struct bench *bench)
{
	struct io_file *file = NULL, *other = NULL, *named = NULL;
	struct stat status;
	char data[4] = "";

	cr_assert_eq(io_open(bench->io, bench->directory, IO_OPEN_WRITE | IO_OPEN_TEMPORARY, &file), 0);
	cr_assert_eq(io_open(bench->io, bench->directory, IO_OPEN_WRITE | IO_OPEN_TEMPORARY, &other), 0);
	cr_assert_eq(io_write(file, 0, 0, "one", 3), 0);
	cr_assert_eq(io_open(bench->io, bench->path, 0, &named), -ENOENT);
	cr_assert_eq(io_link(file, bench->path), 0);
	cr_assert_eq(io_link(other, bench->path), -EEXIST);
	cr_assert_eq(io_sync_directory(bench->io, bench->path), 0);
	cr_assert_eq(io_close(other), 0);
	cr_assert_eq(io_open(bench->io, bench->path, 0, &named), 0);
	cr_assert_eq(io_read(named, 0, 0, data, 3), 0);
	cr_assert_str_eq(data, "one");
	io_close(named);
	if (!bench->disk) {
		cr_assert_eq(stat(bench->path, &status), 0);
		cr_assert_eq(status.st_mode & 0777, 0600);
	}
	done(bench, file);
	cr_assert_eq(io_remove(bench->io, bench->path), -ENOENT);
}

/* A new database would be seen half made, replace another one, or be left behind under a strange name. */
Test(io, temporary)
{
	for_each(temporary, true);
}

static void map(struct bench *bench)
{
	struct io_file *file = make(bench);
	const void *first = NULL, *second = NULL;
	uint8_t data[4096];

	cr_assert_eq(io_map(file, 0, 8 * MIB, &first), 0);
	cr_assert_eq(io_map(file, 4 * MIB, 4 * MIB, &second), 0);
	cr_assert_eq((uintptr_t)first % (2 * MIB), 0);
	cr_assert_eq((uintptr_t)second % (2 * MIB), 0);
	cr_assert_eq(io_map(file, 100, 4096, &first), -EINVAL);
	cr_assert_eq(io_map(file, 0, 0, &first), -EINVAL);
	cr_assert_eq(io_allocate(file, 0, 8 * MIB), 0);
	cr_assert(zeroed((const uint8_t *)first + 5 * MIB, 4096));
	fill(data, 4096, 5 * MIB);
	cr_assert_eq(io_write(file, 0, 5 * MIB, data, 4096), 0);
	cr_assert(filled((const uint8_t *)first + 5 * MIB, 4096, 5 * MIB));
	cr_assert(filled((const uint8_t *)second + MIB, 4096, 5 * MIB));
	cr_assert_eq(io_close(file), 0);
	cr_assert(filled((const uint8_t *)first + 5 * MIB, 4096, 5 * MIB), "the map outlives the file");
	io_unmap(bench->io, first, 8 * MIB);
	io_unmap(bench->io, second, 4 * MIB);
	cr_assert_eq(io_remove(bench->io, bench->path), 0);
}

/* Readers look into maps that were made before the file grew. */
Test(io, map)
{
	for_each(map, true);
}

static void refused(struct bench *bench)
{
	struct io_file *file = NULL;
	char link_path[160];

	cr_assert_eq(io_open(bench->io, bench->path, 0, &file), -ENOENT);
	cr_assert_eq(io_open(bench->io, bench->path, IO_OPEN_WRITE, &file), -ENOENT);
	cr_assert_eq(io_open(bench->io, bench->directory, 0, &file), -EISDIR);
	cr_assert_eq(io_open(bench->io, bench->directory, IO_OPEN_WRITE, &file), -EISDIR);
	cr_assert_eq(io_open(bench->io, "/dev/null", IO_OPEN_WRITE, &file), -EINVAL);
	cr_assert_eq(mkfifo(bench->path, 0600), 0);
	cr_assert_eq(io_open(bench->io, bench->path, 0, &file), -EINVAL, "and without waiting for a writer");
	cr_assert_eq(io_open(bench->io, bench->path, IO_OPEN_WRITE, &file), -EINVAL);
	unlink(bench->path);
	snprintf(link_path, sizeof(link_path), "%s/link", bench->directory);
	close(open(bench->path, O_CREAT | O_RDWR, 0600));
	cr_assert_eq(symlink(bench->path, link_path), 0);
	cr_assert_eq(io_open(bench->io, link_path, 0, &file), -ELOOP);
	cr_assert_eq(io_open(bench->io, link_path, IO_OPEN_WRITE | IO_OPEN_CREATE, &file), -ELOOP);
	unlink(link_path);
	cr_assert_null(file);
}

/* What is not a file would hang us, or be written over. */
Test(io, refused, .timeout = 20)
{
	for_each(refused, false);
}

static void size_limit(struct bench *bench)
{
	struct io_file *file = make(bench);
	struct rlimit old, small = { .rlim_cur = 100000 };
	static uint8_t data[100001];
	struct io_request pair[2];
	struct io_info info;

	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	signal(SIGXFSZ, SIG_DFL);
	pair[0] = (struct io_request){ .op = IO_WRITE, .file = file, .offset = 90000, .length = 10000, .data = data };
	pair[1] = (struct io_request){ .op = IO_WRITE, .file = file, .offset = 100000, .length = 1, .data = data };
	cr_assert_eq(io_write(file, 0, 0, data, 100001), -EFBIG);
	cr_assert_eq(size_of(file), 0, "nothing was written");
	cr_assert_eq(io_write(file, 0, 100000, data, 1), -EFBIG);
	cr_assert_eq(io_allocate(file, 0, 100001), -EFBIG);
	cr_assert_eq(io_truncate(file, 100001), -EFBIG);
	cr_assert_eq(io_run(bench->io, pair, 2), -EFBIG);
	cr_assert_eq(pair[0].result, 0);
	cr_assert_eq(pair[1].result, -EFBIG);
	cr_assert_eq(io_info(file, &info), 0);
	cr_assert_eq(info.size, 100000);
	cr_assert_eq(info.size_max, 100000);
	setrlimit(RLIMIT_FSIZE, &old);
	done(bench, file);
}

/* SIGXFSZ would kill the program. */
Test(io, size_limit)
{
	for_each(size_limit, true);
}

static void info(struct bench *bench)
{
	struct io_file *file = make(bench), *again = NULL;
	struct io_info a, b;
	struct stat status;

	cr_assert_eq(io_open(bench->io, bench->path, 0, &again), 0);
	cr_assert_eq(io_info(file, &a), 0);
	cr_assert_eq(io_info(again, &b), 0);
	cr_assert(a.device == b.device && a.inode == b.inode && a.birth_ns == b.birth_ns);
	cr_assert_eq(a.physical_sector & (a.physical_sector - 1), 0);
	cr_assert(!a.network);
	cr_assert_geq(a.size_max, GIB);
	if (!bench->disk) {
		cr_assert_eq(stat(bench->path, &status), 0);
		cr_assert(a.inode == status.st_ino && a.device == status.st_dev);
		if (a.birth_ns)
			cr_assert_lt(clock_wall_ns() - a.birth_ns, 3600 * NS_PER_S);
		/* The limit is exact: a file can be so large and no larger. */
		if (a.size_max < UINT64_MAX) {
			cr_assert_eq(ftruncate(file_of(file)->fd, (off_t)a.size_max), 0);
			cr_assert_lt(ftruncate(file_of(file)->fd, (off_t)a.size_max + 1), 0);
		}
	}
	io_close(again);
	done(bench, file);
}

/* A copy would pass for the file it was made from, or the limit of the file system be met by surprise. */
Test(io, info)
{
	for_each(info, true);
}

static void counted(struct bench *bench)
{
	struct slf_stats *values = &bench->stats.values;
	struct io_file *file = make(bench);
	uint8_t data[3][1000] = { 0 };
	struct io_request requests[3], punches[2];
	uint64_t errors;

	for (unsigned i = 0; i < 3; i++)
		requests[i] = (struct io_request){ .op = IO_WRITE, .flags = i == 2 ? IO_DSYNC : 0, .file = file,
						   .offset = i * 1000, .length = 1000, .data = data[i] };
	cr_assert_eq(io_run(bench->io, requests, 3), 0);
	cr_assert_eq(io_allocate(file, 0, 3000), 0);
	cr_assert_eq(io_sync(file), 0);
	punches[0] = (struct io_request){ .op = IO_PUNCH, .file = file, .length = 4096 };
	punches[1] = (struct io_request){ .op = IO_PUNCH, .flags = IO_KEEP, .file = file, .offset = 4096, .length = 4096 };
	cr_assert_eq(values->io_punches, 0);
	(void)io_run(bench->io, punches, 2); /* counted also where the file system cannot do it */
	errors = (punches[0].result < 0) + (punches[1].result < 0);
	cr_assert(values->io_punches == 2 && values->io_errors == errors);
	cr_assert_eq(io_read(file, 0, 2900, data[0], 200), -ENODATA);
	cr_assert(values->io_writes == 3 && values->io_write_bytes == 3000);
	cr_assert(values->io_reads == 1 && values->io_read_bytes == 100);
	cr_assert(values->io_syncs == 2 && values->io_allocates == 1 && values->io_errors == errors);
	cr_assert(values->io_write_ns.count == 1 && values->io_sync_ns.count == 2 && values->io_read_ns.count == 1);
	cr_assert_eq(io_run(bench->io, requests, 0), 0);
	cr_assert_eq(values->io_write_ns.count, 1);
	done(bench, file);
}

/* The statistics would tell of work that was not done, or hide it. */
Test(io, counted)
{
	for_each(counted, true);
}

#define WORKERS 4
#define WORKER_ROUNDS 50
#define WORKER_PIECES 8

struct worker {
	struct io *io;
	struct io_file *file;
	uint64_t base;
	bool right;
};

static void *work(void *context)
{
	struct worker *worker = context;
	static _Thread_local uint8_t data[WORKER_PIECES][4096];
	struct io_request requests[WORKER_PIECES];

	worker->right = true;
	for (unsigned round = 0; round < WORKER_ROUNDS; round++) {
		for (unsigned pass = 0; pass < 2; pass++) {
			for (unsigned i = 0; i < WORKER_PIECES; i++) {
				uint64_t offset = worker->base + i * 4096u;

				if (pass == 0)
					fill(data[i], 4096, offset + round);
				else
					memset(data[i], 0, 4096);
				requests[i] = (struct io_request){ .op = pass ? IO_READ : IO_WRITE, .offset = offset,
								   .file = worker->file, .length = 4096,
								   .data = data[i] };
			}
			worker->right &= io_run(worker->io, requests, WORKER_PIECES) == 0;
		}
		for (unsigned i = 0; i < WORKER_PIECES; i++)
			worker->right &= filled(data[i], 4096, worker->base + i * 4096u + round);
	}
	return NULL;
}

static void threads(struct bench *bench)
{
	struct io_file *file = make(bench);
	struct worker workers[WORKERS];
	pthread_t ids[WORKERS];

	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){ .io = bench->io, .file = file, .base = i * 64 * KIB };
		cr_assert_eq(pthread_create(&ids[i], NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(ids[i], NULL);
		cr_assert(workers[i].right, "%s, thread %u", io_name(bench->io), i);
	}
	cr_assert_eq(bench->stats.values.io_writes, WORKERS * WORKER_ROUNDS * WORKER_PIECES);
	done(bench, file);
}

/* Two batches at once would share a ring, and get each other's answers. */
Test(io, threads, .timeout = 60)
{
	for_each(threads, true);
}

static const char *name_of_new(int kind, const char *wish)
{
	static struct stats stats;
	static char name[16];
	struct io *io = NULL;

	if (wish)
		setenv("SOLIFUGE_IO", wish, 1);
	else
		unsetenv("SOLIFUGE_IO");
	if (io_new(kind, &stats, &io) < 0)
		return "none";
	snprintf(name, sizeof(name), "%s", io_name(io));
	io_free(io);
	return name;
}

/* The wish of the user or of the program would be ignored. */
Test(io, choice)
{
	static const char *const misspelt[] = { "nonsense", "POSIX", "posix ", "uring,posix", "%s%n" };
	struct stats stats = { 0 };
	struct io *io = NULL;

	cr_assert_str_eq(name_of_new(SLF_IO_POSIX, NULL), "posix");
	cr_assert_str_eq(name_of_new(SLF_IO_POSIX, "uring"), "posix");
	cr_assert_str_eq(name_of_new(SLF_IO_DEFAULT, "posix"), "posix");
	cr_assert_str_eq(name_of_new(SLF_IO_POSIX, "nonsense"), "posix");
	cr_assert_eq(io_new(3, &stats, &io), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(misspelt); i++) {
		struct slf_errinfo info = { .size = sizeof(info) };

		setenv("SOLIFUGE_IO", misspelt[i], 1);
		cr_assert_eq(io_new(SLF_IO_DEFAULT, &stats, &io), -EINVAL);
		error_get(&info);
		cr_assert(info.code == -EINVAL && strstr(info.text, "SOLIFUGE_IO") && strstr(info.text, "uring or posix"));
	}
	if (io_uring_new(&stats, &io) < 0)
		cr_skip_test("no io_uring here");
	io_free(io);
	cr_assert_str_eq(name_of_new(SLF_IO_URING, "posix"), "uring");
	cr_assert_str_eq(name_of_new(SLF_IO_DEFAULT, "uring"), "uring");
	cr_assert_str_eq(name_of_new(SLF_IO_DEFAULT, ""), "uring");
	cr_assert_str_eq(name_of_new(SLF_IO_DEFAULT, NULL), "uring");
}

/* A name in the current directory and one in the root have a directory too. */
Test(io, directory_of)
{
	static const char *const cases[][2] = { { "a", "." }, { "/a", "/" }, { "a/b", "a" }, { "/a/b/c", "/a/b" } };
	char directory[16];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		io_directory_of(cases[i][0], directory);
		cr_assert_str_eq(directory, cases[i][1]);
	}
}
