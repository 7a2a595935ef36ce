/* SPDX-License-Identifier: MIT */
/*
 * LMDB, settings by its documentation (lmdb.h):
 *
 * - The map size has to be set in advance: twelve times the data and 1 GiB at least, so that no workload is slowed
 *   down or stopped by a map that is nearly full. An unused part costs address space only.
 * - durable: the default, fdatasync and a synchronous meta page at each commit.
 * - not durable: MDB_NOSYNC, "don't flush system buffers to disk when committing", the counterpart of SLF_SYNC_NONE.
 *   The second row, lmdb-writemap, adds MDB_WRITEMAP, "use a writeable memory map ... faster and uses fewer mallocs,
 *   but loses protection from application bugs", which LMDB's own benchmarks use for their fastest asynchronous
 *   figures. When durable it is MDB_WRITEMAP with msync.
 * - MDB_NORDAHEAD is left out: it helps when the database is larger than memory, which these are not.
 * - MDB_NOTLS is left out: each thread reads in transactions of its own, and keeps its reader slot between them. Reset
 *   and renew, which the documentation recommends for very short reads, would save nothing: each of them covers 1,000.
 * - A write transaction belongs to one thread; the benchmark keeps to that.
 */
#ifdef HAVE_LMDB

#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

struct lmdb {
	MDB_env *env;
	MDB_dbi dbi;
};

struct lmdb_txn {
	MDB_txn *txn;
	MDB_dbi dbi;
};

static const char *lmdb_version(void)
{
	return mdb_version(NULL, NULL, NULL);
}

static const char *lmdb_text(int result)
{
	return mdb_strerror(result);
}

static MDB_val mdb_value(struct bytes from)
{
	return (MDB_val){ .mv_size = from.size, .mv_data = (void *)(uintptr_t)from.data };
}

static int lmdb_open_flags(const char *directory, unsigned flags, uint64_t data_bytes, void **handle)
{
	struct lmdb *lmdb = calloc(1, sizeof(*lmdb));
	size_t map_bytes = data_bytes * 12 > (1u << 30) ? data_bytes * 12 : 1u << 30;
	MDB_txn *txn = NULL;
	int result = 0;

	if (!lmdb)
		return MDB_PANIC;
	result = mdb_env_create(&lmdb->env);
	if (result == 0)
		result = mdb_env_set_mapsize(lmdb->env, map_bytes);
	if (result == 0)
		result = mdb_env_open(lmdb->env, directory, flags, 0600);
	if (result == 0)
		result = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
	if (result == 0) {
		result = mdb_dbi_open(txn, NULL, 0, &lmdb->dbi);
		if (result == 0)
			result = mdb_txn_commit(txn);
		else
			mdb_txn_abort(txn);
	}
	if (result == 0) {
		*handle = lmdb;
		return 0;
	}
	if (lmdb->env)
		mdb_env_close(lmdb->env);
	free(lmdb);
	return result;
}

static int lmdb_open(const char *directory, bool durable, uint64_t data_bytes, void **handle)
{
	return lmdb_open_flags(directory, durable ? 0 : MDB_NOSYNC, data_bytes, handle);
}

static int lmdb_open_writemap(const char *directory, bool durable, uint64_t data_bytes, void **handle)
{
	return lmdb_open_flags(directory, MDB_WRITEMAP | (durable ? 0 : MDB_NOSYNC), data_bytes, handle);
}

static int lmdb_close(void *handle)
{
	struct lmdb *lmdb = handle;

	mdb_env_close(lmdb->env);
	free(lmdb);
	return 0;
}

static int lmdb_begin(struct lmdb *lmdb, unsigned flags, void **txn)
{
	struct lmdb_txn *begun = calloc(1, sizeof(*begun));
	int result = begun ? mdb_txn_begin(lmdb->env, NULL, flags, &begun->txn) : MDB_PANIC;

	if (result) {
		free(begun);
		return result;
	}
	begun->dbi = lmdb->dbi;
	*txn = begun;
	return 0;
}

static int lmdb_write_begin(void *handle, void **txn)
{
	return lmdb_begin(handle, 0, txn);
}

static int lmdb_put(void *txn, struct bytes key, struct bytes value)
{
	struct lmdb_txn *lmdb_txn = txn;
	MDB_val k = mdb_value(key), v = mdb_value(value);

	return mdb_put(lmdb_txn->txn, lmdb_txn->dbi, &k, &v, 0);
}

static int lmdb_commit(void *txn)
{
	struct lmdb_txn *lmdb_txn = txn;
	int result = mdb_txn_commit(lmdb_txn->txn);

	free(lmdb_txn);
	return result;
}

static int lmdb_read_begin(void *handle, void **txn)
{
	return lmdb_begin(handle, MDB_RDONLY, txn);
}

static int lmdb_get(void *txn, struct bytes key, struct bytes *value)
{
	struct lmdb_txn *lmdb_txn = txn;
	MDB_val k = mdb_value(key), v = { 0 };
	int result = mdb_get(lmdb_txn->txn, lmdb_txn->dbi, &k, &v);

	if (result == 0)
		*value = (struct bytes){ .data = v.mv_data, .size = v.mv_size };
	return result == MDB_NOTFOUND ? BENCH_MISSING : result;
}

/* LMDB has no call for many keys: one after the other. */
static int lmdb_multi_get(void *txn, const struct bytes *keys, size_t count, struct bytes *values)
{
	int result = 0;
	size_t i = 0;

	for (i = 0; i < count && result == 0; i++)
		result = lmdb_get(txn, keys[i], &values[i]);
	return result;
}

static int lmdb_scan(void *txn, scan_fn *found, void *context)
{
	struct lmdb_txn *lmdb_txn = txn;
	MDB_cursor *cursor = NULL;
	MDB_val k = { 0 }, v = { 0 };
	int result = mdb_cursor_open(lmdb_txn->txn, lmdb_txn->dbi, &cursor);

	if (result)
		return result;
	while ((result = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
		found(context, (struct bytes){ k.mv_data, k.mv_size }, (struct bytes){ v.mv_data, v.mv_size });
	mdb_cursor_close(cursor);
	return result == MDB_NOTFOUND ? 0 : result;
}

static void lmdb_read_end(void *txn)
{
	struct lmdb_txn *lmdb_txn = txn;

	mdb_txn_abort(lmdb_txn->txn);
	free(lmdb_txn);
}

const struct store store_lmdb = {
	.name = "lmdb",
	.settings = "map size 12 x data; default sync when durable, else MDB_NOSYNC",
	.version = lmdb_version,
	.text = lmdb_text,
	.open = lmdb_open,
	.close = lmdb_close,
	.write_begin = lmdb_write_begin,
	.put = lmdb_put,
	.commit = lmdb_commit,
	.read_begin = lmdb_read_begin,
	.get = lmdb_get,
	.multi_get = lmdb_multi_get,
	.scan = lmdb_scan,
	.read_end = lmdb_read_end,
};

const struct store store_lmdb_writemap = {
	.name = "lmdb-writemap",
	.settings = "as lmdb, with MDB_WRITEMAP",
	.version = lmdb_version,
	.text = lmdb_text,
	.open = lmdb_open_writemap,
	.close = lmdb_close,
	.write_begin = lmdb_write_begin,
	.put = lmdb_put,
	.commit = lmdb_commit,
	.read_begin = lmdb_read_begin,
	.get = lmdb_get,
	.multi_get = lmdb_multi_get,
	.scan = lmdb_scan,
	.read_end = lmdb_read_end,
};

#endif
