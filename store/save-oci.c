/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing an OCI image layout.
 *
 * The configuration leaves bit by bit, so an image keeps its id. A manifest does when the layers it names can be had as
 * it names them; else it is made anew for what is written (plain layers where it named compressed ones), and so is an
 * index above it. What is written here and imported again is kept from then on. Each blob is written once; index.json
 * names images as containerd does. Formats: OCI image specification 1.1, image-layout, image-index.
 */

#include <string.h>

#include "shared/macros.h"
#include "store/content.h"
#include "store/error.h"
#include "store/json.h"
#include "store/manifest.h"
#include "store/save.h"

#define ANNOTATION_NAME "io.containerd.image.name"
#define ANNOTATION_TAG "org.opencontainers.image.ref.name"

static char *blob_name(const guint8 digest[DIGEST_SIZE]) {
        char hex[DIGEST_HEX];

        digest_hex(digest, hex);
        return g_strconcat("blobs/sha256/", hex, NULL);
}

/* FALSE: it is in the archive already. */
static gboolean first_time(Save *s, const guint8 digest[DIGEST_SIZE]) {
        return g_hash_table_add(s->written, g_memdup2(digest, DIGEST_SIZE));
}

static gboolean write_document(Save *s, GBytes *bytes, guint8 ret[DIGEST_SIZE], GError **error) {
        g_autofree char *name = NULL;
        gsize size;
        const void *data = g_bytes_get_data(bytes, &size);

        digest_bytes(data, size, ret);
        name = blob_name(ret);
        return !first_time(s, ret) || archive_writer_bytes(s->writer, name, data, size, error);
}

/* A layer as it was brought, from a blob the store has kept. */
static gboolean write_kept(Save *s, const ImageLayer *l, GError **error) {
        g_autofree char *name = blob_name(l->digest);
        g_auto(Digest) digest = { NULL };
        g_autoptr(Stream) stream = NULL;
        _cleanup_close_ int fd = -1;
        guint8 got[DIGEST_SIZE];
        guint64 size;

        if (!content_open(s->store, l->digest, &fd, &size, error))
                return FALSE;
        if (fd < 0)
                return store_fail(error, STORE_FAIL_NOT_FOUND, "Layer %s is not in the store", name);
        digest_init(&digest);
        stream = stream_new_digest(stream_new_range(s->job, fd, 0, size), &digest, NULL);
        if (!archive_writer_stream(s->writer, name, stream, size, error))
                return FALSE;
        digest_final(&digest, got);
        return memcmp(got, l->digest, DIGEST_SIZE) == 0
                       ? TRUE
                       : store_fail(error, STORE_FAIL_INTERNAL, "Content %s is damaged in the store", name);
}

static gboolean write_layer(Save *s, const SaveNode *n, ImageLayer *l, GError **error) {
        g_autofree char *name = NULL;

        if (n->keep && memcmp(l->digest, l->diff_id, DIGEST_SIZE) != 0)
                return !first_time(s, l->digest) || write_kept(s, l, error);
        if (!n->keep && s->compression != COMPRESSION_NONE)
                return save_layer_packed(s, l, NULL, error);
        name = blob_name(l->diff_id);
        return !first_time(s, l->diff_id) || save_layer(s, l->diff_id, name, error);
}

static gboolean write_image(Save *s, SaveNode *n, GError **error) {
        Image *image = n->image;
        guint8 digest[DIGEST_SIZE];

        for (guint i = 0; i < image->layers->len; i++) {
                if (!write_layer(s, n, image->layers->pdata[i], error))
                        return FALSE;
                __atomic_add_fetch(&s->job->layers_done, 1, __ATOMIC_RELAXED);
        }
        if (!n->keep) {
                g_bytes_unref(n->bytes);
                n->bytes = manifest_build(image, json_node_get_object(n->json));
                g_free(n->media_type);
                n->media_type = g_strdup(MEDIA_OCI_MANIFEST);
        }
        return write_document(s, image->config, digest, error) && write_document(s, n->bytes, n->digest, error);
}

static gboolean write_node(Save *s, SaveNode *n, GError **error);

