/* SPDX-License-Identifier: MIT */
/* The simulated disk itself: a model that forgives too much would prove nothing about what runs on it. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim_disk.h"

#define PATH "/d/f"

struct bench {
	struct stats stats;
	struct sim_disk *disk;
	struct io *io;
	struct io_file *file; /* PATH, durable and empty */
};

static void bench_init(struct bench *bench)
{
	memset(bench, 0, sizeof(*bench));
	bench->disk = sim_disk_new();
	sim_disk_io(bench->disk, &bench->stats, &bench->io);
	cr_assert_eq(io_open(bench->io, PATH, IO_OPEN_WRITE | IO_OPEN_CREATE, &bench->file), 0);
	cr_assert_eq(io_sync_directory(bench->io, PATH), 0);
}

static void bench_release(struct bench *bench)
{
	io_close(bench->file);
	io_free(bench->io);
	sim_disk_free(bench->disk);
}

/* Writes count sectors from number on, each filled with value. */
static void put(struct bench *bench, uint64_t number, unsigned count, uint8_t value, unsigned flags)
{
	uint8_t data[16 * SIM_SECTOR_BYTES];

	memset(data, value, sizeof(data));
	cr_assert_eq(io_write(bench->file, flags, number * SIM_SECTOR_BYTES, data, count * SIM_SECTOR_BYTES), 0);
}

/* What a disk holds in its file after a restart; returns the size, -1 when there is no file. Frees the disk. */
static int64_t look(struct sim_disk *disk, unsigned flags, uint8_t *data, uint64_t length)
{
	struct stats stats = { 0 };
	struct io *io = NULL;
	struct io_file *file = NULL;
	struct io_info info = { 0 };
	int64_t size = -1;

	sim_disk_io(disk, &stats, &io);
	if (io_open(io, PATH, 0, &file) == 0) {
		struct io_request request = { .op = IO_READ, .flags = flags, .file = file, .length = length,
					      .data = data };

		memset(data, 0xee, length);
		cr_assert_eq(io_run(io, &request, 1), 0);
		cr_assert_eq(io_info(file, &info), 0);
		size = (int64_t)info.size;
		io_close(file);
	}
	io_free(io);
	sim_disk_free(disk);
	return size;
}

static enum sim_fate by_mask(void *context, const struct sim_unit *unit)
{
	return *(uint64_t *)context >> unit->index & 1 ? SIM_KEPT : SIM_LOST;
}

static enum sim_fate keep(void *context, const struct sim_unit *unit)
{
	(void)context;
	(void)unit;
	return SIM_KEPT;
}

static enum sim_fate tear(void *context, const struct sim_unit *unit)
{
	(void)context;
	return unit->kind == SIM_UNIT_WRITE ? SIM_TORN : SIM_KEPT;
}

/* A missing subset is a crash that is never tried: here all of them must appear, and each as it was chosen. */
Test(sim_disk, every_subset_of_sectors)
{
	struct bench bench;
	uint8_t data[6 * SIM_SECTOR_BYTES];

	bench_init(&bench);
	put(&bench, 0, 6, 1, 0);
	cr_assert_eq(io_sync(bench.file), 0);
	cr_assert_eq(sim_disk_pending(bench.disk), 0);
	put(&bench, 0, 4, 2, 0);
	put(&bench, 3, 2, 3, 0);
	cr_assert_eq(sim_disk_pending(bench.disk), 6);
	for (uint64_t mask = 0; mask < 64; mask++) {
		uint8_t expected[6] = { 1, 1, 1, 1, 1, 1 };

		for (unsigned i = 0; i < 6; i++)
			if (mask >> i & 1)
				expected[i < 4 ? i : i - 1] = i < 4 ? 2 : 3;
		cr_assert_eq(look(sim_disk_crash(bench.disk, by_mask, &mask), 0, data, sizeof(data)), 3072);
		for (unsigned i = 0; i < 6; i++) {
			cr_assert_eq(data[i * 512], expected[i], "mask %u sector %u", (unsigned)mask, i);
			cr_assert_eq(memcmp(data + i * 512, data + i * 512 + 1, 511), 0);
		}
	}
	/* The disk that was not cut knows of nothing. */
	cr_assert_eq(io_read(bench.file, 0, 0, data, 3072), 0);
	cr_assert(data[0] == 2 && data[3 * 512] == 3);
	bench_release(&bench);
}

