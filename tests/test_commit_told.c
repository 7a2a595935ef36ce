/* SPDX-License-Identifier: MIT */
/* Who hears of an asynchronous commit that could not be written: everybody who waited for it, else the next who asks. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "gate_rig.h"

TestSuite(commit_told, .timeout = 60);

/* Two commits are in a flight that fails, and two threads wait for all so far to be durable: the first does the writing and is
 * told; the second would be told that all is well. */
static void wait_in_two(void *(*second_main)(void *context))
{
	struct caller first = { 0 }, second = { 0 };
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	put_async(&rig, "one", RIG_LARGE_BYTES);
	put_async(&rig, "two", 10);
	atomic_store(&rig.gate.shut, true);
	rig_fail(&rig, SIM_WRITE, -ENOSPC, false);
	callers_start(&rig, &first, 1, "", caller_sync);
	wait_until_stopped(&rig);
	callers_start(&rig, &second, 1, "", second_main);
	while (!atomic_load(&rig.commit->sleepers[0]) && !atomic_load(&rig.commit->sleepers[1]))
		usleep(200);
	atomic_store(&rig.gate.shut, false);
	callers_join(&first, 1);
	callers_join(&second, 1);
	cr_assert(!has_key(rig.db, "one") && !has_key(rig.db, "two"));
	cr_assert_eq(first.result, -ENOSPC);
	cr_assert_eq(second.result, -ENOSPC);
	must_work(slf_sync(rig.db, NULL)); /* everybody has been told */
	rig_close(&rig);
}

Test(commit_told, two_in_sync)
{
	wait_in_two(caller_sync);
}

Test(commit_told, a_checkpoint_beside_a_sync)
{
	wait_in_two(caller_checkpoint);
}

/* A checkpoint, which makes all so far durable, would say so of a commit that the flusher had lost. */
Test(commit_told, checkpoint_after_a_loss)
{
	struct rig rig;
	int result;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	put_async(&rig, "lost", RIG_LARGE_BYTES);
	rig_fail(&rig, SIM_WRITE, -ENOSPC, false);
	result = commit_sync(rig.commit, NULL); /* as the flusher does, which tells nobody */
	cr_assert_eq(result, -ENOSPC);
	sim_disk_clear_faults(rig.disk);
	cr_assert_eq(slf_checkpoint(rig.db), -ENOSPC);
	cr_assert(!has_key(rig.db, "lost"));
	must_work(slf_checkpoint(rig.db));
	rig_close(&rig);
}

/* Somebody else's commit without changes stands on a commit that is lost: it would take the news from the one that made it. */
Test(commit_told, empty_commit_leaves_the_news)
{
	struct slf_txn *txn;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	db_put(rig.db, "before", "1");
	put_async(&rig, "lost", RIG_LARGE_BYTES);
	txn = txn_begin(rig.db, SLF_WRITE);
	rig_fail(&rig, SIM_WRITE, -ENOSPC, false);
	cr_assert_eq(slf_commit(txn, NULL), -ENOSPC);
	sim_disk_clear_faults(rig.disk);
	cr_assert_eq(slf_sync(rig.db, NULL), -ENOSPC);
	cr_assert(!has_key(rig.db, "lost"));
	must_work(slf_sync(rig.db, NULL));
	rig_close(&rig);
}

/* A slab that is there in part would come back after it was told to be aborted, where its end alone could be overwritten. */
Test(commit_told, torn_slab_that_keeps_its_beginning)
{
	static const uint8_t value[RIG_LARGE_BYTES];
	struct slf_txn *txn;
	struct rig rig;

	rig_open(&rig, SLF_NO_THREADS, SLF_SYNC_COMMIT);
	txn = txn_begin(rig.db, SLF_WRITE);
	for (unsigned i = 0; i < 3; i++) { /* more than is overwritten at once */
		char key[16];

		snprintf(key, sizeof(key), "doubt%u", i);
		must_work(slf_put(txn, SLF_MAIN, text(key), slice(value, 30000)));
	}
	must_work(slf_put(txn, SLF_MAIN, text("large"), slice(value, sizeof(value))));
	for (unsigned nth = 2; nth <= 3; nth++) /* behind the part: the slab, and the first of what is to overwrite it */
		sim_disk_add_fault(rig.disk, &(struct sim_fault){ .call = SIM_WRITE, .nth = nth, .error = -EIO, .partial = true });
	cr_assert_eq(slf_commit(txn, NULL), SLF_EUNKNOWN);
	cr_assert_eq(sim_disk_faults_fired(rig.disk), 2);
	cr_assert_eq(slf_begin(rig.db, SLF_WRITE, &txn), SLF_EPOISONED);
	rig_close(&rig);
}
