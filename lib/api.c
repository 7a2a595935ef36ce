/* SPDX-License-Identifier: MIT */
/*
 * The public functions: check the handle and the arguments, then call the layer that does it. Contracts stand in
 * solifuge.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "cursor.h"
#include "db.h"
#include "error.h"
#include "probe.h"
#include "txn.h"

/* ---- Checks ------------------------------------------------------------------------------------------------------ */

static int bad_handle(const char *what)
{
	return error_set(SLF_EBADHANDLE, NULL, -1, OFFSET_NONE, "%s", what);
}

static int check_db(const struct slf_db *db)
{
	if (unlikely(!db))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "the database handle is NULL");
	if (unlikely(!db_alive(&db->core)))
		return bad_handle("the database handle was opened by a parent process");
	return 0;
}

static int check_txn(const struct slf_txn *txn)
{
	if (unlikely(!txn))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "the transaction handle is NULL");
	if (unlikely(!db_alive(txn->core)))
		return bad_handle("the transaction's database has been closed, or was opened by a parent process");
	if (unlikely(txn->state == TXN_ENDED))
		return bad_handle("the transaction has ended");
	if (unlikely(txn->state == TXN_WRITING && txn->doom)) /* its trees are in between: not to be read, either */
		return error_set(SLF_ECANCELLED, NULL, -1, OFFSET_NONE,
				 "the transaction was doomed by an earlier failure: %s: abort it", error_text(txn->doom));
	return 0;
}

static int taken_back(void)
{
	return error_set(SLF_ECANCELLED, NULL, -1, OFFSET_NONE,
			 "the transaction stands on a commit that was taken back: abort it");
}

static int check_write(const struct slf_txn *txn)
{
	int result = check_txn(txn);

	if (unlikely(result))
		return result;
	if (unlikely(txn->state != TXN_WRITING))
		return error_set(SLF_EREADONLY, NULL, -1, OFFSET_NONE, "a write in a read transaction");
	if (unlikely(atomic_load_explicit(&txn->core->commit.rollbacks, memory_order_relaxed) != txn->rollbacks))
		return taken_back();
	return 0;
}

static int check_key(struct slf_slice key)
{
	if (unlikely(key.size > KEY_BYTES_MAX))
		return error_set(SLF_ETOOBIG, NULL, -1, OFFSET_NONE, "a key of %zu bytes is longer than %d", key.size,
				 KEY_BYTES_MAX);
	if (unlikely(!key.data && key.size))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "a key with a size has no data");
	return 0;
}

static int check_user_tree(uint32_t tree)
{
	if (unlikely(tree < TREE_FIRST_USER))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "tree %u belongs to the system", tree);
	return 0;
}

/* A read of a tree of the user. */
static int check_read(const struct slf_txn *txn, uint32_t tree, struct slf_slice key)
{
	int result = check_txn(txn);

	if (likely(!result))
		result = check_user_tree(tree);
	return likely(!result) ? check_key(key) : result;
}

static void count(_Atomic uint64_t *counter, uint64_t amount)
{
	/* one thread at a time uses the handle, so a plain add of an atomic will do */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
			      memory_order_relaxed);
}

/* The newest visible commit; a slot is not needed for a number. */
static uint64_t visible_seq(struct core *core)
{
	return core->tuning.sync == SLF_SYNC_COMMIT ? atomic_load(&core->commit.durable_seq)
						    : atomic_load(&core->commit.visible_seq);
}

/* ---- Database ---------------------------------------------------------------------------------------------------- */

int slf_open(const char *path, const struct slf_options *options, struct slf_db **db)
{
	if (!path || !*path || !db)
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_open needs a path and a place for the handle");
	return db_open(path, options, db);
}

int slf_close(struct slf_db *db)
{
	int result;

	if (!db)
		return 0;
	result = check_db(db);
	return result ? result : db_close(db);
}

/* Everything so far. The failure of a commit that nobody has been told of is told here, once, and comes first: the other one is
 * met again by who asks again. */
static int sync_all(struct core *core, uint64_t *durable_seq)
{
	int result = commit_sync(&core->commit, durable_seq), untold = commit_untold(&core->commit);

	return untold ? untold : result;
}

int slf_checkpoint(struct slf_db *db)
{
	int result = check_db(db);

	if (!result && db->core.tuning.readonly)
		result = error_set(SLF_EREADONLY, NULL, -1, OFFSET_NONE, "a checkpoint of a read-only database");
	if (!result) /* a checkpoint is of what is durable */
		result = sync_all(&db->core, NULL);
	return result ? result : checkpoint_run(&db->core);
}

