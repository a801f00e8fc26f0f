/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.devices, and the nodes and links every container has (config-linux.md "Default Devices",
 * config.md "/dev symbolic links").
 *
 * A device of the specification takes the place of a default one with the same path. Where a bind
 * mount covers /dev nothing is added, because it would be created on the host. Access by the
 * device controller is another section (build-device-policy.c).
 */

#include <string.h>

#include "plan/build-internal.h"

static const struct {
        const char *path;
        guint32 major, minor;
} default_devices[] = {
        { "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },    { "/dev/full", 1, 7 },
        { "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
};

static const struct {
        const char *target, *path;
} default_links[] = {
        { "pts/ptmx", "/dev/ptmx" },          { "/proc/self/fd", "/dev/fd" },       { "/proc/self/fd/0", "/dev/stdin" },
        { "/proc/self/fd/1", "/dev/stdout" }, { "/proc/self/fd/2", "/dev/stderr" }, { "/proc/kcore", "/dev/core" },
};

static guint32 device_type(const char *type) {
        if (!type || strlen(type) != 1)
                return 0;
        switch (*type) {
        case 'c':
        case 'u':
                return S_IFCHR;
        case 'b':
                return S_IFBLK;
        case 'p':
                return S_IFIFO;
        default:
                return 0;
        }
}

static gboolean build_device(Build *b, JsonObject *object, guint i, GArray *devices, GHashTable *paths,
                             GError **error) {
        g_autofree char *field = g_strdup_printf("linux.devices[%u].", i),
                        *path_field = g_strconcat(field, "path", NULL);
        const char *type = NULL, *path = NULL;
        struct plan_device device = {};
        gint64 mode = 0666;

        if (!field_string(object, field, "type", &type, error) || !field_string(object, field, "path", &path, error) ||
            !field_int(object, field, "fileMode", 0, 0177777, &mode, error) ||
            !field_uint32(object, field, "major", &device.major, error) ||
            !field_uint32(object, field, "minor", &device.minor, error) ||
            !field_uint32(object, field, "uid", &device.uid, error) ||
            !field_uint32(object, field, "gid", &device.gid, error))
                return FALSE;
        device.type = device_type(type);
        if (!device.type)
                return plan_fail(error, PLAN_ERROR_INVALID, "%stype: \"%s\" is not one of c, b, u, p", field,
                                 type ? type : "");
        if (!path)
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: is missing", path_field);
        if (!build_path(path_field, path, error))
                return FALSE;
        if (device.type != S_IFIFO && (!field_given(object, "major") || !field_given(object, "minor")))
                return plan_fail(error, PLAN_ERROR_INVALID, "%smajor, minor: are needed for this type", field);
        if (!g_hash_table_add(paths, (gpointer)path))
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: \"%s\" is given twice", path_field, path);
        device.path = writer_string(&b->writer, path);
        device.mode = (guint32)mode & 07777;
        g_array_append_val(devices, device);
        return TRUE;
}

static void build_defaults(Build *b, GArray *devices, GHashTable *paths) {
        g_autoptr(GArray) links = g_array_new(FALSE, TRUE, sizeof(struct plan_link));

        for (gsize i = 0; i < G_N_ELEMENTS(default_devices); i++) {
                struct plan_device device = {
                        .type = S_IFCHR,
                        .mode = 0666,
                        .major = default_devices[i].major,
                        .minor = default_devices[i].minor,
                };

                if (g_hash_table_contains(paths, default_devices[i].path))
                        continue;
                device.path = writer_string(&b->writer, default_devices[i].path);
                g_array_append_val(devices, device);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(default_links); i++) {
                struct plan_link link = {};

                if (g_hash_table_contains(paths, default_links[i].path))
                        continue;
                link.target = writer_string(&b->writer, default_links[i].target);
                link.path = writer_string(&b->writer, default_links[i].path);
                g_array_append_val(links, link);
        }
        b->plan.links = writer_array(&b->writer, links->data, links->len, sizeof(struct plan_link));
}

/** build_devices() - Sections "Devices" and "Default Devices". */
gboolean build_devices(Build *b, GError **error) {
        g_autoptr(GArray) devices = g_array_new(FALSE, TRUE, sizeof(struct plan_device));
        g_autoptr(GHashTable) paths = g_hash_table_new(g_str_hash, g_str_equal);
        JsonArray *array = NULL;

        if (!field_array(b->linux_, "linux.", "devices", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                JsonObject *object;

                if (!element_object(array, "linux.devices", i, &object, error) ||
                    !build_device(b, object, i, devices, paths, error))
                        return FALSE;
        }
        if (!b->dev_is_bind)
                build_defaults(b, devices, paths);
        b->plan.devices = writer_array(&b->writer, devices->data, devices->len, sizeof(struct plan_device));
        return TRUE;
}
