/* SPDX-License-Identifier: MIT */
/*
 * Steps: read the slab with the MARK that the page names · pass 1: follow the chain to its end, note the newest MARK, what
 * OPEN records say, and the evidence of durability · judge the end · check the bulk of slabs not known to be durable, and
 * end before the first whose bulk is missing · pass 2: from the newest MARK's replay place apply the
 * commits · writer: flush every spindle, clear the tail, append an OPEN record with a new salt, flush, write both pages.
 *
 * The end of the chain is the end of the log where nothing says that more had been durable. Such evidence is the page's
 * durable seq and slab number, and the durable seq of any later slab. With evidence it is rot: a writer is
 * refused with SLF_ECORRUPT, a reader gets the last good version. Where evidence cannot be read a writer is refused, too. If
 * inode or birth time differ from the newest OPEN record, the file is a copy, to which nothing was acknowledged: it is cut,
 * and that is reported.
 *
 * A crash in here finds the same log again: nothing is overwritten but what lies behind the end of the chain.
 */
#include "recover.h"

#include <stdlib.h>
#include <sys/random.h>

#include "error.h"
#include "page.h"
#include "replay.h"

struct recovery {
	struct core *core;
	struct log_reader reader;
	struct mark mark;       /* newest; its recyclable list points into recyclable */
	uint64_t *recyclable;
	struct log_slab mark_slab;
	struct open_record open; /* newest */
	bool has_open;
	uint64_t last_seq, seq_limit, durable_seq; /* as the chain says */
	struct log_place end;   /* behind the last slab */
	uint64_t extent;        /* that the end is in */
	uint64_t bytes;         /* of slabs: from the newest mark's to the end, then of all that were replayed */
	uint64_t payload;       /* of those, with the actions that they have in bulk */
	uint64_t limit;         /* number of the slab from which on nothing counts: its bulk never reached the disk */
	struct log_place proven; /* all slabs before it are known to be durable, with their bulk */
	uint64_t parts_total;   /* bytes of the parts behind it */
	uint64_t parts_done;    /* of these: checked, or known to be durable */
	uint64_t parts_ns;      /* when the checking began */
	unsigned cuts;          /* made because bulk was missing */
};

/* The page says so, and nothing has been appended since: where a page cannot be written, its flag stays. */
static bool is_clean(const struct recovery *recovery)
{
	return recovery->core->meta.flags & META_FLAG_CLEAN && recovery->end.number == recovery->core->meta.log_number;
}

/* phase has taken since start_ns. */
static int progress(struct core *core, const char *phase, uint64_t done, uint64_t total, uint64_t start_ns)
{
	struct slf_progress progress = { .size = sizeof(progress), .phase = phase, .done = done, .total = total };

	if (!core->tuning.progress)
		return 0;
	if (done && total > done)
		progress.left_ns = (uint64_t)((double)(clock_now_ns() - start_ns) / (double)done * (double)(total - done));
	if (!core->tuning.progress(core->tuning.progress_context, &progress))
		return 0;
	return error_set(-ECANCELED, core->store.spindles[0].path, -1, OFFSET_NONE,
			 "the opening was stopped by the caller, while it was %s", phase);
}

/* ---- Pass 1 ------------------------------------------------------------------------------------------------------ */

static int take_mark(struct recovery *recovery, struct slf_slice body)
{
	struct log_reader *reader = &recovery->reader;
	struct mark mark = { 0 };
	uint64_t *recyclable;

	if (mark_decode(body, &mark) || mark.spindle_count != recovery->core->store.spindle_count ||
	    mark.next_tree <= SLF_MAIN || mark.replay_number > reader->header.number)
		return store_corrupt(&recovery->core->store, reader->position, 0, 0, "a checkpoint record is out of range");
	recyclable = malloc(mark.recyclable.size + 8);
	if (!recyclable)
		return -ENOMEM;
	memcpy(recyclable, mark.recyclable.data, mark.recyclable.size);
	free(recovery->recyclable);
	recovery->recyclable = recyclable;
	mark.recyclable.data = recyclable;
	recovery->mark = mark;
	recovery->mark_slab = (struct log_slab){ reader->position, reader->header.number, reader->header.digest };
	recovery->bytes = 0;
	return 0;
}

