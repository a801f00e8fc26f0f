/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From a tree in memory to libostree's metadata objects.
 *
 * Only what libostree can hold goes in: directories, regular files and symbolic links whose names and targets are
 * UTF-8. The rest stays in the tar-split record, from which the tree was read or can be read again. Formats:
 * ostree-core.h, "OSTREE_DIRMETA_GVARIANT_FORMAT" and its neighbours; integers big-endian, names sorted by their bytes.
 * Objects are staged, not yet in the repository.
 */

#include "store/project.h"

#include "store/dirtree.h"
#include "store/error.h"

static GVariant *checksum_variant(const guint8 checksum[DIGEST_SIZE]) {
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, checksum, DIGEST_SIZE, 1);
}

static gboolean project_meta(Objects *o, const Inode *i, guint8 ret[DIGEST_SIZE], GError **error) {
        g_autoptr(GByteArray) bytes = dirmeta_bytes(i);

        return objects_put_bytes(o, ".dirmeta", bytes->data, bytes->len, ret, error);
}

static gboolean project_directory(Objects *o, const Node *n, Root *ret, GError **error) {
        g_auto(Dirtree) d = { { NULL } };
        const GByteArray *bytes;

        dirtree_init(&d);
        for (const Node *c = n->child; c; c = c->next) {
                Root sub;

                if (!c->unicode)
                        continue;
                if (inode_is_dir(c->inode)) {
                        if (!project_directory(o, c, &sub, error))
                                return FALSE;
                        dirtree_add_directory(&d, c->name, sub.tree, sub.meta);
                } else if (c->inode->flags & INODE_OBJECT) {
                        dirtree_add_file(&d, c->name, c->inode->checksum);
                        c->inode->flags |= INODE_REACHED;
                }
        }
        bytes = dirtree_finish(&d);
        return objects_put_bytes(o, ".dirtree", bytes->data, bytes->len, ret->tree, error) &&
               project_meta(o, n->inode, ret->meta, error);
}

/** project_tree() - write a tree's directories; all checksums of its files are known
 *
 * Sorts the tree and marks the inodes it has put into a directory with INODE_REACHED.
 */
gboolean project_tree(Objects *o, Tree *t, Root *ret, GError **error) {
        tree_sort(tree_root(t));
        return project_directory(o, tree_root(t), ret, error);
}

/** project_commit() - write a commit object; @metadata is a floating a{sv}
 *
 * It has no time of its own: the same tree and metadata give the same commit, whoever makes it and when.
 */
gboolean project_commit(Objects *o, const Root *root, const char *subject, GVariant *metadata, char ret[DIGEST_HEX],
                        GError **error) {
        GVariant *nothing = g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, "", 0, 1);
        GVariant *related = g_variant_new_array(G_VARIANT_TYPE("(say)"), NULL, 0);
        guint8 checksum[DIGEST_SIZE];

        if (!objects_put_variant(o, ".commit",
                                 g_variant_new("(@a{sv}@ay@a(say)sst@ay@ay)", metadata, nothing, related, subject, "",
                                               (guint64)0, checksum_variant(root->tree), checksum_variant(root->meta)),
                                 checksum, error))
                return FALSE;
        digest_hex(checksum, ret);
        return TRUE;
}
