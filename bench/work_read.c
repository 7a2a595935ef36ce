/* SPDX-License-Identifier: MIT */
/*
 * Workloads that read a filled database, for a time. Gets run in transactions of READS_PER_TXN; every answer is checked.
 * From the cold there is one get for each COLD_BYTES of data, so that nearly all of them meet a cold page, unless the
 * store or the kernel reads far ahead: then read_bytes shows it. A cold scan goes once over everything.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "workloads.h"

#define READS_PER_TXN 1024
#define HOT_PART 100 /* one entry of that many is hot */
#define COLD_BYTES ((uint64_t)256 << 10)
#define CHECKED_ENTRIES 64 /* of a scan: one in so many is checked in every byte */

typedef void read_one_fn(struct job *job);

/* What is read from the cold is not read before, so it is checked afterwards. */
void check_read(struct job *job)
{
	if (job->shared->thorough)
		job_check_all(job, job->count, true);
}

static uint64_t cold_gets(const struct job *job)
{
	uint64_t gets = job->count * (job->shape->key_bytes + job->shape->value_bytes) / COLD_BYTES;

	return gets > BENCH_BATCH ? gets : BENCH_BATCH;
}

static void read_many(struct job *job, uint64_t per_call, read_one_fn *read_one)
{
	uint64_t most = UINT64_MAX;
	bool more = true;

	if (job->shared->measured->workload->cold)
		job->wanted = most = cold_gets(job);
	while (more && job->done < most) {
		uint64_t left = READS_PER_TXN;

		job_read_begin(job);
		for (; more && left >= per_call && job->done < most; left -= per_call) {
			read_one(job);
			more = job_step(job, per_call);
		}
		job->store->end(job->session);
	}
}

static void get_any(struct job *job)
{
	job_get(job, job_random(job) % job->count);
}

void read_random(struct job *job)
{
	read_many(job, 1, get_any);
}

static void get_hot(struct job *job)
{
	uint64_t part = job->count / HOT_PART ? job->count / HOT_PART : 1;

	job_get(job, job_random(job) % part);
}

void read_hot(struct job *job)
{
	read_many(job, 1, get_hot);
}

static void get_missing(struct job *job)
{
	struct bytes value = { 0 };
	uint64_t number = job_random(job) % job->count;

	if (job->store->get(job->session, entry_missing(job->shape, number, job->key), &value) != BENCH_MISSING)
		wrong(job->shared, "a get finds what was never put");
}

void read_missing(struct job *job)
{
	read_many(job, 1, get_missing);
}

static void get_batch(struct job *job)
{
	uint64_t numbers[BENCH_BATCH];
	struct bytes wanted[BENCH_BATCH], values[BENCH_BATCH];
	unsigned k = 0;

	for (k = 0; k < BENCH_BATCH; k++) {
		numbers[k] = job_random(job) % job->count;
		wanted[k] = entry_key(job->shape, numbers[k], job->keys + k * job->shape->key_bytes);
	}
	expect(job, job->store->multi_get(job->session, wanted, BENCH_BATCH, values), "multi-get");
	for (k = 0; k < BENCH_BATCH; k++)
		if (!entry_value_is(job->shape, numbers[k], values[k]))
			wrong(job->shared, "a value is not what was put");
}

void multi_get_random(struct job *job)
{
	read_many(job, BENCH_BATCH, get_batch);
}

/* Is it an entry that was put, behind the last one? The key is made again only for some: that takes longer than a step. */
static void check_step(const struct job *job, uint64_t seen, const unsigned char *last, int order, struct bytes key,
		       struct bytes value)
{
	if (key.size != job->shape->key_bytes || value.size != job->shape->value_bytes ||
	    !entry_value_is(job->shape, entry_number(value), value) || entry_number(value) >= job->count ||
	    (job->calls % CHECKED_ENTRIES == 0 && !entry_is(job->shape, key, value)))
		wrong(job->shared, "a scan gives an entry that was not put");
	if (seen && memcmp(last, key.data, key.size) * order <= 0)
		wrong(job->shared, "keys are not in order");
}

/* Goes once over everything, unless the time is over before; tells whether there is time for another one. */
static bool walk_once(struct job *job, unsigned char *last, enum store_move first, enum store_move next)
{
	struct bytes key = { 0 }, value = { 0 };
	enum store_move move = first;
	int order = first == STORE_FIRST ? -1 : 1, result = 0;
	uint64_t seen = 0;
	bool more = true;

	job_read_begin(job);
	expect(job, job->store->cursor_open(job->session, STORE_ALL), "cursor");
	while (more && (result = job->store->move(job->session, move, &key, &value)) == 0) {
		check_step(job, seen++, last, order, key, value);
		memcpy(last, key.data, key.size);
		move = next;
		more = job_step(job, 1);
	}
	if (result && result != BENCH_MISSING)
		expect(job, result, "scan");
	if (result == BENCH_MISSING && seen != job->count)
		wrong(job->shared, "a scan gives another number of entries than were put");
	job->store->cursor_close(job->session);
	job->store->end(job->session);
	return more;
}

static void walk(struct job *job, enum store_move first, enum store_move next)
{
	unsigned char *last = malloc(job->shape->key_bytes);
	bool cold = job->shared->measured->workload->cold;

	if (cold)
		job->wanted = job->count;
	while (walk_once(job, last, first, next) && !cold)
		;
	free(last);
}

void read_forward(struct job *job)
{
	walk(job, STORE_FIRST, STORE_NEXT);
}

void read_backward(struct job *job)
{
	walk(job, STORE_LAST, STORE_PREV);
}

/* A seek to a key that is there, and a look at the entry. */
void seek_random(struct job *job)
{
	struct bytes key = { 0 }, value = { 0 };
	bool more = true;

	while (more) {
		unsigned left = READS_PER_TXN;

		job_read_begin(job);
		expect(job, job->store->cursor_open(job->session, 1), "cursor");
		for (; more && left; left--) {
			uint64_t number = job_random(job) % job->count;

			key = entry_key(job->shape, number, job->key);
			expect(job, job->store->move(job->session, STORE_SEEK, &key, &value), "seek");
			if (!entry_value_is(job->shape, number, value))
				wrong(job->shared, "a seek finds another entry");
			more = job_step(job, 1);
		}
		job->store->cursor_close(job->session);
		job->store->end(job->session);
	}
}

/* The second thread overwrites at a rate that all stores can keep, while the first one reads: readers beside writers of
 * different speeds could not be compared. What it did is told apart. */
void read_while_writing(struct job *job)
{
	uint64_t rate = writer_rate(job);

	if (job->thread == 0) {
		read_random(job);
		atomic_store(&job->shared->stop, true);
		return;
	}
	while (!atomic_load(&job->shared->stop)) {
		job_pace(job, job->calls, rate);
		job_put(job, job_random(job) % job->count, 1, order_same, ++job->calls);
		atomic_store(&job->shared->written, job->calls);
	}
}
