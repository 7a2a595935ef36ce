/* SPDX-License-Identifier: MIT */
/* Codes, texts and the thread-local detail of failures. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <wchar.h>

#include "error.h"

static struct slf_errinfo get(void)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	error_get(&info);
	return info;
}

/* A code without a text, or two codes with the same one, would leave the user guessing. */
Test(error, every_code_has_its_own_text)
{
	const char *texts[16] = { error_text(0), error_text(SLF_NOTFOUND), error_text(SLF_END) };

	for (int i = 0; i < 13; i++)
		texts[3 + i] = error_text(SLF_ECORRUPT - i);
	cr_assert_eq(SLF_ECORRUPT - 12, SLF_ENOTDB, "the enum has grown: add its codes to the table and here");
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cr_assert_neq(texts[i][0], 0);
		cr_assert_str_neq(texts[i], "unknown error", "text %zu", i);
		for (size_t j = 0; j < i; j++)
			cr_assert_str_neq(texts[i], texts[j]);
	}
}

/* System errors would be nameless, or codes that nobody gave would crash. */
Test(error, system_and_unknown_codes)
{
	cr_assert_str_eq(error_text(-ENOSPC), strerror(ENOSPC));
	cr_assert_str_eq(error_text(-EIO), strerror(EIO));
	cr_assert_str_eq(error_text(-4000), "unknown error");
	cr_assert_str_eq(error_text(SLF_ENOTDB - 1), "unknown error");
	cr_assert_str_eq(error_text(3), "unknown error");
	cr_assert_str_eq(error_text(ENOSPC), "unknown error");
	cr_assert_str_eq(error_text(INT32_MIN), "unknown error");
	cr_assert_str_eq(error_text(INT32_MAX), "unknown error");
}

/* A thread that has never failed would report a place. */
Test(error, nothing_failed_yet)
{
	struct slf_errinfo info = get();

	cr_assert_eq(info.code, 0);
	cr_assert_eq(info.spindle, -1);
	cr_assert_eq(info.offset, OFFSET_NONE);
	cr_assert_str_eq(info.text, "");
}

/* The detail would lose the place, the code or the reason, or an earlier failure's numbers would shine through. */
Test(error, detail_is_kept)
{
	struct slf_errinfo info = { 0 };

	cr_assert_eq(error_set_mismatch(SLF_ECORRUPT, "/data/x", 2, 4096, 0x12, UINT64_MAX, "node checksum"),
		     SLF_ECORRUPT);
	info = get();
	cr_assert_eq(info.code, SLF_ECORRUPT);
	cr_assert_eq(info.spindle, 2);
	cr_assert_eq(info.offset, 4096);
	cr_assert_eq(info.expected, 0x12);
	cr_assert_eq(info.found, UINT64_MAX);
	cr_assert_str_eq(info.text,
			 "/data/x: offset 4096: node checksum: expected 0x12, found 0xffffffffffffffff");

	cr_assert_eq(error_set(-EIO, NULL, -1, OFFSET_NONE, "read of %d bytes", 7), -EIO);
	info = get();
	cr_assert_eq(info.code, -EIO);
	cr_assert_eq(info.spindle, -1);
	cr_assert_eq(info.offset, OFFSET_NONE);
	cr_assert_eq(info.expected, 0);
	cr_assert_eq(info.found, 0);
	cr_assert_str_eq(info.text, "read of 7 bytes");

	error_set(-EIO, "x", 0, 0, "why");
	cr_assert_str_eq(get().text, "x: offset 0: why");
}

/* A caller that returns -errno after noting the failure would return another one. */
Test(error, errno_survives)
{
	char text[16];

	/* A text that the C locale cannot hold: printf itself sets errno. */
	cr_assert(snprintf(text, sizeof(text), "%ls", L"\u4e2d") < 0 && errno == EILSEQ);
	errno = ENOSPC;
	error_set(-ENOSPC, "x", 0, 0, "%ls", L"\u4e2d");
	cr_assert_eq(errno, ENOSPC);
	error_set_mismatch(SLF_ECORRUPT, "x", 0, 0, 1, 2, "y");
	cr_assert_eq(errno, ENOSPC);
}

