/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Leases: what they name stays, until they are deleted, expire, or their owner leaves the bus. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "daemon/event.h"
#include "daemon/namespace.h"
#include "daemon/roots.h"

#define LEASE_RESOURCES_MAX 4096U

typedef struct Lease {
        Namespace *ns;
        char *id;
        char *path;  /* object path */
        char *owner; /* unique name on the bus whose connection it ends with; "": none */
        char *bus;   /* id of that bus: unique names of another one mean nothing */
        GHashTable *labels;
        GHashTable *resources; /* "type\nid", a set */
        uint64_t created;      /* CLOCK_REALTIME, microseconds */
        uint64_t expires;      /* the same; 0: never */
        sd_event_source *timer;
        sd_bus_slot *watch;
        sd_bus_slot *ask; /* whether the owner is there */
} Lease;

typedef struct LeaseOptions {
        const char *owner;    /* NULL: none */
        uint64_t expire_usec; /* from now; 0: never */
        GHashTable *labels;   /* a reference is taken; may be NULL */
} LeaseOptions;

/* Namespace.leases; namespace_new() calls init, namespace_free() done */
void leases_init(Namespace *ns);
void leases_done(Namespace *ns);
int leases_load(Namespace *ns); /* as images_load(); what has expired meanwhile goes at once */

/* id "": one is made up */
int lease_create(Namespace *ns, const char *id, const LeaseOptions *options, Lease **ret, sd_bus_error *error);
int lease_find(Namespace *ns, const char *id, Lease **ret, sd_bus_error *error);
int lease_set_labels(Lease *lease, GHashTable *labels, sd_bus_error *error); /* takes labels */
int lease_remove(Lease *lease, sd_bus_error *error); /* frees it; collect_schedule() is the caller's */

/* resources: type "image" (a name), "snapshot" (a key), "chain", "content"; durable when these return */
int lease_check_resource(const char *type, const char *id, sd_bus_error *error); /* its form alone */
int lease_add(Lease *lease, const char *type, const char *id, sd_bus_error *error);
int lease_drop(Lease *lease, const char *type, const char *id, sd_bus_error *error);
bool lease_has(const Lease *lease, const char *type, const char *id);
const Lease *lease_of(const Namespace *ns, const char *type, const char *id); /* one that names it; NULL: none */

/* For an operation that ends later: adds to the lease of that name if it still is there. Takes pairs, NULL ends. */
void lease_add_late(Manager *m, const char *ns, const char *lease, ...) __attribute__((sentinel));

void lease_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata);

/* bus face, lease-bus.c */
int lease_bus_register(Manager *m);
void lease_event(const Lease *lease, EventType type);
void lease_bus_added(Lease *lease);
void lease_bus_removed(Lease *lease);
void lease_bus_changed(Lease *lease, const char *property);
int method_create_lease(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_get_lease(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_leases(sd_bus_message *m, void *userdata, sd_bus_error *error);
