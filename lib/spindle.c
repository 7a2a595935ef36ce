/* SPDX-License-Identifier: MIT */
/*
 * Spindles. Windows of the map are made when first looked into and live until the spindle is closed, so that a view needs
 * neither a lock nor a call once its window is there. The first window is made at opening: where that fails, the whole
 * spindle goes without maps; where a later one fails (no address space), its views are NULL and its bytes are read.
 *
 * size only says what may be looked at through the map: bytes beyond the end of a file would kill us with SIGBUS.
 *
 * Flushes of a file run one at a time, and none runs behind one that failed: it fails at once. For the system may drop what it
 * could not write, whoever wrote it, and tells the first that asks; the flush of a committer that comes behind, or ends
 * in between, would succeed without its bytes. A write with IO_DSYNC asks as well: through the page cache it is one of the
 * flushes that run one at a time, and past it a failure counts as that of a flush, for whose it was nobody tells.
 */
#include "spindle.h"

#include <inttypes.h>
#include <stdlib.h>

#include "error.h"

static int spindle_failed(struct spindle *spindle, int code, uint64_t offset, const char *action)
{
	return error_set(code, spindle->path, (int)spindle->index, offset, "%s: %s", action, error_text(code));
}

static int open_failed(struct spindle *spindle, int code)
{
	const char *reason = error_text(code);

	if (code == -ELOOP)
		reason = "it is a symbolic link";
	else if (code == -EISDIR)
		reason = "it is a directory";
	else if (code == -EINVAL) {
		code = SLF_ENOTDB;
		reason = "it is not a regular file";
	}
	return error_set(code, spindle->path, (int)spindle->index, OFFSET_NONE, "cannot open: %s", reason);
}

/* A file system that cannot map, or no room for the first window, is no failure. */
static int windows_init(struct spindle *spindle)
{
	const void *first = NULL;

	spindle->windows = calloc(WINDOWS_MAX, sizeof(*spindle->windows));
	if (!spindle->windows)
		return -ENOMEM;
	if (io_map(spindle->file, 0, WINDOW_BYTES, &first) < 0) {
		free(spindle->windows);
		spindle->windows = NULL;
		return 0;
	}
	atomic_store_explicit(&spindle->windows[0], first, memory_order_release);
	spindle->mapped = true;
	return 0;
}

/* What opening and creating share: where is what io_open is told. */
static int spindle_start(struct spindle *spindle, struct io *io, const char *path, const char *where, unsigned index,
			 unsigned flags, bool map)
{
	int result = 0;

	memset(spindle, 0, sizeof(*spindle));
	spindle->io = io;
	spindle->index = index;
	spindle->path = strdup(path);
	if (!spindle->path)
		return error_set(-ENOMEM, path, (int)index, OFFSET_NONE, "no memory to open");
	pthread_mutex_init(&spindle->mutex, NULL);
	pthread_mutex_init(&spindle->flushing, NULL);
	result = io_open(io, where, flags, &spindle->file);
	if (result == 0)
		result = io_info(spindle->file, &spindle->info);
	if (result == 0 && map)
		result = windows_init(spindle);
	if (result < 0) {
		result = open_failed(spindle, result);
		spindle_close(spindle);
		return result;
	}
	atomic_store(&spindle->size, spindle->info.size);
	atomic_store(&spindle->direct, spindle->info.direct);
	spindle->ahead_max = UINT64_MAX;
	return 0;
}

int spindle_open(struct spindle *spindle, struct io *io, const char *path, unsigned index, unsigned flags, bool map)
{
	return spindle_start(spindle, io, path, path, index, flags, map);
}

int spindle_create(struct spindle *spindle, struct io *io, const char *path, unsigned index, bool map)
{
	char *directory = malloc(strlen(path) + 2);
	int result = 0;

	memset(spindle, 0, sizeof(*spindle));
	if (!directory)
		return error_set(-ENOMEM, path, (int)index, OFFSET_NONE, "no memory to create");
	io_directory_of(path, directory);
	result = spindle_start(spindle, io, path, directory, index, IO_OPEN_WRITE | IO_OPEN_TEMPORARY, map);
	free(directory);
	return result;
}

int spindle_link(struct spindle *spindle)
{
	int result = io_link(spindle->file, spindle->path);

	return result < 0 ? spindle_failed(spindle, result, OFFSET_NONE, "cannot create") : 0;
}