int slf_wait(struct slf_db *db, uint64_t seq, int64_t timeout_ns)
{
	int result = check_db(db);

	if (!result && db->core.tuning.readonly && seq > visible_seq(&db->core))
		return error_set(SLF_ENOTRETAINED, NULL, -1, OFFSET_NONE,
				 "a read-only handle knows of commits up to %llu, the newest when it was opened; %llu is later",
				 (unsigned long long)visible_seq(&db->core), (unsigned long long)seq);
	if (!result)
		result = commit_wait(&db->core.commit, seq, timeout_ns);
	return result == -ETIMEDOUT ? error_set(-ETIMEDOUT, NULL, -1, OFFSET_NONE, "commit %llu is not durable yet",
						(unsigned long long)seq) : result;
}

int slf_sync(struct slf_db *db, uint64_t *durable_seq)
{
	int result = check_db(db);
	uint64_t seq;

	if (!result)
		result = sync_all(&db->core, &seq);
	if (!result && durable_seq)
		*durable_seq = seq;
	return result;
}

int slf_eventfd(struct slf_db *db)
{
	struct commit *commit;
	int result = check_db(db);

	if (result)
		return result;
	commit = &db->core.commit;
	pthread_mutex_lock(&commit->lock);
	if (commit->eventfd < 0) {
		result = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		commit->eventfd = result < 0 ? -errno : descriptor_raise(result);
	}
	result = commit->eventfd;
	pthread_mutex_unlock(&commit->lock);
	return result < 0 ? error_set(result, NULL, -1, OFFSET_NONE, "no eventfd: %s", error_text(result)) : result;
}

int slf_info(struct slf_db *db, struct slf_info *info)
{
	struct slf_info own = { .size = sizeof(own) };
	struct core *core;
	int result = check_db(db);

	if (result)
		return result;
	if (!info || info->size < offsetof(struct slf_info, format))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_info.size is not set");
	core = &db->core;
	memcpy(own.uuid, core->store.uuid, sizeof(own.uuid));
	own.format = core->meta.version;
	own.spindle_count = core->store.spindle_count;
	own.created_ns = core->meta.created_ns;
	own.seq = visible_seq(core);
	own.durable_seq = atomic_load(&core->commit.durable_seq);
	own.checkpoint_seq = atomic_load(&core->checkpoint.seq);
	own.generation = u64_max(core->meta.generation, atomic_load(&core->checkpoint.generation));
	for (unsigned i = 0; i < core->store.spindle_count; i++) {
		struct io_info file;

		result = io_info(core->store.spindles[i].file, &file);
		if (result)
			return error_set(result, core->store.spindles[i].path, (int)i, OFFSET_NONE, "cannot be looked at: %s",
					 error_text(result));
		own.file_bytes += file.size;
		own.allocated_bytes += file.allocated_bytes;
	}
	own.leaf_bytes = core->store.settings.leaf_bytes;
	own.branch_bytes = core->store.settings.branch_bytes;
	own.inline_bytes = core->store.settings.inline_bytes;
	own.clean = core->meta.flags & META_FLAG_CLEAN;
	own.damaged = core->damage != NULL;
	own.cut = core->cut;
	snprintf(own.io, sizeof(own.io), "%s", io_name(core->io));
	snprintf(own.map, sizeof(own.map), "%s", core->tuning.map ? "map" : "pread");
	own.size = info->size < sizeof(own) ? info->size : sizeof(own);
	memcpy(info, &own, own.size);
	return 0;
}

int slf_spindle_path(struct slf_db *db, unsigned index, char *buffer, size_t size)
{
	int result = check_db(db);

	if (result)
		return result;
	if (index >= db->core.store.spindle_count)
		return error_set(-EINVAL, db->core.store.spindles[0].path, -1, OFFSET_NONE, "there is no spindle %u", index);
	if (!buffer && size)
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_spindle_path needs a buffer");
	return snprintf(buffer, size, "%s", db->core.store.spindles[index].path);
}

/* ---- Statistics -------------------------------------------------------------------------------------------------- */

struct reader_sums {
	struct slf_stats *stats;
	uint64_t oldest;
};

