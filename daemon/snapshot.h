/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Snapshots: what was written on top of a chain (active), what may only be read (view), and chains with a key of their
 * own (committed), which alone others may stand on. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "daemon/image.h"
#include "daemon/namespace.h"

#define SNAPSHOT_KEY_MAX 255U

typedef enum SnapshotKind {
        SNAPSHOT_ACTIVE,
        SNAPSHOT_VIEW,
        SNAPSHOT_COMMITTED,
        _SNAPSHOT_KIND_MAX,
        _SNAPSHOT_KIND_INVALID = -EINVAL,
} SnapshotKind;

/* Owner and permission bits of a root directory. */
typedef struct SnapshotRoot {
        uid_t uid;
        gid_t gid;
        mode_t mode;
} SnapshotRoot;

typedef struct Snapshot {
        Namespace *ns;
        char *key;
        SnapshotKind kind;
        char *parent;              /* chain id of what it stands on; "": nothing */
        char *parent_key;          /* committed snapshot it was made from; "": none */
        char *chain_id;            /* committed: what it is; "" */
        char *diff_id;             /* committed: of the layer that was added; "" */
        char *dir;                 /* below DAVIT_STATE_DIR/snapshots; "": none (committed) */
        GHashTable *labels;        /* char* -> char* */
        uint64_t created, updated; /* CLOCK_REALTIME, microseconds */
        uint64_t size, inodes;     /* committed: of the layer */
        SnapshotRoot root;         /* of the chain: of the one it is, or of what it stands on */
        const char *rootfs;        /* kind of what it stands on, see chain_kind(); NULL: the host's own */
        bool ephemeral;            /* recorded in /run/davit only: goes with its task, or with the boot */
        bool owned;                /* made for a container, with which it goes */
        unsigned n_jobs;           /* operations that read or write it */
        const char *busy;          /* what an operation that bears no other does to it: "committed"; NULL: none */
        bool doomed;               /* removed as soon as those have ended */
        char *path;                /* object path */
        int records_fd;            /* where its record is, once that is to be removed; -1 */
} Snapshot;

/* Namespace.snapshots; namespace_new() calls init, namespace_free() done */
void snapshots_init(Namespace *ns);
void snapshots_done(Namespace *ns);
int snapshots_load(Namespace *ns); /* as images_load() */

/* what a new snapshot stands on */
typedef struct SnapshotBase {
        char *chain_id; /* NULL: nothing */
        char *key;      /* committed snapshot; NULL: none */
        SnapshotRoot root;
} SnapshotBase;
#define SNAPSHOT_BASE_NULL                                                                                             \
        { .root = { .mode = 0755 } }
void snapshot_base_done(SnapshotBase *base);
/* parent: "", the key of a committed snapshot, a chain id, "image:NAME". 1: a chain of which nothing is known here. */
int snapshot_base_resolve(Namespace *ns, const char *parent, SnapshotBase *ret, sd_bus_error *error);

typedef struct SnapshotOptions {
        SnapshotKind kind;  /* active or view */
        bool ephemeral;     /* otherwise durable when the call returns */
        bool owned;         /* goes at the next start if no container uses it then */
        GHashTable *labels; /* a reference is taken; may be NULL */
        const char *rootfs; /* see chain_kind() */
} SnapshotOptions;
int snapshot_make(Namespace *ns, const char *key, const SnapshotBase *base, const SnapshotOptions *options,
                  Snapshot **ret, sd_bus_error *error);
/* a container's own; image: NULL for an empty one */
int snapshot_prepare(Namespace *ns, const char *key, const Image *image, bool ephemeral, Snapshot **ret,
                     sd_bus_error *error);

/* what a store worker says of a commit, checked */
typedef struct SnapshotCommit {
        char *chain_id, *diff_id;
        uint64_t size, inodes;
        SnapshotRoot root;
        JsonArray *layers; /* {"diff_id","digest","size"}, lowest first */
} SnapshotCommit;
int snapshot_root_parse(JsonObject *result, SnapshotRoot *ret); /* of an operation that has a "rootfs" */
int snapshot_commit_parse(JsonObject *result, const char *parent, SnapshotCommit *ret);
void snapshot_commit_done(SnapshotCommit *commit);
/* a committed snapshot of what was read from s, durable */
int snapshot_put_committed(const Snapshot *s, const char *key, const SnapshotCommit *commit, GHashTable *labels,
                           Snapshot **ret, sd_bus_error *error);

/* checks, lookup */
int snapshot_check_idle(const Snapshot *s, sd_bus_error *error);
int snapshot_check_new(Namespace *ns, const char *key, sd_bus_error *error);
Snapshot *snapshot_find(Namespace *ns, const char *key);
const char *snapshot_user(const Snapshot *s); /* id of a container that stands on it, image-use.c; NULL: none */
const char *snapshot_other_user(const Snapshot *s, const char *but);
const char *snapshot_runner(const Snapshot *s, const char *but); /* the same of one that runs, other than but */
const char *snapshot_child(const Snapshot *s);                   /* key of one that was made from it; NULL: none */
const char *snapshot_kind_name(SnapshotKind kind);
SnapshotKind snapshot_kind_from_name(const char *name);

/* changes */
int snapshot_set_labels(Snapshot *s, GHashTable *labels, sd_bus_error *error); /* takes labels */
int snapshot_disown(Snapshot *s);                                              /* its container goes, it stays */
void snapshots_remove_orphans(Manager *m); /* once at start, when every container is known */
int snapshot_remove_prepare(Snapshot *s);
int snapshot_remove(Snapshot *s); /* frees it, or does so when its last job ends; content goes in the background */
void snapshot_job_begin(Snapshot *s);
void snapshot_job_end(Snapshot *s); /* may free it */
