/* SPDX-License-Identifier: MIT */
/*
 * Writes and flushes that fail in the kernel, not by plan: the file system is on a thin device whose pool runs empty while a process
 * commits, so that what is new on the device is refused, and what is already there is not. The page cache goes on showing
 * what never got to the device. The process opens the database again as often as it has to, also while nothing can be
 * written; what was acknowledged has to be there each time, and in the end, after a mount, without a page cache.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proof.h"
#include "scratch.h"
#include "solifuge.h"
#include "volume.h"

#define VOLUME_BYTES (320ull << 20)
#define POOL_BYTES (2 * VOLUME_BYTES)
#define SLOTS 200
#define VALUE_BYTES 50000
#define ROUNDS 20 /* of each file system */

/* Shared with the child. */
struct page {
	_Atomic uint64_t submitted, acknowledged;
	_Atomic uint64_t failures, poisoned, refused; /* commits that failed; of them by a poisoned handle; openings */
};

static struct scratch scratch;
static struct volume volume;
static struct page *page;
static char path[SCRATCH_PATH_BYTES + 16];

static void set_up(void)
{
	scratch_init(&scratch);
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(page != MAP_FAILED);
}

static void tear_down(void)
{
	volume_release(&volume);
	scratch_release(&scratch);
	munmap(page, sizeof(*page));
}

TestSuite(thin_device, .init = set_up, .fini = tear_down, .timeout = 3600);

/* ---- The database ------------------------------------------------------------------------------------------------ */

/* Commit n sets slot n % SLOTS, and the count to n. */
static struct slf_slice value_of(uint64_t n, uint8_t *buffer)
{
	uint64_t mixed = rng_mix(n);
	size_t size = mixed % 17 == 0 ? VALUE_BYTES : mixed % 5 == 0 ? 6000 : mixed % 700;

	bytes_fill(buffer, size, n, false);
	return bytes(buffer, size);
}

static int commit_number(struct slf_db *db, uint64_t n)
{
	static uint8_t buffer[VALUE_BYTES];
	uint32_t slot = (uint32_t)(n % SLOTS);
	struct slf_txn *txn = NULL;
	int result = slf_begin(db, SLF_WRITE, &txn);

	if (result)
		return result;
	result = slf_put(txn, SLF_MAIN, bytes(&slot, sizeof(slot)), value_of(n, buffer));
	if (!result)
		result = slf_put(txn, SLF_MAIN, text("count"), bytes(&n, sizeof(n)));
	if (!result)
		return slf_commit(txn, NULL);
	slf_abort(txn);
	return result;
}

/* The number of the newest commit, after a look at all that it says. */
static uint64_t compare(struct slf_db *db)
{
	static uint8_t buffer[VALUE_BYTES];
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_slice value = { 0 }, wanted;
	uint64_t count = 0;
	int result = slf_get(txn, SLF_MAIN, text("count"), &value);

	must(result == 0 || result == SLF_NOTFOUND);
	if (result == 0)
		memcpy(&count, value.data, sizeof(count));
	must(count >= page->acknowledged && count <= page->submitted);
	for (uint64_t n = count; n > 0 && n + SLOTS > count; n--) {
		uint32_t slot = (uint32_t)(n % SLOTS);

		must_work(slf_get(txn, SLF_MAIN, bytes(&slot, sizeof(slot)), &value));
		wanted = value_of(n, buffer);
		must(slice_is(value, wanted.data, wanted.size));
	}
	slf_abort(txn);
	return count;
}

/* ---- The child --------------------------------------------------------------------------------------------------- */

static void child_run(const struct slf_options *options)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* so that a test that fails leaves nobody behind */
	for (;;) {
		struct slf_db *db = NULL;
		int result = slf_open(path, options, &db);
		uint64_t n = 0;

		if (result) {
			must(result != SLF_ECORRUPT && result != SLF_ENOTDB);
			page->refused++;
			usleep(2000);
			continue;
		}
		for (n = compare(db) + 1; result == 0; n++) {
			page->submitted = n > page->submitted ? n : page->submitted;
			result = commit_number(db, n);
			if (result == 0)
				page->acknowledged = n;
		}
		must(result != SLF_ECORRUPT);
		page->failures++;
		page->poisoned += result == SLF_EUNKNOWN || result == SLF_EPOISONED;
		slf_close(db);
	}
}

/* ---- Rounds ------------------------------------------------------------------------------------------------------ */

/* False when there is no such volume here. */
static bool make(enum volume_kind kind)
{
	char point[SCRATCH_PATH_BYTES];
	const char *why = volume_make_thin(&volume, kind, VOLUME_BYTES, scratch_name(&scratch, "volume", point));
	char what[64] = "";

	snprintf(path, sizeof(path), "%s/db", volume.point);
	if (!why)
		return true;
	snprintf(what, sizeof(what), "G devices that run out of blocks, %s", volume_name(kind));
	proof_not_run(what, why);
	return false;
}

/* The pool runs empty while the child works; it may have room again before the child ends. */
static void run_round(struct rng *rng, unsigned number)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	pid_t child = 0;

	options.flags = SLF_CREATE;
	options.heap_bytes = 1 << 20;
	options.log_bytes = 1 << 20;
	options.io = number & 1 ? SLF_IO_POSIX : SLF_IO_DEFAULT;
	child = fork();
	if (child == 0)
		child_run(&options);
	must(child > 0);
	usleep((useconds_t)(20000 + rng_below(rng, 60000)));
	volume_starve(&volume);
	usleep((useconds_t)(10000 + rng_below(rng, 60000)));
	if (rng_below(rng, 2)) {
		volume_feed(&volume, POOL_BYTES);
		usleep((useconds_t)rng_below(rng, 40000));
	}
	must(kill(child, SIGKILL) == 0);
	must(child_wait(child) == 256 + SIGKILL); /* anything else: it has found something */
	volume_feed(&volume, POOL_BYTES);
	volume_unmount(&volume);
	volume_mount(&volume);
	options.flags = number & 2 ? SLF_CREATE : SLF_CREATE | SLF_NO_MAP;
	must_work(slf_open(path, &options, &db));
	page->acknowledged = compare(db); /* it has been seen */
	page->submitted = page->acknowledged;
	must_work(slf_close(db));
}

static void run_often(const char *name, enum volume_kind kind)
{
	struct rng rng = { .state = test_seed(name) };
	char what[64] = "";

	for (unsigned round = 0; round < test_rounds(ROUNDS); round++) {
		if (round % 5 == 0) { /* a new device: else soon everything is in the pool */
			volume_release(&volume);
			page->acknowledged = page->submitted = 0;
			if (!make(kind)) {
				must(round == 0);
				cr_skip_test("no such file system here");
			}
		}
		run_round(&rng, round);
	}
	snprintf(what, sizeof(what), "G devices that run out of blocks, %s", volume_name(kind));
	proof_count(what, test_rounds(ROUNDS));
	proof_count("G devices that run out of blocks: commits that failed", page->failures);
	proof_count("G devices that run out of blocks: poisoned, opened again", page->poisoned);
	proof_count("G devices that run out of blocks: openings refused", page->refused);
	cr_assert_gt(page->failures, test_rounds(ROUNDS) / 4, "hardly anything has failed");
	cr_assert_gt(page->poisoned, 0, "no flush has failed");
}

/* What was acknowledged would be gone, for a flush that the kernel had not done. */
Test(thin_device, ext4)
{
	run_often("thin_device/ext4", VOLUME_EXT4);
}

Test(thin_device, xfs)
{
	run_often("thin_device/xfs", VOLUME_XFS);
}
