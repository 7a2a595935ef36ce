/* SPDX-License-Identifier: MIT */
#include "fault_memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>

#include "sim_inode.h"
#include "wrapped.h"

static struct {
	bool armed, sticky, holding;
	uint64_t nth, count, failed, largest;
	struct memory_balance balance;
} memory;

void fault_memory_arm(uint64_t nth, bool sticky)
{
	memory.armed = true;
	memory.sticky = sticky;
	memory.nth = nth;
	memory.count = 0;
	memory.failed = 0;
}

uint64_t fault_memory_disarm(uint64_t *failed)
{
	memory.armed = false;
	if (failed)
		*failed = memory.failed;
	return memory.count;
}

void fault_memory_hold(bool hold)
{
	memory.holding = hold;
}

struct memory_balance fault_memory_balance(void)
{
	return memory.balance;
}

uint64_t fault_memory_largest(void)
{
	uint64_t largest = memory.largest;

	memory.largest = 0;
	return largest;
}

static bool fails(uint64_t bytes)
{
	if (!sim_own_memory && bytes > memory.largest)
		memory.largest = bytes;
	if (!memory.armed || memory.holding || sim_own_memory)
		return false;
	memory.count++;
	if (memory.nth == 0 || memory.count < memory.nth || (memory.count > memory.nth && !memory.sticky))
		return false;
	memory.failed++;
	errno = ENOMEM;
	return true;
}

bool fault_memory_fails(void)
{
	return fails(0);
}

static void *taken(void *block)
{
	if (block && !sim_own_memory)
		memory.balance.blocks++;
	return block;
}

WRAPPED(void *, malloc, size_t size)
{
	return fails(size) ? NULL : taken(__real_malloc(size));
}

WRAPPED(void *, calloc, size_t count, size_t size)
{
	return fails(count * size) ? NULL : taken(__real_calloc(count, size));
}

WRAPPED(void *, realloc, void *block, size_t size)
{
	void *result = fails(size) ? NULL : __real_realloc(block, size);

	return block ? result : taken(result);
}

WRAPPED(void *, reallocarray, void *block, size_t count, size_t size)
{
	void *result = fails(count * size) ? NULL : __real_reallocarray(block, count, size);

	return block ? result : taken(result);
}

WRAPPED(void *, aligned_alloc, size_t unit, size_t size)
{
	return fails(size) ? NULL : taken(__real_aligned_alloc(unit, size));
}

WRAPPED(char *, strdup, const char *string)
{
	return fails(0) ? NULL : taken(__real_strdup(string));
}

WRAPPED(char *, strndup, const char *string, size_t size)
{
	return fails(size) ? NULL : taken(__real_strndup(string, size));
}

WRAPPED(char *, realpath, const char *path, char *resolved)
{
	return fails(0) ? NULL : taken(__real_realpath(path, resolved));
}

static int print(char **text, const char *format, va_list list)
{
	int result = fails(0) ? -1 : vasprintf(text, format, list);

	if (result >= 0)
		taken(*text);
	return result;
}

int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap___asprintf_chk(char **text, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

int __wrap_asprintf(char **text, const char *format, ...)
{
	va_list list;
	int result = 0;

	va_start(list, format);
	result = print(text, format, list);
	va_end(list);
	return result;
}

/* The same in a fortified build. */
int __wrap___asprintf_chk(char **text, int level, const char *format, ...)
{
	va_list list;
	int result = 0;

	(void)level;
	va_start(list, format);
	result = print(text, format, list);
	va_end(list);
	return result;
}

WRAPPED(void, free, void *block)
{
	if (block && !sim_own_memory)
		memory.balance.blocks--;
	__real_free(block);
}

WRAPPED(void *, mmap64, void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	void *area = fails(length) ? MAP_FAILED : __real_mmap64(address, length, protection, flags, fd, offset);

	if (area != MAP_FAILED && !sim_own_memory && !(flags & MAP_FIXED)) /* that takes the place of one that is counted */
		memory.balance.mapped_bytes += (int64_t)length;
	return area;
}

WRAPPED(int, munmap, void *address, size_t length)
{
	int result = __real_munmap(address, length);

	if (result == 0 && !sim_own_memory)
		memory.balance.mapped_bytes -= (int64_t)length;
	return result;
}
