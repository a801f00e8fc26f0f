/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl exec: runs a further program in a running container and stays until it ends. The task's object path is made
 * from the id without asking; only where there is no such object the id is looked up by its beginning. The container's
 * own program is not touched.
 */

#include "ctl/container-options.h"
#include "ctl/launch.h"
#include "ctl/verbs.h"

const Option exec_options[] = {
        { 'd', "detach", NULL, N_("Do not stay; print the id of the exec") },
        { 'i', "interactive", NULL, N_("Connect stdin") },
        { 't', "tty", NULL, N_("Give the program a terminal") },
        { 'e', "env", N_("KEY[=VALUE]"), N_("Set a variable; without VALUE take ours") },
        { OPTION_ENV_FILE, "env-file", N_("FILE"), N_("Read variables from a file") },
        { 'w', "workdir", N_("DIR"), N_("Working directory") },
        { 'u', "user", N_("USER[:GROUP]"), N_("User, by name or number") },
        { OPTION_CAP_ADD, "cap-add", N_("CAPABILITY"), N_("Add a capability") },
        {},
};

static int append_options(ContainerOptions *o, Session *s, Message *m) {
        int r;

        r = option_bool(m, "AutoRemove", true);
        if (r >= 0 && o->env.n > 0)
                r = option_strv(m, "Env", o->env.v);
        if (r >= 0 && o->cap_add.n > 0)
                r = option_strv(m, "CapAdd", o->cap_add.v);
        if (r >= 0 && o->working_dir)
                r = option_string(m, "WorkingDir", o->working_dir);
        if (r >= 0 && o->user)
                r = option_string(m, "User", o->user);
        if (r >= 0 && o->terminal)
                r = option_bool(m, "Terminal", true);
        if (r >= 0 && s->terminal)
                r = append_console_size(m);
        return r < 0 ? r : stdio_append(&s->stdio, m);
}

static int call_exec(ContainerOptions *o, Session *s, Call *call, const char *task, char **argv) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = call_new(o->ctl, task, BUS_TASK, s->terminal ? "Exec" : "ExecStart", &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", "");
        if (r >= 0)
                r = message_append_strv(m, argv);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        if (r >= 0)
                r = append_options(o, s, m);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(o->ctl, r);
        r = call_send(o->ctl, call, m);
        message_free(TAKE_PTR(m));
        return r == 0 ? session_call_wait(s, call) : r;
}

/* The call to the task of what the user named; a second one where that was only the beginning of an id, which @ret_id
 * is then. */
static int exec_in(ContainerOptions *o, Session *s, Call *call, char **argv, char **ret_id) {
        _cleanup_free_ char *task = NULL;
        char *id;
        int r;

        s->exec = argv[0];
        task = path_of(o->ctl->ns, "task", argv[0]);
        if (!task)
                return ctl_oom(o->ctl);
        r = call_exec(o, s, call, task, argv + 1);
        if (r != 0 || !error_no_object(call_error(call)))
                return r;
        s->exec = id = *ret_id = container_resolve(o->ctl, argv[0]);
        if (!id)
                return o->ctl->failure;
        free(task);
        task = path_of(o->ctl->ns, "task", id);
        if (!task)
                return ctl_oom(o->ctl);
        call_clear(call);
        r = call_exec(o, s, call, task, argv + 1);
        if (r == 0 && error_no_object(call_error(call)))
                return ctl_error(o->ctl, _("container '%s' is not running; start it with 'davitctl start %s'"), id, id);
        return r;
}

static int exec_follow(ContainerOptions *o, Session *s, Call *call) {
        const char *id, *path;
        int fd, r;

        if (call_error(call))
                return session_report(s, call);
        r = message_read(call->reply, "so", &id, &path);
        if (r < 0)
                return bus_protocol_error(o->ctl, r);
        if (s->terminal) {
                r = session_terminal(s, path);
                return r == 0 ? session_run(s) : r;
        }
        r = message_read(call->reply, "uh", NULL, &fd);
        if (r < 0)
                return bus_protocol_error(o->ctl, r);
        if (o->detach) {
                printf("%s\n", id);
                return EXIT_SUCCESS;
        }
        s->path = path;
        s->exit_fd = dup_cloexec(fd);
        return s->exit_fd < 0 ? bus_protocol_error(o->ctl, -errno) : session_run(s);
}

/** verb_exec() - see above. */
int verb_exec(Ctl *ctl, int argc, char **argv) {
        _cleanup_container_options_ ContainerOptions o = CONTAINER_OPTIONS_INIT(ctl);
        _cleanup_session_ Session s = SESSION_INIT(ctl);
        _cleanup_free_ char *id = NULL;
        _cleanup_call_ Call call = {};
        int r;

        ctl->failure = EXIT_DAVIT;
        r = options_parse(ctl, "exec", &argc, &argv, container_option, &o);
        if (r == 0 && o.interactive && o.detach)
                r = ctl_error(ctl, _("nobody is at stdin with -d; leave -i out"));
        if (r == 0 && o.terminal && o.detach)
                r = ctl_error(ctl, _("nobody reads the terminal of an exec with -d; leave -t out"));
        if (r == 0)
                r = session_open(&s);
        if (r != 0)
                return r;
        s.interactive = o.interactive;
        s.terminal = o.terminal;
        s.leave_on_second = !s.terminal || !s.interactive; /* the keys of a terminal are the program's */
        if (s.terminal && s.interactive && !isatty(STDIN_FILENO))
                return ctl_error(ctl, _("-i with -t needs a terminal on stdin; leave -t out"));
        if (!s.terminal && !o.detach) {
                r = stdio_prepare(&s.stdio, o.interactive);
                if (r < 0)
                        return ctl_error(ctl, _("cannot make a pipe: %s"), strerror(-r));
                ctl->stderr_given = s.stdio.given[STDERR_FILENO] == STDERR_FILENO;
        }
        r = exec_in(&o, &s, &call, argv, &id);
        stdio_sent(&s.stdio);
        return r == 0 ? exec_follow(&o, &s, &call) : r;
}
