/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Helpers of the bus faces: object paths, option dictionaries, labels, late errors.
 *
 * Everything here works on messages and plain C values; nothing knows the daemon's objects. Whatever a
 * caller may have sent wrong comes back as a sentence that names the part.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "shared/name.h"

#define NS_PREFIX DAVIT_BUS_PATH "/ns/"
#define LABEL_MAX 4096U

/** bus_object_path() - /org/davit/Davit1/ns/<ns>[/<kind>/<name>], segments escaped; owned by the caller */
char *bus_object_path(const char *ns, const char *kind, const char *name) {
        _cleanup_free_ char *base = NULL, *whole = NULL, *prefix = NULL;

        if (sd_bus_path_encode(DAVIT_BUS_PATH "/ns", ns, &base) < 0)
                return NULL;
        if (!name)
                return g_strdup(base);
        if (asprintf(&prefix, "%s/%s", base, kind) < 0 || sd_bus_path_encode(prefix, name, &whole) < 0)
                return NULL;
        return g_strdup(whole);
}

static int decode(const char *segment, size_t size, char **ret) {
        _cleanup_free_ char *path = NULL, *name = NULL;
        int r;

        if (asprintf(&path, "/x/%.*s", (int)size, segment) < 0)
                return -ENOMEM;
        r = sd_bus_path_decode(path, "/x", &name);
        if (r > 0)
                *ret = g_strdup(name);
        return r;
}

/**
 * bus_object_parse() - takes an object path apart
 *
 * kind NULL: the path must end after the namespace. Returns 1 where the path is such a path, 0 where it is another one.
 */
int bus_object_parse(const char *path, const char *kind, char **ret_ns, char **ret_name) {
        g_autofree char *ns = NULL;
        const char *p, *end;
        int r;

        if (!g_str_has_prefix(path, NS_PREFIX))
                return 0;
        p = path + strlen(NS_PREFIX);
        end = strchrnul(p, '/');
        if (!kind != !*end || end == p)
                return 0;
        r = decode(p, (size_t)(end - p), &ns);
        if (r <= 0)
                return r;
        if (kind) {
                p = end + 1;
                if (!g_str_has_prefix(p, kind) || p[strlen(kind)] != '/')
                        return 0;
                p += strlen(kind) + 1;
                if (!*p || strchr(p, '/'))
                        return 0;
                r = decode(p, strlen(p), ret_name);
                if (r <= 0)
                        return r;
        }
        *ret_ns = g_steal_pointer(&ns);
        return 1;
}

static int read_fd(sd_bus_message *m, int *ret) {
        int fd, copy, r;

        r = sd_bus_message_read_basic(m, 'h', &fd);
        if (r < 0)
                return r;
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        if (*ret >= 0)
                (void)close(*ret);
        *ret = copy;
        return 0;
}

static int read_plain(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        void *p = (char *)data + o->offset;
        GHashTable *labels;
        const char *s;
        char **v;
        int r;

        if (streq(o->types, "s")) {
                r = sd_bus_message_read_basic(m, 's', &s);
                if (r >= 0) {
                        g_free(*(char **)p);
                        *(char **)p = g_strdup(s);
                }
                return r;
        }
        if (streq(o->types, "as")) {
                r = sd_bus_message_read_strv(m, &v);
                if (r >= 0) {
                        g_strfreev(*(char ***)p);
                        *(char ***)p = v ?: g_new0(char *, 1);
                }
                return r;
        }
        if (streq(o->types, "a{ss}")) {
                r = bus_read_labels(m, &labels, error);
                if (r >= 0) {
                        g_clear_pointer((GHashTable **)p, g_hash_table_unref);
                        *(GHashTable **)p = labels;
                }
                return r;
        }
        if (streq(o->types, "h"))
                return read_fd(m, p);
        if (streq(o->types, "b") || streq(o->types, "u") || streq(o->types, "t"))
                return sd_bus_message_read_basic(m, o->types[0], p);
        return -EINVAL;
}

static int check_named(const BusOption *o, const char *s, sd_bus_error *error) {
        if (!*s)
                return error_invalid(error, "Option %s is empty.", o->name);
        if (streq(o->name, "Label") && *s == '=')
                return error_invalid(error, "Option Label holds \"%s\", which has no key.", s);
        return 0;
}

/** bus_read_named() - handler of a row "s" or "as" where an empty text names nothing, nor does a label without a key */
int bus_read_named(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        void *p = (char *)data + o->offset;
        int r;

        r = read_plain(m, o, data, error);
        if (r >= 0 && streq(o->types, "s"))
                r = check_named(o, *(char **)p, error);
        else if (r >= 0)
                for (char **s = *(char ***)p; *s && r >= 0; s++)
                        r = check_named(o, *s, error);
        return r;
}

static bool type_allowed(const char *types, const char *contents) {
        g_auto(GStrv) v = g_strsplit(types, "|", -1);

        return g_strv_contains((const char *const *)v, contents);
}

static int read_one(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (!type_allowed(o->types, contents))
                return error_invalid(error, "Option %s is of type \"%s\"; it takes \"%s\"%s.", o->name, contents,
                                     o->types, streq(o->types, "b") ? ", yes or no" : "");
        r = sd_bus_message_enter_container(m, 'v', contents);
        if (r < 0)
                return r;
        r = o->handler ? o->handler(m, o, data, error) : read_plain(m, o, data, error);
        if (r < 0)
                return error_set_errno(error, r, "Option %s cannot be used", o->name);
        return sd_bus_message_exit_container(m);
}

