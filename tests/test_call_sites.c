/* SPDX-License-Identifier: MIT */
/*
 * Every place of the library above io.h that asks a file for something has met the failure of what it asks for. The scenes are
 * gone through with a failure at every index, once and for ever, and as in fault_scenes they have to survive it; what no short
 * history asks for is asked for here, of the layer that does.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "call_site.h"
#include "fault_scene.h"
#include "proof.h"
#include "sim_inode.h"

#define LARGE_BYTES (3u << 20) /* more than an extent */
#define READ_AHEAD 20u         /* entries of four blocks: more than are asked for at once */
#define SPARED "start_write_out" /* the function that no failure reaches: IO_WRITE_OUT is a hint, which has none */
#define SEED 1

static const struct scene more_scenes[] = {
	{ "killed behind a large value", "cLK", 1, SLF_SYNC_COMMIT, 0, false },
	{ "killed behind large values on three spindles", "cLLK", 3, SLF_SYNC_COMMIT, 0, false },
};

/* The last one for locks: somebody else has them. */
static const struct sim_fault kinds[] = {
	{ .call = SIM_ANY, .error = -EIO, .met = call_site_failed },
	{ .call = SIM_ANY, .error = -EIO, .sticky = true, .met = call_site_failed },
	{ .call = SIM_ANY, .error = -EAGAIN, .sticky = true, .met = call_site_failed },
};

static void fail_scene(const struct scene *scene, const struct sim_fault *kind)
{
	struct fault_counts counts = { 0 };
	struct scene_calls calls = { 0 };

	scene_count(scene, SEED, &calls);
	for (uint64_t nth = 1; nth <= calls.calls[SIM_ANY]; nth++) {
		struct fault_plan plan = { .fault = *kind };

		plan.fault.nth = nth;
		fprintf(stderr, "%s: call %llu, error %d%s\n", scene->name, (unsigned long long)nth, kind->error,
			kind->sticky ? " for ever" : "");
		fault_scene_run(scene, SEED, &plan, &counts);
	}
}

/* ---- What no scene asks for -------------------------------------------------------------------------------------- */

static void open_new(struct rig *rig)
{
	must_work(rig_open(rig));
}

static void keep_kill(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct sim_disk **killed = context;

	if (call == SIM_SYNC_DIRECTORY && !*killed)
		*killed = sim_disk_kill(disk);
}

/* Who made the database was killed before its name was flushed. */
static void make_without_name(struct rig *rig)
{
	struct sim_disk *killed = NULL;

	sim_disk_set_hook(rig->disk, keep_kill, &killed);
	must_work(rig_open(rig));
	must_work(rig_close(rig));
	must(killed != NULL);
	sim_disk_free(rig->disk);
	rig->disk = killed;
}

/* A copy that was taken while a commit in the middle was on its way. */
static void make_copy(struct rig *rig)
{
	struct sim_disk *copy = NULL;
	uint64_t place = 0;
	uint8_t byte = 0;

	must_work(rig_open(rig));
	must_work(rig_commit(rig, 1, false));
	place = position_offset(rig->db->core.log.end.position) + SLAB_HEADER_BYTES;
	for (unsigned i = 0; i < 3; i++)
		must_work(rig_commit(rig, 1, false));
	copy = sim_disk_kill(rig->disk);
	rig_abandon(rig->db);
	rig->db = NULL;
	sim_disk_free(rig->disk);
	rig->disk = copy;
	for (size_t i = 0; i < copy->inode_count; i++)
		copy->inodes[i]->number += 1000;
	must_work(sim_disk_peek_durable(copy, rig_path(0), place, &byte, 1));
	byte ^= 1;
	must_work(sim_disk_poke(copy, rig_path(0), place, &byte, 1));
}

/* The database has been removed, the file beside it has not. */
static void leave_side_file(struct rig *rig)
{
	static struct stats unused;
	struct io *io;

	must_work(rig_open(rig));
	must_work(rig_close(rig));
	must_work(sim_disk_io(rig->disk, &unused, &io));
	must_work(io_remove(io, rig_path(0)));
	io_free(io);
}

