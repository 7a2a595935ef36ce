/* SPDX-License-Identifier: MIT */
/*
 * packages: the job that tools/quickstart runs. It loads a Debian package index, the output of `apt-cache dumpavail`,
 * into a new database, 1,000 records per transaction; a second tree indexes the packages by section in the same
 * transactions. Then it looks around, opens the database again and proves that the counts hold.
 *
 * Key of a package: its name, or "name version" where the name is taken. Key in the index: section, 0, package's key.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <solifuge.h>

#include "progress.h"

#define BATCH_RECORDS 1000
#define INDEX_NAME "by-section"
#define SHOWN 5

struct job {
	const char *path;
	struct slf_db *db;
	struct slf_txn *txn;
	uint32_t index;
	uint64_t packages; /* keys written */
	uint64_t bytes;    /* of records */
	uint64_t batch;    /* records in the running transaction */
	struct progress progress;
	struct progress recovery;
	uint64_t input_bytes;
};

/* One record of the index: the text, and the fields in it that we use. */
struct record {
	char *text;
	size_t room;
	size_t size;
	struct slf_slice package;
	struct slf_slice version;
	struct slf_slice section;
};

static int fail(int code, const char *what)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	slf_errinfo(&info);
	fprintf(stderr, "packages: %s: %s\n", what, info.code == code && info.text[0] ? info.text : slf_strerror(code));
	return code;
}

static struct slf_slice text_slice(const char *text)
{
	return (struct slf_slice){ text, strlen(text) };
}

static void print_slice(struct slf_slice bytes)
{
	fwrite(bytes.data, 1, bytes.size, stdout);
}

/* The value of the field name ("Section: ") in a record, else what was there before. */
static void find_field(const struct record *record, const char *name, struct slf_slice *field)
{
	size_t length = strlen(name);
	const char *line = record->text;
	const char *end = record->text + record->size;

	while (line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *stop = newline ? newline : end;

		if ((size_t)(stop - line) > length && !memcmp(line, name, length)) {
			*field = (struct slf_slice){ line + length, (size_t)(stop - line) - length };
			return;
		}
		line = stop + 1;
	}
}

static int record_append(struct record *record, const char *line, size_t size)
{
	if (record->size + size > record->room) {
		size_t room = 2 * (record->size + size);
		char *grown = realloc(record->text, room);

		if (!grown)
			return -ENOMEM;
		record->text = grown;
		record->room = room;
	}
	memcpy(record->text + record->size, line, size);
	record->size += size;
	return 0;
}

/* Reads lines up to an empty one. 1: a record, 0: the end, negative: a failure. */
static int record_read(FILE *in, struct record *record)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t got = 0;
	int result = 0;

	record->size = 0;
	while (!result && (got = getline(&line, &room, in)) > 0) {
		if (line[0] != '\n')
			result = record_append(record, line, (size_t)got);
		else if (record->size)
			break;
	}
	free(line);
	if (result)
		return result;
	if (ferror(in))
		return -EIO;
	record->package = record->version = (struct slf_slice){ 0 };
	record->section = text_slice("none");
	find_field(record, "Package: ", &record->package);
	find_field(record, "Version: ", &record->version);
	find_field(record, "Section: ", &record->section);
	return record->size ? 1 : 0;
}

/* Joins a, a separator byte and b in a buffer that the caller frees. */
static int join(struct slf_slice a, char separator, struct slf_slice b, struct slf_slice *joined)
{
	char *data = malloc(a.size + 1 + b.size);

	if (!data)
		return -ENOMEM;
	memcpy(data, a.data, a.size);
	data[a.size] = separator;
	if (b.size)
		memcpy(data + a.size + 1, b.data, b.size);
	*joined = (struct slf_slice){ data, a.size + 1 + b.size };
	return 0;
}

