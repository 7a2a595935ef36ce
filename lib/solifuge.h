/* SPDX-License-Identifier: MIT */
/*
 * Solifuge: an embedded, transactional key/value store.
 *
 * A database is one file, or several (spindles). Keys are byte strings of 0 to 65535 bytes, ordered by memcmp; values
 * are byte strings of 0 to 4 GiB - 64 KiB. Any number of threads read snapshots while one transaction writes.
 *
 * Results: 0 is success. A positive result is a condition of that function (SLF_NOTFOUND, SLF_END) or, where it says so, a
 * length or descriptor. A negative result is a failure: -errno, or one of enum slf_error. Outputs are untouched on failure,
 * but by slf_multi_get().
 * slf_strerror() names a code and slf_errinfo() tells the file, the offset and the reason of the calling thread's last
 * failure.
 *
 * Threads: a slf_db may be used by any thread at any time. A transaction, and the cursors opened in it, may be used by
 * one thread at a time, but by any thread. After fork() the child's handles answer SLF_EBADHANDLE.
 *
 * Slices: a slice that the library returns stays valid until its transaction ends, also across the transaction's own
 * writes, or until slf_close(). The exceptions are asked for by name: SLF_TRANSIENT and slf_txn_trim().
 */
#ifndef SOLIFUGE_H
#define SOLIFUGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLF_VERSION_MAJOR 0
#define SLF_VERSION_MINOR 1
#define SLF_VERSION_PATCH 0

#define SLF_API __attribute__((visibility("default")))

struct slf_db;
struct slf_txn;
struct slf_cursor;

/* A run of bytes. data may be NULL only when size is 0. */
struct slf_slice {
	const void *data;
	size_t size;
};

/* Conditions: what happened, not what went wrong. */
enum slf_condition {
	SLF_NOTFOUND = 1, /* the key, the name or the version is not there */
	SLF_END = 2,      /* the cursor has passed the last entry of its range */
};

/* Failures of our own. They lie below -4096, so they never meet an errno. */
enum slf_error {
	SLF_ECORRUPT = -5001,      /* bytes on disk are damaged; slf_errinfo() says where */
	SLF_EPOISONED = -5002,     /* an earlier failure left durability in doubt; close and open again */
	SLF_ECONFLICT = -5003,     /* reserved for tentative commits */
	SLF_ENOTRETAINED = -5004,  /* that version is no longer kept */
	SLF_EREADONLY = -5005,     /* a write through a read-only handle or transaction */
	SLF_ETOOBIG = -5006,       /* a key, a value, a blob or a transaction is above its limit */
	SLF_EINCOMPATIBLE = -5007, /* the file needs a feature that this library does not know */
	SLF_EBADHANDLE = -5008,    /* a handle used after fork(), or a request its state does not allow */
	SLF_ECANCELLED = -5009,    /* the transaction was doomed by an earlier failure; abort it */
	SLF_EARENA = -5010,        /* the transaction's arena limit is reached; slf_txn_trim() or end it */
	SLF_ELOCKED = -5011,       /* another handle has the database open for writing */
	SLF_EUNKNOWN = -5012,      /* a flush failed: the commit may or may not survive; the handle is poisoned */
	SLF_ENOTDB = -5013,        /* the file is not a Solifuge database */
};

/* Flags of slf_options. */
#define SLF_CREATE 0x1u     /* create the database when it does not exist (mode 0600 & ~umask) */
#define SLF_EXCLUSIVE 0x2u  /* with SLF_CREATE: fail with -EEXIST when it exists; alone: -EINVAL */
#define SLF_READONLY 0x4u   /* never write to any file; shows the state at opening, others may write meanwhile */
#define SLF_NETWORK_FS 0x8u /* allow writing on a network file system, where locks and flushes may lie */
#define SLF_NO_MAP 0x10u    /* read by pread into private memory instead of through a map: for untrusted files */
#define SLF_NO_THREADS 0x20u /* start no background threads: whoever ends a write transaction does their work */

/* How commits become durable. */
enum slf_sync_mode {
	SLF_SYNC_COMMIT = 0, /* every commit, before slf_commit returns */
	SLF_SYNC_NONE = 1,   /* when slf_sync is called, at checkpoints and at close */
	SLF_SYNC_AUTO = 2,   /* in the background, after auto_sync_ns or auto_sync_bytes */
};

