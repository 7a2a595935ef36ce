/* SPDX-License-Identifier: MIT */
#include "fault_system.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io.h"
#include "wrapped.h"

#define SECTOR_BYTES 512u

int __real_fcntl64(int fd, int command, ...);

static struct {
	enum system_call call;
	enum system_move move;
	unsigned spared, times, calls, failed;
	unsigned failed_calls[SYSTEM_CALLS];
	int error;
	bool holding;
} plan;

void fault_system_arm(enum system_call call, unsigned spared, unsigned times, int error)
{
	memset(&plan, 0, sizeof(plan));
	plan.call = call;
	plan.spared = spared;
	plan.times = times;
	plan.error = error;
}

void fault_system_arm_short(enum system_move move, unsigned spared, unsigned times)
{
	fault_system_arm(SYSTEM_TRANSFER, spared, times, 0);
	plan.move = move;
}

unsigned fault_system_disarm(void)
{
	plan.call = SYSTEM_NONE;
	return plan.failed;
}

void fault_system_hold(bool hold)
{
	plan.holding = hold;
}

unsigned fault_system_calls(void)
{
	return plan.calls;
}

unsigned fault_system_failed(enum system_call call)
{
	return call == SYSTEM_ANY ? plan.failed : plan.failed_calls[call];
}

/* One of the kind that is planned; known as call to those who ask what has failed. */
static bool is_due(enum system_call call)
{
	if (plan.holding)
		return false;
	plan.calls++;
	if (plan.failed == plan.times)
		return false;
	if (plan.spared) {
		plan.spared--;
		return false;
	}
	plan.failed++;
	plan.failed_calls[call]++;
	errno = plan.error;
	return true;
}

static bool is_planned(enum system_call call)
{
	return plan.call == call || (plan.call == SYSTEM_ANY && call < SYSTEM_ANY);
}

bool fault_system_fails(enum system_call call)
{
	return is_planned(call) && is_due(call);
}

/* How much of a transfer is asked for in the place of length. */
static size_t shortened(enum system_call call, int fd, size_t length)
{
	size_t unit = 1, moved = 0;

	if (plan.call != SYSTEM_TRANSFER || length == 0)
		return length;
	if (__real_fcntl64(fd, F_GETFL) & O_DIRECT)
		unit = SECTOR_BYTES;
	if (plan.move == MOVE_ALL_BUT_ONE)
		moved = (length - 1) / unit * unit;
	else if (plan.move == MOVE_ONE)
		moved = unit;
	if (moved >= length || (moved == 0 && (plan.move != MOVE_NONE || call == SYSTEM_PREAD)))
		return length;
	return is_due(call) ? moved : length;
}

/* What a transfer answers that fails. */
static ssize_t nothing(void)
{
	return plan.error ? -1 : 0;
}

WRAPPED(int, access, const char *path, int mode)
{
	return fault_system_fails(SYSTEM_ACCESS) ? -1 : __real_access(path, mode);
}

/* As Linux does: the descriptor is gone also where closing fails. */
WRAPPED(int, close, int fd)
{
	int result = __real_close(fd);

	return fault_system_fails(SYSTEM_CLOSE) ? -1 : result;
}

WRAPPED(int, fallocate64, int fd, int mode, off_t offset, off_t length)
{
	return fault_system_fails(SYSTEM_FALLOCATE) ? -1 : __real_fallocate64(fd, mode, offset, length);
}

int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
	va_list list;
	void *argument = NULL;

	va_start(list, command);
	argument = va_arg(list, void *);
	va_end(list);
	return fault_system_fails(SYSTEM_FCNTL) ? -1 : __real_fcntl64(fd, command, argument);
}

WRAPPED(int, fdatasync, int fd)
{
	return fault_system_fails(SYSTEM_FDATASYNC) ? -1 : __real_fdatasync(fd);
}

WRAPPED(int, fstat64, int fd, struct stat *status)
{
	return fault_system_fails(SYSTEM_FSTAT) ? -1 : __real_fstat64(fd, status);
}

WRAPPED(int, fstatfs64, int fd, struct statfs *status)
{
	int result = fault_system_fails(SYSTEM_FSTATFS) ? -1 : __real_fstatfs64(fd, status);

	if (result == 0 && fault_system_fails(SYSTEM_FSTATFS_NETWORK))
		status->f_type = NFS_SUPER_MAGIC;
	return result;
}

WRAPPED(int, fsync, int fd)
{
	return fault_system_fails(SYSTEM_FSYNC) ? -1 : __real_fsync(fd);
}

