/* SPDX-License-Identifier: MIT */
/* What a process asks the system for besides its files, by the plan of fault_system.h: memory, maps, chance and limits. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "fault_system.h"
#include "wrapped.h"

#define PAGE_BYTES 4096

WRAPPED(void *, malloc, size_t size)
{
	return fault_system_fails(SYSTEM_MEMORY) ? NULL : __real_malloc(size);
}

WRAPPED(void *, calloc, size_t count, size_t size)
{
	return fault_system_fails(SYSTEM_MEMORY) ? NULL : __real_calloc(count, size);
}

int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap___asprintf_chk(char **text, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

int __wrap_asprintf(char **text, const char *format, ...)
{
	va_list list;
	int result = -1;

	va_start(list, format);
	if (!fault_system_fails(SYSTEM_MEMORY))
		result = vasprintf(text, format, list);
	va_end(list);
	return result;
}

/* The same in a fortified build. */
int __wrap___asprintf_chk(char **text, int level, const char *format, ...)
{
	va_list list;
	int result = -1;

	(void)level;
	va_start(list, format);
	if (!fault_system_fails(SYSTEM_MEMORY))
		result = vasprintf(text, format, list);
	va_end(list);
	return result;
}

WRAPPED(void *, mmap64, void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (fault_system_fails(SYSTEM_MMAP_ASIDE)) {
		uint8_t *area = __real_mmap64(address, length + PAGE_BYTES, protection, flags, fd, offset);

		munmap(area, PAGE_BYTES);
		return area + PAGE_BYTES;
	}
	return fault_system_fails(SYSTEM_MMAP) ? MAP_FAILED : __real_mmap64(address, length, protection, flags, fd, offset);
}

WRAPPED(int, munmap, void *address, size_t length)
{
	return fault_system_fails(SYSTEM_MUNMAP) ? -1 : __real_munmap(address, length);
}

WRAPPED(ssize_t, getrandom, void *buffer, size_t size, unsigned flags)
{
	if (fault_system_fails(SYSTEM_GETRANDOM))
		return errno ? -1 : 0;
	return __real_getrandom(buffer, size, flags);
}

WRAPPED(int, getrlimit64, int resource, struct rlimit *limit)
{
	return fault_system_fails(SYSTEM_GETRLIMIT) ? -1 : __real_getrlimit64(resource, limit);
}
