/* SPDX-License-Identifier: MIT */
#include "reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char crlf[] = "the lines end in CR LF; take the CR away, with: tr -d '\\r'";

static int bad_line(struct reader *reader, const char *reason)
{
	reader->malformed = true;
	return fail_plain(reader->common, "%s: line %llu: %s", reader->shown.text, (unsigned long long)reader->line,
			  reason);
}

static int fail_read(const struct reader *reader, int error)
{
	if (reader->line)
		return fail_plain(reader->common, "%s: cannot read on behind line %llu: %s", reader->shown.text,
				  (unsigned long long)reader->line, strerror(error));
	return fail_plain(reader->common, "cannot read %s: %s", reader->shown.text, strerror(error));
}

int reader_open(struct reader *reader, const struct common *common, const char *path, bool plain)
{
	bool standard = !path || !strcmp(path, "-");
	struct stat stat = { 0 };
	int error = 0;

	*reader = (struct reader){ .common = common, .plain = plain, .print = plain };
	reader->shown = text_shown(standard ? "standard input" : path);
	reader->in = standard ? stdin : fopen(path, "re");
	error = errno;
	if (!reader->in)
		return fail_read(reader, error);
	if (!fstat(fileno(reader->in), &stat) && S_ISREG(stat.st_mode))
		reader->total = (uint64_t)stat.st_size;
	return EXIT_OK;
}

void reader_close(struct reader *reader)
{
	if (reader->in && reader->in != stdin)
		fclose(reader->in);
	free(reader->key.data);
	free(reader->value.data);
}

/* Reads one line without its newline; *more is false at the end of the input. */
static int read_line(struct reader *reader, struct reader_line *line, bool *more)
{
	ssize_t got = 0;

	errno = 0;
	got = getline(&line->data, &line->room, reader->in);
	*more = got >= 0;
	line->size = 0;
	if (got < 0)
		return !feof(reader->in) || ferror(reader->in) ? fail_read(reader, errno) : EXIT_OK;
	reader->line++;
	reader->bytes += (uint64_t)got;
	line->size = (size_t)got;
	line->ended = line->data[line->size - 1] == '\n';
	if (line->ended)
		line->data[--line->size] = 0;
	return EXIT_OK;
}

/* Header lines that other stores write and that mean nothing here. */
static bool is_ignored(const char *name)
{
	static const char *const names[] = { "mapsize",   "maxreaders", "mapaddr", "db_pagesize",
					     "db_lorder", "bt_minkey",  "chksum",  "extentsize",
					     "h_ffactor", "h_nelem",    "keys" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(name, names[i]))
			return true;
	}
	return false;
}

/* Header lines that tell of keys with several values. */
static bool is_duplicates(const char *name)
{
	return !strcmp(name, "duplicates") || !strcmp(name, "dupsort") || !strcmp(name, "dupfixed") ||
	       !strcmp(name, "integerdup") || !strcmp(name, "reversedup");
}

static int header_line(struct reader *reader, const char *name, const char *value)
{
	if (!strcmp(name, "VERSION"))
		return strcmp(value, "3") ? bad_line(reader, "this is not VERSION=3; dump the data anew") : EXIT_OK;
	if (!strcmp(name, "format")) {
		reader->print = !strcmp(value, "print");
		return reader->print || !strcmp(value, "bytevalue")
			       ? EXIT_OK
			       : bad_line(reader, "unknown format; use bytevalue or print");
	}
	if (!strcmp(name, "database") || !strcmp(name, "subdatabase")) {
		if (!value[0] || strlen(value) >= sizeof(reader->database))
			return bad_line(reader, "a tree's name has 1 to 255 bytes");
		strcpy(reader->database, value);
		return EXIT_OK;
	}
	if (!strcmp(name, "type"))
		return strcmp(value, "btree") && strcmp(value, "hash")
			       ? bad_line(reader, "only type=btree and type=hash have keys and values")
			       : EXIT_OK;
	if (!strcmp(name, "integerkey") || !strcmp(name, "reversekey"))
		return strcmp(value, "0") ? bad_line(reader, "keys in an order that is not that of their bytes; "
							     "take this line out to load them in that of their bytes")
					  : EXIT_OK;
	if (is_duplicates(name))
		return strcmp(value, "0") ? bad_line(reader, "keys with several values are not supported; "
							     "join the values, or make the value a part of the key")
					  : EXIT_OK;
	if (!is_ignored(name))
		tell(reader->common->command, "%s: line %llu: header '%s' is not known and was ignored",
		     reader->shown.text, (unsigned long long)reader->line, text_shown(name).text);
	return EXIT_OK;
}

