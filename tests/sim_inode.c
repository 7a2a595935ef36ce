/* SPDX-License-Identifier: MIT */
/*
 * Files of the simulated disk. A file is two images, what a process sees and what is durable, and the log of what
 * happened between them. An image lies in address space reserved for the largest file, so that it never moves and only
 * the pages in use cost memory. A flush applies the log to the durable image.
 */
#include "sim_inode.h"

#include <malloc.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <xxhash.h>

#include "codec.h"

#define BLOCKS_MAX (SIM_FILE_BYTES_MAX / BLOCK_BYTES)
#define AREA_ALIGN (2 * MIB)
#define AREA_BYTES (SIM_FILE_BYTES_MAX + AREA_ALIGN + BLOCKS_MAX)
#define PUNCH_PIECE_BYTES (64 * KIB)
#define POOL_AREAS_MAX 64
#define POOL_WIPE_BYTES_MAX (32 * MIB)
#define POOL_GUARD_BYTES MIB
#define BLOCK_ALLOCATED 1u
#define BLOCK_WRITTEN 2u /* may hold bytes other than zero */

_Thread_local volatile unsigned sim_own_memory; /* volatile: a compiler knows that free() does not look at it */

void *sim_grow(void *old, size_t count, size_t size)
{
	void *memory = NULL;

	sim_own_memory++;
	memory = realloc(old, count > 0 ? count * size : 1);
	sim_own_memory--;
	if (!memory)
		abort();
	return memory;
}

void sim_free(void *memory)
{
	sim_own_memory++;
	free(memory);
	sim_own_memory--;
}

static void *area_map(void)
{
	void *area = NULL;

	sim_own_memory++;
	area = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	sim_own_memory--;
	if (area == MAP_FAILED)
		abort();
	return area;
}

static void area_unmap(void *area)
{
	sim_own_memory++;
	munmap(area, AREA_BYTES);
	sim_own_memory--;
}

/* ---- Images ------------------------------------------------------------------------------------------------------ */

/* Areas that were used before and read as zeros again: mapping them anew costs more than all the rest of a power cut. With
 * AddressSanitizer the start of one may not be looked at while it lies here, as by a map that outlives its disk. */
static struct {
	pthread_mutex_t mutex;
	void *areas[POOL_AREAS_MAX];
	size_t count;
} pool = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void *pool_take(void)
{
	void *area = NULL;

	pthread_mutex_lock(&pool.mutex);
	if (pool.count)
		area = pool.areas[--pool.count];
	pthread_mutex_unlock(&pool.mutex);
	return area;
}

static bool pool_give(const struct image *image)
{
	bool given = false;

	pthread_mutex_lock(&pool.mutex);
	given = pool.count < POOL_AREAS_MAX;
	if (given) {
		ASAN_POISON_MEMORY_REGION(image->data, POOL_GUARD_BYTES);
		pool.areas[pool.count++] = image->area;
	}
	pthread_mutex_unlock(&pool.mutex);
	return given;
}

void sim_keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 16 << 20);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

static void image_place(struct image *image)
{
	image->data = (uint8_t *)align_up((uintptr_t)image->area, AREA_ALIGN);
	image->blocks = image->data + SIM_FILE_BYTES_MAX;
}

static void image_init(struct image *image)
{
	memset(image, 0, sizeof(*image));
	image->area = pool_take();
	if (!image->area)
		image->area = area_map();
	image_place(image);
	ASAN_UNPOISON_MEMORY_REGION(image->data, POOL_GUARD_BYTES);
}

static void image_wipe(struct image *image)
{
	for (uint64_t block = 0; block < image->used / BLOCK_BYTES; block++)
		if (image->blocks[block] & BLOCK_WRITTEN)
			memset(image->data + block * BLOCK_BYTES, 0, BLOCK_BYTES);
	memset(image->blocks, 0, image->used / BLOCK_BYTES);
}

static void image_release(struct image *image)
{
	if (!image->area)
		return;
	if (image->used <= POOL_WIPE_BYTES_MAX) {
		image_wipe(image);
		if (pool_give(image))
			return;
	}
	area_unmap(image->area);
}

static void image_mark(struct image *image, uint64_t offset, uint64_t length, uint8_t marks)
{
	uint64_t last = (offset + length - 1) / BLOCK_BYTES;

	for (uint64_t block = offset / BLOCK_BYTES; length && block <= last; block++) {
		if (!image->blocks[block])
			image->allocated_bytes += BLOCK_BYTES;
		image->blocks[block] |= marks;
	}
	image->used = u64_max(image->used, align_up(offset + length, BLOCK_BYTES));
}

void image_mark_allocated(struct image *image, uint64_t offset, uint64_t length)
{
	image_mark(image, offset, length, BLOCK_ALLOCATED);
}

