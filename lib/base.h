/* SPDX-License-Identifier: MIT */
/* What every file may use: small arithmetic and the public types. Pure; any thread. */
#ifndef BASE_H
#define BASE_H

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "solifuge.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define NS_PER_S ((uint64_t)1000000000)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline uint64_t u64_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t u64_max(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Rounds up; unit is a power of two and the sum must not overflow. */
static inline uint64_t align_up(uint64_t value, uint64_t unit) { return (value + unit - 1) & ~(unit - 1); }
static inline uint64_t align_down(uint64_t value, uint64_t unit) { return value & ~(unit - 1); }

static inline struct slf_slice slice(const void *data, size_t size)
{
	return (struct slf_slice){ .data = data, .size = size };
}

/* memcmp order, the shorter first. */
static inline int slice_compare(struct slf_slice a, struct slf_slice b)
{
	size_t common = a.size < b.size ? a.size : b.size;
	int order = common ? memcmp(a.data, b.data, common) : 0;

	if (order)
		return order;
	return a.size < b.size ? -1 : a.size > b.size;
}

/* For an array that is full, with room for *capacity items: the same items with room for twice as many, or for the first ones
 * where items is NULL. NULL when there is no memory, and then all is as before. Freed by free. */
void *array_grow(void *items, size_t *capacity, size_t item_bytes);

/* Monotonic time in nanoseconds. */
uint64_t clock_now_ns(void);
/* Wall-clock time in nanoseconds since 1970; 0 from a clock that fails. */
uint64_t clock_wall_ns(void);

/* The same open file above the standard descriptors, since what a program prints must never end up in a database: fd itself,
 * or another in its place, or -errno; then fd is closed. */
int descriptor_raise(int fd);

#endif
