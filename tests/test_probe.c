/* SPDX-License-Identifier: MIT */
/* Lookups in batches, against a sorted array. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "error.h"
#include "probe.h"
#include "tree_rig.h"

#define KEYS_MAX 300

static struct tree_rig rig;

static const struct rig_options shapes[] = {
	{ .map = true, .leaf_bytes = 512, .branch_bytes = 512, .inline_bytes = 64, .io = "uring" },
	{ .map = true, .leaf_bytes = 2048, .branch_bytes = 4096, .inline_bytes = 128, .io = "posix" },
	{ .map = false, .leaf_bytes = 512, .branch_bytes = 4096, .inline_bytes = 16, .io = "uring" },
	{ .map = false, .leaf_bytes = 2048, .branch_bytes = 512, .inline_bytes = 128, .io = "posix" },
};

/* One call of probe_run, and what it has told. */
struct asked {
	size_t count;
	struct slf_slice keys[KEYS_MAX];
	uint8_t bytes[KEYS_MAX][RIG_KEY_BYTES];
	unsigned told[KEYS_MAX];
	size_t found, missing, failed;
	size_t end_after; /* answers END_CODE at this many calls, 0 for never */
	size_t calls;
	bool damage_expected;
	uint64_t damaged_position;
};

#define END_CODE (-77)

static struct asked asked;

static int tell(void *context, size_t index, int result, const struct found *found)
{
	struct asked *to = context;
	struct slf_errinfo info = { .size = sizeof(info) };
	bool there;
	size_t at;

	rig_must(index < to->count && !to->told[index]++);
	at = rig_model_find(&rig.model, to->keys[index], &there);
	if (result < 0) {
		rig_must(to->damage_expected && result == SLF_ECORRUPT && !found);
		error_get(&info);
		rig_must(info.code == SLF_ECORRUPT && info.offset == position_offset(to->damaged_position));
		rig_must(info.spindle == (int)position_spindle(to->damaged_position));
		to->failed++;
	} else if (result == SLF_NOTFOUND) {
		rig_must(!there && !found);
		to->missing++;
	} else {
		rig_must(result == 0 && there);
		if (to->damage_expected) /* the value may be what is damaged */
			rig_must(slice_compare(found->record.key, to->keys[index]) == 0);
		else
			rig_must(rig_found_is(&rig, found, rig.model.items[at]));
		to->found++;
	}
	return ++to->calls == to->end_after ? END_CODE : 0;
}

/* Asks for count random keys, about half of them there. */
static int ask(struct rig_random *random, const struct rig_mix *mix, size_t count)
{
	asked.count = count;
	asked.found = asked.missing = asked.failed = asked.calls = 0;
	memset(asked.told, 0, sizeof(asked.told));
	for (size_t i = 0; i < count; i++)
		asked.keys[i] = rig_key(mix->keys, rig_below(random, mix->range), asked.bytes[i]);
	return probe_run(&rig.store, RIG_TREE, &rig.root, asked.keys, count, count % 2, tell, &asked);
}

/* An empty tree has no root to start from. */
Test(probe, empty_tree)
{
	struct rig_random random = rig_seed("probe/empty_tree");
	struct rig_mix mix = { .keys = RIG_NUMBERS, .range = 100 };

	rig_init(&rig, &shapes[0]);
	asked = (struct asked){ 0 };
	cr_assert_eq(ask(&random, &mix, 70), 0);
	cr_assert_eq(asked.missing, 70);
	asked.end_after = 3;
	cr_assert_eq(ask(&random, &mix, 70), END_CODE);
	cr_assert_eq(asked.calls, 3);
	rig_release(&rig);
}

/* A probe that takes another's node, key or place in the batch gives a wrong record, or none. */
Test(probe, layers)
{
	static const size_t counts[] = { 0, 1, 2, PROBE_BATCH - 1, PROBE_BATCH, PROBE_BATCH + 1, KEYS_MAX };
	struct rig_random random = rig_seed("probe/layers");

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++)
		for (enum rig_keys keys = RIG_NUMBERS; keys <= RIG_MIXED; keys++) {
			struct rig_mix mix = { .keys = keys, .range = 2500, .del_percent = 30, .value_bytes_max = 200 };

			rig_init(&rig, &shapes[shape]);
			asked = (struct asked){ 0 };
			rig_layers(&rig, &random, &mix, 4000);
			for (size_t i = 0; i < 4 * ARRAY_SIZE(counts); i++) {
				size_t count = counts[i % ARRAY_SIZE(counts)];

				if (i % 3 == 0)
					rig_forget(&rig);
				rig_must(ask(&random, &mix, count) == 0);
				rig_must(asked.calls == count && asked.found + asked.missing == count);
				rig_must(count < KEYS_MAX || (asked.found > 20 && asked.missing > 20));
			}
			rig_release(&rig);
		}
}

/* The caller's word that it is enough must end all batches, and must come back. */
Test(probe, ended_by_the_caller)
{
	struct rig_random random = rig_seed("probe/ended_by_the_caller");
	struct rig_mix mix = { .keys = RIG_WORDS, .range = 1000, .value_bytes_max = 50 };

	rig_init(&rig, &shapes[0]);
	asked = (struct asked){ 0 };
	rig_layers(&rig, &random, &mix, 1000);
	for (asked.end_after = 1; asked.end_after < 140; asked.end_after += 23) {
		cr_assert_eq(ask(&random, &mix, 150), END_CODE);
		cr_assert_eq(asked.calls, asked.end_after);
	}
	rig_release(&rig);
}

/* One damaged node must not fail the probes that do not need it, nor may any probe read past the damage. */
Test(probe, damaged_nodes)
{
	struct rig_random random = rig_seed("probe/damaged_nodes");
	struct rig_mix mix = { .keys = RIG_MIXED, .range = 1000, .del_percent = 20, .value_bytes_max = 60 };
	size_t failed = 0, mixed = 0;

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		rig_init(&rig, &shapes[shape]);
		asked = (struct asked){ 0 };
		rig_layers(&rig, &random, &mix, 2000);
		asked.damage_expected = true;
		for (unsigned round = 0; round < 60; round++) {
			const struct rig_entry *entry = &rig.entries[rig_below(&random, rig.entry_count)];
			uint64_t at = entry->position + rig_below(&random, entry->length);

			asked.damaged_position = entry->position;
			rig_damage(&rig, at, 0x40);
			cr_assert_eq(ask(&random, &mix, KEYS_MAX), 0);
			cr_assert_eq(asked.calls, KEYS_MAX);
			failed += asked.failed;
			mixed += asked.failed && asked.found;
			rig_damage(&rig, at, 0x40);
		}
		rig_release(&rig);
	}
	cr_assert_gt(failed, 100);
	cr_assert_gt(mixed, 10);
}

/* A caller that ends a run at a failed key gets its own code back. */
Test(probe, ended_at_a_failure)
{
	struct rig_random random = rig_seed("probe/ended_at_a_failure");
	struct rig_mix mix = { .keys = RIG_NUMBERS, .range = 1000, .value_bytes_max = 60 };

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		rig_init(&rig, &shapes[shape]);
		asked = (struct asked){ .damage_expected = true, .end_after = 5 };
		rig_change(&rig, &random, &mix, 1500);
		rig_write(&rig);
		asked.damaged_position = rig.root.word;
		rig_damage(&rig, rig.root.word + 40, 0x40);
		cr_assert_eq(ask(&random, &mix, 100), END_CODE);
		cr_assert_eq(asked.failed, 5);
		rig_release(&rig);
	}
}
