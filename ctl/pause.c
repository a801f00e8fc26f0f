/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl pause and unpause: freezes all processes of containers, and lets them go on. A frozen container keeps its
 * memory and its descriptors; signals reach it when it goes on.
 * Both are one call for all containers named.
 */

#include "ctl/each.h"
#include "ctl/verbs.h"

static int freeze(Ctl *ctl, const char *verb, const char *member, int argc, char **argv) {
        Each each = { .kind = "task", .interface = BUS_TASK, .member = member };
        int r;

        r = options_parse(ctl, verb, &argc, &argv, NULL, NULL);
        return r == 0 ? each_call(ctl, &each, argc, argv) : r;
}

/** verb_pause() - see above. */
int verb_pause(Ctl *ctl, int argc, char **argv) {
        return freeze(ctl, "pause", "Pause", argc, argv);
}

/** verb_unpause() - see above. */
int verb_unpause(Ctl *ctl, int argc, char **argv) {
        return freeze(ctl, "unpause", "Resume", argc, argv);
}
