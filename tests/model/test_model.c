/* SPDX-License-Identifier: MIT */
/*
 * The protocol model holds its invariants in every reachable state of each scene (a budget of events), and for each
 * rule of the protocol a model that breaks it is found out: the checker can fail. A sanitized build explores to a
 * smaller depth.
 */
#include <criterion/criterion.h>

#include "model.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#define SCENE_DEPTH 19
#else
#define SANITIZED 0
#define SCENE_DEPTH 1000
#endif

static struct explore_result run(const struct model_budget *budget, uint64_t broken, uint32_t depth)
{
	struct explore_result result = { .states = 0 };
	struct model *model = model_new(budget, broken);
	struct explore_model explore = { .context = NULL };

	cr_assert_not_null(model);
	explore = model_explore(model);
	cr_assert_eq(explore_run(&explore, depth, UINT64_MAX, &result), 0);
	model_free(model);
	return result;
}

/* Every state of the scene is good. states_min: what was reached when this was written, rounded down; a model that
 * lost actions by mistake would fall below it. */
static void scene(struct model_budget budget, uint64_t broken, uint64_t states_min)
{
	struct explore_result result = run(&budget, broken, SCENE_DEPTH);

	cr_log_info("%lu states, %lu transitions, depth %u", (unsigned long)result.states,
		    (unsigned long)result.transitions, result.depth);
	cr_assert_null(result.violation, "%s\n%s", result.violation, result.trace);
	if (!SANITIZED) {
		cr_assert(result.complete);
		cr_assert_geq(result.states, states_min);
	}
}

/* Breaking the rule leads to the violation, and not breaking it does not within the same depth. */
static void broken(enum rule rule, const char *expected, struct model_budget budget)
{
	struct explore_result result = run(&budget, rule_bit(rule), 1000);
	struct explore_result sound = { .states = 0 };

	cr_assert_not_null(result.violation, "the broken rule was not noticed in %lu states", (unsigned long)result.states);
	cr_assert_str_eq(result.violation, expected, "%s\n%s", result.violation, result.trace);
	sound = run(&budget, 0, result.depth);
	cr_assert_null(sound.violation, "%s\n%s", sound.violation, sound.trace);
}

#define LOST "I2: an acknowledged commit is lost"
#define REFUSED_SOUND "recovery refuses a database without damage"
#define NODES_PUNCHED "I6: a reader's nodes are punched"

/* ---- The protocol holds ------------------------------------------------------------------------------------------ */

/* Pipelined and unflushed groups, a bulk part, one failing call, two power cuts: also in recovery. */
Test(model, groups_and_power_cuts, .timeout = 120)
{
	scene((struct model_budget){ .commits = 2, .larges = 1, .nosyncs = 1, .faults = 1, .cuts = 2 }, 0, 1000000);
}

/* The page cache that outlives a killed process must not be taken for the device. */
Test(model, groups_and_kills, .timeout = 120)
{
	scene((struct model_budget){ .commits = 2, .larges = 1, .nosyncs = 1, .faults = 1, .cuts = 1, .kills = 1 }, 0,
	      1300000);
}

/* Tails cut three times over leave stale slabs that must stay dead. */
Test(model, three_power_cuts, .timeout = 120)
{
	scene((struct model_budget){ .commits = 3, .nosyncs = 1, .cuts = 3 }, 0, 660000);
}

/* Nodes, MARK and pages with a failing call at each place. */
Test(model, checkpoint_with_faults, .timeout = 120)
{
	scene((struct model_budget){ .commits = 2, .larges = 1, .checkpoints = 1, .faults = 1, .cuts = 1 }, 0, 2400000);
}

/* A second checkpoint after a crash inside the first must not trust what that one left. */
Test(model, two_checkpoints_two_power_cuts, .timeout = 120)
{
	scene((struct model_budget){ .commits = 1, .checkpoints = 2, .cuts = 2 }, 0, 900000);
}

/* A clean close gives no licence to use a burnt seq again. */
Test(model, clean_closes, .timeout = 120)
{
	scene((struct model_budget){ .commits = 2, .faults = 1, .cuts = 1, .closes = 2 }, 0, 430000);
}

/* A rotten slab or page is survived or noticed, never passed over in silence where there is evidence. */
Test(model, rot, .timeout = 120)
{
	scene((struct model_budget){ .commits = 2, .nosyncs = 1, .checkpoints = 1, .cuts = 1, .rots = 1 }, 0, 740000);
}

/* The log comes round to recycled extents, and either page may rot. */
Test(model, recycling_and_rot, .timeout = 120)
{
	scene((struct model_budget){ .commits = 4, .checkpoints = 1, .kills = 1, .rots = 1 }, 0, 3700000);
}

/* A reading process joins at any step of the puncher, and outlives the writer. */
Test(model, reader_in_another_process, .timeout = 120)
{
	scene((struct model_budget){ .commits = 1, .checkpoints = 2, .kills = 1, .joins = 1 }, 0, 1400000);
}

