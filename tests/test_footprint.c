/* SPDX-License-Identifier: MIT */
/*
 * Anonymous memory stays within the table of libsolifuge(3), whatever is written and read: real files, without sanitizers,
 * which keep what is freed.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base.h"
#include "codec.h"
#include "fault_memory.h"
#include "scratch.h"

#define HEAP_BYTES (4 * MIB)
#define LOG_BYTES (2 * MIB)
#define GROWTH_MAX (20 * MIB) /* heap, two slab buffers, three bulk images, verified bits as used, actions */

static uint64_t anonymous_bytes(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	unsigned long kilobytes = 0;
	char line[256];

	must(file != NULL);
	while (fgets(line, sizeof(line), file) && sscanf(line, "RssAnon: %lu kB", &kilobytes) != 1)
		continue;
	fclose(file);
	return kilobytes * KIB;
}

static struct slf_slice key_of(uint32_t number, uint8_t *key)
{
	put_be32(key, number * 2654435761u);
	put_be32(key + 4, number);
	return slice(key, 8);
}

struct footprint {
	struct scratch scratch;
	struct slf_db *db;
	uint64_t before, grown;
};

static void footprint_look(struct footprint *footprint)
{
	uint64_t now = anonymous_bytes();

	if (now > footprint->before)
		footprint->grown = u64_max(footprint->grown, now - footprint->before);
}

static int footprint_hear(void *context, const struct slf_progress *progress)
{
	(void)progress;
	footprint_look(context);
	return 0;
}

static void footprint_open(struct footprint *footprint, unsigned flags)
{
	struct slf_options options = SLF_OPTIONS_INIT;

	options.flags = flags;
	options.heap_bytes = HEAP_BYTES;
	options.log_bytes = LOG_BYTES;
	options.progress = footprint_hear;
	options.progress_context = footprint;
	footprint->before = anonymous_bytes();
	footprint->grown = 0;
	must_work(slf_open(footprint->scratch.path, &options, &footprint->db));
}

static void footprint_end(struct footprint *footprint, const char *name)
{
	printf("footprint %s: %llu KiB\n", name, (unsigned long long)(footprint->grown / KIB));
	must(footprint->grown > 0 && footprint->grown < GROWTH_MAX);
	must_work(slf_close(footprint->db));
}

static void fill(struct footprint *footprint, uint32_t transactions, uint32_t puts)
{
	uint8_t key[8], value[200] = { 0 };

	scratch_init(&footprint->scratch);
	footprint_open(footprint, SLF_CREATE);
	for (uint32_t i = 0, n = 0; i < transactions; i++) {
		struct slf_txn *txn = txn_begin(footprint->db, SLF_WRITE);

		for (uint32_t j = 0; j < puts; j++)
			must_work(slf_put(txn, SLF_MAIN, key_of(n++, key), slice(value, sizeof(value))));
		must_work(slf_commit(txn, NULL));
		footprint_look(footprint);
	}
}

/* The process would hold the whole transaction. */
Test(footprint, one_transaction, .timeout = 120)
{
	struct footprint footprint = { 0 };

	fill(&footprint, 1, 200000);
	footprint_end(&footprint, "one_transaction");
	scratch_release(&footprint.scratch);
}

/* The process would hold the whole history, or all that it has read. */
Test(footprint, many_transactions_and_reads, .timeout = 120)
{
	static const unsigned flags[] = { SLF_READONLY, SLF_READONLY | SLF_NO_MAP, 0 };
	struct footprint footprint = { 0 };

	fill(&footprint, 60, 5000);
	footprint_end(&footprint, "many_transactions");
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct slf_range range = { .flags = SLF_TRANSIENT };
		struct slf_slice key, value;
		struct slf_cursor *cursor = NULL;
		struct slf_txn *txn;
		uint32_t count = 0;
		uint8_t name[8];

		footprint_open(&footprint, flags[i]);
		txn = txn_begin(footprint.db, SLF_READ);
		must_work(slf_cursor_open(txn, SLF_MAIN, &range, &cursor));
		while (slf_cursor_next(cursor, &key, &value) == 0)
			if (++count % 10000 == 0)
				footprint_look(&footprint);
		must(count == 300000);
		slf_cursor_close(cursor);
		for (uint32_t n = 0; n < 300000; n++) {
			must_work(slf_get(txn, SLF_MAIN, key_of(n, name), &value));
			if (n % 1000 == 999)
				must_work(slf_txn_trim(txn)); /* what a transaction was given without a map is in its arena */
			if (n % 10000 == 0)
				footprint_look(&footprint);
		}
		slf_abort(txn);
		footprint_end(&footprint, "reads");
	}
	scratch_release(&footprint.scratch);
}

#define KILLED_VALUE_BYTES (64 * MIB)
#define KILLED_PUTS 20000u

/* Runs in the child until it is killed: commits that stand in the log, a large value that nobody says was durable, and a
 * transaction that has not ended. */
static _Noreturn void write_until_killed(struct footprint *footprint)
{
	uint8_t key[8], value[200] = { 0 }, *large = malloc(KILLED_VALUE_BYTES);
	struct slf_txn *txn;

	footprint_open(footprint, SLF_CREATE);
	for (uint32_t i = 0; i < KILLED_PUTS; i++) {
		txn = txn_begin(footprint->db, SLF_WRITE);
		must_work(slf_put(txn, SLF_MAIN, key_of(i, key), slice(value, sizeof(value))));
		must_work(slf_commit_async(txn, NULL));
	}
	bytes_fill(large, KILLED_VALUE_BYTES, 1, false);
	txn = txn_begin(footprint->db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("large"), slice(large, KILLED_VALUE_BYTES)));
	must_work(slf_commit(txn, NULL));
	txn = txn_begin(footprint->db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("never"), text("1")));
	raise(SIGKILL);
	abort();
}

/* An opening after a crash would need more memory than the table says: what it replays, or checks, all at once. */
Test(footprint, after_a_killed_process, .timeout = 120)
{
	static const unsigned flags[] = { SLF_READONLY | SLF_NO_MAP, SLF_NO_MAP, 0 };
	struct footprint footprint = { 0 };
	uint8_t name[8];
	int child;

	scratch_init(&footprint.scratch);
	child = fork();
	must(child >= 0);
	if (!child)
		write_until_killed(&footprint);
	must(child_wait(child) == 256 + SIGKILL);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct slf_slice value;
		struct slf_txn *txn;
		uint64_t largest;

		fault_memory_largest();
		footprint_open(&footprint, flags[i]);
		footprint_look(&footprint);
		largest = fault_memory_largest();
		printf("footprint after_a_killed_process: at once %llu KiB\n", (unsigned long long)(largest / KIB));
		must(!(flags[i] & SLF_NO_MAP) || largest < GROWTH_MAX); /* a map of the file is an allocation, too */
		txn = txn_begin(footprint.db, SLF_READ);
		for (uint32_t n = 0; n < KILLED_PUTS; n++)
			must_work(slf_get(txn, SLF_MAIN, key_of(n, name), &value));
		must(slf_get(txn, SLF_MAIN, text("never"), &value) == SLF_NOTFOUND);
		footprint_look(&footprint);
		must(flags[i] & SLF_NO_MAP || (slf_get(txn, SLF_MAIN, text("large"), &value) == 0 && value.size == KILLED_VALUE_BYTES));
		slf_abort(txn);
		footprint_end(&footprint, "after_a_killed_process");
	}
	scratch_release(&footprint.scratch);
}
