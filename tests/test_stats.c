/* SPDX-License-Identifier: MIT */
/* Counters, histograms, and their two ways of being written. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "stats.h"

#define TEXT_BYTES_MAX 65536
#define WORDS (sizeof(struct slf_stats) / sizeof(uint64_t))

/* Every word but size gets a number that no other has. */
static struct slf_stats distinct_values(void)
{
	struct slf_stats values = { .size = sizeof(values) };
	uint64_t words[WORDS];

	memcpy(words, &values, sizeof(values));
	for (size_t i = 1; i < WORDS; i++)
		words[i] = 7000000000000 + i;
	memcpy(&values, words, sizeof(values));
	return values;
}

static struct json_object *format_and_parse(const struct slf_stats *values)
{
	static char text[TEXT_BYTES_MAX];
	enum json_tokener_error error = json_tokener_success;
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *object = NULL;
	int length = stats_format(values, SLF_JSON, text, sizeof(text));

	cr_assert(length > 0 && (size_t)length < sizeof(text));
	cr_assert_eq(strlen(text), (size_t)length);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	object = json_tokener_parse_ex(tokener, text, length + 1);
	error = json_tokener_get_error(tokener);
	cr_assert_eq(error, json_tokener_success, "%s", json_tokener_error_desc(error));
	json_tokener_free(tokener);
	return object;
}

/* Counts in seen[] which of the distinct numbers the JSON value holds. */
static void collect(struct json_object *value, unsigned seen[WORDS])
{
	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member) {
			if (strcmp(key, "mean_ns") && strcmp(key, "p50_ns") && strcmp(key, "p99_ns"))
				collect(member, seen);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			collect(json_object_array_get_idx(value, i), seen);
	} else {
		uint64_t number = json_object_get_uint64(value) - 7000000000000;

		cr_assert(json_object_is_type(value, json_type_int));
		cr_assert(number > 0 && number < WORDS, "a number that is in no field");
		seen[number]++;
	}
}

/* A field of the struct that the table forgets, names twice or places wrongly would be missing or double. */
Test(stats, json_holds_every_word_once)
{
	struct slf_stats values = distinct_values();
	struct json_object *object = format_and_parse(&values), *member = NULL;
	unsigned seen[WORDS] = { 0 };

	collect(object, seen);
	for (size_t i = 1; i < WORDS; i++)
		cr_assert_eq(seen[i], 1, "word %zu occurs %u times", i, seen[i]);
	/* Names and values belong together. */
	cr_assert(json_object_object_get_ex(object, "io_reads", &member));
	cr_assert_eq(json_object_get_uint64(member), values.io_reads);
	cr_assert(json_object_object_get_ex(object, "checkpoint_seq", &member));
	cr_assert_eq(json_object_get_uint64(member), values.checkpoint_seq);
	cr_assert(json_object_object_get_ex(object, "commit_ns", &member));
	cr_assert(json_object_object_get_ex(member, "max_ns", &member));
	cr_assert_eq(json_object_get_uint64(member), values.commit_ns.max_ns);
	json_object_put(object);
}

/* The largest numbers would be cut or become negative. */
Test(stats, largest_numbers)
{
	struct slf_stats values = { .size = sizeof(values), .seq = UINT64_MAX };
	struct json_object *object = NULL, *member = NULL;
	char text[TEXT_BYTES_MAX];

	memset(&values.commit_ns, 0xff, sizeof(values.commit_ns));
	object = format_and_parse(&values);
	cr_assert(json_object_object_get_ex(object, "seq", &member));
	cr_assert_eq(json_object_get_uint64(member), UINT64_MAX);
	json_object_put(object);
	cr_assert_gt(stats_format(&values, SLF_TEXT, text, sizeof(text)), 0);
	cr_assert(strstr(text, "\nseq 18446744073709551615\n"));
}

