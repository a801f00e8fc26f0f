/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * JSON out of davitctl: an indenting writer to stdout, and the way from D-Bus values to JSON: dictionaries with text
 * keys become objects, arrays and structures arrays. Keys are the names of the D-Bus properties. Texts that are JSON
 * already (configurations) are put in as they are, indented anew. What it writes is valid whatever the strings hold,
 * provided the calls are balanced.
 */

#include "ctl/json.h"

#include <inttypes.h>

#include "ctl/text.h"
#include "shared/utf8.h"

static void line(const Json *j) {
        if (j->one_line)
                return;
        putchar('\n');
        for (unsigned i = 0; i < j->depth; i++)
                fputs("  ", stdout);
}

/* What must stand between the last thing and the next. */
static void before(Json *j) {
        if (j->key) {
                j->key = false;
                return;
        }
        if (j->comma)
                fputs(j->one_line ? ", " : ",", stdout);
        if (j->depth > 0)
                line(j);
}

/** json_open() - begins an object or an array; bracket is '{' or '['. */
void json_open(Json *j, char bracket) {
        before(j);
        putchar(bracket);
        j->depth++;
        j->comma = false;
}

/** json_close() - ends it; bracket is '}' or ']'. */
void json_close(Json *j, char bracket) {
        j->depth--;
        if (j->comma)
                line(j);
        putchar(bracket);
        j->comma = true;
}

static void put_string(const char *s) {
        putchar('"');
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;

                if (c == '"' || c == '\\')
                        printf("\\%c", c);
                else if (c < 0x20 || c == 0x7f)
                        printf("\\u%04x", c);
                else if (utf8_length(s) > 0) {
                        (void)fwrite(s, 1, utf8_length(s), stdout);
                        s += utf8_length(s) - 1;
                } else
                        printf("\\udc%02x", c); /* a byte of a path, as Python has it */
        }
        putchar('"');
}

/** json_key() - the key of what comes next. */
void json_key(Json *j, const char *key) {
        before(j);
        put_string(key);
        fputs(": ", stdout);
        j->key = true;
}

void json_string(Json *j, const char *s) {
        before(j);
        put_string(s);
        j->comma = true;
}

static void json_plain(Json *j, const char *text) {
        before(j);
        fputs(text, stdout);
        j->comma = true;
}

/** json_u64() - a number; null for the largest, which stands for no limit on the bus and no reader takes for one. */
void json_u64(Json *j, uint64_t n) {
        char text[24];

        (void)snprintf(text, sizeof(text), "%" PRIu64, n);
        json_plain(j, n == UINT64_MAX ? "null" : text);
}

/** json_strv() - an array of strings; NULL is an empty one. */
void json_strv(Json *j, char *const *v) {
        json_open(j, '[');
        for (; v && *v; v++)
                json_string(j, *v);
        json_close(j, ']');
}

/* Copies a string of a JSON text, quotes included; returns what follows. */
static const char *copy_string(const char *s) {
        putchar(*s++);
        while (*s && *s != '"') {
                if (*s == '\\' && s[1])
                        putchar(*s++);
                putchar(*s++);
        }
        if (*s)
                putchar(*s++);
        return s;
}

static size_t blanks(const char *s) {
        return strspn(s, " \t\r\n");
}

/** json_raw() - a valid JSON text, indented to where it stands. */
void json_raw(Json *j, const char *text) {
        before(j);
        for (const char *s = text + blanks(text); *s; s += blanks(s)) {
                if (*s == '"') {
                        s = copy_string(s);
                        continue;
                }
                if (*s == '}' || *s == ']') {
                        j->depth--;
                        line(j);
                }
                putchar(*s);
                if (*s == '{' || *s == '[') {
                        const char *next = s + 1 + blanks(s + 1);

                        if (*next == '}' || *next == ']') {
                                putchar(*next);
                                s = next;
                        } else {
                                j->depth++;
                                line(j);
                        }
                } else if (*s == ',')
                        line(j);
                else if (*s == ':')
                        putchar(' ');
                s++;
        }
        j->comma = true;
}

/** json_end() - the newline after the last bracket. */
void json_end(Json *j) {
        *j = (Json){};
        putchar('\n');
}