static enum sim_fate tear_first(void *context, const struct sim_unit *unit)
{
	(void)context;
	return unit->index ? SIM_LOST : SIM_TORN;
}

/* A device that rewrites 4096 bytes at a time loses what had been durable beside the sector in flight. */
Test(sim_disk, torn_sector_takes_its_neighbours)
{
	for (uint32_t physical = 512; physical <= 4096; physical *= 8) {
		struct bench bench;
		uint8_t data[16 * SIM_SECTOR_BYTES];

		bench_init(&bench);
		sim_disk_set_physical_sector(bench.disk, physical);
		put(&bench, 0, 16, 1, 0);
		cr_assert_eq(io_sync(bench.file), 0);
		put(&bench, 10, 1, 2, 0);
		cr_assert_eq(look(sim_disk_crash(bench.disk, tear_first, NULL), 0, data, sizeof(data)), sizeof(data));
		for (unsigned i = 0; i < 16; i++) {
			bool whole = data[i * 512] == 1 && memcmp(data + i * 512, data + i * 512 + 1, 511) == 0;

			cr_assert_eq(whole, physical == 512 ? i != 10 : i < 8, "sector %u of %u", i, physical);
		}
		bench_release(&bench);
	}
}

/* Data may come without the size, the size without the data, the space without either. */
Test(sim_disk, size_and_space)
{
	struct bench bench;
	struct sim_disk *crashed = NULL;
	uint8_t data[4096];
	uint64_t mask = 0;

	bench_init(&bench);
	put(&bench, 0, 1, 5, 0); /* units: the sector, the growth */
	cr_assert_eq(sim_disk_pending(bench.disk), 2);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, 512), 0);
	mask = 1;
	cr_assert_eq(look(sim_disk_crash(bench.disk, by_mask, &mask), 0, data, 512), 0);
	crashed = sim_disk_crash(bench.disk, by_mask, &mask);
	cr_assert_eq(sim_disk_resize(crashed, PATH, 512), 0);
	cr_assert_eq(look(crashed, 0, data, 512), 512);
	cr_assert_eq(data[0], 0, "what lay behind the end is gone");
	mask = 2;
	cr_assert_eq(look(sim_disk_crash(bench.disk, by_mask, &mask), 0, data, 512), 512);
	cr_assert_eq(data[0], 0);
	cr_assert_eq(io_allocate(bench.file, 0, 4096), 0);
	mask = 4;
	cr_assert_eq(look(sim_disk_crash(bench.disk, by_mask, &mask), 0, data, 4096), 4096);
	cr_assert_eq(data[0], 0);
	mask = 5;
	cr_assert_eq(look(sim_disk_crash(bench.disk, by_mask, &mask), 0, data, 4096), 4096);
	cr_assert_eq(data[0], 5);
	cr_assert_eq(io_sync(bench.file), 0);
	cr_assert_eq(io_truncate(bench.file, 100), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, 4096), 4096);
	cr_assert_eq(data[511], 5);
	cr_assert_eq(look(sim_disk_crash(bench.disk, keep, NULL), 0, data, 4096), 100);
	bench_release(&bench);
}

