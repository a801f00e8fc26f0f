/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Descriptors and image manifests.
 *
 * A document is read only for a descriptor, and one that could be read as two things is refused (CVE-2021-41190): its
 * own media type, where it has one, has to be its descriptor's, and an index has no layers nor a manifest manifests.
 * Layers that a distributor keeps to himself, and encrypted ones, are refused by their media type. Formats: OCI image
 * specification 1.1, descriptor and manifest. Nothing here reads a file; the bytes stay the caller's.
 */

#include "store/manifest.h"

#include <string.h>

#include "store/error.h"
#include "store/json.h"

void descriptor_clear(Descriptor *d) {
        g_clear_pointer(&d->member, g_free);
}

/** descriptor_read() - check a descriptor's members; @what names it in messages */
gboolean descriptor_read(JsonObject *o, const char *what, Descriptor *ret, GError **error) {
        const char *digest;
        char hex[DIGEST_HEX];

        if (!o)
                return store_fail(error, STORE_FAIL_INVALID, "The descriptor of %s is missing", what);
        if (!json_string(o, "mediaType", what, &ret->media_type, error) ||
            !json_string(o, "digest", what, &digest, error) || !json_size(o, "size", what, &ret->size, error) ||
            !digest_parse(digest, ret->digest, error))
                return FALSE;
        if (!ret->media_type)
                return store_fail(error, STORE_FAIL_INVALID, "The descriptor of %s has no media type", what);
        digest_hex(ret->digest, hex);
        ret->member = g_strconcat("blobs/sha256/", hex, NULL);
        return TRUE;
}

/** descriptor_node() - a descriptor of three members */
JsonNode *descriptor_node(const char *media_type, const guint8 digest[DIGEST_SIZE], guint64 size) {
        JsonObject *o = json_object_new();
        JsonNode *n;
        char text[DIGEST_STRING];

        digest_string(digest, text);
        json_object_set_string_member(o, "mediaType", media_type);
        json_object_set_string_member(o, "digest", text);
        json_object_set_int_member(o, "size", (gint64)size);
        n = json_node_init_object(json_node_alloc(), o);
        json_object_unref(o);
        return n;
}

gboolean descriptor_is_index(const Descriptor *d) {
        return strcmp(d->media_type, MEDIA_OCI_INDEX) == 0 || strcmp(d->media_type, MEDIA_DOCKER_LIST) == 0;
}

gboolean descriptor_is_manifest(const Descriptor *d) {
        return strcmp(d->media_type, MEDIA_OCI_MANIFEST) == 0 || strcmp(d->media_type, MEDIA_DOCKER_MANIFEST) == 0;
}

/** document_check() - that a document is what @d says, and has no member @foreign, which would make it something else
 */
gboolean document_check(JsonObject *o, const Descriptor *d, const char *what, const char *foreign, GError **error) {
        const char *type;
        guint64 version;

        if (!json_string(o, "mediaType", what, &type, error) || !json_size(o, "schemaVersion", what, &version, error))
                return FALSE;
        if (version != 2)
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "The schema version of %s is not 2", what);
        if (type && strcmp(type, d->media_type) != 0)
                return store_fail(error, STORE_FAIL_INVALID, "%s is ambiguous: its media type is not its descriptor's",
                                  what);
        if (json_object_has_member(o, foreign))
                return store_fail(error, STORE_FAIL_INVALID, "%s is ambiguous: it has '%s'", what, foreign);
        return TRUE;
}

/** document_verify() - that @bytes have the size and the digest @d says */
gboolean document_verify(GBytes *bytes, const Descriptor *d, const char *what, GError **error) {
        guint8 digest[DIGEST_SIZE];
        gsize size;
        const void *data = g_bytes_get_data(bytes, &size);

        digest_bytes(data, size, digest);
        if (size == d->size && memcmp(digest, d->digest, DIGEST_SIZE) == 0)
                return TRUE;
        return store_fail(error, STORE_FAIL_INVALID, "The digest or size of %s does not match its descriptor (%s)",
                          what, d->member);
}

static gboolean layer_type_check(guint number, const char *type, GError **error) {
        if (strstr(type, "nondistributable") || strstr(type, ".foreign."))
                return store_fail(error, STORE_FAIL_UNSUPPORTED,
                                  "Layer %u has media type '%.100s': it is not distributed with the image", number,
                                  type);
        if (strstr(type, "+encrypted"))
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "Layer %u is encrypted ('%.100s')", number, type);
        if (!strstr(type, ".layer.") && !strstr(type, ".rootfs."))
                return store_fail(error, STORE_FAIL_UNSUPPORTED,
                                  "Layer %u has media type '%.100s', which is not supported", number, type);
        return TRUE;
}

