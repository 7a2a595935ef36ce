/* SPDX-License-Identifier: MIT */
/*
 * SQLite in WAL mode, settings by its documentation (wal.html, pragma.html, withoutrowid.html, mmap.html,
 * intern-v-extern-blob.html):
 *
 * - durable: synchronous=FULL, which flushes the WAL at each commit. Not durable: synchronous=OFF; NORMAL would flush at
 *   checkpoints. Each commit is a write, there is no setting that keeps it in the process.
 * - The table is WITHOUT ROWID where rows are small (the documentation's rule of thumb: a twentieth of a page, about
 *   200 bytes), else an ordinary one with an index on the key, which it recommends for larger rows.
 * - Pages of 4 KiB, the default, and 16 KiB for large values, which it found best for large BLOBs.
 * - mmap_size is as large as it can be, for reads without copying: 2 GiB less 64 KiB, the limit of the default build
 *   (SQLITE_MAX_MMAP_SIZE). What lies behind it is read by pread into the page cache of the connection. There is no map where
 *   the rows are more than half of the memory: it cannot be told to read at random, and with each page the system reads
 *   ahead as much as the device wants, which pushes the others out (measured, a quarter of the data in memory: a scan of
 *   1 GB read 1.6 TB).
 * - The page caches of the connections together have half of the memory, as other stores' have: a half of that for the
 *   writer, the other for all readers.
 * - Memory statistics are off (compile.html recommends it): they take a mutex at each allocation.
 * - Checkpoints after 64 MiB of WAL, not 4: the documentation says that larger ones make writing faster, and it is as
 *   much log as Solifuge, RocksDB, LevelDB and Berkeley DB have here.
 * - Single operations run without BEGIN and COMMIT: a statement outside of them is a transaction ("autocommit").
 * - Puts are REPLACE where the key is the only index, for then it overwrites without a search for a conflict, and upserts
 *   where there are rows beside the index, which REPLACE would delete and make again.
 * - Statements are prepared once. One connection writes, under a mutex: connections that wait by sleeping, as the busy
 *   handler does, would lose much time with many threads. Each thread has a connection for reading.
 * - Many keys at once: one SELECT joins a list of values. Hot copy: the backup interface, in one step, so that writers
 *   do not make it start again. Many trees: a table each.
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

#define WAL_BYTES (64 << 20)
#define MMAP_BYTES 2147418112u
#define SMALL_ROW_BYTES 200
#define LARGE_VALUE_BYTES 16384
#define COPY_CACHE_BYTES (8u << 20)

#define UPSERT "INSERT INTO %s(k, v) VALUES(?1, ?2) ON CONFLICT(k) DO UPDATE SET v = excluded.v"
#define REPLACE "REPLACE INTO %s(k, v) VALUES(?1, ?2)"

extern const struct store store_sqlite;

enum query { PUT, DEL, GET, MULTI_GET, FORWARD, BACKWARD, SEEK, BEGIN_READ, BEGIN_WRITE, COMMIT, ROLLBACK, QUERIES };

static const char *const queries[QUERIES] = {
	[DEL] = "DELETE FROM main_tree WHERE k = ?1",
	[GET] = "SELECT v FROM main_tree WHERE k = ?1",
	[FORWARD] = "SELECT k, v FROM main_tree ORDER BY k",
	[BACKWARD] = "SELECT k, v FROM main_tree ORDER BY k DESC",
	[SEEK] = "SELECT k, v FROM main_tree WHERE k >= ?1 ORDER BY k",
	[BEGIN_READ] = "BEGIN",
	[BEGIN_WRITE] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
};

/* A connection with its statements, prepared at first use. */
struct link {
	sqlite3 *db;
	sqlite3_stmt *statements[QUERIES];
	sqlite3_stmt **tree_puts, **tree_gets;
};

struct sqlite {
	pthread_mutex_t mutex; /* over the writer */
	struct link writer;
	struct store_setup setup;
	unsigned tree_count;
	char path[2048];
};

struct sqlite_session {
	struct sqlite *sqlite;
	struct link reader;
	struct link *link; /* the one that the running transaction uses */
	enum query scan;
	bool single;
	char *values; /* BENCH_BATCH of them, for multi_get */
};

