/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading D-Bus messages where they lie. Strings point into the message and descriptors stay its own: both live as long
 * as it does. Every length and offset is checked before it is used, so a wrong message is an error and nothing else.
 * What the body holds is read by naming its types, as it was written; a wrong name is an error, too.
 */

#include <errno.h>
#include <string.h>

#include "shared/dbus.h"

static Frame *top(Message *m) {
        return &m->frames[m->depth];
}

static bool at_end(const Message *m) {
        const Frame *f = &m->frames[m->depth];

        return f->type == 'a' ? m->position >= f->end : f->next >= f->n_types;
}

static int align(Message *m, size_t to) {
        size_t at = m->body + ((m->position - m->body + to - 1) & ~(to - 1));

        if (at > top(m)->end)
                return -EBADMSG;
        m->position = at;
        return 0;
}

/* @ret: into the message. */
static int take(Message *m, size_t size, size_t alignment, const char **ret) {
        int r = align(m, alignment);

        if (r < 0)
                return r;
        if (size > top(m)->end - m->position)
                return -EBADMSG;
        *ret = m->data + m->position;
        m->position += size;
        return 0;
}

static int take_u32(Message *m, uint32_t *ret) {
        const char *p;
        int r = take(m, sizeof(*ret), 4, &p);

        if (r >= 0)
                memcpy(ret, p, sizeof(*ret));
        return r;
}

/* A string of n bytes and its NUL. */
static int take_string(Message *m, size_t n, const char **ret) {
        int r = take(m, n + 1, 1, ret);

        if (r < 0)
                return r;
        return (*ret)[n] != '\0' || strlen(*ret) != n ? -EBADMSG : 0;
}

static int take_signature(Message *m, const char **ret) {
        const char *n;
        int r = take(m, 1, 1, &n);

        return r < 0 ? r : take_string(m, (uint8_t)*n, ret);
}

/* Where the next type must be this one, steps over it; an array begins anew with each element. */
static int expect(Message *m, const char *types, size_t n) {
        Frame *f = top(m);

        if (n > f->n_types - f->next || memcmp(f->types + f->next, types, n) != 0)
                return -ENXIO;
        f->next += n;
        if (f->type == 'a')
                f->next = 0;
        return 0;
}

static int read_text(Message *m, char type, const char **ret) {
        uint32_t n;
        int r;

        if (type == 'g')
                return take_signature(m, ret);
        r = take_u32(m, &n);
        return r < 0 ? r : take_string(m, n, ret);
}

static int read_fd(Message *m, int *ret) {
        uint32_t index;
        int r = take_u32(m, &index);

        if (r < 0)
                return r;
        if (index >= m->n_fds)
                return -EBADMSG;
        *ret = m->fds[index];
        return 0;
}

/** message_read_basic() - one value; @ret: of the type's C type (b: int), may be NULL */
int message_read_basic(Message *m, char type, void *ret) {
        const char *p;
        int fd, r;

        if (at_end(m))
                return 0;
        r = expect(m, &type, 1);
        if (r < 0)
                return r;
        if (strchr("sog", type)) {
                r = read_text(m, type, &p);
                if (r >= 0 && ret)
                        *(const char **)ret = p;
        } else if (type == 'h') {
                r = read_fd(m, &fd);
                if (r >= 0 && ret)
                        *(int *)ret = fd;
        } else {
                size_t size = dbus_align_of(type);

                r = take(m, size, size, &p);
                if (r >= 0 && ret)
                        memcpy(ret, p, size);
        }
        return r < 0 ? r : 1;
}

static int push(Message *m, char type, const char *types, size_t n, size_t end) {
        if (m->depth + 1 >= DBUS_DEPTH_MAX)
                return -EBADMSG;
        m->frames[++m->depth] = (Frame){ .type = type, .types = types, .n_types = n, .end = end };
        return 1;
}

static int enter_array(Message *m, const char *element, size_t n) {
        uint32_t size;
        int r;

        r = take_u32(m, &size);
        if (r >= 0)
                r = align(m, dbus_align_of(element[0]));
        if (r < 0)
                return r;
        if (size > top(m)->end - m->position)
                return -EBADMSG;
        return push(m, 'a', element, n, m->position + size);
}

static int enter_variant(Message *m, const char *contents) {
        const char *types;
        int r;

        r = take_signature(m, &types);
        if (r < 0)
                return r;
        if ((contents && !streq(contents, types)) || dbus_type_length(types, strlen(types)) != strlen(types))
                return -ENXIO;
        return push(m, 'v', types, strlen(types), top(m)->end);
}

