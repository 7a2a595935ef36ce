/* SPDX-License-Identifier: MIT */
/* Pseudo-random numbers that are the same in every run: a hash, permutations, and the distributions of YCSB. */
#ifndef RANDOM_H
#define RANDOM_H

#include <stdint.h>

/* A bijection on 64 bits that looks random. */
uint64_t random_mix(uint64_t value);

/* 0 <= result < 1 */
double random_fraction(uint64_t value);

/* Each number below count exactly once for i = 0 .. count - 1, in the order that seed says. count > 0. */
uint64_t random_permute(uint64_t i, uint64_t count, uint64_t seed);

/* Zipf's distribution of count numbers with YCSB's constant 0.99: 0 is the most frequent one. */
struct zipf {
	uint64_t count;
	double alpha, eta, zeta, half_power;
};
void zipf_init(struct zipf *zipf, uint64_t count);
uint64_t zipf_next(const struct zipf *zipf, double fraction);

#endif
