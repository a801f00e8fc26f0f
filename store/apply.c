/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing a layer into a mounted snapshot.
 *
 * The directory is the root of an overlay that is mounted, so deleting in it makes whiteouts by itself. It belongs to a
 * container and may be in use: names are single components, taken one by one below descriptors, no symbolic link is
 * followed and no mount crossed. What a layer means is what chain.c says: whiteouts before additions, a directory over
 * a directory merges, all else replaces, hard links to lower files come last. The layer has been read and verified
 * before anything here is touched.
 */

#include "store/apply.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/syscalls.h"
#include "store/error.h"
#include "store/layer.h"
#include "store/stream.h"

#define FOREIGN_HOPS_MAX 40U

typedef struct {
        StoreJob *job;
        Objects *objects;
        Tree *layer;
        int root_fd;
        GHashTable *first;  /* inode -> the node that carries it */
        GPtrArray *foreign; /* nodes that are links to what is not of the layer */
        guint8 *buffer;
} Apply;

static gboolean apply_errno(const Node *n, GError **error) {
        int number = errno;
        g_autofree char *path = tree_path(n);

        return store_fail_errno(error, number, "Cannot write '/%s'", path);
}

static gboolean is_whiteout(const Node *n) {
        return n->size >= strlen(WHITEOUT_PREFIX) && memcmp(n->name, WHITEOUT_PREFIX, strlen(WHITEOUT_PREFIX)) == 0;
}

static gboolean remove_name(const Node *n, int dir_fd, const char *name, GError **error) {
        int r = tree_remove_at(dir_fd, name);

        if (r >= 0 || r == -ENOENT)
                return TRUE;
        errno = -r;
        return apply_errno(n, error);
}

static void close_dir(DIR **d) {
        if (*d)
                (void)closedir(*d);
}

/* Everything in a directory; what is removed while it is read is not read again. */
static gboolean remove_all(const Node *n, int fd, GError **error) {
        _cleanup_(close_dir) DIR *dir = NULL;
        struct dirent *d;
        int r = dir_stream(fd, &dir);

        if (r < 0) {
                errno = -r;
                return apply_errno(n, error);
        }
        while (errno = 0, (d = readdir(dir)))
                if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
                    !remove_name(n, fd, d->d_name, error))
                        return FALSE;
        return errno == 0 ? TRUE : apply_errno(n, error);
}

static gboolean apply_whiteouts(Apply *a, const Node *n, int fd, GError **error) {
        if (tree_lookup(a->layer, (Node *)n, WHITEOUT_OPAQUE, strlen(WHITEOUT_OPAQUE)) && !remove_all(n, fd, error))
                return FALSE;
        for (const Node *c = n->child; c; c = c->next) {
                const char *hidden = c->name + strlen(WHITEOUT_PREFIX);

                if (is_whiteout(c) && !g_str_has_prefix(hidden, WHITEOUT_PREFIX) && !remove_name(n, fd, hidden, error))
                        return FALSE;
        }
        return TRUE;
}

static gboolean has_attribute(const Inode *i, const char *name) {
        GVariantIter iter;
        GVariant *key;

        if (!i->xattrs)
                return FALSE;
        g_variant_iter_init(&iter, i->xattrs);
        while (g_variant_iter_next(&iter, "(@ay@ay)", &key, NULL)) {
                g_autoptr(GVariant) k = key;

                if (strcmp(g_variant_get_bytestring(k), name) == 0)
                        return TRUE;
        }
        return FALSE;
}

/* A directory that was there has the attributes its new entry gives it, and no others that an image can have. */
static gboolean drop_attributes(const Node *n, int fd, GError **error) {
        g_autofree char *list = NULL;
        gssize size = flistxattr(fd, NULL, 0);

        if (size <= 0)
                return size == 0 || errno == ENOTSUP ? TRUE : apply_errno(n, error);
        list = g_malloc0((gsize)size + 1);
        size = flistxattr(fd, list, (gsize)size);
        for (gssize at = 0; at < size; at += (gssize)strlen(list + at) + 1)
                if (tar_xattr_kept(list + at, TAR_DIRECTORY) && !has_attribute(n->inode, list + at) &&
                    fremovexattr(fd, list + at) < 0 && errno != ENODATA)
                        return apply_errno(n, error);
        return TRUE;
}

