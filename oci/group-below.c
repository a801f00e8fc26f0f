/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * exec --cgroup: groups below the container's own.
 *
 * "[CONTROLLER[,CONTROLLER...]:]PATH", where a controller means its hierarchy of version 1; without one PATH holds in
 * every hierarchy that no other option names. Nothing is made here: a group that is not there fails the exec.
 */

#include <string.h>

#include "oci/group.h"

/* "/a/b", or "" for the container's own group; NULL where the path leads elsewhere. */
static char *plain_path(const char *path) {
        g_auto(GStrv) parts = g_strsplit(path, "/", -1);
        g_autoptr(GString) s = g_string_new(NULL);

        for (char **part = parts; *part; part++) {
                if (g_str_equal(*part, "..") || strpbrk(*part, "\n\r"))
                        return NULL;
                if (**part && !g_str_equal(*part, "."))
                        g_string_append_printf(s, "/%s", *part);
        }
        return g_string_free(g_steal_pointer(&s), FALSE);
}

static gboolean add(State *state, const char *given, const char *controller, const char *path, GError **error) {
        g_autofree char *directory = NULL;

        if (g_hash_table_contains(state->below, controller))
                return oci_fail(error, OCI_ERROR_USAGE, "--cgroup %s: a hierarchy is given twice", given);
        directory = *controller ? group_directory(state, controller) : NULL;
        if (*controller && !directory)
                return oci_fail(error, OCI_ERROR_FAILED, "--cgroup %s: \"%s\" has no hierarchy of its own here", given,
                                controller);
        g_hash_table_insert(state->below, g_strdup(controller), g_strdup(path));
        return TRUE;
}

static gboolean take(State *state, const char *given, GError **error) {
        const char *colon = strchr(given, ':');
        g_autofree char *path = plain_path(colon ? colon + 1 : given), *names = NULL;
        g_auto(GStrv) controllers = NULL;

        if (!path || (colon && strchr(colon + 1, ':')))
                return oci_fail(error, OCI_ERROR_USAGE, "--cgroup %s: is no group below the container's", given);
        if (!colon)
                return add(state, given, "", path, error);
        names = g_strndup(given, (gsize)(colon - given));
        controllers = g_strsplit(*names ? names : ",", ",", -1);
        for (char **controller = controllers; *controller; controller++) {
                if (!**controller)
                        return oci_fail(error, OCI_ERROR_USAGE, "--cgroup %s: a controller is missing", given);
                if (!add(state, given, *controller, path, error))
                        return FALSE;
        }
        return TRUE;
}

/** group_below() - From here on the state's directories are those that --cgroup names; @given: its values, or NULL. */
gboolean group_below(State *state, char **given, GError **error) {
        if (!given)
                return TRUE;
        if (!state->group)
                return oci_fail(error, OCI_ERROR_FAILED, "--cgroup %s: the container has no cgroup", *given);
        state->below = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        for (; *given; given++)
                if (!take(state, *given, error))
                        return FALSE;
        return TRUE;
}
