/* SPDX-License-Identifier: MIT */
/* The contracts of solifuge.h that concern data: keys and values, slices, arenas, trees, many keys at once. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "scratch.h"
#include "solifuge.h"

#define KEY_MAX 65535
#define VALUE_MAX (((uint64_t)1 << 32) - 65536)
#define MIB ((size_t)1 << 20)
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(api_data, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---- Keys and values --------------------------------------------------------------------------------------------- */

/* A missing key would give a value or an error. */
Test(api_data, get_missing)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_slice value = text("untouched");

	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), &value), SLF_NOTFOUND);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), NULL), SLF_NOTFOUND);
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("key")), SLF_NOTFOUND);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("value")), 0);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), NULL), 0);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("ke"), &value), SLF_NOTFOUND);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key2"), &value), SLF_NOTFOUND);
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("key")), 0);
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("key")), SLF_NOTFOUND);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), &value), SLF_NOTFOUND);
	cr_assert(slice_is(value, "untouched", 9));
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* An empty key or value would be taken for absent. */
Test(api_data, empty_key_and_value)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_slice nothing = { 0 }, value = text("x");
	int round = 0;

	cr_assert_eq(slf_put(txn, SLF_MAIN, nothing, text("under the empty key")), 0);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("empty"), nothing), 0);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	for (round = 0; round < 2; round++) {
		txn = txn_begin(db, SLF_READ);
		cr_assert_eq(slf_get(txn, SLF_MAIN, nothing, &value), 0);
		cr_assert(slice_is(value, "under the empty key", 19));
		cr_assert_eq(slf_get(txn, SLF_MAIN, text("empty"), &value), 0);
		cr_assert_eq(value.size, 0);
		slf_abort(txn);
		cr_assert_eq(slf_close(db), 0);
		db = open_database(scratch.path, 0);
	}
	txn = txn_begin(db, SLF_WRITE);
	cr_assert_eq(slf_del(txn, SLF_MAIN, nothing), 0);
	cr_assert_eq(slf_get(txn, SLF_MAIN, nothing, NULL), SLF_NOTFOUND);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert_eq(slf_close(db), 0);
}

/* A key would be refused below the limit, cut above it, or the refusal would doom the transaction. */
Test(api_data, key_limits)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char *key = malloc(KEY_MAX + 1);
	struct slf_slice value = { 0 };
	int i = 0;

	cr_assert_not_null(key);
	memset(key, 'k', KEY_MAX + 1);
	cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(key, KEY_MAX + 1), text("value")), SLF_ETOOBIG);
	cr_assert_neq(slf_get(txn, SLF_MAIN, bytes(key, KEY_MAX + 1), &value), 0);
	cr_assert_neq(slf_del(txn, SLF_MAIN, bytes(key, KEY_MAX + 1)), 0);
	for (i = 0; i < 20; i++) {
		key[KEY_MAX - 1] = (char)i; /* twenty keys that differ in their last byte only */
		cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(key, KEY_MAX), bytes(&i, sizeof(i))), 0);
	}
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, 0);
	txn = txn_begin(db, SLF_READ);
	for (i = 0; i < 20; i++) {
		key[KEY_MAX - 1] = (char)i;
		cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(key, KEY_MAX), &value), 0);
		cr_assert(slice_is(value, &i, sizeof(i)));
	}
	key[KEY_MAX - 1] = 20;
	cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(key, KEY_MAX), &value), SLF_NOTFOUND);
	cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(key, KEY_MAX - 1), &value), SLF_NOTFOUND);
	slf_abort(txn);
	free(key);
	cr_assert_eq(slf_close(db), 0);
}

