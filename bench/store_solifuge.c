/* SPDX-License-Identifier: MIT */
/*
 * Solifuge with its default options: budgets, node sizes, compression and checksums as a user gets them.
 *
 * - Only the sync mode follows the workload: SLF_SYNC_COMMIT when commits have to be durable, else SLF_SYNC_NONE, where
 *   the newest commits are in the process for some milliseconds.
 * - Cursors are SLF_TRANSIENT, which the manual recommends for long scans: slices live until the cursor moves, which is
 *   all that iterators of RocksDB, LevelDB, WiredTiger and SQLite and the buffer of Berkeley DB give. LMDB's live until
 *   the transaction ends. What gets give lives until the transaction ends here, longer than asked for, and copies of
 *   uncompressed values with it: slf_txn_trim() lets go of them now and then, as the manual says.
 * - No hint is used: there is no call that would take one.
 * - Many trees: named trees, opened once. Hot copies are not there yet.
 */
#include <stdio.h>
#include <stdlib.h>

#include "solifuge.h"
#include "store.h"

struct solifuge {
	struct slf_db *db;
	uint32_t *trees;
};

struct solifuge_session {
	struct solifuge *solifuge;
	struct slf_txn *txn;
	struct slf_cursor *cursor;
	size_t read_bytes; /* in this transaction, since it was trimmed */
};

#define TRIM_BYTES ((size_t)64 << 20)

static struct slf_slice slice(struct bytes from)
{
	return (struct slf_slice){ .data = from.data, .size = from.size };
}

static const char *solifuge_text(int result)
{
	static _Thread_local struct slf_errinfo info;

	info.size = sizeof(info);
	return slf_errinfo(&info) == 0 && info.code == result ? info.text : slf_strerror(result);
}

static int solifuge_open(const struct store_setup *setup, void **handle)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct solifuge *solifuge = calloc(1, sizeof(*solifuge));
	char path[4096] = "";
	int result = 0;

	snprintf(path, sizeof(path), "%s/db", setup->directory);
	options.flags = SLF_CREATE;
	options.sync = setup->durable ? SLF_SYNC_COMMIT : SLF_SYNC_NONE;
	result = slf_open(path, &options, &solifuge->db);
	if (result == 0)
		*handle = solifuge;
	else
		free(solifuge);
	return result;
}

static int solifuge_close(void *handle)
{
	struct solifuge *solifuge = handle;
	int result = slf_close(solifuge->db);

	free(solifuge->trees);
	free(solifuge);
	return result;
}

static int solifuge_attach(void *handle, void **session)
{
	struct solifuge_session *attached = calloc(1, sizeof(*attached));

	attached->solifuge = handle;
	*session = attached;
	return 0;
}

static void solifuge_detach(void *session)
{
	free(session);
}

static int solifuge_begin(void *session, enum store_txn kind)
{
	struct solifuge_session *own = session;

	own->read_bytes = 0;
	return slf_begin(own->solifuge->db, store_writes(kind) ? SLF_WRITE : SLF_READ, &own->txn);
}

static int solifuge_commit(void *session)
{
	struct solifuge_session *own = session;
	struct slf_txn *txn = own->txn;

	own->txn = NULL;
	return slf_commit(txn, NULL);
}

static void solifuge_end(void *session)
{
	struct solifuge_session *own = session;

	slf_abort(own->txn);
	own->txn = NULL;
}

static int solifuge_put(void *session, struct bytes key, struct bytes value)
{
	struct solifuge_session *own = session;

	return slf_put(own->txn, SLF_MAIN, slice(key), slice(value));
}

static int solifuge_del(void *session, struct bytes key)
{
	struct solifuge_session *own = session;

	return slf_del(own->txn, SLF_MAIN, slice(key)); /* SLF_NOTFOUND is BENCH_MISSING */
}

static int trim(struct solifuge_session *own)
{
	if (own->read_bytes < TRIM_BYTES)
		return 0;
	own->read_bytes = 0;
	return slf_txn_trim(own->txn);
}

static int get_from(struct solifuge_session *own, uint32_t tree, struct bytes key, struct bytes *value)
{
	struct slf_slice found = { 0 };
	int result = trim(own);

	if (result == 0)
		result = slf_get(own->txn, tree, slice(key), &found);
	own->read_bytes += found.size;

	if (result == SLF_NOTFOUND)
		return BENCH_MISSING;
	if (result == 0)
		*value = (struct bytes){ .data = found.data, .size = found.size };
	return result;
}

