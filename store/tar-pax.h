/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The extended headers of one tar entry: private to the reader. */

#include <glib.h>

#include "store/limits.h"

typedef struct TarPax TarPax;

/* What one entry's extended headers say; a has_ flag tells a value from a missing one. */
struct TarPax {
        char *path;
        char *link;
        GHashTable *xattrs; /* name -> GBytes; NULL: none */
        gsize xattrs_size;
        GArray *parts;
        guint64 size, uid, gid, major, minor, sparse_size, sparse_major, sparse_minor;
        guint64 sparse_offset;
        gint64 mtime;
        guint32 mtime_nsec;
        gboolean has_size, has_uid, has_gid, has_mtime, has_major, has_minor, has_sparse, sparse_pending;
        char *sparse_name;
};

TarPax *tar_pax_new(void);
void tar_pax_free(TarPax *pax);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TarPax, tar_pax_free)
gboolean tar_pax_parse(TarPax *pax, const guint8 *data, gsize size, const StoreLimits *limits, GError **error);
GVariant *tar_pax_xattrs(const TarPax *pax, char type);
gboolean tar_parts_add(GArray *parts, guint64 offset, guint64 size, GError **error);
