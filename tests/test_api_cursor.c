/* SPDX-License-Identifier: MIT */
/* The contracts of solifuge.h that concern cursors. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "scratch.h"
#include "solifuge.h"

static struct scratch scratch;

static void set_up(void)
{
	scratch_init(&scratch);
}

static void tear_down(void)
{
	scratch_release(&scratch);
}

TestSuite(api_cursor, .init = set_up, .fini = tear_down, .timeout = 60);

/* The next (direction > 0) or previous key has to be expected; NULL: the end, with untouched outputs. */
static void expect(struct slf_cursor *cursor, int direction, const char *expected)
{
	struct slf_slice key = text("untouched"), value = text("untouched");
	int result = direction > 0 ? slf_cursor_next(cursor, &key, &value) : slf_cursor_prev(cursor, &key, &value);

	if (!expected) {
		cr_assert_eq(result, SLF_END, "%d instead of the end: %.*s", result, (int)key.size,
			     (const char *)key.data);
		cr_assert(slice_is(key, "untouched", 9) && slice_is(value, "untouched", 9));
		return;
	}
	cr_assert_eq(result, 0, "%d instead of %s", result, expected);
	cr_assert(slice_is(key, expected, strlen(expected)), "%.*s instead of %s", (int)key.size,
		  (const char *)key.data, expected);
	cr_assert(value.size > 0 && *(const char *)value.data == 'v');
}

static struct slf_cursor *cursor_open(struct slf_txn *txn, const struct slf_range *range)
{
	struct slf_cursor *cursor = NULL;

	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, range, &cursor), 0);
	cr_assert_not_null(cursor);
	return cursor;
}

