/* SPDX-License-Identifier: MIT */
/*
 * seeds DIRECTORY: writes the first inputs of all harnesses to DIRECTORY/NAME, and the databases under the inputs of
 * fuzz_tail to DIRECTORY/base. Leaves of 256 bytes make trees of several levels of a few kilobytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "codec.h"
#include "db.h"
#include "format.h"
#include "rig.h"
#include "sim_world.h"

#define INPUT_BYTES_MAX (256 * KIB)

struct seed {
	const char *name, *script;
	unsigned spindles;
	bool clean; /* closed, else killed */
};

/*
 * The letters:
 *   c  three puts       C  forty puts    d  twelve deletes    L  a large value    t  puts in other trees
 *   a  an asynchronous commit            k  checkpoint        r  close and open   |  here the tail begins
 */
static const struct seed databases[] = {
	{ "empty", "", 1, true },
	{ "small", "c", 1, true },
	{ "log", "ccc", 1, false },
	{ "checkpoint", "CkcdC", 1, false },
	{ "deltas", "CkckckcC", 1, true },
	{ "levels", "CCtCCk", 1, true },
	{ "large", "cLkL", 1, false },
	{ "trees", "tctkdt", 1, true },
	{ "spindles", "CLtk", 3, true },
	{ "spindles-log", "cLkcLt", 3, false },
	{ "again", "Ckrcrdr", 1, true },
};

static const struct seed tails[] = {
	{ "0", "Ctkc|ccadLkcC", 1, false },
	{ "1", "CtLkr|ctackdd", 1, false },
};

static uint8_t packed[INPUT_BYTES_MAX];
static const char *directory;

