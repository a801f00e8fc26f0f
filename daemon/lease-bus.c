/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bus face of leases: org.davit.Davit1.Lease and the Manager's methods about leases.
 *
 * Decodes calls, asks lease.c, encodes what it says. A lease that ends with its caller's connection takes the sender of
 * the call that makes it, never a name somebody says.
 */

#include <string.h>

#include "daemon/bus.h"
#include "daemon/collect.h"
#include "daemon/content.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/objects.h"
#include "daemon/snapshot.h"
#include "shared/macros.h"

static const ObjectTable objects = OBJECT_TABLE("lease", "Lease", leases, Lease, path);

/* ---- Manager ---- */

typedef struct CreateOptions {
        uint64_t expire_usec;
        int bus_name;
        GHashTable *labels;
} CreateOptions;

/** method_create_lease() - Manager.CreateLease */
int method_create_lease(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "ExpireUSec", "t", offsetof(CreateOptions, expire_usec), 1, NULL },
                { "BusName", "b", offsetof(CreateOptions, bus_name), 1, NULL },
                { "Labels", "a{ss}", offsetof(CreateOptions, labels), 1, NULL },
        };
        CreateOptions o = { 0 };
        const char *ns_name, *id;
        Lease *lease = NULL;
        Namespace *ns;
        int r;

        r = sd_bus_message_read(m, "ss", &ns_name, &id);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, &o, error);
        if (r >= 0)
                r = manager_namespace(userdata, ns_name, true, &ns, error);
        if (r >= 0) {
                const LeaseOptions options = { o.bus_name ? sd_bus_message_get_sender(m) : NULL, o.expire_usec,
                                               o.labels };
                r = namespace_settle(ns, lease_create(ns, id, &options, &lease, error));
        }
        bus_options_free(table, ELEMENTSOF(table), &o);
        return r < 0 ? r : sd_bus_reply_method_return(m, "so", lease->id, lease->path);
}

/** method_get_lease() - Manager.GetLease */
int method_get_lease(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *ns, *id;
        void *lease;
        int r;

        r = sd_bus_message_read(m, "ss", &ns, &id);
        if (r >= 0)
                r = object_find(userdata, &objects, ns, id, &lease, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", ((Lease *)lease)->path);
}

typedef struct Filters {
        char **ids, **labels;
} Filters;

static bool wanted(const void *object, const void *filters) {
        const Filters *f = filters;
        const Lease *l = object;

        return object_named(l->id, f->ids) && bus_labels_match(l->labels, f->labels);
}

static int append(sd_bus_message *reply, const void *object) {
        const Lease *l = object;
        int r;

        r = sd_bus_message_append(reply, "sss", l->ns->name, l->id, l->owner);
        if (r >= 0)
                r = bus_append_labels(reply, l->labels);
        return r < 0 ? r : sd_bus_message_append(reply, "tto", l->created, l->expires, l->path);
}

/** method_list_leases() - Manager.ListLeases */
int method_list_leases(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Id", "as", offsetof(Filters, ids), 1, bus_read_named },
                { "Label", "as", offsetof(Filters, labels), 1, bus_read_named },
        };
        static const ObjectList list = { &objects, table, ELEMENTSOF(table), "sssa{ss}tto", wanted, append };
        Filters filters = { 0 };

        return object_list(m, userdata, &list, &filters, error);
}

/* ---- Lease ---- */

/* What no root and no content leads to is nowhere: a check of the store would miss it. */
static int find_kept(const Lease *l, const char *type, const char *id, sd_bus_error *error) {
        RootKind kind = streq(type, "chain") ? ROOT_CHAIN : ROOT_CONTENT;
        Manager *m = l->ns->manager;
        const Content *c;

        c = kind == ROOT_CONTENT ? g_hash_table_lookup(l->ns->contents, id) : NULL;
        if (c && c->kind == CONTENT_LAYER && !roots_have(m, kind, id))
                return error_invalid(error, "\"%s\" is a layer; a lease holds its image or the chain.", id);
        if (!c && !roots_have(m, kind, id))
                return error_not_found(error, "There is no %s \"%s\" in namespace \"%s\".", type, id, l->ns->name);
        return collect_check(m, kind, id, error);
}

/* All of it has to be there, and an image is held by its whole name. */
static int resolve(const Lease *l, const char *type, const char **id, sd_bus_error *error) {
        Image *image;
        int r;

        r = lease_check_resource(type, *id, error);
        if (r < 0)
                return r;
        if (streq(type, "image")) {
                r = image_lookup(l->ns, *id, &image, error);
                if (r >= 0)
                        *id = image->record->name;
        } else if (streq(type, "snapshot")) {
                if (!snapshot_find(l->ns, *id))
                        r = error_not_found(error, "There is no snapshot \"%s\" in namespace \"%s\".", *id,
                                            l->ns->name);
        } else if (!lease_has(l, type, *id))
                r = find_kept(l, type, *id, error);
        return r;
}

