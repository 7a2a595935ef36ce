/* SPDX-License-Identifier: MIT */
/*
 * RocksDB through its C interface, settings by its wiki ("Setup Options and Basic Tuning", "Compression", "Memory usage
 * in RocksDB"):
 *
 * - Background jobs as many as CPUs, 2 at least (increase_parallelism); level compaction with dynamic level sizes;
 *   bytes_per_sync 1 MiB; write buffer 64 MiB, the default.
 * - LZ4, and ZSTD for the bottommost level, is what the wiki recommends. For reads from memory the bottommost level is
 *   left with LZ4 too: decompressing ZSTD would make RocksDB slower, and space is not what those workloads are about.
 * - Table format 5, full Bloom filters of 10 bits a key. Where memory is short, index and filter blocks in the cache
 *   with those of level 0 pinned, and blocks of 16 KiB, which the wiki suggests to control and to save memory; else
 *   the defaults, index and filters in memory and blocks of 4 KiB, which are faster.
 * - A block cache of a third of the memory, as the wiki has it; the rest is page cache. Scans fill it, since what they
 *   read here is read again.
 * - durable: sync writes, and logs are used again (recycle_log_file_num), since else "every fsync will generate at least two
 *   I/Os" ("WAL Performance"). Not durable: manual_wal_flush, which the wiki ("WAL Performance") has for those who want to
 *   save the write at each commit; a thread calls FlushWAL every 50 ms. A transaction is a WriteBatch, applied atomically.
 * - Reading transactions take a snapshot; single reads do not, for a get and an iterator are consistent by themselves.
 *   Point reads use pinnable slices, many keys the batched MultiGet; scans an iterator, whose readahead grows by itself.
 *   Asynchronous reads (async_io) are not there: the C interface of this version cannot ask for them.
 * - settle: the whole range is compacted, which readers of a loaded database are advised to do.
 * - Hot copy: a checkpoint, whose hard links are then copied byte by byte and removed, since a link is no copy.
 * - Many trees: column families, with one write buffer budget for all.
 */
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "files.h"
#include "store.h"

#define WRITE_BUFFER_BYTES ((size_t)64 << 20)
#define LOGS_KEPT 4

extern const struct store store_rocksdb;

struct rocksdb {
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_cache_t *cache;
	rocksdb_writeoptions_t *write;
	rocksdb_column_family_handle_t **trees; /* the default column family, then the others */
	unsigned tree_count;
	pthread_t flusher;
	atomic_bool closing;
	bool flushing;
	char directory[2048];
};

struct rocksdb_session {
	struct rocksdb *rocksdb;
	rocksdb_writebatch_t *batch;
	rocksdb_readoptions_t *read;
	const rocksdb_snapshot_t *snapshot;
	rocksdb_iterator_t *iterator;
	rocksdb_pinnableslice_t *found[BENCH_BATCH];
	unsigned found_count;
};

static _Thread_local char failure[512];

/* Keeps the text of an error and frees it: 0 when there was none. */
static int judge(char *error)
{
	if (!error)
		return 0;
	snprintf(failure, sizeof(failure), "%s", error);
	rocksdb_free(error);
	return -1;
}

static const char *rocksdb_text(int result)
{
	(void)result;
	return failure;
}

/* The version that the build found: the header that has it is C++. */
static const char *rocksdb_version(void)
{
	return "RocksDB " ROCKSDB_VERSION;
}

static void set_table(struct rocksdb *rocksdb, const struct store_setup *setup)
{
	rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();

	rocksdb_block_based_options_set_block_cache(table, rocksdb->cache);
	rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10));
	rocksdb_block_based_options_set_format_version(table, 5);
	if (setup->data_bytes > setup->memory_bytes) {
		rocksdb_block_based_options_set_block_size(table, 16 << 10);
		rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
		rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
	}
	rocksdb_options_set_block_based_table_factory(rocksdb->options, table);
	rocksdb_block_based_options_destroy(table);
}

