/* SPDX-License-Identifier: MIT */
#include "tree_ids.h"

#include <stdlib.h>

int tree_ids_begin(struct tree_ids *ids, uint32_t version_next, uint32_t *next)
{
	struct tree_gap *last = ids->count ? &ids->gaps[ids->count - 1] : NULL;

	*next = version_next;
	if (likely(version_next >= ids->next))
		return 0;
	*next = ids->next;
	if (last && last->end >= version_next) { /* no tree has come to be since, or it was taken back */
		last->first = version_next < last->first ? version_next : last->first;
		last->end = ids->next;
		return 0;
	}
	if (ids->count == ids->capacity) {
		struct tree_gap *gaps = array_grow(ids->gaps, &ids->capacity, sizeof(*gaps));

		if (!gaps)
			return -ENOMEM;
		ids->gaps = gaps;
	}
	ids->gaps[ids->count++] = (struct tree_gap){ version_next, ids->next };
	return 0;
}

bool tree_ids_lost(const struct tree_ids *ids, uint32_t id)
{
	for (size_t i = ids->count; i-- > 0 && id < ids->gaps[i].end;)
		if (id >= ids->gaps[i].first)
			return true;
	return false;
}

void tree_ids_release(struct tree_ids *ids)
{
	free(ids->gaps);
}
