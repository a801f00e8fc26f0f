/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pruning: what nothing uses goes, by a plan that can be looked at first. And how much of everything there is. */

#include <glib.h>
#include <stdint.h>

#include "daemon/job.h"
#include "daemon/namespace.h"

typedef enum PruneKind {
        PRUNE_CONTAINERS, /* in the order in which they go: each frees some of the next */
        PRUNE_IMAGES,
        PRUNE_SNAPSHOTS,
        PRUNE_CONTENT,
        PRUNE_SPACE, /* what is in the store and nothing needs */
        _PRUNE_KIND_MAX,
        _PRUNE_KIND_INVALID = -EINVAL,
} PruneKind;

typedef struct PruneOptions {
        bool wanted[_PRUNE_KIND_MAX];
        bool dry_run;
        bool dangling;  /* of the images only those without a tag */
        char **labels;  /* "key" or "key=value", all of them; NULL: any */
        uint64_t until; /* came before, CLOCK_REALTIME microseconds; 0: ever */
} PruneOptions;

typedef struct PruneItem {
        PruneKind kind;
        char *ns; /* "" of PRUNE_SPACE */
        char *id;
        uint64_t bytes; /* 0: not known */
} PruneItem;

const char *prune_kind_name(PruneKind kind);
PruneKind prune_kind_from_name(const char *name);

/* prune-plan.c; ns NULL: all namespaces. Items are the caller's, in the order in which they go. */
GPtrArray *prune_plan(Manager *m, Namespace *ns, const PruneOptions *options);
PruneItem *prune_item_new(PruneKind kind, const char *ns, const char *id, uint64_t bytes);
bool prune_exists(Manager *m, const PruneItem *item);
void *prune_find(Manager *m, const PruneItem *item); /* the object; NULL when it has gone or is used meanwhile */

/* jobs; options are copied */
int prune_begin(Manager *m, Namespace *ns, const PruneOptions *options, Job **ret, sd_bus_error *error);
int disk_usage_begin(Manager *m, Job **ret, sd_bus_error *error);

/* methods of Manager, prune-bus.c */
int method_prune(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_disk_usage(sd_bus_message *m, void *userdata, sd_bus_error *error);
