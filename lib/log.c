/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "error.h"

#define ALLOCATE_STEP_MIN (16 * KIB)
#define PAD_BYTES_MAX 4096 /* for devices with larger sectors nothing is promised */

int log_init(struct log *log, struct store *store, struct extents *extents)
{
	memset(log, 0, sizeof(*log));
	log->store = store;
	log->extents = extents;
	/* a database made for smaller sectors than the device now has is written through the page cache */
	log->direct = store->spindles[0].info.direct &&
		      store->settings.sector % store->spindles[0].info.logical_sector == 0;
	log->pad = (uint32_t)u64_max(store->settings.sector, u64_min(store->spindles[0].info.physical_sector, PAD_BYTES_MAX));
	log->bridge = aligned_alloc(4096, align_up(log->pad, 4096));
	if (!log->bridge)
		return -ENOMEM;
	return -pthread_mutex_init(&log->mutex, NULL);
}

void log_release(struct log *log)
{
	if (!log->store)
		return;
	free(log->bridge);
	free(log->live);
	free(log->free);
	pthread_mutex_destroy(&log->mutex);
	log->store = NULL;
}

/* From the end of the log to that of a slab. */
static uint32_t length_here(const struct log *log, uint64_t payload)
{
	uint64_t position = log->end.position;

	return (uint32_t)(align_up(position + slab_bytes(payload, log->store->settings.sector), log->pad) - position);
}

/* Room for one more. */
static int live_reserve(struct log *log)
{
	struct log_extent *live;

	if (log->live_count < log->live_capacity)
		return 0;
	live = array_grow(log->live, &log->live_capacity, sizeof(*live));
	if (!live)
		return -ENOMEM;
	log->live = live;
	return 0;
}

static int live_insert(struct log *log, size_t place, uint64_t position, uint64_t first_number)
{
	int result = live_reserve(log);

	if (result)
		return result;
	memmove(log->live + place + 1, log->live + place, (log->live_count - place) * sizeof(*log->live));
	log->live[place] = (struct log_extent){ position, first_number };
	log->live_count++;
	return 0;
}

int log_add_live(struct log *log, uint64_t position, uint64_t first_number)
{
	int result;

	pthread_mutex_lock(&log->mutex);
	result = live_insert(log, log->live_count, position, first_number);
	pthread_mutex_unlock(&log->mutex);
	return result;
}

int log_add_oldest(struct log *log, uint64_t position)
{
	int result;

	pthread_mutex_lock(&log->mutex);
	result = live_insert(log, 0, position, 0);
	pthread_mutex_unlock(&log->mutex);
	return result;
}

static int free_add(struct log *log, uint64_t position)
{
	if (log->free_count == log->free_capacity) {
		uint64_t *positions = array_grow(log->free, &log->free_capacity, sizeof(*positions));

		if (!positions)
			return -ENOMEM;
		log->free = positions;
	}
	log->free[log->free_count++] = position;
	return 0;
}

size_t log_free_list(struct log *log, uint64_t number, uint64_t *positions, size_t max)
{
	size_t count;

	pthread_mutex_lock(&log->mutex);
	count = log->free_count < max ? log->free_count : max;
	if (count)
		memcpy(positions, log->free, count * sizeof(*positions));
	for (size_t i = 0; i + 1 < log->live_count && log->live[i + 1].first_number <= number && count < max; i++)
		if (log->live[i].position >= EXTENT_BYTES)
			positions[count++] = log->live[i].position;
	if (log->spare && !log->space.announced && count < max)
		positions[count++] = log->spare;
	pthread_mutex_unlock(&log->mutex);
	return count;
}

static void enter_extent(struct log *log, uint64_t extent, bool written, uint64_t allocated_end)
{
	log->extent = extent;
	log->extent_end = align_down(extent, EXTENT_BYTES) + EXTENT_BYTES;
	pthread_mutex_lock(&log->mutex);
	log->space = (struct log_space){ .position = log->end.position,
					 .base = extent,
					 .end = log->extent_end,
					 .allocated_end = allocated_end,
					 .written = written };
	pthread_mutex_unlock(&log->mutex);
}

