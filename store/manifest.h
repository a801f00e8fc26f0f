/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Descriptors and image manifests: reading them, and writing one again for other layers. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "store/image.h"

typedef struct Descriptor Descriptor;

struct Descriptor {
        const char *media_type; /* of the JSON it was read from */
        guint8 digest[DIGEST_SIZE];
        guint64 size;
        char *member; /* path in an image layout */
};

void descriptor_clear(Descriptor *d);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Descriptor, descriptor_clear)
gboolean descriptor_read(JsonObject *o, const char *what, Descriptor *ret, GError **error);
JsonNode *descriptor_node(const char *media_type, const guint8 digest[DIGEST_SIZE], guint64 size);
gboolean descriptor_is_index(const Descriptor *d);
gboolean descriptor_is_manifest(const Descriptor *d);

gboolean document_check(JsonObject *o, const Descriptor *d, const char *what, const char *foreign, GError **error);
gboolean document_verify(GBytes *bytes, const Descriptor *d, const char *what, GError **error);

/* @image->manifest, for which @d stands, to @image->layers; the configuration is the caller's to read. */
gboolean manifest_parse(Image *image, const Descriptor *d, const StoreLimits *limits, Descriptor *ret_config,
                        JsonNode **ret_owner, GError **error);
JsonObject *manifest_copy(JsonObject *o); /* its members may be replaced */
GBytes *manifest_build(const Image *image, JsonObject *like);
