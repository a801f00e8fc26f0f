/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A file tree in memory: what one layer says, or what a chain of layers amounts to. Names are bytes; nothing touches a
 * disk. */

#include <glib.h>
#include <sys/stat.h>

#include "store/digest.h"

typedef struct Tree Tree;
typedef struct Node Node;
typedef struct Inode Inode;

enum {
        INODE_OBJECT = 1 << 0,   /* checksum is (or will be, once its writer is done) a file object's */
        INODE_IMPLICIT = 1 << 1, /* a directory no entry describes */
        INODE_FOREIGN = 1 << 2,  /* hard link to "target", a path of a lower layer */
        INODE_REACHED = 1 << 3,  /* project.c: the layer's commit holds it */
        INODE_LOOSE = 1 << 4,    /* upper.c: content is a file's of an upper directory */
        INODE_BORROWED = 1 << 5, /* upper.c: checksum is that of an object with this content, but other attributes */
};

/* What hard links share. */
struct Inode {
        guint32 mode; /* with the type; 0: INODE_FOREIGN */
        guint32 uid;
        guint32 gid;
        guint32 flags;
        guint32 major;
        guint32 minor;
        guint32 mtime_nsec;
        guint32 links;
        gint64 mtime;
        guint64 size;
        char *target;      /* symbolic links, foreign hard links */
        GVariant *xattrs;  /* a(ayay) or NULL */
        union {
                const char *place; /* checkout.c: the first path of an inode that is a copy */
                guint64 number;    /* erofs.c: of the inode in the image */
        };
        guint8 checksum[DIGEST_SIZE];
};

struct Node {
        Node *parent;
        Node *child;
        Node *next;
        Node *previous;
        Node *chain; /* hash table */
        Inode *inode;
        guint32 hash;
        guint16 size;   /* of name */
        guint16 depth;  /* 0: root */
        guint8 unicode; /* name is UTF-8 */
        char name[];
};

Tree *tree_new(void);
void tree_free(Tree *t);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tree, tree_free)

Node *tree_root(Tree *t);
guint tree_size(const Tree *t);
Inode *tree_inode(Tree *t, guint32 mode);
char *tree_string(Tree *t, const char *s);
void tree_own_xattrs(Tree *t, Inode *i, GVariant *xattrs);

Node *tree_lookup(Tree *t, Node *parent, const char *name, gsize size);
void tree_replace(Tree *t, Node *n, Inode *inode);
Node *tree_find(Tree *t, const char *path);
void tree_graft(Tree *t, Node *at, const Node *from);
Node *tree_add(Tree *t, Node *parent, const char *name, gsize size, Inode *inode);
void tree_remove(Tree *t, Node *n);
void tree_clear(Tree *t, Node *n); /* its children */
void tree_sort(Node *n);           /* children by name bytes, all the way down */
void tree_count_links(Tree *t);    /* of this tree alone */
char *tree_path(const Node *n);

static inline gboolean inode_is_dir(const Inode *i) {
        return S_ISDIR(i->mode);
}
