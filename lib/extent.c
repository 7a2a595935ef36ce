/* SPDX-License-Identifier: MIT */
#include "extent.h"

#include <stdlib.h>

#include "error.h"

#define RESERVE_STEP_MIN (64 * KIB)
#define RESERVE_STEP_MAX (8 * MIB)

int extents_init(struct extents *extents, struct store *store)
{
	memset(extents, 0, sizeof(*extents));
	extents->spindles = calloc(store->spindle_count, sizeof(*extents->spindles));
	if (!extents->spindles)
		return -ENOMEM;
	extents->store = store;
	for (unsigned i = 0; i < store->spindle_count; i++)
		extents->spindles[i].next = 1;
	return -pthread_mutex_init(&extents->mutex, NULL);
}

void extents_release(struct extents *extents)
{
	if (!extents->spindles)
		return;
	free(extents->spindles);
	extents->spindles = NULL;
	pthread_mutex_destroy(&extents->mutex);
}

static unsigned emptiest(const struct extents *extents)
{
	unsigned best = 0;

	for (unsigned i = 1; i < extents->store->spindle_count; i++)
		if (extents->spindles[i].bulk_bytes < extents->spindles[best].bulk_bytes)
			best = i;
	return best;
}

/* Space that is allocated but given to nobody. */
static uint64_t spindle_reserve(const struct extent_spindle *at)
{
	return at->allocated_end > at->next * EXTENT_BYTES ? at->allocated_end - at->next * EXTENT_BYTES : 0;
}

static uint64_t reserve_bytes(const struct extents *extents)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < extents->store->spindle_count; i++)
		sum += spindle_reserve(&extents->spindles[i]);
	return sum;
}

/* Where most is set aside. */
static unsigned fullest_reserve(const struct extents *extents)
{
	unsigned best = emptiest(extents);

	for (unsigned i = 0; i < extents->store->spindle_count; i++)
		if (spindle_reserve(&extents->spindles[i]) > spindle_reserve(&extents->spindles[best]))
			best = i;
	return best;
}

static int allocate_to(struct extents *extents, unsigned spindle, uint64_t from, uint64_t end)
{
	struct extent_spindle *at = &extents->spindles[spindle];
	struct spindle *file = &extents->store->spindles[spindle];
	uint64_t size_max = u64_min(file->info.size_max, SEGMENT_BYTES);
	int result;

	from = u64_max(from, at->allocated_end);
	if (end <= from)
		return 0;
	if (end > size_max - size_max / 10)
		return error_set(-EFBIG, file->path, (int)spindle, from,
				 "the file has come within a tenth of the largest file possible here (%llu bytes): rewrite "
				 "the database or use more spindles",
				 (unsigned long long)size_max);
	result = spindle_allocate(file, from, end - from);
	if (!result)
		at->allocated_end = end;
	return result;
}

/* First extent of a run: runs that fit in a window do not cross one. */
static uint64_t run_start(uint64_t next, uint32_t run)
{
	uint64_t per_window = WINDOW_BYTES / EXTENT_BYTES;

	if (run > 1 && run <= per_window && next / per_window != (next + run - 1) / per_window)
		return align_up(next, per_window);
	return next;
}

int extents_take(struct extents *extents, enum stream stream, uint32_t run, uint64_t allocate, bool set_aside,
		 uint64_t *position, void *header)
{
	struct extent_header info = { .salt = extents->salt, .stream = stream, .run = run };
	struct slf_stats *stats = &extents->store->stats->values;
	uint64_t first, reserve;
	unsigned spindle;
	int result;

	pthread_mutex_lock(&extents->mutex);
	spindle = stream == STREAM_LOG ? 0 : set_aside ? fullest_reserve(extents) : emptiest(extents);
	first = run_start(extents->spindles[spindle].next, run);
	reserve = spindle_reserve(&extents->spindles[spindle]);
	result = allocate_to(extents, spindle, first * EXTENT_BYTES, first * EXTENT_BYTES + allocate);
	if (!result) {
		extents->spindles[spindle].next = first + run;
		if (!set_aside)
			atomic_fetch_add(&extents->drawn,
					 reserve - u64_min(reserve, spindle_reserve(&extents->spindles[spindle])));
		if (stream == STREAM_BULK)
			extents->spindles[spindle].bulk_bytes += run * EXTENT_BYTES;
		info.number = stream == STREAM_LOG ? extents->log_count++ : extents->bulk_count++;
		info.seq = atomic_load_explicit(&extents->seq, memory_order_relaxed);
		stats_add(stream == STREAM_LOG ? &stats->log_extents : &stats->bulk_extents, run);
		memcpy(info.uuid, extents->store->uuid, sizeof(info.uuid));
		*position = position_make(spindle, first * EXTENT_BYTES);
		extent_header_encode(header, &info, extents->store->seed, *position);
		verified_clear(&extents->store->verified, *position);
	}
	pthread_mutex_unlock(&extents->mutex);
	return result;
}

void extents_note(struct extents *extents, uint64_t seq)
{
	atomic_store_explicit(&extents->seq, seq, memory_order_relaxed);
}

void extents_trim(struct extents *extents)
{
	pthread_mutex_lock(&extents->mutex);
	for (unsigned i = 0; i < extents->store->spindle_count; i++) {
		struct extent_spindle *at = &extents->spindles[i];
		struct spindle *spindle = &extents->store->spindles[i];
		struct io_request request = { .op = IO_PUNCH, .file = spindle->file, .offset = at->next * EXTENT_BYTES };

		if (at->allocated_end <= request.offset)
			continue;
		request.length = at->allocated_end - request.offset;
		io_run(spindle->io, &request, 1);
		at->allocated_end = request.offset;
	}
	pthread_mutex_unlock(&extents->mutex);
}

int extents_reserve(struct extents *extents, uint64_t bytes)
{
	int result = 0;
	uint64_t have;

	pthread_mutex_lock(&extents->mutex);
	have = reserve_bytes(extents);
	if (have < bytes) {
		unsigned spindle = emptiest(extents);
		struct extent_spindle *at = &extents->spindles[spindle];
		uint64_t frontier = at->next * EXTENT_BYTES, step = bytes / 4;

		step = u64_min(u64_max(step, RESERVE_STEP_MIN), RESERVE_STEP_MAX);
		result = allocate_to(extents, spindle, frontier,
				     u64_max(at->allocated_end, frontier) + align_up(bytes - have + step, RESERVE_STEP_MIN));
		if (result) /* without the step */
			result = allocate_to(extents, spindle, frontier,
					     u64_max(at->allocated_end, frontier) +
						     align_up(bytes - have, META_PAGE_BYTES));
	}
	pthread_mutex_unlock(&extents->mutex);
	return result;
}

uint64_t extents_drawn(struct extents *extents)
{
	return atomic_load_explicit(&extents->drawn, memory_order_relaxed) ? atomic_exchange(&extents->drawn, 0) : 0;
}
