/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decides the stdio of a process: the caller's descriptors or paths where given, else pipes, the journal or nothing.
 *
 * Descriptors travel to the shim in the order stdin, stdout, stderr, LISTEN_FDS, paths beside them, as shim-protocol.h
 * documents. No path is opened here: the manager would wait where a file system does not answer.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "daemon/error.h"
#include "daemon/stdio.h"
#include "shared/fd.h"
#include "shared/macros.h"

static const char *const names[3] = { "Stdin", "Stdout", "Stderr" };

/** stdio_init() - nothing given, nothing owned */
void stdio_init(Stdio *s) {
        *s = (Stdio){ .fds = g_array_new(FALSE, FALSE, sizeof(int)), .paths = g_byte_array_new() };
}

/** stdio_drop() - closes what the shim has got, or will not get */
void stdio_drop(Stdio *s) {
        for (guint i = 0; i < s->fds->len; i++)
                (void)safe_close(g_array_index(s->fds, int, i));
        g_array_set_size(s->fds, 0);
        g_byte_array_set_size(s->paths, 0);
}

/** stdio_done() - frees it with its descriptors */
void stdio_done(Stdio *s) {
        stdio_drop(s);
        g_array_unref(s->fds);
        g_byte_array_unref(s->paths);
}

static uint8_t *mode_of(struct shim_stdio *s, unsigned i) {
        return i == 0 ? &s->in : i == 1 ? &s->out : &s->err;
}

static void give(Stdio *s, int *fd) {
        int taken = take_fd(fd);

        g_array_append_val(s->fds, taken);
}

static int give_path(Stdio *s, const char *name, const char *path, sd_bus_error *error) {
        if (path[0] != '/')
                return error_invalid(error, "%s \"%s\" is not an absolute path.", name, path);
        if (s->paths->len + strlen(path) + 1 > SHIM_TEXT_MAX)
                return error_invalid(error, "%s \"%s\" is too long.", name, path);
        g_byte_array_append(s->paths, (const guint8 *)path, (guint)strlen(path) + 1);
        return 0;
}

/* The process's end, then the one that is kept. */
static int give_pipe(const Options *o, Stdio *s, unsigned stream) {
        bool drops = stream > 0 && o->drop_after_usec > 0;
        char text[24];
        int fds[2];

        *mode_of(&s->modes, stream) = drops ? SHIM_STDIO_DROP : SHIM_STDIO_PIPE;
        if (drops) {
                (void)snprintf(text, sizeof(text), "%" PRIu64, o->drop_after_usec);
                g_byte_array_append(s->paths, (const guint8 *)text, (guint)strlen(text) + 1);
        }
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        give(s, &fds[stream == 0 ? 0 : 1]);
        give(s, &fds[stream == 0 ? 1 : 0]);
        return 0;
}

/* What is not ours to read is not ours to drop. */
static bool drops_any(const Options *o) {
        return o->pipes && ((o->stdout_fd < 0 && !o->paths[1]) || (o->stderr_fd < 0 && !o->paths[2]));
}

static int check_exclusive(const Options *o, sd_bus_error *error) {
        const int *fds[3] = { &o->stdin_fd, &o->stdout_fd, &o->stderr_fd };

        for (unsigned i = 0; i < 3; i++)
                if (*fds[i] >= 0 && o->paths[i])
                        return error_invalid(error, "%s and %sPath exclude each other.", names[i], names[i]);
        if (!!o->output + !!o->log_path + !!o->pipes > 1)
                return error_invalid(error, "Output, LogPath and Pipes exclude each other.");
        if (o->drop_after_usec > 0 && !drops_any(o))
                return error_invalid(error, "DropAfterUSec is for outputs that are pipes; give Pipes as well.");
        return 0;
}

static int prepare_one(Options *o, unsigned i, Stdio *s, sd_bus_error *error) {
        int *fd = i == 0 ? &o->stdin_fd : i == 1 ? &o->stdout_fd : &o->stderr_fd;
        g_autofree char *name = g_strconcat(names[i], "Path", NULL);
        uint8_t *mode = mode_of(&s->modes, i);

        if (*fd >= 0) {
                *mode = SHIM_STDIO_FD;
                give(s, fd);
                return 0;
        }
        if (o->paths[i] || (o->log_path && i > 0)) {
                *mode = SHIM_STDIO_PATH;
                return give_path(s, o->paths[i] ? name : "LogPath", o->paths[i] ?: o->log_path, error);
        }
        if (o->pipes)
                return give_pipe(o, s, i);
        *mode = i == 0 || (o->output && streq(o->output, "null")) ? SHIM_STDIO_NULL : SHIM_STDIO_JOURNAL;
        return 0;
}

