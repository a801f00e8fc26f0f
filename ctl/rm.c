/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl rm: removes containers, with what they wrote; with -f running ones too.
 * With -f a container that is not there is no error, so that clean-up scripts can be run twice.
 * Images stay. With --exec it is the record of an exec that goes: one that has ended, or was never started.
 */

#include "ctl/each.h"
#include "ctl/verbs.h"

const Option rm_options[] = {
        { 'f', "force", NULL, N_("Kill it first where it runs; one that is not there is no error") },
        EACH_OPTION_EXEC,
        {},
};

typedef struct Rm {
        bool force;
        const char *exec;
} Rm;

static int on_option(int key, const char *arg, void *userdata) {
        Rm *rm = userdata;

        if (key == OPTION_EXEC)
                rm->exec = arg;
        else
                rm->force = true;
        return 0;
}

static int append(Message *m, void *userdata) {
        const Rm *rm = userdata;

        return rm->force ? message_append(m, "a{sv}", 1, "Force", "b", 1) : message_append(m, "a{sv}", 0);
}

static int refused(Ctl *ctl, const char *id, Call *call) {
        if (task_lives(ctl, id))
                return ctl_error(ctl, _("container '%s' has not ended; stop it first, or use -f"), id);
        return call_report(ctl, call, id);
}

/** verb_rm() - see above. */
int verb_rm(Ctl *ctl, int argc, char **argv) {
        Rm rm = {};
        Each each = {
                .kind = "container", .interface = BUS_CONTAINER, .member = "Delete", .append = append, .userdata = &rm
        };
        int r;

        r = options_parse(ctl, "rm", &argc, &argv, on_option, &rm);
        if (r == 0 && rm.exec && rm.force)
                r = ctl_error(ctl, _("--force is about containers; end an exec with 'davitctl kill --exec' first"));
        if (rm.exec) {
                each.kind = "task";
                each.interface = BUS_PROCESS;
                each.exec = rm.exec;
        }
        each.missing_ok = rm.force;
        if (!rm.force && !rm.exec)
                each.refused = refused;
        return r == 0 ? each_call(ctl, &each, argc, argv) : r;
}
