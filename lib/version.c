/* SPDX-License-Identifier: MIT */
#include "version.h"

#include <stdlib.h>

int versions_init(struct versions *versions, struct heap *heap)
{
	memset(versions, 0, sizeof(*versions));
	versions->heap = heap;
	return readers_init(&versions->readers);
}

#ifdef PARANOID
#define SPARE_MAX 0 /* who uses a version after its end is to be seen */
#else
#define SPARE_MAX (2 * VERSIONS_SWEEP_EVERY)
#endif
#define SPARE_GARBAGE_MAX 64 /* blocks that a spare version keeps room for */

struct version *version_new(struct versions *versions)
{
	struct version *version = versions->spare;

	if (!version)
		return calloc(1, sizeof(struct version));
	versions->spare = version->next;
	versions->spare_count--;
	*version = (struct version){ .garbage = version->garbage };
	return version;
}

static void destroy(struct version *version)
{
	garbage_release(&version->garbage);
	free(version);
}

void version_free(struct versions *versions, struct version *version)
{
	if (!version)
		return;
	if (versions->spare_count == SPARE_MAX || version->garbage.capacity > SPARE_GARBAGE_MAX) {
		destroy(version);
		return;
	}
	version->garbage.count = 0;
	version->next = versions->spare;
	versions->spare = version;
	versions->spare_count++;
}

static void destroy_chain(struct version *version)
{
	while (version) {
		struct version *next = version->next;

		destroy(version);
		version = next;
	}
}

/* The blocks go with the heap, so only our own memory is freed. */
void versions_release(struct versions *versions)
{
	destroy_chain(versions->oldest);
	destroy_chain(versions->spare);
	versions->oldest = NULL;
	versions->spare = NULL;
	for (size_t i = 0; i < versions->held_count; i++)
		garbage_release(&versions->held[i].garbage);
	garbage_release(&versions->late);
	free(versions->held);
	free(versions->active);
	readers_release(&versions->readers);
}

void version_show(struct versions *versions, struct version *version)
{
	atomic_store_explicit(&versions->visible, version, memory_order_release);
	/* after the pointer: a floor is never above the version that is loaded behind it */
	atomic_store_explicit(&versions->visible_epoch, version->epoch, memory_order_release);
}

void version_settle(struct versions *versions, struct version *version)
{
	atomic_store_explicit(&versions->durable, version, memory_order_release);
}

void versions_append(struct versions *versions, struct version *version)
{
	assert(version->epoch > versions->tip->epoch);
	versions->tip->next = version;
	versions->tip = version;
	versions->unswept++;
}

void versions_start(struct versions *versions, struct version *version)
{
	versions->oldest = version;
	versions->tip = version;
	version->swept = true;
	version_show(versions, version);
	version_settle(versions, version);
}

/* All garbage is unmarked first: blocks in it may have been born in a version before, and go with that. */
void versions_rollback(struct versions *versions, struct version *last)
{
	struct version *version, *next;

	for (version = last->next; version; version = version->next)
		garbage_unmark(&version->garbage);
	for (version = last->next; version; version = next) {
		next = version->next;
		born_free(versions->heap, version->born);
		version_free(versions, version);
	}
	last->next = NULL;
	versions->tip = last;
}

/* ---- Sweeping ---------------------------------------------------------------------------------------------------- */

struct collection {
	struct versions *versions;
	int result;
};

static int active_add(struct versions *versions, uint64_t epoch)
{
	if (versions->active_count == versions->active_capacity) {
		uint64_t *active = array_grow(versions->active, &versions->active_capacity, sizeof(*active));

		if (!active)
			return -ENOMEM;
		versions->active = active;
	}
	versions->active[versions->active_count++] = epoch;
	return 0;
}

