/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The root file system.
 *
 * The shim makes it as a detached mount (rootfs_open): an overlay, or a clone of a directory's mounts. It is attached
 * only inside the mount namespace of the container's first process, so there is nothing to clean up on the host,
 * whoever is killed when. The first process then makes it its root by pivot_root(2) and lets the host's tree go.
 */

#include "shim/rootfs.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/overlay.h"
#include "shim/path.h"
#include "shim/setup.h"

static int rootfs_directory(const char *path, uint64_t attr_set, struct fault *fault) {
        struct mount_attr attr = { .attr_set = attr_set, .propagation = MS_PRIVATE };
        _cleanup_close_ int directory = -1, fd = -1;

        directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "root file system %s", path);
        fd = open_tree(directory, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH);
        if (fd < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "root file system %s", path);
        if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "root file system %s", path);
        return take_fd(&fd);
}

static uint32_t mapped_root(const struct plan *plan, struct plan_list list) {
        const struct plan_id_map *m = plan_array(plan, list);

        for (uint32_t i = 0; i < list.n; i++)
                if (m[i].container_id == 0)
                        return m[i].host_id;
        return 0;
}

static void add_paths(const struct plan *plan, struct plan_list list, const char **paths) {
        const plan_str *strings = plan_array(plan, list);

        for (uint32_t i = 0; i < list.n; i++)
                paths[i] = plan_string(plan, strings[i]);
}

static int rootfs_overlay(const struct plan *plan, struct fault *fault) {
        const struct plan_rootfs *r = &plan->rootfs;
        struct overlay_owner owner = { .userns = -1 };
        _cleanup_free_ const char **paths = calloc((size_t)r->lowers.n + r->data.n, sizeof(char *));
        struct overlay_layers layers = { .lowers = paths,
                                         .n_lowers = r->lowers.n,
                                         .n_data = r->data.n,
                                         .upper = plan_string(plan, r->upper),
                                         .work = plan_string(plan, r->work),
                                         .is_volatile = plan->flags & PLAN_EPHEMERAL };
        int fd;

        if (!paths)
                return fault_set(fault, SHIM_STEP_ROOTFS, ENOMEM, "overlay");
        add_paths(plan, r->lowers, paths);
        layers.data = paths + r->lowers.n;
        add_paths(plan, r->data, paths + r->lowers.n);
        if (plan->clone_flags & CLONE_NEWUSER) {
                owner.userns = userns_for_maps(plan, plan->uid_map, plan->gid_map, fault);
                if (owner.userns < 0)
                        return owner.userns; /* NOLINT(clang-analyzer-unix.Malloc): paths go by themselves */
                owner.uid = mapped_root(plan, plan->uid_map);
                owner.gid = mapped_root(plan, plan->gid_map);
        }
        fd = overlay_make(&layers, &owner, fault);
        safe_close(owner.userns);
        return fd;
}

/** rootfs_open() - make the container's root file system as a detached mount
 *
 * Runs in the shim, as real root: an overlay's layers are opened with the shim's rights.
 *
 * Return: a descriptor the caller owns, or a negative errno with the fault set.
 */
int rootfs_open(const struct plan *plan, struct fault *fault) {
        const struct plan_rootfs *r = &plan->rootfs;

        if (r->kind == PLAN_ROOTFS_DIRECTORY)
                return rootfs_directory(plan_string(plan, r->path), 0, fault);
        if (!r->upper && r->lowers.n == 1 && r->data.n == 0) { /* the kernel wants two layers for a read-only overlay */
                const plan_str *lowers = plan_array(plan, r->lowers);

                return rootfs_directory(plan_string(plan, lowers[0]), MOUNT_ATTR_RDONLY, fault);
        }
        return rootfs_overlay(plan, fault);
}

/** rootfs_attach() - attach the root file system inside the child's own mount namespace
 *
 * First cuts the way back: nothing mounted from now on is seen outside. It is put on top of "/", where only pivot_root
 * can see it; until then it is reached by descriptor. Hooks of a bundle expect it where their configuration says.
 */
int rootfs_attach(struct setup *s) {
        bool in_place = (s->plan->flags & PLAN_BUNDLE) && s->plan->rootfs.kind == PLAN_ROOTFS_DIRECTORY;
        const char *where = in_place ? plan_string(s->plan, s->plan->rootfs.path) : "/";
        struct mount_attr attr = { .propagation = MS_SLAVE };

        if (s->plan->rootfs.propagation & MS_PRIVATE)
                attr.propagation = MS_PRIVATE;
        if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return fault_set(s->fault, SHIM_STEP_MOUNT, errno, "propagation of the host's mounts");
        if (move_mount(s->root_fd, "", AT_FDCWD, where, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return fault_set(s->fault, SHIM_STEP_ROOTFS, errno, "attach root file system");
        return 0;
}

/** rootfs_finish() - make the root mount read-only, if it is to be, once everything has been mounted in it */
int rootfs_finish(struct setup *s) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

        if (!(s->plan->flags & PLAN_ROOTFS_READONLY))
                return 0;
        if (mount_setattr(s->root_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return fault_set(s->fault, SHIM_STEP_ROOTFS, errno, "read-only root file system");
        return 0;
}

/* The kernel lets who is root of a user namespace mount as much of procfs and sysfs as can be seen in the mount
 * namespace. The host's, which stay in it, would be all of them, whatever is masked for the container. */
static int rootfs_hide(struct setup *s, const char *path) {
        while (umount2(path, MNT_DETACH) >= 0)
                ;
        if (errno != ENOENT && mount("tmpfs", path, "tmpfs", MS_RDONLY, NULL) < 0 && errno != ENOENT)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "hide %s of the host", path);
        return 0;
}

/* The initial ramfs cannot be pivoted away from: the root is moved over it. */
static int rootfs_chroot(struct setup *s) {
        if (rootfs_hide(s, "/proc") < 0 || rootfs_hide(s, "/sys") < 0)
                return s->fault->error;
        if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "move the root file system to /");
        if (chroot(".") < 0 || chdir("/") < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "chroot");
        return 0;
}

/** rootfs_pivot() - make it "/" and let go of everything the host has mounted
 *
 * A shared mount cannot be pivoted to, so that its propagation comes last. A mount has to be shared once before it can
 * be a slave of anything; ours is private, and stays so.
 */
int rootfs_pivot(struct setup *s) {
        struct mount_attr attr = { .propagation = s->plan->rootfs.propagation & (MS_SHARED | MS_UNBINDABLE) };
        unsigned flags = AT_EMPTY_PATH | (s->plan->rootfs.propagation & MS_REC ? AT_RECURSIVE : 0);

        if (fchdir(s->root_fd) < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "root file system");
        if (s->plan->flags & PLAN_NO_PIVOT)
                return rootfs_chroot(s);
        if (sys_pivot_root(".", ".") < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "pivot_root");
        if (umount2(".", MNT_DETACH) < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "let go of the host's file systems");
        if (chdir("/") < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "new root");
        if (attr.propagation && mount_setattr(s->root_fd, "", flags, &attr, sizeof(attr)) < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "propagation of the root file system");
        return 0;
}
