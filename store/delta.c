/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Delta between chains, or between a chain and an upper directory on it, as a layer.
 *
 * Trees of chains come from the layers' records, an upper is put on top, the difference becomes a layer's tree, and
 * that a tar whose file content is read from where it is: the upper, or objects of the repository. Everything an
 * operation has open hangs on one struct and goes at delta_end(), in an order in which nothing that is still used
 * goes first.
 */

#include "store/delta.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/chain-load.h"
#include "store/diff.h"
#include "store/error.h"
#include "store/layer-write.h"

/** delta_begin() - set up for one operation; end it with delta_end() whatever happens */
gboolean delta_begin(Delta *c, Store *store, StoreJob *job, GError **error) {
        c->job = job;
        c->store = store;
        c->image = image_new();
        c->from = tree_new();
        c->to = tree_new();
        c->ingest = ingest_begin(store, error);
        if (!c->ingest)
                return FALSE;
        c->objects = objects_new(job, store->objects_fd, c->ingest->stage_fd);
        c->unpack = unpack_new(job, store, c->ingest, c->objects, NULL, FALSE);
        return TRUE;
}

/** delta_end() - free it all; what was put into the objects has been settled or is waited for */
void delta_end(Delta *c) {
        if (c->objects)
                (void)objects_settle(c->objects, NULL);
        g_clear_pointer(&c->layer, tree_free);
        g_clear_pointer(&c->to, tree_free);
        g_clear_pointer(&c->from, tree_free);
        g_clear_pointer(&c->upper, upper_free);
        g_clear_pointer(&c->unpack, unpack_free);
        g_clear_pointer(&c->objects, objects_free);
        g_clear_pointer(&c->ingest, ingest_end);
        g_clear_pointer(&c->image, image_free);
}

static gboolean load(Delta *c, const char *id, Tree *tree, GPtrArray *layers, guint8 ret[DIGEST_SIZE], GError **error) {
        if (id[0] == '\0')
                return TRUE;
        return digest_parse(id, ret, error) && chain_load(c->unpack, c->store, c->ingest, ret, tree, layers, error);
}

/* @to becomes the same as @from, whose inodes it shares. */
static void copy_tree(Tree *to, Tree *from) {
        tree_replace(to, tree_root(to), tree_root(from)->inode);
        tree_graft(to, tree_root(to), tree_root(from));
}

/** delta_load() - make both trees: of chain @from, and of chain @to with the upper on it if there is one (-1: none)
 *
 * @to NULL is @from.
 */
gboolean delta_load(Delta *c, const char *from, const char *to, int upper_fd, GError **error) {
        g_autoptr(Tree) below = NULL;
        guint8 other[DIGEST_SIZE];

        if (!load(c, from, c->from, c->image->layers, c->image->chain_id, error))
                return FALSE;
        if (!to || strcmp(from, to) == 0)
                copy_tree(c->to, c->from);
        else if (!load(c, to, c->to, NULL, other, error))
                return FALSE;
        if (upper_fd < 0)
                return TRUE;
        below = tree_new();
        copy_tree(below, c->to);
        c->upper = upper_new(c->job, upper_fd);
        return upper_apply(c->upper, below, c->to, error);
}

static guint64 content_size(const Node *n) {
        guint64 size = S_ISREG(n->inode->mode) ? n->inode->size : 0;

        for (const Node *child = n->child; child; child = child->next)
                size += content_size(child);
        return size;
}

/** delta_diff() - make the layer's tree; @list as in tree_diff() */
gboolean delta_diff(Delta *c, GByteArray *list, GError **error) {
        c->layer = tree_diff(c->from, c->to, list, error);
        if (!c->layer)
                return FALSE;
        c->inodes = tree_size(c->layer);
        __atomic_store_n(&c->job->bytes_total, content_size(tree_root(c->layer)), __ATOMIC_RELAXED);
        return TRUE;
}

typedef struct {
        Stream base;
        int fd;
} ObjectStream;

static gssize object_read(Stream *s, void *buffer, gsize size, GError **error) {
        return stream_read(s->inner, buffer, size, error);
}

static void object_free(Stream *s) {
        (void)safe_close(((ObjectStream *)s)->fd);
}

static Stream *open_object(Delta *c, const Node *n, GError **error) {
        _cleanup_close_ int fd = -1;
        char name[OBJECT_NAME];
        ObjectStream *o;

        object_name(n->inode->checksum, ".file", name);
        fd = openat(c->store->objects_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
                g_autofree char *path = tree_path(n);

                store_fail(error, STORE_FAIL_INTERNAL,
                           "The store is damaged: the content of '/%s' cannot be opened: %s", path, g_strerror(errno));
                return NULL;
        }
        o = g_new0(ObjectStream, 1);
        o->base.read = object_read;
        o->base.free = object_free;
        o->base.inner = stream_new_range(c->job, fd, 0, n->inode->size);
        o->fd = take_fd(&fd);
        return &o->base;
}

static Stream *open_content(void *userdata, const Node *n, GError **error) {
        Delta *c = userdata;
        Stream *s = n->inode->flags & INODE_LOOSE ? upper_open(c->upper, n, error) : open_object(c, n, error);

        return s ? stream_new_counted(s, &c->job->bytes_in) : NULL;
}

/** delta_stream() - the layer's tar; @c outlives it */
Stream *delta_stream(Delta *c) {
        return layer_stream_new(c->layer, open_content, c);
}
