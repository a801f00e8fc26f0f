/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * hooks and linux.timeOffsets.
 *
 * A hook is only written down here: who runs it, and when, is said by its stage (shared/plan.h). The manager refuses
 * hooks before this is reached; they belong to davit-oci's callers. Programs are not looked up.
 */

#include <time.h>

#include "plan/build-internal.h"

#define HOOK_TIMEOUT_MAX 86400

static const struct {
        const char *name;
        guint32 stage;
} stages[] = {
        { "prestart", PLAN_HOOK_PRESTART },
        { "createRuntime", PLAN_HOOK_CREATE_RUNTIME },
        { "createContainer", PLAN_HOOK_CREATE_CONTAINER },
        { "startContainer", PLAN_HOOK_START_CONTAINER },
        { "poststart", PLAN_HOOK_POSTSTART },
        { "poststop", PLAN_HOOK_POSTSTOP },
};

static gboolean build_strings(Build *b, JsonObject *object, const char *path, const char *name, struct plan_list *ret,
                              GError **error) {
        g_autoptr(GPtrArray) strings = NULL;

        if (!field_strings(object, path, name, &strings, error))
                return FALSE;
        if (strings && strings->len > 0)
                *ret = writer_strings(&b->writer, (const char *const *)strings->pdata, strings->len);
        return TRUE;
}

static gboolean build_hook(Build *b, JsonObject *object, const char *field, struct plan_hook *hook, GError **error) {
        g_autofree char *path_field = g_strconcat(field, "path", NULL);
        const char *path = NULL;
        gint64 timeout = 0;

        if (!field_string(object, field, "path", &path, error) ||
            !field_int(object, field, "timeout", 1, HOOK_TIMEOUT_MAX, &timeout, error))
                return FALSE;
        if (!path)
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: is missing", path_field);
        if (!build_path(path_field, path, error))
                return FALSE;
        hook->path = writer_string(&b->writer, path);
        hook->timeout = (guint32)timeout;
        return build_strings(b, object, field, "args", &hook->args, error) &&
               build_strings(b, object, field, "env", &hook->env, error);
}

/** build_hooks() - Section "POSIX-platform Hooks". */
gboolean build_hooks(Build *b, GError **error) {
        g_autoptr(GArray) hooks = g_array_new(FALSE, TRUE, sizeof(struct plan_hook));
        JsonObject *root = NULL;

        if (!field_object(b->root, "", "hooks", &root, error))
                return FALSE;
        for (gsize s = 0; root && s < G_N_ELEMENTS(stages); s++) {
                g_autofree char *field = g_strconcat("hooks.", stages[s].name, NULL);
                JsonArray *array = NULL;

                if (!field_array(root, "hooks.", stages[s].name, &array, error))
                        return FALSE;
                for (guint i = 0; array && i < json_array_get_length(array); i++) {
                        struct plan_hook hook = { .stage = stages[s].stage, .index = i };
                        g_autofree char *prefix = g_strdup_printf("%s[%u].", field, i);
                        JsonObject *object;

                        if (!element_object(array, field, i, &object, error) ||
                            !build_hook(b, object, prefix, &hook, error))
                                return FALSE;
                        g_array_append_val(hooks, hook);
                }
        }
        b->plan.hooks = writer_array(&b->writer, hooks->data, hooks->len, sizeof(struct plan_hook));
        return TRUE;
}

static gboolean build_offset(JsonObject *offsets, const char *name, guint32 clock, GArray *array, GError **error) {
        g_autofree char *field = g_strdup_printf("linux.timeOffsets.%s.", name);
        struct plan_time_offset offset = { .clock = clock };
        JsonObject *object = NULL;
        gint64 secs = 0, nanosecs = 0;

        if (!field_object(offsets, "linux.timeOffsets.", name, &object, error) ||
            !field_int(object, field, "secs", G_MININT64, G_MAXINT64, &secs, error) ||
            !field_int(object, field, "nanosecs", 0, 999999999, &nanosecs, error))
                return FALSE;
        if (secs == 0 && nanosecs == 0)
                return TRUE;
        offset.secs = secs;
        offset.nanosecs = (guint32)nanosecs;
        g_array_append_val(array, offset);
        return TRUE;
}

/** build_time_offsets() - Section "Offset for Time Namespace". */
gboolean build_time_offsets(Build *b, GError **error) {
        g_autoptr(GArray) array = g_array_new(FALSE, TRUE, sizeof(struct plan_time_offset));
        JsonObject *offsets = NULL;

        if (!field_object(b->linux_, "linux.", "timeOffsets", &offsets, error) ||
            !build_offset(offsets, "monotonic", CLOCK_MONOTONIC, array, error) ||
            !build_offset(offsets, "boottime", CLOCK_BOOTTIME, array, error))
                return FALSE;
        if (array->len > 0 && !(b->plan.clone_flags & 0x80)) /* CLONE_NEWTIME */
                return plan_fail(error, PLAN_ERROR_INVALID, "linux.timeOffsets: needs a new time namespace");
        b->plan.time_offsets = writer_array(&b->writer, array->data, array->len, sizeof(struct plan_time_offset));
        return TRUE;
}
