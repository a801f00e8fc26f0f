/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Exporting changes.
 *
 * What makes one chain another, or a chain what a snapshot on it shows, goes out as an OCI layer or as a list of paths.
 * It is read and written at once: nothing is stored, and no lock of the repository is held while the reader takes its
 * time. The layer of an upper is the one a commit of it would make.
 */

#include "store/snapshot.h"

#include <string.h>

#include "store/delta.h"
#include "store/error.h"
#include "store/output.h"
#include "store/request.h"

static JsonNode *layer_result(Digest *inner, Digest *outer, guint64 size, Compression compression) {
        JsonObject *o = json_object_new();
        guint8 diff_id[DIGEST_SIZE], digest[DIGEST_SIZE];
        char text[DIGEST_STRING];

        digest_final(inner, diff_id);
        memcpy(digest, diff_id, DIGEST_SIZE);
        if (compression != COMPRESSION_NONE)
                digest_final(outer, digest);
        digest_string(digest, text);
        json_object_set_string_member(o, "digest", text);
        digest_string(diff_id, text);
        json_object_set_string_member(o, "diff_id", text);
        json_object_set_int_member(o, "size", (gint64)size);
        json_object_set_string_member(o, "media_type",
                                      compression == COMPRESSION_GZIP   ? MEDIA_OCI_LAYER "+gzip"
                                      : compression == COMPRESSION_ZSTD ? MEDIA_OCI_LAYER "+zstd"
                                                                        : MEDIA_OCI_LAYER);
        return request_object(o);
}

static JsonNode *export_layer(Delta *d, Output *out, Compression compression, GError **error) {
        g_auto(Digest) inner = { NULL }, outer = { NULL };
        g_autoptr(Stream) s = NULL;
        guint64 size;

        if (!delta_diff(d, NULL, error))
                return NULL;
        digest_init(&inner);
        digest_init(&outer);
        s = stream_new_ahead(stream_new_digest(delta_stream(d), &inner, NULL));
        if (compression != COMPRESSION_NONE)
                s = stream_new_digest(stream_new_deflate(g_steal_pointer(&s), compression), &outer, NULL);
        if (!output_copy(out, s, &size, error))
                return NULL;
        /* Joins the thread that hashes. */
        g_clear_pointer(&s, stream_free);
        return layer_result(&inner, &outer, size, compression);
}

static JsonNode *export_list(Delta *d, Output *out, GError **error) {
        g_autoptr(GByteArray) list = g_byte_array_new();
        JsonObject *o;

        if (!delta_diff(d, list, error) || !output_write(out, list->data, list->len, error))
                return NULL;
        o = json_object_new();
        json_object_set_int_member(o, "size", (gint64)list->len);
        return request_object(o);
}

/** store_diff() - write what makes @options->to, or the upper standing on it, of @options->from */
JsonNode *store_diff(Store *s, StoreJob *job, const DiffOptions *options, GError **error) {
        g_autoptr(Output) out = output_new(job, options->output_fd, OUTPUT_PATIENCE_MSEC, error);
        g_auto(Delta) d = { NULL };

        if (!out || !delta_begin(&d, s, job, error) ||
            !delta_load(&d, options->from, options->to, options->upper_fd, error))
                return NULL;
        return options->list ? export_list(&d, out, error) : export_layer(&d, out, options->compression, error);
}
