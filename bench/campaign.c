/* SPDX-License-Identifier: MIT */
/*
 * A section is a set of workloads with one filled database per store. Each of its repetitions runs every workload on
 * every store, in a random order that is another one each time, so that a disturbance hits all of them and none always
 * follows the same other one. When there is a limit to the time, first repetitions run in any case; the others get what
 * is left, shared among the sections by weight. What does not fit any more is reported as skipped, never left out
 * silently.
 */
#include "campaign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "files.h"
#include "limit.h"
#include "machine.h"
#include "run.h"

#define STORES_MAX 16
#define WORKLOADS_MAX 64
#define SPREAD_MAX 0.25         /* greatest less smallest, in parts of the median */
#define LIMIT_FILE_BYTES_MAX ((uint64_t)512 << 20)

/* Rates of one workload on one store in a section. */
struct rates {
	double values[REPETITIONS_MAX];
	unsigned count;
};

struct campaign {
	const struct settings *settings;
	const char *directory;
	FILE *out;
	uint64_t start_ns;
	const struct section *section;
	struct bench_case measured;
	uint64_t end_ns;      /* of everything */
	uint64_t deadline_ns; /* of the section */
	unsigned repetition, repetitions; /* this one, and how many the section has */
	char cgroup[4096];
	char refusal[256];   /* why the section cannot run; "" when it can */
	struct rates rates[WORKLOADS_MAX][STORES_MAX];
	json_object *spreads; /* measurements that differed too much */
	unsigned done, disturbed, failed, skipped;
};

bool campaign_listed(const char *list, const char *name)
{
	size_t length = strlen(name), span = 0;

	for (; list && *list; list += span + (list[span] == ',')) {
		span = strcspn(list, ",");
		if (span == length && strncmp(list, name, length) == 0)
			return true;
	}
	return !list;
}

static void add_text(json_object *to, const char *name, const char *text)
{
	json_object_object_add(to, name, json_object_new_string(text));
}

static void add_integer(json_object *to, const char *name, uint64_t value)
{
	json_object_object_add(to, name, json_object_new_int64((int64_t)value));
}

static void add_double(json_object *to, const char *name, double value)
{
	json_object_object_add(to, name, json_object_new_double(value));
}

/* Writes the record as a line and releases it. */
static void emit(struct campaign *campaign, json_object *record)
{
	fprintf(campaign->out, "%s\n", json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN));
	fflush(campaign->out);
	json_object_put(record);
}

/* Where we are, for whoever looks on. */
static void show(const struct campaign *campaign, const char *section, const char *workload, const char *store)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%6.0f s  %u/%u  %-16s %-18s %-16s", (double)(now_ns() - campaign->start_ns) / 1e9,
			campaign->repetition + 1, campaign->repetitions, section, workload, store);
}

/* ---- What differs too much -------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static void judge_spread(struct campaign *campaign, const struct workload *workload, const struct store *store,
			 struct rates *rates)
{
	char name[256] = "";
	json_object *entry = NULL;
	double spread = 0, middle = 0;

	if (rates->count < 2)
		return;
	qsort(rates->values, rates->count, sizeof(rates->values[0]), by_value);
	middle = (rates->values[(rates->count - 1) / 2] + rates->values[rates->count / 2]) / 2;
	spread = (rates->values[rates->count - 1] - rates->values[0]) / middle;
	if (spread <= SPREAD_MAX)
		return;
	snprintf(name, sizeof(name), "%s/%s", campaign->section->name, workload->name);
	entry = json_object_new_object();
	add_text(entry, "case", name);
	add_text(entry, "store", store->name);
	add_double(entry, "spread", spread);
	json_object_array_add(campaign->spreads, entry);
}

/* ---- One measurement --------------------------------------------------------------------------------------------- */

/*
 * The name of the physical limit of the workload in this section. False when there is none: what is larger than its
 * durable write, what the store may give without copying it, a search in what is not all in memory.
 */
static bool limit_find(const struct section *section, const struct workload *workload, char *name, size_t size)
{
	size_t entry_bytes = section->shape.key_bytes + section->shape.value_bytes;
	const struct limit *limit = limit_named(workload->limit);

	if (!limit)
		return false;
	if (limit->bytes == LIMIT_SECTOR_BYTES && entry_bytes > limit->bytes)
		limit = limit_named("write-durable-1");
	if ((limit->bytes == LIMIT_BLOCK_BYTES && workload->durable && entry_bytes > limit->bytes) ||
	    (!limit->bytes && !limit->searches && entry_bytes > LIMIT_BLOCK_BYTES) ||
	    (limit->searches && (section->memory_parts || section->shape.key_bytes != LIMIT_KEY_BYTES)))
		return false;
	snprintf(name, size, limit->searches && section != sections ? "%s:%s" : "%s", limit->name, section->name);
	return true;
}

