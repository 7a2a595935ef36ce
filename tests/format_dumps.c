/* SPDX-License-Identifier: MIT */
/*
 * Renews the hex dumps of man/solifuge-format.5: a filter. Whatever stands between a line `.\" dump: NAME ...` and the
 * next `.Ed` is written anew, the line too; everything else passes as it is. After a change of the format:
 *
 *     format_dumps < man/solifuge-format.5 > new && mv new man/solifuge-format.5
 *
 * and then mend the tables below the dumps: tests/test_format_man.c says which rows no longer hold. Not installed.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "meta.h"
#include "node.h"
#include "slab.h"

/* All on spindle 0, where a position is the offset. */
#define SLAB_POSITION EXTENT_ZERO_DATA
#define EXTENT_POSITION EXTENT_BYTES
#define VALUE_POSITION (EXTENT_BYTES + EXTENT_DATA)
#define LEAF_POSITION (VALUE_POSITION + 128)
#define DELTA_POSITION (LEAF_POSITION + 192)
#define BRANCH_POSITION (DELTA_POSITION + 192)
#define SALT 0x5a17u
#define CREATED_NS 1763690400000000000u /* 2025-11-21 02:00 UTC */
#define TREE 16
#define NOT_SHOWN 0x1122334455667788u /* digest of something that the page does not show */
#define EXAMPLE_BYTES_MAX 4096

struct example {
	const char *name;
	uint64_t position;
	uint64_t length;
	uint8_t bytes[EXAMPLE_BYTES_MAX] __attribute__((aligned(8)));
};

static const uint8_t uuid[16] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
				  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };

static struct example page = { .name = "page", .position = META_PAGE_A, .length = META_PAGE_BYTES };
static struct example extent = { .name = "extent", .position = EXTENT_POSITION, .length = EXTENT_HEADER_BYTES };
static struct example slab = { .name = "slab", .position = SLAB_POSITION };
static struct example value = { .name = "value", .position = VALUE_POSITION };
static struct example leaf = { .name = "leaf", .position = LEAF_POSITION };
static struct example delta = { .name = "delta", .position = DELTA_POSITION };
static struct example branch = { .name = "branch", .position = BRANCH_POSITION };

static struct example *const examples[] = { &page, &extent, &slab, &value, &leaf, &delta, &branch };

static struct slf_slice text(const char *string)
{
	return slice(string, strlen(string));
}

static void make_slab(uint64_t seed)
{
	struct open_record open = { .salt = SALT, .inode = 1234, .birth_ns = CREATED_NS,
				    .clock_ns = CREATED_NS + 5000 };
	struct action put = { .op = ACTION_PUT, .tree = TREE, .key = text("apple"), .value = text("red") };
	struct commit_entry commit = { .seq = 1, .clock_ns = CREATED_NS + NS_PER_S, .action_count = 1 };
	struct slab_header header = { .number = 1, .salt = SALT, .first_seq = 1, .last_seq = 1,
				      .seq_limit = SEQ_LIMIT_STEP, .record_count = 2 };
	struct digest before = { 0 }, txn = { 0 };
	uint8_t actions[64], *to = slab.bytes + SLAB_HEADER_BYTES;
	size_t body_bytes;

	memcpy(open.uuid, uuid, sizeof(uuid));
	open_record_encode(log_record_begin(to, LOG_OPEN, OPEN_BODY_BYTES), &open);
	to += log_record_bytes(OPEN_BODY_BYTES);
	action_encode(actions, &put);
	digest_action(&txn, &put);
	commit.search_ns = commit.clock_ns;
	commit.digest = digest_commit(&before, commit.seq, &txn, commit.blob);
	commit.actions = slice(actions, action_bytes(&put));
	body_bytes = commit_entry_bytes(&commit);
	commit_entry_encode(log_record_begin(to, LOG_FINAL, body_bytes), &commit);
	to += log_record_bytes(body_bytes);
	header.payload = (uint32_t)(to - (slab.bytes + SLAB_HEADER_BYTES));
	slab.length = slab_bytes(header.payload, 512);
	header.length = (uint32_t)slab.length;
	slab_seal(slab.bytes, &header, seed, SLAB_POSITION);
}

static void make_page(void)
{
	struct meta meta = {
		.version = FORMAT_VERSION, .sector = 512, .generation = 2, .salt = SALT, .created_ns = CREATED_NS,
		.spindle_count = 1, .flags = META_FLAG_CLEAN, .table_digest = meta_table_digest(NULL, 0),
		.mark_position = SLAB_POSITION + 512, .mark_number = 2, .mark_digest = NOT_SHOWN,
		.log_end = SLAB_POSITION + 1024, .log_number = 3, .durable_seq = 1, .seq_limit = SEQ_LIMIT_STEP,
		.leaf_bytes = LEAF_BYTES_DEFAULT, .branch_bytes = BRANCH_BYTES_DEFAULT,
		.inline_bytes = INLINE_BYTES_DEFAULT, .bulk_bytes = BULK_BYTES_DEFAULT, .compression = 1,
	};
	struct extent_header header = { .salt = SALT, .number = 0, .seq = 1, .stream = STREAM_BULK, .run = 1 };

	memcpy(meta.uuid, uuid, sizeof(uuid));
	memcpy(header.uuid, uuid, sizeof(uuid));
	meta_encode(page.bytes, &meta);
	extent_header_encode(extent.bytes, &header, format_seed(uuid), EXTENT_POSITION);
}

