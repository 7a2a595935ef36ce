/* SPDX-License-Identifier: MIT */
/*
 * The back end of plain system calls: the requests of a batch one after the other. Always available.
 */
#include <stdlib.h>

#include "io.h"
#include "io_file.h"

static void posix_free(struct io *io)
{
	free(io);
}

static int posix_run(struct io *io, struct io_request *requests, size_t count)
{
	(void)io;
	for (size_t i = 0; i < count; i++)
		if (file_begin(&requests[i]))
			file_finish(&requests[i]);
	return io_failure(requests, count);
}

static const struct io_ops posix_ops = {
	.name = "posix",
	.free = posix_free,
	.open = file_open,
	.close = file_close,
	.info = file_info,
	.run = posix_run,
	.truncate = file_truncate,
	.lock = file_lock,
	.map = file_map,
	.unmap = file_unmap,
	.map_at_random = file_map_at_random,
	.link = file_link,
	.remove = file_remove,
	.sync_directory = file_sync_directory,
};

int io_posix_new(struct stats *stats, struct io **io)
{
	struct io *posix = calloc(1, sizeof(*posix));

	if (!posix)
		return -ENOMEM;
	posix->ops = &posix_ops;
	posix->stats = stats;
	*io = posix;
	return 0;
}
