/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an index of images leads to, wherever the documents are.
 *
 * An index names images; each is a manifest, or an index of one image's manifests for several platforms, of which the
 * fitting one is taken, or all. Entries of the outermost index that share a name and have platforms are taken for such
 * an index. What is filed under an unknown platform (statements about an image) is passed over. Each document is read
 * only by a descriptor, with the size and the digest it promises. Store and registry workers choose by this one file,
 * and so the same. Format: OCI image specification 1.1, image-index.
 */

#include <string.h>

#include "store/error.h"
#include "store/image.h"
#include "store/json.h"
#include "store/oci.h"
#include "store/platform.h"

#define INDEX_DEPTH_MAX 4U

typedef struct {
        const OciSource *source;
        Platform wanted; /* empty with "all" */
        Platform own;
        gboolean all;
        const StoreLimits *limits;
        GPtrArray *images;
} OciReader;

/* A manifest that may be chosen. */
typedef struct {
        Descriptor descriptor;
        char *media_type;
        Platform platform;
        gboolean has_platform;
} Candidate;

/* One image as index.json names it. */
typedef struct {
        char *name;            /* or NULL */
        GPtrArray *candidates; /* Candidate */
        GBytes *index;         /* NULL: manifests of index.json itself */
        guint8 index_digest[DIGEST_SIZE];
        guint n_indexes;
} Group;

static void candidate_free(gpointer data) {
        Candidate *c = data;

        descriptor_clear(&c->descriptor);
        platform_clear(&c->platform);
        g_free(c->media_type);
        g_free(c);
}

static void group_free(gpointer data) {
        Group *g = data;

        g_free(g->name);
        g_clear_pointer(&g->index, g_bytes_unref);
        g_ptr_array_unref(g->candidates);
        g_free(g);
}

/* A document as its descriptor says, verified. */
static GBytes *document_read(OciReader *r, const Descriptor *d, const char *what, GError **error) {
        g_autoptr(GBytes) bytes = r->source->read(r->source, d, what, error);

        return bytes && document_verify(bytes, d, what, error) ? g_steal_pointer(&bytes) : NULL;
}

static Image *manifest_read(OciReader *r, const Descriptor *d, GError **error) {
        g_autoptr(Image) image = image_new();
        g_autoptr(JsonNode) owner = NULL;
        g_auto(Descriptor) config = { NULL };
        GBytes *bytes;

        image->manifest = document_read(r, d, "The manifest", error);
        if (!image->manifest || !manifest_parse(image, d, r->limits, &config, &owner, error))
                return NULL;
        bytes = document_read(r, &config, "The image configuration", error);
        if (!bytes || !image_set_config(image, bytes, error) || !image_set_diff_ids(image, error))
                return NULL;
        return g_steal_pointer(&image);
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

static Group *group_new(GPtrArray *groups, const char *name) {
        Group *g = g_new0(Group, 1);

        g->name = g_strdup(name);
        g->candidates = g_ptr_array_new_with_free_func(candidate_free);
        g_ptr_array_add(groups, g);
        return g;
}

/* What an index gives: manifests below it, at any depth. */
static gboolean group_index(OciReader *r, Group *g, const Descriptor *d, guint depth, GError **error);

/* Takes over @c. */
static gboolean group_add(OciReader *r, Group *g, Candidate *c, guint depth, GError **error) {
        g_autoptr(GPtrArray) owner = g_ptr_array_new_with_free_func(candidate_free);

        g_ptr_array_add(owner, c);
        if (c->has_platform && platform_is_unknown(&c->platform))
                return TRUE;
        if (descriptor_is_index(&c->descriptor))
                return group_index(r, g, &c->descriptor, depth, error);
        if (!descriptor_is_manifest(&c->descriptor))
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "The index has a '%.100s', which is not an image",
                                  c->media_type);
        if (g->candidates->len >= r->limits->images)
                return store_fail(error, STORE_FAIL_EXHAUSTED,
                                  "An image index has more than %" G_GUINT64_FORMAT " manifests", r->limits->images);
        g_ptr_array_add(g->candidates, g_ptr_array_steal_index(owner, 0));
        return TRUE;
}

