/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Processes the shim answers for: the container's first one and the execs.
 *
 * A process in the making reports over its socket; end of file after it has said so means that execve has succeeded.
 * When one has ended its record is written into the task directory before anybody is told.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shared/exit-record.h"
#include "shared/fd.h"
#include "shared/process.h"
#include "shim/foreign.h"
#include "shim/process.h"
#include "shim/restore.h"
#include "shim/setup.h"
#include "shim/shim.h"

/** process_started() - the program runs: tell the manager */
void process_started(struct shim *s, struct process *p) {
        struct shim_started started = { .pid = p->pid, .start_time = p->start_time };

        p->sock = safe_close(p->sock);
        p->state = PROCESS_RUNNING;
        p->started_at = now_usec(CLOCK_REALTIME);
        started.started_at_low = (uint32_t)p->started_at;
        memcpy(started.exec_id, p->exec_id, sizeof(started.exec_id));
        (void)shim_tell(s, SHIM_STARTED, p->serial, &started, NULL, &p->terminal_fd, p->terminal_fd >= 0 ? 1 : 0);
        if (p == &s->init && !s->foreign) { /* a runtime's program may need all that we have */
                shim_confine(s);
                shim_drop_plan(s);
        }
}

/** process_created() - the first process waits for its start: tell the manager */
void process_created(struct shim *s, struct process *p) {
        struct shim_created created = { .pid = p->pid, .start_time = p->start_time };

        p->state = PROCESS_CREATED;
        p->created = true;
        (void)shim_tell(s, SHIM_CREATED, p->serial, &created, NULL, &p->terminal_fd, p->terminal_fd >= 0 ? 1 : 0);
}

static void tell_killed(struct shim *s, const struct process *p, const struct fault *fault) {
        struct shim_failed failed = { .error = -ESRCH, .step = SHIM_STEP_NAMESPACE };

        (void)shim_tell(s, SHIM_FAILED, p->serial, &failed, fault->text, NULL, 0);
}

static void process_hung_up(struct shim *s, struct process *p) {
        struct fault fault = FAULT_NULL;

        if (p->executing) {
                process_started(s, p);
                return;
        }
        (void)fault_set(&fault, SHIM_STEP_COMMAND, ECHILD, "the process was killed before its program ran");
        if (p->created) { /* killed while it waited: an ordinary end, which SIGCHLD tells of */
                if (p->state == PROCESS_MAKING)
                        tell_killed(s, p, &fault);
                p->state = PROCESS_CREATED;
                p->sock = safe_close(p->sock);
                return;
        }
        shim_failed(s, p, &fault);
}

/* Reads what a process in the making has to say. */
static void process_message(struct shim *s, struct process *p) {
        struct packet packet;
        const struct setup_record *record = (const void *)packet.data;
        int r;

        if (s->restore && p == &s->init) {
                restore_message(s);
                return;
        }
        r = packet_recv(p->sock, &packet);
        /* A process that ends without having read what it was told resets the connection; its own last words are still
         * behind that error, which is reported once. */
        if (packet_transient(r) || r == -ECONNRESET)
                return;
        if (r <= 0 || packet.size < sizeof(record->message)) {
                packet_done(&packet);
                process_hung_up(s, p);
                return;
        }
        switch (record->message) {
        case SETUP_FAULT:
                if (packet.size == sizeof(*record)) {
                        struct fault fault = record->fault;

                        fault.text[sizeof(fault.text) - 1] = '\0';
                        fault.error = fault.error < 0 ? fault.error : -EIO;
                        shim_failed(s, p, &fault);
                }
                break;
        case SETUP_TERMINAL:
                safe_close(p->terminal_fd);
                p->terminal_fd = packet_take_fd(&packet, 0);
                break;
        case SETUP_READY:
                process_created(s, p);
                break;
        case SETUP_LISTENER: {
                int fd = packet_take_fd(&packet, 0);

                violation_watch(s, p, &fd);
                break;
        }
        case SETUP_EXECUTING:
                p->executing = true;
                break;
        default:
                break;
        }
        packet_done(&packet);
}

static void exit_fill(struct shim *s, struct process *p, const siginfo_t *info) {
        struct shim_exited *e = &p->exited;

        memcpy(e->exec_id, p->exec_id, sizeof(e->exec_id));
        e->exited_at = now_usec(CLOCK_REALTIME);
        if (info->si_code == CLD_EXITED) {
                e->status = (uint32_t)info->si_status;
                e->kind = EXIT_KIND_EXITED;
                return;
        }
        e->status = 128U + (uint32_t)info->si_status;
        e->kind = info->si_code == CLD_DUMPED ? EXIT_KIND_DUMPED : EXIT_KIND_SIGNALLED;
        if (info->si_status == SIGSYS && p->filter_kills && !process_was_sent(s, p, SIGSYS)) {
                e->kind = EXIT_KIND_SECCOMP;
                violation_killed(s, p);
        }
        if (oom_ended(s, p, info->si_status == SIGKILL))
                e->kind = EXIT_KIND_OOM;
}

