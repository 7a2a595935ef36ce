/* SPDX-License-Identifier: MIT */
/*
 * A value is one piece, or several of ENTRY_PIECE_BYTES. A piece is a unit that stands in it twice (once when
 * incompressible): number (8 bytes), version (8), a slice of a pool of pseudo-random bytes whose place number, version
 * and place of the piece choose, and a tail (8) that is a hash of them. Cutting the middle from a pool costs a memcpy,
 * so that making large values does not stand in the way of the store's own work.
 */
#include "entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

#define POOL_SPAN ((size_t)1 << 20) /* places where a slice may begin */
#define HEAD_BYTES 16
#define TAIL_BYTES 8
#define LINE_BYTES 64

static unsigned char *pool;

int entry_init(size_t value_bytes_max)
{
	size_t bytes = (POOL_SPAN + value_bytes_max) & ~(size_t)7, i = 0;

	free(pool);
	pool = malloc(bytes);
	if (!pool)
		return -ENOMEM;
	for (i = 0; i < bytes / 8; i++) {
		uint64_t word = random_mix(i);

		memcpy(pool + i * 8, &word, 8);
	}
	return 0;
}

/* Where the slice of a key or value begins. */
static const unsigned char *middle_of(uint64_t hash)
{
	return pool + random_mix(hash) % POOL_SPAN;
}

static void write_digits(unsigned char *to, size_t count, uint64_t number)
{
	while (count--) {
		to[count] = (unsigned char)('0' + number % 10);
		number /= 10;
	}
}

/* The rest of a long key is cut from the pool, as values are: it does not compress, and costs a memcpy. */
static void write_hashed(unsigned char *key, size_t size, uint64_t number)
{
	uint64_t parts[2] = { random_mix(number), random_mix(~number) };
	size_t first = size < sizeof(parts) ? size : sizeof(parts);

	memcpy(key, parts, first);
	memcpy(key + first, middle_of(parts[1]), size - first);
}

struct bytes entry_key(const struct entry_shape *shape, uint64_t number, unsigned char *key)
{
	switch (shape->form) {
	case ENTRY_DIGITS:
		write_digits(key, shape->key_bytes, number);
		break;
	case ENTRY_HASHED:
		write_hashed(key, shape->key_bytes, number);
		break;
	case ENTRY_USER:
		memcpy(key, "user", 4);
		write_digits(key + 4, shape->key_bytes - 4, random_mix(number));
		break;
	}
	return (struct bytes){ .data = key, .size = shape->key_bytes };
}

/* Digits end with a point then; hashes of numbers that no entry has differ from all others, for they are bijections. */
struct bytes entry_missing(const struct entry_shape *shape, uint64_t number, unsigned char *key)
{
	if (shape->form == ENTRY_HASHED)
		return entry_key(shape, number | (uint64_t)1 << 63, key);
	entry_key(shape, number, key);
	key[shape->key_bytes - 1] = '.';
	return (struct bytes){ .data = key, .size = shape->key_bytes };
}

static size_t piece_bytes(const struct entry_shape *shape)
{
	return shape->value_bytes < ENTRY_PIECE_BYTES ? shape->value_bytes : ENTRY_PIECE_BYTES;
}

static size_t unit_bytes(const struct entry_shape *shape)
{
	return shape->incompressible ? piece_bytes(shape) : piece_bytes(shape) / 2;
}

/* Of the piece that begins at offset. */
static uint64_t tail_of(uint64_t number, uint64_t version, size_t offset)
{
	return random_mix(number ^ random_mix(version + ((uint64_t)offset << 32)));
}

struct bytes entry_value(const struct entry_shape *shape, uint64_t number, uint64_t version, unsigned char *value)
{
	uint64_t head[2] = { number, version };
	size_t unit = unit_bytes(shape), piece = piece_bytes(shape), offset = 0;

	for (offset = 0; offset < shape->value_bytes; offset += piece) {
		unsigned char *to = value + offset;
		uint64_t tail = tail_of(number, version, offset);

		memcpy(to, head, HEAD_BYTES);
		memcpy(to + HEAD_BYTES, middle_of(tail), unit - HEAD_BYTES - TAIL_BYTES);
		memcpy(to + unit - TAIL_BYTES, &tail, TAIL_BYTES);
		if (unit < piece)
			memcpy(to + unit, to, unit);
	}
	return (struct bytes){ .data = value, .size = shape->value_bytes };
}

static uint64_t word_at(struct bytes value, size_t offset)
{
	uint64_t word = 0;

	memcpy(&word, (const char *)value.data + offset, sizeof(word));
	return word;
}

uint64_t entry_number(struct bytes value)
{
	return word_at(value, 0);
}

uint64_t entry_version(struct bytes value)
{
	return word_at(value, 8);
}

/* Does the first half of each piece repeat in the second one, as far as a word of each cache line tells? An incompressible
 * piece is its own twin, and is read all the same. */
static bool halves_agree(const struct entry_shape *shape, struct bytes value)
{
	size_t unit = unit_bytes(shape), piece = piece_bytes(shape), offset = 0, i = 0;
	uint64_t differences = 0;

	for (offset = 0; offset < value.size; offset += piece)
		for (i = offset; i + sizeof(uint64_t) <= offset + unit; i += LINE_BYTES)
			differences |= word_at(value, i) ^ word_at(value, i + piece - unit);
	return differences == 0;
}

bool entry_value_is(const struct entry_shape *shape, uint64_t number, struct bytes value)
{
	return value.size == shape->value_bytes && entry_number(value) == number &&
	       word_at(value, value.size - TAIL_BYTES) ==
		       tail_of(number, entry_version(value), value.size - piece_bytes(shape)) &&
	       halves_agree(shape, value);
}

/* Is it the piece that stands at offset in the value of this entry? */
static bool piece_is(const struct entry_shape *shape, const unsigned char *piece, struct bytes value, size_t offset)
{
	size_t unit = unit_bytes(shape);
	uint64_t tail = tail_of(entry_number(value), entry_version(value), offset);

	return memcmp(piece, value.data, HEAD_BYTES) == 0 && memcmp(piece + unit - TAIL_BYTES, &tail, TAIL_BYTES) == 0 &&
	       memcmp(piece + HEAD_BYTES, middle_of(tail), unit - HEAD_BYTES - TAIL_BYTES) == 0 &&
	       memcmp(piece + unit, piece, piece_bytes(shape) - unit) == 0;
}

bool entry_is(const struct entry_shape *shape, struct bytes key, struct bytes value)
{
	unsigned char expected[ENTRY_KEY_BYTES_MAX];
	size_t offset = 0;

	if (value.size != shape->value_bytes || key.size != shape->key_bytes)
		return false;
	entry_key(shape, entry_number(value), expected);
	if (memcmp(key.data, expected, key.size) != 0)
		return false;
	for (offset = 0; offset < value.size; offset += piece_bytes(shape))
		if (!piece_is(shape, (const unsigned char *)value.data + offset, value, offset))
			return false;
	return true;
}