static void set_options(struct rocksdb *rocksdb, const struct store_setup *setup)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t buffer = setup->memory_bytes / 16;

	rocksdb->options = rocksdb_options_create();
	rocksdb_options_set_create_if_missing(rocksdb->options, 1);
	rocksdb_options_increase_parallelism(rocksdb->options, cpus > 2 ? (int)cpus : 2);
	rocksdb_options_set_level_compaction_dynamic_level_bytes(rocksdb->options, 1);
	rocksdb_options_set_bytes_per_sync(rocksdb->options, 1 << 20);
	rocksdb_options_set_compression(rocksdb->options, rocksdb_lz4_compression);
	if (setup->data_bytes > setup->memory_bytes)
		rocksdb_options_set_bottommost_compression(rocksdb->options, rocksdb_zstd_compression);
	rocksdb_options_set_write_buffer_size(rocksdb->options,
					      buffer < WRITE_BUFFER_BYTES ? buffer : WRITE_BUFFER_BYTES);
	if (setup->trees) {
		rocksdb_options_set_create_missing_column_families(rocksdb->options, 1);
		rocksdb_options_set_db_write_buffer_size(rocksdb->options, 4 * WRITE_BUFFER_BYTES);
	}
	rocksdb->cache = rocksdb_cache_create_lru(store_cache_bytes(&store_rocksdb, setup));
	rocksdb->write = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(rocksdb->write, setup->durable);
	rocksdb_options_set_manual_wal_flush(rocksdb->options, !setup->durable);
	if (setup->durable)
		rocksdb_options_set_recycle_log_file_num(rocksdb->options, LOGS_KEPT);
	set_table(rocksdb, setup);
}

static void *keep_flushing(void *context)
{
	struct rocksdb *rocksdb = context;
	char *error = NULL;

	while (!atomic_load(&rocksdb->closing)) {
		usleep(STORE_BUFFER_MS * 1000 / 2);
		rocksdb_flush_wal(rocksdb->db, false, &error);
		if (error)
			break; /* the next commit fails as well, and is heard */
	}
	rocksdb_free(error);
	return NULL;
}

static void rocksdb_release(struct rocksdb *rocksdb)
{
	while (rocksdb->tree_count)
		rocksdb_column_family_handle_destroy(rocksdb->trees[--rocksdb->tree_count]);
	free(rocksdb->trees);
	if (rocksdb->db)
		rocksdb_close(rocksdb->db);
	rocksdb_options_destroy(rocksdb->options);
	rocksdb_writeoptions_destroy(rocksdb->write);
	rocksdb_cache_destroy(rocksdb->cache);
	free(rocksdb);
}

/*
 * Opens with all column families by name, the default one first: the batched MultiGet wants it to be named, and making
 * the others one by one later takes much longer.
 */
static int open_families(struct rocksdb *rocksdb, const struct store_setup *setup)
{
	unsigned count = setup->trees + 1, i = 0;
	const char **names = calloc(count, sizeof(*names));
	const rocksdb_options_t **options = calloc(count, sizeof(*options));
	rocksdb_column_family_handle_t **handles = calloc(count, sizeof(*handles));
	char (*text)[32] = calloc(count, sizeof(*text)), *error = NULL;
	int result = 0;

	for (i = 0; i < count; i++) {
		snprintf(text[i], sizeof(text[i]), "tree-%u", i);
		names[i] = i ? text[i] : "default";
		options[i] = rocksdb->options;
	}
	rocksdb->db = rocksdb_open_column_families(rocksdb->options, setup->directory, (int)count, names, options,
						   handles, &error);
	result = judge(error);
	if (result == 0) {
		rocksdb->trees = handles;
		rocksdb->tree_count = count;
	} else {
		rocksdb->db = NULL;
		free(handles);
	}
	free(text);
	free(options);
	free(names);
	return result;
}

static int rocksdb_store_open(const struct store_setup *setup, void **handle)
{
	struct rocksdb *rocksdb = calloc(1, sizeof(*rocksdb));
	int result = 0;

	set_options(rocksdb, setup);
	snprintf(rocksdb->directory, sizeof(rocksdb->directory), "%s", setup->directory);
	result = open_families(rocksdb, setup);
	if (result == 0 && !setup->durable) {
		result = -pthread_create(&rocksdb->flusher, NULL, keep_flushing, rocksdb);
		rocksdb->flushing = result == 0;
	}
	if (result)
		rocksdb_release(rocksdb);
	else
		*handle = rocksdb;
	return result;
}

static int rocksdb_store_close(void *handle)
{
	struct rocksdb *rocksdb = handle;
	char *error = NULL;

	if (rocksdb->flushing) {
		atomic_store(&rocksdb->closing, true);
		pthread_join(rocksdb->flusher, NULL);
		rocksdb_flush_wal(rocksdb->db, false, &error);
	}
	rocksdb_release(rocksdb);
	return judge(error);
}

