/* SPDX-License-Identifier: MIT */
/*
 * Files are transferred past the page cache (O_DIRECT, where the file system has it) by io_uring, into space that has
 * been written before: the device's own speed, which no store can exceed with the same transfers. The durable writes
 * are one pwritev2(RWF_DSYNC) each. A commit that fits into 512 bytes may be one of those; where the device refuses them
 * they are of 4 KiB. Threads that commit at once may share a flush, but none of them can be faster than one flush takes:
 * N commits in each durable write is what N threads cannot exceed. A transaction of many puts has to write all of them.
 *
 * Searches are made in a sorted array with the keys of a section, without a branch in their loop; as many at once as the
 * workload has keys in a call, each fetching its next place while the others are compared.
 */
#include "limit.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "random.h"
#include "workloads.h"

#define LARGE_BYTES (1u << 20)
#define COPY_BYTES ((size_t)64 << 20)
#define DEPTH_MAX 64
#define DURABLE_PARTS 5 /* of the time: the best one is the limit, for others may write too */
#define HOT_PART 100    /* as read_hot() has it */

static void record_rate(json_object *record, uint64_t operations, uint64_t ns, uint64_t bytes)
{
	double seconds = (double)ns / 1e9;

	json_object_object_add(record, "operations", json_object_new_int64((int64_t)operations));
	json_object_object_add(record, "seconds", json_object_new_double(seconds));
	json_object_object_add(record, "per_second", json_object_new_double((double)operations / seconds));
	json_object_object_add(record, "bytes_per_operation", json_object_new_int64((int64_t)bytes));
}

/* ---- A file of written blocks ------------------------------------------------------------------------------------ */

static int write_all(int file, uint64_t bytes)
{
	char *block = aligned_alloc(LIMIT_BLOCK_BYTES, LARGE_BYTES);
	uint64_t at = 0;
	int result = block ? 0 : -ENOMEM;

	for (at = 0; result == 0 && at < LARGE_BYTES; at += 8) {
		uint64_t word = random_mix(at);

		memcpy(block + at, &word, sizeof(word));
	}
	for (at = 0; result == 0 && at < bytes; at += LARGE_BYTES)
		if (pwrite(file, block, LARGE_BYTES, (off_t)at) != LARGE_BYTES)
			result = errno ? -errno : -EIO;
	free(block);
	return result == 0 && fdatasync(file) ? -errno : result;
}

/* Makes a file whose name is gone at once. The file or -errno. */
static int make_file(const char *directory, uint64_t bytes)
{
	char path[4096] = "";
	int file = -1, result = 0;

	snprintf(path, sizeof(path), "%s/limit", directory);
	file = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
	if (file < 0) /* a file system without direct transfers */
		file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file < 0)
		return -errno;
	unlink(path);
	result = write_all(file, bytes);
	if (result) {
		close(file);
		return result;
	}
	return file;
}

/* ---- Durable writes ---------------------------------------------------------------------------------------------- */

struct durable_writer {
	pthread_t thread;
	int file;
	uint64_t first, blocks, end_ns, done;
	unsigned bytes, step;
	int result;
};

static void *write_durably(void *context)
{
	struct durable_writer *writer = context;
	void *block = aligned_alloc(LIMIT_BLOCK_BYTES, writer->step);
	struct iovec piece = { .iov_base = block, .iov_len = writer->bytes };

	if (!block) {
		writer->result = -ENOMEM;
		return NULL;
	}
	memset(block, 0x5a, writer->step);
	while (writer->result == 0 && now_ns() < writer->end_ns) {
		off_t at = (off_t)((writer->first + writer->done % writer->blocks) * writer->step);

		if (pwritev2(writer->file, &piece, 1, at, RWF_DSYNC) == (ssize_t)writer->bytes)
			writer->done++;
		else
			writer->result = errno ? -errno : -EIO;
	}
	free(block);
	return NULL;
}

static bool can_write(int file, unsigned bytes)
{
	void *block = aligned_alloc(LIMIT_BLOCK_BYTES, LIMIT_BLOCK_BYTES);
	bool written = block && pwrite(file, memset(block, 0, LIMIT_BLOCK_BYTES), bytes, 0) == (ssize_t)bytes;

	free(block);
	return written;
}