/* Text lines would lose their form "name value", or a histogram one of its five lines. */
Test(stats, text_lines)
{
	struct slf_stats values = { .size = sizeof(values), .io_reads = 17, .tree_folds = 5 };
	char text[TEXT_BYTES_MAX], name[64], *line = text;
	unsigned long long number = 0;
	unsigned lines = 0;
	int used = 0;

	for (unsigned i = 0; i < 100; i++)
		stats_time(&values.io_sync_ns, 1000);
	cr_assert_gt(stats_format(&values, SLF_TEXT, text, sizeof(text)), 0);
	for (; *line; line += used, lines++)
		cr_assert(sscanf(line, "%63[a-z0-9_.] %llu%n", name, &number, &used) == 2 && line[used++] == '\n');
	cr_assert_eq(lines, (WORDS - 1 - 4 * 43) + 4 * 5);
	cr_assert_eq(strncmp(text, "io_reads 17\n", 12), 0);
	cr_assert(strstr(text, "\nio_sync_ns.count 100\nio_sync_ns.mean_ns 1000\nio_sync_ns.p50_ns "));
	cr_assert(strstr(text, "\nio_sync_ns.max_ns 1000\n"));
	cr_assert_str_eq(name, "tree_folds");
	cr_assert_eq(number, 5);
}

/* A short buffer would be overrun, left without its zero, or the length would not be the one needed. */
Test(stats, snprintf_rules)
{
	struct slf_stats values = distinct_values();

	for (int format = SLF_TEXT; format <= SLF_JSON; format++) {
		int length = stats_format(&values, format, NULL, 0);
		char *whole = malloc((size_t)length + 1);

		cr_assert_eq(stats_format(&values, format, whole, (size_t)length + 1), length);
		cr_assert_eq(strlen(whole), (size_t)length);
		for (size_t size = 1; size <= (size_t)length; size += size < 64 ? 1 : 37) {
			char *part = malloc(size); /* exact, so that a sanitizer sees an overrun */

			memset(part, 'x', size);
			cr_assert_eq(stats_format(&values, format, part, size), length);
			cr_assert_eq(part[size - 1], 0);
			cr_assert_eq(strncmp(part, whole, size - 1), 0);
			free(part);
		}
		free(whole);
	}
}

/* Bad requests would be answered with an empty text. */
Test(stats, bad_requests)
{
	struct slf_stats values = { .size = sizeof(values) };
	char text[8] = "before";

	cr_assert_eq(stats_format(&values, 2, text, sizeof(text)), -EINVAL);
	cr_assert_eq(stats_format(&values, -1, text, sizeof(text)), -EINVAL);
	cr_assert_eq(stats_format(&values, SLF_TEXT, NULL, 8), -EINVAL);
	values.size = 0;
	cr_assert_eq(stats_format(&values, SLF_TEXT, text, sizeof(text)), -EINVAL);
	cr_assert_str_eq(text, "before");
}

/* A struct of an older caller would be read or written beyond its end. */
Test(stats, callers_size_is_respected)
{
	static const size_t sizes[] = { 0, 7, 8, 15, 16, offsetof(struct slf_stats, io_read_ns) + 8,
					offsetof(struct slf_stats, log_slabs), sizeof(struct slf_stats) - 1,
					sizeof(struct slf_stats), sizeof(struct slf_stats) + 64 };
	struct stats stats = { .values = distinct_values() };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t size = sizes[i], known = align_down(u64_min(size, sizeof(struct slf_stats)), 8);
		unsigned char *bytes = malloc(sizes[i] + sizeof(struct slf_stats));
		struct slf_stats *out = (void *)bytes;
		char text[TEXT_BYTES_MAX];

		memset(bytes, 0xee, size + sizeof(struct slf_stats));
		memcpy(bytes, &size, sizeof(size));
		stats_copy(&stats, out);
		cr_assert_eq(out->size, known < 8 ? size : known);
		if (known > 8)
			cr_assert_arr_eq(bytes + 8, (const unsigned char *)&stats.values + 8, known - 8);
		for (size_t j = u64_max(known, 8); j < size + sizeof(struct slf_stats); j++)
			cr_assert_eq(bytes[j], 0xee, "size %zu byte %zu", size, j);
		if (known >= 8 && known < sizeof(*out)) {
			struct slf_stats *cut = malloc(known);

			memcpy(cut, out, known);
			cr_assert_geq(stats_format(cut, SLF_TEXT, text, sizeof(text)), 0);
			cr_assert_not(strstr(text, "tree_folds"));
			cr_assert_eq(!!strstr(text, "io_sync_ns.max_ns"),
				     known >= offsetof(struct slf_stats, log_slabs));
			json_object_put(format_and_parse(cut));
			free(cut);
		}
		free(bytes);
	}
}

