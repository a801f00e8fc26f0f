/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an upper directory takes.
 *
 * Blocks and inodes as the file system counts them, a file with several links once. The directory may be in use: what
 * comes and goes meanwhile is counted or not. Nothing is opened but directories, no link is followed and no other mount
 * entered.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"
#include "store/upper.h"

/* Two descriptors and a stack frame each. */
#define DEPTH_MAX 8192U

typedef struct {
        StoreJob *job;
        dev_t device;
        GHashTable *linked; /* inode numbers of files with several links */
        guint64 bytes;
        guint64 inodes;
} Usage;

static void close_dir(DIR **d) {
        if (*d)
                (void)closedir(*d);
}

static void count(Usage *u, const struct stat *st) {
        gint64 number = (gint64)st->st_ino;

        if (!S_ISDIR(st->st_mode) && st->st_nlink > 1 &&
            !g_hash_table_add(u->linked, g_memdup2(&number, sizeof(number))))
                return;
        u->bytes += (guint64)st->st_blocks * 512;
        u->inodes++;
}

static gboolean walk(Usage *u, int fd, guint depth, GError **error);

static gboolean walk_name(Usage *u, int fd, const char *name, guint depth, GError **error) {
        _cleanup_close_ int below = -1;
        struct stat st;

        if (!store_job_check(u->job, error))
                return FALSE;
        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? TRUE : store_fail_errno(error, errno, "Cannot read the snapshot");
        if (st.st_dev != u->device)
                return TRUE;
        count(u, &st);
        if (!S_ISDIR(st.st_mode))
                return TRUE;
        below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0)
                return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                               ? TRUE
                               : store_fail_errno(error, errno, "Cannot read the snapshot");
        return walk(u, below, depth + 1, error);
}

static gboolean walk(Usage *u, int fd, guint depth, GError **error) {
        _cleanup_(close_dir) DIR *dir = NULL;
        struct dirent *d;
        int r = dir_stream(fd, &dir);

        if (r < 0)
                return store_fail_errno(error, -r, "Cannot read the snapshot");
        if (depth > DEPTH_MAX)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "A path has more than %u components", DEPTH_MAX);
        while (errno = 0, (d = readdir(dir)))
                if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
                    !walk_name(u, fd, d->d_name, depth, error))
                        return FALSE;
        return errno == 0 ? TRUE : store_fail_errno(error, errno, "Cannot read the snapshot");
}

/** upper_usage() - bytes and inodes of the directory @fd with all that is in it */
gboolean upper_usage(StoreJob *job, int fd, guint64 *ret_bytes, guint64 *ret_inodes, GError **error) {
        g_autoptr(GHashTable) linked = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
        Usage u = { .job = job, .linked = linked };
        struct stat st;

        if (fstat(fd, &st) < 0)
                return store_fail_errno(error, errno, "Cannot read the snapshot");
        if (!S_ISDIR(st.st_mode))
                return store_fail(error, STORE_FAIL_INVALID, "The snapshot is not a directory");
        u.device = st.st_dev;
        count(&u, &st);
        if (!walk(&u, fd, 1, error))
                return FALSE;
        *ret_bytes = u.bytes;
        *ret_inodes = u.inodes;
        return TRUE;
}
