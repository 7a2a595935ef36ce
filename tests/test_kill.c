/* SPDX-License-Identifier: MIT */
/*
 * A process that writes is ended by SIGKILL at random moments, again and again on the same database; sometimes the
 * process that recovers is killed too. Then every acknowledged commit has to be there, no commit in parts, and what is
 * there has to be a prefix of the commit order.
 *
 * Each of WRITERS threads counts its transactions. Transaction n of writer w sets the numbers n * WIDTH to n * WIDTH +
 * WIDTH - 1; number j belongs to slot j % SLOTS, and whether it puts or deletes, and what, follows from (w, j). So the
 * counter alone says what every slot has to hold. The same transaction raises a common total and writes (w, n) under
 * the total's number to an order ring of ORDER entries: totals and rings tell whether the order is a prefix. The
 * counters before submission and after acknowledgement go to a page shared with the parent.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proof.h"
#include "scratch.h"
#include "solifuge.h"

#define WRITERS 2
#define WIDTH 8
#define SLOTS 512
#define ORDER 256
#define PIPELINE 4 /* transactions that the asynchronous writer has in flight */

struct page {
	struct {
		_Atomic uint64_t submitted, acknowledged, seq; /* counters; seq: of the acknowledged commit */
	} writer[WRITERS];
	_Atomic uint64_t snapshots; /* that the reader of all children has checked */
};

struct child {
	struct slf_db *db;
	struct page *page;
	unsigned number; /* of the writer */
	uint64_t seed;
};

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(kill, .init = set_up, .fini = tear_down, .timeout = 600);

/* ---- What has to be there ---------------------------------------------------------------------------------------- */

static struct slf_slice slot_key(char *buffer, unsigned writer, uint64_t slot)
{
	return bytes(buffer, (size_t)sprintf(buffer, "slot %016" PRIx64 " of %u", rng_mix(slot * WRITERS + writer + 1),
					     writer));
}

/* What number j of a writer puts: false when it deletes. buffer has room for 40000 bytes. */
static bool slot_value(unsigned char *buffer, unsigned writer, uint64_t j, struct slf_slice *value)
{
	uint64_t mixed = rng_mix(j * WRITERS + writer + 77);
	size_t size = mixed % 700;

	if (mixed % 5 == 0)
		return false;
	if (mixed % 211 == 0)
		size = 40000;
	else if (mixed % 31 == 0)
		size = 5000;
	bytes_fill(buffer, size, mixed, mixed & 0x10000);
	*value = bytes(buffer, size);
	return true;
}

/* The greatest number that transactions up to count have used for slot; 0 when there is none: counting starts at 1. */
static uint64_t slot_number(uint64_t count, uint64_t slot)
{
	uint64_t last = (count + 1) * WIDTH - 1, j = 0;

	if (count == 0)
		return 0;
	if (last < slot)
		return 0;
	j = last - (last - slot) % SLOTS;
	return j < WIDTH ? 0 : j;
}

static uint64_t number_get(struct slf_txn *txn, const char *name)
{
	struct slf_slice value = { 0 };
	uint64_t number = 0;
	int result = slf_get(txn, SLF_MAIN, text(name), &value);

	if (result == SLF_NOTFOUND)
		return 0;
	must_work(result);
	must(value.size == sizeof(number));
	memcpy(&number, value.data, sizeof(number));
	return number;
}

static void number_put(struct slf_txn *txn, const char *name, uint64_t number)
{
	must_work(slf_put(txn, SLF_MAIN, text(name), bytes(&number, sizeof(number))));
}

static const char *counter_name(unsigned writer)
{
	static const char *const names[WRITERS] = { "counter 0", "counter 1" };

	return names[writer];
}

static void check_slot(struct slf_txn *txn, unsigned char *buffer, unsigned writer, uint64_t count, uint64_t slot)
{
	struct slf_slice expected = { 0 }, found = { 0 };
	uint64_t j = slot_number(count, slot);
	bool there = j && slot_value(buffer, writer, j, &expected);
	char key[64] = "";
	int result = slf_get(txn, SLF_MAIN, slot_key(key, writer, slot), &found);

	must(result == (there ? 0 : SLF_NOTFOUND));
	must(!there || slice_is(found, expected.data, expected.size));
}

