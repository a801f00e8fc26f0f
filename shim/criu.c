/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Talk with criu.
 *
 * criu is run as "criu swrk", with one end of a SOCK_SEQPACKET pair: it takes one request, tells of its steps and waits
 * to be let go on, answers, and ends. Messages are Protocol Buffers; of the many fields of rpc.proto only those are
 * known here that we use, the others are passed over. What criu says is believed as far as the kernel cannot be asked.
 */

#include "shim/criu.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "shared/fd.h"
#include "shared/message.h"

enum wire {
        WIRE_VARINT = 0,
        WIRE_64 = 1,
        WIRE_BYTES = 2,
        WIRE_32 = 5,
};

/* Fields of criu_req, criu_resp and what is in them. */
enum {
        REQUEST_TYPE = 1,
        REQUEST_OPTIONS = 2,
        REQUEST_NOTIFY_SUCCESS = 3,
        ANSWER_TYPE = 1,
        ANSWER_SUCCESS = 2,
        ANSWER_RESTORE = 4,
        ANSWER_NOTIFY = 5,
        ANSWER_ERRNO = 7,
        ANSWER_MESSAGE = 9,
        RESTORE_PID = 1,
        NOTIFY_SCRIPT = 1,
        INHERIT_KEY = 1,
        INHERIT_FD = 2,
};

#define LOG_SIZE_MAX (16U * 1024U * 1024U)

/** criu_find() - the program's path, which is static; NULL: it is not installed */
const char *criu_find(void) {
        static const char *const places[] = { "/usr/local/sbin/criu", "/usr/sbin/criu", "/usr/bin/criu", "/sbin/criu" };

        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                if (access(places[i], X_OK) >= 0)
                        return places[i];
        return NULL;
}

/** criu_run() - become criu, which reads its request from @sock; what else it is to have has to be inheritable
 *
 * Its streams are replaced: what it has to say goes into its log. Configuration of other users of criu's is not read.
 */
void criu_run(const char *program, int sock) {
        static const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL };
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        char number[16];
        sigset_t none;
        const char *const argv[] = { "criu", "--no-default-config", "swrk", number, NULL };

        (void)snprintf(number, sizeof(number), "%d", sock);
        for (int i = 0; i < 3; i++)
                if (null < 0 || dup2(null, i) < 0)
                        _exit(EXIT_FAILURE);
        (void)sigemptyset(&none);
        if (fcntl(sock, F_SETFD, 0) >= 0 && sigprocmask(SIG_SETMASK, &none, NULL) >= 0)
                (void)execve(program, (char *const *)argv, (char *const *)env);
        _exit(EXIT_FAILURE);
}

static void put(struct criu_message *m, const void *data, size_t size) {
        if (m->allocated - m->size < size) {
                size_t n = m->allocated * 2 + size + 256;
                uint8_t *grown = realloc(m->data, n);

                if (!grown) {
                        m->failed = true;
                        return;
                }
                m->data = grown;
                m->allocated = n;
        }
        if (size > 0)
                memcpy(m->data + m->size, data, size);
        m->size += size;
}

static void put_varint(struct criu_message *m, uint64_t value) {
        uint8_t bytes[10];
        size_t n = 0;

        for (; value >= 0x80; value >>= 7)
                bytes[n++] = (uint8_t)(value | 0x80);
        bytes[n++] = (uint8_t)value;
        put(m, bytes, n);
}

static void put_bytes(struct criu_message *m, uint32_t field, const void *data, size_t size) {
        put_varint(m, (uint64_t)field << 3 | WIRE_BYTES);
        put_varint(m, size);
        put(m, data, size);
}

/** criu_put_number() - an integer or a boolean */
void criu_put_number(struct criu_message *m, uint32_t option, uint64_t value) {
        put_varint(m, (uint64_t)option << 3 | WIRE_VARINT);
        put_varint(m, value);
}

/** criu_put_text() - a text, as printf(3) makes it */
void criu_put_text(struct criu_message *m, uint32_t option, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                m->failed = true;
                return;
        }
        put_bytes(m, option, text, (size_t)n);
}

/** criu_put_inherit() - a descriptor that criu is to use for what it finds under @key in the images */
void criu_put_inherit(struct criu_message *m, int fd, const char *key) {
        _cleanup_criu_ struct criu_message one = { .data = NULL };

        put_bytes(&one, INHERIT_KEY, key, strlen(key));
        criu_put_number(&one, INHERIT_FD, (uint64_t)fd);
        m->failed = m->failed || one.failed;
        put_bytes(m, CRIU_INHERIT_FD, one.data, one.size);
}

/** criu_put_all() - further fields, as they are */
void criu_put_all(struct criu_message *m, const void *data, size_t size) {
        put(m, data, size);
}

/** criu_finish() - the whole request, to be sent as one packet; -ENOMEM where something could not be put */
int criu_finish(struct criu_message *ret, enum criu_type type, const struct criu_message *options) {
        criu_put_number(ret, REQUEST_TYPE, type);
        put_bytes(ret, REQUEST_OPTIONS, options->data, options->size);
        return ret->failed || options->failed ? -ENOMEM : 0;
}

