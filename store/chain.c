/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Merging layers into a chain, from metadata alone.
 *
 * A layer's whiteouts act on what the layers below it have made, so they go before the layer's additions, whatever
 * their order in the archive (OCI image specification, "Whiteouts"). A directory over a directory merges and takes the
 * upper's owner, mode and attributes, if an entry described it; everything else replaces. No symbolic link is followed:
 * names of the layer's tree meet names of the chain's tree. The chain's tree shares the layers' inodes and does not own
 * them.
 */

#include "store/chain.h"

#include <string.h>

#include "store/error.h"
#include "store/layer.h"

#define FOREIGN_HOPS_MAX 40U

static gboolean is_whiteout(const Node *n) {
        return n->size >= 4 && memcmp(n->name, WHITEOUT_PREFIX, 4) == 0;
}

static void apply_whiteouts(Tree *chain, Node *to, Tree *layer, Node *from) {
        if (tree_lookup(layer, from, WHITEOUT_OPAQUE, strlen(WHITEOUT_OPAQUE)))
                tree_clear(chain, to);
        for (Node *c = from->child; c; c = c->next) {
                Node *hidden;

                /* ".wh..wh." begins names that aufs kept for itself */
                if (!is_whiteout(c) || (c->size >= 8 && memcmp(c->name + 4, WHITEOUT_PREFIX, 4) == 0))
                        continue;
                hidden = tree_lookup(chain, to, c->name + 4, c->size - 4U);
                if (hidden)
                        tree_remove(chain, hidden);
        }
}

static void apply_directory(Tree *chain, Node *to, Tree *layer, Node *from, GPtrArray *foreign) {
        apply_whiteouts(chain, to, layer, from);
        for (Node *c = from->child; c; c = c->next) {
                Node *n;

                if (is_whiteout(c))
                        continue;
                n = tree_lookup(chain, to, c->name, c->size);
                if (!n)
                        n = tree_add(chain, to, c->name, c->size, c->inode);
                else if (!inode_is_dir(c->inode) || !inode_is_dir(n->inode) || !(c->inode->flags & INODE_IMPLICIT))
                        tree_replace(chain, n, c->inode);
                if (c->inode->flags & INODE_FOREIGN)
                        g_ptr_array_add(foreign, n);
                if (inode_is_dir(c->inode))
                        apply_directory(chain, n, layer, c, foreign);
        }
}

/* The file a hard link to a lower layer ends at, by way of other such links; *@ret is NULL when there is none. */
static gboolean foreign_target(Tree *chain, const Node *n, Node **ret, GError **error) {
        for (guint hops = 0; hops < FOREIGN_HOPS_MAX; hops++) {
                *ret = tree_find(chain, n->inode->target);
                if (!*ret || !((*ret)->inode->flags & INODE_FOREIGN))
                        return TRUE;
                n = *ret;
        }
        return store_fail(error, STORE_FAIL_INVALID, "Hard links point to each other");
}

static gboolean apply_foreign(Tree *chain, GPtrArray *foreign, GError **error) {
        for (guint i = 0; i < foreign->len; i++) {
                Node *n = foreign->pdata[i], *target;

                if (!foreign_target(chain, n, &target, error))
                        return FALSE;
                if (!target || inode_is_dir(target->inode))
                        return store_fail(error, STORE_FAIL_INVALID,
                                          "Hard link '%s' points to '%s', which is not a file", n->name,
                                          n->inode->target);
                tree_replace(chain, n, target->inode);
        }
        return TRUE;
}

/** chain_apply() - put a layer on top of @chain; both trees have to outlive the chain's use */
gboolean chain_apply(Tree *chain, Tree *layer, GError **error) {
        g_autoptr(GPtrArray) foreign = g_ptr_array_new();
        Inode *root = tree_root(layer)->inode;

        if (!(root->flags & INODE_IMPLICIT))
                tree_replace(chain, tree_root(chain), root);
        apply_directory(chain, tree_root(chain), layer, tree_root(layer), foreign);
        return apply_foreign(chain, foreign, error);
}

/** chain_id_next() - the OCI chain id of @chain with one more layer (image specification, "Layer ChainID") */
void chain_id_next(guint8 chain[DIGEST_SIZE], gboolean first, const guint8 diff_id[DIGEST_SIZE]) {
        char text[2 * DIGEST_STRING];
        char *at = text;

        if (first) {
                memcpy(chain, diff_id, DIGEST_SIZE);
                return;
        }
        digest_string(chain, at);
        at += DIGEST_STRING - 1;
        *at++ = ' ';
        digest_string(diff_id, at);
        digest_bytes(text, strlen(text), chain);
}
