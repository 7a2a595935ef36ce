/* SPDX-License-Identifier: MIT */
/*
 * Slabs and metadata pages that somebody has changed and sealed again, so that every checksum is good and the chain of the
 * log is whole: the answers may be any, but opening, reading, recovering and closing must end, without a crash, within a
 * few seconds, with no allocation above 64 MiB. SOLIFUGE_TEST_ROUNDS: how many.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "codec.h"
#include "crash_scene.h"
#include "fault_memory.h"
#include "forge.h"
#include "meta.h"
#include "proof.h"
#include "seal.h"
#include "slab.h"

#define SLABS_MAX 64
#define READ_BYTES (2 * MIB)
#define ALLOCATION_MAX (64 * MIB)

struct forger {
	struct rig rig;
	struct sim_disk *disk;
	uint8_t *log; /* the first READ_BYTES of the file, changed */
	struct meta meta[2];
	struct slab_header slabs[SLABS_MAX];
	uint64_t places[SLABS_MAX];
	size_t count;
	struct rng rng;
};

static char present[160];

static void on_signal(int number)
{
	(void)!write(STDERR_FILENO, present, strlen(present));
	signal(number, SIG_DFL);
	raise(number);
}

/* The pages, and the slabs in the order of the log. */
static void forger_read(struct forger *forger)
{
	const char *reason = NULL;
	uint64_t seed = 0;

	must_work(sim_disk_peek_durable(forger->disk, rig_path(0), 0, forger->log, READ_BYTES));
	for (uint16_t slot = 0; slot < 2; slot++)
		must(meta_decode(forger->log + (slot ? META_PAGE_B : META_PAGE_A), slot, &forger->meta[slot], &reason) ==
		     META_GOOD);
	seed = format_seed(forger->meta[0].uuid);
	forger->count = 0;
	for (uint64_t at = 0; at < READ_BYTES && forger->count < SLABS_MAX; at += SIM_SECTOR_BYTES) {
		struct slab_header *header = &forger->slabs[forger->count];

		if (slab_header_decode(forger->log + at, READ_BYTES - at, header) == NULL &&
		    slab_check(forger->log + at, header, seed, at) == NULL)
			forger->places[forger->count++] = at;
	}
	must(forger->count > 3);
}

static void forge_slab(struct forger *forger)
{
	static const unsigned counts[] = { 88, 92 }; /* of parts, of records */
	size_t i = rng_below(&forger->rng, forger->count);
	uint8_t *slab = forger->log + forger->places[i];

	if (rng_below(&forger->rng, 5) == 0) {
		forge_slab_field(&forger->rng, slab);
	} else if (rng_below(&forger->rng, 10) == 0) {
		uint8_t *field = slab + counts[rng_below(&forger->rng, ARRAY_SIZE(counts))];

		put_u32(field, (uint32_t)forge_number(&forger->rng, get_u32(field)) % (SLAB_PARTS_MAX + 1));
	} else if (forger->slabs[i].payload) {
		forge_bytes(&forger->rng, slab + SLAB_HEADER_BYTES, forger->slabs[i].payload);
	}
}

static void forge_page(struct forger *forger)
{
	struct meta *meta = &forger->meta[rng_below(&forger->rng, 2)];

	forge_bytes(&forger->rng, (uint8_t *)meta, sizeof(*meta));
	meta->slot = meta == &forger->meta[1];
	meta->spindle_count = (uint16_t)(1 + (meta->spindle_count - 1u) % SPINDLES_MAX); /* all else cannot be encoded */
	meta->spindle_index %= meta->spindle_count;
}

static uint8_t *forger_find(void *context, uint64_t position, uint64_t length)
{
	struct forger *forger = context;

	return position <= READ_BYTES && length <= READ_BYTES - position ? forger->log + position : NULL;
}

