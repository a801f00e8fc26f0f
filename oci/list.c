/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci list: the containers below --root.
 */

#include <json-glib/json-glib.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "oci/container.h"
#include "shared/fd.h"
#include "shared/macros.h"

static char *arg_format;
static gboolean arg_quiet;

static const GOptionEntry entries[] = {
        { "format", 'f', 0, G_OPTION_ARG_FILENAME, &arg_format, "\"table\" or \"json\"", "FORMAT" },
        { "quiet", 'q', 0, G_OPTION_ARG_NONE, &arg_quiet, "Only the ids", NULL },
        {},
};

/* Of the host's own users, whom nobody else has to be asked about. */
static const char *owner_name(guint uid) {
        static char *name;
        const struct passwd *user = NULL;
        FILE *f = fopen("/etc/passwd", "re");

        while (f && (user = fgetpwent(f)) && user->pw_uid != uid)
                ;
        g_free(name);
        name = g_strdup(user ? user->pw_name : "");
        if (f)
                (void)fclose(f);
        return name;
}

static void print_row(State *s) {
        g_autofree char *created = time_to_string(s->created);
        Status status = state_status(s);

        (void)printf("%-20s %-8d %-9s %-30s %-28s %s\n", s->id, status == STATUS_STOPPED ? 0 : (int)s->pid,
                     status_name(status), s->bundle ? s->bundle : "", created, owner_name(s->owner));
}

static void add_row(State *s, JsonArray *array) {
        g_autoptr(JsonNode) node = state_to_json(s, state_status(s), s->pid);

        json_object_set_string_member(json_node_get_object(node), "owner", owner_name(s->owner));
        json_array_add_element(array, g_steal_pointer(&node));
}

/** verb_list() - davit-oci list */
int verb_list(Oci *oci, int argc, char *argv[], GError **error) {
        g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(JsonNode) rows = json_node_new(JSON_NODE_ARRAY);
        g_autofree char *text = NULL;
        gboolean json;

        json_node_take_array(rows, json_array_new());
        if (!oci_parse(entries, NULL, "Lists containers.", &argc, &argv, error) ||
            !take_nothing(argc, argv, error) || !oci_ids(oci, ids, error))
                return -1;
        json = g_strcmp0(arg_format, "json") == 0;
        if (arg_format && !json && !streq(arg_format, "table")) {
                (void)oci_fail(error, OCI_ERROR_USAGE, "--format: unknown format \"%s\"", arg_format);
                return -1;
        }
        if (!json && !arg_quiet)
                (void)printf("%-20s %-8s %-9s %-30s %-28s %s\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER");
        for (guint i = 0; i < ids->len; i++) {
                g_auto(State) state = STATE_NULL;

                if (!state_load(oci, ids->pdata[i], &state, NULL))
                        continue; /* it went away meanwhile, or is nobody's to read */
                if (arg_quiet)
                        (void)printf("%s\n", state.id);
                else if (json)
                        add_row(&state, json_node_get_array(rows));
                else
                        print_row(&state);
        }
        if (json && !arg_quiet) {
                text = json_to_string(rows, FALSE);
                (void)printf("%s\n", text);
        }
        return ferror(stdout) != 0;
}
