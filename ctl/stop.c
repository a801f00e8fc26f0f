/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl stop and restart: asks containers to end and waits until they have; restart then starts them again. One that
 * is not running is stopped already, which is no error. The signal and the time are the container's own where none are
 * given.
 */

#include "ctl/each.h"
#include "ctl/start.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

enum { OPTION_NO_FORCE = OPTION_FREE };

const Option stop_options[] = {
        { 't', "time", N_("SECONDS"), N_("Time to end before it is killed (default: the container's)") },
        { 's', "signal", N_("SIGNAL"), N_("Signal that asks it to end (default: the container's)") },
        { OPTION_NO_FORCE, "no-force", NULL, N_("Do not kill it; fail after the time") },
        {},
};

const Option restart_options[] = {
        { 't', "time", N_("SECONDS"), N_("Time to end before it is killed (default: the container's)") },
        { 's', "signal", N_("SIGNAL"), N_("Signal that asks it to end (default: the container's)") },
        {},
};

typedef struct Stop {
        Ctl *ctl;
        const char *signal;
        uint64_t timeout;
        bool has_timeout, no_force;
} Stop;

static int on_option(int key, const char *arg, void *userdata) {
        Stop *s = userdata;

        if (key == 's')
                s->signal = arg;
        else if (key == OPTION_NO_FORCE)
                s->no_force = true;
        else {
                s->has_timeout = true;
                if (!parse_seconds(arg, &s->timeout))
                        return ctl_error(s->ctl, _("'%s' is no number of seconds"), arg);
        }
        return 0;
}

static int append(Message *m, void *userdata) {
        const Stop *s = userdata;
        int r;

        r = message_open(m, 'a', "{sv}");
        if (r >= 0 && s->signal)
                r = option_string(m, "Signal", s->signal);
        if (r >= 0 && s->has_timeout)
                r = option_u64(m, "TimeoutUSec", s->timeout);
        if (r >= 0 && s->no_force)
                r = option_bool(m, "Force", false);
        return r < 0 ? r : message_close(m);
}

static int restarted(Ctl *ctl, const char *id, _unused_ Call *call, _unused_ void *userdata) {
        int r = start_container(ctl, id);

        if (r == 0)
                printf("%s\n", id);
        return r;
}

/* A container that goes with its end would be gone when it is to be started again, with all that it has written. */
static int check_stays(Ctl *ctl, const char *given) {
        _cleanup_free_ char *id = NULL, *path = NULL;
        _cleanup_call_ Call call = {};
        const char *removal;
        int r;

        r = container_object(ctl, given, "container", &id, &path);
        if (r == 0)
                r = property_string(ctl, &call, path, BUS_CONTAINER, "AutoRemove", &removal);
        if (r != 0)
                return r;
        if (streq(removal, "container"))
                return ctl_error(ctl, _("container '%s' is removed when it ends (--rm): it cannot be restarted"), id);
        return 0;
}

/* Takes those away that cannot be restarted. 0, or an exit status after an error about each. */
static int keep_staying(Ctl *ctl, int *argc, char **argv) {
        int n = 0, status = 0;

        for (int i = 0; i < *argc; i++) {
                int r = check_stays(ctl, argv[i]);

                if (r == 0)
                        argv[n++] = argv[i];
                else
                        status = r;
        }
        *argc = n;
        return status;
}

static int stop(Ctl *ctl, const char *verb, int argc, char **argv) {
        Stop s = { .ctl = ctl };
        Each each = {
                .kind = "task",
                .interface = BUS_TASK,
                .member = "Stop",
                .append = append,
                .absent_ok = true,
                .userdata = &s,
                .answered = streq(verb, "restart") ? restarted : NULL,
        };
        int r, status = 0;

        r = options_parse(ctl, verb, &argc, &argv, on_option, &s);
        if (r != 0)
                return r;
        if (each.answered)
                status = keep_staying(ctl, &argc, argv);
        r = argc > 0 ? each_call(ctl, &each, argc, argv) : 0;
        return r == 0 ? status : r;
}

/** verb_stop() - see above. */
int verb_stop(Ctl *ctl, int argc, char **argv) {
        return stop(ctl, "stop", argc, argv);
}

/** verb_restart() - see above. */
int verb_restart(Ctl *ctl, int argc, char **argv) {
        return stop(ctl, "restart", argc, argv);
}
