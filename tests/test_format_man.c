/* SPDX-License-Identifier: MIT */
/*
 * The hex dumps of man/solifuge-format.5, decoded by the library, and the rows "offset, field, value" below them. When
 * the format has changed on purpose: tests/format_dumps.c renews the dumps, and this test names the rows to mend.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec.h"
#include "entry.h"
#include "meta.h"
#include "node.h"
#include "slab.h"

#define DUMP_BYTES_MAX 4096
#define ROWS_MAX 64

/* One row below a dump, as the page states it. */
struct row {
	uint64_t offset;
	char field[32];
	uint64_t value;
};

struct dump {
	uint64_t position;
	uint64_t length;
	uint8_t *bytes; /* exactly length of them, so that reading past the end is noticed */
	struct row rows[ROWS_MAX];
	unsigned row_count;
};

/* One field as the library decodes it: what a row has to state. */
struct field {
	const char *name;
	uint64_t value;
	unsigned width;
};

static FILE *page_open(void)
{
	const char *root = getenv("SOLIFUGE_SOURCE_ROOT");
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/man/solifuge-format.5", root ? root : ".");
	file = fopen(path, "r");
	cr_assert_not_null(file, "cannot read %s; SOLIFUGE_SOURCE_ROOT names the source directory", path);
	return file;
}

static bool line_next(FILE *file, char *line, size_t size)
{
	return fgets(line, (int)size, file) != NULL;
}

/* The lines between .Bd and .Ed, in the form of hexdump -C. */
static void dump_bytes_read(FILE *file, struct dump *dump)
{
	static uint8_t room[DUMP_BYTES_MAX];
	uint64_t at = 0;
	bool starred = false;
	char line[1024];

	cr_assert(line_next(file, line, sizeof(line)) && !strncmp(line, ".Bd", 3));
	while (line_next(file, line, sizeof(line)) && strncmp(line, ".Ed", 3)) {
		char *from = line;
		uint64_t offset = strtoull(line, &from, 16);

		if (line[0] == '*') {
			starred = true;
			continue;
		}
		cr_assert(offset <= sizeof(room) && (starred ? offset > at && at >= 16 : offset == at), "%s", line);
		for (; at < offset; at++)
			room[at] = room[at - 16];
		starred = false;
		for (unsigned i = 0; i < 16 && strspn(from, " ") < strcspn(from, "|\n"); i++) {
			cr_assert_lt(at, sizeof(room));
			room[at++] = (uint8_t)strtoul(from, &from, 16);
		}
	}
	dump->length = at;
	dump->bytes = malloc(at);
	memcpy(dump->bytes, room, at);
}

/* The list that follows: ".It OFFSET Ta FIELD Ta VALUE Ta words". */
static void dump_rows_read(FILE *file, struct dump *dump)
{
	char line[1024];

	while (line_next(file, line, sizeof(line)) && strncmp(line, ".El", 3)) {
		struct row *row = &dump->rows[dump->row_count];
		char value[32] = "";

		if (sscanf(line, ".It %" SCNi64 " Ta %31s Ta %31s Ta", (int64_t *)&row->offset, row->field, value) != 3)
			continue;
		row->value = strtoull(value, NULL, 0);
		cr_assert_lt(++dump->row_count, ROWS_MAX);
	}
}

static struct dump dump_read(const char *name)
{
	FILE *file = page_open();
	struct dump dump = { 0 };
	char line[1024], found[32];

	while (!dump.bytes && line_next(file, line, sizeof(line))) {
		if (sscanf(line, ".\\\" dump: %31s position=%" SCNi64, found, (int64_t *)&dump.position) != 2 ||
		    strcmp(found, name))
			continue;
		dump_bytes_read(file, &dump);
		dump_rows_read(file, &dump);
	}
	fclose(file);
	cr_assert_not_null(dump.bytes, "the page has no dump of %s", name);
	return dump;
}

static uint64_t bytes_at(const struct dump *dump, uint64_t offset, unsigned width)
{
	uint64_t value = 0;

	cr_assert_leq(offset + width, dump->length);
	for (unsigned i = width; i-- > 0;)
		value = value << 8 | dump->bytes[offset + i];
	return value;
}

