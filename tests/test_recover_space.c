/* SPDX-License-Identifier: MIT */
/* Recovery: which extents are taken, free, or the log's own afterwards, and where the log and the seqs go on. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec.h"
#include "gate_rig.h"
#include "slab_forger.h"

static struct slab_forger forger;

static struct slf_db *open_new(struct sim_disk **disk)
{
	struct slf_db *db = NULL;

	*disk = sim_disk_new();
	must_work(disk_open(*disk, SLF_CREATE | SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	return db;
}

/* Leaves things as they are: a writer's close would begin with a checkpoint. */
static struct slf_db *open_to_look(struct sim_disk *disk)
{
	struct slf_db *db = NULL;

	must_work(disk_open(disk, SLF_READONLY, SLF_SYNC_COMMIT, &db));
	return db;
}

static struct sim_disk *killed(struct sim_disk *disk, struct slf_db *db)
{
	struct sim_disk *out = sim_disk_kill(disk);

	slf_close(db);
	sim_disk_free(disk);
	return out;
}

/* Goes on until the log is in the n-th extent after the one where it is. */
static void fill_extents(struct slf_db *db, unsigned n)
{
	while (n--) {
		uint64_t extent = db->core.log.extent;

		while (db->core.log.extent == extent)
			put_blob(db);
	}
}

/* ---- The log's own ----------------------------------------------------------------------------------------------- */

/* An extent of the log would be missed, and never be used again, or be there twice, and be used for two things. That of the pages
 * is never used again: it counts only where the log has no other. */
Test(recover_space, extents_of_the_log)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);

	for (unsigned extents = 0; extents <= 4; extents++) {
		uint64_t current = extents ? 0 : EXTENT_ZERO_DATA;
		struct log *log = NULL;
		size_t found = 0;

		disk = killed(disk, db);
		slab_forger_read(&forger, disk);
		must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		log = &db->core.log;
		cr_assert_eq(log->live_count, extents ? extents : 1);
		for (size_t i = 0; i < forger.count; i++) {
			uint64_t extent = align_down(forger.places[i], EXTENT_BYTES);

			if (!extent || extent == current)
				continue;
			current = extent;
			must(found < extents);
			cr_assert_eq(log->live[found].position, extent);
			cr_assert_eq(log->live[found++].first_number, forger.slabs[i].number);
		}
		free(forger.bytes);
		cr_assert_eq(found, extents);
		cr_assert_eq(log->space.base, current);
		cr_assert_eq(log->space.end, align_down(current, EXTENT_BYTES) + EXTENT_BYTES);
		fill_extents(db, 1);
	}
	must_work(slf_close(db));
	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(db->core.log.live_count, 1);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* A database whose newest checkpoint has set extents of the log free, and which has announced one of them since. */
static struct sim_disk *disk_with_free_extents(void)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);

	atomic_store(&db->core.checkpoint.failed, -ENOSPC); /* so none comes by itself */
	atomic_store(&db->core.checkpoint.retry_ns, UINT64_MAX);
	fill_extents(db, 12);
	must_work(slf_checkpoint(db));
	must(db->core.log.free_count >= 10);
	must_work(log_spare(&db->core.log, false));
	while (!db->core.log.end.next)
		put_blob(db);
	return killed(disk, db);
}

static void frees_both(const struct slf_db *db, uint64_t last)
{
	must(db->core.log.free_count >= 2);
	cr_assert_eq(db->core.log.free[0], EXTENT_BYTES);
	cr_assert_eq(db->core.log.free[1], last);
}

/* Nothing is to go on with extents that are free because a forged record says so. */
static void end_with_them(struct sim_disk *disk, struct slf_db *db)
{
	commit_poison(&db->core.commit);
	slf_close(db);
	sim_disk_free(disk);
}