static void make_value(uint64_t seed, struct value_ref *ref)
{
	uint8_t raw[200], packed[200];
	uint32_t stored;

	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (uint8_t)('0' + i % 10);
	stored = value_compress(slice(raw, sizeof(raw)), packed);
	value_entry_encode(value.bytes, seed, VALUE_POSITION, TREE, text("apricot"), packed, stored, sizeof(raw), ref);
	value.length = value_entry_bytes(7, stored);
}

static void make_leaves(uint64_t seed, const struct value_ref *ref)
{
	uint8_t encoded[VALUE_REF_BYTES];
	struct record records[] = {
		{ text("apple"), text("red"), RECORD_INLINE },
		{ text("apricot"), slice(encoded, sizeof(encoded)), RECORD_REF },
	};
	struct record changes[] = {
		{ text("apple"), slice(NULL, 0), RECORD_TOMB },
		{ text("avocado"), text("green"), RECORD_INLINE },
	};
	struct delta_base base = { .position = LEAF_POSITION, .count = 2 };

	value_ref_encode(encoded, ref);
	leaf.length = node_leaf_bytes(records, 2, 2, 0, false);
	node_leaf_build((struct node *)leaf.bytes, leaf.length, TREE, slice(NULL, 0), NULL, records, 2, 2, 2);
	node_seal((struct node *)leaf.bytes, seed, LEAF_POSITION);
	base.hash = node_hash((struct node *)leaf.bytes);
	base.length = (uint32_t)leaf.length;
	delta.length = node_leaf_bytes(changes, 2, 2, 0, true);
	node_leaf_build((struct node *)delta.bytes, delta.length, TREE, slice(NULL, 0), &base, changes, 2, 2, 2);
	node_seal((struct node *)delta.bytes, seed, DELTA_POSITION);
}

static void make_branch(uint64_t seed)
{
	struct child children[] = {
		{ .word = DELTA_POSITION, .hash = node_hash((struct node *)delta.bytes), .count = 2,
		  .length = (uint32_t)delta.length },
		{ .word = BRANCH_POSITION + 256, .hash = NOT_SHOWN, .count = 3, .length = 150,
		  .separator = text("m") },
	};

	branch.length = node_branch_bytes(children, 2, 0);
	node_branch_build((struct node *)branch.bytes, branch.length, TREE, 1, slice(NULL, 0), children, 2);
	node_seal((struct node *)branch.bytes, seed, BRANCH_POSITION);
}

/* As hexdump -C: 16 bytes to a line, a star for lines that equal the one before. */
static void print_dump(const uint8_t *bytes, uint64_t length)
{
	bool starred = false;

	for (uint64_t at = 0; at < length; at += 16) {
		uint64_t count = u64_min(16, length - at);

		if (at && count == 16 && !memcmp(bytes + at, bytes + at - 16, 16)) {
			if (!starred)
				puts("*");
			starred = true;
			continue;
		}
		starred = false;
		printf("%08" PRIx64, at);
		for (uint64_t i = 0; i < 16; i++) {
			if (i < count)
				printf(i % 8 ? " %02x" : "  %02x", bytes[at + i]);
			else
				printf(i % 8 ? "   " : "    ");
		}
		printf("  |");
		for (uint64_t i = 0; i < count; i++) /* a backslash would mean something to mandoc */
			putchar(isprint(bytes[at + i]) && bytes[at + i] != '\\' ? bytes[at + i] : '.');
		puts("|");
	}
	printf("%08" PRIx64 "\n", length);
}

static void print_example(const struct example *example)
{
	printf(".\\\" dump: %s position=0x%" PRIx64 "\n.Bd -literal\n", example->name, example->position);
	print_dump(example->bytes, example->length);
	puts(".Ed");
}

static const struct example *example_named(const char *line)
{
	static const char mark[] = ".\\\" dump: ";

	if (strncmp(line, mark, sizeof(mark) - 1))
		return NULL;
	line += sizeof(mark) - 1;
	for (size_t i = 0; i < ARRAY_SIZE(examples); i++)
		if (strcspn(line, " \n") == strlen(examples[i]->name) &&
		    !strncmp(line, examples[i]->name, strlen(examples[i]->name)))
			return examples[i];
	return NULL;
}

int main(void)
{
	uint64_t seed = format_seed(uuid);
	char line[1024];
	bool skipping = false;
	struct value_ref ref;

	make_page();
	make_slab(seed);
	make_value(seed, &ref);
	make_leaves(seed, &ref);
	make_branch(seed);
	while (fgets(line, sizeof(line), stdin)) {
		const struct example *example = example_named(line);

		if (skipping) {
			skipping = strcmp(line, ".Ed\n") != 0;
		} else if (example) {
			print_example(example);
			skipping = true;
		} else {
			fputs(line, stdout);
		}
	}
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
