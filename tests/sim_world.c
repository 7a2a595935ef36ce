/* SPDX-License-Identifier: MIT */
#include "sim_world.h"

#include <sys/random.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"

#define WORLD_PID 4711
#define WORLD_MEMORY_BYTES ((uint64_t)16 << 30)

ssize_t __real_getrandom(void *buffer, size_t size, unsigned flags);
int __real_clock_gettime(clockid_t clock, struct timespec *now);
pid_t __real_getpid(void);
uint64_t __real_memory_bytes(void);
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
pid_t __wrap_getpid(void);
uint64_t __wrap_memory_bytes(void);

static struct sim_world world;

void sim_world_start(uint64_t seed)
{
	world = (struct sim_world){ true, seed, (uint64_t)1000000000 * 1000000000 };
}

struct sim_world sim_world_get(void)
{
	return world;
}

void sim_world_set(struct sim_world other)
{
	world = other;
}

ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags)
{
	unsigned char *bytes = buffer;
	struct rng chance = { world.chance };

	if (!world.started)
		return __real_getrandom(buffer, size, flags);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)rng_next(&chance);
	world.chance = chance.state;
	return (ssize_t)size;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	if (!world.started)
		return __real_clock_gettime(clock, now);
	world.now_ns += 1000;
	now->tv_sec = (time_t)(world.now_ns / 1000000000);
	now->tv_nsec = (long)(world.now_ns % 1000000000);
	return 0;
}

pid_t __wrap_getpid(void)
{
	return world.started ? WORLD_PID : __real_getpid();
}

uint64_t __wrap_memory_bytes(void)
{
	return world.started ? WORLD_MEMORY_BYTES : __real_memory_bytes();
}
