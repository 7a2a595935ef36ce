/* SPDX-License-Identifier: MIT */
/*
 * What recovery reads of the log: actions that stand in bulk, slabs that are longer than a sector, what a log may name and what
 * not, devices that read badly, or without O_DIRECT. test_recover has the order of its steps.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "entry.h"
#include "gate_rig.h"
#include "node_image.h"
#include "seal.h"
#include "slab_forger.h"

#define MANY 7000u /* puts of one transaction, whose actions go to bulk */
#define MEDIUM_BYTES 5000u /* more than a sector */

static uint8_t data[RIG_LARGE_BYTES];

static void set_up(void)
{
	bytes_fill(data, sizeof(data), 1, false);
}

TestSuite(replay, .init = set_up, .timeout = 120);

static void put_size(struct slf_db *db, const char *key, size_t size)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	must_work(slf_put(txn, SLF_MAIN, text(key), slice(data, size)));
	must_work(slf_commit(txn, NULL));
}

static bool has_size(struct slf_db *db, const char *key, size_t size)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_slice value;
	int result = slf_get(txn, SLF_MAIN, text(key), &value);
	bool has = result == 0 && slice_is(value, data, size);

	must(result >= 0);
	slf_abort(txn);
	return has;
}

static int reopen(struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	return disk_open(disk, flags | SLF_NO_THREADS, SLF_SYNC_COMMIT, db);
}

/* Closes the database on a disk that is thrown away: what a killed process would leave. */
static struct sim_disk *kill_and_free(struct sim_disk *disk, struct slf_db *db)
{
	struct sim_disk *killed = sim_disk_kill(disk);

	must_work(slf_close(db));
	sim_disk_free(disk);
	return killed;
}

/* ---- Actions in bulk --------------------------------------------------------------------------------------------- */

static const char *many_name(unsigned number, char *name)
{
	snprintf(name, 16, "many%06u", number);
	return name;
}

static void put_many(struct slf_db *db)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char name[16];

	for (unsigned i = 0; i < MANY; i++)
		must_work(slf_put(txn, SLF_MAIN, text(many_name(i, name)), slice(data, 100)));
	must_work(slf_commit(txn, NULL));
}

/* All of the many, or none. */
static bool has_many(struct slf_db *db)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_slice value;
	unsigned count = 0;
	char name[16];

	for (unsigned i = 0; i < MANY; i++)
		count += slf_get(txn, SLF_MAIN, text(many_name(i, name)), &value) == 0 && slice_is(value, data, 100);
	slf_abort(txn);
	must(count == 0 || count == MANY);
	return count;
}

/* A database that was killed behind a commit whose actions are in bulk, and if behind one more commit. */
static struct sim_disk *bulk_disk(bool behind)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(reopen(disk, SLF_CREATE, &db));
	put_size(db, "before", 10);
	put_many(db);
	if (behind)
		put_size(db, "behind", 10);
	return kill_and_free(disk, db);
}

/* The last slab that has parts. */
static size_t parts_find(const struct slab_forger *forger)
{
	size_t i = forger->count;

	while (i-- > 0)
		if (forger->slabs[i].part_count)
			return i;
	must(!"no slab has parts");
	return 0;
}

