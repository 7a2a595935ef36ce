/* SPDX-License-Identifier: MIT */
/*
 * Damage of every kind at every place of small databases. What comes of it has to be DETECTED, by an error or the log
 * callback, or HARMLESS: all answers right. Never a wrong answer, a crash, a second of work, an allocation above 64 MiB.
 *
 * An older state is a right answer in two cases, which are counted apart. What else is told does not matter, and no commit may
 * be missing in it whose slab stands before the first damaged one.
 *  - The end of the log of a database that was not closed is damaged, behind the last evidence that it had been durable: that
 *    cannot be told from a write that a power cut has torn. Where one sector is damaged it is the last slab, with at most two
 *    commits here: every other slab is known to have been durable by its successor. Where two sectors are damaged it is the
 *    last two slabs, with at most three commits; where the file is cut, the slabs behind the cut.
 *  - The log is known to be damaged: who only reads is told so, by slf_info too, and gets what stands before the damage. No
 *    writer opens it.
 *
 * SOLIFUGE_TEST_MATRIX=1: every bit, every pair, more lengths. SOLIFUGE_TEST_STRIDE=n: only one place of n of those.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "crash_scene.h"
#include "fault_memory.h"
#include "proof.h"

#define SECTOR SIM_SECTOR_BYTES
#define BLOCK 4096u
#define ALLOCATION_MAX (64 * MIB)
#define SECONDS_MAX 1.0
#define VICTIMS 4
#define TAIL_OF_ONE_SECTOR 2 /* commits */
#define TAIL_OF_TWO_SECTORS 3
#define VERSIONS_MIN 200 /* that a victim's sectors had before, all together */

struct victim {
	const char *name, *script;
	unsigned spindles;
	bool clean;      /* closed, else killed */
	unsigned stride; /* the standard: one place of so many */
	unsigned rounds; /* of the script, for sectors that have a past */
	uint64_t bytes;  /* that at least stand in blocks which are not all zeros: other histories are not taken */
};

static const struct victim victims[VICTIMS] = {
	{ "closed", "Cmkdcc", 1, true, 1, 20, 64 * KIB },
	{ "killed", "Cmkcccac", 1, false, 1, 20, 64 * KIB },
	{ "killed without a checkpoint", "cmcc", 1, false, 1, 30, 20 * KIB },
	{ "three spindles, closed", "CLkmLc", 3, true, 5, 5, 0 },
};

/* What a file was at some moment. */
struct copy {
	uint8_t *data;
	uint64_t size;
};

/* Where the log ended, and the extent that it ended in. */
struct log_end {
	uint64_t position, extent, extent_end;
};

/* What a sector was before it changed. */
struct old_sector {
	uint64_t offset;
	uint8_t data[SECTOR];
};

struct damage_counts {
	uint64_t cases, detected, harmless, tail, before;
	uint64_t versions; /* that sectors had before, and have no longer */
	uint64_t older;    /* of the cases: something else than zeros came back */
	uint64_t allocation_bytes_max;
	double seconds_max;
};

struct patient {
	const struct victim *victim;
	struct rig rig;
	struct sim_disk *disk; /* as it was left */
	unsigned spindle;      /* that is damaged */
	struct copy now;
	struct copy before;     /* when the history last called the disk */
	struct old_sector *old; /* in the order of the history */
	size_t old_count, old_room;
	struct log_end ends[RIG_COMMITS_MAX]; /* when a commit was acknowledged; the first: the log's start */
	size_t acked;                         /* the last commit with such an end */
	size_t kept;                          /* the last commit that no damage may take */
	size_t tail_max;                      /* commits that may be lost at the end of an unclosed log */
	struct rng rng;
	struct damage_counts counts;
};

static char present[200]; /* the case, for who dies in it */
static bool told;         /* the log callback was called with an error or warning */

static double seconds_now(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC); /* the clock of the simulated world stands still */
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void on_signal(int number)
{
	size_t length = strlen(present);

	(void)!write(STDERR_FILENO, present, length);
	(void)!write(STDERR_FILENO, "\n", 1);
	signal(number, SIG_DFL);
	raise(number);
}

static void hear(void *context, int level, const char *text)
{
	(void)context;
	(void)text;
	told |= level <= 4;
}

