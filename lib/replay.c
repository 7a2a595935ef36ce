/* SPDX-License-Identifier: MIT */
/*
 * The log is read past the page cache: after an earlier failed flush clean cached pages may not be what the device holds. A
 * slab is looked for directly behind the one before, else at the start of the extent which that one announced.
 */
#include "replay.h"

#include <stdlib.h>

#include "error.h"

#define PIECE_BYTES (256 * KIB) /* what stays in the processor's cache while headers are looked for */
#define SLAB_BYTES_FIRST (64 * KIB) /* most slabs are smaller */

int log_reader_init(struct log_reader *reader, struct core *core)
{
	memset(reader, 0, sizeof(*reader));
	reader->core = core;
	reader->parts.store = &core->store;
	reader->piece = aligned_alloc(4096, PIECE_BYTES);
	return reader->piece ? log_reader_reserve(reader, SLAB_BYTES_FIRST) : -ENOMEM;
}

int log_reader_reserve(struct log_reader *reader, uint64_t bytes)
{
	uint8_t *slab;

	assert(bytes <= EXTENT_BYTES);
	if (bytes <= reader->slab_bytes)
		return 0;
	bytes = bytes > SLAB_BYTES_FIRST ? EXTENT_BYTES : SLAB_BYTES_FIRST;
	slab = aligned_alloc(4096, bytes);
	if (!slab)
		return -ENOMEM;
	if (reader->slab_bytes)
		memcpy(slab, reader->slab, reader->slab_bytes);
	free(reader->slab);
	reader->slab = slab;
	reader->slab_bytes = bytes;
	return 0;
}

void log_reader_release(struct log_reader *reader)
{
	free(reader->slab);
	free(reader->piece);
	reader->slab = NULL;
	reader->slab_bytes = 0;
	reader->piece = NULL;
	part_reader_release(&reader->parts);
}

/* *done: less than length only where the file ends. */
static int read_log(struct log_reader *reader, uint64_t position, uint64_t length, void *data, uint64_t *done)
{
	struct spindle *spindle = &reader->core->store.spindles[0];
	struct io_request request = { .op = IO_READ,
				      .flags = IO_DIRECT,
				      .file = spindle->file,
				      .offset = position_offset(position),
				      .length = length,
				      .data = data };
	int result = io_run(spindle->io, &request, 1);

	if (result)
		return error_set(result, spindle->path, 0, request.offset, "the log cannot be read: %s", error_text(result));
	*done = request.done;
	return 0;
}

/* Of what stands at the position, bytes [skip, skip + length) to their place in the slab's buffer; zeros behind the file's end. */
static int read_slab(struct log_reader *reader, uint64_t position, uint64_t skip, uint64_t length)
{
	uint64_t done = 0;
	int result = log_reader_reserve(reader, skip + length);

	if (!result)
		result = read_log(reader, position + skip, length, reader->slab + skip, &done);
	if (!result)
		memset(reader->slab + skip + done, 0, length - done);
	return result;
}

/* Hostile: a writer goes on where the last slab says. */
static bool may_be_next(uint64_t position)
{
	return !position || (position_spindle(position) == 0 && position % EXTENT_BYTES == 0 &&
			     position_offset(position) <= SEGMENT_BYTES - EXTENT_BYTES);
}

int log_reader_at(struct log_reader *reader, uint64_t position, const char **reason)
{
	uint64_t sector = u64_max(reader->core->store.spindles[0].info.logical_sector, 4096), offset, room;
	int result;

	offset = position_offset(position);
	room = align_down(offset, EXTENT_BYTES) + EXTENT_BYTES - offset;
	*reason = "it lies outside the log";
	if (position_spindle(position) || offset % reader->core->store.settings.sector)
		return SLF_END;
	sector = u64_min(sector, room);
	result = read_slab(reader, position, 0, sector);
	if (result)
		return result;
	*reason = slab_header_decode(reader->slab, room, &reader->header);
	if (*reason)
		return SLF_END;
	if (reader->header.length > sector)
		result = read_slab(reader, position, sector, u64_min(align_up(reader->header.length, sector), room) - sector);
	if (result)
		return result;
	*reason = slab_check(reader->slab, &reader->header, reader->core->store.seed, position);
	reader->position = position;
	if (*reason)
		return SLF_END;
	return may_be_next(reader->header.next) ? 0 : store_corrupt(&reader->core->store, position, 0, reader->header.next,
								    "the slab announces an extent that cannot be");
}

