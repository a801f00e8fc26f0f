/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: tar and pax headers.
 *
 * The input is an archive. Every entry is read with its data; the reader's promises to its callers are checked: paths
 * are not empty, data is as long as the header says, no byte beyond the input is consumed twice. A second pass makes a
 * layer's tree of it as a replay does, which writes nothing.
 */

#include <string.h>

#include "store/layer.h"
#include "store/tar.h"
#include "tests/fuzz/fuzz.h"

static gboolean count_raw(void *userdata, const void *data, gsize size, GError **error G_GNUC_UNUSED) {
        guint64 *n = userdata;

        *n += size;
        if (size > 0)
                g_assert_nonnull(data);
        return TRUE;
}

/* A sparse file may say that it is as large as it likes: so much of each is read, the rest is skipped. */
#define DATA_MAX (1024U * 1024U)

static void read_data(TarReader *r, const TarEntry *e) {
        guint8 buffer[1000];
        guint64 total = 0;
        gssize n = 0;

        while (total < DATA_MAX && (n = tar_reader_data(r, buffer, sizeof(buffer), NULL)) > 0)
                total += (guint64)n;
        if (n == 0)
                g_assert_cmpuint(total, ==, e->size);
        g_assert_cmpuint(total, <=, e->size);
}

static void read_archive(const uint8_t *data, size_t size, StoreJob *job) {
        g_autoptr(Stream) s = stream_new_memory(data, size);
        g_autoptr(TarReader) r = tar_reader_new(s, &job->limits);
        const TarEntry *e;
        guint64 raw = 0;

        tar_reader_set_raw(r, count_raw, &raw);
        for (guint i = 0; tar_reader_next(r, &e, NULL) > 0; i++) {
                g_assert_cmpuint(strlen(e->path), >, 0);
                g_assert_cmpuint(strlen(e->path), <=, job->limits.path);
                g_assert_nonnull(e->link);
                g_assert_cmpuint(e->mode, <=, 07777);
                if (e->type == TAR_FILE && i % 2 == 0) /* every other one is left to be skipped */
                        read_data(r, e);
        }
        g_assert_cmpuint(raw, <=, size);
}

static void read_layer(const uint8_t *data, size_t size, StoreJob *job) {
        g_autoptr(Stream) s = stream_new_memory(data, size);
        g_autoptr(Layer) l = layer_new(job, NULL);
        guint8 *table = g_malloc0(65536);

        l->table = g_bytes_new_take(table, 65536);
        (void)layer_read(l, s, NULL);
        tree_sort(tree_root(l->tree));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        StoreJob job;

        g_assert_true(store_job_init(&job, NULL));
        read_archive(data, size, &job);
        read_layer(data, size, &job);
        store_job_done(&job);
        return 0;
}
