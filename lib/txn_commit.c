/* SPDX-License-Identifier: MIT */
/*
 * The end of a write transaction.
 *
 * Ordinary: working roots into the forest, the entry sealed into the fill group, the turn passed, then the wait.
 * Large (its actions exceed a quarter of the log budget, or it had to spill): it commits as a checkpoint. All heap nodes of
 * its version are written and synced first; the slab carries the entry and a MARK together, so what must be replayed after
 * it is nothing.
 *
 * Failure points: no memory for version or forest, no space for bulk, no room in the log, a doomed or rolled back base:
 * everything is undone, nothing has reached the log. From the seal on the fate is commit.c's.
 */
#include <stdlib.h>

#include "error.h"
#include "txn.h"

static void pass_turn(struct slf_txn *txn)
{
	struct core *core = txn->core;
	uint64_t owed = heap_owed(core->heap);

	extents_relax(&core->extents, owed + owed / 2);
	edit_rest(&txn->edit);
	txn->pending_count = 0; /* the handle may read next */
	txn->pending_bytes = 0;
	txn->state = TXN_ENDED;
	atomic_store_explicit(&core->store.unflushed, false, memory_order_relaxed);
	turn_pass(&core->turn);
}

void txn_abort(struct slf_txn *txn)
{
	if (txn->state != TXN_WRITING)
		return;
	edit_undo(&txn->edit);
	stats_add(&txn->core->stats.values.txn_aborts, 1);
	pass_turn(txn);
}

/* ---- Spilling ---------------------------------------------------------------------------------------------------- */

/* Blocks born in the transaction are freed as a whole. */
static int drop_older(void *context, struct block *block)
{
	struct edit *edit = context;

	return block->birth == edit->epoch ? 0 : edit_drop(edit, block);
}

static int drop_written(struct slf_txn *txn)
{
	struct materialiser *materialiser = &txn->core->checkpoint.materialiser;
	size_t left = materialiser->written.count;

	return materialise_drop(materialiser, &left, drop_older, &txn->edit, 0);
}

/* Writes the dirty trees; the materialiser is ours. */
static int spill_trees(struct slf_txn *txn)
{
	struct materialiser *materialiser = &txn->core->checkpoint.materialiser;
	int result = 0;

	for (size_t i = 0; i < txn->tree_count && !result; i++)
		if (txn->trees[i].dirty)
			result = materialise_tree(materialiser, txn->trees[i].id, &txn->trees[i].root);
	if (!result) /* they are to be read again */
		result = materialise_flush(materialiser);
	if (!result)
		result = drop_written(txn);
	if (result) {
		materialise_undo(materialiser);
		return result;
	}
	/* The notes are of no use to us, and blocks that we share with the version below may come back to it. */
	materialise_forget(materialiser);
	born_free(txn->edit.heap, txn->edit.born);
	edit_written(&txn->edit);
	txn->spilled = true;
	return 0;
}

/* What it writes stays when the transaction is aborted, and what is promised to commits before it is promised still. One that only
 * deletes may have that as well: it is to go on where a disk is full. */
int txn_spill(struct slf_txn *txn)
{
	struct core *core = txn->core;
	int result = 0;

	if (txn->grows)
		result = extents_reserve(&core->extents, heap_owed(core->heap) + txn->owed_start);
	if (result)
		return result;
	checkpoint_enter_private(core);
	atomic_store_explicit(&core->store.unflushed, true, memory_order_relaxed);
	materialise_begin(&core->checkpoint.materialiser);
	result = spill_trees(txn);
	checkpoint_leave_private(core);
	if (!result)
		extents_redeem(&core->extents, heap_owed(core->heap));
	txn->heap_start = heap_used(core->heap);
	return result;
}

/* ---- The version ------------------------------------------------------------------------------------------------- */

static int make_version(struct slf_txn *txn, struct version **result)
{
	struct version *version = version_new(&txn->core->versions);
	int error = 0;

	if (!version)
		return -ENOMEM;
	version->epoch = txn->edit.epoch;
	version->forest = txn->version->forest;
	version->roots = txn->version->roots;
	version->roots_epoch = txn->version->roots_epoch;
	version->next_tree = txn->next_tree;
	version->user_entries = txn->version->user_entries + txn->entries_added;
	for (size_t i = 0; i < txn->tree_count && !error; i++)
		if (txn->trees[i].dirty) {
#ifdef PARANOID
			tree_assert(&txn->core->store, txn->trees[i].id, &txn->trees[i].root);
#endif
			error = forest_put(&txn->edit, &version->forest, txn->trees[i].id, &txn->trees[i].root);
		}
	if (error) {
		version_free(&txn->core->versions, version);
		return error;
	}
	*result = version;
	return 0;
}

