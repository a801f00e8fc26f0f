/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Paths inside a container's root.
 *
 * Everything below a container's root belongs to somebody else, perhaps to a running container that exchanges
 * directories for symbolic links while we look. A path is therefore resolved once, by openat2(2) with
 * RESOLVE_IN_ROOT and without magic links, to a descriptor; whatever is done is done to that descriptor.
 * Missing components are made one by one below descriptors that are already known to be inside.
 */

#include "shim/path.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shared/syscalls.h"

/* The kernel answers EAGAIN when a rename elsewhere might have led ".." astray; so often it is tried again. */
#define PATH_ATTEMPTS 64

/** path_open() - open @path below @root_fd, never leaving it
 *
 * @path may begin with a slash; both forms mean "from the container's root". @resolve adds RESOLVE_* flags to
 * RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS. The descriptor is close-on-exec.
 *
 * Return: a descriptor the caller owns, -ELOOP for a link that is not allowed, or a negative errno.
 */
int path_open(int root_fd, const char *path, int flags, uint64_t resolve) {
        struct open_how how = {
                .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve,
        };

        for (unsigned i = 0; i < PATH_ATTEMPTS; i++) {
                int fd = sys_openat2(root_fd, path, &how);

                if (fd >= 0)
                        return fd;
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
        }
        return -EAGAIN;
}

static int path_make_one(int parent, const char *name, enum path_kind kind) {
        int fd;

        if (kind == PATH_DIRECTORY)
                return mkdirat(parent, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
        fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return errno == EEXIST ? 0 : -errno;
        safe_close(fd);
        return 0;
}

/* Walks @path and makes what is missing. Each prefix is resolved anew from the root, so that symbolic links inside
 * the root mean what they mean there; the new entry is made below the descriptor of its parent. */
static int path_make_missing(int root_fd, char *path, enum path_kind kind, uint64_t resolve) {
        _cleanup_close_ int parent = -1;
        char *p = path;

        parent = path_open(root_fd, "/", O_PATH | O_DIRECTORY, resolve);
        if (parent < 0)
                return parent;

        for (;;) {
                char *name, saved;
                bool last;
                int fd, r;

                p += strspn(p, "/");
                if (!*p)
                        return take_fd(&parent);
                name = p;
                p += strcspn(p, "/");
                last = p[strspn(p, "/")] == '\0';
                saved = *p;
                *p = '\0';
                if (streq(name, ".."))
                        return -EINVAL;

                fd = path_open(root_fd, path, O_PATH | (last ? 0 : O_DIRECTORY), resolve);
                if (fd == -ENOENT) {
                        r = path_make_one(parent, name, last ? kind : PATH_DIRECTORY);
                        if (r < 0)
                                return r;
                        fd = path_open(root_fd, path, O_PATH | (last ? 0 : O_DIRECTORY), resolve);
                }
                if (fd < 0)
                        return fd;
                *p = saved;
                safe_close(parent);
                parent = fd;
        }
}

/** path_make() - open @path below @root_fd with O_PATH, making what is missing of it
 *
 * An existing target of the other kind is -ENOTDIR or -EISDIR.
 *
 * Return: a descriptor the caller owns, or a negative errno.
 */
int path_make(int root_fd, const char *path, enum path_kind kind, uint64_t resolve) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        fd = path_open(root_fd, path, O_PATH, resolve);
        if (fd == -ENOENT && kind != PATH_ANY) {
                _cleanup_free_ char *copy = strdup(path);

                if (!copy)
                        return -ENOMEM;
                fd = path_make_missing(root_fd, copy, kind, resolve);
        }
        if (fd < 0 || kind == PATH_ANY)
                return take_fd(&fd);
        if (fstat(fd, &st) < 0)
                return -errno;
        if (kind == PATH_DIRECTORY && !S_ISDIR(st.st_mode))
                return -ENOTDIR;
        if (kind == PATH_FILE && S_ISDIR(st.st_mode))
                return -EISDIR;
        return take_fd(&fd);
}

/** path_open_parent() - open the directory that is to hold the last component of @path, making it where missing
 *
 * @ret_name: points into @path.
 *
 * Return: an O_PATH descriptor the caller owns, -EINVAL when @path has no last component, or a negative errno.
 */
int path_open_parent(int root_fd, const char *path, uint64_t resolve, const char **ret_name) {
        _cleanup_free_ char *copy = NULL;
        const char *name = strrchr(path, '/');

        name = name ? name + 1 : path;
        if (!*name || streq(name, ".") || streq(name, ".."))
                return -EINVAL;
        copy = strndup(path, (size_t)(name - path));
        if (!copy)
                return -ENOMEM;
        *ret_name = name;
        return path_make(root_fd, *copy ? copy : "/", PATH_DIRECTORY, resolve);
}

/** path_reopen() - open what an O_PATH descriptor stands for, through the host's /proc
 *
 * Only for a process that still has the host's root. The caller has made sure that the file is of a harmless type.
 */
int path_reopen(int fd, int flags) {
        char path[32];
        int r;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = open(path, flags | O_CLOEXEC);
        return r < 0 ? -errno : r;
}

/** path_covers() - whether @path is @above or lies below it, by the letters alone */
bool path_covers(const char *above, const char *path) {
        size_t n = strlen(above);

        while (n > 0 && above[n - 1] == '/')
                n--;
        return strncmp(above, path, n) == 0 && (path[n] == '/' || path[n] == '\0');
}
