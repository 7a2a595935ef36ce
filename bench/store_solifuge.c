/* SPDX-License-Identifier: MIT */
/*
 * Solifuge with its default options: budgets, node sizes, compression and checksums as a user gets them. Only the sync
 * mode follows the workload: SLF_SYNC_COMMIT when commits have to be durable, else SLF_SYNC_NONE.
 */
#include <stdio.h>

#include "solifuge.h"
#include "store.h"

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

static int solifuge_open(const char *directory, bool durable, uint64_t data_bytes, void **handle)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	char path[4096] = "";
	int result = 0;

	(void)data_bytes; /* there is no size to set in advance */
	snprintf(path, sizeof(path), "%s/db", directory);
	options.flags = SLF_CREATE;
	options.sync = durable ? SLF_SYNC_COMMIT : SLF_SYNC_NONE;
	result = slf_open(path, &options, &db);
	if (result == 0)
		*handle = db;
	return result;
}

static int solifuge_close(void *handle)
{
	return slf_close(handle);
}

static int solifuge_begin(void *handle, unsigned flags, void **txn)
{
	struct slf_txn *begun = NULL;
	int result = slf_begin(handle, flags, &begun);

	if (result == 0)
		*txn = begun;
	return result;
}

static int solifuge_write_begin(void *handle, void **txn)
{
	return solifuge_begin(handle, SLF_WRITE, txn);
}

static int solifuge_put(void *txn, struct bytes key, struct bytes value)
{
	return slf_put(txn, SLF_MAIN, slice(key), slice(value));
}

static int solifuge_commit(void *txn)
{
	return slf_commit(txn, NULL);
}

static int solifuge_read_begin(void *handle, void **txn)
{
	return solifuge_begin(handle, SLF_READ, txn);
}

static int solifuge_get(void *txn, struct bytes key, struct bytes *value)
{
	struct slf_slice found = { 0 };
	int result = slf_get(txn, SLF_MAIN, slice(key), &found);

	if (result == SLF_NOTFOUND)
		return BENCH_MISSING;
	if (result == 0)
		*value = (struct bytes){ .data = found.data, .size = found.size };
	return result;
}

static int solifuge_multi_get(void *txn, const struct bytes *keys, size_t count, struct bytes *values)
{
	struct slf_slice wanted[BENCH_BATCH] = { 0 }, found[BENCH_BATCH];
	int results[BENCH_BATCH], result = 0;
	size_t i = 0;

	if (count == 0 || count > BENCH_BATCH)
		return BENCH_MISSING;
	for (i = 0; i < count; i++)
		wanted[i] = slice(keys[i]);
	result = slf_multi_get(txn, SLF_MAIN, wanted, count, found, results);
	for (i = 0; i < count && result == 0; i++) {
		result = results[i] ? BENCH_MISSING : 0;
		values[i] = (struct bytes){ .data = found[i].data, .size = found[i].size };
	}
	return result;
}

static int solifuge_scan(void *txn, scan_fn *found, void *context)
{
	struct slf_range range = { .flags = SLF_TRANSIENT }; /* what the manual recommends for long scans */
	struct slf_slice key = { 0 }, value = { 0 };
	struct slf_cursor *cursor = NULL;
	int result = slf_cursor_open(txn, SLF_MAIN, &range, &cursor);

	if (result)
		return result;
	while ((result = slf_cursor_next(cursor, &key, &value)) == 0)
		found(context, (struct bytes){ key.data, key.size }, (struct bytes){ value.data, value.size });
	slf_cursor_close(cursor);
	return result == SLF_END ? 0 : result;
}

static void solifuge_read_end(void *txn)
{
	slf_abort(txn);
}

const struct store store_solifuge = {
	.name = "solifuge",
	.settings = "default options; SLF_SYNC_COMMIT when durable, else SLF_SYNC_NONE",
	.version = slf_version,
	.text = solifuge_text,
	.open = solifuge_open,
	.close = solifuge_close,
	.write_begin = solifuge_write_begin,
	.put = solifuge_put,
	.commit = solifuge_commit,
	.read_begin = solifuge_read_begin,
	.get = solifuge_get,
	.multi_get = solifuge_multi_get,
	.scan = solifuge_scan,
	.read_end = solifuge_read_end,
};