static gboolean finish_directory(const Node *n, int fd, gboolean made, GError **error) {
        if (n->inode->flags & INODE_IMPLICIT && !made)
                return TRUE;
        if (!made && !drop_attributes(n, fd, error))
                return FALSE;
        if (!made && fchown(fd, n->inode->uid, n->inode->gid) < 0)
                return apply_errno(n, error);
        return inode_apply(fd, n->inode, error);
}

static gboolean apply_children(Apply *a, const Node *n, int fd, GError **error);

static gboolean apply_directory(Apply *a, int dir_fd, const Node *n, GError **error) {
        _cleanup_close_ int fd = -1;
        gboolean made = FALSE;
        struct stat st;

        if (fstatat(dir_fd, n->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)) {
                if (!remove_name(n, dir_fd, n->name, error))
                        return FALSE;
                if (mkdirat(dir_fd, n->name, 0700) < 0)
                        return apply_errno(n, error);
                made = TRUE;
        }
        fd = openat(dir_fd, n->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return apply_errno(n, error);
        return apply_children(a, n, fd, error) && finish_directory(n, fd, made, error);
}

static gboolean copy_content(Apply *a, const Node *n, int to, GError **error) {
        _cleanup_close_ int from = -1;
        char name[OBJECT_NAME];
        gssize got = 1;

        object_name(n->inode->checksum, ".file", name);
        from = objects_open(a->objects, name);
        if (from < 0)
                return store_fail_errno(error, -from, "Cannot read a file of the layer");
        while (got > 0) {
                got = read(from, a->buffer, STREAM_CHUNK);
                if (got < 0 && errno != EINTR)
                        return store_fail_errno(error, errno, "Cannot read a file of the layer");
                if (!store_job_check(a->job, error) || !store_job_add_written(a->job, to, (guint64)MAX(got, 0), error))
                        return FALSE;
                if (got > 0) {
                        int r = fd_write_all(to, a->buffer, (gsize)got);

                        if (r < 0) {
                                errno = -r;
                                return apply_errno(n, error);
                        }
                }
        }
        return TRUE;
}

static gboolean make_file(Apply *a, int dir_fd, const Node *n, GError **error) {
        _cleanup_close_ int fd = openat(dir_fd, n->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0)
                return apply_errno(n, error);
        return (n->inode->size == 0 || copy_content(a, n, fd, error)) && inode_apply(fd, n->inode, error);
}

static gboolean make_other(int dir_fd, const Node *n, GError **error) {
        const Inode *i = n->inode;
        int r = S_ISLNK(i->mode) ? symlinkat(i->target, dir_fd, n->name)
                                 : mknodat(dir_fd, n->name, (i->mode & S_IFMT) | 0600, makedev(i->major, i->minor));

        return r < 0 ? apply_errno(n, error) : inode_apply_at(dir_fd, n->name, i, error);
}

/* A hard link to the file at @path, which was written or was there; only its last name may be a symbolic link. */
static gboolean make_link(Apply *a, int dir_fd, const Node *n, const char *path, GError **error) {
        const struct open_how how = {
                .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        g_autofree char *parent = g_path_get_dirname(path), *name = g_path_get_basename(path);
        _cleanup_close_ int fd = sys_openat2(a->root_fd, parent, &how);

        if (fd >= 0 && linkat(fd, name, dir_fd, n->name, 0) == 0)
                return TRUE;
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EPERM)
                return store_fail(error, STORE_FAIL_INVALID, "Hard link '%s' points to '%s', which is not a file",
                                  n->name, path);
        return apply_errno(n, error);
}

static gboolean apply_file(Apply *a, int dir_fd, const Node *n, GError **error) {
        const Node *first = g_hash_table_lookup(a->first, n->inode);
        g_autofree char *path = NULL;

        if (n->inode->flags & INODE_FOREIGN) {
                g_ptr_array_add(a->foreign, (gpointer)n);
                return TRUE;
        }
        if (!store_job_check(a->job, error) || !remove_name(n, dir_fd, n->name, error))
                return FALSE;
        if (first) {
                path = tree_path(first);
                return make_link(a, dir_fd, n, path, error);
        }
        g_hash_table_insert(a->first, n->inode, (gpointer)n);
        return S_ISREG(n->inode->mode) ? make_file(a, dir_fd, n, error) : make_other(dir_fd, n, error);
}

static gboolean apply_children(Apply *a, const Node *n, int fd, GError **error) {
        if (!apply_whiteouts(a, n, fd, error))
                return FALSE;
        for (const Node *c = n->child; c; c = c->next) {
                if (is_whiteout(c))
                        continue;
                if (inode_is_dir(c->inode) ? !apply_directory(a, fd, c, error) : !apply_file(a, fd, c, error))
                        return FALSE;
        }
        return TRUE;
}

/* Where a link to a lower file ends, if it leads to another such link of the layer. */
static const char *foreign_target(Apply *a, const Node *n) {
        const char *target = n->inode->target;

        for (guint i = 0; i < FOREIGN_HOPS_MAX; i++) {
                const Node *next = tree_find(a->layer, target);

                if (!next || !(next->inode->flags & INODE_FOREIGN))
                        return target;
                target = next->inode->target;
        }
        return NULL;
}

static gboolean apply_foreign(Apply *a, const Node *n, GError **error) {
        const struct open_how how = {
                .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        const char *target = foreign_target(a, n);
        g_autofree char *above = tree_path(n->parent);
        _cleanup_close_ int fd = sys_openat2(a->root_fd, above[0] ? above : ".", &how);

        if (fd < 0)
                return apply_errno(n, error);
        if (!target)
                return store_fail(error, STORE_FAIL_INVALID, "Hard links point to each other");
        return remove_name(n, fd, n->name, error) && make_link(a, fd, n, target, error);
}

/* Links change the times of the directories they are made in. */
static gboolean restore_time(Apply *a, const Node *n, GError **error) {
        const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { n->inode->mtime, n->inode->mtime_nsec } };
        g_autofree char *path = tree_path(n);

        if (n->inode->flags & INODE_IMPLICIT)
                return TRUE;
        return utimensat(a->root_fd, path[0] ? path : ".", times, AT_SYMLINK_NOFOLLOW) == 0 ? TRUE
                                                                                            : apply_errno(n, error);
}

static gboolean apply_all(Apply *a, GError **error) {
        Node *root = tree_root(a->layer);

        if (!apply_children(a, root, a->root_fd, error))
                return FALSE;
        for (guint i = 0; i < a->foreign->len; i++)
                if (!apply_foreign(a, a->foreign->pdata[i], error))
                        return FALSE;
        for (guint i = 0; i < a->foreign->len; i++)
                if (!restore_time(a, ((const Node *)a->foreign->pdata[i])->parent, error))
                        return FALSE;
        return finish_directory(root, a->root_fd, FALSE, error);
}

/**
 * layer_write() - put a layer on what the directory @root_fd shows; on failure a part of it may have been written
 * @root_fd: borrowed; one opened with O_PATH will do, as the descriptor of a mount is
 */
gboolean layer_write(StoreJob *job, Objects *objects, Tree *layer, int root_fd, GError **error) {
        g_autoptr(GHashTable) first = g_hash_table_new(NULL, NULL);
        g_autoptr(GPtrArray) foreign = g_ptr_array_new();
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        _cleanup_close_ int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        Apply a = { .job = job, .objects = objects, .layer = layer, .root_fd = fd };

        if (fd < 0)
                return store_fail_errno(error, errno, "Cannot open the snapshot");
        a.first = first;
        a.foreign = foreign;
        a.buffer = buffer;
        tree_sort(tree_root(layer));
        return apply_all(&a, error);
}
