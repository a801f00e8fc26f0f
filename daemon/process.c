/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process: the first of a task, or an exec.
 *
 * Its state changes in one place, process_set_status(), along a table; an end is told exactly once to everybody who
 * waits: callers of Wait, pipes of WaitFD, parts of the manager. It is embedded in its Task or Exec, which
 * own it. It knows no messages and no shim.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "daemon/process.h"
#include "daemon/task.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/message.h"

typedef struct WaitFD {
        Process *process;
        int fd; /* writing end */
        sd_event_source *hangup;
} WaitFD;

typedef struct Waiter {
        process_waiter_t waiter;
        void *userdata;
} Waiter;

typedef struct TerminalWaiter {
        process_terminal_t waiter;
        void *userdata;
} TerminalWaiter;

/* Rows: from; bits: to. A process that has ended never changes again. */
static const unsigned transitions[_TASK_STATUS_MAX] = {
        [TASK_UNKNOWN] =
                1U << TASK_CREATED | 1U << TASK_RUNNING | 1U << TASK_PAUSING | 1U << TASK_PAUSED | 1U << TASK_STOPPED,
        [TASK_CREATED] = 1U << TASK_RUNNING | 1U << TASK_STOPPED | 1U << TASK_UNKNOWN,
        [TASK_RUNNING] = 1U << TASK_PAUSING | 1U << TASK_PAUSED | 1U << TASK_STOPPED | 1U << TASK_UNKNOWN,
        [TASK_PAUSING] = 1U << TASK_PAUSED | 1U << TASK_RUNNING | 1U << TASK_STOPPED | 1U << TASK_UNKNOWN,
        [TASK_PAUSED] = 1U << TASK_RUNNING | 1U << TASK_STOPPED | 1U << TASK_UNKNOWN,
        [TASK_STOPPED] = 0,
};

static void wait_fd_free(void *data) {
        WaitFD *w = data;

        sd_event_source_disable_unref(w->hangup);
        (void)safe_close(w->fd);
        g_free(w);
}

/** process_init() - an embedded process of unknown state; takes path */
void process_init(Process *p, Task *task, const char *exec_id, char *path) {
        p->manager = task->ns->manager;
        p->task = task;
        p->exec_id = g_strdup(exec_id);
        p->path = path;
        p->created_at = now_usec(CLOCK_REALTIME);
        p->waiters = g_array_new(FALSE, FALSE, sizeof(Waiter));
        p->wait_fds = g_ptr_array_new_with_free_func(wait_fd_free);
        p->terminal_waiters = g_array_new(FALSE, FALSE, sizeof(TerminalWaiter));
}

/** process_done() - frees the content; waiters that are left hear a NULL */
void process_done(Process *p) {
        for (guint i = 0; i < p->waiters->len; i++) {
                Waiter *w = &g_array_index(p->waiters, Waiter, i);
                w->waiter(NULL, w->userdata);
        }
        process_tell_terminal(p, -1);
        g_array_unref(p->waiters);
        g_ptr_array_unref(p->wait_fds);
        g_array_unref(p->terminal_waiters);
        g_strfreev(p->command);
        g_free(p->exec_id);
        g_free(p->path);
}

/** process_transition_allowed() - the table */
bool process_transition_allowed(enum task_status from, enum task_status to) {
        return from < _TASK_STATUS_MAX && to < _TASK_STATUS_MAX && (transitions[from] & 1U << to);
}

/** process_ended() - whether its exit is known, "lost" included */
bool process_ended(const Process *p) {
        return p->status == TASK_STOPPED;
}

/** process_set_status() - the one setter; -ESTALE where the table has no such step. Announces the new state. */
int process_set_status(Process *p, enum task_status status) {
        if (p->status == status)
                return 0;
        if (!process_transition_allowed(p->status, status)) {
                log_warning("%s cannot go from %s to %s", p->path, task_status_name(p->status),
                            task_status_name(status));
                return -ESTALE;
        }
        p->status = status;
        if (status != TASK_STOPPED)
                process_bus_changed(p, (const char *const[]){ "Status", NULL });
        return 0;
}

/** process_set_started() - the program has been executed */
int process_set_started(Process *p, int pid, uint64_t start_time, uint64_t started_at) {
        p->pid = (uint32_t)pid;
        p->start_time = start_time;
        p->started_at = started_at;
        process_bus_changed(p, (const char *const[]){ "Pid", "StartedAt", NULL });
        return process_set_status(p, TASK_RUNNING);
}

