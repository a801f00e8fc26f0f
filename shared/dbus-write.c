/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing D-Bus messages, in this machine's byte order. A message is a body that grows, a signature that grows with it,
 * and a stack of open containers. The first failure sticks, so a caller may look at the last result alone. Texts must
 * be UTF-8, since the bus ends the connection of a client that sends others. Descriptors are duplicated.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "shared/dbus.h"
#include "shared/utf8.h"

/** dbus_align_of() - the alignment of values of a type */
size_t dbus_align_of(char type) {
        switch (type) {
        case 'y':
        case 'g':
        case 'v':
                return 1;
        case 'n':
        case 'q':
                return 2;
        case 'x':
        case 't':
        case 'd':
        case '(':
        case '{':
        case 'r':
        case 'e':
                return 8;
        default:
                return 4;
        }
}

/** dbus_type_length() - the characters of the first complete type of a signature; 0 where it is none */
size_t dbus_type_length(const char *types, size_t n) {
        size_t i = 0, depth = 0;

        while (i < n) {
                char c = types[i++];

                if (c == 'a')
                        continue;
                if (c == '(' || c == '{')
                        depth++;
                else if (c == ')' || c == '}') {
                        if (depth == 0)
                                return 0;
                        depth--;
                }
                if (depth == 0)
                        return i;
        }
        return 0;
}

/** message_new() - a call of a method; the strings stay the caller's. NULL where memory ran out. */
Message *message_new(const char *path, const char *interface, const char *member) {
        Message *m = calloc(1, sizeof(*m));

        if (!m)
                return NULL;
        m->type = DBUS_CALL;
        m->path = path;
        m->interface = interface;
        m->member = member;
        return m;
}

/** message_copy() - a call that was written without descriptors, once more; path is what the other's says and stays the
 * caller's, as do the other strings. NULL where memory ran out. */
Message *message_copy(const Message *m, const char *path) {
        _cleanup_message_ Message *copy = message_new(path, m->interface, m->member);

        if (!copy)
                return NULL;
        copy->destination = m->destination;
        if (m->size > 0) {
                copy->data = malloc(m->size);
                copy->types = strdup(m->types);
                if (!copy->data || !copy->types)
                        return NULL;
                memcpy(copy->data, m->data, m->size);
                copy->size = copy->space = m->size;
                copy->n_types = m->n_types;
        }
        return TAKE_PTR(copy);
}

/** message_free() - frees a message, written or read, and closes its descriptors */
void message_free(Message *m) {
        for (unsigned i = 0; i < m->n_fds; i++)
                (void)safe_close(m->fds[i]);
        free(m->data);
        free(m->types);
        free(m);
}

static int fail(Message *m, int error) {
        if (m->failed >= 0)
                m->failed = error;
        return m->failed;
}

static int put(Message *m, const void *data, size_t size, size_t align) {
        size_t at = (m->size + align - 1) & ~(align - 1);

        if (m->failed < 0)
                return m->failed;
        if (size > DBUS_SIZE_MAX || at + size > DBUS_SIZE_MAX)
                return fail(m, -E2BIG);
        if (at + size > m->space) {
                size_t space = (at + size) * 2 + 256;
                char *more = realloc(m->data, space);

                if (!more)
                        return fail(m, -ENOMEM);
                m->data = more;
                m->space = space;
        }
        memset(m->data + m->size, 0, at - m->size);
        if (size > 0)
                memcpy(m->data + at, data, size);
        m->size = at + size;
        return 0;
}

/* Types of the body itself are its signature; those in a container have been named when it was opened. */
static int put_types(Message *m, const char *types, size_t n) {
        char *more;

        if (m->depth > 0 || m->failed < 0)
                return m->failed;
        if (m->n_types + n > 255)
                return fail(m, -E2BIG);
        more = realloc(m->types, m->n_types + n + 1);
        if (!more)
                return fail(m, -ENOMEM);
        memcpy(more + m->n_types, types, n);
        m->n_types += n;
        more[m->n_types] = '\0';
        m->types = more;
        return 0;
}

