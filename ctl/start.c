/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl start: starts containers that exist, anew where they have run before. With -a it stays with one of them as
 * run does; a container that was defined with a terminal then gets ours joined to it.
 * The definition of a container is never changed here.
 */

#include "ctl/start.h"

#include "ctl/each.h"
#include "ctl/json.h"
#include "ctl/launch.h"
#include "ctl/verbs.h"

enum { OPTION_CHECKPOINT = OPTION_FREE };

const Option start_options[] = {
        { 'a', "attach", NULL, N_("Stay until it ends, with its output here") },
        { OPTION_CHECKPOINT, "checkpoint", N_("NAME"), N_("Go on from a checkpoint") },
        { 'i', "interactive", NULL, N_("Connect stdin") },
        {},
};

typedef struct Start {
        bool attach, interactive;
        const char *checkpoint; /* NULL: from the beginning */
} Start;

static int on_option(int key, const char *arg, void *userdata) {
        Start *s = userdata;

        if (key == OPTION_CHECKPOINT)
                s->checkpoint = arg;
        else if (key == 'a')
                s->attach = true;
        else
                s->interactive = s->attach = true;
        return 0;
}

static int send_start(Ctl *ctl, Session *s, Call *call, const char *id, const char *checkpoint) {
        _cleanup_free_ char *path = path_of(ctl->ns, "container", id);
        _cleanup_message_ Message *m = NULL;
        int r;

        if (!path)
                return ctl_oom(ctl);
        r = call_new(ctl, path, BUS_CONTAINER, "Start", &m);
        if (r != 0)
                return r;
        r = message_open(m, 'a', "{sv}");
        if (r >= 0 && s)
                r = stdio_append(&s->stdio, m);
        if (r >= 0 && checkpoint)
                r = option_string(m, "Checkpoint", checkpoint);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, call, m);
        if (r != 0)
                return r;
        return s ? session_call_wait(s, call) : call_wait(ctl, call);
}

/* Whether a start was refused because of a task that has ended; it is deleted then and the start can be sent again. */
static bool old_task_deleted(Ctl *ctl, Call *call, const char *id) {
        _cleanup_free_ char *task = path_of(ctl->ns, "task", id);
        _cleanup_call_ Call delete = {};

        if (!task || !call_failed(call, "AlreadyExists") ||
            call_simple(ctl, &delete, task, BUS_PROCESS, "Delete", "a{sv}", 0) != 0 || call_wait(ctl, &delete) != 0 ||
            call_error(&delete))
                return false;
        call_clear(call);
        return true;
}

/* Calls Container.Start; s: the session it is for, or NULL. */
static int call_start(Ctl *ctl, Session *s, Call *call, const char *id, const char *checkpoint) {
        int r;

        r = send_start(ctl, s, call, id, checkpoint);
        if (r == 0 && old_task_deleted(ctl, call, id))
                r = send_start(ctl, s, call, id, checkpoint);
        if (s)
                stdio_sent(&s->stdio);
        return r;
}

static int start_whole(Ctl *ctl, const char *id, const char *checkpoint) {
        _cleanup_call_ Call call = {};
        int r;

        r = call_start(ctl, NULL, &call, id, checkpoint);
        if (r != 0)
                return r;
        return call_error(&call) ? launch_report(ctl, &call, id) : 0;
}

/** start_container() - starts a container by its whole id. 0 or an exit status. */
int start_container(Ctl *ctl, const char *id) {
        return start_whole(ctl, id, NULL);
}

static int start_one(Ctl *ctl, const char *given, const char *checkpoint) {
        _cleanup_free_ char *id = NULL;
        _cleanup_call_ Call call = {};
        int r;

        r = call_start(ctl, NULL, &call, given, checkpoint);
        if (r == 0 && error_no_object(call_error(&call))) {
                id = container_resolve(ctl, given);
                r = id ? start_whole(ctl, id, checkpoint) : ctl->failure;
        } else if (r == 0 && call_error(&call))
                r = launch_report(ctl, &call, given);
        if (r == 0)
                printf("%s\n", id ?: given);
        return r;
}

