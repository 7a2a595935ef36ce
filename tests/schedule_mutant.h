/* SPDX-License-Identifier: MIT */
/*
 * Included before lib/txn.c for test_mutant, in the place of schedule_seam.h: one step of a protocol is left out, which one
 * says MUTANT. The source itself knows nothing of it.
 */
#ifndef SCHEDULE_MUTANT_H
#define SCHEDULE_MUTANT_H

#include "schedule_seam.h"

#include "reader.h"
#include "tree.h"

#if MUTANT == 1
/* A snapshot does not publish a floor before it loads the version. */
#define reader_floor(reader, epoch) ((void)(reader), (void)(epoch))
/* What it reads may be somebody else's by then, or nobody's. */
#define MUTANT_TOLD "interleave_scene.c:"
#define MUTANT_SIGNAL SIGSEGV
#else
/* A tree that is changed beside an install goes on from the nodes in memory, also where they have been written. */
#define word_is_heap(word) ((void)(word), false)
/* The node that was installed is replaced twice, or a sweep has freed it and it has become another one: that is told in any way. */
#define MUTANT_TOLD ""
#define MUTANT_SIGNAL SIGSEGV
#endif

#endif
