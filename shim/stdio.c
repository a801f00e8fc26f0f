/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Standard streams.
 *
 * A process gets the caller's own descriptors, pipes, FIFOs or files by path, /dev/null, a stream to journald or a
 * terminal; the shim never stands in the path of the data. Of pipes and FIFOs it keeps the other end, unread, for who
 * comes later (but see drop.c), so nothing ends with a reader or writer that leaves. The journal stream is one
 * connection a descriptor, opened by the shim because the container cannot see journald's socket; journald takes the
 * writer's credentials with every line, so lines belong to the process that wrote them.
 */

#include "shim/stdio.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/shim-drop.h"
#include "shared/syscalls.h"
#include "shim/path.h"
#include "shim/setup.h"

#define JOURNAL_SOCKET "/run/systemd/journal/stdout"

/* The stream's header, one value a line: identifier, unit, priority of lines without one, whether "<N>" prefixes are
 * read, and whether to forward to syslog, kmsg and console. Source: systemd, src/journal/journald-stream.c. */
static int journal_connect(const struct stdio_source *source, int *sock, int priority) {
        static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
        _cleanup_close_ int fd = sock ? take_fd(sock) : -1;
        char header[512];
        int n;

        if (fd < 0)
                fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        if (shutdown(fd, SHUT_RD) < 0)
                return -errno;
        n = snprintf(header, sizeof(header), "%s\n%s\n%d\n0\n0\n0\n0\n", source->identifier, source->unit, priority);
        if (n < 0 || (size_t)n >= sizeof(header))
                return -ENAMETOOLONG;
        n = fd_write_all(fd, header, (size_t)n);
        return n < 0 ? n : take_fd(&fd);
}

/* The next path of the text; NULL where there is none. */
static const char *source_path(struct stdio_source *source) {
        const char *path = source->text, *end = path ? memchr(path, '\0', source->text_size) : NULL;

        if (!end)
                return NULL;
        source->text_size -= (size_t)(end - path) + 1;
        source->text = end + 1;
        return path;
}

static int open_new(const char *path) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);

        return fd < 0 ? -errno : fd;
}

/* Both ends of a FIFO: neither waits for somebody else, and a reader or writer that goes is not the last. */
static int open_fifo(int fifo, unsigned i, int *ret_kept) {
        _cleanup_close_ int reader = -1, writer = -1;
        int r;

        reader = path_reopen(fifo, O_RDONLY | O_NONBLOCK);
        if (reader < 0)
                return reader;
        writer = path_reopen(fifo, O_WRONLY);
        if (writer < 0)
                return writer;
        if (i == 0) {
                r = fd_set_nonblock(reader, false);
                if (r < 0)
                        return r;
        }
        *ret_kept = i == 0 ? take_fd(&writer) : take_fd(&reader);
        return i == 0 ? take_fd(&reader) : take_fd(&writer);
}

/* Never through a link at its end, never a device or socket. */
static int open_path(const char *path, unsigned i, int *ret_kept) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (!path || path[0] != '/')
                return -EINVAL;
        fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT && i > 0 ? open_new(path) : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISFIFO(st.st_mode))
                return open_fifo(fd, i, ret_kept);
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        return path_reopen(fd, i == 0 ? O_RDONLY | O_NOCTTY : O_WRONLY | O_APPEND | O_NOCTTY);
}

static int take_path(struct stdio *io, unsigned i, struct stdio_source *source, struct fault *fault) {
        const char *path = source_path(source);

        io->fds[i] = open_path(path, i, &io->kept[i]);
        return io->fds[i] < 0 ? fault_set(fault, SHIM_STEP_STDIO, io->fds[i], "%s", path ? path : "no path") : 0;
}

static int take_next(struct stdio_source *source, int *ret) {
        *ret = packet_take_fd(source->packet, source->next++);
        return *ret < 0 ? -EBADMSG : 0;
}

static int take_pipe(struct stdio *io, unsigned i, struct stdio_source *source) {
        int r = take_next(source, &io->fds[i]);

        return r < 0 ? r : take_next(source, &io->kept[i]);
}

static int take_drop(struct stdio *io, unsigned i, struct stdio_source *source) {
        const char *text = source_path(source);
        int n = 0;

        if (i == 0 || !text || sscanf(text, "%" SCNu64 "%n", &io->drop_after[i], &n) != 1 || text[n])
                return -EBADMSG;
        if (io->drop_after[i] == 0 || io->drop_after[i] > SHIM_DROP_AFTER_USEC_MAX)
                return -EBADMSG;
        return take_pipe(io, i, source);
}

