/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Requests: JSON in, JSON out.
 *
 * The manager's socket and the command line meet here, so that both take the same path. A member that is not known is
 * refused by name. The job is the caller's, who may cancel it from another thread.
 */

#include "store/request.h"

#include <string.h>

#include "store/error.h"
#include "store/image.h"
#include "store/import.h"
#include "store/json.h"

#define WHAT "the request"

typedef struct {
        const char *directory;
        StoreJob *job;
        JsonObject *members;
        int fd;
} Request;

static gboolean only_members(JsonObject *o, const char *const *known, GError **error) {
        g_autoptr(GList) names = json_object_get_members(o);

        for (GList *l = names; l; l = l->next)
                if (!g_strv_contains(known, l->data))
                        return store_fail(error, STORE_FAIL_INVALID, "The request has an unknown member '%.40s'",
                                          (char *)l->data);
        return TRUE;
}

static gboolean read_limits(Request *r, GError **error) {
        g_autoptr(GList) names = NULL;
        JsonObject *limits;

        if (!json_object(r->members, "limits", WHAT, &limits, error))
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

static JsonNode *run_import(Request *r, GError **error) {
        static const char *const known[] = { "operation", "namespace", "name",   "format",
                                             "size",      "platform",  "limits", NULL };
        ImportOptions options = { .fd = r->fd };
        g_autoptr(Store) store = NULL;

        if (!only_members(r->members, known, error) ||
            !json_string(r->members, "namespace", WHAT, &options.ns, error) ||
            !json_string(r->members, "name", WHAT, &options.name, error) ||
            !json_string(r->members, "format", WHAT, &options.format, error) ||
            !json_string(r->members, "platform", WHAT, &options.platform, error) ||
            !json_size(r->members, "size", WHAT, &options.size, error) || !read_limits(r, error))
                return NULL;
        if (!options.format)
                options.format = "auto";
        if (options.name && options.name[0] == '\0')
                options.name = NULL;
        if (options.platform && options.platform[0] == '\0')
                options.platform = NULL;
        if (r->fd < 0) {
                store_fail(error, STORE_FAIL_INVALID, "The request came without an archive");
                return NULL;
        }
        store = store_open(r->directory, error);
        return store ? store_import(store, r->job, &options, error) : NULL;
}

static JsonNode *run_rootfs(Request *r, GError **error) {
        static const char *const known[] = { "operation", "chain_id", NULL };
        g_autoptr(Store) store = NULL;
        const char *chain_id;

        if (!only_members(r->members, known, error) || !json_string(r->members, "chain_id", WHAT, &chain_id, error))
                return NULL;
        store = store_open(r->directory, error);
        return store ? store_rootfs(store, r->job, chain_id, error) : NULL;
}

static JsonNode *run_remove(Request *r, GError **error) {
        static const char *const known[] = { "operation", "namespace", "name", "live_chains", NULL };
        g_autoptr(GPtrArray) live = g_ptr_array_new();
        g_autoptr(Store) store = NULL;
        const char *ns, *name;
        JsonArray *chains;

        if (!only_members(r->members, known, error) || !json_string(r->members, "namespace", WHAT, &ns, error) ||
            !json_string(r->members, "name", WHAT, &name, error) ||
            !json_array(r->members, "live_chains", WHAT, &chains, error))
                return NULL;
        for (guint i = 0; chains && i < json_array_get_length(chains); i++) {
                const char *id = json_element_string(chains, i, "live_chains", error);

                if (!id)
                        return NULL;
                g_ptr_array_add(live, (gpointer)id);
        }
        g_ptr_array_add(live, NULL);
        store = store_open(r->directory, error);
        return store ? store_remove(store, r->job, ns, name, (const char *const *)live->pdata, error) : NULL;
}

static JsonNode *run_verify(Request *r, GError **error) {
        static const char *const known[] = { "operation", "namespace", "name", NULL };
        g_autoptr(Store) store = NULL;
        const char *ns, *name;

        if (!only_members(r->members, known, error) || !json_string(r->members, "namespace", WHAT, &ns, error) ||
            !json_string(r->members, "name", WHAT, &name, error))
                return NULL;
        store = store_open(r->directory, error);
        return store ? store_verify(store, r->job, ns, name, error) : NULL;
}

/** request_run() - carry out one request */
char *request_run(const char *directory, StoreJob *job, const char *text, gsize size, int fd, GError **error) {
        static const struct {
                const char *name;
                JsonNode *(*run)(Request *r, GError **error);
        } operations[] = {
                { "import", run_import },
                { "rootfs", run_rootfs },
                { "remove", run_remove },
                { "verify", run_verify },
        };
        Request r = { .directory = directory, .job = job, .fd = fd };
        g_autoptr(JsonNode) root = json_parse(text, size, "The request", error);
        const char *operation;

        if (!root)
                return NULL;
        if (!JSON_NODE_HOLDS_OBJECT(root)) {
                store_fail(error, STORE_FAIL_INVALID, "The request is not a JSON object");
                return NULL;
        }
        r.members = json_node_get_object(root);
        if (!json_string(r.members, "operation", WHAT, &operation, error))
                return NULL;
        for (gsize i = 0; operation && i < G_N_ELEMENTS(operations); i++) {
                g_autoptr(JsonNode) result = NULL;

                if (strcmp(operations[i].name, operation) != 0)
                        continue;
                result = operations[i].run(&r, error);
                return result ? record_text(result) : NULL;
        }
        store_fail(error, STORE_FAIL_NOT_FOUND, "There is no operation '%.40s'", operation ? operation : "");
        return NULL;
}
