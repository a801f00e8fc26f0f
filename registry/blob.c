/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Documents and layers of a registry.
 *
 * Nothing is taken that is not of the size and the digest which its descriptor says; of what a tag names, the digest is
 * what is computed here, and the registry's own idea of it has to be the same. A document that says of itself, in the
 * header and in the body, that it is two different things is refused (CVE-2021-41190). A layer goes to the output as it
 * comes, bit by bit as the registry has it; one that was cut off goes on where it was, under the same digest.
 */

#include "registry/blob.h"

#include <string.h>

#include "store/error.h"
#include "store/json.h"

#define SCHEMA1 "application/vnd.docker.distribution.manifest.v1+"
#define ACCEPT MEDIA_OCI_INDEX ", " MEDIA_DOCKER_LIST ", " MEDIA_OCI_MANIFEST ", " MEDIA_DOCKER_MANIFEST

typedef struct {
        const Registry *registry;
        Layout *layout;
        const char *what;
        Digest digest;
        guint64 size;
        guint64 done;
        guint64 skip; /* what a registry sends again that knows no ranges */
} Blob;

static gboolean is_document_type(const char *type) {
        const Descriptor d = { .media_type = type };

        return descriptor_is_index(&d) || descriptor_is_manifest(&d);
}

/* The media type of the header without its parameters, when it is that of a manifest or an index; else NULL. */
static char *header_type(const HttpAnswer *a) {
        g_autofree char *type = NULL;

        if (!a->content_type)
                return NULL;
        type = g_ascii_strdown(a->content_type, (gssize)strcspn(a->content_type, "; \t"));
        return is_document_type(type) || g_str_has_prefix(type, SCHEMA1) ? g_steal_pointer(&type) : NULL;
}

static GBytes *fetch(Registry *r, const char *kind, const char *version, const char *what, gsize max, char **ret_type,
                     char **ret_digest, GError **error) {
        const gboolean is_manifest = strcmp(kind, "manifests") == 0;
        const Fetch f = {
                .kind = kind, .version = version, .what = what, .max = max, .accept = is_manifest ? ACCEPT : NULL
        };
        g_auto(HttpAnswer) a = { HTTP_ENDED };

        if (!registry_fetch(r, &f, &a, error))
                return NULL;
        *ret_type = is_manifest ? header_type(&a) : NULL;
        if (ret_digest)
                *ret_digest = g_steal_pointer(&a.digest);
        return g_byte_array_free_to_bytes(g_steal_pointer(&a.body));
}

/* What the body says of itself counts where the header says nothing of use. */
static gboolean find_type(const Registry *r, GBytes *bytes, char **type, GError **error) {
        g_autoptr(JsonNode) owner = NULL;
        const char *own = NULL;
        JsonObject *o;

        if (*type && g_str_has_prefix(*type, SCHEMA1))
                return store_fail(error, STORE_FAIL_UNSUPPORTED,
                                  "%s has only a manifest of the old schema 1 of '%s', which is not supported",
                                  r->reference->host, r->reference->path);
        if (*type)
                return TRUE;
        o = json_parse_object(bytes, "The manifest", &owner, error);
        if (!o || !json_string(o, "mediaType", "the manifest", &own, error))
                return FALSE;
        if (!own || !is_document_type(own))
                return store_fail(error, STORE_FAIL_INVALID, "What %s calls '%s:%s' is neither a manifest nor an index",
                                  r->reference->host, r->reference->path, reference_version(r->reference));
        *type = g_strdup(own);
        return TRUE;
}

/** document_fetch_top() - the manifest or index that the reference names, and its media type */
GBytes *document_fetch_top(Registry *r, char **ret_media_type, GError **error) {
        const char *version = reference_version(r->reference);
        g_autofree char *what = g_strdup_printf("the manifest of '%s'", r->reference->text), *type = NULL, *said = NULL;
        g_autoptr(GBytes) bytes = NULL;
        guint8 digest[DIGEST_SIZE];
        char text[DIGEST_STRING];
        gsize size;
        const void *data;

        bytes = fetch(r, "manifests", version, what, STORE_DOCUMENT_MAX, &type, &said, error);
        if (!bytes)
                return NULL;
        data = g_bytes_get_data(bytes, &size);
        digest_bytes(data, size, digest);
        digest_string(digest, text);
        if ((r->reference->digest && strcmp(text, r->reference->digest) != 0) ||
            (said && g_str_has_prefix(said, "sha256:") && strcmp(text, said) != 0)) {
                store_fail(error, STORE_FAIL_INVALID, "%s sends %s with digest %s instead of %.80s", r->reference->host,
                           what, text, r->reference->digest ? r->reference->digest : said);
                return NULL;
        }
        if (!find_type(r, bytes, &type, error))
                return NULL;
        *ret_media_type = g_steal_pointer(&type);
        return g_steal_pointer(&bytes);
}