static void sum_reader(void *context, struct reader *reader)
{
	struct reader_sums *sums = context;
	struct slf_txn *txn = atomic_load_explicit(&reader->context, memory_order_acquire);
	uint64_t epoch = atomic_load(&reader->epoch);

	if (!txn)
		return;
	sums->stats->txn_reads += atomic_load_explicit(&txn->reads, memory_order_relaxed);
	sums->stats->ops_get += atomic_load_explicit(&txn->gets, memory_order_relaxed);
	sums->stats->ops_put += atomic_load_explicit(&txn->puts, memory_order_relaxed);
	sums->stats->ops_del += atomic_load_explicit(&txn->dels, memory_order_relaxed);
	sums->stats->ops_cursor += atomic_load_explicit(&txn->moves, memory_order_relaxed);
	if (epoch == READER_IDLE)
		return;
	sums->stats->readers++;
	sums->oldest = u64_min(sums->oldest, atomic_load_explicit(&txn->read_seq, memory_order_relaxed));
}

int slf_stats(struct slf_db *db, struct slf_stats *stats)
{
	struct slf_stats own = { .size = sizeof(own) };
	struct reader_sums sums = { .stats = &own, .oldest = UINT64_MAX };
	struct core *core;
	int result = check_db(db);

	if (result)
		return result;
	if (!stats || stats->size < sizeof(size_t))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_stats.size is not set");
	core = &db->core;
	stats_copy(&core->stats, &own);
	readers_each(&core->versions.readers, sum_reader, &sums);
	own.seq = visible_seq(core);
	own.oldest_reader_seq = own.readers ? sums.oldest : own.seq;
	own.durable_seq = atomic_load(&core->commit.durable_seq);
	own.checkpoint_seq = atomic_load(&core->checkpoint.seq);
	own.heap_bytes = heap_used(core->heap);
	own.heap_held_bytes = heap_held(core->heap);
	own.heap_limit_bytes = core->tuning.heap_bytes; /* of live blocks: three quarters of the option */
	pthread_mutex_lock(&core->commit.lock);
	own.log_live_bytes = core->commit.settled_place.bytes.slabs - core->log.mark_bytes.slabs;
	pthread_mutex_unlock(&core->commit.lock);
	own.size = stats->size < sizeof(own) ? stats->size : sizeof(own);
	memcpy(stats, &own, own.size);
	return 0;
}

int slf_stats_format(const struct slf_stats *stats, int format, char *buffer, size_t size)
{
	int length = stats ? stats_format(stats, format, buffer, size) : -EINVAL;

	if (length < 0)
		return error_set(length, NULL, -1, OFFSET_NONE,
				 "slf_stats_format needs statistics, SLF_TEXT or SLF_JSON, and a buffer where there is a size");
	return length;
}

int slf_errinfo(struct slf_errinfo *info)
{
	if (!info || info->size < sizeof(size_t))
		return -EINVAL;
	error_get(info);
	return 0;
}

