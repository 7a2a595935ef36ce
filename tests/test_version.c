/* SPDX-License-Identifier: MIT */
/* Versions: which blocks live and which are freed, against a list of who was born and dropped when. */
#include <criterion/criterion.h>

#include "fault_memory.h"
#include "scratch.h"
#include "tree.h"
#include "version.h"

#define BLOCKS_MAX 20000
#define BLOCK_BYTES 100
#define READERS 6
#define ALIVE_STILL UINT64_MAX

/* A block that the test knows of; retired: the epoch from which on nothing leads to it. */
struct shadow {
	struct block *block;
	uint64_t birth, retired;
};

struct snapshot {
	struct reader *reader;
	uint64_t epoch;
};

struct world {
	struct heap *heap;
	struct versions versions;
	struct shadow shadows[BLOCKS_MAX];
	size_t count;
	struct snapshot snapshots[READERS];
	uint64_t epoch; /* of the next version */
	uint64_t empty_bytes, block_bytes; /* of the heap without blocks, of a block in it */
	struct rng rng;
};

static struct store no_store;

static struct world *world_new(uint64_t seed)
{
	struct world *world = calloc(1, sizeof(*world));
	struct version *first;
	struct block *probe;

	must(world != NULL);
	world->rng.state = seed;
	must_work(heap_new(&world->heap));
	must_work(versions_init(&world->versions, world->heap));
	first = version_new(&world->versions);
	first->epoch = 1;
	world->epoch = 2;
	versions_start(&world->versions, first);
	world->empty_bytes = heap_used(world->heap);
	probe = heap_alloc(world->heap, BLOCK_BYTES, BLOCK_VALUE, 1);
	world->block_bytes = heap_used(world->heap) - world->empty_bytes;
	heap_free(world->heap, probe);
	return world;
}

static void world_free(struct world *world)
{
	versions_release(&world->versions);
	heap_free_all(world->heap);
	free(world);
}

static struct version *visible(struct world *world)
{
	return atomic_load(&world->versions.visible);
}

static struct version *durable(struct world *world)
{
	return atomic_load(&world->versions.durable);
}

static void bear(struct world *world, struct edit *edit)
{
	struct block *block = edit_alloc(edit, BLOCK_BYTES, BLOCK_VALUE);

	must(block && world->count < BLOCKS_MAX);
	memset(block_payload(block), (int)(edit->epoch & 0x7f), BLOCK_BYTES);
	world->shadows[world->count++] = (struct shadow){ block, edit->epoch, ALIVE_STILL };
}

/* A version that bears some blocks and drops some. */
static struct version *append(struct world *world, unsigned births, unsigned drops)
{
	struct version *version = version_new(&world->versions);
	struct garbage empty = version->garbage;
	struct edit edit;

	edit_init(&edit, &no_store, world->heap, world->epoch);
	for (unsigned i = 0; i < drops && world->count; i++) {
		struct shadow *shadow = &world->shadows[rng_below(&world->rng, world->count)];

		if (shadow->retired != ALIVE_STILL)
			continue;
		must_work(edit_drop(&edit, shadow->block));
		shadow->retired = edit.epoch;
	}
	for (unsigned i = 0; i < births; i++)
		bear(world, &edit);
	version->epoch = world->epoch++;
	version->born = edit.born;
	version->garbage = edit.garbage;
	world->versions.backlog += version->garbage.count;
	edit.born = NULL;
	edit.garbage = empty;
	edit_release(&edit);
	versions_append(&world->versions, version);
	return version;
}

static void show(struct world *world, bool settle)
{
	version_show(&world->versions, world->versions.tip);
	if (settle)
		version_settle(&world->versions, world->versions.tip);
}

/* Takes back what is not visible. */
static void take_back(struct world *world)
{
	uint64_t last = visible(world)->epoch;
	size_t kept = 0;

	versions_rollback(&world->versions, visible(world));
	for (size_t i = 0; i < world->count; i++) {
		struct shadow shadow = world->shadows[i];

		if (shadow.birth > last)
			continue;
		if (shadow.retired != ALIVE_STILL && shadow.retired > last) {
			must(!shadow.block->retired);
			shadow.retired = ALIVE_STILL;
		}
		world->shadows[kept++] = shadow;
	}
	world->count = kept;
}

static void snapshot_begin(struct world *world, struct snapshot *snapshot, bool of_durable)
{
	snapshot->reader = reader_claim(&world->versions.readers);
	must(snapshot->reader != NULL);
	snapshot->epoch = version_acquire(&world->versions, snapshot->reader, of_durable)->epoch;
}

static void snapshot_end(struct snapshot *snapshot)
{
	reader_idle(snapshot->reader);
	must(reader_free(snapshot->reader));
	*snapshot = (struct snapshot){ 0 };
}

static bool sees(const struct shadow *shadow, uint64_t epoch)
{
	return epoch && shadow->birth <= epoch && epoch < shadow->retired;
}