/* Keys that differ only in length, sign or zero bytes would be mixed up. */
Test(api_data, key_bytes)
{
	static const struct {
		const char *data;
		size_t size;
	} keys[] = { { "", 0 }, { "\0", 1 }, { "\0\0", 2 }, { "\0\1", 2 }, { "\1", 1 }, { "\177", 1 }, { "\200", 1 },
		     { "\377", 1 }, { "\377\0", 2 }, { "\377\377", 2 } };
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_cursor *cursor = NULL;
	struct slf_slice key = { 0 }, value = { 0 };
	size_t i = 0, count = sizeof(keys) / sizeof(keys[0]);

	for (i = 0; i < count; i++) {
		size_t shuffled = i * 7 % count;

		cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(keys[shuffled].data, keys[shuffled].size),
				     bytes(&shuffled, sizeof(shuffled))), 0);
	}
	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, NULL, &cursor), 0);
	for (i = 0; i < count; i++) {
		cr_assert_eq(slf_cursor_next(cursor, &key, &value), 0);
		cr_assert(slice_is(key, keys[i].data, keys[i].size), "key %zu", i);
		cr_assert(slice_is(value, &i, sizeof(i)));
	}
	cr_assert_eq(slf_cursor_next(cursor, &key, &value), SLF_END);
	slf_cursor_close(cursor);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

static const size_t value_sizes[] = { 0, 1, 127, 128, 129, 1000, 4096, 32767, 32768, 32769, 100000, 5 * MIB };
#define VALUE_SIZES (sizeof(value_sizes) / sizeof(value_sizes[0]))

static void check_values(struct slf_txn *txn, unsigned char *buffer)
{
	struct slf_slice value = { 0 };
	size_t i = 0;

	for (i = 0; i < 2 * VALUE_SIZES; i++) {
		bytes_fill(buffer, value_sizes[i / 2], i, i & 1);
		cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(&i, sizeof(i)), &value), 0);
		cr_assert(slice_is(value, buffer, value_sizes[i / 2]), "value %zu", i);
	}
}

/* A value near one of the size limits would come back changed: in its transaction, after it, after a checkpoint, or
 * after another opening; through a map or not; compressed or not. */
Test(api_data, value_sizes)
{
	unsigned char *buffer = malloc(5 * MIB);
	int compression = 0;

	cr_assert_not_null(buffer);
	for (compression = SLF_COMPRESSION_DEFAULT; compression <= SLF_COMPRESSION_NONE; compression++) {
		struct slf_options options = SLF_OPTIONS_INIT;
		char path[SCRATCH_PATH_BYTES];
		struct slf_db *db = NULL;
		struct slf_txn *txn = NULL;
		size_t i = 0;

		options.flags = SLF_CREATE;
		options.compression = compression;
		scratch_name(&scratch, compression ? "raw" : "lz4", path);
		cr_assert_eq(slf_open(path, &options, &db), 0);
		txn = txn_begin(db, SLF_WRITE);
		for (i = 0; i < 2 * VALUE_SIZES; i++) {
			bytes_fill(buffer, value_sizes[i / 2], i, i & 1);
			cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), bytes(buffer, value_sizes[i / 2])),
				     0);
		}
		check_values(txn, buffer);
		cr_assert_eq(slf_commit(txn, NULL), 0);
		for (i = 0; i < 4; i++) {
			if (i == 1)
				cr_assert_eq(slf_checkpoint(db), 0);
			if (i >= 2) {
				cr_assert_eq(slf_close(db), 0);
				db = open_database(path, i == 2 ? 0 : SLF_READONLY | SLF_NO_MAP);
			}
			txn = txn_begin(db, SLF_READ);
			check_values(txn, buffer);
			slf_abort(txn);
		}
		cr_assert_eq(slf_close(db), 0);
	}
	free(buffer);
}

/* Compressible values would not be compressed: the feature would be there in name only. */
Test(api_data, value_compression_saves)
{
	unsigned char *buffer = malloc(100000);
	uint64_t file_bytes[2] = { 0 };
	int compression = 0, i = 0;

	cr_assert_not_null(buffer);
	for (compression = SLF_COMPRESSION_DEFAULT; compression <= SLF_COMPRESSION_NONE; compression++) {
		struct slf_options options = SLF_OPTIONS_INIT;
		struct slf_stats stats = { .size = sizeof(stats) };
		char path[SCRATCH_PATH_BYTES];
		struct slf_db *db = NULL;

		options.flags = SLF_CREATE;
		options.compression = compression;
		scratch_name(&scratch, compression ? "raw" : "lz4", path);
		cr_assert_eq(slf_open(path, &options, &db), 0);
		for (i = 0; i < 20; i++) {
			struct slf_txn *txn = txn_begin(db, SLF_WRITE);

			bytes_fill(buffer, 100000, (uint64_t)i, true);
			cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), bytes(buffer, 100000)), 0);
			cr_assert_eq(slf_commit(txn, NULL), 0);
		}
		cr_assert_eq(slf_checkpoint(db), 0);
		cr_assert_eq(slf_stats(db, &stats), 0);
		file_bytes[compression] = stats.bulk_value_stored_bytes;
		cr_assert_eq(slf_close(db), 0);
	}
	cr_assert_lt(file_bytes[0], 20 * 10000);
	cr_assert_geq(file_bytes[1], 20 * 100000);
	free(buffer);
}

