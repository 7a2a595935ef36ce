/* SPDX-License-Identifier: MIT */
/*
 * Thirty short histories of a database, as scripts of one letter a step. They are small so that every I/O call of them can
 * be cut or made to fail in every way.
 */
#ifndef CRASH_SCENE_H
#define CRASH_SCENE_H

#include "crash_rig.h"

#define SCENES 30

struct scene {
	const char *name;
	const char *script;
	unsigned spindles;
	int sync;
	uint32_t sector;  /* the unit of tearing, bytes; 0: 512 */
	bool plain;       /* values are not compressed */
};

/*
 * The letters:
 *   c  a commit of 1 to 3 changes         a  the same, asynchronous       C  a commit of 40 changes
 *   m  a commit of 6 values of 600 to 1800 bytes                          M  40 of them: more than the heap may hold
 *   L  a commit with a value that goes to bulk at once                    l  the same, asynchronous
 *   d  a commit of 12 deletes             D  a commit of 120 deletes      b  a commit of a blob alone
 *   k  checkpoint                         s  slf_sync                     x  a transaction that is aborted
 *   r  close and open                     K  the process dies; open       R  open and close, read only
 */
extern const struct scene scenes[SCENES];

/* A rig for the scene: the world starts anew from seed. */
void scene_init(struct rig *rig, const struct scene *scene, uint64_t seed);
/* Opens, runs the script and closes; every step has to work. */
void scene_run(struct rig *rig, const struct scene *scene);
/* One step. After an opening the rig has adopted what is there. */
int scene_step(struct rig *rig, char letter);

#endif