/* An extent that is in use would be used for something else, or one that is free be lost, by what a checkpoint says of them. */
Test(recover_space, extents_that_a_checkpoint_sets_free)
{
	struct sim_disk *disk = disk_with_free_extents(), *beside;
	struct slf_db *db = open_to_look(disk);
	uint64_t spare = db->core.log.end.next, current = db->core.log.extent, next;
	uint32_t count;
	size_t slab = 0;
	uint8_t *mark, *list;

	must_work(slf_close(db));
	must(spare && spare != EXTENT_BYTES && current > EXTENT_BYTES);
	slab_forger_read(&forger, disk);
	mark = slab_forger_find(&forger, LOG_MARK, &slab);
	count = get_u32(mark + 144);
	must(count >= 9);
	next = get_u64(mark + MARK_BODY_BYTES) + 3; /* never taken: the last of them is nobody's */
	put_u64(mark + MARK_BODY_BYTES, next);
	list = mark + MARK_BODY_BYTES + sizeof(struct mark_spindle);
	memset(list, 0, 8 * (size_t)count); /* 0: that of the pages */
	put_u64(list + 8, EXTENT_BYTES);
	put_u64(list + 16, (next - 1) * EXTENT_BYTES);
	put_u64(list + 24, next * EXTENT_BYTES);
	put_u64(list + 32, position_make(1, 4 * EXTENT_BYTES));
	put_u64(list + 40, 4 * EXTENT_BYTES + 4096);
	put_u64(list + 48, spare);
	put_u64(list + 56, current);
	slab_forger_write(&forger, disk, slab);

	/* the page cannot be written, and the one that leads to an older checkpoint may be needed again: the side file, a header for
	 * the extent that was never taken, the slab of the opening, the page */
	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_WRITE, .nth = 4, .error = -ENOSPC });
	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(sim_disk_faults_fired(disk), 1);
	cr_assert_eq(db->core.log.free_count, 0);
	sim_disk_clear_faults(disk);
	beside = sim_disk_kill(disk);
	must_work(slf_checkpoint(db)); /* its pages can be written, and then nothing leads to an older one */
	frees_both(db, (next - 1) * EXTENT_BYTES);
	end_with_them(disk, db);

	must_work(disk_open(beside, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(db->core.log.free_count, 2);
	frees_both(db, (next - 1) * EXTENT_BYTES);
	end_with_them(beside, db);
}

/* The same at every step of their use: the log goes round, and each kill comes at another place. */
Test(recover_space, round_and_round)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	char value[16];

	for (unsigned i = 0; i < 60; i++) {
		for (unsigned j = 0; j < 7 + i % 5; j++)
			put_blob(db);
		snprintf(value, sizeof(value), "%u", i);
		db_put(db, "key", value);
		if (i % 7 == 3)
			must_work(slf_checkpoint(db));
		if (i % 3)
			continue;
		disk = killed(disk, db);
		must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		must(db_has(db, "key", value));
		for (size_t a = 0; a < db->core.log.free_count; a++) {
			must(db->core.log.free[a] != db->core.log.spare);
			for (size_t b = 0; b < db->core.log.live_count; b++)
				must(db->core.log.free[a] != db->core.log.live[b].position);
			for (size_t b = 0; b < a; b++)
				must(db->core.log.free[a] != db->core.log.free[b]);
		}
	}
	cr_assert_lt(db->core.extents.spindles[0].next, 40);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* ---- Extents ----------------------------------------------------------------------------------------------------- */

/* After a clean stop the space behind what is taken would be left unused, if there is any; or what the log lies in would be
 * taken again. */
Test(recover_space, extents_after_a_clean_stop)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	uint64_t next, extent;
	size_t slab = 0;
	uint8_t *mark;

	fill_extents(db, 3);
	must_work(slf_close(db));
	db = open_to_look(disk);
	next = db->core.extents.spindles[0].next;
	extent = db->core.log.extent / EXTENT_BYTES;
	must_work(slf_close(db));
	must(extent > 1);
	must_work(sim_disk_resize(disk, RIG_PATH, (next + 10) * EXTENT_BYTES));
	db = open_to_look(disk);
	cr_assert_eq(db->core.extents.spindles[0].next, next);
	must_work(slf_close(db));
	slab_forger_read(&forger, disk);
	mark = slab_forger_find(&forger, LOG_MARK, &slab);
	put_u64(mark + MARK_BODY_BYTES, 0);
	slab_forger_write(&forger, disk, slab);
	db = open_to_look(disk);
	cr_assert_geq(db->core.extents.spindles[0].next, extent + 1);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* A checkpoint that says that all extents are taken but a few behind the end of all numbers: a sum would begin at 0 again. */
Test(recover_space, no_extent_left)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	size_t slab = 0;
	uint8_t *mark;

	db_put(db, "key", "1");
	must_work(slf_checkpoint(db));
	disk = killed(disk, db);
	slab_forger_read(&forger, disk);
	mark = slab_forger_find(&forger, LOG_MARK, &slab);
	put_u64(mark + MARK_BODY_BYTES, UINT64_MAX - 1);
	slab_forger_write(&forger, disk, slab);
	db = open_to_look(disk);
	cr_assert_leq(db->core.extents.spindles[0].next, OFFSET_MAX / EXTENT_BYTES / 2);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* ---- Seqs -------------------------------------------------------------------------------------------------------- */

/* Each clean stop would cost a million seqs. */
Test(recover_space, seqs_after_a_clean_stop)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	uint64_t seq = db_put(db, "key", "1");

	must_work(slf_close(db));
	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(db_put(db, "key", "2"), seq + 1);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* ---- Far behind -------------------------------------------------------------------------------------------------- */

static void check_values(struct slf_db *db, unsigned count, char *value, size_t size)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_slice found;
	char key[16];

	for (unsigned i = 0; i < count; i++) {
		sprintf(key, "key%u", i);
		bytes_fill(value, size, i, false);
		must_work(slf_get(txn, SLF_MAIN, text(key), &found));
		cr_assert(slice_is(found, value, size), "value %u", i);
	}
	slf_abort(txn);
}