static bool any_stream(const Options *o) {
        return o->stdin_fd >= 0 || o->stdout_fd >= 0 || o->stderr_fd >= 0 || o->log_path || o->pipes ||
               o->drop_after_usec > 0 || o->paths[0] || o->paths[1] || o->paths[2];
}

/** stdio_prepare() - takes a start's streams out of the options; with a terminal none may be given */
int stdio_prepare(Options *o, bool terminal, Stdio *s, sd_bus_error *error) {
        int r = 0;

        if (terminal) {
                if (any_stream(o))
                        return error_invalid(error, "A process with a terminal takes no streams; use OpenTerminal.");
                s->modes.in = s->modes.out = s->modes.err = SHIM_STDIO_PTY;
        } else
                r = check_exclusive(o, error);
        for (unsigned i = 0; r >= 0 && !terminal && i < 3; i++)
                r = prepare_one(o, i, s, error);
        if (r < 0)
                return error_set_errno(error, r, "The streams cannot be made");
        for (guint i = 0; o->listen_fds && i < o->listen_fds->len; i++)
                g_array_append_val(s->fds, g_array_index(o->listen_fds, int, i));
        s->modes.n_listen_fds = o->listen_fds ? (uint8_t)o->listen_fds->len : 0;
        if (o->listen_fds)
                g_array_set_size(o->listen_fds, 0);
        return 0;
}

/** stdio_copy() - the same once more, with descriptors of its own; @to has been initialised */
int stdio_copy(const Stdio *from, Stdio *to) {
        to->modes = from->modes;
        g_byte_array_append(to->paths, from->paths->data, from->paths->len);
        for (guint i = 0; i < from->fds->len; i++) {
                int fd = fcntl(g_array_index(from->fds, int, i), F_DUPFD_CLOEXEC, 3);

                if (fd < 0)
                        return -errno;
                give(to, &fd);
        }
        return 0;
}

/** stdio_renew() - of one that was read from a record: new pipes in place of those that have gone. -ESTALE where
 * descriptors were a caller's, which nobody can make again. */
int stdio_renew(Stdio *s) {
        int fds[2];

        if (s->modes.n_listen_fds > 0)
                return -ESTALE;
        for (unsigned i = 0; i < 3; i++) {
                uint8_t mode = *mode_of(&s->modes, i);

                if (mode == SHIM_STDIO_FD)
                        return -ESTALE;
                if (mode != SHIM_STDIO_PIPE && mode != SHIM_STDIO_DROP)
                        continue;
                if (pipe2(fds, O_CLOEXEC) < 0)
                        return -errno;
                give(s, &fds[i == 0 ? 0 : 1]);
                give(s, &fds[i == 0 ? 1 : 0]);
        }
        return 0;
}

/** stdio_kept() - our end of a stream's pipe before the shim has got it, borrowed; -1 where there is none */
int stdio_kept(const Stdio *s, unsigned stream) {
        const uint8_t modes[3] = { s->modes.in, s->modes.out, s->modes.err };
        guint n = 0;

        for (unsigned i = 0; i < 3; i++) {
                bool pipe = modes[i] == SHIM_STDIO_PIPE || modes[i] == SHIM_STDIO_DROP;

                if (pipe && i == stream)
                        return n + 1 < s->fds->len ? g_array_index(s->fds, int, n + 1) : -1;
                n += pipe ? 2 : modes[i] == SHIM_STDIO_FD ? 1 : 0;
        }
        return -1;
}

/** stdio_drop_unknown() - whether a shim has failed because it does not know SHIM_STDIO_DROP: one that was there before
 * this manager, or whose launcher was, may be of an earlier version. f may be NULL. */
bool stdio_drop_unknown(const Stdio *s, const struct shim_failed *f) {
        bool drops = s->modes.out == SHIM_STDIO_DROP || s->modes.err == SHIM_STDIO_DROP;

        return drops && f && f->step == SHIM_STEP_STDIO && f->error == -EBADMSG;
}
