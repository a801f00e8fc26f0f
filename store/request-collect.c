/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the operations that look after the store read from their requests: collect, check, why.
 *
 * Roots of a collection are asked for when it holds the repository, so that they and what running operations have
 * pinned are of one moment.
 */

#include <string.h>

#include "store/collect.h"
#include "store/error.h"
#include "store/json.h"
#include "store/request.h"

static gboolean add_roots(JsonObject *o, const char *member, GHashTable *to, GError **error) {
        JsonArray *array;

        if (!json_array(o, member, "the roots", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                const char *id = json_element_string(array, i, member, error);
                guint8 digest[DIGEST_SIZE];

                if (!id || !digest_parse(id, digest, error))
                        return FALSE;
                g_hash_table_add(to, g_strdup(id + strlen("sha256:")));
        }
        return TRUE;
}

/* A worker that got no list at all must not take that for an empty one. */
static gboolean parse_roots(const char *text, Roots *ret, GError **error) {
        g_autoptr(JsonNode) root = json_parse(text, strlen(text), "The list of roots", error);
        JsonObject *o;

        if (!root)
                return FALSE;
        o = JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
        if (!o || !json_object_has_member(o, "chains") || !json_object_has_member(o, "contents"))
                return store_fail(error, STORE_FAIL_INVALID, "The roots are not a list of chains and contents");
        return add_roots(o, "chains", ret->chains, error) && add_roots(o, "contents", ret->contents, error);
}

static gboolean ask_roots(void *userdata, Roots *ret, GError **error) {
        Request *r = userdata;
        g_autofree char *text = r->roots(r->userdata, error);

        return text && parse_roots(text, ret, error);
}

/** request_collect() - {"freed","objects","chains","contents"} */
JsonNode *request_collect(Request *r, GError **error) {
        static const char *const known[] = { "dry_run", NULL };
        gboolean dry_run;

        if (!request_members(r, known, error) || !request_boolean(r, "dry_run", &dry_run, error))
                return NULL;
        return request_store(r, error) ? store_collect(r->store, r->job, dry_run, ask_roots, r, error) : NULL;
}

/** request_check() - {"objects","bytes","damaged"} */
JsonNode *request_check(Request *r, GError **error) {
        static const char *const known[] = { "repair", "chains", "contents", NULL };
        g_auto(Roots) roots = { NULL };
        gboolean repair;

        roots_init(&roots);
        if (!request_members(r, known, error) || !request_boolean(r, "repair", &repair, error) ||
            !add_roots(r->members, "chains", roots.chains, error) ||
            !add_roots(r->members, "contents", roots.contents, error))
                return NULL;
        return request_store(r, error) ? store_check(r->store, r->job, repair, &roots, error) : NULL;
}

/** request_why() - {"chains","contents","layers"} */
JsonNode *request_why(Request *r, GError **error) {
        static const char *const known[] = { "object", NULL };
        guint8 object[DIGEST_SIZE];
        const char *hex;

        if (!request_members(r, known, error) || !json_string(r->members, "object", REQUEST_WHAT, &hex, error))
                return NULL;
        if (!hex || !digest_parse_hex(hex, object)) {
                store_fail(error, STORE_FAIL_INVALID, "'object' of the request is not 64 hexadecimal digits");
                return NULL;
        }
        return request_store(r, error) ? store_why(r->store, object, error) : NULL;
}
