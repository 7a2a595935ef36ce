/* SPDX-License-Identifier: MIT */
/*
 * Reads a damaged tree as far as the public interface leads: from its beginning and from its end to the damage, and what lies
 * between two damaged places by seeking keys between those that are known. Each record comes once, but not in order.
 */
#ifndef RESCUE_H
#define RESCUE_H

#include "tool.h"

struct rescue {
	const struct common *common;
	struct slf_txn *txn;
	uint32_t tree;
	const char *name; /* NULL: the main tree */
	FILE *out;        /* nothing more is read when it has failed */
	bool quiet;       /* says nothing */
	void (*each)(void *context, struct slf_slice key, struct slf_slice value);
	void *context;
	uint64_t records; /* given to each */
	bool damaged;     /* some were left out */
	bool closed;      /* it could not even be opened */
	struct rescue_state *state;
};

/* Reads the tree, and tells what is left out. A library result; damage is none. */
int rescue_tree(struct rescue *rescue);

#endif