static _Thread_local char failure[512];

static int fail(struct link *link, int result)
{
	snprintf(failure, sizeof(failure), "%s (%d)", link->db ? sqlite3_errmsg(link->db) : "no connection", result);
	return -1;
}

static const char *sqlite_text(int result)
{
	(void)result;
	return failure;
}

static const char *sqlite_version(void)
{
	static char text[64];

	snprintf(text, sizeof(text), "SQLite %s", sqlite3_libversion());
	return text;
}

static void link_release(struct link *link, unsigned trees)
{
	unsigned i = 0;

	for (i = 0; i < QUERIES; i++)
		sqlite3_finalize(link->statements[i]);
	for (i = 0; i < trees; i++) {
		if (link->tree_puts)
			sqlite3_finalize(link->tree_puts[i]);
		if (link->tree_gets)
			sqlite3_finalize(link->tree_gets[i]);
	}
	free(link->tree_puts);
	free(link->tree_gets);
	sqlite3_close(link->db);
}

static int link_open(struct link *link, const struct sqlite *sqlite, uint64_t cache_bytes)
{
	const struct store_setup *setup = &sqlite->setup;
	unsigned page = setup->value_bytes >= LARGE_VALUE_BYTES ? 16384 : 4096;
	char pragmas[512] = "";
	int result = sqlite3_open_v2(sqlite->path, &link->db,
				     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	snprintf(pragmas, sizeof(pragmas),
		 "PRAGMA page_size=%u; PRAGMA journal_mode=WAL; PRAGMA synchronous=%s; PRAGMA cache_size=-%llu;"
		 "PRAGMA mmap_size=%u; PRAGMA wal_autocheckpoint=%u; PRAGMA busy_timeout=10000;",
		 page, setup->durable ? "FULL" : "OFF", (unsigned long long)cache_bytes >> 10,
		 setup->data_bytes > setup->memory_bytes / 2 ? 0 : MMAP_BYTES, WAL_BYTES / page);
	if (result == SQLITE_OK)
		result = sqlite3_exec(link->db, pragmas, NULL, NULL, NULL);
	return result == SQLITE_OK ? 0 : fail(link, result);
}

static int make_table(struct link *link, const char *name, size_t row_bytes)
{
	char query[256] = "";
	int result = 0;

	snprintf(query, sizeof(query), "CREATE TABLE IF NOT EXISTS %s(k BLOB PRIMARY KEY NOT NULL, v BLOB)%s", name,
		 row_bytes <= SMALL_ROW_BYTES ? " WITHOUT ROWID" : "");
	result = sqlite3_exec(link->db, query, NULL, NULL, NULL);
	return result == SQLITE_OK ? 0 : fail(link, result);
}

static int prepare(struct link *link, const char *query, sqlite3_stmt **statement)
{
	int result = SQLITE_OK;

	if (!*statement)
		result = sqlite3_prepare_v3(link->db, query, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
	return result == SQLITE_OK ? 0 : fail(link, result);
}

/* Rows are counted from 0 in the list of keys, so results can come in any order. */
static int prepare_multi_get(struct link *link)
{
	char query[2048] = "WITH wanted(i, k) AS (VALUES";
	size_t used = strlen(query);
	unsigned i = 0;

	for (i = 0; i < BENCH_BATCH; i++)
		used += (size_t)snprintf(query + used, sizeof(query) - used, "%s(%u,?%u)", i ? "," : "", i, i + 1);
	snprintf(query + used, sizeof(query) - used,
		 ") SELECT wanted.i, main_tree.v FROM wanted CROSS JOIN main_tree ON main_tree.k = wanted.k");
	return prepare(link, query, &link->statements[MULTI_GET]);
}

static int link_prepare(struct link *link, enum query query)
{
	if (link->statements[query])
		return 0;
	if (query == MULTI_GET)
		return prepare_multi_get(link);
	return prepare(link, queries[query], &link->statements[query]);
}

static int sqlite_close(void *handle)
{
	struct sqlite *sqlite = handle;

	link_release(&sqlite->writer, sqlite->tree_count);
	pthread_mutex_destroy(&sqlite->mutex);
	free(sqlite);
	return 0;
}

static int sqlite_open(const struct store_setup *setup, void **handle)
{
	struct sqlite *sqlite = calloc(1, sizeof(*sqlite));
	int result = 0;

	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* refused after the first connection */
	pthread_mutex_init(&sqlite->mutex, NULL);
	sqlite->setup = *setup;
	snprintf(sqlite->path, sizeof(sqlite->path), "%s/db", setup->directory);
	result = link_open(&sqlite->writer, sqlite, store_cache_bytes(&store_sqlite, setup) / 2);
	if (result == 0)
		result = make_table(&sqlite->writer, "main_tree", setup->entry_bytes);
	if (result)
		sqlite_close(sqlite);
	else
		*handle = sqlite;
	return result;
}

static void sqlite_detach(void *session)
{
	struct sqlite_session *own = session;

	link_release(&own->reader, own->sqlite->tree_count);
	free(own->values);
	free(own);
}

static int sqlite_attach(void *handle, void **session)
{
	struct sqlite_session *own = calloc(1, sizeof(*own));
	const struct store_setup *setup = NULL;
	int result = 0;

	own->sqlite = handle;
	setup = &own->sqlite->setup;
	own->values = malloc(setup->value_bytes * BENCH_BATCH + 1);
	result = link_open(&own->reader, own->sqlite, store_cache_bytes(&store_sqlite, setup) / 2 / setup->threads);
	if (result)
		sqlite_detach(own);
	else
		*session = own;
	return result;
}

/* Runs a statement that gives no row, or one whose row nobody wants. */
static int run(struct link *link, sqlite3_stmt *statement)
{
	int result = sqlite3_step(statement);

	sqlite3_reset(statement);
	return result == SQLITE_DONE || result == SQLITE_ROW ? 0 : fail(link, result);
}

static int run_query(struct link *link, enum query query)
{
	int result = link_prepare(link, query);

	return result ? result : run(link, link->statements[query]);
}

static void leave(struct sqlite_session *own)
{
	if (own->link == &own->sqlite->writer)
		pthread_mutex_unlock(&own->sqlite->mutex);
	own->link = NULL;
}

static int sqlite_begin(void *session, enum store_txn kind)
{
	bool write = store_writes(kind);
	struct sqlite_session *own = session;
	int result = 0;

	if (write)
		pthread_mutex_lock(&own->sqlite->mutex);
	own->link = write ? &own->sqlite->writer : &own->reader;
	own->single = kind == STORE_READ_SINGLE || kind == STORE_WRITE_SINGLE;
	if (!own->single)
		result = run_query(own->link, write ? BEGIN_WRITE : BEGIN_READ);
	if (result)
		leave(own);
	return result;
}

static int sqlite_commit(void *session)
{
	struct sqlite_session *own = session;
	int result = own->single ? 0 : run_query(own->link, COMMIT);

	leave(own);
	return result;
}

static void sqlite_end(void *session)
{
	struct sqlite_session *own = session;

	if (own->link->statements[GET])
		sqlite3_reset(own->link->statements[GET]);
	if (!own->single)
		(void)run_query(own->link, own->link == &own->reader ? COMMIT : ROLLBACK);
	leave(own);
}

static int bind(sqlite3_stmt *statement, int at, struct bytes from)
{
	return sqlite3_bind_blob64(statement, at, from.data, from.size, SQLITE_STATIC);
}

static int put_by(struct link *link, sqlite3_stmt *statement, struct bytes key, struct bytes value)
{
	if (bind(statement, 1, key) || bind(statement, 2, value))
		return fail(link, SQLITE_ERROR);
	return run(link, statement);
}

/* The statement that puts into the tree. */
static void put_query(const struct store_setup *setup, const char *tree, char *query, size_t size)
{
	if (setup->entry_bytes <= SMALL_ROW_BYTES)
		snprintf(query, size, REPLACE, tree);
	else
		snprintf(query, size, UPSERT, tree);
}

static int prepare_put(struct sqlite_session *own)
{
	char query[256] = "";

	if (own->link->statements[PUT])
		return 0;
	put_query(&own->sqlite->setup, "main_tree", query, sizeof(query));
	return prepare(own->link, query, &own->link->statements[PUT]);
}

static int sqlite_put(void *session, struct bytes key, struct bytes value)
{
	struct sqlite_session *own = session;
	int result = prepare_put(own);

	return result ? result : put_by(own->link, own->link->statements[PUT], key, value);
}

static int sqlite_del(void *session, struct bytes key)
{
	struct sqlite_session *own = session;
	int result = link_prepare(own->link, DEL);

	if (result)
		return result;
	(void)bind(own->link->statements[DEL], 1, key);
	return run(own->link, own->link->statements[DEL]);
}

static struct bytes column(sqlite3_stmt *statement, int at)
{
	const void *data = sqlite3_column_blob(statement, at);

	return (struct bytes){ .data = data, .size = (size_t)sqlite3_column_bytes(statement, at) };
}

/* The value lives until the statement is reset, at the next get. */
static int get_by(struct link *link, sqlite3_stmt *statement, struct bytes key, struct bytes *value)
{
	int result = 0;

	sqlite3_reset(statement);
	(void)bind(statement, 1, key);
	result = sqlite3_step(statement);
	if (result == SQLITE_ROW)
		*value = column(statement, 0);
	else
		sqlite3_reset(statement);
	if (result == SQLITE_DONE)
		return BENCH_MISSING;
	return result == SQLITE_ROW ? 0 : fail(link, result);
}

static int sqlite_get(void *session, struct bytes key, struct bytes *value)
{
	struct sqlite_session *own = session;
	int result = link_prepare(own->link, GET);

	return result ? result : get_by(own->link, own->link->statements[GET], key, value);
}

static int sqlite_multi_get(void *session, const struct bytes *keys, size_t count, struct bytes *values)
{
	struct sqlite_session *own = session;
	sqlite3_stmt *statement = NULL;
	size_t room = own->sqlite->setup.value_bytes, seen = 0, i = 0;
	int result = link_prepare(own->link, MULTI_GET);

	if (result)
		return result;
	statement = own->link->statements[MULTI_GET];
	for (i = 0; i < BENCH_BATCH; i++)
		(void)bind(statement, (int)i + 1, keys[i < count ? i : 0]);
	while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
		struct bytes found = column(statement, 1);

		i = (size_t)sqlite3_column_int(statement, 0);
		if (i >= count || found.size > room)
			continue;
		values[i].data = memcpy(own->values + i * room, found.data, found.size);
		values[i].size = found.size;
		seen++;
	}
	sqlite3_reset(statement);
	if (result != SQLITE_DONE)
		return fail(own->link, result);
	return seen == count ? 0 : BENCH_MISSING;
}

static int sqlite_cursor_open(void *session, size_t entries)
{
	struct sqlite_session *own = session;

	(void)entries;
	own->scan = FORWARD;
	return 0;
}

static int sqlite_move(void *session, enum store_move move, struct bytes *key, struct bytes *value)
{
	static const enum query first[] = { [STORE_FIRST] = FORWARD, [STORE_LAST] = BACKWARD, [STORE_SEEK] = SEEK };
	struct sqlite_session *own = session;
	sqlite3_stmt *statement = NULL;
	int result = 0;

	if (move == STORE_FIRST || move == STORE_LAST || move == STORE_SEEK) {
		if (own->link->statements[own->scan])
			sqlite3_reset(own->link->statements[own->scan]);
		own->scan = first[move];
		result = link_prepare(own->link, own->scan);
		if (result)
			return result;
		if (move == STORE_SEEK)
			(void)bind(own->link->statements[SEEK], 1, *key);
	}
	statement = own->link->statements[own->scan];
	result = sqlite3_step(statement);
	if (result == SQLITE_DONE)
		return BENCH_MISSING;
	if (result != SQLITE_ROW)
		return fail(own->link, result);
	*key = column(statement, 0);
	*value = column(statement, 1);
	return 0;
}

static void sqlite_cursor_close(void *session)
{
	struct sqlite_session *own = session;

	if (own->link->statements[own->scan])
		sqlite3_reset(own->link->statements[own->scan]);
}

static int sqlite_copy(void *handle, const char *directory)
{
	struct sqlite *sqlite = handle;
	struct link source = { 0 }, target = { 0 };
	sqlite3_backup *backup = NULL;
	char path[4096] = "";
	int result = link_open(&source, sqlite, COPY_CACHE_BYTES);

	snprintf(path, sizeof(path), "%s/db", directory);
	if (result == 0 && sqlite3_open(path, &target.db) != SQLITE_OK)
		result = fail(&target, SQLITE_CANTOPEN);
	if (result == 0) {
		backup = sqlite3_backup_init(target.db, "main", source.db, "main");
		if (!backup || sqlite3_backup_step(backup, -1) != SQLITE_DONE)
			result = fail(&target, sqlite3_errcode(target.db));
		sqlite3_backup_finish(backup);
	}
	link_release(&target, 0);
	link_release(&source, 0);
	return result;
}

static int sqlite_trees_make(void *handle, unsigned count)
{
	struct sqlite *sqlite = handle;
	char name[32] = "";
	unsigned i = 0;
	int result = run_query(&sqlite->writer, BEGIN_WRITE);

	for (i = 0; i < count && result == 0; i++) {
		snprintf(name, sizeof(name), "tree_%u", i);
		result = make_table(&sqlite->writer, name, sqlite->setup.entry_bytes);
	}
	sqlite->tree_count = count;
	return result ? result : run_query(&sqlite->writer, COMMIT);
}

/* The statement for one tree, prepared at first use. */
static sqlite3_stmt *tree_statement(struct sqlite_session *own, sqlite3_stmt ***list, bool put, unsigned tree)
{
	char query[256] = "", name[32] = "";

	if (!*list)
		*list = calloc(own->sqlite->tree_count, sizeof(**list));
	if (!(*list)[tree]) {
		snprintf(name, sizeof(name), "tree_%u", tree);
		if (put)
			put_query(&own->sqlite->setup, name, query, sizeof(query));
		else
			snprintf(query, sizeof(query), "SELECT v FROM %s WHERE k = ?1", name);
		if (prepare(own->link, query, &(*list)[tree]))
			return NULL;
	}
	return (*list)[tree];
}

static int sqlite_tree_put(void *session, unsigned tree, struct bytes key, struct bytes value)
{
	struct sqlite_session *own = session;
	sqlite3_stmt *statement = tree_statement(own, &own->link->tree_puts, true, tree);

	return statement ? put_by(own->link, statement, key, value) : -1;
}

static int sqlite_tree_get(void *session, unsigned tree, struct bytes key, struct bytes *value)
{
	struct sqlite_session *own = session;
	sqlite3_stmt *statement = tree_statement(own, &own->link->tree_gets, false, tree);

	return statement ? get_by(own->link, statement, key, value) : -1;
}

const struct store store_sqlite = {
	.name = "sqlite",
	.package = "libsqlite3-dev",
	.settings = "WAL, checkpoint at 64 MiB, WITHOUT ROWID and REPLACE for small rows, mmap of 2 GiB (the most it "
		    "allows; none where the data are more than half of the memory), page caches 50 % of memory, single operations without BEGIN, one writing connection under "
		    "a mutex; synchronous FULL when durable, else OFF",
	.key_bytes_max = 1000000000,
	.cache_percent = 50,
	.version = sqlite_version,
	.text = sqlite_text,
	.open = sqlite_open,
	.close = sqlite_close,
	.attach = sqlite_attach,
	.detach = sqlite_detach,
	.begin = sqlite_begin,
	.commit = sqlite_commit,
	.end = sqlite_end,
	.put = sqlite_put,
	.del = sqlite_del,
	.get = sqlite_get,
	.multi_get = sqlite_multi_get,
	.cursor_open = sqlite_cursor_open,
	.move = sqlite_move,
	.cursor_close = sqlite_cursor_close,
	.copy = sqlite_copy,
	.trees_make = sqlite_trees_make,
	.tree_put = sqlite_tree_put,
	.tree_get = sqlite_tree_get,
};