/* Each row states what the library decodes and what stands at its offset, and each field has its row. */
static void rows_check(const struct dump *dump, const struct field *fields, size_t count)
{
	cr_assert_eq(dump->row_count, count, "%u rows for %zu fields", dump->row_count, count);
	for (unsigned i = 0; i < dump->row_count; i++) {
		const struct row *row = &dump->rows[i];
		size_t j = 0;

		while (j < count && strcmp(fields[j].name, row->field))
			j++;
		cr_assert_lt(j, count, "row of an unknown field: %s", row->field);
		for (unsigned k = 0; k < i; k++)
			cr_assert_str_neq(dump->rows[k].field, row->field);
		cr_expect_eq(row->value, fields[j].value, "%s: the page says 0x%" PRIx64 ", the library 0x%" PRIx64,
			     row->field, row->value, fields[j].value);
		cr_expect_eq(row->value, bytes_at(dump, row->offset, fields[j].width), "%s: not at 0x%" PRIx64,
			     row->field, row->offset);
	}
}

static struct dump page_dump(struct meta *meta)
{
	struct dump dump = dump_read("page");
	const char *reason;

	cr_assert_eq(dump.length, META_PAGE_BYTES);
	cr_assert_eq(meta_decode(dump.bytes, 0, meta, &reason), META_GOOD, "%s", reason);
	return dump;
}

/* The seed of all examples: from the uuid in the metadata page. */
static uint64_t example_seed(void)
{
	struct meta meta;
	struct dump dump = page_dump(&meta);

	free(dump.bytes);
	return format_seed(meta.uuid);
}

/* Would break if the page told something else of metadata pages than what the library writes. */
Test(format_man, page)
{
	struct meta meta;
	struct dump dump = page_dump(&meta);
	const struct field fields[] = {
		{ "version", meta.version, 4 }, { "sector", meta.sector, 4 }, { "generation", meta.generation, 8 },
		{ "salt", meta.salt, 8 }, { "created_ns", meta.created_ns, 8 },
		{ "spindle_index", meta.spindle_index, 2 }, { "spindle_count", meta.spindle_count, 2 },
		{ "slot", meta.slot, 2 }, { "flags", meta.flags, 2 }, { "table_bytes", meta.table_bytes, 4 },
		{ "mark_position", meta.mark_position, 8 }, { "mark_number", meta.mark_number, 8 },
		{ "mark_digest", meta.mark_digest, 8 }, { "log_end", meta.log_end, 8 },
		{ "log_number", meta.log_number, 8 }, { "durable_seq", meta.durable_seq, 8 },
		{ "seq_limit", meta.seq_limit, 8 }, { "leaf_bytes", meta.leaf_bytes, 4 },
		{ "branch_bytes", meta.branch_bytes, 4 }, { "inline_bytes", meta.inline_bytes, 4 },
		{ "bulk_bytes", meta.bulk_bytes, 4 }, { "compression", meta.compression, 4 },
	};

	rows_check(&dump, fields, ARRAY_SIZE(fields));
	cr_assert_eq(meta.table_digest, meta_table_digest(NULL, 0));
	cr_assert_eq(format_seed(meta.uuid), 0x8888888888888888, "the page says so in words");
	free(dump.bytes);
}

/* Would break if the page told something else of extent headers than what the library writes. */
Test(format_man, extent)
{
	struct dump dump = dump_read("extent");
	struct extent_header extent = { 0 };
	const char *wrong;

	cr_assert_eq(dump.length, EXTENT_HEADER_BYTES);
	wrong = extent_header_decode(dump.bytes, example_seed(), dump.position, &extent);
	cr_assert_null(wrong, "%s", wrong);
	rows_check(&dump, (struct field[]){ { "salt", extent.salt, 8 }, { "number", extent.number, 8 },
					    { "stream", extent.stream, 1 }, { "run", extent.run, 4 },
					    { "seq", extent.seq, 8 } }, 5);
	free(dump.bytes);
}

