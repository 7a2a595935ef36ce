/* SPDX-License-Identifier: MIT */
#include "forge.h"

#include <string.h>

#include "codec.h"

uint64_t forge_number(struct rng *rng, uint64_t old)
{
	static const uint64_t numbers[] = { 0, 1, 2, 7, 63, 64, 255, 4096, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff,
					    0x100000000, (uint64_t)1 << 56, (uint64_t)1 << 62, INT64_MAX, UINT64_MAX - 7,
					    UINT64_MAX };

	switch (rng_below(rng, 4)) {
	case 0:
		return old ^ (uint64_t)1 << rng_below(rng, 64);
	case 1:
		return old + rng_below(rng, 17) - 8;
	case 2:
		return rng_next(rng);
	default:
		return numbers[rng_below(rng, ARRAY_SIZE(numbers))];
	}
}

void forge_bytes(struct rng *rng, uint8_t *data, uint64_t length)
{
	static const unsigned sizes[] = { 1, 2, 4, 8 };
	unsigned size = sizes[rng_below(rng, ARRAY_SIZE(sizes))];
	uint64_t at = rng_below(rng, 2) ? rng_below(rng, length) : align_down(rng_below(rng, length), size);
	uint8_t bytes[8] = { 0 };

	memcpy(bytes, data + at, u64_min(size, length - at));
	put_u64(bytes, forge_number(rng, get_u64(bytes)));
	memcpy(data + at, bytes, u64_min(size, length - at));
}

void forge_slab_field(struct rng *rng, uint8_t *slab)
{
	static const unsigned fields[] = { 32, 48, 56, 64, 72, 80 }; /* salt, first, last, limit, durable, next */
	uint8_t *field = slab + fields[rng_below(rng, ARRAY_SIZE(fields))];

	put_u64(field, forge_number(rng, get_u64(field)));
}
