/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Images and snapshots on disk: tables and records in directories of the test's own, no bus and no store.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/collect.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/record.h"
#include "daemon/roots.h"
#include "daemon/snapshot-dir.h"
#include "daemon/store-client.h"
#include "daemon/sync.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "tests/unit/image-sample.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

typedef struct Fixture {
        char *dir;
        Manager m;
        Namespace ns;
} Fixture;

static void tables_init(Fixture *f) {
        images_init(&f->ns);
        snapshots_init(&f->ns);
        leases_init(&f->ns);
        f->ns.containers = g_hash_table_new(g_str_hash, g_str_equal);
        g_hash_table_insert(f->m.namespaces, f->ns.name, &f->ns);
}

static void tables_done(Fixture *f) {
        g_hash_table_remove_all(f->m.namespaces);
        g_hash_table_unref(f->ns.containers);
        snapshots_done(&f->ns);
        leases_done(&f->ns);
        images_done(&f->ns);
}

/* Waits for what is being taken away. */
static void settle(Fixture *f) {
        while (sd_event_run(f->m.event, 0) > 0)
                ;
        f->m.sync = sync_free(f->m.sync);
        g_assert_cmpint(sync_new(f->m.event, &f->m.sync), >=, 0);
}

static void set_up(Fixture *f, const void *data _unused_) {
        _cleanup_close_ int fd = -1;

        f->dir = g_dir_make_tmp("davit-image-XXXXXX", NULL);
        g_assert_nonnull(f->dir);
        fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        f->m.state_fd = dir_open_at(fd, "state", 0700);
        f->m.runtime_fd = dir_open_at(fd, "run", 0700);
        g_assert_cmpint(f->m.state_fd, >=, 0);
        g_assert_cmpint(f->m.runtime_fd, >=, 0);
        f->m.namespaces = g_hash_table_new(g_str_hash, g_str_equal);
        f->ns.manager = &f->m;
        f->ns.name = g_strdup("default");
        g_assert_cmpint(sd_event_new(&f->m.event), >=, 0);
        settle(f);
        tables_init(f);
        g_assert_cmpint(collector_new(&f->m, &f->m.collector), ==, 0);
}

static void tear_down(Fixture *f, const void *data _unused_) {
        f->m.collector = collector_free(f->m.collector);
        f->m.sync = sync_free(f->m.sync);
        sd_event_unref(f->m.event);
        tables_done(f);
        g_hash_table_unref(f->m.namespaces);
        g_free(f->ns.name);
        (void)safe_close(f->m.state_fd);
        (void)safe_close(f->m.runtime_fd);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, f->dir), ==, 0);
        g_free(f->dir);
}

/* What a manager does that was killed: forgets everything and reads the records. */
static int reload(Fixture *f) {
        int images, snapshots;

        settle(f);
        tables_done(f);
        tables_init(f);
        images = images_load(&f->ns);
        snapshots = snapshots_load(&f->ns);
        g_assert_cmpint(images, >=, 0);
        g_assert_cmpint(snapshots, >=, 0);
        return images + snapshots;
}

static ImageRecord *record_new(const char *name, const char *hex) {
        g_autofree char *digest = g_strconcat("sha256:", hex, NULL), *rest = NULL;

        rest = g_strdup_printf("\"rootfs\":{\"form\":\"checkout\",\"path\":\"" DAVIT_STATE_DIR
                               "/checkouts/%s\",\"root\":{\"uid\":0,\"gid\":0,\"mode\":1005}},"
                               "\"config\":{\"StopSignal\":\"SIGINT\",\"Labels\":{\"a\":\"b\"}}",
                               hex);
        return image_sample(name, digest, digest, digest, rest);
}

