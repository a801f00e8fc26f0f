/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Publishing when the disk fails: every sync of an import fails once, whichever thread it is in and whether or not the
 * next one would go well, as the kernel tells of a write that went wrong only once. This program's syncfs() takes the
 * place of the C library's.
 */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/import.h"
#include "store/repo.h"
#include "tests/unit/store-tar.h"

static gint n_syncs; /* atomic */
static gint fails;   /* which of them, from 1; 0: none */

int syncfs(int fd G_GNUC_UNUSED) {
        if (g_atomic_int_add(&n_syncs, 1) + 1 != fails)
                return 0;
        errno = EIO;
        return -1;
}

static guint n_refs(Store *s) {
        g_autoptr(GHashTable) refs = NULL;

        g_assert_true(store_refs(s, &refs, NULL));
        return g_hash_table_size(refs);
}

/* Imports with the nth sync failing; whether it went well. */
static gboolean import(Store *s, const char *content, gint nth) {
        g_autoptr(GByteArray) tar = TAR_OF({ "d", '5' }, { "d/f", '0', content });
        _cleanup_close_ int fd = memfd_sealed("layer", tar->data, tar->len);
        const ImportOptions options = { .name = "t", .format = "rootfs", .rootfs = ROOTFS_EROFS, .fd = fd };
        g_autoptr(JsonNode) result = NULL;
        g_autoptr(Ingest) held = NULL;
        g_autoptr(GError) error = NULL;
        StoreJob job;

        g_assert_cmpint(fd, >=, 0);
        g_assert_true(store_job_init(&job, NULL));
        g_atomic_int_set(&n_syncs, 0);
        fails = nth;
        result = store_import(s, &job, &options, &held, &error);
        fails = 0;
        store_job_done(&job);
        g_assert_true(!result == (error != NULL));
        if (error)
                g_assert_nonnull(strstr(error->message, g_strerror(EIO)));
        return result != NULL;
}

static void test_syncs(void) {
        g_autofree char *directory = g_dir_make_tmp("davit-test-XXXXXX", NULL);
        g_autoptr(GError) error = NULL;
        Store *s = store_open(directory, &error);
        guint refs;
        gint n;

        g_assert_no_error(error);
        g_assert_true(import(s, "first", 0));
        n = g_atomic_int_get(&n_syncs);
        g_assert_cmpint(n, >=, 3); /* beside the trees, before files get their places, before the refs do */
        refs = n_refs(s);
        for (gint nth = 1; nth <= n; nth++) {
                g_assert_false(import(s, "second", nth));
                g_assert_cmpint(g_atomic_int_get(&n_syncs), ==, nth); /* nothing goes on after it */
                if (nth < n)
                        g_assert_cmpuint(n_refs(s), ==, refs);
        }
        g_assert_true(import(s, "second", 0));
        g_assert_cmpuint(n_refs(s), >, refs);
        store_close(s);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, directory), >=, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/publish/syncs", test_syncs);
        return g_test_run();
}
