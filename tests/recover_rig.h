/* SPDX-License-Identifier: MIT */
/* Databases over three files on the simulated disk, with commits by number, that were not closed. */
#ifndef RECOVER_RIG_H
#define RECOVER_RIG_H

#include "gate_rig.h"

#define COMMITS 30

/* What a progress function was told. */
struct heard {
	uint64_t done, total;
	unsigned reading, replaying; /* all but the latter are the former */
	unsigned checking;
	uint64_t checked, check_total; /* as told last of the values */
	unsigned stop_at; /* the call with this number stops the opening; 0: none does */
	unsigned stop_check_at; /* the same of those that tell of values */
	bool wrong;
};

/* heard may be NULL. */
int open_three(struct sim_disk *disk, unsigned flags, struct heard *heard, struct slf_db **db);
const char *name_of(unsigned index, char *name);
/* Commits the put with this number: its seq. Every third value goes to bulk at once. */
uint64_t commit_one(struct slf_db *db, unsigned index);
/* How many of the commits are there; they have to be the first ones, whole. */
unsigned prefix(struct slf_db *db);
/* A database that has not been closed, with a checkpoint in the middle. */
struct sim_disk *unclean_disk(uint64_t *seqs, uint64_t *seq_limit);
/* Commits values that fill extents of all three spindles, and tells whether they are there. */
void commit_huge(struct slf_db *db);
bool has_huge(struct slf_db *db);
/* Turns a bit at a place of spindle 0. */
void flip(struct sim_disk *disk, uint64_t offset);
/* Writes something else over the entry at a position of any spindle. */
void spoil(struct sim_disk *disk, uint64_t position);

#endif
