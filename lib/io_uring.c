/* SPDX-License-Identifier: MIT */
/*
 * The io_uring back end. A lone request takes the plain system call, which is faster than a ring; two and more go
 * through a ring taken from a small pool, so that no two threads ever share one and no lock is held while waiting.
 *
 * The ring makes the first attempt only. What it leaves - the rest of a short transfer, a request that was interrupted,
 * refused or never submitted - is finished by the system calls of io_file.c, so that there is one place that knows how to
 * retry, and a ring that breaks (a sandbox that shuts io_uring late, no memory) costs speed and nothing else. A flush is
 * the exception: once submitted, its result stands.
 *
 * A batch never returns with a request in flight: the kernel would write into memory that is no longer ours. Requests are
 * never linked. Only features of Linux 5.10 are used; a child of fork() must not use the rings, which its caller checks.
 */
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "io_file.h"

#define RING_DEPTH 64u
#define RINGS_IDLE_MAX 16u              /* kept for the next batch; more threads than that make their own */
#define RING_TRANSFER_BYTES_MAX GIB     /* of one submission, whose length has 32 bits; aligned for O_DIRECT */
#define SUBMIT_FAILURES_MAX 1000u       /* in a row, before the ring is given up */
#define REQUEST_PENDING 1               /* private value of io_request.result: not finished yet */

struct ring {
	struct io_uring uring;
	struct ring *next;
};

struct uring_io {
	struct io io;
	pthread_mutex_t mutex; /* guards the pool */
	struct ring *idle;
	unsigned idle_count;
};

static struct uring_io *uring_of(struct io *io)
{
	return container_of(io, struct uring_io, io);
}

static void ring_free(struct ring *ring)
{
	io_uring_queue_exit(&ring->uring);
	free(ring);
}

/* The ring's descriptor is none of the standard ones: a program that finds these closed may open its own there. */
static int ring_raise(struct io_uring *uring)
{
	int high = 0;

	if (uring->ring_fd > STDERR_FILENO)
		return 0;
	high = fcntl(uring->ring_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (high < 0) {
		high = -errno;
		io_uring_queue_exit(uring);
		return high;
	}
	close(uring->ring_fd);
	uring->ring_fd = high;
	uring->enter_ring_fd = high;
	return 0;
}

/* A forked child has no use for it, nor may it keep what the parent unmaps. */
static int ring_keep(struct io_uring *uring)
{
	int result = io_uring_ring_dontfork(uring);

	if (result < 0)
		io_uring_queue_exit(uring);
	return result;
}

static int ring_new(struct ring **out)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	int result = 0;

	if (!ring)
		return -ENOMEM;
	result = io_uring_queue_init(RING_DEPTH, &ring->uring, 0);
	if (result == 0)
		result = ring_raise(&ring->uring);
	if (result == 0)
		result = ring_keep(&ring->uring);
	if (result < 0) {
		free(ring);
		return result;
	}
	*out = ring;
	return 0;
}

/* A ring from the pool, or a new one; NULL when the system gives none. */
static struct ring *ring_take(struct uring_io *uring)
{
	struct ring *ring = NULL;

	pthread_mutex_lock(&uring->mutex);
	ring = uring->idle;
	if (ring) {
		uring->idle = ring->next;
		uring->idle_count--;
	}
	pthread_mutex_unlock(&uring->mutex);
	if (!ring && ring_new(&ring) < 0)
		return NULL;
	return ring;
}

static void ring_give(struct uring_io *uring, struct ring *ring)
{
	bool keep = false;

	pthread_mutex_lock(&uring->mutex);
	keep = uring->idle_count < RINGS_IDLE_MAX;
	if (keep) {
		ring->next = uring->idle;
		uring->idle = ring;
		uring->idle_count++;
	}
	pthread_mutex_unlock(&uring->mutex);
	if (!keep)
		ring_free(ring);
}

