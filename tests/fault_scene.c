/* SPDX-License-Identifier: MIT */
#include "fault_scene.h"

#include "fault_memory.h"

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

/* Nothing fails from here on. */
static void relieve(struct suffering *suffering)
{
	uint64_t failed = 0;

	fault_memory_disarm(&failed);
	fault_memory_arm(0, false);
	suffering->counts->fired += failed;
	sim_disk_clear_faults(suffering->rig.disk);
}

/* When a creation and also what it does to clean up have failed, files are left that somebody has to remove. */
static void remove_rest(struct rig *rig)
{
	static struct stats unused;
	struct io *io = NULL;

	sim_disk_io(rig->disk, &unused, &io);
	for (unsigned i = 0; i < rig->spindle_count; i++)
		(void)io_remove(io, rig_path(i));
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

/* After a step: what has become of the commits? */
static void examine(struct suffering *suffering, int result)
{
	struct rig *rig = &suffering->rig;

	must(result <= 0);
	if (result == 0 && rig->db && !is_poisoned(rig)) {
		rig_identify(rig, rig->db);
		return;
	}
	suffering->failed += result < 0;
	if (rig->db && !is_poisoned(rig)) /* asynchronous commits meet their fate: durable, or taken back with the error */
		(void)(slf_sync(rig->db, NULL) && slf_sync(rig->db, NULL));
	if (rig->db && !is_poisoned(rig)) {
		rig_adopt(rig, false);
		return;
	}
	suffering->poisoned |= is_poisoned(rig);
	reopen(suffering);
}

/* When all is over: a crash must not lose anything, and the database must close and open. */
static void conclude(struct suffering *suffering, uint64_t seed)
{
	struct rig *rig = &suffering->rig;

	relieve(suffering);
	if (rig->db && is_poisoned(rig))
		reopen(suffering);
	if (rig->db && rig_commit(rig, 2, false))
		reopen(suffering);
	rig_prove(rig, sim_disk_crash_seed(rig->disk, seed, false), seed);
	if (rig->db)
		(void)rig_close(rig);
	must_work(rig_open(rig));
	rig_adopt(rig, true);
	must_work(rig_close(rig));
	must(sim_disk_open_files(rig->disk) == 0);
}

static void hold_memory(bool hold)
{
	fault_memory_hold(hold);
}

static void suffer(struct suffering *suffering, const struct scene *scene)
{
	struct rig *rig = &suffering->rig;
	const char *letter = scene->script;

	examine(suffering, rig_open(rig));
	for (; *letter; letter++) {
		uint64_t fired = sim_disk_faults_fired(rig->disk);
		int result = scene_step(rig, *letter);

		if (suffering->plan->fault.call == SIM_SYNC && sim_disk_faults_fired(rig->disk) > fired && !strchr("rKR", *letter))
			must(is_poisoned(rig)); /* no flush is tried again */
		examine(suffering, result);
	}
	if (rig->db)
		suffering->failed += rig_close(rig) < 0;
}

void fault_scene_run(const struct scene *scene, uint64_t seed, const struct fault_plan *plan, struct fault_counts *counts)
{
	struct memory_balance before = fault_memory_balance(), after;
	struct suffering suffering = { .plan = plan, .counts = counts };
	uint64_t fired = counts->fired;

	scene_init(&suffering.rig, scene, seed);
	suffering.rig.hold = hold_memory;
	if (plan->fault.error)
		sim_disk_add_fault(suffering.rig.disk, &plan->fault);
	fault_memory_arm(plan->memory_nth, plan->memory_sticky);
	suffer(&suffering, scene);
	conclude(&suffering, seed);
	fault_memory_disarm(NULL);
	counts->fired += sim_disk_faults_fired(suffering.rig.disk);
	rig_release(&suffering.rig);
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

void scene_count(const struct scene *scene, uint64_t seed, struct scene_calls *counts)
{
	struct rig rig;

	scene_init(&rig, scene, seed);
	rig.hold = hold_memory;
	fault_memory_arm(0, false);
	scene_run(&rig, scene);
	counts->allocations = fault_memory_disarm(NULL);
	for (unsigned call = 0; call <= SIM_ANY; call++)
		counts->calls[call] = sim_disk_calls(rig.disk, (enum sim_call)call);
	rig_release(&rig);
}
