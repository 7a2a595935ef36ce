/* SPDX-License-Identifier: MIT */
/*
 * The real back ends where they differ from a simple disk: descriptors, refusals of the system, short transfers, and the
 * longer ways for what a file system does not have; and every system call that fails.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "fault_system.h"
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
	cr_assert(file_begin(&requests[0]));
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

static void without_fallocate_beyond_the_end(struct bench *bench)
{
	struct io_file *file = make(bench);
	struct io_info info;
	char data[4] = "";

	cr_assert_eq(io_write(file, 0, 0, "one", 3), 0);
	cr_assert_eq(file_allocate_by_writing(file_of(file), 16 * MIB, 4096), 0);
	cr_assert_eq(io_sync(file), 0);
	cr_assert_eq(io_info(file, &info), 0);
	cr_assert_eq(info.size, 16 * MIB + 4096);
	cr_assert_lt(info.allocated_bytes, 8 * MIB, "%llu", (unsigned long long)info.allocated_bytes);
	cr_assert_eq(io_read(file, 0, 0, data, 3), 0);
	cr_assert_str_eq(data, "one");
	done(bench, file);
}

/* It would write over what somebody else writes just now between the end of the file and the range. */
Test(io_file, allocate_by_writing_beyond_the_end)
{
	for_each(without_fallocate_beyond_the_end, false);
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

/* ---- System calls that fail -------------------------------------------------------------------------------------- */

#define OFTEN 1000u /* as often as a call is tried again */

struct failure {
	enum system_call call;
	unsigned spared, times;
	int error;
	int expected;
};

static unsigned descriptors_open(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void expect_failure(const struct bench *bench, const struct failure *failure, int result)
{
	cr_assert_eq(fault_system_disarm(), failure->times, "%s: call %d does not come so often", io_name(bench->io),
		     failure->call);
	cr_assert_eq(result, failure->expected, "%s: call %d with error %d: %d", io_name(bench->io), failure->call,
		     failure->error, result);
}

static void arm(const struct failure *failure)
{
	fault_system_arm(failure->call, failure->spared, failure->times, failure->error);
}

static void opening_fails(struct bench *bench)
{
	static const struct failure named[] = {
		{ SYSTEM_MEMORY, 0, 1, ENOMEM, -ENOMEM },  { SYSTEM_OPEN, 0, 1, EIO, -EIO },
		{ SYSTEM_STATX, 0, 1, EIO, -EIO },         { SYSTEM_FCNTL, 0, 1, EIO, -EIO },
		{ SYSTEM_FCNTL, 1, 1, EIO, -EIO },         { SYSTEM_FSTATFS, 0, 1, EIO, 0 },
		{ SYSTEM_OPEN, 1, 1, EINVAL, 0 },          { SYSTEM_FSTATFS_NETWORK, 0, 1, 0, 0 },
	};
	static const struct failure temporary[] = {
		{ SYSTEM_ACCESS, 0, 1, ENOENT, 0 },        { SYSTEM_OPEN, 0, 1, EOPNOTSUPP, 0 },
		{ SYSTEM_OPEN, 0, 1, EISDIR, 0 },          { SYSTEM_OPEN, 0, 1, EMFILE, -EMFILE },
	};
	struct io_file *file = make(bench);
	struct io_info info;
	unsigned before = 0;

	cr_assert_eq(io_close(file), 0);
	before = descriptors_open();
	for (size_t i = 0; i < ARRAY_SIZE(named); i++) {
		arm(&named[i]);
		expect_failure(bench, &named[i], io_open(bench->io, bench->path, IO_OPEN_WRITE, &file));
		if (named[i].expected)
			continue;
		cr_assert_eq(io_info(file, &info), 0);
		cr_assert_eq(info.network, named[i].call == SYSTEM_FSTATFS_NETWORK);
		cr_assert(!(named[i].call == SYSTEM_OPEN && info.direct));
		cr_assert_eq(io_close(file), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(temporary); i++) {
		arm(&temporary[i]);
		expect_failure(bench, &temporary[i],
			       io_open(bench->io, bench->directory, IO_OPEN_WRITE | IO_OPEN_TEMPORARY, &file));
		if (temporary[i].expected)
			continue;
		cr_assert_not_null(file_of(file)->temporary_name);
		cr_assert_eq(io_close(file), 0);
	}
	cr_assert_eq(descriptors_open(), before);
	cr_assert_eq(io_remove(bench->io, bench->path), 0);
}

/* An open that fails would leave descriptors behind, and one that could do with less would fail. */
Test(io_file, opening_fails)
{
	for_each(opening_fails, false);
}

static void naming_fails(struct bench *bench)
{
	static const struct failure failures[] = {
		{ SYSTEM_GETRANDOM, 0, 1, EAGAIN, 0 },     { SYSTEM_OPEN, 0, 3, EEXIST, 0 },
		{ SYSTEM_OPEN, 0, OFTEN, EEXIST, -EEXIST }, { SYSTEM_OPEN, 0, 1, ENOSPC, -ENOSPC },
		{ SYSTEM_MEMORY, 0, 1, ENOMEM, -ENOMEM },
	};

	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		struct real_file file = { .fd = -1 };

		arm(&failures[i]);
		expect_failure(bench, &failures[i], file_create_named(&file, bench->directory));
		cr_assert_eq(file.temporary_name == NULL, failures[i].expected != 0);
		if (!failures[i].expected) {
			unlink(file.temporary_name);
			free(file.temporary_name);
			close(file.fd);
		}
	}
}

/* A name that is taken would be used twice, or looked for without end. */
Test(io_file, naming_fails)
{
	for_each(naming_fails, false);
}

static void linking_fails(struct bench *bench)
{
	static const struct failure failures[] = {
		{ SYSTEM_RENAMEAT2, 0, 1, EACCES, -EACCES }, { SYSTEM_RENAMEAT2, 0, 1, EINVAL, 0 },
		{ SYSTEM_RENAMEAT2, 0, 1, ENOSYS, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		struct io_file *file = named_temporary(bench);

		arm(&failures[i]);
		expect_failure(bench, &failures[i], io_link(file, bench->path));
		cr_assert_eq(file_of(file)->temporary_name == NULL, failures[i].expected == 0);
		if (failures[i].expected == 0) {
			struct io_file *other = named_temporary(bench);

			arm(&failures[i]);
			cr_assert_eq(io_link(other, bench->path), -EEXIST, "the file is replaced");
			fault_system_disarm();
			cr_assert_eq(io_close(other), 0);
			cr_assert_eq(io_remove(bench->io, bench->path), 0);
		}
		cr_assert_eq(io_close(file), 0);
	}
}

/* The way for file systems that cannot rename without replacing would lose the file, or replace another. */
Test(io_file, linking_fails)
{
	for_each(linking_fails, false);
}

static void whole_file_fails(struct bench *bench)
{
	static const struct failure infos[] = { { SYSTEM_FSTAT, 0, 1, EIO, -EIO }, { SYSTEM_GETRLIMIT, 0, 1, EPERM, 0 } };
	static const struct failure sizes[] = {
		{ SYSTEM_FTRUNCATE, 0, 3, EINTR, 0 },      { SYSTEM_FTRUNCATE, 0, OFTEN, EINTR, -EINTR },
		{ SYSTEM_FTRUNCATE, 0, 1, EIO, -EIO },
	};
	static const struct failure locks[] = {
		{ SYSTEM_FCNTL, 0, 1, EACCES, -EAGAIN },   { SYSTEM_FCNTL, 0, 1, ENOLCK, -ENOLCK },
	};
	static const struct failure maps[] = {
		{ SYSTEM_MMAP, 0, 1, ENOMEM, -ENOMEM },    { SYSTEM_MMAP, 1, 1, EAGAIN, -EAGAIN },
		{ SYSTEM_MMAP_ASIDE, 0, 1, 0, 0 },
	};
	static const struct failure names[] = {
		{ SYSTEM_MEMORY, 0, 1, ENOMEM, -ENOMEM },  { SYSTEM_OPEN, 0, 1, EMFILE, -EMFILE },
		{ SYSTEM_FSYNC, 0, 1, EIO, -EIO },         { SYSTEM_FSYNC, 0, 1, EINVAL, 0 },
	};
	static const struct failure closes[] = { { SYSTEM_CLOSE, 0, 2, EIO, -EIO }, { SYSTEM_CLOSE, 0, 2, EINTR, 0 } };
	struct io_file *file = make(bench);
	const void *address = NULL;
	struct io_info info;

	for (size_t i = 0; i < ARRAY_SIZE(infos); i++) {
		arm(&infos[i]);
		expect_failure(bench, &infos[i], io_info(file, &info));
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		arm(&sizes[i]);
		expect_failure(bench, &sizes[i], io_truncate(file, 4096));
	}
	cr_assert_eq(io_truncate(file, (uint64_t)1 << 63), -EFBIG);
	for (size_t i = 0; i < ARRAY_SIZE(locks); i++) {
		arm(&locks[i]);
		expect_failure(bench, &locks[i], io_lock(file, IO_LOCK_EXCLUSIVE, 0, 1));
	}
	cr_assert_eq(io_lock(file, IO_LOCK_EXCLUSIVE, INT64_MAX, 1), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		arm(&maps[i]);
		expect_failure(bench, &maps[i], io_map(file, 0, 4096, &address));
		if (maps[i].expected)
			continue;
		cr_assert_eq((uintptr_t)address % (2 * MIB), 0);
		cr_assert(zeroed(address, 4096));
		io_unmap(bench->io, address, 4096);
	}
	cr_assert_eq(io_map(file, INT64_MAX - 4095, 8192, &address), -EINVAL, "beyond the last offset there is");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		arm(&names[i]);
		expect_failure(bench, &names[i], io_sync_directory(bench->io, bench->path));
	}
	for (size_t i = 0; i < ARRAY_SIZE(closes); i++) {
		cr_assert_gt(file_of(file)->direct_fd, 0, "no O_DIRECT here");
		arm(&closes[i]);
		expect_failure(bench, &closes[i], io_close(file));
		file = make(bench);
	}
	done(bench, file);
}

/* What the system refuses would pass for done, or an interruption for a failure. */
Test(io_file, whole_file_fails)
{
	for_each(whole_file_fails, false);
}

static void requests_fail(struct bench *bench)
{
	static const struct {
		enum io_op op;
		unsigned flags;
		struct failure failure;
	} cases[] = {
		{ IO_READ, 0, { SYSTEM_PREAD, 0, 3, EINTR, 0 } },
		{ IO_READ, 0, { SYSTEM_PREAD, 0, OFTEN, EAGAIN, -EAGAIN } },
		{ IO_READ, 0, { SYSTEM_PREAD, 0, 1, EIO, -EIO } },
		{ IO_WRITE, 0, { SYSTEM_PWRITE, 0, 3, 0, 0 } },
		{ IO_WRITE, 0, { SYSTEM_PWRITE, 0, OFTEN, 0, -EIO } },
		{ IO_WRITE, 0, { SYSTEM_PWRITE, 0, 1, ENOSPC, -ENOSPC } },
		{ IO_WRITE, 0, { SYSTEM_PWRITE, 0, 1, EOPNOTSUPP, -EOPNOTSUPP } },
		{ IO_WRITE, IO_DSYNC, { SYSTEM_PWRITEV2, 0, 1, EOPNOTSUPP, 0 } },
		{ IO_WRITE, IO_DSYNC, { SYSTEM_PWRITEV2, 0, 1, EIO, -EIO } },
		{ IO_WRITE, IO_DIRECT, { SYSTEM_PWRITE, 0, 1, EINVAL, -EINVAL } },
		{ IO_SYNC, 0, { SYSTEM_FDATASYNC, 0, 1, EIO, -EIO } },
		{ IO_SYNC, 0, { SYSTEM_FDATASYNC, 0, 1, EINTR, -EINTR } },
		{ IO_ALLOCATE, 0, { SYSTEM_FALLOCATE, 0, 3, EINTR, 0 } },
		{ IO_ALLOCATE, 0, { SYSTEM_FALLOCATE, 0, 3, EAGAIN, 0 } },
		{ IO_ALLOCATE, 0, { SYSTEM_FALLOCATE, 0, OFTEN, EINTR, -EINTR } },
		{ IO_ALLOCATE, 0, { SYSTEM_FALLOCATE, 0, 1, ENOSPC, -ENOSPC } },
		{ IO_ALLOCATE, 0, { SYSTEM_FALLOCATE, 0, 1, EDQUOT, -EDQUOT } },
		{ IO_ALLOCATE, 0, { SYSTEM_FALLOCATE, 0, 1, EOPNOTSUPP, 0 } },
		{ IO_ALLOCATE, 0, { SYSTEM_FALLOCATE, 0, 1, ENOSYS, 0 } },
		{ IO_PUNCH, 0, { SYSTEM_FALLOCATE, 0, 1, EOPNOTSUPP, -EOPNOTSUPP } },
		{ IO_PUNCH, IO_KEEP, { SYSTEM_FALLOCATE, 0, 1, EOPNOTSUPP, 0 } },
		{ IO_PUNCH, IO_KEEP, { SYSTEM_FALLOCATE, 0, 2, EOPNOTSUPP, -EOPNOTSUPP } },
	};
	static const struct failure written[] = {
		{ SYSTEM_MEMORY, 0, 1, ENOMEM, -ENOMEM },  { SYSTEM_FSTAT, 0, 1, EIO, -EIO },
		{ SYSTEM_PWRITE, 1, 1, ENOSPC, -ENOSPC },
	};
	struct io_file *file = make(bench);
	uint8_t data[1000];

	fill(data, sizeof(data), 0);
	cr_assert_eq(io_write(file, 0, 0, data, sizeof(data)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		/* not aligned: O_DIRECT is a wish only, and EINVAL behind it is somebody else's fault */
		struct io_request request = { .op = cases[i].op, .flags = cases[i].flags, .file = file, .offset = i * 1000,
					      .length = sizeof(data), .data = data };

		if (request.op == IO_READ)
			request.offset = 0;
		arm(&cases[i].failure);
		expect_failure(bench, &cases[i].failure, io_run(bench->io, &request, 1));
		if (request.op == IO_ALLOCATE && request.result == 0)
			cr_assert_geq(size_of(file), (i + 1) * 1000);
	}
	cr_assert_eq(io_read(file, 0, 0, data, sizeof(data)), 0);
	cr_assert(filled(data, sizeof(data), 0));
	for (size_t i = 0; i < ARRAY_SIZE(written); i++) {
		arm(&written[i]);
		expect_failure(bench, &written[i], file_allocate_by_writing(file_of(file), 0, 1 << 20));
	}
	done(bench, file);
}

/* A transfer that was interrupted would end in the middle, one that fails never end, a flush be tried a second time. */
Test(io_file, requests_fail)
{
	for_each(requests_fail, false);
}

static void refused_requests(struct bench *bench)
{
	static const struct failure without = { SYSTEM_PWRITEV2, 0, 1, EOPNOTSUPP, -EBADF };
	struct io_file *file = make(bench), *reader = NULL;
	uint8_t *data = aligned_alloc(4096, 4096);
	struct rlimit old = { 0 }, limit = { 0 };
	const void *address = NULL;
	struct io_request request = { .op = IO_READ, .file = file, .offset = 10, .length = INT64_MAX, .data = data };

	cr_assert_not_null(data);
	cr_assert_eq(io_run(bench->io, &request, 1), -EINVAL);
	request.offset = (uint64_t)INT64_MAX + 1;
	request.length = 1;
	cr_assert_eq(io_run(bench->io, &request, 1), -EINVAL);
	cr_assert_eq(io_map(file, 0, 0, &address), -EINVAL);
	cr_assert_eq(io_map(file, (uint64_t)INT64_MAX + 1, 4096, &address), -EINVAL);
	fill(data, 4096, 0);
	cr_assert_eq(io_write(file, 0, 0, data, 4096), 0);
	/* a file system that has refused O_DIRECT once is not asked again */
	atomic_store(&file_of(file)->direct, false);
	memset(data, 0, 4096);
	cr_assert_eq(io_read(file, IO_DIRECT, 0, data, 4096), 0);
	cr_assert(filled(data, 4096, 0));
	/* in the longer way for a write that flushes, the write fails */
	cr_assert_eq(io_open(bench->io, bench->path, 0, &reader), 0);
	arm(&without);
	expect_failure(bench, &without, io_write(reader, IO_DSYNC, 0, data, 10));
	cr_assert_eq(io_close(reader), 0);
	/* above the limit a file may become smaller, and nothing else */
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){ .rlim_cur = 1000, .rlim_max = old.rlim_max };
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_eq(io_truncate(file, 3000), 0);
	cr_assert_eq(io_truncate(file, 3001), -EFBIG);
	fault_system_arm(SYSTEM_FSTAT, 0, 1, EIO);
	cr_assert_eq(io_truncate(file, 2000), -EFBIG);
	cr_assert_eq(fault_system_disarm(), 1);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	cr_assert_eq(size_of(file), 3000);
	free(data);
	done(bench, file);
}

static void limit_is_looked_up(struct bench *bench)
{
	static const struct {
		enum io_op op;
		unsigned looks;
	} cases[] = { { IO_READ, 0 }, { IO_SYNC, 0 }, { IO_WRITE_OUT, 0 }, { IO_PUNCH, 0 }, { IO_WRITE, 1 }, { IO_ALLOCATE, 1 } };
	struct io_file *file = make(bench);
	static uint8_t data[4096];

	cr_assert_eq(io_write(file, 0, 0, data, sizeof(data)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct io_request request = { .op = cases[i].op, .file = file, .length = sizeof(data), .data = data };

		fault_system_arm(SYSTEM_GETRLIMIT, 0, OFTEN, EPERM);
		cr_assert_eq(io_run(bench->io, &request, 1), 0);
		cr_assert_eq(fault_system_disarm(), cases[i].looks, "case %zu", i);
	}
	done(bench, file);
}

/* Each read and each flush would pay for a call into the kernel that only files which grow need. */
Test(io_file, limit_is_looked_up)
{
	for_each(limit_is_looked_up, false);
}

/* What cannot be would be asked of the system, which answers as it likes. */
Test(io_file, refused_requests)
{
	for_each(refused_requests, false);
}

static void through_memory(struct bench *bench)
{
	static const struct failure refused = { SYSTEM_PWRITE, 0, 1, EINVAL, 0 };
	static const struct {
		enum io_op op;
		unsigned flags;
		uint64_t length;
		bool buffered;
	} cases[] = {
		{ IO_WRITE, 0, 4096, true },
		{ IO_WRITE, IO_DIRECT, 4096, false },
		{ IO_WRITE, IO_DIRECT, 4095, true },
		{ IO_READ, 0, 4096, true },
		{ IO_READ, IO_DIRECT, 4096, false },
		{ IO_READ, IO_DIRECT, 4095, true },
		{ IO_WRITE, IO_DIRECT, 4096, false },
	};
	struct io_file *file = make(bench);
	uint8_t *data = aligned_alloc(4096, 4096);
	struct io_request request = { .file = file, .data = data };

	cr_assert_not_null(data);
	cr_assert_gt(file_of(file)->direct_fd, 0, "no O_DIRECT here");
	fill(data, 4096, 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		request.op = cases[i].op;
		request.flags = cases[i].flags;
		request.length = cases[i].length;
		cr_assert_eq(io_run(bench->io, &request, 1), 0);
		cr_assert_eq(request.buffered, cases[i].buffered, "%s, case %zu", io_name(bench->io), i);
	}
	arm(&refused);
	expect_failure(bench, &refused, io_run(bench->io, &request, 1));
	cr_assert(request.buffered);
	cr_assert_eq(io_run(bench->io, &request, 1), 0); /* it is not tried a second time */
	cr_assert(request.buffered);
	free(data);
	done(bench, file);
}

/* A write that went through the page cache would pass for a direct one, for which no flush that failed before matters. */
Test(io_file, through_memory)
{
	for_each(through_memory, false);
}

static void strange_units(struct bench *bench)
{
	static const int units[] = { 256, 768, 4096, 1 << 20 };
	struct io_file *file = make(bench);
	struct io_info info;

	cr_assert_eq(io_close(file), 0);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		fault_system_arm(SYSTEM_STATX_STRANGE, 0, 1, units[i]);
		cr_assert_eq(io_open(bench->io, bench->path, IO_OPEN_WRITE, &file), 0);
		cr_assert_eq(fault_system_disarm(), 1);
		cr_assert_eq(io_info(file, &info), 0);
		cr_assert_eq(info.birth_ns, 0);
		cr_assert(info.logical_sector >= 512 && info.logical_sector <= 65536);
		cr_assert_eq(info.logical_sector & (info.logical_sector - 1), 0);
		cr_assert_geq(info.physical_sector, info.logical_sector);
		cr_assert_eq(io_close(file), 0);
	}
#ifdef STATX_DIOALIGN
	fault_system_arm(SYSTEM_STATX_STRANGE, 0, 1, 0); /* direct transfers would go through the page cache */
	cr_assert_eq(io_open(bench->io, bench->path, IO_OPEN_WRITE, &file), 0);
	cr_assert_eq(fault_system_disarm(), 1);
	cr_assert_not(atomic_load(&file_of(file)->direct));
	cr_assert_eq(io_close(file), 0);
#endif
	cr_assert_eq(io_remove(bench->io, bench->path), 0);
}

/* What a device says of its units would be believed although it cannot be: slabs would be padded to it. */
Test(io_file, strange_units)
{
	for_each(strange_units, false);
}

/* A descriptor that would be a standard one, and cannot be another, would stay where programs print to. */
Test(io_file, standard_descriptors_stay_free)
{
	struct io_file *file = NULL;
	int kept = dup(STDIN_FILENO);
	struct bench bench;
	struct io *io = NULL;
	int result = 0;

	bench_init(&bench);
	cr_assert_eq(io_posix_new(&bench.stats, &bench.io), 0);
	close(STDIN_FILENO);
	fault_system_arm(SYSTEM_FCNTL, 0, 1, EMFILE);
	cr_assert_eq(io_open(bench.io, bench.path, IO_OPEN_WRITE | IO_OPEN_CREATE, &file), -EMFILE);
	cr_assert_eq(fault_system_disarm(), 1);
	fault_system_arm(SYSTEM_FCNTL, 0, 1, EMFILE);
	result = io_uring_new(&bench.stats, &io);
	cr_assert(fault_system_disarm() == 0 || result == -EMFILE); /* no call: there are no rings here */
	cr_assert_lt(result, 0);
	cr_assert_eq(fcntl(STDIN_FILENO, F_GETFD), -1);
	dup2(kept, STDIN_FILENO);
	close(kept);
	cr_assert_eq(io_remove(bench.io, bench.path), 0);
	bench_release(&bench);
}

/* A pair of writes or flushes through the ring, and what has become of the bytes. */
static void through_ring(struct bench *bench, enum io_op op, const struct failure *failure)
{
	struct io_file *file = make(bench);
	uint8_t data[2][512];
	struct io_request pair[2];

	for (unsigned i = 0; i < 2; i++) {
		fill(data[i], 512, i * 512);
		pair[i] = (struct io_request){ .op = op, .file = file, .offset = i * 512, .length = 512, .data = data[i] };
	}
	arm(failure);
	expect_failure(bench, failure, io_run(bench->io, pair, 2));
	if (op == IO_WRITE && !failure->expected) {
		memset(data, 0, sizeof(data));
		cr_assert_eq(io_read(file, 0, 0, data, 1024), 0);
		cr_assert(filled(data[0], 1024, 0), "call %d, error %d", failure->call, failure->error);
	}
	done(bench, file);
}

/* What the ring answers would be believed where the plain call does better, or a broken ring be waited for. */
Test(io_file, rings_fail, .timeout = 20)
{
	static const struct failure writes[] = {
		{ SYSTEM_RING_ENTER, 0, 3, EINTR, 0 },     { SYSTEM_RING_ENTER, 0, 3, EAGAIN, 0 },
		{ SYSTEM_RING_ENTER, 0, 3, EBUSY, 0 },     { SYSTEM_RING_ENTER, 0, OFTEN, EAGAIN, 0 },
		{ SYSTEM_RING_ENTER, 0, 1, EIO, 0 },       { SYSTEM_MEMORY, 0, 1, ENOMEM, 0 }, /* for the next ring */
		{ SYSTEM_RING_LEAVE, 0, 1, EIO, 0 },
		{ SYSTEM_RING_ANSWER, 0, 2, EINTR, 0 },    { SYSTEM_RING_ANSWER, 0, 2, EAGAIN, 0 },
		{ SYSTEM_RING_ANSWER, 0, 2, EINVAL, 0 },   { SYSTEM_RING_ANSWER, 0, 2, EOPNOTSUPP, 0 },
		{ SYSTEM_RING_ANSWER, 0, 2, ECANCELED, 0 }, { SYSTEM_RING_ANSWER, 0, 2, 0, 0 },
		{ SYSTEM_RING_ANSWER, 0, 2, ENOSPC, -ENOSPC },
	};
	static const struct failure flush = { SYSTEM_RING_ANSWER, 0, 2, EINTR, -EINTR };
	static const struct failure full[] = { { SYSTEM_RING_ANSWER, 0, 2, ENOSPC, 0 }, { SYSTEM_RING_ANSWER, 0, 2, EDQUOT, 0 } };
	static const struct failure news[] = {
		{ SYSTEM_MEMORY, 0, 1, ENOMEM, -ENOMEM },  { SYSTEM_MEMORY, 1, 1, ENOMEM, -ENOMEM },
		{ SYSTEM_RING_PROBE, 0, 1, 0, -ENOSYS },   { SYSTEM_RING_ENTER, 0, 3, EINTR, 0 },
		{ SYSTEM_RING_ENTER, 0, 1, EPERM, -EPERM },
	};
	static const struct failure plain = { SYSTEM_MEMORY, 0, 1, ENOMEM, -ENOMEM };
	struct bench bench;

	bench_init(&bench);
	if (io_uring_new(&bench.stats, &bench.io) < 0) {
		bench_release(&bench);
		cr_skip_test("no io_uring here");
	}
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++)
		through_ring(&bench, IO_WRITE, &writes[i]);
	through_ring(&bench, IO_SYNC, &flush);
	for (size_t i = 0; i < ARRAY_SIZE(full); i++) /* the plain call looks at what is allocated already */
		through_ring(&bench, IO_ALLOCATE, &full[i]);
	for (size_t i = 0; i < ARRAY_SIZE(news); i++) {
		struct io *io = NULL;

		arm(&news[i]);
		expect_failure(&bench, &news[i], io_uring_new(&bench.stats, &io));
		cr_assert_eq(io == NULL, news[i].expected != 0);
		if (io)
			io_free(io);
	}
	arm(&plain);
	expect_failure(&bench, &plain, io_posix_new(&bench.stats, &(struct io *){ NULL }));
	bench_release(&bench);
}
