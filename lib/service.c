/* SPDX-License-Identifier: MIT */
/*
 * A worker sleeps on its word. Whoever has work bumps the word and, when the worker is asleep, wakes it; the worker loads
 * the word before it looks for work and sleeps only while it is unchanged, so no work is overlooked. `asleep` saves the
 * call into the kernel: it is set before the last look at the word (both sequentially consistent).
 */
#include "service.h"

#include <signal.h>

#include "error.h"

#define WRITE_OUT_NS ((int64_t)4000000)  /* no-sync commits reach the page cache after this time at the latest */
#define RETRY_NS ((int64_t)200000000)    /* between checkpoints that fail */
#define WRITE_OUT_BYTES ((size_t)64 * 1024)

static void worker_wake(void *context)
{
	struct worker *worker = context;

	atomic_fetch_add(&worker->word, 1);
	if (atomic_load(&worker->asleep))
		futex_wake(&worker->word, 1);
}

/* Sleeps until the word has moved from seen. */
static void worker_sleep(struct worker *worker, uint32_t seen, int64_t timeout_ns)
{
	atomic_store(&worker->asleep, true);
	if (atomic_load(&worker->word) == seen && !atomic_load(&worker->stop))
		futex_wait(&worker->word, seen, timeout_ns);
	atomic_store(&worker->asleep, false);
}

/* What the flusher does now; returns how long it may sleep, < 0 for as long as nobody wakes it. */
static int64_t flusher_step(struct core *core, uint64_t *gathering_since)
{
	struct commit_load load = commit_load(&core->commit);
	uint64_t now = clock_now_ns();
	int result = 0;

	if (log_low(&core->log))
		result = log_spare(&core->log, core->tuning.sync == SLF_SYNC_COMMIT);
	if (result)
		core_log(core, 4, "the next log extent cannot be prepared: %s", error_detail(result));
	if (core->tuning.sync == SLF_SYNC_COMMIT) {
		if (load.gathered)
			commit_sync(&core->commit, NULL);
		return -1;
	}
	if (!load.gathered && !load.unsynced)
		return -1;
	if (!*gathering_since)
		*gathering_since = now;
	if (core->tuning.sync == SLF_SYNC_AUTO &&
	    (now - *gathering_since >= core->tuning.auto_sync_ns ||
	     load.unflushed + load.gathered >= core->tuning.auto_sync_bytes)) {
		*gathering_since = 0;
		commit_sync(&core->commit, NULL);
		return -1;
	}
	if (load.gathered >= WRITE_OUT_BYTES || now - *gathering_since >= (uint64_t)WRITE_OUT_NS)
		commit_write_out(&core->commit);
	if (core->tuning.sync == SLF_SYNC_AUTO)
		return (int64_t)u64_max(core->tuning.auto_sync_ns / 4, 1000000);
	if (!commit_load(&core->commit).gathered) {
		*gathering_since = 0;
		return -1;
	}
	return WRITE_OUT_NS;
}

static void *flusher_main(void *context)
{
	struct worker *worker = context;
	uint64_t gathering_since = 0;

	while (!atomic_load(&worker->stop)) {
		uint32_t seen = atomic_load(&worker->word);
		int64_t timeout_ns = -1;

		if (!atomic_load(&worker->core->commit.poisoned))
			timeout_ns = flusher_step(worker->core, &gathering_since);
		worker_sleep(worker, seen, timeout_ns);
	}
	return NULL;
}

static void *checkpointer_main(void *context)
{
	struct worker *worker = context;
	struct core *core = worker->core;

	while (!atomic_load(&worker->stop)) {
		uint32_t seen = atomic_load(&worker->word);
		int64_t timeout_ns = -1;

		if (!atomic_load(&core->commit.poisoned) && checkpoint_due(core))
			timeout_ns = checkpoint_run(core) || checkpoint_due(core) ? RETRY_NS : 0; /* old snapshots may hold it */
		if (timeout_ns)
			worker_sleep(worker, seen, timeout_ns);
	}
	return NULL;
}

/* name: at most 15 bytes, for who looks at the process from outside. */
static int worker_start(struct worker *worker, struct core *core, const char *name, void *(*main)(void *context))
{
	int result;

	worker->core = core;
	result = -pthread_create(&worker->thread, NULL, main, worker);
	worker->started = result == 0;
	if (worker->started)
		pthread_setname_np(worker->thread, name);
	return result;
}

static void worker_stop(struct worker *worker)
{
	if (!worker->started)
		return;
	atomic_store(&worker->stop, true);
	atomic_fetch_add(&worker->word, 1);
	futex_wake(&worker->word, 1);
	pthread_join(worker->thread, NULL);
	worker->started = false;
}

int service_start(struct service *service, struct core *core)
{
	sigset_t all, before;
	int result;

	*service = (struct service){ 0 };
	/* first: the threads look at them */
	core->commit.wake_context = &service->flusher;
	core->commit.wake = worker_wake;
	core->wake_context = &service->checkpointer;
	core->wake_checkpoint = worker_wake;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = worker_start(&service->flusher, core, "slf-flush", flusher_main);
	if (!result)
		result = worker_start(&service->checkpointer, core, "slf-checkpoint", checkpointer_main);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!result)
		return 0;
	service_stop(service);
	return error_set(result, NULL, -1, OFFSET_NONE, "no thread can be started (SLF_NO_THREADS does without): %s",
			 error_text(result));
}

void service_stop(struct service *service)
{
	worker_stop(&service->checkpointer);
	worker_stop(&service->flusher);
}
