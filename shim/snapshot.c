/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Mounts of snapshots that no container uses: an overlay, or a view of one layer, handed out as a descriptor.
 *
 * Whoever gets it attaches it where he likes, or only looks at it; here it is attached nowhere, so that nothing is left
 * of it when the last descriptor is closed. All layers lie in Davit's own directories.
 */

#include <fcntl.h>
#include <string.h>

#include "shared/macros.h"
#include "shared/syscalls.h"
#include "shim/launcher.h"
#include "shim/overlay.h"

#define LAYERS_MAX 64U

static bool path_is_ours(const char *path) {
        size_t n = strlen(path);

        if (n >= 3 && streq(path + n - 3, "/.."))
                return false;
        return (strncmp(path, DAVIT_STATE_DIR "/", strlen(DAVIT_STATE_DIR "/")) == 0 ||
                strncmp(path, DAVIT_RUNTIME_DIR "/", strlen(DAVIT_RUNTIME_DIR "/")) == 0) &&
               !strstr(path, "/../") && !strstr(path, "/./");
}

/* Points at the n strings of the text; each ends with a NUL inside it. */
static int paths_split(const char *text, size_t size, const char **ret, size_t n) {
        for (size_t i = 0; i < n; i++) {
                const char *end = memchr(text, '\0', size);

                if (!end || !path_is_ours(text))
                        return -EINVAL;
                ret[i] = text;
                size -= (size_t)(end - text) + 1;
                text = end + 1;
        }
        return size > 0 ? -EINVAL : 0;
}

/* The kernel wants two layers for an overlay that cannot be written. */
static int view_open(const char *path, struct fault *fault) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY, .propagation = MS_PRIVATE };
        _cleanup_close_ int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

        if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "view of %s", path);
        return take_fd(&fd);
}

/** snapshot_mount() - make the mount that LAUNCHER_MOUNT asks for
 *
 * Return: a detached mount the caller owns, or a negative errno with the fault set.
 */
int snapshot_mount(const struct launcher_mount *m, const char *text, size_t size, struct fault *fault) {
        const char *paths[LAYERS_MAX + 2];
        const struct overlay_owner owner = { .userns = -1 };
        struct overlay_layers layers = { .lowers = paths };
        size_t n;

        if (m->n_lowers == 0 || m->n_lowers > LAYERS_MAX || m->n_data > LAYERS_MAX - m->n_lowers)
                return fault_set(fault, SHIM_STEP_ROOTFS, EINVAL, "number of layers");
        n = m->n_lowers + m->n_data;
        if (paths_split(text, size, paths, n + (m->writable ? 2 : 0)) < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, EINVAL, "paths of layers");
        if (!m->writable && n == 1)
                return view_open(paths[0], fault);
        layers.n_lowers = m->n_lowers;
        layers.data = paths + m->n_lowers;
        layers.n_data = m->n_data;
        if (m->writable) {
                layers.upper = paths[n];
                layers.work = paths[n + 1];
        }
        return overlay_make(&layers, &owner, fault);
}
