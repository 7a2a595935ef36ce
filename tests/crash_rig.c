/* SPDX-License-Identifier: MIT */
/*
 * A value is made of its nonce alone: its size, and bytes that no other nonce gives. The upper bits of a nonce are the
 * kind of value.
 */
#include "crash_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "codec.h"

#define RIG_HUGE_BYTES (3 * MIB)
#define RIG_VALUE_BYTES (RIG_HUGE_BYTES + 4096)
#define PROOF_KEY "proof"
#define AUTO_SYNC_NS 10000 /* of a simulated clock, which goes on a microsecond at each look: every few commits */
#define NONCE_KIND_SHIFT 28

/* Directories that exist: the paths of further spindles are resolved, all else is simulated. */
static const char *const spindle_paths[] = { "/tmp/db", "/usr/spindle", "/var/spindle" };

const char *rig_path(unsigned spindle)
{
	return spindle_paths[spindle];
}

static size_t value_bytes(const struct rig *rig, uint32_t nonce)
{
	uint64_t number = rng_mix(nonce);

	if (rig->values_huge && number / 11 % rig->values_huge == 0)
		return RIG_HUGE_BYTES + number / 7 % 4096;
	if (nonce >> NONCE_KIND_SHIFT == RIG_MEDIUM)
		return 600 + number / 7 % 1200;
	if (nonce >> NONCE_KIND_SHIFT == RIG_LARGE || (rig->values_large && number % rig->values_large == 0))
		return 33000 + number / 7 % 40000;
	return number % 5 == 0 ? 300 + number / 7 % 1500 : number / 7 % 100;
}

static struct slf_slice value_make(const struct rig *rig, uint32_t nonce, uint8_t *data)
{
	size_t size = value_bytes(rig, nonce);

	bytes_fill(data, size, nonce, nonce % 3 == 0);
	return slice(data, size);
}

static struct slf_slice key_make(unsigned index, uint8_t *data)
{
	put_be32(data, index);
	memset(data + 4, 'k', index % 40);
	return slice(data, 4 + index % 40);
}

void rig_init(struct rig *rig, uint64_t seed, unsigned spindle_count, int sync)
{
	*rig = (struct rig){ .sync = sync, .spindle_count = spindle_count, .rng = { seed }, .values_large = 12,
			      .deletes = 2, .heap_bytes = 64 * KIB, .log_bytes = 64 * KIB, .paths = spindle_paths };
	rig->disk = sim_disk_new();
	rig->states = calloc(RIG_COMMITS_MAX, sizeof(*rig->states));
	rig->next_nonce = 1 + (uint32_t)(seed % 1000) * 100000;
}

void rig_release(struct rig *rig)
{
	if (rig->db)
		slf_close(rig->db);
	sim_disk_free(rig->disk);
	free(rig->states);
}

int rig_io(const struct rig *rig, struct sim_disk *disk, struct io **io)
{
	static struct stats unused;

	return rig->make_io ? rig->make_io(&unused, io) : sim_disk_io(disk, &unused, io);
}

int rig_open_on(const struct rig *rig, struct sim_disk *disk, unsigned flags, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct io *io = NULL;
	int result = rig_io(rig, disk, &io);

	if (result)
		return result;

	options.flags = SLF_NO_THREADS | flags;
	options.sync = rig->sync;
	options.auto_sync_ns = AUTO_SYNC_NS;
	options.heap_bytes = rig->heap_bytes;
	options.log_bytes = rig->log_bytes;
	options.compression = rig->compression;
	options.spindles = rig->paths + 1;
	options.spindle_count = rig->spindle_count - 1;
	return db_open_io(rig->paths[0], &options, io, db);
}

int rig_open(struct rig *rig)
{
	int result = 0;

	rig->recovering = true;
	result = rig_open_on(rig, rig->disk, SLF_CREATE, &rig->db);
	rig->recovering = false;
	rig->rollbacks = 0;
	if (result)
		rig->db = NULL;
	else
		rig->created = true;
	return result;
}

