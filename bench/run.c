/* SPDX-License-Identifier: MIT */
/*
 * Each measurement runs in a child, so that CPU time, memory and bytes are the store's alone and a store that crashes
 * takes nothing with it. The child sends its record as JSON through a pipe and ends. Warm-up reads the whole database
 * in order and then at random; what is dirty is written out before the clock starts; what the store leaves to its
 * closing, and to the kernel, counts as written too, but its time is told apart.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "meter.h"

#define SAMPLES_BEYOND 10                     /* calls that have to be slower than a quantile for it to be told */
#define FOREIGN_CPUS_MAX 0.15                 /* CPUs that others used meanwhile */
#define FOREIGN_BYTES_MAX ((uint64_t)8 << 20) /* that others read and wrote per second */
#define STEAL_MAX 0.02                        /* part of all CPU time that the hypervisor took */
#define NOTICED_SECONDS 0.02                  /* the kernel counts CPU time in steps of about that */

static void add_integer(json_object *record, const char *name, uint64_t value)
{
	json_object_object_add(record, name, json_object_new_int64((int64_t)value));
}

static void add_double(json_object *record, const char *name, double value)
{
	json_object_object_add(record, name, json_object_new_double(value));
}

static void add_boolean(json_object *record, const char *name, bool value)
{
	json_object_object_add(record, name, json_object_new_boolean(value));
}

void record_operations(struct shared *shared, uint64_t operations, double seconds)
{
	add_integer(shared->record, "operations", operations);
	add_double(shared->record, "seconds", seconds);
	add_double(shared->record, "per_second", (double)operations / seconds);
}

