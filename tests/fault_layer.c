/* SPDX-License-Identifier: MIT */
/*
 * What one layer of the library asks of another fails by the plan of fault_memory.h, counted with the allocations: heap_alloc has
 * no block, spindle_read no bytes; and what the system may refuse besides memory: mutexes, conditions, threads and chance. So a
 * failure comes in the middle of any operation, however much room the heap has and whatever is in memory.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/random.h>

#include "fault_memory.h"
#include "heap.h"
#include "spindle.h"
#include "wrapped.h"

WRAPPED(struct block *, heap_alloc, struct heap *heap, size_t size, enum block_kind kind, uint64_t birth)
{
	return fault_memory_fails() ? NULL : __real_heap_alloc(heap, size, kind, birth);
}

WRAPPED(int, spindle_read, struct spindle *spindle, unsigned flags, uint64_t offset, void *data, uint64_t length)
{
	return fault_memory_fails() ? -EIO : __real_spindle_read(spindle, flags, offset, data, length);
}

WRAPPED(int, pthread_mutex_init, pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
	return fault_memory_fails() ? ENOMEM : __real_pthread_mutex_init(mutex, attributes);
}

WRAPPED(int, pthread_cond_init, pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
	return fault_memory_fails() ? ENOMEM : __real_pthread_cond_init(condition, attributes);
}

WRAPPED(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *context), void *context)
{
	return fault_memory_fails() ? EAGAIN : __real_pthread_create(thread, attributes, main, context);
}

WRAPPED(ssize_t, getrandom, void *buffer, size_t size, unsigned flags)
{
	return fault_memory_fails() ? -1 : __real_getrandom(buffer, size, flags);
}