static void write_input(const char *folder, const char *name, const void *data, size_t size)
{
	char path[600];
	FILE *file;

	snprintf(path, sizeof(path), "%.250s/%s", directory, folder);
	(void)mkdir(path, 0777);
	snprintf(path, sizeof(path), "%.250s/%s/%s", directory, folder, name);
	file = fopen(path, "we");
	must(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* ---- Histories --------------------------------------------------------------------------------------------------- */

struct history {
	struct sim_disk *disk;
	struct slf_db *db;
	unsigned spindles, number;
};

static void history_open(struct history *history)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io = NULL;

	options.flags = SLF_CREATE | SLF_NO_THREADS;
	options.leaf_bytes = 256;
	options.branch_bytes = 256;
	options.inline_bytes = 16;
	options.heap_bytes = 64 * KIB;
	options.log_bytes = 64 * KIB;
	options.spindles = flat_paths + 1;
	options.spindle_count = history->spindles - 1;
	sim_disk_io(history->disk, &unused, &io);
	must_work(db_open_io(flat_path(0), &options, io, &history->db));
}

static void change(struct history *history, struct slf_txn *txn, uint32_t tree, bool put, size_t bytes_min)
{
	static char value[40000];
	unsigned number = history->number++;
	char key[16];

	snprintf(key, sizeof(key), "k%02u", number * 37 % 100);
	bytes_fill(value, sizeof(value), number, true);
	if (put)
		must_work(slf_put(txn, tree, text(key), bytes(value, bytes_min + number * 7 % 24)));
	else
		must(slf_del(txn, tree, text(key)) >= 0);
}

static void commit(struct history *history, unsigned changes, bool put, size_t bytes_min, bool async)
{
	struct slf_txn *txn = txn_begin(history->db, SLF_WRITE);

	for (unsigned i = 0; i < changes; i++)
		change(history, txn, SLF_MAIN, put, bytes_min);
	must_work(async ? slf_commit_async(txn, NULL) : slf_commit(txn, NULL));
}

static void commit_trees(struct history *history)
{
	struct slf_txn *txn = txn_begin(history->db, SLF_WRITE);
	uint32_t tree = 0;

	for (unsigned i = 0; i < 2; i++) {
		must_work(slf_tree_open(txn, i ? "one" : "other", SLF_CREATE, &tree));
		for (unsigned j = 0; j < 4; j++)
			change(history, txn, tree, true, 0);
	}
	must_work(slf_txn_blob(txn, text("a blob")));
	must_work(slf_commit(txn, NULL));
}

static void history_step(struct history *history, char letter)
{
	switch (letter) {
	case 'c':
	case 'a':
		commit(history, 3, true, 0, letter == 'a');
		break;
	case 'C':
		commit(history, 40, true, 0, false);
		break;
	case 'd':
		commit(history, 12, false, 0, false);
		break;
	case 'L':
		commit(history, 1, true, 35000, false);
		break;
	case 't':
		commit_trees(history);
		break;
	case 'k':
		must_work(slf_checkpoint(history->db));
		break;
	default:
		must_work(slf_close(history->db));
		history_open(history);
	}
}

/* Runs the script up to its end or a bar; where it stopped. */
static const char *history_run(struct history *history, const char *script)
{
	for (; *script && *script != '|'; script++)
		history_step(history, *script);
	return script;
}

static void history_start(struct history *history, const struct seed *seed)
{
	*history = (struct history){ .disk = sim_disk_new(), .spindles = seed->spindles };
	sim_world_start(7);
	history_open(history);
}

static void history_end(struct history *history, bool clean)
{
	if (!clean)
		commit_poison(&history->db->core.commit);
	(void)slf_close(history->db);
}

static void history_take(const struct history *history)
{
	struct sim_disk *disk = sim_disk_kill(history->disk);

	flat_take(disk, history->spindles);
	sim_disk_free(disk);
}

/* ---- Inputs ------------------------------------------------------------------------------------------------------ */

/* The structures of the flat database, one by one; kinds as fuzz_entry has them. */
static void write_entry(const char *name, unsigned kind, uint64_t position, uint64_t length, uint16_t number)
{
	char full[100];
	uint8_t head[4] = { (uint8_t)kind, 1, (uint8_t)number, (uint8_t)(number >> 8) };
	size_t size = 4 + length;

	memcpy(packed, head, 4);
	memcpy(packed + 4, flat.bytes[position_spindle(position)] + position_offset(position), length);
	snprintf(full, sizeof(full), "%.40s-%u-%llx", name, kind, (unsigned long long)position);
	write_input("fuzz_entry", full, packed, size);
}

static void write_entries(const char *name)
{
	uint64_t slabs[FLAT_SLABS_MAX], end = align_down(flat.sizes[0], ENTRY_ALIGN), offset = EXTENT_BYTES;
	size_t count = flat_slabs(slabs);

	write_entry(name, 6, META_PAGE_A, META_PAGE_BYTES, 0);
	for (size_t i = 0; i < count; i++)
		write_entry(name, 5, slabs[i], get_u32(flat.bytes[0] + slabs[i] + 40), 0);
	for (; (offset = flat_next_touched(0, offset, end)) < end; offset += ENTRY_ALIGN) {
		const uint8_t *entry = flat.bytes[0] + offset;
		uint64_t length = get_u32(entry + 16);

		if (length < ENTRY_HEADER_BYTES || length > 4096 || !entry[20] || entry[20] > ENTRY_ACTIONS)
			continue;
		write_entry(name, entry[20] == ENTRY_NODE ? 0 : entry[20] == ENTRY_VALUE ? 3 : 4, offset, length, 0);
	}
}

static void write_database(const struct seed *seed)
{
	struct history history;

	history_start(&history, seed);
	history_run(&history, seed->script);
	history_end(&history, seed->clean);
	history_take(&history);
	flat.flags = seed->script[0] ? 16 : 0;
	write_input("fuzz_open", seed->name, packed, flat_pack(packed, sizeof(packed)));
	write_entries(seed->name);
	sim_disk_free(history.disk);
}

/* The base is the database as it was at the bar, with the bulk that came later; the inputs are what came behind it in the
 * log: all of it, and each beginning of it. */
static void write_tail(const struct seed *seed)
{
	static uint8_t early[EXTENT_BYTES], log[EXTENT_BYTES];
	uint64_t slabs[FLAT_SLABS_MAX], tail, number = strtoul(seed->name, NULL, 10);
	struct history history;
	const char *rest;
	size_t count;

	history_start(&history, seed);
	rest = history_run(&history, seed->script);
	history_take(&history);
	memcpy(early, flat.bytes[0], sizeof(early));
	count = flat_slabs(slabs);
	tail = slabs[count - 1] + get_u32(early + slabs[count - 1] + 40);
	history_run(&history, rest + 1);
	history_end(&history, false);
	history_take(&history);
	memcpy(log, flat.bytes[0], sizeof(log));
	count = flat_slabs(slabs);
	for (size_t i = 0; i < count; i++) {
		uint64_t end = slabs[i] + get_u32(log + slabs[i] + 40);
		char name[40];

		if (slabs[i] < tail || end > sizeof(log))
			continue;
		packed[0] = (uint8_t)(number << 7);
		memcpy(packed + 1, log + tail, end - tail);
		snprintf(name, sizeof(name), "%s-%zu", seed->name, i);
		write_input("fuzz_tail", name, packed, end - tail + 1);
	}
	memcpy(flat.bytes[0], early, sizeof(early));
	write_input("base", seed->name, packed, flat_pack(packed, sizeof(packed)));
	sim_disk_free(history.disk);
}

/* Programs of any steps; the fuzzer makes better ones. */
static void write_programs(void)
{
	for (unsigned i = 0; i < 40; i++) {
		struct rng rng = { i };
		size_t size = 50 + rng_below(&rng, 400);
		char name[20];

		for (size_t j = 0; j < size; j++)
			packed[j] = (uint8_t)rng_next(&rng);
		snprintf(name, sizeof(name), "%u", i);
		write_input("fuzz_api", name, packed, size);
	}
}

int main(int count, char **arguments)
{
	must(count == 2);
	directory = arguments[1];
	(void)mkdir(directory, 0777);
	for (size_t i = 0; i < ARRAY_SIZE(databases); i++)
		write_database(&databases[i]);
	for (size_t i = 0; i < ARRAY_SIZE(tails); i++)
		write_tail(&tails[i]);
	write_programs();
	return 0;
}
