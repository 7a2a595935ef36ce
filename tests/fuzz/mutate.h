/* SPDX-License-Identifier: MIT */
/* Changes to the flat database that respect what stands where: fields of pages, slabs, records, nodes, entries. */
#ifndef MUTATE_H
#define MUTATE_H

#include "flat.h"
#include "scratch.h"

/* One change anywhere. Slabs before `tail` (a position; 0: none) are not changed. */
void mutate_flat(struct rng *rng, uint64_t tail);
/* Makes every checksum good again. */
void mutate_seal(void);

#endif
