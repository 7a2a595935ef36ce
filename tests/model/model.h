/* SPDX-License-Identifier: MIT */
/*
 * The model of the write, checkpoint, recovery and reclaiming protocol: see model.c. One thread per struct model.
 */
#ifndef MODEL_H
#define MODEL_H

#include "explore.h"

/* The rules of the protocol, each of which can be broken to prove that the checker would notice. */
enum rule {
	RULE_ACK_AFTER_FLUSH,           /* a commit is acknowledged only after every flush of its group */
	RULE_DSYNC_NEEDS_PARTS,         /* RWF_DSYNC only if each bulk part named is synced */
	RULE_DSYNC_NEEDS_LOG,           /* RWF_DSYNC only if everything below in the log is synced */
	RULE_FLUSH_FAILURE_POISONS,     /* a failed flush is never tried again */
	RULE_VISIBLE_WHEN_DURABLE,      /* readers see a commit only when it is durable */
	RULE_MARK_AFTER_BULK,           /* MARK is written after the flush of its checkpoint's nodes */
	RULE_PAGE_AFTER_MARK,           /* a page names a MARK only after the flush of its slab */
	RULE_PAGE_BY_PAGE,              /* the second page is written after the flush of the first */
	RULE_PAGE_RETRY_SAME,           /* after a failed page write the same page is written again, not the other */
	RULE_PAGE_END_DURABLE,          /* log end and durable seq in a page are those flushed, not those written */
	RULE_RECLAIM_AFTER_BOTH,        /* reclaiming waits for the flush of the second page */
	RULE_RECLAIM_FLOOR_FIRST,       /* the puncher publishes the floor, then looks at slots and locks */
	RULE_RECLAIM_ONE_FLOOR,         /* ... and punches below that floor, though the pages may lead further by then */
	RULE_RECLAIM_ASKS_AFTER_OPEN,   /* what an open finds dead is free only when locks and both pages allow it */
	RULE_JOIN_READS_AGAIN,          /* another process reads the record again after it locked */
	RULE_SLOT_BEFORE_LOAD,          /* a reader publishes a lower bound before it loads the version it uses */
	RULE_ORDER_BY_MARK,             /* floors, slots and locks compare MARK slab numbers, not root seqs */
	RULE_BURNT_STAYS_BURNT,         /* after an abort seqs go on above the highest handed out */
	RULE_SEQ_ABOVE_LIMIT,           /* after an unclean stop seqs go on above seq_limit */
	RULE_LIMIT_DURABLE,             /* a seq is handed out only below a limit that is durable */
	RULE_CLEAN_SAYS_SEQ,            /* a clean close records the highest seq handed out, not the newest committed */
	RULE_INVALIDATE,                /* the place of a failed slab is overwritten with zeros before it is reported */
	RULE_INVALIDATION_FLUSHED,      /* ... and flushed */
	RULE_CHAIN_DIGEST,              /* a successor names the digest of its predecessor */
	RULE_CHAIN_SALT,                /* a successor has its predecessor's salt or is an OPEN */
	RULE_PARTS_CHECKED,             /* recovery checks the parts that a slab names */
	RULE_CUT_WITHOUT_EVIDENCE,      /* a tail that had been durable is never cut */
	RULE_RECOVERY_FLUSH,            /* recovery flushes every spindle before the OPEN record and before showing data */
	RULE_RECOVERY_READS_DEVICE,     /* recovery judges by what the device holds, not the page cache */
	RULE_COUNT
};

static inline uint64_t rule_bit(enum rule rule) { return (uint64_t)1 << rule; }

/* How often each thing may happen on one path. Everything else may happen whenever its conditions hold. */
struct model_budget {
	uint8_t commits;     /* sealed in all */
	uint8_t larges;      /* of them with a bulk part; 0 or 1 */
	uint8_t nosyncs;     /* slabs written without a flush, until a later flush or slf_sync */
	uint8_t checkpoints;
	uint8_t faults;      /* writes and flushes that fail */
	uint8_t cuts;        /* power cuts */
	uint8_t kills;       /* ends of the process with the page cache intact */
	uint8_t closes;      /* clean closes */
	uint8_t rots;        /* durable log slots or pages that turn to garbage; 0 or 1 */
	uint8_t looks;       /* read-only openings while there is no writer */
	uint8_t snapshots;   /* begins of the reader in this process */
	uint8_t joins;       /* attempts of the reader in another process */
};

struct model;

/* NULL without memory. broken: an or of rule_bit(). */
struct model *model_new(const struct model_budget *budget, uint64_t broken);
void model_free(struct model *model);

/* What to give to explore_run; points into the model. */
struct explore_model model_explore(struct model *model);

#endif
