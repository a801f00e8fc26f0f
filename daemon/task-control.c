/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests to a running task: start, signals, stop, pause, terminal.
 *
 * Each becomes one message to the shim and one answer to whoever asked, success or a sentence, and never waits inside.
 * A stop watches for the end before it sends the signal, so an end that is faster than the answer is not lost. The
 * callback is called exactly once, also where the task goes meanwhile.
 */

#include <errno.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/exec.h"
#include "daemon/rootfs.h"
#include "daemon/task-deferred.h"
#include "daemon/task-files.h"
#include "daemon/task.h"
#include "daemon/units.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"

typedef struct Request {
        Task *task;
        task_done_t done;
        task_fd_t fd_done;
        task_streams_t streams_done;
        void *userdata;
        const char *what;
        sd_event_source *timer;
} Request;

static Request *request_new(Task *t, const char *what, task_done_t done, void *userdata) {
        Request *q = g_new0(Request, 1);

        q->task = t;
        q->what = what;
        q->done = done;
        q->userdata = userdata;
        return q;
}

static void request_done(Request *q, int r, const sd_bus_error *error) {
        q->timer = sd_event_source_disable_unref(q->timer);
        if (q->done)
                q->done(q->task, r, error, q->userdata);
        g_free(q);
}

/** task_failure() - makes a bus error of what a shim has answered; what is the sentence's beginning */
int task_failure(const char *what, const LinkAnswer *a, sd_bus_error *error) {
        const char *text = *a->text ? a->text : g_strerror(-a->error);
        const struct shim_failed *f;
        ErrorKind kind;

        if (!a->head)
                return error_unavailable(error, "%s: the container's supervisor has gone.", what);
        if (a->head->type != SHIM_FAILED) {
                /* A process that has just ended is there, and in another state. */
                kind = a->error == -ESRCH ? ERROR_FAILED_PRECONDITION : error_kind_from_errno(a->error);
                return error_set(error, kind, "%s: %s.", what, text);
        }
        f = a->body;
        kind = error_kind_from_errno(a->error);
        if (f->step == SHIM_STEP_COMMAND) {
                /* Whatever is wrong with the file makes it no program; the rest is no fault of the command's. */
                if (kind != ERROR_RESOURCE_EXHAUSTED && kind != ERROR_UNAVAILABLE)
                        kind = a->error == -ENOENT ? ERROR_NOT_FOUND : ERROR_PERMISSION_DENIED;
                return error_set(error, kind, "%s: command: %s.", what, text);
        }
        if (kind == ERROR_NOT_FOUND || kind == ERROR_PERMISSION_DENIED)
                kind = ERROR_FAILED_PRECONDITION; /* those two are the command's */
        return error_set(error, kind, "%s: %s: %s.", what, shim_step_name(f->step), text);
}

static bool runtime_failed(const LinkAnswer *a) {
        const struct shim_failed *f = a->body;

        if (!a->head || a->error >= 0)
                return false;
        return a->head->type == SHIM_FAILED ? f->step == SHIM_STEP_RUNTIME : a->error == -EBUSY;
}

/* A process more than the scope may hold cannot be made. */
static bool tasks_full(const Task *t, const LinkAnswer *a, uint64_t *ret_max) {
        _cleanup_close_ int dir = -1;
        uint64_t current;

        if (!a->head || a->head->type != SHIM_FAILED || a->error != -EAGAIN)
                return false;
        dir = scope_open(t, SCOPE_PIDS);
        return scope_read_number(dir, "pids.max", ret_max) && *ret_max != SCOPE_NO_LIMIT &&
               scope_read_number(dir, "pids.current", &current) && current >= *ret_max;
}

/** task_failure_of() - the same, with what another runtime says of its failure, and the limit that it is due to;
 * exec_id
 * "": of the first process */