/* ---- Patients ---------------------------------------------------------------------------------------------------- */

static struct copy copy_take(struct sim_disk *disk, unsigned spindle)
{
	static struct stats unused;
	struct io_file *file = NULL;
	struct io_info info = { 0 };
	struct copy copy = { 0 };
	struct io *io = NULL;

	sim_disk_io(disk, &unused, &io);
	if (io_open(io, rig_path(spindle), 0, &file) == 0) {
		must_work(io_info(file, &info));
		copy.size = info.size;
		copy.data = calloc(1, align_up(info.size, BLOCK) + BLOCK);
		must(copy.data != NULL);
		must_work(io_read(file, 0, 0, copy.data, info.size));
		must_work(io_close(file));
	}
	io_free(io);
	return copy;
}

/* Keeps the sectors that are not the same any more. */
static void keep_changes(struct patient *patient, const struct copy *before, const struct copy *after)
{
	uint64_t size = u64_min(before->size, after->size);

	for (uint64_t offset = 0; offset + SECTOR <= size; offset += SECTOR) {
		struct old_sector *old = NULL;

		if (memcmp(before->data + offset, after->data + offset, SECTOR) == 0)
			continue;
		if (patient->old_count == patient->old_room) {
			patient->old_room = patient->old_room ? 2 * patient->old_room : 256;
			patient->old = realloc(patient->old, patient->old_room * sizeof(*patient->old));
			must(patient->old != NULL);
		}
		old = &patient->old[patient->old_count++];
		old->offset = offset;
		memcpy(old->data, before->data + offset, SECTOR);
	}
}

/* The hook comes before the call: so each state is seen between two writes, whether flushed by a call or with a write. */
static void keep_old(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct patient *patient = context;
	struct copy now = { 0 };

	if (call != SIM_WRITE && call != SIM_SYNC)
		return;
	sim_disk_set_hook(disk, NULL, NULL);
	now = copy_take(disk, patient->spindle);
	sim_disk_set_hook(disk, keep_old, patient);
	keep_changes(patient, &patient->before, &now);
	free(patient->before.data);
	patient->before = now;
}

/* The slabs of commits that have been acknowledged meanwhile stand before the present end of the log. */
static void note_ends(struct patient *patient)
{
	const struct core *core = &patient->rig.db->core;
	struct log_end end = { core->commit.settled_place.position, core->log.extent, core->log.extent_end };

	if (patient->rig.acked == 0) /* the slab of the opening stands before all commits */
		patient->ends[0] = (struct log_end){ end.extent, end.extent, end.extent_end };
	while (patient->acked < patient->rig.acked)
		patient->ends[++patient->acked] = end;
}

/* In blocks that are not all zeros. */
static uint64_t bytes_used(const struct copy *copy)
{
	uint64_t bytes = 0;

	for (uint64_t offset = 0; offset + BLOCK <= copy->size; offset += BLOCK)
		bytes += all_zero(copy->data + offset, BLOCK) ? 0 : BLOCK;
	return bytes;
}

/* rounds: how often the script runs. */
static void patient_init(struct patient *patient, const struct victim *victim, unsigned spindle, unsigned rounds,
			 uint64_t seed)
{
	struct scene scene = { victim->name, victim->script, victim->spindles, SLF_SYNC_COMMIT, 0, false };
	struct rig *rig = &patient->rig;

	*patient = (struct patient){ .victim = victim, .spindle = spindle, .rng = { seed } };
	scene_init(rig, &scene, seed);
	sim_disk_set_hook(rig->disk, keep_old, patient);
	must_work(rig_open(rig));
	note_ends(patient);
	for (unsigned round = 0; round < rounds; round++) {
		for (const char *letter = victim->script; *letter; letter++) {
			must_work(scene_step(rig, *letter));
			note_ends(patient);
		}
	}
	must_work(slf_sync(rig->db, NULL));
	rig->acked = rig->newest;
	note_ends(patient);
	if (victim->clean)
		must_work(rig_close(rig));
	else
		rig_abandon(rig->db);
	rig->db = NULL;
	sim_disk_set_hook(rig->disk, NULL, NULL);
	patient->disk = sim_disk_crash(rig->disk, NULL, NULL);
	patient->now = copy_take(patient->disk, spindle);
	keep_changes(patient, &patient->before, &patient->now);
}

