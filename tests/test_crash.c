/* SPDX-License-Identifier: MIT */
/*
 * Power cuts and failing calls at every I/O call of scripted workloads, with the whole engine on the simulated disk.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "crash_rig.h"

/* ---- Power cuts -------------------------------------------------------------------------------------------------- */

struct cutter {
	struct rig *rig;
	uint64_t seed;
	unsigned nested;     /* of so many images one is cut again while it recovers; 0: none */
	uint64_t images;
	bool busy;
};

static void cut_here(void *context, struct sim_disk *disk, enum sim_call call);

/* Opens an image while it is cut in its turn, at every call of its recovery. */
static void cut_recovery(const struct cutter *outer, struct sim_disk *disk, uint64_t seed)
{
	struct cutter inner = { .rig = outer->rig, .seed = seed };
	struct slf_db *db = NULL;

	sim_disk_set_hook(disk, cut_here, &inner);
	if (rig_open_on(outer->rig, disk, 0, &db) == 0)
		must_work(slf_close(db));
	sim_disk_free(disk);
	((struct cutter *)(uintptr_t)outer)->images += inner.images;
}

static void cut_here(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct cutter *cutter = context;
	uint64_t seed = 0;

	if (cutter->busy || call == SIM_READ || call == SIM_INFO || call == SIM_MAP || call == SIM_OPEN ||
	    call == SIM_LOCK || call == SIM_WRITE_OUT || call == SIM_CLOSE)
		return; /* nothing can have changed since the call before */
	cutter->busy = true;
	seed = rng_mix(cutter->seed++);
	rig_prove(cutter->rig, sim_disk_crash_seed(disk, seed, seed % 3 == 0), seed);
	cutter->images++;
	if (cutter->nested && cutter->images % cutter->nested == 0)
		cut_recovery(cutter, sim_disk_crash_seed(disk, seed, false), seed);
	cutter->busy = false;
}

static void cut_script(const char *name, unsigned spindles, int sync, unsigned steps)
{
	uint64_t seed = test_seed(name);
	struct rig rig;
	struct cutter cutter = { .rig = &rig, .seed = seed, .nested = 40 };

	steps = test_rounds(steps);
	rig_init(&rig, seed, spindles, sync);
	sim_disk_set_hook(rig.disk, cut_here, &cutter);
	must_work(rig_open(&rig));
	for (unsigned i = 0; i < steps; i++)
		must_work(rig_step(&rig));
	must_work(rig_close(&rig));
	must_work(rig_open(&rig));
	rig_adopt(&rig, true);
	rig_release(&rig);
	printf("%s: %llu crash images\n", name, (unsigned long long)cutter.images);
}

/* An acknowledged commit that a power cut takes back, or a state that never was. */
Test(crash, durable_commits)
{
	cut_script("crash durable_commits", 1, SLF_SYNC_COMMIT, 120);
}

/* The same where commits are spread over three devices, each of which loses what it likes. */
Test(crash, three_spindles)
{
	cut_script("crash three_spindles", 3, SLF_SYNC_COMMIT, 80);
}

/* A slf_sync() that says durable what is not. */
Test(crash, sync_on_request)
{
	cut_script("crash sync_on_request", 1, SLF_SYNC_NONE, 120);
}

/* A slf_sync() that flushes the log but not the devices on which values lie. */
Test(crash, sync_on_request_three_spindles)
{
	cut_script("crash sync_on_request_three_spindles", 3, SLF_SYNC_NONE, 80);
}

#define LARGE_BYTES (3u << 20) /* more than an extent */

static int abort_large(struct rig *rig)
{
	struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);
	uint8_t *value = malloc(LARGE_BYTES);
	int result = 0;

	must(value != NULL);
	bytes_fill(value, LARGE_BYTES, rng_next(&rig->rng), false);
	result = slf_put(txn, SLF_MAIN, text("never"), slice(value, LARGE_BYTES));
	slf_abort(txn);
	free(value);
	return result;
}

static int close_and_open(struct rig *rig)
{
	int result = rig_close(rig);

	if (!result)
		result = rig_open(rig);
	if (!result)
		rig_adopt(rig, true);
	return result;
}

/* More than an extent of the log. */
static int fill_log(struct rig *rig)
{
	int result = 0;

	atomic_store(&rig->db->core.checkpoint.failed, -ENOSPC); /* so that no checkpoint comes by itself */
	atomic_store(&rig->db->core.checkpoint.retry_ns, UINT64_MAX);
	rig->blob_bytes = UINT16_MAX;
	for (unsigned i = 0; i < 40 && !result; i++)
		result = rig_commit(rig, i % 8 == 0, false);
	rig->blob_bytes = 0;
	return result;
}

static int extent_step(struct rig *rig, char letter)
{
	switch (letter) {
	case 'k':
		return slf_checkpoint(rig->db);
	case 'r':
		return close_and_open(rig);
	case 'x':
		return abort_large(rig);
	default:
		return fill_log(rig);
	}
}

