/* SPDX-License-Identifier: MIT */
/* What the machine itself can do for the same work, measured in the same run. */
#ifndef LIMIT_H
#define LIMIT_H

#include <json-c/json.h>
#include <stdint.h>

#include "entry.h"

#define LIMIT_SECTOR_BYTES 512u
#define LIMIT_BLOCK_BYTES 4096u
#define LIMIT_KEY_BYTES 16u /* of the keys that are searched for */

struct limit_setup {
	const char *directory; /* where the stores' files are too */
	double seconds;        /* how long */
	uint64_t file_bytes;   /* of the files that are read and written */
	struct entry_shape shape; /* of the keys that are searched for */
	uint64_t entries;      /* of the sorted array that they are searched in */
	uint64_t seed;
};

struct limit {
	const char *name;
	const char *description;
	unsigned depth; /* transfers or searches under way at once, or threads */
	unsigned bytes; /* of a transfer; 0: there are none */
	unsigned operations; /* that share one transfer; 0: 1 */
	enum limit_keys { LIMIT_NO_KEYS, LIMIT_ANY_KEY, LIMIT_HOT_KEY, LIMIT_MISSING_KEY } searches;
	/* Measures and writes operations, seconds, per_second and bytes_per_operation into record. 0 or -errno. */
	int (*measure)(const struct limit *limit, const struct limit_setup *setup, json_object *record);
};

extern const struct limit limits[];
extern const unsigned limit_count;

/* NULL when there is none of that name, or name is NULL. */
const struct limit *limit_named(const char *name);

#endif
