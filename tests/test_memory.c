/* SPDX-License-Identifier: MIT */
/* Limits as cgroups of both versions give them. A limit overlooked makes the database thrash; one made up slows it down. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/stat.h>

#include "memory.h"
#include "scratch.h"

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(memory, .init = set_up, .fini = tear_down);

/* Makes a file below the scratch directory, and the directories on its way. */
static void file_make(const char *name, const char *text)
{
	char path[512];
	FILE *file;

	must((size_t)snprintf(path, sizeof(path), "%s/%s", scratch.directory, name) < sizeof(path));
	for (char *slash = path + strlen(scratch.directory) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(path, 0700);
		*slash = '/';
	}
	file = fopen(path, "w");
	must(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static uint64_t limit(const char *membership)
{
	char name[512], mount[512];

	file_make("membership", membership);
	snprintf(name, sizeof(name), "%s/membership", scratch.directory);
	snprintf(mount, sizeof(mount), "%s/mount", scratch.directory);
	return memory_cgroup_bytes(name, mount);
}

Test(memory, no_cgroups)
{
	cr_assert_eq(memory_cgroup_bytes("/nowhere", "/nowhere"), UINT64_MAX);
	cr_assert_eq(limit(""), UINT64_MAX);
	cr_assert_eq(limit("0::/\n"), UINT64_MAX);
	cr_assert_eq(limit("nonsense\n::\n:\n\n4:memory"), UINT64_MAX);
	cr_assert_gt(memory_bytes(), MIB);
	cr_assert_lt(memory_bytes(), (uint64_t)1 << 50);
}

Test(memory, version_2)
{
	file_make("mount/memory.max", "max\n");
	file_make("mount/a/memory.max", "300000\n");
	file_make("mount/a/b/memory.max", "400000\n");
	file_make("mount/c/memory.max", "100000\n");
	cr_assert_eq(limit("0::/\n"), UINT64_MAX);
	cr_assert_eq(limit("0::/a/b\n"), 300000, "that of the group above is the tighter one");
	cr_assert_eq(limit("0::/a/b/not-there\n"), 300000);
	cr_assert_eq(limit("0::/c"), 100000);
	cr_assert_eq(limit("0::/other\n"), UINT64_MAX);
	cr_assert_eq(limit("no colon\n0::/a/b\n"), 300000);
	file_make("mount/a/memory.max", "");
	cr_assert_eq(limit("0::/a"), UINT64_MAX);
	file_make("mount/a/memory.max", "-1\n");
	cr_assert_eq(limit("0::/a"), UINT64_MAX);
}

/* A path that has no room would be cut, and be that of another group. */
Test(memory, long_names)
{
	static char text[4096], mount[5000];

	file_make("mount/memory.max", "700000\n");
	strcpy(text, "0::/");
	memset(text + 4, 'x', 4085);
	cr_assert_eq(limit(text), 700000, "of the root alone");
	memset(mount, 'm', sizeof(mount) - 1);
	snprintf(text, sizeof(text), "%s/membership", scratch.directory);
	cr_assert_eq(memory_cgroup_bytes(text, mount), UINT64_MAX);
}

Test(memory, version_1)
{
	file_make("mount/memory/memory.limit_in_bytes", "9223372036854771712\n");
	file_make("mount/memory/a/memory.limit_in_bytes", "50000000\n");
	file_make("mount/memorable/a/memory.limit_in_bytes", "1\n");
	cr_assert_eq(limit("3:cpu,cpuacct:/a\n4:memory:/a\n0::/\n"), 50000000);
	cr_assert_eq(limit("3:cpu:/a\n4:hugetlb,memory:/a\n"), 50000000);
	cr_assert_eq(limit("4:memory,hugetlb:/a\n"), 50000000);
	cr_assert_eq(limit("3:memorable:/a\n5:memory:/outside/a\n"), 9223372036854771712u);
	cr_assert_eq(limit("3:memoryless:/a\n"), UINT64_MAX);
}
