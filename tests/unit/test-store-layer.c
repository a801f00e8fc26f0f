/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unit tests of layers and chains in memory: entries to trees, the record's way back, merging. Objects go to a
 * directory of the test's.
 */

#include "store/layer.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/chain.h"
#include "store/error.h"
#include "tests/unit/store-objects.h"
#include "tests/unit/store-tar.h"

static void set_up(ObjectDir *f, gconstpointer data G_GNUC_UNUSED) {
        object_dir_open(f, NULL);
}

static void tear_down(ObjectDir *f, gconstpointer data G_GNUC_UNUSED) {
        object_dir_close(f);
}

/* Reads and settles; a layer that fails is freed only then, as the library's rule is. */
static Layer *read_layer(ObjectDir *f, GByteArray *tar, GError **error) {
        g_autoptr(GByteArray) owned = tar;
        g_autoptr(Stream) s = stream_new_memory(owned->data, owned->len);
        g_autoptr(Layer) l = layer_new(&f->job, f->objects);
        gboolean ok = layer_read(l, s, error);

        g_assert_true(objects_settle(f->objects, NULL));
        return ok ? g_steal_pointer(&l) : NULL;
}

static void describe(const Node *n, GString *text) {
        for (const Node *c = n->child; c; c = c->next) {
                g_autofree char *path = tree_path(c);
                const Inode *i = c->inode;

                g_string_append_printf(text, "%s%s%s%s\n", path, inode_is_dir(i) ? "/" : "",
                                       i->flags & INODE_IMPLICIT ? " implicit" : "",
                                       i->flags & INODE_FOREIGN ? " foreign" : "");
                describe(c, text);
        }
}

static char *describe_tree(Tree *t) {
        GString *text = g_string_new(NULL);

        tree_sort(tree_root(t));
        describe(tree_root(t), text);
        return g_string_free(text, FALSE);
}

static void check(ObjectDir *f, GByteArray *tar, const char *expected) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Layer) l = read_layer(f, tar, &error);
        g_autofree char *text = NULL;

        g_assert_no_error(error);
        text = describe_tree(l->tree);
        g_assert_cmpstr(text, ==, expected);
}

static void refuse(ObjectDir *f, GByteArray *tar, StoreFail code) {
        g_autoptr(GError) error = NULL;

        g_assert_null(read_layer(f, tar, &error));
        g_assert_error(error, STORE_FAIL, (int)code);
}

static void test_paths(void) {
        static const struct {
                const char *in, *out;
        } rows[] = {
                { "a/b", "a/b" },  { "/a", "a" },    { "./a//b/./c/", "a/b/c" },
                { "a/../b", "b" }, { ".", "" },      { "/", "" },
                { "a/..", "" },    { "..", NULL },   { "a/../../b", NULL },
                { "/..", NULL },   { "...", "..." }, { "", "" },
        };

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *path = layer_path(rows[i].in, NULL);

                g_assert_cmpstr(path, ==, rows[i].out);
        }
}

static void test_entries(ObjectDir *f, gconstpointer data G_GNUC_UNUSED) {
        check(f, TAR_OF({ "./", '5' }, { "d", '5' }, { "d/f", '0', "x" }, { "i/m/p", '0', "y" }),
              "d/\nd/f\ni/ implicit\ni/m/ implicit\ni/m/p\n");
        check(f, TAR_OF({ "x", '0', "f" }, { "x", '5' }, { "x/y", '0', "" }), "x/\nx/y\n");
        check(f, TAR_OF({ "x", '5' }, { "x/y", '0', "" }, { "x", '2', "f" }), "x\n");
        check(f, TAR_OF({ "i/x", '0', "" }, { "i", '5' }), "i/\ni/x\n");
        check(f,
              TAR_OF({ "d", '5' }, { "s", '2', "d" }, { "s/x", '0', "" }, { "t", '2', "/s/../d/./n" },
                     { "t/x", '0', "" }),
              "d/\nd/n/ implicit\nd/n/x\nd/x\ns\nt\n");
        check(f, TAR_OF({ "h", '1', "lower/file" }), "h foreign\n");
        check(f, TAR_OF({ "h", '0', "self" }, { "h", '1', "h" }), "h\n");
}

