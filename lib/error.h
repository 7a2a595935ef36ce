/* SPDX-License-Identifier: MIT */
/*
 * Failures: the table of codes and texts, and the detail of the calling thread's last failure (thread-local, as errno
 * is). Functions return the code; whoever knows where and why calls error_set on the way out. Any thread.
 */
#ifndef ERROR_H
#define ERROR_H

#include "base.h"

#define OFFSET_NONE UINT64_MAX

/* Notes a failure and returns code. path may be NULL, spindle -1, offset OFFSET_NONE. The text becomes
 * "PATH: offset N: formatted reason", cut to fit. */
int error_set(int code, const char *path, int spindle, uint64_t offset, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* As error_set, with the two numbers that should have been equal; the text is followed by both in hexadecimal. */
int error_set_mismatch(int code, const char *path, int spindle, uint64_t offset, uint64_t expected, uint64_t found,
		       const char *what);

/* Copies the detail; info->size says how much the caller knows. */
void error_get(struct slf_errinfo *info);

/* Puts back a detail that error_get gave, on this or another thread (a group's failure, told to each waiter). */
void error_restore(const struct slf_errinfo *info);

/* No space is to be had: on the file system, for this user, or below the largest size of a file. */
static inline bool error_is_space(int code)
{
	return code == -ENOSPC || code == -EDQUOT || code == -EFBIG;
}

const char *error_text(int code);
/* The calling thread's last failure in words when it was `code`, else error_text(code). Lives until its next failure. */
const char *error_detail(int code);

#endif
