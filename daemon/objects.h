/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Objects on the bus that stand in a table of their namespace: found by path, listed, without one registration each. */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/bus.h"
#include "daemon/namespace.h"
#include "shared/name.h"

typedef struct ObjectTable {
        const char *kind;      /* in the path: .../ns/<namespace>/<kind>/<name> */
        const char *interface; /* that object_register() puts there and the announcements are about */
        size_t table;          /* GHashTable *, in Namespace */
        size_t path;           /* char *, in the object */
        ptrdiff_t visible;     /* bool, in the object: whether it is announced and listed; -1: always */
        bool find_all;         /* those that are not announced are found by their path all the same */
} ObjectTable;

#define OBJECT_TABLE(kind_, interface_, table_, type, path_)                                                           \
        {                                                                                                              \
                .kind = (kind_), .interface = DAVIT_BUS_NAME "." interface_, .table = offsetof(Namespace, table_),     \
                .path = offsetof(type, path_), .visible = -1                                                           \
        }

void *object_at(Manager *m, const ObjectTable *t, const char *path); /* NULL: there is none */
int object_find(Manager *m, const ObjectTable *t, const char *ns, const char *name, void **ret, sd_bus_error *error);

/* The face: found by path and enumerated, then announced one by one. Nothing happens without Manager.bus. */
int object_register(Manager *m, const ObjectTable *t, const sd_bus_vtable *vtable);
void object_added(Manager *m, const ObjectTable *t, const void *object);
void object_removed(Manager *m, const ObjectTable *t, const void *object);
void object_changed(Manager *m, const ObjectTable *t, const void *object, const char *const *properties);

/* A list method "s namespace, a{sv} filters": a row for each object that is wanted, sorted, of one namespace or ("*")
 * of all; a namespace that does not exist yet has none. */
typedef struct ObjectList {
        const ObjectTable *objects;
        const BusOption *filters; /* what the dictionary may hold; freed when the reply is made */
        size_t n_filters;
        const char *row; /* the types of a row */
        bool (*wanted)(const void *object, const void *filters);
        int (*append)(sd_bus_message *reply, const void *object); /* the fields of a row */
} ObjectList;

int object_list(sd_bus_message *m, Manager *manager, const ObjectList *list, void *filters, sd_bus_error *error);
bool object_named(const char *name, char *const *names); /* NULL: any name is wanted */
