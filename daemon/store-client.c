/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Client of the workers: the store's, and the registry's, which differ in what they are asked and nothing else.
 *
 * systemd starts a worker for each connection, so an operation is a socket, a request and a handler that is called
 * exactly once: with the worker's result, with its error, or with an error that says that the worker died. The worker
 * reads what strangers wrote and may have been taken over by it: here every packet is measured, every text is bounded
 * and parsed with a limited depth, and an error name has to be one of the family. What a result means is checked by its
 * user.
 *
 * It never blocks and never starts a process. Closing the socket is the last word: the worker stops and leaves nothing
 * behind.
 */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "daemon/error.h"
#include "daemon/store-client.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/name.h"

#define PACKET_MAX (sizeof(struct store_message) + sizeof(struct store_progress) + STORE_TEXT_MAX)
#define JSON_DEPTH_MAX 16U
#define ERROR_TEXT_MAX 1024U
#define CANCEL_USEC (10 * USEC_PER_SEC)

static const char *socket_path = DAVIT_STORE_SOCKET;

static const StoreWorker store_worker = { "store worker", "davit-store.socket", "davit-store@*" };

struct StoreOp {
        int sock;
        sd_event_source *io;
        sd_event_source *timer; /* patience after a cancellation */
        StoreHandlers handlers;
        void *userdata;
        bool heard; /* the worker has said something */
        bool cancel_asked;
        bool ended;
};

/* A received packet, its parts checked against each other. */
typedef struct StorePacket {
        struct store_message head;
        uint8_t *data;
        const uint8_t *rest; /* behind the head */
        size_t rest_size;
        int fd;
} StorePacket;

/* Brackets outside of strings: the parser recurses, so the depth has to be known before it runs. */
static bool depth_ok(const char *text, size_t size) {
        unsigned depth = 0;
        bool quoted = false;

        for (size_t i = 0; i < size; i++) {
                char c = text[i];

                if (quoted) {
                        if (c == '\\')
                                i++;
                        else if (c == '"')
                                quoted = false;
                } else if (c == '"')
                        quoted = true;
                else if (c == '[' || c == '{') {
                        if (++depth > JSON_DEPTH_MAX)
                                return false;
                } else if ((c == ']' || c == '}') && depth > 0)
                        depth--;
                else if (c == '\'' || c == '/')
                        return false; /* not JSON, but json-glib knows such quotes and comments */
        }
        return true;
}

/**
 * store_text_parse() - a worker's text as a JSON object, to be unreferenced by the caller
 *
 * Return: -EBADMSG when it is not UTF-8, no JSON, nested too deeply, or no object.
 */
int store_text_parse(const char *text, size_t size, JsonObject **ret) {
        g_autoptr(JsonParser) parser = NULL;
        JsonNode *root;

        if (size == 0 || !g_utf8_validate(text, (gssize)size, NULL) || !depth_ok(text, size))
                return -EBADMSG;
        parser = json_parser_new();
        if (!json_parser_load_from_data(parser, text, (gssize)size, NULL))
                return -EBADMSG;
        root = json_parser_get_root(parser);
        if (!root || !JSON_NODE_HOLDS_OBJECT(root))
                return -EBADMSG;

        *ret = json_node_dup_object(root);
        return 0;
}

/** store_op_free() - gives an operation up: the worker sees the end of the connection, no handler is called */
StoreOp *store_op_free(StoreOp *op) {
        if (!op)
                return NULL;

        sd_event_source_disable_unref(op->timer);
        sd_event_source_disable_unref(op->io);
        (void)safe_close(op->sock);
        g_free(op);
        return NULL;
}

/** store_op_cancel_asked() - whether store_op_cancel() was called: an error is then the answer to it */
bool store_op_cancel_asked(const StoreOp *op) {
        return op->cancel_asked;
}

static void op_end(StoreOp *op, JsonObject *result, const sd_bus_error *error) {
        op->ended = true;
        op->io = sd_event_source_disable_unref(op->io);
        op->timer = sd_event_source_disable_unref(op->timer);
        op->handlers.done(op, result, error, op->userdata);
        (void)store_op_free(op);
}

