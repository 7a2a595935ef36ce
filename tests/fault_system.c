/* SPDX-License-Identifier: MIT */
#include "fault_system.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>

#include "wrapped.h"

#define PAGE_BYTES 4096

static struct {
	enum system_call call;
	unsigned spared, times, failed;
	int error;
} plan;

void fault_system_arm(enum system_call call, unsigned spared, unsigned times, int error)
{
	plan.call = call;
	plan.spared = spared;
	plan.times = times;
	plan.failed = 0;
	plan.error = error;
}

unsigned fault_system_disarm(void)
{
	plan.call = SYSTEM_NONE;
	return plan.failed;
}

static bool fails(enum system_call call)
{
	if (plan.call != call || plan.failed == plan.times)
		return false;
	if (plan.spared) {
		plan.spared--;
		return false;
	}
	plan.failed++;
	errno = plan.error;
	return true;
}

/* What a transfer answers that fails. */
static ssize_t nothing(void)
{
	return plan.error ? -1 : 0;
}

WRAPPED(int, access, const char *path, int mode)
{
	return fails(SYSTEM_ACCESS) ? -1 : __real_access(path, mode);
}

/* As Linux does: the descriptor is gone also where closing fails. */
WRAPPED(int, close, int fd)
{
	int result = __real_close(fd);

	return fails(SYSTEM_CLOSE) ? -1 : result;
}

WRAPPED(int, fallocate64, int fd, int mode, off_t offset, off_t length)
{
	return fails(SYSTEM_FALLOCATE) ? -1 : __real_fallocate64(fd, mode, offset, length);
}

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
	va_list list;
	void *argument = NULL;

	va_start(list, command);
	argument = va_arg(list, void *);
	va_end(list);
	return fails(SYSTEM_FCNTL) ? -1 : __real_fcntl64(fd, command, argument);
}

WRAPPED(int, fdatasync, int fd)
{
	return fails(SYSTEM_FDATASYNC) ? -1 : __real_fdatasync(fd);
}

WRAPPED(int, fstat64, int fd, struct stat *status)
{
	return fails(SYSTEM_FSTAT) ? -1 : __real_fstat64(fd, status);
}

WRAPPED(int, fstatfs64, int fd, struct statfs *status)
{
	int result = fails(SYSTEM_FSTATFS) ? -1 : __real_fstatfs64(fd, status);

	if (result == 0 && fails(SYSTEM_FSTATFS_NETWORK))
		status->f_type = NFS_SUPER_MAGIC;
	return result;
}

WRAPPED(int, fsync, int fd)
{
	return fails(SYSTEM_FSYNC) ? -1 : __real_fsync(fd);
}

WRAPPED(int, ftruncate64, int fd, off_t size)
{
	return fails(SYSTEM_FTRUNCATE) ? -1 : __real_ftruncate64(fd, size);
}

WRAPPED(ssize_t, getrandom, void *buffer, size_t size, unsigned flags)
{
	return fails(SYSTEM_GETRANDOM) ? nothing() : __real_getrandom(buffer, size, flags);
}

WRAPPED(int, getrlimit64, int resource, struct rlimit *limit)
{
	return fails(SYSTEM_GETRLIMIT) ? -1 : __real_getrlimit64(resource, limit);
}

WRAPPED(int, link, const char *from, const char *to)
{
	return fails(SYSTEM_LINK) ? -1 : __real_link(from, to);
}

WRAPPED(void *, malloc, size_t size)
{
	return fails(SYSTEM_MEMORY) ? NULL : __real_malloc(size);
}

WRAPPED(void *, calloc, size_t count, size_t size)
{
	return fails(SYSTEM_MEMORY) ? NULL : __real_calloc(count, size);
}

int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap___asprintf_chk(char **text, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

int __wrap_asprintf(char **text, const char *format, ...)
{
	va_list list;
	int result = -1;

	va_start(list, format);
	if (!fails(SYSTEM_MEMORY))
		result = vasprintf(text, format, list);
	va_end(list);
	return result;
}

/* The same in a fortified build. */
int __wrap___asprintf_chk(char **text, int level, const char *format, ...)
{
	va_list list;
	int result = -1;

	(void)level;
	va_start(list, format);
	if (!fails(SYSTEM_MEMORY))
		result = vasprintf(text, format, list);
	va_end(list);
	return result;
}

WRAPPED(void *, mmap64, void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (fails(SYSTEM_MMAP_ASIDE)) {
		uint8_t *area = __real_mmap64(address, length + PAGE_BYTES, protection, flags, fd, offset);

		munmap(area, PAGE_BYTES);
		return area + PAGE_BYTES;
	}
	return fails(SYSTEM_MMAP) ? MAP_FAILED : __real_mmap64(address, length, protection, flags, fd, offset);
}

WRAPPED(int, munmap, void *address, size_t length)
{
	return fails(SYSTEM_MUNMAP) ? -1 : __real_munmap(address, length);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode = 0;

	va_start(list, flags);
	mode = va_arg(list, mode_t);
	va_end(list);
	return fails(SYSTEM_OPEN) ? -1 : __real_open64(path, flags, mode);
}

WRAPPED(ssize_t, pread64, int fd, void *data, size_t length, off_t offset)
{
	return fails(SYSTEM_PREAD) ? nothing() : __real_pread64(fd, data, length, offset);
}

WRAPPED(ssize_t, pwrite64, int fd, const void *data, size_t length, off_t offset)
{
	return fails(SYSTEM_PWRITE) ? nothing() : __real_pwrite64(fd, data, length, offset);
}

WRAPPED(ssize_t, pwritev64v2, int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
	return fails(SYSTEM_PWRITEV2) ? nothing() : __real_pwritev64v2(fd, parts, count, offset, flags);
}

WRAPPED(int, renameat2, int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	return fails(SYSTEM_RENAMEAT2) ? -1 : __real_renameat2(from_fd, from, to_fd, to, flags);
}

WRAPPED(int, statx, int fd, const char *path, int flags, unsigned mask, struct statx *status)
{
	int result = fails(SYSTEM_STATX) ? -1 : __real_statx(fd, path, flags, mask, status);

	if (result == 0 && fails(SYSTEM_STATX_STRANGE)) {
		status->stx_mask &= ~STATX_BTIME;
#ifdef STATX_DIOALIGN
		status->stx_mask |= STATX_DIOALIGN;
		status->stx_dio_offset_align = (uint32_t)plan.error;
		status->stx_dio_mem_align = (uint32_t)plan.error;
#endif
	}
	return result;
}

WRAPPED(int, io_uring_submit_and_wait, struct io_uring *ring, unsigned count)
{
	struct io_uring_cqe *cqe = NULL;
	unsigned head = 0;
	int result = 0;

	if (fails(SYSTEM_RING_ENTER))
		return -plan.error;
	result = __real_io_uring_submit_and_wait(ring, count);
	if (fails(SYSTEM_RING_LEAVE))
		return -plan.error;
	if (plan.call != SYSTEM_RING_ANSWER)
		return result;
	io_uring_for_each_cqe(ring, head, cqe)
		if (fails(SYSTEM_RING_ANSWER))
			cqe->res = -plan.error;
	return result;
}

WRAPPED(struct io_uring_probe *, io_uring_get_probe_ring, struct io_uring *ring)
{
	struct io_uring_probe *probe = __real_io_uring_get_probe_ring(ring);

	if (probe && fails(SYSTEM_RING_PROBE))
		probe->last_op = 0;
	return probe;
}
