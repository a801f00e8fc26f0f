/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A container that another OCI runtime makes, in the shim.
 *
 * The shim stays what it is to any container: its parent, the keeper of its streams, the writer of its end. What
 * differs is who clones the first process and the execs, who passes signals on and who holds everything still: each is
 * a call of the runtime's program, run by a child (foreign-call.c) beside the event loop. A process that a call has
 * made is ours by then, but may have ended before we hear of it; such ends are kept until the call has told. The end of
 * the container is followed by a last call that deletes the runtime's record.
 */

#include "shim/foreign.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shared/macros.h"
#include "shared/message.h"
#include "shared/plan-check.h"
#include "shared/process.h"
#include "shared/runtime-protocol.h"
#include "shared/syscalls.h"
#include "shim/child.h"
#include "shim/foreign-call.h"
#include "shim/prepare.h"
#include "shim/process.h"
#include "shim/rootfs.h"

#define STRAYS_MAX 256
#define DELETE_TIMEOUT_USEC (5 * USEC_PER_SEC)

static void log_forget(struct shim *s, const char *exec_id) {
        char name[SHIM_EXEC_ID_MAX + 16] = RUNTIME_LOG;

        if (*exec_id)
                (void)snprintf(name, sizeof(name), RUNTIME_EXEC_LOG, exec_id);
        (void)unlinkat(s->task_dir, name, 0);
}

static int call_clone(struct shim *s, struct call_setup *c, int *ret_sock) {
        int socks[2], group = c->kind == CALL_CREATE ? s->cgroup.payload_fd : s->foreign->group_fd;
        struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)group };
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return call_fault(c, errno, "socket");
        pid = sys_clone3(&args);
        if (pid == 0) {
                safe_close(socks[0]);
                c->sock = socks[1];
                call_main(c);
        }
        safe_close(socks[1]);
        if (pid < 0) {
                safe_close(socks[0]);
                return call_fault(c, errno, "clone");
        }
        *ret_sock = socks[0];
        return 0;
}

/* @c says what to do; all of it is the child's once this returns. */
static int call_begin(struct shim *s, struct call_setup *c, struct process *p, uint32_t serial) {
        struct call *call = calloc(1, sizeof(*call));
        int r;

        c->shim = s;
        c->plan = c->plan ? c->plan : s->plan;
        c->exec_id = c->exec_id ? c->exec_id : "";
        if (!call)
                return call_fault(c, ENOMEM, "memory");
        if (c->kind != CALL_DELETE) /* which may follow a failure that is being read */
                log_forget(s, c->exec_id);
        call->kind = c->kind;
        call->process = p;
        call->serial = serial;
        r = call_clone(s, c, &call->sock);
        if (r < 0) {
                free(call);
                return r;
        }
        call->next = s->foreign->calls;
        s->foreign->calls = call;
        return 0;
}

/** foreign_prepare() - take over the streams and open the root file system; create follows when the scope stands */
int foreign_prepare(struct shim *s, struct setup *su, struct fault *fault) {
        struct foreign *f = calloc(1, sizeof(*f));

        if (!f)
                return fault_set(fault, SHIM_STEP_PLAN, ENOMEM, "runtime");
        f->mount_ns = f->cgroup_ns = f->group_fd = -1;
        f->setup = *su;
        *su = (struct setup)SETUP_NULL;
        s->foreign = f;
        f->setup.plan = s->plan;
        f->setup.root_fd = rootfs_open(s->plan, fault);
        return f->setup.root_fd < 0 ? f->setup.root_fd : 0;
}