static void ring_push(struct ring *ring, struct io_request *request)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
	unsigned chunk = (unsigned)u64_min(request->length, RING_TRANSFER_BYTES_MAX);
	int fd = file_of(request->file)->fd;

	assert(sqe != NULL); /* never more than RING_DEPTH in flight */
	switch (request->op) { /* GCOVR_EXCL_BR_LINE each value has its case, and hints come no further */
	case IO_READ:
		io_uring_prep_read(sqe, file_descriptor(request), request->data, chunk, request->offset);
		break;
	case IO_WRITE:
		io_uring_prep_write(sqe, file_descriptor(request), request->data, chunk, request->offset);
		sqe->rw_flags = request->flags & IO_DSYNC ? RWF_DSYNC : 0;
		break;
	case IO_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case IO_ALLOCATE:
		io_uring_prep_fallocate(sqe, fd, 0, (off_t)request->offset, (off_t)request->length);
		break;
	case IO_PUNCH:
		io_uring_prep_fallocate(sqe, fd, file_punch_mode(request), (off_t)request->offset, (off_t)request->length);
		break;
	case IO_WRITE_OUT:
		assert(!"a hint does not go through the ring");
	}
	io_uring_sqe_set_data(sqe, request);
}

/* Failures that the system call may not have: the kernel or the file system knows the request only in the plain form. */
static bool worth_finishing(int failure)
{
	return failure == -EINTR || failure == -EAGAIN || failure == -EINVAL || failure == -EOPNOTSUPP ||
	       failure == -ECANCELED;
}

/* Takes over what the ring says; leaves the result at REQUEST_PENDING when something is left to do. A full file system is
 * asked again in the plain way, which looks for what is there. */
static void request_complete(struct io_request *request, int answer)
{
	bool transfer = request->op == IO_READ || request->op == IO_WRITE;
	bool full = request->op == IO_ALLOCATE && (answer == -ENOSPC || answer == -EDQUOT);

	if (answer < 0) {
		if (request->op == IO_SYNC || (!full && !worth_finishing(answer)))
			request->result = answer;
		return;
	}
	if (transfer)
		request->done = (uint64_t)answer;
	if (!transfer || request->done == request->length || (request->op == IO_READ && answer == 0))
		request->result = 0;
}

static size_t ring_reap(struct ring *ring)
{
	struct io_uring_cqe *cqe = NULL;
	size_t count = 0;

	for (; io_uring_peek_cqe(&ring->uring, &cqe) == 0; count++) {
		request_complete(io_uring_cqe_get_data(cqe), cqe->res);
		io_uring_cqe_seen(&ring->uring, cqe);
	}
	return count;
}

/* Waits for in_flight requests of a ring that can no longer be entered: completions still arrive in shared memory. */
static void ring_drain(struct ring *ring, size_t in_flight)
{
	const struct timespec pause = { .tv_nsec = 100 * 1000 };

	while (in_flight > 0) {
		in_flight -= ring_reap(ring);
		if (in_flight > 0)
			nanosleep(&pause, NULL);
	}
}

/* Submits what is queued and waits for a completion. Positive: try again; negative: the ring is broken. */
static int ring_enter(struct ring *ring, unsigned *failures)
{
	int result = io_uring_submit_and_wait(&ring->uring, 1);

	if (result >= 0) {
		*failures = 0;
		return 0;
	}
	if (result == -EINTR)
		return 1;
	if ((result == -EAGAIN || result == -EBUSY) && ++*failures < SUBMIT_FAILURES_MAX)
		return 1;
	return result;
}

/* Carries the pending requests. A failure says that the ring must be thrown away; nothing is in flight either way. */
static int ring_run(struct ring *ring, struct io_request *requests, size_t count)
{
	unsigned failures = 0;
	size_t next = 0, in_flight = 0;
	int result = 0;

	for (;;) {
		for (; next < count && in_flight < RING_DEPTH; next++) {
			if (requests[next].result != REQUEST_PENDING)
				continue;
			ring_push(ring, &requests[next]);
			in_flight++;
		}
		if (in_flight == 0)
			return 0;
		result = ring_enter(ring, &failures);
		if (result < 0) {
			/* Those that the kernel has not taken are still in the queue, and will stay there. */
			ring_drain(ring, in_flight - io_uring_sq_ready(&ring->uring));
			return result;
		}
		in_flight -= ring_reap(ring);
	}
}

