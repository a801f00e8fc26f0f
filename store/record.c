/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The image record for the manager, built field by field from the image's own documents.
 *
 * Nothing is copied as it stands: a member that the manager does not know about does not reach it, and one of the wrong
 * type ends the import. The form is that of IMAGE in shared/store-protocol.h.
 */

#include <string.h>

#include "shared/store-protocol.h"
#include "store/error.h"
#include "store/image.h"
#include "store/json.h"

#define HISTORY_MAX 1024U
#define HISTORY_TEXT_MAX ((gsize)16 * 1024)
#define CREATED_MAX ((gint64)1 << 53) /* the year 2255 */

static void add_string(JsonBuilder *b, const char *member, const char *value) {
        json_builder_set_member_name(b, member);
        json_builder_add_string_value(b, value ? value : "");
}

static void add_digest(JsonBuilder *b, const char *member, const guint8 digest[DIGEST_SIZE]) {
        char text[DIGEST_STRING];

        digest_string(digest, text);
        add_string(b, member, text);
}

static gboolean add_strings(JsonBuilder *b, JsonObject *from, const char *member, GError **error) {
        JsonArray *a;

        if (!json_array(from, member, "config", &a, error))
                return FALSE;
        json_builder_set_member_name(b, member);
        json_builder_begin_array(b);
        for (guint i = 0; a && i < json_array_get_length(a); i++) {
                const char *s = json_element_string(a, i, member, error);

                if (!s)
                        return FALSE;
                json_builder_add_string_value(b, s);
        }
        json_builder_end_array(b);
        return TRUE;
}

/* A set written as an object whose values mean nothing. */
static gboolean add_keys(JsonBuilder *b, JsonObject *from, const char *member, GError **error) {
        JsonObject *o;
        g_autoptr(GList) keys = NULL;

        if (!json_object(from, member, "config", &o, error))
                return FALSE;
        keys = o ? g_list_sort(json_object_get_members(o), (GCompareFunc)strcmp) : NULL;
        json_builder_set_member_name(b, member);
        json_builder_begin_array(b);
        for (GList *l = keys; l; l = l->next)
                json_builder_add_string_value(b, l->data);
        json_builder_end_array(b);
        return TRUE;
}

static gboolean add_labels(JsonBuilder *b, JsonObject *from, GError **error) {
        JsonObject *labels;
        g_autoptr(GList) keys = NULL;

        if (!json_object(from, "Labels", "config", &labels, error))
                return FALSE;
        keys = labels ? g_list_sort(json_object_get_members(labels), (GCompareFunc)strcmp) : NULL;
        json_builder_set_member_name(b, "Labels");
        json_builder_begin_object(b);
        for (GList *l = keys; l; l = l->next) {
                const char *value;

                if (!json_string(labels, l->data, "Labels", &value, error))
                        return FALSE;
                add_string(b, l->data, value);
        }
        json_builder_end_object(b);
        return TRUE;
}

static gboolean add_config(JsonBuilder *b, JsonObject *config, GError **error) {
        static const char *const arrays[] = { "Entrypoint", "Cmd", "Env" };
        static const char *const strings[] = { "WorkingDir", "User", "StopSignal" };
        static const char *const sets[] = { "Volumes", "ExposedPorts" };
        g_autoptr(JsonObject) empty = json_object_new();
        JsonObject *from;

        if (!json_object(config, "config", "the image configuration", &from, error))
                return FALSE;
        if (!from)
                from = empty;
        json_builder_set_member_name(b, "config");
        json_builder_begin_object(b);
        for (gsize i = 0; i < G_N_ELEMENTS(arrays); i++)
                if (!add_strings(b, from, arrays[i], error))
                        return FALSE;
        for (gsize i = 0; i < G_N_ELEMENTS(strings); i++) {
                const char *value;

                if (!json_string(from, strings[i], "config", &value, error))
                        return FALSE;
                add_string(b, strings[i], value);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(sets); i++)
                if (!add_keys(b, from, sets[i], error))
                        return FALSE;
        if (!add_labels(b, from, error))
                return FALSE;
        json_builder_end_object(b);
        return TRUE;
}

/* An image that does not say is taken to be for the machine it is imported on. */
static void add_architecture(JsonBuilder *b, const char *architecture) {
        g_autofree char *own = image_platform();

        add_string(b, "architecture", architecture && architecture[0] ? architecture : strchr(own, '/') + 1);
}

static gboolean add_platform(JsonBuilder *b, JsonObject *config, GError **error) {
        const char *os, *architecture, *variant;

        if (!json_string(config, "os", "the image configuration", &os, error) ||
            !json_string(config, "architecture", "the image configuration", &architecture, error) ||
            !json_string(config, "variant", "the image configuration", &variant, error))
                return FALSE;
        json_builder_set_member_name(b, "platform");
        json_builder_begin_object(b);
        add_string(b, "os", os && os[0] ? os : "linux");
        add_architecture(b, architecture);
        if (variant && variant[0])
                add_string(b, "variant", variant);
        json_builder_end_object(b);
        return TRUE;
}

/* RFC 3339 as microseconds since the epoch; 0 when it is missing or is no time. */
static gboolean add_created(JsonBuilder *b, JsonObject *from, const char *what, GError **error) {
        g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
        g_autoptr(GDateTime) time = NULL;
        gint64 usec = 0;
        const char *created;

        if (!json_string(from, "created", what, &created, error))
                return FALSE;
        time = created && strlen(created) < 64 ? g_date_time_new_from_iso8601(created, utc) : NULL;
        if (time && g_date_time_to_unix(time) > 0)
                usec = g_date_time_to_unix(time) * G_USEC_PER_SEC + g_date_time_get_microsecond(time);
        json_builder_set_member_name(b, "created");
        json_builder_add_int_value(b, usec < CREATED_MAX ? usec : 0);
        return TRUE;
}