/* Where the runtime's own processes are; negative with errno set. */
static int group_open(struct shim *s) {
        struct foreign *f = s->foreign;

        f->group_fd = safe_close(f->group_fd);
        if (mkdirat(s->cgroup.payload_fd, CGROUP_RUNTIME, 0755) < 0 && errno != EEXIST)
                return -1;
        f->group_fd = openat(s->cgroup.payload_fd, CGROUP_RUNTIME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return f->group_fd;
}

/** foreign_create() - let the runtime make the container */
int foreign_create(struct shim *s, struct fault *fault) {
        struct call_setup c = { .kind = CALL_CREATE, .setup = &s->foreign->setup, .fault = fault };
        struct foreign *f = s->foreign;

        f->setup.fault = fault;
        if (group_open(s) < 0)
                return fault_set(fault, SHIM_STEP_CGROUP, errno, "cgroup of the runtime");
        s->init.created_at = now_usec(CLOCK_REALTIME);
        return call_begin(s, &c, &s->init, s->init.serial);
}

/** foreign_start() - let the runtime start what it has created */
int foreign_start(struct shim *s, struct fault *fault) {
        struct call_setup c = { .kind = CALL_START, .fault = fault };

        s->init.state = PROCESS_MAKING;
        return call_begin(s, &c, &s->init, s->init.serial);
}

/** foreign_exec() - let the runtime make an exec; @su has its plan and streams */
int foreign_exec(struct shim *s, struct process *p, struct setup *su, struct fault *fault) {
        struct call_setup c = {
                .kind = CALL_EXEC, .plan = su->plan, .setup = su, .exec_id = p->exec_id, .fault = fault
        };

        p->created_at = now_usec(CLOCK_REALTIME);
        return call_begin(s, &c, p, p->serial);
}

static void answer(struct shim *s, uint32_t serial, const struct fault *fault) {
        /* Whatever kept the runtime from it: the manager finds its words beside the sentence. */
        struct shim_result result = { .error = fault->step == SHIM_STEP_RUNTIME ? -EBUSY : fault->error };

        if (serial > 0)
                (void)shim_tell(s, SHIM_REPLY, serial, &result, fault->error < 0 ? fault->text : NULL, NULL, 0);
}

static void request_begin(struct shim *s, struct call_setup *c, uint32_t serial) {
        struct fault fault = FAULT_NULL;

        c->fault = &fault;
        if (call_begin(s, c, NULL, serial) < 0)
                answer(s, serial, &fault);
        c->fault = NULL;
}

/** foreign_signal() - pass a signal on to the first process; @serial 0: nobody waits for the answer */
void foreign_signal(struct shim *s, int signal, uint32_t serial) {
        struct call_setup c = { .kind = CALL_KILL, .signal = signal };

        request_begin(s, &c, serial);
}

/** foreign_freeze() - hold the container still, or let it go */
void foreign_freeze(struct shim *s, bool on, uint32_t serial) {
        struct call_setup c = { .kind = on ? CALL_PAUSE : CALL_RESUME };

        s->pausing = on;
        request_begin(s, &c, serial);
}

static struct stray *stray_take(struct foreign *f, pid_t pid) {
        for (struct stray **q = &f->strays; *q; q = &(*q)->next)
                if ((*q)->info.si_pid == pid) {
                        struct stray *found = *q;

                        *q = found->next;
                        return found;
                }
        return NULL;
}

static bool making(const struct foreign *f) {
        for (const struct call *call = f->calls; call; call = call->next)
                if (call->kind == CALL_CREATE || call->kind == CALL_EXEC)
                        return true;
        return false;
}

/* A container decides how many of its processes end meanwhile, so not all are remembered. */
static void strays_bound(struct foreign *f) {
        struct stray **q = &f->strays;

        for (size_t n = 0; *q && n < STRAYS_MAX; n++)
                q = &(*q)->next;
        free(*q);
        *q = NULL;
}

/** foreign_stray() - a child that nobody knows has been reaped: it may be what a call is about to tell of
 *
 * Of too many the oldest is forgotten: a call that tells of that one fails, as with a process that never was.
 */
void foreign_stray(struct shim *s, const siginfo_t *info) {
        struct stray *stray;

        if (!s->foreign || !making(s->foreign))
                return;
        stray = calloc(1, sizeof(*stray));
        if (!stray)
                return;
        stray->info = *info;
        stray->next = s->foreign->strays;
        s->foreign->strays = stray;
        strays_bound(s->foreign);
}

static void strays_forget(struct foreign *f) {
        while (f->strays && !making(f)) {
                struct stray *stray = f->strays;

                f->strays = stray->next;
                free(stray);
        }
}

/** foreign_ended() - whether the end of the first process has to wait until its start has been told */
bool foreign_ended(struct shim *s, const struct process *p, const siginfo_t *info) {
        if (!s->foreign || p->state != PROCESS_MAKING)
                return false;
        for (struct call *call = s->foreign->calls; call; call = call->next)
                if (call->kind == CALL_START && call->process == p) {
                        call->ended = true;
                        call->end = *info;
                }
        return true;
}

/* A runtime may leave a process where it found itself; ours is where everything else is looked for. */
static int attach(struct shim *s, pid_t pid) {
        _cleanup_free_ char *text = NULL, *payload = NULL;
        const char *path, *mount_point;
        char number[16];
        int r;

        r = cgroup_mount_point(&mount_point);
        if (r < 0)
                return r;
        if (asprintf(&payload, "%s/payload/", s->cgroup.path + strlen(mount_point)) < 0) {
                payload = NULL;
                return -ENOMEM;
        }
        r = cgroup_read(pid, &text);
        if (r < 0)
                return r;
        path = cgroup_line(text, "0::");
        if (path && strncmp(path, payload, strlen(payload)) == 0 &&
            strncmp(path + strlen(payload), CGROUP_RUNTIME "\n", sizeof(CGROUP_RUNTIME)) != 0)
                return 0;
        (void)snprintf(number, sizeof(number), "%d", (int)pid);
        return cgroup_write(s->cgroup.init_fd, "cgroup.procs", number);
}

/* What the pid file names has to be a child of ours: nobody else would hear of its end. */
static int adopt(struct shim *s, struct process *p, pid_t pid, struct fault *fault) {
        siginfo_t info = { .si_pid = 0 };
        int r;

        p->pid = pid;
        p->pidfd = sys_pidfd_open(pid, 0);
        if (p->pidfd < 0)
                return fault_set(fault, SHIM_STEP_RUNTIME, errno, "process %d of its pid file", (int)pid);
        if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
                r = fault_set(fault, SHIM_STEP_RUNTIME, errno, "process %d of its pid file", (int)pid);
                p->pidfd = safe_close(p->pidfd); /* somebody else's, not ours to kill */
                return r;
        }
        (void)process_start_time(pid, &p->start_time);
        r = attach(s, pid);
        return r < 0 && info.si_pid == 0 ? fault_set(fault, SHIM_STEP_CGROUP, r, "cgroup of the container") : 0;
}