static int stdio_take_one(struct stdio *io, unsigned i, uint8_t mode, struct stdio_source *source,
                          struct fault *fault) {
        switch (mode) {
        case SHIM_STDIO_NULL:
                return 0;
        case SHIM_STDIO_PTY:
                io->terminal = true;
                return 0;
        case SHIM_STDIO_FD:
                return take_next(source, &io->fds[i]);
        case SHIM_STDIO_PIPE:
                return take_pipe(io, i, source);
        case SHIM_STDIO_DROP:
                return take_drop(io, i, source);
        case SHIM_STDIO_PATH:
                return take_path(io, i, source, fault);
        case SHIM_STDIO_JOURNAL:
                if (i == 0)
                        return -EBADMSG;
                io->fds[i] = journal_connect(source, source->sockets ? &source->sockets[i - 1] : NULL, i == 1 ? 6 : 3);
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

/** stdio_take() - open or take over what a request names, from where @source stands on
 *
 * Return: 0; -EBADMSG when the descriptors do not fit the request, or a negative errno of the journal's socket or a
 * path. End @io with stdio_done().
 */
int stdio_take(struct stdio *io, const struct shim_stdio *request, struct stdio_source *source, struct fault *fault) {
        const uint8_t modes[3] = { request->in, request->out, request->err };

        for (unsigned i = 0; i < 3; i++) {
                int r = stdio_take_one(io, i, modes[i], source, fault);

                if (r < 0)
                        return fault_set(fault, SHIM_STEP_STDIO, r, "standard streams");
        }
        if (request->n_listen_fds > STDIO_LISTEN_MAX)
                return fault_set(fault, SHIM_STEP_STDIO, EBADMSG, "standard streams");
        for (; io->n_listen < request->n_listen_fds; io->n_listen++)
                if (take_next(source, &io->listen[io->n_listen]) < 0)
                        return fault_set(fault, SHIM_STEP_STDIO, EBADMSG, "standard streams");
        io->n_named = io->n_listen;
        return source->next == source->packet->n_fds ? 0
                                                     : fault_set(fault, SHIM_STEP_STDIO, EBADMSG, "standard streams");
}

/** stdio_keep() - hand the shim's own ends over to the process they belong to */
void stdio_keep(struct stdio *io, int kept[3]) {
        for (size_t i = 0; i < ELEMENTSOF(io->kept); i++)
                kept[i] = take_fd(&io->kept[i]);
}

/** stdio_done() - close what is still owned */
void stdio_done(struct stdio *io) {
        for (size_t i = 0; i < ELEMENTSOF(io->fds); i++) {
                io->fds[i] = safe_close(io->fds[i]);
                io->kept[i] = safe_close(io->kept[i]);
        }
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

/* A descriptor of ours must not be where one of the process's goes. */
static int stdio_move_up(struct setup *s, int *fd, int base) {
        if (*fd < 0 || *fd >= base)
                return 0;
        *fd = fcntl(*fd, F_DUPFD_CLOEXEC, base);
        return *fd < 0 ? fault_set(s->fault, SHIM_STEP_STDIO, errno, "descriptor of the shim") : 0;
}

/** stdio_apply() - put the streams on 0, 1, 2, the passed sockets from 3 on, and mark everything else close-on-exec
 *
 * Afterwards the descriptor to the shim may have another number.
 */
int stdio_apply(struct setup *s) {
        int base = 3 + (int)s->stdio.n_listen;
        int moved[3 + STDIO_LISTEN_MAX], r;

        for (int i = 0; i < base; i++) {
                int fd = i < 3 ? s->stdio.fds[i] : s->stdio.listen[i - 3];

                moved[i] = fcntl(fd, F_DUPFD_CLOEXEC, base);
                if (moved[i] < 0)
                        return fault_set(s->fault, SHIM_STEP_STDIO, errno, "descriptor %d", i);
        }
        r = stdio_move_up(s, &s->sock, base);
        if (r >= 0)
                r = stdio_move_up(s, &s->start_fd, base);
        if (r >= 0)
                r = stdio_move_up(s, &s->state_fd, base);
        if (r < 0)
                return r;
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
