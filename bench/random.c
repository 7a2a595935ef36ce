/* SPDX-License-Identifier: MIT */
/*
 * The hash is splitmix64's output function. A permutation is a Feistel network over the next power of four, walked
 * until the result is below count. Zipf's distribution is drawn as in "Quickly Generating Billion-Record Synthetic
 * Databases" (Gray and others, 1994), which is what YCSB does.
 */
#include "random.h"

#include <math.h>

#define ZIPF_CONSTANT 0.99
#define ROUNDS 4

uint64_t random_mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15u;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

double random_fraction(uint64_t value)
{
	return (double)(value >> 11) * 0x1p-53;
}

static unsigned half_bits(uint64_t count)
{
	unsigned bits = 1;

	while (bits < 32 && count > (uint64_t)1 << (2 * bits))
		bits++;
	return bits;
}

uint64_t random_permute(uint64_t i, uint64_t count, uint64_t seed)
{
	unsigned bits = half_bits(count), round = 0;
	uint64_t mask = ((uint64_t)1 << bits) - 1, left = 0, right = 0;

	do {
		left = i >> bits;
		right = i & mask;
		for (round = 0; round < ROUNDS; round++) {
			uint64_t next = left ^ (random_mix(right ^ (seed * ROUNDS + round) << 32) & mask);

			left = right;
			right = next;
		}
		i = left << bits | right;
	} while (i >= count);
	return i;
}

static double zeta(uint64_t count)
{
	double sum = 0;
	uint64_t i = 0;

	for (i = 1; i <= count; i++)
		sum += pow((double)i, -ZIPF_CONSTANT);
	return sum;
}

void zipf_init(struct zipf *zipf, uint64_t count)
{
	zipf->count = count;
	zipf->zeta = zeta(count);
	zipf->alpha = 1 / (1 - ZIPF_CONSTANT);
	zipf->half_power = pow(0.5, ZIPF_CONSTANT);
	zipf->eta = (1 - pow(2.0 / (double)count, 1 - ZIPF_CONSTANT)) / (1 - zeta(2) / zipf->zeta);
}

uint64_t zipf_next(const struct zipf *zipf, double fraction)
{
	double scaled = fraction * zipf->zeta;
	uint64_t result = 0;

	if (scaled < 1)
		return 0;
	if (scaled < 1 + zipf->half_power)
		return 1;
	result = (uint64_t)((double)zipf->count * pow(zipf->eta * fraction - zipf->eta + 1, zipf->alpha));
	return result < zipf->count ? result : zipf->count - 1;
}