WRAPPED(int, ftruncate64, int fd, off_t size)
{
	return fault_system_fails(SYSTEM_FTRUNCATE) ? -1 : __real_ftruncate64(fd, size);
}

WRAPPED(int, link, const char *from, const char *to)
{
	return fault_system_fails(SYSTEM_LINK) ? -1 : __real_link(from, to);
}

WRAPPED(int, linkat, int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	return fault_system_fails(SYSTEM_LINKAT) ? -1 : __real_linkat(from_fd, from, to_fd, to, flags);
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
	return fault_system_fails(SYSTEM_OPEN) ? -1 : __real_open64(path, flags, mode);
}

WRAPPED(ssize_t, pread64, int fd, void *data, size_t length, off_t offset)
{
	if (fault_system_fails(SYSTEM_PREAD))
		return nothing();
	return __real_pread64(fd, data, shortened(SYSTEM_PREAD, fd, length), offset);
}

WRAPPED(ssize_t, pwrite64, int fd, const void *data, size_t length, off_t offset)
{
	if (fault_system_fails(SYSTEM_PWRITE))
		return nothing();
	return __real_pwrite64(fd, data, shortened(SYSTEM_PWRITE, fd, length), offset);
}

WRAPPED(ssize_t, pwritev64v2, int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
	struct iovec part = parts[0];

	if (fault_system_fails(SYSTEM_PWRITEV2))
		return nothing();
	if (count != 1)
		return __real_pwritev64v2(fd, parts, count, offset, flags);
	part.iov_len = shortened(SYSTEM_PWRITEV2, fd, part.iov_len);
	return __real_pwritev64v2(fd, &part, 1, offset, flags);
}

WRAPPED(int, renameat2, int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	return fault_system_fails(SYSTEM_RENAMEAT2) ? -1 : __real_renameat2(from_fd, from, to_fd, to, flags);
}

WRAPPED(int, statx, int fd, const char *path, int flags, unsigned mask, struct statx *status)
{
	int result = fault_system_fails(SYSTEM_STATX) ? -1 : __real_statx(fd, path, flags, mask, status);

	if (result == 0 && fault_system_fails(SYSTEM_STATX_STRANGE)) {
		status->stx_mask &= ~STATX_BTIME;
#ifdef STATX_DIOALIGN
		status->stx_mask |= STATX_DIOALIGN;
		status->stx_dio_offset_align = (uint32_t)plan.error;
		status->stx_dio_mem_align = (uint32_t)plan.error;
#endif
	}
	return result;
}

WRAPPED(int, unlink, const char *path)
{
	return fault_system_fails(SYSTEM_UNLINK) ? -1 : __real_unlink(path);
}

WRAPPED(int, io_uring_queue_init, unsigned entries, struct io_uring *ring, unsigned flags)
{
	return fault_system_fails(SYSTEM_RING_INIT) ? -plan.error : __real_io_uring_queue_init(entries, ring, flags);
}

/* The call that would have done without a ring what was asked for. */
static enum system_call plain_call(const struct io_request *request)
{
	static const enum system_call calls[] = {
		[IO_READ] = SYSTEM_PREAD,
		[IO_WRITE] = SYSTEM_PWRITE,
		[IO_SYNC] = SYSTEM_FDATASYNC,
		[IO_ALLOCATE] = SYSTEM_FALLOCATE,
		[IO_PUNCH] = SYSTEM_FALLOCATE,
	};

	return request ? calls[request->op] : SYSTEM_RING_ANSWER; /* none: the ring is only tried */
}

WRAPPED(int, io_uring_submit_and_wait, struct io_uring *ring, unsigned count)
{
	struct io_uring_cqe *cqe = NULL;
	unsigned head = 0;
	int result = 0;

	if (fault_system_fails(SYSTEM_RING_ENTER))
		return -plan.error;
	result = __real_io_uring_submit_and_wait(ring, count);
	if (fault_system_fails(SYSTEM_RING_LEAVE))
		return -plan.error;
	if (!is_planned(SYSTEM_RING_ANSWER))
		return result;
	io_uring_for_each_cqe(ring, head, cqe)
		if (is_due(plain_call(io_uring_cqe_get_data(cqe))))
			cqe->res = -plan.error;
	return result;
}

WRAPPED(struct io_uring_probe *, io_uring_get_probe_ring, struct io_uring *ring)
{
	struct io_uring_probe *probe = __real_io_uring_get_probe_ring(ring);

	if (probe && fault_system_fails(SYSTEM_RING_PROBE))
		probe->last_op = 0;
	return probe;
}
