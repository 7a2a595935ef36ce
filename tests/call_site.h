/* SPDX-License-Identifier: MIT */
/*
 * The places in the library from which files are asked for something: call_seam.h makes one of each. A call that fails by plan
 * of the simulated disk counts for the place that it came from, and where this is spindle.c, for the one above it too. One
 * thread.
 */
#ifndef CALL_SITE_H
#define CALL_SITE_H

#include <stddef.h>
#include <stdint.h>

#include "sim_disk.h"

struct call_site {
	const char *file;
	int line;
	const char *within, *called; /* functions */
	struct call_site *above;     /* from which it was come to; NULL: from none */
	uint64_t failed;             /* calls */
};

/* A call begins, and ends. */
void call_site_enter(struct call_site *site);
void call_site_leave(struct call_site *site);
/* For sim_fault.met. */
void call_site_failed(enum sim_call call);

/* All of them, in no order. */
struct call_site *const *call_sites(size_t *count);

#endif
