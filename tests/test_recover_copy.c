/* SPDX-License-Identifier: MIT */
/* A copy that was taken while the database was in use has the log's extents as they were at several moments. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "codec.h"
#include "recover_rig.h"
#include "sim_inode.h"
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
static void copy_late(struct sim_disk *disk, uint64_t place)
{
	struct slab_header header = { .length = SIM_SECTOR_BYTES };
	uint8_t slab[SIM_SECTOR_BYTES] = { 0 };
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
static void use_late_copy(uint64_t distance)
{
	uint64_t extent;
	struct sim_disk *disk = disk_with_a_free_extent(&extent), *killed;
	struct slf_db *db = NULL;

	copy_late(disk, extent + distance);
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

Test(recover_copy, log_comes_to_what_was_copied_late)
{
	use_late_copy(EXTENT_BYTES / 2);
	use_late_copy(EXTENT_BYTES - SIM_SECTOR_BYTES); /* its last slab */
}

/* ---- Gaps -------------------------------------------------------------------------------------------------------- */

/* A commit in the extent where the log ends is missing, with others behind it, and the files have other inodes. */
static void copy_with_a_gap(struct sim_disk *disk, unsigned missing)
{
	const uint8_t zeros[SIM_SECTOR_BYTES] = { 0 };
	struct slab_forger forger;
	size_t slab = 0;

	slab_forger_read(&forger, disk);
	slab = forger.count - missing;
	must(forger.places[slab] / EXTENT_BYTES == forger.places[forger.count - 1] / EXTENT_BYTES);
	must_work(sim_disk_poke(disk, RIG_PATH, forger.places[slab], zeros, sizeof(zeros)));
	free(forger.bytes);
	for (size_t i = 0; i < disk->inode_count; i++)
		disk->inodes[i]->number += 1000;
}

/* Opens it for writing, and ends behind the n-th write: is that before the opening is done? */
static bool open_and_end(struct sim_disk *disk, uint64_t n)
{
	struct slf_db *db = NULL;
	bool fired;

	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_WRITE, .nth = n, .error = -EIO, .sticky = true });
	if (open_three(disk, 0, NULL, &db) == 0)
		must_work(slf_close(db));
	fired = sim_disk_faults_fired(disk) > 0;
	sim_disk_clear_faults(disk);
	return fired;
}

/* Wherever its first opening ends, the copy has the commits before the gap, and keeps those that are added. */
static void use_copy(struct sim_disk *origin, unsigned commits)
{
	bool fired = true;

	for (uint64_t n = 1; fired; n++) {
		struct sim_disk *disk = sim_disk_kill(origin), *killed;
		struct slf_db *db = NULL;

		fired = open_and_end(disk, n);
		for (unsigned added = 0; added < 3; added++) {
			must_work(open_three(disk, 0, NULL, &db));
			cr_assert_eq(prefix(db), commits + added, "write %llu, opening %u", (unsigned long long)n, added);
			commit_one(db, commits + added);
			killed = sim_disk_kill(disk);
			must_work(slf_close(db));
			sim_disk_free(disk);
			disk = killed;
		}
		sim_disk_free(disk);
	}
}

static struct sim_disk *killed_behind(struct sim_disk *disk, struct slf_db *db, unsigned from, unsigned end)
{
	struct sim_disk *killed;

	while (from < end)
		commit_one(db, from++);
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return killed;
}

/* Slabs before the gap would go with those behind it, when the log has come to their extent since its last checkpoint. */
Test(recover_copy, gap_in_an_extent_taken_since)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	commit_one(db, 0);
	must_work(slf_checkpoint(db));
	enter_next_extent(db);
	disk = killed_behind(disk, db, 1, 9);
	copy_with_a_gap(disk, 5);
	use_copy(disk, 4);
	sim_disk_free(disk);
}

/* The same, in an extent that the last checkpoint has set free. */
Test(recover_copy, gap_in_an_extent_used_again)
{
	uint64_t extent;
	struct sim_disk *disk = disk_with_a_free_extent(&extent);
	struct slf_db *db = NULL;

	must_work(open_three(disk, 0, NULL, &db));
	for (unsigned i = 0; i < 4 && db->core.log.extent != extent; i++)
		enter_next_extent(db);
	cr_assert_eq(db->core.log.extent, extent);
	disk = killed_behind(disk, db, 4, 12);
	copy_with_a_gap(disk, 5);
	use_copy(disk, 7);
	sim_disk_free(disk);
}

