/* SPDX-License-Identifier: MIT */
/*
 * Measures Solifuge beside other stores: the same keys, values, threads and durability, in one run.
 *
 * Each repetition runs every workload on every store in turn, and starts with another store each time, so that a
 * disturbance hits all of them. Each store and workload has a directory of its own. Reading workloads use the database
 * that fill-batch made, opened anew and read once as a whole before the clock starts. What the one before has left to
 * the kernel to write is written before the clock starts too. Reported are the medians.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "limit.h"
#include "store.h"
#include "workloads.h"

#define REPETITIONS_MAX 99
#define THREADS_MAX 16
#define WORKLOADS_MAX 32

static const struct store *const stores[] = {
	&store_solifuge,
#ifdef HAVE_LMDB
	&store_lmdb,
	&store_lmdb_writemap,
#endif
};
#define STORES (sizeof(stores) / sizeof(stores[0]))

struct settings {
	const char *parent, *only, *with;
	uint64_t count, seed;
	unsigned repetitions;
	double seconds;
	bool json;
};

static struct settings settings = { .count = 1000000, .seed = 1, .repetitions = 3, .seconds = 3 };
static char directory[2048];                                     /* where all files go; removed at the end */
#define LIMITED_WORKLOAD "durable-1"
static double limits[REPETITIONS_MAX];
static double rates[WORKLOADS_MAX][STORES][REPETITIONS_MAX];     /* operations per second; 0: not run */

/* ---- Options ----------------------------------------------------------------------------------------------------- */

static const struct argp_option options[] = {
	{ "count", 'n', "N", 0, "entries of the database (1000000)", 0 },
	{ "repetitions", 'r', "N", 0, "how often everything is measured (3)", 0 },
	{ "seconds", 's', "S", 0, "how long each durable workload runs (3)", 0 },
	{ "seed", 'e', "N", 0, "of the order of reads (1)", 0 },
	{ "only", 'o', "NAMES", 0, "these workloads, separated by commas", 0 },
	{ "stores", 't', "NAMES", 0, "these stores, separated by commas", 0 },
	{ "json", 'j', NULL, 0, "JSON lines on standard output, the table on standard error", 0 },
	{ 0 },
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	switch (key) {
	case 'n':
		settings.count = strtoull(argument, NULL, 0);
		break;
	case 'r':
		settings.repetitions = (unsigned)strtoul(argument, NULL, 0);
		break;
	case 's':
		settings.seconds = strtod(argument, NULL);
		break;
	case 'e':
		settings.seed = strtoull(argument, NULL, 0);
		break;
	case 'o':
		settings.only = argument;
		break;
	case 't':
		settings.with = argument;
		break;
	case 'j':
		settings.json = true;
		break;
	case ARGP_KEY_ARG:
		if (settings.parent)
			argp_usage(state);
		settings.parent = argument;
		break;
	case ARGP_KEY_END:
		if (!settings.parent)
			argp_error(state, "DIRECTORY is missing");
		if (settings.count < 1000 || settings.repetitions < 1 || settings.repetitions > REPETITIONS_MAX)
			argp_error(state, "a number is out of range");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "DIRECTORY",
	.doc = "Measures Solifuge beside other stores, with files in a new directory below DIRECTORY.",
};

/* Is name one of the names in list? NULL lists all. */
static bool listed(const char *list, const char *name)
{
	size_t length = strlen(name), span = 0;

	for (; list && *list; list += span + (list[span] == ',')) {
		span = strcspn(list, ",");
		if (span == length && strncmp(list, name, length) == 0)
			return true;
	}
	return !list;
}

/* ---- Directories ------------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

static void remove_tree(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_all(void)
{
	if (directory[0])
		remove_tree(directory);
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0700) == 0)
		return;
	fprintf(stderr, "bench: %s: %s\n", path, strerror(errno));
	exit(1);
}

/* Waits until the file system has nothing left to write: unsynced fills must not slow down whoever comes next. */
static void write_out(void)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || syncfs(fd) < 0)
		fprintf(stderr, "bench: syncfs: %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

struct worker {
	struct job job;
	pthread_barrier_t *barrier;
	void (*run)(struct job *job);
	pthread_t thread;
};

static void *worker_run(void *context)
{
	struct worker *worker = context;

	pthread_barrier_wait(worker->barrier);
	worker->run(&worker->job);
	return NULL;
}

/* Runs a workload in its threads: the seconds from their common start to the end of the last. */
static double run_threads(const struct workload *workload, const struct job *job, struct worker *workers)
{
	pthread_barrier_t barrier;
	double start = 0;
	unsigned i = 0;

	pthread_barrier_init(&barrier, NULL, workload->threads + 1);
	for (i = 0; i < workload->threads; i++) {
		workers[i] = (struct worker){ .job = *job, .barrier = &barrier, .run = workload->run };
		workers[i].job.thread = i;
		if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i])) {
			fprintf(stderr, "bench: no thread\n");
			exit(1);
		}
	}
	start = seconds_now();
	pthread_barrier_wait(&barrier);
	for (i = 0; i < workload->threads; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&barrier);
	return seconds_now() - start;
}

