/* SPDX-License-Identifier: MIT */
/*
 * Reading the log: which slabs follow each other, what proves that more had been there, which parts a slab may not be without,
 * and what no commit can say. Most of it is forged: sealed as the library would have, but for one field.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "action.h"
#include "codec.h"
#include "entry.h"
#include "gate_rig.h"
#include "slab_forger.h"
#include "sim_inode.h"
#include "store.h"

#define ROW 6             /* commits of most histories here */
#define ROW_BYTES 50u     /* of each of their values, */
#define LONG_BYTES 30000u /* of one in a slab that takes two reads, */
#define PART_BYTES 40919u /* and of one in bulk whose entry, with a key of one byte, ends with a block of 4096 bytes */

static uint8_t data[MIB];

static int open_again(struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	*db = NULL;
	return disk_open(disk, flags & SLF_READONLY ? flags : flags | SLF_NO_THREADS, SLF_SYNC_COMMIT, db);
}

static struct slf_db *open_new(struct sim_disk **disk)
{
	struct slf_db *db;

	*disk = sim_disk_new();
	must_work(open_again(*disk, SLF_CREATE, &db));
	return db;
}

/* The database as it is left when its process ends. Frees what it was. */
static struct sim_disk *killed(struct sim_disk *disk, struct slf_db *db)
{
	struct sim_disk *out = sim_disk_kill(disk);

	slf_close(db);
	sim_disk_free(disk);
	return out;
}

static uint64_t put(struct slf_db *db, const char *key, size_t size)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	uint64_t seq = 0;

	bytes_fill(data, size, size, false);
	must_work(slf_put(txn, SLF_MAIN, text(key), slice(data, size)));
	must_work(slf_commit(txn, &seq));
	return seq;
}

static bool has(struct slf_db *db, const char *key, size_t size)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_slice value;
	bool found;

	bytes_fill(data, size, size, false);
	found = slf_get(txn, SLF_MAIN, text(key), &value) == 0 && slice_is(value, data, size);
	slf_abort(txn);
	return found;
}

static const char *name_of(unsigned index)
{
	static char name[16];

	snprintf(name, sizeof(name), "row%u", index);
	return name;
}

/* So many commits, each in a slab of its own; nobody has told the last one to be durable. */
static struct sim_disk *row_disk(void)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);

	for (unsigned i = 0; i < ROW; i++)
		put(db, name_of(i), ROW_BYTES);
	return killed(disk, db);
}

/* How many commits of the row there are, the first ones. */
static unsigned row(struct slf_db *db)
{
	unsigned count = 0;

	while (count < ROW && has(db, name_of(count), ROW_BYTES))
		count++;
	for (unsigned i = count; i < ROW; i++)
		must(!has(db, name_of(i), ROW_BYTES));
	return count;
}

/* Opens, and tells how many there are. Closes without a trace. */
static unsigned open_row(struct sim_disk *disk)
{
	struct slf_db *db;
	unsigned count;

	must_work(open_again(disk, 0, &db));
	count = row(db);
	must_work(slf_close(db));
	return count;
}

static struct slab_forger forger;

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

/* A read that fails would be taken for the end of the log, or for damage: what stands there would be cut off, or given up. Only
 * a value in bulk where evidence might be, behind the end, may be missed, one of the pages, each time they are read, and the header
 * of an extent that is the log's already. */
Test(replay_log, reads_that_fail)
{
	struct sim_disk *disk, *origin;
	struct slf_db *db = open_new(&disk);
	uint64_t fired = 1, nth = 0;
	unsigned missed = 0;

	enter_next_extent(db); /* so that the place of its log is another one than that of none */
	must_work(slf_checkpoint(db));
	put(db, "a", ROW_BYTES);
	put(db, "b", LONG_BYTES);
	put(db, "c", PART_BYTES);
	origin = killed(disk, db);
	while (fired) {
		int result;

		disk = sim_disk_kill(origin);
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_READ, .nth = ++nth, .error = -EIO });
		result = open_again(disk, 0, &db);
		fired = sim_disk_faults_fired(disk);
		sim_disk_clear_faults(disk);
		must(result == 0 || (fired && result == -EIO));
		missed += fired && result == 0;
		if (result)
			must_work(open_again(disk, 0, &db));
		must(has(db, "a", ROW_BYTES) && has(db, "b", LONG_BYTES) && has(db, "c", PART_BYTES));
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	cr_assert_gt(nth, 10);
	cr_assert_eq(missed, 1 + 2 * 2 + 1, "%u", missed);
	sim_disk_free(origin);
}