/* Writes one package and its place in the index. */
static int put_package(struct job *job, const struct record *record)
{
	struct slf_slice text = { record->text, record->size };
	struct slf_slice key = record->package;
	struct slf_slice long_key = { 0 };
	struct slf_slice index_key = { 0 };
	int result = slf_get(job->txn, SLF_MAIN, key, NULL);

	if (result == 0) {
		result = join(record->package, ' ', record->version, &long_key);
		key = long_key;
		if (!result)
			result = slf_get(job->txn, SLF_MAIN, key, NULL);
	}
	if (result != SLF_NOTFOUND)
		goto out; /* a failure, or the same version twice: the first one counts */
	result = join(record->section, 0, key, &index_key);
	if (!result)
		result = slf_put(job->txn, SLF_MAIN, key, text);
	if (!result)
		result = slf_put(job->txn, job->index, index_key, (struct slf_slice){ 0 });
	if (!result) {
		job->packages++;
		job->bytes += record->size;
		job->batch++;
	}
out:
	free((void *)long_key.data);
	free((void *)index_key.data);
	return result;
}

static int begin(struct job *job)
{
	int result = slf_begin(job->db, SLF_WRITE, &job->txn);

	return result ? result : slf_tree_open(job->txn, INDEX_NAME, SLF_CREATE, &job->index);
}

static int commit(struct job *job)
{
	struct slf_txn *txn = job->txn;

	job->txn = NULL;
	job->batch = 0;
	return slf_commit(txn, NULL);
}

static int load_records(struct job *job, FILE *in)
{
	struct record record = { 0 };
	uint64_t read_bytes = 0;
	int more = 0;
	int result = begin(job);

	while (!result && (more = record_read(in, &record)) > 0) {
		read_bytes += record.size + 1;
		if (record.package.size)
			result = put_package(job, &record);
		if (!result && job->batch == BATCH_RECORDS) {
			result = commit(job);
			if (!result)
				result = begin(job);
		}
		progress_update(&job->progress, read_bytes, job->input_bytes);
	}
	if (!result)
		result = more;
	if (!result)
		result = commit(job);
	slf_abort(job->txn);
	job->txn = NULL;
	progress_finish(&job->progress, read_bytes, job->input_bytes);
	free(record.text);
	return result;
}

static int open_database(struct job *job, unsigned flags)
{
	struct slf_options options = SLF_OPTIONS_INIT;

	options.flags = flags;
	options.progress = progress_phase;
	options.progress_context = &job->recovery;
	return slf_open(job->path, &options, &job->db);
}

static int close_database(struct job *job)
{
	int result = slf_close(job->db);

	job->db = NULL;
	return result;
}

static int load(struct job *job, FILE *in)
{
	uint64_t start_ns = progress_now_ns();
	double seconds = 0;
	int result = open_database(job, SLF_CREATE | SLF_EXCLUSIVE);

	if (result)
		return fail(result, "cannot create the database");
	if (!fseek(in, 0, SEEK_END)) {
		job->input_bytes = (uint64_t)ftell(in);
		rewind(in);
	}
	progress_init(&job->progress, "loading", PROGRESS_BYTES);
	result = load_records(job, in);
	if (result)
		return fail(result, "loading stopped");
	seconds = (double)(progress_now_ns() - start_ns) / 1e9;
	printf("Loaded %llu packages, %.1f MB, in %.2f s, in transactions of %d packages and their index entries,\n"
	       "each on stable storage before the next began.\n",
	       (unsigned long long)job->packages, (double)job->bytes / 1e6, seconds, BATCH_RECORDS);
	if (!job->packages) {
		fprintf(stderr, "packages: the input has no packages; feed it the output of: apt-cache dumpavail\n");
		return -EINVAL;
	}
	return 0;
}

/* The first lines of a record. */
static void print_record(struct slf_slice value)
{
	const char *line = value.data;
	const char *end = line + value.size;

	for (unsigned i = 0; i < SHOWN && line < end; i++) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t length = (size_t)((newline ? newline : end) - line);

		printf("  %.*s%s\n", length > 90 ? 90 : (int)length, line, length > 90 ? "..." : "");
		line += length + 1;
	}
}

