/* SPDX-License-Identifier: MIT */
/*
 * Group commit. Sealed commits gather in the *fill* group; a leader (any waiting committer, or the background flusher)
 * swaps it for the empty one, writes it as one slab, flushes, and tells everyone. One slab is in flight at a time; the next
 * group fills meanwhile.
 *
 * Locks, outermost first: the writer's turn, `lock` here, then those of log and extents. `lock` is never held across I/O
 * but for rare allocation in log_reserve.
 * Waiting: two futex words, one per parity of the group's round. The word is bumped under `lock` before the wake, and
 * waiters load it under `lock`, so no wake-up is lost. No spinning. Each word has a count of its sleepers, so that nobody goes
 * into the kernel to wake nobody.
 *
 * Fate of a commit (a seq): settled seq < seq: open. Else failed if it lies in a burnt range, with that range's code, or in
 * what recovery has not found; else durable. A poisoned committer answers SLF_EUNKNOWN for what was in flight and SLF_EPOISONED from then on.
 */
#ifndef COMMIT_H
#define COMMIT_H

#include <pthread.h>

#include "base.h"
#include "bulk.h"
#include "error.h"
#include "log.h"
#include "version.h"

/* Payload of one slab; no record is longer. Two slabs of it, and what commits leave free behind them, fit in one extent: so one
 * extent ahead is room for what is in flight and what fills behind it, also where the flight does not fit into the present one. */
#define GROUP_BYTES ((size_t)960 * 1024)

/* In the modes without a flush per commit so much gathers before it is written out. */
#define WRITE_OUT_BYTES ((size_t)64 * 1024)

/* Commits on their way to one slab. */
struct group {
	uint8_t *slab; /* header room, then the payload */
	size_t payload;
	uint32_t record_count;
	uint64_t first_seq, last_seq;
	uint64_t dirty[SPINDLE_WORDS]; /* spindles of parts that are not synced */
	struct entry_ref *parts;
	size_t part_count, part_capacity;
	uint64_t bulk_actions; /* bytes that its commits have in bulk: a replay reads them too */
	struct version *last; /* newest version sealed into it */
	bool has_mark;
};

struct burnt {
	uint64_t first, last;
	uint8_t *told; /* a bit for each: it has been asked for */
	uint64_t told_bytes, told_count;
	int code;
	struct slf_errinfo info;
};

struct commit {
	struct store *store;
	struct log *log;
	struct versions *versions;
	int sync; /* enum slf_sync_mode */
	int eventfd;
	pthread_mutex_t lock;
	struct group groups[2];
	unsigned fill;       /* index of the fill group */
	uint32_t round;      /* of the fill group */
	uint32_t settled_round; /* the groups up to this round are on stable storage, or were given up */
	bool leading;
	size_t flight_bytes; /* payload in flight, 0 for none */
	size_t reserved_bytes; /* payload, in flight and filling, that the log has room for; 0 when not known */
	_Atomic uint32_t words[2];
	/* Who sleeps on each word, or is about to. Raised under lock, in the section that loads the word, and looked at in the one
	 * that bumps it: so a waiter is counted, or has loaded the bumped word and waits for what comes after it. The lock orders
	 * that; all is relaxed. Lowered without it, by who is awake: if late, for a wake-up that hits nobody. */
	_Atomic uint32_t sleepers[2];
	uint64_t next_seq;   /* of the next commit */
	uint64_t seq_limit;  /* in the newest slab */
	uint64_t durable_limit; /* in the newest flushed slab: no seq above it is handed out (I11) */
	_Atomic uint64_t settled_seq; /* every seq up to here has its fate; stored under lock, with release */
	_Atomic bool any_burnt;       /* set before a burnt seq is settled */
	_Atomic uint64_t durable_seq, visible_seq;
	struct version *written; /* newest version whose slab is written, maybe not flushed */
	struct log_place settled_place; /* log place behind the slab of the durable version */
	uint64_t settled_ns; /* when; kept for SLF_SYNC_AUTO only */
	struct log_bytes written_bytes; /* up to the slab written last */
	_Atomic uint64_t replay_bytes; /* payload written behind log->mark_bytes; stored under lock, read to steer only */
	struct log_slab mark_slab; /* the newest written slab with a MARK */
	struct open_record session; /* this opening's, repeated behind each MARK; set once, before the first of them */
	uint64_t unsynced_dirty[SPINDLE_WORDS]; /* spindles of parts of written groups that are not synced; the leader's */
	_Atomic bool rollback; /* pending versions are to be taken back by the next holder of the turn */
	_Atomic uint32_t rollbacks; /* how often; a transaction begun before one is doomed */
	int aborted; /* why the group that was aborted last was; 0: none has been */
	struct slf_errinfo aborted_info;
	_Atomic int poisoned; /* 0 or SLF_EPOISONED */
	struct slf_errinfo poison_info;
	uint64_t lost_first, lost_last; /* what earlier openings may have handed out above the newest commit found; set at opening */
	struct burnt *burnt;
	size_t burnt_count, burnt_capacity;
	void (*wake)(void *context); /* tells the background flusher that there is work */
	void *wake_context;
};

