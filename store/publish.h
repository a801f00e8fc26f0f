/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The second half of an import: commits, root file systems and refs of images whose layers are verified. */

#include <glib.h>

#include "store/image.h"
#include "store/rootfs.h"
#include "store/unpack.h"

gboolean publish_images(StoreJob *job, Ingest *ingest, Objects *objects, Unpack *unpack, RootfsForm form,
                        GPtrArray *images, JsonArray *ret, GError **error);
/* A chain whose new layers have been read, without an image of it. */
gboolean publish_layers(StoreJob *job, Ingest *ingest, Objects *objects, Unpack *unpack, RootfsForm form, Image *image,
                        JsonNode **ret_rootfs, GError **error);
