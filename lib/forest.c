/* SPDX-License-Identifier: MIT */
#include "forest.h"

#define FAN_BITS 4
#define FAN (1u << FAN_BITS)

struct forest {
	uint32_t shift; /* of the id bits that choose the slot; 0 at the bottom */
	uint32_t spare;
	void *slots[FAN]; /* forests, or roots at the bottom */
};

struct forest_root {
	struct tree_root root;
	uint32_t id;
};

static bool covers(const struct forest *forest, uint32_t id)
{
	return forest->shift + FAN_BITS >= 32 || id >> (forest->shift + FAN_BITS) == 0;
}

static unsigned slot_of(const struct forest *forest, uint32_t id)
{
	return id >> forest->shift & (FAN - 1);
}

const struct tree_root *forest_get(const struct forest *forest, uint32_t id)
{
	if (!forest || !covers(forest, id))
		return NULL;
	for (; forest && forest->shift; forest = forest->slots[slot_of(forest, id)])
		;
	if (!forest || !forest->slots[slot_of(forest, id)])
		return NULL;
	return &((struct forest_root *)forest->slots[slot_of(forest, id)])->root;
}

static struct forest *forest_new(struct edit *edit, uint32_t shift)
{
	struct block *block = edit_alloc(edit, sizeof(struct forest), BLOCK_FOREST);
	struct forest *forest;

	if (!block)
		return NULL;
	forest = block_payload(block);
	memset(forest, 0, sizeof(*forest));
	forest->shift = shift;
	return forest;
}

/* Makes *forest the edit's own. */
static int forest_own(struct edit *edit, struct forest **forest)
{
	struct forest *old = *forest, *copy;

	if (block_of(old)->birth == edit->epoch)
		return 0;
	copy = forest_new(edit, old->shift);
	if (!copy)
		return -ENOMEM;
	*copy = *old;
	*forest = copy;
	return edit_drop(edit, block_of(old));
}

static int root_put(struct edit *edit, void **slot, uint32_t id, const struct tree_root *root)
{
	struct forest_root *old = *slot, *own = old;
	struct block *block;

	if (!old || block_of(old)->birth != edit->epoch) {
		block = edit_alloc(edit, sizeof(*own), BLOCK_ROOT);
		if (!block)
			return -ENOMEM;
		own = block_payload(block);
	}
	own->root = *root;
	own->id = id;
	*slot = own;
	return old && old != own ? edit_drop(edit, block_of(old)) : 0;
}

int forest_put(struct edit *edit, struct forest **forest, uint32_t id, const struct tree_root *root)
{
	void **slot = (void **)forest;
	uint32_t shift;

	while (*forest && !covers(*forest, id)) {
		struct forest *above = forest_new(edit, (*forest)->shift + FAN_BITS);

		if (!above)
			return -ENOMEM;
		above->slots[0] = *forest;
		*forest = above;
	}
	if (!*forest) {
		for (shift = 0; shift + FAN_BITS < 32 && id >> (shift + FAN_BITS); shift += FAN_BITS)
			;
		*forest = forest_new(edit, shift);
		if (!*forest)
			return -ENOMEM;
	}
	for (;;) {
		struct forest *node;
		int result = forest_own(edit, (struct forest **)slot);

		if (result)
			return result;
		node = *slot;
		slot = &node->slots[slot_of(node, id)];
		if (!node->shift)
			return root_put(edit, slot, id, root);
		if (!*slot) {
			*slot = forest_new(edit, node->shift - FAN_BITS);
			if (!*slot)
				return -ENOMEM;
		}
	}
}

int forest_each(const struct forest *forest, uint32_t from, forest_fn *each, void *context)
{
	for (unsigned i = forest && covers(forest, from) ? slot_of(forest, from) : FAN; i < FAN; i++) {
		int result = 0;

		if (!forest->slots[i])
			continue;
		if (forest->shift) { /* below the first slot the ids begin with those of from, else with the lowest */
			bool first = i == slot_of(forest, from);

			result = forest_each(forest->slots[i], first ? from & (((uint32_t)1 << forest->shift) - 1) : 0, each,
					     context);
		} else {
			struct forest_root *at = forest->slots[i];
			result = each(context, at->id, &at->root, block_of(at)->birth);
		}
		if (result)
			return result;
	}
	return 0;
}

int forest_drop(struct edit *edit, struct forest *forest)
{
	for (unsigned i = 0; forest && i < FAN; i++) {
		int result = 0;

		if (!forest->slots[i])
			continue;
		if (forest->shift)
			result = forest_drop(edit, forest->slots[i]);
		else
			result = edit_drop(edit, block_of(forest->slots[i]));
		if (result)
			return result;
	}
	return forest ? edit_drop(edit, block_of(forest)) : 0;
}
