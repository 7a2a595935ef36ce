/* SPDX-License-Identifier: MIT */
#include "crash_images.h"

#include <stdio.h>
#include <stdlib.h>

#include "sim_world.h"

#define UNITS_MAX 4096u
#define BLOCK 4096u

enum pattern { PATTERN_PREFIX, PATTERN_WITHOUT, PATTERN_ALONE, PATTERN_PAIR, PATTERN_WITHOUT_PAIR, PATTERN_TORN, PATTERN_RANDOM,
	       PATTERNS };

/* The units of one moment. Those of a group share their fate. */
struct moment {
	struct images *images;
	struct sim_disk *disk;
	size_t count;
	size_t groups;
	uint16_t group[UNITS_MAX];
	bool sector[UNITS_MAX]; /* may be torn */
	bool torn;              /* one was, in the image made last */
	uint64_t block[UNITS_MAX];
	uint8_t fate[UNITS_MAX]; /* of each group */
};

/* ---- What has been seen ------------------------------------------------------------------------------------------ */

static bool seen_place(const struct seen *seen, uint64_t number, size_t *place)
{
	for (*place = number % seen->room; seen->slots[*place]; *place = (*place + 1) % seen->room)
		if (seen->slots[*place] == number)
			return true;
	return false;
}

/* Returns whether number is new. */
static bool seen_add(struct seen *seen, uint64_t number)
{
	size_t place = 0;

	number += number == 0;
	if (2 * seen->count >= seen->room) {
		struct seen old = *seen;

		seen->room = old.room ? 2 * old.room : 4096;
		seen->slots = calloc(seen->room, sizeof(*seen->slots));
		must(seen->slots != NULL);
		for (size_t i = 0; i < old.room; i++)
			if (old.slots[i] && !seen_place(seen, old.slots[i], &place))
				seen->slots[place] = old.slots[i];
		free(old.slots);
	}
	if (seen_place(seen, number, &place))
		return false;
	seen->slots[place] = number;
	seen->count++;
	return true;
}

/* ---- One image --------------------------------------------------------------------------------------------------- */

static void cut_here(void *context, struct sim_disk *disk, enum sim_call call);

/* Opens an image while it is cut in its turn, at every call of its recovery. Whether there was a database. */
static bool cut_recovery(struct images *outer, struct sim_disk *disk)
{
	struct images inner = { .rig = outer->rig, .subsets_units = 2, .quota = 8, .inner = true };
	struct slf_db *db = NULL;
	bool opened = false;

	inner.rng.state = rng_next(&outer->rng);
	inner.bytes = outer->bytes;
	inner.proven = outer->proven;
	sim_disk_set_hook(disk, cut_here, &inner);
	opened = rig_open_on(outer->rig, disk, 0, &db) == 0;
	if (opened) {
		sim_disk_set_hook(disk, NULL, NULL);
		rig_abandon(db);
	}
	sim_disk_free(disk);
	outer->bytes = inner.bytes;
	outer->proven = inner.proven;
	outer->counts.distinct += inner.counts.distinct;
	outer->counts.proofs += inner.counts.proofs;
	outer->counts.images += inner.counts.images;
	outer->counts.torn += inner.counts.torn;
	outer->counts.kills += inner.counts.kills;
	outer->counts.recovery += inner.counts.distinct;
	return opened;
}

/* No seq ever names two commits: is this one above all that were handed out? */
static bool is_above(const struct rig *rig, uint64_t seq)
{
	for (size_t i = 0; i <= rig->newest; i++)
		if (rig->states[i].seq >= seq)
			return false;
	return true;
}

/* The process is killed, the next one recovers, from pages that are in the cache only, or just reads; then the power fails.
 * What that one has seen has to stay. */
static void prove_kill(struct images *images, struct sim_disk *disk)
{
	const struct rig *rig = images->rig;
	struct sim_disk *killed = sim_disk_kill(disk), *cut = NULL;
	struct slf_db *db = NULL;
	char wrong[256] = "";
	bool reads = rng_below(&images->rng, 2);
	int result = rig_open_on(rig, killed, reads ? SLF_READONLY : 0, &db);
	size_t found = 0;

	if (result == -ENOENT && !rig->created) {
		sim_disk_free(killed);
		return;
	}
	must_work(result);
	found = rig_identify(rig, db);
	cut = sim_disk_crash(killed, NULL, NULL);
	rig_abandon(db);
	sim_disk_free(killed);
	db = rig_reopen(rig, cut);
	must(db || reads); /* a reader does not flush names */
	if (db && !rig_holds(rig, db, found, wrong)) {
		fprintf(stderr, IMAGES_GONE ": %s\n", wrong);
		must(false);
	}
	if (db)
		rig_abandon(db);
	sim_disk_free(cut);
	images->counts.kills++;
}

