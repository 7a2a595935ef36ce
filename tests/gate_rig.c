/* SPDX-License-Identifier: MIT */
#include "gate_rig.h"

#include <stdio.h>
#include <unistd.h>

static uint8_t large[RIG_LARGE_BYTES];

static void stop_at_gate(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct gate *gate = context;

	(void)disk;
	if (call != gate->call || !atomic_load(&gate->shut))
		return;
	atomic_fetch_add(&gate->stopped, 1);
	while (atomic_load(&gate->shut))
		usleep(200);
}

int disk_open(struct sim_disk *disk, unsigned flags, int sync, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags;
	options.sync = sync;
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(RIG_PATH, &options, io, db);
}

void rig_open(struct rig *rig, unsigned flags, int sync)
{
	*rig = (struct rig){ .disk = sim_disk_new(), .gate = { .call = SIM_WRITE } };
	alarm(RIG_SECONDS_MAX);
	sim_disk_set_hook(rig->disk, stop_at_gate, &rig->gate);
	must_work(disk_open(rig->disk, SLF_CREATE | flags, sync, &rig->db));
	rig->commit = &rig->db->core.commit;
}

void rig_open_with(struct rig *rig, const struct slf_options *options)
{
	static struct stats unused;
	struct io *io;

	rig_open(rig, SLF_NO_THREADS, options->sync);
	must_work(slf_close(rig->db));
	must_work(sim_disk_io(rig->disk, &unused, &io));
	must_work(db_open_io(RIG_PATH, options, io, &rig->db));
	rig->commit = &rig->db->core.commit;
}

void rig_close(struct rig *rig)
{
	sim_disk_clear_faults(rig->disk);
	slf_close(rig->db);
	sim_disk_free(rig->disk);
	alarm(0);
}

void rig_fail(struct rig *rig, enum sim_call call, int error, bool sticky)
{
	sim_disk_add_fault(rig->disk, &(struct sim_fault){ .call = call, .error = error, .sticky = sticky,
							   .partial = true });
}

void stamp_keys(struct slf_db *db, unsigned from, unsigned to, uint64_t stamp)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	for (unsigned i = from; i < to; i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%04u", i);
		must_work(slf_put(txn, SLF_MAIN, text(key), slice(&stamp, sizeof(stamp))));
	}
	must_work(slf_commit(txn, NULL));
}

uint64_t put_async(struct rig *rig, const char *key, size_t size)
{
	struct slf_txn *txn = txn_begin(rig->db, SLF_WRITE);
	uint64_t seq = 0;

	must_work(slf_put(txn, SLF_MAIN, text(key), slice(large, size)));
	must_work(slf_commit_async(txn, &seq));
	return seq;
}

void put_blob(struct slf_db *db)
{
	static const uint8_t blob[65000];
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);

	must_work(slf_txn_blob(txn, slice(blob, sizeof(blob))));
	must_work(slf_commit(txn, NULL));
}

void enter_next_extent(struct slf_db *db)
{
	uint64_t extent = db->core.log.extent;

	must_work(log_spare(&db->core.log, false));
	while (db->core.log.extent == extent)
		put_blob(db);
}

void promise_space(struct slf_db *db)
{
	db->core.extents.promised = 64 * MIB;
	db->core.extents.spent = 64 * MIB;
}

bool has_key(struct slf_db *db, const char *key)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	int result = slf_get(txn, SLF_MAIN, text(key), NULL);

	must(result == 0 || result == SLF_NOTFOUND);
	slf_abort(txn);
	return result == 0;
}

/* Is the key in the database on the disk, which it frees? */
static bool disk_has(struct sim_disk *disk, const char *key)
{
	struct slf_db *db = NULL;
	bool found;

	must_work(disk_open(disk, SLF_NO_THREADS, SLF_SYNC_COMMIT, &db));
	found = has_key(db, key);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return found;
}

bool survives(struct rig *rig, const char *key)
{
	return disk_has(sim_disk_crash(rig->disk, NULL, NULL), key);
}

bool comes_back(struct rig *rig, const char *key)
{
	return disk_has(sim_disk_kill(rig->disk), key);
}

unsigned gathered(struct rig *rig)
{
	unsigned count;

	pthread_mutex_lock(&rig->commit->lock);
	count = rig->commit->groups[rig->commit->fill].record_count;
	pthread_mutex_unlock(&rig->commit->lock);
	return count;
}

void wait_until_stopped(struct rig *rig)
{
	while (!atomic_load(&rig->gate.stopped))
		usleep(200);
}

void wait_until_gathered(struct rig *rig, unsigned count)
{
	while (gathered(rig) < count)
		usleep(200);
	usleep(20000); /* from there to the futex */
}

static int last_code(void)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	must_work(slf_errinfo(&info));
	return info.code;
}

void *caller_commit(void *context)
{
	struct caller *caller = context;
	struct slf_txn *txn = NULL;

	caller->result = slf_begin(caller->rig->db, SLF_WRITE, &txn);
	if (!caller->result) {
		must_work(slf_put(txn, SLF_MAIN, text(caller->key), text("value")));
		caller->result = slf_commit(txn, &caller->seq);
	}
	caller->told = last_code();
	atomic_store(&caller->done, true);
	return NULL;
}

void *caller_commit_nothing(void *context)
{
	struct caller *caller = context;
	struct slf_txn *txn = NULL;

	caller->result = slf_begin(caller->rig->db, SLF_WRITE, &txn);
	if (!caller->result)
		caller->result = slf_commit(txn, &caller->seq);
	atomic_store(&caller->done, true);
	return NULL;
}

void *caller_wait(void *context)
{
	struct caller *caller = context;

	caller->result = slf_wait(caller->rig->db, caller->seq, caller->timeout_ns);
	caller->told = last_code();
	atomic_store(&caller->done, true);
	return NULL;
}

void *caller_sync(void *context)
{
	struct caller *caller = context;

	caller->result = slf_sync(caller->rig->db, &caller->seq);
	atomic_store(&caller->done, true);
	return NULL;
}

void *caller_checkpoint(void *context)
{
	struct caller *caller = context;

	caller->result = slf_checkpoint(caller->rig->db);
	atomic_store(&caller->done, true);
	return NULL;
}

void callers_start(struct rig *rig, struct caller *callers, unsigned count, const char *name,
			  void *(*main)(void *context))
{
	for (unsigned i = 0; i < count; i++) {
		callers[i].rig = rig;
		snprintf(callers[i].key, sizeof(callers[i].key), "%s%u", name, i);
		must(pthread_create(&callers[i].thread, NULL, main, &callers[i]) == 0);
	}
}

void callers_join(struct caller *callers, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		must(pthread_join(callers[i].thread, NULL) == 0);
}

unsigned callers_done(struct caller *callers, unsigned count)
{
	unsigned done = 0;

	for (unsigned tries = 0; tries < 3000 && done < count; tries++) {
		for (done = 0; done < count && atomic_load(&callers[done].done);)
			done++;
		usleep(1000);
	}
	return done;
}