/* An offset that is cut to 32 bits, or taken for negative, would lead into other data. */
Test(recover_space, offsets_beyond_32_bits)
{
	static const uint64_t borders[] = { (uint64_t)1 << 31, (uint64_t)1 << 32 };
	static char value[300 * 1024];
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	unsigned count = 0;
	char key[16];

	for (size_t i = 0; i < ARRAY_SIZE(borders); i++) {
		uint64_t first = borders[i] / EXTENT_BYTES - 2;

		db->core.extents.spindles[0].next = first;
		fill_extents(db, 3);
		while (db->core.extents.spindles[0].next < first + 6) {
			struct slf_txn *txn = txn_begin(db, SLF_WRITE);

			sprintf(key, "key%u", count);
			bytes_fill(value, sizeof(value), count++, false);
			must_work(slf_put(txn, SLF_MAIN, text(key), slice(value, sizeof(value))));
			must_work(slf_commit(txn, NULL));
		}
		check_values(db, count, value, sizeof(value));
		must_work(slf_checkpoint(db));
		cr_assert(i || db->core.log.end.position > borders[i] - 2 * EXTENT_BYTES);
		disk = killed(disk, db);
		must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		check_values(db, count, value, sizeof(value));
	}
	must_work(slf_close(db));
	db = open_to_look(disk);
	check_values(db, count, value, sizeof(value));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* Nodes that a forged file has where the log goes on would be checked once, be overwritten, and be believed: extents of the log say
 * that they are before a slab is written there, and none goes on where values and nodes are said to be. */
Test(recover_space, headers_of_the_logs_extents)
{
	struct sim_disk *origin = disk_with_free_extents();
	struct slf_db *db = open_to_look(origin);
	uint64_t extents[] = { db->core.log.end.next, db->core.log.extent, EXTENT_BYTES };
	uint64_t seed = db->core.store.seed;

	must_work(slf_close(db));
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(extents); i++) {
		struct extent_header header = { .stream = STREAM_BULK, .run = 1 };
		struct slf_errinfo info = { .size = sizeof(info) };
		uint64_t extent = extents[i / 2];
		struct sim_disk *disk = sim_disk_kill(origin);
		uint8_t bytes[EXTENT_HEADER_BYTES];

		extent_header_encode(bytes, &header, seed, extent);
		bytes[20] ^= i % 2; /* says nothing */
		must_work(sim_disk_poke(disk, RIG_PATH, extent, bytes, sizeof(bytes)));
		if (i % 2) {
			must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
			must_work(slf_close(db));
			must_work(sim_disk_peek_durable(disk, RIG_PATH, extent, bytes, sizeof(bytes)));
			cr_assert_null(extent_header_decode(bytes, seed, extent, &header));
			cr_assert_eq(header.stream, STREAM_LOG);
		} else {
			cr_assert_eq(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db), SLF_ECORRUPT, "%u", i);
			must_work(slf_errinfo(&info));
			cr_assert_not_null(strstr(info.text, "holds values or nodes"), "%s", info.text);
		}
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

static enum sim_fate lose_allocations(void *context, const struct sim_unit *unit)
{
	(void)context;
	return unit->kind == SIM_UNIT_ALLOCATE ? SIM_LOST : SIM_KEPT;
}

static int put_until_refused(struct slf_db *db)
{
	static uint8_t value[4000];
	int result = 0;

	for (unsigned i = 0; i < 1000 && !result; i++) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);

		must_work(slf_put(txn, SLF_MAIN, text("key"), slice(value, sizeof(value))));
		result = slf_commit(txn, NULL);
	}
	return result;
}

