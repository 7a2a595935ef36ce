/* SPDX-License-Identifier: MIT */
/* The workloads: what is done to a store, and how its answers are checked. */
#ifndef WORKLOADS_H
#define WORKLOADS_H

#include <json-c/json.h>

#include "entry.h"
#include "histogram.h"
#include "meter.h"
#include "random.h"
#include "store.h"

#define BATCH_PUTS 1000
#define THREADS_MAX 64

struct workload;

/* One measurement, of one workload with all its numbers. */
struct bench_case {
	const struct workload *workload;
	struct entry_shape shape;
	uint64_t count;        /* entries of the database */
	uint64_t memory_bytes; /* limit to memory and page cache; 0: none */
	double seconds;        /* the longest that it runs */
	uint64_t seed;
	uint64_t order_seed;   /* of the order in which databases are filled: one for all repetitions */
};

/* What the threads of one run share. */
struct shared {
	const struct bench_case *measured;
	const struct store *store;
	void *handle;
	const char *directory;
	struct zipf zipf;
	_Atomic uint64_t inserted; /* entries, those of the database included */
	uint64_t greatest;         /* the entry whose key comes last */
	_Atomic bool stop;         /* a thread without an end of its own has to end */
	_Atomic uint64_t written;  /* puts of that thread */
	uint64_t prepared;         /* entries that were put before the measurement, beside those of the database */
	struct meter ended;        /* when it had ended; what comes behind belongs to it, too */
	uint64_t memory_bytes;     /* what the store was told to use */
	bool filling;              /* makes the filled database, whatever the workload does with it then */
	bool thorough;             /* check every byte before and after */
	json_object *record;       /* what the run tells */
};

/* What one thread of a workload works on. */
struct job {
	struct shared *shared;
	const struct store *store;
	const struct entry_shape *shape;
	void *session;
	uint64_t count;     /* entries of the database */
	uint64_t seed;      /* of this thread */
	uint64_t random;    /* its state */
	unsigned thread;    /* 0, 1, 2 ... */
	uint64_t done;      /* out: operations */
	uint64_t put_bytes; /* out: keys and values given to the store */
	uint64_t conflicts; /* out: transactions done again */
	uint64_t wanted;    /* out: operations that make it complete; 0: it has no end but that of its time */
	uint64_t start_ns, last_ns, end_ns, calls;
	unsigned gap;       /* calls before the next one that is timed */
	bool sampled;
	struct histogram *latency;
	unsigned char *key, *value, *keys;
};

enum workload_base {
	BASE_EMPTY,  /* an empty database */
	BASE_FILLED, /* the filled database, which is only read */
	BASE_COPY,   /* a copy of it, which may be changed */
};

struct workload {
	const char *name;
	const char *group;       /* what it is listed under */
	const char *description;
	const char *limit;       /* the physical limit it is compared with, or NULL */
	enum workload_base base;
	unsigned threads;
	bool durable;            /* commits return when they are on stable storage */
	bool sampled;            /* one call in 16 is timed: for calls that take less than a microsecond */
	bool cold;               /* starts with nothing in the page cache or a cache of the store's own */
	bool timed;              /* runs for a time; the others until they have done all, or are capped */
	bool scaling;            /* runs only where there is a CPU for each thread */
	bool puts_in_order; /* what the store is told, see store_setup */
	bool longer;             /* timed: runs for the time that the plan has for it */
	unsigned trees;
	size_t put_per_txn;      /* for those that differ in nothing else */
	void (*run)(struct job *job);
	/* Makes a filled database of its own, which is then opened anew; NULL: that of base is used. */
	void (*fill)(struct job *job);
	/* Unmeasured work before run, in the first thread; may be NULL. */
	void (*prepare)(struct job *job);
	/* Reads back what was written, after the measurement; may be NULL. */
	void (*check)(struct job *job);
	/* Does all by itself and fills the record: for what is more than operations on an open store. */
	void (*whole)(struct shared *shared);
	/* Does the store have what it takes? NULL: yes. */
	bool (*possible)(const struct store *store);
};

extern const struct workload workloads[];
extern const unsigned workload_count;
const struct workload *workload_find(const char *name);

/* ---- job.c: what all workloads use ------------------------------------------------------------------------------- */

uint64_t now_ns(void);
int job_init(struct job *job, struct shared *shared, unsigned thread);
void job_release(struct job *job);

/* Starts the clock of the thread. */
void job_start(struct job *job);

