/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.namespaces, linux.uidMappings and gidMappings, hostname and domainname.
 *
 * A namespace is new, joined by path, or the host's when it is not listed. The shim always builds a
 * root of its own, so a new mount namespace is not negotiable. A host name without an own UTS
 * namespace would rename the host: refused.
 */

#include <sched.h>
#include <string.h>

#include "plan/build-internal.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#define ID_MAPS_MAX 340U /* user_namespaces(7) */

static const struct {
        const char *name;
        guint32 flag;
} types[] = {
        { "pid", CLONE_NEWPID }, { "network", CLONE_NEWNET }, { "mount", CLONE_NEWNS },      { "ipc", CLONE_NEWIPC },
        { "uts", CLONE_NEWUTS }, { "user", CLONE_NEWUSER },   { "cgroup", CLONE_NEWCGROUP }, { "time", CLONE_NEWTIME },
};

static guint32 type_flag(const char *name) {
        for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
                if (g_strcmp0(types[i].name, name) == 0)
                        return types[i].flag;
        return 0;
}

static gboolean build_one(Build *b, JsonObject *object, guint i, GArray *join, GError **error) {
        g_autofree char *field = g_strdup_printf("linux.namespaces[%u].", i);
        const char *type = NULL, *path = NULL;
        guint32 flag;

        if (!field_string(object, field, "type", &type, error) || !field_string(object, field, "path", &path, error))
                return FALSE;
        flag = type_flag(type);
        if (!flag)
                return plan_fail(error, PLAN_ERROR_INVALID, "%stype: unknown namespace \"%s\"", field,
                                 type ? type : "");
        if ((b->plan.clone_flags | b->joined) & flag)
                return plan_fail(error, PLAN_ERROR_INVALID, "%stype: \"%s\" is given twice", field, type);
        if (!path || !*path) {
                b->plan.clone_flags |= flag;
                return TRUE;
        }
        if (flag == CLONE_NEWNS)
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "%spath: joining a mount namespace is not supported",
                                 field);
        g_autofree char *path_field = g_strconcat(field, "path", NULL);
        if (!build_path(path_field, path, error))
                return FALSE;
        struct plan_namespace ns = { .clone_flag = flag, .path = writer_string(&b->writer, path) };
        g_array_append_val(join, ns);
        b->joined |= flag;
        return TRUE;
}

static gboolean map_field(JsonObject *object, const char *path, const char *name, guint32 *ret, GError **error) {
        if (!field_given(object, name))
                return plan_fail(error, PLAN_ERROR_INVALID, "%s%s: is missing", path, name);
        return field_uint32(object, path, name, ret, error);
}

static gboolean overlaps(guint32 a, guint32 an, guint32 b, guint32 bn) {
        return (guint64)a < (guint64)b + bn && (guint64)b < (guint64)a + an;
}

/** build_id_maps() - uidMappings or gidMappings of @object; an empty list when not given. */
gboolean build_id_maps(Build *b, JsonObject *object, const char *path, const char *name, struct plan_list *ret,
                       GError **error) {
        g_autoptr(GArray) maps = g_array_new(FALSE, TRUE, sizeof(struct plan_id_map));
        g_autofree char *field = g_strconcat(path, name, NULL);
        JsonArray *array = NULL;

        if (!field_array(object, path, name, &array, error))
                return FALSE;
        if (array && json_array_get_length(array) > ID_MAPS_MAX)
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: more than %u ranges", field, ID_MAPS_MAX);
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                g_autofree char *prefix = g_strdup_printf("%s[%u].", field, i);
                struct plan_id_map map = {};
                JsonObject *o;

                if (!element_object(array, field, i, &o, error) ||
                    !map_field(o, prefix, "containerID", &map.container_id, error) ||
                    !map_field(o, prefix, "hostID", &map.host_id, error) ||
                    !map_field(o, prefix, "size", &map.size, error))
                        return FALSE;
                if (map.size == 0 || map.container_id > G_MAXUINT32 - map.size || map.host_id > G_MAXUINT32 - map.size)
                        return plan_fail(error, PLAN_ERROR_INVALID, "%ssize: is 0 or goes past the last id", prefix);
                for (guint j = 0; j < i; j++) {
                        const struct plan_id_map *m = &g_array_index(maps, struct plan_id_map, j);

                        if (overlaps(m->container_id, m->size, map.container_id, map.size) ||
                            overlaps(m->host_id, m->size, map.host_id, map.size))
                                return plan_fail(error, PLAN_ERROR_INVALID, "%s[%u]: overlaps [%u]", field, i, j);
                }
                g_array_append_val(maps, map);
        }
        *ret = writer_array(&b->writer, maps->data, maps->len, sizeof(struct plan_id_map));
        return TRUE;
}