/* Long reasons or paths would overrun the text; a long path would push the reason out. */
Test(error, long_texts_are_cut)
{
	char path[4096], reason[4096];
	struct slf_errinfo info = { 0 };

	memset(path, 'p', sizeof(path));
	memcpy(path + sizeof(path) - 5, "/end", 5);
	memset(reason, 'r', sizeof(reason));
	reason[sizeof(reason) - 1] = 0;
	error_set(-EIO, path, 0, 8, "%s", "the reason");
	info = get();
	cr_assert(strstr(info.text, "/end: offset 8: the reason"), "%s", info.text);
	cr_assert_eq(strncmp(info.text, "...ppp", 6), 0);
	error_set(-EIO, path, 0, 8, "%s", reason);
	info = get();
	cr_assert_eq(strnlen(info.text, sizeof(info.text)), sizeof(info.text) - 1);
	error_set_mismatch(SLF_ECORRUPT, path, 0, 8, 1, 2, reason);
	info = get();
	cr_assert_eq(strnlen(info.text, sizeof(info.text)), sizeof(info.text) - 1);
}

/* A caller built against another version of the struct would have its memory overwritten. */
Test(error, callers_size_is_respected)
{
	union {
		struct slf_errinfo info;
		unsigned char bytes[sizeof(struct slf_errinfo) + 64];
	} caller;
	size_t half = offsetof(struct slf_errinfo, text) + 8;

	error_set(-EIO, "a long path", 1, 2, "reason");
	memset(&caller, 0xee, sizeof(caller));
	caller.info.size = half;
	error_get(&caller.info);
	cr_assert_eq(caller.info.size, half);
	cr_assert_eq(caller.info.code, -EIO);
	cr_assert_str_eq(caller.info.text, "a long ");
	for (size_t i = half; i < sizeof(caller); i++)
		cr_assert_eq(caller.bytes[i], 0xee, "byte %zu", i);

	memset(&caller, 0xee, sizeof(caller));
	caller.info.size = sizeof(caller);
	error_get(&caller.info);
	cr_assert_eq(caller.info.size, sizeof(caller.info));
	cr_assert_str_eq(caller.info.text, "a long path: offset 2: reason");
	for (size_t i = sizeof(caller.info); i < sizeof(caller); i++)
		cr_assert_eq(caller.bytes[i], 0xee, "byte %zu", i);

	memset(&caller, 0xee, sizeof(caller));
	caller.info.size = 0;
	error_get(&caller.info);
	for (size_t i = sizeof(caller.info.size); i < sizeof(caller); i++)
		cr_assert_eq(caller.bytes[i], 0xee, "byte %zu", i);
}

struct other {
	struct slf_errinfo before, failed, restored;
};

static void *other_thread(void *context)
{
	struct other *other = context;
	struct slf_errinfo given = other->failed;

	other->before = get();
	error_set(SLF_ENOTDB, NULL, -1, OFFSET_NONE, "the other one");
	other->failed = get();
	error_restore(&given);
	other->restored = get();
	return NULL;
}

/* One thread would see another's failure, or a group's failure could not be told to each of its waiters. */
Test(error, each_thread_has_its_own)
{
	struct other other = { 0 };
	pthread_t thread;

	error_set_mismatch(SLF_ECORRUPT, "x", 3, 9, 5, 6, "mine");
	other.failed = get();
	cr_assert_eq(pthread_create(&thread, NULL, other_thread, &other), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(other.before.code, 0);
	cr_assert_eq(other.failed.code, SLF_ENOTDB);
	cr_assert_str_eq(get().text, "x: offset 9: mine: expected 0x5, found 0x6");
	cr_assert_str_eq(other.restored.text, get().text);
	cr_assert_eq(other.restored.code, SLF_ECORRUPT);
	cr_assert_eq(other.restored.spindle, 3);
	cr_assert_eq(other.restored.expected, 5);
}

/* A detail cut short by an older caller would bring back what the thread held before. */
Test(error, restore_of_a_short_detail)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	error_set(-EIO, "x", 3, 9, "mine");
	error_get(&info);
	info.size = offsetof(struct slf_errinfo, spindle);
	error_restore(&info);
	cr_assert_eq(get().code, -EIO);
	cr_assert_eq(get().spindle, -1);
	cr_assert_eq(get().offset, OFFSET_NONE);
	cr_assert_str_eq(get().text, "");
}