static void created(struct shim *s, struct call *call) {
        struct stray *stray = stray_take(s->foreign, call->pid);
        struct process *p = &s->init;
        int r;

        setup_close(&s->foreign->setup);
        if (stray) {
                free(stray);
                r = fault_set(&call->fault, SHIM_STEP_RUNTIME, ECHILD, "the process was killed before its program ran");
        } else
                r = adopt(s, p, call->pid, &call->fault);
        if (r >= 0 && s->start)
                r = foreign_start(s, &call->fault);
        else if (r >= 0)
                process_created(s, p);
        if (r < 0)
                shim_failed(s, p, &call->fault);
}

static void started(struct shim *s, const struct call *call) {
        process_started(s, call->process);
        if (call->ended)
                process_ended(s, call->process, &call->end);
}

static void executed(struct shim *s, struct call *call) {
        struct stray *stray = stray_take(s->foreign, call->pid);
        struct process *p = call->process;

        if (!stray && adopt(s, p, call->pid, &call->fault) < 0) {
                shim_failed(s, p, &call->fault);
                process_forget(s, p);
                return;
        }
        p->pid = call->pid;
        process_started(s, p);
        if (stray)
                process_ended(s, p, &stray->info);
        free(stray);
}

static void make_failed(struct shim *s, struct call *call) {
        struct process *p = call->process;

        /* Killed on somebody's demand while it waited: an ordinary end. Else its program could not be executed, and the
         * runtime may have cleared away what was left. */
        if (call->ended && p->created && call->end.si_code != CLD_EXITED &&
            process_was_sent(s, p, call->end.si_status)) {
                struct shim_failed failed = { .error = -ESRCH, .step = SHIM_STEP_RUNTIME };

                (void)shim_tell(s, SHIM_FAILED, p->serial, &failed, call->fault.text, NULL, 0);
                p->state = PROCESS_CREATED;
                process_ended(s, p, &call->end);
                return;
        }
        if (call->kind == CALL_CREATE)
                setup_close(&s->foreign->setup);
        shim_failed(s, p, &call->fault);
        if (p != &s->init)
                process_forget(s, p);
}

static void deleted(struct shim *s) {
        struct foreign *f = s->foreign;

        f->deleted = true;
        f->delete_by = 0;
        f->mount_ns = safe_close(f->mount_ns); /* and with it whatever is mounted there */
        f->cgroup_ns = safe_close(f->cgroup_ns);
        bundle_forget(s->plan);
}

static void frozen(struct shim *s, const struct call *call) {
        bool on = call->kind == CALL_PAUSE;

        s->pausing = false;
        if (call->done)
                s->paused = on;
        answer(s, call->serial, &call->fault);
}

