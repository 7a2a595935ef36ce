/* SPDX-License-Identifier: MIT */
/*
 * The protocol of the write path, of checkpoints, recovery and reclaiming, as a finite state machine for explore.c.
 *
 * As modelled
 *   Disk: each cell (log slot, page, node of a checkpoint, large value) has what the device holds, what the page
 *     cache shows, and whether that awaits a flush. Spindle 0 is log and pages, spindle 1 the bulk. A power cut
 *     leaves each unsynced cell old, new or torn; a kill leaves the cache. A failed write may have written
 *     anything. A failed flush writes any subset and leaves all of it clean, so that no later flush writes it.
 *   Slabs: number, id of the one before (the digest), salt, commits, last_seq, seq_limit, durable_seq, reserved
 *     extent, large value. One in flight: RWF_DSYNC, or written and then flushed on each spindle, or written
 *     without a flush; meanwhile commits are sealed. A failed write: zeros, flush, ABORTED, seqs burnt, and all
 *     that was queued with it. A failed flush, RWF_DSYNC or zeroing: UNKNOWN, poisoned.
 *   Checkpoint: nodes, flush, MARK slab, flush, first page, flush, second page, flush; the older page is the first.
 *   Reclaiming: see reclaim.c. Recovery: see recover.c; then flush all, OPEN slab with a new salt, flush, serve,
 *     pages.
 *   Clean close: a page with the highest seq handed out.
 *
 * Abstracted
 *   4 extents of 2 slabs. A version is the set of its commits. Digests do not collide (equal contents have one id).
 *   Space for nodes that was punched stands for a fresh position. A punch reaches the device at once. A recycled
 *   extent is not touched until a slab is written there. A slab rots or is torn as a whole. Recovery reads in one
 *   step. The large value is never dropped. A flush fails for the whole spindle. No fences, no time, no copies,
 *   pins or feed; the side file's record is written in one step and is void after a power cut until a writer has
 *   opened. With no room left for an OPEN slab a path just ends. A group written without a flush does not fail.
 *
 * Invariants checked
 *   I2, I3, I12 at each recovery, also those that a crash ends before they serve: nothing acknowledged or seen is
 *   lost, nothing aborted or lost before is there, no gap, no commit without its large value; without rot an
 *   opening is never refused. With one rotten page likewise. With one rotten slab: refused, or all there that a
 *   later flushed slab or page had called durable. I11 at each seal. I6 at each state for each reader, by walking
 *   what it would read.
 *
 * Reached (test_model.c; all budgets explored to the end, so the depths are the longest of the shortest ways)
 *   11 scenes of 0.4 to 3.7 million states, depth 38 to 53; together 14 million states, 33 million transitions,
 *   10 s of one core. Sanitized: depth 19. 29 rules: 27 noticed when broken alone, within 8 to 28 actions;
 *   RULE_CHAIN_DIGEST and RULE_CHAIN_SALT only when both are broken.
 */
#include "model_state.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

#define CONTENTS_MAX ((uint32_t)1 << 19)

/* ---- Contents and cells ------------------------------------------------------------------------------------------ */

static uint32_t intern(struct model *model, const struct content *content)
{
	uint32_t place = (uint32_t)XXH3_64bits(content, sizeof(*content)) & model->index_mask;

	for (; model->index[place]; place = (place + 1) & model->index_mask) {
		if (!memcmp(&model->contents[model->index[place]], content, sizeof(*content)))
			return model->index[place];
	}
	assert(model->content_count < CONTENTS_MAX);
	model->contents[model->content_count] = *content;
	model->index[place] = model->content_count;
	return model->content_count++;
}

static void cell_write(struct state *state, unsigned cell, uint32_t id)
{
	state->cache[cell] = id;
	state->dirty |= (uint16_t)(1u << cell);
	if (state->device[cell] == id)
		state->dirty &= (uint16_t)~(1u << cell);
}

/* A flush that succeeded. */
static void cells_settle(struct state *state, uint16_t cells)
{
	for (unsigned cell = 0; cell < CELLS; cell++) {
		if (state->dirty & cells & 1u << cell)
			state->device[cell] = state->cache[cell];
	}
	state->dirty &= (uint16_t)~cells;
}

