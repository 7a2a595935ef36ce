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
	return 0;
}

/* No page is good; error: of one that could not be read, or 0. */
static int refuse(const struct spindle *spindle, const struct pages *pages, int error)
{
	const char *const *reasons = pages->reasons;

	if (error)
		return error_set(error, spindle->path, (int)spindle->index, META_PAGE_A,
				 "the metadata pages cannot be read (%s; %s)", reasons[0], reasons[1]);
	if (pages->states[0] == META_FOREIGN && pages->states[1] == META_FOREIGN)
		return error_set(SLF_ENOTDB, spindle->path, (int)spindle->index, 0, "not a Solifuge database (%s)", reasons[0]);
	return error_set(SLF_ECORRUPT, spindle->path, (int)spindle->index, 0,
			 "both metadata pages are damaged (%s; %s): restore the database from a copy", reasons[0], reasons[1]);
}

int pages_read(struct spindle *spindle, struct pages *pages)
{
	uint8_t *page = aligned_alloc(META_PAGE_BYTES, META_PAGE_BYTES);
	int error = 0;

	*pages = (struct pages){ 0 };
	if (!page)
		return -ENOMEM;
	for (unsigned slot = 0; slot < 2; slot++) {
		int result = read_page(spindle, slot, page, pages);

		error = result ? result : error;
	}
	free(page);
	pages->best = pages->states[0] != META_GOOD ||
		      (pages->states[1] == META_GOOD && pages->metas[1].generation > pages->metas[0].generation);
	return pages->states[pages->best] == META_GOOD ? 0 : refuse(spindle, pages, error);
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

/* The page with this salt, the newer one first; NULL. */
static const struct meta *page_of(const struct pages *pages, uint64_t salt)
{
	for (unsigned i = 0; i < 2; i++) {
		unsigned slot = pages->best ^ i;

		if (pages->states[slot] == META_GOOD && pages->metas[slot].salt == salt)
			return &pages->metas[slot];
	}
	return NULL;
}

bool pages_belong(const struct pages *pages, uint64_t salt)
{
	return page_of(pages, salt) != NULL;
}

/* Writes a page with the salt in the place of the one that does not have the salt `kept`. */
static int renew_page(struct spindle *spindle, uint64_t kept, uint64_t salt)
{
	const struct meta *stays;
	struct pages pages;
	struct meta meta;
	int result = pages_read(spindle, &pages);

	if (result)
		return result;
	stays = page_of(&pages, kept);
	if (!stays) /* it was there when the file was opened */
		return error_set(SLF_ECORRUPT, spindle->path, (int)spindle->index, 0, "a metadata page has got lost: %s",
				 pages.reasons[pages.best ^ 1] ? pages.reasons[pages.best ^ 1] : "another one stands there");
	meta = *stays;
	meta.salt = salt;
	meta.slot ^= 1;
	meta.generation = pages.metas[pages.best].generation + 1;
	return page_write(spindle, &meta);
}

static int renew_all(struct store *store, uint64_t kept, uint64_t salt)
{
	int result = 0;

	for (unsigned i = 1; i < store->spindle_count && !result; i++)
		result = renew_page(&store->spindles[i], kept, salt);
	return result;
}

static int restore_lost(struct spindle *spindle, struct meta *meta)
{
	int result;

	if (!spindle->lost_page)
		return 0;
	meta->slot ^= 1;
	meta->generation++;
	result = page_write(spindle, meta);
	return result ? result : spindle_sync(spindle);
}

int pages_announce(struct store *store, struct meta *meta, uint64_t salt)
{
	uint64_t which[SPINDLE_WORDS] = { 0 };
	int result;

	if (store->spindle_count == 1)
		return 0;
	result = restore_lost(&store->spindles[0], meta);
	if (!result)
		result = renew_all(store, meta->salt, salt);
	for (unsigned i = 1; i < store->spindle_count; i++)
		which[i / 64] |= (uint64_t)1 << i % 64;
	return result ? result : spindles_sync(store->spindles, store->spindle_count, which);
}

int pages_confirm(struct store *store, uint64_t salt)
{
	return renew_all(store, salt, salt);
}