static bool exists(int fd, const char *path) {
        return faccessat(fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_put_and_lookup(Fixture *f, const void *data _unused_) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Image *image, *found;

        g_assert_cmpint(image_put(&f->ns, record_new("debian", HEX_A), &image), ==, 0);
        for (int i = 0; i < 2; i++) {
                g_assert_cmpint(image_lookup(&f->ns, "debian", &found, &error), ==, 0);
                g_assert_cmpint(image_lookup(&f->ns, "debian:latest", &found, &error), ==, 0);
                g_assert_cmpstr(found->record->chain_id, ==, "sha256:" HEX_A);
                g_assert_cmpuint(found->record->imported, >, 0);
                g_assert_cmpstr(image_stop_signal(found), ==, "SIGINT");
                g_assert_cmpstr(g_hash_table_lookup(found->labels, "a"), ==, "b");
                g_assert_cmpstr(found->path, ==, DAVIT_BUS_PATH "/ns/default/image/debian_3alatest");
                g_assert_cmpint(reload(f), ==, 0);
        }
        g_assert_cmpint(image_lookup(&f->ns, "debian:12", &found, &error), ==, -ENOENT);
        g_assert_cmpstr(error.name, ==, DAVIT_BUS_ERROR "NotFound");
        sd_bus_error_free(&error);
        g_assert_cmpint(image_lookup(&f->ns, "../x", &found, &error), ==, -EINVAL);
        g_assert_cmpstr(error.name, ==, DAVIT_BUS_ERROR "InvalidArgument");
}

/* Names are given, changed and taken, and a restart finds them so. */
static void test_tag_and_rename(Fixture *f, const void *data _unused_) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Image *a, *b, *c;

        g_assert_cmpint(image_put(&f->ns, record_new("a:1", HEX_A), &a), ==, 0);
        g_assert_cmpint(image_tag(a, "b", &b, NULL), ==, 0);
        g_assert_cmpstr(b->record->name, ==, "b:latest");
        g_assert_cmpstr(b->record->digest, ==, a->record->digest);
        g_assert_cmpint(image_tag(a, "b:latest", &c, NULL), ==, 0);
        g_assert_true(b == c);
        g_assert_cmpint(image_tag(a, "../b", &c, &error), ==, -EINVAL);
        g_assert_cmpint(image_tag(a, "x@sha256:" HEX_B, &c, NULL), ==, -EINVAL);
        g_assert_cmpint(image_tag(a, "x@sha256:" HEX_A, &c, NULL), ==, 0);
        g_assert_cmpint(image_rename(b, "a:1", &c, NULL), ==, -EEXIST);
        g_assert_cmpint(image_rename(b, "c:2", &c, NULL), ==, 0);
        for (int i = 0; i < 2; i++) {
                g_assert_cmpuint(g_hash_table_size(f->ns.images), ==, 3);
                g_assert_null(g_hash_table_lookup(f->ns.images, "b:latest"));
                g_assert_nonnull(g_hash_table_lookup(f->ns.images, "c:2"));
                g_assert_cmpint(reload(f), ==, 0);
        }
}

/* A pin survives restart, re-import and renaming, and is not copied. */
static void test_pin(Fixture *f, const void *data _unused_) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Image *a, *b, *c;

        g_assert_cmpint(image_put(&f->ns, record_new("a:1", HEX_A), &a), ==, 0);
        g_assert_cmpint(image_set_pinned(a, true, NULL), ==, 0);
        g_assert_cmpint(image_tag(a, "b:1", &b, NULL), ==, 0);
        g_assert_false(b->record->pinned);
        g_assert_cmpint(image_put(&f->ns, record_new("a:1", HEX_B), &a), ==, 0);
        g_assert_true(a->record->pinned);
        g_assert_cmpint(image_tag(b, "a:1", &c, &error), ==, -EBUSY);
        g_assert_cmpstr(error.name, ==, DAVIT_BUS_ERROR "FailedPrecondition");
        g_assert_cmpint(image_rename(a, "d:1", &c, NULL), ==, 0);
        g_assert_true(c->record->pinned);
        g_assert_cmpint(reload(f), ==, 0);
        c = g_hash_table_lookup(f->ns.images, "d:1");
        g_assert_true(c->record->pinned);
        g_assert_cmpint(image_set_pinned(c, false, NULL), ==, 0);
        g_assert_cmpint(reload(f), ==, 0);
        g_assert_false(((Image *)g_hash_table_lookup(f->ns.images, "d:1"))->record->pinned);
}

