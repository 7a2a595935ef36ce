/* SPDX-License-Identifier: MIT */
/*
 * A worker sleeps on its word. Whoever has work bumps the word and, when the worker is asleep, wakes it; the worker loads
 * the word before it looks for work and sleeps only while it is unchanged, so no work is overlooked. `asleep` saves the
 * call into the kernel: it is set before the last look at the word (both sequentially consistent).
 */
#include "service.h"

#include <signal.h>

#include "error.h"

#define WRITE_OUT_NS ((uint64_t)4000000) /* no-sync commits reach the page cache after this time at the latest */

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

/* Whoever asks for a checkpoint meanwhile is heard afterwards. */
static void worker_pause(struct worker *worker, uint64_t end_ns)
{
	for (;;) {
		uint32_t seen = atomic_load(&worker->word);
		uint64_t now_ns = clock_now_ns();

		if (atomic_load(&worker->stop) || now_ns >= end_ns)
			return;
		futex_wait(&worker->word, seen, (int64_t)(end_ns - now_ns));
	}
}

/* Since when something waits for being written, and for a flush; 0: nothing does. */
struct waits {
	uint64_t write, flush;
};

static void waits_set(uint64_t *since, bool waits, uint64_t now)
{
	*since = !waits ? 0 : *since ? *since : now;
}

/* A disk that stays full is told once: each commit brings the flusher here. */
static void prepare_extent(struct worker *worker)
{
	struct core *core = worker->core;
	int result = log_low(&core->log) ? log_spare(&core->log, core->tuning.sync == SLF_SYNC_COMMIT) : 0;

	if (result && !worker->told)
		core_log(core, 4, "the next log extent cannot be prepared: %s", error_detail(result));
	worker->told = result != 0;
	if (result == SLF_EUNKNOWN)
		commit_poison(&core->commit);
}

/* What the flusher does now; returns how long it may sleep, < 0 for as long as nobody wakes it. */
static int64_t flusher_step(struct worker *worker, struct waits *since)
{
	struct core *core = worker->core;
	struct commit_load load = commit_load(&core->commit);
	uint64_t now = clock_now_ns(), left = UINT64_MAX, waited;

	prepare_extent(worker);
	if (core->tuning.sync == SLF_SYNC_COMMIT) {
		if (load.gathered)
			commit_sync(&core->commit, NULL);
		return -1;
	}
	waits_set(&since->write, load.gathered, now);
	waits_set(&since->flush, core->tuning.sync == SLF_SYNC_AUTO && (load.gathered || load.unflushed), now);
	if (since->flush && (now - since->flush >= core->tuning.auto_sync_ns ||
			     load.unflushed + load.gathered >= core->tuning.auto_sync_bytes)) {
		commit_sync(&core->commit, NULL);
		*since = (struct waits){ 0 };
		return 0;
	}
	if (since->write && (load.gathered >= WRITE_OUT_BYTES || now - since->write >= WRITE_OUT_NS)) {
		commit_write_out(&core->commit);
		now = clock_now_ns();
		since->write = commit_load(&core->commit).gathered ? now : 0;
	}
	if (since->write)
		left = WRITE_OUT_NS - (now - since->write);
	waited = now - since->flush;
	if (since->flush)
		left = u64_min(left, core->tuning.auto_sync_ns > waited ? core->tuning.auto_sync_ns - waited : 0);
	return left > INT64_MAX ? -1 : (int64_t)left;
}

static void *flusher_main(void *context)
{
	struct worker *worker = context;
	struct waits since = { 0 };

	while (!atomic_load(&worker->stop)) {
		uint32_t seen = atomic_load(&worker->word);
		int64_t timeout_ns = -1;

		if (!atomic_load(&worker->core->commit.poisoned))
			timeout_ns = flusher_step(worker, &since);
		if (timeout_ns)
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

		if (!atomic_load(&core->commit.poisoned) && checkpoint_due(core)) {
			if (checkpoint_run(core)) {
				worker_pause(worker, atomic_load(&core->checkpoint.retry_ns));
				continue;
			}
			timeout_ns = checkpoint_due(core) ? CHECKPOINT_RETRY_NS : 0; /* old snapshots may hold it */
		}
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
