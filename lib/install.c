/* SPDX-License-Identifier: MIT */
/*
 * A frozen node is a heap node born up to the frozen epoch that has been noted; everything below it is frozen as well. So
 * only branches born later are walked: tree by tree in the order of ids, lowest branch by lowest branch in key order, and
 * the key where the next slice goes on is kept.
 *
 * Memory ordering: node_child_settle stores hash and length, then the word with release; a reader that loads the word with
 * acquire sees them. Both words lead to the same content, so it does not matter which one a reader meets.
 *
 * A rollback between slices brings back branches that were not walked: then it starts again.
 */
#include "install.h"

#include <stdlib.h>

#include "core.h"

struct install {
	struct core *core;
	uint64_t frozen_epoch;
	uint64_t before;
	const struct tree_root *roots;
	uint32_t tree;     /* where the next step goes on */
	uint8_t *key;
	size_t key_bytes, key_capacity;
	uint32_t rollbacks; /* commit.rollbacks when the walk began */
	bool settled;       /* what has been written owes nothing any more */
	bool done;
	uint64_t published; /* epoch of the version without frozen nodes, 0 before */
	size_t at, left;    /* progress in the written list */
	bool pruned;
};

/* What a word becomes: true when it led to a frozen node. */
static bool thaw(const struct install *install, struct child *child)
{
	const struct block *block;

	if (!word_is_heap(child->word))
		return false;
	block = block_of(word_node(child->word));
	if (block->birth > install->frozen_epoch || !block->position)
		return false;
	child->hash = block->hash;
	child->length = block->length;
	child->word = block->position;
	return true;
}

static int key_set(struct install *install, struct slf_slice key)
{
	if (key.size > install->key_capacity) {
		uint8_t *grown = realloc(install->key, key.size);

		if (!grown)
			return -ENOMEM;
		install->key = grown;
		install->key_capacity = key.size;
	}
	if (key.size)
		memcpy(install->key, key.data, key.size);
	install->key_bytes = key.size;
	return 0;
}

/* Thaws the children of a branch from index on; stops at the first that is a newer heap branch and gives its index, else
 * the count. */
static uint32_t thaw_children(const struct install *install, struct node *branch, uint32_t index)
{
	for (; index < node_count(branch); index++) {
		struct child child;

		node_child_locate(branch, index, &child);
		if (thaw(install, &child))
			node_child_settle(branch, index, &child);
		else if (word_is_heap(child.word) && node_level(branch) > 1)
			break;
	}
	return index;
}

/* One lowest branch of the tree, from the kept key on. *more: the tree has keys behind it. */
static int step_tree(struct install *install, const struct tree_root *root, bool *more)
{
	struct slf_slice from = slice(install->key, install->key_bytes), bound = { 0 };
	struct node *branch = word_node(root->word);

	*more = false;
	if (!word_is_heap(root->word) || root->height < 2 ||
	    block_of(branch)->birth <= install->frozen_epoch)
		return 0;
	for (;;) {
		uint32_t index = thaw_children(install, branch, node_branch_find(branch, from));

		if (index == node_count(branch))
			break;
		if (index + 1 < node_count(branch))
			bound = node_separator(branch, index + 1);
		if (index > node_branch_find(branch, from))
			from = node_separator(branch, index);
		branch = word_node(node_child_word(branch, index));
	}
	if (!bound.data)
		return 0;
	*more = true;
	return key_set(install, bound);
}

struct next_tree {
	uint32_t id;
	const struct tree_root *root;
};

static int find_next(void *context, uint32_t id, const struct tree_root *root, uint64_t birth)
{
	struct next_tree *next = context;

	(void)birth;
	next->id = id;
	next->root = root;
	return 1;
}

static int step(struct install *install)
{
	struct next_tree next = { 0 };
	bool more = false;
	int result;

	forest_each(install->core->versions.tip->forest, install->tree, find_next, &next);
	if (!next.root) {
		install->done = true;
		return 0;
	}
	if (next.id != install->tree)
		install->key_bytes = 0;
	install->tree = next.id;
	result = step_tree(install, next.root, &more);
	if (!result && !more) {
		install->tree = next.id + 1;
		install->key_bytes = 0;
	}
	return result;
}

/* ---- Publishing -------------------------------------------------------------------------------------------------- */

struct keep {
	struct install *install;
	struct edit *edit;
	struct forest *forest;
};

/* Roots put after the frozen version stay in the forest; the others stand in the roots tree. */
static int keep_newer(void *context, uint32_t id, const struct tree_root *root, uint64_t birth)
{
	struct keep *keep = context;
	struct tree_root kept = *root;
	struct child child = { .word = root->word, .hash = root->hash, .length = root->length };

	if (birth <= keep->install->frozen_epoch)
		return 0;
	if (root->word && thaw(keep->install, &child)) {
		kept.word = child.word;
		kept.hash = child.hash;
		kept.length = child.length;
	}
	return forest_put(keep->edit, &keep->forest, id, &kept);
}