void record_latency(struct shared *shared, const struct histogram *latency, unsigned sample)
{
	static const struct {
		const char *name;
		double fraction;
	} points[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p99.9", 0.999 }, { "p99.99", 0.9999 } };
	json_object *summary = json_object_new_object(), *curve = json_object_new_array();
	double rest = 1;
	unsigned i = 0;

	if (!latency->count) {
		json_object_put(summary);
		json_object_put(curve);
		return;
	}
	add_integer(summary, "count", latency->count);
	add_integer(summary, "sample", sample);
	add_double(summary, "mean", (double)latency->sum / (double)latency->count);
	for (i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		if ((1 - points[i].fraction) * (double)latency->count >= SAMPLES_BEYOND)
			add_integer(summary, points[i].name, histogram_at(latency, points[i].fraction));
	add_integer(summary, "max", latency->max);
	/* four points each time that the rest becomes a tenth */
	for (rest = 1; rest * (double)latency->count >= SAMPLES_BEYOND; rest *= 0.5623413) {
		json_object *point = json_object_new_array();

		json_object_array_add(point, json_object_new_double(1 - rest));
		json_object_array_add(point, json_object_new_int64((int64_t)histogram_at(latency, 1 - rest)));
		json_object_array_add(curve, point);
	}
	json_object_object_add(shared->record, "latency_ns", summary);
	json_object_object_add(shared->record, "latency_curve", curve);
}

/* ---- A stretch of work ------------------------------------------------------------------------------------------- */

void stretch_begin(const char *directory, struct stretch *stretch)
{
	meter_machine_read(&stretch->machine);
	meter_memory_start();
	meter_read(&stretch->meter, directory);
}

/* Says what others took of the machine meanwhile, and when that was too much. */
static void record_machine(json_object *record, const struct meter_machine *from, const struct meter_machine *to)
{
	double elapsed = (double)(to->ns - from->ns) / 1e9, foreign = to->foreign - from->foreign;
	double kernel = to->kernel - from->kernel, steal = to->steal - from->steal;
	double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t bytes = to->foreign_bytes > from->foreign_bytes ? to->foreign_bytes - from->foreign_bytes : 0;
	json_object *reasons = json_object_new_array();

	add_double(record, "kernel_cpus", kernel > 0 ? kernel / elapsed : 0);
	add_double(record, "foreign_cpus", foreign > 0 ? foreign / elapsed : 0);
	add_integer(record, "foreign_io_bytes", bytes);
	add_double(record, "steal", steal / elapsed / cpus);
	add_double(record, "load", to->load);
	if (foreign > NOTICED_SECONDS && foreign / elapsed > FOREIGN_CPUS_MAX)
		json_object_array_add(reasons, json_object_new_string("other processes"));
	if ((double)bytes > FOREIGN_BYTES_MAX * (elapsed > 1 ? elapsed : 1))
		json_object_array_add(reasons, json_object_new_string("reading and writing of other processes"));
	if (steal > NOTICED_SECONDS && steal / elapsed / cpus > STEAL_MAX)
		json_object_array_add(reasons, json_object_new_string("steal"));
	json_object_object_add(record, "disturbed", reasons);
}

double stretch_end(struct shared *shared, const struct stretch *stretch)
{
	const struct meter *from = &stretch->meter;
	uint64_t end_ns = now_ns();
	json_object *record = shared->record;
	struct meter_memory memory = { 0 };
	struct meter_machine machine = { 0 };
	struct meter to = { 0 };

	meter_read(&to, shared->directory);
	shared->ended = to;
	meter_memory_stop(&memory);
	meter_machine_read(&machine);
	add_double(record, "cpu_seconds", to.cpu_seconds - from->cpu_seconds);
	add_integer(record, "read_bytes", to.read_bytes - from->read_bytes);
	add_integer(record, "written_bytes", to.written_bytes - from->written_bytes);
	if (to.device)
		add_integer(record, "device_written_bytes", to.device_written_bytes - from->device_written_bytes);
	add_integer(record, "peak_resident_bytes", memory.resident_bytes);
	add_integer(record, "peak_anonymous_bytes", memory.anonymous_bytes);
	record_machine(record, &stretch->machine, &machine);
	return (double)(end_ns - from->ns) / 1e9;
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

struct worker {
	struct job job;
	pthread_barrier_t *barrier;
	pthread_t thread;
};

static void *work(void *context)
{
	struct worker *worker = context;

	pthread_barrier_wait(worker->barrier); /* all are there */
	pthread_barrier_wait(worker->barrier); /* the meters have been read */
	job_start(&worker->job);
	worker->job.shared->measured->workload->run(&worker->job);
	return NULL;
}

/* The seconds that it took, from when all threads were there to when the last one had ended. */
static double start_and_join(struct shared *shared, struct worker *workers, unsigned count)
{
	struct stretch stretch = { 0 };
	pthread_barrier_t barrier;
	unsigned i = 0;

	pthread_barrier_init(&barrier, NULL, count + 1);
	for (i = 0; i < count; i++) {
		workers[i].barrier = &barrier;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			wrong(shared, "no thread");
	}
	pthread_barrier_wait(&barrier);
	stretch_begin(shared->directory, &stretch);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&barrier);
	return stretch_end(shared, &stretch);
}

static void record_workers(struct shared *shared, struct worker *workers, unsigned count, double seconds)
{
	const struct workload *workload = shared->measured->workload;
	struct histogram *latency = workers[0].job.latency;
	uint64_t operations = 0, wanted = 0, put_bytes = 0, conflicts = 0, calls = workers[0].job.calls;
	unsigned i = 0;

	for (i = 0; i < count; i++) {
		operations += workers[i].job.done;
		wanted += workers[i].job.wanted;
		put_bytes += workers[i].job.put_bytes;
		conflicts += workers[i].job.conflicts;
		if (i)
			histogram_merge(latency, workers[i].job.latency);
	}
	record_operations(shared, operations, seconds);
	record_latency(shared, latency, workers[0].job.sampled ? 16 : 1);
	if (workers[0].job.done != calls)
		add_double(shared->record, "operations_per_call", (double)workers[0].job.done / (double)calls);
	if (!workload->timed && operations < wanted)
		add_boolean(shared->record, "capped", true);
	add_integer(shared->record, "entries", workload->base == BASE_EMPTY && !workload->fill
						       ? operations + shared->prepared : shared->measured->count);
	add_integer(shared->record, "put_bytes", put_bytes);
	if (shared->written)
		add_double(shared->record, "writer_per_second", (double)shared->written / seconds);
	if (conflicts)
		add_integer(shared->record, "conflicts", conflicts);
}

void run_threads(struct shared *shared)
{
	const struct workload *workload = shared->measured->workload;
	struct worker *workers = calloc(workload->threads, sizeof(*workers));
	unsigned i = 0;

	for (i = 0; i < workload->threads; i++) {
		if (job_init(&workers[i].job, shared, i))
			wrong(shared, "no memory");
		expect_shared(shared, shared->store->attach(shared->handle, &workers[i].job.session), "attach");
	}
	for (i = 0; workload->base != BASE_EMPTY && !workload->cold && i < workload->threads; i++)
		job_warm_up(&workers[i].job, workload->threads);
	if (workload->prepare)
		workload->prepare(&workers[0].job);
	workers[0].job.put_bytes = workers[0].job.conflicts = 0;
	files_write_out(shared->directory);
	record_workers(shared, workers, workload->threads, start_and_join(shared, workers, workload->threads));
	for (i = 0; i < workload->threads; i++) {
		if (workload->check)
			workload->check(&workers[i].job);
		shared->store->detach(workers[i].job.session);
		job_release(&workers[i].job);
	}
	free(workers);
}

/* ---- A whole measurement ----------------------------------------------------------------------------------------- */

static uint64_t integer_of(json_object *record, const char *name)
{
	return (uint64_t)json_object_get_int64(json_object_object_get(record, name));
}

static void add_to(json_object *record, const char *name, uint64_t more)
{
	add_integer(record, name, integer_of(record, name) + more);
}

void open_measured(struct shared *shared)
{
	struct meter before = { 0 }, after = { 0 };

	meter_read(&before, shared->directory);
	shared_open(shared, shared->measured->workload->durable);
	meter_read(&after, shared->directory);
	add_double(shared->record, "open_seconds", (double)(after.ns - before.ns) / 1e9);
	add_integer(shared->record, "open_read_bytes", after.read_bytes - before.read_bytes);
}

/* What reached the device, in parts of what was put; what was handed to the kernel where the device has no statistics. */
static void record_amplification(json_object *record)
{
	bool device = json_object_object_get(record, "device_written_bytes");
	uint64_t written = integer_of(record, device ? "device_written_bytes" : "written_bytes");
	uint64_t put_bytes = integer_of(record, "put_bytes");

	if (put_bytes)
		add_double(record, "write_amplification", (double)written / (double)put_bytes);
}

void close_measured(struct shared *shared)
{
	json_object *record = shared->record;
	struct meter before = { 0 }, closed = { 0 }, after = { 0 };
	double seconds = json_object_get_double(json_object_object_get(record, "seconds"));

	meter_read(&before, shared->directory);
	shared_close(shared);
	meter_read(&closed, shared->directory);
	files_write_out(shared->directory);
	meter_read(&after, shared->directory);
	seconds += (double)(closed.ns - before.ns) / 1e9;
	add_double(record, "close_seconds", (double)(closed.ns - before.ns) / 1e9);
	add_double(record, "close_cpu_seconds", closed.cpu_seconds - before.cpu_seconds);
	add_double(record, "per_second_closed", (double)integer_of(record, "operations") / seconds);
	add_to(record, "written_bytes", after.written_bytes - shared->ended.written_bytes);
	if (after.device)
		add_to(record, "device_written_bytes", after.device_written_bytes - shared->ended.device_written_bytes);
	add_integer(record, "allocated_bytes", files_allocated_bytes(shared->directory));
	record_amplification(record);
}

/* Makes the database that is read or changed afterwards, and tells what its store does to have it at its best. */
static void make_filled(struct shared *shared, void (*fill)(struct job *job))
{
	unsigned trees = shared->measured->workload->trees;
	uint64_t start = now_ns(), filled = 0;
	struct job job;

	if (job_init(&job, shared, 0))
		wrong(shared, "no memory");
	shared->filling = true;
	shared_open(shared, false);
	if (trees)
		expect_shared(shared, shared->store->trees_make(shared->handle, trees), "trees");
	expect_shared(shared, shared->store->attach(shared->handle, &job.session), "attach");
	fill(&job);
	shared->store->detach(job.session);
	filled = now_ns();
	if (shared->store->settle)
		expect_shared(shared, shared->store->settle(shared->handle), "settle");
	shared_close(shared);
	add_double(shared->record, "filled_seconds", (double)(filled - start) / 1e9);
	add_double(shared->record, "settle_seconds", (double)(now_ns() - filled) / 1e9);
	job_release(&job);
}

static void measure(struct shared *shared)
{
	const struct workload *workload = shared->measured->workload;
	json_object *record = shared->record;

	if (workload->fill)
		make_filled(shared, workload->fill);
	shared->filling = false;
	if (workload->whole) {
		workload->whole(shared);
	} else {
		open_measured(shared);
		if (workload->trees)
			expect_shared(shared, shared->store->trees_make(shared->handle, workload->trees), "trees");
		run_threads(shared);
		close_measured(shared);
	}
	/* what the device was not asked for was in memory all the same */
	if (workload->cold)
		add_boolean(record, "cold", integer_of(record, "read_bytes") + integer_of(record, "open_read_bytes") > 0);
}

/* ---- The child --------------------------------------------------------------------------------------------------- */

static void enter_cgroup(const char *cgroup)
{
	char path[4096] = "";
	FILE *file = NULL;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	file = fopen(path, "we");
	if (!file || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file)) {
		fprintf(stderr, "bench: %s: %m\n", path);
		exit(1);
	}
}

static void send_record(int to, json_object *record)
{
	const char *text = json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN);
	size_t left = strlen(text);

	while (left) {
		ssize_t sent = write(to, text, left);

		if (sent < 0)
			exit(1);
		text += sent;
		left -= (size_t)sent;
	}
}

