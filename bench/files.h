/* SPDX-License-Identifier: MIT */
/* Directories of a store's files: copied, measured, dropped from the page cache, removed. */
#ifndef FILES_H
#define FILES_H

#include <stdint.h>

void files_remove_tree(const char *path);

/* Copies the regular files of directory from, with their holes, into the directory to, which exists. 0 or -errno. */
int files_copy_tree(const char *from, const char *to);

/* Copies one file byte by byte, holes left out. 0 or -errno. */
int files_copy(const char *from, const char *to);

/* Bytes that the file system has allocated for the files below path. */
uint64_t files_allocated_bytes(const char *path);

/* Makes the files below path durable. */
void files_sync(const char *path);

/* Takes the files below path out of the page cache, after writing what is dirty. */
void files_drop_cache(const char *path);

/* Waits until the file system of path has nothing left to write. */
void files_write_out(const char *path);

/* What is free there for us, in bytes. */
uint64_t files_free_bytes(const char *path);

#endif