/* The pages were copied before the log, and name a mark in what has become the log's last extent again, behind its end. */
Test(recover_copy, mark_of_the_pages_behind_the_end)
{
	static uint8_t pages[2][META_PAGE_BYTES];
	static const uint64_t places[] = { META_PAGE_A, META_PAGE_B };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;
	uint64_t extent;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	commit_one(db, 0);
	enter_next_extent(db);
	extent = db->core.log.extent;
	for (unsigned i = 0; i < 8; i++)
		put_blob(db);
	must_work(slf_checkpoint(db));
	must_work(sim_disk_peek_durable(disk, RIG_PATH, places[0], pages[0], META_PAGE_BYTES));
	must_work(sim_disk_peek_durable(disk, RIG_PATH, places[1], pages[1], META_PAGE_BYTES));
	enter_next_extent(db);
	for (unsigned i = 1; i < 3; i++) {
		commit_one(db, i);
		must_work(slf_checkpoint(db));
	}
	for (unsigned i = 0; i < 4 && db->core.log.extent != extent; i++)
		enter_next_extent(db);
	cr_assert_eq(db->core.log.extent, extent);
	disk = killed_behind(disk, db, 3, 11);
	copy_with_a_gap(disk, 5);
	must_work(sim_disk_poke(disk, RIG_PATH, places[0], pages[0], META_PAGE_BYTES));
	must_work(sim_disk_poke(disk, RIG_PATH, places[1], pages[1], META_PAGE_BYTES));
	use_copy(disk, 6);
	sim_disk_free(disk);
}

/* The log ends with its extent: what follows in the file is a value's, and would be looked through for the log's, and cleared. */
Test(recover_copy, log_ends_with_its_extent)
{
	static const uint8_t blob[70000], zeros[EXTENT_HEADER_BYTES];
	uint8_t slab[SIM_SECTOR_BYTES] = { 0 }, found[SIM_SECTOR_BYTES];
	struct slab_header header = { .length = SIM_SECTOR_BYTES, .number = 1000, .last_seq = 1000, .durable_seq = 1000 };
	struct sim_disk *disk = sim_disk_new();
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;
	uint64_t place;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	commit_one(db, 0);
	must_work(log_spare(&db->core.log, false));
	must_work(slf_checkpoint(db));
	while (log_room(&db->core.log) > sizeof(blob))
		put_blob(db);
	txn = txn_begin(db, SLF_WRITE);
	must_work(slf_txn_blob(txn, slice(blob, (size_t)log_room(&db->core.log) - 400)));
	must_work(slf_commit(txn, NULL));
	place = db->core.log.end.position;
	must(place % EXTENT_BYTES == 0 && db->core.log.spare != place);
	slab_seal(slab, &header, db->core.store.seed, place + EXTENT_BYTES / 2);
	disk = killed_behind(disk, db, 1, 1);
	for (size_t i = 0; i < disk->inode_count; i++)
		disk->inodes[i]->number += 1000;
	must_work(sim_disk_poke(disk, RIG_PATH, place, zeros, sizeof(zeros))); /* nothing tells whose it is */
	must_work(sim_disk_poke(disk, RIG_PATH, place + EXTENT_BYTES / 2, slab, sizeof(slab)));
	must_work(open_three(disk, 0, NULL, &db));
	cr_assert_eq(prefix(db), 1);
	commit_one(db, 1);
	must_work(slf_close(db));
	must_work(sim_disk_peek_durable(disk, RIG_PATH, place + EXTENT_BYTES / 2, found, sizeof(found)));
	cr_assert(memcmp(found, slab, sizeof(slab)) == 0);
	sim_disk_free(disk);
}

/* Who stops an opening is not asked again, nor is anything else read or written, also while the extents behind the log are searched. */
Test(recover_copy, opening_that_is_stopped)
{
	struct slab_forger forger;
	uint64_t extent;
	struct sim_disk *disk = disk_with_a_free_extent(&extent), *copy;
	struct slf_db *db = NULL;
	struct heard heard = { 0 };
	unsigned calls;
	size_t open = 0;

	slab_forger_read(&forger, disk);
	put_u64(slab_forger_find(&forger, LOG_OPEN, &open) + 8, 77); /* another inode */
	slab_forger_write(&forger, disk, open);
	must_work(sim_disk_resize(disk, RIG_PATH, 20 * EXTENT_BYTES));
	copy = sim_disk_kill(disk);
	must_work(open_three(copy, 0, &heard, &db));
	must_work(slf_close(db));
	sim_disk_free(copy);
	calls = heard.reading + heard.replaying;
	cr_assert_gt(calls, 15, "%u calls", calls);
	for (unsigned i = 1; i <= calls; i++) {
		heard = (struct heard){ .stop_at = i };
		copy = sim_disk_kill(disk);
		cr_assert_eq(open_three(copy, 0, &heard, &db), -ECANCELED, "call %u", i);
		cr_assert_eq(heard.reading + heard.replaying, i);
		sim_disk_free(copy);
	}
	sim_disk_free(disk);
}
