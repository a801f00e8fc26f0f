/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The apply operation: a layer from outside onto a snapshot.
 *
 * The layer is read as an import would read it, into a tree and into objects of the working directory, under the same
 * limits; only when it is whole, and has the digest it should have, is the snapshot touched. So a hostile or damaged
 * layer changes nothing. Files are written twice for that; the objects go with the working directory.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/apply.h"
#include "store/error.h"
#include "store/request.h"
#include "store/snapshot.h"
#include "store/unpack.h"

typedef struct {
        StoreJob *job;
        Ingest *ingest;
        Objects *objects;
        Unpack *unpack;
        ImageLayer layer;
} ApplyLayer;

static Stream *open_input(StoreJob *job, int fd, Compression *ret, GError **error) {
        guint8 head[COMPRESSION_HEAD];
        struct stat st;
        Stream *raw;
        gssize n;

        if (fstat(fd, &st) < 0)
                return store_fail_errno(error, errno, "Cannot look at the layer"), NULL;
        if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
                return store_fail(error, STORE_FAIL_INVALID, "The layer is neither a file, a pipe nor a socket"), NULL;
        if (S_ISREG(st.st_mode))
                __atomic_store_n(&job->bytes_total, (guint64)st.st_size, __ATOMIC_RELAXED);
        raw = S_ISREG(st.st_mode) ? stream_new_range(job, fd, 0, (guint64)st.st_size) : stream_new_pipe(job, fd);
        raw = stream_new_counted(raw, &job->bytes_in);
        n = stream_read_full(raw, head, sizeof(head), error);
        if (n < 0) {
                stream_free(raw);
                return NULL;
        }
        *ret = stream_compression(head, (gsize)n);
        return stream_new_prefixed(raw, head, (gsize)n);
}

static gboolean check_digest(const ApplyLayer *a, const char *digest, GError **error) {
        guint8 expected[DIGEST_SIZE];
        char got[DIGEST_STRING];

        if (!digest)
                return TRUE;
        if (!digest_parse(digest, expected, error))
                return FALSE;
        digest_string(a->layer.digest, got);
        return memcmp(expected, a->layer.digest, DIGEST_SIZE) == 0 ||
               store_fail(error, STORE_FAIL_INVALID, "The layer's digest should be %s, but is %s", digest, got);
}

static gboolean read_layer(ApplyLayer *a, Store *s, int fd, const char *digest, GError **error) {
        Compression compression;
        Stream *raw;

        a->ingest = ingest_begin(s, error);
        if (!a->ingest)
                return FALSE;
        a->objects = objects_new(a->job, s->objects_fd, a->ingest->stage_fd);
        a->unpack = unpack_new(a->job, s, a->ingest, a->objects, NULL, FALSE);
        raw = open_input(a->job, fd, &compression, error);
        return raw && unpack_layer(a->unpack, raw, compression, digest != NULL, &a->layer, error) &&
               objects_settle(a->objects, error) && check_digest(a, digest, error);
}

static gboolean write_layer(ApplyLayer *a, int root_fd, GError **error) {
        Tree *tree = unpack_find(a->unpack, a->layer.diff_id)->layer->tree;
        struct stat st;

        if (fstat(root_fd, &st) < 0 || !S_ISDIR(st.st_mode))
                return store_fail(error, STORE_FAIL_INVALID, "The snapshot is not a directory");
        if (layer_write(a->job, a->objects, tree, root_fd, error))
                return TRUE;
        g_prefix_error(error, "The snapshot now holds a part of the layer: ");
        return FALSE;
}

static JsonNode *apply_result(const ApplyLayer *a) {
        JsonObject *o = json_object_new();
        char text[DIGEST_STRING];

        digest_string(a->layer.diff_id, text);
        json_object_set_string_member(o, "diff_id", text);
        json_object_set_int_member(o, "size", (gint64)a->layer.size);
        return request_object(o);
}

/** store_apply() - put the layer @layer_fd gives, whose blob has @digest unless that is NULL, on a mounted snapshot */
JsonNode *store_apply(Store *s, StoreJob *job, const char *digest, int layer_fd, int root_fd, GError **error) {
        ApplyLayer a = { .job = job };
        gboolean ok = read_layer(&a, s, layer_fd, digest, error) && write_layer(&a, root_fd, error);

        if (a.objects)
                (void)objects_settle(a.objects, NULL);
        g_clear_pointer(&a.unpack, unpack_free);
        g_clear_pointer(&a.objects, objects_free);
        g_clear_pointer(&a.ingest, ingest_end);
        g_free(a.layer.media_type);
        return ok ? apply_result(&a) : NULL;
}
