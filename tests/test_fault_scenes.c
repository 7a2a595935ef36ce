/* SPDX-License-Identifier: MIT */
/*
 * Every scene, with a failure at every index: of the calls to the disk, of the flushes, those inside a write too, which then
 * drop what they should have flushed and answer OK from then on, and of the allocations. At each index the standard is a choice
 * of kinds, in which every errno comes once and for ever, and every transfer with some of them. SOLIFUGE_TEST_MATRIX=0: one kind
 * at each, which goes round. SOLIFUGE_TEST_MATRIX=1: every errno with every transfer, once and for ever. SOLIFUGE_TEST_SECONDS:
 * goes on for so long with other seeds, for each scene.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fault_scene.h"
#include "proof.h"

static const size_t numbers[SCENES] = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
					15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29 };

static const struct sim_fault kinds[] = {
	{ .error = -EIO },
	{ .error = -ENOSPC, .partial = true, .short_bytes = 1 },
	{ .error = -EDQUOT, .keep_bytes = 1 },
	{ .error = -EFBIG, .partial = true, .short_bytes = 512 },
	{ .error = -EROFS },
	{ .error = -ENOMEM },
	{ .error = -EINTR },
	{ .error = -EAGAIN, .keep_bytes = 4096 },
	{ .error = -ENOSPC, .sticky = true },
	{ .error = -EIO, .partial = true },
	{ .error = -EIO, .sticky = true },
	{ .error = -EDQUOT, .sticky = true, .partial = true, .short_bytes = 1 },
	{ .error = -EFBIG, .sticky = true },
	{ .error = -EROFS, .sticky = true },
	{ .error = -ENOMEM, .sticky = true },
	{ .error = -EINTR, .sticky = true },
	{ .error = -EAGAIN, .sticky = true, .keep_bytes = 1 },
};

/* The whole product: each of these with each of those. */
static const int errnos[] = { -EIO, -ENOSPC, -EDQUOT, -EFBIG, -EROFS, -ENOMEM, -EINTR, -EAGAIN };

static const struct sim_fault transfers[] = {
	{ 0 }, /* nothing is moved; the only one where nothing could be */
	{ .keep_bytes = 1 },
	{ .partial = true, .short_bytes = 1 },
	{ .partial = true, .short_bytes = SIM_SECTOR_BYTES },
	{ .partial = true },
};

enum breadth { ONE_KIND, STANDARD, PRODUCT };

static enum breadth breadth(void)
{
	const char *wish = getenv("SOLIFUGE_TEST_MATRIX");

	if (!wish || !*wish)
		return STANDARD;
	return strcmp(wish, "0") ? PRODUCT : ONE_KIND;
}

static double seconds_now(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC); /* the clock of the simulated world stands still */
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Runs one, with what is needed to see it again on the way. */
static void run(const struct scene *scene, uint64_t seed, const struct fault_plan *plan, struct fault_counts *counts)
{
	const struct sim_fault *fault = &plan->fault;
	const char *moved = fault->keep_bytes ? ", bytes moved:" : fault->partial ? ", bytes not moved:" : "";

	fprintf(stderr, "%s: seed %llu, %s %llu, error %d%s%s", scene->name, (unsigned long long)seed,
		sim_call_name(fault->call), (unsigned long long)fault->nth, fault->error, fault->sticky ? " for ever" : "", moved);
	if (*moved)
		fprintf(stderr, " %llu", (unsigned long long)(fault->keep_bytes ? fault->keep_bytes : fault->short_bytes));
	fprintf(stderr, ", allocation %llu%s\n", (unsigned long long)plan->memory_nth, plan->memory_sticky ? " for ever" : "");
	fault_scene_run(scene, seed, plan, counts);
}

static void fail_calls(const struct scene *scene, uint64_t seed, struct fault_counts *counts)
{
	struct scene_calls calls = { 0 };

	scene_count(scene, seed, &calls);
	for (uint64_t nth = 1; nth <= calls.calls[SIM_ANY]; nth++) {
		for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
			struct fault_plan plan = { .fault = kinds[kind] };

			plan.fault.call = SIM_ANY;
			plan.fault.nth = nth;
			if (breadth() != ONE_KIND || (nth + seed) % ARRAY_SIZE(kinds) == kind)
				run(scene, seed, &plan, counts);
		}
	}
}

static enum sim_call first_met; /* of a run; SIM_KINDS: none yet */

static void note_met(enum sim_call call)
{
	if (first_met == SIM_KINDS)
		first_met = call;
}

/* Every errno once and for ever at the n-th call, with every transfer where it is one that transfers. */
static void fail_in_every_way(const struct scene *scene, uint64_t seed, uint64_t nth, enum sim_call call,
			      struct fault_counts *counts)
{
	size_t outcomes = call == SIM_READ || call == SIM_WRITE ? ARRAY_SIZE(transfers) : 1;

	for (size_t way = 0; way < ARRAY_SIZE(errnos) * outcomes * 2; way++) {
		struct fault_plan plan = { .fault = transfers[way / 2 % outcomes] };

		plan.fault.call = SIM_ANY;
		plan.fault.nth = nth;
		plan.fault.error = errnos[way / 2 / outcomes];
		plan.fault.sticky = way % 2;
		plan.fault.met = note_met;
		first_met = SIM_KINDS;
		run(scene, seed, &plan, counts);
		must(first_met == call);
	}
}

