/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing what "docker load" reads: layers by diff id, configurations by image id, manifest.json.
 *
 * An index has no place in such an archive; of an image for several platforms the one in use is written. A name with a
 * digest has none either, and is left out. Format: moby image specification 1.2, "Combined Image JSON".
 */

#include <string.h>

#include "store/error.h"
#include "store/json.h"
#include "store/save.h"

static const char *layer_suffix(const Save *s) {
        return s->compression == COMPRESSION_GZIP   ? ".tar.gz"
               : s->compression == COMPRESSION_ZSTD ? ".tar.zst"
                                                    : ".tar";
}

static char *layer_name(const Save *s, const ImageLayer *l) {
        char hex[DIGEST_HEX];

        digest_hex(l->diff_id, hex);
        return g_strconcat(hex, layer_suffix(s), NULL);
}

static gboolean write_layer(Save *s, ImageLayer *l, GError **error) {
        g_autofree char *name = layer_name(s, l);

        if (!g_hash_table_add(s->written, g_memdup2(l->diff_id, DIGEST_SIZE)))
                return TRUE;
        if (s->compression != COMPRESSION_NONE)
                return save_layer_packed(s, l, layer_suffix(s), error);
        return save_layer(s, l->diff_id, name, error);
}

static char *config_name(const Image *image) {
        char hex[DIGEST_HEX];

        digest_hex(image->config_digest, hex);
        return g_strconcat(hex, ".json", NULL);
}

static gboolean write_image(Save *s, const SaveNode *n, GError **error) {
        g_autofree char *name = config_name(n->image);
        gsize size;
        const void *data = g_bytes_get_data(n->image->config, &size);

        for (guint i = 0; i < n->image->layers->len; i++) {
                if (!write_layer(s, n->image->layers->pdata[i], error))
                        return FALSE;
                __atomic_add_fetch(&s->job->layers_done, 1, __ATOMIC_RELAXED);
        }
        return !g_hash_table_add(s->written, g_memdup2(n->image->config_digest, DIGEST_SIZE)) ||
               archive_writer_bytes(s->writer, name, data, size, error);
}

static JsonObject *image_entry(const Save *s, const SaveNode *n) {
        JsonObject *o = json_object_new();
        JsonArray *tags = json_array_new(), *layers = json_array_new();
        g_autofree char *config = config_name(n->image);

        for (guint i = 0; i < n->names->len; i++)
                if (!strchr(n->names->pdata[i], '@'))
                        json_array_add_string_element(tags, n->names->pdata[i]);
        for (guint i = 0; i < n->image->layers->len; i++) {
                g_autofree char *name = layer_name(s, n->image->layers->pdata[i]);

                json_array_add_string_element(layers, name);
        }
        json_object_set_string_member(o, "Config", config);
        json_object_set_array_member(o, "RepoTags", tags);
        json_object_set_array_member(o, "Layers", layers);
        return o;
}

/** save_docker() - write all of @s->nodes */
gboolean save_docker(Save *s, GError **error) {
        g_autoptr(JsonArray) all = json_array_new();
        g_autoptr(JsonNode) root = json_node_init_array(json_node_alloc(), all);
        g_autofree char *text = NULL;

        for (guint i = 0; i < s->nodes->len; i++) {
                const SaveNode *n = s->nodes->pdata[i];

                if (!n->image)
                        return store_fail(error, STORE_FAIL_INVALID, "A docker archive cannot hold an image index");
                if (!write_image(s, n, error))
                        return FALSE;
                json_array_add_object_element(all, image_entry(s, n));
        }
        text = json_text(root);
        return archive_writer_bytes(s->writer, "manifest.json", text, strlen(text), error);
}
