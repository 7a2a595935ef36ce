/* SPDX-License-Identifier: MIT */
/* See tree_rig.h. */
#include "tree_rig.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void rig_hold(bool holds, const char *condition, const char *file, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

/* ---- Random ------------------------------------------------------------------------------------------------------ */

uint64_t rig_random(struct rig_random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t rig_below(struct rig_random *random, uint64_t limit)
{
	return rig_random(random) % limit;
}

struct rig_random rig_seed(const char *test)
{
	const char *given = getenv("SOLIFUGE_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : clock_wall_ns();

	fprintf(stderr, "%s: SOLIFUGE_TEST_SEED=%llu\n", test, (unsigned long long)seed);
	return (struct rig_random){ .state = seed };
}

struct slf_slice rig_key(enum rig_keys kind, uint64_t number, uint8_t *buffer)
{
	struct rig_random random = { .state = number };
	size_t size = 0;

	switch (kind) {
	case RIG_NUMBERS:
		put_be32(buffer, 0);
		put_be32(buffer + 4, (uint32_t)number);
		return slice(buffer, 8);
	case RIG_WORDS:
		size = (size_t)snprintf((char *)buffer, RIG_KEY_BYTES, "a/long/common/beginning/%llu/%llu",
					(unsigned long long)(number / 100), (unsigned long long)(number % 100));
		return slice(buffer, size);
	case RIG_SHORT:
		for (; number; number /= 3)
			buffer[size++] = (uint8_t)(number % 3 == 2 ? 0xff : number % 3);
		return slice(buffer, size);
	case RIG_MIXED:
		break;
	}
	if (number % 50 == 0) {
		size = 100 + rig_below(&random, 300);
		memset(buffer, (int)(number % 7), size);
		put_u64(buffer + size - 8, number);
		return slice(buffer, size);
	}
	return rig_key((enum rig_keys)(number % 3), number / 3, buffer);
}

struct slf_slice rig_value(uint64_t number, size_t bytes_max, uint8_t *buffer)
{
	struct rig_random random = { .state = number };
	size_t size = (size_t)rig_below(&random, bytes_max + 1);
	bool compressible = rig_random(&random) & 1;

	/* Most are small, as most values are. */
	if (rig_below(&random, 8))
		size = size % 40;
	for (size_t i = 0; i < size; i++)
		buffer[i] = compressible && i >= 16 ? buffer[i - 16] : (uint8_t)rig_random(&random);
	return slice(buffer, size);
}

/* ---- Model ------------------------------------------------------------------------------------------------------- */

size_t rig_model_find(const struct rig_model *model, struct slf_slice key, bool *found)
{
	size_t low = 0, high = model->count;

	*found = false;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = slice_compare(model->items[middle]->key, key);

		if (order < 0) {
			low = middle + 1;
		} else {
			high = middle;
			*found |= order == 0;
		}
	}
	return low;
}

void rig_model_copy(struct rig_model *to, const struct rig_model *from)
{
	rig_model_release(to);
	to->items = calloc(from->count + 1, sizeof(*to->items));
	rig_must(to->items != NULL);
	if (from->count)
		memcpy(to->items, from->items, from->count * sizeof(*to->items));
	to->count = from->count;
	to->capacity = from->count + 1;
}

void rig_model_release(struct rig_model *model)
{
	free(model->items);
	*model = (struct rig_model){ 0 };
}

static void model_put(struct tree_rig *rig, struct slf_slice key, struct slf_slice value)
{
	struct rig_model *model = &rig->model;
	struct rig_item *item = malloc(sizeof(*item) + key.size + value.size);
	bool found;
	size_t at = rig_model_find(model, key, &found);

	rig_must(item != NULL);
	item->next = rig->all;
	rig->all = item;
	item->key = slice(item->data, key.size);
	item->value = slice(item->data + key.size, value.size);
	if (key.size)
		memcpy(item->data, key.data, key.size);
	if (value.size)
		memcpy(item->data + key.size, value.data, value.size);
	if (!found) {
		if (model->count == model->capacity) {
			model->capacity = 2 * model->capacity + 16;
			model->items = realloc(model->items, model->capacity * sizeof(*model->items));
			rig_must(model->items != NULL);
		}
		memmove(model->items + at + 1, model->items + at, (model->count - at) * sizeof(*model->items));
		model->count++;
	}
	model->items[at] = item;
}

static bool model_del(struct rig_model *model, struct slf_slice key)
{
	bool found;
	size_t at = rig_model_find(model, key, &found);

	if (!found)
		return false;
	model->count--;
	memmove(model->items + at, model->items + at + 1, (model->count - at) * sizeof(*model->items));
	return true;
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static void spindle_start(struct tree_rig *rig, unsigned index, bool map)
{
	const char *directory = getenv("TMPDIR");
	char path[256];
	int descriptor;

	snprintf(path, sizeof(path), "%s/solifuge-rig-XXXXXX", directory ? directory : "/tmp");
	descriptor = mkstemp(path);
	rig_must(descriptor >= 0);
	close(descriptor);
	rig_must(spindle_open(&rig->spindles[index], rig->io, path, index, IO_OPEN_WRITE, map) == 0);
	unlink(path);
	rig->next_offset[index] = EXTENT_BYTES;
}

void rig_init(struct tree_rig *rig, const struct rig_options *options)
{
	memset(rig, 0, sizeof(*rig));
	if (options->io && strcmp(options->io, "uring") == 0 && io_uring_new(&rig->stats, &rig->io) == 0)
		;
	else
		rig_must(io_posix_new(&rig->stats, &rig->io) == 0);
	for (unsigned i = 0; i < RIG_SPINDLES; i++)
		spindle_start(rig, i, options->map);
	for (unsigned i = 0; i < sizeof(rig->store.uuid); i++)
		rig->store.uuid[i] = (uint8_t)(17 * i + 1);
	rig->store.io = rig->io;
	rig->store.stats = &rig->stats;
	rig->store.seed = format_seed(rig->store.uuid);
	rig->store.settings = (struct settings){ .leaf_bytes = options->leaf_bytes,
						 .branch_bytes = options->branch_bytes,
						 .inline_bytes = options->inline_bytes,
						 .bulk_bytes = BULK_BYTES_DEFAULT,
						 .sector = 512,
						 .compression = 1 };
	rig->store.spindle_count = RIG_SPINDLES;
	rig->store.spindles = rig->spindles;
	rig_must(verified_init(&rig->store.verified) == 0);
	rig_must(heap_new(&rig->heap) == 0);
	rig->heap_start_bytes = heap_used(rig->heap);
	edit_init(&rig->edit, &rig->store, rig->heap, 1);
}

void rig_release(struct tree_rig *rig)
{
	while (rig->all) {
		struct rig_item *next = rig->all->next;

		free(rig->all);
		rig->all = next;
	}
	rig_model_release(&rig->model);
	rig_model_release(&rig->committed_model);
	edit_release(&rig->edit);
	garbage_release(&rig->garbage);
	free(rig->entries);
	heap_free_all(rig->heap);
	verified_release(&rig->store.verified);
	for (unsigned i = 0; i < RIG_SPINDLES; i++)
		spindle_close(&rig->spindles[i]);
	io_free(rig->io);
}

uint64_t rig_place(struct tree_rig *rig, size_t length)
{
	/* Long rows on one spindle, then on the other: neighbours are near each other, parents are not. */
	unsigned index = (unsigned)(rig->entry_count / 10 % RIG_SPINDLES);
	uint64_t offset = align_up(rig->next_offset[index], ENTRY_ALIGN);

	if (offset % 4096 && offset % 4096 + length > 4096)
		offset = align_up(offset, 4096);
	if (length <= EXTENT_BYTES && offset / EXTENT_BYTES != (offset + length - 1) / EXTENT_BYTES)
		offset = align_up(offset, EXTENT_BYTES);
	rig->next_offset[index] = offset + length;
	return position_make(index, offset);
}

void rig_store(struct tree_rig *rig, uint64_t position, const void *entry, size_t length)
{
	struct spindle *spindle = &rig->spindles[position_spindle(position)];
	uint64_t offset = position_offset(position);
	struct entry_header header;

	if (offset + length > spindle->size)
		rig_must(spindle_allocate(spindle, spindle->size,
					  align_up(offset + length, EXTENT_BYTES) - spindle->size) == 0);
	rig_must(spindle_write(spindle, 0, offset, entry, length) == 0);
	if (rig->entry_count == rig->entry_capacity) {
		rig->entry_capacity = 2 * rig->entry_capacity + 64;
		rig->entries = realloc(rig->entries, rig->entry_capacity * sizeof(*rig->entries));
		rig_must(rig->entries != NULL);
	}
	entry_header_decode(entry, &header);
	rig->entries[rig->entry_count++] = (struct rig_entry){ .position = position,
								.length = (uint32_t)length,
								.type = header.type,
								.kind = header.kind,
								.level = header.level };
}

void rig_damage(struct tree_rig *rig, uint64_t position, uint8_t mask)
{
	struct spindle *spindle = &rig->spindles[position_spindle(position)];
	uint8_t byte = 0;

	rig_must(spindle_read(spindle, 0, position_offset(position), &byte, 1) == 0);
	byte ^= mask;
	rig_must(spindle_write(spindle, 0, position_offset(position), &byte, 1) == 0);
	verified_clear(&rig->store.verified, position);
}

void rig_forget(struct tree_rig *rig)
{
	for (unsigned i = 0; i < RIG_SPINDLES; i++)
		for (uint64_t offset = 0; offset < rig->spindles[i].size; offset += EXTENT_BYTES)
			verified_clear(&rig->store.verified, position_make(i, offset));
}

/* ---- Changes ----------------------------------------------------------------------------------------------------- */

void rig_put(struct tree_rig *rig, struct slf_slice key, struct slf_slice value)
{
	struct record record = { .key = key, .value = value, .kind = RECORD_INLINE };
	uint8_t reference[VALUE_REF_BYTES];

	if (value.size > rig->store.settings.inline_bytes) {
		struct block *block = edit_alloc(&rig->edit, value.size, BLOCK_VALUE);

		rig_must(block != NULL);
		block->raw = (uint32_t)value.size;
		memcpy(block_payload(block), value.data, value.size);
		heap_ref_encode(reference, block);
		record.value = slice(reference, sizeof(reference));
		record.kind = RECORD_HEAP;
	}
	rig_must(tree_put(&rig->edit, RIG_TREE, &rig->root, &record) == 0);
	model_put(rig, key, value);
	rig_must(rig->root.count == rig->model.count);
}

void rig_del(struct tree_rig *rig, struct slf_slice key)
{
	int result = tree_del(&rig->edit, RIG_TREE, &rig->root, key);

	rig_must(result == (model_del(&rig->model, key) ? 0 : SLF_NOTFOUND));
	rig_must(rig->root.count == rig->model.count);
}

void rig_change(struct tree_rig *rig, struct rig_random *random, const struct rig_mix *mix, size_t changes)
{
	uint8_t key_bytes[RIG_KEY_BYTES], value_bytes[RIG_VALUE_BYTES];

	rig_must(mix->value_bytes_max <= RIG_VALUE_BYTES);
	for (size_t i = 0; i < changes; i++) {
		struct slf_slice key = rig_key(mix->keys, rig_below(random, mix->range), key_bytes);

		if (rig_below(random, 100) < mix->del_percent)
			rig_del(rig, key);
		else
			rig_put(rig, key, rig_value(rig_random(random), mix->value_bytes_max, value_bytes));
	}
}

void rig_commit(struct tree_rig *rig)
{
	struct edit *edit = &rig->edit;

	for (size_t i = 0; i < edit->garbage.count; i++)
		rig_must(garbage_add(&rig->garbage, edit->garbage.blocks[i]) == 0);
	edit->garbage.count = 0;
	edit->born = NULL;
	edit_start(edit, edit->store, edit->heap, edit->epoch + 1);
	rig->committed_root = rig->root;
	rig_model_copy(&rig->committed_model, &rig->model);
}

void rig_undo(struct tree_rig *rig)
{
	edit_undo(&rig->edit);
	rig->edit.epoch++;
	rig->root = rig->committed_root;
	rig_model_copy(&rig->model, &rig->committed_model);
}

void rig_collect(struct tree_rig *rig)
{
	for (size_t i = 0; i < rig->garbage.count; i++)
		heap_free(rig->heap, rig->garbage.blocks[i]);
	rig->garbage.count = 0;
}

/* ---- Writing the tree -------------------------------------------------------------------------------------------- */

/* Writes a value of the heap, and encodes the reference to it. */
static void write_value(struct tree_rig *rig, struct slf_slice key, struct block *block, uint8_t *reference)
{
	struct slf_slice raw = slice(block_payload(block), block->raw);
	uint8_t *stored = malloc(raw.size + 1);
	uint32_t size = value_compress(raw, stored);
	size_t bytes = value_entry_bytes(key.size, size ? size : raw.size);
	uint64_t position = rig_place(rig, bytes);
	uint8_t *entry = malloc(bytes);
	struct value_ref ref;

	rig_must(stored && entry);
	value_entry_encode(entry, rig->store.seed, position, RIG_TREE, key, size ? stored : raw.data,
			   size ? size : block->raw, block->raw, &ref);
	rig_store(rig, position, entry, bytes);
	value_ref_encode(reference, &ref);
	free(entry);
	free(stored);
	rig_must(edit_drop(&rig->edit, block) == 0);
}

/* Seals an image, writes it, and makes child lead to it instead of to the heap. */
static void write_image(struct tree_rig *rig, struct node *image, struct child *child)
{
	uint32_t length = node_length(image);
	uint64_t position = rig_place(rig, length);

	node_seal(image, rig->store.seed, position);
	rig_store(rig, position, image, length);
	rig_must(edit_drop(&rig->edit, block_of(word_node(child->word))) == 0);
	child->word = position;
	child->hash = node_hash(image);
	child->length = length;
	free(image);
}

static void write_leaf(struct tree_rig *rig, struct child *child)
{
	const struct node *leaf = word_node(child->word);
	struct records records = { 0 };
	struct delta_base base;
	bool delta = node_kind(leaf) == NODE_DELTA;
	struct node *image;
	uint8_t *references;
	size_t bytes;

	rig_must(node_gather(leaf, &records) == 0);
	references = malloc(VALUE_REF_BYTES * records.count + 1);
	rig_must(references != NULL);
	for (size_t i = 0; i < records.count; i++) {
		struct record *record = &records.items[i];
		uint8_t *reference = references + VALUE_REF_BYTES * i;

		if (record->kind != RECORD_HEAP)
			continue;
		write_value(rig, record->key, heap_ref_block(record->value), reference);
		record->value = slice(reference, VALUE_REF_BYTES);
		record->kind = RECORD_REF;
	}
	if (delta)
		node_delta_base(leaf, &base);
	bytes = node_leaf_bytes(records.items, records.count, records.count, node_fence(leaf).size, delta);
	image = malloc(bytes);
	rig_must(image != NULL);
	node_leaf_build(image, bytes, RIG_TREE, node_fence(leaf), delta ? &base : NULL, records.items, records.count,
			records.count, node_live(leaf));
	write_image(rig, image, child);
	records_release(&records);
	free(references);
}

static void write_below(struct tree_rig *rig, unsigned level, struct child *child)
{
	const struct node *branch = word_node(child->word);
	struct children children = { 0 };
	struct node *image;
	size_t bytes;

	if (!word_is_heap(child->word))
		return;
	if (!level) {
		write_leaf(rig, child);
		return;
	}
	rig_must(node_branch_gather(branch, &children) == 0);
	for (size_t i = 0; i < children.count; i++)
		write_below(rig, level - 1, &children.items[i]);
	bytes = node_branch_bytes(children.items, children.count, node_fence(branch).size);
	image = malloc(bytes);
	rig_must(image != NULL);
	node_branch_build(image, bytes, RIG_TREE, level, node_fence(branch), children.items, children.count);
	write_image(rig, image, child);
	children_release(&children);
}

void rig_write(struct tree_rig *rig)
{
	struct child top = { .word = rig->root.word,
			     .hash = rig->root.hash,
			     .count = rig->root.count,
			     .length = rig->root.length };

	rig_commit(rig);
	if (rig->root.word)
		write_below(rig, rig->root.height - 1, &top);
	rig->root.word = top.word;
	rig->root.hash = top.hash;
	rig->root.length = top.length;
	rig_commit(rig);
}

void rig_layers(struct tree_rig *rig, struct rig_random *random, const struct rig_mix *mix, size_t changes)
{
	rig_change(rig, random, mix, changes);
	rig_write(rig);
	rig_change(rig, random, mix, changes / 40);
	rig_write(rig);
	rig_change(rig, random, mix, changes / 40);
	rig_commit(rig);
}

/* ---- Checks ------------------------------------------------------------------------------------------------------ */

static void *copy_alloc(void *context, size_t size, int *error)
{
	void **memory = context;

	(void)error;
	rig_must(!*memory);
	return *memory = malloc(size + 1);
}

bool rig_found_is(struct tree_rig *rig, const struct found *found, const struct rig_item *item)
{
	struct slf_slice value = found->record.value;
	struct value_ref ref;
	void *memory = NULL;
	bool same;

	if (slice_compare(found->record.key, item->key) || found->record.kind == RECORD_TOMB)
		return false;
	if (found->heap == found->settled || found->heap != (found->birth != 0))
		return false;
	if (found->record.kind == RECORD_HEAP)
		value = slice(block_payload(heap_ref_block(value)), heap_ref_block(value)->raw);
	if (found->record.kind == RECORD_REF) {
		value_ref_decode(found->record.value.data, &ref);
		rig_must(store_value(&rig->store, &ref, found->settled, copy_alloc, &memory, &value) == 0);
	}
	same = slice_compare(value, item->value) == 0;
	free(memory);
	return same;
}

/* Every node must be found from the root by its fence: that is how what knows only the node finds its place. */
static void check_fences(struct tree_rig *rig, const struct tree_root *root, unsigned level, const struct child *at)
{
	uint64_t word = root->word, hash = root->hash;
	uint32_t length = root->length;
	const struct node *node, *branch;
	struct lens lens = { 0 }, way = { 0 };
	struct child child;

	rig_must(tree_node(&rig->store, RIG_TREE, level, at->word, at->hash, at->length, &lens, &node) == 0);
	for (unsigned i = root->height - 1; i > level; i--) {
		rig_must(tree_node(&rig->store, RIG_TREE, i, word, hash, length, &way, &branch) == 0);
		node_child(branch, node_branch_find(branch, node_fence(node)), &child);
		word = child.word;
		hash = child.hash;
		length = child.length;
	}
	rig_must(word == at->word);
	for (uint32_t i = 0; level && i < node_count(node); i++) {
		node_child(node, i, &child);
		check_fences(rig, root, level - 1, &child);
	}
	lens_release(&lens);
	lens_release(&way);
}

void rig_check(struct tree_rig *rig, const struct tree_root *root, const struct rig_model *model)
{
	struct tree_lenses lenses = { 0 };
	uint8_t *key_bytes = malloc(KEY_BYTES_MAX + 1);
	struct found found;
	bool there;

	rig_must(key_bytes != NULL);
	rig_must(root->count == model->count);
	rig_must((root->word == 0) == (model->count == 0));
	for (size_t i = 0; i < model->count; i++) {
		struct slf_slice key = model->items[i]->key;

		rig_must(tree_get(&rig->store, RIG_TREE, root, key, &lenses, &found) == 0);
		rig_must(rig_found_is(rig, &found, model->items[i]));
		/* A key just behind is mostly not there. */
		if (key.size)
			memcpy(key_bytes, key.data, key.size);
		key_bytes[key.size] = 0;
		rig_model_find(model, slice(key_bytes, key.size + 1), &there);
		rig_must(tree_get(&rig->store, RIG_TREE, root, slice(key_bytes, key.size + 1), &lenses, &found) ==
			 (there ? 0 : SLF_NOTFOUND));
	}
	memset(key_bytes, 0xff, 13);
	rig_must(tree_get(&rig->store, RIG_TREE, root, slice(key_bytes, 13), &lenses, &found) == SLF_NOTFOUND);
#ifdef PARANOID
	tree_assert(&rig->store, RIG_TREE, root);
#endif
	if (root->word)
		check_fences(rig, root, root->height - 1,
			     &(struct child){ .word = root->word, .hash = root->hash, .length = root->length });
	tree_lenses_release(&lenses);
	free(key_bytes);
}
