/* SPDX-License-Identifier: MIT */
/* Changes to a database that somebody makes who knows that it is full of numbers. seal.h makes the checksums good again. */
#ifndef FORGE_H
#define FORGE_H

#include "scratch.h"

/* Another number in the place of old: a bit turned, a neighbour, any number, or one of those at which arithmetic ends. */
uint64_t forge_number(struct rng *rng, uint64_t old);
/* Changes 1 to 8 of the bytes at a place that number fields like. length > 0. */
void forge_bytes(struct rng *rng, uint8_t *data, uint64_t length);
/* Changes one of the numbers in the header of a slab that recovery believes, sizes and counts apart. */
void forge_slab_field(struct rng *rng, uint8_t *slab);

#endif
