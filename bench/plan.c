/* SPDX-License-Identifier: MIT */
/*
 * The numbers, and what they take: sections x workloads x stores x repetitions x seconds. Reckoned for 8 stores on 2 CPUs
 * and a fast device, from the CPU seconds that measurements take in all (whole_cpu_seconds, where filling, warming up
 * and checking grow with the count) and the seconds for which they are measured.
 *
 * PLAN_FULL, 1 s for what runs for a time, at most 30 s for a fill, 30 s for overwrite-long, in seconds:
 *
 *                   filling   one repetition                                              times   sum
 *     main               35   60 fills, 70 reads, 245 durable, 75 life, 260 overwriting       3  2165
 *     trees               -   50                                                              2   100
 *     keys (6)            8   29 each                                                         2   400
 *     db_bench-100       30   100 fills, 100 reads, 90 others                                 2   610
 *     db_bench-1000      30   120 fills, 110 reads, 70 others (of half a million: twice that) 2   630
 *     db_bench-100000    12   60 fills, 80 reads, 50 others                                   2   390
 *     ycsb               30   155                                                             2   340
 *     large             380   230 fills, 150 reads, 120 cold                                  2  1380
 *     limited           120   100 reads, 70 cold, 140 overwriting (10 s each)                 2   740
 *     limits              -   45                                                              3   135
 *                                                                                          all   6890
 *
 * PLAN_QUICK, 0.1 s for what runs for a time (a measurement takes 0.23 s then, with opening, warming up, checking and
 * writing out), at most 0.5 s for a fill:
 *
 *                   filling   workloads   one repetition   times   sum
 *     main                5          12               27       3    86
 *     trees               -           2                9       2    18
 *     keys (3)            1           2                3       2    21
 *     db_bench-100        2          10               19       2    40
 *     db_bench-100000     2           4                8       2    18
 *     ycsb                3           4                8       2    19
 *     large               4           4                8       2    20
 *     limits              -          20                3       3    10
 *                                                            all   232
 *
 * The section limited is not part of it, for a quarter of so little data is less than what some stores take in any case.
 * The weights are those sums: a machine that is slower makes fewer repetitions, of all sections alike.
 */
#include "plan.h"

#define KEYS(size, quick_count) \
	{ .name = "keys-" #size, .shape = { ENTRY_HASHED, size, 100 }, \
	  .counts = { quick_count ? 200 : 0, quick_count, (128u << 20) / (size + 400) }, .repetitions = { 1, 2, 2 }, .weight = 66, \
	  .quick_weight = 7, .workloads = "keys-put,keys-get" }

#define DB_BENCH \
	"fillseq,fillrandom,fillbatch,overwrite,fillsync,readseq,readreverse,readrandom,readmissing,readhot," \
	"seekrandom,readwhilewriting,deleteseq,deleterandom"

const struct section sections[] = {
	{ .name = "main",
	  .shape = { ENTRY_HASHED, 16, 100 },
	  .counts = { 2000, 50000, 1000000 },
	  .repetitions = { 1, 3, 3 },
	  .weight = 2165,
	  .quick_weight = 86,
	  .workloads = "fill-batch,get-1,get-2,get-4,get-8,get-16,get-32,get-64,multi-get,scan,fill-single,durable-1,"
		       "durable-4,durable-16,durable-64,txn-1,txn-10,txn-100,txn-1000,txn-100000,open-after-crash,"
		       "hot-copy,overwrite-long",
	  .quick = "fill-batch,get-1,get-2,multi-get,scan,fill-single,durable-1,durable-16,txn-1000,open-after-crash,"
		   "hot-copy,overwrite-long" },
	{ .name = "trees",
	  .shape = { ENTRY_HASHED, 16, 100 },
	  .counts = { 2000, 20000, 200000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 100,
	  .quick_weight = 18,
	  .workloads = "trees-put,trees-get" },
	KEYS(8, 2000),
	KEYS(64, 0),
	KEYS(511, 2000),
	KEYS(2048, 0),
	KEYS(16384, 0),
	KEYS(65535, 500),
	{ .name = "db_bench-100",
	  .shape = { ENTRY_DIGITS, 16, 100 },
	  .counts = { 2000, 50000, 1000000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 610,
	  .quick_weight = 40,
	  .workloads = DB_BENCH,
	  .quick = "fillseq,fillbatch,overwrite,fillsync,readreverse,readrandom,readmissing,seekrandom,readwhilewriting,"
		   "deleterandom" },
	{ .name = "db_bench-1000",
	  .shape = { ENTRY_DIGITS, 16, 1000 },
	  .counts = { 500, 0, 250000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 630,
	  .workloads = DB_BENCH,
	  .quick = "readhot,deleteseq" },
	{ .name = "db_bench-100000",
	  .shape = { ENTRY_DIGITS, 16, PLAN_VALUE_BYTES_MAX },
	  .counts = { 20, 200, 4000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 390,
	  .quick_weight = 18,
	  .workloads = DB_BENCH,
	  .quick = "fillrandom,overwrite,readseq,readrandom" },
	{ .name = "ycsb",
	  .shape = { ENTRY_USER, 24, 1000 },
	  .counts = { 500, 10000, 250000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 340,
	  .quick_weight = 19,
	  .workloads = "ycsb-a,ycsb-b,ycsb-c,ycsb-d,ycsb-e,ycsb-f",
	  .quick = "ycsb-a,ycsb-d,ycsb-e,ycsb-f" },
	{ .name = "large",
	  .shape = { ENTRY_HASHED, 16, 100 },
	  .counts = { 5000, 100000, 10000000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 1380,
	  .quick_weight = 20,
	  .workloads = "fill-batch,get-1,get-2,multi-get,scan,get-cold,multi-get-cold,scan-cold",
	  .quick = "get-1,get-cold,multi-get-cold,scan-cold" },
	{ .name = "limited",
	  .shape = { ENTRY_HASHED, 16, 1000 },
	  .counts = { 0, 0, 1000000 },
	  .repetitions = { 1, 2, 2 },
	  .memory_parts = 4,
	  .long_parts = 3,
	  .weight = 740,
	  .workloads = "get-1,multi-get,get-cold,multi-get-cold,scan-cold,overwrite-long" },
};
const unsigned section_count = sizeof(sections) / sizeof(sections[0]);
