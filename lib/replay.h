/* SPDX-License-Identifier: MIT */
/*
 * Reading the log: following the chain of slabs, and replaying the commits in it into a transaction. The one routine behind
 * opening (read-write and read-only). One thread.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include "base.h"
#include "core.h"
#include "part.h"
#include "txn.h"

/* A place in the chain and the slab found there. */
struct log_reader {
	struct core *core;
	uint8_t *slab;           /* sector aligned */
	uint64_t slab_bytes;     /* at most EXTENT_BYTES */
	uint8_t *piece;          /* of the log, to look for slabs in */
	struct slab_header header;
	uint64_t position;       /* of the slab read last */
	struct log_place place;  /* where the next one is to be */
	uint64_t extent;         /* that it is in, position; set by log_reader_next */
	struct part_reader parts; /* told and context are the caller's to set */
	uint64_t part_bytes;     /* checked since the start: never more than the files hold, whatever a hostile log names */
};

int log_reader_init(struct log_reader *reader, struct core *core);
void log_reader_release(struct log_reader *reader);
/* Room for so many bytes at slab, which may move; what it holds stays. bytes: at most EXTENT_BYTES. 0 or -ENOMEM. */
int log_reader_reserve(struct log_reader *reader, uint64_t bytes);

/* Reads the slab at a position without asking for its place in the chain: 0, or SLF_END with *reason. */
int log_reader_at(struct log_reader *reader, uint64_t position, const char **reason);
/* Goes on from a place. */
void log_reader_start(struct log_reader *reader, const struct log_place *place);
/* The next slab of the chain: 0; SLF_END where it ends (*reason: what stands there instead); an error of reading. */
int log_reader_next(struct log_reader *reader, const char **reason);

/* What slab_next_record has said at the end of a walk over the slab's records: 0, or SLF_EINCOMPATIBLE for the last one. */
int log_reader_walked(const struct log_reader *reader, int result, const struct log_record *record);

/* Is there a slab behind the end of the chain that proves more than last_seq to have been durable? 1, 0, or an error of
 * reading: then nobody can tell. Looks where the chain would go on; the next one in an extent that may have come later, from its
 * first slab on. */
int log_reader_evidence(struct log_reader *reader, uint64_t last_seq);
int log_reader_evidence_in(struct log_reader *reader, uint64_t extent, uint64_t last_seq);
/* Tells of all of it from a place to the end of its extent, of which a copy that was taken in use has pieces of several times. The
 * first result of found that is not 0 ends it. found may use reader->slab. */
int log_reader_each_evidence(struct log_reader *reader, uint64_t from, uint64_t last_seq,
			     int (*found)(void *context, uint64_t position), void *context);

/* Bytes of the bulk parts that the slab lists. */
uint64_t log_reader_part_bytes(const struct log_reader *reader);
/* Do they stand as it says? Results as of part_check, and SLF_ECORRUPT for more of them than there can be. */
int log_reader_check_parts(struct log_reader *reader);

struct replay {
	struct slf_txn *txn;      /* gets the actions */
	uint64_t root_seq;        /* commits up to it are in the checkpoint */
	uint64_t seq;             /* of the newest commit applied */
	struct digest digest;
	uint64_t search_ns;
	uint64_t chunk_bytes;     /* read from bulk: never more than the files hold, whatever a hostile log names */
};

/* Applies the commits of the slab that the reader has read. */
int replay_slab(struct replay *replay, struct log_reader *reader);

#endif