struct disturbance {
	uint64_t nth;
	uint64_t place;
};

static void disturb(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct disturbance *disturbance = context;
	static const uint8_t garbage[SIM_SECTOR_BYTES] = { 1 };

	if (call == SIM_READ && disturbance->nth && --disturbance->nth == 0)
		must_work(sim_disk_poke(disk, RIG_PATH, disturbance->place, garbage, sizeof(garbage)));
}

/* A slab that is there at the first look and gone at the second would be left out, with all behind it, or its absence be told
 * as the end of something. */
Test(replay_log, slab_that_goes_while_it_is_read)
{
	struct sim_disk *disk, *origin;
	struct slf_db *db = open_new(&disk);
	struct disturbance disturbance = { .place = 0 };
	unsigned without = 0, refused = 0, with = 0;

	disturbance.place = position_offset(db->core.log.end.position);
	put(db, "c", PART_BYTES);
	origin = killed(disk, db);
	for (uint64_t nth = 1; with < 3; nth++) {
		int result;

		disk = sim_disk_kill(origin);
		disturbance.nth = nth;
		sim_disk_set_hook(disk, disturb, &disturbance);
		result = open_again(disk, 0, &db);
		sim_disk_set_hook(disk, NULL, NULL);
		if (result) {
			cr_assert_eq(result, SLF_ECORRUPT);
			must(!with);
			refused++;
		} else if (has(db, "c", PART_BYTES)) {
			with++;
		} else {
			must(!with && !refused);
			without++;
		}
		if (!result)
			slf_close(db);
		sim_disk_free(disk);
	}
	cr_assert_gt(without, 0);
	cr_assert_geq(refused, 5); /* it is read for the chain, with what may stand behind it, for its parts, and to be replayed */
	sim_disk_free(origin);
}

/* Slabs of a device that tears larger sectors are padded to them: none would be found again. */
Test(replay_log, large_sectors)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_errinfo info = { .size = sizeof(info) };
	struct slf_db *db;

	sim_disk_set_physical_sector(disk, 4096);
	must_work(open_again(disk, SLF_CREATE, &db));
	put(db, "a", ROW_BYTES);
	put(db, "b", LONG_BYTES);
	put(db, "c", PART_BYTES);
	disk = killed(disk, db);
	must_work(open_again(disk, 0, &db));
	cr_assert_eq(db->core.store.settings.sector, 4096);
	must(has(db, "a", ROW_BYTES) && has(db, "b", LONG_BYTES) && has(db, "c", PART_BYTES));
	put(db, "d", LONG_BYTES);
	disk = killed(disk, db);
	slab_forger_read(&forger, disk);
	for (size_t i = 0; i < forger.count; i++)
		must(forger.places[i] % 4096 == 0 && forger.slabs[i].length % 4096 == 0);
	forger.meta[0].mark_position += 512;
	forger.meta[1].mark_position += 512;
	slab_forger_write(&forger, disk, forger.count);
	cr_assert_eq(open_again(disk, 0, &db), SLF_ECORRUPT);
	must_work(slf_errinfo(&info));
	must(strstr(info.text, "outside the log") != NULL);
	sim_disk_free(disk);
}