/* Recovers, compares, commits once more, cuts again, recovers again, compares again. Frees the image. */
static void prove(struct images *images, struct sim_disk *image)
{
	const struct rig *rig = images->rig;
	struct slf_db *db = rig_reopen(rig, image);
	uint64_t number = rng_next(&images->rng);
	struct sim_disk *again = NULL;
	char value[32] = "", wrong[256] = "";
	size_t found = 0;

	if (!db) {
		sim_disk_free(image);
		return;
	}
	found = rig_identify(rig, db);
	snprintf(value, sizeof(value), "%llu", (unsigned long long)number);
	must(is_above(rig, db_put(db, "proof", value)));
	if (rig->sync != SLF_SYNC_COMMIT)
		must_work(slf_sync(db, NULL));
	if (number % 16 == 0)
		must_work(slf_checkpoint(db));
	again = number % 4 ? sim_disk_crash(image, NULL, NULL) : sim_disk_crash_seed(image, rng_mix(number), number % 8 == 0);
	if (number % 32 < 2)
		must_work(slf_close(db));
	else
		rig_abandon(db);
	sim_disk_free(image);
	db = rig_reopen(rig, again);
	must(db && db_has(db, "proof", value));
	if (!rig_holds(rig, db, found, wrong)) {
		fprintf(stderr, "after one more commit: %s\n", wrong);
		must(false);
	}
	rig_abandon(db);
	sim_disk_free(again);
}

static enum sim_fate fate_of(void *context, const struct sim_unit *unit)
{
	struct moment *moment = context;
	enum sim_fate fate = moment->fate[moment->group[unit->index]];

	if (fate == SIM_TORN && !moment->sector[unit->index])
		fate = SIM_KEPT;
	moment->torn |= fate == SIM_TORN;
	return fate;
}

/* Where the rig was when the power failed. An image is cut in its turn while it is opened, and never made. */
static void count_place(struct images *images)
{
	const struct rig *rig = images->rig;

	if (images->inner)
		return; /* cut_recovery counts */
	images->counts.checkpoint += rig->db && rig->db->core.checkpoint.state != CHECKPOINT_IDLE;
	images->counts.creation += rig->recovering && !rig->created;
	images->counts.recovery += rig->recovering && rig->created;
}

/* Makes the image of the fates as they are set. */
static void image_make(struct moment *moment)
{
	struct images *images = moment->images;
	const struct rig *rig = images->rig;
	struct sim_disk *image = NULL;
	uint64_t digest = 0;

	moment->torn = false;
	image = sim_disk_crash(moment->disk, fate_of, moment);
	digest = sim_disk_digest(image);
	images->counts.images++;
	if (seen_add(&images->bytes, digest)) {
		images->counts.distinct++;
		count_place(images);
	}
	if (!seen_add(&images->proven, digest ^ rng_mix(rig->acked * RIG_COMMITS_MAX + rig->newest + rig->created))) {
		sim_disk_free(image);
		return;
	}
	images->counts.proofs++;
	images->counts.torn += moment->torn;
	prove(images, image);
	if (images->nested && images->counts.proofs % images->nested == 0)
		cut_recovery(images, sim_disk_crash(moment->disk, fate_of, moment));
}

/* ---- All images of a moment -------------------------------------------------------------------------------------- */

static enum sim_fate note_unit(void *context, const struct sim_unit *unit)
{
	struct moment *moment = context;

	must(unit->index < UNITS_MAX);
	moment->sector[unit->index] = unit->kind == SIM_UNIT_WRITE;
	moment->block[unit->index] = unit->kind == SIM_UNIT_WRITE ? unit->inode << 48 | (unit->offset / BLOCK + 1) : 0;
	return SIM_LOST;
}

/* Sectors of the same block of the same write, one behind the other, go into one group; all else alone. */
static void group_units(struct moment *moment, bool blocks)
{
	moment->groups = 0;
	for (size_t i = 0; i < moment->count; i++) {
		bool same = blocks && i && moment->block[i] && moment->block[i] == moment->block[i - 1];

		if (!same)
			moment->groups++;
		moment->group[i] = (uint16_t)(moment->groups - 1);
	}
}

static void fates_set(struct moment *moment, enum sim_fate fate)
{
	memset(moment->fate, (int)fate, moment->groups);
}

static void make_subsets(struct moment *moment)
{
	for (uint64_t subset = 0; subset < (uint64_t)1 << moment->groups; subset++) {
		for (size_t i = 0; i < moment->groups; i++)
			moment->fate[i] = subset >> i & 1 ? SIM_KEPT : SIM_LOST;
		image_make(moment);
	}
}

