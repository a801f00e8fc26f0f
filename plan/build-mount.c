/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mounts[]: each entry becomes one typed operation of the plan, in the order given.
 *
 * Sources are host paths only for binds; everything else is a new instance of a file system. An
 * option that is neither known nor data of a file system is refused by name. No path is looked up
 * here: sources and targets are resolved by the shim.
 */

#include <sched.h>
#include <string.h>

#include "plan/build-internal.h"
#include "plan/mount-options.h"
#include "shared/syscalls.h"

typedef struct Mount {
        const char *destination, *source, *type;
        MountOptions options;
        struct plan_mount *m;
        guint index;
        char field[48]; /* "mounts[3]." */
} Mount;

static void mount_clear(Mount *mount) {
        mount_options_clear(&mount->options);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Mount, mount_clear)

/* What an option says is better found by where it mounts than by its number: the first mounts are the template's. */
static G_GNUC_PRINTF(4, 5) gboolean
        option_fail(const Mount *mount, GError **error, PlanError code, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        return plan_fail(error, code, "mounts[%u] (%s): %s", mount->index, mount->destination ?: "", text);
}

static gboolean set_kind(Mount *mount, GError **error) {
        const MountOptions *o = &mount->options;
        const char *type = mount->type;

        if (o->remount)
                mount->m->kind = PLAN_MOUNT_REMOUNT;
        else if (o->bind || g_strcmp0(type, "bind") == 0 || g_strcmp0(type, "rbind") == 0)
                mount->m->kind = PLAN_MOUNT_BIND;
        else if (!type || !*type || g_str_equal(type, "none"))
                return plan_fail(error, PLAN_ERROR_INVALID, "%stype: is missing, and no option says \"bind\"",
                                 mount->field);
        else if (g_str_equal(type, "cgroup") || g_str_equal(type, "cgroup2"))
                mount->m->kind = PLAN_MOUNT_CGROUP;
        else
                mount->m->kind = PLAN_MOUNT_FS;
        if (mount->m->kind != PLAN_MOUNT_BIND && o->optional)
                return option_fail(mount, error, PLAN_ERROR_INVALID, "\"nofail\" is for bind mounts");
        if (o->copy_up && (mount->m->kind != PLAN_MOUNT_FS || !g_str_equal(type, "tmpfs")))
                return option_fail(mount, error, PLAN_ERROR_INVALID, "\"tmpcopyup\" is for type tmpfs");
        return TRUE;
}

/* A source that is a path is a device: its superblock must be read-only, not only the mount of it. */
static void set_superblock(Mount *mount) {
        mount->m->sb_flags = mount->options.sb_flags;
        if (mount->m->kind == PLAN_MOUNT_FS && mount->source && *mount->source == '/' &&
            (mount->options.attr_set & MOUNT_ATTR_RDONLY))
                mount->m->sb_flags |= MS_RDONLY;
}

static gboolean set_data(Build *b, Mount *mount, GError **error) {
        g_autoptr(GString) data = g_string_new(NULL);
        GPtrArray *options = mount->options.data;

        if (options->len == 0)
                return TRUE;
        if (mount->m->kind != PLAN_MOUNT_FS)
                return option_fail(mount, error, PLAN_ERROR_NOT_SUPPORTED, "unknown option \"%s\"",
                                   (const char *)options->pdata[0]);
        for (guint i = 0; i < options->len; i++) {
                const char *option = options->pdata[i];

                if (strchr(option, ','))
                        return option_fail(mount, error, PLAN_ERROR_NOT_SUPPORTED, "\"%s\" has a comma in it", option);
                if (g_str_equal(option, "newinstance")) /* every devpts mount is one nowadays */
                        continue;
                g_string_append_printf(data, "%s%s", data->len ? "," : "", option);
        }
        if (data->len > 0)
                mount->m->data = writer_string(&b->writer, data->str);
        return TRUE;
}