/* A name that was not flushed, or a removal, may be forgotten; a flush of the file does not help. */
Test(sim_disk, names)
{
	struct bench bench;
	struct io_file *file = NULL;
	uint8_t data[1];

	bench_init(&bench);
	cr_assert_eq(io_remove(bench.io, PATH), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, 1), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, keep, NULL), 0, data, 1), -1);
	cr_assert_eq(io_sync_directory(bench.io, PATH), 0);
	cr_assert_eq(io_open(bench.io, "/d", IO_OPEN_WRITE | IO_OPEN_TEMPORARY, &file), 0);
	cr_assert_eq(io_write(file, IO_DSYNC, 0, "x", 1), 0);
	cr_assert_eq(io_link(file, PATH), 0);
	cr_assert_eq(io_sync(file), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, 1), -1);
	cr_assert_eq(look(sim_disk_crash(bench.disk, keep, NULL), 0, data, 1), 1);
	cr_assert_eq(io_sync_directory(bench.io, "/other/x"), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, 1), -1);
	cr_assert_eq(io_sync_directory(bench.io, PATH), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, 1), 1);
	cr_assert_eq(data[0], 'x');
	io_close(file);
	bench_release(&bench);
}

/* IO_DSYNC that flushed more than its range would hide a missing flush; less would make good code look bad. */
Test(sim_disk, dsync_range)
{
	struct bench bench;
	uint8_t data[4 * SIM_SECTOR_BYTES];

	bench_init(&bench);
	put(&bench, 0, 4, 1, 0);
	put(&bench, 1, 2, 2, IO_DSYNC);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, sizeof(data)), 1536);
	cr_assert(data[0] == 0 && data[512] == 2 && data[1024] == 2);
	cr_assert_eq(look(sim_disk_crash(bench.disk, keep, NULL), 0, data, sizeof(data)), 2048);
	cr_assert(data[0] == 1 && data[512] == 2 && data[1024] == 2 && data[1536] == 1, "no old write comes back");
	/* A part of a sector takes the sector along, as it is now. */
	cr_assert_eq(io_write(bench.file, IO_DSYNC, 3 * 512 + 10, "z", 1), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, sizeof(data)), 3 * 512 + 11);
	cr_assert(data[1536] == 1 && data[1546] == 'z' && data[0] == 0);
	bench_release(&bench);
}

/* A power cut in the midst of a write that flushes leaves any part of it: taken for one step, no commit would ever be torn. */
static void look_in_flight(void *context, struct sim_disk *disk, enum sim_call call)
{
	unsigned *patterns = context;

	for (uint64_t mask = 0; mask < 16 && call == SIM_WRITTEN; mask++) {
		uint8_t data[3 * SIM_SECTOR_BYTES] = { 0 };
		int64_t size = look(sim_disk_crash(disk, by_mask, &mask), 0, data, sizeof(data));

		cr_assert(size == 0 || size == sizeof(data));
		*patterns |= 1u << (size ? data[0] + 2 * data[SIM_SECTOR_BYTES] + 4 * data[2 * SIM_SECTOR_BYTES] : 8);
	}
}

Test(sim_disk, dsync_in_flight)
{
	struct bench bench;
	uint8_t data[3 * SIM_SECTOR_BYTES];
	unsigned patterns = 0;

	bench_init(&bench);
	memset(data, 1, sizeof(data));
	sim_disk_set_hook(bench.disk, look_in_flight, &patterns);
	cr_assert_eq(io_write(bench.file, IO_DSYNC, 0, data, sizeof(data)), 0);
	sim_disk_set_hook(bench.disk, NULL, NULL);
	cr_assert_eq(patterns, 0x1ff, "each sector came or not, and the size: 0x%x", patterns);
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_WRITE), 1);
	cr_assert_eq(sim_disk_pending(bench.disk), 0);
	bench_release(&bench);
}

