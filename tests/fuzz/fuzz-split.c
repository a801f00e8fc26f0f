/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: the tar-split record of a layer.
 *
 * The store reads back what it has written itself, but a disk may have changed it. The input is a byte that says how
 * many checksums the table has, the table, and the record before compression; it is replayed to a tree, and put
 * together as a tar whose files are all zeros.
 */

#include <fcntl.h>
#include <string.h>
#include <zstd.h>

#include "store/layer.h"
#include "store/split.h"
#include "tests/fuzz/fuzz.h"

#define EMIT_MAX (1024U * 1024U) /* a record may promise any amount of data */

static void compress(Split *split, const uint8_t *data, size_t size) {
        gsize bound = ZSTD_compressBound(size);
        guint8 *out = g_malloc(bound);
        gsize n = ZSTD_compress(out, bound, data, size, 1);

        g_assert_false(ZSTD_isError(n));
        split->headers = g_bytes_new_take(out, n);
}

static int open_zero(void *userdata G_GNUC_UNUSED, const guint8 checksum[DIGEST_SIZE] G_GNUC_UNUSED) {
        return open("/dev/zero", O_RDONLY | O_CLOEXEC);
}

static void emit(const Split *split, StoreJob *job) {
        g_autoptr(Stream) s = split_stream_new(job, split, open_zero, NULL);
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        guint64 total = 0;
        gssize n;

        while (total < EMIT_MAX && (n = stream_read(s, buffer, STREAM_CHUNK, NULL)) > 0)
                total += (guint64)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_auto(Split) split = { NULL };
        size_t table;
        Layer *layer;
        StoreJob job;

        if (size == 0)
                return 0;
        table = MIN((size_t)data[0] * DIGEST_SIZE, size - 1);
        g_assert_true(store_job_init(&job, NULL));
        split.table = g_bytes_new(data + 1, table);
        compress(&split, data + 1 + table, size - 1 - table);
        layer = layer_replay(&job, &split, NULL);
        if (layer) {
                tree_sort(tree_root(layer->tree));
                layer_free(layer);
        }
        emit(&split, &job);
        store_job_done(&job);
        return 0;
}