/* A power cut takes the space of the extent that the log has announced. When the disk is full at the opening, or behind it, a commit
 * would meet that as it writes, and be in doubt, instead of being refused before. */
Test(recover_space, announced_extent_without_its_space)
{
	struct sim_fault full = { .call = SIM_ALLOCATE, .error = -ENOSPC };

	for (unsigned i = 0; i < 2; i++) {
		struct sim_disk *disk, *crashed;
		struct slf_db *db = open_new(&disk);

		must_work(log_spare(&db->core.log, false));
		while (!db->core.log.end.next)
			put_blob(db);
		crashed = sim_disk_crash(disk, lose_allocations, NULL);
		must_work(slf_close(db));
		sim_disk_free(disk);
		if (i)
			sim_disk_add_fault(crashed, &full);
		must_work(disk_open(crashed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
		db_put(db, "key", "1");
		promise_space(db);
		sim_disk_set_capacity(crashed, 0); /* what is allocated stays */
		cr_assert_eq(put_until_refused(db), -ENOSPC);
		cr_assert(!atomic_load(&db->core.commit.poisoned));
		sim_disk_set_capacity(crashed, UINT64_MAX);
		db_put(db, "key", "2");
		must_work(slf_close(db));
		sim_disk_free(crashed);
	}
}

/* ---- Extents that were taken for nothing ------------------------------------------------------------------------- */

#define LARGE_BYTES (3u << 20) /* an extent and a half */

static int put_large(struct slf_db *db, bool keep)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	uint8_t *value = malloc(LARGE_BYTES);

	must(value != NULL);
	bytes_fill(value, LARGE_BYTES, 1, false);
	must_work(slf_put(txn, SLF_MAIN, text("large"), slice(value, LARGE_BYTES)));
	free(value);
	if (keep)
		return slf_commit(txn, NULL);
	slf_abort(txn);
	return 0;
}

/* The stream that the durable header of an extent names; 0: there is none. */
static unsigned durable_stream(struct sim_disk *disk, uint64_t seed, uint64_t extent)
{
	uint8_t bytes[EXTENT_HEADER_BYTES];
	struct extent_header header;

	must_work(sim_disk_peek_durable(disk, RIG_PATH, extent, bytes, sizeof(bytes)));
	return extent_header_decode(bytes, seed, extent, &header) ? 0 : header.stream;
}

/* A closed database: a transaction took extents, wrote to them, and was aborted. The close found nothing new to be marked. extent, if
 * not NULL: the first of them. */
static struct sim_disk *disk_with_an_aborted_value(uint64_t *extent)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	uint64_t seed = db->core.store.seed, first;

	stamp_keys(db, 0, 10, 1);
	must_work(slf_checkpoint(db));
	first = db->core.extents.spindles[0].next * EXTENT_BYTES;
	put_large(db, false);
	must_work(slf_close(db));
	cr_assert_eq(durable_stream(disk, seed, first), STREAM_BULK);
	if (extent)
		*extent = first;
	return disk;
}

