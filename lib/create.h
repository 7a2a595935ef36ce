/* SPDX-License-Identifier: MIT */
/*
 * Making a new database. The files are written and flushed without names and get them at the end, the further spindles
 * first, spindle 0 last: its name is the one commit point. One thread.
 */
#ifndef CREATE_H
#define CREATE_H

#include "base.h"
#include "core.h"

/* -EEXIST when a name is taken. On failure nothing is left. options has been checked; settings are its defaults applied. */
int create_run(struct io *io, const char *path, const struct slf_options *options, const struct settings *settings);

/* The path of a further spindle as the table has it, made openable: relative ones are relative to spindle 0's directory.
 * malloc; the caller frees. NULL without memory. */
char *spindle_resolve(const char *path, const char *entry);

#endif