const char *slf_strerror(int code)
{
	return error_text(code);
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *slf_version(void)
{
	return TEXT(SLF_VERSION_MAJOR) "." TEXT(SLF_VERSION_MINOR) "." TEXT(SLF_VERSION_PATCH);
}

/* ---- Transactions ------------------------------------------------------------------------------------------------ */

/* Ends a handle; the last of a closed database frees it. */
static void end_txn(struct slf_txn *txn)
{
	struct slf_db *db = txn->db;

	while (txn->cursors)
		cursor_detach(txn->cursors);
	if (!txn_recycle(txn))
		db_unreference(db);
}

static int begin_write(struct slf_txn *txn, unsigned flags, int64_t timeout_ns)
{
	int result = txn_begin_write(txn, flags & SLF_TRY ? 0 : timeout_ns);

	return result == -EBUSY && !(flags & SLF_TRY) ? -ETIMEDOUT : result;
}

static int tell_busy(int error)
{
	return error_set(error, NULL, -1, OFFSET_NONE, "another transaction is writing, or writers are held back until a "
			 "checkpoint has made room");
}

int slf_begin_timeout(struct slf_db *db, unsigned flags, int64_t timeout_ns, struct slf_txn **result)
{
	struct slf_txn *txn = NULL;
	int error = check_db(db);

	if (unlikely(error))
		return error;
	if (unlikely(!result || (flags & ~(SLF_WRITE | SLF_TRY | SLF_DURABLE)) ||
		     ((flags & SLF_WRITE) && (flags & SLF_DURABLE))))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_begin: unknown or contradicting flags");
	if (unlikely((flags & SLF_WRITE) && db->core.tuning.readonly))
		return error_set(SLF_EREADONLY, db->core.store.spindles[0].path, -1, OFFSET_NONE, "opened read-only");
	error = txn_new(&db->core, db, &txn);
	if (unlikely(error))
		return error;
	if (flags & SLF_WRITE)
		error = begin_write(txn, flags, timeout_ns);
	else
		error = txn_begin_read(txn, flags & SLF_DURABLE);
	if (unlikely(error)) {
		end_txn(txn);
		return error == -EBUSY || error == -ETIMEDOUT ? tell_busy(error) : error;
	}
	*result = txn;
	return 0;
}

int slf_begin(struct slf_db *db, unsigned flags, struct slf_txn **txn)
{
	return slf_begin_timeout(db, flags, -1, txn);
}

int slf_begin_at(struct slf_db *db, uint64_t seq, struct slf_txn **result)
{
	struct slf_txn *txn;
	uint64_t found;
	int error = slf_begin(db, SLF_READ, result ? &txn : NULL); /* which says what is wrong with that */

	if (error)
		return error;
	found = txn->version->seq;
	if (found == seq) {
		*result = txn;
		return 0;
	}
	slf_abort(txn);
	return error_set(SLF_ENOTRETAINED, db->core.store.spindles[0].path, -1, OFFSET_NONE,
			 "the version of commit %llu is not kept; the newest is that of %llu", (unsigned long long)seq,
			 (unsigned long long)found);
}

static int commit_txn(struct slf_txn *txn, bool async, uint64_t *seq)
{
	uint64_t own = 0;
	int result = check_txn(txn);

	if (result) {
		slf_abort(txn);
		return result;
	}
	if (txn->state == TXN_READING) {
		own = txn->version->seq;
	} else {
		while (txn->cursors)
			cursor_detach(txn->cursors);
		if (atomic_load(&txn->core->commit.rollbacks) != txn->rollbacks)
			txn->doom = taken_back();
		result = txn_commit(txn, async, &own);
	}
	end_txn(txn);
	if (!result && seq)
		*seq = own;
	return result;
}

int slf_commit(struct slf_txn *txn, uint64_t *seq)
{
	return commit_txn(txn, false, seq);
}

int slf_commit_async(struct slf_txn *txn, uint64_t *seq)
{
	return commit_txn(txn, true, seq);
}

void slf_abort(struct slf_txn *txn)
{
	bool orphaned, writes;

	if (!txn || reader_is_free(txn->reader)) /* it has ended before */
		return;
	orphaned = atomic_load(&txn->reader->state) == READER_ORPHAN;
	if (!db_alive(txn->core) && !orphaned)
		return; /* a forked child: everything here belongs to the parent */
	writes = txn->state == TXN_WRITING;
	if (!orphaned)
		txn_abort(txn);
	if (!orphaned && writes)
		checkpoint_alone(txn->core);
	end_txn(txn);
}

uint64_t slf_txn_seq(const struct slf_txn *txn)
{
	return check_txn(txn) ? 0 : txn->version->seq;
}

int slf_txn_blob(struct slf_txn *txn, struct slf_slice blob)
{
	int result = check_write(txn);

	if (result)
		return result;
	if (blob.size > BLOB_BYTES_MAX)
		return error_set(SLF_ETOOBIG, NULL, -1, OFFSET_NONE, "a blob of %zu bytes is longer than %d", blob.size,
				 BLOB_BYTES_MAX);
	if (!blob.data && blob.size)
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "a blob with a size has no data");
	if (!txn->blob)
		txn->blob = malloc(BLOB_BYTES_MAX);
	if (!txn->blob)
		return -ENOMEM;
	if (blob.size)
		memcpy(txn->blob, blob.data, blob.size);
	txn->blob_bytes = blob.size;
	return 0;
}

int slf_txn_trim(struct slf_txn *txn)
{
	int result = check_txn(txn);

	for (struct slf_cursor *cursor = result ? NULL : txn->cursors; cursor && !result; cursor = cursor->next)
		result = cursor_settle(cursor);
	if (!result)
		arena_reset(&txn->arena);
	return result;
}

/* ---- Trees ------------------------------------------------------------------------------------------------------- */

#define NAME_BYTES_MAX 255

