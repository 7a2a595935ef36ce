/* SPDX-License-Identifier: MIT */
/*
 * Breadth-first exploration of a finite set of states, given by functions: visits each reachable state once, checks
 * it, and tells the shortest way to the first bad one. One thread per exploration.
 *
 * Visited states are remembered by a 64-bit digest: with 10^7 states the chance that one was passed over is below
 * 10^-5. So states are compared by their bytes: padding must be zero and a field without meaning must have one
 * fixed value.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct explore;

struct explore_model {
	void *context;
	size_t state_bytes;
	/* Fills *state; it was zeroed. */
	void (*initial)(void *context, void *state);
	/* Calls explore_emit for each state that one action leads to, in an order that depends on the state only. */
	void (*expand)(void *context, const void *state, struct explore *explore);
	/* NULL, or the invariant that the state breaks: static text. */
	const char *(*check)(void *context, const void *state);
};

struct explore_result {
	uint64_t states;
	uint64_t transitions;
	uint64_t ends;         /* states without a successor, among those expanded */
	uint32_t depth;        /* actions from the initial state to the farthest state visited */
	bool complete;         /* every reachable state was visited */
	const char *violation; /* NULL when each visited state was good */
	char trace[4096];      /* the actions that lead to the violation, one a line */
};

/* Hands a successor to the exploration; the label is static text that names the action. */
void explore_emit(struct explore *explore, const void *next, const char *label);

/* Explores up to depth_max actions and about states_max states, or to the first violation. 0 or -ENOMEM. */
int explore_run(const struct explore_model *model, uint32_t depth_max, uint64_t states_max,
		struct explore_result *result);

#endif