/** document_fetch() - the manifest, index or configuration for which @d stands */
GBytes *document_fetch(Registry *r, const Descriptor *d, const char *what, GError **error) {
        const char *kind = is_document_type(d->media_type) ? "manifests" : "blobs";
        g_autofree char *type = NULL, *whole = NULL;
        g_autoptr(GBytes) bytes = NULL;
        char digest[DIGEST_STRING];

        digest_string(d->digest, digest);
        whole = g_strdup_printf("%s (%s)", what, digest);
        if (g_ascii_isupper(whole[0]))
                whole[0] = g_ascii_tolower(whole[0]);
        if (d->size > STORE_DOCUMENT_MAX) {
                store_fail(error, STORE_FAIL_EXHAUSTED, "%s is larger than %u bytes", what, STORE_DOCUMENT_MAX);
                return NULL;
        }
        bytes = fetch(r, kind, digest, whole, d->size, &type, NULL, error);
        if (!bytes || !document_verify(bytes, d, what, error))
                return NULL;
        if (type && strcmp(type, d->media_type) != 0) {
                store_fail(error, STORE_FAIL_INVALID,
                           "%s is ambiguous: %s calls it a '%.100s', its descriptor a '%.100s'", what,
                           r->reference->host, type, d->media_type);
                return NULL;
        }
        return g_steal_pointer(&bytes);
}

static gboolean wrong_size(const Blob *b, guint64 size, GError **error) {
        return store_fail(error, STORE_FAIL_INVALID,
                          "%s sends %" G_GUINT64_FORMAT " bytes of %s, of which there are %" G_GUINT64_FORMAT
                          " as its manifest says",
                          b->registry->reference->host, size, b->what, b->size);
}

/* "bytes FROM-TO/SIZE": whether it is the rest that was asked for. RFC 9110, section 14.4. */
static gboolean range_fits(const Blob *b, const char *range) {
        g_autofree char *wanted = g_strdup_printf("bytes %" G_GUINT64_FORMAT "-", b->done);

        return range && g_ascii_strncasecmp(range, wanted, strlen(wanted)) == 0;
}

static gboolean begin_layer(void *userdata, const HttpAnswer *a, GError **error) {
        Blob *b = userdata;
        gboolean part = a->status == 206;

        if (part && !range_fits(b, a->content_range))
                return store_fail(error, STORE_FAIL_INVALID, "%s sends another part of %s than it was asked for",
                                  b->registry->reference->host, b->what);
        b->skip = part ? 0 : b->done;
        if (a->length >= 0 && (guint64)a->length != b->size - (part ? b->done : 0))
                return wrong_size(b, (guint64)a->length + (part ? b->done : 0), error);
        return TRUE;
}

static gboolean take_layer(void *userdata, const void *data, gsize size, GError **error) {
        Blob *b = userdata;
        Operation *o = b->layout->operation;
        gsize again = MIN(b->skip, size);

        b->skip -= again;
        data = (const guint8 *)data + again;
        size -= again;
        if (size > b->size - b->done)
                return wrong_size(b, b->done + size, error);
        digest_update(&b->digest, data, size);
        b->done += size;
        o->progress.bytes_done += size;
        return operation_write(o, data, size, error);
}

static gboolean verify_layer(Blob *b, const ImageLayer *layer, GError **error) {
        guint8 digest[DIGEST_SIZE];
        char text[DIGEST_STRING];

        digest_final(&b->digest, digest);
        if (memcmp(digest, layer->digest, DIGEST_SIZE) == 0)
                return TRUE;
        digest_string(digest, text);
        return store_fail(error, STORE_FAIL_INVALID, "%s sends %s with another digest: %s",
                          b->registry->reference->host, b->what, text);
}

/** layer_fetch() - a layer's blob, to the output
 *
 * Whatever a registry says of its encoding, the bytes are taken as they come: the digest decides.
 */
gboolean layer_fetch(Registry *r, Layout *l, const ImageLayer *layer, GError **error) {
        char version[DIGEST_STRING];
        g_autofree char *what = NULL;
        g_auto(HttpAnswer) a = { HTTP_ENDED };
        Blob b = { .registry = r, .layout = l, .size = layer->size };
        Fetch f = { .kind = "blobs", .begin = begin_layer, .take = take_layer, .userdata = &b, .done = &b.done };
        gboolean ok;

        digest_string(layer->digest, version);
        what = g_strdup_printf("layer %s", version);
        b.what = f.what = what;
        f.version = version;
        f.size = layer->size;
        digest_init(&b.digest);
        ok = layout_blob_begin(l, layer->digest, layer->size, error) &&
             (layer->size == 0 || registry_fetch(r, &f, &a, error)) && verify_layer(&b, layer, error) &&
             layout_blob_end(l, layer->size, error);
        digest_done(&b.digest);
        return ok;
}
