/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading what a snapshot's upper directory holds into a chain of the store. */

#include "daemon/container.h"
#include "daemon/job.h"
#include "daemon/snapshot.h"

typedef struct Commit Commit;

/* Called once: with what the store holds now, which is safe from collection until this returns, or with an error.
 * cancelled: the error is the answer to commit_cancel(). The commit is freed by itself. */
typedef void (*commit_done_t)(const SnapshotCommit *result, const sd_bus_error *error, bool cancelled, void *userdata);

/* freeze: a container that is held still meanwhile; NULL: none. done is never called before this returns; with an error
 * nothing has begun. */
int commit_begin(Snapshot *s, Container *freeze, commit_done_t done, void *userdata, Commit **ret, sd_bus_error *error);
void commit_show(Commit *c, Job *job); /* progress goes there */
void commit_cancel(Commit *c);

/* Snapshot.Commit, snapshot-commit.c; ret: job "commit" */
typedef struct SnapshotCommitOptions {
        const char *key;    /* of the committed snapshot */
        bool continued;     /* the active one stays */
        GHashTable *labels; /* a reference is taken; may be NULL */
        const char *lease;  /* may be NULL */
} SnapshotCommitOptions;
int snapshot_commit_begin(Snapshot *s, const SnapshotCommitOptions *options, Job **ret, sd_bus_error *error);

/* Container.Commit, container-commit.c; ret: job "commit" */
typedef struct ContainerCommitOptions {
        const char *image; /* name, normalised */
        const char *author, *message;
        const char *const *changes;
        bool pause;
} ContainerCommitOptions;
int container_commit_begin(Container *c, const ContainerCommitOptions *options, Job **ret, sd_bus_error *error);
