/* SPDX-License-Identifier: MIT */
/*
 * A spindle: one file of the database, with its name for messages, its size and its window maps. Failures are noted with
 * path and offset. Any thread.
 */
#ifndef SPINDLE_H
#define SPINDLE_H

#include <pthread.h>

#include "base.h"
#include "format.h"
#include "io.h"

#define WINDOW_BYTES GIB
#define SPINDLE_WORDS 4 /* of a set with a bit for each spindle */
#define WINDOWS_MAX (SEGMENT_BYTES / WINDOW_BYTES)

struct spindle {
	struct io *io;
	struct io_file *file;
	char *path;
	unsigned index;
	struct io_info info;    /* as of opening */
	_Atomic uint64_t size;  /* bytes known to be in the file: allocation raises it */
	pthread_mutex_t mutex;  /* guards the making of windows and the raising of size */
	pthread_mutex_t flushing; /* held while a flush of the file runs; several of them in the order of their index */
	bool flush_failed;      /* guarded by flushing: one has */
	_Atomic bool direct;    /* IO_DIRECT has not been refused yet; relaxed: who does not know it learns it by its own write */
	const char *lost_page;  /* why one of its metadata pages is not good; NULL: both are */
	bool uneven_pages;      /* that, or the other one is of another session */
	_Atomic(const uint8_t *) *windows; /* WINDOWS_MAX entries, mapped lazily; NULL table in pread mode */
	bool mapped;            /* views come from maps */
	uint64_t ahead_max;     /* larger than this, the map is read without read-ahead; bytes */
	bool at_random;         /* it is; both guarded by the mutex */
};

/* Opens path and reads what it is; refuses what is not a regular file. flags as io_open. */
int spindle_open(struct spindle *spindle, struct io *io, const char *path, unsigned index, unsigned flags, bool map);
/* A new file without a name in the directory of path. */
int spindle_create(struct spindle *spindle, struct io *io, const char *path, unsigned index, bool map);
/* Locks and flushes of network file systems may lie: -EOPNOTSUPP there. */
int spindle_refuse_network(const struct spindle *spindle);
/* Gives it its name: -EEXIST when it is taken. */
int spindle_link(struct spindle *spindle);
/* Accepts a zeroed object. */
void spindle_close(struct spindle *spindle);

/* As the io functions, with the failure noted. A read beyond the end is SLF_ECORRUPT ("file ends at ..."). */
int spindle_read(struct spindle *spindle, unsigned flags, uint64_t offset, void *data, uint64_t length);
/* IO_DSYNC: as a flush, so when it fails no later flush of the file is believed. */
int spindle_write(struct spindle *spindle, unsigned flags, uint64_t offset, const void *data, uint64_t length);
int spindle_sync(struct spindle *spindle);
/* Flushes at once those of count spindles whose bit is set in which. The first failure. */
int spindles_sync(struct spindle *spindles, unsigned count, const uint64_t *which);
/* Allocates and raises size. */
int spindle_allocate(struct spindle *spindle, uint64_t offset, uint64_t length);
/* Where a file is larger than the memory that can keep it, pages are read one by one: with read-ahead each page that is needed
 * would push others out that are. bytes: how large it may be. Call it once, after opening. */
void spindle_read_ahead(struct spindle *spindle, uint64_t bytes);
/* Looks again how large the file is (another process may have made it grow). -ENOENT when it has lost its name. */
int spindle_refresh(struct spindle *spindle);

/* The bytes [offset, offset + length) in the map: NULL in pread mode, or when they reach beyond the file, cross a window
 * or cannot be mapped; then spindle_read tells what is the matter. No lock and no call into the kernel once mapped. */
const void *spindle_view_slow(struct spindle *spindle, uint64_t offset, uint64_t length);
static inline const void *spindle_view(struct spindle *spindle, uint64_t offset, uint64_t length)
{
	uint64_t size = atomic_load_explicit(&spindle->size, memory_order_acquire);
	const uint8_t *window;

	if (unlikely(!spindle->mapped || length > size || offset > size - length))
		return spindle_view_slow(spindle, offset, length);
	if (unlikely((offset ^ (offset + length - 1)) >= WINDOW_BYTES || offset / WINDOW_BYTES >= WINDOWS_MAX))
		return spindle_view_slow(spindle, offset, length);
	window = atomic_load_explicit(&spindle->windows[offset / WINDOW_BYTES], memory_order_acquire);
	return likely(window != NULL) ? window + offset % WINDOW_BYTES : spindle_view_slow(spindle, offset, length);
}

#endif
