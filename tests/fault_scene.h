/* SPDX-License-Identifier: MIT */
/*
 * A scene in which calls or allocations fail by plan. Steps may return errors, but those that the plan explains: the error
 * itself, that the database is in doubt or poisoned, where a write or a flush has failed, or that what a transaction stood on
 * was taken back; never damage. A flush that fails poisons, and is not tried again; what is durable can be read then.
 * Nothing that was acknowledged may be lost, nothing that was refused be seen. As soon as nothing fails any more the same handle
 * has to take commits, or, when it is poisoned or was not opened, the next opening has to work. Nothing may be left behind: no
 * block, no mapping, no open file.
 */
#ifndef FAULT_SCENE_H
#define FAULT_SCENE_H

#include "crash_scene.h"

/* Where it is not the calls of the simulated disk that fail: what the scene stands on instead. */
struct fault_ground {
	void (*begin)(struct rig *rig, const struct sim_fault *fault); /* gives the rig its back end; from here on calls fail */
	void (*hold)(bool hold);                    /* none fails or is counted meanwhile */
	void (*relieve)(void);                      /* nothing fails from here on */
	uint64_t (*failed)(enum sim_call call);     /* how many have, of a kind */
	void (*end)(void);                          /* all is closed: nothing may be left behind */
};

struct fault_plan {
	struct sim_fault fault; /* error 0: no call fails, but on a ground transfers may be short */
	uint64_t memory_nth;    /* 0: no allocation fails */
	bool memory_sticky;
	const struct fault_ground *ground; /* NULL: the simulated disk, where in the end the power is cut */
};

struct fault_counts {
	uint64_t runs;
	uint64_t fired;         /* calls or allocations that failed */
	uint64_t runs_hit;      /* runs in which at least one failed */
	uint64_t steps_failed;  /* that returned an error */
	uint64_t hidden;        /* runs in which a failure was met and no step returned an error */
	uint64_t poisoned;      /* runs that ended in a poisoned database */
	uint64_t gone_on;       /* times that a handle took a commit after a failure */
	uint64_t leaks;         /* runs after which the balance of memory and files was checked */
};

/* Runs the scene from the seed. Ends the test when something above does not hold. */
void fault_scene_run(const struct scene *scene, uint64_t seed, const struct fault_plan *plan, struct fault_counts *counts);

/* Counts runs with what failed, for the closing table. */
void fault_tell(const char *what, const struct fault_counts *counts);

/* What a run without failures asks for. */
#define SCENE_CALLS_MAX 4096
struct scene_calls {
	uint64_t calls[SIM_KINDS];
	uint64_t allocations;
	size_t asked_count;             /* calls that a fault counts: not those of the rig when it looks */
	uint8_t asked[SCENE_CALLS_MAX]; /* which each of them is, in their order: enum sim_call */
};
void scene_count(const struct scene *scene, uint64_t seed, struct scene_calls *counts);

#endif
