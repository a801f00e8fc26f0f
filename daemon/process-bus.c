/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus face of processes: org.davit.Davit1.Process, on a task's path for its first process and on
 * .../task/<id>/exec/<exec id> for an exec.
 *
 * Decodes, calls, encodes. Waiting callers keep their message in the process's list of waiters; one that hangs up is
 * only noticed at the end, which costs a message nobody reads.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/exec.h"
#include "daemon/objects.h"
#include "daemon/process.h"
#include "daemon/task-deferred.h"
#include "daemon/task.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"

#define INTERFACE "org.davit.Davit1.Process"
#define TASK_INTERFACE "org.davit.Davit1.Task"

static bool is_task(const Process *p) {
        return p == &p->task->process;
}

static void on_task_done(Task *t _unused_, int r, const sd_bus_error *error, void *userdata) {
        bus_reply_done(userdata, r, error);
}

static void on_exec_done(Exec *e _unused_, int r, const sd_bus_error *error, void *userdata) {
        bus_reply_done(userdata, r, error);
}

static int refuse_ended(const Process *p, sd_bus_error *error) {
        if (is_task(p))
                return error_precondition(error, "Task \"%s\" has ended.", p->task->id);
        return error_precondition(error, "Exec \"%s\" has ended.", p->exec_id);
}

static int method_start(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Process *p = userdata;

        sd_bus_message_ref(m);
        if (is_task(p))
                return bus_reply_later(m, task_start(p->task, on_task_done, m, error), error);
        return bus_reply_later(m, exec_start(exec_of(p), on_exec_done, m, error), error);
}

/* An exec, or a task from a checkpoint: no shim knows of it. */
static bool is_waiting(const Process *p) {
        return p->status == TASK_CREATED && (!is_task(p) || p->task->deferred);
}

static int check_started(const Process *p, sd_bus_error *error) {
        if (!is_waiting(p))
                return 0;
        if (is_task(p))
                return task_deferred_check(p->task, error);
        return error_precondition(error, "Exec \"%s\" has not been started; start it first.", p->exec_id);
}

static int method_kill(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Process *p = userdata;
        int r, sig;

        r = bus_read_signal(m, &sig, error);
        if (r < 0)
                return r;
        if (process_ended(p))
                return refuse_ended(p, error);
        r = check_started(p, error);
        if (r < 0)
                return r;
        sd_bus_message_ref(m);
        return bus_reply_later(m, task_kill(p->task, p->exec_id, sig, false, on_task_done, m, error), error);
}

static void on_waited(Process *p, void *userdata) {
        _cleanup_bus_message_ sd_bus_message *call = userdata;

        if (p)
                (void)sd_bus_reply_method_return(call, "ust", p->exit_status, exit_kind_name(p->exit_kind),
                                                 p->exited_at);
        else
                (void)sd_bus_reply_method_errorf(call, error_kind_bus_name(ERROR_NOT_FOUND),
                                                 "The process was deleted.");
}

static int method_wait(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        process_wait(userdata, on_waited, sd_bus_message_ref(m));
        return 1;
}

static int method_wait_fd(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_close_ int fd = -1;
        int r;

        r = process_wait_fd(userdata, &fd);
        if (r < 0)
                return error_set_errno(error, r, "No pipe can be made");
        return sd_bus_reply_method_return(m, "h", fd);
}

static int check_terminal(const Process *p, sd_bus_error *error) {
        if (!p->terminal)
                return error_precondition(error, "The process has no terminal; see OpenStreams for its pipes.");
        if (process_ended(p))
                return refuse_ended(p, error);
        return 0;
}

static int method_resize(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        uint32_t columns, rows;
        Process *p = userdata;
        int r;

        r = sd_bus_message_read(m, "uu", &columns, &rows);
        if (r >= 0)
                r = check_terminal(p, error);
        if (r >= 0)
                r = check_started(p, error);
        if (r < 0)
                return r;
        if (columns > UINT16_MAX || rows > UINT16_MAX)
                return error_invalid(error, "A terminal has at most %u columns and rows.", UINT16_MAX);
        sd_bus_message_ref(m);
        return bus_reply_later(
                m, task_resize(p->task, p->exec_id, (uint16_t)columns, (uint16_t)rows, on_task_done, m, error), error);
}

