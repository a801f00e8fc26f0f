/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Device nodes and the links of /dev.
 *
 * /dev is opened without following a link before anything is made in it, whether a tmpfs of ours is mounted there or
 * the image brought its own. Nodes are made by number; in a user namespace, where the kernel forbids that, the host's
 * node of the same path is bound in its place once its type and numbers have been checked.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/path.h"
#include "shim/namespace.h"
#include "shim/setup.h"

static int device_fault(struct setup *s, const char *path, int error) {
        return fault_set(s->fault, SHIM_STEP_DEVICE, error, "device %s", path);
}

/* Where no node can be made: the host's, bound over an empty file. */
static int device_bind(int parent, const char *name, const struct plan_device *d, const char *path) {
        _cleanup_close_ int node = -1, target = -1;
        struct stat st;

        node = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
        if (node < 0 || fstat(node, &st) < 0)
                return -errno;
        if ((st.st_mode & S_IFMT) != d->type || st.st_rdev != makedev(d->major, d->minor))
                return -ENODEV;
        /* Not opened in earnest: the image may have a device of its own there. */
        target = path_make(parent, name, PATH_FILE, RESOLVE_NO_SYMLINKS);
        if (target < 0)
                return target;
        return move_mount(node, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno : 0;
}

/* A node the image already holds is right as long as it is the same device. */
static int device_make_node(int parent, const char *name, const struct plan_device *d) {
        dev_t dev = d->type == S_IFIFO ? 0 : makedev(d->major, d->minor);
        struct stat st;

        if (mknodat(parent, name, d->type | d->mode, dev) < 0) {
                if (errno != EEXIST)
                        return -errno;
                if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
                if ((st.st_mode & S_IFMT) != d->type || (d->type != S_IFIFO && st.st_rdev != dev))
                        return -EEXIST;
        } else if (d->uid == 0 && d->gid == 0)
                return 0; /* as the process that has made it */
        if (fchownat(parent, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        return 0;
}

/* Nearly all nodes lie in one directory: it is opened once. */
struct directory {
        int fd;
        size_t length;
        const char *path;
};

static int device_parent(struct setup *s, const char *path, struct directory *dir, const char **ret_name) {
        const char *slash = strrchr(path, '/');
        size_t length = (size_t)(slash - path);
        int fd;

        if (dir->fd >= 0 && dir->length == length && strncmp(dir->path, path, length) == 0 && slash[1]) {
                *ret_name = slash + 1;
                return dir->fd;
        }
        fd = path_open_parent(s->root_fd, path, RESOLVE_NO_SYMLINKS, ret_name);
        if (fd < 0)
                return fd;
        safe_close(dir->fd);
        *dir = (struct directory){ .fd = fd, .length = length, .path = path };
        return fd;
}

static int device_make(struct setup *s, const struct plan_device *d, struct directory *dir) {
        const char *path = plan_string(s->plan, d->path), *name;
        int parent, r;

        parent = device_parent(s, path, dir, &name);
        if (parent < 0)
                return device_fault(s, path, parent);
        if (namespace_is_users(s->plan) && d->type != S_IFIFO)
                r = device_bind(parent, name, d, path);
        else
                r = device_make_node(parent, name, d);
        /* On cgroup v1 systemd replaces a scope's device rules by denying everything first, and does so for all scopes
         * of a slice when one of them gets a new controller: mknod may be refused for a moment. */
        if (r == -EPERM && d->type != S_IFIFO && !namespace_is_users(s->plan))
                r = device_bind(parent, name, d, path);
        return r < 0 ? device_fault(s, path, r) : 0;
}

static int link_make(struct setup *s, const struct plan_link *l, struct directory *dir) {
        const char *path = plan_string(s->plan, l->path), *target = plan_string(s->plan, l->target), *name;
        int parent;

        parent = device_parent(s, path, dir, &name);
        if (parent < 0)
                return device_fault(s, path, parent);
        if (symlinkat(target, parent, name) < 0 && errno != EEXIST)
                return device_fault(s, path, errno);
        return 0;
}

/** devices_make() - make the nodes and links of the plan; the umask is 0 meanwhile */
int devices_make(struct setup *s) {
        const struct plan_device *d = plan_array(s->plan, s->plan->devices);
        const struct plan_link *l = plan_array(s->plan, s->plan->links);
        struct directory dir = { .fd = -1 };
        int r = 0;

        for (uint32_t i = 0; i < s->plan->devices.n && r >= 0; i++)
                r = device_make(s, &d[i], &dir);
        for (uint32_t i = 0; i < s->plan->links.n && r >= 0; i++)
                r = link_make(s, &l[i], &dir);
        safe_close(dir.fd);
        return r;
}
