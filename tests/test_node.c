/* SPDX-License-Identifier: MIT */
/* Leaves and deltas: search, building, changes in place, merging, cutting; all against a plain sorted array. */
#include <criterion/criterion.h>

#include "node_keys.h"

#define MODEL_MAX 256

/* A sorted array of records with distinct keys. */
struct model {
	struct record items[MODEL_MAX];
	size_t count;
};

/* By a walk from the left, so that it shares no idea with what it tests. */
static bool model_find(const struct model *model, struct slf_slice key, uint32_t *index)
{
	size_t i = 0;

	while (i < model->count && slice_compare(model->items[i].key, key) < 0)
		i++;
	*index = (uint32_t)i;
	return i < model->count && slice_compare(model->items[i].key, key) == 0;
}

static void model_put(struct model *model, const struct record *record)
{
	uint32_t index = 0;

	if (!model_find(model, record->key, &index)) {
		memmove(&model->items[index + 1], &model->items[index],
			(model->count - index) * sizeof(model->items[0]));
		model->count++;
	}
	model->items[index] = *record;
}

static void model_remove(struct model *model, uint32_t index)
{
	model->count--;
	memmove(&model->items[index], &model->items[index + 1], (model->count - index) * sizeof(model->items[0]));
}

static struct record random_record(struct source *source, enum key_style style, bool delta)
{
	struct record record = { .key = source_key(source, style) };
	size_t kind = source_below(source, delta ? 6 : 5);

	record.kind = kind < 3 ? RECORD_INLINE : kind == 3 ? RECORD_REF : kind == 4 ? RECORD_HEAP : RECORD_TOMB;
	if (record.kind == RECORD_INLINE)
		record.value = source_bytes(source, source_below(source, 130));
	else if (record.kind != RECORD_TOMB)
		record.value = source_bytes(source, VALUE_REF_BYTES);
	return record;
}

static void model_fill(struct model *model, struct source *source, enum key_style style, size_t tries, bool delta)
{
	model->count = 0;
	for (size_t i = 0; i < tries; i++) {
		struct record record = random_record(source, style, delta);

		model_put(model, &record);
	}
}

/* An image of the model with spare slots and bytes. base NULL: a leaf. */
static struct node *model_build(const struct model *model, struct source *source, const struct delta_base *base,
				size_t spare_slots, size_t spare_bytes)
{
	struct slf_slice fence = source_key(source, KEYS_TINY);
	size_t capacity = model->count + spare_slots;
	size_t size = spare_bytes + node_leaf_bytes(model->items, model->count, capacity, fence.size, base != NULL);
	struct node *leaf = source_alloc(source, size);

	memset(leaf, 0xEE, size);
	node_leaf_build(leaf, size, 7, fence, base, model->items, model->count, capacity, 5);
	cr_assert_eq(node_length(leaf), size);
	cr_assert_eq(slice_compare(node_fence(leaf), fence), 0);
	return leaf;
}

static void records_must_equal(const struct record *a, const struct record *b)
{
	cr_assert_eq(a->kind, b->kind);
	cr_assert_eq(slice_compare(a->key, b->key), 0);
	cr_assert_eq(slice_compare(a->value, b->value), 0);
}

static void find_must_agree(const struct node *leaf, const struct model *model, struct slf_slice key)
{
	uint32_t expected = 0, index = UINT32_MAX;
	bool there = model_find(model, key, &expected);

	cr_assert_eq(node_find(leaf, key, &index), there);
	cr_assert_eq(index, expected, "index %u instead of %u of %zu", index, expected, model->count);
}

static void must_agree(const struct node *leaf, const struct model *model, struct source *source, enum key_style style)
{
	struct record record = { 0 };

	cr_assert_eq(node_count(leaf), model->count);
	for (uint32_t i = 0; i < model->count; i++) {
		node_record(leaf, i, &record);
		records_must_equal(&record, &model->items[i]);
		find_must_agree(leaf, model, record.key);
		find_must_agree(leaf, model, source_neighbour(source, record.key));
	}
	for (int i = 0; i < 4; i++)
		find_must_agree(leaf, model, source_key(source, style));
	find_must_agree(leaf, model, slice(NULL, 0));
}

