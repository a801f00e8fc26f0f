/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Taking files away, and the space that frees: a file's blocks are free when its last link goes. */

#include <glib.h>

#include "store/job.h"
#include "store/mark.h"

typedef struct Sweep Sweep;

struct Sweep {
        gboolean dry_run;   /* only count */
        guint64 freed;      /* bytes */
        guint64 objects;    /* objects that went */
        GHashTable *links;  /* dry run: inode number -> links that would go */
};

gboolean sweep_objects(Sweep *s, StoreJob *job, int objects_fd, const Mark *mark, GError **error);
gboolean sweep_tree(Sweep *s, int dir_fd, const char *name, GError **error); /* with all that is in it */
void sweep_clear(Sweep *s);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Sweep, sweep_clear)
