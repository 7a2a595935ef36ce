/* SPDX-License-Identifier: MIT */
/*
 * Random keys for the tests of nodes, of the kinds that break searches: shared prefixes, zero bytes where a head ends,
 * keys that are beginnings of others, the empty key, very long ones. And memory that lives as long as the test.
 */
#ifndef NODE_KEYS_H
#define NODE_KEYS_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node_image.h"

/* Numbers (splitmix64) and the memory handed out, as a list. */
struct source {
	uint64_t state;
	struct source_piece {
		struct source_piece *next;
		uint8_t bytes[];
	} * pieces;
};

static inline void source_init(struct source *source, const char *test)
{
	const char *wish = getenv("SOLIFUGE_TEST_SEED");

	*source = (struct source){ .state = wish ? strtoull(wish, NULL, 0) : clock_now_ns() };
	fprintf(stderr, "%s: SOLIFUGE_TEST_SEED=%" PRIu64 "\n", test, source->state);
}

static inline void source_release(struct source *source)
{
	while (source->pieces) {
		struct source_piece *piece = source->pieces;

		source->pieces = piece->next;
		free(piece);
	}
}

static inline uint64_t source_next(struct source *source)
{
	uint64_t value = source->state += 0x9E3779B97F4A7C15u;

	value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9u;
	value = (value ^ value >> 27) * 0x94D049BB133111EBu;
	return value ^ value >> 31;
}

static inline size_t source_below(struct source *source, size_t limit)
{
	return (size_t)(source_next(source) % limit);
}

/* A block of exactly `size` bytes, so that the sanitizer sees every step beyond it. */
static inline void *source_alloc(struct source *source, size_t size)
{
	struct source_piece *piece = malloc(sizeof(*piece) + size);

	if (!piece)
		abort();
	piece->next = source->pieces;
	source->pieces = piece;
	return piece->bytes;
}

static inline struct slf_slice source_bytes(struct source *source, size_t size)
{
	uint8_t *bytes = source_alloc(source, size);

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)source_next(source);
	return slice(bytes, size);
}

enum key_style {
	KEYS_RANDOM,  /* 0 to 300 random bytes */
	KEYS_TINY,    /* 0 to 6 bytes, each 0 or 1 */
	KEYS_ZEROS,   /* 0 to 12 zeros, at times with another last byte */
	KEYS_PREFIX,  /* eleven bytes in common, then 0 to 6 of few values */
	KEYS_FIXED,   /* 8 bytes, big-endian numbers below 1000 */
	KEYS_EXTREME, /* bytes 0 and 255 only, 0 to 9 of them */
	KEYS_LONG,    /* 65530 to 65535 bytes that differ at the very end */
	KEY_STYLES,
};

static inline struct slf_slice source_key(struct source *source, enum key_style style)
{
	static const size_t sizes[KEY_STYLES] = { 301, 7, 13, 7, 1, 10, 6 };
	size_t size = source_below(source, sizes[style]);
	size_t prefix = style == KEYS_PREFIX ? 11 : style == KEYS_LONG ? 65530 : style == KEYS_FIXED ? 8 : 0;
	uint8_t *bytes = source_alloc(source, prefix + size);

	memset(bytes, 'p', prefix);
	for (size_t i = prefix; i < prefix + size; i++) {
		uint64_t value = source_next(source);

		bytes[i] = (uint8_t)(style == KEYS_RANDOM    ? value
				     : style == KEYS_TINY    ? value % 2
				     : style == KEYS_EXTREME ? value % 2 * 255
				     : style == KEYS_ZEROS   ? 0
							     : value % 3);
	}
	if (style == KEYS_ZEROS && size && source_below(source, 2))
		bytes[size - 1] = (uint8_t)source_next(source);
	if (style == KEYS_FIXED) {
		memset(bytes, 0, 8);
		put_be32(bytes + 4, (uint32_t)source_below(source, 1000));
	}
	return slice(bytes, prefix + size);
}

/* A key close to another one: itself, its beginning, itself with a byte more or one byte changed. */
static inline struct slf_slice source_neighbour(struct source *source, struct slf_slice key)
{
	size_t size = key.size;
	uint8_t *bytes = source_alloc(source, size + 1);

	slice_copy(bytes, key);
	bytes[size] = (uint8_t)(source_below(source, 2) * source_next(source));
	switch (source_below(source, 4)) {
	case 0: return slice(bytes, size);
	case 1: return slice(bytes, source_below(source, size + 1));
	case 2: return slice(bytes, size < KEY_BYTES_MAX ? size + 1 : size);
	default:
		if (size)
			bytes[source_below(source, 2) ? size - 1 : source_below(source, size)] += 1;
		return slice(bytes, size);
	}
}

/* node_put where node_find says. */
static inline int put(struct node *leaf, const struct record *record)
{
	uint32_t index = 0;
	bool there = node_find(leaf, record->key, &index);

	return node_put(leaf, index, there, record);
}

#endif
