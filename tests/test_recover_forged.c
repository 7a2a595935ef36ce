/* SPDX-License-Identifier: MIT */
/* Recovery of logs that nobody could have written but a fault of ours, or somebody who seals them again: what it refuses. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "action.h"
#include "codec.h"
#include "slab_forger.h"
#include "recover_rig.h"
#include "slab.h"

/* ---- Records ------------------------------------------------------------------------------------------------------ */

/* A checkpoint of a database over fewer files, as long as the one of this would be. */
Test(recover_forged, checkpoint_of_fewer_spindles)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db = NULL;
	struct slab_forger forger;
	size_t slab = 0;
	uint8_t *mark;

	slab_forger_read(&forger, disk);
	mark = slab_forger_find(&forger, LOG_MARK, &slab);
	put_u32(mark + 108, 1);
	put_u32(mark + 144, get_u32(mark + 144) + 2 * sizeof(struct mark_spindle) / 8);
	slab_forger_write(&forger, disk, slab);
	cr_assert_eq(open_three(disk, 0, NULL, &db), SLF_ECORRUPT);
	must_work(slf_errinfo(&info));
	must(strstr(info.text, "checkpoint record is out of range") != NULL);
	sim_disk_free(disk);
}

/* A record that only a later version obeys, in a slab that is not replayed, since a newer checkpoint lies behind it. */
Test(recover_forged, unknown_record_before_a_checkpoint)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct log_record record = { 0 };
	struct slf_db *db = NULL;
	struct slab_forger forger;
	uint64_t offset = 0;
	size_t slab = 3; /* the first has the MARK of the creation */

	slab_forger_read(&forger, disk);
	must_work(slab_next_record(forger.bytes + forger.places[0], &forger.slabs[0], &offset, &record));
	cr_assert_eq(record.kind, LOG_MARK);
	for (unsigned i = 0; i < 2; i++) {
		forger.meta[i].mark_position = forger.places[0];
		forger.meta[i].mark_number = forger.slabs[0].number;
		forger.meta[i].mark_digest = forger.slabs[0].digest;
	}
	offset = 0;
	must_work(slab_next_record(forger.bytes + forger.places[slab], &forger.slabs[slab], &offset, &record));
	cr_assert_eq(record.kind, LOG_FINAL);
	((uint8_t *)(uintptr_t)record.body.data)[4 - LOG_RECORD_HEADER_BYTES] = 99;
	slab_forger_write(&forger, disk, slab);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(open_three(disk, i ? SLF_READONLY : 0, NULL, &db), SLF_EINCOMPATIBLE);
	sim_disk_free(disk);
}

#define UNKNOWN_OP 99

/* A commit with an action that only a later version knows would be told to be damage, and a backup be looked for. */
Test(recover_forged, unknown_action)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct commit_entry commit = { 0 };
	struct slab_forger forger;
	size_t slab = 0, bytes;
	uint8_t *body;

	slab_forger_read(&forger, disk);
	body = slab_forger_find(&forger, LOG_FINAL, &slab);
	bytes = get_u32(body - LOG_RECORD_HEADER_BYTES) - LOG_RECORD_HEADER_BYTES;
	must_work(commit_entry_decode(slice(body, bytes), &commit));
	must(commit.action_count == 1 && commit.actions.size);
	*(uint8_t *)(uintptr_t)commit.actions.data = UNKNOWN_OP;
	slab_forger_write(&forger, disk, slab);
	for (unsigned i = 0; i < 2; i++) {
		struct slf_errinfo info = { .size = sizeof(info) };
		struct slf_db *db = NULL;

		cr_assert_eq(open_three(disk, i ? SLF_READONLY : 0, NULL, &db), SLF_EINCOMPATIBLE);
		must_work(slf_errinfo(&info));
		must(strstr(info.text, "action of kind 99") != NULL);
	}
	sim_disk_free(disk);
}