static void patient_release(struct patient *patient)
{
	free(patient->old);
	free(patient->before.data);
	free(patient->now.data);
	sim_disk_free(patient->disk);
	rig_release(&patient->rig);
}

/* ---- One case ---------------------------------------------------------------------------------------------------- */

enum outcome {
	HARMLESS,
	DETECTED,
	REFUSED, /* as damaged, by slf_open */
	TAIL,    /* the end of an unclosed log was cut */
	BEFORE,  /* told to be what stands before the damage in the log */
};

/* The database shows an older state: which one, and is it allowed? */
static enum outcome judge_older(struct patient *patient, struct slf_db *db, unsigned flags, char *wrong)
{
	struct slf_info info = { .size = sizeof(info) };
	size_t newest = patient->rig.newest;
	struct slf_txn *txn = NULL;
	uint64_t seq = 0;

	must_work(slf_info(db, &info));
	if (slf_begin(db, SLF_READ, &txn))
		return DETECTED;
	seq = slf_txn_seq(txn);
	slf_abort(txn);
	for (size_t i = newest; i-- > patient->kept;) {
		char other[200] = "";

		if (patient->rig.states[i].seq != seq || rig_inspect(&patient->rig, db, i, other) == RIG_WRONG)
			continue;
		if (told && info.damaged && flags & SLF_READONLY)
			return BEFORE;
		if (!patient->victim->clean && i + patient->tail_max >= newest)
			return TAIL;
	}
	fprintf(stderr, "%s: seq %llu, commits %zu to %zu may be lost: %s\n", present, (unsigned long long)seq,
		patient->kept + 1, newest, wrong);
	must(!"a wrong answer");
	return DETECTED;
}

static enum outcome look(struct patient *patient, struct sim_disk *disk, unsigned flags)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	enum outcome outcome = DETECTED;
	struct slf_db *db = NULL;
	struct io *io = NULL;
	char wrong[200] = "";
	int result = 0;

	told = false;
	options.flags = flags | SLF_NO_THREADS;
	options.heap_bytes = 64 * 1024;
	options.log_bytes = 64 * 1024;
	options.log = hear;
	sim_disk_io(disk, &unused, &io);
	result = db_open_io(rig_path(0), &options, io, &db);
	if (result)
		return result == SLF_ECORRUPT ? REFUSED : DETECTED;
	switch (rig_inspect(&patient->rig, db, patient->rig.newest, wrong)) {
	case RIG_RIGHT: outcome = told ? DETECTED : HARMLESS; break;
	case RIG_REFUSED: break;
	case RIG_WRONG: outcome = judge_older(patient, db, flags, wrong);
	}
	if (!(flags & SLF_READONLY) && rng_below(&patient->rng, 8) == 0) {
		struct slf_txn *txn = NULL;

		if (slf_begin(db, SLF_WRITE, &txn) == 0) {
			(void)slf_put(txn, SLF_MAIN, text("more"), text("of it"));
			(void)slf_commit(txn, NULL);
		}
		(void)slf_checkpoint(db);
		(void)slf_close(db);
	} else {
		rig_abandon(db);
	}
	return outcome;
}

/* A damaged disk is read, recovered and read. patient->kept says what has to be there. */
static void examine(struct patient *patient, struct sim_disk *disk)
{
	struct damage_counts *counts = &patient->counts;
	double start = seconds_now(), elapsed = 0;
	uint64_t largest = 0;
	enum outcome read, written;

	(void)fault_memory_largest();
	alarm(10);
	read = look(patient, disk, SLF_READONLY | (counts->cases & 1 ? SLF_NO_MAP : 0));
	written = look(patient, disk, counts->cases & 2 ? SLF_NO_MAP : 0);
	alarm(0);
	elapsed = seconds_now() - start;
	largest = fault_memory_largest();
	must(elapsed < SECONDS_MAX);
	must(largest <= ALLOCATION_MAX);
	must(read != BEFORE || written == REFUSED);
	counts->cases++;
	if (read == TAIL || written == TAIL)
		counts->tail++;
	else if (read == BEFORE)
		counts->before++;
	else if (read != HARMLESS || written != HARMLESS)
		counts->detected++;
	else
		counts->harmless++;
	counts->allocation_bytes_max = u64_max(counts->allocation_bytes_max, largest);
	counts->seconds_max = elapsed > counts->seconds_max ? elapsed : counts->seconds_max;
}

