/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading an overlay's upper directory.
 *
 * Only what is in the upper is walked, and put on top of a tree of what is below, by the rules of the kernel's
 * overlayfs (Documentation/filesystems/overlayfs.rst): a character device 0:0 hides a name; an opaque directory hides
 * what is below it; trusted.overlay.redirect says where a directory came from that was moved; trusted.overlay.metacopy
 * says that only a file's metadata is here and its content still below. Sockets are left out, as no archive can hold
 * them, and overlayfs' own attributes are not part of what a container sees. The directory was written by a container
 * and may hold anything: names are opened by descriptor, no link is followed, no other mount entered. What is read
 * later must not have changed since it was looked at.
 */

#include "store/upper.h"

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
#include "store/diff.h"
#include "store/error.h"
#include "store/tar.h"

#define OVERLAY_PREFIX "trusted.overlay."
#define TRIES_MAX 8 /* of a list or value that grows while it is read */

struct Upper {
        StoreJob *job;
        int fd;
        dev_t device;
        Tree *from;
        Tree *to;
        GHashTable *links; /* inode number -> Inode, of files with more than one link */
        GHashTable *loose; /* Inode -> struct stat as it was when looked at */
        guint64 entries;
};

/* A file's attributes: those of its own, and what overlayfs keeps there. */
typedef struct {
        GVariant *xattrs;
        char *redirect;
        gboolean opaque;
        gboolean metacopy;
} Attributes;

/* One name of a directory. */
typedef struct {
        int dir_fd;
        const char *name;
        const char *path; /* below the upper, for messages */
        const char *proc; /* a path that leads there through dir_fd, for calls that take no descriptor */
        struct stat st;
        Node *parent;       /* in the tree that is made */
        const Node *source; /* directory of the lower tree that shines through, or NULL */
} Entry;

static void attributes_clear(Attributes *a) {
        g_clear_pointer(&a->xattrs, g_variant_unref);
        g_clear_pointer(&a->redirect, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Attributes, attributes_clear)

Upper *upper_new(StoreJob *job, int fd) {
        Upper *u = g_new0(Upper, 1);

        u->job = job;
        u->fd = fd;
        u->links = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
        u->loose = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        return u;
}

void upper_free(Upper *u) {
        g_hash_table_unref(u->links);
        g_hash_table_unref(u->loose);
        g_free(u);
}

static gboolean upper_changed(const char *path, GError **error) {
        return store_fail(error, STORE_FAIL_INVALID, "'/%s' of the snapshot changed while it was read", path);
}

static gboolean upper_errno(const char *what, const char *path, GError **error) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ESTALE)
                return upper_changed(path, error);
        return store_fail_errno(error, errno, "Cannot read %s of '/%s' of the snapshot", what, path);
}