static int number(Json *j, Message *m, char type) {
        union {
                uint8_t y;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
        } v = {};
        char text[64];
        int r;

        r = message_read_basic(m, type, &v);
        if (r < 0)
                return r;
        switch (type) {
        case 't':
                json_u64(j, v.t);
                return 0;
        case 'n':
                (void)snprintf(text, sizeof(text), "%d", v.n);
                break;
        case 'i':
                (void)snprintf(text, sizeof(text), "%" PRId32, v.i);
                break;
        case 'x':
                (void)snprintf(text, sizeof(text), "%" PRId64, v.x);
                break;
        case 'd':
                (void)snprintf(text, sizeof(text), "%.17g", v.d);
                break;
        default:
                (void)snprintf(text, sizeof(text), "%" PRIu64,
                               type == 'y'   ? v.y
                               : type == 'q' ? v.q
                                             : (uint64_t)v.u);
        }
        json_plain(j, text);
        return 0;
}

static int basic(Json *j, Message *m, char type) {
        const char *s;
        int flag, r;

        if (type == 'b') {
                r = message_read_basic(m, type, &flag);
                if (r >= 0)
                        json_plain(j, flag ? "true" : "false");
                return r;
        }
        if (!strchr("sog", type))
                return number(j, m, type);
        r = message_read_basic(m, type, &s);
        if (r >= 0)
                json_string(j, s);
        return r;
}

static int dictionary(Json *j, Message *m) {
        int r;

        json_open(j, '{');
        while ((r = message_enter(m, 'e', NULL)) > 0) {
                const char *key;

                r = message_read_basic(m, 's', &key);
                if (r < 0)
                        return r;
                json_key(j, key);
                r = json_value(j, m);
                if (r >= 0)
                        r = message_exit(m);
                if (r < 0)
                        return r;
        }
        json_close(j, '}');
        return r;
}

static int sequence(Json *j, Message *m) {
        int r;

        json_open(j, '[');
        while (message_peek(m) != 0) {
                r = json_value(j, m);
                if (r < 0)
                        return r;
        }
        json_close(j, ']');
        return 0;
}

/** json_value() - the next value of a message; negative errno where it is none. */
int json_value(Json *j, Message *m) {
        bool map = message_peek_map(m);
        char type = message_peek(m);
        int r;

        if (type == 0)
                return -ENXIO;
        if (!strchr("arev", type))
                return basic(j, m, type);
        r = message_enter(m, type, NULL);
        if (r < 0)
                return r;
        r = type == 'v' ? json_value(j, m) : map ? dictionary(j, m) : sequence(j, m);
        return r < 0 ? r : message_exit(m);
}

/** json_rows() - an array of structures as objects with these names of their members, up to NULL; negative errno. */
int json_rows(Json *j, Message *m, const char *const *names) {
        int r;

        json_open(j, '[');
        r = message_enter(m, 'a', NULL);
        while (r >= 0 && (r = message_enter(m, 'r', NULL)) > 0) {
                json_open(j, '{');
                for (const char *const *name = names; *name && message_peek(m) != 0 && r >= 0; name++) {
                        json_key(j, *name);
                        r = json_value(j, m);
                }
                json_close(j, '}');
                if (r >= 0)
                        r = message_exit(m);
        }
        json_close(j, ']');
        return r < 0 ? r : message_exit(m);
}

static bool is_json_property(const char *name) {
        return streq(name, "Spec") || streq(name, "Config");
}

/** json_property() - a member of an object from a property's name and the variant with its value; negative errno. */
int json_property(Json *j, const char *name, Message *m) {
        const char *text;
        int r;

        json_key(j, name);
        if (!is_json_property(name))
                return json_value(j, m);
        r = message_read(m, "v", "s", &text);
        if (r < 0)
                return r;
        if (*text)
                json_raw(j, text);
        else
                json_plain(j, "null");
        return 0;
}

static int property(Json *j, Message *m) {
        const char *name;
        int r;

        r = message_read_basic(m, 's', &name);
        return r < 0 ? r : json_property(j, name, m);
}

/** json_properties() - the members of an object from the reply to GetAll; negative errno. */
int json_properties(Json *j, Message *reply) {
        int r;

        r = message_enter(reply, 'a', "{sv}");
        while (r >= 0 && (r = message_enter(reply, 'e', "sv")) > 0) {
                r = property(j, reply);
                if (r >= 0)
                        r = message_exit(reply);
        }
        return r;
}