static void _printf_(3, 4) op_fail(StoreOp *op, ErrorKind kind, const char *format, ...) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree char *sentence = NULL;
        va_list ap;

        va_start(ap, format);
        sentence = g_strdup_vprintf(format, ap);
        va_end(ap);
        (void)error_set(&error, kind, "%s", sentence);
        op_end(op, NULL, &error);
}

static void op_fail_protocol(StoreOp *op, const char *what) {
        const char *name = op->handlers.worker->name;

        log_warning("A %s broke the protocol: %s; the operation is given up", name, what);
        op_fail(op, ERROR_INTERNAL, "The %s gave an answer that cannot be used; the journal of davitd says more.",
                name);
}

static void op_fail_gone(StoreOp *op) {
        const StoreWorker *w = op->handlers.worker;

        if (op->cancel_asked)
                op_fail(op, ERROR_FAILED_PRECONDITION, "The operation was cancelled.");
        else if (op->heard)
                op_fail(op, ERROR_INTERNAL,
                        "The %s died before it was done, nothing was changed; see journalctl -u '%s'.", w->name,
                        w->units);
        else
                op_fail(op, ERROR_UNAVAILABLE,
                        "The %s ended before it answered; see systemctl status %s and journalctl -u '%s', then try "
                        "again.",
                        w->name, w->socket, w->units);
}

static int send_packet(int sock, uint16_t type, const char *text, size_t text_size, const int *fds, size_t n_fds) {
        struct store_message head = {
                .version = STORE_PROTOCOL_VERSION,
                .type = type,
                .n_fds = (uint16_t)n_fds,
                .text_size = (uint32_t)text_size,
        };

        return packet_send(sock, &head, sizeof(head), NULL, 0, text, text_size, fds, n_fds);
}

/* A text that does not fit a packet travels as the last descriptor. */
static int send_object(int sock, uint16_t type, JsonObject *object, const int *fds, size_t n_fds) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        g_autofree char *text = NULL;
        _cleanup_close_ int memory = -1;
        int all[SHIM_FDS_MAX];
        size_t size;

        json_node_set_object(node, object);
        text = json_to_string(node, FALSE);
        size = strlen(text);
        if (size <= STORE_TEXT_MAX)
                return send_packet(sock, type, text, size, fds, n_fds);
        if (size > STORE_RESULT_MAX || n_fds + 1 > ELEMENTSOF(all))
                return -E2BIG;

        memory = memfd_sealed("davit-store-request", text, size);
        if (memory < 0)
                return memory;
        if (n_fds > 0)
                memcpy(all, fds, n_fds * sizeof(int));
        all[n_fds] = memory;
        return send_packet(sock, type, NULL, 0, all, n_fds + 1);
}

/* Keeps what a stranger may have written printable and short: nothing of it steers a terminal or turns its letters. */
static char *clean_sentence(const char *text) {
        GString *s = g_string_new(NULL);

        for (guint n = 0; *text && n < ERROR_TEXT_MAX; text = g_utf8_next_char(text), n++) {
                gunichar c = g_utf8_get_char(text);

                g_string_append_unichar(s, g_unichar_isprint(c) ? c : ' ');
        }
        return g_string_free(s, FALSE);
}

static void handle_error(StoreOp *op, JsonObject *o) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree char *sentence = NULL;
        const char *name, *message;
        JsonNode *n = json_object_get_member(o, "error"), *m = json_object_get_member(o, "message");
        ErrorKind kind;

        if (!n || !m || json_node_get_value_type(n) != G_TYPE_STRING || json_node_get_value_type(m) != G_TYPE_STRING) {
                op_fail_protocol(op, "an error without \"error\" and \"message\"");
                return;
        }
        name = json_node_get_string(n);
        message = json_node_get_string(m);
        if (!error_kind_from_name(name, &kind)) {
                op_fail_protocol(op, "an error name outside of the family");
                return;
        }

        sentence = clean_sentence(message);
        (void)error_set(&error, kind, "%s", sentence);
        op_end(op, NULL, &error);
}