/* Does the logical digest of the example follow from its one action? */
static void commit_digest_check(const struct commit_entry *commit, const struct action *action)
{
	struct digest before = { 0 }, txn = { 0 }, after;

	digest_action(&txn, action);
	after = digest_commit(&before, commit->seq, &txn, commit->blob);
	cr_assert(after.low == commit->digest.low && after.high == commit->digest.high);
}

/* Would break if the page told something else of slabs, records and actions than what the library writes. */
Test(format_man, slab)
{
	struct dump dump = dump_read("slab");
	struct slab_header slab = { 0 };
	struct log_record first = { 0 }, second = { 0 };
	struct open_record open = { 0 };
	struct commit_entry commit = { 0 };
	struct action action = { 0 };
	struct slf_slice actions;
	uint64_t offset = 0;
	const char *wrong = slab_header_decode(dump.bytes, dump.length, &slab);

	cr_assert_null(wrong, "%s", wrong);
	wrong = slab_check(dump.bytes, &slab, example_seed(), dump.position);
	cr_assert_null(wrong, "%s", wrong);
	cr_assert_eq(slab_next_record(dump.bytes, &slab, &offset, &first), 0);
	cr_assert_eq(slab_next_record(dump.bytes, &slab, &offset, &second), 0);
	cr_assert_eq(slab_next_record(dump.bytes, &slab, &offset, &second), SLF_END);
	cr_assert_eq(open_record_decode(first.body, &open), 0);
	cr_assert_eq(commit_entry_decode(second.body, &commit), 0);
	actions = commit.actions;
	cr_assert_eq(action_decode(&actions, &action), 0);
	cr_assert_eq(action_decode(&actions, &action), SLF_END);
	commit_digest_check(&commit, &action);

	const struct field fields[] = {
		{ "previous", slab.previous, 8 }, { "number", slab.number, 8 }, { "salt", slab.salt, 8 },
		{ "length", slab.length, 4 }, { "payload", slab.payload, 4 }, { "first_seq", slab.first_seq, 8 },
		{ "last_seq", slab.last_seq, 8 }, { "seq_limit", slab.seq_limit, 8 },
		{ "durable_seq", slab.durable_seq, 8 }, { "next", slab.next, 8 },
		{ "part_count", slab.part_count, 4 }, { "record_count", slab.record_count, 4 },
		{ "open_length", LOG_RECORD_HEADER_BYTES + first.body.size, 4 }, { "open_kind", first.kind, 1 },
		{ "open_salt", open.salt, 8 }, { "open_inode", open.inode, 8 }, { "open_birth_ns", open.birth_ns, 8 },
		{ "open_clock_ns", open.clock_ns, 8 },
		{ "commit_length", LOG_RECORD_HEADER_BYTES + second.body.size, 4 }, { "commit_kind", second.kind, 1 },
		{ "commit_seq", commit.seq, 8 }, { "commit_clock_ns", commit.clock_ns, 8 },
		{ "commit_search_ns", commit.search_ns, 8 }, { "action_count", commit.action_count, 4 },
		{ "actions_bytes", commit.actions.size, 4 }, { "blob_bytes", commit.blob.size, 2 },
		{ "chunk_count", commit.chunk_count, 2 }, { "action_op", action.op, 1 },
		{ "key_bytes", action.key.size, 2 }, { "tree", action.tree, 4 },
		{ "value_bytes", action.value.size, 4 },
	};

	rows_check(&dump, fields, ARRAY_SIZE(fields));
	cr_assert_eq((const uint8_t *)action.key.data, dump.bytes + 0xe4);
	cr_assert_eq(slice_compare(action.key, slice("apple", 5)), 0);
	cr_assert_eq((const uint8_t *)action.value.data, dump.bytes + 0xe9);
	cr_assert_eq(slice_compare(action.value, slice("red", 3)), 0);
	free(dump.bytes);
}

/* The dump of a node, proven; hash is what leads to it, 0 when nothing on the page does. */
static struct dump node_dump(const char *name, uint64_t hash)
{
	struct dump dump = dump_read(name);
	struct node *node = (struct node *)dump.bytes;
	uint64_t expected = 0, found = 0;
	const char *wrong;

