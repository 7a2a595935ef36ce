/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TREE_NAME_BYTES_MAX 255

uint64_t parse_number(const char *text, const char *what, const struct argp_state *state)
{
	char *end = NULL;
	unsigned long long number = 0;
	unsigned shift = 0;

	errno = 0;
	number = strtoull(text, &end, 10);
	switch (*end) {
	case 'K':
		shift = 10;
		end++;
		break;
	case 'M':
		shift = 20;
		end++;
		break;
	case 'G':
		shift = 30;
		end++;
		break;
	default: break;
	}
	if (errno || *end || text[0] < '0' || text[0] > '9' || number > UINT64_MAX >> shift)
		argp_error(state, "%s: '%s' is not a number; use digits, with K, M or G for KiB, MiB or GiB", what,
			   text_shown(text).text);
	return (uint64_t)number << shift;
}

void parse_output(struct common *common, const char *path, const struct argp_state *state)
{
	if (!path[0])
		argp_error(state, "the name of the output file is empty");
	common->output.path = path;
}

static int parse_io(const char *arg, const struct argp_state *state)
{
	if (!strcmp(arg, "uring"))
		return SLF_IO_URING;
	if (strcmp(arg, "posix") != 0)
		argp_error(state, "--io: '%s' is not a back end; use uring or posix", text_shown(arg).text);
	return SLF_IO_POSIX;
}

static int parse_sync(const char *arg, const struct argp_state *state)
{
	if (!strcmp(arg, "commit"))
		return SLF_SYNC_COMMIT;
	if (strcmp(arg, "none") != 0)
		argp_error(state, "--sync: '%s' is not a mode; use commit or none", text_shown(arg).text);
	return SLF_SYNC_NONE;
}

error_t common_parse(struct common *common, int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case KEY_IO: common->io = parse_io(arg, state); return 0;
	case KEY_SYNC: common->sync = parse_sync(arg, state); return 0;
	case KEY_BATCH:
		common->batch = parse_number(arg, "--batch", state);
		if (!common->batch)
			argp_error(state, "--batch: 0 records never finish; use 1 or more");
		return 0;
	case 's':
		if (!arg[0] || strlen(arg) > TREE_NAME_BYTES_MAX)
			argp_error(state, "--tree: a tree's name has 1 to %d bytes", TREE_NAME_BYTES_MAX);
		common->tree_name = arg;
		return 0;
	case KEY_HEX: common->hex = true; return 0;
	case KEY_FORCE: common->output.force = true; return 0;
	case KEY_JSON: common->json = true; return 0;
	case ARGP_KEY_ARG:
		if (common->path)
			return ARGP_ERR_UNKNOWN;
		common->path = arg;
		common->shown = text_shown(arg);
		return 0;
	case ARGP_KEY_END:
		if (!common->path)
			argp_error(state, "no database given");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static void tell_list(const char *command, const char *format, va_list arguments)
{
	char *what = NULL;
	int length = vasprintf(&what, format, arguments);

	flockfile(stderr);
	fprintf(stderr, "%s: ", command);
	text_message(stderr, length < 0 ? "no memory for the message" : what);
	fputc('\n', stderr);
	funlockfile(stderr);
	if (length >= 0)
		free(what);
}

void tell(const char *command, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	tell_list(command, format, arguments);
	va_end(arguments);
}

/* What to do about a failure of any call. */
static const char *hint_of(const struct common *common, int code)
{
	switch (code) {
	case -EEXIST: return "choose another path, or remove the old file first";
	case -EACCES: return "check the permissions of the file and of its directory";
	case -EROFS: return "copy the database to where it can be written; reading works here";
	case -ENOSPC: return "free some space on that file system and run the command again";
	case -EISDIR: return "give the path of the database file; a database is a file, not a directory";
	case SLF_ELOCKED: return "end the program that has it open for writing, or wait for it; reading works meanwhile";
	case SLF_ENOTDB: return "check the path; nothing was changed";
	case SLF_EINCOMPATIBLE: return "use a newer version of solifuge; nothing was changed";
	case SLF_ECORRUPT:
		return common->rescues ? "keep the files as they are, and take what is missing from an older copy"
				       : "keep the files as they are, and save what is whole with: solifuge dump --rescue DB";
	case SLF_ETOOBIG: return "keys end at 65535 bytes, values at 4 GiB - 64 KiB, key and value together below 4 GiB";
	default: return NULL;
	}
}

/* What to do when a database does not open, where that is something else. named: text is about the file of DB itself. */
static const char *hint_of_open(const struct common *common, int code, bool creates, bool named)
{
	if (code == -ENOENT && creates)
		return "check the path, and that its directory exists";
	if (code == -ENOENT)
		return named ? "check the path, or make a new database with: solifuge create DB"
			     : "every file of the database is needed; put that one back in its place";
	if (code == SLF_ECORRUPT && !common->rescues)
		return "keep the files as they are; see whether solifuge dump --rescue reads them, else use an older copy";
	return hint_of(common, code);
}

static int exit_of(int code)
{
	if (code == 0)
		return EXIT_OK;
	if (code == SLF_NOTFOUND)
		return EXIT_NOTFOUND;
	return code == SLF_ECORRUPT ? EXIT_DAMAGED : EXIT_FAILED;
}

int fail(const struct common *common, int code, const char *format, ...)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	const char *hint = hint_of(common, code);
	char *what = NULL;
	va_list arguments;

	slf_errinfo(&info);
	va_start(arguments, format);
	if (vasprintf(&what, format, arguments) < 0)
		what = NULL;
	va_end(arguments);
	tell(common->command, "%s: %s (%d)", what ? what : "no memory for the message",
	     info.code == code && info.text[0] ? info.text : slf_strerror(code), code);
	free(what);
	if (hint)
		tell(common->command, "%s", hint);
	return exit_of(code);
}

