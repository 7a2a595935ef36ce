/* SPDX-License-Identifier: MIT */
/* See scratch.h. */
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#ifdef COVERAGE
#include <gcov.h>
#endif
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void must_hold(bool holds, const char *condition, const char *file, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

void must_be_zero(int result, const char *call, const char *file, int line)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	if (result == 0)
		return;
	(void)slf_errinfo(&info);
	fprintf(stderr, "%s:%d: %s: %d (%s); last failure: %s\n", file, line, call, result, slf_strerror(result),
		info.text);
	abort();
}

uint64_t rng_mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

uint64_t rng_next(struct rng *rng)
{
	rng->state += 0x9e3779b97f4a7c15u;
	return rng_mix(rng->state);
}

uint64_t rng_below(struct rng *rng, uint64_t limit)
{
	return rng_next(rng) % limit;
}

uint64_t test_seed(const char *test)
{
	const char *wish = getenv("SOLIFUGE_TEST_SEED");
	struct timespec now = { 0 };
	uint64_t seed = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = wish ? strtoull(wish, NULL, 0) : rng_mix((uint64_t)now.tv_nsec + ((uint64_t)getpid() << 32)) >> 16;
	fprintf(stderr, "%s: SOLIFUGE_TEST_SEED=%" PRIu64 "\n", test, seed);
	return seed;
}

unsigned test_rounds(unsigned standard)
{
	const char *wish = getenv("SOLIFUGE_TEST_ROUNDS");
	unsigned rounds = wish ? (unsigned)strtoul(wish, NULL, 0) : 0;

	return rounds ? rounds : standard;
}

void scratch_init(struct scratch *scratch)
{
	const char *parent = getenv("TMPDIR");

	snprintf(scratch->directory, sizeof(scratch->directory), "%.100s/solifuge-XXXXXX",
		 parent && *parent ? parent : "/tmp");
	must(mkdtemp(scratch->directory) != NULL);
	scratch_name(scratch, "db", scratch->path);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

void scratch_release(struct scratch *scratch)
{
	if (scratch->directory[0])
		(void)nftw(scratch->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	memset(scratch, 0, sizeof(*scratch));
}

const char *scratch_name(const struct scratch *scratch, const char *name, char *path)
{
	snprintf(path, SCRATCH_PATH_BYTES, "%s/%.300s", scratch->directory, name);
	return path;
}

struct file_bytes file_read(const char *path)
{
	struct file_bytes content = { 0 };
	FILE *file = fopen(path, "rb");
	struct stat status = { 0 };

	must(file && fstat(fileno(file), &status) == 0);
	content.size = (size_t)status.st_size;
	content.data = malloc(content.size + 1);
	must(content.data && fread(content.data, 1, content.size, file) == content.size);
	fclose(file);
	return content;
}

void file_write(const char *path, const void *data, size_t size)
{
	FILE *file = fopen(path, "wb");

	must(file && fwrite(data, 1, size, file) == size);
	must(fclose(file) == 0);
}

void file_rot(const char *path, const char *string)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	size_t size = (size_t)lseek(fd, 0, SEEK_END);
	char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *found;

	must(data != MAP_FAILED);
	found = memmem(data, size, string, strlen(string));
	must(found != NULL);
	*found ^= 1;
	must(munmap(data, size) == 0 && close(fd) == 0);
}

uint64_t processor_ns(void)
{
	struct timespec now;

	must(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct slf_slice text(const char *string)
{
	return bytes(string, strlen(string));
}

struct slf_slice bytes(const void *data, size_t size)
{
	return (struct slf_slice){ .data = data, .size = size };
}

bool slice_is(struct slf_slice slice, const void *data, size_t size)
{
	return slice.size == size && (size == 0 || memcmp(slice.data, data, size) == 0);
}

void bytes_fill(void *data, size_t size, uint64_t seed, bool compressible)
{
	struct rng rng = { .state = seed };
	uint64_t words[2] = { rng_next(&rng), rng_next(&rng) };
	unsigned char *to = data;
	size_t i = 0;

	for (; size - i >= sizeof(words); i += sizeof(words)) {
		memcpy(to + i, words, sizeof(words));
		if (compressible)
			continue;
		words[0] = rng_next(&rng);
		words[1] = rng_next(&rng);
	}
	memcpy(to + i, words, size - i);
}

struct slf_db *open_database(const char *path, unsigned flags)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_db *db = NULL;

	options.flags = flags;
	must_work(slf_open(path, &options, &db));
	must(db != NULL);
	return db;
}

struct slf_txn *txn_begin(struct slf_db *db, unsigned flags)
{
	struct slf_txn *txn = NULL;

	must_work(slf_begin(db, flags, &txn));
	must(txn != NULL);
	return txn;
}

uint64_t db_put(struct slf_db *db, const char *key, const char *value)
{
	struct slf_txn *txn = txn_begin(db, SLF_WRITE);
	uint64_t seq = 0;

	must_work(slf_put(txn, SLF_MAIN, text(key), text(value)));
	must_work(slf_commit(txn, &seq));
	return seq;
}

bool db_has(struct slf_db *db, const char *key, const char *value)
{
	struct slf_txn *txn = txn_begin(db, SLF_READ);
	struct slf_slice found = { 0 };
	int result = slf_get(txn, SLF_MAIN, text(key), &found);
	bool has = false;

	if (result < 0)
		must_work(result);
	has = value ? result == 0 && slice_is(found, value, strlen(value)) : result == SLF_NOTFOUND;
	slf_abort(txn);
	return has;
}

unsigned process_count(const char *what)
{
	char path[64] = "";
	DIR *directory = NULL;
	unsigned count = 0;

	snprintf(path, sizeof(path), "/proc/self/%s", what);
	directory = opendir(path);
	must(directory != NULL);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

bool threads_within(unsigned count)
{
	unsigned waits = 0;

	while (process_count("task") > count) {
		if (waits++ == 500)
			return false;
		usleep(10000);
	}
	return true;
}

void child_exit(int status)
{
#ifdef COVERAGE
	__gcov_dump(); /* _exit would lose what the child has counted */
#endif
	_exit(status);
}

int child_wait(int pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		must(errno == EINTR);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}