	wrong = node_verify(node, dump.length, example_seed(), dump.position, hash ? hash : node_hash(node),
			    (uint32_t)dump.length, &expected, &found);
	cr_assert_null(wrong, "%s: %s", name, wrong);
	return dump;
}

static uint64_t record_offset(const struct dump *dump, const struct record *record)
{
	return (uint64_t)((const uint8_t *)record->key.data - RECORD_HEADER_BYTES - dump->bytes);
}

static uint64_t record_word(const struct record *record)
{
	return (uint64_t)record->kind << 14 | record->value.size;
}

static uint64_t record_head(const struct dump *dump, const struct record *record)
{
	return get_be32((const uint8_t *)record->key.data + get_u16(dump->bytes + 50));
}

/* Would break if the page told something else of leaves than what the library writes, or the chain of references
 * between its examples were broken: base of the delta, leaf, value. */
Test(format_man, leaf)
{
	struct dump above = dump_read("delta"), dump;
	const struct node *leaf;
	struct delta_base base = { 0 };
	struct record first, second;
	struct value_ref ref;

	node_delta_base((struct node *)above.bytes, &base);
	dump = node_dump("leaf", base.hash);
	leaf = (struct node *)dump.bytes;
	cr_assert(dump.position == base.position && dump.length == base.length && node_live(leaf) == base.count);
	node_record(leaf, 0, &first);
	node_record(leaf, 1, &second);
	cr_assert(first.kind == RECORD_INLINE && second.kind == RECORD_REF);
	cr_assert(!slice_compare(first.key, slice("apple", 5)) && !slice_compare(first.value, slice("red", 3)));
	cr_assert(!slice_compare(second.key, slice("apricot", 7)));
	value_ref_decode(second.value.data, &ref);

	const struct field fields[] = {
		{ "length", node_length(leaf), 4 }, { "type", ENTRY_NODE, 1 }, { "kind", node_kind(leaf), 1 },
		{ "level", node_level(leaf), 1 }, { "flags", 1, 1 }, { "tree", node_tree(leaf), 4 },
		{ "count", node_count(leaf), 4 }, { "records", record_offset(&dump, &first), 4 },
		{ "fence_bytes", node_fence(leaf).size, 2 }, { "prefix_bytes", strlen("ap"), 2 },
		{ "live", node_live(leaf), 4 }, { "head_0", record_head(&dump, &first) & ~(uint64_t)0xff, 4 },
		{ "head_1", record_head(&dump, &second), 4 }, { "slot_0", record_offset(&dump, &first), 4 },
		{ "slot_1", record_offset(&dump, &second), 4 }, { "key_bytes_0", first.key.size, 2 },
		{ "kind_0", record_word(&first), 2 }, { "key_bytes_1", second.key.size, 2 },
		{ "kind_1", record_word(&second), 2 }, { "position_1", ref.position, 8 }, { "stored_1", ref.stored, 4 },
		{ "raw_1", ref.raw, 4 },
	};

	rows_check(&dump, fields, ARRAY_SIZE(fields));
	free(above.bytes);
	free(dump.bytes);
}

/* Would break if the page told something else of value entries than what the library writes. */
Test(format_man, value)
{
	struct dump above = node_dump("leaf", 0), dump = dump_read("value");
	struct entry_header header;
	struct value_ref ref;
	struct record record;
	struct slf_slice stored, key;
	uint64_t expected = 0, found = 0;
	uint8_t raw[200];
	const char *wrong;
	uint32_t tree;

	node_record((struct node *)above.bytes, 1, &record);
	value_ref_decode(record.value.data, &ref);
	cr_assert_eq(ref.position, dump.position);
	wrong = value_entry_check(dump.bytes, dump.length, example_seed(), dump.position, &ref, &stored, &expected,
				  &found);
	cr_assert_null(wrong, "%s", wrong);
	value_entry_owner(dump.bytes, &tree, &key);
	entry_header_decode(dump.bytes, &header);
	cr_assert_eq((const uint8_t *)key.data, dump.bytes + 0x28);
	cr_assert_eq(slice_compare(key, slice("apricot", 7)), 0);
	cr_assert(stored.size == 20 && stored.data == dump.bytes + 0x2f);
	cr_assert_eq(value_decompress(stored, raw, sizeof(raw)), 0);
	for (size_t i = 0; i < sizeof(raw); i++)
		cr_assert_eq(raw[i], '0' + i % 10);
	rows_check(&dump, (struct field[]){ { "length", header.length, 4 }, { "type", header.type, 1 },
					    { "kind", header.kind, 1 }, { "level", header.level, 1 },
					    { "tree", tree, 4 }, { "key_bytes", key.size, 4 },
					    { "raw_bytes", ref.raw, 8 } }, 7);
	free(above.bytes);
	free(dump.bytes);
}

