/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Collections against a store that this test plays: when they run, what they are told, who is answered, and what is
 * left on disk when one fails or its manager goes.
 */

#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/roots.h"
#include "shared/name.h"
#include "tests/unit/fake-store.h"
#include "tests/unit/image-sample.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define GONE "{\"freed\":7,\"objects\":2,\"chains\":[\"sha256:" HEX_A "\"],\"contents\":[]}"

static struct {
        unsigned n_done, n_failed;
        uint64_t freed;
} heard;

static void begin(Fixture *f, const void *data) {
        memset(&heard, 0, sizeof(heard));
        set_up(f, data);
}

/* What a killed manager leaves to the next. */
static void restart(Fixture *f, unsigned n_broken) {
        f->m.collector = collector_free(f->m.collector);
        g_assert_cmpint(collector_new(&f->m, &f->m.collector), ==, 0);
        collector_start(f->m.collector, n_broken);
}

static bool due(Fixture *f) {
        return faccessat(f->m.state_fd, "collection-due", F_OK, 0) == 0;
}

/* The next worker's connection, its request read; -1 when none was started. */
static int collector(Fixture *f, bool dry_run) {
        g_autoptr(JsonObject) request = NULL;
        int fd;

        fd = worker(f, &request);
        if (fd < 0)
                return -1;
        g_assert_cmpstr(json_object_get_string_member(request, "operation"), ==, "collect");
        g_assert_cmpint(json_object_has_member(request, "dry_run"), ==, dry_run);
        return fd;
}

static JsonObject *ready(Fixture *f, int fd) {
        JsonObject *roots = NULL;

        say(f, fd, STORE_READY, "");
        receive(fd, STORE_ROOTS, &roots);
        return roots;
}

static void done(const CollectResult *result, const sd_bus_error *error, void *userdata _unused_) {
        if (error)
                heard.n_failed++;
        else {
                heard.n_done++;
                heard.freed += result->freed;
        }
}

/* The collection that is under way, to its end. */
static void finish_one(Fixture *f) {
        g_autoptr(JsonObject) roots = NULL;
        int fd = collector(f, false);

        g_assert_cmpint(fd, >=, 0);
        roots = ready(f, fd);
        answer(f, fd, STORE_DONE, GONE);
}

static void put_image(Fixture *f, const char *digest) {
        ImageRecord *record = image_sample("a:1", digest, digest, digest, "\"rootfs\":{},\"config\":{}");

        g_assert_cmpint(image_put(f->ns, record, NULL), ==, 0);
}

static bool holds(JsonObject *roots, const char *member, const char *wanted) {
        JsonArray *array = json_object_get_array_member(roots, member);

        for (guint i = 0; i < json_array_get_length(array); i++)
                if (streq(json_array_get_string_element(array, i), wanted))
                        return true;
        return false;
}

/* The roots are those of the moment when the worker asks, not of the moment when it was started. */
static void test_roots(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) roots = NULL;
        RootHold *hold;
        int fd;

        collector_start(f->m.collector, 0);
        put_image(f, "sha256:" HEX_A);
        collect_then(&f->m, false, done, f);
        fd = collector(f, false);
        g_assert_cmpint(fd, >=, 0);
        put_image(f, "sha256:" HEX_B);
        hold = root_hold_new(&f->m, ROOT_CONTENT, "sha256:" HEX_A);
        roots = ready(f, fd);
        g_assert_true(holds(roots, "chains", "sha256:" HEX_B));
        g_assert_false(holds(roots, "chains", "sha256:" HEX_A));
        g_assert_true(holds(roots, "contents", "sha256:" HEX_A));
        g_assert_true(holds(roots, "contents", "sha256:" HEX_B));
        answer(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(heard.n_done, ==, 1);
        g_assert_cmpuint(heard.freed, ==, 7);
        (void)root_hold_free(hold);
        g_assert_false(roots_have(&f->m, ROOT_CONTENT, "sha256:" HEX_A));
}

/* A manager that dies with an operation whose hold has kept something leaves its successor a collection to do. */
static void test_held(Fixture *f, const void *data _unused_) {
        RootHold *hold = root_hold_new(&f->m, ROOT_CHAIN, "sha256:" HEX_A);

        collector_start(f->m.collector, 0);
        g_assert_cmpint(collect_mark(&f->m), ==, 0);
        for (int i = 0; i < 2; i++) {
                collect_then(&f->m, false, done, f);
                finish_one(f);
                g_assert_cmpint(due(f), ==, hold != NULL);
                hold = root_hold_free(hold);
        }
}

