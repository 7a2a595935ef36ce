/* SPDX-License-Identifier: MIT */
/*
 * Failure points of a checkpoint: bulk cannot be written (soft: notes and space are taken back, the old checkpoint stays,
 * the next attempt starts anew) · the flush of bulk fails (poison) · the MARK's slab is aborted (soft) or in doubt (poison, by
 * commit.c) · a page cannot be written (soft: the log is not recycled until one can).
 * Only when both pages lead to the new mark, the log before it is recycled (I6).
 */
#include "checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core.h"
#include "install.h"
#include "page.h"

#define HOLD_BACK_NS 2000000 /* longest delay before the limit */
#define LOG_SPACE_MIN (8 * MIB)
#define LOG_SPACE_HEAP_FACTOR 8
#define LOG_SPACE_FACTOR 4 /* the log may take this many times its payload budget on disk (padding) */

void core_log(struct core *core, int level, const char *format, ...)
{
	char text[512];
	va_list arguments;

	if (!core->tuning.log)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	core->tuning.log(core->tuning.log_context, level, text);
}

int checkpoint_init(struct core *core)
{
	struct checkpoint *checkpoint = &core->checkpoint;
	int result = -pthread_mutex_init(&checkpoint->mutex, NULL);

	if (!result)
		result = -pthread_cond_init(&checkpoint->changed, NULL);
	return result ? result : materialiser_init(&checkpoint->materialiser, &core->store, &core->extents);
}

void checkpoint_release(struct checkpoint *checkpoint)
{
	if (!checkpoint->materialiser.store)
		return;
	materialiser_release(&checkpoint->materialiser);
	pthread_cond_destroy(&checkpoint->changed);
	pthread_mutex_destroy(&checkpoint->mutex);
}

/* How much of the disk the log may take: padding makes slabs of tiny commits many times their payload. It is worth a
 * checkpoint when it is many times what a checkpoint would write, so a small database has a small log. */
static uint64_t log_space(struct core *core)
{
	return u64_min(LOG_SPACE_MIN + LOG_SPACE_HEAP_FACTOR * heap_used(core->heap),
		       core->tuning.log_bytes / 2 * LOG_SPACE_FACTOR);
}

static uint64_t kept_by_snapshots(struct core *core)
{
	return atomic_load_explicit(&core->versions.snapshot_bytes, memory_order_relaxed);
}

struct heap_load checkpoint_heap(struct core *core)
{
	uint64_t kept = kept_by_snapshots(core), budget = core->tuning.heap_bytes, used = heap_used(core->heap);

	return (struct heap_load){ .used = used - u64_min(used, kept),
				   .budget = u64_max(budget - u64_min(budget, kept), budget / 4) };
}

/* Nothing waits for them, so nothing else would tell why memory grows. */
static void tell_snapshots(struct core *core)
{
	uint64_t kept = kept_by_snapshots(core), budget = core->tuning.heap_bytes;
	bool *told = &core->checkpoint.snapshots_told;

	if (kept > budget / 2 && !*told)
		core_log(core, 4, "snapshots keep %llu MiB of a heap of %llu MiB: memory grows until those who read end them",
			 (unsigned long long)(kept / MIB), (unsigned long long)(budget / MIB));
	*told = kept > (*told ? budget / 4 : budget / 2);
}

bool checkpoint_due(struct core *core)
{
	struct heap_load heap = checkpoint_heap(core);
	uint64_t payload, bytes;

	if (heap.used >= heap.budget / 3 * 2)
		return true;
	pthread_mutex_lock(&core->commit.lock);
	payload = core->commit.written_bytes.payload - core->log.mark_bytes.payload;
	bytes = core->commit.written_bytes.slabs - core->log.mark_bytes.slabs;
	pthread_mutex_unlock(&core->commit.lock);
	return payload >= core->tuning.log_bytes / 2 || bytes >= log_space(core);
}

