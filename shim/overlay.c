/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The overlay a container's root file system usually is.
 *
 * Made as real root, and never attached here. For a container with a user namespace the layers are mapped to its ids,
 * each as a detached clone, and the overlay above them is mounted as if there were no such namespace. Before Linux 6.15
 * a layer has to be attached somewhere: then each clone covers what it is of, in a mount namespace that is gone again
 * when the overlay is made. Layers are named to the kernel by their paths, or where that cannot be by their
 * descriptors' magic links.
 */

#include "shim/overlay.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shared/syscalls.h"
#include "shim/capability.h"

/* fsconfig(2) takes strings of up to 255 bytes. */
#define OVERLAY_STRING_MAX 256U
#define LAYER_NAME_MAX 32U

struct overlay {
        const struct overlay_layers *layers;
        const struct overlay_owner *owner;
        struct fault *fault;
        int fs;
        bool joined;   /* lower layers go into one option */
        bool detached; /* layers are named by descriptors of mapped clones */
        int *fds;      /* layers that are named by descriptor, until the overlay has been created */
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
                .userns_fd = (uint64_t)o->owner->userns,
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

        if (!o->detached && !by_fd && strlen(path) < OVERLAY_STRING_MAX)
                return path;
        fd = o->detached ? layer_map(o, path) : open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                if (!o->detached)
                        (void)overlay_fault(o, errno, "layer", path);
                return NULL;
        }
        return layer_name_fd(o, fd, name);
}

/* Before Linux 6.5 an overlay takes any option, and says only when it is created that it does not know it. */
static bool options_are_known(void) {
        _cleanup_close_ int fs = fsopen("overlay", FSOPEN_CLOEXEC);

        return fs < 0 || fsconfig(fs, FSCONFIG_SET_FLAG, "davit", NULL, 0) < 0;
}