/* Notes the engine's records of the slab just read. */
static int note_slab(struct recovery *recovery)
{
	struct log_reader *reader = &recovery->reader;
	struct log_record record;
	uint64_t offset = 0;
	int result;

	while ((result = slab_next_record(reader->slab, &reader->header, &offset, &record)) == 0) {
		if (record.kind == LOG_MARK)
			result = take_mark(recovery, record.body);
		else if (record.kind == LOG_OPEN && open_record_decode(record.body, &recovery->open) == 0)
			recovery->has_open = true;
		if (result)
			return result;
	}
	result = log_reader_walked(reader, result, &record);
	if (result)
		return result;
	recovery->last_seq = u64_max(recovery->last_seq, reader->header.last_seq);
	recovery->seq_limit = u64_max(recovery->seq_limit, reader->header.seq_limit);
	recovery->durable_seq = u64_max(recovery->durable_seq, reader->header.durable_seq);
	recovery->bytes += reader->header.length;
	return 0;
}

/* The slab that the page names; the chain goes on from it. */
static int read_mark_slab(struct recovery *recovery)
{
	const struct meta *meta = &recovery->core->meta;
	struct log_reader *reader = &recovery->reader;
	const char *reason;
	int result = log_reader_at(reader, meta->mark_position, &reason);

	if (result == SLF_END)
		return store_corrupt(&recovery->core->store, meta->mark_position, meta->mark_digest, 0, reason);
	if (result)
		return result;
	if (reader->header.number != meta->mark_number || reader->header.digest != meta->mark_digest)
		return store_corrupt(&recovery->core->store, meta->mark_position, meta->mark_digest, reader->header.digest,
				     "the slab with the newest checkpoint is another one");
	log_reader_start(reader, &(struct log_place){ .position = reader->position + reader->header.length,
						      .next = reader->header.next,
						      .number = reader->header.number + 1,
						      .previous = reader->header.digest });
	result = note_slab(recovery);
	if (!result && recovery->mark_slab.number != meta->mark_number)
		return store_corrupt(&recovery->core->store, meta->mark_position, 0, 0,
				     "the slab that should hold a checkpoint record has none");
	return result;
}

/* The files were opened for writing in another place last. */
static bool is_elsewhere(const struct recovery *recovery)
{
	const struct io_info *info = &recovery->core->store.spindles[0].info;

	return recovery->has_open && (recovery->open.inode != info->inode ||
				      (recovery->open.birth_ns && recovery->open.birth_ns != info->birth_ns));
}

/* A page of another session than the newest OPEN's tells that the chain ends before that session's own, and with it before what
 * it would say of the file. */
static bool is_copy(const struct recovery *recovery)
{
	return is_elsewhere(recovery) && recovery->open.salt == recovery->core->meta.salt;
}

#define CUTS_BELIEVED 4

/* The newest commit that is said to have been durable. A crash leaves one place where bulk is missing. Where there is one below
 * the other the slabs lie, and each cut would make only the slab below it suspect, for as many cuts as there are slabs: then
 * nothing is believed but the page. */
static uint64_t durable_seq(const struct recovery *recovery)
{
	uint64_t told = recovery->core->meta.durable_seq;

	return recovery->cuts > CUTS_BELIEVED ? told : u64_max(recovery->durable_seq, told);
}

static uint64_t extent_after(uint64_t position)
{
	return position_offset(position) / EXTENT_BYTES + 1;
}

/* Hostile: not every position is one of an extent that had been taken when the mark was made. */
static bool may_be_free(const struct mark *mark, uint64_t position)
{
	return position_spindle(position) == 0 && position % EXTENT_BYTES == 0 && position >= EXTENT_BYTES &&
	       extent_after(position) <= mark->spindles[0].next_extent;
}

static bool is_last(int result)
{
	return result == 1 || result == -ECANCELED;
}

/* Calls look for the extents that the log may have gone on in behind the chain's end: which the newest mark sets free, or that were
 * taken after it. Those that the chain has come to since are among them. Ends with the first that is answered by 1, or when the
 * caller wants it to; else 0, or the last failure. */