/* Which calls carry the I/O. */
enum slf_io {
	SLF_IO_DEFAULT = 0, /* the environment variable SOLIFUGE_IO ("uring" or "posix", else -EINVAL); without it
			       io_uring where it works */
	SLF_IO_URING = 1,   /* io_uring or fail */
	SLF_IO_POSIX = 2,   /* plain system calls */
};

/* Value compression, decided at creation. */
enum slf_compression {
	SLF_COMPRESSION_DEFAULT = 0, /* lz4 for values above the inline limit where it saves an eighth */
	SLF_COMPRESSION_NONE = 1,
};

/* What long work (recovery) reports. */
struct slf_progress {
	size_t size;       /* sizeof(struct slf_progress) of the library */
	const char *phase; /* in words; valid during the call */
	uint64_t done;     /* bytes of the log, or of values */
	uint64_t total;    /* 0 while it is not known */
	uint64_t left_ns;  /* that the rest of the phase will take, reckoned from what it has taken; 0 while nobody knows */
};

/* Called on the thread that does the work. 0 goes on; anything else ends the work as soon as that is safe: the call that
 * it is done for answers -ECANCELED, and nothing is lost. It must not call the library. */
typedef int slf_progress_fn(void *context, const struct slf_progress *progress);

/* What the library would log: level 3 (error) to 6 (information) as in syslog. The text ends without a newline. Called on any
 * thread, also on one of the library's own; it must not call the library. */
typedef void slf_log_fn(void *context, int level, const char *text);

/* Every field but size may be 0, which means its default. Initialise with SLF_OPTIONS_INIT. */
struct slf_options {
	size_t size;                 /* sizeof(struct slf_options) of the caller */
	unsigned flags;              /* SLF_CREATE and the others */
	int sync;                    /* enum slf_sync_mode */
	const char *const *spindles; /* paths of the further spindle files, used at creation only */
	unsigned spindle_count;      /* how many; 0 to 254 */
	int io;                      /* enum slf_io */
	int compression;             /* enum slf_compression, used at creation only */
	uint32_t leaf_bytes;         /* target size of a leaf, at creation; default 2048 */
	uint32_t branch_bytes;       /* target size of a branch, at creation; default 4096 */
	uint32_t inline_bytes;       /* values up to this size live in their leaf, at creation; default 128 */
	uint64_t heap_bytes;         /* budget for the memory of changed nodes, as it is taken from the system: it steers, and a
					large transaction or an old snapshot may exceed it; default 256 MiB, or an eighth of
					the memory where that is less */
	uint64_t log_bytes;          /* budget for the log that recovery may have to replay; default 64 MiB, at most 4 GiB */
	uint64_t arena_bytes;        /* limit of one transaction's arena; default 256 MiB */
	uint64_t auto_sync_ns;       /* SLF_SYNC_AUTO: flush at the latest after this time; default 100 ms */
	uint64_t auto_sync_bytes;    /* SLF_SYNC_AUTO: or after this many log bytes; default 16 MiB */
	slf_progress_fn *progress;   /* may be NULL */
	void *progress_context;
	slf_log_fn *log;             /* may be NULL */
	void *log_context;
};
#ifdef __cplusplus
static inline struct slf_options slf_options_init(void)
{
	struct slf_options options = slf_options();

	options.size = sizeof(options);
	return options;
}
#define SLF_OPTIONS_INIT slf_options_init()
#else
#define SLF_OPTIONS_INIT { .size = sizeof(struct slf_options) }
#endif

/*
 * Opens the database at path; options may be NULL. Recovers when the last writer did not close. On success the caller
 * owns *db and ends it with slf_close(). Errors: -ENOENT, -EISDIR, -EACCES, -ELOOP (a symbolic link), -EBUSY (others
 * change it faster than it can be read), SLF_ENOTDB, SLF_EINCOMPATIBLE, SLF_ECORRUPT, SLF_ELOCKED and whatever the
 * system reports; on failure nothing is left open, and no database is changed; but a writer makes the side file PATH.lock
 * beside an existing database before it looks at it closely.
 */
SLF_API int slf_open(const char *path, const struct slf_options *options, struct slf_db **db);

/*
 * Closes: aborts a running write transaction, makes all commits durable, writes a checkpoint and frees db, whatever it
 * returns. Transactions and cursors that are still open stay valid as handles: their calls answer SLF_EBADHANDLE and
 * they may be closed later, in any order; their slices end here. db may be NULL. An error says that the last commits may
 * not be durable. No call with db, its transactions or its cursors may run at the same time, and none with db itself
 * follow. In a child that was forked: SLF_EBADHANDLE, nothing is done.
 */
