/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Byte streams that are pulled: each kind wraps another, and the last one is freed with all it wraps. */

#include <glib.h>

#include "store/digest.h"
#include "store/job.h"

typedef struct Stream Stream;

#define STREAM_CHUNK ((gsize)256 * 1024)

/* What the first bytes tell. */
typedef enum {
        COMPRESSION_NONE,
        COMPRESSION_GZIP,
        COMPRESSION_ZSTD,
        COMPRESSION_XZ,
        COMPRESSION_BZIP2,
} Compression;

#define COMPRESSION_HEAD 16U /* bytes that are enough to tell */

struct Stream {
        /* Fills as much as is there, at least one byte; 0 at the end, -1 with error. */
        gssize (*read)(Stream *s, void *buffer, gsize size, GError **error);
        void (*free)(Stream *s);
        Stream *inner;
};

static inline gssize stream_read(Stream *s, void *buffer, gsize size, GError **error) {
        return s->read(s, buffer, size, error);
}

gssize stream_read_full(Stream *s, void *buffer, gsize size, GError **error);
gboolean stream_drain(Stream *s, GError **error);
void stream_free(Stream *s);
Compression stream_compression(const guint8 *head, gsize size);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Stream, stream_free)

/* sources; descriptors stay the caller's */
Stream *stream_new_range(StoreJob *job, int fd, guint64 offset, guint64 size);
Stream *stream_new_pipe(StoreJob *job, int fd);
Stream *stream_new_memory(const void *data, gsize size);

/* filters; they take over @inner */
Stream *stream_new_prefixed(Stream *inner, const void *data, gsize size);
Stream *stream_new_digest(Stream *inner, Digest *digest, guint64 *count);
Stream *stream_new_counted(Stream *inner, guint64 *total);
Stream *stream_new_ahead(Stream *inner);
Stream *stream_new_inflate(Stream *inner, StoreJob *job, GError **error);
Stream *stream_new_deflate(Stream *inner, Compression compression);
