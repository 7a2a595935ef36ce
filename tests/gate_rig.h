/* SPDX-License-Identifier: MIT */
/*
 * A database on the simulated disk whose calls can be stopped at a gate, and threads that make one call: so a test can put
 * one commit in flight, others behind it, and look at who is told what.
 */
#ifndef GATE_RIG_H
#define GATE_RIG_H

#include <pthread.h>

#include "db.h"
#include "scratch.h"
#include "sim_disk.h"

#define RIG_PATH "/tmp/db"
#define RIG_LARGE_BYTES 40000u /* goes to bulk at once, so its slab has a part and is not written with IO_DSYNC */
#define RIG_SECONDS_MAX 60     /* SIGALRM ends a test that hangs */

/* Stops the calls of one kind while it is shut. */
struct gate {
	enum sim_call call;
	_Atomic bool shut;
	_Atomic unsigned stopped; /* calls that have come to it */
};

struct rig {
	struct sim_disk *disk;
	struct slf_db *db;
	struct commit *commit;
	struct gate gate;
};

/* A thread that makes one call. */
struct caller {
	struct rig *rig;
	pthread_t thread;
	char key[16];
	uint64_t seq;
	int64_t timeout_ns;
	int result;
	int told; /* the code that this thread's last failure has */
	_Atomic bool done;
};

/* Opens a new database; closing ends the faults first. */
void rig_open(struct rig *rig, unsigned flags, int sync);
/* A new database, opened with these options. */
void rig_open_with(struct rig *rig, const struct slf_options *options);
void rig_close(struct rig *rig);
int disk_open(struct sim_disk *disk, unsigned flags, int sync, struct slf_db **db);
/* Lets the next call of a kind fail, or all from now on. Writes that fail do so when all is written. */
void rig_fail(struct rig *rig, enum sim_call call, int error, bool sticky);

/* Commits keys [from, to), each with the stamp for its value. */
void stamp_keys(struct slf_db *db, unsigned from, unsigned to, uint64_t stamp);
/* One put of so many bytes, committed without a wait: its seq. */
uint64_t put_async(struct rig *rig, const char *key, size_t size);
/* A commit that nearly fills a slab of 64 KiB. */
void put_blob(struct slf_db *db);
/* Goes on to the next extent of the log, which is made ready. */
void enter_next_extent(struct slf_db *db);
/* What is put finds its space in bulk promised, and nothing is set aside for it. */
void promise_space(struct slf_db *db);
bool has_key(struct slf_db *db, const char *key);
/* Does a power cut that takes all it can leave the key? */
bool survives(struct rig *rig, const char *key);
/* Does the next opening find the key when only the process ends? */
bool comes_back(struct rig *rig, const char *key);

/* Records that wait for the next slab. */
unsigned gathered(struct rig *rig);
void wait_until_gathered(struct rig *rig, unsigned count);
/* A call has come to the gate. */
void wait_until_stopped(struct rig *rig);

/* Mains of callers: a commit of the caller's key; of nothing; a wait for its seq, for all so far; a checkpoint. */
void *caller_commit(void *context);
void *caller_commit_nothing(void *context);
void *caller_wait(void *context);
void *caller_sync(void *context);
void *caller_checkpoint(void *context);
/* The key of each is name with its number. */
void callers_start(struct rig *rig, struct caller *callers, unsigned count, const char *name,
		   void *(*main)(void *context));
void callers_join(struct caller *callers, unsigned count);
/* How many have returned, the first ones of them in a row, after three seconds at most. */
unsigned callers_done(struct caller *callers, unsigned count);

#endif