/* ---- Ends of the process ----------------------------------------------------------------------------------------- */

static void process_end(struct state *state, enum phase phase)
{
	memset(&state->process, 0, sizeof(state->process));
	memset(&state->inside, 0, sizeof(state->inside));
	state->process.phase = phase;
}

/* A power cut, with every choice for each unsynced cell from this one on: old, new, or neither. With one side empty,
 * neither differs from empty for nobody. */
static void cut_choose(struct expansion *expansion, struct state *next, unsigned cell)
{
	uint32_t old = 0;

	while (cell < CELLS && !(next->dirty & 1u << cell))
		cell++;
	if (cell == CELLS) {
		struct state after = *next;

		memcpy(after.cache, after.device, sizeof(after.cache));
		after.dirty = 0;
		emit(expansion, &after, "power cut");
		return;
	}
	old = next->device[cell];
	cut_choose(expansion, next, cell + 1);
	next->device[cell] = next->cache[cell];
	cut_choose(expansion, next, cell + 1);
	if (old != EMPTY && next->cache[cell] != EMPTY && next->cache[cell] != TORN) {
		next->device[cell] = TORN;
		cut_choose(expansion, next, cell + 1);
	}
	next->device[cell] = old;
}

static void expand_ends(struct expansion *expansion)
{
	struct state next = *expansion->state;

	if (next.left.cuts) {
		next.left.cuts--;
		process_end(&next, DOWN);
		memset(&next.other, 0, sizeof(next.other));
		next.record_newest = 0;
		next.record_floor = 0;
		cut_choose(expansion, &next, 0);
	}
	next = *expansion->state;
	if (next.left.kills && next.process.phase != DOWN) {
		next.left.kills--;
		process_end(&next, DOWN);
		emit(expansion, &next, "the process is killed");
	}
}

/* A flush that failed: any of its writes may have reached the device, all count as clean, the cache keeps the new
 * bytes. In recovery it ends the opening; else the handle is poisoned and the commits in flight are UNKNOWN. */
static void flush_fail(struct expansion *expansion, struct state *next, uint16_t cells, unsigned cell)
{
	uint32_t old = 0;

	while (cell < CELLS && !(next->dirty & cells & 1u << cell))
		cell++;
	if (cell == CELLS) {
		struct state after = *next;
		bool open = after.process.phase == SERVING;

		after.dirty &= (uint16_t)~cells;
		after.left.faults--;
		if (!open || holds(expansion->model, RULE_FLUSH_FAILURE_POISONS))
			process_end(&after, open ? POISONED : DOWN);
		emit(expansion, &after, "a flush fails");
		return;
	}
	old = next->device[cell];
	flush_fail(expansion, next, cells, cell + 1);
	next->device[cell] = next->cache[cell];
	flush_fail(expansion, next, cells, cell + 1);
	next->device[cell] = old;
}

static void expand_flush_fail(struct expansion *expansion, uint16_t cells)
{
	struct state next = *expansion->state;

	if (next.left.faults)
		flush_fail(expansion, &next, cells, 0);
}

/* ---- Slabs ------------------------------------------------------------------------------------------------------- */

/* Directly behind the tail, else at the reserved extent; LOG_CELLS when there is none. */
static unsigned slot_next(const struct process *process)
{
	if (process->tail_slot % SLOTS + 1 < SLOTS)
		return process->tail_slot + 1u;
	return process->reserved ? (process->reserved - 1u) * SLOTS : LOG_CELLS;
}

/* Fills what all slabs have. A slab at the end of its extent must name the next; commits leave room behind them for
 * the MARK and the OPEN that may bring relief. Returns the slot or LOG_CELLS. */
static unsigned slab_build(const struct model *model, const struct process *process, enum kind kind,
			   struct content *slab)
{
	const struct content *tail = &model->contents[process->tail];
	unsigned slot = slot_next(process);
	unsigned next = slot % SLOTS ? process->reserved : 0;

