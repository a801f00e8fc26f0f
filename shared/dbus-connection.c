/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One connection to the system bus. Authentication and Hello go out in one write with whatever follows, so the first
 * answer takes one round trip; only a message with descriptors waits until the bus has said that it takes them. Writes
 * wait until the kernel has everything, reads never wait. libsystemd can do all this and more, but loading it takes
 * longer than a container's start leaves.
 */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "shared/dbus.h"

#define DEFAULT_ADDRESS "unix:path=/run/dbus/system_bus_socket"
#define HEADER_MIN 16U
#define RECEIVE_MIN 4096U

struct Connection {
        int fd;
        uint32_t serial;
        bool authenticated, takes_fds;
        char *out; /* what waits for authentication to have begun */
        size_t n_out;
        char *in;
        size_t n_in, space;
        int fds[DBUS_FDS_MAX];
        unsigned n_fds;
};

static int hex_digit(char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
}

/* The value of a key of one address, with %XX undone. */
static bool address_value(const char *address, size_t n, const char *key, char *ret, size_t size) {
        const char *p = address, *end = address + n;
        size_t k = strlen(key), out = 0;

        while (p < end && !((size_t)(end - p) > k && strncmp(p, key, k) == 0 && p[k] == '=')) {
                p = memchr(p, ',', (size_t)(end - p));
                if (!p)
                        return false;
                p++;
        }
        for (p += k + 1; p < end && *p != ',' && out + 1 < size; p++) {
                if (*p == '%' && end - p > 2 && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
                        ret[out++] = (char)(hex_digit(p[1]) << 4 | hex_digit(p[2]));
                        p += 2;
                } else
                        ret[out++] = *p;
        }
        ret[out] = '\0';
        return out > 0 && (p >= end || *p == ',');
}

static int connect_one(const char *address, size_t n) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        socklen_t length;
        int fd;

        if (n < 5 || strncmp(address, "unix:", 5) != 0)
                return -EPROTONOSUPPORT;
        if (address_value(address + 5, n - 5, "path", sa.sun_path, sizeof(sa.sun_path)))
                length = sizeof(sa);
        else if (address_value(address + 5, n - 5, "abstract", sa.sun_path + 1, sizeof(sa.sun_path) - 1))
                length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(sa.sun_path + 1));
        else
                return -EPROTONOSUPPORT;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *)&sa, length) < 0) {
                int error = -errno;

                (void)close(fd);
                return error;
        }
        return fd;
}

static int connect_address(const char *address) {
        int r = -ENOENT;

        while (*address) {
                size_t n = strcspn(address, ";");

                r = connect_one(address, n);
                if (r >= 0)
                        return r;
                address += n;
                address += *address == ';';
        }
        return r;
}

static int queue(Connection *c, const void *data, size_t size) {
        char *more = realloc(c->out, c->n_out + size);

        if (!more)
                return -ENOMEM;
        memcpy(more + c->n_out, data, size);
        c->out = more;
        c->n_out += size;
        return 0;
}

static int queue_auth(Connection *c) {
        char uid[16], line[128], *p = line;

        (void)snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
        p += sprintf(p, "%cAUTH EXTERNAL ", 0);
        for (const char *u = uid; *u; u++)
                p += sprintf(p, "%02x", (unsigned char)*u);
        p += sprintf(p, "\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n");
        return queue(c, line, (size_t)(p - line));
}

static int queue_message(Connection *c, Message *m) {
        _cleanup_free_ char *header = NULL;
        size_t n;
        int r;

        m->serial = ++c->serial;
        r = message_header(m, &header, &n);
        if (r >= 0)
                r = queue(c, header, n);
        return r < 0 || m->size == 0 ? r : queue(c, m->data, m->size);
}

static int queue_hello(Connection *c) {
        _cleanup_message_ Message *m = message_new("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello");

        if (!m)
                return -ENOMEM;
        m->destination = "org.freedesktop.DBus";
        return queue_message(c, m);
}

/** connection_open() - connects to the system bus; NULL and a negative errno where that fails */
Connection *connection_open(int *ret_error) {
        const char *address = getenv("DBUS_SYSTEM_BUS_ADDRESS");
        Connection *c = calloc(1, sizeof(*c));

        *ret_error = -ENOMEM;
        if (!c)
                return NULL;
        c->fd = connect_address(address && *address ? address : DEFAULT_ADDRESS);
        *ret_error = c->fd;
        if (c->fd >= 0)
                *ret_error = queue_auth(c);
        if (*ret_error >= 0)
                *ret_error = queue_hello(c);
        if (*ret_error >= 0)
                return c;
        connection_close(c);
        return NULL;
}

/** connection_close() - ends a connection */
void connection_close(Connection *c) {
        for (unsigned i = 0; i < c->n_fds; i++)
                (void)close(c->fds[i]);
        (void)safe_close(c->fd);
        free(c->out);
        free(c->in);
        free(c);
}

/** connection_fd() - becomes readable when there is something to receive */
int connection_fd(const Connection *c) {
        return c->fd;
}

static int wait_for(int fd, short events, int timeout_ms) {
        struct pollfd p = { .fd = fd, .events = events };
        int r = poll(&p, 1, timeout_ms);

        return r < 0 ? -errno : r;
}

/** connection_wait() - waits until there is something to receive; 0 when the time is up */
int connection_wait(Connection *c, int timeout_ms) {
        return wait_for(c->fd, POLLIN, timeout_ms);
}