static json_object *new_record(const struct campaign *campaign, const struct workload *workload,
			       const struct store *store)
{
	const struct bench_case *measured = &campaign->measured;
	json_object *record = json_object_new_object();
	char name[256] = "";

	snprintf(name, sizeof(name), "%s/%s", campaign->section->name, workload->name);
	add_text(record, "type", "result");
	add_text(record, "case", name);
	add_text(record, "section", campaign->section->name);
	add_text(record, "workload", workload->name);
	add_text(record, "group", workload->group);
	add_text(record, "store", store->name);
	add_double(record, "at_seconds", (double)(now_ns() - campaign->start_ns) / 1e9);
	add_integer(record, "repetition", campaign->repetition);
	add_integer(record, "threads", workload->threads);
	json_object_object_add(record, "durable", json_object_new_boolean(workload->durable));
	add_integer(record, "count", measured->count);
	add_integer(record, "key_bytes", measured->shape.key_bytes);
	add_integer(record, "value_bytes", measured->shape.value_bytes);
	if (measured->memory_bytes)
		add_integer(record, "memory_limit_bytes", measured->memory_bytes);
	add_integer(record, "seed", measured->seed);
	if (limit_find(campaign->section, workload, name, sizeof(name)))
		add_text(record, "limit", name);
	return record;
}

static void refuse(struct campaign *campaign, json_object *record, const char *status, const char *reason)
{
	add_text(record, "status", status);
	add_text(record, "reason", reason);
	if (strcmp(status, "skipped") == 0)
		campaign->skipped++;
	emit(campaign, record);
}

/* Says why the store cannot do this. */
static bool possible(struct campaign *campaign, const struct workload *workload, const struct store *store,
		     json_object *record)
{
	char reason[128] = "the store has no such operation";

	if (campaign->measured.shape.key_bytes > store->key_bytes_max)
		snprintf(reason, sizeof(reason), "keys have at most %zu bytes", store->key_bytes_max);
	else if (!workload->possible || workload->possible(store))
		return true;
	refuse(campaign, record, "not supported", reason);
	return false;
}

/* Far more than it takes on a slow machine, and not much longer than all may take: this is for what hangs. */
static void limit_time(const struct campaign *campaign, struct run *run)
{
	const struct bench_case *measured = &campaign->measured;
	uint64_t bytes = measured->count * (measured->shape.key_bytes + measured->shape.value_bytes), now = now_ns();
	uint64_t left = campaign->end_ns > now ? (campaign->end_ns - now) / 1000000000 : 0;

	run->seconds_max = 300 + (unsigned)(20 * campaign->settings->seconds) + (unsigned)(measured->count / 4000) +
			   (unsigned)(bytes >> 20);
	run->hurried = campaign->settings->budget_seconds > 0 && left + 60 < run->seconds_max;
	if (run->hurried)
		run->seconds_max = (unsigned)left + 60;
}

/* 0 or -1: record says why, and so do the counts. */
static int run_limited(struct campaign *campaign, struct run *run, json_object *record)
{
	int result = 0;

	limit_time(campaign, run);
	result = run_in_child(run, record);
	campaign->failed += result == -ECHILD;
	campaign->skipped += result == -ETIME;
	return result ? -1 : 0;
}

static void path_of(const struct campaign *campaign, const struct store *store, const char *what, char *path)
{
	snprintf(path, 4096, "%.2048s/%s-%s", campaign->directory, store->name, what);
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0700) == 0)
		return;
	fprintf(stderr, "bench: %s: %m\n", path);
	exit(1);
}

/* What the store and the page cache have. */
static uint64_t memory_bytes(const struct campaign *campaign)
{
	if (campaign->measured.memory_bytes)
		return campaign->measured.memory_bytes;
	return campaign->settings->memory_bytes ? campaign->settings->memory_bytes : machine_memory_bytes();
}

/* The filled database of a store, made when it is not there yet, with the settings that it is used with. 0, or -1:
 * record says why, and there is none. */
static int provide_filled(struct campaign *campaign, const struct store *store, const char *path, json_object *record)
{
	struct run run = { .measured = &campaign->measured, .store = store, .directory = path, .fill = true,
			   .memory_bytes = memory_bytes(campaign) };
	int result = 0;

	if (access(path, F_OK) == 0)
		return 0;
	make_directory(path);
	result = run_limited(campaign, &run, record);
	if (result)
		files_remove_tree(path);
	return result;
}