static gboolean same_state(const struct stat *a, const struct stat *b) {
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_mode == b->st_mode &&
               a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
               a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
               a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* All of what llistxattr() or lgetxattr() gives; ends with a NUL of ours. */
static guint8 *read_attribute(const Entry *e, const char *name, gsize *ret_size, GError **error) {
        g_autofree guint8 *data = NULL;

        for (guint i = 0; i < TRIES_MAX; i++) {
                gssize size = name ? lgetxattr(e->proc, name, NULL, 0) : llistxattr(e->proc, NULL, 0), n;

                if (size < 0)
                        break;
                g_free(data);
                data = g_malloc((gsize)size + 1);
                n = name ? lgetxattr(e->proc, name, data, (gsize)size) : llistxattr(e->proc, (char *)data, (gsize)size);
                if (n >= 0 && n <= size) {
                        data[n] = '\0';
                        *ret_size = (gsize)n;
                        return g_steal_pointer(&data);
                }
                if (errno != ERANGE)
                        break;
        }
        if (!name && errno == ENOTSUP) {
                *ret_size = 0;
                return g_malloc0(1);
        }
        if (errno == ENODATA || errno == ERANGE)
                (void)upper_changed(e->path, error);
        else
                (void)upper_errno("the attributes", e->path, error);
        return NULL;
}

static gboolean read_overlay(const Entry *e, const char *name, Attributes *ret, GError **error) {
        const char *key = name + strlen(OVERLAY_PREFIX);
        g_autofree guint8 *value = NULL;
        gsize size;

        if (strcmp(key, "metacopy") == 0) {
                ret->metacopy = TRUE;
                return TRUE;
        }
        if (strcmp(key, "opaque") != 0 && strcmp(key, "redirect") != 0)
                return TRUE;
        value = read_attribute(e, name, &size, error);
        if (!value)
                return FALSE;
        if (strcmp(key, "opaque") == 0) {
                ret->opaque = size == 1 && value[0] == 'y';
                return TRUE;
        }
        if (size == 0 || memchr(value, '\0', size) || (value[0] != '/' && memchr(value, '/', size)))
                return store_fail(error, STORE_FAIL_INVALID, "'/%s' of the snapshot has a damaged redirect", e->path);
        ret->redirect = (char *)g_steal_pointer(&value);
        return TRUE;
}

static char tar_type(mode_t mode) {
        return S_ISDIR(mode)    ? TAR_DIRECTORY
               : S_ISREG(mode)  ? TAR_FILE
               : S_ISLNK(mode)  ? TAR_SYMLINK
               : S_ISCHR(mode)  ? TAR_CHAR
               : S_ISBLK(mode)  ? TAR_BLOCK_DEVICE
               : S_ISFIFO(mode) ? TAR_FIFO
                                : '\0';
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gboolean read_kept(const Entry *e, GPtrArray *names, Attributes *ret, GError **error) {
        GVariantBuilder b;

        qsort(names->pdata, names->len, sizeof(char *), compare_names);
        g_variant_builder_init(&b, G_VARIANT_TYPE("a(ayay)"));
        for (guint i = 0; i < names->len; i++) {
                gsize size;
                guint8 *value = read_attribute(e, names->pdata[i], &size, error);

                if (!value) {
                        g_variant_builder_clear(&b);
                        return FALSE;
                }
                g_variant_builder_add(
                        &b, "(@ay@ay)", g_variant_new_bytestring(names->pdata[i]),
                        g_variant_new_from_data(G_VARIANT_TYPE_BYTESTRING, value, size, TRUE, g_free, value));
        }
        ret->xattrs = g_variant_ref_sink(g_variant_builder_end(&b));
        return TRUE;
}

static gboolean read_attributes(const Entry *e, Attributes *ret, GError **error) {
        g_autoptr(GPtrArray) kept = NULL;
        g_autofree guint8 *list = NULL;
        char type = tar_type(e->st.st_mode);
        gsize size;

        list = read_attribute(e, NULL, &size, error);
        if (!list)
                return FALSE;
        for (gsize at = 0; at < size; at += strlen((char *)list + at) + 1) {
                char *name = (char *)list + at;

                if (g_str_has_prefix(name, OVERLAY_PREFIX)) {
                        if (!read_overlay(e, name, ret, error))
                                return FALSE;
                } else if (tar_xattr_kept(name, type)) {
                        if (!kept)
                                kept = g_ptr_array_new();
                        g_ptr_array_add(kept, name);
                }
        }
        return kept ? read_kept(e, kept, ret, error) : TRUE; /* NOLINT: list goes by itself */
}

static Inode *make_inode(Upper *u, const Entry *e, const Attributes *a) {
        Inode *i = tree_inode(u->to, e->st.st_mode);

        i->uid = e->st.st_uid;
        i->gid = e->st.st_gid;
        i->mtime = e->st.st_mtim.tv_sec;
        i->mtime_nsec = (guint32)e->st.st_mtim.tv_nsec;
        i->size = S_ISREG(i->mode) ? (guint64)e->st.st_size : 0;
        if (S_ISCHR(i->mode) || S_ISBLK(i->mode)) {
                i->major = major(e->st.st_rdev);
                i->minor = minor(e->st.st_rdev);
        }
        tree_own_xattrs(u->to, i, a->xattrs);
        return i;
}

static gboolean read_link(Upper *u, const Entry *e, Inode *i, GError **error) {
        gsize size = (gsize)e->st.st_size;
        g_autofree char *target = g_malloc(size + 2);
        gssize n = readlinkat(e->dir_fd, e->name, target, size + 1);

        if (n < 0)
                return upper_errno("the link", e->path, error);
        if (n == 0 || (gsize)n != size)
                return upper_changed(e->path, error);
        target[n] = '\0';
        i->target = tree_string(u->to, target);
        return TRUE;
}

/* Where the lower tree has what @redirect names: a path from its root, or a name beside the entry's own. */
static const Node *find_source(Upper *u, const Entry *e, const char *redirect) {
        const char *name = redirect ? redirect : e->name;

        if (name[0] == '/')
                return tree_find(u->from, name + strspn(name, "/"));
        return e->source ? tree_lookup(u->from, (Node *)e->source, name, strlen(name)) : NULL;
}

/* Content comes from the lower file; if nothing else differs either, so does its object. Links are another matter: what
 * is in the upper is an inode of its own. */
static Inode *borrow(Upper *u, const Entry *e, Inode *i, const Attributes *a, GError **error) {
        const Node *lower = find_source(u, e, a->redirect);

        if (!lower || !S_ISREG(lower->inode->mode)) {
                store_fail(error, STORE_FAIL_INVALID,
                           "The content of '/%s' of the snapshot is in a lower file that its parent does not have",
                           e->path);
                return NULL;
        }
        i->size = lower->inode->size;
        i->flags |= inode_same_attributes(lower->inode, i) ? INODE_OBJECT : INODE_BORROWED;
        memcpy(i->checksum, lower->inode->checksum, DIGEST_SIZE);
        return i;
}

static Inode *file_inode(Upper *u, const Entry *e, GError **error) {
        g_auto(Attributes) a = { NULL };
        gint64 number = (gint64)e->st.st_ino;
        Inode *i = e->st.st_nlink > 1 ? g_hash_table_lookup(u->links, &number) : NULL;

        if (i)
                return i;
        if (!read_attributes(e, &a, error))
                return NULL;
        i = make_inode(u, e, &a);
        if (S_ISLNK(i->mode) && !read_link(u, e, i, error))
                return NULL;
        if (S_ISREG(i->mode) && a.metacopy)
                i = borrow(u, e, i, &a, error);
        else if (S_ISREG(i->mode)) {
                i->flags |= INODE_LOOSE;
                g_hash_table_insert(u->loose, i, g_memdup2(&e->st, sizeof(e->st)));
        }
        if (i && e->st.st_nlink > 1)
                g_hash_table_insert(u->links, g_memdup2(&number, sizeof(number)), i);
        return i;
}

static gboolean apply_file(Upper *u, const Entry *e, GError **error) {
        Inode *i = file_inode(u, e, error);
        Node *n;

        if (!i)
                return FALSE;
        n = tree_lookup(u->to, e->parent, e->name, strlen(e->name));
        if (!n)
                (void)tree_add(u->to, e->parent, e->name, strlen(e->name), i);
        else if (n->inode != i)
                tree_replace(u->to, n, i);
        return TRUE;
}

static gboolean apply_names(Upper *u, int fd, const char *path, Node *n, const Node *source, GError **error);

/* What shines through where the parent is merged plainly is there already; anything else is put in its place. */
static Node *merge_directory(Upper *u, const Entry *e, Inode *i, const Node *source) {
        const Node *plain = find_source(u, e, NULL);
        Node *n = tree_lookup(u->to, e->parent, e->name, strlen(e->name));
        gboolean there = n && inode_is_dir(n->inode) && source && source == plain;

        if (!n)
                n = tree_add(u->to, e->parent, e->name, strlen(e->name), i);
        else
                tree_replace(u->to, n, i);
        if (there)
                return n;
        tree_clear(u->to, n);
        if (source)
                tree_graft(u->to, n, source);
        return n;
}

static gboolean apply_directory(Upper *u, const Entry *e, GError **error) {
        g_auto(Attributes) a = { NULL };
        _cleanup_close_ int fd = openat(e->dir_fd, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        const Node *source = NULL;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return upper_errno("the directory", e->path, error);
        if (!same_state(&st, &e->st))
                return upper_changed(e->path, error);
        if (st.st_dev != u->device)
                return store_fail(error, STORE_FAIL_INVALID, "Something is mounted on '/%s' of the snapshot", e->path);
        if (e->parent->depth >= u->job->limits.depth)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "A path has more than %" G_GUINT64_FORMAT " components",
                                  u->job->limits.depth);
        if (!read_attributes(e, &a, error))
                return FALSE;
        if (!a.opaque)
                source = find_source(u, e, a.redirect);
        if (source && !inode_is_dir(source->inode))
                source = NULL;
        return apply_names(u, fd, e->path, merge_directory(u, e, make_inode(u, e, &a), source), source, error);
}

static gboolean apply_entry(Upper *u, Entry *e, GError **error) {
        Node *n;

        if (++u->entries > u->job->limits.entries)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The snapshot has more than %" G_GUINT64_FORMAT " files",
                                  u->job->limits.entries);
        if (!store_job_check(u->job, error))
                return FALSE;
        if (fstatat(e->dir_fd, e->name, &e->st, AT_SYMLINK_NOFOLLOW) < 0)
                return upper_errno("the attributes", e->path, error);
        if (S_ISDIR(e->st.st_mode))
                return apply_directory(u, e, error);
        if (tar_type(e->st.st_mode) && !(S_ISCHR(e->st.st_mode) && e->st.st_rdev == 0))
                return apply_file(u, e, error);
        n = tree_lookup(u->to, e->parent, e->name, strlen(e->name));
        if (n)
                tree_remove(u->to, n);
        return TRUE;
}

static void close_dir(DIR **d) {
        if (*d)
                (void)closedir(*d);
}

/* All names of an open directory, which @n stands for. */
static gboolean apply_names(Upper *u, int fd, const char *path, Node *n, const Node *source, GError **error) {
        _cleanup_(close_dir) DIR *dir = NULL;
        struct stat before, after;
        struct dirent *d;
        int r = dir_stream(fd, &dir);

        if (r < 0 || fstat(fd, &before) < 0) {
                errno = r < 0 ? -r : errno;
                return upper_errno("the directory", path, error);
        }
        while (errno = 0, (d = readdir(dir))) {
                g_autofree char *below = NULL, *proc = NULL;
                Entry e = { .dir_fd = fd, .name = d->d_name, .parent = n, .source = source };

                if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
                        continue;
                e.path = below = path[0] ? g_strconcat(path, "/", d->d_name, NULL) : g_strdup(d->d_name);
                e.proc = proc = g_strdup_printf("/proc/self/fd/%d/%s", fd, d->d_name);
                if (!apply_entry(u, &e, error))
                        return FALSE;
        }
        if (errno != 0 || fstat(fd, &after) < 0)
                return upper_errno("the directory", path, error);
        return same_state(&before, &after) ? TRUE : upper_changed(path, error);
}

/** upper_apply() - make @to, which is the same as @from, what a mount of this upper on @from shows
 *
 * @to shares inodes with @from. New regular files are INODE_LOOSE, until upper_free() readable by upper_open(); ones
 * that only have new metadata are INODE_BORROWED.
 */
gboolean upper_apply(Upper *u, Tree *from, Tree *to, GError **error) {
        g_autofree char *proc = g_strdup_printf("/proc/self/fd/%d/.", u->fd);
        Entry e = { .dir_fd = u->fd, .name = ".", .path = "", .proc = proc };
        g_auto(Attributes) a = { NULL };

        u->from = from;
        u->to = to;
        if (fstat(u->fd, &e.st) < 0)
                return store_fail_errno(error, errno, "Cannot read the snapshot");
        if (!S_ISDIR(e.st.st_mode))
                return store_fail(error, STORE_FAIL_INVALID, "The snapshot is not a directory");
        u->device = e.st.st_dev;
        if (!read_attributes(&e, &a, error))
                return FALSE;
        tree_replace(to, tree_root(to), make_inode(u, &e, &a));
        return apply_names(u, u->fd, "", tree_root(to), tree_root(from), error);
}

typedef struct {
        Stream base;
        StoreJob *job;
        int fd;
        guint64 offset;
        struct stat st;
        char *path;
} LooseStream;

static gssize loose_read(Stream *s, void *buffer, gsize size, GError **error) {
        LooseStream *l = (LooseStream *)s;
        struct stat st;
        gssize n;

        if (!store_job_check(l->job, error))
                return -1;
        size = MIN(size, (guint64)l->st.st_size - l->offset);
        do
                n = pread(l->fd, buffer, size, (off_t)l->offset);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return upper_errno("the content", l->path, error), -1;
        l->offset += (guint64)n;
        if (n == 0 && (fstat(l->fd, &st) < 0 || !same_state(&st, &l->st)))
                return upper_changed(l->path, error), -1;
        return n;
}

static void loose_free(Stream *s) {
        LooseStream *l = (LooseStream *)s;

        (void)safe_close(l->fd);
        g_free(l->path);
}

/** upper_open() - the content of a file of the upper; its end is an error if it is not what it was */
Stream *upper_open(Upper *u, const Node *n, GError **error) {
        const struct open_how how = {
                .flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        const struct stat *st = g_hash_table_lookup(u->loose, n->inode);
        g_autofree char *path = tree_path(n);
        _cleanup_close_ int fd = sys_openat2(u->fd, path, &how);
        struct stat now;
        LooseStream *l;

        if (fd < 0 || fstat(fd, &now) < 0)
                return upper_errno("the content", path, error), NULL;
        if (!st || !same_state(st, &now))
                return upper_changed(path, error), NULL;
        l = g_new0(LooseStream, 1);
        l->base.read = loose_read;
        l->base.free = loose_free;
        l->job = u->job;
        l->fd = take_fd(&fd);
        l->st = now;
        l->path = g_steal_pointer(&path);
        return &l->base;
}
