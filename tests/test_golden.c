/* SPDX-License-Identifier: MIT */
/*
 * Databases that were written once and are kept: tests/golden. Each later version has to read them, to the last byte, and to go
 * on with them. A slip in the format that the encoders and decoders of one version share would be seen by nothing else.
 *
 * SOLIFUGE_GOLDEN_WRITE=1 writes them anew. That is for a new version of the format only: then the old ones stay beside them, and
 * what reads them stays too.
 */
#include <criterion/criterion.h>
#include <lz4.h>
#include <lz4hc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "codec.h"
#include "scratch.h"

#define KEYS 500
#define FILES_MAX 3
#define VALUE_BYTES_MAX 70000
#define FILE_BYTES_MAX (64 * MIB)

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(golden, .init = set_up, .fini = tear_down);

/* How a database was left, and over how many files. */
static const struct golden {
	const char *name;
	unsigned files;
	bool closed;
} goldens[] = { { "closed", 1, true }, { "killed", 1, false }, { "three", 3, true } };

/* ---- Content ----------------------------------------------------------------------------------------------------- */

/* Keys of 1 to 1,000 bytes, no two the same. */
static struct slf_slice key_make(unsigned number, char *key)
{
	size_t size = (size_t)sprintf(key, "%04u", number * 7919 % 10000);

	if (number % 50 == 0) {
		memset(key + size, 'x', 1000 - size);
		size = 1000;
	}
	return slice(key, number == 1 ? 1 : size);
}

/* Inline, on its own in a leaf, in bulk with checkpoints, in bulk at once; those that lz4 shrinks and those that it does not. The
 * version says which of the sessions wrote it. */
static struct slf_slice value_make(unsigned number, unsigned version, char *value)
{
	static const size_t sizes[] = { 0, 1, 100, 128, 129, 1000, 5000, 32767, 32768, VALUE_BYTES_MAX };
	size_t size = number % 50 ? number * 37 % 200 : sizes[number / 50 % ARRAY_SIZE(sizes)];

	bytes_fill(value, size, number + 1000000u * version, number / 50 % 2);
	return slice(value, size);
}

static bool is_deleted(unsigned number)
{
	return number % 11 == 5;
}

static unsigned version_of(unsigned number)
{
	return number % 3 == 0 ? 2 : 1;
}

static void put_all(struct slf_db *db, unsigned version)
{
	char *value = malloc(VALUE_BYTES_MAX), key[1000];
	struct slf_txn *txn = NULL;
	uint32_t named, empty;

	for (unsigned number = 0; number < KEYS; number++) {
		if (version == 2 && version_of(number) == 1 && !is_deleted(number))
			continue;
		if (!txn)
			txn = txn_begin(db, SLF_WRITE);
		if (version == 2 && is_deleted(number))
			must_work(slf_del(txn, SLF_MAIN, key_make(number, key)));
		else
			must_work(slf_put(txn, SLF_MAIN, key_make(number, key), value_make(number, version, value)));
		if (number % 97 == 0) {
			must_work(slf_txn_blob(txn, text("a blob")));
			must_work(slf_commit(txn, NULL));
			txn = NULL;
		}
	}
	txn = txn ? txn : txn_begin(db, SLF_WRITE);
	must_work(slf_tree_open(txn, "named", SLF_CREATE, &named));
	must_work(slf_tree_open(txn, "empty", SLF_CREATE, &empty));
	for (unsigned number = 0; number < KEYS; number += 10)
		must_work(slf_put(txn, named, key_make(number, key), text(version == 2 ? "second" : "first")));
	must_work(slf_commit(txn, NULL));
	free(value);
}

static void check_main(struct slf_txn *txn)
{
	char *value = malloc(VALUE_BYTES_MAX), key[1000];
	unsigned count = 0, steps = 0;
	struct slf_cursor *cursor = NULL;
	struct slf_slice found, at;

	for (unsigned number = 0; number < KEYS; number++) {
		int result = slf_get(txn, SLF_MAIN, key_make(number, key), &found);
		struct slf_slice wanted = value_make(number, version_of(number), value);

		cr_assert_eq(result, is_deleted(number) ? SLF_NOTFOUND : 0, "key %u: %d", number, result);
		cr_assert(result || slice_is(found, wanted.data, wanted.size), "value %u", number);
		count += !result;
	}
	must_work(slf_cursor_open(txn, SLF_MAIN, NULL, &cursor));
	while (slf_cursor_next(cursor, &at, &found) == 0)
		steps++;
	cr_assert_eq(steps, count);
	slf_cursor_close(cursor);
	free(value);
}

