/* SPDX-License-Identifier: MIT */
/*
 * solifuge load: reads a dump in transactions of --batch records (fewer where they are large). A failure leaves the
 * batches before it in the database, and says how many records they are; running the same load again is harmless.
 */
#include "tool.h"

#include "reader.h"

#define BATCH_BYTES_MAX (8u << 20)
#define KEY_BYTES_MAX 65535u

enum key { KEY_APPEND = 'a', KEY_FILE = 'f', KEY_KEEP = 'N', KEY_TEXT = 'T' };

struct load {
	struct common common;
	const char *file;
	bool plain;
	bool keep;
	struct slf_db *db;
	struct slf_txn *txn;
	struct reader reader;
	struct progress progress;
	uint32_t tree;
	uint64_t batch_records;
	uint64_t batch_bytes;
	uint64_t committed_records;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct load *load = state->input;
	error_t result = 0;

	switch (key) {
	case KEY_APPEND: return 0;
	case KEY_FILE: load->file = arg; return 0;
	case KEY_KEEP: load->keep = true; return 0;
	case KEY_TEXT: load->plain = true; return 0;
	default: break;
	}
	result = common_parse(&load->common, key, arg, state);
	if (result == ARGP_ERR_UNKNOWN && key == ARGP_KEY_ARG && !load->file) {
		load->file = arg;
		return 0;
	}
	return result;
}

static int commit(struct load *load)
{
	int code = load->txn ? slf_commit(load->txn, NULL) : 0;

	load->txn = NULL;
	if (code)
		return fail(&load->common, code, "cannot commit to %s", load->common.shown.text);
	load->committed_records += load->batch_records;
	load->batch_records = 0;
	load->batch_bytes = 0;
	progress_update(&load->progress, load->reader.bytes, load->reader.total);
	return EXIT_OK;
}

/* Sees to it that a transaction runs. */
static int begin(struct load *load)
{
	return load->txn ? EXIT_OK : common_begin(&load->common, load->db, SLF_WRITE, &load->txn);
}

/* A record of an impossible size is a fault of its input. */
static int fail_put(struct load *load, int code, struct slf_slice key)
{
	uint64_t line = load->reader.key_line;

	load->reader.malformed = code == SLF_ETOOBIG;
	if (code == SLF_ETOOBIG && key.size <= KEY_BYTES_MAX)
		line++; /* that of the value */
	return fail(&load->common, code, "%s: line %llu: cannot write to %s", load->reader.shown.text,
		    (unsigned long long)line, load->common.shown.text);
}

static int put(struct load *load, struct slf_slice key, struct slf_slice value)
{
	int code = load->keep ? slf_get(load->txn, load->tree, key, NULL) : SLF_NOTFOUND;

	if (code == 0)
		return EXIT_OK;
	if (code == SLF_NOTFOUND)
		code = slf_put(load->txn, load->tree, key, value);
	if (code)
		return fail_put(load, code, key);
	load->batch_records++;
	load->batch_bytes += key.size + value.size;
	return EXIT_OK;
}

static int load_section(struct load *load)
{
	struct common target = load->common;
	struct slf_slice key = { 0 };
	struct slf_slice value = { 0 };
	bool more = true;
	int result = begin(load);

	if (!target.tree_name && load->reader.database[0])
		target.tree_name = load->reader.database;
	if (!result)
		result = common_tree(&target, load->txn, SLF_CREATE, &load->tree);
	while (!result) {
		result = reader_record(&load->reader, &key, &value, &more);
		if (result || !more)
			break;
		result = begin(load);
		if (!result)
			result = put(load, key, value);
		if (!result && (load->batch_records >= load->common.batch || load->batch_bytes >= BATCH_BYTES_MAX))
			result = commit(load);
	}
	return result;
}

/*
 * The first header is read before the database is opened: what is no dump makes no empty database. Plain lines have no header,
 * and may be none: that is no failure.
 */
static int load_all(struct load *load)
{
	bool more = false;
	int code = 0;
	int result = reader_section(&load->reader, &more);

	if (!result && !more)
		return fail_plain(&load->common, "%s is empty; a dump begins with VERSION=3", load->reader.shown.text);
	if (!result)
		result = common_open(&load->common, SLF_CREATE, &load->db);
	while (!result && more) {
		result = load_section(load);
		if (!result)
			result = reader_section(&load->reader, &more);
	}
	if (!result)
		result = commit(load);
	slf_abort(load->txn);
	if (!result) {
		code = slf_sync(load->db, NULL);
		if (code)
			result = fail(&load->common, code, "cannot make the records durable in %s",
				      load->common.shown.text);
	} else if (load->db) {
		fail_plain(&load->common, "%llu records of this run are in %s; %s",
			   (unsigned long long)load->committed_records, load->common.shown.text,
			   load->reader.malformed ? "mend the input and load it again"
						  : "all of the input may be loaded again");
	}
	return result;
}

static const struct argp_option option_table[] = {
	OPTION_TREE,
	{ "file", KEY_FILE, "FILE", 0, "Read FILE; the same as the argument", 1 },
	{ "append", KEY_APPEND, NULL, 0, "Accepted for the habit of mdb_load; sorted input is recognised anyway", 1 },
	{ "no-overwrite", KEY_KEEP, NULL, 0, "Keep the values of keys that are already there", 1 },
	{ "text", KEY_TEXT, NULL, 0, "Read plain lines, in turn a key and a value, with \\HH and \\\\ as escapes", 1 },
	OPTION_IO,
	OPTION_SYNC,
	OPTION_BATCH,
	{ 0 },
};

int command_load(int argc, char **argv)
{
	static const struct argp argp = {
		option_table,
		parse,
		"DB [FILE]",
		"Read records in the text format of mdb_dump and db_dump from FILE or standard input. A database that "
		"is "
		"not there is made. With --tree every section goes into that tree.",
		NULL,
		NULL,
		NULL,
	};
	struct load load = { .common = { .batch = 1000 } };
	int result = 0;

	load.common.command = argv[0];
	argp_parse(&argp, argc, argv, 0, NULL, &load);
	result = reader_open(&load.reader, &load.common, load.file, load.plain);
	progress_init(&load.progress, "load", PROGRESS_BYTES);
	if (!result)
		result = load_all(&load);
	progress_finish(&load.progress, load.reader.bytes, load.reader.total);
	result = common_close(&load.common, load.db, result);
	reader_close(&load.reader);
	return result;
}
