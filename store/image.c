/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an image is while it is being imported.
 *
 * An Image is made by oci.c or docker.c (or by import.c for a bare root file system) from documents whose digests it
 * has checked; it owns the documents' bytes, which are stored as they came. Nothing here reads layers.
 */

#include "store/image.h"

#include <string.h>

#include "store/error.h"
#include "store/json.h"

void image_layer_free(ImageLayer *l) {
        g_free(l->media_type);
        g_free(l->member);
        g_free(l);
}

Image *image_new(void) {
        Image *i = g_new0(Image, 1);

        i->names = g_ptr_array_new_with_free_func(g_free);
        i->layers = g_ptr_array_new_with_free_func((GDestroyNotify)image_layer_free);
        i->platforms = g_ptr_array_new_with_free_func((GDestroyNotify)image_free);
        return i;
}

void image_free(Image *i) {
        g_ptr_array_unref(i->names);
        g_ptr_array_unref(i->layers);
        g_ptr_array_unref(i->platforms);
        g_clear_pointer(&i->index, g_bytes_unref);
        g_clear_pointer(&i->manifest, g_bytes_unref);
        g_clear_pointer(&i->config, g_bytes_unref);
        g_clear_pointer(&i->config_json, json_node_unref);
        g_free(i->media_type);
        g_free(i);
}

/** image_set_config() - take over the bytes of a configuration, parse them and compute their digest */
gboolean image_set_config(Image *i, GBytes *config, GError **error) {
        const char *os;
        gsize size;

        i->config = config;
        digest_bytes(g_bytes_get_data(config, &size), g_bytes_get_size(config), i->config_digest);
        if (!json_parse_object(config, "The image configuration", &i->config_json, error) ||
            !json_string(json_node_get_object(i->config_json), "os", "the image configuration", &os, error))
                return FALSE;
        if (os && os[0] != '\0' && strcmp(os, "linux") != 0)
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "The image is for '%.40s', not for linux", os);
        return TRUE;
}

/** image_set_diff_ids() - take the layers' diff ids from the configuration; there have to be as many as layers */
gboolean image_set_diff_ids(Image *i, GError **error) {
        JsonObject *config = json_node_get_object(i->config_json), *rootfs;
        JsonArray *ids = NULL;
        const char *type;
        guint n;

        if (!json_object(config, "rootfs", "the image configuration", &rootfs, error))
                return FALSE;
        if (rootfs && (!json_string(rootfs, "type", "rootfs", &type, error) ||
                       !json_array(rootfs, "diff_ids", "rootfs", &ids, error)))
                return FALSE;
        n = ids ? json_array_get_length(ids) : 0;
        if (!rootfs || !type || strcmp(type, "layers") != 0)
                return store_fail(error, STORE_FAIL_INVALID, "The image configuration has no 'rootfs' of layers");
        if (n != i->layers->len || n == 0)
                return store_fail(error, STORE_FAIL_INVALID, "The image configuration names %u layers, the manifest %u",
                                  n, i->layers->len);
        for (guint l = 0; l < n; l++) {
                const char *text = json_element_string(ids, l, "diff_ids", error);

                if (!text || !digest_parse(text, ((ImageLayer *)i->layers->pdata[l])->diff_id, error))
                        return FALSE;
        }
        return TRUE;
}

/** image_platform() - this machine's "os/arch" in OCI's words; free with g_free() */
char *image_platform(void) {
#if defined(__x86_64__)
        return g_strdup("linux/amd64");
#elif defined(__aarch64__)
        return g_strdup("linux/arm64");
#elif defined(__i386__)
        return g_strdup("linux/386");
#elif defined(__riscv)
        return g_strdup("linux/riscv64");
#elif defined(__powerpc64__)
        return g_strdup("linux/ppc64le");
#elif defined(__s390x__)
        return g_strdup("linux/s390x");
#else
#error "no OCI name for this architecture"
#endif
}
