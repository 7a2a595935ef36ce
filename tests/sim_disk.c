/* SPDX-License-Identifier: MIT */
/*
 * The disk in memory as a back end: every call is counted, may be made to fail, and works on the images of sim_inode.c.
 * One mutex guards everything but the bytes that maps look at; it is not held between the requests of a batch.
 */
#include "sim_disk.h"

#include <stdlib.h>

#include "io_file.h"
#include "sim_inode.h"

struct sim_io {
	struct io io;
	struct sim_disk *disk;
};

struct sim_file {
	struct io_file_base base;
	struct inode *inode;
	bool writable;
};

static struct sim_disk *disk_of(struct io *io)
{
	return container_of(io, struct sim_io, io)->disk;
}

static struct sim_file *sim_file_of(struct io_file *file)
{
	return (struct sim_file *)(void *)file;
}

/* ---- Calls and faults -------------------------------------------------------------------------------------------- */

const char *sim_call_name(enum sim_call call)
{
	static const char *const names[] = { "read", "write", "sync", "write_out", "allocate", "punch", "open", "close",
					     "info", "truncate", "lock", "map", "link", "remove", "sync_directory",
					     "any", "flush", "written" };

	static_assert(ARRAY_SIZE(names) == SIM_KINDS, "a name for each");
	return names[call];
}

static void count_call(uint64_t counts[SIM_KINDS], enum sim_call call, bool flushes)
{
	counts[call]++;
	counts[SIM_ANY]++;
	counts[SIM_FLUSH] += flushes;
}

static bool is_meant(const struct sim_fault *fault, enum sim_call call, bool flushes)
{
	return fault->call == call || fault->call == SIM_ANY || (fault->call == SIM_FLUSH && flushes);
}

/* Without the mutex, which is held before and behind: the hook may wait for other calls. */
static void call_hook(struct sim_disk *disk, enum sim_call call)
{
	sim_hook_fn *hook = disk->hook;
	void *context = disk->hook_context;

	pthread_mutex_unlock(&disk->mutex);
	if (hook)
		hook(context, disk, call);
	pthread_mutex_lock(&disk->mutex);
}

/* Counts a call and takes the mutex, which the caller gives back. Returns the planned failure, told in full by *fault
 * (may be NULL), or 0. */
static int request_begin(struct sim_disk *disk, enum sim_call call, bool flushes, struct sim_fault *fault)
{
	const struct sim_fault *hit = NULL;

	pthread_mutex_lock(&disk->mutex);
	call_hook(disk, call);
	count_call(disk->calls, call, flushes);
	for (size_t i = 0; i < disk->plan_count && !disk->holding; i++) {
		struct plan *plan = &disk->plans[i];

		if (!is_meant(&plan->fault, call, flushes))
			continue;
		plan->calls++;
		if (!hit && (plan->calls == plan->fault.nth || (plan->fault.sticky && plan->calls > plan->fault.nth)))
			hit = &plan->fault;
	}
	if (fault)
		*fault = hit ? *hit : (struct sim_fault){ 0 };
	if (!hit || call == SIM_WRITE_OUT)
		return 0;
	count_call(disk->failed, call, flushes);
	if (hit->met)
		hit->met(call);
	return hit->error;
}

static int call_begin(struct sim_disk *disk, enum sim_call call)
{
	return request_begin(disk, call, false, NULL);
}

static int call_end(struct sim_disk *disk, int result)
{
	pthread_mutex_unlock(&disk->mutex);
	return result;
}

void sim_disk_add_fault(struct sim_disk *disk, const struct sim_fault *fault)
{
	pthread_mutex_lock(&disk->mutex);
	if (disk->plan_count == SIM_FAULTS_MAX || fault->error >= 0)
		abort();
	disk->plans[disk->plan_count] = (struct plan){ .fault = *fault };
	if (fault->nth == 0)
		disk->plans[disk->plan_count].fault.nth = 1;
	disk->plan_count++;
	pthread_mutex_unlock(&disk->mutex);
}

void sim_disk_clear_faults(struct sim_disk *disk)
{
	pthread_mutex_lock(&disk->mutex);
	disk->plan_count = 0;
	pthread_mutex_unlock(&disk->mutex);
}

void sim_disk_hold_faults(struct sim_disk *disk, bool hold)
{
	disk->holding = hold;
}

uint64_t sim_disk_open_files(struct sim_disk *disk)
{
	return disk->files_open;
}

uint64_t sim_disk_faults_fired(struct sim_disk *disk)
{
	return sim_disk_failed(disk, SIM_ANY);
}

