/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include "commit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

static void add_text(json_object *to, const char *name, const char *text)
{
	json_object_object_add(to, name, json_object_new_string(text));
}

/* The first line of a file, without its end; "" when there is none. */
static void read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");

	line[0] = 0;
	if (file && !fgets(line, (int)size, file))
		line[0] = 0;
	if (file)
		fclose(file);
	line[strcspn(line, "\n")] = 0;
}

/* What stands behind the colon of the first line that begins with name. */
static void read_named(const char *path, const char *name, char *text, size_t size)
{
	FILE *file = fopen(path, "re");
	char line[1024] = "";

	text[0] = 0;
	while (file && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, name, strlen(name)) || !colon)
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(text, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
		break;
	}
	if (file)
		fclose(file);
}

uint64_t machine_memory_bytes(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Type and options of the mount whose device is that of directory. */
static void add_file_system(json_object *to, const struct stat *status)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[4096] = "", options[1024] = "", type[256] = "";
	unsigned first = 0, second = 0;

	while (file && fgets(line, sizeof(line), file)) {
		char *dash = strstr(line, " - ");

		if (!dash || sscanf(line, "%*d %*d %u:%u %*s %*s %1023s", &first, &second, options) != 3)
			continue;
		if (first != major(status->st_dev) || second != minor(status->st_dev))
			continue;
		if (sscanf(dash, " - %255s", type) == 1)
			break;
	}
	if (file)
		fclose(file);
	add_text(to, "file_system", type);
	add_text(to, "mount_options", options);
}

static void add_device(json_object *to, const struct stat *status)
{
	static const char *const files[] = {
		"queue/rotational", "queue/logical_block_size", "queue/physical_block_size", "queue/scheduler",
		"queue/write_cache", "queue/fua", "queue/read_ahead_kb", "device/model", "size",
	};
	char path[256] = "", text[256] = "", target[256] = "";
	json_object *device = json_object_new_object();
	const char *name = NULL;
	unsigned i = 0;
	ssize_t length = 0;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(status->st_dev), minor(status->st_dev));
	length = readlink(path, target, sizeof(target) - 1);
	target[length > 0 ? length : 0] = 0;
	name = strrchr(target, '/');
	add_text(device, "name", name ? name + 1 : "");
	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		const char *last = strrchr(files[i], '/');

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(status->st_dev), minor(status->st_dev),
			 files[i]);
		read_line(path, text, sizeof(text));
		if (!text[0]) { /* a partition: its disk stands above it */
			snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../%s", major(status->st_dev),
				 minor(status->st_dev), files[i]);
			read_line(path, text, sizeof(text));
		}
		if (text[0])
			add_text(device, last ? last + 1 : files[i], text);
	}
	json_object_object_add(to, "device", device);
}

json_object *machine_describe(const char *directory)
{
	json_object *machine = json_object_new_object();
	struct utsname names = { 0 };
	struct stat status = { 0 };
	char text[1024] = "";

	if (uname(&names) == 0) {
		add_text(machine, "kernel", names.release);
		add_text(machine, "architecture", names.machine);
	}
	read_named("/proc/cpuinfo", "model name", text, sizeof(text));
	add_text(machine, "cpu", text);
	json_object_object_add(machine, "cpus", json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_object_add(machine, "memory_bytes", json_object_new_int64((int64_t)machine_memory_bytes()));
	read_line("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text));
	add_text(machine, "transparent_hugepage", text);
	read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", text, sizeof(text));
	add_text(machine, "frequency_governor", text[0] ? text : "unknown");
	add_text(machine, "compiler", "cc " __VERSION__);
	add_text(machine, "build", BENCH_BUILD);
	add_text(machine, "commit", BENCH_COMMIT);
	read_line("/proc/loadavg", text, sizeof(text));
	add_text(machine, "load_at_start", text);
	if (stat(directory, &status) == 0) {
		add_file_system(machine, &status);
		add_device(machine, &status);
	}
	return machine;
}
