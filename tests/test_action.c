/* SPDX-License-Identifier: MIT */
/* Actions, the logical digest over them, and commit entries. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <xxhash.h>

#include "action.h"
#include "codec.h"
#include "scratch.h"

static struct action put_of(struct slf_slice key, struct slf_slice value)
{
	return (struct action){ .op = ACTION_PUT, .tree = 16, .key = key, .value = value };
}

static struct action ref_of(struct slf_slice key, struct slf_slice value)
{
	return (struct action){ .op = ACTION_PUT_REF, .tree = 16, .key = key,
				.ref = { .position = 4096, .hash = 7, .stored = (uint32_t)value.size,
					 .raw = (uint32_t)value.size },
				.value_hash = XXH3_64bits(value.data, value.size) };
}

static struct action del_of(struct slf_slice key)
{
	return (struct action){ .op = ACTION_DEL, .tree = 17, .key = key };
}

static bool action_same(const struct action *a, const struct action *b)
{
	return a->op == b->op && a->tree == b->tree && slice_is(a->key, b->key.data, b->key.size) &&
	       slice_is(a->value, b->value.data, b->value.size) && a->ref.position == b->ref.position &&
	       a->ref.hash == b->ref.hash && a->ref.stored == b->ref.stored && a->ref.raw == b->ref.raw &&
	       a->value_hash == b->value_hash;
}

/* Bytes of the actions, one behind the other, in a block of exactly their size. */
static struct slf_slice actions_make(const struct action *actions, size_t count)
{
	size_t size = 0, at = 0;
	uint8_t *block;

	for (size_t i = 0; i < count; i++)
		size += action_bytes(&actions[i]);
	block = malloc(size);
	for (size_t i = 0; i < count; at += action_bytes(&actions[i]), i++)
		action_encode(block + at, &actions[i]);
	return bytes(block, size);
}

static struct digest digest_one(const struct action *action)
{
	struct digest digest = { 0 };

	digest_action(&digest, action);
	return digest;
}

static bool digest_same(struct digest a, struct digest b)
{
	return a.low == b.low && a.high == b.high;
}

/* Would break if an action did not come back, or the next one were looked for at the wrong place. */
Test(action, round_trip)
{
	static uint8_t longest[KEY_BYTES_MAX], value[100000];
	struct action actions[] = {
		put_of(text("key"), text("value")), put_of(text(""), text("")), ref_of(text("large"), text("bytes")),
		del_of(text("gone")), del_of(text("")),
		put_of(bytes(longest, sizeof(longest)), bytes(value, sizeof(value))),
	};
	struct slf_slice encoded = actions_make(actions, ARRAY_SIZE(actions)), rest = encoded;
	struct action decoded;

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		cr_assert_eq(action_decode(&rest, &decoded), 0);
		cr_assert(action_same(&decoded, &actions[i]), "action %zu", i);
	}
	cr_assert_eq(action_decode(&rest, &decoded), SLF_END);
	free((void *)encoded.data);
}

/* Would break if an action that is cut off were given to anyone, or bytes behind the end were read. */
Test(action, truncated_at_every_length)
{
	struct action actions[] = {
		put_of(text("key"), text("value")), ref_of(text("k"), text("v")), del_of(text("k")),
	};

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		struct slf_slice whole = actions_make(&actions[i], 1);

		for (size_t size = 1; size < whole.size; size++) {
			uint8_t *cut = malloc(size);
			struct slf_slice rest = bytes(cut, size);
			struct action decoded;

			memcpy(cut, whole.data, size);
			cr_assert_eq(action_decode(&rest, &decoded), SLF_ECORRUPT);
			cr_assert_eq(rest.size, size, "outputs are untouched on failure");
			free(cut);
		}
		free((void *)whole.data);
	}
}

/* Would break if an unknown operation, a reserved byte, or a length that its operation cannot have were let through. */
Test(action, impossible_fields)
{
	struct action actions[] = {
		put_of(text("key"), text("value")), ref_of(text("k"), text("v")), del_of(text("k")),
	};
	uint8_t encoded[64] = { 0 };
	struct action decoded;
	struct slf_slice rest;

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		action_encode(encoded, &actions[i]);
		for (unsigned op = 0; op < 256; op++) {
			bool known = op == ACTION_PUT || op == ACTION_DEL || op == ACTION_PUT_REF;

			encoded[0] = (uint8_t)op;
			rest = bytes(encoded, action_bytes(&actions[i]));
			if (op == actions[i].op || op == ACTION_PUT)
				continue;
			cr_assert_eq(action_decode(&rest, &decoded), known ? SLF_ECORRUPT : SLF_EINCOMPATIBLE);
			cr_assert(known || decoded.op == op);
		}
		encoded[0] = (uint8_t)actions[i].op;
		encoded[1] = 1;
		rest = bytes(encoded, action_bytes(&actions[i]));
		cr_assert_eq(action_decode(&rest, &decoded), SLF_ECORRUPT);
	}
	action_encode(encoded, &actions[1]);
	put_u32(encoded + ACTION_HEADER_BYTES + 1 + 16, 2); /* more stored than raw */
	rest = bytes(encoded, action_bytes(&actions[1]));
	cr_assert_eq(action_decode(&rest, &decoded), SLF_ECORRUPT);
	put_u32(encoded + ACTION_HEADER_BYTES + 1 + 20, UINT32_MAX); /* longer than a value may be */
	rest = bytes(encoded, action_bytes(&actions[1]));
	cr_assert_eq(action_decode(&rest, &decoded), SLF_ECORRUPT);
}