/* Writes the whole version to bulk, on stable storage, and prepares the mark for it. */
static int make_checkpoint(struct slf_txn *txn, struct version *version, struct mark *mark, uint64_t *recyclable)
{
	struct core *core = txn->core;
	struct materialiser *materialiser = &core->checkpoint.materialiser;
	struct tree_root roots = version->roots;
	int result;

	materialise_begin(materialiser);
	result = materialise_forest(materialiser, version->forest, &roots);
	if (!result)
		result = materialise_flush(materialiser);
	if (!result)
		result = bulk_flush(&core->large);
	if (!result)
		result = forest_drop(&txn->edit, version->forest);
	if (!result)
		result = drop_written(txn);
	if (result) {
		materialise_undo(materialiser);
		return result;
	}
	materialise_forget(materialiser); /* as in spill_trees */
	result = materialise_sync(materialiser);
	if (!result)
		result = bulk_sync(&core->large);
	if (result) {
		commit_poison(&core->commit);
		return result;
	}
	pthread_mutex_lock(&core->commit.lock);
	txn->replay = core->commit.settled_place;
	pthread_mutex_unlock(&core->commit.lock);
	checkpoint_mark(core, mark, version, &roots, &txn->replay, recyclable); /* the seal sets its seq */
	born_free(txn->edit.heap, txn->edit.born); /* nothing leads to them any more */
	txn->edit.born = NULL;
	version->forest = NULL;
	version->roots = roots;
	version->roots_epoch = version->epoch;
	return 0;
}

/* ---- Committing -------------------------------------------------------------------------------------------------- */

static int seal(struct slf_txn *txn, struct version *version, struct mark *mark, uint64_t *seq)
{
	struct core *core = txn->core;
	struct slf_slice encoded = { 0 };
	struct sealing sealing = {
		.version = version,
		.txn_digest = &txn->digest,
		.rollbacks = txn->rollbacks,
		.frugal = txn->action_count && !txn->grows,
		.mark = mark,
		.bulk_actions = mark ? 0 : txn->action_total - txn->action_bytes,
		.entry = { .action_count = txn->action_count,
			   .blob = slice(txn->blob, txn->blob_bytes),
			   .actions = slice(txn->actions, txn->action_bytes),
			   .chunk_count = (uint32_t)txn->chunk_count },
	};
	struct garbage empty;
	uint8_t *chunks = NULL;
	int result = 0;

	if (txn->chunk_count) {
		chunks = malloc(txn->chunk_count * SLAB_PART_BYTES);
		if (!chunks)
			return -ENOMEM;
		for (size_t i = 0; i < txn->chunk_count; i++)
			entry_ref_encode(chunks + i * SLAB_PART_BYTES, &txn->chunks[i]);
		encoded = slice(chunks, txn->chunk_count * SLAB_PART_BYTES);
	}
	sealing.entry.chunks = encoded;
	if (txn->part_count && !mark) { /* a checkpoint has flushed them */
		result = bulk_flush(&core->large);
		sealing.parts = txn->parts;
		sealing.part_count = txn->part_count;
		sealing.dirty = core->large.dirty;
	}
	version->born = txn->edit.born;
	if (!result)
		result = commit_seal(&core->commit, &sealing, seq);
	free(chunks);
	if (result)
		return result;
	if (sealing.dirty)
		memset(core->large.dirty, 0, sizeof(core->large.dirty));
	empty = version->garbage;
	version->garbage = txn->edit.garbage;
	txn->edit.garbage = empty;
	core->versions.backlog += version->garbage.count;
	txn->edit.born = NULL;
	core->epoch++;
	extents_note(&core->extents, *seq);
	return 0;
}

/* What the flusher does, without threads: done by whoever commits. A failure poisons, and the next call is told. */
static void write_out_alone(struct core *core)
{
	struct commit_load load = commit_load(&core->commit);

	if (core->tuning.sync == SLF_SYNC_AUTO &&
	    (load.unflushed + load.gathered >= core->tuning.auto_sync_bytes ||
	     clock_now_ns() - load.settled_ns >= core->tuning.auto_sync_ns))
		commit_sync(&core->commit, NULL);
	else if (load.gathered >= WRITE_OUT_BYTES)
		commit_write_out(&core->commit);
}