/* The same name again changes the object that is there. */
static void test_replace(Fixture *f, const void *data _unused_) {
        Image *a, *b;

        g_assert_cmpint(image_put(&f->ns, record_new("x:1", HEX_A), &a), ==, 0);
        g_assert_cmpint(image_put(&f->ns, record_new("x:1", HEX_B), &b), ==, 0);
        g_assert_true(a == b);
        g_assert_cmpuint(g_hash_table_size(f->ns.images), ==, 1);
        g_assert_cmpint(reload(f), ==, 0);
        g_assert_cmpint(image_lookup(&f->ns, "x:1", &a, NULL), ==, 0);
        g_assert_cmpstr(a->record->digest, ==, "sha256:" HEX_B);
}

static void test_remove(Fixture *f, const void *data _unused_) {
        Image *image;

        g_assert_cmpint(image_put(&f->ns, record_new("x:1", HEX_A), &image), ==, 0);
        g_assert_cmpint(image_put(&f->ns, record_new("y:1", HEX_B), NULL), ==, 0);
        g_assert_cmpint(image_remove(image, NULL), ==, 0);
        g_assert_cmpint(image_lookup(&f->ns, "x:1", &image, NULL), ==, -ENOENT);
        g_assert_cmpint(reload(f), ==, 0);
        g_assert_cmpint(image_lookup(&f->ns, "x:1", &image, NULL), ==, -ENOENT);
        g_assert_cmpint(image_lookup(&f->ns, "y:1", &image, NULL), ==, 0);
        /* what the store still holds is not forgotten */
        g_assert_true(exists(f->m.state_fd, "collection-due"));
}

/* A record that is cut, of a newer program, renamed or of a hostile content hides no other one, and is counted. */
static void test_broken_records(Fixture *f, const void *data _unused_) {
        static const struct {
                const char *file, *text;
        } table[] = {
                { "namespaces/default/images/cut%3Alatest.json", "{\"version\":1,\"name\":\"cut:la" },
                { "namespaces/default/images/empty%3Alatest.json", "" },
                { "namespaces/default/images/new%3Alatest.json", "{\"version\":99,\"name\":\"new:latest\"}" },
                { "namespaces/default/images/other%3Alatest.json", "{\"version\":1,\"name\":\"x:latest\"}" },
                { "namespaces/default/images/bad%3Alatest.json",
                  "{\"version\":1,\"name\":\"bad:latest\",\"digest\":5}" },
        };
        Image *image;

        g_assert_cmpint(image_put(&f->ns, record_new("good", HEX_A), NULL), ==, 0);
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_close_ int fd =
                        openat(f->m.state_fd, table[i].file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

                g_assert_cmpint(fd_write_all(fd, table[i].text, strlen(table[i].text)), ==, 0);
        }
        g_assert_cmpint(reload(f), ==, ELEMENTSOF(table));
        g_assert_cmpuint(g_hash_table_size(f->ns.images), ==, 1);
        g_assert_cmpint(image_lookup(&f->ns, "good", &image, NULL), ==, 0);
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                g_assert_true(exists(f->m.state_fd, table[i].file));
}

