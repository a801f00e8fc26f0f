/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The mounts of a container, made by its first process inside its own namespaces.
 *
 * Every mount exists as a descriptor before it has a place: bind mounts come ready from the shim, new file systems are
 * made here. The place is resolved inside the container's root to a descriptor and the two are joined by move_mount(2);
 * no path is used twice, and none reaches out of the root. /proc, /sys and what belongs below /dev are places where a
 * symbolic link is an attack, and is refused.
 */

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/copy-up.h"
#include "shim/path.h"
#include "shim/setup.h"

static const char *mount_word(const struct plan *plan, const struct plan_mount *m) {
        const char *source = plan_string(plan, m->source), *fstype = plan_string(plan, m->fstype);

        return m->kind == PLAN_MOUNT_BIND && source ? source : fstype ? fstype : "cgroup2";
}

static int mount_fault(struct setup *s, const struct plan_mount *m, int error, const char *what) {
        return fault_set(s->fault, SHIM_STEP_MOUNT, error, "mount %s at %s: %s", mount_word(s->plan, m),
                         plan_string(s->plan, m->target), what);
}

/* Places whose every component has to be what it seems. */
static uint64_t mount_resolve(const struct plan *plan, const struct plan_mount *m) {
        static const char *const real[] = { "/proc", "/sys", "/dev" };
        const char *target = plan_string(plan, m->target), *fstype = plan_string(plan, m->fstype);

        for (size_t i = 0; i < ELEMENTSOF(real); i++)
                if (path_covers(real[i], target))
                        return RESOLVE_NO_SYMLINKS;
        if (m->kind == PLAN_MOUNT_FS && (streq(fstype, "proc") || streq(fstype, "sysfs") || streq(fstype, "devpts")))
                return RESOLVE_NO_SYMLINKS;
        return 0;
}

static int mount_option(int fs, char *option) {
        char *value = strchr(option, '=');
        int r = 0;

        if (value)
                *value = '\0';
        if (fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, option, value ? value + 1 : NULL, 0) < 0)
                r = -errno;
        if (value)
                *value = '='; /* a fault shows it as it was given */
        return r;
}

/* The label of files that have none of their own; file systems of the kernel's objects have theirs. */
static int mount_label(struct setup *s, const struct plan_mount *m, int fs) {
        const char *label = plan_string(s->plan, s->plan->mount_label), *fstype = plan_string(s->plan, m->fstype);

        if (!label || m->kind != PLAN_MOUNT_FS || streq(fstype, "proc") || streq(fstype, "sysfs"))
                return 0;
        if (access("/sys/fs/selinux/enforce", F_OK) < 0)
                return fault_set(s->fault, SHIM_STEP_LABEL, EOPNOTSUPP,
                                 "linux.mountLabel %s: this kernel runs without SELinux", label);
        return fsconfig(fs, FSCONFIG_SET_STRING, "context", label, 0) < 0 ? mount_fault(s, m, errno, "label") : 0;
}

static int mount_options(struct setup *s, const struct plan_mount *m, int fs) {
        static const struct {
                uint32_t flag;
                char name[12];
        } flags[] = {
                { MS_RDONLY, "ro" }, { MS_SYNCHRONOUS, "sync" }, { MS_DIRSYNC, "dirsync" }, { MS_LAZYTIME, "lazytime" }
        };
        const char *data = plan_string(s->plan, m->data), *source = plan_string(s->plan, m->source);
        _cleanup_free_ char *copy = NULL;
        char *next, *option;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                if ((m->sb_flags & flags[i].flag) && fsconfig(fs, FSCONFIG_SET_FLAG, flags[i].name, NULL, 0) < 0)
                        return mount_fault(s, m, errno, flags[i].name);
        if (source && fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0)
                return mount_fault(s, m, errno, "source");
        r = mount_label(s, m, fs);
        if (r < 0)
                return r;
        if (!data)
                return 0;
        copy = strdup(data);
        if (!copy)
                return mount_fault(s, m, ENOMEM, "options");
        for (next = copy; (option = strsep(&next, ","));) {
                if (!*option)
                        continue;
                r = mount_option(fs, option);
                if (r < 0) {
                        _cleanup_free_ char *what = NULL;

                        return mount_fault(s, m, r, asprintf(&what, "option %s", option) < 0 ? option : what);
                }
        }
        return 0;
}

