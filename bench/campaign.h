/* SPDX-License-Identifier: MIT */
/* All measurements of one call of the program, in interleaved order, written as JSON lines. */
#ifndef CAMPAIGN_H
#define CAMPAIGN_H

#include <stdio.h>

#include "plan.h"

#define REPETITIONS_MAX 99

struct settings {
	const char *parent;        /* where the directory for all files is made */
	const char *only;          /* names of workloads, separated by commas; NULL: all of the plan */
	const char *sections;      /* names of sections; NULL: all of the plan */
	const char *stores;        /* names of stores; NULL: all */
	const char *cgroup;        /* a memory cgroup below which one may be made; NULL: no limits to memory */
	uint64_t memory_bytes;     /* that stores and page cache have, as the caller says; 0: the machine's */
	enum plan_mode mode;
	uint64_t count;            /* entries, for all sections; 0: as planned */
	uint64_t seed;
	unsigned repetitions;      /* of all sections; 0: as planned */
	double seconds;            /* of workloads that run for a time */
	double long_seconds;       /* of those among them that run for long */
	double cap_seconds;        /* the longest of the others */
	double budget_seconds;     /* of everything; 0: no limit */
	bool first_only;           /* each workload in the first section that has it */
	bool incompressible;
	bool no_limits;            /* leave out the physical limits */
};

/* Does any of the sections have any of the workloads? */
bool campaign_planned(const struct settings *settings);

/* Runs it all; JSON lines go to out. 0, or 1 when a measurement failed. directory is where the files are. */
int campaign_run(const struct settings *settings, const char *directory, FILE *out);

/* How often the section is measured. */
unsigned campaign_repetitions(const struct settings *settings, const struct section *section);

/* Is name one of the names in list? NULL lists all. */
bool campaign_listed(const char *list, const char *name);

#endif
