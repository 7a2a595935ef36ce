/* SPDX-License-Identifier: MIT */
/*
 * The real back ends where they differ from a simple disk: descriptors, refusals of the system, short transfers, and the
 * longer ways for what a file system does not have.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "io_bench.h"

static void direct_refused(struct bench *bench)
{
	struct io_file *file = make(bench);
	uint8_t *data = aligned_alloc(4096, 8192);
	struct io_request pair[2];

	cr_assert_not_null(data);
	/* Stands for such a file system: with this wrong guess everything passes for aligned, and is refused. */
	file_of(file)->info.logical_sector = 1;
	fill(data, 8192, 1);
	for (unsigned i = 0; i < 2; i++)
		pair[i] = (struct io_request){ .op = IO_WRITE, .flags = IO_DIRECT | IO_DSYNC, .file = file,
					       .offset = 1 + i * 4000, .length = 4000, .data = data + 1 + i * 4000 };
	cr_assert_eq(io_run(bench->io, pair, 2), 0);
	memset(data, 0, 8192);
	cr_assert_eq(io_read(file, IO_DIRECT, 1, data, 8000), 0);
	cr_assert(filled(data, 8000, 2));
	if (atomic_load(&file_of(file)->direct))
		cr_log_warn("this file system refuses nothing");
	free(data);
	done(bench, file);
}

/* A file system that takes O_DIRECT at opening and refuses it later must cost nothing but speed. */
Test(io_file, direct_refused)
{
	for_each(direct_refused, false);
}

static void interrupted(struct bench *bench)
{
	struct io_file *file = make(bench);
	uint8_t *area = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t whole[8192];
	struct io_request requests[2];

	cr_assert_neq(area, MAP_FAILED);
	fill(whole, 8192, 0);
	cr_assert_eq(io_write(file, 0, 0, whole, 8192), 0);
	/* The kernel gets as far as the forbidden page, and answers with a short count first. */
	cr_assert_eq(mprotect(area + 4096, 4096, PROT_NONE), 0);
	for (unsigned i = 0; i < 2; i++)
		requests[i] = (struct io_request){ .op = IO_READ, .file = file, .length = 8192, .data = area };
	for (size_t count = 1; count <= 2; count++) {
		memset(area, 0, 4096);
		cr_assert_eq(io_run(bench->io, requests, count), -EFAULT, "%s: half is told as all", io_name(bench->io));
		cr_assert_eq(requests[count - 1].done, 4096);
		cr_assert(filled(area, 4096, 0));
	}
	/* The rest of a request, after a half that is not ours to do again. */
	memset(whole, 0, 8192);
	requests[0] = (struct io_request){ .op = IO_READ, .file = file, .length = 9000, .data = whole };
	cr_assert(file_begin(&requests[0], UINT64_MAX));
	requests[0].done = 1000;
	file_finish(&requests[0]);
	cr_assert_eq(requests[0].result, 0);
	cr_assert_eq(requests[0].done, 8192);
	cr_assert(zeroed(whole, 1000) && filled(whole + 1000, 7192, 1000));
	munmap(area, 8192);
	done(bench, file);
}

/* Half a transfer would pass for a whole one, or its rest would go to the wrong place. */
Test(io_file, short_transfers, .timeout = 20)
{
	for_each(interrupted, false);
}

static struct io_file *named_temporary(struct bench *bench)
{
	struct io_file *file = NULL;
	struct real_file *real = NULL;

	/* Any open file serves: what it had is exchanged. */
	cr_assert_eq(io_open(bench->io, bench->directory, IO_OPEN_WRITE | IO_OPEN_TEMPORARY, &file), 0);
	real = file_of(file);
	close(real->fd);
	cr_assert_eq(file_create_named(real, bench->directory), 0);
	cr_assert_not_null(real->temporary_name);
	return file;
}

static void without_tmpfile(struct bench *bench)
{
	struct io_file *file = named_temporary(bench), *other = named_temporary(bench);
	char data[4] = "";

	cr_assert_eq(io_write(file, 0, 0, "one", 3), 0);
	cr_assert_eq(io_link(file, bench->path), 0);
	cr_assert_eq(io_link(other, bench->path), -EEXIST);
	cr_assert_eq(io_close(other), 0); /* takes its name along: bench_release would find it */
	cr_assert_eq(io_read(file, 0, 0, data, 3), 0);
	cr_assert_eq(io_close(file), 0);
	cr_assert_eq(io_open(bench->io, bench->path, 0, &file), 0);
	memset(data, 0, sizeof(data));
	cr_assert_eq(io_read(file, 0, 0, data, 3), 0);
	cr_assert_str_eq(data, "one");
	done(bench, file);
}