/* One part of the time. */
static int write_part(const struct limit *limit, const struct limit_setup *setup, int file, unsigned bytes,
		      uint64_t *done, uint64_t *ns)
{
	struct durable_writer writers[DEPTH_MAX] = { 0 };
	unsigned i = 0, step = bytes > LIMIT_BLOCK_BYTES ? bytes : LIMIT_BLOCK_BYTES;
	uint64_t blocks = setup->file_bytes / step / limit->depth, start = now_ns();
	int result = 0;

	for (i = 0; i < limit->depth; i++) {
		writers[i].file = file;
		writers[i].first = blocks * i;
		writers[i].blocks = blocks;
		writers[i].bytes = bytes;
		writers[i].step = step;
		writers[i].end_ns = start + (uint64_t)(setup->seconds * 1e9 / DURABLE_PARTS);
		if (pthread_create(&writers[i].thread, NULL, write_durably, &writers[i]))
			exit(1);
	}
	*done = 0;
	for (i = 0; i < limit->depth; i++) {
		pthread_join(writers[i].thread, NULL);
		*done += writers[i].done;
		if (writers[i].result)
			result = writers[i].result;
	}
	*ns = now_ns() - start;
	return result;
}

static int measure_durable(const struct limit *limit, const struct limit_setup *setup, json_object *record)
{
	uint64_t done = 0, ns = 0, best_done = 0, best_ns = 1;
	unsigned part = 0, bytes = limit->bytes, operations = limit->operations ? limit->operations : 1;
	int file = make_file(setup->directory, setup->file_bytes), result = 0;

	if (file < 0)
		return file;
	if (bytes < LIMIT_BLOCK_BYTES && !can_write(file, bytes))
		bytes = LIMIT_BLOCK_BYTES;
	for (part = 0; part < DURABLE_PARTS && result == 0; part++) {
		result = write_part(limit, setup, file, bytes, &done, &ns);
		if ((double)done / (double)ns > (double)best_done / (double)best_ns) {
			best_done = done;
			best_ns = ns;
		}
	}
	record_rate(record, best_done * operations, best_ns, bytes / operations);
	close(file);
	return result;
}

/* ---- Transfers by io_uring --------------------------------------------------------------------------------------- */

struct transfer {
	struct io_uring ring;
	int file;
	bool write, random;
	unsigned bytes, depth;
	uint64_t places, next, done;
	char *buffers;
};

static void submit_one(struct transfer *transfer, uint64_t slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&transfer->ring);
	uint64_t i = transfer->next++, place = (transfer->random ? random_mix(i) : i) % transfer->places;
	char *buffer = transfer->buffers + slot * transfer->bytes;

	if (transfer->write)
		io_uring_prep_write(sqe, transfer->file, buffer, transfer->bytes, place * transfer->bytes);
	else
		io_uring_prep_read(sqe, transfer->file, buffer, transfer->bytes, place * transfer->bytes);
	io_uring_sqe_set_data64(sqe, slot);
}

static int transfer_until(struct transfer *transfer, uint64_t end_ns)
{
	struct io_uring_cqe *cqe = NULL;
	unsigned pending = 0, slot = 0;
	int result = 0;

	for (slot = 0; slot < transfer->depth; slot++, pending++)
		submit_one(transfer, slot);
	while (pending) {
		int answer = io_uring_submit_and_wait(&transfer->ring, 1);

		while (answer >= 0 && pending && io_uring_peek_cqe(&transfer->ring, &cqe) == 0) {
			if (cqe->res != (int)transfer->bytes)
				result = cqe->res < 0 ? cqe->res : -EIO;
			transfer->done++;
			pending--;
			if (result == 0 && now_ns() < end_ns) {
				submit_one(transfer, io_uring_cqe_get_data64(cqe));
				pending++;
			}
			io_uring_cqe_seen(&transfer->ring, cqe);
		}
		if (answer < 0 && answer != -EINTR)
			return answer;
	}
	return result;
}

