/* SPDX-License-Identifier: MIT */
/*
 * The I/O seam: all that Solifuge asks of the operating system about files. Three implementations: io_uring
 * (io_uring.c), plain system calls (io_posix.c) and the simulated disk of the tests (tests/sim_disk.c).
 *
 * io_run carries a batch of requests and returns when all of them are done: a lone request goes the shortest way, many
 * run at once where the back end can. Short transfers are finished and EINTR/EAGAIN retried inside, but a flush that
 * failed is never tried again: the second one may lie. Requests of one batch may be carried out in any order; a flush
 * that must follow a write is a batch of its own (a linked flush would be cancelled by a short write).
 *
 * Threads: io_run and io_map may be called by any number of threads at once on the same file.
 */
#ifndef IO_H
#define IO_H

#include "base.h"
#include "stats.h"

enum io_op {
	IO_READ,      /* up to length bytes; done < length only at the end of the file */
	IO_WRITE,     /* length bytes */
	IO_SYNC,      /* fdatasync of the file; offset and length unused */
	IO_WRITE_OUT, /* starts write-out of a range without waiting; a hint, never fails */
	IO_ALLOCATE,  /* fallocate: the range is allocated and the file reaches at least to its end */
	IO_PUNCH,     /* the range reads as zeros and gives back its space */
};

#define IO_DSYNC 0x1u  /* IO_WRITE: the range is on stable storage when it is done */
#define IO_KEEP 0x4u   /* IO_PUNCH: zeros alone; the space is kept where the file system can */
#define IO_DIRECT 0x2u /* past the page cache where the file system lets us; data, offset, length sector aligned. Where it does not,
                        * a read drops what is clean there first. */

struct io_file;

struct io_request {
	enum io_op op;
	unsigned flags;
	struct io_file *file;
	uint64_t offset; /* bytes */
	uint64_t length; /* bytes */
	void *data;      /* IO_WRITE does not change it */
	uint64_t done;   /* out: bytes transferred */
	int result;      /* out: 0 or -errno */
	bool buffered;   /* out: some of it went through the page cache, whatever was asked for */
};

/* What a file is. */
struct io_info {
	uint64_t size;            /* bytes */
	uint64_t allocated_bytes; /* what the file system has given it */
	uint64_t device, inode;   /* identity */
	uint64_t birth_ns;        /* creation time, 0 where the file system has none */
	uint32_t logical_sector;  /* unit of a direct transfer, bytes; >= 512 */
	uint32_t physical_sector; /* unit that a write may tear as a whole, bytes; >= logical_sector */
	bool direct;              /* IO_DIRECT works */
	bool network;             /* on a network file system */
	bool named;               /* it has a name, so others can open it */
	bool copies;              /* what is written again goes to new space: it may meet a full disk */
	uint64_t size_max;        /* largest file here, bytes (RLIMIT_FSIZE and file system), UINT64_MAX if not known */
};

#define IO_OPEN_WRITE 0x1u    /* else read only */
#define IO_OPEN_TEMPORARY 0x2u /* path names a directory; the file has no name until io_link */
#define IO_OPEN_CREATE 0x4u   /* create when missing (the side file); mode 0600 & ~umask */

enum io_lock { IO_UNLOCK, IO_LOCK_SHARED, IO_LOCK_EXCLUSIVE };

struct io;

struct io_ops {
	const char *name;
	void (*free)(struct io *io);
	int (*open)(struct io *io, const char *path, unsigned flags, struct io_file **file);
	int (*close)(struct io_file *file);
	int (*info)(struct io_file *file, struct io_info *info);
	int (*run)(struct io *io, struct io_request *requests, size_t count); /* returns io_failure() */
	int (*truncate)(struct io_file *file, uint64_t size);
	int (*lock)(struct io_file *file, enum io_lock kind, uint64_t offset, uint64_t length);
	int (*map)(struct io_file *file, uint64_t offset, uint64_t length, const void **address);
	void (*unmap)(struct io *io, const void *address, uint64_t length);
	void (*map_at_random)(struct io *io, const void *address, uint64_t length);
	int (*link)(struct io_file *file, const char *path);
	int (*remove)(struct io *io, const char *path);
	int (*sync_directory)(struct io *io, const char *path);
};

