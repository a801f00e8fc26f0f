/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl run: creates a container, starts it and stays until it ends, or with -d does not. Without a terminal one
 * call does it all and our own streams are the program's. With one, container, task and start are separate calls, so
 * that the terminal is ours before the program writes to it.
 */

#include "ctl/container-options.h"
#include "ctl/launch.h"
#include "ctl/terminal.h"
#include "ctl/verbs.h"

const Option run_options[] = {
        { 'd', "detach", NULL, N_("Do not stay; print the id") },
        { 'i', "interactive", NULL, N_("Connect stdin") },
        { OPTION_LOG, "log", N_("journal|null|pipe|file:PATH"), N_("Where output goes with -d (default: journal)") },
        { OPTION_DROP_AFTER, "drop-after", N_("TIME"), N_("With --log pipe, drop what nobody reads for so long") },
        CONTAINER_OPTIONS,
        {},
};

/* Sends Run and waits for the answer. */
static int send_run(ContainerOptions *o, Session *s, Call *call, int argc, char **argv) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = container_call_new(o, "Run", argc, argv, &m);
        if (r != 0)
                return r;
        r = stdio_append(&s->stdio, m);
        if (r >= 0 && o->log && streq(o->log, "null"))
                r = option_string(m, "Output", o->log);
        if (r >= 0 && o->log && streq(o->log, "pipe"))
                r = option_bool(m, "Pipes", true);
        if (r >= 0 && o->drop_after > 0)
                r = option_u64(m, "DropAfterUSec", o->drop_after);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(o->ctl, r);
        r = call_send(o->ctl, call, m);
        return r == 0 ? session_call_wait(s, call) : r;
}

/* One call of Run; @ret_id: borrowed from the call. */
static int call_run(ContainerOptions *o, Session *s, Call *call, int argc, char **argv, const char **ret_id) {
        int fd, r;

        r = container_make(o, s, call, argc, argv, send_run);
        stdio_sent(&s->stdio);
        if (r != 0)
                return r;
        if (call_error(call))
                return launch_report(o->ctl, call, o->rootfs || argc < 1 ? NULL : argv[0]);
        r = message_read(call->reply, "souh", ret_id, &s->path, NULL, &fd);
        if (r < 0)
                return bus_protocol_error(o->ctl, r);
        s->exit_fd = dup_cloexec(fd);
        return s->exit_fd < 0 ? bus_protocol_error(o->ctl, -errno) : 0;
}

static int run_plain(ContainerOptions *o, Session *s, int argc, char **argv) {
        _cleanup_call_ Call call = {};
        const char *id = NULL;
        int r;

        if (!o->detach) {
                r = stdio_prepare(&s->stdio, o->interactive);
                if (r < 0)
                        return ctl_error(o->ctl, _("cannot make a pipe: %s"), strerror(-r));
                o->ctl->stderr_given = s->stdio.given[STDERR_FILENO] == STDERR_FILENO;
        } else if (o->log && strncmp(o->log, "file:", 5) == 0) {
                r = stdio_file(&s->stdio, o->log + 5);
                if (r < 0)
                        return ctl_error(o->ctl, _("cannot open '%s': %s"), o->log + 5, strerror(-r));
        }
        r = call_run(o, s, &call, argc, argv, &id);
        if (r != 0)
                return r;
        s->id = id;
        if (!o->detach)
                return session_run(s);
        printf("%s\n", id);
        return EXIT_SUCCESS;
}

static int create_container(ContainerOptions *o, Session *s, Call *call, int argc, char **argv, const char **ret_path) {
        int r;

        r = container_make(o, s, call, argc, argv, container_define);
        if (r != 0)
                return r;
        if (call_error(call))
                return launch_report(o->ctl, call, argc > 0 ? argv[0] : NULL);
        r = message_read(call->reply, "so", &s->id, ret_path);
        return r < 0 ? bus_protocol_error(o->ctl, r) : 0;
}

static void undo(Ctl *ctl, const char *container) {
        _cleanup_call_ Call call = {};

        if (call_simple(ctl, &call, container, BUS_CONTAINER, "Delete", "a{sv}", 1, "Force", "b", 1) == 0)
                (void)call_wait(ctl, &call);
}

static int run_terminal(ContainerOptions *o, Session *s, int argc, char **argv) {
        _cleanup_call_ Call create = {}, task = {};
        const char *container = NULL, *path = NULL;
        int r;

        if (o->interactive && !isatty(STDIN_FILENO))
                return ctl_error(o->ctl, _("-i with -t needs a terminal on stdin; leave -t out"));
        r = create_container(o, s, &create, argc, argv, &container);
        if (r != 0)
                return r;
        r = task_create(s, &task, container, NULL);
        if (r == 0)
                r = task_created(s, &task, &path);
        if (r == 0)
                r = session_terminal(s, path);
        if (r != 0) {
                undo(o->ctl, container);
                return r;
        }
        return session_run(s);
}

/** verb_run() - see above. */
int verb_run(Ctl *ctl, int argc, char **argv) {
        _cleanup_container_options_ ContainerOptions o = CONTAINER_OPTIONS_INIT(ctl);
        _cleanup_session_ Session s = SESSION_INIT(ctl);
        int r;

        ctl->failure = EXIT_DAVIT;
        r = options_parse(ctl, "run", &argc, &argv, container_option, &o);
        if (r == 0)
                r = container_options_check(&o, argc);
        if (r == 0 && o.log && !o.detach)
                r = ctl_error(ctl, _("--log goes with -d only; otherwise the output comes here"));
        if (r == 0 && o.interactive && o.detach && !o.terminal && (!o.log || !streq(o.log, "pipe")))
                r = ctl_error(ctl, _("nobody is at stdin with -d; use --log pipe or -t, and 'davitctl attach' then"));
        if (r == 0)
                r = session_open(&s);
        if (r != 0)
                return r;
        s.interactive = o.interactive;
        s.terminal = o.terminal && !o.detach;
        s.leave_on_second = !s.terminal || !s.interactive; /* the keys of a terminal are the program's */
        return s.terminal ? run_terminal(&o, &s, argc, argv) : run_plain(&o, &s, argc, argv);
}
