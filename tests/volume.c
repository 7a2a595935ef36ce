/* SPDX-License-Identifier: MIT */
/* See volume.h. */
#include "volume.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SHUTDOWN _IOR('X', 125, uint32_t) /* FS_IOC_SHUTDOWN */
#define SHUTDOWN_LOGFLUSH 1u
#define SHUTDOWN_NOLOGFLUSH 2u

#define LOOP_TRIES 100
#define UNMOUNT_TRIES 5000
#define MKFS_MISSING 127

static const struct {
	const char *name, *type, *options;
	const char *mkfs[5];
} kinds[VOLUME_KINDS] = {
	[VOLUME_EXT4] = { "ext4", "ext4", "", { "mkfs.ext4", "-qF" } },
	[VOLUME_EXT4_WRITEBACK] = { "ext4 data=writeback", "ext4", "data=writeback", { "mkfs.ext4", "-qF" } },
	[VOLUME_EXT4_EAGER] = { "ext4 commit=1", "ext4", "commit=1", { "mkfs.ext4", "-qF" } },
	[VOLUME_EXT4_LATE] = { "ext4 commit=1000", "ext4", "commit=1000", { "mkfs.ext4", "-qF" } },
	[VOLUME_XFS_SHARED] = { "xfs, blocks shared", "xfs", "", { "mkfs.xfs", "-qf", "-m", "reflink=1" } },
	[VOLUME_XFS] = { "xfs", "xfs", "", { "mkfs.xfs", "-qf", "-m", "reflink=1" } },
	[VOLUME_XFS_PLAIN] = { "xfs without reflink", "xfs", "", { "mkfs.xfs", "-qf", "-m", "reflink=0" } },
	[VOLUME_BTRFS] = { "btrfs", "btrfs", "", { "mkfs.btrfs", "-qf" } },
	[VOLUME_TMPFS] = { "tmpfs", "tmpfs", "", { NULL } },
};

const char *volume_name(enum volume_kind kind)
{
	return kinds[kind].name;
}

/* A mount namespace of this process's own, from which nothing gets out. */
static const char *enter_namespace(void)
{
	static bool entered;

	if (entered)
		return NULL;
	if (geteuid() != 0)
		return "not root";
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "no mount namespaces";
	entered = true;
	return NULL;
}

#define THIN_BLOCK_BYTES 4096 /* a page of the pool */

/* Linux's loop device calls a write done that its file has taken in part only (seen on 6.18). So a thin one gets one page at a
 * time: that fits or does not. */
static const char *write_by_pages(const struct volume *volume)
{
	char path[64] = "";
	FILE *file = NULL;
	bool done;

	snprintf(path, sizeof(path), "/sys/block/%s/queue/max_sectors_kb", volume->device + strlen("/dev/"));
	file = fopen(path, "we");
	if (!file)
		return "requests of a loop device cannot be limited";
	done = fprintf(file, "%d", THIN_BLOCK_BYTES / 1024) > 0;
	done &= fclose(file) == 0;
	return done ? NULL : "requests of a loop device cannot be limited";
}

/* Somebody else may take the device between the question which is free and the taking. */
static const char *loop_attach(struct volume *volume)
{
	struct loop_config config = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number = 0, tries = 0;
	const char *why = "no loop devices";

	config.fd = (uint32_t)volume->image;
	config.block_size = volume->pool[0] ? THIN_BLOCK_BYTES : 0;
	for (tries = 0; control >= 0 && tries < LOOP_TRIES && why; tries++) {
		number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			break;
		snprintf(volume->device, sizeof(volume->device), "/dev/loop%d", number);
		volume->loop = open(volume->device, O_RDWR | O_CLOEXEC);
		if (volume->loop < 0)
			break;
		if (ioctl(volume->loop, LOOP_CONFIGURE, &config) == 0) {
			why = NULL;
		} else {
			close(volume->loop);
			volume->loop = -1;
		}
	}
	if (control >= 0)
		close(control);
	return why || !volume->pool[0] ? why : write_by_pages(volume);
}

static const char *make_file_system(const struct volume *volume)
{
	static char missing[64];
	const char *arguments[7] = { NULL };
	pid_t child = 0;
	int i = 0, status = 0, null = 0;

	for (i = 0; kinds[volume->kind].mkfs[i]; i++)
		arguments[i] = kinds[volume->kind].mkfs[i];
	arguments[i] = volume->device;
	child = fork();
	if (child == 0) {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		dup2(null, STDOUT_FILENO);
		setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
		execvp(arguments[0], (char *const *)(uintptr_t)arguments);
		_exit(MKFS_MISSING);
	}
	must(child > 0);
	status = child_wait(child);
	snprintf(missing, sizeof(missing), status == MKFS_MISSING ? "no %s" : "%s fails", arguments[0]);
	return status ? missing : NULL;
}

static int mount_once(struct volume *volume)
{
	const char *source = volume->kind == VOLUME_TMPFS ? "tmpfs" : volume->device;

	return mount(source, volume->point, kinds[volume->kind].type, 0, kinds[volume->kind].options);
}

