/* SPDX-License-Identifier: MIT */
/*
 * A database handle: opening, closing, and what keeps memory alive for handles that outlive it. The public functions stand
 * in api.c.
 */
#ifndef DB_H
#define DB_H

#include "base.h"
#include "core.h"
#include "service.h"

struct slf_db {
	struct core core;
	struct service service;
	struct io_file *side;       /* the side file, locked by the writer */
	bool locked;                /* the locks are ours */
	_Atomic uint32_t references; /* slf_close and orphaned transactions */
};

int db_open(const char *path, const struct slf_options *options, struct slf_db **db);
/* The same over a given back end, which belongs to the database from here on and is freed even on failure. */
int db_open_io(const char *path, const struct slf_options *options, struct io *io, struct slf_db **db);
/* Releases everything but what orphaned handles need. */
int db_close(struct slf_db *db);
/* An orphaned handle has ended. */
void db_unreference(struct slf_db *db);

/* 0, or SLF_EBADHANDLE after slf_close or in a forked child. */
static inline bool db_alive(const struct core *core)
{
	return atomic_load_explicit(core->alive, memory_order_relaxed) != 0;
}

#endif
