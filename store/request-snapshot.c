/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the operations on snapshots read from their requests.
 *
 * Snapshots are the manager's: here they are open directories that came with the request, and the ids of the chains
 * they stand on.
 */

#include <string.h>

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

static gboolean read_choice(Request *r, const char *member, const char *const *choices, guint *ret, GError **error) {
        const char *text;

        *ret = 0;
        if (!json_string(r->members, member, REQUEST_WHAT, &text, error))
                return FALSE;
        for (guint i = 0; text && choices[i]; i++)
                if (strcmp(text, choices[i]) == 0) {
                        *ret = i;
                        return TRUE;
                }
        return !text || store_fail(error, STORE_FAIL_INVALID, "'%s' of the request cannot be '%.40s'", member, text);
}

/** request_diff() - {"digest","diff_id","size","media_type"}, of a list {"size"} */
JsonNode *request_diff(Request *r, GError **error) {
        static const char *const known[] = { "from", "to", "format", "compression", NULL };
        static const char *const formats[] = { "tar", "list", NULL };
        static const char *const compressions[] = { "none", "gzip", "zstd", NULL };
        static const Compression values[] = { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD };
        DiffOptions o = { .upper_fd = -1 };
        guint format, compression;

        if (!request_members(r, known, error) || !json_string(r->members, "from", REQUEST_WHAT, &o.from, error) ||
            !json_string(r->members, "to", REQUEST_WHAT, &o.to, error) ||
            !read_choice(r, "format", formats, &format, error) ||
            !read_choice(r, "compression", compressions, &compression, error))
                return NULL;
        if (r->n_fds < 1 || r->n_fds > 2) {
                store_fail(error, STORE_FAIL_INVALID, "The request came without an output");
                return NULL;
        }
        o.from = o.from ? o.from : "";
        o.to = o.to ? o.to : "";
        o.list = format == 1;
        o.compression = values[compression];
        o.output_fd = r->fds[0];
        if (r->n_fds > 1)
                o.upper_fd = r->fds[1];
        return request_store(r, error) ? store_diff(r->store, r->job, &o, error) : NULL;
}

/** request_apply() - {"diff_id","size"} */
JsonNode *request_apply(Request *r, GError **error) {
        static const char *const known[] = { "digest", "limits", NULL };
        const char *digest;

        if (!request_members(r, known, error) || !json_string(r->members, "digest", REQUEST_WHAT, &digest, error) ||
            !request_limits(r, error))
                return NULL;
        if (digest && digest[0] == '\0')
                digest = NULL;
        if (r->n_fds != 2) {
                store_fail(error, STORE_FAIL_INVALID, "The request came without a layer and a snapshot");
                return NULL;
        }
        return request_store(r, error) ? store_apply(r->store, r->job, digest, r->fds[0], r->fds[1], error) : NULL;
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