/* Would break if the largest value were refused on the way back, or one that is larger let through. Values of PUT are not
 * touched when they are decoded, so that they need not be there. */
Test(action, largest_values)
{
	struct action ref = ref_of(text("k"), text("v")), decoded;
	uint8_t encoded[64] = { 0 };

	for (uint32_t above = 0; above < 2; above++) {
		struct slf_slice rest;
		int expected = above ? SLF_ECORRUPT : 0;

		ref.ref.raw = (uint32_t)VALUE_BYTES_MAX + above;
		ref.ref.stored = ref.ref.raw;
		action_encode(encoded, &ref);
		rest = bytes(encoded, action_bytes(&ref));
		cr_assert_eq(action_decode(&rest, &decoded), expected);
		encoded[0] = ACTION_PUT;
		put_u32(encoded + 8, (uint32_t)VALUE_BYTES_MAX + above);
		rest = bytes(encoded, ACTION_HEADER_BYTES + 1 + VALUE_BYTES_MAX + above);
		cr_assert_eq(action_decode(&rest, &decoded), expected);
	}
}

/* Would break if any bytes at all crashed the decoder, or made it go on for ever. */
Test(action, garbage)
{
	struct rng rng = { .state = test_seed("action/garbage") };

	for (unsigned i = 0; i < 20000; i++) {
		size_t size = rng_below(&rng, 300), steps = 0;
		uint8_t *block = malloc(size + 1);
		struct slf_slice rest = bytes(block, size);
		struct action decoded;
		int result;

		bytes_fill(block, size, rng_next(&rng), false);
		for (size_t at = 0; at + ACTION_HEADER_BYTES < size; at += ACTION_HEADER_BYTES + rng_below(&rng, 30)) {
			block[at] = (uint8_t)(1 + rng_below(&rng, 3));
			block[at + 1] = 0;
			put_u16(block + at + 2, (uint16_t)rng_below(&rng, 10));
			put_u32(block + at + 8, (uint32_t)rng_below(&rng, 10));
		}
		while ((result = action_decode(&rest, &decoded)) == 0)
			cr_assert_lt(++steps, size);
		cr_assert(result == SLF_END || result == SLF_ECORRUPT || result == SLF_EINCOMPATIBLE);
		free(block);
	}
}

/* Would break if the digest told how a value is stored, or mistook one change for another. */
Test(action, digest_depends_on_what_changed_only)
{
	struct action put = put_of(text("key"), text("value")), ref = ref_of(text("key"), text("value"));
	struct action others[] = {
		put_of(text("kez"), text("value")), put_of(text("key"), text("valuf")),
		put_of(text("ke"), text("yvalue")), put_of(text(""), text("value")), put_of(text("key"), text("")),
		del_of(text("key")), del_of(text("key")), put_of(text("key"), text("value")),
	};

	cr_assert(digest_same(digest_one(&put), digest_one(&ref)));
	ref.ref.position = 8192;
	ref.ref.stored = 3;
	cr_assert(digest_same(digest_one(&put), digest_one(&ref)));
	others[6].tree = 16;
	others[7].tree = 17;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		cr_assert(!digest_same(digest_one(&put), digest_one(&others[i])), "action %zu", i);
		for (size_t j = 0; j < i; j++)
			cr_assert(!digest_same(digest_one(&others[j]), digest_one(&others[i])));
	}
}

/* Would break if a key's length stopped counting where keys are hashed before they are folded. */
Test(action, digest_of_keys_of_every_length)
{
	static uint8_t key[400];
	struct digest digests[401];

	for (size_t size = 0; size <= sizeof(key); size++) {
		struct action action = put_of(bytes(key, size), text("v"));

		digests[size] = digest_one(&action);
		for (size_t i = 0; i < size; i++)
			cr_assert(!digest_same(digests[i], digests[size]));
		if (!size)
			continue;
		key[size - 1] ^= 1;
		cr_assert(!digest_same(digest_one(&action), digests[size]));
		key[size - 1] ^= 1;
	}
}