static void on_terminal(Task *t _unused_, int r, int fd_in, const sd_bus_error *error, void *userdata) {
        sd_bus_message *call = userdata;
        _cleanup_close_ int fd = fd_in;

        if (r < 0)
                bus_reply_error(&call, r, error);
        else {
                (void)sd_bus_reply_method_return(call, "h", fd);
                sd_bus_message_unref(call);
        }
}

static void on_late_terminal(int fd, void *userdata) {
        _cleanup_bus_message_ sd_bus_message *call = userdata;

        if (fd >= 0)
                (void)sd_bus_reply_method_return(call, "h", fd);
        else
                (void)sd_bus_reply_method_errorf(call, error_kind_bus_name(ERROR_FAILED_PRECONDITION),
                                                 "The process was not started.");
}

static int method_open_terminal(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Process *p = userdata;
        int r;

        r = check_terminal(p, error);
        if (r < 0)
                return r;
        if (is_waiting(p)) {
                process_wait_terminal(p, on_late_terminal, sd_bus_message_ref(m));
                return 1;
        }
        sd_bus_message_ref(m);
        return bus_reply_later(m, task_fd_request(p->task, SHIM_TERMINAL, p->exec_id, on_terminal, m, error), error);
}

static const char *const stream_names[3] = { "stdin", "stdout", "stderr" };