/* A writer would take numbers from which it counts on to where no opening, nor a reader, takes them any more. */
Test(recover_forged, numbers_near_their_end)
{
	static const struct { uint64_t limit; int reader, writer; } cases[] = {
		{ COUNTER_MAX + 1, SLF_ECORRUPT, SLF_ECORRUPT },
		{ COUNTER_MAX, 0, SLF_ECORRUPT },
		{ COUNTER_MAX / 2 + 1, 0, SLF_ECORRUPT },
		{ COUNTER_MAX / 2, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t seqs[COMMITS], limit;
		struct sim_disk *disk = unclean_disk(seqs, &limit);
		struct slf_db *db = NULL;
		struct slab_forger forger;
		int result;

		slab_forger_read(&forger, disk);
		forger.slabs[forger.count - 1].seq_limit = cases[i].limit;
		slab_forger_write(&forger, disk, forger.count - 1);
		result = open_three(disk, SLF_READONLY, NULL, &db);
		cr_assert_eq(result, cases[i].reader, "case %zu: %d", i, result);
		must(result || !slf_close(db));
		result = open_three(disk, 0, NULL, &db);
		cr_assert_eq(result, cases[i].writer, "case %zu: %d", i, result);
		if (!result) {
			db_put(db, "key", "value");
			must_work(slf_close(db));
		}
		result = open_three(disk, SLF_READONLY, NULL, &db);
		cr_assert_eq(result, cases[i].reader, "case %zu: %d", i, result);
		must(result || !slf_close(db));
		sim_disk_free(disk);
	}
}

enum page_field { MARK_SPINDLE, MARK_OFFSET, MARK_ELSEWHERE, MARK_NUMBER, MARK_DIGEST, LOG_NUMBER, DURABLE_SEQ };

static void change_page(struct meta *meta, enum page_field field)
{
	switch (field) {
	case MARK_SPINDLE:
		meta->mark_position = position_make(1, meta->mark_position);
		break;
	case MARK_OFFSET:
		meta->mark_position += 256;
		break;
	case MARK_ELSEWHERE:
		meta->mark_position += MIB;
		break;
	case MARK_NUMBER:
		meta->mark_number++;
		break;
	case MARK_DIGEST:
		meta->mark_digest ^= 1;
		break;
	case LOG_NUMBER:
		meta->log_number += 10000;
		break;
	case DURABLE_SEQ:
		meta->durable_seq += 10000;
		break;
	}
}

/* Pages that lead to a slab without a checkpoint would have the log replayed onto nothing. */
Test(recover_forged, pages_that_lead_to_a_commit)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db = NULL;
	struct slab_forger forger;
	size_t slab = 0;

	slab_forger_read(&forger, disk);
	slab_forger_find(&forger, LOG_FINAL, &slab);
	for (unsigned i = 0; i < 2; i++) {
		forger.meta[i].mark_position = forger.places[slab];
		forger.meta[i].mark_number = forger.slabs[slab].number;
		forger.meta[i].mark_digest = forger.slabs[slab].digest;
	}
	slab_forger_write(&forger, disk, forger.count);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(open_three(disk, i ? SLF_READONLY : 0, NULL, &db), SLF_ECORRUPT);
		must_work(slf_errinfo(&info));
		cr_assert_not_null(strstr(info.text, "should hold a checkpoint record has none"), "%s", info.text);
	}
	sim_disk_free(disk);
}

/* Of a closed database: the mark stands in the log's last slab, in another extent than the log's beginning. */
static uint8_t *mark_in_a_later_extent(struct sim_disk *disk, struct slab_forger *forger, size_t *slab)
{
	struct slf_db *db = NULL;
	uint8_t *mark;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	commit_one(db, 0);
	enter_next_extent(db);
	commit_one(db, 1);
	must_work(slf_close(db));
	slab_forger_read(forger, disk);
	mark = slab_forger_find(forger, LOG_MARK, slab);
	must(*slab == forger->count - 1 && forger->places[*slab] > EXTENT_BYTES);
	return mark;
}

static void stays_refused(struct sim_disk *disk)
{
	struct slf_db *db = NULL;

	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(open_three(disk, 0, NULL, &db), SLF_ECORRUPT);
	sim_disk_free(disk);
}

/* A mark that has nothing replayed, not even its own slab, and says that no extent was taken: the opening would clear it away. */
Test(recover_forged, mark_that_takes_nothing)
{
	struct sim_disk *disk = sim_disk_new();
	struct slab_forger forger;
	size_t slab = 0;
	uint8_t *mark = mark_in_a_later_extent(disk, &forger, &slab);

	put_u64(mark + 40, forger.slabs[slab].number + 1);
	put_u64(mark + MARK_BODY_BYTES, 1);
	slab_forger_write(&forger, disk, slab);
	stays_refused(disk);
}

/* A second slab has the number of the newest mark's, in another extent, and the mark has the replay begin there: the extents that the
 * log is really in would count as free. */