/* Would break if the page told something else of deltas than what the library writes. */
Test(format_man, delta)
{
	struct dump above = node_dump("branch", 0), dump;
	const struct node *delta;
	struct delta_base base = { 0 };
	struct record first, second;
	struct child child;

	node_child((struct node *)above.bytes, 0, &child);
	dump = node_dump("delta", child.hash);
	delta = (struct node *)dump.bytes;
	cr_assert(child.word == dump.position && child.length == dump.length && child.count == node_live(delta));
	node_delta_base(delta, &base);
	node_record(delta, 0, &first);
	node_record(delta, 1, &second);
	cr_assert(first.kind == RECORD_TOMB && second.kind == RECORD_INLINE);
	cr_assert(!slice_compare(first.key, slice("apple", 5)) && !slice_compare(second.key, slice("avocado", 7)));

	const struct field fields[] = {
		{ "length", node_length(delta), 4 }, { "kind", node_kind(delta), 1 }, { "count", node_count(delta), 4 },
		{ "records", record_offset(&dump, &first), 4 }, { "prefix_bytes", strlen("a"), 2 },
		{ "live", node_live(delta), 4 }, { "base_position", base.position, 8 },
		{ "base_length", base.length, 4 }, { "base_count", base.count, 4 },
		{ "head_0", record_head(&dump, &first), 4 }, { "head_1", record_head(&dump, &second), 4 },
		{ "key_bytes_0", first.key.size, 2 }, { "kind_0", record_word(&first), 2 },
		{ "key_bytes_1", second.key.size, 2 }, { "kind_1", record_word(&second), 2 },
	};

	rows_check(&dump, fields, ARRAY_SIZE(fields));
	free(above.bytes);
	free(dump.bytes);
}

/* Would break if the page told something else of branches than what the library writes. */
Test(format_man, branch)
{
	struct dump dump = node_dump("branch", 0);
	const struct node *branch = (struct node *)dump.bytes;
	uint64_t separators = 0;
	struct slf_slice separator = node_separator(branch, 1);
	struct child first, second;

	node_child(branch, 0, &first);
	node_child(branch, 1, &second);
	cr_assert(!slice_compare(separator, slice("m", 1)));
	separators = (uint64_t)((const uint8_t *)separator.data - dump.bytes) - 2 * SEPARATOR_HEADER_BYTES;

	const struct field fields[] = {
		{ "length", node_length(branch), 4 }, { "kind", node_kind(branch), 1 },
		{ "level", node_level(branch), 1 }, { "flags", 0, 1 },
		{ "count", node_count(branch), 4 }, { "records", separators, 4 },
		{ "prefix_bytes", 0, 2 }, { "head_0", 0, 4 }, { "head_1", (uint64_t)'m' << 24, 4 },
		{ "word_0", first.word, 8 }, { "word_1", second.word, 8 }, { "hash_1", second.hash, 8 },
		{ "entries_0", first.count, 8 }, { "entries_1", second.count, 8 }, { "length_0", first.length, 4 },
		{ "length_1", second.length, 4 }, { "slot_0", separators, 4 },
		{ "slot_1", separators + SEPARATOR_HEADER_BYTES, 4 }, { "separator_bytes_0", 0, 2 },
		{ "separator_bytes_1", separator.size, 2 },
	};

	rows_check(&dump, fields, ARRAY_SIZE(fields));
	free(dump.bytes);
}
