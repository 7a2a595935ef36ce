/* SPDX-License-Identifier: MIT */
/*
 * Bringing an opened set of spindles to life: finding the newest checkpoint, replaying the log behind it, and, for a writer,
 * making the result stable and starting a new salt. One thread; the core's parts have been initialised.
 */
#ifndef RECOVER_H
#define RECOVER_H

#include "base.h"
#include "core.h"

/* core->meta is the better metadata page of spindle 0. On failure nothing has been written unless the failure was one of
 * the last steps (a new OPEN record, pages): then recovery can be run again. */
int recover_run(struct core *core);

#endif