static int create_tree(struct slf_txn *txn, struct slf_slice name, uint32_t *tree)
{
	uint8_t value[NAME_VALUE_BYTES] = { 0 };
	uint32_t id = txn->next_tree;
	int result = check_write(txn);

	if (result)
		return result;
	if (id == UINT32_MAX)
		return error_set(SLF_ETOOBIG, NULL, -1, OFFSET_NONE, "no tree ids are left");
	put_u32(value, id);
	result = txn_put(txn, TREE_NAMES, name, slice(value, sizeof(value)));
	if (result)
		return result;
	txn->next_tree = id + 1;
	tree_ids_give(&txn->core->tree_ids, id);
	*tree = id;
	return 0;
}

/* A record of the names tree. A key that is no name would come again and again, for as a string it is before itself. */
static int name_decode(const struct slf_txn *txn, struct slf_slice name, struct slf_slice value, uint32_t *tree)
{
	const char *path = txn->core->store.spindles[0].path;
	uint32_t flags;

	if (!name.size || name.size > NAME_BYTES_MAX || memchr(name.data, 0, name.size))
		return error_set(SLF_ECORRUPT, path, 0, OFFSET_NONE, "a key of %zu bytes among the names of trees is none",
				 name.size);
	if (value.size != NAME_VALUE_BYTES)
		return error_set(SLF_ECORRUPT, path, 0, OFFSET_NONE, "the name of tree '%.*s' has %zu bytes, not %d",
				 (int)name.size, (const char *)name.data, value.size, NAME_VALUE_BYTES);
	flags = get_u32((const uint8_t *)value.data + 4);
	if (flags)
		return error_set(SLF_EINCOMPATIBLE, path, 0, OFFSET_NONE,
				 "tree '%.*s' has flags 0x%x, which this version does not know: use a newer library",
				 (int)name.size, (const char *)name.data, flags);
	*tree = get_u32(value.data);
	return 0;
}

int slf_tree_open(struct slf_txn *txn, const char *name, unsigned flags, uint32_t *tree)
{
	struct slf_slice key, value;
	int result = check_txn(txn);

	if (result)
		return result;
	if (!name || !*name || !tree || (flags & ~SLF_CREATE))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_tree_open: no name, or an unknown flag");
	key = slice(name, strlen(name));
	if (key.size > NAME_BYTES_MAX)
		return error_set(SLF_ETOOBIG, NULL, -1, OFFSET_NONE, "the name of a tree is longer than 255 bytes");
	result = txn_get(txn, TREE_NAMES, key, &value);
	if (result == SLF_NOTFOUND && (flags & SLF_CREATE))
		return create_tree(txn, key, tree);
	return result ? result : name_decode(txn, key, value, tree);
}

int slf_tree_next(struct slf_txn *txn, char *buffer, size_t size, uint32_t *tree)
{
	struct slf_range range = { .flags = SLF_LOWER | SLF_LOWER_EXCLUSIVE | SLF_TRANSIENT };
	struct slf_slice key, value;
	struct slf_cursor *cursor;
	uint32_t id = 0;
	int result = check_txn(txn);

	if (result)
		return result;
	if (!buffer || size < NAME_BYTES_MAX + 1 || !tree)
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_tree_next needs a buffer of 256 bytes");
	range.low = slice(buffer, strnlen(buffer, size));
	result = cursor_open(txn, TREE_NAMES, &range, &cursor);
	if (result)
		return result;
	result = cursor_next(cursor, &key, &value);
	if (!result)
		result = name_decode(txn, key, value, &id);
	if (!result) {
		memcpy(buffer, key.data, key.size);
		buffer[key.size] = 0;
		*tree = id;
	}
	cursor_close(cursor);
	return result;
}

int slf_tree_stat(struct slf_txn *txn, uint32_t id, struct slf_tree_stat *stat)
{
	struct slf_tree_stat own = { 0 };
	struct txn_tree *tree = NULL;
	int result = check_txn(txn);

	if (!result)
		result = check_user_tree(id);
	if (!result && (!stat || stat->size < sizeof(size_t)))
		result = error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_tree_stat needs a struct with its size set");
	if (!result)
		result = txn_tree(txn, id, &tree);
	if (result)
		return result;
	own.size = stat->size < sizeof(own) ? stat->size : sizeof(own);
	own.entries = tree->root.count;
	own.height = tree->root.height;
	memcpy(stat, &own, own.size);
	return 0;
}

/* ---- Data -------------------------------------------------------------------------------------------------------- */

int slf_get(struct slf_txn *txn, uint32_t tree, struct slf_slice key, struct slf_slice *value)
{
	int result = check_read(txn, tree, key);

	if (unlikely(result))
		return result;
	count(&txn->gets, 1);
	return txn_get(txn, tree, key, value);
}

