/* SPDX-License-Identifier: MIT */
/*
 * Files and single requests by plain system calls, shared by io_posix.c and io_uring.c.
 *
 * Every transfer ends complete, at the end of the file, or with an error; short counts go on where they stopped. EINTR,
 * EAGAIN and a write of nothing are tried again a bounded number of times. A flush is tried once: after a failure the
 * kernel has marked the pages clean, and a second flush would tell a lie.
 *
 * O_DIRECT has a descriptor of its own. It is a wish: what is not aligned, and everything on a file system that refuses,
 * goes through the page cache. RWF_DSYNC and fallocate are replaced by longer ways where the system has none.
 */
#include "io_file.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "files have 64-bit offsets");

#define RETRIES_MAX 1000u /* in a row without progress */
#define MAP_ALIGN (2 * MIB)
#define LOGICAL_SECTOR_DEFAULT 512u
#define PHYSICAL_SECTOR_DEFAULT 4096u
#define SECTOR_MAX (64 * 1024u) /* a device that claims more is not believed */
#define ZEROS_BYTES (64 * KIB)
#define PROC_PATH_BYTES 40

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

static int open_high(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : descriptor_raise(fd);
}

static void proc_path(int fd, char path[PROC_PATH_BYTES])
{
	snprintf(path, PROC_PATH_BYTES, "/proc/self/fd/%d", fd);
}

/* O_NONBLOCK keeps a FIFO or a device from holding us up until we know what it is. */
static int open_named(struct real_file *file, const char *path, unsigned flags)
{
	int how = (file->writable ? O_RDWR : O_RDONLY) | (flags & IO_OPEN_CREATE ? O_CREAT : 0);

	file->fd = open_high(path, how | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	return file->fd < 0 ? file->fd : 0;
}

int file_create_named(struct real_file *file, const char *directory)
{
	uint64_t number = 0;

	for (unsigned tries = 0; tries < RETRIES_MAX; tries++) {
		if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != (ssize_t)sizeof(number))
			number = clock_now_ns();
		free(file->temporary_name);
		if (asprintf(&file->temporary_name, "%s/.solifuge-%016llx", directory, (unsigned long long)number) < 0) {
			file->temporary_name = NULL;
			return -ENOMEM;
		}
		file->fd = open_high(file->temporary_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
		if (file->fd != -EEXIST)
			break;
	}
	if (file->fd >= 0)
		return 0;
	free(file->temporary_name);
	file->temporary_name = NULL;
	return file->fd;
}

/* Without /proc an unnamed file could not be named later. Old kernels answer EISDIR where O_TMPFILE is not known. */
static int open_temporary(struct real_file *file, const char *directory)
{
	file->fd = access("/proc/self/fd", X_OK) == 0 ? open_high(directory, O_TMPFILE | O_RDWR) : -EOPNOTSUPP;
	if (file->fd == -EOPNOTSUPP || file->fd == -EISDIR)
		return file_create_named(file, directory);
	return file->fd < 0 ? file->fd : 0;
}

static bool sector_valid(uint64_t bytes)
{
	return bytes >= 512 && bytes <= SECTOR_MAX && (bytes & (bytes - 1)) == 0;
}

/* A number from the queue of the device, or of the disk that the partition belongs to; 0 when there is none. */
static uint32_t queue_number(const struct statx *status, const char *name)
{
	static const char *const places[] = { "queue", "../queue" };
	char path[128];
	unsigned number = 0;

	for (size_t i = 0; i < ARRAY_SIZE(places) && !number; i++) {
		FILE *stream = NULL;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", status->stx_dev_major, status->stx_dev_minor,
			 places[i], name);
		stream = fopen(path, "re");
		if (!stream)
			continue;
		if (fscanf(stream, "%u", &number) != 1) /* GCOVR_EXCL_BR_LINE the kernel writes a number */
			number = 0;
		fclose(stream);
	}
	return sector_valid(number) ? number : 0;
}