/* A value above the limit would be cut or read past its end. */
Test(api_data, value_limit)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	void *zeros = mmap(NULL, VALUE_MAX + 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	cr_assert_neq(zeros, MAP_FAILED);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), bytes(zeros, VALUE_MAX + 1)), SLF_ETOOBIG);
	cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(zeros, KEY_MAX), bytes(zeros, VALUE_MAX)), SLF_ETOOBIG, "both together");
	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("small")), 0, "the refusal dooms nothing");
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert(db_has(db, "key", "small"));
	munmap(zeros, VALUE_MAX + 1);
	cr_assert_eq(slf_close(db), 0);
}

/* Nonsense would be read through, or be taken for an empty value. */
Test(api_data, no_place)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_slice key = text("key"), value = { NULL, 1 };
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	char name[256] = "";
	uint32_t tree = 0;
	int found = 77;

	cr_assert_eq(slf_get(NULL, SLF_MAIN, key, &value), -EINVAL);
	cr_assert_eq(slf_put(NULL, SLF_MAIN, key, text("value")), -EINVAL);
	cr_assert_eq(slf_del(NULL, SLF_MAIN, key), -EINVAL);
	cr_assert_eq(slf_tree_open(NULL, "tree", 0, &tree), -EINVAL);
	cr_assert_eq(slf_tree_next(NULL, name, sizeof(name), &tree), -EINVAL);
	cr_assert_eq(slf_tree_stat(NULL, SLF_MAIN, &stat), -EINVAL);
	cr_assert_eq(slf_multi_get(NULL, SLF_MAIN, &key, 1, NULL, &found), -EINVAL);
	cr_assert_eq(slf_put(txn, SLF_MAIN, key, value), -EINVAL);
	cr_assert_eq(slf_put(txn, SLF_MAIN, value, key), -EINVAL);
	cr_assert_eq(slf_get(txn, SLF_MAIN, value, &value), -EINVAL);
	cr_assert_eq(slf_txn_blob(txn, value), -EINVAL);
	cr_assert_eq(slf_tree_open(txn, NULL, SLF_CREATE, &tree), -EINVAL);
	cr_assert_eq(slf_tree_open(txn, "tree", SLF_CREATE, NULL), -EINVAL);
	cr_assert_eq(slf_tree_next(txn, NULL, 256, &tree), -EINVAL);
	cr_assert_eq(slf_tree_next(txn, name, sizeof(name), NULL), -EINVAL);
	cr_assert_eq(slf_tree_stat(txn, SLF_MAIN, NULL), -EINVAL);
	stat.size = 0;
	cr_assert_eq(slf_tree_stat(txn, SLF_MAIN, &stat), -EINVAL);
	cr_assert_eq(slf_multi_get(txn, SLF_MAIN, NULL, 1, NULL, &found), -EINVAL);
	cr_assert_eq(slf_multi_get(txn, SLF_MAIN, &key, 1, NULL, NULL), -EINVAL);
	cr_assert_eq(slf_put(txn, SLF_MAIN, key, text("value")), 0, "the refusals doom nothing");
	cr_assert_eq(slf_multi_get(txn, SLF_MAIN, &key, 1, NULL, &found), 0, "values are not asked for");
	cr_assert_eq(found, 0);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert_eq(slf_close(db), 0);
}

/* ---- Slices ------------------------------------------------------------------------------------------------------ */

#define SLICES 60

static size_t slice_bytes(int i)
{
	static const size_t sizes[] = { 10, 100, 300, 5000, 40000 };

	return sizes[i % 5];
}

