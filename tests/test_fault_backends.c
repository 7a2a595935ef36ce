/* SPDX-License-Identifier: MIT */
/*
 * Every scene on real files, through each of the two back ends, with a system call for them that fails at every index: one errno
 * at each, which goes round. SOLIFUGE_TEST_MATRIX=1: all of them, once and for ever, and transfers that move less than they
 * were asked for, which nobody may notice. SOLIFUGE_TEST_STRIDE=n: only one index of n. Where there is a file system in memory
 * the files are there: what fails here fails above it, and flushes cost nothing.
 *
 * In batches, which io_uring alone carries through its ring, the library flushes, punches and reads single bytes; so all short
 * transfers here are those of plain calls.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fault_scene.h"
#include "fault_system.h"
#include "proof.h"
#include "wrapped.h"

#define SPINDLES 3
#define TURNS 8     /* so many kinds take turns */
#define OFTEN 5000u /* more often than anything is tried again; a system that interrupts for ever is waited for */

static const size_t numbers[SCENES] = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
					15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29 };

static const struct sim_fault kinds[] = {
	{ .error = -EIO },
	{ .error = -ENOSPC },
	{ .error = -EDQUOT },
	{ .error = -EFBIG },
	{ .error = -EROFS },
	{ .error = -ENOMEM },
	{ .error = -EINTR },
	{ .error = -EAGAIN },
	{ .error = -EIO, .sticky = true },
	{ .error = -ENOSPC, .sticky = true },
	{ .error = -EDQUOT, .sticky = true },
	{ .error = -EFBIG, .sticky = true },
	{ .error = -EROFS, .sticky = true },
	{ .error = -ENOMEM, .sticky = true },
	{ .error = -EINTR, .sticky = true },
	{ .error = -EAGAIN, .sticky = true },
	{ .partial = true, .short_bytes = 1 },
	{ .partial = true, .short_bytes = 1, .sticky = true },
	{ .keep_bytes = 1 },
	{ 0 }, /* nothing is moved */
};

/* Who has left his number in the side file lives: the simulated process has one that means nothing here. */
WRAPPED(int, kill, pid_t pid, int signal)
{
	(void)pid;
	(void)signal;
	return 0;
}

/* ---- The ground -------------------------------------------------------------------------------------------------- */

static struct {
	int (*make_io)(struct stats *stats, struct io **io);
	struct scratch scratch;
	char paths[SPINDLES][SCRATCH_PATH_BYTES];
	const char *list[SPINDLES];
	unsigned descriptors;
	int error;
} files;

static void arm(const struct sim_fault *fault)
{
	unsigned spared = fault->nth ? (unsigned)fault->nth - 1 : 0, times = fault->nth ? 1 : 0;

	if (fault->nth && fault->sticky)
		times = fault->error == -EINTR ? OFTEN : UINT_MAX;
	files.error = fault->error;
	if (fault->error)
		fault_system_arm(SYSTEM_ANY, spared, times, -fault->error);
	else if (fault->keep_bytes)
		fault_system_arm_short(MOVE_ONE, spared, times);
	else
		fault_system_arm_short(fault->partial ? MOVE_ALL_BUT_ONE : MOVE_NONE, spared, times);
}

static void begin(struct rig *rig, const struct sim_fault *fault)
{
	scratch_init(&files.scratch);
	for (unsigned i = 0; i < SPINDLES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "spindle%u", i);
		files.list[i] = scratch_name(&files.scratch, name, files.paths[i]);
	}
	rig->make_io = files.make_io;
	rig->paths = files.list;
	files.descriptors = process_count("fd");
	arm(fault);
}

static void relieve(void)
{
	fault_system_disarm();
}

/* A write that flushes and was interrupted writes all of it again: what it flushes is there to be flushed. */
static bool is_tried_again(int error)
{
	return error == 0 || error == -EINTR || error == -EAGAIN;
}