/* What a step says, cut where it is longer than anybody would read: the configuration itself is kept whole. */
static gboolean add_text(JsonBuilder *b, JsonObject *from, const char *member, GError **error) {
        g_autofree char *cut = NULL;
        const char *value;

        if (!json_string(from, member, "history", &value, error))
                return FALSE;
        if (!value || value[0] == '\0')
                return TRUE;
        if (strlen(value) > HISTORY_TEXT_MAX) {
                const char *end = g_utf8_find_prev_char(value, value + HISTORY_TEXT_MAX);

                cut = g_strndup(value, end ? (gsize)(end - value) : 0);
        }
        add_string(b, member, cut ? cut : value);
        return TRUE;
}

static gboolean add_step(JsonBuilder *b, JsonObject *step, GError **error) {
        JsonNode *empty = json_object_get_member(step, "empty_layer");

        json_builder_begin_object(b);
        if (!add_created(b, step, "history", error) || !add_text(b, step, "created_by", error) ||
            !add_text(b, step, "author", error) || !add_text(b, step, "comment", error))
                return FALSE;
        if (empty && !JSON_NODE_HOLDS_NULL(empty)) {
                if (!JSON_NODE_HOLDS_VALUE(empty) || json_node_get_value_type(empty) != G_TYPE_BOOLEAN)
                        return store_fail(error, STORE_FAIL_INVALID,
                                          "Member 'empty_layer' of history is not true or false");
                json_builder_set_member_name(b, "empty_layer");
                json_builder_add_boolean_value(b, json_node_get_boolean(empty));
        }
        json_builder_end_object(b);
        return TRUE;
}

static gboolean add_history(JsonBuilder *b, JsonObject *config, GError **error) {
        JsonArray *history;

        if (!json_array(config, "history", "the image configuration", &history, error))
                return FALSE;
        if (history && json_array_get_length(history) > HISTORY_MAX)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image's history has more than %u steps",
                                  HISTORY_MAX);
        json_builder_set_member_name(b, "history");
        json_builder_begin_array(b);
        for (guint i = 0; history && i < json_array_get_length(history); i++) {
                JsonObject *step = json_element(history, i, "history", error);

                if (!step || !add_step(b, step, error))
                        return FALSE;
        }
        json_builder_end_array(b);
        return TRUE;
}

static void add_layers(JsonBuilder *b, const Image *i, guint64 *total) {
        json_builder_set_member_name(b, "layers");
        json_builder_begin_array(b);
        for (guint n = 0; n < i->layers->len; n++) {
                const ImageLayer *l = i->layers->pdata[n];

                json_builder_begin_object(b);
                add_digest(b, "diff_id", l->diff_id);
                add_digest(b, "digest", l->digest);
                json_builder_set_member_name(b, "size");
                json_builder_add_int_value(b, (gint64)l->size);
                json_builder_end_object(b);
                *total += l->size;
        }
        json_builder_end_array(b);
}

/* The index this image came from, when it can be given out again, what it was called by, and what else it leads to. */
static void add_index(JsonBuilder *b, const Image *i, JsonArray *platforms) {
        if (i->index)
                add_digest(b, "index", i->index_digest);
        if (i->has_source)
                add_digest(b, "source", i->source);
        if (!platforms)
                return;
        json_builder_set_member_name(b, "platforms");
        json_builder_add_value(b, json_node_init_array(json_node_alloc(), platforms));
}

static gboolean add_members(JsonBuilder *b, const Image *i, GError **error) {
        guint64 total = g_bytes_get_size(i->manifest) + g_bytes_get_size(i->config);
        JsonObject *config = json_node_get_object(i->config_json);

        add_digest(b, "digest", i->manifest_digest);
        add_digest(b, "config_digest", i->config_digest);
        add_string(b, "media_type", i->media_type);
        if (!add_platform(b, config, error) || !add_created(b, config, "the image configuration", error))
                return FALSE;
        add_layers(b, i, &total);
        json_builder_set_member_name(b, "size");
        json_builder_add_int_value(b, (gint64)total);
        json_builder_set_member_name(b, "manifest_size");
        json_builder_add_int_value(b, (gint64)g_bytes_get_size(i->manifest));
        json_builder_set_member_name(b, "config_size");
        json_builder_add_int_value(b, (gint64)g_bytes_get_size(i->config));
        add_digest(b, "chain_id", i->chain_id);
        return add_config(b, config, error) && add_history(b, config, error);
}

/** image_record() - the record of @i under @name (NULL: without one); takes @rootfs over, not @platforms */
JsonNode *image_record(const Image *i, const char *name, JsonNode *rootfs, JsonArray *platforms, GError **error) {
        g_autoptr(JsonBuilder) b = json_builder_new();
        g_autoptr(JsonNode) where = rootfs, root = NULL;
        g_autofree char *text = NULL;

        json_builder_begin_object(b);
        if (name)
                add_string(b, "name", name);
        if (!add_members(b, i, error))
                return NULL;
        json_builder_set_member_name(b, "rootfs");
        json_builder_add_value(b, g_steal_pointer(&where));
        add_index(b, i, platforms);
        json_builder_end_object(b);
        root = json_builder_get_root(b);
        text = json_text(root);
        if (strlen(text) > STORE_RESULT_MAX / 2) {
                store_fail(error, STORE_FAIL_EXHAUSTED, "The image's configuration is too large");
                return NULL;
        }
        return g_steal_pointer(&root);
}
