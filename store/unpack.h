/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Layers of an import, read and verified side by side. */

#include <glib.h>

#include "store/archive.h"
#include "store/image.h"
#include "store/layer.h"
#include "store/repo.h"

typedef struct Unpack Unpack;
typedef struct Unpacked Unpacked;

/* One distinct layer. */
struct Unpacked {
        guint8 diff_id[DIGEST_SIZE];
        Layer *layer;
        gboolean existing; /* the store has it already */
};

/* A layer that is in the store, perhaps: what a blob is known to hold. */
typedef struct {
        guint8 digest[DIGEST_SIZE]; /* of the blob */
        guint8 diff_id[DIGEST_SIZE];
        guint64 size; /* of the blob */
} UnpackHave;

Unpack *unpack_new(StoreJob *job, Store *store, Ingest *ingest, Objects *objects, Archive *archive, gboolean count);
void unpack_free(Unpack *u);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Unpack, unpack_free)

void unpack_set_have(Unpack *u, GHashTable *have); /* blob's digest -> UnpackHave; borrowed, may be NULL */
gboolean unpack_images(Unpack *u, GPtrArray *images, GError **error);
gboolean unpack_layer(Unpack *u, Stream *raw, Compression compression, gboolean known, ImageLayer *ret, GError **error);
gboolean unpack_replay(Unpack *u, const guint8 diff_id[DIGEST_SIZE], GError **error); /* a layer the store has */
Unpacked *unpack_find(Unpack *u, const guint8 diff_id[DIGEST_SIZE]);
GHashTable *unpack_layers(Unpack *u); /* diff id -> Unpacked */
gboolean digest_equal_func(const void *a, const void *b);
guint digest_hash_func(const void *d);
