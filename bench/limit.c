/* SPDX-License-Identifier: MIT */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "workloads.h"

#define WRITE_BYTES 4096
#define FILE_BYTES (16 << 20)

static int fill(int file, const void *block)
{
	for (long at = 0; at < FILE_BYTES; at += WRITE_BYTES)
		if (pwrite(file, block, WRITE_BYTES, at) != WRITE_BYTES)
			return -errno;
	return fdatasync(file) ? -errno : 0;
}

double limit_durable_writes(const char *directory, double seconds)
{
	char path[4096] = "";
	void *block = aligned_alloc(WRITE_BYTES, WRITE_BYTES);
	struct iovec piece = { .iov_base = block, .iov_len = WRITE_BYTES };
	double start = 0, result = -ENOMEM;
	long count = 0;
	int file = -1;

	if (!block)
		return result;
	memset(block, 0x5a, WRITE_BYTES);
	snprintf(path, sizeof(path), "%s/limit", directory);
	file = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
	if (file < 0) /* a file system without direct transfers */
		file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	result = file < 0 ? -errno : fill(file, block);
	start = seconds_now();
	while (result >= 0 && seconds_now() - start < seconds) {
		if (pwritev2(file, &piece, 1, count++ * WRITE_BYTES % FILE_BYTES, RWF_DSYNC) != WRITE_BYTES)
			result = -errno;
	}
	if (result >= 0)
		result = (double)count / (seconds_now() - start);
	if (file >= 0)
		close(file);
	unlink(path);
	free(block);
	return result;
}
