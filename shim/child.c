/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Cloning of the container's first process and of execs.
 *
 * A child is connected to the shim by a socket pair until execve closes its end, and starts with nothing of the shim
 * open but what struct setup names. It is never dumpable: the shim is not, and the child inherits that until execve.
 */

#include "shim/child.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/process.h"
#include "shared/syscalls.h"
#include "shim/namespace.h"

/** plan_map() - map and check a plan that must be of @kind, for only the parts of that kind have been checked
 *
 * Return: 0 with a mapping of (*ret)->size bytes the caller unmaps, or a negative errno with the fault set.
 */
int plan_map(int fd, uint32_t kind, const struct plan **ret, struct fault *fault) {
        const void *data;
        size_t size;
        int r;

        r = memfd_map_sealed(fd, PLAN_SIZE_MAX, &data, &size);
        if (r < 0)
                return fault_set(fault, SHIM_STEP_PLAN, r, "plan");
        r = plan_check(data, size);
        if (r >= 0 && ((const struct plan *)data)->kind != kind)
                r = -EINVAL;
        if (r < 0) {
                (void)munmap((void *)data, size);
                return fault_set(fault, SHIM_STEP_PLAN, r, "plan");
        }
        *ret = data;
        return 0;
}

/** plan_identifier() - what a journal stream calls the container */
const char *plan_identifier(const struct plan *plan) {
        const char *identifier = plan_string(plan, plan->log_identifier);

        return identifier ? identifier : plan_string(plan, plan->id);
}

static int compare_fds(const void *a, const void *b) {
        int x = *(const int *)a, y = *(const int *)b;

        return (x > y) - (x < y);
}

/* Closes everything from 3 on that is not in the list. */
static int close_others(int *keep, size_t n) {
        unsigned next = 3;

        qsort(keep, n, sizeof(*keep), compare_fds);
        for (size_t i = 0; i < n; i++) {
                if (keep[i] < (int)next)
                        continue;
                if (keep[i] > (int)next && close_range(next, (unsigned)keep[i] - 1, 0) < 0)
                        return -errno;
                next = (unsigned)keep[i] + 1;
        }
        return close_range(next, ~0U, 0) < 0 ? -errno : 0;
}

static int child_close(struct setup *su) {
        size_t n_mounts = su->mount_fds ? su->plan->mounts.n : 0,
               n_namespaces = su->namespace_fds ? su->plan->namespaces.n : 0, n = 0;
        int *keep = malloc(sizeof(int) * (12 + STDIO_LISTEN_MAX + n_mounts + n_namespaces)), r;

        if (!keep)
                return -ENOMEM;
        keep[n++] = su->sock;
        keep[n++] = su->root_fd;
        keep[n++] = su->init_pidfd;
        keep[n++] = su->net_ns_fd;
        keep[n++] = su->net_sock;
        keep[n++] = su->start_fd;
        for (size_t i = 0; i < 3; i++)
                keep[n++] = su->stdio.fds[i];
        for (size_t i = 0; i < su->stdio.n_listen; i++)
                keep[n++] = su->stdio.listen[i];
        for (size_t i = 0; i < n_mounts; i++)
                keep[n++] = su->mount_fds[i];
        for (size_t i = 0; i < n_namespaces; i++)
                keep[n++] = su->namespace_fds[i];
        r = close_others(keep, n);
        free(keep);
        return r;
}

/** child_clone() - clone a process that is to become @p
 *
 * @flags: CLONE_NEW*, and CLONE_PARENT. @cgroup_fd: the group it begins in, or -1 for the shim's own.
 *
 * Return: 1 in the shim, 0 in the child, or a negative errno.
 */
int child_clone(struct process *p, struct setup *su, uint64_t flags, int cgroup_fd) {
        /* With CLONE_PARENT it is our parent's child, and signals that as we would. */
        struct clone_args args = { .flags = flags | CLONE_PIDFD, .exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD };
        int socks[2], pidfd = -1, r;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return -errno;
        args.pidfd = (uint64_t)(uintptr_t)&pidfd;
        if (cgroup_fd >= 0) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t)cgroup_fd;
        }
        pid = sys_clone3(&args);
        if (pid < 0) {
                r = -errno;
                safe_close(socks[0]);
                safe_close(socks[1]);
                return r;
        }
        if (pid == 0) {
                su->sock = socks[1];
                r = child_close(su);
                if (r < 0) {
                        (void)fault_set(su->fault, SHIM_STEP_STDIO, r, "close descriptors");
                        setup_die(su);
                }
                return 0;
        }
        safe_close(socks[1]);
        p->sock = socks[0];
        p->pid = pid;
        p->pidfd = pidfd;
        p->created_at = now_usec(CLOCK_REALTIME);
        (void)process_start_time(pid, &p->start_time);
        return 1;
}

/** child_oom_score() - what the OOM killer is to think of a process
 *
 * Without a wish of the plan's it is not to inherit the protection that the shim has given itself.
 */
int child_oom_score(struct shim *s, struct process *p, const struct plan *plan, struct fault *fault) {
        bool given = plan->flags & PLAN_OOM_SCORE_ADJ;
        char text[16];
        int r;

        if (!given && !s->oom_protected)
                return 0;
        (void)snprintf(text, sizeof(text), "%d", given ? plan->process.oom_score_adj : 0);
        r = proc_write(p->pid, "oom_score_adj", text);
        return r < 0 ? fault_set(fault, SHIM_STEP_RLIMIT, r, "oom_score_adj %s", text) : 0;
}