int task_failure_of(Task *t, const char *exec_id, const char *what, const LinkAnswer *a, sd_bus_error *error) {
        g_autofree char *words = a->head ? runtime_failure(t, exec_id) : NULL;
        uint64_t max;
        ErrorKind kind;

        if (tasks_full(t, a, &max))
                return error_set(error, ERROR_RESOURCE_EXHAUSTED,
                                 "%s: the container has as many processes as its limit TasksMax=%" PRIu64 " allows.",
                                 what, max);

        if (!runtime_failed(a) || runtime_is_own(t->runtime))
                return task_failure(what, a, error);
        kind = runtime_failure_kind(words);
        return error_set(error, kind, "%s: %s%s%s%s.", what, kind == ERROR_FAILED_PRECONDITION ? "" : "command: ",
                         *a->text ? a->text : g_strerror(-a->error), words ? ": " : "", words ?: "");
}

static int check_live(const Task *t, sd_bus_error *error) {
        if (t->launch)
                return error_precondition(error, "Task \"%s\" is still being created; try again when that is done.",
                                          t->id);
        if (process_ended(&t->process))
                return error_precondition(error, "Task \"%s\" has ended; start its container again.", t->id);
        if (t->deferred)
                return task_deferred_check(t, error);
        if (!t->link)
                return error_unavailable(error, "The supervisor of task \"%s\" cannot be reached.", t->id);
        return 0;
}

static void on_plain_answer(const LinkAnswer *a, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Request *q = userdata;
        int r = 0;

        if (a->error < 0 || !a->head)
                r = task_failure_of(q->task, "", q->what, a, &error);
        request_done(q, r, &error);
}

static int send(Request *q, uint16_t type, const void *body, link_answer_t answer, sd_bus_error *error) {
        int r = link_request(q->task->link, type, body, NULL, NULL, 0, answer, q);

        if (r == -ECONNRESET)
                r = error_precondition(error, "%s: the task has just ended.", q->what);
        else if (r < 0)
                error_set_errno(error, r, "%s: the supervisor takes no message", q->what);
        if (r < 0)
                g_free(q);
        return r;
}

static void set_exec_id(char *field, const char *exec_id) {
        g_strlcpy(field, exec_id ?: "", SHIM_EXEC_ID_MAX);
}

/** task_started() - the program of a created task has been executed */
void task_started(Task *t, const struct shim_started *s) {
        (void)process_set_started(&t->process, s->pid, s->start_time, shim_started_at(s, now_usec(CLOCK_REALTIME)));
        event_task(t, EVENT_TASK_START);
        (void)task_files_write_state(t);
}

/** task_start_is_over() - a created task has become none; one that was killed while it waited has an end, told next */
bool task_start_is_over(const LinkAnswer *a) {
        return a->head && a->head->type == SHIM_FAILED && a->error != -ESRCH;
}

static void on_started(const LinkAnswer *a, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree Request *q = userdata;
        Task *t = q->task;
        int r = 0;

        if (a->head && a->head->type == SHIM_STARTED)
                task_started(t, a->body);
        t->starting = false;
        if (a->error < 0 || !a->head)
                r = task_failure_of(t, "", q->what, a, &error);
        if (task_start_is_over(a) && t->container)
                task_start_failed(t, r, &error, q->done, q->userdata);
        else
                q->done(t, r, &error, q->userdata);
}

/** task_start() - executes the program of a created task; not while something reads what it would write to */
int task_start(Task *t, task_done_t done, void *userdata, sd_bus_error *error) {
        int r;

        if (t->deferred && !t->launch)
                return task_deferred_start(t, done, userdata, error);
        r = check_live(t, error);
        if (r < 0)
                return r;
        if (t->process.status != TASK_CREATED)
                return error_precondition(error, "Task \"%s\" has been started already and is %s.", t->id,
                                          task_status_name(t->process.status));
        r = rootfs_check_free(t->container, error);
        if (r < 0)
                return r;
        r = send(request_new(t, "The task cannot be started", done, userdata), SHIM_START, NULL, on_started, error);
        t->starting = r >= 0;
        return r;
}

/** task_kill() - a signal to the first process (exec_id ""), an exec, or every process */
int task_kill(Task *t, const char *exec_id, int sig, bool all, task_done_t done, void *userdata, sd_bus_error *error) {
        struct shim_kill body = { .signal = sig, .all = all };
        int r = check_live(t, error);

        if (r < 0)
                return r;
        set_exec_id(body.exec_id, exec_id);
        return send(request_new(t, "The signal cannot be sent", done, userdata), SHIM_KILL, &body, on_plain_answer,
                    error);
}

