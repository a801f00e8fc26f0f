/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an operation on snapshots works with: chains, an upper on one of them, and the layer between. */

#include <glib.h>

#include "store/image.h"
#include "store/unpack.h"
#include "store/upper.h"

typedef struct Changes Changes;

struct Changes {
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

gboolean changes_begin(Changes *c, Store *store, StoreJob *job, GError **error);
gboolean changes_load(Changes *c, const char *from, const char *to, int upper_fd, GError **error);
gboolean changes_diff(Changes *c, GByteArray *list, GError **error);
Stream *changes_stream(Changes *c); /* the layer's tar */
void changes_end(Changes *c);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Changes, changes_end)
