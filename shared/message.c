/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Packets between manager, launcher, shim and store worker.
 *
 * One packet is one sendmsg or recvmsg on a SOCK_SEQPACKET socket; descriptors come with it or not at
 * all. Every length a peer states is compared with what really arrived before anyone reads a field.
 */

#include "shared/message.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "shared/macros.h"
#include "shared/shim-drop.h"
#include "shared/violation.h"

/* So often a message that the kernel has no memory for is tried again: what it says is worth more than a moment. */
#define SHORT_MAX 8U

/** packet_send() - send one packet
 *
 * @head, @body and @text are concatenated; sizes of 0 are skipped. The descriptors stay the caller's. Never raises
 * SIGPIPE.
 *
 * Return: 0, -EAGAIN when a non-blocking socket is full, -EPIPE or -ECONNRESET when the peer has gone, or a negative
 * errno.
 */
int packet_send(int sock, const void *head, size_t head_size, const void *body, size_t body_size, const void *text,
                size_t text_size, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int) * SHIM_FDS_MAX)];
        } control;
        struct iovec iov[3] = {
                { .iov_base = (void *)head, .iov_len = head_size },
                { .iov_base = (void *)body, .iov_len = body_size },
                { .iov_base = (void *)text, .iov_len = text_size },
        };
        struct msghdr message = { .msg_iov = iov, .msg_iovlen = ELEMENTSOF(iov) };

        if (n_fds > SHIM_FDS_MAX)
                return -E2BIG;
        if (n_fds > 0) {
                memset(&control, 0, CMSG_SPACE(sizeof(int) * n_fds));
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * n_fds);
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        }

        for (unsigned short_of = 0;;) {
                if (sendmsg(sock, &message, MSG_NOSIGNAL) >= 0)
                        return 0;
                if ((errno == ENOMEM || errno == ENOBUFS) && short_of++ < SHORT_MAX)
                        continue;
                if (errno != EINTR)
                        return -errno;
        }
}

static void packet_collect_fds(struct packet *p, struct msghdr *message) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (p->n_fds < SHIM_FDS_MAX)
                                p->fds[p->n_fds++] = fd;
                        else
                                (void)close(fd);
                }
        }
}

/** packet_recv() - receive one packet
 *
 * @p is overwritten; end it with packet_done(). All descriptors are close-on-exec.
 *
 * Return: 1 with a packet, 0 at end of file, -EAGAIN, -EMSGSIZE when the packet or its descriptors did not fit, or a
 * negative errno. With -EMSGSIZE no descriptor is kept, and the bytes where it was only descriptors that did not fit:
 * the kernel drops those of a process that has too many.
 */
int packet_recv(int sock, struct packet *p) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int) * SHIM_FDS_MAX)];
        } control;
        struct iovec iov = { .iov_base = p->data, .iov_len = sizeof(p->data) };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t n;

        p->size = 0;
        p->n_fds = 0;
        do
                n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        packet_collect_fds(p, &message);
        if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
                packet_done(p);
                if (!(message.msg_flags & MSG_TRUNC))
                        p->size = (size_t)n;
                return -EMSGSIZE;
        }
        if (n == 0) {
                packet_done(p);
                return 0;
        }
        p->size = (size_t)n;
        return 1;
}

/** packet_transient() - whether an error of packet_recv() says nothing about the connection: the next try may succeed
 */
bool packet_transient(int error) {
        return error == -EAGAIN || error == -EINTR || error == -ENOMEM || error == -ENOBUFS;
}

/** packet_take_fd() - make the caller the owner of the packet's @i-th descriptor
 *
 * Return: the descriptor, or -1 when there is none or it has been taken.
 */
int packet_take_fd(struct packet *p, size_t i) {
        return i < p->n_fds ? take_fd(&p->fds[i]) : -1;
}

/** packet_done() - close what nobody has taken */
void packet_done(struct packet *p) {
        for (size_t i = 0; i < p->n_fds; i++)
                p->fds[i] = safe_close(p->fds[i]);
        p->n_fds = 0;
        p->size = 0;
}

/** shim_started_at() - when the program of a SHIM_STARTED was executed: CLOCK_REALTIME in microseconds, as @now is
 *
 * The shim's own time, of which the message has a half, is the one that the next manager hears of, too.
 */
uint64_t shim_started_at(const struct shim_started *s, uint64_t now) {
        int32_t since = (int32_t)((uint32_t)now - s->started_at_low);

        return s->started_at_low > 0 ? now - (uint64_t)(int64_t)since : now;
}

/** shim_body_size() - size of the fixed part that follows struct shim_message, SIZE_MAX for a type that does not exist
 */