	for (unsigned extent = 0; !next && extent < EXTENTS; extent++) {
		if (process->free_extents & 1u << extent)
			next = extent + 1;
	}
	if (!next && (kind == COMMITS || slot % SLOTS + 1 == SLOTS))
		return LOG_CELLS;
	slab->kind = (uint8_t)kind;
	slab->number = tail->number + 1;
	slab->salt = process->salt;
	slab->last_seq = tail->last_seq;
	slab->limit = (uint8_t)(process->next_seq - 1 + LIMIT_STEP);
	slab->durable_seq = process->durable_seq;
	slab->next = (uint8_t)next;
	slab->previous = process->tail;
	return slot;
}

/* The slab is written whole: it is the tail. */
static void slab_advance(const struct model *model, struct process *process, uint32_t id, unsigned slot)
{
	const struct content *slab = &model->contents[id];

	process->tail = id;
	process->tail_slot = (uint8_t)slot;
	process->reserved = slab->next;
	if (slab->next)
		process->free_extents &= (uint8_t)~(1u << (slab->next - 1));
	process->written |= slab->commits;
	process->content |= slab->commits;
}

static void flight_end(struct process *process)
{
	process->flight = IDLE;
	process->slab = 0;
	process->slab_slot = 0;
	process->need = 0;
}

static void checkpoint_end(struct process *process)
{
	process->checkpoint = NO_CHECKPOINT;
	process->node = 0;
	process->node_cell = 0;
	process->replay_previous = 0;
	process->replay_slot = 0;
	process->replay_number = 0;
}

/* Everything up to the tail is durable: acknowledge it. */
static void group_complete(const struct model *model, struct state *state)
{
	struct process *process = &state->process;
	const struct content *tail = &model->contents[process->tail];

	state->proven |= state->acked & (((uint32_t)2 << tail->durable_seq) - 1);
	state->acked |= process->written;
	process->written = 0;
	process->durable_seq = tail->last_seq;
	process->limit = tail->limit;
	process->end_number = tail->number + 1;
	if (process->slab && model->contents[process->slab].kind == MARK) {
		process->newest_mark = process->slab;
		process->newest_slot = process->slab_slot;
		state->record_newest = process->slab;
		checkpoint_end(process);
	}
	flight_end(process);
}

/* Reports the slab in flight and all behind it as ABORTED. */
static void group_abort(const struct model *model, struct state *state)
{
	struct process *process = &state->process;
	uint32_t burnt = model->contents[process->slab].commits | process->queued;

	if (model->contents[process->slab].kind == MARK)
		checkpoint_end(process);
	state->aborted |= burnt;
	state->alive &= ~burnt;
	process->queued = 0;
	if (burnt && !holds(model, RULE_BURNT_STAYS_BURNT))
		process->next_seq = (uint8_t)__builtin_ctz(burnt);
	flight_end(process);
}

static void flight_begin(struct state *state, enum flight flight, uint32_t id, unsigned slot)
{
	struct process *process = &state->process;

	process->flight = (uint8_t)flight;
	process->slab = id;
	process->slab_slot = (uint8_t)slot;
	process->need = 0;
	if (flight == WRITTEN)
		process->need = NEED_LOG | (state->dirty & 1u << VALUE_CELL ? NEED_BULK : 0);
}

/* A write call that reported success. */
static void emit_written(struct expansion *expansion, struct state next, uint32_t id, unsigned slot)
{
	struct model *model = expansion->model;
	bool nosync = model->contents[id].kind == COMMITS && next.left.nosyncs;

	cell_write(&next, slot, id);
	slab_advance(model, &next.process, id, slot);
	if (nosync) {
		struct state later = next;

		later.left.nosyncs--;
		emit(expansion, &later, "a slab is written, no flush");
	}
	flight_begin(&next, WRITTEN, id, slot);
	if (!holds(model, RULE_ACK_AFTER_FLUSH))
		next.acked |= next.process.written;
	emit(expansion, &next, "a slab is written, to be flushed");
}

