/* SPDX-License-Identifier: MIT */
/*
 * Every scene is cut at every call that changes the disk, in so many ways that what the engine promises cannot hold by
 * chance; again and again with histories from other seeds. SOLIFUGE_TEST_ROUNDS: the distinct images of each scene;
 * SOLIFUGE_TEST_SECONDS: goes on for so long with each, one history at the least. SOLIFUGE_TEST_MATRIX=1: all subsets of more
 * units and more images of the other moments, which takes minutes for each scene. SOLIFUGE_TEST_NESTED=1: of every moment at
 * least one image is cut at every call of its own recovery, where the standard is one image of sixty.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crash_images.h"
#include "proof.h"

#define DISTINCT_PER_SCENE 10000 /* 30 scenes */
#define SUBSETS_UNITS 7
#define SUBSETS_UNITS_MATRIX 10
#define QUOTA_PER_MOMENT 160
#define QUOTA_PER_MOMENT_MATRIX 600

static const size_t numbers[SCENES] = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
					15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29 };

static void counts_add(struct image_counts *to, const struct image_counts *from)
{
	to->moments += from->moments;
	to->whole += from->whole;
	to->images += from->images;
	to->distinct += from->distinct;
	to->proofs += from->proofs;
	to->torn += from->torn;
	to->creation += from->creation;
	to->checkpoint += from->checkpoint;
	to->recovery += from->recovery;
	to->kills += from->kills;
	to->twice += from->twice;
	to->unborn += from->unborn;
}

static bool everywhere(void)
{
	const char *wish = getenv("SOLIFUGE_TEST_NESTED");

	return wish && strcmp(wish, "1") == 0;
}

static void cut_scene(const struct scene *scene, uint64_t seed, struct image_counts *counts)
{
	const char *wish = getenv("SOLIFUGE_TEST_MATRIX");
	bool matrix = wish && atoi(wish) > 0;
	struct images images = { .subsets_units = matrix ? SUBSETS_UNITS_MATRIX : SUBSETS_UNITS,
				 .nested = 60,
				 .quota = matrix ? QUOTA_PER_MOMENT_MATRIX : QUOTA_PER_MOMENT,
				 .everywhere = everywhere() };
	struct rig rig;

	scene_init(&rig, scene, seed);
	images_start(&images, &rig, seed);
	scene_run(&rig, scene);
	rig_release(&rig);
	counts_add(counts, &images.counts);
	images_release(&images);
}

static void counts_tell(const struct image_counts *counts)
{
	proof_count("A moments of a cut", counts->moments);
	proof_count("A moments cut in every subset of units", counts->whole);
	proof_count("A crash images made", counts->images);
	proof_count("A distinct crash images recovered and compared", counts->distinct);
	proof_count("A recoveries and comparisons", counts->proofs);
	proof_count("A with garbage in a sector", counts->torn);
	proof_count("A of cuts inside a checkpoint", counts->checkpoint);
	proof_count("A of cuts inside a creation", counts->creation);
	proof_count("A kills, each with a recovery and a power cut behind it", counts->kills);
	proof_count("A of cuts inside a recovery", counts->recovery);
	if (counts->twice)
		proof_count("A moments with an image cut at every call of its recovery", counts->twice);
}

static double seconds_now(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC); /* the clock of the simulated world stands still */
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

ParameterizedTestParameters(crash_images, scene)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, SCENES);
}

/* An acknowledged commit that a power cut takes back, a state that never was, a database that does not open. */
ParameterizedTest(const size_t *number, crash_images, scene)
{
	const struct scene *scene = &scenes[*number];
	const char *wish = getenv("SOLIFUGE_TEST_SECONDS");
	double end = seconds_now() + (wish ? atof(wish) : 0);
	uint64_t seed = test_seed(scene->name);
	struct image_counts counts = { 0 };

	do {
		fprintf(stderr, "%s: seed %llu\n", scene->name, (unsigned long long)seed);
		cut_scene(scene, seed, &counts);
		seed = rng_mix(seed);
	} while (wish ? seconds_now() < end : counts.distinct < test_rounds(DISTINCT_PER_SCENE));
	counts_tell(&counts);
	if (everywhere()) {
		cr_assert_eq(counts.twice + counts.unborn, counts.moments);
		proof_count("A scenes cut inside a recovery at every moment", counts.twice > 0);
	}
}

/* Fills the present extent of the log until few bytes are left. */
static void fill_extent(struct rig *rig)
{
	for (uint64_t room = log_room(&rig->db->core.log); room > 6000; room = log_room(&rig->db->core.log)) {
		rig->blob_bytes = room > 80000 ? 65000 : 1500;
		must_work(rig_commit(rig, 0, false));
		if (log_room(&rig->db->core.log) > room)
			break; /* the next one has been entered */
	}
	rig->blob_bytes = 0;
}

/* The log goes on in another extent, one that was never written or one that is used again: what leads over, or what the old
 * one still holds, is lost. */
Test(crash_images, log_extents)
{
	struct images images = { .subsets_units = 4, .quota = 28 };
	uint64_t seed = test_seed("log_extents"), recycled = 0, extent = 0, entered = 0;
	struct rig rig;

	scene_init(&rig, &scenes[2], seed);
	must_work(rig_open(&rig));
	images_start(&images, &rig, seed);
	for (unsigned round = 0; round < 5; round++) {
		images.busy = true;
		fill_extent(&rig);
		images.busy = false;
		extent = rig.db->core.log.extent;
		for (const char *letter = "cammcbkca"; *letter; letter++)
			must_work(scene_step(&rig, *letter));
		entered += rig.db->core.log.extent != extent;
		if (round == 3) /* and leave it at once */
			must_work(scene_step(&rig, 'K'));
		recycled = u64_max(recycled, rig.db->core.stats.values.log_extents_recycled);
	}
	cr_assert_gt(recycled, 0);
	cr_assert_gt(entered, 2);
	rig_release(&rig);
	counts_tell(&images.counts);
	images_release(&images);
}

