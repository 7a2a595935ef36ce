/* SPDX-License-Identifier: MIT */
/*
 * The layers that hand out space and write to it (extents, bulk, log) on the simulated disk, without the engine above:
 * a struct core of which only store, extents, log and large are alive.
 */
#ifndef SPACE_RIG_H
#define SPACE_RIG_H

#include <stdio.h>
#include <stdlib.h>

#include "core.h"
#include "scratch.h"
#include "sim_disk.h"

#define SPACE_SALT 0x5a17u
#define SPACE_SEED 0x5eedu

struct space_rig {
	struct sim_disk *disk;
	struct core core;
};

static inline const char *space_path(unsigned index)
{
	static char path[32];

	snprintf(path, sizeof(path), "/d/spindle%u", index);
	return path;
}

/* An empty log that begins as that of a new database does. */
static inline struct space_rig *space_new(unsigned spindle_count, uint32_t sector)
{
	struct log_place start = { .position = EXTENT_ZERO_DATA, .number = 1 };
	struct space_rig *rig = calloc(1, sizeof(*rig));
	struct core *core = &rig->core;
	struct store *store = &core->store;

	must(rig != NULL);
	rig->disk = sim_disk_new();
	must_work(sim_disk_io(rig->disk, &core->stats, &core->io));
	*store = (struct store){ .io = core->io, .stats = &core->stats, .seed = SPACE_SEED, .spindle_count = spindle_count };
	store->settings.sector = sector;
	store->spindles = calloc(spindle_count, sizeof(*store->spindles));
	must(store->spindles != NULL);
	for (unsigned i = 0; i < spindle_count; i++) {
		must_work(spindle_create(&store->spindles[i], core->io, space_path(i), i, false));
		must_work(spindle_link(&store->spindles[i]));
		must_work(io_sync_directory(core->io, space_path(i)));
	}
	must_work(verified_init(&store->verified));
	must_work(extents_init(&core->extents, store));
	core->extents.salt = SPACE_SALT;
	bulk_init(&core->large, &core->extents, false);
	must_work(log_init(&core->log, store, &core->extents));
	core->log.salt = SPACE_SALT;
	must_work(log_add_live(&core->log, 0, 1));
	must_work(log_continue(&core->log, &start, EXTENT_ZERO_DATA, false));
	return rig;
}

static inline void space_free(struct space_rig *rig)
{
	struct core *core = &rig->core;

	log_release(&core->log);
	bulk_release(&core->large);
	extents_release(&core->extents);
	verified_release(&core->store.verified);
	for (unsigned i = 0; i < core->store.spindle_count; i++)
		spindle_close(&core->store.spindles[i]);
	free(core->store.spindles);
	io_free(core->io);
	sim_disk_free(rig->disk);
	free(rig);
}

static inline struct io_info space_info(struct space_rig *rig, unsigned spindle)
{
	struct io_info info;

	must_work(io_info(rig->core.store.spindles[spindle].file, &info));
	return info;
}

/* Nothing more can be allocated but `bytes`, over all spindles. */
static inline void space_leave(struct space_rig *rig, uint64_t bytes)
{
	for (unsigned i = 0; i < rig->core.store.spindle_count; i++)
		bytes += space_info(rig, i).allocated_bytes;
	sim_disk_set_capacity(rig->disk, bytes);
}

/* The next such call fails, or with sticky all of them. */
static inline void space_fail(struct space_rig *rig, enum sim_call call, int error, bool sticky)
{
	sim_disk_clear_faults(rig->disk);
	sim_disk_add_fault(rig->disk, &(struct sim_fault){ .call = call, .error = error, .sticky = sticky });
}

#endif