static int reply_streams(sd_bus_message *call, const int fds[3]) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sh)");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(stream_names); i++)
                if (fds[i] >= 0)
                        r = sd_bus_message_append(reply, "(sh)", stream_names[i], fds[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static void on_streams(int r, const int fds[3], const sd_bus_error *error, void *userdata) {
        sd_bus_message *call = userdata;

        if (r >= 0)
                r = reply_streams(call, fds);
        if (r < 0)
                bus_reply_error(&call, r, error);
        else
                sd_bus_message_unref(call);
}

static int check_streams(const Process *p, sd_bus_error *error) {
        if (p->terminal)
                return error_precondition(error, "The process has a terminal and no pipes; see OpenTerminal.");
        if (process_ended(p))
                return refuse_ended(p, error);
        return 0;
}

/* Streams that no shim has got yet; NULL: it has. */
static const Stdio *waiting_streams(Process *p) {
        if (is_task(p))
                return task_deferred_stdio(p->task);
        return is_waiting(p) && !exec_is_starting(exec_of(p)) ? &exec_of(p)->stdio : NULL;
}

static int open_waiting(sd_bus_message *m, const Process *p, const Stdio *streams, sd_bus_error *error) {
        int fds[3], n = 0;

        for (unsigned i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = stdio_kept(streams, i);
                n += fds[i] >= 0;
        }
        if (n == 0)
                return error_precondition(error, "%s \"%s\" has no pipes, and has not been started.",
                                          is_task(p) ? "Task" : "Exec", is_task(p) ? p->task->id : p->exec_id);
        return reply_streams(m, fds);
}

static int method_open_streams(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const Stdio *waiting;
        Process *p = userdata;
        int r;

        r = check_streams(p, error);
        if (r < 0)
                return r;
        waiting = waiting_streams(p);
        if (waiting)
                return open_waiting(m, p, waiting, error);
        sd_bus_message_ref(m);
        return bus_reply_later(m, task_open_streams(p->task, p->exec_id, on_streams, m, error), error);
}

static int read_streams(sd_bus_message *m, uint32_t *ret, sd_bus_error *error) {
        g_auto(GStrv) names = NULL;
        uint32_t mask = 0;
        int r;

        r = sd_bus_message_read_strv(m, &names);
        if (r < 0)
                return r;
        for (char **name = names; name && *name; name++) {
                size_t i = 0;

                while (i < ELEMENTSOF(stream_names) && !streq(stream_names[i], *name))
                        i++;
                if (i == ELEMENTSOF(stream_names))
                        return error_invalid(error, "\"%s\" is no stream: stdin, stdout or stderr.", *name);
                mask |= 1U << i;
        }
        *ret = mask;
        return 0;
}

static int method_close_streams(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Process *p = userdata;
        uint32_t mask = 0;
        int r;

        r = read_streams(m, &mask, error);
        if (r >= 0)
                r = check_streams(p, error);
        if (r >= 0)
                r = check_started(p, error);
        if (r < 0)
                return r;
        sd_bus_message_ref(m);
        return bus_reply_later(m, task_close_streams(p->task, p->exec_id, mask, on_task_done, m, error), error);
}

static void on_deleted(int r, const struct shim_exited *e, const sd_bus_error *error, void *userdata) {
        sd_bus_message *call = userdata;

        if (r < 0)
                bus_reply_error(&call, r, error);
        else {
                (void)sd_bus_reply_method_return(call, "ust", e->status, e->kind ? exit_kind_name(e->kind) : "",
                                                 e->exited_at);
                sd_bus_message_unref(call);
        }
}

static int delete_exec(sd_bus_message *m, Process *p, sd_bus_error *error) {
        struct shim_exited end = { .status = p->exit_status, .kind = p->exit_kind, .exited_at = p->exited_at };

        if (!process_ended(p) && p->status != TASK_CREATED)
                return error_precondition(error, "Exec \"%s\" is running; kill it first.", p->exec_id);
        if (exec_is_starting(exec_of(p)))
                return error_precondition(error, "Exec \"%s\" is just being started; try again when that is done.",
                                          p->exec_id);
        exec_forget(exec_of(p)); /* first: what has been told is true, whenever this process ends */
        return sd_bus_reply_method_return(m, "ust", end.status, end.kind ? exit_kind_name(end.kind) : "",
                                          end.exited_at);
}

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        Process *p = userdata;
        int r;

        r = options_read(m, OPTION_DELETE_PROCESS, &o, error);
        if (r < 0)
                return r;
        if (!is_task(p)) {
                if (o.force >= 0)
                        return error_invalid(error, "Option Force is for tasks.");
                return delete_exec(m, p, error);
        }
        sd_bus_message_ref(m);
        return bus_reply_later(m, task_delete(p->task, o.force > 0, on_deleted, m, error), error);
}

#define GETTER(name)                                                                                                   \
        static int name(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,               \
                        const char *property _unused_, sd_bus_message *reply, void *userdata,                          \
                        sd_bus_error *error _unused_)

GETTER(get_status) {
        return sd_bus_message_append(reply, "s", task_status_name(((Process *)userdata)->status));
}

GETTER(get_exit_kind) {
        const Process *p = userdata;

        return sd_bus_message_append(reply, "s", p->exit_kind ? exit_kind_name(p->exit_kind) : "");
}

GETTER(get_command) {
        return sd_bus_message_append_strv(reply, ((Process *)userdata)->command);
}

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define AT(x) offsetof(Process, x)
#define EXIT SD_BUS_RESULT("u", status, "s", kind, "t", exited_at)

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_start, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Kill", SD_BUS_ARGS("s", signal), SD_BUS_NO_RESULT, method_kill,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Wait", SD_BUS_NO_ARGS, EXIT, method_wait, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("WaitFD", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", exit), method_wait_fd,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resize", SD_BUS_ARGS("u", columns, "u", rows), SD_BUS_NO_RESULT, method_resize,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("OpenTerminal", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", terminal), method_open_terminal,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("OpenStreams", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sh)", streams), method_open_streams,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CloseStreams", SD_BUS_ARGS("as", streams), SD_BUS_NO_RESULT, method_close_streams,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_ARGS("a{sv}", options), EXIT, method_delete,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("ExecId", "s", NULL, AT(exec_id), CONST),
        SD_BUS_PROPERTY("Pid", "u", NULL, AT(pid), CHANGES),
        SD_BUS_PROPERTY("Status", "s", get_status, 0, CHANGES),
        SD_BUS_PROPERTY("ExitStatus", "u", NULL, AT(exit_status), CHANGES),
        SD_BUS_PROPERTY("ExitKind", "s", get_exit_kind, 0, CHANGES),
        SD_BUS_PROPERTY("ExitedAt", "t", NULL, AT(exited_at), CHANGES),
        SD_BUS_PROPERTY("StartedAt", "t", NULL, AT(started_at), CHANGES),
        SD_BUS_PROPERTY("Command", "as", get_command, 0, CONST),
        SD_BUS_PROPERTY("DroppedBytes", "t", NULL, AT(dropped_bytes), CHANGES),
        SD_BUS_PROPERTY("Terminal", "b", NULL, AT(terminal), CONST),
        SD_BUS_SIGNAL_WITH_ARGS("Exited", SD_BUS_ARGS("u", status, "s", kind, "t", exited_at), 0),
        SD_BUS_VTABLE_END,
};

/* .../task/<id>/exec/<exec id>: the last two segments are cut off, the rest is a task's path. */
static int find_exec(Manager *m, const char *path, Process **ret) {
        g_autofree char *task_path = NULL, *ns_name = NULL, *id = NULL;
        _cleanup_free_ char *exec_id = NULL;
        const char *p = strstr(path, "/exec/");
        Namespace *ns;
        Exec *e;
        Task *t;

        if (!p)
                return 0;
        task_path = g_strndup(path, (size_t)(p - path));
        if (bus_object_parse(task_path, "task", &ns_name, &id) <= 0)
                return 0;
        ns = g_hash_table_lookup(m->namespaces, ns_name);
        t = ns ? g_hash_table_lookup(ns->tasks, id) : NULL;
        if (!t || sd_bus_path_decode_many(path + (p - path), "/exec/%", &exec_id) <= 0)
                return 0;
        e = g_hash_table_lookup(t->execs, exec_id);
        *ret = e ? &e->process : NULL;
        return e ? 1 : 0;
}

static int find(sd_bus *bus _unused_, const char *path, const char *interface _unused_, void *userdata, void **ret,
                sd_bus_error *error _unused_) {
        Task *t = object_at(userdata, &task_objects, path);
        Process *p = t ? &t->process : NULL;

        if (!p)
                (void)find_exec(userdata, path, &p);
        *ret = p;
        return p && p->visible ? 1 : 0;
}

static size_t add_task(Task *t, char **nodes, size_t n) {
        GHashTableIter iter;
        Exec *e;

        if (t->process.visible)
                nodes[n++] = strdup(t->process.path);
        g_hash_table_iter_init(&iter, t->execs);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&e))
                if (e->process.visible)
                        nodes[n++] = strdup(e->process.path);
        return n;
}

