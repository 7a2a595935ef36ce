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
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "meter.h"

#define WARM_GETS_MAX 200000

static void add_integer(json_object *record, const char *name, uint64_t value)
{
	json_object_object_add(record, name, json_object_new_int64((int64_t)value));
}

static void add_double(json_object *record, const char *name, double value)
{
	json_object_object_add(record, name, json_object_new_double(value));
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
		add_integer(summary, points[i].name, histogram_at(latency, points[i].fraction));
	add_integer(summary, "max", latency->max);
	/* four points each time that the rest becomes a tenth */
	for (rest = 1; rest * (double)latency->count >= 0.5; rest *= 0.5623413) {
		json_object *point = json_object_new_array();

		json_object_array_add(point, json_object_new_double(1 - rest));
		json_object_array_add(point, json_object_new_int64((int64_t)histogram_at(latency, 1 - rest)));
		json_object_array_add(curve, point);
	}
	json_object_object_add(shared->record, "latency_ns", summary);
	json_object_object_add(shared->record, "latency_curve", curve);
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

	pthread_barrier_wait(worker->barrier);
	job_start(&worker->job);
	worker->job.shared->measured->workload->run(&worker->job);
	return NULL;
}

static void start_and_join(struct worker *workers, unsigned count)
{
	pthread_barrier_t barrier;
	unsigned i = 0;

	pthread_barrier_init(&barrier, NULL, count + 1);
	for (i = 0; i < count; i++) {
		workers[i].barrier = &barrier;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			wrong(workers[i].job.shared, "no thread");
	}
	pthread_barrier_wait(&barrier);
	for (i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&barrier);
}

/* Reads everything once, so that the store and the kernel have in memory what they keep there. */
static void warm_up(struct job *job)
{
	uint64_t gets = job->count < WARM_GETS_MAX ? job->count : WARM_GETS_MAX, i = 0;

	job_check_all(job, job->count, job->shared->thorough);
	job_read_begin(job);
	for (i = 0; i < gets; i++)
		job_get(job, random_mix(~i) % job->count);
	job->store->end(job->session);
}

static void record_workers(struct shared *shared, struct worker *workers, unsigned count, double seconds)
{
	struct histogram *latency = workers[0].job.latency;
	uint64_t operations = 0, put_bytes = 0, conflicts = 0;
	unsigned i = 0;

	for (i = 0; i < count; i++) {
		operations += workers[i].job.done;
		put_bytes += workers[i].job.put_bytes;
		conflicts += workers[i].job.conflicts;
		if (i)
			histogram_merge(latency, workers[i].job.latency);
	}
	record_operations(shared, operations, seconds);
	record_latency(shared, latency, workers[0].job.sample_mask + 1);
	add_integer(shared->record, "put_bytes", put_bytes);
	if (conflicts)
		add_integer(shared->record, "conflicts", conflicts);
}

static void record_stretch(struct shared *shared, const struct meter *from, const struct meter *to)
{
	struct meter_memory memory = { 0 };

	meter_memory_stop(&memory);
	add_double(shared->record, "cpu_seconds", to->cpu_seconds - from->cpu_seconds);
	add_integer(shared->record, "read_bytes", to->read_bytes - from->read_bytes);
	add_integer(shared->record, "written_bytes", to->written_bytes - from->written_bytes);
	if (to->device)
		add_integer(shared->record, "device_written_bytes",
			    to->device_written_bytes - from->device_written_bytes);
	add_integer(shared->record, "peak_resident_bytes", memory.resident_bytes);
	add_integer(shared->record, "peak_anonymous_bytes", memory.anonymous_bytes);
}