static Candidate *candidate_new(JsonObject *o, GError **error) {
        Candidate *c = g_new0(Candidate, 1);

        if (!descriptor_read(o, "an image", &c->descriptor, error) ||
            !platform_read(o, &c->platform, &c->has_platform, error)) {
                candidate_free(c);
                return NULL;
        }
        c->media_type = g_strdup(c->descriptor.media_type);
        c->descriptor.media_type = c->media_type;
        return c;
}

/* What a walk through the manifests of an index gives each of them to; takes @c. */
typedef gboolean (*manifest_handler_t)(OciReader *r, JsonObject *o, Candidate *c, void *userdata, GError **error);

static gboolean foreach_manifest(OciReader *r, JsonObject *index, manifest_handler_t handler, void *userdata,
                                 GError **error) {
        JsonArray *manifests;

        if (!json_array(index, "manifests", "the index", &manifests, error))
                return FALSE;
        if (!manifests)
                return store_fail(error, STORE_FAIL_INVALID, "The index has no 'manifests'");
        for (guint i = 0; i < json_array_get_length(manifests); i++) {
                JsonObject *o = json_element(manifests, i, "manifests", error);
                Candidate *c = o ? candidate_new(o, error) : NULL;

                if (!c || !handler(r, o, c, userdata, error))
                        return FALSE;
        }
        return TRUE;
}

typedef struct Level {
        Group *group;
        guint depth;
} Level;

static gboolean on_nested(OciReader *r, JsonObject *o G_GNUC_UNUSED, Candidate *c, void *userdata, GError **error) {
        const Level *level = userdata;

        return group_add(r, level->group, c, level->depth, error);
}

static gboolean group_index(OciReader *r, Group *g, const Descriptor *d, guint depth, GError **error) {
        g_autoptr(JsonNode) owner = NULL;
        g_autoptr(GBytes) bytes = NULL;
        JsonObject *o;

        if (depth >= INDEX_DEPTH_MAX)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image index is nested too deep");
        if (g->n_indexes++ >= r->limits->images)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "An image has too many indexes");
        bytes = document_read(r, d, "An image index", error);
        o = bytes ? json_parse_object(bytes, "An image index", &owner, error) : NULL;
        if (!o || !document_check(o, d, "An image index", "layers", error))
                return FALSE;
        if (!g->index) {
                g->index = g_bytes_ref(bytes);
                memcpy(g->index_digest, d->digest, DIGEST_SIZE);
        }
        return foreach_manifest(r, o, on_nested, &(Level){ g, depth + 1 }, error);
}

/* Manifests of index.json for several platforms under one name are one image. */
static Group *group_find(GPtrArray *groups, const char *name, const Candidate *c) {
        for (guint i = 0; c->has_platform && descriptor_is_manifest(&c->descriptor) && i < groups->len; i++) {
                Group *g = groups->pdata[i];

                if (!g->index && g_strcmp0(g->name, name) == 0 && g->candidates->len > 0 &&
                    ((Candidate *)g->candidates->pdata[0])->has_platform)
                        return g;
        }
        return group_new(groups, name);
}

static gboolean on_named(OciReader *r, JsonObject *o, Candidate *c, void *userdata, GError **error) {
        GPtrArray *groups = userdata;
        const char *name;

        if (!descriptor_name(o, &name, error)) {
                candidate_free(c);
                return FALSE;
        }
        if (groups->len >= r->limits->images) {
                candidate_free(c);
                return store_fail(error, STORE_FAIL_EXHAUSTED, "%s holds more than %" G_GUINT64_FORMAT " images",
                                  r->source->name, r->limits->images);
        }
        return group_add(r, group_find(groups, name, c), c, 0, error);
}

/* The best candidate; with "all" any of ours will do when this machine's is not there. */
static const Candidate *group_choose(const OciReader *r, const Group *g) {
        const Candidate *best = NULL;
        guint best_score = 0;

        for (guint i = 0; i < g->candidates->len; i++) {
                const Candidate *c = g->candidates->pdata[i];
                guint score = platform_score(r->all ? &r->own : &r->wanted, &c->platform);
                gboolean ours = c->platform.os[0] == '\0' || strcmp(c->platform.os, "linux") == 0;

                if (!c->has_platform || (r->all && ours))
                        score = MAX(score, 1);
                if (score > best_score) {
                        best = c;
                        best_score = score;
                }
        }
        return best;
}

