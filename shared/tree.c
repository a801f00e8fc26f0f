/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Removal of a whole tree.
 *
 * The tree may hold anything a container could write. It is walked by descriptors, no symbolic link is
 * followed, another mount is never entered, and the depth needs no stack: a deep directory is moved up
 * to the tree's top instead.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"

/* Deeper than this, a directory is moved to the top of the tree and removed from there, so that a hostile
 * nesting costs neither stack nor descriptors. */
#define TREE_DEPTH_MAX 64

static void closedirp(DIR **d) {
        if (*d)
                (void)closedir(*d);
}

static int tree_empty(int top_fd, int dir_fd, dev_t device, unsigned depth);

/* To a name that is free: whoever has filled the tree may have taken some, and cannot have taken all. */
static int tree_move_up(int top_fd, int dir_fd, const char *name) {
        static unsigned counter;

        for (;;) {
                char moved[32];

                (void)snprintf(moved, sizeof(moved), ".deep-%u", counter++);
                if (renameat(dir_fd, name, top_fd, moved) >= 0 || errno == ENOENT)
                        return 0;
                if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
                        return -errno;
        }
}

/* 1: it is a directory; 0: it has gone, or was never there. */
static int tree_unlink(int dir_fd, const char *name) {
        if (unlinkat(dir_fd, name, 0) >= 0 || errno == ENOENT)
                return 0;
        return errno == EISDIR || errno == EPERM ? 1 : -errno;
}

static int tree_remove_entry(int top_fd, int dir_fd, const char *name, dev_t device, unsigned depth) {
        _cleanup_close_ int child = -1;
        struct stat st;
        int r;

        r = tree_unlink(dir_fd, name);
        if (r <= 0)
                return r;
        if (unlinkat(dir_fd, name, AT_REMOVEDIR) >= 0 || errno == ENOENT)
                return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
                return -errno;

        if (depth >= TREE_DEPTH_MAX)
                return tree_move_up(top_fd, dir_fd, name);

        child = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (child < 0)
                return errno == ENOENT ? 0 : -errno;
        if (fstat(child, &st) < 0)
                return -errno;
        if (st.st_dev != device)
                return -EXDEV;
        r = tree_empty(top_fd, child, device, depth + 1);
        if (r < 0)
                return r;
        /* What has been put in since then is for the next round. */
        if (unlinkat(dir_fd, name, AT_REMOVEDIR) >= 0 || errno == ENOENT || errno == ENOTEMPTY || errno == EEXIST)
                return 0;
        return -errno;
}

static int tree_empty(int top_fd, int dir_fd, dev_t device, unsigned depth) {
        _cleanup_(closedirp) DIR *dir = NULL;
        int r;

        r = dir_stream(dir_fd, &dir);
        if (r < 0)
                return r;

        for (;;) {
                struct dirent *e;

                errno = 0;
                e = readdir(dir);
                if (!e)
                        return -errno;
                if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                        continue;
                r = tree_remove_entry(top_fd, dir_fd, e->d_name, device, depth);
                if (r < 0)
                        return r;
        }
}

/** tree_remove_at() - remove @name below @dir_fd, with all that is in it
 *
 * Whoever removes the same at the same time is no hindrance.
 *
 * Return: 0 (also when there is nothing of that name), -EXDEV when something is mounted in it, or a negative errno.
 */
int tree_remove_at(int dir_fd, const char *name) {
        _cleanup_close_ int top = -1;
        struct stat st;
        int r;

        r = tree_unlink(dir_fd, name);
        if (r <= 0)
                return r;

        top = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (top < 0)
                return errno == ENOENT ? 0 : -errno;
        if (fstat(top, &st) < 0)
                return -errno;

        /* Directories that were moved to the top need another round; each shortens the tree by TREE_DEPTH_MAX levels.
         */
        do {
                r = tree_empty(top, top, st.st_dev, 0);
                if (r < 0)
                        return r;
                r = unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
        } while (r == -ENOTEMPTY || r == -EEXIST);
        return r;
}