/* The text is in the packet, or in a sealed memfd when it would not fit. */
static int packet_json(const StorePacket *p, JsonObject **ret) {
        const void *map;
        size_t size;
        int r;

        if (p->head.text_size > 0)
                return store_text_parse((const char *)p->rest, p->head.text_size, ret);
        if (p->fd < 0)
                return -EBADMSG;

        r = memfd_map_sealed(p->fd, STORE_RESULT_MAX, &map, &size);
        if (r < 0)
                return r;
        r = store_text_parse(map, size, ret);
        (void)munmap((void *)map, size);
        return r;
}

static void handle_progress(StoreOp *op, const StorePacket *p) {
        struct store_progress progress;

        if (p->rest_size != sizeof(progress)) {
                op_fail_protocol(op, "progress of a wrong size");
                return;
        }
        memcpy(&progress, p->rest, sizeof(progress));
        if (progress.bytes_total > 0 && progress.bytes_done > progress.bytes_total)
                progress.bytes_done = progress.bytes_total;
        if (op->handlers.progress)
                op->handlers.progress(op, &progress, op->userdata);
}

/* The worker waits for nothing else: the socket has room for one packet. */
static void handle_ready(StoreOp *op) {
        g_autoptr(JsonObject) roots = op->handlers.ready(op, op->userdata);
        int r = send_object(op->sock, STORE_ROOTS, roots, NULL, 0);

        if (r < 0) {
                (void)log_warning_errno(r, "Cannot tell a store worker what is in use");
                op_fail(op, ERROR_UNAVAILABLE, "The store worker could not be told what is in use.");
        }
}

static void handle_packet(StoreOp *op, const StorePacket *p) {
        g_autoptr(JsonObject) o = NULL;

        op->heard = true;
        if (p->head.type == STORE_PROGRESS) {
                handle_progress(op, p);
                return;
        }
        if (p->head.type == STORE_READY && p->rest_size == 0 && op->handlers.ready) {
                handle_ready(op);
                return;
        }
        if (p->head.type != STORE_DONE && p->head.type != STORE_ERROR) {
                op_fail_protocol(op, "a packet of unknown type");
                return;
        }
        if (p->rest_size != p->head.text_size || packet_json(p, &o) < 0) {
                op_fail_protocol(op, "a text that is not the JSON object it should be");
                return;
        }

        if (p->head.type == STORE_ERROR)
                handle_error(op, o);
        else
                op_end(op, o, NULL);
}

/* More than one descriptor is never sent; those beyond are closed here. */
static int collect_fds(struct msghdr *message, int *ret_fd) {
        int n = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                size_t k;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < k; i++, n++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (n == 0)
                                *ret_fd = fd;
                        else
                                (void)safe_close(fd);
                }
        }
        return n;
}

/*
 * 1: a packet whose head, sizes and descriptors agree; 0: the worker has gone. ECONNRESET comes once, when it has gone
 * without reading all we sent (a cancellation); what it had said before is still to be had behind that.
 */
static int packet_receive(int sock, StorePacket *p) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int) * 4)];
        } control;
        struct iovec iov = { .iov_base = p->data, .iov_len = PACKET_MAX };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        ssize_t n;
        int n_fds;

        do
                n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        while (n < 0 && (errno == EINTR || errno == ECONNRESET));
        if (n < 0)
                return -errno;

        n_fds = collect_fds(&message, &p->fd);
        if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
                return -EMSGSIZE;
        if (n == 0)
                return 0;
        if ((size_t)n < sizeof(p->head))
                return -EBADMSG;

        memcpy(&p->head, p->data, sizeof(p->head));
        p->rest = p->data + sizeof(p->head);
        p->rest_size = (size_t)n - sizeof(p->head);
        if (p->head.version != STORE_PROTOCOL_VERSION)
                return -EPROTONOSUPPORT;
        if (p->head.n_fds != n_fds || n_fds > 1 || p->head.text_size > STORE_TEXT_MAX)
                return -EBADMSG;
        return 1;
}

