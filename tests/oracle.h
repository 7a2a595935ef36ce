/* SPDX-License-Identifier: MIT */
/*
 * What a database ought to hold, kept in memory: versions of a map from (tree, key) to value, as plain sorted arrays
 * of shared entries. A version is changed by the one thread that made it until it is committed, and never after; the
 * newest ORACLE_VERSIONS of them can be asked for by any thread.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "solifuge.h"

#define ORACLE_VERSIONS 512

struct oracle_entry {
	_Atomic unsigned references;
	uint32_t tree;
	struct slf_slice key;
	struct slf_slice value;
	unsigned char data[];
};

struct oracle_version {
	_Atomic unsigned references;
	uint64_t seq;
	size_t count, capacity;
	struct oracle_entry **entries; /* ordered by tree, then key */
};

struct oracle {
	pthread_mutex_t mutex;
	pthread_cond_t committed;
	unsigned count;
	struct oracle_version *versions[ORACLE_VERSIONS]; /* oldest first */
};

/* An oracle whose only version is empty and has number seq. */
void oracle_init(struct oracle *oracle, uint64_t seq);
void oracle_release(struct oracle *oracle);

/* A copy of the newest version, to be changed; ended by oracle_commit or oracle_version_release. */
struct oracle_version *oracle_begin(struct oracle *oracle);
void oracle_commit(struct oracle *oracle, struct oracle_version *version, uint64_t seq);
/* Drops all versions above seq, which has to be there. */
void oracle_cut(struct oracle *oracle, uint64_t seq);
/* Drops all versions but the newest, and gives that one a number: the database says which after an opening. */
void oracle_restart(struct oracle *oracle, uint64_t seq);

/* The version with number seq, waiting until one so new is committed: NULL when it is no longer kept. Aborts when seq
 * lies between two versions: no commit had that number. Ended by oracle_version_release. */
struct oracle_version *oracle_acquire(struct oracle *oracle, uint64_t seq);
/* version may be NULL. */
void oracle_version_release(struct oracle_version *version);

void oracle_put(struct oracle_version *version, uint32_t tree, struct slf_slice key, struct slf_slice value);
/* Was it there? */
bool oracle_del(struct oracle_version *version, uint32_t tree, struct slf_slice key);
/* The entry, or NULL. */
const struct oracle_entry *oracle_get(const struct oracle_version *version, uint32_t tree, struct slf_slice key);
/* Index of the first entry at or behind (tree, key): count when there is none. */
size_t oracle_find(const struct oracle_version *version, uint32_t tree, struct slf_slice key);
/* The indexes [*first, *end) that a range covers; range may be NULL. */
void oracle_range(const struct oracle_version *version, uint32_t tree, const struct slf_range *range, size_t *first,
		  size_t *end);

int oracle_compare(struct slf_slice a, struct slf_slice b);

#endif