/* Actions that did not fit into the slab would not be replayed. */
Test(replay, actions_in_bulk)
{
	for (unsigned behind = 0; behind < 2; behind++) {
		struct sim_disk *disk = bulk_disk(behind);
		struct slf_db *db = NULL;

		for (unsigned i = 0; i < 2; i++) {
			must_work(reopen(disk, i ? 0 : SLF_READONLY, &db));
			cr_assert_eq(db->core.stats.values.replay_actions, 1 + MANY + behind);
			cr_assert(has_many(db) && has_size(db, "before", 10));
			cr_assert_eq(has_size(db, "behind", 10), behind);
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
}

/* Actions that are damaged would be applied in part, or a commit that was durable be given up in silence. */
Test(replay, damaged_actions_in_bulk)
{
	static struct slab_forger forger;
	uint8_t byte = 0;

	for (unsigned behind = 0; behind < 2; behind++) {
		struct sim_disk *disk = bulk_disk(behind);
		struct slf_db *db = NULL;
		struct entry_ref part;

		slab_forger_read(&forger, disk);
		slab_part(forger.bytes + forger.places[parts_find(&forger)], 3, &part);
		slab_forger_write(&forger, disk, forger.count);
		must_work(sim_disk_peek_durable(disk, RIG_PATH, position_offset(part.position) + 5000, &byte, 1));
		byte ^= 1;
		must_work(sim_disk_poke(disk, RIG_PATH, position_offset(part.position) + 5000, &byte, 1));
		for (unsigned i = 0; i < 2; i++) {
			int result = reopen(disk, i ? 0 : SLF_READONLY, &db);

			cr_assert_eq(result, behind ? SLF_ECORRUPT : 0);
			if (result)
				continue;
			cr_assert(!has_many(db) && has_size(db, "before", 10));
			must_work(slf_close(db));
		}
		sim_disk_free(disk);
	}
}

/* Parts that cannot be would be looked for, beyond the files or on ones that are not there. */
Test(replay, parts_that_cannot_be)
{
	static const struct {
		uint64_t position;
		uint32_t length;
	} cases[] = { { (uint64_t)9 << OFFSET_BITS, 0 }, { 0, 8 }, { SIM_FILE_BYTES_MAX, 0 }, { 0, UINT32_MAX } };
	static struct slab_forger forger;
	struct sim_disk *origin = bulk_disk(false);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *db = NULL;
		uint8_t *part;
		size_t slab;

		slab_forger_read(&forger, disk);
		slab = parts_find(&forger);
		part = forger.bytes + forger.places[slab] + SLAB_HEADER_BYTES;
		if (cases[i].position)
			put_u64(part, cases[i].position);
		if (cases[i].length)
			put_u32(part + 16, cases[i].length);
		slab_forger_write(&forger, disk, slab);
		must_work(reopen(disk, 0, &db));
		cr_assert(!has_many(db) && has_size(db, "before", 10), "case %zu", i);
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* One entry that slabs name again and again would be read as often: for hours, in a file that is made for it. */
Test(replay, part_that_is_named_by_all)
{
	static uint8_t huge[512 * KIB];
	static struct slab_forger forger;
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	char name[16];
	uint8_t *parts;
	size_t slab;

	bytes_fill(huge, sizeof(huge), 2, false);
	must_work(reopen(disk, SLF_CREATE, &db));
	txn = txn_begin(db, SLF_WRITE);
	must_work(slf_put(txn, SLF_MAIN, text("huge"), slice(huge, sizeof(huge))));
	for (unsigned i = 0; i < 40; i++)
		must_work(slf_put(txn, SLF_MAIN, text(many_name(i, name)), slice(data, sizeof(data))));
	must_work(slf_commit(txn, NULL));
	disk = kill_and_free(disk, db);
	slab_forger_read(&forger, disk);
	slab = parts_find(&forger);
	must(forger.slabs[slab].part_count == 41 && forger.length < 40 * sizeof(huge));
	parts = forger.bytes + forger.places[slab] + SLAB_HEADER_BYTES;
	for (size_t i = 1; i < 41; i++)
		memcpy(parts + i * SLAB_PART_BYTES, parts, SLAB_PART_BYTES);
	slab_forger_write(&forger, disk, slab);
	for (unsigned i = 0; i < 2; i++) {
		struct slf_errinfo info = { .size = sizeof(info) };

		cr_assert_eq(reopen(disk, i ? 0 : SLF_READONLY, &db), SLF_ECORRUPT);
		must_work(slf_errinfo(&info));
		cr_assert(strstr(info.text, "name more bulk than the files can hold"), "%s", info.text);
	}
	sim_disk_free(disk);
}

/* A commit entry that names other bulk than its slab does would make recovery read without end, or nothing. */
Test(replay, chunks_that_cannot_be)
{
	static const uint32_t lengths[] = { 0x7fffffff, 8, ACTIONS_ENTRY_HEADER_BYTES };
	static struct slab_forger forger;
	struct sim_disk *origin = bulk_disk(true);

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *db = NULL;
		struct log_record record;
		uint64_t offset = 0;
		size_t slab;

		slab_forger_read(&forger, disk);
		slab = parts_find(&forger);
		must_work(slab_next_record(forger.bytes + forger.places[slab], &forger.slabs[slab], &offset, &record));
		must(record.kind == LOG_FINAL && get_u16((const uint8_t *)record.body.data + 50) > 1);
		put_u32((uint8_t *)(uintptr_t)record.body.data + COMMIT_BODY_BYTES + SLAB_PART_BYTES + 16, lengths[i]);
		slab_forger_write(&forger, disk, slab);
		for (unsigned j = 0; j < 2; j++)
			cr_assert_eq(reopen(disk, j ? 0 : SLF_READONLY, &db), SLF_ECORRUPT, "case %zu", i);
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* ---- Actions that cannot be --------------------------------------------------------------------------------------- */

/* What a commit says of a tree of ours would be believed: an id from a value that has none, the deletion of a name. */
Test(replay, actions_of_the_names)
{
	static const char *const texts[] = { "logical digest", "logical digest", "deletes what is not there" };
	static struct slab_forger forger;
	struct slf_errinfo info = { .size = sizeof(info) };
	const uint8_t ones[4] = { 0xff, 0xff, 0xff, 0xff };

	for (unsigned way = 0; way < ARRAY_SIZE(texts); way++) {
		struct sim_disk *disk = sim_disk_new();
		struct slf_db *db = NULL;
		struct slf_txn *txn;
		uint8_t *body;
		size_t slab = 0;

		must_work(reopen(disk, SLF_CREATE, &db));
		put_size(db, "key", 10);
		txn = txn_begin(db, SLF_WRITE);
		if (way == 2)
			must_work(slf_del(txn, SLF_MAIN, text("key")));
		else
			must_work(slf_put(txn, SLF_MAIN, text("other"), slice(ones, way ? sizeof(ones) : 0)));
		must_work(slf_commit(txn, NULL));
		disk = kill_and_free(disk, db);
		slab_forger_read(&forger, disk);
		body = slab_forger_find(&forger, LOG_FINAL, &slab);
		put_u32(body + COMMIT_BODY_BYTES + 4, TREE_NAMES);
		slab_forger_write(&forger, disk, slab);
		cr_assert_eq(reopen(disk, SLF_READONLY, &db), SLF_ECORRUPT);
		must_work(slf_errinfo(&info));
		cr_assert(strstr(info.text, texts[way]), "way %u: %s", way, info.text);
		sim_disk_free(disk);
	}
}

static uint8_t *find_bytes(void *context, uint64_t position, uint64_t length)
{
	struct slab_forger *forger = context;

	return position <= SLAB_FORGER_BYTES && length <= SLAB_FORGER_BYTES - position ? forger->bytes + position : NULL;
}

/* A name whose record has no room for an id would lead to whatever stands behind it. */
Test(replay, name_without_an_id)
{
	static struct slab_forger forger;
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;
	struct slf_txn *txn;
	char name[256] = "";
	uint32_t tree = 0;
	uint8_t *body;
	size_t slab = 0;

	must_work(reopen(disk, SLF_CREATE, &db));
	put_size(db, "name", 0);
	disk = kill_and_free(disk, db);
	slab_forger_read(&forger, disk);
	body = slab_forger_find(&forger, LOG_FINAL, &slab);
	put_u32(body + COMMIT_BODY_BYTES + 4, TREE_NAMES);
	seal_database(find_bytes, &forger, forger.places, forger.count); /* the logical digest, too */
	slab_forger_write(&forger, disk, slab);
	must_work(reopen(disk, SLF_READONLY, &db));
	txn = txn_begin(db, SLF_READ);
	cr_assert_eq(slf_tree_open(txn, "name", 0, &tree), SLF_ECORRUPT);
	cr_assert_eq(slf_tree_next(txn, name, sizeof(name), &tree), SLF_ECORRUPT);
	slf_abort(txn);
	must_work(slf_close(db));
	sim_disk_free(disk);
}

/* The root of a tree that cannot be one would be followed. */
Test(replay, impossible_roots_of_trees)
{
	static const struct {
		size_t offset; /* in the root */
		uint64_t added;
	} cases[] = { { 0, 8 }, { 28, (uint64_t)-1 }, { 28, NODE_LEVELS_MAX } };
	static struct slab_forger forger;
	struct sim_disk *origin = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(reopen(origin, SLF_CREATE, &db));
	put_size(db, "key", 10);
	must_work(slf_checkpoint(db));
	origin = kill_and_free(origin, db);
	for (size_t i = 0; i < ARRAY_SIZE(cases) + 1; i++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_txn *txn;
		struct node *leaf;
		uint64_t position;
		size_t slab = 0;
		uint8_t *root;

		slab_forger_read(&forger, disk);
		position = get_u64(slab_forger_find(&forger, LOG_MARK, &slab) + 64);
		leaf = (struct node *)(void *)(forger.bytes + position);
		must(node_kind(leaf) == NODE_LEAF && node_count(leaf) == 1 && node_tree(leaf) == TREE_ROOTS);
		root = (uint8_t *)(uintptr_t)record_ref(leaf_record(leaf, 0));
		must(get_u32(root + 28) == 1);
		if (i < ARRAY_SIZE(cases) && cases[i].offset)
			put_u32(root + cases[i].offset, get_u32(root + cases[i].offset) + (uint32_t)cases[i].added);
		else if (i < ARRAY_SIZE(cases))
			put_u64(root, get_u64(root) + cases[i].added);
		seal_database(find_bytes, &forger, forger.places, forger.count);
		must_work(sim_disk_poke(disk, RIG_PATH, position, leaf, node_length(leaf)));
		slab_forger_write(&forger, disk, slab);
		must_work(reopen(disk, SLF_READONLY, &db));
		txn = txn_begin(db, SLF_READ);
		cr_assert_eq(slf_get(txn, SLF_MAIN, text("key"), NULL), i < ARRAY_SIZE(cases) ? SLF_ECORRUPT : 0, "case %zu", i);
		slf_abort(txn);
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	sim_disk_free(origin);
}

/* A value that should stand in bulk would be put on the heap, however long. */
Test(replay, values_too_long_for_the_log)
{
	static struct slab_forger forger;
	struct slf_errinfo info = { .size = sizeof(info) };
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(reopen(disk, SLF_CREATE, &db));
	put_size(db, "key", MEDIUM_BYTES);
	disk = kill_and_free(disk, db);
	slab_forger_read(&forger, disk);
	for (unsigned slot = 0; slot < 2; slot++)
		forger.meta[slot].bulk_bytes = MEDIUM_BYTES;
	slab_forger_write(&forger, disk, forger.count);
	cr_assert_eq(reopen(disk, 0, &db), SLF_ECORRUPT);
	must_work(slf_errinfo(&info));
	cr_assert(strstr(info.text, "too long"), "%s", info.text);
	sim_disk_free(disk);
}

/* ---- Places that cannot be ---------------------------------------------------------------------------------------- */

/* An extent that the last slab announces, and that is not the log's or lies behind the file, would be looked into for more. */
Test(replay, strange_next_extents)
{
	static const uint64_t places[] = { EXTENT_BYTES, SIM_FILE_BYTES_MAX - EXTENT_BYTES, SEGMENT_BYTES - EXTENT_BYTES };
	static struct slab_forger forger;
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(reopen(disk, SLF_CREATE, &db));
	put_size(db, "key", 10);
	disk = kill_and_free(disk, db);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		slab_forger_read(&forger, disk);
		forger.slabs[forger.count - 1].next = places[i];
		slab_forger_write(&forger, disk, forger.count - 1);
		must_work(reopen(disk, SLF_READONLY, &db));
		cr_assert(has_size(db, "key", 10));
		must_work(slf_close(db));
	}
	sim_disk_free(disk);
}

/* Six commits; the first two of the last `left` slabs are damaged. */
static struct sim_disk *damaged_disk(unsigned left)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;
	uint64_t places[6];

	must_work(reopen(disk, SLF_CREATE, &db));
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		char key[2] = { (char)('a' + i), 0 };

		places[i] = position_offset(db->core.log.end.position);
		put_size(db, key, 10);
	}
	disk = kill_and_free(disk, db);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t place = places[ARRAY_SIZE(places) - left + i] + 120;
		uint8_t byte;

		must_work(sim_disk_peek_durable(disk, RIG_PATH, place, &byte, 1));
		byte ^= 4;
		must_work(sim_disk_poke(disk, RIG_PATH, place, &byte, 1));
	}
	return disk;
}

/* Two slabs behind each other are damaged: the second is no evidence of anything, the third is. */
Test(replay, damaged_slabs_are_no_evidence)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	struct sim_disk *disk = damaged_disk(2);
	struct slf_db *db = NULL;

	must_work(reopen(disk, 0, &db));
	cr_assert(has_size(db, "d", 10) && !has_size(db, "e", 10));
	must_work(slf_close(db));
	sim_disk_free(disk);

	disk = damaged_disk(3);
	cr_assert_eq(reopen(disk, 0, &db), SLF_ECORRUPT);
	must_work(slf_errinfo(&info));
	cr_assert_not_null(strstr(info.text, "the newest good commit is 3"), "%s", info.text);
	sim_disk_free(disk);
}