/* Before Linux 6.8 all lower layers are one string; magic links keep it short and free of characters to be escaped. */
static int lowers_joined(struct overlay *o) {
        const struct overlay_layers *l = o->layers;
        char joined[OVERLAY_STRING_MAX] = "", name[LAYER_NAME_MAX];
        size_t n = 0;
        int e;

        for (size_t i = 0; i < l->n_lowers + l->n_data; i++) {
                bool is_data = i >= l->n_lowers;
                const char *path = is_data ? l->data[i - l->n_lowers] : l->lowers[i];
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

static int lowers_add(struct overlay *o, const char *key, const char *const *paths, size_t n, bool *ret_unknown) {
        char buffer[LAYER_NAME_MAX];

        for (size_t i = 0; i < n; i++) {
                const char *name = layer_name(o, paths[i], false, buffer);
                int r;

                if (!name)
                        return o->fault->error;
                r = overlay_set(o, key, name);
                if (r == -EINVAL && i == 0 && ret_unknown) {
                        *ret_unknown = true;
                        return 0;
                }
                if (r < 0)
                        return overlay_fault(o, r, "layer", paths[i]);
        }
        return 0;
}

static int overlay_add_lowers(struct overlay *o) {
        bool unknown = false;
        int r;

        if (o->joined)
                return lowers_joined(o);
        r = lowers_add(o, "lowerdir+", o->layers->lowers, o->layers->n_lowers, &unknown);
        if (r < 0)
                return r;
        if (unknown)
                return lowers_joined(o);
        return lowers_add(o, "datadir+", o->layers->data, o->layers->n_data, NULL);
}

/* A new upper directory takes owner and mode from the topmost lower one, as the root directory shows the upper's. */
static int upper_make(struct overlay *o) {
        const char *upper = o->layers->upper, *work = o->layers->work;
        struct stat st;

        if (mkdir(upper, 0755) >= 0) {
                if (stat(o->layers->lowers[0], &st) < 0 || chown(upper, st.st_uid, st.st_gid) < 0 ||
                    chmod(upper, st.st_mode & 07777) < 0)
                        return overlay_fault(o, errno, "upper", upper);
        } else if (errno != EEXIST)
                return overlay_fault(o, errno, "upper", upper);
        if (mkdir(work, 0700) < 0 && errno != EEXIST)
                return overlay_fault(o, errno, "work", work);
        return 0;
}

/* Both have to be seen through one mount, so it is their common directory that is mapped. */
static char *upper_parent(struct overlay *o) {
        const char *upper = o->layers->upper, *work = o->layers->work, *slash = strrchr(upper, '/');
        char *parent;

        if (strncmp(upper, work, (size_t)(slash - upper) + 1) != 0 || strchr(work + (slash - upper) + 1, '/')) {
                (void)overlay_fault(o, EINVAL, "upper and work directory are not side by side:", upper);
                return NULL;
        }
        parent = strndup(upper, (size_t)(slash - upper));
        if (!parent)
                (void)overlay_fault(o, ENOMEM, "upper", upper);
        return parent;
}

static int upper_map(struct overlay *o, char names[2][LAYER_NAME_MAX]) {
        const char *paths[2] = { o->layers->upper, o->layers->work };
        _cleanup_free_ char *parent = upper_parent(o);
        int parent_fd, fd;

        if (!parent)
                return o->fault->error;
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
        const char *upper = o->layers->upper, *work = o->layers->work;
        char names[2][LAYER_NAME_MAX];
        int r;

        r = o->detached ? upper_map(o, names) : 0;
        if (r < 0)
                return r;
        r = overlay_set(o, "upperdir", o->detached ? names[0] : upper);
        if (r >= 0)
                r = overlay_set(o, "workdir", o->detached ? names[1] : work);
        if (r < 0)
                return overlay_fault(o, r, "upper", upper);
        if (o->layers->is_volatile && fsconfig(o->fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
                return overlay_fault(o, errno, "option", "volatile");
        return 0;
}

/* An image's files are metadata that lead to their content, and what was an upper directory may hold the like from
 * earlier mounts, whichever form the layers below had then. */
static int overlay_add_options(struct overlay *o) {
        if (overlay_set(o, "metacopy", "on") < 0)
                return overlay_fault(o, errno, "option", "metacopy");
        if (overlay_set(o, "redirect_dir", "on") < 0)
                return overlay_fault(o, errno, "option", "redirect_dir");
        return 0;
}

/* What an overlay does in its upper directory it does as who has mounted it, for all its life. Through a mapped mount
 * root of the host cannot make a file, having no id there: the container's root can, with our capabilities. */
static int overlay_identity(struct overlay *o, uint32_t uid, uint32_t gid) {
        uint64_t permitted;
        int r;

        if (o->owner->userns < 0)
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

static int overlay_mount(struct overlay *o) {
        const char *top = o->layers->lowers[0];
        unsigned attr = o->layers->upper ? 0 : MOUNT_ATTR_RDONLY;
        int r, fd;

        o->fs = fsopen("overlay", FSOPEN_CLOEXEC);
        if (o->fs < 0)
                return overlay_fault(o, errno, "of", top);
        r = overlay_add_lowers(o);
        if (r >= 0 && o->layers->upper)
                r = overlay_add_upper(o);
        if (r >= 0)
                r = overlay_add_options(o);
        if (r < 0)
                return r;
        if (fsconfig(o->fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return overlay_fault(o, errno, "of", top);
        fd = fsmount(o->fs, FSMOUNT_CLOEXEC, attr);
        return fd < 0 ? overlay_fault(o, errno, "of", top) : fd;
}

static int overlay_create(struct overlay *o) {
        int fd = overlay_identity(o, o->owner->uid, o->owner->gid);

        if (fd >= 0)
                fd = overlay_mount(o);
        if (fd == -EINVAL && !o->joined && !options_are_known()) {
                o->joined = true;
                *o->fault = (struct fault)FAULT_NULL; /* it would hide a later one */
                o->fs = safe_close(o->fs);
                fd = overlay_mount(o);
        }
        if (overlay_identity(o, 0, 0) < 0 && fd >= 0) {
                safe_close(fd);
                fd = o->fault->error;
        }
        for (size_t i = 0; i < o->n_fds; i++)
                safe_close(o->fds[i]);
        o->n_fds = 0;
        o->fs = safe_close(o->fs);
        return fd;
}

static int layer_cover(struct overlay *o, const char *path) {
        _cleanup_close_ int fd = layer_map(o, path);

        if (fd < 0)
                return fd;
        if (move_mount(fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return overlay_fault(o, errno, "id mapping of layer", path);
        return 0;
}

static int layers_cover(struct overlay *o) {
        struct mount_attr attr = { .propagation = MS_PRIVATE };
        const struct overlay_layers *l = o->layers;
        _cleanup_free_ char *parent = NULL;
        int r = 0;

        if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return overlay_fault(o, errno, "in a namespace of its own:", "propagation");
        for (size_t i = 0; i < l->n_lowers && r >= 0; i++)
                r = layer_cover(o, l->lowers[i]);
        for (size_t i = 0; i < l->n_data && r >= 0; i++)
                r = layer_cover(o, l->data[i]);
        if (r < 0 || !l->upper)
                return r;
        parent = upper_parent(o);
        return parent ? layer_cover(o, parent) : o->fault->error;
}

/* The clones cover their layers for a moment, where nobody else sees it. */
static int overlay_create_attached(struct overlay *o) {
        _cleanup_close_ int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        int fd;

        if (own < 0 || unshare(CLONE_NEWNS) < 0)
                return overlay_fault(o, errno, "in a namespace of its own:", o->layers->lowers[0]);
        o->detached = false;
        fd = layers_cover(o);
        if (fd >= 0)
                fd = overlay_create(o);
        if (setns(own, CLONE_NEWNS) < 0)
                _exit(EXIT_FAILURE); /* there is no way to go on with the layers covered */
        return fd;
}

/** overlay_make() - make an overlay as a detached mount
 *
 * Upper and work directory are made where they are missing.
 *
 * Return: a descriptor the caller owns, or a negative errno with the fault set.
 */
int overlay_make(const struct overlay_layers *layers, const struct overlay_owner *owner, struct fault *fault) {
        struct overlay o = {
                .layers = layers, .owner = owner, .fault = fault, .fs = -1, .detached = owner->userns >= 0
        };
        int fd;

        /* Each layer may be named twice, once in vain; what is written, and what holds it, are three. */
        o.fds = malloc(sizeof(int) * 2 * (layers->n_lowers + layers->n_data + 3));
        if (!o.fds)
                return fault_set(fault, SHIM_STEP_ROOTFS, ENOMEM, "overlay");
        fd = layers->upper ? upper_make(&o) : 0;
        if (fd >= 0)
                fd = overlay_create(&o);
        if (fd == -EINVAL && o.detached)
                fd = overlay_create_attached(&o);
        free(o.fds);
        return fd;
}
