/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The tar-split record of a layer: all bytes of its tar but file data, which is referred to. */

#include <glib.h>

#include "store/objects.h"
#include "store/stream.h"

typedef struct SplitWriter SplitWriter;
typedef struct Split Split;

/* A record as it is stored: two files of the davit/tarsplit commit. */
struct Split {
        GBytes *headers; /* zstd */
        GBytes *table;   /* checksums of the objects, in the order of their entries */
};

#define SPLIT_HEADERS "headers.zst"
#define SPLIT_TABLE "objects.sha256"
#define SPLIT_EXTRA "extra" /* directory of the objects that the layer's tree does not hold */

void split_clear(Split *s);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Split, split_clear)

SplitWriter *split_writer_new(void);
void split_writer_free(SplitWriter *w);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SplitWriter, split_writer_free)
gboolean split_writer_raw(void *writer, const void *data, gsize size, GError **error);
gsize split_writer_size(const SplitWriter *w);
guint32 split_writer_object(SplitWriter *w, Inode *inode);
void split_writer_data(SplitWriter *w, guint32 object, guint64 offset, guint64 size);
const GPtrArray *split_writer_inodes(const SplitWriter *w);
void split_writer_finish(SplitWriter *w, Split *ret);

/* What the layer's tar was. @open gives an object's descriptor; without it file data can only be skipped. */
typedef int (*SplitOpen)(void *userdata, const guint8 checksum[DIGEST_SIZE]);
Stream *split_stream_new(StoreJob *job, const Split *split, SplitOpen open, void *userdata);
gboolean split_size(StoreJob *job, const Split *split, guint64 *ret, GError **error);
gboolean split_stream_skip(void *stream, guint64 n, GError **error);
guint64 split_stream_passed(const Stream *stream);