/* An image that has come under another name already. */
static Image *known_image(OciReader *r, const Group *g, const Candidate *c) {
        for (guint i = 0; i < r->images->len; i++) {
                Image *image = r->images->pdata[i];

                if (memcmp(image->manifest_digest, c->descriptor.digest, DIGEST_SIZE) == 0 &&
                    memcmp(image->index_digest, g->index_digest, DIGEST_SIZE) == 0)
                        return image;
        }
        return NULL;
}

static gboolean read_platforms(OciReader *r, const Group *g, const Candidate *chosen, Image *image, GError **error) {
        for (guint i = 0; r->all && i < g->candidates->len; i++) {
                const Candidate *c = g->candidates->pdata[i];
                Image *other;

                if (c == chosen || (c->platform.os[0] != '\0' && strcmp(c->platform.os, "linux") != 0))
                        continue;
                other = manifest_read(r, &c->descriptor, error);
                if (!other)
                        return FALSE;
                g_ptr_array_add(image->platforms, other);
        }
        /* What is kept can be given out again: the index, when it leads to nothing that is not here. */
        memcpy(image->index_digest, g->index_digest, DIGEST_SIZE);
        if (g->index && g->n_indexes == 1 && image->platforms->len + 1 == g->candidates->len)
                image->index = g_bytes_ref(g->index);
        return TRUE;
}

static gboolean read_group(OciReader *r, const Group *g, GError **error) {
        const Candidate *c = group_choose(r, g);
        Image *image;

        if (!c)
                return TRUE;
        image = known_image(r, g, c);
        if (!image) {
                image = manifest_read(r, &c->descriptor, error);
                if (!image)
                        return FALSE;
                g_ptr_array_add(r->images, image);
                image->chosen = c->has_platform;
                image->has_source = TRUE;
                memcpy(image->source, g->index ? g->index_digest : c->descriptor.digest, DIGEST_SIZE);
                if (!read_platforms(r, g, c, image, error))
                        return FALSE;
        }
        if (g->name)
                g_ptr_array_add(image->names, g_strdup(g->name));
        return TRUE;
}

/* What there is instead. */
static gboolean fail_platform(const OciReader *r, GPtrArray *groups, const char *platform, GError **error) {
        g_autoptr(GString) list = g_string_new(NULL);

        for (guint i = 0; i < groups->len; i++) {
                const Group *g = groups->pdata[i];

                for (guint k = 0; k < g->candidates->len; k++)
                        platform_list_add(list, &((const Candidate *)g->candidates->pdata[k])->platform);
        }
        return store_fail(error, STORE_FAIL_NOT_FOUND, "%s has no image for %s, but for %s", r->source->name, platform,
                          list->str);
}

static gboolean read_images(OciReader *r, JsonObject *index, const char *platform, GError **error) {
        g_autoptr(GPtrArray) groups = g_ptr_array_new_with_free_func(group_free);
        gboolean any = FALSE;

        if (!foreach_manifest(r, index, on_named, groups, error))
                return FALSE;
        for (guint i = 0; i < groups->len; i++) {
                const Group *g = groups->pdata[i];

                any = any || g->candidates->len > 0;
                if (!read_group(r, g, error))
                        return FALSE;
        }
        if (r->images->len == 0 && any)
                return fail_platform(r, groups, platform, error);
        if (r->images->len == 0)
                return store_fail(error, STORE_FAIL_NOT_FOUND, "%s has no image (%s)", r->source->name, platform);
        return TRUE;
}

/** oci_read_index() - the images that @index, which is no stranger's or has been checked, leads to
 *
 * @platform: "os/arch[/variant]", or "all". Each document is asked of @source once for each place that names it.
 */
gboolean oci_read_index(const OciSource *source, JsonObject *index, const char *platform, const StoreLimits *limits,
                        GPtrArray *images, GError **error) {
        g_autofree char *own = image_platform();
        OciReader r = {
                .source = source, .limits = limits, .images = images, .all = strcmp(platform, OCI_ALL_PLATFORMS) == 0
        };
        gboolean ok;

        ok = platform_parse(own, &r.own, error) && (r.all || platform_parse(platform, &r.wanted, error)) &&
             read_images(&r, index, platform, error);
        platform_clear(&r.own);
        platform_clear(&r.wanted);
        return ok;
}