static int method_add(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *type, *id;
        Lease *l = userdata;
        int r;

        r = sd_bus_message_read(m, "ss", &type, &id);
        if (r >= 0)
                r = resolve(l, type, &id, error);
        if (r >= 0)
                r = lease_add(l, type, id, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int method_remove(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *type, *id;
        Lease *l = userdata;
        Image *image;
        int r;

        r = sd_bus_message_read(m, "ss", &type, &id);
        if (r >= 0)
                r = lease_check_resource(type, id, error);
        if (r < 0)
                return r;
        if (streq(type, "image") && !lease_has(l, type, id) && image_lookup(l->ns, id, &image, NULL) >= 0)
                id = image->record->name;
        r = lease_drop(l, type, id, error);
        if (r < 0)
                return r;
        collect_schedule(l->ns->manager);
        return sd_bus_reply_method_return(m, NULL);
}

static int method_set_labels(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        GHashTable *labels;
        int r;

        r = bus_read_labels(m, &labels, error);
        if (r >= 0)
                r = lease_set_labels(userdata, labels, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

typedef struct DeleteOptions {
        int synchronous;
} DeleteOptions;

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = { { "Synchronous", "b", offsetof(DeleteOptions, synchronous), 1, NULL } };
        DeleteOptions options = { 0 };
        Lease *l = userdata;
        Manager *manager = l->ns->manager;
        int r;

        r = bus_options_read(m, table, ELEMENTSOF(table), 1, &options, error);
        if (r >= 0)
                r = lease_remove(l, error);
        if (r < 0)
                return r;
        if (options.synchronous)
                return collect_wait(manager, m);
        collect_schedule(manager);
        return sd_bus_reply_method_return(m, NULL);
}

#define GETTER(name)                                                                                                   \
        static int name(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,               \
                        const char *property _unused_, sd_bus_message *reply, void *userdata,                          \
                        sd_bus_error *error _unused_)

GETTER(get_namespace) {
        return sd_bus_message_append(reply, "s", ((Lease *)userdata)->ns->name);
}

GETTER(get_labels) {
        return bus_append_labels(reply, ((Lease *)userdata)->labels);
}

GETTER(get_resources) {
        const Lease *l = userdata;
        GHashTableIter iter;
        void *key;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(ss)");
        g_hash_table_iter_init(&iter, l->resources);
        while (r >= 0 && g_hash_table_iter_next(&iter, &key, NULL)) {
                const char *id = strchr(key, '\n');
                g_autofree char *type = g_strndup(key, (size_t)(id - (char *)key));

                r = sd_bus_message_append(reply, "(ss)", type, id + 1);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Add", SD_BUS_ARGS("s", type, "s", id), SD_BUS_NO_RESULT, method_add,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Remove", SD_BUS_ARGS("s", type, "s", id), SD_BUS_NO_RESULT, method_remove,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetLabels", SD_BUS_ARGS("a{ss}", labels), SD_BUS_NO_RESULT, method_set_labels,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_delete,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Namespace", "s", get_namespace, 0, CONST),
        SD_BUS_PROPERTY("Id", "s", NULL, offsetof(Lease, id), CONST),
        SD_BUS_PROPERTY("Owner", "s", NULL, offsetof(Lease, owner), CONST),
        SD_BUS_PROPERTY("Labels", "a{ss}", get_labels, 0, CHANGES),
        SD_BUS_PROPERTY("CreatedAt", "t", NULL, offsetof(Lease, created), CONST),
        SD_BUS_PROPERTY("ExpiresAt", "t", NULL, offsetof(Lease, expires), CONST),
        SD_BUS_PROPERTY("Resources", "a(ss)", get_resources, 0, CHANGES),
        SD_BUS_VTABLE_END,
};

/** lease_bus_register() - once, for all of them */
int lease_bus_register(Manager *m) {
        return object_register(m, &objects, vtable);
}

/** lease_event() - tells what has become of a lease */
void lease_event(const Lease *l, EventType type) {
        event_emit(l->ns->manager, type, l->ns->name, l->id, l->path, NULL);
}

void lease_bus_added(Lease *l) {
        object_added(l->ns->manager, &objects, l);
        lease_event(l, EVENT_LEASE_CREATE);
}

void lease_bus_removed(Lease *l) {
        object_removed(l->ns->manager, &objects, l);
        lease_event(l, EVENT_LEASE_DELETE);
}

/** lease_bus_changed() - announces the new value of a property */
void lease_bus_changed(Lease *l, const char *property) {
        object_changed(l->ns->manager, &objects, l, (const char *const[]){ property, NULL });
        lease_event(l, EVENT_LEASE_UPDATE);
}
