/* SPDX-License-Identifier: MIT */
/*
 * What the commands of solifuge(1) share: exit codes, common options, opening, messages. A command is a function that
 * gets its own argument vector and returns an exit code; it prints results to standard output and all else to
 * standard error. One thread.
 */
#ifndef TOOL_H
#define TOOL_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <solifuge.h>

#include "output.h"
#include "progress.h"
#include "text.h"

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOTFOUND = 3,
	EXIT_DAMAGED = 4,
};

/* Options that several commands know. It is the first member of each command's own struct. */
struct common {
	const char *command;   /* "solifuge get" */
	const char *path;      /* the database */
	struct text_shown shown; /* its path in messages */
	const char *tree_name; /* NULL: the main tree */
	int io;                /* enum slf_io */
	int sync;              /* enum slf_sync_mode */
	uint64_t batch;        /* records per transaction */
	bool hex;
	bool json;
	bool rescues; /* this is dump --rescue, which then is no advice */
	bool damaged; /* commits are lost: what is read is the newest good one */
	struct output output;
	struct progress recovery;
};

/* Keys of the common options; a command lists those that it knows in its own argp_option table. */
enum common_key { KEY_IO = 1000, KEY_SYNC, KEY_BATCH, KEY_HEX, KEY_JSON, KEY_FORCE, KEY_OWN };

#define OPTION_IO                                                                \
	{                                                                        \
		"io", KEY_IO, "BACKEND", 0, "Carry the I/O by uring or posix", 8 \
	}
#define OPTION_SYNC                                                                                             \
	{                                                                                                       \
		"sync", KEY_SYNC, "MODE", 0, "Flush at every commit (the default) or none: once, at the end", 8 \
	}
#define OPTION_BATCH                                                                    \
	{                                                                               \
		"batch", KEY_BATCH, "N", 0, "Records per transaction (default 1000)", 8 \
	}
#define OPTION_TREE                                                                     \
	{                                                                               \
		"tree", 's', "NAME", 0, "Use the tree NAME instead of the main tree", 1 \
	}
#define OPTION_HEX(text)                         \
	{                                        \
		"hex", KEY_HEX, NULL, 0, text, 1 \
	}
#define OPTION_FORCE                                                            \
	{                                                                       \
		"force", KEY_FORCE, NULL, 0, "Replace FILE, if there is something in it", 1 \
	}
#define OPTION_JSON(text)                          \
	{                                          \
		"json", KEY_JSON, NULL, 0, text, 1 \
	}

/* Handles a common option, and the database as the first argument. ARGP_ERR_UNKNOWN for everything else. */
error_t common_parse(struct common *common, int key, char *arg, struct argp_state *state);

/* A whole number, with K, M or G for powers of 1024; anything else ends the program with a usage error. */
uint64_t parse_number(const char *text, const char *what, const struct argp_state *state);

/* The file that output goes to; an empty name ends the program with a usage error. */
void parse_output(struct common *common, const char *path, const struct argp_state *state);

/* Tells "COMMAND: what" on standard error, as one line and without what a terminal might obey: all messages go through here.
 * From any thread. */
void tell(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tells "COMMAND: what: reason" with the library's detail and a hint; returns the exit code for code. */
int fail(const struct common *common, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Tells why the database did not open; creates: the command makes one that is not there. Returns the exit code. */
int fail_open(const struct common *common, int code, bool creates);

/* As fail(), for a failure that is not the library's; the format tells all. Returns EXIT_FAILED. */
int fail_plain(const struct common *common, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Opens the database with the common options and flags; on failure tells why and returns an exit code. */
int common_open(struct common *common, unsigned flags, struct slf_db **db);

/* As common_open, for a command that only reads: by pread and not through a map, where a sector that cannot be read, or a
 * file that somebody cuts, is a signal and no error. Notes whether commits are lost. */
int common_open_read(struct common *common, struct slf_db **db);

/* As slf_begin, with a message. */
int common_begin(const struct common *common, struct slf_db *db, unsigned flags, struct slf_txn **txn);

/* Finds the tree that the options name (SLF_CREATE makes it); tells why and returns an exit code otherwise. */
int common_tree(const struct common *common, struct slf_txn *txn, unsigned flags, uint32_t *tree);

/*
 * Closes db; a failure is told and becomes the result when result is EXIT_OK. db may be NULL. When commits are lost neither
 * that all is well nor that something is not there can be said: EXIT_OK and EXIT_NOTFOUND become EXIT_DAMAGED.
 */
int common_close(const struct common *common, struct slf_db *db, int result);


int command_create(int argc, char **argv);
int command_load(int argc, char **argv);
int command_dump(int argc, char **argv);
int command_get(int argc, char **argv);
int command_put(int argc, char **argv);
int command_del(int argc, char **argv);
int command_scan(int argc, char **argv);
int command_stat(int argc, char **argv);
int command_info(int argc, char **argv);

#endif