static void collect_reader(void *context, struct reader *reader)
{
	struct collection *collection = context;
	uint64_t word = atomic_load_explicit(&reader->epoch, memory_order_acquire);

	if (word == READER_IDLE)
		return;
	if (word & 1)
		collection->versions->floor = u64_min(collection->versions->floor, word >> 1);
	else if (!collection->result)
		collection->result = active_add(collection->versions, word >> 1);
}

static int compare_epochs(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

/* Gathers the epochs in use. The pointers are loaded before the fence, so a reader that we do not see gets versions at
 * least as new. */
static int collect_active(struct versions *versions, const uint64_t *targets, size_t count, uint64_t *visible)
{
	struct collection collection = { .versions = versions };
	uint64_t durable = atomic_load_explicit(&versions->durable, memory_order_acquire)->epoch;
	uint64_t pinned = atomic_load(&versions->pinned); /* behind durable: one frozen since is not older */

	*visible = atomic_load_explicit(&versions->visible, memory_order_acquire)->epoch;
	versions->active_count = 0;
	versions->floor = UINT64_MAX;
	atomic_thread_fence(memory_order_seq_cst);
	readers_each(&versions->readers, collect_reader, &collection);
	if (!collection.result)
		collection.result = active_add(versions, *visible);
	if (!collection.result)
		collection.result = active_add(versions, durable);
	for (size_t i = 0; i < count && !collection.result; i++)
		collection.result = active_add(versions, targets[i]);
	if (!collection.result && pinned)
		collection.result = active_add(versions, pinned);
	versions->frozen = pinned ? u64_min(pinned, durable) : durable;
	if (collection.result)
		return collection.result;
	qsort(versions->active, versions->active_count, sizeof(*versions->active), compare_epochs);
	return 0;
}

/* The youngest epoch in use within [birth, retire): false when there is none. */
static bool youngest_user(const struct versions *versions, uint64_t birth, uint64_t retire, uint64_t *user)
{
	size_t low = 0, high = versions->active_count;

	if (retire > versions->floor) {
		*user = versions->floor;
		return true;
	}
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (versions->active[middle] < retire)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || versions->active[low - 1] < birth)
		return false;
	*user = versions->active[low - 1];
	return true;
}

static struct held *held_find(struct versions *versions, uint64_t epoch)
{
	for (size_t i = 0; i < versions->held_count; i++)
		if (versions->held[i].epoch == epoch)
			return &versions->held[i];
	if (versions->held_count == versions->held_capacity) {
		struct held *held = array_grow(versions->held, &versions->held_capacity, sizeof(*held));

		if (!held)
			return NULL;
		versions->held = held;
	}
	versions->held[versions->held_count] = (struct held){ .epoch = epoch };
	return &versions->held[versions->held_count++];
}

int versions_retire(struct versions *versions, struct block *block, uint64_t epoch)
{
	int result = garbage_add(&versions->late, block);

	if (result)
		return result;
	block->retired = 1;
	block->retired_at = epoch;
	versions->backlog++;
	return 0;
}

static size_t block_bytes(const struct block *block)
{
	return sizeof(*block) + block->size;
}

/* Does a checkpoint that is being written, or a later one, lead to a block that has been retired? */
static bool is_to_be_written(const struct versions *versions, const struct block *block)
{
	return block->retired_at > versions->frozen;
}

#define SWEEP_AHEAD 8 /* blocks whose headers are on their way to the cache */

/* Frees the blocks of the list that nobody sees and moves the others to their holders; block->retired_at is the epoch of
 * retirement (set here where retired_at is not 0). *swept, where it is not NULL, gets the bytes that have left the list. False
 * when the budget or memory ended it: what is left stays in the list for the next sweep. */
