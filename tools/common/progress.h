/* SPDX-License-Identifier: MIT */
/* A progress bar on standard error, drawn only when that is a terminal. One thread at a time. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <solifuge.h>

enum progress_unit { PROGRESS_COUNT, PROGRESS_BYTES };

struct progress {
	char label[32];
	enum progress_unit unit;
	bool terminal;
	bool drawn;
	uint64_t start_ns;
	uint64_t drawn_ns;
};

/* label is copied and cut to fit. */
void progress_init(struct progress *progress, const char *label, enum progress_unit unit);

/* Draws at most ten times a second. total may be 0 while it is not known. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);

/* Draws the last state and ends the line. Nothing happens when nothing was drawn before and done is 0. */
void progress_finish(struct progress *progress, uint64_t done, uint64_t total);

/* A slf_progress_fn whose context is a zeroed struct progress: starts a new bar for each phase. */
int progress_phase(void *context, const struct slf_progress *phase);

/* Monotonic nanoseconds, for rates. */
uint64_t progress_now_ns(void);

#endif