size_t shim_body_size(uint16_t type) {
        switch (type) {
        case LAUNCHER_HELLO:
                return sizeof(struct launcher_hello);
        case LAUNCHER_CHAIN:
                return sizeof(struct launcher_chain);
        case LAUNCHER_MOUNT:
                return sizeof(struct launcher_mount);
        case LAUNCHER_SHIM:
                return sizeof(struct launcher_shim);
        case LAUNCHER_FEATURES:
                return sizeof(struct launcher_features);
        case LAUNCHER_DUMP:
                return sizeof(struct launcher_dump);
        case LAUNCHER_DUMP_END:
                return sizeof(struct launcher_dump_end);
        case LAUNCHER_DUMP_DONE:
                return sizeof(struct launcher_dumped);
        case LAUNCHER_CHAIN_DONE:
        case LAUNCHER_DUMP_ENDED:
        case LAUNCHER_MOUNT_DONE:
        case LAUNCHER_REMOVE_DONE:
        case SHIM_REPLY:
                return sizeof(struct shim_result);
        case SHIM_LAUNCH:
                return sizeof(struct shim_launch);
        case SHIM_EXEC:
                return sizeof(struct shim_exec);
        case SHIM_KILL:
                return sizeof(struct shim_kill);
        case SHIM_STOP:
                return sizeof(struct shim_stop);
        case SHIM_RESIZE:
                return sizeof(struct shim_resize);
        case SHIM_CLOSE_STREAMS:
        case SHIM_STREAMS_OPEN:
                return sizeof(struct shim_streams);
        case SHIM_OPEN_STREAMS:
        case SHIM_TERMINAL:
                return sizeof(struct shim_target);
        case SHIM_CREATED:
                return sizeof(struct shim_created);
        case SHIM_STARTED:
                return sizeof(struct shim_started);
        case SHIM_FAILED:
                return sizeof(struct shim_failed);
        case SHIM_EXITED:
                return sizeof(struct shim_exited);
        case SHIM_STATE:
                return sizeof(struct shim_state);
        case SHIM_UNIFIED:
                return sizeof(struct shim_unified);
        case SHIM_OOM:
                return sizeof(struct shim_oom);
        case SHIM_VIOLATION:
                return sizeof(struct shim_violation);
        case SHIM_DROPPED:
                return sizeof(struct shim_dropped);
        case LAUNCHER_REMOVE:
        case SHIM_PARK:
        case SHIM_SCOPE:
        case SHIM_START:
        case SHIM_PAUSE:
        case SHIM_RESUME:
        case SHIM_PROCESSES:
        case SHIM_QUERY:
        case SHIM_DISCARD:
                return 0;
        default:
                return SIZE_MAX;
        }
}

/** shim_send() - send one message of shim-protocol.h
 *
 * @body: of the size shim_body_size() gives, may be NULL where that is 0. @text: NUL-terminated or NULL; too long a
 * text is cut. Return: as packet_send(); -EINVAL for an unknown type.
 */
int shim_send(int sock, uint16_t type, uint32_t serial, const void *body, const char *text, const int *fds,
              size_t n_fds) {
        return shim_send_text(sock, type, serial, body, text, text ? strlen(text) : 0, fds, n_fds);
}

/** shim_send_text() - shim_send() for a text that may hold NUL bytes (LAUNCHER_CHAIN, the records of SHIM_PROCESSES) */
int shim_send_text(int sock, uint16_t type, uint32_t serial, const void *body, const char *text, size_t text_size,
                   const int *fds, size_t n_fds) {
        size_t body_size = shim_body_size(type);
        struct shim_message head = {
                .version = SHIM_PROTOCOL_VERSION,
                .type = type,
                .n_fds = (uint16_t)n_fds,
                .serial = serial,
                .text_size = (uint32_t)(text_size > SHIM_TEXT_MAX ? SHIM_TEXT_MAX : text_size),
        };

        if (body_size == SIZE_MAX || (body_size > 0 && !body))
                return -EINVAL;
        return packet_send(sock, &head, sizeof(head), body, body_size, text, head.text_size, fds, n_fds);
}

/** shim_packet_check() - check a packet against shim-protocol.h and point at its parts
 *
 * @ret_text is not NUL-terminated; all pointers live as long as @p.
 *
 * Return: 0, -EPROTONOSUPPORT for another version, -EBADMSG for anything that does not fit.
 */
int shim_packet_check(const struct packet *p, const struct shim_message **ret, const void **ret_body,
                      const char **ret_text, size_t *ret_text_size) {
        const struct shim_message *m = (const void *)p->data;
        size_t body_size;

        if (p->size < sizeof(*m))
                return -EBADMSG;
        if (m->version != SHIM_PROTOCOL_VERSION)
                return -EPROTONOSUPPORT;
        body_size = shim_body_size(m->type);
        if (body_size == SIZE_MAX || m->text_size > SHIM_TEXT_MAX || m->n_fds != p->n_fds)
                return -EBADMSG;
        if (p->size != sizeof(*m) + body_size + m->text_size)
                return -EBADMSG;

        *ret = m;
        if (ret_body)
                *ret_body = p->data + sizeof(*m);
        if (ret_text)
                *ret_text = (const char *)p->data + sizeof(*m) + body_size;
        if (ret_text_size)
                *ret_text_size = m->text_size;
        return 0;
}
