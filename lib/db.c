/* SPDX-License-Identifier: MIT */
/*
 * Opening: look at the metadata of spindle 0 without writing anything (a foreign file stays as it is), then for a writer
 * take the locks (side file, then spindle 0) and look again, then the further spindles, then recovery.
 * Closing: threads end, the running write transaction is undone, everything is made durable, a last checkpoint, a page with
 * the clean flag.
 */
#include "db.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "create.h"
#include "error.h"
#include "memory.h"
#include "page.h"
#include "recover.h"
#include "txn.h"

#define PAGE_BYTES 4096
#define LOG_BYTES_MAX (4096 * MIB) /* twice that on disk is as many extents as a MARK can list */

/* ---- Options ----------------------------------------------------------------------------------------------------- */

/* Copies what the caller's struct has; what it does not know stays 0. */
static int options_take(const struct slf_options *from, struct slf_options *options)
{
	*options = (struct slf_options)SLF_OPTIONS_INIT;
	if (!from)
		return 0;
	if (from->size < offsetof(struct slf_options, spindles))
		return error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_options.size is not set: use SLF_OPTIONS_INIT");
	if (from->size > sizeof(*options)) {
		const uint8_t *rest = (const uint8_t *)from;

		for (size_t i = sizeof(*options); i < from->size; i++)
			if (rest[i])
				return error_set(-EINVAL, NULL, -1, OFFSET_NONE,
						 "slf_options sets a field that this library does not know");
	}
	memcpy(options, from, from->size < sizeof(*options) ? from->size : sizeof(*options));
	return 0;
}

static bool spindles_named(const struct slf_options *options)
{
	for (unsigned i = 0; i < options->spindle_count; i++)
		if (!options->spindles[i] || !*options->spindles[i])
			return false;
	return true;
}

static int options_check(const struct slf_options *options)
{
	const char *wrong = NULL;

	if (options->flags & ~(SLF_CREATE | SLF_EXCLUSIVE | SLF_READONLY | SLF_NETWORK_FS | SLF_NO_MAP | SLF_NO_THREADS))
		wrong = "flags has an unknown bit";
	else if ((options->flags & SLF_READONLY) && (options->flags & SLF_CREATE))
		wrong = "SLF_READONLY and SLF_CREATE exclude each other";
	else if ((options->flags & SLF_EXCLUSIVE) && !(options->flags & SLF_CREATE))
		wrong = "SLF_EXCLUSIVE needs SLF_CREATE";
	else if (options->sync < SLF_SYNC_COMMIT || options->sync > SLF_SYNC_AUTO)
		wrong = "sync is no slf_sync_mode";
	else if (options->io < SLF_IO_DEFAULT || options->io > SLF_IO_POSIX)
		wrong = "io is no slf_io";
	else if (options->compression < 0 || options->compression > SLF_COMPRESSION_NONE)
		wrong = "compression is no slf_compression";
	else if (options->spindle_count > SPINDLES_MAX - 1 || (options->spindle_count && !options->spindles))
		wrong = "spindle_count must be 0 to 254";
	else if (!spindles_named(options))
		wrong = "a path in spindles is NULL or empty";
	else if (options->leaf_bytes && (options->leaf_bytes < NODE_SIZE_MIN || options->leaf_bytes > NODE_SIZE_MAX))
		wrong = "leaf_bytes must be 256 to 65536";
	else if (options->branch_bytes && (options->branch_bytes < NODE_SIZE_MIN || options->branch_bytes > NODE_SIZE_MAX))
		wrong = "branch_bytes must be 256 to 65536";
	else if (options->inline_bytes > INLINE_SIZE_MAX)
		wrong = "inline_bytes must be at most 4096";
	else if (options->heap_bytes && options->heap_bytes < 64 * KIB)
		wrong = "heap_bytes must be at least 65536";
	else if (options->log_bytes && (options->log_bytes < 64 * KIB || options->log_bytes > LOG_BYTES_MAX))
		wrong = "log_bytes must be 65536 to 4294967296";
	return wrong ? error_set(-EINVAL, NULL, -1, OFFSET_NONE, "slf_options: %s", wrong) : 0;
}

static uint64_t or_default(uint64_t value, uint64_t standard)
{
	return value ? value : standard;
}