static int measure_transfer(const struct limit *limit, const struct limit_setup *setup, json_object *record)
{
	struct transfer transfer = {
		.write = strstr(limit->name, "write"),
		.random = strstr(limit->name, "random"),
		.depth = limit->depth,
		.next = setup->seed << 32,
	};
	uint64_t start = 0;
	int result = 0;

	transfer.bytes = limit->bytes;
	transfer.places = setup->file_bytes / transfer.bytes;
	transfer.file = make_file(setup->directory, setup->file_bytes);
	if (transfer.file < 0)
		return transfer.file;
	transfer.buffers = aligned_alloc(LIMIT_BLOCK_BYTES, (size_t)transfer.bytes * transfer.depth);
	result = transfer.buffers ? io_uring_queue_init(DEPTH_MAX, &transfer.ring, 0) : -ENOMEM;
	if (result == 0) {
		memset(transfer.buffers, 0x5a, (size_t)transfer.bytes * transfer.depth);
		start = now_ns();
		result = transfer_until(&transfer, start + (uint64_t)(setup->seconds * 1e9));
		if (result == 0 && transfer.write && fdatasync(transfer.file))
			result = -errno;
		record_rate(record, transfer.done, now_ns() - start, transfer.bytes);
		io_uring_queue_exit(&transfer.ring);
	}
	free(transfer.buffers);
	close(transfer.file);
	return result;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static int measure_memcpy(const struct limit *limit, const struct limit_setup *setup, json_object *record)
{
	char *from = malloc(COPY_BYTES), *to = malloc(COPY_BYTES);
	uint64_t start = 0, done = 0, end = 0;
	int result = from && to ? 0 : -ENOMEM;

	(void)limit;
	if (result == 0) {
		memset(from, 1, COPY_BYTES);
		memset(to, 2, COPY_BYTES);
		start = now_ns();
		end = start + (uint64_t)(setup->seconds * 1e9);
		do {
			memcpy(to, from, COPY_BYTES);
			from[done % COPY_BYTES]++; /* each copy has to be made */
			done++;
		} while (now_ns() < end);
		record_rate(record, done, now_ns() - start, COPY_BYTES);
	}
	free(from);
	free(to);
	return result;
}

/* ---- Searches ---------------------------------------------------------------------------------------------------- */

/* Both halves as numbers, which have the order of the bytes. */
struct search_key {
	uint64_t high, low;
};

static bool is_above(const struct search_key *a, const struct search_key *b)
{
	return a->high > b->high || (a->high == b->high && a->low > b->low);
}

static int by_key(const void *a, const void *b)
{
	return is_above(a, b) - is_above(b, a);
}

static struct search_key key_of(struct bytes bytes)
{
	struct search_key key = { 0 };

	memcpy(&key, bytes.data, sizeof(key));
	return (struct search_key){ .high = be64toh(key.high), .low = be64toh(key.low) };
}

static struct search_key choose_key(const struct limit *limit, const struct limit_setup *setup, uint64_t i)
{
	uint64_t span = limit->searches == LIMIT_HOT_KEY ? setup->entries / HOT_PART + 1 : setup->entries;
	uint64_t number = random_mix(setup->seed + i) % (span < setup->entries ? span : setup->entries);
	unsigned char key[LIMIT_KEY_BYTES];

	return key_of(limit->searches == LIMIT_MISSING_KEY ? entry_missing(&setup->shape, number, key) :
		      entry_key(&setup->shape, number, key));
}

/* The last places that are not above their keys, of as many keys as the limit searches at once. */
static void search_all(const struct search_key *sorted, uint64_t entries, const struct search_key *wanted,
		       unsigned count, const struct search_key **found)
{
	uint64_t left = 0, half = 0;
	unsigned i = 0;

	for (i = 0; i < count; i++)
		found[i] = sorted;
	for (left = entries; left > 1; left -= half) {
		half = left / 2;
		for (i = 0; i < count; i++) {
			found[i] += is_above(&found[i][half], &wanted[i]) ? 0 : half;
			__builtin_prefetch(&found[i][(left - half) / 2]);
		}
	}
}

/* Every answer is checked. */
static uint64_t search(const struct limit *limit, const struct limit_setup *setup, const struct search_key *sorted,
		       uint64_t *ns)
{
	struct search_key wanted[DEPTH_MAX];
	const struct search_key *found[DEPTH_MAX] = { NULL };
	uint64_t done = 0, start = now_ns(), end = start + (uint64_t)(setup->seconds * 1e9);
	bool there = limit->searches != LIMIT_MISSING_KEY;
	unsigned i = 0;

	do {
		for (i = 0; i < limit->depth; i++)
			wanted[i] = choose_key(limit, setup, done + i);
		search_all(sorted, setup->entries, wanted, limit->depth, found);
		for (i = 0; i < limit->depth; i++)
			if ((by_key(found[i], &wanted[i]) == 0) != there)
				exit(1);
		done += limit->depth;
	} while (done % DEPTH_MAX || now_ns() < end);
	*ns = now_ns() - start;
	return done;
}

static int measure_search(const struct limit *limit, const struct limit_setup *setup, json_object *record)
{
	struct search_key *sorted = malloc(setup->entries * sizeof(*sorted));
	unsigned char key[LIMIT_KEY_BYTES];
	uint64_t i = 0, done = 0, ns = 0;

	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < setup->entries; i++)
		sorted[i] = key_of(entry_key(&setup->shape, i, key));
	qsort(sorted, setup->entries, sizeof(*sorted), by_key);
	done = search(limit, setup, sorted, &ns);
	record_rate(record, done, ns, LIMIT_KEY_BYTES);
	json_object_object_add(record, "entries", json_object_new_int64((int64_t)setup->entries));
	free(sorted);
	return 0;
}

