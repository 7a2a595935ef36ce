/* SPDX-License-Identifier: MIT */
/* Workloads that read a filled database. Gets run in transactions of READS_PER_TXN; every answer is checked. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "workloads.h"

#define READS_PER_TXN 1024
#define HOT_PART 100 /* one entry of that many is hot */
#define COLD_PART 50 /* gets from the cold: one for that many entries, so that most of them meet a cold page */

typedef void read_one_fn(struct job *job);

static void read_many(struct job *job, uint64_t most, uint64_t per_call, read_one_fn *read_one)
{
	bool more = true;

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

static uint64_t gets_of(const struct job *job)
{
	uint64_t part = job->count / COLD_PART;

	if (!job->shared->measured->workload->cold)
		return job->count;
	return part > BENCH_BATCH ? part : BENCH_BATCH;
}

static void get_any(struct job *job)
{
	job_get(job, job_random(job) % job->count);
}

void read_random(struct job *job)
{
	read_many(job, gets_of(job), 1, get_any);
}

static void get_hot(struct job *job)
{
	uint64_t part = job->count / HOT_PART ? job->count / HOT_PART : 1;

	job_get(job, job_random(job) % part);
}

void read_hot(struct job *job)
{
	read_many(job, job->count, 1, get_hot);
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
	read_many(job, job->count, 1, get_missing);
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
	read_many(job, gets_of(job), BENCH_BATCH, get_batch);
}

/* Steps through everything, again from its beginning while there is time; checks order, number and content. */
static void walk(struct job *job, enum store_move first, enum store_move next)
{
	struct bytes key = { 0 }, value = { 0 };
	unsigned char *last = malloc(job->shape->key_bytes);
	enum store_move move = first;
	int order = first == STORE_FIRST ? -1 : 1, result = 0;
	bool more = true;

	job_read_begin(job);
	expect(job, job->store->cursor_open(job->session, STORE_ALL), "cursor");
	while (more && (result = job->store->move(job->session, move, &key, &value)) == 0) {
		if (key.size != job->shape->key_bytes || value.size < ENTRY_VALUE_BYTES_MIN ||
		    !entry_value_is(job->shape, entry_number(value), value) || entry_number(value) >= job->count)
			wrong(job->shared, "a scan gives an entry that was not put");
		if (job->done && memcmp(last, key.data, key.size) * order <= 0)
			wrong(job->shared, "keys are not in order");
		memcpy(last, key.data, key.size);
		move = next;
		more = job_step(job, 1);
	}
	if (result && result != BENCH_MISSING)
		expect(job, result, "scan");
	if (result == BENCH_MISSING && job->done != job->count)
		wrong(job->shared, "a scan gives another number of entries than were put");
	job->store->cursor_close(job->session);
	job->store->end(job->session);
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

	while (more && job->done < job->count) {
		unsigned left = READS_PER_TXN;

		job_read_begin(job);
		expect(job, job->store->cursor_open(job->session, 1), "cursor");
		for (; more && left && job->done < job->count; left--) {
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

/* The second thread overwrites as fast as it can while the first one reads; what it did is not counted. */
void read_while_writing(struct job *job)
{
	if (job->thread == 0) {
		read_random(job);
		atomic_store(&job->shared->stop, true);
		return;
	}
	while (!atomic_load(&job->shared->stop))
		job_put(job, job_random(job) % job->count, 1, order_same, ++job->calls);
}
