/* SPDX-License-Identifier: MIT */
/* Workloads that write: fills, overwrites, deletes, durable puts, transactions of all sizes. */
#include <stdlib.h>

#include "workloads.h"

#define STREAM_BITS 40 /* durable puts: the thread's number stands above the operation's */
#define WARM_PUTS 100000 /* per transaction, so that it takes little time */
#define WRITER_PUTS 10000 /* a second, of a thread beside which others are measured */
#define WRITER_BYTES ((uint64_t)16 << 20)

static void fill(struct job *job, job_order_fn *order, uint64_t per_txn)
{
	uint64_t first = 0, now = 0;

	job->wanted = job->count;
	for (first = 0; first < job->count; first += now) {
		now = job->count - first < per_txn ? job->count - first : per_txn;
		job_put(job, first, now, order, 0);
		if (!job_step(job, now))
			break;
	}
}

void fill_sequential(struct job *job)
{
	fill(job, order_same, 1);
}

void fill_random(struct job *job)
{
	fill(job, order_mixed, 1);
}

void fill_batch(struct job *job)
{
	fill(job, order_mixed, BATCH_PUTS);
}

void fill_batch_sequential(struct job *job)
{
	fill(job, order_same, BATCH_PUTS);
}

static void check_filled(struct job *job, job_order_fn *order)
{
	uint64_t i = 0;

	if (job->shared->thorough)
		job_check_all(job, job->done, true);
	job_read_begin(job);
	for (i = 0; i < job->done; i += 1 + job->done / 1000)
		job_get(job, order(job, i));
	job->store->end(job->session);
}

void check_filled_sequential(struct job *job)
{
	check_filled(job, order_same);
}

void check_filled_random(struct job *job)
{
	check_filled(job, order_mixed);
}

uint64_t writer_rate(const struct job *job)
{
	uint64_t rate = WRITER_BYTES / (job->shape->key_bytes + job->shape->value_bytes);

	return rate < WRITER_PUTS ? rate : WRITER_PUTS;
}

void overwrite_random(struct job *job)
{
	job->wanted = job->count;
	do
		job_put(job, job_random(job) % job->count, 1, order_same, job->done + 1);
	while (job_step(job, 1) && job->done < job->wanted);
}

/* The greatest version of all entries: how many of those overwrites there were. */
uint64_t newest_version(struct job *job)
{
	struct bytes key = { 0 }, value = { 0 };
	enum store_move move = STORE_FIRST;
	uint64_t newest = 0;
	int result = 0;

	job_read_begin(job);
	expect(job, job->store->cursor_open(job->session, STORE_ALL), "cursor");
	for (; (result = job->store->move(job->session, move, &key, &value)) == 0; move = STORE_NEXT)
		if (entry_version(value) > newest)
			newest = entry_version(value);
	if (result != BENCH_MISSING)
		expect(job, result, "scan");
	job->store->cursor_close(job->session);
	job->store->end(job->session);
	return newest;
}

/* The version that each entry has to have after count random overwrites of this thread. */
static uint64_t *latest_versions(const struct job *job, uint64_t count)
{
	uint64_t *latest = calloc(job->count, sizeof(*latest)), i = 0;

	if (!latest)
		wrong(job->shared, "no memory");
	for (i = 0; i < count; i++)
		latest[random_mix(job->seed + i) % job->count] = i + 1;
	return latest;
}

void check_versions(struct job *job, uint64_t count)
{
	uint64_t *latest = latest_versions(job, count);
	struct bytes key = { 0 }, value = { 0 };
	enum store_move move = STORE_FIRST;
	int result = 0;

	job_read_begin(job);
	expect(job, job->store->cursor_open(job->session, STORE_ALL), "cursor");
	for (; (result = job->store->move(job->session, move, &key, &value)) == 0; move = STORE_NEXT)
		if (entry_version(value) != latest[entry_number(value)])
			wrong(job->shared, "an entry is not what it was overwritten with last");
	if (result != BENCH_MISSING)
		expect(job, result, "scan");
	job->store->cursor_close(job->session);
	job->store->end(job->session);
	free(latest);
}

void check_overwritten(struct job *job)
{
	uint64_t count = job->put_bytes / (job->shape->key_bytes + job->shape->value_bytes);

	if (!job->shared->thorough || !count)
		return;
	job_check_all(job, job->count, true);
	check_versions(job, count);
}

static int delete_once(struct job *job, uint64_t number)
{
	int result = job->store->begin(job->session, STORE_WRITE_SINGLE);

	if (result)
		return result;
	result = job->store->del(job->session, entry_key(job->shape, number, job->key));
	if (result == 0)
		return job->store->commit(job->session);
	job->store->end(job->session);
	return result;
}

static void delete_all(struct job *job, job_order_fn *order)
{
	int result = 0;

	job->wanted = job->count;
	while (job->done < job->wanted) {
		uint64_t number = order(job, job->done);

		while ((result = delete_once(job, number)) == BENCH_CONFLICT)
			job->conflicts++;
		expect(job, result, "delete");
		if (!job_step(job, 1))
			break;
	}
}

void delete_sequential(struct job *job)
{
	delete_all(job, order_same);
}

void delete_random(struct job *job)
{
	delete_all(job, order_mixed);
}

static void check_deleted(struct job *job, job_order_fn *order)
{
	struct bytes key = { 0 }, value = { 0 };
	uint64_t i = 0;

	if (job->shared->thorough)
		job_check_all(job, job->count - job->done, true);
	job_read_begin(job);
	for (i = 0; i < job->done; i += 1 + job->done / 1000) {
		key = entry_key(job->shape, order(job, i), job->key);
		if (job->store->get(job->session, key, &value) != BENCH_MISSING)
			wrong(job->shared, "a deleted entry is still there");
	}
	job->store->end(job->session);
}

void check_deleted_sequential(struct job *job)
{
	check_deleted(job, order_same);
}

void check_deleted_random(struct job *job)
{
	check_deleted(job, order_mixed);
}

/* Numbers of this thread alone; hashed keys make a random order of them. */
static uint64_t order_stream(const struct job *job, uint64_t i)
{
	return ((uint64_t)job->thread << STREAM_BITS) + i;
}

void put_durable(struct job *job)
{
	do
		job_put(job, job->done, 1, order_stream, 0);
	while (job_step(job, 1));
}

/* So many entries that with a million of them the logs of all stores are where they are for good: RocksDB takes a log of
 * 64 MiB up again from the third one on, SQLite begins at the front of its own. Their thread has no puts of its own. */
void warm_log(struct job *job)
{
	uint64_t count = job->count + job->count / 5, left = 0, i = 0;

	job->thread = THREADS_MAX;
	for (i = 0; i < count; i += left) {
		left = count - i < WARM_PUTS ? count - i : WARM_PUTS;
		job_put(job, i, left, order_stream, 0);
	}
	job->thread = 0;
	job->shared->prepared = count;
}

void put_txn(struct job *job)
{
	uint64_t per_txn = job->shared->measured->workload->put_per_txn;

	do
		job_put(job, job->done, per_txn, order_stream, 0);
	while (job_step(job, per_txn));
}

void check_txn(struct job *job)
{
	uint64_t i = 0;

	job_read_begin(job);
	for (i = 0; i < job->done; i++)
		job_get(job, order_stream(job, i));
	job->store->end(job->session);
}

void check_durable(struct job *job)
{
	check_txn(job);
}
