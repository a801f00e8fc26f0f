/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Entries of the a{sv} option dictionaries, one function a type. They append to an open array of the message and return
 * 0 or a negative errno. A descriptor is duplicated into the message, the caller keeps its own. What a key means is not
 * known here.
 */

#include "ctl/bus.h"

int option_string(Message *m, const char *key, const char *value) {
        return message_append(m, "{sv}", key, "s", value);
}

int option_bool(Message *m, const char *key, bool value) {
        return message_append(m, "{sv}", key, "b", (int)value);
}

int option_u64(Message *m, const char *key, uint64_t value) {
        return message_append(m, "{sv}", key, "t", value);
}

int option_fd(Message *m, const char *key, int fd) {
        return message_append(m, "{sv}", key, "h", fd);
}

/** option_size() - a terminal's size, "(uu)". */
int option_size(Message *m, const char *key, unsigned columns, unsigned rows) {
        return message_append(m, "{sv}", key, "(uu)", (uint32_t)columns, (uint32_t)rows);
}

static int open_entry(Message *m, const char *key, const char *type) {
        int r;

        r = message_open(m, 'e', "sv");
        if (r >= 0)
                r = message_append(m, "s", key);
        if (r >= 0)
                r = message_open(m, 'v', type);
        return r;
}

static int close_entry(Message *m) {
        int r = message_close(m);

        return r < 0 ? r : message_close(m);
}

/** option_strv() - a NULL-terminated vector, "as"; NULL is an empty one. */
int option_strv(Message *m, const char *key, char *const *value) {
        int r = open_entry(m, key, "as");

        if (r >= 0)
                r = message_append_strv(m, (char **)value);
        return r < 0 ? r : close_entry(m);
}

/** append_labels() - "KEY=VALUE" strings, "KEY" alone has an empty value, as "a{ss}". */
int append_labels(Message *m, const Strv *labels) {
        int r = message_open(m, 'a', "{ss}");

        for (size_t i = 0; i < labels->n && r >= 0; i++) {
                const char *equals = strchr(labels->v[i], '=');
                _cleanup_free_ char *name = NULL;

                name = equals ? strndup(labels->v[i], (size_t)(equals - labels->v[i])) : strdup(labels->v[i]);
                r = name ? message_append(m, "{ss}", name, equals ? equals + 1 : "") : -ENOMEM;
        }
        return r < 0 ? r : message_close(m);
}

/** option_labels() - the same as an entry. */
int option_labels(Message *m, const char *key, const Strv *labels) {
        int r = open_entry(m, key, "a{ss}");

        if (r >= 0)
                r = append_labels(m, labels);
        return r < 0 ? r : close_entry(m);
}
