/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One connection of the manager's: a request, its progress, its result.
 *
 * The main thread carries the request out; a watcher thread meanwhile reports progress, at most ten times a second, and
 * cancels the job when the manager says so, goes away, or systemd sends SIGTERM. It alone reads the socket, and hands
 * over the roots that a collection waits for; packets are whole whoever of the two sends them. When an operation has
 * published something, the connection is kept until the manager closes it. A system call may wait for a stranger's
 * file system or terminal without end: what is cancelled and has not ended in time is ended with the process, which is
 * safe at any point, because the next operation sweeps away what a dead one has left.
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/store-protocol.h"
#include "store/error.h"
#include "store/request.h"
#include "store/wire.h"

#define PROGRESS_MSEC 100
#define CANCEL_SEC 30

typedef struct {
        int sock;
        int signal_fd;
        int done_fd;
        StoreJob job;
        struct store_progress last;
        gint64 deadline; /* the watcher's: 0 until the job is cancelled */
        GMutex lock;
        GCond changed;
        char *roots; /* under lock: what the manager answered to STORE_READY */
} Server;

static void send_progress(Server *s) {
        struct store_message head = { .version = STORE_PROTOCOL_VERSION, .type = STORE_PROGRESS };
        struct store_progress now = {
                .bytes_done = __atomic_load_n(&s->job.bytes_in, __ATOMIC_RELAXED),
                .bytes_total = __atomic_load_n(&s->job.bytes_total, __ATOMIC_RELAXED),
                .layers_done = (uint32_t)__atomic_load_n(&s->job.layers_done, __ATOMIC_RELAXED),
                .layers_total = (uint32_t)__atomic_load_n(&s->job.layers_total, __ATOMIC_RELAXED),
        };

        /* A layer that several images share is read for each of them. */
        if (now.bytes_total > 0)
                now.bytes_done = MIN(now.bytes_done, now.bytes_total);
        if (memcmp(&now, &s->last, sizeof(now)) == 0)
                return;
        s->last = now;
        /* A full socket means a busy manager: the next report says more anyway. */
        (void)packet_send(s->sock, &head, sizeof(head), &now, sizeof(now), NULL, 0, NULL, 0);
}

/* TRUE: the job is to be cancelled */
static gboolean watch_socket(Server *s) {
        g_auto(WireMessage) r = { .n_fds = 0 };
        int n = wire_receive(s->sock, &r, MSG_DONTWAIT);

        if (n == -EAGAIN)
                return FALSE;
        if (n <= 0 || r.head.type != STORE_ROOTS || !wire_text(&r, NULL))
                return n <= 0 || r.head.type == STORE_CANCEL || r.head.type == STORE_ROOTS;
        g_mutex_lock(&s->lock);
        g_free(s->roots);
        s->roots = g_steal_pointer(&r.text);
        g_cond_broadcast(&s->changed);
        g_mutex_unlock(&s->lock);
        return FALSE;
}

static void cancel(Server *s) {
        if (s->deadline == 0)
                s->deadline = g_get_monotonic_time() + CANCEL_SEC * G_USEC_PER_SEC;
        g_mutex_lock(&s->lock);
        store_job_cancel(&s->job);
        g_cond_broadcast(&s->changed);
        g_mutex_unlock(&s->lock);
}

/* The manager is to see the end even where the kernel keeps a thread, and with it the descriptors, for longer. */
static void check_deadline(Server *s) {
        if (s->deadline == 0 || g_get_monotonic_time() < s->deadline)
                return;
        log_error("The operation did not end within %d seconds of its cancellation", CANCEL_SEC);
        (void)shutdown(s->sock, SHUT_RDWR);
        _exit(EXIT_FAILURE);
}

/* Asks the manager for its roots; the watcher brings the answer, or cancels when there will be none. */
static char *ask_roots(void *userdata, GError **error) {
        Server *s = userdata;
        int r = wire_send(s->sock, STORE_READY, NULL, 0, NULL, 0, -1);
        char *roots;

        if (r < 0) {
                store_fail_errno(error, -r, "Cannot ask what is in use");
                return NULL;
        }
        g_mutex_lock(&s->lock);
        while (!s->roots && store_job_check(&s->job, NULL))
                g_cond_wait(&s->changed, &s->lock);
        roots = g_steal_pointer(&s->roots);
        g_mutex_unlock(&s->lock);
        if (!roots)
                (void)store_job_check(&s->job, error);
        return roots;
}