/* A writer would cut off commits whose evidence it could not read, and a reader be kept from what is left. */
Test(replay, evidence_that_cannot_be_read)
{
	bool fired = true;

	for (uint64_t nth = 1; fired; nth++) {
		struct sim_fault fault = { .call = SIM_READ, .nth = nth, .error = -EIO };
		struct sim_disk *disk = damaged_disk(3);
		struct slf_db *db = NULL;
		int result;

		sim_disk_add_fault(disk, &fault);
		result = reopen(disk, 0, &db);
		fired = sim_disk_faults_fired(disk) > 0;
		cr_assert(result == -EIO || result == SLF_ECORRUPT, "read %u: %d", (unsigned)nth, result);
		sim_disk_clear_faults(disk);
		must_work(reopen(disk, SLF_READONLY, &db));
		cr_assert(has_size(db, "c", 10) && !has_size(db, "d", 10));
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
}

/* ---- Reading ------------------------------------------------------------------------------------------------------ */

/* Slabs of more than a sector, parts that are values, and actions in bulk. */
static struct sim_disk *mixed_disk(void)
{
	struct sim_disk *disk = sim_disk_new();
	struct slf_db *db = NULL;

	must_work(reopen(disk, SLF_CREATE, &db));
	put_size(db, "medium", MEDIUM_BYTES);
	put_size(db, "large", RIG_LARGE_BYTES);
	put_size(db, "last", MEDIUM_BYTES + 1);
	put_many(db);
	return kill_and_free(disk, db);
}

static bool has_mixed(struct slf_db *db)
{
	return has_size(db, "medium", MEDIUM_BYTES) && has_size(db, "large", RIG_LARGE_BYTES) &&
	       has_size(db, "last", MEDIUM_BYTES + 1);
}

/* A read that fails would be taken for the end of the log, or for a part that never reached the disk. */
Test(replay, reads_that_fail)
{
	struct sim_disk *origin = mixed_disk();
	uint64_t fired = 1, nth;

	for (nth = 1; fired; nth++) {
		struct sim_disk *disk = sim_disk_kill(origin);
		struct slf_db *db = NULL;
		int result;

		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_READ, .nth = nth, .error = -EIO });
		result = reopen(disk, 0, &db);
		fired = sim_disk_faults_fired(disk);
		sim_disk_clear_faults(disk);
		must(result == 0 || result == -EIO);
		if (result)
			must_work(reopen(disk, 0, &db));
		cr_assert(has_mixed(db) && has_many(db));
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
	cr_assert_gt(nth, 20);
	sim_disk_free(origin);
}

