/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Standard streams.
 *
 * A process gets the caller's own descriptors, /dev/null, a stream to systemd-journald or a terminal; the
 * shim never stands in the path of the data. The journal stream is one connection a descriptor, opened by the
 * shim because the container cannot see journald's socket; journald takes the writer's credentials with every line, so
 * lines belong to the process that wrote them.
 */

#include "shim/stdio.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/syscalls.h"
#include "shim/path.h"
#include "shim/setup.h"

#define JOURNAL_SOCKET "/run/systemd/journal/stdout"

/* The stream's header, one value a line: identifier, unit, priority of lines without one, whether "<N>" prefixes are
 * read, and whether to forward to syslog, kmsg and console. Source: systemd, src/journal/journald-stream.c. */
static int journal_connect(const char *identifier, const char *unit, int priority) {
        static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
        _cleanup_close_ int fd = -1;
        char header[512];
        int n;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        if (shutdown(fd, SHUT_RD) < 0)
                return -errno;
        n = snprintf(header, sizeof(header), "%s\n%s\n%d\n0\n0\n0\n0\n", identifier, unit, priority);
        if (n < 0 || (size_t)n >= sizeof(header))
                return -ENAMETOOLONG;
        n = fd_write_all(fd, header, (size_t)n);
        return n < 0 ? n : take_fd(&fd);
}

static int stdio_take_one(struct stdio *io, unsigned i, uint8_t mode, struct packet *p, size_t *next,
                          const char *identifier, const char *unit) {
        switch (mode) {
        case SHIM_STDIO_NULL:
                return 0;
        case SHIM_STDIO_PTY:
                io->terminal = true;
                return 0;
        case SHIM_STDIO_FD:
                io->fds[i] = packet_take_fd(p, (*next)++);
                return io->fds[i] < 0 ? -EBADMSG : 0;
        case SHIM_STDIO_JOURNAL:
                if (i == 0)
                        return -EBADMSG;
                io->fds[i] = journal_connect(identifier, unit, i == 1 ? 6 : 3);
                return io->fds[i] < 0 ? io->fds[i] : 0;
        case SHIM_STDIO_SAME:
                if (i != 2)
                        return -EBADMSG;
                if (io->fds[1] < 0)
                        return 0;
                io->fds[2] = fcntl(io->fds[1], F_DUPFD_CLOEXEC, 3);
                return io->fds[2] < 0 ? -errno : 0;
        default:
                return -EBADMSG;
        }
}

/** stdio_take() - open or take over what a request names
 *
 * @first: index of the packet's first descriptor that belongs to stdio. @identifier and @unit name a journal stream.
 *
 * Return: 0; -EBADMSG when the descriptors do not fit the request, or a negative errno of the journal's socket. End @io
 * with stdio_done().
 */
int stdio_take(struct stdio *io, const struct shim_stdio *request, struct packet *p, size_t first,
               const char *identifier, const char *unit) {
        const uint8_t modes[3] = { request->in, request->out, request->err };
        size_t next = first;

        for (unsigned i = 0; i < 3; i++) {
                int r = stdio_take_one(io, i, modes[i], p, &next, identifier, unit);

                if (r < 0)
                        return r;
        }
        if (request->n_listen_fds > STDIO_LISTEN_MAX)
                return -EBADMSG;
        for (; io->n_listen < request->n_listen_fds; io->n_listen++) {
                int fd = packet_take_fd(p, next++);

                if (fd < 0)
                        return -EBADMSG;
                io->listen[io->n_listen] = fd;
        }
        return next == p->n_fds ? 0 : -EBADMSG;
}

/** stdio_done() - close what is still owned */
void stdio_done(struct stdio *io) {
        for (size_t i = 0; i < ELEMENTSOF(io->fds); i++)
                io->fds[i] = safe_close(io->fds[i]);
        for (size_t i = 0; i < io->n_listen; i++)
                io->listen[i] = safe_close(io->listen[i]);
        io->n_listen = 0;
}