/* p is NULL where its start has failed meanwhile and took it away. */
static void on_stopped(Process *p, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Request *q = userdata;
        int r = 0;

        link_forget(q->task->link, q);
        if (!p)
                r = error_not_found(&error, "Task \"%s\" could not be started, and is gone.", q->task->id);
        request_done(q, r, &error);
}

static void on_stop_answer(const LinkAnswer *a, void *userdata) {
        Request *q = userdata;

        /* Success is the end, which process_wait() tells; so is a shim that has gone. */
        if (!a->head || a->error >= 0)
                return;
        process_forget(&q->task->process, q);
        on_plain_answer(a, userdata);
}

static int on_stop_timeout(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Request *q = userdata;
        int r;

        process_forget(&q->task->process, q);
        link_forget(q->task->link, q);
        r = error_set(&error, ERROR_STOP_TIMEOUT,
                      "Task \"%s\" has not ended in time and runs on; force it to be killed.", q->task->id);
        request_done(q, r, &error);
        return 0;
}

/** task_stop() - the stop signal, then with force SIGKILL to all after the timeout; done with the end. sig NULL: the
 * container's. */
int task_stop(Task *t, const char *sig, uint64_t timeout_usec, bool force, task_done_t done, void *userdata,
              sd_bus_error *error) {
        struct shim_stop body = { .signal = sig ? signal_from_name(sig) : 0,
                                  .force = force,
                                  .timeout_usec = timeout_usec };
        Request *q;
        int r;

        if (process_ended(&t->process)) {
                done(t, 0, NULL, userdata);
                return 0;
        }
        r = check_live(t, error);
        if (r < 0)
                return r;
        q = request_new(t, "The task cannot be stopped", done, userdata);
        process_wait(&t->process, on_stopped, q);
        if (!force)
                (void)sd_event_add_time_relative(t->ns->manager->event, &q->timer, CLOCK_MONOTONIC, timeout_usec, 0,
                                                 on_stop_timeout, q);
        r = link_request(t->link, SHIM_STOP, &body, NULL, NULL, 0, on_stop_answer, q);
        if (r < 0 && r != -ECONNRESET) { /* that one is an end that is about to be told */
                process_forget(&t->process, q);
                sd_event_source_disable_unref(q->timer);
                g_free(q);
                return error_set_errno(error, r, "The supervisor of task \"%s\" takes no message", t->id);
        }
        return 0;
}

static void on_paused(const LinkAnswer *a, void *userdata) {
        Request *q = userdata;

        bool done = a->head && a->error >= 0;

        if (!process_ended(&q->task->process)) {
                (void)process_set_status(&q->task->process, done ? TASK_PAUSED : TASK_RUNNING);
                if (done)
                        event_task(q->task, EVENT_TASK_PAUSED);
        }
        on_plain_answer(a, userdata);
}

static void on_resumed(const LinkAnswer *a, void *userdata) {
        Request *q = userdata;

        if (a->head && a->error >= 0 && !process_ended(&q->task->process)) {
                (void)process_set_status(&q->task->process, TASK_RUNNING);
                event_task(q->task, EVENT_TASK_RESUMED);
        }
        on_plain_answer(a, userdata);
}

static int refuse_pause(const Task *t, bool pause, sd_bus_error *error) {
        const char *status = task_status_name(t->process.status);

        if (t->process.status == TASK_CREATED)
                return error_precondition(error, "Task \"%s\" has not been started; start it first.", t->id);
        if (t->held && !pause)
                return error_precondition(error, "A checkpoint of task \"%s\" is being made; try again.", t->id);
        if (pause)
                return error_precondition(error, "Task \"%s\" is %s already.", t->id, status);
        return error_precondition(error, "Task \"%s\" is %s, not paused; there is nothing to resume.", t->id, status);
}

