/* SPDX-License-Identifier: MIT */
/* solifuge get, put and del: single keys. */
#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum key { KEY_FILE = 'f', KEY_OUTPUT = 'o' };

struct point {
	struct common common;
	const char *file; /* where the value comes from */
	char **arguments; /* behind the database */
	int argument_count;
	int argument_min;
	int argument_max; /* 0: any number */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct point *point = state->input;
	error_t result = 0;

	if (key == KEY_FILE) {
		point->file = arg;
		return 0;
	}
	if (key == KEY_OUTPUT) {
		parse_output(&point->common, arg, state);
		return 0;
	}
	result = common_parse(&point->common, key, arg, state);
	if (result == ARGP_ERR_UNKNOWN && key == ARGP_KEY_ARG) {
		point->arguments = state->argv + state->next - 1;
		point->argument_count = state->argc - state->next + 1;
		state->next = state->argc;
		if (point->argument_max && point->argument_count > point->argument_max)
			argp_error(state, "too many arguments");
		return 0;
	}
	if (key == ARGP_KEY_END && point->argument_count < point->argument_min)
		argp_error(state, "no key given");
	return result;
}

/* The bytes of an argument, decoded in its place when --hex is on. Returns an exit code. */
static int argument_bytes(const struct point *point, char *argument, struct slf_slice *bytes)
{
	struct text_shown shown = text_shown(argument); /* decoding changes it */
	long long size = (long long)strlen(argument);

	if (point->common.hex) {
		size = text_unhex(argument, (size_t)size, (unsigned char *)argument);
		if (size < 0) {
			fail_plain(&point->common, "'%s' is not an even number of hexadecimal digits", shown.text);
			return EXIT_USAGE;
		}
	}
	*bytes = (struct slf_slice){ argument, (size_t)size };
	return EXIT_OK;
}

static int get_print(const struct point *point, struct slf_slice key, struct slf_slice value)
{
	if (point->common.json) {
		if (text_json_record(stdout, key, &value, point->common.hex))
			return fail_plain(&point->common, "no memory for the JSON text; read it without --json");
	} else if (point->common.hex) {
		text_hex(stdout, value);
		putchar('\n');
	} else {
		fwrite(value.data, 1, value.size, stdout);
		if (isatty(STDOUT_FILENO) == 1)
			putchar('\n');
	}
	return EXIT_OK;
}

static int get(struct point *point, struct slf_txn *txn, struct slf_slice key)
{
	struct slf_slice value = { 0 };
	uint32_t tree = 0;
	int result = common_tree(&point->common, txn, 0, &tree);

	if (result)
		return result;
	result = slf_get(txn, tree, key, &value);
	if (result == SLF_NOTFOUND) {
		tell(point->common.command, "key not found in %s", point->common.shown.text);
		return EXIT_NOTFOUND;
	}
	if (result)
		return fail(&point->common, result, "cannot read the key from %s", point->common.shown.text);
	return get_print(point, key, value);
}

static const struct argp_option get_options[] = {
	{ "output", KEY_OUTPUT, "FILE", 0, "Write the value to FILE instead of standard output", 1 },
	OPTION_FORCE,
	OPTION_TREE,
	OPTION_HEX("The key is given, and the value printed, as hexadecimal digits"),
	OPTION_JSON("Print an object with key and value; bytes that are not UTF-8 as key_hex and value_hex"),
	OPTION_IO,
	{ 0 },
};

int command_get(int argc, char **argv)
{
	static const struct argp argp = {
		get_options, parse,
		"DB KEY",    "Print the value of KEY: its bytes as they are, followed by a newline only on a terminal.",
		NULL,        NULL,
		NULL,
	};
	struct point point = { .argument_min = 1, .argument_max = 1 };
	struct slf_slice key = { 0 };
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;
	int result = 0;

	point.common.command = argv[0];
	argp_parse(&argp, argc, argv, 0, NULL, &point);
	result = argument_bytes(&point, point.arguments[0], &key);
	if (!result)
		result = common_open_read(&point.common, &db);
	if (!result)
		result = common_begin(&point.common, db, SLF_READ, &txn);
	if (!result)
		result = output_open(&point.common, db);
	if (!result)
		result = get(&point, txn, key);
	point.common.output.complete = !result;
	slf_abort(txn);
	return output_finish(&point.common, common_close(&point.common, db, result));
}

