/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Leases on disk and in time: what can be one and what it can hold, what a failing disk undoes, and every end but that
 * of a connection, which needs a real bus.
 */

#include "daemon/lease.h"

#include <errno.h>

#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/snapshot.h"
#include "shared/name.h"
#include "shared/process.h"
#include "tests/unit/break-records.h"
#include "tests/unit/bus-pair.h"
#include "tests/unit/fake-store.h"
#include "tests/unit/image-sample.h"

#define HEX(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define A "sha256:" HEX("aa")
#define B "sha256:" HEX("bb")
#define C "sha256:" HEX("cc")
#define D "sha256:" HEX("dd")

static Lease *make(Fixture *f, const char *id, uint64_t expire_usec) {
        const LeaseOptions options = { .expire_usec = expire_usec };
        Lease *l = NULL;

        g_assert_cmpint(lease_create(f->ns, id, &options, &l, NULL), ==, 0);
        return l;
}

static Lease *find(Fixture *f, const char *id) {
        return g_hash_table_lookup(f->ns->leases, id);
}

/* What a manager does that was killed: forgets everything and reads the records. */
static void reload(Fixture *f) {
        leases_done(f->ns);
        leases_init(f->ns);
        g_assert_cmpint(leases_load(f->ns), ==, 0);
}

static bool due(Fixture *f) {
        return faccessat(f->m.state_fd, "collection-due", F_OK, 0) == 0;
}

static void test_create(Fixture *f, const void *data _unused_) {
        g_autoptr(GHashTable) labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        const LeaseOptions plain = { 0 }, named = { .labels = labels }, far = { .expire_usec = UINT64_C(1) << 53 };
        Lease *l, *other;
        g_autofree char *id = NULL;

        g_hash_table_insert(labels, g_strdup("k"), g_strdup("v"));
        g_assert_cmpint(lease_create(f->ns, "a/b", &plain, &l, NULL), ==, -EINVAL);
        g_assert_cmpint(lease_create(f->ns, "a", &far, &l, NULL), ==, -EINVAL);
        g_assert_cmpint(lease_create(f->ns, "", &named, &l, NULL), ==, 0);
        g_assert_cmpint(lease_create(f->ns, l->id, &plain, &other, NULL), ==, -EEXIST);
        g_assert_cmpint(lease_create(f->ns, "b", &plain, &other, NULL), ==, 0);
        id = g_strdup(l->id);
        for (int i = 0; i < 2; i++) {
                g_assert_cmpuint(g_hash_table_size(f->ns->leases), ==, 2);
                g_assert_cmpint(lease_find(f->ns, id, &l, NULL), ==, 0);
                g_assert_cmpstr(g_hash_table_lookup(l->labels, "k"), ==, "v");
                g_assert_cmpuint(l->created, >, 0);
                g_assert_cmpuint(l->expires, ==, 0);
                g_assert_cmpstr(find(f, "b")->path, ==, DAVIT_BUS_PATH "/ns/default/lease/b");
                reload(f);
        }
        g_assert_cmpint(lease_find(f->ns, "c", &l, NULL), ==, -ENOENT);
}

static void test_resources(Fixture *f, const void *data _unused_) {
        static const struct {
                const char *type, *id;
                int r;
        } table[] = {
                { "image", "a:1", 0 },       { "snapshot", "s", 0 },
                { "chain", A, 0 },           { "content", B, 0 },
                { "content", B, 0 },         { "volume", "v", -EINVAL },
                { "chain", "s", -EINVAL },   { "content", "", -EINVAL },
                { "image", "", -EINVAL },    { "snapshot", "a\nb", -EINVAL },
                { "chain", A "0", -EINVAL },
        };
        Lease *l = make(f, "l", 0);

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_assert_cmpint(lease_add(l, table[i].type, table[i].id, NULL), ==, table[i].r);
                g_assert_cmpint(lease_has(l, table[i].type, table[i].id), ==, table[i].r == 0);
        }
        reload(f);
        l = find(f, "l");
        g_assert_cmpuint(g_hash_table_size(l->resources), ==, 4);
        g_assert_true(lease_of(f->ns, "snapshot", "s") == l);
        g_assert_null(lease_of(f->ns, "image", "s"));
        g_assert_false(due(f));
        g_assert_cmpint(lease_drop(l, "snapshot", "other", NULL), ==, -ENOENT);
        g_assert_false(due(f));
        g_assert_cmpint(lease_drop(l, "snapshot", "s", NULL), ==, 0);
        g_assert_true(due(f));
        reload(f);
        g_assert_null(lease_of(f->ns, "snapshot", "s"));
        g_assert_nonnull(lease_of(f->ns, "chain", A));
}

