/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the public interface share: a directory that vanishes, numbers from a seed, checks that work in any
 * thread and in forked children, and short forms of the calls that every test makes.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "solifuge.h"

/* As assert, but always on, and with a line that a reader of the log can use. Ends the process with SIGABRT, which
 * Criterion reports as a failure: its own asserts jump, and so may be used on the test's first thread only. */
#define must(condition) must_hold((condition), #condition, __FILE__, __LINE__)
void must_hold(bool holds, const char *condition, const char *file, int line);

/* The result of a library call that has to be 0; shows the error detail of this thread otherwise. */
#define must_work(call) must_be_zero((call), #call, __FILE__, __LINE__)
void must_be_zero(int result, const char *call, const char *file, int line);

/* Numbers from a seed (splitmix64). One thread at a time. */
struct rng {
	uint64_t state;
};
uint64_t rng_next(struct rng *rng);
/* 0 to limit - 1; limit > 0. */
uint64_t rng_below(struct rng *rng, uint64_t limit);
/* A well mixed function of value. */
uint64_t rng_mix(uint64_t value);

/* The seed of SOLIFUGE_TEST_SEED, else a new one; printed either way. */
uint64_t test_seed(const char *test);
/* The number of SOLIFUGE_TEST_ROUNDS, else standard. */
unsigned test_rounds(unsigned standard);

#define SCRATCH_PATH_BYTES 512

struct scratch {
	char directory[128];
	char path[SCRATCH_PATH_BYTES]; /* directory/db: where the database goes */
};
/* Makes the directory, below TMPDIR or /tmp. */
void scratch_init(struct scratch *scratch);
/* Removes it with all that is in it. Accepts a zeroed object. */
void scratch_release(struct scratch *scratch);
/* Writes directory/name to path, SCRATCH_PATH_BYTES long; returns path. */
const char *scratch_name(const struct scratch *scratch, const char *name, char *path);

/* A file as bytes; the caller frees data. */
struct file_bytes {
	unsigned char *data;
	size_t size;
};
struct file_bytes file_read(const char *path);
void file_write(const char *path, const void *data, size_t size);
/* Changes the first place of the file where the bytes of a string stand; there has to be one. */
void file_rot(const char *path, const char *string);

/* What this thread has used of a processor, which does not depend on what else the machine does. */
uint64_t processor_ns(void);

/* A slice over a string, without its zero. */
struct slf_slice text(const char *string);
struct slf_slice bytes(const void *data, size_t size);
bool slice_is(struct slf_slice slice, const void *data, size_t size);
/* Fills data from seed: random bytes, or 16 of them again and again, which lz4 shrinks. */
void bytes_fill(void *data, size_t size, uint64_t seed, bool compressible);

/* Opens with flags and else default options; has to work. */
struct slf_db *open_database(const char *path, unsigned flags);
struct slf_txn *txn_begin(struct slf_db *db, unsigned flags);
/* One put in a transaction of its own: its seq. */
uint64_t db_put(struct slf_db *db, const char *key, const char *value);
/* Does the newest version say that key has value? NULL: that it is absent. */
bool db_has(struct slf_db *db, const char *key, const char *value);

/* Entries of a directory below /proc/self: descriptors ("fd") or threads ("task"). */
unsigned process_count(const char *what);
/* Has this process no more threads than so many? One that was joined, or has worked for a ring that is closed, is seen for a
 * moment: it waits for five seconds at most. */
bool threads_within(unsigned count);
/* Ends a forked child as _exit does: what it shares with its parent is left alone. */
_Noreturn void child_exit(int status);
/* Waits for a child: its exit status, or 256 + the signal that ended it. */
int child_wait(int pid);

#endif