/* ---- The rig ----------------------------------------------------------------------------------------------------- */

/* Runs a scene and gives a number for the bytes of its disk at every call. */
static void digest_call(void *context, struct sim_disk *disk, enum sim_call call)
{
	uint64_t *digest = context;

	*digest = rng_mix(*digest + (uint64_t)call) ^ sim_disk_digest(disk);
}

static uint64_t digest_scene(const struct scene *scene, uint64_t seed)
{
	uint64_t digest = 0;
	struct rig rig;

	scene_init(&rig, scene, seed);
	sim_disk_set_hook(rig.disk, digest_call, &digest);
	scene_run(&rig, scene);
	rig_release(&rig);
	return digest;
}

/* A seed that does not bring back the history that failed. */
Test(crash_images, one_seed_one_history)
{
	for (size_t i = 0; i < SCENES; i++) {
		uint64_t digest = digest_scene(&scenes[i], 7);

		cr_assert_eq(digest_scene(&scenes[i], 7), digest, "%s", scenes[i].name);
		cr_assert_neq(digest_scene(&scenes[i], 8), digest, "%s", scenes[i].name);
	}
}

/* A key more than there may be, in any tree, would pass. */
Test(crash_images, key_too_many_is_found_out)
{
	char name[8] = "", wrong[256] = "";

	for (unsigned tree = 0; tree < RIG_TREES; tree++) {
		struct slf_txn *txn = NULL;
		uint32_t id = SLF_MAIN;
		struct rig rig;

		scene_init(&rig, &scenes[2], 1);
		must_work(rig_open(&rig));
		for (unsigned i = 0; i < 10; i++)
			must_work(scene_step(&rig, 'c'));
		db_put(rig.db, "proof", "of life");
		cr_assert(rig_holds(&rig, rig.db, rig.newest, wrong), "%s", wrong);
		txn = txn_begin(rig.db, SLF_WRITE);
		snprintf(name, sizeof(name), "t%u", tree);
		if (tree)
			must_work(slf_tree_open(txn, name, 0, &id));
		must_work(slf_put(txn, id, text("never"), text("seen")));
		must_work(slf_commit(txn, NULL));
		cr_assert(!rig_holds(&rig, rig.db, rig.newest, wrong), "tree %u", tree);
		rig_release(&rig);
	}
}

/* A tree that nobody has committed, or one that is gone, would pass: empty trees are nowhere but in the list. */
Test(crash_images, tree_too_many_is_found_out)
{
	char wrong[256] = "";
	struct slf_txn *txn = NULL;
	uint32_t id = 0;
	struct rig rig;

	scene_init(&rig, &scenes[2], 1);
	must_work(rig_open(&rig));
	for (unsigned i = 0; i < 10; i++)
		must_work(scene_step(&rig, 'c'));
	cr_assert(rig_holds(&rig, rig.db, rig.newest, wrong), "%s", wrong);
	cr_assert(rig.states[rig.newest].trees[1]);
	rig.states[rig.newest].trees[1] = false;
	cr_assert(!rig_holds(&rig, rig.db, rig.newest, wrong));
	cr_assert_eq(rig_inspect(&rig, rig.db, rig.newest, wrong), RIG_WRONG);
	rig.states[rig.newest].trees[1] = true;
	txn = txn_begin(rig.db, SLF_WRITE);
	must_work(slf_tree_open(txn, "never seen", SLF_CREATE, &id));
	must_work(slf_commit(txn, NULL));
	cr_assert(!rig_holds(&rig, rig.db, rig.newest, wrong));
	cr_assert_eq(rig_inspect(&rig, rig.db, rig.newest, wrong), RIG_WRONG);
	rig_release(&rig);
}

/* Cuts a short history in a process of its own: how that has ended. told: what it has said. */
static int cut_apart(bool lying, char *told, size_t room)
{
	struct images images = { .subsets_units = 4, .quota = 40 };
	size_t size = 0;
	ssize_t more = 0;
	int pipes[2];
	pid_t child = 0;
	struct rig rig;

	must(pipe(pipes) == 0);
	child = fork();
	must(child >= 0);
	if (child == 0) {
		must(dup2(pipes[1], STDERR_FILENO) == STDERR_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		scene_init(&rig, &scenes[2], 1);
		must_work(rig_open(&rig));
		sim_disk_set_lying(rig.disk, lying);
		images_start(&images, &rig, 1);
		for (unsigned i = 0; i < 10; i++)
			must_work(scene_step(&rig, 'c'));
		child_exit(images.counts.proofs > 20 ? 0 : 1);
	}
	close(pipes[1]);
	while (size < room - 1 && (more = read(pipes[0], told + size, room - 1 - size)) > 0)
		size += (size_t)more;
	told[size] = 0;
	close(pipes[0]);
	return child_wait(child);
}

/* A comparison that accepts everything: on a disk that answers flushes without doing them commits must be found missing, by
 * the comparison, and on an honest one none. */
Test(crash_images, lying_disk_is_found_out)
{
	char told[4096] = "";
	int end = 0;

	end = cut_apart(false, told, sizeof(told));
	cr_assert_eq(end, 0, "an honest disk: %d: %s", end, told);
	end = cut_apart(true, told, sizeof(told));
	cr_assert_eq(end, 256 + SIGABRT, "a lying disk: %d: %s", end, told);
	cr_assert(strstr(told, RIG_NO_STATE) || strstr(told, IMAGES_GONE), "another failure: %s", told);
}