int log_continue(struct log *log, const struct log_place *end, uint64_t extent, bool written)
{
	log->end = *end;
	enter_extent(log, extent, written, end->position);
	return 0;
}

uint64_t log_room(const struct log *log)
{
	uint64_t used = log->end.position + (log->end.next ? 0 : log->pad);

	return log->extent_end > used ? log->extent_end - used : 0;
}

/* ---- Spare extents ----------------------------------------------------------------------------------------------- */

static int write_zeros(struct log *log, uint64_t position, const void *header)
{
	struct spindle *spindle = &log->store->spindles[0];
	uint8_t *image = mmap(NULL, EXTENT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int result;

	if (image == MAP_FAILED)
		return -ENOMEM;
	memcpy(image, header, EXTENT_HEADER_BYTES);
	result = spindle_write(spindle, log->direct ? IO_DIRECT : 0, position_offset(position), image, EXTENT_BYTES);
	if (!result && (result = spindle_sync(spindle)))
		result = error_set(SLF_EUNKNOWN, spindle->path, 0, position_offset(position), "the flush of a new log extent "
				   "failed (%s): what else was being written is in doubt", error_text(result));
	munmap(image, EXTENT_BYTES);
	return result;
}

bool log_low(struct log *log)
{
	bool low;

	pthread_mutex_lock(&log->mutex);
	low = !log->spare && log->space.position > log->space.end - EXTENT_BYTES / 2;
	pthread_mutex_unlock(&log->mutex);
	return low;
}

/* Is there a spare extent, or a recycled one to become it? 1, 0 or -ENOMEM. With a spare there is room for it among the live
 * ones: the leader, who may have to write what is shown already, has to find both. */
static int find_spare(struct log *log)
{
	int result;

	pthread_mutex_lock(&log->mutex);
	result = live_reserve(log);
	if (!result && !log->spare && log->free_count) {
		log->spare = log->free[--log->free_count];
		log->spare_written = true;
		log->spare_allocated = true;
		stats_add(&log->store->stats->values.log_extents_recycled, 1);
	}
	if (!result)
		result = log->spare != 0;
	pthread_mutex_unlock(&log->mutex);
	return result;
}

/* One that a slab of an earlier opening has announced: a power cut may have left it without its space. */
static int allocate_spare(struct log *log)
{
	uint64_t position;
	bool allocated;
	int result;

	pthread_mutex_lock(&log->mutex);
	position = log->spare;
	allocated = log->spare_allocated;
	pthread_mutex_unlock(&log->mutex);
	if (allocated)
		return 0;
	result = spindle_allocate(&log->store->spindles[0], position_offset(position), EXTENT_BYTES);
	if (result)
		return result;
	pthread_mutex_lock(&log->mutex);
	log->spare_allocated |= log->spare == position;
	pthread_mutex_unlock(&log->mutex);
	return 0;
}

/* A new extent, or the one that got no header when it was taken. */
static int take_extent(struct log *log, uint64_t *position, uint8_t *header)
{
	pthread_mutex_lock(&log->mutex);
	*position = log->bare;
	memcpy(header, log->bare_header, EXTENT_HEADER_BYTES);
	log->bare = 0;
	pthread_mutex_unlock(&log->mutex);
	return *position ? 0 : extents_take(log->extents, STREAM_LOG, 1, EXTENT_BYTES, position, header);
}

static void keep_bare(struct log *log, uint64_t position, const uint8_t *header)
{
	pthread_mutex_lock(&log->mutex);
	log->bare = position; /* of two the space of one is lost until it is compacted */
	memcpy(log->bare_header, header, EXTENT_HEADER_BYTES);
	pthread_mutex_unlock(&log->mutex);
}

int log_spare(struct log *log, bool prepare)
{
	uint8_t header[EXTENT_HEADER_BYTES];
	uint64_t position;
	bool written;
	int result = find_spare(log);

	if (result)
		return result < 0 ? result : allocate_spare(log);
	result = take_extent(log, &position, header);
	if (result)
		return result;
	prepare &= !log->store->spindles[0].info.copies; /* there it would cost the space that is allocated */
	if (prepare && (result = write_zeros(log, position, header)) == SLF_EUNKNOWN)
		return result;
	written = prepare && !result;
	if (!written)
		result = spindle_write(&log->store->spindles[0], 0, position_offset(position), header, sizeof(header));
	if (result) {
		keep_bare(log, position, header);
		return result;
	}
	pthread_mutex_lock(&log->mutex);
	if (!log->spare) {
		log->spare = position;
		log->spare_written = written;
		log->spare_allocated = true;
	} else if (free_add(log, position)) {
		result = -ENOMEM; /* the extent is lost until the next full compaction */
	}
	pthread_mutex_unlock(&log->mutex);
	return result;
}

/* Gives the spare extent away: announced by the slab that is about to be written. */
static int announce(struct log *log, uint64_t *next)
{
	int result = log_spare(log, false);

	if (!result) {
		pthread_mutex_lock(&log->mutex);
		*next = log->spare;
		pthread_mutex_unlock(&log->mutex);
	}
	return result;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static int allocate_step(struct log *log, uint64_t end)
{
	struct log_space *space = &log->space;
	uint64_t from = space->allocated_end;
	int result = spindle_allocate(&log->store->spindles[0], position_offset(from), end - from);

	if (!result)
		space->allocated_end = end;
	return result;
}

/* Small databases stay small: the current extent is allocated in growing steps. On a full disk no more than what is needed is
 * asked for, and in small steps, since what an earlier opening has allocated is there and XFS wants room for all that a
 * request names, allocated or not. The mutex is held. */
static int allocate_space(struct log *log, uint64_t end)
{
	struct log_space *space = &log->space;
	uint64_t from = space->allocated_end, step;
	int result;

	if (space->written || end <= from)
		return 0;
	step = u64_max(ALLOCATE_STEP_MIN, from - space->base);
	if (space->base >= EXTENT_BYTES)
		step = EXTENT_BYTES;
	result = allocate_step(log, u64_min(u64_max(end, from + step), space->end));
	if (result != -ENOSPC && result != -EDQUOT)
		return result;
	end = u64_min(end, space->end);
	for (result = 0; !result && space->allocated_end < end;)
		result = allocate_step(log, u64_min(space->allocated_end + ALLOCATE_STEP_MIN, end));
	return result;
}

static int allocate_current(struct log *log, uint64_t end)
{
	int result;

	pthread_mutex_lock(&log->mutex);
	result = allocate_space(log, end);
	pthread_mutex_unlock(&log->mutex);
	return result;
}

int log_reserve(struct log *log, uint64_t bytes)
{
	bool fits;
	int result = 0;

	pthread_mutex_lock(&log->mutex);
	fits = log->space.position + bytes + log->pad <= log->space.end;
	result = allocate_space(log, fits ? log->space.position + bytes : log->space.end);
	pthread_mutex_unlock(&log->mutex);
	return result || fits ? result : log_spare(log, false);
}

/* Enters the extent that the last slab announced. */
static int enter_next(struct log *log)
{
	uint64_t next = log->end.next;
	bool written, allocated;
	int result = log_add_live(log, next, log->end.number);

	if (result)
		return result;
	pthread_mutex_lock(&log->mutex);
	assert(log->spare == next);
	log->spare = 0;
	written = log->spare_written;
	allocated = log->spare_allocated;
	pthread_mutex_unlock(&log->mutex);
	log->end.position = next + EXTENT_DATA;
	log->end.next = 0;
	enter_extent(log, next, written, allocated ? next + EXTENT_BYTES : next);
	return 0;
}

static int write_at_end(struct log *log, void *slab, struct slab_header *header, bool stable)
{
	struct spindle *spindle = &log->store->spindles[0];
	unsigned flags = (stable ? IO_DSYNC : 0) | (log->direct ? IO_DIRECT : 0);
	struct slf_stats *stats = &log->store->stats->values;
	int result;

	header->salt = log->salt;
	header->number = log->end.number;
	header->previous = log->end.previous;
	result = allocate_current(log, log->end.position + header->length);
	if (result)
		return result;
	slab_seal(slab, header, log->store->seed, log->end.position);
	log->torn = true;
	result = spindle_write(spindle, flags, position_offset(log->end.position), slab, header->length);
	if (result) {
		/* A write that flushes may have failed in its flush, and what else was being written out is in doubt too. */
		log->doubt = stable;
		return result;
	}
	log->torn = false;
	log->unsynced |= !stable;
	log->last = (struct log_slab){ log->end.position, header->number, header->digest };
	log->end.position += header->length;
	log->end.previous = header->digest;
	log->end.next = header->next;
	log->end.number++;
	log->end.bytes.payload += header->payload;
	log->end.bytes.slabs += header->length;
	pthread_mutex_lock(&log->mutex);
	log->space.position = log->end.position;
	log->space.announced = log->end.next != 0;
	pthread_mutex_unlock(&log->mutex);
	stats_add(&stats->log_slabs, 1);
	stats_add(&stats->log_bytes, header->length);
	stats_add(&stats->log_padding_bytes, header->length - header->payload - SLAB_HEADER_BYTES - SLAB_TAIL_BYTES);
	return 0;
}

/* An empty slab that announces the next extent, in the sector that is always kept for it. */
static int write_bridge(struct log *log, const struct slab_header *like, uint64_t newest)
{
	struct slab_header header = { .last_seq = newest,
				      .seq_limit = like->seq_limit,
				      .durable_seq = like->durable_seq };
	int result;

	header.length = length_here(log, 0);
	result = announce(log, &header.next);
	return result ? result : write_at_end(log, log->bridge, &header, false);
}

int log_write(struct log *log, void *slab, struct slab_header *header, uint64_t newest, bool stable)
{
	int result = 0;

	log->torn = false;
	log->doubt = false;
	header->length = length_here(log, header->payload);
	header->next = log->end.next;
	if (!header->first_seq)
		header->last_seq = newest;
	if (header->length > log_room(log)) {
		if (!log->end.next)
			result = write_bridge(log, header, newest);
		if (!result)
			result = enter_next(log);
		if (result)
			return result;
		header->next = 0;
		header->length = length_here(log, header->payload);
		if (stable && log->unsynced) {
			result = log_sync(log);
			log->doubt = result != 0;
			if (result)
				return result;
		}
	}
	/* Announced early, so that bridges are rare; a missing spare is made by the background meanwhile. */
	if (!header->next && log->end.position > log->extent_end - EXTENT_BYTES / 2) {
		pthread_mutex_lock(&log->mutex);
		header->next = log->spare;
		pthread_mutex_unlock(&log->mutex);
	}
	return write_at_end(log, slab, header, stable);
}

int log_invalidate(struct log *log, uint64_t length)
{
	static _Alignas(4096) uint8_t zeros[64 * KIB]; /* nobody writes them */
	struct spindle *spindle = &log->store->spindles[0];
	uint64_t position = log->end.position, end = u64_min(position + length, log->extent_end);
	int result = 0;

	for (uint64_t bytes; position < end && !result; position += bytes) {
		bytes = u64_min(end - position, sizeof(zeros));
		result = spindle_write(spindle, IO_DSYNC | (log->direct ? IO_DIRECT : 0), position_offset(position), zeros,
				       bytes);
	}
	return result;
}

int log_sync(struct log *log)
{
	int result = spindle_sync(&log->store->spindles[0]);

	if (!result)
		log->unsynced = false;
	return result;
}

void log_recycle(struct log *log, uint64_t number)
{
	size_t dead = 0;

	pthread_mutex_lock(&log->mutex);
	while (dead + 1 < log->live_count && log->live[dead + 1].first_number <= number) {
		/* extent 0 holds the metadata and is not recycled: its place for slabs is too small to matter */
		if (log->live[dead].position >= EXTENT_BYTES && free_add(log, log->live[dead].position))
			break;
		dead++;
	}
	log->live_count -= dead;
	memmove(log->live, log->live + dead, log->live_count * sizeof(*log->live));
	pthread_mutex_unlock(&log->mutex);
}