/* Puts each of the words into the main tree. */
static void put_words(struct slf_txn *txn, const char *words)
{
	char *copy = strdup(words), *rest = NULL, *word = NULL;

	for (word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		cr_assert_eq(slf_put(txn, SLF_MAIN, text(word), text("v")), 0);
	free(copy);
}

/* A cursor in an empty tree would find something or fail. */
Test(api_cursor, empty_tree)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_cursor *cursor = cursor_open(txn, NULL);

	expect(cursor, 1, NULL);
	expect(cursor, -1, NULL);
	cr_assert_eq(slf_cursor_seek(cursor, text("key")), 0);
	expect(cursor, 1, NULL);
	expect(cursor, -1, NULL);
	slf_cursor_close(cursor);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* A cursor would miss or repeat an entry when it turns, at the ends above all. */
Test(api_cursor, both_directions)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_cursor *cursor = NULL;

	put_words(txn, "a b c d");
	cursor = cursor_open(txn, NULL);
	expect(cursor, 1, "a");
	expect(cursor, 1, "b");
	expect(cursor, 1, "c");
	expect(cursor, -1, "b");
	expect(cursor, 1, "c");
	expect(cursor, 1, "d");
	expect(cursor, 1, NULL);
	expect(cursor, 1, NULL);
	expect(cursor, -1, "d");
	expect(cursor, -1, "c");
	expect(cursor, -1, "b");
	expect(cursor, -1, "a");
	expect(cursor, -1, NULL);
	expect(cursor, -1, NULL);
	expect(cursor, 1, "a");
	slf_cursor_close(cursor);
	cursor = cursor_open(txn, NULL);
	expect(cursor, -1, "d");
	expect(cursor, -1, "c");
	cr_assert_eq(slf_cursor_prev(cursor, NULL, NULL), 0);
	expect(cursor, 1, "c");
	slf_cursor_close(cursor);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* A seek would land beside its key, or outside the range. */
Test(api_cursor, seek)
{
	struct slf_range range = { .flags = SLF_LOWER | SLF_UPPER, .low = text("c"), .high = text("k") };
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_cursor *cursor = NULL;

	put_words(txn, "b d f h j l");
	cursor = cursor_open(txn, &range);
	cr_assert_eq(slf_cursor_seek(cursor, text("f")), 0);
	expect(cursor, 1, "f");
	cr_assert_eq(slf_cursor_seek(cursor, text("f")), 0);
	expect(cursor, -1, "d");
	cr_assert_eq(slf_cursor_seek(cursor, text("e")), 0);
	expect(cursor, 1, "f");
	cr_assert_eq(slf_cursor_seek(cursor, text("g")), 0);
	expect(cursor, -1, "f");
	cr_assert_eq(slf_cursor_seek(cursor, text("")), 0);
	expect(cursor, 1, "d");
	cr_assert_eq(slf_cursor_seek(cursor, text("a")), 0);
	expect(cursor, -1, NULL);
	expect(cursor, 1, "d");
	cr_assert_eq(slf_cursor_seek(cursor, text("z")), 0);
	expect(cursor, 1, NULL);
	expect(cursor, -1, "j");
	cr_assert_eq(slf_cursor_seek(cursor, text("l")), 0);
	expect(cursor, -1, "j");
	slf_cursor_close(cursor);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* What a cursor gives over a range, in both directions, as a string of its first bytes. */
static void range_words(struct slf_txn *txn, const struct slf_range *range, char *forward, char *backward)
{
	struct slf_slice key = { 0 };
	struct slf_cursor *cursor = cursor_open(txn, range);
	int count = 0, i = 0;

	while (slf_cursor_next(cursor, &key, NULL) == 0)
		forward[count++] = *(const char *)key.data;
	forward[count] = 0;
	slf_cursor_close(cursor);
	cursor = cursor_open(txn, range);
	for (i = count; slf_cursor_prev(cursor, &key, NULL) == 0; i--)
		backward[i > 0 ? i - 1 : 0] = *(const char *)key.data;
	cr_assert_eq(i, 0, "%d entries more or less backward", i);
	backward[count] = 0;
	slf_cursor_close(cursor);
}

/* A bound would be off by one entry. */
Test(api_cursor, bounds)
{
	const unsigned both = SLF_LOWER | SLF_UPPER;
	const struct {
		unsigned flags;
		const char *low, *high, *expected;
	} cases[] = {
		{ 0, "c", "e", "abcdefg" },
		{ SLF_LOWER, "c", "", "cdefg" },
		{ SLF_LOWER | SLF_LOWER_EXCLUSIVE, "c", "", "defg" },
		{ SLF_UPPER, "", "e", "abcd" },
		{ SLF_UPPER | SLF_UPPER_INCLUSIVE, "", "e", "abcde" },
		{ both, "c", "e", "cd" },
		{ both | SLF_UPPER_INCLUSIVE, "c", "e", "cde" },
		{ both | SLF_LOWER_EXCLUSIVE, "c", "e", "d" },
		{ both | SLF_LOWER_EXCLUSIVE | SLF_UPPER_INCLUSIVE, "c", "e", "de" },
		{ both, "bb", "dd", "cd" },
		{ both | SLF_LOWER_EXCLUSIVE | SLF_UPPER_INCLUSIVE, "bb", "dd", "cd" },
		{ both, "c", "c", "" },
		{ both | SLF_UPPER_INCLUSIVE, "c", "c", "c" },
		{ both | SLF_LOWER_EXCLUSIVE | SLF_UPPER_INCLUSIVE, "c", "c", "" },
		{ both | SLF_UPPER_INCLUSIVE, "e", "c", "" },
		{ both, "x", "z", "" },
		{ both, "", "a", "" },
		{ both, "cc", "cd", "" },
		{ SLF_LOWER, "", "", "abcdefg" },
		{ SLF_UPPER, "", "", "" },
		{ SLF_PREFIX, "c", "", "c" },
		{ SLF_PREFIX, "cc", "", "" },
		{ SLF_PREFIX, "", "", "abcdefg" },
		{ SLF_PREFIX | SLF_TRANSIENT, "g", "", "g" },
	};
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	size_t i = 0;

	put_words(txn, "a b c d e f g");
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char low[8] = "", high[8] = "", forward[16] = "", backward[16] = "";
		struct slf_range range = { .flags = cases[i].flags, .low = bytes(low, strlen(cases[i].low)),
					   .high = bytes(high, strlen(cases[i].high)) };

		strcpy(low, cases[i].low);
		strcpy(high, cases[i].high);
		range_words(txn, &range, forward, backward);
		cr_assert_str_eq(forward, cases[i].expected, "case %zu", i);
		cr_assert_str_eq(backward, cases[i].expected, "case %zu", i);
	}
	cr_assert_lt(slf_cursor_open(txn, SLF_MAIN, &(struct slf_range){ .flags = 0x8000u },
				     &(struct slf_cursor *){ NULL }), 0, "unknown flag");
	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, &(struct slf_range){ .flags = SLF_LOWER, .low = { NULL, 1 } },
				     &(struct slf_cursor *){ NULL }), -EINVAL);
	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, &(struct slf_range){ .flags = SLF_UPPER, .high = { NULL, 1 } },
				     &(struct slf_cursor *){ NULL }), -EINVAL);
	for (size_t bound = 0; bound < 4; bound++) {
		static const unsigned bounds[] = { SLF_UPPER, SLF_LOWER, SLF_LOWER_EXCLUSIVE, SLF_UPPER_INCLUSIVE };

		cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, &(struct slf_range){ .flags = SLF_PREFIX | bounds[bound] },
					     &(struct slf_cursor *){ NULL }), -EINVAL, "bound %zu", bound);
	}
	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, &(struct slf_range){ .flags = SLF_LOWER, .low = { "", 65536 } },
				     &(struct slf_cursor *){ NULL }), SLF_ETOOBIG);
	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, &(struct slf_range){ .flags = SLF_UPPER, .high = { "", 65536 } },
				     &(struct slf_cursor *){ NULL }), SLF_ETOOBIG);
	cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, NULL, NULL), -EINVAL);
	cr_assert_eq(slf_cursor_next(NULL, NULL, NULL), -EINVAL);
	cr_assert_eq(slf_cursor_prev(NULL, NULL, NULL), -EINVAL);
	cr_assert_eq(slf_cursor_seek(NULL, text("c")), -EINVAL);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* Who forgets the bound would get the whole tree. */