/* Reads the whole of a file into a buffer that the caller frees. */
static int read_all(const struct point *point, char **data, size_t *size)
{
	bool standard = !point->file || !strcmp(point->file, "-");
	FILE *in = standard ? stdin : fopen(point->file, "re");
	size_t room = 0;
	size_t got = 0;

	*size = 0;
	*data = NULL;
	if (!in)
		return fail_plain(&point->common, "cannot read %s: %s", text_shown(point->file).text, strerror(errno));
	do {
		if (*size == room) {
			char *grown = realloc(*data, room = room ? 2 * room : 65536);

			if (!grown) {
				if (!standard)
					fclose(in);
				return fail_plain(&point->common, "no memory for a value of %zu bytes", room);
			}
			*data = grown;
		}
		got = fread(*data + *size, 1, room - *size, in);
		*size += got;
	} while (got);
	got = (size_t)ferror(in);
	if (!standard)
		fclose(in);
	return got ? fail_plain(&point->common, "cannot read %s: %s",
				standard ? "standard input" : text_shown(point->file).text, strerror(errno))
		   : EXIT_OK;
}

static int put(struct point *point, struct slf_db *db, struct slf_slice key, struct slf_slice value)
{
	struct slf_txn *txn = NULL;
	uint32_t tree = 0;
	int code = 0;
	int result = common_begin(&point->common, db, SLF_WRITE, &txn);

	if (!result)
		result = common_tree(&point->common, txn, SLF_CREATE, &tree);
	if (result)
		goto out;
	code = slf_put(txn, tree, key, value);
	if (!code) {
		code = slf_commit(txn, NULL);
		txn = NULL;
	}
	if (code)
		result = fail(&point->common, code, "cannot write to %s", point->common.shown.text);
out:
	slf_abort(txn);
	return result;
}

static const struct argp_option put_options[] = {
	{ "file", KEY_FILE, "FILE", 0, "Take the value from FILE", 1 },
	OPTION_TREE,
	OPTION_HEX("KEY and VALUE are given as hexadecimal digits"),
	OPTION_IO,
	OPTION_SYNC,
	{ 0 },
};

int command_put(int argc, char **argv)
{
	static const struct argp argp = {
		put_options,
		parse,
		"DB KEY [VALUE]",
		"Set KEY to VALUE, or to all of standard input when there is no VALUE. A tree that is not there is "
		"made.",
		NULL,
		NULL,
		NULL,
	};
	struct point point = { .argument_min = 1, .argument_max = 2 };
	struct slf_slice key = { 0 };
	struct slf_slice value = { 0 };
	struct slf_db *db = NULL;
	char *data = NULL;
	int result = 0;

	point.common.command = argv[0];
	argp_parse(&argp, argc, argv, 0, NULL, &point);
	if (point.argument_count == 2 && point.file) {
		fail_plain(&point.common, "give either VALUE or --file, not both");
		return EXIT_USAGE;
	}
	result = argument_bytes(&point, point.arguments[0], &key);
	if (!result && point.argument_count == 2) {
		result = argument_bytes(&point, point.arguments[1], &value);
	} else if (!result) {
		result = read_all(&point, &data, &value.size);
		value.data = data;
	}
	if (!result)
		result = common_open(&point.common, 0, &db);
	if (!result)
		result = put(&point, db, key, value);
	result = common_close(&point.common, db, result);
	free(data);
	return result;
}

/* Removes every key in one transaction; keys that are not there do not keep the others. */
static int del(struct point *point, struct slf_db *db)
{
	struct slf_txn *txn = NULL;
	struct slf_slice key = { 0 };
	uint32_t tree = 0;
	int missing = 0;
	int code = 0;
	int result = common_begin(&point->common, db, SLF_WRITE, &txn);

	if (!result)
		result = common_tree(&point->common, txn, 0, &tree);
	for (int i = 0; !result && i < point->argument_count; i++) {
		result = argument_bytes(point, point->arguments[i], &key);
		code = result ? 0 : slf_del(txn, tree, key);
		if (code == SLF_NOTFOUND)
			missing++;
		else if (code)
			result = fail(&point->common, code, "cannot remove a key from %s", point->common.shown.text);
	}
	if (result) {
		slf_abort(txn);
		return result;
	}
	code = slf_commit(txn, NULL);
	if (code)
		return fail(&point->common, code, "cannot write to %s", point->common.shown.text);
	if (missing)
		tell(point->common.command, "%d of %d keys not found in %s", missing, point->argument_count,
		     point->common.shown.text);
	return missing ? EXIT_NOTFOUND : EXIT_OK;
}

static const struct argp_option del_options[] = {
	OPTION_TREE, OPTION_HEX("The keys are given as hexadecimal digits"), OPTION_IO, OPTION_SYNC, { 0 },
};

int command_del(int argc, char **argv)
{
	static const struct argp argp = {
		del_options, parse, "DB KEY...", "Remove keys, all in one transaction.", NULL, NULL, NULL,
	};
	struct point point = { .argument_min = 1 };
	struct slf_db *db = NULL;
	int result = 0;

	point.common.command = argv[0];
	argp_parse(&argp, argc, argv, 0, NULL, &point);
	result = common_open(&point.common, 0, &db);
	if (!result)
		result = del(&point, db);
	return common_close(&point.common, db, result);
}
