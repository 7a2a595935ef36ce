/* SPDX-License-Identifier: MIT */
#include "cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_limit(const char *path, const char *name, uint64_t bytes)
{
	char file_path[4352] = "";
	FILE *file = NULL;
	int result = 0;

	snprintf(file_path, sizeof(file_path), "%s/%s", path, name);
	file = fopen(file_path, "r+e");
	if (!file)
		return -errno;
	if (fprintf(file, "%llu\n", (unsigned long long)bytes) < 0)
		result = -EIO;
	if (fclose(file) && result == 0)
		result = -errno;
	return result;
}

/* Version 2 has a limit of its own for swap, version 1 one for both; neither is there where there is no swap at all. */
static int forbid_swap(const char *path, uint64_t memory_bytes)
{
	int result = write_limit(path, "memory.swap.max", 0);

	if (result == -ENOENT || result == -EACCES)
		result = write_limit(path, "memory.memsw.limit_in_bytes", memory_bytes);
	return result == -ENOENT || result == -EACCES ? 0 : result;
}

int cgroup_make(const char *parent, uint64_t memory_bytes, char *path)
{
	int result = 0;

	snprintf(path, 4096, "%.4000s/solifuge-bench-%d", parent, (int)getpid());
	if (mkdir(path, 0755)) {
		path[0] = 0;
		return -errno;
	}
	result = write_limit(path, "memory.max", memory_bytes);
	if (result == -ENOENT || result == -EACCES)
		result = write_limit(path, "memory.limit_in_bytes", memory_bytes);
	if (result == 0) /* a store's cache would be swapped, which the page cache is not */
		result = forbid_swap(path, memory_bytes);
	if (result) {
		cgroup_remove(path);
		path[0] = 0;
	}
	return result;
}

void cgroup_remove(const char *path)
{
	if (rmdir(path))
		fprintf(stderr, "bench: %s: %m\n", path);
}
