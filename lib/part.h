/* SPDX-License-Identifier: MIT */
/*
 * Parts of slabs: the values and actions in bulk without which a slab does not count. Reads them whole and checks them, past the
 * page cache, as the log is read: its pages may be what a failed flush left. One thread.
 */
#ifndef PART_H
#define PART_H

#include "base.h"
#include "entry.h"
#include "store.h"

#define PART_PIECE_BYTES (2 * MIB) /* in memory at once, however long a part is */

/* Told after each piece how many bytes of the part it was. What it returns, if not 0, ends the check and is its result. */
typedef int part_told_fn(void *context, uint64_t bytes);

/* Zero-initialised but for store and told. */
struct part_reader {
	struct store *store;
	part_told_fn *told; /* may be NULL */
	void *context;
	uint8_t *buffer;    /* PART_PIECE_BYTES, allocated for the first part */
};
/* Accepts a zeroed object. */
void part_reader_release(struct part_reader *reader);

/* Bytes of the part's entry. Its reference holds the low 32 bits, and no entry is shorter than its header. */
uint64_t part_bytes(const struct entry_ref *part);

/* Does the part stand as its reference says? 0; SLF_END where it does not; -ENOMEM; an error of reading, noted; what told has
 * returned. */
int part_check(struct part_reader *reader, const struct entry_ref *part);

#endif