static int show_lookup(struct slf_txn *txn, const char *name)
{
	struct slf_slice value = { 0 };
	uint64_t start_ns = progress_now_ns();
	int result = slf_get(txn, SLF_MAIN, text_slice(name), &value);
	double microseconds = (double)(progress_now_ns() - start_ns) / 1e3;

	printf("\nLookup of '%s' (%.1f us):\n", name, microseconds);
	if (!result)
		print_record(value);
	else if (result == SLF_NOTFOUND)
		printf("  no such package in this index\n");
	return result < 0 ? fail(result, "lookup") : 0;
}

/* Counts a range and shows its first keys, each from byte skip on. */
static int show_range(struct slf_txn *txn, uint32_t tree, const struct slf_range *range, size_t skip)
{
	struct slf_cursor *cursor = NULL;
	struct slf_slice key = { 0 };
	uint64_t count = 0;
	int result = slf_cursor_open(txn, tree, range, &cursor);

	while (!result) {
		result = slf_cursor_next(cursor, &key, NULL);
		if (result)
			break;
		if (count++ < SHOWN) {
			printf("  ");
			print_slice((struct slf_slice){ (const char *)key.data + skip, key.size - skip });
			putchar('\n');
		}
	}
	slf_cursor_close(cursor);
	if (result < 0)
		return fail(result, "scan");
	printf("  %llu in all\n", (unsigned long long)count);
	return 0;
}

static int show(struct job *job)
{
	/* A section's keys lie between "section\0" and "section\1". */
	static const char low[] = "editors";
	static const char high[] = "editors\1";
	struct slf_range prefix = { .flags = SLF_PREFIX, .low = text_slice("sqlite") };
	struct slf_range section = {
		.flags = SLF_LOWER | SLF_UPPER,
		.low = { low, sizeof(low) },
		.high = { high, sizeof(high) - 1 },
	};
	struct slf_txn *txn = NULL;
	int result = slf_begin(job->db, SLF_READ, &txn);

	if (result)
		return fail(result, "cannot begin a read transaction");
	result = show_lookup(txn, "gcc");
	if (!result) {
		printf("\nPackages whose name begins with 'sqlite':\n");
		result = show_range(txn, SLF_MAIN, &prefix, 0);
	}
	if (!result) {
		printf("\nPackages of the section 'editors', a range of the index:\n");
		result = show_range(txn, job->index, &section, sizeof(low));
	}
	slf_abort(txn);
	return result;
}

/* Counts a tree by reading every record, and compares with what the tree says and with what was loaded. */
static int verify_tree(struct job *job, struct slf_txn *txn, uint32_t tree, const char *name)
{
	struct slf_range range = { .flags = SLF_TRANSIENT };
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	struct slf_cursor *cursor = NULL;
	struct slf_slice value = { 0 };
	uint64_t count = 0;
	uint64_t bytes = 0;
	int result = slf_tree_stat(txn, tree, &stat);

	if (!result)
		result = slf_cursor_open(txn, tree, &range, &cursor);
	while (!result) {
		result = slf_cursor_next(cursor, NULL, &value);
		if (!result) {
			count++;
			bytes += value.size;
		}
	}
	slf_cursor_close(cursor);
	if (result < 0)
		return fail(result, "verification");
	printf("  %-10s loaded %llu, counted %llu, tree says %llu, height %u\n", name,
	       (unsigned long long)job->packages, (unsigned long long)count, (unsigned long long)stat.entries,
	       stat.height);
	if (count == job->packages && stat.entries == count && (tree != SLF_MAIN || bytes == job->bytes))
		return 0;
	fprintf(stderr, "packages: %s: the counts differ\n", name);
	return -EIO;
}

static int verify(struct job *job)
{
	struct slf_txn *txn = NULL;
	int result = close_database(job);

	if (result)
		return fail(result, "cannot close the database");
	result = open_database(job, SLF_READONLY);
	if (!result)
		result = slf_begin(job->db, SLF_READ, &txn);
	if (!result)
		result = slf_tree_open(txn, INDEX_NAME, 0, &job->index);
	if (result) {
		slf_abort(txn);
		return fail(result, "cannot open the database again");
	}
	printf("\nClosed, opened again and read through:\n");
	result = verify_tree(job, txn, SLF_MAIN, "(main)");
	if (!result)
		result = verify_tree(job, txn, job->index, INDEX_NAME);
	slf_abort(txn);
	return result;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text);

	return length >= strlen(end) && !strcmp(text + length - strlen(end), end);
}