Test(api_cursor, how_a_bound_is_meant_that_is_not_there)
{
	static const unsigned flags[] = { SLF_LOWER_EXCLUSIVE, SLF_UPPER_INCLUSIVE, SLF_LOWER_EXCLUSIVE | SLF_UPPER,
					  SLF_UPPER_INCLUSIVE | SLF_LOWER };
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_READ);

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		cr_assert_eq(slf_cursor_open(txn, SLF_MAIN, &(struct slf_range){ .flags = flags[i] },
					     &(struct slf_cursor *){ NULL }), -EINVAL);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* The bounds would be looked at after the caller has changed them. */
Test(api_cursor, bounds_are_copied)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	char low[] = "b", high[] = "d", seek[] = "c";
	struct slf_range range = { .flags = SLF_LOWER | SLF_UPPER, .low = text(low), .high = text(high) };
	struct slf_cursor *cursor = NULL;

	put_words(txn, "a b c d e");
	cursor = cursor_open(txn, &range);
	low[0] = high[0] = 'z';
	memset(&range, 0, sizeof(range));
	expect(cursor, 1, "b");
	cr_assert_eq(slf_cursor_seek(cursor, text(seek)), 0);
	seek[0] = 'z';
	expect(cursor, 1, "c");
	expect(cursor, 1, NULL);
	slf_cursor_close(cursor);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* A prefix of 0xff bytes has no successor: the range would be empty, or reach too far. */
Test(api_cursor, prefix_of_ff)
{
	static const char *const keys[] = { "a", "\xfe\xff", "\xff", "\xff\x01", "\xff\xfe\xff",
				 "\xff\xff", "\xff\xff\x01", "\xff\xff\xff" };
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	int length = 0, i = 0;

	for (i = 0; i < 8; i++)
		cr_assert_eq(slf_put(txn, SLF_MAIN, text(keys[i]), text("v")), 0);
	for (length = 1; length <= 4; length++) {
		static const int firsts[] = { 2, 5, 7, 8 };
		struct slf_range range = { .flags = SLF_PREFIX, .low = bytes("\xff\xff\xff\xff", (size_t)length) };
		struct slf_cursor *cursor = cursor_open(txn, &range);

		for (i = firsts[length - 1]; i < 8; i++)
			expect(cursor, 1, keys[i]);
		expect(cursor, 1, NULL);
		for (i = 7; i >= firsts[length - 1]; i--)
			expect(cursor, -1, keys[i]);
		expect(cursor, -1, NULL);
		slf_cursor_close(cursor);
	}
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* A cursor would miss what its transaction does after it was opened, before it or behind it. */
Test(api_cursor, sees_own_writes)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_cursor *cursor = NULL;

	put_words(txn, "b d f");
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert_eq(slf_checkpoint(db), 0);
	txn = txn_begin(db, SLF_WRITE);
	cursor = cursor_open(txn, NULL);
	expect(cursor, 1, "b");
	put_words(txn, "a c");
	expect(cursor, 1, "c");
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("d")), 0);
	expect(cursor, 1, "f");
	put_words(txn, "g");
	expect(cursor, 1, "g");
	expect(cursor, 1, NULL);
	expect(cursor, -1, "g");
	expect(cursor, -1, "f");
	put_words(txn, "d e");
	expect(cursor, -1, "e");
	expect(cursor, -1, "d");
	expect(cursor, -1, "c");
	expect(cursor, -1, "b");
	expect(cursor, -1, "a");
	slf_cursor_close(cursor);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* Deleting the entry that a cursor stands on would lose its place. */
