/* SPDX-License-Identifier: MIT */
/*
 * Threads of one database under the scheduler, with histories from new seeds each time; what is promised has to hold in each
 * of them. SOLIFUGE_TEST_ROUNDS: histories of each scene; SOLIFUGE_TEST_SECONDS: goes on for so long with each.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "interleave_scene.h"
#include "proof.h"
#include "scratch.h"

#define HISTORIES_PER_SCENE 1600
#define HASHES_MAX ((size_t)1 << 24) /* beyond that it is not looked at whether a schedule has been met before */

static const size_t numbers[INTERLEAVE_SCENES] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

struct sums {
	struct interleave_counts counts;
	uint64_t histories, distinct;
	uint64_t *hashes;
	size_t count, room;
};

static double seconds_now(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC); /* the clock of the simulated world stands still */
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sums_add(struct sums *sums, const struct interleave_counts *counts)
{
	struct interleave_counts *to = &sums->counts;

	to->schedule.points += counts->schedule.points;
	to->schedule.atomics += counts->schedule.atomics;
	to->schedule.decisions += counts->schedule.decisions;
	to->schedule.switches += counts->schedule.switches;
	to->commits += counts->commits;
	to->snapshots += counts->snapshots;
	to->refused += counts->refused;
	to->unknown += counts->unknown;
	to->poisoned += counts->poisoned;
	to->cuts += counts->cuts;
	to->checkpoints += counts->checkpoints;
	sums->histories++;
	if (sums->count == sums->room && sums->room < HASHES_MAX) {
		sums->room = sums->room ? 2 * sums->room : 1024;
		sums->hashes = realloc(sums->hashes, sums->room * sizeof(*sums->hashes));
		must(sums->hashes != NULL);
	}
	if (sums->count < sums->room)
		sums->hashes[sums->count++] = counts->schedule.hash;
}

static int compare_hashes(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static void sums_tell(struct sums *sums)
{
	const struct interleave_counts *counts = &sums->counts;

	qsort(sums->hashes, sums->count, sizeof(*sums->hashes), compare_hashes);
	for (size_t i = 0; i < sums->count; i++)
		sums->distinct += i == 0 || sums->hashes[i] != sums->hashes[i - 1];
	free(sums->hashes);
	proof_count("E histories of threads", sums->histories);
	proof_count("E distinct interleavings, each compared", sums->distinct);
	proof_count("E points at which several threads could go on", counts->schedule.decisions);
	proof_count("E switches between threads", counts->schedule.switches);
	proof_count("E commits acknowledged or queued", counts->commits);
	proof_count("E commits refused or aborted", counts->refused);
	proof_count("E commits told to be unknown", counts->unknown);
	proof_count("E histories that poisoned the database", counts->poisoned);
	proof_count("E snapshots compared", counts->snapshots);
	proof_count("E checkpoints on request", counts->checkpoints);
	proof_count("E power cuts between two points", counts->cuts);
}

ParameterizedTestParameters(interleave, scene)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, INTERLEAVE_SCENES);
}

/* A lost wake-up, a snapshot that is a mixture, a commit that is told another fate than it has. */
ParameterizedTest(const size_t *number, interleave, scene)
{
	const struct interleave_scene *scene = &interleave_scenes[*number];
	const char *wish = getenv("SOLIFUGE_TEST_SECONDS");
	double end = seconds_now() + (wish ? atof(wish) : 0);
	uint64_t seed = test_seed(scene->name);
	struct sums sums = { 0 };

	do {
		struct interleave_counts counts;

		interleave_run(scene, seed, NULL, &counts);
		sums_add(&sums, &counts);
		seed = rng_mix(seed + 1);
	} while (wish ? seconds_now() < end : sums.histories < test_rounds(HISTORIES_PER_SCENE));
	/* the points before the atomic operations are there: a compiler with other names for them would leave them out */
	cr_assert_gt(sums.counts.schedule.atomics, sums.counts.schedule.points / 2);
	sums_tell(&sums);
}