static void call_finish(struct shim *s, struct call *call) {
        const char *program = plan_string(s->plan, s->plan->runtime.program);

        for (struct call **q = &s->foreign->calls; *q; q = &(*q)->next)
                if (*q == call) {
                        *q = call->next;
                        break;
                }
        safe_close(call->sock);
        if (!call->done)
                (void)fault_set(&call->fault, SHIM_STEP_RUNTIME, ECANCELED, "%s %s", program, call_verb(call->kind));
        switch (call->kind) {
        case CALL_CREATE:
        case CALL_START:
        case CALL_EXEC:
                if (!call->done)
                        make_failed(s, call);
                else if (call->kind == CALL_CREATE)
                        created(s, call);
                else if (call->kind == CALL_START)
                        started(s, call);
                else
                        executed(s, call);
                break;
        case CALL_PAUSE:
        case CALL_RESUME:
                frozen(s, call);
                break;
        case CALL_DELETE:
                deleted(s);
                break;
        default:
                if (s->init.state == PROCESS_ENDED) /* it had its effect */
                        call->fault = (struct fault)FAULT_NULL;
                answer(s, call->serial, &call->fault);
        }
        free(call);
        strays_forget(s->foreign);
        shim_end_continue(s);
}

static void keep_fd(int *to, struct packet *packet) {
        safe_close(*to);
        *to = packet_take_fd(packet, 0);
}

static void call_message(struct shim *s, struct call *call) {
        struct call_record record;
        struct packet packet;
        int r;

        r = packet_recv(call->sock, &packet);
        if (r == -EAGAIN || r == -EINTR)
                return;
        if (r <= 0 || packet.size != sizeof(record)) {
                packet_done(&packet);
                call_finish(s, call);
                return;
        }
        memcpy(&record, packet.data, sizeof(record));
        switch (record.message) {
        case CALL_FAULT:
                call->fault = record.fault;
                call->fault.text[sizeof(call->fault.text) - 1] = '\0';
                break;
        case CALL_MOUNT_NS:
                keep_fd(&s->foreign->mount_ns, &packet);
                break;
        case CALL_CGROUP_NS:
                keep_fd(&s->foreign->cgroup_ns, &packet);
                break;
        case CALL_TERMINAL:
                if (call->process)
                        keep_fd(&call->process->terminal_fd, &packet);
                break;
        case CALL_DONE:
                call->done = true;
                call->pid = record.pid;
                break;
        default:
                break;
        }
        packet_done(&packet);
}

/** foreign_fill() - what to wait for, from p[n] on */
size_t foreign_fill(const struct shim *s, struct pollfd *p, size_t n, size_t max) {
        for (const struct call *call = s->foreign ? s->foreign->calls : NULL; call && n < max; call = call->next)
                p[n++] = (struct pollfd){ .fd = call->sock, .events = POLLIN };
        return n;
}

/** foreign_poll() - a child has something to say */
void foreign_poll(struct shim *s, int sock) {
        for (struct call *call = s->foreign ? s->foreign->calls : NULL; call; call = call->next)
                if (call->sock == sock) {
                        call_message(s, call);
                        return;
                }
}

/** foreign_deadline() - when to give up, CLOCK_MONOTONIC in microseconds; 0: never */
uint64_t foreign_deadline(const struct shim *s) {
        return s->foreign ? s->foreign->delete_by : 0;
}

/** foreign_late() - the deadline is over: whatever the runtime does is ended */
void foreign_late(struct shim *s) {
        s->foreign->delete_by = 0;
        shim_kill_all(s);
}

/** foreign_delete() - nothing of the container is left: whether the runtime knows, and nothing runs for it any more */
bool foreign_delete(struct shim *s) {
        struct fault fault = FAULT_NULL;
        struct call_setup c = { .kind = CALL_DELETE, .fault = &fault };
        struct foreign *f = s->foreign;

        if (!f || f->deleted)
                return true;
        if (f->calls)
                return false;
        /* Linux 6.14, and older ones that took it over, kill whatever is cloned into a group that once was killed.
         * Source: cgroup_css_set_fork() of kernel/cgroup/cgroup.c. */
        (void)unlinkat(s->cgroup.payload_fd, CGROUP_RUNTIME, AT_REMOVEDIR);
        if (f->cgroup_ns < 0 || group_open(s) < 0 || call_begin(s, &c, NULL, 0) < 0) {
                deleted(s);
                return true;
        }
        f->delete_by = now_usec(CLOCK_MONOTONIC) + DELETE_TIMEOUT_USEC;
        return false;
}
