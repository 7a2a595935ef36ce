/* SPDX-License-Identifier: MIT */
/* Metadata pages as the sign that all files of a database are of one time. What else they are for, test_db.c asks. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scratch.h"

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(page, .init = set_up, .fini = tear_down, .timeout = 120);

#define TIMES 3
#define FILES 3

/* One session of a database over three files: a value in bulk in each of them, and another name for that. */
static void session_run(const char *path, const char *const *further, unsigned number)
{
	static char value[FILES][100000];
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;
	char key[32] = "";

	options.flags = SLF_CREATE;
	options.spindles = further;
	options.spindle_count = FILES - 1;
	options.compression = SLF_COMPRESSION_NONE;
	must_work(slf_open(path, &options, &db));
	txn = txn_begin(db, SLF_WRITE);
	for (unsigned i = 0; i < FILES; i++) {
		memset(value[i], (int)('a' + number), sizeof(value[i]));
		sprintf(key, "session %u value %u", number, i);
		must_work(slf_put(txn, SLF_MAIN, text(key), (struct slf_slice){ value[i], sizeof(value[i]) }));
	}
	must_work(slf_commit(txn, NULL));
	must_work(slf_close(db));
}

/* Files that were brought back from different times would be an older state without a word, and the newer ones be written over. */
Test(page, files_of_different_times)
{
	struct file_bytes content[TIMES][FILES];
	char paths[FILES][SCRATCH_PATH_BYTES];
	const char *further[FILES - 1] = { paths[1], paths[2] };
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db = NULL;

	for (unsigned i = 0; i < FILES; i++)
		scratch_name(&scratch, (const char *[]){ "first", "second", "third" }[i], paths[i]);
	for (unsigned time = 0; time < TIMES; time++) {
		session_run(paths[0], further, time);
		for (unsigned i = 0; i < FILES; i++)
			content[time][i] = file_read(paths[i]);
	}
	for (unsigned choice = 0; choice < TIMES * TIMES * TIMES; choice++) {
		unsigned times[FILES] = { choice % TIMES, choice / TIMES % TIMES, choice / TIMES / TIMES };
		struct slf_options options = SLF_OPTIONS_INIT;

		for (unsigned i = 0; i < FILES; i++)
			file_write(paths[i], content[times[i]][i].data, content[times[i]][i].size);
		options.flags = choice & 1 ? SLF_READONLY : 0;
		if (times[0] == times[1] && times[1] == times[2]) {
			must_work(slf_open(paths[0], &options, &db));
			must_work(slf_close(db));
			continue;
		}
		cr_assert_eq(slf_open(paths[0], &options, &db), SLF_ECORRUPT, "%u %u %u", times[0], times[1], times[2]);
		must_work(slf_errinfo(&info));
		cr_assert_not_null(strstr(info.text, "different times"), "%s", info.text);
		for (unsigned i = 0; i < FILES; i++) {
			struct file_bytes now = file_read(paths[i]);

			cr_assert(now.size == content[times[i]][i].size &&
				  memcmp(now.data, content[times[i]][i].data, now.size) == 0, "nothing is written");
			free(now.data);
		}
	}
	for (unsigned time = 0; time < TIMES; time++)
		for (unsigned i = 0; i < FILES; i++)
			free(content[time][i].data);
}