static void write_back(struct forger *forger, struct sim_disk *disk)
{
	for (unsigned slot = 0; slot < 2; slot++)
		meta_encode(forger->log + (slot ? META_PAGE_B : META_PAGE_A), &forger->meta[slot]);
	seal_database(forger_find, forger, forger->places, forger->count);
	for (unsigned slot = 0; slot < 2; slot++)
		must_work(sim_disk_poke(disk, rig_path(0), slot ? META_PAGE_B : META_PAGE_A,
					forger->log + (slot ? META_PAGE_B : META_PAGE_A), META_PAGE_BYTES));
	for (size_t i = 0; i < forger->count; i++)
		must_work(sim_disk_poke(disk, rig_path(0), forger->places[i], forger->log + forger->places[i],
					forger->slabs[i].length));
}

/* Opens and reads; a writer also writes and closes. Whether it opened. */
static bool use(struct forger *forger, struct sim_disk *disk, unsigned flags)
{
	struct slf_db *db = NULL;
	struct slf_txn *txn = NULL;
	char wrong[200];

	if (rig_open_on(&forger->rig, disk, flags, &db))
		return false;
	(void)rig_inspect(&forger->rig, db, forger->rig.newest, wrong);
	if (!(flags & SLF_READONLY) && slf_begin(db, SLF_WRITE, &txn) == 0) {
		(void)slf_put(txn, SLF_MAIN, text("more"), text("of it"));
		(void)slf_commit(txn, NULL);
		(void)slf_checkpoint(db);
	}
	(void)slf_close(db);
	return true;
}

static void forger_init(struct forger *forger, uint64_t seed, bool clean)
{
	*forger = (struct forger){ .rng = { rng_mix(seed) }, .log = malloc(READ_BYTES) };
	must(forger->log != NULL);
	scene_init(&forger->rig, &scenes[0], seed);
	must_work(rig_open(&forger->rig));
	for (const char *letter = "CmkcLccdc"; *letter; letter++)
		must_work(scene_step(&forger->rig, *letter));
	if (clean)
		must_work(rig_close(&forger->rig));
	else
		rig_abandon(forger->rig.db);
	forger->rig.db = NULL;
	forger->disk = sim_disk_crash(forger->rig.disk, NULL, NULL);
}

/* A length, count or position in a record is believed since its checksum is good. */
Test(forgery, slabs_and_pages)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM };
	uint64_t seed = test_seed("forgery"), rounds = test_rounds(10000), opened = 0, largest = 0;
	struct forger forger;

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], on_signal);
	for (uint64_t round = 0; round < rounds; round++) {
		struct sim_disk *disk = NULL;

		if (round % 1000 == 0)
			forger_init(&forger, seed + round, round / 1000 % 2);
		snprintf(present, sizeof(present), "forgery: seed %llu, round %llu\n", (unsigned long long)seed,
			 (unsigned long long)round);
		forger_read(&forger);
		for (uint64_t changes = 1 + rng_below(&forger.rng, 3); changes; changes--)
			rng_below(&forger.rng, 4) ? forge_slab(&forger) : forge_page(&forger);
		disk = sim_disk_crash(forger.disk, NULL, NULL);
		write_back(&forger, disk);
		(void)fault_memory_largest();
		alarm(round % 50 == 0 ? 20 : 10);
		opened += use(&forger, disk, SLF_READONLY | (round % 2 ? SLF_NO_MAP : 0));
		opened += use(&forger, disk, round % 4 < 2 ? SLF_NO_MAP : 0);
		alarm(0);
		largest = u64_max(largest, fault_memory_largest());
		must(largest <= ALLOCATION_MAX);
		sim_disk_free(disk);
		if (round % 1000 == 999 || round + 1 == rounds) {
			free(forger.log);
			sim_disk_free(forger.disk);
			rig_release(&forger.rig);
		}
	}
	proof_count("C forged slabs and pages, sealed again: cases", rounds);
	proof_count("C forged slabs and pages, sealed again: opened all the same", opened);
}
