/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * File trees in memory.
 *
 * A tree owns its nodes and inodes in one arena that only grows, so a removed node costs its memory until the tree
 * goes, and pointers to inodes stay good: a chain's tree shares the inodes of the layers it was made of, which have to
 * outlive it. Lookup is by one hash table of (parent, name) for the whole tree. A tree belongs to one thread at a time.
 */

#include "store/tree.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK ((gsize)64 * 1024)
#define BUCKETS_FIRST 256U

struct Tree {
        GPtrArray *blocks;
        guint8 *at;
        gsize left;
        Node **buckets;
        guint n_buckets;
        guint n_nodes;
        Node *root;
        GPtrArray *xattrs;
};

static void *arena_alloc(Tree *t, gsize size) {
        void *p;

        size = (size + 7) & ~(gsize)7;
        if (size > t->left) {
                gsize block = MAX(size, ARENA_BLOCK);

                t->at = g_malloc0(block);
                t->left = block;
                g_ptr_array_add(t->blocks, t->at);
        }
        p = t->at;
        t->at += size;
        t->left -= size;
        return p;
}

static guint32 name_hash(const Node *parent, const char *name, gsize size) {
        guint32 h = (guint32)((guintptr)parent >> 4) * 2654435761U;

        for (gsize i = 0; i < size; i++)
                h = (h ^ (guint8)name[i]) * 16777619U;
        return h ^ h >> 15;
}

static void table_grow(Tree *t) {
        guint n = t->n_buckets * 2;
        Node **buckets = g_new0(Node *, n);

        for (guint i = 0; i < t->n_buckets; i++)
                for (Node *node = t->buckets[i], *next; node; node = next) {
                        next = node->chain;
                        node->chain = buckets[node->hash & (n - 1)];
                        buckets[node->hash & (n - 1)] = node;
                }
        g_free(t->buckets);
        t->buckets = buckets;
        t->n_buckets = n;
}

static Node *node_new(Tree *t, Node *parent, const char *name, gsize size, Inode *inode) {
        Node *n = arena_alloc(t, sizeof(Node) + size + 1);

        n->parent = parent;
        n->inode = inode;
        n->size = (guint16)size;
        n->depth = parent ? parent->depth + 1 : 0;
        n->unicode = g_utf8_validate_len(name, size, NULL);
        n->hash = name_hash(parent, name, size);
        memcpy(n->name, name, size);
        inode->links++;
        return n;
}

/** tree_new() - an empty tree whose root is an implicit directory of root's, mode 0755 */
Tree *tree_new(void) {
        Tree *t = g_new0(Tree, 1);
        Inode *i;

        t->blocks = g_ptr_array_new_with_free_func(g_free);
        t->xattrs = g_ptr_array_new_with_free_func((GDestroyNotify)g_variant_unref);
        t->n_buckets = BUCKETS_FIRST;
        t->buckets = g_new0(Node *, t->n_buckets);
        i = tree_inode(t, S_IFDIR | 0755);
        i->flags = INODE_IMPLICIT;
        t->root = node_new(t, NULL, "", 0, i);
        return t;
}

void tree_free(Tree *t) {
        g_ptr_array_unref(t->blocks);
        g_ptr_array_unref(t->xattrs);
        g_free(t->buckets);
        g_free(t);
}

Node *tree_root(Tree *t) {
        return t->root;
}

/** tree_size() - nodes below the root */
guint tree_size(const Tree *t) {
        return t->n_nodes;
}

/** tree_inode() - a new inode in the tree's arena, zeros but for @mode */
Inode *tree_inode(Tree *t, guint32 mode) {
        Inode *i = arena_alloc(t, sizeof(Inode));

        i->mode = mode;
        return i;
}

/** tree_string() - a copy of @s that lives as long as the tree */
char *tree_string(Tree *t, const char *s) {
        gsize size = strlen(s) + 1;

        return memcpy(arena_alloc(t, size), s, size);
}

/** tree_own_xattrs() - give @i attributes; the tree holds a reference */
void tree_own_xattrs(Tree *t, Inode *i, GVariant *xattrs) {
        if (xattrs)
                g_ptr_array_add(t->xattrs, g_variant_ref(xattrs));
        i->xattrs = xattrs;
}

