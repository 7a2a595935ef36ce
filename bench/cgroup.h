/* SPDX-License-Identifier: MIT */
/* A control group that limits memory and page cache of one child at a time, without swap. */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdint.h>

/* Makes a group below parent (of version 1 or 2) and writes its path into path (4096 bytes). 0, or -errno and "". */
int cgroup_make(const char *parent, uint64_t memory_bytes, char *path);

/* Removes it again; its processes have ended. */
void cgroup_remove(const char *path);

#endif