void log_reader_start(struct log_reader *reader, const struct log_place *place)
{
	reader->place = *place;
	reader->part_bytes = 0;
}

/* Is the slab just read the one that belongs to the place? */
static bool follows(const struct log_reader *reader, const char **reason)
{
	if (reader->header.number != reader->place.number)
		*reason = "a slab with another number stands there";
	else if (reader->header.previous != reader->place.previous)
		*reason = "the slab there follows another one";
	else
		return true;
	return false;
}

static int try_place(struct log_reader *reader, uint64_t position, const char **reason)
{
	int result = log_reader_at(reader, position, reason);

	if (result)
		return result;
	return follows(reader, reason) ? 0 : SLF_END;
}

int log_reader_next(struct log_reader *reader, const char **reason)
{
	struct log_place *place = &reader->place;
	bool at_end = position_offset(place->position) % EXTENT_BYTES == 0;
	int result = SLF_END;

	*reason = "the extent ends";
	if (!at_end)
		result = try_place(reader, place->position, reason);
	if (result == SLF_END && place->next && place->next % EXTENT_BYTES == 0)
		result = try_place(reader, place->next + EXTENT_DATA, reason);
	if (result)
		return result;
	reader->extent = align_down(reader->position, EXTENT_BYTES);
	place->position = reader->position + reader->header.length;
	place->next = reader->header.next;
	place->number = reader->header.number + 1;
	place->previous = reader->header.digest;
	return 0;
}

/* Which slabs prove more than last_seq to have been durable, and who is told; NULL: the first is enough. */
struct evidence {
	uint64_t last_seq;
	int (*found)(void *context, uint64_t position);
	void *context;
};

/* Looks in the piece, `bytes` of it at the position. */
static int evidence_in_piece(struct log_reader *reader, uint64_t position, uint64_t bytes, const struct evidence *evidence)
{
	uint32_t sector = reader->core->store.settings.sector;
	uint64_t room = EXTENT_BYTES - position_offset(position) % EXTENT_BYTES;
	struct slab_header header;
	const char *reason;

	for (uint64_t at = 0; at + sector <= bytes; at += sector) {
		int result;

		if (slab_header_decode(reader->piece + at, room - at, &header) || header.number <= reader->place.number ||
		    header.durable_seq <= evidence->last_seq)
			continue;
		result = log_reader_at(reader, position + at, &reason);
		if (result == SLF_END)
			continue;
		if (!result)
			result = evidence->found ? evidence->found(evidence->context, position + at) : 1;
		if (result)
			return result;
	}
	return 0;
}

/* Within one extent. */
static int evidence_between(struct log_reader *reader, uint64_t from, uint64_t end, const struct evidence *evidence)
{
	uint64_t length;

	if (position_spindle(from) || from % reader->core->store.settings.sector)
		return 0;
	for (uint64_t position = from; position < end; position += length) {
		uint64_t done = 0;
		int result;

		length = u64_min(end - position, PIECE_BYTES);
		result = read_log(reader, position, length, reader->piece, &done);
		if (!result)
			result = evidence_in_piece(reader, position, done, evidence);
		if (result || done < length)
			return result;
	}
	return 0;
}

int log_reader_evidence(struct log_reader *reader, uint64_t last_seq)
{
	uint64_t position = reader->place.position, next = reader->place.next;
	const struct evidence evidence = { .last_seq = last_seq };
	int result = evidence_between(reader, position, align_up(position, EXTENT_BYTES), &evidence);

	if (result || !next || next % EXTENT_BYTES)
		return result;
	return evidence_between(reader, next + EXTENT_DATA, next + EXTENT_BYTES, &evidence);
}

static bool says_bulk(const struct log_reader *reader, uint64_t extent)
{
	struct extent_header header;

	return extent_header_decode(reader->slab, reader->core->store.seed, extent, &header) == NULL &&
	       header.stream != STREAM_LOG;
}