uint64_t sim_disk_failed(struct sim_disk *disk, enum sim_call call)
{
	uint64_t failed = 0;

	pthread_mutex_lock(&disk->mutex);
	failed = disk->failed[call];
	pthread_mutex_unlock(&disk->mutex);
	return failed;
}

uint64_t sim_disk_calls(struct sim_disk *disk, enum sim_call call)
{
	uint64_t calls = 0;

	pthread_mutex_lock(&disk->mutex);
	calls = disk->calls[call];
	pthread_mutex_unlock(&disk->mutex);
	return calls;
}

void sim_disk_set_hook(struct sim_disk *disk, sim_hook_fn *hook, void *context)
{
	pthread_mutex_lock(&disk->mutex);
	disk->hook = hook;
	disk->hook_context = context;
	pthread_mutex_unlock(&disk->mutex);
}

/* ---- Requests ---------------------------------------------------------------------------------------------------- */

/* How many of length bytes at offset there is space for. */
static uint64_t room_for(struct sim_disk *disk, const struct inode *inode, uint64_t offset, uint64_t length)
{
	uint64_t left = disk->capacity, end = offset + length;

	if (disk->capacity == UINT64_MAX)
		return length;
	for (size_t i = 0; i < disk->inode_count; i++)
		left -= u64_min(left, disk->inodes[i]->seen.allocated_bytes);
	for (uint64_t at = align_down(offset, BLOCK_BYTES); at < end; at += BLOCK_BYTES) {
		if (inode->seen.blocks[at / BLOCK_BYTES])
			continue;
		if (left < BLOCK_BYTES)
			return at > offset ? at - offset : 0;
		left -= BLOCK_BYTES;
	}
	return length;
}

/* What a failing transfer still moves. */
static uint64_t partial_length(const struct sim_fault *fault, uint64_t length)
{
	if (fault->keep_bytes)
		return u64_min(length, fault->keep_bytes);
	return fault->partial ? length - u64_min(length, fault->short_bytes) : 0;
}

/* What the device has, where the request goes past the page cache, or drops that; else what was written. */
static void sim_read(struct inode *inode, struct io_request *request, const struct sim_fault *fault)
{
	const struct image *seen = &inode->seen;
	uint64_t length = request->offset < seen->size ? u64_min(request->length, seen->size - request->offset) : 0;
	uint8_t *data = request->data;

	if (fault->error)
		length = partial_length(fault, length);
	image_read(seen, request->offset, data, length);
	for (size_t i = 0; i < inode->lie_count && request->flags & IO_DIRECT; i++) {
		uint64_t from = u64_max(inode->lies[i].offset, request->offset);
		uint64_t end = u64_min(inode->lies[i].end, request->offset + length);

		if (from < end)
			image_read(&inode->durable, from, data + (from - request->offset), end - from);
	}
	request->done = length;
	request->result = fault->error;
}

static void sim_write(struct sim_disk *disk, struct inode *inode, struct io_request *request,
		      const struct sim_fault *fault)
{
	uint64_t wanted = fault->error && !fault->drop ? partial_length(fault, request->length) : request->length;
	uint64_t length = room_for(disk, inode, request->offset, wanted);
	uint64_t end = request->offset + length;
	uint64_t from = align_down(request->offset, SIM_SECTOR_BYTES), sector_end = align_up(end, SIM_SECTOR_BYTES);

	request->result = fault->error;
	if (length < wanted && !fault->error)
		request->result = -ENOSPC;
	if (length == 0)
		return;
	image_write(&inode->seen, request->offset, request->data, length);
	request->done = length;
	inode_forget_lies(inode, from, sector_end);
	change_add_write(inode, from, sector_end - from, inode->seen.data + from);
	if (end > inode->seen.size) {
		inode->seen.size = end;
		change_add(inode, SIM_UNIT_GROW, 0, end);
	}
	if (!(request->flags & IO_DSYNC))
		return;
	call_hook(disk, SIM_WRITTEN); /* the power may go here */
	if (disk->lying && request->result == 0)
		return;
	if (request->result == 0)
		inode_flush_range(inode, from, sector_end, end);
	else if (fault->drop)
		inode_drop(inode, from, sector_end);
}

static int sim_sync(struct inode *inode, const struct sim_fault *fault, bool lying)
{
	if (lying && fault->error == 0)
		return 0;
	if (fault->error == 0)
		inode_flush(inode);
	else if (fault->drop)
		inode_drop(inode, 0, UINT64_MAX);
	return fault->error;
}