/* A search that loses a key, or sends it to the wrong place, loses data. */
Test(node, find_agrees_with_a_sorted_array)
{
	static const size_t tries[] = { 0, 1, 2, 3, 5, 16, 17, 60 };
	struct delta_base base = { .position = 64, .length = 64 };

	for (unsigned style = 0; style < KEY_STYLES; style++) {
		for (int round = 0; round < (style == KEYS_LONG ? 3 : 80); round++) {
			struct source source = { 0 };
			struct model model = { 0 };
			bool delta = round % 2;

			source_init(&source, "node find");
			model_fill(&model, &source, style, tries[source_below(&source, ARRAY_SIZE(tries))], delta);
			must_agree(model_build(&model, &source, delta ? &base : NULL, 0, 0), &model, &source, style);
			source_release(&source);
		}
	}
}

/* Keys that differ only in zeros behind a head have equal heads: to trust heads would make them one key. */
Test(node, zeros_at_the_end_of_a_head)
{
	static const uint8_t zeros[16] = { 'a' };
	struct source source = { 0 };

	source_init(&source, "node zeros");
	for (size_t from = 0; from < 2; from++) {
		struct model model = { 0 };

		for (size_t size = 0; size < 12; size += 1 + from) {
			struct record record = { .key = slice(zeros + from, size), .value = slice(zeros, size) };

			model_put(&model, &record);
		}
		struct node *leaf = model_build(&model, &source, NULL, 0, 0);

		for (size_t size = 0; size < 15; size++)
			find_must_agree(leaf, &model, slice(zeros + from, size));
		must_agree(leaf, &model, &source, KEYS_ZEROS);
	}
	source_release(&source);
}

/* Keys outside the prefix have no head that means anything: they must not be searched by one. */
Test(node, keys_outside_the_prefix)
{
	static const char *const keys[] = { "prefix1", "prefix3", "prefix5" };
	static const char *const probes[] = { "",  "p",       "prefix",  "prefiw9", "prefiw",  "prefiy",
					      "q", "prefix0", "prefix4", "prefix6", "prefix33" };
	struct source source = { 0 };
	struct model model = { 0 };

	source_init(&source, "node outside");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct record record = { .key = slice(keys[i], 7) };

		model_put(&model, &record);
	}
	struct node *leaf = model_build(&model, &source, NULL, 0, 0);

	cr_assert_eq(node_prefix(leaf), 6);
	for (size_t i = 0; i < ARRAY_SIZE(probes); i++)
		find_must_agree(leaf, &model, slice(probes[i], strlen(probes[i])));
	source_release(&source);
}

/* Is node_put right to refuse? As node.h puts it: no slot, no room, or another prefix. */
static bool may_refuse(const struct node *leaf, const struct model *model, const struct record *record)
{
	uint32_t index = 0;
	size_t needed = RECORD_HEADER_BYTES + record->key.size + record->value.size;
	size_t room = node_records(leaf) - leaf_fence_offset(leaf) - node_fence_bytes(leaf);

	if (needed > room)
		return true;
	if (model_find(model, record->key, &index))
		return false;
	if (node_count(leaf) == node_capacity(leaf))
		return true;
	return common_prefix(record->key, model->items[0].key) < node_prefix(leaf);
}

/* One random change of the image and the model. */
static void change(struct node *leaf, struct model *model, struct source *source, enum key_style style)
{
	struct record record = random_record(source, style, node_kind(leaf) == NODE_DELTA);
	size_t what = source_below(source, 8);
	size_t size = node_length(leaf);
	uint8_t *before = source_alloc(source, size);

	if (what < 2 && model->count) {
		uint32_t index = (uint32_t)source_below(source, model->count);

		node_remove(leaf, index);
		model_remove(model, index);
		return;
	}
	if (what < 5 && model->count)
		record.key = model->items[source_below(source, model->count)].key;
	memcpy(before, leaf, size);
	if (put(leaf, &record) == 0) {
		model_put(model, &record);
		return;
	}
	cr_assert(may_refuse(leaf, model, &record));
	cr_assert_eq(memcmp(before, leaf, size), 0, "refused, but changed");
}

/* Records lie apart, and each byte behind the lowest one is either in use or counted as dead. */
static void bytes_must_add_up(const struct node *leaf)
{
	uint64_t used = node_dead(leaf);

	for (uint32_t i = 0; i < node_count(leaf); i++)
		used += record_bytes(leaf_record(leaf, i));
	cr_assert_eq(used, node_length(leaf) - node_records(leaf));
}

