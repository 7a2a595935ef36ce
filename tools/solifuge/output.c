/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIDE_SUFFIX ".lock"

/* A failure of standard output has been told. */
static bool output_told;

static int fail_write(const struct common *common, const char *path)
{
	int error = errno;

	return fail_plain(common, "cannot write to %s: %s", path ? text_shown(path).text : "standard output",
			  strerror(error));
}

static bool is_same_file(const char *path, const struct stat *file)
{
	struct stat other = { 0 };

	return !stat(path, &other) && other.st_dev == file->st_dev && other.st_ino == file->st_ino;
}

/* Refuses a file of the database: its spindles, and the side file of the first. */
static int refuse_own(const struct common *common, struct slf_db *db, const struct stat *file)
{
	int result = EXIT_OK;
	int length = 0;

	for (unsigned i = 0; !result && (length = slf_spindle_path(db, i, NULL, 0)) >= 0; i++) {
		size_t bytes = (size_t)length + sizeof(SIDE_SUFFIX);
		char *path = malloc(bytes);

		if (!path)
			return fail_plain(common, "no memory for a path");
		slf_spindle_path(db, i, path, bytes);
		if (is_same_file(path, file))
			result = EXIT_FAILED;
		strcat(path, SIDE_SUFFIX);
		if (i == 0 && is_same_file(path, file))
			result = EXIT_FAILED;
		free(path);
	}
	if (result)
		fail_plain(common, "%s is a file of the database %s; give another name", text_shown(common->output.path).text,
			   common->shown.text);
	return result;
}

/* Opens the name beside the file's own. old: what has that name now, or NULL. A descriptor, or -1 with errno. */
static int open_part(struct output *output, const struct stat *old)
{
	int fd = -1;

	output->target = old ? realpath(output->path, NULL) : strdup(output->path);
	if (!output->target || asprintf(&output->part, "%s.%ld.part", output->target, (long)getpid()) < 0) {
		output->part = NULL;
		return -1;
	}
	fd = open(output->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0) {
		free(output->part);
		output->part = NULL;
	} else if (old) {
		(void)!fchown(fd, old->st_uid, old->st_gid); /* root's to do; for others it stays theirs */
		(void)!fchmod(fd, old->st_mode & 0777);
	}
	return fd;
}

int output_open(struct common *common, struct slf_db *db)
{
	struct output *output = &common->output;
	struct stat status = { 0 };
	int result = EXIT_OK;
	int fd = -1;

	if (!output->path)
		return EXIT_OK;
	fd = open(output->path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && !lstat(output->path, &status) && S_ISLNK(status.st_mode)) {
		return fail_plain(common, "%s is a symbolic link to a file that is not there: give another name, or remove the link",
				  text_shown(output->path).text);
	} else if (fd < 0 && errno == ENOENT) {
		fd = open_part(output, NULL);
	} else if (fd >= 0 && !fstat(fd, &status)) {
		result = refuse_own(common, db, &status);
		if (!result && S_ISREG(status.st_mode) && status.st_size && !output->force)
			result = fail_plain(common, "%s exists already: give another name, or replace it with --force",
					    text_shown(output->path).text);
		if (!result && S_ISREG(status.st_mode)) {
			close(fd);
			output->replaces = true;
			fd = open_part(output, &status);
		}
	}
	if (!result && (fd < 0 || dup2(fd, STDOUT_FILENO) < 0))
		result = fail_write(common, output->path);
	if (fd >= 0)
		close(fd);
	return result;
}

/* A file that somebody has made meanwhile is not replaced, where the file system can see to that. */
static int rename_part(const struct output *output)
{
	unsigned flags = output->replaces ? 0 : RENAME_NOREPLACE;
	int result = renameat2(AT_FDCWD, output->part, AT_FDCWD, output->target, flags);

	return result && (errno == EINVAL || errno == ENOSYS) ? rename(output->part, output->target) : result;
}

/* The file that was there stays whole until this has happened, whenever the power fails. */
static int take_name(const struct common *common)
{
	if (!fsync(STDOUT_FILENO) && !rename_part(&common->output))
		return EXIT_OK;
	return fail_write(common, common->output.path);
}

void output_at_exit(void)
{
	if (output_told || (!fflush(stdout) && !ferror(stdout)))
		return;
	tell("solifuge", "cannot write to standard output: %s; the output is incomplete", strerror(errno));
	_exit(EXIT_FAILED);
}

int output_finish(struct common *common, int result)
{
	struct output *output = &common->output;
	bool written = !fflush(stdout) && !ferror(stdout);
	int error = errno;

	if (!written) {
		output_told = true;
		fail_plain(common, "cannot write to %s: %s; the output is incomplete",
			   output->path ? text_shown(output->path).text : "standard output", strerror(error));
		result = result ? result : EXIT_FAILED;
	} else if (output->part && output->complete && !take_name(common)) {
		free(output->part);
		output->part = NULL;
	} else if (output->part && output->complete) {
		result = result ? result : EXIT_FAILED;
	}
	if (output->part && output->keeps_part)
		fail_plain(common, "what could be read is in %s", text_shown(output->part).text);
	else if (output->part)
		unlink(output->part);
	free(output->part);
	free(output->target);
	output->part = output->target = NULL;
	return result;
}