static void test_limit(Fixture *f, const void *data _unused_) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Lease *l = make(f, "l", 0);

        for (guint i = 0; i < LEASE_RESOURCES_MAX; i++)
                g_hash_table_add(l->resources, g_strdup_printf("image\ni%u", i));
        g_assert_cmpint(lease_add(l, "image", "i0", &error), ==, 0);
        g_assert_cmpint(lease_add(l, "image", "more", &error), <, 0);
        g_assert_cmpstr(error.name, ==, DAVIT_BUS_ERROR "ResourceExhausted");
        g_assert_cmpint(lease_drop(l, "image", "i0", NULL), ==, 0);
        g_assert_cmpint(lease_add(l, "image", "more", NULL), ==, 0);
}

/* What could not be written was not done. */
static void test_broken_disk(Fixture *f, const void *data _unused_) {
        const LeaseOptions plain = { 0 };
        Lease *l = make(f, "l", 0), *other;

        g_assert_cmpint(lease_add(l, "chain", A, NULL), ==, 0);
        break_records(f->m.state_fd, "leases");
        g_assert_cmpint(lease_create(f->ns, "m", &plain, &other, NULL), <, 0);
        g_assert_cmpint(lease_add(l, "chain", B, NULL), <, 0);
        g_assert_cmpint(lease_drop(l, "chain", A, NULL), <, 0);
        g_assert_cmpint(lease_set_labels(l, g_hash_table_new(NULL, NULL), NULL), <, 0);
        g_assert_true(find(f, "l") == l);
        g_assert_null(find(f, "m"));
        g_assert_true(lease_has(l, "chain", A));
        g_assert_false(lease_has(l, "chain", B));
        mend_records(f->m.state_fd, "leases");
        reload(f);
        g_assert_true(lease_has(find(f, "l"), "chain", A));
        g_assert_cmpuint(g_hash_table_size(f->ns->leases), ==, 1);
}

static void test_broken_records(Fixture *f, const void *data _unused_) {
        static const char *const broken[] = { "{", "{\"resources\":[\"chain\"]}", "{}", "[]" };
        _cleanup_close_ int fd = -1;

        (void)make(f, "good", 0);
        fd = dir_open_at(f->m.state_fd, "namespaces/default/leases", 0700);
        for (size_t i = 0; i < ELEMENTSOF(broken); i++) {
                g_autofree char *name = g_strdup_printf("b%zu.json", i);

                g_assert_cmpint(file_replace_at(fd, name, broken[i], strlen(broken[i]), 0600, false), ==, 0);
        }
        leases_done(f->ns);
        leases_init(f->ns);
        g_assert_cmpint(leases_load(f->ns), ==, ELEMENTSOF(broken));
        g_assert_cmpuint(g_hash_table_size(f->ns->leases), ==, 1);
        g_assert_nonnull(find(f, "good"));
}

static void wait_for_end(Fixture *f, const char *id) {
        for (gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC; find(f, id);) {
                g_assert_cmpint(g_get_monotonic_time(), <, end);
                g_assert_cmpint(sd_event_run(f->m.event, 100000), >=, 0);
        }
}

/* By itself, and, where it has expired meanwhile, right after a restart. */
static void test_expiry(Fixture *f, const void *data _unused_) {
        uint64_t begun = now_usec(CLOCK_REALTIME);

        (void)make(f, "stays", 0);
        (void)make(f, "long", 3600 * USEC_PER_SEC);
        (void)make(f, "short", USEC_PER_SEC / 10);
        turn(f);
        g_assert_nonnull(find(f, "short"));
        wait_for_end(f, "short");
        g_assert_cmpuint(now_usec(CLOCK_REALTIME) - begun, >=, USEC_PER_SEC / 10);
        g_assert_true(due(f));

        (void)make(f, "short", 1);
        g_usleep(1000);
        reload(f);
        g_assert_nonnull(find(f, "short"));
        wait_for_end(f, "short");
        reload(f);
        g_assert_cmpuint(g_hash_table_size(f->ns->leases), ==, 2);
        g_assert_true(find(f, "stays") && find(f, "long"));
}