Test(api_cursor, deletes_under_itself)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	struct slf_cursor *cursor = NULL;
	char key[16] = "";
	int i = 0;

	put_words(txn, "a b c d e");
	cursor = cursor_open(txn, NULL);
	expect(cursor, 1, "a");
	expect(cursor, 1, "b");
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("b")), 0);
	expect(cursor, 1, "c");
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("c")), 0);
	expect(cursor, -1, "a");
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("a")), 0);
	expect(cursor, -1, NULL);
	expect(cursor, 1, "d");
	cr_assert_eq(slf_del(txn, SLF_MAIN, text("d")), 0);
	put_words(txn, "d");
	expect(cursor, 1, "e");
	slf_cursor_close(cursor);
	slf_abort(txn);
	txn = txn_begin(db, SLF_WRITE);
	for (i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "%05d", i);
		cr_assert_eq(slf_put(txn, SLF_MAIN, text(key), text("v")), 0);
	}
	cr_assert_eq(slf_commit(txn, NULL), 0);
	txn = txn_begin(db, SLF_WRITE);
	cursor = cursor_open(txn, NULL);
	for (i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "%05d", i);
		expect(cursor, 1, key);
		cr_assert_eq(slf_del(txn, SLF_MAIN, text(key)), 0);
	}
	expect(cursor, 1, NULL);
	expect(cursor, -1, NULL);
	slf_cursor_close(cursor);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* A cursor whose transaction has ended would touch freed memory. */
Test(api_cursor, outlives_transaction)
{
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);
	int kind = 0;

	for (kind = 0; kind < 4; kind++) {
		struct slf_txn *txn = txn_begin(db, kind < 2 ? SLF_WRITE : SLF_READ);
		struct slf_slice key = text("untouched");
		struct slf_cursor *cursor = NULL, *second = NULL;

		if (kind < 2)
			put_words(txn, "a b c");
		cursor = cursor_open(txn, NULL);
		second = cursor_open(txn, NULL);
		slf_cursor_close(second);
		cr_assert_eq(slf_cursor_next(cursor, NULL, NULL), 0);
		if (kind & 1)
			slf_abort(txn);
		else
			cr_assert_eq(slf_commit(txn, NULL), 0);
		slf_abort(txn_begin(db, SLF_WRITE)); /* may reuse what the transaction was made of */
		slf_abort(txn_begin(db, SLF_READ));
		cr_assert_eq(slf_cursor_next(cursor, &key, NULL), SLF_EBADHANDLE);
		cr_assert_eq(slf_cursor_prev(cursor, &key, NULL), SLF_EBADHANDLE);
		cr_assert_eq(slf_cursor_seek(cursor, text("a")), SLF_EBADHANDLE);
		cr_assert(slice_is(key, "untouched", 9));
		slf_cursor_close(cursor);
	}
	cr_assert_eq(slf_close(db), 0);
}

/* A step that fails would end the slices of the entry that the cursor stays on. */
Test(api_cursor, failed_step_leaves_the_slices)
{
	struct slf_range range = { .flags = SLF_TRANSIENT };
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_slice key = { 0 }, value = { 0 };
	struct slf_cursor *cursor = NULL;
	struct slf_txn *txn = NULL;
	struct slf_db *db = NULL;
	static char large[60000];

	options.flags = SLF_CREATE;
	options.compression = SLF_COMPRESSION_NONE;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	txn = txn_begin(db, SLF_WRITE);
	put_words(txn, "a b");
	memset(large, 'c', sizeof(large));
	snprintf(large + sizeof(large) / 2, 100, "what will be damaged");
	cr_assert_eq(slf_put(txn, SLF_MAIN, bytes(large, sizeof(large) / 2), bytes(large + 1, sizeof(large) - 1)), 0);
	cr_assert_eq(slf_commit(txn, NULL), 0);
	cr_assert_eq(slf_close(db), 0);
	file_rot(scratch.path, large + sizeof(large) / 2);
	db = open_database(scratch.path, SLF_READONLY | SLF_NO_MAP);
	txn = txn_begin(db, SLF_READ);
	cursor = cursor_open(txn, &range);
	expect(cursor, 1, "a");
	cr_assert_eq(slf_cursor_next(cursor, &key, &value), 0);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(slf_cursor_next(cursor, &key, &value), SLF_ECORRUPT);
		cr_assert(slice_is(key, "b", 1) && slice_is(value, "v", 1));
	}
	expect(cursor, -1, "a");
	slf_cursor_close(cursor);
	slf_abort(txn);
	cr_assert_eq(slf_close(db), 0);
}

