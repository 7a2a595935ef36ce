/* SPDX-License-Identifier: MIT */
#include "slab_forger.h"

#include <stdlib.h>

#include "gate_rig.h"

void slab_forger_read(struct slab_forger *forger, struct sim_disk *disk)
{
	const char *reason;

	*forger = (struct slab_forger){ .bytes = malloc(SLAB_FORGER_BYTES) };
	must(forger->bytes != NULL);
	must_work(sim_disk_peek_durable(disk, RIG_PATH, 0, forger->bytes, SLAB_FORGER_BYTES));
	for (uint16_t slot = 0; slot < 2; slot++)
		must(meta_decode(forger->bytes + (slot ? META_PAGE_B : META_PAGE_A), slot, &forger->meta[slot], &reason) ==
		     META_GOOD);
	forger->seed = format_seed(forger->meta[0].uuid);
	for (uint64_t at = EXTENT_ZERO_DATA; at < SLAB_FORGER_BYTES && forger->count < SLAB_FORGER_MAX; at += SIM_SECTOR_BYTES) {
		struct slab_header *header = &forger->slabs[forger->count];
		uint64_t room = align_down(at, EXTENT_BYTES) + EXTENT_BYTES - at;

		if (!slab_header_decode(forger->bytes + at, room, header) &&
		    !slab_check(forger->bytes + at, header, forger->seed, at))
			forger->places[forger->count++] = at;
	}
}

uint8_t *slab_forger_find(struct slab_forger *forger, enum log_record_kind kind, size_t *slab)
{
	uint8_t *body = NULL;

	for (size_t i = 0; i < forger->count; i++) {
		struct log_record record;
		uint64_t offset = 0;

		while (!slab_next_record(forger->bytes + forger->places[i], &forger->slabs[i], &offset, &record))
			if (record.kind == kind) {
				body = (uint8_t *)(uintptr_t)record.body.data;
				*slab = i;
			}
	}
	must(body != NULL);
	return body;
}

void slab_forger_write(struct slab_forger *forger, struct sim_disk *disk, size_t first)
{
	for (size_t i = first; i < forger->count; i++) {
		uint64_t old = forger->slabs[i].digest;

		if (i > first)
			forger->slabs[i].previous = forger->slabs[i - 1].digest;
		slab_seal(forger->bytes + forger->places[i], &forger->slabs[i], forger->seed, forger->places[i]);
		for (unsigned slot = 0; slot < 2; slot++)
			if (forger->meta[slot].mark_digest == old)
				forger->meta[slot].mark_digest = forger->slabs[i].digest;
		must_work(sim_disk_poke(disk, RIG_PATH, forger->places[i], forger->bytes + forger->places[i],
					forger->slabs[i].length));
	}
	for (uint16_t slot = 0; slot < 2; slot++) {
		uint8_t page[META_PAGE_BYTES];

		meta_encode(page, &forger->meta[slot]);
		must_work(sim_disk_poke(disk, RIG_PATH, slot ? META_PAGE_B : META_PAGE_A, page, sizeof(page)));
	}
	free(forger->bytes);
}