/* Without maps every node is read. */
static void open_unmapped(struct rig *rig)
{
	must_work(rig_open(rig));
	for (unsigned i = 0; i < 3; i++)
		must_work(rig_commit(rig, 40, false));
	must_work(rig_close(rig));
	must_work(rig_open_on(rig, rig->disk, SLF_NO_MAP, &rig->db));
}

/* Spindle 0 has lost a page, and a further spindle has those of an earlier opening: nobody can tell whether they belong together. */
static void mix_times(struct rig *rig)
{
	static const uint64_t places[] = { META_PAGE_A, META_PAGE_B };
	static uint8_t pages[ARRAY_SIZE(places)][META_PAGE_BYTES];
	const uint8_t garbage[16] = { 1 };

	rig->spindle_count = 3;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		must_work(rig_open(rig));
		must_work(rig_close(rig));
		for (size_t j = 0; j < ARRAY_SIZE(places) && i == 0; j++)
			must_work(sim_disk_peek_durable(rig->disk, rig_path(1), places[j], pages[j], META_PAGE_BYTES));
	}
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		must_work(sim_disk_poke(rig->disk, rig_path(1), places[i], pages[i], META_PAGE_BYTES));
	must_work(sim_disk_poke(rig->disk, rig_path(0), META_PAGE_A, garbage, sizeof(garbage)));
}

/* The power went before the header of the extent that the log announces was durable. */
static void lose_header(struct rig *rig)
{
	const uint8_t zeros[EXTENT_HEADER_BYTES] = { 0 };
	uint64_t extent = 0;

	must_work(rig_open(rig));
	must_work(log_spare(&rig->db->core.log, true));
	rig->blob_bytes = UINT16_MAX; /* a slab announces in the second half of its extent */
	while (!extent) {
		must_work(rig_commit(rig, 1, false));
		extent = rig->db->core.log.end.next;
	}
	must_work(rig_close(rig));
	must_work(sim_disk_poke(rig->disk, rig_path(0), position_offset(extent), zeros, sizeof(zeros)));
}

/* A file larger than its first window. */
static void open_wide(struct rig *rig)
{
	must_work(rig_open(rig));
	must_work(spindle_allocate(&rig->db->core.store.spindles[0], WINDOW_BYTES, SIM_SECTOR_BYTES));
}

static int ask_information(struct rig *rig)
{
	struct slf_info info = { .size = sizeof(info) };

	return slf_info(rig->db, &info);
}

static int read_all(struct rig *rig)
{
	char wrong[256] = "";

	must(rig_inspect(rig, rig->db, rig->newest, wrong) != RIG_WRONG);
	return 0;
}

static int put_large(struct rig *rig)
{
	struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);
	uint8_t *value = malloc(LARGE_BYTES);
	int result = 0;

	must(value != NULL);
	bytes_fill(value, LARGE_BYTES, SEED, false);
	result = slf_put(txn, SLF_MAIN, text("large"), bytes(value, LARGE_BYTES));
	if (result)
		slf_abort(txn);
	else
		result = slf_commit(txn, NULL);
	free(value);
	return result;
}

/* The background does so, which is not there. */
static int make_spare(struct rig *rig)
{
	return log_spare(&rig->db->core.log, true);
}

/* Where a slab that announces the next extent had no room to be flushed with the next. */
static int flush_log(struct rig *rig)
{
	return log_sync(&rig->db->core.log);
}

/* Hints: what is not read now is read where it is needed. */
static int read_ahead(struct rig *rig)
{
	struct node_ref refs[READ_AHEAD] = { 0 };

	for (unsigned i = 0; i < READ_AHEAD; i++) {
		refs[i].position = position_make(0, EXTENT_BYTES + (uint64_t)i * 4 * NODE_BLOCK_BYTES);
		refs[i].length = 4 * NODE_BLOCK_BYTES;
	}
	store_prefetch(&rig->db->core.store, refs, READ_AHEAD);
	return 0;
}

/* Without a map of it the bytes are read. */
static int look_far(struct rig *rig)
{
	(void)spindle_view(&rig->db->core.store.spindles[0], WINDOW_BYTES, 1);
	return 0;
}