static void tuning_set(struct tuning *tuning, const struct slf_options *options)
{
	tuning->sync = options->sync;
	tuning->memory_bytes = memory_bytes();
	/* the budget is for what the system gives; up to a quarter of that lies between blocks */
	tuning->heap_bytes = or_default(options->heap_bytes, u64_min(256 * MIB, tuning->memory_bytes / 8)) / 4 * 3;
	tuning->log_bytes = or_default(options->log_bytes, 64 * MIB);
	tuning->arena_bytes = or_default(options->arena_bytes, 256 * MIB);
	tuning->auto_sync_ns = or_default(options->auto_sync_ns, 100000000);
	tuning->auto_sync_bytes = or_default(options->auto_sync_bytes, 16 * MIB);
	tuning->readonly = options->flags & SLF_READONLY;
	tuning->network = options->flags & (SLF_READONLY | SLF_NETWORK_FS);
	tuning->map = !(options->flags & SLF_NO_MAP);
	tuning->threads = !(options->flags & (SLF_NO_THREADS | SLF_READONLY));
	tuning->progress = options->progress;
	tuning->progress_context = options->progress_context;
	tuning->log = options->log;
	tuning->log_context = options->log_context;
}

static struct settings settings_of(const struct slf_options *options)
{
	return (struct settings){
		.leaf_bytes = (uint32_t)or_default(options->leaf_bytes, LEAF_BYTES_DEFAULT),
		.branch_bytes = (uint32_t)or_default(options->branch_bytes, BRANCH_BYTES_DEFAULT),
		.inline_bytes = (uint32_t)or_default(options->inline_bytes, INLINE_BYTES_DEFAULT),
		.bulk_bytes = BULK_BYTES_DEFAULT,
		.compression = options->compression == SLF_COMPRESSION_NONE ? 0 : 1,
	};
}

/* ---- Metadata ---------------------------------------------------------------------------------------------------- */

/* The better page of a spindle. */
static int choose_page(struct spindle *spindle, struct meta *meta)
{
	struct pages pages;
	int result = pages_read(spindle, &pages);

	if (result)
		return result;
	*meta = pages.metas[pages.best];
	spindle->lost_page = pages.reasons[pages.best ^ 1];
	spindle->uneven_pages = spindle->lost_page || pages.metas[pages.best ^ 1].salt != meta->salt;
	return 0;
}

/* One is enough, and the next opening for writing makes the other anew; but a disk that loses one may lose more. A power cut
 * in the writing of a page leaves the like. */
static void tell_lost_page(struct core *core, const struct spindle *spindle)
{
	if (spindle->lost_page)
		core_log(core, 4, "%s: one of the two metadata pages is lost (%s); the other one is used", spindle->path,
			 spindle->lost_page);
}

static int check_meta(struct core *core, const struct meta *meta)
{
	const char *path = core->store.spindles[0].path;
	char text[256];
	const char *unknown = meta_incompatible(meta, !core->tuning.readonly, text, sizeof(text)), *wrong;

	if (unknown)
		return error_set(SLF_EINCOMPATIBLE, path, 0, 0, "%s: use a newer library%s", unknown,
				 meta_incompatible(meta, false, text, sizeof(text)) ? "" : ", or open it read-only");
	if (meta->spindle_index != 0)
		return error_set(SLF_ENOTDB, path, meta->spindle_index, 0,
				 "this is spindle %u of a database of %u: open spindle 0", meta->spindle_index,
				 meta->spindle_count);
	wrong = meta_settings_check(meta); /* pages of later versions with known features have not been looked at */
	if (!wrong && !core->tuning.readonly && meta->generation > COUNTER_MAX / 2)
		wrong = "metadata page has an impossible generation";
	return wrong ? error_set(SLF_ECORRUPT, path, 0, 0, "%s", wrong) : 0;
}

