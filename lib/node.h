/* SPDX-License-Identifier: MIT */
/*
 * Nodes: leaves, deltas and branches as bytes, the same on disk and in memory (format.h gives the layout). Pure: no I/O,
 * no allocation but for the vectors of the gather functions, no knowledge of trees.
 *
 * An image in memory may have spare capacity and room between arrays and records, so that records can be inserted in
 * place; an image on disk has none (capacity == count, dead == 0). Only child words of branches change under readers:
 * they are loaded with acquire and stored with release.
 */
#ifndef NODE_H
#define NODE_H

#include "base.h"
#include "codec.h"
#include "entry.h"
#include "format.h"

struct node; /* an image; at least NODE_HEADER_BYTES, 8-byte aligned */

/* ---- Header ------------------------------------------------------------------------------------------------------ */

static inline const uint8_t *node_bytes(const struct node *node) { return (const uint8_t *)node; }
static inline uint64_t node_hash(const struct node *node) { return get_u64(node_bytes(node) + 8); }
static inline uint32_t node_length(const struct node *node) { return get_u32(node_bytes(node) + 16); }
static inline enum node_kind node_kind(const struct node *node) { return (enum node_kind)node_bytes(node)[21]; }
static inline unsigned node_level(const struct node *node) { return node_bytes(node)[22]; }
static inline uint32_t node_tree(const struct node *node) { return get_u32(node_bytes(node) + 24); }
static inline uint32_t node_count(const struct node *node) { return get_u32(node_bytes(node) + 32); }
static inline uint32_t node_capacity(const struct node *node) { return get_u32(node_bytes(node) + 36); }
static inline uint32_t node_dead(const struct node *node) { return get_u32(node_bytes(node) + 44); }
static inline uint32_t node_live(const struct node *node) { return get_u32(node_bytes(node) + 52); }
struct slf_slice node_fence(const struct node *node);

/* ---- Leaves and deltas ------------------------------------------------------------------------------------------- */

struct record {
	struct slf_slice key;
	struct slf_slice value; /* inline bytes; VALUE_REF_BYTES for RECORD_REF and RECORD_HEAP; empty for RECORD_TOMB */
	enum record_kind kind;
};

/* A growing array of records that point into images. Zero-initialised; freed by records_release. */
struct records {
	struct record *items;
	size_t count, capacity;
};
void records_release(struct records *records);
int records_add(struct records *records, const struct record *record); /* 0 or -ENOMEM */

/* The base of a delta. */
struct delta_base {
	uint64_t position;
	uint64_t hash;
	uint32_t length;
	uint32_t count;
};
void node_delta_base(const struct node *delta, struct delta_base *base);

/* Finds key among the records: true and its index, or false and the index where it would stand. */
bool node_find(const struct node *leaf, struct slf_slice key, uint32_t *index);
/* The record at index < count; slices point into the image. */
void node_record(const struct node *leaf, uint32_t index, struct record *record);

/* Exact bytes of an image that holds these records with this array capacity (>= count). */
size_t node_leaf_bytes(const struct record *records, size_t count, size_t capacity, size_t fence_bytes, bool delta);
/* What one record adds to an image: arrays, header, key and value. */
size_t node_record_bytes(const struct record *record);
/* Builds a leaf (base NULL) or delta image of exactly `size` bytes in `image`; records are sorted, keys distinct. All
 * bytes are written (no uninitialised memory). Slices must not point into image. live: see format.h. */
void node_leaf_build(struct node *image, size_t size, uint32_t tree, struct slf_slice fence,
		     const struct delta_base *base, const struct record *records, size_t count, size_t capacity,
		     uint32_t live);
/* Copies a leaf or delta as it is, dead bytes too, into an image of `size` bytes with room for `capacity` records. What is
 * between the arrays and the records is not written. */
void node_leaf_copy(struct node *image, size_t size, size_t capacity, const struct node *leaf);
/* May the leaf or delta, in memory, have records that lead to values on the heap? */
bool node_has_heap_values(const struct node *leaf);
/* Bytes of an image without dead bytes and spare room. */
size_t node_used_bytes(const struct node *leaf);

/* Changes in place take index, and `there`, as node_find has given them for the key. */
/* Is there room for the record, without a rebuild? */
bool node_has_room(const struct node *leaf, uint32_t index, bool there, const struct record *record);
/* Inserts or replaces in place. 0, or NODE_FULL when it must be rebuilt (no room, no slot, or a key that would change the
 * prefix): then nothing has changed. */
#define NODE_FULL 3
int node_put(struct node *leaf, uint32_t index, bool there, const struct record *record);
/* Removes the record at index in place; its bytes are dead until the next rebuild. */
void node_remove(struct node *leaf, uint32_t index);
void node_set_live(struct node *leaf, uint32_t live);

/* Appends all records of the leaf, in order. */
int node_gather(const struct node *leaf, struct records *records);
/* Appends the records of base with those of delta applied, in order, without tombstones. */
int node_merge(const struct node *base, const struct node *delta, struct records *records);

/* Cuts records into pieces for leaves of about `limit` bytes: cuts[i] is the index where piece i + 1 starts; returns the
 * number of pieces (>= 1, at most cuts_max + 1). Every piece has at least one record; a piece above the limit has one
 * record only... unless cuts_max stops it. append: the last record was added at the right end of the tree, so the first
 * pieces are filled and the last one starts small. */
size_t node_cut(const struct record *records, size_t count, size_t limit, bool append, size_t *cuts, size_t cuts_max);

