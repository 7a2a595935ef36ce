/* SPDX-License-Identifier: MIT */
/*
 * Berkeley DB as a transactional data store with a B-tree, settings by its reference guide:
 *
 * - A private environment (one process) with log, locks and cache; the cache is half of the memory, but no more than four
 *   times the data and 64 MiB: all pages fit then, and its tables, which are made for the whole of it, cost more the
 *   larger it is (0.5 s of opening for 12 GiB).
 * - Pages of 4 KiB, the file system's block and the default; of 64 KiB, the largest, for large values, which overflow
 *   pages of any size: chains are shorter then, and reads of 100 KB take half the time.
 * - durable: the default, the log is flushed at each commit and threads share flushes. Not durable: DB_TXN_NOSYNC, where
 *   the newest log stays in its buffer; a thread hands it over every 50 ms.
 * - A log buffer of 8 MiB, files of 64 MiB, old ones removed (DB_LOG_AUTO_REMOVE); that thread also writes a checkpoint
 *   each 64 MiB of log, as much as Solifuge, RocksDB, LevelDB and SQLite have here, and close writes one. Recovery runs
 *   at each opening, as the guide has it.
 * - Bulk calls, which "can significantly increase performance": what a forward scan reads comes in a buffer for the
 *   entries that it says it will visit (DB_MULTIPLE_KEY), four times as fast. Puts of a transaction are gathered in a
 *   buffer where keys go up; at random, sorted in the buffer or not, that takes a tenth longer than one put after the
 *   other. Single puts and deletes commit by themselves (DB_AUTO_COMMIT).
 * - Deadlocks are detected at once; their victims are done again. Locks and objects for the largest transaction here.
 * - Readers have no transaction but read committed pages: snapshots (DB_MULTIVERSION) would cost copies of pages.
 * - Every read gives its own buffer (DB_DBT_USERMEM), since DB_THREAD allows no other way without malloc.
 * - There is no call for many scattered keys: one after the other. Hot copy: DB_ENV->backup, then catastrophic recovery
 *   of the copy, which its own tool does too. Many trees: databases in one file.
 */
#include <db.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store.h"

#define LOG_FILE_BYTES (64u << 20)
#define LOG_BUFFER_BYTES (8u << 20)
#define CHECKPOINT_KIB (64u << 10)
#define LOCKS 500000
#define BULK_BYTES (256u << 10)
#define BULK_ENTRY_BYTES 32 /* that the buffer needs for an entry beside its key and value */
#define VALUE_SLACK_BYTES 16
#define LARGE_VALUE_BYTES 16384
#define LARGE_PAGE_BYTES 65536

extern const struct store store_bdb;

struct bdb {
	DB_ENV *env;
	DB *db;
	DB **trees;
	unsigned tree_count;
	struct store_setup setup;
	pthread_t checkpointer;
	atomic_bool closing;
	bool checkpointing;
};

struct bdb_session {
	struct bdb *bdb;
	DB_TXN *txn;
	DBC *cursor;
	unsigned char *key, *values; /* one key, BENCH_BATCH values */
	size_t room;                 /* of a value */
	bool gathering;              /* puts, for commit */
	void *put_at, *get_at;       /* where the buffers go on; get_at: NULL when nothing is left in it */
	uint32_t bulk_bytes;         /* of each */
	DBT puts, gets;
};

static const char *bdb_version(void)
{
	return db_version(NULL, NULL, NULL);
}

static const char *bdb_text(int result)
{
	return db_strerror(result);
}

static int condition(int result)
{
	if (result == DB_NOTFOUND)
		return BENCH_MISSING;
	return result == DB_LOCK_DEADLOCK || result == DB_LOCK_NOTGRANTED ? BENCH_CONFLICT : result;
}