/* Does what was written to the log for the commit, with what others wrote before it, hold this place? */
static bool stands_at(const struct patient *patient, size_t commit, uint64_t position)
{
	const struct log_end *before = &patient->ends[commit - 1], *behind = &patient->ends[commit];

	if (before->extent == behind->extent)
		return position >= before->position && position < behind->position;
	return (position >= before->position && position < before->extent_end) ||
	       (position >= behind->extent && position < behind->position);
}

/* The last commit that does not need what stands in the log at this place: all of them when no log does. */
static size_t kept_without(const struct patient *patient, uint64_t offset)
{
	uint64_t position = position_make(patient->spindle, offset);
	size_t commit = patient->rig.newest;

	while (commit > 0 && !stands_at(patient, commit, position))
		commit--;
	return commit > 0 ? commit - 1 : patient->rig.newest;
}

/* Within one sector. */
static void examine_with(struct patient *patient, uint64_t offset, const void *data, uint64_t length)
{
	struct sim_disk *disk = sim_disk_crash(patient->disk, NULL, NULL);

	patient->kept = kept_without(patient, offset);
	must_work(sim_disk_poke(disk, rig_path(patient->spindle), offset, data, length));
	examine(patient, disk);
	sim_disk_free(disk);
}

/* ---- All cases of a kind ----------------------------------------------------------------------------------------- */

static bool matrix(void)
{
	const char *wish = getenv("SOLIFUGE_TEST_MATRIX");

	return wish && strcmp(wish, "1") == 0;
}

/* One place of how many? */
static bool skipped(struct patient *patient)
{
	const char *wish = getenv("SOLIFUGE_TEST_STRIDE");

	unsigned long stride = wish ? strtoul(wish, NULL, 10) : 1;

	stride *= matrix() ? 1 : patient->victim->stride;
	return stride > 1 && rng_below(&patient->rng, stride) != 0;
}

static void note(const struct patient *patient, const char *kind, uint64_t place, uint64_t number)
{
	snprintf(present, sizeof(present), "damage %s, spindle %u: %s, place %llu, %llu", patient->victim->name,
		 patient->spindle, kind, (unsigned long long)place, (unsigned long long)number);
}

/* Every byte of a block that is not all zeros; of the others one, and with the matrix one in a sector. */
static void flip_bits(struct patient *patient)
{
	for (uint64_t offset = 0; offset < patient->now.size; offset++) {
		bool zero = all_zero(patient->now.data + align_down(offset, BLOCK), BLOCK);

		if ((zero && offset % (matrix() ? SECTOR : BLOCK)) || skipped(patient))
			continue;
		for (unsigned bit = 0; bit < 8; bit++) {
			uint8_t byte = (uint8_t)(patient->now.data[offset] ^ 1u << bit);

			if (!matrix() && bit != rng_mix(offset ^ patient->rng.state) % 8)
				continue;
			note(patient, "flipped bit", offset, bit);
			examine_with(patient, offset, &byte, 1);
		}
	}
}

/* Every length, but where the file holds zeros, or nothing: there lengths differ only by what they are compared with, and no
 * length or place in the format is finer than a sector. With the matrix each sector, and a byte less and more; else each
 * eighth. */
static bool length_matters(const struct patient *patient, uint64_t length)
{
	uint64_t in_sector = length % SECTOR;

	if (length == patient->now.size)
		return false;
	if (length % BLOCK == 0 || (matrix() && (in_sector <= 1 || in_sector == SECTOR - 1)))
		return true;
	return length < patient->now.size && !all_zero(patient->now.data + align_down(length, BLOCK), BLOCK);
}

/* The commits whose slabs do not end before length. */
static size_t commits_behind(const struct patient *patient, uint64_t length)
{
	size_t newest = patient->rig.newest, count = 0;

	while (count < newest && patient->ends[newest - count].position > position_make(patient->spindle, length))
		count++;
	return count;
}

static uint64_t changes_of(struct sim_disk *disk)
{
	return sim_disk_calls(disk, SIM_WRITE) + sim_disk_calls(disk, SIM_ALLOCATE) + sim_disk_calls(disk, SIM_PUNCH) +
	       sim_disk_calls(disk, SIM_TRUNCATE);
}

