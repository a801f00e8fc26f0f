/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of group_limit() share. */

#include "oci/group.h"

/* A file of a controller, and what is written to it. */
typedef struct LimitFile {
        const char *name, *value;
} LimitFile;

gboolean limit_write(State *state, const char *field, const char *controller, LimitFile v1, LimitFile v2,
                     GError **error);
gboolean limit_block_io(State *state, JsonObject *resources, GError **error);
gboolean limit_huge_pages(State *state, JsonObject *resources, GError **error);
gboolean limit_devices(State *state, JsonObject *resources, GError **error);
