/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a snapshot may stand on, by whatever name, and what is believed of a worker that has committed one.
 */

#include <errno.h>

#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/snapshot.h"
#include "shared/name.h"
#include "tests/unit/fake-store.h"
#include "tests/unit/image-sample.h"

#define HEX(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define A "sha256:" HEX("aa")
#define B "sha256:" HEX("bb")
#define C "sha256:" HEX("cc")
#define D "sha256:" HEX("dd")
#define ROOT(path)                                                                                                     \
        "\"rootfs\":{\"form\":\"checkout\",\"path\":\"" DAVIT_STATE_DIR "/checkouts/" path                             \
        "\",\"root\":{\"uid\":1,\"gid\":2,\"mode\":448}},\"config\":{}"

static void put_image(Namespace *ns) {
        g_assert_cmpint(image_put(ns, image_sample("a:1", A, B, C, ROOT(HEX("cc"))), NULL), ==, 0);
}

static Snapshot *put_snapshot(Namespace *ns, const char *key, SnapshotKind kind, const char *chain_id) {
        const SnapshotOptions options = { .kind = kind == SNAPSHOT_VIEW ? kind : SNAPSHOT_ACTIVE };
        const SnapshotBase base = { .chain_id = (char *)D, .root = { 3, 4, 0711 } };
        Snapshot *s = NULL;

        g_assert_cmpint(snapshot_make(ns, key, &base, &options, &s, NULL), ==, 0);
        s->kind = kind;
        g_free(s->chain_id);
        s->chain_id = g_strdup(chain_id);
        return s;
}

static void stands_on(Namespace *ns, const char *parent, int expected, const char *chain_id, const char *key,
                      SnapshotRoot root) {
        SnapshotBase base;

        g_assert_cmpint(snapshot_base_resolve(ns, parent, &base, NULL), ==, expected);
        g_assert_cmpstr(base.chain_id, ==, chain_id);
        g_assert_cmpstr(base.key, ==, key);
        g_assert_cmpuint(base.root.uid, ==, root.uid);
        g_assert_cmpuint(base.root.gid, ==, root.gid);
        g_assert_cmpuint(base.root.mode, ==, root.mode);
        snapshot_base_done(&base);
        g_assert_null(base.chain_id);
}

static void is_no_parent(Namespace *ns, const char *parent, int expected, const char *words) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        SnapshotBase base;

        g_assert_cmpint(snapshot_base_resolve(ns, parent, &base, &error), ==, expected);
        g_assert_nonnull(strstr(error.message, words));
        snapshot_base_done(&base);
}

static void test_parents(Fixture *f, const void *data _unused_) {
        const SnapshotRoot plain = { .mode = 0755 }, image = { 1, 2, 0700 }, snapshot = { 3, 4, 0711 };

        put_image(f->ns);
        (void)put_snapshot(f->ns, "active", SNAPSHOT_ACTIVE, "");
        (void)put_snapshot(f->ns, "view", SNAPSHOT_VIEW, "");
        (void)put_snapshot(f->ns, "done", SNAPSHOT_COMMITTED, A);

        stands_on(f->ns, "", 0, NULL, NULL, plain);
        stands_on(f->ns, "image:a:1", 0, C, NULL, image);
        stands_on(f->ns, "done", 0, A, "done", snapshot);
        stands_on(f->ns, A, 0, A, NULL, snapshot); /* by its chain: not this snapshot's child */
        stands_on(f->ns, C, 0, C, NULL, image);
        stands_on(f->ns, D, 0, D, NULL, snapshot); /* what others stand on is in the store, too */
        stands_on(f->ns, B, 1, B, NULL, plain);    /* no chain that is known here: the store knows */

        is_no_parent(f->ns, "active", -EBUSY, "active");
        is_no_parent(f->ns, "view", -EBUSY, "a view");
        is_no_parent(f->ns, "nothing", -ENOENT, "nothing");
        is_no_parent(f->ns, "image:nothing", -ENOENT, "nothing");
        is_no_parent(f->ns, "image:../x", -EINVAL, "../x");
        is_no_parent(f->ns, "sha256:abc", -ENOENT, "sha256:abc");
}

