/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Execs: further processes in a running task.
 *
 * Defining one compiles its plan and keeps the caller's descriptors; the shim hears of it only when it starts, so an
 * exec that is never started costs nothing there. Its end is its own and never the task's. Owned by its task's table.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/exec.h"
#include "daemon/task-deferred.h"
#include "daemon/task-files.h"
#include "shared/macros.h"
#include "shared/plan.h"

static Exec *exec_alloc(Task *t, const char *exec_id, char **command) {
        g_autofree char *base = bus_object_path(t->ns->name, "task", t->id), *prefix = g_strconcat(base, "/exec", NULL);
        _cleanup_free_ char *path = NULL;
        Exec *e;

        if (sd_bus_path_encode(prefix, exec_id, &path) < 0)
                return NULL;
        e = g_new0(Exec, 1);
        e->plan_fd = -1;
        stdio_init(&e->stdio);
        process_init(&e->process, t, exec_id, g_strdup(path));
        e->process.command = g_strdupv(command);
        return e;
}

static void drop_start(Exec *e) {
        e->plan_fd = safe_close(e->plan_fd);
        stdio_drop(&e->stdio);
}

/** exec_free() - frees the object alone */
Exec *exec_free(Exec *e) {
        if (!e)
                return NULL;
        e->plan_fd = safe_close(e->plan_fd);
        stdio_done(&e->stdio);
        process_done(&e->process);
        g_free(e);
        return NULL;
}

static int build(Exec *e, char **command, Options *o, sd_bus_error *error) {
        Task *t = e->process.task;
        g_auto(PlanResult) result = PLAN_RESULT_NULL;
        g_autoptr(JsonNode) process = NULL;
        g_autoptr(JsonNode) spec = NULL;
        g_autoptr(GError) g = NULL;
        PlanContext context = {
                .namespace_ = t->ns->name,
                .id = t->id,
                .log_identifier = t->id,
                .n_listen_fds = o->listen_fds ? o->listen_fds->len : 0,
                .cache_dir = "/var/lib/davit/seccomp",
                .flags = streq(t->ns->manager->config.seccomp_report, "yes") ? PLAN_SECCOMP_REPORT : 0,
        };
        PlanRuntime runtime = { .program = t->runtime, .root = "/" }; /* the rest the shim has */
        SpecOptions so;
        int r;

        if (!runtime_is_own(t->runtime))
                context.runtime = &runtime;
        r = task_load_spec(t, &spec, error);
        if (r < 0)
                return r;
        options_get_spec(o, &so);
        so.command = (const char *const *)command;
        if (so.working_dir && !*so.working_dir)
                so.working_dir = NULL; /* the container's */
        process = spec_exec_process(spec, &so, &g);
        if (!process || !plan_build_exec(spec, process, e->process.exec_id, &context, &result, &g))
                return error_set_gerror(error, g);
        e->process.terminal = result.terminal;
        r = stdio_prepare(o, result.terminal, &e->stdio, error);
        if (r < 0)
                return r;
        e->plan_fd = take_fd(&result.memfd);
        return 0;
}

static int check_new(Task *t, const char *exec_id, char **command, sd_bus_error *error) {
        if (!command || !command[0])
                return error_invalid(error, "An exec needs a command.");
        if (t->launch)
                return error_precondition(error, "Task \"%s\" is still being created; try again when that is done.",
                                          t->id);
        if (t->deferred)
                return task_deferred_check(t, error);
        if (t->held)
                return error_precondition(error, "A checkpoint of task \"%s\" is being made; try again.", t->id);
        if (process_ended(&t->process) || !t->link)
                return error_precondition(error, "Task \"%s\" is not running; start its container again.", t->id);
        if (!name_id_valid(exec_id) || strlen(exec_id) >= SHIM_EXEC_ID_MAX || streq(exec_id, "init"))
                return error_invalid(error, "\"%s\" is no exec id: up to %u " NAME_RULE ", and not \"init\".", exec_id,
                                     SHIM_EXEC_ID_MAX - 1);
        if (g_hash_table_contains(t->execs, exec_id))
                return error_exists(error,
                                    "Task \"%s\" has an exec \"%s\" already; delete that first, or take another id.",
                                    t->id, exec_id);
        return 0;
}

/** exec_new() - defines an exec; an empty exec_id is replaced by one of ours. Not yet on the bus. */
int exec_new(Task *t, const char *exec_id, char **command, Options *o, Exec **ret, sd_bus_error *error) {
        char random[13];
        Exec *e;
        int r;

        if (!*exec_id) {
                r = name_random_id(random);
                if (r < 0)
                        return r;
                exec_id = random;
        }
        r = check_new(t, exec_id, command, error);
        if (r < 0)
                return r;
        e = exec_alloc(t, exec_id, command);
        if (!e)
                return -ENOMEM;
        e->process.auto_remove = o->exec_auto_remove;
        r = build(e, command, o, error);
        if (r < 0) {
                (void)exec_free(e);
                return r;
        }
        e->process.status = TASK_CREATED;
        g_hash_table_insert(t->execs, e->process.exec_id, e);
        *ret = e;
        return 0;
}

