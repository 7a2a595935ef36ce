/* SPDX-License-Identifier: MIT */
/*
 * A scene in which calls or allocations fail by plan. Steps may return errors; but nothing that was acknowledged may be
 * lost, nothing that was refused be seen, the database must be usable, or openable, as soon as nothing fails any more, and
 * nothing may be left behind: no block, no mapping, no open file.
 */
#ifndef FAULT_SCENE_H
#define FAULT_SCENE_H

#include "crash_scene.h"

struct fault_plan {
	struct sim_fault fault; /* error 0: no call fails */
	uint64_t memory_nth;    /* 0: no allocation fails */
	bool memory_sticky;
};

struct fault_counts {
	uint64_t runs;
	uint64_t fired;         /* calls or allocations that failed */
	uint64_t runs_hit;      /* runs in which at least one failed */
	uint64_t steps_failed;  /* that returned an error */
	uint64_t hidden;        /* runs in which a failure was met and no step returned an error */
	uint64_t poisoned;      /* runs that ended in a poisoned database */
	uint64_t leaks;         /* runs after which the balance of memory and files was checked */
};

/* Runs the scene from the seed. Ends the test when something above does not hold. */
void fault_scene_run(const struct scene *scene, uint64_t seed, const struct fault_plan *plan, struct fault_counts *counts);

/* What a run without failures asks for. */
struct scene_calls {
	uint64_t calls[SIM_ANY + 1]; /* by kind; [SIM_ANY]: all */
	uint64_t allocations;
};
void scene_count(const struct scene *scene, uint64_t seed, struct scene_calls *counts);

#endif
