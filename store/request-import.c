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

static gboolean read_form(Request *r, RootfsForm *ret, GError **error) {
        const char *name;

        return json_string(r->members, "rootfs", REQUEST_WHAT, &name, error) && rootfs_form_parse(name, ret, error);
}

/** request_import() - {"images":[...]} */
JsonNode *request_import(Request *r, GError **error) {
        static const char *const known[] = { "name", "format", "size", "platform", "rootfs", "limits", NULL };
        ImportOptions options = { .fd = -1 };

        if (!request_members(r, known, error) || !json_string(r->members, "name", REQUEST_WHAT, &options.name, error) ||
            !json_string(r->members, "format", REQUEST_WHAT, &options.format, error) ||
            !json_string(r->members, "platform", REQUEST_WHAT, &options.platform, error) ||
            !json_size(r->members, "size", REQUEST_WHAT, &options.size, error) ||
            !read_form(r, &options.rootfs, error) || !request_limits(r, error))
                return NULL;
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
        return request_store(r, error) ? store_rootfs(r->store, r->job, chain_id, form, &r->held, error) : NULL;
}