static void open_store(struct job *job, const char *path, bool durable)
{
	expect(job, job->store->open(path, durable, settings.count * (KEY_BYTES + VALUE_BYTES), &job->handle), "open");
}

/* The database that reading workloads use: made now when fill-batch has not been measured in this repetition. */
static void provide_filled(struct job *job, const char *path)
{
	struct worker workers[1];

	if (access(path, F_OK) == 0)
		return;
	make_directory(path);
	open_store(job, path, false);
	run_threads(&workloads[0], job, workers);
	expect(job, job->store->close(job->handle), "close");
}

static void run_one(unsigned w, unsigned s, unsigned repetition)
{
	const struct workload *workload = &workloads[w];
	struct job job = { .store = stores[s], .count = settings.count, .seconds = settings.seconds };
	struct worker workers[THREADS_MAX];
	double seconds = 0, close_seconds = 0;
	uint64_t operations = 0;
	char path[4096] = "";
	unsigned i = 0;

	job.seed = settings.seed + repetition;
	snprintf(path, sizeof(path), "%s/%s-%s", directory, job.store->name,
		 workload->fresh && w ? workload->name : "filled");
	if (workload->fresh)
		make_directory(path);
	else
		provide_filled(&job, path);
	open_store(&job, path, workload->durable);
	if (!workload->fresh)
		warm_up(&job);
	write_out();
	seconds = run_threads(workload, &job, workers);
	for (i = 0; i < workload->threads; i++) {
		operations += workers[i].job.done;
		if (workload->check)
			workload->check(&workers[i].job);
	}
	close_seconds = seconds_now();
	expect(&job, job.store->close(job.handle), "close");
	close_seconds = seconds_now() - close_seconds;
	if (workload->fresh && w)
		remove_tree(path);
	rates[w][s][repetition] = (double)operations / seconds;
	if (settings.json) {
		printf("{\"workload\":\"%s\",\"store\":\"%s\",\"repetition\":%u,\"threads\":%u,\"operations\":%" PRIu64
		       ",\"seconds\":%.6f,\"per_second\":%.1f,\"close_seconds\":%.6f}\n", workload->name,
		       job.store->name, repetition, workload->threads, operations, seconds, rates[w][s][repetition],
		       close_seconds);
		fflush(stdout);
	}
}

static void run_repetition(unsigned repetition)
{
	unsigned w = 0, turn = 0;
	char path[4096] = "";

	for (w = 0; w < workload_count; w++) {
		for (turn = 0; turn < STORES; turn++) {
			unsigned s = (turn + repetition) % STORES;

			if (!listed(settings.only, workloads[w].name) || !listed(settings.with, stores[s]->name))
				continue;
			fprintf(stderr, "\r%u/%u %-12s %-16s", repetition + 1, settings.repetitions, workloads[w].name,
				stores[s]->name);
			run_one(w, s, repetition);
		}
	}
	for (turn = 0; turn < STORES; turn++) {
		snprintf(path, sizeof(path), "%s/%s-filled", directory, stores[turn]->name);
		remove_tree(path);
	}
	fprintf(stderr, "\r%*s\r", 60, "");
}

/* ---- Reporting --------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

/* Median, and the spread (greatest less smallest) in parts of it. */
static double median(unsigned w, unsigned s, double *spread)
{
	double sorted[REPETITIONS_MAX];
	unsigned n = settings.repetitions;
	double middle = 0;

	memcpy(sorted, rates[w][s], n * sizeof(sorted[0]));
	qsort(sorted, n, sizeof(sorted[0]), by_value);
	middle = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
	*spread = middle > 0 ? (sorted[n - 1] - sorted[0]) / middle : 0;
	return middle;
}

