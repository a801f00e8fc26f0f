/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Snapshots: the writable directories of containers, an overlay's upper and work. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "daemon/image.h"
#include "daemon/namespace.h"

typedef struct Snapshot {
        Namespace *ns;
        char *key;
        char *parent;     /* chain id of the image it was made from; "" when there is none */
        char *dir;        /* below DAVIT_STATE_DIR/snapshots */
        uint64_t created; /* CLOCK_REALTIME, microseconds */
        bool ephemeral;   /* recorded in /run/davit only: goes with its task, or with the boot */
        char *path;       /* object path */
} Snapshot;

/* Namespace.snapshots; namespace_new() calls init, namespace_free() done */
void snapshots_init(Namespace *ns);
void snapshots_done(Namespace *ns);
int snapshots_load(Namespace *ns); /* as images_load() */
int snapshots_sweep(
        Manager *m,
        unsigned n_broken); /* once, when every namespace is loaded: what no record names goes to the trash */

/* image: NULL for an empty one. Without ephemeral the snapshot is durable when this returns. */
int snapshot_prepare(Namespace *ns, const char *key, const Image *image, bool ephemeral, Snapshot **ret,
                     sd_bus_error *error);
const char *snapshot_user(const Snapshot *s); /* id of the container that writes to it, image-use.c; NULL: none */
Snapshot *snapshot_find(Namespace *ns, const char *key);
int snapshot_remove(Snapshot *s);        /* frees it; the content is removed in the background */
char *snapshot_upper(const Snapshot *s); /* absolute paths, to be freed */
char *snapshot_work(const Snapshot *s);
char *snapshot_lower(const Snapshot *s); /* the chain's checkout; NULL when there is no parent */