static void learn_sectors(struct io_info *info, const struct statx *status)
{
	uint32_t logical = 0;
	uint32_t physical = queue_number(status, "physical_block_size");

#ifdef STATX_DIOALIGN
	if (status->stx_mask & STATX_DIOALIGN)
		logical = (uint32_t)u64_max(status->stx_dio_offset_align, status->stx_dio_mem_align);
	if (logical > 0 && logical < 512)
		logical = 512;
#endif
	if (!sector_valid(logical))
		logical = queue_number(status, "logical_block_size");
	info->logical_sector = logical ? logical : LOGICAL_SECTOR_DEFAULT;
	info->physical_sector = physical ? physical : PHYSICAL_SECTOR_DEFAULT;
	if (info->physical_sector < info->logical_sector)
		info->physical_sector = info->logical_sector;
}

static bool on_network(int fd)
{
	static const uint32_t magics[] = {
		0x6969,     /* NFS */
		0x517b,     /* SMB */
		0xfe534d42, /* SMB2 */
		0xff534d42, /* CIFS */
		0x01021997, /* 9P */
		0x00c36400, /* Ceph */
		0x5346414f, /* AFS */
		0x6b414653, /* AFS of kAFS */
		0x73757245, /* Coda */
		0x564c,     /* NCP */
		0x01161970, /* GFS2 */
		0x7461636f, /* OCFS2 */
		0x0bd00bd0, /* Lustre */
		0x47504653, /* GPFS */
		0x786f4256, /* VirtualBox shared folders */
	};
	struct statfs status;

	if (fstatfs(fd, &status) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if ((uint32_t)status.f_type == magics[i])
			return true;
	return false;
}

/* Of the file systems that do, btrfs is the one that allocates ahead all the same. */
static bool copies_on_write(int fd)
{
	struct statfs status;

	return fstatfs(fd, &status) == 0 && (uint32_t)status.f_type == BTRFS_SUPER_MAGIC;
}

/* The largest size the file system gives this file, found by seeking, which checks against it; nobody uses the file
 * position. Asking for the type of the file system would not do: ext4 has files of two kinds. */
static uint64_t file_system_size_max(int fd)
{
	uint64_t size = 0;

	for (uint64_t bit = (uint64_t)1 << 62; bit; bit >>= 1)
		if (lseek(fd, (off_t)(size | bit), SEEK_SET) >= 0)
			size |= bit;
	lseek(fd, 0, SEEK_SET);
	return size > 0 && size < INT64_MAX ? size : UINT64_MAX; /* GCOVR_EXCL_BR_LINE no file system here says so */
}

/* Some open files for direct transfers and carry them out through the page cache all the same; newer kernels say so. */
static bool has_direct(const struct statx *status)
{
#ifdef STATX_DIOALIGN
	return !(status->stx_mask & STATX_DIOALIGN) || status->stx_dio_mem_align > 0;
#else
	(void)status;
	return true;
#endif
}

/* A direct descriptor comes from the open file, not from its path, which may name another file by now. */
static void open_direct(struct real_file *file)
{
	char path[PROC_PATH_BYTES];

	proc_path(file->fd, path);
	file->direct_fd = open_high(path, (file->writable ? O_RDWR : O_RDONLY) | O_DIRECT);
	if (file->direct_fd < 0)
		file->direct_fd = -1;
	atomic_store(&file->direct, file->direct_fd >= 0);
}

static int file_statx(int fd, struct statx *status)
{
	unsigned mask = STATX_BASIC_STATS | STATX_BTIME;

#ifdef STATX_DIOALIGN
	mask |= STATX_DIOALIGN;
#endif
	return statx(fd, "", AT_EMPTY_PATH, mask, status) < 0 ? -errno : 0;
}

/* Refuses what is not a regular file and notes what will never change. */
static int file_learn(struct real_file *file)
{
	struct statx status = { 0 };
	int result = file_statx(file->fd, &status);
	int flags = 0;

	if (result < 0)
		return result;
	if (S_ISDIR(status.stx_mode))
		return -EISDIR;
	if (!S_ISREG(status.stx_mode))
		return -EINVAL;
	flags = fcntl(file->fd, F_GETFL);
	if (flags < 0 || fcntl(file->fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	file->info.device = makedev(status.stx_dev_major, status.stx_dev_minor);
	file->info.inode = status.stx_ino;
	if (status.stx_mask & STATX_BTIME)
		file->info.birth_ns = (uint64_t)status.stx_btime.tv_sec * NS_PER_S + status.stx_btime.tv_nsec;
	learn_sectors(&file->info, &status);
	file->info.network = on_network(file->fd);
	file->info.copies = copies_on_write(file->fd);
	file->info.size_max = file_system_size_max(file->fd);
	if (has_direct(&status))
		open_direct(file);
	return 0;
}

int file_open(struct io *io, const char *path, unsigned flags, struct io_file **out)
{
	struct real_file *file = calloc(1, sizeof(*file));
	int result = 0;

	if (!file)
		return -ENOMEM;
	file->base.io = io;
	file->fd = -1;
	file->direct_fd = -1;
	file->writable = flags & (IO_OPEN_WRITE | IO_OPEN_TEMPORARY);
	pthread_mutex_init(&file->mutex, NULL);
	if (flags & IO_OPEN_TEMPORARY)
		result = open_temporary(file, path);
	else
		result = open_named(file, path, flags);
	if (result == 0)
		result = file_learn(file);
	if (result < 0) {
		file_close((struct io_file *)(void *)file);
		return result;
	}
	*out = (struct io_file *)(void *)file;
	return 0;
}

int file_close(struct io_file *handle)
{
	struct real_file *file = file_of(handle);
	int result = 0;

	if (file->temporary_name)
		unlink(file->temporary_name);
	if (file->direct_fd >= 0)
		close(file->direct_fd);
	/* After EINTR the descriptor is closed all the same, and may be someone else's already. */
	if (file->fd >= 0 && close(file->fd) < 0 && errno != EINTR)
		result = -errno;
	pthread_mutex_destroy(&file->mutex);
	free(file->temporary_name);
	free(file);
	return result;
}

/* ---- The file as a whole ----------------------------------------------------------------------------------------- */

uint64_t file_size_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

int file_info(struct io_file *handle, struct io_info *info)
{
	struct real_file *file = file_of(handle);
	struct stat status;

	if (fstat(file->fd, &status) < 0)
		return -errno;
	*info = file->info;
	info->size = (uint64_t)status.st_size;
	info->allocated_bytes = (uint64_t)status.st_blocks * 512;
	info->direct = atomic_load(&file->direct);
	info->named = status.st_nlink > 0;
	info->size_max = u64_min(info->size_max, file_size_limit());
	return 0;
}

int file_truncate(struct io_file *handle, uint64_t size)
{
	struct real_file *file = file_of(handle);
	struct stat status;
	unsigned tries = 0;

	if (!file->writable)
		return -EBADF;
	if (size > INT64_MAX)
		return -EFBIG;
	if (size > file_size_limit() && (fstat(file->fd, &status) < 0 || size > (uint64_t)status.st_size))
		return -EFBIG;
	while (ftruncate(file->fd, (off_t)size) < 0)
		if (errno != EINTR || ++tries == RETRIES_MAX)
			return -errno;
	return 0;
}

int file_lock(struct io_file *handle, enum io_lock kind, uint64_t offset, uint64_t length)
{
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (offset > INT64_MAX || length > INT64_MAX - offset)
		return -EINVAL;
	if (kind != IO_UNLOCK)
		lock.l_type = kind == IO_LOCK_SHARED ? F_RDLCK : F_WRLCK;
	lock.l_start = (off_t)offset;
	lock.l_len = (off_t)length;
	if (fcntl(file_of(handle)->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

/* Reserves more than is needed, maps over the aligned part and gives back the rest. */
int file_map(struct io_file *handle, uint64_t offset, uint64_t length, const void **address)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t room = 0, head = 0;
	char *area = NULL;
	int result = 0;

	if (length == 0 || offset % page || offset > INT64_MAX || length > INT64_MAX - offset)
		return -EINVAL;
	length = align_up(length, page);
	room = length + MAP_ALIGN;
	if (room > SIZE_MAX)
		return -ENOMEM;
	area = mmap(NULL, (size_t)room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	head = align_up((uintptr_t)area, MAP_ALIGN) - (uintptr_t)area;
	if (mmap(area + head, (size_t)length, PROT_READ, MAP_SHARED | MAP_FIXED, file_of(handle)->fd,
		 (off_t)offset) == MAP_FAILED) {
		result = -errno;
		munmap(area, (size_t)room);
		return result;
	}
	if (head > 0)
		munmap(area, (size_t)head);
	munmap(area + head + length, (size_t)(MAP_ALIGN - head));
	/* A wish: not every kernel has huge pages for files. */
	madvise(area + head, (size_t)length, MADV_HUGEPAGE);
	*address = area + head;
	return 0;
}

void file_unmap(struct io *io, const void *address, uint64_t length)
{
	void *area = NULL;

	(void)io;
	memcpy(&area, &address, sizeof(area));
	munmap(area, (size_t)length);
}

void file_map_at_random(struct io *io, const void *address, uint64_t length)
{
	void *area = (void *)(uintptr_t)address;

	(void)io;
	madvise(area, (size_t)length, MADV_NOHUGEPAGE); /* with huge pages each fault would read 2 MiB */
	madvise(area, (size_t)length, MADV_RANDOM);
}

/* ---- Names ------------------------------------------------------------------------------------------------------- */

/* Moves a file that had to have a name from the start. link and unlink where the file system cannot rename without
 * replacing; a crash in between leaves both names. */
static int rename_temporary(struct real_file *file, const char *path)
{
	if (renameat2(AT_FDCWD, file->temporary_name, AT_FDCWD, path, RENAME_NOREPLACE) < 0) {
		if (errno != EINVAL && errno != ENOSYS)
			return -errno;
		if (link(file->temporary_name, path) < 0)
			return -errno;
		unlink(file->temporary_name);
	}
	free(file->temporary_name);
	file->temporary_name = NULL;
	return 0;
}

int file_link(struct io_file *handle, const char *path)
{
	struct real_file *file = file_of(handle);
	char source[PROC_PATH_BYTES];

	if (file->temporary_name)
		return rename_temporary(file, path);
	proc_path(file->fd, source);
	return linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int file_remove(struct io *io, const char *path)
{
	(void)io;
	return unlink(path) < 0 ? -errno : 0;
}

int file_sync_directory(struct io *io, const char *path)
{
	char *directory = malloc(strlen(path) + 2);
	int result = 0, fd = -1;

	(void)io;
	if (!directory)
		return -ENOMEM;
	io_directory_of(path, directory);
	fd = open_high(directory, O_RDONLY | O_DIRECTORY);
	free(directory);
	if (fd < 0)
		return fd;
	/* EINVAL: this file system keeps names without being asked, or cannot be asked. */
	if (fsync(fd) < 0 && errno != EINVAL)
		result = -errno;
	close(fd);
	return result;
}

/* ---- Requests ---------------------------------------------------------------------------------------------------- */

bool file_begin(struct io_request *request)
{
	bool grows = request->op == IO_WRITE || request->op == IO_ALLOCATE;

	request->done = 0;
	request->result = 0;
	request->buffered = false;
	if (request->op == IO_SYNC)
		return true;
	if (request->length == 0)
		return false;
	if (request->offset > INT64_MAX || request->length > INT64_MAX - request->offset)
		request->result = -EINVAL;
	else if (grows && request->offset + request->length > file_size_limit())
		request->result = -EFBIG;
	return request->result == 0;
}

int file_descriptor(struct io_request *request)
{
	const struct real_file *file = file_of(request->file);
	uint64_t mask = (uintptr_t)request->data | request->offset | request->length | request->done;

	if (request->flags & IO_DIRECT && atomic_load_explicit(&file->direct, memory_order_relaxed) &&
	    mask % file->info.logical_sector == 0)
		return file->direct_fd;
	request->buffered = true;
	if (request->op == IO_READ && request->flags & IO_DIRECT)
		posix_fadvise(file->fd, (off_t)request->offset, (off_t)request->length, POSIX_FADV_DONTNEED);
	return file->fd;
}

/* One system call. Returns bytes or -errno. */
static ssize_t transfer_once(const struct io_request *request, int fd, int flags)
{
	struct iovec part = { .iov_base = (char *)request->data + request->done,
			      .iov_len = (size_t)u64_min(request->length - request->done, GIB) };
	off_t offset = (off_t)(request->offset + request->done);
	ssize_t count = 0;

	if (request->op == IO_READ)
		count = pread(fd, part.iov_base, part.iov_len, offset);
	else if (flags == 0)
		count = pwrite(fd, part.iov_base, part.iov_len, offset);
	else
		count = pwritev2(fd, &part, 1, offset, flags);
	return count < 0 ? -errno : count;
}

static int transfer(struct io_request *request, int flags)
{
	struct real_file *file = file_of(request->file);
	unsigned tries = 0;

	while (request->done < request->length) {
		int fd = file_descriptor(request);
		ssize_t count = transfer_once(request, fd, flags);

		if (count > 0) {
			request->done += (uint64_t)count;
			tries = 0;
		} else if (count == 0 && request->op == IO_READ) {
			break; /* the end of the file */
		} else if (count == -EINVAL && fd == file->direct_fd) {
			atomic_store(&file->direct, false);
		} else if (count != 0 && count != -EINTR && count != -EAGAIN) {
			return (int)count;
		} else if (++tries == RETRIES_MAX) {
			return count ? (int)count : -EIO;
		}
	}
	return 0;
}

static int file_flush(struct real_file *file)
{
	return fdatasync(file->fd) < 0 ? -errno : 0;
}

static int file_write(struct io_request *request)
{
	int flags = request->flags & IO_DSYNC ? RWF_DSYNC : 0;
	int result = transfer(request, flags);

	if (result == -EOPNOTSUPP && flags) {
		result = transfer(request, 0);
		if (result == 0)
			result = file_flush(file_of(request->file));
	}
	return result;
}

/* Only what the file does not have yet is written, and nothing before the range, where somebody else may be writing just now. */
int file_allocate_by_writing(struct real_file *file, uint64_t offset, uint64_t length)
{
	void *zeros = calloc(1, ZEROS_BYTES);
	struct stat status = { 0 };
	int result = 0;

	if (!zeros)
		return -ENOMEM;
	pthread_mutex_lock(&file->mutex);
	if (fstat(file->fd, &status) < 0)
		result = -errno;
	for (uint64_t at = u64_max((uint64_t)status.st_size, offset); result == 0 && at < offset + length;) {
		struct io_request request = { .op = IO_WRITE, .file = (struct io_file *)(void *)file, .offset = at,
					      .length = u64_min(offset + length - at, ZEROS_BYTES), .data = zeros };

		result = transfer(&request, 0);
		at += request.length;
	}
	pthread_mutex_unlock(&file->mutex);
	free(zeros);
	return result;
}

static int file_fallocate(struct real_file *file, int mode, const struct io_request *request)
{
	unsigned tries = 0;

	while (fallocate(file->fd, mode, (off_t)request->offset, (off_t)request->length) < 0)
		if ((errno != EINTR && errno != EAGAIN) || ++tries == RETRIES_MAX)
			return -errno;
	return 0;
}

#define MAPPED_EXTENTS 32u
#define MAPPED_ELSEWHERE (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_SHARED)

/* Does the file own blocks for all of the range? */
static bool is_allocated(const struct real_file *file, uint64_t offset, uint64_t end)
{
	uint8_t memory[sizeof(struct fiemap) + MAPPED_EXTENTS * sizeof(struct fiemap_extent)] __attribute__((aligned(8)));
	struct fiemap *answer = (struct fiemap *)(void *)memory;
	struct stat status;

	if (fstat(file->fd, &status) < 0 || (uint64_t)status.st_size < end)
		return false;
	while (offset < end) {
		memset(memory, 0, sizeof(memory));
		answer->fm_start = offset;
		answer->fm_length = end - offset;
		answer->fm_extent_count = MAPPED_EXTENTS;
		if (ioctl(file->fd, FS_IOC_FIEMAP, answer) < 0 || answer->fm_mapped_extents == 0)
			return false;
		for (uint32_t i = 0; i < answer->fm_mapped_extents && offset < end; i++) {
			const struct fiemap_extent *extent = &answer->fm_extents[i];

			if (extent->fe_logical > offset || extent->fe_flags & MAPPED_ELSEWHERE)
				return false;
			offset = u64_max(offset, extent->fe_logical + extent->fe_length);
		}
	}
	return true;
}

/* A full XFS refuses even what is allocated already: it asks for room before it looks. */
static int file_allocate(struct real_file *file, const struct io_request *request)
{
	int result = file_fallocate(file, 0, request);

	if ((result == -ENOSPC || result == -EDQUOT) &&
	    is_allocated(file, request->offset, request->offset + request->length))
		return 0;
	if (result == -EOPNOTSUPP || result == -ENOSYS)
		result = file_allocate_by_writing(file, request->offset, request->length);
	return result;
}

int file_punch_mode(const struct io_request *request)
{
	return (request->flags & IO_KEEP ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE) | FALLOC_FL_KEEP_SIZE;
}

#define KEEP_STEP_BYTES (16 * KIB)

/* Zeros on allocated space where the file system has no request for it: in steps, so that a full one gets back what it gave. */
static int keep_by_punching(struct real_file *file, const struct io_request *request)
{
	uint64_t end = request->offset + request->length;
	struct io_request step = *request;
	int result = 0;

	for (; step.offset < end && !result; step.offset += step.length) {
		step.length = u64_min(end - step.offset, KEEP_STEP_BYTES);
		result = file_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, &step);
		if (!result)
			result = file_fallocate(file, FALLOC_FL_KEEP_SIZE, &step);
	}
	return result;
}

static int file_punch(struct real_file *file, const struct io_request *request)
{
	int result = file_fallocate(file, file_punch_mode(request), request);

	return result == -EOPNOTSUPP && request->flags & IO_KEEP ? keep_by_punching(file, request) : result;
}

void file_finish(struct io_request *request)
{
	struct real_file *file = file_of(request->file);

	switch (request->op) { /* GCOVR_EXCL_BR_LINE each value has its case */
	case IO_READ:
		request->result = transfer(request, 0);
		break;
	case IO_WRITE:
		request->result = file_write(request);
		break;
	case IO_SYNC:
		request->result = file_flush(file);
		break;
	case IO_WRITE_OUT:
		sync_file_range(file->fd, (off_t)request->offset, (off_t)request->length, SYNC_FILE_RANGE_WRITE);
		request->result = 0;
		break;
	case IO_ALLOCATE:
		request->result = file_allocate(file, request);
		break;
	case IO_PUNCH:
		request->result = file_punch(file, request);
		break;
	}
}
