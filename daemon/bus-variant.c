/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Copies a GVariant into an sd-bus message, and systemd's values out of one.
 *
 * Objects keep data that only passes through (results of jobs, unit properties) as GVariant, so that they need not know
 * of messages; here it is encoded. Only values of our own making or systemd's come this way, never a caller's.
 * Descriptors are refused: a GVariant handle is an index, not a descriptor.
 */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/bus-variant.h"

static int append_basic(sd_bus_message *m, char type, GVariant *value) {
        switch (type) {
        case 'y': {
                uint8_t u = g_variant_get_byte(value);
                return sd_bus_message_append_basic(m, type, &u);
        }
        case 'b': {
                int b = g_variant_get_boolean(value);
                return sd_bus_message_append_basic(m, type, &b);
        }
        case 'i': {
                int32_t i = g_variant_get_int32(value);
                return sd_bus_message_append_basic(m, type, &i);
        }
        case 'u': {
                uint32_t u = g_variant_get_uint32(value);
                return sd_bus_message_append_basic(m, type, &u);
        }
        case 'x': {
                int64_t x = g_variant_get_int64(value);
                return sd_bus_message_append_basic(m, type, &x);
        }
        case 't': {
                uint64_t t = g_variant_get_uint64(value);
                return sd_bus_message_append_basic(m, type, &t);
        }
        case 'd': {
                double d = g_variant_get_double(value);
                return sd_bus_message_append_basic(m, type, &d);
        }
        case 's':
        case 'o':
        case 'g':
                return sd_bus_message_append_basic(m, type, g_variant_get_string(value, NULL));
        default:
                return -EOPNOTSUPP;
        }
}

/* What stands between the brackets of a container, as sd_bus_message_open_container() wants it. */
static char *container_contents(char type, GVariant *value, GVariant *child) {
        const char *whole = g_variant_get_type_string(value);

        switch (type) {
        case 'a':
                return g_strdup(whole + 1);
        case 'v':
                return g_strdup(g_variant_get_type_string(child));
        default: /* a tuple or dictionary entry: without its brackets */
                return g_strndup(whole + 1, strlen(whole) - 2);
        }
}

static char container_type(char class) {
        switch (class) {
        case '(':
                return SD_BUS_TYPE_STRUCT;
        case '{':
                return SD_BUS_TYPE_DICT_ENTRY;
        default:
                return class;
        }
}

/**
 * bus_append_variant() - appends @value, whatever its type
 *
 * Return: -EOPNOTSUPP for a type that cannot be carried over (maybe, handle).
 */
int bus_append_variant(sd_bus_message *m, GVariant *value) {
        char class = (char)g_variant_classify(value);
        g_autoptr(GVariant) inner = NULL;
        g_autofree char *contents = NULL;
        gsize n;
        int r;

        if (!g_variant_is_container(value))
                return append_basic(m, class, value);
        if (class != 'a' && class != 'v' && class != '(' && class != '{')
                return -EOPNOTSUPP;

        if (class == 'v')
                inner = g_variant_get_variant(value);
        contents = container_contents(class, value, inner);
        r = sd_bus_message_open_container(m, container_type(class), contents);
        if (r < 0)
                return r;

        n = inner ? 1 : g_variant_n_children(value);
        for (gsize i = 0; i < n; i++) {
                g_autoptr(GVariant) child = inner ? g_variant_ref(inner) : g_variant_get_child_value(value, i);

                r = bus_append_variant(m, child);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(m);
}

static int read_basic(sd_bus_message *m, char type, GVariant **ret) {
        union {
                uint8_t y;
                int b;
                uint64_t t;
                const char *s;
        } u;
        int r;

        if (!strchr("ybts", type))
                return -EOPNOTSUPP;
        r = sd_bus_message_read_basic(m, type, &u);
        if (r <= 0)
                return r < 0 ? r : -ENXIO;
        *ret = type == 'y'   ? g_variant_new_byte(u.y)
               : type == 'b' ? g_variant_new_boolean(u.b)
               : type == 't' ? g_variant_new_uint64(u.t)
                             : g_variant_new_string(u.s);
        return 0;
}

/**
 * bus_read_variant() - takes the next value out of a message; @ret is floating
 *
 * Return: -EOPNOTSUPP for a type that no unit property we set has: there are numbers, texts, arrays and structures.
 */
int bus_read_variant(sd_bus_message *m, GVariant **ret) {
        g_autofree char *type = NULL;
        const char *contents;
        GVariantBuilder b;
        char class;
        int r;

        r = sd_bus_message_peek_type(m, &class, &contents);
        if (r <= 0)
                return r < 0 ? r : -ENXIO;
        if (class != 'a' && class != 'r')
                return read_basic(m, class, ret);
        type = class == 'a' ? g_strconcat("a", contents, NULL) : g_strconcat("(", contents, ")", NULL);
        r = sd_bus_message_enter_container(m, class, contents);
        if (r < 0)
                return r;
        g_variant_builder_init(&b, (const GVariantType *)type);
        while (r >= 0 && (r = sd_bus_message_at_end(m, false)) == 0) {
                GVariant *child;

                r = bus_read_variant(m, &child);
                if (r >= 0)
                        g_variant_builder_add_value(&b, child);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0) {
                g_variant_builder_clear(&b);
                return r;
        }
        *ret = g_variant_builder_end(&b);
        return 0;
}
