/* SPDX-License-Identifier: MIT */
/* High dynamic range histograms: latencies of 1 ns to centuries, each within 1.6 percent. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SLOTS 3840

struct histogram {
	uint64_t count, sum, max;
	uint64_t slots[HISTOGRAM_SLOTS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *to, const struct histogram *from);

/* The smallest value that a fraction (0 to 1) of all values do not exceed; 0 when there are none. */
uint64_t histogram_at(const struct histogram *histogram, double fraction);

#endif
