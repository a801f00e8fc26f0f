/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci state: a container's state as JSON (runtime.md "State").
 */

#include <stdio.h>

#include "oci/container.h"

static const GOptionEntry entries[] = { {} };

/** verb_state() - davit-oci state */
int verb_state(Oci *oci, int argc, char *argv[], GError **error) {
        g_auto(State) state = STATE_NULL;
        g_autoptr(JsonNode) node = NULL;
        g_autofree char *text = NULL;

        if (!oci_parse(entries, "ID", "Shows the state of a container.", &argc, &argv, error) ||
            !take_id(argc, argv, error) || !state_load(oci, argv[1], &state, error))
                return -1;
        node = state_to_json(&state, state_status(&state), state.pid);
        text = json_to_string(node, TRUE);
        return printf("%s\n", text) < 0;
}
