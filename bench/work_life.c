/* SPDX-License-Identifier: MIT */
/* What happens in a database's life: a crash and the opening after it, a hot copy, long overwriting. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "meter.h"
#include "workloads.h"

#define CRASH_PUTS 100    /* per durable transaction */
#define SERIES_POINTS 40  /* of long overwriting */

static void add_double(json_object *to, const char *name, double value)
{
	json_object_object_add(to, name, json_object_new_double(value));
}

static void attach(struct shared *shared, struct job *job, unsigned thread)
{
	if (job_init(job, shared, thread))
		wrong(shared, "no memory");
	expect_shared(shared, shared->store->attach(shared->handle, &job->session), "attach");
	job_start(job);
}

static void detach(struct job *job)
{
	job->store->detach(job->session);
	job_release(job);
}

/* ---- Open after a crash ------------------------------------------------------------------------------------------ */

/* Durable transactions, while there is time, and then the process is gone; tells how many entries there are. */
static void write_and_crash(struct shared *shared, int to)
{
	struct job job;
	uint64_t done = 0, now = 0;

	shared_open(shared, true);
	attach(shared, &job, 0);
	while (done < job.count) {
		now = job.count - done < CRASH_PUTS ? job.count - done : CRASH_PUTS;
		job_put(&job, done, now, order_mixed, 0);
		done += now;
		if (!job_step(&job, now))
			break;
	}
	if (write(to, &done, sizeof(done)) != sizeof(done))
		exit(1);
	kill(getpid(), SIGKILL);
}

static uint64_t crash(struct shared *shared)
{
	uint64_t done = 0;
	int ends[2] = { -1, -1 };
	pid_t pid = -1;

	if (pipe(ends) || (pid = fork()) < 0)
		wrong(shared, "no child");
	if (pid == 0) {
		close(ends[0]);
		write_and_crash(shared, ends[1]);
	}
	close(ends[1]);
	if (read(ends[0], &done, sizeof(done)) != sizeof(done))
		wrong(shared, "the writer failed before its crash");
	close(ends[0]);
	waitpid(pid, NULL, 0);
	return done;
}

void open_after_crash(struct shared *shared)
{
	struct meter before = { 0 }, after = { 0 };
	uint64_t entries = crash(shared), i = 0;
	struct job job;

	files_drop_cache(shared->directory);
	json_object_object_add(shared->record, "crashed_allocated_bytes",
			       json_object_new_int64((int64_t)files_allocated_bytes(shared->directory)));
	meter_read(&before, shared->directory);
	shared_open(shared, true);
	attach(shared, &job, 0);
	job_read_begin(&job);
	job_get(&job, order_mixed(&job, entries - 1));
	meter_read(&after, shared->directory);
	record_operations(shared, 1, (double)(after.ns - before.ns) / 1e9);
	json_object_object_add(shared->record, "entries", json_object_new_int64((int64_t)entries));
	add_double(shared->record, "cpu_seconds", after.cpu_seconds - before.cpu_seconds);
	for (i = 0; i < entries; i++)
		job_get(&job, order_mixed(&job, i));
	job.store->end(job.session);
	job_check_all(&job, entries, shared->thorough);
	detach(&job);
	shared_close(shared);
}

/* ---- Hot copy ---------------------------------------------------------------------------------------------------- */

bool copy_possible(const struct store *store)
{
	return store->copy;
}

static void *keep_overwriting(void *context)
{
	struct job *job = context;

	while (!atomic_load(&job->shared->stop)) {
		job_put(job, job_random(job) % job->count, 1, order_same, job->done + 1);
		(void)job_step(job, 1);
	}
	return NULL;
}

static double copy_while_writing(struct shared *shared, const char *directory, struct job *writer)
{
	struct meter before = { 0 }, after = { 0 };
	pthread_t thread;

	if (pthread_create(&thread, NULL, keep_overwriting, writer))
		wrong(shared, "no thread");
	usleep(10000); /* it is writing then */
	meter_read(&before, shared->directory);
	expect_shared(shared, shared->store->copy(shared->handle, directory), "copy");
	files_sync(directory); /* some stores do that themselves: all of them have to */
	meter_read(&after, shared->directory);
	atomic_store(&shared->stop, true);
	pthread_join(thread, NULL);
	add_double(shared->record, "cpu_seconds", after.cpu_seconds - before.cpu_seconds);
	return (double)(after.ns - before.ns) / 1e9;
}

