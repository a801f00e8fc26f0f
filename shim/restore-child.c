/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The child that becomes criu.
 *
 * In a mount namespace of its own it lays out what a checkpoint does not hold and the plan says: the root file system,
 * and over another view of that root all that the plan binds, so that a mount of the container is found under the name
 * it has there. Nothing of it is seen by the host or has to be removed. Then it waits for its cgroup, whose namespace
 * and group the container's processes take over from criu, and becomes criu. It reports to nobody but the shim.
 */

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/name.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/criu.h"
#include "shim/mount-table.h"
#include "shim/path.h"
#include "shim/restore.h"

#define STAGE DAVIT_RUNTIME_DIR
#define ROOT STAGE "/root"
#define VIEW STAGE "/view"
#define WORK STAGE "/work"
#define MASK STAGE "/null"

static int restore_fault(struct setup *s, int error, const char *what) {
        return fault_set(s->fault, SHIM_STEP_RESTORE, error, "%s", what);
}

static int stage_make(struct setup *s) {
        static const char *const directories[] = { ROOT, VIEW, WORK };
        struct mount_attr attr = { .propagation = MS_PRIVATE };

        if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return restore_fault(s, errno, "propagation of the host's mounts");
        if (mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
                return restore_fault(s, errno, "stage");
        for (size_t i = 0; i < ELEMENTSOF(directories); i++)
                if (mkdir(directories[i], 0700) < 0)
                        return restore_fault(s, errno, "stage");
        /* Where criu makes its directories. */
        if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700") < 0)
                return restore_fault(s, errno, "stage");
        return 0;
}

static int attach(int fd, int dir, const char *path) {
        unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*path ? 0 : MOVE_MOUNT_T_EMPTY_PATH);

        return move_mount(fd, "", dir, path, flags) < 0 ? -errno : 0;
}

/* criu gives a mount the options it had only where it makes the file system, so what it binds has them already. */
static int mask_make(struct setup *s) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC };
        _cleanup_close_ int place = open(MASK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), fd = -1;
        int r;

        r = place < 0 ? -errno : stdio_open_null(s);
        if (r >= 0) {
                fd = open_tree(s->null_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
                r = fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
        }
        if (r >= 0)
                r = attach(fd, AT_FDCWD, MASK);
        return r < 0 ? restore_fault(s, r, "mask") : 0;
}