/* Would break if the order of actions were lost, or if a digest changed from one version of the code to another: it is
 * on disk and compares replicas. */
Test(action, digest_is_ordered_and_stable)
{
	struct action first = put_of(text("key"), text("value")), second = del_of(text("key"));
	struct digest a = { 0 }, b = { 0 }, previous = { 1, 2 }, commit;

	digest_action(&a, &first);
	digest_action(&a, &second);
	digest_action(&b, &second);
	digest_action(&b, &first);
	cr_assert(!digest_same(a, b));
	commit = digest_commit(&previous, 42, &a, text("blob"));
	cr_expect(digest_same(a, (struct digest){ 0x58d56bec5340ade5, 0x241d87f63c0395f3 }));
	cr_expect(digest_same(commit, (struct digest){ 0xe44175d34066ef53, 0x1ee8832af596fe87 }));
}

/* Would break if a commit's digest left out one of the things it stands for. */
Test(action, commit_digest_covers_all)
{
	struct digest previous = { 1, 2 }, txn = { 3, 4 }, other = { 1, 3 };
	struct digest base = digest_commit(&previous, 5, &txn, text("blob"));

	cr_assert(digest_same(base, digest_commit(&previous, 5, &txn, text("blob"))));
	cr_assert(!digest_same(base, digest_commit(&other, 5, &txn, text("blob"))));
	cr_assert(!digest_same(base, digest_commit(&previous, 6, &txn, text("blob"))));
	cr_assert(!digest_same(base, digest_commit(&previous, 5, &previous, text("blob"))));
	cr_assert(!digest_same(base, digest_commit(&previous, 5, &txn, text("bloc"))));
	cr_assert(!digest_same(base, digest_commit(&previous, 5, &txn, text(""))));
}

static const struct commit_entry commit_base = { .seq = 42, .clock_ns = 1000, .search_ns = 1001,
						 .digest = { 0x1112131415161718, 0x2122232425262728 } };

/* The body in a block of exactly its size. */
static struct slf_slice commit_make(const struct commit_entry *commit)
{
	size_t size = commit_entry_bytes(commit);
	uint8_t *body = malloc(size);

	memset(body, 0xff, size);
	commit_entry_encode(body, commit);
	return bytes(body, size);
}

static void commit_round_trip(const struct commit_entry *commit)
{
	struct slf_slice body = commit_make(commit);
	struct commit_entry decoded = { 0 };

	cr_assert_eq(commit_entry_decode(body, &decoded), 0);
	cr_assert_eq(decoded.seq, commit->seq);
	cr_assert(decoded.clock_ns == commit->clock_ns && decoded.search_ns == commit->search_ns);
	cr_assert(digest_same(decoded.digest, commit->digest));
	cr_assert_eq(decoded.action_count, commit->action_count);
	cr_assert_eq(decoded.chunk_count, commit->chunk_count);
	cr_assert(slice_is(decoded.blob, commit->blob.data, commit->blob.size));
	cr_assert(slice_is(decoded.chunks, commit->chunks.data, commit->chunks.size));
	cr_assert(slice_is(decoded.actions, commit->actions.data, commit->actions.size));
	for (size_t size = 0; size < body.size; size++) {
		uint8_t *cut = malloc(size + !size);

		memcpy(cut, body.data, size);
		cr_assert_eq(commit_entry_decode(bytes(cut, size), &decoded), SLF_ECORRUPT);
		free(cut);
	}
	free((void *)body.data);
}

/* Would break if a commit entry with or without blob, actions, or chunks did not come back, or a cut one did. */
Test(action, commit_entry_round_trip)
{
	struct action actions[] = { put_of(text("key"), text("value")), del_of(text("k")) };
	struct slf_slice encoded = actions_make(actions, 2);
	struct commit_entry commit = commit_base;
	uint8_t chunks[2 * SLAB_PART_BYTES];
	struct entry_ref ref = { 4096, 9, 100 };

	commit_round_trip(&commit);
	commit.blob = text("raft 7 1234");
	commit_round_trip(&commit);
	commit.action_count = 2;
	commit.actions = encoded;
	commit_round_trip(&commit);
	entry_ref_encode(chunks, &ref);
	entry_ref_encode(chunks + SLAB_PART_BYTES, &ref);
	commit.actions = (struct slf_slice){ 0 };
	commit.chunk_count = 2;
	commit.chunks = bytes(chunks, sizeof(chunks));
	commit_round_trip(&commit);
	free((void *)encoded.data);
}