/* Both kinds of readers at once. */
Test(model, readers_of_both_kinds, .timeout = 120)
{
	scene((struct model_budget){ .commits = 1, .checkpoints = 1, .kills = 1, .snapshots = 1, .joins = 1 }, 0, 520000);
}

/* What a read-only opening without a writer has shown must stay. */
Test(model, read_only_opening, .timeout = 120)
{
	scene((struct model_budget){ .commits = 1, .nosyncs = 1, .faults = 1, .cuts = 1, .kills = 1, .looks = 1,
				     .snapshots = 1 }, 0, 400000);
}

/* Digest and salt each suffice alone to keep stale slabs dead; that is kept as it is, but it must stay true. */
Test(model, chain_digest_or_salt, .timeout = 120)
{
	struct model_budget budget = { .commits = 3, .nosyncs = 1, .cuts = 3 };

	scene(budget, rule_bit(RULE_CHAIN_DIGEST), 600000);
	scene(budget, rule_bit(RULE_CHAIN_SALT), 600000);
}

/* ---- The checker notices ----------------------------------------------------------------------------------------- */

/* An acknowledgement that outruns the flush loses the commit. */
Test(model, broken_ack_after_flush, .timeout = 120)
{
	broken(RULE_ACK_AFTER_FLUSH, LOST,
	       (struct model_budget){ .commits = 1, .cuts = 1 });
}

/* RWF_DSYNC does not flush the bulk part. */
Test(model, broken_dsync_needs_parts, .timeout = 120)
{
	broken(RULE_DSYNC_NEEDS_PARTS, LOST,
	       (struct model_budget){ .commits = 1, .larges = 1, .cuts = 1 });
}

/* RWF_DSYNC does not flush the slab below. */
Test(model, broken_dsync_needs_log, .timeout = 120)
{
	broken(RULE_DSYNC_NEEDS_LOG, LOST,
	       (struct model_budget){ .commits = 2, .nosyncs = 1, .cuts = 1 });
}

/* The second flush says yes though the first one dropped the write. */
Test(model, broken_flush_failure_poisons, .timeout = 120)
{
	broken(RULE_FLUSH_FAILURE_POISONS, LOST,
	       (struct model_budget){ .commits = 1, .faults = 1, .cuts = 1 });
}

/* A reader sees what a power cut takes. */
Test(model, broken_visible_when_durable, .timeout = 120)
{
	broken(RULE_VISIBLE_WHEN_DURABLE, "I12: what a reader saw is lost",
	       (struct model_budget){ .commits = 1, .nosyncs = 1, .cuts = 1, .snapshots = 1 });
}

/* A MARK outlives its nodes. */
Test(model, broken_mark_after_bulk, .timeout = 120)
{
	broken(RULE_MARK_AFTER_BULK, REFUSED_SOUND,
	       (struct model_budget){ .commits = 1, .checkpoints = 1, .cuts = 1 });
}

/* A page names a MARK that is not there; one such page is survived, and then the good one is overwritten. */
Test(model, broken_page_after_mark, .timeout = 120)
{
	broken(RULE_PAGE_AFTER_MARK, REFUSED_SOUND,
	       (struct model_budget){ .checkpoints = 1, .cuts = 2 });
}

/* Both pages are torn by one power cut. */
Test(model, broken_page_by_page, .timeout = 120)
{
	broken(RULE_PAGE_BY_PAGE, REFUSED_SOUND,
	       (struct model_budget){ .commits = 1, .checkpoints = 1, .cuts = 1 });
}

/* One page is torn by an error, then the other by a power cut. */
Test(model, broken_page_retry_same, .timeout = 120)
{
	broken(RULE_PAGE_RETRY_SAME, REFUSED_SOUND,
	       (struct model_budget){ .faults = 1, .cuts = 1 });
}

/* A page gives evidence for slabs that were never durable. */
Test(model, broken_page_end_durable, .timeout = 120)
{
	broken(RULE_PAGE_END_DURABLE, REFUSED_SOUND,
	       (struct model_budget){ .commits = 1, .nosyncs = 1, .checkpoints = 1, .cuts = 1 });
}

/* The page that is left leads to a recycled extent. The longest way of all. */
Test(model, broken_reclaim_after_both, .timeout = 120)
{
	if (SANITIZED)
		cr_skip_test("millions of states");
	broken(RULE_RECLAIM_AFTER_BOTH, REFUSED_SOUND,
	       (struct model_budget){ .commits = 4, .checkpoints = 1, .kills = 1, .rots = 1 });
}

/* A lock taken between the look and the new floor is missed. */
Test(model, broken_reclaim_floor_first, .timeout = 120)
{
	broken(RULE_RECLAIM_FLOOR_FIRST, NODES_PUNCHED,
	       (struct model_budget){ .checkpoints = 1, .joins = 1 });
}

/* The pages move on while the puncher works. */
Test(model, broken_reclaim_one_floor, .timeout = 120)
{
	broken(RULE_RECLAIM_ONE_FLOOR, NODES_PUNCHED,
	       (struct model_budget){ .checkpoints = 1, .joins = 1 });
}

