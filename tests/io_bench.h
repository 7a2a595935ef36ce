/* SPDX-License-Identifier: MIT */
/* What test_io.c and test_io_file.c share: a file in a directory of its own, on each back end in turn. */
#ifndef IO_BENCH_H
#define IO_BENCH_H

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "io.h"
#include "io_file.h"
#include "sim_disk.h"

struct bench {
	struct stats stats;
	struct io *io;
	struct sim_disk *disk; /* NULL for the real ones */
	char directory[128];
	char path[160];
};

typedef void contract_fn(struct bench *bench);

static inline void bench_init(struct bench *bench)
{
	const char *where = getenv("TMPDIR");

	memset(bench, 0, sizeof(*bench));
	snprintf(bench->directory, sizeof(bench->directory), "%s/test_io.XXXXXX", where ? where : "/tmp");
	cr_assert_not_null(mkdtemp(bench->directory));
	snprintf(bench->path, sizeof(bench->path), "%s/file", bench->directory);
}

static inline void bench_release(struct bench *bench)
{
	io_free(bench->io);
	sim_disk_free(bench->disk);
	unlink(bench->path);
	cr_expect_eq(rmdir(bench->directory), 0, "something was left in %s", bench->directory);
}

/* Runs a contract on every back end, in turn. */
static inline void for_each(contract_fn *contract, bool simulated_too)
{
	struct bench bench;

	bench_init(&bench);
	cr_assert_eq(io_posix_new(&bench.stats, &bench.io), 0);
	contract(&bench);
	bench_release(&bench);

	bench_init(&bench);
	if (io_uring_new(&bench.stats, &bench.io) == 0)
		contract(&bench);
	else
		cr_log_warn("no io_uring here");
	bench_release(&bench);

	if (!simulated_too)
		return;
	bench_init(&bench);
	bench.disk = sim_disk_new();
	cr_assert_eq(sim_disk_io(bench.disk, &bench.stats, &bench.io), 0);
	contract(&bench);
	bench_release(&bench);
}

static inline struct io_file *make(struct bench *bench)
{
	struct io_file *file = NULL;

	cr_assert_eq(io_open(bench->io, bench->path, IO_OPEN_WRITE | IO_OPEN_CREATE, &file), 0, "%s",
		     io_name(bench->io));
	return file;
}

static inline void done(struct bench *bench, struct io_file *file)
{
	cr_assert_eq(io_close(file), 0);
	cr_assert_eq(io_remove(bench->io, bench->path), 0);
}

/* Bytes that tell where they belong. */
static inline void fill(uint8_t *data, uint64_t length, uint64_t offset)
{
	for (uint64_t i = 0; i < length; i++)
		data[i] = (uint8_t)((offset + i) * 131 + ((offset + i) >> 9));
}

static inline bool filled(const uint8_t *data, uint64_t length, uint64_t offset)
{
	for (uint64_t i = 0; i < length; i++)
		if (data[i] != (uint8_t)((offset + i) * 131 + ((offset + i) >> 9)))
			return false;
	return true;
}

static inline bool zeroed(const uint8_t *data, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		if (data[i])
			return false;
	return true;
}

static inline uint64_t size_of(struct io_file *file)
{
	struct io_info info;

	cr_assert_eq(io_info(file, &info), 0);
	return info.size;
}

#endif
