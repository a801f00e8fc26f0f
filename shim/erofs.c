/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Mounting an EROFS image, as a file (Linux 6.12) or behind a loop device.
 *
 * The image is given as a descriptor, so that what was checked is what is mounted. A loop device belongs to its mount:
 * the kernel frees it with the last one. Nothing is attached here.
 */

#include <fcntl.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "shared/macros.h"
#include "shared/syscalls.h"
#include "shim/launcher.h"

#define LOOP_TRIES 16

static int erofs_mount(const char *source) {
        _cleanup_close_ int fs = fsopen("erofs", FSOPEN_CLOEXEC);
        int fd;

        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -errno;
        fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
        return fd < 0 ? -errno : fd;
}

/* A device that was free a moment ago may be somebody's by now. */
static int loop_configure(int control, const struct loop_config *config, char path[32]) {
        for (int i = 0; i < LOOP_TRIES; i++) {
                int number = ioctl(control, LOOP_CTL_GET_FREE), fd;

                if (number < 0)
                        return -errno;
                (void)snprintf(path, 32, "/dev/loop%d", number);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        return -errno;
                if (ioctl(fd, LOOP_CONFIGURE, config) == 0)
                        return fd;
                safe_close(fd);
                if (errno != EBUSY)
                        return -errno;
        }
        return -EBUSY;
}

static int erofs_mount_loop(int file) {
        struct loop_config config = { .fd = (uint32_t)file };
        _cleanup_close_ int control = -1, device = -1;
        char path[32];

        control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        if (control < 0)
                return -errno;
        config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
        (void)snprintf((char *)config.info.lo_file_name, sizeof(config.info.lo_file_name), "davit");
        device = loop_configure(control, &config, path);
        return device < 0 ? device : erofs_mount(path);
}

/** erofs_open() - mount the image behind @file, a descriptor open for reading, read-only
 *
 * Return: a detached mount the caller owns, or a negative errno.
 */
int erofs_open(int file, enum launcher_chain_form form) {
        char source[32];

        if (form == LAUNCHER_CHAIN_EROFS_LOOP) {
                int fd = erofs_mount_loop(file);

                return fd == -ENOENT ? -ENODEV : fd; /* what is missing is a device, not the image */
        }
        (void)snprintf(source, sizeof(source), "/proc/self/fd/%d", file);
        return erofs_mount(source);
}