Test(recover_forged, two_slabs_of_one_number)
{
	struct sim_disk *disk = sim_disk_new();
	struct slab_header twin = { .length = SIM_SECTOR_BYTES };
	struct slab_forger forger;
	size_t slab = 0;
	uint8_t *mark = mark_in_a_later_extent(disk, &forger, &slab);
	uint64_t place, extent;

	place = forger.places[0];
	extent = forger.places[slab] / EXTENT_BYTES;
	twin.number = forger.slabs[slab].number;
	twin.last_seq = forger.slabs[slab].last_seq;
	memset(forger.bytes + place, 0, twin.length);
	slab_seal(forger.bytes + place, &twin, forger.seed, place);
	must_work(sim_disk_poke(disk, RIG_PATH, place, forger.bytes + place, twin.length));
	put_u64(mark + 32, place);
	put_u64(mark + 40, twin.number);
	put_u64(mark + 48, 0);
	put_u64(mark + 56, 0);
	put_u64(mark + MARK_BODY_BYTES, extent);
	slab_forger_write(&forger, disk, slab);
	stays_refused(disk);
}

/* Pages that lead nowhere would be followed, or what they know to have been durable not be missed. */
Test(recover_forged, pages_that_know_better)
{
	static const struct { enum page_field field; bool readable; const char *text; } cases[] = {
		{ MARK_SPINDLE, false, "outside the log" },    { MARK_OFFSET, false, "outside the log" },
		{ MARK_ELSEWHERE, false, "no slab here" },     { MARK_NUMBER, false, "newest checkpoint is another one" },
		{ MARK_DIGEST, false, "newest checkpoint is another one" },
		{ LOG_NUMBER, true, "the log is damaged" },   { DURABLE_SEQ, true, "the log is damaged" },
	};
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *origin = unclean_disk(seqs, &limit);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_errinfo info = { .size = sizeof(info) };
		struct slf_db *db = NULL;
		struct slab_forger forger;

		slab_forger_read(&forger, disk);
		change_page(&forger.meta[0], cases[i].field);
		change_page(&forger.meta[1], cases[i].field);
		slab_forger_write(&forger, disk, forger.count);
		cr_assert_eq(open_three(disk, 0, NULL, &db), SLF_ECORRUPT, "case %zu", i);
		must_work(slf_errinfo(&info));
		must(strstr(info.text, cases[i].text) != NULL);
		cr_assert_eq(open_three(disk, SLF_READONLY, NULL, &db), cases[i].readable ? 0 : SLF_ECORRUPT, "case %zu", i);
		if (cases[i].readable) {
			cr_assert_eq(prefix(db), COMMITS);
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* The slab that the pages lead to is damaged: a reader would get an empty database. */
Test(recover_forged, damaged_checkpoint)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *disk = unclean_disk(seqs, &limit);
	struct slf_db *db = NULL;
	struct slab_forger forger;

	slab_forger_read(&forger, disk);
	flip(disk, position_offset(forger.meta[0].mark_position) + 100);
	free(forger.bytes);
	cr_assert_eq(open_three(disk, 0, NULL, &db), SLF_ECORRUPT);
	cr_assert_eq(open_three(disk, SLF_READONLY, NULL, &db), SLF_ECORRUPT);
	sim_disk_free(disk);
}

/* What the OPEN record in the log says of the file; with a slab missing that was durable. */
enum opened { OPENED_SAME, OPENED_NEVER, OPENED_WITHOUT_BIRTH, OPENED_OTHER_BIRTH, OPENED_OTHER_INODE, OPENED_SHORT };

static struct sim_disk *disk_with_loss(enum opened opened)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	struct slf_db *db = NULL;
	struct slab_forger forger;
	size_t slab = 0;
	uint8_t *body;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	commit_one(db, 0);
	if (opened == OPENED_NEVER)
		must_work(slf_checkpoint(db));
	for (unsigned i = 1; i < 4; i++)
		commit_one(db, i);
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	slab_forger_read(&forger, killed);
	body = slab_forger_find(&forger, LOG_OPEN, &slab);
	if (opened == OPENED_WITHOUT_BIRTH)
		put_u64(body + 16, 0);
	if (opened == OPENED_OTHER_BIRTH)
		put_u64(body + 16, 77);
	if (opened == OPENED_OTHER_INODE)
		put_u64(body + 8, 77);
	if (opened == OPENED_SHORT) {
		put_u32(body - LOG_RECORD_HEADER_BYTES, LOG_RECORD_HEADER_BYTES + OPEN_BODY_BYTES - 4);
		put_u32(body + OPEN_BODY_BYTES - 4, 0);
	}
	slab_forger_write(&forger, killed, slab);
	flip(killed, forger.places[forger.count - 2] + 100);
	return killed;
}

