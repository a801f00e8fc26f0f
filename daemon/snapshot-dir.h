/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The directories of snapshots: DAVIT_STATE_DIR/snapshots/<random name>/{fs,work}. */

#include "daemon/snapshot.h"

bool snapshot_dir_valid(const char *name);
int snapshot_dir_make(Manager *m, const SnapshotRoot *root, bool sync, char ret[13]);
void snapshot_dir_discard(Manager *m, const char *name); /* one that nothing was written to */
int snapshot_dir_to_trash(int state_fd, const char *dir);
void snapshot_dir_empty_trash(Manager *m, const char *name);
int snapshot_dir_remove(Manager *m, const char *name);
int snapshot_dir_remove_later(Manager *m, const char *name);
bool snapshot_dir_whole(Manager *m, const char *name); /* both directories are there */
int snapshot_dir_open(const Snapshot *s);              /* the upper, for a worker to read */

char *snapshot_upper(const Snapshot *s); /* absolute paths, to be freed */
char *snapshot_work(const Snapshot *s);
char *snapshot_nothing(const Snapshot *s); /* an empty directory, the layer below what stands on nothing */

/* once, when every namespace is loaded: what no record names goes to the trash */
int snapshots_sweep(Manager *m, unsigned n_broken);
