/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Records of images with one layer, as a worker of the store describes them. */

#include "daemon/image-record.h"
#include "daemon/store-client.h"

/* Digests with their algorithm; @rest: "rootfs" and "config", in JSON. The layer is the chain. */
static inline ImageRecord *image_sample(const char *name, const char *manifest, const char *config, const char *layer,
                                        const char *rest) {
        g_autoptr(JsonObject) o = NULL;
        g_autofree char *text = NULL, *why = NULL;
        ImageRecord *record;

        text = g_strdup_printf("{\"name\":\"%s\",\"digest\":\"%s\",\"config_digest\":\"%s\",\"media_type\":\"a/b\","
                               "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},\"size\":1,\"layers\":[{"
                               "\"diff_id\":\"%s\",\"digest\":\"%s\",\"size\":1}],\"chain_id\":\"%s\",%s}",
                               name, manifest, config, layer, layer, layer, rest);
        g_assert_cmpint(store_text_parse(text, strlen(text), &o), ==, 0);
        g_assert_cmpint(image_record_parse(o, &record, &why), ==, 0);
        return record;
}
