/* SPDX-License-Identifier: MIT */
/*
 * The whole engine on the simulated disk, or on files, with a model beside it: every commit's state is kept, so that what is
 * found after a power cut can be told to be a prefix of the commits or not. One thread; no background threads.
 */
#ifndef CRASH_RIG_H
#define CRASH_RIG_H

#include "db.h"
#include "scratch.h"
#include "sim_disk.h"

#define RIG_TREES 3
#define RIG_KEYS 48
#define RIG_COMMITS_MAX 4096

/* What the trees hold: for each key the nonce from which its value is made, 0 when it is absent. */
struct rig_state {
	uint64_t seq;  /* 0 while it is not known */
	bool refused;  /* reported as failed: must never be seen */
	bool trees[RIG_TREES]; /* which there are; the main one always */
	uint32_t nonces[RIG_TREES][RIG_KEYS];
};

struct rig {
	struct sim_disk *disk;
	int (*make_io)(struct stats *stats, struct io **io); /* the back end where it is not the disk, which stays empty */
	const char *const *paths; /* of the spindles; rig_path() at first */
	struct slf_db *db;
	int sync;
	unsigned spindle_count;
	struct rng rng;
	uint32_t next_nonce;
	struct rig_state *states; /* states[0] is empty; one per commit that was tried */
	size_t newest;            /* the last one that was tried */
	size_t acked;             /* the last one that must survive */
	uint32_t rollbacks;       /* of db, as far as their commits are known to be refused */
	bool created;             /* slf_open has returned 0 once: the database must be there */
	unsigned values_large;    /* one put in so many goes to bulk at once; 0: none */
	unsigned values_huge;     /* one put in so many takes more than an extent; 0: none */
	uint64_t heap_bytes, log_bytes; /* as in slf_options */
	int compression;          /* as in slf_options */
	unsigned kind;            /* of the values that are put: enum rig_value */
	unsigned deletes;         /* of ten changes */
	size_t blob_bytes;        /* that every commit carries; up to 65535 */
	bool recovering;          /* slf_open runs */
	void (*hold)(bool hold);  /* what fails by plan, calls of the disk apart, stops failing while the rig looks; or NULL */
};

/* Small: mostly below 100 bytes, now and then up to 1800, and what values_large says. */
enum rig_value { RIG_SMALL, RIG_MEDIUM, RIG_LARGE };

void rig_init(struct rig *rig, uint64_t seed, unsigned spindle_count, int sync);
void rig_release(struct rig *rig);

const char *rig_path(unsigned spindle);
/* A back end for one opening: a view of the disk, or the rig's own. */
int rig_io(const struct rig *rig, struct sim_disk *disk, struct io **io);
/* Opens the rig's database on a disk, with SLF_CREATE made when missing; every other option is the rig's. */
int rig_open_on(const struct rig *rig, struct sim_disk *disk, unsigned flags, struct slf_db **db);
int rig_open(struct rig *rig);
int rig_close(struct rig *rig);
/* Lets go of a database as a killed process does: nothing more is written. */
void rig_abandon(struct slf_db *db);

/* One transaction of so many changes; its result. */
int rig_commit(struct rig *rig, unsigned changes, bool async);
/* One step of a script: mostly small transactions, now and then all else that a user does. Its result. */
int rig_step(struct rig *rig);
/* After an opening (durable), or a failure that may have taken commits back: which state is it? Goes on from it. Ends the
 * test when it is none that is allowed. */
void rig_adopt(struct rig *rig, bool durable);

/* No call fails by plan while the rig looks at a database. rig_identify and rig_adopt do this themselves. */
void rig_hold_faults(const struct rig *rig, bool hold);
/* Reads all of an open database, by gets, scans, counts and the list of trees; of a poisoned one what is durable: the index of
 * the state it holds. Ends the test when it is not allowed, and says so with the words of RIG_NO_STATE. */
#define RIG_NO_STATE "is none of the states"
size_t rig_identify(const struct rig *rig, struct slf_db *db);
/* Does the database hold the states[index]? A proof's key is no difference. wrong: room for 200 bytes. */
bool rig_holds(const struct rig *rig, struct slf_db *db, size_t index, char *wrong);
/* What a database that may be damaged answers, against states[index]: gets, scans both ways, counts and the list of trees. */
enum rig_answer {
	RIG_RIGHT,   /* all of it is right */
	RIG_REFUSED, /* some calls failed, all answers were right */
	RIG_WRONG,   /* told in wrong, room for 200 bytes */
};
enum rig_answer rig_inspect(const struct rig *rig, struct slf_db *db, size_t index, char *wrong);
/* Opens a crashed disk: NULL when there is no database yet and none has to be there. Ends the test on an error. */
struct slf_db *rig_reopen(const struct rig *rig, struct sim_disk *disk);
/* Opens a crashed disk, compares, commits once more, cuts the power again, opens again. Frees the disk. */
void rig_prove(const struct rig *rig, struct sim_disk *crashed, uint64_t seed);

#endif