/** stdio_open_null() - open and verify the host's null device, which masks files and serves where the container has
 * none
 *
 * In the child: a mask is a clone of a mount of its own namespace.
 */
int stdio_open_null(struct setup *s) {
        struct stat st;

        s->null_fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (s->null_fd < 0 || fstat(s->null_fd, &st) < 0)
                return fault_set(s->fault, SHIM_STEP_DEVICE, errno, "/dev/null of the host");
        if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
                return fault_set(s->fault, SHIM_STEP_DEVICE, ENODEV, "/dev/null of the host");
        return 0;
}

/* The container's own null device where it is one, so that no descriptor of the host's /dev gets in; else the host's.
 */
static int null_open(struct setup *s) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        fd = path_open(s->root_fd, "/dev/null", O_PATH, RESOLVE_NO_SYMLINKS);
        if (fd >= 0 && fstat(fd, &st) >= 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)) {
                int r = path_reopen(fd, O_RDWR | O_NOCTTY);

                if (r >= 0)
                        return r;
        }
        return path_reopen(s->null_fd, O_RDWR | O_NOCTTY);
}

static int stdio_fill(struct setup *s) {
        _cleanup_close_ int null = -1;

        for (size_t i = 0; i < 3; i++) {
                if (s->stdio.fds[i] >= 0)
                        continue;
                if (s->terminal_fd < 0 && null < 0) {
                        null = null_open(s);
                        if (null < 0)
                                return null;
                }
                s->stdio.fds[i] = fcntl(s->terminal_fd >= 0 ? s->terminal_fd : null, F_DUPFD_CLOEXEC, 3);
                if (s->stdio.fds[i] < 0)
                        return -errno;
        }
        return 0;
}

/* A pipe whose other end is the caller's is given to the container's user, or it could not reopen /dev/stdout. */
static void stdio_give(struct setup *s, int fd) {
        struct stat st;

        if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode) || st.st_uid == s->identity.uid)
                return;
        if (fchown(fd, s->identity.uid, (gid_t)-1) < 0)
                return; /* it can still be read and written, only not reopened */
}

/** stdio_prepare() - open what is missing, while the container's root and the host's /proc are both in reach */
int stdio_prepare(struct setup *s) {
        int r = stdio_fill(s);

        if (r < 0)
                return fault_set(s->fault, SHIM_STEP_STDIO, r, "standard streams");
        return 0;
}

/** stdio_apply() - put the streams on 0, 1, 2, the passed sockets from 3 on, and mark everything else close-on-exec
 *
 * Afterwards the descriptor to the shim may have another number.
 */
int stdio_apply(struct setup *s) {
        int base = 3 + (int)s->stdio.n_listen;
        int moved[3 + STDIO_LISTEN_MAX];

        for (int i = 0; i < base; i++) {
                int fd = i < 3 ? s->stdio.fds[i] : s->stdio.listen[i - 3];

                moved[i] = fcntl(fd, F_DUPFD_CLOEXEC, base);
                if (moved[i] < 0)
                        return fault_set(s->fault, SHIM_STEP_STDIO, errno, "descriptor %d", i);
        }
        if (s->sock < base) {
                s->sock = fcntl(s->sock, F_DUPFD_CLOEXEC, base);
                if (s->sock < 0)
                        return fault_set(s->fault, SHIM_STEP_STDIO, errno, "descriptor of the shim");
        }
        for (int i = 0; i < base; i++) {
                if (dup2(moved[i], i) < 0)
                        return fault_set(s->fault, SHIM_STEP_STDIO, errno, "descriptor %d", i);
                if (i < 3)
                        stdio_give(s, i);
        }
        if (close_range((unsigned)base, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                return fault_set(s->fault, SHIM_STEP_STDIO, errno, "close on exec");
        return 0;
}
