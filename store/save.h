/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Images on their way out of the store. */

#include <glib.h>

#include "store/archive-write.h"
#include "store/image.h"
#include "store/repo.h"

typedef struct Save Save;
typedef struct SaveNode SaveNode;

/* A manifest, or an index of such. */
struct SaveNode {
        GPtrArray *names; /* sorted; of what was asked for */
        GBytes *bytes;
        guint8 digest[DIGEST_SIZE];
        char *media_type;
        JsonNode *json;
        Image *image;        /* NULL: an index */
        gboolean keep;       /* the manifest's own layers can be had as it names them */
        GPtrArray *children; /* of an index, in its order: SaveNode, NULL where there is nothing of it here */
};

struct Save {
        Store *store;
        StoreJob *job;
        Ingest *ingest;
        ArchiveWriter *writer;
        Compression compression;
        GPtrArray *nodes;    /* SaveNode, sorted by digest */
        GHashTable *written; /* digests of blobs that are in the archive */
        GHashTable *packed;  /* diff id -> ImageLayer of a node, compressed */
};

SaveNode *save_node_new(const guint8 digest[DIGEST_SIZE]);
void save_node_free(SaveNode *n);
gboolean save_node_load(Save *s, SaveNode *n, guint depth, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SaveNode, save_node_free)

/* save-layer.c */
Stream *save_layer_open(Save *s, const guint8 diff_id[DIGEST_SIZE], guint64 *ret_size, GError **error);
gboolean save_layer(Save *s, const guint8 diff_id[DIGEST_SIZE], const char *name, GError **error);
gboolean save_layer_packed(Save *s, ImageLayer *l, const char *suffix, GError **error);

/* the formats */
gboolean save_oci(Save *s, GError **error);
gboolean save_docker(Save *s, GError **error);
gboolean save_rootfs(Save *s, Output *output, GError **error);