/* Counts operations that one call did, notes its latency, and tells whether there is time for another one. */
bool job_step(struct job *job, uint64_t operations);

uint64_t job_random(struct job *job);

/* Ends the program with the store's name and text when result is not 0. */
void expect(const struct job *job, int result, const char *what);
void expect_shared(const struct shared *shared, int result, const char *what);
void wrong(const struct shared *shared, const char *what);

/* One transaction that puts the entries order(first) ... with this version; done again after a conflict. */
typedef uint64_t job_order_fn(const struct job *job, uint64_t i);
void job_put(struct job *job, uint64_t first, uint64_t count, job_order_fn *order, uint64_t version);
uint64_t order_same(const struct job *job, uint64_t i);
uint64_t order_mixed(const struct job *job, uint64_t i);

/* Gets entry number in the running transaction and checks it. */
void job_get(struct job *job, uint64_t number);
void job_read_begin(struct job *job);

/* Puts all entries in random order, in transactions of BATCH_PUTS: how filled databases are made. */
void job_fill(struct job *job);

/* Sleeps until it is time for call `call` of those that are made at this rate since job_start(). */
void job_pace(const struct job *job, uint64_t call, uint64_t per_second);

/* Reads everything once, and then some entries at random, so that the store and the kernel have in memory what they keep
 * there: one of `threads` sessions does its part of the latter. */
void job_warm_up(struct job *job, unsigned threads);

/* Reads all entries forward, checks their order and number, and every byte when thorough. */
void job_check_all(struct job *job, uint64_t expected, bool thorough);

/* Opens and closes the store of shared in its directory; failures end the program. */
void shared_open(struct shared *shared, bool durable);
void shared_close(struct shared *shared);

/* ---- The files of the workloads ---------------------------------------------------------------------------------- */

void fill_sequential(struct job *job);
void fill_random(struct job *job);
void fill_batch(struct job *job);
void fill_batch_sequential(struct job *job);
void overwrite_random(struct job *job);
/* Puts a second that a thread makes beside which others are measured. */
uint64_t writer_rate(const struct job *job);
void delete_sequential(struct job *job);
void delete_random(struct job *job);
void put_durable(struct job *job);
void warm_log(struct job *job);
void put_txn(struct job *job);
void check_filled_sequential(struct job *job);
void check_filled_random(struct job *job);
void check_overwritten(struct job *job);
uint64_t newest_version(struct job *job);
/* Every entry has the version that the first count random overwrites of this thread gave it last. */
void check_versions(struct job *job, uint64_t count);
void check_deleted_sequential(struct job *job);
void check_deleted_random(struct job *job);
void check_durable(struct job *job);
void check_txn(struct job *job);

void check_read(struct job *job);
void read_random(struct job *job);
void read_missing(struct job *job);
void read_hot(struct job *job);
void read_forward(struct job *job);
void read_backward(struct job *job);
void seek_random(struct job *job);
void multi_get_random(struct job *job);
void read_while_writing(struct job *job);

void ycsb_prepare(struct job *job);
void ycsb_check(struct job *job);
void ycsb_a(struct job *job);
void ycsb_b(struct job *job);
void ycsb_c(struct job *job);
void ycsb_d(struct job *job);
void ycsb_e(struct job *job);
void ycsb_f(struct job *job);

void trees_prepare(struct job *job);
void trees_fill(struct job *job);
void trees_warm(struct job *job);
void trees_put(struct job *job);
void trees_get(struct job *job);
void trees_check(struct job *job);
bool trees_possible(const struct store *store);

void open_after_crash(struct shared *shared);
void copy_hot(struct shared *shared);
bool copy_possible(const struct store *store);
void overwrite_long(struct shared *shared);

/* Runs the threads of the case's workload on the open store and writes what came of it into the record. */
void run_threads(struct shared *shared);

/* Open and close the store of shared, and write into the record what that took. What closing writes, and what the kernel
 * still has to write then, counts among the bytes of the run; its time is told apart. */
void open_measured(struct shared *shared);
void close_measured(struct shared *shared);

/* A measured stretch of work: what it took, and what others took meanwhile, goes into the record. Gives its seconds. */
struct stretch {
	struct meter meter;
	struct meter_machine machine;
};
void stretch_begin(const char *directory, struct stretch *stretch);
double stretch_end(struct shared *shared, const struct stretch *stretch);

/* Write what was measured into the record. */
void record_operations(struct shared *shared, uint64_t operations, double seconds);
void record_latency(struct shared *shared, const struct histogram *latency, unsigned sample);

#endif
