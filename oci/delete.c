/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci delete: removes what create has made.
 *
 * Only of a container that has stopped, unless forced; forced, one that does not exist is no error.
 */

#include <errno.h>
#include <stdlib.h>

#include "oci/container.h"
#include "shared/macros.h"

static gboolean arg_force, arg_regex;

static const GOptionEntry entries[] = {
        { "force", 'f', 0, G_OPTION_ARG_NONE, &arg_force, "Kill the container first if it has not stopped", NULL },
        { "regex", 'r', 0, G_OPTION_ARG_NONE, &arg_regex, "ID is a regular expression, which several may match", NULL },
        {},
};

static gboolean is_missing(const GError *error) {
        return g_str_has_suffix(error->message, "does not exist");
}

static gboolean delete_one(Oci *oci, State *state, GError **error) {
        _cleanup_free_ void *memory = NULL;
        Status status = state_status(state);
        const struct plan *plan;

        if (status != STATUS_STOPPED && !arg_force)
                return oci_fail(error, OCI_ERROR_FAILED, "cannot delete container \"%s\" that is not stopped: %s",
                                state->id, status_name(status));
        if (!container_end(state, error))
                return FALSE;
        plan = plan_load(state, &memory, NULL);
        return container_remove(oci, state, plan, error);
}

static gboolean delete_id(Oci *oci, const char *id, gconstpointer data _unused_, GError **error) {
        g_auto(State) state = STATE_NULL;
        g_autoptr(GError) inner = NULL;

        if (state_load(oci, id, &state, &inner) && state_lock(&state, &inner) && delete_one(oci, &state, &inner))
                return TRUE;
        if (arg_force && is_missing(inner))
                return TRUE;
        g_propagate_error(error, g_steal_pointer(&inner));
        return FALSE;
}

/** verb_delete() - davit-oci delete */
int verb_delete(Oci *oci, int argc, char *argv[], GError **error) {
        if (!oci_parse(entries, "ID", "Removes a container that has stopped.", &argc, &argv, error) ||
            !take_id(argc, argv, error))
                return -1;
        if (arg_regex)
                return oci_matching(oci, argv[1], delete_id, NULL, error) ? 0 : -1;
        return delete_id(oci, argv[1], NULL, error) ? 0 : -1;
}
