/* SPDX-License-Identifier: MIT */
/* The entries that all stores get: a key and a value made from a number, so that an entry tells whether it is right. */
#ifndef ENTRY_H
#define ENTRY_H

#include "store.h"

#define ENTRY_KEY_BYTES_MAX 65535
#define ENTRY_VALUE_BYTES_MIN 48
#define ENTRY_PIECE_BYTES 2000 /* compressors that look at 32 KiB, or 64, find what repeats */

enum entry_form {
	ENTRY_DIGITS, /* db_bench: decimal digits, so keys have the order of their numbers */
	ENTRY_HASHED, /* pseudo-random bytes */
	ENTRY_USER,   /* YCSB: "user" and the decimal digits of a hash */
};

struct entry_shape {
	enum entry_form form;
	size_t key_bytes;    /* ENTRY_DIGITS: at least 16; ENTRY_HASHED: at least 8; ENTRY_USER: 24 */
	size_t value_bytes;  /* even, at least ENTRY_VALUE_BYTES_MIN, above ENTRY_PIECE_BYTES a multiple of that */
	bool incompressible; /* else the second half of each piece repeats the first one, as in db_bench's values */
};

/* Makes what values are cut from: once, before anything else here. 0 or -ENOMEM. */
int entry_init(size_t value_bytes_max);

/* Writes the key of entry number into key (shape->key_bytes). */
struct bytes entry_key(const struct entry_shape *shape, uint64_t number, unsigned char *key);

/* A key of the same size that no entry has, near that of number. */
struct bytes entry_missing(const struct entry_shape *shape, uint64_t number, unsigned char *key);

/* Writes the value of entry number into value (shape->value_bytes). version tells one overwrite from the next. */
struct bytes entry_value(const struct entry_shape *shape, uint64_t number, uint64_t version, unsigned char *value);

/* The number that a value was made from; of shape's size at least. */
uint64_t entry_number(struct bytes value);
uint64_t entry_version(struct bytes value);

/* Is value one of entry number, as its size, number, version, tail and a word of each cache line say? For measured loops:
 * a store that gives a pointer has to fetch the value as one that copies it. */
bool entry_value_is(const struct entry_shape *shape, uint64_t number, struct bytes value);

/* Do key and value belong together, in every byte? */
bool entry_is(const struct entry_shape *shape, struct bytes key, struct bytes value);

#endif