/* Overwrites, deletes and adds around the entries that slices were read from. */
static void churn(struct slf_txn *txn, int round)
{
	unsigned char junk[700];
	char key[32] = "";
	int i = 0;

	for (i = 0; i < 600; i++) {
		snprintf(key, sizeof(key), "key %04d", i);
		bytes_fill(junk, sizeof(junk), (uint64_t)(i * 7 + round), i & 1);
		if ((i + round) % 3 == 0)
			cr_assert_geq(slf_del(txn, SLF_MAIN, text(key)), 0);
		else
			cr_assert_eq(slf_put(txn, SLF_MAIN, text(key), bytes(junk, (size_t)(i * 13 % 700))), 0);
	}
}

static void put_sliced(struct slf_txn *txn, unsigned char *buffer, int i)
{
	char key[32] = "";

	snprintf(key, sizeof(key), "key %04d", i * 10);
	bytes_fill(buffer, slice_bytes(i), (uint64_t)i, i & 1);
	cr_assert_eq(slf_put(txn, SLF_MAIN, text(key), bytes(buffer, slice_bytes(i))), 0);
}

/* A slice would die on an unrelated put, on an overwrite, on a delete, or when the writer goes on beside a reader. */
Test(api_data, slices_live_as_long_as_the_transaction)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_slice keys[SLICES], values[SLICES];
	unsigned char *buffer = malloc(40000);
	struct slf_db *db = NULL;
	int i = 0, kind = 0, round = 0;

	options.flags = SLF_CREATE;
	options.leaf_bytes = 512;
	options.heap_bytes = 1 * MIB;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	for (kind = 0; kind < 3; kind++) { /* committed before; its own; of a reader while others write */
		struct slf_txn *txn = txn_begin(db, SLF_WRITE), *reader = NULL;
		struct slf_cursor *cursor = NULL;

		for (i = 0; i < SLICES; i++)
			put_sliced(txn, buffer, i);
		if (kind != 1) {
			cr_assert_eq(slf_commit(txn, NULL), 0);
			reader = txn_begin(db, SLF_READ);
			txn = txn_begin(db, SLF_WRITE);
		}
		cr_assert_eq(slf_cursor_open(kind == 2 ? reader : txn, SLF_MAIN, NULL, &cursor), 0);
		for (i = 0; i < SLICES; i++) {
			char key[32] = "";

			snprintf(key, sizeof(key), "key %04d", i * 10);
			cr_assert_eq(slf_cursor_seek(cursor, text(key)), 0);
			cr_assert_eq(slf_cursor_next(cursor, &keys[i], &values[i]), 0);
			if (i & 1)
				cr_assert_eq(slf_get(kind == 2 ? reader : txn, SLF_MAIN, text(key), &values[i]), 0);
		}
		for (round = 0; round < 4; round++)
			churn(txn, round);
		if (kind == 2) {
			cr_assert_eq(slf_commit(txn, NULL), 0);
			cr_assert_eq(slf_checkpoint(db), 0);
		}
		for (i = 0; i < SLICES; i++) {
			char key[32] = "";

			snprintf(key, sizeof(key), "key %04d", i * 10);
			bytes_fill(buffer, slice_bytes(i), (uint64_t)i, i & 1);
			cr_assert(slice_is(keys[i], key, strlen(key)), "kind %d, key %d", kind, i);
			cr_assert(slice_is(values[i], buffer, slice_bytes(i)), "kind %d, value %d", kind, i);
		}
		slf_cursor_close(cursor);
		slf_abort(kind == 2 ? reader : txn);
		if (kind == 0)
			slf_abort(reader);
	}
	free(buffer);
	cr_assert_eq(slf_close(db), 0);
}