static void measure_store(const struct run *run, json_object *record)
{
	struct shared shared = {
		.measured = run->measured,
		.store = run->store,
		.directory = run->directory,
		.memory_bytes = run->memory_bytes,
		.thorough = run->thorough,
		.record = record,
	};

	if (run->cgroup)
		enter_cgroup(run->cgroup);
	if (run->measured->workload->cold || run->cgroup)
		files_drop_cache(run->directory);
	if (run->fill)
		make_filled(&shared, job_fill);
	else
		measure(&shared);
}

static void child(const struct run *run, int to)
{
	json_object *record = json_object_new_object();
	struct meter_machine before = { 0 }, after = { 0 };
	int result = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(run->seconds_max);
	if (run->limit) {
		meter_machine_read(&before);
		result = run->limit->measure(run->limit, run->limit_setup, record);
		meter_machine_read(&after);
		record_machine(record, &before, &after);
	} else {
		measure_store(run, record);
	}
	if (result < 0) {
		fprintf(stderr, "bench: %s: %s\n", run->limit->name, strerror(-result));
		exit(1);
	}
	send_record(to, record);
	json_object_put(record);
	close(to);
	exit(0);
}

static json_object *receive_record(int from)
{
	char *text = NULL;
	size_t used = 0, size = 0;
	json_object *record = NULL;
	ssize_t got = 0;

	do {
		used += (size_t)got;
		if (used + 1 >= size) {
			size = size * 2 + 65536;
			text = realloc(text, size);
			if (!text)
				return NULL;
		}
		got = read(from, text + used, size - used - 1);
	} while (got > 0);
	text[used] = 0;
	record = used ? json_tokener_parse(text) : NULL;
	free(text);
	return record;
}

