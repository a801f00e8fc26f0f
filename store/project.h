/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Trees as libostree objects: dirtree, dirmeta, commit. */

#include <glib.h>

#include "store/objects.h"
#include "store/tree.h"

typedef struct Root Root;

/* What a commit points to. */
struct Root {
        guint8 tree[DIGEST_SIZE];
        guint8 meta[DIGEST_SIZE];
};

gboolean project_tree(Objects *o, Tree *t, Root *ret, GError **error);
gboolean project_commit(Objects *o, const Root *root, const char *subject, GVariant *metadata, char ret[DIGEST_HEX],
                        GError **error);
