/* SPDX-License-Identifier: MIT */
/* Reader slots: each is one snapshot's, there is always one more, and whoever reclaims sees what stands in all of them. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "reader.h"
#include "scratch.h"

#define MANY 3000
#define THREADS 8

static struct readers readers;

static void set_up(void)
{
	must_work(readers_init(&readers));
}

static void tear_down(void)
{
	readers_release(&readers);
}

TestSuite(reader, .init = set_up, .fini = tear_down, .timeout = 60);

struct census {
	unsigned slots, busy;
	uint64_t indexes; /* their sum */
};

static void count_slot(void *context, struct reader *reader)
{
	struct census *census = context;

	census->slots++;
	census->busy += atomic_load(&reader->epoch) != READER_IDLE;
	census->indexes += reader->index;
}

static struct census take_census(void)
{
	struct census census = { 0 };

	readers_each(&readers, count_slot, &census);
	return census;
}

/* Two snapshots would share a slot, or the number of snapshots would have a limit. */
Test(reader, every_claim_has_its_own)
{
	static struct reader *claimed[MANY];
	struct census census;

	for (unsigned i = 0; i < MANY; i++) {
		claimed[i] = reader_claim(&readers);
		must(claimed[i] && !atomic_load(&claimed[i]->context));
		atomic_store(&claimed[i]->context, &claimed[i]); /* who finds it set got a slot twice */
		reader_exact(claimed[i], i + 1);
	}
	census = take_census();
	cr_assert_eq(census.busy, MANY);
	cr_assert_geq(census.slots, MANY);
	cr_assert_lt(census.slots, 4 * MANY);
	cr_assert_eq(census.indexes, (uint64_t)census.slots * (census.slots - 1) / 2);
	for (unsigned i = 0; i < MANY; i++) {
		must(atomic_load(&claimed[i]->epoch) == (uint64_t)(i + 1) << 1);
		reader_idle(claimed[i]);
		must(reader_free(claimed[i]));
	}
	cr_assert_eq(take_census().busy, 0);
}

/* A slot that was given back would be lost, or the thread not get the one whose transaction it has used before. */
Test(reader, freed_slots_are_used_again)
{
	struct reader *first = reader_claim(&readers), *second = reader_claim(&readers);
	unsigned slots = take_census().slots;

	must(first != second);
	must(reader_free(second));
	for (unsigned i = 0; i < 100; i++) {
		struct reader *again = reader_claim(&readers);

		must(again == second);
		must(reader_free(again));
	}
	cr_assert_eq(take_census().slots, slots);
	must(reader_free(first));
}

/* A snapshot that outlives its database would give its slot to another, or be told twice. */
Test(reader, orphans)
{
	struct reader *reader = reader_claim(&readers);

	atomic_store(&reader->state, READER_ORPHAN);
	must(!reader_is_free(reader));
	must(!reader_free(reader));
	must(reader_is_free(reader) && atomic_load(&reader->state) != READER_FREE);
	must(reader_claim(&readers) != reader);
}

/* A floor would be taken for an exact epoch. */
Test(reader, words)
{
	struct reader *reader = reader_claim(&readers);

	reader_floor(reader, 0);
	cr_assert_neq(atomic_load(&reader->epoch), READER_IDLE);
	reader_floor(reader, 7);
	cr_assert_eq(atomic_load(&reader->epoch), 15);
	reader_exact(reader, 7);
	cr_assert_eq(atomic_load(&reader->epoch), 14);
	reader_idle(reader);
	cr_assert_eq(atomic_load(&reader->epoch), READER_IDLE);
	must(reader_free(reader));
}

static void *claim_and_free(void *context)
{
	_Atomic bool *failed = context;

	for (unsigned i = 0; i < 2000; i++) {
		struct reader *own[40];

		for (unsigned j = 0; j < 1 + i % 40; j++) {
			own[j] = reader_claim(&readers);
			if (atomic_exchange(&own[j]->context, own))
				atomic_store(failed, true);
		}
		for (unsigned j = 0; j < 1 + i % 40; j++) {
			atomic_store(&own[j]->context, NULL);
			reader_free(own[j]);
		}
	}
	return NULL;
}

/* Threads that come at the same time would get the same slot, or make the same block of slots twice. */
Test(reader, threads)
{
	_Atomic bool failed = false;
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		must(pthread_create(&threads[i], NULL, claim_and_free, &failed) == 0);
	for (unsigned i = 0; i < THREADS; i++)
		must(pthread_join(threads[i], NULL) == 0);
	must(!failed);
	cr_assert_leq(take_census().slots, 1024 - 32);
}