/* All that may come of writing a slab. Of a write that fails anything may be in the file. */
static void emit_slab(struct expansion *expansion, struct state next, const struct content *slab, unsigned slot)
{
	struct model *model = expansion->model;
	const struct process *process = &next.process;
	uint32_t id = intern(model, slab);
	bool parts = !slab->part || !(next.dirty & 1u << VALUE_CELL) || !holds(model, RULE_DSYNC_NEEDS_PARTS);
	bool below = process->end_number == slab->number || !holds(model, RULE_DSYNC_NEEDS_LOG);

	emit_written(expansion, next, id, slot);
	if (next.left.faults) {
		struct state failed = next;

		failed.left.faults--;
		flight_begin(&failed, FAILED, id, slot);
		cell_write(&failed, slot, id);
		emit(expansion, &failed, "a slab write fails, though all of it is written");
		cell_write(&failed, slot, TORN);
		emit(expansion, &failed, "a slab write fails, torn");
	}
	if (parts && below) {
		cell_write(&next, slot, id);
		flight_begin(&next, DSYNC, id, slot);
		emit(expansion, &next, "a slab is given to RWF_DSYNC");
	}
}

/* The leader takes what is queued. */
static void expand_leader(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct content slab = { .kind = EMPTY };
	unsigned slot = 0, large_seq = model->contents[next.large].last_seq;

	if (next.process.flight != IDLE || !next.process.queued)
		return;
	slot = slab_build(model, &next.process, COMMITS, &slab);
	if (slot == LOG_CELLS)
		return;
	slab.commits = next.process.queued;
	slab.last_seq = (uint8_t)(31 - __builtin_clz(slab.commits));
	if (next.large && slab.commits >> large_seq & 1)
		slab.part = next.large;
	next.process.queued = 0;
	emit_slab(expansion, next, &slab, slot);
}

/* Commits may be sealed while a flush runs. */
static void expand_seal(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;
	unsigned limit = holds(model, RULE_LIMIT_DURABLE) ? process->limit : model->contents[process->tail].limit;
	uint32_t bit = (uint32_t)1 << process->next_seq;

	if (!next.left.commits || process->next_seq > limit || __builtin_popcount(process->queued) == 2)
		return;
	assert(process->next_seq < 31);
	next.left.commits--;
	if (next.named & bit && next.rotten != MARK)
		next.violation = SEQ_TWICE;
	next.named |= bit;
	next.alive |= bit;
	process->queued |= bit;
	process->next_seq++;
	emit(expansion, &next, "a commit is sealed");
	if (next.left.larges && next.cache[VALUE_CELL] == EMPTY) {
		next.left.larges--;
		next.large = intern(model, &(struct content){ .kind = VALUE, .last_seq = process->next_seq - 1 });
		cell_write(&next, VALUE_CELL, next.large);
		emit(expansion, &next, "a commit with a large value is sealed");
	}
}

static void expand_flush(struct expansion *expansion, unsigned need, uint16_t cells, const char *label)
{
	struct state next = *expansion->state;

	if (!(next.process.need & need))
		return;
	cells_settle(&next, cells);
	next.process.need &= (uint8_t)~need;
	if (!next.process.need)
		group_complete(expansion->model, &next);
	emit(expansion, &next, label);
	expand_flush_fail(expansion, cells);
}

/* The slab in flight goes on. */
static void expand_flight(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;
	unsigned slot = process->slab_slot;

	switch ((enum flight)process->flight) {
	case IDLE:
		if (process->end_number > model->contents[process->tail].number)
			return;
		flight_begin(&next, WRITTEN, 0, 0);
		emit(expansion, &next, "slf_sync begins");
		return;
	case DSYNC:
		cells_settle(&next, (uint16_t)(1u << slot));
		slab_advance(model, process, process->slab, slot);
		group_complete(model, &next);
		emit(expansion, &next, "RWF_DSYNC succeeds, the group is acknowledged");
		expand_flush_fail(expansion, (uint16_t)(1u << slot));
		return;
	case WRITTEN:
		expand_flush(expansion, NEED_LOG, SPINDLE_LOG, "the log is flushed for the group");
		expand_flush(expansion, NEED_BULK, SPINDLE_BULK, "bulk is flushed for the group");
		return;
	case FAILED:
		if (!holds(model, RULE_INVALIDATE)) {
			group_abort(model, &next);
			emit(expansion, &next, "the group is reported aborted");
			return;
		}
		cell_write(&next, slot, EMPTY);
		process->flight = ZEROED;
		if (!holds(model, RULE_INVALIDATION_FLUSHED))
			group_abort(model, &next);
		emit(expansion, &next, "the place of the failed slab is zeroed");
		if (expansion->state->left.faults) {
			next = *expansion->state;
			next.left.faults--;
			process_end(&next, POISONED);
			emit(expansion, &next, "zeroing fails, the handle is poisoned");
		}
		return;
	case ZEROED:
		cells_settle(&next, SPINDLE_LOG);
		group_abort(model, &next);
		emit(expansion, &next, "zeros are flushed, the group is reported aborted");
		expand_flush_fail(expansion, SPINDLE_LOG);
		return;
	}
}