void spindle_close(struct spindle *spindle)
{
	if (!spindle->path)
		return;
	for (size_t i = 0; spindle->windows && i < WINDOWS_MAX; i++) {
		const uint8_t *window = atomic_load_explicit(&spindle->windows[i], memory_order_relaxed);

		if (window)
			io_unmap(spindle->io, window, WINDOW_BYTES);
	}
	free(spindle->windows);
	io_close(spindle->file);
	pthread_mutex_destroy(&spindle->mutex);
	pthread_mutex_destroy(&spindle->flushing);
	free(spindle->path);
	memset(spindle, 0, sizeof(*spindle));
}

/* Under the mutex. */
static void size_set(struct spindle *spindle, uint64_t size)
{
	atomic_store_explicit(&spindle->size, size, memory_order_release);
	if (size <= spindle->ahead_max || spindle->at_random || !spindle->mapped)
		return;
	spindle->at_random = true;
	for (size_t i = 0; i < WINDOWS_MAX; i++) {
		const uint8_t *window = atomic_load_explicit(&spindle->windows[i], memory_order_relaxed);

		if (window)
			io_map_at_random(spindle->io, window, WINDOW_BYTES);
	}
}

static void spindle_raise(struct spindle *spindle, uint64_t end)
{
	if (end <= atomic_load_explicit(&spindle->size, memory_order_relaxed))
		return;
	pthread_mutex_lock(&spindle->mutex);
	if (end > atomic_load_explicit(&spindle->size, memory_order_relaxed))
		size_set(spindle, end);
	pthread_mutex_unlock(&spindle->mutex);
}

void spindle_read_ahead(struct spindle *spindle, uint64_t bytes)
{
	pthread_mutex_lock(&spindle->mutex);
	spindle->ahead_max = bytes;
	size_set(spindle, atomic_load_explicit(&spindle->size, memory_order_relaxed));
	pthread_mutex_unlock(&spindle->mutex);
}

static int read_past_end(struct spindle *spindle, uint64_t offset, uint64_t length)
{
	struct io_info info;

	if (io_info(spindle->file, &info) < 0)
		info.size = spindle->info.size;
	return error_set(SLF_ECORRUPT, spindle->path, (int)spindle->index, offset,
			 "file ends at %" PRIu64 ", but %" PRIu64 " bytes are needed here", info.size, length);
}

int spindle_read(struct spindle *spindle, unsigned flags, uint64_t offset, void *data, uint64_t length)
{
	int result = 0;

	/* Such an offset comes from damaged bytes; the system would call it an invalid argument. */
	if (offset > OFFSET_MAX || length > OFFSET_MAX - offset)
		return read_past_end(spindle, offset, length);
	result = io_read(spindle->file, flags, offset, data, length);
	if (result == -ENODATA)
		return read_past_end(spindle, offset, length);
	return result < 0 ? spindle_failed(spindle, result, offset, "cannot read") : 0;
}

/* Waits until no flush is under way, and lets none begin. true: an earlier one has failed, and may have dropped what was written
 * before it. In any case flush_end is to follow. */
static bool flush_begin(struct spindle *spindle)
{
	pthread_mutex_lock(&spindle->flushing);
	return spindle->flush_failed;
}

/* result: of the flush. Here, and nowhere else, one is judged. */
static void flush_end(struct spindle *spindle, int result)
{
	spindle->flush_failed |= result < 0;
	pthread_mutex_unlock(&spindle->flushing);
}

static int flush_refused(struct spindle *spindle)
{
	return spindle_failed(spindle, -EIO, OFFSET_NONE, "an earlier flush has failed");
}

static int run_write(struct spindle *spindle, struct io_request *request)
{
	int result = io_run(spindle->io, request, 1);

	return result < 0 ? spindle_failed(spindle, result, request->offset, "cannot write") : 0;
}

/* A write that is a flush too. Past the page cache it runs beside those of the file; when that was refused, for the first
 * time, it is judged behind them. */
static int write_flushing(struct spindle *spindle, struct io_request *request)
{
	bool alone = !(request->flags & IO_DIRECT) || !atomic_load_explicit(&spindle->direct, memory_order_relaxed);
	int result = alone && flush_begin(spindle) ? flush_refused(spindle) : run_write(spindle, request);

	if (!alone && (result || request->buffered)) {
		atomic_store_explicit(&spindle->direct, !request->buffered, memory_order_relaxed);
		if (flush_begin(spindle) && !result)
			result = flush_refused(spindle);
		alone = true;
	}
	if (alone)
		flush_end(spindle, result);
	return result;
}

