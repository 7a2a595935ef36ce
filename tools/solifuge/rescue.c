/* SPDX-License-Identifier: MIT */
/*
 * A gap is what lies between two damaged nodes, the one that stopped the way forwards and the one that stopped the way
 * backwards; they are told apart by their place in the file. Where both are the same there is nothing between them. Otherwise
 * keys in the middle are sought: one that leads to the left node narrows the gap from the left, one that leads to the right
 * node from the right, one that leads to a third makes two gaps, and one that leads to a record an island, read in both
 * directions, with a gap on each side.
 *
 * It ends: a key between the bounds has their common beginning, and when that is longer than the keys on both sides nothing is
 * expected there any more; forged nodes, which may lead anywhere, are stopped by PROBES_MAX and DEPTH_MAX.
 *
 * Rejected: keeping the records that come backwards until they can be written in order. No reader of dumps needs the order.
 */
#include "rescue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "damage.h"

#define DEPTH_MAX 256
#define GAP_PROBES_MAX 4096
#define PROBES_MAX (1u << 26)
#define KEY_BYTES_MAX 65535u
#define KEY_SHOWN_BYTES 40u /* of a key in a message: its beginning and its end */

/* A key, or one end of the tree. */
struct bound {
	unsigned char *data;
	size_t size;
	size_t room;
	bool closed; /* false: the end of the tree */
	bool record; /* the key of a record that was read */
};

struct edge {
	struct bound *key;   /* where what was read ends */
	struct bound *probe; /* up to here the damage is known to go */
	const struct damage *damage;
};

struct rescue_state {
	struct slf_cursor *cursor;
	uint64_t probes;
	unsigned depth;
	bool pending; /* a gap that has not been told: another one may follow at once */
	struct bound low;
	struct bound high;
	struct damage damage;
};

static int bound_room(struct bound *bound, size_t size)
{
	unsigned char *data = NULL;

	if (size <= bound->room && bound->data)
		return 0;
	data = realloc(bound->data, size + 64);
	if (!data)
		return -ENOMEM;
	bound->data = data;
	bound->room = size + 64;
	return 0;
}

static int bound_set(struct bound *bound, struct slf_slice key, bool record)
{
	int result = bound_room(bound, key.size);

	if (result)
		return result;
	if (key.size)
		memcpy(bound->data, key.data, key.size);
	bound->size = key.size;
	bound->closed = true;
	bound->record = record;
	return 0;
}

static struct slf_slice bound_slice(const struct bound *bound)
{
	return (struct slf_slice){ bound->data, bound->size };
}

static int bound_copy(struct bound *bound, const struct bound *from)
{
	if (from->closed)
		return bound_set(bound, bound_slice(from), from->record);
	bound->closed = bound->record = false;
	return 0;
}

static int compare(struct slf_slice left, struct slf_slice right)
{
	size_t size = left.size < right.size ? left.size : right.size;
	int order = size ? memcmp(left.data, right.data, size) : 0;

	return order ? order : (left.size > right.size) - (left.size < right.size);
}

/* ---- Telling ----------------------------------------------------------------------------------------------------- */

struct key_shown {
	char text[4 * KEY_SHOWN_BYTES + 8];
};

static struct key_shown key_shown(struct slf_slice key)
{
	size_t half = KEY_SHOWN_BYTES / 2;
	struct key_shown shown = { "" };
	FILE *out = fmemopen(shown.text, sizeof(shown.text), "w");

	if (!out)
		return shown;
	if (key.size > KEY_SHOWN_BYTES) {
		text_escaped(out, (struct slf_slice){ key.data, half });
		fputs("...", out);
		key = (struct slf_slice){ (const char *)key.data + key.size - half, half };
	}
	text_escaped(out, key);
	fclose(out);
	return shown;
}

/* The tree in words. */
static struct text_shown tree_shown(const struct rescue *rescue)
{
	struct text_shown shown = { "the main tree" };

	if (rescue->name)
		snprintf(shown.text, sizeof(shown.text), "tree '%.*s'", (int)sizeof(shown.text) - 8,
			 text_shown(rescue->name).text);
	return shown;
}