/* The arena would grow without limit, or its limit could not be lifted by trimming. */
Test(api_data, arena_limit_and_trim)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	unsigned char *buffer = malloc(MIB / 4);
	struct slf_slice value = { 0 }, untouched = text("untouched");
	struct slf_cursor *cursor = NULL;
	struct slf_txn *txn = NULL;
	int i = 0, result = 0;

	cr_assert_not_null(buffer);
	bytes_fill(buffer, MIB / 4, 1, true);
	for (i = 0; i < 32; i++) {
		txn = txn_begin(db, SLF_WRITE);
		cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), bytes(buffer, MIB / 4)), 0);
		cr_assert_eq(slf_commit(txn, NULL), 0);
	}
	cr_assert_eq(slf_close(db), 0);
	options.arena_bytes = MIB;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	txn = txn_begin(db, SLF_READ);
	for (i = 0; i < 32 && result == 0; i++) {
		value = untouched;
		result = slf_get(txn, SLF_MAIN, bytes(&i, sizeof(i)), &value);
	}
	cr_assert_eq(result, SLF_EARENA, "32 x 256 KiB of decompressed values fit into an arena of 1 MiB");
	cr_assert(slice_is(value, "untouched", 9));
	for (i = 0; i < 32; i++) {
		cr_assert_eq(slf_txn_trim(txn), 0);
		cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(&i, sizeof(i)), &value), 0);
		cr_assert(slice_is(value, buffer, MIB / 4));
	}
	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, &(struct slf_range){ .flags = SLF_TRANSIENT }, &cursor), 0);
	for (i = 0; i < 32; i++) {
		cr_assert_eq(slf_cursor_next(cursor, NULL, &value), 0, "a transient cursor needs no arena");
		cr_assert(slice_is(value, buffer, MIB / 4));
	}
	cr_assert_eq(slf_cursor_next(cursor, NULL, &value), SLF_END);
	slf_cursor_close(cursor);
	slf_abort(txn);
	free(buffer);
	cr_assert_eq(slf_close(db), 0);
}

/* A transaction would be refused for ever what a new handle gives, since an earlier one has read something small. */
Test(api_data, arena_limit_after_another_transaction)
{
	static const size_t sizes[4] = { 5, 40000, 50000, 62000 };
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	struct slf_slice value = { 0 };
	char *buffer = calloc(1, 62000);
	struct slf_txn *txn = NULL;

	cr_assert_not_null(buffer);
	options.flags = SLF_CREATE | SLF_NO_MAP;
	options.arena_bytes = 65536;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	txn = txn_begin(db, SLF_WRITE);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), bytes(buffer, sizes[i])), 0);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert_eq(slf_close(db), 0);
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	for (int before = 0; before < 4; before++)
		for (int i = 0; i < 4; i++) {
			txn = txn_begin(db, SLF_READ);
			cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(&before, sizeof(before)), &value), 0);
			slf_abort(txn);
			txn = txn_begin(db, SLF_READ);
			cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(&i, sizeof(i)), &value), 0, "%zu after %zu", sizes[i],
				     sizes[before]);
			cr_assert_eq(slf_txn_trim(txn), 0);
			cr_assert_eq(slf_get(txn, SLF_MAIN, bytes(&before, sizeof(before)), &value), 0);
			slf_abort(txn);
		}
	free(buffer);
	cr_assert_eq(slf_close(db), 0);
}

/* Trimming would take the cursor's place in the tree with the slices. */
Test(api_data, trim_keeps_cursors)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_cursor *cursor = NULL;
	struct slf_slice key = { 0 };
	char expected[16] = "";
	int i = 0;

	for (i = 0; i < 200; i++) {
		snprintf(expected, sizeof(expected), "%03d", i);
		cr_assert_eq(slf_put(txn, SLF_MAIN, text(expected), text("value")), 0);
	}
	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, NULL, &cursor), 0);
	for (i = 0; i < 200; i++) {
		snprintf(expected, sizeof(expected), "%03d", i);
		cr_assert_eq(slf_cursor_next(cursor, &key, NULL), 0);
		cr_assert(slice_is(key, expected, 3));
		cr_assert_eq(slf_txn_trim(txn), 0);
	}
	cr_assert_eq(slf_cursor_next(cursor, &key, NULL), SLF_END);
	slf_cursor_close(cursor);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	txn = txn_begin(db, SLF_READ);
	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, NULL, &cursor), 0);
	for (i = 0; i < 200; i++) {
		snprintf(expected, sizeof(expected), "%03d", i);
		cr_assert_eq(slf_cursor_next(cursor, &key, NULL), 0);
		cr_assert(slice_is(key, expected, 3));
		cr_assert_eq(slf_txn_trim(txn), 0);
	}
	slf_cursor_close(cursor);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* ---- Trees ------------------------------------------------------------------------------------------------------- */

