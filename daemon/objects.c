/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Objects of the bus that stand in a table of their namespace.
 *
 * Containers, tasks, images, snapshots, contents and leases are found by taking their path apart, so a thousand of them
 * cost no registration. Here is the one way from a path, or from namespace and name, to the object, the one list of
 * them and the one announcement; what an object may do is in its own *-bus.c.
 */

#include <stdlib.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/objects.h"
#include "shared/log.h"

#define ROOT DAVIT_BUS_PATH "/ns"

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
        return object && (t->find_all || visible(t, object)) ? object : NULL;
}

/** object_find() - by namespace ("" is the default one) and whole name */
int object_find(Manager *m, const ObjectTable *t, const char *ns_name, const char *name, void **ret,
                sd_bus_error *error) {
        Namespace *ns;
        int r;

        if (!*name)
                return error_invalid(error, "The name of the %s is empty.", t->kind);
        r = manager_namespace(m, ns_name, false, &ns, error);
        if (r < 0)
                return r;
        *ret = g_hash_table_lookup(table_of(ns, t), name);
        if (!*ret)
                return error_not_found(error, "There is no %s \"%s\" in namespace \"%s\".", t->kind, name, ns->name);
        return 0;
}

static const char *path_of(const ObjectTable *t, const void *object) {
        return *(char *const *)((const char *)object + t->path);
}

/* ---- the face ---- */

typedef struct Face {
        Manager *manager;
        const ObjectTable *table;
} Face;

static int on_find(sd_bus *bus _unused_, const char *path, const char *interface _unused_, void *userdata, void **ret,
                   sd_bus_error *error _unused_) {
        const Face *face = userdata;

        *ret = object_at(face->manager, face->table, path);
        return *ret ? 1 : 0;
}

static int on_enumerate(sd_bus *bus _unused_, const char *prefix _unused_, void *userdata, char ***ret,
                        sd_bus_error *error _unused_) {
        GPtrArray *paths = g_ptr_array_new();
        const Face *face = userdata;
        GHashTableIter iter, inner;
        void *ns, *object;

        g_hash_table_iter_init(&iter, face->manager->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &ns)) {
                g_hash_table_iter_init(&inner, table_of(ns, face->table));
                while (g_hash_table_iter_next(&inner, NULL, &object))
                        if (visible(face->table, object))
                                g_ptr_array_add(paths, g_strdup(path_of(face->table, object)));
        }
        g_ptr_array_add(paths, NULL);
        *ret = (char **)g_ptr_array_free(paths, FALSE); /* sd-bus frees it with free(), which g_free() is */
        return 1;
}

/** object_register() - puts the objects of a table, in whichever namespace, on the bus; once, for all of them */
int object_register(Manager *m, const ObjectTable *t, const sd_bus_vtable *vtable) {
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        g_autofree Face *face = g_new(Face, 1);
        Face *kept;
        int r;

        *face = (Face){ m, t };
        r = sd_bus_add_fallback_vtable(m->bus, &slot, ROOT, t->interface, vtable, on_find, face);
        if (r >= 0)
                r = sd_bus_slot_set_floating(slot, true);
        if (r >= 0)
                r = sd_bus_slot_set_destroy_callback(slot, g_free);
        if (r < 0)
                return r;
        kept = g_steal_pointer(&face); /* goes with the bus */
        return sd_bus_add_node_enumerator(m->bus, NULL, ROOT, on_enumerate, kept);
}

static void complain(const ObjectTable *t, const void *object, int r) {
        if (r < 0)
                (void)log_warning_errno(r, "Cannot announce %s", path_of(t, object));
}

/** object_added() - announces one that is there now */
void object_added(Manager *m, const ObjectTable *t, const void *object) {
        if (m->bus && !m->silent)
                complain(t, object, sd_bus_emit_interfaces_added(m->bus, path_of(t, object), t->interface, NULL));
}

/** object_removed() - announces the end of one */
void object_removed(Manager *m, const ObjectTable *t, const void *object) {
        if (m->bus)
                complain(t, object, sd_bus_emit_interfaces_removed(m->bus, path_of(t, object), t->interface, NULL));
}

/** object_changed() - announces new values; properties ends with NULL */
void object_changed(Manager *m, const ObjectTable *t, const void *object, const char *const *properties) {
        if (m->bus)
                complain(t, object,
                         sd_bus_emit_properties_changed_strv(m->bus, path_of(t, object), t->interface,
                                                             (char **)properties));
}

/* ---- lists ---- */

static int by_key(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static GPtrArray *sorted_keys(GHashTable *table) {
        GPtrArray *keys = g_ptr_array_new();
        GHashTableIter iter;
        void *key;

        g_hash_table_iter_init(&iter, table);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                g_ptr_array_add(keys, key);
        g_ptr_array_sort(keys, by_key);
        return keys;
}

static int append_row(sd_bus_message *reply, const ObjectList *l, const void *object) {
        int r;

        r = sd_bus_message_open_container(reply, 'r', l->row);
        if (r >= 0)
                r = l->append(reply, object);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_namespace(sd_bus_message *reply, const ObjectList *l, const Namespace *ns, const void *filters) {
        GHashTable *table = table_of(ns, l->objects);
        g_autoptr(GPtrArray) keys = sorted_keys(table);
        int r = 0;

        for (guint i = 0; i < keys->len && r >= 0; i++) {
                const void *object = g_hash_table_lookup(table, g_ptr_array_index(keys, i));

                if (visible(l->objects, object) && l->wanted(object, filters))
                        r = append_row(reply, l, object);
        }
        return r;
}

static int append_namespaces(sd_bus_message *reply, Manager *m, const ObjectList *l, const char *name,
                             const void *filters) {
        g_autoptr(GPtrArray) keys = NULL;
        const Namespace *ns;
        int r = 0;

        if (!streq(name, "*")) {
                ns = g_hash_table_lookup(m->namespaces, name);
                return ns ? append_namespace(reply, l, ns, filters) : 0;
        }
        keys = sorted_keys(m->namespaces);
        for (guint i = 0; i < keys->len && r >= 0; i++)
                r = append_namespace(reply, l, g_hash_table_lookup(m->namespaces, g_ptr_array_index(keys, i)), filters);
        return r;
}

static int list(sd_bus_message *m, Manager *manager, const ObjectList *l, void *filters, sd_bus_error *error) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        g_autofree char *row_type = NULL;
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = bus_options_read(m, l->filters, l->n_filters, 1, filters, error);
        if (r >= 0)
                r = manager_check_namespaces(&name, error);
        if (r < 0)
                return r;

        row_type = g_strdup_printf("(%s)", l->row);
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', row_type);
        if (r >= 0)
                r = append_namespaces(reply, manager, l, name, filters);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/** object_list() - the whole of a list method; see objects.h */
int object_list(sd_bus_message *m, Manager *manager, const ObjectList *l, void *filters, sd_bus_error *error) {
        int r;

        r = list(m, manager, l, filters, error);
        bus_options_free(l->filters, l->n_filters, filters);
        return r;
}

/** object_named() - whether a filter of names lets this one through; NULL is no filter */
bool object_named(const char *name, char *const *names) {
        return !names || g_strv_contains((const char *const *)names, name);
}
