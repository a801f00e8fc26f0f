/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Composing an image from layers that are in the store: the second step of committing a container.
 *
 * The parent's configuration is the only document of a stranger's that is read here; members of it that nobody here
 * knows stay as they are, and the parent's layers keep the descriptors they came with. A new layer is described as it
 * can be had: uncompressed. The result is two documents, published and pinned; layers, chain and root file system are
 * there already or are only completed.
 */

#include <string.h>

#include "store/chain.h"
#include "store/changes.h"
#include "store/content.h"
#include "store/error.h"
#include "store/image.h"
#include "store/import.h"
#include "store/json.h"
#include "store/manifest.h"
#include "store/request.h"

#define WHAT "the image configuration"
#define COMMENT_MAX ((gsize)64 * 1024)

typedef struct {
        Request *request;
        Ingest *ingest;
        Image *parent; /* NULL: from nothing */
        Image *image;
        GPtrArray *diff_ids; /* strings of the request */
        JsonArray *changes;
        const char *parent_digest;
        const char *layer;
        const char *chain_id;
        const char *author;
        const char *message;
        guint64 created; /* microseconds */
        RootfsForm rootfs;
} Compose;

static gboolean pin(Compose *c, const char *prefix, const guint8 digest[DIGEST_SIZE], GError **error) {
        g_autofree char *ref = store_ref(prefix, digest);

        return ingest_pin(c->ingest, ref, error);
}

static GBytes *load(Compose *c, const guint8 digest[DIGEST_SIZE], GError **error) {
        return pin(c, REF_CONTENT, digest, error) ? content_load(c->request->store, digest, STORE_DOCUMENT_MAX, error)
                                                  : NULL;
}

static gboolean load_parent(Compose *c, GError **error) {
        g_autoptr(JsonNode) owner = NULL, peek = NULL;
        g_auto(Descriptor) config = { NULL };
        Descriptor d = { NULL };
        const char *type;
        JsonObject *o;
        GBytes *bytes;

        if (!c->parent_digest || c->parent_digest[0] == '\0')
                return TRUE;
        c->parent = image_new();
        if (!digest_parse(c->parent_digest, d.digest, error) || !(c->parent->manifest = load(c, d.digest, error)) ||
            !(o = json_parse_object(c->parent->manifest, "The manifest", &peek, error)) ||
            !json_string(o, "mediaType", "the manifest", &type, error))
                return FALSE;
        d.media_type = type ? type : MEDIA_OCI_MANIFEST;
        d.size = g_bytes_get_size(c->parent->manifest);
        if (!manifest_parse(c->parent, &d, &c->request->job->limits, &config, &owner, error))
                return FALSE;
        bytes = load(c, config.digest, error);
        return bytes && image_set_config(c->parent, bytes, error) && image_set_diff_ids(c->parent, error);
}

/* The parent's own layers as they are, of others what the store has. */
static gboolean add_layer(Compose *c, const char *text, GError **error) {
        guint at = c->image->layers->len;
        ImageLayer *l = g_new0(ImageLayer, 1);
        g_auto(Split) split = { NULL };

        g_ptr_array_add(c->image->layers, l);
        if (!digest_parse(text, l->diff_id, error) || !pin(c, REF_LAYER, l->diff_id, error) ||
            !pin(c, REF_SPLIT, l->diff_id, error) || !store_load_split(c->request->store, l->diff_id, &split, error))
                return FALSE;
        chain_id_next(c->image->chain_id, at == 0, l->diff_id);
        if (c->parent && at < c->parent->layers->len) {
                const ImageLayer *old = c->parent->layers->pdata[at];

                if (memcmp(old->diff_id, l->diff_id, DIGEST_SIZE) != 0)
                        return store_fail(error, STORE_FAIL_INVALID, "Layer %s is not the parent's layer %u", text,
                                          at + 1);
                memcpy(l->digest, old->digest, DIGEST_SIZE);
                l->size = old->size;
                l->media_type = g_strdup(old->media_type);
                return TRUE;
        }
        memcpy(l->digest, l->diff_id, DIGEST_SIZE);
        l->media_type = g_strdup(MEDIA_OCI_LAYER);
        return split_size(c->request->job, &split, &l->size, error);
}

