/* SPDX-License-Identifier: MIT */
/* The stores of this build. */
#include "store.h"

#define MIB ((uint64_t)1 << 20)

extern const struct store store_solifuge, store_lmdb, store_lmdb_writemap, store_rocksdb, store_wiredtiger,
	store_leveldb, store_sqlite, store_bdb;

const struct store *const stores[] = {
	&store_solifuge,
#ifdef HAVE_LMDB
	&store_lmdb,
	&store_lmdb_writemap,
#endif
#ifdef HAVE_ROCKSDB
	&store_rocksdb,
#endif
#ifdef HAVE_WIREDTIGER
	&store_wiredtiger,
#endif
#ifdef HAVE_LEVELDB
	&store_leveldb,
#endif
#ifdef HAVE_SQLITE
	&store_sqlite,
#endif
#ifdef HAVE_BDB
	&store_bdb,
#endif
	NULL,
};

const char *const stores_not_built[] = {
#ifndef HAVE_LMDB
	"lmdb",
#endif
#ifndef HAVE_ROCKSDB
	"rocksdb",
#endif
#ifndef HAVE_WIREDTIGER
	"wiredtiger",
#endif
#ifndef HAVE_LEVELDB
	"leveldb",
#endif
#ifndef HAVE_SQLITE
	"sqlite",
#endif
#ifndef HAVE_BDB
	"bdb",
#endif
	NULL,
};

uint64_t store_cache_bytes(const struct store *store, const struct store_setup *setup)
{
	uint64_t bytes = setup->memory_bytes / 100 * store->cache_percent;
	uint64_t enough = setup->data_bytes * store->cache_data_factor + 64 * MIB;

	if (store->cache_data_factor && bytes > enough)
		bytes = enough;
	return store->cache_percent && bytes < 8 * MIB ? 8 * MIB : bytes;
}