static int sim_allocate(struct sim_disk *disk, struct inode *inode, uint64_t offset, uint64_t length)
{
	if (room_for(disk, inode, offset, length) < length)
		return -ENOSPC;
	image_mark_allocated(&inode->seen, offset, length);
	inode->seen.size = u64_max(inode->seen.size, offset + length);
	change_add(inode, SIM_UNIT_ALLOCATE, offset, length);
	return 0;
}

static int sim_punch(struct inode *inode, uint64_t offset, uint64_t length)
{
	uint64_t end = u64_min(offset + length, SIM_FILE_BYTES_MAX);

	if (offset < end) {
		image_punch(&inode->seen, offset, end - offset);
		inode_forget_lies(inode, offset, end);
		change_add(inode, SIM_UNIT_PUNCH, offset, end - offset);
	}
	return 0;
}

/* As file_begin, and no file is larger than its area. */
static bool sim_begin(struct io_request *request)
{
	bool grows = request->op == IO_WRITE || request->op == IO_ALLOCATE;

	if (!file_begin(request))
		return false;
	if (grows && request->offset + request->length > SIM_FILE_BYTES_MAX)
		request->result = -EFBIG;
	return request->result == 0;
}

static void sim_request(struct sim_disk *disk, struct io_request *request)
{
	struct sim_file *file = sim_file_of(request->file);
	struct inode *inode = file->inode;
	bool flushes = request->op == IO_SYNC || (request->op == IO_WRITE && request->flags & IO_DSYNC);
	struct sim_fault fault;
	int result = 0;

	if (!sim_begin(request))
		return;
	request->buffered = !(request->flags & IO_DIRECT) || !disk->direct_unit;
	result = request_begin(disk, (enum sim_call)request->op, flushes, &fault);
	if (!file->writable && (request->op == IO_WRITE || request->op == IO_ALLOCATE || request->op == IO_PUNCH)) {
		request->result = call_end(disk, -EBADF);
		return;
	}
	switch (request->op) {
	case IO_READ:
		sim_read(inode, request, &fault);
		break;
	case IO_WRITE:
		sim_write(disk, inode, request, &fault);
		break;
	case IO_SYNC:
		request->result = sim_sync(inode, &fault, disk->lying);
		break;
	case IO_ALLOCATE:
		request->result = result ? result : sim_allocate(disk, inode, request->offset, request->length);
		break;
	case IO_PUNCH:
		request->result = result ? result : sim_punch(inode, request->offset, request->length);
		break;
	case IO_WRITE_OUT:
		break;
	}
	call_end(disk, 0);
}

static int sim_run(struct io *io, struct io_request *requests, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (requests[i].op == IO_SYNC)
			sim_request(disk_of(io), &requests[i]);
	for (size_t i = count; i-- > 0;)
		if (requests[i].op != IO_SYNC)
			sim_request(disk_of(io), &requests[i]);
	return io_failure(requests, count);
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static int find_or_make(struct sim_disk *disk, const char *path, unsigned flags, struct inode **inode)
{
	*inode = flags & IO_OPEN_TEMPORARY ? NULL : inode_find(disk, path);
	if (*inode)
		return 0;
	if (!(flags & (IO_OPEN_TEMPORARY | IO_OPEN_CREATE)))
		return -ENOENT;
	*inode = inode_new(disk, disk->inode_next++);
	if (!(flags & IO_OPEN_TEMPORARY))
		name_add(disk, path)->seen = *inode;
	return 0;
}

static int sim_open(struct io *io, const char *path, unsigned flags, struct io_file **out)
{
	struct sim_disk *disk = disk_of(io);
	struct sim_file *file = sim_grow(NULL, 1, sizeof(*file));
	struct inode *inode = NULL;
	int result = call_begin(disk, SIM_OPEN);

	if (result == 0)
		result = find_or_make(disk, path, flags, &inode);
	if (result < 0) {
		sim_free(file);
		return call_end(disk, result);
	}
	file->base.io = io;
	file->inode = inode;
	file->writable = flags & (IO_OPEN_WRITE | IO_OPEN_TEMPORARY);
	*out = (struct io_file *)(void *)file;
	disk->files_open++;
	return call_end(disk, 0);
}

/* Takes the file's locks out of a range, splitting those that reach beyond it. */
static void locks_forget(struct inode *inode, const struct sim_file *file, struct range range)
{
	struct sim_lock *old = inode->locks;
	size_t count = inode->lock_count;

	inode->locks = sim_grow(NULL, 2 * count + 1, sizeof(*inode->locks)); /* one more to be added */
	inode->lock_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct sim_lock before = old[i], after = old[i];

		if (old[i].file != file) {
			inode->locks[inode->lock_count++] = old[i];
			continue;
		}
		before.range.end = u64_min(old[i].range.end, range.offset);
		after.range.offset = u64_max(old[i].range.offset, range.end);
		if (before.range.offset < before.range.end)
			inode->locks[inode->lock_count++] = before;
		if (after.range.offset < after.range.end)
			inode->locks[inode->lock_count++] = after;
	}
	sim_free(old);
}

