/* SPDX-License-Identifier: MIT */
/* Forests: a map from tree id to root that keeps its older states, against plain arrays. */
#include <criterion/criterion.h>

#include "fault_memory.h"
#include "forest.h"
#include "scratch.h"

#define IDS 300
#define STATES 40

/* What a state of the forest ought to hold: for each of the ids, the stamp of its root, 0 without one, and its birth. */
struct model {
	uint64_t stamps[IDS], births[IDS];
};

struct state {
	struct forest *forest;
	struct model model;
};

static struct heap *heap;
static uint64_t start_bytes;
static uint32_t ids[IDS]; /* in order */

static void set_up(void)
{
	must_work(heap_new(&heap));
	start_bytes = heap_used(heap);
}

static void tear_down(void)
{
	heap_free_all(heap);
}

TestSuite(forest, .init = set_up, .fini = tear_down, .timeout = 120);

static struct tree_root root_of(uint64_t stamp)
{
	return (struct tree_root){ .word = stamp * 8, .hash = rng_mix(stamp), .count = stamp, .length = 7, .height = 2 };
}

static bool root_is(const struct tree_root *root, uint64_t stamp)
{
	struct tree_root expected = root_of(stamp);

	return root->word == expected.word && root->hash == expected.hash && root->count == expected.count &&
	       root->length == expected.length && root->height == expected.height;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

/* Ids of all magnitudes, each once: the ends of every level of the radix tree are among them. */
static void ids_make(struct rng *rng)
{
	size_t count = 0;

	for (unsigned shift = 0; shift < 32; shift += 4) {
		ids[count++] = (uint32_t)1 << shift;
		ids[count++] = ((uint32_t)15 << shift) | (((uint32_t)1 << shift) - 1);
	}
	ids[count++] = 0;
	while (count < IDS) {
		uint32_t id = (uint32_t)rng_next(rng) >> rng_below(rng, 29);
		bool there = false;

		for (size_t i = 0; i < count && !there; i++)
			there = ids[i] == id;
		if (!there)
			ids[count++] = id;
	}
	qsort(ids, IDS, sizeof(*ids), compare_ids);
}

struct visit {
	const struct model *model;
	size_t at; /* index of the next id that may come */
	unsigned left;
};

static int visit_one(void *context, uint32_t id, const struct tree_root *root, uint64_t birth)
{
	struct visit *visit = context;

	while (visit->at < IDS && !visit->model->stamps[visit->at])
		visit->at++;
	must(visit->at < IDS && ids[visit->at] == id);
	must(root_is(root, visit->model->stamps[visit->at]));
	must(birth == visit->model->births[visit->at]);
	visit->at++;
	return visit->left && --visit->left == 0 ? 77 : 0;
}

static void state_check(const struct state *state)
{
	struct visit visit = { .model = &state->model };

	for (size_t i = 0; i < IDS; i++) {
		const struct tree_root *root = forest_get(state->forest, ids[i]);

		must(!root == !state->model.stamps[i]);
		must(!root || root_is(root, state->model.stamps[i]));
	}
	for (size_t from = 0; from < IDS; from += 1 + from / 4) { /* from an id, and from between two */
		for (uint32_t behind = 0; behind < 2; behind++) {
			visit.at = from + (behind && (from + 1 == IDS || ids[from + 1] != ids[from] + 1));
			if (visit.at == from && behind)
				continue;
			must(forest_each(state->forest, ids[from] + behind, visit_one, &visit) == 0);
			for (; visit.at < IDS; visit.at++)
				must(!state->model.stamps[visit.at]);
		}
	}
}

static void state_change(struct edit *edit, struct state *state, struct rng *rng)
{
	static uint64_t stamp;

	for (uint64_t count = 1 + rng_below(rng, 20); count; count--) {
		size_t i = rng_below(rng, IDS);
		struct tree_root root = root_of(++stamp);

		must_work(forest_put(edit, &state->forest, ids[i], &root));
		state->model.stamps[i] = stamp;
		state->model.births[i] = edit->epoch;
	}
}

static void garbage_free(struct garbage *garbage)
{
	for (size_t i = 0; i < garbage->count; i++) {
		must(garbage->blocks[i]->retired);
		heap_free(heap, garbage->blocks[i]);
	}
	garbage_release(garbage);
}

/* An id would be found in a forest that does not hold it, or that holds nothing. */
Test(forest, empty)
{
	struct visit visit = { 0 };

	cr_assert_null(forest_get(NULL, 0));
	cr_assert_null(forest_get(NULL, UINT32_MAX));
	cr_assert_eq(forest_each(NULL, 0, visit_one, &visit), 0);
}

/* An id would be taken for another one that differs in bits above the root's, or in one level only. */
Test(forest, one_id_alone)
{
	static const uint32_t alone[] = { 0, 1, 15, 16, 17, 255, 256, 0x10000, 0x7fffffff, 0x80000000, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(alone); i++) {
		struct tree_root root = root_of(i + 1);
		struct forest *forest = NULL;
		struct edit edit;

		edit_init(&edit, NULL, heap, 1);
		cr_assert_eq(forest_put(&edit, &forest, alone[i], &root), 0);
		cr_assert(root_is(forest_get(forest, alone[i]), i + 1));
		for (unsigned bit = 0; bit < 32; bit++)
			cr_assert_null(forest_get(forest, alone[i] ^ (uint32_t)1 << bit), "id %x bit %u", alone[i], bit);
		cr_assert_eq(forest_drop(&edit, forest), 0);
		cr_assert_null(edit.born);
		cr_assert_eq(edit.garbage.count, 0);
		cr_assert_eq(heap_used(heap), start_bytes);
		edit_release(&edit);
	}
}

/* A new state would change an older one that a snapshot reads, or keep its blocks for ever. */
Test(forest, states_are_apart)
{
	struct rng rng = { .state = test_seed("forest/states_are_apart") };
	static struct state states[STATES];
	static struct garbage garbage[STATES];
	struct edit edit;

	ids_make(&rng);
	for (unsigned s = 1; s < STATES; s++) {
		states[s] = states[s - 1];
		edit_init(&edit, NULL, heap, s);
		state_change(&edit, &states[s], &rng);
		garbage[s] = edit.garbage;
		edit.garbage = (struct garbage){ 0 };
		edit_release(&edit);
	}
	for (unsigned s = 0; s < STATES; s++)
		state_check(&states[s]);
	for (unsigned s = 1; s < STATES; s++) { /* oldest first: the newer ones stay whole */
		garbage_free(&garbage[s]);
		state_check(&states[s]);
		state_check(&states[STATES - 1]);
	}
	edit_init(&edit, NULL, heap, STATES);
	cr_assert_eq(forest_drop(&edit, states[STATES - 1].forest), 0);
	garbage_free(&edit.garbage);
	edit_release(&edit);
	cr_assert_eq(heap_used(heap), start_bytes);
}

/* A transaction that is undone would leave its blocks behind, or marks on those that live on. */
Test(forest, undo)
{
	struct rng rng = { .state = test_seed("forest/undo") };
	static struct state base, other;
	uint64_t used;
	struct edit edit;

	ids_make(&rng);
	edit_init(&edit, NULL, heap, 1);
	for (unsigned i = 0; i < 5; i++)
		state_change(&edit, &base, &rng);
	edit_release(&edit);
	used = heap_used(heap);
	for (unsigned epoch = 2; epoch < 30; epoch++) {
		other = base;
		edit_init(&edit, NULL, heap, epoch);
		state_change(&edit, &other, &rng);
		state_check(&other);
		state_check(&base);
		if (epoch % 3 == 0)
			must_work(forest_drop(&edit, other.forest));
		cr_assert_gt(edit.garbage.count, 0);
		edit_undo(&edit); /* asserts in the next round that nothing is marked as retired */
		edit_release(&edit);
		state_check(&base);
		cr_assert_eq(heap_used(heap), used);
	}
}

/* Changes of one transaction would copy its own blocks again and again. */
Test(forest, own_blocks_are_changed_in_place)
{
	struct forest *forest = NULL;
	struct edit edit;
	uint64_t used = 0;

	edit_init(&edit, NULL, heap, 1);
	for (uint64_t stamp = 1; stamp < 50; stamp++) {
		struct tree_root root = root_of(stamp);

		cr_assert_eq(forest_put(&edit, &forest, 0x12345, &root), 0);
		cr_assert(stamp == 1 || heap_used(heap) == used);
		used = heap_used(heap);
	}
	cr_assert_eq(edit.garbage.count, 0);
	cr_assert(root_is(forest_get(forest, 0x12345), 49));
	edit_undo(&edit);
	edit_release(&edit);
}

/* A walk would go on after it was told to stop. */
Test(forest, each_stops)
{
	struct rng rng = { .state = test_seed("forest/each_stops") };
	static struct state state;
	struct visit visit = { .model = &state.model, .left = 3 };
	struct edit edit;

	ids_make(&rng);
	edit_init(&edit, NULL, heap, 1);
	for (unsigned i = 0; i < 10; i++)
		state_change(&edit, &state, &rng);
	cr_assert_eq(forest_each(state.forest, 0, visit_one, &visit), 77);
	cr_assert_eq(visit.left, 0);
	edit_undo(&edit);
	edit_release(&edit);
}

/* A walk that goes on behind the last id that the forest has room for would begin anew. */
Test(forest, each_from_beyond)
{
	struct tree_root root = root_of(1);
	struct forest *forest = NULL;
	struct visit visit = { 0 };
	struct edit edit;

	edit_init(&edit, NULL, heap, 1);
	must_work(forest_put(&edit, &forest, 15, &root));
	cr_assert_eq(forest_each(forest, 16, visit_one, &visit), 0);
	cr_assert_eq(forest_each(forest, UINT32_MAX, visit_one, &visit), 0);
	edit_undo(&edit);
	edit_release(&edit);
}

/* Puts the id, drops everything, and undoes both, with a failure at every place: how often it failed. */
static unsigned suffer(const struct state *base, uint32_t id)
{
	struct tree_root root = root_of(77);
	uint64_t used = heap_used(heap), failed = 1;
	unsigned failures = 0;

	for (uint64_t nth = 1; failed; nth++) {
		struct forest *forest = base->forest;
		struct edit edit;
		int result;

		edit_init(&edit, NULL, heap, 1000);
		fault_memory_arm(nth, false);
		result = forest_put(&edit, &forest, id, &root);
		if (!result)
			result = forest_drop(&edit, forest);
		fault_memory_disarm(&failed);
		must(result == (failed ? -ENOMEM : 0));
		edit_undo(&edit);
		edit_release(&edit);
		must(heap_used(heap) == used);
		state_check(base);
		failures += result != 0;
	}
	return failures;
}

/* Where memory runs out in the middle of a change blocks would be lost, or the state before it be another one. */
Test(forest, no_memory)
{
	struct rng rng = { .state = test_seed("forest/no_memory") };
	static struct state none, low, many;
	unsigned failures = 0;
	struct edit edit;

	ids_make(&rng);
	edit_init(&edit, NULL, heap, 1);
	for (size_t i = 0; i < IDS && ids[i] < 16; i++) {
		struct tree_root root = root_of(i + 1);

		must_work(forest_put(&edit, &low.forest, ids[i], &root));
		low.model.stamps[i] = i + 1;
		low.model.births[i] = 1;
	}
	for (unsigned i = 0; i < 8; i++)
		state_change(&edit, &many, &rng);
	edit_release(&edit);
	for (size_t i = 0; i < IDS; i += 9)
		failures += suffer(&none, ids[i]) + suffer(&low, ids[i]) + suffer(&many, ids[i]);
	cr_assert_gt(failures, 300);
}
