/* SPDX-License-Identifier: MIT */
#include "page.h"

#include <stdlib.h>

#include "error.h"

static uint64_t page_offset(unsigned slot)
{
	return slot ? META_PAGE_B : META_PAGE_A;
}

static int read_page(struct spindle *spindle, unsigned slot, uint8_t *page, struct pages *pages)
{
	struct io_request request = { .op = IO_READ, .flags = IO_DIRECT, .file = spindle->file, .data = page,
				      .offset = page_offset(slot), .length = META_PAGE_BYTES };
	int result = io_run(spindle->io, &request, 1);

	if (result) {
		pages->states[slot] = META_DAMAGED;
		pages->reasons[slot] = error_text(result);
		return result;
	}
	memset(page + request.done, 0, META_PAGE_BYTES - request.done);
	pages->states[slot] = meta_decode(page, (uint16_t)slot, &pages->metas[slot], &pages->reasons[slot]);
	pages->metas[slot].slot = (uint16_t)slot; /* of a page of a later version it has not been looked at */
	return 0;
}

static void choose(struct pages *pages)
{
	pages->best = pages->states[0] != META_GOOD ||
		      (pages->states[1] == META_GOOD && pages->metas[1].generation > pages->metas[0].generation);
}

/* No page is good. */
static int refuse(const struct spindle *spindle, const struct pages *pages)
{
	const char *const *reasons = pages->reasons;

	if (pages->error)
		return error_set(pages->error, spindle->path, (int)spindle->index, META_PAGE_A,
				 "the metadata pages cannot be read (%s; %s)", reasons[0], reasons[1]);
	if (pages->states[0] == META_FOREIGN && pages->states[1] == META_FOREIGN)
		return error_set(SLF_ENOTDB, spindle->path, (int)spindle->index, 0, "not a Solifuge database (%s)", reasons[0]);
	return error_set(SLF_ECORRUPT, spindle->path, (int)spindle->index, 0,
			 "both metadata pages are damaged (%s; %s): restore the database from a copy", reasons[0], reasons[1]);
}

int pages_read(struct spindle *spindle, struct pages *pages)
{
	uint8_t *page = aligned_alloc(META_PAGE_BYTES, META_PAGE_BYTES);

	*pages = (struct pages){ 0 };
	if (!page)
		return -ENOMEM;
	for (unsigned slot = 0; slot < 2; slot++) {
		int result = read_page(spindle, slot, page, pages);

		pages->error = result ? result : pages->error;
	}
	free(page);
	choose(pages);
	return pages->states[pages->best] == META_GOOD ? 0 : refuse(spindle, pages);
}

int page_write(struct spindle *spindle, const struct meta *meta)
{
	void *page = aligned_alloc(META_PAGE_BYTES, META_PAGE_BYTES);
	int result;

	if (!page)
		return -ENOMEM;
	meta_encode(page, meta);
	result = spindle_write(spindle, 0, page_offset(meta->slot), page, META_PAGE_BYTES);
	free(page);
	return result;
}

/* Is it one that an opening of this database may have written to the spindle? */
static bool is_of(const struct meta *meta, const struct meta *first, unsigned index)
{
	return memcmp(meta->uuid, first->uuid, sizeof(meta->uuid)) == 0 && meta->spindle_index == index &&
	       meta->spindle_count == first->spindle_count && meta->generation <= COUNTER_MAX / 2 &&
	       !meta_settings_check(meta);
}

int pages_read_further(struct spindle *spindle, const struct meta *first, struct pages *pages)
{
	int result = pages_read(spindle, pages);
	struct meta meta;

	if (result)
		return result;
	meta = pages->metas[pages->best];
	for (unsigned slot = 0; slot < 2; slot++)
		if (pages->states[slot] == META_GOOD && !is_of(&pages->metas[slot], first, spindle->index)) {
			pages->states[slot] = META_FOREIGN;
			pages->reasons[slot] = "it is a page of another file";
		}
	choose(pages);
	if (pages->states[pages->best] == META_GOOD)
		return 0;
	if (memcmp(meta.uuid, first->uuid, sizeof(meta.uuid)) || meta.spindle_index != spindle->index)
		return error_set(SLF_ECORRUPT, spindle->path, (int)spindle->index, 0,
				 "this file is spindle %u of %s database, not spindle %u of this one", meta.spindle_index,
				 memcmp(meta.uuid, first->uuid, sizeof(meta.uuid)) ? "another" : "this", spindle->index);
	return error_set(SLF_ECORRUPT, spindle->path, (int)spindle->index, 0,
			 "the metadata pages do not fit those of spindle 0");
}