static void print_table(FILE *out)
{
	unsigned w = 0, s = 0;
	double spread = 0;

	fprintf(out, "%-12s", "per second");
	for (s = 0; s < STORES; s++)
		fprintf(out, " %16s        ", stores[s]->name);
	fprintf(out, "%24s\n", "solifuge / best other");
	for (w = 0; w < workload_count; w++) {
		double own = median(w, 0, &spread), best = 0;

		if (!listed(settings.only, workloads[w].name))
			continue;
		fprintf(out, "%-12s", workloads[w].name);
		for (s = 0; s < STORES; s++) {
			double rate = median(w, s, &spread);

			if (s && rate > best)
				best = rate;
			fprintf(out, " %16.0f +-%3.0f %%", rate, spread * 50);
		}
		if (own > 0 && best > 0)
			fprintf(out, "%24.2f", own / best);
		fprintf(out, "\n");
	}
}

/* One durable put cannot be faster than one durable write. */
static void print_limit(FILE *out)
{
	double spread = 0, limit = 0;
	unsigned w = 0;

	for (w = 0; w < workload_count && strcmp(workloads[w].name, LIMITED_WORKLOAD) != 0; w++)
		;
	if (w == workload_count || !listed(settings.only, LIMITED_WORKLOAD))
		return;
	qsort(limits, settings.repetitions, sizeof(limits[0]), by_value);
	limit = limits[settings.repetitions / 2];
	if (limit > 0)
		fprintf(out, "limit: %.0f durable 4 KiB writes per second (pwritev2 with RWF_DSYNC, direct, written space): "
			"%s reaches %.2f of it on %s\n", limit, stores[0]->name, median(w, 0, &spread) / limit,
			LIMITED_WORKLOAD);
}

static void print_setting(void)
{
	struct utsname machine;
	unsigned s = 0;

	if (uname(&machine))
		memset(&machine, 0, sizeof(machine));
	if (settings.json) {
		printf("{\"count\":%" PRIu64 ",\"key_bytes\":%d,\"value_bytes\":%d,\"repetitions\":%u,\"seed\":%" PRIu64
		       ",\"kernel\":\"%s\",\"cpus\":%ld}\n", settings.count, KEY_BYTES, VALUE_BYTES,
		       settings.repetitions, settings.seed, machine.release, sysconf(_SC_NPROCESSORS_ONLN));
		for (s = 0; s < STORES; s++)
			printf("{\"store\":\"%s\",\"version\":\"%s\",\"settings\":\"%s\"}\n", stores[s]->name,
			       stores[s]->version(), stores[s]->settings);
		return;
	}
	printf("%" PRIu64 " entries, %d-byte keys, %d-byte values, medians of %u, seed %" PRIu64 ", Linux %s, "
	       "%ld CPUs\n", settings.count, KEY_BYTES, VALUE_BYTES, settings.repetitions, settings.seed,
	       machine.release, sysconf(_SC_NPROCESSORS_ONLN));
	for (s = 0; s < STORES; s++)
		printf("%-14s %s; %s\n", stores[s]->name, stores[s]->version(), stores[s]->settings);
}

int main(int argc, char **argv)
{
	unsigned repetition = 0;

	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	snprintf(directory, sizeof(directory), "%.2000s/solifuge-bench-XXXXXX", settings.parent);
	if (!mkdtemp(directory)) {
		fprintf(stderr, "bench: %s: %s\n", directory, strerror(errno));
		directory[0] = 0;
		return 1;
	}
	atexit(remove_all);
	print_setting();
	for (repetition = 0; repetition < settings.repetitions; repetition++) {
		if (listed(settings.only, LIMITED_WORKLOAD))
			limits[repetition] = limit_durable_writes(directory, 1);
		if (settings.json && limits[repetition] > 0)
			printf("{\"limit\":\"durable 4 KiB writes\",\"repetition\":%u,\"per_second\":%.1f}\n", repetition,
			       limits[repetition]);
		run_repetition(repetition);
	}
	print_table(settings.json ? stderr : stdout);
	print_limit(settings.json ? stderr : stdout);
	return 0;
}