struct io {
	const struct io_ops *ops;
	struct stats *stats; /* where requests are counted; never NULL */
};

/* Makes a back end: kind as in slf_options.io. An absent io_uring is an error only for SLF_IO_URING, else POSIX calls
 * take its place. -EINVAL for a kind that is none, and where the environment asks for one. stats must outlive it. Freed by io_free. */
int io_new(int kind, struct stats *stats, struct io **io);
/* The two real ones. io_uring_new: -ENOSYS, -EPERM and the like where the kernel or a sandbox refuses. */
int io_posix_new(struct stats *stats, struct io **io);
int io_uring_new(struct stats *stats, struct io **io);
void io_free(struct io *io);
static inline const char *io_name(const struct io *io) { return io->ops->name; }

/* Opens with O_CLOEXEC|O_NOFOLLOW, never on descriptors 0 to 2. Refuses a symbolic link (-ELOOP), a directory (-EISDIR)
 * and all else that is not a regular file (-EINVAL). Notes no error detail. */
int io_open(struct io *io, const char *path, unsigned flags, struct io_file **file);
/* file may be NULL. */
int io_close(struct io_file *file);
int io_info(struct io_file *file, struct io_info *info);

/* Returns 0 or the first failure in the order of the array; every request has its own result. Nothing is still under way
 * when it returns. A write beyond RLIMIT_FSIZE is -EFBIG, without SIGXFSZ and with no byte written.
 * Counts every request; an IO_DSYNC write counts as a write and as a flush. The histograms count waits, not requests: a
 * batch adds its time once to each kind in it (to the flushes for an IO_DSYNC write). */
int io_run(struct io *io, struct io_request *requests, size_t count);
/* For back ends: the first failure among requests, 0 when there is none. */
int io_failure(const struct io_request *requests, size_t count);

/* One request. io_read fills length bytes or fails; the end of the file is -ENODATA. */
int io_read(struct io_file *file, unsigned flags, uint64_t offset, void *data, uint64_t length);
int io_write(struct io_file *file, unsigned flags, uint64_t offset, const void *data, uint64_t length);
int io_sync(struct io_file *file);
int io_allocate(struct io_file *file, uint64_t offset, uint64_t length);

int io_truncate(struct io_file *file, uint64_t size);
/* OFD locks, never waiting: -EAGAIN when someone else holds it. length 0: to the end of all offsets. -EBADF for an
 * exclusive lock through a file that was opened for reading. Gone when the file is closed. */
int io_lock(struct io_file *file, enum io_lock kind, uint64_t offset, uint64_t length);
/* A read-only shared map, 2 MiB aligned, advised for huge pages; may reach past the end of the file, where it must not be
 * touched. offset is a multiple of the page size. Outlives the file; ended by io_unmap. */
int io_map(struct io_file *file, uint64_t offset, uint64_t length, const void **address);
void io_unmap(struct io *io, const void *address, uint64_t length);
/* A hint: this part of a map will be looked at here and there, so a page that is missing is read without its neighbours. */
void io_map_at_random(struct io *io, const void *address, uint64_t length);
/* Gives a temporary file its name: -EEXIST when the name is taken. Once. */
int io_link(struct io_file *file, const char *path);
int io_remove(struct io *io, const char *path);
/* Flushes the directory that holds path. */
int io_sync_directory(struct io *io, const char *path);

/* Writes the directory part of path ("." when it has none); directory has room for strlen(path) + 2 bytes. */
void io_directory_of(const char *path, char *directory);

/* Every struct io_file of every back end begins with this. */
struct io_file_base {
	struct io *io;
};
static inline struct io *io_of(struct io_file *file) { return ((struct io_file_base *)(void *)file)->io; }

#endif