/* Most of a log is zeros: blocks that have never held anything else are not touched. */
void image_write(struct image *image, uint64_t offset, const void *data, uint64_t length)
{
	const uint8_t *from = data;

	while (length) {
		uint64_t part = u64_min(length, BLOCK_BYTES - offset % BLOCK_BYTES);
		bool holds = image->blocks[offset / BLOCK_BYTES] & BLOCK_WRITTEN || !all_zero(from, part);

		image_mark(image, offset, part, holds ? BLOCK_ALLOCATED | BLOCK_WRITTEN : BLOCK_ALLOCATED);
		if (holds)
			memcpy(image->data + offset, from, part);
		from += part;
		offset += part;
		length -= part;
	}
}

void image_read(const struct image *image, uint64_t offset, void *data, uint64_t length)
{
	uint8_t *to = data;

	while (length) {
		uint64_t part = u64_min(length, BLOCK_BYTES - offset % BLOCK_BYTES);

		if (image->blocks[offset / BLOCK_BYTES] & BLOCK_WRITTEN)
			memcpy(to, image->data + offset, part);
		else
			memset(to, 0, part);
		to += part;
		offset += part;
		length -= part;
	}
}

void image_punch(struct image *image, uint64_t offset, uint64_t length)
{
	uint64_t end = u64_min(offset + length, image->used);

	while (offset < end) {
		uint64_t block = offset / BLOCK_BYTES;
		uint64_t part_end = u64_min((block + 1) * BLOCK_BYTES, end);

		if (image->blocks[block] & BLOCK_WRITTEN)
			memset(image->data + offset, 0, part_end - offset);
		if (image->blocks[block] && part_end - offset == BLOCK_BYTES) {
			image->blocks[block] = 0;
			image->allocated_bytes -= BLOCK_BYTES;
		}
		offset = part_end;
	}
}

void image_resize(struct image *image, uint64_t size)
{
	if (size < image->used)
		image_punch(image, size, image->used - size);
	image->used = u64_min(image->used, align_up(size, BLOCK_BYTES));
	image->size = size;
}

void image_copy(struct image *to, const struct image *from)
{
	for (uint64_t block = 0; block < from->used / BLOCK_BYTES; block++) {
		uint64_t offset = block * BLOCK_BYTES;

		if (from->blocks[block] & BLOCK_WRITTEN)
			memcpy(to->data + offset, from->data + offset, BLOCK_BYTES);
		if (from->blocks[block])
			to->blocks[block] = from->blocks[block];
	}
	to->size = from->size;
	to->used = from->used;
	to->allocated_bytes = from->allocated_bytes;
}

uint64_t image_digest(const struct image *image)
{
	uint64_t digest = image->size;

	for (uint64_t block = 0; block < image->used / BLOCK_BYTES; block++) {
		const uint8_t *data = image->data + block * BLOCK_BYTES;

		if (image->blocks[block] & BLOCK_WRITTEN && !all_zero(data, BLOCK_BYTES))
			digest = digest * 0x9e3779b97f4a7c15u + XXH3_64bits_withSeed(data, BLOCK_BYTES, block);
	}
	return digest;
}

/* ---- The log of a file ------------------------------------------------------------------------------------------- */

struct change *change_add(struct inode *inode, enum sim_unit_kind kind, uint64_t offset, uint64_t length)
{
	struct change *change = NULL;

	if (inode->change_count == inode->change_room) {
		inode->change_room = inode->change_room * 2 + 8;
		inode->changes = sim_grow(inode->changes, inode->change_room, sizeof(*inode->changes));
	}
	change = &inode->changes[inode->change_count++];
	*change = (struct change){ .kind = kind, .offset = offset, .length = length };
	return change;
}

void change_add_write(struct inode *inode, uint64_t offset, uint64_t length, const uint8_t *data)
{
	uint8_t *copy = sim_grow(NULL, length, 1);

	memcpy(copy, data, length);
	change_add(inode, SIM_UNIT_WRITE, offset, length)->data = copy;
}

static void changes_clear(struct inode *inode)
{
	for (size_t i = 0; i < inode->change_count; i++)
		sim_free(inode->changes[i].data);
	inode->change_count = 0;
}

bool change_has_pieces(const struct change *change)
{
	return change->kind == SIM_UNIT_WRITE || change->kind == SIM_UNIT_PUNCH;
}

/* Takes [from, end) out of the changes of bytes, and growths that are durable; the order of the rest stays. */
static void changes_forget(struct inode *inode, uint64_t from, uint64_t end)
{
	struct change *old = inode->changes;
	size_t count = inode->change_count;

	inode->changes = NULL;
	inode->change_count = 0;
	inode->change_room = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t offset = old[i].offset, old_end = old[i].offset + old[i].length;

		if (old[i].kind == SIM_UNIT_GROW && old_end <= inode->durable.size)
			continue;
		if (!change_has_pieces(&old[i]) || old_end <= from || offset >= end) {
			change_add(inode, old[i].kind, offset, old[i].length)->data = old[i].data;
			continue;
		}
		for (int side = 0; side < 2; side++) {
			uint64_t a = side ? end : offset, b = side ? old_end : from;

			if (a < b && old[i].kind == SIM_UNIT_WRITE)
				change_add_write(inode, a, b - a, old[i].data + (a - offset));
			else if (a < b)
				change_add(inode, old[i].kind, a, b - a);
		}
		sim_free(old[i].data);
	}
	sim_free(old);
}

