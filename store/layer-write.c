/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A layer's tree as a tar stream.
 *
 * The tree is walked as the stream is read, directories before what is in them, names in the order of their bytes, so
 * that a tree has one archive. The first name of an inode carries it, further ones are hard links to that name. A root
 * that no entry described stays out. The tree and whatever gives the content belong to the caller and do not change
 * while the stream is used.
 */

#include "store/layer-write.h"

#include <string.h>

#include "store/error.h"
#include "store/tar-write.h"

typedef struct {
        Stream base;
        Tree *layer;
        LayerOpen open;
        void *userdata;
        Node *at; /* the node that comes next, NULL: the end */
        TarEntry entry;
        GHashTable *first; /* inode -> path of its first name */
} LayerStream;

static Node *node_after(Node *n) {
        if (n->child)
                return n->child;
        while (n && !n->next)
                n = n->parent;
        return n ? n->next : NULL;
}

static void count_links(const Node *n, gboolean reset) {
        n->inode->links = reset ? 0 : n->inode->links + 1;
        for (const Node *c = n->child; c; c = c->next)
                count_links(c, reset);
}

static char entry_type(guint32 mode) {
        return S_ISREG(mode)   ? TAR_FILE
               : S_ISDIR(mode) ? TAR_DIRECTORY
               : S_ISLNK(mode) ? TAR_SYMLINK
               : S_ISCHR(mode) ? TAR_CHAR
               : S_ISBLK(mode) ? TAR_BLOCK_DEVICE
                               : TAR_FIFO;
}

static void set_entry(LayerStream *l, const Node *n) {
        const Inode *i = n->inode;
        TarEntry *e = &l->entry;

        g_free(e->path);
        *e = (TarEntry){ .type = entry_type(i->mode), .mode = i->mode & 07777, .uid = i->uid, .gid = i->gid };
        e->path = n->parent ? tree_path(n) : g_strdup("./");
        e->link = i->target;
        e->major = i->major;
        e->minor = i->minor;
        e->mtime = i->mtime;
        e->mtime_nsec = i->mtime_nsec;
        e->size = S_ISREG(i->mode) ? i->size : 0;
        e->xattrs = i->xattrs;
}

/* TRUE: the entry is a hard link to a name that has been written */
static gboolean set_hardlink(LayerStream *l, const Node *n) {
        char *first;

        if (n->inode->flags & INODE_FOREIGN) {
                l->entry.type = TAR_HARDLINK;
                return TRUE;
        }
        if (n->inode->links < 2 || inode_is_dir(n->inode))
                return FALSE;
        first = g_hash_table_lookup(l->first, n->inode);
        if (!first) {
                g_hash_table_insert(l->first, n->inode, g_strdup(l->entry.path));
                return FALSE;
        }
        l->entry.type = TAR_HARDLINK;
        l->entry.link = first;
        l->entry.size = 0;
        return TRUE;
}

static int layer_next(void *userdata, const TarEntry **ret, Stream **ret_data, GError **error) {
        LayerStream *l = userdata;
        const Node *n = l->at;

        if (n && !n->parent && n->inode->flags & INODE_IMPLICIT)
                n = node_after((Node *)n);
        if (!n)
                return 0;
        l->at = node_after((Node *)n);
        set_entry(l, n);
        *ret = &l->entry;
        if (set_hardlink(l, n) || l->entry.size == 0)
                return 1;
        *ret_data = l->open(l->userdata, n, error);
        return *ret_data ? 1 : -1;
}

static gssize layer_stream_read(Stream *s, void *buffer, gsize size, GError **error) {
        return stream_read(s->inner, buffer, size, error);
}

static void layer_stream_free(Stream *s) {
        LayerStream *l = (LayerStream *)s;

        g_free(l->entry.path);
        g_hash_table_unref(l->first);
}

/** layer_stream_new() - the tar of @layer, whose nodes are sorted and whose links are counted anew */
Stream *layer_stream_new(Tree *layer, LayerOpen open, void *userdata) {
        LayerStream *l = g_new0(LayerStream, 1);

        tree_sort(tree_root(layer));
        count_links(tree_root(layer), TRUE);
        count_links(tree_root(layer), FALSE);
        l->base.read = layer_stream_read;
        l->base.free = layer_stream_free;
        l->base.inner = tar_write_stream(layer_next, l);
        l->layer = layer;
        l->open = open;
        l->userdata = userdata;
        l->at = tree_root(layer);
        l->first = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        return &l->base;
}
