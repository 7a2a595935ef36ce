/* SPDX-License-Identifier: MIT */
/*
 * LevelDB, settings by its documentation (doc/index.md and the headers):
 *
 * - A block cache ("the cache holds uncompressed contents", 8 MiB by default) of a third of the memory, for the page
 *   cache holds the compressed blocks. Scans fill it, since what they read here is read again.
 * - A Bloom filter of 10 bits a key, which the documentation recommends for point reads.
 * - write_buffer_size 64 MiB: "larger values increase performance, especially during bulk loads" (4 MiB by default, and
 *   RocksDB's default is 64). max_open_files 1000 is the default.
 * - Snappy compression and blocks of 4 KiB, the defaults; large values get blocks of their own anyway.
 * - durable: sync writes. Not durable: the log is written without a flush, the default; each commit is a write, there is
 *   no setting that keeps it in the process. A transaction is a WriteBatch, applied atomically. Reading transactions take
 *   a snapshot; single reads do not, for a get and an iterator are consistent by themselves.
 * - settle: the whole range is compacted, as db_bench's "compact" does before reads.
 * - There is no call for many keys, no hot copy and no second tree.
 */
#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

#define WRITE_BUFFER_BYTES ((size_t)64 << 20)

extern const struct store store_leveldb;

struct leveldb {
	leveldb_t *db;
	leveldb_options_t *options;
	leveldb_cache_t *cache;
	leveldb_filterpolicy_t *filter;
	leveldb_writeoptions_t *write;
};

struct leveldb_session {
	struct leveldb *leveldb;
	leveldb_writebatch_t *batch;
	leveldb_readoptions_t *read;
	const leveldb_snapshot_t *snapshot;
	leveldb_iterator_t *iterator;
	char *found[BENCH_BATCH]; /* values that LevelDB allocated for us */
	unsigned found_count;
};

static _Thread_local char failure[512];

/* Keeps the text of an error and frees it: 0 when there was none. */
static int judge(char *error)
{
	if (!error)
		return 0;
	snprintf(failure, sizeof(failure), "%s", error);
	leveldb_free(error);
	return -1;
}

static const char *leveldb_text(int result)
{
	(void)result;
	return failure;
}

static const char *leveldb_version(void)
{
	static char text[32];

	snprintf(text, sizeof(text), "LevelDB %d.%d", leveldb_major_version(), leveldb_minor_version());
	return text;
}

static void leveldb_release(struct leveldb *leveldb)
{
	if (leveldb->db)
		leveldb_close(leveldb->db);
	leveldb_options_destroy(leveldb->options);
	leveldb_writeoptions_destroy(leveldb->write);
	leveldb_cache_destroy(leveldb->cache);
	leveldb_filterpolicy_destroy(leveldb->filter);
	free(leveldb);
}

static int leveldb_store_open(const struct store_setup *setup, void **handle)
{
	struct leveldb *leveldb = calloc(1, sizeof(*leveldb));
	size_t buffer = setup->memory_bytes / 16;
	char *error = NULL;

	leveldb->options = leveldb_options_create();
	leveldb->write = leveldb_writeoptions_create();
	leveldb->cache = leveldb_cache_create_lru(store_cache_bytes(&store_leveldb, setup));
	leveldb->filter = leveldb_filterpolicy_create_bloom(10);
	leveldb_options_set_create_if_missing(leveldb->options, 1);
	leveldb_options_set_cache(leveldb->options, leveldb->cache);
	leveldb_options_set_filter_policy(leveldb->options, leveldb->filter);
	leveldb_options_set_write_buffer_size(leveldb->options,
					      buffer < WRITE_BUFFER_BYTES ? buffer : WRITE_BUFFER_BYTES);
	leveldb_writeoptions_set_sync(leveldb->write, setup->durable);
	leveldb->db = leveldb_open(leveldb->options, setup->directory, &error);
	if (judge(error)) {
		leveldb->db = NULL;
		leveldb_release(leveldb);
		return -1;
	}
	*handle = leveldb;
	return 0;
}

static int leveldb_store_close(void *handle)
{
	leveldb_release(handle);
	return 0;
}

static int leveldb_attach(void *handle, void **session)
{
	struct leveldb_session *own = calloc(1, sizeof(*own));

	own->leveldb = handle;
	own->batch = leveldb_writebatch_create();
	own->read = leveldb_readoptions_create();
	*session = own;
	return 0;
}

static void leveldb_forget(struct leveldb_session *own)
{
	while (own->found_count)
		leveldb_free(own->found[--own->found_count]);
}

static void leveldb_detach(void *session)
{
	struct leveldb_session *own = session;

	leveldb_forget(own);
	leveldb_writebatch_destroy(own->batch);
	leveldb_readoptions_destroy(own->read);
	free(own);
}

