/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Images by the index that leads to them: an archive's, or a registry's. */

#include "store/image.h"
#include "store/manifest.h"

typedef struct OciSource OciSource;

/* Where documents come from. */
struct OciSource {
        const char *name; /* begins sentences: "The archive" */
        GBytes *(*read)(const OciSource *s, const Descriptor *d, const char *what, GError **error);
        void *userdata;
};

#define OCI_ALL_PLATFORMS "all"

gboolean oci_read_index(const OciSource *source, JsonObject *index, const char *platform, const StoreLimits *limits,
                        GPtrArray *images, GError **error);
