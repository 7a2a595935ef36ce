/* SPDX-License-Identifier: MIT */
/* What the machine itself can do for the same work, measured in the same run. */
#ifndef LIMIT_H
#define LIMIT_H

#include <json-c/json.h>
#include <stdint.h>

struct limit_setup {
	const char *directory; /* where the stores' files are too */
	double seconds;        /* how long */
	uint64_t file_bytes;   /* of the files that are read and written */
	uint64_t entries;      /* of the sorted array */
	uint64_t seed;
};

struct limit {
	const char *name;
	const char *description;
	unsigned depth; /* operations under way at once, or threads */
	unsigned bytes; /* of an operation; 0: does not apply */
	/* Measures and writes operations, seconds, per_second and bytes_per_operation into record. 0 or -errno. */
	int (*measure)(const struct limit *limit, const struct limit_setup *setup, json_object *record);
};

extern const struct limit limits[];
extern const unsigned limit_count;

#endif