static int sim_lock(struct io_file *handle, enum io_lock kind, uint64_t offset, uint64_t length)
{
	struct sim_file *file = sim_file_of(handle);
	struct sim_disk *disk = disk_of(file->base.io);
	struct inode *inode = file->inode;
	struct range range = { offset, length ? offset + length : UINT64_MAX };
	int result = 0;

	if (offset > INT64_MAX || length > INT64_MAX - offset)
		return -EINVAL;
	result = call_begin(disk, SIM_LOCK);
	if (result == 0 && kind == IO_LOCK_EXCLUSIVE && !file->writable)
		result = -EBADF;
	for (size_t i = 0; i < inode->lock_count && result == 0 && kind != IO_UNLOCK; i++) {
		const struct sim_lock *other = &inode->locks[i];
		bool apart = other->range.end <= range.offset || other->range.offset >= range.end;

		if (other->file != file && !apart && (kind == IO_LOCK_EXCLUSIVE || other->kind == IO_LOCK_EXCLUSIVE))
			result = -EAGAIN;
	}
	if (result < 0)
		return call_end(disk, result);
	locks_forget(inode, file, range);
	if (kind != IO_UNLOCK)
		inode->locks[inode->lock_count++] = (struct sim_lock){ file, kind, range };
	return call_end(disk, 0);
}

static int sim_close(struct io_file *handle)
{
	struct sim_file *file = sim_file_of(handle);
	struct sim_disk *disk = disk_of(file->base.io);
	int result = call_begin(disk, SIM_CLOSE);

	locks_forget(file->inode, file, (struct range){ 0, UINT64_MAX });
	disk->files_open--;
	sim_free(file);
	return call_end(disk, result);
}

static bool is_named(const struct sim_disk *disk, const struct inode *inode)
{
	for (size_t i = 0; i < disk->name_count; i++)
		if (disk->names[i].seen == inode)
			return true;
	return false;
}

static int sim_info(struct io_file *handle, struct io_info *info)
{
	struct sim_file *file = sim_file_of(handle);
	struct sim_disk *disk = disk_of(file->base.io);
	int result = call_begin(disk, SIM_INFO);

	if (result == 0)
		*info = (struct io_info){
			.size = file->inode->seen.size,
			.allocated_bytes = file->inode->seen.allocated_bytes,
			.device = 1,
			.inode = file->inode->number,
			.birth_ns = file->inode->number * NS_PER_S,
			.logical_sector = disk->direct_unit ? disk->direct_unit : SIM_SECTOR_BYTES,
			.physical_sector = disk->physical_sector,
			.direct = disk->direct_unit != 0,
			.network = disk->network,
			.named = is_named(disk, file->inode),
			.size_max = u64_min(SIM_FILE_BYTES_MAX, file_size_limit()),
		};
	return call_end(disk, result);
}

static int sim_truncate(struct io_file *handle, uint64_t size)
{
	struct sim_file *file = sim_file_of(handle);
	struct sim_disk *disk = disk_of(file->base.io);
	int result = call_begin(disk, SIM_TRUNCATE);

	if (result == 0 && !file->writable)
		result = -EBADF;
	if (result == 0 && size > file->inode->seen.size && size > u64_min(SIM_FILE_BYTES_MAX, file_size_limit()))
		result = -EFBIG;
	if (result == 0) {
		image_resize(&file->inode->seen, size);
		inode_forget_lies(file->inode, size, UINT64_MAX);
		change_add(file->inode, SIM_UNIT_TRUNCATE, 0, size);
	}
	return call_end(disk, result);
}

static int sim_map(struct io_file *handle, uint64_t offset, uint64_t length, const void **address)
{
	struct sim_file *file = sim_file_of(handle);
	struct sim_disk *disk = disk_of(file->base.io);
	int result = call_begin(disk, SIM_MAP);

	if (result == 0 && (length == 0 || offset % BLOCK_BYTES))
		result = -EINVAL;
	if (result == 0 && (offset > SIM_FILE_BYTES_MAX || length > SIM_FILE_BYTES_MAX - offset))
		result = -ENOMEM;
	if (result == 0)
		*address = file->inode->seen.data + offset;
	return call_end(disk, result);
}

