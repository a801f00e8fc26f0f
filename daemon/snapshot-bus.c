/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bus face of snapshots: org.davit.Davit1.Snapshot and Manager.ListSnapshots.
 *
 * Snapshots come and go with their containers; here they are shown, and those that were kept can be deleted. Decides
 * nothing but that one in use stays.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/snapshot-bus.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/name.h"

#define SNAPSHOT_ROOT DAVIT_BUS_PATH "/ns"
#define KIND_ACTIVE "active"

static int find_object(sd_bus *bus _unused_, const char *path, const char *interface _unused_, void *userdata,
                       void **ret, sd_bus_error *error _unused_) {
        g_autofree char *ns_name = NULL, *key = NULL;
        Namespace *ns;
        Snapshot *s;
        int r;

        r = bus_object_parse(path, "snapshot", &ns_name, &key);
        if (r <= 0)
                return r;
        if (manager_namespace(userdata, ns_name, false, &ns, NULL) < 0)
                return 0;
        s = snapshot_find(ns, key);
        if (!s)
                return 0;

        *ret = s;
        return 1;
}

static void add_paths(GHashTable *snapshots, GPtrArray *paths) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_ptr_array_add(paths, g_strdup(((Snapshot *)value)->path));
}

static int enumerate(sd_bus *bus _unused_, const char *prefix _unused_, void *userdata, char ***ret,
                     sd_bus_error *error _unused_) {
        GPtrArray *paths = g_ptr_array_new();
        Manager *m = userdata;
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                add_paths(((Namespace *)value)->snapshots, paths);
        g_ptr_array_add(paths, NULL);
        *ret = (char **)g_ptr_array_free(paths, FALSE);
        return 0;
}

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Snapshot *s = userdata;
        const char *user;
        int r;

        user = snapshot_user(s);
        if (user)
                return error_precondition(error, "Snapshot \"%s\" is used by container \"%s\"; delete that first.",
                                          s->key, user);
        r = snapshot_remove(s);
        if (r < 0)
                return error_set_errno(error, r, "The snapshot is not wholly removed; see the journal of davitd");
        return sd_bus_reply_method_return(m, NULL);
}

static int get_namespace(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                         const char *property _unused_, sd_bus_message *reply, void *userdata,
                         sd_bus_error *error _unused_) {
        return sd_bus_message_append(reply, "s", ((const Snapshot *)userdata)->ns->name);
}

static int get_kind(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                    const char *property _unused_, sd_bus_message *reply, void *userdata _unused_,
                    sd_bus_error *error _unused_) {
        return sd_bus_message_append(reply, "s", KIND_ACTIVE);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Delete", "", "", method_delete, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Namespace", "s", get_namespace, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Key", "s", NULL, offsetof(Snapshot, key), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Kind", "s", get_kind, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Parent", "s", NULL, offsetof(Snapshot, parent), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("CreatedAt", "t", NULL, offsetof(Snapshot, created), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

/** snapshot_bus_register() - puts the snapshots of every namespace on the bus */
int snapshot_bus_register(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, SNAPSHOT_ROOT, SNAPSHOT_INTERFACE, vtable, find_object, m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, SNAPSHOT_ROOT, enumerate, m);
}

typedef struct Filters {
        char **keys;
        char *kind;
} Filters;

static int append_snapshots(sd_bus_message *reply, Namespace *ns, const Filters *filters) {
        GHashTableIter iter;
        void *value;
        int r = 0;

        g_hash_table_iter_init(&iter, ns->snapshots);
        while (r >= 0 && g_hash_table_iter_next(&iter, NULL, &value)) {
                const Snapshot *s = value;

                if (filters->keys && !g_strv_contains((const char *const *)filters->keys, s->key))
                        continue;
                if (filters->kind && !streq(filters->kind, KIND_ACTIVE))
                        continue;
                r = sd_bus_message_append(reply, "(ssssto)", ns->name, s->key, KIND_ACTIVE, s->parent, s->created,
                                          s->path);
        }
        return r;
}

static int append_namespaces(sd_bus_message *reply, Manager *m, const char *ns_name, const Filters *filters,
                             sd_bus_error *error) {
        GHashTableIter iter;
        Namespace *ns;
        void *value;
        int r = 0;

        if (!streq(ns_name, "*")) {
                r = manager_namespace(m, ns_name, false, &ns, error);
                return r < 0 ? r : append_snapshots(reply, ns, filters);
        }

        g_hash_table_iter_init(&iter, m->namespaces);
        while (r >= 0 && g_hash_table_iter_next(&iter, NULL, &value))
                r = append_snapshots(reply, value, filters);
        return r;
}

/** method_list_snapshots() - Manager.ListSnapshots */
int method_list_snapshots(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Key", "as", offsetof(Filters, keys), 1, NULL },
                { "Kind", "s", offsetof(Filters, kind), 1, NULL },
        };
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        Filters filters = { 0 };
        const char *ns_name;
        int r;

        r = sd_bus_message_read(m, "s", &ns_name);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, &filters, error);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ssssto)");
        if (r >= 0)
                r = append_namespaces(reply, userdata, ns_name, &filters, error);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        g_strfreev(filters.keys);
        g_free(filters.kind);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

void snapshot_bus_added(Snapshot *s) {
        int r = 0;

        if (s->ns->manager->bus)
                r = sd_bus_emit_interfaces_added(s->ns->manager->bus, s->path, SNAPSHOT_INTERFACE, NULL);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot announce snapshot %s", s->key);
}

void snapshot_bus_removed(Snapshot *s) {
        int r = 0;

        if (s->ns->manager->bus)
                r = sd_bus_emit_interfaces_removed(s->ns->manager->bus, s->path, SNAPSHOT_INTERFACE, NULL);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot announce the removal of snapshot %s", s->key);
}