/* Whether the container's configuration asks for a terminal: 1, 0, or -1 after an error has been printed. */
static int wants_terminal(Ctl *ctl, const char *path, const char *id) {
        _cleanup_call_ Call call = {};
        const char *spec;

        if (call_simple(ctl, &call, path, DBUS_PROPERTIES, "Get", "ss", BUS_CONTAINER, "Spec") != 0 ||
            call_wait(ctl, &call) != 0)
                return -1;
        if (call_error(&call)) {
                (void)call_report(ctl, &call, id);
                return -1;
        }
        if (message_read(call.reply, "v", "s", &spec) < 0)
                return 0;
        return json_find_true(spec, "process", "terminal");
}

/* A task from a checkpoint outlives a start that fails, for those who want to try again. */
static void drop_task(Ctl *ctl, const char *task) {
        _cleanup_call_ Call call = {};

        if (call_simple(ctl, &call, task, BUS_PROCESS, "Delete", "a{sv}", 0) == 0)
                (void)call_wait(ctl, &call);
}

static int attach_terminal(Session *s, const char *path, const char *id, const char *checkpoint) {
        _cleanup_call_ Call call = {};
        const char *task;
        int r;

        s->terminal = true;
        r = task_create(s, &call, path, checkpoint);
        if (r == 0 && old_task_deleted(s->ctl, &call, id))
                r = task_create(s, &call, path, checkpoint);
        if (r == 0)
                r = task_created(s, &call, &task);
        if (r != 0)
                return r;
        r = session_terminal(s, task);
        if (r != 0 && checkpoint)
                drop_task(s->ctl, task);
        return r == 0 ? session_run(s) : r;
}

static int attach_plain(Ctl *ctl, Session *s, const char *id, const char *checkpoint) {
        _cleanup_call_ Call call = {};
        int fd, r;

        r = stdio_prepare(&s->stdio, s->interactive);
        if (r < 0)
                return ctl_error(ctl, _("cannot make a pipe: %s"), strerror(-r));
        ctl->stderr_given = s->stdio.given[STDERR_FILENO] == STDERR_FILENO;
        r = call_start(ctl, s, &call, id, checkpoint);
        if (r != 0)
                return r;
        if (call_error(&call))
                return launch_report(ctl, &call, id);
        r = message_read(call.reply, "ouh", &s->path, NULL, &fd);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        s->exit_fd = dup_cloexec(fd);
        return s->exit_fd < 0 ? bus_protocol_error(ctl, -errno) : session_run(s);
}

static int start_attached(Ctl *ctl, const char *given, const Start *start) {
        _cleanup_session_ Session s = SESSION_INIT(ctl);
        _cleanup_free_ char *id = NULL, *path = NULL;
        int terminal, r;

        ctl->failure = EXIT_DAVIT;
        r = container_object(ctl, given, "container", &id, &path);
        if (r != 0)
                return r;
        terminal = wants_terminal(ctl, path, id);
        if (terminal < 0)
                return ctl->failure;
        r = session_open(&s);
        if (r != 0)
                return r;
        s.interactive = start->interactive;
        s.id = id;
        s.leave_on_second = !terminal || !s.interactive; /* the keys of a terminal are the program's */
        return terminal ? attach_terminal(&s, path, id, start->checkpoint)
                        : attach_plain(ctl, &s, id, start->checkpoint);
}

/** verb_start() - see above. */
int verb_start(Ctl *ctl, int argc, char **argv) {
        _cleanup_strv_ Strv names = {};
        Start s = {};
        int r, status;

        r = options_parse(ctl, "start", &argc, &argv, on_option, &s);
        if (r != 0)
                return r;
        if (s.attach && argc > 1)
                return ctl_error(ctl, _("only one container at a time can be attached to"));
        if (s.attach)
                return start_attached(ctl, argv[0], &s);
        status = each_names(ctl, false, argc, argv, &names);
        for (size_t i = 0; i < names.n; i++) {
                r = start_one(ctl, names.v[i], s.checkpoint);
                if (r != 0)
                        status = r;
        }
        return status;
}