/* ---- Checkpoints and pages --------------------------------------------------------------------------------------- */

static void checkpoint_begin(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;
	const struct content *tail = &model->contents[process->tail];
	struct content node = { .kind = NODE, .commits = process->content, .root_seq = tail->last_seq };
	unsigned slot = slot_next(process), cell = NODE_CELL;

	if (!next.left.checkpoints || process->flight != IDLE || slot == LOG_CELLS)
		return;
	while (cell < VALUE_CELL && (next.cache[cell] != EMPTY || next.device[cell] != EMPTY))
		cell++;
	if (cell == VALUE_CELL)
		return;
	next.left.checkpoints--;
	node.replay_number = tail->number + 1;
	process->replay_number = node.replay_number;
	process->replay_slot = (uint8_t)slot;
	process->replay_previous = process->tail;
	process->node = intern(model, &node);
	process->node_cell = (uint8_t)cell;
	process->checkpoint = NODES_WRITTEN;
	cell_write(&next, cell, process->node);
	emit(expansion, &next, "a checkpoint writes its nodes");
}

static void checkpoint_mark(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;
	struct content mark = { .kind = EMPTY };
	unsigned slot = 0;

	if (process->flight != IDLE)
		return;
	slot = slab_build(model, process, MARK, &mark);
	if (slot == LOG_CELLS)
		return;
	mark.node = process->node;
	mark.cell = process->node_cell;
	mark.root_seq = model->contents[process->node].root_seq;
	mark.replay_slot = process->replay_slot;
	mark.replay_number = process->replay_number;
	mark.replay_previous = process->replay_previous;
	process->checkpoint = MARKING;
	emit_slab(expansion, next, &mark, slot);
}

static void expand_checkpoint(struct expansion *expansion)
{
	struct state next = *expansion->state;

	switch ((enum checkpoint)next.process.checkpoint) {
	case NO_CHECKPOINT:
		checkpoint_begin(expansion);
		return;
	case NODES_WRITTEN:
		cells_settle(&next, SPINDLE_BULK);
		next.process.checkpoint = NODES_SYNCED;
		emit(expansion, &next, "the checkpoint's nodes are flushed");
		expand_flush_fail(expansion, SPINDLE_BULK);
		if (!holds(expansion->model, RULE_MARK_AFTER_BULK))
			checkpoint_mark(expansion);
		return;
	case NODES_SYNCED:
		checkpoint_mark(expansion);
		return;
	case MARKING:
		return;
	}
}

static uint32_t page_build(struct model *model, struct process *process, uint32_t mark, unsigned slot, bool clean)
{
	const struct content *tail = &model->contents[process->tail];
	bool durable = holds(model, RULE_PAGE_END_DURABLE);
	struct content page = { .kind = PAGE, .mark = mark, .mark_slot = (uint8_t)slot, .clean = clean };

	page.generation = ++process->generation;
	page.number = durable ? process->end_number : tail->number + 1;
	page.durable_seq = durable ? process->durable_seq : tail->last_seq;
	page.limit = process->limit;
	if (clean)
		page.limit = holds(model, RULE_CLEAN_SAYS_SEQ) ? process->next_seq - 1 : process->durable_seq;
	return intern(model, &page);
}