static void test_live_chains(Fixture *f, const void *data _unused_) {
        g_autoptr(GHashTable) live = NULL;
        Snapshot *s;
        Image *image;

        g_assert_cmpint(image_put(&f->ns, record_new("a", HEX_A), &image), ==, 0);
        g_assert_cmpint(image_put(&f->ns, record_new("again", HEX_A), NULL), ==, 0);
        g_assert_cmpint(snapshot_prepare(&f->ns, "c", image, false, &s, NULL), ==, 0);
        g_assert_cmpint(snapshot_prepare(&f->ns, "none", NULL, false, &s, NULL), ==, 0);
        g_assert_cmpint(image_put(&f->ns, record_new("a", HEX_B), &image), ==, 0);
        g_assert_cmpint(image_put(&f->ns, record_new("again", HEX_B), NULL), ==, 0);
        live = roots_of(&f->m, ROOT_CHAIN);
        g_assert_cmpuint(g_hash_table_size(live), ==, 2); /* the snapshot still needs the old one */
}

static void check_mode(int fd, const char *path, mode_t mode) {
        struct stat st;

        g_assert_cmpint(fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW), ==, 0);
        g_assert_true(S_ISDIR(st.st_mode));
        g_assert_cmpuint(st.st_mode & 07777, ==, mode);
}

static void test_snapshot(Fixture *f, const void *data) {
        bool ephemeral = GPOINTER_TO_INT(data);
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree char *fs = NULL, *work = NULL, *dir = NULL, *upper = NULL, *trash = NULL;
        Image *image;
        Snapshot *s;

        g_assert_cmpint(image_put(&f->ns, record_new("a", HEX_A), &image), ==, 0);
        g_assert_cmpint(snapshot_prepare(&f->ns, "web", image, ephemeral, &s, &error), ==, 0);
        g_assert_cmpint(snapshot_prepare(&f->ns, "web", image, ephemeral, &s, &error), ==, -EEXIST);
        dir = g_strconcat("snapshots/", s->dir, NULL);
        fs = g_strconcat(dir, "/fs", NULL);
        work = g_strconcat(dir, "/", "work", NULL);
        check_mode(f->m.state_fd, "snapshots", 0700);
        check_mode(f->m.state_fd, dir, 0700);
        check_mode(f->m.state_fd, fs, 01755);
        check_mode(f->m.state_fd, work, 0700);
        upper = snapshot_upper(s);
        g_assert_true(g_str_has_prefix(upper, DAVIT_STATE_DIR "/snapshots/"));

        g_assert_cmpint(reload(f), ==, 0);
        s = snapshot_find(&f->ns, "web");
        g_assert_nonnull(s);
        g_assert_cmpint(s->ephemeral, ==, ephemeral);
        g_assert_cmpstr(s->parent, ==, "sha256:" HEX_A);
        g_assert_cmpint(mkdirat(f->m.state_fd, work, 0700), ==, -1);
        trash = g_strconcat("trash/", s->dir, NULL);
        g_assert_cmpint(snapshot_remove(s), ==, 0);
        if (ephemeral) /* a moment later */
                g_assert_cmpint(sd_event_run(f->m.event, 10 * G_USEC_PER_SEC), >, 0);
        settle(f);
        g_assert_null(snapshot_find(&f->ns, "web"));
        g_assert_false(exists(f->m.state_fd, dir));
        g_assert_true(exists(f->m.state_fd, trash) == !ephemeral); /* an emptied one is gone at once */
        g_assert_cmpint(reload(f), ==, 0);
        g_assert_null(snapshot_find(&f->ns, "web"));
}