/* A cursor that is closed would take others of its transaction along, or be met again when that ends. */
Test(api_cursor, closed_in_any_order)
{
	static const unsigned orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	struct slf_db *db = open_database(scratch.path, SLF_CREATE);

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);
		struct slf_cursor *cursors[3];

		put_words(txn, "a b c d");
		for (unsigned j = 0; j < 3; j++)
			cursors[j] = cursor_open(txn, NULL);
		expect(cursors[orders[i][1]], 1, "a");
		slf_cursor_close(cursors[orders[i][0]]);
		expect(cursors[orders[i][1]], 1, "b");
		expect(cursors[orders[i][2]], -1, "d");
		slf_cursor_close(cursors[orders[i][1]]);
		expect(cursors[orders[i][2]], -1, "c");
		slf_abort(txn);
		cr_assert_eq(slf_cursor_next(cursors[orders[i][2]], NULL, NULL), SLF_EBADHANDLE);
		slf_cursor_close(cursors[orders[i][2]]);
	}
	cr_assert_eq(slf_close(db), 0);
}

/* One step of a cursor, and what the oracle says to it. at is the key it stands on (on) or directly before; updated. */
static void walk_step(struct slf_cursor *cursor, const struct oracle_version *version, bool forward, char *at, bool *on)
{
	size_t place = oracle_find(version, SLF_MAIN, text(at));
	struct slf_slice found = { 0 };
	bool there = false;

	if (forward) {
		place += *on && place < version->count && oracle_compare(version->entries[place]->key, text(at)) == 0;
		there = place < version->count;
		must(slf_cursor_next(cursor, &found, NULL) == (there ? 0 : SLF_END));
	} else {
		there = place > 0;
		place -= there;
		must(slf_cursor_prev(cursor, &found, NULL) == (there ? 0 : SLF_END));
	}
	*on = there;
	if (!there) { /* an end: go on from some other place */
		snprintf(at, 8, "%04zx", version->count * 7919 % 4096);
		must_work(slf_cursor_seek(cursor, text(at)));
		return;
	}
	must(oracle_compare(found, version->entries[place]->key) == 0);
	memcpy(at, found.data, found.size);
	at[found.size] = 0;
}

/* A random walk of one cursor, with writes under it, against the oracle. */
static void walk(struct slf_txn *txn, struct oracle_version *version, struct rng *rng, unsigned steps)
{
	struct slf_cursor *cursor = cursor_open(txn, NULL);
	char at[8] = "", key[8] = "";
	bool on = false, forward = true, was_there = false;

	must_work(slf_cursor_seek(cursor, text(at)));
	while (steps--) {
		snprintf(key, sizeof(key), "%04x", (unsigned)rng_below(rng, 4096));
		switch (rng_below(rng, 16)) {
		case 0:
		case 1:
		case 2:
			oracle_put(version, SLF_MAIN, text(key), text("v"));
			must_work(slf_put(txn, SLF_MAIN, text(key), text("v")));
			break;
		case 3:
		case 4: /* the entry it stands on, if any */
			was_there = oracle_del(version, SLF_MAIN, text(at));
			must(slf_del(txn, SLF_MAIN, text(at)) == (was_there ? 0 : SLF_NOTFOUND));
			break;
		case 5:
			must_work(slf_cursor_seek(cursor, text(key)));
			strcpy(at, key);
			on = false;
			break;
		case 6:
			forward = !forward;
			break;
		default:
			walk_step(cursor, version, forward, at, &on);
		}
	}
	slf_cursor_close(cursor);
}

/* Some mixture of steps, turns, seeks and writes under the cursor would lose or repeat an entry. */
Test(api_cursor, random_walk)
{
	struct rng rng = { .state = test_seed("api_cursor/random_walk") };
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;
	struct oracle oracle;
	unsigned round = 0, rounds = test_rounds(20);

	options.flags = SLF_CREATE;
	options.leaf_bytes = 512;
	options.branch_bytes = 512;
	options.sync = SLF_SYNC_NONE;
	cr_assert_eq(slf_open(scratch.path, &options, &db), 0);
	oracle_init(&oracle, 0);
	for (round = 0; round < rounds; round++) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);
		struct oracle_version *version = oracle_begin(&oracle);

		walk(txn, version, &rng, 2000);
		must_work(slf_commit(txn, NULL));
		oracle_commit(&oracle, version, round + 1);
		if (rng_below(&rng, 3) == 0)
			must_work(slf_checkpoint(db));
	}
	oracle_release(&oracle);
	cr_assert_eq(slf_close(db), 0);
}
