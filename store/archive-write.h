/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An image archive being written: a tar that is streamed, or a directory. */

#include <glib.h>

#include "store/output.h"
#include "store/stream.h"

typedef struct ArchiveWriter ArchiveWriter;

ArchiveWriter *archive_writer_new_tar(Output *output);
ArchiveWriter *archive_writer_new_directory(StoreJob *job, int fd, GError **error);
void archive_writer_free(ArchiveWriter *w);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ArchiveWriter, archive_writer_free)

gboolean archive_writer_mkdir(ArchiveWriter *w, const char *name, GError **error);
gboolean archive_writer_bytes(ArchiveWriter *w, const char *name, const void *data, gsize size, GError **error);
gboolean archive_writer_stream(ArchiveWriter *w, const char *name, Stream *from, guint64 size, GError **error);
gboolean archive_writer_finish(ArchiveWriter *w, GError **error);
guint64 archive_writer_size(const ArchiveWriter *w);
