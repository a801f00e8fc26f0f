/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: what "docker save" writes.
 *
 * The input is manifest.json and a configuration, cut by "\n==\n". They are put into a tar in memory, the configuration
 * as config.json, and read as an archive is.
 */

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/image.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/store-tar.h"

static void add_member(GByteArray *tar, const char *name, const uint8_t *data, size_t size) {
        test_header(tar, name, '0', size, "", 0644);
        test_data(tar, data, size);
}

static void read_archive(const GByteArray *tar, StoreJob *job) {
        _cleanup_close_ int fd = memfd_create("fuzz-docker", MFD_CLOEXEC);
        g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)image_free);
        g_autoptr(Archive) a = NULL;

        g_assert_cmpint(write(fd, tar->data, tar->len), ==, (gssize)tar->len);
        a = archive_open_tar(job, fd, tar->len, NULL);
        if (!a || !docker_read(a, &job->limits, images, NULL))
                return;
        g_assert_cmpuint(images->len, >, 0);
        for (guint i = 0; i < images->len; i++) {
                Image *image = images->pdata[i];

                g_assert_nonnull(image->config);
                g_assert_true(docker_finish(image, NULL));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autoptr(GByteArray) tar = g_byte_array_new();
        const uint8_t *part;
        StoreJob job;
        size_t n;

        g_assert_true(store_job_init(&job, NULL));
        fuzz_part(&data, &size, &part, &n);
        add_member(tar, "manifest.json", part, n);
        add_member(tar, "config.json", data, size);
        add_member(tar, "layer.tar", (const uint8_t *)"", 0);
        test_end(tar);
        read_archive(tar, &job);
        store_job_done(&job);
        return 0;
}