static void check_all(struct slf_db *db)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	struct slf_slice found;
	char key[1000];
	uint32_t tree;

	check_main(txn);
	must_work(slf_tree_open(txn, "empty", 0, &tree));
	must_work(slf_tree_stat(txn, tree, &stat));
	cr_assert_eq(stat.entries, 0);
	must_work(slf_tree_open(txn, "named", 0, &tree));
	must_work(slf_tree_stat(txn, tree, &stat));
	cr_assert_eq(stat.entries, KEYS / 10);
	for (unsigned number = 0; number < KEYS; number += 10) {
		must_work(slf_get(txn, tree, key_make(number, key), &found));
		cr_assert(slice_is(found, "second", 6));
	}
	slf_abort(txn);
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static void paths_make(const struct golden *golden, char paths[][SCRATCH_PATH_BYTES], const char **further)
{
	char name[32];

	for (unsigned i = 0; i < golden->files; i++) {
		sprintf(name, "%s-%u", golden->name, i);
		scratch_name(&scratch, name, paths[i]);
		if (i)
			further[i - 1] = paths[i];
	}
}

static const char *golden_path(const struct golden *golden, unsigned file, char *path)
{
	const char *root = getenv("SOLIFUGE_SOURCE_ROOT");

	cr_assert_not_null(root);
	snprintf(path, SCRATCH_PATH_BYTES, "%s/tests/golden/%s-%u.lz4", root, golden->name, file);
	return path;
}

/* u64 size, then one block. */
static void pack(const char *from, const char *to)
{
	struct file_bytes raw = file_read(from);
	int bound = LZ4_compressBound((int)raw.size), packed;
	uint8_t *block = malloc(8 + (size_t)bound);

	must(raw.size <= FILE_BYTES_MAX && block);
	packed = LZ4_compress_HC((const char *)raw.data, (char *)block + 8, (int)raw.size, bound, LZ4HC_CLEVEL_MAX);
	must(packed > 0);
	put_u64(block, raw.size);
	file_write(to, block, 8 + (size_t)packed);
	free(block);
	free(raw.data);
}

static void unpack(const char *from, const char *to)
{
	struct file_bytes packed = file_read(from);
	uint64_t size = get_u64(packed.data);
	char *raw;

	must(packed.size > 8 && size <= FILE_BYTES_MAX);
	raw = malloc(size + 1);
	must(raw && LZ4_decompress_safe((const char *)packed.data + 8, raw, (int)packed.size - 8, (int)size) == (int)size);
	file_write(to, raw, size);
	free(raw);
	free(packed.data);
}

/* ---- Tests ------------------------------------------------------------------------------------------------------- */

static void golden_make(const struct golden *golden)
{
	char paths[FILES_MAX][SCRATCH_PATH_BYTES], path[SCRATCH_PATH_BYTES];
	const char *further[FILES_MAX - 1];
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;

	paths_make(golden, paths, further);
	options.flags = SLF_CREATE;
	options.spindles = further;
	options.spindle_count = golden->files - 1;
	must_work(slf_open(paths[0], &options, &db));
	put_all(db, 1);
	must_work(slf_checkpoint(db));
	must_work(slf_close(db));
	must_work(slf_open(paths[0], NULL, &db));
	put_all(db, 2);
	if (golden->closed)
		must_work(slf_close(db));
	for (unsigned i = 0; i < golden->files; i++)
		pack(paths[i], golden_path(golden, i, path));
	if (!golden->closed)
		must_work(slf_close(db));
}

static void golden_check(const struct golden *golden)
{
	static const unsigned flags[] = { SLF_READONLY, SLF_READONLY | SLF_NO_MAP, 0, SLF_NO_THREADS };
	char paths[FILES_MAX][SCRATCH_PATH_BYTES], path[SCRATCH_PATH_BYTES];
	const char *further[FILES_MAX - 1];
	struct slf_db *db = NULL;

	paths_make(golden, paths, further);
	for (unsigned i = 0; i < golden->files; i++)
		unpack(golden_path(golden, i, path), paths[i]);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		db = open_database(paths[0], flags[i]);
		check_all(db);
		if (!(flags[i] & SLF_READONLY))
			db_put(db, "0000", "for the next one to overwrite");
		must_work(slf_close(db));
		if (!(flags[i] & SLF_READONLY)) {
			char *value = malloc(VALUE_BYTES_MAX), key[1000];
			struct slf_txn *txn = NULL;

			db = open_database(paths[0], 0);
			txn = txn_begin(db, SLF_WRITE);
			must_work(slf_del(txn, SLF_MAIN, text("0000")));
			must_work(slf_put(txn, SLF_MAIN, key_make(0, key), value_make(0, version_of(0), value)));
			must_work(slf_commit(txn, NULL));
			check_all(db);
			must_work(slf_close(db));
			free(value);
		}
	}
}

/* What somebody has stored with an earlier version could not be read any more, or would be read as something else. */
Test(golden, databases_of_this_format)
{
	for (size_t i = 0; i < ARRAY_SIZE(goldens); i++) {
		if (getenv("SOLIFUGE_GOLDEN_WRITE"))
			golden_make(&goldens[i]);
		else
			golden_check(&goldens[i]);
	}
}
