/* SPDX-License-Identifier: MIT */
#include "extent.h"

#include <stdlib.h>

#include "error.h"

#define RESERVE_STEP_MIN (64 * KIB)
#define RESERVE_STEP_MAX (8 * MIB)
#define PIECE_LOSS (EXTENT_DATA + 64 * KIB) /* header, and a rest that the next entry does not fit in, see store_room() */
#define LEAST_LOSS (EXTENT_DATA + 3 * META_PAGE_BYTES) /* header, and what is flushed begins with a page */

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
	free(extents->returned);
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
static uint64_t frontier_bytes(const struct extent_spindle *at)
{
	return at->allocated_end > at->next * EXTENT_BYTES ? at->allocated_end - at->next * EXTENT_BYTES : 0;
}

static uint64_t set_aside_bytes(const struct extents *extents)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < extents->store->spindle_count; i++)
		sum += frontier_bytes(&extents->spindles[i]);
	for (size_t i = 0; i < extents->returned_count; i++)
		sum += extents->returned[i].allocated;
	return sum;
}

/* What a piece that is less than an extent may be short of. */
static uint64_t piece_loss(uint64_t bytes)
{
	return u64_min(bytes % EXTENT_BYTES, PIECE_LOSS);
}

/* Of what is set aside, so much is certain to hold entries, whatever their sizes: in one piece all of it but for what begins and
 * ends an extent, in each other piece less than its header and an entry, and where nodes and values share the last extent, less than a
 * third. */
static uint64_t usable_bytes(const struct extents *extents)
{
	uint64_t sum = set_aside_bytes(extents), loss = 0, most = 0, piece;

	for (unsigned i = 0; i < extents->store->spindle_count; i++) {
		piece = piece_loss(frontier_bytes(&extents->spindles[i]));
		loss += piece;
		most = u64_max(most, piece);
	}
	for (size_t i = 0; i < extents->returned_count; i++) {
		piece = piece_loss(extents->returned[i].allocated);
		loss += piece;
		most = u64_max(most, piece);
	}
	loss = loss - most + LEAST_LOSS + (sum > EXTENT_BYTES ? PIECE_LOSS : 0) + u64_min(sum, EXTENT_BYTES) / 10 * 3;
	return sum - u64_min(sum, loss);
}

/* Of what is set aside, so much may not go to others: with what two pieces more would be short of, which a run may make of it. */
static uint64_t owed_bytes(const struct extents *extents)
{
	uint64_t promised = extents_promised(extents);

	if (promised <= extents->spent)
		return 0;
	return promised - extents->spent + set_aside_bytes(extents) - usable_bytes(extents) + 2 * PIECE_LOSS;
}