/* Many asks are one collection; one that comes too late for its roots is another. */
static void test_coalesced(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) first = NULL, second = NULL;
        int fd;

        collector_start(f->m.collector, 0);
        collect_then(&f->m, false, done, f);
        fd = collector(f, false);
        for (int i = 0; i < 3; i++)
                collect_then(&f->m, false, done, f);
        collect_schedule(&f->m);
        g_assert_cmpint(collector(f, false), ==, -1);
        first = ready(f, fd);
        answer(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(heard.n_done, ==, 1);
        fd = collector(f, false);
        g_assert_cmpint(fd, >=, 0);
        second = ready(f, fd);
        answer(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(heard.n_done, ==, 4);
        g_assert_cmpint(collector(f, false), ==, -1);
        g_assert_false(due(f));
}

static void test_schedule(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) roots = NULL;
        int fd;

        collector_start(f->m.collector, 0);
        collect_schedule(&f->m);
        collect_schedule(&f->m);
        g_assert_true(due(f));
        g_assert_cmpint(collector(f, false), ==, -1); /* what comes next may still be told */
        g_assert_cmpint(sd_event_run(f->m.event, 2 * USEC_PER_SEC), >, 0);
        fd = collector(f, false);
        roots = ready(f, fd);
        answer(f, fd, STORE_DONE, GONE);
        g_assert_false(due(f));
        g_assert_cmpint(collector(f, false), ==, -1);
}

/* A mark survives everything but a collection that succeeds. */
static void test_failure(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) roots = NULL;
        int fd;

        collector_start(f->m.collector, 0);
        g_assert_cmpint(collect_mark(&f->m), ==, 0);
        collect_then(&f->m, false, done, f);
        answer(f, collector(f, false), STORE_ERROR, "{\"error\":\"ResourceExhausted\",\"message\":\"disk\"}");
        g_assert_cmpuint(heard.n_failed, ==, 1);
        g_assert_cmpint(collector(f, false), ==, -1); /* later */
        g_assert_true(due(f));

        restart(f, 0);
        fd = collector(f, false);
        (void)safe_close(fd); /* dies */
        turn(f);
        g_assert_true(due(f));

        restart(f, 0);
        fd = collector(f, false);
        roots = ready(f, fd);
        answer(f, fd, STORE_DONE, "{\"freed\":1,\"objects\":1,\"chains\":[\"../x\"],\"contents\":[]}");
        g_assert_true(due(f));

        restart(f, 0);
        finish_one(f);
        g_assert_false(due(f));
}

static void test_dry_run(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) roots = NULL;
        int fd;

        collector_start(f->m.collector, 0);
        g_assert_cmpint(collect_mark(&f->m), ==, 0);
        collect_then(&f->m, true, done, f);
        fd = collector(f, true);
        roots = ready(f, fd);
        answer(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(heard.n_done, ==, 1);
        g_assert_true(due(f));
}

static void test_forget(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) roots = NULL;
        int fd, other = 0;

        collector_start(f->m.collector, 0);
        collect_then(&f->m, false, done, f);
        fd = collector(f, false);
        collect_then(&f->m, true, done, &other);
        collect_forget(&f->m, f);
        collect_forget(&f->m, &other);
        roots = ready(f, fd);
        answer(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(heard.n_done, ==, 0);
        g_assert_cmpint(collector(f, true), ==, -1);
}

/* While a record cannot be read nothing is freed. */
static void test_broken_records(Fixture *f, const void *data _unused_) {
        g_assert_cmpint(collect_mark(&f->m), ==, 0);
        collector_start(f->m.collector, 1);
        collect_then(&f->m, false, done, f);
        g_assert_cmpuint(heard.n_failed, ==, 1);
        g_assert_cmpint(collector(f, false), ==, -1);
        g_assert_true(due(f));
}

static void test_not_before_start(Fixture *f, const void *data _unused_) {
        int fd;

        collect_then(&f->m, false, done, f);
        collect_schedule(&f->m);
        g_assert_cmpint(collector(f, false), ==, -1);
        collector_start(f->m.collector, 0);
        fd = collector(f, false);
        g_assert_cmpint(fd, >=, 0);
        (void)safe_close(fd);
}

/* Notes of managers that kept one for each image. */
static void test_old_notes(Fixture *f, const void *data _unused_) {
        _cleanup_close_ int fd = dir_open_at(f->m.state_fd, "namespaces/default/removals", 0700);

        g_assert_cmpint(file_replace_at(fd, "x.json", "{}", 2, 0600, false), ==, 0);
        collector_start(f->m.collector, 0);
        g_assert_cmpint(faccessat(f->m.state_fd, "namespaces/default/removals", F_OK, 0), <, 0);
        g_assert_true(due(f));
        finish_one(f);
        g_assert_false(due(f));
}

#define ADD(name, func) g_test_add(name, Fixture, NULL, begin, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("/collect/roots", test_roots);
        ADD("/collect/held", test_held);
        ADD("/collect/coalesced", test_coalesced);
        ADD("/collect/schedule", test_schedule);
        ADD("/collect/failure", test_failure);
        ADD("/collect/dry-run", test_dry_run);
        ADD("/collect/forget", test_forget);
        ADD("/collect/broken-records", test_broken_records);
        ADD("/collect/not-before-start", test_not_before_start);
        ADD("/collect/old-notes", test_old_notes);
        return g_test_run();
}
