/* SPDX-License-Identifier: MIT */
/*
 * Trees of nodes: lookup, and copy-on-write changes on the heap.
 *
 * A child word leads to a node on the heap (bit 0 set) or is a position on disk. A leaf is one of four things: a leaf on
 * disk; a delta on disk, whose base is a leaf on disk; an *overlay* on the heap (a delta image), whose base is a leaf on
 * disk; a whole leaf on the heap. Reading is safe in any thread for a root that its snapshot protects. Changing is for the
 * holder of the writer's turn: nodes born in the edit's epoch are changed in place, all others are copied.
 */
#ifndef TREE_H
#define TREE_H

#include "base.h"
#include "heap.h"
#include "node.h"
#include "slab.h"
#include "store.h"

static inline bool word_is_heap(uint64_t word) { return word & 1; }
static inline struct node *word_node(uint64_t word) { return (struct node *)(uintptr_t)(word & ~(uint64_t)1); }
static inline uint64_t node_word(const struct node *node) { return (uint64_t)(uintptr_t)node | 1; }

/* One level's buffers for pread mode: of a node and of a delta's base. */
struct tree_lens {
	struct lens node, base;
};
#define TREE_LENSES 2 /* a descent needs the parent while it reads the child */
struct tree_lenses {
	struct tree_lens level[TREE_LENSES];
};
void tree_lenses_release(struct tree_lenses *lenses);

/* A leaf as it is read: the newest changes, and what they lie on. */
struct leaf_view {
	const struct node *top;  /* a leaf, or a delta */
	const struct node *base; /* the leaf under a delta, else NULL */
	bool heap;               /* top is on the heap */
	bool copied;             /* top or base stands in a lens */
	uint64_t birth;          /* of top, when it is on the heap */
};

/* Where a record was found. */
struct found {
	struct record record;
	bool heap;      /* the record stands in a heap node, born at birth */
	bool settled;   /* it stands in a node on disk */
	bool copied;    /* and this may be in a lens: it lives until the next node is read */
	uint64_t birth;
};

/* The node that a child word leads to, checked to be at this level of this tree. For a heap word lens is not used. */
int tree_node(struct store *store, uint32_t tree, unsigned level, uint64_t word, uint64_t hash, uint32_t length,
	      struct lens *lens, const struct node **node);

/* As tree_node for a leaf: with the base of a delta. */
int tree_leaf(struct store *store, uint32_t tree, uint64_t word, uint64_t hash, uint32_t length,
	      struct tree_lens *lens, struct leaf_view *leaf);

/* Finds key in the leaf. false: not there (or deleted by the delta). */
bool leaf_find(const struct leaf_view *leaf, struct slf_slice key, struct found *found);

/* 0, SLF_NOTFOUND or a failure. found->record points into the heap, the map or lenses. */
int tree_get(struct store *store, uint32_t tree, const struct tree_root *root, struct slf_slice key,
	     struct tree_lenses *lenses, struct found *found);

/* Blocks dropped by a transaction: garbage that is freed when no snapshot can see it. */
struct garbage {
	struct block **blocks;
	size_t count, capacity;
};
void garbage_release(struct garbage *garbage);
int garbage_add(struct garbage *garbage, struct block *block);

/* The context of changes: one transaction's. */
struct edit {
	struct store *store;
	struct heap *heap;
	uint64_t epoch;            /* births; unique to the transaction */
	struct block *born;        /* list of blocks made here, through their born_next and born_previous */
	struct garbage garbage;    /* blocks of earlier epochs dropped here, marked retired */
	uint64_t charged_bytes;    /* nodes on disk that blocks born here have taken the place of */
	struct records records;    /* scratch */
	struct children children;  /* scratch */
	struct tree_lenses lenses; /* scratch */
	struct tree_lens sibling;  /* scratch of merging */
};
void edit_init(struct edit *edit, struct store *store, struct heap *heap, uint64_t epoch);
/* The same for one that was initialised before and rests: keeps its scratch. */
void edit_start(struct edit *edit, struct store *store, struct heap *heap, uint64_t epoch);
/* Frees large scratch; born blocks and garbage have been handed on or undone before. */
void edit_rest(struct edit *edit);
/* Frees all scratch. */
void edit_release(struct edit *edit);
/* What was born has been written, and the caller has freed it: the edit goes on from nodes on disk, the bases of deltas among
 * them that it has been charged for before. */
static inline void edit_written(struct edit *edit)
{
	edit->born = NULL;
	edit->charged_bytes = 0;
}
/* Undoes: frees what was born, unmarks the garbage. */
void edit_undo(struct edit *edit);
/* The same for lists that were taken out of an edit. */
void born_free(struct heap *heap, struct block *born);
void garbage_unmark(struct garbage *garbage);

/* Bytes that the roots tree may need for a root that has changed: a delta of its own, as store_room() counts it. */
#define TREE_ROOT_ROOM 256

/* A node owes what it may need on disk, as does a root; of a value its maker knows it. */
struct block *edit_alloc(struct edit *edit, size_t size, enum block_kind kind);
/* Drops a block: at once when it was born here, else it becomes garbage. */
int edit_drop(struct edit *edit, struct block *block);

/* Sets key to the record (its key and value are copied into nodes). On failure the working tree may be inconsistent: the
 * edit must be undone. */
int tree_put(struct edit *edit, uint32_t tree, struct tree_root *root, const struct record *record);
/* 0 or SLF_NOTFOUND. */
int tree_del(struct edit *edit, uint32_t tree, struct tree_root *root, struct slf_slice key);

/* The 24 bytes of a RECORD_HEAP. */
static inline void heap_ref_encode(void *bytes, struct block *block)
{
	memset(bytes, 0, VALUE_REF_BYTES);
	put_u64(bytes, (uint64_t)(uintptr_t)block);
	put_u32((uint8_t *)bytes + 20, block->raw);
}
static inline struct block *heap_ref_block(struct slf_slice value)
{
	return (struct block *)(uintptr_t)get_u64(value.data);
}

#ifdef PARANOID
/* Asserts the whole tree: order, fences, counts, levels. */
void tree_assert(struct store *store, uint32_t tree, const struct tree_root *root);
#endif

#endif
