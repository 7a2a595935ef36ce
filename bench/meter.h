/* SPDX-License-Identifier: MIT */
/* What a stretch of work took from the machine: time, CPU, bytes read and written, memory. Of this process. */
#ifndef METER_H
#define METER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

struct meter {
	uint64_t ns;
	double cpu_seconds;            /* all threads, user and system */
	uint64_t read_bytes;           /* that the process caused the device to read */
	uint64_t written_bytes;        /* that the process handed to the kernel to be written, as the kernel counts them */
	uint64_t device_written_bytes; /* by everybody, the file system's journal included */
	bool device;                   /* the device has statistics */
};

/* User and system together. */
double meter_cpu_seconds(const struct rusage *usage);

/* Reads the meters; the device is that of path. */
void meter_read(struct meter *meter, const char *path);

/* Peak memory since meter_memory_start(): anonymous memory is sampled every 10 ms by a thread. */
struct meter_memory {
	uint64_t resident_bytes;  /* mapped files included, which the kernel can take back */
	uint64_t anonymous_bytes; /* heap, stacks, private caches */
};
void meter_memory_start(void);
void meter_memory_stop(struct meter_memory *memory);

/* What others take of the machine, for what disturbs a run: CPU seconds since boot, of all CPUs together. */
struct meter_machine {
	uint64_t ns;
	double foreign;         /* other processes than this one, its parent and its children */
	double kernel;          /* threads of the kernel; less when one of them has ended */
	double steal;           /* the hypervisor */
	double load;            /* of the last minute */
	uint64_t foreign_bytes; /* read and written by those other processes, as far as we may know */
};
void meter_machine_read(struct meter_machine *machine);

#endif
