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

#define CRASH_PUTS 100           /* per durable transaction */
#define CRASH_PART 10            /* so many times less than the database has entries */
#define CRASH_ENTRIES_MAX 100000
#define SERIES_POINTS_MIN 4      /* of long overwriting */
#define SERIES_POINTS_MAX 40
#define SERIES_SECONDS 1.0       /* from one point to the next, if that gives a number between those */

static void add_double(json_object *to, const char *name, double value)
{
	json_object_object_add(to, name, json_object_new_double(value));
}

static void add_integer(json_object *to, const char *name, uint64_t value)
{
	json_object_object_add(to, name, json_object_new_int64((int64_t)value));
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

/* So many for every store, however long it takes: what an opening has to do depends on it. */
static uint64_t crash_entries(const struct job *job)
{
	uint64_t part = job->count / CRASH_PART;

	return part < CRASH_ENTRIES_MAX ? part : CRASH_ENTRIES_MAX;
}

/* Durable transactions, and then the process is gone. */
static void write_and_crash(struct shared *shared, int to)
{
	uint64_t done = 0, now = 0, entries = 0;
	struct job job;

	shared_open(shared, true);
	attach(shared, &job, 0);
	entries = crash_entries(&job);
	for (done = 0; done < entries; done += now) {
		now = entries - done < CRASH_PUTS ? entries - done : CRASH_PUTS;
		job_put(&job, done, now, order_mixed, 0);
	}
	if (write(to, &job.put_bytes, sizeof(job.put_bytes)) != sizeof(job.put_bytes))
		exit(1);
	kill(getpid(), SIGKILL);
}

static void crash(struct shared *shared)
{
	uint64_t put_bytes = 0;
	int ends[2] = { -1, -1 };
	pid_t pid = -1;

	if (pipe(ends) || (pid = fork()) < 0)
		wrong(shared, "no child");
	if (pid == 0) {
		close(ends[0]);
		write_and_crash(shared, ends[1]);
	}
	close(ends[1]);
	if (read(ends[0], &put_bytes, sizeof(put_bytes)) != sizeof(put_bytes))
		wrong(shared, "the writer failed before its crash");
	close(ends[0]);
	waitpid(pid, NULL, 0);
}

static void check_crashed(struct shared *shared, struct job *job)
{
	uint64_t entries = crash_entries(job), i = 0;

	job_read_begin(job);
	for (i = 0; i < entries; i++)
		job_get(job, order_mixed(job, i));
	job->store->end(job->session);
	job_check_all(job, entries, shared->thorough);
}

void open_after_crash(struct shared *shared)
{
	struct stretch stretch = { 0 };
	uint64_t start = 0;
	struct job job;

	crash(shared);
	files_drop_cache(shared->directory);
	add_integer(shared->record, "crashed_allocated_bytes", files_allocated_bytes(shared->directory));
	files_write_out(shared->directory);
	stretch_begin(shared->directory, &stretch);
	start = now_ns();
	shared_open(shared, true);
	add_double(shared->record, "open_seconds", (double)(now_ns() - start) / 1e9);
	attach(shared, &job, 0);
	job_read_begin(&job);
	job_get(&job, order_mixed(&job, crash_entries(&job) - 1));
	job.store->end(job.session);
	record_operations(shared, 1, stretch_end(shared, &stretch));
	add_integer(shared->record, "entries", crash_entries(&job));
	check_crashed(shared, &job);
	detach(&job);
	close_measured(shared);
}

/* ---- Hot copy ---------------------------------------------------------------------------------------------------- */

bool copy_possible(const struct store *store)
{
	return store->copy;
}

static void *keep_overwriting(void *context)
{
	struct job *job = context;
	uint64_t rate = writer_rate(job);

	job_start(job);
	while (!atomic_load(&job->shared->stop)) {
		job_pace(job, job->done, rate);
		job_put(job, job_random(job) % job->count, 1, order_same, job->done + 1);
		(void)job_step(job, 1);
		atomic_store(&job->shared->written, job->done);
	}
	return NULL;
}

/* The overwrites that were committed before the copy began. */
static uint64_t copy_while_writing(struct shared *shared, const char *directory, struct job *writer)
{
	struct stretch stretch = { 0 };
	uint64_t before = 0, after = 0;
	double seconds = 0;
	pthread_t thread;

	if (pthread_create(&thread, NULL, keep_overwriting, writer))
		wrong(shared, "no thread");
	while (!atomic_load(&shared->written))
		usleep(1000);
	stretch_begin(shared->directory, &stretch);
	before = atomic_load(&shared->written);
	expect_shared(shared, shared->store->copy(shared->handle, directory), "copy");
	files_sync(directory); /* some stores do that themselves: all of them have to */
	after = atomic_load(&shared->written);
	seconds = stretch_end(shared, &stretch);
	atomic_store(&shared->stop, true);
	pthread_join(thread, NULL);
	record_operations(shared, writer->count, seconds);
	add_double(shared->record, "writer_per_second", (double)(after - before) / seconds);
	return before;
}

/* The copy has to be one state of the original, and none from before the copy began. */
static void check_copy(struct shared *shared, const char *directory, uint64_t before, uint64_t after)
{
	const char *original = shared->directory;
	uint64_t newest = 0;
	struct job job;

	shared->directory = directory;
	add_integer(shared->record, "copy_allocated_bytes", files_allocated_bytes(directory));
	shared_open(shared, false);
	attach(shared, &job, 0);
	job_check_all(&job, job.count, true);
	newest = newest_version(&job);
	if (newest < before || newest > after)
		wrong(shared, "the copy is not of the time when it was made");
	check_versions(&job, newest);
	detach(&job);
	shared_close(shared);
	shared->directory = original;
}

void copy_hot(struct shared *shared)
{
	uint64_t before = 0, after = 0;
	char directory[4096] = "";
	struct job job;

	snprintf(directory, sizeof(directory), "%s-copy", shared->directory);
	if (mkdir(directory, 0700))
		wrong(shared, "no directory for the copy");
	open_measured(shared);
	attach(shared, &job, 0);
	job_warm_up(&job, 1);
	files_write_out(shared->directory);
	before = copy_while_writing(shared, directory, &job);
	after = job.done;
	record_latency(shared, job.latency, 1); /* the writer's */
	add_integer(shared->record, "entries", job.count);
	detach(&job);
	close_measured(shared);
	check_copy(shared, directory, before, after);
	files_remove_tree(directory);
}

/* ---- Long overwriting -------------------------------------------------------------------------------------------- */

/*
 * Without durability most of what a store writes would not reach the device while it is measured, for some stores and
 * not for others. So everything is written out at each point of the series, within the time, and the device's bytes are
 * those that count.
 */
struct series {
	struct shared *shared;
	json_object *points;
	struct meter start, last;
	uint64_t last_done;
	unsigned count;
};

static unsigned series_points(double seconds)
{
	double points = seconds / SERIES_SECONDS;

	if (points < SERIES_POINTS_MIN)
		return SERIES_POINTS_MIN;
	return points > SERIES_POINTS_MAX ? SERIES_POINTS_MAX : (unsigned)points;
}

static uint64_t bytes_between(const struct meter *from, const struct meter *to)
{
	if (to->device)
		return to->device_written_bytes - from->device_written_bytes;
	return to->written_bytes - from->written_bytes;
}

static void add_point(struct series *series)
{
	const struct bench_case *measured = series->shared->measured;
	uint64_t entry_bytes = measured->shape.key_bytes + measured->shape.value_bytes;
	uint64_t done = 0, put_bytes = 0, allocated = 0, written = 0;
	json_object *point = json_object_new_object();
	struct meter now = { 0 };

	files_write_out(series->shared->directory);
	done = atomic_load(&series->shared->written);
	put_bytes = (done - series->last_done) * entry_bytes;
	allocated = files_allocated_bytes(series->shared->directory);
	meter_read(&now, series->shared->directory);
	written = bytes_between(&series->last, &now);
	add_double(point, "seconds", (double)(now.ns - series->start.ns) / 1e9);
	add_double(point, "per_second", (double)(done - series->last_done) / ((double)(now.ns - series->last.ns) / 1e9));
	add_integer(point, "allocated_bytes", allocated);
	add_double(point, "space_amplification", (double)allocated / (double)(measured->count * entry_bytes));
	add_integer(point, now.device ? "device_written_bytes" : "written_bytes", written);
	if (put_bytes)
		add_double(point, "write_amplification", (double)written / (double)put_bytes);
	json_object_array_add(series->points, point);
	series->last = now;
	series->last_done = done;
}

/* All points but the last one, which belongs to the end of the writing. */
static void *watch(void *context)
{
	struct series *series = context;
	uint64_t step_ns = (uint64_t)(series->shared->measured->seconds * 1e9) / series->count, now = 0;
	unsigned i = 0;

	for (i = 1; i < series->count; i++) {
		uint64_t at = series->start.ns + i * step_ns;

		while ((now = now_ns()) < at)
			usleep((useconds_t)((at - now) / 1000 + 1));
		if (atomic_load(&series->shared->stop))
			break;
		add_point(series);
	}
	return NULL;
}

static double overwrite_and_watch(struct shared *shared, struct job *job)
{
	struct series series = { .shared = shared, .points = json_object_new_array() };
	struct stretch stretch = { 0 };
	pthread_t watcher;

	series.count = series_points(shared->measured->seconds);
	stretch_begin(shared->directory, &stretch);
	series.start = series.last = stretch.meter;
	if (pthread_create(&watcher, NULL, watch, &series))
		wrong(shared, "no thread");
	job_start(job);
	do {
		job_put(job, job_random(job) % job->count, 1, order_same, job->done + 1);
		atomic_store_explicit(&shared->written, job->done + 1, memory_order_relaxed);
	} while (job_step(job, 1));
	atomic_store(&shared->stop, true);
	pthread_join(watcher, NULL);
	add_point(&series);
	json_object_object_add(shared->record, "series", series.points);
	return stretch_end(shared, &stretch);
}

void overwrite_long(struct shared *shared)
{
	double seconds = 0;
	struct job job;

	open_measured(shared);
	attach(shared, &job, 0);
	job_warm_up(&job, 1);
	files_write_out(shared->directory);
	seconds = overwrite_and_watch(shared, &job);
	record_operations(shared, job.done, seconds);
	record_latency(shared, job.latency, 1);
	add_integer(shared->record, "entries", job.count);
	add_integer(shared->record, "put_bytes", job.put_bytes);
	check_overwritten(&job);
	detach(&job);
	close_measured(shared);
}