/* Writes the page whose turn it is. After a failure its turn stays: the other is the only good one. */
static void page_write(struct expansion *expansion, struct state next, enum page_step step)
{
	struct process *process = &next.process;
	unsigned cell = PAGE_CELL + process->page_next;
	uint8_t before = process->page_step;

	cell_write(&next, cell, page_build(expansion->model, process, process->page_mark, process->page_slot, false));
	process->page_step = (uint8_t)step;
	emit(expansion, &next, step == FIRST_WRITTEN ? "the first page is written" : "the second page is written");
	if (!next.left.faults)
		return;
	next.left.faults--;
	process->page_step = before;
	cell_write(&next, cell, TORN);
	if (!holds(expansion->model, RULE_PAGE_RETRY_SAME))
		process->page_next = !process->page_next;
	emit(expansion, &next, "a page write fails, torn");
}

static void pages_begin(struct expansion *expansion)
{
	struct state next = *expansion->state;
	struct process *process = &next.process;

	process->page_mark = process->newest_mark;
	process->page_slot = process->newest_slot;
	if (process->checkpoint == MARKING && process->flight == WRITTEN &&
	    !holds(expansion->model, RULE_PAGE_AFTER_MARK)) {
		process->page_mark = process->slab;
		process->page_slot = process->slab_slot;
	}
	if (process->page_mark != process->both_mark)
		page_write(expansion, next, FIRST_WRITTEN);
}

static void expand_pages(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;

	switch ((enum page_step)process->page_step) {
	case PAGES_IDLE:
		pages_begin(expansion);
		return;
	case FIRST_WRITTEN:
		cells_settle(&next, SPINDLE_LOG);
		process->page_step = FIRST_SYNCED;
		process->page_next = !process->page_next;
		if (!holds(model, RULE_RECLAIM_AFTER_BOTH))
			process->both_mark = process->page_mark;
		emit(expansion, &next, "the first page is flushed");
		expand_flush_fail(expansion, SPINDLE_LOG);
		if (!holds(model, RULE_PAGE_BY_PAGE)) {
			next = *expansion->state;
			process->page_next = !process->page_next;
			page_write(expansion, next, SECOND_WRITTEN);
		}
		return;
	case FIRST_SYNCED:
		page_write(expansion, next, SECOND_WRITTEN);
		return;
	case SECOND_WRITTEN:
		cells_settle(&next, SPINDLE_LOG);
		process->page_step = PAGES_IDLE;
		process->page_next = !process->page_next;
		process->both_mark = process->page_mark;
		process->page_mark = 0;
		process->page_slot = 0;
		emit(expansion, &next, "the second page is flushed");
		expand_flush_fail(expansion, SPINDLE_LOG);
		return;
	}
}

/* ---- Opening and closing ----------------------------------------------------------------------------------------- */

/* Free for sure: never written. Whatever else is dead waits for pages and locks. */
static uint8_t extents_free(const struct model *model, const struct state *state, uint32_t mark)
{
	uint8_t dead = extents_dead(model, state, mark);

	for (unsigned slot = 0; slot < LOG_CELLS && holds(model, RULE_RECLAIM_ASKS_AFTER_OPEN); slot++) {
		if (state->cache[slot] != EMPTY || state->device[slot] != EMPTY)
			dead &= (uint8_t)~(1u << slot / SLOTS);
	}
	return dead;
}

static void recover_begin(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;
	struct recovery recovery = { .refused = false };

	recover_scan(model, &next, &recovery);
	next.violation = (uint8_t)recover_judge(model, &next, &recovery);
	if (recovery.refused) {
		process->phase = REFUSED;
		emit(expansion, &next, "opening is refused: CORRUPT");
		return;
	}
	process->phase = holds(model, RULE_RECOVERY_FLUSH) ? RECOVER_FLUSH : RECOVER_OPEN;
	process->content = recovery.commits;
	process->tail = recovery.tail;
	process->tail_slot = recovery.tail_slot;
	process->reserved = model->contents[recovery.tail].next;
	process->free_extents = extents_free(model, &next, recovery.mark);
	process->newest_mark = recovery.mark;
	process->newest_slot = recovery.mark_slot;
	process->next_seq = recovery.next_seq;
	process->durable_seq = recovery.last_seq;
	process->generation = recovery.generation;
	process->page_next = recovery.page_next;
	emit(expansion, &next, "recovery finds the tail");
}

