/* SPDX-License-Identifier: MIT */
/*
 * A program of calls of the public interface, run on the simulated disk and against the oracle. The input: four bytes of
 * options, then steps, each a byte that chooses it and the bytes that it takes; where the input ends zeros follow. What is
 * read is compared; after a kill or a power cut the state found has to be one that was committed, not older than what was
 * acknowledged.
 */
#include <stdio.h>
#include <stdlib.h>

#include "db.h"
#include "oracle.h"
#include "rig.h"

#define NAMES_TREE 1 /* in the oracle: name -> id of each named tree */
#define TREES 4
#define SNAPSHOTS 2
#define STEPS_MAX 150
#define OPENS_MAX 3 /* an opening costs more than a hundred steps */
#define COMMITS_MAX (ORACLE_VERSIONS - 2)
#define BATCH 24

static struct program {
	const uint8_t *data;
	size_t size, at;
	struct sim_disk *disk;
	struct slf_db *db;
	struct slf_options options;
	struct oracle oracle;
	struct slf_txn *txn;            /* the writer, or NULL */
	struct oracle_version *version; /* what it sees */
	bool changed;
	unsigned commits, opens;
	uint64_t acked; /* seq of the newest commit that has to survive */
	struct slf_cursor *cursor; /* in txn, over cursor_tree */
	uint32_t cursor_tree;
	struct slf_txn *snapshots[SNAPSHOTS];
	struct oracle_version *seen[SNAPSHOTS];
} program;

static uint8_t take(void)
{
	return program.at < program.size ? program.data[program.at++] : 0;
}

/* ---- Keys and values --------------------------------------------------------------------------------------------- */

/* One of 256: short ones, ones with a long beginning in common, a few long ones, the empty one. */
static struct slf_slice key_make(uint8_t number, uint8_t *buffer)
{
	size_t size = 0;

	if (number == 0)
		return bytes(buffer, 0);
	if (number % 4 == 1) {
		memcpy(buffer, "a beginning in common/", size = 22);
	} else if (number % 64 == 2) {
		memset(buffer, 'l', size = 300);
	}
	buffer[size++] = (uint8_t)(number * 151u);
	if (number % 3 == 0)
		buffer[size++] = number;
	return bytes(buffer, size);
}
#define KEY_BYTES 320

static struct slf_slice value_take(uint8_t *buffer)
{
	static const uint16_t sizes[] = { 0, 1, 16, 17, 60, 127, 128, 129, 300, 1000, 2100, 5000 };
	uint8_t choice = take(), fill = take();
	size_t size = choice >= 250 ? 40000 : sizes[choice % ARRAY_SIZE(sizes)] + choice / 64;

	bytes_fill(buffer, size, fill, fill & 1);
	return bytes(buffer, size);
}
#define VALUE_BYTES 40064

static uint8_t value_buffer[VALUE_BYTES], key_buffer[KEY_BYTES], other_buffer[KEY_BYTES];

static struct slf_range range_take(void)
{
	struct slf_range range = { .flags = take() & 0x1f };

	range.flags |= range.flags & SLF_LOWER_EXCLUSIVE ? SLF_LOWER : 0;
	range.flags |= range.flags & SLF_UPPER_INCLUSIVE ? SLF_UPPER : 0;
	range.low = key_make(take(), key_buffer);
	range.high = key_make(take(), other_buffer);
	if (range.flags & SLF_PREFIX) {
		range.flags = SLF_PREFIX;
		range.low.size = u64_min(range.low.size, range.high.size);
	}
	return range;
}

/* The id of one of the trees that a version has. */
static uint32_t tree_take(const struct oracle_version *version)
{
	char name[8];
	const struct oracle_entry *entry;
	uint32_t tree = SLF_MAIN;

	snprintf(name, sizeof(name), "t%u", take() % TREES);
	entry = oracle_get(version, NAMES_TREE, text(name));
	if (entry)
		memcpy(&tree, entry->value.data, sizeof(tree));
	return tree;
}

