/* SPDX-License-Identifier: MIT */
/* The table of workloads. */
#include "workloads.h"

#include <string.h>

const struct workload workloads[] = {
	/* What this benchmark began with: 16-byte random keys, 100-byte values. */
	{ .name = "fill-batch", .group = "basic", .description = "random puts, 1,000 per transaction, not durable",
	  .limit = "write-sequential", .threads = 1, .run = fill_batch, .check = check_filled_random },
	{ .name = "get-1", .group = "basic", .description = "random gets, 1 thread", .limit = "binary-search",
	  .base = BASE_FILLED, .threads = 1, .sampled = true, .run = read_random },
	{ .name = "get-2", .group = "basic", .description = "random gets, 2 threads", .base = BASE_FILLED, .threads = 2,
	  .sampled = true, .run = read_random },
	{ .name = "multi-get", .group = "basic", .description = "random gets, 64 keys a call, warm",
	  .limit = "binary-search", .base = BASE_FILLED, .threads = 1, .run = multi_get_random },
	{ .name = "scan", .group = "basic", .description = "all entries in key order", .limit = "memcpy",
	  .base = BASE_FILLED, .threads = 1, .sampled = true, .run = read_forward },
	{ .name = "fill-single", .group = "basic", .description = "random puts, 1 per transaction, not durable",
	  .limit = "write-sequential", .threads = 1, .run = fill_random, .check = check_filled_random },
	{ .name = "get-cold", .group = "cold", .description = "random gets, 1 thread, nothing cached at the start",
	  .limit = "read-random-1", .base = BASE_FILLED, .threads = 1, .cold = true, .run = read_random },
	{ .name = "multi-get-cold", .group = "cold", .description = "random gets, 64 keys a call, nothing cached",
	  .limit = "read-random-32", .base = BASE_FILLED, .threads = 1, .cold = true, .run = multi_get_random },
	{ .name = "scan-cold", .group = "cold", .description = "all entries in key order, nothing cached",
	  .limit = "read-sequential", .base = BASE_FILLED, .threads = 1, .cold = true, .sampled = true,
	  .run = read_forward },
	/* Durability */
	{ .name = "durable-1", .group = "durable", .description = "durable puts, 1 per transaction, 1 thread",
	  .limit = "write-durable-1", .threads = 1, .durable = true, .timed = true, .run = put_durable,
	  .check = check_durable },
	{ .name = "durable-4", .group = "durable", .description = "durable puts, 1 per transaction, 4 threads",
	  .limit = "write-durable-4", .threads = 4, .durable = true, .timed = true, .run = put_durable,
	  .check = check_durable },
	{ .name = "durable-16", .group = "durable", .description = "durable puts, 1 per transaction, 16 threads",
	  .limit = "write-durable-16", .threads = 16, .durable = true, .timed = true, .run = put_durable,
	  .check = check_durable },
	{ .name = "durable-64", .group = "durable", .description = "durable puts, 1 per transaction, 64 threads",
	  .limit = "write-durable-64", .threads = 64, .durable = true, .timed = true, .run = put_durable,
	  .check = check_durable },
	{ .name = "txn-1", .group = "transactions", .description = "durable transactions of 1 put",
	  .limit = "write-durable-1", .threads = 1, .durable = true, .timed = true, .put_per_txn = 1, .run = put_txn,
	  .check = check_txn },
	{ .name = "txn-10", .group = "transactions", .description = "durable transactions of 10 puts", .threads = 1,
	  .durable = true, .timed = true, .put_per_txn = 10, .run = put_txn, .check = check_txn },
	{ .name = "txn-100", .group = "transactions", .description = "durable transactions of 100 puts", .threads = 1,
	  .durable = true, .timed = true, .put_per_txn = 100, .run = put_txn, .check = check_txn },
	{ .name = "txn-1000", .group = "transactions", .description = "durable transactions of 1,000 puts",
	  .limit = "write-sequential", .threads = 1, .durable = true, .timed = true, .put_per_txn = 1000,
	  .run = put_txn, .check = check_txn },
	{ .name = "txn-100000", .group = "transactions", .description = "durable transactions of 100,000 puts",
	  .limit = "write-sequential", .threads = 1, .durable = true, .timed = true, .put_per_txn = 100000,
	  .run = put_txn, .check = check_txn },
	/* Life */
	{ .name = "open-after-crash", .group = "life", .description = "opening and a first get after a kill",
	  .threads = 1, .durable = true, .timed = true, .cold = true, .whole = open_after_crash },
	{ .name = "hot-copy", .group = "life", .description = "a copy while a thread overwrites, in entries",
	  .limit = "write-sequential", .base = BASE_COPY, .threads = 2, .whole = copy_hot, .possible = copy_possible },
	{ .name = "overwrite-long", .group = "life", .description = "random overwrites for long, 1 per transaction",
	  .base = BASE_COPY, .threads = 1, .timed = true, .longer = 6, .whole = overwrite_long },
	{ .name = "trees-put", .group = "trees", .description = "puts into 200 trees, 10 per transaction", .threads = 1,
	  .trees = 200, .run = trees_put, .check = trees_check, .possible = trees_possible },
	{ .name = "trees-get", .group = "trees", .description = "random gets from 200 trees", .threads = 1,
	  .trees = 200, .sampled = true, .prepare = trees_fill, .run = trees_get, .possible = trees_possible },
	{ .name = "keys-put", .group = "key sizes", .description = "random puts, 1,000 per transaction, not durable",
	  .threads = 1, .run = fill_batch, .check = check_filled_random },
	{ .name = "keys-get", .group = "key sizes", .description = "random gets", .base = BASE_FILLED, .threads = 1,
	  .sampled = true, .run = read_random },
	/* LevelDB's db_bench */
	{ .name = "fillseq", .group = "db_bench", .description = "puts in key order, 1 per transaction",
	  .limit = "write-sequential", .threads = 1, .run = fill_sequential, .check = check_filled_sequential },
	{ .name = "fillrandom", .group = "db_bench", .description = "puts in random order, 1 per transaction",
	  .limit = "write-sequential", .threads = 1, .run = fill_random, .check = check_filled_random },
	{ .name = "fillbatch", .group = "db_bench", .description = "puts in random order, 1,000 per transaction",
	  .limit = "write-sequential", .threads = 1, .run = fill_batch, .check = check_filled_random },
	{ .name = "overwrite", .group = "db_bench", .description = "random overwrites, 1 per transaction",
	  .limit = "write-sequential", .base = BASE_COPY, .threads = 1, .run = overwrite_random,
	  .check = check_overwritten },
	{ .name = "fillsync", .group = "db_bench", .description = "durable puts in random order, 1 per transaction",
	  .limit = "write-durable-1", .threads = 1, .durable = true, .timed = true, .run = fill_random,
	  .check = check_filled_random },
	{ .name = "readseq", .group = "db_bench", .description = "all entries in key order", .limit = "memcpy",
	  .base = BASE_FILLED, .threads = 1, .sampled = true, .run = read_forward },
	{ .name = "readreverse", .group = "db_bench", .description = "all entries in reverse order", .limit = "memcpy",
	  .base = BASE_FILLED, .threads = 1, .sampled = true, .run = read_backward },
	{ .name = "readrandom", .group = "db_bench", .description = "random gets", .limit = "binary-search",
	  .base = BASE_FILLED, .threads = 1, .sampled = true, .run = read_random },
	{ .name = "readmissing", .group = "db_bench", .description = "random gets of keys that are not there",
	  .limit = "binary-search", .base = BASE_FILLED, .threads = 1, .sampled = true, .run = read_missing },
	{ .name = "readhot", .group = "db_bench", .description = "random gets from 1 % of the entries",
	  .limit = "binary-search", .base = BASE_FILLED, .threads = 1, .sampled = true, .run = read_hot },
	{ .name = "seekrandom", .group = "db_bench", .description = "random seeks", .limit = "binary-search",
	  .base = BASE_FILLED, .threads = 1, .sampled = true, .run = seek_random },
	{ .name = "readwhilewriting", .group = "db_bench", .description = "random gets while a thread overwrites",
	  .base = BASE_COPY, .threads = 2, .sampled = true, .run = read_while_writing, .check = check_overwritten },
	{ .name = "deleteseq", .group = "db_bench", .description = "deletes in key order, 1 per transaction",
	  .base = BASE_COPY, .threads = 1, .run = delete_sequential, .check = check_deleted_sequential },
	{ .name = "deleterandom", .group = "db_bench", .description = "deletes in random order, 1 per transaction",
	  .base = BASE_COPY, .threads = 1, .run = delete_random, .check = check_deleted_random },
	/* YCSB */
	{ .name = "ycsb-a", .group = "ycsb", .description = "half reads, half updates", .base = BASE_COPY, .threads = 1,
	  .prepare = ycsb_prepare, .run = ycsb_a, .check = ycsb_check },
	{ .name = "ycsb-b", .group = "ycsb", .description = "95 % reads, 5 % updates", .base = BASE_COPY, .threads = 1,
	  .prepare = ycsb_prepare, .run = ycsb_b, .check = ycsb_check },
	{ .name = "ycsb-c", .group = "ycsb", .description = "reads", .base = BASE_FILLED, .threads = 1,
	  .prepare = ycsb_prepare, .run = ycsb_c },
	{ .name = "ycsb-d", .group = "ycsb", .description = "95 % reads of the newest, 5 % inserts", .base = BASE_COPY,
	  .threads = 1, .prepare = ycsb_prepare, .run = ycsb_d, .check = ycsb_check },
	{ .name = "ycsb-e", .group = "ycsb", .description = "95 % scans of up to 100 entries, 5 % inserts",
	  .base = BASE_COPY, .threads = 1, .prepare = ycsb_prepare, .run = ycsb_e, .check = ycsb_check },
	{ .name = "ycsb-f", .group = "ycsb", .description = "half reads, half read-modify-writes", .base = BASE_COPY,
	  .threads = 1, .prepare = ycsb_prepare, .run = ycsb_f, .check = ycsb_check },
};
const unsigned workload_count = sizeof(workloads) / sizeof(workloads[0]);

const struct workload *workload_find(const char *name)
{
	unsigned i = 0;

	for (i = 0; i < workload_count; i++)
		if (strcmp(workloads[i].name, name) == 0)
			return &workloads[i];
	return NULL;
}