/* A new instance of a file system, detached. */
static int mount_new(struct setup *s, const struct plan_mount *m, const char *fstype) {
        struct mount_attr attr = { .propagation = m->propagation & ~(uint64_t)MS_REC };
        _cleanup_close_ int fs = -1, fd = -1;
        int r;

        fs = fsopen(fstype, FSOPEN_CLOEXEC);
        if (fs < 0)
                return mount_fault(s, m, errno, "open file system");
        r = mount_options(s, m, fs);
        if (r < 0)
                return r;
        if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return mount_fault(s, m, errno, "create file system");
        fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)(m->attr_set | m->attr_set_recursive));
        if (fd < 0)
                return mount_fault(s, m, errno, "mount");
        if (attr.propagation && mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return mount_fault(s, m, errno, "propagation");
        return take_fd(&fd);
}

/* Also by way of a link or "..": what is mounted there would be seen by nobody. */
static bool mount_is_root(struct setup *s, int target) {
        struct stat a, b;

        return fstat(s->root_fd, &a) >= 0 && fstat(target, &b) >= 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The place a mount goes to, made where it is missing in the kind the mount has. */
static int mount_target(struct setup *s, const struct plan_mount *m, int fd) {
        const char *target = plan_string(s->plan, m->target);
        enum path_kind kind = PATH_DIRECTORY;
        struct stat st;
        int r;

        if (m->kind == PLAN_MOUNT_BIND) {
                if (fstat(fd, &st) < 0)
                        return mount_fault(s, m, errno, "source");
                kind = S_ISDIR(st.st_mode) ? PATH_DIRECTORY : PATH_FILE;
        }
        r = path_make(s->root_fd, target, kind, mount_resolve(s->plan, m));
        if (r == -ELOOP)
                return mount_fault(s, m, r, "a symbolic link is in the way");
        if (r < 0)
                return mount_fault(s, m, r, "mount point");
        if (mount_is_root(s, r)) {
                safe_close(r);
                return mount_fault(s, m, EINVAL, "the root cannot be mounted over");
        }
        return r;
}

static int mount_attach(struct setup *s, const struct plan_mount *m, int fd, int target) {
        if (move_mount(fd, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return mount_fault(s, m, errno, "attach");
        return 0;
}

static int mount_change(struct setup *s, const struct plan_mount *m) {
        struct mount_attr top = { .attr_set = m->attr_set,
                                  .attr_clr = m->attr_clear,
                                  .propagation = m->propagation & ~(uint64_t)MS_REC };
        struct mount_attr all = { .attr_set = m->attr_set_recursive, .attr_clr = m->attr_clear_recursive };
        _cleanup_close_ int fd = -1;

        fd = path_open(s->root_fd, plan_string(s->plan, m->target), O_PATH, mount_resolve(s->plan, m));
        if (fd < 0)
                return mount_fault(s, m, fd, "remount");
        if (mount_setattr(fd, "", AT_EMPTY_PATH | (m->propagation & MS_REC ? AT_RECURSIVE : 0), &top, sizeof(top)) < 0)
                return mount_fault(s, m, errno, "remount");
        if ((all.attr_set || all.attr_clr) &&
            mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &all, sizeof(all)) < 0)
                return mount_fault(s, m, errno, "remount");
        return 0;
}

/* Whether a file system is one of the network namespace it is mounted in, as sysfs is. */
static bool mount_knows_network(const char *fstype) {
        static const char *const others[] = { "proc", "tmpfs", "devpts", "mqueue", "ramfs" };

        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                if (streq(others[i], fstype))
                        return false;
        return true;
}

static int mount_make(struct setup *s, const struct plan_mount *m, int bind_fd) {
        _cleanup_close_ int fd = -1, target = -1;
        int r;

        if (m->kind == PLAN_MOUNT_REMOUNT)
                return mount_change(s, m);
        if (m->kind == PLAN_MOUNT_FS) {
                r = mount_knows_network(plan_string(s->plan, m->fstype)) ? namespace_network(s) : 0;
                if (r < 0)
                        return r;
                fd = mount_new(s, m, plan_string(s->plan, m->fstype));
                if (fd < 0)
                        return fd;
                bind_fd = fd;
        }
        target = mount_target(s, m, bind_fd);
        if (target < 0)
                return target;
        if (m->flags & PLAN_MOUNT_COPY_UP) {
                r = copy_up(target, bind_fd);
                if (r < 0)
                        return mount_fault(s, m, r, "tmpcopyup");
        }
        return mount_attach(s, m, bind_fd, target);
}

/* The container's own cgroups: a new mount shows them as "/" in a cgroup namespace; without one only a bind does. */
static int mount_cgroup(struct setup *s, const struct plan_mount *m, int target) {
        struct mount_attr attr = { .attr_set = m->attr_set, .propagation = MS_PRIVATE };
        _cleanup_close_ int fd = -1;

        if (s->plan->clone_flags & CLONE_NEWCGROUP) {
                struct plan_mount bare = *m;

                bare.source = bare.data = 0; /* options of a v1 hierarchy mean nothing here */
                fd = mount_new(s, &bare, "cgroup2");
        } else
                fd = s->cgroup_path ? open_tree(AT_FDCWD, s->cgroup_path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) : -1;
        if (fd < 0)
                return mount_fault(s, m, errno, "the container's cgroup");
        if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return mount_fault(s, m, errno, "options");
        return mount_attach(s, m, fd, target);
}

/** mounts_make() - make the mounts of the plan, in order
 *
 * @cgroup: whether the process is in its cgroup already. If not, places of cgroup mounts are opened and returned in
 * @cgroup_targets (one a mount, the caller has set all to -1) for mounts_make_cgroup().
 */
int mounts_make(struct setup *s, bool cgroup, int *cgroup_targets) {
        const struct plan_mount *m = plan_array(s->plan, s->plan->mounts);

        for (uint32_t i = 0; i < s->plan->mounts.n; i++, m++) {
                _cleanup_close_ int target = -1;
                int r;

                if (m->kind == PLAN_MOUNT_CGROUP) {
                        target = mount_target(s, m, -1);
                        if (target < 0)
                                return target;
                        if (!cgroup) {
                                cgroup_targets[i] = take_fd(&target);
                                continue;
                        }
                        r = mount_cgroup(s, m, target);
                } else if (m->kind == PLAN_MOUNT_BIND && s->mount_fds[i] < 0)
                        continue; /* optional, and not there */
                else
                        r = mount_make(s, m, s->mount_fds[i]);
                if (r < 0)
                        return r;
                s->mount_fds[i] = safe_close(s->mount_fds[i]);
        }
        return 0;
}

/** mounts_make_cgroup() - make the cgroup mounts that had to wait */
int mounts_make_cgroup(struct setup *s, const int *cgroup_targets) {
        const struct plan_mount *m = plan_array(s->plan, s->plan->mounts);

        for (uint32_t i = 0; i < s->plan->mounts.n; i++)
                if (cgroup_targets[i] >= 0) {
                        int r = mount_cgroup(s, &m[i], cgroup_targets[i]);

                        if (r < 0)
                                return r;
                }
        return 0;
}

static bool paths_below(const struct plan *plan, const char *above, struct plan_list paths) {
        const plan_str *p = plan_array(plan, paths);

        for (uint32_t i = 0; i < paths.n; i++)
                if (path_covers(above, plan_string(plan, p[i])))
                        return true;
        return false;
}

/** mounts_need_cgroup_first() - whether something else goes below a cgroup mount, which then cannot be left for later
 */
bool mounts_need_cgroup_first(const struct plan *plan) {
        const struct plan_mount *m = plan_array(plan, plan->mounts);
        const char *above = NULL;

        for (uint32_t i = 0; i < plan->mounts.n; i++) {
                const char *target = plan_string(plan, m[i].target);

                if (above && path_covers(above, target))
                        return true;
                if (m[i].kind == PLAN_MOUNT_CGROUP)
                        above = target;
        }
        if (above && !(plan->clone_flags & CLONE_NEWCGROUP))
                return true; /* it becomes a bind of a path that is only known then */
        return above &&
               (paths_below(plan, above, plan->masked_paths) || paths_below(plan, above, plan->readonly_paths));
}