SLF_API int slf_close(struct slf_db *db);

/* Flags of slf_begin. */
#define SLF_READ 0x0u
#define SLF_WRITE 0x1u
#define SLF_TRY 0x2u     /* with SLF_WRITE: answer -EBUSY instead of waiting for the running writer, or for room in heap or log */
#define SLF_DURABLE 0x4u /* with SLF_READ: the newest durable version, where the sync mode shows newer ones */

/*
 * Begins a transaction. Readers get a snapshot and never wait. Writers queue, one runs at a time; who has waited for a
 * millisecond comes before all that called later. A write transaction sees its own changes. End it with slf_commit(),
 * slf_commit_async() or slf_abort().
 */
SLF_API int slf_begin(struct slf_db *db, unsigned flags, struct slf_txn **txn);

/* As slf_begin(), but a writer gives up with -ETIMEDOUT after timeout_ns nanoseconds; < 0 waits forever. */
SLF_API int slf_begin_timeout(struct slf_db *db, unsigned flags, int64_t timeout_ns, struct slf_txn **txn);

/* Begins a read transaction on the version after commit seq. SLF_ENOTRETAINED when it is not kept: so far only the newest
 * is. */
SLF_API int slf_begin_at(struct slf_db *db, uint64_t seq, struct slf_txn **txn);

/*
 * Commits and ends txn, whatever it returns: the pointer is not to be used again, for handles are. All changes take
 * effect together or not at all. Returns when they are durable (SLF_SYNC_COMMIT) or visible (the other modes). *seq gets
 * the commit's number when seq is not NULL; commits without changes get that of the version they read. SLF_EUNKNOWN: the
 * flush failed, only recovery can tell.
 */
SLF_API int slf_commit(struct slf_txn *txn, uint64_t *seq);

/* As slf_commit(), but returns when the commit is queued. slf_wait(*seq) tells when it is durable. */
SLF_API int slf_commit_async(struct slf_txn *txn, uint64_t *seq);

/*
 * Waits until commit seq is durable, at most timeout_ns; < 0 waits forever. -ETIMEDOUT, or the error of its group;
 * of numbers that earlier openings gave, SLF_ECANCELLED for those above the newest commit that this one has found, 0 for that
 * commit, SLF_ENOTRETAINED for those below it: some of them may have failed. -EINVAL for a number that no commit has yet; of
 * a read-only handle, which cannot tell, SLF_ENOTRETAINED. The waiting thread may itself have to write and flush for the others,
 * which is not cut short. With 0 it only asks, unless SLF_NO_THREADS leaves the writing to callers.
 */
SLF_API int slf_wait(struct slf_db *db, uint64_t seq, int64_t timeout_ns);

/*
 * Makes every commit so far durable. *durable_seq (may be NULL) gets the newest durable commit. An asynchronous commit that
 * could not be written, and that nobody asked slf_wait() for, is reported here, or by slf_checkpoint() or slf_close(), once;
 * and to all that wait here while it fails. Threads that share a handle ask slf_wait() each for its own.
 */
SLF_API int slf_sync(struct slf_db *db, uint64_t *durable_seq);

/* An eventfd that is raised each time the durable seq grows, and when commits have failed: slf_wait(seq, 0) tells of each. Owned
 * by db, closed by slf_close(). Negative on failure. */
SLF_API int slf_eventfd(struct slf_db *db);

/* Ends txn and drops its changes; the pointer is not to be used again. txn may be NULL. */
SLF_API void slf_abort(struct slf_txn *txn);

/* The version that txn reads: the seq of its newest commit. 0 when txn is doomed or no transaction. */
SLF_API uint64_t slf_txn_seq(const struct slf_txn *txn);

/* Attaches up to 65535 bytes (a Raft index and term, say) to the commit of a write transaction. Copied. It cannot be
 * read back yet. */
SLF_API int slf_txn_blob(struct slf_txn *txn, struct slf_slice blob);

/* Ends the life of all slices that txn returned so far and frees their memory. Cursors stay usable. */
SLF_API int slf_txn_trim(struct slf_txn *txn);

#define SLF_MAIN ((uint32_t)16) /* the tree that always exists; ids below are the system's */

/*
 * Finds the tree named name (1 to 255 bytes), with SLF_CREATE in a write transaction makes it. *tree gets its id, which
 * stays the same for the life of the tree. No other tree gets it; while this handle is open not even where the transaction
 * that made the tree has failed. SLF_NOTFOUND.
 */