/* Chains are those of all namespaces, names are not; what is about to go is nothing to stand on. */
static void test_other_namespace(Fixture *f, const void *data _unused_) {
        const SnapshotRoot plain = { .mode = 0755 }, image = { 1, 2, 0700 }, snapshot = { 3, 4, 0711 };
        Namespace *other;
        Snapshot *s;

        g_assert_cmpint(manager_namespace(&f->m, "other", true, &other, NULL), ==, 0);
        put_image(other);
        s = put_snapshot(other, "done", SNAPSHOT_COMMITTED, A);
        stands_on(f->ns, C, 0, C, NULL, image);
        stands_on(f->ns, A, 0, A, NULL, snapshot);
        is_no_parent(f->ns, "done", -ENOENT, "done");
        is_no_parent(f->ns, "image:a:1", -ENOENT, "a:1");
        s->doomed = true;
        stands_on(f->ns, A, 1, A, NULL, plain);
        g_hash_table_remove(f->m.namespaces, "other");
        (void)namespace_free(other);
}

/* ---- commits ---- */

#define LAYERS "[{\"diff_id\":\"" B "\",\"digest\":\"" B "\",\"size\":5}]"
#define GOOD                                                                                                           \
        "{\"chain_id\":\"" B "\",\"diff_id\":\"" B "\",\"size\":5,\"inodes\":3,\"rootfs\":{\"root\":{\"uid\":1,"       \
        "\"gid\":2,\"mode\":448}},\"layers\":" LAYERS "}"

static int parse(const char *text, const char *parent, SnapshotCommit *ret) {
        g_autoptr(JsonObject) o = NULL;

        g_assert_cmpint(store_text_parse(text, strlen(text), &o), ==, 0);
        return snapshot_commit_parse(o, parent, ret);
}

static char *replace(const char *text, const char *from, const char *to) {
        g_auto(GStrv) parts = g_strsplit(text, from, 2);

        g_assert_cmpuint(g_strv_length(parts), ==, 2); /* a case that changes nothing tests nothing */
        return g_strjoinv(to, parts);
}

static void test_commit(void) {
        g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, A " " B, -1),
                        *chain_id = g_strconcat("\"chain_id\":\"sha256:", sum, NULL), *upon = NULL;
        SnapshotCommit c;

        g_assert_cmpint(parse(GOOD, "", &c), ==, 0);
        g_assert_cmpstr(c.chain_id, ==, B);
        g_assert_cmpstr(c.diff_id, ==, B);
        g_assert_cmpuint(c.size, ==, 5);
        g_assert_cmpuint(c.inodes, ==, 3);
        g_assert_cmpuint(c.root.gid, ==, 2);
        g_assert_cmpuint(json_array_get_length(c.layers), ==, 1);
        snapshot_commit_done(&c);

        upon = replace(GOOD, "\"chain_id\":\"" B, chain_id);
        g_assert_cmpint(parse(upon, A, &c), ==, 0);
        snapshot_commit_done(&c);
        g_assert_cmpint(parse(upon, "", &c), <, 0);
        g_assert_cmpint(parse(upon, D, &c), <, 0);
        g_assert_cmpint(parse(GOOD, A, &c), <, 0);
}

static void test_wrong_commits(void) {
        static const char *const table[][2] = {
                { "\"chain_id\":\"" B, "\"chain_id\":\"" A },
                { "\"chain_id\":\"sha256:", "\"chain_id\":\"" },
                { "\"diff_id\":\"" B "\",\"size\"", "\"diff_id\":5,\"size\"" },
                { "\"diff_id\":\"" B "\",\"size\"", "\"size\"" },
                { "\"size\":5,\"inodes\"", "\"size\":-5,\"inodes\"" },
                { "\"size\":5,\"inodes\"", "\"size\":9007199254740992,\"inodes\"" },
                { "\"inodes\":3", "\"inodes\":\"3\"" },
                { "\"inodes\":3", "\"inodes\":9007199254740992" },
                { "\"rootfs\":{", "\"rootfs\":[],\"r\":{" },
                { "\"root\":{", "\"root\":5,\"r\":{" },
                { "\"uid\":1,", "" },
                { "\"uid\":1", "\"uid\":4294967295" },
                { "\"gid\":2", "\"gid\":-1" },
                { "\"mode\":448", "\"mode\":4096" },
                { "\"layers\":" LAYERS, "\"layers\":[]" },
                { "\"layers\":" LAYERS, "\"layers\":{}" },
                { ",\"layers\":" LAYERS, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_autofree char *text = replace(GOOD, table[i][0], table[i][1]);
                SnapshotCommit c = { 0 };

                if (parse(text, "", &c) >= 0)
                        g_error("\"%s\" is taken", table[i][1]);
                g_assert_null(c.chain_id);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add("/snapshot-base/parents", Fixture, NULL, set_up, test_parents, tear_down);
        g_test_add("/snapshot-base/other-namespace", Fixture, NULL, set_up, test_other_namespace, tear_down);
        g_test_add_func("/snapshot-base/commit", test_commit);
        g_test_add_func("/snapshot-base/wrong-commits", test_wrong_commits);
        return g_test_run();
}
