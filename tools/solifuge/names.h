/* SPDX-License-Identifier: MIT */
/*
 * The named trees of a database, in the order of their names. A rescue goes past the damage of their list: the names behind it
 * follow, and then the trees whose names are lost, each by its id and as lost-ID.
 */
#ifndef NAMES_H
#define NAMES_H

#include "tool.h"

/* Zeroed but for the first three, it stands before the first tree. */
struct names {
	const struct common *common;
	struct slf_txn *txn;
	bool quiet;       /* says nothing */
	bool damaged;     /* names, or trees with them, are lost */
	char name[256];   /* of the tree that it stands on */
	uint32_t tree;
	bool by_id;       /* behind the names */
	uint64_t probes;
	uint32_t *ids;    /* that have had their name; behind the names in order */
	size_t id_count;
	size_t id_room;
};

/* Goes to the next tree. SLF_END, or a library result; damage is none where common->rescues. */
int names_next(struct names *names);
void names_release(struct names *names);

#endif