static int rocksdb_attach(void *handle, void **session)
{
	struct rocksdb_session *own = calloc(1, sizeof(*own));

	own->rocksdb = handle;
	own->batch = rocksdb_writebatch_create();
	own->read = rocksdb_readoptions_create();
	*session = own;
	return 0;
}

static void rocksdb_forget(struct rocksdb_session *own)
{
	while (own->found_count)
		rocksdb_pinnableslice_destroy(own->found[--own->found_count]);
}

static void rocksdb_detach(void *session)
{
	struct rocksdb_session *own = session;

	rocksdb_forget(own);
	rocksdb_writebatch_destroy(own->batch);
	rocksdb_readoptions_destroy(own->read);
	free(own);
}

static int rocksdb_begin(void *session, enum store_txn kind)
{
	struct rocksdb_session *own = session;

	if (kind == STORE_READ) {
		own->snapshot = rocksdb_create_snapshot(own->rocksdb->db);
		rocksdb_readoptions_set_snapshot(own->read, own->snapshot);
	}
	return 0;
}

static void rocksdb_end(void *session)
{
	struct rocksdb_session *own = session;

	rocksdb_forget(own);
	rocksdb_writebatch_clear(own->batch);
	if (own->snapshot)
		rocksdb_release_snapshot(own->rocksdb->db, own->snapshot);
	own->snapshot = NULL;
	rocksdb_readoptions_set_snapshot(own->read, NULL);
}

static int rocksdb_commit(void *session)
{
	struct rocksdb_session *own = session;
	char *error = NULL;

	rocksdb_write(own->rocksdb->db, own->rocksdb->write, own->batch, &error);
	rocksdb_writebatch_clear(own->batch);
	return judge(error);
}

static int rocksdb_store_put(void *session, struct bytes key, struct bytes value)
{
	struct rocksdb_session *own = session;

	rocksdb_writebatch_put(own->batch, key.data, key.size, value.data, value.size);
	return 0;
}

static int rocksdb_del(void *session, struct bytes key)
{
	struct rocksdb_session *own = session;

	rocksdb_writebatch_delete(own->batch, key.data, key.size);
	return 0;
}

static int get_from(struct rocksdb_session *own, rocksdb_column_family_handle_t *tree, struct bytes key,
		    struct bytes *value)
{
	rocksdb_pinnableslice_t *found = NULL;
	char *error = NULL;

	rocksdb_forget(own);
	found = rocksdb_get_pinned_cf(own->rocksdb->db, own->read, tree, key.data, key.size, &error);
	if (judge(error))
		return -1;
	if (!found)
		return BENCH_MISSING;
	own->found[own->found_count++] = found;
	value->data = rocksdb_pinnableslice_value(found, &value->size);
	return 0;
}

static int rocksdb_store_get(void *session, struct bytes key, struct bytes *value)
{
	struct rocksdb_session *own = session;

	return get_from(own, own->rocksdb->trees[0], key, value);
}

static int rocksdb_multi(void *session, const struct bytes *keys, size_t count, struct bytes *values)
{
	struct rocksdb_session *own = session;
	const char *wanted[BENCH_BATCH];
	size_t sizes[BENCH_BATCH], i = 0;
	rocksdb_pinnableslice_t *found[BENCH_BATCH];
	char *errors[BENCH_BATCH] = { 0 };
	int result = 0;

	if (count > BENCH_BATCH)
		return BENCH_MISSING;
	rocksdb_forget(own);
	for (i = 0; i < count; i++) {
		wanted[i] = keys[i].data;
		sizes[i] = keys[i].size;
	}
	rocksdb_batched_multi_get_cf(own->rocksdb->db, own->read, own->rocksdb->trees[0], count, wanted, sizes, found,
				     errors, false);
	for (i = 0; i < count; i++) {
		if (judge(errors[i]))
			result = -1;
		else if (!found[i] && result == 0)
			result = BENCH_MISSING;
		if (!found[i])
			continue;
		own->found[own->found_count++] = found[i];
		values[i].data = rocksdb_pinnableslice_value(found[i], &values[i].size);
	}
	return result;
}

