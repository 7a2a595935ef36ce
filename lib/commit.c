/* SPDX-License-Identifier: MIT */
/*
 * States of a group: filling -> in flight -> durable | aborted | unknown.
 *
 * Failure modes:
 * - The slab cannot be written (no space, say): its place is overwritten with zeros, on stable storage. Then its commits
 *   and those of the group that filled meanwhile (they stand on it) are *aborted*: their seqs are burnt, their waiters get
 *   the error, their versions are taken back by the next holder of the turn, a running transaction is doomed. When there
 *   is space again, writing goes on. A slab without commits takes no others along.
 * - That overwriting fails, or any flush fails, or the write of data that is already visible: *unknown*; poisoned.
 *
 * RWF_DSYNC flushes only its own range: it is used when nothing below in the log and no part is unsynced; else the slab is
 * written and every touched spindle flushed.
 */
#include "commit.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "turn.h"

#define SLAB_BUFFER_BYTES (GROUP_BYTES + 64 * 1024)

static int group_init(struct group *group)
{
	void *slab = mmap(NULL, SLAB_BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (slab == MAP_FAILED)
		return -ENOMEM;
	group->slab = slab;
	return 0;
}

int commit_init(struct commit *commit, struct store *store, struct log *log, struct versions *versions)
{
	int result;

	memset(commit, 0, sizeof(*commit));
	commit->store = store;
	commit->log = log;
	commit->versions = versions;
	commit->eventfd = -1;
	commit->round = 1;
	result = -pthread_mutex_init(&commit->lock, NULL);
	if (!result)
		result = group_init(&commit->groups[0]);
	if (!result)
		result = group_init(&commit->groups[1]);
	return result;
}

void commit_release(struct commit *commit)
{
	if (!commit->store)
		return;
	for (unsigned i = 0; i < 2; i++) {
		if (commit->groups[i].slab)
			munmap(commit->groups[i].slab, SLAB_BUFFER_BYTES);
		free(commit->groups[i].parts);
	}
	if (commit->eventfd >= 0)
		close(commit->eventfd);
	for (size_t i = 0; i < commit->burnt_count; i++)
		free(commit->burnt[i].told);
	free(commit->burnt);
	pthread_mutex_destroy(&commit->lock);
	commit->store = NULL;
}

static struct group *fill_group(struct commit *commit)
{
	return &commit->groups[commit->fill];
}

static void group_reset(struct group *group)
{
	group->payload = 0;
	group->record_count = 0;
	group->first_seq = 0;
	group->last_seq = 0;
	group->part_count = 0;
	group->bulk_actions = 0;
	group->last = NULL;
	group->has_mark = false;
	memset(group->dirty, 0, sizeof(group->dirty));
}

/* With so many parts more. */
static size_t group_bytes(const struct group *group, size_t parts)
{
	return group->payload + (group->part_count + parts) * SLAB_PART_BYTES;
}

static bool shows_at_seal(const struct commit *commit)
{
	return commit->sync != SLF_SYNC_COMMIT;
}

/* ---- Poison, fate ------------------------------------------------------------------------------------------------ */

static void raise_eventfd(struct commit *commit)
{
	uint64_t one = 1;
	ssize_t written = commit->eventfd >= 0 ? write(commit->eventfd, &one, sizeof(one)) : 0;

	(void)written; /* a full counter is raised already */
}

static void poison_locked(struct commit *commit)
{
	if (atomic_load(&commit->poisoned))
		return;
	raise_eventfd(commit);
	commit->poison_info = (struct slf_errinfo){ .size = sizeof(commit->poison_info) };
	error_get(&commit->poison_info);
	commit->poison_info.code = SLF_EUNKNOWN; /* as those are told who wait; the text has the cause */
	atomic_store(&commit->poisoned, SLF_EPOISONED);
}

/* Wakes so many of a word's sleepers, if there were any when it was bumped. */
static void wake_word(struct commit *commit, unsigned parity, bool slept, int count)
{
	if (slept)
		futex_wake(&commit->words[parity], count);
}

/* The lock is held; when it has been dropped wake_word is to follow. Does anybody sleep on the word? */
static bool bump_word(struct commit *commit, unsigned parity)
{
	atomic_fetch_add_explicit(&commit->words[parity], 1, memory_order_relaxed);
	return atomic_load_explicit(&commit->sleepers[parity], memory_order_relaxed) != 0;
}

/* All who wait are told: the one that was woken to lead the next group will not, and nobody else comes to wake the others. */
void commit_poison(struct commit *commit)
{
	bool even, odd;

	pthread_mutex_lock(&commit->lock);
	poison_locked(commit);
	even = bump_word(commit, 0);
	odd = bump_word(commit, 1);
	pthread_mutex_unlock(&commit->lock);
	wake_word(commit, 0, even, INT32_MAX);
	wake_word(commit, 1, odd, INT32_MAX);
}

int commit_check(struct commit *commit)
{
	/* acquire: poison_info was written before */
	if (likely(!atomic_load_explicit(&commit->poisoned, memory_order_acquire)))
		return 0;
	return error_set(SLF_EPOISONED, NULL, -1, OFFSET_NONE,
			 "an earlier failure left durability in doubt, close and open the database again; it was: %s",
			 commit->poison_info.text);
}

/* Makes room for the bits of all up to last. */
static int burnt_reach(struct burnt *burnt, uint64_t last)
{
	uint64_t bytes = (last - burnt->first) / 8 + 1, room = u64_max(bytes, 2 * burnt->told_bytes);
	uint8_t *told;

	if (bytes > burnt->told_bytes) {
		told = realloc(burnt->told, room);
		if (!told)
			return -ENOMEM;
		memset(told + burnt->told_bytes, 0, room - burnt->told_bytes);
		burnt->told = told;
		burnt->told_bytes = room;
	}
	burnt->last = last;
	return 0;
}

static void note_told(struct burnt *burnt, uint64_t seq)
{
	uint8_t *byte = &burnt->told[(seq - burnt->first) / 8], bit = (uint8_t)(1 << (seq - burnt->first) % 8);

	burnt->told_count += !(*byte & bit);
	*byte |= bit;
}

static int burn(struct commit *commit, uint64_t first, uint64_t last, int code)
{
	struct burnt *burnt, made = { .first = first, .code = code, .info.size = sizeof(made.info) };

	atomic_store(&commit->any_burnt, true);
	if (commit->burnt_count) { /* a disk that stays full burns one after the other */
		burnt = &commit->burnt[commit->burnt_count - 1];
		if (burnt->last + 1 == first && burnt->code == code)
			return burnt_reach(burnt, last);
	}
	if (commit->burnt_count == commit->burnt_capacity) {
		burnt = array_grow(commit->burnt, &commit->burnt_capacity, sizeof(*burnt));
		if (!burnt)
			return -ENOMEM;
		commit->burnt = burnt;
	}
	error_get(&made.info);
	if (burnt_reach(&made, last))
		return -ENOMEM;
	commit->burnt[commit->burnt_count++] = made;
	return 0;
}

/* The fate of a settled seq. tells: its committer hears of it, so nobody else has to. */
static int fate(struct commit *commit, uint64_t seq, bool tells)
{
	for (size_t i = commit->burnt_count; i-- > 0;) {
		struct burnt *burnt = &commit->burnt[i];

		if (seq > burnt->last)
			break;
		if (seq >= burnt->first) {
			if (tells)
				note_told(burnt, seq);
			error_restore(&burnt->info);
			return burnt->code;
		}
	}
	if (seq >= commit->lost_first && seq <= commit->lost_last)
		return error_set(SLF_ECANCELLED, NULL, -1, OFFSET_NONE,
				 "commit %llu is not in the database: it was not durable when the database was left",
				 (unsigned long long)seq);
	if (seq && seq + 1 < commit->lost_first)
		return error_set(SLF_ENOTRETAINED, NULL, -1, OFFSET_NONE,
				 "whether commit %llu, of an earlier opening, is in the database is not known: the newest that was "
				 "found is %llu", (unsigned long long)seq, (unsigned long long)commit->lost_first - 1);
	return 0;
}

/* ---- Leading ----------------------------------------------------------------------------------------------------- */

/* Makes room for the parts before the records. */
static void place_parts(struct group *group)
{
	size_t bytes = group->part_count * SLAB_PART_BYTES;
	uint8_t *at = group->slab + SLAB_HEADER_BYTES;

	if (!bytes)
		return;
	memmove(at + bytes, at, group->payload);
	for (size_t i = 0; i < group->part_count; i++)
		entry_ref_encode(at + i * SLAB_PART_BYTES, &group->parts[i]);
	group->payload += bytes;
}

/* Flushes the log and the spindles of the parts, also of groups that were only written before. */
static int flush(struct commit *commit)
{
	struct store *store = commit->store;
	int result;

	commit->unsynced_dirty[0] |= 1;
	result = spindles_sync(store->spindles, store->spindle_count, commit->unsynced_dirty);
	if (result)
		return error_set(SLF_EUNKNOWN, store->spindles[0].path, 0, commit->log->end.position,
				 "flush failed (%s): the last commits may or may not survive; close the database and "
				 "open it again", error_text(result));
	commit->log->unsynced = false;
	memset(commit->unsynced_dirty, 0, sizeof(commit->unsynced_dirty));
	return 0;
}

/* Something is written and not flushed. */
static bool is_unsynced(const struct commit *commit)
{
	return commit->written_bytes.slabs != commit->settled_place.bytes.slabs;
}

enum outcome { OUTCOME_DONE, OUTCOME_ABORTED, OUTCOME_UNKNOWN };

/* Writes the flight as a slab; no lock held, the role of the leader guards the log. */
static enum outcome write_flight(struct commit *commit, struct group *group, bool stable, uint64_t seq_limit,
				 uint64_t newest, int *code)
{
	struct slab_header header = { .first_seq = group->first_seq,
				      .last_seq = group->last_seq,
				      .seq_limit = seq_limit,
				      .durable_seq = atomic_load(&commit->durable_seq),
				      .part_count = (uint32_t)group->part_count,
				      .record_count = group->record_count };
	bool lone = stable && !group->part_count && !is_unsynced(commit) && !commit->log->unsynced;

	place_parts(group);
	header.payload = (uint32_t)group->payload;
	*code = log_write(commit->log, group->slab, &header, newest, lone);
	if (*code) {
		struct slf_errinfo info = { .size = sizeof(info) };
		enum outcome outcome = OUTCOME_ABORTED;

		if (error_detail(*code) == error_text(*code)) /* memory, say: nobody has told more */
			error_set(*code, NULL, -1, OFFSET_NONE, "a slab cannot be written: %s", error_text(*code));
		error_get(&info);
		if (shows_at_seal(commit) || commit->log->doubt ||
		    (commit->log->torn && log_invalidate(commit->log, header.length)))
			outcome = OUTCOME_UNKNOWN;
		error_restore(&info);
		return outcome;
	}
	commit->log->end.bytes.payload += group->bulk_actions;
	for (unsigned i = 0; i < SPINDLE_WORDS; i++)
		commit->unsynced_dirty[i] |= group->dirty[i];
	if (!stable || (lone && !commit->log->unsynced))
		return OUTCOME_DONE;
	*code = flush(commit);
	return *code ? OUTCOME_UNKNOWN : OUTCOME_DONE;
}

/* Everything up to version is on stable storage. */
static void settle(struct commit *commit, struct version *version)
{
	commit->settled_place = commit->log->end;
	commit->settled_ns = commit->sync == SLF_SYNC_AUTO ? clock_now_ns() : 0;
	commit->durable_limit = commit->seq_limit;
	version_settle(commit->versions, version);
	if (!shows_at_seal(commit))
		version_show(commit->versions, version);
	/* in this order: who finds its commit settled, without the lock, also finds that it is durable */
	atomic_store(&commit->durable_seq, version->seq);
	commit->settled_seq = u64_max(commit->settled_seq, version->seq); /* burnt seqs may lie above */
	raise_eventfd(commit);
}

/* The flight is reported failed, and what filled behind it, if it stands on the flight: not on records of the engine. */
static void abort_groups(struct commit *commit, struct group *flight, uint32_t round, int code)
{
	struct group *fill = fill_group(commit);
	uint64_t last = fill->last_seq ? fill->last_seq : flight->last_seq;

	commit->aborted = code;
	commit->aborted_info = (struct slf_errinfo){ .size = sizeof(commit->aborted_info) };
	error_get(&commit->aborted_info);
	if (flight->first_seq) {
		if (burn(commit, flight->first_seq, last, code)) {
			poison_locked(commit); /* their fate cannot be kept: they stay open, which is answered as unknown */
			return;
		}
		commit->settled_seq = last;
		raise_eventfd(commit);
		/* in this order: who has counted it when a transaction begins has also marked what is to be taken back */
		atomic_store(&commit->rollback, true);
		atomic_fetch_add(&commit->rollbacks, 1);
		stats_add(&commit->store->stats->values.rollbacks, 1);
		group_reset(fill);
	}
	commit->settled_round = round;
}

/* The lock is held. */
static void count_replay(struct commit *commit)
{
	atomic_store_explicit(&commit->replay_bytes, commit->written_bytes.payload - commit->log->mark_bytes.payload,
			      memory_order_relaxed);
}

void commit_move_mark(struct commit *commit, const struct log_place *place)
{
	pthread_mutex_lock(&commit->lock);
	commit->log->mark_bytes = place->bytes;
	count_replay(commit);
	pthread_mutex_unlock(&commit->lock);
}

static void conclude(struct commit *commit, struct group *flight, uint32_t round, enum outcome outcome, bool stable,
		     int code)
{
	if (outcome == OUTCOME_UNKNOWN) {
		poison_locked(commit);
	} else if (outcome == OUTCOME_ABORTED) {
		abort_groups(commit, flight, round, code);
	} else {
		if (flight->last)
			commit->written = flight->last;
		commit->written_bytes = commit->log->end.bytes;
		count_replay(commit);
		if (flight->has_mark)
			commit->mark_slab = commit->log->last;
		if (stable) {
			settle(commit, commit->written);
			commit->settled_round = round;
		}
	}
}

/* Called and left with the lock held, which is dropped meanwhile: those who wake would only wait for it. */
static void wake_waiters(struct commit *commit, uint32_t round, enum outcome outcome)
{
	bool slept = bump_word(commit, round & 1), behind = bump_word(commit, (round + 1) & 1);

	pthread_mutex_unlock(&commit->lock);
	/* One of those whose group filled meanwhile leads next; after a failure their fate is known, and nobody may lead. */
	wake_word(commit, (round + 1) & 1, behind, outcome == OUTCOME_DONE ? 1 : INT32_MAX);
	wake_word(commit, round & 1, slept, INT32_MAX);
	pthread_mutex_lock(&commit->lock);
}

/* Writes (and flushes) the fill group. Called and left with the lock held; nobody else leads. */
static int lead(struct commit *commit, bool stable)
{
	struct group *flight = fill_group(commit);
	uint64_t limit = u64_max(commit->seq_limit, commit->next_seq - 1 + SEQ_LIMIT_STEP), newest = commit->written->seq;
	/* an empty one where only a slab can raise the limit of seqs */
	bool slab = flight->record_count || commit->next_seq > commit->seq_limit;
	uint32_t round = commit->round;
	enum outcome outcome = OUTCOME_DONE;
	int code = 0;

	commit->leading = true;
	commit->flight_bytes = group_bytes(flight, 0);
	commit->fill ^= 1;
	commit->round++;
	pthread_mutex_unlock(&commit->lock);
	if (slab)
		outcome = write_flight(commit, flight, stable, limit, newest, &code);
	else if (stable && (is_unsynced(commit) || commit->log->unsynced) && (code = flush(commit)))
		outcome = OUTCOME_UNKNOWN;
	if (outcome == OUTCOME_UNKNOWN)
		code = SLF_EUNKNOWN;
	pthread_mutex_lock(&commit->lock);
	if (outcome == OUTCOME_DONE && slab)
		commit->seq_limit = limit; /* before the conclusion, which may make it the durable one */
	stats_add(&commit->store->stats->values.commit_groups, flight->last != NULL);
	conclude(commit, flight, round, outcome, stable, code);
	if (outcome == OUTCOME_UNKNOWN)
		error_restore(&commit->poison_info);
	group_reset(flight);
	commit->leading = false;
	commit->flight_bytes = 0;
	commit->reserved_bytes = 0; /* it was counted from where the log ended */
	wake_waiters(commit, round, outcome);
	/* what was sealed beside the flight has woken nobody (commit_seal), and perhaps nobody waits for it */
	if (commit->wake && (log_low(commit->log) ||
			     (shows_at_seal(commit) && (fill_group(commit)->record_count || is_unsynced(commit)))))
		commit->wake(commit->wake_context);
	return code;
}

/* Sleeps until the group of this round may have been dealt with. Called with the lock held, left without. */
static int sleep_round(struct commit *commit, uint32_t round, uint64_t deadline)
{
	_Atomic uint32_t *word = &commit->words[round & 1], *sleepers = &commit->sleepers[round & 1];
	uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t now = deadline ? clock_now_ns() : 0;
	bool late = deadline && now >= deadline, slept;
	int result;

	if (!late)
		atomic_fetch_add_explicit(sleepers, 1, memory_order_relaxed);
	pthread_mutex_unlock(&commit->lock);
	if (late)
		return -ETIMEDOUT;
	result = futex_wait(word, value, deadline ? (int64_t)(deadline - now) : -1);
	atomic_fetch_sub_explicit(sleepers, 1, memory_order_relaxed);
	if (result != -ETIMEDOUT)
		return 0;
	/* The wake-up that we may have been given to lead goes to somebody else. */
	pthread_mutex_lock(&commit->lock);
	slept = bump_word(commit, round & 1);
	pthread_mutex_unlock(&commit->lock);
	wake_word(commit, round & 1, slept, 1);
	return -ETIMEDOUT;
}

/* The same without a deadline, left with the lock held again. */
static void wait_round(struct commit *commit, uint32_t round)
{
	(void)sleep_round(commit, round, 0);
	pthread_mutex_lock(&commit->lock);
}

/* The round of the group that an open seq is in: the one that fills, or the one in flight. The lock is held. */
static uint32_t round_of(struct commit *commit, uint64_t seq)
{
	const struct group *fill = fill_group(commit);

	return fill->first_seq && seq >= fill->first_seq ? commit->round : commit->round - 1;
}

static int wait_for(struct commit *commit, uint64_t seq, int64_t timeout_ns, bool tells)
{
	uint64_t deadline = timeout_ns < 0 ? 0 : clock_now_ns() + (uint64_t)timeout_ns;
	bool leads = timeout_ns != 0 || !commit->wake; /* who only asks leaves the work to the background, if there is one */
	int result = 0;

	pthread_mutex_lock(&commit->lock);
	if (seq >= commit->next_seq)
		result = error_set(-EINVAL, NULL, -1, OFFSET_NONE, "commit %llu has not been made",
				   (unsigned long long)seq);
	while (!result && commit->settled_seq < seq) {
		if (atomic_load(&commit->poisoned)) {
			error_restore(&commit->poison_info);
			result = SLF_EUNKNOWN;
		} else if (!commit->leading && leads) {
			lead(commit, true);
		} else {
			result = sleep_round(commit, round_of(commit, seq), deadline);
			/* the usual end needs no lock, for which all that were woken would queue */
			if (!result && atomic_load_explicit(&commit->settled_seq, memory_order_acquire) >= seq &&
			    !atomic_load(&commit->any_burnt))
				return 0;
			pthread_mutex_lock(&commit->lock);
		}
	}
	if (!result)
		result = fate(commit, seq, tells);
	pthread_mutex_unlock(&commit->lock);
	return result;
}

int commit_wait(struct commit *commit, uint64_t seq, int64_t timeout_ns)
{
	return wait_for(commit, seq, timeout_ns, true);
}

int commit_wait_base(struct commit *commit, uint64_t seq)
{
	return wait_for(commit, seq, -1, false);
}

/* The failure of one of the commits [first, last]. The lock is held. */
static int burnt_within(struct commit *commit, uint64_t first, uint64_t last)
{
	for (size_t i = commit->burnt_count; i-- > 0 && first <= commit->burnt[i].last;)
		if (commit->burnt[i].first <= last) {
			error_restore(&commit->burnt[i].info);
			return commit->burnt[i].code;
		}
	return 0;
}

int commit_untold(struct commit *commit)
{
	int code = 0;

	pthread_mutex_lock(&commit->lock);
	for (size_t i = commit->burnt_count; i-- > 0 && !code;) {
		struct burnt *burnt = &commit->burnt[i];
		uint64_t commits = burnt->last - burnt->first + 1;

		if (burnt->told_count == commits)
			continue;
		for (uint64_t seq = burnt->first; seq <= burnt->last; seq++)
			note_told(burnt, seq);
		error_restore(&burnt->info);
		code = burnt->code;
	}
	pthread_mutex_unlock(&commit->lock);
	return code;
}

/* No longer than for what there is now: others may go on committing for ever. */
int commit_sync(struct commit *commit, uint64_t *durable_seq)
{
	uint64_t settled, newest;
	uint32_t target;
	int result = 0;

	pthread_mutex_lock(&commit->lock);
	settled = commit->settled_seq;
	newest = commit->next_seq - 1;
	target = fill_group(commit)->record_count ? commit->round : commit->round - 1;
	while (!result && (int32_t)(commit->settled_round - target) < 0) {
		if (atomic_load(&commit->poisoned)) {
			error_restore(&commit->poison_info);
			result = SLF_EUNKNOWN;
		} else if (commit->leading) {
			wait_round(commit, commit->round - 1);
		} else {
			result = lead(commit, true);
		}
	}
	if (!result && settled < newest)
		result = burnt_within(commit, settled + 1, newest); /* another thread led, and may have told somebody else */
	if (!result && durable_seq)
		*durable_seq = atomic_load(&commit->durable_seq);
	pthread_mutex_unlock(&commit->lock);
	return result;
}

int commit_write_out(struct commit *commit)
{
	int result = 0;

	pthread_mutex_lock(&commit->lock);
	if (!commit->leading && fill_group(commit)->record_count && !atomic_load(&commit->poisoned))
		result = lead(commit, !shows_at_seal(commit)); /* what is not shown may not be settled before its flush */
	pthread_mutex_unlock(&commit->lock);
	return result;
}

struct commit_load commit_load(struct commit *commit)
{
	struct commit_load load;

	pthread_mutex_lock(&commit->lock);
	load = (struct commit_load){ .gathered = fill_group(commit)->payload,
				     .unflushed = commit->written_bytes.slabs - commit->settled_place.bytes.slabs,
				     .settled_ns = commit->settled_ns };
	pthread_mutex_unlock(&commit->lock);
	return load;
}

/* ---- Sealing ----------------------------------------------------------------------------------------------------- */

/* Waits or leads until the fill group has room. Called and left with the lock held. */
static int make_room(struct commit *commit, size_t bytes, size_t parts)
{
	while (group_bytes(fill_group(commit), parts) + bytes > GROUP_BYTES ||
	       fill_group(commit)->part_count + parts > SLAB_PARTS_MAX || commit->next_seq > commit->durable_limit) {
		bool limit = commit->next_seq > commit->durable_limit;
		int result = 0;

		if (atomic_load(&commit->poisoned))
			return commit_check(commit);
		if (!fill_group(commit)->record_count && !limit)
			return error_set(SLF_ETOOBIG, NULL, -1, OFFSET_NONE,
					 "a commit's entry of %zu bytes and %zu parts is too large for one slab", bytes, parts);
		if (commit->leading)
			wait_round(commit, commit->round - 1);
		else
			result = lead(commit, limit || !shows_at_seal(commit));
		if (result)
			return result;
	}
	return 0;
}

static int add_parts(struct group *group, const struct entry_ref *parts, size_t count)
{
	if (group->part_count + count > group->part_capacity) {
		size_t capacity = group->part_count + count + 16;
		struct entry_ref *grown = realloc(group->parts, capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		group->parts = grown;
		group->part_capacity = capacity;
	}
	if (count)
		memcpy(group->parts + group->part_count, parts, count * sizeof(*parts));
	group->part_count += count;
	return 0;
}

static void *append_record(struct group *group, enum log_record_kind kind, size_t body_bytes)
{
	void *body = log_record_begin(group->slab + SLAB_HEADER_BYTES + group->payload, kind, body_bytes);

	group->payload += log_record_bytes(body_bytes);
	group->record_count++;
	group->has_mark |= kind == LOG_MARK;
	return body;
}

static void append_session(struct commit *commit)
{
	open_record_encode(append_record(fill_group(commit), LOG_OPEN, OPEN_BODY_BYTES), &commit->session);
}

/* Fills what the sealing decides and writes the commit entry. */
static void seal_entry(struct commit *commit, struct sealing *sealing)
{
	struct version *tip = commit->versions->tip, *version = sealing->version;
	struct commit_entry *entry = &sealing->entry;
	struct group *group = fill_group(commit);

	entry->seq = commit->next_seq++;
	entry->clock_ns = clock_wall_ns();
	entry->search_ns = u64_max(entry->clock_ns, tip->search_ns);
	entry->digest = digest_commit(&tip->digest, entry->seq, sealing->txn_digest, entry->blob);
	version->seq = entry->seq;
	version->search_ns = entry->search_ns;
	version->digest = entry->digest;
	if (sealing->mark) { /* it holds the state after this very commit */
		sealing->mark->root_seq = entry->seq;
		sealing->mark->digest = entry->digest;
		sealing->mark->search_ns = entry->search_ns;
	}
	commit_entry_encode(append_record(group, LOG_FINAL, commit_entry_bytes(entry)), entry);
	if (!group->first_seq)
		group->first_seq = entry->seq;
	group->last_seq = entry->seq;
	group->last = version;
}

#define RESERVE_AHEAD_BYTES (16 * KIB)
#define RESERVE_SLABS 16u       /* that a commit leaves room for, in slabs of one sector, */
#define RESERVE_ENGINE_SLABS 4u /* and one that only deletes: for the records of openings and checkpoints */

_Static_assert(EXTENT_DATA + 2 * (GROUP_BYTES + 4096) + RESERVE_SLABS * 4096 + 4096 <= EXTENT_BYTES,
	       "two groups, what is left free behind them, and the sector that is always kept");

/* Room for pending bytes: in one slab and the one in flight, or, where they can not be taken back, however they are cut. */
static uint64_t room_bytes(const struct commit *commit, size_t pending)
{
	return (shows_at_seal(commit) ? 2 : 1) * (slab_bytes(pending, commit->log->pad) + 4096);
}

/* A commit must find room (design section 4): one that is shown at its seal can not be taken back, and on a disk that is full
 * what puts leave is what deletes, checkpoints and the next opening live on. Asked for some commits at once where there is
 * room enough. */
static int reserve_log(struct commit *commit, size_t pending, bool frugal)
{
	uint64_t reserve = RESERVE_SLABS * 4096;
	size_t ahead = pending + RESERVE_AHEAD_BYTES;
	int result;

	if (likely(pending <= commit->reserved_bytes))
		return 0;
	result = log_reserve(commit->log, room_bytes(commit, ahead) + reserve);
	if (!result) {
		commit->reserved_bytes = ahead;
		return 0;
	}
	if (frugal)
		reserve = reserve / RESERVE_SLABS * RESERVE_ENGINE_SLABS;
	return log_reserve(commit->log, room_bytes(commit, pending) + reserve);
}

/* Room in the group and in the log. A group in flight counts as if it were still to be written, so a log that seems full may
 * not be once it has been. */
static int find_room(struct commit *commit, const struct sealing *sealing, size_t bytes)
{
	for (;;) {
		int result = make_room(commit, bytes, sealing->part_count);

		if (result)
			return result;
		if (atomic_load(&commit->rollbacks) != sealing->rollbacks)
			return error_set(SLF_ECANCELLED, NULL, -1, OFFSET_NONE,
					 "an earlier commit, which this transaction had built on, could not be written");
		result = reserve_log(commit, group_bytes(fill_group(commit), sealing->part_count) + commit->flight_bytes + bytes,
				     sealing->frugal);
		if ((result != -ENOSPC && result != -EDQUOT) || !commit->leading)
			return result;
		wait_round(commit, commit->round - 1);
		if (atomic_load(&commit->poisoned))
			return commit_check(commit);
	}
}

static int seal_locked(struct commit *commit, struct sealing *sealing)
{
	size_t bytes = log_record_bytes(commit_entry_bytes(&sealing->entry));
	struct mark *mark = sealing->mark;
	struct group *group;
	int result;

	if (mark)
		bytes += log_record_bytes(mark_bytes(mark)) + log_record_bytes(OPEN_BODY_BYTES);
	if (commit_check(commit))
		return SLF_EPOISONED;
	result = find_room(commit, sealing, bytes);
	group = fill_group(commit);
	if (!result)
		result = add_parts(group, sealing->parts, sealing->part_count);
	if (result)
		return result;
	for (unsigned i = 0; sealing->dirty && i < SPINDLE_WORDS; i++)
		group->dirty[i] |= sealing->dirty[i];
	group->bulk_actions += sealing->bulk_actions;
	seal_entry(commit, sealing);
	if (mark) {
		mark_encode(append_record(group, LOG_MARK, mark_bytes(mark)), mark);
		append_session(commit);
	}
	versions_append(commit->versions, sealing->version);
	if (shows_at_seal(commit)) {
		version_show(commit->versions, sealing->version);
		atomic_store(&commit->visible_seq, sealing->version->seq);
	}
	return 0;
}

int commit_seal(struct commit *commit, struct sealing *sealing, uint64_t *seq)
{
	bool kick;
	int result;

	pthread_mutex_lock(&commit->lock);
	result = seal_locked(commit, sealing);
	*seq = sealing->entry.seq;
	/* the flusher is told when there is something to gather, and when enough has gathered */
	kick = shows_at_seal(commit) && !commit->leading &&
	       (fill_group(commit)->record_count == 1 || fill_group(commit)->payload >= WRITE_OUT_BYTES);
	pthread_mutex_unlock(&commit->lock);
	if (!result && kick && commit->wake)
		commit->wake(commit->wake_context);
	return result;
}

int commit_record(struct commit *commit, enum log_record_kind kind, struct slf_slice body)
{
	size_t bytes = log_record_bytes(body.size) + (kind == LOG_MARK ? log_record_bytes(OPEN_BODY_BYTES) : 0);
	int result;

	pthread_mutex_lock(&commit->lock);
	result = commit_check(commit);
	if (!result)
		result = make_room(commit, bytes, 0);
	if (!result) {
		memcpy(append_record(fill_group(commit), kind, body.size), body.data, body.size);
		if (kind == LOG_MARK)
			append_session(commit);
	}
	pthread_mutex_unlock(&commit->lock);
	return result;
}

/* ---- Versions in use, rollback, freezing ------------------------------------------------------------------------------------------ */

uint32_t commit_rollback(struct commit *commit)
{
	uint32_t rollbacks = atomic_load(&commit->rollbacks); /* first: the mark is set before it is counted */

	if (likely(!atomic_load_explicit(&commit->rollback, memory_order_acquire)))
		return rollbacks;
	pthread_mutex_lock(&commit->lock);
	versions_rollback(commit->versions, atomic_load(&commit->versions->visible));
	atomic_store(&commit->rollback, false);
	rollbacks = atomic_load(&commit->rollbacks); /* with those that have just been taken back */
	pthread_mutex_unlock(&commit->lock);
	return rollbacks;
}

bool commit_sweep(struct commit *commit)
{
	struct version *targets[3];
	uint64_t epochs[3];
	size_t count = 0;

	pthread_mutex_lock(&commit->lock);
	targets[0] = commit->groups[0].last;
	targets[1] = commit->groups[1].last;
	targets[2] = commit->written;
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++)
		if (targets[i])
			epochs[count++] = targets[i]->epoch;
	pthread_mutex_unlock(&commit->lock);
	return versions_sweep(commit->versions, epochs, count);
}

void commit_install(struct commit *commit, struct version *version)
{
	pthread_mutex_lock(&commit->lock);
	assert(!fill_group(commit)->last || shows_at_seal(commit));
	versions_append(commit->versions, version);
	version_show(commit->versions, version);
	if (atomic_load(&commit->durable_seq) == version->seq) {
		commit->written = version;
		version_settle(commit->versions, version);
	}
	pthread_mutex_unlock(&commit->lock);
}

struct version *commit_freeze(struct commit *commit, struct log_place *place)
{
	struct version *version;

	pthread_mutex_lock(&commit->lock);
	version = atomic_load(&commit->versions->durable);
	atomic_store(&commit->versions->pinned, version->epoch);
	*place = commit->settled_place;
	pthread_mutex_unlock(&commit->lock);
	return version;
}
