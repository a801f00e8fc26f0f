/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A namespace: the tables of everything that carries its name. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "daemon/manager.h"

struct Namespace {
        Manager *manager;
        char *name;
        char *path;               /* object path */
        GHashTable *labels;       /* char* -> char* */
        struct Options *defaults; /* NULL: none */
        GHashTable *containers;   /* id -> Container, owned */
        GHashTable *tasks;        /* id -> Task, owned; the key is the container's id */
        GHashTable *images;       /* name -> Image, owned by image.c */
        GHashTable *snapshots;    /* key -> Snapshot, owned by snapshot.c */
        GHashTable *contents;     /* digest -> Content, owned by content.c */
        GHashTable *ingests;      /* reference -> Ingest, owned by content-writer.c */
        GHashTable *leases;       /* id -> Lease, owned by lease.c */
        bool containers_broken;   /* there are records of containers that cannot be read */
        bool checkpoints;         /* some container of it has had some */
};

/* A walk over one table of every namespace, in no order; nothing may be added to it or taken from it meanwhile. */
typedef struct ObjectWalk {
        GHashTableIter spaces, objects;
        size_t table;
        bool inside;
} ObjectWalk;

void object_walk_init(ObjectWalk *w, Manager *m, size_t table); /* offsetof(Namespace, tasks), ... */
void *object_walk_next(ObjectWalk *w);                          /* NULL: that was all */

int namespace_new(Manager *m, const char *name, Namespace **ret);
Namespace *namespace_free(Namespace *ns);
bool namespace_is_empty(const Namespace *ns);
int namespace_save(Namespace *ns);
int namespace_load(Namespace *ns);
int namespace_delete(Namespace *ns);
int namespace_settle(Namespace *ns, int r); /* at the end of a call that may have made it; returns r */
int namespace_set_labels(Namespace *ns, GHashTable *labels, sd_bus_error *error); /* takes labels */

/* defaults, namespace-defaults.c */
struct Options *namespace_defaults_free(struct Options *o);
int namespace_defaults_read(sd_bus_message *m, struct Options **ret, sd_bus_error *error);
int namespace_set_defaults(Namespace *ns, struct Options *defaults, sd_bus_error *error);
int namespace_defaults_append(sd_bus_message *m, struct Options *o);
void namespace_defaults_save(struct Options *o, JsonObject *record);
struct Options *namespace_defaults_load(JsonObject *record);
void namespace_apply_defaults(const Namespace *ns, struct Options *o);

/* bus face, namespace-bus.c */
int namespace_bus_register(Manager *m);
void namespace_bus_added(Namespace *ns);
void namespace_bus_changed(Namespace *ns, const char *property);
void namespace_bus_removed(Namespace *ns);
