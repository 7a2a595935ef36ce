/* SPDX-License-Identifier: MIT */
/*
 * The first slab holds a MARK of the empty state, which names that very slab as the place to replay from. A crash before
 * the last link leaves further spindles with names but no database; they are told apart by their uuid and can be removed.
 */
#include "create.h"

#include <stdlib.h>
#include <sys/random.h>

#include "error.h"

struct creation {
	struct io *io;
	const char *path;
	unsigned count;
	struct spindle *spindles;
	struct meta meta;
	uint8_t *table;
	size_t table_bytes;
	uint64_t seed;
};

char *spindle_resolve(const char *path, const char *entry)
{
	const char *slash = strrchr(path, '/');
	size_t directory = slash ? (size_t)(slash - path) + 1 : 0, bytes = strlen(entry) + 1;
	char *resolved;

	if (entry[0] == '/')
		return strdup(entry);
	resolved = malloc(directory + bytes);
	if (!resolved)
		return NULL;
	memcpy(resolved, path, directory);
	memcpy(resolved + directory, entry, bytes);
	return resolved;
}

/* How the table names a spindle: by its last part when it lies beside spindle 0, else absolutely. */
static char *table_entry(const char *path, const char *spindle)
{
	const char *slash = strrchr(path, '/'), *own = strrchr(spindle, '/');
	size_t directory = slash ? (size_t)(slash - path) : 0, own_directory = own ? (size_t)(own - spindle) : 0;
	char *folder, *absolute, *entry;

	if (directory == own_directory && !memcmp(path, spindle, directory) && !slash == !own)
		return strdup(own ? own + 1 : spindle);
	folder = own ? strndup(spindle, own_directory ? own_directory : 1) : strdup(".");
	absolute = folder ? realpath(folder, NULL) : NULL;
	entry = NULL;
	if (absolute) {
		size_t bytes = strlen(absolute) + 1 + strlen(own ? own + 1 : spindle) + 1;

		entry = malloc(bytes);
		if (entry) {
			strcpy(entry, absolute);
			strcat(entry, "/");
			strcat(entry, own ? own + 1 : spindle);
		}
	}
	free(folder);
	free(absolute);
	return entry;
}

static int make_table(struct creation *creation, const struct slf_options *options)
{
	const char *entries[SPINDLES_MAX];
	unsigned made = 0;
	int result = 0;

	for (; made < creation->count - 1; made++) {
		entries[made] = table_entry(creation->path, options->spindles[made]);
		if (!entries[made]) {
			result = error_set(-errno, options->spindles[made], (int)made + 1, OFFSET_NONE,
					   "the directory of the spindle cannot be resolved");
			break;
		}
	}
	if (!result && made) {
		creation->table_bytes = meta_table_encode(creation->table, entries, made);
		if (!creation->table_bytes)
			result = error_set(SLF_ETOOBIG, creation->path, -1, OFFSET_NONE,
					   "the paths of the spindles are too long together");
	}
	while (made--)
		free((char *)(uintptr_t)entries[made]);
	return result;
}

static int open_files(struct creation *creation, const struct slf_options *options)
{
	for (unsigned i = 0; i < creation->count; i++) {
		const char *path = i ? options->spindles[i - 1] : creation->path;
		int result = spindle_create(&creation->spindles[i], creation->io, path, i, false);

		if (!result && !(options->flags & SLF_NETWORK_FS))
			result = spindle_refuse_network(&creation->spindles[i]);
		if (result)
			return result;
	}
	return 0;
}

/* Pages and table of one spindle. The page in slot A is the newer one. */
static int write_pages(struct creation *creation, unsigned index)
{
	struct spindle *spindle = &creation->spindles[index];
	struct meta meta = creation->meta;
	uint8_t *page = aligned_alloc(META_PAGE_BYTES, META_PAGE_BYTES);
	int result = page ? 0 : -ENOMEM;

	meta.spindle_index = (uint16_t)index;
	for (uint16_t slot = 0; slot < 2 && !result; slot++) {
		meta.slot = slot;
		meta.generation = META_GENERATION_NEW - slot;
		meta_encode(page, &meta);
		result = spindle_write(spindle, 0, slot ? META_PAGE_B : META_PAGE_A, page, META_PAGE_BYTES);
		if (!result && creation->table_bytes && index == 0)
			result = spindle_write(spindle, 0, slot ? META_TABLE_B : META_TABLE_A, creation->table,
					       creation->table_bytes);
	}
	free(page);
	return result;
}

