/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unit tests of the objects of directories: GLib's own serializer has to make the same bytes of the same entries, at
 * every size at which the offsets get wider, and has to find what was written to be in normal form.
 */

#include "store/dirtree.h"

#include <string.h>

static GVariant *digest_variant(const guint8 d[DIGEST_SIZE]) {
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, d, DIGEST_SIZE, 1);
}

static void check_bytes(GVariant *floating, const guint8 *data, gsize size) {
        g_autoptr(GVariant) want = g_variant_ref_sink(floating), got = NULL;
        guint8 *copy = g_memdup2(data, size); /* aligned */

        g_assert_cmpmem(g_variant_get_data(want), g_variant_get_size(want), data, size);
        got = g_variant_ref_sink(g_variant_new_from_data(g_variant_get_type(want), copy, size, FALSE, g_free, copy));
        g_assert_true(g_variant_is_normal_form(got));
}

/* Files and directories whose names have @size bytes. */
static void check_directory(guint n_files, guint n_directories, gsize size) {
        g_auto(Dirtree) d = { { NULL } };
        const GByteArray *bytes;
        GVariantBuilder files, directories;

        dirtree_init(&d);
        g_variant_builder_init(&files, G_VARIANT_TYPE("a(say)"));
        g_variant_builder_init(&directories, G_VARIANT_TYPE("a(sayay)"));
        for (guint i = 0; i < n_files + n_directories; i++) {
                g_autofree char *name = g_strdup_printf("%0*u", (int)size, i);
                guint8 tree[DIGEST_SIZE], meta[DIGEST_SIZE];

                digest_bytes(&i, sizeof(i), tree);
                digest_bytes(tree, sizeof(tree), meta);
                if (i < n_files) {
                        dirtree_add_file(&d, name, tree);
                        g_variant_builder_add(&files, "(s@ay)", name, digest_variant(tree));
                } else {
                        dirtree_add_directory(&d, name, tree, meta);
                        g_variant_builder_add(&directories, "(s@ay@ay)", name, digest_variant(tree),
                                              digest_variant(meta));
                }
        }
        bytes = dirtree_finish(&d);
        check_bytes(
                g_variant_new("(@a(say)@a(sayay))", g_variant_builder_end(&files), g_variant_builder_end(&directories)),
                bytes->data, bytes->len);
}

static void test_sizes(void) {
        check_directory(0, 0, 1);
        for (gsize size = 1; size <= 255; size++) {
                check_directory(1, 0, size);
                check_directory(0, 1, size);
                check_directory(3, 2, size);
        }
}

/* One byte at a time past 64 KiB, where the offsets of a list and those of the whole get four bytes. */
static void test_many(void) {
        for (gsize size = 1; size <= 255; size++) {
                check_directory((guint)(65536 / (size + 36)), 0, size);
                check_directory(1, (guint)(65536 / (size + 70)), size);
        }
        check_directory(3000, 2000, 20);
}

static void test_meta(void) {
        g_autoptr(GVariant) xattrs =
                g_variant_ref_sink(g_variant_new_parsed("[(b'user.a', [byte 1, 2]), (b'user.longer', @ay [])]"));
        const Inode plain = { .mode = S_IFDIR | 0755, .uid = 1, .gid = 0x01020304 };
        Inode with = plain;

        for (guint i = 0; i < 2; i++) {
                const Inode *inode = i ? &with : &plain;
                g_autoptr(GByteArray) bytes = NULL;

                with.xattrs = xattrs;
                bytes = dirmeta_bytes(inode);
                check_bytes(g_variant_new("(uuu@a(ayay))", GUINT32_TO_BE(inode->uid), GUINT32_TO_BE(inode->gid),
                                          GUINT32_TO_BE(inode->mode),
                                          i ? xattrs : g_variant_new_array(G_VARIANT_TYPE("(ayay)"), NULL, 0)),
                            bytes->data, bytes->len);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/dirtree/sizes", test_sizes);
        g_test_add_func("/store/dirtree/many", test_many);
        g_test_add_func("/store/dirtree/meta", test_meta);
        return g_test_run();
}