/* The lengths that end in a block, on one disk that gets shorter and shorter for as long as nobody changes it: a new one for
 * each would cost more than all the rest. One write is no change: a writer says in the side file who he is. */
static void truncate_block(struct patient *patient, uint64_t block)
{
	struct sim_disk *disk = NULL;

	for (uint64_t length = block + BLOCK; length-- > block;) {
		uint64_t changes = 0;

		if (!length_matters(patient, length) || skipped(patient))
			continue;
		note(patient, "length", length, 0);
		if (!disk)
			disk = sim_disk_crash(patient->disk, NULL, NULL);
		must_work(sim_disk_resize(disk, rig_path(patient->spindle), length));
		patient->tail_max = commits_behind(patient, length);
		patient->kept = patient->rig.newest - patient->tail_max;
		changes = changes_of(disk);
		examine(patient, disk);
		if (changes_of(disk) > changes + 1) {
			sim_disk_free(disk);
			disk = NULL;
		}
	}
	sim_disk_free(disk);
}

static void truncate_all(struct patient *patient)
{
	for (uint64_t block = 0; block < align_up(patient->now.size, BLOCK) + 2 * BLOCK; block += BLOCK)
		truncate_block(patient, block);
}

static void spoil_sectors(struct patient *patient)
{
	static const uint8_t zeros[SECTOR];
	uint8_t garbage[SECTOR];

	for (uint64_t offset = 0; offset + SECTOR <= patient->now.size; offset += SECTOR) {
		uint64_t seed = offset ^ patient->rng.state;

		if (skipped(patient))
			continue;
		bytes_fill(garbage, sizeof(garbage), seed, false);
		note(patient, "garbage", offset, 0);
		examine_with(patient, offset, garbage, SECTOR);
		if (all_zero(patient->now.data + offset, SECTOR))
			continue;
		note(patient, "zeroed sector", offset, 0);
		examine_with(patient, offset, zeros, SECTOR);
	}
}

static void swap_pair(struct patient *patient, uint64_t a, uint64_t b)
{
	struct sim_disk *disk = sim_disk_crash(patient->disk, NULL, NULL);
	const char *path = rig_path(patient->spindle);

	note(patient, "swapped sectors", a, b);
	must_work(sim_disk_poke(disk, path, a, patient->now.data + b, SECTOR));
	must_work(sim_disk_poke(disk, path, b, patient->now.data + a, SECTOR));
	patient->kept = u64_min(kept_without(patient, a), kept_without(patient, b));
	examine(patient, disk);
	sim_disk_free(disk);
}

/* Sectors that differ; the standard is eight partners for each. */
static void swap_sectors(struct patient *patient)
{
	uint64_t *places = calloc(patient->now.size / SECTOR + 1, sizeof(*places));
	size_t count = 0;

	must(places != NULL);
	for (uint64_t offset = 0; offset + SECTOR <= patient->now.size; offset += SECTOR)
		if (!all_zero(patient->now.data + offset, SECTOR))
			places[count++] = offset;
	for (size_t a = 0; a < count; a++) {
		size_t partners = matrix() ? a : 8;

		for (size_t i = 0; i < partners; i++) {
			size_t b = matrix() ? i : rng_below(&patient->rng, count);

			if (!skipped(patient) &&
			    memcmp(patient->now.data + places[a], patient->now.data + places[b], SECTOR))
				swap_pair(patient, places[a], places[b]);
		}
	}
	free(places);
}

/* Each sector as it was at each moment before, where it was another one. */
static void revert_sectors(struct patient *patient)
{
	for (size_t i = 0; i < patient->old_count; i++) {
		const struct old_sector *old = &patient->old[i];

		if (old->offset + SECTOR > patient->now.size ||
		    memcmp(old->data, patient->now.data + old->offset, SECTOR) == 0)
			continue;
		patient->counts.versions++;
		if (skipped(patient))
			continue;
		note(patient, "reverted sector", old->offset, i);
		examine_with(patient, old->offset, old->data, SECTOR);
		patient->counts.older += !all_zero(old->data, SECTOR);
	}
}

/* ---- The tests --------------------------------------------------------------------------------------------------- */