/* 1, 0 or an error: does an extent begin with a slab that comes behind the end? What cannot be read behind the header of a bulk
 * extent does not matter here. */
static int begins_newer(struct log_reader *reader, uint64_t extent)
{
	struct slab_header header;
	int result = read_slab(reader, extent, 0, EXTENT_DATA + 4096);

	if (result && (read_slab(reader, extent, 0, EXTENT_DATA) || !says_bulk(reader, extent)))
		return result;
	if (says_bulk(reader, extent))
		return 0;
	return slab_header_decode(reader->slab + EXTENT_DATA, EXTENT_BYTES - EXTENT_DATA, &header) == NULL &&
	       header.number > reader->place.number;
}

/* Slabs lie in the order of their numbers, without gaps. */
int log_reader_evidence_in(struct log_reader *reader, uint64_t extent, uint64_t last_seq)
{
	uint64_t from = EXTENT_DATA, end = 0;
	struct slab_header header;
	int result = begins_newer(reader, extent);

	if (result != 1)
		return result;
	result = log_reader_reserve(reader, EXTENT_BYTES);
	if (!result)
		result = read_log(reader, extent, EXTENT_BYTES, reader->slab, &end);
	if (result)
		return result;
	end = align_down(end, reader->core->store.settings.sector);
	while (from < end && slab_header_decode(reader->slab + from, end - from, &header) == NULL &&
	       header.number > reader->place.number) {
		if (header.durable_seq > last_seq &&
		    slab_check(reader->slab + from, &header, reader->core->store.seed, extent + from) == NULL)
			return 1;
		from += header.length;
	}
	return 0;
}

int log_reader_each_evidence(struct log_reader *reader, uint64_t from, uint64_t last_seq,
			     int (*found)(void *context, uint64_t position), void *context)
{
	const struct evidence evidence = { last_seq, found, context };
	uint64_t extent = align_down(from, EXTENT_BYTES);
	int result = read_slab(reader, extent, 0, EXTENT_DATA);

	if (result || says_bulk(reader, extent))
		return result;
	return evidence_between(reader, from, extent + EXTENT_BYTES, &evidence);
}

int log_reader_walked(const struct log_reader *reader, int result, const struct log_record *record)
{
	assert(result == SLF_END || result == SLF_EINCOMPATIBLE); /* slab_check has walked over them, too */
	if (result == SLF_END)
		return 0;
	return error_set(result, reader->core->store.spindles[0].path, 0, position_offset(reader->position),
			 "the log holds a record of kind %d, which this version does not support", (int)record->kind);
}

/* ---- Parts ------------------------------------------------------------------------------------------------------- */

static int damaged(struct log_reader *reader, const char *what)
{
	return store_corrupt(&reader->core->store, reader->position, 0, 0, what);
}

uint64_t log_reader_part_bytes(const struct log_reader *reader)
{
	struct entry_ref part;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < reader->header.part_count; i++) {
		slab_part(reader->slab, i, &part);
		sum += part_bytes(&part);
	}
	return sum;
}

int log_reader_check_parts(struct log_reader *reader)
{
	for (uint32_t i = 0; i < reader->header.part_count; i++) {
		struct entry_ref part;
		int result;

		slab_part(reader->slab, i, &part);
		result = part_check(&reader->parts, &part);
		if (result)
			return result;
		reader->part_bytes += part_bytes(&part);
		if (reader->part_bytes > store_bytes(&reader->core->store))
			return damaged(reader, "slabs name more bulk than the files can hold");
	}
	return 0;
}

/* ---- Commits ----------------------------------------------------------------------------------------------------- */

/* Actions gather to groups, which are looked up together. */
struct gathering {
	struct action actions[TXN_GROUP];
	size_t count;
};

static int apply_gathered(struct replay *replay, struct log_reader *reader, struct gathering *gathering)
{
	int result = txn_apply(replay->txn, gathering->actions, gathering->count);

	gathering->count = 0;
	return result == SLF_NOTFOUND ? damaged(reader, "a commit deletes what is not there") : result;
}

