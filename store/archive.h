/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An image archive: a directory or an uncompressed tar, whose members can be looked at in any order; or a sequence. */

#include <glib.h>

#include "store/job.h"
#include "store/stream.h"

typedef struct Archive Archive;

Archive *archive_open_directory(StoreJob *job, int fd);
Archive *archive_open_tar(StoreJob *job, int fd, guint64 size, GError **error);
Archive *archive_open_sequence(StoreJob *job, Stream *tar);
void archive_free(Archive *a);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Archive, archive_free)

gboolean archive_has(Archive *a, const char *name);
GBytes *archive_read(Archive *a, const char *name, gsize max, GError **error);
/* A layer: its descriptor stays the archive's. */
gboolean archive_find(Archive *a, const char *name, int *ret_fd, guint64 *ret_offset, guint64 *ret_size,
                      GError **error);

/* Of a sequence: documents are read by name, and come first; then the rest is taken as it comes. */
gboolean archive_is_sequence(const Archive *a);
int archive_next(Archive *a, const char **ret_name, guint64 *ret_size, GError **error);
Stream *archive_current(Archive *a); /* its bytes, to be read before the next; the archive outlives it */

gboolean archive_name_fits(const char *path);
