/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl attach: connects our terminal to the one of a running container, until the container ends or ctrl-p
 * ctrl-q is typed. A container without a terminal writes to descriptors it got at its start; its output is shown by
 * logs. Attaching never starts, stops or changes a container.
 */

#include "ctl/launch.h"
#include "ctl/verbs.h"

enum { OPTION_NO_STDIN = OPTION_FREE };

const Option attach_options[] = {
        { OPTION_NO_STDIN, "no-stdin", NULL, N_("Only watch") },
        {},
};

static int on_option(_unused_ int key, _unused_ const char *arg, void *userdata) {
        *(bool *)userdata = true;
        return 0;
}

static int open_terminal(Ctl *ctl, Session *s, const char *id) {
        _cleanup_call_ Call open = {}, wait = {};
        int master, fd, r;

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
                return ctl_error(ctl, _("container '%s' is not running; start it with 'davitctl start %s'"), id, id);
        if (call_failed(&open, "FailedPrecondition"))
                return ctl_error(ctl, _("container '%s' has no terminal; see 'davitctl logs %s' for its output"), id,
                                 id);
        if (call_error(&open) || call_error(&wait))
                return call_report(ctl, call_error(&open) ? &open : &wait, id);
        r = message_read(open.reply, "h", &master);
        if (r >= 0)
                r = message_read(wait.reply, "h", &fd);
        if (r >= 0)
                r = master = dup_cloexec(master);
        if (r >= 0)
                r = s->exit_fd = dup_cloexec(fd);
        if (r >= 0)
                r = stdio_terminal(&s->stdio, master, s->interactive);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/** verb_attach() - see above. */
int verb_attach(Ctl *ctl, int argc, char **argv) {
        _cleanup_session_ Session s = SESSION_INIT(ctl);
        _cleanup_free_ char *id = NULL, *path = NULL;
        bool no_stdin = false;
        int r;

        ctl->failure = EXIT_DAVIT;
        r = options_parse(ctl, "attach", &argc, &argv, on_option, &no_stdin);
        if (r != 0)
                return r;
        id = container_resolve(ctl, argv[0]);
        if (!id)
                return ctl->failure;
        path = path_of(ctl->ns, "task", id);
        if (!path)
                return ctl_oom(ctl);
        s.path = path;
        s.terminal = true;
        s.interactive = !no_stdin;
        r = session_open(&s);
        if (r == 0)
                r = open_terminal(ctl, &s, id);
        return r == 0 ? session_run(&s) : r;
}
