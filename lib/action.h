/* SPDX-License-Identifier: MIT */
/*
 * Actions: what a transaction did, as bytes, in order, and the logical digest over them. Pure; any thread.
 *
 * The logical digest does not depend on how a value is stored: each action is folded as XXH3-128 of {running digest,
 * op, tree, key, raw value}, so that two replicas that applied the same commits have the same digest. A value that went
 * to bulk is folded by XXH3-64 of its raw bytes, and so are all others, so that replay can check without reading bulk:
 * the action carries that hash for references (value_hash). A put by reference is folded as a put.
 */
#ifndef ACTION_H
#define ACTION_H

#include "base.h"
#include "entry.h"
#include "format.h"

struct digest {
	uint64_t low, high;
};

struct action {
	enum action_op op;
	uint32_t tree;
	struct slf_slice key;
	struct slf_slice value; /* ACTION_PUT: the bytes */
	struct value_ref ref;   /* ACTION_PUT_REF */
	uint64_t value_hash;    /* ACTION_PUT_REF: XXH3-64 of the raw value; not used by the others */
};

/* Bytes of the encoded action. */
size_t action_bytes(const struct action *action);
void action_encode(void *bytes, const struct action *action);
/* Decodes the action at *bytes and moves *bytes behind it: 0, SLF_END at the end, SLF_ECORRUPT; SLF_EINCOMPATIBLE
 * for an op that this version does not know, with action->op set. Safe on any bytes. */
int action_decode(struct slf_slice *bytes, struct action *action);

/* Folds one action into a transaction's running digest (starts as zeros). */
void digest_action(struct digest *digest, const struct action *action);
/* The logical digest after a commit. */
struct digest digest_commit(const struct digest *previous, uint64_t seq, const struct digest *txn,
			    struct slf_slice blob);

/* A commit entry, decoded: slices point into the slab. */
struct commit_entry {
	uint64_t seq;
	uint64_t clock_ns, search_ns;
	struct digest digest;
	uint32_t action_count;
	struct slf_slice blob;
	uint32_t chunk_count;
	struct slf_slice chunks; /* chunk_count encoded entry_refs */
	struct slf_slice actions; /* inline actions */
};

/* Bytes of the log record body that commit_entry_encode writes. */
size_t commit_entry_bytes(const struct commit_entry *commit);
/* Writes the body; inline actions are copied. */
void commit_entry_encode(void *body, const struct commit_entry *commit);
/* 0 or SLF_ECORRUPT; safe on any bytes. Does not look into the actions. */
int commit_entry_decode(struct slf_slice body, struct commit_entry *commit);

#endif
