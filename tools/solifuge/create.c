/* SPDX-License-Identifier: MIT */
/* solifuge create: an empty database, with the properties that stay for its life. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

enum key { KEY_SPINDLE = KEY_OWN, KEY_COMPRESSION, KEY_LEAF, KEY_BRANCH, KEY_INLINE };

struct create {
	struct common common;
	struct slf_options options;
	const char *spindles[254];
};

static uint32_t parse_bytes(const char *arg, const char *what, uint32_t min, uint32_t max,
			    const struct argp_state *state)
{
	uint64_t bytes = parse_number(arg, what, state);

	if (bytes < min || bytes > max)
		argp_error(state, "%s: use %u to %u bytes", what, min, max);
	return (uint32_t)bytes;
}

static void add_spindle(struct create *create, const char *path, const struct argp_state *state)
{
	if (create->options.spindle_count == sizeof(create->spindles) / sizeof(create->spindles[0]))
		argp_error(state, "--spindle: a database has at most 254 further spindles");
	create->spindles[create->options.spindle_count++] = path;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct create *create = state->input;

	switch (key) {
	case KEY_SPINDLE: add_spindle(create, arg, state); return 0;
	case KEY_COMPRESSION:
		if (strcmp(arg, "none") != 0 && strcmp(arg, "lz4") != 0)
			argp_error(state, "--compression: '%s' is not known; use lz4 or none", text_shown(arg).text);
		create->options.compression = arg[0] == 'n' ? SLF_COMPRESSION_NONE : SLF_COMPRESSION_DEFAULT;
		return 0;
	case KEY_LEAF: create->options.leaf_bytes = parse_bytes(arg, "--leaf-bytes", 256, 65536, state); return 0;
	case KEY_BRANCH: create->options.branch_bytes = parse_bytes(arg, "--branch-bytes", 256, 65536, state); return 0;
	case KEY_INLINE: create->options.inline_bytes = parse_bytes(arg, "--inline-bytes", 1, 4096, state); return 0;
	default: return common_parse(&create->common, key, arg, state);
	}
}

static const struct argp_option option_table[] = {
	{ "spindle", KEY_SPINDLE, "PATH", 0, "Add a further file, on another device say; may be repeated", 1 },
	{ "compression", KEY_COMPRESSION, "KIND", 0, "Compress values by lz4 (the default) or none", 1 },
	{ "leaf-bytes", KEY_LEAF, "N", 0, "Target size of a leaf (default 2048)", 1 },
	{ "branch-bytes", KEY_BRANCH, "N", 0, "Target size of a branch (default 4096)", 1 },
	{ "inline-bytes", KEY_INLINE, "N", 0, "Keep values up to this size in their leaf (default 128)", 1 },
	OPTION_IO,
	{ 0 },
};

int command_create(int argc, char **argv)
{
	static const struct argp argp = { option_table, parse, "DB", "Make an empty database.", NULL, NULL, NULL };
	struct create create = { .options = SLF_OPTIONS_INIT };
	struct slf_db *db = NULL;
	int result = 0;

	create.common.command = argv[0];
	argp_parse(&argp, argc, argv, 0, NULL, &create);
	create.options.spindles = create.spindles;
	create.options.flags = SLF_CREATE | SLF_EXCLUSIVE;
	create.options.io = create.common.io;
	result = slf_open(create.common.path, &create.options, &db);
	if (result)
		return fail_open(&create.common, result, true);
	return common_close(&create.common, db, EXIT_OK);
}
