/* SPDX-License-Identifier: MIT */
/* See ledger.h. */
#include "ledger.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scratch.h"

#define WIDTH 8
#define SLOTS 512
#define ORDER 256
#define PIPELINE 4   /* transactions that the asynchronous writer has in flight */
#define SYNC_EVERY 8 /* transactions from one acknowledgement to the next in the modes without a flush per commit */
#define VALUE_BYTES 40000
#define READERS 2
#define THREADS (LEDGER_WRITERS + READERS + 1)
#define CHECKPOINT_PAUSE_US 10000 /* at the most, from one to the next */

struct writer {
	struct ledger_run *run;
	unsigned number;
};

struct ledger_page *ledger_page_new(void)
{
	struct ledger_page *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(page != MAP_FAILED);
	return page;
}

void ledger_forget(struct ledger_page *page)
{
	unsigned w = 0;

	for (w = 0; w < LEDGER_WRITERS; w++)
		page->writer[w].submitted = page->writer[w].acknowledged = page->writer[w].seq = 0;
	page->opened = false;
}

/* The page of the process that writes; the parent, in which every call has to work, has none. */
static struct ledger_page *running;

/* The result of a call that has to work. Where it may fail, and does, the thread stays here until the process is killed. */
static int call_works(int result, const char *call, int line)
{
	if (result >= 0)
		return result;
	while (running && running->broken)
		pause();
	must_be_zero(result, call, __FILE__, line);
	return result;
}

#define works(call) call_works((call), #call, __LINE__)

static struct slf_txn *begin(struct slf_db *db, unsigned flags)
{
	struct slf_txn *txn = NULL;

	works(slf_begin(db, flags, &txn));
	return txn;
}

/* ---- What has to be there ---------------------------------------------------------------------------------------- */

static struct slf_slice slot_key(char *buffer, unsigned writer, uint64_t slot)
{
	return bytes(buffer, (size_t)sprintf(buffer, "slot %016" PRIx64 " of %u",
					     rng_mix(slot * LEDGER_WRITERS + writer + 1), writer));
}

/* What number j of a writer puts: false when it deletes. buffer has room for VALUE_BYTES. */
static bool slot_value(unsigned char *buffer, unsigned writer, uint64_t j, struct slf_slice *value)
{
	uint64_t mixed = rng_mix(j * LEDGER_WRITERS + writer + 77);
	size_t size = mixed % 700;

	if (mixed % 5 == 0)
		return false;
	if (mixed % 211 == 0)
		size = VALUE_BYTES;
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
	int result = works(slf_get(txn, SLF_MAIN, text(name), &value));

	if (result == SLF_NOTFOUND)
		return 0;
	must(value.size == sizeof(number));
	memcpy(&number, value.data, sizeof(number));
	return number;
}

static void number_put(struct slf_txn *txn, const char *name, uint64_t number)
{
	works(slf_put(txn, SLF_MAIN, text(name), bytes(&number, sizeof(number))));
}

static const char *counter_name(unsigned writer)
{
	static const char *const names[LEDGER_WRITERS] = { "counter 0", "counter 1" };

	return names[writer];
}

static void check_slot(struct slf_txn *txn, unsigned char *buffer, unsigned writer, uint64_t count, uint64_t slot)
{
	struct slf_slice expected = { 0 }, found = { 0 };
	uint64_t j = slot_number(count, slot);
	bool there = j && slot_value(buffer, writer, j, &expected);
	char key[64] = "";
	int result = works(slf_get(txn, SLF_MAIN, slot_key(key, writer, slot), &found));

	must(result == (there ? 0 : SLF_NOTFOUND));
	must(!there || slice_is(found, expected.data, expected.size));
}

/* The totals: as many commits as the counters say. Writes the counters to counts. */
static uint64_t check_counts(struct slf_txn *txn, uint64_t *counts)
{
	uint64_t total = number_get(txn, "total"), sum = 0;
	unsigned w = 0;

	for (w = 0; w < LEDGER_WRITERS; w++)
		sum += counts[w] = number_get(txn, counter_name(w));
	must(total == sum);
	return total;
}