/* Turns a byte when as many reads have been made. */
struct fickle {
	uint64_t reads, nth, place;
};

static void turn_byte(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct fickle *fickle = context;
	uint8_t byte;

	if (call != SIM_READ || ++fickle->reads != fickle->nth)
		return;
	must_work(sim_disk_peek_durable(disk, RIG_PATH, fickle->place, &byte, 1));
	byte ^= 0x10;
	must_work(sim_disk_poke(disk, RIG_PATH, fickle->place, &byte, 1));
}

/* Recovery reads slabs more than once: what reads otherwise the second time would be passed over. */
Test(replay, log_that_changes_while_it_is_read)
{
	static struct slab_forger forger;
	struct sim_disk *origin = mixed_disk();
	unsigned refused = 0, opened = 0;
	uint64_t places[3];

	slab_forger_read(&forger, origin);
	must(forger.count > 4);
	places[0] = forger.places[forger.count - 1];
	places[1] = forger.places[forger.count - 3];
	places[2] = forger.places[0];
	slab_forger_write(&forger, origin, forger.count);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		struct fickle fickle = { .nth = 1, .place = places[i] + 110 };

		for (bool turned = true; turned; fickle.nth++) {
			struct sim_disk *disk = sim_disk_kill(origin);
			struct slf_db *db = NULL;
			int result;

			fickle.reads = 0;
			sim_disk_set_hook(disk, turn_byte, &fickle);
			result = reopen(disk, SLF_READONLY, &db);
			sim_disk_set_hook(disk, NULL, NULL);
			turned = fickle.reads >= fickle.nth;
			must(result == 0 || result == SLF_ECORRUPT);
			refused += result != 0;
			opened += result == 0;
			if (!result) {
				/* a reader gets what stands before the damage */
				must(db->core.stats.values.replay_commits < 4 || (has_mixed(db) && has_many(db)));
				must_work(slf_close(db));
			}
			sim_disk_free(disk);
		}
	}
	cr_assert(refused > 3 && opened > 3);
	sim_disk_free(origin);
}

