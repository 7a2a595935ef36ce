/* SPDX-License-Identifier: MIT */
/*
 * Measures Solifuge beside other stores: the same keys, values, threads and durability, in one run.
 *
 * campaign.c has the order of things, run.c how one of them is measured, workloads.c what is measured, plan.c with
 * which numbers, store_*.c with which settings, limit.c what the machine itself can do. The output is JSON lines;
 * bench/report makes tables and plots of them, bench/compare compares two runs.
 */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "campaign.h"
#include "files.h"
#include "machine.h"
#include "solifuge.h"

enum {
	OPTION_QUICK = 256,
	OPTION_FULL,
	OPTION_SMOKE,
	OPTION_CGROUP,
	OPTION_MEMORY,
	OPTION_LIST,
	OPTION_INCOMPRESSIBLE,
	OPTION_NO_LIMITS,
};

#define NO_CAP_SECONDS 1e6
#define BASIC "fill-batch,get-1,get-2,multi-get,scan,fill-single,overwrite,durable-1,durable-16"

static struct settings settings = {
	.mode = PLAN_FULL, .seed = 1, .seconds = 3, .long_seconds = 18, .cap_seconds = NO_CAP_SECONDS,
};
static const char *output;
static bool planned;            /* --quick, --full or --smoke */
static char directory[2048];    /* where all files go; removed at the end */
static pid_t owner;             /* the children do not remove it */

static const struct argp_option options[] = {
	{ "quick", OPTION_QUICK, NULL, 0, "most of it with small numbers, within 5 minutes", 0 },
	{ "full", OPTION_FULL, NULL, 0, "everything, within 2 hours", 0 },
	{ "smoke", OPTION_SMOKE, NULL, 0, "most of it with tiny numbers: does it work?", 0 },
	{ "only", 'o', "NAMES", 0, "these workloads, separated by commas (" BASIC ")", 0 },
	{ "sections", 'g', "NAMES", 0, "these sections of the plan, separated by commas (with --only: the first that has a workload)", 0 },
	{ "stores", 't', "NAMES", 0, "these stores, separated by commas", 0 },
	{ "list", OPTION_LIST, NULL, 0, "list sections, workloads and stores, and end", 0 },
	{ "count", 'n', "N", 0, "entries of the database (as the plan has them; main: 1000000)", 1 },
	{ "repetitions", 'r', "N", 0, "how often everything is measured (as the plan has it; main: 3)", 1 },
	{ "seconds", 's', "S", 0, "how long workloads run that run for a time (3; overwrite-long 6 times that)", 1 },
	{ "cap", 'c', "S", 0, "the longest that the others run (no limit)", 1 },
	{ "budget", 'b', "S", 0, "start nothing more after this time (no limit)", 1 },
	{ "seed", 'e', "N", 0, "of all orders (1)", 1 },
	{ "incompressible", OPTION_INCOMPRESSIBLE, NULL, 0, "values that do not compress, instead of to one half", 1 },
	{ "cgroup", OPTION_CGROUP, "PATH", 0, "memory cgroup below which to make one for the section 'limited'", 1 },
	{ "memory", OPTION_MEMORY, "BYTES", 0, "memory and page cache that there is (the machine's): for a run that "
	  "the caller has put into a cgroup", 1 },
	{ "no-limits", OPTION_NO_LIMITS, NULL, 0, "do not measure what the machine itself can do", 1 },
	{ "output", 'O', "FILE", 0, "write the JSON lines there instead of to standard output", 2 },
	{ 0 },
};

static void plan(enum plan_mode mode, double seconds, double long_seconds, double cap_seconds, double budget_seconds)
{
	settings.mode = mode;
	settings.seconds = seconds;
	settings.cap_seconds = cap_seconds;
	settings.long_seconds = long_seconds;
	settings.budget_seconds = budget_seconds;
	planned = true;
}

static void list_all(void)
{
	unsigned i = 0;

	puts("Sections:");
	for (i = 0; i < section_count; i++)
		printf("  %-16s %10llu entries, keys of %zu bytes, values of %zu bytes: %s\n", sections[i].name,
		       (unsigned long long)sections[i].counts[PLAN_FULL], sections[i].shape.key_bytes,
		       sections[i].shape.value_bytes, sections[i].workloads);
	puts("Workloads:");
	for (i = 0; i < workload_count; i++)
		printf("  %-18s %-14s %s\n", workloads[i].name, workloads[i].group, workloads[i].description);
	puts("Stores:");
	for (i = 0; stores[i]; i++)
		printf("  %-16s %s; %s\n", stores[i]->name, stores[i]->version(), stores[i]->settings);
}