static void set_state(struct checkpoint *checkpoint, enum checkpoint_state state)
{
	pthread_mutex_lock(&checkpoint->mutex);
	checkpoint->state = state;
	checkpoint->ended += state == CHECKPOINT_IDLE;
	pthread_cond_broadcast(&checkpoint->changed);
	atomic_fetch_add(&checkpoint->word, 1);
	pthread_mutex_unlock(&checkpoint->mutex);
	futex_wake(&checkpoint->word, INT32_MAX);
}

void checkpoint_enter_private(struct core *core)
{
	struct checkpoint *checkpoint = &core->checkpoint;

	pthread_mutex_lock(&checkpoint->mutex);
	while (checkpoint->state == CHECKPOINT_WRITING || checkpoint->private)
		pthread_cond_wait(&checkpoint->changed, &checkpoint->mutex);
	checkpoint->private = true;
	/* an install under way needs its list again */
	checkpoint->set_aside = checkpoint->materialiser.written;
	checkpoint->materialiser.written = (struct garbage){ 0 };
	checkpoint->list_lent = true;
	pthread_mutex_unlock(&checkpoint->mutex);
}

/* The mutex is held. */
static void return_list(struct checkpoint *checkpoint)
{
	if (!checkpoint->list_lent)
		return;
	garbage_release(&checkpoint->materialiser.written);
	checkpoint->materialiser.written = checkpoint->set_aside;
	checkpoint->set_aside = (struct garbage){ 0 };
	checkpoint->list_lent = false;
}

void checkpoint_return_list(struct core *core)
{
	pthread_mutex_lock(&core->checkpoint.mutex);
	return_list(&core->checkpoint);
	pthread_mutex_unlock(&core->checkpoint.mutex);
}

void checkpoint_leave_private(struct core *core)
{
	struct checkpoint *checkpoint = &core->checkpoint;

	pthread_mutex_lock(&checkpoint->mutex);
	return_list(checkpoint);
	checkpoint->private = false;
	pthread_cond_broadcast(&checkpoint->changed);
	pthread_mutex_unlock(&checkpoint->mutex);
}

/* ---- Writers that are faster ------------------------------------------------------------------------------------- */

/* The share of a budget that is used, from three quarters (0) to all of it (1 and more). */
static double excess_of(uint64_t used, uint64_t budget)
{
	uint64_t free = budget / 4 * 3;

	return likely(used < free) ? 0 : (double)(used - free) / (double)(budget - free);
}

/* That of the heap, or of the log that an opening would have to replay. */
static double pressure(struct core *core)
{
	struct heap_load heap = checkpoint_heap(core);
	double of_heap = excess_of(heap.used, heap.budget);
	double of_log = excess_of(atomic_load_explicit(&core->commit.replay_bytes, memory_order_relaxed),
				  core->tuning.log_bytes);

	return of_heap > of_log ? of_heap : of_log;
}

/* Is a checkpoint under way that may make room? Not after two have ended without. */
static bool room_is_coming(struct core *core, uint64_t *first)
{
	struct checkpoint *checkpoint = &core->checkpoint;
	double excess = pressure(core);
	bool coming;

	pthread_mutex_lock(&checkpoint->mutex);
	*first = u64_min(*first, checkpoint->ended);
	coming = excess >= 1 && checkpoint->ended - *first < 2 && checkpoint->state != CHECKPOINT_IDLE;
	pthread_mutex_unlock(&checkpoint->mutex);
	return coming;
}

/* Not longer than the caller would wait for its turn: whom the checkpoint waits for may be the caller itself. */
static void wait_for_room(struct core *core, uint64_t deadline_ns)
{
	_Atomic uint32_t *word = &core->checkpoint.word;
	uint64_t first = UINT64_MAX;

	for (;;) {
		uint32_t seen = atomic_load(word);
		bool coming = room_is_coming(core, &first);
		uint64_t now = clock_now_ns();

		if (!coming || now >= deadline_ns)
			return;
		futex_wait(word, seen, deadline_ns == UINT64_MAX ? -1 : (int64_t)(deadline_ns - now));
	}
}