static gboolean add_layers(Compose *c, GError **error) {
        guint before = c->parent ? c->parent->layers->len : 0;
        guint8 chain_id[DIGEST_SIZE];

        for (guint i = 0; c->layer && i < before; i++) {
                const ImageLayer *old = c->parent->layers->pdata[i];
                char text[DIGEST_STRING];

                digest_string(old->diff_id, text);
                if (!add_layer(c, text, error))
                        return FALSE;
        }
        if (c->layer && !add_layer(c, c->layer, error))
                return FALSE;
        for (guint i = 0; !c->layer && i < c->diff_ids->len; i++)
                if (!add_layer(c, c->diff_ids->pdata[i], error))
                        return FALSE;
        if (c->image->layers->len == 0 || c->image->layers->len < before ||
            c->image->layers->len > c->request->job->limits.layers)
                return store_fail(error, STORE_FAIL_INVALID, "An image of %u layers cannot be composed",
                                  c->image->layers->len);
        if (!c->chain_id)
                return TRUE;
        if (!digest_parse(c->chain_id, chain_id, error))
                return FALSE;
        return memcmp(chain_id, c->image->chain_id, DIGEST_SIZE) == 0
                       ? TRUE
                       : store_fail(error, STORE_FAIL_INVALID, "The layers do not make chain %s", c->chain_id);
}

static gboolean look_up(Compose *c, GError **error) {
        gboolean ok;

        if (!store_lock(c->request->store, FALSE, error))
                return FALSE;
        ok = load_parent(c, error) && add_layers(c, error) && pin(c, REF_CHAIN, c->image->chain_id, error) &&
             pin(c, REF_EROFS, c->image->chain_id, error);
        store_unlock(c->request->store, FALSE);
        return ok;
}

static char *created_text(const Compose *c) {
        gint64 usec = c->created ? (gint64)c->created : g_get_real_time();
        g_autoptr(GDateTime) second = g_date_time_new_from_unix_utc(usec / G_USEC_PER_SEC);
        g_autofree char *text =
                second ? g_date_time_format(second, "%Y-%m-%dT%H:%M:%S") : g_strdup("1970-01-01T00:00:00");

        return g_strdup_printf("%s.%06dZ", text, (int)(usec % G_USEC_PER_SEC));
}

static char *created_by(const Compose *c) {
        GString *text = g_string_new("davit commit");

        for (guint i = 0; c->changes && i < json_array_get_length(c->changes); i++)
                g_string_append_printf(text, "%s%s", i == 0 ? ": " : "; ",
                                       json_array_get_string_element(c->changes, i));
        return g_string_free(text, FALSE);
}

/* Some builders write no history, or only that of their own layers: others then take the steps for other layers'. */
static gboolean complete_history(const Compose *c, JsonArray *history, GError **error) {
        guint wanted = c->parent ? c->parent->layers->len : 0, found = 0;

        for (guint i = 0; i < json_array_get_length(history); i++) {
                JsonObject *step = json_element(history, i, "history", error);

                if (!step)
                        return FALSE;
                found += !json_object_get_boolean_member_with_default(step, "empty_layer", FALSE);
        }
        for (; found < wanted; found++) {
                JsonObject *step = json_object_new();

                json_object_set_string_member(step, "comment", "layer of the parent image");
                json_array_add_object_element(history, step);
        }
        return TRUE;
}

/* One step for each new layer, or one that changed no file. */
static gboolean set_history(const Compose *c, JsonObject *config, const char *created, GError **error) {
        guint layers = c->image->layers->len - (c->parent ? c->parent->layers->len : 0);
        g_autofree char *by = created_by(c);
        g_autoptr(JsonArray) history = json_array_new();
        JsonArray *old;

        if (!json_array(config, "history", WHAT, &old, error))
                return FALSE;
        for (guint i = 0; old && i < json_array_get_length(old); i++)
                json_array_add_element(history, json_node_copy(json_array_get_element(old, i)));
        if (!complete_history(c, history, error))
                return FALSE;
        for (guint i = 0; i < MAX(layers, 1); i++) {
                JsonObject *step = json_object_new();

                json_object_set_string_member(step, "created", created);
                json_object_set_string_member(step, "created_by", by);
                if (c->author && c->author[0])
                        json_object_set_string_member(step, "author", c->author);
                if (c->message && c->message[0])
                        json_object_set_string_member(step, "comment", c->message);
                if (layers == 0)
                        json_object_set_boolean_member(step, "empty_layer", TRUE);
                json_array_add_object_element(history, step);
        }
        json_object_set_array_member(config, "history", g_steal_pointer(&history));
        return TRUE;
}

static void set_rootfs(const Compose *c, JsonObject *config) {
        JsonObject *rootfs = json_object_new();
        JsonArray *ids = json_array_new();

        for (guint i = 0; i < c->image->layers->len; i++) {
                char text[DIGEST_STRING];

                digest_string(((const ImageLayer *)c->image->layers->pdata[i])->diff_id, text);
                json_array_add_string_element(ids, text);
        }
        json_object_set_string_member(rootfs, "type", "layers");
        json_object_set_array_member(rootfs, "diff_ids", ids);
        json_object_set_object_member(config, "rootfs", rootfs);
}

static gboolean set_settings(const Compose *c, JsonObject *config, GError **error) {
        JsonObject *old, *settings;

        if (!json_object(config, "config", WHAT, &old, error))
                return FALSE;
        settings = old ? manifest_copy(old) : json_object_new();
        json_object_set_object_member(config, "config", settings);
        return changes_apply(settings, c->changes, error);
}

