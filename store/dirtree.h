/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Serializing libostree's directories. */

#include <glib.h>

#include "store/tree.h"

typedef struct Dirtree Dirtree;
typedef struct DirtreeList DirtreeList;

/* An array of the format: its elements one after the other, and where each ends. */
struct DirtreeList {
        GByteArray *bytes;
        GArray *ends; /* gsize */
};

struct Dirtree {
        DirtreeList files;
        DirtreeList directories;
};

void dirtree_init(Dirtree *d);
void dirtree_done(Dirtree *d);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Dirtree, dirtree_done)

void dirtree_add_file(Dirtree *d, const char *name, const guint8 checksum[DIGEST_SIZE]);
void dirtree_add_directory(Dirtree *d, const char *name, const guint8 tree[DIGEST_SIZE],
                           const guint8 meta[DIGEST_SIZE]);
const GByteArray *dirtree_finish(Dirtree *d);

GByteArray *dirmeta_bytes(const Inode *i);