/* A new writer recycles what a reader of the old one still needs. */
Test(model, broken_reclaim_asks_after_open, .timeout = 120)
{
	broken(RULE_RECLAIM_ASKS_AFTER_OPEN, "I6: a reader's log is recycled",
	       (struct model_budget){ .commits = 3, .checkpoints = 1, .kills = 1, .joins = 1 });
}

/* The floor passed before the lock was taken. */
Test(model, broken_join_reads_again, .timeout = 120)
{
	broken(RULE_JOIN_READS_AGAIN, NODES_PUNCHED,
	       (struct model_budget){ .checkpoints = 1, .joins = 1 });
}

/* The version is reclaimed between its load and the slot. */
Test(model, broken_slot_before_load, .timeout = 120)
{
	broken(RULE_SLOT_BEFORE_LOAD, NODES_PUNCHED,
	       (struct model_budget){ .checkpoints = 1, .snapshots = 1 });
}

/* Two checkpoints of one root seq cannot be told apart by it. */
Test(model, broken_order_by_mark, .timeout = 120)
{
	broken(RULE_ORDER_BY_MARK, NODES_PUNCHED,
	       (struct model_budget){ .checkpoints = 1, .joins = 1 });
}

/* An aborted seq is used again. */
Test(model, broken_burnt_stays_burnt, .timeout = 120)
{
	broken(RULE_BURNT_STAYS_BURNT, "I11: a seq names two commits",
	       (struct model_budget){ .commits = 2, .faults = 1 });
}

/* Seqs of lost commits are used again. */
Test(model, broken_seq_above_limit, .timeout = 120)
{
	broken(RULE_SEQ_ABOVE_LIMIT, "I11: a seq names two commits",
	       (struct model_budget){ .commits = 2, .cuts = 1 });
}

/* The slab that raised the limit is lost. */
Test(model, broken_limit_durable, .timeout = 120)
{
	broken(RULE_LIMIT_DURABLE, "I11: a seq names two commits",
	       (struct model_budget){ .commits = 4, .nosyncs = 1, .cuts = 1 });
}

/* A burnt seq is forgotten by a clean close. */
Test(model, broken_clean_says_seq, .timeout = 120)
{
	broken(RULE_CLEAN_SAYS_SEQ, "I11: a seq names two commits",
	       (struct model_budget){ .commits = 2, .faults = 1, .closes = 1 });
}

/* The failed slab was written whole. */
Test(model, broken_invalidate, .timeout = 120)
{
	broken(RULE_INVALIDATE, "I3: a commit reported aborted is there",
	       (struct model_budget){ .commits = 1, .faults = 1, .cuts = 1 });
}

/* The zeros are lost, the failed slab is not. */
Test(model, broken_invalidation_flushed, .timeout = 120)
{
	broken(RULE_INVALIDATION_FLUSHED, "I3: a commit reported aborted is there",
	       (struct model_budget){ .commits = 1, .faults = 1, .cuts = 1 });
}

/* The slab is there, its bulk part is not. */
Test(model, broken_parts_checked, .timeout = 120)
{
	broken(RULE_PARTS_CHECKED, "I3: a commit is there without its large value",
	       (struct model_budget){ .commits = 1, .larges = 1, .cuts = 1 });
}

/* Rot in the middle of the log passes for a torn tail. */
Test(model, broken_cut_without_evidence, .timeout = 120)
{
	broken(RULE_CUT_WITHOUT_EVIDENCE, "a tail with evidence of durability is cut",
	       (struct model_budget){ .commits = 2, .cuts = 1, .rots = 1 });
}

/* The OPEN slab vouches for a tail that is only in the page cache. */
Test(model, broken_recovery_flush, .timeout = 120)
{
	broken(RULE_RECOVERY_FLUSH, REFUSED_SOUND,
	       (struct model_budget){ .commits = 1, .cuts = 1, .kills = 1 });
}

/* A clean cached page is not on the device, and no flush will bring it there. */
Test(model, broken_recovery_reads_device, .timeout = 120)
{
	broken(RULE_RECOVERY_READS_DEVICE, REFUSED_SOUND,
	       (struct model_budget){ .commits = 1, .faults = 1, .cuts = 1, .kills = 1 });
}

/* With neither digest nor salt a slab behind a cut tail comes back to life. */
Test(model, broken_chain)
{
	struct explore_result result = run(&(struct model_budget){ .commits = 2, .nosyncs = 1, .cuts = 2 },
					   rule_bit(RULE_CHAIN_DIGEST) | rule_bit(RULE_CHAIN_SALT), 1000);

	cr_assert_str_eq(result.violation, "I3: a commit is there without one before it", "%s", result.trace);
}

/* A rule added without a test of its own would be a rule that nobody proved to be checked. */
Test(model, each_rule_has_a_test)
{
	cr_assert_eq(RULE_COUNT, 29);
}