static int look_behind(struct recovery *recovery, int (*look)(struct recovery *recovery, uint64_t extent))
{
	const struct mark *mark = &recovery->mark;
	uint64_t end = atomic_load(&recovery->core->store.spindles[0].size);
	uint64_t count = u64_min(mark->recyclable_count, end / EXTENT_BYTES); /* hostile: the same one again and again */
	uint64_t next = u64_max(mark->spindles[0].next_extent, 1);
	int result = 0, failure = 0;

	for (uint32_t i = 0; i < count && !is_last(result); i++) {
		if (may_be_free(mark, mark_recyclable(mark, i)))
			result = look(recovery, mark_recyclable(mark, i));
		failure = result < 0 ? result : failure;
	}
	for (; next <= end / EXTENT_BYTES && next * EXTENT_BYTES < end && !is_last(result); next++) {
		result = look(recovery, next * EXTENT_BYTES);
		failure = result < 0 ? result : failure;
	}
	return result == 1 ? 1 : failure;
}

static int find_evidence_in(struct recovery *recovery, uint64_t extent)
{
	return log_reader_evidence_in(&recovery->reader, extent, recovery->last_seq);
}

/* 1, 0 or an error. Where the extent that comes next is not known, because the slab that named it may be what is damaged, it may
 * be any. */
static int find_evidence(struct recovery *recovery)
{
	const struct meta *meta = &recovery->core->meta;
	int result;

	if (recovery->end.number < meta->log_number || recovery->last_seq < meta->durable_seq)
		return 1;
	result = log_reader_evidence(&recovery->reader, recovery->last_seq);
	return result || recovery->end.next ? result : look_behind(recovery, find_evidence_in);
}

/* The chain has ended; is it the end of the log? */
static int judge_end(struct recovery *recovery, int evidence, const char *reason)
{
	struct core *core = recovery->core;

	if (evidence < 0 && !core->tuning.readonly) /* a writer would cut what it could not see */
		return evidence;
	if (evidence <= 0)
		return 0;
	if (is_copy(recovery)) {
		core_log(core, 4, "%s is a copy, taken while the database was in use or damaged since: cut at commit %llu",
			 core->store.spindles[0].path, (unsigned long long)recovery->last_seq);
		core->cut = true;
		return 0;
	}
	error_set(SLF_ECORRUPT, core->store.spindles[0].path, 0, position_offset(recovery->end.position),
		  "the log is damaged (%s): more had been durable than what stands before it; the newest good commit is %llu",
		  reason, (unsigned long long)recovery->last_seq);
	core->damage = reason;
	return core->tuning.readonly ? 0 : SLF_ECORRUPT;
}

static void forget_chain(struct recovery *recovery)
{
	free(recovery->recyclable);
	recovery->recyclable = NULL;
	recovery->has_open = false;
	recovery->core->cut = false;
	recovery->last_seq = 0;
	recovery->durable_seq = 0;
	recovery->bytes = 0;
	recovery->parts_total = 0;
}

static int follow_chain(struct recovery *recovery, const char **reason)
{
	struct log_reader *reader = &recovery->reader;

	for (;;) {
		uint64_t before = recovery->last_seq;
		int result = progress(recovery->core, "reading the log", recovery->bytes, 0, 0);

		if (!result && reader->place.number == recovery->limit) {
			*reason = "its bulk never reached the disk";
			return SLF_END;
		}
		if (!result)
			result = log_reader_next(reader, reason);
		if (!result)
			result = note_slab(recovery);
		if (result)
			return result;
		if (before <= durable_seq(recovery)) {
			recovery->proven = recovery->end;
			recovery->parts_total = 0;
		}
		recovery->parts_total += log_reader_part_bytes(reader);
		recovery->end = reader->place;
		recovery->extent = reader->extent;
	}
}

static int find_end(struct recovery *recovery)
{
	const char *reason = NULL;
	uint64_t number = 0; /* of the end that evidence was found behind; no slab has 0 */
	int result, evidence;

	forget_chain(recovery);
	result = read_mark_slab(recovery);
	if (result)
		return result;
	recovery->end = recovery->reader.place;
	recovery->extent = align_down(recovery->reader.position, EXTENT_BYTES);
	recovery->proven = recovery->end;
	for (;;) { /* beside a writer what looks like evidence may have been appended since, and the chain goes on */
		result = follow_chain(recovery, &reason);
		if (result != SLF_END)
			return result;
		evidence = find_evidence(recovery);
		if (evidence <= 0 || recovery->end.number == number)
			return judge_end(recovery, evidence, reason);
		number = recovery->end.number;
	}
}

