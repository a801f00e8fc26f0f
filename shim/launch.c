/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From a plan to a container's first process.
 *
 * SHIM_LAUNCH and SHIM_SCOPE come in either order of completion: the first process is cloned at once and prepares its
 * file system while systemd works on the scope; once the scope stands the process is moved into its cgroup and let go
 * on. In a parked shim the scope is there first, and the process is cloned into its cgroup. Whatever fails before
 * execve ends in shim_failed(), which leaves nothing behind but, if need be, the shim itself until systemd is done with
 * it.
 */

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "shared/macros.h"
#include "shared/name.h"
#include "shared/plan-check.h"
#include "shared/process.h"
#include "shared/syscalls.h"
#include "shim/child.h"
#include "shim/foreign.h"
#include "shim/namespace.h"
#include "shim/prepare.h"
#include "shim/process.h"
#include "shim/restore.h"
#include "shim/setup.h"
#include "shim/shim.h"
#include "shim/title.h"

#define SCOPE_TIMEOUT_USEC (60 * USEC_PER_SEC)

/** shim_failed() - tell the manager that a process could not be made, and leave nothing of it behind */
void shim_failed(struct shim *s, struct process *p, const struct fault *fault) {
        struct shim_failed failed = { .error = fault->error, .step = fault->step };

        if (p->pidfd >= 0) {
                (void)sys_pidfd_send_signal(p->pidfd, SIGKILL, NULL, 0);
                (void)waitid(P_PIDFD, (id_t)p->pidfd, &(siginfo_t){ .si_pid = 0 }, WEXITED);
        }
        memcpy(failed.exec_id, p->exec_id, sizeof(failed.exec_id));
        process_done(s, p);
        p->state = PROCESS_ENDED;
        if (p == &s->init)
                restore_undo(s);
        if (p == &s->init && !s->foreign)
                shim_cleanup(s);
        (void)shim_tell(s, SHIM_FAILED, p->serial, &failed, fault->text, NULL, 0);
        if (p != &s->init)
                return;
        s->phase = s->scoped ? SHIM_PHASE_DONE : SHIM_PHASE_FAILED;
        if (s->foreign && s->scoped)
                shim_end(s); /* the runtime is to know */
}

/** shim_drop_plan() - unmap the plan; what later requests need has been copied */
void shim_drop_plan(struct shim *s) {
        if (s->plan)
                (void)munmap((void *)s->plan, s->plan->size);
        s->plan = NULL;
}

static int launch_clone(struct shim *s, struct setup *su, struct fault *fault) {
        uint64_t flags = su->plan->clone_flags & NAMESPACE_FLAGS_AT_CLONE;
        int r;

        /* In a user namespace it would belong to the wrong one. */
        if ((flags & CLONE_NEWNET) && !(flags & CLONE_NEWUSER) && s->net_ns_fd >= 0) {
                flags &= ~(uint64_t)CLONE_NEWNET;
                su->net_ns_fd = s->net_ns_fd;
        }
        r = setup_namespaces(su, &flags, fault);
        if (r < 0)
                return r;
        r = child_clone(&s->init, su, flags, s->scoped ? s->cgroup.init_fd : -1);
        if (r == 0)
                init_main(su);
        s->net_ns_fd = safe_close(s->net_ns_fd);
        if (su->plan->namespaces.n > 0)
                (void)setns(s->pid_ns_fd, CLONE_NEWPID);
        if (r < 0)
                return fault_set(fault, SHIM_STEP_NAMESPACE, r, "clone the container's first process");
        return 0;
}

/* A process that has gone before it was told has failed on its own; its report is behind the broken socket, and
 * process_poll() reads it. */