static int leveldb_begin(void *session, enum store_txn kind)
{
	struct leveldb_session *own = session;

	if (kind == STORE_READ) {
		own->snapshot = leveldb_create_snapshot(own->leveldb->db);
		leveldb_readoptions_set_snapshot(own->read, own->snapshot);
	}
	return 0;
}

static void leveldb_end(void *session)
{
	struct leveldb_session *own = session;

	leveldb_writebatch_clear(own->batch);
	if (own->snapshot)
		leveldb_release_snapshot(own->leveldb->db, own->snapshot);
	own->snapshot = NULL;
	leveldb_readoptions_set_snapshot(own->read, NULL);
}

static int leveldb_commit(void *session)
{
	struct leveldb_session *own = session;
	char *error = NULL;

	leveldb_write(own->leveldb->db, own->leveldb->write, own->batch, &error);
	leveldb_writebatch_clear(own->batch);
	return judge(error);
}

static int leveldb_store_put(void *session, struct bytes key, struct bytes value)
{
	struct leveldb_session *own = session;

	leveldb_writebatch_put(own->batch, key.data, key.size, value.data, value.size);
	return 0;
}

static int leveldb_del(void *session, struct bytes key)
{
	struct leveldb_session *own = session;

	leveldb_writebatch_delete(own->batch, key.data, key.size);
	return 0;
}

static int get_more(struct leveldb_session *own, struct bytes key, struct bytes *value)
{
	char *error = NULL, *found = NULL;
	size_t size = 0;

	found = leveldb_get(own->leveldb->db, own->read, key.data, key.size, &size, &error);
	if (judge(error))
		return -1;
	if (!found)
		return BENCH_MISSING;
	own->found[own->found_count++] = found;
	*value = (struct bytes){ .data = found, .size = size };
	return 0;
}

static int leveldb_store_get(void *session, struct bytes key, struct bytes *value)
{
	leveldb_forget(session);
	return get_more(session, key, value);
}

static int leveldb_multi_get(void *session, const struct bytes *keys, size_t count, struct bytes *values)
{
	int result = count > BENCH_BATCH ? BENCH_MISSING : 0;
	size_t i = 0;

	leveldb_forget(session);
	for (i = 0; i < count && result == 0; i++)
		result = get_more(session, keys[i], &values[i]);
	return result;
}

static int leveldb_cursor_open(void *session, size_t entries)
{
	struct leveldb_session *own = session;

	(void)entries;
	own->iterator = leveldb_create_iterator(own->leveldb->db, own->read);
	return 0;
}

static int leveldb_move(void *session, enum store_move move, struct bytes *key, struct bytes *value)
{
	struct leveldb_session *own = session;
	char *error = NULL;

	if (move == STORE_FIRST)
		leveldb_iter_seek_to_first(own->iterator);
	else if (move == STORE_LAST)
		leveldb_iter_seek_to_last(own->iterator);
	else if (move == STORE_NEXT)
		leveldb_iter_next(own->iterator);
	else if (move == STORE_PREV)
		leveldb_iter_prev(own->iterator);
	else
		leveldb_iter_seek(own->iterator, key->data, key->size);
	if (leveldb_iter_valid(own->iterator)) {
		key->data = leveldb_iter_key(own->iterator, &key->size);
		value->data = leveldb_iter_value(own->iterator, &value->size);
		return 0;
	}
	leveldb_iter_get_error(own->iterator, &error);
	return judge(error) ? -1 : BENCH_MISSING;
}

static void leveldb_cursor_close(void *session)
{
	struct leveldb_session *own = session;

	leveldb_iter_destroy(own->iterator);
}

static int leveldb_settle(void *handle)
{
	struct leveldb *leveldb = handle;

	leveldb_compact_range(leveldb->db, NULL, 0, NULL, 0);
	return 0;
}

const struct store store_leveldb = {
	.name = "leveldb",
	.package = "libleveldb-dev",
	.settings = "block cache 33 % of memory, Bloom filter 10 bits, write buffer 64 MiB, Snappy; no snapshot for "
		    "single reads; sync writes when durable",
	.key_bytes_max = SIZE_MAX,
	.cache_percent = 33,
	.version = leveldb_version,
	.text = leveldb_text,
	.open = leveldb_store_open,
	.close = leveldb_store_close,
	.attach = leveldb_attach,
	.detach = leveldb_detach,
	.begin = leveldb_begin,
	.commit = leveldb_commit,
	.end = leveldb_end,
	.put = leveldb_store_put,
	.del = leveldb_del,
	.get = leveldb_store_get,
	.multi_get = leveldb_multi_get,
	.cursor_open = leveldb_cursor_open,
	.move = leveldb_move,
	.cursor_close = leveldb_cursor_close,
	.settle = leveldb_settle,
};
