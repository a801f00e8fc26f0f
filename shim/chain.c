/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Chain mounts: read-only views of images' root file systems, shared by all containers of an image.
 *
 * They live in the launcher's private mount namespace, from where every shim inherits them. A checkout or an EROFS
 * image is opened below Davit's own state directory without following links, and mounted by descriptor. It must stay
 * possible to run setuid programs from it: a container expects them. What is mounted the launcher remembers; a mount it
 * does not know, made before it executed itself anew, is made again, and those who use it keep it.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/syscalls.h"
#include "shim/launcher.h"

struct chain {
        struct chain *next;
        char *id;
        dev_t dev; /* of the checkout or image */
        ino_t ino;
};

static int chain_open_source(const char *source, bool is_directory) {
        struct open_how how = { .flags = O_CLOEXEC | (is_directory ? O_PATH | O_DIRECTORY : O_RDONLY | O_NONBLOCK),
                                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
        _cleanup_close_ int state = -1, fd = -1;
        struct stat st;

        if (strncmp(source, DAVIT_STATE_DIR "/", strlen(DAVIT_STATE_DIR "/")) != 0)
                return -EINVAL;
        state = open(DAVIT_STATE_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (state < 0)
                return -errno;
        fd = sys_openat2(state, source + strlen(DAVIT_STATE_DIR "/"), &how);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        return is_directory || S_ISREG(st.st_mode) ? take_fd(&fd) : -EINVAL;
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

/* A directory of the run directory's own, with nothing mounted on it. */
static bool chain_is_free(int target) {
        struct stat a, b;

        return stat(CHAINS_DIR, &a) >= 0 && fstat(target, &b) >= 0 && a.st_dev == b.st_dev;
}

static struct chain *chain_find(struct launcher *l, const char *id) {
        for (struct chain *c = l->chains; c; c = c->next)
                if (streq(c->id, id))
                        return c;
        return NULL;
}

static int chain_remember(struct launcher *l, const char *id, const struct stat *st) {
        struct chain *c = calloc(1, sizeof(*c));

        if (c)
                c->id = strdup(id);
        if (!c || !c->id) {
                free(c);
                return -ENOMEM;
        }
        c->dev = st->st_dev;
        c->ino = st->st_ino;
        c->next = l->chains;
        l->chains = c;
        return 0;
}

static void chain_forget(struct launcher *l, const char *id) {
        for (struct chain **p = &l->chains; *p; p = &(*p)->next) {
                struct chain *c = *p;

                if (!streq(c->id, id))
                        continue;
                *p = c->next;
                free(c->id);
                free(c);
                return;
        }
}

/** chain_unmount() - take a chain's mount and its directory away; containers that use it keep their own view
 *
 * Return: 0, also where there is none, -EINVAL for a bad id, or a negative errno.
 */
int chain_unmount(struct launcher *l, const char *id) {
        _cleanup_free_ char *path = NULL;

        if (!chain_id_valid(id))
                return -EINVAL;
        if (asprintf(&path, CHAINS_DIR "/%s", id) < 0)
                return -ENOMEM;
        chain_forget(l, id);
        while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) >= 0)
                ;
        if (errno != EINVAL && errno != ENOENT)
                return -errno;
        return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int chain_clone(int source) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, .propagation = MS_PRIVATE };
        _cleanup_close_ int fd = open_tree(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

        if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return -errno;
        return take_fd(&fd);
}

static int chain_open(const struct launcher_chain *how, int source) {
        int fd;

        switch (how->form) {
        case LAUNCHER_CHAIN_CHECKOUT:
                return chain_clone(source);
        case LAUNCHER_CHAIN_EROFS_FILE:
                fd = erofs_open(source, LAUNCHER_CHAIN_EROFS_FILE);
                if (fd >= 0 || !(how->flags & LAUNCHER_CHAIN_FALL_BACK))
                        return fd;
                return erofs_open(source, LAUNCHER_CHAIN_EROFS_LOOP);
        case LAUNCHER_CHAIN_EROFS_LOOP:
                return erofs_open(source, LAUNCHER_CHAIN_EROFS_LOOP);
        default:
                return -EOPNOTSUPP;
        }
}

/* An empty place for the mount: what shows another source, or nobody knows what, gives way. */
static int chain_prepare(struct launcher *l, const char *id) {
        _cleanup_close_ int to = chain_open_target(id);
        int r;

        if (to < 0 || chain_is_free(to))
                return take_fd(&to);
        to = safe_close(to);
        r = chain_unmount(l, id);
        return r < 0 ? r : chain_open_target(id);
}

/** chain_mount() - mount the checkout or image @source read-only at /run/davit/chains/@id; doing it twice is doing it
 * once
 *
 * Return: 0, -EINVAL for a bad id or a source outside the state directory, -ENOENT where there is no source,
 * -EOPNOTSUPP for a form nobody knows, or a negative errno.
 */
int chain_mount(struct launcher *l, const struct launcher_chain *how, const char *id, const char *source) {
        _cleanup_close_ int from = -1, to = -1, mount = -1;
        const struct chain *known;
        struct stat st;

        if (!chain_id_valid(id))
                return -EINVAL;
        from = chain_open_source(source, how->form == LAUNCHER_CHAIN_CHECKOUT);
        if (from < 0)
                return from;
        if (fstat(from, &st) < 0)
                return -errno;
        known = chain_find(l, id);
        if (known && known->dev == st.st_dev && known->ino == st.st_ino)
                return 0;
        mount = chain_open(how, from);
        if (mount < 0)
                return mount;
        to = chain_prepare(l, id);
        if (to < 0)
                return to;
        if (move_mount(mount, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return -errno;
        chain_forget(l, id);
        return chain_remember(l, id, &st);
}
