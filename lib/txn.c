/* SPDX-License-Identifier: MIT */
/*
 * Beginning, reading and changing. Committing is txn_commit.c.
 *
 * States: ENDED -> READING -> ENDED, ENDED -> WRITING (has the turn) -> ENDED. A failure inside a change leaves the working
 * tree in between, so it dooms the transaction: every later call answers SLF_ECANCELLED until it is aborted.
 */
#include "txn.h"

#include <stdlib.h>
#include <xxhash.h>

#include "error.h"
#include "probe.h"

#define INLINE_ACTIONS_BYTES ((size_t)768 * 1024) /* more go to bulk; a record of the log is at most GROUP_BYTES */
#define CHUNK_BYTES ((size_t)128 * 1024) /* in entries of about this size, which leave little of an extent unused */
/* That the commit's record has room for, beside a blob and the mark of a checkpoint. */
#define CHUNKS_MAX ((GROUP_BYTES - BLOB_BYTES_MAX - 64 * KIB) / SLAB_PART_BYTES)
_Static_assert(CHUNKS_MAX <= UINT16_MAX && CHUNKS_MAX * CHUNK_BYTES >= 4 * GIB, "4 GiB of actions");
#define PARTS_SYNC 512 /* a transaction with more parts flushes bulk itself */

/* ---- Handles ----------------------------------------------------------------------------------------------------- */

int txn_new(struct core *core, struct slf_db *db, struct slf_txn **result)
{
	struct reader *reader = reader_claim(&core->versions.readers);
	struct slf_txn *txn;

	if (!reader)
		return -ENOMEM;
	txn = atomic_load_explicit(&reader->context, memory_order_relaxed);
	if (!txn) {
		txn = calloc(1, sizeof(*txn));
		if (!txn) {
			reader_free(reader);
			return -ENOMEM;
		}
		txn->reader = reader;
		arena_init(&txn->arena, core->tuning.arena_bytes);
		txn->trees = txn->trees_inline;
		txn->tree_capacity = TXN_TREES_INLINE;
		txn->core = core;
		/* release: slf_stats looks into it from other threads */
		atomic_store_explicit(&reader->context, txn, memory_order_release);
	}
	txn->db = db;
	*result = txn;
	return 0;
}

#define TREES_KEPT 64 /* that a pooled handle keeps room for */

static void trees_release(struct slf_txn *txn)
{
	if (txn->trees != txn->trees_inline)
		free(txn->trees);
	txn->trees = txn->trees_inline;
	txn->tree_capacity = TXN_TREES_INLINE;
}

static void index_drop(struct slf_txn *txn)
{
	free(txn->tree_index);
	txn->tree_index = NULL;
}

bool txn_recycle(struct slf_txn *txn)
{
	arena_reset(&txn->arena);
	txn->tree_count = 0;
	index_drop(txn);
	if (txn->tree_capacity > TREES_KEPT)
		trees_release(txn);
	txn->state = TXN_ENDED;
	reader_idle(txn->reader);
	return reader_free(txn->reader);
}

void txn_free(struct slf_txn *txn)
{
	if (!txn)
		return;
	arena_release(&txn->arena);
	tree_lenses_release(&txn->lenses);
	edit_release(&txn->edit);
	trees_release(txn);
	index_drop(txn);
	free(txn->actions);
	free(txn->blob);
	free(txn->chunks);
	free(txn->parts);
	free(txn);
}

