/* SPDX-License-Identifier: MIT */
/*
 * Reading entries, each checked before its first use.
 *
 * A reference comes from bytes that a digest covers, but it is not trusted to lead to a sane place: position and length
 * are held against the rules of the format and the size of the file before anything is mapped, read or allocated.
 *
 * The bit of an entry may be set only by a check of bytes in the map, since it vouches for what later views show, or by
 * the checkpoint that has written it. A copy made by pread is checked every time. In the map a bit is worth something
 * only together with the header: it says that these bytes are what their header claims, and the header is compared with
 * the reference on every access.
 *
 * All failures here are a damaged entry (SLF_ECORRUPT, with spindle, offset and what differs), a failure of reading
 * that the spindle has noted, or -ENOMEM.
 */
#include "store.h"

#include <stdlib.h>

#include "codec.h"
#include "error.h"
#include "slab.h"

#define LENS_STEP_BYTES 4096  /* a lens grows to a multiple of it */
#define LZ4_GAIN_MAX 255      /* one stored byte stands for no more raw bytes */
#define PREFETCH_REQUESTS 64  /* in flight at once */
#define PREFETCH_BLOCKS_MAX 4 /* of one entry */

/* Where an entry lies. */
struct place {
	struct spindle *spindle;
	uint64_t offset;
};

void lens_release(struct lens *lens)
{
	free(lens->buffer);
	*lens = (struct lens){ 0 };
}

/* Makes room for length bytes; what the lens held is lost. */
static int lens_reserve(struct lens *lens, size_t length)
{
	size_t capacity = (size_t)align_up(length, LENS_STEP_BYTES);

	if (length <= lens->capacity)
		return 0;
	lens_release(lens);
	lens->buffer = malloc(capacity);
	if (!lens->buffer)
		return -ENOMEM;
	lens->capacity = capacity;
	return 0;
}

int store_corrupt(struct store *store, uint64_t position, uint64_t expected, uint64_t found, const char *what)
{
	unsigned spindle = position_spindle(position);
	const char *path = spindle < store->spindle_count ? store->spindles[spindle].path : NULL;

	stats_add(&store->stats->values.store_corruptions, 1);
	if (expected == found)
		return error_set(SLF_ECORRUPT, path, (int)spindle, position_offset(position), "%s", what);
	return error_set_mismatch(SLF_ECORRUPT, path, (int)spindle, position_offset(position), expected, found, what);
}

uint64_t store_bytes(const struct store *store)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < store->spindle_count; i++)
		sum += atomic_load(&store->spindles[i].size);
	return sum;
}

static int place_no_memory(const struct place *place)
{
	return error_set(-ENOMEM, place->spindle->path, (int)place->spindle->index, place->offset,
			 "no memory to read an entry");
}

/* Can an entry of at least `bytes` bytes stand at position? */
static int place_find(struct store *store, uint64_t position, uint64_t bytes, struct place *place)
{
	unsigned index = position_spindle(position);
	uint64_t offset = position_offset(position);
	uint64_t size;

	if (index >= store->spindle_count)
		return store_corrupt(store, position, store->spindle_count, index,
				     "reference leads to a spindle that the database has not");
	place->spindle = &store->spindles[index];
	place->offset = offset;
	if (offset % ENTRY_ALIGN || offset < EXTENT_BYTES)
		return store_corrupt(store, position, 0, 0, "reference leads to a place where no entry can start");
	size = atomic_load_explicit(&place->spindle->size, memory_order_acquire);
	if (bytes > size || offset > size - bytes)
		return store_corrupt(store, position, offset + bytes, size, "entry reaches beyond the end of the file");
	return 0;
}

/* Reads bytes of an entry that place_find has allowed: a file that is shorter now is one more kind of damage. */
static int place_read(struct store *store, const struct place *place, void *data, uint64_t bytes)
{
	int result = spindle_read(place->spindle, 0, place->offset, data, bytes);

	if (result == SLF_ECORRUPT)
		stats_add(&store->stats->values.store_corruptions, 1);
	return result;
}

