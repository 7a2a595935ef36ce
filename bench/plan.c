/* SPDX-License-Identifier: MIT */
#include "plan.h"

#define KEYS(size) \
	{ .name = "keys-" #size, .shape = { ENTRY_HASHED, size, 100 }, \
	  .counts = { 200, size > 2048 ? 500 : 2000, (256u << 20) / (size + 400) }, .repetitions = { 1, 2, 2 }, .weight = 10, .quick_weight = 3, \
	  .workloads = "keys-put,keys-get" }

#define DB_BENCH \
	"fillseq,fillrandom,fillbatch,overwrite,fillsync,readseq,readreverse,readrandom,readmissing,readhot," \
	"seekrandom,readwhilewriting,deleteseq,deleterandom"
#define DB_BENCH_QUICK "fillseq,fillrandom,overwrite,fillsync,readseq,readrandom"

const struct section sections[] = {
	{ .name = "main",
	  .shape = { ENTRY_HASHED, 16, 100 },
	  .counts = { 2000, 50000, 1000000 },
	  .repetitions = { 1, 3, 3 },
	  .weight = 200,
	  .quick_weight = 65,
	  .workloads = "fill-batch,get-1,get-2,get-4,get-8,get-16,get-32,get-64,multi-get,scan,fill-single,durable-1,durable-4,durable-16,durable-64,"
		       "txn-1,txn-10,txn-100,txn-1000,txn-100000,open-after-crash,"
		       "hot-copy,overwrite-long" },
	{ .name = "trees",
	  .shape = { ENTRY_HASHED, 16, 100 },
	  .counts = { 2000, 20000, 200000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 12,
	  .quick_weight = 27,
	  .workloads = "trees-put,trees-get" },
	KEYS(8),
	KEYS(64),
	KEYS(511),
	KEYS(2048),
	KEYS(16384),
	KEYS(65535),
	{ .name = "db_bench-100",
	  .shape = { ENTRY_DIGITS, 16, 100 },
	  .counts = { 2000, 50000, 1000000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 110,
	  .quick_weight = 37,
	  .workloads = DB_BENCH },
	{ .name = "db_bench-1000",
	  .shape = { ENTRY_DIGITS, 16, 1000 },
	  .counts = { 500, 10000, 500000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 70,
	  .quick_weight = 8,
	  .workloads = DB_BENCH,
	  .quick = DB_BENCH_QUICK },
	{ .name = "db_bench-100000",
	  .shape = { ENTRY_DIGITS, 16, PLAN_VALUE_BYTES_MAX },
	  .counts = { 20, 200, 10000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 70,
	  .quick_weight = 5,
	  .workloads = DB_BENCH,
	  .quick = DB_BENCH_QUICK },
	{ .name = "ycsb",
	  .shape = { ENTRY_USER, 24, 1000 },
	  .counts = { 500, 10000, 500000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 95,
	  .quick_weight = 8,
	  .workloads = "ycsb-a,ycsb-b,ycsb-c,ycsb-d,ycsb-e,ycsb-f" },
	{ .name = "large",
	  .shape = { ENTRY_HASHED, 16, 100 },
	  .counts = { 5000, 200000, 10000000 },
	  .repetitions = { 1, 2, 2 },
	  .weight = 110,
	  .quick_weight = 12,
	  .workloads = "fill-batch,get-1,get-2,multi-get,scan,get-cold,multi-get-cold,scan-cold",
	  .quick = "get-1,scan,get-cold,multi-get-cold,scan-cold" },
	{ .name = "limited",
	  .shape = { ENTRY_HASHED, 16, 1000 },
	  .counts = { 0, 400000, 2000000 },
	  .repetitions = { 1, 2, 2 },
	  .memory_parts = 4,
	  .weight = 60,
	  .quick_weight = 8,
	  .workloads = "get-1,multi-get,get-cold,multi-get-cold,scan-cold,overwrite-long",
	  .quick = "get-1,get-cold,multi-get-cold" },
};
const unsigned section_count = sizeof(sections) / sizeof(sections[0]);
