/* SPDX-License-Identifier: MIT */
/*
 * Changes the log and the metadata pages of a database on the simulated disk, spindle 0 at RIG_PATH, and seals them again: what
 * a fault of ours, or somebody who knows the format, could have written. seal.h does so for whole databases.
 */
#ifndef SLAB_FORGER_H
#define SLAB_FORGER_H

#include "meta.h"
#include "sim_disk.h"
#include "slab.h"

#define SLAB_FORGER_MAX 1024
#define SLAB_FORGER_BYTES (4 * EXTENT_BYTES)

struct slab_forger {
	uint8_t *bytes;  /* of the file, and zeros up to SLAB_FORGER_BYTES */
	uint64_t length; /* of the file */
	struct meta meta[2];
	struct slab_header slabs[SLAB_FORGER_MAX]; /* by number */
	uint64_t places[SLAB_FORGER_MAX];
	size_t count;
	uint64_t seed;
};

/* Takes what a process sees. slab_forger_write, or who does not call it, frees the bytes. */
void slab_forger_read(struct slab_forger *forger, struct sim_disk *disk);
/* The body of the last record of a kind, to be changed in place; and the index of its slab. */
uint8_t *slab_forger_find(struct slab_forger *forger, enum log_record_kind kind, size_t *slab);
/* Seals the slabs from first on, so that every sum and the chain are good, and writes them and the pages. first = count: the pages
 * alone. */
void slab_forger_write(struct slab_forger *forger, struct sim_disk *disk, size_t first);

#endif
