/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The second half of an import: commits, checkouts and refs of images whose layers are verified. */

#include <glib.h>

#include "store/image.h"
#include "store/repo.h"
#include "store/unpack.h"

gboolean publish_images(StoreJob *job, Store *store, Ingest *ingest, Objects *objects, Unpack *unpack,
                        GPtrArray *images, JsonArray *ret, GError **error);
/* A chain whose new layers have been read, without an image of it. */
gboolean publish_layers(StoreJob *job, Store *store, Ingest *ingest, Objects *objects, Unpack *unpack, Image *image,
                        JsonNode **ret_rootfs, GError **error);
gboolean publish_checkout(StoreJob *job, Store *store, Ingest *ingest, Objects *objects, Tree *chain,
                          const guint8 chain_id[DIGEST_SIZE], GError **error);
gboolean publish_move_checkout(Store *store, Ingest *ingest, const guint8 chain_id[DIGEST_SIZE], GError **error);
