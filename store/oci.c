/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The OCI image layout: oci-layout, index.json, blobs/sha256/<digest>.
 *
 * Each document is read only by a descriptor, with the size the descriptor says and the digest it promises. A document
 * that could be read as two things is refused (CVE-2021-41190): its own media type, where it has one, has to be its
 * descriptor's, and an index has no layers nor a manifest manifests. Formats: OCI image specification 1.1,
 * image-layout, image-index, manifest.
 */

#include <string.h>

#include "store/error.h"
#include "store/image.h"
#include "store/json.h"

#define INDEX_DEPTH_MAX 4U

typedef struct {
        Archive *archive;
        const char *platform;
        const StoreLimits *limits;
        GPtrArray *images;
        gboolean other_platform; /* an image was passed over */
} OciReader;

typedef struct {
        const char *media_type;
        guint8 digest[DIGEST_SIZE];
        guint64 size;
        char *member;
} Descriptor;

static void descriptor_clear(Descriptor *d) {
        g_clear_pointer(&d->member, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Descriptor, descriptor_clear)

static gboolean descriptor_read(JsonObject *o, const char *what, Descriptor *ret, GError **error) {
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

/* A document as its descriptor says, verified. */
static GBytes *document_read(OciReader *r, const Descriptor *d, const char *what, GError **error) {
        g_autoptr(GBytes) bytes = archive_read(r->archive, d->member, STORE_DOCUMENT_MAX, error);
        guint8 digest[DIGEST_SIZE];
        gsize size;
        const void *data;

        if (!bytes)
                return NULL;
        data = g_bytes_get_data(bytes, &size);
        digest_bytes(data, size, digest);
        if (size != d->size || memcmp(digest, d->digest, DIGEST_SIZE) != 0) {
                store_fail(error, STORE_FAIL_INVALID, "The digest or size of %s does not match its descriptor (%s)",
                           what, d->member);
                return NULL;
        }
        return g_steal_pointer(&bytes);
}

static gboolean document_check(JsonObject *o, const Descriptor *d, const char *what, const char *foreign,
                               GError **error) {
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

static gboolean manifest_layer(Image *image, JsonArray *layers, guint i, GError **error) {
        g_auto(Descriptor) d = { NULL };
        JsonObject *o = json_element(layers, i, "layers", error);
        ImageLayer *l;

        if (!o || !descriptor_read(o, "a layer", &d, error))
                return FALSE;
        if (!strstr(d.media_type, ".layer.") && !strstr(d.media_type, ".rootfs."))
                return store_fail(error, STORE_FAIL_UNSUPPORTED,
                                  "Layer %u has media type '%.100s', which is not supported", i + 1, d.media_type);
        l = g_new0(ImageLayer, 1);
        memcpy(l->digest, d.digest, DIGEST_SIZE);
        l->has_digest = TRUE;
        l->size = d.size;
        l->media_type = g_strdup(d.media_type);
        l->member = g_steal_pointer(&d.member);
        g_ptr_array_add(image->layers, l);
        return TRUE;
}

static gboolean manifest_read(OciReader *r, const Descriptor *d, const char *name, GError **error) {
        g_autoptr(Image) image = image_new();
        g_autoptr(JsonNode) owner = NULL;
        g_auto(Descriptor) config = { NULL };
        JsonObject *o, *config_object;
        JsonArray *layers;
        GBytes *bytes;

        image->manifest = document_read(r, d, "The manifest", error);
        o = image->manifest ? json_parse_object(image->manifest, "The manifest", &owner, error) : NULL;
        if (!o || !document_check(o, d, "The manifest", "manifests", error) ||
            !json_object(o, "config", "the manifest", &config_object, error) ||
            !json_array(o, "layers", "the manifest", &layers, error) ||
            !descriptor_read(config_object, "the configuration", &config, error))
                return FALSE;
        if (!layers || json_array_get_length(layers) == 0)
                return store_fail(error, STORE_FAIL_INVALID, "The manifest has no layers");
        if (json_array_get_length(layers) > r->limits->layers)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image has more than %" G_GUINT64_FORMAT " layers",
                                  r->limits->layers);
        for (guint i = 0; i < json_array_get_length(layers); i++)
                if (!manifest_layer(image, layers, i, error))
                        return FALSE;
        bytes = document_read(r, &config, "The image configuration", error);
        if (!bytes || !image_set_config(image, bytes, error) || !image_set_diff_ids(image, error))
                return FALSE;
        memcpy(image->manifest_digest, d->digest, DIGEST_SIZE);
        image->media_type = g_strdup(d->media_type);
        if (name)
                g_ptr_array_add(image->names, g_strdup(name));
        if (r->images->len >= r->limits->images)
                return store_fail(error, STORE_FAIL_EXHAUSTED,
                                  "The archive holds more than %" G_GUINT64_FORMAT " images", r->limits->images);
        g_ptr_array_add(r->images, g_steal_pointer(&image));
        return TRUE;
}

/* Whether a descriptor without a platform, or with the wanted one, is before us. */
static gboolean platform_matches(JsonObject *o, const char *wanted, gboolean *ret, GError **error) {
        JsonObject *platform;
        const char *os, *architecture, *variant;
        g_autofree char *plain = NULL, *full = NULL;

        *ret = TRUE;
        if (!json_object(o, "platform", "a descriptor", &platform, error))
                return FALSE;
        if (!platform)
                return TRUE;
        if (!json_string(platform, "os", "a platform", &os, error) ||
            !json_string(platform, "architecture", "a platform", &architecture, error) ||
            !json_string(platform, "variant", "a platform", &variant, error))
                return FALSE;
        plain = g_strdup_printf("%s/%s", os ? os : "", architecture ? architecture : "");
        full = g_strdup_printf("%s/%s", plain, variant ? variant : "");
        *ret = strcmp(plain, wanted) == 0 || strcmp(full, wanted) == 0;
        return TRUE;
}

static gboolean descriptor_name(JsonObject *o, const char **ret, GError **error) {
        JsonObject *annotations;

        *ret = NULL;
        if (!json_object(o, "annotations", "a descriptor", &annotations, error))
                return FALSE;
        if (!annotations)
                return TRUE;
        if (!json_string(annotations, "io.containerd.image.name", "annotations", ret, error))
                return FALSE;
        return *ret || json_string(annotations, "org.opencontainers.image.ref.name", "annotations", ret, error);
}

static gboolean index_read(OciReader *r, JsonObject *index, const char *above, guint depth, GError **error);

static gboolean index_descend(OciReader *r, const Descriptor *d, const char *name, guint depth, GError **error) {
        g_autoptr(JsonNode) owner = NULL;
        g_autoptr(GBytes) bytes = NULL;
        JsonObject *o;

        if (depth >= INDEX_DEPTH_MAX)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image index is nested too deep");
        bytes = document_read(r, d, "An image index", error);
        o = bytes ? json_parse_object(bytes, "An image index", &owner, error) : NULL;
        return o && document_check(o, d, "An image index", "layers", error) && index_read(r, o, name, depth + 1, error);
}

static gboolean index_entry(OciReader *r, JsonObject *o, const char *above, guint depth, GError **error) {
        g_auto(Descriptor) d = { NULL };
        const char *name;
        gboolean matches;

        if (!descriptor_read(o, "an image", &d, error) || !descriptor_name(o, &name, error) ||
            !platform_matches(o, r->platform, &matches, error))
                return FALSE;
        if (!matches) {
                r->other_platform = TRUE;
                return TRUE;
        }
        if (!name)
                name = above;
        if (strcmp(d.media_type, MEDIA_OCI_INDEX) == 0 || strcmp(d.media_type, MEDIA_DOCKER_LIST) == 0)
                return index_descend(r, &d, name, depth, error);
        if (strcmp(d.media_type, MEDIA_OCI_MANIFEST) == 0 || strcmp(d.media_type, MEDIA_DOCKER_MANIFEST) == 0)
                return manifest_read(r, &d, name, error);
        return store_fail(error, STORE_FAIL_UNSUPPORTED, "The index has a '%.100s', which is not an image",
                          d.media_type);
}

/* The top index takes every image of the platform, one below it the first: it is one image for several platforms. */
static gboolean index_read(OciReader *r, JsonObject *index, const char *above, guint depth, GError **error) {
        JsonArray *manifests;

        if (!json_array(index, "manifests", "the index", &manifests, error))
                return FALSE;
        if (!manifests)
                return store_fail(error, STORE_FAIL_INVALID, "The index has no 'manifests'");
        for (guint i = 0; i < json_array_get_length(manifests); i++) {
                JsonObject *o = json_element(manifests, i, "manifests", error);
                guint before = r->images->len;

                if (!o || !index_entry(r, o, above, depth, error))
                        return FALSE;
                if (depth > 0 && r->images->len > before)
                        break;
        }
        return TRUE;
}

/** oci_read() - the images of an OCI layout for @platform ("os/arch[/variant]") */
gboolean oci_read(Archive *a, const char *platform, const StoreLimits *limits, GPtrArray *images, GError **error) {
        OciReader r = { .archive = a, .platform = platform, .limits = limits, .images = images };
        const Descriptor top = { .media_type = MEDIA_OCI_INDEX };
        g_autoptr(JsonNode) layout_owner = NULL, owner = NULL;
        g_autoptr(GBytes) layout = archive_read(a, "oci-layout", STORE_DOCUMENT_MAX, error);
        g_autoptr(GBytes) bytes = NULL;
        const char *version;
        JsonObject *o;

        o = layout ? json_parse_object(layout, "oci-layout", &layout_owner, error) : NULL;
        if (!o || !json_string(o, "imageLayoutVersion", "oci-layout", &version, error))
                return FALSE;
        if (!version || !g_str_has_prefix(version, "1."))
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "The image layout's version is not 1");
        bytes = archive_read(a, "index.json", STORE_DOCUMENT_MAX, error);
        o = bytes ? json_parse_object(bytes, "index.json", &owner, error) : NULL;
        if (!o || !document_check(o, &top, "index.json", "layers", error) || !index_read(&r, o, NULL, 0, error))
                return FALSE;
        if (images->len == 0)
                return store_fail(error, STORE_FAIL_NOT_FOUND,
                                  r.other_platform ? "The archive has no image for %s"
                                                   : "The archive has no image (%s)",
                                  platform);
        return TRUE;
}
