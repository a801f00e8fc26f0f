/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Requests: JSON in, JSON out.
 *
 * The manager's socket and the command line meet here, so that both take the same path; what each operation reads from
 * a request stands in request-*.c. A member that is not known is refused by name. Reading overlay uppers takes a
 * capability that nothing which reads strangers' archives shall have, so each operation is taken from its own socket
 * only. The job is the caller's, who may cancel it from another thread.
 */

#include "store/request.h"

#include <string.h>

#include "store/error.h"
#include "store/image.h"
#include "store/json.h"

static const struct {
        const char *name;
        JsonNode *(*run)(Request *r, GError **error);
        RequestOrigin origin;
        gboolean trusted; /* reads only what is in the store: what came in under higher limits also goes out */
} operations[] = {
        { "import", request_import, REQUEST_STORE },
        { "rootfs", request_rootfs, REQUEST_STORE, TRUE },
        { "collect", request_collect, REQUEST_STORE },
        { "check", request_check, REQUEST_STORE, TRUE },
        { "why", request_why, REQUEST_STORE },
        { "save", request_save, REQUEST_STORE, TRUE },
        { "compose", request_compose, REQUEST_STORE, TRUE },
        { "content-commit", request_content_commit, REQUEST_STORE },
        { "content-read", request_content_read, REQUEST_STORE, TRUE },
        { "space", request_space, REQUEST_STORE },
        { "commit", request_commit, REQUEST_SNAPSHOTS },
        { "diff", request_diff, REQUEST_SNAPSHOTS },
        { "apply", request_apply, REQUEST_STORE },
        { "usage", request_usage, REQUEST_SNAPSHOTS },
};

/** request_members() - refuse members that are not among the NULL-terminated @known */
gboolean request_members(const Request *r, const char *const *known, GError **error) {
        g_autoptr(GList) names = json_object_get_members(r->members);

        for (GList *l = names; l; l = l->next)
                if (strcmp(l->data, "operation") != 0 && !g_strv_contains(known, l->data))
                        return store_fail(error, STORE_FAIL_INVALID, "The request has an unknown member '%.40s'",
                                          (char *)l->data);
        return TRUE;
}

/** request_boolean() - FALSE where the request has no such member */
gboolean request_boolean(const Request *r, const char *member, gboolean *ret, GError **error) {
        JsonNode *n = json_object_get_member(r->members, member);

        *ret = FALSE;
        if (!n)
                return TRUE;
        if (!JSON_NODE_HOLDS_VALUE(n) || json_node_get_value_type(n) != G_TYPE_BOOLEAN)
                return store_fail(error, STORE_FAIL_INVALID, "'%s' of the request is neither true nor false", member);
        *ret = json_node_get_boolean(n);
        return TRUE;
}

/** request_strings() - a list of strings, borrowed from the request; empty when it has no such member */
gboolean request_strings(const Request *r, const char *member, GPtrArray **ret, GError **error) {
        g_autoptr(GPtrArray) list = g_ptr_array_new();
        JsonArray *array;

        if (!json_array(r->members, member, REQUEST_WHAT, &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                const char *s = json_element_string(array, i, member, error);

                if (!s)
                        return FALSE;
                g_ptr_array_add(list, (gpointer)s);
        }
        *ret = g_steal_pointer(&list);
        return TRUE;
}

/** request_limits() - take the limits of an archive from the request */
gboolean request_limits(Request *r, GError **error) {
        g_autoptr(GList) names = NULL;
        JsonObject *limits;

        if (!json_object(r->members, "limits", REQUEST_WHAT, &limits, error))
                return FALSE;
        names = limits ? json_object_get_members(limits) : NULL;
        for (GList *l = names; l; l = l->next) {
                guint64 value;

                if (!json_size(limits, l->data, "limits", &value, error) ||
                    !store_limits_set(&r->job->limits, l->data, value, error))
                        return FALSE;
        }
        return TRUE;
}

/** request_object() - an object as the result */
JsonNode *request_object(JsonObject *o) {
        JsonNode *n = json_node_init_object(json_node_alloc(), o);

        json_object_unref(o);
        return n;
}

/** request_store() - the store of the request */
Store *request_store(Request *r, GError **error) {
        if (!r->store)
                r->store = store_open(r->directory, error);
        return r->store;
}

/** request_run() - carry out one request; @r has the caller's members set and is to be ended by request_done() */
char *request_run(Request *r, const char *text, gsize size, GError **error) {
        const char *operation;

        r->root = json_parse(text, size, "The request", error);
        if (!r->root)
                return NULL;
        if (!JSON_NODE_HOLDS_OBJECT(r->root)) {
                store_fail(error, STORE_FAIL_INVALID, "The request is not a JSON object");
                return NULL;
        }
        r->members = json_node_get_object(r->root);
        if (!json_string(r->members, "operation", REQUEST_WHAT, &operation, error))
                return NULL;
        for (gsize i = 0; operation && i < G_N_ELEMENTS(operations); i++) {
                g_autoptr(JsonNode) result = NULL;

                if (strcmp(operations[i].name, operation) != 0)
                        continue;
                if (r->origin != REQUEST_COMMAND && r->origin != operations[i].origin) {
                        store_fail(error, STORE_FAIL_INVALID, "Operation '%s' belongs to the other socket", operation);
                        return NULL;
                }
                if (operations[i].trusted)
                        store_limits_lift(&r->job->limits);
                result = operations[i].run(r, error);
                return result ? json_text(result) : NULL;
        }
        store_fail(error, STORE_FAIL_NOT_FOUND, "There is no operation '%.40s'", operation ? operation : "");
        return NULL;
}

/** request_done() - give up what the request holds: what it published now depends on the manager's records alone */
void request_done(Request *r) {
        g_clear_pointer(&r->held, ingest_end);
        g_clear_pointer(&r->store, store_close);
        g_clear_pointer(&r->root, json_node_unref);
        r->members = NULL;
}
