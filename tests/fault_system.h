/* SPDX-License-Identifier: MIT */
/*
 * System calls that fail by plan: with "-Wl,--wrap=" of the names in fault_system.c the calls of io_file.c,
 * io_uring.c and heap.c come through here. One thread.
 */
#ifndef FAULT_SYSTEM_H
#define FAULT_SYSTEM_H

enum system_call {
	SYSTEM_NONE,
	SYSTEM_ACCESS,
	SYSTEM_CLOSE,
	SYSTEM_FALLOCATE,
	SYSTEM_FCNTL,
	SYSTEM_FDATASYNC,
	SYSTEM_FSTAT,
	SYSTEM_FSTATFS,
	SYSTEM_FSTATFS_NETWORK, /* works, and says NFS */
	SYSTEM_FSYNC,
	SYSTEM_FTRUNCATE,
	SYSTEM_GETRANDOM,
	SYSTEM_GETRLIMIT,
	SYSTEM_LINK,
	SYSTEM_MEMORY, /* malloc, calloc, asprintf */
	SYSTEM_MMAP,
	SYSTEM_MMAP_ASIDE, /* works, one page behind the place that the kernel chose */
	SYSTEM_MUNMAP,
	SYSTEM_OPEN,
	SYSTEM_PREAD,
	SYSTEM_PWRITE,
	SYSTEM_PWRITEV2,
	SYSTEM_RENAMEAT2,
	SYSTEM_STATX,
	SYSTEM_STATX_STRANGE, /* works, and says that the unit of direct transfers is the error, and no time of birth */
	SYSTEM_RING_ANSWER, /* the call works, each of its answers is the error */
	SYSTEM_RING_ENTER,
	SYSTEM_RING_LEAVE, /* everything is submitted, waiting for it fails */
	SYSTEM_RING_PROBE, /* the kernel knows no operation */
};

/* The calls of this kind fail, after so many that do not, so many times; with error 0 a transfer moves nothing. */
void fault_system_arm(enum system_call call, unsigned spared, unsigned times, int error);
/* Ends that, and tells how many have failed. */
unsigned fault_system_disarm(void);

#endif
