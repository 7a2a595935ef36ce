/* SPDX-License-Identifier: MIT */
/*
 * What the two real back ends share: a file as descriptors, and requests carried out by plain system calls. Only
 * io_posix.c, io_uring.c and the tests include this. Any thread, except that a file is opened and closed by one.
 */
#ifndef IO_FILE_H
#define IO_FILE_H

#include <pthread.h>

#include "io.h"

struct real_file {
	struct io_file_base base;
	int fd;
	int direct_fd;         /* the same file with O_DIRECT, -1 where that is refused */
	bool writable;
	_Atomic bool direct;   /* direct_fd is usable; cleared by the first refusal */
	char *temporary_name;  /* a temporary file's, where the file system has no O_TMPFILE; NULL once linked */
	struct io_info info;   /* what never changes: all but size and allocated_bytes */
	pthread_mutex_t mutex; /* one allocation by writing at a time */
};

static inline struct real_file *file_of(struct io_file *file) { return (struct real_file *)(void *)file; }

/* The functions of struct io_ops. */
int file_open(struct io *io, const char *path, unsigned flags, struct io_file **file);
int file_close(struct io_file *file);
int file_info(struct io_file *file, struct io_info *info);
int file_truncate(struct io_file *file, uint64_t size);
int file_lock(struct io_file *file, enum io_lock kind, uint64_t offset, uint64_t length);
int file_map(struct io_file *file, uint64_t offset, uint64_t length, const void **address);
void file_unmap(struct io *io, const void *address, uint64_t length);
void file_map_at_random(struct io *io, const void *address, uint64_t length);
int file_link(struct io_file *file, const char *path);
int file_remove(struct io *io, const char *path);
int file_sync_directory(struct io *io, const char *path);

/* The size beyond which the kernel would kill us with SIGXFSZ, as of now. */
uint64_t file_size_limit(void);
/* Resets done and result. False when that is all: nothing to do, or refused. Asked for every request of a run. The limit of sizes
 * is looked up for those that can meet it: allocations, and every write, since the kernel holds the place of a write against the
 * limit also where the file is larger already. */
bool file_begin(struct io_request *request);
/* The descriptor for what is left of a read or write: the direct one where it was asked for, works and all is aligned; else the
 * request is noted as buffered, and what a read finds in the page cache is dropped before: after a flush that failed it may
 * not be what the device has. (Not what somebody has mapped, and looked at.) */
int file_descriptor(struct io_request *request);
/* fallocate's mode for IO_PUNCH. */
int file_punch_mode(const struct io_request *request);
/* Does what is left of a begun request (done says what is not) and sets its result. */
void file_finish(struct io_request *request);

/* What file_open and IO_ALLOCATE do on file systems without O_TMPFILE or fallocate. */
int file_create_named(struct real_file *file, const char *directory);
int file_allocate_by_writing(struct real_file *file, uint64_t offset, uint64_t length);

#endif
