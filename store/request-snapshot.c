/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the operations on snapshots read from their requests.
 *
 * Snapshots are the manager's: here they are open directories that came with the request, and the ids of the chains
 * they stand on.
 */

#include "store/error.h"
#include "store/json.h"
#include "store/request.h"
#include "store/snapshot.h"
#include "store/upper.h"

/** request_commit() - {"chain_id","diff_id","size","inodes","rootfs","layers"} */
JsonNode *request_commit(Request *r, GError **error) {
        static const char *const known[] = { "parent", "rootfs", NULL };
        const char *parent, *rootfs;
        RootfsForm form;

        if (!request_members(r, known, error) || !json_string(r->members, "parent", REQUEST_WHAT, &parent, error) ||
            !json_string(r->members, "rootfs", REQUEST_WHAT, &rootfs, error) ||
            !rootfs_form_parse(rootfs, &form, error))
                return NULL;
        if (r->n_fds != 1) {
                store_fail(error, STORE_FAIL_INVALID, "The request came without a snapshot");
                return NULL;
        }
        return request_store(r, error)
                       ? store_commit(r->store, r->job, parent ? parent : "", form, r->fds[0], &r->held, error)
                       : NULL;
}

/** request_usage() - {"usage":[{"bytes","inodes"}]}, one for each directory */
JsonNode *request_usage(Request *r, GError **error) {
        static const char *const known[] = { NULL };
        g_autoptr(JsonArray) list = json_array_new();
        JsonObject *o;

        if (!request_members(r, known, error))
                return NULL;
        for (gsize i = 0; i < r->n_fds; i++) {
                guint64 bytes, inodes;

                if (!upper_usage(r->job, r->fds[i], &bytes, &inodes, error))
                        return NULL;
                o = json_object_new();
                json_object_set_int_member(o, "bytes", (gint64)bytes);
                json_object_set_int_member(o, "inodes", (gint64)inodes);
                json_array_add_object_element(list, o);
        }
        o = json_object_new();
        json_object_set_array_member(o, "usage", g_steal_pointer(&list));
        return request_object(o);
}