int rig_close(struct rig *rig)
{
	int result = slf_close(rig->db);

	rig->db = NULL;
	if (!result)
		rig->acked = rig->newest;
	return result;
}

void rig_abandon(struct slf_db *db)
{
	commit_poison(&db->core.commit);
	(void)slf_close(db);
}

#define TREE_NAME_BYTES 8

static const char *tree_name(unsigned index, char *name)
{
	snprintf(name, TREE_NAME_BYTES, "t%u", index);
	return name;
}

/* The ids of the trees: the first is the main one, the others are made when they are first written to. */
static int tree_of(struct slf_txn *txn, unsigned index, unsigned flags, uint32_t *tree)
{
	char name[TREE_NAME_BYTES];

	*tree = SLF_MAIN;
	tree_name(index, name);
	return index ? slf_tree_open(txn, name, flags, tree) : 0;
}

static int change(struct rig *rig, struct slf_txn *txn, struct rig_state *state)
{
	static uint8_t data[RIG_VALUE_BYTES];
	unsigned index = (unsigned)rng_below(&rig->rng, RIG_TREES), key = (unsigned)rng_below(&rig->rng, RIG_KEYS);
	uint32_t tree, nonce = rng_below(&rig->rng, 10) < rig->deletes ? 0 : rig->next_nonce++;
	uint8_t key_bytes[64];
	int result = tree_of(txn, index, SLF_CREATE, &tree);

	if (nonce)
		nonce |= rig->kind << NONCE_KIND_SHIFT;
	if (result)
		return result;
	state->trees[index] = true;
	if (nonce)
		result = slf_put(txn, tree, key_make(key, key_bytes), value_make(rig, nonce, data));
	else
		result = slf_del(txn, tree, key_make(key, key_bytes));
	if (result == SLF_NOTFOUND)
		return state->nonces[index][key] ? SLF_ECORRUPT : 0;
	if (!result)
		state->nonces[index][key] = nonce;
	/* what was just written must be there to be read */
	if (!result && nonce && rng_below(&rig->rng, 4) == 0) {
		struct slf_slice value;

		result = slf_get(txn, tree, key_make(key, key_bytes), &value);
		must(result <= 0);
		must(result || slice_is(value, data, value_bytes(rig, nonce)));
	}
	return result;
}

/* Asynchronous commits may have been taken back without a word to us: by a checkpoint at the beginning of a transaction. */
static void meet_fates(struct rig *rig)
{
	uint32_t rollbacks = atomic_load(&rig->db->core.commit.rollbacks);

	if (rollbacks == rig->rollbacks)
		return;
	rig->rollbacks = rollbacks;
	for (size_t i = rig->acked + 1; i <= rig->newest; i++)
		if (rig->states[i].seq && slf_wait(rig->db, rig->states[i].seq, 0))
			rig->states[i].refused = true;
}

int rig_commit(struct rig *rig, unsigned changes, bool async)
{
	struct rig_state *state = &rig->states[rig->newest + 1];
	size_t base = rig->newest;
	struct slf_txn *txn = NULL;
	uint64_t seq = 0;
	int result = slf_begin(rig->db, SLF_WRITE, &txn);

	must(rig->newest + 2 < RIG_COMMITS_MAX);
	if (result)
		return result;
	meet_fates(rig);
	while (rig->states[base].refused) /* refused ones are no base */
		base--;
	*state = rig->states[base];
	state->seq = 0;
	for (unsigned i = 0; i < changes && !result; i++)
		result = change(rig, txn, state);
	if (!result && rig->blob_bytes) {
		static char blob[65535];

		must(rig->blob_bytes <= sizeof(blob));
		bytes_fill(blob, rig->blob_bytes, rng_next(&rig->rng), false);
		result = slf_txn_blob(txn, slice(blob, rig->blob_bytes));
	}
	if (result || rng_below(&rig->rng, 16) == 0) {
		slf_abort(txn);
		return result;
	}
	rig->newest++;
	result = async ? slf_commit_async(txn, &seq) : slf_commit(txn, &seq);
	if (!result)
		state->seq = seq;
	else if (result != SLF_EUNKNOWN)
		state->refused = true;
	if (!result && seq == rig->states[base].seq) /* nothing was changed */
		rig->newest--;
	if (!result && !async && rig->sync == SLF_SYNC_COMMIT)
		rig->acked = rig->newest;
	return result;
}