/* A unique name means nothing on another bus than its own: such a lease is over. */
static void test_owner_of_another_bus(Fixture *f, const void *data _unused_) {
        const LeaseOptions options = { .owner = ":1.7" };
        BusPair pair;
        Lease *l;

        (void)make(f, "mine", 0);
        g_assert_cmpint(lease_create(f->ns, "owned", &options, &l, NULL), ==, 0);
        g_assert_cmpstr(l->owner, ==, ":1.7");
        turn(f);
        g_assert_nonnull(find(f, "owned"));

        bus_pair_open(&pair);
        for (int i = 0; i < 10; i++)
                g_assert_cmpint(sd_event_run(pair.event, 10000), >=, 0);
        f->m.bus = pair.server;
        reload(f);
        g_assert_nonnull(find(f, "owned"));
        wait_for_end(f, "owned");
        g_assert_nonnull(find(f, "mine"));
        g_assert_true(due(f));
        f->m.bus = NULL;
        bus_pair_close(&pair);
}

static void count(RootKind kind, const char *target, const RootReason *why, void *userdata) {
        g_autofree char *key = g_strdup_printf("%s %s", kind == ROOT_CHAIN ? "chain" : "content", target);

        g_assert_cmpstr(why->type, ==, "lease");
        g_assert_cmpstr(why->id, ==, "l");
        g_hash_table_add(userdata, g_steal_pointer(&key));
}

static GHashTable *roots(Fixture *f) {
        GHashTable *set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

        lease_visit_roots(f->ns, count, set);
        return set;
}

/* Chains and contents themselves, images and snapshots for what they are made of, as long as they are there. */
static void test_roots(Fixture *f, const void *data _unused_) {
        g_autoptr(GHashTable) all = NULL, less = NULL, none = NULL;
        Lease *l = make(f, "l", 0);
        Image *image;
        Snapshot *s;

        none = roots(f);
        g_assert_cmpuint(g_hash_table_size(none), ==, 0);
        g_assert_cmpint(image_put(f->ns, image_sample("a:1", B, C, D, "\"rootfs\":{},\"config\":{}"), &image), ==, 0);
        g_assert_cmpint(snapshot_prepare(f->ns, "s", image, false, &s, NULL), ==, 0);
        lease_add_late(&f->m, "default", "l", "chain", A, "image", "a:1", "snapshot", "s", "image", "gone:1", NULL);
        lease_add_late(&f->m, "default", "nobody", "chain", B, NULL);
        lease_add_late(&f->m, "nowhere", "l", "chain", B, NULL);
        g_assert_cmpuint(g_hash_table_size(l->resources), ==, 4);
        all = roots(f);
        g_assert_cmpuint(g_hash_table_size(all), ==, 4); /* the snapshot's chain is the image's */
        g_assert_true(g_hash_table_contains(all, "chain " A) && g_hash_table_contains(all, "chain " D) &&
                      g_hash_table_contains(all, "content " B) && g_hash_table_contains(all, "content " C));

        g_assert_cmpint(image_remove(image, NULL), ==, 0);
        less = roots(f);
        g_assert_cmpuint(g_hash_table_size(less), ==, 2);
        g_assert_true(g_hash_table_contains(less, "chain " A) && g_hash_table_contains(less, "chain " D));
        s->doomed = true;
        g_hash_table_remove_all(less);
        lease_visit_roots(f->ns, count, less);
        g_assert_cmpuint(g_hash_table_size(less), ==, 1);
}

#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("/lease/create", test_create);
        ADD("/lease/resources", test_resources);
        ADD("/lease/limit", test_limit);
        ADD("/lease/broken-disk", test_broken_disk);
        ADD("/lease/broken-records", test_broken_records);
        ADD("/lease/expiry", test_expiry);
        ADD("/lease/owner-of-another-bus", test_owner_of_another_bus);
        ADD("/lease/roots", test_roots);
        return g_test_run();
}