static int fail(json_object *record, const struct run *run, int status)
{
	char reason[128] = "it failed; standard error tells more";

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM && run->hurried) {
		json_object_object_add(record, "status", json_object_new_string("skipped"));
		json_object_object_add(record, "reason", json_object_new_string("the time of the whole run was up"));
		return -ETIME;
	}
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(reason, sizeof(reason), "it took longer than %u s", run->seconds_max);
	else if (WIFSIGNALED(status))
		snprintf(reason, sizeof(reason), "it ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	json_object_object_add(record, "status", json_object_new_string("failed"));
	json_object_object_add(record, "reason", json_object_new_string(reason));
	return -ECHILD;
}

/* What filling the database took, where that was needed, is in it already. */
static void add_to_double(json_object *record, const char *name, double more)
{
	add_double(record, name, json_object_get_double(json_object_object_get(record, name)) + more);
}

int run_in_child(const struct run *run, json_object *record)
{
	json_object *told = NULL;
	int ends[2] = { -1, -1 }, status = 0;
	uint64_t start = now_ns();
	struct rusage usage = { 0 };
	pid_t pid = -1;

	fflush(NULL);
	if (pipe2(ends, O_CLOEXEC) || (pid = fork()) < 0) {
		fprintf(stderr, "bench: no child: %m\n");
		exit(1);
	}
	if (pid == 0) {
		close(ends[0]);
		child(run, ends[1]);
	}
	close(ends[1]);
	told = receive_record(ends[0]);
	close(ends[0]);
	while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
		;
	add_to_double(record, "whole_seconds", (double)(now_ns() - start) / 1e9);
	add_to_double(record, "whole_cpu_seconds", meter_cpu_seconds(&usage));
	if (!told || !WIFEXITED(status) || WEXITSTATUS(status)) {
		json_object_put(told);
		return fail(record, run, status);
	}
	json_object_object_foreach(told, name, value)
		json_object_object_add(record, name, json_object_get(value));
	json_object_put(told);
	return 0;
}