/* A database that was made for smaller sectors than the device now has would be looked for in the larger ones. */
Test(replay_log, sectors_that_have_grown)
{
	struct sim_disk *disk = row_disk();
	struct slf_db *db;

	sim_disk_set_physical_sector(disk, 4096);
	sim_disk_set_direct(disk, 4096);
	must_work(open_again(disk, 0, &db));
	cr_assert_eq(row(db), ROW);
	put(db, "b", LONG_BYTES);
	put(db, "c", PART_BYTES);
	disk = killed(disk, db);
	must_work(open_again(disk, 0, &db));
	must(row(db) == ROW && has(db, "b", LONG_BYTES) && has(db, "c", PART_BYTES));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

static enum sim_fate tear_log(void *context, const struct sim_unit *unit)
{
	(void)context;
	return unit->kind == SIM_UNIT_WRITE && unit->offset >= EXTENT_ZERO_DATA ? SIM_TORN : SIM_KEPT;
}

/* The same where slabs share such a sector: a write that tears it would take one along that was acknowledged. */
Test(replay_log, slabs_that_share_no_sector)
{
	struct sim_disk *disk = row_disk(), *crashed;
	struct slf_db *db;
	size_t before;

	slab_forger_read(&forger, disk);
	before = forger.count;
	free(forger.bytes);
	sim_disk_set_physical_sector(disk, 4096);
	must_work(open_again(disk, 0, &db));
	put(db, "a", LONG_BYTES);
	put(db, "b", PART_BYTES);
	put(db, "c", ROW_BYTES);
	db->core.tuning.sync = SLF_SYNC_NONE;
	db->core.commit.sync = SLF_SYNC_NONE;
	put(db, "d", ROW_BYTES);
	must_work(commit_write_out(&db->core.commit));
	crashed = sim_disk_crash(disk, tear_log, NULL);
	disk = killed(disk, db);
	slab_forger_read(&forger, disk);
	cr_assert_geq(forger.count, before + 5); /* with that of the opening */
	for (size_t i = before; i < forger.count; i++)
		cr_assert_eq((forger.places[i] + forger.slabs[i].length) % 4096, 0, "slab %zu", i);
	free(forger.bytes);
	for (unsigned torn = 0; torn < 2; torn++) {
		must_work(open_again(torn ? crashed : disk, 0, &db));
		must(row(db) == ROW && has(db, "a", LONG_BYTES) && has(db, "b", PART_BYTES) && has(db, "c", ROW_BYTES));
		cr_assert_eq(has(db, "d", ROW_BYTES), !torn);
		must_work(slf_close(db));
	}
	sim_disk_free(crashed);
	sim_disk_free(disk);
}

/* ---- The chain --------------------------------------------------------------------------------------------------- */

/* A slab with another number, but the right digest of the one before, would be followed. */
Test(replay_log, number_that_does_not_follow)
{
	struct sim_disk *disk = row_disk();

	slab_forger_read(&forger, disk);
	forger.slabs[forger.count - 1].number++;
	slab_forger_write(&forger, disk, forger.count - 1);
	cr_assert_eq(open_row(disk), ROW - 1);
	sim_disk_free(disk);
}

/* ---- Evidence ---------------------------------------------------------------------------------------------------- */

/* A slab that stands somewhere behind the end of the log. */
struct stray {
	int64_t number;  /* less that of the slab that would follow */
	int64_t durable; /* its durable seq, less the newest commit of the log */
	int result;
	bool broken, endless;
};

static void try_stray(struct sim_disk *origin, const struct stray *stray, uint64_t distance)
{
	struct sim_disk *disk = sim_disk_kill(origin);
	struct slab_header *last, header = { .length = SIM_SECTOR_BYTES };
	uint8_t slab[SIM_SECTOR_BYTES] = { 0 };
	struct slf_db *db;
	uint64_t place;

	slab_forger_read(&forger, disk);
	last = &forger.slabs[forger.count - 1];
	place = forger.places[forger.count - 1] + last->length + distance;
	header.number = last->number + 1 + (uint64_t)stray->number;
	header.last_seq = last->last_seq + 10;
	header.durable_seq = last->last_seq + (uint64_t)stray->durable;
	slab_seal(slab, &header, forger.seed, place);
	slab[200] ^= stray->broken;
	if (stray->endless)
		put_u32(slab + 40, UINT32_MAX - 511);
	must_work(sim_disk_poke(disk, RIG_PATH, place, slab, sizeof(slab)));
	free(forger.bytes);
	cr_assert_eq(open_again(disk, 0, &db), stray->result, "number %lld, durable %lld", (long long)stray->number,
		     (long long)stray->durable);
	if (stray->result) /* a reader gets what there is */
		must_work(open_again(disk, SLF_READONLY, &db));
	cr_assert_eq(row(db), ROW);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* What stands behind the end would prove a loss that there was none, and the database could not be opened; or a loss would go
 * unseen. */
Test(replay_log, slabs_behind_the_end)
{
	static const struct stray strays[] = {
		{ .number = 1, .durable = 1, .result = SLF_ECORRUPT },
		{ .number = 9, .durable = 1, .result = SLF_ECORRUPT },
		{ .number = 1, .durable = 0 },
		{ .number = 0, .durable = 1 },
		{ .number = -1, .durable = 1 },
		{ .number = 1, .durable = 1, .broken = true },
		{ .number = 1, .durable = 1, .endless = true },
	};
	struct sim_disk *disk = row_disk();

	must_work(sim_disk_resize(disk, RIG_PATH, EXTENT_BYTES));
	for (size_t i = 0; i < ARRAY_SIZE(strays); i++) {
		for (unsigned sectors = 0; sectors <= 8; sectors += 4)
			try_stray(disk, &strays[i], sectors * SIM_SECTOR_BYTES);
	}
	sim_disk_free(disk);
}

/* The last slab of an extent is damaged, and what stands behind it is in the next one: all of it would be cut off. */
Test(replay_log, evidence_in_the_next_extent)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	size_t last = 0;

	put(db, "a", ROW_BYTES);
	enter_next_extent(db);
	put(db, "b", ROW_BYTES);
	put(db, "c", ROW_BYTES);
	disk = killed(disk, db);
	slab_forger_read(&forger, disk);
	while (forger.places[last + 1] < EXTENT_BYTES)
		last++;
	must(forger.slabs[last].next != 0 && last + 3 < forger.count);
	forger.bytes[forger.places[last] + 100] ^= 1;
	must_work(sim_disk_poke(disk, RIG_PATH, forger.places[last], forger.bytes + forger.places[last], SIM_SECTOR_BYTES));
	free(forger.bytes);
	cr_assert_eq(open_again(disk, 0, &db), SLF_ECORRUPT);
	must_work(open_again(disk, SLF_READONLY, &db));
	must(has(db, "a", ROW_BYTES) && !has(db, "b", ROW_BYTES) && !has(db, "c", ROW_BYTES));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

#define WIDE 9      /* commits that take a third of an extent each, */
#define WIDE_PUTS 20 /* of so many puts */

static void put_wide(struct slf_db *db, unsigned index)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char name[32];

	bytes_fill(data, LONG_BYTES, LONG_BYTES, false);
	for (unsigned i = 0; i < WIDE_PUTS; i++) {
		snprintf(name, sizeof(name), "wide%u.%u", index, i);
		must_work(slf_put(txn, SLF_MAIN, text(name), slice(data, LONG_BYTES)));
	}
	must_work(slf_commit(txn, NULL));
}

/* How many of those commits there are, the first ones. */
static unsigned wide(struct slf_db *db)
{
	unsigned count = 0;
	char name[32];

	for (unsigned i = 0; i < WIDE; i++) {
		snprintf(name, sizeof(name), "wide%u.%u", i, WIDE_PUTS - 1);
		if (!has(db, name, LONG_BYTES))
			continue;
		must(count == i);
		count++;
	}
	return count;
}

static struct sim_disk *wide_disk(void)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);

	for (unsigned i = 0; i < WIDE; i++)
		put_wide(db, i);
	return killed(disk, db);
}