void change_apply(const struct change *change, struct image *image, uint64_t offset, uint64_t length)
{
	switch (change->kind) {
	case SIM_UNIT_WRITE:
		image_write(image, offset, change->data + (offset - change->offset), length);
		break;
	case SIM_UNIT_PUNCH:
		image_punch(image, offset, length);
		break;
	case SIM_UNIT_GROW:
		image->size = u64_max(image->size, change->length);
		break;
	case SIM_UNIT_ALLOCATE:
		image_mark(image, offset, length, BLOCK_ALLOCATED);
		image->size = u64_max(image->size, offset + length);
		break;
	case SIM_UNIT_TRUNCATE:
		image_resize(image, change->length);
		break;
	case SIM_UNIT_NAME:
		abort();
	}
}

uint64_t change_piece_length(const struct change *change, uint64_t offset)
{
	uint64_t end = change->offset + change->length;

	if (change->kind == SIM_UNIT_WRITE)
		return SIM_SECTOR_BYTES;
	if (change->kind == SIM_UNIT_PUNCH)
		return u64_min(end, align_down(offset, PUNCH_PIECE_BYTES) + PUNCH_PIECE_BYTES) - offset;
	return change->length;
}

void inode_flush(struct inode *inode)
{
	for (size_t i = 0; i < inode->change_count; i++)
		change_apply(&inode->changes[i], &inode->durable, inode->changes[i].offset, inode->changes[i].length);
	changes_clear(inode);
}

static bool inode_has_change(const struct inode *inode, enum sim_unit_kind kind)
{
	for (size_t i = 0; i < inode->change_count; i++)
		if (inode->changes[i].kind == kind)
			return true;
	return false;
}

void inode_flush_range(struct inode *inode, uint64_t from, uint64_t end, uint64_t size_end)
{
	if (inode_has_change(inode, SIM_UNIT_TRUNCATE)) {
		inode_flush(inode);
		return;
	}
	inode->durable.size = u64_max(inode->durable.size, size_end);
	changes_forget(inode, from, end);
	image_write(&inode->durable, from, inode->seen.data + from, end - from);
}

void inode_forget_lies(struct inode *inode, uint64_t from, uint64_t end)
{
	struct range *old = inode->lies;
	size_t count = inode->lie_count;

	if (count == 0)
		return;
	inode->lies = sim_grow(NULL, 2 * count, sizeof(*inode->lies));
	inode->lie_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct range before = { old[i].offset, u64_min(old[i].end, from) };
		struct range after = { u64_max(old[i].offset, end), old[i].end };

		if (before.offset < before.end)
			inode->lies[inode->lie_count++] = before;
		if (after.offset < after.end)
			inode->lies[inode->lie_count++] = after;
	}
	sim_free(old);
}

void inode_drop(struct inode *inode, uint64_t from, uint64_t end)
{
	for (size_t i = 0; i < inode->change_count; i++) {
		struct range lie = { u64_max(inode->changes[i].offset, from),
				     u64_min(inode->changes[i].offset + inode->changes[i].length, end) };

		if (inode->changes[i].kind != SIM_UNIT_WRITE || lie.offset >= lie.end)
			continue;
		inode->lies = sim_grow(inode->lies, inode->lie_count + 1, sizeof(*inode->lies));
		inode->lies[inode->lie_count++] = lie;
	}
	changes_forget(inode, from, end);
}

struct inode *inode_new(struct sim_disk *disk, uint64_t number)
{
	struct inode *inode = sim_grow(NULL, 1, sizeof(*inode));

	memset(inode, 0, sizeof(*inode));
	inode->number = number;
	image_init(&inode->seen);
	image_init(&inode->durable);
	disk->inodes = sim_grow(disk->inodes, disk->inode_count + 1, sizeof(*disk->inodes));
	disk->inodes[disk->inode_count++] = inode;
	return inode;
}

void inode_free(struct inode *inode)
{
	changes_clear(inode);
	sim_free(inode->changes);
	sim_free(inode->lies);
	sim_free(inode->locks);
	image_release(&inode->seen);
	image_release(&inode->durable);
	sim_free(inode);
}

/* ---- Names ------------------------------------------------------------------------------------------------------- */

struct name *name_find(struct sim_disk *disk, const char *path)
{
	for (size_t i = 0; i < disk->name_count; i++)
		if (strcmp(disk->names[i].path, path) == 0)
			return &disk->names[i];
	return NULL;
}

struct name *name_add(struct sim_disk *disk, const char *path)
{
	struct name *name = name_find(disk, path);

	if (name)
		return name;
	disk->names = sim_grow(disk->names, disk->name_count + 1, sizeof(*disk->names));
	name = &disk->names[disk->name_count++];
	*name = (struct name){ .path = sim_grow(NULL, strlen(path) + 1, 1) };
	strcpy(name->path, path);
	return name;
}

struct inode *inode_find(struct sim_disk *disk, const char *path)
{
	struct name *name = name_find(disk, path);

	return name ? name->seen : NULL;
}