/* A flush in the same batch as its write must not be counted on. */
Test(sim_disk, batch_order)
{
	struct bench bench;
	uint8_t data[512] = { 9 };
	struct io_request requests[2];

	bench_init(&bench);
	requests[0] = (struct io_request){ .op = IO_WRITE, .file = bench.file, .length = 512, .data = data };
	requests[1] = (struct io_request){ .op = IO_SYNC, .file = bench.file };
	cr_assert_eq(io_run(bench.io, requests, 2), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, 512), 0);
	cr_assert_eq(io_sync(bench.file), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, 512), 512);
	bench_release(&bench);
}

/* A punch may come in part, and late. */
Test(sim_disk, punch)
{
	struct bench bench;
	struct io_request punch = { .op = IO_PUNCH, .offset = 4096, .length = 128 * KIB };
	static uint8_t data[256 * KIB];
	uint64_t mask = 2; /* of three pieces */

	bench_init(&bench);
	memset(data, 1, sizeof(data));
	cr_assert_eq(io_write(bench.file, IO_DSYNC, 0, data, sizeof(data)), 0);
	punch.file = bench.file;
	cr_assert_eq(io_run(bench.io, &punch, 1), 0);
	cr_assert_eq(sim_disk_pending(bench.disk), 3);
	cr_assert_eq(look(sim_disk_crash(bench.disk, NULL, NULL), 0, data, sizeof(data)), 256 * 1024);
	cr_assert(data[4096] == 1 && data[70000] == 1);
	cr_assert_eq(look(sim_disk_crash(bench.disk, by_mask, &mask), 0, data, sizeof(data)), 256 * 1024);
	cr_assert(data[4096] == 1 && data[65535] == 1 && data[65536] == 0 && data[131071] == 0 && data[131072] == 1);
	cr_assert_eq(look(sim_disk_crash(bench.disk, keep, NULL), 0, data, sizeof(data)), 256 * 1024);
	cr_assert(data[4095] == 1 && data[4096] == 0 && data[135167] == 0 && data[135168] == 1);
	bench_release(&bench);
}

/* A torn sector must be neither the old nor the new one. */
Test(sim_disk, torn)
{
	struct bench bench;
	uint8_t data[1024];

	bench_init(&bench);
	put(&bench, 0, 2, 1, IO_DSYNC);
	put(&bench, 1, 1, 2, 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, tear, NULL), 0, data, 1024), 1024);
	cr_assert_eq(data[511], 1);
	cr_assert_neq(memcmp(data + 512, data, 512), 0);
	cr_assert_neq(memcmp(data + 512, data + 513, 511), 0);
	bench_release(&bench);
}

/* After a failed flush the cache lies: a second flush succeeds, reads show the data, the disk never gets it. */
Test(sim_disk, dropped_flush)
{
	struct bench bench;
	uint8_t data[1024];

	bench_init(&bench);
	put(&bench, 0, 2, 1, 0);
	cr_assert_eq(io_sync(bench.file), 0);
	put(&bench, 0, 2, 2, 0);
	sim_disk_add_fault(bench.disk, &(struct sim_fault){ .call = SIM_SYNC, .error = -ENOSPC, .drop = true });
	cr_assert_eq(io_sync(bench.file), -ENOSPC);
	cr_assert_eq(io_sync(bench.file), 0);
	cr_assert_eq(io_read(bench.file, 0, 0, data, 1024), 0);
	cr_assert(data[0] == 2 && data[512] == 2);
	cr_assert_eq(io_read(bench.file, IO_DIRECT, 0, data, 1024), 0);
	cr_assert(data[0] == 1 && data[512] == 1);
	cr_assert_eq(look(sim_disk_crash(bench.disk, keep, NULL), 0, data, 1024), 1024);
	cr_assert_eq(data[0], 1);
	cr_assert_eq(look(sim_disk_kill(bench.disk), 0, data, 1024), 1024);
	cr_assert_eq(data[0], 2, "the cache outlives the process");
	cr_assert_eq(look(sim_disk_kill(bench.disk), IO_DIRECT, data, 1024), 1024);
	cr_assert_eq(data[0], 1);
	/* Written again it is on its way again. */
	put(&bench, 1, 1, 3, 0);
	cr_assert_eq(io_read(bench.file, IO_DIRECT, 0, data, 1024), 0);
	cr_assert(data[0] == 1 && data[512] == 3);
	sim_disk_clear_faults(bench.disk);
	sim_disk_add_fault(bench.disk, &(struct sim_fault){ .call = SIM_WRITE, .error = -EIO, .drop = true });
	memset(data, 4, 512);
	cr_assert_eq(io_write(bench.file, IO_DSYNC, 512, data, 512), -EIO);
	cr_assert_eq(io_sync(bench.file), 0);
	cr_assert_eq(io_read(bench.file, 0, 0, data, 1024), 0);
	cr_assert_eq(data[512], 4);
	cr_assert_eq(look(sim_disk_crash(bench.disk, keep, NULL), 0, data, 1024), 1024);
	cr_assert_eq(data[512], 1);
	bench_release(&bench);
}

