/* SPDX-License-Identifier: MIT */
/*
 * Chance, time and the machine of a simulated history: with "-Wl,--wrap=getrandom,--wrap=clock_gettime,--wrap=getpid,
 * --wrap=memory_bytes" the library's calls end here, so that one seed gives the same bytes on the disk every time, on any
 * machine. One thread.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

struct sim_world {
	bool started;
	uint64_t chance, now_ns;
};

/* The state of chance and time: to leave a history, look into one of its futures, and come back. */
struct sim_world sim_world_get(void);
void sim_world_set(struct sim_world world);
/* From here on (before: as the system says) random bytes follow from seed, and every look at a clock finds it a microsecond later. */
void sim_world_start(uint64_t seed);

#endif
