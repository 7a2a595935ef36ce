/* SPDX-License-Identifier: MIT */
/*
 * Counters and latency histograms of one database. Writers add with relaxed atomics: a counter orders nothing. Any
 * thread. The public struct is the storage: its names are the names in text, JSON and manual.
 */
#ifndef STATS_H
#define STATS_H

#include "base.h"

struct stats {
	struct slf_stats values;
};

static inline void stats_add(uint64_t *counter, uint64_t amount)
{
	__atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
}

static inline uint64_t stats_get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Counts one event of elapsed_ns. */
void stats_time(struct slf_histogram *histogram, uint64_t elapsed_ns);

/* Copies as much as out->size knows; each value is read once, the whole is not one moment. */
void stats_copy(const struct stats *stats, struct slf_stats *out);

/* snprintf rules: returns the length without the final zero. format: enum slf_format. */
int stats_format(const struct slf_stats *values, int format, char *buffer, size_t size);

#endif
