/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What options change in a "process" object, for containers and execs alike: environment,
 * capabilities, user, working directory, terminal.
 *
 * Works in place on the caller's tree. Arguments are not its business: which vector they come from
 * differs between image, option and exec.
 */

#include <string.h>

#include "plan/capabilities.h"
#include "plan/fields.h"
#include "plan/spec-env.h"

/** spec_strv_length() - Number of strings; NULL has none. */
gsize spec_strv_length(const char *const *strv) {
        gsize n = 0;

        while (strv && strv[n])
                n++;
        return n;
}

static gboolean same_key(JsonNode *node, const char *assignment, gsize key) {
        const char *s = json_node_get_string(node);

        return s && strncmp(s, assignment, key) == 0 && (s[key] == '=' || s[key] == '\0');
}

static void env_replace(JsonObject *process, const char *assignment, gboolean overwrite) {
        JsonArray *env = field_ensure_array(process, "env");
        g_autoptr(GPtrArray) strings = g_ptr_array_new_with_free_func(g_free);
        gsize key = strcspn(assignment, "=");
        gboolean found = FALSE;

        for (guint i = 0; i < json_array_get_length(env); i++) {
                JsonNode *node = json_array_get_element(env, i);

                if (!same_key(node, assignment, key))
                        g_ptr_array_add(strings, g_strdup(json_node_get_string(node)));
                else if (!found) {
                        g_ptr_array_add(strings, g_strdup(overwrite ? assignment : json_node_get_string(node)));
                        found = TRUE;
                }
        }
        if (!found)
                g_ptr_array_add(strings, g_strdup(assignment));
        field_set_strings(process, "env", (const char *const *)strings->pdata, strings->len);
}

/** env_set() - Sets a variable: in the place of its first assignment, or at the end. */
void env_set(JsonObject *process, const char *assignment) {
        env_replace(process, assignment, TRUE);
}

/** env_set_default() - Sets a variable that has no assignment yet. */
void env_set_default(JsonObject *process, const char *assignment) {
        env_replace(process, assignment, FALSE);
}

/** env_unset() - Removes every assignment of a variable. */
void env_unset(JsonObject *process, const char *key) {
        JsonArray *env = field_ensure_array(process, "env");

        for (guint i = json_array_get_length(env); i-- > 0;)
                if (same_key(json_array_get_element(env, i), key, strlen(key)))
                        json_array_remove_element(env, i);
}

static gboolean apply_env(JsonObject *process, const SpecOptions *options, GError **error) {
        for (const char *const *e = options->env; e && *e; e++) {
                if (**e == '=' || **e == '\0')
                        return plan_fail(error, PLAN_ERROR_INVALID, "Env: \"%s\" has no name", *e);
                if (strchr(*e, '='))
                        env_set(process, *e);
                else
                        env_unset(process, *e);
        }
        return TRUE;
}

/* The bits that a list of names means; "ALL" is every one. */
static gboolean parse_names(const char *const *names, const char *what, guint64 *ret, GError **error) {
        *ret = 0;
        for (; names && *names; names++) {
                int capability = capability_from_name(*names);

                if (g_ascii_strcasecmp(*names, "ALL") == 0)
                        *ret |= CAPABILITY_ALL;
                else if (capability < 0)
                        return plan_fail(error, PLAN_ERROR_INVALID, "%s: unknown capability \"%s\"", what, *names);
                else
                        *ret |= G_GUINT64_CONSTANT(1) << capability;
        }
        return TRUE;
}

static gboolean has_all(const char *const *names) {
        for (; names && *names; names++)
                if (g_ascii_strcasecmp(*names, "ALL") == 0)
                        return TRUE;
        return FALSE;
}

static void change_set(JsonObject *capabilities, const char *name, guint64 add, guint64 drop) {
        JsonArray *from = field_ensure_array(capabilities, name), *to = json_array_new();
        guint64 old = 0, new;

        for (guint i = 0; i < json_array_get_length(from); i++) {
                const char *s = json_node_get_string(json_array_get_element(from, i));
                int capability = s ? capability_from_name(s) : -1;

                if (capability >= 0)
                        old |= G_GUINT64_CONSTANT(1) << capability;
        }
        new = (old & ~drop) | add;
        for (int i = 0; i <= CAPABILITY_LAST; i++)
                if (new &G_GUINT64_CONSTANT(1) << i)
                        json_array_add_string_element(to, capability_to_name(i));
        json_object_set_array_member(capabilities, name, to);
}

/*
 * A capability that is both added and dropped is dropped, unless "ALL" is what drops it: "drop ALL,
 * add X" means X alone, "add ALL, drop X" everything but X.
 */
static gboolean apply_capabilities(JsonObject *process, const SpecOptions *options, GError **error) {
        JsonObject *capabilities;
        guint64 add, drop;

        if (!parse_names(options->cap_add, "CapAdd", &add, error) ||
            !parse_names(options->cap_drop, "CapDrop", &drop, error))
                return FALSE;
        if (!add && !drop)
                return TRUE;
        if (!has_all(options->cap_drop))
                add &= ~drop;
        capabilities = field_ensure_object(process, "capabilities");
        change_set(capabilities, "bounding", add, drop);
        change_set(capabilities, "effective", add, drop);
        change_set(capabilities, "permitted", add, drop);
        if (drop) {
                change_set(capabilities, "inheritable", 0, drop);
                change_set(capabilities, "ambient", 0, drop);
        }
        return TRUE;
}

/** spec_apply_process_options() - Everything of @options that concerns one process, except its arguments. */
gboolean spec_apply_process_options(JsonObject *process, const SpecOptions *options, GError **error) {
        if (options->terminal) {
                json_object_set_boolean_member(process, "terminal", TRUE);
                env_set_default(process, "TERM=xterm");
        }
        if (options->console_width && options->console_height) {
                JsonObject *size = field_ensure_object(process, "consoleSize");

                json_object_set_int_member(size, "width", options->console_width);
                json_object_set_int_member(size, "height", options->console_height);
        }
        if (options->working_dir) {
                if (*options->working_dir != '/')
                        return plan_fail(error, PLAN_ERROR_INVALID, "WorkingDir: \"%s\" is not absolute",
                                         options->working_dir);
                json_object_set_string_member(process, "cwd", options->working_dir);
        }
        if (options->user) {
                JsonObject *user = field_ensure_object(process, "user");

                json_object_set_string_member(user, "username", options->user);
                json_object_remove_member(user, "additionalGids");
        }
        return apply_env(process, options, error) && apply_capabilities(process, options, error);
}