/* The last commits, from the newest back: each writer's counters fall one by one, without a gap. */
static void check_order(struct slf_txn *txn, uint64_t total, const uint64_t *counts)
{
	uint64_t expected[LEDGER_WRITERS], entry[2], back = 0;
	struct slf_slice value = { 0 };
	char name[32] = "";

	memcpy(expected, counts, sizeof(expected));
	for (back = 0; back < ORDER && back < total; back++) {
		snprintf(name, sizeof(name), "order %03" PRIu64, (total - back) % ORDER);
		must(works(slf_get(txn, SLF_MAIN, text(name), &value)) == 0);
		must(value.size == sizeof(entry));
		memcpy(entry, value.data, sizeof(entry));
		must(entry[0] < LEDGER_WRITERS);
		must(entry[1] == expected[entry[0]]);
		expected[entry[0]]--;
	}
}

/* Everything: slots, totals, order, and by a scan that there is nothing else. */
void ledger_check(struct slf_txn *txn, uint64_t counts[LEDGER_WRITERS])
{
	unsigned char *buffer = malloc(VALUE_BYTES);
	uint64_t total = check_counts(txn, counts), slot = 0, there = 0, found = 0, j = 0;
	struct slf_range range = { .flags = SLF_PREFIX | SLF_TRANSIENT, .low = text("slot ") };
	struct slf_cursor *cursor = NULL;
	struct slf_slice value = { 0 };
	unsigned w = 0;
	int result = 0;

	must(buffer != NULL);
	check_order(txn, total, counts);
	for (w = 0; w < LEDGER_WRITERS; w++) {
		for (slot = 0; slot < SLOTS; slot++) {
			check_slot(txn, buffer, w, counts[w], slot);
			j = slot_number(counts[w], slot);
			there += j && slot_value(buffer, w, j, &value);
		}
	}
	works(slf_cursor_open(txn, SLF_MAIN, &range, &cursor));
	while ((result = works(slf_cursor_next(cursor, NULL, &value))) == 0)
		found++;
	must(result == SLF_END && found == there);
	slf_cursor_close(cursor);
	free(buffer);
}

uint64_t ledger_compare(struct ledger_page *page, struct slf_db *db)
{
	struct slf_txn *txn = begin(db, SLF_READ);
	uint64_t counts[LEDGER_WRITERS], lost = 0;
	unsigned w = 0;

	ledger_check(txn, counts);
	for (w = 0; w < LEDGER_WRITERS; w++) {
		if (counts[w] < page->writer[w].acknowledged) {
			lost += page->writer[w].acknowledged - counts[w];
			page->writer[w].seq = 0;
		}
		must(slf_txn_seq(txn) >= page->writer[w].seq);
		must(counts[w] <= page->writer[w].submitted); /* none is there that was never submitted */
		page->writer[w].acknowledged = page->writer[w].submitted = counts[w];
	}
	slf_abort(txn);
	return lost;
}

/* ---- The child --------------------------------------------------------------------------------------------------- */

/* Writes the next transaction of a writer, up to its commit. */
static struct slf_txn *write_next(const struct writer *writer, unsigned char *buffer, uint64_t n)
{
	struct slf_txn *txn = begin(writer->run->db, SLF_WRITE);
	uint64_t total = number_get(txn, "total") + 1, entry[2] = { writer->number, n }, j = 0;
	struct slf_slice value = { 0 };
	char key[64] = "";

	for (j = n * WIDTH; j < (n + 1) * WIDTH; j++) {
		struct slf_slice slot = slot_key(key, writer->number, j % SLOTS);

		if (slot_value(buffer, writer->number, j, &value))
			works(slf_put(txn, SLF_MAIN, slot, value));
		else
			works(slf_del(txn, SLF_MAIN, slot));
	}
	snprintf(key, sizeof(key), "order %03" PRIu64, total % ORDER);
	works(slf_put(txn, SLF_MAIN, text(key), bytes(entry, sizeof(entry))));
	number_put(txn, "total", total);
	while (number_get(txn, counter_name(writer->number)) !=
	       n - 1) { /* the one before was taken back: a group failed */
		must(running->broken);
		pause();
	}
	number_put(txn, counter_name(writer->number), n);
	return txn;
}

