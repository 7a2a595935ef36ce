/* SPDX-License-Identifier: MIT */
/*
 * WiredTiger, settings by its documentation ("Tuning", "Commit-level durability", "Multithreading"):
 *
 * - One B-tree table of raw byte items; one session and one cursor per thread, kept and reused.
 * - A cache of half the memory, however small the data: its size is "the single most important tuning knob", and what
 *   throttles writers is the dirty part of it. MongoDB, its largest user, sets half as well.
 * - A checkpoint every 60 s or 2 GiB of log and four eviction threads, that user's settings too: other stores here keep
 *   64 MiB of log, and less would only slow this one down. Opening after a crash pays for it.
 * - The log is on, since without it a crash would undo all since the last checkpoint. durable:
 *   transaction_sync=(enabled,method=fsync), whose flushes are shared by threads. Not durable: transaction_sync off, the
 *   default, where a thread of WiredTiger hands the log over every 50 ms.
 * - Transactions have snapshot isolation; when two of them write one key, one is rolled back and done again. Single
 *   operations run without one: each is atomic then, and a cursor has a snapshot until it is reset.
 * - leaf_value_max=64MB, as MongoDB has it, and leaf_key_max=1MB: keys and values stay on their page, since "referencing
 *   overflow items is more expensive than referencing on-page items". Values of 100 KB are read twenty times as fast.
 * - Snappy for the blocks on disk, MongoDB's default. Log and cache are not compressed.
 * - There is no call for many keys: one after the other, the values copied, for a cursor's value lives until it moves.
 * - Hot copy: a backup cursor names the files, which the application copies. Many trees: a table each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wiredtiger.h>

#include "files.h"
#include "store.h"

#define TABLE "key_format=u,value_format=u,leaf_value_max=64MB,leaf_key_max=1MB,block_compressor=snappy"

extern const struct store store_wiredtiger;

struct wiredtiger {
	WT_CONNECTION *connection;
	unsigned tree_count;
	size_t value_bytes;
	char directory[2048];
};

struct wiredtiger_session {
	struct wiredtiger *wiredtiger;
	WT_SESSION *session;
	WT_CURSOR *table; /* for puts, deletes and gets */
	WT_CURSOR *scan; /* kept, and reset when it is closed */
	WT_CURSOR **trees;
	char *values; /* BENCH_BATCH of them, for multi_get */
	bool in_txn;
};

static const char *wiredtiger_version_text(void)
{
	return wiredtiger_version(NULL, NULL, NULL);
}

static const char *wiredtiger_text(int result)
{
	return wiredtiger_strerror(result);
}

static int condition(int result)
{
	if (result == WT_NOTFOUND)
		return BENCH_MISSING;
	return result == WT_ROLLBACK ? BENCH_CONFLICT : result;
}

static int make_table(WT_CONNECTION *connection)
{
	WT_SESSION *session = NULL;
	int result = connection->open_session(connection, NULL, NULL, &session);

	if (result)
		return result;
	result = session->create(session, "table:main", TABLE);
	session->close(session, NULL);
	return result;
}

static int wiredtiger_store_open(const struct store_setup *setup, void **handle)
{
	struct wiredtiger *wiredtiger = calloc(1, sizeof(*wiredtiger));
	char config[512] = "";
	int result = 0;

	snprintf(wiredtiger->directory, sizeof(wiredtiger->directory), "%s", setup->directory);
	wiredtiger->value_bytes = setup->value_bytes;
	snprintf(config, sizeof(config),
		 "create,cache_size=%lluMB,session_max=%u,eviction=(threads_min=4,threads_max=4),"
		 "checkpoint=(wait=60,log_size=2GB),log=(enabled=true),transaction_sync=(enabled=%s,method=fsync),"
		 "extensions=[libwiredtiger_snappy.so]",
		 (unsigned long long)(store_cache_bytes(&store_wiredtiger, setup) >> 20), setup->threads + 64,
		 setup->durable ? "true" : "false");
	result = wiredtiger_open(setup->directory, NULL, config, &wiredtiger->connection);
	if (result == 0)
		result = make_table(wiredtiger->connection);
	if (result == 0) {
		*handle = wiredtiger;
		return 0;
	}
	if (wiredtiger->connection)
		wiredtiger->connection->close(wiredtiger->connection, NULL);
	free(wiredtiger);
	return result;
}

static int wiredtiger_close(void *handle)
{
	struct wiredtiger *wiredtiger = handle;
	int result = wiredtiger->connection->close(wiredtiger->connection, NULL);

	free(wiredtiger);
	return result;
}