static int settle(struct rig *rig, int result)
{
	if (!result)
		rig->acked = rig->newest;
	return result;
}

int rig_step(struct rig *rig)
{
	switch (rng_below(&rig->rng, 40)) {
	case 0:
		return settle(rig, slf_checkpoint(rig->db));
	case 1:
	case 2:
		return settle(rig, slf_sync(rig->db, NULL));
	case 3:
		return rig_commit(rig, 40 + (unsigned)rng_below(&rig->rng, 60), false);
	case 4: {
		int result = rig_close(rig), again = rig_open(rig);

		if (!again)
			rig_adopt(rig, true);
		return result ? result : again;
	}
	case 5:
	case 6:
	case 7:
	case 8:
		return rig_commit(rig, 1 + (unsigned)rng_below(&rig->rng, 3), true);
	default:
		return rig_commit(rig, 1 + (unsigned)rng_below(&rig->rng, 6), false);
	}
}

/* ---- What a database answers ------------------------------------------------------------------------------------- */

struct inspection {
	const struct rig *rig;
	const struct rig_state *state;
	struct slf_txn *txn;
	bool proof; /* the main tree has the proof's key too, behind all others */
	bool refused;
	char *wrong;
};

static bool is_wrong(const struct inspection *inspection, const char *what, unsigned tree, uint64_t number)
{
	snprintf(inspection->wrong, 200, "tree %u: %s (%llu)", tree, what, (unsigned long long)number);
	return false;
}

static bool inspect_gets(struct inspection *inspection, unsigned index, bool there, uint32_t tree)
{
	static uint8_t data[RIG_VALUE_BYTES];

	for (unsigned key = 0; key < RIG_KEYS; key++) {
		uint32_t nonce = inspection->state->nonces[index][key];
		uint8_t key_bytes[64];
		struct slf_slice value, expected;
		int result = there ? slf_get(inspection->txn, tree, key_make(key, key_bytes), &value) : SLF_NOTFOUND;

		if (result < 0) {
			inspection->refused = true;
			continue;
		}
		if (result != (nonce ? 0 : SLF_NOTFOUND))
			return is_wrong(inspection, nonce ? "a key is not found" : "a key is found", index, key);
		expected = nonce ? value_make(inspection->rig, nonce, data) : slice(NULL, 0);
		if (nonce && !slice_is(value, expected.data, expected.size))
			return is_wrong(inspection, "another value", index, key);
	}
	return true;
}

/* Are these the key and the value that a scan has to give at this place? The proof's key comes last. */
static bool record_is(const struct inspection *inspection, unsigned index, unsigned at, struct slf_slice key,
		      struct slf_slice value)
{
	static uint8_t data[RIG_VALUE_BYTES];
	uint8_t key_bytes[64];
	struct slf_slice expected = at < RIG_KEYS ? key_make(at, key_bytes) : text(PROOF_KEY);

	if (!slice_is(key, expected.data, expected.size))
		return false;
	if (at == RIG_KEYS)
		return true;
	expected = value_make(inspection->rig, inspection->state->nonces[index][at], data);
	return slice_is(value, expected.data, expected.size);
}

