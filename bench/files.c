/* SPDX-License-Identifier: MIT */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)
#define WALK_FILES 16

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

void files_remove_tree(const char *path)
{
	(void)nftw(path, remove_one, WALK_FILES, FTW_DEPTH | FTW_PHYS);
}

static int copy_range(int from, int to, off_t at, off_t end, char *buffer)
{
	while (at < end) {
		size_t wanted = (size_t)(end - at) < COPY_BYTES ? (size_t)(end - at) : COPY_BYTES;
		ssize_t got = pread(from, buffer, wanted, at);

		if (got < 0)
			return -errno;
		if (got == 0)
			return 0; /* it has become shorter */
		if (pwrite(to, buffer, (size_t)got, at) != got)
			return errno ? -errno : -EIO;
		at += got;
	}
	return 0;
}

static int copy_content(int from, int to)
{
	char *buffer = malloc(COPY_BYTES);
	struct stat status = { 0 };
	off_t at = 0, end = 0;
	int result = buffer ? 0 : -ENOMEM;

	if (result == 0 && fstat(from, &status))
		result = -errno;
	if (result == 0 && ftruncate(to, status.st_size))
		result = -errno;
	while (result == 0 && end < status.st_size) {
		at = lseek(from, end, SEEK_DATA);
		if (at < 0)
			break; /* a hole up to the end */
		end = lseek(from, at, SEEK_HOLE);
		result = end < 0 ? -errno : copy_range(from, to, at, end, buffer);
	}
	free(buffer);
	return result;
}

int files_copy(const char *from, const char *to)
{
	int source = open(from, O_RDONLY | O_CLOEXEC), target = -1, result = 0;

	if (source < 0)
		return -errno;
	target = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	result = target < 0 ? -errno : copy_content(source, target);
	if (target >= 0 && close(target) && result == 0)
		result = -errno;
	close(source);
	return result;
}

int files_copy_tree(const char *from, const char *to)
{
	DIR *directory = opendir(from);
	struct dirent *entry = NULL;
	char source[4096] = "", target[4096] = "";
	struct stat status = { 0 };
	int result = directory ? 0 : -errno;

	while (result == 0 && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
		snprintf(target, sizeof(target), "%s/%s", to, entry->d_name);
		if (stat(source, &status) == 0 && S_ISREG(status.st_mode))
			result = files_copy(source, target);
	}
	if (directory)
		closedir(directory);
	return result;
}

static _Thread_local uint64_t allocated_bytes;

static int add_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)path;
	(void)walk;
	if (type == FTW_F)
		allocated_bytes += (uint64_t)status->st_blocks * 512;
	return 0;
}

uint64_t files_allocated_bytes(const char *path)
{
	allocated_bytes = 0;
	(void)nftw(path, add_one, WALK_FILES, FTW_PHYS);
	return allocated_bytes;
}

static int sync_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	int file = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	(void)status;
	(void)walk;
	if (file < 0)
		return 0;
	(void)fdatasync(file);
	close(file);
	return 0;
}

void files_sync(const char *path)
{
	(void)nftw(path, sync_one, WALK_FILES, FTW_PHYS);
}

static int drop_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	int file = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	(void)status;
	(void)walk;
	if (file < 0)
		return 0;
	(void)fdatasync(file);
	(void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
	close(file);
	return 0;
}

void files_drop_cache(const char *path)
{
	(void)nftw(path, drop_one, WALK_FILES, FTW_PHYS);
}

void files_write_out(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || syncfs(fd) < 0)
		fprintf(stderr, "bench: syncfs: %m\n");
	if (fd >= 0)
		close(fd);
}

uint64_t files_free_bytes(const char *path)
{
	struct statvfs status = { 0 };

	return statvfs(path, &status) ? 0 : (uint64_t)status.f_bavail * status.f_frsize;
}