static int put_string(Message *m, const char *s) {
        uint32_t n;

        for (size_t i = 0, length; s[i]; i += length) {
                length = utf8_length(s + i);
                if (length == 0)
                        return fail(m, -EINVAL);
        }
        n = (uint32_t)strlen(s);
        if (put(m, &n, sizeof(n), 4) < 0)
                return m->failed;
        return put(m, s, (size_t)n + 1, 1);
}

static int put_fd(Message *m, int fd) {
        uint32_t index = m->n_fds;

        if (m->n_fds >= DBUS_FDS_MAX)
                return fail(m, -E2BIG);
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return fail(m, -errno);
        m->fds[m->n_fds++] = fd;
        return put(m, &index, sizeof(index), 4);
}

typedef struct Arguments {
        va_list list;
} Arguments;

/* NOLINTBEGIN(clang-analyzer-valist.Uninitialized): the list is begun by message_appendv(), in the structure */
static int append_basic(Message *m, char type, Arguments *a) {
        uint64_t t;
        uint32_t u;
        uint16_t q;
        uint8_t y;
        double d;

        switch (type) {
        case 'y':
                y = (uint8_t)va_arg(a->list, int);
                return put(m, &y, sizeof(y), 1);
        case 'n':
        case 'q':
                q = (uint16_t)va_arg(a->list, int);
                return put(m, &q, sizeof(q), 2);
        case 'd':
                d = va_arg(a->list, double);
                return put(m, &d, sizeof(d), 8);
        case 's':
        case 'o':
                return put_string(m, va_arg(a->list, const char *));
        case 'b':
        case 'i':
        case 'u':
                u = va_arg(a->list, uint32_t);
                return put(m, &u, sizeof(u), 4);
        case 'x':
        case 't':
                t = va_arg(a->list, uint64_t);
                return put(m, &t, sizeof(t), 8);
        case 'h':
                return put_fd(m, va_arg(a->list, int));
        default:
                return fail(m, -EPROTOTYPE);
        }
}

static int append_types(Message *m, const char *types, size_t n, Arguments *a);

static int append_container(Message *m, const char *types, size_t n, Arguments *a) {
        const char *variant = types[0] == 'v' ? va_arg(a->list, const char *) : NULL;
        unsigned count = types[0] == 'a' ? va_arg(a->list, unsigned) : 1;
        size_t length = variant ? strlen(variant) : types[0] == 'a' ? n - 1 : n - 2;
        char contents[256];

        if (length >= sizeof(contents))
                return fail(m, -E2BIG);
        memcpy(contents, variant ?: types + 1, length);
        contents[length] = '\0';
        (void)message_open(m, types[0] == '(' ? 'r' : types[0] == '{' ? 'e' : types[0], contents);
        for (unsigned i = 0; i < count && m->failed >= 0; i++)
                (void)append_types(m, contents, length, a);
        return message_close(m);
}

/* NOLINTEND(clang-analyzer-valist.Uninitialized) */

static int append_types(Message *m, const char *types, size_t n, Arguments *a) {
        for (size_t i = 0, length; i < n && m->failed >= 0; i += length) {
                length = dbus_type_length(types + i, n - i);
                if (length == 0)
                        return fail(m, -EPROTOTYPE);
                if (strchr("av({", types[i]))
                        (void)append_container(m, types + i, length, a);
                else {
                        (void)put_types(m, types + i, 1);
                        (void)append_basic(m, types[i], a);
                }
        }
        return m->failed;
}

/** message_appendv() - values of these types: as in sd-bus, an array takes its count first, a variant its contents'
 * type */
int message_appendv(Message *m, const char *types, va_list ap) {
        Arguments a;
        int r;

        va_copy(a.list, ap);
        r = append_types(m, types, strlen(types), &a);
        va_end(a.list);
        return r;
}

/** message_append() - see message_appendv() */
int message_append(Message *m, const char *types, ...) {
        va_list ap;
        int r;

        va_start(ap, types);
        r = message_appendv(m, types, ap);
        va_end(ap);
        return r;
}