static int on_io(sd_event_source *source _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        _cleanup_free_ uint8_t *data = NULL;
        StoreOp *op = userdata;
        StorePacket p = { .fd = -1 };
        int r;

        data = malloc(PACKET_MAX);
        if (!data)
                return -ENOMEM;

        p.data = data;
        r = packet_receive(fd, &p);
        if (r == -EAGAIN)
                return 0;
        if (r == 0)
                op_fail_gone(op);
        else if (r < 0)
                op_fail_protocol(op, strerror(-r));
        else
                handle_packet(op, &p);
        (void)safe_close(p.fd);
        return 0;
}

/**
 * store_op_start_on() - begins an operation on a connected socket
 * @sock: SOCK_SEQPACKET; taken over in any case
 * @request: the JSON object of the operation
 * @fds: stay the caller's
 * @ret: owned by itself once this succeeds: freed after the done handler, or by store_op_free()
 */
int store_op_start_on(sd_event *event, int sock, JsonObject *request, const int *fds, size_t n_fds,
                      const StoreHandlers *handlers, void *userdata, StoreOp **ret, sd_bus_error *error) {
        StoreOp *op = g_new0(StoreOp, 1);
        int r;

        op->sock = sock;
        op->handlers = *handlers;
        if (!op->handlers.worker)
                op->handlers.worker = &store_worker;
        op->userdata = userdata;
        r = fd_set_nonblock(sock, true);
        if (r >= 0)
                r = send_object(sock, STORE_REQUEST, request, fds, n_fds);
        if (r >= 0)
                r = sd_event_add_io(event, &op->io, sock, EPOLLIN, on_io, op);
        if (r < 0) {
                const char *name = op->handlers.worker->name;

                (void)store_op_free(op);
                if (r == -E2BIG)
                        return error_set(error, ERROR_RESOURCE_EXHAUSTED, "The request to the %s is too large.", name);
                return error_unavailable(error, "Cannot send the request to a %s: %s.", name, strerror(-r));
        }

        *ret = op;
        return 0;
}

/** store_set_socket() - another place than DAVIT_STORE_SOCKET, for tests that play the store; kept by reference */
void store_set_socket(const char *path) {
        socket_path = path;
}

/** store_op_start_at() - store_op_start_on() over a new connection to a socket of the store; NULL: the usual one */
int store_op_start_at(sd_event *event, const char *path, JsonObject *request, const int *fds, size_t n_fds,
                      const StoreHandlers *handlers, void *userdata, StoreOp **ret, sd_bus_error *error) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const StoreWorker *w = handlers->worker ?: &store_worker;
        int sock;

        if (!path)
                path = socket_path;
        if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path))
                return error_internal(error, "The path of a %s's socket is too long.", w->name);
        sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (sock < 0)
                return error_set_errno(error, -errno, "Cannot make a socket for a %s", w->name);
        if (connect(sock, (const struct sockaddr *)&address, sizeof(address)) < 0) {
                int saved = errno;

                (void)safe_close(sock);
                return error_unavailable(error, "No %s answers at %s (%s); see systemctl status %s.", w->name, path,
                                         strerror(saved), w->socket);
        }
        return store_op_start_on(event, sock, request, fds, n_fds, handlers, userdata, ret, error);
}

/** store_op_start() - store_op_start_at() the store's usual socket */
int store_op_start(sd_event *event, JsonObject *request, const int *fds, size_t n_fds, const StoreHandlers *handlers,
                   void *userdata, StoreOp **ret, sd_bus_error *error) {
        return store_op_start_at(event, NULL, request, fds, n_fds, handlers, userdata, ret, error);
}

static int on_patience_over(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        op_fail_gone(userdata);
        return 0;
}

/**
 * store_op_cancel() - asks the worker to stop
 *
 * The done handler still comes: with an error, or with the result when the worker was faster. A worker that does not
 * answer is left alone after ten seconds.
 */
void store_op_cancel(StoreOp *op) {
        sd_event *event = sd_event_source_get_event(op->io);
        int r;

        if (op->cancel_asked || op->ended)
                return;

        op->cancel_asked = true;
        (void)send_packet(op->sock, STORE_CANCEL, NULL, 0, NULL, 0); /* a worker that has gone is heard of by on_io() */
        r = sd_event_add_time_relative(event, &op->timer, CLOCK_MONOTONIC, CANCEL_USEC, 0, on_patience_over, op);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot limit the time of a cancellation");
}
