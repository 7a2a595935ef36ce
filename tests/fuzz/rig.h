/* SPDX-License-Identifier: MIT */
/*
 * What the harnesses share: a run with its limits, a database from a hostile file and all that is done with one, and how
 * libFuzzer calls a harness.
 */
#ifndef RIG_H
#define RIG_H

#include "flat.h"
#include "scratch.h"

/* A harness: 0. data may be anything. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Changes data in place, to at most room bytes, by chance from seed: the new size. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
/* libFuzzer's own changes, which learn from comparisons; tests/fuzz/replay.c has simpler ones. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

/* Between the two chance and time are simulated, the same in every run; a second of processor time, or 64 MiB in one
 * allocation, end the program. */
void run_begin(void);
void run_end(void);

/* Reads and recovers the database of a disk that flat_disk has made, reads and changes it, writes checkpoints, closes it, reads
 * it again. Any answer will do, but a scan ends. Frees the disk. flags: lowest bits of chance. */
void run_database(struct sim_disk *disk, unsigned flags);
/* How many of them have shown keys. */
extern uint64_t run_opened;
#define RUN_FLAG_BITS 5

#endif
