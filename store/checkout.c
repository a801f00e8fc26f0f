/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checking a chain out: directories made, files hard-linked from the object store, the rest made from the tree's own
 * data.
 *
 * Two files of equal content and attributes are one object, and would be one inode here, which cp(1) and mv(1) refuse
 * to handle; so only the first path of an object is a link to it, others are copies (reflinks where the file system
 * can), except where the image says that they are hard links. A linked file has the time of whoever brought the object
 * first, a copy its own. The directory is built under a name of the caller's, below a directory only root can enter,
 * and is not synced here. Nobody writes through it: a write would change the object for every image.
 */

#include "store/checkout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/error.h"

typedef struct {
        StoreJob *job;
        Objects *objects;
        GHashTable *used; /* checksum -> Inode that is linked to the object */
        GString *path;
        int root_fd;
        GPtrArray *places; /* strings that inodes point to */
} Checkout;

static guint checksum_hash(gconstpointer key) {
        guint h;

        memcpy(&h, key, sizeof(h));
        return h;
}

static gboolean checksum_equal(gconstpointer a, gconstpointer b) {
        return memcmp(a, b, DIGEST_SIZE) == 0;
}

static gboolean copy_data(int from, int to, GError **error) {
        if (ioctl(to, FICLONE, from) == 0)
                return TRUE;
        for (;;) {
                gssize n = copy_file_range(from, NULL, to, NULL, (gsize)1 << 30, 0);

                if (n == 0)
                        return TRUE;
                if (n < 0 && errno != EINTR)
                        return store_fail_errno(error, errno, "Cannot copy an object");
        }
}

static gboolean make_copy(Checkout *c, int dir_fd, const char *name, const char *object, const Inode *i,
                          GError **error) {
        _cleanup_close_ int from = -1, to = -1;

        if (S_ISLNK(i->mode)) {
                if (symlinkat(i->target, dir_fd, name) < 0)
                        return store_fail_errno(error, errno, "Cannot make symbolic link '%s'", name);
                return inode_apply_at(dir_fd, name, i, error);
        }
        to = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (to < 0)
                return store_fail_errno(error, errno, "Cannot make file '%s'", name);
        if (i->size > 0) {
                from = objects_open(c->objects, object);
                if (from < 0)
                        return store_fail_errno(error, -from, "Cannot open object %s", object);
                if (!copy_data(from, to, error))
                        return FALSE;
        }
        return inode_apply(to, i, error);
}

/* Devices and FIFOs. A character device 0:0 would be a whiteout to overlayfs, so it is left out. */
static gboolean make_special(int dir_fd, const char *name, const Inode *i, GError **error) {
        if (S_ISCHR(i->mode) && i->major == 0 && i->minor == 0)
                return TRUE;
        if (mknodat(dir_fd, name, (i->mode & S_IFMT) | 0600, makedev(i->major, i->minor)) < 0)
                return store_fail_errno(error, errno, "Cannot make device or FIFO '%s'", name);
        return inode_apply_at(dir_fd, name, i, error);
}

/* The first path of an inode; others are links to it. */
static gboolean make_first(Checkout *c, int dir_fd, const char *name, Inode *i, GError **error) {
        char object[OBJECT_NAME];
        int r;

        if (!(i->flags & INODE_OBJECT))
                return S_ISLNK(i->mode) ? make_copy(c, dir_fd, name, NULL, i, error)
                                        : make_special(dir_fd, name, i, error);
        object_name(i->checksum, ".file", object);
        if (!g_hash_table_contains(c->used, i->checksum)) {
                g_hash_table_insert(c->used, i->checksum, i);
                r = objects_link(c->objects, object, dir_fd, name);
                if (r != -EMLINK)
                        return r >= 0 ? TRUE
                                      : store_fail_errno(error, -r, "Cannot link '%s' to object %s", name, object);
        }
        return make_copy(c, dir_fd, name, object, i, error);
}

static gboolean make_file(Checkout *c, int dir_fd, const Node *n, GError **error) {
        Inode *i = n->inode;
        gsize before = c->path->len;

        if (i->links < 2)
                return make_first(c, dir_fd, n->name, i, error);
        if (i->place) {
                if (linkat(c->root_fd, i->place, dir_fd, n->name, 0) == 0 || errno == ENOENT)
                        return TRUE;
                if (errno != EMLINK && errno != ENAMETOOLONG)
                        return store_fail_errno(error, errno, "Cannot link '%s'", n->name);
                i->place = NULL;
        }
        g_string_append(c->path, n->name);
        g_ptr_array_add(c->places, g_strdup(c->path->str));
        i->place = c->places->pdata[c->places->len - 1];
        g_string_truncate(c->path, before);
        return make_first(c, dir_fd, n->name, i, error);
}

static gboolean make_directory(Checkout *c, int parent_fd, const char *name, const Node *n, GError **error) {
        _cleanup_close_ int fd = -1;
        gsize before = c->path->len;

        if (!store_job_check(c->job, error))
                return FALSE;
        if (mkdirat(parent_fd, name, 0700) < 0)
                return store_fail_errno(error, errno, "Cannot make directory '%s'", name);
        fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return store_fail_errno(error, errno, "Cannot open directory '%s'", name);
        if (n->parent)
                g_string_append_printf(c->path, "%s/", n->name);
        else
                c->root_fd = fd;
        for (const Node *child = n->child; child; child = child->next)
                if (!(inode_is_dir(child->inode) ? make_directory(c, fd, child->name, child, error)
                                                 : make_file(c, fd, child, error)))
                        return FALSE;
        g_string_truncate(c->path, before);
        return inode_apply(fd, n->inode, error);
}

/** checkout_tree() - build the chain's directory as @name in @dir_fd, which must not exist
 *
 * What a failure leaves is the caller's to remove.
 */
gboolean checkout_tree(StoreJob *job, Objects *objects, Tree *chain, int dir_fd, const char *name, GError **error) {
        Checkout c = { .job = job, .objects = objects, .root_fd = -1 };
        gboolean ok;

        c.used = g_hash_table_new(checksum_hash, checksum_equal);
        c.places = g_ptr_array_new_with_free_func(g_free);
        c.path = g_string_new(NULL);
        tree_count_links(chain);
        ok = make_directory(&c, dir_fd, name, tree_root(chain), error);
        g_hash_table_unref(c.used);
        g_ptr_array_unref(c.places);
        g_string_free(c.path, TRUE);
        return ok;
}