/** message_enter() - enters the container that comes next; contents: its types, or NULL for any */
int message_enter(Message *m, char type, const char *contents) {
        const Frame *f = top(m);
        const char *types = f->types + f->next, *inner;
        size_t length, n;
        int r;

        if (at_end(m))
                return 0;
        length = dbus_type_length(types, f->n_types - f->next);
        if (length == 0 || message_peek(m) != type || ((type == 'r' || type == 'e') && length < 3))
                return -ENXIO;
        inner = types + 1;
        n = type == 'a' ? length - 1 : length - 2;
        if (type != 'v' && contents && (strlen(contents) != n || memcmp(contents, inner, n) != 0))
                return -ENXIO;
        r = expect(m, types, length);
        if (r < 0)
                return r;
        if (type == 'a')
                return enter_array(m, inner, n);
        if (type == 'v')
                return enter_variant(m, contents);
        r = align(m, 8);
        return r < 0 ? r : push(m, type, inner, n, top(m)->end);
}

static int skip_one(Message *m);

/** message_exit() - leaves the container entered last, past what is left in it */
int message_exit(Message *m) {
        if (m->depth == 0)
                return -EPROTOTYPE;
        if (top(m)->type == 'a')
                m->position = top(m)->end;
        while (!at_end(m)) {
                int r = skip_one(m);

                if (r < 0)
                        return r;
        }
        m->depth--;
        return 1;
}

/** message_rewind() - reads the body once more, from its beginning */
void message_rewind(Message *m) {
        m->position = m->body;
        m->depth = 0;
        m->frames[0].next = 0;
}

/** message_peek() - the kind of what comes next: a basic type, 'a', 'r', 'e' or 'v'; 0 at the end */
char message_peek(const Message *m) {
        const Frame *f = &m->frames[m->depth];
        char c;

        if (at_end(m))
                return 0;
        c = f->types[f->next];
        return c == '(' ? 'r' : c == '{' ? 'e' : c;
}

/** message_peek_map() - whether an array of dictionary entries comes next */
bool message_peek_map(const Message *m) {
        const Frame *f = &m->frames[m->depth];

        return message_peek(m) == 'a' && f->n_types - f->next > 1 && f->types[f->next + 1] == '{';
}

static int skip_one(Message *m) {
        char type = message_peek(m);
        int r;

        if (!strchr("arev", type))
                return message_read_basic(m, type, NULL);
        r = message_enter(m, type, NULL);
        return r <= 0 ? r : message_exit(m);
}

/** message_skip() - steps over values of these types */
int message_skip(Message *m, const char *types) {
        size_t n = strlen(types);

        for (size_t i = 0, length; i < n; i += length) {
                const Frame *f = top(m);
                int r;

                length = dbus_type_length(types + i, n - i);
                if (length == 0 || length > f->n_types - f->next || memcmp(f->types + f->next, types + i, length) != 0)
                        return -ENXIO;
                r = skip_one(m);
                if (r <= 0)
                        return r < 0 ? r : -ENXIO;
        }
        return 1;
}

typedef struct Places {
        va_list list;
} Places;

/* NOLINTBEGIN(clang-analyzer-valist.Uninitialized): the list is begun by message_read(), in the structure */
static int read_types(Message *m, const char *types, size_t n, Places *places) {
        for (size_t i = 0, length; i < n; i += length) {
                const char *inside = types + i + 1;
                char kind = types[i] == '(' ? 'r' : types[i] == '{' ? 'e' : types[i];
                size_t n_inside;
                int r;

                length = dbus_type_length(types + i, n - i);
                if (length == 0 || kind == 'a')
                        return -EPROTOTYPE;
                if (!strchr("rev", kind)) {
                        r = message_read_basic(m, kind, va_arg(places->list, void *));
                        if (r <= 0)
                                return r < 0 || i == 0 ? r : -ENXIO;
                        continue;
                }
                if (kind == 'v')
                        inside = va_arg(places->list, const char *);
                n_inside = kind == 'v' ? strlen(inside) : length - 2;
                r = message_enter(m, kind, kind == 'v' ? inside : NULL);
                if (r <= 0)
                        return r < 0 || i == 0 ? r : -ENXIO;
                r = read_types(m, inside, n_inside, places);
                if (r > 0)
                        r = message_exit(m);
                if (r <= 0)
                        return r < 0 ? r : -ENXIO;
        }
        return 1;
}

