/* SPDX-License-Identifier: MIT */
/* Which workloads run with which numbers. */
#ifndef PLAN_H
#define PLAN_H

#include "workloads.h"

enum plan_mode {
	PLAN_SMOKE, /* does everything work? */
	PLAN_QUICK, /* within 5 minutes */
	PLAN_FULL,  /* within 2 hours; also the numbers of a run that names its workloads */
	PLAN_MODES,
};

/* Workloads that share a filled database. */
struct section {
	const char *name;
	struct entry_shape shape;
	uint64_t counts[PLAN_MODES]; /* entries; 0: the section is not part of that mode */
	unsigned repetitions[PLAN_MODES];
	unsigned memory_parts;       /* memory is limited to this part of the data; 0: no limit */
	unsigned long_parts;         /* what runs for long does so for that part of its time; 0: the whole */
	unsigned weight;             /* of the time that there is, in PLAN_FULL */
	unsigned quick_weight;       /* the same in PLAN_QUICK */
	const char *workloads;       /* names, separated by commas */
	const char *quick;           /* the same for PLAN_SMOKE and PLAN_QUICK; NULL: all */
};

extern const struct section sections[];
extern const unsigned section_count;

#define PLAN_VALUE_BYTES_MAX 100000

#endif