/* ---- Comparing --------------------------------------------------------------------------------------------------- */

static bool same(struct slf_slice a, struct slf_slice b)
{
	return slice_is(a, b.data, b.size);
}

static void compare_range(struct slf_txn *txn, const struct oracle_version *version, uint32_t tree,
			  const struct slf_range *range, bool forward)
{
	struct slf_slice key, value;
	struct slf_cursor *cursor = NULL;
	size_t first, end;

	oracle_range(version, tree, range, &first, &end);
	must_work(slf_cursor_open(txn, tree, range, &cursor));
	for (size_t i = first; i < end; i++) {
		const struct oracle_entry *entry = version->entries[forward ? i : first + end - 1 - i];

		must_work(forward ? slf_cursor_next(cursor, &key, &value) : slf_cursor_prev(cursor, &key, &value));
		must(same(key, entry->key) && same(value, entry->value));
	}
	must((forward ? slf_cursor_next(cursor, &key, &value) : slf_cursor_prev(cursor, &key, &value)) == SLF_END);
	slf_cursor_close(cursor);
}

static void compare_tree(struct slf_txn *txn, const struct oracle_version *version, uint32_t tree, bool forward)
{
	struct slf_range range = { .flags = SLF_TRANSIENT };
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	size_t first, end;

	oracle_range(version, tree, NULL, &first, &end);
	must_work(slf_tree_stat(txn, tree, &stat));
	must(stat.entries == end - first);
	compare_range(txn, version, tree, &range, forward);
}

static void compare_all(struct slf_txn *txn, const struct oracle_version *version, bool forward)
{
	size_t i = oracle_find(version, NAMES_TREE, bytes(NULL, 0));
	char name[256] = "";
	uint32_t tree = 0;

	for (; i < version->count && version->entries[i]->tree == NAMES_TREE; i++) {
		must_work(slf_tree_next(txn, name, sizeof(name), &tree));
		must(same(text(name), version->entries[i]->key));
		must(slice_is(version->entries[i]->value, &tree, sizeof(tree)));
		compare_tree(txn, version, tree, forward);
	}
	must(slf_tree_next(txn, name, sizeof(name), &tree) == SLF_END);
	compare_tree(txn, version, SLF_MAIN, forward);
}

static void compare_batch(struct slf_txn *txn, const struct oracle_version *version, uint32_t tree)
{
	static uint8_t buffers[BATCH][KEY_BYTES];
	struct slf_slice keys[BATCH], values[BATCH];
	int results[BATCH];
	uint8_t from = take(), step = take();

	for (unsigned i = 0; i < BATCH; i++)
		keys[i] = key_make((uint8_t)(from + i * step), buffers[i]);
	must_work(slf_multi_get(txn, tree, keys, BATCH, values, results));
	for (unsigned i = 0; i < BATCH; i++) {
		const struct oracle_entry *entry = oracle_get(version, tree, keys[i]);

		must(results[i] == (entry ? 0 : SLF_NOTFOUND));
		must(!entry || same(values[i], entry->value));
	}
}

static void compare_one(struct slf_txn *txn, const struct oracle_version *version, uint32_t tree)
{
	struct slf_slice key = key_make(take(), key_buffer), value = text("untouched");
	const struct oracle_entry *entry = oracle_get(version, tree, key);

	must(slf_get(txn, tree, key, NULL) == (entry ? 0 : SLF_NOTFOUND));
	must(slf_get(txn, tree, key, &value) == (entry ? 0 : SLF_NOTFOUND));
	must(same(value, entry ? entry->value : text("untouched")));
}

/* ---- The handle -------------------------------------------------------------------------------------------------- */

static void open_database_again(void)
{
	static struct stats unused;
	struct io *io = NULL;

	sim_disk_io(program.disk, &unused, &io);
	must_work(db_open_io(flat_path(0), &program.options, io, &program.db));
}

