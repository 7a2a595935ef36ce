/* SPDX-License-Identifier: MIT */
/*
 * solifuge dump: the text format that Berkeley DB defined and LMDB took over. The main tree comes first, without a
 * name; an empty main tree is left out when there are named trees, because db_load(1) cannot put named databases into a
 * file that has an unnamed one. The line mapsize= is written on request only: mdb_load(1) needs it above 1 MiB of data
 * and db_load refuses it.
 */
#include "tool.h"

#include <string.h>

#include "damage.h"
#include "names.h"
#include "rescue.h"

enum key { KEY_LMDB = KEY_OWN, KEY_RESCUE, KEY_ALL = 'a', KEY_FILE = 'f', KEY_LIST = 'l', KEY_PRINT = 'p' };

struct dump {
	struct common common;
	bool lmdb;
	bool list;
	bool print;
	bool quiet;      /* in a pass before the one that writes */
	bool damaged;    /* records were left out */
	uint64_t map_bytes; /* for mapsize=, 0: no such line */
	FILE *out;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct dump *dump = state->input;

	switch (key) {
	case KEY_LMDB: dump->lmdb = true; return 0;
	case KEY_RESCUE: dump->common.rescues = true; return 0;
	case KEY_ALL: return 0;
	case KEY_FILE: parse_output(&dump->common, arg, state); return 0;
	case KEY_LIST: dump->list = true; return 0;
	case KEY_PRINT: dump->print = true; return 0;
	default: return common_parse(&dump->common, key, arg, state);
	}
}

/* As walk(), around what is damaged. */
static int walk_damaged(struct dump *dump, struct slf_txn *txn, const char *name, uint32_t tree,
			void (*each)(void *, struct slf_slice, struct slf_slice))
{
	struct rescue rescue = {
		.common = &dump->common,
		.txn = txn,
		.tree = tree,
		.name = name,
		.out = dump->out,
		.quiet = dump->quiet,
		.each = each,
		.context = dump,
	};
	int result = rescue_tree(&rescue);

	dump->damaged |= rescue.damaged;
	return result;
}

/* Calls each for every record of tree until it is through or the output fails. A library result. */
static int walk(struct dump *dump, struct slf_txn *txn, const char *name, uint32_t tree,
		void (*each)(void *, struct slf_slice, struct slf_slice))
{
	struct slf_range range = { .flags = SLF_TRANSIENT };
	struct slf_slice key = { 0 };
	struct slf_slice value = { 0 };
	struct slf_cursor *cursor = NULL;
	int result = 0;

	if (dump->common.rescues)
		return walk_damaged(dump, txn, name, tree, each);
	result = slf_cursor_open(txn, tree, &range, &cursor);
	while (!result && !ferror(dump->out)) {
		result = slf_cursor_next(cursor, &key, &value);
		if (!result)
			each(dump, key, value);
	}
	slf_cursor_close(cursor);
	return result < 0 ? result : 0;
}

static void write_record(void *context, struct slf_slice key, struct slf_slice value)
{
	struct dump *dump = context;
	void (*write_bytes)(FILE *, struct slf_slice) = dump->print ? text_print : text_hex;

	putc_unlocked(' ', dump->out);
	write_bytes(dump->out, key);
	fputs("\n ", dump->out);
	write_bytes(dump->out, value);
	putc_unlocked('\n', dump->out);
}

/* What LMDB may need at worst for a record: half-full leaves, and whole pages for a large value. */
static void add_map_bytes(void *context, struct slf_slice key, struct slf_slice value)
{
	struct dump *dump = context;

	dump->map_bytes += 2 * (key.size + value.size + 32);
	if (value.size > 1024)
		dump->map_bytes += 8192;
}

static int write_tree(struct dump *dump, struct slf_txn *txn, const char *name, uint32_t tree)
{
	int result = 0;

	fprintf(dump->out, "VERSION=3\nformat=%s\n", dump->print ? "print" : "bytevalue");
	if (name)
		fprintf(dump->out, "database=%s\n", name);
	fputs("type=btree\n", dump->out);
	if (dump->map_bytes)
		fprintf(dump->out, "mapsize=%llu\n", (unsigned long long)dump->map_bytes);
	fputs("HEADER=END\n", dump->out);
	result = walk(dump, txn, name, tree, write_record);
	if (!result)
		fputs("DATA=END\n", dump->out);
	return result;
}

/* One pass over what is to be written: the names alone, to print or to check them, the size for mapsize=, or the records. */
enum pass { PASS_LIST, PASS_NAMES, PASS_SIZE, PASS_WRITE };

/* A positive result of visit(): a name that a dump cannot hold, and that has been told. */
#define REFUSED 1

/*
 * The line database= holds a name as it is: with a line break in it the records would go into another tree. db_load(1) knows
 * escapes in it, mdb_load(1) takes those for the name.
 */
static int check_name(const struct dump *dump, const char *name)
{
	if (!name || !text_has_control(name))
		return 0;
	fail_plain(&dump->common, "tree '%s' of %s: a dump cannot hold a name with control characters", text_shown(name).text,
		   dump->common.shown.text);
	fail_plain(&dump->common, "dump it without its name, by dump -s NAME, and the other trees each by its own");
	return REFUSED;
}

