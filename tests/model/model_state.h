/* SPDX-License-Identifier: MIT */
/*
 * What model.c (actions) and recover.c (what recovery makes of a disk) share: the state and the contents of cells.
 * See model.c for the protocol.
 */
#ifndef MODEL_STATE_H
#define MODEL_STATE_H

#include <string.h>

#include "model.h"

/* Cells of the disk. Spindle 0 has log slots and pages, spindle 1 the bulk; they are flushed apart. */
enum {
	EXTENTS = 4,
	SLOTS = 2, /* slabs in an extent */
	LOG_CELLS = EXTENTS * SLOTS,
	PAGE_CELL = LOG_CELLS, /* and the next */
	NODE_CELL = PAGE_CELL + 2,
	NODE_CELLS = 3,
	VALUE_CELL = NODE_CELL + NODE_CELLS,
	CELLS,
};
#define SPINDLE_LOG ((uint16_t)((1u << NODE_CELL) - 1))
#define SPINDLE_BULK ((uint16_t)(((1u << CELLS) - 1) & ~SPINDLE_LOG))

#define LIMIT_STEP 2 /* seqs that a slab allows to hand out beyond those known when it is sealed */

enum kind { EMPTY, TORN, OPEN, COMMITS, MARK, PAGE, NODE, VALUE };

/* What a cell may hold, interned: equal contents have one id, so an id serves as the digest. Fields that a kind
 * does not have are 0. Sets of commits are masks by seq. */
struct content {
	uint8_t kind;
	uint8_t number;        /* of a slab; of a page: of the slab that belongs at the log end */
	uint8_t salt;
	uint8_t last_seq;      /* newest commit in or before the slab; the commit that owns a value */
	uint8_t limit;         /* slab and page: seq limit */
	uint8_t durable_seq;   /* slab and page */
	uint8_t next;          /* slab: reserved extent + 1 */
	uint8_t root_seq;      /* MARK and node */
	uint8_t cell;          /* MARK: where its node is */
	uint8_t replay_slot, replay_number; /* MARK; a node has the number, so that no two checkpoints are alike */
	uint8_t generation, mark_slot, clean; /* page */
	uint8_t zero[2];
	uint32_t commits;      /* slab: its commits; node: those it holds */
	uint32_t previous;     /* slab: id of the one before; MARK: see replay_previous */
	uint32_t part;         /* slab: id of the value it names */
	uint32_t node;         /* MARK: id of the node */
	uint32_t replay_previous;
	uint32_t mark;         /* page */
};

enum phase { DOWN, RECOVER_FLUSH, RECOVER_OPEN, RECOVER_OPENED, SERVING, CLOSING, POISONED, REFUSED };
enum flight { IDLE, DSYNC, WRITTEN, FAILED, ZEROED };
enum { NEED_LOG = 1, NEED_BULK = 2 };
enum checkpoint { NO_CHECKPOINT, NODES_WRITTEN, NODES_SYNCED, MARKING };
enum page_step { PAGES_IDLE, FIRST_WRITTEN, FIRST_SYNCED, SECOND_WRITTEN };
enum reclaim { RECLAIM_IDLE, RECLAIM_PUBLISHED, RECLAIM_LOOKED };
enum reader { READER_NONE, READER_FIRST, READER_GUARDED, READER_JOINED };

/* The memory of the writing process: zero when there is none. */
struct process {
	uint32_t content;      /* commits in the tree up to the newest slab written whole */
	uint32_t queued;       /* sealed, in no slab yet */
	uint32_t written;      /* in slabs written whole, not yet durable */
	uint32_t tail;         /* id of the newest slab written whole */
	uint32_t slab;         /* in flight */
	uint32_t node;         /* of the checkpoint in work */
	uint32_t replay_previous;
	uint32_t newest_mark;  /* durable */
	uint32_t page_mark;    /* being written to the pages */
	uint32_t both_mark;    /* both pages name it or a later one, durably; 0 unknown in this open */
	uint32_t reclaim_mark; /* what this round of the puncher reclaims below */
	uint8_t phase;
	uint8_t tail_slot, reserved, free_extents; /* reserved: extent + 1 */
	uint8_t salt, next_seq;
	uint8_t limit;         /* of the newest durable slab */
	uint8_t durable_seq, end_number;
	uint8_t flight, need, slab_slot;
	uint8_t checkpoint, node_cell, replay_slot, replay_number;
	uint8_t newest_slot, page_slot;
	uint8_t page_step, page_next, page_other, generation;
	uint8_t reclaim, reclaim_order;
	uint8_t zero[2];
};