int txn_begin_read(struct slf_txn *txn, bool durable)
{
	if (unlikely(atomic_load_explicit(&txn->core->commit.poisoned, memory_order_relaxed)) && !durable)
		return commit_check(&txn->core->commit);
	/* Where commits are shown when they are durable there is one pointer to read: with two, moved one after the other, a
	 * snapshot could be older than one that had ended before it began. */
	durable &= txn->core->tuning.sync != SLF_SYNC_COMMIT;
	txn->version = version_acquire(&txn->core->versions, txn->reader, durable);
	txn->next_tree = txn->version->next_tree;
	txn->state = TXN_READING;
	atomic_store_explicit(&txn->read_seq, txn->version->seq, memory_order_relaxed);
	atomic_store_explicit(&txn->reads, atomic_load_explicit(&txn->reads, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return 0;
}

/* At the limit after a checkpoint that failed only deletes go on. */
static bool starves(struct core *core)
{
	struct heap_load heap;

	if (likely(!atomic_load(&core->checkpoint.failed)))
		return false;
	heap = checkpoint_heap(core);
	return heap.used > heap.budget;
}

int txn_begin_write(struct slf_txn *txn, int64_t timeout_ns)
{
	struct core *core = txn->core;
	int result = commit_check(&core->commit);

	if (!result && core->tuning.threads)
		result = checkpoint_hold_back(core, &timeout_ns);
	else if (!result && timeout_ns < 0)
		checkpoint_again(core);
	if (!result)
		result = turn_take(&core->turn, timeout_ns);
	if (result)
		return result;
	txn->rollbacks = commit_rollback(&core->commit); /* an abort after it dooms the transaction */
	result = tree_ids_begin(&core->tree_ids, core->versions.tip->next_tree, &txn->next_tree);
	if (result) {
		turn_pass(&core->turn);
		return result;
	}
	edit_start(&txn->edit, &core->store, core->heap, core->epoch);
	txn->version = core->versions.tip;
	txn->doom = 0;
	txn->action_bytes = 0;
	txn->action_total = 0;
	txn->action_count = 0;
	txn->grows = false;
	txn->digest = (struct digest){ 0 };
	txn->blob_bytes = 0;
	txn->pending_count = 0;
	txn->pending_bytes = 0;
	txn->chunk_count = 0;
	txn->part_count = 0;
	txn->entries_added = 0;
	txn->heap_start = heap_used(core->heap);
	txn->owed_start = heap_owed(core->heap);
	txn->starved = starves(core);
	txn->spilled = false;
	txn->state = TXN_WRITING;
	stats_add(&core->stats.values.txn_writes, 1);
	return 0;
}

/* ---- Trees ------------------------------------------------------------------------------------------------------- */

#define TREES_SEARCHED 16 /* so many are looked at one by one */

/* Where the index tells of the tree, or would. */
static uint32_t *index_place(const struct slf_txn *txn, uint32_t id)
{
	size_t mask = 2 * txn->tree_capacity - 1, at = id * 0x9e3779b97f4a7c15u >> 32 & mask;

	while (txn->tree_index[at] && txn->trees[txn->tree_index[at] - 1].id != id)
		at = (at + 1) & mask;
	return &txn->tree_index[at];
}

static int index_make(struct slf_txn *txn)
{
	txn->tree_index = calloc(2 * txn->tree_capacity, sizeof(*txn->tree_index));
	if (!txn->tree_index)
		return -ENOMEM;
	for (size_t i = 0; i < txn->tree_count; i++)
		*index_place(txn, txn->trees[i].id) = (uint32_t)i + 1;
	return 0;
}

/* One that has been looked at before, or NULL. */
static struct txn_tree *known_tree(const struct slf_txn *txn, uint32_t id)
{
	if (unlikely(txn->tree_index)) {
		uint32_t place = *index_place(txn, id);

		return place ? &txn->trees[place - 1] : NULL;
	}
	for (size_t i = 0; i < txn->tree_count; i++)
		if (likely(txn->trees[i].id == id))
			return &txn->trees[i];
	return NULL;
}

static int tree_slot(struct slf_txn *txn, struct txn_tree **slot)
{
	if (txn->tree_count == txn->tree_capacity) {
		size_t capacity = txn->tree_capacity * 2;
		struct txn_tree *trees = malloc(capacity * sizeof(*trees));

		if (!trees)
			return -ENOMEM;
		memcpy(trees, txn->trees, txn->tree_count * sizeof(*trees));
		if (txn->trees != txn->trees_inline)
			free(txn->trees);
		txn->trees = trees;
		txn->tree_capacity = capacity;
		index_drop(txn);
	}
	*slot = &txn->trees[txn->tree_count];
	return txn->tree_count >= TREES_SEARCHED && !txn->tree_index ? index_make(txn) : 0;
}

/* Looks the root up in the forest, else in the roots tree on disk. */
static int find_root(struct slf_txn *txn, uint32_t id, struct tree_root *root)
{
	const struct tree_root *recent = forest_get(txn->version->forest, id);
	struct found found;
	uint8_t key[4];
	int result;

	*root = (struct tree_root){ 0 };
	if (recent) {
		*root = *recent;
		/* an install may have passed this tree: what grows from its root now must not lead to frozen nodes */
		if (txn->state == TXN_WRITING && word_is_heap(root->word)) {
			const struct block *block = block_of(word_node(root->word));

			if (block->birth <= txn->core->install_epoch && block->position) {
				root->word = block->position;
				root->hash = block->hash;
				root->length = block->length;
			}
		}
		return 0;
	}
	put_be32(key, id);
	result = tree_get(&txn->core->store, TREE_ROOTS, &txn->version->roots, slice(key, sizeof(key)), &txn->lenses,
			  &found);
	if (result)
		return result == SLF_NOTFOUND ? 0 : result;
	if (found.record.kind != RECORD_INLINE || found.record.value.size != TREE_ROOT_BYTES)
		return store_corrupt(&txn->core->store, txn->version->roots.word, TREE_ROOT_BYTES,
				     found.record.value.size, "record of the roots tree is no root");
	if (tree_root_decode(found.record.value.data, root))
		return store_corrupt(&txn->core->store, txn->version->roots.word, 0, 0, "root of a tree is out of range");
	return 0;
}

static int find_tree(struct slf_txn *txn, uint32_t id, struct txn_tree **tree)
{
	struct txn_tree *slot = known_tree(txn, id);
	int result;

	if (likely(slot)) {
		*tree = slot;
		return 0;
	}
	assert(id == TREE_NAMES || id >= TREE_FIRST_USER);
	if (id != TREE_NAMES && (id >= txn->next_tree ||
				 (txn->state == TXN_WRITING && tree_ids_lost(&txn->core->tree_ids, id))))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "there is no tree with id %u", id);
	result = tree_slot(txn, &slot);
	if (!result)
		result = find_root(txn, id, &slot->root);
	if (result)
		return result;
	slot->id = id;
	slot->dirty = false;
	txn->tree_count++;
	if (txn->tree_index)
		*index_place(txn, id) = (uint32_t)txn->tree_count;
	*tree = slot;
	return 0;
}

int txn_tree(struct slf_txn *txn, uint32_t id, struct txn_tree **tree)
{
	int result = txn->pending_count ? txn_flush(txn) : 0;

	return result ? result : find_tree(txn, id, tree);
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

void *txn_arena_alloc(void *context, size_t size, int *error)
{
	struct slf_txn *txn = context;

	return arena_alloc(&txn->arena, size, error);
}

static int copy_out(struct slf_slice from, value_alloc_fn *alloc, void *context, struct slf_slice *to)
{
	int error = 0;
	void *copy = alloc(context, from.size, &error);

	if (!copy)
		return error;
	if (from.size)
		memcpy(copy, from.data, from.size);
	*to = slice(copy, from.size);
	return 0;
}

/* Do bytes inside the record's node live as long as the transaction? */
static bool stays(const struct slf_txn *txn, const struct found *found)
{
	return found->heap ? !txn_owns(txn, found->birth) : !found->copied;
}

int txn_key(struct slf_txn *txn, const struct found *found, value_alloc_fn *alloc, void *context, struct slf_slice *key)
{
	if (unlikely(!stays(txn, found)))
		return copy_out(found->record.key, alloc, context, key);
	*key = found->record.key;
	return 0;
}

static int flush_large(struct bulk *large, uint64_t position)
{
	if (!large->at.position || position < large->at.position + large->flushed ||
	    position >= large->at.position + large->at.fill)
		return 0;
	return bulk_flush(large);
}

int txn_value(struct slf_txn *txn, const struct found *found, value_alloc_fn *alloc, void *context,
	      struct slf_slice *value)
{
	struct slf_slice in_heap;
	struct value_ref ref;
	struct block *block;

	switch (found->record.kind) { /* GCOVR_EXCL_BR_LINE a tombstone is not found */
	case RECORD_INLINE:
		if (unlikely(!stays(txn, found)))
			return copy_out(found->record.value, alloc, context, value);
		*value = found->record.value;
		return 0;
	case RECORD_HEAP:
		block = heap_ref_block(found->record.value);
		in_heap = slice(block_payload(block), block->raw);
		if (txn_owns(txn, block->birth))
			return copy_out(in_heap, alloc, context, value);
		*value = in_heap;
		return 0;
	case RECORD_REF:
		value_ref_decode(found->record.value.data, &ref);
		if (txn->state == TXN_WRITING) {
			/* our own large value may still be on its way to the file */
			int result = flush_large(&txn->core->large, ref.position);

			if (result) { /* what was to be written is lost */
				txn->doom = result;
				return result;
			}
		}
		return store_value(&txn->core->store, &ref, found->settled, alloc, context, value);
	default:
		assert(!"a tombstone is not found");
		return SLF_ECORRUPT;
	}
}

int txn_get(struct slf_txn *txn, uint32_t id, struct slf_slice key, struct slf_slice *value)
{
	struct txn_tree *tree = NULL;
	struct found found;
	int result = txn_tree(txn, id, &tree);

	if (likely(!result))
		result = tree_get(&txn->core->store, id, &tree->root, key, &txn->lenses, &found);
	if (result || !value)
		return result;
	return txn_value(txn, &found, txn_arena_alloc, txn, value);
}

/* ---- Changing ---------------------------------------------------------------------------------------------------- */

static int doom(struct slf_txn *txn, int result)
{
	if (result < 0 && !txn->doom)
		txn->doom = result;
	return result;
}

static int add_ref(struct entry_ref **refs, size_t *count, size_t *capacity, const struct entry_ref *ref)
{
	if (*count == *capacity) {
		struct entry_ref *items = array_grow(*refs, capacity, sizeof(*items));

		if (!items)
			return -ENOMEM;
		*refs = items;
	}
	(*refs)[(*count)++] = *ref;
	return 0;
}

/* More parts than a slab should list: flush them now, then the commit needs to name none. */
static int add_part(struct slf_txn *txn, const struct entry_ref *part)
{
	int result = 0;

	if (txn->part_count >= PARTS_SYNC) {
		result = bulk_flush(&txn->core->large); /* a write that fails is this transaction's affair alone */
		if (result)
			return result;
		result = bulk_sync(&txn->core->large);
		if (result) {
			commit_poison(&txn->core->commit);
			return result;
		}
		txn->part_count = 0;
	}
	return add_ref(&txn->parts, &txn->part_count, &txn->part_capacity, part);
}

/* One entry of whole actions. */
static int spill_piece(struct slf_txn *txn, const uint8_t *actions, size_t bytes)
{
	struct core *core = txn->core;
	uint32_t length = (uint32_t)(ACTIONS_ENTRY_HEADER_BYTES + bytes);
	struct entry_ref ref;
	uint64_t position;
	void *entry;
	int result;

	if (txn->chunk_count >= CHUNKS_MAX)
		return error_set(SLF_ETOOBIG, NULL, -1, OFFSET_NONE, "the transaction's actions exceed 4 GiB");
	result = bulk_place(&core->large, length, false, &position, &entry);
	if (result)
		return result;
	memcpy((uint8_t *)entry + ACTIONS_ENTRY_HEADER_BYTES, actions, bytes);
	actions_entry_seal(entry, length, core->store.seed, position, 0, &ref);
	result = add_ref(&txn->chunks, &txn->chunk_count, &txn->chunk_capacity, &ref);
	return result ? result : add_part(txn, &ref);
}

int txn_spill_actions(struct slf_txn *txn)
{
	struct slf_slice rest = slice(txn->actions, txn->action_bytes);
	const uint8_t *from = txn->actions;
	struct action action;

	while (rest.size) {
		const uint8_t *next;
		int result = action_decode(&rest, &action);

		assert(!result);
		next = rest.size ? rest.data : txn->actions + txn->action_bytes;
		if (rest.size && (size_t)(next - from) < CHUNK_BYTES)
			continue;
		result = spill_piece(txn, from, (size_t)(next - from));
		if (result)
			return result;
		from = next;
	}
	txn->action_bytes = 0;
	return 0;
}

/* Appends the action; *offset is where it stands until the next spill. */
static int record_action(struct slf_txn *txn, const struct action *action, size_t *offset)
{
	size_t bytes = action_bytes(action);
	int result = 0;

	if (txn->action_bytes && txn->action_bytes + bytes > INLINE_ACTIONS_BYTES) {
		result = txn_flush(txn);
		if (!result)
			result = txn_spill_actions(txn);
	}
	if (result)
		return result;
	*offset = txn->action_bytes;
	if (txn->action_bytes + bytes > txn->action_capacity) {
		size_t capacity = txn->action_capacity ? txn->action_capacity * 2 : 1024;
		uint8_t *actions;

		while (capacity < txn->action_bytes + bytes)
			capacity *= 2;
		actions = realloc(txn->actions, capacity);
		if (!actions)
			return -ENOMEM;
		txn->actions = actions;
		txn->action_capacity = capacity;
	}
	action_encode(txn->actions + txn->action_bytes, action);
	digest_action(&txn->digest, action);
	txn->action_bytes += bytes;
	txn->action_total += bytes;
	txn->action_count++;
	txn->grows |= action->op != ACTION_DEL;
	return 0;
}

/* Writes a value to bulk at once; the action becomes one by reference. */
static int write_large(struct slf_txn *txn, struct action *action)
{
	struct slf_slice key = action->key, value = action->value;
	struct value_ref *ref = &action->ref;
	uint32_t tree = action->tree;
	struct core *core = txn->core;
	uint64_t length = value_entry_bytes(key.size, value.size), position;
	uint8_t header[EXTENT_HEADER_BYTES], *compressed = NULL, *entry = NULL;
	const void *stored = value.data;
	uint32_t stored_bytes = (uint32_t)value.size;
	struct entry_ref part;
	void *place;
	int result = 0;

	if (core->store.settings.compression && value.size <= LZ4_BYTES_MAX) {
		compressed = malloc(value.size);
		if (!compressed)
			return -ENOMEM;
		stored_bytes = value_compress(value, compressed);
		stored = stored_bytes ? compressed : value.data;
		stored_bytes = stored_bytes ? stored_bytes : (uint32_t)value.size;
		length = value_entry_bytes(key.size, stored_bytes);
	}
	if (length <= BULK_ENTRY_BYTES_MAX) {
		result = bulk_place(&core->large, length, false, &position, &place);
		if (!result)
			value_entry_encode(place, core->store.seed, position, tree, key, stored, stored_bytes,
					   (uint32_t)value.size, ref);
	} else {
		entry = malloc(length);
		result = entry ? bulk_take_run(&core->large, length, &position, header) : -ENOMEM;
		if (!result) {
			value_entry_encode(entry, core->store.seed, position, tree, key, stored, stored_bytes,
					   (uint32_t)value.size, ref);
			result = bulk_write_run(&core->large, position, header, entry, length);
		}
	}
	if (!result) {
		part = (struct entry_ref){ .position = ref->position, .hash = ref->hash, .length = (uint32_t)length };
		result = add_part(txn, &part);
		stats_add(&core->stats.values.bulk_values, 1);
		stats_add(&core->stats.values.bulk_value_raw_bytes, value.size);
		stats_add(&core->stats.values.bulk_value_stored_bytes, stored_bytes);
	}
	free(compressed);
	free(entry);
	action->op = ACTION_PUT_REF;
	action->value_hash = XXH3_64bits(value.data, value.size);
	return result;
}

static int refuse_put(struct core *core, int failed)
{
	const char *path = core->store.spindles[0].path;

	if (error_is_space(failed))
		return error_set(-ENOSPC, path, 0, OFFSET_NONE,
				 "no space to write the changes gathered in memory: delete something or make space");
	return error_set(failed, path, 0, OFFSET_NONE, "the changes gathered in memory cannot be written, and it is full (%s)",
			 error_text(failed));
}

/* Room on the disks for what the heap holds, and for `bytes` more, raised in steps: not for what only snapshots keep. */
static int reserve_space(struct slf_txn *txn, uint64_t bytes)
{
	struct core *core = txn->core;
	uint64_t more = txn->pending_bytes + txn->tree_count * TREE_ROOT_ROOM + bytes;
	int failed = unlikely(txn->starved) ? atomic_load(&core->checkpoint.failed) : 0;

	if (unlikely(failed))
		return refuse_put(core, failed);
	if (likely(heap_owed(core->heap) + more <= extents_promised(&core->extents)))
		return 0;
	while (commit_sweep(&core->commit))
		;
	return extents_reserve(&core->extents, heap_owed(core->heap) + more);
}

/* What a put may add to what is to be written: a leaf and branches that are changed, a leaf that is split off, and the value. */
static uint64_t put_room(const struct settings *settings, unsigned height, size_t key_bytes, size_t value_bytes)
{
	uint64_t room = 2 * store_room(settings->leaf_bytes + key_bytes, true);

	if (height > 1)
		room += (height - 1) * store_room(settings->branch_bytes + key_bytes, true);
	if (value_bytes < settings->bulk_bytes) /* else it takes its own space */
		room += store_room(value_entry_bytes(key_bytes, value_bytes), false);
	return room;
}

/* The record that an action's value becomes. ref_bytes: room for a reference. */
static int make_record(struct slf_txn *txn, const struct action *action, struct record *record, uint8_t *ref_bytes)
{
	struct slf_slice value = action->value;
	struct block *block;

	record->key = action->key;
	record->value = value;
	record->kind = RECORD_INLINE;
	if (action->op == ACTION_PUT && value.size <= txn->core->store.settings.inline_bytes)
		return 0;
	record->value = slice(ref_bytes, VALUE_REF_BYTES);
	record->kind = RECORD_REF;
	if (action->op == ACTION_PUT_REF) {
		value_ref_encode(ref_bytes, &action->ref);
		return 0;
	}
	block = edit_alloc(&txn->edit, value.size, BLOCK_VALUE);
	if (!block)
		return -ENOMEM;
	memcpy(block_payload(block), value.data, value.size);
	block->raw = (uint32_t)value.size;
	heap_owe(txn->edit.heap, block, store_room(value_entry_bytes(action->key.size, value.size), false));
	heap_ref_encode(ref_bytes, block);
	record->kind = RECORD_HEAP;
	return 0;
}

static void count_entries(struct slf_txn *txn, uint32_t id, uint64_t before, uint64_t after)
{
	if (id >= TREE_FIRST_USER)
		txn->entries_added += after - before; /* modulo 2^64: a forged tree may count anything */
}

/* A transaction that outgrows the heap writes its nodes out. */
static int spill_when_large(struct slf_txn *txn)
{
	uint64_t used = heap_used(txn->core->heap);

	if (likely(used < txn->core->tuning.heap_bytes || used < txn->heap_start + txn->core->tuning.heap_bytes / 4))
		return 0;
	return txn_spill(txn);
}

/* Puts the value into the working tree; the action has been recorded or is being replayed. */
static int apply_put(struct slf_txn *txn, struct txn_tree *tree, struct action *action)
{
	uint8_t ref_bytes[VALUE_REF_BYTES];
	struct record record;
	int result = make_record(txn, action, &record, ref_bytes);

	return result ? result : tree_put(&txn->edit, action->tree, &tree->root, &record);
}

static int apply_one(struct slf_txn *txn, struct action *action)
{
	struct txn_tree *tree = NULL;
	uint64_t before;
	int result = find_tree(txn, action->tree, &tree);

	if (result)
		return result;
	before = tree->root.count;
	if (action->op == ACTION_DEL)
		result = tree_del(&txn->edit, action->tree, &tree->root, action->key);
	else
		result = apply_put(txn, tree, action);
	if (result)
		return result;
	tree->dirty = true;
	count_entries(txn, action->tree, before, tree->root.count);
	return 0;
}

static int ignore_found(void *context, size_t index, int result, const struct found *found)
{
	(void)context;
	(void)index;
	(void)result;
	(void)found;
	return 0;
}

/* Looks the keys of a group up together, so that what the changes will touch is in memory, and in the caches, when they
 * come: one by one they would wait for every line. What cannot be read will be told by the change itself. */
static void warm_up(struct slf_txn *txn, const struct action *actions, size_t count)
{
	struct slf_slice keys[TXN_GROUP];
	struct txn_tree *tree = NULL;

	for (size_t from = 0, to; from < count; from = to) {
		for (to = from; to < count && actions[to].tree == actions[from].tree; to++)
			keys[to - from] = actions[to].key;
		if (to - from > 1 && find_tree(txn, actions[from].tree, &tree) == 0 && tree->root.height > 1)
			probe_run(&txn->core->store, actions[from].tree, &tree->root, keys, to - from, false, ignore_found,
				  NULL);
	}
}

int txn_apply(struct slf_txn *txn, struct action *actions, size_t count)
{
	int result = 0;

	warm_up(txn, actions, count);
	for (size_t i = 0; i < count && !result; i++)
		result = apply_one(txn, &actions[i]);
	return result;
}

int txn_flush(struct slf_txn *txn)
{
	struct action actions[TXN_GROUP];
	size_t count = txn->pending_count;
	int result;

	if (!count)
		return 0;
	assert(txn->state == TXN_WRITING);
	for (size_t i = 0; i < count; i++) {
		struct slf_slice rest = slice(txn->actions + txn->pending[i], txn->action_bytes - txn->pending[i]);

		result = action_decode(&rest, &actions[i]);
		assert(!result);
		(void)result;
	}
	txn->pending_count = 0;
	txn->pending_bytes = 0;
	result = txn_apply(txn, actions, count);
	if (!result)
		result = spill_when_large(txn);
	return doom(txn, result);
}

int txn_put(struct slf_txn *txn, uint32_t id, struct slf_slice key, struct slf_slice value)
{
	struct action action = { .op = ACTION_PUT, .tree = id, .key = key, .value = value };
	struct txn_tree *tree = NULL;
	const struct settings *settings = &txn->core->store.settings;
	uint64_t bytes = 0;
	size_t offset = 0;
	int result = find_tree(txn, id, &tree);

	if (result == -EINVAL) /* there is no such tree */
		return result;
	if (!result) {
		bytes = put_room(settings, tree->root.height, key.size, value.size);
		result = reserve_space(txn, bytes);
		if (error_is_space(result) && txn->pending_count) { /* what they really add may be less */
			result = txn_flush(txn);
			if (!result)
				result = reserve_space(txn, bytes);
		}
	}
	if (!result && value.size >= settings->bulk_bytes)
		result = write_large(txn, &action);
	if (!result)
		result = record_action(txn, &action, &offset);
	if (result)
		return doom(txn, result);
	txn->pending[txn->pending_count++] = offset;
	txn->pending_bytes += bytes;
	txn->changes++;
	return txn->pending_count == TXN_GROUP ? txn_flush(txn) : 0;
}

int txn_del(struct slf_txn *txn, uint32_t id, struct slf_slice key)
{
	struct action action = { .op = ACTION_DEL, .tree = id, .key = key };
	struct txn_tree *tree = NULL;
	size_t offset;
	uint64_t before;
	int result = txn_tree(txn, id, &tree);

	if (result == -EINVAL)
		return result;
	if (result)
		return doom(txn, result);
	before = tree->root.count;
	result = tree_del(&txn->edit, id, &tree->root, key);
	if (!result)
		result = record_action(txn, &action, &offset);
	if (result)
		return doom(txn, result);
	tree->dirty = true;
	txn->changes++;
	count_entries(txn, id, before, tree->root.count);
	return doom(txn, spill_when_large(txn));
}
