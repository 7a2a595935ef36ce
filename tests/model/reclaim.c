/* SPDX-License-Identifier: MIT */
/*
 * Reclaiming and those it must wait for. The puncher: publish the floor, look at slots and locks, reclaim; one
 * floor for the whole round. A reader in this process: load, publish a lower bound, load again. A reader in another
 * process: read the record, lock, read again. Each step is an action of its own, so all interleavings are met;
 * memory is sequentially consistent (the fences of the real store are taken for granted).
 */
#include "model_state.h"

uint8_t extents_dead(const struct model *model, const struct state *state, uint32_t mark)
{
	const struct process *process = &state->process;
	unsigned dead = (1u << EXTENTS) - 1;

	for (unsigned slot = 0; slot < LOG_CELLS; slot++) {
		const struct content *slab = &model->contents[state->cache[slot]];

		if (is_slab(slab) && slab->number >= model->contents[mark].replay_number)
			dead &= ~(1u << slot / SLOTS);
	}
	dead &= ~(1u << process->tail_slot / SLOTS);
	if (process->flight != IDLE && process->slab)
		dead &= ~(1u << process->slab_slot / SLOTS | (1u << model->contents[process->slab].next) >> 1);
	if (process->reserved)
		dead &= ~(1u << (process->reserved - 1));
	return (uint8_t)dead;
}

/* Punches the nodes of older checkpoints and gives their log extents back. Positions of bulk are never used again
 * in the real store; an emptied cell stands for a fresh position. */
static void reclaim(const struct model *model, struct state *state)
{
	struct process *process = &state->process;
	const struct content *mark = &model->contents[process->reclaim_mark];

	for (unsigned cell = NODE_CELL; cell < VALUE_CELL; cell++) {
		const struct content *node = &model->contents[state->cache[cell]];

		if (node->kind == NODE && node->replay_number >= mark->replay_number)
			continue;
		state->cache[cell] = EMPTY;
		state->device[cell] = EMPTY;
		state->dirty &= (uint16_t)~(1u << cell);
	}
	process->free_extents |= extents_dead(model, state, process->reclaim_mark);
}

static void floor_publish(const struct model *model, struct state *state)
{
	uint8_t order = mark_order(model, state->process.reclaim_mark);

	if (order > state->record_floor)
		state->record_floor = order;
}

static void guests_look(const struct model *model, struct state *state)
{
	uint8_t order = mark_order(model, state->process.reclaim_mark);

	if (state->inside.order && state->inside.order < order)
		order = state->inside.order;
	if (state->other.order && state->other.order < order)
		order = state->other.order;
	state->process.reclaim_order = order;
}

void expand_reclaim(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct process *process = &next.process;
	bool floor_first = holds(model, RULE_RECLAIM_FLOOR_FIRST);

	if (!process->both_mark)
		return;
	if (process->reclaim == RECLAIM_IDLE || !holds(model, RULE_RECLAIM_ONE_FLOOR))
		process->reclaim_mark = process->both_mark;
	switch ((enum reclaim)process->reclaim) {
	case RECLAIM_IDLE:
		process->reclaim = RECLAIM_PUBLISHED;
		(floor_first ? floor_publish : guests_look)(model, &next);
		emit(expansion, &next, floor_first ? "the floor is published" : "slots and locks are looked at");
		return;
	case RECLAIM_PUBLISHED:
		process->reclaim = RECLAIM_LOOKED;
		(floor_first ? guests_look : floor_publish)(model, &next);
		emit(expansion, &next, floor_first ? "slots and locks are looked at" : "the floor is published");
		return;
	case RECLAIM_LOOKED:
		if (process->reclaim_order >= mark_order(model, process->reclaim_mark))
			reclaim(model, &next);
		process->reclaim = RECLAIM_IDLE;
		process->reclaim_order = 0;
		process->reclaim_mark = 0;
		emit(expansion, &next, "what lies below is punched and recycled");
		return;
	}
}

void expand_inside(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct guest *guest = &next.inside;
	uint32_t newest = next.process.newest_mark;
	bool guarded = holds(model, RULE_SLOT_BEFORE_LOAD);

	switch ((enum reader)guest->step) {
	case READER_NONE:
		if (!next.left.snapshots)
			return;
		next.left.snapshots--;
		guest->mark = newest;
		guest->step = guarded ? READER_FIRST : READER_JOINED;
		emit(expansion, &next, "a reader loads the version");
		return;
	case READER_FIRST:
		guest->order = mark_order(model, guest->mark);
		guest->step = READER_GUARDED;
		emit(expansion, &next, "the reader publishes its slot");
		return;
	case READER_GUARDED:
		guest->mark = newest;
		guest->order = mark_order(model, newest);
		guest->step = READER_JOINED;
		next.seen |= holds(model, RULE_VISIBLE_WHEN_DURABLE) ? next.acked : next.process.content;
		emit(expansion, &next, "the reader loads again and reads");
		return;
	case READER_JOINED:
		if (!guest->order && !guarded) {
			guest->order = mark_order(model, guest->mark);
			emit(expansion, &next, "the reader publishes its slot");
			return;
		}
		memset(guest, 0, sizeof(*guest));
		emit(expansion, &next, "the reader ends");
		return;
	}
}

void expand_other(struct expansion *expansion)
{
	struct model *model = expansion->model;
	struct state next = *expansion->state;
	struct guest *guest = &next.other;

	switch ((enum reader)guest->step) {
	case READER_NONE:
		if (!next.left.joins || next.process.phase != SERVING)
			return;
		next.left.joins--;
		guest->mark = next.record_newest;
		guest->step = READER_FIRST;
		emit(expansion, &next, "another process reads the record");
		return;
	case READER_FIRST:
		guest->order = mark_order(model, guest->mark);
		guest->step = READER_GUARDED;
		emit(expansion, &next, "another process locks");
		return;
	case READER_GUARDED:
		guest->step = READER_JOINED;
		if (next.record_floor > guest->order && holds(model, RULE_JOIN_READS_AGAIN))
			memset(guest, 0, sizeof(*guest));
		emit(expansion, &next, "another process reads the record again");
		return;
	case READER_JOINED:
		memset(guest, 0, sizeof(*guest));
		emit(expansion, &next, "another process leaves");
		return;
	}
}