int checkpoint_hold_back(struct core *core, int64_t *timeout_ns)
{
	double excess = pressure(core);
	uint64_t start, waited, first = UINT64_MAX;

	if (likely(excess <= 0))
		return 0;
	core->wake_checkpoint(core->wake_context);
	if (*timeout_ns == 0)
		return excess >= 1 && room_is_coming(core, &first) ? -EBUSY : 0;
	start = clock_now_ns();
	if (excess < 1) {
		uint64_t delay = (uint64_t)(excess * excess * (double)HOLD_BACK_NS);
		struct timespec pause = { .tv_nsec = (long)u64_min(delay, (uint64_t)*timeout_ns) };

		nanosleep(&pause, NULL);
	} else {
		wait_for_room(core, *timeout_ns < 0 ? UINT64_MAX : start + (uint64_t)*timeout_ns);
	}
	waited = clock_now_ns() - start;
	stats_add(&core->stats.values.checkpoint_stall_ns, waited);
	if (*timeout_ns < 0)
		return 0;
	if (waited < (uint64_t)*timeout_ns)
		*timeout_ns -= (int64_t)waited;
	else if (excess >= 1)
		return -ETIMEDOUT;
	else
		*timeout_ns = 1; /* a mere delay leaves one look at the turn */
	return 0;
}

/* ---- Pages ------------------------------------------------------------------------------------------------------- */

static int write_page(struct core *core, const struct meta *meta)
{
	struct spindle *spindle = &core->store.spindles[0];
	int result = page_write(spindle, meta);

	if (result)
		return result;
	/* Not as one write that flushes: a failed write is soft, a failed flush may have lost what others count on. */
	result = spindle_sync(spindle);
	if (result)
		commit_poison(&core->commit);
	return result;
}

/* The next page, in the other slot. */
static int write_next_page(struct core *core)
{
	struct checkpoint *checkpoint = &core->checkpoint;
	struct meta meta = checkpoint->meta;
	int result;

	meta.generation++;
	meta.slot = checkpoint->slot ^ 1;
	result = write_page(core, &meta);
	if (result)
		return result;
	checkpoint->meta = meta;
	checkpoint->slot = meta.slot;
	atomic_store(&checkpoint->generation, meta.generation);
	return 0;
}

int checkpoint_write_pages(struct core *core, bool clean)
{
	struct meta *meta = &core->checkpoint.meta;
	struct commit *commit = &core->commit;
	int result;

	pthread_mutex_lock(&commit->lock);
	meta->durable_seq = atomic_load(&commit->durable_seq);
	meta->seq_limit = clean ? commit->next_seq - 1 : commit->seq_limit;
	meta->log_end = commit->settled_place.position;
	meta->log_number = commit->settled_place.number;
	pthread_mutex_unlock(&commit->lock);
	meta->flags = clean ? META_FLAG_CLEAN : 0;
	result = write_next_page(core);
	if (!result)
		result = write_next_page(core);
	return result;
}

/* ---- Mark -------------------------------------------------------------------------------------------------------- */

void checkpoint_mark(struct core *core, struct mark *mark, const struct version *version, const struct tree_root *roots,
		     const struct log_place *place, uint64_t *recyclable)
{
	uint64_t free_extents[MARK_RECYCLABLE_MAX];
	size_t count;

	memset(mark, 0, sizeof(*mark));
	mark->root_seq = version->seq;
	mark->digest = version->digest;
	mark->search_ns = version->search_ns;
	mark->roots = *roots;
	mark->next_tree = version->next_tree;
	mark->user_entries = version->user_entries;
	mark->replay_position = place->position;
	mark->replay_next = place->next;
	mark->replay_number = place->number;
	mark->replay_previous = place->previous;
	pthread_mutex_lock(&core->extents.mutex);
	mark->spindle_count = core->store.spindle_count;
	mark->log_extents = core->extents.log_count;
	mark->bulk_extents = core->extents.bulk_count;
	for (unsigned i = 0; i < core->store.spindle_count; i++)
		mark->spindles[i] = (struct mark_spindle){ core->extents.spindles[i].next,
							   core->extents.spindles[i].bulk_bytes };
	pthread_mutex_unlock(&core->extents.mutex);
	/* with those that this mark sets free: they are used only when both pages lead to it */
	count = log_free_list(&core->log, place->number, free_extents, MARK_RECYCLABLE_MAX);
	for (size_t i = 0; i < count; i++)
		put_u64(&recyclable[i], free_extents[i]);
	mark->recyclable_count = (uint32_t)count;
	mark->recyclable = slice(recyclable, count * sizeof(uint64_t));
}

