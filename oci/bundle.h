/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A bundle: a directory with a config.json, whose relative paths begin there. */

#include <json-glib/json-glib.h>

#include "oci/oci.h"

typedef struct Bundle {
        char *path;   /* absolute */
        char *rootfs; /* absolute */
        char *config; /* the text of config.json */
        gsize config_size;
        JsonNode *spec;
} Bundle;

void bundle_clear(Bundle *bundle);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bundle, bundle_clear)

gboolean bundle_load(const char *path, const char *config, Bundle *ret, GError **error);
JsonNode *json_load(const char *path, GError **error);