/* Everything survives a power cut but the header of one extent. */
static enum sim_fate lose_header(void *context, const struct sim_unit *unit)
{
	const uint64_t *extent = context;

	return unit->kind == SIM_UNIT_WRITE && unit->offset == *extent ? SIM_LOST : SIM_KEPT;
}

/* When the log took one of the extents of an aborted transaction, and the power went before its header was durable, the header would
 * still speak of values, and every writer be refused. */
Test(recover_space, log_goes_on_where_an_aborted_value_was)
{
	uint64_t extent;
	struct sim_disk *crashed, *disk = disk_with_an_aborted_value(&extent);
	struct slf_db *db = NULL;

	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(durable_stream(disk, db->core.store.seed, extent), 0);
	fill_extents(db, 1);
	cr_assert_eq(db->core.log.extent, extent);
	stamp_keys(db, 10, 20, 2);
	crashed = sim_disk_crash(disk, NULL, NULL);
	must_work(slf_close(db));
	sim_disk_free(disk);

	must_work(disk_open(crashed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert(has_key(db, "key0019"));
	must_work(slf_close(db));
	sim_disk_free(crashed);
}

/* The log had made an extent ready, and never came to it. When a value took it, and the power went before the header was durable,
 * the value would be there and be refused. */
Test(recover_space, value_goes_where_the_log_never_came)
{
	struct sim_disk *disk, *crashed;
	struct slf_db *db = open_new(&disk);
	uint64_t seed = db->core.store.seed, extent;
	struct slf_slice value;
	struct slf_txn *txn;

	stamp_keys(db, 0, 10, 1);
	must_work(slf_checkpoint(db));
	extent = db->core.extents.spindles[0].next * EXTENT_BYTES;
	must_work(log_spare(&db->core.log, true));
	must_work(slf_close(db));
	cr_assert_eq(durable_stream(disk, seed, extent), STREAM_LOG);

	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_NONE, &db));
	put_large(db, true);
	for (unsigned i = 0; i < 40; i++)
		put_blob(db);
	crashed = sim_disk_crash(disk, lose_header, &extent);
	must_work(slf_close(db));
	cr_assert_eq(durable_stream(disk, seed, extent), STREAM_BULK);
	sim_disk_free(disk);

	must_work(disk_open(crashed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	txn = txn_begin(db, SLF_READ);
	must_work(slf_get(txn, SLF_MAIN, text("large"), &value));
	cr_assert_eq(value.size, LARGE_BYTES);
	slf_abort(txn);
	must_work(slf_close(db));
	sim_disk_free(crashed);
}

/* What the flush of an opening has lost of the clearing must not be believed by the next one: the log would go on in an extent whose
 * header on the disk says that it holds values. */
static void lose_what_was_cleared(bool punches)
{
	struct sim_disk *crashed, *disk = disk_with_an_aborted_value(NULL);
	struct slf_db *db = NULL;

	if (!punches)
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_PUNCH, .error = -EOPNOTSUPP, .sticky = true });
	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_SYNC, .error = -EIO, .drop = true });
	cr_assert_eq(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db), SLF_EUNKNOWN);
	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	fill_extents(db, 1);
	stamp_keys(db, 10, 20, 2);
	crashed = sim_disk_crash(disk, NULL, NULL);
	must_work(slf_close(db));
	sim_disk_free(disk);
	must_work(disk_open(crashed, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	must(has_key(db, "key0019"));
	must_work(slf_close(db));
	sim_disk_free(crashed);
}

Test(recover_space, flush_that_loses_what_was_cleared)
{
	lose_what_was_cleared(true);
	lose_what_was_cleared(false);
}

/* Nodes in extents that a forged record calls free were checked when the log was replayed; what is cleared is not to be believed for
 * that, since values may stand there next. */
Test(recover_space, checked_before_it_was_cleared)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	size_t slab = 0, last;
	uint64_t nodes;
	uint8_t *mark;

	enter_next_extent(db);
	nodes = db->core.extents.spindles[0].next;
	stamp_keys(db, 0, 100, 1);
	must_work(slf_checkpoint(db));
	stamp_keys(db, 50, 51, 2); /* to be replayed */
	disk = killed(disk, db);
	slab_forger_read(&forger, disk);
	mark = slab_forger_find(&forger, LOG_MARK, &slab);
	must(get_u64(mark + 64) / EXTENT_BYTES == nodes);
	put_u64(mark + MARK_BODY_BYTES, nodes);
	last = forger.count - 1;
	for (unsigned i = 0; i < 2; i++) {
		forger.meta[i].flags |= META_FLAG_CLEAN;
		forger.meta[i].log_number = forger.slabs[last].number + 1;
		forger.meta[i].mark_position = forger.places[slab];
		forger.meta[i].mark_number = forger.slabs[slab].number;
		forger.meta[i].mark_digest = forger.slabs[slab].digest;
	}
	slab_forger_write(&forger, disk, slab);
	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert_eq(db->core.extents.spindles[0].next, nodes);
	for (uint64_t at = 0; at < EXTENT_BYTES; at += ENTRY_ALIGN)
		must(!verified_test(&db->core.store.verified, nodes * EXTENT_BYTES + at));
	slf_close(db);
	sim_disk_free(disk);
}

