/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What another OCI runtime gets to see of the host.
 *
 * Its processes have a mount namespace of their own, in which the bundle stands in the place of the manager's
 * directory, so nothing is mounted on the host and nothing of other containers is in reach. They have a cgroup
 * namespace whose root is the task's payload/, and the only cgroup hierarchy mounted is that one, so that whatever
 * group the runtime makes, it is below the task's scope. The first call makes both namespaces, the later ones enter
 * them. The configuration is written here; nothing of it is read.
 */

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/runtime-protocol.h"
#include "shared/syscalls.h"
#include "shim/cgroup.h"
#include "shim/foreign-call.h"

#define CGROUP_MOUNT "/sys/fs/cgroup"
#define BUNDLE_SIZE "mode=0711,size=16m"

/* Made where it is missing, and never through a symbolic link: whoever can make one of a directory above could choose
 * what is removed. */
static int records_open(const struct plan *plan, bool make) {
        struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                                .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
        const char *path = plan_string(plan, plan->runtime.root) + 1;
        _cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd;

        if (root < 0)
                return -errno;
        if (make)
                return dir_open_at(root, path, 0700);
        fd = sys_openat2(root, path, &how);
        return fd < 0 ? -errno : fd;
}

/** bundle_forget() - remove what a runtime that has been killed, or never was there, has left of its records */
void bundle_forget(const struct plan *plan) {
        _cleanup_close_ int fd = records_open(plan, false);

        if (fd >= 0)
                (void)tree_remove_at(fd, plan_string(plan, plan->id));
}

static bool below_runtime_dir(const char *path) {
        return strncmp(path, RUNTIME_DIR "/", sizeof(RUNTIME_DIR)) == 0;
}

/* The records keep their place, also where that is in the directory that is covered. */
static int records_clone(struct call_setup *c, int *ret) {
        const struct plan *plan = c->plan;
        _cleanup_close_ int fd = records_open(plan, true);

        *ret = -1;
        if (fd < 0)
                return call_fault(c, fd, "directory of records");
        (void)tree_remove_at(fd, plan_string(plan, plan->id)); /* of a shim that was killed: ids are ours alone there */
        if (!below_runtime_dir(plan_string(plan, plan->runtime.root)))
                return 0;
        *ret = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        return *ret < 0 ? call_fault(c, errno, "directory of records") : 0;
}

static int records_attach(struct call_setup *c, int clone) {
        _cleanup_close_ int target = -1;

        if (clone < 0)
                return 0;
        target = records_open(c->plan, true);
        if (target < 0)
                return call_fault(c, target, "directory of records");
        if (move_mount(clone, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return call_fault(c, errno, "directory of records");
        return 0;
}

static int bundle_mount(struct call_setup *c) {
        _cleanup_close_ int records = -1;
        int r;

        r = records_clone(c, &records);
        if (r < 0)
                return r;
        if (mount("davit-bundle", RUNTIME_DIR, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, BUNDLE_SIZE) < 0 ||
            mkdir(RUNTIME_BUNDLE, 0711) < 0 || mkdir(RUNTIME_ROOTFS, 0711) < 0)
                return call_fault(c, errno, "bundle");
        if (move_mount(c->setup->root_fd, "", AT_FDCWD, RUNTIME_ROOTFS, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return call_fault(c, errno, "attach root file system");
        return records_attach(c, records);
}

static int namespace_send(struct call_setup *c, const char *path, uint32_t message) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return call_fault(c, errno, path);
        r = call_tell(c, message, 0, fd);
        return r < 0 ? call_fault(c, r, path) : 0;
}

/* The calling process is in payload/, which so becomes the root; then it makes room for the container. */
static int bundle_make(struct call_setup *c) {
        struct mount_attr attr = { .propagation = MS_SLAVE };
        int r;

        if (unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0)
                return call_fault(c, errno, "namespaces of the runtime");
        if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return call_fault(c, errno, "propagation of the host's mounts");
        r = cgroup_write(c->shim->foreign->group_fd, "cgroup.procs", "0");
        if (r < 0)
                return call_fault(c, r, "cgroup of the runtime");
        r = bundle_mount(c);
        if (r < 0)
                return r;
        if (mount("cgroup2", CGROUP_MOUNT, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
                return call_fault(c, errno, "cgroup hierarchy of the runtime");
        r = namespace_send(c, "/proc/self/ns/mnt", CALL_MOUNT_NS);
        return r < 0 ? r : namespace_send(c, "/proc/self/ns/cgroup", CALL_CGROUP_NS);
}

/** bundle_enter() - be where the runtime is to be: create makes that place, everything else finds it */
int bundle_enter(struct call_setup *c) {
        const struct foreign *f = c->shim->foreign;

        if (c->kind == CALL_CREATE)
                return bundle_make(c);
        if (setns(f->cgroup_ns, CLONE_NEWCGROUP) < 0 || setns(f->mount_ns, CLONE_NEWNS) < 0)
                return call_fault(c, errno, "namespaces of the runtime");
        return 0;
}

/* process.user, with what the image's own accounts have said */
static int user_write(struct call_setup *c, FILE *file) {
        const struct identity *id = &c->setup->identity;
        int r;

        r = user_resolve(c->setup);
        if (r < 0)
                return r;
        (void)fprintf(file, "{\"uid\":%u,\"gid\":%u", id->uid, id->gid);
        if (c->plan->flags & PLAN_UMASK)
                (void)fprintf(file, ",\"umask\":%u", c->plan->process.umask & 0777);
        (void)fprintf(file, ",\"additionalGids\":[");
        for (size_t i = 0; i < id->n_groups; i++)
                (void)fprintf(file, "%s%u", i > 0 ? "," : "", (unsigned)id->groups[i]);
        (void)fprintf(file, "]}");
        return 0;
}

/** bundle_write() - the configuration, complete */
int bundle_write(struct call_setup *c, const char *path) {
        const plan_str *pieces = plan_array(c->plan, c->plan->runtime.config);
        _cleanup_fclose_ FILE *file = NULL;
        int fd, r = 0;

        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        file = fd < 0 ? NULL : fdopen(fd, "we");
        if (!file) {
                r = call_fault(c, errno, path);
                safe_close(fd);
                return r;
        }
        for (uint32_t i = 0; i < c->plan->runtime.config.n && r >= 0; i++) {
                if (i > 0)
                        r = user_write(c, file);
                (void)fputs(plan_string(c->plan, pieces[i]), file);
        }
        if (r >= 0 && (fflush(file) != 0 || ferror(file)))
                r = call_fault(c, EIO, path);
        return r;
}
