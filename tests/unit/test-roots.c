/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What has to stay in the store: every kind of record is a root as long as it is there, and what operations hold for
 * as long as they say; of all namespaces, with the reason.
 */

#include "daemon/roots.h"

#include "daemon/container.h"
#include "daemon/content.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/snapshot.h"
#include "shared/name.h"
#include "tests/unit/fake-store.h"
#include "tests/unit/image-sample.h"

#define HEX(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define A "sha256:" HEX("aa")
#define B "sha256:" HEX("bb")
#define C "sha256:" HEX("cc")
#define D "sha256:" HEX("dd")
#define REST "\"rootfs\":{},\"config\":{}"

static void on_root(RootKind kind, const char *target, const RootReason *why, void *userdata) {
        char *line = g_strdup_printf("%s %.9s %s %s/%s", kind == ROOT_CHAIN ? "chain" : "content", target, why->type,
                                     why->ns, why->id);

        g_ptr_array_add(userdata, line);
}

static int by_text(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All roots, sorted, a line each. */
static char *all(Fixture *f) {
        g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

        roots_visit(&f->m, on_root, lines);
        g_ptr_array_sort(lines, by_text);
        g_ptr_array_add(lines, NULL);
        return g_strjoinv("\n", (char **)lines->pdata);
}

#define ASSERT_ROOTS(f, expected)                                                                                      \
        do {                                                                                                           \
                g_autofree char *got_ = all(f);                                                                        \
                g_assert_cmpstr(got_, ==, expected);                                                                   \
        } while (0)

static Image *put(Namespace *ns, ImageRecord *record) {
        Image *image = NULL;

        g_assert_cmpint(image_put(ns, record, &image), ==, 0);
        return image;
}

static void test_nothing(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) o = roots_to_json(&f->m);

        ASSERT_ROOTS(f, "");
        g_assert_false(roots_have(&f->m, ROOT_CHAIN, A));
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(o, "chains")), ==, 0);
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(o, "contents")), ==, 0);
}

static void test_images(Fixture *f, const void *data _unused_) {
        ImageRecord *record = image_sample("a:1", A, B, C, REST);

        g_free(record->index);
        record->index = g_strdup(D);
        (void)put(f->ns, record);
        ASSERT_ROOTS(f, "chain sha256:cc image default/a:1\n"
                        "content sha256:aa image default/a:1\n"
                        "content sha256:bb image default/a:1\n"
                        "content sha256:dd image default/a:1");
        (void)put(f->ns, image_sample("a:1", A, B, D, REST));
        ASSERT_ROOTS(f, "chain sha256:dd image default/a:1\n"
                        "content sha256:aa image default/a:1\n"
                        "content sha256:bb image default/a:1");
        g_assert_true(roots_have(&f->m, ROOT_CHAIN, D));
        g_assert_false(roots_have(&f->m, ROOT_CHAIN, C));
        g_assert_false(roots_have(&f->m, ROOT_CONTENT, D)); /* the kinds are told apart */
        g_assert_cmpint(image_remove(g_hash_table_lookup(f->ns->images, "a:1"), NULL), ==, 0);
        ASSERT_ROOTS(f, "");
}

/* What it stands on, as long as it is there or an operation is at work on it. */
static void test_snapshots(Fixture *f, const void *data _unused_) {
        Image *image = put(f->ns, image_sample("a:1", A, B, C, REST));
        Snapshot *s, *empty;

        g_assert_cmpint(snapshot_prepare(f->ns, "s", image, false, &s, NULL), ==, 0);
        g_assert_cmpint(snapshot_prepare(f->ns, "empty", NULL, false, &empty, NULL), ==, 0);
        g_assert_cmpint(image_remove(image, NULL), ==, 0);
        ASSERT_ROOTS(f, "chain sha256:cc snapshot default/s");
        s->doomed = true;
        ASSERT_ROOTS(f, "");
        s->n_jobs = 1;
        ASSERT_ROOTS(f, "chain sha256:cc snapshot default/s");
        s->n_jobs = 0;
        s->doomed = false;

        /* a committed one is its own chain, whatever it was made on */
        s->kind = SNAPSHOT_COMMITTED;
        g_free(s->chain_id);
        s->chain_id = g_strdup(D);
        ASSERT_ROOTS(f, "chain sha256:dd snapshot default/s");
}