/* "54.7 MB": bytes and times get units, by the ends of their names. */
static void value_text(const char *name, uint64_t value, char *text, size_t size)
{
	bool bytes = ends_with(name, "_bytes");
	bool time = ends_with(name, "_ns");
	double number = (double)value;

	if (bytes)
		snprintf(text, size, value < 100000 ? "%.1f KB" : "%.1f MB", value < 100000 ? number / 1e3 : number / 1e6);
	else if (time && value < 1000000)
		snprintf(text, size, "%.1f us", number / 1e3);
	else if (time)
		snprintf(text, size, "%.1f ms", number / 1e6);
	else
		snprintf(text, size, "%llu", (unsigned long long)value);
}

/* The library's statistics but the lines that are 0, in two columns. */
static int print_stats(struct job *job, const char *title)
{
	struct slf_stats stats = { .size = sizeof(stats) };
	char *text = NULL;
	char *line = NULL;
	char *rest = NULL;
	unsigned column = 0;
	int result = slf_stats(job->db, &stats);
	int length = result ? result : slf_stats_format(&stats, SLF_TEXT, NULL, 0);

	if (length < 0)
		return fail(length, "statistics");
	text = malloc((size_t)length + 1);
	if (!text)
		return fail(-ENOMEM, "statistics");
	slf_stats_format(&stats, SLF_TEXT, text, (size_t)length + 1);
	printf("\n%s\n", title);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *space = strrchr(line, ' ');
		uint64_t value = space ? strtoull(space, NULL, 10) : 0;
		char shown[32];

		if (!value)
			continue;
		*space = 0;
		value_text(line, value, shown, sizeof(shown));
		printf("  %-24s %10s%s", line, shown, column++ % 2 ? "\n" : "  ");
	}
	if (column % 2)
		putchar('\n');
	free(text);
	return 0;
}

/* What the file takes, and why that is more than what was put in. */
static int print_size(struct job *job)
{
	struct slf_info info = { .size = sizeof(info) };
	int result = slf_info(job->db, &info);

	if (result)
		return fail(result, "information");
	printf("\n%s takes %.1f MB for %.1f MB of records: what the transactions wrote to be durable, its\n"
	       "final place in key order (values compressed by lz4), and space set aside for the next writes.\n"
	       "I/O by %s, reads by %s.\n",
	       job->path, (double)info.allocated_bytes / 1e6, (double)job->bytes / 1e6, info.io, info.map);
	return 0;
}

static int run(struct job *job, FILE *in)
{
	int result = load(job, in);
	int closed = 0;

	if (!result)
		result = show(job);
	if (!result)
		result = print_stats(job, "Statistics of all that (zeros left out; slf_stats(3) explains the names):");
	if (!result)
		result = verify(job);
	if (!result)
		result = print_stats(job, "Statistics since it was opened again:");
	if (!result)
		result = print_size(job);
	closed = slf_close(job->db);
	if (closed)
		fail(closed, "cannot close the database");
	result = result ? result : closed;
	if (!result)
		printf("\nAll %llu packages are there, in both trees.\n", (unsigned long long)job->packages);
	return result;
}

int main(int argc, char **argv)
{
	struct job job = { 0 };
	FILE *in = stdin;
	int result = 0;

	if (argc < 2 || argc > 3 || argv[1][0] == '-') {
		fprintf(stderr, "Usage: packages NEW-DATABASE [FILE]\n"
				"Reads the output of `apt-cache dumpavail` from FILE or standard input.\n");
		return 2;
	}
	if (argc == 3)
		in = fopen(argv[2], "re");
	if (!in) {
		fprintf(stderr, "packages: cannot read %s: %s\n", argv[2], strerror(errno));
		return 1;
	}
	job.path = argv[1];
	result = run(&job, in);
	if (in != stdin)
		fclose(in);
	return result ? 1 : 0;
}