static int tell_parts(void *context, uint64_t bytes)
{
	struct recovery *recovery = context;

	recovery->parts_done += bytes;
	return progress(recovery->core, "checking values", recovery->parts_done,
			u64_max(recovery->parts_done, recovery->parts_total), recovery->parts_ns);
}

/* Slabs that nobody says were durable count only with their bulk. Where some is missing the log ends before, and so may the
 * newest mark: SLF_END, and the end is to be looked for again. */
static int prove_parts(struct recovery *recovery)
{
	struct log_reader *reader = &recovery->reader;
	const char *reason;
	int result = 0;

	log_reader_start(reader, &recovery->proven);
	reader->parts.told = tell_parts;
	reader->parts.context = recovery;
	recovery->parts_done = 0;
	recovery->parts_ns = clock_now_ns();
	while (!result && reader->place.number < recovery->end.number) {
		result = log_reader_next(reader, &reason);
		if (result == SLF_END)
			return store_corrupt(&recovery->core->store, reader->place.position, 0, 0, reason);
		if (!result && reader->header.last_seq > durable_seq(recovery))
			result = log_reader_check_parts(reader);
		else if (!result)
			recovery->parts_done += log_reader_part_bytes(reader);
		if (result == SLF_END) {
			recovery->limit = reader->header.number;
			recovery->cuts++;
		}
	}
	return result;
}

/* ---- Pass 2 ------------------------------------------------------------------------------------------------------ */

static void start_version(struct recovery *recovery, struct version *version)
{
	const struct mark *mark = &recovery->mark;

	version->epoch = 1;
	version->roots_epoch = 1;
	version->seq = mark->root_seq;
	version->roots = mark->roots;
	version->digest = mark->digest;
	version->search_ns = mark->search_ns;
	version->next_tree = mark->next_tree;
	version->user_entries = mark->user_entries;
}

/* Hostile: another slab may have the number of the newest mark's, and what comes behind it would not be what was found before. */
static int check_way(const struct recovery *recovery)
{
	const struct log_reader *reader = &recovery->reader;

	if (reader->header.number != recovery->mark_slab.number || reader->position == recovery->mark_slab.position)
		return 0;
	return store_corrupt(&recovery->core->store, reader->position, 0, 0, "the log does not lead to its newest checkpoint record");
}

static int replay_chain(struct recovery *recovery, struct replay *replay)
{
	struct log_reader *reader = &recovery->reader;
	struct core *core = recovery->core;
	uint64_t done = 0, extent = 0, start_ns = clock_now_ns();
	struct log_place start = { .position = recovery->mark.replay_position, .next = recovery->mark.replay_next,
				   .number = recovery->mark.replay_number, .previous = recovery->mark.replay_previous };
	const char *reason;
	int result = 0;

	log_reader_start(reader, &start);
	while (reader->place.number < recovery->end.number) {
		result = log_reader_next(reader, &reason);
		if (result == SLF_END)
			return store_corrupt(&core->store, reader->place.position, 0, 0, reason);
		if (!result)
			result = check_way(recovery);
		if (!result && reader->extent != extent)
			result = log_add_live(&core->log, reader->extent, reader->header.number);
		if (!result)
			result = replay_slab(replay, reader);
		extent = reader->extent;
		done += reader->header.length;
		recovery->payload += reader->header.payload;
		if (!result)
			result = progress(core, "replaying the log", done, u64_max(done, recovery->bytes), start_ns);
		if (result)
			return result;
	}
	recovery->bytes = done;
	recovery->payload += replay->chunk_bytes;
	return 0;
}

static int take_result(struct slf_txn *txn, struct replay *replay, struct version *version)
{
	int result = 0;

	for (size_t i = 0; i < txn->tree_count && !result; i++) /* they were all looked up to be changed */
		result = forest_put(&txn->edit, &version->forest, txn->trees[i].id, &txn->trees[i].root);
	version->seq = replay->seq;
	version->digest = replay->digest;
	version->search_ns = replay->search_ns;
	version->next_tree = txn->next_tree;
	version->user_entries += txn->entries_added;
	return result;
}