/* Sends all that is queued, descriptors with its first byte. */
static int flush(Connection *c, const int *fds, unsigned n_fds) {
        union {
                struct cmsghdr align;
                char data[CMSG_SPACE(sizeof(int) * DBUS_FDS_MAX)];
        } control = {};

        for (size_t sent = 0; sent < c->n_out;) {
                struct iovec iov = { c->out + sent, c->n_out - sent };
                struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
                ssize_t n;

                if (n_fds > 0) {
                        mh.msg_control = &control;
                        mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                        control.align.cmsg_level = SOL_SOCKET;
                        control.align.cmsg_type = SCM_RIGHTS;
                        control.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                        memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n_fds);
                }
                n = sendmsg(c->fd, &mh, MSG_NOSIGNAL);
                if (n >= 0) {
                        sent += (size_t)n;
                        n_fds = 0;
                } else if (errno != EAGAIN && errno != EINTR)
                        return -errno;
                else if (wait_for(c->fd, POLLOUT, -1) < 0 && errno != EINTR)
                        return -errno;
        }
        c->n_out = 0;
        return 0;
}

/* Descriptors that have come with some bytes wait for the message that names them. */
static int keep_fds(Connection *c, struct msghdr *mh) {
        for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
                size_t n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(fd));
                        if (c->n_fds < DBUS_FDS_MAX)
                                c->fds[c->n_fds++] = fd;
                        else
                                (void)close(fd);
                }
        }
        return mh->msg_flags & MSG_CTRUNC ? -EBADMSG : 0;
}

/* Reads what is there. 1: something; 0: nothing yet. */
static int fill(Connection *c) {
        union {
                struct cmsghdr align;
                char data[CMSG_SPACE(sizeof(int) * DBUS_FDS_MAX)];
        } control;
        struct iovec iov;
        struct msghdr mh = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        ssize_t n;

        if (c->space - c->n_in < RECEIVE_MIN) {
                size_t space = c->space * 2 + RECEIVE_MIN;
                char *more = realloc(c->in, space);

                if (!more)
                        return -ENOMEM;
                c->in = more;
                c->space = space;
        }
        iov = (struct iovec){ c->in + c->n_in, c->space - c->n_in };
        n = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0)
                return -ECONNRESET;
        c->n_in += (size_t)n;
        return keep_fds(c, &mh) < 0 ? -EBADMSG : 1;
}

static void drop(Connection *c, size_t n) {
        c->n_in -= n;
        memmove(c->in, c->in + n, c->n_in);
}

/* The bus's two lines. 1: both are there; 0: not yet. */
static int read_auth(Connection *c) {
        char *first = c->n_in > 0 ? memmem(c->in, c->n_in, "\r\n", 2) : NULL, *second;

        if (!first)
                return 0;
        if (strncmp(c->in, "OK ", 3) != 0)
                return -EACCES;
        second = memmem(first + 2, c->n_in - (size_t)(first + 2 - c->in), "\r\n", 2);
        if (!second)
                return 0;
        c->takes_fds = second - first == 15 && memcmp(first + 2, "AGREE_UNIX_FD", 13) == 0;
        drop(c, (size_t)(second + 2 - c->in));
        c->authenticated = true;
        return 1;
}

static int authenticate(Connection *c) {
        int r;

        while (!c->authenticated) {
                r = read_auth(c);
                if (r == 0)
                        r = fill(c);
                if (r == 0)
                        r = connection_wait(c, -1);
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return c->takes_fds ? 0 : -EOPNOTSUPP;
}

/** connection_send() - sends a message, which stays the caller's; @ret_serial: what the answer will name */
int connection_send(Connection *c, Message *m, uint32_t *ret_serial) {
        int r;

        if (m->failed < 0)
                return m->failed;
        if (m->depth > 0)
                return -EPROTOTYPE;
        if (m->n_fds > 0 && !c->authenticated) {
                r = flush(c, NULL, 0);
                if (r >= 0)
                        r = authenticate(c);
                if (r < 0)
                        return r;
        }
        r = queue_message(c, m);
        if (r >= 0)
                r = flush(c, m->fds, m->n_fds);
        if (r >= 0)
                *ret_serial = m->serial;
        return r;
}

/* The size of the message that begins the buffer; 0: not all of its header is there. */
static int64_t message_size(const Connection *c) {
        uint32_t body, fields;
        uint64_t size;

        if (c->n_in < HEADER_MIN)
                return 0;
        if (c->in[0] != (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 'l' : 'B') || c->in[3] != 1)
                return -EBADMSG;
        memcpy(&body, c->in + 4, sizeof(body));
        memcpy(&fields, c->in + 12, sizeof(fields));
        size = HEADER_MIN + (((uint64_t)fields + 7) & ~UINT64_C(7)) + body;
        return size > DBUS_SIZE_MAX ? -EBADMSG : (int64_t)size;
}

static int take_message(Connection *c, size_t size, Message **ret) {
        unsigned n_fds = c->n_fds;
        char *data = malloc(size);

        if (!data)
                return -ENOMEM;
        memcpy(data, c->in, size);
        *ret = message_parse(data, size, c->fds, &n_fds);
        if (!*ret)
                return -EBADMSG;
        c->n_fds -= n_fds;
        memmove(c->fds, c->fds + n_fds, c->n_fds * sizeof(*c->fds));
        drop(c, size);
        return 1;
}

/** connection_receive() - the next message that has come; 0: none has */
int connection_receive(Connection *c, Message **ret) {
        int r;

        for (;;) {
                if (c->authenticated) {
                        int64_t size = message_size(c);

                        if (size < 0)
                                return (int)size;
                        if (size > 0 && (uint64_t)size <= c->n_in)
                                return take_message(c, (size_t)size, ret);
                } else {
                        r = read_auth(c);
                        if (r != 0) {
                                if (r < 0)
                                        return r;
                                continue;
                        }
                }
                r = fill(c);
                if (r <= 0)
                        return r;
        }
}