void checkpoint_publish(struct core *core, const struct log_slab *slab, uint64_t root_seq, const struct log_place *replay)
{
	struct checkpoint *checkpoint = &core->checkpoint;
	int result;

	commit_move_mark(&core->commit, replay);
	stats_add(&core->stats.values.checkpoints, 1);
	stats_add(&core->stats.values.checkpoint_bytes, checkpoint->materialiser.bytes);
	checkpoint->meta.mark_position = slab->position;
	checkpoint->meta.mark_number = slab->number;
	checkpoint->meta.mark_digest = slab->digest;
	checkpoint->meta.floor_seq = root_seq;
	atomic_store(&checkpoint->seq, root_seq);
	result = checkpoint_write_pages(core, false);
	if (result)
		core_log(core, 4, "metadata page not written (%s): the log is kept until it can be", error_detail(result));
	else
		log_recycle(&core->log, replay->number);
}

/* ---- The checkpoint ---------------------------------------------------------------------------------------------- */

/* Gives the mark to the group that fills. *before: the number of the slab that the last one is in. */
static int append_mark(struct core *core, const struct mark *mark, uint64_t *before)
{
	size_t bytes = mark_bytes(mark);
	void *body = malloc(bytes);
	int result;

	if (!body)
		return -ENOMEM;
	mark_encode(body, mark);
	pthread_mutex_lock(&core->commit.lock);
	*before = core->commit.mark_slab.number;
	pthread_mutex_unlock(&core->commit.lock);
	result = commit_record(&core->commit, LOG_MARK, slice(body, bytes));
	free(body);
	return result;
}

/* Waits until the mark is durable. When another thread had to give up the slab it was in: for what reason. A failure may be that of
 * commits behind it: then another one is to be written, and yet this one may be found. */
static int await_mark(struct core *core, uint64_t before, struct log_slab *slab)
{
	int result = commit_sync(&core->commit, NULL);

	pthread_mutex_lock(&core->commit.lock);
	*slab = core->commit.mark_slab;
	if (!result && slab->number == before) {
		assert(core->commit.aborted);
		error_restore(&core->commit.aborted_info);
		result = core->commit.aborted;
	}
	pthread_mutex_unlock(&core->commit.lock);
	return result;
}

/* Writes the frozen version: bulk, sync, mark. *roots gets the new root of the roots tree, *slab is the mark's. */
static int write_version(struct core *core, const struct version *frozen, const struct log_place *place,
			 struct tree_root *roots, struct log_slab *slab)
{
	struct materialiser *materialiser = &core->checkpoint.materialiser;
	uint64_t recyclable[MARK_RECYCLABLE_MAX];
	struct mark mark;
	uint64_t before;
	int result;

	materialise_begin(materialiser);
	*roots = frozen->roots;
	result = materialise_forest(materialiser, frozen->forest, roots);
	if (!result)
		result = materialise_flush(materialiser);
	if (result) {
		materialise_undo(materialiser);
		return result;
	}
	result = materialise_sync(materialiser);
	if (result) {
		materialise_forget(materialiser);
		commit_poison(&core->commit);
		return result;
	}
	checkpoint_mark(core, &mark, frozen, roots, place, recyclable);
	result = append_mark(core, &mark, &before);
	if (result) {
		materialise_undo(materialiser);
		return result;
	}
	result = await_mark(core, before, slab);
	core->checkpoint.owed = materialiser->owed;
	if (result) { /* what a mark that may be found leads to stays */
		materialise_forget(materialiser);
		extents_redeem(&core->extents, heap_owed(core->heap));
	}
	return result;
}