/* A read-only opening while nobody writes: recovers in memory, flushes, shows. */
static void expand_look(struct expansion *expansion)
{
	struct state next = *expansion->state;
	struct recovery recovery = { .refused = false };

	if (!next.left.looks)
		return;
	next.left.looks--;
	recover_scan(expansion->model, &next, &recovery);
	if (recovery.refused)
		return;
	next.violation = (uint8_t)recover_judge(expansion->model, &next, &recovery);
	if (holds(expansion->model, RULE_RECOVERY_FLUSH))
		cells_settle(&next, SPINDLE_LOG | SPINDLE_BULK);
	next.seen |= recovery.commits;
	emit(expansion, &next, "a read-only opening shows the data");
}

static void expand_rot(struct expansion *expansion)
{
	for (unsigned cell = 0; cell < NODE_CELL && expansion->state->left.rots; cell++) {
		struct state next = *expansion->state;

		if (next.dirty || next.device[cell] <= TORN)
			continue;
		next.left.rots--;
		next.device[cell] = TORN;
		next.cache[cell] = TORN;
		next.rotten = cell < PAGE_CELL ? MARK : PAGE;
		emit(expansion, &next, cell < PAGE_CELL ? "a slab rots" : "a page rots");
	}
}

static void recover_open(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;
	struct content slab = { .kind = EMPTY };
	unsigned slot = 0;

	process->salt = ++next.salts;
	slot = slab_build(model, process, OPEN, &slab);
	if (slot == LOG_CELLS)
		return;
	process->slab = intern(model, &slab);
	process->slab_slot = (uint8_t)slot;
	process->phase = RECOVER_OPENED;
	cell_write(&next, slot, process->slab);
	emit(expansion, &next, "the OPEN slab is written");
}

/* The OPEN slab is durable: what was found is what there is. */
static void recover_serve(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;

	cells_settle(&next, (uint16_t)(1u << process->slab_slot));
	next.alive = process->content;
	next.acked = process->content;
	next.seen &= process->content;
	next.proven &= process->content;
	slab_advance(model, process, process->slab, process->slab_slot);
	process->phase = SERVING;
	group_complete(model, &next);
	if (!next.record_newest)
		next.record_floor = mark_order(model, process->newest_mark);
	next.record_newest = process->newest_mark;
	emit(expansion, &next, "the OPEN slab is flushed, the database is open");
	expand_flush_fail(expansion, (uint16_t)(1u << expansion->state->process.slab_slot));
}

static void expand_close(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;
	bool synced = process->end_number > model->contents[process->tail].number;

	if (!next.left.closes || process->flight != IDLE || process->queued || !synced || process->checkpoint ||
	    process->page_step || process->reclaim)
		return;
	next.left.closes--;
	cell_write(&next, PAGE_CELL + process->page_next,
		   page_build(model, process, process->newest_mark, process->newest_slot, true));
	process_end(&next, CLOSING);
	emit(expansion, &next, "the page of the clean close is written");
}

static void expand(void *context, const void *bytes, struct explore *explore)
{
	const struct state *state = bytes;
	struct expansion expansion = { .model = context, .state = state, .explore = explore };
	struct state next = *state;

	if (state->process.phase == REFUSED)
		return;
	expand_ends(&expansion);
	expand_other(&expansion);
	switch ((enum phase)state->process.phase) {
	case DOWN:
		recover_begin(&expansion);
		expand_look(&expansion);
		expand_rot(&expansion);
		return;
	case RECOVER_FLUSH:
		cells_settle(&next, SPINDLE_LOG | SPINDLE_BULK);
		next.process.phase = RECOVER_OPEN;
		emit(&expansion, &next, "recovery flushes all spindles");
		expand_flush_fail(&expansion, SPINDLE_LOG | SPINDLE_BULK);
		return;
	case RECOVER_OPEN:
		recover_open(&expansion);
		return;
	case RECOVER_OPENED:
		recover_serve(&expansion);
		return;
	case SERVING:
		expand_seal(&expansion);
		expand_leader(&expansion);
		expand_flight(&expansion);
		expand_checkpoint(&expansion);
		expand_pages(&expansion);
		expand_reclaim(&expansion);
		expand_inside(&expansion);
		expand_close(&expansion);
		return;
	case CLOSING:
		cells_settle(&next, SPINDLE_LOG);
		process_end(&next, DOWN);
		emit(&expansion, &next, "the clean close is flushed");
		expand_flush_fail(&expansion, SPINDLE_LOG);
		return;
	case POISONED:
	case REFUSED:
		return;
	}
}