/* Trees would share their keys, change their ids, or appear out of aborted transactions. */
Test(api_data, tree_open)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_slice value = { 0 };
	uint32_t one = 0, two = 0, again = 0;

	cr_assert_eq(slf_tree_open(txn, "one", 0, &one), SLF_NOTFOUND);
	cr_assert_eq(one, 0);
	cr_assert_eq(slf_tree_open(txn, "one", SLF_CREATE, &one), 0);
	cr_assert_gt(one, SLF_MAIN);
	slf_abort(txn);
	txn = txn_begin(db, SLF_WRITE);
	cr_assert_eq(slf_tree_open(txn, "one", 0, &again), SLF_NOTFOUND, "the abort left the tree");
	cr_assert_eq(slf_tree_open(txn, "one", SLF_CREATE, &one), 0);
	cr_assert_eq(slf_tree_open(txn, "two", SLF_CREATE, &two), 0);
	cr_assert_neq(one, two);
	cr_assert_eq(slf_tree_open(txn, "one", SLF_CREATE, &again), 0);
	cr_assert_eq(again, one);
	cr_assert_eq(slf_put(txn, one, text("key"), text("1")), 0);
	cr_assert_eq(slf_put(txn, two, text("key"), text("2")), 0);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert_eq(slf_close(db), 0);
	db = open_database(scratch.path, 0);
	txn = txn_begin(db, SLF_READ);
	cr_assert_eq(slf_tree_open(txn, "one", 0, &again), 0);
	cr_assert_eq(again, one);
	cr_assert_eq(slf_get(txn, one, text("key"), &value), 0);
	cr_assert(slice_is(value, "1", 1));
	cr_assert_eq(slf_get(txn, two, text("key"), &value), 0);
	cr_assert(slice_is(value, "2", 1));
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), &value), SLF_NOTFOUND);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* The id of a tree that was never made would be given to another one, and what is written with it go there. */
Test(api_data, id_of_an_aborted_tree)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	uint32_t users = 0, logs = 0;

	must_work(slf_tree_open(txn, "users", SLF_CREATE, &users));
	slf_abort(txn);
	txn = txn_begin(db, SLF_WRITE);
	must_work(slf_tree_open(txn, "logs", SLF_CREATE, &logs));
	cr_assert_neq(users, logs);
	must_work(slf_commit(txn, NULL));
	for (unsigned i = 0; i < 2; i++) {
		txn = txn_begin(db, SLF_WRITE);
		cr_assert_eq(slf_put(txn, users, text("bob"), text("1")), -EINVAL);
		cr_assert_eq(slf_get(txn, users, text("bob"), NULL), -EINVAL);
		must_work(slf_put(txn, logs, text("key"), text("1")));
		must_work(slf_commit(txn, NULL));
	}
	cr_assert_eq(slf_close(db), 0);
}

/* A handle is used again: what the transaction before had changed in a tree would be put over what this one has. */
Test(api_data, trees_of_the_transaction_before)
{
	static const char *const names[] = { "one", "two", "three", "four", "five", "six" };
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	uint32_t ids[ARRAY_COUNT(names)];
	struct slf_slice value = { 0 };

	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		cr_assert_eq(slf_tree_open(txn, names[i], SLF_CREATE, &ids[i]), 0);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		txn = txn_begin(db, SLF_WRITE);
		for (size_t j = 0; j < ARRAY_COUNT(names); j++)
			cr_assert_eq(slf_put(txn, ids[j], text("key"), text("old")), 0);
		cr_assert_eq(slf_commit(txn, NULL), 0);
		txn = txn_begin(db, SLF_WRITE);
		for (size_t j = 0; j < i; j++) /* what comes behind these was the i-th tree */
			cr_assert_eq(slf_put(txn, ids[(i + j) % ARRAY_COUNT(names)], text("key"), text("new")), 0);
		cr_assert_eq(slf_commit(txn, NULL), 0);
		txn = txn_begin(db, SLF_READ);
		for (size_t j = 0; j < i; j++) {
			cr_assert_eq(slf_get(txn, ids[(i + j) % ARRAY_COUNT(names)], text("key"), &value), 0);
			cr_assert(slice_is(value, "new", 3));
		}
		slf_abort(txn);
	}
	cr_assert_eq(slf_close(db), 0);
}