/* The directory that the workload runs on. */
static int provide(struct campaign *campaign, const struct workload *workload, const struct store *store, char *path,
		   json_object *record)
{
	char filled[4096] = "";
	int result = 0;

	path_of(campaign, store, "filled", filled);
	path_of(campaign, store, "work", path);
	if (workload->base != BASE_EMPTY)
		result = provide_filled(campaign, store, filled, record);
	if (workload->base == BASE_FILLED) {
		snprintf(path, 4096, "%s", filled);
		return result;
	}
	make_directory(path);
	if (result == 0 && workload->base == BASE_COPY && files_copy_tree(filled, path)) {
		fprintf(stderr, "bench: copying %s failed\n", filled);
		exit(1);
	}
	return result;
}

/* The first repetition has all the time that there is, the others what the section's share leaves. */
static bool time_is_up(const struct campaign *campaign)
{
	uint64_t deadline = campaign->repetition ? campaign->deadline_ns : campaign->end_ns;

	return campaign->settings->budget_seconds > 0 && now_ns() > deadline;
}

/* What failed does not say. */
static bool is_disturbed(json_object *record)
{
	json_object *reasons = json_object_object_get(record, "disturbed");

	return reasons && json_object_array_length(reasons);
}

static void measure(struct campaign *campaign, const struct workload *workload, const struct store *store,
		    struct rates *rates)
{
	json_object *record = new_record(campaign, workload, store), *rate = NULL;
	struct run run = { .measured = &campaign->measured, .store = store, .thorough = campaign->repetition == 0 };
	char path[4096] = "", copy[4096] = "";
	int result = 0;

	if (!possible(campaign, workload, store, record))
		return;
	if (campaign->refusal[0] || time_is_up(campaign)) {
		refuse(campaign, record, "skipped", campaign->refusal[0] ? campaign->refusal : "no time was left");
		return;
	}
	run.directory = path;
	run.memory_bytes = memory_bytes(campaign);
	run.cgroup = campaign->cgroup[0] ? campaign->cgroup : NULL;
	result = provide(campaign, workload, store, path, record);
	files_write_out(campaign->directory);
	if (result == 0)
		result = run_limited(campaign, &run, record);
	path_of(campaign, store, "work-copy", copy);
	files_remove_tree(copy); /* a hot copy that failed */
	if (workload->base != BASE_FILLED)
		files_remove_tree(path);
	if (result == 0)
		add_text(record, "status", "ok");
	rate = json_object_object_get(record, "per_second");
	if (rate)
		rates->values[rates->count++] = json_object_get_double(rate);
	campaign->done++;
	campaign->disturbed += is_disturbed(record);
	emit(campaign, record);
}

/* ---- Sections ---------------------------------------------------------------------------------------------------- */

/* The workloads of a section in this mode. A run that names workloads looks at all that the section has. */
static const char *workloads_of(const struct settings *settings, const struct section *section)
{
	return settings->mode != PLAN_FULL && section->quick && !settings->only ? section->quick : section->workloads;
}

static bool wanted(const struct settings *settings, const struct section *section, const struct workload *workload)
{
	for (const struct section *before = sections; settings->first_only && before < section; before++)
		if (campaign_listed(before->workloads, workload->name))
			return false;
	if (workload->scaling && workload->threads > sysconf(_SC_NPROCESSORS_ONLN))
		return false;
	return campaign_listed(workloads_of(settings, section), workload->name) &&
	       campaign_listed(settings->only, workload->name);
}

static bool section_wanted(const struct settings *settings, const struct section *section)
{
	unsigned w = 0;

	if (!campaign_listed(settings->sections, section->name))
		return false;
	if (!section->counts[settings->mode] && !settings->count)
		return false;
	for (w = 0; w < workload_count; w++)
		if (wanted(settings, section, &workloads[w]))
			return true;
	return false;
}

static void run_repetition(struct campaign *campaign)
{
	const struct settings *settings = campaign->settings;
	unsigned w = 0, turn = 0, total = 0, parts = campaign->section->long_parts ? campaign->section->long_parts : 1;

	while (stores[total])
		total++;
	for (w = 0; w < workload_count; w++) {
		const struct workload *workload = &workloads[w];

		if (!wanted(settings, campaign->section, workload))
			continue;
		campaign->measured.workload = workload;
		campaign->measured.seconds = workload->longer ? settings->long_seconds / parts :
					     workload->timed ? settings->seconds : settings->cap_seconds;
		for (turn = 0; turn < total; turn++) {
			unsigned s = (unsigned)random_permute(turn, total, campaign->measured.seed * WORKLOADS_MAX + w);

			if (!campaign_listed(settings->stores, stores[s]->name))
				continue;
			show(campaign, campaign->section->name, workload->name, stores[s]->name);
			measure(campaign, workload, stores[s], &campaign->rates[w][s]);
		}
	}
}

