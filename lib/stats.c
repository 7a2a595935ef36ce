/* SPDX-License-Identifier: MIT */
/*
 * Counters and histograms: adding, copying, and writing them as text and JSON. One table names every field of struct
 * slf_stats; text and JSON are two walks over it. A field that is missing in the table fails to compile.
 */
#include "stats.h"

#include <stdarg.h>
#include <stdio.h>

enum field_kind { FIELD_NUMBER, FIELD_HISTOGRAM };

struct field {
	const char *name;
	size_t offset;
	enum field_kind kind;
};

#define NUMBER(name) { #name, offsetof(struct slf_stats, name), FIELD_NUMBER }
#define HISTOGRAM(name) { #name, offsetof(struct slf_stats, name), FIELD_HISTOGRAM }

/* In the order of the struct. */
static const struct field fields[] = {
	NUMBER(io_reads),
	NUMBER(io_read_bytes),
	NUMBER(io_writes),
	NUMBER(io_write_bytes),
	NUMBER(io_syncs),
	NUMBER(io_allocates),
	NUMBER(io_errors),
	HISTOGRAM(io_read_ns),
	HISTOGRAM(io_write_ns),
	HISTOGRAM(io_sync_ns),
	NUMBER(log_slabs),
	NUMBER(log_bytes),
	NUMBER(log_padding_bytes),
	NUMBER(log_extents_recycled),
	NUMBER(log_live_bytes),
	NUMBER(bulk_bytes),
	NUMBER(bulk_values),
	NUMBER(bulk_nodes),
	NUMBER(bulk_value_raw_bytes),
	NUMBER(bulk_value_stored_bytes),
	NUMBER(store_checks),
	NUMBER(store_check_bytes),
	NUMBER(store_corruptions),
	NUMBER(heap_bytes),
	NUMBER(heap_held_bytes),
	NUMBER(heap_limit_bytes),
	NUMBER(txn_reads),
	NUMBER(txn_writes),
	NUMBER(txn_commits),
	NUMBER(txn_aborts),
	NUMBER(ops_get),
	NUMBER(ops_put),
	NUMBER(ops_del),
	NUMBER(ops_cursor),
	NUMBER(commit_groups),
	HISTOGRAM(commit_ns),
	NUMBER(checkpoints),
	NUMBER(checkpoint_bytes),
	NUMBER(checkpoint_stall_ns),
	NUMBER(rollbacks),
	NUMBER(replay_commits),
	NUMBER(replay_actions),
	NUMBER(replay_ns),
	NUMBER(readers),
	NUMBER(oldest_reader_seq),
	NUMBER(seq),
	NUMBER(durable_seq),
	NUMBER(checkpoint_seq),
	NUMBER(io_punches),
	NUMBER(log_extents),
	NUMBER(bulk_extents),
	NUMBER(tree_splits),
	NUMBER(tree_joins),
	NUMBER(tree_folds),
};

#define FIELDS_START offsetof(struct slf_stats, io_reads)
#define HISTOGRAM_COUNT 4
#define BUCKET_COUNT ARRAY_SIZE(((struct slf_histogram *)0)->bucket)

/* All fields are whole words (stats_copy relies on it), and the table has them all: the sizes add up. */
_Static_assert(sizeof(struct slf_histogram) == (3 + BUCKET_COUNT) * sizeof(uint64_t), "histograms are words");
_Static_assert(FIELDS_START + (ARRAY_SIZE(fields) - HISTOGRAM_COUNT) * sizeof(uint64_t) +
		       HISTOGRAM_COUNT * sizeof(struct slf_histogram) == sizeof(struct slf_stats),
	       "a field of struct slf_stats is missing in the table");

