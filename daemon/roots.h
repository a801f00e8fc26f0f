/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Roots: what has to stay in the store, and who needs it. */

#include <json-glib/json-glib.h>
#include <stdbool.h>

#include "daemon/namespace.h"

typedef enum RootKind {
        ROOT_CHAIN,   /* a chain id */
        ROOT_CONTENT, /* a digest */
} RootKind;

/* Who needs it, in the words of Manager.WhyKept: "image", "snapshot", "container", "lease", "label", "content" or
 * "operation", the namespace, its name. */
typedef struct RootReason {
        const char *type, *ns, *id;
} RootReason;

typedef void (*root_visit_t)(RootKind kind, const char *target, const RootReason *why, void *userdata);

/* everything; a target may be visited many times */
void roots_visit(Manager *m, root_visit_t visit, void *userdata);
bool roots_have(Manager *m, RootKind kind, const char *target);
GHashTable *roots_of(Manager *m, RootKind kind); /* a set of owned strings */
JsonObject *roots_to_json(Manager *m);           /* {"chains":[...],"contents":[...]} */

/* what a running operation needs, for as long as it says; Manager.holds */
typedef struct RootHold RootHold;
RootHold *root_hold_new(Manager *m, RootKind kind, const char *target);
RootHold *root_hold_free(RootHold *h);

/* parts, each in the file of what it is about */
struct ImageRecord;
void image_record_visit_roots(const struct ImageRecord *record, const RootReason *why, root_visit_t visit,
                              void *userdata);
void image_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata);
void snapshot_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata);
void container_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata);
