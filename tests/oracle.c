/* SPDX-License-Identifier: MIT */
/* See oracle.h. Written to be seen through, not to be fast: a search, a copy of an array of pointers, a count. */
#include "oracle.h"

#include <stdlib.h>
#include <string.h>

#include "scratch.h"

int oracle_compare(struct slf_slice a, struct slf_slice b)
{
	size_t common = a.size < b.size ? a.size : b.size;
	int order = common ? memcmp(a.data, b.data, common) : 0;

	return order ? order : (a.size > b.size) - (a.size < b.size);
}

static struct oracle_entry *entry_new(uint32_t tree, struct slf_slice key, struct slf_slice value)
{
	struct oracle_entry *entry = malloc(sizeof(*entry) + key.size + value.size);

	must(entry != NULL);
	atomic_init(&entry->references, 1);
	entry->tree = tree;
	entry->key = bytes(entry->data, key.size);
	entry->value = bytes(entry->data + key.size, value.size);
	if (key.size)
		memcpy(entry->data, key.data, key.size);
	if (value.size)
		memcpy(entry->data + key.size, value.data, value.size);
	return entry;
}

static void entry_release(struct oracle_entry *entry)
{
	if (atomic_fetch_sub(&entry->references, 1) == 1)
		free(entry);
}

static struct oracle_version *version_new(const struct oracle_version *base)
{
	struct oracle_version *version = calloc(1, sizeof(*version));
	size_t i = 0;

	must(version != NULL);
	atomic_init(&version->references, 1);
	version->capacity = (base ? base->count : 0) + 64;
	version->entries = calloc(version->capacity, sizeof(*version->entries));
	must(version->entries != NULL);
	if (!base)
		return version;
	version->seq = base->seq;
	version->count = base->count;
	for (i = 0; i < base->count; i++) {
		version->entries[i] = base->entries[i];
		atomic_fetch_add(&version->entries[i]->references, 1);
	}
	return version;
}

void oracle_version_release(struct oracle_version *version)
{
	size_t i = 0;

	if (!version || atomic_fetch_sub(&version->references, 1) != 1)
		return;
	for (i = 0; i < version->count; i++)
		entry_release(version->entries[i]);
	free(version->entries);
	free(version);
}

void oracle_init(struct oracle *oracle, uint64_t seq)
{
	memset(oracle, 0, sizeof(*oracle));
	pthread_mutex_init(&oracle->mutex, NULL);
	pthread_cond_init(&oracle->committed, NULL);
	oracle->versions[0] = version_new(NULL);
	oracle->versions[0]->seq = seq;
	oracle->count = 1;
}

void oracle_release(struct oracle *oracle)
{
	while (oracle->count)
		oracle_version_release(oracle->versions[--oracle->count]);
	pthread_cond_destroy(&oracle->committed);
	pthread_mutex_destroy(&oracle->mutex);
}

struct oracle_version *oracle_begin(struct oracle *oracle)
{
	struct oracle_version *version = NULL;

	pthread_mutex_lock(&oracle->mutex);
	version = version_new(oracle->versions[oracle->count - 1]);
	pthread_mutex_unlock(&oracle->mutex);
	return version;
}

void oracle_commit(struct oracle *oracle, struct oracle_version *version, uint64_t seq)
{
	struct oracle_version *dropped = NULL;

	pthread_mutex_lock(&oracle->mutex);
	must(seq > oracle->versions[oracle->count - 1]->seq);
	version->seq = seq;
	if (oracle->count == ORACLE_VERSIONS) {
		dropped = oracle->versions[0];
		memmove(oracle->versions, oracle->versions + 1, (ORACLE_VERSIONS - 1) * sizeof(*oracle->versions));
		oracle->count--;
	}
	oracle->versions[oracle->count++] = version;
	pthread_cond_broadcast(&oracle->committed);
	pthread_mutex_unlock(&oracle->mutex);
	oracle_version_release(dropped);
}

void oracle_cut(struct oracle *oracle, uint64_t seq)
{
	while (oracle->count > 1 && oracle->versions[oracle->count - 1]->seq > seq)
		oracle_version_release(oracle->versions[--oracle->count]);
	must(oracle->versions[oracle->count - 1]->seq == seq);
}

