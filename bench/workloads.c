/* SPDX-License-Identifier: MIT */
/*
 * Keys are KEY_BYTES pseudo-random bytes made from the entry's number, so filling by number fills in random order.
 * Values are VALUE_BYTES, made from the number too: it stands in the first 8 bytes, so an entry tells by itself
 * whether it is right. In measured loops the first and the last 8 bytes are compared; every byte is outside of them.
 */
#include "workloads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_PUTS 1000
#define READS_PER_TXN 1024
#define STREAM_BITS 40 /* durable puts: the thread's number stands above the operation's */

double seconds_now(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void expect(const struct job *job, int result, const char *what)
{
	if (result == 0)
		return;
	fprintf(stderr, "bench: %s: %s: %d: %s\n", job->store->name, what, result,
		result == BENCH_MISSING ? "an entry is missing" : job->store->text(result));
	exit(1);
}

static void wrong(const struct job *job, const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", job->store->name, what);
	exit(1);
}

static uint64_t mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15u;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

static struct bytes key_make(unsigned char *key, uint64_t number)
{
	uint64_t parts[2] = { mix(number), mix(~number) };

	memcpy(key, parts, sizeof(parts));
	return (struct bytes){ .data = key, .size = KEY_BYTES };
}

static uint64_t value_tail(uint64_t number)
{
	return mix(number ^ 0x5bd1e995);
}

static struct bytes value_make(unsigned char *value, uint64_t number)
{
	uint64_t word = number, tail = value_tail(number);
	size_t i = 0;

	for (i = 0; i + sizeof(word) <= VALUE_BYTES; i += sizeof(word)) {
		memcpy(value + i, &word, sizeof(word));
		word = word * 0x2545f4914f6cdd1du + 0x9e3779b97f4a7c15u;
	}
	memcpy(value + VALUE_BYTES - sizeof(tail), &tail, sizeof(tail));
	return (struct bytes){ .data = value, .size = VALUE_BYTES };
}

static uint64_t value_number(struct bytes value)
{
	uint64_t number = 0;

	memcpy(&number, value.data, sizeof(number));
	return number;
}

static bool value_is(struct bytes value, uint64_t number)
{
	uint64_t tail = 0;

	if (value.size != VALUE_BYTES || value_number(value) != number)
		return false;
	memcpy(&tail, (const char *)value.data + VALUE_BYTES - sizeof(tail), sizeof(tail));
	return tail == value_tail(number);
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static void put_numbers(struct job *job, uint64_t first, uint64_t count)
{
	unsigned char key[KEY_BYTES], value[VALUE_BYTES];
	void *txn = NULL;
	uint64_t i = 0;

	expect(job, job->store->write_begin(job->handle, &txn), "begin");
	for (i = first; i < first + count; i++)
		expect(job, job->store->put(txn, key_make(key, i), value_make(value, i)), "put");
	expect(job, job->store->commit(txn), "commit");
}

static void fill_batch(struct job *job)
{
	uint64_t first = 0;

	for (first = 0; first < job->count; first += BATCH_PUTS)
		put_numbers(job, first, job->count - first < BATCH_PUTS ? job->count - first : BATCH_PUTS);
	job->done = job->count;
}

static void fill_single(struct job *job)
{
	uint64_t i = 0;

	for (i = 0; i < job->count; i++)
		put_numbers(job, i, 1);
	job->done = job->count;
}

static void put_durable(struct job *job)
{
	double end = seconds_now() + job->seconds;

	while (seconds_now() < end)
		put_numbers(job, ((uint64_t)job->thread << STREAM_BITS) + job->done++, 1);
}

static void check_durable(struct job *job)
{
	unsigned char key[KEY_BYTES];
	struct bytes value = { 0 };
	uint64_t i = 0, number = 0;
	void *txn = NULL;

	expect(job, job->store->read_begin(job->handle, &txn), "begin");
	for (i = 0; i < job->done; i++) {
		number = ((uint64_t)job->thread << STREAM_BITS) + i;
		expect(job, job->store->get(txn, key_make(key, number), &value), "get");
		if (!value_is(value, number))
			wrong(job, "a value is not what was put");
	}
	job->store->read_end(txn);
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

static void get_random(struct job *job)
{
	uint64_t state = mix(job->seed + job->thread), left = job->count;
	unsigned char key[KEY_BYTES];
	struct bytes value = { 0 };

	while (left) {
		uint64_t now = left < READS_PER_TXN ? left : READS_PER_TXN, i = 0;
		void *txn = NULL;

		expect(job, job->store->read_begin(job->handle, &txn), "begin");
		for (i = 0; i < now; i++) {
			uint64_t number = mix(state++) % job->count;

			expect(job, job->store->get(txn, key_make(key, number), &value), "get");
			if (!value_is(value, number))
				wrong(job, "a value is not what was put");
		}
		job->store->read_end(txn);
		left -= now;
	}
	job->done = job->count;
}

static void multi_get_random(struct job *job)
{
	uint64_t state = mix(job->seed + job->thread), left = job->count / BENCH_BATCH, numbers[BENCH_BATCH];
	unsigned char keys[BENCH_BATCH][KEY_BYTES];
	struct bytes wanted[BENCH_BATCH], values[BENCH_BATCH];

	while (left) {
		uint64_t now = left < READS_PER_TXN / BENCH_BATCH ? left : READS_PER_TXN / BENCH_BATCH, i = 0;
		void *txn = NULL;

		expect(job, job->store->read_begin(job->handle, &txn), "begin");
		for (i = 0; i < now; i++) {
			unsigned k = 0;

			for (k = 0; k < BENCH_BATCH; k++) {
				numbers[k] = mix(state++) % job->count;
				wanted[k] = key_make(keys[k], numbers[k]);
			}
			expect(job, job->store->multi_get(txn, wanted, BENCH_BATCH, values), "multi-get");
			for (k = 0; k < BENCH_BATCH; k++)
				if (!value_is(values[k], numbers[k]))
					wrong(job, "a value is not what was put");
			job->done += BENCH_BATCH;
		}
		job->store->read_end(txn);
		left -= now;
	}
}

/* What a scan sees: number of entries, sums over them, and their order. */
struct tally {
	uint64_t entries, sum, tails;
	unsigned char last[KEY_BYTES];
	bool damaged;
	bool thorough; /* compare every byte */
};

static void tally_entry(void *context, struct bytes key, struct bytes value)
{
	struct tally *tally = context;
	unsigned char expected_key[KEY_BYTES], expected_value[VALUE_BYTES];
	uint64_t tail = 0, number = 0;

	if (key.size != KEY_BYTES || value.size != VALUE_BYTES) {
		tally->damaged = true;
		return;
	}
	number = value_number(value);
	memcpy(&tail, (const char *)value.data + VALUE_BYTES - sizeof(tail), sizeof(tail));
	if (tally->entries++ && memcmp(tally->last, key.data, KEY_BYTES) >= 0)
		tally->damaged = true;
	memcpy(tally->last, key.data, KEY_BYTES);
	tally->sum += number;
	tally->tails += tail;
	if (!tally->thorough)
		return;
	key_make(expected_key, number);
	value_make(expected_value, number);
	if (memcmp(expected_key, key.data, KEY_BYTES) != 0 || memcmp(expected_value, value.data, VALUE_BYTES) != 0)
		tally->damaged = true;
}

static void scan_and_tally(struct job *job, struct tally *tally)
{
	void *txn = NULL;

	expect(job, job->store->read_begin(job->handle, &txn), "begin");
	expect(job, job->store->scan(txn, tally_entry, tally), "scan");
	job->store->read_end(txn);
	if (tally->damaged || tally->entries != job->count || tally->sum != job->count * (job->count - 1) / 2)
		wrong(job, "a scan does not give what was put");
	job->done = tally->entries;
}

static void scan(struct job *job)
{
	struct tally tally = { 0 };

	scan_and_tally(job, &tally);
}

void warm_up(struct job *job)
{
	struct tally tally = { .thorough = true };
	struct job gets = *job;

	scan_and_tally(job, &tally);
	gets.seed = ~job->seed;
	get_random(&gets);
}

const struct workload workloads[] = {
	{ "fill-batch", "random puts, 1,000 per transaction, not durable", 1, false, true, fill_batch, NULL },
	{ "get-1", "random gets, 1 thread", 1, false, false, get_random, NULL },
	{ "get-2", "random gets, 2 threads", 2, false, false, get_random, NULL },
	{ "multi-get", "random gets, 64 keys a call, 1 thread", 1, false, false, multi_get_random, NULL },
	{ "scan", "all entries in key order, 1 thread", 1, false, false, scan, NULL },
	{ "fill-single", "random puts, 1 per transaction, not durable", 1, false, true, fill_single, NULL },
	{ "durable-1", "random durable puts, 1 per transaction, 1 thread", 1, true, true, put_durable, check_durable },
	{ "durable-16", "random durable puts, 1 per transaction, 16 threads", 16, true, true, put_durable,
	  check_durable },
};
const unsigned workload_count = sizeof(workloads) / sizeof(workloads[0]);
