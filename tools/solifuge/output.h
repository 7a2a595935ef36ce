/* SPDX-License-Identifier: MIT */
/*
 * Where results go: standard output, or a file in its place. A regular file is written under another name beside its own, and
 * gets its own when it is complete: a command that fails leaves the old file as it is. Failures are told, and come back as an
 * exit code.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stdbool.h>

#include <solifuge.h>

struct common;

/* Zeroed: standard output. */
struct output {
	const char *path;  /* NULL: standard output */
	bool force;        /* a file with something in it may be replaced */
	char *target;      /* of a regular file: its own name, symbolic links followed */
	char *part;        /* and the one that it has until it is complete */
	bool replaces;     /* a file that was there */
	bool complete;     /* set by the command */
	bool keeps_part;   /* set by the command: what there is stays when it is not */
};

/* Puts the file output.path, if there is one, in the place of standard output. Refuses the files of db, and without force one
 * that holds something. */
int output_open(struct common *common, struct slf_db *db);

/* Flushes the output and gives the file its name. A failure becomes the result when that is EXIT_OK. Closes nothing. */
int output_finish(struct common *common, int result);

/* For atexit(): what argp and the help print is output too. Ends the program with EXIT_FAILED when it could not be written. */
void output_at_exit(void);

#endif