/* What is found has to be a version; the oracle goes on from it. */
static void adopt(void)
{
	struct slf_txn *txn = txn_begin(program.db, SLF_READ);
	uint64_t seq = slf_txn_seq(txn);
	struct oracle_version *version;

	must(seq >= program.acked);
	oracle_cut(&program.oracle, seq);
	oracle_restart(&program.oracle, seq);
	program.acked = seq;
	version = oracle_begin(&program.oracle);
	compare_all(txn, version, true);
	oracle_version_release(version);
	slf_abort(txn);
}

static void end_snapshot(unsigned i)
{
	if (program.snapshots[i])
		compare_all(program.snapshots[i], program.seen[i], i);
	slf_abort(program.snapshots[i]);
	oracle_version_release(program.seen[i]);
	program.snapshots[i] = NULL;
	program.seen[i] = NULL;
}

static void end_cursor(void)
{
	slf_cursor_close(program.cursor);
	program.cursor = NULL;
}

static void end_txn(void)
{
	end_cursor();
	slf_abort(program.txn);
	oracle_version_release(program.version);
	program.txn = NULL;
	program.version = NULL;
}

static void end_all(void)
{
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		end_snapshot(i);
	end_txn();
}

static void step_reopen(void)
{
	program.opens++;
	end_all();
	must_work(slf_close(program.db));
	program.acked = program.oracle.versions[program.oracle.count - 1]->seq;
	open_database_again();
	adopt();
}

/* The process dies, and the power may fail too. */
static void step_die(void)
{
	uint8_t how = take();
	struct sim_disk *disk;

	program.opens++;
	end_all();
	disk = how % 2 ? sim_disk_kill(program.disk) : sim_disk_crash_seed(program.disk, how, how % 4 == 0);
	commit_poison(&program.db->core.commit);
	(void)slf_close(program.db);
	sim_disk_free(program.disk);
	program.disk = disk;
	open_database_again();
	adopt();
}

static void step_sync(void)
{
	uint64_t seq = 0;

	must_work(slf_sync(program.db, &seq));
	must(seq == program.oracle.versions[program.oracle.count - 1]->seq);
	program.acked = seq;
}

static void step_snapshot(void)
{
	unsigned i = take() % SNAPSHOTS;

	if (program.snapshots[i]) {
		end_snapshot(i);
		return;
	}
	program.snapshots[i] = txn_begin(program.db, SLF_READ);
	program.seen[i] = oracle_acquire(&program.oracle, slf_txn_seq(program.snapshots[i]));
	must(program.seen[i] != NULL);
}

/* ---- The writer -------------------------------------------------------------------------------------------------- */

static void writer_begin(void)
{
	if (program.txn)
		return;
	program.txn = txn_begin(program.db, SLF_WRITE);
	program.version = oracle_begin(&program.oracle);
	program.changed = false;
	must(slf_txn_seq(program.txn) == program.version->seq);
}

static void step_end(bool commit, bool async)
{
	uint64_t seq = 0, base = program.txn ? slf_txn_seq(program.txn) : 0;

	if (!program.txn)
		return;
	if (!commit || program.commits == COMMITS_MAX) {
		end_txn();
		return;
	}
	end_cursor();
	must_work(async ? slf_commit_async(program.txn, &seq) : slf_commit(program.txn, &seq));
	program.txn = NULL;
	if (program.changed)
		must(seq > base);
	if (seq > base) {
		program.commits++;
		oracle_commit(&program.oracle, program.version, seq);
	} else {
		oracle_version_release(program.version);
	}
	program.version = NULL;
	if (!async && program.options.sync == SLF_SYNC_COMMIT)
		program.acked = seq;
}

static void put(uint32_t tree, struct slf_slice key, struct slf_slice value)
{
	must_work(slf_put(program.txn, tree, key, value));
	oracle_put(program.version, tree, key, value);
	program.changed = true;
}

static void del(uint32_t tree, struct slf_slice key)
{
	bool there = oracle_del(program.version, tree, key);

	must(slf_del(program.txn, tree, key) == (there ? 0 : SLF_NOTFOUND));
	program.changed |= there;
}

