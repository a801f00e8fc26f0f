/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The difference of two trees.
 *
 * The result is an OCI layer that turns @from into @to and holds no more than that takes: what is new or differs in
 * type, owner, mode, time, attributes, content or links; whiteouts for what has gone, one opaque mark instead of them
 * where nothing of a directory stays; and the directories above, because programs that unpack a layer by itself would
 * otherwise invent them. Hard links are told by inodes that several names share: if one of them has to be written, all
 * of them are, as links to each other. Nothing is read but the two trees.
 */

#include "store/diff.h"

#include <string.h>

#include "store/error.h"
#include "store/layer.h"
#include "store/limits.h"

typedef struct {
        Tree *from;
        Tree *to;
        Tree *layer;
        GByteArray *list;
        GHashTable *from_names; /* inode -> its nodes, where it has more than one */
        GHashTable *to_names;
        GHashTable *same; /* inode of @to with many names -> that of @from with the same names, or NULL */
        GHashTable *heir; /* inode of @from with many names -> see heir_of() */
} Diff;

static gboolean variant_same(GVariant *a, GVariant *b) {
        return a == b || (a && b && g_variant_equal(a, b));
}

/** inode_same_attributes() - type, owner, mode, time, attributes, device or link target are the same */
gboolean inode_same_attributes(const Inode *a, const Inode *b) {
        if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->mtime != b->mtime ||
            a->mtime_nsec != b->mtime_nsec || !variant_same(a->xattrs, b->xattrs))
                return FALSE;
        if (S_ISLNK(a->mode))
                return strcmp(a->target, b->target) == 0;
        if (S_ISCHR(a->mode) || S_ISBLK(a->mode))
                return a->major == b->major && a->minor == b->minor;
        return TRUE;
}

static gboolean inode_same(const Inode *a, const Inode *b) {
        if (a == b)
                return TRUE;
        if (!inode_same_attributes(a, b))
                return FALSE;
        if (!S_ISREG(a->mode))
                return TRUE;
        /* With equal attributes, equal checksums mean equal content. A file that is no object yet counts as changed. */
        return (a->flags & b->flags & INODE_OBJECT) && memcmp(a->checksum, b->checksum, DIGEST_SIZE) == 0;
}

static void count_links(const Node *n, gboolean reset) {
        n->inode->links = reset ? 0 : n->inode->links + 1;
        for (const Node *c = n->child; c; c = c->next)
                count_links(c, reset);
}

static void collect_names(Node *n, GHashTable *names) {
        for (Node *c = n->child; c; c = c->next) {
                GPtrArray *all;

                collect_names(c, names);
                if (c->inode->links < 2 || inode_is_dir(c->inode))
                        continue;
                all = g_hash_table_lookup(names, c->inode);
                if (!all) {
                        all = g_ptr_array_new();
                        g_hash_table_insert(names, c->inode, all);
                }
                g_ptr_array_add(all, c);
        }
}

static GHashTable *names_of(Tree *t) {
        GHashTable *names = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_ptr_array_unref);

        count_links(tree_root(t), TRUE);
        count_links(tree_root(t), FALSE);
        collect_names(tree_root(t), names);
        return names;
}

/* The node at the same path of another tree, or NULL. */
static Node *counterpart(Tree *t, const Node *n) {
        Node *parent;

        if (!n->parent)
                return tree_root(t);
        parent = counterpart(t, n->parent);
        return parent ? tree_lookup(t, parent, n->name, n->size) : NULL;
}

/* Whether all names of @n's inode are names of @old's in the lower tree. */
static gboolean names_were(const Diff *d, const Node *old, const Node *n) {
        const GPtrArray *now = g_hash_table_lookup(d->to_names, n->inode);

        for (guint i = 0; now && i < now->len; i++) {
                const Node *other = counterpart(d->from, now->pdata[i]);

                if (!other || other->inode != old->inode)
                        return FALSE;
        }
        return TRUE;
}

static Inode several; /* only its address counts */

/* The inode of @to that has all names of one of @from that are not written for another reason; NULL where there are no
 * such names. It is looked for once, whatever number of names there is. */
static const Inode *heir_of(const Diff *d, Inode *old, const GPtrArray *before) {
        gpointer found = NULL;

        if (g_hash_table_lookup_extended(d->heir, old, NULL, &found))
                return found;
        for (guint i = 0; i < before->len && found != &several; i++) {
                const Node *other = counterpart(d->to, before->pdata[i]);

                /* One that differs is written, and so leaves the others. */
                if (other && other->inode != found && inode_same(other->inode, old))
                        found = found ? &several : other->inode;
        }
        g_hash_table_insert(d->heir, old, found);
        return found;
}

