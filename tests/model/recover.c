/* SPDX-License-Identifier: MIT */
/*
 * Recovery as the protocol has it: best page, its MARK slab, the chain from that MARK's replay_from to the tail,
 * the newest MARK in it, the commits since; and the judgement of what it found by those outside. One pass without
 * interleaving: while it runs nobody else writes, and a crash in it changes nothing.
 */
#include "model_state.h"

/* What a read past the page cache gives: a dirty page is written out first, a clean one may lie after a failed
 * flush. */
static uint32_t view_id(const struct model *model, const struct state *state, unsigned cell)
{
	bool cached = state->dirty & 1u << cell || !holds(model, RULE_RECOVERY_READS_DEVICE);

	return cached ? state->cache[cell] : state->device[cell];
}

static const struct content *view(const struct model *model, const struct state *state, unsigned cell)
{
	return &model->contents[view_id(model, state, cell)];
}

struct chain {
	uint32_t ids[LOG_CELLS];
	uint8_t slots[LOG_CELLS];
	unsigned count;
};

/* Whether the slot holds the slab that is expected there. previous 0 and salt 0 mean anything. */
static bool slab_follows(const struct model *model, const struct state *state, unsigned slot, unsigned number,
			 uint32_t previous, unsigned salt)
{
	const struct content *slab = view(model, state, slot);

	if (!is_slab(slab) || slab->number != number)
		return false;
	if (holds(model, RULE_CHAIN_DIGEST) && slab->previous != previous)
		return false;
	if (holds(model, RULE_CHAIN_SALT) && salt && slab->kind != OPEN && slab->salt != salt)
		return false;
	return !slab->part || !holds(model, RULE_PARTS_CHECKED) || view_id(model, state, VALUE_CELL) == slab->part;
}

/* Numbers rise along the chain, so no slot comes twice. */
static void chain_follow(const struct model *model, const struct state *state, const struct content *mark,
			 struct chain *chain)
{
	unsigned slot = mark->replay_slot, salt = 0, number = mark->replay_number;
	uint32_t previous = mark->replay_previous;

	chain->count = 0;
	while (slab_follows(model, state, slot, number, previous, salt)) {
		const struct content *slab = view(model, state, slot);

		previous = view_id(model, state, slot);
		chain->ids[chain->count] = previous;
		chain->slots[chain->count++] = (uint8_t)slot;
		salt = slab->salt;
		number++;
		if (slot % SLOTS + 1 < SLOTS && slab_follows(model, state, slot + 1, number, previous, salt))
			slot++;
		else if (slab->next)
			slot = (slab->next - 1u) * SLOTS;
		else
			break;
		if (chain->count == LOG_CELLS)
			break;
	}
}

/* The best page whose MARK slab is whole, or NULL. */
static const struct content *page_best(const struct model *model, const struct state *state,
				       struct recovery *recovery)
{
	const struct content *best = NULL;

	for (unsigned i = 0; i < 2; i++) {
		const struct content *page = view(model, state, PAGE_CELL + i);

		if (page->kind != PAGE)
			continue;
		if (page->generation > recovery->generation) {
			recovery->generation = page->generation;
			recovery->page_next = (uint8_t)!i; /* the older one, or the damaged one */
		}
		if (view_id(model, state, page->mark_slot) == page->mark && (!best || page->generation > best->generation))
			best = page;
	}
	return best;
}

/* Whether anything on the disk says that more than the chain up to this tail had been durable. */
static bool evidence_beyond(const struct model *model, const struct state *state, const struct content *tail)
{
	for (unsigned cell = 0; cell < NODE_CELL; cell++) {
		const struct content *content = view(model, state, cell);

		if (content->kind == PAGE && content->number > tail->number + 1)
			return true;
		if ((content->kind == PAGE || is_slab(content)) && content->durable_seq > tail->last_seq)
			return true;
	}
	return false;
}

/* The seqs go on above the limit; only a clean close knows more exactly. */
static void seq_limit_find(const struct model *model, const struct content *page, const struct chain *chain,
			   struct recovery *recovery)
{
	const struct content *tail = &model->contents[recovery->tail];