/* Content that the shim did not remove goes to the trash whole. */
static void test_ephemeral_left_over(Fixture *f, const void *data _unused_) {
        g_autofree char *file = NULL, *trash = NULL;
        _cleanup_close_ int fd = -1;
        Snapshot *s;

        g_assert_cmpint(snapshot_prepare(&f->ns, "web", NULL, true, &s, NULL), ==, 0);
        file = g_strconcat("snapshots/", s->dir, "/fs/file", NULL);
        trash = g_strconcat("trash/", s->dir, "/fs/file", NULL);
        fd = openat(f->m.state_fd, file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(snapshot_remove(s), ==, 0);
        g_assert_cmpint(sd_event_run(f->m.event, 10 * G_USEC_PER_SEC), >, 0);
        settle(f);
        g_assert_true(exists(f->m.state_fd, trash));
}

/* After a reboot /run is empty: what only was recorded there, and what nobody recorded, is swept. */
static void test_sweep(Fixture *f, const void *data _unused_) {
        g_autofree char *kept = NULL, *volatile_dir = NULL;
        Snapshot *s;

        g_assert_cmpint(snapshot_prepare(&f->ns, "kept", NULL, false, &s, NULL), ==, 0);
        kept = g_strconcat("snapshots/", s->dir, NULL);
        g_assert_cmpint(snapshot_prepare(&f->ns, "gone", NULL, true, &s, NULL), ==, 0);
        volatile_dir = g_strconcat("snapshots/", s->dir, NULL);
        g_assert_cmpint(mkdirat(f->m.state_fd, "snapshots/0123456789ab", 0700), ==, 0);
        g_assert_cmpint(tree_remove_at(f->m.runtime_fd, "namespaces"), ==, 0);
        g_assert_cmpint(reload(f), ==, 0);

        g_assert_cmpint(snapshots_sweep(&f->m, 1), ==, 0); /* a record is unreadable: nothing is touched */
        g_assert_true(exists(f->m.state_fd, "snapshots/0123456789ab"));
        g_assert_cmpint(snapshots_sweep(&f->m, 0), ==, 0);
        g_assert_true(exists(f->m.state_fd, kept));
        g_assert_false(exists(f->m.state_fd, volatile_dir));
        g_assert_false(exists(f->m.state_fd, "snapshots/0123456789ab"));
        g_assert_true(exists(f->m.state_fd, "trash/0123456789ab"));
}

static void test_broken_snapshot_records(Fixture *f, const void *data _unused_) {
        static const char *const members[] = {
                "\"dir\":\"../../etc\",\"parent\":\"\",\"created\":1",
                "\"dir\":\"\",\"parent\":\"\",\"created\":1",
                "\"dir\":\"abc\",\"parent\":\"sha256:x\",\"created\":1",
                "\"dir\":\"abc\",\"parent\":\"\",\"created\":-1",
                "\"parent\":\"\",\"created\":1",
        };
        Snapshot *s;

        g_assert_cmpint(snapshot_prepare(&f->ns, "good", NULL, false, &s, NULL), ==, 0);
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                g_autofree char *file = g_strdup_printf("namespaces/default/snapshots/b%zu.json", i);
                g_autofree char *text = g_strdup_printf("{\"version\":1,\"name\":\"b%zu\",%s}", i, members[i]);
                _cleanup_close_ int fd = openat(f->m.state_fd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

                g_assert_cmpint(fd_write_all(fd, text, strlen(text)), ==, 0);
        }
        g_assert_cmpint(reload(f), ==, ELEMENTSOF(members));
        g_assert_cmpuint(g_hash_table_size(f->ns.snapshots), ==, 1);
}

#define ADD(name, data, func) g_test_add(name, Fixture, data, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("/image/put-and-lookup", NULL, test_put_and_lookup);
        ADD("/image/tag-and-rename", NULL, test_tag_and_rename);
        ADD("/image/pin", NULL, test_pin);
        ADD("/image/replace", NULL, test_replace);
        ADD("/image/remove", NULL, test_remove);
        ADD("/image/broken-records", NULL, test_broken_records);
        ADD("/image/live-chains", NULL, test_live_chains);
        ADD("/snapshot/durable", GINT_TO_POINTER(false), test_snapshot);
        ADD("/snapshot/ephemeral", GINT_TO_POINTER(true), test_snapshot);
        ADD("/snapshot/ephemeral-left-over", NULL, test_ephemeral_left_over);
        ADD("/snapshot/sweep", NULL, test_sweep);
        ADD("/snapshot/broken-records", NULL, test_broken_snapshot_records);
        return g_test_run();
}
