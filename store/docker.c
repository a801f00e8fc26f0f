/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What "docker save" writes: manifest.json, configurations and layers named in it.
 *
 * Such an archive has no manifest in the registry's sense, so one is made (OCI, of what was really read) when the
 * layers' digests are known. A configuration whose file name is a digest has to have it. Format: moby image
 * specification 1.2, "Combined Image JSON".
 */

#include <string.h>

#include "store/error.h"
#include "store/image.h"
#include "store/json.h"
#include "store/layer.h"
#include "store/manifest.h"

static gboolean docker_config(Archive *a, Image *image, const char *member, GError **error) {
        g_autofree char *base = g_path_get_basename(member);
        guint8 expected[DIGEST_SIZE];
        GBytes *bytes = archive_read(a, member, STORE_DOCUMENT_MAX, error);

        if (!bytes || !image_set_config(image, bytes, error))
                return FALSE;
        if (g_str_has_suffix(base, ".json"))
                base[strlen(base) - strlen(".json")] = '\0';
        if (digest_parse_hex(base, expected) && memcmp(expected, image->config_digest, DIGEST_SIZE) != 0)
                return store_fail(error, STORE_FAIL_INVALID, "The digest of configuration '%s' does not match its name",
                                  member);
        return TRUE;
}

static gboolean docker_layers(Image *image, JsonArray *layers, GError **error) {
        for (guint i = 0; i < json_array_get_length(layers); i++) {
                const char *path = json_element_string(layers, i, "Layers", error);
                char *member = path ? layer_path(path, error) : NULL;
                ImageLayer *l;

                if (!member)
                        return FALSE;
                l = g_new0(ImageLayer, 1);
                l->member = member;
                g_ptr_array_add(image->layers, l);
        }
        return image_set_diff_ids(image, error);
}

static gboolean docker_image(Archive *a, JsonObject *o, const StoreLimits *limits, GPtrArray *images, GError **error) {
        g_autoptr(Image) image = image_new();
        const char *config;
        g_autofree char *member = NULL;
        JsonArray *layers, *tags;

        if (!json_string(o, "Config", "manifest.json", &config, error) ||
            !json_array(o, "Layers", "manifest.json", &layers, error) ||
            !json_array(o, "RepoTags", "manifest.json", &tags, error))
                return FALSE;
        if (!config || !layers)
                return store_fail(error, STORE_FAIL_INVALID, "manifest.json names no configuration or no layers");
        if (json_array_get_length(layers) > limits->layers || (tags && json_array_get_length(tags) > limits->images))
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image has too many layers or names");
        member = layer_path(config, error);
        if (!member || !docker_config(a, image, member, error) || !docker_layers(image, layers, error))
                return FALSE;
        for (guint i = 0; tags && i < json_array_get_length(tags); i++) {
                const char *tag = json_element_string(tags, i, "RepoTags", error);

                if (!tag)
                        return FALSE;
                g_ptr_array_add(image->names, g_strdup(tag));
        }
        image->media_type = g_strdup(MEDIA_OCI_MANIFEST);
        g_ptr_array_add(images, g_steal_pointer(&image));
        return TRUE;
}

/** docker_read() - the images of an archive with manifest.json */
gboolean docker_read(Archive *a, const StoreLimits *limits, GPtrArray *images, GError **error) {
        g_autoptr(GBytes) bytes = archive_read(a, "manifest.json", STORE_DOCUMENT_MAX, error);
        g_autoptr(JsonNode) root = NULL;
        JsonArray *all;
        gsize size;
        const char *data;

        if (!bytes)
                return FALSE;
        data = g_bytes_get_data(bytes, &size);
        root = json_parse(data, size, "manifest.json", error);
        if (!root)
                return FALSE;
        all = JSON_NODE_HOLDS_ARRAY(root) ? json_node_get_array(root) : NULL;
        if (!all || json_array_get_length(all) == 0)
                return store_fail(error, STORE_FAIL_INVALID, "manifest.json is not a list of images");
        if (json_array_get_length(all) > limits->images)
                return store_fail(error, STORE_FAIL_EXHAUSTED,
                                  "The archive holds more than %" G_GUINT64_FORMAT " images", limits->images);
        for (guint i = 0; i < json_array_get_length(all); i++) {
                JsonObject *o = json_element(all, i, "manifest.json", error);

                if (!o || !docker_image(a, o, limits, images, error))
                        return FALSE;
        }
        return TRUE;
}

/** docker_finish() - make the manifest of an image that came without one */
gboolean docker_finish(Image *i, GError **error G_GNUC_UNUSED) {
        gsize size;
        const void *data;

        i->manifest = manifest_build(i, NULL);
        data = g_bytes_get_data(i->manifest, &size);
        digest_bytes(data, size, i->manifest_digest);
        return TRUE;
}
