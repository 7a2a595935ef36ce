/* SPDX-License-Identifier: MIT */
/*
 * The walk stands between two records; `direction` tells on which side of the cursor's key. Going on in the same direction
 * without a change in between is one step of the walk. Everything else (turning round, own writes, the entry deleted
 * meanwhile) seeks the key again and passes it where it is met.
 */
#include "cursor.h"

#include <stdlib.h>

#include "error.h"

static int buffer_set(struct cursor_buffer *buffer, struct slf_slice from)
{
	if (from.size > buffer->capacity || !buffer->bytes) {
		size_t capacity = align_up(from.size + 1, 64);
		uint8_t *bytes = realloc(buffer->bytes, capacity);

		if (!bytes)
			return -ENOMEM;
		buffer->bytes = bytes;
		buffer->capacity = capacity;
	}
	if (from.size)
		memmove(buffer->bytes, from.data, from.size);
	buffer->size = from.size;
	return 0;
}

static struct slf_slice buffer_slice(const struct cursor_buffer *buffer)
{
	return slice(buffer->bytes, buffer->size);
}

static void *buffer_alloc(void *context, size_t size, int *error)
{
	struct cursor_buffer *buffer = context;

	if (size > buffer->capacity || !buffer->bytes) {
		uint8_t *bytes = malloc(size + 64);

		if (!bytes) {
			*error = -ENOMEM;
			return NULL;
		}
		free(buffer->bytes);
		buffer->bytes = bytes;
		buffer->capacity = size + 64;
	}
	return buffer->bytes;
}

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

/* The first key behind all that begin with the prefix; without one (all bytes 0xff) there is no upper bound. */
static int prefix_bounds(struct slf_cursor *cursor, struct slf_slice prefix)
{
	int result = buffer_set(&cursor->low, prefix);
	struct cursor_buffer *high = &cursor->high;

	if (!result)
		result = buffer_set(high, prefix);
	while (high->size && high->bytes[high->size - 1] == 0xff)
		high->size--;
	cursor->flags |= SLF_LOWER;
	if (high->size) {
		high->bytes[high->size - 1]++;
		cursor->flags |= SLF_UPPER;
	}
	return result;
}

static bool flags_fit(unsigned flags)
{
	const unsigned low = flags & (SLF_LOWER | SLF_LOWER_EXCLUSIVE), high = flags & (SLF_UPPER | SLF_UPPER_INCLUSIVE);

	if (flags & ~(low | high | SLF_PREFIX | SLF_TRANSIENT))
		return false;
	return flags & SLF_PREFIX ? !(low | high) : low != SLF_LOWER_EXCLUSIVE && high != SLF_UPPER_INCLUSIVE;
}

static int take_range(struct slf_cursor *cursor, const struct slf_range *range)
{
	int result = 0;

	if (!range)
		return 0;
	if (!flags_fit(range->flags))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE,
				 "slf_range: unknown or contradicting flags, or one that says how a bound is meant without the bound");
	if (range->low.size > KEY_BYTES_MAX || range->high.size > KEY_BYTES_MAX)
		return error_set(SLF_ETOOBIG, NULL, -1, OFFSET_NONE, "a bound is longer than a key may be");
	if ((!range->low.data && range->low.size) || (!range->high.data && range->high.size))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "a bound with a size has no data");
	cursor->flags = range->flags & ~SLF_PREFIX;
	if (range->flags & SLF_PREFIX) {
		cursor->flags &= SLF_TRANSIENT;
		return prefix_bounds(cursor, range->low);
	}
	if (range->flags & SLF_LOWER)
		result = buffer_set(&cursor->low, range->low);
	if (!result && (range->flags & SLF_UPPER))
		result = buffer_set(&cursor->high, range->high);
	return result;
}

