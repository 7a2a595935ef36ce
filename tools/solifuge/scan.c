/* SPDX-License-Identifier: MIT */
/* solifuge scan: a range of keys, forwards or backwards. */
#include "tool.h"

#include <string.h>

enum key { KEY_PREFIX = KEY_OWN, KEY_FROM, KEY_TO, KEY_REVERSE, KEY_KEYS, KEY_COUNT, KEY_LIMIT = 'n' };

struct scan {
	struct common common;
	char *prefix;
	char *from;
	char *to;
	uint64_t limit;
	bool reverse;
	bool keys_only;
	bool counts_only;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct scan *scan = state->input;

	switch (key) {
	case KEY_PREFIX: scan->prefix = arg; return 0;
	case KEY_FROM: scan->from = arg; return 0;
	case KEY_TO: scan->to = arg; return 0;
	case KEY_LIMIT: scan->limit = parse_number(arg, "--limit", state); return 0;
	case KEY_REVERSE: scan->reverse = true; return 0;
	case KEY_KEYS: scan->keys_only = true; return 0;
	case KEY_COUNT: scan->counts_only = true; return 0;
	case ARGP_KEY_END:
		if (scan->prefix && (scan->from || scan->to))
			argp_error(state, "give either --prefix or --from and --to, not both");
		break;
	default: break;
	}
	return common_parse(&scan->common, key, arg, state);
}

/* Sets a bound of the range from an option, decoded in its place when --hex is on. Returns an exit code. */
static int set_bound(const struct scan *scan, char *text, struct slf_slice *bound)
{
	struct text_shown shown = { "" };
	long long size = 0;

	if (!text)
		return EXIT_OK;
	shown = text_shown(text); /* decoding changes it */
	size = (long long)strlen(text);
	if (scan->common.hex)
		size = text_unhex(text, (size_t)size, (unsigned char *)text);
	if (size < 0) {
		fail_plain(&scan->common, "'%s' is not an even number of hexadecimal digits", shown.text);
		return EXIT_USAGE;
	}
	*bound = (struct slf_slice){ text, (size_t)size };
	return EXIT_OK;
}

static int print_json(const struct scan *scan, struct slf_slice key, struct slf_slice value)
{
	if (text_json_record(stdout, key, scan->keys_only ? NULL : &value, scan->common.hex))
		return fail_plain(&scan->common, "no memory for the JSON text; scan without --json");
	return EXIT_OK;
}

static int print_record(const struct scan *scan, struct slf_slice key, struct slf_slice value)
{
	void (*print)(FILE *, struct slf_slice) = scan->common.hex ? text_hex : text_escaped;

	if (scan->common.json)
		return print_json(scan, key, value);
	print(stdout, key);
	if (!scan->keys_only) {
		putchar('\t');
		print(stdout, value);
	}
	putchar('\n');
	return EXIT_OK;
}

static int scan_range(const struct scan *scan, struct slf_txn *txn, const struct slf_range *range)
{
	struct slf_slice key = { 0 };
	struct slf_slice value = { 0 };
	struct slf_cursor *cursor = NULL;
	uint64_t count = 0;
	uint32_t tree = 0;
	int code = 0;
	int result = common_tree(&scan->common, txn, 0, &tree);

	if (result)
		return result;
	code = slf_cursor_open(txn, tree, range, &cursor);
	while (!code && !result && count < scan->limit && !ferror(stdout)) {
		struct slf_slice *wanted = scan->keys_only || scan->counts_only ? NULL : &value;

		code = scan->reverse ? slf_cursor_prev(cursor, &key, wanted) : slf_cursor_next(cursor, &key, wanted);
		if (!code && !scan->counts_only)
			result = print_record(scan, key, value);
		count += !code;
	}
	slf_cursor_close(cursor);
	if (code < 0)
		result = fail(&scan->common, code, "%s: cannot read on", scan->common.shown.text);
	else if (!result && scan->counts_only)
		printf(scan->common.json ? "{\"count\":%llu}\n" : "%llu\n", (unsigned long long)count);
	return result;
}

static const struct argp_option option_table[] = {
	OPTION_TREE,
	{ "prefix", KEY_PREFIX, "KEY", 0, "Only keys that begin with KEY", 1 },
	{ "from", KEY_FROM, "KEY", 0, "Only KEY and what follows it", 1 },
	{ "to", KEY_TO, "KEY", 0, "Only what comes before KEY", 1 },
	{ "limit", KEY_LIMIT, "N", 0, "At most N records", 1 },
	{ "reverse", KEY_REVERSE, NULL, 0, "From the last to the first", 1 },
	{ "keys", KEY_KEYS, NULL, 0, "Keys only", 1 },
	{ "count", KEY_COUNT, NULL, 0, "Only how many records there are", 1 },
	OPTION_HEX("Keys are given, keys and values printed, as hexadecimal digits"),
	OPTION_JSON("Print one object per line; bytes that are not UTF-8 as key_hex and value_hex"),
	OPTION_IO,
	{ 0 },
};

int command_scan(int argc, char **argv)
{
	static const struct argp argp = {
		option_table,
		parse,
		"DB",
		"Print a range of records, one per line: key, tab, value, with bytes that are not printable as \\xHH.",
		NULL,
		NULL,
		NULL,
	};
	struct scan scan = { .limit = UINT64_MAX };
	struct slf_range range = { .flags = SLF_TRANSIENT };
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;
	int result = 0;

	scan.common.command = argv[0];
	argp_parse(&argp, argc, argv, 0, NULL, &scan);
	range.flags |= scan.prefix ? SLF_PREFIX : (scan.from ? SLF_LOWER : 0) | (scan.to ? SLF_UPPER : 0);
	result = set_bound(&scan, scan.prefix ? scan.prefix : scan.from, &range.low);
	if (!result)
		result = set_bound(&scan, scan.to, &range.high);
	if (!result)
		result = common_open_read(&scan.common, &db);
	if (!result)
		result = common_begin(&scan.common, db, SLF_READ, &txn);
	if (!result)
		result = scan_range(&scan, txn, &range);
	slf_abort(txn);
	return output_finish(&scan.common, common_close(&scan.common, db, result));
}