/* Names outside the limits, or ids that no tree has, would be accepted. */
Test(api_data, tree_refusals)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char name[257] = "", small[255] = "";
	uint32_t tree = 0;

	memset(name, 'n', 256);
	cr_assert_lt(slf_tree_open(txn, name, SLF_CREATE, &tree), 0, "256 bytes");
	cr_assert_lt(slf_tree_open(txn, "", SLF_CREATE, &tree), 0, "no name");
	cr_assert_lt(slf_tree_open(txn, "tree", 0x4000u, &tree), 0, "unknown flag");
	name[255] = 0;
	cr_assert_eq(slf_tree_open(txn, name, SLF_CREATE, &tree), 0);
	cr_assert_lt(slf_tree_next(txn, small, sizeof(small), &tree), 0, "the name may not fit");
	cr_assert_lt(slf_put(txn, tree + 1, text("key"), text("value")), 0, "no such tree");
	cr_assert_lt(slf_put(txn, 1, text("key"), text("value")), 0, "a tree of the system");
	cr_assert_lt(slf_del(txn, 0, text("key")), 0, "a tree of the system");
	cr_assert_lt(slf_del(txn, tree + 1, text("key")), 0, "no such tree");
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* The list of trees would miss some, repeat some, or not end. */
Test(api_data, tree_next)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char name[256] = "", expected[32] = "";
	uint32_t ids[100] = { 0 }, tree = 0;
	int i = 0;

	cr_assert_eq(slf_tree_next(txn, name, sizeof(name), &tree), SLF_END);
	for (i = 0; i < 100; i++) {
		int k = i * 37 % 100;

		snprintf(expected, sizeof(expected), "tree %02d", k);
		cr_assert_eq(slf_tree_open(txn, expected, SLF_CREATE, &ids[k]), 0);
	}
	for (i = 0; i < 100; i++) {
		snprintf(expected, sizeof(expected), "tree %02d", i);
		cr_assert_eq(slf_tree_next(txn, name, sizeof(name), &tree), 0);
		cr_assert_str_eq(name, expected);
		cr_assert_eq(tree, ids[i]);
	}
	tree = 4711;
	cr_assert_eq(slf_tree_next(txn, name, sizeof(name), &tree), SLF_END);
	cr_assert_str_eq(name, expected);
	cr_assert_eq(tree, 4711);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* The number of entries would drift from what is there. */
Test(api_data, tree_stat)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_tree_stat stat = { .size = sizeof(stat), .entries = 1, .height = 1 };
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	int i = 0;

	cr_assert_eq(slf_tree_stat(txn, SLF_MAIN, &stat), 0);
	cr_assert_eq(stat.entries, 0);
	cr_assert_eq(stat.height, 0);
	for (i = 0; i < 1000; i++)
		cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), text("value")), 0);
	for (i = 0; i < 1000; i += 2) {
		cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), text("other")), 0);
		if (i % 10 == 0)
			cr_assert_eq(slf_del(txn, SLF_MAIN, bytes(&i, sizeof(i))), 0);
	}
	cr_assert_eq(slf_tree_stat(txn, SLF_MAIN, &stat), 0);
	cr_assert_eq(stat.entries, 900);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	for (i = 0; i < 2; i++) {
		txn = txn_begin(db, SLF_READ);
		cr_assert_eq(slf_tree_stat(txn, SLF_MAIN, &stat), 0);
		cr_assert_eq(stat.entries, 900);
		cr_assert_gt(stat.height, 0);
		slf_abort(txn);
		cr_assert_eq(slf_close(db), 0);
		db = open_database(scratch.path, 0);
	}
	txn = txn_begin(db, SLF_WRITE);
	for (i = 0; i < 1000; i++)
		cr_assert_eq(slf_del(txn, SLF_MAIN, bytes(&i, sizeof(i))), i % 10 ? 0 : SLF_NOTFOUND);
	cr_assert_eq(slf_tree_stat(txn, SLF_MAIN, &stat), 0);
	cr_assert_eq(stat.entries, 0);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert_eq(slf_close(db), 0);
}