/* A change in place that spoils a neighbour, a head or the prefix loses records that nobody touched. */
Test(node, changes_in_place_agree_with_a_sorted_array)
{
	struct delta_base base = { .position = 64, .length = 64 };

	for (int round = 0; round < 40 * KEY_STYLES; round++) {
		enum key_style style = (enum key_style)(round % KEY_STYLES);
		struct source source = { 0 };
		struct model model = { 0 };
		bool delta = round % 3 == 0;
		int changes = style == KEYS_LONG ? 4 : 60;

		source_init(&source, "node changes");
		model_fill(&model, &source, style, source_below(&source, 20), delta);
		struct node *leaf = model_build(&model, &source, delta ? &base : NULL, source_below(&source, 12),
						source_below(&source, style == KEYS_LONG ? 200000 : 2000));
		for (int i = 0; i < changes; i++) {
			change(leaf, &model, &source, style);
			bytes_must_add_up(leaf);
			if (i % 6 == 0 || i == changes - 1)
				must_agree(leaf, &model, &source, style);
		}
		source_release(&source);
	}
}

/* A copy that loses a record, or counts its room wrong, shows only when it is changed further. */
Test(node, copies_with_other_room_agree_with_a_sorted_array)
{
	struct delta_base base = { .position = 64, .length = 64 };

	for (int round = 0; round < 20 * KEY_STYLES; round++) {
		enum key_style style = (enum key_style)(round % KEY_STYLES);
		struct source source = { 0 };
		struct model model = { 0 };
		bool delta = round % 3 == 0;

		source_init(&source, "node copies");
		model_fill(&model, &source, style, source_below(&source, 20), delta);
		struct node *leaf = model_build(&model, &source, delta ? &base : NULL, source_below(&source, 4),
						source_below(&source, 300));
		for (int i = 0; i < 12; i++) {
			size_t used = node_used_bytes(leaf) + node_dead(leaf);
			size_t capacity = node_count(leaf) + source_below(&source, 8);
			size_t size = used + 8 * (capacity - node_count(leaf)) + source_below(&source, 500);
			struct node *copy = source_alloc(&source, size);

			node_leaf_copy(copy, size, capacity, leaf);
			cr_assert_eq(node_length(copy), size);
			cr_assert_eq(node_capacity(copy), capacity);
			cr_assert_eq(node_used_bytes(copy) + node_dead(copy), used);
			cr_assert_eq(slice_compare(node_fence(copy), node_fence(leaf)), 0);
			must_agree(copy, &model, &source, style);
			change(copy, &model, &source, style);
			bytes_must_add_up(copy);
			must_agree(copy, &model, &source, style);
			leaf = copy;
		}
		source_release(&source);
	}
}

static struct record text(const char *key, const char *value)
{
	return (struct record){ .key = slice(key, strlen(key)), .value = slice(value, strlen(value)) };
}

/* The refusals are the caller's sign to rebuild: one too few corrupts, one too many rebuilds without need. */
Test(node, put_refuses_what_needs_a_rebuild)
{
	struct source source = { 0 };
	struct model model = { 0 };
	struct record record = text("abc2", "22");

	source_init(&source, "node refusals");
	model_put(&model, &record);
	record = text("abc7", "77");
	model_put(&model, &record);
	struct node *leaf = model_build(&model, &source, NULL, 4, 48);

	record = text("abd", "");
	cr_assert_eq(put(leaf, &record), NODE_FULL, "the prefix would change");
	record = text("abc", "");
	cr_assert_eq(put(leaf, &record), 0, "the prefix stays, though the key is the prefix");
	record = text("abc9", "");
	cr_assert_eq(put(leaf, &record), 0, "a new last key with the prefix");
	record = text("abc7", "7");
	cr_assert_eq(put(leaf, &record), 0);
	cr_assert_eq(node_dead(leaf), 1, "replaced where it stood");
	record = text("abc7", "77777777777777777777777777777777777777777777");
	cr_assert_eq(put(leaf, &record), NODE_FULL, "no room");
	record = text("abc7", "777");
	cr_assert_eq(put(leaf, &record), 0);
	cr_assert_eq(node_dead(leaf), 1 + 9, "appended, the old record dead");
	record = text("abc3", "");
	cr_assert_eq(put(leaf, &record), 0);
	record = text("abc4", "");
	cr_assert_eq(put(leaf, &record), 0);
	record = text("abc5", "");
	cr_assert_eq(put(leaf, &record), NODE_FULL, "no slot");
	record = text("abc4", "");
	cr_assert_eq(put(leaf, &record), 0, "but an old key needs none");
	source_release(&source);
}