/* Does a slab behind the one with this index say that more than what stands before that had been durable? */
static bool more_was_durable(size_t index)
{
	for (size_t i = index + 1; i < forger.count; i++)
		if (forger.slabs[i].durable_seq > forger.slabs[index - 1].last_seq)
			return true;
	return false;
}

/* Is it the only one that names the extent of the next? */
static bool announces_alone(size_t index)
{
	return index + 1 < forger.count && forger.places[index] / EXTENT_BYTES != forger.places[index + 1] / EXTENT_BYTES &&
	       !forger.slabs[index - 1].next;
}

static struct sim_disk *damaged_at(struct sim_disk *origin, uint64_t place)
{
	struct sim_disk *disk = sim_disk_kill(origin);
	uint8_t byte;

	must_work(sim_disk_peek_durable(disk, RIG_PATH, place, &byte, 1));
	byte ^= 1;
	must_work(sim_disk_poke(disk, RIG_PATH, place, &byte, 1));
	return disk;
}

/* The extent with what was durable cannot be read, and in those behind it there is nothing. */
static void damage_and_fail_reads(struct sim_disk *origin, size_t index)
{
	for (uint64_t nth = 1, fired = 1; fired; nth++) {
		struct sim_disk *disk = damaged_at(origin, forger.places[index] + 100);
		struct slf_db *db;
		int result;

		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_READ, .nth = nth, .error = -EIO });
		result = open_again(disk, 0, &db);
		cr_assert(result == -EIO || result == SLF_ECORRUPT, "slab %zu, read %u: %d", index, (unsigned)nth, result);
		fired = sim_disk_faults_fired(disk);
		sim_disk_free(disk);
	}
}

