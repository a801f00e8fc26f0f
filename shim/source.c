/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sources of bind mounts.
 *
 * They are opened by the shim, as real root and before the container exists: a detached clone each, which pins what
 * the path meant at that moment and already carries its attributes, propagation and id mapping. The container's first
 * process inherits the descriptors and only chooses where they go.
 */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/namespace.h"
#include "shim/rootfs.h"

/* A shared bind mount is to be a peer of the host's mount, but the launcher's own namespace is only the host's slave:
 * the clone is made where PID 1 sees it, and a detached mount keeps its peer group when it is attached elsewhere. */
static int source_open_shared(const char *source, unsigned flags) {
        _cleanup_close_ int own = -1, host = -1;
        int fd, saved;

        own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        host = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
        if (own < 0 || host < 0 || setns(host, CLONE_NEWNS) < 0)
                return -errno;
        fd = open_tree(AT_FDCWD, source, flags);
        saved = errno;
        if (setns(own, CLONE_NEWNS) < 0)
                _exit(EXIT_FAILURE); /* there is no way to go on in somebody else's namespace */
        return fd < 0 ? -saved : fd;
}

/** source_open() - clone the source of a bind mount
 *
 * Return: a detached mount the caller owns, -1 for an optional source that does not exist, or a negative errno below -1
 * with the fault set.
 */
int source_open(const struct plan *plan, const struct plan_mount *m, struct fault *fault) {
        unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
        const char *source = plan_string(plan, m->source);
        int fd;

        if (m->flags & PLAN_MOUNT_RECURSIVE)
                flags |= AT_RECURSIVE;
        if ((m->propagation & MS_SHARED) && !(plan->flags & PLAN_BUNDLE))
                fd = source_open_shared(source, flags);
        else {
                fd = open_tree(AT_FDCWD, source, flags);
                if (fd < 0)
                        fd = -errno;
        }
        if (fd == -ENOENT && (m->flags & PLAN_MOUNT_OPTIONAL))
                return -1;
        if (fd < 0) {
                (void)fault_set(fault, SHIM_STEP_MOUNT, fd, "mount %s at %s", source, plan_string(plan, m->target));
                return fd < -1 ? fd : -EACCES;
        }
        return fd;
}

static int source_idmap(const struct plan *plan, const struct plan_mount *m, int fd, int userns_fd,
                        struct fault *fault) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
        unsigned flags = AT_EMPTY_PATH | (m->flags & PLAN_MOUNT_IDMAP_RECURSIVE ? AT_RECURSIVE : 0);
        const char *target = plan_string(plan, m->target);
        _cleanup_close_ int own = -1;

        if (m->uid_map.n > 0 || m->gid_map.n > 0) {
                own = userns_for_maps(plan, m->uid_map, m->gid_map, fault);
                if (own < 0)
                        return own;
                userns_fd = own;
        }
        if (userns_fd < 0)
                return fault_set(fault, SHIM_STEP_ID_MAP, EINVAL, "id mapping of %s without a user namespace", target);
        attr.userns_fd = (uint64_t)userns_fd;
        if (mount_setattr(fd, "", flags, &attr, sizeof(attr)) < 0)
                return fault_set(fault, SHIM_STEP_ID_MAP, errno, "id mapping of %s", target);
        return 0;
}

/** source_attributes() - give a detached bind mount its attributes, propagation and id mapping
 *
 * @userns_fd: the container's user namespace, or -1. A mount that asks for no propagation is made a slave: what the
 * host mounts appears, what the container mounts does not leave it.
 */
int source_attributes(const struct plan *plan, const struct plan_mount *m, int fd, int userns_fd, struct fault *fault) {
        struct mount_attr all = {
                .attr_set = m->attr_set_recursive,
                .attr_clr = m->attr_clear_recursive,
                .propagation = m->propagation & MS_REC ? m->propagation & ~(uint64_t)MS_REC
                               : m->propagation == 0   ? MS_SLAVE
                                                       : 0,
        };
        struct mount_attr top = { .attr_set = m->attr_set, .attr_clr = m->attr_clear };

        if (m->propagation && !(m->propagation & MS_REC))
                top.propagation = m->propagation;
        if ((all.attr_set || all.attr_clr || all.propagation) &&
            mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &all, sizeof(all)) < 0)
                return fault_set(fault, SHIM_STEP_MOUNT, errno, "recursive options of %s",
                                 plan_string(plan, m->target));
        if ((top.attr_set || top.attr_clr || top.propagation) &&
            mount_setattr(fd, "", AT_EMPTY_PATH, &top, sizeof(top)) < 0)
                return fault_set(fault, SHIM_STEP_MOUNT, errno, "options of %s", plan_string(plan, m->target));
        if (m->flags & (PLAN_MOUNT_IDMAP | PLAN_MOUNT_IDMAP_RECURSIVE))
                return source_idmap(plan, m, fd, userns_fd, fault);
        return 0;
}

/** userns_for_maps() - a user namespace that exists only for its maps
 *
 * Return: a descriptor the caller owns, or a negative errno with the fault set.
 */
int userns_for_maps(const struct plan *plan, struct plan_list uid_map, struct plan_list gid_map, struct fault *fault) {
        struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
        pid_t pid, parent = getpid();
        char path[40];
        int fd, r;

        pid = sys_clone3(&args);
        if (pid < 0)
                return fault_set(fault, SHIM_STEP_ID_MAP, errno, "user namespace");
        if (pid == 0) {
                if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
                        _exit(EXIT_FAILURE);
                for (;;)
                        (void)pause();
        }

        r = namespace_write_maps(plan, pid, uid_map, gid_map, fault);
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && r >= 0)
                r = fault_set(fault, SHIM_STEP_ID_MAP, errno, "user namespace");
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        if (r < 0) {
                safe_close(fd);
                return r;
        }
        return fd;
}