/** task_pause() - freezes or thaws every process */
int task_pause(Task *t, bool pause, task_done_t done, void *userdata, sd_bus_error *error) {
        enum task_status wanted = pause ? TASK_RUNNING : TASK_PAUSED;
        int r = check_live(t, error);

        if (r < 0)
                return r;
        if (t->process.status != wanted || (t->held && !pause))
                return refuse_pause(t, pause, error);
        r = send(request_new(t, pause ? "The task cannot be paused" : "The task cannot be resumed", done, userdata),
                 pause ? SHIM_PAUSE : SHIM_RESUME, NULL, pause ? on_paused : on_resumed, error);
        if (r >= 0 && pause)
                (void)process_set_status(&t->process, TASK_PAUSING);
        return r;
}

/** task_resize() - the terminal's size */
int task_resize(Task *t, const char *exec_id, uint16_t columns, uint16_t rows, task_done_t done, void *userdata,
                sd_bus_error *error) {
        struct shim_resize body = { .rows = rows, .columns = columns };
        int r = check_live(t, error);

        if (r < 0)
                return r;
        set_exec_id(body.exec_id, exec_id);
        return send(request_new(t, "The terminal cannot be resized", done, userdata), SHIM_RESIZE, &body,
                    on_plain_answer, error);
}

static void on_fd(const LinkAnswer *a, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Request *q = userdata;
        int r = 0, fd = -1;

        if (a->error < 0 || !a->head)
                r = task_failure(q->what, a, &error);
        else {
                fd = packet_take_fd(a->packet, 0);
                if (fd < 0)
                        r = error_internal(&error, "%s: the supervisor has sent no descriptor.", q->what);
        }
        q->fd_done(q->task, r, fd, &error, q->userdata);
        g_free(q);
}

/** task_fd_request() - SHIM_TERMINAL or SHIM_PROCESSES: a request that a descriptor answers */
int task_fd_request(Task *t, uint16_t type, const char *exec_id, task_fd_t done, void *userdata, sd_bus_error *error) {
        struct shim_target body = {};
        Request *q;
        int r = check_live(t, error);

        if (r < 0)
                return r;
        q = request_new(t, type == SHIM_TERMINAL ? "The terminal cannot be opened" : "The processes cannot be listed",
                        NULL, userdata);
        q->fd_done = done;
        set_exec_id(body.exec_id, exec_id);
        return send(q, type, type == SHIM_TERMINAL ? &body : NULL, on_fd, error);
}

static void on_streams(const LinkAnswer *a, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Request *q = userdata;
        int fds[3] = { -1, -1, -1 }, r = 0;
        size_t n = 0;

        if (a->head && a->head->type == SHIM_STREAMS_OPEN) {
                const struct shim_streams *s = a->body;

                for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                        if (s->mask & 1U << i)
                                fds[i] = packet_take_fd(a->packet, n++);
        } else
                r = task_failure(q->what, a, &error);
        q->streams_done(r, fds, &error, q->userdata);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                (void)safe_close(fds[i]);
        g_free(q);
}

/** task_open_streams() - the shim's ends of the streams of the first process (exec_id "") or an exec */
int task_open_streams(Task *t, const char *exec_id, task_streams_t done, void *userdata, sd_bus_error *error) {
        struct shim_target body = {};
        Request *q;
        int r = check_live(t, error);

        if (r < 0)
                return r;
        q = request_new(t, "The streams cannot be opened", NULL, userdata);
        q->streams_done = done;
        set_exec_id(body.exec_id, exec_id);
        return send(q, SHIM_OPEN_STREAMS, &body, on_streams, error);
}

/** task_close_streams() - drops the shim's ends of these (SHIM_STREAM_*) */
int task_close_streams(Task *t, const char *exec_id, uint32_t mask, task_done_t done, void *userdata,
                       sd_bus_error *error) {
        struct shim_streams body = { .mask = mask };
        int r = check_live(t, error);

        if (r < 0)
                return r;
        set_exec_id(body.exec_id, exec_id);
        return send(request_new(t, "The streams cannot be closed", done, userdata), SHIM_CLOSE_STREAMS, &body,
                    on_plain_answer, error);
}
