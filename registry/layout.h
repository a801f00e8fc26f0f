/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The output: an OCI image layout as a tar. */

#include <glib.h>

#include "registry/operation.h"
#include "store/manifest.h"

typedef struct Layout Layout;

struct Layout {
        Operation *operation;
        GHashTable *written; /* digests */
};

void layout_init(Layout *l, Operation *o);
void layout_clear(Layout *l);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Layout, layout_clear)

gboolean layout_begin(Layout *l, JsonNode *index, GError **error);
gboolean layout_is_new(Layout *l, const guint8 digest[DIGEST_SIZE]);
gboolean layout_document(Layout *l, const guint8 digest[DIGEST_SIZE], GBytes *bytes, GError **error);
gboolean layout_blob_begin(Layout *l, const guint8 digest[DIGEST_SIZE], guint64 size, GError **error);
gboolean layout_blob_end(Layout *l, guint64 size, GError **error);
gboolean layout_end(Layout *l, GError **error);
