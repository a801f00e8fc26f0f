/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The process of an exec: the container's, changed by options.
 */

#include "oci/exec-process.h"

#include <string.h>

#include "oci/bundle.h"
#include "plan/capabilities.h"
#include "plan/fields.h"
#include "plan/spec.h"

static gboolean arg_tty, arg_no_new_privs;
static char *arg_cwd, *arg_user, *arg_apparmor, *arg_label;
static char **arg_env, **arg_cap, **arg_gids;

const GOptionEntry exec_process_entries[] = {
        { "tty", 't', 0, G_OPTION_ARG_NONE, &arg_tty, "With a terminal", NULL },
        { "cwd", 0, 0, G_OPTION_ARG_FILENAME, &arg_cwd, "Working directory", "DIR" },
        { "env", 'e', 0, G_OPTION_ARG_FILENAME_ARRAY, &arg_env, "Set a variable (can be repeated)", "KEY=VALUE" },
        { "user", 'u', 0, G_OPTION_ARG_FILENAME, &arg_user, "User and group by number", "UID[:GID]" },
        { "additional-gids", 'g', 0, G_OPTION_ARG_FILENAME_ARRAY, &arg_gids, "A further group (can be repeated)",
          "GID" },
        { "cap", 'c', 0, G_OPTION_ARG_FILENAME_ARRAY, &arg_cap, "A further capability (can be repeated)", "CAP" },
        { "no-new-privs", 0, 0, G_OPTION_ARG_NONE, &arg_no_new_privs, "Never gain privileges by an execve", NULL },
        { "process-label", 0, 0, G_OPTION_ARG_FILENAME, &arg_label, "SELinux label", "LABEL" },
        { "apparmor", 0, 0, G_OPTION_ARG_FILENAME, &arg_apparmor, "AppArmor profile", "PROFILE" },
        {},
};

static void append(JsonObject *object, const char *name, char **values) {
        JsonArray *array = values ? field_ensure_array(object, name) : NULL;

        for (; values && *values; values++)
                json_array_add_string_element(array, *values);
}

static gboolean set_user(JsonObject *process, GError **error) {
        JsonObject *user = field_ensure_object(process, "user");
        g_auto(GStrv) parts = NULL;
        guint64 uid, gid = 0;

        if (arg_user) {
                parts = g_strsplit(arg_user, ":", 2);
                if (!g_ascii_string_to_unsigned(parts[0], 10, 0, G_MAXUINT32 - 1, &uid, NULL) ||
                    (parts[1] && !g_ascii_string_to_unsigned(parts[1], 10, 0, G_MAXUINT32 - 1, &gid, NULL)))
                        return oci_fail(error, OCI_ERROR_USAGE, "--user: \"%s\" is not UID[:GID]", arg_user);
                json_object_set_int_member(user, "uid", (gint64)uid);
                if (parts[1])
                        json_object_set_int_member(user, "gid", (gint64)gid);
        }
        for (char **text = arg_gids; text && *text; text++) {
                JsonNode *node;

                if (!g_ascii_string_to_unsigned(*text, 10, 0, G_MAXUINT32 - 1, &gid, NULL))
                        return oci_fail(error, OCI_ERROR_USAGE, "--additional-gids: \"%s\" is no group id", *text);
                node = json_node_init_int(json_node_alloc(), (gint64)gid);
                json_array_add_element(field_ensure_array(user, "additionalGids"), node);
        }
        return TRUE;
}

/* A name that somebody has typed is no configuration's, which may be from a newer kernel than this. */
static gboolean set_capabilities(JsonObject *process, GError **error) {
        static const char *const sets[] = { "bounding", "effective", "permitted" };
        JsonObject *capabilities = arg_cap ? field_ensure_object(process, "capabilities") : NULL;

        for (char **text = arg_cap; text && *text; text++) {
                const char *name = capability_to_name(capability_from_name(*text));

                if (!name)
                        return oci_fail(error, OCI_ERROR_USAGE, "--cap: unknown capability \"%s\"", *text);
                for (gsize i = 0; i < G_N_ELEMENTS(sets); i++)
                        json_array_add_string_element(field_ensure_array(capabilities, sets[i]), name);
        }
        return TRUE;
}

static gboolean apply_options(JsonObject *process, GError **error) {
        if (!set_user(process, error))
                return FALSE;
        append(process, "env", arg_env);
        if (!set_capabilities(process, error))
                return FALSE;
        if (arg_cwd)
                json_object_set_string_member(process, "cwd", arg_cwd);
        if (arg_label)
                json_object_set_string_member(process, "selinuxLabel", arg_label);
        if (arg_apparmor)
                json_object_set_string_member(process, "apparmorProfile", arg_apparmor);
        if (arg_no_new_privs)
                json_object_set_member(process, "noNewPrivileges", json_node_init_boolean(json_node_alloc(), TRUE));
        return TRUE;
}

/**
 * exec_process() - The process to be run: a new node, or NULL with the error set.
 * @spec: of the container, borrowed and changed
 * @file: one that has the process, or NULL for the container's own with other arguments
 */
JsonNode *exec_process(JsonNode *spec, const char *file, int argc, char *argv[], GError **error) {
        g_autoptr(JsonNode) node = NULL;
        JsonObject *process = NULL;

        if (file) {
                node = json_load(file, error);
                if (node && arg_tty)
                        json_object_set_member(json_node_get_object(node), "terminal",
                                               json_node_init_boolean(json_node_alloc(), TRUE));
                return g_steal_pointer(&node);
        }
        if (!field_object(json_node_get_object(spec), "", "process", &process, error))
                return NULL;
        if (!process) {
                (void)oci_fail(error, OCI_ERROR_FAILED, "the container has no process of its own: use --process");
                return NULL;
        }
        node = json_node_init_object(json_node_alloc(), process);
        field_set_strings(process, "args", (const char *const *)argv, (gsize)argc);
        json_object_set_member(process, "terminal", json_node_init_boolean(json_node_alloc(), arg_tty));
        return apply_options(process, error) ? g_steal_pointer(&node) : NULL;
}