void copy_hot(struct shared *shared)
{
	char directory[4096] = "";
	const char *original = shared->directory;
	struct job job;
	double seconds = 0;

	snprintf(directory, sizeof(directory), "%s-copy", original);
	if (mkdir(directory, 0700))
		wrong(shared, "no directory for the copy");
	shared_open(shared, false);
	attach(shared, &job, 0);
	seconds = copy_while_writing(shared, directory, &job);
	record_operations(shared, job.count, seconds);
	add_double(shared->record, "writer_per_second", (double)job.done / seconds);
	record_latency(shared, job.latency, 1); /* the writer's */
	detach(&job);
	shared_close(shared);
	shared->directory = directory;
	json_object_object_add(shared->record, "allocated_bytes",
			       json_object_new_int64((int64_t)files_allocated_bytes(directory)));
	shared_open(shared, false);
	attach(shared, &job, 0);
	job_check_all(&job, job.count, true);
	detach(&job);
	shared_close(shared);
	shared->directory = original;
	files_remove_tree(directory);
}

/* ---- Long overwriting -------------------------------------------------------------------------------------------- */

struct series {
	struct shared *shared;
	json_object *points;
	struct meter start;
	_Atomic uint64_t done;
	double interval;
};

static void add_point(struct series *series, struct meter *last, uint64_t *last_done)
{
	const struct bench_case *measured = series->shared->measured;
	uint64_t entry_bytes = measured->shape.key_bytes + measured->shape.value_bytes;
	uint64_t done = atomic_load(&series->done);
	uint64_t allocated = files_allocated_bytes(series->shared->directory);
	json_object *point = json_object_new_object();
	struct meter now = { 0 };

	meter_read(&now, series->shared->directory);
	add_double(point, "seconds", (double)(now.ns - series->start.ns) / 1e9);
	add_double(point, "per_second", (double)(done - *last_done) / ((double)(now.ns - last->ns) / 1e9));
	json_object_object_add(point, "allocated_bytes", json_object_new_int64((int64_t)allocated));
	add_double(point, "space_amplification", (double)allocated / (double)(measured->count * entry_bytes));
	if (done > *last_done)
		add_double(point, "write_amplification", (double)(now.written_bytes - last->written_bytes) /
			   (double)((done - *last_done) * entry_bytes));
	json_object_array_add(series->points, point);
	*last = now;
	*last_done = done;
}

static void *watch(void *context)
{
	struct series *series = context;
	struct meter last = series->start;
	uint64_t last_done = 0;

	while (!atomic_load(&series->shared->stop)) {
		usleep((useconds_t)(series->interval * 1e6));
		add_point(series, &last, &last_done);
	}
	return NULL;
}

void overwrite_long(struct shared *shared)
{
	struct series series = { .shared = shared, .points = json_object_new_array() };
	struct meter after = { 0 };
	pthread_t watcher;
	struct job job;

	shared_open(shared, false);
	attach(shared, &job, 0);
	meter_read(&series.start, shared->directory);
	series.interval = shared->measured->seconds / SERIES_POINTS;
	if (pthread_create(&watcher, NULL, watch, &series))
		wrong(shared, "no thread");
	do {
		job_put(&job, job_random(&job) % job.count, 1, order_same, job.done + 1);
		atomic_store_explicit(&series.done, job.done + 1, memory_order_relaxed);
	} while (job_step(&job, 1));
	meter_read(&after, shared->directory);
	atomic_store(&shared->stop, true);
	pthread_join(watcher, NULL);
	record_operations(shared, job.done, (double)(after.ns - series.start.ns) / 1e9);
	record_latency(shared, job.latency, 1);
	add_double(shared->record, "cpu_seconds", after.cpu_seconds - series.start.cpu_seconds);
	json_object_object_add(shared->record, "series", series.points);
	check_overwritten(&job);
	json_object_object_add(shared->record, "put_bytes", json_object_new_int64((int64_t)job.put_bytes));
	detach(&job);
	shared_close(shared);
	files_write_out(shared->directory);
	meter_read(&after, shared->directory);
	json_object_object_add(shared->record, "written_bytes",
			       json_object_new_int64((int64_t)(after.written_bytes - series.start.written_bytes)));
	add_double(shared->record, "write_amplification",
		   (double)(after.written_bytes - series.start.written_bytes) / (double)job.put_bytes);
	json_object_object_add(shared->record, "allocated_bytes",
			       json_object_new_int64((int64_t)files_allocated_bytes(shared->directory)));
}
