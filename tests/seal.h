/* SPDX-License-Identifier: MIT */
/*
 * Seals a database again whose bytes somebody has changed: every checksum is made right, bottom up, and with it what names
 * an entry by its checksum. Values and nodes, then the nodes above them, roots, actions and the logical digests of commits,
 * slabs with the chain from one to the next, the spindle table and the metadata pages. What the change has made of lengths,
 * counts and positions stays; what is so wrong that no checksum of it is ever looked at is left alone.
 */
#ifndef SEAL_H
#define SEAL_H

#include "base.h"

/* The bytes at a position, to be changed in place and aligned to 8: NULL when not all of them are there. */
typedef uint8_t *seal_find_fn(void *context, uint64_t position, uint64_t length);

/* slabs: positions of what may be slabs, in the order of the log. */
void seal_database(seal_find_fn *find, void *context, const uint64_t *slabs, size_t count);

#endif
