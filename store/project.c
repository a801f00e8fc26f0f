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

#include "store/error.h"

static GVariant *checksum_variant(const guint8 checksum[DIGEST_SIZE]) {
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, checksum, DIGEST_SIZE, 1);
}

static gboolean project_meta(Objects *o, const Inode *i, guint8 ret[DIGEST_SIZE], GError **error) {
        GVariant *xattrs = i->xattrs ? i->xattrs : g_variant_new_array(G_VARIANT_TYPE("(ayay)"), NULL, 0);

        return objects_put_variant(o, ".dirmeta",
                                   g_variant_new("(uuu@a(ayay))", GUINT32_TO_BE(i->uid), GUINT32_TO_BE(i->gid),
                                                 GUINT32_TO_BE(i->mode), xattrs),
                                   ret, error);
}

static gboolean project_directory(Objects *o, const Node *n, Root *ret, GError **error) {
        GVariantBuilder files, dirs;

        g_variant_builder_init(&files, G_VARIANT_TYPE("a(say)"));
        g_variant_builder_init(&dirs, G_VARIANT_TYPE("a(sayay)"));
        for (const Node *c = n->child; c; c = c->next) {
                Root sub;

                if (!c->unicode)
                        continue;
                if (!inode_is_dir(c->inode)) {
                        if (c->inode->flags & INODE_OBJECT)
                                g_variant_builder_add(&files, "(s@ay)", c->name, checksum_variant(c->inode->checksum));
                        if (c->inode->flags & INODE_OBJECT)
                                c->inode->flags |= INODE_REACHED;
                        continue;
                }
                if (!project_directory(o, c, &sub, error)) {
                        g_variant_builder_clear(&files);
                        g_variant_builder_clear(&dirs);
                        return FALSE;
                }
                g_variant_builder_add(&dirs, "(s@ay@ay)", c->name, checksum_variant(sub.tree),
                                      checksum_variant(sub.meta));
        }
        return objects_put_variant(
                       o, ".dirtree",
                       g_variant_new("(@a(say)@a(sayay))", g_variant_builder_end(&files), g_variant_builder_end(&dirs)),
                       ret->tree, error) &&
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
                                               (guint64)0, checksum_variant(root->tree),
                                               checksum_variant(root->meta)),
                                 checksum, error))
                return FALSE;
        digest_hex(checksum, ret);
        return TRUE;
}