/** criu_go_on() - answer a CRIU_NOTIFY; without going on criu undoes what it can and fails */
int criu_go_on(int sock, bool go_on) {
        _cleanup_criu_ struct criu_message m = { .data = NULL };

        criu_put_number(&m, REQUEST_TYPE, CRIU_NOTIFY);
        criu_put_number(&m, REQUEST_NOTIFY_SUCCESS, go_on);
        if (m.failed)
                return -ENOMEM;
        return send(sock, m.data, m.size, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int get_varint(const uint8_t **data, size_t *size, uint64_t *ret) {
        *ret = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
                uint8_t byte;

                if (*size == 0)
                        return -EBADMSG;
                byte = *(*data)++;
                (*size)--;
                *ret |= (uint64_t)(byte & 0x7f) << shift;
                if (!(byte & 0x80))
                        return 0;
        }
        return -EBADMSG;
}

static int get_bytes(const uint8_t **data, size_t *size, uint64_t n, struct criu_field *ret) {
        if (n > *size)
                return -EBADMSG;
        ret->data = *data;
        ret->size = (size_t)n;
        *data += n;
        *size -= (size_t)n;
        return 1;
}

/** criu_field_next() - the next field of a message, which @data and @size are moved past
 *
 * Return: 1, 0 at the end, or -EBADMSG.
 */
int criu_field_next(const uint8_t **data, size_t *size, struct criu_field *ret) {
        uint64_t key;
        int r;

        *ret = (struct criu_field){ .number = 0 };
        if (*size == 0)
                return 0;
        r = get_varint(data, size, &key);
        if (r < 0 || key >> 3 > UINT32_MAX)
                return -EBADMSG;
        ret->number = (uint32_t)(key >> 3);
        switch (key & 7) {
        case WIRE_VARINT:
                return get_varint(data, size, &ret->value) < 0 ? -EBADMSG : 1;
        case WIRE_BYTES:
                r = get_varint(data, size, &key);
                return r < 0 ? r : get_bytes(data, size, key, ret);
        case WIRE_64:
                return get_bytes(data, size, 8, ret);
        case WIRE_32:
                return get_bytes(data, size, 4, ret);
        default:
                return -EBADMSG;
        }
}

/* As far as there is room. What criu says may quote what the container has chosen. */
static void copy_text(char *text, size_t room, const struct criu_field *f) {
        size_t n = 0;

        for (; f->data && n < f->size && n < room - 1; n++)
                text[n] = f->data[n] < ' ' || f->data[n] == 0x7f ? ' ' : (char)f->data[n];
        while (n > 0 && text[n - 1] == ' ')
                n--;
        text[n] = '\0';
}

static void answer_field(struct criu_answer *a, const struct criu_field *f) {
        struct criu_field inner;
        const uint8_t *data = f->data;
        size_t size = f->size;

        switch (f->number) {
        case ANSWER_TYPE:
                a->type = (uint32_t)f->value;
                break;
        case ANSWER_SUCCESS:
                a->success = f->value;
                break;
        case ANSWER_ERRNO:
                a->error = (int32_t)f->value;
                break;
        case ANSWER_MESSAGE:
                copy_text(a->message, sizeof(a->message), f);
                break;
        case ANSWER_RESTORE:
        case ANSWER_NOTIFY:
                while (data && criu_field_next(&data, &size, &inner) > 0)
                        if (f->number == ANSWER_RESTORE && inner.number == RESTORE_PID)
                                a->pid = (int32_t)inner.value;
                        else if (f->number == ANSWER_NOTIFY && inner.number == NOTIFY_SCRIPT)
                                copy_text(a->script, sizeof(a->script), &inner);
                break;
        default:
                break;
        }
}

/** criu_receive() - the next message of criu's
 *
 * Return: 1, 0 when criu has gone, -EAGAIN and its like (packet_transient()), or a negative errno.
 */
int criu_receive(int sock, struct criu_answer *ret) {
        struct packet p = PACKET_NULL;
        const uint8_t *data = p.data;
        struct criu_field f;
        int r;

        *ret = (struct criu_answer)CRIU_ANSWER_NULL;
        r = packet_recv(sock, &p);
        if (r <= 0)
                return r;
        for (size_t size = p.size; (r = criu_field_next(&data, &size, &f)) > 0;)
                answer_field(ret, &f);
        ret->fd = packet_take_fd(&p, 0);
        packet_done(&p);
        if (r < 0)
                ret->fd = safe_close(ret->fd);
        return r < 0 ? r : 1;
}

/** criu_errors() - the errors among what criu has said, each without where in criu it was, as far as there is room
 *
 * Lines are "(seconds.micros) pid: Error (file:line): what", the pid only where it is not the first process, and the
 * time only in a log.
 * @all: is taken to pieces; NULL is fine
 *
 * Return: whether there are any.
 */
bool criu_errors(char *all, char *text, size_t size) {
        char *next, *line;
        size_t n = 0;

        text[0] = '\0';
        for (next = all; (line = strsep(&next, "\n"));) {
                char *what = strstr(line, "Error (");

                what = what ? strstr(what, "): ") : NULL;
                if (!what || n >= size - 1)
                        continue;
                n += (size_t)snprintf(text + n, size - n, "%s%s", n > 0 ? "; " : "", what + 3);
        }
        for (char *p = text; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        *p = ' ';
        return n > 0;
}

/** criu_complaint() - the same of criu's log
 *
 * Return: 1 with a text, 0 where there is none, or a negative errno.
 */
int criu_complaint(int dir, const char *log, char *text, size_t size) {
        _cleanup_free_ char *all = NULL;
        int r;

        text[0] = '\0';
        r = file_read_at(dir, log, LOG_SIZE_MAX, &all, NULL);
        return r < 0 ? r : criu_errors(all, text, size);
}