static int write_first_slab(struct creation *creation)
{
	struct meta *meta = &creation->meta;
	struct slab_header header = { .number = 1, .salt = meta->salt, .seq_limit = SEQ_LIMIT_STEP, .record_count = 1 };
	struct mark mark = { .replay_position = EXTENT_ZERO_DATA,
			     .replay_number = 1,
			     .next_tree = SLF_MAIN + 1,
			     .spindle_count = creation->count,
			     .log_extents = 1 };
	uint32_t sector = meta->sector;
	uint8_t *slab;
	int result;

	for (unsigned i = 0; i < creation->count; i++)
		mark.spindles[i].next_extent = 1;
	header.payload = (uint32_t)log_record_bytes(mark_bytes(&mark));
	header.length = (uint32_t)slab_bytes(header.payload, sector);
	slab = aligned_alloc(4096, align_up(header.length, 4096));
	if (!slab)
		return -ENOMEM;
	mark_encode(log_record_begin(slab + SLAB_HEADER_BYTES, LOG_MARK, mark_bytes(&mark)), &mark);
	slab_seal(slab, &header, creation->seed, EXTENT_ZERO_DATA);
	result = spindle_write(&creation->spindles[0], 0, EXTENT_ZERO_DATA, slab, header.length);
	meta->mark_position = EXTENT_ZERO_DATA;
	meta->mark_number = 1;
	meta->mark_digest = header.digest;
	meta->log_end = EXTENT_ZERO_DATA + header.length;
	meta->log_number = 2;
	meta->seq_limit = 0;
	meta->flags = META_FLAG_CLEAN;
	free(slab);
	return result;
}

static int write_all(struct creation *creation)
{
	int result = write_first_slab(creation);

	for (unsigned i = 0; i < creation->count && !result; i++) {
		result = write_pages(creation, i);
		if (!result)
			result = spindle_sync(&creation->spindles[i]);
	}
	return result;
}

/* Names, the commit point last. */
static int link_all(struct creation *creation)
{
	unsigned linked = 0;
	int result = 0;

	for (unsigned i = creation->count; i-- > 0 && !result;) {
		result = spindle_link(&creation->spindles[i]);
		linked += !result;
		if (!result) /* each may stand in a directory of its own */
			result = io_sync_directory(creation->io, creation->spindles[i].path);
	}
	if (result)
		for (unsigned i = creation->count; i-- > 0 && linked; linked--)
			io_remove(creation->io, creation->spindles[i].path);
	return result;
}

static int fill_meta(struct creation *creation, const struct settings *settings)
{
	struct meta *meta = &creation->meta;
	uint8_t random[24];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -errno;
	*meta = (struct meta){ .version = FORMAT_VERSION,
			       .sector = settings->sector,
			       .created_ns = clock_wall_ns(),
			       .spindle_count = (uint16_t)creation->count,
			       .leaf_bytes = settings->leaf_bytes,
			       .branch_bytes = settings->branch_bytes,
			       .inline_bytes = settings->inline_bytes,
			       .bulk_bytes = settings->bulk_bytes,
			       .compression = settings->compression,
			       .table_bytes = (uint32_t)creation->table_bytes,
			       .table_digest = meta_table_digest(creation->table, creation->table_bytes) };
	random[6] = (random[6] & 0x0f) | 0x40; /* a random UUID as in RFC 4122 */
	random[8] = (random[8] & 0x3f) | 0x80;
	memcpy(meta->uuid, random, 16);
	memcpy(&meta->salt, random + 16, 8);
	creation->seed = format_seed(meta->uuid);
	return 0;
}

int create_run(struct io *io, const char *path, const struct slf_options *options, const struct settings *settings)
{
	struct creation creation = { .io = io, .path = path, .count = options->spindle_count + 1 };
	struct settings own = *settings;
	int result;

	creation.spindles = calloc(creation.count, sizeof(*creation.spindles));
	creation.table = calloc(1, META_TABLE_BYTES);
	result = creation.spindles && creation.table ? make_table(&creation, options) : -ENOMEM;
	if (!result)
		result = open_files(&creation, options);
	if (!result) {
		own.sector = (uint32_t)u64_min(u64_max(creation.spindles[0].info.physical_sector, 512), META_PAGE_BYTES);
		result = fill_meta(&creation, &own);
	}
	if (!result)
		result = write_all(&creation);
	if (!result)
		result = link_all(&creation);
	for (unsigned i = 0; creation.spindles && i < creation.count; i++)
		spindle_close(&creation.spindles[i]);
	free(creation.spindles);
	free(creation.table);
	return result;
}
