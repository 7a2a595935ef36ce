/* SPDX-License-Identifier: MIT */
/*
 * Recovery of what stands at the end of a log. The input: a byte of flags, of which the highest bit chooses one of two
 * databases in base/ (0: its process was killed, 1: it was closed), then the bytes behind that one's last slab.
 */
#include <stdio.h>
#include <stdlib.h>

#include "codec.h"
#include "format.h"
#include "mutate.h"
#include "rig.h"

#define BASES 2
#define BASE_BYTES_MAX (256 * KIB)

static struct base {
	size_t size;
	uint8_t data[BASE_BYTES_MAX]; /* packed */
} bases[BASES];

static const struct base *base_load(unsigned number)
{
	const char *root = getenv("SOLIFUGE_SOURCE_ROOT");
	struct base *base = &bases[number];
	char path[4096];
	FILE *file;

	if (base->size)
		return base;
	snprintf(path, sizeof(path), "%s/tests/fuzz/base/%u", root ? root : ".", number);
	file = fopen(path, "re");
	must(file != NULL);
	base->size = fread(base->data, 1, sizeof(base->data), file);
	must(base->size && fclose(file) == 0);
	return base;
}

/* The flat database is the base with the tail: where the tail begins. */
static uint64_t put_tail(const uint8_t *data, size_t size)
{
	uint64_t slabs[FLAT_SLABS_MAX], last, tail;
	const struct base *base = base_load(data[0] >> 7);
	size_t count;

	flat_unpack(base->data, base->size);
	count = flat_slabs(slabs);
	must(count > 0);
	last = slabs[count - 1];
	tail = last + get_u32(flat.bytes[0] + last + 40);
	size = u64_min(size - 1, align_up(tail, EXTENT_BYTES) - tail);
	if (size && flat_find(NULL, tail, size))
		memcpy(flat.bytes[0] + tail, data + 1, size);
	return tail;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	run_begin();
	(void)put_tail(data, size);
	run_database(flat_disk(), data[0]);
	run_end();
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
	struct rng rng = { seed };
	uint64_t tail, end, at, next;

	if (!size || rng_below(&rng, 30) == 0)
		return LLVMFuzzerMutate(data, size, room);
	tail = put_tail(data, size);
	for (uint64_t changes = 1 + rng_below(&rng, 3); changes; changes--)
		mutate_flat(&rng, tail);
	if (rng_below(&rng, 30))
		mutate_seal();
	if (rng_below(&rng, 30) == 0)
		data[0] ^= (uint8_t)(1u << rng_below(&rng, RUN_FLAG_BITS));
	for (end = at = tail; (next = flat_next_touched(0, at, align_up(tail, EXTENT_BYTES))) < FLAT_FILE_BYTES; at = next + 8)
		if (get_u64(flat.bytes[0] + next))
			end = next + 8;
	size = u64_min(end - tail, room - 1);
	memcpy(data + 1, flat.bytes[0] + tail, size);
	return size + 1;
}
