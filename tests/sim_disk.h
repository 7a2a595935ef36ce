/* SPDX-License-Identifier: MIT */
/*
 * A disk in memory, as a back end of the I/O seam: for tests of crashes, failing calls and damage.
 *
 * What a process sees of a file is its volatile image; what a power cut leaves is made from its durable image and from
 * the log of what was done since the last flush. The model, harsher than any file system:
 *  - IO_SYNC makes the data, size and space of its file durable, nothing else. Flushes of a batch come before its other
 *    requests, which run in reverse order: who counts on an order inside a batch is found out.
 *  - IO_DSYNC makes durable its own sectors, with the size and the space needed to read them. (If an unsynced truncation
 *    is in the way it flushes the file.)
 *  - At a power cut every unit that is not durable survives or not, each for itself: a written sector of 512 bytes, a
 *    punched piece of up to 64 KiB, a growth of the size, an allocation, a truncation, a name. Survivors take effect in
 *    their order. A written sector may also be torn: it holds garbage.
 *  - Names are durable after io_sync_directory. Directories are not modelled: every directory exists.
 *  - After a failed flush that dropped its sectors, reads and maps go on showing them, IO_DIRECT reads show what is on
 *    the disk, and the next flush reports success.
 *  - Bytes of a map behind the end of the file read as zeros; a real map would raise SIGBUS.
 * Any number of threads, and of struct io (each stands for a process) on one disk.
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "io.h"

#define SIM_SECTOR_BYTES 512u
#ifndef SIM_FILE_BYTES_MAX /* tests/valgrind.sh has less room for it */
#define SIM_FILE_BYTES_MAX (8 * GIB)
#endif
#define SIM_FAULTS_MAX 8

struct sim_disk;

struct sim_disk *sim_disk_new(void);
/* Every struct io and file of it must be gone. Accepts NULL. Ends the maps. */
void sim_disk_free(struct sim_disk *disk);
/* A process's view of the disk, freed by io_free. */
int sim_disk_io(struct sim_disk *disk, struct stats *stats, struct io **io);
/* Space for the blocks (4 KiB) of all files; UINT64_MAX at first. Beyond it writes are short, then -ENOSPC. */
void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes);
/* What io_info tells from now on: the unit of tearing, and whether it is a network file system. */
void sim_disk_set_physical_sector(struct sim_disk *disk, uint32_t bytes);
/* The unit of direct transfers, which are not refused all the same; 0: it has none. */
void sim_disk_set_direct(struct sim_disk *disk, uint32_t bytes);
void sim_disk_set_network(struct sim_disk *disk, bool network);
/* A device that answers flushes without doing them. No engine survives it: it proves that a test can fail. */
void sim_disk_set_lying(struct sim_disk *disk, bool lying);

/* ---- Calls and faults -------------------------------------------------------------------------------------------- */

/* SIM_READ to SIM_PUNCH are in the order of enum io_op. Every request of a batch is a call. io_unmap is none. Behind SIM_CALLS
 * stand kinds of them. */
enum sim_call {
	SIM_READ, SIM_WRITE, SIM_SYNC, SIM_WRITE_OUT, SIM_ALLOCATE, SIM_PUNCH,
	SIM_OPEN, SIM_CLOSE, SIM_INFO, SIM_TRUNCATE, SIM_LOCK, SIM_MAP, SIM_LINK, SIM_REMOVE, SIM_SYNC_DIRECTORY,
	SIM_CALLS,
	SIM_ANY = SIM_CALLS,
	SIM_FLUSH, /* SIM_SYNC, and SIM_WRITE with IO_DSYNC */
	SIM_WRITTEN, /* told to hooks alone: a SIM_WRITE with IO_DSYNC has written, and not flushed yet */
	SIM_KINDS,
};
const char *sim_call_name(enum sim_call call);

/* How often call, or one of the kind, was made since the disk was made. */
uint64_t sim_disk_calls(struct sim_disk *disk, enum sim_call call);