/* The image stays where it is for the life of the disk. */
static void sim_unmap(struct io *io, const void *address, uint64_t length)
{
	(void)io;
	(void)address;
	(void)length;
}

static void sim_map_at_random(struct io *io, const void *address, uint64_t length)
{
	(void)io;
	(void)address;
	(void)length;
}

static int sim_link(struct io_file *handle, const char *path)
{
	struct sim_file *file = sim_file_of(handle);
	struct sim_disk *disk = disk_of(file->base.io);
	int result = call_begin(disk, SIM_LINK);

	if (result == 0 && inode_find(disk, path))
		result = -EEXIST;
	if (result == 0)
		name_add(disk, path)->seen = file->inode;
	return call_end(disk, result);
}

static int sim_remove(struct io *io, const char *path)
{
	struct sim_disk *disk = disk_of(io);
	int result = call_begin(disk, SIM_REMOVE);

	if (result == 0 && !inode_find(disk, path))
		result = -ENOENT;
	if (result == 0)
		name_find(disk, path)->seen = NULL;
	return call_end(disk, result);
}

static bool same_directory(const char *a, const char *b)
{
	char *directory_a = sim_grow(NULL, strlen(a) + 2, 1), *directory_b = sim_grow(NULL, strlen(b) + 2, 1);
	bool same = false;

	io_directory_of(a, directory_a);
	io_directory_of(b, directory_b);
	same = strcmp(directory_a, directory_b) == 0;
	sim_free(directory_a);
	sim_free(directory_b);
	return same;
}

static int sim_sync_directory(struct io *io, const char *path)
{
	struct sim_disk *disk = disk_of(io);
	int result = call_begin(disk, SIM_SYNC_DIRECTORY);

	for (size_t i = 0; i < disk->name_count && result == 0; i++)
		if (same_directory(disk->names[i].path, path))
			disk->names[i].durable = disk->names[i].seen;
	return call_end(disk, result);
}

static void sim_io_free(struct io *io)
{
	sim_free(container_of(io, struct sim_io, io));
}

static const struct io_ops sim_ops = {
	.name = "sim",
	.free = sim_io_free,
	.open = sim_open,
	.close = sim_close,
	.info = sim_info,
	.run = sim_run,
	.truncate = sim_truncate,
	.lock = sim_lock,
	.map = sim_map,
	.unmap = sim_unmap,
	.map_at_random = sim_map_at_random,
	.link = sim_link,
	.remove = sim_remove,
	.sync_directory = sim_sync_directory,
};

/* ---- The disk ---------------------------------------------------------------------------------------------------- */

struct sim_disk *sim_disk_new(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct sim_disk *disk = sim_grow(NULL, 1, sizeof(*disk));

	pthread_once(&once, sim_keep_memory);
	memset(disk, 0, sizeof(*disk));
	pthread_mutex_init(&disk->mutex, NULL);
	disk->inode_next = 1;
	disk->capacity = UINT64_MAX;
	disk->physical_sector = SIM_SECTOR_BYTES;
	disk->direct_unit = SIM_SECTOR_BYTES;
	return disk;
}

void sim_disk_free(struct sim_disk *disk)
{
	if (!disk)
		return;
	for (size_t i = 0; i < disk->inode_count; i++)
		inode_free(disk->inodes[i]);
	for (size_t i = 0; i < disk->name_count; i++)
		sim_free(disk->names[i].path);
	sim_free(disk->inodes);
	sim_free(disk->names);
	pthread_mutex_destroy(&disk->mutex);
	sim_free(disk);
}

int sim_disk_io(struct sim_disk *disk, struct stats *stats, struct io **io)
{
	struct sim_io *sim = sim_grow(NULL, 1, sizeof(*sim));

	*sim = (struct sim_io){ .io = { .ops = &sim_ops, .stats = stats }, .disk = disk };
	*io = &sim->io;
	return 0;
}

void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes)
{
	pthread_mutex_lock(&disk->mutex);
	disk->capacity = bytes;
	pthread_mutex_unlock(&disk->mutex);
}

void sim_disk_set_physical_sector(struct sim_disk *disk, uint32_t bytes)
{
	disk->physical_sector = bytes;
}

void sim_disk_set_direct(struct sim_disk *disk, uint32_t bytes)
{
	disk->direct_unit = bytes;
}

void sim_disk_set_network(struct sim_disk *disk, bool network)
{
	disk->network = network;
}

void sim_disk_set_lying(struct sim_disk *disk, bool lying)
{
	disk->lying = lying;
}