static void tell_counts(const struct rescue *rescue, uint64_t entries)
{
	tell(rescue->common->command, "%s: %s is damaged: %llu of %llu records were written, %llu were left out",
	     rescue->common->shown.text, tree_shown(rescue).text, (unsigned long long)rescue->records,
	     (unsigned long long)entries, (unsigned long long)(entries > rescue->records ? entries - rescue->records : 0));
}

static void tell_gap(struct rescue *rescue)
{
	struct rescue_state *state = rescue->state;
	const struct bound *low = &state->low;
	const struct bound *high = &state->high;
	const char *command = rescue->common->command;

	if (!state->pending)
		return;
	state->pending = false;
	rescue->damaged = true;
	if (rescue->quiet)
		return;
	if (low->closed && high->closed)
		tell(command, "records between key '%s' and key '%s' may be missing: %s",
		     key_shown(bound_slice(low)).text, key_shown(bound_slice(high)).text, state->damage.text);
	else if (low->closed)
		tell(command, "records behind key '%s' may be missing: %s", key_shown(bound_slice(low)).text,
		     state->damage.text);
	else if (high->closed)
		tell(command, "records before key '%s' may be missing: %s", key_shown(bound_slice(high)).text,
		     state->damage.text);
	else
		tell(command, "all records are missing: %s", state->damage.text);
}

