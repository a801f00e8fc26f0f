/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading a bundle.
 *
 * Relative paths of config.json, the root file system's and those of bind mounts, are relative to the bundle (config.md
 * "Root", "Mounts"); they are made absolute here, so that plan/ and the maker never depend on a working directory.
 */

#include "oci/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan/fields.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/macros.h"

#define CONFIG_MAX (16U << 20)

/** bundle_clear() - Frees the content. */
void bundle_clear(Bundle *b) {
        g_clear_pointer(&b->path, g_free);
        g_clear_pointer(&b->rootfs, g_free);
        g_clear_pointer(&b->config, free);
        g_clear_pointer(&b->spec, json_node_unref);
}

static JsonNode *load(const char *path, char **ret_text, gsize *ret_size, GError **error) {
        g_autoptr(GError) inner = NULL;
        JsonNode *node;
        int r;

        r = file_read_at(AT_FDCWD, path, CONFIG_MAX, ret_text, ret_size);
        if (r < 0) {
                (void)oci_fail_errno(error, r, "%s", path);
                return NULL;
        }
        node = spec_parse(*ret_text, *ret_size, &inner);
        if (!node)
                (void)oci_fail(error, OCI_ERROR_FAILED, "%s: %s", path, inner->message);
        else if (!JSON_NODE_HOLDS_OBJECT(node)) {
                g_clear_pointer(&node, json_node_unref);
                (void)oci_fail(error, OCI_ERROR_FAILED, "%s: is not an object", path);
        }
        return node;
}

/** json_load() - A file that holds an object; NULL with the error set. */
JsonNode *json_load(const char *path, GError **error) {
        _cleanup_free_ char *text = NULL;
        gsize size;

        return load(path, &text, &size, error);
}

static gboolean resolve_root(Bundle *b, JsonObject *config, GError **error) {
        g_autofree char *path = NULL;
        const char *given = NULL;
        JsonObject *root = NULL;
        char *real;

        if (!field_object(config, "", "root", &root, error) || !field_string(root, "root.", "path", &given, error))
                return FALSE;
        if (!given || !*given)
                return oci_fail(error, OCI_ERROR_FAILED, "root.path: is missing");
        path = *given == '/' ? g_strdup(given) : g_build_filename(b->path, given, NULL);
        real = realpath(path, NULL);
        if (!real)
                return oci_fail_errno(error, errno, "root.path: %s", path);
        b->rootfs = g_strdup(real);
        free(real);
        json_object_set_string_member(root, "path", b->rootfs);
        return TRUE;
}

static gboolean is_bind(JsonObject *mount) {
        g_autoptr(GPtrArray) options = NULL;
        const char *type = NULL;

        if (field_string(mount, "", "type", &type, NULL) && type &&
            (g_str_equal(type, "bind") || g_str_equal(type, "rbind")))
                return TRUE;
        if (!field_strings(mount, "", "options", &options, NULL))
                return FALSE;
        for (guint i = 0; options && i < options->len; i++)
                if (g_str_equal(options->pdata[i], "bind") || g_str_equal(options->pdata[i], "rbind"))
                        return TRUE;
        return FALSE;
}

static gboolean resolve_mounts(Bundle *b, JsonObject *config, GError **error) {
        JsonArray *mounts = NULL;

        if (!field_array(config, "", "mounts", &mounts, error))
                return FALSE;
        for (guint i = 0; mounts && i < json_array_get_length(mounts); i++) {
                const char *source = NULL;
                JsonObject *mount;

                if (!element_object(mounts, "mounts", i, &mount, error) ||
                    !field_string(mount, "mounts[].", "source", &source, error))
                        return FALSE;
                if (source && *source && *source != '/' && is_bind(mount)) {
                        g_autofree char *absolute = g_build_filename(b->path, source, NULL);

                        json_object_set_string_member(mount, "source", absolute);
                }
        }
        return TRUE;
}

/**
 * bundle_load() - Reads a bundle.
 * @path: NULL for the working directory
 * @config: another file than config.json, relative to the bundle, or NULL
 */
gboolean bundle_load(const char *path, const char *config, Bundle *ret, GError **error) {
        g_autofree char *file = NULL;
        char *real = realpath(path ? path : ".", NULL);

        if (!real)
                return oci_fail_errno(error, errno, "bundle %s", path ? path : ".");
        ret->path = g_strdup(real);
        free(real);
        file = config && *config == '/' ? g_strdup(config)
                                        : g_build_filename(ret->path, config ? config : "config.json", NULL);
        ret->spec = load(file, &ret->config, &ret->config_size, error);
        if (!ret->spec)
                return FALSE;
        return resolve_root(ret, json_node_get_object(ret->spec), error) &&
               resolve_mounts(ret, json_node_get_object(ret->spec), error);
}
