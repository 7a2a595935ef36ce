/* SPDX-License-Identifier: MIT */
/* The histogram of the benchmark: how exact it is, and that merging loses nothing. */
#include "../bench/histogram.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "scratch.h"

#define VALUES 100000

/* As likely in each power of two: latencies are spread like that. */
static uint64_t any_value(struct rng *rng)
{
	return rng_next(rng) >> rng_below(rng, 64);
}

static int by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

static void check_width(struct histogram *histogram, uint64_t value)
{
	uint64_t found = 0;

	memset(histogram, 0, sizeof(*histogram));
	histogram_add(histogram, value);
	cr_assert_eq(histogram_at(histogram, 1), value, "the greatest value is exact");
	histogram_add(histogram, UINT64_MAX);
	found = histogram_at(histogram, 0.5);
	cr_assert_geq(found, value);
	cr_assert_leq((double)(found - value), 0.016 * (double)value, "%llu became %llu", (unsigned long long)value,
		      (unsigned long long)found);
}

/* Would break if a slot were wider than 1.6 % of its values, or if one had no slot: at each power of two, and anywhere. */
Test(bench_histogram, slots_are_narrow)
{
	struct rng rng = { .state = test_seed("bench_histogram/slots_are_narrow") };
	struct histogram *histogram = malloc(sizeof(*histogram));
	uint64_t value = 0;

	for (value = 0; value < 300; value++)
		check_width(histogram, value);
	for (unsigned bit = 8; bit < 64; bit++)
		for (value = 0; value < 5; value++)
			check_width(histogram, ((uint64_t)1 << bit) + value - 2);
	check_width(histogram, UINT64_MAX);
	for (unsigned i = 0; i < 2000; i++)
		check_width(histogram, any_value(&rng));
	free(histogram);
}

/* Would break if a quantile were one of its neighbours: against the sorted values themselves. */
Test(bench_histogram, quantiles)
{
	static const double fractions[] = { 0, 0.0001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1 };
	struct rng rng = { .state = test_seed("bench_histogram/quantiles") };
	struct histogram *histogram = calloc(1, sizeof(*histogram));
	uint64_t *values = calloc(VALUES, sizeof(*values)), sum = 0;

	cr_assert_eq(histogram_at(histogram, 0.5), 0);
	for (unsigned i = 0; i < VALUES; i++) {
		values[i] = any_value(&rng) >> 20;
		sum += values[i];
		histogram_add(histogram, values[i]);
	}
	qsort(values, VALUES, sizeof(values[0]), by_value);
	cr_assert_eq(histogram->count, VALUES);
	cr_assert_eq(histogram->sum, sum);
	cr_assert_eq(histogram->max, values[VALUES - 1]);
	for (unsigned i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
		/* the smallest value that so many do not exceed */
		unsigned wanted = (unsigned)(fractions[i] * VALUES + 0.999999);
		uint64_t exact = values[wanted ? wanted - 1 : 0], found = histogram_at(histogram, fractions[i]);

		cr_assert_geq(found, exact, "at %g", fractions[i]);
		cr_assert_leq((double)(found - exact), 0.016 * (double)exact, "at %g", fractions[i]);
	}
	free(values);
	free(histogram);
}

/* Would break if the threads of a measurement together told something else than one thread that did it all. */
Test(bench_histogram, merging)
{
	struct rng rng = { .state = test_seed("bench_histogram/merging") };
	struct histogram *all = calloc(1, sizeof(*all)), *parts = calloc(3, sizeof(*parts));

	for (unsigned i = 0; i < VALUES; i++) {
		uint64_t value = any_value(&rng);

		histogram_add(all, value);
		histogram_add(&parts[1 + rng_below(&rng, 2)], value);
	}
	histogram_merge(&parts[0], &parts[1]);
	histogram_merge(&parts[0], &parts[2]);
	cr_assert_eq(memcmp(all, &parts[0], sizeof(*all)), 0);
	free(parts);
	free(all);
}