SLF_API int slf_tree_open(struct slf_txn *txn, const char *name, unsigned flags, uint32_t *tree);

/*
 * Lists the named trees in the order of their names: gives the first one after the name in buffer ("" for the first),
 * replaces buffer (size >= 256) and sets *tree. SLF_END after the last.
 */
SLF_API int slf_tree_next(struct slf_txn *txn, char *buffer, size_t size, uint32_t *tree);

/* What is known of a tree without reading it. */
struct slf_tree_stat {
	size_t size;      /* sizeof(struct slf_tree_stat) of the caller */
	uint64_t entries; /* keys */
	uint32_t height;  /* levels of nodes, 0 when empty */
};
/* Set size before the call. */
SLF_API int slf_tree_stat(struct slf_txn *txn, uint32_t tree, struct slf_tree_stat *stat);

/* Reads the value of key. SLF_NOTFOUND leaves *value untouched. value may be NULL to ask only whether key exists. */
SLF_API int slf_get(struct slf_txn *txn, uint32_t tree, struct slf_slice key, struct slf_slice *value);

/*
 * Reads count keys at once, faster than one by one: probes are interleaved in memory and cold entries are read
 * together, where files are mapped. results[i] is 0, SLF_NOTFOUND or a failure; values[i] is set where it is 0. Returns 0
 * when every result is 0 or SLF_NOTFOUND, else the first failure. Where one of the keys is none (too long, no data), nothing is
 * looked up and every result is that failure.
 */
SLF_API int slf_multi_get(struct slf_txn *txn, uint32_t tree, const struct slf_slice *keys, size_t count,
			  struct slf_slice *values, int *results);

/*
 * Sets key to value, both copied. SLF_ETOOBIG; -ENOSPC and -ENOMEM doom the transaction (SLF_ECANCELLED from
 * then). Puts are applied to the tree in small groups, so such a failure may also come from a later call of the
 * transaction, at the latest from its commit.
 */
SLF_API int slf_put(struct slf_txn *txn, uint32_t tree, struct slf_slice key, struct slf_slice value);

/* Removes key. SLF_NOTFOUND when it is not there. */
SLF_API int slf_del(struct slf_txn *txn, uint32_t tree, struct slf_slice key);

/* Flags of slf_range. */
#define SLF_LOWER 0x1u           /* low bounds the range */
#define SLF_UPPER 0x2u           /* high bounds the range */
#define SLF_LOWER_EXCLUSIVE 0x4u /* with SLF_LOWER: low itself is outside */
#define SLF_UPPER_INCLUSIVE 0x8u /* with SLF_UPPER: high itself is inside */
#define SLF_PREFIX 0x10u         /* all keys that begin with low; high is not used */
#define SLF_TRANSIENT 0x20u      /* slices of this cursor live only until it moves: long scans without an arena */

struct slf_range {
	unsigned flags;
	struct slf_slice low;
	struct slf_slice high;
};

/*
 * Opens a cursor over a range (NULL: the whole tree); the bounds are copied. It sees the transaction's own writes, also
 * those made after it was opened, and survives the deletion of the entry it stands on.
 */
SLF_API int slf_cursor_open(struct slf_txn *txn, uint32_t tree, const struct slf_range *range,
			    struct slf_cursor **cursor);

/* Moves to the next entry; the first call after opening gives the first. SLF_END. key and value may be NULL. */
SLF_API int slf_cursor_next(struct slf_cursor *cursor, struct slf_slice *key, struct slf_slice *value);

/* Moves to the previous entry; the first call after opening gives the last. SLF_END. */
SLF_API int slf_cursor_prev(struct slf_cursor *cursor, struct slf_slice *key, struct slf_slice *value);

/* Places the cursor between entries: next() then gives the first key >= key, prev() the last key < key. */
SLF_API int slf_cursor_seek(struct slf_cursor *cursor, struct slf_slice key);

/* cursor may be NULL; its transaction may have ended. */
SLF_API void slf_cursor_close(struct slf_cursor *cursor);

/* Makes every commit so far durable, then writes a checkpoint of it and waits for that. Not for a thread that holds a write
 * transaction. */
SLF_API int slf_checkpoint(struct slf_db *db);