/* A fault at the wrong call leaves the right one untested. */
Test(sim_disk, faults)
{
	struct bench bench;
	uint8_t data[1000] = { 0 };
	struct io_request request = { .op = IO_WRITE, .length = 1000, .data = data };

	bench_init(&bench);
	request.file = bench.file;
	sim_disk_add_fault(bench.disk, &(struct sim_fault){ .call = SIM_WRITE, .nth = 2, .error = -EIO, .partial = true,
							    .short_bytes = 1 });
	cr_assert_eq(io_run(bench.io, &request, 1), 0);
	cr_assert_eq(io_sync(bench.file), 0);
	cr_assert_eq(io_run(bench.io, &request, 1), -EIO);
	cr_assert_eq(request.done, 999);
	cr_assert_eq(io_run(bench.io, &request, 1), 0);
	cr_assert_eq(sim_disk_faults_fired(bench.disk), 1);
	sim_disk_clear_faults(bench.disk);
	sim_disk_add_fault(bench.disk, &(struct sim_fault){ .call = SIM_ANY, .nth = 3, .error = -ENOMEM, .sticky = true });
	cr_assert_eq(io_run(bench.io, &request, 1), 0);
	cr_assert_eq(io_sync(bench.file), 0);
	cr_assert_eq(io_allocate(bench.file, 0, 5000), -ENOMEM);
	cr_assert_eq(io_lock(bench.file, IO_LOCK_SHARED, 0, 1), -ENOMEM);
	cr_assert_eq(io_run(bench.io, &request, 1), -ENOMEM);
	cr_assert_eq(request.done, 0);
	request.op = IO_WRITE_OUT;
	cr_assert_eq(io_run(bench.io, &request, 1), 0, "a hint never fails");
	sim_disk_clear_faults(bench.disk);
	cr_assert_eq(io_lock(bench.file, IO_LOCK_SHARED, 0, 1), 0);
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_WRITE), 5);
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_LOCK), 2);
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_ANY), 5 + 2 + 1 + 2 + 1 + 2 /* opening and naming the file */);
	bench_release(&bench);
}

/* A full disk writes what fits, and a punch makes room. */
Test(sim_disk, capacity)
{
	struct bench bench;
	uint8_t data[8192] = { 0 };
	struct io_request request = { .op = IO_WRITE, .offset = 6000, .length = 8192, .data = data };

	bench_init(&bench);
	request.file = bench.file;
	sim_disk_set_capacity(bench.disk, 2 * 4096);
	cr_assert_eq(io_run(bench.io, &request, 1), -ENOSPC);
	cr_assert_eq(request.done, 12288 - 6000);
	cr_assert_eq(io_allocate(bench.file, 0, 4096), -ENOSPC);
	cr_assert_eq(io_write(bench.file, 0, 8000, data, 100), 0);
	request = (struct io_request){ .op = IO_PUNCH, .file = bench.file, .offset = 4096, .length = 4096 };
	cr_assert_eq(io_run(bench.io, &request, 1), 0);
	cr_assert_eq(io_allocate(bench.file, 0, 4096), 0);
	bench_release(&bench);
}