static int open_with_loss(enum opened opened)
{
	struct sim_disk *disk = disk_with_loss(opened);
	struct slf_db *db = NULL;
	int result = open_three(disk, 0, NULL, &db);

	if (result == 0) {
		cr_assert_eq(prefix(db), 2);
		must_work(slf_close(db));
	}
	sim_disk_free(disk);
	return result;
}

/* What was lost in the original would pass as a copy that was taken too early; or such a copy could not be opened. */
Test(recover_forged, original_or_copy)
{
	cr_assert_eq(open_with_loss(OPENED_SAME), SLF_ECORRUPT);
	cr_assert_eq(open_with_loss(OPENED_NEVER), SLF_ECORRUPT);
	cr_assert_eq(open_with_loss(OPENED_WITHOUT_BIRTH), SLF_ECORRUPT);
	cr_assert_eq(open_with_loss(OPENED_SHORT), SLF_ECORRUPT);
	must_work(open_with_loss(OPENED_OTHER_BIRTH));
	must_work(open_with_loss(OPENED_OTHER_INODE));
}

static void expect_info(struct sim_disk *disk, unsigned flags, uint32_t cut, uint32_t damaged)
{
	struct slf_info info = { .size = sizeof(info) };
	struct slf_db *db = NULL;

	must_work(open_three(disk, flags, NULL, &db));
	must_work(slf_info(db, &info));
	cr_assert(info.cut == cut && info.damaged == damaged, "cut %u, damaged %u", info.cut, info.damaged);
	must_work(slf_close(db));
}

/* Who opens a copy that was taken in use would not be told that commits are missing, or be told so of any other. */
Test(recover_forged, info_of_a_copy)
{
	uint64_t seqs[COMMITS], limit;
	struct sim_disk *copy = disk_with_loss(OPENED_OTHER_INODE), *original = disk_with_loss(OPENED_SAME);
	struct sim_disk *whole = unclean_disk(seqs, &limit);

	expect_info(copy, SLF_READONLY, 1, 0);
	expect_info(copy, 0, 1, 0); /* who cuts it */
	expect_info(copy, 0, 0, 0);
	expect_info(original, SLF_READONLY, 0, 1);
	expect_info(whole, 0, 0, 0);
	sim_disk_free(copy);
	sim_disk_free(original);
	sim_disk_free(whole);
}

/* A large value, not known to be durable, is gone, and the slab behind it too: the log is cut a second time, before the value,
 * and a reader would not be told that there is damage. */
Test(recover_forged, two_places_of_damage)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db = NULL;
	struct slab_forger forger;
	struct entry_ref part;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	for (unsigned i = 0; i < 6; i++)
		commit_one(db, i);
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	slab_forger_read(&forger, killed);
	must(forger.slabs[forger.count - 3].part_count == 1);
	entry_ref_decode(forger.bytes + forger.places[forger.count - 3] + SLAB_HEADER_BYTES, &part);
	free(forger.bytes);
	spoil(killed, part.position);
	flip(killed, forger.places[forger.count - 2] + 100);
	expect_info(killed, SLF_READONLY, 0, 1);
	cr_assert_eq(open_three(killed, 0, NULL, &db), SLF_ECORRUPT);
	must_work(slf_errinfo(&info));
	cr_assert_not_null(strstr(info.text, "the log is damaged (slab digest is wrong)"), "%s", info.text);
	sim_disk_free(killed);
}

/* The last slab announces what is no extent of the log: a writer would go on there, where no slab may lie, or where no opening
 * would look for one. */
Test(recover_forged, announced_extent)
{
	static const uint64_t cases[] = { 1, 4096, EXTENT_BYTES + 4096, SEGMENT_BYTES, UINT64_MAX };

	for (size_t i = 0; i <= ARRAY_SIZE(cases); i++) {
		uint64_t seqs[COMMITS], limit;
		struct sim_disk *disk = unclean_disk(seqs, &limit);
		struct slf_errinfo info = { .size = sizeof(info) };
		struct slf_db *db = NULL;
		struct slab_forger forger;

		slab_forger_read(&forger, disk);
		forger.slabs[forger.count - 1].next = i ? cases[i - 1] : position_make(1, EXTENT_BYTES);
		slab_forger_write(&forger, disk, forger.count - 1);
		for (unsigned flags = 0; flags <= SLF_READONLY; flags += SLF_READONLY) {
			cr_assert_eq(open_three(disk, flags, NULL, &db), SLF_ECORRUPT, "case %zu", i);
			must_work(slf_errinfo(&info));
			cr_assert_not_null(strstr(info.text, "announces an extent that cannot be"), "%s", info.text);
		}
		sim_disk_free(disk);
	}
}