static int replay_all(struct recovery *recovery)
{
	struct core *core = recovery->core;
	struct version *version = version_new(&core->versions);
	struct slf_txn *txn = NULL;
	struct replay replay = { 0 };
	int result = version ? txn_new(core, NULL, &txn) : -ENOMEM;
	uint64_t start = clock_now_ns();

	if (result) {
		version_free(&core->versions, version);
		return result;
	}
	start_version(recovery, version);
	versions_start(&core->versions, version);
	edit_init(&txn->edit, &core->store, core->heap, version->epoch);
	txn->version = version;
	txn->next_tree = version->next_tree;
	txn->entries_added = 0;
	txn->state = TXN_WRITING;
	replay = (struct replay){ .txn = txn, .root_seq = version->seq, .seq = version->seq, .digest = version->digest,
				  .search_ns = version->search_ns };
	result = replay_chain(recovery, &replay);
	if (!result)
		result = take_result(txn, &replay, version);
	txn->edit.born = NULL; /* on failure they go with the heap */
	edit_release(&txn->edit);
	txn_recycle(txn);
	core->epoch = version->epoch + 1;
	recovery->last_seq = u64_max(replay.seq, recovery->mark.root_seq);
	stats_add(&core->stats.values.replay_ns, clock_now_ns() - start);
	return result;
}

/* ---- State ------------------------------------------------------------------------------------------------------- */

static bool is_known(const struct log *log, uint64_t position)
{
	for (size_t i = 0; i < log->live_count; i++)
		if (log->live[i].position == position)
			return true;
	return position == log->spare;
}

/* Which extents are taken. After an unclean stop all that the files hold are, since the log may refer to bulk behind the
 * mark. */
static void restore_extents(struct recovery *recovery)
{
	struct core *core = recovery->core;
	struct extents *extents = &core->extents;
	const struct mark *mark = &recovery->mark;
	uint64_t *log_next = &extents->spindles[0].next;

	extents->log_count = u64_min(mark->log_extents, COUNTER_MAX / 2); /* hostile: the next mark could not be read */
	extents->bulk_count = u64_min(mark->bulk_extents, COUNTER_MAX / 2);
	extents_note(extents, recovery->last_seq);
	for (unsigned i = 0; i < core->store.spindle_count; i++) {
		struct extent_spindle *at = &extents->spindles[i];
		uint64_t size = atomic_load(&core->store.spindles[i].size);

		at->next = u64_max(mark->spindles[i].next_extent, 1);
		at->bulk_bytes = u64_min(mark->spindles[i].bulk_bytes, COUNTER_MAX / 2);
		if (!is_clean(recovery))
			at->next = u64_max(at->next, (size + EXTENT_BYTES - 1) / EXTENT_BYTES);
	}
	for (size_t i = 0; i < core->log.live_count; i++)
		*log_next = u64_max(*log_next, extent_after(core->log.live[i].position));
	*log_next = u64_max(*log_next, extent_after(recovery->end.next));
	for (unsigned i = 0; i < core->store.spindle_count; i++) /* hostile: then nothing can be allocated */
		extents->spindles[i].next = u64_min(extents->spindles[i].next, OFFSET_MAX / EXTENT_BYTES / 2);
}

/* What a writer that took extents and then closed without a mark has left where the next ones are taken: an extent is given to one
 * stream for good, and its header is the first that stands there. Reads as zeros before the flush of the opening. What cannot be
 * punched counts as taken. Hostile: replay may have read there. */
static void clear_untaken(struct core *core)
{
	for (unsigned i = 0; i < core->store.spindle_count; i++) {
		struct spindle *spindle = &core->store.spindles[i];
		uint64_t *next = &core->extents.spindles[i].next, size = atomic_load(&spindle->size);
		struct io_request request = { .op = IO_PUNCH, .file = spindle->file, .offset = *next * EXTENT_BYTES };

		if (size <= request.offset)
			continue;
		request.length = size - request.offset;
		io_run(spindle->io, &request, 1);
		if (request.result)
			*next = (size + EXTENT_BYTES - 1) / EXTENT_BYTES;
		verified_clear_all(&core->store.verified);
	}
}

/* The extents that the mark sets free. They are not recycled before both pages lead to it: till then the one before may be
 * needed. */
