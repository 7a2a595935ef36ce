/* SPDX-License-Identifier: MIT */
/*
 * The power of real file systems is cut (FS_IOC_SHUTDOWN) at random moments while a process writes: from then on nothing
 * reaches the device any more, and what was not flushed is gone with the next mount. Some of what was not flushed gets out
 * before, page by page, as write-back does it. Then the process is killed, the file system is mounted again, and the
 * database is opened and compared with what had been acknowledged before the cut; the next cut follows on the same
 * database. A history of cuts begins with the creation of the database, which may be cut too.
 *
 * Each history has one of the ways to open a database: both I/O back ends, one file and three, the three modes of making
 * durable. Without root, loop devices or a mkfs nothing is cut, and the closing table says why.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ledger.h"
#include "proof.h"
#include "scratch.h"
#include "solifuge.h"
#include "volume.h"

#define VOLUME_BYTES (320ull << 20)
#define SPINDLES 3
#define CUTS 6        /* of one history */
#define CUTS_LYING 20 /* of one that has to be found out */
#define END_BUS 99    /* the process met SIGBUS behind a cut: a page of the map could not be read */

struct history {
	struct volume volume;
	struct ledger_page *page;
	struct rng rng;
	struct slf_options options;
	bool hasty;
	char paths[SPINDLES][SCRATCH_PATH_BYTES + 16];
	const char *further[SPINDLES - 1];
	char kind[32];
};

struct tally {
	uint64_t cuts, checkpoints, opening, buses, missing, left, commits, lost;
};

static struct scratch scratch;
static struct history history;

static void set_up(void)
{
	scratch_init(&scratch);
	history.page = ledger_page_new();
}

static void tear_down(void)
{
	volume_release(&history.volume);
	scratch_release(&scratch);
}

TestSuite(power_cut, .init = set_up, .fini = tear_down, .timeout = 7200);

/* ---- The child --------------------------------------------------------------------------------------------------- */

static void end_bus(int number)
{
	(void)number;
	_exit(history.page->broken ? END_BUS : EXIT_FAILURE);
}

static void child_run(int ready)
{
	struct ledger_run run = { .page = history.page,
				  .sync = history.options.sync,
				  .hasty = history.hasty,
				  .seed = rng_next(&history.rng) };
	int result = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* so that a test that fails leaves nobody behind */
	signal(SIGBUS, end_bus);
	result = slf_open(history.paths[0], &history.options, &run.db);
	while (result < 0 && history.page->broken)
		pause();
	must_work(result);
	history.page->opened = true;
	must(write(ready, "", 1) == 1);
	ledger_run(&run);
}

/* ---- The cut ----------------------------------------------------------------------------------------------------- */

