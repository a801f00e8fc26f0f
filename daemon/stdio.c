/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decides the stdio of a process: the caller's descriptors where given, the journal or nothing otherwise.
 *
 * Descriptors travel to the shim in the order stdin, stdout, stderr, LISTEN_FDS, as shim-protocol.h documents. The
 * only file opened here is a caller's LogPath, for appending, never through a symbolic link at its end.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "daemon/error.h"
#include "daemon/stdio.h"
#include "shared/macros.h"

static int open_log(const char *path, int *ret, sd_bus_error *error) {
        struct stat st;
        int fd;

        if (path[0] != '/')
                return error_invalid(error, "LogPath \"%s\" is not an absolute path.", path);
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0640);
        if (fd < 0)
                return error_set_errno(error, -errno, "LogPath \"%s\" cannot be opened", path);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                (void)close(fd);
                return error_invalid(error, "LogPath \"%s\" is not a regular file.", path);
        }
        *ret = fd;
        return 0;
}

static void give(GArray *fds, int *fd, uint8_t *mode) {
        int taken = take_fd(fd);

        g_array_append_val(fds, taken);
        *mode = SHIM_STDIO_FD;
}

static int prepare_outputs(Options *o, struct shim_stdio *s, GArray *fds, sd_bus_error *error) {
        uint8_t other = o->output && streq(o->output, "null") ? SHIM_STDIO_NULL : SHIM_STDIO_JOURNAL;
        _cleanup_close_ int log = -1, copy = -1;
        int r;

        if (o->log_path) {
                if (o->output)
                        return error_invalid(error, "Output and LogPath exclude each other.");
                r = open_log(o->log_path, &log, error);
                if (r < 0)
                        return r;
                copy = fcntl(log, F_DUPFD_CLOEXEC, 3);
                if (copy < 0)
                        return -errno;
        }
        s->out = s->err = other;
        if (o->stdout_fd >= 0)
                give(fds, &o->stdout_fd, &s->out);
        else if (log >= 0)
                give(fds, &log, &s->out);
        if (o->stderr_fd >= 0)
                give(fds, &o->stderr_fd, &s->err);
        else if (copy >= 0)
                give(fds, &copy, &s->err);
        return 0;
}

/** stdio_prepare() - see stdio.h; with a terminal no stream may be given, the shim makes a pty */
int stdio_prepare(Options *o, bool terminal, struct shim_stdio *ret, GArray *fds, sd_bus_error *error) {
        struct shim_stdio s = { .in = SHIM_STDIO_NULL };
        int r;

        if (terminal) {
                if (o->stdin_fd >= 0 || o->stdout_fd >= 0 || o->stderr_fd >= 0 || o->log_path)
                        return error_invalid(error, "A process with a terminal takes no streams; use OpenTerminal.");
                s.in = s.out = s.err = SHIM_STDIO_PTY;
        } else {
                if (o->stdin_fd >= 0)
                        give(fds, &o->stdin_fd, &s.in);
                r = prepare_outputs(o, &s, fds, error);
                if (r < 0)
                        return r;
        }
        for (guint i = 0; o->listen_fds && i < o->listen_fds->len; i++)
                g_array_append_val(fds, g_array_index(o->listen_fds, int, i));
        s.n_listen_fds = o->listen_fds ? (uint8_t)o->listen_fds->len : 0;
        if (o->listen_fds)
                g_array_set_size(o->listen_fds, 0);
        *ret = s;
        return 0;
}