static int restore_oldest(struct recovery *recovery)
{
	struct log *log = &recovery->core->log;
	const struct mark *mark = &recovery->mark;
	int result = 0;

	for (uint32_t i = mark->recyclable_count; i-- > 0 && !result;) {
		uint64_t position = mark_recyclable(mark, i);

		if (may_be_free(mark, position) && !is_known(log, position)) /* hostile: the same one again */
			result = log_add_oldest(log, position);
	}
	return result;
}

/* Hostile, or a power cut has taken the header: an extent in which slabs will be written has to say that it is the log's. What was
 * checked there, while it did not, has to be checked again. */
static int claim_extent(struct recovery *recovery, uint64_t position)
{
	struct core *core = recovery->core;
	struct spindle *spindle = &core->store.spindles[0];
	struct extent_header header = { .salt = core->extents.salt, .stream = STREAM_LOG, .run = 1 };
	uint8_t bytes[EXTENT_HEADER_BYTES];
	int result;

	if (position < EXTENT_BYTES)
		return 0;
	result = spindle_read(spindle, 0, position, bytes, sizeof(bytes));
	if (result && result != SLF_ECORRUPT) /* which it is where the file ends before; the log itself needs no header */
		return 0;
	if (result || extent_header_decode(bytes, core->store.seed, position, &header)) {
		memcpy(header.uuid, core->store.uuid, sizeof(header.uuid));
		extent_header_encode(bytes, &header, core->store.seed, position);
		result = spindle_write(spindle, 0, position, bytes, sizeof(bytes));
	} else if (header.stream != STREAM_LOG) {
		result = store_corrupt(&core->store, position, STREAM_LOG, header.stream,
				       "the log would go on in an extent that holds values or nodes");
	}
	verified_clear(&core->store.verified, position);
	return result;
}

static int claim_extents(struct recovery *recovery)
{
	const struct log *log = &recovery->core->log;
	int result = claim_extent(recovery, log->spare);

	for (size_t i = 0; i < log->live_count && !result; i++)
		result = claim_extent(recovery, log->live[i].position);
	return result;
}

static int restore_log(struct recovery *recovery, uint64_t salt)
{
	struct core *core = recovery->core;
	struct commit *commit = &core->commit;
	uint64_t extent = recovery->extent < EXTENT_BYTES ? EXTENT_ZERO_DATA : recovery->extent;
	uint64_t highest = u64_max(u64_max(recovery->last_seq, core->meta.seq_limit), recovery->seq_limit);
	/* hostile: a writer goes on from there, and what it writes must be such as the next opening takes; as with generations */
	uint64_t most = core->tuning.readonly ? COUNTER_MAX : COUNTER_MAX / 2;
	int result = 0;

	/* no limit could be set above it, and a writer would wait for one for ever; a slab could not have number 0 */
	if (highest > most || recovery->end.number > most || !recovery->end.number)
		return error_set(SLF_ECORRUPT, core->store.spindles[0].path, 0, position_offset(recovery->end.position),
				 "the numbers of the commits, or of the slabs, are out of range");
	if (!core->log.live_count)
		result = log_add_live(&core->log, recovery->extent, recovery->end.number);
	core->log.salt = salt;
	core->extents.salt = salt;
	core->log.spare = recovery->end.next;
	recovery->end.bytes = (struct log_bytes){ .payload = recovery->payload, .slabs = recovery->bytes };
	log_continue(&core->log, &recovery->end, extent, false);
	commit->settled_place = recovery->end;
	commit->mark_slab = recovery->mark_slab;
	commit->written = core->versions.tip;
	commit->seq_limit = recovery->seq_limit;
	/* a clean page holds the highest seq handed out, burnt ones included; else the limits in force tell */
	commit->next_seq = u64_max(recovery->last_seq, core->meta.seq_limit) + 1;
	if (!is_clean(recovery))
		commit->next_seq = u64_max(commit->next_seq, recovery->seq_limit + 1);
	commit->durable_limit = commit->next_seq; /* the OPEN record's slab raises it before the first commit */
	commit->settled_seq = commit->next_seq - 1;
	commit->lost_first = recovery->last_seq + 1;
	commit->lost_last = commit->next_seq - 1;
	atomic_store(&commit->durable_seq, recovery->last_seq);
	atomic_store(&commit->visible_seq, recovery->last_seq);
	commit->written_bytes = recovery->end.bytes;
	commit_move_mark(commit, &(struct log_place){ 0 });
	atomic_store(&core->checkpoint.seq, recovery->mark.root_seq);
	return result;
}