static void test_refusals(ObjectDir *f, gconstpointer data G_GNUC_UNUSED) {
        refuse(f, TAR_OF({ ".", '2', "/etc" }), STORE_FAIL_INVALID);
        refuse(f, TAR_OF({ "../x", '0', "" }), STORE_FAIL_INVALID);
        refuse(f, TAR_OF({ "f", '0', "" }, { "f/x", '0', "" }), STORE_FAIL_INVALID);
        refuse(f, TAR_OF({ "d", '5' }, { "h", '1', "d" }), STORE_FAIL_INVALID);
        refuse(f, TAR_OF({ "h", '1', "../../etc/passwd" }), STORE_FAIL_INVALID);
        refuse(f, TAR_OF({ "s", '2', "" }), STORE_FAIL_INVALID);
        refuse(f, TAR_OF({ "a", '2', "b/x" }, { "b", '2', "a/x" }, { "a/f", '0', "" }), STORE_FAIL_INVALID);
        refuse(f, TAR_OF({ ".wh.", '0', "" }), STORE_FAIL_INVALID);
        refuse(f, TAR_OF({ ".wh..", '0', "" }), STORE_FAIL_INVALID);
        refuse(f, TAR_OF({ ".wh.d/x", '0', "" }), STORE_FAIL_INVALID);
        g_assert_true(store_limits_set(&f->job.limits, "depth", 3, NULL));
        refuse(f, TAR_OF({ "1/2/3/4", '0', "" }), STORE_FAIL_EXHAUSTED);
        refuse(f, TAR_OF({ "s", '2', "1/2" }, { "s/3/4", '0', "" }), STORE_FAIL_EXHAUSTED);
}

static int open_object(void *userdata, const guint8 checksum[DIGEST_SIZE]) {
        const ObjectDir *f = userdata;
        char name[OBJECT_NAME];

        object_name(checksum, ".file", name);
        return openat(f->fd, name, O_RDONLY | O_CLOEXEC);
}

/* The record gives back the same tree, and with the objects the same bytes. */
static void test_record(ObjectDir *f, gconstpointer data G_GNUC_UNUSED) {
        const TestEntry entries[] = { { "d", '5' },
                                      { "d/f", '0', "first" },
                                      { "d/f", '0', "second" },
                                      { "d/\xff\xfe", '0', "bytes" },
                                      { "l", '2', "\xff" },
                                      { "h", '1', "d/f" },
                                      { "e", '0', "" },
                                      { "p", '6' },
                                      { "m", '2', "d" },
                                      { "x", '0', "y", "13 path=q\xc3\xa4q\n" },
                                      { NULL } };
        g_autoptr(GByteArray) tar = tar_of(entries);
        g_autoptr(GError) error = NULL;
        g_autoptr(Layer) l = read_layer(f, g_byte_array_ref(tar), &error), again = NULL;
        g_autoptr(Stream) s = NULL;
        g_auto(Split) split = { NULL };
        g_autofree char *before = NULL, *after = NULL;
        g_autofree guint8 *bytes = g_malloc(tar->len + 1);

        g_assert_no_error(error);
        split_writer_finish(l->split, &split);
        again = layer_replay(&f->job, &split, &error);
        g_assert_no_error(error);
        before = describe_tree(l->tree);
        after = describe_tree(again->tree);
        g_assert_cmpstr(before, ==, after);
        s = split_stream_new(&f->job, &split, open_object, f);
        g_assert_cmpint(stream_read_full(s, bytes, tar->len + 1, &error), ==, (gssize)tar->len);
        g_assert_no_error(error);
        g_assert_cmpmem(bytes, tar->len, tar->data, tar->len);
}

/* ostree-core.h: the header of a file object, its size in front; the checksum is libostree's for an empty file of
 * root's, mode 0644. */
static void test_object_checksum(ObjectDir *f, gconstpointer data G_GNUC_UNUSED) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Layer) l = read_layer(f, TAR_OF({ "e", '0', "" }), &error);
        char hex[DIGEST_HEX];

        g_assert_no_error(error);
        digest_hex(tree_root(l->tree)->child->inode->checksum, hex);
        g_assert_cmpstr(hex, ==, "cc700d46f407c6c5ab2d5dde474366a928b7398277e61162e7f8ec06f469f07e");
}

static void check_chain(ObjectDir *f, GByteArray *lower, GByteArray *upper, const char *expected) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Layer) one = read_layer(f, lower, &error), two = read_layer(f, upper, &error);
        g_autoptr(Tree) chain = tree_new();
        g_autofree char *text = NULL;

        g_assert_no_error(error);
        g_assert_true(chain_apply(chain, one->tree, &error));
        if (!expected) {
                g_assert_false(chain_apply(chain, two->tree, &error));
                return;
        }
        g_assert_true(chain_apply(chain, two->tree, &error));
        g_assert_no_error(error);
        text = describe_tree(chain);
        g_assert_cmpstr(text, ==, expected);
}

