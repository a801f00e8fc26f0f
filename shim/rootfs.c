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
#include "shim/path.h"
#include "shim/setup.h"

/* fsconfig(2) takes strings of up to 255 bytes. */
#define OVERLAY_STRING_MAX 256U

static int rootfs_directory(const char *path, uint64_t attr_set, struct fault *fault) {
        struct mount_attr attr = { .attr_set = attr_set, .propagation = MS_PRIVATE };
        _cleanup_close_ int fd = -1;

        fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (fd < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "root file system %s", path);
        if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "root file system %s", path);
        return take_fd(&fd);
}

/* A new upper directory takes owner and mode from the topmost lower one, as the root directory shows the upper's. */
static int overlay_make_dirs(const char *upper, const char *work, const char *lower, struct fault *fault) {
        struct stat st;

        if (mkdir(upper, 0755) >= 0) {
                if (stat(lower, &st) < 0 || chown(upper, st.st_uid, st.st_gid) < 0 ||
                    chmod(upper, st.st_mode & 07777) < 0)
                        return fault_set(fault, SHIM_STEP_ROOTFS, errno, "overlay upper %s", upper);
        } else if (errno != EEXIST)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "overlay upper %s", upper);
        if (mkdir(work, 0700) < 0 && errno != EEXIST)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "overlay work %s", work);
        return 0;
}

/* Before Linux 6.8 all lower layers are one string; magic links of open descriptors keep it short and free of
 * characters that would need escaping. */
static int overlay_add_joined(int fs, const struct plan *plan, int *fds) {
        const struct plan_rootfs *r = &plan->rootfs;
        const plan_str *lowers = plan_array(plan, r->lowers), *data = plan_array(plan, r->data);
        char joined[OVERLAY_STRING_MAX] = "";
        size_t n = 0;

        for (uint32_t i = 0; i < r->lowers.n + r->data.n; i++) {
                bool is_data = i >= r->lowers.n;
                int w;

                fds[i] = open(plan_string(plan, is_data ? data[i - r->lowers.n] : lowers[i]),
                              O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (fds[i] < 0)
                        return -errno;
                w = snprintf(joined + n, sizeof(joined) - n, "%s/proc/self/fd/%d",
                             i == 0    ? ""
                             : is_data ? "::"
                                       : ":",
                             fds[i]);
                if (w < 0 || (size_t)w >= sizeof(joined) - n)
                        return -E2BIG;
                n += (size_t)w;
        }
        return fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", joined, 0) < 0 ? -errno : 0;
}

static int overlay_add_layers(int fs, const struct plan *plan) {
        const struct plan_rootfs *r = &plan->rootfs;
        const plan_str *lowers = plan_array(plan, r->lowers), *data = plan_array(plan, r->data);
        int ret = 0, *fds;

        for (uint32_t i = 0; i < r->lowers.n; i++)
                if (fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", plan_string(plan, lowers[i]), 0) < 0) {
                        if (i > 0 || errno != EINVAL)
                                return -errno;
                        goto joined;
                }
        for (uint32_t i = 0; i < r->data.n; i++)
                if (fsconfig(fs, FSCONFIG_SET_STRING, "datadir+", plan_string(plan, data[i]), 0) < 0)
                        return -errno;
        return 0;

joined:
        fds = malloc(sizeof(int) * (r->lowers.n + r->data.n));
        if (!fds)
                return -ENOMEM;
        for (uint32_t i = 0; i < r->lowers.n + r->data.n; i++)
                fds[i] = -1;
        ret = overlay_add_joined(fs, plan, fds);
        /* The kernel resolves the string when it is given the option: from 6.5 on at once, before that at creation,
         * so the descriptors stay until the process ends. They are close-on-exec and number a handful. */
        free(fds);
        return ret;
}

static int overlay_add_upper(int fs, const struct plan *plan, struct fault *fault) {
        const struct plan_rootfs *r = &plan->rootfs;
        const char *upper = plan_string(plan, r->upper), *work = plan_string(plan, r->work);
        const plan_str *lowers = plan_array(plan, r->lowers);
        int ret;

        ret = overlay_make_dirs(upper, work, plan_string(plan, lowers[0]), fault);
        if (ret < 0)
                return ret;
        if (fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", upper, 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_STRING, "workdir", work, 0) < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "overlay upper %s", upper);
        if ((plan->flags & PLAN_EPHEMERAL) && fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "overlay option volatile");
        if (r->data.n > 0 && fsconfig(fs, FSCONFIG_SET_STRING, "metacopy", "on", 0) < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "overlay option metacopy");
        return 0;
}

static int rootfs_overlay(const struct plan *plan, struct fault *fault) {
        const plan_str *lowers = plan_array(plan, plan->rootfs.lowers);
        const char *top = plan_string(plan, lowers[0]);
        _cleanup_close_ int fs = -1, fd = -1;
        int r;

        fs = fsopen("overlay", FSOPEN_CLOEXEC);
        if (fs < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "overlay");
        r = overlay_add_layers(fs, plan);
        if (r < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, r, "overlay lower %s", top);
        if (plan->rootfs.upper) {
                r = overlay_add_upper(fs, plan, fault);
                if (r < 0)
                        return r;
        }
        if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "overlay of %s", top);
        fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
        if (fd < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "overlay of %s", top);
        return take_fd(&fd);
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
 * can see it; until then it is reached by descriptor.
 */
int rootfs_attach(struct setup *s) {
        struct mount_attr attr = { .propagation = MS_SLAVE };

        if (s->plan->rootfs.propagation & MS_PRIVATE)
                attr.propagation = MS_PRIVATE;
        if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return fault_set(s->fault, SHIM_STEP_MOUNT, errno, "propagation of the host's mounts");
        if (move_mount(s->root_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return fault_set(s->fault, SHIM_STEP_ROOTFS, errno, "attach root file system");
        return 0;
}

/** rootfs_finish() - what the root mount itself is to be once everything has been mounted in it */
int rootfs_finish(struct setup *s) {
        const struct plan *plan = s->plan;
        struct mount_attr attr = { .propagation = 0 };

        if (plan->flags & PLAN_ROOTFS_READONLY)
                attr.attr_set = MOUNT_ATTR_RDONLY;
        attr.propagation = plan->rootfs.propagation & (MS_SHARED | MS_SLAVE | MS_UNBINDABLE);
        if (attr.attr_set == 0 && attr.propagation == 0)
                return 0;
        /* A mount has to be shared once before it can be a slave of anything; ours is private, and stays so. */
        if (attr.propagation == MS_SLAVE)
                attr.propagation = 0;
        if (mount_setattr(s->root_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return fault_set(s->fault, SHIM_STEP_ROOTFS, errno, "attributes of the root file system");
        return 0;
}

/** rootfs_pivot() - make it "/" and let go of everything the host has mounted */
int rootfs_pivot(struct setup *s) {
        if (fchdir(s->root_fd) < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "root file system");
        if (sys_pivot_root(".", ".") < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "pivot_root");
        if (umount2(".", MNT_DETACH) < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "let go of the host's file systems");
        if (chdir("/") < 0)
                return fault_set(s->fault, SHIM_STEP_PIVOT, errno, "new root");
        return 0;
}
