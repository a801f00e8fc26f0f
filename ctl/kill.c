/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl kill: sends a signal to the first process of containers, with --all to every process of theirs, or with
 * --exec to an exec of one.
 * It does not wait for anything to end; stop does. Names of signals are for the manager to understand, so that every
 * client knows the same ones.
 */

#include "ctl/each.h"
#include "ctl/verbs.h"

const Option kill_options[] = {
        { 's', "signal", N_("SIGNAL"), N_("Signal, by name or number (default: KILL)") },
        { 'a', "all", NULL, N_("To every process of the container") },
        EACH_OPTION_EXEC,
        {},
};

typedef struct Kill {
        const char *signal, *exec;
        bool all;
} Kill;

static int on_option(int key, const char *arg, void *userdata) {
        Kill *k = userdata;

        if (key == 's')
                k->signal = arg;
        else if (key == OPTION_EXEC)
                k->exec = arg;
        else
                k->all = true;
        return 0;
}

static int append(Message *m, void *userdata) {
        const Kill *k = userdata;

        return message_append(m, "s", k->signal);
}

/** verb_kill() - see above. */
int verb_kill(Ctl *ctl, int argc, char **argv) {
        Kill k = { .signal = "KILL" };
        Each each = { .kind = "task", .append = append, .userdata = &k };
        int r;

        r = options_parse(ctl, "kill", &argc, &argv, on_option, &k);
        if (r != 0)
                return r;
        if (k.all && k.exec)
                return ctl_error(ctl, _("--all is about every process, --exec about one exec; give one of the two"));
        each.exec = k.exec;
        each.interface = k.all ? BUS_TASK : BUS_PROCESS;
        each.member = k.all ? "KillAll" : "Kill";
        return each_call(ctl, &each, argc, argv);
}