struct guest {
	uint32_t mark;  /* the checkpoint it works on, or thinks of */
	uint8_t step;
	uint8_t order;  /* slot or lock: what it protects starts here; 0 none */
	uint8_t zero[2];
};

struct state {
	uint32_t device[CELLS]; /* what a power cut leaves */
	uint32_t cache[CELLS];  /* what a buffered read gives */
	struct process process;
	struct guest inside, other;
	/* Side-file record; newest 0: not valid. */
	uint32_t record_newest;
	/* What the world outside knows: never read by the protocol. */
	uint32_t acked;   /* told durable */
	uint32_t aborted; /* told aborted */
	uint32_t named;   /* seqs handed out */
	uint32_t alive;   /* handed out, neither aborted nor lost by an earlier recovery */
	uint32_t seen;    /* by a reader in the default mode */
	uint32_t proven;  /* acknowledged, and said so by a later flushed slab or page */
	uint32_t large;   /* id of the one large value */
	uint16_t dirty;   /* cells whose cache awaits a flush */
	uint8_t record_floor;
	uint8_t salts;    /* used so far */
	uint8_t rotten;   /* kind of what rotted */
	uint8_t violation;
	uint8_t zero[2];
	struct model_budget left;
};

enum violation {
	GOOD,
	LOST_ACKED,
	LOST_SEEN,
	SHOWS_ABORTED,
	SHOWS_LOST,
	NOT_PREFIX,
	MIXTURE,
	REFUSES,
	LOST_PROVEN,
	SEQ_TWICE,
	RECLAIMED_NODE,
	RECLAIMED_LOG,
};

struct model {
	struct model_budget budget;
	uint64_t broken;
	struct content *contents;
	uint32_t content_count, content_capacity;
	uint32_t *index; /* ids by digest of the content, open addressing */
	uint32_t index_mask;
};

static inline bool holds(const struct model *model, enum rule rule) { return !(model->broken & rule_bit(rule)); }

static inline bool is_slab(const struct content *content) { return content->kind >= OPEN && content->kind <= MARK; }

/* By what floors, slots and locks are compared. Never 0. */
static inline uint8_t mark_order(const struct model *model, uint32_t mark)
{
	const struct content *content = &model->contents[mark];

	return holds(model, RULE_ORDER_BY_MARK) ? content->number : (uint8_t)(content->root_seq + 1);
}

struct expansion {
	struct model *model;
	const struct state *state;
	struct explore *explore;
};

static inline void emit(struct expansion *expansion, const struct state *next, const char *label)
{
	explore_emit(expansion->explore, next, label);
}

/* Extents without a slab that a replay from this MARK reads, and in no other use. */
uint8_t extents_dead(const struct model *model, const struct state *state, uint32_t mark);
/* The next step of the puncher, the reader in this process, the reader in another one. */
void expand_reclaim(struct expansion *expansion);
void expand_inside(struct expansion *expansion);
void expand_other(struct expansion *expansion);

/* What recovery found. */
struct recovery {
	bool refused;
	uint32_t commits;
	uint32_t tail, mark;
	uint8_t tail_slot, mark_slot;
	uint8_t limit, next_seq, last_seq;
	uint8_t generation, page_next;
};

/* Follows pages, chain and MARK; changes nothing. */
void recover_scan(const struct model *model, const struct state *state, struct recovery *recovery);

/* What the world outside says to it. */
enum violation recover_judge(const struct model *model, const struct state *state, const struct recovery *recovery);

/* What a reader whose base is this checkpoint would find of it in the files. */
enum violation recover_reach(const struct model *model, const struct state *state, uint32_t mark);

#endif