static error_t parse_plan(int key)
{
	switch (key) {
	case OPTION_SMOKE:
		plan(PLAN_SMOKE, 0.02, 0.1, 0.1, 0);
		return 0;
	case OPTION_QUICK:
		plan(PLAN_QUICK, 0.1, 0.5, 0.5, 280);
		return 0;
	case OPTION_FULL:
		plan(PLAN_FULL, 1, 30, 30, 6900);
		return 0;
	case OPTION_LIST:
		list_all();
		exit(0);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_name(int key, char *argument)
{
	switch (key) {
	case 'o':
		settings.only = argument;
		return 0;
	case 'g':
		settings.sections = argument;
		return 0;
	case 't':
		settings.stores = argument;
		return 0;
	case 'O':
		output = argument;
		return 0;
	case OPTION_CGROUP:
		settings.cgroup = argument;
		return 0;
	case OPTION_MEMORY:
		settings.memory_bytes = strtoull(argument, NULL, 0);
		return 0;
	case OPTION_INCOMPRESSIBLE:
		settings.incompressible = true;
		return 0;
	case OPTION_NO_LIMITS:
		settings.no_limits = true;
		return 0;
	default:
		return parse_plan(key);
	}
}

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
		settings.long_seconds = 6 * settings.seconds;
		break;
	case 'c':
		settings.cap_seconds = strtod(argument, NULL);
		break;
	case 'b':
		settings.budget_seconds = strtod(argument, NULL);
		break;
	case 'e':
		settings.seed = strtoull(argument, NULL, 0);
		break;
	case ARGP_KEY_ARG:
		if (settings.parent)
			argp_usage(state);
		settings.parent = argument;
		break;
	case ARGP_KEY_END:
		if (!settings.parent)
			argp_error(state, "DIRECTORY is missing");
		if (settings.repetitions > REPETITIONS_MAX || settings.seconds <= 0)
			argp_error(state, "a number is out of range");
		break;
	default:
		return parse_name(key, argument);
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "DIRECTORY",
	.doc = "Measures Solifuge beside other stores, with files in a new directory below DIRECTORY.",
};

/* ---- Before and after -------------------------------------------------------------------------------------------- */

static void remove_all(void)
{
	if (directory[0] && getpid() == owner)
		files_remove_tree(directory);
}

static void check_names(const char *list, const char *what, bool (*known)(const char *name))
{
	char name[64] = "";

	while (list && *list) {
		size_t span = strcspn(list, ",");

		snprintf(name, sizeof(name), "%.*s", (int)span, list);
		if (!known(name)) {
			fprintf(stderr, "bench: there is no %s '%s'; --list names all\n", what, name);
			exit(2);
		}
		list += span + (list[span] == ',');
	}
}

static bool workload_known(const char *name)
{
	return workload_find(name);
}

static bool section_known(const char *name)
{
	unsigned i = 0;

	while (i < section_count && strcmp(sections[i].name, name) != 0)
		i++;
	return i < section_count;
}

static bool store_known(const char *name)
{
	unsigned i = 0;

	while (stores[i] && strcmp(stores[i]->name, name) != 0)
		i++;
	return stores[i];
}

static void add_text(json_object *to, const char *name, const char *text)
{
	json_object_object_add(to, name, json_object_new_string(text));
}

static void print_line(FILE *out, json_object *record)
{
	fprintf(out, "%s\n", json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN));
	json_object_put(record);
}

static void print_run(FILE *out)
{
	static const char *const modes[] = { "smoke", "quick", "full" };
	json_object *run = json_object_new_object();
	time_t now = time(NULL);
	char text[64] = "";

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	add_text(run, "type", "run");
	json_object_object_add(run, "format", json_object_new_int(1));
	add_text(run, "solifuge", slf_version());
	add_text(run, "started", text);
	add_text(run, "mode", planned ? modes[settings.mode] : "named");
	json_object_object_add(run, "seed", json_object_new_int64((int64_t)settings.seed));
	json_object_object_add(run, "repetitions", json_object_new_int64(campaign_repetitions(&settings, sections)));
	json_object_object_add(run, "seconds", json_object_new_double(settings.seconds));
	json_object_object_add(run, "long_seconds", json_object_new_double(settings.long_seconds));
	if (settings.cap_seconds < NO_CAP_SECONDS)
		json_object_object_add(run, "cap_seconds", json_object_new_double(settings.cap_seconds));
	if (settings.memory_bytes)
		json_object_object_add(run, "memory_bytes_told", json_object_new_int64((int64_t)settings.memory_bytes));
	json_object_object_add(run, "value_compression", json_object_new_double(settings.incompressible ? 1 : 0.5));
	json_object_object_add(run, "machine", machine_describe(directory));
	print_line(out, run);
}

static void print_stores(FILE *out)
{
	unsigned i = 0;

	for (i = 0; stores[i]; i++) {
		json_object *store = json_object_new_object();

		add_text(store, "type", "store");
		add_text(store, "store", stores[i]->name);
		add_text(store, "version", stores[i]->version());
		add_text(store, "settings", stores[i]->settings);
		if (stores[i]->package)
			add_text(store, "package", stores[i]->package);
		if (stores[i]->key_bytes_max != SIZE_MAX)
			json_object_object_add(store, "key_bytes_max",
					       json_object_new_int64((int64_t)stores[i]->key_bytes_max));
		print_line(out, store);
	}
	for (i = 0; stores_not_built[i]; i++) {
		json_object *store = json_object_new_object();

		add_text(store, "type", "store");
		add_text(store, "store", stores_not_built[i]);
		add_text(store, "status", "not built");
		print_line(out, store);
	}
}

int main(int argc, char **argv)
{
	FILE *out = stdout;
	int result = 0;

	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	if (!planned && !settings.only && !settings.sections)
		settings.only = BASIC;
	settings.first_only = !planned && !settings.sections;
	check_names(settings.only, "workload", workload_known);
	check_names(settings.sections, "section", section_known);
	check_names(settings.stores, "store", store_known);
	if (!campaign_planned(&settings)) {
		fprintf(stderr, "bench: these sections have none of these workloads: see --list\n");
		return 2;
	}
	if (output)
		out = fopen(output, "we");
	snprintf(directory, sizeof(directory), "%.2000s/solifuge-bench-XXXXXX", settings.parent);
	if (!out || entry_init(PLAN_VALUE_BYTES_MAX) || !mkdtemp(directory)) {
		fprintf(stderr, "bench: %s: %s\n", out ? directory : output, strerror(errno));
		directory[0] = 0;
		return 1;
	}
	owner = getpid();
	atexit(remove_all);
	print_run(out);
	print_stores(out);
	result = campaign_run(&settings, directory, out);
	if (out != stdout && fclose(out))
		result = 1;
	return result;
}
