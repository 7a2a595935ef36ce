/* SPDX-License-Identifier: MIT */
/*
 * LMDB, settings by its documentation (lmdb.h):
 *
 * - The map size has to be set in advance: twelve times the data and 4 GiB at least, so that no workload is slowed down
 *   or stopped by a map that is nearly full. An unused part costs address space only.
 * - durable: the default, fdatasync and a synchronous meta page at each commit.
 * - not durable: MDB_NOSYNC, "don't flush system buffers to disk when committing", the counterpart of SLF_SYNC_NONE.
 *   The second row, lmdb-writemap, adds MDB_WRITEMAP, "use a writeable memory map ... faster and uses fewer mallocs,
 *   but loses protection from application bugs", which LMDB's own benchmarks use for their fastest asynchronous
 *   figures. When durable it is MDB_WRITEMAP with msync.
 * - MDB_NORDAHEAD for data that does not fit into memory, and only there: "turning it off may help random read performance
 *   when the DB is larger than RAM and system RAM is full". Reads in key order are random ones too, since the data was put
 *   at random: with read-ahead a scan read a thousand times the data from a device that reads 8 MiB ahead.
 * - MDB_NOMEMINIT, since clearing unused space "can incur performance costs" and keeps nothing safe that is measured.
 * - MDB_APPEND where all puts go up in key order: "fast bulk loading when keys are already known to be in the correct
 *   order". It works in ordinary transactions, so single puts get it too.
 * - Readers reset and renew one transaction and one cursor per session, as the documentation recommends for frequent
 *   reads.
 * - Commits go to the kernel at once; there is no setting that keeps them in the process.
 * - Many trees: named databases, opened once.
 * - Hot copy: mdb_env_copy, in the default order; its long reader keeps pages from being used again meanwhile.
 */
#include <lmdb.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store.h"

#define MAP_FACTOR 12
#define MAP_BYTES_MIN ((size_t)4 << 30)
#define READERS 1024

struct lmdb {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_dbi *trees;
	unsigned put_flags;
};

