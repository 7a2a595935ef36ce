/* SPDX-License-Identifier: MIT */
#include "slab_forger.h"

#include <stdlib.h>

#include "gate_rig.h"
#include "sim_inode.h"

/* Where a slab with this number belongs among those that were found; those behind it make way. */
static size_t place_of(struct slab_forger *forger, uint64_t number)
{
	size_t index = forger->count;

	while (index && forger->slabs[index - 1].number > number) {
		forger->slabs[index] = forger->slabs[index - 1];
		forger->places[index] = forger->places[index - 1];
		index--;
	}
	return index;
}

static void find_slabs(struct slab_forger *forger)
{
	for (uint64_t at = EXTENT_ZERO_DATA; at < forger->length && forger->count < SLAB_FORGER_MAX; at += SIM_SECTOR_BYTES) {
		uint64_t room = u64_min(align_down(at, EXTENT_BYTES) + EXTENT_BYTES, forger->length) - at;
		struct slab_header header;

		if (!slab_header_decode(forger->bytes + at, room, &header) &&
		    !slab_check(forger->bytes + at, &header, forger->seed, at)) {
			size_t index = place_of(forger, header.number);

			forger->slabs[index] = header;
			forger->places[index] = at;
			forger->count++;
		}
	}
}

void slab_forger_read(struct slab_forger *forger, struct sim_disk *disk)
{
	const struct inode *inode = inode_find(disk, RIG_PATH);
	const char *reason;

	must(inode != NULL);
	*forger = (struct slab_forger){ .length = inode->seen.size };
	forger->bytes = calloc(1, u64_max(forger->length, SLAB_FORGER_BYTES));
	must(forger->bytes != NULL);
	memcpy(forger->bytes, inode->seen.data, forger->length);
	for (uint16_t slot = 0; slot < 2; slot++)
		must(meta_decode(forger->bytes + (slot ? META_PAGE_B : META_PAGE_A), slot, &forger->meta[slot], &reason) ==
		     META_GOOD);
	forger->seed = format_seed(forger->meta[0].uuid);
	find_slabs(forger);
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