struct multi {
	struct slf_txn *txn;
	struct slf_slice *values;
	int *results;
	int first; /* failure */
};

static int multi_each(void *context, size_t index, int result, const struct found *found)
{
	struct multi *multi = context;

	if (result == 0 && multi->values)
		result = txn_value(multi->txn, found, txn_arena_alloc, multi->txn, &multi->values[index]);
	multi->results[index] = result;
	if (result < 0 && !multi->first)
		multi->first = result;
	return 0;
}

int slf_multi_get(struct slf_txn *txn, uint32_t id, const struct slf_slice *keys, size_t number,
		  struct slf_slice *values, int *results)
{
	struct multi multi = { .txn = txn, .values = values, .results = results };
	struct txn_tree *tree = NULL;
	int result = check_txn(txn);

	if (!result)
		result = check_user_tree(id);
	if (!result && number && (!keys || !results))
		result = error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_multi_get needs keys and results");
	for (size_t i = 0; i < number && !result; i++)
		result = check_key(keys[i]);
	if (!result)
		result = txn_tree(txn, id, &tree);
	for (size_t i = 0; i < number && results && result; i++)
		results[i] = result;
	if (result)
		return result;
	count(&txn->gets, number);
	probe_run(&txn->core->store, id, &tree->root, keys, number, values != NULL, multi_each, &multi);
	return multi.first;
}

int slf_put(struct slf_txn *txn, uint32_t tree, struct slf_slice key, struct slf_slice value)
{
	int result = check_write(txn);

	if (likely(!result))
		result = check_user_tree(tree);
	if (likely(!result))
		result = check_key(key);
	if (unlikely(result))
		return result;
	if (unlikely(value.size > VALUE_BYTES_MAX))
		return error_set(SLF_ETOOBIG, NULL, -1, OFFSET_NONE, "a value of %zu bytes is longer than %llu", value.size,
				 (unsigned long long)VALUE_BYTES_MAX);
	if (unlikely(value.size + key.size + VALUE_HEADER_BYTES > UINT32_MAX))
		return error_set(SLF_ETOOBIG, NULL, -1, OFFSET_NONE, "key and value together are longer than 4 GiB");
	if (unlikely(!value.data && value.size))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "a value with a size has no data");
	count(&txn->puts, 1);
	return txn_put(txn, tree, key, value);
}

int slf_del(struct slf_txn *txn, uint32_t tree, struct slf_slice key)
{
	int result = check_write(txn);

	if (!result)
		result = check_user_tree(tree);
	if (!result)
		result = check_key(key);
	if (result)
		return result;
	count(&txn->dels, 1);
	return txn_del(txn, tree, key);
}

/* ---- Cursors ----------------------------------------------------------------------------------------------------- */

int slf_cursor_open(struct slf_txn *txn, uint32_t tree, const struct slf_range *range, struct slf_cursor **cursor)
{
	int result = check_txn(txn);

	if (!result)
		result = check_user_tree(tree);
	if (!result && !cursor)
		result = error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_cursor_open needs a place for the handle");
	return result ? result : cursor_open(txn, tree, range, cursor);
}

static int check_cursor(const struct slf_cursor *cursor)
{
	if (unlikely(!cursor))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "the cursor handle is NULL");
	if (unlikely(!cursor->txn))
		return bad_handle("the cursor's transaction has ended");
	return check_txn(cursor->txn);
}

int slf_cursor_next(struct slf_cursor *cursor, struct slf_slice *key, struct slf_slice *value)
{
	int result = check_cursor(cursor);

	if (unlikely(result))
		return result;
	count(&cursor->txn->moves, 1);
	return cursor_next(cursor, key, value);
}

int slf_cursor_prev(struct slf_cursor *cursor, struct slf_slice *key, struct slf_slice *value)
{
	int result = check_cursor(cursor);

	if (unlikely(result))
		return result;
	count(&cursor->txn->moves, 1);
	return cursor_prev(cursor, key, value);
}

int slf_cursor_seek(struct slf_cursor *cursor, struct slf_slice key)
{
	int result = check_cursor(cursor);

	if (!result)
		result = check_key(key);
	return result ? result : cursor_seek(cursor, key);
}

void slf_cursor_close(struct slf_cursor *cursor)
{
	if (cursor)
		cursor_close(cursor);
}