/* The one numbered `number` of a pattern; number may be any. */
static void make_pattern(struct moment *moment, enum pattern pattern, uint64_t number)
{
	static const uint64_t chances[] = { 500, 500, 900, 100, 980, 20 };
	struct rng *rng = &moment->images->rng;
	uint64_t chance = chances[rng_below(rng, ARRAY_SIZE(chances))];
	size_t one = number % moment->groups, other = rng_below(rng, moment->groups);

	fates_set(moment, pattern == PATTERN_WITHOUT || pattern == PATTERN_WITHOUT_PAIR || pattern == PATTERN_TORN ? SIM_KEPT
														   : SIM_LOST);
	switch (pattern) {
	case PATTERN_PREFIX:
		memset(moment->fate, SIM_KEPT, one);
		break;
	case PATTERN_WITHOUT:
	case PATTERN_WITHOUT_PAIR:
		moment->fate[one] = SIM_LOST;
		if (pattern == PATTERN_WITHOUT_PAIR)
			moment->fate[other] = SIM_LOST;
		break;
	case PATTERN_ALONE:
	case PATTERN_PAIR:
		moment->fate[one] = SIM_KEPT;
		if (pattern == PATTERN_PAIR)
			moment->fate[other] = SIM_KEPT;
		break;
	case PATTERN_TORN:
		moment->fate[one] = SIM_TORN;
		for (size_t i = one + 1; i < moment->groups && number & 1; i++)
			moment->fate[i] = SIM_LOST;
		break;
	default:
		for (size_t i = 0; i < moment->groups; i++)
			if (rng_below(rng, 1000) < chance)
				moment->fate[i] = rng_below(rng, 24) ? SIM_KEPT : SIM_TORN;
	}
	image_make(moment);
}

/* Every one of a pattern, or a share of them. Random subsets and pairs take the whole share. */
static void make_patterns(struct moment *moment, uint64_t share)
{
	for (enum pattern pattern = 0; pattern < PATTERNS; pattern++) {
		bool bounded = pattern < PATTERN_PAIR || pattern == PATTERN_TORN;
		uint64_t count = bounded ? u64_min(share, moment->groups) : share;

		for (uint64_t i = 0; i < count; i++)
			make_pattern(moment, pattern, count < moment->groups ? rng_next(&moment->images->rng) : i);
	}
}

/* Makes one more image, of any units or else of all, and cuts it at every call of its recovery. */
static void cut_twice(struct moment *moment)
{
	struct images *images = moment->images;
	bool opened = false;

	for (int all = 0; all < 2 && !opened; all++) {
		for (size_t i = 0; i < moment->groups; i++)
			moment->fate[i] = all || rng_below(&images->rng, 2) ? SIM_KEPT : SIM_LOST;
		image_make(moment);
		opened = cut_recovery(images, sim_disk_crash(moment->disk, fate_of, moment));
	}
	must(opened || !images->rig->created);
	images->counts.twice += opened;
	images->counts.unborn += !opened;
}

static void make_moment(struct images *images, struct sim_disk *disk)
{
	static struct moment moment;
	struct moment *at = images->inner ? malloc(sizeof(*at)) : &moment;

	must(at != NULL);
	at->images = images;
	at->disk = disk;
	at->count = sim_disk_units(disk, note_unit, at);
	images->counts.moments++;
	prove_kill(images, disk);
	for (int blocks = 0; blocks < 2; blocks++) {
		size_t fine = blocks ? at->groups : 0;

		group_units(at, blocks);
		if (at->groups == fine)
			continue; /* the same groups again */
		fates_set(at, SIM_LOST);
		image_make(at);
		fates_set(at, SIM_KEPT);
		image_make(at);
		if (at->groups <= images->subsets_units) {
			images->counts.whole += blocks == 0;
			make_subsets(at);
			for (size_t i = 0; i < at->groups; i++)
				make_pattern(at, PATTERN_TORN, i);
		} else {
			make_patterns(at, images->quota / (PATTERNS * (1 + (unsigned)blocks)));
		}
	}
	if (images->everywhere)
		cut_twice(at);
	if (at != &moment)
		free(at);
}

static void cut_here(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct images *images = context;
	struct sim_world world;

	if (images->busy || call == SIM_READ || call == SIM_INFO || call == SIM_MAP || call == SIM_OPEN ||
	    call == SIM_LOCK || call == SIM_WRITE_OUT || call == SIM_CLOSE)
		return; /* nothing can have changed since the call before */
	images->busy = true;
	world = sim_world_get();
	make_moment(images, disk);
	sim_world_set(world);
	images->busy = false;
}

void images_start(struct images *images, struct rig *rig, uint64_t seed)
{
	images->rig = rig;
	images->rng.state = rng_mix(seed);
	sim_disk_set_hook(rig->disk, cut_here, images);
}

void images_release(struct images *images)
{
	free(images->bytes.slots);
	free(images->proven.slots);
	*images = (struct images){ 0 };
}
