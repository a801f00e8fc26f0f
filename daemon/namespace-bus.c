/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus face of namespaces: org.davit.Davit1.Namespace at /org/davit/Davit1/ns/<namespace>.
 *
 * Decodes, calls, encodes. A namespace is found by its path alone; nothing is registered per object.
 */

#include <errno.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/namespace.h"
#include "daemon/options.h"
#include "daemon/runtime.h"
#include "daemon/sync.h"
#include "shared/name.h"

#define INTERFACE "org.davit.Davit1.Namespace"

typedef struct Delete {
        Manager *manager;
        char *name;
        sd_bus_message *call;
} Delete;

static int check_empty(Namespace *ns, sd_bus_error *error) {
        if (namespace_is_empty(ns))
                return 0;
        return error_precondition(error,
                                  "Namespace \"%s\" is not empty; delete its containers, images, snapshots and leases "
                                  "first.",
                                  ns->name);
}

/* What was being removed has gone, or is there again; something else may have come. */
static int delete_now(Delete *d, sd_bus_error *error) {
        Namespace *ns = g_hash_table_lookup(d->manager->namespaces, d->name);
        int r;

        if (sd_bus_is_open(d->manager->bus) <= 0) /* the manager goes, and so has the caller */
                return -ECANCELED;
        if (!ns)
                return error_not_found(error, "Namespace \"%s\" has been deleted meanwhile.", d->name);
        r = check_empty(ns, error);
        if (r < 0)
                return r;
        r = namespace_delete(ns);
        return r < 0 ? error_set_errno(error, r, "Namespace \"%s\" cannot be deleted", d->name) : 0;
}

static void on_settled(int r _unused_, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Delete *d = userdata;

        bus_reply_done(d->call, delete_now(d, &error), &error);
        g_free(d->name);
        g_free(d);
}

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Namespace *ns = userdata;
        Sync *sync = ns->manager->sync;
        Delete *d;
        int r;

        r = check_empty(ns, error);
        if (r < 0)
                return r;
        d = g_new(Delete, 1);
        *d = (Delete){ ns->manager, g_strdup(ns->name), sd_bus_message_ref(m) };
        sync_wait(sync, sync_mark(sync), on_settled, d);
        return 1;
}

static int method_set_labels(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        GHashTable *labels;
        int r;

        r = bus_read_labels(m, &labels, error);
        if (r >= 0)
                r = namespace_set_labels(userdata, labels, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int method_set_defaults(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Namespace *ns = userdata;
        Options *defaults;
        int r;

        r = namespace_defaults_read(m, &defaults, error);
        if (r >= 0 && defaults->runtime) {
                r = runtime_check_found(&ns->manager->config, defaults->runtime, error);
                if (r < 0)
                        (void)namespace_defaults_free(defaults);
        }
        if (r >= 0)
                r = namespace_set_defaults(ns, defaults, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int get_defaults(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                        const char *property _unused_, sd_bus_message *reply, void *userdata,
                        sd_bus_error *error _unused_) {
        return namespace_defaults_append(reply, ((Namespace *)userdata)->defaults);
}

static int get_labels(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                      const char *property _unused_, sd_bus_message *reply, void *userdata,
                      sd_bus_error *error _unused_) {
        return bus_append_labels(reply, ((Namespace *)userdata)->labels);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_delete, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetLabels", SD_BUS_ARGS("a{ss}", labels), SD_BUS_NO_RESULT, method_set_labels,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetDefaults", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_set_defaults,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Name", "s", NULL, offsetof(Namespace, name), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Labels", "a{ss}", get_labels, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Defaults", "a{sv}", get_defaults, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_SIGNAL_WITH_ARGS("Event",
                                SD_BUS_ARGS("s", type, "s", id, "o", object, "s", namespace, "t", sequence, "t", time,
                                            "a{ss}", details),
                                0),
        SD_BUS_VTABLE_END,
};

static int find(sd_bus *bus _unused_, const char *path, const char *interface _unused_, void *userdata, void **ret,
                sd_bus_error *error _unused_) {
        g_autofree char *name = NULL;
        Manager *m = userdata;
        int r;

        r = bus_object_parse(path, NULL, &name, NULL);
        if (r <= 0)
                return r;
        *ret = g_hash_table_lookup(m->namespaces, name);
        return *ret ? 1 : 0;
}

static int enumerate(sd_bus *bus _unused_, const char *prefix _unused_, void *userdata, char ***ret,
                     sd_bus_error *error _unused_) {
        Manager *m = userdata;
        GHashTableIter iter;
        char **nodes;
        Namespace *ns;
        size_t n = 0;

        nodes = calloc(g_hash_table_size(m->namespaces) + 1U, sizeof(char *));
        if (!nodes)
                return -ENOMEM;
        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&ns))
                nodes[n++] = strdup(ns->path);
        *ret = nodes;
        return 1;
}

/** namespace_bus_register() - once, for all of them */
int namespace_bus_register(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, DAVIT_BUS_PATH "/ns", INTERFACE, vtable, find, m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, DAVIT_BUS_PATH "/ns", enumerate, m);
}

/** namespace_bus_added() - announces it */
void namespace_bus_added(Namespace *ns) {
        if (ns->manager->bus && !ns->manager->silent)
                (void)sd_bus_emit_interfaces_added(ns->manager->bus, ns->path, INTERFACE, NULL);
        event_emit(ns->manager, EVENT_NAMESPACE_CREATE, ns->name, ns->name, ns->path, NULL);
}

/** namespace_bus_changed() - announces the new value of a property */
void namespace_bus_changed(Namespace *ns, const char *property) {
        if (ns->manager->bus)
                (void)sd_bus_emit_properties_changed(ns->manager->bus, ns->path, INTERFACE, property, NULL);
        event_emit(ns->manager, EVENT_NAMESPACE_UPDATE, ns->name, ns->name, ns->path, NULL);
}

/** namespace_bus_removed() - announces its end */
void namespace_bus_removed(Namespace *ns) {
        if (ns->manager->bus)
                (void)sd_bus_emit_interfaces_removed(ns->manager->bus, ns->path, INTERFACE, NULL);
        event_emit(ns->manager, EVENT_NAMESPACE_DELETE, ns->name, ns->name, ns->path, NULL);
}
