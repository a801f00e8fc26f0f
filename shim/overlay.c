/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The overlay a container's root file system usually is.
 *
 * Made by the shim, as real root, and never attached here. For a container with a user namespace the layers are mapped
 * to its ids, each as a detached clone, and the overlay above them is mounted as if there were no such namespace.
 * Layers are named to the kernel by their paths, or where that cannot be by their descriptors' magic links.
 */

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/capability.h"
#include "shim/rootfs.h"

/* fsconfig(2) takes strings of up to 255 bytes. */
#define OVERLAY_STRING_MAX 256U
#define LAYER_NAME_MAX 32U

struct overlay {
        const struct plan *plan;
        struct fault *fault;
        int fs;
        int userns; /* whose maps the layers get, or -1 */
        int *fds;   /* layers that are named by descriptor, until the overlay has been created */
        size_t n_fds;
};

static int overlay_fault(struct overlay *o, int error, const char *what, const char *path) {
        return fault_set(o->fault, SHIM_STEP_ROOTFS, error, "overlay %s %s", what, path);
}

static int overlay_set(struct overlay *o, const char *key, const char *value) {
        return fsconfig(o->fs, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

/* A directory with the container's ids, as a mount that is nowhere. */
static int layer_map(struct overlay *o, const char *path) {
        struct mount_attr attr = {
                .attr_set = MOUNT_ATTR_IDMAP,
                .propagation = MS_PRIVATE,
                .userns_fd = (uint64_t)o->userns,
        };
        _cleanup_close_ int fd = -1;

        fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (fd < 0)
                return overlay_fault(o, errno, "layer", path);
        if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return overlay_fault(o, errno, "id mapping of layer", path);
        return take_fd(&fd);
}

/* Keeps a layer's descriptor and names it. */
static const char *layer_name_fd(struct overlay *o, int fd, char name[LAYER_NAME_MAX]) {
        o->fds[o->n_fds++] = fd;
        (void)snprintf(name, LAYER_NAME_MAX, "/proc/self/fd/%d", fd);
        return name;
}

/* How a layer is called in an option; NULL with the fault set. */
static const char *layer_name(struct overlay *o, const char *path, bool by_fd, char name[LAYER_NAME_MAX]) {
        int fd;

        if (o->userns < 0 && !by_fd && strlen(path) < OVERLAY_STRING_MAX)
                return path;
        fd = o->userns >= 0 ? layer_map(o, path) : open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                (void)overlay_fault(o, errno, "layer", path);
                return NULL;
        }
        return layer_name_fd(o, fd, name);
}

/* Before Linux 6.8 all lower layers are one string; magic links keep it short and free of characters to be escaped. */
static int lowers_joined(struct overlay *o) {
        const struct plan_rootfs *r = &o->plan->rootfs;
        const plan_str *lowers = plan_array(o->plan, r->lowers), *data = plan_array(o->plan, r->data);
        char joined[OVERLAY_STRING_MAX] = "", name[LAYER_NAME_MAX];
        size_t n = 0;
        int e;

        for (uint32_t i = 0; i < r->lowers.n + r->data.n; i++) {
                bool is_data = i >= r->lowers.n;
                const char *path = plan_string(o->plan, is_data ? data[i - r->lowers.n] : lowers[i]);
                const char *separator = is_data ? "::" : ":";
                int w;

                if (!layer_name(o, path, true, name))
                        return o->fault->error;
                w = snprintf(joined + n, sizeof(joined) - n, "%s%s", i == 0 ? "" : separator, name);
                if (w < 0 || (size_t)w >= sizeof(joined) - n)
                        return overlay_fault(o, E2BIG, "layers, too many for this kernel, from", path);
                n += (size_t)w;
        }
        e = overlay_set(o, "lowerdir", joined);
        return e < 0 ? overlay_fault(o, e, "layers", joined) : 0;
}

static int lowers_add(struct overlay *o, const char *key, struct plan_list list, bool *ret_unknown) {
        const plan_str *paths = plan_array(o->plan, list);
        char buffer[LAYER_NAME_MAX];

        for (uint32_t i = 0; i < list.n; i++) {
                const char *path = plan_string(o->plan, paths[i]), *name = layer_name(o, path, false, buffer);
                int r;

                if (!name)
                        return o->fault->error;
                r = overlay_set(o, key, name);
                if (r == -EINVAL && i == 0 && ret_unknown) {
                        *ret_unknown = true;
                        return 0;
                }
                if (r < 0)
                        return overlay_fault(o, r, "layer", path);
        }
        return 0;
}

static int overlay_add_lowers(struct overlay *o) {
        bool unknown = false;
        int r;

        r = lowers_add(o, "lowerdir+", o->plan->rootfs.lowers, &unknown);
        if (r < 0)
                return r;
        if (unknown)
                return lowers_joined(o);
        return lowers_add(o, "datadir+", o->plan->rootfs.data, NULL);
}

/* A new upper directory takes owner and mode from the topmost lower one, as the root directory shows the upper's. */
static int upper_make(struct overlay *o) {
        const char *upper = plan_string(o->plan, o->plan->rootfs.upper);
        const char *work = plan_string(o->plan, o->plan->rootfs.work);
        const plan_str *lowers = plan_array(o->plan, o->plan->rootfs.lowers);
        struct stat st;

        if (mkdir(upper, 0755) >= 0) {
                if (stat(plan_string(o->plan, lowers[0]), &st) < 0 || chown(upper, st.st_uid, st.st_gid) < 0 ||
                    chmod(upper, st.st_mode & 07777) < 0)
                        return overlay_fault(o, errno, "upper", upper);
        } else if (errno != EEXIST)
                return overlay_fault(o, errno, "upper", upper);
        if (mkdir(work, 0700) < 0 && errno != EEXIST)
                return overlay_fault(o, errno, "work", work);
        return 0;
}

/* Both have to be seen through one mount, so it is their common directory that is mapped. */
static int upper_map(struct overlay *o, const char *upper, const char *work, char names[2][LAYER_NAME_MAX]) {
        const char *paths[2] = { upper, work }, *slash = strrchr(upper, '/');
        _cleanup_free_ char *parent = strndup(upper, (size_t)(slash - upper));
        int parent_fd, fd;

        if (!parent)
                return overlay_fault(o, ENOMEM, "upper", upper);
        if (strncmp(upper, work, (size_t)(slash - upper) + 1) != 0 || strchr(work + (slash - upper) + 1, '/'))
                return overlay_fault(o, EINVAL, "upper and work directory are not side by side:", upper);
        parent_fd = layer_map(o, parent);
        if (parent_fd < 0)
                return parent_fd;
        o->fds[o->n_fds++] = parent_fd;
        for (size_t i = 0; i < 2; i++) {
                fd = openat(parent_fd, strrchr(paths[i], '/') + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0)
                        return overlay_fault(o, errno, "directory", paths[i]);
                (void)layer_name_fd(o, fd, names[i]);
        }
        return 0;
}

static int overlay_add_upper(struct overlay *o) {
        const struct plan *plan = o->plan;
        const char *upper = plan_string(plan, plan->rootfs.upper), *work = plan_string(plan, plan->rootfs.work);
        char names[2][LAYER_NAME_MAX];
        int r;

        r = o->userns >= 0 ? upper_map(o, upper, work, names) : 0;
        if (r < 0)
                return r;
        r = overlay_set(o, "upperdir", o->userns >= 0 ? names[0] : upper);
        if (r >= 0)
                r = overlay_set(o, "workdir", o->userns >= 0 ? names[1] : work);
        if (r < 0)
                return overlay_fault(o, r, "upper", upper);
        if ((plan->flags & PLAN_EPHEMERAL) && fsconfig(o->fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
                return overlay_fault(o, errno, "option", "volatile");
        if (plan->rootfs.data.n > 0 && overlay_set(o, "metacopy", "on") < 0)
                return overlay_fault(o, errno, "option", "metacopy");
        return 0;
}

static uint32_t mapped_root(const struct plan *plan, struct plan_list list) {
        const struct plan_id_map *m = plan_array(plan, list);

        for (uint32_t i = 0; i < list.n; i++)
                if (m[i].container_id == 0)
                        return m[i].host_id;
        return 0;
}

/* What an overlay does in its upper directory it does as who has mounted it, for all its life. Through a mapped mount
 * root of the host cannot make a file, having no id there: the container's root can, with our capabilities. */
static int overlay_identity(struct overlay *o, uint32_t uid, uint32_t gid) {
        uint64_t permitted;
        int r;

        if (o->userns < 0)
                return 0;
        (void)setfsgid(gid);
        (void)setfsuid(uid);
        r = capability_get(&permitted); /* a change of the file system uid takes capabilities out of effect */
        if (r >= 0)
                r = capability_set(permitted, permitted, 0);
        if (r >= 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) /* and makes a process what fs.suid_dumpable says */
                r = -errno;
        return r < 0 ? fault_set(o->fault, SHIM_STEP_ROOTFS, r, "overlay as the container's root") : 0;
}

static int overlay_create(struct overlay *o) {
        const plan_str *lowers = plan_array(o->plan, o->plan->rootfs.lowers);
        const char *top = plan_string(o->plan, lowers[0]);
        int r, fd;

        o->fs = fsopen("overlay", FSOPEN_CLOEXEC);
        if (o->fs < 0)
                return overlay_fault(o, errno, "of", top);
        r = overlay_add_lowers(o);
        if (r >= 0 && o->plan->rootfs.upper)
                r = overlay_add_upper(o);
        if (r < 0)
                return r;
        if (fsconfig(o->fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return overlay_fault(o, errno, "of", top);
        fd = fsmount(o->fs, FSMOUNT_CLOEXEC, 0);
        return fd < 0 ? overlay_fault(o, errno, "of", top) : fd;
}

/** overlay_open() - make the plan's overlay as a detached mount
 *
 * Return: a descriptor the caller owns, or a negative errno with the fault set.
 */
int overlay_open(const struct plan *plan, struct fault *fault) {
        struct overlay o = { .plan = plan, .fault = fault, .fs = -1, .userns = -1 };
        int fd;

        /* Each lower layer may be named twice, once in vain. */
        o.fds = malloc(sizeof(int) * (2 * ((size_t)plan->rootfs.lowers.n + plan->rootfs.data.n) + 3));
        if (!o.fds)
                return fault_set(fault, SHIM_STEP_ROOTFS, ENOMEM, "overlay");
        if (plan->clone_flags & CLONE_NEWUSER) {
                o.userns = userns_for_maps(plan, plan->uid_map, plan->gid_map, fault);
                if (o.userns < 0) {
                        free(o.fds);
                        return o.userns;
                }
        }
        fd = o.plan->rootfs.upper ? upper_make(&o) : 0;
        if (fd >= 0)
                fd = overlay_identity(&o, mapped_root(plan, plan->uid_map), mapped_root(plan, plan->gid_map));
        if (fd >= 0)
                fd = overlay_create(&o);
        if (overlay_identity(&o, 0, 0) < 0 && fd >= 0) {
                safe_close(fd);
                fd = fault->error;
        }
        for (size_t i = 0; i < o.n_fds; i++)
                safe_close(o.fds[i]);
        free(o.fds);
        safe_close(o.fs);
        safe_close(o.userns);
        return fd;
}
