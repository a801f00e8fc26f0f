/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unit tests of the difference of trees: what a layer between two holds and what it leaves out, that it leads from one
 * to the other, and the list. Trees come from tars made by hand.
 */

#include "store/diff.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/chain.h"
#include "store/error.h"
#include "store/layer.h"
#include "tests/unit/store-objects.h"
#include "tests/unit/store-tar.h"

typedef struct {
        ObjectDir dir;
        GPtrArray *layers;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        object_dir_open(&f->dir, NULL);
        f->layers = g_ptr_array_new_with_free_func((GDestroyNotify)layer_free);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        g_ptr_array_unref(f->layers);
        object_dir_close(&f->dir);
}

/* The chain of one layer. */
static Tree *tree_of(Fixture *f, GByteArray *tar) {
        g_autoptr(GByteArray) owned = tar;
        g_autoptr(Stream) s = stream_new_memory(owned->data, owned->len);
        Layer *l = layer_new(&f->dir.job, f->dir.objects);
        Tree *t = tree_new();

        g_ptr_array_add(f->layers, l);
        g_assert_true(layer_read(l, s, NULL));
        g_assert_true(objects_settle(f->dir.objects, NULL));
        g_assert_true(chain_apply(t, l->tree, NULL));
        return t;
}

static void describe(const Node *n, GString *text, GHashTable *first) {
        for (const Node *c = n->child; c; c = c->next) {
                g_autofree char *path = tree_path(c);
                const char *other = g_hash_table_lookup(first, c->inode);
                g_autofree char *hex = g_strdup_printf("%02x%02x", c->inode->checksum[0], c->inode->checksum[1]);

                if (inode_is_dir(c->inode))
                        g_string_append_printf(text, "%s/ %o\n", path, c->inode->mode & 07777);
                else if (other)
                        g_string_append_printf(text, "%s = %s\n", path, other);
                else
                        g_string_append_printf(text, "%s %o %s\n", path, c->inode->mode, hex);
                if (!other)
                        g_hash_table_insert(first, c->inode, g_steal_pointer(&path));
                describe(c, text, first);
        }
}

static char *describe_tree(Tree *t) {
        g_autoptr(GHashTable) first = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        GString *text = g_string_new(NULL);

        tree_sort(tree_root(t));
        describe(tree_root(t), text, first);
        return g_string_free(text, FALSE);
}

static void names(const Node *n, GString *text) {
        for (const Node *c = n->child; c; c = c->next) {
                g_autofree char *path = tree_path(c);

                g_string_append_printf(text, "%s%s ", path, inode_is_dir(c->inode) ? "/" : "");
                names(c, text);
        }
}

/* The layer from @before to @after holds these names, the list says that, and the layer does what it should. */
static void check(Fixture *f, GByteArray *before, GByteArray *after, const char *layer, const char *list) {
        g_autoptr(Tree) from = tree_of(f, before), to = tree_of(f, after), diff = NULL;
        g_autoptr(GByteArray) records = g_byte_array_new();
        g_autoptr(GString) text = g_string_new(NULL);
        g_autofree char *wanted = NULL, *got = NULL;
        g_autoptr(GError) error = NULL;

        diff = tree_diff(from, to, records, &error);
        g_assert_no_error(error);
        tree_sort(tree_root(diff));
        names(tree_root(diff), text);
        g_assert_cmpstr(text->str, ==, layer);
        for (guint i = 0; i < records->len; i++)
                if (records->data[i] == '\0')
                        records->data[i] = '\n';
        g_byte_array_append(records, (const guint8 *)"", 1);
        g_assert_cmpstr((const char *)records->data, ==, list);
        g_assert_true(chain_apply(from, diff, NULL));
        wanted = describe_tree(to);
        got = describe_tree(from);
        g_assert_cmpstr(got, ==, wanted);
}

static void test_names(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        check(f, TAR_OF({ "a", '0', "x" }), TAR_OF({ "a", '0', "x" }), "", "");
        check(f, TAR_OF({ "a", '0', "x" }), TAR_OF({ "b", '0', "x" }), ".wh.a b ", "D /a\nA /b\n");
        check(f, TAR_OF({ "a", '0', "x" }), TAR_OF({ "a", '0', "y" }), "a ", "C /a\n");
        check(f, TAR_OF({ "d/e", '5' }, { "d/f", '0', "x" }, { "k", '0', "x" }),
              TAR_OF({ "d/e", '5' }, { "d/e/n", '0', "" }, { "d/f", '0', "x" }, { "k", '0', "x" }), "d/ d/e/ d/e/n ",
              "A /d/e/n\n");
        check(f, TAR_OF({ "d", '5' }), TAR_OF({ "d", '5', NULL, NULL, 0700 }), "d/ ", "C /d\n");
        check(f, TAR_OF({ "s", '2', "x" }), TAR_OF({ "s", '2', "y" }), "s ", "C /s\n");
        check(f, TAR_OF({ "p", '6' }), TAR_OF({ "p", '6' }), "", "");
}

static void test_types(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        check(f, TAR_OF({ "x", '0', "" }), TAR_OF({ "x/y", '0', "" }), "x/ x/y ", "C /x\nA /x/y\n");
        check(f, TAR_OF({ "x/y", '0', "" }, { "x/z", '0', "" }), TAR_OF({ "x", '0', "" }), "x ", "C /x\n");
        check(f, TAR_OF({ "x", '2', "y" }), TAR_OF({ "x", '5' }), "x/ ", "C /x\n");
}