static void take_meta(struct core *core, const struct meta *meta)
{
	struct store *store = &core->store;

	core->meta = *meta;
	memcpy(store->uuid, meta->uuid, sizeof(store->uuid));
	store->seed = format_seed(meta->uuid);
	store->settings = (struct settings){ .leaf_bytes = meta->leaf_bytes,
					     .branch_bytes = meta->branch_bytes,
					     .inline_bytes = meta->inline_bytes,
					     .bulk_bytes = meta->bulk_bytes,
					     .sector = meta->sector,
					     .compression = meta->compression };
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static int open_spindle_zero(struct core *core, const char *path)
{
	unsigned flags = core->tuning.readonly ? 0 : IO_OPEN_WRITE;
	struct meta meta;
	int result;

	core->store.spindles = calloc(SPINDLES_MAX, sizeof(*core->store.spindles));
	if (!core->store.spindles)
		return -ENOMEM;
	result = spindle_open(&core->store.spindles[0], core->io, path, 0, flags, core->tuning.map);
	if (result)
		return result;
	core->store.spindle_count = 1;
	result = choose_page(&core->store.spindles[0], &meta);
	if (!result)
		result = check_meta(core, &meta);
	if (!result)
		take_meta(core, &meta);
	return result;
}

/* "pid N" from the side file, for the message; empty when it cannot be read. */
static void read_owner(struct slf_db *db, char *owner, size_t size)
{
	struct io_request request = { .op = IO_READ, .file = db->side, .offset = SIDE_OWNER, .length = size - 1,
				      .data = owner };

	memset(owner, 0, size);
	if (io_run(db->core.io, &request, 1) || memcmp(owner, "pid ", 4))
		owner[0] = 0;
	owner[strcspn(owner, "\n")] = 0;
}

static int locked(struct slf_db *db, int result, const char *path)
{
	char owner[32] = "";

	if (result == -EAGAIN) {
		read_owner(db, owner, sizeof(owner));
		return error_set(SLF_ELOCKED, path, 0, OFFSET_NONE,
				 "another handle%s%s has the database open for writing: close it, or open this one read-only",
				 owner[0] ? " of " : "", owner);
	}
	return result ? error_set(result, path, 0, OFFSET_NONE, "cannot be locked: %s", error_text(result)) : 0;
}

#define GONE_TRIES 1000
#define GONE_PAUSE_NS 1000000

static bool owner_is_gone(struct slf_db *db)
{
	char owner[32] = "";
	long pid = 0;

	read_owner(db, owner, sizeof(owner));
	return sscanf(owner, "pid %ld", &pid) == 1 && pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

/* A process that was killed with requests in an io_uring leaves them to the kernel, which keeps its locks till they are done:
 * that is worth a short wait, and no reason to refuse who comes next. */
static int lock_after_the_dead(struct slf_db *db, struct io_file *file)
{
	const struct timespec pause = { .tv_nsec = GONE_PAUSE_NS };
	int result = 0;

	for (unsigned tries = 0; tries < GONE_TRIES; tries++) {
		result = io_lock(file, IO_LOCK_EXCLUSIVE, SIDE_WRITER_BYTE, 1);
		if (result != -EAGAIN || !owner_is_gone(db))
			break;
		nanosleep(&pause, NULL);
	}
	return result;
}

/* What is longer is a file that only happens to bear the name, and so is what is shorter and text for the most part: ours is empty,
 * or zeros but for its end, or what a power cut has made of that. */
static bool is_side_file(const uint8_t *bytes, uint64_t count)
{
	uint64_t text = 0;

	for (uint64_t i = 0; i < count; i++)
		text += (bytes[i] >= ' ' && bytes[i] <= '~') || (bytes[i] >= '\t' && bytes[i] <= '\r');
	return count <= SIDE_BYTES && text <= count / 4 * 3;
}

static int check_side(struct io *io, struct io_file *side, const char *path)
{
	uint8_t bytes[SIDE_BYTES + 1] = { 0 };
	struct io_request request = { .op = IO_READ, .file = side, .length = sizeof(bytes), .data = bytes };
	int result = io_run(io, &request, 1);

	if (result)
		return error_set(result, path, -1, OFFSET_NONE, "the side file cannot be read: %s", error_text(result));
	if (is_side_file(bytes, request.done))
		return 0;
	return error_set(-EEXIST, path, -1, OFFSET_NONE,
			 "a file that is not of Solifuge stands where the database has its side file: move it, or name the "
			 "database otherwise");
}

static char *side_path(const char *path)
{
	size_t bytes = strlen(path) + sizeof(SIDE_SUFFIX);
	char *side = malloc(bytes);

	if (side)
		snprintf(side, bytes, "%s%s", path, SIDE_SUFFIX);
	return side;
}

/* Before anything is created. */
static int refuse_foreign_side(struct core *core, const char *path)
{
	char *side = side_path(path);
	struct io_file *file = NULL;
	int result = side ? io_open(core->io, side, 0, &file) : -ENOMEM;

	if (result == -ENOENT)
		result = 0;
	else if (result)
		error_set(result, side, -1, OFFSET_NONE, "the side file cannot be opened: %s", error_text(result));
	else
		result = check_side(core->io, file, side);
	io_close(file);
	free(side);
	return result;
}

/* The writer's locks; the side file says who holds them. */
static int take_locks(struct slf_db *db)
{
	struct spindle *spindle = &db->core.store.spindles[0];
	char *path = side_path(spindle->path), owner[SIDE_BYTES] = { 0 };
	int result;

	if (!path)
		return -ENOMEM;
	result = io_open(db->core.io, path, IO_OPEN_WRITE | IO_OPEN_CREATE, &db->side);
	if (result)
		error_set(result, path, -1, OFFSET_NONE, "the side file cannot be opened: %s", error_text(result));
	else
		result = check_side(db->core.io, db->side, path);
	if (!result)
		result = locked(db, lock_after_the_dead(db, db->side), spindle->path);
	if (!result)
		result = locked(db, lock_after_the_dead(db, spindle->file), spindle->path);
	if (!result) {
		db->locked = true;
		snprintf(owner + SIDE_OWNER, sizeof(owner) - SIDE_OWNER, "pid %ld\n", (long)getpid());
		result = io_write(db->side, 0, 0, owner, sizeof(owner));
		if (result == -ENOSPC || result == -EDQUOT)
			result = 0; /* only for people to read */
	}
	free(path);
	return result;
}

struct spindle_opening {
	struct core *core;
};

/* Is it the one that the table means, and of the same time as spindle 0? */
static int check_further(const struct core *core, struct spindle *spindle)
{
	const struct spindle *first = &core->store.spindles[0];
	struct pages pages;
	int result = pages_read_further(spindle, &core->meta, &pages);

	if (result)
		return result;
	spindle->lost_page = pages.reasons[pages.best ^ 1];
	if (pages_belong(&pages, core->meta.salt) || spindle->lost_page || first->lost_page)
		return 0;
	return error_set(SLF_ECORRUPT, spindle->path, (int)spindle->index, 0,
			 "this file and %s are of different times: one of them is older than the other; bring all files of one "
			 "time together", first->path);
}

static int open_further(void *context, unsigned index, const char *entry)
{
	struct core *core = ((struct spindle_opening *)context)->core;
	struct spindle *first = &core->store.spindles[0], *spindle = &core->store.spindles[index];
	char *path = spindle_resolve(first->path, entry);
	int result = path ? 0 : -ENOMEM;

	if (!result)
		result = spindle_open(spindle, core->io, path, index, core->tuning.readonly ? 0 : IO_OPEN_WRITE,
				      core->tuning.map);
	if (!result) {
		core->store.spindle_count = index + 1;
		result = core->tuning.network ? 0 : spindle_refuse_network(spindle);
	}
	if (!result)
		result = check_further(core, spindle);
	free(path);
	return result;
}

static int open_spindles(struct core *core)
{
	struct spindle_opening opening = { .core = core };
	struct spindle *first = &core->store.spindles[0];
	uint32_t bytes = core->meta.table_bytes;
	uint8_t *table = malloc(bytes + 1);
	int result = table ? 0 : -ENOMEM;
	bool good = false;
	unsigned copy;

	for (copy = 0; copy < 2 && table && !good; copy++) { /* one that cannot be read is as good as damaged */
		result = spindle_read(first, 0, copy ? META_TABLE_B : META_TABLE_A, table, bytes);
		good = !result && meta_table_digest(table, bytes) == core->meta.table_digest;
	}
	if (good && copy > 1)
		core_log(core, 4, "%s: one of the two copies of the spindle table is lost; the other one is used", first->path);
	if (good)
		result = 0;
	else if (!result)
		result = error_set(SLF_ECORRUPT, first->path, 0, META_TABLE_A, "both copies of the spindle table are damaged");
	if (good)
		result = meta_table_decode(table, bytes, core->meta.spindle_count - 1u, open_further, &opening);
	free(table);
	return result;
}

/* Who made the files may have died before their names were on stable storage; from the first open for writing on, whose pages
 * have a greater generation, they are. -EACCES: a directory that may not be read. */
static int sync_names(struct core *core)
{
	for (unsigned i = 0; i < core->store.spindle_count && core->meta.generation <= META_GENERATION_NEW; i++) {
		const char *path = core->store.spindles[i].path;
		int result = io_sync_directory(core->io, path);

		if (result && result != -EACCES)
			return error_set(result, path, (int)i, OFFSET_NONE, "its name cannot be flushed: %s", error_text(result));
	}
	return 0;
}

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

static int make_alive(struct core *core)
{
	void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -ENOMEM;
	if (madvise(page, PAGE_BYTES, MADV_WIPEONFORK)) { /* a child would write where its parent does */
		int result = -errno;

		munmap(page, PAGE_BYTES);
		return error_set(result, NULL, -1, OFFSET_NONE, "the system does not tell a forked child from its parent: %s",
				 error_text(result));
	}
	core->alive = page;
	atomic_store(core->alive, 1);
	return 0;
}

static int init_parts(struct core *core)
{
	int result = verified_init(&core->store.verified);

	if (!result)
		result = heap_new(&core->heap);
	if (!result)
		result = extents_init(&core->extents, &core->store);
	if (!result)
		result = log_init(&core->log, &core->store, &core->extents);
	if (!result)
		result = versions_init(&core->versions, core->heap);
	if (!result)
		result = commit_init(&core->commit, &core->store, &core->log, &core->versions);
	if (!result)
		result = checkpoint_init(core);
	if (!result)
		result = turn_init(&core->turn);
	core->commit.sync = SLF_SYNC_COMMIT; /* recovery flushes its own; the mode is set behind it */
	bulk_init(&core->large, &core->extents, false);
	return result;
}

static void free_txn(void *context, struct reader *reader)
{
	(void)context;
	txn_free(atomic_exchange(&reader->context, NULL));
}

static void release_parts(struct slf_db *db)
{
	struct core *core = &db->core;

	if (db->locked) { /* the descriptors may live on in a child that was forked meanwhile, and the locks with them */
		io_lock(core->store.spindles[0].file, IO_UNLOCK, SIDE_WRITER_BYTE, 1);
		io_lock(db->side, IO_UNLOCK, SIDE_WRITER_BYTE, 1);
	}
	tree_ids_release(&core->tree_ids);
	bulk_release(&core->large);
	checkpoint_release(&core->checkpoint);
	commit_release(&core->commit);
	log_release(&core->log);
	extents_release(&core->extents);
	heap_free_all(core->heap);
	core->heap = NULL;
	verified_release(&core->store.verified);
	for (unsigned i = 0; core->store.spindles && i < SPINDLES_MAX; i++)
		spindle_close(&core->store.spindles[i]);
	free(core->store.spindles);
	core->store.spindles = NULL;
	io_close(db->side);
	db->side = NULL;
	io_free(core->io);
	core->io = NULL;
}

/* What orphaned handles were kept alive for. */
static void db_destroy(struct slf_db *db)
{
	struct core *core = &db->core;

	if (core->versions.heap) {
		readers_each(&core->versions.readers, free_txn, NULL);
		versions_release(&core->versions);
		turn_release_all(&core->turn);
	}
	if (core->alive)
		munmap((void *)core->alive, PAGE_BYTES);
	free(db);
}

void db_unreference(struct slf_db *db)
{
	if (atomic_fetch_sub(&db->references, 1) == 1)
		db_destroy(db);
}

/* Spindle 0 as it stands, or newly made. */
static int open_or_create(struct slf_db *db, const char *path, const struct slf_options *options)
{
	struct core *core = &db->core;
	struct settings settings = settings_of(options);
	struct slf_errinfo info = { .size = sizeof(info) };
	int result;

	for (unsigned attempt = 0;; attempt++) {
		result = open_spindle_zero(core, path);
		if (result == -ENOENT && attempt) { /* it was a further spindle that existed */
			error_restore(&info);
			return -EEXIST;
		}
		if (result != -ENOENT || !(options->flags & SLF_CREATE))
			break;
		spindle_close(&core->store.spindles[0]);
		free(core->store.spindles);
		core->store.spindles = NULL;
		result = refuse_foreign_side(core, path);
		if (result)
			return result;
		result = create_run(core->io, path, options, &settings);
		if (result && (result != -EEXIST || (options->flags & SLF_EXCLUSIVE)))
			return result; /* else somebody was faster: theirs is opened */
		error_get(&info);
		if (!result)
			core->created = true;
	}
	if (!result && (options->flags & SLF_EXCLUSIVE) && !core->created)
		return error_set(-EEXIST, path, -1, OFFSET_NONE, "exists already");
	return result;
}

static int open_all(struct slf_db *db, const char *path, const struct slf_options *options)
{
	struct core *core = &db->core;
	struct meta meta;
	int result = make_alive(core);

	if (!result && !core->io)
		result = io_new(options->io, &core->stats, &core->io);
	if (result)
		return result;
	core->io->stats = &core->stats;
	core->store.io = core->io;
	core->store.stats = &core->stats;
	result = open_or_create(db, path, options);
	if (!result && !core->tuning.network)
		result = spindle_refuse_network(&core->store.spindles[0]);
	if (!result && !core->tuning.readonly) {
		result = take_locks(db);
		if (!result) /* another writer may have been at work until now */
			result = spindle_refresh(&core->store.spindles[0]);
		if (!result)
			result = choose_page(&core->store.spindles[0], &meta);
		if (!result)
			result = check_meta(core, &meta);
		if (!result)
			take_meta(core, &meta);
		/* between creation and lock another process may have committed: then the files are not only ours to remove */
		core->created = core->created && !result && meta.generation <= META_GENERATION_NEW;
	}
	if (!result)
		result = open_spindles(core);
	if (!result && !core->tuning.readonly && !core->created)
		result = sync_names(core);
	for (unsigned i = 0; i < core->store.spindle_count; i++) {
		tell_lost_page(core, &core->store.spindles[i]);
		core->tuning.map &= core->store.spindles[i].mapped;
		spindle_read_ahead(&core->store.spindles[i], core->tuning.memory_bytes / 2 / core->store.spindle_count);
	}
	if (!result)
		result = init_parts(core);
	if (!result)
		result = recover_run(core);
	if (result)
		return result;
	core->commit.sync = core->tuning.sync;
	core->commit.settled_ns = core->commit.sync == SLF_SYNC_AUTO ? clock_now_ns() : 0; /* recovery has flushed */
	checkpoint_alone(core);
	return core->tuning.threads ? service_start(&db->service, core) : commit_check(&core->commit);
}

/* What this opening has made, and could not bring to life. Who opened the side file meanwhile locks one without a name, but
 * meets the others at the lock on spindle 0. */
static void remove_created(struct slf_db *db, const struct slf_options *options)
{
	const struct store *store = &db->core.store;
	char *side = side_path(store->spindles[0].path);

	io_remove(db->core.io, store->spindles[0].path);
	for (unsigned i = 0; i < options->spindle_count; i++) /* not all of them need to be open yet */
		io_remove(db->core.io, options->spindles[i]);
	if (side)
		io_remove(db->core.io, side);
	free(side);
}

/* Has another process removed the files, which it had made and could not open, or written a metadata page since ours was
 * read? Then another attempt may meet other files. */
static bool has_moved(const struct slf_db *db, int error)
{
	const struct core *core = &db->core;
	struct io_info info;
	struct meta meta;

	if (db->locked && io_info(core->store.spindles[0].file, &info) == 0 && !info.named)
		return true;
	return error == SLF_ECORRUPT && core->tuning.readonly && core->meta.generation &&
	       choose_page(&core->store.spindles[0], &meta) == 0 && meta.generation != core->meta.generation;
}

/* A reader has got what is left of a damaged log: that is told, unless a writer has used the log again while it was read. */
static int judge_damage(struct slf_db *db)
{
	struct core *core = &db->core;
	const char *path = core->store.spindles[0].path;
	uint64_t offset = position_offset(core->commit.settled_place.position);

	if (!core->damage)
		return 0;
	if (has_moved(db, SLF_ECORRUPT))
		return error_set(SLF_ECORRUPT, path, 0, offset, "the log was used again while it was read");
	core_log(core, 3, "%s: damage in the log at offset %llu (%s): commits are lost; the newest good commit is %llu", path,
		 (unsigned long long)offset, core->damage, (unsigned long long)atomic_load(&core->commit.visible_seq));
	return 0;
}

static int open_once(const char *path, const struct slf_options *from, struct io *io, struct slf_db **result, bool *moved)
{
	struct slf_options options;
	struct slf_db *db = NULL;
	int error = options_take(from, &options);

	if (!error)
		error = options_check(&options);
	if (!error)
		db = aligned_alloc(64, align_up(sizeof(*db), 64));
	if (!db) {
		io_free(io);
		return error ? error : -ENOMEM;
	}
	memset(db, 0, sizeof(*db));
	db->core.io = io;
	db->core.stats.values.size = sizeof(db->core.stats.values);
	atomic_store(&db->references, 1);
	tuning_set(&db->core.tuning, &options);
	error = open_all(db, path, &options);
	if (!error)
		error = judge_damage(db);
	if (error) {
		struct slf_errinfo info = { .size = sizeof(info) };

		error_get(&info);
		*moved = has_moved(db, error);
		service_stop(&db->service);
		if (db->core.created && db->locked)
			remove_created(db, &options);
		release_parts(db);
		db_destroy(db);
		error_restore(&info);
		return *moved && error == SLF_ECORRUPT
			       ? error_set(-EBUSY, path, -1, OFFSET_NONE,
					   "others change the database faster than it can be opened (%s): try again", info.text)
			       : error;
	}
	*result = db;
	return 0;
}

#define ATTEMPTS 5

/* A reader beside a busy writer may find that the log it was following has been recycled meanwhile; then it starts anew at
 * the newer checkpoint. A writer may have waited for one who then removed the files. */
int db_open(const char *path, const struct slf_options *options, struct slf_db **db)
{
	bool moved = true;
	int result = 0;

	for (unsigned attempt = 0; attempt < ATTEMPTS && moved; attempt++) {
		moved = false;
		result = open_once(path, options, NULL, db, &moved);
	}
	return result;
}

int db_open_io(const char *path, const struct slf_options *options, struct io *io, struct slf_db **db)
{
	bool moved;

	return open_once(path, options, io, db, &moved);
}


/* ---- Closing ----------------------------------------------------------------------------------------------------- */

static void abort_writer(void *context, struct reader *reader)
{
	struct slf_txn *txn = atomic_load_explicit(&reader->context, memory_order_acquire);

	(void)context;
	if (txn && txn->state == TXN_WRITING)
		txn_abort(txn);
}

/* Claimed slots live on until their handles are closed. */
static void orphan(void *context, struct reader *reader)
{
	struct slf_db *db = context;
	uint32_t expected = READER_CLAIMED;

	/* first the reference: the handle may be ended at this moment, by a thread that gives it back as soon as it is an orphan */
	atomic_fetch_add(&db->references, 1);
	if (!atomic_compare_exchange_strong(&reader->state, &expected, READER_ORPHAN))
		atomic_fetch_sub(&db->references, 1);
}

static int settle_all(struct core *core)
{
	int result = commit_check(&core->commit);

	if (!result)
		result = commit_sync(&core->commit, NULL);
	if (result)
		return result;
	commit_rollback(&core->commit);
	core->closing = true;
	if (checkpoint_run(core))
		core_log(core, 4, "no checkpoint at close: the next open replays the log");
	else if (checkpoint_write_pages(core, true))
		core_log(core, 4, "the clean flag could not be written");
	else {
		materialise_trim(&core->checkpoint.materialiser);
		extents_trim(&core->extents);
	}
	return 0;
}

int db_close(struct slf_db *db)
{
	struct core *core = &db->core;
	int result = 0;

	turn_close(&core->turn); /* first: an install under way waits for the turn, which a transaction may hold */
	service_stop(&db->service);
	readers_each(&core->versions.readers, abort_writer, NULL);
	if (!core->tuning.readonly)
		result = settle_all(core);
	if (!result)
		result = commit_untold(&core->commit);
	atomic_store(core->alive, 0);
	readers_each(&core->versions.readers, orphan, db);
	release_parts(db);
	db_unreference(db);
	return result;
}
