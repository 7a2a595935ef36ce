/* SPDX-License-Identifier: MIT */
/*
 * Codes, texts and the calling thread's last failure.
 *
 * The detail is one thread-local struct, overwritten by every failure and never cleared by success, as errno is. It is
 * filled in place: noting a failure calls no allocator, takes no lock and leaves errno alone, so it is safe on every
 * way out. Of a path that would crowd out the reason only the end is kept, which names the file.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

#define ERRNO_MAX 4095
#define PATH_SHOWN_BYTES_MAX ((size_t)200)

static const struct {
	int code;
	const char *text;
} table[] = {
	{ 0, "success" },
	{ SLF_NOTFOUND, "not found" },
	{ SLF_END, "end of the range" },
	{ SLF_ECORRUPT, "bytes on disk are damaged" },
	{ SLF_EPOISONED, "an earlier failure left durability in doubt; close the database and open it again" },
	{ SLF_ECONFLICT, "conflict with another commit" },
	{ SLF_ENOTRETAINED, "that version is no longer kept" },
	{ SLF_EREADONLY, "the handle or the transaction is read-only" },
	{ SLF_ETOOBIG, "a key, a value, a blob or a transaction is above its limit" },
	{ SLF_EINCOMPATIBLE, "the file needs a feature that this library does not know" },
	{ SLF_EBADHANDLE, "the handle is not usable: closed, used after fork, or in the wrong state" },
	{ SLF_ECANCELLED, "the transaction was doomed by an earlier failure; abort it" },
	{ SLF_EARENA, "the transaction's arena limit is reached" },
	{ SLF_ELOCKED, "another handle has the database open for writing" },
	{ SLF_EUNKNOWN, "a flush failed: the commit may or may not survive" },
	{ SLF_ENOTDB, "not a Solifuge database" },
};

static _Thread_local struct slf_errinfo last = { .spindle = -1, .offset = OFFSET_NONE };

/* Adds formatted text behind the text so far; what does not fit is dropped. */
static void text_append_arguments(const char *format, va_list arguments)
{
	size_t length = strlen(last.text);

	vsnprintf(last.text + length, sizeof(last.text) - length, format, arguments);
}

static void __attribute__((format(printf, 1, 2))) text_append(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	text_append_arguments(format, arguments);
	va_end(arguments);
}

/* Starts a new detail, with the part of the text that tells where. */
static void detail_begin(int code, const char *path, int spindle, uint64_t offset)
{
	last = (struct slf_errinfo){ .code = code, .spindle = spindle, .offset = offset };
	if (path) {
		size_t length = strlen(path);

		if (length > PATH_SHOWN_BYTES_MAX)
			text_append("...%s: ", path + length - PATH_SHOWN_BYTES_MAX);
		else
			text_append("%s: ", path);
	}
	if (offset != OFFSET_NONE)
		text_append("offset %llu: ", (unsigned long long)offset);
}

int error_set(int code, const char *path, int spindle, uint64_t offset, const char *format, ...)
{
	int saved_errno = errno;
	va_list arguments;

	detail_begin(code, path, spindle, offset);
	va_start(arguments, format);
	text_append_arguments(format, arguments);
	va_end(arguments);
	errno = saved_errno;
	return code;
}

int error_set_mismatch(int code, const char *path, int spindle, uint64_t offset, uint64_t expected, uint64_t found,
		       const char *what)
{
	int saved_errno = errno;

	detail_begin(code, path, spindle, offset);
	last.expected = expected;
	last.found = found;
	text_append("%s: expected 0x%llx, found 0x%llx", what, (unsigned long long)expected,
		    (unsigned long long)found);
	errno = saved_errno;
	return code;
}

void error_get(struct slf_errinfo *info)
{
	size_t size = u64_min(info->size, sizeof(last));

	if (size < sizeof(info->size))
		return;
	memcpy(info, &last, size);
	info->size = size;
	if (size > offsetof(struct slf_errinfo, text))
		((char *)info)[size - 1] = 0;
}

void error_restore(const struct slf_errinfo *info)
{
	size_t size = u64_min(info->size, sizeof(last));

	last = (struct slf_errinfo){ .spindle = -1, .offset = OFFSET_NONE };
	memcpy(&last, info, size);
	last.text[sizeof(last.text) - 1] = 0;
}

const char *error_detail(int code)
{
	return last.code == code && last.text[0] ? last.text : error_text(code);
}

const char *error_text(int code)
{
	const char *text = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].code == code)
			return table[i].text;
	if (code < 0 && code >= -ERRNO_MAX)
#ifdef __GLIBC__
		text = strerrordesc_np(-code);
#else
		text = strerror(-code); /* elsewhere (musl) the texts are constants */
#endif
	return text ? text : "unknown error";
}