void run_threads(struct shared *shared)
{
	const struct workload *workload = shared->measured->workload;
	struct worker *workers = calloc(workload->threads, sizeof(*workers));
	struct meter before = { 0 }, after = { 0 };
	unsigned i = 0;

	for (i = 0; i < workload->threads; i++) {
		if (job_init(&workers[i].job, shared, i))
			wrong(shared, "no memory");
		expect_shared(shared, shared->store->attach(shared->handle, &workers[i].job.session), "attach");
	}
	if (workload->base != BASE_EMPTY && !workload->cold)
		warm_up(&workers[0].job);
	if (workload->prepare)
		workload->prepare(&workers[0].job);
	files_write_out(shared->directory);
	meter_memory_start();
	meter_read(&before, shared->directory);
	start_and_join(workers, workload->threads);
	meter_read(&after, shared->directory);
	record_stretch(shared, &before, &after);
	record_workers(shared, workers, workload->threads, (double)(after.ns - before.ns) / 1e9);
	for (i = 0; i < workload->threads; i++) {
		if (workload->check)
			workload->check(&workers[i].job);
		shared->store->detach(workers[i].job.session);
		job_release(&workers[i].job);
	}
	free(workers);
}

/* ---- A whole measurement ----------------------------------------------------------------------------------------- */

static void add_to(json_object *record, const char *name, uint64_t more)
{
	json_object *old = json_object_object_get(record, name);

	add_integer(record, name, (uint64_t)json_object_get_int64(old) + more);
}

/* Closing, and what the kernel still has to write, belongs to the bytes of the run, but not to its time. */
static void close_measured(struct shared *shared)
{
	struct meter before = { 0 }, closed = { 0 }, after = { 0 };
	uint64_t put_bytes = 0;

	meter_read(&before, shared->directory);
	shared_close(shared);
	meter_read(&closed, shared->directory);
	files_write_out(shared->directory);
	meter_read(&after, shared->directory);
	add_double(shared->record, "close_seconds", (double)(closed.ns - before.ns) / 1e9);
	add_double(shared->record, "close_cpu_seconds", closed.cpu_seconds - before.cpu_seconds);
	add_to(shared->record, "written_bytes", after.written_bytes - before.written_bytes);
	if (after.device)
		add_to(shared->record, "device_written_bytes",
		       after.device_written_bytes - before.device_written_bytes);
	add_integer(shared->record, "allocated_bytes", files_allocated_bytes(shared->directory));
	put_bytes = (uint64_t)json_object_get_int64(json_object_object_get(shared->record, "put_bytes"));
	if (put_bytes)
		add_double(shared->record, "write_amplification",
			   (double)json_object_get_int64(json_object_object_get(shared->record, "written_bytes")) /
				   (double)put_bytes);
}

static void measure(struct shared *shared)
{
	const struct workload *workload = shared->measured->workload;

	if (workload->whole) {
		workload->whole(shared);
		return;
	}
	shared_open(shared, workload->durable);
	if (workload->trees)
		expect_shared(shared, shared->store->trees_make(shared->handle, workload->trees), "trees");
	run_threads(shared);
	close_measured(shared);
}

static void make_filled(struct shared *shared)
{
	struct job job;

	if (job_init(&job, shared, 0))
		wrong(shared, "no memory");
	shared->filling = true;
	shared_open(shared, false);
	expect_shared(shared, shared->store->attach(shared->handle, &job.session), "attach");
	job_fill(&job);
	shared->store->detach(job.session);
	if (shared->store->settle)
		expect_shared(shared, shared->store->settle(shared->handle), "settle");
	shared_close(shared);
	job_release(&job);
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
		make_filled(&shared);
	else
		measure(&shared);
}

static void child(const struct run *run, int to)
{
	json_object *record = json_object_new_object();
	int result = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(run->seconds_max);
	if (run->limit)
		result = run->limit->measure(run->limit, run->limit_setup, record);
	else
		measure_store(run, record);
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

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(reason, sizeof(reason), "it took longer than %u s", run->seconds_max);
	else if (WIFSIGNALED(status))
		snprintf(reason, sizeof(reason), "it ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	json_object_object_add(record, "status", json_object_new_string("failed"));
	json_object_object_add(record, "reason", json_object_new_string(reason));
	return -ECHILD;
}

int run_in_child(const struct run *run, json_object *record)
{
	json_object *told = NULL;
	int ends[2] = { -1, -1 }, status = 0;
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
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!told || !WIFEXITED(status) || WEXITSTATUS(status)) {
		json_object_put(told);
		return fail(record, run, status);
	}
	json_object_object_foreach(told, name, value)
		json_object_object_add(record, name, json_object_get(value));
	json_object_put(told);
	return 0;
}