int reader_section(struct reader *reader, bool *more)
{
	static const char no_dump[] = "a dump begins with VERSION=3; use -T for plain lines of text";
	struct reader_line *line = &reader->key;
	bool first = true;
	int result = EXIT_OK;

	*more = true;
	if (reader->plain) {
		*more = !feof(reader->in);
		return EXIT_OK;
	}
	reader->print = false;
	reader->database[0] = 0;
	for (;;) {
		char *equals = NULL;

		result = read_line(reader, line, more);
		if (result || (!*more && first))
			return result;
		if (!*more)
			return bad_line(reader, "the input ends inside a header");
		equals = memchr(line->data, '=', line->size);
		if (!equals || memchr(line->data, 0, line->size))
			return bad_line(reader, first ? no_dump : "this is not a header line NAME=VALUE");
		if (first && line->data[line->size - 1] == '\r')
			return bad_line(reader, crlf);
		*equals = 0;
		if (first && strcmp(line->data, "VERSION") != 0)
			return bad_line(reader, no_dump);
		first = false;
		if (!strcmp(line->data, "HEADER") && !strcmp(equals + 1, "END"))
			return EXIT_OK;
		result = header_line(reader, line->data, equals + 1);
		if (result)
			return result;
	}
}

static bool ends_in_return(const struct reader_line *line)
{
	return line->size && line->data[line->size - 1] == '\r';
}

/* Decodes a data line where it stands. */
static int decode(struct reader *reader, struct reader_line *line, struct slf_slice *bytes)
{
	unsigned skip = reader->plain ? 0 : 1;
	char *data = line->data + skip;
	long long size = 0;

	if (skip && !strcmp(line->data, "DATA=END\r"))
		return bad_line(reader, crlf);
	if (skip && !line->ended) /* what is left of it may look like a whole value */
		return bad_line(reader, "the input ends inside this line; it was cut short");
	if (skip && (!line->size || line->data[0] != ' '))
		return bad_line(reader, "a data line begins with a space; DATA=END ends the data");
	if (reader->print)
		size = text_unprint(data, line->size - skip, (unsigned char *)data);
	else
		size = text_unhex(data, line->size - skip, (unsigned char *)data);
	if (size < 0 && !reader->plain && ends_in_return(line))
		return bad_line(reader, crlf);
	if (size < 0)
		return bad_line(reader, reader->print
						? "a backslash needs two hexadecimal digits or a backslash behind it"
						: "this is not an even number of hexadecimal digits");
	*bytes = (struct slf_slice){ data, (size_t)size };
	return EXIT_OK;
}

int reader_record(struct reader *reader, struct slf_slice *key, struct slf_slice *value, bool *more)
{
	int result = read_line(reader, &reader->key, more);

	if (result)
		return result;
	if (!*more)
		return reader->plain ? EXIT_OK : bad_line(reader, "the input ends without DATA=END; it was cut short");
	if (!reader->plain && !strcmp(reader->key.data, "DATA=END")) {
		*more = false;
		return EXIT_OK;
	}
	reader->key_line = reader->line;
	result = decode(reader, &reader->key, key);
	if (!result)
		result = read_line(reader, &reader->value, more);
	if (result)
		return result;
	if (!*more || (!reader->plain && !strcmp(reader->value.data, "DATA=END")))
		return bad_line(reader, "the last key has no value; the lines come in pairs");
	return decode(reader, &reader->value, value);
}
