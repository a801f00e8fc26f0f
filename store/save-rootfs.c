/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing an image's files as one tar: what a container of it would see.
 *
 * The layers' trees are read from their records and merged in memory; the tree is then written in order of names, files
 * from their objects. Nothing is checked out. Whatever a layer can hold leaves: times, devices, attributes, names that
 * are no UTF-8, hard links as such.
 */

#include <string.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/chain.h"
#include "store/content.h"
#include "store/error.h"
#include "store/layer.h"
#include "store/save.h"
#include "store/tar-write.h"

typedef struct {
        Save *save;
        Node *at; /* NULL: not begun */
        Node *root;
        GHashTable *links; /* Inode -> the first node that has it */
        TarEntry entry;
        int fd; /* of the entry's file */
} Walk;

static Node *next_node(const Walk *w) {
        Node *n = w->at;

        if (!n)
                return w->root;
        if (n->child)
                return n->child;
        while (n && !n->next)
                n = n->parent;
        return n ? n->next : NULL;
}

static char *entry_path(const Node *n) {
        g_autofree char *path = n->parent ? tree_path(n) : g_strdup("./");

        return n->parent && inode_is_dir(n->inode) ? g_strconcat(path, "/", NULL) : g_steal_pointer(&path);
}

static char entry_type(const Inode *i) {
        switch (i->mode & S_IFMT) {
        case S_IFDIR:
                return TAR_DIRECTORY;
        case S_IFLNK:
                return TAR_SYMLINK;
        case S_IFCHR:
                return TAR_CHAR;
        case S_IFBLK:
                return TAR_BLOCK_DEVICE;
        case S_IFIFO:
                return TAR_FIFO;
        default:
                return TAR_FILE;
        }
}

static void entry_fill(Walk *w, const Node *n) {
        const Inode *i = n->inode;
        TarEntry *e = &w->entry;
        Node *first = inode_is_dir(i) ? NULL : g_hash_table_lookup(w->links, i);

        g_free(e->path);
        g_free(e->link);
        *e = (TarEntry){
                .type = first ? TAR_HARDLINK : entry_type(i),
                .path = entry_path(n),
                .link = first              ? tree_path(first)
                        : S_ISLNK(i->mode) ? g_strdup(i->target)
                                           : g_strdup(""),
                .mode = i->mode & 07777,
                .uid = i->uid,
                .gid = i->gid,
                .major = i->major,
                .minor = i->minor,
                .mtime = i->mtime,
                .mtime_nsec = i->mtime_nsec,
                .size = S_ISREG(i->mode) && !first ? i->size : 0,
                .xattrs = first ? NULL : i->xattrs,
        };
        if (!first && !inode_is_dir(i))
                g_hash_table_insert(w->links, n->inode, (gpointer)n);
}

static int next_entry(void *userdata, const TarEntry **ret, Stream **ret_data, GError **error) {
        Walk *w = userdata;

        w->fd = safe_close(w->fd);
        w->at = next_node(w);
        if (!w->at)
                return 0;
        if (!store_job_check(w->save->job, error))
                return -1;
        entry_fill(w, w->at);
        *ret = &w->entry;
        *ret_data = NULL;
        if (w->entry.size == 0)
                return 1;
        w->fd = content_open_object(w->save->store, w->at->inode->checksum);
        if (w->fd < 0)
                return store_fail_errno(error, -w->fd, "Cannot open the object of '%s'", w->entry.path), -1;
        *ret_data =
                stream_new_counted(stream_new_range(w->save->job, w->fd, 0, w->entry.size), &w->save->job->bytes_in);
        return 1;
}

static gboolean write_tree(Save *s, Tree *chain, Output *output, GError **error) {
        Walk w = { .save = s, .root = tree_root(chain), .fd = -1 };
        g_autoptr(Stream) stream = NULL;
        guint64 size;
        gboolean ok;

        tree_sort(w.root);
        w.links = g_hash_table_new(NULL, NULL);
        stream = stream_new_deflate(tar_write_stream(next_entry, &w), s->compression);
        ok = output_copy(output, stream, &size, error);
        g_clear_pointer(&stream, stream_free);
        g_hash_table_unref(w.links);
        g_free(w.entry.path);
        g_free(w.entry.link);
        w.fd = safe_close(w.fd);
        return ok;
}

static gboolean merge(Save *s, const Image *image, GPtrArray *layers, Tree *chain, GError **error) {
        for (guint i = 0; i < image->layers->len; i++) {
                const ImageLayer *l = image->layers->pdata[i];
                g_auto(Split) split = { NULL };
                Layer *layer;

                layer = store_load_split(s->store, l->diff_id, &split, error) ? layer_replay(s->job, &split, error)
                                                                              : NULL;
                if (!layer)
                        return FALSE;
                g_ptr_array_add(layers, layer);
                if (!chain_apply(chain, layer->tree, error))
                        return FALSE;
        }
        return TRUE;
}

/** save_rootfs() - write the files of the one image of @s->nodes */
gboolean save_rootfs(Save *s, Output *output, GError **error) {
        g_autoptr(GPtrArray) layers = g_ptr_array_new_with_free_func((GDestroyNotify)layer_free);
        const SaveNode *n = s->nodes->pdata[0];
        g_autoptr(Tree) chain = tree_new();

        if (s->nodes->len != 1 || !n->image)
                return store_fail(error, STORE_FAIL_INVALID, "A tar of files is made of one image, not of %u",
                                  s->nodes->len);
        return merge(s, n->image, layers, chain, error) && write_tree(s, chain, output, error);
}