int cursor_open(struct slf_txn *txn, uint32_t id, const struct slf_range *range, struct slf_cursor **result)
{
	struct slf_cursor *cursor;
	struct txn_tree *tree = NULL;
	int error = txn_tree(txn, id, &tree);

	if (error)
		return error;
	cursor = calloc(1, sizeof(*cursor));
	if (!cursor)
		return -ENOMEM;
	cursor->tree = id;
	walk_init(&cursor->walk, &txn->core->store, id);
	error = take_range(cursor, range);
	if (error) {
		cursor_close(cursor);
		return error;
	}
	cursor->txn = txn;
	cursor->next = txn->cursors;
	if (cursor->next)
		cursor->next->previous = cursor;
	txn->cursors = cursor;
	*result = cursor;
	return 0;
}

void cursor_detach(struct slf_cursor *cursor)
{
	struct slf_txn *txn = cursor->txn;

	if (!txn)
		return;
	if (cursor->previous)
		cursor->previous->next = cursor->next;
	else
		txn->cursors = cursor->next;
	if (cursor->next)
		cursor->next->previous = cursor->previous;
	cursor->txn = NULL;
}

void cursor_close(struct slf_cursor *cursor)
{
	cursor_detach(cursor);
	walk_release(&cursor->walk);
	free(cursor->low.bytes);
	free(cursor->high.bytes);
	free(cursor->saved.bytes);
	for (size_t i = 0; i < ARRAY_SIZE(cursor->key_out); i++) {
		free(cursor->key_out[i].bytes);
		free(cursor->value_out[i].bytes);
	}
	free(cursor);
}

/* ---- Places ------------------------------------------------------------------------------------------------------ */

static bool above(const struct slf_cursor *cursor, struct slf_slice key)
{
	int order;

	if (!(cursor->flags & SLF_UPPER))
		return false;
	order = slice_compare(key, buffer_slice(&cursor->high));
	return order > 0 || (order == 0 && !(cursor->flags & SLF_UPPER_INCLUSIVE));
}

static bool below(const struct slf_cursor *cursor, struct slf_slice key)
{
	int order;

	if (!(cursor->flags & SLF_LOWER))
		return false;
	order = slice_compare(key, buffer_slice(&cursor->low));
	return order < 0 || (order == 0 && (cursor->flags & SLF_LOWER_EXCLUSIVE));
}

/* Keeps the key of the place. In a reader's map it stays where it is. */
static int place_on(struct slf_cursor *cursor, const struct found *found, int direction)
{
	const struct slf_txn *txn = cursor->txn;

	if (txn->state == TXN_READING && !found->copied) {
		cursor->key = found->record.key;
	} else {
		if (buffer_set(&cursor->saved, found->record.key))
			return -ENOMEM;
		cursor->key = buffer_slice(&cursor->saved);
	}
	cursor->direction = direction;
	cursor->changes = txn->changes;
	cursor->place = CURSOR_ON;
	return 0;
}

int cursor_settle(struct slf_cursor *cursor)
{
	if ((cursor->place != CURSOR_ON && cursor->place != CURSOR_GAP) || cursor->key.data == cursor->saved.bytes)
		return 0;
	if (buffer_set(&cursor->saved, cursor->key))
		return -ENOMEM;
	cursor->key = buffer_slice(&cursor->saved);
	return 0;
}

int cursor_seek(struct slf_cursor *cursor, struct slf_slice key)
{
	if (buffer_set(&cursor->saved, key))
		return -ENOMEM;
	cursor->key = buffer_slice(&cursor->saved);
	cursor->direction = 0;
	cursor->place = CURSOR_GAP;
	if (below(cursor, key))
		cursor->place = CURSOR_BEFORE;
	else if (above(cursor, key))
		cursor->place = CURSOR_BEHIND;
	return 0;
}

/* Steps onto the entry, and gives it: both, or neither. Until both are sure the slices given last stay as they are. */
static int give(struct slf_cursor *cursor, const struct found *found, int direction, struct slf_slice *key,
		struct slf_slice *value)
{
	bool transient = cursor->flags & SLF_TRANSIENT;
	value_alloc_fn *alloc = transient ? buffer_alloc : txn_arena_alloc;
	struct slf_txn *txn = cursor->txn;
	unsigned other = !cursor->given;
	struct slf_slice key_out, value_out;
	int result = 0;