	for (unsigned i = 0; i < chain->count; i++) {
		if (model->contents[chain->ids[i]].limit > recovery->limit)
			recovery->limit = model->contents[chain->ids[i]].limit;
	}
	if (page->clean && page->number == tail->number + 1)
		recovery->limit = page->limit;
	else if (page->limit > recovery->limit)
		recovery->limit = page->limit;
	recovery->next_seq = recovery->limit + 1;
	if (!holds(model, RULE_SEQ_ABOVE_LIMIT))
		recovery->next_seq = tail->last_seq + 1;
}

void recover_scan(const struct model *model, const struct state *state, struct recovery *recovery)
{
	struct chain chain = { .count = 0 };
	const struct content *page = NULL, *mark = NULL;
	bool reached = false;

	memset(recovery, 0, sizeof(*recovery));
	recovery->refused = true;
	page = page_best(model, state, recovery);
	if (!page)
		return;
	chain_follow(model, state, &model->contents[page->mark], &chain);
	for (unsigned i = 0; i < chain.count; i++) {
		reached |= chain.ids[i] == page->mark;
		recovery->tail = chain.ids[i];
		recovery->tail_slot = chain.slots[i];
		if (model->contents[chain.ids[i]].kind == MARK) {
			recovery->mark = chain.ids[i];
			recovery->mark_slot = chain.slots[i];
		}
	}
	if (!reached)
		return;
	if (holds(model, RULE_CUT_WITHOUT_EVIDENCE) && evidence_beyond(model, state, &model->contents[recovery->tail]))
		return;
	mark = &model->contents[recovery->mark];
	if (view_id(model, state, mark->cell) != mark->node)
		return;
	recovery->commits = model->contents[mark->node].commits;
	for (unsigned i = 0; i < chain.count; i++) {
		if (model->contents[chain.ids[i]].number >= mark->replay_number)
			recovery->commits |= model->contents[chain.ids[i]].commits;
	}
	recovery->last_seq = model->contents[recovery->tail].last_seq;
	seq_limit_find(model, page, &chain, recovery);
	recovery->refused = false;
}

/* Rot of a page must do no harm while the other is whole; rot of a slab must be noticed where evidence says so. */
static enum violation judge_refusal(const struct model *model, const struct state *state)
{
	bool pages = view(model, state, PAGE_CELL)->kind == PAGE || view(model, state, PAGE_CELL + 1)->kind == PAGE;

	if (state->rotten == MARK || (state->rotten == PAGE && !pages))
		return GOOD;
	return REFUSES;
}

enum violation recover_judge(const struct model *model, const struct state *state, const struct recovery *recovery)
{
	uint32_t found = recovery->commits, below = 0;

	if (recovery->refused)
		return judge_refusal(model, state);
	if (state->rotten == MARK) {
		if (state->proven & ~found)
			return LOST_PROVEN;
	} else if (state->acked & ~found) {
		return LOST_ACKED;
	} else if (state->seen & ~found) {
		return LOST_SEEN;
	}
	if (found & state->aborted)
		return SHOWS_ABORTED;
	if (found & ~state->alive)
		return SHOWS_LOST;
	for (unsigned seq = 0; seq < 32; seq++) {
		if (found >> seq & 1)
			below = ((uint32_t)1 << seq) - 1;
	}
	if (state->alive & below & ~found)
		return NOT_PREFIX;
	if (state->large && found >> model->contents[state->large].last_seq & 1 &&
	    view_id(model, state, VALUE_CELL) != state->large)
		return MIXTURE;
	return GOOD;
}

enum violation recover_reach(const struct model *model, const struct state *state, uint32_t id)
{
	const struct content *mark = &model->contents[id];
	uint32_t previous = mark->replay_previous;
	unsigned slot = mark->replay_slot;

	if (state->cache[mark->cell] != mark->node)
		return RECLAIMED_NODE;
	for (unsigned i = 0; i < LOG_CELLS; i++) {
		const struct content *slab = &model->contents[state->cache[slot]];

		if (!is_slab(slab) || slab->previous != previous)
			return RECLAIMED_LOG;
		previous = state->cache[slot];
		if (previous == id)
			return GOOD;
		if (slot % SLOTS + 1 < SLOTS && model->contents[state->cache[slot + 1]].previous == previous)
			slot++;
		else if (slab->next)
			slot = (slab->next - 1u) * SLOTS;
		else
			return RECLAIMED_LOG;
	}
	return RECLAIMED_LOG;
}