/* The descriptor of a child as it has been written, with all else the index says of it. */
static JsonNode *child_descriptor(const SaveNode *child, JsonObject *old) {
        g_autoptr(JsonObject) o = manifest_copy(old);
        char digest[DIGEST_STRING];

        digest_string(child->digest, digest);
        json_object_set_string_member(o, "mediaType", child->media_type);
        json_object_set_string_member(o, "digest", digest);
        json_object_set_int_member(o, "size", (gint64)g_bytes_get_size(child->bytes));
        return json_node_init_object(json_node_alloc(), o);
}

static void rebuild_index(SaveNode *n, JsonArray *manifests) {
        g_autoptr(JsonObject) o = manifest_copy(json_node_get_object(n->json));
        g_autoptr(JsonNode) root = json_node_init_object(json_node_alloc(), o);
        char *text;

        json_object_set_string_member(o, "mediaType", MEDIA_OCI_INDEX);
        json_object_set_array_member(o, "manifests", json_array_ref(manifests));
        text = json_text(root);
        g_bytes_unref(n->bytes);
        n->bytes = g_bytes_new_take(text, strlen(text));
        g_free(n->media_type);
        n->media_type = g_strdup(MEDIA_OCI_INDEX);
}

static gboolean write_index(Save *s, SaveNode *n, GError **error) {
        JsonArray *old = json_object_get_array_member(json_node_get_object(n->json), "manifests");
        g_autoptr(JsonArray) now = json_array_new();
        gboolean same = TRUE;

        for (guint i = 0; i < n->children->len; i++) {
                SaveNode *child = n->children->pdata[i];
                guint8 before[DIGEST_SIZE];

                same = same && child;
                if (!child)
                        continue;
                memcpy(before, child->digest, DIGEST_SIZE);
                if (!write_node(s, child, error))
                        return FALSE;
                same = same && memcmp(before, child->digest, DIGEST_SIZE) == 0;
                json_array_add_element(now, child_descriptor(child, json_array_get_object_element(old, i)));
        }
        if (!same)
                rebuild_index(n, now);
        return write_document(s, n->bytes, n->digest, error);
}

static gboolean write_node(Save *s, SaveNode *n, GError **error) {
        return n->image ? write_image(s, n, error) : write_index(s, n, error);
}

/* The tag of a name, or its digest where it has one. */
static const char *name_tag(const char *name) {
        const char *at = strchr(name, '@'), *slash = strrchr(name, '/'), *colon = strrchr(name, ':');

        if (at)
                return at + 1;
        return colon && (!slash || colon > slash) ? colon + 1 : "latest";
}

static void add_entry(JsonArray *manifests, const SaveNode *n, const char *name) {
        JsonNode *entry = descriptor_node(n->media_type, n->digest, g_bytes_get_size(n->bytes));

        if (name) {
                JsonObject *annotations = json_object_new();

                json_object_set_string_member(annotations, ANNOTATION_NAME, name);
                json_object_set_string_member(annotations, ANNOTATION_TAG, name_tag(name));
                json_object_set_object_member(json_node_get_object(entry), "annotations", annotations);
        }
        json_array_add_element(manifests, entry);
}

static gboolean write_top(Save *s, GError **error) {
        g_autoptr(JsonObject) o = json_object_new();
        g_autoptr(JsonNode) root = json_node_init_object(json_node_alloc(), o);
        JsonArray *manifests = json_array_new();
        g_autofree char *text = NULL;

        json_object_set_int_member(o, "schemaVersion", 2);
        json_object_set_string_member(o, "mediaType", MEDIA_OCI_INDEX);
        json_object_set_array_member(o, "manifests", manifests);
        for (guint i = 0; i < s->nodes->len; i++) {
                const SaveNode *n = s->nodes->pdata[i];

                for (guint k = 0; k < n->names->len; k++)
                        add_entry(manifests, n, n->names->pdata[k]);
                if (n->names->len == 0)
                        add_entry(manifests, n, NULL);
        }
        text = json_text(root);
        return archive_writer_bytes(s->writer, "index.json", text, strlen(text), error);
}

/** save_oci() - write all of @s->nodes */
gboolean save_oci(Save *s, GError **error) {
        static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";

        if (!archive_writer_bytes(s->writer, "oci-layout", layout, strlen(layout), error) ||
            !archive_writer_mkdir(s->writer, "blobs", error) || !archive_writer_mkdir(s->writer, "blobs/sha256", error))
                return FALSE;
        for (guint i = 0; i < s->nodes->len; i++)
                if (!write_node(s, s->nodes->pdata[i], error))
                        return FALSE;
        return write_top(s, error);
}
