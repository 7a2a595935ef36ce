/* SPDX-License-Identifier: MIT */
/*
 * Power cuts of the simulated disk: what survives of the log is applied to a copy of the durable images. And damage.
 */
#include <stdlib.h>
#include <xxhash.h>

#include "sim_disk.h"
#include "sim_inode.h"

static uint64_t mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15u;
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
	value = (value ^ value >> 27) * 0x94d049bb133111ebu;
	return value ^ value >> 31;
}

/* Who is asked, how many units there have been, and which of them were torn in the file at hand. */
struct cut {
	sim_choose_fn *choose;
	void *context;
	size_t index;
	uint32_t physical_sector;
	uint64_t *torn; /* offsets */
	size_t torn_count;
};

static enum sim_fate cut_ask(struct cut *cut, struct sim_unit *unit)
{
	unit->index = cut->index++;
	return cut->choose ? cut->choose(cut->context, unit) : SIM_LOST;
}

/* The sector at offset holds garbage. */
static void spoil(struct image *image, uint64_t offset, uint64_t seed)
{
	uint64_t garbage[SIM_SECTOR_BYTES / sizeof(uint64_t)];

	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++)
		garbage[i] = mix(offset + i + seed * 1000003u);
	image_write(image, offset, garbage, sizeof(garbage));
}

/* A device whose physical sectors are larger loses a whole one, with what had been durable in it. */
static void spoil_torn(struct cut *cut, struct image *image)
{
	uint64_t length = u64_max(cut->physical_sector, SIM_SECTOR_BYTES);

	for (size_t i = 0; i < cut->torn_count; i++) {
		uint64_t from = align_down(cut->torn[i], length), end = u64_min(from + length, image->size);

		for (; from < end; from += SIM_SECTOR_BYTES)
			spoil(image, from, cut->torn[i]);
	}
	cut->torn_count = 0;
}

/* Applies what survives of a change to image (NULL: only asks). */
static void cut_change(struct cut *cut, const struct inode *inode, const struct change *change, struct image *image)
{
	uint64_t end = change->offset + change->length;
	uint64_t length = 0;

	for (uint64_t offset = change->offset; offset < end || offset == change->offset; offset += length) {
		struct sim_unit unit = { .kind = change->kind, .inode = inode->number, .offset = offset };
		enum sim_fate fate = SIM_LOST;

		length = change_piece_length(change, offset);
		unit.length = length;
		fate = cut_ask(cut, &unit);
		if (image && fate == SIM_TORN) {
			cut->torn = sim_grow(cut->torn, cut->torn_count + 1, sizeof(*cut->torn));
			cut->torn[cut->torn_count++] = offset;
		} else if (image && fate != SIM_LOST) {
			change_apply(change, image, offset, length);
		}
		if (!change_has_pieces(change))
			return;
	}
}

static void cut_inode(struct cut *cut, struct inode *inode, struct inode *copy)
{
	if (copy)
		image_copy(&copy->durable, &inode->durable);
	for (size_t i = 0; i < inode->change_count; i++)
		cut_change(cut, inode, &inode->changes[i], copy ? &copy->durable : NULL);
	if (copy) {
		spoil_torn(cut, &copy->durable);
		image_resize(&copy->durable, copy->durable.size); /* sectors that survived behind the end are gone */
		image_copy(&copy->seen, &copy->durable);
	}
}

/* Names first, so that no image is copied that nobody could open. */
static void cut_names(struct cut *cut, struct sim_disk *disk, struct sim_disk *out)
{
	for (size_t i = 0; i < disk->name_count; i++) {
		struct name *name = &disk->names[i];
		struct inode *inode = name->durable;

		if (name->seen != name->durable) {
			struct sim_unit unit = { .kind = SIM_UNIT_NAME, .path = name->path };

			unit.inode = (name->seen ? name->seen : name->durable)->number;
			if (cut_ask(cut, &unit) != SIM_LOST)
				inode = name->seen;
		}
		if (!out || !inode)
			continue;
		if (!inode->copy)
			inode->copy = inode_new(out, inode->number);
		name_add(out, name->path)->seen = inode->copy;
		name_add(out, name->path)->durable = inode->copy;
	}
}

static struct sim_disk *disk_like(const struct sim_disk *disk)
{
	struct sim_disk *out = sim_disk_new();

	out->inode_next = disk->inode_next;
	out->capacity = disk->capacity;
	out->physical_sector = disk->physical_sector;
	out->direct_unit = disk->direct_unit;
	out->network = disk->network;
	return out;
}

static void copies_forget(struct sim_disk *disk)
{
	for (size_t i = 0; i < disk->inode_count; i++)
		disk->inodes[i]->copy = NULL;
}

struct sim_disk *sim_disk_crash(struct sim_disk *disk, sim_choose_fn *choose, void *context)
{
	struct cut cut = { .choose = choose, .context = context, .physical_sector = disk->physical_sector };
	struct sim_disk *out = NULL;

	pthread_mutex_lock(&disk->mutex);
	out = disk_like(disk);
	copies_forget(disk);
	cut_names(&cut, disk, out);
	for (size_t i = 0; i < disk->inode_count; i++)
		cut_inode(&cut, disk->inodes[i], disk->inodes[i]->copy);
	pthread_mutex_unlock(&disk->mutex);
	sim_free(cut.torn);
	return out;
}

size_t sim_disk_pending(struct sim_disk *disk)
{
	return sim_disk_units(disk, NULL, NULL);
}