static int read_behind_the_end(struct rig *rig)
{
	char byte = 0;

	must(spindle_read(&rig->db->core.store.spindles[0], 0, WINDOW_BYTES, &byte, 1) < 0);
	return 0;
}

#define SMALL_BYTES 4096u

static int take_extent(struct rig *rig, uint64_t bytes)
{
	struct extents *extents = &rig->db->core.extents;
	uint8_t header[EXTENT_HEADER_BYTES];
	uint64_t position, allocated = 0;
	int result = extents_take_set_aside(extents, bytes, &position, &allocated, header);

	if (!result)
		extents_return(extents, position, allocated);
	return result;
}

static void return_small(struct rig *rig)
{
	open_new(rig);
	extents_trim(&rig->db->core.extents);
	must_work(take_extent(rig, SMALL_BYTES));
	rig->db->core.store.spindles[0].info.size_max = EXTENT_BYTES;
}

/* There is no room for another one behind it, but for what this one lacks. */
static int take_larger(struct rig *rig)
{
	return take_extent(rig, 2 * SMALL_BYTES);
}

static const struct {
	const char *name;
	void (*prepare)(struct rig *rig);
	int (*strike)(struct rig *rig);
} requests[] = {
	{ "information", open_new, ask_information },
	{ "the name of a database found", make_without_name, rig_open },
	{ "the cut of a copy", make_copy, rig_open },
	{ "a creation beside a file that was left", leave_side_file, rig_open },
	{ "reading without maps", open_unmapped, read_all },
	{ "a value of several extents", open_new, put_large },
	{ "the next extent of the log", open_new, make_spare },
	{ "a flush of the log", open_new, flush_log },
	{ "reading ahead", open_new, read_ahead },
	{ "the header of the log's next extent", lose_header, rig_open },
	{ "a look behind the first window", open_wide, look_far },
	{ "a read behind the end", open_new, read_behind_the_end },
	{ "pages of different times", mix_times, rig_open },
	{ "an extent that was given back and has too little space", return_small, take_larger },
};

/* Did the failure come? */
static bool fail_request(size_t which, struct sim_fault fault)
{
	bool fired = false;
	struct rig rig;
	int result = 0;

	scene_init(&rig, &scenes[0], SEED);
	requests[which].prepare(&rig);
	sim_disk_add_fault(rig.disk, &fault);
	result = requests[which].strike(&rig);
	sim_disk_clear_faults(rig.disk);
	fired = sim_disk_faults_fired(rig.disk) > 0;
	fprintf(stderr, "%s: call %llu, error %d%s: %d\n", requests[which].name, (unsigned long long)fault.nth, fault.error,
		fault.sticky ? " for ever" : "", result);
	must(result == 0 || fired);
	must(result == 0 || result == fault.error || result == SLF_EUNKNOWN || result == SLF_EPOISONED ||
	     (result == SLF_ELOCKED && fault.error == -EAGAIN));
	rig_release(&rig);
	return fired;
}

/* ---- The places -------------------------------------------------------------------------------------------------- */

static void judge_sites(void)
{
	size_t count = 0, hit = 0, missed = 0;
	struct call_site *const *sites = call_sites(&count);

	for (size_t i = 0; i < count; i++) {
		const struct call_site *site = sites[i];

		hit += site->failed > 0;
		if (site->failed || strcmp(site->within, SPARED) == 0)
			continue;
		missed++;
		fprintf(stderr, "%s:%d: %s in %s has never failed\n", site->file, site->line, site->called, site->within);
	}
	proof_count("B places that call for a file, each met by a failure", hit);
	must(missed == 0);
	must(hit + 1 == count); /* what is spared is one place */
	must(hit > 50);         /* or the seam is not there */
}

/* A place whose failure no test has seen may lose it. */
Test(call_sites, every_one_fails)
{
	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		for (size_t i = 0; i < SCENES; i++)
			fail_scene(&scenes[i], &kinds[kind]);
		for (size_t i = 0; i < ARRAY_SIZE(more_scenes); i++)
			fail_scene(&more_scenes[i], &kinds[kind]);
		for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
			struct sim_fault fault = kinds[kind];

			for (fault.nth = 1; fail_request(i, fault);)
				fault.nth++;
		}
	}
	judge_sites();
}