void stats_time(struct slf_histogram *histogram, uint64_t elapsed_ns)
{
	unsigned bucket = elapsed_ns ? 63 - (unsigned)__builtin_clzll(elapsed_ns) : 0;
	uint64_t max_ns = stats_get(&histogram->max_ns);

	if (bucket >= BUCKET_COUNT)
		bucket = BUCKET_COUNT - 1;
	stats_add(&histogram->bucket[bucket], 1);
	stats_add(&histogram->sum_ns, elapsed_ns);
	stats_add(&histogram->count, 1);
	/* A failed exchange loads the rival's maximum into max_ns. */
	while (elapsed_ns > max_ns && !__atomic_compare_exchange_n(&histogram->max_ns, &max_ns, elapsed_ns, true,
								    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void stats_copy(const struct stats *stats, struct slf_stats *out)
{
	const char *from = (const char *)&stats->values;
	size_t size = align_down(u64_min(out->size, sizeof(*out)), sizeof(uint64_t));

	if (size < FIELDS_START)
		return;
	for (size_t offset = FIELDS_START; offset < size; offset += sizeof(uint64_t)) {
		uint64_t value = stats_get((const uint64_t *)(const void *)(from + offset));

		memcpy((char *)out + offset, &value, sizeof(value));
	}
	out->size = size;
}

/* Text so far: length counts all of it, buffer holds what fits. */
struct output {
	char *buffer;
	size_t size;
	size_t length;
};

static void __attribute__((format(printf, 2, 3))) output_add(struct output *output, const char *format, ...)
{
	size_t room = output->length < output->size ? output->size - output->length : 0;
	va_list arguments;
	int added = 0;

	va_start(arguments, format);
	added = vsnprintf(room ? output->buffer + output->length : NULL, room, format, arguments);
	va_end(arguments);
	assert(added >= 0); /* numbers and names only: there is nothing that could not be written */
	output->length += (size_t)added;
}

/*
 * The value below which a share of the events lie, taken evenly within its bucket. The buckets are counted anew, since
 * a copy taken under load need not agree with its count.
 */
static uint64_t histogram_quantile_ns(const struct slf_histogram *histogram, double share)
{
	uint64_t total = 0;
	double rank = 0, below = 0;

	for (size_t i = 0; i < BUCKET_COUNT; i++)
		total += histogram->bucket[i];
	rank = share * (double)total;
	for (size_t i = 0; i < BUCKET_COUNT; i++) {
		double inside = (double)histogram->bucket[i];
		double low = i ? (double)((uint64_t)1 << i) : 0;
		double high = (double)((uint64_t)2 << i);

		if (inside > 0 && below + inside >= rank)
			return u64_min((uint64_t)(low + (high - low) * (rank - below) / inside), histogram->max_ns);
		below += inside;
	}
	return histogram->max_ns;
}

static uint64_t histogram_mean_ns(const struct slf_histogram *histogram)
{
	return histogram->count ? histogram->sum_ns / histogram->count : 0;
}

static void histogram_text(struct output *output, const char *name, const struct slf_histogram *histogram)
{
	output_add(output, "%s.count %llu\n", name, (unsigned long long)histogram->count);
	output_add(output, "%s.mean_ns %llu\n", name, (unsigned long long)histogram_mean_ns(histogram));
	output_add(output, "%s.p50_ns %llu\n", name, (unsigned long long)histogram_quantile_ns(histogram, 0.50));
	output_add(output, "%s.p99_ns %llu\n", name, (unsigned long long)histogram_quantile_ns(histogram, 0.99));
	output_add(output, "%s.max_ns %llu\n", name, (unsigned long long)histogram->max_ns);
}

static void histogram_json(struct output *output, const char *name, const struct slf_histogram *histogram)
{
	output_add(output, "\"%s\":{\"count\":%llu,\"sum_ns\":%llu,\"max_ns\":%llu", name,
		   (unsigned long long)histogram->count, (unsigned long long)histogram->sum_ns,
		   (unsigned long long)histogram->max_ns);
	output_add(output, ",\"mean_ns\":%llu,\"p50_ns\":%llu,\"p99_ns\":%llu,\"bucket\":[",
		   (unsigned long long)histogram_mean_ns(histogram),
		   (unsigned long long)histogram_quantile_ns(histogram, 0.50),
		   (unsigned long long)histogram_quantile_ns(histogram, 0.99));
	for (size_t i = 0; i < BUCKET_COUNT; i++)
		output_add(output, i ? ",%llu" : "%llu", (unsigned long long)histogram->bucket[i]);
	output_add(output, "]}");
}

/* The field of the caller's struct, which may be older and end before it: then NULL. */
static const void *field_of(const struct slf_stats *values, const struct field *field)
{
	size_t size = field->kind == FIELD_HISTOGRAM ? sizeof(struct slf_histogram) : sizeof(uint64_t);

	return field->offset + size <= values->size ? (const char *)values + field->offset : NULL;
}

static void format_text(struct output *output, const struct slf_stats *values)
{
	for (const struct field *field = fields; field < fields + ARRAY_SIZE(fields); field++) {
		const void *at = field_of(values, field);

		if (at && field->kind == FIELD_HISTOGRAM)
			histogram_text(output, field->name, at);
		else if (at)
			output_add(output, "%s %llu\n", field->name,
				   (unsigned long long)*(const uint64_t *)at);
	}
}

static void format_json(struct output *output, const struct slf_stats *values)
{
	const char *separator = "{";

	for (const struct field *field = fields; field < fields + ARRAY_SIZE(fields); field++) {
		const void *at = field_of(values, field);

		if (!at)
			continue;
		output_add(output, "%s", separator);
		separator = ",\n";
		if (field->kind == FIELD_HISTOGRAM)
			histogram_json(output, field->name, at);
		else
			output_add(output, "\"%s\":%llu", field->name,
				   (unsigned long long)*(const uint64_t *)at);
	}
	output_add(output, *separator == '{' ? "{}" : "}");
}

int stats_format(const struct slf_stats *values, int format, char *buffer, size_t size)
{
	struct output output = { .buffer = buffer, .size = size };

	if (values->size < sizeof(values->size) || (!buffer && size))
		return -EINVAL;
	if (format != SLF_TEXT && format != SLF_JSON)
		return -EINVAL;
	if (size)
		buffer[0] = 0;
	if (format == SLF_TEXT)
		format_text(&output, values);
	else
		format_json(&output, values);
	return (int)output.length;
}