static int visit(struct dump *dump, struct slf_txn *txn, const char *name, uint32_t tree, enum pass pass)
{
	if (pass == PASS_LIST) {
		if (name)
			text_escaped(dump->out, (struct slf_slice){ name, strlen(name) });
		if (name)
			putc('\n', dump->out);
		return 0;
	}
	if (pass == PASS_NAMES)
		return check_name(dump, name);
	return pass == PASS_SIZE ? walk(dump, txn, name, tree, add_map_bytes) : write_tree(dump, txn, name, tree);
}

/* In a rescue it counts as full where nobody can tell. */
static int visit_main(struct dump *dump, struct slf_txn *txn, enum pass pass)
{
	char name[256] = "";
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	uint32_t tree = 0;
	int result = slf_tree_stat(txn, SLF_MAIN, &stat);

	if (!result && !stat.entries)
		result = slf_tree_next(txn, name, sizeof(name), &tree);
	if (result < 0 && !(dump->common.rescues && damage_found(result)))
		return result;
	return stat.entries || result ? visit(dump, txn, NULL, SLF_MAIN, pass) : 0;
}

static int visit_all(struct dump *dump, struct slf_txn *txn, enum pass pass)
{
	struct names names = { .common = &dump->common, .txn = txn, .quiet = dump->quiet };
	bool named_only = pass == PASS_LIST || pass == PASS_NAMES;
	int result = named_only ? 0 : visit_main(dump, txn, pass);

	while (!result) {
		result = names_next(&names);
		if (!result)
			result = visit(dump, txn, names.name, names.tree, pass);
	}
	dump->damaged |= names.damaged;
	names_release(&names);
	return result == SLF_END ? 0 : result;
}

/* One tree. With a name that a dump cannot hold it goes without: who asked for it by that can load it by that. */
static int visit_named(struct dump *dump, struct slf_txn *txn, uint32_t tree, enum pass pass)
{
	const char *name = dump->common.tree_name;

	if (!text_has_control(name))
		return visit(dump, txn, name, tree, pass);
	if (pass == PASS_NAMES)
		fail_plain(&dump->common, "a dump cannot hold the name '%s'; load it by load -s NAME, or it goes into the main tree",
			   text_shown(name).text);
	return visit(dump, txn, NULL, tree, pass);
}

static int dump_pass(struct dump *dump, struct slf_txn *txn, enum pass pass)
{
	const struct common *common = &dump->common;
	uint32_t tree = 0;
	int result = common_tree(common, txn, 0, &tree);

	if (result)
		return result;
	dump->quiet = pass == PASS_NAMES || pass == PASS_SIZE;
	dump->common.output.keeps_part = dump->common.rescues && pass == PASS_WRITE;
	result = common->tree_name && !dump->list ? visit_named(dump, txn, tree, pass) : visit_all(dump, txn, pass);
	if (pass == PASS_NAMES)
		return result == REFUSED ? EXIT_FAILED : EXIT_OK; /* what else there is comes again when the trees are read */
	return result ? fail(common, result, "%s: cannot read on, the output is incomplete", common->shown.text) : EXIT_OK;
}

static int dump_all(struct dump *dump, struct slf_txn *txn)
{
	int result = dump->list ? EXIT_OK : dump_pass(dump, txn, PASS_NAMES);

	if (!result && dump->lmdb && !dump->list) {
		dump->map_bytes = 1 << 20;
		result = dump_pass(dump, txn, PASS_SIZE);
		dump->map_bytes = (dump->map_bytes + 4095) / 4096 * 4096;
	}
	if (!result)
		result = dump_pass(dump, txn, dump->list ? PASS_LIST : PASS_WRITE);
	dump->common.output.complete = !result;
	if (!result && dump->damaged) {
		fail_plain(&dump->common, "keep the files as they are, and take what was left out from an older copy");
		result = EXIT_DAMAGED;
	}
	return result;
}

static const struct argp_option option_table[] = {
	OPTION_TREE,
	{ "all", KEY_ALL, NULL, 0, "Dump all trees: this is the default", 1 },
	{ "list", KEY_LIST, NULL, 0, "Only list the names of the trees", 1 },
	{ "print", KEY_PRINT, NULL, 0, "Write printable characters as they are (format=print)", 1 },
	{ "file", KEY_FILE, "FILE", 0, "Write to FILE instead of standard output", 1 },
	OPTION_FORCE,
	{ "rescue", KEY_RESCUE, NULL, 0, "Leave out what is damaged, and go on behind it; the exit code is 4", 1 },
	{ "lmdb", KEY_LMDB, NULL, 0, "Add the line mapsize= that mdb_load needs above 1 MiB; db_load refuses it", 1 },
	OPTION_IO,
	{ 0 },
};

int command_dump(int argc, char **argv)
{
	static const struct argp argp = {
		option_table, parse, "DB", "Write all records as text that solifuge load, mdb_load and db_load read.",
		NULL,         NULL,  NULL,
	};
	struct dump dump = { .out = stdout };
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;
	int result = 0;

	dump.common.command = argv[0];
	argp_parse(&argp, argc, argv, 0, NULL, &dump);
	result = common_open_read(&dump.common, &db);
	if (!result)
		result = common_begin(&dump.common, db, SLF_READ, &txn);
	if (!result)
		result = output_open(&dump.common, db);
	if (!result)
		result = dump_all(&dump, txn);
	slf_abort(txn);
	return output_finish(&dump.common, common_close(&dump.common, db, result));
}
