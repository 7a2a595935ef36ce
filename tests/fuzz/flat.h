/* SPDX-License-Identifier: MIT */
/*
 * A small database as the input of a fuzzer: the files flat in memory, to be changed in place, and packed as the pieces that
 * are not zero. Packed:
 *
 *   0   1  flags, for the harness          1  1  spindles, 1 to 3          2  2  0
 *   4  12  sizes of the files, bytes
 *  16   .  pieces: u32 spindle << 28 | offset / 8, u32 bytes, bytes
 *
 * There is one: it is large, and mostly not there.
 */
#ifndef FLAT_H
#define FLAT_H

#include "sim_disk.h"

#define FLAT_SPINDLES 3
#define FLAT_FILE_BYTES (16 * MIB)
#define FLAT_BLOCK 4096u
#define FLAT_BLOCKS (FLAT_FILE_BYTES / FLAT_BLOCK)
#define FLAT_SLABS_MAX 128

struct flat {
	unsigned flags, spindles;
	uint64_t sizes[FLAT_SPINDLES];
	uint8_t touched[FLAT_SPINDLES][FLAT_BLOCKS]; /* blocks that may hold other bytes than zeros */
	_Alignas(64) uint8_t bytes[FLAT_SPINDLES][FLAT_FILE_BYTES];
};
extern struct flat flat;

/* All of it is zero then. */
void flat_clear(void);
/* Any bytes will do; what is not one is left out. */
void flat_unpack(const uint8_t *data, size_t size);
/* Bytes written; what does not fit is left out. */
size_t flat_pack(uint8_t *data, size_t room);
/* The bytes at a position, from now on touched: as seal.h asks for them. */
uint8_t *flat_find(void *unused, uint64_t position, uint64_t length);
/* The bytes of all touched blocks. */
uint64_t flat_touched_bytes(void);
/* A spindle's first byte from `from` on, and before `end`, in a touched block: FLAT_FILE_BYTES when there is none. */
uint64_t flat_next_touched(unsigned spindle, uint64_t from, uint64_t end);
/* Positions of what looks like a slab, by its number. */
size_t flat_slabs(uint64_t slabs[FLAT_SLABS_MAX]);

/* From and to a disk; the files have these paths. */
const char *flat_path(unsigned spindle);
extern const char *const flat_paths[FLAT_SPINDLES];
struct sim_disk *flat_disk(void);
/* What is durable of a database on so many files. */
void flat_take(struct sim_disk *disk, unsigned spindles);

#endif