/* Length of the shortest prefix of right that is greater than left (left < right). */
size_t node_separator_bytes(struct slf_slice left, struct slf_slice right);

/* ---- Branches ---------------------------------------------------------------------------------------------------- */

struct child {
	uint64_t word; /* position, or pointer | 1 */
	uint64_t hash; /* content hash and length of the node on disk; 0 while it is not there */
	uint64_t count; /* entries below */
	uint32_t length;
	struct slf_slice separator; /* points into an image or the caller's memory; the first is ignored */
};

struct children {
	struct child *items;
	size_t count, capacity;
};
void children_release(struct children *children);
int children_add(struct children *children, const struct child *child);

/* Index of the child that holds key. */
uint32_t node_branch_find(const struct node *branch, struct slf_slice key);
/* The separator of child index > 0; empty for 0. */
struct slf_slice node_separator(const struct node *branch, uint32_t index);

static inline const uint8_t *node_branch_words(const struct node *branch)
{
	return node_bytes(branch) + NODE_HEADER_BYTES + align_up((uint64_t)4 * node_capacity(branch), 8);
}
/* The word alone, with acquire: what it leads to may be read after it. */
static inline uint64_t node_child_word(const struct node *branch, uint32_t index)
{
	return le64toh(__atomic_load_n((const uint64_t *)(const void *)(node_branch_words(branch) + 8 * index),
				       __ATOMIC_ACQUIRE));
}
static inline uint64_t node_child_entries(const struct node *branch, uint32_t index)
{
	return get_u64(node_branch_words(branch) + 16 * (uint64_t)node_capacity(branch) + 8 * (uint64_t)index);
}
/* Where a child is: word, and for a position hash and length. Sets nothing else of *child: a descent must not wait for
 * lines that it does not need. */
static inline void node_child_locate(const struct node *branch, uint32_t index, struct child *child)
{
	const uint8_t *words = node_branch_words(branch);
	uint64_t capacity = node_capacity(branch);

	child->word = node_child_word(branch, index);
	child->hash = 0;
	child->length = 0;
	if (child->word & 1)
		return;
	child->hash = le64toh(__atomic_load_n((const uint64_t *)(const void *)(words + 8 * (capacity + index)),
					      __ATOMIC_RELAXED));
	child->length = le32toh(__atomic_load_n((const uint32_t *)(const void *)(words + 24 * capacity + 4 * index),
						__ATOMIC_RELAXED));
}
/* Everything about a child. The word is loaded first, with acquire; hash and length belong to a position. */
void node_child(const struct node *branch, uint32_t index, struct child *child);
/* The child now stands at a position, with the same content: sets hash and length, then the word with release, in a branch
 * that readers see. */
void node_child_settle(struct node *branch, uint32_t index, const struct child *child);
/* Sets word, hash, length, entries of a child of a branch that only the caller sees. */
void node_child_set(struct node *branch, uint32_t index, const struct child *child);

/* Changes of a child of a branch that only the caller sees: it is now on the heap; it has more or fewer entries. */
void node_child_move(struct node *branch, uint32_t index, uint64_t word);
void node_child_count(struct node *branch, uint32_t index, int64_t added);

size_t node_branch_bytes(const struct child *children, size_t count, size_t fence_bytes);
/* Builds a branch of exactly node_branch_bytes() in image; capacity == count. level >= 1. */
void node_branch_build(struct node *image, size_t size, uint32_t tree, unsigned level, struct slf_slice fence,
		       const struct child *children, size_t count);
/* The same in an image of `size` >= node_branch_bytes() that is never written: what is more becomes room for further
 * children. */
void node_branch_build_roomy(struct node *image, size_t size, uint32_t tree, unsigned level, struct slf_slice fence,
			     const struct child *children, size_t count);
/* Inserts a child at index > 0 in place, in an image that only the caller sees: 0, or NODE_FULL and nothing has changed (no
 * room, or a separator without the prefix). */
int node_branch_insert(struct node *branch, uint32_t index, const struct child *child);
int node_branch_gather(const struct node *branch, struct children *children);
/* As node_cut, for branches; every piece has at least two children where there are two. */
size_t node_branch_cut(const struct child *children, size_t count, size_t limit, bool append, size_t *cuts,
		       size_t cuts_max);

/* Sum of the entries below a branch; of a leaf or delta its live. */
uint64_t node_entries(const struct node *node);

/* ---- Disk -------------------------------------------------------------------------------------------------------- */

/* Computes content hash and checksum of an image as it will stand at position. The image has no spare room and no
 * RECORD_HEAP; its child words are positions. The content hash leaves out child words, positions of value references and
 * the position of the base. */
void node_seal(struct node *node, uint64_t seed, uint64_t position);
/* Content hash alone. Returns 0: large leaves with references are hashed in pieces, so that no memory is needed. */
int node_content_hash(const struct node *node, uint64_t *hash);

/* Structure of a node read from disk: every offset, size, order, prefix, head, kind. NULL, or what is wrong. Safe on any
 * `length` bytes, whatever their checksum says. */
const char *node_check(const struct node *node, uint64_t length);
/* node_check, then checksum and content hash against the reference. expected and found are set where numbers differ, and
 * equal where that is not what is wrong. */
const char *node_verify(const struct node *node, uint64_t available, uint64_t seed, uint64_t position, uint64_t hash,
			uint32_t length, uint64_t *expected, uint64_t *found);

#endif
