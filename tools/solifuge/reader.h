/* SPDX-License-Identifier: MIT */
/*
 * Reads the text format of dumps (VERSION=3), or plain lines of text in pairs. Lines may be as long as memory allows.
 * Every failure is told with file and line, and comes back as an exit code.
 */
#ifndef READER_H
#define READER_H

#include <sys/types.h>

#include "tool.h"

struct reader_line {
	char *data;
	size_t room;
	size_t size;
	bool ended; /* by a newline; false: by the end of the input */
};

struct reader {
	const struct common *common;
	FILE *in;
	struct text_shown shown; /* the name in messages */
	uint64_t line;
	uint64_t key_line;  /* of the last record's key; its value is behind it */
	bool malformed;     /* it is the input that a failure is about */
	uint64_t bytes;     /* read so far */
	uint64_t total;     /* of a regular file, else 0 */
	bool plain;         /* no header, no leading space, escapes decoded */
	bool print;         /* format=print in this section */
	char database[256]; /* database= of this section, "" without one */
	struct reader_line key;
	struct reader_line value;
};

/* path NULL or "-": standard input. */
int reader_open(struct reader *reader, const struct common *common, const char *path, bool plain);
void reader_close(struct reader *reader);

/* Reads the header of the next section. *more is false at the end of the input. */
int reader_section(struct reader *reader, bool *more);

/* Reads the next record of the section; the slices live until the next call. *more is false at the section's end. */
int reader_record(struct reader *reader, struct slf_slice *key, struct slf_slice *value, bool *more);

#endif
