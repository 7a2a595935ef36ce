/* SPDX-License-Identifier: MIT */
/* Group commit with many threads: each sees its own commits, once and in order; also on a disk that refuses writes. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "gate_rig.h"

static uint8_t large[RIG_LARGE_BYTES];

/* ---- Many threads ------------------------------------------------------------------------------------------------ */

#define THREADS 16
#define COMMITS_EACH 40
#define SEQS_MAX 4096

struct crowd {
	struct rig rig;
	_Atomic uint32_t counts[SEQS_MAX]; /* the counter that the commit with this seq has set; 0: not acknowledged */
};

struct member {
	struct crowd *crowd;
	pthread_t thread;
	unsigned index;
};

static uint32_t counter_read(struct slf_txn *txn, const char *key)
{
	struct slf_slice value;
	uint32_t count = 0;

	if (slf_get(txn, SLF_MAIN, text(key), &value) == 0)
		memcpy(&count, value.data, sizeof(count));
	return count;
}

/* Raises the common counter and the thread's own. */
static uint64_t counter_commit(struct slf_db *db, const char *key, uint32_t own, uint32_t *count)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	uint64_t seq = 0;

	*count = counter_read(txn, "all") + 1;
	must(counter_read(txn, key) == own);
	own++;
	must_work(slf_put(txn, SLF_MAIN, text("all"), slice(count, sizeof(*count))));
	must_work(slf_put(txn, SLF_MAIN, text(key), slice(&own, sizeof(own))));
	must_work(slf_commit(txn, &seq));
	return seq;
}

static void *member_main(void *context)
{
	struct member *member = context;
	struct crowd *crowd = member->crowd;
	struct slf_db *db = crowd->rig.db;
	char key[16];
	uint64_t before = 0;

	snprintf(key, sizeof(key), "thread%u", member->index);
	for (uint32_t own = 0; own < COMMITS_EACH; own++) {
		struct slf_txn *txn;
		uint32_t count;
		uint64_t seq = counter_commit(db, key, own, &count);

		must(seq > before && seq < SEQS_MAX);
		before = seq;
		must(atomic_exchange(&crowd->counts[seq], count) == 0);
		must(atomic_load(&crowd->rig.commit->durable_seq) >= seq);
		txn = txn_begin(db, SLF_READ);
		must(slf_txn_seq(txn) >= seq && counter_read(txn, "all") >= count && counter_read(txn, key) == own + 1);
		slf_abort(txn);
		if (own % 16 == member->index)
			must(survives(&crowd->rig, key));
	}
	return NULL;
}

/* A commit would be acknowledged before it is durable or visible, twice, in another order than it was made, or never. */
static void crowd_run(unsigned flags)
{
	static struct crowd crowd;
	struct member members[THREADS];
	uint32_t last = 0;

	memset(&crowd, 0, sizeof(crowd));
	rig_open(&crowd.rig, flags, SLF_SYNC_COMMIT);
	for (unsigned i = 0; i < THREADS; i++) {
		members[i] = (struct member){ .crowd = &crowd, .index = i };
		must(pthread_create(&members[i].thread, NULL, member_main, &members[i]) == 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		must(pthread_join(members[i].thread, NULL) == 0);
	for (unsigned seq = 0; seq < SEQS_MAX; seq++) {
		uint32_t count = atomic_load(&crowd.counts[seq]);

		if (count)
			cr_assert_eq(count, ++last);
	}
	cr_assert_eq(last, THREADS * COMMITS_EACH);
	rig_close(&crowd.rig);
}

Test(commit_threads, sixteen_threads)
{
	crowd_run(0);
}

/* The same when the committers themselves do the checkpoints and there is no flusher to wake anyone. */
Test(commit_threads, sixteen_threads_without_services)
{
	crowd_run(SLF_NO_THREADS);
}

/* ---- Many threads and a failing disk ----------------------------------------------------------------------------- */

struct sufferer {
	struct rig *rig;
	pthread_t thread;
	unsigned index;
	unsigned good, bad;
};

/* One commit of a value on which the next one is checked; its result. */
static int suffer_once(struct sufferer *sufferer, const char *key, uint64_t *value, struct rng *rng)
{
	struct slf_txn *txn = NULL;
	uint64_t next = rng_next(rng);
	struct slf_slice found;
	int result = slf_begin(sufferer->rig->db, SLF_WRITE, &txn);

	if (result)
		return result;
	result = slf_get(txn, SLF_MAIN, text(key), &found);
	must(*value ? result == 0 && slice_is(found, value, sizeof(*value)) : result == SLF_NOTFOUND);
	result = slf_put(txn, SLF_MAIN, text(key), slice(&next, sizeof(next)));
	if (!result)
		result = slf_put(txn, SLF_MAIN, text("large"), slice(large, sizeof(large)));
	if (result) { /* the disk, or what it stands on has been taken back meanwhile */
		slf_abort(txn);
		return result;
	}
	result = slf_commit(txn, NULL);
	if (!result)
		*value = next;
	return result;
}

static void *sufferer_main(void *context)
{
	struct sufferer *sufferer = context;
	struct rng rng = { sufferer->index };
	uint64_t value = 0;
	char key[16];

	snprintf(key, sizeof(key), "thread%u", sufferer->index);
	for (unsigned i = 0; i < 100 && !commit_check(sufferer->rig->commit); i++) {
		int result = suffer_once(sufferer, key, &value, &rng);

		sufferer->good += result == 0;
		sufferer->bad += result != 0;
	}
	return NULL;
}

/* Refuses a write now and then: of a value, of a slab, and when two threads meet of the zeros in the place of one. */
static void refuse(void *context, struct sim_disk *disk, enum sim_call call)
{
	_Atomic unsigned *calls = context;
	unsigned number;

	if (call != SIM_WRITE)
		return;
	number = atomic_fetch_add(calls, 1);
	if (rng_mix(number) % 5 || rng_mix(number - 1) % 5 == 0)
		return;
	sim_disk_clear_faults(disk);
	sim_disk_add_fault(disk, &(struct sim_fault){ .call = SIM_WRITE, .error = -ENOSPC });
}

/* A commit that was reported as failed would be seen by the next one, or one that was acknowledged be missing. */
Test(commit_threads, on_a_failing_disk)
{
	static _Atomic unsigned calls;
	struct sufferer sufferers[6] = { 0 };
	struct rig rig;
	unsigned good = 0, bad = 0;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	sim_disk_set_hook(rig.disk, refuse, &calls);
	for (unsigned i = 0; i < ARRAY_SIZE(sufferers); i++) {
		sufferers[i] = (struct sufferer){ .rig = &rig, .index = i };
		must(pthread_create(&sufferers[i].thread, NULL, sufferer_main, &sufferers[i]) == 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sufferers); i++) {
		must(pthread_join(sufferers[i].thread, NULL) == 0);
		good += sufferers[i].good;
		bad += sufferers[i].bad;
	}
	sim_disk_set_hook(rig.disk, NULL, NULL);
	printf("commit_threads on_a_failing_disk: %u commits, %u refused, %llu rollbacks%s\n", good, bad,
	       (unsigned long long)rig.db->core.stats.values.rollbacks,
	       commit_check(rig.commit) ? ", poisoned" : "");
	cr_assert_gt(good, 0);
	cr_assert_gt(bad, 0);
	sim_disk_clear_faults(rig.disk);
	slf_close(rig.db);
	must_work(disk_open(rig.disk, 0, SLF_SYNC_COMMIT, &rig.db)); /* each commit gives the digest that it carries */
	rig_close(&rig);
}