/* What a database is, as far as its metadata tells. */
struct slf_info {
	size_t size;              /* sizeof(struct slf_info) of the caller, set before the call */
	unsigned char uuid[16];
	uint32_t format;          /* format version */
	uint32_t spindle_count;
	uint64_t created_ns;      /* nanoseconds since 1970 */
	uint64_t seq;             /* newest visible commit */
	uint64_t durable_seq;     /* newest durable commit */
	uint64_t checkpoint_seq;  /* newest checkpoint */
	uint64_t generation;      /* of the metadata page */
	uint64_t file_bytes;      /* sum of the file sizes */
	uint64_t allocated_bytes; /* sum of what the file systems have allocated */
	uint32_t leaf_bytes;
	uint32_t branch_bytes;
	uint32_t inline_bytes;
	uint32_t clean;           /* 1: the last writer closed the database before this opening */
	char io[16];              /* back end in use */
	char map[16];             /* "map" or "pread" */
	uint32_t damaged;         /* 1: the log is damaged, commits are lost; what is read is the newest good commit */
	uint32_t cut;             /* 1: a copy, taken in use or damaged since: commits after seq are missing in it */
};
SLF_API int slf_info(struct slf_db *db, struct slf_info *info);

/*
 * Writes the path of a spindle, 0 being the file that slf_open() was given, as snprintf does: returns the length without the
 * final zero, or a failure: -EINVAL when there is no spindle of that index.
 */
SLF_API int slf_spindle_path(struct slf_db *db, unsigned index, char *buffer, size_t size);

/* Latencies in nanoseconds: bucket[i] counts values in [2^i, 2^(i+1)). */
struct slf_histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t bucket[40];
};

/* Counters since slf_open(), by layer. Sizes in bytes. */
struct slf_stats {
	size_t size; /* sizeof(struct slf_stats) of the caller, set before the call */
	/* the I/O seam */
	uint64_t io_reads, io_read_bytes;
	uint64_t io_writes, io_write_bytes;
	uint64_t io_syncs, io_allocates, io_errors;
	struct slf_histogram io_read_ns, io_write_ns, io_sync_ns;
	/* log */
	uint64_t log_slabs, log_bytes, log_padding_bytes, log_extents_recycled, log_live_bytes;
	/* bulk */
	uint64_t bulk_bytes, bulk_values, bulk_nodes, bulk_value_raw_bytes, bulk_value_stored_bytes;
	/* store: entries checked before first use */
	uint64_t store_checks, store_check_bytes, store_corruptions;
	/* heap: live blocks; what the system gave for them; the limit of the first */
	uint64_t heap_bytes, heap_held_bytes, heap_limit_bytes;
	/* transactions */
	uint64_t txn_reads, txn_writes, txn_commits, txn_aborts;
	uint64_t ops_get, ops_put, ops_del, ops_cursor;
	uint64_t commit_groups;
	struct slf_histogram commit_ns;
	/* checkpoints and recovery */
	uint64_t checkpoints, checkpoint_bytes, checkpoint_stall_ns, rollbacks;
	uint64_t replay_commits, replay_actions, replay_ns;
	/* gauges */
	uint64_t readers, oldest_reader_seq, seq, durable_seq, checkpoint_seq;
	/* the I/O seam: pieces of files given back or made zeros */
	uint64_t io_punches;
	/* extents of 2 MiB that were taken for each stream, not those used again */
	uint64_t log_extents, bulk_extents;
	/* trees: nodes that came of splitting, pairs that became one, overlays put together with their leaf */
	uint64_t tree_splits, tree_joins, tree_folds;
};
SLF_API int slf_stats(struct slf_db *db, struct slf_stats *stats);

enum slf_format {
	SLF_TEXT = 0, /* one "name value" line each */
	SLF_JSON = 1, /* one object */
};

/* Writes stats as text as snprintf does: returns the length without the final zero, or a failure. */
SLF_API int slf_stats_format(const struct slf_stats *stats, int format, char *buffer, size_t size);

/* What the calling thread's last failure was about. */
struct slf_errinfo {
	size_t size;       /* sizeof(struct slf_errinfo) of the caller, set before the call */
	int code;          /* as returned; 0 when nothing failed yet */
	int spindle;       /* -1 when no spindle is concerned */
	uint64_t offset;   /* bytes from the start of the spindle; UINT64_MAX when there is none */
	uint64_t expected; /* checksum, size or number that was expected, where that says something */
	uint64_t found;
	char text[512];    /* what, where, and what to do, in words */
};
SLF_API int slf_errinfo(struct slf_errinfo *info);

/* A short text for a result of any function here. Never NULL; lives forever. */
SLF_API const char *slf_strerror(int code);

/* "0.1.0": of the library at run time. */
SLF_API const char *slf_version(void);

#ifdef __cplusplus
}
#endif
#endif
