/* SPDX-License-Identifier: MIT */
#include "crash_scene.h"

#include "sim_world.h"

#define ALWAYS SLF_SYNC_COMMIT
#define LATER SLF_SYNC_NONE
#define TIMED SLF_SYNC_AUTO

const struct scene scenes[SCENES] = {
	{ "create", "", 1, ALWAYS, 0, false },
	{ "create three spindles", "c", 3, ALWAYS, 0, false },
	{ "small commits", "cccccccccc", 1, ALWAYS, 0, false },
	{ "small commits, 4 KiB sectors", "cccccccccc", 1, ALWAYS, 4096, false },
	{ "asynchronous commits", "aaaacaaaasaac", 1, ALWAYS, 0, false },
	{ "commits of many changes", "CcCcd", 1, ALWAYS, 0, false },
	{ "deletes", "CdcDcCd", 1, ALWAYS, 0, false },
	{ "all is deleted", "cccDDDccc", 1, ALWAYS, 0, false },
	{ "medium values", "mmmmcm", 1, ALWAYS, 0, false },
	{ "values not compressed", "mcLmc", 1, ALWAYS, 0, true },
	{ "large value", "cLcc", 1, ALWAYS, 0, false },
	{ "large values on three spindles", "cLcLc", 3, ALWAYS, 0, false },
	{ "large value, asynchronous", "clalcs", 3, ALWAYS, 0, false },
	{ "checkpoint", "ccckcc", 1, ALWAYS, 0, false },
	{ "checkpoint of an empty database", "kkck", 1, ALWAYS, 0, false },
	{ "checkpoints one after the other", "ckckckck", 1, ALWAYS, 0, false },
	{ "checkpoint behind asynchronous commits", "caakaakc", 1, ALWAYS, 0, false },
	{ "checkpoint of many nodes", "CmCkcmc", 1, ALWAYS, 0, false },
	{ "checkpoint on three spindles", "CLkcLkc", 3, ALWAYS, 0, false },
	{ "checkpoint, 4 KiB sectors", "CkckLk", 1, ALWAYS, 4096, false },
	{ "a transaction larger than the log", "cMcc", 1, ALWAYS, 0, false },
	{ "a large transaction on three spindles", "cMcMc", 3, ALWAYS, 0, false },
	{ "close and open", "ccrcrrcRc", 1, ALWAYS, 0, false },
	{ "killed and opened", "ccKccKKcaK", 1, ALWAYS, 0, false },
	{ "killed behind a checkpoint, three spindles", "CkcKckKc", 3, ALWAYS, 0, false },
	{ "blobs and aborts", "bxcbbxc", 1, ALWAYS, 0, false },
	{ "sync after a time", "ccccccscacccC", 1, TIMED, 0, false },
	{ "sync after a time, three spindles", "cLccLcsccc", 3, TIMED, 0, false },
	{ "sync on request, checkpoints on three spindles", "ccLkcsCckc", 3, LATER, 0, false },
	{ "sync on request, killed and opened", "cccscKccrcsK", 1, LATER, 4096, false },
};

void scene_init(struct rig *rig, const struct scene *scene, uint64_t seed)
{
	sim_world_start(rng_mix(seed));
	rig_init(rig, seed, scene->spindles, scene->sync);
	rig->values_large = 0;
	rig->compression = scene->plain ? SLF_COMPRESSION_NONE : SLF_COMPRESSION_DEFAULT;
	if (scene->sector)
		sim_disk_set_physical_sector(rig->disk, scene->sector);
}

static int commit_of(struct rig *rig, enum rig_value kind, unsigned deletes, unsigned changes, bool async)
{
	int result = 0;

	rig->kind = kind;
	rig->deletes = deletes;
	result = rig_commit(rig, changes, async);
	rig->kind = RIG_SMALL;
	rig->deletes = 2;
	return result;
}

static int step_abort(struct rig *rig)
{
	struct slf_txn *txn = NULL;
	int result = slf_begin(rig->db, SLF_WRITE, &txn);

	if (result)
		return result;
	result = slf_put(txn, SLF_MAIN, text("never"), text("seen"));
	slf_abort(txn);
	return result;
}

static int step_open(struct rig *rig, bool dead)
{
	int closed = 0, opened = 0;

	if (dead) {
		rig_abandon(rig->db);
		rig->db = NULL;
	} else {
		closed = rig_close(rig);
	}
	opened = rig_open(rig);
	if (!opened)
		rig_adopt(rig, true);
	return closed ? closed : opened;
}

static int step_reader(struct rig *rig)
{
	struct slf_db *db = NULL;
	int closed = rig_close(rig), opened = rig_open_on(rig, rig->disk, SLF_READONLY, &db);

	if (!opened) {
		rig_identify(rig, db);
		opened = slf_close(db);
	}
	if (!opened)
		opened = rig_open(rig);
	if (!opened)
		rig_adopt(rig, true);
	return closed ? closed : opened;
}

int scene_step(struct rig *rig, char letter)
{
	int result = 0;

	switch (letter) {
	case 'c':
	case 'a':
		return commit_of(rig, RIG_SMALL, 2, 1 + (unsigned)rng_below(&rig->rng, 3), letter == 'a');
	case 'C':
		return commit_of(rig, RIG_SMALL, 2, 40, false);
	case 'm':
	case 'M':
		return commit_of(rig, RIG_MEDIUM, 1, letter == 'm' ? 6 : 40, false);
	case 'L':
	case 'l':
		return commit_of(rig, RIG_LARGE, 0, 1, letter == 'l');
	case 'd':
	case 'D':
		return commit_of(rig, RIG_SMALL, 10, letter == 'd' ? 12 : 120, false);
	case 'b':
		rig->blob_bytes = 100;
		result = rig_commit(rig, 0, false);
		rig->blob_bytes = 0;
		return result;
	case 'k':
		return slf_checkpoint(rig->db);
	case 's':
		result = slf_sync(rig->db, NULL);
		if (!result)
			rig->acked = rig->newest;
		return result;
	case 'x':
		return step_abort(rig);
	case 'R':
		return step_reader(rig);
	default:
		must(letter == 'r' || letter == 'K');
		return step_open(rig, letter == 'K');
	}
}

void scene_run(struct rig *rig, const struct scene *scene)
{
	must_work(rig_open(rig));
	for (const char *letter = scene->script; *letter; letter++)
		must_work(scene_step(rig, *letter));
	must_work(rig_close(rig));
}
