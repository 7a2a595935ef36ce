/* SPDX-License-Identifier: MIT */
/*
 * What the tests of store, tree, walk and probe share: a store over two temporary files, a heap, one tree that is
 * changed in edits, and a model of what the tree ought to hold. The tree can be written to the files, so that later
 * changes lie on disk leaves as overlays, and those become deltas with the next writing. One thread.
 */
#ifndef TREE_RIG_H
#define TREE_RIG_H

#include <stdio.h>

#include "tree.h"

#define RIG_TREE 17
#define RIG_SPINDLES 2

/* Numbers from a seed (splitmix64). */
struct rig_random {
	uint64_t state;
};
uint64_t rig_random(struct rig_random *random);
uint64_t rig_below(struct rig_random *random, uint64_t limit); /* limit > 0 */
/* A generator from SOLIFUGE_TEST_SEED, else from the clock; prints its seed. */
struct rig_random rig_seed(const char *test);

struct rig_item {
	struct rig_item *next; /* in the list of all items ever made */
	struct slf_slice key, value;
	uint8_t data[];
};

/* A sorted array of items, which are shared and live as long as the rig. */
struct rig_model {
	struct rig_item **items;
	size_t count, capacity;
};
size_t rig_model_find(const struct rig_model *model, struct slf_slice key, bool *found);
void rig_model_copy(struct rig_model *to, const struct rig_model *from);
void rig_model_release(struct rig_model *model);

/* An entry that has been written to the files. */
struct rig_entry {
	uint64_t position;
	uint32_t length;
	uint8_t type, kind, level;
};

struct rig_options {
	bool map;
	uint32_t leaf_bytes, branch_bytes, inline_bytes;
	const char *io; /* "posix" (default) or "uring" */
};

struct tree_rig {
	struct stats stats;
	struct io *io;
	struct spindle spindles[RIG_SPINDLES];
	uint64_t next_offset[RIG_SPINDLES];
	struct store store;
	struct heap *heap;
	uint64_t heap_start_bytes; /* heap_used of the empty heap */
	struct edit edit;
	struct tree_root root, committed_root;
	struct rig_model model, committed_model;
	struct rig_item *all;
	struct garbage garbage; /* of committed edits, until rig_collect */
	struct rig_entry *entries;
	size_t entry_count, entry_capacity;
};

/* Anything that fails here ends the test with abort and a line that says where. */
#define rig_must(condition) rig_hold((condition), #condition, __FILE__, __LINE__)
void rig_hold(bool holds, const char *condition, const char *file, int line);

void rig_init(struct tree_rig *rig, const struct rig_options *options);
void rig_release(struct tree_rig *rig);

/* Puts into tree and model: inline up to inline_bytes, else as a value on the heap. */
void rig_put(struct tree_rig *rig, struct slf_slice key, struct slf_slice value);
/* Deletes from both, which have to agree. */
void rig_del(struct tree_rig *rig, struct slf_slice key);
/* Ends the edit: its changes stay. A new one begins. */
void rig_commit(struct tree_rig *rig);
/* Ends the edit: tree and model are as after the last commit. */
void rig_undo(struct tree_rig *rig);
/* Commits, and writes the whole tree to the files; the root is a position afterwards. */
void rig_write(struct tree_rig *rig);
/* Frees all garbage: older roots must not be read any more. */
void rig_collect(struct tree_rig *rig);

/* Writes a sealed entry's bytes to a new place, which must be asked for before it can be sealed. */
uint64_t rig_place(struct tree_rig *rig, size_t length);
void rig_store(struct tree_rig *rig, uint64_t position, const void *entry, size_t length);
/* Flips bits of one byte of the files and forgets what was verified near it. The same call mends it. */
void rig_damage(struct tree_rig *rig, uint64_t position, uint8_t mask);
/* Forgets everything that was verified. */
void rig_forget(struct tree_rig *rig);

/* Does the record say what the item says? Reads values through the store. */
bool rig_found_is(struct tree_rig *rig, const struct found *found, const struct rig_item *item);
/* Asserts that tree_get over root finds exactly the model, that counts agree, and that fences lead to their nodes. */
void rig_check(struct tree_rig *rig, const struct tree_root *root, const struct rig_model *model);

/* Keys of many kinds: numbers, words with long common beginnings, short strings with zero bytes, some long ones.
 * There are about `range` different ones. buffer has RIG_KEY_BYTES. */
#define RIG_KEY_BYTES 512
enum rig_keys { RIG_NUMBERS, RIG_WORDS, RIG_SHORT, RIG_MIXED };
struct slf_slice rig_key(enum rig_keys kind, uint64_t number, uint8_t *buffer);
/* A value from number: its size is at most bytes_max; about half of them can be compressed. */
struct slf_slice rig_value(uint64_t number, size_t bytes_max, uint8_t *buffer);

/* Random changes: puts, overwrites and deletes (of del_percent) over about `range` keys. */
struct rig_mix {
	enum rig_keys keys;
	uint64_t range;
	unsigned del_percent;
	size_t value_bytes_max; /* at most RIG_VALUE_BYTES */
};
#define RIG_VALUE_BYTES 20000
void rig_change(struct tree_rig *rig, struct rig_random *random, const struct rig_mix *mix, size_t changes);
/* Changes, written; a fortieth as many, written; a fortieth, left on the heap: leaves on disk, deltas, overlays on
 * both, and leaves on the heap stand side by side. */
void rig_layers(struct tree_rig *rig, struct rig_random *random, const struct rig_mix *mix, size_t changes);

#endif
