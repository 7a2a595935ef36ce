/* SPDX-License-Identifier: MIT */
/*
 * The metadata pages of the spindles: reading both and choosing, writing one, and the sign that all files of a database have been
 * opened together. One thread.
 *
 * Each opening for writing draws a salt. Before spindle 0 gets a page with it, every further spindle gets one, in the place of the
 * page that does not have the salt of spindle 0; when spindle 0 has it, they get a second one. So each further spindle has a
 * page with the salt of spindle 0's newest one, whatever ends an opening and wherever, and a file that comes from another
 * time has none: it is refused when all four pages are good. Where one of them is lost nobody can tell, and the file is
 * taken: what it lacks is found where it is read, by the checksums of entries. An opening for writing brings such a file back to
 * the rule, in this order: the further spindles get the salt that spindle 0 has, in the place of the page that is lost;
 * spindle 0 gets the page that it has lost, or that an opening which was ended has left with another salt; and then they get
 * the new salt. So a further spindle has the salts of both pages of spindle 0, and whichever of these is lost, and comes
 * back, fits. No write goes over the only good page of a file.
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
	int error;              /* of one that cannot be read, or 0 */
};

/* Reads both, past the page cache: after a flush that failed it may have a newer page than the device, and then the other one is
 * the only good one there, and must not be overwritten. One good page is enough: else SLF_ENOTDB, SLF_ECORRUPT or the
 * error of reading. */
int pages_read(struct spindle *spindle, struct pages *pages);

/* Writes a page at its slot; it is not flushed. */
int page_write(struct spindle *spindle, const struct meta *meta);

/* Of a further spindle, when spindle 0 has this page: pages of other files do not count. */
int pages_read_further(struct spindle *spindle, const struct meta *first, struct pages *pages);

/* Does one of them have this salt? */
bool pages_belong(const struct pages *pages, uint64_t salt);

/* Before the pages of spindle 0 are written in an opening; *first is the better one that it has, and then the one that was made
 * beside it, if there was need. All is flushed; a failure ends the opening. */
int pages_announce(struct store *store, struct meta *first, uint64_t salt);
/* Behind it: *first is the page with the new salt. A failure does no harm, but that one more lost page cannot be told
 * from a file of another time. */
int pages_confirm(struct store *store, const struct meta *first);

#endif