/* ---- For the explorer -------------------------------------------------------------------------------------------- */

/* A database just created: a MARK of the empty tree in slab 1, both pages name it. */
static void initial(void *context, void *bytes)
{
	struct model *model = context;
	struct state *state = bytes;
	struct content node = { .kind = NODE, .replay_number = 1 };
	struct content mark = { .kind = MARK, .number = 1, .salt = 1, .next = 2, .cell = NODE_CELL, .replay_number = 1 };
	struct content page = { .kind = PAGE, .number = 2 };

	memset(state, 0, sizeof(*state));
	state->left = model->budget;
	state->salts = 1;
	mark.node = intern(model, &node);
	state->device[NODE_CELL] = mark.node;
	page.mark = intern(model, &mark);
	state->device[0] = page.mark;
	for (unsigned i = 0; i < 2; i++) {
		page.generation = (uint8_t)(i + 1);
		state->device[PAGE_CELL + i] = intern(model, &page);
	}
	memcpy(state->cache, state->device, sizeof(state->cache));
}

static const char *check(void *context, const void *bytes)
{
	static const char *const texts[] = {
		[LOST_ACKED] = "I2: an acknowledged commit is lost",
		[LOST_SEEN] = "I12: what a reader saw is lost",
		[SHOWS_ABORTED] = "I3: a commit reported aborted is there",
		[SHOWS_LOST] = "I3: a commit that an earlier recovery did not find is there",
		[NOT_PREFIX] = "I3: a commit is there without one before it",
		[MIXTURE] = "I3: a commit is there without its large value",
		[REFUSES] = "recovery refuses a database without damage",
		[LOST_PROVEN] = "a tail with evidence of durability is cut",
		[SEQ_TWICE] = "I11: a seq names two commits",
		[RECLAIMED_NODE] = "I6: a reader's nodes are punched",
		[RECLAIMED_LOG] = "I6: a reader's log is recycled",
	};
	const struct state *state = bytes;
	enum violation violation = (enum violation)state->violation;

	if (!violation && state->inside.step == READER_JOINED &&
	    state->cache[((struct model *)context)->contents[state->inside.mark].cell] !=
		    ((struct model *)context)->contents[state->inside.mark].node)
		violation = RECLAIMED_NODE;
	if (!violation && state->other.step == READER_JOINED && !state->rotten)
		violation = recover_reach(context, state, state->other.mark);
	return texts[violation];
}

struct model *model_new(const struct model_budget *budget, uint64_t broken)
{
	struct model *model = calloc(1, sizeof(*model));

	if (!model)
		return NULL;
	model->budget = *budget;
	model->broken = broken;
	model->contents = calloc(CONTENTS_MAX, sizeof(*model->contents));
	model->index = calloc(CONTENTS_MAX * 2, sizeof(*model->index));
	model->index_mask = CONTENTS_MAX * 2 - 1;
	if (!model->contents || !model->index) {
		model_free(model);
		return NULL;
	}
	model->contents[TORN].kind = TORN;
	model->content_count = TORN + 1;
	return model;
}

void model_free(struct model *model)
{
	if (!model)
		return;
	free(model->contents);
	free(model->index);
	free(model);
}

struct explore_model model_explore(struct model *model)
{
	static_assert(sizeof(struct process) == 11 * 4 + 28, "no padding: states are compared by their bytes");

	return (struct explore_model){
		.context = model,
		.state_bytes = sizeof(struct state),
		.initial = initial,
		.expand = expand,
		.check = check,
	};
}
