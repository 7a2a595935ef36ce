/* SPDX-License-Identifier: MIT */
/*
 * The log stream: where the next slab goes, the extents it lives in, and the writing of slabs. All of it is the group
 * leader's, but for the fields named below. No decisions about commits are made here.
 *
 * A slab is written where the one before ends, or at the start of the extent that the one before announced (`next`). It ends on a
 * boundary of the physical sectors that the device has now, so that the next one shares none with it; a database that was made
 * for smaller ones shares one in each opening. The last of them is always kept at the end of an extent, so that an empty slab
 * can announce the next one when nothing else did.
 */
#ifndef LOG_H
#define LOG_H

#include <pthread.h>

#include "base.h"
#include "extent.h"
#include "slab.h"

struct log_extent {
	uint64_t position;
	uint64_t first_number; /* of the first slab in it */
};

/* Bytes of slabs. */
struct log_bytes {
	uint64_t payload;
	uint64_t slabs; /* with their padding */
};

/* A place in the log, complete enough to start replay there. */
struct log_place {
	uint64_t position; /* where the slab is when it lies directly behind the one before */
	uint64_t next;     /* else the announced extent */
	uint64_t number;   /* of that slab */
	uint64_t previous; /* digest of the one before */
	struct log_bytes bytes; /* before it, counted by this process */
};

/* A slab that has been written. */
struct log_slab {
	uint64_t position, number, digest;
};

struct log {
	struct store *store;
	struct extents *extents;
	uint64_t salt;
	struct log_place end;      /* of the next slab; next as the last written slab announced it */
	struct log_slab last;      /* the slab written last */
	uint64_t extent;           /* position of the current extent */
	uint64_t extent_end;       /* position behind it */
	bool direct;
	uint8_t *bridge;           /* an empty slab */
	uint32_t pad;              /* slabs end on multiples of it, bytes: what a torn write may take with it */
	bool unsynced;             /* slabs written and not flushed */
	bool torn;                 /* the last log_write failed and may have left bytes at its place */
	bool doubt;                /* a flush failed inside log_write */
	struct log_bytes mark_bytes; /* before the place where replay would start */
	pthread_mutex_t mutex;     /* guards the fields below; a spindle's mutex is taken inside */
	struct log_space {         /* of the current extent, for log_reserve */
		uint64_t position;      /* = end.position */
		uint64_t base, end;     /* the extent */
		uint64_t allocated_end; /* allocated up to here */
		bool written;           /* it has been written all over before */
		bool announced;         /* its successor is known */
	} space;
	uint64_t spare;            /* an extent ready to be announced, 0 for none */
	bool spare_written;        /* all over */
	bool spare_allocated;      /* all of it */
	uint64_t bare;             /* an extent taken, whose header could not be written yet; 0 for none */
	uint8_t bare_header[EXTENT_HEADER_BYTES];
	struct log_extent *live;   /* in the order of use; the last is the current one */
	size_t live_count, live_capacity;
	uint64_t *free;            /* recycled extents */
	size_t free_count, free_capacity;
};

int log_init(struct log *log, struct store *store, struct extents *extents);
void log_release(struct log *log);

/* Continues at a place in an extent (at creation and after recovery). written: see struct log. */
int log_continue(struct log *log, const struct log_place *end, uint64_t extent, bool written);

/* Bytes that a slab in the current extent may have. */
uint64_t log_room(const struct log *log);

/* Takes an extent for the time when the current one is full, unless there is one. prepare: write zeros all over it, so that
 * later flushes need no journal commit; slow, for the background. SLF_EUNKNOWN: a flush has failed, which poisons. */
int log_spare(struct log *log, bool prepare);
/* Is the current extent half full, and no spare ready? Any thread. */
bool log_low(struct log *log);

/* Makes sure that `bytes` of slabs from the current place on have their space (no-sync commits are promised it). Any
 * thread. */
int log_reserve(struct log *log, uint64_t bytes);

/* Writes a slab around the payload at slab + SLAB_HEADER_BYTES. header: payload, seqs, seq_limit, durable_seq, part_count
 * and record_count are the caller's; the rest is filled in. newest: the newest commit before the slab. stable: on stable
 * storage on return (only when nothing below is unsynced; the caller knows about parts). On failure the place is as before, or
 * the start of the next extent; torn and doubt say more. The buffer has room for the padded slab. */
int log_write(struct log *log, void *slab, struct slab_header *header, uint64_t newest, bool stable);
/* Overwrites the place of a failed slab with zeros, on stable storage. */
int log_invalidate(struct log *log, uint64_t length);
int log_sync(struct log *log);

/* Recycles the extents that lie wholly before the slab `number`. */
void log_recycle(struct log *log, uint64_t number);
/* Positions of the extents that are free once log_recycle(number) has been called, and of one that no slab has announced yet; at
 * most max. */
size_t log_free_list(struct log *log, uint64_t number, uint64_t *positions, size_t max);
/* The extent that is used next, from this slab on. */
int log_add_live(struct log *log, uint64_t position, uint64_t first_number);
/* One whose slabs come before all others: the next log_recycle frees it. */
int log_add_oldest(struct log *log, uint64_t position);

#endif
