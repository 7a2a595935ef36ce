/* SPDX-License-Identifier: MIT */
#include "fault_scene.h"

#include <stdio.h>

#include "fault_memory.h"
#include "proof.h"

#define GO_ON_TRIES 20

struct suffering {
	struct rig rig;
	const struct fault_plan *plan;
	struct fault_counts *counts;
	uint64_t failed; /* steps */
	bool poisoned;
};

static bool is_poisoned(const struct rig *rig)
{
	return rig->db && commit_check(&rig->db->core.commit) != 0;
}

/* How many calls have failed, of a kind. */
static uint64_t failed_calls(const struct suffering *suffering, enum sim_call call)
{
	const struct fault_ground *ground = suffering->plan->ground;

	return ground ? ground->failed(call) : sim_disk_failed(suffering->rig.disk, call);
}

/* 0 where transfers are short: nobody is to notice. */
static int planned_error(const struct fault_plan *plan)
{
	return plan->memory_nth ? -ENOMEM : plan->fault.error;
}

static bool is_sticky(const struct fault_plan *plan)
{
	return plan->fault.sticky || plan->memory_sticky;
}

/* Nothing else than a write or a flush that failed leaves in doubt what is on the disk. */
static bool is_doubtful(const struct suffering *suffering)
{
	return planned_error(suffering->plan) &&
	       (failed_calls(suffering, SIM_WRITE) || failed_calls(suffering, SIM_SYNC));
}

/* May the database answer so, where this plan says what fails? */
static bool is_explained(const struct suffering *suffering, int result)
{
	int error = planned_error(suffering->plan);

	switch (result) {
	case 0:
		return true;
	case SLF_EUNKNOWN:
	case SLF_EPOISONED:
		return is_doubtful(suffering);
	case SLF_ECANCELLED: /* the failure came before, and this stood on what was taken back */
		return error != 0;
	case SLF_ELOCKED: /* so the system says it */
		return error == -EAGAIN && failed_calls(suffering, SIM_LOCK);
	case -ENOSPC: /* who writes is told so behind a checkpoint that found no room, in whatever words */
		return error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
	default:
		return result == error;
	}
}

static void explain(const struct suffering *suffering, int result)
{
	if (!is_explained(suffering, result))
		fprintf(stderr, "the answer is %d (%s)\n", result, slf_strerror(result));
	must(is_explained(suffering, result));
}

/* Nothing fails from here on. */
static void relieve(struct suffering *suffering)
{
	uint64_t failed = 0;

	fault_memory_disarm(&failed);
	fault_memory_arm(0, false);
	suffering->counts->fired += failed;
	if (suffering->plan->ground)
		suffering->plan->ground->relieve();
	sim_disk_clear_faults(suffering->rig.disk);
}

/* When a creation and also what it does to clean up have failed, files are left that somebody has to remove. */
static void remove_rest(struct rig *rig)
{
	struct io *io = NULL;

	must_work(rig_io(rig, rig->disk, &io));
	for (unsigned i = 0; i < rig->spindle_count; i++)
		(void)io_remove(io, rig->paths[i]);
	io_free(io);
}

/* The database is closed, or poisoned: it must open when nothing fails. */
static void reopen(struct suffering *suffering)
{
	struct rig *rig = &suffering->rig;

	relieve(suffering);
	if (rig->db)
		rig_close(rig);
	if (!rig->created && suffering->plan->fault.sticky)
		remove_rest(rig);
	must_work(rig_open(rig));
	rig_adopt(rig, true);
}

/* The handle has survived a failure, and nothing fails: it has to take a commit, and to show it. */
static void go_on(struct suffering *suffering)
{
	struct rig *rig = &suffering->rig;
	size_t newest = rig->newest;

	rig_hold_faults(rig, true);
	for (unsigned i = 0; i < GO_ON_TRIES && rig->newest == newest; i++) /* some are aborted, some change nothing */
		must_work(rig_commit(rig, 2, false));
	must(rig->newest > newest);
	must_work(slf_sync(rig->db, NULL));
	rig->acked = rig->newest;
	rig_identify(rig, rig->db); /* from here on calls fail again */
	suffering->counts->gone_on++;
}

/* After a step: what has become of the commits? */
static void examine(struct suffering *suffering, int result)
{
	struct rig *rig = &suffering->rig;

	explain(suffering, result);
	if (result == 0 && rig->db && !is_poisoned(rig)) {
		rig_identify(rig, rig->db);
		return;
	}
	suffering->failed += result < 0;
	/* asynchronous commits meet their fate: durable, or taken back with the error */
	for (unsigned i = 0; i < 2 && rig->db && !is_poisoned(rig); i++) {
		result = slf_sync(rig->db, NULL);
		explain(suffering, result);
		if (result == 0)
			break;
	}
	if (rig->db && !is_poisoned(rig)) {
		rig_adopt(rig, false);
		if (!is_sticky(suffering->plan))
			go_on(suffering);
		return;
	}
	if (is_poisoned(rig)) {
		must(is_doubtful(suffering));
		rig_identify(rig, rig->db); /* what is durable is there to be read */
		suffering->poisoned = true;
	}
	reopen(suffering);
}