/* Where most is set aside. */
static unsigned fullest_frontier(const struct extents *extents)
{
	unsigned best = emptiest(extents);

	for (unsigned i = 0; i < extents->store->spindle_count; i++)
		if (frontier_bytes(&extents->spindles[i]) > frontier_bytes(&extents->spindles[best]))
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
	end = align_up(end, META_PAGE_BYTES);
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

void extents_give_back(struct extents *extents, uint64_t position, uint64_t length)
{
	struct spindle *spindle = &extents->store->spindles[position_spindle(position)];
	struct io_request request = {
		.op = IO_PUNCH, .file = spindle->file, .offset = position_offset(position), .length = length
	};

	io_run(spindle->io, &request, 1);
}

/* First extent of a run: runs that fit in a window do not cross one. */
static uint64_t run_start(uint64_t next, uint32_t run)
{
	uint64_t per_window = WINDOW_BYTES / EXTENT_BYTES;

	if (run > 1 && run <= per_window && next / per_window != (next + run - 1) / per_window)
		return align_up(next, per_window);
	return next;
}

/* A run on this spindle, so that `left` bytes behind it are allocated besides. */
static int take_on(struct extents *extents, unsigned spindle, struct extent_header *info, uint64_t allocate, uint64_t left,
		   uint64_t *position)
{
	struct extent_spindle *at = &extents->spindles[spindle];
	struct slf_stats *stats = &extents->store->stats->values;
	uint64_t first = run_start(at->next, info->run), end = first * EXTENT_BYTES + allocate;
	uint64_t skipped = at->next * EXTENT_BYTES, allocated = at->allocated_end;
	int result;

	if (left)
		end = u64_max(end, (first + info->run) * EXTENT_BYTES + left);
	result = allocate_to(extents, spindle, first * EXTENT_BYTES, end);
	if (result)
		return result;
	if (first * EXTENT_BYTES > skipped && allocated > skipped)
		extents_give_back(extents, position_make(spindle, skipped), u64_min(allocated, first * EXTENT_BYTES) - skipped);
	at->next = first + info->run;
	if (info->stream == STREAM_BULK)
		at->bulk_bytes += info->run * EXTENT_BYTES;
	stats_add(info->stream == STREAM_LOG ? &stats->log_extents : &stats->bulk_extents, info->run);
	*position = position_make(spindle, first * EXTENT_BYTES);
	return 0;
}

static void make_header(struct extents *extents, struct extent_header *info, uint64_t position, void *header)
{
	info->salt = extents->salt;
	info->number = info->stream == STREAM_LOG ? extents->log_count++ : extents->bulk_count++;
	info->seq = atomic_load_explicit(&extents->seq, memory_order_relaxed);
	memcpy(info->uuid, extents->store->uuid, sizeof(info->uuid));
	extent_header_encode(header, info, extents->store->seed, position);
	verified_clear(&extents->store->verified, position);
}

int extents_take(struct extents *extents, enum stream stream, uint32_t run, uint64_t allocate, uint64_t *position, void *header)
{
	struct extent_header info = { .stream = stream, .run = run };
	unsigned first, count = stream == STREAM_LOG ? 1 : extents->store->spindle_count;
	int result = -ENOSPC;

	pthread_mutex_lock(&extents->mutex);
	first = stream == STREAM_LOG ? 0 : emptiest(extents);
	for (unsigned i = 0; i < count && error_is_space(result); i++) {
		unsigned spindle = (first + i) % extents->store->spindle_count;
		uint64_t owed = owed_bytes(extents);
		uint64_t others = set_aside_bytes(extents) - frontier_bytes(&extents->spindles[spindle]);

		result = take_on(extents, spindle, &info, allocate, owed - u64_min(owed, others), position);
	}
	if (!result)
		make_header(extents, &info, *position, header);
	pthread_mutex_unlock(&extents->mutex);
	return result;
}

static int take_new(struct extents *extents, struct extent_header *info, uint64_t allocate, uint64_t *position,
		    uint64_t *allocated)
{
	unsigned first = fullest_frontier(extents), count = extents->store->spindle_count;
	int result = -ENOSPC;

	for (unsigned i = 0; i < count && error_is_space(result); i++) {
		unsigned spindle = (first + i) % count;
		const struct extent_spindle *at = &extents->spindles[spindle];
		uint64_t before = frontier_bytes(at);

		result = take_on(extents, spindle, info, allocate, 0, position);
		if (result)
			continue;
		extents->spent += before - frontier_bytes(at);
		*allocated = u64_min(at->allocated_end - position_offset(*position), EXTENT_BYTES);
	}
	return result;
}

/* Of those that were given back the last one in which so many bytes are allocated: false when there is none. */
static bool take_returned(struct extents *extents, uint64_t allocate, uint64_t *position, uint64_t *allocated)
{
	struct extent_returned *at = extents->returned;
	size_t i = extents->returned_count;

	while (i > 0 && at[i - 1].allocated < allocate)
		i--;
	if (i == 0)
		return false;
	*position = at[i - 1].position;
	*allocated = at[i - 1].allocated;
	extents->spent += at[i - 1].allocated;
	memmove(&at[i - 1], &at[i], (extents->returned_count - i) * sizeof(*at));
	extents->returned_count--;
	return true;
}

/* On a full disk: there may be as much as one of them lacks. */
static int grow_returned(struct extents *extents, uint64_t allocate)
{
	uint64_t end = align_up(allocate, META_PAGE_BYTES);
	int result = -ENOSPC;

	for (size_t i = extents->returned_count; i > 0 && error_is_space(result); i--) {
		struct extent_returned *at = &extents->returned[i - 1];
		struct spindle *spindle = &extents->store->spindles[position_spindle(at->position)];

		result = spindle_allocate(spindle, position_offset(at->position) + at->allocated, end - at->allocated);
		if (!result)
			at->allocated = end;
	}
	return result;
}

int extents_take_set_aside(struct extents *extents, uint64_t allocate, uint64_t *position, uint64_t *allocated, void *header)
{
	struct extent_header info = { .stream = STREAM_BULK, .run = 1 };
	int result = 0;

	pthread_mutex_lock(&extents->mutex);
	if (!take_returned(extents, allocate, position, allocated)) {
		result = take_new(extents, &info, allocate, position, allocated);
		if (error_is_space(result) && extents->returned_count) {
			result = grow_returned(extents, allocate);
			if (!result)
				take_returned(extents, allocate, position, allocated);
		}
	}
	if (!result)
		make_header(extents, &info, *position, header);
	pthread_mutex_unlock(&extents->mutex);
	return result;
}

void extents_return(struct extents *extents, uint64_t position, uint64_t allocated)
{
	pthread_mutex_lock(&extents->mutex);
	extents->spent -= u64_min(extents->spent, allocated);
	if (extents->returned_count == extents->returned_capacity) {
		size_t capacity = u64_max(16, 2 * extents->returned_capacity);
		struct extent_returned *grown = realloc(extents->returned, capacity * sizeof(*grown));

		if (grown) {
			extents->returned = grown;
			extents->returned_capacity = capacity;
		}
	}
	if (extents->returned_count < extents->returned_capacity) /* else it is lost until it is compacted */
		extents->returned[extents->returned_count++] = (struct extent_returned){ position, allocated };
	pthread_mutex_unlock(&extents->mutex);
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
		uint64_t frontier = at->next * EXTENT_BYTES;

		if (frontier_bytes(at))
			extents_give_back(extents, position_make(i, frontier), frontier_bytes(at));
		at->allocated_end = u64_min(at->allocated_end, frontier);
	}
	for (size_t i = 0; i < extents->returned_count; i++)
		extents_give_back(extents, extents->returned[i].position, extents->returned[i].allocated);
	extents->returned_count = 0;
	pthread_mutex_unlock(&extents->mutex);
}