/* Finds out whether the section can run at all, and how. */
static void prepare_section(struct campaign *campaign)
{
	const struct section *section = campaign->section;
	struct bench_case *measured = &campaign->measured;
	uint64_t bytes = measured->count * (section->shape.key_bytes + section->shape.value_bytes), needed = bytes * 24;

	campaign->refusal[0] = 0;
	campaign->cgroup[0] = 0;
	measured->memory_bytes = section->memory_parts ? bytes / section->memory_parts : 0;
	if (needed > files_free_bytes(campaign->directory))
		snprintf(campaign->refusal, sizeof(campaign->refusal), "about %llu MiB of free space are needed",
			 (unsigned long long)needed >> 20);
	else if (measured->memory_bytes && campaign->settings->memory_bytes)
		measured->memory_bytes = campaign->settings->memory_bytes; /* the caller has limited it */
	else if (measured->memory_bytes && !campaign->settings->cgroup)
		snprintf(campaign->refusal, sizeof(campaign->refusal), "no cgroup was given to limit memory with");
	else if (measured->memory_bytes &&
		 cgroup_make(campaign->settings->cgroup, measured->memory_bytes, campaign->cgroup))
		snprintf(campaign->refusal, sizeof(campaign->refusal), "no cgroup can be made to limit memory with");
}

static void end_section(struct campaign *campaign)
{
	char path[4096] = "";
	unsigned w = 0, s = 0;

	for (s = 0; stores[s]; s++) {
		path_of(campaign, stores[s], "filled", path);
		files_remove_tree(path);
		for (w = 0; w < workload_count; w++)
			judge_spread(campaign, &workloads[w], stores[s], &campaign->rates[w][s]);
	}
	if (campaign->cgroup[0])
		cgroup_remove(campaign->cgroup);
}

static void run_section(struct campaign *campaign, const struct section *section)
{
	const struct settings *settings = campaign->settings;

	campaign->section = section;
	campaign->repetitions = campaign_repetitions(settings, section);
	memset(campaign->rates, 0, sizeof(campaign->rates));
	campaign->measured = (struct bench_case){ .shape = section->shape };
	campaign->measured.shape.incompressible = settings->incompressible;
	campaign->measured.count = settings->count ? settings->count : section->counts[settings->mode];
	campaign->measured.order_seed = settings->seed;
	prepare_section(campaign);
	for (campaign->repetition = 0; campaign->repetition < campaign->repetitions; campaign->repetition++) {
		campaign->measured.seed = settings->seed + campaign->repetition;
		run_repetition(campaign);
	}
	end_section(campaign);
}

/* The part of the time that a section gets; one that cannot run needs none. */
static unsigned weight_of(const struct settings *settings, const struct section *section)
{
	if (!section_wanted(settings, section) ||
	    (section->memory_parts && !settings->cgroup && !settings->memory_bytes))
		return 0;
	return settings->mode == PLAN_FULL ? section->weight : section->quick_weight;
}

static void run_sections(struct campaign *campaign)
{
	const struct settings *settings = campaign->settings;
	unsigned i = 0, left = 0, weight = 0;

	campaign->end_ns = campaign->start_ns + (uint64_t)(settings->budget_seconds * 0.98e9);
	for (i = 0; i < section_count; i++)
		left += weight_of(settings, &sections[i]);
	for (i = 0; i < section_count; i++) {
		uint64_t now = now_ns();

		if (!section_wanted(settings, &sections[i]))
			continue;
		weight = weight_of(settings, &sections[i]);
		campaign->deadline_ns = now;
		if (now < campaign->end_ns && left)
			campaign->deadline_ns += (campaign->end_ns - now) / left * weight;
		left -= weight;
		run_section(campaign, &sections[i]);
	}
}

/* ---- Limits ------------------------------------------------------------------------------------------------------ */

