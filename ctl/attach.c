/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl attach: connects our terminal to the one of a running container, or our streams to the pipes that are kept
 * of it, until the container ends, the detach keys are typed or two signals come at once. Of a container that has
 * neither logs shows the output.
 * Attaching never starts, stops or changes a container.
 */

#include "ctl/launch.h"

#include <poll.h>

#include "ctl/verbs.h"
#include "shared/macros.h"

enum { OPTION_NO_STDIN = OPTION_FREE, OPTION_SIG_PROXY, OPTION_DETACH_KEYS };

const Option attach_options[] = {
        { OPTION_NO_STDIN, "no-stdin", NULL, N_("Only watch") },
        { OPTION_SIG_PROXY, "sig-proxy", "yes|no", N_("Whether signals go to the program; else they end this") },
        { OPTION_DETACH_KEYS, "detach-keys", N_("KEYS"), N_("Keys that leave it, such as ctrl-p,ctrl-q") },
        {},
};

static int on_option(int key, const char *arg, void *userdata) {
        Session *s = userdata;

        switch (key) {
        case OPTION_NO_STDIN:
                s->interactive = false;
                return 0;
        case OPTION_SIG_PROXY:
                s->leave_on_signal = streq(arg, "no") || streq(arg, "false");
                if (!s->leave_on_signal && !streq(arg, "yes") && !streq(arg, "true"))
                        return ctl_error(s->ctl, _("--sig-proxy takes yes or no, not '%s'"), arg);
                return 0;
        default:
                if (!detach_keys_parse(arg, &s->stdio.keys))
                        return ctl_error(s->ctl, _("'%s' are no keys; give them such as ctrl-p,ctrl-q"), arg);
                return 0;
        }
}

/* Takes the pipes of a process out of the answer. */
static int take_streams(Session *s, Message *reply) {
        static const char *const names[] = { "stdin", "stdout", "stderr" };
        int fds[3] = { -1, -1, -1 }, fd, r;
        const char *name;

        r = message_enter(reply, 'a', "(sh)");
        while (r >= 0 && (r = message_read(reply, "(sh)", &name, &fd)) > 0)
                for (size_t i = 0; i < ELEMENTSOF(names); i++)
                        if (streq(name, names[i]) && fds[i] < 0)
                                fds[i] = dup_cloexec(fd);
        return r < 0 ? r : stdio_streams(&s->stdio, fds, s->interactive);
}

/* A container without a terminal: the pipes that the manager keeps of it, where it has such. */
static int open_streams(Ctl *ctl, Session *s, const char *id) {
        _cleanup_call_ Call open = {};
        int r;

        s->terminal = false;
        s->kept_streams = true;
        r = call_simple(ctl, &open, s->path, BUS_PROCESS, "OpenStreams", NULL);
        if (r == 0)
                r = call_wait(ctl, &open);
        if (r != 0)
                return r;
        if (call_failed(&open, "FailedPrecondition"))
                return ctl_error(
                        ctl,
                        _("container '%s' was started with neither a terminal (-t) nor pipes (--log pipe); "
                          "'davitctl logs -f %s' shows its output"),
                        id, id);
        if (call_error(&open))
                return call_report(ctl, &open, id);
        r = take_streams(s, open.reply);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

static int open_terminal(Session *s, Message *reply) {
        int master, r;

        r = message_read(reply, "h", &master);
        if (r >= 0)
                r = master = dup_cloexec(master);
        return r < 0 ? r : stdio_terminal(&s->stdio, master, s->interactive);
}

static bool has_ended(const Session *s) {
        struct pollfd fd = { .fd = s->exit_fd, .events = POLLIN };

        return poll(&fd, 1, 0) > 0;
}

static int attach(Ctl *ctl, Session *s, const char *id) {
        _cleanup_call_ Call open = {}, wait = {};
        int fd, r;

        r = call_simple(ctl, &open, s->path, BUS_PROCESS, "OpenTerminal", NULL);
        if (r == 0)
                r = call_simple(ctl, &wait, s->path, BUS_PROCESS, "WaitFD", NULL);
        if (r == 0)
                r = call_wait(ctl, &open);
        if (r == 0)
                r = call_wait(ctl, &wait);
        if (r != 0)
                return r;
        if (error_no_object(call_error(&open)))
                return ctl_error(ctl, _("container '%s' is not running; start it with 'davitctl start -a %s'"), id,
                                 id);
        if (call_error(&wait))
                return call_report(ctl, &wait, id);
        r = message_read(wait.reply, "h", &fd);
        if (r >= 0)
                r = s->exit_fd = dup_cloexec(fd);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        if (call_error(&open) && has_ended(s))
                return ctl_error(
                        ctl,
                        _("container '%s' has ended; 'davitctl logs %s' shows what the journal has of it, "
                          "'davitctl start -a %s' starts it anew"),
                        id, id, id);
        if (call_failed(&open, "FailedPrecondition"))
                return open_streams(ctl, s, id);
        if (call_error(&open))
                return call_report(ctl, &open, id);
        r = open_terminal(s, open.reply);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/** verb_attach() - see above. */
int verb_attach(Ctl *ctl, int argc, char **argv) {
        _cleanup_session_ Session s = SESSION_INIT(ctl);
        _cleanup_free_ char *id = NULL, *path = NULL;
        int r;

        ctl->failure = EXIT_DAVIT;
        s.interactive = s.leave_on_second = true;
        r = options_parse(ctl, "attach", &argc, &argv, on_option, &s);
        if (r != 0)
                return r;
        r = container_object(ctl, argv[0], "task", &id, &path);
        if (r != 0)
                return r;
        s.path = path;
        s.id = id;
        s.terminal = true;
        r = session_open(&s);
        if (r == 0)
                r = attach(ctl, &s, id);
        return r == 0 ? session_run(&s) : r;
}
