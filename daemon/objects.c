/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Objects of the bus that stand in a table of their namespace.
 *
 * Containers, tasks, snapshots and leases are found by taking their path apart, so a thousand of them cost no
 * registration. Here is the one way from a path, or from namespace and name, to the object; what it may do is in its
 * own *-bus.c.
 */

#include <stdlib.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/objects.h"

static GHashTable *table_of(const Namespace *ns, const ObjectTable *t) {
        return *(GHashTable *const *)((const char *)ns + t->table);
}

static bool visible(const ObjectTable *t, const void *object) {
        return t->visible < 0 || *(const bool *)((const char *)object + t->visible);
}

/** object_at() - the object of a path; NULL where there is none, or none that has been announced */
void *object_at(Manager *m, const ObjectTable *t, const char *path) {
        g_autofree char *ns_name = NULL, *name = NULL;
        Namespace *ns;
        void *object;

        if (bus_object_parse(path, t->kind, &ns_name, &name) <= 0)
                return NULL;
        ns = g_hash_table_lookup(m->namespaces, ns_name);
        object = ns ? g_hash_table_lookup(table_of(ns, t), name) : NULL;
        return object && visible(t, object) ? object : NULL;
}

/** object_find() - by namespace ("" is the default one) and whole name */
int object_find(Manager *m, const ObjectTable *t, const char *ns_name, const char *name, void **ret,
                sd_bus_error *error) {
        Namespace *ns;
        int r;

        r = manager_namespace(m, ns_name, false, &ns, error);
        if (r < 0)
                return r;
        *ret = g_hash_table_lookup(table_of(ns, t), name);
        if (!*ret)
                return error_not_found(error, "There is no %s \"%s\" in namespace \"%s\".", t->what, name, ns->name);
        return 0;
}

/** object_paths() - of all that are announced, for sd_bus_add_node_enumerator(), which frees them */
char **object_paths(Manager *m, const ObjectTable *t) {
        GPtrArray *paths = g_ptr_array_new();
        GHashTableIter iter, inner;
        void *ns, *object;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &ns)) {
                g_hash_table_iter_init(&inner, table_of(ns, t));
                while (g_hash_table_iter_next(&inner, NULL, &object))
                        if (visible(t, object))
                                g_ptr_array_add(paths, g_strdup(*(char *const *)((const char *)object + t->path)));
        }
        g_ptr_array_add(paths, NULL);
        return (char **)g_ptr_array_free(paths, FALSE);
}

static int by_key(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/** object_keys() - the keys of a table in their order, to walk it as lists show it; the strings are the table's */
GPtrArray *object_keys(GHashTable *table) {
        GPtrArray *keys = g_ptr_array_new();
        GHashTableIter iter;
        void *key;

        g_hash_table_iter_init(&iter, table);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                g_ptr_array_add(keys, key);
        g_ptr_array_sort(keys, by_key);
        return keys;
}

static int list_namespaces(sd_bus_message *reply, Manager *m, const char *name, const void *filters, object_rows_t rows,
                           sd_bus_error *error) {
        g_autoptr(GPtrArray) keys = NULL;
        Namespace *ns;
        int r = 0;

        if (!streq(name, "*")) {
                r = manager_namespace(m, name, false, &ns, error);
                return r < 0 ? r : rows(reply, ns, filters);
        }
        keys = object_keys(m->namespaces);
        for (guint i = 0; i < keys->len && r >= 0; i++)
                r = rows(reply, g_hash_table_lookup(m->namespaces, g_ptr_array_index(keys, i)), filters);
        return r;
}

/** object_list() - the whole of a list method; see objects.h */
int object_list(sd_bus_message *m, Manager *manager, const BusOption *table, size_t n, void *filters,
                const char *row_type, object_rows_t rows, sd_bus_error *error) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = bus_options_read(m, table, n, 1, filters, error);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', row_type);
        if (r >= 0)
                r = list_namespaces(reply, manager, name, filters, rows, error);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