static gboolean set_id_maps(Build *b, Mount *mount, JsonObject *object, GError **error) {
        struct plan_mount *m = mount->m;

        if (!build_id_maps(b, object, mount->field, "uidMappings", &m->uid_map, error) ||
            !build_id_maps(b, object, mount->field, "gidMappings", &m->gid_map, error))
                return FALSE;
        if ((m->uid_map.n == 0) != (m->gid_map.n == 0))
                return plan_fail(error, PLAN_ERROR_INVALID, "%s%sMappings: are missing", mount->field,
                                 m->uid_map.n == 0 ? "uid" : "gid");
        if (!mount->options.idmap && m->uid_map.n == 0)
                return TRUE;
        if (m->kind != PLAN_MOUNT_BIND)
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "%suidMappings: only bind mounts can be id-mapped",
                                 mount->field);
        if (m->uid_map.n == 0 && !((b->plan.clone_flags | b->joined) & CLONE_NEWUSER))
                return option_fail(mount, error, PLAN_ERROR_INVALID, "\"idmap\" needs mappings or a user namespace");
        m->flags |= PLAN_MOUNT_IDMAP | (mount->options.idmap_recursive ? PLAN_MOUNT_IDMAP_RECURSIVE : 0);
        return TRUE;
}

static gboolean set_paths(Build *b, Mount *mount, GError **error) {
        g_autofree char *field = g_strconcat(mount->field, "destination", NULL);
        g_autofree char *target = NULL;

        if (!mount->destination || !*mount->destination)
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: is missing", field);
        target = *mount->destination == '/' ? g_strdup(mount->destination) : g_strconcat("/", mount->destination, NULL);
        if (strspn(target, "/.") == strlen(target))
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: \"%s\" is the root itself", field, mount->destination);
        if (!build_path(field, target, error))
                return FALSE;
        mount->m->target = writer_string(&b->writer, target);
        if (mount->m->kind == PLAN_MOUNT_BIND) {
                g_autofree char *source = g_strconcat(mount->field, "source", NULL);

                if (!mount->source || !build_path(source, mount->source, error))
                        return mount->source ? FALSE : plan_fail(error, PLAN_ERROR_INVALID, "%s: is missing", source);
                if (g_str_equal(target, "/dev") || g_str_equal(target, "/dev/"))
                        b->dev_is_bind = TRUE;
        }
        if (mount->m->kind != PLAN_MOUNT_REMOUNT)
                mount->m->source = writer_string(&b->writer, mount->source);
        if (mount->m->kind == PLAN_MOUNT_FS)
                mount->m->fstype = writer_string(&b->writer, mount->type);
        return TRUE;
}

static gboolean build_mount(Build *b, JsonObject *object, guint i, GArray *mounts, GError **error) {
        g_autoptr(GPtrArray) strings = NULL;
        g_auto(Mount) mount = {};
        struct plan_mount m = {};
        MountOptions *o = &mount.options;

        mount.m = &m;
        mount.index = i;
        g_snprintf(mount.field, sizeof(mount.field), "mounts[%u].", i);
        if (!field_string(object, mount.field, "destination", &mount.destination, error) ||
            !field_string(object, mount.field, "source", &mount.source, error) ||
            !field_string(object, mount.field, "type", &mount.type, error) ||
            !field_strings(object, mount.field, "options", &strings, error))
                return FALSE;
        mount_options_parse(o, strings ? (const char *const *)strings->pdata : NULL, strings ? strings->len : 0);
        if (!set_kind(&mount, error))
                return FALSE;
        m.flags = (o->recursive || g_strcmp0(mount.type, "rbind") == 0 ? PLAN_MOUNT_RECURSIVE : 0) |
                  (o->copy_up ? PLAN_MOUNT_COPY_UP : 0) | (o->optional ? PLAN_MOUNT_OPTIONAL : 0);
        m.propagation = o->propagation;
        m.attr_set = o->attr_set;
        m.attr_clear = o->attr_clear;
        m.attr_set_recursive = o->attr_set_recursive;
        m.attr_clear_recursive = o->attr_clear_recursive;
        set_superblock(&mount);
        if (!set_paths(b, &mount, error) || !set_data(b, &mount, error) || !set_id_maps(b, &mount, object, error))
                return FALSE;
        g_array_append_val(mounts, m);
        return TRUE;
}

/** build_mounts() - Section "Mounts". */
gboolean build_mounts(Build *b, GError **error) {
        g_autoptr(GArray) mounts = g_array_new(FALSE, TRUE, sizeof(struct plan_mount));
        JsonArray *array = NULL;

        if (!field_array(b->root, "", "mounts", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                JsonObject *object;

                if (!element_object(array, "mounts", i, &object, error) || !build_mount(b, object, i, mounts, error))
                        return FALSE;
        }
        b->plan.mounts = writer_array(&b->writer, mounts->data, mounts->len, sizeof(struct plan_mount));
        return TRUE;
}