static int launch_tell(struct shim *s, uint32_t word) {
        int r;

        r = packet_send(s->init.sock, &word, sizeof(word), NULL, 0, NULL, 0, NULL, 0);
        return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

/* The path socket is where a later manager finds the task. */
static int launch_listen(struct shim *s, struct fault *fault) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;
        mode_t mask;
        int r;

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return fault_set(fault, SHIM_STEP_PLAN, errno, "socket of the task");
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/shim", s->task_dir);
        (void)unlinkat(s->task_dir, "shim", 0);
        mask = umask(0177);
        r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4) < 0 ? -errno : 0;
        (void)umask(mask);
        if (r < 0)
                return fault_set(fault, SHIM_STEP_PLAN, r, "socket of the task");
        s->listener = take_fd(&fd);
        return 0;
}

static int launch_keep(struct shim *s, struct fault *fault) {
        const struct plan *plan = s->plan;

        s->namespace_flags = plan->clone_flags;
        for (uint32_t i = 0; i < plan->namespaces.n; i++)
                s->namespace_flags |= ((const struct plan_namespace *)plan_array(plan, plan->namespaces))[i].clone_flag;
        s->stop_signal = plan->stop_signal;
        s->stop_timeout_usec = plan->stop_timeout_usec;
        violation_expect(s, &s->init, plan);
        if ((plan->flags & PLAN_EPHEMERAL) && plan->rootfs.upper) {
                s->upper = strdup(plan_string(plan, plan->rootfs.upper));
                s->work = strdup(plan_string(plan, plan->rootfs.work));
                if (!s->upper || !s->work)
                        return fault_set(fault, SHIM_STEP_PLAN, ENOMEM, "plan");
        }
        return 0;
}

static int launch_take(struct shim *s, struct packet *p, const struct shim_launch *request, const char *text,
                       size_t text_size, struct setup *su, struct fault *fault) {
        struct stdio_source source = { .packet = p, .next = 2, .text = text, .text_size = text_size };
        _cleanup_close_ int plan_fd = packet_take_fd(p, 0);
        char unit[NAME_UNIT_MAX];
        int dir, r;

        if (request->start == SHIM_LAUNCH_RESTORE) {
                r = restore_take(s, p, fault);
                if (r < 0)
                        return r;
                source.next++;
        }
        dir = packet_take_fd(p, 1);
        if (dir >= 0) {
                safe_close(s->task_dir);
                s->task_dir = dir;
        }
        if (plan_fd < 0 || s->task_dir < 0)
                return fault_set(fault, SHIM_STEP_PLAN, EBADMSG, "launch without plan or task directory");
        r = plan_map(plan_fd, PLAN_CONTAINER, &s->plan, fault);
        if (r < 0)
                return r;
        r = name_scope(plan_string(s->plan, s->plan->namespace), plan_string(s->plan, s->plan->id), unit);
        if (r < 0)
                return fault_set(fault, SHIM_STEP_PLAN, r, "name of the task");
        title_set(plan_string(s->plan, s->plan->namespace), plan_string(s->plan, s->plan->id));
        source.identifier = plan_identifier(s->plan);
        source.unit = unit;
        if ((s->plan->clone_flags & (CLONE_NEWNET | CLONE_NEWUSER)) == CLONE_NEWNET && !s->plan->runtime.program)
                source.sockets = s->net_sockets;
        r = stdio_take(&su->stdio, &request->stdio, &source, fault);
        for (size_t i = 0; i < ELEMENTSOF(s->net_sockets); i++)
                s->net_sockets[i] = safe_close(s->net_sockets[i]);
        if (r < 0)
                return r;
        stdio_keep(&su->stdio, s->init.kept);
        return drop_begin(s, &s->init, &su->stdio, fault);
}

static int launch_go(struct shim *s, struct fault *fault) {
        if (s->foreign)
                return foreign_create(s, fault);
        return launch_tell(s, s->start ? SETUP_SCOPED_START : SETUP_SCOPED);
}

static int launch_first(struct shim *s, struct setup *su, struct fault *fault) {
        int r;

        r = setup_open(su, s->plan, fault);
        if (r >= 0)
                r = launch_clone(s, su, fault);
        return r < 0 ? r : setup_map(su, s->init.pid, s->init.sock, fault);
}

