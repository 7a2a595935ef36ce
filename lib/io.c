/* SPDX-License-Identifier: MIT */
/*
 * The I/O seam, above its back ends: chooses one, counts and times what goes through it, and offers the single requests.
 * Nothing here calls the kernel.
 */
#include "io.h"

#include <stdlib.h>

#include "error.h"

/* What the environment asks for: 0, or -EINVAL; whoever has misspelt it would take one back end for the other. */
static int ask_environment(int *kind)
{
	const char *wish = secure_getenv("SOLIFUGE_IO");

	*kind = SLF_IO_DEFAULT;
	if (!wish || !*wish || strcmp(wish, "uring") == 0)
		return 0;
	if (strcmp(wish, "posix") != 0)
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE,
				 "the environment variable SOLIFUGE_IO is '%.32s': it may be uring or posix", wish);
	*kind = SLF_IO_POSIX;
	return 0;
}

int io_new(int kind, struct stats *stats, struct io **io)
{
	int result = 0;

	assert(stats != NULL);
	if (kind != SLF_IO_DEFAULT && kind != SLF_IO_URING && kind != SLF_IO_POSIX)
		return -EINVAL;
	if (kind == SLF_IO_DEFAULT)
		result = ask_environment(&kind);
	if (result)
		return result;
	if (kind == SLF_IO_POSIX)
		return io_posix_new(stats, io);
	result = io_uring_new(stats, io);
	if (result < 0 && kind == SLF_IO_DEFAULT)
		return io_posix_new(stats, io);
	return result ? error_set(result, NULL, -1, OFFSET_NONE, "io_uring cannot be used here: %s", error_text(result)) : 0;
}

void io_free(struct io *io)
{
	if (io)
		io->ops->free(io);
}

int io_open(struct io *io, const char *path, unsigned flags, struct io_file **file)
{
	return io->ops->open(io, path, flags, file);
}

int io_close(struct io_file *file)
{
	return file ? io_of(file)->ops->close(file) : 0;
}

int io_info(struct io_file *file, struct io_info *info)
{
	return io_of(file)->ops->info(file, info);
}

/* What one batch adds to the statistics. */
struct tally {
	uint64_t reads, read_bytes, writes, write_bytes, syncs, allocates, punches, errors;
	bool waited_write; /* a write that is not a flush too */
};

static void tally_request(struct tally *tally, const struct io_request *request)
{
	bool durable = request->flags & IO_DSYNC;

	tally->errors += request->result < 0;
	switch (request->op) { /* GCOVR_EXCL_BR_LINE each value has its case */
	case IO_READ:
		tally->reads++;
		tally->read_bytes += request->done;
		break;
	case IO_WRITE:
		tally->writes++;
		tally->write_bytes += request->done;
		tally->syncs += durable;
		tally->waited_write |= !durable;
		break;
	case IO_SYNC:
		tally->syncs++;
		break;
	case IO_ALLOCATE:
		tally->allocates++;
		break;
	case IO_PUNCH:
		tally->punches++;
		break;
	case IO_WRITE_OUT:
		break;
	}
}

static void tally_add(const struct tally *tally, struct slf_stats *values, uint64_t elapsed_ns)
{
	if (tally->reads) {
		stats_add(&values->io_reads, tally->reads);
		stats_add(&values->io_read_bytes, tally->read_bytes);
		stats_time(&values->io_read_ns, elapsed_ns);
	}
	if (tally->writes) {
		stats_add(&values->io_writes, tally->writes);
		stats_add(&values->io_write_bytes, tally->write_bytes);
	}
	if (tally->waited_write)
		stats_time(&values->io_write_ns, elapsed_ns);
	if (tally->syncs) {
		stats_add(&values->io_syncs, tally->syncs);
		stats_time(&values->io_sync_ns, elapsed_ns);
	}
	if (tally->allocates)
		stats_add(&values->io_allocates, tally->allocates);
	if (tally->punches)
		stats_add(&values->io_punches, tally->punches);
	if (tally->errors)
		stats_add(&values->io_errors, tally->errors);
}

int io_failure(const struct io_request *requests, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (requests[i].result < 0)
			return requests[i].result;
	return 0;
}

int io_run(struct io *io, struct io_request *requests, size_t count)
{
	uint64_t start_ns = clock_now_ns();
	struct tally tally = { 0 };
	int result = 0;

	if (count == 0)
		return 0;
	result = io->ops->run(io, requests, count);
	for (size_t i = 0; i < count; i++)
		tally_request(&tally, &requests[i]);
	tally_add(&tally, &io->stats->values, clock_now_ns() - start_ns);
	return result;
}

static int run_one(struct io_file *file, struct io_request *request)
{
	request->file = file;
	return io_run(io_of(file), request, 1);
}

int io_read(struct io_file *file, unsigned flags, uint64_t offset, void *data, uint64_t length)
{
	struct io_request request = { .op = IO_READ, .flags = flags, .offset = offset, .length = length, .data = data };
	int result = run_one(file, &request);

	if (result == 0 && request.done < length)
		result = -ENODATA;
	return result;
}

int io_write(struct io_file *file, unsigned flags, uint64_t offset, const void *data, uint64_t length)
{
	struct io_request request = { .op = IO_WRITE, .flags = flags, .offset = offset, .length = length };

	/* One field serves both directions; no back end changes the bytes of a write. */
	memcpy(&request.data, &data, sizeof(data));
	return run_one(file, &request);
}

int io_sync(struct io_file *file)
{
	struct io_request request = { .op = IO_SYNC };

	return run_one(file, &request);
}

int io_allocate(struct io_file *file, uint64_t offset, uint64_t length)
{
	struct io_request request = { .op = IO_ALLOCATE, .offset = offset, .length = length };

	return run_one(file, &request);
}

int io_truncate(struct io_file *file, uint64_t size)
{
	return io_of(file)->ops->truncate(file, size);
}

int io_lock(struct io_file *file, enum io_lock kind, uint64_t offset, uint64_t length)
{
	return io_of(file)->ops->lock(file, kind, offset, length);
}

int io_map(struct io_file *file, uint64_t offset, uint64_t length, const void **address)
{
	return io_of(file)->ops->map(file, offset, length, address);
}

void io_unmap(struct io *io, const void *address, uint64_t length)
{
	io->ops->unmap(io, address, length);
}

void io_map_at_random(struct io *io, const void *address, uint64_t length)
{
	io->ops->map_at_random(io, address, length);
}

int io_link(struct io_file *file, const char *path)
{
	return io_of(file)->ops->link(file, path);
}

int io_remove(struct io *io, const char *path)
{
	return io->ops->remove(io, path);
}

int io_sync_directory(struct io *io, const char *path)
{
	return io->ops->sync_directory(io, path);
}

void io_directory_of(const char *path, char *directory)
{
	const char *slash = strrchr(path, '/');
	size_t length = 1;

	if (!slash) {
		strcpy(directory, ".");
		return;
	}
	if (slash > path)
		length = (size_t)(slash - path);
	memmove(directory, path, length);
	directory[length] = '\0';
}