/* Where nothing can be punched, what lies behind counts as taken. */
Test(recover_space, extents_that_cannot_be_cleared)
{
	uint64_t extent;
	struct sim_disk *disk = disk_with_an_aborted_value(&extent);
	struct slf_db *db = NULL;

	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_PUNCH, .error = -EOPNOTSUPP, .sticky = true });
	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	cr_assert_geq(db->core.extents.spindles[0].next * EXTENT_BYTES, extent + LARGE_BYTES);
	must(has_key(db, "key0009"));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* What the log had written into extents that were set free before would be cut off unseen, when the slab is damaged that leads to
 * one of them. */
Test(recover_space, loss_in_an_extent_that_was_set_free)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	uint64_t extent;
	size_t bridge;

	fill_extents(db, 1);
	extent = db->core.log.extent;
	fill_extents(db, 2); /* another one, which is taken before */
	for (unsigned i = 0; i < 2; i++) {
		put_blob(db);
		must_work(slf_checkpoint(db));
	}
	while (db->core.log.extent != extent)
		put_blob(db);
	put_blob(db);
	disk = killed(disk, db);
	slab_forger_read(&forger, disk);
	bridge = forger.count - 1;
	while (forger.places[bridge] / EXTENT_BYTES == extent / EXTENT_BYTES)
		bridge--;
	must(forger.slabs[bridge].next == extent && !forger.slabs[bridge - 1].next);
	forger.bytes[forger.places[bridge] + 100] ^= 1;
	must_work(sim_disk_poke(disk, RIG_PATH, forger.places[bridge], forger.bytes + forger.places[bridge], SIM_SECTOR_BYTES));
	free(forger.bytes);
	cr_assert_eq(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db), SLF_ECORRUPT);
	sim_disk_free(disk);
}
