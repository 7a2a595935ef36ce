/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>

#include "tree_ids.h"

static uint32_t begin(struct tree_ids *ids, uint32_t version_next)
{
	uint32_t next = 0;

	cr_assert_eq(tree_ids_begin(ids, version_next, &next), 0);
	return next;
}

/* An id would be given out again, one of a tree that is there be refused, or the list grow with each that is lost. */
Test(tree_ids, lost)
{
	struct tree_ids ids = { 0 };

	cr_assert_eq(begin(&ids, 17), 17);
	tree_ids_give(&ids, 17); /* aborted */
	cr_assert_eq(begin(&ids, 17), 18);
	tree_ids_give(&ids, 18);
	tree_ids_give(&ids, 19); /* aborted */
	cr_assert_eq(begin(&ids, 17), 20);
	cr_assert_eq(ids.count, 1);
	tree_ids_give(&ids, 20); /* committed */
	cr_assert_eq(begin(&ids, 21), 21);
	tree_ids_give(&ids, 21); /* aborted */
	cr_assert_eq(begin(&ids, 21), 22);
	cr_assert_eq(begin(&ids, 21), 22); /* once more, without a tree */
	cr_assert_eq(ids.count, 2);
	for (uint32_t id = 15; id < 25; id++)
		cr_assert_eq(tree_ids_lost(&ids, id), (id >= 17 && id <= 19) || id == 21, "%u", id);
	tree_ids_release(&ids);
}

/* A commit that made a tree is taken back after another one stood on it: both are lost. */
Test(tree_ids, taken_back)
{
	struct tree_ids ids = { 0 };

	tree_ids_give(&ids, begin(&ids, 17)); /* aborted */
	tree_ids_give(&ids, begin(&ids, 17)); /* 18: committed, pending */
	tree_ids_give(&ids, begin(&ids, 19)); /* 19: aborted */
	cr_assert_eq(begin(&ids, 19), 20);
	cr_assert_eq(begin(&ids, 17), 20); /* 18 is taken back */
	for (uint32_t id = 17; id < 20; id++)
		cr_assert(tree_ids_lost(&ids, id), "%u", id);
	cr_assert(!tree_ids_lost(&ids, 16) && !tree_ids_lost(&ids, 20));
	tree_ids_release(&ids);
}
