/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Packets of a worker: requests of the manager's, results and errors for it.
 *
 * Header, text and descriptors of what arrives are compared with each other before anybody looks at them; a text that
 * does not fit a packet comes and goes as a sealed memfd. Descriptors of a message are its own until somebody takes
 * them. Nothing here knows what is asked for.
 */

#include "store/wire.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "store/error.h"

/** wire_message_clear() - closes the descriptors nobody has taken, and frees the text */
void wire_message_clear(WireMessage *m) {
        for (gsize i = 0; i < m->n_fds; i++)
                m->fds[i] = safe_close(m->fds[i]);
        m->n_fds = 0;
        g_clear_pointer(&m->text, g_free);
}

static void take_fds(struct msghdr *message, WireMessage *ret) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (gsize i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (ret->n_fds < WIRE_FDS_MAX)
                                ret->fds[ret->n_fds++] = fd;
                        else
                                (void)close(fd);
                }
        }
}

/** wire_receive() - one message; 1: it is there, 0: the manager is gone, or a negative errno */
int wire_receive(int sock, WireMessage *ret, int flags) {
        g_autofree char *data = g_malloc(sizeof(struct store_message) + STORE_TEXT_MAX);
        union {
                struct cmsghdr header;
                guint8 space[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
        } control;
        struct iovec iov = { data, sizeof(struct store_message) + STORE_TEXT_MAX };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        gssize n;

        do
                n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC | flags);
        while (n < 0 && errno == EINTR);
        if (n <= 0)
                return n < 0 ? -errno : 0;
        take_fds(&message, ret);
        if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || (gsize)n < sizeof(ret->head))
                return -EBADMSG;
        memcpy(&ret->head, data, sizeof(ret->head));
        ret->text_size = ret->head.text_size;
        if (ret->head.version != STORE_PROTOCOL_VERSION || ret->text_size != (gsize)n - sizeof(ret->head) ||
            ret->head.n_fds != ret->n_fds)
                return -EBADMSG;
        ret->text = g_strndup(data + sizeof(ret->head), ret->text_size);
        return 1;
}

/** wire_socket() - the connection we were started with: the passed descriptor or standard input; -1: neither is one */
int wire_socket(void) {
        const char *listen = getenv("LISTEN_FDS");
        int fd = listen && streq(listen, "1") ? 3 : STDIN_FILENO;
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? fd : -1;
}

/** wire_status() - the exit status after a connection that ended with @r */
int wire_status(int r) {
        if (r == -EPIPE || r == -ECONNRESET) /* a manager that has gone wants no answer */
                return EXIT_SUCCESS;
        if (r < 0)
                log_error_errno(r, "Connection ended without a result");
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/**
 * wire_begin() - waits for the request, after which signals are told by a descriptor.
 * @ret_signal_fd: readable once SIGTERM or SIGINT has come; the caller's.
 *
 * Returns 1; 0 where the peer has hung up, or a negative errno, both without a descriptor.
 */
int wire_begin(int sock, WireMessage *ret, int *ret_signal_fd) {
        _cleanup_close_ int fd = -1;
        sigset_t signals;
        int n;

        /* Until there is something to do, SIGTERM may simply end us. */
        n = fd_set_nonblock(sock, false);
        if (n >= 0)
                n = wire_receive(sock, ret, 0);
        if (n <= 0)
                return n;
        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigaddset(&signals, SIGINT);
        (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
        fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        n = fd_set_nonblock(sock, true);
        if (n < 0)
                return n;
        *ret_signal_fd = take_fd(&fd);
        return 1;
}

/** wire_send() - one message, waiting until the manager takes it; a descriptor stays the caller's */
int wire_send(int sock, uint16_t type, const void *body, gsize body_size, const char *text, gsize text_size, int fd) {
        struct store_message head = {
                .version = STORE_PROTOCOL_VERSION,
                .type = type,
                .n_fds = fd >= 0,
                .text_size = (uint32_t)text_size,
        };
        int r;

        while ((r = packet_send(sock, &head, sizeof(head), body, body_size, text, text_size, &fd, fd >= 0)) ==
               -EAGAIN) {
                struct pollfd p = { .fd = sock, .events = POLLOUT };

                if (poll(&p, 1, -1) < 0 && errno != EINTR)
                        return -errno;
        }
        return r;
}

/** wire_text() - see to it that a message has a text: one too large for a packet comes as the last descriptor */
gboolean wire_text(WireMessage *m, GError **error) {
        const void *data;
        gsize size;
        int n;

        if (m->text_size > 0)
                return TRUE;
        if (m->n_fds == 0)
                return store_fail(error, STORE_FAIL_INVALID, "A message without a text");
        n = memfd_map_sealed(m->fds[m->n_fds - 1], STORE_RESULT_MAX, &data, &size);
        if (n < 0)
                return store_fail_errno(error, -n, "Cannot read a message");
        g_free(m->text);
        m->text = g_strndup(data, size);
        m->text_size = size;
        (void)munmap((void *)data, size);
        m->n_fds--;
        m->fds[m->n_fds] = safe_close(m->fds[m->n_fds]);
        return TRUE;
}

/** wire_send_error() - the last message of an operation that failed, which is also logged; that it was cancelled is no
 * failure of ours: a pull ends the import that way when its registry fails, and that is told there */
int wire_send_error(int sock, const GError *error) {
        g_autoptr(JsonBuilder) b = json_builder_new();
        g_autoptr(JsonNode) root = NULL;
        g_autofree char *text = NULL, *valid = g_utf8_make_valid(error->message, -1), *message = g_strndup(valid, 4096);
        g_autofree char *again = g_utf8_make_valid(message, -1);

        json_builder_begin_object(b);
        json_builder_set_member_name(b, "error");
        json_builder_add_string_value(b, store_fail_word(error));
        json_builder_set_member_name(b, "message");
        json_builder_add_string_value(b, again);
        json_builder_end_object(b);
        root = json_builder_get_root(b);
        text = json_to_string(root, FALSE);
        log_write(store_fail_is_cancelled(error) ? LOG_DEBUG : LOG_ERR, "%s", again);
        return wire_send(sock, STORE_ERROR, NULL, 0, text, strlen(text), -1);
}

/** wire_send_result() - the last message of one that did not */
int wire_send_result(int sock, const char *text) {
        _cleanup_close_ int fd = -1;
        gsize size = strlen(text);

        if (size <= STORE_TEXT_MAX)
                return wire_send(sock, STORE_DONE, NULL, 0, text, size, -1);
        fd = memfd_sealed("davit-result", text, size);
        if (fd < 0)
                return fd;
        return wire_send(sock, STORE_DONE, NULL, 0, NULL, 0, fd);
}
