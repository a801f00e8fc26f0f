/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Layers on their way out.
 *
 * A layer is re-assembled from its record and the objects, and its digest compared with its diff id as it passes: a
 * store that is damaged does not give out a wrong layer unnoticed. Plain ones go straight into the archive, their size
 * being in the record; of a compressed one neither digest nor size is known beforehand, so it is compressed once, into
 * an unnamed file of the working directory, which holds one layer at a time.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/content.h"
#include "store/error.h"
#include "store/save.h"

/** save_layer_open() - a layer's tar and its size; what it gives counts as progress */
Stream *save_layer_open(Save *s, const guint8 diff_id[DIGEST_SIZE], guint64 *ret_size, GError **error) {
        g_auto(Split) split = { NULL };

        if (!store_load_split(s->store, diff_id, &split, error) || !split_size(s->job, &split, ret_size, error))
                return NULL;
        return stream_new_counted(split_stream_new(s->job, &split, content_open_object, s->store), &s->job->bytes_in);
}

static gboolean verify(const guint8 diff_id[DIGEST_SIZE], Digest *digest, GError **error) {
        guint8 got[DIGEST_SIZE];
        char text[DIGEST_STRING];

        digest_final(digest, got);
        if (memcmp(got, diff_id, DIGEST_SIZE) == 0)
                return TRUE;
        digest_string(diff_id, text);
        return store_fail(error, STORE_FAIL_INTERNAL, "Layer %s is damaged in the store", text);
}

/** save_layer() - a layer as member @name, uncompressed */
gboolean save_layer(Save *s, const guint8 diff_id[DIGEST_SIZE], const char *name, GError **error) {
        g_auto(Digest) digest = { NULL };
        g_autoptr(Stream) stream = NULL;
        guint64 size;

        stream = save_layer_open(s, diff_id, &size, error);
        if (!stream)
                return FALSE;
        digest_init(&digest);
        stream = stream_new_digest(g_steal_pointer(&stream), &digest, NULL);
        return archive_writer_stream(s->writer, name, stream, size, error) && verify(diff_id, &digest, error);
}

/* Compresses a layer into @fd: its digest and size. */
static gboolean pack(Save *s, const guint8 diff_id[DIGEST_SIZE], int fd, ImageLayer *to, GError **error) {
        g_autoptr(Output) output = output_new(s->job, fd, OUTPUT_PATIENCE_MSEC, error);
        g_auto(Digest) inner = { NULL }, outer = { NULL };
        g_autoptr(Stream) stream = NULL;
        guint64 size;

        stream = output ? save_layer_open(s, diff_id, &size, error) : NULL;
        if (!stream)
                return FALSE;
        digest_init(&inner);
        digest_init(&outer);
        stream = stream_new_digest(g_steal_pointer(&stream), &inner, NULL);
        stream = stream_new_ahead(g_steal_pointer(&stream));
        stream = stream_new_digest(stream_new_deflate(g_steal_pointer(&stream), s->compression), &outer, NULL);
        if (!output_copy(output, stream, &to->size, error))
                return FALSE;
        g_clear_pointer(&stream, stream_free);
        digest_final(&outer, to->digest);
        return verify(diff_id, &inner, error);
}

/* A layer that several images share is compressed once. */
static gboolean packed_before(Save *s, ImageLayer *l) {
        const ImageLayer *other = g_hash_table_lookup(s->packed, l->diff_id);

        if (!other)
                return FALSE;
        memcpy(l->digest, other->digest, DIGEST_SIZE);
        l->size = other->size;
        return TRUE;
}

/** save_layer_packed() - write a layer, compressed as the operation says; sets its digest and size
 *
 * @suffix: behind the diff id for a member's name; NULL: the member is a blob of an OCI layout, named by its digest.
 */
gboolean save_layer_packed(Save *s, ImageLayer *l, const char *suffix, GError **error) {
        _cleanup_close_ int fd = -1;
        g_autoptr(Stream) stream = NULL;
        g_autofree char *name = NULL;
        char hex[DIGEST_HEX];

        if (packed_before(s, l))
                return TRUE;
        fd = ingest_spool(s->ingest, error);
        if (fd < 0 || !pack(s, l->diff_id, fd, l, error))
                return FALSE;
        g_hash_table_insert(s->packed, l->diff_id, l);
        digest_hex(suffix ? l->diff_id : l->digest, hex);
        name = suffix ? g_strconcat(hex, suffix, NULL) : g_strconcat("blobs/sha256/", hex, NULL);
        stream = stream_new_range(s->job, fd, 0, l->size);
        return archive_writer_stream(s->writer, name, stream, l->size, error);
}