int commit_init(struct commit *commit, struct store *store, struct log *log, struct versions *versions);
void commit_release(struct commit *commit);

/* Poisons the handle with the calling thread's error detail. */
void commit_poison(struct commit *commit);
/* 0, or SLF_EPOISONED with the detail of what happened. */
int commit_check(struct commit *commit);

/* What a transaction brings to its sealing. */
struct sealing {
	struct version *version;     /* becomes the tip; seq and epoch are set here */
	struct commit_entry entry;   /* seq, clock and digest are set here */
	const struct digest *txn_digest;
	const struct entry_ref *parts;
	size_t part_count;
	const uint64_t *dirty;       /* SPINDLE_WORDS: spindles of unsynced parts */
	uint64_t bulk_actions;       /* bytes of actions in bulk that a replay would read */
	struct mark *mark;           /* for the same slab, its seq, clock and digest are set here; NULL for none */
	uint32_t rollbacks;          /* commit->rollbacks when the transaction began */
	bool frugal;                 /* it only deletes: may use the log's reserve */
};

/* Seals under the turn: the commit is in the fill group and its version is the tip. -ENOSPC when the log has no room,
 * SLF_ECANCELLED after a rollback, SLF_EPOISONED: then nothing has happened. */
int commit_seal(struct commit *commit, struct sealing *sealing, uint64_t *seq);

/* Puts a record of the engine into the fill group. A MARK is followed by the OPEN of this session: recovery may begin with it, and
 * must know which file the log belongs to. */
int commit_record(struct commit *commit, enum log_record_kind kind, struct slf_slice body);

/* Until seq has its fate; leads when nobody else does. timeout_ns < 0: forever. 0, -ETIMEDOUT, or the failure. */
int commit_wait(struct commit *commit, uint64_t seq, int64_t timeout_ns);
/* The same for who only stands on it: the failure is still to be told to who made it. */
int commit_wait_base(struct commit *commit, uint64_t seq);
/* Makes everything sealed so far durable. */
int commit_sync(struct commit *commit, uint64_t *durable_seq);
/* The failure of a burnt commit that nobody waited for, once; 0 where there is none. */
int commit_untold(struct commit *commit);
/* Writes what has gathered without flushing, unless a leader is at it. */
int commit_write_out(struct commit *commit);
/* What lies before the place needs no replay any more. */
void commit_move_mark(struct commit *commit, const struct log_place *place);
/* What waits, for the background. */
struct commit_load {
	size_t gathered;     /* bytes in the fill group */
	uint64_t unflushed;  /* bytes of slabs that are written and not flushed */
	uint64_t settled_ns; /* when the log was flushed last; with SLF_SYNC_AUTO only */
};
struct commit_load commit_load(struct commit *commit);

/* Takes back pending versions after a failed slab; the caller holds the turn. Cheap when there is nothing to do. Returns
 * commit->rollbacks as of this moment: what stands on the tip is doomed when it has moved on. */
uint32_t commit_rollback(struct commit *commit);

/* Frees what no version in use can reach, a part of it; the caller holds the turn. True when there is more. */
bool commit_sweep(struct commit *commit);

/* Publishes a version with the seq of the tip: the same state in other nodes. The caller holds the turn and, in
 * SLF_SYNC_COMMIT, nothing is pending. */
void commit_install(struct commit *commit, struct version *version);

/* The durable version and the log place behind its slab, as one; the version is pinned (versions->pinned). Any thread: the
 * pin is stored under the lock that moving `durable` needs, so a sweep sees one or the other. */
struct version *commit_freeze(struct commit *commit, struct log_place *place);

#endif