/* ---- The writer's part ------------------------------------------------------------------------------------------- */

/* A reader flushes too, so that what it shows survives (I12); where nothing can be written there is nothing to flush. */
static bool is_read_only_medium(int result)
{
	return result == -EROFS || result == -EINVAL || result == -EBADF;
}

static int flush_all(struct core *core)
{
	struct io_request requests[SPINDLES_MAX];

	for (unsigned i = 0; i < core->store.spindle_count; i++)
		requests[i] = (struct io_request){ .op = IO_SYNC, .file = core->store.spindles[i].file };
	io_run(core->io, requests, core->store.spindle_count);
	for (unsigned i = 0; i < core->store.spindle_count; i++)
		if (requests[i].result && !(core->tuning.readonly && is_read_only_medium(requests[i].result)))
			return error_set(SLF_EUNKNOWN, core->store.spindles[i].path, (int)i, OFFSET_NONE,
					 "cannot be flushed (%s): what has been read may not be on stable storage",
					 error_text(requests[i].result));
	return 0;
}

#define KEPT_BYTES (128 * KIB)

/* What a torn slab left behind the end reads as zeros again. What commits had set aside there stays allocated: on a full disk
 * it is what the opening and deletes live on. A defence in depth: the chain alone keeps a slab from being revived, so a file
 * system that can not do this does not matter. */
static void clear_tail(struct recovery *recovery)
{
	struct spindle *spindle = &recovery->core->store.spindles[0];
	uint64_t from = position_offset(recovery->end.position);
	uint64_t end = u64_min(align_up(from, EXTENT_BYTES), atomic_load(&spindle->size));
	uint64_t kept = u64_min(from + KEPT_BYTES, end);
	struct io_request requests[] = {
		{ .op = IO_PUNCH, .flags = IO_KEEP, .file = spindle->file, .offset = from, .length = kept - from },
		{ .op = IO_PUNCH, .file = spindle->file, .offset = kept, .length = end - kept },
	};

	if (!is_clean(recovery) && end > from)
		io_run(spindle->io, requests, end > kept ? 2 : 1);
}

static int forget_slab(void *context, uint64_t position)
{
	struct recovery *recovery = context;
	uint32_t sector = recovery->core->store.settings.sector;

	memset(recovery->reader.slab, 0, sector);
	return spindle_write(&recovery->core->store.spindles[0], 0, position_offset(position), recovery->reader.slab, sector);
}

/* Takes the header away from each slab in an extent, from a place on, that tells of later commits than there are. Slabs of the
 * chain, and marks that a page may still lead to, do not: they stay. Zeros, since not every file system can punch. */
static int forget_from(struct recovery *recovery, uint64_t from)
{
	int result = progress(recovery->core, "reading the log", recovery->bytes, 0, 0);

	return result ? result : log_reader_each_evidence(&recovery->reader, from, recovery->last_seq, forget_slab, recovery);
}

static int forget_extent(struct recovery *recovery, uint64_t extent)
{
	return forget_from(recovery, extent + EXTENT_DATA);
}

/* What the original had written, while it was copied, behind the place where the copy's log ends would be evidence of a loss: at the
 * next opening, or at one when the log has come to an extent that is free now and was copied later than the rest. */
static int clear_copy(struct recovery *recovery)
{
	const struct log *log = &recovery->core->log;
	uint64_t end = recovery->end.position;
	int result = look_behind(recovery, forget_extent);

	if (!result && end % EXTENT_BYTES)
		result = forget_from(recovery, end);
	if (!result && recovery->end.next)
		result = forget_extent(recovery, recovery->end.next);
	for (size_t i = 0; i < log->live_count && !result; i++) /* the chain may begin in the midst of one, and be older there */
		if (log->live[i].position >= EXTENT_BYTES)
			result = forget_extent(recovery, log->live[i].position);
	return result ? result : spindle_sync(&recovery->core->store.spindles[0]);
}