/* Two mounts of it: criu takes one whole, the other is for the places of what is bound. */
static int roots_attach(struct setup *s, int *ret_view) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
        int r;

        r = attach(s->root_fd, AT_FDCWD, ROOT);
        if (r < 0)
                return restore_fault(s, r, "root file system");
        *ret_view = open_tree(s->root_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        r = *ret_view < 0 ? -errno : attach(*ret_view, AT_FDCWD, VIEW);
        if (r >= 0 && (s->plan->flags & PLAN_ROOTFS_READONLY) &&
            mount_setattr(s->root_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                r = -errno;
        return r < 0 ? restore_fault(s, r, "root file system") : 0;
}

/* In the place of a file system that criu makes: what is bound below it needs a place. */
static int placeholder(void) {
        _cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
        int fd;

        if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -errno;
        fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        return fd < 0 ? -errno : fd;
}

static int view_one(struct setup *s, const struct plan_mount *m, int bind_fd, int view) {
        const char *path = plan_string(s->plan, m->target);
        _cleanup_close_ int target = -1, fd = -1;
        struct stat st;
        bool directory = true;
        int r;

        if (m->kind == PLAN_MOUNT_REMOUNT || (m->kind == PLAN_MOUNT_BIND && bind_fd < 0))
                return 0;
        if (m->kind == PLAN_MOUNT_BIND) {
                if (fstat(bind_fd, &st) < 0)
                        return -errno;
                directory = S_ISDIR(st.st_mode);
        } else {
                fd = placeholder();
                if (fd < 0)
                        return fd;
        }
        target = path_make(view, path, directory ? PATH_DIRECTORY : PATH_FILE, 0);
        if (target < 0)
                return target;
        r = attach(fd >= 0 ? fd : bind_fd, target, "");
        return r;
}

static int view_make(struct setup *s, int view) {
        const struct plan_mount *m = plan_array(s->plan, s->plan->mounts);

        for (uint32_t i = 0; i < s->plan->mounts.n; i++) {
                int r = view_one(s, &m[i], s->mount_fds[i], view);

                if (r < 0)
                        return fault_set(s->fault, SHIM_STEP_RESTORE, r, "mount at %s",
                                         plan_string(s->plan, m[i].target));
        }
        return 0;
}

static void put_external(struct criu_message *m, const char *name, const char *path) {
        criu_put_text(m, CRIU_EXTERNAL, "mnt[%s]:%s", name, path);
}

/* More than the images may ask for: what they do not name is not looked at. A container's masks and, in a user
 * namespace or under strict device rules, its nodes are the host's. */
static int options_put(struct setup *s, struct criu_message *m) {
        const plan_str *masked = plan_array(s->plan, s->plan->masked_paths);
        const struct plan_device *d = plan_array(s->plan, s->plan->devices);
        _cleanup_free_ struct mount *mounts = NULL;
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        int r;

        r = mount_table_read(getpid(), &text, &mounts, &n);
        if (r < 0)
                return restore_fault(s, r, "mounts");
        criu_put_text(m, CRIU_ROOT, "%s", ROOT);
        for (size_t i = 0; i < n; i++)
                if (strncmp(mounts[i].point, VIEW "/", sizeof(VIEW)) == 0)
                        put_external(m, mounts[i].point + sizeof(VIEW) - 1, mounts[i].point);
        for (uint32_t i = 0; i < s->plan->masked_paths.n; i++)
                put_external(m, plan_string(s->plan, masked[i]), MASK);
        for (uint32_t i = 0; i < s->plan->devices.n; i++)
                put_external(m, plan_string(s->plan, d[i].path), plan_string(s->plan, d[i].path));
        return m->failed ? restore_fault(s, ENOMEM, "options of criu") : 0;
}

/* A new network namespace is made as for a start; criu is only shown it. */
static int network_make(struct setup *s) {
        _cleanup_close_ int own = -1;
        int r;

        if (s->net_ns_fd < 0 || !(s->plan->clone_flags & CLONE_NEWNET))
                return 0;
        own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (own < 0 || setns(s->net_ns_fd, CLONE_NEWNET) < 0)
                return restore_fault(s, errno, "network namespace");
        r = namespace_loopback(s);
        if (r >= 0)
                r = sysctls_write(s, "net.");
        if (r >= 0 && setns(own, CLONE_NEWNET) < 0)
                r = restore_fault(s, errno, "network namespace");
        return r;
}

static int tell(struct setup *s, const struct criu_message *m) {
        _cleanup_close_ int options = memfd_sealed("davit-criu", m->data, m->size),
                            work = open(WORK, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const uint32_t word = SETUP_CRIU;
        int fds[2] = { options, work }, r;

        if (options < 0 || work < 0)
                return restore_fault(s, options < 0 ? options : errno, "options of criu");
        r = packet_send(s->sock, &word, sizeof(word), NULL, 0, NULL, 0, fds, 2);
        return r < 0 ? restore_fault(s, r, "word to the shim") : 0;
}

/* At numbers that the shim knows. A stream that is to be replaced and was not given is the host's null device. */
static int descriptors_place(struct setup *s) {
        int from[RESTORE_FDS_END - RESTORE_SOCK] = { s->sock, s->stdio.fds[0], s->stdio.fds[1], s->stdio.fds[2],
                                                     s->net_ns_fd };

        for (size_t i = 0; i < ELEMENTSOF(from); i++) {
                if (from[i] < 0)
                        from[i] = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
                from[i] = from[i] < 0 ? -1 : fcntl(from[i], F_DUPFD_CLOEXEC, RESTORE_FDS_END);
                if (from[i] < 0)
                        return restore_fault(s, errno, "descriptors of criu");
        }
        for (size_t i = 0; i < ELEMENTSOF(from); i++)
                if (dup2(from[i], RESTORE_SOCK + (int)i) < 0)
                        return restore_fault(s, errno, "descriptors of criu");
        s->sock = RESTORE_SOCK;
        if (close_range(3, RESTORE_SOCK - 1, 0) < 0 || close_range(RESTORE_FDS_END, ~0U, 0) < 0)
                return restore_fault(s, errno, "descriptors of criu");
        return 0;
}

/* What a process hands down and criu does not bring back: older ones know no no_new_privs, none makes a keyring. */
static int inheritance_set(struct setup *s) {
        int r = namespace_keyring(s);

        if (r >= 0 && (s->plan->flags & PLAN_NO_NEW_PRIVS) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                r = restore_fault(s, errno, "no_new_privs");
        return r;
}

static int restore_run(struct setup *s, const char *program) {
        _cleanup_criu_ struct criu_message options = { .data = NULL };
        int view = -1, r;

        if (!program)
                return restore_fault(s, EOPNOTSUPP, "criu is not installed");
        r = setup_begin(s);
        if (r >= 0)
                r = inheritance_set(s);
        if (r >= 0)
                r = stage_make(s);
        if (r >= 0)
                r = mask_make(s);
        if (r >= 0)
                r = roots_attach(s, &view);
        if (r >= 0)
                r = view_make(s, view);
        if (r >= 0)
                r = network_make(s);
        if (r >= 0)
                r = options_put(s, &options);
        if (r >= 0)
                r = setup_expect(s, SETUP_SCOPED, SETUP_SCOPED_START, NULL, NULL);
        if (r >= 0 && (s->plan->clone_flags & CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP) < 0)
                r = restore_fault(s, errno, "cgroup namespace");
        if (r >= 0)
                r = tell(s, &options);
        return r < 0 ? r : descriptors_place(s);
}

/** restore_main() - be the child that becomes criu */
void restore_main(struct setup *s) {
        const char *program = criu_find();

        if (restore_run(s, program) < 0)
                setup_die(s);
        criu_run(program, s->sock);
}