/* Would break if counts that contradict sizes, or reserved words, were let through. */
Test(action, commit_entry_impossible_fields)
{
	struct action action = put_of(text("key"), text("value"));
	struct slf_slice encoded = actions_make(&action, 1), body;
	struct commit_entry commit = commit_base, decoded;
	struct entry_ref ref = { 4096, 9, 100 };
	uint8_t chunk[SLAB_PART_BYTES];
	static const struct { size_t offset; uint8_t byte; } cases[] = {
		{ 0, 0 }, { 40, 0 }, { 40, 2 }, { 44, 1 }, { 48, 1 }, { 50, 1 }, { 52, 1 }, { 55, 1 },
	};

	commit.action_count = 1;
	commit.actions = encoded;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		body = commit_make(&commit);
		((uint8_t *)(uintptr_t)body.data)[cases[i].offset] = cases[i].byte;
		cr_assert_eq(commit_entry_decode(body, &decoded), SLF_ECORRUPT, "case %zu", i);
		free((void *)body.data);
	}
	free((void *)encoded.data);
	entry_ref_encode(chunk, &ref);
	commit.actions = (struct slf_slice){ 0 };
	commit.chunk_count = 1;
	commit.chunks = bytes(chunk, sizeof(chunk));
	body = commit_make(&commit);
	((uint8_t *)(uintptr_t)body.data)[40] = 0;
	cr_assert_eq(commit_entry_decode(body, &decoded), SLF_ECORRUPT, "chunks of no actions");
	((uint8_t *)(uintptr_t)body.data)[40] = 1;
	cr_assert_eq(commit_entry_decode(body, &decoded), 0);
	((uint8_t *)(uintptr_t)body.data)[COMMIT_BODY_BYTES + 20] = 1;
	cr_assert_eq(commit_entry_decode(body, &decoded), SLF_ECORRUPT, "the reserved word of a chunk");
	free((void *)body.data);
}

/* Would break if a commit whose actions are in bulk could have some of its own, or none there, or a reserved word. */
Test(action, commit_entry_impossible_chunks)
{
	struct action action = put_of(text("key"), text("value"));
	struct slf_slice encoded = actions_make(&action, 1);
	struct commit_entry decoded;
	uint8_t chunk[SLAB_PART_BYTES];

	entry_ref_encode(chunk, &(struct entry_ref){ 4096, 9, 100 });
	for (unsigned i = 0; i < 4; i++) {
		struct commit_entry commit = commit_base;
		struct slf_slice body;
		uint8_t *to;

		commit.action_count = 1;
		commit.blob = bytes(chunk, sizeof(chunk)); /* it stands where a chunk would */
		commit.actions = i == 0 ? encoded : (struct slf_slice){ 0 };
		body = commit_make(&commit);
		to = (uint8_t *)(uintptr_t)body.data;
		put_u32(to + 40, i != 1);
		put_u16(to + 48, 0);
		put_u16(to + 50, 1);
		put_u32(to + COMMIT_BODY_BYTES + 20, i == 2);
		cr_assert_eq(commit_entry_decode(body, &decoded), i == 3 ? 0 : SLF_ECORRUPT, "case %u", i);
		free(to);
	}
	free((void *)encoded.data);
}

/* Would break if any bytes crashed the decoder, or gave slices that lead out of the body. */
Test(action, commit_entry_garbage)
{
	struct rng rng = { .state = test_seed("action/commit_entry_garbage") };
	unsigned good = 0;

	for (unsigned i = 0; i < 20000; i++) {
		size_t size = COMMIT_BODY_BYTES + rng_below(&rng, 100), rest = size - COMMIT_BODY_BYTES;
		uint8_t *block = malloc(size);
		struct commit_entry decoded = { 0 };
		uint64_t sum = 0;

		bytes_fill(block, size, rng_next(&rng), false);
		put_u16(block + 50, (uint16_t)rng_below(&rng, 3));
		put_u16(block + 48, (uint16_t)rng_below(&rng, rest + 1));
		put_u32(block + 44, (uint32_t)(rest - get_u16(block + 48)));
		put_u32(block + 40, (uint32_t)rng_below(&rng, 3));
		put_u32(block + 52, 0);
		if (commit_entry_decode(bytes(block, size), &decoded) == 0) {
			good++;
			for (size_t j = 0; j < decoded.blob.size; j++)
				sum += ((const uint8_t *)decoded.blob.data)[j];
			for (size_t j = 0; j < decoded.actions.size; j++)
				sum += ((const uint8_t *)decoded.actions.data)[j];
			cr_assert_leq(sum, 255 * size);
		}
		free(block);
	}
	cr_assert_gt(good, 0, "some have to get through, or the test says nothing");
}
