/* SPDX-License-Identifier: MIT */
#include "recover_rig.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const further[] = { "/usr/spindle", "/var/spindle" };

static int hear(void *context, const struct slf_progress *progress)
{
	struct heard *heard = context;
	bool replaying = strstr(progress->phase, "replay") != NULL, checking = strcmp(progress->phase, "checking values") == 0;

	heard->wrong |= (progress->total && progress->done > progress->total) ||
			(replaying && heard->replaying && progress->done < heard->done);
	heard->done = progress->done;
	heard->total = progress->total;
	if (checking) {
		heard->wrong |= progress->done <= heard->checked && heard->checking;
		heard->checked = progress->done;
		heard->check_total = progress->total;
	}
	heard->reading += !replaying;
	heard->checking += checking;
	heard->replaying += replaying;
	return (heard->stop_at && heard->reading + heard->replaying >= heard->stop_at) ||
	       (heard->stop_check_at && heard->checking >= heard->stop_check_at);
}

int open_three(struct sim_disk *disk, unsigned flags, struct heard *heard, struct slf_db **db)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	static struct stats unused;
	struct io *io;

	options.flags = flags | (flags & SLF_READONLY ? 0 : SLF_NO_THREADS);
	options.spindles = further;
	options.spindle_count = 2;
	options.progress = heard ? hear : NULL;
	options.progress_context = heard;
	must_work(sim_disk_io(disk, &unused, &io));
	return db_open_io(RIG_PATH, &options, io, db);
}

const char *name_of(unsigned index, char *name)
{
	snprintf(name, 16, "key%u", index);
	return name;
}

uint64_t commit_one(struct slf_db *db, unsigned index)
{
	static uint8_t data[RIG_LARGE_BYTES];
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	size_t size = index % 3 ? 10 + index : sizeof(data);
	uint64_t seq = 0;
	char name[16];

	bytes_fill(data, size, index, false);
	must_work(slf_put(txn, SLF_MAIN, text(name_of(index, name)), slice(data, size)));
	must_work(slf_commit(txn, &seq));
	return seq;
}

unsigned prefix(struct slf_db *db)
{
	static uint8_t data[RIG_LARGE_BYTES];
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	unsigned count = 0;
	bool ended = false;

	for (unsigned i = 0; i < COMMITS; i++) {
		size_t size = i % 3 ? 10 + i : sizeof(data);
		struct slf_slice value;
		char name[16];
		int result = slf_get(txn, SLF_MAIN, text(name_of(i, name)), &value);

		must(result == 0 || result == SLF_NOTFOUND);
		bytes_fill(data, size, i, false);
		must(result || (!ended && slice_is(value, data, size)));
		ended |= result != 0;
		count += result == 0;
	}
	slf_abort(txn);
	return count;
}

struct sim_disk *unclean_disk(uint64_t *seqs, uint64_t *seq_limit)
{
	struct sim_disk *disk = sim_disk_new(), *killed;
	struct slf_db *db = NULL;

	must_work(open_three(disk, SLF_CREATE, NULL, &db));
	for (unsigned i = 0; i < COMMITS; i++) {
		seqs[i] = commit_one(db, i);
		if (i == COMMITS / 3)
			must_work(slf_checkpoint(db));
	}
	*seq_limit = db->core.commit.seq_limit;
	killed = sim_disk_kill(disk);
	must_work(slf_close(db));
	sim_disk_free(disk);
	return killed;
}

void flip(struct sim_disk *disk, uint64_t offset)
{
	uint8_t byte;

	must_work(sim_disk_peek_durable(disk, RIG_PATH, offset, &byte, 1));
	byte ^= 0x40;
	must_work(sim_disk_poke(disk, RIG_PATH, offset, &byte, 1));
}

void spoil(struct sim_disk *disk, uint64_t position)
{
	static const uint8_t garbage[64] = "what an entry is not";
	unsigned spindle = position_spindle(position);

	must_work(sim_disk_poke(disk, spindle ? further[spindle - 1] : RIG_PATH, position_offset(position), garbage,
				sizeof(garbage)));
}

#define HUGE_BYTES (3 * MIB / 2)

void commit_huge(struct slf_db *db)
{
	uint8_t *data = malloc(HUGE_BYTES);

	for (unsigned i = 0; i < 6; i++) {
		struct slf_txn *txn = txn_begin(db, SLF_WRITE);
		char name[16];

		bytes_fill(data, HUGE_BYTES, 1000 + i, false);
		must_work(slf_put(txn, SLF_MAIN, text(name_of(1000 + i, name)), slice(data, HUGE_BYTES)));
		must_work(slf_commit(txn, NULL));
	}
	free(data);
}

bool has_huge(struct slf_db *db)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	uint8_t *data = malloc(HUGE_BYTES);
	bool all = true;

	for (unsigned i = 0; i < 6 && all; i++) {
		struct slf_slice value;
		char name[16];

		bytes_fill(data, HUGE_BYTES, 1000 + i, false);
		all = slf_get(txn, SLF_MAIN, text(name_of(1000 + i, name)), &value) == 0 &&
		      slice_is(value, data, HUGE_BYTES);
	}
	free(data);
	slf_abort(txn);
	return all;
}