/* What a commit of it is made from; its chain is its snapshot's matter. */
static void test_containers(Fixture *f, const void *data _unused_) {
        Container *c = g_new0(Container, 1), *bare = g_new0(Container, 1);

        c->ns = bare->ns = f->ns;
        c->id = g_strdup("c");
        bare->id = g_strdup("bare");
        bare->image_digest = g_strdup("");
        g_hash_table_insert(f->ns->containers, c->id, c);
        g_hash_table_insert(f->ns->containers, bare->id, bare);
        ASSERT_ROOTS(f, "");
        c->image_digest = g_strdup(A);
        c->image_config = g_strdup(B);
        ASSERT_ROOTS(f, "content sha256:aa container default/c\ncontent sha256:bb container default/c");
        g_hash_table_remove(f->ns->containers, "c");
        (void)container_free(c);
        ASSERT_ROOTS(f, "");
}

static void test_holds(Fixture *f, const void *data _unused_) {
        RootHold *chain = root_hold_new(&f->m, ROOT_CHAIN, A), *again = root_hold_new(&f->m, ROOT_CHAIN, A),
                 *content = root_hold_new(&f->m, ROOT_CONTENT, A);

        ASSERT_ROOTS(f, "chain sha256:aa operation /\nchain sha256:aa operation /\ncontent sha256:aa operation /");
        g_assert_null(root_hold_free(chain));
        g_assert_true(roots_have(&f->m, ROOT_CHAIN, A));
        g_assert_null(root_hold_free(again));
        g_assert_false(roots_have(&f->m, ROOT_CHAIN, A));
        g_assert_true(roots_have(&f->m, ROOT_CONTENT, A));
        g_assert_null(root_hold_free(content));
        g_assert_null(root_hold_free(NULL));
        g_assert_null(f->m.holds);
}

/* The store is told each but once, whoever needs it, in whichever namespace. */
static void test_all_namespaces(Fixture *f, const void *data _unused_) {
        g_autoptr(GHashTable) chains = NULL, contents = NULL;
        const LeaseOptions plain = { 0 };
        g_autoptr(JsonObject) o = NULL;
        Namespace *other;
        Lease *l;

        g_assert_cmpint(manager_namespace(&f->m, "other", true, &other, NULL), ==, 0);
        (void)put(f->ns, image_sample("a:1", A, B, C, REST));
        (void)put(other, image_sample("b:1", A, B, C, REST));
        g_assert_cmpint(lease_create(other, "l", &plain, &l, NULL), ==, 0);
        g_assert_cmpint(lease_add(l, "chain", D, NULL), ==, 0);
        g_assert_true(roots_have(&f->m, ROOT_CHAIN, D));
        chains = roots_of(&f->m, ROOT_CHAIN);
        contents = roots_of(&f->m, ROOT_CONTENT);
        g_assert_cmpuint(g_hash_table_size(chains), ==, 2);
        g_assert_true(g_hash_table_contains(chains, C) && g_hash_table_contains(chains, D));
        g_assert_cmpuint(g_hash_table_size(contents), ==, 2);
        g_assert_true(g_hash_table_contains(contents, A) && g_hash_table_contains(contents, B));
        o = roots_to_json(&f->m);
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(o, "chains")), ==, 2);
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(o, "contents")), ==, 2);
        g_assert_cmpint(image_remove(g_hash_table_lookup(f->ns->images, "a:1"), NULL), ==, 0);
        g_assert_true(roots_have(&f->m, ROOT_CHAIN, C));
        g_hash_table_remove(f->m.namespaces, "other");
        (void)namespace_free(other);
        ASSERT_ROOTS(f, "");
}

#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("/roots/nothing", test_nothing);
        ADD("/roots/images", test_images);
        ADD("/roots/snapshots", test_snapshots);
        ADD("/roots/containers", test_containers);
        ADD("/roots/holds", test_holds);
        ADD("/roots/all-namespaces", test_all_namespaces);
        return g_test_run();
}