int spindle_write(struct spindle *spindle, unsigned flags, uint64_t offset, const void *data, uint64_t length)
{
	struct io_request request = { .op = IO_WRITE, .flags = flags, .file = spindle->file, .offset = offset,
				      .length = length, .data = (void *)(uintptr_t)data };
	int result = flags & IO_DSYNC ? write_flushing(spindle, &request) : run_write(spindle, &request);

	if (!result)
		spindle_raise(spindle, offset + length);
	return result;
}

static bool is_set(const uint64_t *which, unsigned index)
{
	return which[index / 64] >> index % 64 & 1;
}

int spindles_sync(struct spindle *spindles, unsigned count, const uint64_t *which)
{
	struct io_request requests[SPINDLES_MAX];
	struct spindle *flushed[SPINDLES_MAX];
	unsigned used = 0;
	int result = 0;

	for (unsigned i = 0; i < count; i++) {
		if (!is_set(which, i))
			continue;
		if (flush_begin(&spindles[i]) && !result)
			result = flush_refused(&spindles[i]);
		requests[used] = (struct io_request){ .op = IO_SYNC, .file = spindles[i].file };
		flushed[used++] = &spindles[i];
	}
	if (used && !result)
		(void)io_run(spindles->io, requests, used);
	for (unsigned i = 0; i < used; i++) {
		if (requests[i].result < 0 && !result)
			result = spindle_failed(flushed[i], requests[i].result, OFFSET_NONE, "cannot flush");
		flush_end(flushed[i], requests[i].result);
	}
	return result;
}

int spindle_sync(struct spindle *spindle)
{
	uint64_t first = 1;

	return spindles_sync(spindle, 1, &first);
}

int spindle_allocate(struct spindle *spindle, uint64_t offset, uint64_t length)
{
	int result = io_allocate(spindle->file, offset, length);

	if (result < 0)
		return spindle_failed(spindle, result, offset, "cannot allocate space");
	spindle_raise(spindle, offset + length);
	return 0;
}

int spindle_refuse_network(const struct spindle *spindle)
{
	if (!spindle->info.network)
		return 0;
	return error_set(-EOPNOTSUPP, spindle->path, (int)spindle->index, OFFSET_NONE,
			 "on a network file system, where locks and flushes may lie: open it read-only or with SLF_NETWORK_FS");
}

/* Under the mutex, so that an allocation that ends meanwhile is not taken back by an older answer. */
int spindle_refresh(struct spindle *spindle)
{
	struct io_info info;
	int result = 0;

	pthread_mutex_lock(&spindle->mutex);
	result = io_info(spindle->file, &info);
	if (result == 0)
		size_set(spindle, info.size);
	pthread_mutex_unlock(&spindle->mutex);
	if (result == 0 && !info.named)
		return error_set(-ENOENT, spindle->path, (int)spindle->index, OFFSET_NONE,
				 "it was removed while it was being opened");
	return result < 0 ? spindle_failed(spindle, result, OFFSET_NONE, "cannot ask for the size") : 0;
}

const void *spindle_view_slow(struct spindle *spindle, uint64_t offset, uint64_t length)
{
	uint64_t size = atomic_load_explicit(&spindle->size, memory_order_acquire);
	uint64_t index = offset / WINDOW_BYTES;
	const uint8_t *window = NULL;
	const void *made = NULL;

	if (!spindle->mapped || length == 0 || length > size || offset > size - length)
		return NULL;
	if (index >= WINDOWS_MAX || (offset + length - 1) / WINDOW_BYTES != index)
		return NULL;
	pthread_mutex_lock(&spindle->mutex);
	window = atomic_load_explicit(&spindle->windows[index], memory_order_acquire);
	if (!window && io_map(spindle->file, index * WINDOW_BYTES, WINDOW_BYTES, &made) == 0) {
		window = made;
		if (spindle->at_random)
			io_map_at_random(spindle->io, window, WINDOW_BYTES);
		atomic_store_explicit(&spindle->windows[index], window, memory_order_release);
	}
	pthread_mutex_unlock(&spindle->mutex);
	return window ? window + offset % WINDOW_BYTES : NULL;
}