/* A plan for flushes that takes plain writes for some, or leaves out those inside a write, would miss the flushes. */
Test(sim_disk, faults_of_flushes)
{
	struct bench bench;
	uint8_t data[512] = { 0 };

	bench_init(&bench);
	sim_disk_add_fault(bench.disk, &(struct sim_fault){ .call = SIM_FLUSH, .nth = 2, .error = -EIO, .sticky = true });
	cr_assert_eq(io_sync(bench.file), 0);
	cr_assert_eq(io_write(bench.file, 0, 0, data, 512), 0);
	cr_assert_eq(io_write(bench.file, IO_DSYNC, 0, data, 512), -EIO);
	cr_assert_eq(io_write(bench.file, 0, 0, data, 512), 0);
	cr_assert_eq(io_read(bench.file, 0, 0, data, 512), 0);
	cr_assert_eq(io_sync(bench.file), -EIO);
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_FLUSH), 3);
	cr_assert_eq(sim_disk_failed(bench.disk, SIM_FLUSH), 2);
	cr_assert_eq(sim_disk_failed(bench.disk, SIM_WRITE), 1);
	cr_assert_eq(sim_disk_failed(bench.disk, SIM_SYNC), 1);
	cr_assert_eq(sim_disk_failed(bench.disk, SIM_READ), 0);
	cr_assert_eq(sim_disk_faults_fired(bench.disk), 2);
	bench_release(&bench);
}

static void count_crashes(void *context, struct sim_disk *disk, enum sim_call call)
{
	uint8_t data[512];
	unsigned *counts = context;
	int64_t size = look(sim_disk_crash(disk, NULL, NULL), 0, data, 512);

	counts[call]++;
	if (call == SIM_SYNC)
		cr_assert_eq(size, 0, "the hook comes before the call");
}

/* The hook is where crashes are taken: it must come before each call, and may use the disk. */
Test(sim_disk, hook)
{
	struct bench bench;
	unsigned counts[SIM_KINDS] = { 0 };

	bench_init(&bench);
	sim_disk_set_hook(bench.disk, count_crashes, counts);
	put(&bench, 0, 1, 1, 0);
	cr_assert_eq(io_sync(bench.file), 0);
	put(&bench, 0, 1, 1, 0);
	cr_assert(counts[SIM_WRITE] == 2 && counts[SIM_SYNC] == 1);
	sim_disk_set_hook(bench.disk, NULL, NULL);
	bench_release(&bench);
}

/* The same seed must give the same disk, or no failure could be repeated; and seeds must differ. */
Test(sim_disk, seeds)
{
	struct bench bench;
	uint8_t a[8192], b[8192];
	bool none = false, all = false, some = false;

	bench_init(&bench);
	for (unsigned i = 0; i < 16; i++)
		put(&bench, i, 1, 1, 0);
	for (uint64_t seed = 0; seed < 100; seed++) {
		int64_t size_a = look(sim_disk_crash_seed(bench.disk, seed, true), 0, a, sizeof(a));
		int64_t size_b = look(sim_disk_crash_seed(bench.disk, seed, true), 0, b, sizeof(b));
		unsigned kept = 0;

		cr_assert_eq(size_a, size_b);
		cr_assert_eq(memcmp(a, b, sizeof(a)), 0);
		for (unsigned i = 0; size_a == 8192 && i < 16; i++)
			kept += a[i * 512] != 0;
		none |= size_a == 0;
		all |= kept == 16;
		some |= kept > 0 && kept < 16;
	}
	cr_assert(none && all && some);
	bench_release(&bench);
}