/* No call writes the log without a flush, but the commit of a transaction that has logged something does. */
static void hand_over(struct bdb *bdb)
{
	DB_TXN *txn = NULL;

	if (bdb->setup.durable || bdb->env->txn_begin(bdb->env, NULL, &txn, DB_TXN_WRITE_NOSYNC))
		return;
	(void)bdb->env->log_printf(bdb->env, txn, "-");
	(void)txn->commit(txn, DB_TXN_WRITE_NOSYNC);
}

static void *keep_checkpointing(void *context)
{
	struct bdb *bdb = context;

	while (!atomic_load(&bdb->closing)) {
		usleep(STORE_BUFFER_MS * 1000 / 2);
		hand_over(bdb);
		(void)bdb->env->txn_checkpoint(bdb->env, CHECKPOINT_KIB, 0, 0);
	}
	return NULL;
}

static int set_environment(DB_ENV *env, const struct store_setup *setup)
{
	uint64_t cache = store_cache_bytes(&store_bdb, setup);
	int result = env->set_cachesize(env, (uint32_t)(cache >> 30), (uint32_t)(cache & ((1u << 30) - 1)),
					1 + (int)(cache >> 32));

	if (result == 0)
		result = env->set_lg_bsize(env, LOG_BUFFER_BYTES);
	if (result == 0)
		result = env->set_lg_max(env, LOG_FILE_BYTES);
	if (result == 0)
		result = env->log_set_config(env, DB_LOG_AUTO_REMOVE, 1);
	if (result == 0)
		result = env->set_lk_detect(env, DB_LOCK_DEFAULT);
	if (result == 0)
		result = env->set_lk_max_locks(env, LOCKS);
	if (result == 0)
		result = env->set_lk_max_objects(env, LOCKS);
	if (result == 0)
		result = env->set_tx_max(env, setup->threads + 64);
	if (result == 0 && !setup->durable)
		result = env->set_flags(env, DB_TXN_NOSYNC, 1);
	return result;
}

static int open_database(struct bdb *bdb, DB_TXN *txn, const char *file, const char *name, DB **db)
{
	int result = db_create(db, bdb->env, 0);

	if (result == 0 && bdb->setup.value_bytes >= LARGE_VALUE_BYTES)
		result = (*db)->set_pagesize(*db, LARGE_PAGE_BYTES);
	if (result == 0)
		result = (*db)->open(*db, txn, file, name, DB_BTREE, DB_CREATE | DB_THREAD | (txn ? 0 : DB_AUTO_COMMIT),
				     0600);
	return result;
}

static int bdb_close(void *handle)
{
	struct bdb *bdb = handle;
	int result = 0, closed = 0;

	atomic_store(&bdb->closing, true);
	if (bdb->checkpointing)
		pthread_join(bdb->checkpointer, NULL);
	while (bdb->tree_count) {
		bdb->tree_count--;
		bdb->trees[bdb->tree_count]->close(bdb->trees[bdb->tree_count], 0);
	}
	if (bdb->db)
		result = bdb->db->close(bdb->db, 0);
	if (bdb->env && bdb->checkpointing && result == 0)
		result = bdb->env->txn_checkpoint(bdb->env, 0, 0, DB_FORCE);
	if (bdb->env)
		closed = bdb->env->close(bdb->env, 0);
	free(bdb->trees);
	free(bdb);
	return result ? result : closed;
}

static int bdb_open(const struct store_setup *setup, void **handle)
{
	struct bdb *bdb = calloc(1, sizeof(*bdb));
	int result = db_env_create(&bdb->env, 0);

	bdb->setup = *setup;
	if (result == 0)
		result = set_environment(bdb->env, setup);
	if (result == 0)
		result = bdb->env->open(bdb->env, setup->directory,
					DB_CREATE | DB_PRIVATE | DB_THREAD | DB_RECOVER | DB_INIT_LOCK | DB_INIT_LOG |
						DB_INIT_MPOOL | DB_INIT_TXN, 0600);
	if (result == 0)
		result = open_database(bdb, NULL, "main", NULL, &bdb->db);
	if (result == 0)
		result = pthread_create(&bdb->checkpointer, NULL, keep_checkpointing, bdb);
	bdb->checkpointing = result == 0;
	if (result)
		(void)bdb_close(bdb);
	else
		*handle = bdb;
	return result;
}

