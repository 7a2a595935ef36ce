/* SPDX-License-Identifier: MIT */
/* A library with one step of a protocol left out, under the scheduler: that the scenes can notice it. */
#include <criterion/criterion.h>
#include <unistd.h>

#include "interleave_scene.h"
#include "scratch.h"

#define HISTORIES_MAX 40000

/* Scenes that pass whatever the library does. */
Test(mutant, is_found_out, .timeout = 300)
{
	uint64_t seed = test_seed("mutant");
	int child = fork();

	if (child == 0) {
		interleave_keep_memory();
		for (unsigned i = 0; i < HISTORIES_MAX; i++, seed = rng_mix(seed + 1)) {
			struct interleave_counts counts;

			interleave_run(&interleave_scenes[SCENE], seed, NULL, &counts);
		}
		_exit(0);
	}
	cr_assert_gt(child_wait(child), 256, "no history of %u has failed", HISTORIES_MAX);
}