#define DURABLE(called, text, threads, size, shared) \
	{ .name = called, .description = text, .depth = threads, .bytes = size, .operations = shared, \
	  .measure = measure_durable }
#define TRANSFER(called, text, at_once, size) \
	{ .name = called, .description = text, .depth = at_once, .bytes = size, .measure = measure_transfer }
#define SEARCH(called, text, at_once, keys) \
	{ .name = called, .description = text, .depth = at_once, .searches = keys, .measure = measure_search }

const struct limit limits[] = {
	DURABLE("write-durable-1", "4 KiB pwritev2(RWF_DSYNC), 1 thread", 1, LIMIT_BLOCK_BYTES, 1),
	DURABLE("write-durable-4", "4 KiB pwritev2(RWF_DSYNC), 4 threads", 4, LIMIT_BLOCK_BYTES, 1),
	DURABLE("write-durable-16", "4 KiB pwritev2(RWF_DSYNC), 16 threads", 16, LIMIT_BLOCK_BYTES, 1),
	DURABLE("write-durable-64", "4 KiB pwritev2(RWF_DSYNC), 64 threads", 64, LIMIT_BLOCK_BYTES, 1),
	DURABLE("write-durable-512", "512-byte pwritev2(RWF_DSYNC), 1 thread", 1, LIMIT_SECTOR_BYTES, 1),
	DURABLE("write-shared-4", "4 commits in each 4 KiB pwritev2(RWF_DSYNC)", 1, LIMIT_BLOCK_BYTES, 4),
	DURABLE("write-shared-16", "16 commits in each 4 KiB pwritev2(RWF_DSYNC)", 1, LIMIT_BLOCK_BYTES, 16),
	DURABLE("write-shared-64", "64 commits in each 4 KiB pwritev2(RWF_DSYNC)", 1, LIMIT_BLOCK_BYTES, 64),
	DURABLE("write-txn-10", "10 puts in each 4 KiB pwritev2(RWF_DSYNC)", 1, LIMIT_BLOCK_BYTES, 10),
	DURABLE("write-txn-100", "100 puts in each 12 KiB pwritev2(RWF_DSYNC)", 1, 3 * LIMIT_BLOCK_BYTES, 100),
	DURABLE("write-txn-1000", "1,000 puts in each 116 KiB pwritev2(RWF_DSYNC)", 1, 29 * LIMIT_BLOCK_BYTES, 1000),
	TRANSFER("write-sequential", "1 MiB io_uring writes in order, 4 at once, then fdatasync", 4, LARGE_BYTES),
	TRANSFER("read-sequential", "1 MiB io_uring reads in order, 4 at once", 4, LARGE_BYTES),
	TRANSFER("read-random-1", "4 KiB io_uring reads at random, 1 at once", 1, LIMIT_BLOCK_BYTES),
	TRANSFER("read-random-32", "4 KiB io_uring reads at random, 32 at once", 32, LIMIT_BLOCK_BYTES),
	{ .name = "memcpy", .description = "copying 64 MiB in memory", .depth = 1, .measure = measure_memcpy },
	SEARCH("binary-search", "searches in a sorted array of 16-byte keys", 1, LIMIT_ANY_KEY),
	SEARCH("binary-search-64", "the same, 64 at once", 64, LIMIT_ANY_KEY),
	SEARCH("binary-search-hot", "searches for 1 % of the keys", 1, LIMIT_HOT_KEY),
	SEARCH("binary-search-missing", "searches for keys that are not there", 1, LIMIT_MISSING_KEY),
};
const unsigned limit_count = sizeof(limits) / sizeof(limits[0]);

const struct limit *limit_named(const char *name)
{
	unsigned i = 0;

	for (i = 0; name && i < limit_count; i++)
		if (strcmp(limits[i].name, name) == 0)
			return &limits[i];
	return NULL;
}