static bool is_needed(struct world *world, const struct shadow *shadow, uint64_t target)
{
	bool needed = shadow->retired == ALIVE_STILL || shadow->retired > visible(world)->epoch ||
		      sees(shadow, durable(world)->epoch) || sees(shadow, target) ||
		      sees(shadow, atomic_load(&world->versions.pinned));

	for (unsigned i = 0; i < READERS && !needed; i++)
		needed = sees(shadow, world->snapshots[i].epoch);
	return needed;
}

/* Sweeps to the end: what is needed is there, untouched, and nothing else is. */
static void sweep_and_check(struct world *world, uint64_t target)
{
	size_t kept = 0;

	while (versions_sweep(&world->versions, &target, target != 0))
		continue;
	for (size_t i = 0; i < world->count; i++) {
		struct shadow *shadow = &world->shadows[i];
		const uint8_t *payload = block_payload(shadow->block);

		if (!is_needed(world, shadow, target))
			continue;
		must(shadow->block->birth == shadow->birth);
		for (unsigned j = 0; j < BLOCK_BYTES; j++)
			must(payload[j] == (shadow->birth & 0x7f));
		world->shadows[kept++] = *shadow;
	}
	world->count = kept;
	cr_assert_eq(heap_used(world->heap), world->empty_bytes + kept * world->block_bytes);
}

/* What nobody sees any more would stay on the heap for ever. */
Test(version, dropped_blocks_are_freed)
{
	struct world *world = world_new(1);

	append(world, 50, 0);
	show(world, true);
	append(world, 0, 2000);
	sweep_and_check(world, 0); /* not visible yet: all are there */
	show(world, true);
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 0);
	cr_assert_eq(world->versions.oldest, world->versions.tip);
	world_free(world);
}

/* A block would be freed under a snapshot, or be held by one that does not see it. */
Test(version, snapshots_hold_what_they_see)
{
	struct world *world = world_new(2);
	struct snapshot *old = &world->snapshots[0], *between = &world->snapshots[1];

	append(world, 10, 0);
	show(world, true);
	snapshot_begin(world, old, false);
	append(world, 10, 1000);
	show(world, true);
	snapshot_begin(world, between, false);
	append(world, 10, 1000);
	show(world, true);
	append(world, 0, 1000); /* its ten were seen by nobody but the newest */
	show(world, true);
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 20);
	snapshot_end(old);
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 10);
	snapshot_end(between);
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 0);
	world_free(world);
}

/* A reader that has said from where on it may look, and not yet at what, would find it freed. */
Test(version, floors_hold_all_above)
{
	struct world *world = world_new(7);
	struct reader *reader = reader_claim(&world->versions.readers);

	append(world, 10, 0);
	show(world, true);
	reader_floor(reader, visible(world)->epoch);
	append(world, 10, 1000);
	show(world, true);
	append(world, 0, 1000);
	show(world, true);
	for (unsigned i = 0; i < 2; i++) { /* the second time they are held already */
		while (versions_sweep(&world->versions, NULL, 0))
			continue;
		cr_assert_eq(heap_used(world->heap), world->empty_bytes + 20 * world->block_bytes);
	}
	reader_idle(reader);
	must(reader_free(reader));
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 0);
	world_free(world);
}

/* A version on its way to the disk, the durable one, or the one that a checkpoint writes would lose its blocks. */
Test(version, targets_and_pin)
{
	struct world *world = world_new(3);
	uint64_t written, pinned;

	append(world, 10, 0);
	show(world, true); /* durable from here on: it keeps ten */
	append(world, 10, 1000);
	show(world, false);
	written = world->versions.tip->epoch;
	append(world, 10, 1000);
	show(world, false);
	pinned = world->versions.tip->epoch;
	atomic_store(&world->versions.pinned, pinned);
	append(world, 10, 1000);
	show(world, false);
	sweep_and_check(world, written);
	cr_assert_eq(world->count, 40);
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 30);
	atomic_store(&world->versions.pinned, 0);
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 20);
	version_settle(&world->versions, world->versions.tip);
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 10);
	world_free(world);
}

/* A rollback would keep what was born in vain, or what it revives would be freed all the same. */
Test(version, rollback)
{
	struct world *world = world_new(4);

	append(world, 20, 0);
	show(world, true);
	append(world, 20, 15);
	append(world, 20, 30);
	append(world, 20, 1000);
	take_back(world);
	cr_assert_eq(world->count, 20);
	cr_assert_eq(world->versions.tip, visible(world));
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 20);
	append(world, 0, 1000);
	show(world, true);
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 0);
	world_free(world);
}

/* The least of three times that it takes to take so many versions back. */
static uint64_t rollback_ns(unsigned count)
{
	struct world *world = world_new(10);
	uint64_t least = UINT64_MAX;

	for (unsigned round = 0; round < 3; round++) {
		uint64_t start;

		for (unsigned i = 0; i < count; i++)
			append(world, 0, 0);
		start = processor_ns();
		take_back(world);
		least = u64_min(least, processor_ns() - start);
	}
	world_free(world);
	return least;
}

