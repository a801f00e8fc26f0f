/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Masked and read-only paths.
 *
 * A masked file is covered by the host's own /dev/null, opened and verified by the shim; a masked directory by an empty
 * read-only tmpfs, one for all of them, cloned. Targets are resolved inside the root to a descriptor. A path that does
 * not exist needs no mask; every other failure is fatal.
 */

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/path.h"
#include "shim/setup.h"

#define MASK_ATTR (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static int mask_fault(struct setup *s, const char *what, const char *path, int error) {
        return fault_set(s->fault, SHIM_STEP_MASK, error, "%s path %s", what, path);
}

static int mask_attach(int fd, int target) {
        return move_mount(fd, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno : 0;
}

/* The first directory gets the file system itself; afterwards it has a place in our namespace, from where every kernel
 * lets it be cloned. */
static int mask_directory(int target, int *empty) {
        _cleanup_close_ int fs = -1, clone = -1;

        if (*empty >= 0) {
                clone = open_tree(*empty, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
                return clone < 0 ? -errno : mask_attach(clone, target);
        }
        fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", "davit-mask", 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1", 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_STRING, "size", "4096", 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -errno;
        *empty = fsmount(fs, FSMOUNT_CLOEXEC, MASK_ATTR);
        return *empty < 0 ? -errno : mask_attach(*empty, target);
}

static int mask_file(int target, int null_fd) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, .propagation = MS_PRIVATE };
        _cleanup_close_ int clone = -1;

        clone = open_tree(null_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (clone < 0 || mount_setattr(clone, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return -errno;
        return mask_attach(clone, target);
}

static int mask_make(struct setup *s, const char *path, int *empty) {
        _cleanup_close_ int target = -1;
        struct stat st;
        int r;

        target = path_open(s->root_fd, path, O_PATH, 0);
        if (target == -ENOENT || target == -ENOTDIR)
                return 0;
        if (target < 0)
                return mask_fault(s, "masked", path, target);
        if (fstat(target, &st) < 0)
                return mask_fault(s, "masked", path, errno);
        r = S_ISDIR(st.st_mode) ? mask_directory(target, empty) : mask_file(target, s->null_fd);
        return r < 0 ? mask_fault(s, "masked", path, r) : 0;
}

static int readonly_make(struct setup *s, const char *path) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
        _cleanup_close_ int target = -1, clone = -1;
        int r;

        target = path_open(s->root_fd, path, O_PATH, 0);
        if (target == -ENOENT || target == -ENOTDIR)
                return 0;
        if (target < 0)
                return mask_fault(s, "read-only", path, target);
        clone = open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
        if (clone < 0 || mount_setattr(clone, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return mask_fault(s, "read-only", path, errno);
        r = mask_attach(clone, target);
        return r < 0 ? mask_fault(s, "read-only", path, r) : 0;
}

/** masks_make() - cover what the container must not see, and make read-only what it must not change
 *
 * Runs after all mounts of the plan except a cgroup mount that had to wait.
 */
int masks_make(struct setup *s) {
        const plan_str *masked = plan_array(s->plan, s->plan->masked_paths);
        const plan_str *readonly = plan_array(s->plan, s->plan->readonly_paths);
        _cleanup_close_ int empty = -1;
        int r;

        for (uint32_t i = 0; i < s->plan->readonly_paths.n; i++) {
                r = readonly_make(s, plan_string(s->plan, readonly[i]));
                if (r < 0)
                        return r;
        }
        for (uint32_t i = 0; i < s->plan->masked_paths.n; i++) {
                r = mask_make(s, plan_string(s->plan, masked[i]), &empty);
                if (r < 0)
                        return r;
        }
        return 0;
}