static void step_run(bool deletes)
{
	uint32_t tree;
	uint8_t from = take(), step = take(), count = take() % 64;
	struct slf_slice value = value_take(value_buffer);

	writer_begin();
	tree = tree_take(program.version);
	if (value.size > 2200)
		value.size = 2200;
	for (unsigned i = 0; i < count; i++) {
		struct slf_slice key = key_make((uint8_t)(from + i * step), key_buffer);

		if (deletes)
			del(tree, key);
		else
			put(tree, key, value);
	}
}

static void step_tree(void)
{
	bool create = take() % 2;
	const struct oracle_entry *entry;
	uint32_t tree = 0;
	char name[8];

	writer_begin();
	snprintf(name, sizeof(name), "t%u", 1 + take() % (TREES - 1));
	entry = oracle_get(program.version, NAMES_TREE, text(name));
	must(slf_tree_open(program.txn, name, create ? SLF_CREATE : 0, &tree) == (entry || create ? 0 : SLF_NOTFOUND));
	must(!entry || slice_is(entry->value, &tree, sizeof(tree)));
	if (entry || !create)
		return;
	oracle_put(program.version, NAMES_TREE, text(name), bytes(&tree, sizeof(tree)));
	program.changed = true;
}

static void step_blob(void)
{
	uint8_t size = take();

	writer_begin();
	bytes_fill(value_buffer, size, size, false);
	must_work(slf_txn_blob(program.txn, bytes(value_buffer, size)));
}

/* A cursor that stays open while the transaction goes on: it is placed, and steps from there in one direction are compared
 * with the tree of that moment. */
static void step_cursor(void)
{
	uint32_t tree;
	struct slf_slice at, key, value;
	size_t first, end, next;
	uint8_t steps;
	bool forward;

	writer_begin();
	tree = tree_take(program.version);
	at = key_make(take(), key_buffer);
	steps = take();
	if (!program.cursor || program.cursor_tree != tree) {
		end_cursor();
		must_work(slf_cursor_open(program.txn, tree, NULL, &program.cursor));
		program.cursor_tree = tree;
	}
	must_work(slf_cursor_seek(program.cursor, at));
	oracle_range(program.version, tree, NULL, &first, &end);
	next = oracle_find(program.version, tree, at);
	forward = steps & 1;
	for (unsigned i = 0; i <= steps / 2 % 8; i++) {
		bool ends = forward ? next == end : next == first;
		const struct oracle_entry *entry = ends ? NULL : program.version->entries[forward ? next : next - 1];

		must((forward ? slf_cursor_next(program.cursor, &key, &value)
			      : slf_cursor_prev(program.cursor, &key, &value)) == (ends ? SLF_END : 0));
		if (ends)
			break;
		must(same(key, entry->key) && same(value, entry->value));
		next += forward ? 1 : -1;
	}
}

static void step_read(void)
{
	struct slf_txn *txn = program.txn;
	struct oracle_version *version = program.version;
	uint8_t how = take();

	if (!txn) {
		txn = txn_begin(program.db, SLF_READ);
		version = oracle_acquire(&program.oracle, slf_txn_seq(txn));
		must(version != NULL);
	}
	switch (how % 4) {
	case 0:
		compare_all(txn, version, how & 4);
		break;
	case 1: {
		uint32_t tree = tree_take(version);
		struct slf_range range = range_take();

		compare_range(txn, version, tree, &range, how & 4);
		break;
	}
	case 2:
		compare_batch(txn, version, tree_take(version));
		break;
	default:
		compare_one(txn, version, tree_take(version));
	}
	if (how & 8)
		must_work(slf_txn_trim(txn));
	if (txn != program.txn) {
		slf_abort(txn);
		oracle_version_release(version);
	}
}

/* ---- Programs ---------------------------------------------------------------------------------------------------- */