/* Some pages of the files get to the device before the cut, as write-back would have it. */
static void write_back_some(void)
{
	unsigned spindle = 0, count = 0;

	for (spindle = 0; spindle <= history.options.spindle_count; spindle++) {
		int fd = open(history.paths[spindle], O_RDWR | O_CLOEXEC);
		struct stat status = { 0 };

		if (fd < 0)
			continue; /* not there yet */
		must(fstat(fd, &status) == 0);
		for (count = (unsigned)rng_below(&history.rng, 40); count > 0 && status.st_size > 0; count--) {
			uint64_t page = rng_below(&history.rng, (uint64_t)status.st_size / 4096 + 1);

			(void)sync_file_range(fd, (off_t)(page * 4096), (off_t)(4096 << rng_below(&history.rng, 5)),
					      SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
		}
		close(fd);
	}
}

static uint64_t acknowledged(void)
{
	return history.page->writer[0].acknowledged + history.page->writer[1].acknowledged;
}

/* So that each write of what is there needs new blocks. */
static void share_blocks(void)
{
	char copy[SCRATCH_PATH_BYTES + 32];

	for (unsigned i = 0; i <= history.options.spindle_count; i++) {
		snprintf(copy, sizeof(copy), "%s.copy", history.paths[i]);
		if (access(history.paths[i], F_OK) == 0)
			volume_share(history.paths[i], copy);
	}
}

/* One cut of a process that writes, or that is about to open the database. The file system is mounted again afterwards. */
static void cut(struct tally *tally)
{
	bool wait = rng_below(&history.rng, 3) > 0;
	uint64_t before = acknowledged();
	int pipes[2], end = 0;
	char byte = 0;
	pid_t child = 0;

	if (history.volume.kind == VOLUME_XFS_SHARED)
		share_blocks();
	history.page->broken = history.page->checkpointing = false;
	must(pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0);
	(void)rng_next(&history.rng); /* what the child takes from its copy */
	child = fork();
	if (child == 0)
		child_run(pipes[1]);
	must(child > 0);
	close(pipes[1]);
	while (wait && read(pipes[0], &byte, 1) < 0) {
		must(errno == EAGAIN);
		usleep(200);
	}
	usleep((useconds_t)rng_below(&history.rng, wait ? 30000 : 10000));
	if (rng_below(&history.rng, 2))
		write_back_some();
	must(volume_sound(&history.volume)); /* else the rest would be about the file system */
	tally->checkpoints += history.page->checkpointing;
	history.page->broken = true;
	volume_cut(&history.volume, rng_below(&history.rng, 4) == 0);
	usleep((useconds_t)rng_below(&history.rng, 3000));
	must(kill(child, SIGKILL) == 0);
	end = child_wait(child);
	must(end == 256 + SIGKILL || end == END_BUS); /* anything else: it had failed before */
	tally->cuts++;
	tally->commits += acknowledged() - before;
	tally->buses += end == END_BUS;
	tally->opening += !wait && read(pipes[0], &byte, 1) <= 0;
	close(pipes[0]);
	volume_unmount(&history.volume);
	volume_mount(&history.volume);
}

/* Opens, in one way or the other, and compares. */
static void compare(struct tally *tally)
{
	struct slf_options options = history.options;
	struct slf_db *db = NULL;
	unsigned i = 0;
	int result = 0;

	options.flags = (unsigned[]){ 0, SLF_READONLY, SLF_READONLY | SLF_NO_MAP }[rng_below(&history.rng, 3)];
	result = slf_open(history.paths[0], &options, &db);
	if (result == -ENOENT) {
		must(!history.page->opened);
		tally->missing++;
		for (i = 0; i < history.options.spindle_count;
		     i++) /* as create.c says, these may be left, and can be removed */
			tally->left += unlink(history.further[i]) == 0;
		return;
	}
	must_work(result);
	tally->lost += ledger_compare(history.page, db);
	must_work(slf_close(db));
	history.page->opened = true; /* it has been seen */
}

/* ---- Histories --------------------------------------------------------------------------------------------------- */

/* Every way of opening comes by in turn. False when there is no such volume here; then the reason is told. */
static bool history_begin(enum volume_kind kind, uint64_t seed, unsigned number)
{
	char point[SCRATCH_PATH_BYTES];
	const char *why = volume_make(&history.volume, kind, VOLUME_BYTES, scratch_name(&scratch, "volume", point));
	unsigned i = 0;

	if (why) {
		char what[64] = "";

		snprintf(what, sizeof(what), "F cuts on %s", volume_name(kind));
		proof_not_run(what, why);
		return false;
	}
	history.rng.state = rng_mix(seed + number);
	for (i = 0; i < SPINDLES; i++)
		snprintf(history.paths[i], sizeof(history.paths[i]), "%s/%s%u", history.volume.point,
			 i ? "spindle" : "db", i);
	for (i = 1; i < SPINDLES; i++)
		history.further[i - 1] = history.paths[i];
	history.options = (struct slf_options)SLF_OPTIONS_INIT;
	history.options.flags = SLF_CREATE;
	history.options.heap_bytes = 1 << 20;
	history.options.log_bytes = 1 << 20;
	history.options.auto_sync_ns = 3000000;
	history.options.io = number & 1 ? SLF_IO_POSIX : SLF_IO_DEFAULT;
	history.options.spindle_count = number & 2 ? SPINDLES - 1 : 0;
	history.options.spindles = history.options.spindle_count ? history.further : NULL;
	history.options.sync = (int[]){ SLF_SYNC_COMMIT, SLF_SYNC_NONE, SLF_SYNC_AUTO }[number / 4 % 3];
	ledger_forget(history.page);
	return true;
}

static void report(enum volume_kind kind, const struct tally *tally)
{
	char what[96] = "";

	snprintf(what, sizeof(what), "F cuts on %s", volume_name(kind));
	proof_count(what, tally->cuts);
	proof_count("F commits acknowledged before a cut", tally->commits);
	proof_count("F of cuts inside a checkpoint on request", tally->checkpoints);
	proof_count("F of cuts while the database was being opened", tally->opening);
	proof_count("F of cuts of a creation: no database yet", tally->missing);
	proof_count("F of cuts of a creation: further files left, which have to be removed", tally->left);
	proof_count("F of cuts that the process met as SIGBUS", tally->buses);
	proof_count("F acknowledged commits missing", tally->lost);
}

/* first: of the twelve ways to open; in a short run each kind meets six of them. */
static void cut_often(const char *name, enum volume_kind kind, unsigned first)
{
	unsigned rounds = test_rounds(6 * CUTS), round = 0;
	uint64_t seed = test_seed(name);
	struct tally tally = { 0 };

	for (round = 0; round < rounds; round++) {
		if (round % CUTS == 0) {
			volume_release(&history.volume);
			if (!history_begin(kind, seed, first + round / CUTS)) {
				must(round == 0); /* it was there before: that it is not now has to be seen */
				cr_skip_test("no such file system here");
			}
		}
		cut(&tally);
		compare(&tally);
		cr_assert_eq(tally.lost, 0, "cut %u (sync %d, io %d, %u spindles): commits are missing", round,
			     history.options.sync, history.options.io, 1 + history.options.spindle_count);
	}
	report(kind, &tally);
	cr_assert_gt(tally.commits, rounds, "hardly anything was written before the cuts");
}

/* A power cut would lose an acknowledged commit, keep half of one, or one without those before it. */
Test(power_cut, ext4)
{
	cut_often("power_cut/ext4", VOLUME_EXT4, 0);
}

/* The same where sizes may reach the device before the data. */
Test(power_cut, ext4_writeback)
{
	cut_often("power_cut/ext4_writeback", VOLUME_EXT4_WRITEBACK, 6);
}

/* The same where the journal is written all the time. */
Test(power_cut, ext4_eager)
{
	cut_often("power_cut/ext4_eager", VOLUME_EXT4_EAGER, 6);
}

/* The same where nothing gets to the device but what is flushed. */
Test(power_cut, ext4_late)
{
	cut_often("power_cut/ext4_late", VOLUME_EXT4_LATE, 0);
}

/* The same where metadata is logged late and in any order with the data. */
Test(power_cut, xfs)
{
	cut_often("power_cut/xfs", VOLUME_XFS, 0);
}

/* The same where what is written again goes to new blocks. */
Test(power_cut, xfs_shared)
{
	cut_often("power_cut/xfs_shared", VOLUME_XFS_SHARED, 6);
}

/* What takes visible commits for acknowledged ones has to be found out, else nothing above says anything. */
Test(power_cut, visible_is_not_durable)
{
	static const enum volume_kind both[] = { VOLUME_EXT4, VOLUME_XFS };
	unsigned i = 0, round = 0, seen = 0;

	for (i = 0; i < 2; i++) {
		uint64_t seed = test_seed("power_cut/visible_is_not_durable");
		struct tally tally = { 0 };

		if (!history_begin(both[i], seed, 4)) /* SLF_SYNC_NONE */
			continue;
		history.hasty = true;
		for (round = 0; round < CUTS_LYING; round++) {
			cut(&tally);
			compare(&tally);
		}
		cr_assert_gt(tally.lost, 0, "nothing is missing on %s", volume_name(both[i]));
		proof_count("F commits missing where visible ones were taken for durable (rig's own test)", tally.lost);
		volume_release(&history.volume);
		seen++;
	}
	if (!seen)
		cr_skip_test("no such file system here");
}