static void cut_extents(const char *name, const char *script, int sync, unsigned values_large)
{
	struct rig rig;
	struct cutter cutter = { .rig = &rig, .seed = test_seed(name) };

	rig_init(&rig, cutter.seed, 1, sync);
	rig.values_large = values_large;
	sim_disk_set_hook(rig.disk, cut_here, &cutter);
	must_work(rig_open(&rig));
	for (; *script; script++)
		must_work(extent_step(&rig, *script));
	rig_release(&rig);
	printf("%s: %llu crash images\n", name, (unsigned long long)cutter.images);
}

/* An extent would be given to the log and to values, since nobody marked that it was taken, or be used again too early. */
Test(crash, extents)
{
	cut_extents("crash extents", "fkxrfkrxrfxkf", SLF_SYNC_COMMIT, 0);
}

Test(crash, extents_sync_on_request)
{
	cut_extents("crash extents_sync_on_request", "fkxrfkrxrfxkf", SLF_SYNC_NONE, 20);
}

/* ---- Failing calls ----------------------------------------------------------------------------------------------- */

struct trouble {
	uint64_t runs, fired, poisoned;
};

static bool is_poisoned(const struct rig *rig)
{
	return rig->db && commit_check(&rig->db->core.commit) != 0;
}

/* A script in which calls fail by plan: results may be errors, what was acknowledged may not be lost. */
static void suffer(struct trouble *trouble, uint64_t seed, unsigned spindles, int sync, const struct sim_fault *fault)
{
	struct rig rig;
	uint64_t before;

	rig_init(&rig, seed, spindles, sync);
	must_work(rig_open(&rig));
	before = sim_disk_faults_fired(rig.disk);
	sim_disk_add_fault(rig.disk, fault);
	for (unsigned i = 0; i < 60; i++) {
		bool closed = !rig.db;
		int result = closed ? rig_open(&rig) : rig_step(&rig);

		must(result <= 0);
		if (closed && result == 0)
			rig_adopt(&rig, true);
		if (rig.db && result) /* asynchronous commits meet their fate: durable, or taken back with the error */
			(void)(slf_sync(rig.db, NULL) && slf_sync(rig.db, NULL));
		if (!rig.db || is_poisoned(&rig))
			sim_disk_clear_faults(rig.disk);
		if (rig.db && result == 0 && !is_poisoned(&rig))
			rig_identify(&rig, rig.db);
		if (!rig.db || (result == 0 && !is_poisoned(&rig)))
			continue;
		if (is_poisoned(&rig)) {
			trouble->poisoned++;
			rig_close(&rig);
			must_work(rig_open(&rig));
			rig_adopt(&rig, true);
		} else {
			rig_adopt(&rig, false);
		}
	}
	trouble->fired += sim_disk_faults_fired(rig.disk) - before;
	trouble->runs++;
	sim_disk_clear_faults(rig.disk);
	rig_prove(&rig, sim_disk_crash_seed(rig.disk, seed, false), seed);
	if (rig.db)
		rig_close(&rig);
	must_work(rig_open(&rig));
	rig_adopt(&rig, true);
	rig_release(&rig);
}

static void suffer_all(const char *name, enum sim_call call, int error, bool sticky, bool drop, unsigned count)
{
	uint64_t seed = test_seed(name);
	struct trouble trouble = { 0 };

	for (uint64_t nth = 1; nth <= test_rounds(count); nth++) {
		struct sim_fault fault = { .call = call, .nth = nth, .error = error, .sticky = sticky, .drop = drop };

		fault.partial = nth % 2;
		fault.short_bytes = 512 * (nth % 3);
		suffer(&trouble, seed + nth % 4, nth % 3 == 0 ? 3 : 1, nth % 5 == 0 ? SLF_SYNC_NONE : SLF_SYNC_COMMIT,
		       &fault);
	}
	printf("%s: %llu runs, %llu calls failed, %llu times poisoned\n", name, (unsigned long long)trouble.runs,
	       (unsigned long long)trouble.fired, (unsigned long long)trouble.poisoned);
}

/* A write that fails once, wherever it is. */
Test(crash, fault_write_once)
{
	suffer_all("crash fault_write_once", SIM_WRITE, -EIO, false, false, 150);
}

/* A disk that is full from some moment on. */
Test(crash, fault_full_disk)
{
	suffer_all("crash fault_full_disk", SIM_WRITE, -ENOSPC, true, false, 100);
}

/* No space can be allocated, once and for ever. */
Test(crash, fault_allocate)
{
	suffer_all("crash fault_allocate", SIM_ALLOCATE, -ENOSPC, true, false, 40);
}

/* A flush fails, drops what it should have flushed, and the next one lies. */
Test(crash, fault_flush_drops)
{
	suffer_all("crash fault_flush_drops", SIM_SYNC, -EIO, false, true, 60);
}

/* The flush inside a write fails and drops. */
Test(crash, fault_write_drops)
{
	suffer_all("crash fault_write_drops", SIM_WRITE, -EIO, false, true, 100);
}

/* Any call fails once, reads and opens too. */
Test(crash, fault_any)
{
	suffer_all("crash fault_any", SIM_ANY, -EIO, false, false, 250);
}
