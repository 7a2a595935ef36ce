/* SPDX-License-Identifier: MIT */
/*
 * Threads of one database under the scheduler, with histories from new seeds each time; what is promised has to hold in each
 * of them. SOLIFUGE_TEST_ROUNDS: histories of each scene; SOLIFUGE_TEST_SECONDS: goes on for so long with each.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "interleave_scene.h"
#include "proof.h"
#include "scratch.h"

#define HISTORIES_PER_SCENE 2000

static const size_t numbers[INTERLEAVE_SCENES] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };

/* As in test_crash_images.c. */
static void keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 16 << 20);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	sim_disk_keep_areas(SIM_AREAS_MAX);
}

static double seconds_now(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC); /* the clock of the simulated world stands still */
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
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
	double begin = seconds_now(), end = begin + (wish ? atof(wish) : 0);
	uint64_t seed = test_seed(scene->name), histories = 0;
	struct interleave_counts sums = { 0 };

	keep_memory();
	do {
		struct interleave_counts counts;

		interleave_run(scene, seed, NULL, &counts);
		seed = rng_mix(seed + 1);
		histories++;
		sums.schedule.points += counts.schedule.points;
		sums.schedule.atomics += counts.schedule.atomics;
		sums.schedule.decisions += counts.schedule.decisions;
		sums.schedule.switches += counts.schedule.switches;
		sums.commits += counts.commits;
		sums.snapshots += counts.snapshots;
		sums.refused += counts.refused;
		sums.unknown += counts.unknown;
		sums.poisoned += counts.poisoned;
		sums.cuts += counts.cuts;
		sums.checkpoints += counts.checkpoints;
	} while (wish ? seconds_now() < end : histories < test_rounds(HISTORIES_PER_SCENE));
	fprintf(stderr, "%s: %llu in %.1f s: points %llu atomics %llu decisions %llu switches %llu commits %llu snaps %llu refused %llu unknown %llu poisoned %llu cuts %llu ck %llu\n", scene->name,
		(unsigned long long)histories, seconds_now() - begin, (unsigned long long)(sums.schedule.points / histories),
		(unsigned long long)(sums.schedule.atomics / histories),
		(unsigned long long)(sums.schedule.decisions / histories), (unsigned long long)(sums.schedule.switches / histories),
		(unsigned long long)sums.commits, (unsigned long long)sums.snapshots, (unsigned long long)sums.refused,
		(unsigned long long)sums.unknown, (unsigned long long)sums.poisoned, (unsigned long long)sums.cuts,
		(unsigned long long)sums.checkpoints);
}
