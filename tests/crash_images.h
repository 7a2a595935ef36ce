/* SPDX-License-Identifier: MIT */
/*
 * Power cuts of a scene: at every call that may have changed the disk, the images that a cut may leave are made, and each
 * that has not been seen before is recovered and compared.
 *
 * The images of a moment with n units: when n is small all 2^n subsets; else nothing, everything, every prefix, all but one,
 * one alone, pairs of both kinds, and random subsets, each list thinned out to its share of the quota. Once with units of
 * 512 bytes and once with units of 4096; and with garbage in sectors, one at a time and by chance. Growth of the size,
 * allocations, punches and names are units like the sectors, so that sizes are lost and punches come early.
 */
#ifndef CRASH_IMAGES_H
#define CRASH_IMAGES_H

#include "crash_scene.h"

struct image_counts {
	uint64_t moments;    /* at which images were made */
	uint64_t whole;      /* of them: with all subsets */
	uint64_t images;     /* made */
	uint64_t distinct;   /* by their bytes; each was recovered and compared */
	uint64_t proofs;     /* recoveries and comparisons: an image counts again when other commits are acknowledged */
	uint64_t torn;       /* proofs with garbage in a sector */
	uint64_t creation;   /* distinct ones, of cuts inside a creation */
	uint64_t checkpoint; /* the same, inside a checkpoint */
	uint64_t recovery;   /* the same, inside an opening of what is there: of an image, or in the scene */
	uint64_t kills;      /* followed by a recovery or a reader and then a power cut; no images */
	uint64_t twice;      /* with `everywhere`: moments with an image that was cut at every call of its recovery, */
	uint64_t unborn;     /* and moments that have none, because there is no database yet */
};

/* A set of numbers that have been seen. Zeroed is empty. */
struct seen {
	uint64_t *slots;
	size_t count, room;
};

struct images {
	const struct rig *rig;
	struct rng rng;
	unsigned subsets_units; /* up to so many units all subsets are made */
	unsigned quota;         /* of images of a moment beyond that */
	unsigned nested;        /* of so many proofs one is cut again at every call of its recovery; 0: none */
	bool everywhere;        /* so is one image at least of every moment */
	bool inner;             /* this is such a one */
	bool busy;
	struct image_counts counts;
	struct seen bytes, proven;
};

/* What is said when a state that was seen after a kill is not there after the power cut that follows. */
#define IMAGES_GONE "seen after a kill, gone after a power cut"

/* Cuts rig's disk from now on; images must live as long. */
void images_start(struct images *images, struct rig *rig, uint64_t seed);
void images_release(struct images *images);

#endif
