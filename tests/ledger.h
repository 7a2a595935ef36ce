/* SPDX-License-Identifier: MIT */
/*
 * A database whose whole content follows from a few counters, for processes that are ended at any moment: the parent
 * knows from a shared page which commits were acknowledged, and the database tells which are there.
 *
 * Each of LEDGER_WRITERS threads counts its transactions. Transaction n of writer w sets the numbers n * WIDTH to n * WIDTH
 * + WIDTH - 1; number j belongs to slot j % SLOTS, and whether it puts or deletes, and what, follows from (w, j). So the
 * counter alone says what every slot has to hold. The same transaction raises a common total and writes (w, n) under the
 * total's number to an order ring: totals and rings tell whether what is there is a prefix of the commit order.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "solifuge.h"

#define LEDGER_WRITERS 2

/* Shared between the processes. The counters before submission and after acknowledgement. */
struct ledger_page {
	struct {
		_Atomic uint64_t submitted, acknowledged, seq; /* seq: of the acknowledged commit */
	} writer[LEDGER_WRITERS];
	_Atomic uint64_t snapshots;   /* that the readers of all children have checked */
	_Atomic uint64_t checkpoints; /* that all children have made on request */
	_Atomic bool checkpointing;   /* one is being made; the parent clears it, since a child that dies does not */
	_Atomic bool stopped;         /* ledger_run is to return */
	_Atomic bool opened;          /* an opening has returned 0 once: the database must be there */
	_Atomic bool broken; /* calls may fail, and nothing is acknowledged, from now on; a failure before is SIGABRT */
};

/* Zeroed; lives as long as the process. */
struct ledger_page *ledger_page_new(void);

/* What a process does with an open database until it is killed, or stopped, or a call fails where that is allowed: writers,
 * readers and a checkpointer run, each in a thread of its own. sync: the mode the database is open in, which says when a
 * commit counts as acknowledged. hasty: when it is visible, which is a lie in the modes without a flush per commit. */
struct ledger_run {
	struct slf_db *db;
	struct ledger_page *page;
	int sync;
	bool hasty;
	uint64_t seed;
};
void ledger_run(struct ledger_run *run);

/* Checks all that the newest version says: a prefix of the commits, each whole, and nothing else. counts gets how many of
 * each writer's are there. Ends the process with SIGABRT otherwise. */
void ledger_check(struct slf_txn *txn, uint64_t counts[LEDGER_WRITERS]);
/* ledger_check, and against the page: nothing is there that was not submitted. Then takes what is there for acknowledged: it
 * has been seen. The number of acknowledged commits that are missing. */
uint64_t ledger_compare(struct ledger_page *page, struct slf_db *db);
/* The page of a database that is made anew. */
void ledger_forget(struct ledger_page *page);

#endif
