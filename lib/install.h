/* SPDX-License-Identifier: MIT */
/*
 * The install of a checkpoint: child words of heap branches born after it, which lead to frozen nodes, become positions;
 * then a version without the frozen nodes is published and they are dropped. Done in slices of at most INSTALL_SLICE_NS
 * under the turn, so writers are not held up.
 */
#ifndef INSTALL_H
#define INSTALL_H

#include "base.h"
#include "slab.h"

struct core;

#define INSTALL_SLICE_NS ((uint64_t)150000)

/* frozen_epoch: of the version that was written; before: its roots_epoch; roots: the one that leads to what was written.
 * Takes and passes the turn. */
int install_run(struct core *core, uint64_t frozen_epoch, uint64_t before, const struct tree_root *roots);

#endif
