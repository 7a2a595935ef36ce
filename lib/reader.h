/* SPDX-License-Identifier: MIT */
/*
 * Readers: slots in which snapshots publish the epoch they read, so that nothing they can reach is freed. There is no
 * limit: blocks of slots are added, each twice as large as the one before, and live as long as the database.
 *
 * Protocol (store-load ordering by sequentially consistent fences on both sides): a reader publishes a floor (the visible
 * epoch it has just loaded), fences, loads the visible version, then publishes that version's exact epoch. Whoever
 * reclaims fences and then reads the slots: it either sees the floor, or the reader loads a version that is at least as
 * new as what the reclaimer took for visible.
 */
#ifndef READER_H
#define READER_H

#include <pthread.h>

#include "base.h"

#define READER_IDLE 0 /* no snapshot */

/* ORPHAN: the database was closed under it; ENDED: and then it was given back. */
enum reader_state { READER_FREE, READER_CLAIMED, READER_ORPHAN, READER_ENDED };

struct reader {
	_Atomic uint64_t epoch; /* READER_IDLE, epoch << 1 (exact), or epoch << 1 | 1 (a floor: this and all newer) */
	_Atomic uint32_t state;
	uint32_t index;
	_Atomic(void *) context; /* the pooled transaction; stays once it is there */
	_Alignas(64) char end[];
};

#define READER_BLOCK_BITS 5
#define READER_BLOCKS 26

struct readers {
	pthread_mutex_t mutex; /* guards the adding of blocks */
	_Atomic(struct reader *) blocks[READER_BLOCKS]; /* block k has 32 << k slots */
};

int readers_init(struct readers *readers);
/* All slots' contexts have been freed before. */
void readers_release(struct readers *readers);

/* A claimed slot, or NULL without memory. No lock, no allocation but when all slots are taken. */
struct reader *reader_claim(struct readers *readers);
/* Gives the slot back; false when the database was closed meanwhile. */
bool reader_free(struct reader *reader);
/* Has it been given back? */
static inline bool reader_is_free(const struct reader *reader)
{
	uint32_t state = atomic_load_explicit(&reader->state, memory_order_relaxed);

	return state == READER_FREE || state == READER_ENDED;
}

static inline void reader_floor(struct reader *reader, uint64_t epoch)
{
	/* release: a sweep that finds this in place of IDLE has what the slot's last owner read behind it, too */
	atomic_store_explicit(&reader->epoch, epoch << 1 | 1, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
}
static inline void reader_exact(struct reader *reader, uint64_t epoch)
{
	/* release: what was read under the floor stays before it */
	atomic_store_explicit(&reader->epoch, epoch << 1, memory_order_release);
}
static inline void reader_idle(struct reader *reader)
{
	/* release: all reads of the snapshot are done before it ends */
	atomic_store_explicit(&reader->epoch, READER_IDLE, memory_order_release);
}

/* Calls each with every slot. */
void readers_each(struct readers *readers, void (*each)(void *context, struct reader *reader), void *context);

#endif