static void run_limit(struct campaign *campaign, const struct limit *limit, const struct limit_setup *setup,
		      const char *name)
{
	struct run run = { .limit = limit, .limit_setup = setup };
	json_object *record = json_object_new_object();

	show(campaign, "limits", name, "");
	add_text(record, "type", "limit");
	add_text(record, "limit", name);
	add_text(record, "description", limit->description);
	add_integer(record, "repetition", campaign->repetition);
	if (run_limited(campaign, &run, record) == 0)
		add_text(record, "status", "ok");
	emit(campaign, record);
}

/* Does a workload of the section that runs have this limit? */
static bool limit_wanted(const struct settings *settings, const struct section *section, const struct limit *limit,
			 char *name, size_t size)
{
	unsigned w = 0;

	for (w = 0; section_wanted(settings, section) && w < workload_count; w++)
		if (workloads[w].limit && strcmp(workloads[w].limit, limit->name) == 0 &&
		    wanted(settings, section, &workloads[w]) && limit_find(section, &workloads[w], name, size))
			return true;
	return false;
}

/* Searches have the keys of a section and as many. */
static void run_searches(struct campaign *campaign, const struct section *section, struct limit_setup *setup)
{
	const struct settings *settings = campaign->settings;
	char name[256] = "";
	unsigned i = 0;

	setup->shape = section->shape;
	setup->entries = settings->count ? settings->count : section->counts[settings->mode];
	for (i = 0; i < limit_count; i++)
		if (limits[i].searches && limit_wanted(settings, section, &limits[i], name, sizeof(name)))
			run_limit(campaign, &limits[i], setup, name);
}

static void run_limits(struct campaign *campaign, unsigned first, unsigned end)
{
	const struct settings *settings = campaign->settings;
	uint64_t count = settings->count ? settings->count : sections[0].counts[settings->mode];
	struct limit_setup setup = { .directory = campaign->directory, .seconds = settings->seconds };
	unsigned i = 0;

	setup.file_bytes = count * 512 < LIMIT_FILE_BYTES_MAX ? (count * 512 | 0xffffff) + 1 : LIMIT_FILE_BYTES_MAX;
	campaign->repetitions = end;
	for (; first < end; first++) {
		setup.seed = settings->seed + first;
		campaign->repetition = first;
		for (i = 0; i < limit_count; i++)
			if (!limits[i].searches)
				run_limit(campaign, &limits[i], &setup, limits[i].name);
		for (i = 0; i < section_count; i++)
			run_searches(campaign, &sections[i], &setup);
	}
}

static void emit_summary(struct campaign *campaign)
{
	json_object *summary = json_object_new_object();
	size_t spreads = json_object_array_length(campaign->spreads);
	bool disturbed = campaign->disturbed * 20 > campaign->done;

	add_text(summary, "type", "summary");
	add_double(summary, "seconds", (double)(now_ns() - campaign->start_ns) / 1e9);
	add_integer(summary, "measurements", campaign->done);
	add_integer(summary, "failed", campaign->failed);
	add_integer(summary, "skipped", campaign->skipped);
	add_integer(summary, "disturbed_measurements", campaign->disturbed);
	json_object_object_add(summary, "disturbed", json_object_new_boolean(disturbed));
	json_object_object_add(summary, "unstable", json_object_new_boolean(spreads > 0));
	json_object_object_add(summary, "spread_too_large", campaign->spreads);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%*s\r", 90, "");
	fprintf(stderr, "%u measurements, %u failed, %u skipped, %u disturbed, %zu with too large a spread\n",
		campaign->done, campaign->failed, campaign->skipped, campaign->disturbed,
		spreads);
	emit(campaign, summary);
}

unsigned campaign_repetitions(const struct settings *settings, const struct section *section)
{
	return settings->repetitions ? settings->repetitions : section->repetitions[settings->mode];
}

bool campaign_planned(const struct settings *settings)
{
	for (unsigned i = 0; i < section_count; i++)
		if (section_wanted(settings, &sections[i]))
			return true;
	return false;
}

int campaign_run(const struct settings *settings, const char *directory, FILE *out)
{
	struct campaign *campaign = calloc(1, sizeof(*campaign));
	unsigned repetitions = campaign_repetitions(settings, sections), first = (repetitions + 1) / 2;
	int result = 0;

	campaign->settings = settings;
	campaign->directory = directory;
	campaign->out = out;
	campaign->start_ns = now_ns();
	campaign->spreads = json_object_new_array();
	if (!settings->no_limits)
		run_limits(campaign, 0, first);
	run_sections(campaign);
	if (!settings->no_limits) /* the rest at the end: a machine that has changed shows */
		run_limits(campaign, first, repetitions);
	emit_summary(campaign);
	result = campaign->failed ? 1 : 0;
	free(campaign);
	return result;
}