/* The totals: as many commits as the counters say. Writes the counters to counts. */
static uint64_t check_counts(struct slf_txn *txn, uint64_t *counts)
{
	uint64_t total = number_get(txn, "total"), sum = 0;
	unsigned w = 0;

	for (w = 0; w < WRITERS; w++)
		sum += counts[w] = number_get(txn, counter_name(w));
	must(total == sum);
	return total;
}

/* The last commits, from the newest back: each writer's counters fall one by one, without a gap. */
static void check_order(struct slf_txn *txn, uint64_t total, const uint64_t *counts)
{
	uint64_t expected[WRITERS], entry[2], back = 0;
	struct slf_slice value = { 0 };
	char name[32] = "";

	memcpy(expected, counts, sizeof(expected));
	for (back = 0; back < ORDER && back < total; back++) {
		snprintf(name, sizeof(name), "order %03" PRIu64, (total - back) % ORDER);
		must_work(slf_get(txn, SLF_MAIN, text(name), &value));
		must(value.size == sizeof(entry));
		memcpy(entry, value.data, sizeof(entry));
		must(entry[0] < WRITERS);
		must(entry[1] == expected[entry[0]]);
		expected[entry[0]]--;
	}
}

/* Everything: slots, totals, order, and by a scan that there is nothing else. */
static void check_all(struct slf_txn *txn, uint64_t *counts)
{
	unsigned char *buffer = malloc(40000);
	uint64_t total = check_counts(txn, counts), slot = 0, there = 0, found = 0, j = 0;
	struct slf_range range = { .flags = SLF_PREFIX | SLF_TRANSIENT, .low = text("slot ") };
	struct slf_cursor *cursor = NULL;
	struct slf_slice value = { 0 };
	unsigned w = 0;
	int result = 0;

	must(buffer != NULL);
	check_order(txn, total, counts);
	for (w = 0; w < WRITERS; w++) {
		for (slot = 0; slot < SLOTS; slot++) {
			check_slot(txn, buffer, w, counts[w], slot);
			j = slot_number(counts[w], slot);
			there += j && slot_value(buffer, w, j, &value);
		}
	}
	must_work(slf_cursor_open(txn, SLF_MAIN, &range, &cursor));
	while ((result = slf_cursor_next(cursor, NULL, &value)) == 0)
		found++;
	must(result == SLF_END && found == there);
	slf_cursor_close(cursor);
	free(buffer);
}

/* ---- The child --------------------------------------------------------------------------------------------------- */

/* Writes the next transaction of a writer, up to its commit. */
static struct slf_txn *write_next(struct child *child, unsigned char *buffer, uint64_t n)
{
	struct slf_txn *txn = txn_begin(child->db, SLF_WRITE);
	uint64_t total = number_get(txn, "total") + 1, entry[2] = { child->number, n }, j = 0;
	struct slf_slice value = { 0 };
	char key[64] = "";

	for (j = n * WIDTH; j < (n + 1) * WIDTH; j++) {
		struct slf_slice slot = slot_key(key, child->number, j % SLOTS);
		int result = 0;

		if (slot_value(buffer, child->number, j, &value)) {
			must_work(slf_put(txn, SLF_MAIN, slot, value));
			continue;
		}
		result = slf_del(txn, SLF_MAIN, slot);
		must(result == 0 || result == SLF_NOTFOUND);
	}
	snprintf(key, sizeof(key), "order %03" PRIu64, total % ORDER);
	must_work(slf_put(txn, SLF_MAIN, text(key), bytes(entry, sizeof(entry))));
	number_put(txn, "total", total);
	must(number_get(txn, counter_name(child->number)) == n - 1);
	number_put(txn, counter_name(child->number), n);
	return txn;
}

static void acknowledge(struct child *child, uint64_t n, uint64_t seq)
{
	child->page->writer[child->number].seq = seq;
	child->page->writer[child->number].acknowledged = n;
}

/* Writer 0 waits for each commit, the others keep PIPELINE of them in flight. */
static void *writer_run(void *context)
{
	struct child *child = context;
	unsigned char *buffer = malloc(40000);
	uint64_t seqs[PIPELINE] = { 0 }, n = 0, first = 0;
	struct slf_txn *txn = txn_begin(child->db, SLF_READ);

	must(buffer != NULL);
	first = n = number_get(txn, counter_name(child->number)) + 1;
	slf_abort(txn);
	for (;; n++) {
		txn = write_next(child, buffer, n);
		child->page->writer[child->number].submitted = n;
		if (child->number == 0) {
			must_work(slf_commit(txn, &seqs[0]));
			acknowledge(child, n, seqs[0]);
			continue;
		}
		must_work(slf_commit_async(txn, &seqs[n % PIPELINE]));
		if (n - first + 1 < PIPELINE)
			continue;
		must_work(slf_wait(child->db, seqs[(n + 1) % PIPELINE], -1));
		acknowledge(child, n + 1 - PIPELINE, seqs[(n + 1) % PIPELINE]);
	}
	return NULL;
}