static int gather_action(struct replay *replay, struct log_reader *reader, struct gathering *gathering)
{
	const struct action *action = &gathering->actions[gathering->count];
	uint32_t last = action->tree;

	if (action->tree != TREE_NAMES && action->tree < TREE_FIRST_USER)
		return damaged(reader, "a commit changes a system tree");
	if (action->value.size >= reader->core->store.settings.bulk_bytes) /* only a put with its value in it has a size */
		return damaged(reader, "a commit carries a value that is too long for it");
	if (action->tree == TREE_NAMES && action->value.size >= sizeof(uint32_t))
		last = get_u32(action->value.data); /* a tree that was made may be empty yet */
	if (last >= replay->txn->next_tree && last < UINT32_MAX)
		replay->txn->next_tree = last + 1;
	return ++gathering->count == TXN_GROUP ? apply_gathered(replay, reader, gathering) : 0;
}

static int apply_actions(struct replay *replay, struct log_reader *reader, struct slf_slice actions,
			 struct digest *digest, uint64_t *count)
{
	struct gathering gathering = { .count = 0 };
	int result, error = 0;

	while ((result = action_decode(&actions, &gathering.actions[gathering.count])) == 0) {
		digest_action(digest, &gathering.actions[gathering.count]);
		error = gather_action(replay, reader, &gathering);
		if (error)
			return error;
		(*count)++;
	}
	if (result == SLF_EINCOMPATIBLE)
		return error_set(result, reader->core->store.spindles[0].path, 0, position_offset(reader->position),
				 "a commit holds an action of kind %d, which this version does not support",
				 (int)gathering.actions[gathering.count].op);
	if (result != SLF_END)
		return damaged(reader, "a commit's actions cannot be decoded");
	return apply_gathered(replay, reader, &gathering);
}

static int apply_chunks(struct replay *replay, struct log_reader *reader, const struct commit_entry *commit,
			struct digest *digest, uint64_t *count)
{
	for (uint32_t i = 0; i < commit->chunk_count; i++) {
		struct slf_slice actions;
		struct entry_ref ref;
		void *buffer = NULL;
		int result;

		entry_ref_decode((const uint8_t *)commit->chunks.data + i * SLAB_PART_BYTES, &ref);
		replay->chunk_bytes += ref.length;
		if (replay->chunk_bytes > store_bytes(&reader->core->store))
			return damaged(reader, "commits name more actions than the files can hold");
		result = store_actions(&reader->core->store, &ref, &buffer, &actions);
		if (!result)
			result = apply_actions(replay, reader, actions, digest, count);
		free(buffer);
		if (result)
			return result;
	}
	return 0;
}

static int replay_commit(struct replay *replay, struct log_reader *reader, struct slf_slice body)
{
	struct slf_stats *stats = &reader->core->stats.values;
	struct commit_entry commit;
	struct digest digest = { 0 };
	uint64_t count = 0;
	int result = commit_entry_decode(body, &commit);

	if (result)
		return damaged(reader, "a commit entry cannot be decoded");
	if (commit.seq <= replay->root_seq)
		return 0;
	if (commit.seq <= replay->seq)
		return damaged(reader, "commits are out of order");
	result = apply_chunks(replay, reader, &commit, &digest, &count);
	if (!result)
		result = apply_actions(replay, reader, commit.actions, &digest, &count);
	if (result)
		return result;
	digest = digest_commit(&replay->digest, commit.seq, &digest, commit.blob);
	if (count != commit.action_count || digest.low != commit.digest.low || digest.high != commit.digest.high)
		return damaged(reader, "a commit's actions do not give its logical digest");
	replay->seq = commit.seq;
	replay->digest = digest;
	replay->search_ns = commit.search_ns;
	stats_add(&stats->replay_commits, 1);
	stats_add(&stats->replay_actions, count);
	return 0;
}

int replay_slab(struct replay *replay, struct log_reader *reader)
{
	struct log_record record;
	uint64_t offset = 0;
	int result;

	while ((result = slab_next_record(reader->slab, &reader->header, &offset, &record)) == 0) {
		if (record.kind != LOG_FINAL)
			continue;
		result = replay_commit(replay, reader, record.body);
		if (result)
			return result;
	}
	return log_reader_walked(reader, result, &record);
}
