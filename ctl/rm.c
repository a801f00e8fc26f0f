/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl rm: removes containers, with what they wrote; with -f running ones too.
 * With -f a container that is not there is no error, so that clean-up scripts can be run twice.
 * Images stay.
 */

#include "ctl/each.h"
#include "ctl/verbs.h"

const Option rm_options[] = {
        { 'f', "force", NULL, N_("Kill it first where it runs; one that is not there is no error") },
        {},
};

static int on_option(_unused_ int key, _unused_ const char *arg, void *userdata) {
        *(bool *)userdata = true;
        return 0;
}

static int append(Message *m, void *userdata) {
        const bool *force = userdata;

        return *force ? message_append(m, "a{sv}", 1, "Force", "b", 1) : message_append(m, "a{sv}", 0);
}

/** verb_rm() - see above. */
int verb_rm(Ctl *ctl, int argc, char **argv) {
        bool force = false;
        Each each = { .kind = "container",
                      .interface = BUS_CONTAINER,
                      .member = "Delete",
                      .append = append,
                      .userdata = &force };
        int r;

        r = options_parse(ctl, "rm", &argc, &argv, on_option, &force);
        each.missing_ok = force;
        if (!force)
                each.refused = N_("has not ended; stop it first, or use -f");
        return r == 0 ? each_call(ctl, &each, argc, argv) : r;
}
