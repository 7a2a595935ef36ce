/* SPDX-License-Identifier: MIT */
/* Many small trees: entries go round over all trees, TREE_PUTS to a transaction; then they are read at random. */
#include "workloads.h"

#define TREE_PUTS 10
#define READS_PER_TXN 1024

bool trees_possible(const struct store *store)
{
	return store->trees_make && store->tree_put && store->tree_get;
}

static unsigned tree_of(const struct job *job, uint64_t number)
{
	return (unsigned)(random_mix(number) % job->shared->measured->workload->trees);
}

static int put_once(struct job *job, uint64_t first, uint64_t count)
{
	int result = job->store->begin(job->session, STORE_WRITE);
	uint64_t i = 0;

	if (result)
		return result;
	for (i = first; i < first + count; i++) {
		result = job->store->tree_put(job->session, tree_of(job, i), entry_key(job->shape, i, job->key),
					      entry_value(job->shape, i, 0, job->value));
		if (result) {
			job->store->end(job->session);
			return result;
		}
	}
	return job->store->commit(job->session);
}

static void put_all(struct job *job, bool measured)
{
	uint64_t first = 0, now = 0;
	int result = 0;

	job->wanted = measured ? job->count : 0;
	for (first = 0; first < job->count; first += now) {
		now = job->count - first < TREE_PUTS ? job->count - first : TREE_PUTS;
		while ((result = put_once(job, first, now)) == BENCH_CONFLICT)
			job->conflicts++;
		expect(job, result, "put into a tree");
		if (measured) {
			job->put_bytes += now * (job->shape->key_bytes + job->shape->value_bytes);
			if (!job_step(job, now))
				break;
		}
	}
}

void trees_put(struct job *job)
{
	put_all(job, true);
}

void trees_fill(struct job *job)
{
	put_all(job, false);
}

static void get_one(struct job *job, uint64_t number)
{
	struct bytes value = { 0 };

	expect(job, job->store->tree_get(job->session, tree_of(job, number), entry_key(job->shape, number, job->key),
					 &value), "get from a tree");
	if (!entry_value_is(job->shape, number, value))
		wrong(job->shared, "a value is not what was put");
}

void trees_warm(struct job *job)
{
	uint64_t i = 0;

	job_read_begin(job);
	for (i = 0; i < job->count; i++)
		get_one(job, i);
	job->store->end(job->session);
}

void trees_get(struct job *job)
{
	bool more = true;

	while (more) {
		unsigned left = READS_PER_TXN;

		job_read_begin(job);
		for (; more && left; left--) {
			get_one(job, job_random(job) % job->count);
			more = job_step(job, 1);
		}
		job->store->end(job->session);
	}
}

void trees_check(struct job *job)
{
	uint64_t i = 0;

	job_read_begin(job);
	for (i = 0; i < job->done; i++)
		get_one(job, i);
	job->store->end(job->session);
}
