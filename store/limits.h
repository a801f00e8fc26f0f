/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an archive may ask of us; a breach ends the import and leaves nothing behind. */

#include <glib.h>

typedef struct StoreLimits StoreLimits;

struct StoreLimits {
        guint64 bytes;       /* of all layers, inflated */
        guint64 ratio;       /* inflated to compressed, looked at after ratio_floor bytes */
        guint64 ratio_floor; /* bytes */
        guint64 entries;     /* of one import */
        guint64 path;        /* bytes of a path or link target */
        guint64 depth;       /* components of a path */
        guint64 xattrs;      /* bytes of names and values of one entry */
        guint64 memory;      /* bytes of attributes, links and headers that one import keeps in memory */
        guint64 layers;      /* of one image */
        guint64 images;      /* of one archive */
};

#define STORE_DOCUMENT_MAX (4U * 1024U * 1024U)
#define STORE_NAME_MAX 255U /* bytes of one path component, as the file system has it */

void store_limits_init(StoreLimits *limits);
void store_limits_lift(StoreLimits *limits); /* to their ceilings */
gboolean store_limits_set(StoreLimits *limits, const char *name, guint64 value, GError **error);
