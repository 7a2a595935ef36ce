/* SPDX-License-Identifier: MIT */
/*
 * A process that writes, reads and makes checkpoints is ended by SIGKILL at random moments, again and again on the same
 * database; sometimes the process that recovers is killed too. Then every acknowledged commit has to be there, no commit in
 * parts, and what is there has to be a prefix of the commit order: ledger.h tells how that is known.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ledger.h"
#include "proof.h"
#include "scratch.h"
#include "solifuge.h"

#define COMMITS_AWAITED 16 /* fewer than so many */

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(kill, .init = set_up, .fini = tear_down, .timeout = 7200); /* of 10,000 rounds; meson has a limit of its own */

/* ---- The child --------------------------------------------------------------------------------------------------- */

static struct slf_db *small_open(uint64_t seed)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;

	options.heap_bytes = 1 << 20;
	options.log_bytes = 1 << 20;
	options.io = seed & 1 ? SLF_IO_POSIX : SLF_IO_DEFAULT;
	must_work(slf_open(scratch.path, &options, &db));
	return db;
}

/* Runs in the child until it is killed; tells by the pipe that the database is open. */
static void child_run(struct ledger_page *page, uint64_t seed, int ready)
{
	struct ledger_run run = { .page = page, .sync = SLF_SYNC_COMMIT, .seed = seed };

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* so that a test that fails leaves nobody behind */
	run.db = small_open(seed);
	must(write(ready, "", 1) == 1);
	ledger_run(&run);
}

/* ---- The parent -------------------------------------------------------------------------------------------------- */

static void kill_after(pid_t child, uint64_t microseconds)
{
	usleep((useconds_t)microseconds);
	must(kill(child, SIGKILL) == 0);
	must(child_wait(child) == 256 + SIGKILL); /* anything else: it had failed before */
}

static uint64_t acknowledged(const struct ledger_page *page)
{
	uint64_t commits = 0;

	for (unsigned w = 0; w < LEDGER_WRITERS; w++)
		commits += page->writer[w].acknowledged;
	return commits;
}

/* For ten seconds at most: a child that has failed is found out by who kills it. */
static void await_commits(const struct ledger_page *page, uint64_t commits)
{
	for (unsigned i = 0; i < 20000 && acknowledged(page) < commits; i++)
		usleep(500);
}

/* Kills a child that writes. The moment is counted from its opening, and from some commits on, so that there is something to
 * kill on a slow disk too. Was it inside a checkpoint? */
static bool kill_writer(struct ledger_page *page, struct rng *rng)
{
	uint64_t seed = rng_next(rng), commits = acknowledged(page) + rng_below(rng, COMMITS_AWAITED);
	int pipes[2];
	char byte = 0;
	pid_t child = 0;

	page->checkpointing = false;
	must(pipe(pipes) == 0);
	child = fork();
	if (child == 0) {
		close(pipes[0]);
		child_run(page, seed, pipes[1]);
	}
	must(child > 0);
	close(pipes[1]);
	must(read(pipes[0], &byte, 1) == 1);
	close(pipes[0]);
	await_commits(page, commits);
	kill_after(child, 1000 + rng_below(rng, 39000));
	return page->checkpointing;
}

/* Kills a child that opens, and so recovers. */
static void kill_recovery(struct rng *rng)
{
	uint64_t seed = rng_next(rng);
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		small_open(seed);
		for (;;)
			pause();
	}
	must(child > 0);
	kill_after(child, rng_below(rng, 8000));
}

/* Opens, in one way or the other, and checks what is there against the shared page. */
static void check_database(struct ledger_page *page, struct rng *rng)
{
	struct slf_db *db = rng_below(rng, 2) ? small_open(rng_next(rng)) : open_database(scratch.path, SLF_READONLY);

	must(ledger_compare(page, db) == 0);
	must_work(slf_close(db));
}

/* A crash of a process would lose an acknowledged commit, keep half of one, or one without those before it. */
Test(kill, writer)
{
	struct rng rng = { .state = test_seed("kill/writer") };
	struct ledger_page *page = ledger_page_new();
	unsigned round = 0, rounds = test_rounds(200);
	uint64_t commits = 0, inside = 0, recoveries = 0;

	must_work(slf_close(open_database(scratch.path, SLF_CREATE)));
	for (round = 0; round < rounds; round++) {
		inside += kill_writer(page, &rng);
		if (rng_below(&rng, 4) == 0) {
			kill_recovery(&rng);
			recoveries++;
		}
		check_database(page, &rng);
	}
	commits = acknowledged(page);
	fprintf(stderr, "kill/writer: %u rounds, %" PRIu64 " commits, %" PRIu64 " snapshots\n", rounds, commits,
		page->snapshots);
	proof_count("D processes killed while they wrote, databases compared", round);
	proof_count("D processes killed inside a checkpoint on request", inside);
	proof_count("D processes killed while they recovered, or just after", recoveries);
	proof_count("D checkpoints on request before a kill", page->checkpoints);
	proof_count("D commits acknowledged before a kill", commits);
	proof_count("D snapshots checked beside the writers", page->snapshots);
	cr_assert_gt(commits, rounds, "hardly anything was written before the kills");
	cr_assert(inside > 0 || rounds < 50, "no checkpoint was killed"); /* of fewer it may be that none is met */
	munmap(page, sizeof(*page));
}
