/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Repairing from blobs: the content service may hold the archive of a damaged layer.
 *
 * Every content that looks like a layer is inflated and hashed; where that gives the diff id of a layer that is looked
 * for, it is unpacked into the working directory, all of it, whatever the repository has. Who asked finds there what it
 * looks for.
 */

#include <string.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/check.h"
#include "store/content.h"
#include "store/error.h"
#include "store/layer.h"
#include "store/stream.h"

#define TAR_HEAD 512U
#define TAR_MAGIC 257U /* place of "ustar", pax(1) */

static gboolean looks_like_layer(int fd, guint64 size) {
        char head[TAR_HEAD];

        if (size < sizeof(head) || pread(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head))
                return FALSE;
        return stream_compression((const guint8 *)head, sizeof(head)) != COMPRESSION_NONE ||
               memcmp(head + TAR_MAGIC, "ustar", 5) == 0;
}

static Stream *inflated(Check *c, int fd, guint64 size, Digest *digest, GError **error) {
        Stream *s = stream_new_inflate(stream_new_range(c->job, fd, 0, size), c->job, error);

        return s ? stream_new_digest(s, digest, NULL) : NULL;
}

static gboolean is_wanted(Check *c, GHashTable *layers, int fd, guint64 size) {
        g_auto(Digest) digest = { NULL };
        g_autoptr(Stream) s = NULL;
        guint8 diff_id[DIGEST_SIZE];
        char hex[DIGEST_HEX];

        digest_init(&digest);
        s = inflated(c, fd, size, &digest, NULL);
        if (!s || !stream_drain(s, NULL))
                return FALSE;
        digest_final(&digest, diff_id);
        digest_hex(diff_id, hex);
        return g_hash_table_contains(layers, hex);
}

static gboolean unpack(Check *c, int fd, guint64 size, GError **error) {
        g_autoptr(Objects) objects = objects_new(c->job, c->store->objects_fd, c->ingest->stage_fd);
        g_autoptr(Layer) layer = layer_new(c->job, objects);
        g_auto(Digest) digest = { NULL };
        g_autoptr(Stream) s = NULL;
        gboolean ok;

        objects_set_fresh(objects);
        digest_init(&digest);
        s = inflated(c, fd, size, &digest, error);
        ok = s && layer_read(layer, s, error);
        /* Threads may still be writing files of the layer. */
        return objects_settle(objects, ok ? error : NULL) && ok;
}

static gboolean try_content(Check *c, GHashTable *layers, const char *hex, gboolean *ret_any, GError **error) {
        guint8 digest[DIGEST_SIZE];
        _cleanup_close_ int fd = -1;
        guint64 size;

        if (!check_is_sound(c, REF_CONTENT, hex) || !digest_parse_hex(hex, digest) ||
            !content_open(c->store, digest, &fd, &size, NULL) || fd < 0 || !looks_like_layer(fd, size) ||
            !is_wanted(c, layers, fd, size))
                return store_job_check(c->job, error);
        *ret_any = TRUE;
        return unpack(c, fd, size, error);
}

/** repair_unpack() - unpack stored blobs of these layers (diff ids, 64 digits) into the working directory's objects */
gboolean repair_unpack(Check *c, GHashTable *layers, gboolean *ret_any, GError **error) {
        GHashTableIter iter;
        gpointer ref;

        *ret_any = FALSE;
        g_hash_table_iter_init(&iter, c->refs);
        while (g_hash_table_iter_next(&iter, &ref, NULL))
                if (g_str_has_prefix(ref, REF_CONTENT) &&
                    !try_content(c, layers, strrchr(ref, '/') + 1, ret_any, error))
                        return FALSE;
        return TRUE;
}
