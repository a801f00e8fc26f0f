/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The request of shared/registry-protocol.h, read and checked.
 *
 * A member that is not known is refused by name. Limits that are an import's alone are left to the import.
 */

#include <string.h>

#include "registry/pull.h"
#include "store/digest.h"
#include "store/error.h"
#include "store/image.h"
#include "store/json.h"

#define WHAT "the request"
#define RETRIES_MAX 100
#define TIME_MIN_USEC ((guint64)1000)
#define TIME_MAX_USEC ((guint64)3600 * G_USEC_PER_SEC)

void pull_clear(Pull *p) {
        reference_clear(&p->reference);
        credentials_clear(&p->credentials);
        g_clear_pointer(&p->platform, g_free);
        g_clear_pointer(&p->have, g_hash_table_unref);
        g_clear_pointer(&p->token_hosts, g_ptr_array_unref);
}

static gboolean read_bool(JsonObject *o, const char *member, gboolean *ret, GError **error) {
        JsonNode *n = json_object_get_member(o, member);

        if (n && (!JSON_NODE_HOLDS_VALUE(n) || json_node_get_value_type(n) != G_TYPE_BOOLEAN))
                return store_fail(error, STORE_FAIL_INVALID, "Member '%s' of the request is not true or false", member);
        *ret = n && json_node_get_boolean(n);
        return TRUE;
}

static gboolean read_have(Pull *p, JsonObject *o, GError **error) {
        JsonArray *list;
        guint8 digest[DIGEST_SIZE];

        if (!json_array(o, "have", WHAT, &list, error))
                return FALSE;
        for (guint i = 0; list && i < json_array_get_length(list); i++) {
                const char *s = json_element_string(list, i, "have", error);

                if (!s || !digest_parse(s, digest, error))
                        return FALSE;
                g_hash_table_add(p->have, g_strdup(s));
        }
        return TRUE;
}

static gboolean read_token_hosts(Pull *p, JsonObject *o, GError **error) {
        JsonArray *list;

        if (!json_array(o, "token_hosts", WHAT, &list, error))
                return FALSE;
        for (guint i = 0; list && i < json_array_get_length(list); i++) {
                const char *s = json_element_string(list, i, "token_hosts", error);

                if (!s)
                        return FALSE;
                g_ptr_array_add(p->token_hosts, g_ascii_strdown(s, -1));
        }
        g_ptr_array_add(p->token_hosts, NULL);
        return TRUE;
}

static gboolean read_time(JsonObject *limits, const char *member, gint64 *to, GError **error) {
        guint64 usec;

        if (!json_object_has_member(limits, member))
                return TRUE;
        if (!json_size(limits, member, "the limits", &usec, error))
                return FALSE;
        if (usec < TIME_MIN_USEC || usec > TIME_MAX_USEC)
                return store_fail(error, STORE_FAIL_INVALID, "Limit '%s' must be from a millisecond to an hour",
                                  member);
        *to = (gint64)usec;
        return TRUE;
}

static gboolean read_limits(Pull *p, JsonObject *o, GError **error) {
        static const char *const ours[] = { "connect_usec", "stall_usec", "retries", NULL };
        g_autoptr(GList) names = NULL;
        JsonObject *limits;
        guint64 value;

        if (!json_object(o, "limits", WHAT, &limits, error))
                return FALSE;
        if (!limits)
                return TRUE;
        if (!read_time(limits, ours[0], &p->times.connect_usec, error) ||
            !read_time(limits, ours[1], &p->times.stall_usec, error))
                return FALSE;
        names = json_object_get_members(limits);
        for (GList *l = names; l; l = l->next) {
                if (!json_size(limits, l->data, "the limits", &value, error))
                        return FALSE;
                if (strcmp(l->data, "retries") == 0)
                        p->retries = (guint)MIN(value, RETRIES_MAX);
                else if (!g_strv_contains(ours, l->data) && !store_limits_set(&p->limits, l->data, value, error))
                        return FALSE;
        }
        return TRUE;
}

static gboolean check_members(JsonObject *o, GError **error) {
        static const char *const known[] = { "operation", "reference",   "platform",    "digest_only", "have",
                                             "insecure",  "credentials", "token_hosts", "limits",      NULL };
        g_autoptr(GList) names = json_object_get_members(o);

        for (GList *l = names; l; l = l->next)
                if (!g_strv_contains(known, l->data))
                        return store_fail(error, STORE_FAIL_INVALID, "The request has an unknown member '%.40s'",
                                          (char *)l->data);
        return TRUE;
}

static gboolean read_members(Pull *p, JsonObject *o, GError **error) {
        const char *reference, *platform;

        if (!check_members(o, error) || !json_string(o, "reference", WHAT, &reference, error) ||
            !json_string(o, "platform", WHAT, &platform, error))
                return FALSE;
        if (!reference)
                return store_fail(error, STORE_FAIL_INVALID, "The request names no image");
        p->platform = platform && platform[0] != '\0' ? g_strdup(platform) : image_platform();
        return reference_parse(reference, &p->reference, error) &&
               read_bool(o, "digest_only", &p->digest_only, error) && read_bool(o, "insecure", &p->insecure, error) &&
               read_bool(o, "credentials", &p->has_credentials, error) && read_have(p, o, error) &&
               read_token_hosts(p, o, error) && read_limits(p, o, error);
}

/** pull_read() - read a request into @p, which is to be cleared in any case */
gboolean pull_read(Pull *p, const char *text, gsize size, GError **error) {
        g_autoptr(JsonNode) root = NULL;

        *p = (Pull){
                .have = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                .token_hosts = g_ptr_array_new_with_free_func(g_free),
                .retries = 4,
                .times = { .connect_usec = 15 * G_USEC_PER_SEC, .stall_usec = 30 * G_USEC_PER_SEC },
        };
        store_limits_init(&p->limits);
        root = json_parse(text, size, "The request", error);
        if (!root)
                return FALSE;
        if (!JSON_NODE_HOLDS_OBJECT(root))
                return store_fail(error, STORE_FAIL_INVALID, "The request is not a JSON object");
        return read_members(p, json_node_get_object(root), error);
}