/* A buffer for so many entries, and for one in any case. Its size has to be a multiple of 1,024. */
static uint32_t bulk_bytes(const struct bdb_session *own, size_t entries)
{
	size_t entry = own->bdb->setup.entry_bytes + BULK_ENTRY_BYTES;
	size_t most = entry * 4 > BULK_BYTES ? entry * 4 : BULK_BYTES;
	size_t bytes = entries < most / entry ? entry * (entries + 1) : most;

	return (uint32_t)((bytes + 4096) & ~(size_t)1023);
}

static DBT dbt_room(void *memory, size_t size)
{
	DBT dbt = { 0 };

	dbt.data = memory;
	dbt.ulen = (uint32_t)size;
	dbt.flags = DB_DBT_USERMEM;
	return dbt;
}

static int bdb_attach(void *handle, void **session)
{
	struct bdb_session *own = calloc(1, sizeof(*own));

	own->bdb = handle;
	own->room = own->bdb->setup.value_bytes + VALUE_SLACK_BYTES;
	own->key = malloc(own->bdb->setup.entry_bytes + VALUE_SLACK_BYTES);
	own->values = malloc(own->room * BENCH_BATCH);
	own->bulk_bytes = bulk_bytes(own, STORE_ALL);
	own->puts = dbt_room(malloc(own->bulk_bytes), own->bulk_bytes);
	own->gets = dbt_room(malloc(own->bulk_bytes), own->bulk_bytes);
	*session = own;
	return 0;
}

static void bdb_detach(void *session)
{
	struct bdb_session *own = session;

	free(own->key);
	free(own->values);
	free(own->puts.data);
	free(own->gets.data);
	free(own);
}

static int bdb_begin(void *session, enum store_txn kind)
{
	struct bdb_session *own = session;

	own->txn = NULL;
	own->gathering = kind == STORE_WRITE && own->bdb->setup.puts_in_order;
	if (kind != STORE_WRITE)
		return 0;
	DB_MULTIPLE_WRITE_INIT(own->put_at, &own->puts);
	return own->bdb->env->txn_begin(own->bdb->env, NULL, &own->txn, 0);
}

static DBT dbt_of(struct bytes from)
{
	DBT dbt = dbt_room((void *)(uintptr_t)from.data, from.size);

	dbt.size = dbt.ulen;
	return dbt;
}

static int put_into(struct bdb_session *own, DB *db, struct bytes key, struct bytes value)
{
	DBT k = dbt_of(key), v = dbt_of(value);

	return condition(db->put(db, own->txn, &k, &v, 0));
}

static int put_gathered(struct bdb_session *own)
{
	DBT none = { 0 };
	DB *db = own->bdb->db;
	int result = 0;

	if (own->put_at == (char *)own->puts.data + own->puts.ulen - sizeof(uint32_t))
		return 0;
	result = db->put(db, own->txn, &own->puts, &none, DB_MULTIPLE_KEY);
	DB_MULTIPLE_WRITE_INIT(own->put_at, &own->puts);
	return condition(result);
}

static int gather(struct bdb_session *own, struct bytes key, struct bytes value)
{
	void *at = own->put_at;
	int result = 0;

	DB_MULTIPLE_KEY_WRITE_NEXT(at, &own->puts, key.data, key.size, value.data, value.size);
	if (!at) {
		result = put_gathered(own);
		at = own->put_at;
		DB_MULTIPLE_KEY_WRITE_NEXT(at, &own->puts, key.data, key.size, value.data, value.size);
	}
	own->put_at = at;
	return result;
}

