/* SPDX-License-Identifier: MIT */
/*
 * Included before every file of the library above io.c (with -include), so that no file of lib/ knows of it: behind the headers
 * that declare them the names of what may fail in io.h get another meaning, and, but for spindle.c itself, which is compiled with
 * CALL_SEAM_OF_SPINDLE, those in spindle.h. Each call notes a place in the section call_sites, says that it begins, and that it
 * has ended. A macro that names itself means the function.
 */
#ifndef CALL_SEAM_H
#define CALL_SEAM_H

#include "call_site.h"
#include "io.h"
#include "spindle.h"

#define CALL_SITE(function, ...)                                                                                           \
	__extension__({                                                                                                    \
		static struct call_site call_site_here = { __FILE__, __LINE__, __func__, #function, NULL, 0 };              \
		static struct call_site *call_site_entry __attribute__((section("call_sites"), used)) = &call_site_here;    \
		int call_site_result;                                                                                      \
		call_site_enter(&call_site_here);                                                                          \
		call_site_result = function(__VA_ARGS__);                                                                  \
		call_site_leave(&call_site_here);                                                                          \
		call_site_result;                                                                                          \
	})

#define io_open(...) CALL_SITE(io_open, __VA_ARGS__)
#define io_close(...) CALL_SITE(io_close, __VA_ARGS__)
#define io_info(...) CALL_SITE(io_info, __VA_ARGS__)
#define io_run(...) CALL_SITE(io_run, __VA_ARGS__)
#define io_read(...) CALL_SITE(io_read, __VA_ARGS__)
#define io_write(...) CALL_SITE(io_write, __VA_ARGS__)
#define io_sync(...) CALL_SITE(io_sync, __VA_ARGS__)
#define io_allocate(...) CALL_SITE(io_allocate, __VA_ARGS__)
#define io_truncate(...) CALL_SITE(io_truncate, __VA_ARGS__)
#define io_lock(...) CALL_SITE(io_lock, __VA_ARGS__)
#define io_map(...) CALL_SITE(io_map, __VA_ARGS__)
#define io_link(...) CALL_SITE(io_link, __VA_ARGS__)
#define io_remove(...) CALL_SITE(io_remove, __VA_ARGS__)
#define io_sync_directory(...) CALL_SITE(io_sync_directory, __VA_ARGS__)

#ifndef CALL_SEAM_OF_SPINDLE
#define spindle_open(...) CALL_SITE(spindle_open, __VA_ARGS__)
#define spindle_create(...) CALL_SITE(spindle_create, __VA_ARGS__)
#define spindle_link(...) CALL_SITE(spindle_link, __VA_ARGS__)
#define spindle_read(...) CALL_SITE(spindle_read, __VA_ARGS__)
#define spindle_write(...) CALL_SITE(spindle_write, __VA_ARGS__)
#define spindle_sync(...) CALL_SITE(spindle_sync, __VA_ARGS__)
#define spindles_sync(...) CALL_SITE(spindles_sync, __VA_ARGS__)
#define spindle_allocate(...) CALL_SITE(spindle_allocate, __VA_ARGS__)
#define spindle_refresh(...) CALL_SITE(spindle_refresh, __VA_ARGS__)
#endif

#endif