static void count_check(struct store *store, uint64_t bytes)
{
	stats_add(&store->stats->values.store_checks, 1);
	stats_add(&store->stats->values.store_check_bytes, bytes);
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------- */

/* Hostile: an entry in an extent of the log, where it would be overwritten after it was checked. Damage of an extent's header
 * is none of its entries. */
static int check_stream(struct store *store, uint64_t position, const struct place *place)
{
	uint64_t start = position % EXTENT_BYTES;
	const void *view = spindle_view(place->spindle, place->offset - start, EXTENT_HEADER_BYTES);
	struct extent_header header;

	if (!view || extent_header_decode(view, store->seed, position - start, &header) || header.stream != STREAM_LOG)
		return 0;
	return store_corrupt(store, position, STREAM_BULK, STREAM_LOG, "reference leads to an entry in an extent of the log");
}

static int node_place_find(struct store *store, const struct node_ref *ref, struct place *place)
{
	uint64_t in_block = ref->position % NODE_BLOCK_BYTES;

	if (ref->length < NODE_HEADER_BYTES || ref->length > NODE_BYTES_MAX)
		return store_corrupt(store, ref->position, NODE_BYTES_MAX, ref->length,
				     "reference to a node has a length that nodes cannot have");
	if (in_block && in_block + ref->length > NODE_BLOCK_BYTES)
		return store_corrupt(store, ref->position, 0, 0, "reference leads to a node across two blocks");
	if (ref->position % EXTENT_BYTES + ref->length > EXTENT_BYTES)
		return store_corrupt(store, ref->position, 0, 0, "reference leads to a node across two extents");
	return place_find(store, ref->position, ref->length, place);
}

int store_node_slow(struct store *store, const struct node_ref *ref, struct lens *lens, const struct node **node)
{
	struct place place = { 0 };
	uint64_t expected = 0, found = 0;
	const struct node *view = NULL;
	const char *wrong = NULL;
	bool mapped;
	int result;

	result = node_place_find(store, ref, &place);
	if (!result)
		result = check_stream(store, ref->position, &place);
	if (result)
		return result;
	view = spindle_view(place.spindle, place.offset, ref->length);
	mapped = view != NULL;
	if (!mapped) {
		if (lens_reserve(lens, ref->length))
			return place_no_memory(&place);
		result = place_read(store, &place, lens->buffer, ref->length);
		if (result)
			return result;
		view = lens->buffer;
	}
	count_check(store, ref->length);
	wrong = node_verify(view, ref->length, store->seed, ref->position, ref->hash, ref->length, &expected, &found);
	if (wrong)
		return store_corrupt(store, ref->position, expected, found, wrong);
	if (!node_matches(view, ref))
		return store_corrupt(store, ref->position, (uint64_t)ref->tree << 32 | ref->level,
				     (uint64_t)node_tree(view) << 32 | node_level(view),
				     "node is of another tree or level than its parent says");
	if (mapped)
		store_node_vouch(store, ref->position, ref->length);
	*node = view;
	return 0;
}

/* ---- Values ------------------------------------------------------------------------------------------------------ */

/* One reading of a value. */
struct value_read {
	struct store *store;
	const struct value_ref *ref;
	struct place place;
	uint64_t bytes; /* of the entry, as its header says; not more than the file has */
	value_alloc_fn *alloc;
	void *context;
};

static int value_alloc(const struct value_read *read, size_t size, void **memory)
{
	int error = -ENOMEM;

	*memory = read->alloc(read->context, size, &error);
	return *memory ? 0 : error;
}

/* The rules that bound a reference's numbers before they bound a transfer or an allocation. */
static const char *value_ref_check(const struct value_ref *ref)
{
	if (ref->raw > VALUE_BYTES_MAX)
		return "value reference has more bytes than values can have";
	if (ref->stored > ref->raw)
		return "value reference has more stored than raw bytes";
	if (ref->stored < ref->raw && (ref->raw > LZ4_BYTES_MAX || ref->raw > (uint64_t)LZ4_GAIN_MAX * ref->stored))
		return "value reference has more raw bytes than its stored bytes can give";
	return NULL;
}

/* Finds the entry's place, and its length from its first bytes, which are not checked yet. */
static int value_place_find(struct value_read *read)
{
	const struct value_ref *ref = read->ref;
	const char *wrong = value_ref_check(ref);
	uint8_t copy[VALUE_HEADER_BYTES];
	struct entry_header header = { 0 };
	const void *view = NULL;
	int result;

	if (wrong)
		return store_corrupt(read->store, ref->position, ref->stored, ref->raw, wrong);
	result = place_find(read->store, ref->position, value_entry_bytes(0, ref->stored), &read->place);
	if (result)
		return result;
	view = spindle_view(read->place.spindle, read->place.offset, VALUE_HEADER_BYTES);
	if (!view) {
		result = place_read(read->store, &read->place, copy, sizeof(copy));
		if (result)
			return result;
		view = copy;
	}
	entry_header_decode(view, &header);
	if (header.type != ENTRY_VALUE)
		return store_corrupt(read->store, ref->position, ENTRY_VALUE, header.type, "entry is not a value");
	if (header.aux > KEY_BYTES_MAX)
		return store_corrupt(read->store, ref->position, KEY_BYTES_MAX, header.aux,
				     "value entry's owner key is longer than keys can be");
	read->bytes = value_entry_bytes(header.aux, ref->stored);
	return place_find(read->store, ref->position, read->bytes, &read->place);
}

/* Checks an entry, all of it at hand. */
static int value_check(const struct value_read *read, const void *entry, struct slf_slice *stored)
{
	uint64_t expected = 0, found = 0;
	const char *wrong;

	count_check(read->store, read->bytes);
	wrong = value_entry_check(entry, read->bytes, read->store->seed, read->ref->position, read->ref, stored,
				  &expected, &found);
	return wrong ? store_corrupt(read->store, read->ref->position, expected, found, wrong) : 0;
}

/* Does the header of an entry that has been checked say what the reference says? Then the entry is the one that it
 * means, and its length is read->bytes. */
static bool value_matches(const struct value_read *read, const uint8_t *entry)
{
	const struct value_ref *ref = read->ref;
	struct entry_header header;

	entry_header_decode(entry, &header);
	return header.type == ENTRY_VALUE && header.hash == ref->hash && header.length == (uint32_t)read->bytes &&
	       header.kind == (ref->stored < ref->raw ? VALUE_LZ4 : VALUE_RAW) &&
	       get_u64(entry + ENTRY_HEADER_BYTES) == ref->raw;
}

/* Gives the value inside a checked entry: as it stands, or decompressed. */
static int value_give(const struct value_read *read, struct slf_slice stored, struct slf_slice *value)
{
	void *memory = NULL;
	int result;

	if (read->ref->stored == read->ref->raw) {
		*value = stored;
		return 0;
	}
	result = value_alloc(read, read->ref->raw, &memory);
	if (result)
		return result;
	result = value_decompress(stored, memory, read->ref->raw);
	if (result)
		return store_corrupt(read->store, read->ref->position, 0, 0, "compressed value does not decompress");
	*value = slice(memory, read->ref->raw);
	return 0;
}

/* The value of an entry that no map shows. A raw one is read to where it stays, header and key before it. */
static int value_copy(const struct value_read *read, struct slf_slice *value)
{
	bool raw = read->ref->stored == read->ref->raw;
	struct slf_slice stored = { 0 };
	void *scratch = NULL, *memory = NULL;
	int result = 0;

	if (raw)
		result = value_alloc(read, (size_t)read->bytes, &memory);
	else
		memory = scratch = malloc((size_t)read->bytes);
	if (result)
		goto out;
	if (!memory) {
		result = place_no_memory(&read->place);
		goto out;
	}
	result = place_read(read->store, &read->place, memory, read->bytes);
	if (!result)
		result = value_check(read, memory, &stored);
	if (!result)
		result = value_give(read, stored, value);
out:
	free(scratch);
	return result;
}

int store_value(struct store *store, const struct value_ref *ref, bool settled, value_alloc_fn *alloc, void *context,
		struct slf_slice *value)
{
	struct value_read read = { .store = store, .ref = ref, .alloc = alloc, .context = context };
	struct slf_slice stored = { 0 };
	const uint8_t *view = NULL;
	int result;

	result = value_place_find(&read);
	if (result)
		return result;
	view = spindle_view(read.place.spindle, read.place.offset, read.bytes);
	if (!view)
		return value_copy(&read, value);
	if (verified_test(&store->verified, ref->position) && value_matches(&read, view)) {
		stored = slice(view + (read.bytes - ref->stored), ref->stored);
	} else {
		result = check_stream(store, ref->position, &read.place);
		if (!result)
			result = value_check(&read, view, &stored);
		if (result)
			return result;
		/* Only what a flush has covered may be vouched for: the pages of a younger value can still be lost. A node on
		 * disk that leads to it may be one that a transaction has spilled. */
		if (settled && !atomic_load_explicit(&store->unflushed, memory_order_relaxed))
			verified_set(&store->verified, ref->position);
	}
	return value_give(&read, stored, value);
}

int store_actions(struct store *store, const struct entry_ref *ref, void **buffer, struct slf_slice *actions)
{
	struct place place = { 0 };
	const char *wrong = NULL;
	void *entry = NULL;
	int result;

	if (ref->length < ACTIONS_ENTRY_HEADER_BYTES)
		return store_corrupt(store, ref->position, ACTIONS_ENTRY_HEADER_BYTES, ref->length,
				     "reference to actions is shorter than their header");
	result = place_find(store, ref->position, ref->length, &place);
	if (result)
		return result;
	entry = malloc(ref->length);
	if (!entry)
		return place_no_memory(&place);
	result = place_read(store, &place, entry, ref->length);
	if (result)
		goto out;
	count_check(store, ref->length);
	wrong = actions_entry_check(entry, ref->length, store->seed, ref, actions);
	if (wrong) {
		result = store_corrupt(store, ref->position, 0, 0, wrong);
		goto out;
	}
	*buffer = entry;
	entry = NULL;
out:
	free(entry);
	return result;
}

/* ---- Prefetch ---------------------------------------------------------------------------------------------------- */

/*
 * A clear bit is taken for "perhaps not in memory": it costs no call to the kernel to ask, and an entry whose bit is
 * set was in memory not long ago. One byte of each block is read, which brings the whole block into the page cache at
 * the depth of the batch; the bytes themselves are thrown away. Failures are left to the access that follows.
 */
void store_prefetch(struct store *store, const struct node_ref *refs, size_t count)
{
	struct io_request requests[PREFETCH_REQUESTS];
	uint8_t bytes[PREFETCH_REQUESTS];
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		unsigned index = position_spindle(refs[i].position);
		uint64_t offset = position_offset(refs[i].position);
		uint64_t blocks = u64_min((refs[i].length + NODE_BLOCK_BYTES - 1) / NODE_BLOCK_BYTES, PREFETCH_BLOCKS_MAX);

		if (index >= store->spindle_count || !store->spindles[index].mapped ||
		    verified_test(&store->verified, refs[i].position))
			continue;
		if (used + blocks > PREFETCH_REQUESTS) {
			io_run(store->io, requests, used);
			used = 0;
		}
		for (uint64_t block = 0; block < blocks; block++, used++)
			requests[used] = (struct io_request){ .op = IO_READ,
							      .file = store->spindles[index].file,
							      .offset = offset + block * NODE_BLOCK_BYTES,
							      .length = 1,
							      .data = &bytes[used] };
	}
	/* A single one is as well served by the page fault. */
	if (used > 1)
		io_run(store->io, requests, used);
}
