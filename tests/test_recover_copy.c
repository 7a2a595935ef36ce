/* SPDX-License-Identifier: MIT */
/* A copy that was taken while the database was in use has the log's extents as they were at several moments. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "codec.h"
#include "recover_rig.h"
#include "slab_forger.h"

TestSuite(recover_copy, .timeout = 120);

/* A database that was not closed, and an extent of its log that its newest checkpoint has set free. */
static struct sim_disk *disk_with_a_free_extent(uint64_t *extent)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	struct slf_db *db = NULL;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	commit_one(db, 0);
	enter_next_extent(db);
	*extent = db->core.log.extent;
	commit_one(db, 1);
	enter_next_extent(db);
	must_work(slf_checkpoint(db));
	commit_one(db, 2);
	must_work(slf_checkpoint(db));
	commit_one(db, 3);
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return killed;
}

/* What the original writes there after the rest was copied: a slab far ahead, behind others that are old. */
static void copy_late(struct sim_disk *disk, uint64_t extent)
{
	struct slab_header header = { .length = SIM_SECTOR_BYTES };
	uint8_t slab[SIM_SECTOR_BYTES] = { 0 };
	uint64_t place = extent + EXTENT_BYTES / 2;
	const struct slab_header *last;
	struct slab_forger forger;
	size_t open = 0;

	slab_forger_read(&forger, disk);
	last = &forger.slabs[forger.count - 1];
	header.number = last->number + 500;
	header.first_seq = header.last_seq = header.durable_seq = last->last_seq + ((uint64_t)1 << 22);
	slab_seal(slab, &header, forger.seed, place);
	must_work(sim_disk_poke(disk, RIG_PATH, place, slab, sizeof(slab)));
	put_u64(slab_forger_find(&forger, LOG_OPEN, &open) + 8, 77); /* another inode */
	slab_forger_write(&forger, disk, open);
}

/* The copy opens, since the extent seems to be old. When its own log has come there, and its process is killed, what stands there
 * from the original would pass for a loss, and the copy could not be opened again. */
Test(recover_copy, log_comes_to_what_was_copied_late)
{
	uint64_t extent;
	struct sim_disk *disk = disk_with_a_free_extent(&extent), *killed;
	struct slf_db *db = NULL;

	copy_late(disk, extent);
	must_work(open_three(disk, 0, NULL, &db));
	cr_assert_eq(prefix(db), 4);
	for (unsigned i = 0; i < 4 && db->core.log.extent != extent; i++)
		enter_next_extent(db);
	cr_assert_eq(db->core.log.extent, extent, "the log never came there");
	commit_one(db, 4);
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	must_work(open_three(killed, 0, NULL, &db));
	cr_assert_eq(prefix(db), 5);
	must_work(slf_close(db));
	sim_disk_free(killed);
}