/* Of an exec in exec/<id>/exit, of the first process in exit. A record that cannot be written is no reason to keep
 * silent. */
static void exit_write(struct shim *s, struct process *p) {
        struct exit_record record = {
                .status = p->exited.status,
                .kind = p->exited.kind,
                .exited_at = p->exited.exited_at,
                .exited_at_boottime = now_usec(CLOCK_BOOTTIME),
                .oom_kills = s->oom.kills,
                .dropped_bytes = p->dropped,
                .started_at = p->started_at,
                .pid = (uint32_t)p->pid,
        };
        _cleanup_close_ int dir = -1;
        char path[SHIM_EXEC_ID_MAX + 8];

        (void)boot_id_read(record.boot_id);
        if (*p->exec_id == '\0') {
                (void)exit_record_write(s->task_dir, EXIT_RECORD_NAME, &record);
                return;
        }
        (void)snprintf(path, sizeof(path), "exec/%s", p->exec_id);
        dir = dir_open_at(s->task_dir, path, 0700);
        if (dir >= 0)
                (void)exit_record_write(dir, EXIT_RECORD_NAME, &record);
}

/** process_done() - close what belongs to a process */
void process_done(struct shim *s, struct process *p) {
        drop_end(s, p, ~0U);
        p->pidfd = safe_close(p->pidfd);
        p->sock = safe_close(p->sock);
        p->terminal_fd = safe_close(p->terminal_fd);
        p->filter = violation_filter_unref(p->filter);
        for (size_t i = 0; i < ELEMENTSOF(p->kept); i++)
                p->kept[i] = safe_close(p->kept[i]);
}

/** process_note_signal() - somebody has asked for that signal to it */
void process_note_signal(struct process *p, int signal) {
        if (signal > 0)
                p->sent |= UINT64_C(1) << (signal - 1);
}

/** process_was_sent() - whether somebody has: then it is not the kernel's own */
bool process_was_sent(const struct shim *s, const struct process *p, int signal) {
        return (p->sent & UINT64_C(1) << (signal - 1)) || (signal == SIGKILL && s->killed);
}

/** process_forget() - the end of an exec: out of the list, closed and freed */
void process_forget(struct shim *s, struct process *p) {
        for (struct process **q = &s->execs; *q; q = &(*q)->next)
                if (*q == p) {
                        *q = p->next;
                        break;
                }
        cgroup_remove_exec(&s->cgroup, p->exec_id);
        process_done(s, p);
        free(p);
}

/** process_poll() - process_message() from the event loop, which may find that an exec could not be made */
void process_poll(struct shim *s, struct process *p) {
        process_message(s, p);
        if (p != &s->init && p->state == PROCESS_ENDED)
                process_forget(s, p);
}

/** process_ended() - a process has been reaped */
void process_ended(struct shim *s, struct process *p, const siginfo_t *info) {
        if (foreign_ended(s, p, info))
                return;
        while (p->sock >= 0 && p->state == PROCESS_MAKING)
                process_message(s, p); /* the end may overtake the last word */
        if (p->state == PROCESS_RUNNING || p->state == PROCESS_CREATED) {
                p->state = PROCESS_ENDED;
                if (p == &s->init)
                        violation_flush(s);
                exit_fill(s, p, info);
                oom_settle(s);
                exit_write(s, p);
                drop_tell(s, p, false);
                (void)shim_tell(s, SHIM_EXITED, 0, &p->exited, NULL, NULL, 0);
                if (p == &s->init)
                        shim_end(s);
        }
        if (p == &s->init)
                process_done(s, p);
        else
                process_forget(s, p);
}

static uint32_t process_status(const struct shim *s, const struct process *p) {
        switch (p->state) {
        case PROCESS_CREATED:
                return TASK_CREATED;
        case PROCESS_MAKING:
                return p->created || p != &s->init ? TASK_CREATED : TASK_UNKNOWN;
        case PROCESS_RUNNING:
                if (p != &s->init) /* held still it is with all the others, which is the task's state */
                        return TASK_RUNNING;
                return s->paused ? TASK_PAUSED : s->pausing ? TASK_PAUSING : TASK_RUNNING;
        case PROCESS_ENDED:
                return TASK_STOPPED;
        default:
                return TASK_UNKNOWN;
        }
}

/** shim_tell_state() - what SHIM_QUERY answers of a process; with serial 0 because it has changed */
void shim_tell_state(struct shim *s, const struct process *p, uint32_t serial) {
        struct shim_state state = {
                .status = process_status(s, p),
                .pid = p->pid,
                .start_time = p->start_time,
                .created_at = p->created_at,
                .started_at = p->started_at,
                .exited = p->exited,
        };
        memcpy(state.exited.exec_id, p->exec_id, sizeof(state.exited.exec_id));
        (void)shim_tell(s, SHIM_STATE, serial, &state, NULL, NULL, 0);
}