static int solifuge_get(void *session, struct bytes key, struct bytes *value)
{
	return get_from(session, SLF_MAIN, key, value);
}

static int solifuge_multi_get(void *session, const struct bytes *keys, size_t count, struct bytes *values)
{
	struct solifuge_session *own = session;
	struct slf_slice wanted[BENCH_BATCH] = { 0 }, found[BENCH_BATCH];
	int results[BENCH_BATCH], result = 0;
	size_t i = 0;

	if (count == 0 || count > BENCH_BATCH)
		return BENCH_MISSING;
	for (i = 0; i < count; i++)
		wanted[i] = slice(keys[i]);
	result = trim(own);
	if (result == 0)
		result = slf_multi_get(own->txn, SLF_MAIN, wanted, count, found, results);
	for (i = 0; i < count && result == 0; i++) {
		result = results[i] ? BENCH_MISSING : 0;
		values[i] = (struct bytes){ .data = found[i].data, .size = found[i].size };
		own->read_bytes += results[i] ? 0 : found[i].size;
	}
	return result;
}

static int solifuge_cursor_open(void *session, size_t entries)
{
	struct solifuge_session *own = session;
	struct slf_range range = { .flags = SLF_TRANSIENT };

	(void)entries;
	return slf_cursor_open(own->txn, SLF_MAIN, &range, &own->cursor);
}

/* A new cursor stands before the first entry for next, and behind the last one for prev. */
static int solifuge_move(void *session, enum store_move move, struct bytes *key, struct bytes *value)
{
	struct solifuge_session *own = session;
	struct slf_slice k = { 0 }, v = { 0 };
	int result = 0;

	if (move == STORE_SEEK)
		result = slf_cursor_seek(own->cursor, slice(*key));
	if (result == 0 && (move == STORE_PREV || move == STORE_LAST))
		result = slf_cursor_prev(own->cursor, &k, &v);
	else if (result == 0)
		result = slf_cursor_next(own->cursor, &k, &v);
	if (result == 0) {
		*key = (struct bytes){ .data = k.data, .size = k.size };
		*value = (struct bytes){ .data = v.data, .size = v.size };
	}
	return result == SLF_END ? BENCH_MISSING : result;
}

static void solifuge_cursor_close(void *session)
{
	struct solifuge_session *own = session;

	slf_cursor_close(own->cursor);
	own->cursor = NULL;
}

static int solifuge_trees_make(void *handle, unsigned count)
{
	struct solifuge *solifuge = handle;
	struct slf_txn *txn = NULL;
	char name[32] = "";
	unsigned i = 0;
	int result = slf_begin(solifuge->db, SLF_WRITE, &txn);

	if (result)
		return result;
	solifuge->trees = calloc(count, sizeof(*solifuge->trees));
	for (i = 0; i < count && result == 0; i++) {
		snprintf(name, sizeof(name), "tree-%u", i);
		result = slf_tree_open(txn, name, SLF_CREATE, &solifuge->trees[i]);
	}
	if (result == 0)
		return slf_commit(txn, NULL);
	slf_abort(txn);
	return result;
}

static int solifuge_tree_put(void *session, unsigned tree, struct bytes key, struct bytes value)
{
	struct solifuge_session *own = session;

	return slf_put(own->txn, own->solifuge->trees[tree], slice(key), slice(value));
}

static int solifuge_tree_get(void *session, unsigned tree, struct bytes key, struct bytes *value)
{
	struct solifuge_session *own = session;

	return get_from(own, own->solifuge->trees[tree], key, value);
}

extern const struct store store_solifuge;
const struct store store_solifuge = {
	.name = "solifuge",
	.settings = "default options; SLF_SYNC_COMMIT when durable, else SLF_SYNC_NONE; transient cursors",
	.key_bytes_max = 65535,
	.version = slf_version,
	.text = solifuge_text,
	.open = solifuge_open,
	.close = solifuge_close,
	.attach = solifuge_attach,
	.detach = solifuge_detach,
	.begin = solifuge_begin,
	.commit = solifuge_commit,
	.end = solifuge_end,
	.put = solifuge_put,
	.del = solifuge_del,
	.get = solifuge_get,
	.multi_get = solifuge_multi_get,
	.cursor_open = solifuge_cursor_open,
	.move = solifuge_move,
	.cursor_close = solifuge_cursor_close,
	.trees_make = solifuge_trees_make,
	.tree_put = solifuge_tree_put,
	.tree_get = solifuge_tree_get,
};