/* Damage has to be on the disk, not only in the cache. */
Test(sim_disk, poke)
{
	struct bench bench;
	uint8_t data[512], byte = 42;

	bench_init(&bench);
	put(&bench, 0, 1, 1, IO_DSYNC);
	cr_assert_eq(sim_disk_poke(bench.disk, PATH, 5, &byte, 1), 0);
	cr_assert_eq(sim_disk_poke(bench.disk, "/d/none", 5, &byte, 1), -ENOENT);
	cr_assert_eq(io_read(bench.file, 0, 0, data, 512), 0);
	cr_assert(data[5] == 42 && data[4] == 1);
	cr_assert_eq(sim_disk_peek_durable(bench.disk, PATH, 5, &byte, 1), 0);
	cr_assert_eq(byte, 42);
	cr_assert_eq(sim_disk_resize(bench.disk, PATH, 100), 0);
	cr_assert_eq(look(sim_disk_crash(bench.disk, keep, NULL), 0, data, 512), 100);
	bench_release(&bench);
}

struct model {
	uint8_t synced[16], newest[16];
};

/* Random writes and flushes against the simplest model of all: a sector is what was last flushed, or something newer. */
Test(sim_disk, random_histories)
{
	const char *wish = getenv("SOLIFUGE_TEST_SEED");
	unsigned seed = wish ? (unsigned)strtoul(wish, NULL, 0) : (unsigned)clock_wall_ns();

	fprintf(stderr, "sim_disk random_histories: SOLIFUGE_TEST_SEED=%u\n", seed);
	srandom(seed);
	for (unsigned history = 0; history < 30; history++) {
		struct bench bench;
		struct model model = { 0 };
		uint8_t data[16 * SIM_SECTOR_BYTES] = { 0 };

		bench_init(&bench);
		cr_assert_eq(io_write(bench.file, IO_DSYNC, 0, data, sizeof(data)), 0);
		for (unsigned step = 1; step < 60; step++) {
			unsigned first = (unsigned)random() % 16, count = 1 + (unsigned)random() % (16 - first);
			bool durable = random() % 4 == 0;

			put(&bench, first, count, (uint8_t)step, durable ? IO_DSYNC : 0);
			memset(model.newest + first, (int)step, count);
			if (durable)
				memset(model.synced + first, (int)step, count);
			if (random() % 8 == 0) {
				cr_assert_eq(io_sync(bench.file), 0);
				memcpy(model.synced, model.newest, 16);
			}
			cr_assert_eq(look(sim_disk_crash_seed(bench.disk, (uint64_t)random(), false), 0, data,
					  sizeof(data)), 8192);
			for (unsigned i = 0; i < 16; i++)
				cr_assert(data[i * 512] >= model.synced[i] && data[i * 512] <= model.newest[i]);
		}
		cr_assert_eq(look(sim_disk_crash(bench.disk, keep, NULL), 0, data, sizeof(data)), 8192);
		for (unsigned i = 0; i < 16; i++)
			cr_assert_eq(data[i * 512], model.newest[i]);
		bench_release(&bench);
	}
}

static void *cut_often(void *context)
{
	for (uint64_t seed = 0; seed < 200; seed++)
		sim_disk_free(sim_disk_crash_seed(context, seed, true));
	return NULL;
}

/* Crashes are taken while other threads write. */
Test(sim_disk, threads)
{
	struct bench bench;
	pthread_t id;

	bench_init(&bench);
	cr_assert_eq(pthread_create(&id, NULL, cut_often, bench.disk), 0);
	for (unsigned i = 0; i < 2000; i++) {
		put(&bench, i % 64, 2, (uint8_t)i, i % 5 ? 0 : IO_DSYNC);
		if (i % 50 == 0)
			cr_assert_eq(io_sync(bench.file), 0);
	}
	pthread_join(id, NULL);
	cr_assert_eq(sim_disk_calls(bench.disk, SIM_WRITE), 2000);
	bench_release(&bench);
}