/* A scan gives the keys that are there, in order, and ends or fails. */
static bool inspect_scan(struct inspection *inspection, unsigned index, uint32_t tree, bool backwards)
{
	unsigned keys = RIG_KEYS + (index == 0 && inspection->proof);
	struct slf_range range = { .flags = SLF_TRANSIENT };
	struct slf_cursor *cursor = NULL;
	struct slf_slice key, value;
	int result = slf_cursor_open(inspection->txn, tree, &range, &cursor);
	bool right = true;

	for (unsigned i = 0; right && result == 0; i++) {
		unsigned at = i == keys ? keys : backwards ? keys - 1 - i : i;

		if (at < RIG_KEYS && !inspection->state->nonces[index][at])
			continue;
		result = backwards ? slf_cursor_prev(cursor, &key, &value) : slf_cursor_next(cursor, &key, &value);
		if (result < 0)
			break;
		if (at == keys || result == SLF_END) {
			right = at == keys && result == SLF_END;
			break;
		}
		right = record_is(inspection, index, at, key, value);
	}
	slf_cursor_close(cursor);
	inspection->refused |= result < 0;
	return right || is_wrong(inspection, "a scan differs", index, backwards);
}

static bool inspect_count(struct inspection *inspection, unsigned index, uint32_t tree)
{
	uint64_t entries = index == 0 && inspection->proof;
	struct slf_tree_stat stat = { .size = sizeof(stat) };

	for (unsigned key = 0; key < RIG_KEYS; key++)
		entries += inspection->state->nonces[index][key] != 0;
	if (slf_tree_stat(inspection->txn, tree, &stat)) {
		inspection->refused = true;
		return true;
	}
	return stat.entries == entries || is_wrong(inspection, "another number of entries", index, stat.entries);
}

static bool inspect_tree(struct inspection *inspection, unsigned index)
{
	uint32_t tree = 0;
	int opened = tree_of(inspection->txn, index, 0, &tree);

	if (opened < 0) {
		inspection->refused = true;
		return true;
	}
	return inspect_gets(inspection, index, !opened, tree) &&
	       (opened || (inspect_count(inspection, index, tree) && inspect_scan(inspection, index, tree, false) &&
			   inspect_scan(inspection, index, tree, true)));
}

/* The list of trees, in the order of their names. */
static bool inspect_trees(struct inspection *inspection)
{
	char name[256] = "", expected[TREE_NAME_BYTES];
	uint32_t tree = 0;
	int result = 0;

	for (unsigned index = 1; index < RIG_TREES; index++) {
		if (!inspection->state->trees[index])
			continue;
		result = slf_tree_next(inspection->txn, name, sizeof(name), &tree);
		if (result < 0)
			break;
		if (result == SLF_END || strcmp(name, tree_name(index, expected)) != 0)
			return is_wrong(inspection, "another tree is listed, or none", index, tree);
	}
	if (result == 0)
		result = slf_tree_next(inspection->txn, name, sizeof(name), &tree);
	inspection->refused |= result < 0;
	return result != 0 || is_wrong(inspection, "a tree too many is listed", RIG_TREES, tree);
}

/* Nothing is missing, nothing more is there, and no call fails. */
static bool holds(const struct rig *rig, struct slf_txn *txn, const struct rig_state *state, char *wrong)
{
	struct inspection inspection = { .rig = rig, .state = state, .txn = txn, .wrong = wrong };
	struct slf_errinfo info = { .size = sizeof(info) };
	int proof = slf_get(txn, SLF_MAIN, text(PROOF_KEY), NULL);

	inspection.proof = proof == 0;
	inspection.refused = proof < 0;
	for (unsigned index = 0; index < RIG_TREES && !inspection.refused; index++)
		if (!inspect_tree(&inspection, index))
			return false;
	if (!inspection.refused && !inspect_trees(&inspection))
		return false;
	if (!inspection.refused)
		return true;
	(void)slf_errinfo(&info);
	snprintf(wrong, 200, "a call failed: %.180s", info.text);
	return false;
}

void rig_hold_faults(const struct rig *rig, bool hold)
{
	sim_disk_hold_faults(rig->disk, hold);
	if (rig->hold)
		rig->hold(hold);
}

