/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci pause and resume.
 */

#include "oci/container.h"
#include "oci/group.h"

static const GOptionEntry entries[] = { {} };

static int change(Oci *oci, const char *id, gboolean on, GError **error) {
        g_auto(State) state = STATE_NULL;
        Status status;

        if (!state_load(oci, id, &state, error) || !state_lock(&state, error))
                return -1;
        status = state_status(&state);
        if (on ? status != STATUS_RUNNING && status != STATUS_CREATED : status != STATUS_PAUSED) {
                (void)oci_fail(error, OCI_ERROR_FAILED, "container not %s: it is %s", on ? "running" : "paused",
                               status_name(status));
                return -1;
        }
        if (!state.group) {
                (void)oci_fail(error, OCI_ERROR_FAILED, "a container without a cgroup cannot be paused");
                return -1;
        }
        return group_freeze(&state, on, error) ? 0 : -1;
}

/** verb_pause() - davit-oci pause */
int verb_pause(Oci *oci, int argc, char *argv[], GError **error) {
        if (!oci_parse(entries, "ID", "Stops every process of a container until it is resumed.", &argc, &argv, error) ||
            !take_id(argc, argv, error))
                return -1;
        return change(oci, argv[1], TRUE, error);
}

/** verb_resume() - davit-oci resume */
int verb_resume(Oci *oci, int argc, char *argv[], GError **error) {
        if (!oci_parse(entries, "ID", "Lets a paused container go on.", &argc, &argv, error) ||
            !take_id(argc, argv, error))
                return -1;
        return change(oci, argv[1], FALSE, error);
}
