/* SPDX-License-Identifier: MIT */
/* One measurement in a process of its own, and the record that it gives. */
#ifndef RUN_H
#define RUN_H

#include "limit.h"
#include "workloads.h"

/* What one measurement is to be done with. */
struct run {
	const struct limit *limit; /* measures this instead of a store; then only limit_setup and seconds_max count */
	const struct limit_setup *limit_setup;
	const struct bench_case *measured;
	const struct store *store;
	const char *directory;
	uint64_t memory_bytes; /* what the store is told to use */
	const char *cgroup;    /* the child goes there first; NULL: stays */
	unsigned seconds_max;  /* the child is ended after that */
	bool hurried;          /* and it is that little because the time of the whole run is up then */
	bool fill;             /* only make the filled database, and let it settle */
	bool thorough;
};

/*
 * Runs it in a child and adds what it tells to record, and what all of it took, with preparing and checking. 0, or
 * -ECHILD when the child failed: record then has "status" and "reason", and the child has said why on standard error.
 * -ETIME when it was ended because the time of the whole run was up: that is no failure of the store.
 */
int run_in_child(const struct run *run, json_object *record);

#endif
