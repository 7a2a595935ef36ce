/* SPDX-License-Identifier: MIT */
/*
 * The inside of the simulated disk, shared by sim_inode.c (images and the log between them), sim_disk.c (the back end)
 * and sim_crash.c (power cuts, copies, damage). No lock here: the caller holds the mutex of the disk.
 */
#ifndef SIM_INODE_H
#define SIM_INODE_H

#include <pthread.h>

#include "sim_disk.h"

#define BLOCK_BYTES 4096u

struct image {
	void *area;       /* the reservation */
	uint8_t *data;    /* SIM_FILE_BYTES_MAX, aligned */
	uint8_t *blocks;  /* BLOCK_... of each */
	uint64_t size;
	uint64_t used;    /* no block from here on is allocated */
	uint64_t allocated_bytes;
};

/* What was done and is not durable. length is the new size for GROW and TRUNCATE. */
struct change {
	enum sim_unit_kind kind;
	uint64_t offset, length;
	uint8_t *data; /* WRITE: whole sectors */
};

struct range {
	uint64_t offset, end;
};

struct sim_lock {
	struct sim_file *file;
	enum io_lock kind;
	struct range range;
};

struct inode {
	uint64_t number;
	struct image seen, durable;
	struct change *changes;
	size_t change_count, change_room;
	struct range *lies; /* sectors that a failed flush dropped: seen shows what never reached the disk */
	size_t lie_count;
	struct sim_lock *locks;
	size_t lock_count;
	struct inode *copy; /* scratch of copying a disk */
};

struct name {
	char *path;
	struct inode *seen, *durable; /* NULL: not there */
};

struct plan {
	struct sim_fault fault;
	uint64_t calls;
};

struct sim_disk {
	pthread_mutex_t mutex;
	struct inode **inodes;
	size_t inode_count;
	struct name *names;
	size_t name_count;
	uint64_t inode_next;
	uint64_t capacity;
	uint32_t physical_sector, direct_unit;
	bool network, lying;
	bool holding;        /* faults */
	uint64_t files_open;
	struct plan plans[SIM_FAULTS_MAX];
	size_t plan_count;
	uint64_t calls[SIM_KINDS], failed[SIM_KINDS];
	sim_hook_fn *hook;
	void *hook_context;
};

/* Memory for the test itself: without it there is no test. */
void *sim_grow(void *old, size_t count, size_t size);
void sim_free(void *memory);
/* Disks are made by the thousand: what is freed stays with the process, and no huge page is cleared for a small database. */
void sim_keep_memory(void);
/* Above 0 while the disk itself asks for memory: what lets allocations fail has to leave it alone. */
extern _Thread_local volatile unsigned sim_own_memory;

void image_copy(struct image *to, const struct image *from); /* to is fresh */
/* A number for size and bytes. */
uint64_t image_digest(const struct image *image);
void image_write(struct image *image, uint64_t offset, const void *data, uint64_t length);
void image_read(const struct image *image, uint64_t offset, void *data, uint64_t length);
void image_mark_allocated(struct image *image, uint64_t offset, uint64_t length);
/* Zeros; whole blocks are given back. */
void image_punch(struct image *image, uint64_t offset, uint64_t length);
void image_resize(struct image *image, uint64_t size);

struct change *change_add(struct inode *inode, enum sim_unit_kind kind, uint64_t offset, uint64_t length);
/* offset and length cover whole sectors; data is copied. */
void change_add_write(struct inode *inode, uint64_t offset, uint64_t length, const uint8_t *data);
/* Whether a power cut decides about it piece by piece, and how long the piece at offset is. */
bool change_has_pieces(const struct change *change);
uint64_t change_piece_length(const struct change *change, uint64_t offset);
/* Applies length bytes of a change from offset on: all of it where it has no pieces. */
void change_apply(const struct change *change, struct image *image, uint64_t offset, uint64_t length);

/* A file of disk, which owns it. */
struct inode *inode_new(struct sim_disk *disk, uint64_t number);
void inode_free(struct inode *inode);
void inode_flush(struct inode *inode);
/* What IO_DSYNC does: [from, end) are whole sectors, size_end is where the write ends. */
void inode_flush_range(struct inode *inode, uint64_t from, uint64_t end, uint64_t size_end);
/* A flush of [from, end) failed and the system forgets that the sectors were dirty; size and space may still come. */
void inode_drop(struct inode *inode, uint64_t from, uint64_t end);
/* New bytes in [from, end): what is seen there is no lie any more. */
void inode_forget_lies(struct inode *inode, uint64_t from, uint64_t end);

struct name *name_find(struct sim_disk *disk, const char *path);
struct name *name_add(struct sim_disk *disk, const char *path); /* or finds */
struct inode *inode_find(struct sim_disk *disk, const char *path);

#endif
