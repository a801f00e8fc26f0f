/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The outer side of making a container's first process.
 *
 * Whoever clones it, a task's shim or the maker of a bundle's container, first opens what the plan names on the host,
 * as real root: the root file system, sources of bind mounts, namespaces to join. Afterwards it writes the maps of a
 * new user namespace. Nothing here has a place in a mount table, so there is nothing to undo.
 */

#include "shim/prepare.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "shared/macros.h"
#include "shared/message.h"
#include "shared/plan-check.h"
#include "shim/namespace.h"
#include "shim/rootfs.h"

static int prepare_check(const struct plan *plan, struct fault *fault) {
        const struct plan_namespace *n = plan_array(plan, plan->namespaces);

        if (!(plan->clone_flags & CLONE_NEWNS))
                return fault_set(fault, SHIM_STEP_PLAN, EINVAL,
                                 "linux.namespaces without a mount namespace of its own");
        for (uint32_t i = 0; i < plan->namespaces.n; i++)
                if (n[i].clone_flag == CLONE_NEWNS ||
                    (n[i].clone_flag == CLONE_NEWUSER && !(plan->flags & PLAN_BUNDLE)))
                        return fault_set(fault, SHIM_STEP_PLAN, EOPNOTSUPP,
                                         "linux.namespaces: a %s namespace cannot be joined by path",
                                         namespace_name(n[i].clone_flag));
        return 0;
}