/* The damaged slab is the one that names the next extent, and nothing leads to what is there: it would be cut off unseen. */
Test(replay_log, any_slab_is_damaged)
{
	struct sim_disk *origin = wide_disk();
	unsigned hidden = 0;

	slab_forger_read(&forger, origin);
	for (size_t i = 2; i < forger.count; i++) {
		struct sim_disk *disk = damaged_at(origin, forger.places[i] + 100);
		struct slf_db *db;

		cr_assert_eq(open_again(disk, 0, &db), more_was_durable(i) ? SLF_ECORRUPT : 0, "slab %zu", i);
		if (more_was_durable(i) && announces_alone(i)) {
			damage_and_fail_reads(origin, i);
			hidden++;
		}
		if (more_was_durable(i))
			must_work(open_again(disk, SLF_READONLY, &db));
		must(wide(db) < WIDE);
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	cr_assert_geq(hidden, 1, "no slab was the only one to name the next extent");
	free(forger.bytes);
	sim_disk_free(origin);
}

/* What stands in the next extent proves nothing where it is damaged, too: the database could not be opened any more. */
Test(replay_log, evidence_in_another_extent_is_damaged)
{
	struct sim_disk *origin = wide_disk(), *damaged, *both;
	struct slf_db *db;
	size_t last = 4;

	slab_forger_read(&forger, origin);
	while (!announces_alone(last - 2))
		last++;
	/* of two slabs behind a bridge the one that tells the other to be durable; it is the last of all */
	must_work(sim_disk_resize(origin, RIG_PATH, forger.places[last] + forger.slabs[last].length));
	damaged = damaged_at(origin, forger.places[last - 2] + 100);
	both = damaged_at(damaged, forger.places[last] + 5000);
	cr_assert_eq(open_again(damaged, 0, &db), SLF_ECORRUPT);
	must_work(open_again(both, 0, &db));
	must_work(slf_close(db));
	free(forger.bytes);
	sim_disk_free(origin);
	sim_disk_free(damaged);
	sim_disk_free(both);
}

/* What a copy's original had written behind the place where it was cut would be taken for evidence of a loss when it is opened
 * again: a copy could be used once. */
Test(replay_log, copy_is_opened_again)
{
	struct sim_disk *origin = wide_disk();

	slab_forger_read(&forger, origin);
	for (size_t i = 2; i < forger.count; i++) {
		struct sim_disk *disk = damaged_at(origin, forger.places[i] + 100);
		unsigned count = WIDE;

		for (size_t n = 0; n < disk->inode_count; n++)
			disk->inodes[n]->number += 1000;
		for (unsigned opening = 0; opening < 3; opening++) {
			struct slf_db *db;

			cr_assert_eq(open_again(disk, 0, &db), 0, "slab %zu, opening %u", i, opening);
			must(opening ? wide(db) == count : (count = wide(db)) < WIDE);
			if (opening == 1)
				disk = killed(disk, db);
			else
				must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
	free(forger.bytes);
	sim_disk_free(origin);
}

/* ---- Parts ------------------------------------------------------------------------------------------------------- */

/* One commit with a value in bulk, "c", whose slab nobody has told to be durable. */
static struct sim_disk *part_disk(uint64_t *seq)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);

	*seq = put(db, "c", PART_BYTES);
	return killed(disk, db);
}

/* The n-th part of the last slab, in the forger's bytes. */
static uint8_t *last_part(unsigned n)
{
	must(forger.slabs[forger.count - 1].part_count > n);
	return forger.bytes + forger.places[forger.count - 1] + SLAB_HEADER_BYTES + (size_t)n * SLAB_PART_BYTES;
}

/* Opens with the last slab's part changed: is its commit there? */
static bool counts_with(struct sim_disk *origin, const struct entry_ref *part)
{
	struct sim_disk *disk = sim_disk_kill(origin);
	struct slf_db *db;
	bool counts;

	slab_forger_read(&forger, disk);
	entry_ref_encode(last_part(0), part);
	slab_forger_write(&forger, disk, forger.count - 1);
	must_work(open_again(disk, 0, &db));
	counts = has(db, "c", PART_BYTES);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return counts;
}

/* A slab would count whose part cannot be, or its reading would leave the part's bytes; or one be missed that stands at the very
 * end of the file, or is as short as can be. */
Test(replay_log, parts_that_cannot_be)
{
	uint64_t seq, at = 2 * EXTENT_BYTES - 4096;
	struct sim_disk *disk = part_disk(&seq);
	struct entry_ref good, part;
	struct value_ref empty;
	uint8_t entry[64] = { 0 };

	slab_forger_read(&forger, disk);
	entry_ref_decode(last_part(0), &good);
	must((good.position + good.length) % 4096 == 0 && good.position + good.length <= forger.length);
	must_work(sim_disk_resize(disk, RIG_PATH, good.position + good.length));
	value_entry_encode(entry, forger.seed, at, SLF_MAIN, slice("", 0), NULL, 0, 0, &empty);
	free(forger.bytes);
	must(counts_with(disk, &good));
	must_work(sim_disk_resize(disk, RIG_PATH, at + 4096));
	must_work(sim_disk_poke(disk, RIG_PATH, at, entry, sizeof(entry)));
	must(counts_with(disk, &(struct entry_ref){ at, empty.hash, VALUE_HEADER_BYTES }));

	for (unsigned spindle = 1; spindle < 256; spindle += 127) {
		part = good;
		part.position = position_make(spindle, good.position);
		must(!counts_with(disk, &part));
	}
	part = good;
	part.hash ^= 1;
	must(!counts_with(disk, &part));
	must(!counts_with(disk, &(struct entry_ref){ at - 6, 0, 4 }));
	must(!counts_with(disk, &(struct entry_ref){ 64 * EXTENT_BYTES, good.hash, good.length }));
	must(!counts_with(disk, &(struct entry_ref){ good.position, good.hash, UINT32_MAX }));
	sim_disk_free(disk);
}

/* A value that is known to have been durable is damaged: the log would end before it, and the database could not be opened. */
Test(replay_log, parts_known_to_be_durable)
{
	uint64_t seq;
	struct sim_disk *disk = part_disk(&seq);
	struct slf_txn *txn;
	struct entry_ref part;
	struct slf_db *db;

	slab_forger_read(&forger, disk);
	entry_ref_decode(last_part(0), &part);
	forger.meta[0].durable_seq = seq;
	forger.meta[1].durable_seq = seq;
	forger.bytes[part.position + 5000] ^= 1;
	must_work(sim_disk_poke(disk, RIG_PATH, part.position, forger.bytes + part.position, 8192));
	slab_forger_write(&forger, disk, forger.count);
	must_work(open_again(disk, 0, &db));
	txn = txn_begin(db, SLF_READ);
	cr_assert_eq(slf_get(txn, SLF_MAIN, text("c"), NULL), 0);
	slf_abort(txn);
	must(!has(db, "c", PART_BYTES));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* What a power cut takes: the writes inside a range. */
static enum sim_fate lose_range(void *context, const struct sim_unit *unit)
{
	const struct range *range = context;

	return unit->kind == SIM_UNIT_WRITE && unit->offset >= range->offset && unit->offset + unit->length <= range->end
		       ? SIM_LOST
		       : SIM_KEPT;
}

static void put_pair(struct slf_db *db)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	bytes_fill(data, PART_BYTES, PART_BYTES, false);
	must_work(slf_put(txn, SLF_MAIN, text("c"), slice(data, PART_BYTES)));
	must_work(slf_put(txn, SLF_MAIN, text("d"), slice(data, PART_BYTES)));
	must_work(slf_commit(txn, NULL));
	must_work(commit_write_out(&db->core.commit));
}

/* Of two slabs that were written and not flushed a power cut takes a value of the first one, be it its first or its second: the
 * commit would be there without it, and so would the one that stands on it. */
Test(replay_log, lost_parts)
{
	struct sim_disk *disk, *now;
	struct range ranges[] = { { 0, 0 }, { 0, 0 }, { 0, 0 } };
	struct slf_db *db = open_new(&disk);

	db->core.tuning.sync = SLF_SYNC_NONE;
	db->core.commit.sync = SLF_SYNC_NONE;
	put_pair(db);
	put(db, "a", ROW_BYTES);
	must_work(commit_write_out(&db->core.commit));
	now = sim_disk_kill(disk);
	slab_forger_read(&forger, now);
	forger.count--; /* the pair's */
	for (unsigned i = 0; i < 2; i++) {
		struct entry_ref part;

		entry_ref_decode(last_part(i), &part);
		ranges[i + 1] = (struct range){ align_up(part.position, 4096), align_down(part.position + part.length, 4096) };
	}
	free(forger.bytes);
	sim_disk_free(now);
	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
		struct sim_disk *crashed = sim_disk_crash(disk, lose_range, &ranges[i]);
		struct slf_db *again;

		must_work(open_again(crashed, 0, &again));
		cr_assert_eq(has(again, "c", PART_BYTES), i == 0);
		cr_assert_eq(has(again, "d", PART_BYTES), i == 0);
		cr_assert_eq(has(again, "a", ROW_BYTES), i == 0);
		must_work(slf_close(again));
		sim_disk_free(crashed);
	}
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* ---- Commits ----------------------------------------------------------------------------------------------------- */

/* Opening says so, for a writer and for a reader. */
static void expect_refusal(struct sim_disk *disk, const char *says, const char *says_not)
{
	for (unsigned i = 0; i < 2; i++) {
		struct slf_errinfo info = { .size = sizeof(info) };
		struct slf_db *db;

		cr_assert_eq(open_again(disk, i ? SLF_READONLY : 0, &db), SLF_ECORRUPT, "%s", says);
		must_work(slf_errinfo(&info));
		must(strstr(info.text, says) != NULL);
		must(!says_not || !strstr(info.text, says_not));
	}
}

#define CHUNKED_VALUES 60

/* The actions of one commit, too many for the log, go to bulk in chunks, on which it depends as on its values. */
static struct sim_disk *chunk_disk(void)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	for (unsigned i = 0; i < CHUNKED_VALUES; i++) {
		bytes_fill(data, LONG_BYTES + i, LONG_BYTES + i, false);
		must_work(slf_put(txn, SLF_MAIN, text(name_of(i)), slice(data, LONG_BYTES + i)));
	}
	must_work(slf_commit(txn, NULL));
	return killed(disk, db);
}