static int bdb_commit(void *session)
{
	struct bdb_session *own = session;
	DB_TXN *txn = own->txn;
	int result = own->gathering ? put_gathered(own) : 0;

	own->txn = NULL;
	if (!txn)
		return 0;
	if (result == 0)
		return condition(txn->commit(txn, 0));
	(void)txn->abort(txn);
	return result;
}

static void bdb_end(void *session)
{
	struct bdb_session *own = session;

	if (own->txn)
		own->txn->abort(own->txn);
	own->txn = NULL;
}

static int bdb_put(void *session, struct bytes key, struct bytes value)
{
	struct bdb_session *own = session;

	return own->gathering ? gather(own, key, value) : put_into(own, own->bdb->db, key, value);
}

static int bdb_del(void *session, struct bytes key)
{
	struct bdb_session *own = session;
	DBT k = dbt_of(key);

	return condition(own->bdb->db->del(own->bdb->db, own->txn, &k, 0));
}

static int get_from(struct bdb_session *own, DB *db, struct bytes key, unsigned at, struct bytes *value)
{
	DBT k = dbt_of(key), v = dbt_room(own->values + at * own->room, own->room);
	int result = db->get(db, NULL, &k, &v, 0);

	if (result == 0)
		*value = (struct bytes){ .data = v.data, .size = v.size };
	return condition(result);
}

static int bdb_get(void *session, struct bytes key, struct bytes *value)
{
	struct bdb_session *own = session;

	return get_from(own, own->bdb->db, key, 0, value);
}

static int bdb_multi_get(void *session, const struct bytes *keys, size_t count, struct bytes *values)
{
	struct bdb_session *own = session;
	unsigned i = 0;
	int result = count > BENCH_BATCH ? BENCH_MISSING : 0;

	for (i = 0; i < count && result == 0; i++)
		result = get_from(own, own->bdb->db, keys[i], i, &values[i]);
	return result;
}

static int bdb_cursor_open(void *session, size_t entries)
{
	struct bdb_session *own = session;

	own->get_at = NULL;
	own->gets.ulen = entries > 1 ? bulk_bytes(own, entries) : 0;
	return own->bdb->db->cursor(own->bdb->db, NULL, &own->cursor, DB_READ_COMMITTED);
}

static bool next_of_bulk(struct bdb_session *own, struct bytes *key, struct bytes *value)
{
	uint32_t key_bytes = 0, value_bytes = 0;

	if (own->get_at)
		DB_MULTIPLE_KEY_NEXT(own->get_at, &own->gets, key->data, key_bytes, value->data, value_bytes);
	key->size = key_bytes;
	value->size = value_bytes;
	return own->get_at;
}

static int move_in_bulk(struct bdb_session *own, uint32_t move, struct bytes *key, struct bytes *value)
{
	DBT k = dbt_room(own->key, own->bdb->setup.entry_bytes);
	int result = 0;

	if (move == DB_NEXT && next_of_bulk(own, key, value))
		return 0;
	if (move == DB_SET_RANGE) {
		memcpy(own->key, key->data, key->size);
		k.size = (uint32_t)key->size;
	}
	result = own->cursor->get(own->cursor, &k, &own->gets, move | DB_MULTIPLE_KEY);
	if (result)
		return condition(result);
	DB_MULTIPLE_INIT(own->get_at, &own->gets);
	return next_of_bulk(own, key, value) ? 0 : BENCH_MISSING;
}