	if (key)
		result = txn_key(txn, found, alloc, transient ? (void *)&cursor->key_out[other] : txn, &key_out);
	if (!result && value)
		result = txn_value(txn, found, alloc, transient ? (void *)&cursor->value_out[other] : txn, &value_out);
	if (!result)
		result = place_on(cursor, found, direction);
	if (result) {
		cursor->direction = 0;
		return result;
	}
	cursor->given = other;
	if (key)
		*key = key_out;
	if (value)
		*value = value_out;
	return 0;
}

/* Can the walk go on where it stands? */
static bool in_step(const struct slf_cursor *cursor, int direction)
{
	return cursor->direction == direction && cursor->changes == cursor->txn->changes;
}

/* ---- Moving ------------------------------------------------------------------------------------------------------ */

static int seek_forward(struct slf_cursor *cursor, const struct tree_root *root)
{
	switch (cursor->place) {
	case CURSOR_ON:
	case CURSOR_GAP:
		return walk_seek(&cursor->walk, root, cursor->key);
	default:
		if (cursor->flags & SLF_LOWER)
			return walk_seek(&cursor->walk, root, buffer_slice(&cursor->low));
		return walk_seek_first(&cursor->walk, root);
	}
}

/* Is the record one that a seek forward must pass: the entry the cursor is on, or an excluded bound? */
static bool passed_forward(const struct slf_cursor *cursor, struct slf_slice key)
{
	if (cursor->place == CURSOR_ON)
		return slice_compare(key, cursor->key) == 0;
	return below(cursor, key);
}

int cursor_next(struct slf_cursor *cursor, struct slf_slice *key, struct slf_slice *value)
{
	bool sought = !in_step(cursor, 1);
	struct txn_tree *tree = NULL;
	struct found found;
	int result = 0;

	if (cursor->place == CURSOR_BEHIND)
		return SLF_END;
	if (unlikely(sought)) {
		result = txn_tree(cursor->txn, cursor->tree, &tree);
		if (!result)
			result = seek_forward(cursor, &tree->root);
	}
	if (!result)
		result = walk_next(&cursor->walk, &found);
	if (!result && unlikely(sought) && passed_forward(cursor, found.record.key))
		result = walk_next(&cursor->walk, &found);
	if (result == SLF_END || (!result && above(cursor, found.record.key))) {
		cursor->place = CURSOR_BEHIND;
		cursor->direction = 0;
		return SLF_END;
	}
	if (!result)
		return give(cursor, &found, 1, key, value);
	cursor->direction = 0;
	return result;
}

/* Places the walk behind the last record that may be given. */
static int seek_backward(struct slf_cursor *cursor, const struct tree_root *root)
{
	struct slf_slice high = buffer_slice(&cursor->high);
	struct found found;
	int result;

	if (cursor->place == CURSOR_ON || cursor->place == CURSOR_GAP)
		return walk_seek(&cursor->walk, root, cursor->key);
	if (!(cursor->flags & SLF_UPPER))
		return walk_seek_last(&cursor->walk, root);
	result = walk_seek(&cursor->walk, root, high);
	if (result || !(cursor->flags & SLF_UPPER_INCLUSIVE))
		return result;
	result = walk_next(&cursor->walk, &found);
	if (result == SLF_END)
		return 0;
	if (!result && slice_compare(found.record.key, high) != 0)
		result = walk_prev(&cursor->walk, &found);
	return result;
}

int cursor_prev(struct slf_cursor *cursor, struct slf_slice *key, struct slf_slice *value)
{
	struct txn_tree *tree = NULL;
	struct found found;
	int result = 0;

	if (cursor->place == CURSOR_BEFORE)
		return SLF_END;
	if (unlikely(!in_step(cursor, -1))) {
		result = txn_tree(cursor->txn, cursor->tree, &tree);
		if (!result)
			result = seek_backward(cursor, &tree->root);
	}
	if (!result)
		result = walk_prev(&cursor->walk, &found);
	if (result == SLF_END || (!result && below(cursor, found.record.key))) {
		cursor->place = CURSOR_BEFORE;
		cursor->direction = 0;
		return SLF_END;
	}
	if (!result)
		return give(cursor, &found, -1, key, value);
	cursor->direction = 0;
	return result;
}