size_t sim_disk_units(struct sim_disk *disk, sim_choose_fn *visit, void *context)
{
	struct cut cut = { .choose = visit, .context = context };

	pthread_mutex_lock(&disk->mutex);
	cut_names(&cut, disk, NULL);
	for (size_t i = 0; i < disk->inode_count; i++)
		cut_inode(&cut, disk->inodes[i], NULL);
	pthread_mutex_unlock(&disk->mutex);
	return cut.index;
}

struct fates {
	uint64_t seed;
	uint64_t chance; /* of 1000 that a unit is kept */
	uint64_t prefix; /* units from here on are lost */
	bool torn;
};

static enum sim_fate fate_of(void *context, const struct sim_unit *unit)
{
	struct fates *fates = context;
	uint64_t number = mix(fates->seed ^ mix(unit->index));

	if (unit->index >= fates->prefix || number % 1000 >= fates->chance)
		return SIM_LOST;
	return fates->torn && unit->kind == SIM_UNIT_WRITE && number / 1000 % 16 == 0 ? SIM_TORN : SIM_KEPT;
}

struct sim_disk *sim_disk_crash_seed(struct sim_disk *disk, uint64_t seed, bool torn)
{
	static const uint64_t chances[] = { 0, 1000, 1000, 500, 500, 900, 100, 980 };
	struct fates fates = { .seed = seed, .prefix = UINT64_MAX, .torn = torn };
	uint64_t number = mix(seed);

	fates.chance = chances[number % ARRAY_SIZE(chances)];
	if (number % ARRAY_SIZE(chances) == 2)
		fates.prefix = mix(number) % (sim_disk_pending(disk) + 1);
	return sim_disk_crash(disk, fate_of, &fates);
}

static void inode_copy(struct inode *to, const struct inode *from)
{
	image_copy(&to->seen, &from->seen);
	image_copy(&to->durable, &from->durable);
	for (size_t i = 0; i < from->change_count; i++) {
		const struct change *change = &from->changes[i];

		if (change->kind == SIM_UNIT_WRITE)
			change_add_write(to, change->offset, change->length, change->data);
		else
			change_add(to, change->kind, change->offset, change->length);
	}
	to->lies = sim_grow(NULL, from->lie_count, sizeof(*to->lies));
	to->lie_count = from->lie_count;
	if (from->lie_count)
		memcpy(to->lies, from->lies, from->lie_count * sizeof(*to->lies));
}

struct sim_disk *sim_disk_kill(struct sim_disk *disk)
{
	struct sim_disk *out = NULL;

	pthread_mutex_lock(&disk->mutex);
	out = disk_like(disk);
	copies_forget(disk);
	for (size_t i = 0; i < disk->name_count; i++) {
		struct inode *ends[] = { disk->names[i].seen, disk->names[i].durable };
		struct name *name = name_add(out, disk->names[i].path);

		for (size_t end = 0; end < ARRAY_SIZE(ends); end++) {
			if (ends[end] && !ends[end]->copy) {
				ends[end]->copy = inode_new(out, ends[end]->number);
				inode_copy(ends[end]->copy, ends[end]);
			}
		}
		name->seen = ends[0] ? ends[0]->copy : NULL;
		name->durable = ends[1] ? ends[1]->copy : NULL;
	}
	pthread_mutex_unlock(&disk->mutex);
	return out;
}

/* ---- Damage ------------------------------------------------------------------------------------------------------ */

int sim_disk_poke(struct sim_disk *disk, const char *path, uint64_t offset, const void *data, uint64_t length)
{
	struct inode *inode = NULL;

	if (offset > SIM_FILE_BYTES_MAX || length > SIM_FILE_BYTES_MAX - offset)
		return -EINVAL;
	pthread_mutex_lock(&disk->mutex);
	inode = inode_find(disk, path);
	if (inode) {
		image_write(&inode->seen, offset, data, length);
		image_write(&inode->durable, offset, data, length);
	}
	pthread_mutex_unlock(&disk->mutex);
	return inode ? 0 : -ENOENT;
}

int sim_disk_peek_durable(struct sim_disk *disk, const char *path, uint64_t offset, void *data, uint64_t length)
{
	struct name *name = NULL;
	int result = 0;

	if (offset > SIM_FILE_BYTES_MAX || length > SIM_FILE_BYTES_MAX - offset)
		return -EINVAL;
	pthread_mutex_lock(&disk->mutex);
	name = name_find(disk, path);
	if (name && name->durable)
		memcpy(data, name->durable->durable.data + offset, length);
	result = name && name->durable ? 0 : -ENOENT;
	pthread_mutex_unlock(&disk->mutex);
	return result;
}

uint64_t sim_disk_digest(struct sim_disk *disk)
{
	uint64_t digest = 0;

	pthread_mutex_lock(&disk->mutex);
	for (size_t i = 0; i < disk->name_count; i++) {
		const struct name *name = &disk->names[i];

		if (name->durable)
			digest += mix(XXH3_64bits(name->path, strlen(name->path)) ^ image_digest(&name->durable->durable));
	}
	pthread_mutex_unlock(&disk->mutex);
	return digest;
}

int sim_disk_resize(struct sim_disk *disk, const char *path, uint64_t size)
{
	struct inode *inode = NULL;

	if (size > SIM_FILE_BYTES_MAX)
		return -EINVAL;
	pthread_mutex_lock(&disk->mutex);
	inode = inode_find(disk, path);
	if (inode) {
		inode_flush(inode);
		image_resize(&inode->seen, size);
		image_resize(&inode->durable, size);
	}
	pthread_mutex_unlock(&disk->mutex);
	return inode ? 0 : -ENOENT;
}
