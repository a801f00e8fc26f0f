/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The one place where the worker waits.
 *
 * It waits for everything at once: the network, the reader of the output, the manager, who may cancel or go away, and
 * systemd. The output is never written to further than it takes; what it has not taken is kept, and whoever produces it
 * asks operation_full() before going on, so that a slow reader costs no memory. The descriptors stay the caller's.
 */

#include "registry/operation.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "store/error.h"
#include "store/wire.h"

#define PROGRESS_USEC (100 * 1000)
#define PIPE_SIZE (1 << 20)

/** operation_init() - begin one; @out is made non-blocking */
gboolean operation_init(Operation *o, int sock, int signal_fd, int out, GError **error) {
        int r = out >= 0 ? fd_set_nonblock(out, true) : 0;

        *o = (Operation){ .sock = sock, .signal_fd = signal_fd, .out = out };
        if (r < 0)
                return store_fail_errno(error, -r, "Cannot write to the output");
        if (out >= 0)
                (void)fcntl(out, F_SETPIPE_SZ, PIPE_SIZE); /* no pipe, or too many of this user's: slower, no more */
        o->pending = g_byte_array_new();
        o->multi = curl_multi_init();
        return o->multi ? TRUE : store_fail(error, STORE_FAIL_INTERNAL, "Cannot set up the network library");
}

void operation_done(Operation *o) {
        g_clear_pointer(&o->pending, g_byte_array_unref);
        if (o->multi)
                (void)curl_multi_cleanup(o->multi);
        o->multi = NULL;
}

/** operation_full() - whether the output has to take something before there may be more */
gboolean operation_full(const Operation *o) {
        return o->pending->len > o->pending_at;
}

/* Writes what is taken at once. */
static gboolean write_some(Operation *o, const guint8 *data, gsize size, gsize *ret, GError **error) {
        *ret = 0;
        while (*ret < size) {
                gssize n = write(o->out, data + *ret, size - *ret);

                if (n >= 0)
                        *ret += (gsize)n;
                else if (errno == EAGAIN)
                        return TRUE;
                else if (errno != EINTR)
                        return store_fail_errno(error, errno, "Cannot write to the output");
        }
        return TRUE;
}

/** operation_write() - to the output; what it does not take at once is kept */
gboolean operation_write(Operation *o, const void *data, gsize size, GError **error) {
        gsize n = 0;

        if (!operation_full(o) && !write_some(o, data, size, &n, error))
                return FALSE;
        g_byte_array_append(o->pending, (const guint8 *)data + n, (guint)(size - n));
        return TRUE;
}

static gboolean write_pending(Operation *o, GError **error) {
        gsize n;

        if (!write_some(o, o->pending->data + o->pending_at, o->pending->len - o->pending_at, &n, error))
                return FALSE;
        o->pending_at += n;
        if (!operation_full(o)) {
                g_byte_array_set_size(o->pending, 0);
                o->pending_at = 0;
        }
        return TRUE;
}

static void send_progress(Operation *o) {
        struct store_message head = { .version = STORE_PROTOCOL_VERSION, .type = STORE_PROGRESS };
        gint64 now = g_get_monotonic_time();

        if (o->sock < 0 || now < o->told_at + PROGRESS_USEC || memcmp(&o->progress, &o->told, sizeof(o->told)) == 0)
                return;
        o->told = o->progress;
        o->told_at = now;
        /* A full socket means a busy manager: the next report says more anyway. */
        (void)packet_send(o->sock, &head, sizeof(head), &o->told, sizeof(o->told), NULL, 0, NULL, 0);
}

/* After the request a manager has nothing to say but that it is enough. */
static gboolean was_cancelled(const Operation *o) {
        g_auto(WireMessage) m = { .n_fds = 0 };

        return wire_receive(o->sock, &m, MSG_DONTWAIT) != -EAGAIN;
}

/** operation_wait() - until something happens, at most for @msec; FALSE when the operation is over */
gboolean operation_wait(Operation *o, int msec, GError **error) {
        struct curl_waitfd fds[3];
        unsigned n = 0;
        int r;

        if (o->sock >= 0)
                fds[n++] = (struct curl_waitfd){ .fd = o->sock, .events = CURL_WAIT_POLLIN };
        if (o->signal_fd >= 0)
                fds[n++] = (struct curl_waitfd){ .fd = o->signal_fd, .events = CURL_WAIT_POLLIN };
        if (operation_full(o))
                fds[n++] = (struct curl_waitfd){ .fd = o->out, .events = CURL_WAIT_POLLOUT };
        r = (int)curl_multi_poll(o->multi, fds, n, msec, NULL);
        if (r != CURLM_OK)
                return store_fail(error, STORE_FAIL_INTERNAL, "Cannot wait for the network: %s",
                                  curl_multi_strerror((CURLMcode)r));
        for (unsigned i = 0; i < n; i++) {
                if (fds[i].revents == 0)
                        continue;
                if (fds[i].fd == o->signal_fd || (fds[i].fd == o->sock && was_cancelled(o)))
                        return store_fail(error, STORE_FAIL_CANCELLED, "The operation was cancelled");
                if (fds[i].fd == o->out && !write_pending(o, error))
                        return FALSE;
        }
        send_progress(o);
        return TRUE;
}

/** operation_pause() - let time pass, as long as nobody ends the operation */
gboolean operation_pause(Operation *o, gint64 usec, GError **error) {
        gint64 until = g_get_monotonic_time() + usec, left;

        while ((left = until - g_get_monotonic_time()) > 0)
                if (!operation_wait(o, (int)(left / 1000) + 1, error))
                        return FALSE;
        return TRUE;
}

/** operation_flush() - until the output has taken everything */
gboolean operation_flush(Operation *o, GError **error) {
        while (operation_full(o))
                if (!operation_wait(o, PROGRESS_USEC / 1000, error))
                        return FALSE;
        return TRUE;
}