static void wiredtiger_detach(void *session)
{
	struct wiredtiger_session *own = session;

	if (own->session)
		own->session->close(own->session, NULL); /* and its cursors */
	free(own->trees);
	free(own->values);
	free(own);
}

static int open_trees(struct wiredtiger_session *own)
{
	unsigned count = own->wiredtiger->tree_count, i = 0;
	char uri[32] = "";
	int result = 0;

	if (!count)
		return 0;
	own->trees = calloc(count, sizeof(*own->trees));
	for (i = 0; i < count && result == 0; i++) {
		snprintf(uri, sizeof(uri), "table:tree-%u", i);
		result = own->session->open_cursor(own->session, uri, NULL, NULL, &own->trees[i]);
	}
	return result;
}

static int wiredtiger_attach(void *handle, void **session)
{
	struct wiredtiger_session *own = calloc(1, sizeof(*own));
	int result = 0;

	own->wiredtiger = handle;
	own->values = malloc(own->wiredtiger->value_bytes * BENCH_BATCH + 1);
	result = own->wiredtiger->connection->open_session(own->wiredtiger->connection, NULL, "isolation=snapshot",
							   &own->session);
	if (result == 0)
		result = own->session->open_cursor(own->session, "table:main", NULL, NULL, &own->table);
	if (result == 0)
		result = open_trees(own);
	if (result == 0)
		*session = own;
	else
		wiredtiger_detach(own);
	return result;
}

static int wiredtiger_begin(void *session, enum store_txn kind)
{
	struct wiredtiger_session *own = session;

	own->in_txn = kind == STORE_READ || kind == STORE_WRITE;
	return own->in_txn ? own->session->begin_transaction(own->session, NULL) : 0;
}

static int wiredtiger_commit(void *session)
{
	struct wiredtiger_session *own = session;

	return own->in_txn ? condition(own->session->commit_transaction(own->session, NULL)) : 0;
}

static void wiredtiger_end(void *session)
{
	struct wiredtiger_session *own = session;

	if (own->in_txn)
		own->session->rollback_transaction(own->session, NULL);
	else
		own->table->reset(own->table); /* else it would keep its page */
}

static WT_ITEM item(struct bytes from)
{
	return (WT_ITEM){ .data = from.data, .size = from.size };
}

static int put_by(WT_CURSOR *cursor, struct bytes key, struct bytes value)
{
	WT_ITEM k = item(key), v = item(value);

	cursor->set_key(cursor, &k);
	cursor->set_value(cursor, &v);
	return condition(cursor->insert(cursor));
}

static int wiredtiger_put(void *session, struct bytes key, struct bytes value)
{
	struct wiredtiger_session *own = session;

	return put_by(own->table, key, value);
}

static int wiredtiger_del(void *session, struct bytes key)
{
	struct wiredtiger_session *own = session;
	WT_ITEM k = item(key);

	own->table->set_key(own->table, &k);
	return condition(own->table->remove(own->table));
}

static int get_by(WT_CURSOR *cursor, struct bytes key, struct bytes *value)
{
	WT_ITEM k = item(key), v = { 0 };
	int result = 0;

	cursor->set_key(cursor, &k);
	result = cursor->search(cursor);
	if (result == 0)
		result = cursor->get_value(cursor, &v);
	if (result == 0)
		*value = (struct bytes){ .data = v.data, .size = v.size };
	return condition(result);
}

static int wiredtiger_get(void *session, struct bytes key, struct bytes *value)
{
	struct wiredtiger_session *own = session;

	return get_by(own->table, key, value);
}

static int wiredtiger_multi_get(void *session, const struct bytes *keys, size_t count, struct bytes *values)
{
	struct wiredtiger_session *own = session;
	size_t room = own->wiredtiger->value_bytes, i = 0;
	int result = 0;

	for (i = 0; i < count && result == 0; i++) {
		result = get_by(own->table, keys[i], &values[i]);
		if (result == 0 && values[i].size > room)
			result = EMSGSIZE;
		if (result == 0)
			values[i].data = memcpy(own->values + i * room, values[i].data, values[i].size);
	}
	return result;
}

static int wiredtiger_cursor_open(void *session, size_t entries)
{
	struct wiredtiger_session *own = session;

	(void)entries;
	return own->scan ? 0 : own->session->open_cursor(own->session, "table:main", NULL, NULL, &own->scan);
}

static int seek(WT_CURSOR *cursor, struct bytes key)
{
	WT_ITEM k = item(key);
	int exact = 0, result = 0;

	cursor->set_key(cursor, &k);
	result = cursor->search_near(cursor, &exact);
	if (result == 0 && exact < 0)
		result = cursor->next(cursor);
	return result;
}