static void tell(const char *kind, const struct damage_counts *counts)
{
	static const char *const names[] = { "cases", "detected", "harmless", "end of an unclosed log cut",
					     "log read up to its damage" };
	const uint64_t values[] = { counts->cases, counts->detected, counts->harmless, counts->tail, counts->before };
	char text[128];

	must(counts->cases == counts->detected + counts->harmless + counts->tail + counts->before);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(text, sizeof(text), "C %s: %s", kind, names[i]);
		proof_count(text, values[i]);
	}
	fprintf(stderr, "%s: at most %.3f s and %llu bytes in one allocation\n", kind, counts->seconds_max,
		(unsigned long long)counts->allocation_bytes_max);
}

static void prepare(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], on_signal);
}

typedef void damage_fn(struct patient *patient);

static void counts_add(struct damage_counts *to, const struct damage_counts *from)
{
	to->cases += from->cases;
	to->detected += from->detected;
	to->harmless += from->harmless;
	to->tail += from->tail;
	to->before += from->before;
	to->versions += from->versions;
	to->older += from->older;
	to->allocation_bytes_max = u64_max(to->allocation_bytes_max, from->allocation_bytes_max);
	to->seconds_max = from->seconds_max > to->seconds_max ? from->seconds_max : to->seconds_max;
}

/* All spindles of a victim, one after the other. tail_max: see struct patient. */
static struct damage_counts damage_victim(const char *kind, const struct victim *victim, damage_fn *damage,
					  size_t tail_max, unsigned rounds)
{
	struct damage_counts counts = { 0 };
	uint64_t seed = test_seed(kind);

	prepare();
	for (unsigned spindle = 0; spindle < victim->spindles; spindle++) {
		static struct patient patient; /* large */

		patient_init(&patient, victim, spindle, rounds, rng_mix(seed));
		for (uint64_t next = rng_mix(seed); bytes_used(&patient.now) < victim->bytes;) {
			patient_release(&patient);
			next = rng_mix(next);
			patient_init(&patient, victim, spindle, rounds, next);
		}
		patient.tail_max = tail_max;
		damage(&patient);
		counts_add(&counts, &patient.counts);
		patient_release(&patient);
	}
	tell(kind, &counts);
	return counts;
}

/* Each victim is a case of its own, so that several processors can share them. */
static const size_t numbers[VICTIMS] = { 0, 1, 2, 3 };

ParameterizedTestParameters(damage, flipped_bits)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, VICTIMS);
}

/* A bit that has turned is believed. */
ParameterizedTest(const size_t *number, damage, flipped_bits)
{
	damage_victim("flipped bit", &victims[*number], flip_bits, TAIL_OF_ONE_SECTOR, 1);
}

ParameterizedTestParameters(damage, lengths)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, VICTIMS);
}

/* A file that was cut, or has grown, is believed, or read beyond its end. */
ParameterizedTest(const size_t *number, damage, lengths)
{
	damage_victim("truncated or extended", &victims[*number], truncate_all, 0, 1);
}

ParameterizedTestParameters(damage, sectors)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, VICTIMS);
}

/* A sector that was lost is believed. */
ParameterizedTest(const size_t *number, damage, sectors)
{
	damage_victim("zeroed or garbage sector", &victims[*number], spoil_sectors, TAIL_OF_ONE_SECTOR, 1);
}

ParameterizedTestParameters(damage, swapped_sectors)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, VICTIMS);
}

/* A sector that went to another's place is believed. */
ParameterizedTest(const size_t *number, damage, swapped_sectors)
{
	damage_victim("swapped sectors", &victims[*number], swap_sectors, TAIL_OF_TWO_SECTORS, 1);
}

ParameterizedTestParameters(damage, reverted_sectors)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, VICTIMS);
}

/* A write that was lost long ago: the sector is a good one, of an older time, or was never written. The history is a long one,
 * or hardly a sector would have a past. */
ParameterizedTest(const size_t *number, damage, reverted_sectors)
{
	const struct victim *victim = &victims[*number];
	struct damage_counts counts =
		damage_victim("reverted sector", victim, revert_sectors, TAIL_OF_ONE_SECTOR, victim->rounds);

	proof_count("C reverted sector: to something else than zeros", counts.older);
	cr_assert_geq(counts.versions, VERSIONS_MIN);
}