/* Whether all names of @old's inode that are not written for another reason are names of @n's. */
static gboolean names_stay(const Diff *d, const Node *old, const Node *n) {
        const GPtrArray *before = g_hash_table_lookup(d->from_names, old->inode);
        const Inode *heir = before ? heir_of(d, old->inode, before) : NULL;

        return !heir || heir == n->inode;
}

/* Whether the names of @n's inode are, after everything else has been written, those of @old's inode anyway. There is
 * one @old at most for which that is so: it is looked for once, whatever number of names there is. */
static gboolean links_same(const Diff *d, const Node *old, const Node *n) {
        gpointer same;

        if (!g_hash_table_contains(d->to_names, n->inode))
                return names_stay(d, old, n);
        if (!g_hash_table_lookup_extended(d->same, n->inode, NULL, &same)) {
                same = names_were(d, old, n) && names_stay(d, old, n) ? old->inode : NULL;
                g_hash_table_insert(d->same, n->inode, same);
        }
        return same == old->inode;
}

/* The directory of the layer that stands for @to's directory @n, with those above it. */
static Node *layer_directory(Diff *d, const Node *n) {
        Node *parent, *found;

        if (!n->parent)
                return tree_root(d->layer);
        parent = layer_directory(d, n->parent);
        found = tree_lookup(d->layer, parent, n->name, n->size);
        return found ? found : tree_add(d->layer, parent, n->name, n->size, n->inode);
}

static gboolean add(Diff *d, const Node *n, GError **error) {
        Node *parent = layer_directory(d, n->parent);

        if (n->size >= strlen(WHITEOUT_PREFIX) && memcmp(n->name, WHITEOUT_PREFIX, strlen(WHITEOUT_PREFIX)) == 0) {
                g_autofree char *path = tree_path(n);

                return store_fail(error, STORE_FAIL_UNSUPPORTED,
                                  "'/%s' cannot be in a layer: a name that begins with '.wh.' deletes a file there",
                                  path);
        }
        if (!tree_lookup(d->layer, parent, n->name, n->size))
                (void)tree_add(d->layer, parent, n->name, n->size, n->inode);
        return TRUE;
}

static void add_whiteout(Diff *d, const Node *directory, const char *name, gsize size) {
        Node *parent = layer_directory(d, directory);
        g_autofree char *text = g_strdup_printf(WHITEOUT_PREFIX "%.*s", (int)size, name);

        (void)tree_add(d->layer, parent, text, strlen(text), tree_inode(d->layer, S_IFREG));
}

static void add_record(Diff *d, char what, const Node *n) {
        g_autofree char *path = NULL, *text = NULL;

        if (!d->list)
                return;
        path = tree_path(n);
        text = g_strdup_printf("%c /%s", what, path);
        g_byte_array_append(d->list, (const guint8 *)text, (guint)strlen(text) + 1);
}

static gboolean add_all(Diff *d, const Node *n, char what, GError **error) {
        if (what)
                add_record(d, what, n);
        if (!add(d, n, error))
                return FALSE;
        for (const Node *c = n->child; c; c = c->next)
                if (!add_all(d, c, what ? 'A' : '\0', error))
                        return FALSE;
        return TRUE;
}

/* How what has gone from a directory is said: nothing, a whiteout each, or that nothing of it is left. */
typedef enum {
        GONE_NONE,
        GONE_SOME,
        GONE_ALL,
} Gone;

static Gone what_is_gone(Diff *d, const Node *old, const Node *n) {
        guint gone = 0, stay = 0;

        for (const Node *c = old->child; c; c = c->next) {
                if (tree_lookup(d->to, (Node *)n, c->name, c->size)) {
                        stay++;
                        continue;
                }
                /* With the prefix the name would be longer than a file system lets it be. */
                if (c->size + strlen(WHITEOUT_PREFIX) > STORE_NAME_MAX)
                        return GONE_ALL;
                gone++;
        }
        return gone == 0 ? GONE_NONE : stay == 0 && gone > 1 ? GONE_ALL : GONE_SOME;
}

static gboolean diff_directory(Diff *d, const Node *old, const Node *n, GError **error);