/* Lets a call fail. SIM_CLOSE closes all the same and a hint (SIM_WRITE_OUT) never fails. */
struct sim_fault {
	enum sim_call call;    /* which, or which kind */
	uint64_t nth;          /* the n-th such call from now, from 1 on; 0 is taken for 1 */
	int error;             /* -errno */
	bool sticky;           /* and every one after it */
	bool partial;          /* reads and writes: all but the last short_bytes are transferred first, or keep_bytes */
	uint64_t short_bytes;
	uint64_t keep_bytes;   /* if not 0: just so many are transferred */
	bool drop;             /* SIM_FLUSH: what it should have flushed is lost (XFS, btrfs) */
	void (*met)(enum sim_call call); /* told when a call fails, under the disk's mutex; may be NULL */
};
/* Up to SIM_FAULTS_MAX at once; the first that matches counts. */
void sim_disk_add_fault(struct sim_disk *disk, const struct sim_fault *fault);
void sim_disk_clear_faults(struct sim_disk *disk);
/* No call fails or is counted towards a fault while they are held: for a test that looks at the database in between. */
void sim_disk_hold_faults(struct sim_disk *disk, bool hold);
/* Files that were opened and not closed. */
uint64_t sim_disk_open_files(struct sim_disk *disk);
/* How many calls have failed by plan since the disk was made; of a kind. */
uint64_t sim_disk_faults_fired(struct sim_disk *disk);
uint64_t sim_disk_failed(struct sim_disk *disk, enum sim_call call);

/* Called before every call takes effect, and in the midst of a write that flushes, without a lock held: the place to take
 * crashed disks. Set it before use. */
typedef void sim_hook_fn(void *context, struct sim_disk *disk, enum sim_call call);
void sim_disk_set_hook(struct sim_disk *disk, sim_hook_fn *hook, void *context);

/* ---- Power cuts -------------------------------------------------------------------------------------------------- */

enum sim_unit_kind { SIM_UNIT_WRITE, SIM_UNIT_PUNCH, SIM_UNIT_GROW, SIM_UNIT_ALLOCATE, SIM_UNIT_TRUNCATE, SIM_UNIT_NAME };

/* One thing that a power cut may undo. */
struct sim_unit {
	enum sim_unit_kind kind;
	size_t index;     /* its number among the units of this moment; the order within a file is that of the calls */
	uint64_t inode;
	uint64_t offset;  /* bytes */
	uint64_t length;  /* bytes; GROW, TRUNCATE: the new size */
	const char *path; /* NAME */
};

enum sim_fate { SIM_LOST, SIM_KEPT, SIM_TORN }; /* SIM_TORN for SIM_UNIT_WRITE only */
typedef enum sim_fate sim_choose_fn(void *context, const struct sim_unit *unit);

/* How many units a power cut now would decide about. */
size_t sim_disk_pending(struct sim_disk *disk);
/* The same, and shows them to visit (may be NULL), whose answers do not matter. */
size_t sim_disk_units(struct sim_disk *disk, sim_choose_fn *visit, void *context);
/* A new disk as a power cut at this moment would leave it; disk itself goes on untouched. choose tells the fate of every
 * unit, in the order of their index; NULL: all are lost. No fault, hook, lock or open file passes over. */
struct sim_disk *sim_disk_crash(struct sim_disk *disk, sim_choose_fn *choose, void *context);
/* The same with fates from a seed: all, none, a prefix, or each unit by chance; torn sectors only when asked for. */
struct sim_disk *sim_disk_crash_seed(struct sim_disk *disk, uint64_t seed, bool torn);
/* The same when the process is killed but the system lives: all is kept, as the process saw it. */
struct sim_disk *sim_disk_kill(struct sim_disk *disk);

/* ---- Damage ------------------------------------------------------------------------------------------------------ */

/* Copies bytes of both images, or of the durable one, past every rule; -ENOENT, and -EINVAL beyond the file limit. */
int sim_disk_poke(struct sim_disk *disk, const char *path, uint64_t offset, const void *data, uint64_t length);
int sim_disk_peek_durable(struct sim_disk *disk, const char *path, uint64_t offset, void *data, uint64_t length);
/* A number for what is durable: names, sizes and bytes, not what is allocated. */
uint64_t sim_disk_digest(struct sim_disk *disk);
/* Cuts or extends both images, as when a file was copied badly. */
int sim_disk_resize(struct sim_disk *disk, const char *path, uint64_t size);

#endif
