/* SPDX-License-Identifier: MIT */
/* A library with one step of a protocol left out, under the scheduler: that the scenes can notice it. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "interleave_scene.h"
#include "scratch.h"

#define HISTORIES_MAX 40000

/* What a child has said, up to the scheduler's own account of the threads; reads on until it has ended. */
static void hear(int pipe, char *told, size_t room)
{
	char rest[4096], *account = NULL;
	size_t size = 0;
	ssize_t more = 0;

	while (size < room - 1 && (more = read(pipe, told + size, room - 1 - size)) > 0)
		size += (size_t)more;
	while (more > 0)
		more = read(pipe, rest, sizeof(rest));
	told[size] = 0;
	account = strstr(told, "schedule:");
	if (account)
		*account = 0;
}

/* Scenes that pass whatever the library does, or that fail for another reason than what was left out. */
Test(mutant, is_found_out, .timeout = 300)
{
	uint64_t seed = test_seed("mutant");
	char told[4096] = "";
	int pipes[2], child = 0, end = 0;

	must(pipe(pipes) == 0);
	child = fork();
	must(child >= 0);
	if (child == 0) {
		must(dup2(pipes[1], STDERR_FILENO) == STDERR_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		for (unsigned i = 0; i < HISTORIES_MAX; i++, seed = rng_mix(seed + 1)) {
			struct interleave_counts counts;

			interleave_run(&interleave_scenes[SCENE], seed, NULL, &counts);
		}
		_exit(0);
	}
	close(pipes[1]);
	hear(pipes[0], told, sizeof(told));
	close(pipes[0]);
	end = child_wait(child);
	cr_assert_gt(end, 256, "no history of %u has failed: %d: %s", HISTORIES_MAX, end, told);
	cr_assert(strstr(told, MUTANT_TOLD) || (end == 256 + MUTANT_SIGNAL && !told[0]), "another failure: %d: %s", end, told);
}