bool pages_belong(const struct pages *pages, uint64_t salt)
{
	for (unsigned slot = 0; slot < 2; slot++)
		if (pages->states[slot] == META_GOOD && pages->metas[slot].salt == salt)
			return true;
	return false;
}

/* Where a page may be written when one with the salt `kept` is to stay, or to come. Where both are good and none has it the
 * file is of another time, or was taken for that of spindle 0 once, and there is nothing to be kept. */
static uint16_t slot_beside(const struct pages *pages, uint64_t kept)
{
	for (uint16_t slot = 0; slot < 2; slot++)
		if (pages->states[slot] != META_GOOD)
			return slot;
	return (uint16_t)(pages->metas[pages->best].salt == kept ? pages->best ^ 1 : pages->best);
}

static int write_salt(struct spindle *spindle, const struct pages *pages, uint64_t kept, uint64_t salt)
{
	struct meta meta = pages->metas[pages->best];

	meta.salt = salt;
	meta.slot = slot_beside(pages, kept);
	meta.generation++;
	return page_write(spindle, &meta);
}

static int refuse_written(const struct spindle *spindle, const struct pages *pages)
{
	const char *reason = pages->reasons[0] ? pages->reasons[0] : pages->reasons[1];

	return error_set(pages->error ? pages->error : -EIO, spindle->path, (int)spindle->index, META_PAGE_A,
			 "a metadata page that was written cannot be read (%s): copy the files to another disk",
			 reason ? reason : "another one stands there");
}

/* Sees to it that the further spindle has a page with the salt of *first, on stable storage where it had none. */
static int keep_page(struct spindle *spindle, const struct meta *first, struct pages *pages)
{
	int result = pages_read_further(spindle, first, pages);

	if (result || pages_belong(pages, first->salt))
		return result;
	result = write_salt(spindle, pages, first->salt, first->salt);
	if (!result)
		result = spindle_sync(spindle);
	if (!result)
		result = pages_read_further(spindle, first, pages);
	if (result || pages_belong(pages, first->salt))
		return result;
	return refuse_written(spindle, pages);
}

static int renew_page(struct spindle *spindle, const struct meta *first, uint64_t salt)
{
	struct pages pages;
	int result = keep_page(spindle, first, &pages);

	return result ? result : write_salt(spindle, &pages, first->salt, salt);
}

/* Both pages of spindle 0 with one salt. The generation is none that the page which it takes the place of may have had: a reader
 * that has seen that one looks again. */
static int make_even(struct spindle *spindle, struct meta *first)
{
	struct pages pages;
	int result;

	if (!spindle->uneven_pages)
		return 0;
	first->slot ^= 1;
	first->generation += 2;
	result = page_write(spindle, first);
	if (!result)
		result = spindle_sync(spindle);
	if (!result)
		result = pages_read(spindle, &pages);
	if (!result && (pages.best != first->slot || pages.metas[pages.best].generation != first->generation))
		result = refuse_written(spindle, &pages);
	return result;
}

int pages_announce(struct store *store, struct meta *first, uint64_t salt)
{
	uint64_t which[SPINDLE_WORDS] = { 0 };
	struct pages pages;
	int result = 0;

	if (store->spindle_count == 1)
		return 0;
	for (unsigned i = 1; i < store->spindle_count && !result; i++)
		result = keep_page(&store->spindles[i], first, &pages);
	if (!result)
		result = make_even(&store->spindles[0], first);
	for (unsigned i = 1; i < store->spindle_count && !result; i++) {
		result = renew_page(&store->spindles[i], first, salt);
		which[i / 64] |= (uint64_t)1 << i % 64;
	}
	return result ? result : spindles_sync(store->spindles, store->spindle_count, which);
}

int pages_confirm(struct store *store, const struct meta *first)
{
	int failure = 0;

	for (unsigned i = 1; i < store->spindle_count; i++) {
		int result = renew_page(&store->spindles[i], first, first->salt);

		failure = failure ? failure : result;
	}
	return failure;
}
