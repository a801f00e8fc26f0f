/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Entries of the a{sv} option dictionaries, one function a type. They append to an open array of the message and return
 * what sd-bus returns. A descriptor is duplicated into the message, the caller keeps its own. What a key means is not
 * known here.
 */

#include "ctl/bus.h"

int option_string(sd_bus_message *m, const char *key, const char *value) {
        return sd_bus_message_append(m, "{sv}", key, "s", value);
}

int option_bool(sd_bus_message *m, const char *key, bool value) {
        return sd_bus_message_append(m, "{sv}", key, "b", (int)value);
}

int option_u64(sd_bus_message *m, const char *key, uint64_t value) {
        return sd_bus_message_append(m, "{sv}", key, "t", value);
}

int option_fd(sd_bus_message *m, const char *key, int fd) {
        return sd_bus_message_append(m, "{sv}", key, "h", fd);
}

/** option_size() - a terminal's size, "(uu)". */
int option_size(sd_bus_message *m, const char *key, unsigned columns, unsigned rows) {
        return sd_bus_message_append(m, "{sv}", key, "(uu)", (uint32_t)columns, (uint32_t)rows);
}

static int open_entry(sd_bus_message *m, const char *key, const char *type) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", key);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', type);
        return r;
}

static int close_entry(sd_bus_message *m) {
        int r = sd_bus_message_close_container(m);

        return r < 0 ? r : sd_bus_message_close_container(m);
}

/** option_strv() - a NULL-terminated vector, "as"; NULL is an empty one. */
int option_strv(sd_bus_message *m, const char *key, char *const *value) {
        int r = open_entry(m, key, "as");

        if (r >= 0)
                r = sd_bus_message_append_strv(m, (char **)value);
        return r < 0 ? r : close_entry(m);
}

/** option_labels() - "KEY=VALUE" strings, "KEY" alone has an empty value, as "a{ss}". */
int option_labels(sd_bus_message *m, const char *key, const Strv *labels) {
        int r = open_entry(m, key, "a{ss}");

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (size_t i = 0; i < labels->n && r >= 0; i++) {
                const char *equals = strchr(labels->v[i], '=');
                _cleanup_free_ char *name = NULL;

                name = equals ? strndup(labels->v[i], (size_t)(equals - labels->v[i])) : strdup(labels->v[i]);
                r = name ? sd_bus_message_append(m, "{ss}", name, equals ? equals + 1 : "") : -ENOMEM;
        }
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : close_entry(m);
}
