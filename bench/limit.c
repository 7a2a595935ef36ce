/* SPDX-License-Identifier: MIT */
/*
 * Files are transferred past the page cache (O_DIRECT, where the file system has it) by io_uring, into space that has
 * been written before: the device's own speed, which no store can exceed with the same transfers. The durable writes
 * are one pwritev2(RWF_DSYNC) each, of 4 KiB, by as many threads as the workload has. A store that shares one flush
 * among several commits can be faster than that with more than one thread; and one that writes less than 4 KiB, with
 * one: the 512-byte writes show how much that is worth. Where the device refuses those they are of 4 KiB too.
 */
#include "limit.h"

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

#define SECTOR_BYTES 512u
#define BLOCK_BYTES 4096u
#define LARGE_BYTES (1u << 20)
#define COPY_BYTES ((size_t)64 << 20)
#define DEPTH_MAX 64
#define SEARCH_KEY_BYTES 16

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
	char *block = aligned_alloc(BLOCK_BYTES, LARGE_BYTES);
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
	unsigned bytes;
	int result;
};

static void *write_durably(void *context)
{
	struct durable_writer *writer = context;
	void *block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
	struct iovec piece = { .iov_base = block, .iov_len = writer->bytes };

	if (!block) {
		writer->result = -ENOMEM;
		return NULL;
	}
	memset(block, 0x5a, BLOCK_BYTES);
	while (writer->result == 0 && now_ns() < writer->end_ns) {
		off_t at = (off_t)((writer->first + writer->done % writer->blocks) * BLOCK_BYTES);

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
	void *block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
	bool written = block && pwrite(file, memset(block, 0, BLOCK_BYTES), bytes, 0) == (ssize_t)bytes;

	free(block);
	return written;
}

static int measure_durable(const struct limit *limit, const struct limit_setup *setup, json_object *record)
{
	struct durable_writer writers[DEPTH_MAX] = { 0 };
	uint64_t blocks = setup->file_bytes / BLOCK_BYTES / limit->depth, start = 0, done = 0;
	unsigned i = 0, bytes = limit->bytes;
	int file = make_file(setup->directory, setup->file_bytes), result = 0;

	if (file < 0)
		return file;
	if (!can_write(file, bytes))
		bytes = BLOCK_BYTES;
	start = now_ns();
	for (i = 0; i < limit->depth; i++) {
		writers[i].file = file;
		writers[i].first = blocks * i;
		writers[i].blocks = blocks;
		writers[i].bytes = bytes;
		writers[i].end_ns = start + (uint64_t)(setup->seconds * 1e9);
		if (pthread_create(&writers[i].thread, NULL, write_durably, &writers[i]))
			exit(1);
	}
	for (i = 0; i < limit->depth; i++) {
		pthread_join(writers[i].thread, NULL);
		done += writers[i].done;
		if (writers[i].result)
			result = writers[i].result;
	}
	record_rate(record, done, now_ns() - start, bytes);
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
	transfer.buffers = aligned_alloc(BLOCK_BYTES, (size_t)transfer.bytes * transfer.depth);
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

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, SEARCH_KEY_BYTES);
}

/* Looks for keys that are there; every answer is checked. */
static uint64_t search(const unsigned char *keys, const struct limit_setup *setup, uint64_t *ns)
{
	struct entry_shape shape = { .form = ENTRY_HASHED, .key_bytes = SEARCH_KEY_BYTES };
	uint64_t done = 0, start = now_ns(), end = start + (uint64_t)(setup->seconds * 1e9);
	unsigned char key[SEARCH_KEY_BYTES];

	do {
		entry_key(&shape, random_mix(setup->seed + done) % setup->entries, key);
		if (!bsearch(key, keys, setup->entries, SEARCH_KEY_BYTES, by_bytes))
			exit(1);
	} while (++done % 64 || now_ns() < end);
	*ns = now_ns() - start;
	return done;
}

static int measure_search(const struct limit *limit, const struct limit_setup *setup, json_object *record)
{
	struct entry_shape shape = { .form = ENTRY_HASHED, .key_bytes = SEARCH_KEY_BYTES };
	unsigned char *keys = malloc(setup->entries * SEARCH_KEY_BYTES);
	uint64_t i = 0, done = 0, ns = 0;

	(void)limit;
	if (!keys)
		return -ENOMEM;
	for (i = 0; i < setup->entries; i++)
		entry_key(&shape, i, keys + i * SEARCH_KEY_BYTES);
	qsort(keys, setup->entries, SEARCH_KEY_BYTES, by_bytes);
	done = search(keys, setup, &ns);
	record_rate(record, done, ns, SEARCH_KEY_BYTES);
	json_object_object_add(record, "entries", json_object_new_int64((int64_t)setup->entries));
	free(keys);
	return 0;
}

const struct limit limits[] = {
	{ "write-durable-1", "4 KiB pwritev2(RWF_DSYNC), 1 thread", 1, BLOCK_BYTES, measure_durable },
	{ "write-durable-4", "4 KiB pwritev2(RWF_DSYNC), 4 threads", 4, BLOCK_BYTES, measure_durable },
	{ "write-durable-16", "4 KiB pwritev2(RWF_DSYNC), 16 threads", 16, BLOCK_BYTES, measure_durable },
	{ "write-durable-64", "4 KiB pwritev2(RWF_DSYNC), 64 threads", 64, BLOCK_BYTES, measure_durable },
	{ "write-durable-512", "512-byte pwritev2(RWF_DSYNC), 1 thread", 1, SECTOR_BYTES, measure_durable },
	{ "write-sequential", "1 MiB io_uring writes in order, 4 at once, then fdatasync", 4, LARGE_BYTES,
	  measure_transfer },
	{ "read-sequential", "1 MiB io_uring reads in order, 4 at once", 4, LARGE_BYTES, measure_transfer },
	{ "read-random-1", "4 KiB io_uring reads at random, 1 at once", 1, BLOCK_BYTES, measure_transfer },
	{ "read-random-32", "4 KiB io_uring reads at random, 32 at once", 32, BLOCK_BYTES, measure_transfer },
	{ "memcpy", "copying 64 MiB in memory", 1, 0, measure_memcpy },
	{ "binary-search", "bsearch() in a sorted array of 16-byte keys", 1, 0, measure_search },
};
const unsigned limit_count = sizeof(limits) / sizeof(limits[0]);
