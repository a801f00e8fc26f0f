/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an operation on snapshots works with: chains, an upper on one of them, and the layer between. */

#include <glib.h>

#include "store/image.h"
#include "store/unpack.h"
#include "store/upper.h"

typedef struct Delta Delta;

struct Delta {
        StoreJob *job;
        Store *store;
        Ingest *ingest;
        Objects *objects;
        Unpack *unpack;
        Upper *upper;   /* NULL: none */
        Tree *from;     /* what stands below */
        Tree *to;       /* what is to come out */
        Tree *layer;    /* what makes the one the other */
        Image *image;   /* the layers of "from", and its chain id */
        guint64 inodes; /* in the layer */
};

gboolean delta_begin(Delta *c, Store *store, StoreJob *job, GError **error);
gboolean delta_load(Delta *c, const char *from, const char *to, int upper_fd, GError **error);
gboolean delta_diff(Delta *c, GByteArray *list, GError **error);
Stream *delta_stream(Delta *c); /* the layer's tar */
void delta_end(Delta *c);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Delta, delta_end)