/* The way for file systems without O_TMPFILE. */
Test(io_file, temporary_with_a_name)
{
	for_each(without_tmpfile, false);
}

static void without_fallocate(struct bench *bench)
{
	struct io_file *file = make(bench);
	uint8_t data[4096];
	struct io_info info;

	fill(data, 1000, 0);
	cr_assert_eq(io_write(file, 0, 0, data, 1000), 0);
	cr_assert_eq(file_allocate_by_writing(file_of(file), 100, 200000), 0);
	cr_assert_eq(file_allocate_by_writing(file_of(file), 0, 300), 0);
	cr_assert_eq(io_sync(file), 0);
	cr_assert_eq(io_info(file, &info), 0);
	cr_assert_eq(info.size, 200100);
	cr_assert_geq(info.allocated_bytes, 200100);
	cr_assert_eq(io_read(file, 0, 0, data, 4096), 0);
	cr_assert(filled(data, 1000, 0) && zeroed(data + 1000, 3096));
	done(bench, file);
}

/* The way for file systems without fallocate must never write over data. */
Test(io_file, allocate_by_writing)
{
	for_each(without_fallocate, false);
}

static void descriptors(struct bench *bench)
{
	struct io_file *file = NULL;
	int saved[3];

	for (int i = 0; i < 3; i++) {
		saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
		close(i);
	}
	file = make(bench);
	for (int i = 0; i < 3; i++) {
		int taken = fcntl(i, F_GETFD);

		dup2(saved[i], i);
		close(saved[i]);
		cr_expect_lt(taken, 0, "descriptor %d is in use", i);
	}
	cr_assert_gt(file_of(file)->fd, 2);
	cr_assert(fcntl(file_of(file)->fd, F_GETFD) & FD_CLOEXEC);
	cr_assert(!(fcntl(file_of(file)->fd, F_GETFL) & O_NONBLOCK));
	cr_assert_neq(file_of(file)->direct_fd, 0);
	if (file_of(file)->direct_fd > 0)
		cr_assert(fcntl(file_of(file)->direct_fd, F_GETFD) & FD_CLOEXEC);
	done(bench, file);
}

/* What a program prints would be written into the database. */
Test(io_file, descriptors)
{
	for_each(descriptors, false);
}

/* Without descriptors for a ring the batch still has to be done. */
Test(io_file, uring_without_rings)
{
	struct bench bench;
	struct io_file *file = NULL;
	struct rlimit old, none;
	uint8_t data[2][512];
	struct io_request requests[2];
	struct io *io = NULL;
	int fd = 0;

	bench_init(&bench);
	if (io_uring_new(&bench.stats, &bench.io) < 0) {
		bench_release(&bench);
		cr_skip_test("no io_uring here");
	}
	file = make(&bench);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	fd = dup(0);
	none = (struct rlimit){ .rlim_cur = (rlim_t)fd, .rlim_max = old.rlim_max };
	close(fd);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_assert_eq(io_uring_new(&bench.stats, &io), -EMFILE);
	cr_assert_eq(io_new(SLF_IO_URING, &bench.stats, &io), -EMFILE);
	cr_assert_eq(io_new(SLF_IO_DEFAULT, &bench.stats, &io), 0);
	cr_assert_str_eq(io_name(io), "posix");
	io_free(io);
	setrlimit(RLIMIT_NOFILE, &old);
	for (unsigned i = 0; i < 2; i++) {
		fill(data[i], 512, i * 512);
		requests[i] = (struct io_request){ .op = IO_WRITE, .file = file, .offset = i * 512, .length = 512,
						   .data = data[i] };
	}
	/* The ring in the pool turns into something that is no ring. */
	fd = open("/dev/null", O_RDWR);
	for (int other = 3; other < 64; other++) {
		char name[32], target[64] = "";

		snprintf(name, sizeof(name), "/proc/self/fd/%d", other);
		if (readlink(name, target, sizeof(target) - 1) > 0 && strstr(target, "io_uring"))
			dup2(fd, other);
	}
	close(fd);
	cr_assert_eq(io_run(bench.io, requests, 2), 0);
	cr_assert_eq(io_run(bench.io, requests, 2), 0, "and a new one is made");
	memset(data, 0, sizeof(data));
	cr_assert_eq(io_read(file, 0, 0, data, 1024), 0);
	cr_assert(filled(data[0], 1024, 0));
	done(&bench, file);
	bench_release(&bench);
}