/* The page that was read, made to name the newest mark. */
static void take_page(struct recovery *recovery)
{
	struct checkpoint *checkpoint = &recovery->core->checkpoint;

	checkpoint->meta = recovery->core->meta;
	checkpoint->slot = recovery->core->meta.slot;
	checkpoint->meta.mark_position = recovery->mark_slab.position;
	checkpoint->meta.mark_number = recovery->mark_slab.number;
	checkpoint->meta.mark_digest = recovery->mark_slab.digest;
	checkpoint->meta.floor_seq = recovery->mark.root_seq;
}

/* The original's pages may tell of more than its copy has, and name a mark that stands where the copy's log goes on. They are
 * corrected before the copy has an OPEN record of its own: until then it is known as one. */
static int correct_pages(struct recovery *recovery)
{
	struct core *core = recovery->core;
	int result;

	if (!core->cut && core->meta.mark_number == recovery->mark_slab.number)
		return 0;
	take_page(recovery);
	result = checkpoint_write_pages(core, false);
	core->meta = core->checkpoint.meta;
	return result;
}

static int append_open(struct recovery *recovery, uint64_t salt)
{
	struct core *core = recovery->core;
	const struct io_info *info = &core->store.spindles[0].info;
	uint8_t body[OPEN_BODY_BYTES];
	int result;

	core->commit.session = (struct open_record){ .salt = salt, .inode = info->inode, .birth_ns = info->birth_ns,
						     .clock_ns = clock_wall_ns() };
	memcpy(core->commit.session.uuid, core->store.uuid, sizeof(core->store.uuid));
	open_record_encode(body, &core->commit.session);
	result = commit_record(&core->commit, LOG_OPEN, slice(body, sizeof(body)));
	return result ? result : commit_sync(&core->commit, NULL);
}

static int start_writing(struct recovery *recovery, uint64_t salt)
{
	struct core *core = recovery->core;
	struct checkpoint *checkpoint = &core->checkpoint;
	int result = restore_oldest(recovery);

	if (!result && core->log.spare) {
		result = log_spare(&core->log, false); /* it is there, and gets room among the live ones */
		if (error_is_space(result))
			result = 0;
	}
	if (!result)
		result = claim_extents(recovery);
	if (!result && is_elsewhere(recovery)) {
		result = clear_copy(recovery);
		if (!result)
			result = correct_pages(recovery);
	}
	if (result)
		return result;
	clear_tail(recovery);
	result = append_open(recovery, salt);
	if (!result)
		result = pages_announce(&core->store, &core->meta, salt);
	if (result)
		return result;
	take_page(recovery);
	checkpoint->meta.salt = salt;
	result = checkpoint_write_pages(core, false);
	if (result) {
		core_log(core, 4, "metadata page not written: %s", error_detail(result));
		return commit_check(&core->commit);
	}
	result = pages_confirm(&core->store, &checkpoint->meta);
	if (result)
		core_log(core, 4, "metadata page not written: %s", error_detail(result));
	log_recycle(&core->log, recovery->mark.replay_number);
	return 0;
}

/* Beside a writer the files have grown since they were opened, and what the log leads to may lie in what they grew by. */
static int refresh_sizes(struct core *core)
{
	int result = 0;

	for (unsigned i = 0; i < core->store.spindle_count && !result; i++)
		result = spindle_refresh(&core->store.spindles[i]);
	return result;
}

/* SLF_END: a slab's bulk is missing, and the end is to be looked for before it. */
static int find_proven_end(struct recovery *recovery)
{
	int result = find_end(recovery);

	if (!result && recovery->core->tuning.readonly) /* bulk is there before the slab that names it */
		result = refresh_sizes(recovery->core);
	return result ? result : prove_parts(recovery);
}

int recover_run(struct core *core)
{
	struct recovery recovery = { .core = core };
	uint64_t salt;
	int result;

	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return -errno;
	result = log_reader_init(&recovery.reader, core);
	if (!result)
		do
			result = find_proven_end(&recovery);
		while (result == SLF_END);
	if (!result)
		result = replay_all(&recovery);
	if (!result) {
		restore_extents(&recovery);
		result = restore_log(&recovery, salt);
	}
	if (!result && !core->tuning.readonly)
		clear_untaken(core);
	if (!result)
		result = flush_all(core);
	if (!result && !core->tuning.readonly)
		result = start_writing(&recovery, salt);
	free(recovery.recyclable);
	log_reader_release(&recovery.reader);
	return result;
}