size_t rig_identify(const struct rig *rig, struct slf_db *db)
{
	struct slf_txn *txn = NULL;
	uint64_t seq = 0;
	size_t found = SIZE_MAX;
	char wrong[256] = "no commit has this seq";

	rig_hold_faults(rig, true);
	txn = txn_begin(db, commit_check(&db->core.commit) ? SLF_DURABLE : SLF_READ);
	seq = slf_txn_seq(txn);
	for (size_t i = rig->newest + 1; i-- > rig->acked && found == SIZE_MAX;) {
		const struct rig_state *state = &rig->states[i];

		if (state->refused || (i && state->seq && state->seq != seq) || (!i && seq))
			continue;
		if (holds(rig, txn, state, wrong))
			found = i;
	}
	if (found == SIZE_MAX)
		fprintf(stderr, "seq %llu " RIG_NO_STATE " %zu (seq %llu) to %zu (seq %llu): %s\n",
			(unsigned long long)seq, rig->acked, (unsigned long long)rig->states[rig->acked].seq, rig->newest,
			(unsigned long long)rig->states[rig->newest].seq, wrong);
	must(found != SIZE_MAX);
	slf_abort(txn);
	rig_hold_faults(rig, false);
	return found;
}

void rig_adopt(struct rig *rig, bool durable)
{
	struct slf_txn *txn;
	size_t found = rig_identify(rig, rig->db);

	rig_hold_faults(rig, true);
	txn = txn_begin(rig->db, SLF_READ);
	rig->states[found].seq = slf_txn_seq(txn);
	slf_abort(txn);
	rig_hold_faults(rig, false);
	rig->newest = found;
	if (durable)
		rig->acked = found;
}

bool rig_holds(const struct rig *rig, struct slf_db *db, size_t index, char *wrong)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	bool same = holds(rig, txn, &rig->states[index], wrong);

	slf_abort(txn);
	return same;
}

struct slf_db *rig_reopen(const struct rig *rig, struct sim_disk *disk)
{
	struct slf_db *db = NULL;
	int result = rig_open_on(rig, disk, 0, &db);

	if (result == -ENOENT && !rig->created)
		return NULL;
	must_work(result);
	return db;
}

/* A power cut, now and then only a kill. */
static struct sim_disk *cut(struct sim_disk *disk, uint64_t seed)
{
	return seed % 4 == 0 ? sim_disk_kill(disk) : sim_disk_crash_seed(disk, rng_mix(seed), seed % 2);
}

void rig_prove(const struct rig *rig, struct sim_disk *crashed, uint64_t seed)
{
	struct slf_db *db = rig_reopen(rig, crashed);
	struct sim_disk *again;
	char value[32];

	if (!db) {
		sim_disk_free(crashed);
		return;
	}
	rig_identify(rig, db);
	snprintf(value, sizeof(value), "%llu", (unsigned long long)seed);
	db_put(db, PROOF_KEY, value);
	if (rig->sync != SLF_SYNC_COMMIT)
		must_work(slf_sync(db, NULL));
	if (seed % 3 == 0)
		must_work(slf_checkpoint(db));
	again = cut(crashed, seed);
	must_work(slf_close(db));
	sim_disk_free(crashed);
	db = rig_reopen(rig, again);
	must(db && db_has(db, PROOF_KEY, value));
	must_work(slf_close(db));
	sim_disk_free(again);
}

enum rig_answer rig_inspect(const struct rig *rig, struct slf_db *db, size_t index, char *wrong)
{
	struct inspection inspection = { .rig = rig, .state = &rig->states[index], .wrong = wrong };
	bool right = true;

	if (slf_begin(db, SLF_READ, &inspection.txn))
		return RIG_REFUSED;
	for (unsigned tree = 0; tree < RIG_TREES && right; tree++)
		right = inspect_tree(&inspection, tree);
	right = right && inspect_trees(&inspection);
	slf_abort(inspection.txn);
	if (!right)
		return RIG_WRONG;
	return inspection.refused ? RIG_REFUSED : RIG_RIGHT;
}
