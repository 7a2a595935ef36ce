/* SPDX-License-Identifier: MIT */
/*
 * Breadth-first exploration. Three tables: the digests of the states seen (open addressing), for each state the one
 * it was first reached from and which of its successors it is (8 bytes), and whole states only for two generations.
 * The trace is found by expanding again along the ordinals, so nothing about actions need be stored.
 */
#include "explore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct origin {
	uint32_t parent;
	uint32_t ordinal;
};

struct frontier {
	uint8_t *states;
	size_t count, capacity;
	uint32_t first; /* the states of one generation are numbered in a row from here */
};

struct explore {
	const struct explore_model *model;
	struct explore_result *result;
	uint64_t *seen;
	size_t seen_mask;
	struct origin *origins;
	size_t origin_capacity;
	struct frontier now, next;
	uint32_t parent, ordinal;
	int error;
	uint32_t bad; /* number of the violating state, when result->violation */
	/* While a trace is told, only the successor `wanted` counts. */
	bool telling;
	uint32_t wanted;
	uint8_t *told;
	const char *label;
};

static int seen_grow(struct explore *explore)
{
	size_t capacity = explore->seen_mask ? (explore->seen_mask + 1) * 2 : 1 << 12;
	uint64_t *grown = calloc(capacity, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	for (size_t i = 0; explore->seen && i <= explore->seen_mask; i++) {
		size_t place = explore->seen[i] & (capacity - 1);

		while (explore->seen[i] && grown[place])
			place = (place + 1) & (capacity - 1);
		if (explore->seen[i])
			grown[place] = explore->seen[i];
	}
	free(explore->seen);
	explore->seen = grown;
	explore->seen_mask = capacity - 1;
	return 0;
}

/* 1 when the state is new, 0 when it was seen, or -ENOMEM. */
static int seen_add(struct explore *explore, const void *state)
{
	uint64_t digest = XXH3_64bits(state, explore->model->state_bytes);
	size_t place = 0;

	if (!digest)
		digest = 1;
	if (!explore->seen || explore->result->states * 2 > explore->seen_mask) {
		int error = seen_grow(explore);

		if (error)
			return error;
	}
	for (place = digest & explore->seen_mask; explore->seen[place]; place = (place + 1) & explore->seen_mask) {
		if (explore->seen[place] == digest)
			return 0;
	}
	explore->seen[place] = digest;
	return 1;
}

static int origin_add(struct explore *explore, uint64_t number)
{
	if (number >= explore->origin_capacity) {
		size_t capacity = explore->origin_capacity ? explore->origin_capacity * 2 : 4096;
		struct origin *grown = realloc(explore->origins, capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		explore->origins = grown;
		explore->origin_capacity = capacity;
	}
	explore->origins[number] = (struct origin){ .parent = explore->parent, .ordinal = explore->ordinal };
	return 0;
}

static int frontier_add(struct frontier *frontier, const void *state, size_t bytes)
{
	if (frontier->count == frontier->capacity) {
		size_t capacity = frontier->capacity ? frontier->capacity * 2 : 1024;
		uint8_t *grown = realloc(frontier->states, capacity * bytes);

		if (!grown)
			return -ENOMEM;
		frontier->states = grown;
		frontier->capacity = capacity;
	}
	memcpy(frontier->states + frontier->count++ * bytes, state, bytes);
	return 0;
}

static int state_add(struct explore *explore, const void *state)
{
	const struct explore_model *model = explore->model;
	struct explore_result *result = explore->result;
	int added = seen_add(explore, state);

	if (added <= 0)
		return added;
	if (origin_add(explore, result->states) || frontier_add(&explore->next, state, model->state_bytes))
		return -ENOMEM;
	result->violation = model->check(model->context, state);
	explore->bad = (uint32_t)result->states++;
	return 0;
}

void explore_emit(struct explore *explore, const void *next, const char *label)
{
	if (explore->telling) {
		if (explore->ordinal++ != explore->wanted)
			return;
		memcpy(explore->told, next, explore->model->state_bytes);
		explore->label = label;
		return;
	}
	explore->result->transitions++;
	if (!explore->error && !explore->result->violation)
		explore->error = state_add(explore, next);
	explore->ordinal++;
}

/* Collects the ordinals from the bad state back to the first, then walks them forward. */
static int trace_tell(struct explore *explore)
{
	const struct explore_model *model = explore->model;
	uint32_t length = explore->result->depth, number = explore->bad;
	uint32_t *ordinals = calloc(length + 1, sizeof(*ordinals));
	uint8_t *states = calloc(2, model->state_bytes);
	size_t used = 0;
	int error = -ENOMEM;

	if (!ordinals || !states)
		goto out;
	for (uint32_t i = length; i-- > 0; number = explore->origins[number].parent)
		ordinals[i] = explore->origins[number].ordinal;
	explore->telling = true;
	explore->told = states + model->state_bytes;
	model->initial(model->context, states);
	for (uint32_t i = 0; i < length && used < sizeof(explore->result->trace); i++) {
		explore->ordinal = 0;
		explore->wanted = ordinals[i];
		model->expand(model->context, states, explore);
		memcpy(states, explore->told, model->state_bytes);
		used += (size_t)snprintf(explore->result->trace + used, sizeof(explore->result->trace) - used, "%3u %s\n",
					 i + 1, explore->label);
	}
	error = 0;
out:
	free(ordinals);
	free(states);
	return error;
}

/* Expands one generation; the next one is then complete, unless an error or a violation ended it. */
static void generation_expand(struct explore *explore, uint64_t states_max)
{
	const struct explore_model *model = explore->model;

	for (size_t i = 0; i < explore->now.count; i++) {
		if (explore->error || explore->result->violation)
			return;
		if (explore->result->states >= states_max) {
			explore->result->complete = false;
			return;
		}
		explore->parent = explore->now.first + (uint32_t)i;
		explore->ordinal = 0;
		model->expand(model->context, explore->now.states + i * model->state_bytes, explore);
		explore->result->ends += explore->ordinal == 0;
	}
}

static int initial_add(struct explore *explore)
{
	const struct explore_model *model = explore->model;
	void *state = calloc(1, model->state_bytes);
	int error = -ENOMEM;

	if (!state)
		return error;
	model->initial(model->context, state);
	error = state_add(explore, state);
	free(state);
	return error;
}

int explore_run(const struct explore_model *model, uint32_t depth_max, uint64_t states_max,
		struct explore_result *result)
{
	struct explore explore = { .model = model, .result = result };

	if (states_max > UINT32_MAX / 2)
		states_max = UINT32_MAX / 2;
	memset(result, 0, sizeof(*result));
	result->complete = true;
	explore.error = initial_add(&explore);
	while (!explore.error && !result->violation && result->complete && explore.next.count) {
		struct frontier done = explore.now;

		if (result->depth == depth_max) {
			result->complete = false;
			break;
		}
		explore.now = explore.next;
		explore.next = done;
		explore.next.count = 0;
		explore.next.first = (uint32_t)result->states;
		generation_expand(&explore, states_max);
		if (explore.next.count)
			result->depth++;
	}
	if (!explore.error && result->violation) {
		result->complete = false;
		explore.error = trace_tell(&explore);
	}
	free(explore.seen);
	free(explore.origins);
	free(explore.now.states);
	free(explore.next.states);
	return explore.error;
}
