/* SPDX-License-Identifier: MIT */
/* How much memory there is to keep files in. Any thread. */
#ifndef MEMORY_H
#define MEMORY_H

#include "base.h"

/* Bytes of memory, page cache included, that this process may fill: the machine's, or less where a cgroup limits it. */
uint64_t memory_bytes(void);

/* The tightest limit of the cgroups (version 1 and 2) that the file `membership`, as /proc/self/cgroup, names, and of those
 * above them, below the directory `mount`; UINT64_MAX when there is none. */
uint64_t memory_cgroup_bytes(const char *membership, const char *mount);

#endif