static void step(uint8_t choice)
{
	struct slf_slice key;
	uint32_t tree;

	switch (choice % 32) {
	default:
		writer_begin();
		tree = tree_take(program.version);
		key = key_make(take(), key_buffer);
		put(tree, key, value_take(value_buffer));
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		writer_begin();
		tree = tree_take(program.version);
		del(tree, key_make(take(), key_buffer));
		break;
	case 12:
	case 13:
		step_run(false);
		break;
	case 14:
		step_run(true);
		break;
	case 15:
	case 16:
	case 17:
		step_end(true, choice % 32 == 17);
		break;
	case 18:
		step_end(false, false);
		break;
	case 19:
		step_tree();
		break;
	case 20:
	case 21:
		step_cursor();
		break;
	case 22:
	case 23:
		step_read();
		break;
	case 24:
		step_snapshot();
		break;
	case 25:
		if (!program.txn)
			must_work(slf_checkpoint(program.db));
		break;
	case 26:
		if (!program.txn)
			step_sync();
		break;
	case 27:
		step_blob();
		break;
	case 28:
		if (program.opens < OPENS_MAX)
			step_reopen();
		break;
	case 29:
		if (program.opens < OPENS_MAX)
			step_die();
		break;
	}
}

static void program_start(const uint8_t *data, size_t size)
{
	uint8_t how[4] = { 0 };
	struct slf_txn *txn;

	program = (struct program){ .data = data, .size = size, .options = SLF_OPTIONS_INIT };
	for (unsigned i = 0; i < 4; i++)
		how[i] = take();
	program.options.flags = SLF_CREATE | SLF_NO_THREADS | (how[0] & 1 ? SLF_NO_MAP : 0);
	program.options.sync = how[0] & 2 ? SLF_SYNC_NONE : SLF_SYNC_COMMIT;
	program.options.compression = how[0] & 4 ? SLF_COMPRESSION_NONE : SLF_COMPRESSION_DEFAULT;
	program.options.spindle_count = how[0] & 8 ? 2 : 0;
	program.options.spindles = flat_paths + 1;
	program.options.leaf_bytes = how[1] & 1 ? 256 : how[1] & 2 ? 512 : 0;
	program.options.branch_bytes = how[1] & 4 ? 256 : 0;
	program.options.inline_bytes = how[1] & 8 ? 16 : 0;
	program.options.heap_bytes = how[2] & 1 ? 64 * KIB : how[2] & 2 ? 256 * KIB : MIB;
	program.options.log_bytes = how[2] & 4 ? 64 * KIB : MIB;
	program.disk = sim_disk_new();
	sim_disk_set_physical_sector(program.disk, how[3] & 1 ? 4096 : 512);
	open_database_again();
	txn = txn_begin(program.db, SLF_READ);
	oracle_init(&program.oracle, slf_txn_seq(txn));
	program.acked = slf_txn_seq(txn);
	slf_abort(txn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run_begin();
	program_start(data, size);
	for (unsigned i = 0; i < STEPS_MAX && program.at < program.size && program.commits < COMMITS_MAX; i++)
		step(take());
	step_end(true, false);
	step_reopen();
	must_work(slf_close(program.db));
	oracle_release(&program.oracle);
	sim_disk_free(program.disk);
	run_end();
	return 0;
}

/* Steps are short, so libFuzzer's own changes fit; whole runs of bytes are moved besides. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
	struct rng rng = { seed };
	size_t from, to, length;

	if (size < 8 || rng_below(&rng, 4))
		return LLVMFuzzerMutate(data, size, room);
	from = rng_below(&rng, size);
	length = 1 + rng_below(&rng, u64_min(size - from, 64));
	to = 4 + rng_below(&rng, size - 3);
	if (size + length > room)
		return LLVMFuzzerMutate(data, size, room);
	{
		uint8_t copy[64];

		memcpy(copy, data + from, length);
		memmove(data + to + length, data + to, size - to);
		memcpy(data + to, copy, length);
	}
	return size + length;
}
