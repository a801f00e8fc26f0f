/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Pulling an image: from a reference to the tar of an OCI image layout.
 *
 * The document that the reference names comes first, then what it leads to, as store/oci-index.c chooses it, then the
 * layers, one after the other. Everything is written as soon as it is verified, or, a layer, while it is; what a
 * failure leaves is no whole tar. Nothing is kept, neither files nor locks.
 */

#include "registry/pull.h"

#include <string.h>

#include "registry/blob.h"
#include "store/error.h"
#include "store/json.h"
#include "store/oci.h"

#define ANNOTATION_NAME "org.opencontainers.image.ref.name"
#define DOCUMENTS_MAX ((gsize)32 * 1024 * 1024) /* they are kept, and the store keeps them as well */

typedef struct {
        Pull *pull;
        Operation *operation;
        Registry registry;
        Layout layout;
        GBytes *top;
        char *media_type;
        Descriptor descriptor; /* of the top document */
        GPtrArray *images;
        gsize documents; /* bytes of all of them */
        gboolean chosen; /* digest_only: the platform's manifest is known, which was all that was wanted */
        guint8 manifest[DIGEST_SIZE];
        guint64 size;
} Work;

static void work_clear(Work *w) {
        registry_clear(&w->registry);
        layout_clear(&w->layout);
        descriptor_clear(&w->descriptor);
        g_clear_pointer(&w->top, g_bytes_unref);
        g_clear_pointer(&w->media_type, g_free);
        g_clear_pointer(&w->images, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Work, work_clear)

static gboolean fetch_top(Work *w, GError **error) {
        gsize size;
        const void *data;

        w->top = document_fetch_top(&w->registry, &w->media_type, error);
        if (!w->top)
                return FALSE;
        data = g_bytes_get_data(w->top, &size);
        w->descriptor.media_type = w->media_type;
        w->descriptor.size = size;
        digest_bytes(data, size, w->descriptor.digest);
        return TRUE;
}

/* index.json: one descriptor, under the name that was asked for. */
static JsonNode *make_index(const Work *w) {
        JsonObject *o = json_object_new(), *annotations = json_object_new();
        JsonNode *d = descriptor_node(w->media_type, w->descriptor.digest, w->descriptor.size), *root;
        JsonArray *manifests = json_array_new();

        json_object_set_string_member(annotations, ANNOTATION_NAME, w->pull->reference.text);
        json_object_set_object_member(json_node_get_object(d), "annotations", annotations);
        json_array_add_element(manifests, d);
        json_object_set_int_member(o, "schemaVersion", 2);
        json_object_set_string_member(o, "mediaType", MEDIA_OCI_INDEX);
        json_object_set_array_member(o, "manifests", manifests);
        root = json_node_init_object(json_node_alloc(), o);
        json_object_unref(o);
        return root;
}

/* What the index leads to, as it is asked for. */
static GBytes *read_document(const OciSource *s, const Descriptor *d, const char *what, GError **error) {
        Work *w = s->userdata;
        g_autoptr(GBytes) bytes = NULL;

        if (w->pull->digest_only && descriptor_is_manifest(d)) {
                memcpy(w->manifest, d->digest, DIGEST_SIZE);
                w->chosen = TRUE;
                store_fail(error, STORE_FAIL_CANCELLED, "The manifest is known");
                return NULL;
        }
        if (memcmp(d->digest, w->descriptor.digest, DIGEST_SIZE) == 0)
                bytes = g_bytes_ref(w->top);
        else if (w->documents + d->size > DOCUMENTS_MAX)
                store_fail(error, STORE_FAIL_EXHAUSTED,
                           "Manifests and configurations of the image are larger than %zu bytes together",
                           DOCUMENTS_MAX);
        else
                bytes = document_fetch(&w->registry, d, what, error);
        w->documents += bytes ? g_bytes_get_size(bytes) : 0;
        if (!bytes || (!w->pull->digest_only && !layout_document(&w->layout, d->digest, bytes, error)))
                return NULL;
        return g_steal_pointer(&bytes);
}

static gboolean read_images(Work *w, JsonNode *index, GError **error) {
        const OciSource source = { .name = w->pull->reference.host, .read = read_document, .userdata = w };
        gboolean ok;

        w->images = g_ptr_array_new_with_free_func((GDestroyNotify)image_free);
        ok = oci_read_index(&source, json_node_get_object(index), w->pull->platform, &w->pull->limits, w->images,
                            error);
        if (ok && strcmp(w->pull->platform, OCI_ALL_PLATFORMS) != 0) {
                memcpy(w->manifest, ((const Image *)w->images->pdata[0])->manifest_digest, DIGEST_SIZE);
                w->chosen = TRUE;
        }
        return ok;
}

static gboolean is_here(const Work *w, const ImageLayer *l) {
        char digest[DIGEST_STRING];

        digest_string(l->digest, digest);
        return g_hash_table_contains(w->pull->have, digest);
}

/* The layers of @image that are to be fetched, each once; all of them count for the size. */
static gboolean add_layers(Work *w, const Image *image, GPtrArray *wanted, GError **error) {
        w->size += g_bytes_get_size(image->config);
        for (guint i = 0; i < image->layers->len; i++) {
                ImageLayer *l = image->layers->pdata[i];

                if (!layout_is_new(&w->layout, l->digest))
                        continue;
                if (l->size > w->pull->limits.bytes || w->size > w->pull->limits.bytes - l->size)
                        return store_fail(error, STORE_FAIL_EXHAUSTED,
                                          "The image is larger than %" G_GUINT64_FORMAT " bytes, the limit",
                                          w->pull->limits.bytes);
                w->size += l->size;
                if (is_here(w, l))
                        continue;
                g_ptr_array_add(wanted, l);
                w->operation->progress.bytes_total += l->size;
                w->operation->progress.layers_total++;
        }
        return TRUE;
}

static GPtrArray *all_layers(Work *w, GError **error) {
        g_autoptr(GPtrArray) wanted = g_ptr_array_new();

        for (guint i = 0; i < w->images->len; i++) {
                const Image *image = w->images->pdata[i];

                if (!add_layers(w, image, wanted, error))
                        return NULL;
                for (guint k = 0; k < image->platforms->len; k++)
                        if (!add_layers(w, image->platforms->pdata[k], wanted, error))
                                return NULL;
        }
        return g_steal_pointer(&wanted);
}

static gboolean write_layers(Work *w, GError **error) {
        g_autoptr(GPtrArray) wanted = all_layers(w, error);

        if (!wanted)
                return FALSE;
        for (guint i = 0; i < wanted->len; i++) {
                if (!layer_fetch(&w->registry, &w->layout, wanted->pdata[i], error))
                        return FALSE;
                w->operation->progress.layers_done++;
        }
        return layout_end(&w->layout, error);
}

/* Only what the reference means: the platform's manifest as well, which an index names. */
static gboolean find_digest(Work *w, JsonNode *index, GError **error) {
        g_autoptr(GError) failure = NULL;

        w->size = w->descriptor.size;
        if (strcmp(w->pull->platform, OCI_ALL_PLATFORMS) == 0 || read_images(w, index, &failure) || w->chosen)
                return TRUE;
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
}

static gboolean work_run(Work *w, GError **error) {
        g_autoptr(JsonNode) index = NULL;

        if (!fetch_top(w, error))
                return FALSE;
        index = make_index(w);
        if (w->pull->digest_only)
                return find_digest(w, index, error);
        return layout_begin(&w->layout, index, error) && read_images(w, index, error) && write_layers(w, error);
}

static JsonNode *make_result(const Work *w) {
        JsonObject *o = json_object_new();
        char digest[DIGEST_STRING];
        JsonNode *root;

        digest_string(w->descriptor.digest, digest);
        json_object_set_string_member(o, "digest", digest);
        json_object_set_string_member(o, "media_type", w->media_type);
        if (w->chosen) {
                digest_string(w->manifest, digest);
                json_object_set_string_member(o, "manifest", digest);
        }
        json_object_set_int_member(o, "size", (gint64)w->size);
        json_object_set_int_member(o, "fetched", (gint64)w->operation->fetched);
        root = json_node_init_object(json_node_alloc(), o);
        json_object_unref(o);
        return root;
}

/** pull_run() - carry out what was asked for; the descriptors stay the caller's */
JsonNode *pull_run(Pull *p, Operation *o, int credentials_fd, GError **error) {
        g_auto(Work) w = { .pull = p, .operation = o };
        GError *failure = NULL;

        if (credentials_fd >= 0 && !credentials_read(credentials_fd, p->reference.host, &p->credentials, error))
                return NULL;
        registry_init(&w.registry, o, &p->reference, &p->credentials, p->insecure);
        w.registry.token_hosts = (const char *const *)p->token_hosts->pdata;
        w.registry.times = p->times;
        w.registry.retries = p->retries;
        layout_init(&w.layout, o);
        if (work_run(&w, &failure))
                return make_result(&w);
        if (!strstr(failure->message, p->reference.host) && !g_error_matches(failure, STORE_FAIL, STORE_FAIL_CANCELLED))
                g_prefix_error(&failure, "%s: ", p->reference.text);
        g_propagate_error(error, failure);
        return NULL;
}
