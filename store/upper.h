/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An overlay's upper directory: what it makes of the tree below it. */

#include <glib.h>

#include "store/stream.h"
#include "store/tree.h"

typedef struct Upper Upper;

/* The descriptor stays the caller's. */
Upper *upper_new(StoreJob *job, int fd);
void upper_free(Upper *u);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Upper, upper_free)

gboolean upper_apply(Upper *u, Tree *from, Tree *to, GError **error);
Stream *upper_open(Upper *u, const Node *n, GError **error); /* content of a node with INODE_LOOSE */

gboolean upper_usage(StoreJob *job, int fd, guint64 *ret_bytes, guint64 *ret_inodes, GError **error);
