/* SPDX-License-Identifier: MIT */
/*
 * The six workloads of YCSB: 24-byte keys ("user" and a hash), 1,000-byte values (its ten fields of 100 bytes as one),
 * Zipf's distribution scrambled over all entries, for D the newest entries. An operation is a transaction of its own;
 * a read-modify-write is a read and then a write, as YCSB does it. Updates put the whole value.
 */
#include <stdatomic.h>
#include <string.h>

#include "workloads.h"

#define SCAN_ENTRIES_MAX 100
#define CHECKED_SCANS 16 /* in one of so many, every key is made again from its value */

struct mix {
	unsigned read, update, insert, scan, modify; /* percent */
	bool latest;
};

/* Keeps the entry whose key is the greatest: where a scan may end before it has what it wants. */
static void note_key(struct job *job, uint64_t number)
{
	uint64_t *greatest = &job->shared->greatest;
	struct bytes key = entry_key(job->shape, number, job->key), last = { 0 };

	last = entry_key(job->shape, *greatest, job->keys);
	if (memcmp(key.data, last.data, key.size) > 0)
		*greatest = number;
}

void ycsb_prepare(struct job *job)
{
	uint64_t i = 0;

	zipf_init(&job->shared->zipf, job->count);
	atomic_store(&job->shared->inserted, job->count);
	for (i = 0; i < job->count; i++)
		note_key(job, i);
}

void ycsb_check(struct job *job)
{
	if (job->shared->thorough)
		job_check_all(job, atomic_load(&job->shared->inserted), true);
}

static uint64_t choose(struct job *job, bool latest)
{
	uint64_t rank = zipf_next(&job->shared->zipf, random_fraction(job_random(job)));

	if (latest)
		return atomic_load(&job->shared->inserted) - 1 - rank;
	return random_mix(rank ^ 0x59435342) % job->count;
}

static void read_entry(struct job *job, uint64_t number)
{
	expect(job, job->store->begin(job->session, STORE_READ_SINGLE), "begin");
	job_get(job, number);
	job->store->end(job->session);
}

/* Steps forward from an entry that is there, and checks each one against the one before. */
static void scan_entries(struct job *job, uint64_t number)
{
	unsigned wanted = 1 + (unsigned)(job_random(job) % SCAN_ENTRIES_MAX), i = 0;
	struct bytes key = entry_key(job->shape, number, job->key), value = { 0 };
	enum store_move move = STORE_SEEK;
	uint64_t last = number;
	int result = 0;

	expect(job, job->store->begin(job->session, STORE_READ_SINGLE), "begin");
	expect(job, job->store->cursor_open(job->session, wanted), "cursor");
	for (i = 0; i < wanted; i++, move = STORE_NEXT) {
		result = job->store->move(job->session, move, &key, &value);
		if (result == BENCH_MISSING)
			break;
		expect(job, result, "scan");
		if (key.size != job->shape->key_bytes || value.size != job->shape->value_bytes ||
		    !entry_value_is(job->shape, i ? entry_number(value) : number, value) ||
		    (job->calls % CHECKED_SCANS == 0 && !entry_is(job->shape, key, value)))
			wrong(job->shared, "a scan gives another entry than it should");
		if (i && memcmp(job->keys, key.data, key.size) >= 0)
			wrong(job->shared, "a scan does not go in the order of the keys");
		memcpy(job->keys, key.data, key.size);
		last = entry_number(value);
	}
	if (i < wanted && last != job->shared->greatest)
		wrong(job->shared, "a scan ends before the last entry");
	job->store->cursor_close(job->session);
	job->store->end(job->session);
}

static void operate(struct job *job, const struct mix *mix)
{
	unsigned dice = (unsigned)(job_random(job) % 100);

	if (dice < mix->read) {
		read_entry(job, choose(job, mix->latest));
	} else if (dice < mix->read + mix->update) {
		job_put(job, choose(job, false), 1, order_same, job->done + 1);
	} else if (dice < mix->read + mix->update + mix->insert) {
		/* only one thread runs here, so it counts as inserted when it is */
		job_put(job, atomic_load(&job->shared->inserted), 1, order_same, 0);
		note_key(job, atomic_fetch_add(&job->shared->inserted, 1));
	} else if (dice < mix->read + mix->update + mix->insert + mix->scan) {
		scan_entries(job, choose(job, false));
	} else {
		uint64_t number = choose(job, false);

		read_entry(job, number);
		job_put(job, number, 1, order_same, job->done + 1);
	}
}

static void run_mix(struct job *job, const struct mix *mix)
{
	do
		operate(job, mix);
	while (job_step(job, 1));
}

void ycsb_a(struct job *job)
{
	run_mix(job, &(struct mix){ .read = 50, .update = 50 });
}

void ycsb_b(struct job *job)
{
	run_mix(job, &(struct mix){ .read = 95, .update = 5 });
}

void ycsb_c(struct job *job)
{
	run_mix(job, &(struct mix){ .read = 100 });
}

void ycsb_d(struct job *job)
{
	run_mix(job, &(struct mix){ .read = 95, .insert = 5, .latest = true });
}

void ycsb_e(struct job *job)
{
	run_mix(job, &(struct mix){ .scan = 95, .insert = 5 });
}

void ycsb_f(struct job *job)
{
	run_mix(job, &(struct mix){ .read = 50, .modify = 50 });
}