static int rocksdb_cursor_open(void *session, size_t entries)
{
	struct rocksdb_session *own = session;

	(void)entries;
	own->iterator = rocksdb_create_iterator(own->rocksdb->db, own->read);
	return 0;
}

static int rocksdb_move(void *session, enum store_move move, struct bytes *key, struct bytes *value)
{
	struct rocksdb_session *own = session;
	char *error = NULL;

	if (move == STORE_FIRST)
		rocksdb_iter_seek_to_first(own->iterator);
	else if (move == STORE_LAST)
		rocksdb_iter_seek_to_last(own->iterator);
	else if (move == STORE_NEXT)
		rocksdb_iter_next(own->iterator);
	else if (move == STORE_PREV)
		rocksdb_iter_prev(own->iterator);
	else
		rocksdb_iter_seek(own->iterator, key->data, key->size);
	if (rocksdb_iter_valid(own->iterator)) {
		key->data = rocksdb_iter_key(own->iterator, &key->size);
		value->data = rocksdb_iter_value(own->iterator, &value->size);
		return 0;
	}
	rocksdb_iter_get_error(own->iterator, &error);
	return judge(error) ? -1 : BENCH_MISSING;
}

static void rocksdb_cursor_close(void *session)
{
	struct rocksdb_session *own = session;

	rocksdb_iter_destroy(own->iterator);
}

static int rocksdb_settle(void *handle)
{
	struct rocksdb *rocksdb = handle;

	rocksdb_compact_range(rocksdb->db, NULL, 0, NULL, 0);
	return 0;
}

static int rocksdb_copy(void *handle, const char *directory)
{
	struct rocksdb *rocksdb = handle;
	char links[2304] = "", *error = NULL;
	rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(rocksdb->db, &error);
	int result = judge(error);

	if (result)
		return result;
	snprintf(links, sizeof(links), "%s-links", rocksdb->directory);
	rocksdb_checkpoint_create(checkpoint, links, 0, &error);
	rocksdb_checkpoint_object_destroy(checkpoint);
	result = judge(error);
	if (result == 0 && files_copy_tree(links, directory)) {
		snprintf(failure, sizeof(failure), "copying the checkpoint failed");
		result = -1;
	}
	files_remove_tree(links);
	return result;
}

/* They were made when the database was opened. */
static int rocksdb_trees_make(void *handle, unsigned count)
{
	struct rocksdb *rocksdb = handle;

	return rocksdb->tree_count == count + 1 ? 0 : BENCH_MISSING;
}

static int rocksdb_tree_put(void *session, unsigned tree, struct bytes key, struct bytes value)
{
	struct rocksdb_session *own = session;

	rocksdb_writebatch_put_cf(own->batch, own->rocksdb->trees[tree + 1], key.data, key.size, value.data,
				  value.size);
	return 0;
}

static int rocksdb_tree_get(void *session, unsigned tree, struct bytes key, struct bytes *value)
{
	struct rocksdb_session *own = session;

	return get_from(own, own->rocksdb->trees[tree + 1], key, value);
}

const struct store store_rocksdb = {
	.name = "rocksdb",
	.package = "librocksdb-dev",
	.settings = "increase_parallelism, dynamic level sizes, LZ4 (ZSTD at the bottom when memory is short), full "
		    "Bloom filter 10 bits, block cache 33 % of memory, no snapshot for single reads; sync writes when "
		    "durable, with recycle_log_file_num 4, else manual_wal_flush every 50 ms",
	.key_bytes_max = SIZE_MAX,
	.cache_percent = 33,
	.version = rocksdb_version,
	.text = rocksdb_text,
	.open = rocksdb_store_open,
	.close = rocksdb_store_close,
	.attach = rocksdb_attach,
	.detach = rocksdb_detach,
	.begin = rocksdb_begin,
	.commit = rocksdb_commit,
	.end = rocksdb_end,
	.put = rocksdb_store_put,
	.del = rocksdb_del,
	.get = rocksdb_store_get,
	.multi_get = rocksdb_multi,
	.cursor_open = rocksdb_cursor_open,
	.move = rocksdb_move,
	.cursor_close = rocksdb_cursor_close,
	.settle = rocksdb_settle,
	.copy = rocksdb_copy,
	.trees_make = rocksdb_trees_make,
	.tree_put = rocksdb_tree_put,
	.tree_get = rocksdb_tree_get,
};