/* For each version that is taken back all before it would be passed, while nobody can commit. */
Test(version, rollback_of_many)
{
	uint64_t few = rollback_ns(5000), many = rollback_ns(40000);

	cr_assert_lt(many, 24 * few, "%llu and %llu ns", (unsigned long long)few, (unsigned long long)many);
}

/* A block that is retired when the version without it is out already would be freed under a snapshot before that version. */
Test(version, retired_late)
{
	struct world *world = world_new(5);

	append(world, 30, 0);
	show(world, true);
	snapshot_begin(world, &world->snapshots[0], false);
	append(world, 0, 0);
	show(world, true);
	for (unsigned i = 0; i < 30; i++) {
		world->shadows[i].retired = visible(world)->epoch;
		must_work(versions_retire(&world->versions, world->shadows[i].block, visible(world)->epoch));
	}
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 30);
	snapshot_end(&world->snapshots[0]);
	sweep_and_check(world, 0);
	cr_assert_eq(world->count, 0);
	world_free(world);
}

/* A sweep would do all its work at once, however much it is, or forget the rest. */
Test(version, sweeps_are_bounded)
{
	struct world *world = world_new(6);
	uint64_t before;
	unsigned sweeps = 1;

	append(world, 9000, 0);
	show(world, true);
	snapshot_begin(world, &world->snapshots[0], false);
	append(world, 0, 60000);
	show(world, true);
	while (versions_sweep(&world->versions, NULL, 0))
		continue;
	snapshot_end(&world->snapshots[0]);
	before = heap_used(world->heap);
	while (versions_sweep(&world->versions, NULL, 0)) {
		must(before - heap_used(world->heap) <= 4096 * world->block_bytes);
		before = heap_used(world->heap);
		sweeps++;
	}
	cr_assert_gt(sweeps, 2);
	sweep_and_check(world, 0);
	world_free(world);
}

/* A sweep for which there is no memory would free what is seen, or forget what it has to free. */
Test(version, no_memory)
{
	uint64_t failed = 1, nth;

	for (nth = 1; failed; nth++) {
		struct world *world = world_new(8);

		append(world, 40, 0);
		show(world, true);
		snapshot_begin(world, &world->snapshots[0], false);
		append(world, 0, 0);
		show(world, true);
		for (unsigned i = 0; i < 20; i++) {
			world->shadows[i].retired = visible(world)->epoch;
			must_work(versions_retire(&world->versions, world->shadows[i].block, visible(world)->epoch));
		}
		append(world, 40, 20);
		show(world, true);
		snapshot_begin(world, &world->snapshots[1], false);
		append(world, 0, 4000);
		show(world, true);
		fault_memory_arm(nth, false);
		(void)versions_sweep(&world->versions, NULL, 0);
		fault_memory_disarm(&failed);
		sweep_and_check(world, 0);
		snapshot_end(&world->snapshots[0]);
		sweep_and_check(world, 0);
		snapshot_end(&world->snapshots[1]);
		sweep_and_check(world, 0);
		cr_assert_eq(world->count, 0);
		world_free(world);
	}
	cr_assert_gt(nth, 6);
}

/* What is kept of versions that are over, for the next ones, would grow without end. */
Test(version, spares_are_few)
{
	struct version *versions[4 * VERSIONS_SWEEP_EVERY];
	struct world *world = world_new(9);

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		versions[i] = version_new(&world->versions);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		version_free(&world->versions, versions[i]);
	cr_assert_leq(world->versions.spare_count, 2 * VERSIONS_SWEEP_EVERY);
	version_free(&world->versions, NULL);
	world_free(world);
}

static void step(struct world *world)
{
	struct snapshot *snapshot = &world->snapshots[rng_below(&world->rng, READERS)];

	switch (rng_below(&world->rng, 12)) {
	case 0:
	case 1:
		if (snapshot->reader)
			snapshot_end(snapshot);
		else
			snapshot_begin(world, snapshot, rng_below(&world->rng, 3) == 0);
		break;
	case 2:
		take_back(world);
		break;
	case 3:
		version_settle(&world->versions, visible(world));
		break;
	case 4:
	case 5:
		show(world, rng_below(&world->rng, 2));
		break;
	case 6:
		sweep_and_check(world, 0);
		break;
	default:
		append(world, (unsigned)rng_below(&world->rng, 6), (unsigned)rng_below(&world->rng, 8));
	}
}

/* Some order of commits, rollbacks, snapshots and sweeps would free too much or too little. */
Test(version, random)
{
	struct world *world = world_new(test_seed("version random"));
	unsigned rounds = test_rounds(20000);

	for (unsigned i = 0; i < rounds && world->count < BLOCKS_MAX - 8; i++)
		step(world);
	for (unsigned i = 0; i < READERS; i++)
		if (world->snapshots[i].reader)
			snapshot_end(&world->snapshots[i]);
	show(world, true);
	sweep_and_check(world, 0);
	world_free(world);
}
