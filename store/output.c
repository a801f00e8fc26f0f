/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing to a descriptor of the caller's.
 *
 * The other end is a stranger: it may stop reading for ever, so no write waits without end, and every wait ends with
 * the job. The caller's open file description is left as it is (its O_NONBLOCK is shared with the caller): a pipe is
 * opened again, a socket is written with MSG_DONTWAIT. A regular file is written from where its offset stands and is
 * not cut. The descriptor stays the caller's.
 */

#include "store/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/error.h"

struct Output {
        StoreJob *job;
        int fd;
        int own_fd; /* the pipe, opened again */
        int patience_msec;
        gboolean waits; /* a write may have to wait for the other end */
        gboolean socket;
        gsize piece; /* bytes that may be written at once after POLLOUT */
        guint64 size;
};

/* 1: go on, 0: nobody takes anything, -1: error */
static int wait_ready(Output *o, GError **error) {
        struct pollfd fds[] = {
                { .fd = o->fd, .events = POLLOUT },
                { .fd = o->job->cancel_fd, .events = POLLIN },
        };
        int n;

        do
                n = poll(fds, G_N_ELEMENTS(fds), o->patience_msec);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return store_fail_errno(error, errno, "Cannot wait for the reader"), -1;
        if (!store_job_check(o->job, error))
                return -1;
        return n > 0;
}

static gssize write_some(Output *o, const void *data, gsize size) {
        size = MIN(size, o->piece);
        return o->socket ? send(o->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) : write(o->fd, data, size);
}

/** output_write() - all of @data, or an error; a reader that takes nothing for the patience given ends it */
gboolean output_write(Output *o, const void *data, gsize size, GError **error) {
        const guint8 *at = data;

        while (size > 0) {
                gssize n;
                int r = o->waits ? wait_ready(o, error) : store_job_check(o->job, error) ? 1 : -1;

                if (r < 0)
                        return FALSE;
                if (r == 0)
                        return store_fail(error, STORE_FAIL_EXHAUSTED, "The reader took nothing for %d seconds",
                                          o->patience_msec / 1000);
                n = write_some(o, at, size);
                if (n < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (n < 0 && errno == EPIPE)
                        return store_fail(error, STORE_FAIL_CANCELLED, "The reader has gone");
                if (n < 0)
                        return store_fail_errno(error, errno, "Cannot write the output");
                at += n;
                size -= (gsize)n;
                o->size += (guint64)n;
        }
        return TRUE;
}

gboolean output_zeros(Output *o, gsize size, GError **error) {
        static const guint8 zeros[1024];

        for (gsize n; size > 0; size -= n) {
                n = MIN(size, sizeof(zeros));
                if (!output_write(o, zeros, n, error))
                        return FALSE;
        }
        return TRUE;
}

gboolean output_copy(Output *o, Stream *from, guint64 *ret_size, GError **error) {
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        gssize n;

        *ret_size = 0;
        while ((n = stream_read(from, buffer, STREAM_CHUNK, error)) > 0) {
                if (!output_write(o, buffer, (gsize)n, error))
                        return FALSE;
                *ret_size += (guint64)n;
        }
        return n == 0;
}

guint64 output_size(const Output *o) {
        return o->size;
}

/* A description of our own for a pipe, so that not blocking is ours alone; without it small pieces never block. */
static void pipe_open(Output *o) {
        char path[64];

        (void)g_snprintf(path, sizeof(path), "/proc/self/fd/%d", o->fd);
        o->own_fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (o->own_fd >= 0)
                o->fd = o->own_fd;
        else
                o->piece = PIPE_BUF;
}

/** output_new() - write to @fd, a pipe, stream socket, regular file or character device */
Output *output_new(StoreJob *job, int fd, int patience_msec, GError **error) {
        struct stat st;
        int flags = fcntl(fd, F_GETFL);
        Output *o;

        if (flags < 0 || fstat(fd, &st) < 0) {
                store_fail_errno(error, errno, "Cannot look at the output");
                return NULL;
        }
        if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH)) {
                store_fail(error, STORE_FAIL_INVALID, "The output is not open for writing");
                return NULL;
        }
        if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode) && !S_ISCHR(st.st_mode)) {
                store_fail(error, STORE_FAIL_INVALID, "The output is neither a file, a pipe nor a socket");
                return NULL;
        }
        o = g_new(Output, 1);
        *o = (Output){ .job = job, .fd = fd, .own_fd = -1, .patience_msec = patience_msec, .piece = G_MAXSSIZE };
        o->waits = !S_ISREG(st.st_mode);
        o->socket = S_ISSOCK(st.st_mode);
        if (S_ISFIFO(st.st_mode))
                pipe_open(o);
        return o;
}

void output_free(Output *o) {
        o->own_fd = safe_close(o->own_fd);
        g_free(o);
}
