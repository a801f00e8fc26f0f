/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is done with a snapshot's content: mounts handed out, differences, layers applied, sizes. */

#include "daemon/job.h"
#include "daemon/snapshot.h"

/* a mount of it, attached nowhere, snapshot-mount.c */
typedef struct SnapshotMount SnapshotMount;
typedef void (*snapshot_mount_done_t)(int fd, const sd_bus_error *error, void *userdata); /* takes fd */
/* done: called once and not before this returns, unless an error is returned or it is cancelled */
int snapshot_mount(Snapshot *s, bool read_only, snapshot_mount_done_t done, void *userdata, SnapshotMount **ret,
                   sd_bus_error *error);
void snapshot_mount_cancel(SnapshotMount *w);
void snapshot_mounts_free(Manager *m); /* gives up all of them; nobody is told */
int snapshot_append_mounts(const Snapshot *s, sd_bus_message *reply, sd_bus_error *error); /* a(sssas) */

/* snapshot-work.c */
typedef struct SnapshotDiffOptions {
        const char *from; /* "": its parent */
        int output;
        const char *format, *compression; /* NULL: "tar", "none" */
} SnapshotDiffOptions;
int snapshot_diff_begin(Snapshot *s, const SnapshotDiffOptions *options, Job **ret, sd_bus_error *error);
int snapshot_apply_begin(Snapshot *s, int layer, const char *digest, Job **ret, sd_bus_error *error);
int snapshot_usage(Snapshot *s, sd_bus_message *call, sd_bus_error *error); /* answers call, now or later */
