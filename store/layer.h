/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A layer: its tar read into a tree, with the objects it brings and its tar-split record. */

#include <glib.h>

#include "store/objects.h"
#include "store/split.h"
#include "store/tar.h"
#include "store/tree.h"

typedef struct Layer Layer;

struct Layer {
        StoreJob *job;
        Objects *objects; /* NULL: replay */
        Tree *tree;
        SplitWriter *split; /* NULL: replay */
        GBytes *table;      /* replay: the objects' checksums */
        guint n_objects;
        guint64 tar_size; /* replay */
        gboolean marked; /* the tar had its end mark */
};

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

Layer *layer_new(StoreJob *job, Objects *objects);
gboolean layer_read(Layer *l, Stream *tar, GError **error);
Layer *layer_replay(StoreJob *job, const Split *split, GError **error);
void layer_free(Layer *l);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Layer, layer_free)

/* Path of the archive's as one below the root: no leading slash, no "." and "..", "" for the root itself. NULL with
 * error. */
char *layer_path(const char *path, GError **error);