/** exec_restore() - an exec that the shim or a file of an earlier life of the manager tells of */
int exec_restore(Task *t, const char *exec_id, char **command, bool terminal, bool auto_remove, Exec **ret) {
        Exec *e;

        if (!name_id_valid(exec_id) || g_hash_table_contains(t->execs, exec_id))
                return -EINVAL;
        e = exec_alloc(t, exec_id, command);
        if (!e)
                return -ENOMEM;
        e->process.terminal = terminal;
        e->process.auto_remove = auto_remove;
        g_hash_table_insert(t->execs, e->process.exec_id, e);
        *ret = e;
        return 0;
}

typedef struct Start {
        Exec *exec;
        exec_done_t done;
        void *userdata;
} Start;

/** exec_started() - the program has been executed; takes the terminal's master, or -1 */
void exec_started(Exec *e, const struct shim_started *s, int terminal) {
        _cleanup_close_ int fd = terminal;

        process_tell_terminal(&e->process, fd);
        (void)process_set_started(&e->process, s->pid, s->start_time, shim_started_at(s, now_usec(CLOCK_REALTIME)));
        if (!e->process.visible) /* defined and started in one call */
                event_exec(e, EVENT_EXEC_ADDED);
        event_exec(e, EVENT_EXEC_STARTED);
}

/* The one thing a shim has against an exec at that step which may be over the next moment. */
static bool is_paused(const LinkAnswer *a) {
        const struct shim_failed *f = a->body;

        return a->head && a->head->type == SHIM_FAILED && f->step == SHIM_STEP_PLAN && a->error == -EBUSY;
}

static void on_started(const LinkAnswer *a, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree Start *s = userdata;
        g_autofree char *what = NULL;
        Exec *e = s->exec;
        int r;

        if (a->head && a->head->type == SHIM_STARTED) {
                exec_started(e, a->body, packet_take_fd(a->packet, 0));
                s->done(e, 0, NULL, s->userdata);
                return;
        }
        what = g_strdup_printf("Exec \"%s\" cannot be started", e->process.exec_id);
        if (stdio_drop_unknown(&e->stdio, a->head && a->head->type == SHIM_FAILED ? a->body : NULL))
                r = error_precondition(&error, "The supervisor of task \"%s\" is of a version without DropAfterUSec.",
                                       e->process.task->id);
        else if (is_paused(a))
                r = error_precondition(&error, "Container \"%s\" is paused; resume it first.", e->process.task->id);
        else
                r = task_failure_of(e->process.task, e->process.exec_id, what, a, &error);
        event_failed(&e->process, r, &error);
        s->done(NULL, r, &error, s->userdata);
        exec_forget(e);
}

/** exec_start() - executes it; where that fails the exec is gone when done is called */
int exec_start(Exec *e, exec_done_t done, void *userdata, sd_bus_error *error) {
        struct shim_exec body = { .stdio = e->stdio.modes };
        g_autofree int *fds = g_new(int, e->stdio.fds->len + 1);
        const Stdio *io = &e->stdio;
        Task *t = e->process.task;
        Start *s;
        int r;

        if (e->process.status != TASK_CREATED || e->plan_fd < 0)
                return error_precondition(error, "Exec \"%s\" has been started already.", e->process.exec_id);
        if (process_ended(&t->process) || !t->link)
                return error_precondition(error, "Task \"%s\" has ended; start its container again.", t->id);
        g_strlcpy(body.exec_id, e->process.exec_id, sizeof(body.exec_id));
        fds[0] = e->plan_fd;
        for (guint i = 0; i < io->fds->len; i++)
                fds[i + 1] = g_array_index(io->fds, int, i);
        s = g_new(Start, 1);
        *s = (Start){ e, done, userdata };
        (void)task_files_write_exec(e); /* first, or the next manager would look for no end of it */
        r = link_request_text(t->link, SHIM_EXEC, &body, (const char *)io->paths->data, io->paths->len, fds,
                              io->fds->len + 1, on_started, s);
        if (r < 0) {
                g_free(s);
                task_files_remove_exec(e);
                if (r == -ECONNRESET) /* an end that is about to be told */
                        return error_precondition(error, "Task \"%s\" has just ended.", t->id);
                return error_set_errno(error, r, "The supervisor of task \"%s\" takes no message", t->id);
        }
        drop_start(e);
        return 0;
}

/** exec_is_starting() - whether an answer of the shim is on its way, which the object has to wait for */
bool exec_is_starting(const Exec *e) {
        return e->process.status == TASK_CREATED && e->plan_fd < 0;
}

/** exec_exited() - its end; one that removes itself is out of the table when this returns */
void exec_exited(Exec *e, uint32_t status, uint32_t kind, uint64_t exited_at) {
        if (process_ended(&e->process))
                return;
        process_set_exited(&e->process, status, kind, exited_at);
        event_exec(e, EVENT_EXEC_EXITED);
        process_tell(&e->process);
        if (e->process.auto_remove)
                exec_forget(e);
}

static void destroy(void *e) {
        (void)exec_free(e);
}

/** exec_forget() - the end of the object */
void exec_forget(Exec *e) {
        Task *t = e->process.task;

        if (e->process.visible)
                event_exec(e, EVENT_EXEC_DELETED);
        process_bus_removed(&e->process);
        task_files_remove_exec(e);
        if (g_hash_table_lookup(t->execs, e->process.exec_id) == e) {
                g_hash_table_steal(t->execs, e->process.exec_id);
                manager_bury(t->ns->manager, e, destroy);
        }
}