static int publish(struct install *install, struct edit *edit)
{
	struct core *core = install->core;
	struct keep keep = { .install = install, .edit = edit };
	struct garbage empty;
	struct version *tip = core->versions.tip, *version = version_new(&core->versions);
	int result = version ? 0 : -ENOMEM;

	if (!result)
		result = forest_each(tip->forest, 0, keep_newer, &keep);
	if (!result)
		result = forest_drop(edit, tip->forest);
	if (result) {
		version_free(&core->versions, version);
		return result;
	}
	version->epoch = edit->epoch;
	version->seq = tip->seq;
	version->forest = keep.forest;
	/* a large transaction may have committed as a checkpoint of its own meanwhile: then its roots stay */
	version->roots = tip->roots_epoch == install->before ? *install->roots : tip->roots;
	version->roots_epoch = tip->roots_epoch == install->before ? version->epoch : tip->roots_epoch;
	version->digest = tip->digest;
	version->search_ns = tip->search_ns;
	version->next_tree = tip->next_tree;
	version->user_entries = tip->user_entries;
	empty = version->garbage;
	version->garbage = edit->garbage;
	edit->garbage = empty;
	edit->born = NULL;
	core->epoch++;
	commit_install(&core->commit, version);
	install->published = version->epoch;
	return 0;
}

/* The last part, under the turn: nothing may be pending, since what is pending could be taken back. */
static int finish(struct install *install)
{
	struct core *core = install->core;
	struct edit edit;
	int result = 0;

	if (core->tuning.sync == SLF_SYNC_COMMIT)
		result = commit_sync(&core->commit, NULL);
	if (result == 0)
		result = commit_check(&core->commit);
	commit_rollback(&core->commit);
	if (install->rollbacks != atomic_load(&core->commit.rollbacks)) {
		install->rollbacks = atomic_load(&core->commit.rollbacks);
		install->tree = 0;
		install->key_bytes = 0;
		install->done = false;
		return 0;
	}
	if (result)
		return result;
	edit_init(&edit, &core->store, core->heap, core->epoch);
	result = publish(install, &edit);
	if (result)
		edit_undo(&edit);
	edit_release(&edit);
	return result ? result : SLF_END;
}

static int walk_slice(struct install *install, uint64_t deadline_ns)
{
	struct core *core = install->core;
	int result = 0;

	if (!install->settled) {
		heap_settle(core->heap, core->checkpoint.owed);
		extents_redeem(&core->extents, heap_owed(core->heap));
		install->settled = true;
	}
	commit_rollback(&core->commit);
	while (!result && !install->done && clock_now_ns() < deadline_ns)
		result = step(install);
	if (!result && install->done)
		result = finish(install);
	return result;
}

/* ---- Letting go -------------------------------------------------------------------------------------------------- */

static int retire(void *context, struct block *block)
{
	struct install *install = context;

	return versions_retire(&install->core->versions, block, install->published);
}

/* No version from the published one on leads to a frozen node, so nobody else will retire one. First those that had been
 * retired before are taken out of the list: they are freed as soon as the pin of the frozen version is off. */
static int drop_slice(struct install *install, uint64_t deadline_ns)
{
	struct materialiser *materialiser = &install->core->checkpoint.materialiser;
	int result = 0;

	if (!install->pruned) {
		result = materialise_prune(materialiser, &install->at, &install->left, deadline_ns);
		if (result)
			return result == SLF_END ? 0 : result;
		install->pruned = true;
		atomic_store(&install->core->versions.pinned, 0);
	}
	result = materialise_drop(materialiser, &install->left, retire, install, deadline_ns);
	if (commit_sweep(&install->core->commit) && !result)
		return 0; /* what the pin held goes in slices, too */
	if (result == 0)
		return SLF_END;
	return result == SLF_END ? 0 : result;
}

/* A large transaction borrows the materialiser, and its written list, for a while. */
static bool lent(struct core *core)
{
	bool lent;

	pthread_mutex_lock(&core->checkpoint.mutex);
	lent = core->checkpoint.list_lent;
	pthread_mutex_unlock(&core->checkpoint.mutex);
	return lent;
}

int install_run(struct core *core, uint64_t frozen_epoch, uint64_t before, const struct tree_root *roots)
{
	struct install install = { .core = core,
				   .frozen_epoch = frozen_epoch,
				   .before = before,
				   .roots = roots,
				   .rollbacks = atomic_load(&core->commit.rollbacks) };
	int result = 0;

	while (!result) {
		result = turn_take_service(&core->turn);
		if (result)
			break;
		assert(!lent(core)); /* it is lent under the turn only */
		core->install_epoch = install.published ? 0 : frozen_epoch;
		uint64_t deadline_ns = clock_now_ns() + INSTALL_SLICE_NS;
		result = install.published ? drop_slice(&install, deadline_ns) : walk_slice(&install, deadline_ns);
		if (result == SLF_END && install.published && !install.pruned && !install.at)
			result = 0; /* published in this slice: letting go begins with the next */
		if (result)
			core->install_epoch = 0;
		turn_pass(&core->turn);
	}
	free(install.key);
	return result == SLF_END || result == SLF_EBADHANDLE ? 0 : result; /* closing: the heap goes as a whole */
}
