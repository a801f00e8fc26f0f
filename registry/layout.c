/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing the tar of an OCI image layout as it comes.
 *
 * Each blob is written once. Without layout_end() the tar has no end mark, so nobody takes a part for the whole.
 * Formats: OCI image specification 1.1, image-layout; the tar is store/tar-write.c's.
 */

#include "registry/layout.h"

#include <string.h>

#include "store/error.h"
#include "store/json.h"
#include "store/tar-write.h"

#define FILE_MODE 0644U
#define DIRECTORY_MODE 0755U

void layout_init(Layout *l, Operation *o) {
        l->operation = o;
        l->written = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

void layout_clear(Layout *l) {
        g_clear_pointer(&l->written, g_hash_table_unref);
}

static gboolean write_header(Layout *l, const char *name, char type, guint64 size, GError **error) {
        g_autofree char *path = g_strdup(name);
        char none[] = "";
        const TarEntry e = {
                .type = type,
                .path = path,
                .link = none,
                .mode = type == TAR_DIRECTORY ? DIRECTORY_MODE : FILE_MODE,
                .size = size,
        };
        g_autoptr(GByteArray) header = g_byte_array_new();

        return tar_write_header(header, &e, error) && operation_write(l->operation, header->data, header->len, error);
}

static gboolean write_padding(Layout *l, guint64 size, GError **error) {
        g_autoptr(GByteArray) padding = g_byte_array_new();

        tar_write_padding(padding, size);
        return operation_write(l->operation, padding->data, padding->len, error);
}

static gboolean write_file(Layout *l, const char *name, const void *data, gsize size, GError **error) {
        return write_header(l, name, TAR_FILE, size, error) && operation_write(l->operation, data, size, error) &&
               write_padding(l, size, error) && operation_flush(l->operation, error);
}

/** layout_begin() - what comes before the blobs: oci-layout and @index, as index.json */
gboolean layout_begin(Layout *l, JsonNode *index, GError **error) {
        static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
        g_autofree char *text = json_text(index);

        return write_file(l, "oci-layout", layout, strlen(layout), error) &&
               write_file(l, "index.json", text, strlen(text), error) &&
               write_header(l, "blobs/", TAR_DIRECTORY, 0, error) &&
               write_header(l, "blobs/sha256/", TAR_DIRECTORY, 0, error);
}

/** layout_is_new() - whether the blob is not in the tar yet; it is taken for written from now on */
gboolean layout_is_new(Layout *l, const guint8 digest[DIGEST_SIZE]) {
        char hex[DIGEST_HEX];

        digest_hex(digest, hex);
        return g_hash_table_add(l->written, g_strdup(hex));
}

/** layout_document() - a whole blob, unless it is there */
gboolean layout_document(Layout *l, const guint8 digest[DIGEST_SIZE], GBytes *bytes, GError **error) {
        gsize size;
        const void *data = g_bytes_get_data(bytes, &size);

        if (!layout_is_new(l, digest))
                return TRUE;
        return layout_blob_begin(l, digest, size, error) && operation_write(l->operation, data, size, error) &&
               layout_blob_end(l, size, error);
}

/** layout_blob_begin() - a blob, of which @size bytes have to follow by operation_write() */
gboolean layout_blob_begin(Layout *l, const guint8 digest[DIGEST_SIZE], guint64 size, GError **error) {
        g_autofree char *name = NULL;
        char hex[DIGEST_HEX];

        digest_hex(digest, hex);
        name = g_strconcat("blobs/sha256/", hex, NULL);
        return write_header(l, name, TAR_FILE, size, error);
}

gboolean layout_blob_end(Layout *l, guint64 size, GError **error) {
        return write_padding(l, size, error) && operation_flush(l->operation, error);
}

/** layout_end() - all is there */
gboolean layout_end(Layout *l, GError **error) {
        g_autoptr(GByteArray) end = g_byte_array_new();

        tar_write_end(end);
        return operation_write(l->operation, end->data, end->len, error) && operation_flush(l->operation, error);
}
