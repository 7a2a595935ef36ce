/* SPDX-License-Identifier: MIT */
/*
 * Bytes written are those of /proc/self/io: pages count when they become dirty, direct writes when they are submitted;
 * what was deleted before it was written back is taken off again. A page counts whole, with large folios even its
 * neighbours, and the journal of the file system not at all, so this is near the truth for direct writes only. Those of
 * the device count when they reach it, the journal included, and whatever others write: they are right after a sync on
 * a quiet machine, and the bytes of other processes tell whether it was quiet.
 *
 * What other processes take is summed over /proc, with the children that they have waited for, so that those which end
 * meanwhile are still counted. Threads of the kernel are told apart: they write and flush for the store.
 */
#include "meter.h"

#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE_US 10000
#define SECTOR_BYTES 512
#define KERNEL_THREAD_FLAG 0x00200000u /* PF_KTHREAD */

static double timeval_seconds(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

double meter_cpu_seconds(const struct rusage *usage)
{
	return timeval_seconds(usage->ru_utime) + timeval_seconds(usage->ru_stime);
}

static uint64_t clock_ns(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The number behind name in a file of "name: number" lines; 0 when it is not there. */
static uint64_t read_field(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	unsigned long long number = 0;
	char line[256] = "";

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), ": %llu", &number) == 1)
			break;
	if (file)
		fclose(file);
	return number;
}

static bool read_device(const char *path, uint64_t *bytes)
{
	struct stat status = { 0 };
	unsigned long long sectors = 0;
	char name[64] = "";
	FILE *file = NULL;
	bool found = false;

	if (stat(path, &status))
		return false;
	snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/stat", major(status.st_dev), minor(status.st_dev));
	file = fopen(name, "re");
	if (!file)
		return false;
	found = fscanf(file, "%*u %*u %*u %*u %*u %*u %llu", &sectors) == 1;
	fclose(file);
	*bytes = sectors * SECTOR_BYTES;
	return found;
}

void meter_read(struct meter *meter, const char *path)
{
	struct rusage usage = { 0 };

	meter->device = read_device(path, &meter->device_written_bytes);
	meter->read_bytes = read_field("/proc/self/io", "read_bytes");
	meter->written_bytes = read_field("/proc/self/io", "write_bytes") -
			       read_field("/proc/self/io", "cancelled_write_bytes");
	getrusage(RUSAGE_SELF, &usage);
	meter->cpu_seconds = meter_cpu_seconds(&usage);
	meter->ns = clock_ns();
}

static pthread_t sampler;
static atomic_bool sampling;
static uint64_t anonymous_peak;

static void *sample(void *context)
{
	while (atomic_load(&sampling)) {
		uint64_t now = read_field("/proc/self/status", "RssAnon") << 10;

		if (now > anonymous_peak)
			anonymous_peak = now;
		usleep(SAMPLE_US);
	}
	return context;
}

void meter_memory_start(void)
{
	FILE *file = fopen("/proc/self/clear_refs", "we");

	if (file) {
		fputs("5", file); /* starts the peak anew */
		fclose(file);
	}
	anonymous_peak = read_field("/proc/self/status", "RssAnon") << 10;
	atomic_store(&sampling, true);
	if (pthread_create(&sampler, NULL, sample, NULL))
		atomic_store(&sampling, false);
}

void meter_memory_stop(struct meter_memory *memory)
{
	if (atomic_exchange(&sampling, false))
		pthread_join(sampler, NULL);
	memory->resident_bytes = read_field("/proc/self/status", "VmHWM") << 10;
	memory->anonymous_bytes = anonymous_peak;
}

/* ---- What others take -------------------------------------------------------------------------------------------- */

/* Adds what the process has taken so far, unless it is this one, the one that waits for it, or a child. */
static void add_process(const char *pid, struct meter_machine *machine)
{
	char path[300] = "", line[1024] = "";
	unsigned long long user = 0, system = 0, children_user = 0, children_system = 0;
	const char *rest = NULL;
	unsigned flags = 0;
	int parent = 0, own = atoi(pid);
	FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	file = fopen(path, "re");
	if (file && fgets(line, sizeof(line), file))
		rest = strrchr(line, ')');
	if (file)
		fclose(file);
	/* state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime */
	if (!rest || sscanf(rest + 1, " %*c %d %*d %*d %*d %*d %u %*u %*u %*u %*u %llu %llu %llu %llu", &parent, &flags,
			    &user, &system, &children_user, &children_system) != 6)
		return;
	if (flags & KERNEL_THREAD_FLAG) {
		machine->kernel += (double)(user + system);
	} else if (own != getpid() && own != getppid() && parent != getpid()) {
		machine->foreign += (double)(user + system + children_user + children_system);
		snprintf(path, sizeof(path), "/proc/%s/io", pid);
		machine->foreign_bytes += read_field(path, "read_bytes") + read_field(path, "write_bytes");
	}
}

static void add_processes(struct meter_machine *machine)
{
	DIR *directory = opendir("/proc");
	struct dirent *entry = NULL;

	while (directory && (entry = readdir(directory)))
		if (isdigit((unsigned char)entry->d_name[0]))
			add_process(entry->d_name, machine);
	if (directory)
		closedir(directory);
}

void meter_machine_read(struct meter_machine *machine)
{
	double tick = (double)sysconf(_SC_CLK_TCK), steal = 0;
	FILE *file = fopen("/proc/stat", "re");

	memset(machine, 0, sizeof(*machine));
	/* user nice system idle iowait irq softirq steal */
	if (file && fscanf(file, "cpu %*f %*f %*f %*f %*f %*f %*f %lf", &steal) == 1)
		machine->steal = steal / tick;
	if (file)
		fclose(file);
	file = fopen("/proc/loadavg", "re");
	if (file && fscanf(file, "%lf", &machine->load) != 1)
		machine->load = 0;
	if (file)
		fclose(file);
	add_processes(machine);
	machine->kernel /= tick;
	machine->foreign /= tick;
	machine->ns = clock_ns();
}
