/* SPDX-License-Identifier: MIT */
/*
 * The store: the spindles of one database and the reading of entries that are checked before first use. Any thread.
 *
 * An entry is looked at in the map where there is one, else copied by pread: a node into the caller's lens, a value into
 * memory that the caller's function gives. On every access the header is compared with the reference (type, level, tree,
 * content hash, length), so a bit that was earned as a value never lets the same bytes pass as a node.
 */
#ifndef STORE_H
#define STORE_H

#include "base.h"
#include "entry.h"
#include "node.h"
#include "spindle.h"
#include "verified.h"

struct settings {
	uint32_t leaf_bytes, branch_bytes, inline_bytes, bulk_bytes;
	uint32_t sector;      /* slab padding, bytes */
	uint32_t compression; /* 0 none, 1 lz4 */
};

#define NODE_BLOCK_BYTES 4096 /* small nodes lie within one, larger ones start on one */

/* Bytes of bulk that an entry takes at most, with what stays empty because of it (bulk.c places them). A node of more than half a
 * block has its blocks to itself. A smaller one may leave as much empty in the block before as it takes; where all are tiny, only
 * a seventh. And one of up to 64 KiB leaves less than a sixteenth of an extent empty, a larger one as much as it takes. */
static inline uint64_t store_room(uint64_t length, bool node)
{
	uint64_t room = align_up(length, ENTRY_ALIGN);

	if (node && length > NODE_BLOCK_BYTES / 2)
		room = align_up(length, NODE_BLOCK_BYTES);
	else if (node)
		room = u64_min(NODE_BLOCK_BYTES, room <= NODE_BLOCK_BYTES / 8 ? room + room / 7 : 2 * room + room / 7);
	return room + room / 16 + (length > 64 * KIB ? room : 0);
}

struct store {
	struct io *io;
	struct stats *stats;
	uint8_t uuid[16];
	uint64_t seed;
	struct settings settings;
	unsigned spindle_count;
	struct spindle *spindles;
	struct verified verified;
	/* A transaction reads nodes and values that it has written and nobody has flushed: set and cleared by the holder of the turn;
	 * relaxed, for what others read meanwhile is at worst checked once more. */
	_Atomic bool unflushed;
};

/* A buffer for one node in pread mode. Zero-initialised; unused while files are mapped. */
struct lens {
	void *buffer;
	size_t capacity;
};
void lens_release(struct lens *lens);

/* What leads to a node on disk, and what the node must be. */
struct node_ref {
	uint64_t position;
	uint64_t hash;
	uint32_t length;
	uint32_t tree;
	unsigned level;
};

/* Notes that a node has been checked in the map, or sealed and written by us. Until its flush pages of it can be lost; of
 * one page the header tells that, with each use. */
static inline void store_node_vouch(struct store *store, uint64_t position, uint32_t length)
{
	if (length <= NODE_BLOCK_BYTES || !atomic_load_explicit(&store->unflushed, memory_order_relaxed))
		verified_set(&store->verified, position);
}

int store_node_slow(struct store *store, const struct node_ref *ref, struct lens *lens, const struct node **node);

static inline bool node_matches(const struct node *node, const struct node_ref *ref)
{
	return node_bytes(node)[20] == ENTRY_NODE && node_hash(node) == ref->hash && node_length(node) == ref->length &&
	       node_level(node) == ref->level && node_tree(node) == ref->tree;
}

/* The node that ref leads to: in the map, or in lens (valid until lens is used again). 0, SLF_ECORRUPT, or an error of
 * reading. */
static inline int store_node(struct store *store, const struct node_ref *ref, struct lens *lens,
			     const struct node **node)
{
	unsigned spindle = position_spindle(ref->position);
	const struct node *found;

	if (likely(spindle < store->spindle_count && ref->length <= NODE_BYTES_MAX &&
		   verified_test(&store->verified, ref->position))) {
		found = spindle_view(&store->spindles[spindle], position_offset(ref->position), ref->length);
		if (likely(found && node_matches(found, ref))) {
			*node = found;
			return 0;
		}
	}
	return store_node_slow(store, ref, lens, node);
}

/* Where a copied value goes: size bytes or NULL (then the read fails with *error). */
typedef void *value_alloc_fn(void *context, size_t size, int *error);

/*
 * The value that ref leads to: in the map when it is stored raw, else in memory from alloc. settled: the reference
 * stands in a node on disk, so the value is durable, unless both are unflushed, and its bit may be set.
 */
int store_value(struct store *store, const struct value_ref *ref, bool settled, value_alloc_fn *alloc, void *context,
		struct slf_slice *value);

/* The actions that a commit spilled to bulk, copied to *buffer (malloc; the caller frees). */
int store_actions(struct store *store, const struct entry_ref *ref, void **buffer, struct slf_slice *actions);

/* Brings nodes that may not be in memory into the page cache, many reads in flight at once: for cold multi-get. A hint:
 * does nothing for nodes that have been checked before and for files that are not mapped. */
void store_prefetch(struct store *store, const struct node_ref *refs, size_t count);

#define NODE_SEARCH_BYTES 320 /* what a search looks at first: header and heads */

/* Starts loading the first bytes of a node in memory; a hint, harmless beyond its end. */
static inline void node_lines_prefetch(const void *node, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += 64)
		__builtin_prefetch((const void *)((uintptr_t)node + at));
}

/* The same for a node that the map shows. position and length need not be sane. */
static inline void store_lines_prefetch(struct store *store, uint64_t position, uint32_t length, size_t bytes)
{
	unsigned spindle = position_spindle(position);
	const void *view = NULL;

	if (spindle < store->spindle_count && store->spindles[spindle].mapped)
		view = spindle_view(&store->spindles[spindle], position_offset(position), length);
	if (view)
		node_lines_prefetch(view, u64_min(bytes, length));
}

/* What all files have, as far as is known: nothing that is named once each can be more. */
uint64_t store_bytes(const struct store *store);

/* Notes and counts a damaged entry; returns SLF_ECORRUPT. */
int store_corrupt(struct store *store, uint64_t position, uint64_t expected, uint64_t found, const char *what);

#endif
