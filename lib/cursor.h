/* SPDX-License-Identifier: MIT */
/*
 * Cursors: a walk with bounds that stands on an entry or between two, and finds its place again after the transaction's own
 * writes. One thread at a time, with its transaction.
 */
#ifndef CURSOR_H
#define CURSOR_H

#include "txn.h"
#include "walk.h"

enum cursor_place {
	CURSOR_START,  /* just opened: next gives the first, prev the last */
	CURSOR_ON,     /* on the entry with key */
	CURSOR_GAP,    /* before the first entry >= key */
	CURSOR_BEFORE, /* before the first entry of the range */
	CURSOR_BEHIND, /* behind the last */
};

struct cursor_buffer {
	uint8_t *bytes;
	size_t size, capacity;
};

struct slf_cursor {
	struct slf_txn *txn;              /* NULL once the transaction has ended */
	struct slf_cursor *next, *previous; /* of the transaction's */
	uint32_t tree;
	unsigned flags;                   /* of the range; SLF_PREFIX has become bounds */
	struct cursor_buffer low, high;   /* bounds */
	enum cursor_place place;
	struct slf_slice key;             /* of the place: in saved, or where it lives as long as the snapshot */
	struct cursor_buffer saved;
	struct cursor_buffer key_out[2], value_out[2]; /* slices of transient cursors, those given last and those of the next step */
	unsigned given;                   /* which of the two were given last */
	uint64_t changes;                 /* txn->changes when the walk was placed */
	int direction;                    /* 1: the walk stands behind key, -1: before it, 0: not placed */
	struct walk walk;
};

int cursor_open(struct slf_txn *txn, uint32_t tree, const struct slf_range *range, struct slf_cursor **cursor);
/* Cuts it off its transaction; it may be closed later. */
void cursor_detach(struct slf_cursor *cursor);
void cursor_close(struct slf_cursor *cursor);

/* 0, SLF_END, or a failure. key and value may be NULL. */
int cursor_next(struct slf_cursor *cursor, struct slf_slice *key, struct slf_slice *value);
int cursor_prev(struct slf_cursor *cursor, struct slf_slice *key, struct slf_slice *value);
int cursor_seek(struct slf_cursor *cursor, struct slf_slice key);
/* The transaction's slices end: the place is kept in the cursor's own memory. */
int cursor_settle(struct slf_cursor *cursor);

#endif