struct lmdb_session {
	struct lmdb *lmdb;
	MDB_txn *txn;  /* the running one */
	MDB_txn *read; /* renewed for each reading transaction */
	MDB_cursor *cursor; /* of read, and renewed with it */
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

static int open_main(struct lmdb *lmdb)
{
	MDB_txn *txn = NULL;
	int result = mdb_txn_begin(lmdb->env, NULL, 0, &txn);

	if (result)
		return result;
	result = mdb_dbi_open(txn, NULL, 0, &lmdb->dbi);
	if (result == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return result;
}

static int lmdb_open_flags(const struct store_setup *setup, unsigned flags, void **handle)
{
	struct lmdb *lmdb = calloc(1, sizeof(*lmdb));
	size_t map_bytes = setup->data_bytes * MAP_FACTOR;
	int result = mdb_env_create(&lmdb->env);

	flags |= MDB_NOMEMINIT;
	if (!setup->durable)
		flags |= MDB_NOSYNC;
	if (setup->data_bytes > setup->memory_bytes)
		flags |= MDB_NORDAHEAD;
	lmdb->put_flags = setup->puts_in_order ? MDB_APPEND : 0;
	if (result == 0)
		result = mdb_env_set_mapsize(lmdb->env, map_bytes > MAP_BYTES_MIN ? map_bytes : MAP_BYTES_MIN);
	if (result == 0)
		result = mdb_env_set_maxreaders(lmdb->env, READERS);
	if (result == 0 && setup->trees)
		result = mdb_env_set_maxdbs(lmdb->env, setup->trees);
	if (result == 0)
		result = mdb_env_open(lmdb->env, setup->directory, flags, 0600);
	if (result == 0)
		result = open_main(lmdb);
	if (result == 0) {
		*handle = lmdb;
		return 0;
	}
	mdb_env_close(lmdb->env);
	free(lmdb);
	return result;
}

static int lmdb_open(const struct store_setup *setup, void **handle)
{
	return lmdb_open_flags(setup, 0, handle);
}

static int lmdb_open_writemap(const struct store_setup *setup, void **handle)
{
	return lmdb_open_flags(setup, MDB_WRITEMAP, handle);
}

static int lmdb_close(void *handle)
{
	struct lmdb *lmdb = handle;

	mdb_env_close(lmdb->env);
	free(lmdb->trees);
	free(lmdb);
	return 0;
}

static int lmdb_attach(void *handle, void **session)
{
	struct lmdb_session *attached = calloc(1, sizeof(*attached));

	attached->lmdb = handle;
	*session = attached;
	return 0;
}

static void lmdb_detach(void *session)
{
	struct lmdb_session *own = session;

	if (own->cursor)
		mdb_cursor_close(own->cursor);
	if (own->read)
		mdb_txn_abort(own->read);
	free(own);
}

static int lmdb_begin(void *session, enum store_txn kind)
{
	struct lmdb_session *own = session;
	int result = 0;

	if (store_writes(kind))
		return mdb_txn_begin(own->lmdb->env, NULL, 0, &own->txn);
	if (own->read)
		result = mdb_txn_renew(own->read);
	else
		result = mdb_txn_begin(own->lmdb->env, NULL, MDB_RDONLY, &own->read);
	own->txn = own->read;
	return result;
}

static int lmdb_commit(void *session)
{
	struct lmdb_session *own = session;

	return mdb_txn_commit(own->txn);
}

static void lmdb_end(void *session)
{
	struct lmdb_session *own = session;

	if (own->txn == own->read)
		mdb_txn_reset(own->read);
	else
		mdb_txn_abort(own->txn);
}

static int lmdb_put(void *session, struct bytes key, struct bytes value)
{
	struct lmdb_session *own = session;
	MDB_val k = mdb_value(key), v = mdb_value(value);

	return mdb_put(own->txn, own->lmdb->dbi, &k, &v, own->lmdb->put_flags);
}

static int lmdb_del(void *session, struct bytes key)
{
	struct lmdb_session *own = session;
	MDB_val k = mdb_value(key);
	int result = mdb_del(own->txn, own->lmdb->dbi, &k, NULL);

	return result == MDB_NOTFOUND ? BENCH_MISSING : result;
}

static int get_from(struct lmdb_session *own, MDB_dbi dbi, struct bytes key, struct bytes *value)
{
	MDB_val k = mdb_value(key), v = { 0 };
	int result = mdb_get(own->txn, dbi, &k, &v);

	if (result == 0)
		*value = (struct bytes){ .data = v.mv_data, .size = v.mv_size };
	return result == MDB_NOTFOUND ? BENCH_MISSING : result;
}

static int lmdb_get(void *session, struct bytes key, struct bytes *value)
{
	struct lmdb_session *own = session;

	return get_from(own, own->lmdb->dbi, key, value);
}

/* LMDB has no call for many keys: one after the other. */
static int lmdb_multi_get(void *session, const struct bytes *keys, size_t count, struct bytes *values)
{
	int result = 0;
	size_t i = 0;

	for (i = 0; i < count && result == 0; i++)
		result = lmdb_get(session, keys[i], &values[i]);
	return result;
}

static int lmdb_cursor_open(void *session, size_t entries)
{
	struct lmdb_session *own = session;

	(void)entries;
	if (own->cursor)
		return mdb_cursor_renew(own->txn, own->cursor);
	return mdb_cursor_open(own->txn, own->lmdb->dbi, &own->cursor);
}

static int lmdb_move(void *session, enum store_move move, struct bytes *key, struct bytes *value)
{
	static const MDB_cursor_op operations[] = {
		[STORE_FIRST] = MDB_FIRST, [STORE_LAST] = MDB_LAST, [STORE_NEXT] = MDB_NEXT,
		[STORE_PREV] = MDB_PREV, [STORE_SEEK] = MDB_SET_RANGE,
	};
	struct lmdb_session *own = session;
	MDB_val k = { 0 }, v = { 0 };
	int result = 0;

	if (move == STORE_SEEK)
		k = mdb_value(*key);
	result = mdb_cursor_get(own->cursor, &k, &v, operations[move]);
	if (result == 0) {
		*key = (struct bytes){ .data = k.mv_data, .size = k.mv_size };
		*value = (struct bytes){ .data = v.mv_data, .size = v.mv_size };
	}
	return result == MDB_NOTFOUND ? BENCH_MISSING : result;
}

static void lmdb_cursor_close(void *session)
{
	(void)session; /* the next one renews it */
}

static int lmdb_copy(void *handle, const char *directory)
{
	struct lmdb *lmdb = handle;

	return mdb_env_copy(lmdb->env, directory);
}

static int lmdb_trees_make(void *handle, unsigned count)
{
	struct lmdb *lmdb = handle;
	MDB_txn *txn = NULL;
	char name[32] = "";
	unsigned i = 0;
	int result = mdb_txn_begin(lmdb->env, NULL, 0, &txn);

	if (result)
		return result;
	lmdb->trees = calloc(count, sizeof(*lmdb->trees));
	for (i = 0; i < count && result == 0; i++) {
		snprintf(name, sizeof(name), "tree-%u", i);
		result = mdb_dbi_open(txn, name, MDB_CREATE, &lmdb->trees[i]);
	}
	if (result == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return result;
}

static int lmdb_tree_put(void *session, unsigned tree, struct bytes key, struct bytes value)
{
	struct lmdb_session *own = session;
	MDB_val k = mdb_value(key), v = mdb_value(value);

	return mdb_put(own->txn, own->lmdb->trees[tree], &k, &v, 0);
}

static int lmdb_tree_get(void *session, unsigned tree, struct bytes key, struct bytes *value)
{
	struct lmdb_session *own = session;

	return get_from(own, own->lmdb->trees[tree], key, value);
}

#define LMDB_COMMON \
	.package = "liblmdb-dev", \
	.key_bytes_max = 511, \
	.version = lmdb_version, \
	.text = lmdb_text, \
	.close = lmdb_close, \
	.attach = lmdb_attach, \
	.detach = lmdb_detach, \
	.begin = lmdb_begin, \
	.commit = lmdb_commit, \
	.end = lmdb_end, \
	.put = lmdb_put, \
	.del = lmdb_del, \
	.get = lmdb_get, \
	.multi_get = lmdb_multi_get, \
	.cursor_open = lmdb_cursor_open, \
	.move = lmdb_move, \
	.cursor_close = lmdb_cursor_close, \
	.copy = lmdb_copy, \
	.trees_make = lmdb_trees_make, \
	.tree_put = lmdb_tree_put, \
	.tree_get = lmdb_tree_get

extern const struct store store_lmdb, store_lmdb_writemap;
const struct store store_lmdb = {
	.name = "lmdb",
	.settings = "map size 12 x data; MDB_NOMEMINIT; default sync when durable, else MDB_NOSYNC; MDB_APPEND for "
		    "puts in order; MDB_NORDAHEAD when memory is short",
	.open = lmdb_open,
	LMDB_COMMON,
};

const struct store store_lmdb_writemap = {
	.name = "lmdb-writemap",
	.settings = "as lmdb, with MDB_WRITEMAP",
	.open = lmdb_open_writemap,
	LMDB_COMMON,
};
