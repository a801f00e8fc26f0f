/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Objects on the bus that stand in a table of their namespace: found by path, listed, without one registration each. */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/bus.h"
#include "daemon/namespace.h"

typedef struct ObjectTable {
        const char *kind;  /* in the path: .../ns/<namespace>/<kind>/<name> */
        const char *what;  /* for people: "There is no <what> ..." */
        size_t table;      /* GHashTable *, in Namespace */
        size_t path;       /* char *, in the object */
        ptrdiff_t visible; /* bool, in the object: whether it is announced; -1: always */
} ObjectTable;

#define OBJECT_TABLE(kind_, what_, table_, type, path_)                                                                \
        {                                                                                                              \
                .kind = (kind_), .what = (what_), .table = offsetof(Namespace, table_), .path = offsetof(type, path_), \
                .visible = -1                                                                                          \
        }

void *object_at(Manager *m, const ObjectTable *t, const char *path); /* NULL: there is none */
int object_find(Manager *m, const ObjectTable *t, const char *ns, const char *name, void **ret, sd_bus_error *error);
GPtrArray *object_keys(GHashTable *table);           /* sorted, the table's own */
char **object_paths(Manager *m, const ObjectTable *t); /* for an enumerator */

/* A list method "s namespace, a{sv} filters": reads both, opens an array of row_type, has rows() append those of one
 * namespace ("*": of each) and sends the reply. Filters are the caller's to free in any case. */
typedef int (*object_rows_t)(sd_bus_message *reply, Namespace *ns, const void *filters);
int object_list(sd_bus_message *m, Manager *manager, const BusOption *table, size_t n, void *filters,
                const char *row_type, object_rows_t rows, sd_bus_error *error);
