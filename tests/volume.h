/* SPDX-License-Identifier: MIT */
/*
 * A file system of its own, to be filled and to be cut from its power: on a loop device over memory, seen by this process
 * and its children only. Nothing has to be cleaned up by hand: mounts end with their namespace, loop devices with their last
 * user, the memory with both; so it is when the process is killed, too.
 *
 * It needs root, a mount namespace, loop devices, the mkfs of each file system and a kernel that knows it. What is missing is
 * told as a reason, in words.
 */
#ifndef VOLUME_H
#define VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "scratch.h"

enum volume_kind {
	VOLUME_EXT4,
	VOLUME_EXT4_WRITEBACK, /* data=writeback */
	VOLUME_EXT4_EAGER,     /* commit=1: its journal is written each second */
	VOLUME_EXT4_LATE,      /* commit=1000: by flushes alone */
	VOLUME_XFS,
	VOLUME_XFS_SHARED, /* the same; the test gives the database's blocks to a copy as well (volume_share) */
	VOLUME_XFS_PLAIN, /* without reflink */
	VOLUME_BTRFS,
	VOLUME_TMPFS, /* without a loop device */
	VOLUME_KINDS
};

struct volume {
	enum volume_kind kind;
	char point[SCRATCH_PATH_BYTES]; /* where it is mounted */
	char pool[SCRATCH_PATH_BYTES + 8]; /* of a thin one: the file system that its image is in; else empty */
	char device[32];
	int image, loop;
	bool made, mounted;
};

const char *volume_name(enum volume_kind kind);

/* Makes and mounts a file system at the directory point, which is made when missing. NULL, or why that is not possible here:
 * then nothing is left. */
const char *volume_make(struct volume *volume, enum volume_kind kind, uint64_t bytes, const char *point);
/* The same on a thin device: its blocks come from a pool when they are first written. */
const char *volume_make_thin(struct volume *volume, enum volume_kind kind, uint64_t bytes, const char *point);
/* From now on the pool is empty: what was written before can be written over, every other write of the device fails. And it
 * has room again. */
void volume_starve(const struct volume *volume);
void volume_feed(const struct volume *volume, uint64_t bytes);
/* Both have to work. Unmounting waits for what killed processes have left to the kernel. */
void volume_mount(struct volume *volume);
void volume_unmount(struct volume *volume);
/* From now on nothing can be written; nothing may be open for writing. */
void volume_read_only(struct volume *volume);
/* All blocks of a file belong to a copy of it too, which is made or replaced. Not for all file systems. */
void volume_share(const char *path, const char *copy_path);
/* Cuts the power: nothing is written from now on. log: its journal is still written, but no data. Not for btrfs and tmpfs.
 * Flushes that return while this call runs may say that they worked and have not (a plain loop of pwrite and fdatasync shows it
 * on both file systems): no process outlives its power, so take nothing for acknowledged from here on. */
void volume_cut(struct volume *volume, bool log);
/* Has the kernel found no fault in the file system itself? ext4 counts; of the others nothing is known. */
bool volume_sound(const struct volume *volume);
/* Accepts a zeroed object. */
void volume_release(struct volume *volume);

#endif