int fail_open(const struct common *common, int code, bool creates)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	size_t length = strlen(common->path);
	const char *hint = NULL;
	bool named = true;

	slf_errinfo(&info);
	if (info.code == code && info.text[0]) {
		named = (!strncmp(info.text, common->path, length) && info.text[length] == ':') ||
			!strncmp(info.text, "...", 3); /* the library shortens long paths */
		tell(common->command, "%s (%d)", info.text, code);
	} else {
		tell(common->command, "%s: cannot open: %s (%d)", common->shown.text, slf_strerror(code), code);
	}
	hint = hint_of_open(common, code, creates, named);
	if (hint)
		tell(common->command, "%s", hint);
	return exit_of(code);
}

int fail_plain(const struct common *common, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	tell_list(common->command, format, arguments);
	va_end(arguments);
	return EXIT_FAILED;
}

/* What the library tells beside its results, from any of its threads: whatever it is, somebody may have to know. */
static void hear(void *context, int level, const char *text)
{
	const struct common *common = context;

	(void)level;
	tell(common->command, "%s", text);
}

int common_open(struct common *common, unsigned flags, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	int result = 0;

	options.flags = flags;
	options.io = common->io;
	options.sync = common->sync;
	options.progress = progress_phase;
	options.progress_context = &common->recovery;
	options.log = hear;
	options.log_context = common;
	options.arena_bytes = UINT64_MAX; /* one value, however large */
	result = slf_open(common->path, &options, db);
	return result ? fail_open(common, result, flags & SLF_CREATE) : EXIT_OK;
}

int common_open_read(struct common *common, struct slf_db **db)
{
	struct slf_info info = { .size = sizeof(info) };
	int result = common_open(common, SLF_READONLY | SLF_NO_MAP, db);
	int code = result ? 0 : slf_info(*db, &info);

	common->damaged = info.damaged;
	return code ? fail(common, code, "%s: cannot read", common->shown.text) : result;
}

int common_begin(const struct common *common, struct slf_db *db, unsigned flags, struct slf_txn **txn)
{
	int result = slf_begin(db, flags, txn);

	return result ? fail(common, result, "%s: cannot begin a transaction", common->shown.text) : EXIT_OK;
}

int common_tree(const struct common *common, struct slf_txn *txn, unsigned flags, uint32_t *tree)
{
	int result = 0;

	*tree = SLF_MAIN;
	if (!common->tree_name)
		return EXIT_OK;
	result = slf_tree_open(txn, common->tree_name, flags, tree);
	if (result == SLF_NOTFOUND) {
		tell(common->command, "%s has no tree '%s'; list the trees with: solifuge stat %s", common->shown.text,
		     text_shown(common->tree_name).text, common->shown.text);
		return EXIT_NOTFOUND;
	}
	return result ? fail(common, result, "%s: cannot open tree '%s'", common->shown.text,
			     text_shown(common->tree_name).text)
		      : EXIT_OK;
}

int common_close(const struct common *common, struct slf_db *db, int result)
{
	int closed = slf_close(db);

	if (common->damaged && (result == EXIT_OK || result == EXIT_NOTFOUND))
		result = EXIT_DAMAGED;
	if (!closed)
		return result;
	closed = fail(common, closed, "cannot close %s, the last changes may not be durable", common->shown.text);
	return result ? result : closed;
}
