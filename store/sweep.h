/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Taking files away, and the space that frees: a file's blocks are free when its last link goes. */

#include <glib.h>

#include "store/job.h"
#include "store/mark.h"

typedef struct Sweep Sweep;
typedef struct SweepNode SweepNode;

struct Sweep {
        gboolean dry_run; /* only count */
        guint64 freed;    /* atomic, bytes */
        guint64 objects;  /* atomic, objects that went */

        StoreJob *job;
        const Mark *mark;
        GHashTable *links; /* dry run: inode number -> links that would go */
        GMutex lock;
        GCond changed;
        GQueue nodes; /* SweepNode, under lock: what is to be done, the last first */
        guint busy;   /* under lock: threads with a node */
        GError *failure;
};

void sweep_init(Sweep *s, StoreJob *job, gboolean dry_run);
void sweep_clear(Sweep *s);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Sweep, sweep_clear)

/* Say what is to go: descriptors stay the caller's, and open until sweep_run() is done. */
void sweep_add_tree(Sweep *s, int dir_fd, const char *name);        /* a file, or a directory with all that is in it */
void sweep_add_objects(Sweep *s, int objects_fd, const Mark *mark); /* all that is not marked */
gboolean sweep_run(Sweep *s, GError **error);