/* NOLINTEND(clang-analyzer-valist.Uninitialized) */

/** message_read() - values of these types into what the pointers point to, NULL for those not wanted; no arrays */
int message_read(Message *m, const char *types, ...) {
        Places places;
        int r;

        va_start(places.list, types);
        r = read_types(m, types, strlen(types), &places);
        va_end(places.list);
        return r;
}

/** message_read_strv() - an array of strings as a NULL-terminated vector to free with its strings */
int message_read_strv(Message *m, char ***ret) {
        char **v = calloc(1, sizeof(*v)), **more;
        const char *s;
        size_t n = 0;
        int r;

        if (!v)
                return -ENOMEM;
        r = message_enter(m, 'a', "s");
        while (r > 0 && (r = message_read_basic(m, 's', &s)) > 0) {
                more = reallocarray(v, n + 2, sizeof(*v));
                if (more) {
                        v = more;
                        v[n] = strdup(s);
                }
                if (!more || !v[n]) {
                        r = -ENOMEM;
                        break;
                }
                v[++n] = NULL;
        }
        if (r >= 0)
                r = message_exit(m);
        if (r >= 0) {
                *ret = v;
                return r;
        }
        for (size_t i = 0; i < n; i++)
                free(v[i]);
        free(v);
        return r;
}

static int read_field(Message *m, uint32_t *n_fds) {
        uint8_t code;
        const char **text = NULL;
        int r;

        r = message_read_basic(m, 'y', &code);
        if (r <= 0)
                return r < 0 ? r : -EBADMSG;
        if (code == 5 || code == 9)
                return message_read(m, "v", "u", code == 5 ? &m->reply_serial : n_fds);
        if (code == 8) {
                const char *types;

                r = message_read(m, "v", "g", &types);
                if (r <= 0)
                        return r;
                free(m->types);
                m->types = strdup(types);
                return m->types ? 1 : -ENOMEM;
        }
        text = code == 1   ? &m->path
               : code == 2 ? &m->interface
               : code == 3 ? &m->member
               : code == 4 ? &m->error_name
                           : NULL;
        if (!text)
                return message_skip(m, "v");
        return message_read(m, "v", code == 1 ? "o" : "s", text);
}

static int parse(Message *m, size_t size, const int *fds, unsigned *n_fds) {
        uint32_t wanted = 0;
        int r;

        m->type = (uint8_t)m->data[1];
        m->flags = (uint8_t)m->data[2];
        memcpy(&m->serial, m->data + 8, sizeof(m->serial));
        m->position = 12;
        m->frames[0] = (Frame){ .types = "a(yv)", .n_types = 5, .end = size };
        r = message_enter(m, 'a', "(yv)");
        while (r > 0 && (r = message_enter(m, 'r', "yv")) > 0) {
                r = read_field(m, &wanted);
                if (r > 0)
                        r = message_exit(m);
        }
        if (r >= 0)
                r = message_exit(m);
        if (r >= 0)
                r = align(m, 8);
        if (r < 0)
                return r;
        if (wanted > *n_fds || wanted > DBUS_FDS_MAX)
                return -EBADMSG;
        if (wanted > 0)
                memcpy(m->fds, fds, wanted * sizeof(*fds));
        m->n_fds = *n_fds = wanted;
        m->body = m->position;
        m->size = size;
        m->n_types = m->types ? strlen(m->types) : 0;
        m->frames[0] = (Frame){ .types = m->types, .n_types = m->n_types, .end = size };
        m->depth = 0;
        return 0;
}

/**
 * message_parse() - a message from its bytes
 *
 * @data: the whole message, begun at an address aligned to 8; the message takes it, also on failure
 * @fds: descriptors that have come; @n_fds: how many, on return how many the message took
 *
 * Return: the message, NULL where it is none
 */
Message *message_parse(char *data, size_t size, const int *fds, unsigned *n_fds) {
        Message *m = calloc(1, sizeof(*m));

        if (!m) {
                free(data);
                return NULL;
        }
        m->data = data;
        if (parse(m, size, fds, n_fds) < 0) {
                m->n_fds = 0;
                message_free(m);
                return NULL;
        }
        if (m->type == DBUS_ERROR_REPLY) {
                const char *text = "";

                m->error.name = m->error_name ?: DBUS_ERROR "Failed";
                if (message_peek(m) == 's')
                        (void)message_read_basic(m, 's', &text);
                m->error.message = text;
        }
        return m;
}