static int bdb_move(void *session, enum store_move move, struct bytes *key, struct bytes *value)
{
	static const uint32_t moves[] = {
		[STORE_FIRST] = DB_FIRST, [STORE_LAST] = DB_LAST, [STORE_NEXT] = DB_NEXT, [STORE_PREV] = DB_PREV,
		[STORE_SEEK] = DB_SET_RANGE,
	};
	struct bdb_session *own = session;
	DBT k = dbt_room(own->key, own->bdb->setup.entry_bytes), v = dbt_room(own->values, own->room);
	int result = 0;

	if (own->gets.ulen && move != STORE_LAST && move != STORE_PREV)
		return move_in_bulk(own, moves[move], key, value);
	if (move == STORE_SEEK) {
		memcpy(own->key, key->data, key->size);
		k.size = (uint32_t)key->size;
	}
	result = own->cursor->get(own->cursor, &k, &v, moves[move]);
	if (result == 0) {
		*key = (struct bytes){ .data = k.data, .size = k.size };
		*value = (struct bytes){ .data = v.data, .size = v.size };
	}
	return condition(result);
}

static void bdb_cursor_close(void *session)
{
	struct bdb_session *own = session;

	own->cursor->close(own->cursor);
}

static int recover_copy(const struct bdb *bdb, const char *directory)
{
	DB_ENV *env = NULL;
	int result = db_env_create(&env, 0);

	if (result)
		return result;
	result = set_environment(env, &bdb->setup);
	if (result == 0)
		result = env->open(env, directory,
				   DB_CREATE | DB_PRIVATE | DB_RECOVER_FATAL | DB_INIT_LOCK | DB_INIT_LOG |
					   DB_INIT_MPOOL | DB_INIT_TXN, 0600);
	(void)env->close(env, 0);
	return result;
}

static int bdb_copy(void *handle, const char *directory)
{
	struct bdb *bdb = handle;
	int result = bdb->env->backup(bdb->env, directory, DB_CREATE);

	return result ? result : recover_copy(bdb, directory);
}

static int bdb_trees_make(void *handle, unsigned count)
{
	struct bdb *bdb = handle;
	DB_TXN *txn = NULL;
	char name[32] = "";
	int result = bdb->env->txn_begin(bdb->env, NULL, &txn, 0);

	if (result)
		return result;
	bdb->trees = calloc(count, sizeof(*bdb->trees));
	while (bdb->tree_count < count && result == 0) {
		snprintf(name, sizeof(name), "tree-%u", bdb->tree_count);
		result = open_database(bdb, txn, "trees", name, &bdb->trees[bdb->tree_count]);
		bdb->tree_count += result == 0;
	}
	if (result == 0)
		return txn->commit(txn, 0);
	(void)txn->abort(txn);
	return result;
}

static int bdb_tree_put(void *session, unsigned tree, struct bytes key, struct bytes value)
{
	struct bdb_session *own = session;

	return put_into(own, own->bdb->trees[tree], key, value);
}

static int bdb_tree_get(void *session, unsigned tree, struct bytes key, struct bytes *value)
{
	struct bdb_session *own = session;

	return get_from(own, own->bdb->trees[tree], key, 0, value);
}

const struct store store_bdb = {
	.name = "bdb",
	.package = "libdb5.3-dev",
	.settings = "transactional B-tree, private environment, cache 50 % of memory or 4 x data, pages of 4 KiB (64 KiB "
		    "for large values), checkpoint each 64 MiB of log, bulk calls for forward scans and batches in order; "
		    "default sync when durable, else DB_TXN_NOSYNC; reads are read-committed",
	.key_bytes_max = SIZE_MAX,
	.cache_percent = 50,
	.cache_data_factor = 4,
	.version = bdb_version,
	.text = bdb_text,
	.open = bdb_open,
	.close = bdb_close,
	.attach = bdb_attach,
	.detach = bdb_detach,
	.begin = bdb_begin,
	.commit = bdb_commit,
	.end = bdb_end,
	.put = bdb_put,
	.del = bdb_del,
	.get = bdb_get,
	.multi_get = bdb_multi_get,
	.cursor_open = bdb_cursor_open,
	.move = bdb_move,
	.cursor_close = bdb_cursor_close,
	.copy = bdb_copy,
	.trees_make = bdb_trees_make,
	.tree_put = bdb_tree_put,
	.tree_get = bdb_tree_get,
};