/* The way of a leaf from nothing to two records and back: the prefix comes with the second and goes with it. */
Test(node, none_one_and_two_records)
{
	struct source source = { 0 };
	struct model model = { 0 };
	struct node *leaf = model_build(&model, &source, NULL, 3, 100);
	struct record record = text("common2", "x");

	must_agree(leaf, &model, &source, KEYS_TINY);
	cr_assert_eq(put(leaf, &record), 0);
	model_put(&model, &record);
	must_agree(leaf, &model, &source, KEYS_TINY);
	cr_assert_eq(node_prefix(leaf), 0);
	record = text("common1", "y");
	cr_assert_eq(put(leaf, &record), 0);
	model_put(&model, &record);
	cr_assert_eq(node_prefix(leaf), 6);
	must_agree(leaf, &model, &source, KEYS_TINY);
	node_remove(leaf, 0);
	model_remove(&model, 0);
	cr_assert_eq(node_prefix(leaf), 0);
	must_agree(leaf, &model, &source, KEYS_TINY);
	node_remove(leaf, 0);
	model_remove(&model, 0);
	must_agree(leaf, &model, &source, KEYS_TINY);
	record = text("", "");
	cr_assert_eq(put(leaf, &record), 0, "the empty key");
	model_put(&model, &record);
	must_agree(leaf, &model, &source, KEYS_TINY);
	source_release(&source);
}

/* The reference to the base and the live count travel in the delta's header. */
Test(node, delta_keeps_its_base)
{
	struct delta_base base = {
		.position = 0x0100000000012340, .hash = 0x1122334455667788, .length = 2048, .count = 9
	};
	struct delta_base found = { 0 };
	struct source source = { 0 };
	struct model model = { 0 };
	struct records records = { 0 };

	source_init(&source, "node delta");
	model_fill(&model, &source, KEYS_RANDOM, 9, true);
	struct node *delta = model_build(&model, &source, &base, 2, 100);

	node_delta_base(delta, &found);
	cr_assert_eq(found.position, base.position);
	cr_assert_eq(found.hash, base.hash);
	cr_assert_eq(found.length, base.length);
	cr_assert_eq(found.count, base.count);
	cr_assert_eq(node_kind(delta), NODE_DELTA);
	cr_assert_eq(node_tree(delta), 7);
	cr_assert_eq(node_entries(delta), 5);
	node_set_live(delta, 8);
	cr_assert_eq(node_live(delta), 8);
	cr_assert_eq(node_gather(delta, &records), 0);
	cr_assert_eq(records.count, model.count);
	for (size_t i = 0; i < model.count; i++)
		records_must_equal(&records.items[i], &model.items[i]);
	records_release(&records);
	source_release(&source);
}

/* What a merge forgets is lost at the next fold; a tombstone it keeps would come to life as a record. */
Test(node, merge_applies_the_delta)
{
	struct delta_base delta_base = { .position = 64, .length = 64 };

	for (int round = 0; round < 20 * KEYS_LONG; round++) {
		enum key_style style = (enum key_style)(round % KEYS_LONG);
		struct source source = { 0 };
		struct model base = { 0 }, delta = { 0 }, merged = { 0 };
		struct records records = { 0 };

		source_init(&source, "node merge");
		model_fill(&base, &source, style, source_below(&source, 30), false);
		model_fill(&delta, &source, style, source_below(&source, 15), true);
		for (size_t i = 0; base.count && i < source_below(&source, 8); i++) {
			struct record record = { .key = base.items[source_below(&source, base.count)].key,
						 .kind = RECORD_TOMB };

			model_put(&delta, &record);
		}
		merged = base;
		for (size_t i = 0; i < delta.count; i++) {
			uint32_t index = 0;

			if (delta.items[i].kind != RECORD_TOMB)
				model_put(&merged, &delta.items[i]);
			else if (model_find(&merged, delta.items[i].key, &index))
				model_remove(&merged, index);
		}
		cr_assert_eq(node_merge(model_build(&base, &source, NULL, 0, 0),
					model_build(&delta, &source, &delta_base, 0, 0), &records),
			     0);
		cr_assert_eq(records.count, merged.count);
		for (size_t i = 0; i < merged.count; i++)
			records_must_equal(&records.items[i], &merged.items[i]);
		records_release(&records);
		source_release(&source);
	}
}

