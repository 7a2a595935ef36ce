/* SPDX-License-Identifier: MIT */
/* solifuge stat and info: what a database holds, what it did since it was opened, what it is. */
#include "tool.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static error_t parse(int key, char *arg, struct argp_state *state)
{
	return common_parse(state->input, key, arg, state);
}

static int no_memory(const struct common *common)
{
	return fail_plain(common, "no memory for the output");
}

/* The library's statistics in one of its formats, in a buffer that the caller frees. */
static int stats_text(const struct common *common, struct slf_db *db, int format, char **text)
{
	struct slf_stats stats = { .size = sizeof(stats) };
	int code = slf_stats(db, &stats);
	int length = code ? code : slf_stats_format(&stats, format, NULL, 0);

	if (length < 0)
		return fail(common, length, "%s: cannot read the statistics", common->shown.text);
	*text = malloc((size_t)length + 1);
	if (!*text)
		return no_memory(common);
	length = slf_stats_format(&stats, format, *text, (size_t)length + 1);
	return length < 0 ? fail(common, length, "%s: cannot format the statistics", common->shown.text) : EXIT_OK;
}

/* Prints one tree as a line, or adds it to trees when that is not NULL. name NULL: the main tree. */
static int stat_tree(const struct common *common, struct slf_txn *txn, const char *name, uint32_t tree,
		     struct json_object *trees)
{
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	struct json_object *object = NULL;
	int code = slf_tree_stat(txn, tree, &stat);

	if (code)
		return fail(common, code, "%s: cannot read tree %u", common->shown.text, tree);
	if (!trees) {
		printf("%8u %12llu %7u  ", tree, (unsigned long long)stat.entries, stat.height);
		text_escaped(stdout, (struct slf_slice){ name, name ? strlen(name) : 0 });
		puts(name ? "" : "(main)");
		return EXIT_OK;
	}
	object = json_object_new_object();
	if (!object || (name && text_json_add(object, "name", (struct slf_slice){ name, strlen(name) }, common->hex)) ||
	    (!name && json_object_object_add(object, "name", NULL)) ||
	    json_object_object_add(object, "id", json_object_new_uint64(tree)) ||
	    json_object_object_add(object, "entries", json_object_new_uint64(stat.entries)) ||
	    json_object_object_add(object, "height", json_object_new_uint64(stat.height)) ||
	    json_object_array_add(trees, object)) {
		json_object_put(object);
		return no_memory(common);
	}
	return EXIT_OK;
}

static int stat_trees(const struct common *common, struct slf_txn *txn, struct json_object *trees)
{
	char name[256] = "";
	uint32_t tree = 0;
	int code = 0;
	int result = common_tree(common, txn, 0, &tree);

	if (!result && !trees)
		printf("%8s %12s %7s  %s\n", "id", "entries", "height", "tree");
	if (!result)
		result = stat_tree(common, txn, common->tree_name, tree, trees);
	while (!result && !common->tree_name) {
		code = slf_tree_next(txn, name, sizeof(name), &tree);
		if (code < 0)
			result = fail(common, code, "%s: cannot list the trees", common->shown.text);
		if (code)
			break;
		result = stat_tree(common, txn, name, tree, trees);
	}
	return result;
}

static int stat_text(const struct common *common, struct slf_db *db, struct slf_txn *txn)
{
	char *text = NULL;
	int result = stat_trees(common, txn, NULL);

	if (!result && !common->tree_name)
		result = stats_text(common, db, SLF_TEXT, &text);
	if (text)
		printf("\n%s", text);
	free(text);
	return result;
}

static int stat_json(const struct common *common, struct slf_db *db, struct slf_txn *txn)
{
	struct json_object *object = json_object_new_object();
	struct json_object *trees = json_object_new_array();
	struct json_object *stats = NULL;
	char *text = NULL;
	int result = EXIT_OK;

	if (!object || !trees || json_object_object_add(object, "trees", trees)) {
		json_object_put(trees);
		json_object_put(object);
		return no_memory(common);
	}
	result = stat_trees(common, txn, trees);
	if (!result && !common->tree_name) {
		result = stats_text(common, db, SLF_JSON, &text);
		stats = text ? json_tokener_parse(text) : NULL;
		if (!result && (!stats || json_object_object_add(object, "stats", stats)))
			result = no_memory(common);
	}
	free(text);
	if (result)
		json_object_put(object);
	else if (text_json_line(stdout, object))
		result = no_memory(common);
	return result;
}

static const struct argp_option stat_options[] = {
	OPTION_TREE,
	OPTION_JSON("Print one object"),
	OPTION_IO,
	{ 0 },
};

int command_stat(int argc, char **argv)
{
	static const struct argp argp = {
		stat_options,
		parse,
		"DB",
		"Print the trees with their counts, and what the library counted while this command read them. With "
		"--tree only that tree.",
		NULL,
		NULL,
		NULL,
	};
	struct common common = { .command = argv[0] };
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;
	int result = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &common);
	result = common_open_read(&common, &db);
	if (!result)
		result = common_begin(&common, db, SLF_READ, &txn);
	if (!result)
		result = common.json ? stat_json(&common, db, txn) : stat_text(&common, db, txn);
	slf_abort(txn);
	return output_finish(&common, common_close(&common, db, result));
}