static gboolean build_user_namespace(Build *b, GError **error) {
        gboolean new = (b->plan.clone_flags & CLONE_NEWUSER) != 0;

        if (!build_id_maps(b, b->linux_, "linux.", "uidMappings", &b->plan.uid_map, error) ||
            !build_id_maps(b, b->linux_, "linux.", "gidMappings", &b->plan.gid_map, error))
                return FALSE;
        if (new && (b->plan.uid_map.n == 0 || b->plan.gid_map.n == 0))
                return plan_fail(error, PLAN_ERROR_INVALID, "linux.%sMappings: a new user namespace needs them",
                                 b->plan.uid_map.n == 0 ? "uid" : "gid");
        if (!new && (b->plan.uid_map.n > 0 || b->plan.gid_map.n > 0))
                return plan_fail(error, PLAN_ERROR_INVALID, "linux.%sMappings: given without a new user namespace",
                                 b->plan.uid_map.n > 0 ? "uid" : "gid");
        return TRUE;
}

static gboolean build_name(Build *b, const char *field, plan_str *ret, GError **error) {
        const char *name = NULL;

        if (!field_string(b->root, "", field, &name, error))
                return FALSE;
        if (!name || !*name)
                return TRUE;
        if (!((b->plan.clone_flags | b->joined) & CLONE_NEWUTS))
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: needs a uts namespace, the host's would change",
                                 field);
        if (strlen(name) > 64)
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: longer than 64 bytes", field);
        for (const char *p = name; *p; p++)
                if (g_ascii_iscntrl(*p) || *p == ' ' || *p == ':' || *p == '/')
                        return plan_fail(error, PLAN_ERROR_INVALID, "%s: \"%s\" is not a host name", field, name);
        *ret = writer_string(&b->writer, name);
        return TRUE;
}

/**
 * build_names_itself() - Whether the container is called by its id, for want of a name.
 *
 * A new UTS namespace begins with the host's name, which is nobody's business inside.
 */
gboolean build_names_itself(Build *b) {
        JsonArray *array = NULL;
        const char *name = NULL;

        if (b->context->bundle || !field_string(b->root, "", "hostname", &name, NULL) || (name && *name) ||
            !field_array(b->linux_, "linux.", "namespaces", &array, NULL))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                const char *type = NULL, *path = NULL;
                JsonObject *object = NULL;

                if (element_object(array, "linux.namespaces", i, &object, NULL) &&
                    field_string(object, "", "type", &type, NULL) && field_string(object, "", "path", &path, NULL) &&
                    g_strcmp0(type, "uts") == 0)
                        return !path || !*path;
        }
        return FALSE;
}

/** build_namespaces() - Section "Namespaces" and "User namespace mappings", and the two names of the UTS namespace. */
gboolean build_namespaces(Build *b, GError **error) {
        g_autoptr(GArray) join = g_array_new(FALSE, TRUE, sizeof(struct plan_namespace));
        JsonArray *array = NULL;

        if (!field_array(b->linux_, "linux.", "namespaces", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                JsonObject *object;

                if (!element_object(array, "linux.namespaces", i, &object, error) ||
                    !build_one(b, object, i, join, error))
                        return FALSE;
        }
        if (!(b->plan.clone_flags & CLONE_NEWNS))
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED,
                                 "linux.namespaces: a container without a mount namespace of its own is not supported");
        if (b->plan.clone_flags & CLONE_NEWNET)
                b->plan.flags |= PLAN_LOOPBACK_UP;
        b->plan.namespaces = writer_array(&b->writer, join->data, join->len, sizeof(struct plan_namespace));
        if (!build_user_namespace(b, error) || !build_name(b, "hostname", &b->plan.hostname, error) ||
            !build_name(b, "domainname", &b->plan.domainname, error))
                return FALSE;
        if (build_names_itself(b))
                b->plan.hostname = b->plan.id;
        return TRUE;
}
