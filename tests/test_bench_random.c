/* SPDX-License-Identifier: MIT */
/* The numbers of the benchmark: permutations are some, and Zipf's distribution is what it says. */
#include "../bench/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "scratch.h"

#define ZIPF_COUNT 1000
#define DRAWS 1000000

/* Would break if an entry were put twice, or never. */
Test(bench_random, permutation)
{
	static const uint64_t counts[] = { 1, 2, 3, 4, 5, 15, 16, 17, 1000, 4095, 4096, 4097, 100003 };
	uint64_t seed = test_seed("bench_random/permutation");

	for (unsigned c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		unsigned char *seen = calloc(counts[c], 1);
		uint64_t same = 0, other = 0;

		for (uint64_t i = 0; i < counts[c]; i++) {
			uint64_t place = random_permute(i, counts[c], seed);

			cr_assert_lt(place, counts[c]);
			cr_assert_eq(seen[place]++, 0, "%llu twice of %llu", (unsigned long long)place,
				     (unsigned long long)counts[c]);
			same += place == i;
			other += place == random_permute(i, counts[c], seed + 1);
		}
		if (counts[c] >= 1000) { /* one is expected in its own place, whatever the count */
			cr_assert_lt(same, 20, "this is hardly an order of its own");
			cr_assert_lt(other, 20, "the seed hardly matters");
		}
		free(seen);
	}
}

/* Would break if fractions reached 1, which would be a number beyond the last one. */
Test(bench_random, fractions)
{
	struct rng rng = { .state = test_seed("bench_random/fractions") };
	double sum = 0;

	cr_assert_eq(random_fraction(0), 0);
	cr_assert_lt(random_fraction(UINT64_MAX), 1);
	for (unsigned i = 0; i < DRAWS; i++)
		sum += random_fraction(random_mix(rng_next(&rng)));
	cr_assert_lt(fabs(sum / DRAWS - 0.5), 0.002);
}

/* How often numbers from first to end - 1 come, as the distribution says. */
static double share(uint64_t first, uint64_t end)
{
	double all = 0, part = 0;

	for (uint64_t i = 0; i < ZIPF_COUNT; i++) {
		double weight = pow((double)(i + 1), -0.99);

		all += weight;
		part += i >= first && i < end ? weight : 0;
	}
	return part / all;
}

/* Would break if the frequent entries of YCSB were more, or less, frequent than they should. The two first numbers are drawn
 * exactly, the others as Gray's method approximates them. */
Test(bench_random, zipf)
{
	static const struct {
		uint64_t first, end;
		double error; /* in parts */
	} ranges[] = { { 0, 1, 0.02 },    { 1, 2, 0.03 },     { 2, 10, 0.12 },
		       { 10, 100, 0.05 }, { 100, 500, 0.05 }, { 500, ZIPF_COUNT, 0.05 } };
	struct rng rng = { .state = test_seed("bench_random/zipf") };
	uint64_t *counts = calloc(ZIPF_COUNT, sizeof(*counts));
	struct zipf zipf = { 0 };

	zipf_init(&zipf, ZIPF_COUNT);
	for (unsigned i = 0; i < DRAWS; i++) {
		uint64_t number = zipf_next(&zipf, random_fraction(rng_next(&rng)));

		cr_assert_lt(number, ZIPF_COUNT);
		counts[number]++;
	}
	for (unsigned r = 0; r < sizeof(ranges) / sizeof(ranges[0]); r++) {
		double expected = share(ranges[r].first, ranges[r].end), found = 0;

		for (uint64_t i = ranges[r].first; i < ranges[r].end; i++)
			found += (double)counts[i] / DRAWS;
		cr_assert_lt(fabs(found / expected - 1), ranges[r].error, "from %llu: %g, not %g",
			     (unsigned long long)ranges[r].first, found, expected);
	}
	cr_assert_lt(zipf_next(&zipf, random_fraction(UINT64_MAX)), ZIPF_COUNT);
	cr_assert_eq(zipf_next(&zipf, 0), 0);
	free(counts);
}
