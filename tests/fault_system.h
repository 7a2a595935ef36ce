/* SPDX-License-Identifier: MIT */
/*
 * System calls that fail by plan: with "-Wl,--wrap=" of the names in fault_system.c the calls of io_file.c and io_uring.c for
 * files come through here, with those of fault_process.c what a process asks for itself. One thread.
 */
#ifndef FAULT_SYSTEM_H
#define FAULT_SYSTEM_H

#include <stdbool.h>

enum system_call {
	SYSTEM_NONE,
	SYSTEM_ACCESS,
	SYSTEM_CLOSE,
	SYSTEM_FALLOCATE,
	SYSTEM_FCNTL,
	SYSTEM_FDATASYNC,
	SYSTEM_FSTAT,
	SYSTEM_FSTATFS,
	SYSTEM_FSYNC,
	SYSTEM_FTRUNCATE,
	SYSTEM_LINK,
	SYSTEM_LINKAT,
	SYSTEM_OPEN,
	SYSTEM_PREAD,
	SYSTEM_PWRITE,
	SYSTEM_PWRITEV2,
	SYSTEM_RENAMEAT2,
	SYSTEM_RING_ANSWER, /* the call works, each of its answers is the error */
	SYSTEM_RING_ENTER,
	SYSTEM_RING_INIT,
	SYSTEM_RING_LEAVE, /* everything is submitted, waiting for it fails */
	SYSTEM_STATX,
	SYSTEM_UNLINK,
	SYSTEM_ANY, /* any of the above: a call for a file that says it has failed */
	SYSTEM_FSTATFS_NETWORK, /* works, and says NFS */
	SYSTEM_GETRANDOM,
	SYSTEM_GETRLIMIT,
	SYSTEM_MEMORY, /* malloc, calloc, asprintf */
	SYSTEM_MMAP,
	SYSTEM_MMAP_ASIDE, /* works, one page behind the place that the kernel chose */
	SYSTEM_MUNMAP,
	SYSTEM_RING_PROBE, /* the kernel knows no operation */
	SYSTEM_STATX_STRANGE, /* works, and says that the unit of direct transfers is the error, and no time of birth */
	SYSTEM_TRANSFER, /* works, and moves less than it was asked for */
	SYSTEM_CALLS,
};

/* The calls of this kind fail, after so many that do not, so many times; with error 0 a transfer moves nothing. */
void fault_system_arm(enum system_call call, unsigned spared, unsigned times, int error);

/* What a transfer moves, in bytes; of a direct one in sectors. */
enum system_move {
	MOVE_ALL_BUT_ONE,
	MOVE_ONE,
	MOVE_NONE, /* writes alone: a read that brings nothing says that the file ends */
};
/* As fault_system_arm, for transfers that move less. One that cannot does not count. */
void fault_system_arm_short(enum system_move move, unsigned spared, unsigned times);

/* Ends that, and tells how many have failed. */
unsigned fault_system_disarm(void);
/* None fails or is counted meanwhile. */
void fault_system_hold(bool hold);

/* Since the last plan began: how many calls were of its kind, and how many have failed that are of this one; SYSTEM_ANY: all.
 * An answer of the ring counts as the call that would have done the same. */
unsigned fault_system_calls(void);
unsigned fault_system_failed(enum system_call call);

/* Is it the turn of this one to fail? errno says how. */
bool fault_system_fails(enum system_call call);

#endif