/** process_set_dropped() - so much of what it wrote is gone; announced, and warned of the first time it is heard of */
void process_set_dropped(Process *p, uint64_t bytes) {
        if (bytes <= p->dropped_bytes)
                return;
        if (p->dropped_bytes == 0)
                log_warning("Nobody reads what %s writes; the oldest of it is dropped", p->path);
        p->dropped_bytes = bytes;
        process_bus_changed(p, (const char *const[]){ "DroppedBytes", NULL });
}

/** process_set_exited() - the process has ended; nobody is told yet. A second end is ignored. */
void process_set_exited(Process *p, uint32_t status, uint32_t kind, uint64_t exited_at) {
        if (process_ended(p))
                return;
        p->exit_status = status;
        p->exit_kind = kind;
        p->exited_at = exited_at;
        if (exited_at > 0 && p->started_at > exited_at) { /* ours is the time at which we heard of it */
                p->started_at = exited_at;
                process_bus_changed(p, (const char *const[]){ "StartedAt", NULL });
        }
        (void)process_set_status(p, TASK_STOPPED);
}

/** process_wait() - calls waiter when the process has ended, at once if it has already */
void process_wait(Process *p, process_waiter_t waiter, void *userdata) {
        Waiter w = { waiter, userdata };

        if (process_ended(p))
                waiter(p, userdata);
        else
                g_array_append_val(p->waiters, w);
}

/** process_forget() - drops the waiters of userdata */
void process_forget(Process *p, void *userdata) {
        for (guint i = p->waiters->len; i-- > 0;)
                if (g_array_index(p->waiters, Waiter, i).userdata == userdata)
                        g_array_remove_index(p->waiters, i);
}

/* The record is shorter than any pipe's buffer, so writing it to an empty pipe never blocks. */
static void write_exit(const Process *p, int fd) {
        char line[96];
        int n;

        n = snprintf(line, sizeof(line), "%u %s %" PRIu64 "\n", p->exit_status, exit_kind_name(p->exit_kind),
                     p->exited_at);
        if (n > 0 && write(fd, line, (size_t)n) < 0 && errno != EPIPE)
                (void)log_warning_errno(errno, "Cannot tell the exit of %s", p->path);
}

/* Nobody reads any more: a caller that comes and goes leaves nothing behind. */
static int on_hangup(sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        WaitFD *w = userdata;

        (void)g_ptr_array_remove_fast(w->process->wait_fds, w);
        return 0;
}

static int keep_wait_fd(Process *p, int *fd) {
        WaitFD *w = g_new0(WaitFD, 1);
        int r;

        w->process = p;
        w->fd = take_fd(fd);
        r = sd_event_add_io(p->manager->event, &w->hangup, w->fd, 0, on_hangup, w);
        if (r < 0) {
                wait_fd_free(w);
                return r;
        }
        g_ptr_array_add(p->wait_fds, w);
        return 0;
}

/** process_wait_fd() - a pipe that will deliver one line and end of file; its reading end is the caller's */
int process_wait_fd(Process *p, int *ret) {
        _cleanup_close_ int reader = -1, writer = -1;
        int fds[2], r = 0;

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        reader = fds[0];
        writer = fds[1];
        (void)fd_set_nonblock(reader, false);
        if (process_ended(p))
                write_exit(p, writer);
        else
                r = keep_wait_fd(p, &writer);
        if (r >= 0)
                *ret = take_fd(&reader);
        return r;
}

/** process_wait_terminal() - calls waiter with the terminal of an exec when it has been started: what is short never
 * escapes */
void process_wait_terminal(Process *p, process_terminal_t waiter, void *userdata) {
        TerminalWaiter w = { waiter, userdata };

        g_array_append_val(p->terminal_waiters, w);
}

/** process_tell_terminal() - hands the terminal, which stays the caller's, to those who wait for it; -1: there is none
 */
void process_tell_terminal(Process *p, int fd) {
        for (guint i = 0; i < p->terminal_waiters->len; i++) {
                TerminalWaiter *w = &g_array_index(p->terminal_waiters, TerminalWaiter, i);
                w->waiter(fd, w->userdata);
        }
        g_array_set_size(p->terminal_waiters, 0);
}

/** process_tell() - tells the end: pipes first, whoever reads one is on the shortest way; then the bus, then who waits
 */
void process_tell(Process *p) {
        GArray *waiters = p->waiters;

        for (guint i = 0; i < p->wait_fds->len; i++)
                write_exit(p, ((WaitFD *)g_ptr_array_index(p->wait_fds, i))->fd);
        g_ptr_array_set_size(p->wait_fds, 0);
        process_bus_exited(p);

        p->waiters = g_array_new(FALSE, FALSE, sizeof(Waiter));
        for (guint i = 0; i < waiters->len; i++) {
                Waiter *w = &g_array_index(waiters, Waiter, i);
                w->waiter(p, w->userdata);
        }
        g_array_unref(waiters);
}