/* The last commit's first chunk, in the forger's bytes. */
static uint8_t *first_chunk(size_t *slab)
{
	uint8_t *body = slab_forger_find(&forger, LOG_FINAL, slab);

	must(get_u16(body + 50) > 2);
	return body + COMMIT_BODY_BYTES + get_u16(body + 48);
}

/* A commit whose actions are in bulk would be lost, or replayed in part. */
Test(replay_log, actions_in_chunks)
{
	struct sim_disk *disk = chunk_disk();
	struct slf_db *db;

	must_work(open_again(disk, 0, &db));
	cr_assert_eq(db->core.stats.values.replay_commits, 1);
	cr_assert_eq(db->core.stats.values.replay_actions, CHUNKED_VALUES);
	for (unsigned i = 0; i < CHUNKED_VALUES; i++)
		must(has(db, name_of(i), LONG_BYTES + i));
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* A commit that names its chunks wrongly would be replayed in part, or keep the opening busy for ever. */
Test(replay_log, chunks_that_cannot_be)
{
	static const char *const too_many = "more actions than the files can hold", *const differs = "logical digest";
	struct sim_disk *origin = chunk_disk();

	for (unsigned i = 0; i < 3; i++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		size_t slab = 0;
		uint8_t *chunk;

		slab_forger_read(&forger, disk);
		chunk = first_chunk(&slab);
		if (i == 0)
			put_u32(chunk + 16, (uint32_t)forger.length + 1);
		else if (i == 1)
			put_u32(chunk + 16, (uint32_t)forger.length);
		else
			chunk[8] ^= 1;
		slab_forger_write(&forger, disk, slab);
		expect_refusal(disk, i ? "" : too_many, i ? too_many : differs);
		expect_refusal(disk, "", differs);
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* The length from which on values go to bulk is the same for who writes a commit and for who reads it. */
Test(replay_log, value_too_long_for_the_log)
{
	struct sim_disk *disk, *origin;
	struct slf_db *db = open_new(&disk);

	put(db, "a", 2000);
	origin = killed(disk, db);
	for (unsigned i = 0; i < 2; i++) {
		disk = sim_disk_kill(origin);
		slab_forger_read(&forger, disk);
		forger.meta[0].bulk_bytes = 2000 + i;
		forger.meta[1].bulk_bytes = 2000 + i;
		slab_forger_write(&forger, disk, forger.count);
		if (i == 0) {
			expect_refusal(disk, "too long for it", NULL);
		} else {
			must_work(open_again(disk, 0, &db));
			must(has(db, "a", 2000));
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* A deletion of what is not there would be passed over, or be told in the words of a lookup. */
Test(replay_log, deletion_of_nothing)
{
	struct sim_disk *disk = row_disk();
	size_t slab = 0;
	uint8_t *action;

	slab_forger_read(&forger, disk);
	action = slab_forger_find(&forger, LOG_FINAL, &slab) + COMMIT_BODY_BYTES;
	must(action[0] == ACTION_PUT);
	action[0] = ACTION_DEL; /* its value is now the end of its key */
	put_u16(action + 2, (uint16_t)(get_u16(action + 2) + get_u32(action + 8)));
	put_u32(action + 8, 0);
	slab_forger_write(&forger, disk, slab);
	expect_refusal(disk, "deletes what is not there", NULL);
	sim_disk_free(disk);
}

/* A commit with a tree that it makes, and nothing else. */
static void make_tree(struct slf_db *db, const char *name)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	uint32_t id;

	must_work(slf_tree_open(txn, name, SLF_CREATE, &id));
	must_work(slf_commit(txn, NULL));
}

/* The id of a tree would be given a second time, or ids be lost to what looks like one. */
Test(replay_log, ids_of_trees)
{
	struct sim_disk *disk;
	struct slf_db *db = open_new(&disk);
	uint32_t next;

	make_tree(db, "first");
	make_tree(db, "second");
	put(db, "zzzzzzzz", ROW_BYTES);
	next = db->core.versions.tip->next_tree;
	cr_assert_eq(next, SLF_MAIN + 3);
	disk = killed(disk, db);
	must_work(open_again(disk, 0, &db));
	cr_assert_eq(db->core.versions.tip->next_tree, next);
	make_tree(db, "third");
	disk = killed(disk, db);
	must_work(open_again(disk, 0, &db));
	cr_assert_eq(db->core.versions.tip->next_tree, next + 1);
	must_work(slf_close(db));
	sim_disk_free(disk);
}
