/* SPDX-License-Identifier: MIT */
/*
 * What a store has to do to be measured: one table of functions per store, as thin as can be. Results: 0, or a failure
 * that the adapter's text() names; BENCH_MISSING for an absent key. A transaction is used by the thread that began it;
 * any number of threads may have one each.
 */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_MISSING 1
#define BENCH_BATCH 64 /* keys of a multi-get */

struct bytes {
	const void *data;
	size_t size;
};

/* Called for each entry of a scan, in key order. */
typedef void scan_fn(void *context, struct bytes key, struct bytes value);

struct store {
	const char *name;
	const char *settings; /* what it runs with, and why that is fair; printed with the results */
	const char *(*version)(void);
	const char *(*text)(int result);

	/* directory exists and is empty, or holds what this store left there. durable: a commit returns when it is on
	 * stable storage; else it need not survive a crash of the machine. data_bytes: what will be stored, about. */
	int (*open)(const char *directory, bool durable, uint64_t data_bytes, void **handle);
	int (*close)(void *handle);

	int (*write_begin)(void *handle, void **txn);
	int (*put)(void *txn, struct bytes key, struct bytes value);
	int (*commit)(void *txn); /* ends it either way */

	int (*read_begin)(void *handle, void **txn);
	int (*get)(void *txn, struct bytes key, struct bytes *value);
	/* missing keys are a failure here */
	int (*multi_get)(void *txn, const struct bytes *keys, size_t count, struct bytes *values);
	int (*scan)(void *txn, scan_fn *found, void *context);
	void (*read_end)(void *txn);
};

extern const struct store store_solifuge;
extern const struct store store_lmdb;          /* only with HAVE_LMDB */
extern const struct store store_lmdb_writemap; /* only with HAVE_LMDB */

#endif
