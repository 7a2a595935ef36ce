/* SPDX-License-Identifier: MIT */
/*
 * The log is read past the page cache where that is possible: after an earlier failed flush clean cached pages may not be
 * what the device holds. A slab is looked for directly behind the one before, else at the start of the extent which that
 * one announced.
 */
#include "replay.h"

#include <stdlib.h>

#include "error.h"

int log_reader_init(struct log_reader *reader, struct core *core)
{
	memset(reader, 0, sizeof(*reader));
	reader->core = core;
	reader->slab = aligned_alloc(4096, EXTENT_BYTES);
	return reader->slab ? 0 : -ENOMEM;
}

void log_reader_release(struct log_reader *reader)
{
	free(reader->slab);
	reader->slab = NULL;
}

static int read_piece(struct log_reader *reader, uint64_t position, uint64_t skip, uint64_t length)
{
	struct spindle *spindle = &reader->core->store.spindles[0];
	uint64_t offset = position_offset(position) + skip;
	struct io_request request = { .op = IO_READ,
				      .flags = spindle->info.direct ? IO_DIRECT : 0,
				      .file = spindle->file,
				      .offset = offset,
				      .length = length,
				      .data = reader->slab + skip };
	int result = io_run(spindle->io, &request, 1);

	if (result)
		return error_set(result, spindle->path, 0, offset, "the log cannot be read");
	memset(reader->slab + skip + request.done, 0, length - request.done);
	return 0;
}

int log_reader_at(struct log_reader *reader, uint64_t position, const char **reason)
{
	uint64_t sector = u64_max(reader->core->store.spindles[0].info.logical_sector, 4096), offset, room;
	int result;

	offset = position_offset(position);
	room = align_down(offset, EXTENT_BYTES) + EXTENT_BYTES - offset;
	*reason = "it lies outside the log";
	if (position_spindle(position) || offset % 512 || offset % reader->core->store.settings.sector)
		return SLF_END;
	sector = u64_min(sector, room);
	result = read_piece(reader, position, 0, sector);
	if (result)
		return result;
	*reason = slab_header_decode(reader->slab, room, &reader->header);
	if (*reason)
		return SLF_END;
	if (reader->header.length > sector)
		result = read_piece(reader, position, sector, align_up(reader->header.length, sector) > room
								       ? room - sector
								       : align_up(reader->header.length, sector) - sector);
	if (result)
		return result;
	*reason = slab_check(reader->slab, &reader->header, reader->core->store.seed, position);
	reader->position = position;
	return *reason ? SLF_END : 0;
}

void log_reader_start(struct log_reader *reader, const struct log_place *place)
{
	reader->place = *place;
	reader->extent = align_down(place->position, EXTENT_BYTES);
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

static bool evidence_between(struct log_reader *reader, uint64_t from, uint64_t end, uint64_t last_seq)
{
	const char *reason;

	for (uint64_t position = from; position < end; position += reader->core->store.settings.sector) {
		if (log_reader_at(reader, position, &reason))
			continue;
		if (reader->header.number > reader->place.number && reader->header.durable_seq > last_seq)
			return true;
	}
	return false;
}

bool log_reader_evidence(struct log_reader *reader, uint64_t last_seq)
{
	uint64_t position = reader->place.position, next = reader->place.next;
	uint64_t end = align_up(position, EXTENT_BYTES);

	if (evidence_between(reader, position, end, last_seq))
		return true;
	return next && next % EXTENT_BYTES == 0 &&
	       evidence_between(reader, next + EXTENT_DATA, next + EXTENT_BYTES, last_seq);
}

/* ---- Parts ------------------------------------------------------------------------------------------------------- */

static int check_part(struct core *core, const struct entry_ref *part)
{
	unsigned index = position_spindle(part->position);
	struct entry_header header;
	struct slf_slice content;
	uint64_t expected, found;
	struct value_ref ref;
	const char *wrong;
	uint8_t *entry;
	int result;

	if (index >= core->store.spindle_count || part->length < VALUE_HEADER_BYTES ||
	    position_offset(part->position) + part->length >
		    atomic_load(&core->store.spindles[index].size))
		return SLF_END;
	entry = malloc(part->length);
	if (!entry)
		return -ENOMEM;
	result = spindle_read(&core->store.spindles[index], 0, position_offset(part->position), entry, part->length);
	if (result)
		goto out;
	entry_header_decode(entry, &header);
	if (header.type == ENTRY_ACTIONS) {
		wrong = actions_entry_check(entry, part->length, core->store.seed, part, &content);
	} else {
		ref = (struct value_ref){ .position = part->position,
					  .hash = part->hash,
					  .stored = part->length - VALUE_HEADER_BYTES - header.aux,
					  .raw = get_u32(entry + ENTRY_HEADER_BYTES) };
		wrong = value_entry_check(entry, part->length, core->store.seed, part->position, &ref, &content, &expected,
					  &found);
	}
	result = wrong ? SLF_END : 0;
out:
	free(entry);
	return result;
}

int log_reader_check_parts(struct log_reader *reader)
{
	for (uint32_t i = 0; i < reader->header.part_count; i++) {
		struct entry_ref part;
		int result;

		slab_part(reader->slab, i, &part);
		result = check_part(reader->core, &part);
		if (result)
			return result == SLF_ECORRUPT ? SLF_END : result;
	}
	return 0;
}

/* ---- Commits ----------------------------------------------------------------------------------------------------- */

static int damaged(struct log_reader *reader, const char *what)
{
	return store_corrupt(&reader->core->store, reader->position, 0, 0, what);
}

static int apply_actions(struct replay *replay, struct log_reader *reader, struct slf_slice actions,
			 struct digest *digest, uint64_t *count)
{
	struct action action;
	int result;

	while ((result = action_decode(&actions, &action)) == 0) {
		if (action.tree != TREE_NAMES && action.tree < TREE_FIRST_USER)
			return damaged(reader, "a commit changes a system tree");
		digest_action(digest, &action);
		result = txn_apply(replay->txn, &action);
		if (result == SLF_ECORRUPT)
			return damaged(reader, "a commit deletes what is not there, or a value is out of range");
		if (result)
			return result;
		(*count)++;
	}
	return result == SLF_END ? 0 : damaged(reader, "a commit's actions cannot be decoded");
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
		if (record.kind == LOG_TENTATIVE || record.kind == LOG_DECIDE || record.kind == LOG_PIN ||
		    record.kind == LOG_SETTING)
			return error_set(SLF_EINCOMPATIBLE, reader->core->store.spindles[0].path, 0,
					 position_offset(reader->position),
					 "the log holds a record of kind %d, which this version does not support",
					 (int)record.kind);
		if (record.kind != LOG_FINAL)
			continue;
		result = replay_commit(replay, reader, record.body);
		if (result)
			return result;
	}
	return result == SLF_END ? 0 : result == SLF_ECORRUPT ? damaged(reader, "a slab's records cannot be walked")
							      : result;
}
