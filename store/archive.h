/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An image archive with random access to its members: a directory or an uncompressed tar. */

#include <glib.h>

#include "store/job.h"
#include "store/stream.h"

typedef struct Archive Archive;

Archive *archive_open_directory(StoreJob *job, int fd);
Archive *archive_open_tar(StoreJob *job, int fd, guint64 size, GError **error);
void archive_free(Archive *a);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Archive, archive_free)

gboolean archive_has(Archive *a, const char *name);
GBytes *archive_read(Archive *a, const char *name, gsize max, GError **error);
/* A layer: its descriptor stays the archive's. */
gboolean archive_find(Archive *a, const char *name, int *ret_fd, guint64 *ret_offset, guint64 *ret_size,
                      GError **error);
gboolean archive_name_fits(const char *path);