static gboolean diff_child(Diff *d, const Node *old, const Node *c, gboolean bare, GError **error) {
        if (!old)
                return add_all(d, c, 'A', error);
        if (inode_is_dir(c->inode) && inode_is_dir(old->inode)) {
                gboolean same = inode_same_attributes(old->inode, c->inode);

                if (!same)
                        add_record(d, 'C', c);
                if ((!same || bare) && !add(d, c, error))
                        return FALSE;
                return bare ? diff_directory(d, old, c, error) && add_all(d, c, '\0', error)
                            : diff_directory(d, old, c, error);
        }
        if (!inode_is_dir(c->inode) && inode_same(old->inode, c->inode) && links_same(d, old, c))
                return bare ? add(d, c, error) : TRUE;
        return add_all(d, c, 'C', error);
}

/* Directories that both have; below an opaque mark everything is written. */
static gboolean diff_directory(Diff *d, const Node *old, const Node *n, GError **error) {
        Gone gone = what_is_gone(d, old, n);

        if (gone == GONE_ALL) {
                static const char mark[] = WHITEOUT_OPAQUE;
                const char *name = mark + strlen(WHITEOUT_PREFIX);

                add_whiteout(d, n, name, strlen(name));
        }
        for (const Node *c = old->child; c && gone != GONE_NONE; c = c->next) {
                if (tree_lookup(d->to, (Node *)n, c->name, c->size))
                        continue;
                add_record(d, 'D', c);
                if (gone == GONE_SOME)
                        add_whiteout(d, n, c->name, c->size);
        }
        for (const Node *c = n->child; c; c = c->next)
                if (!diff_child(d, tree_lookup(d->from, (Node *)old, c->name, c->size), c, gone == GONE_ALL, error))
                        return FALSE;
        return TRUE;
}

/* A name that was written for another reason leaves the names it shares its inode with, unless they are written too. */
static gboolean complete_links(Diff *d, GError **error) {
        GHashTableIter iter;
        gpointer names;

        g_hash_table_iter_init(&iter, d->to_names);
        while (g_hash_table_iter_next(&iter, NULL, &names)) {
                const GPtrArray *all = names;
                gboolean any = FALSE;

                for (guint i = 0; i < all->len && !any; i++)
                        any = counterpart(d->layer, all->pdata[i]) != NULL;
                for (guint i = 0; i < all->len && any; i++)
                        if (!add(d, all->pdata[i], error))
                                return FALSE;
        }
        return TRUE;
}

static gboolean children_differ(Tree *a, Tree *b) {
        for (const Node *c = tree_root(a)->child; c; c = c->next)
                if (!tree_lookup(b, tree_root(b), c->name, c->size))
                        return TRUE;
        return FALSE;
}

/* The root is as old as the directory that happens to hold it, so that its time alone tells nothing; it does once names
 * in it have come or gone. */
static void diff_root(Diff *d) {
        Inode *old = tree_root(d->from)->inode, *now = tree_root(d->to)->inode;
        Inode timeless = *now;

        timeless.mtime = old->mtime;
        timeless.mtime_nsec = old->mtime_nsec;
        if (inode_same_attributes(old, &timeless) && !children_differ(d->from, d->to) &&
            !children_differ(d->to, d->from))
                return;
        if (!inode_same_attributes(old, now))
                add_record(d, 'C', tree_root(d->to));
        tree_replace(d->layer, tree_root(d->layer), now);
}

/** tree_diff() - the layer that makes @to of @from
 *
 * Sorts both trees and counts their links anew.
 */
Tree *tree_diff(Tree *from, Tree *to, GByteArray *list, GError **error) {
        g_autoptr(Tree) layer = tree_new();
        Diff d = { .from = from, .to = to, .layer = layer, .list = list };
        gboolean ok;

        tree_sort(tree_root(from));
        tree_sort(tree_root(to));
        d.from_names = names_of(from);
        d.to_names = names_of(to);
        d.same = g_hash_table_new(NULL, NULL);
        d.heir = g_hash_table_new(NULL, NULL);
        diff_root(&d);
        ok = diff_directory(&d, tree_root(from), tree_root(to), error) && complete_links(&d, error);
        g_hash_table_unref(d.from_names);
        g_hash_table_unref(d.to_names);
        g_hash_table_unref(d.same);
        g_hash_table_unref(d.heir);
        return ok ? g_steal_pointer(&layer) : NULL;
}