/** message_append_strv() - a NULL-terminated vector, NULL is an empty one */
int message_append_strv(Message *m, char *const *v) {
        (void)message_open(m, 'a', "s");
        for (; v && *v; v++)
                (void)message_append(m, "s", *v);
        return message_close(m);
}

static void name_container(Message *m, char type, const char *contents) {
        size_t n = strlen(contents);

        if (type == 'v') {
                (void)put_types(m, "v", 1);
                return;
        }
        (void)put_types(m, type == 'a' ? "a" : type == 'r' ? "(" : "{", 1);
        (void)put_types(m, contents, n);
        if (type != 'a')
                (void)put_types(m, type == 'r' ? ")" : "}", 1);
}

/** message_open() - begins a container: 'a', 'r', 'e' or 'v' with the types of its contents */
int message_open(Message *m, char type, const char *contents) {
        uint32_t size = 0;
        uint8_t n = (uint8_t)strlen(contents);
        Frame *frame;

        name_container(m, type, contents);
        if (m->failed < 0)
                return m->failed;
        if (m->depth >= DBUS_DEPTH_MAX)
                return fail(m, -E2BIG);
        frame = &m->frames[m->depth++];
        *frame = (Frame){ .type = type };
        if (type == 'a') {
                (void)put(m, &size, sizeof(size), 4);
                frame->size_at = m->size - sizeof(size);
                (void)put(m, NULL, 0, dbus_align_of(contents[0]));
                frame->begin = m->size;
        } else if (type == 'v') {
                (void)put(m, &n, 1, 1);
                (void)put(m, contents, (size_t)n + 1, 1);
        } else
                (void)put(m, NULL, 0, 8);
        return m->failed;
}

/** message_close() - ends the container opened last */
int message_close(Message *m) {
        uint32_t size;

        if (m->failed < 0)
                return m->failed;
        if (m->depth == 0)
                return fail(m, -EPROTOTYPE);
        m->depth--;
        if (m->frames[m->depth].type == 'a') {
                size = (uint32_t)(m->size - m->frames[m->depth].begin);
                memcpy(m->data + m->frames[m->depth].size_at, &size, sizeof(size));
        }
        return 0;
}

/** message_header() - the bytes before the body; @ret: to free */
int message_header(const Message *m, char **ret, size_t *ret_size) {
        const struct {
                uint8_t code;
                const char *type, *value;
        } fields[] = { { 1, "o", m->path },
                       { 2, "s", m->interface },
                       { 3, "s", m->member },
                       { 6, "s", m->destination },
                       { 8, "g", m->types } };
        uint8_t head[4] = { __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 'l' : 'B', m->type, m->flags, 1 };
        uint32_t words[3] = { (uint32_t)m->size, m->serial, 0 }, n_fds = m->n_fds;
        _cleanup_message_ Message *h = calloc(1, sizeof(*h));

        if (!h)
                return -ENOMEM;
        (void)put(h, head, sizeof(head), 1);
        (void)put(h, words, sizeof(words), 4);
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                uint8_t type[3] = { 1, (uint8_t)fields[i].type[0], 0 }, n;

                if (!fields[i].value)
                        continue;
                (void)put(h, &fields[i].code, 1, 8);
                (void)put(h, type, sizeof(type), 1);
                if (fields[i].type[0] != 'g') {
                        (void)put_string(h, fields[i].value);
                        continue;
                }
                n = (uint8_t)strlen(fields[i].value);
                (void)put(h, &n, 1, 1);
                (void)put(h, fields[i].value, (size_t)n + 1, 1);
        }
        if (n_fds > 0) {
                (void)put(h, "\011\001u", 4, 8);
                (void)put(h, &n_fds, sizeof(n_fds), 4);
        }
        if (h->failed < 0)
                return h->failed;
        words[2] = (uint32_t)(h->size - 16);
        memcpy(h->data + 12, &words[2], sizeof(words[2]));
        (void)put(h, NULL, 0, 8);
        if (h->failed < 0)
                return h->failed;
        *ret_size = h->size;
        *ret = TAKE_PTR(h->data);
        return 0;
}
