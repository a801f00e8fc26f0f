/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager: owner of everything davitd knows. One per process, passed explicitly. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon/config.h"

typedef struct Auth Auth;
typedef struct Collector Collector;
typedef struct Events Events;
typedef struct KeepWarm KeepWarm;
typedef struct Launcher Launcher;
typedef struct Limits Limits;
typedef struct Manager Manager;
typedef struct Namespace Namespace;
typedef struct Pool Pool;
typedef struct Pulls Pulls;
typedef struct Recovery Recovery;
typedef struct ScopeWatch ScopeWatch;
typedef struct StoreJobs StoreJobs;
typedef struct Sync Sync;
typedef struct Units Units;

struct Manager {
        sd_event *event;
        sd_bus *bus;
        Config config;
        int state_fd;           /* /var/lib/davit */
        int runtime_fd;         /* /run/davit */
        GHashTable *namespaces; /* name -> Namespace, owned */
        GHashTable *jobs;       /* GUINT_TO_POINTER(number) -> Job, owned by job.c */
        uint32_t n_jobs_ever;   /* number of the newest job */
        uint32_t n_containers, n_tasks;
        int n_launches;   /* starts under way; atomic */
        char boot_id[37]; /* "" when it cannot be read */
        bool silent;      /* nobody knows our name yet, and the bus no policy for us: nothing is announced */
        Auth *auth;
        Collector *collector;
        Events *events;          /* NULL: nothing is told */
        GList *holds;            /* RootHold */
        GSList *snapshot_mounts; /* SnapshotMount, under way */
        GSList *makes;           /* of checkpoint-make.c: checkpoints under way */
        KeepWarm *keep_warm;
        Launcher *launcher;
        Limits *limits;
        Pool *pool;
        Pulls *pulls;
        Recovery *recovery;
        ScopeWatch *scope_watch;
        Sync *sync;
        StoreJobs *store_jobs;  /* what changes the store, or takes long */
        StoreJobs *store_reads; /* what a caller reads at its own pace */
        Units *units;
        GQueue deletes;     /* of task-delete.c: their turn to be killed has not come */
        uint32_t n_deletes; /* that have been killed and have not gone */
        sd_event_source *delete_turn;
        bool delete_rest;           /* until then none is killed */
        GPtrArray *thaws;           /* of freeze.c: what waits to be let run on, since it is being dumped */
        GSList *left;               /* of checkpoint-left.c: what the last manager has dumped */
        GPtrArray *teardowns;       /* Teardown, owned */
        sd_event_source *scheduled; /* objects on their way out, freed between two turns of the loop */
        GPtrArray *graveyard;
};

int manager_new(Manager **ret);
Manager *manager_free(Manager *m);

/* start: each needs the one before */
int manager_open_directories(Manager *m);
int manager_connect(Manager *m, sd_bus *bus);
int manager_register(Manager *m);
int manager_claim_name(Manager *m);

/* namespaces */
int manager_check_namespace(const char *name, sd_bus_error *error);
int manager_check_namespaces(const char **name, sd_bus_error *error); /* of a list: "*" is all */
int manager_namespace(Manager *m, const char *name, bool create, Namespace **ret, sd_bus_error *error);

/* Frees an object after the current turn of the event loop, so that no handler up the stack loses its object. */
void manager_bury(Manager *m, void *object, GDestroyNotify destroy);

static inline void manager_freep(Manager **m) {
        if (*m)
                (void)manager_free(*m);
}