/* After the turn has been passed: waits as the mode asks, and finishes a large commit's checkpoint. replay: of its mark; NULL
 * for one that is not large. */
static int finish(struct core *core, bool async, const struct log_place *replay, uint64_t seq)
{
	struct log_slab slab;
	int result;

	if (replay) {
		result = commit_wait(&core->commit, seq, -1);
		if (!result) {
			pthread_mutex_lock(&core->commit.lock);
			slab = core->commit.mark_slab;
			pthread_mutex_unlock(&core->commit.lock);
			checkpoint_publish(core, &slab, seq, replay);
		}
		checkpoint_leave_private(core);
		return result;
	}
	if (core->tuning.sync == SLF_SYNC_COMMIT && !async)
		return commit_wait(&core->commit, seq, -1);
	if (core->commit.wake && core->tuning.sync == SLF_SYNC_COMMIT)
		core->commit.wake(core->commit.wake_context);
	else if (!core->commit.wake)
		write_out_alone(core);
	return 0;
}

/* A commit without changes stands on its base: it must not report what could still be taken back. */
static int commit_nothing(struct slf_txn *txn, bool async, uint64_t *seq)
{
	struct core *core = txn->core;
	uint64_t base = txn->version->seq;

	edit_undo(&txn->edit);
	pass_turn(txn);
	*seq = base;
	if (core->tuning.sync != SLF_SYNC_COMMIT || async)
		return 0;
	return commit_wait_base(&core->commit, base);
}

static bool is_large(const struct slf_txn *txn)
{
	return txn->spilled || txn->action_total > txn->core->tuning.log_bytes / 4;
}

/* Everything up to the seal, under the turn. */
static int prepare_and_seal(struct slf_txn *txn, bool large, uint64_t *seq)
{
	struct core *core = txn->core;
	uint64_t *recyclable = NULL;
	struct version *version = NULL;
	struct mark *mark = NULL;
	int result = make_version(txn, &version);

	if (!result && txn->chunk_count)
		result = txn_spill_actions(txn);
	if (!result && large) {
		recyclable = malloc(MARK_RECYCLABLE_MAX * sizeof(*recyclable));
		mark = malloc(sizeof(*mark));
		result = mark && recyclable ? make_checkpoint(txn, version, mark, recyclable) : -ENOMEM;
	}
	if (!result) {
		result = seal(txn, version, mark, seq);
		if (large && result) /* its mark is nowhere */
			materialise_undo(&core->checkpoint.materialiser);
		else if (large)
			extents_redeem(&core->extents, heap_owed(core->heap));
	}
	free(mark);
	free(recyclable);
	if (result)
		version_free(&core->versions, version);
	return result;
}

static int commit_changes(struct slf_txn *txn, bool async, uint64_t *seq)
{
	struct core *core = txn->core;
	bool large;
	uint64_t start = clock_now_ns();
	int result;

	if (txn->doom) {
		result = txn->doom;
		txn_abort(txn);
		return result == SLF_ECANCELLED ? result : error_set(SLF_ECANCELLED, NULL, -1, OFFSET_NONE,
			"the transaction was doomed by an earlier failure: %s", error_text(result));
	}
	result = txn_flush(txn);
	if (result) { /* of an operation that has not told it yet */
		txn_abort(txn);
		return result;
	}
	if (!txn->action_count && !txn->blob_bytes)
		return commit_nothing(txn, async, seq);
	large = is_large(txn);
	if (large)
		checkpoint_enter_private(core);
	result = prepare_and_seal(txn, large, seq);
	if (result) {
		if (large)
			checkpoint_leave_private(core);
		txn_abort(txn);
		return result;
	}
	if (versions_wants_sweep(&core->versions))
		commit_sweep(&core->commit);
	if ((core->versions.unswept == 0 || txn->action_total > 64 * 1024) && core->wake_checkpoint &&
	    checkpoint_due(core))
		core->wake_checkpoint(core->wake_context);
	if (large)
		checkpoint_return_list(core);
	pass_turn(txn);
	result = finish(core, async, large ? &txn->replay : NULL, *seq);
	if (!result)
		stats_add(&core->stats.values.txn_commits, 1);
	stats_time(&core->stats.values.commit_ns, clock_now_ns() - start);
	return result;
}

int txn_commit(struct slf_txn *txn, bool async, uint64_t *seq)
{
	struct core *core = txn->core;
	int result = commit_changes(txn, async, seq);

	checkpoint_alone(core);
	return result;
}