static int enumerate(sd_bus *bus _unused_, const char *prefix _unused_, void *userdata, char ***ret,
                     sd_bus_error *error _unused_) {
        Manager *m = userdata;
        size_t n = 0, max = 0;
        char **nodes;
        Task *t;
        ObjectWalk w;

        for (object_walk_init(&w, m, offsetof(Namespace, tasks)); (t = object_walk_next(&w));)
                max += 1 + g_hash_table_size(t->execs);
        nodes = calloc(max + 1, sizeof(char *));
        if (!nodes)
                return -ENOMEM;
        for (object_walk_init(&w, m, offsetof(Namespace, tasks)); (t = object_walk_next(&w));)
                n = add_task(t, nodes, n);
        *ret = nodes;
        return 1;
}

/** process_bus_register() - once, for all of them */
int process_bus_register(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, DAVIT_BUS_PATH "/ns", INTERFACE, vtable, find, m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, DAVIT_BUS_PATH "/ns", enumerate, m);
}

/** process_bus_changed() - announces new values */
void process_bus_changed(Process *p, const char *const *properties) {
        if (p->visible)
                (void)sd_bus_emit_properties_changed_strv(p->manager->bus, p->path, INTERFACE, (char **)properties);
}

/** process_bus_exited() - the last change of the properties, then the signal */
void process_bus_exited(Process *p) {
        if (!p->visible)
                return;
        process_bus_changed(p, (const char *const[]){ "Status", "ExitStatus", "ExitKind", "ExitedAt", NULL });
        (void)sd_bus_emit_signal(p->manager->bus, p->path, INTERFACE, "Exited", "ust", p->exit_status,
                                 exit_kind_name(p->exit_kind), p->exited_at);
}

/** process_bus_added() - announces it */
void process_bus_added(Process *p) {
        if (p->visible)
                return;
        p->visible = true;
        if (p->manager->silent)
                return;
        if (is_task(p))
                (void)sd_bus_emit_interfaces_added(p->manager->bus, p->path, TASK_INTERFACE, INTERFACE, NULL);
        else
                (void)sd_bus_emit_interfaces_added(p->manager->bus, p->path, INTERFACE, NULL);
}

/** process_bus_removed() - announces its end */
void process_bus_removed(Process *p) {
        if (!p->visible)
                return;
        p->visible = false;
        if (is_task(p))
                (void)sd_bus_emit_interfaces_removed(p->manager->bus, p->path, TASK_INTERFACE, INTERFACE, NULL);
        else
                (void)sd_bus_emit_interfaces_removed(p->manager->bus, p->path, INTERFACE, NULL);
}
