/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * root, linux.rootfsPropagation, linux.maskedPaths and linux.readonlyPaths.
 *
 * The root is the caller's directory or overlay (PlanRootfs) when there is one, else root.path of
 * the configuration. Paths are only passed on: whether they exist is found out by the shim, in-root.
 */

#include <sys/mount.h>

#include "plan/build-internal.h"

static gboolean build_propagation(Build *b, GError **error) {
        static const struct {
                const char *name;
                guint32 flag;
        } modes[] = { { "shared", MS_SHARED },
                      { "slave", MS_SLAVE },
                      { "private", MS_PRIVATE },
                      { "unbindable", MS_UNBINDABLE } };
        const char *name = NULL;

        if (!field_string(b->linux_, "linux.", "rootfsPropagation", &name, error))
                return FALSE;
        if (!name || !*name)
                return TRUE;
        for (gsize i = 0; i < G_N_ELEMENTS(modes); i++) {
                if (g_str_equal(name, modes[i].name))
                        b->plan.rootfs.propagation = modes[i].flag;
                else if (*name == 'r' && g_str_equal(name + 1, modes[i].name))
                        b->plan.rootfs.propagation = modes[i].flag | MS_REC;
                else
                        continue;
                return TRUE;
        }
        return plan_fail(error, PLAN_ERROR_INVALID, "linux.rootfsPropagation: unknown mode \"%s\"", name);
}

static gboolean build_layers(Build *b, const char *const *layers, struct plan_list *ret, GError **error) {
        gsize n = 0;

        while (layers && layers[n])
                if (!build_path("rootfs", layers[n++], error))
                        return FALSE;
        if (n > 0)
                *ret = writer_strings(&b->writer, layers, n);
        return TRUE;
}

static gboolean build_given_rootfs(Build *b, const PlanRootfs *rootfs, GError **error) {
        struct plan_rootfs *r = &b->plan.rootfs;

        if (rootfs->directory) {
                r->kind = PLAN_ROOTFS_DIRECTORY;
                r->path = writer_string(&b->writer, rootfs->directory);
                return build_path("rootfs", rootfs->directory, error);
        }
        if (!build_layers(b, rootfs->lowers, &r->lowers, error) || !build_layers(b, rootfs->data, &r->data, error))
                return FALSE;
        if (r->lowers.n == 0)
                return plan_fail(error, PLAN_ERROR_INVALID, "rootfs: neither a directory nor a lower layer is given");
        if ((rootfs->upper && !build_path("rootfs", rootfs->upper, error)) ||
            (rootfs->work && !build_path("rootfs", rootfs->work, error)))
                return FALSE;
        r->kind = PLAN_ROOTFS_OVERLAY;
        r->upper = writer_string(&b->writer, rootfs->upper);
        r->work = writer_string(&b->writer, rootfs->work);
        if (rootfs->ephemeral)
                b->plan.flags |= PLAN_EPHEMERAL;
        return TRUE;
}

/** build_rootfs() - Section "Root" and "Rootfs Mount Propagation". */
gboolean build_rootfs(Build *b, GError **error) {
        gboolean readonly = FALSE;
        JsonObject *root = NULL;
        const char *path = NULL;

        if (!field_object(b->root, "", "root", &root, error) || !field_string(root, "root.", "path", &path, error) ||
            !field_bool(root, "root.", "readonly", &readonly, error) || !build_propagation(b, error))
                return FALSE;
        if (readonly)
                b->plan.flags |= PLAN_ROOTFS_READONLY;
        if (b->context->rootfs)
                return build_given_rootfs(b, b->context->rootfs, error);
        if (!path || !*path)
                return plan_fail(error, PLAN_ERROR_INVALID, "root.path: is missing");
        if (!build_path("root.path", path, error))
                return FALSE;
        b->plan.rootfs.kind = PLAN_ROOTFS_DIRECTORY;
        b->plan.rootfs.path = writer_string(&b->writer, path);
        return TRUE;
}

static gboolean build_list(Build *b, const char *name, struct plan_list *ret, GError **error) {
        g_autofree char *field = g_strconcat("linux.", name, NULL);
        g_autoptr(GPtrArray) paths = NULL;

        if (!field_strings(b->linux_, "linux.", name, &paths, error))
                return FALSE;
        for (guint i = 0; paths && i < paths->len; i++)
                if (!build_path(field, paths->pdata[i], error))
                        return FALSE;
        if (paths)
                *ret = writer_strings(&b->writer, (const char *const *)paths->pdata, paths->len);
        return TRUE;
}

/** build_paths() - Sections "Masked Paths" and "Readonly Paths". */
gboolean build_paths(Build *b, GError **error) {
        return build_list(b, "maskedPaths", &b->plan.masked_paths, error) &&
               build_list(b, "readonlyPaths", &b->plan.readonly_paths, error);
}
