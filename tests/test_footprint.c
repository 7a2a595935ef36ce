/* SPDX-License-Identifier: MIT */
/*
 * Anonymous memory stays within the table of libsolifuge(3), whatever is written and read: real files, without sanitizers,
 * which keep what is freed.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "base.h"
#include "codec.h"
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
	footprint->grown = u64_max(footprint->grown, anonymous_bytes() - footprint->before);
}

static void footprint_open(struct footprint *footprint, unsigned flags)
{
	struct slf_options options = SLF_OPTIONS_INIT;

	options.flags = flags;
	options.heap_bytes = HEAP_BYTES;
	options.log_bytes = LOG_BYTES;
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