/* When all is over: a crash must not lose anything, and the database must close and open. */
static void conclude(struct suffering *suffering, uint64_t seed)
{
	struct rig *rig = &suffering->rig;

	relieve(suffering);
	if (!suffering->plan->ground)
		rig_prove(rig, sim_disk_crash_seed(rig->disk, seed, false), seed);
	must_work(rig_open(rig));
	rig_adopt(rig, true);
	must_work(rig_close(rig));
	must(sim_disk_open_files(rig->disk) == 0);
}

/* One scene runs at a time. */
static const struct fault_ground *held;
static bool holding;

static void hold_all(bool hold)
{
	holding = hold;
	fault_memory_hold(hold);
	if (held)
		held->hold(hold);
}

static void suffer(struct suffering *suffering, const struct scene *scene)
{
	struct rig *rig = &suffering->rig;
	const char *letter = scene->script;
	int result = 0;

	examine(suffering, rig_open(rig));
	for (; *letter; letter++) {
		uint64_t flushes = failed_calls(suffering, SIM_FLUSH);

		result = scene_step(rig, *letter);
		if (failed_calls(suffering, SIM_FLUSH) > flushes && !strchr("rKR", *letter))
			must(is_poisoned(rig)); /* no flush is tried again */
		examine(suffering, result);
	}
	if (is_sticky(suffering->plan) && suffering->failed)
		go_on(suffering); /* behind all that has failed; what comes fails still */
	explain(suffering, result = rig_close(rig));
	suffering->failed += result < 0;
}

void fault_scene_run(const struct scene *scene, uint64_t seed, const struct fault_plan *plan, struct fault_counts *counts)
{
	struct memory_balance before = fault_memory_balance(), after;
	struct suffering suffering = { .plan = plan, .counts = counts };
	uint64_t fired = counts->fired;

	scene_init(&suffering.rig, scene, seed);
	suffering.rig.hold = hold_all;
	held = plan->ground;
	if (plan->ground)
		plan->ground->begin(&suffering.rig, &plan->fault);
	else if (plan->fault.error)
		sim_disk_add_fault(suffering.rig.disk, &plan->fault);
	fault_memory_arm(plan->memory_nth, plan->memory_sticky);
	suffer(&suffering, scene);
	conclude(&suffering, seed);
	fault_memory_disarm(NULL);
	counts->fired += failed_calls(&suffering, SIM_ANY);
	rig_release(&suffering.rig);
	if (plan->ground)
		plan->ground->end();
	after = fault_memory_balance();
	must(after.blocks == before.blocks);
	must(after.mapped_bytes == before.mapped_bytes);
	counts->leaks++;
	counts->runs++;
	counts->runs_hit += counts->fired > fired;
	counts->steps_failed += suffering.failed;
	counts->hidden += counts->fired > fired && !suffering.failed;
	counts->poisoned += suffering.poisoned;
}

void fault_tell(const char *what, const struct fault_counts *counts)
{
	char text[128];

	snprintf(text, sizeof(text), "B runs with %s", what);
	proof_count(text, counts->runs_hit);
	snprintf(text, sizeof(text), "B %s met", what);
	proof_count(text, counts->fired);
	snprintf(text, sizeof(text), "B %s: poisoned and opened again", what);
	proof_count(text, counts->poisoned);
	snprintf(text, sizeof(text), "B %s: gone on with the same handle", what);
	proof_count(text, counts->gone_on);
	proof_count("B runs without a leak", counts->leaks);
}

static void note_call(void *context, struct sim_disk *disk, enum sim_call call)
{
	struct scene_calls *counts = context;

	(void)disk;
	if (holding || call == SIM_WRITTEN)
		return;
	must(counts->asked_count < SCENE_CALLS_MAX);
	counts->asked[counts->asked_count++] = (uint8_t)call;
}

void scene_count(const struct scene *scene, uint64_t seed, struct scene_calls *counts)
{
	struct rig rig;

	*counts = (struct scene_calls){ 0 };
	scene_init(&rig, scene, seed);
	rig.hold = hold_all;
	held = NULL;
	sim_disk_set_hook(rig.disk, note_call, counts);
	fault_memory_arm(0, false);
	scene_run(&rig, scene);
	counts->allocations = fault_memory_disarm(NULL);
	for (unsigned call = 0; call < SIM_KINDS; call++)
		counts->calls[call] = sim_disk_calls(rig.disk, (enum sim_call)call);
	rig_release(&rig);
}
