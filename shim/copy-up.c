/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * tmpcopyup: a new tmpfs begins with what the directory below it holds.
 *
 * The tree belongs to the image, so it is walked by descriptors, links are copied as links, devices and sockets are
 * left out, and depth is bounded. It needs the host's /proc, and never writes anywhere but below the tmpfs.
 */

#include "shim/copy-up.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shim/path.h"

#define COPY_DEPTH_MAX 128U

static int copy_directory(int from, int to, unsigned depth);

/* What is to be read is pinned and looked at before it is opened: whoever else has the directory could put a device
 * there in the meantime, and no device policy holds for this process yet. */
static int copy_open(int from_dir, const char *name, struct stat *ret) {
        _cleanup_close_ int fd = openat(from_dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 || fstat(fd, ret) < 0)
                return -errno;
        return S_ISREG(ret->st_mode) ? path_reopen(fd, O_RDONLY | O_NONBLOCK) : -ESTALE;
}

static int copy_file(int from_dir, int to_dir, const char *name) {
        _cleanup_close_ int from = -1, to = -1;
        struct stat st = { 0 };
        ssize_t n;

        from = copy_open(from_dir, name, &st);
        if (from < 0)
                return from;
        to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (to < 0)
                return -errno;
        do
                n = sendfile(to, from, NULL, 1U << 20);
        while (n > 0 || (n < 0 && errno == EINTR));
        if (n < 0 || fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0)
                return -errno;
        return 0;
}

static int copy_link(int from_dir, int to_dir, const char *name, const struct stat *st) {
        _cleanup_free_ char *target = NULL;
        ssize_t n;

        target = calloc(1, (size_t)st->st_size + 1);
        if (!target)
                return -ENOMEM;
        n = readlinkat(from_dir, name, target, (size_t)st->st_size);
        if (n < 0 || symlinkat(target, to_dir, name) < 0)
                return -errno;
        return fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_entry(int from_dir, int to_dir, const char *name, unsigned depth) {
        _cleanup_close_ int from = -1, to = -1;
        struct stat st;
        int r;

        if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISREG(st.st_mode))
                return copy_file(from_dir, to_dir, name);
        if (S_ISLNK(st.st_mode))
                return copy_link(from_dir, to_dir, name, &st);
        if (!S_ISDIR(st.st_mode))
                return 0;

        from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (from < 0 || mkdirat(to_dir, name, 0700) < 0)
                return -errno;
        to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (to < 0)
                return -errno;
        r = copy_directory(from, to, depth + 1);
        if (r < 0)
                return r;
        return fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0 ? -errno : 0;
}

static int copy_directory(int from, int to, unsigned depth) {
        DIR *dir;
        int r;

        if (depth > COPY_DEPTH_MAX)
                return -ELOOP;
        r = dir_stream(from, &dir);
        if (r < 0)
                return r;
        for (;;) {
                struct dirent *e;

                errno = 0;
                e = readdir(dir);
                if (!e) {
                        r = -errno;
                        break;
                }
                if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                        continue;
                r = copy_entry(from, to, e->d_name, depth);
                if (r < 0)
                        break;
        }
        (void)closedir(dir);
        return r;
}

/** copy_up() - copy what is in the directory @from_fd into the fresh file system @to_fd, its root's owner and mode
 * included
 *
 * Return: 0, -ELOOP when it is nested too deep, or a negative errno.
 */
int copy_up(int from_fd, int to_fd) {
        _cleanup_close_ int to = -1;
        struct stat st;
        int r;

        to = openat(to_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (to < 0 || fstat(from_fd, &st) < 0)
                return -errno;
        r = copy_directory(from_fd, to, 0);
        if (r < 0)
                return r;
        return fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0 ? -errno : 0;
}