static gboolean manifest_layer(Image *image, JsonArray *layers, guint i, GError **error) {
        g_auto(Descriptor) d = { NULL };
        JsonObject *o = json_element(layers, i, "layers", error);
        ImageLayer *l;

        if (!o || !descriptor_read(o, "a layer", &d, error) || !layer_type_check(i + 1, d.media_type, error))
                return FALSE;
        l = g_new0(ImageLayer, 1);
        memcpy(l->digest, d.digest, DIGEST_SIZE);
        l->has_digest = TRUE;
        l->size = d.size;
        l->media_type = g_strdup(d.media_type);
        l->member = g_steal_pointer(&d.member);
        g_ptr_array_add(image->layers, l);
        return TRUE;
}

static gboolean config_type_check(const Descriptor *config, GError **error) {
        static const char *const types[] = { MEDIA_OCI_CONFIG, MEDIA_DOCKER_CONFIG, "application/octet-stream", NULL };

        if (g_strv_contains(types, config->media_type))
                return TRUE;
        return store_fail(error, STORE_FAIL_UNSUPPORTED,
                          "The manifest is not that of an image: its configuration is a '%.100s'", config->media_type);
}

/** manifest_parse() - read a manifest whose bytes are verified
 *
 * Fills the layers (without diff ids), digest and media type of @image and the configuration's descriptor, whose
 * strings belong to @ret_owner, the parsed manifest.
 */
gboolean manifest_parse(Image *image, const Descriptor *d, const StoreLimits *limits, Descriptor *ret_config,
                        JsonNode **ret_owner, GError **error) {
        JsonObject *o = json_parse_object(image->manifest, "The manifest", ret_owner, error), *config;
        JsonArray *layers;

        if (!o || !document_check(o, d, "The manifest", "manifests", error) ||
            !json_object(o, "config", "the manifest", &config, error) ||
            !json_array(o, "layers", "the manifest", &layers, error) ||
            !descriptor_read(config, "the configuration", ret_config, error) || !config_type_check(ret_config, error))
                return FALSE;
        if (!layers || json_array_get_length(layers) == 0)
                return store_fail(error, STORE_FAIL_INVALID, "The manifest has no layers");
        if (json_array_get_length(layers) > limits->layers)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image has more than %" G_GUINT64_FORMAT " layers",
                                  limits->layers);
        for (guint i = 0; i < json_array_get_length(layers); i++)
                if (!manifest_layer(image, layers, i, error))
                        return FALSE;
        memcpy(image->manifest_digest, d->digest, DIGEST_SIZE);
        image->media_type = g_strdup(d->media_type);
        return TRUE;
}

/* Members nobody has to know about, the annotations among them, stay as they are. */
static void keep_members(JsonObject *from, JsonObject *to) {
        g_autoptr(GList) names = json_object_get_members(from);

        for (GList *l = names; l; l = l->next)
                if (!json_object_has_member(to, l->data))
                        json_object_set_member(to, l->data, json_node_copy(json_object_get_member(from, l->data)));
}

/** manifest_copy() - an object of the same members, of which some may then be set */
JsonObject *manifest_copy(JsonObject *o) {
        JsonObject *copy = json_object_new();

        keep_members(o, copy);
        return copy;
}

/** manifest_build() - an OCI manifest of @image's configuration and layers
 *
 * @like: the manifest whose other members are kept, or NULL. Of the same image it makes the same bytes.
 */
GBytes *manifest_build(const Image *image, JsonObject *like) {
        g_autoptr(JsonObject) o = json_object_new();
        g_autoptr(JsonNode) root = json_node_init_object(json_node_alloc(), o);
        JsonArray *layers = json_array_new();
        char *text;

        json_object_set_int_member(o, "schemaVersion", 2);
        json_object_set_string_member(o, "mediaType", MEDIA_OCI_MANIFEST);
        json_object_set_member(
                o, "config", descriptor_node(MEDIA_OCI_CONFIG, image->config_digest, g_bytes_get_size(image->config)));
        for (guint i = 0; i < image->layers->len; i++) {
                const ImageLayer *l = image->layers->pdata[i];

                json_array_add_element(layers, descriptor_node(l->media_type, l->digest, l->size));
        }
        json_object_set_array_member(o, "layers", layers);
        if (like)
                keep_members(like, o);
        text = json_text(root);
        return g_bytes_new_take(text, strlen(text));
}