static bool sweep_list(struct versions *versions, struct garbage *list, uint64_t retired_at, uint64_t *swept, size_t *budget)
{
	while (list->count) {
		struct block *block = list->blocks[list->count - 1];
		uint64_t user;

		if (list->count > SWEEP_AHEAD)
			__builtin_prefetch(list->blocks[list->count - 1 - SWEEP_AHEAD], 1);
		if (!(*budget)--) {
			*budget = 0;
			return false;
		}
		if (retired_at)
			block->retired_at = retired_at;
		if (youngest_user(versions, block->birth, block->retired_at, &user)) {
			struct held *held = held_find(versions, user);

			if (!held || garbage_add(&held->garbage, block))
				return false;
			held->bytes += block_bytes(block);
			if (!is_to_be_written(versions, block))
				heap_waive(versions->heap, block);
			if (swept)
				*swept += block_bytes(block);
		} else {
			if (swept)
				*swept += block_bytes(block);
			heap_free(versions->heap, block);
		}
		list->count--;
	}
	return true;
}

static bool is_active(const struct versions *versions, uint64_t epoch)
{
	return versions->floor == epoch ||
	       bsearch(&epoch, versions->active, versions->active_count, sizeof(epoch), compare_epochs);
}

static void sweep_held(struct versions *versions, size_t *budget)
{
	for (size_t i = 0; i < versions->held_count;) {
		struct garbage garbage = versions->held[i].garbage;
		uint64_t swept = 0;
		bool done;

		if (is_active(versions, versions->held[i].epoch)) {
			i++;
			continue;
		}
		/* taken out meanwhile: sweeping may add holders behind it and move the array, but nobody is held by this one */
		versions->held[i].garbage = (struct garbage){ 0 };
		done = sweep_list(versions, &garbage, 0, &swept, budget);
		versions->held[i].garbage = garbage;
		versions->held[i].bytes -= swept;
		if (!done)
			return;
		garbage_release(&garbage);
		versions->held[i] = versions->held[--versions->held_count];
	}
}

/* Frees versions that nobody reads and whose garbage has been swept, as that of all before the visible one has; the chain keeps
 * visible, durable and everything newer. */
static void sweep_chain(struct versions *versions, uint64_t visible)
{
	struct version **link = &versions->oldest;

	while ((*link)->epoch < visible) {
		struct version *version = *link;
		uint64_t user;

		if (youngest_user(versions, version->epoch, version->next->epoch, &user)) {
			link = &version->next;
			continue;
		}
		*link = version->next;
		version_free(versions, version);
	}
}

#define SWEEP_BUDGET 2048 /* blocks freed in one sweep besides the backlog: some 100 microseconds */

/* What snapshots keep: not what is kept for versions on their way to the disk. */
static uint64_t snapshot_bytes(const struct versions *versions)
{
	uint64_t durable = atomic_load_explicit(&versions->durable, memory_order_acquire)->epoch, sum = 0;

	for (size_t i = 0; i < versions->held_count; i++)
		if (versions->held[i].epoch < durable && versions->held[i].epoch != atomic_load(&versions->pinned))
			sum += versions->held[i].bytes;
	return sum;
}

static bool sweep_all(struct versions *versions, const uint64_t *targets, size_t count)
{
	size_t budget = SWEEP_BUDGET + versions->backlog;
	struct version *version;
	uint64_t visible;

	versions->unswept = 0;
	versions->backlog = 0;
	if (collect_active(versions, targets, count, &visible))
		return false;
	sweep_held(versions, &budget);
	if (sweep_list(versions, &versions->late, 0, NULL, &budget))
		garbage_release(&versions->late);
	for (version = versions->oldest; version && version->epoch <= visible; version = version->next) {
		if (version->swept)
			continue;
		version->born = NULL;
		if (!sweep_list(versions, &version->garbage, version->epoch, NULL, &budget))
			return !budget;
		version->swept = true;
	}
	sweep_chain(versions, visible);
	return !budget;
}

bool versions_sweep(struct versions *versions, const uint64_t *targets, size_t count)
{
	bool more = sweep_all(versions, targets, count);

	atomic_store_explicit(&versions->snapshot_bytes, snapshot_bytes(versions), memory_order_relaxed);
	return more;
}