static const char *attach(struct volume *volume, uint64_t bytes)
{
	const char *why = NULL;
	char path[sizeof(volume->pool) + 8] = "";

	if (volume->pool[0]) {
		must(mkdir(volume->pool, 0700) == 0 || errno == EEXIST);
		must(mount("tmpfs", volume->pool, "tmpfs", 0, NULL) == 0);
		snprintf(path, sizeof(path), "%s/image", volume->pool);
		volume->image = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	} else {
		volume->image = memfd_create("volume", MFD_CLOEXEC);
	}
	must(volume->image >= 0 && ftruncate(volume->image, (off_t)bytes) == 0);
	why = loop_attach(volume);
	return why ? why : make_file_system(volume);
}

static const char *make(struct volume *volume, enum volume_kind kind, uint64_t bytes, const char *point, bool thin)
{
	const char *why = enter_namespace();
	char size[32] = "";

	*volume = (struct volume){ .kind = kind, .image = -1, .loop = -1, .made = true };
	snprintf(volume->point, sizeof(volume->point), "%s", point);
	if (thin)
		snprintf(volume->pool, sizeof(volume->pool), "%s.pool", point);
	if (!why && kind != VOLUME_TMPFS)
		why = attach(volume, bytes);
	if (!why) {
		must(mkdir(point, 0700) == 0 || errno == EEXIST);
		volume->mounted = mount_once(volume) == 0;
		why = volume->mounted ? NULL : "the kernel does not mount it";
	}
	if (!why && kind == VOLUME_TMPFS) {
		snprintf(size, sizeof(size), "size=%llu", (unsigned long long)bytes);
		must(mount(NULL, point, NULL, MS_REMOUNT, size) == 0);
	}
	if (why)
		volume_release(volume);
	return why;
}

const char *volume_make(struct volume *volume, enum volume_kind kind, uint64_t bytes, const char *point)
{
	return make(volume, kind, bytes, point, false);
}

const char *volume_make_thin(struct volume *volume, enum volume_kind kind, uint64_t bytes, const char *point)
{
	return make(volume, kind, bytes, point, true);
}

static bool resize_pool(const struct volume *volume, uint64_t bytes)
{
	char size[32] = "";

	snprintf(size, sizeof(size), "size=%llu", (unsigned long long)bytes);
	return mount(NULL, volume->pool, NULL, MS_REMOUNT, size) == 0;
}

void volume_starve(const struct volume *volume)
{
	struct statvfs status;

	do /* as long as less than what is in use would be left */
		must(statvfs(volume->pool, &status) == 0);
	while (!resize_pool(volume, (status.f_blocks - status.f_bfree) * status.f_frsize));
}

void volume_feed(const struct volume *volume, uint64_t bytes)
{
	must(resize_pool(volume, bytes));
}

/* A device of its own each time: the cache of the one before may hold metadata that never got to the image. */
void volume_mount(struct volume *volume)
{
	if (volume->kind != VOLUME_TMPFS)
		must(loop_attach(volume) == NULL);
	must(mount_once(volume) == 0);
	volume->mounted = true;
}

void volume_unmount(struct volume *volume)
{
	int tries = 0;

	while (volume->mounted && umount(volume->point) < 0) {
		must(errno == EBUSY && ++tries < UNMOUNT_TRIES);
		usleep(1000);
	}
	volume->mounted = false;
	if (volume->loop >= 0)
		close(volume->loop);
	volume->loop = -1;
}

void volume_read_only(struct volume *volume)
{
	int tries = 0;

	while (mount(NULL, volume->point, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0) {
		must(errno == EBUSY && ++tries < UNMOUNT_TRIES); /* a process that has ended may not have let go */
		usleep(1000);
	}
}

void volume_share(const char *path, const char *copy_path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC), to = open(copy_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	must(from >= 0 && to >= 0 && ioctl(to, FICLONE, from) == 0);
	close(from);
	close(to);
}

void volume_cut(struct volume *volume, bool log)
{
	uint32_t how = log ? SHUTDOWN_LOGFLUSH : SHUTDOWN_NOLOGFLUSH;
	int fd = open(volume->point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	must(fd >= 0 && ioctl(fd, SHUTDOWN, &how) == 0);
	close(fd);
}

bool volume_sound(const struct volume *volume)
{
	char path[64] = "";
	unsigned errors = 0;
	FILE *file = NULL;

	snprintf(path, sizeof(path), "/sys/fs/ext4/%s/errors_count", volume->device + strlen("/dev/"));
	file = volume->device[0] ? fopen(path, "r") : NULL;
	if (!file)
		return true;
	must(fscanf(file, "%u", &errors) == 1);
	fclose(file);
	return errors == 0;
}

void volume_release(struct volume *volume)
{
	if (!volume->made)
		return;
	if (volume->mounted && umount(volume->point) < 0)
		(void)umount2(volume->point, MNT_DETACH); /* a test that failed has left files open */
	if (volume->loop >= 0)
		close(volume->loop);
	if (volume->image >= 0)
		close(volume->image);
	if (volume->pool[0])
		(void)umount2(volume->pool, MNT_DETACH);
	memset(volume, 0, sizeof(*volume));
}