/* ---- Devices ------------------------------------------------------------------------------------------------------ */

/* Where there are no direct transfers, or only in units that are larger than the sectors the log was made for, it would not be
 * written or read. */
Test(replay, without_direct_transfers)
{
	static const uint32_t units[] = { 0, 4096 };

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		struct sim_disk *disk = sim_disk_new();
		struct slf_db *db = NULL;
		struct slf_txn *txn;
		uint64_t seq = 0;

		must_work(reopen(disk, SLF_CREATE, &db));
		must(db->core.log.direct);
		must_work(slf_close(db));
		sim_disk_set_direct(disk, units[i]);
		must_work(reopen(disk, 0, &db));
		must(!db->core.log.direct);
		put_size(db, "large", RIG_LARGE_BYTES);
		must_work(log_spare(&db->core.log, true));
		txn = txn_begin(db, SLF_WRITE);
		must_work(slf_put(txn, SLF_MAIN, text("failed"), slice(data, RIG_LARGE_BYTES)));
		must_work(slf_commit_async(txn, &seq));
		sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_WRITE, .error = -EIO, .partial = true });
		cr_assert_eq(slf_wait(db, seq, -1), -EIO);
		put_size(db, "last", RIG_LARGE_BYTES);
		disk = kill_and_free(disk, db);
		must_work(reopen(disk, 0, &db));
		cr_assert(has_size(db, "large", RIG_LARGE_BYTES) && has_size(db, "last", RIG_LARGE_BYTES));
		cr_assert(!has_size(db, "failed", RIG_LARGE_BYTES));
		must_work(slf_close(db));
		sim_disk_free(disk);
	}
}