static void test_chain(ObjectDir *f, gconstpointer data G_GNUC_UNUSED) {
        check_chain(f, TAR_OF({ "a", '0', "" }, { "d", '5' }, { "d/x", '0', "" }),
                    TAR_OF({ ".wh.a", '0', "" }, { "d/y", '0', "" }), "d/\nd/x\nd/y\n");
        check_chain(f, TAR_OF({ "d", '5' }, { "d/x", '0', "" }),
                    TAR_OF({ "d/y", '0', "" }, { "d/.wh..wh..opq", '0', "" }), "d/\nd/y\n");
        check_chain(f, TAR_OF({ "d", '5' }, { "d/x", '0', "" }), TAR_OF({ "d", '0', "" }), "d\n");
        check_chain(f, TAR_OF({ "x", '2', "/tmp" }), TAR_OF({ "x/f", '0', "" }), "x/ implicit\nx/f\n");
        check_chain(f, TAR_OF({ "-a", '0', "old" }), TAR_OF({ "-a", '0', "new" }, { ".wh.-a", '0', "" }), "-a\n");
        check_chain(f, TAR_OF({ "a", '0', "" }), TAR_OF({ ".wh..wh.plnk", '0', "" }), "a\n");
        check_chain(f, TAR_OF({ "a", '0', "" }), TAR_OF({ "h", '1', "a" }, { "i", '1', "h" }), "a\nh\ni\n");
        check_chain(f, TAR_OF({ "a", '0', "" }), TAR_OF({ "h", '1', "gone" }), NULL);
        check_chain(f, TAR_OF({ "d", '5' }), TAR_OF({ "h", '1', "d" }), NULL);
}

/* Removing many entries one by one takes no quadratic time. */
static void test_many_whiteouts(ObjectDir *f, gconstpointer data G_GNUC_UNUSED) {
        g_autoptr(GByteArray) lower = g_byte_array_new(), upper = g_byte_array_new();

        for (guint i = 0; i < 20000; i++) {
                g_autofree char *name = g_strdup_printf("p%u", i), *whiteout = g_strdup_printf(".wh.p%u", i);

                test_header(lower, name, '6', 0, "", 0644);
                test_header(upper, whiteout, '0', 0, "", 0644);
        }
        test_end(lower);
        test_end(upper);
        check_chain(f, g_steal_pointer(&lower), g_steal_pointer(&upper), "");
}

/* Links to links to files of a lower layer: told by their number, and resolved in no quadratic time. */
static void test_linked_links(ObjectDir *f, gconstpointer data G_GNUC_UNUSED) {
        for (guint n = 20; n <= 20000; n *= 1000) {
                g_autoptr(GByteArray) upper = g_byte_array_new();
                g_autoptr(GError) error = NULL;
                g_autoptr(Layer) lower = read_layer(f, TAR_OF({ "a", '0', "" }), &error), layer = NULL;
                g_autoptr(Tree) chain = tree_new();

                for (guint i = n; i > 0; i--) {
                        g_autofree char *directory = g_strdup_printf("d%u", i - 1);

                        test_header(upper, directory, '5', 0, "", 0755);
                }
                for (guint i = 0; i < n; i++) {
                        g_autofree char *name = g_strdup_printf("d%u/l", i), *next = g_strdup_printf("d%u/l", i + 1);

                        test_header(upper, name, '1', 0, i + 1 < n ? next : "a", 0644);
                }
                test_end(upper);
                layer = read_layer(f, g_steal_pointer(&upper), &error);
                g_assert_no_error(error);
                g_assert_true(chain_apply(chain, lower->tree, &error));
                g_assert_cmpint(chain_apply(chain, layer->tree, &error), ==, n == 20);
        }
}

static void test_chain_id(void) {
        guint8 chain[DIGEST_SIZE], diff[DIGEST_SIZE];
        char text[DIGEST_STRING];

        memset(diff, 0x11, sizeof(diff));
        chain_id_next(chain, TRUE, diff);
        g_assert_cmpmem(chain, sizeof(chain), diff, sizeof(diff));
        memset(diff, 0x22, sizeof(diff));
        chain_id_next(chain, FALSE, diff);
        digest_string(chain, text);
        g_assert_cmpstr(text, ==, "sha256:9932074217c35353d2e03a3f5a86549f7c67bfeb0ba53e23d69f4d4c8f7958f5");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/layer/paths", test_paths);
        g_test_add("/store/layer/entries", ObjectDir, NULL, set_up, test_entries, tear_down);
        g_test_add("/store/layer/refusals", ObjectDir, NULL, set_up, test_refusals, tear_down);
        g_test_add("/store/layer/record", ObjectDir, NULL, set_up, test_record, tear_down);
        g_test_add("/store/layer/object-checksum", ObjectDir, NULL, set_up, test_object_checksum, tear_down);
        g_test_add("/store/chain/merge", ObjectDir, NULL, set_up, test_chain, tear_down);
        g_test_add("/store/chain/many-whiteouts", ObjectDir, NULL, set_up, test_many_whiteouts, tear_down);
        g_test_add("/store/chain/linked-links", ObjectDir, NULL, set_up, test_linked_links, tear_down);
        g_test_add_func("/store/chain/id", test_chain_id);
        return g_test_run();
}