void oracle_restart(struct oracle *oracle, uint64_t seq)
{
	unsigned i = 0;

	for (i = 0; i + 1 < oracle->count; i++)
		oracle_version_release(oracle->versions[i]);
	oracle->versions[0] = oracle->versions[oracle->count - 1];
	oracle->count = 1;
	oracle->versions[0]->seq = seq;
}

struct oracle_version *oracle_acquire(struct oracle *oracle, uint64_t seq)
{
	struct oracle_version *found = NULL;
	unsigned i = 0;

	pthread_mutex_lock(&oracle->mutex);
	while (oracle->versions[oracle->count - 1]->seq < seq)
		pthread_cond_wait(&oracle->committed, &oracle->mutex);
	for (i = oracle->count; i > 0 && oracle->versions[i - 1]->seq > seq; i--)
		;
	if (i) {
		found = oracle->versions[i - 1];
		must(found->seq == seq);
		atomic_fetch_add(&found->references, 1);
	}
	pthread_mutex_unlock(&oracle->mutex);
	return found;
}

size_t oracle_find(const struct oracle_version *version, uint32_t tree, struct slf_slice key)
{
	size_t low = 0, high = version->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct oracle_entry *entry = version->entries[middle];

		if (entry->tree < tree || (entry->tree == tree && oracle_compare(entry->key, key) < 0))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct oracle_entry *oracle_get(const struct oracle_version *version, uint32_t tree, struct slf_slice key)
{
	size_t i = oracle_find(version, tree, key);

	if (i == version->count || version->entries[i]->tree != tree ||
	    oracle_compare(version->entries[i]->key, key) != 0)
		return NULL;
	return version->entries[i];
}

void oracle_put(struct oracle_version *version, uint32_t tree, struct slf_slice key, struct slf_slice value)
{
	struct oracle_entry *entry = entry_new(tree, key, value);
	size_t i = oracle_find(version, tree, key);

	if (oracle_get(version, tree, key)) {
		entry_release(version->entries[i]);
		version->entries[i] = entry;
		return;
	}
	if (version->count == version->capacity) {
		version->capacity *= 2;
		version->entries = realloc(version->entries, version->capacity * sizeof(*version->entries));
		must(version->entries != NULL);
	}
	memmove(version->entries + i + 1, version->entries + i, (version->count - i) * sizeof(*version->entries));
	version->entries[i] = entry;
	version->count++;
}

bool oracle_del(struct oracle_version *version, uint32_t tree, struct slf_slice key)
{
	size_t i = oracle_find(version, tree, key);

	if (!oracle_get(version, tree, key))
		return false;
	entry_release(version->entries[i]);
	version->count--;
	memmove(version->entries + i, version->entries + i + 1, (version->count - i) * sizeof(*version->entries));
	return true;
}

static bool starts_with(struct slf_slice key, struct slf_slice prefix)
{
	return key.size >= prefix.size && (prefix.size == 0 || memcmp(key.data, prefix.data, prefix.size) == 0);
}

/* Does the entry lie within both bounds? */
static bool in_range(const struct oracle_entry *entry, const struct slf_range *range)
{
	int low = 0, high = 0;

	if (!range)
		return true;
	if (range->flags & SLF_PREFIX)
		return starts_with(entry->key, range->low);
	low = oracle_compare(entry->key, range->low);
	high = oracle_compare(entry->key, range->high);
	if ((range->flags & SLF_LOWER) && (low < 0 || (low == 0 && (range->flags & SLF_LOWER_EXCLUSIVE))))
		return false;
	return !(range->flags & SLF_UPPER) || high < 0 || (high == 0 && (range->flags & SLF_UPPER_INCLUSIVE));
}

void oracle_range(const struct oracle_version *version, uint32_t tree, const struct slf_range *range, size_t *first,
		  size_t *end)
{
	size_t i = oracle_find(version, tree, bytes(NULL, 0));

	while (i < version->count && version->entries[i]->tree == tree && !in_range(version->entries[i], range))
		i++;
	*first = i;
	while (i < version->count && version->entries[i]->tree == tree && in_range(version->entries[i], range))
		i++;
	*end = i;
}