#define UUID_TEXT_BYTES 37

static void uuid_text(const unsigned char *uuid, char *text)
{
	for (unsigned i = 0; i < 16; i++)
		text += sprintf(text, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
}

/* RFC 3339, in UTC, to the second. */
static void time_text(uint64_t ns, char *text, size_t size)
{
	time_t seconds = (time_t)(ns / 1000000000u);
	struct tm parts = { 0 };

	gmtime_r(&seconds, &parts);
	strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

struct field {
	const char *name;
	uint64_t value;
};

#define FIELD_COUNT 14

static void info_fields(const struct slf_info *info, struct field *fields)
{
	const struct field table[FIELD_COUNT] = {
		{ "format", info->format },
		{ "spindle_count", info->spindle_count },
		{ "seq", info->seq },
		{ "durable_seq", info->durable_seq },
		{ "checkpoint_seq", info->checkpoint_seq },
		{ "generation", info->generation },
		{ "file_bytes", info->file_bytes },
		{ "allocated_bytes", info->allocated_bytes },
		{ "leaf_bytes", info->leaf_bytes },
		{ "branch_bytes", info->branch_bytes },
		{ "inline_bytes", info->inline_bytes },
		{ "clean", info->clean },
		{ "damaged", info->damaged },
		{ "cut", info->cut },
	};

	memcpy(fields, table, sizeof(table));
}

/* Prints the path of a spindle as a line, or adds it to paths when that is not NULL. */
static int info_spindle(const struct common *common, struct slf_db *db, unsigned index, struct json_object *paths)
{
	int length = slf_spindle_path(db, index, NULL, 0);
	char *path = length < 0 ? NULL : malloc((size_t)length + 1);
	struct json_object *object = path && paths ? json_object_new_object() : NULL;
	int result = EXIT_OK;

	if (length < 0)
		return fail(common, length, "%s: cannot name spindle %u", common->shown.text, index);
	if (path)
		slf_spindle_path(db, index, path, (size_t)length + 1);
	if (path && !paths) {
		printf("%-16s ", "spindle");
		text_message(stdout, path);
		putchar('\n');
	} else if (!object || text_json_add(object, "path", (struct slf_slice){ path, (size_t)length }, false) ||
		   json_object_array_add(paths, object)) {
		json_object_put(object);
		result = no_memory(common);
	}
	free(path);
	return result;
}

static int info_spindles(const struct common *common, struct slf_db *db, unsigned count, struct json_object *object)
{
	struct json_object *paths = object ? json_object_new_array() : NULL;
	int result = EXIT_OK;

	if (object && (!paths || json_object_object_add(object, "spindles", paths))) {
		json_object_put(paths);
		return no_memory(common);
	}
	for (unsigned i = 0; !result && i < count; i++)
		result = info_spindle(common, db, i, paths);
	return result;
}

/* Prints one line per field, or one object. */
static int info_print(const struct common *common, struct slf_db *db, const struct slf_info *info)
{
	struct field fields[FIELD_COUNT];
	struct json_object *object = common->json ? json_object_new_object() : NULL;
	char uuid[UUID_TEXT_BYTES];
	char created[32];
	int result = EXIT_OK;
	struct {
		const char *name;
		const char *value;
	} texts[] = { { "path", common->path }, { "uuid", uuid },     { "created", created },
		      { "io", info->io },       { "map", info->map }, { "library", slf_version() } };

	uuid_text(info->uuid, uuid);
	time_text(info->created_ns, created, sizeof(created));
	info_fields(info, fields);
	if (common->json && !object)
		return no_memory(common);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct slf_slice value = { texts[i].value, strlen(texts[i].value) };

		if (!object) {
			printf("%-16s ", texts[i].name);
			text_message(stdout, texts[i].value);
			putchar('\n');
		} else if (text_json_add(object, texts[i].name, value, false)) {
			goto no_memory;
		}
	}
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (!object)
			printf("%-16s %llu\n", fields[i].name, (unsigned long long)fields[i].value);
		else if (json_object_object_add(object, fields[i].name, json_object_new_uint64(fields[i].value)))
			goto no_memory;
	}
	result = info_spindles(common, db, info->spindle_count, object);
	if (result)
		json_object_put(object);
	else if (object && text_json_line(stdout, object))
		result = no_memory(common);
	return result;
no_memory:
	json_object_put(object);
	return no_memory(common);
}

static const struct argp_option info_options[] = {
	OPTION_JSON("Print one object"),
	OPTION_IO,
	{ 0 },
};

int command_info(int argc, char **argv)
{
	static const struct argp argp = {
		info_options, parse, "DB", "Print what the database is: identity, sizes, newest commits.",
		NULL,         NULL,  NULL,
	};
	struct slf_info info = { .size = sizeof(info) };
	struct common common = { .command = argv[0] };
	struct slf_db *db = NULL;
	int code = 0;
	int result = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &common);
	result = common_open_read(&common, &db);
	if (!result) {
		code = slf_info(db, &info);
		result = code ? fail(&common, code, "%s: cannot read", common.shown.text)
			      : info_print(&common, db, &info);
	}
	return output_finish(&common, common_close(&common, db, result));
}