static int read_entry(sd_bus_message *m, const BusOption *options, size_t n, unsigned mask, bool *seen, void *data,
                      sd_bus_error *error) {
        const char *key;
        int r;

        r = sd_bus_message_read_basic(m, 's', &key);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (!(options[i].mask & mask) || !streq(options[i].name, key))
                        continue;
                if (seen[i])
                        return error_invalid(error, "Option %s is given twice.", key);
                seen[i] = true;
                return read_one(m, options + i, data, error);
        }
        for (size_t i = 0; i < n; i++)
                if (streq(options[i].name, key))
                        return error_invalid(error, "Option %s is not for this call.", key);
        return error_invalid(error, "There is no option %s.", key);
}

/** bus_options_read() - reads an a{sv} by a table; see bus.h */
int bus_options_read(sd_bus_message *m, const BusOption *options, size_t n_options, unsigned mask, void *data,
                     sd_bus_error *error) {
        g_autofree bool *seen = g_new0(bool, n_options);
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_entry(m, options, n_options, mask, seen, data, error);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

/** bus_options_free() - frees what bus_options_read() has put into data, but for what a handler of the caller's has */
void bus_options_free(const BusOption *options, size_t n_options, void *data) {
        for (size_t i = 0; i < n_options; i++) {
                void *p = (char *)data + options[i].offset;

                if (options[i].handler && options[i].handler != bus_read_named)
                        continue;
                if (streq(options[i].types, "s"))
                        g_clear_pointer((char **)p, g_free);
                else if (streq(options[i].types, "as"))
                        g_clear_pointer((char ***)p, g_strfreev);
                else if (streq(options[i].types, "a{ss}"))
                        g_clear_pointer((GHashTable **)p, g_hash_table_unref);
                else if (streq(options[i].types, "h")) {
                        (void)safe_close(*(int *)p);
                        *(int *)p = -1;
                }
        }
}

static int check_label(const char *key, const char *value, sd_bus_error *error) {
        if (!*key)
                return error_invalid(error, "A label has no name.");
        for (const char *p = key; *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '=')
                        return error_invalid(error, "Label \"%s\" has a control character or \"=\" in its name.", key);
        if (strlen(key) + strlen(value) > LABEL_MAX)
                return error_invalid(error, "Label \"%s\" is longer than %u bytes with its value.", key, LABEL_MAX);
        return 0;
}

/** bus_read_labels() - reads an a{ss} as a new table */
int bus_read_labels(sd_bus_message *m, GHashTable **ret, sd_bus_error *error) {
        g_autoptr(GHashTable) labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        const char *k, *v;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{ss}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "{ss}", &k, &v)) > 0) {
                r = check_label(k, v, error);
                if (r < 0)
                        return r;
                g_hash_table_insert(labels, g_strdup(k), g_strdup(v));
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        if (r >= 0)
                *ret = g_steal_pointer(&labels);
        return r;
}

/** bus_read_signal() - reads the name or number of a signal */
int bus_read_signal(sd_bus_message *m, int *ret, sd_bus_error *error) {
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        *ret = signal_from_name(name);
        if (*ret < 0)
                return error_invalid(error, "\"%s\" is no signal; use a name like \"TERM\" or a number.", name);
        return 0;
}

/** bus_append_labels() - appends a table (NULL: an empty one) as a{ss} */
int bus_append_labels(sd_bus_message *m, GHashTable *labels) {
        GHashTableIter iter;
        void *k, *v;
        int r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        if (labels)
                g_hash_table_iter_init(&iter, labels);
        while (r >= 0 && labels && g_hash_table_iter_next(&iter, &k, &v))
                r = sd_bus_message_append(m, "{ss}", k, v);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/** bus_labels_match() - whether every filter "key" or "key=value" holds */
int bus_labels_match(GHashTable *labels, char **filters) {
        for (char **f = filters; f && *f; f++) {
                const char *eq = strchr(*f, '=');
                g_autofree char *key = eq ? g_strndup(*f, (size_t)(eq - *f)) : g_strdup(*f);
                const char *value = labels ? g_hash_table_lookup(labels, key) : NULL;

                if (!value || (eq && !streq(value, eq + 1)))
                        return 0;
        }
        return 1;
}

/** bus_reply_error() - answers a call late: with the error where one is set, otherwise with one made of r */
void bus_reply_error(sd_bus_message **m, int r, const sd_bus_error *error) {
        _cleanup_bus_message_ sd_bus_message *call = g_steal_pointer(m);
        _cleanup_bus_error_ sd_bus_error own = SD_BUS_ERROR_NULL;

        if (!call)
                return;
        if (!error || !sd_bus_error_is_set(error)) {
                error_set_errno(&own, r, "The call failed");
                error = &own;
        }
        (void)sd_bus_reply_method_error(call, error);
}

/** bus_reply_done() - answers a call late that returns nothing; takes @call */
void bus_reply_done(sd_bus_message *call, int r, const sd_bus_error *error) {
        if (r >= 0) {
                (void)sd_bus_reply_method_return(call, NULL);
                sd_bus_message_unref(call);
        } else
                bus_reply_error(&call, r, error);
}

/** bus_reply_later() - what a handler returns whose reference to @call has gone to an operation, begun as @r says */
int bus_reply_later(sd_bus_message *call, int r, sd_bus_error *error) {
        if (r >= 0)
                return 1;
        sd_bus_message_unref(call);
        return error_set_errno(error, r, "The call failed");
}
