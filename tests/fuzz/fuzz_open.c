/* SPDX-License-Identifier: MIT */
/* A database that may be anything is opened, read, recovered, changed and closed. The input is a packed one, see flat.h. */
#include "mutate.h"
#include "rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run_begin();
	flat_unpack(data, size);
	run_database(flat_disk(), flat.flags);
	run_end();
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
	struct rng rng = { seed };

	if (rng_below(&rng, 50) == 0)
		return LLVMFuzzerMutate(data, size, room);
	flat_unpack(data, size);
	for (uint64_t changes = 1 + rng_below(&rng, 3); changes; changes--)
		mutate_flat(&rng, 0);
	if (rng_below(&rng, 30))
		mutate_seal();
	return flat_pack(data, room);
}