/* So many bytes more on this spindle, and a step ahead where there is space for it. */
static int reserve_on(struct extents *extents, unsigned spindle, uint64_t more, uint64_t step)
{
	struct extent_spindle *at = &extents->spindles[spindle];
	uint64_t frontier = at->next * EXTENT_BYTES, end = u64_max(at->allocated_end, frontier);
	int result = allocate_to(extents, spindle, frontier, end + align_up(more + step, RESERVE_STEP_MIN));

	return result ? allocate_to(extents, spindle, frontier, end + align_up(more, META_PAGE_BYTES)) : 0;
}

/* The mutex is held. */
static void promise(struct extents *extents, uint64_t bytes)
{
	atomic_store_explicit(&extents->promised, bytes, memory_order_relaxed);
}

int extents_reserve(struct extents *extents, uint64_t bytes)
{
	uint64_t step = u64_min(u64_max(bytes / 4, RESERVE_STEP_MIN), RESERVE_STEP_MAX), have;
	unsigned first, tried = 0, count = extents->store->spindle_count;
	int result = 0;

	pthread_mutex_lock(&extents->mutex);
	first = emptiest(extents);
	have = usable_bytes(extents) + extents->spent;
	while (have < bytes && tried < count && (!result || error_is_space(result))) { /* not all that is new need be usable */
		result = reserve_on(extents, (first + tried) % count, bytes - have, step);
		tried += result != 0;
		have = usable_bytes(extents) + extents->spent;
	}
	if (have >= bytes) {
		promise(extents, u64_max(extents_promised(extents), u64_min(have, bytes + bytes / 4)));
		result = 0;
	}
	pthread_mutex_unlock(&extents->mutex);
	return result;
}

void extents_relax(struct extents *extents, uint64_t bytes)
{
	if (likely(extents_promised(extents) <= bytes))
		return;
	pthread_mutex_lock(&extents->mutex);
	promise(extents, u64_min(extents_promised(extents), bytes));
	pthread_mutex_unlock(&extents->mutex);
}

void extents_redeem(struct extents *extents, uint64_t bytes)
{
	pthread_mutex_lock(&extents->mutex);
	extents->spent = 0;
	promise(extents, u64_min(bytes, usable_bytes(extents)));
	pthread_mutex_unlock(&extents->mutex);
}
