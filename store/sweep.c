/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sweeping: objects that are not marked, and directories that nothing needs.
 *
 * Space is counted where it becomes free, at the last link of an inode. A dry run counts the links it would take of
 * each inode instead, and finds the same number. Whoever calls holds the repository; nothing here knows why something
 * goes.
 */

#include "store/sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"

#define BLOCK 512U /* of st_blocks, stat(2) */

/* One link of an inode goes. */
static void sweep_count(Sweep *s, const struct stat *st) {
        guint64 last = st->st_nlink;

        if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
                guint taken;

                if (!s->dry_run)
                        return;
                if (!s->links)
                        s->links = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
                taken = GPOINTER_TO_UINT(g_hash_table_lookup(s->links, &st->st_ino)) + 1;
                g_hash_table_replace(s->links, g_memdup2(&st->st_ino, sizeof(st->st_ino)), GUINT_TO_POINTER(taken));
                if (taken < last)
                        return;
        }
        s->freed += (guint64)st->st_blocks * BLOCK;
}

static gboolean sweep_one(Sweep *s, int dir_fd, const char *name, GError **error) {
        struct stat st;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? TRUE : store_fail_errno(error, errno, "Cannot look at '%s'", name);
        if (!s->dry_run && unlinkat(dir_fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
                return store_fail_errno(error, errno, "Cannot remove '%s'", name);
        sweep_count(s, &st);
        return TRUE;
}

static gboolean sweep_content(Sweep *s, int fd, GError **error);

/** sweep_tree() - take @name of @dir_fd away, a directory with all that is in it; it has at most the depth of an image
 */
gboolean sweep_tree(Sweep *s, int dir_fd, const char *name, GError **error) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 && errno != ENOTDIR && errno != ELOOP && errno != ENOENT)
                return store_fail_errno(error, errno, "Cannot open '%s'", name);
        return (fd < 0 || sweep_content(s, fd, error)) && sweep_one(s, dir_fd, name, error);
}

static gboolean sweep_content(Sweep *s, int fd, GError **error) {
        gboolean ok = TRUE;
        DIR *dir = NULL;
        int r = dir_stream(fd, &dir);

        if (r < 0)
                return store_fail_errno(error, -r, "Cannot read a directory");
        for (struct dirent *e; ok && (e = readdir(dir));) {
                if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                        continue;
                ok = e->d_type == DT_DIR || e->d_type == DT_UNKNOWN ? sweep_tree(s, fd, e->d_name, error)
                                                                    : sweep_one(s, fd, e->d_name, error);
        }
        (void)closedir(dir);
        return ok;
}

/* Detached metadata goes with its commit; a name that is no object's is not ours. */
static gboolean is_garbage(const Mark *mark, const char *directory, const char *file, ObjectKind *ret_kind) {
        g_autofree char *commit = NULL;
        guint8 checksum[DIGEST_SIZE];

        if (g_str_has_suffix(file, ".commitmeta"))
                file = commit = g_strndup(file, strlen(file) - strlen("meta"));
        return object_parse(directory, file, ret_kind, checksum) && !mark_has(mark, *ret_kind, checksum);
}

static gboolean sweep_directory(Sweep *s, int fd, const char *name, const Mark *mark, GError **error) {
        gboolean ok = TRUE;
        DIR *dir = NULL;
        int r = dir_stream(fd, &dir);

        if (r < 0)
                return store_fail_errno(error, -r, "Cannot read the repository's objects");
        for (struct dirent *e; ok && (e = readdir(dir));) {
                ObjectKind kind;

                if (!is_garbage(mark, name, e->d_name, &kind))
                        continue;
                ok = sweep_one(s, fd, e->d_name, error);
                s->objects++;
        }
        (void)closedir(dir);
        return ok;
}

/** sweep_objects() - take away every object that is not marked; what a cancellation leaves the next one takes */
gboolean sweep_objects(Sweep *s, StoreJob *job, int objects_fd, const Mark *mark, GError **error) {
        for (guint i = 0; i < 256; i++) {
                _cleanup_close_ int fd = -1;
                char name[3];

                g_snprintf(name, sizeof(name), "%02x", i);
                fd = openat(objects_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0 && errno == ENOENT)
                        continue;
                if (fd < 0)
                        return store_fail_errno(error, errno, "Cannot open the repository's objects");
                if (!store_job_check(job, error) || !sweep_directory(s, fd, name, mark, error))
                        return FALSE;
        }
        return TRUE;
}

void sweep_clear(Sweep *s) {
        g_clear_pointer(&s->links, g_hash_table_unref);
}
