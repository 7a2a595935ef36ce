/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "workloads.h"

#define WARM_GETS_MAX 200000
#define WARM_NS_MAX 1000000000u /* where not all of it stays in memory */
#define SAMPLE_GAP 31u /* calls between two that are timed: 0 to 30, so one in 16 is */

uint64_t now_ns(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void wrong(const struct shared *shared, const char *what)
{
	fprintf(stderr, "bench: %s: %s: %s\n", shared->store->name, shared->measured->workload->name, what);
	exit(1);
}

void expect_shared(const struct shared *shared, int result, const char *what)
{
	const char *text = "";

	if (result == 0)
		return;
	text = result == BENCH_MISSING ? "an entry is missing" : result == BENCH_CONFLICT ? "a conflict" :
	       shared->store->text(result);
	fprintf(stderr, "bench: %s: %s: %s: %d: %s\n", shared->store->name, shared->measured->workload->name, what,
		result, text);
	exit(1);
}

void expect(const struct job *job, int result, const char *what)
{
	if (result)
		expect_shared(job->shared, result, what);
}

int job_init(struct job *job, struct shared *shared, unsigned thread)
{
	const struct bench_case *measured = shared->measured;

	memset(job, 0, sizeof(*job));
	job->shared = shared;
	job->store = shared->store;
	job->shape = &measured->shape;
	job->count = measured->count;
	job->thread = thread;
	job->seed = random_mix(measured->seed * THREADS_MAX + thread);
	job->random = job->seed;
	job->sampled = measured->workload->sampled;
	job->latency = calloc(1, sizeof(*job->latency));
	job->key = malloc(job->shape->key_bytes);
	job->value = malloc(job->shape->value_bytes);
	job->keys = malloc(job->shape->key_bytes * BENCH_BATCH);
	return job->latency && job->key && job->value && job->keys ? 0 : -ENOMEM;
}

void job_release(struct job *job)
{
	free(job->latency);
	free(job->key);
	free(job->value);
	free(job->keys);
}

void job_start(struct job *job)
{
	job->start_ns = job->last_ns = now_ns();
	job->end_ns = job->start_ns + (uint64_t)(job->shared->measured->seconds * 1e9);
}

/* Which calls are timed is random: a fixed step would always meet, or never, what the store does at each so many. */
static unsigned next_gap(const struct job *job)
{
	return job->sampled ? (unsigned)(random_mix(job->seed ^ ~job->calls) % SAMPLE_GAP) : 0;
}

/* The clock is read before and after each call that is timed; it has begun when the one before it ended. */
bool job_step(struct job *job, uint64_t operations)
{
	uint64_t now = 0;

	job->done += operations;
	job->calls++;
	if (job->gap > 1) {
		job->gap--;
		return true;
	}
	now = now_ns();
	if (job->gap == 0) {
		histogram_add(job->latency, now - job->last_ns);
		job->gap = next_gap(job);
	} else {
		job->gap = 0;
	}
	job->last_ns = now;
	return now < job->end_ns;
}

uint64_t job_random(struct job *job)
{
	return random_mix(job->random++);
}

uint64_t order_same(const struct job *job, uint64_t i)
{
	(void)job;
	return i;
}

uint64_t order_mixed(const struct job *job, uint64_t i)
{
	return random_permute(i, job->count, job->shared->measured->order_seed);
}

static int put_once(struct job *job, uint64_t first, uint64_t count, job_order_fn *order, uint64_t version)
{
	int result = job->store->begin(job->session, count == 1 ? STORE_WRITE_SINGLE : STORE_WRITE);
	uint64_t i = 0;

	if (result)
		return result;
	for (i = first; i < first + count; i++) {
		uint64_t number = order(job, i);

		result = job->store->put(job->session, entry_key(job->shape, number, job->key),
					 entry_value(job->shape, number, version, job->value));
		if (result) {
			job->store->end(job->session);
			return result;
		}
	}
	return job->store->commit(job->session);
}

void job_put(struct job *job, uint64_t first, uint64_t count, job_order_fn *order, uint64_t version)
{
	int result = 0;

	while ((result = put_once(job, first, count, order, version)) == BENCH_CONFLICT)
		job->conflicts++;
	expect(job, result, "put");
	job->put_bytes += count * (job->shape->key_bytes + job->shape->value_bytes);
}

void job_read_begin(struct job *job)
{
	expect(job, job->store->begin(job->session, STORE_READ), "begin");
}

void job_get(struct job *job, uint64_t number)
{
	struct bytes key = entry_key(job->shape, number, job->key), value = { 0 };
	int result = 0;

	while ((result = job->store->get(job->session, key, &value)) == BENCH_CONFLICT)
		job->conflicts++;
	expect(job, result, "get");
	if (!entry_value_is(job->shape, number, value))
		wrong(job->shared, "a value is not what was put");
}

void job_fill(struct job *job)
{
	uint64_t first = 0;

	for (first = 0; first < job->count; first += BATCH_PUTS)
		job_put(job, first, job->count - first < BATCH_PUTS ? job->count - first : BATCH_PUTS, order_mixed, 0);
}

void job_pace(const struct job *job, uint64_t call, uint64_t per_second)
{
	uint64_t due = job->start_ns + call * 1000000000 / per_second, now = now_ns();

	if (now < due)
		usleep((useconds_t)((due - now) / 1000 + 1));
}

void job_warm_up(struct job *job, unsigned threads)
{
	uint64_t gets = (job->count < WARM_GETS_MAX ? job->count : WARM_GETS_MAX) / threads, i = 0;
	uint64_t end_ns = now_ns() + WARM_NS_MAX;

	if (job->thread == 0)
		job_check_all(job, job->count, job->shared->thorough);
	job_read_begin(job);
	for (i = 0; i < gets && now_ns() < end_ns; i++)
		job_get(job, random_mix(~(i * threads + job->thread)) % job->count);
	job->store->end(job->session);
}

void job_check_all(struct job *job, uint64_t expected, bool thorough)
{
	const struct store *store = job->store;
	struct bytes key = { 0 }, value = { 0 };
	unsigned char *last = malloc(job->shape->key_bytes);
	enum store_move move = STORE_FIRST;
	uint64_t seen = 0;
	int result = 0;

	job_read_begin(job);
	expect(job, store->cursor_open(job->session, STORE_ALL), "cursor");
	while ((result = store->move(job->session, move, &key, &value)) == 0) {
		if (key.size != job->shape->key_bytes || (seen && memcmp(last, key.data, key.size) >= 0))
			wrong(job->shared, "keys are not in order");
		memcpy(last, key.data, key.size);
		if (value.size != job->shape->value_bytes || (thorough && !entry_is(job->shape, key, value)))
			wrong(job->shared, "a scan gives an entry that was not put");
		seen++;
		move = STORE_NEXT;
	}
	if (result != BENCH_MISSING)
		expect(job, result, "scan");
	store->cursor_close(job->session);
	store->end(job->session);
	free(last);
	if (seen != expected)
		wrong(job->shared, "a scan gives another number of entries than were put");
}

void shared_open(struct shared *shared, bool durable)
{
	const struct bench_case *measured = shared->measured;
	size_t entry_bytes = measured->shape.key_bytes + measured->shape.value_bytes;
	struct store_setup setup = {
		.directory = shared->directory,
		.durable = durable,
		.data_bytes = measured->count * entry_bytes,
		.memory_bytes = shared->memory_bytes,
		.entry_bytes = entry_bytes,
		.value_bytes = measured->shape.value_bytes,
		.threads = measured->workload->threads,
		.trees = measured->workload->trees,
		.puts_in_order = measured->workload->puts_in_order && !shared->filling,
	};

	expect_shared(shared, shared->store->open(&setup, &shared->handle), "open");
	json_object_object_add(shared->record, "cache_bytes",
			       json_object_new_int64((int64_t)store_cache_bytes(shared->store, &setup)));
}

void shared_close(struct shared *shared)
{
	expect_shared(shared, shared->store->close(shared->handle), "close");
	shared->handle = NULL;
}
