/* SPDX-License-Identifier: MIT */
/*
 * The metadata pages of the spindles: reading both and choosing, writing one, and the sign that all files of a database have been
 * opened together. One thread.
 *
 * Each opening for writing draws a salt. Before spindle 0 gets a page with it, every further spindle gets one, in the place of the
 * page that does not have the salt of spindle 0; when spindle 0 has it, they get a second one. So at any time each further
 * spindle has a page with the salt of spindle 0's newest one, and the newest has another salt only where a crash has
 * ended an opening. A file that comes from another time has neither.
 */
#ifndef PAGE_H
#define PAGE_H

#include "base.h"
#include "meta.h"
#include "store.h"

struct pages {
	struct meta metas[2];
	enum meta_state states[2];
	const char *reasons[2]; /* why one is not good; NULL */
	unsigned best;          /* the better one */
};

/* Reads both, past the page cache: after a flush that failed it may have a newer page than the device, and then the other one is
 * the only good one there, and must not be overwritten. One good page is enough: else SLF_ENOTDB, SLF_ECORRUPT or the
 * error of reading. */
int pages_read(struct spindle *spindle, struct pages *pages);

/* Writes a page at its slot; it is not flushed. */
int page_write(struct spindle *spindle, const struct meta *meta);

/* Does the further spindle belong to a spindle 0 whose newest page has this salt? */
bool pages_belong(const struct pages *pages, uint64_t salt);
/* Before and behind the writing of spindle 0's pages in an opening: *meta is the page that it has. The first time the pages are
 * flushed; a failure ends the opening. A page of spindle 0 that is lost is made anew first, and *meta is that one then: where
 * some of its sectors had been torn it could become whole again while it is written over, when the further spindles' pages
 * with its salt have gone. */
int pages_announce(struct store *store, struct meta *meta, uint64_t salt);
int pages_confirm(struct store *store, uint64_t salt);

#endif