/* Marks what is to be done; hints are given at once. Returns how many are pending. */
static size_t run_begin(struct io_request *requests, size_t count)
{
	size_t pending = 0;

	for (size_t i = 0; i < count; i++) {
		if (!file_begin(&requests[i]))
			continue;
		if (requests[i].op == IO_WRITE_OUT) {
			file_finish(&requests[i]);
			continue;
		}
		requests[i].result = REQUEST_PENDING;
		pending++;
	}
	return pending;
}

static int uring_run(struct io *io, struct io_request *requests, size_t count)
{
	struct uring_io *uring = uring_of(io);
	size_t pending = run_begin(requests, count);
	struct ring *ring = pending > 1 ? ring_take(uring) : NULL;

	if (ring) {
		if (ring_run(ring, requests, count) < 0)
			ring_free(ring);
		else
			ring_give(uring, ring);
	}
	for (size_t i = 0; i < count; i++)
		if (requests[i].result == REQUEST_PENDING)
			file_finish(&requests[i]);
	return io_failure(requests, count);
}

static void uring_free(struct io *io)
{
	struct uring_io *uring = uring_of(io);
	struct ring *next = NULL;

	for (struct ring *ring = uring->idle; ring; ring = next) {
		next = ring->next;
		ring_free(ring);
	}
	pthread_mutex_destroy(&uring->mutex);
	free(uring);
}

static const struct io_ops uring_ops = {
	.name = "uring",
	.free = uring_free,
	.open = file_open,
	.close = file_close,
	.info = file_info,
	.run = uring_run,
	.truncate = file_truncate,
	.lock = file_lock,
	.map = file_map,
	.unmap = file_unmap,
	.map_at_random = file_map_at_random,
	.link = file_link,
	.remove = file_remove,
	.sync_directory = file_sync_directory,
};

/* Whether the kernel knows all we send and lets us in: some sandboxes allow the set-up and forbid the use. */
static int ring_probe(struct ring *ring)
{
	static const int needed[] = { IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC, IORING_OP_FALLOCATE };
	struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->uring);
	struct io_uring_cqe *cqe = NULL;
	bool known = probe != NULL;
	int result = 0;

	for (size_t i = 0; known && i < ARRAY_SIZE(needed); i++)
		known = io_uring_opcode_supported(probe, needed[i]);
	io_uring_free_probe(probe);
	if (!known)
		return -ENOSYS;
	io_uring_prep_nop(io_uring_get_sqe(&ring->uring));
	do
		result = io_uring_submit_and_wait(&ring->uring, 1);
	while (result == -EINTR);
	if (result < 0)
		return result;
	while ((result = io_uring_wait_cqe(&ring->uring, &cqe)) == -EINTR) /* GCOVR_EXCL_BR_LINE the answer is there */
		continue;
	if (result == 0)
		io_uring_cqe_seen(&ring->uring, cqe);
	return result;
}

int io_uring_new(struct stats *stats, struct io **io)
{
	struct uring_io *uring = NULL;
	struct ring *ring = NULL;
	int result = ring_new(&ring);

	if (result < 0)
		return result;
	result = ring_probe(ring);
	if (result < 0)
		goto out;
	uring = calloc(1, sizeof(*uring));
	result = uring ? 0 : -ENOMEM;
	if (result < 0)
		goto out;
	uring->io.ops = &uring_ops;
	uring->io.stats = stats;
	pthread_mutex_init(&uring->mutex, NULL);
	ring_give(uring, ring);
	ring = NULL;
	*io = &uring->io;
out:
	if (ring)
		ring_free(ring);
	return result;
}
