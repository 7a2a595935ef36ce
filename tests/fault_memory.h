/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail by plan: with "-Wl,--wrap=" of malloc, calloc, realloc, reallocarray, aligned_alloc, strdup, strndup, realpath,
 * asprintf, free, mmap64 (as meson has mmap) and munmap all of the library's calls come through here. The simulated disk's own do not count. One thread.
 */
#ifndef FAULT_MEMORY_H
#define FAULT_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* From now on the nth allocation fails (from 1 on; 0: none, they are only counted), if sticky every one after it too. */
void fault_memory_arm(uint64_t nth, bool sticky);
/* Ends that, and tells how many allocations there were, and how many failed. */
uint64_t fault_memory_disarm(uint64_t *failed);
/* Is it the turn of this one to fail? Counts it: for what is asked for elsewhere than here, and may be refused. */
bool fault_memory_fails(void);
/* None fails or is counted meanwhile. */
void fault_memory_hold(bool hold);
/* The largest allocation that was asked for since the last look, bytes; mappings count. */
uint64_t fault_memory_largest(void);
/* What is held and not given back since the start of the program. */
struct memory_balance {
	int64_t blocks;
	int64_t mapped_bytes;
};
struct memory_balance fault_memory_balance(void);

#endif