/* Notes a gap that nothing more is read of. One that follows another without a record in between is one with it. */
static int lose(struct rescue *rescue, const struct edge *left, const struct edge *right)
{
	struct rescue_state *state = rescue->state;
	int result = 0;

	if (state->pending && state->high.closed && !state->high.record && left->key->closed &&
	    !compare(bound_slice(&state->high), bound_slice(left->key)))
		return bound_copy(&state->high, right->key);
	tell_gap(rescue);
	result = bound_copy(&state->low, left->key);
	if (!result)
		result = bound_copy(&state->high, right->key);
	state->damage = *left->damage;
	state->pending = !result;
	return result;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

/* What a reading in one direction ends with, but for failures. */
enum stop { STOP_END, STOP_DAMAGE };

static int step(struct rescue *rescue, bool forward, struct slf_slice *key, struct slf_slice *value)
{
	struct slf_cursor *cursor = rescue->state->cursor;

	return forward ? slf_cursor_next(cursor, key, value) : slf_cursor_prev(cursor, key, value);
}

/* Steps over an entry whose value is damaged, and names its key. As step(): more than the value may be unreadable. */
static int step_over(struct rescue *rescue, bool forward, struct slf_slice *key, const struct damage *damage)
{
	int result = step(rescue, forward, key, NULL);

	if (result)
		return result;
	rescue->damaged = true;
	if (!rescue->quiet)
		tell(rescue->common->command, "left out key '%s': %s", key_shown(*key).text, damage->text);
	return 0;
}

/*
 * Reads on from where the cursor is to the key stop, or to the end of the tree, or to damage. last gets the key of the last
 * record, and stays as it is without one. An enum stop, or a failure that is no damage.
 */
static int run(struct rescue *rescue, bool forward, const struct bound *stop, struct bound *last, struct damage *damage)
{
	while (!ferror(rescue->out)) {
		struct slf_slice key = { 0 };
		struct slf_slice value = { 0 };
		int result = step(rescue, forward, &key, &value);
		bool whole = !result;
		int order = 0;

		if (damage_found(result)) {
			damage_get(damage);
			result = step_over(rescue, forward, &key, damage);
		}
		if (damage_found(result))
			damage_get(damage);
		if (result)
			return result == SLF_END ? STOP_END : damage_found(result) ? STOP_DAMAGE : result;
		order = stop->closed ? compare(key, bound_slice(stop)) : forward ? -1 : 1;
		if (forward ? order >= 0 : order <= 0)
			return STOP_END;
		if (whole) {
			rescue->each(rescue->context, key, value);
			rescue->records++;
		}
		result = bound_set(last, key, true);
		if (result)
			return result;
	}
	return STOP_END;
}

/* ---- Gaps -------------------------------------------------------------------------------------------------------- */

static unsigned digit(const struct bound *bound, size_t index)
{
	return index < bound->size ? bound->data[index] : 0;
}

/* How many bytes two bounds have in common, zeros behind their ends. 0 where one is an end of the tree. */
static size_t common_bytes(const struct bound *low, const struct bound *high)
{
	size_t size = low->size > high->size ? low->size : high->size;
	size_t common = 0;

	if (!low->closed || !high->closed)
		return 0;
	while (common < size && digit(low, common) == digit(high, common))
		common++;
	return common;
}

/* Sets middle to a key between low and high, taken as fractions with digits of a byte. 0, SLF_NOTFOUND or a failure. */
static int bound_middle(const struct bound *low, const struct bound *high, size_t size, struct bound *middle)
{
	unsigned carry = 0;
	int result = bound_room(middle, size);

	if (result)
		return result;
	middle->size = size;
	middle->closed = true;
	middle->record = false;
	/* The sum, from its last digit on; its carry is the first bit of the half. The end of the tree is 1. */
	for (size_t i = size; i-- > 0;) {
		unsigned sum = (low->closed ? digit(low, i) : 0) + (high->closed ? digit(high, i) : 0) + carry;

		middle->data[i] = (unsigned char)sum;
		carry = sum >> 8;
	}
	carry += !high->closed;
	for (size_t i = 0; i < size; i++) {
		unsigned sum = carry << 8 | middle->data[i];

		middle->data[i] = (unsigned char)(sum >> 1);
		carry = sum & 1;
	}
	if ((low->closed && compare(bound_slice(middle), bound_slice(low)) <= 0) ||
	    (high->closed && compare(bound_slice(middle), bound_slice(high)) >= 0))
		return SLF_NOTFOUND;
	return 0;
}

static int gap(struct rescue *rescue, const struct edge *left, const struct edge *right);

/* Reads what lies around the key middle, where there is a record, and the gaps on both sides of that. */
static int island(struct rescue *rescue, const struct edge *left, const struct edge *right, struct bound *middle)
{
	struct slf_cursor *cursor = rescue->state->cursor;
	struct bound first = { 0 };
	struct bound last = { 0 };
	struct damage before = { 0 };
	struct damage behind = { 0 };
	int down = slf_cursor_seek(cursor, bound_slice(middle));
	int up = 0;
	int result = bound_copy(&first, middle);

	if (!result)
		result = bound_copy(&last, middle);
	if (!result && !down)
		down = run(rescue, false, left->key, &first, &before);
	if (!result && down >= 0)
		up = slf_cursor_seek(cursor, bound_slice(middle));
	if (!result && down >= 0 && !up)
		up = run(rescue, true, right->key, &last, &behind);
	if (!result)
		result = down < 0 ? down : up < 0 ? up : 0;
	if (!result && down == STOP_DAMAGE)
		result = gap(rescue, left, &(struct edge){ &first, &first, &before });
	if (!result && up == STOP_DAMAGE)
		result = gap(rescue, &(struct edge){ &last, &last, &behind }, right);
	free(first.data);
	free(last.data);
	return result;
}

/* What a key leads to. */
enum probe { PROBE_LEFT, PROBE_RIGHT, PROBE_OTHER, PROBE_RECORD };

/* An enum probe, or a failure. */
static int probe(struct rescue *rescue, const struct edge *left, const struct edge *right, const struct bound *middle,
		 struct damage *damage)
{
	struct slf_cursor *cursor = rescue->state->cursor;
	struct slf_slice key = { 0 };
	int result = slf_cursor_seek(cursor, bound_slice(middle));

	if (!result)
		result = slf_cursor_next(cursor, &key, NULL);
	if (damage_found(result)) {
		damage_get(damage);
		if (damage_is_same(damage, left->damage))
			return PROBE_LEFT;
		return damage_is_same(damage, right->damage) ? PROBE_RIGHT : PROBE_OTHER;
	}
	if (result < 0)
		return result;
	if (result == SLF_END || (right->key->closed && compare(key, bound_slice(right->key)) >= 0))
		return PROBE_RIGHT; /* between the middle and the right there is nothing */
	return PROBE_RECORD;
}

/* Seeks keys until one leads to something else than the nodes at both ends. An enum probe, or a failure. */
static int narrow(struct rescue *rescue, const struct edge *left, const struct edge *right, struct bound *middle,
		  struct damage *damage)
{
	size_t longest = left->key->size > right->key->size ? left->key->size : right->key->size;
	int found = PROBE_LEFT;

	for (unsigned i = 0; i < GAP_PROBES_MAX && rescue->state->probes < PROBES_MAX; i++) {
		size_t common = common_bytes(left->probe, right->probe);
		size_t size = common + 8 < KEY_BYTES_MAX ? common + 8 : KEY_BYTES_MAX;
		int result =
			common > longest + 8 ? SLF_NOTFOUND : bound_middle(left->probe, right->probe, size, middle);

		if (result)
			return result < 0 ? result : PROBE_LEFT;
		rescue->state->probes++;
		found = probe(rescue, left, right, middle, damage);
		if (found != PROBE_LEFT && found != PROBE_RIGHT)
			return found;
		result = bound_copy(found == PROBE_LEFT ? left->probe : right->probe, middle);
		if (result)
			return result;
	}
	return PROBE_LEFT;
}

/* Reads what there is between two edges, from the left to the right, and notes what there is not. */
static int gap(struct rescue *rescue, const struct edge *left, const struct edge *right)
{
	struct bound probes[2] = { { 0 } };
	struct bound middle = { 0 };
	struct damage damage = { 0 };
	struct edge from = { left->key, &probes[0], left->damage };
	struct edge to = { right->key, &probes[1], right->damage };
	int found = PROBE_LEFT;
	int result = 0;

	if (damage_is_same(left->damage, right->damage) || rescue->state->depth >= DEPTH_MAX)
		return lose(rescue, left, right);
	rescue->state->depth++;
	result = bound_copy(&probes[0], left->probe);
	if (!result)
		result = bound_copy(&probes[1], right->probe);
	if (!result)
		found = narrow(rescue, &from, &to, &middle, &damage);
	if (!result && found < 0)
		result = found;
	else if (!result && found == PROBE_RECORD)
		result = island(rescue, &from, &to, &middle);
	else if (!result && found == PROBE_OTHER)
		result = gap(rescue, &from, &(struct edge){ &middle, &middle, &damage });
	else if (!result)
		result = lose(rescue, left, right);
	if (!result && found == PROBE_OTHER)
		result = gap(rescue, &(struct edge){ &middle, &middle, &damage }, &to);
	rescue->state->depth--;
	free(probes[0].data);
	free(probes[1].data);
	free(middle.data);
	return result;
}

/* ---- The tree ---------------------------------------------------------------------------------------------------- */

static int reopen(struct rescue *rescue)
{
	struct slf_range range = { .flags = SLF_TRANSIENT };

	slf_cursor_close(rescue->state->cursor);
	rescue->state->cursor = NULL;
	return slf_cursor_open(rescue->txn, rescue->tree, &range, &rescue->state->cursor);
}

/* Of a tree whose root is not found nothing is read. */
static int tell_closed(struct rescue *rescue)
{
	struct damage damage = { 0 };

	damage_get(&damage);
	rescue->closed = rescue->damaged = true;
	if (!rescue->quiet)
		tell(rescue->common->command, "%s: %s cannot be opened, none of its records were written: %s",
		     rescue->common->shown.text, tree_shown(rescue).text, damage.text);
	return 0;
}

static int read_all(struct rescue *rescue)
{
	struct bound first = { 0 };
	struct bound last = { 0 };
	struct damage before = { 0 };
	struct damage behind = { 0 };
	int result = reopen(rescue);

	if (damage_found(result))
		return tell_closed(rescue);
	if (!result)
		result = run(rescue, true, &last, &first, &before);
	if (result != STOP_DAMAGE)
		goto out;
	result = reopen(rescue);
	if (!result)
		result = run(rescue, false, &first, &last, &behind);
	if (result == STOP_DAMAGE)
		result =
			gap(rescue, &(struct edge){ &first, &first, &before }, &(struct edge){ &last, &last, &behind });
out:
	free(first.data);
	free(last.data);
	return result;
}

int rescue_tree(struct rescue *rescue)
{
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	struct rescue_state state = { 0 };
	int result = 0;

	rescue->state = &state;
	result = read_all(rescue);
	tell_gap(rescue);
	if (!result && rescue->damaged && !rescue->closed && !rescue->quiet) {
		result = slf_tree_stat(rescue->txn, rescue->tree, &stat);
		if (!result)
			tell_counts(rescue, stat.entries);
	}
	slf_cursor_close(state.cursor);
	free(state.low.data);
	free(state.high.data);
	rescue->state = NULL;
	return result;
}