static uint64_t failed(enum sim_call call)
{
	switch (call) {
	case SIM_ANY:
		return fault_system_failed(SYSTEM_ANY);
	case SIM_WRITE:
		return fault_system_failed(SYSTEM_PWRITE) + fault_system_failed(SYSTEM_PWRITEV2);
	case SIM_SYNC:
		return fault_system_failed(SYSTEM_FDATASYNC);
	case SIM_FLUSH:
		return fault_system_failed(SYSTEM_FDATASYNC) +
		       (is_tried_again(files.error) ? 0 : fault_system_failed(SYSTEM_PWRITEV2));
	case SIM_LOCK:
		return fault_system_failed(SYSTEM_FCNTL);
	default:
		must(!"asked for");
		return 0;
	}
}

static void end(void)
{
	must(process_count("fd") == files.descriptors);
	scratch_release(&files.scratch);
}

static const struct fault_ground ground = {
	.begin = begin,
	.hold = fault_system_hold,
	.relieve = relieve,
	.failed = failed,
	.end = end,
};

/* ---- Scenes ------------------------------------------------------------------------------------------------------ */

static bool matrix(void)
{
	const char *wish = getenv("SOLIFUGE_TEST_MATRIX");

	return wish && strcmp(wish, "0") != 0;
}

static uint64_t stride(void)
{
	const char *wish = getenv("SOLIFUGE_TEST_STRIDE");
	uint64_t number = wish ? strtoull(wish, NULL, 0) : 0;

	return number ? number : 1;
}

/* How many calls there are of those that a kind is for. */
static uint64_t count_calls(const struct scene *scene, uint64_t seed, const struct sim_fault *kind)
{
	struct fault_plan plan = { .fault = *kind, .ground = &ground };
	struct fault_counts none = { 0 };

	fault_scene_run(scene, seed, &plan, &none);
	must(none.fired == 0);
	return fault_system_calls();
}

static void fail_calls(const struct scene *scene, uint64_t seed, struct fault_counts *counts)
{
	for (size_t kind = 0; kind < (matrix() ? ARRAY_SIZE(kinds) : TURNS); kind++) {
		uint64_t calls = count_calls(scene, seed, &kinds[kind]);

		for (uint64_t nth = 1; nth <= calls; nth++) {
			struct fault_plan plan = { .fault = kinds[kind], .ground = &ground };

			if ((!matrix() && (nth + seed) % TURNS != kind) || nth / TURNS % stride())
				continue;
			plan.fault.nth = nth;
			fprintf(stderr, "%s: seed %llu, call %llu of %llu, kind %zu\n", scene->name, (unsigned long long)seed,
				(unsigned long long)nth, (unsigned long long)calls, kind);
			fault_scene_run(scene, seed, &plan, counts);
		}
	}
}

static void suffer_all(const struct scene *scene, int (*make_io)(struct stats *stats, struct io **io), const char *what)
{
	uint64_t seed = test_seed(scene->name);
	struct fault_counts counts = { 0 };

	mallopt(M_MMAP_THRESHOLD, 1 << 25); /* the most that it takes */
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	files.make_io = make_io;
	fail_calls(scene, seed, &counts);
	fault_tell(what, &counts);
}

ParameterizedTestParameters(fault_backends, posix)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, SCENES);
}

/* A failure of the system that one back end loses, or takes for another: a commit is acknowledged and lost, a descriptor or memory
 * stays behind, the database cannot go on. */
ParameterizedTest(const size_t *number, fault_backends, posix)
{
	suffer_all(&scenes[*number], io_posix_new, "failing system calls, posix");
}

ParameterizedTestParameters(fault_backends, uring)
{
	return cr_make_param_array(const size_t, (size_t *)(uintptr_t)numbers, SCENES);
}

/* The same through rings, which may fail as a whole, in the middle of a batch, or in one of its answers. */
ParameterizedTest(const size_t *number, fault_backends, uring)
{
	const char *what = "failing system calls, io_uring";
	struct stats unused = { 0 };
	struct io *io = NULL;
	int result = io_uring_new(&unused, &io);

	if (result == 0) {
		io_free(io);
		suffer_all(&scenes[*number], io_uring_new, what);
	} else {
		char text[128];

		snprintf(text, sizeof(text), "B runs with %s", what);
		proof_not_run(text, slf_strerror(result));
	}
}