/** tree_lookup() - the child of @parent with this name, or NULL */
Node *tree_lookup(Tree *t, Node *parent, const char *name, gsize size) {
        guint32 hash = name_hash(parent, name, size);

        for (Node *n = t->buckets[hash & (t->n_buckets - 1)]; n; n = n->chain)
                if (n->hash == hash && n->parent == parent && n->size == size && memcmp(n->name, name, size) == 0)
                        return n;
        return NULL;
}

/** tree_find() - the node at @path, whose components are names and nothing else, from the root; or NULL */
Node *tree_find(Tree *t, const char *path) {
        Node *at = t->root;

        while (at && *path) {
                gsize size = strcspn(path, "/");

                at = tree_lookup(t, at, path, size);
                path += size + (path[size] == '/');
        }
        return at;
}

/** tree_graft() - give @at, which has no children, those of @from in another tree, whose inodes are then shared */
void tree_graft(Tree *t, Node *at, const Node *from) {
        for (const Node *c = from->child; c; c = c->next)
                tree_graft(t, tree_add(t, at, c->name, c->size, c->inode), c);
}

/** tree_add() - add a child that is not there yet; @size is at most STORE_NAME_MAX */
Node *tree_add(Tree *t, Node *parent, const char *name, gsize size, Inode *inode) {
        Node *n = node_new(t, parent, name, size, inode);
        Node **bucket;

        if (++t->n_nodes > t->n_buckets * 2)
                table_grow(t);
        bucket = &t->buckets[n->hash & (t->n_buckets - 1)];
        n->chain = *bucket;
        *bucket = n;
        n->next = parent->child;
        if (n->next)
                n->next->previous = n;
        parent->child = n;
        return n;
}

static void table_remove(Tree *t, Node *n) {
        Node **at = &t->buckets[n->hash & (t->n_buckets - 1)];

        while (*at != n)
                at = &(*at)->chain;
        *at = n->chain;
        t->n_nodes--;
        n->inode->links--;
}

/** tree_clear() - remove all children of @n with what is below them */
void tree_clear(Tree *t, Node *n) {
        for (Node *c = n->child; c; c = c->next) {
                tree_clear(t, c);
                table_remove(t, c);
        }
        n->child = NULL;
}

/** tree_remove() - remove @n, which is not the root, with what is below it */
void tree_remove(Tree *t, Node *n) {
        tree_clear(t, n);
        if (n->previous)
                n->previous->next = n->next;
        else
                n->parent->child = n->next;
        if (n->next)
                n->next->previous = n->previous;
        table_remove(t, n);
}

/** tree_replace() - make @n stand for another inode; if that is not a directory, what was below @n goes */
void tree_replace(Tree *t, Node *n, Inode *inode) {
        if (!inode_is_dir(inode))
                tree_clear(t, n);
        inode->links++;
        n->inode->links--;
        n->inode = inode;
}

static int node_compare(const void *a, const void *b) {
        return strcmp((*(Node *const *)a)->name, (*(Node *const *)b)->name);
}

/** tree_sort() - put children in the order of their names' bytes, which ostree and reproducible walks need */
void tree_sort(Node *n) {
        g_autoptr(GPtrArray) all = NULL;
        Node **at = &n->child, *previous = NULL;

        if (!n->child)
                return;
        all = g_ptr_array_new();
        for (Node *c = n->child; c; c = c->next)
                g_ptr_array_add(all, c);
        qsort(all->pdata, all->len, sizeof(Node *), node_compare);
        for (guint i = 0; i < all->len; i++) {
                Node *c = all->pdata[i];

                *at = c;
                at = &c->next;
                c->previous = previous;
                previous = c;
                tree_sort(c);
        }
        *at = NULL;
}

static void count_links(const Node *n, gboolean reset) {
        n->inode->links = reset ? 0 : n->inode->links + 1;
        n->inode->number = 0;
        n->inode->place = NULL;
        for (const Node *child = n->child; child; child = child->next)
                count_links(child, reset);
}

/** tree_count_links() - make the inodes' links those of this tree alone, and forget their places
 *
 * A chain's tree shares its inodes with the trees of layers, whose links count as well until now.
 */
void tree_count_links(Tree *t) {
        count_links(t->root, TRUE);
        count_links(t->root, FALSE);
}

/** tree_path() - the path of @n without a leading slash, for messages and for walking up; free with g_free() */
char *tree_path(const Node *n) {
        g_autofree char *above = NULL;

        if (!n->parent)
                return g_strdup("");
        above = tree_path(n->parent);
        return above[0] ? g_strconcat(above, "/", n->name, NULL) : g_strdup(n->name);
}