static void fail_product(const struct scene *scene, uint64_t seed, struct fault_counts *counts)
{
	uint64_t before = counts->runs_hit;
	struct scene_calls calls = { 0 };

	scene_count(scene, seed, &calls);
	for (size_t i = 0; i < calls.asked_count; i++)
		if (calls.asked[i] != SIM_WRITE_OUT) /* a hint cannot fail */
			fail_in_every_way(scene, seed, i + 1, (enum sim_call)calls.asked[i], counts);
	proof_count("B runs of the whole product of errnos, transfers and persistence", counts->runs_hit - before);
}

static void fail_flushes(const struct scene *scene, uint64_t seed, struct fault_counts *counts)
{
	static const int errors[] = { -EIO, -ENOSPC, -EDQUOT };
	struct scene_calls calls = { 0 };

	scene_count(scene, seed, &calls);
	for (uint64_t nth = 1; nth <= calls.calls[SIM_FLUSH]; nth++) {
		struct fault_plan plan = { .fault = { .call = SIM_FLUSH, .nth = nth, .drop = true } };

		plan.fault.error = errors[nth % ARRAY_SIZE(errors)];
		run(scene, seed, &plan, counts);
	}
}

static void fail_allocations(const struct scene *scene, uint64_t seed, struct fault_counts *counts)
{
	struct scene_calls calls = { 0 };

	scene_count(scene, seed, &calls);
	for (uint64_t nth = 1; nth <= calls.allocations; nth++) {
		struct fault_plan plan = { .memory_nth = nth };

		run(scene, seed, &plan, counts);
		plan.memory_sticky = true;
		if (breadth() != ONE_KIND)
			run(scene, seed, &plan, counts);
	}
}

typedef void fail_fn(const struct scene *scene, uint64_t seed, struct fault_counts *counts);

static void suffer_all(const struct scene *scene, fail_fn *fail, const char *what)
{
	const char *wish = getenv("SOLIFUGE_TEST_SECONDS");
	double end = seconds_now() + (wish ? atof(wish) : 0);
	uint64_t seed = test_seed(scene->name);
	struct fault_counts counts = { 0 };

	do {
		fail(scene, seed, &counts);
		seed = rng_mix(seed);
	} while (seconds_now() < end);
	fault_tell(what, &counts);
}

ParameterizedTestParameters(fault_scenes, calls)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, SCENES);
}

/* A call that fails somewhere: a commit is lost, a refused one comes back, the database cannot go on. */
ParameterizedTest(const size_t *number, fault_scenes, calls)
{
	suffer_all(&scenes[*number], breadth() == PRODUCT ? fail_product : fail_calls, "failing calls of the disk");
}

ParameterizedTestParameters(fault_scenes, flushes)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, SCENES);
}

/* A flush that fails, whose pages are dropped, and whose repetition would say OK: what it should have made durable is taken
 * for durable. */
ParameterizedTest(const size_t *number, fault_scenes, flushes)
{
	suffer_all(&scenes[*number], fail_flushes, "failing flushes that drop their pages");
}

ParameterizedTestParameters(fault_scenes, allocations)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, SCENES);
}

/* An allocation that fails somewhere: a crash, a leak, a transaction in part. */
ParameterizedTest(const size_t *number, fault_scenes, allocations)
{
	suffer_all(&scenes[*number], fail_allocations, "failing allocations");
}

/* ---- Findings ---------------------------------------------------------------------------------------------------- */

/* A creation that fails behind the links left further spindles, so that the next one failed, and said that there is no
 * database. */
Test(fault_scenes, failed_creation_leaves_no_spindles)
{
	for (uint64_t nth = 1; nth < 80; nth++) {
		struct sim_fault fault = { .call = SIM_ANY, .nth = nth, .error = -EIO };
		struct rig rig;

		scene_init(&rig, &scenes[1], nth);
		sim_disk_add_fault(rig.disk, &fault);
		if (rig_open(&rig))
			must_work(rig_open(&rig));
		rig_release(&rig);
	}
}

static void keep_kill(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct sim_disk **killed = context;

	if (call == SIM_SYNC_DIRECTORY && !*killed)
		*killed = sim_disk_kill(disk);
}

/* Who makes a database is killed before its name is on stable storage: the next one to open it must see to that. */
Test(fault_scenes, name_of_a_database_found)
{
	struct sim_disk *killed = NULL, *crashed = NULL;
	struct slf_db *db = NULL;
	struct rig rig;

	scene_init(&rig, &scenes[0], 1);
	sim_disk_set_hook(rig.disk, keep_kill, &killed);
	must_work(rig_open(&rig));
	must(killed != NULL);
	must_work(rig_open_on(&rig, killed, 0, &db));
	db_put(db, "key", "value");
	crashed = sim_disk_crash(killed, NULL, NULL);
	must_work(slf_close(db));
	must_work(rig_open_on(&rig, crashed, 0, &db));
	must(db_has(db, "key", "value"));
	must_work(slf_close(db));
	sim_disk_free(killed);
	sim_disk_free(crashed);
	rig_release(&rig);
}