static size_t piece_bytes(const struct model *model, size_t from, size_t to)
{
	return node_leaf_bytes(model->items + from, to - from, to - from, 0, false);
}

/* A piece above the limit, an empty one, or more than the caller has room for breaks every split. */
Test(node, cut_keeps_the_limit)
{
	for (int round = 0; round < 300; round++) {
		struct source source = { 0 };
		struct model model = { 0 };
		size_t cuts[64] = { 0 };
		size_t limit = 0;
		bool append = round % 2;

		source_init(&source, "node cut");
		limit = 200 + source_below(&source, 3000);
		model_fill(&model, &source, (enum key_style)source_below(&source, KEYS_LONG),
			   1 + source_below(&source, 60), false);
		size_t pieces = node_cut(model.items, model.count, limit, append, cuts, ARRAY_SIZE(cuts));
		size_t from = 0;

		cr_assert(pieces >= 1 && pieces <= ARRAY_SIZE(cuts) + 1);
		for (size_t i = 0; i < pieces; i++) {
			size_t to = i + 1 < pieces ? cuts[i] : model.count;

			cr_assert_gt(to, from, "an empty piece");
			cr_assert(to - from == 1 || piece_bytes(&model, from, to) <= limit, "a piece above the limit");
			if (append && i + 1 < pieces)
				cr_assert_gt(piece_bytes(&model, from, to + 1), limit, "a piece not filled");
			from = to;
		}
		cr_assert_eq(from, model.count, "records left over");
		if (piece_bytes(&model, 0, model.count) <= limit)
			cr_assert_eq(pieces, 1, "cut without need");
		if (pieces > 2)
			cr_assert_eq(node_cut(model.items, model.count, limit, append, cuts, 1), 2);
		source_release(&source);
	}
}

/* A split into a full and a nearly empty leaf is split again at once; where keys come in order it is what is wanted. */
Test(node, cut_halves_unless_appending)
{
	static const uint8_t value[100];
	uint8_t keys[20][8] = { 0 };
	struct record records[20] = { 0 };
	size_t cuts[4] = { 0 };

	for (uint8_t i = 0; i < 20; i++) {
		keys[i][0] = i;
		records[i] = (struct record){ .key = slice(keys[i], 8), .value = slice(value, sizeof(value)) };
	}
	size_t limit = node_leaf_bytes(records, 19, 19, 0, false);

	cr_assert_eq(node_cut(records, 20, limit, false, cuts, ARRAY_SIZE(cuts)), 2);
	cr_assert(cuts[0] >= 9 && cuts[0] <= 11, "cut at %zu", cuts[0]);
	cr_assert_eq(node_cut(records, 20, limit, true, cuts, ARRAY_SIZE(cuts)), 2);
	cr_assert_eq(cuts[0], 19);
}

/* A separator that is not above the left key or above the right one sends searches to the wrong side. */
Test(node, separator_lies_between)
{
	struct source source = { 0 };

	source_init(&source, "node separator");
	for (int round = 0; round < 2000; round++) {
		enum key_style style = (enum key_style)source_below(&source, KEYS_LONG);
		struct slf_slice a = source_key(&source, style), b = source_key(&source, style);
		struct slf_slice left = slice_compare(a, b) < 0 ? a : b, right = slice_compare(a, b) < 0 ? b : a;

		if (slice_compare(left, right) == 0)
			continue;
		size_t size = node_separator_bytes(left, right);

		cr_assert(size >= 1 && size <= right.size);
		cr_assert_gt(slice_compare(slice(right.data, size), left), 0);
		cr_assert_leq(slice_compare(slice(right.data, size - 1), left), 0, "not the shortest");
	}
	source_release(&source);
}
