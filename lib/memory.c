/* SPDX-License-Identifier: MIT */
/*
 * A container often sees its own cgroup at the mount's root, while the path that it is told is the one outside: so paths
 * that are not there are passed over, and the root is looked at in any case.
 */
#include "memory.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Reads the beginning of a small file as text: false when it cannot be read. */
static bool text_read(const char *path, char *text, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t bytes = file < 0 ? -1 : read(file, text, size - 1);

	if (file >= 0)
		close(file);
	text[bytes > 0 ? bytes : 0] = 0;
	return bytes >= 0;
}

/* The limit in one file: UINT64_MAX for none ("max"), and when there is no such file. */
static uint64_t limit_read(const char *path)
{
	char text[32];

	if (!text_read(path, text, sizeof(text)) || text[0] < '0' || text[0] > '9')
		return UINT64_MAX;
	return strtoull(text, NULL, 10);
}

/* The tightest limit from the group `path` up to the root. path is used up. */
static uint64_t limit_upward(const char *mount, char *path, const char *file)
{
	uint64_t least = UINT64_MAX;

	for (;;) {
		char name[PATH_MAX];
		char *end = strrchr(path, '/');

		if ((size_t)snprintf(name, sizeof(name), "%s%s/%s", mount, path, file) < sizeof(name))
			least = u64_min(least, limit_read(name));
		if (!end)
			return least;
		*end = 0;
	}
}

static bool lists_memory(const char *controllers, size_t size)
{
	static const char name[] = "memory";
	const size_t length = sizeof(name) - 1;

	for (size_t at = 0; at + length <= size; at++)
		if ((at == 0 || controllers[at - 1] == ',') && memcmp(controllers + at, name, length) == 0 &&
		    (at + length == size || controllers[at + length] == ','))
			return true;
	return false;
}

uint64_t memory_cgroup_bytes(const char *membership, const char *mount)
{
	char text[4096], version1[PATH_MAX];
	uint64_t least = UINT64_MAX;

	if (!text_read(membership, text, sizeof(text)) ||
	    (size_t)snprintf(version1, sizeof(version1), "%s/memory", mount) >= sizeof(version1))
		return UINT64_MAX;
	for (char *line = text, *next; *line; line = next) { /* number:controllers:path */
		char *controllers, *path;

		next = strchr(line, '\n');
		next = next ? next : line + strlen(line);
		if (*next)
			*next++ = 0;
		controllers = strchr(line, ':');
		path = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!path)
			continue;
		controllers++;
		if (path == controllers)
			least = u64_min(least, limit_upward(mount, path + 1, "memory.max"));
		else if (lists_memory(controllers, (size_t)(path - controllers)))
			least = u64_min(least, limit_upward(version1, path + 1, "memory.limit_in_bytes"));
	}
	return least;
}

uint64_t memory_bytes(void)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	return u64_min(machine, memory_cgroup_bytes("/proc/self/cgroup", "/sys/fs/cgroup"));
}
