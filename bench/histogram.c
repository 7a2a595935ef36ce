/* SPDX-License-Identifier: MIT */
/*
 * Slots are linear inside each power of two: 64 of them, so a slot is at most 1/64 of its value wide. That is the
 * layout of HdrHistogram; its C library is not in Debian 12, and this is all that we need of it.
 */
#include "histogram.h"

#include <assert.h>

#define STEP_BITS 6
#define STEPS (1u << STEP_BITS)

static_assert(HISTOGRAM_SLOTS >= (64 - STEP_BITS + 1) * STEPS, "a slot for each value");

static unsigned slot_of(uint64_t value)
{
	unsigned shift = 0;

	if (value < STEPS)
		return (unsigned)value;
	shift = 63 - STEP_BITS - (unsigned)__builtin_clzll(value);
	return (shift + 1) * STEPS + (unsigned)(value >> shift) - STEPS;
}

/* The greatest value of a slot. */
static uint64_t slot_top(unsigned slot)
{
	unsigned shift = slot / STEPS;

	if (shift == 0)
		return slot;
	return (((uint64_t)(slot % STEPS + STEPS) + 1) << (shift - 1)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
	histogram->slots[slot_of(value)]++;
	histogram->count++;
	histogram->sum += value;
	if (value > histogram->max)
		histogram->max = value;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	unsigned i = 0;

	for (i = 0; i < HISTOGRAM_SLOTS; i++)
		to->slots[i] += from->slots[i];
	to->count += from->count;
	to->sum += from->sum;
	if (from->max > to->max)
		to->max = from->max;
}

uint64_t histogram_at(const struct histogram *histogram, double fraction)
{
	double wanted = fraction * (double)histogram->count;
	uint64_t seen = 0, top = 0;
	unsigned i = 0;

	for (i = 0; i < HISTOGRAM_SLOTS; i++) {
		seen += histogram->slots[i];
		top = slot_top(i);
		if (histogram->slots[i] && (double)seen >= wanted)
			return top < histogram->max ? top : histogram->max;
	}
	return histogram->max;
}
