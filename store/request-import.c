/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the operations that bring something into the store read from their requests: import and rootfs.
 *
 * Each keeps its working directory in the request, so that what it has published is not collected before the manager
 * has written it down.
 */

#include "store/error.h"
#include "store/import.h"
#include "store/json.h"
#include "store/request.h"
#include "store/unpack.h"

static gboolean read_form(Request *r, RootfsForm *ret, GError **error) {
        const char *name;

        return json_string(r->members, "rootfs", REQUEST_WHAT, &name, error) && rootfs_form_parse(name, ret, error);
}

/* Blobs that the archive may leave out, each once; an empty list is none. */
static gboolean read_have(Request *r, GHashTable **ret, GError **error) {
        g_autoptr(GHashTable) have = g_hash_table_new_full(digest_hash_func, digest_equal_func, NULL, g_free);
        JsonArray *array;

        if (!json_array(r->members, "have", REQUEST_WHAT, &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                JsonObject *o = json_element(array, i, "have", error);
                g_autofree UnpackHave *one = g_new0(UnpackHave, 1);
                const char *digest = NULL, *diff_id = NULL;

                if (!o || !json_string(o, "digest", "have", &digest, error) ||
                    !json_string(o, "diff_id", "have", &diff_id, error) ||
                    !json_size(o, "size", "have", &one->size, error))
                        return FALSE;
                if (!digest || !diff_id)
                        return store_fail(error, STORE_FAIL_INVALID, "What is in 'have' is no layer");
                if (!digest_parse(digest, one->digest, error) || !digest_parse(diff_id, one->diff_id, error))
                        return FALSE;
                g_hash_table_replace(have, one->digest, one); /* the key is the value's */
                one = NULL;
        }
        *ret = g_steal_pointer(&have);
        return TRUE;
}

/** request_import() - {"images":[...]} */
JsonNode *request_import(Request *r, GError **error) {
        static const char *const known[] = { "name", "format",  "size",   "platform", "rootfs",
                                             "have", "ordered", "limits", NULL };
        g_autoptr(GHashTable) have = NULL;
        ImportOptions options = { .fd = -1 };

        if (!request_members(r, known, error) || !json_string(r->members, "name", REQUEST_WHAT, &options.name, error) ||
            !json_string(r->members, "format", REQUEST_WHAT, &options.format, error) ||
            !json_string(r->members, "platform", REQUEST_WHAT, &options.platform, error) ||
            !json_size(r->members, "size", REQUEST_WHAT, &options.size, error) ||
            !request_boolean(r, "ordered", &options.ordered, error) || !read_form(r, &options.rootfs, error) ||
            !read_have(r, &have, error) || !request_limits(r, error))
                return NULL;
        options.have = have;
        if (!options.format)
                options.format = "auto";
        if (options.name && options.name[0] == '\0')
                options.name = NULL;
        if (options.platform && options.platform[0] == '\0')
                options.platform = NULL;
        if (r->n_fds != 1) {
                store_fail(error, STORE_FAIL_INVALID, "The request came without an archive");
                return NULL;
        }
        options.fd = r->fds[0];
        return request_store(r, error) ? store_import(r->store, r->job, &options, &r->held, error) : NULL;
}

/** request_rootfs() - {"rootfs":ROOTFS} */
JsonNode *request_rootfs(Request *r, GError **error) {
        static const char *const known[] = { "chain_id", "rootfs", NULL };
        const char *chain_id;
        RootfsForm form;

        if (!request_members(r, known, error) || !json_string(r->members, "chain_id", REQUEST_WHAT, &chain_id, error) ||
            !read_form(r, &form, error))
                return NULL;
        if (form == ROOTFS_NONE) {
                store_fail(error, STORE_FAIL_INVALID, "A root file system is made as erofs or checkout");
                return NULL;
        }
        return request_store(r, error) ? store_rootfs(r->store, r->job, chain_id, form, &r->held, error) : NULL;
}
