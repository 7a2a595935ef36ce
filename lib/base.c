/* SPDX-License-Identifier: MIT */
#include "base.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_ITEMS_MIN 8

void *array_grow(void *items, size_t *capacity, size_t item_bytes)
{
	size_t grown = *capacity ? 2 * *capacity : ARRAY_ITEMS_MIN;
	void *memory = reallocarray(items, grown, item_bytes);

	if (memory)
		*capacity = grown;
	return memory;
}

static uint64_t clock_read_ns(clockid_t id)
{
	struct timespec now = { 0 };

	if (clock_gettime(id, &now))
		return 0; /* whatever it has left there */
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_now_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
	return clock_read_ns(CLOCK_REALTIME);
}

int descriptor_raise(int fd)
{
	int high = fd;

	if (fd > STDERR_FILENO)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (high < 0)
		high = -errno;
	close(fd);
	return high;
}
