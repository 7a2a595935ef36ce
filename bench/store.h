/* SPDX-License-Identifier: MIT */
/*
 * What a store has to do to be measured: one table of functions per store, as thin as can be.
 *
 * Results: 0, or a failure that the adapter's text() names; BENCH_MISSING for an absent key or the end of a range;
 * BENCH_CONFLICT when the transaction lost against another one: end() it and do it again.
 *
 * A handle is the open database, shared by all threads. A session is what one thread has of it; it has at most one
 * transaction at a time, and that at most one cursor. What get(), multi_get() and move() give is valid until the next
 * call on the session. An operation that a store lacks is NULL; the harness then reports "not supported".
 *
 * A writing transaction reads nothing, so what it is given may be kept until commit(), which then tells the failure.
 * What a session makes for a transaction or a cursor may be kept for its next one.
 *
 * Hints say what a program would know that does this work, so that a store can be told. 0 means that nothing is known.
 */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_MISSING 1
#define BENCH_CONFLICT 2
#define BENCH_BATCH 64 /* keys of a multi-get */

struct bytes {
	const void *data;
	size_t size;
};

/*
 * Where a cursor goes. STORE_SEEK takes *key and gives the first entry that is not below it. Only STORE_NEXT follows on
 * STORE_FIRST and STORE_SEEK, only STORE_PREV on STORE_LAST.
 */
enum store_move { STORE_FIRST, STORE_LAST, STORE_NEXT, STORE_PREV, STORE_SEEK };

/*
 * What begin() starts. The single ones promise that there is exactly one get(), multi_get() or cursor until end(), or
 * exactly one put() or del() until commit(): a store that does such a thing atomically needs no transaction for it. If
 * that put() or del() fails, end() follows; else commit() does.
 */
enum store_txn { STORE_READ, STORE_WRITE, STORE_READ_SINGLE, STORE_WRITE_SINGLE };

static inline bool store_writes(enum store_txn kind)
{
	return kind == STORE_WRITE || kind == STORE_WRITE_SINGLE;
}

/* For cursor_open(): about how many entries are visited in a row, from each place that the cursor is sent to. */
#define STORE_ALL SIZE_MAX

/*
 * There are two classes of durability. durable: a commit returns when it is on stable storage. Not durable: what was
 * committed may stay in the memory of the process for STORE_BUFFER_MS, so the end of the process without a close may undo
 * that much, and a crash of the machine all that the kernel has not written. That is what programs ask for that want
 * speed; a store that has no such setting hands over at each commit, and its file says so.
 */
#define STORE_BUFFER_MS 100

struct store_setup {
	const char *directory; /* exists and is empty, or holds what this store left there */
	bool durable;          /* the class */
	uint64_t data_bytes;   /* keys and values that will be stored, about */
	uint64_t memory_bytes; /* what the store and the page cache may use together */
	size_t entry_bytes;    /* a key and a value */
	size_t value_bytes;    /* the largest value */
	unsigned threads;      /* sessions that will be attached, about */
	unsigned trees;        /* that tree_put() will be used for; 0: none */
	bool puts_in_order;    /* each key that is put is above all that are there */
};

struct store {
	const char *name;
	const char *package;  /* of Debian 12 */
	const char *settings; /* what it runs with; printed with the results. The reasons stand in its file. */
	size_t key_bytes_max; /* the longest key; SIZE_MAX: no limit worth naming */
	unsigned cache_percent; /* of memory_bytes, for a cache of its own; 0: it has none and uses the page cache */
	unsigned cache_data_factor; /* if it loses by a larger one: no more than so many times the data; 0: it does not */
	const char *(*version)(void);
	const char *(*text)(int result);

	int (*open)(const struct store_setup *setup, void **handle);
	int (*close)(void *handle);
	int (*attach)(void *handle, void **session);
	void (*detach)(void *session);

	int (*begin)(void *session, enum store_txn kind);
	int (*commit)(void *session); /* ends the transaction either way */
	void (*end)(void *session);   /* ends a reading transaction, or a writing one without its changes */
	int (*put)(void *session, struct bytes key, struct bytes value);
	int (*del)(void *session, struct bytes key); /* the key is there */
	int (*get)(void *session, struct bytes key, struct bytes *value);
	/* missing keys are a failure here */
	int (*multi_get)(void *session, const struct bytes *keys, size_t count, struct bytes *values);
	int (*cursor_open)(void *session, size_t entries);
	int (*move)(void *session, enum store_move move, struct bytes *key, struct bytes *value);
	void (*cursor_close)(void *session);

	/* Optional. */
	int (*settle)(void *handle); /* finishes what the store would do in the background: it is read at its best */
	int (*copy)(void *handle, const char *directory); /* that opens, while others write; directory is empty */
	int (*trees_make)(void *handle, unsigned count);  /* before any session is attached */
	int (*tree_put)(void *session, unsigned tree, struct bytes key, struct bytes value);
	int (*tree_get)(void *session, unsigned tree, struct bytes key, struct bytes *value);
};

/* Ends with NULL. The first one is ours. */
extern const struct store *const stores[];

/* Names of those that this build lacks; ends with NULL. */
extern const char *const stores_not_built[];

/* The size of the cache of the store's own, 8 MiB at least; 0 when it has none. */
uint64_t store_cache_bytes(const struct store *store, const struct store_setup *setup);

#endif