static JsonObject *first_config(void) {
        g_autofree char *platform = image_platform();
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "architecture", strchr(platform, '/') + 1);
        json_object_set_string_member(o, "os", "linux");
        return o;
}

static gboolean make_documents(Compose *c, GError **error) {
        g_autoptr(JsonObject) config =
                c->parent ? manifest_copy(json_node_get_object(c->parent->config_json)) : first_config();
        g_autoptr(JsonNode) root = json_node_init_object(json_node_alloc(), config);
        g_autofree char *created = created_text(c);
        char *text;

        json_object_set_string_member(config, "created", created);
        if (c->author && c->author[0])
                json_object_set_string_member(config, "author", c->author);
        if (!set_settings(c, config, error) || !set_history(c, config, created, error))
                return FALSE;
        set_rootfs(c, config);
        text = json_text(root);
        if (strlen(text) > STORE_DOCUMENT_MAX) {
                g_free(text);
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image configuration is too large");
        }
        c->image->media_type = g_strdup(MEDIA_OCI_MANIFEST);
        return image_set_config(c->image, g_bytes_new_take(text, strlen(text)), error) &&
               docker_finish(c->image, error);
}

static gboolean publish(Compose *c, GError **error) {
        GBytes *const documents[] = { c->image->manifest, c->image->config };
        g_autoptr(Objects) objects = objects_new(c->request->job, c->request->store->objects_fd, c->ingest->stage_fd);

        return content_publish(c->ingest, objects, documents, G_N_ELEMENTS(documents), error);
}

static JsonNode *make_rootfs(Compose *c, GError **error) {
        g_autoptr(JsonNode) result = NULL;
        g_autoptr(Ingest) held = NULL;
        char chain_id[DIGEST_STRING];

        digest_string(c->image->chain_id, chain_id);
        result = store_rootfs(c->request->store, c->request->job, chain_id, c->rootfs, &held, error);
        return result ? json_object_dup_member(json_node_get_object(result), "rootfs") : NULL;
}

static JsonNode *compose(Compose *c, GError **error) {
        JsonNode *rootfs, *record;
        JsonObject *o;

        c->ingest = request_store(c->request, error) ? ingest_begin(c->request->store, error) : NULL;
        if (!c->ingest || !look_up(c, error) || !make_documents(c, error))
                return NULL;
        rootfs = make_rootfs(c, error);
        record = rootfs ? image_record(c->image, NULL, rootfs, NULL, error) : NULL;
        if (!record)
                return NULL;
        if (!publish(c, error)) {
                json_node_unref(record);
                return NULL;
        }
        c->request->held = g_steal_pointer(&c->ingest);
        o = json_object_new();
        json_object_set_member(o, "image", record);
        return request_object(o);
}

static gboolean read_options(Compose *c, GError **error) {
        static const char *const known[] = { "parent",  "diff_ids", "layer",   "chain_id", "author",
                                             "message", "changes",  "created", "rootfs",   NULL };
        Request *r = c->request;
        const char *form;

        if (!request_members(r, known, error) ||
            !json_string(r->members, "parent", REQUEST_WHAT, &c->parent_digest, error) ||
            !json_string(r->members, "layer", REQUEST_WHAT, &c->layer, error) ||
            !json_string(r->members, "chain_id", REQUEST_WHAT, &c->chain_id, error) ||
            !json_string(r->members, "author", REQUEST_WHAT, &c->author, error) ||
            !json_string(r->members, "message", REQUEST_WHAT, &c->message, error) ||
            !json_string(r->members, "rootfs", REQUEST_WHAT, &form, error) ||
            !json_array(r->members, "changes", REQUEST_WHAT, &c->changes, error) ||
            !json_size(r->members, "created", REQUEST_WHAT, &c->created, error) ||
            !request_strings(r, "diff_ids", &c->diff_ids, error) || !rootfs_form_parse(form, &c->rootfs, error))
                return FALSE;
        if ((c->author && strlen(c->author) > COMMENT_MAX) || (c->message && strlen(c->message) > COMMENT_MAX))
                return store_fail(error, STORE_FAIL_INVALID, "The author or the message is too long");
        return TRUE;
}

/** request_compose() - {"image":IMAGE}, which has no name */
JsonNode *request_compose(Request *r, GError **error) {
        Compose c = { .request = r };
        JsonNode *result = NULL;

        c.image = image_new();
        if (read_options(&c, error))
                result = compose(&c, error);
        g_clear_pointer(&c.diff_ids, g_ptr_array_unref);
        g_clear_pointer(&c.parent, image_free);
        g_clear_pointer(&c.ingest, ingest_end);
        image_free(c.image);
        return result;
}