static int run_exclusive(struct core *core)
{
	struct log_place place;
	struct log_slab slab;
	struct version *frozen;
	struct tree_root roots;
	int result = 0;

	if (core->tuning.sync != SLF_SYNC_COMMIT)
		result = commit_sync(&core->commit, NULL);
	if (!result)
		result = commit_check(&core->commit);
	if (result)
		return result;
	frozen = commit_freeze(&core->commit, &place);
	if (!frozen->forest && frozen->seq == atomic_load(&core->checkpoint.seq)) { /* a commit may bring a blob only */
		commit_move_mark(&core->commit, &place);
		goto out; /* nothing has changed since the last checkpoint */
	}
	result = write_version(core, frozen, &place, &roots, &slab);
	if (result)
		goto out;
	atomic_store(&core->checkpoint.failed, 0); /* who waits for space need not wait for the install */
	checkpoint_publish(core, &slab, frozen->seq, &place);
	set_state(&core->checkpoint, CHECKPOINT_INSTALLING);
	if (!core->closing) /* else the heap goes as a whole */
		result = install_run(core, frozen->epoch, frozen->roots_epoch, &roots);
out:
	atomic_store(&core->versions.pinned, 0);
	return result;
}

/* A disk that stays full is told once, not with each attempt. */
static void note_result(struct core *core, int result)
{
	struct checkpoint *checkpoint = &core->checkpoint;
	int before = atomic_exchange(&checkpoint->failed, result);
	uint64_t pause_ns = (uint64_t)CHECKPOINT_RETRY_NS << u64_min(checkpoint->failures, 4);

	checkpoint->failures = result ? checkpoint->failures + 1 : 0;
	atomic_store(&checkpoint->retry_ns, result ? clock_now_ns() + pause_ns : 0);
	if (result && result != before)
		core_log(core, 3, "checkpoint failed: %s", error_detail(result));
}

int checkpoint_run(struct core *core)
{
	struct checkpoint *checkpoint = &core->checkpoint;
	int result;

	pthread_mutex_lock(&checkpoint->mutex);
	while (checkpoint->state != CHECKPOINT_IDLE || checkpoint->private)
		pthread_cond_wait(&checkpoint->changed, &checkpoint->mutex);
	checkpoint->state = CHECKPOINT_WRITING;
	pthread_mutex_unlock(&checkpoint->mutex);
	result = run_exclusive(core);
	note_result(core, result);
	tell_snapshots(core);
	set_state(checkpoint, CHECKPOINT_IDLE);
	return result;
}

/* Is the next one not to be tried as yet? When the heap is full it is: only deletes could go on without it. */
static bool pauses(struct core *core)
{
	struct heap_load heap = checkpoint_heap(core);

	return atomic_load(&core->checkpoint.failed) && heap.used <= heap.budget &&
	       clock_now_ns() < atomic_load(&core->checkpoint.retry_ns);
}

static bool run_when_due(struct core *core)
{
	struct slf_errinfo info = { .size = sizeof(info) };
	uint64_t start;

	if (core->tuning.threads || core->tuning.readonly || atomic_load(&core->commit.poisoned))
		return false;
	if (!checkpoint_due(core) || pauses(core))
		return false;
	start = clock_now_ns();
	error_get(&info); /* of the transaction, which the caller is still to be told */
	checkpoint_run(core);
	error_restore(&info);
	stats_add(&core->stats.values.checkpoint_stall_ns, clock_now_ns() - start);
	return true;
}

void checkpoint_alone(struct core *core)
{
	if (!atomic_exchange(&core->checkpoint.tried_again, false) || !atomic_load(&core->checkpoint.failed))
		run_when_due(core);
}

void checkpoint_again(struct core *core)
{
	if (unlikely(atomic_load_explicit(&core->checkpoint.failed, memory_order_relaxed))) /* a hint, as the other */
		atomic_store(&core->checkpoint.tried_again, run_when_due(core));
}