/* A caller with an older, smaller struct would be written past its end. */
Test(api_data, tree_stat_smaller)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	union {
		struct slf_tree_stat stat;
		unsigned char raw[sizeof(struct slf_tree_stat)];
	} u;

	cr_assert_eq(slf_put(txn, SLF_MAIN, text("key"), text("value")), 0);
	memset(u.raw, 0xa5, sizeof(u.raw));
	u.stat.size = offsetof(struct slf_tree_stat, height);
	cr_assert_eq(slf_tree_stat(txn, SLF_MAIN, &u.stat), 0);
	cr_assert_eq(u.stat.size, offsetof(struct slf_tree_stat, height));
	cr_assert_eq(u.stat.entries, 1);
	for (size_t i = offsetof(struct slf_tree_stat, height); i < sizeof(u.raw); i++)
		cr_assert_eq(u.raw[i], 0xa5);
	u.stat.size = sizeof(size_t) - 1;
	cr_assert_eq(slf_tree_stat(txn, SLF_MAIN, &u.stat), -EINVAL);
	u.stat.size = sizeof(u.stat) + 100; /* of a later library */
	cr_assert_eq(slf_tree_stat(txn, SLF_MAIN, &u.stat), 0);
	cr_assert_eq(u.stat.size, sizeof(u.stat));
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* ---- Many keys at once ------------------------------------------------------------------------------------------- */

#define MANY 500

/* Answers would go to the wrong key: with duplicates, with missing keys, on the heap, from cold files, by any back
 * end. */
Test(api_data, multi_get)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_slice keys[MANY], values[MANY];
	unsigned char *buffer = malloc(40000);
	unsigned numbers[MANY];
	int results[MANY], round = 0;
	unsigned i = 0;

	cr_assert_not_null(buffer);
	for (i = 0; i < 300; i++) {
		bytes_fill(buffer, i % 50 ? i : 40000, i, i & 1);
		cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(&i, sizeof(i)), bytes(buffer, i % 50 ? i : 40000)), 0);
	}
	for (i = 0; i < MANY; i++) {
		numbers[i] = i * 77 % 350; /* 300 to 349 are missing, all come more than once */
		keys[i] = bytes(&numbers[i], sizeof(numbers[i]));
	}
	for (round = 0; round < 4; round++) { /* own writes; committed; from the files; without maps */
		for (i = 0; i < MANY; i++) {
			values[i] = text("untouched");
			results[i] = 77;
		}
		cr_assert_eq(slf_multi_get(txn, SLF_MAIN, keys, 0, values, results), 0);
		cr_assert_eq(results[0], 77);
		cr_assert_eq(slf_multi_get(txn, SLF_MAIN, keys, MANY, values, results), 0);
		for (i = 0; i < MANY; i++) {
			unsigned number = numbers[i];
			size_t size = number % 50 ? number : 40000;

			cr_assert_eq(results[i], number < 300 ? 0 : SLF_NOTFOUND);
			bytes_fill(buffer, number < 300 ? size : 0, number, number & 1);
			cr_assert(number < 300 ? slice_is(values[i], buffer, size) :
						 slice_is(values[i], "untouched", 9));
		}
		if (round == 0)
			cr_assert_eq(slf_commit(txn, NULL), 0);
		else
			slf_abort(txn);
		if (round >= 1) {
			cr_assert_eq(slf_close(db), 0);
			db = open_database(scratch.path, round == 2 ? SLF_NO_MAP : 0);
		}
		txn = txn_begin(db, SLF_READ);
	}
	slf_abort(txn);
	free(buffer);
	cr_assert_eq(slf_close(db), 0);
}

/* Where the whole call fails a caller that looks at single results finds whatever stood there, a success perhaps. */
Test(api_data, multi_get_fails)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_slice keys[2] = { text("one"), text("other") }, values[2];
	int results[2] = { 0, 0 };

	cr_assert_eq(slf_multi_get(txn, 1, keys, 2, values, results), -EINVAL); /* a tree of the system */
	cr_assert_eq(results[0], -EINVAL);
	cr_assert_eq(results[1], -EINVAL);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}
