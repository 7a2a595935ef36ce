/* SPDX-License-Identifier: MIT */
/*
 * Every thread of the process gets a thousand signals a second, SIGALRM whose handler lets calls be interrupted and SIGPROF
 * whose handler lets them start again, while two writers, two readers, checkpoints and timed waits run. No call may fail for
 * it, none may hang, and what is there in the end is compared. Under ThreadSanitizer too.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ledger.h"
#include "proof.h"
#include "scratch.h"
#include "solifuge.h"

#define SECONDS 3
#define COMMITS_MIN 800 /* of both writers; a slow machine takes longer for them */
#define TICK_NS 1000000
#define TIMEOUT_NS 2000000
#define THREADS_MAX 64
/* What one thread alone gets of a kind, one tick in two. Eight handle them: a machine that is loaded, or slowed by a
 * sanitizer, may lose seven of eight. */
#define SIGNALS_MIN (SECONDS * (1000000000 / TICK_NS) / 2)

static struct scratch scratch;
static _Atomic uint64_t interrupting, restarting; /* signals that have been handled */

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(signals, .init = set_up, .fini = tear_down, .timeout = 120);

static void handle(int number)
{
	if (number == SIGALRM)
		interrupting++;
	else
		restarting++;
}

static void handlers_set(void)
{
	struct sigaction action = { .sa_handler = handle };

	must(sigaction(SIGALRM, &action, NULL) == 0);
	action.sa_flags = SA_RESTART;
	must(sigaction(SIGPROF, &action, NULL) == 0);
}

/* Sends to every thread but itself, also to those of the library, which let none through. */
static void *pester_run(void *context)
{
	const struct ledger_page *page = context;
	struct timespec tick = { .tv_nsec = TICK_NS };
	long own = syscall(SYS_gettid), ids[THREADS_MAX];
	unsigned count = 0, ticks = 0, i = 0;

	for (ticks = 0; !page->stopped; ticks++) {
		if (ticks % 100 == 0) { /* the background threads do not change, those of the test hardly */
			DIR *directory = opendir("/proc/self/task");
			struct dirent *entry = NULL;

			must(directory != NULL);
			for (count = 0; count < THREADS_MAX && (entry = readdir(directory));) {
				ids[count] = strtol(entry->d_name, NULL, 10);
				count += ids[count] > 0 && ids[count] != own;
			}
			closedir(directory);
		}
		for (i = 0; i < count; i++)
			(void)syscall(SYS_tgkill, getpid(), ids[i], ticks & 1 ? SIGALRM : SIGPROF);
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &tick, NULL);
	}
	return NULL;
}

struct keeper {
	struct slf_db *db;
	struct ledger_page *page;
	uint64_t checkpoints, timeouts;
};

/* Checkpoints, and waits that end by their time. */
static void *keeper_run(void *context)
{
	struct keeper *keeper = context;

	while (!keeper->page->stopped) {
		struct slf_txn *txn = NULL;
		int result = slf_begin_timeout(keeper->db, SLF_WRITE, TIMEOUT_NS, &txn);

		must(result == 0 || result == -ETIMEDOUT);
		keeper->timeouts += result == -ETIMEDOUT;
		slf_abort(txn);
		must_work(slf_checkpoint(keeper->db));
		must_work(slf_sync(keeper->db, NULL));
		keeper->checkpoints++;
	}
	return NULL;
}

static uint64_t commits_of(const struct ledger_page *page)
{
	return page->writer[0].acknowledged + page->writer[1].acknowledged;
}

static void *clock_run(void *context)
{
	struct ledger_page *page = context;
	struct timespec end = { 0 };

	must(clock_gettime(CLOCK_MONOTONIC, &end) == 0);
	end.tv_sec += SECONDS;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
		continue;
	while (commits_of(page) < COMMITS_MIN)
		(void)usleep(1000);
	page->stopped = true;
	return NULL;
}

static void run(int io, int sync)
{
	struct ledger_run ledger = { .page = ledger_page_new(), .sync = sync, .seed = 1 };
	struct keeper keeper = { .page = ledger.page };
	struct slf_options options = SLF_OPTIONS_INIT;
	pthread_t threads[3];
	unsigned i = 0;

	options.flags = SLF_CREATE;
	options.io = io;
	options.sync = sync;
	options.auto_sync_ns = 1000000;
	options.heap_bytes = 1 << 20;
	options.log_bytes = 1 << 20;
	handlers_set();
	must_work(slf_open(scratch.path, &options, &ledger.db));
	keeper.db = ledger.db;
	must(pthread_create(&threads[0], NULL, pester_run, ledger.page) == 0);
	must(pthread_create(&threads[1], NULL, keeper_run, &keeper) == 0);
	must(pthread_create(&threads[2], NULL, clock_run, ledger.page) == 0);
	ledger_run(&ledger);
	for (i = 0; i < 3; i++)
		must(pthread_join(threads[i], NULL) == 0);
	must_work(slf_close(ledger.db));
	ledger.db = open_database(scratch.path, SLF_READONLY);
	must(ledger_compare(ledger.page, ledger.db) == 0);
	must_work(slf_close(ledger.db));
	cr_assert_gt(ledger.page->writer[0].acknowledged, 20, "it hardly moved");
	cr_assert_gt(ledger.page->writer[1].acknowledged, 20, "it hardly moved");
	cr_assert_gt(keeper.checkpoints, 3);
	cr_assert_geq(interrupting, SIGNALS_MIN);
	cr_assert_geq(restarting, SIGNALS_MIN);
	proof_count("H signals handled beside writers, readers and checkpoints", interrupting + restarting);
	proof_count("H commits acknowledged under signals", commits_of(ledger.page));
	proof_count("H snapshots checked under signals", ledger.page->snapshots);
	proof_count("H checkpoints under signals", keeper.checkpoints);
}

/* A signal would make a commit fail with EINTR, or leave a wait hanging. */
Test(signals, every_commit)
{
	run(SLF_IO_DEFAULT, SLF_SYNC_COMMIT);
}

/* The same where a background thread flushes. */
Test(signals, background)
{
	run(SLF_IO_DEFAULT, SLF_SYNC_AUTO);
}