/* What returns while calls may fail counts no more: see ledger.h. */
static void acknowledge(const struct writer *writer, uint64_t n, uint64_t seq)
{
	if (running->broken)
		return;
	running->writer[writer->number].seq = seq;
	running->writer[writer->number].acknowledged = n;
}

/* Acknowledges transaction n of the mode without a flush per commit once it is durable, which is asked for now and then. */
static void settle(const struct writer *writer, uint64_t n, uint64_t seq)
{
	struct slf_db *db = writer->run->db;
	uint64_t durable = 0;

	if (n % SYNC_EVERY != 0 && !writer->run->hasty)
		return;
	if (writer->run->hasty)
		durable = seq;
	else if (writer->run->sync == SLF_SYNC_AUTO)
		works(slf_wait(db, durable = seq, -1));
	else
		works(slf_sync(db, &durable));
	must(durable >= seq);
	acknowledge(writer, n, seq);
}

/* Writer 0 waits for each commit, the others keep PIPELINE of them in flight. */
static void *writer_run(void *context)
{
	const struct writer *writer = context;
	unsigned char *buffer = malloc(VALUE_BYTES);
	uint64_t seqs[PIPELINE] = { 0 }, n = 0, first = 0;
	struct slf_db *db = writer->run->db;
	struct slf_txn *txn = begin(db, SLF_READ);

	must(buffer != NULL);
	first = n = number_get(txn, counter_name(writer->number)) + 1;
	slf_abort(txn);
	for (; !running->stopped; n++) {
		uint64_t *seq = &seqs[n % PIPELINE], *oldest = &seqs[(n + 1) % PIPELINE];

		txn = write_next(writer, buffer, n);
		running->writer[writer->number].submitted = n;
		works(writer->number == 0 ? slf_commit(txn, seq) : slf_commit_async(txn, seq));
		if (writer->run->sync != SLF_SYNC_COMMIT) {
			settle(writer, n, *seq);
		} else if (writer->number == 0) {
			acknowledge(writer, n, *seq);
		} else if (n - first + 1 >= PIPELINE) {
			works(slf_wait(db, *oldest, -1));
			acknowledge(writer, n + 1 - PIPELINE, *oldest);
		}
	}
	free(buffer);
	return NULL;
}

static void *reader_run(void *context)
{
	const struct writer *reader = context;
	struct rng rng = { .state = reader->run->seed + reader->number };
	unsigned char *buffer = malloc(VALUE_BYTES);
	uint64_t counts[LEDGER_WRITERS];
	unsigned i = 0;

	must(buffer != NULL);
	while (!running->stopped) {
		struct slf_txn *txn = begin(reader->run->db, SLF_READ);

		check_order(txn, check_counts(txn, counts), counts);
		for (i = 0; i < 20; i++) {
			unsigned w = (unsigned)rng_below(&rng, LEDGER_WRITERS);

			check_slot(txn, buffer, w, counts[w], rng_below(&rng, SLOTS));
		}
		slf_abort(txn);
		running->snapshots++;
		usleep(200);
	}
	free(buffer);
	return NULL;
}

static void *checkpointer_run(void *context)
{
	const struct writer *checkpointer = context;
	struct rng rng = { .state = checkpointer->run->seed + checkpointer->number };

	while (!running->stopped) {
		running->checkpointing = true;
		works(slf_checkpoint(checkpointer->run->db));
		running->checkpointing = false;
		running->checkpoints++;
		usleep((useconds_t)rng_below(&rng, CHECKPOINT_PAUSE_US));
	}
	return NULL;
}

void ledger_run(struct ledger_run *run)
{
	struct writer writers[THREADS];
	pthread_t threads[THREADS];
	unsigned i = 0;

	running = run->page;
	for (i = 0; i < THREADS; i++) {
		bool writes = i < LEDGER_WRITERS, reads = !writes && i < LEDGER_WRITERS + READERS;
		void *(*work)(void *context) = writes ? writer_run : reads ? reader_run : checkpointer_run;

		writers[i] = (struct writer){ .run = run, .number = i };
		must(pthread_create(&threads[i], NULL, work, &writers[i]) == 0);
	}
	for (i = 0; i < THREADS; i++)
		must(pthread_join(threads[i], NULL) == 0);
	running = NULL;
}
