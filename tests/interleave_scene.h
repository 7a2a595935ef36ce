/* SPDX-License-Identifier: MIT */
/*
 * A database on the simulated disk, used by several threads under the scheduler, with a model beside it. Every transaction
 * writes the number of its state under one key, so each snapshot says which state it claims to be, and is compared with all
 * of that one.
 */
#ifndef INTERLEAVE_SCENE_H
#define INTERLEAVE_SCENE_H

#include "db.h"
#include "schedule.h"
#include "sim_disk.h"

/* How many threads of a kind there are and how often each does its work. */
struct crew {
	unsigned threads, rounds;
};

struct interleave_scene {
	const char *name;
	int sync;
	unsigned flags;            /* of slf_open */
	struct crew writers, readers, checkpointers, syncers;
	unsigned async;            /* of four commits */
	unsigned large;            /* of eight transactions: more than the log may hold */
	unsigned bulky;            /* of eight puts: a value that goes to bulk at once */
	unsigned preload;          /* transactions before the threads start, and a checkpoint */
	bool faults;               /* a call of the disk fails */
	bool cut;                  /* the power fails at a point */
	unsigned trees;            /* 0: two */
	bool wide;                 /* many keys, so that trees have branches below branches */
};

#define INTERLEAVE_SCENES 13
extern const struct interleave_scene interleave_scenes[INTERLEAVE_SCENES];

struct interleave_counts {
	struct schedule_counts schedule;
	uint64_t digest;           /* of the disk at the end */
	uint64_t commits, snapshots, refused, unknown, poisoned, cuts, checkpoints;
};

/* One history; ends the process when something does not hold. faults: may be NULL. */
void interleave_run(const struct interleave_scene *scene, uint64_t seed, const struct schedule_faults *faults,
		    struct interleave_counts *counts);

#endif
