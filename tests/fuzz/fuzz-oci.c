/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: the documents of an OCI layout.
 *
 * Each document is read by a descriptor that has its digest, so random bytes would never get past the first. The input
 * is therefore a configuration, a manifest and an index, cut by "\n==\n"; in each, @CONFIG@, @MANIFEST@ and @INDEX@
 * stand for the descriptor members ("digest":...,"size":...) of what was given before. What is cut is put into a tar in
 * memory and read as an archive is.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/image.h"
#include "store/json.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/store-tar.h"

typedef struct {
        GByteArray *tar;
        GString *known[3]; /* what stands for @CONFIG@ and so on; NULL: not yet */
} Layout;

static const char *const marks[] = { "@CONFIG@", "@MANIFEST@", "@INDEX@" };

static GString *fill_in(const Layout *l, const uint8_t *data, size_t size) {
        GString *text = g_string_new_len((const char *)data, (gssize)size);

        /* A document holds NULs only where the fuzzer wants to see them refused: nothing is filled in then. */
        for (guint i = 0; i < G_N_ELEMENTS(marks) && strlen(text->str) == text->len; i++)
                if (l->known[i])
                        (void)g_string_replace(text, marks[i], l->known[i]->str, 16);
        return text;
}

static void add_member(Layout *l, const char *name, const GString *text) {
        test_header(l->tar, name, '0', text->len, "", 0644);
        test_data(l->tar, text->str, text->len);
}

static void add_blob(Layout *l, guint kind, const GString *text) {
        char digest[DIGEST_STRING], hex[DIGEST_HEX];
        g_autofree char *name = NULL;
        guint8 d[DIGEST_SIZE];

        digest_bytes(text->str, text->len, d);
        digest_string(d, digest);
        digest_hex(d, hex);
        name = g_strconcat("blobs/sha256/", hex, NULL);
        add_member(l, name, text);
        l->known[kind] = g_string_new(NULL);
        g_string_printf(l->known[kind], "\"digest\":\"%s\",\"size\":%zu", digest, text->len);
}

static void read_archive(Layout *l, StoreJob *job, const char *platform) {
        _cleanup_close_ int fd = memfd_create("fuzz-oci", MFD_CLOEXEC);
        g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)image_free);
        g_autoptr(Archive) a = NULL;

        test_end(l->tar);
        g_assert_cmpint(write(fd, l->tar->data, l->tar->len), ==, (gssize)l->tar->len);
        a = archive_open_tar(job, fd, l->tar->len, NULL);
        if (!a || !oci_read(a, platform, &job->limits, images, NULL))
                return;
        for (guint i = 0; i < images->len; i++) {
                const Image *image = images->pdata[i];

                g_assert_nonnull(image->config);
                g_assert_cmpuint(image->layers->len, >, 0);
                g_assert_cmpuint(image->layers->len, <=, job->limits.layers);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Layout l = { .tar = g_byte_array_new() };
        g_autoptr(GString) version = g_string_new("{\"imageLayoutVersion\":\"1.0.0\"}");
        StoreJob job;

        g_assert_true(store_job_init(&job, NULL));
        add_member(&l, "oci-layout", version);
        for (guint kind = 0; kind < G_N_ELEMENTS(marks) && size > 0; kind++) {
                g_autoptr(GString) text = NULL;
                const uint8_t *part;
                size_t n;

                fuzz_part(&data, &size, &part, &n);
                text = fill_in(&l, part, n);
                add_blob(&l, kind, text);
        }
        if (l.known[1]) {
                g_autoptr(GString) top = fill_in(&l, data, size);

                /* What is left is index.json; without it the usual one, of the manifest or of the index. */
                if (size == 0)
                        g_string_printf(top, "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",%s}]}",
                                        l.known[2] ? MEDIA_OCI_INDEX : MEDIA_OCI_MANIFEST,
                                        l.known[l.known[2] ? 2 : 1]->str);
                add_member(&l, "index.json", top);
        }
        read_archive(&l, &job, "linux/amd64");
        for (guint i = 0; i < G_N_ELEMENTS(l.known); i++)
                if (l.known[i])
                        (void)g_string_free(l.known[i], TRUE);
        g_byte_array_unref(l.tar);
        store_job_done(&job);
        return 0;
}