static int prepare_attributes(struct setup *su, int userns, struct fault *fault) {
        const struct plan_mount *m = plan_array(su->plan, su->plan->mounts);
        int r;

        for (uint32_t i = 0; i < su->plan->mounts.n; i++) {
                if (su->mount_fds[i] < 0)
                        continue;
                r = source_attributes(su->plan, &m[i], su->mount_fds[i], userns, fault);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int prepare_sources(struct setup *su, struct fault *fault) {
        const struct plan *plan = su->plan;
        const struct plan_mount *m = plan_array(plan, plan->mounts);
        const struct plan_namespace *n = plan_array(plan, plan->namespaces);
        int users;

        for (uint32_t i = 0; i < plan->mounts.n; i++) {
                if (m[i].kind != PLAN_MOUNT_BIND)
                        continue;
                su->mount_fds[i] = source_open(plan, &m[i], fault);
                if (su->mount_fds[i] < -1)
                        return su->mount_fds[i];
        }
        for (uint32_t i = 0; i < plan->namespaces.n; i++) {
                su->namespace_fds[i] = namespace_open(plan, &n[i], fault);
                if (su->namespace_fds[i] < 0)
                        return su->namespace_fds[i];
        }
        if (plan->clone_flags & CLONE_NEWUSER) /* there is nothing to map them by yet */
                return 0;
        users = namespace_of_users(plan);
        return prepare_attributes(su, users >= 0 ? su->namespace_fds[users] : -1, fault);
}

static int *prepare_fds(uint32_t n) {
        int *fds = malloc(sizeof(int) * ((size_t)n + 1));

        for (uint32_t i = 0; fds && i < n; i++)
                fds[i] = -1;
        return fds;
}

/** setup_open() - open what @plan, which is borrowed, names on the host; end with setup_close() in any case */
int setup_open(struct setup *su, const struct plan *plan, struct fault *fault) {
        int r;

        su->plan = plan;
        su->fault = fault;
        su->mount_fds = prepare_fds(plan->mounts.n);
        su->namespace_fds = prepare_fds(plan->namespaces.n);
        if (!su->mount_fds || !su->namespace_fds)
                return fault_set(fault, SHIM_STEP_MOUNT, ENOMEM, "mounts");
        r = prepare_check(plan, fault);
        if (r < 0)
                return r;
        su->root_fd = rootfs_open(plan, fault);
        if (su->root_fd < 0)
                return su->root_fd;
        return prepare_sources(su, fault);
}

/** setup_close() - close what setup_open() has opened, and the streams */
void setup_close(struct setup *su) {
        for (uint32_t i = 0; su->mount_fds && i < su->plan->mounts.n; i++)
                safe_close(su->mount_fds[i]);
        for (uint32_t i = 0; su->namespace_fds && i < su->plan->namespaces.n; i++)
                safe_close(su->namespace_fds[i]);
        free(su->mount_fds);
        free(su->namespace_fds);
        su->mount_fds = su->namespace_fds = NULL;
        su->root_fd = safe_close(su->root_fd);
        stdio_done(&su->stdio);
}

/* Offsets can be set as long as nobody is in the namespace: it is made for the next child instead of by its clone. */
static int prepare_time(struct setup *su, uint64_t *flags, struct fault *fault) {
        const struct plan_time_offset *o = plan_array(su->plan, su->plan->time_offsets);
        char text[128];
        int r;

        if (su->plan->time_offsets.n == 0 || !(*flags & CLONE_NEWTIME))
                return 0;
        if (unshare(CLONE_NEWTIME) < 0)
                return fault_set(fault, SHIM_STEP_NAMESPACE, errno, "time namespace");
        *flags &= ~(uint64_t)CLONE_NEWTIME;
        for (uint32_t i = 0; i < su->plan->time_offsets.n; i++) {
                (void)snprintf(text, sizeof(text), "%u %lld %u\n", o[i].clock, (long long)o[i].secs, o[i].nanosecs);
                r = proc_write(getpid(), "timens_offsets", text);
                if (r < 0)
                        return fault_set(fault, SHIM_STEP_NAMESPACE, r, "linux.timeOffsets");
        }
        return 0;
}

/** setup_namespaces() - what has to be chosen before the clone, and only for it: the pid namespace to be a member of,
 * and a time namespace with offsets, which then leaves @flags */
int setup_namespaces(struct setup *su, uint64_t *flags, struct fault *fault) {
        const struct plan_namespace *n = plan_array(su->plan, su->plan->namespaces);

        for (uint32_t i = 0; i < su->plan->namespaces.n; i++)
                if (n[i].clone_flag == CLONE_NEWPID && setns(su->namespace_fds[i], CLONE_NEWPID) < 0)
                        return fault_set(fault, SHIM_STEP_NAMESPACE, errno, "join pid namespace %s",
                                         plan_string(su->plan, n[i].path));
        return prepare_time(su, flags, fault);
}

/** setup_join() - enter the namespaces named by path oneself, the user namespace last, so that the next child is born
 * there
 *
 * For a process that makes one child and ends. Behind the user namespace there are no rights on the host any more.
 */
int setup_join(struct setup *su, struct fault *fault) {
        const struct plan_namespace *n = plan_array(su->plan, su->plan->namespaces);

        for (int users = 0; users < 2; users++)
                for (uint32_t i = 0; i < su->plan->namespaces.n; i++) {
                        if (n[i].clone_flag == CLONE_NEWPID || (n[i].clone_flag == CLONE_NEWUSER) != (users == 1))
                                continue;
                        if (setns(su->namespace_fds[i], (int)n[i].clone_flag) < 0)
                                return fault_set(fault, SHIM_STEP_NAMESPACE, errno, "join %s namespace %s",
                                                 namespace_name(n[i].clone_flag), plan_string(su->plan, n[i].path));
                        su->join_flags |= n[i].clone_flag;
                }
        /* New credentials make a process what fs.suid_dumpable says. */
        return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? fault_set(fault, SHIM_STEP_NAMESPACE, errno, "stay closed") : 0;
}

/* A process that has gone before it was told has failed on its own; its report is behind the broken socket, where the
 * one who waits for it finds it. */
static int prepare_tell(int sock, uint32_t word) {
        int r;

        r = packet_send(sock, &word, sizeof(word), NULL, 0, NULL, 0, NULL, 0);
        return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

/** setup_map() - with a user namespace: its maps, then the mounts that are mapped by it
 *
 * @pid, @sock: of the first process, which waits for SETUP_MAPPED.
 */
int setup_map(struct setup *su, pid_t pid, int sock, struct fault *fault) {
        _cleanup_close_ int userns = -1;
        char path[40];
        int r;

        if (!(su->plan->clone_flags & CLONE_NEWUSER))
                return 0;
        r = namespace_write_maps(su->plan, pid, su->plan->uid_map, su->plan->gid_map, fault);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
        userns = open(path, O_RDONLY | O_CLOEXEC);
        if (userns < 0)
                return fault_set(fault, SHIM_STEP_ID_MAP, errno, "user namespace");
        r = prepare_attributes(su, userns, fault);
        if (r < 0)
                return r;
        r = prepare_tell(sock, SETUP_MAPPED);
        return r < 0 ? fault_set(fault, SHIM_STEP_ID_MAP, r, "user namespace") : 0;
}