/* Values on the edge of a bucket would be counted in its neighbour; the largest would be lost. */
Test(stats, buckets)
{
	struct slf_histogram histogram = { 0 };

	stats_time(&histogram, 0);
	stats_time(&histogram, 1);
	cr_assert_eq(histogram.bucket[0], 2);
	for (unsigned i = 1; i < 40; i++) {
		stats_time(&histogram, (uint64_t)1 << i);
		stats_time(&histogram, ((uint64_t)2 << i) - 1);
		cr_assert_eq(histogram.bucket[i], 2, "bucket %u", i);
		cr_assert_eq(histogram.max_ns, ((uint64_t)2 << i) - 1);
	}
	stats_time(&histogram, (uint64_t)1 << 62);
	cr_assert_eq(histogram.bucket[39], 3);
	stats_time(&histogram, 5);
	cr_assert_eq(histogram.max_ns, (uint64_t)1 << 62);
	cr_assert_eq(histogram.count, 82);
}

static uint64_t text_number(const struct slf_stats *values, const char *name)
{
	char text[TEXT_BYTES_MAX], *at = NULL;

	cr_assert_gt(stats_format(values, SLF_TEXT, text, sizeof(text)), 0);
	at = strstr(text, name);
	cr_assert(at);
	return strtoull(at + strlen(name), NULL, 10);
}

/* Percentiles would lie outside the bucket of their rank, or above the maximum. */
Test(stats, percentiles)
{
	struct slf_stats values = { .size = sizeof(values) };

	cr_assert_eq(text_number(&values, "commit_ns.p99_ns "), 0, "of nothing");
	cr_assert_eq(text_number(&values, "commit_ns.mean_ns "), 0);
	for (unsigned i = 0; i < 980; i++)
		stats_time(&values.commit_ns, 1100);
	for (unsigned i = 0; i < 20; i++)
		stats_time(&values.commit_ns, 70000);
	cr_assert_eq(text_number(&values, "commit_ns.count "), 1000);
	cr_assert_eq(text_number(&values, "commit_ns.mean_ns "), (980 * 1100 + 20 * 70000) / 1000);
	cr_assert(text_number(&values, "commit_ns.p50_ns ") >= 1024);
	cr_assert(text_number(&values, "commit_ns.p50_ns ") < 2048);
	cr_assert(text_number(&values, "commit_ns.p99_ns ") >= 65536);
	cr_assert(text_number(&values, "commit_ns.p99_ns ") <= 70000);
	cr_assert_eq(text_number(&values, "commit_ns.max_ns "), 70000);
}

#define ADDERS 4
#define ADDITIONS 20000

static void *adder(void *context)
{
	struct stats *stats = context;

	for (uint64_t i = 1; i <= ADDITIONS; i++) {
		stats_add(&stats->values.ops_get, 3);
		stats_time(&stats->values.commit_ns, i);
	}
	return NULL;
}

/* Concurrent additions would be lost, or a copy taken meanwhile would be a data race. */
Test(stats, many_threads)
{
	struct stats stats = { 0 };
	struct slf_stats copy = { .size = sizeof(copy) };
	pthread_t threads[ADDERS];
	uint64_t before = 0;

	for (size_t i = 0; i < ADDERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, adder, &stats), 0);
	for (unsigned i = 0; i < 100; i++) {
		stats_copy(&stats, &copy);
		cr_assert_geq(copy.ops_get, before);
		before = copy.ops_get;
	}
	for (size_t i = 0; i < ADDERS; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	stats_copy(&stats, &copy);
	cr_assert_eq(copy.ops_get, 3 * ADDERS * ADDITIONS);
	cr_assert_eq(copy.commit_ns.count, ADDERS * ADDITIONS);
	cr_assert_eq(copy.commit_ns.max_ns, ADDITIONS);
	cr_assert_eq(copy.commit_ns.sum_ns, (uint64_t)ADDERS * ADDITIONS * (ADDITIONS + 1) / 2);
}