static void test_opaque(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        g_autofree char *long_name = g_strnfill(255, 'n'), *path = g_strconcat("d/", long_name, NULL);
        g_autofree char *list = g_strconcat("D /", path, "\n", NULL);

        check(f, TAR_OF({ "d/a", '0', "" }, { "d/b", '0', "" }), TAR_OF({ "d", '5' }), "d/ d/.wh..wh..opq ",
              "C /d\nD /d/a\nD /d/b\n");
        check(f, TAR_OF({ "d/a", '0', "" }, { "d/b", '0', "" }, { "d/c", '0', "" }), TAR_OF({ "d/c", '0', "" }),
              "d/ d/.wh.a d/.wh.b ", "D /d/a\nD /d/b\n");
        check(f, TAR_OF({ "long", 'L', path }, { "n", '0', "" }, { "d/s/f", '0', "x" }), TAR_OF({ "d/s/f", '0', "x" }),
              "d/ d/.wh..wh..opq d/s/ d/s/f ", list);
}

static void test_links(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        check(f, TAR_OF({ "a", '0', "x" }, { "b", '1', "a" }, { "k", '0', "k" }),
              TAR_OF({ "a", '0', "x" }, { "b", '1', "a" }, { "k", '0', "k" }), "", "");
        check(f, TAR_OF({ "a", '0', "x" }), TAR_OF({ "a", '0', "x" }, { "b", '1', "a" }), "a b ", "C /a\nA /b\n");
        check(f, TAR_OF({ "a", '0', "x" }, { "b", '1', "a" }), TAR_OF({ "a", '0', "x" }, { "b", '0', "x" }), "a b ",
              "C /a\nC /b\n");
        check(f, TAR_OF({ "a", '0', "x" }, { "b", '0', "x" }), TAR_OF({ "a", '0', "x" }, { "b", '1', "a" }), "a b ",
              "C /a\nC /b\n");
        /* What goes or changes leaves the others as they are. */
        check(f, TAR_OF({ "a", '0', "x" }, { "b", '1', "a" }, { "c", '1', "a" }),
              TAR_OF({ "a", '0', "x" }, { "b", '1', "a" }), ".wh.c ", "D /c\n");
        check(f, TAR_OF({ "a", '0', "x" }, { "b", '1', "a" }), TAR_OF({ "a", '0', "y" }, { "b", '0', "x" }), "a ",
              "C /a\n");
        /* One that is written takes the others along. */
        check(f, TAR_OF({ "a", '0', "x" }, { "b", '1', "a" }, { "k", '0', "k" }),
              TAR_OF({ "b", '0', "x" }, { "n/a", '1', "b" }, { "k", '0', "k" }), ".wh.a b n/ n/a ",
              "D /a\nC /b\nA /n\nA /n/a\n");
}

/* Many names of one file take no quadratic time. */
static void test_many_links(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        GByteArray *tars[2];

        for (guint t = 0; t < 2; t++) {
                tars[t] = g_byte_array_new();
                test_entry(tars[t], &(TestEntry){ "f", '0', "x" });
                for (guint i = 0; i < 30000; i++) {
                        g_autofree char *name = g_strdup_printf("l%u", i);

                        test_header(tars[t], name, '1', 0, "f", 0644);
                }
                if (t == 1)
                        test_entry(tars[t], &(TestEntry){ "n", '0', "y" });
                test_end(tars[t]);
        }
        check(f, tars[0], tars[1], "n ", "A /n\n");
}

/* Neither do names of one file of which half have gone and half are files of their own now. */
static void test_many_parted_links(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        const guint n = 30000;
        g_autoptr(GString) layer = g_string_new(NULL), list = g_string_new(NULL);
        GByteArray *before = g_byte_array_new(), *after = g_byte_array_new();
        gint64 begun;

        test_entry(before, &(TestEntry){ "a00000", '0', "x" });
        for (guint i = 1; i < 2 * n; i++) {
                g_autofree char *name = g_strdup_printf("%c%05u", i < n ? 'a' : 'b', i);

                test_header(before, name, '1', 0, "a00000", 0644);
                if (i >= n)
                        test_entry(after, &(TestEntry){ name, '0', "x" });
        }
        for (guint i = 0; i < 2 * n; i++) {
                g_string_append_printf(layer, i < n ? ".wh.a%05u " : "b%05u ", i);
                g_string_append_printf(list, i < n ? "D /a%05u\n" : "C /b%05u\n", i);
        }
        test_end(before);
        test_end(after);
        begun = g_get_monotonic_time();
        check(f, before, after, layer->str, list->str);
        g_assert_cmpint(g_get_monotonic_time() - begun, <, 15 * G_USEC_PER_SEC);
}

static void test_refusal(Fixture *f G_GNUC_UNUSED, gconstpointer data G_GNUC_UNUSED) {
        g_autoptr(Tree) from = tree_new(), to = tree_new();
        g_autoptr(GError) error = NULL;

        (void)tree_add(to, tree_root(to), ".wh.x", 5, tree_inode(to, S_IFREG | 0644));
        g_assert_null(tree_diff(from, to, NULL, &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_UNSUPPORTED);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add("/store/diff/names", Fixture, NULL, set_up, test_names, tear_down);
        g_test_add("/store/diff/types", Fixture, NULL, set_up, test_types, tear_down);
        g_test_add("/store/diff/opaque", Fixture, NULL, set_up, test_opaque, tear_down);
        g_test_add("/store/diff/links", Fixture, NULL, set_up, test_links, tear_down);
        g_test_add("/store/diff/many-links", Fixture, NULL, set_up, test_many_links, tear_down);
        g_test_add("/store/diff/many-parted-links", Fixture, NULL, set_up, test_many_parted_links, tear_down);
        g_test_add("/store/diff/refusal", Fixture, NULL, set_up, test_refusal, tear_down);
        return g_test_run();
}
