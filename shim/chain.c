/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Chain mounts: read-only views of image checkouts, shared by all containers of an image.
 *
 * They live in the launcher's private mount namespace, from where every shim inherits them. A checkout is opened below
 * Davit's own state directory without following links, and mounted by descriptor. It must stay possible to run setuid
 * programs from it: a container expects them.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/syscalls.h"
#include "shim/launcher.h"

#define CHAINS_DIR DAVIT_RUNTIME_DIR "/chains"

static int chain_open_source(const char *source) {
        struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
        _cleanup_close_ int state = -1;
        int fd;

        if (strncmp(source, DAVIT_STATE_DIR "/", strlen(DAVIT_STATE_DIR "/")) != 0)
                return -EINVAL;
        state = open(DAVIT_STATE_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (state < 0)
                return -errno;
        fd = sys_openat2(state, source + strlen(DAVIT_STATE_DIR "/"), &how);
        return fd < 0 ? -errno : fd;
}

static bool chain_id_valid(const char *id) {
        return *id && *id != '.' && !strchr(id, '/') && strlen(id) <= 255;
}

static int chain_open_target(const char *id) {
        _cleanup_close_ int chains = -1;
        int fd;

        chains = dir_open_at(AT_FDCWD, CHAINS_DIR, 0700);
        if (chains < 0)
                return chains;
        if (mkdirat(chains, id, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(chains, id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* The descriptor of a mount point that is in use shows what is mounted: the source itself, if all is well. */
static bool chain_is_mounted(int source, int target) {
        struct stat a, b;

        return fstat(source, &a) >= 0 && fstat(target, &b) >= 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* A directory of the run directory's own, with nothing mounted on it. */
static bool chain_is_free(int target) {
        struct stat a, b;

        return stat(CHAINS_DIR, &a) >= 0 && fstat(target, &b) >= 0 && a.st_dev == b.st_dev;
}

/** chain_unmount() - take a chain's mount and its directory away; containers that use it keep their own view
 *
 * Return: 0, also where there is none, -EINVAL for a bad id, or a negative errno.
 */
int chain_unmount(const char *id) {
        _cleanup_free_ char *path = NULL;

        if (!chain_id_valid(id))
                return -EINVAL;
        if (asprintf(&path, CHAINS_DIR "/%s", id) < 0)
                return -ENOMEM;
        while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) >= 0)
                ;
        if (errno != EINVAL && errno != ENOENT)
                return -errno;
        return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}

/** chain_mount() - mount the checkout @source read-only at /run/davit/chains/@id; doing it twice is doing it once
 *
 * Return: 0, -EINVAL for a bad id or a source outside the state directory, or a negative errno.
 */
int chain_mount(const char *id, const char *source) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, .propagation = MS_PRIVATE };
        _cleanup_close_ int from = -1, to = -1, clone = -1;

        int r;

        if (!chain_id_valid(id))
                return -EINVAL;
        from = chain_open_source(source);
        if (from < 0)
                return from;
        to = chain_open_target(id);
        if (to < 0)
                return to;
        if (chain_is_mounted(from, to))
                return 0;
        if (!chain_is_free(to)) {
                /* A checkout that was removed since and made again. */
                (void)close(take_fd(&to));
                r = chain_unmount(id);
                if (r < 0)
                        return r;
                to = chain_open_target(id);
                if (to < 0)
                        return to;
        }
        clone = open_tree(from, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (clone < 0 || mount_setattr(clone, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return -errno;
        return move_mount(clone, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno : 0;
}