static void *reader_run(void *context)
{
	struct child *child = context;
	struct rng rng = { .state = child->seed };
	unsigned char *buffer = malloc(40000);
	uint64_t counts[WRITERS];
	unsigned i = 0;

	must(buffer != NULL);
	for (;;) {
		struct slf_txn *txn = txn_begin(child->db, SLF_READ);

		check_order(txn, check_counts(txn, counts), counts);
		for (i = 0; i < 20; i++) {
			unsigned w = (unsigned)rng_below(&rng, WRITERS);

			check_slot(txn, buffer, w, counts[w], rng_below(&rng, SLOTS));
		}
		slf_abort(txn);
		child->page->snapshots++;
		usleep(200);
	}
	return NULL;
}

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
static void child_run(struct page *page, uint64_t seed, int ready)
{
	struct child children[WRITERS + 1];
	pthread_t threads[WRITERS + 1];
	struct slf_db *db = NULL;
	unsigned i = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* so that a test that fails leaves nobody behind */
	db = small_open(seed);
	must(write(ready, "", 1) == 1);
	for (i = 0; i <= WRITERS; i++) {
		children[i] = (struct child){ .db = db, .page = page, .number = i, .seed = seed };
		must(pthread_create(&threads[i], NULL, i < WRITERS ? writer_run : reader_run, &children[i]) == 0);
	}
	for (;;)
		pause();
}

/* ---- The parent -------------------------------------------------------------------------------------------------- */

static void kill_after(pid_t child, uint64_t microseconds)
{
	usleep((useconds_t)microseconds);
	must(kill(child, SIGKILL) == 0);
	must(child_wait(child) == 256 + SIGKILL); /* anything else: it had failed before */
}

/* Kills a child that writes; with the moment counted from its opening, so that there is something to kill. */
static void kill_writer(struct page *page, struct rng *rng)
{
	uint64_t seed = rng_next(rng);
	int pipes[2];
	char byte = 0;
	pid_t child = 0;

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
	kill_after(child, 1000 + rng_below(rng, 39000));
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
static void check_database(struct page *page, struct rng *rng)
{
	struct slf_db *db = rng_below(rng, 2) ? small_open(rng_next(rng)) : open_database(scratch.path, SLF_READONLY);
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	uint64_t counts[WRITERS];
	unsigned w = 0;

	check_all(txn, counts);
	for (w = 0; w < WRITERS; w++) {
		must(counts[w] >= page->writer[w].acknowledged); /* no acknowledged commit is lost */
		must(counts[w] <= page->writer[w].submitted);    /* and none is there that was never submitted */
		must(slf_txn_seq(txn) >= page->writer[w].seq);
		/* What is there now has been seen, so it has to stay. */
		page->writer[w].acknowledged = page->writer[w].submitted = counts[w];
	}
	slf_abort(txn);
	must_work(slf_close(db));
}

/* A crash of a process would lose an acknowledged commit, keep half of one, or one without those before it. */
Test(kill, writer)
{
	struct rng rng = { .state = test_seed("kill/writer") };
	struct page *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned round = 0, rounds = test_rounds(200), w = 0;
	uint64_t commits = 0;

	must(page != MAP_FAILED);
	must_work(slf_close(open_database(scratch.path, SLF_CREATE)));
	for (round = 0; round < rounds; round++) {
		kill_writer(page, &rng);
		if (rng_below(&rng, 4) == 0)
			kill_recovery(&rng);
		check_database(page, &rng);
	}
	for (w = 0; w < WRITERS; w++)
		commits += page->writer[w].acknowledged;
	fprintf(stderr, "kill/writer: %u rounds, %" PRIu64 " commits, %" PRIu64 " snapshots\n", rounds, commits,
		page->snapshots);
	proof_count("D processes killed while they wrote, databases compared", rounds);
	proof_count("D commits acknowledged before a kill", commits);
	proof_count("D snapshots checked beside the writers", page->snapshots);
	cr_assert_gt(commits, rounds, "hardly anything was written before the kills");
	munmap(page, sizeof(*page));
}