static gpointer watcher(gpointer data) {
        Server *s = data;
        struct pollfd fds[] = {
                { .fd = s->done_fd, .events = POLLIN },
                { .fd = s->signal_fd, .events = POLLIN },
                { .fd = s->sock, .events = POLLIN },
        };

        for (;;) {
                if (poll(fds, G_N_ELEMENTS(fds), PROGRESS_MSEC) < 0 && errno != EINTR)
                        return NULL;
                if (fds[0].revents)
                        return NULL;
                if (fds[1].revents) {
                        cancel(s);
                        fds[1].fd = -1;
                }
                if (fds[2].revents && watch_socket(s)) {
                        cancel(s);
                        fds[2].fd = -1;
                }
                check_deadline(s);
                send_progress(s);
        }
}

static char *serve(Server *s, Request *request, WireMessage *r, GError **error) {
        g_autoptr(GThread) thread = NULL;
        char *result;

        if (r->head.type != STORE_REQUEST) {
                store_fail(error, STORE_FAIL_INVALID, "The first message is not a request");
                return NULL;
        }
        if (!wire_text(r, error))
                return NULL;
        request->job = &s->job;
        request->fds = r->fds;
        request->n_fds = r->n_fds;
        request->roots = ask_roots;
        request->userdata = s;
        thread = g_thread_new("watcher", watcher, s);
        result = request_run(request, r->text, r->text_size, error);
        wire_message_clear(r); /* a pipe's writer sees that it was read; a close may block as well */
        (void)eventfd_write(s->done_fd, 1);
        (void)g_thread_join(g_steal_pointer(&thread));
        send_progress(s);
        if (result && strlen(result) > STORE_RESULT_MAX) {
                g_free(result);
                store_fail(error, STORE_FAIL_EXHAUSTED, "The result is larger than %u bytes", STORE_RESULT_MAX);
                return NULL;
        }
        return result;
}

/* Until the manager has written down what was published, and closes; or is gone, or systemd wants us to end. */
static void wait_closed(Server *s) {
        struct pollfd fds[] = {
                { .fd = s->signal_fd, .events = POLLIN },
                { .fd = s->sock, .events = POLLIN },
        };

        for (;;) {
                g_auto(WireMessage) r = { .n_fds = 0 };
                int n;

                if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
                        return;
                if (fds[0].revents)
                        return;
                n = wire_receive(s->sock, &r, MSG_DONTWAIT);
                if (n <= 0 && n != -EAGAIN)
                        return;
        }
}

static int answer(Server *s, const char *directory, RequestOrigin origin, WireMessage *r) {
        g_auto(Request) request = { .directory = directory, .origin = origin };
        g_autoptr(GError) error = NULL;
        g_autofree char *result = NULL;
        int n;

        if (store_job_init(&s->job, &error))
                result = serve(s, &request, r, &error);
        n = result ? wire_send_result(s->sock, result) : wire_send_error(s->sock, error);
        if (n >= 0 && request.held)
                wait_closed(s);
        return n;
}

/** server_run() - serve one connection; 0 when a result or an error has been delivered, else a negative errno */
int server_run(int sock, const char *directory, RequestOrigin origin) {
        Server s = { .sock = sock, .signal_fd = -1, .done_fd = -1, .job.cancel_fd = -1 };
        g_auto(WireMessage) r = { .n_fds = 0 };
        int n;

        n = wire_begin(sock, &r, &s.signal_fd);
        if (n <= 0)
                return n;
        s.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s.done_fd < 0)
                return -errno;
        g_mutex_init(&s.lock);
        g_cond_init(&s.changed);
        n = answer(&s, directory, origin, &r);
        g_free(s.roots);
        g_cond_clear(&s.changed);
        g_mutex_clear(&s.lock);
        store_job_done(&s.job);
        s.signal_fd = safe_close(s.signal_fd);
        s.done_fd = safe_close(s.done_fd);
        return n;
}