static int wiredtiger_move(void *session, enum store_move move, struct bytes *key, struct bytes *value)
{
	struct wiredtiger_session *own = session;
	WT_CURSOR *cursor = own->scan;
	WT_ITEM k = { 0 }, v = { 0 };
	int result = 0;

	if (move == STORE_FIRST || move == STORE_LAST)
		cursor->reset(cursor);
	if (move == STORE_SEEK)
		result = seek(cursor, *key);
	else if (move == STORE_PREV || move == STORE_LAST)
		result = cursor->prev(cursor);
	else
		result = cursor->next(cursor);
	if (result == 0)
		result = cursor->get_key(cursor, &k);
	if (result == 0)
		result = cursor->get_value(cursor, &v);
	if (result == 0) {
		*key = (struct bytes){ .data = k.data, .size = k.size };
		*value = (struct bytes){ .data = v.data, .size = v.size };
	}
	return condition(result);
}

static void wiredtiger_cursor_close(void *session)
{
	struct wiredtiger_session *own = session;

	own->scan->reset(own->scan);
}

static int copy_files(struct wiredtiger *wiredtiger, WT_CURSOR *cursor, const char *directory)
{
	char from[4096] = "", to[4096] = "";
	const char *name = NULL;
	int result = 0;

	while ((result = cursor->next(cursor)) == 0) {
		result = cursor->get_key(cursor, &name);
		if (result)
			return result;
		snprintf(from, sizeof(from), "%.2000s/%.2000s", wiredtiger->directory, name);
		snprintf(to, sizeof(to), "%.2000s/%.2000s", directory, name);
		result = files_copy(from, to);
		if (result)
			return -result;
	}
	return result == WT_NOTFOUND ? 0 : result;
}

static int wiredtiger_copy(void *handle, const char *directory)
{
	struct wiredtiger *wiredtiger = handle;
	WT_SESSION *session = NULL;
	WT_CURSOR *cursor = NULL;
	int result = wiredtiger->connection->open_session(wiredtiger->connection, NULL, NULL, &session);

	if (result)
		return result;
	result = session->open_cursor(session, "backup:", NULL, NULL, &cursor);
	if (result == 0)
		result = copy_files(wiredtiger, cursor, directory);
	session->close(session, NULL);
	return result;
}

static int wiredtiger_trees_make(void *handle, unsigned count)
{
	struct wiredtiger *wiredtiger = handle;
	WT_SESSION *session = NULL;
	char uri[32] = "";
	unsigned i = 0;
	int result = wiredtiger->connection->open_session(wiredtiger->connection, NULL, NULL, &session);

	if (result)
		return result;
	for (i = 0; i < count && result == 0; i++) {
		snprintf(uri, sizeof(uri), "table:tree-%u", i);
		result = session->create(session, uri, TABLE);
	}
	session->close(session, NULL);
	wiredtiger->tree_count = count;
	return result;
}

static int wiredtiger_tree_put(void *session, unsigned tree, struct bytes key, struct bytes value)
{
	struct wiredtiger_session *own = session;

	return put_by(own->trees[tree], key, value);
}

static int wiredtiger_tree_get(void *session, unsigned tree, struct bytes key, struct bytes *value)
{
	struct wiredtiger_session *own = session;

	return get_by(own->trees[tree], key, value);
}

const struct store store_wiredtiger = {
	.name = "wiredtiger",
	.package = "libwiredtiger-dev",
	.settings = "B-tree table, snappy, cache 50 % of memory, no overflow items, log on, checkpoint every 60 s or 2 GiB "
		    "of log, 4 eviction threads; single operations without a transaction; transaction_sync fsync when "
		    "durable, else off",
	.key_bytes_max = SIZE_MAX,
	.cache_percent = 50,
	.version = wiredtiger_version_text,
	.text = wiredtiger_text,
	.open = wiredtiger_store_open,
	.close = wiredtiger_close,
	.attach = wiredtiger_attach,
	.detach = wiredtiger_detach,
	.begin = wiredtiger_begin,
	.commit = wiredtiger_commit,
	.end = wiredtiger_end,
	.put = wiredtiger_put,
	.del = wiredtiger_del,
	.get = wiredtiger_get,
	.multi_get = wiredtiger_multi_get,
	.cursor_open = wiredtiger_cursor_open,
	.move = wiredtiger_move,
	.cursor_close = wiredtiger_cursor_close,
	.copy = wiredtiger_copy,
	.trees_make = wiredtiger_trees_make,
	.tree_put = wiredtiger_tree_put,
	.tree_get = wiredtiger_tree_get,
};