static int launch_make(struct shim *s, struct setup *su, struct fault *fault) {
        int r;

        if (s->restore)
                r = restore_prepare(s, su, fault);
        else if (s->plan->runtime.program)
                return foreign_prepare(s, su, fault);
        else
                r = launch_first(s, su, fault);
        return r < 0 ? r : child_oom_score(s, &s->init, s->plan, fault);
}

/** shim_launch() - make the container's first process as far as it goes without the scope */
void shim_launch(struct shim *s, struct packet *p, const struct shim_launch *request, const char *text,
                 size_t text_size, uint32_t serial) {
        struct setup su = SETUP_NULL;
        struct fault fault = FAULT_NULL;
        int r;

        s->phase = SHIM_PHASE_ALIVE;
        s->start = request->start;
        s->init.serial = serial;
        s->init.state = PROCESS_MAKING;
        s->give_up_at = s->scoped ? 0 : now_usec(CLOCK_MONOTONIC) + SCOPE_TIMEOUT_USEC;

        r = launch_take(s, p, request, text, text_size, &su, &fault);
        if (r >= 0)
                r = launch_keep(s, &fault);
        if (r >= 0)
                r = launch_make(s, &su, &fault);
        if (r >= 0)
                r = launch_listen(s, &fault);
        if (r >= 0 && s->scoped)
                r = unified_apply(&s->cgroup, s->plan, &fault);
        if (r >= 0 && s->scoped)
                r = launch_go(s, &fault);
        setup_close(&su);
        if (r < 0) {
                (void)fault_set(&fault, SHIM_STEP_NAMESPACE, r, "container's first process");
                shim_failed(s, &s->init, &fault);
        }
}

/** shim_scope() - systemd has put the shim into the unit: take possession of the cgroup and let the container in */
void shim_scope(struct shim *s, const char *unit, size_t unit_size, uint32_t serial) {
        struct fault fault = FAULT_NULL;
        int r;

        if (s->scoped) {
                shim_reply(s, serial, -EALREADY, "the scope is known already");
                return;
        }
        s->give_up_at = 0;
        s->scoped = true;
        if (s->phase == SHIM_PHASE_FAILED) {
                s->phase = SHIM_PHASE_DONE;
                return;
        }
        r = cgroup_enter(&s->cgroup, unit, unit_size);
        if (r >= 0)
                oom_watch(s);
        if (s->phase == SHIM_PHASE_PARKED) {
                shim_reply(s, serial, r, r < 0 ? "the shim is not in that scope" : NULL);
                if (r < 0) /* a container would begin in a group that nobody limits */
                        s->phase = SHIM_PHASE_DONE;
                return;
        }
        if (r < 0)
                (void)fault_set(&fault, SHIM_STEP_CGROUP, r, "scope %.*s", (int)unit_size, unit);
        if (r >= 0 && !s->foreign) {
                r = cgroup_attach_init(&s->cgroup, s->init.pid);
                if (r < 0)
                        (void)fault_set(&fault, SHIM_STEP_CGROUP, r, "cgroup of the container");
        }
        if (r >= 0)
                r = unified_apply(&s->cgroup, s->plan, &fault);
        if (r >= 0)
                r = launch_go(s, &fault);
        if (r < 0) {
                (void)fault_set(&fault, SHIM_STEP_CGROUP, r, "container's first process");
                shim_failed(s, &s->init, &fault);
        }
}

/** shim_start() - let the created container execute its program */
void shim_start(struct shim *s, uint32_t serial) {
        struct fault fault = FAULT_NULL;
        int r;

        /* Without its socket it has been killed, as is about to be told, or has been told just now. */
        if (s->init.state != PROCESS_CREATED || (s->init.sock < 0 && !s->foreign)) {
                shim_reply(s, serial, -ESRCH, "the container is not in the created state");
                return;
        }
        s->init.serial = serial;
        s->init.state = PROCESS_MAKING;
        r = s->foreign ? foreign_start(s, &fault) : launch_tell(s, SETUP_START);
        if (r < 0) {
                (void)fault_set(&fault, SHIM_STEP_NAMESPACE, r, "container's first process");
                shim_failed(s, &s->init, &fault);
        }
}
