/* SPDX-License-Identifier: MIT */
/* The workloads: what is done to a store, and how its answers are checked. */
#ifndef WORKLOADS_H
#define WORKLOADS_H

#include "store.h"

#define KEY_BYTES 16
#define VALUE_BYTES 100

/* What one thread of a workload works on. */
struct job {
	const struct store *store;
	void *handle;
	uint64_t count;    /* entries of the database */
	uint64_t seed;     /* of this repetition */
	double seconds;    /* how long the workloads without a fixed number of operations run */
	unsigned thread;   /* 0, 1, 2 ... */
	uint64_t done;     /* out: operations */
};

struct workload {
	const char *name;
	const char *description;
	unsigned threads;
	bool durable; /* commits return when they are on stable storage */
	bool fresh;   /* starts with an empty database; else with the one that fill-batch made */
	void (*run)(struct job *job);
	/* Reads everything back after the measurement; job->done holds the operations of that thread. May be NULL. */
	void (*check)(struct job *job);
};

extern const struct workload workloads[];
extern const unsigned workload_count;

/* Reads everything, checks every byte, and brings it into memory: before a measurement of reads. */
void warm_up(struct job *job);

/* Ends the program with the store's name and text when result is not 0. */
void expect(const struct job *job, int result, const char *what);

double seconds_now(void);

#endif
