/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Collections against a store that this test plays: when they run, what they are told, who is answered, and what is
 * left on disk when one fails or its manager goes.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/collect.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/roots.h"
#include "daemon/snapshot.h"
#include "daemon/store-client.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/name.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define GONE "{\"freed\":7,\"objects\":2,\"chains\":[\"sha256:" HEX_A "\"],\"contents\":[]}"

typedef struct Fixture {
        char *dir, *socket;
        int listener;
        Manager m;
        Namespace *ns;
        unsigned n_done, n_failed;
        uint64_t freed;
} Fixture;

static void set_up(Fixture *f, const void *data _unused_) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        f->dir = g_dir_make_tmp("davit-collect-XXXXXX", NULL);
        g_assert_nonnull(f->dir);
        f->socket = g_strconcat(f->dir, "/store", NULL);
        g_assert_cmpuint(g_strlcpy(address.sun_path, f->socket, sizeof(address.sun_path)), <, sizeof(address.sun_path));
        f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        g_assert_cmpint(bind(f->listener, (const struct sockaddr *)&address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(f->listener, 64), ==, 0);
        store_set_socket(f->socket);

        f->m.state_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        f->m.runtime_fd = dir_open_at(f->m.state_fd, "run", 0700);
        f->m.namespaces = g_hash_table_new(g_str_hash, g_str_equal);
        g_assert_cmpint(sd_event_new(&f->m.event), >=, 0);
        jobs_init(&f->m);
        g_assert_cmpint(collector_new(&f->m, &f->m.collector), ==, 0);
        g_assert_cmpint(manager_namespace(&f->m, "", true, &f->ns, NULL), ==, 0);
}

static void tear_down(Fixture *f, const void *data _unused_) {
        f->m.collector = collector_free(f->m.collector);
        jobs_done(&f->m);
        g_hash_table_unref(f->m.namespaces);
        (void)namespace_free(f->ns);
        sd_event_unref(f->m.event);
        (void)safe_close(f->m.state_fd);
        (void)safe_close(f->m.runtime_fd);
        (void)safe_close(f->listener);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, f->dir), ==, 0);
        g_free(f->socket);
        g_free(f->dir);
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

static void turn(Fixture *f) {
        while (sd_event_run(f->m.event, 0) > 0)
                ;
}

static JsonObject *receive(int fd, uint16_t type) {
        g_autofree struct packet *p = g_new0(struct packet, 1);
        struct store_message head;
        JsonObject *o = NULL;

        g_assert_cmpint(packet_recv(fd, p), ==, 1);
        memcpy(&head, p->data, sizeof(head));
        g_assert_cmpint(head.type, ==, type);
        g_assert_cmpint(store_text_parse((const char *)p->data + sizeof(head), p->size - sizeof(head), &o), ==, 0);
        packet_done(p);
        return o;
}

/* The next worker's connection, its request read; -1 when none was started. */
static int worker(Fixture *f, bool dry_run) {
        g_autoptr(JsonObject) request = NULL;
        int fd;

        fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
                return -1;
        request = receive(fd, STORE_REQUEST);
        g_assert_cmpstr(json_object_get_string_member(request, "operation"), ==, "collect");
        g_assert_cmpint(json_object_has_member(request, "dry_run"), ==, dry_run);
        return fd;
}

static void say(Fixture *f, int fd, uint16_t type, const char *text) {
        struct store_message head = { .version = STORE_PROTOCOL_VERSION,
                                      .type = type,
                                      .text_size = (uint32_t)strlen(text) };

        g_assert_cmpint(packet_send(fd, &head, sizeof(head), NULL, 0, text, head.text_size, NULL, 0), ==, 0);
        turn(f);
}

static JsonObject *ready(Fixture *f, int fd) {
        say(f, fd, STORE_READY, "");
        return receive(fd, STORE_ROOTS);
}

static void end(Fixture *f, int fd, uint16_t type, const char *text) {
        say(f, fd, type, text);
        (void)safe_close(fd);
}

static void done(const CollectResult *result, const sd_bus_error *error, void *userdata) {
        Fixture *f = userdata;

        if (error)
                f->n_failed++;
        else {
                f->n_done++;
                f->freed += result->freed;
        }
}

/* The collection that is under way, to its end. */
static void finish_one(Fixture *f) {
        g_autoptr(JsonObject) roots = NULL;
        int fd = worker(f, false);

        g_assert_cmpint(fd, >=, 0);
        roots = ready(f, fd);
        end(f, fd, STORE_DONE, GONE);
}

static void put_image(Fixture *f, const char *name, const char *hex) {
        g_autoptr(JsonObject) o = NULL;
        g_autofree char *text = NULL, *why = NULL;
        ImageRecord *record;

        text = g_strdup_printf(
                "{\"name\":\"%s\",\"digest\":\"sha256:%s\",\"config_digest\":\"sha256:%s\",\"media_type\":\"a/b\","
                "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},\"size\":1,\"layers\":[{\"diff_id\":"
                "\"sha256:%s\",\"digest\":\"sha256:%s\",\"size\":1}],\"chain_id\":\"sha256:%s\",\"rootfs\":{\"form\":"
                "\"checkout\",\"path\":\"" DAVIT_STATE_DIR "/checkouts/%s\"},\"config\":{}}",
                name, hex, hex, hex, hex, hex, hex);
        g_assert_cmpint(store_text_parse(text, strlen(text), &o), ==, 0);
        g_assert_cmpint(image_record_parse(o, &record, &why), ==, 0);
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
        put_image(f, "a:1", HEX_A);
        collect_then(&f->m, false, done, f);
        fd = worker(f, false);
        g_assert_cmpint(fd, >=, 0);
        put_image(f, "a:1", HEX_B);
        hold = root_hold_new(&f->m, ROOT_CONTENT, "sha256:" HEX_A);
        roots = ready(f, fd);
        g_assert_true(holds(roots, "chains", "sha256:" HEX_B));
        g_assert_false(holds(roots, "chains", "sha256:" HEX_A));
        g_assert_true(holds(roots, "contents", "sha256:" HEX_A));
        g_assert_true(holds(roots, "contents", "sha256:" HEX_B));
        end(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(f->n_done, ==, 1);
        g_assert_cmpuint(f->freed, ==, 7);
        (void)root_hold_free(hold);
        g_assert_false(roots_have(&f->m, ROOT_CONTENT, "sha256:" HEX_A));
}

/* Many asks are one collection; one that comes too late for its roots is another. */
static void test_coalesced(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) first = NULL, second = NULL;
        int fd;

        collector_start(f->m.collector, 0);
        collect_then(&f->m, false, done, f);
        fd = worker(f, false);
        for (int i = 0; i < 3; i++)
                collect_then(&f->m, false, done, f);
        collect_schedule(&f->m);
        g_assert_cmpint(worker(f, false), ==, -1);
        first = ready(f, fd);
        end(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(f->n_done, ==, 1);
        fd = worker(f, false);
        g_assert_cmpint(fd, >=, 0);
        second = ready(f, fd);
        end(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(f->n_done, ==, 4);
        g_assert_cmpint(worker(f, false), ==, -1);
        g_assert_false(due(f));
}

static void test_schedule(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) roots = NULL;
        int fd;

        collector_start(f->m.collector, 0);
        collect_schedule(&f->m);
        collect_schedule(&f->m);
        g_assert_true(due(f));
        g_assert_cmpint(worker(f, false), ==, -1); /* what comes next may still be told */
        g_assert_cmpint(sd_event_run(f->m.event, 2 * USEC_PER_SEC), >, 0);
        fd = worker(f, false);
        roots = ready(f, fd);
        end(f, fd, STORE_DONE, GONE);
        g_assert_false(due(f));
        g_assert_cmpint(worker(f, false), ==, -1);
}

/* A mark survives everything but a collection that succeeds. */
static void test_failure(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) roots = NULL;
        int fd;

        collector_start(f->m.collector, 0);
        g_assert_cmpint(collect_mark(&f->m), ==, 0);
        collect_then(&f->m, false, done, f);
        end(f, worker(f, false), STORE_ERROR, "{\"error\":\"ResourceExhausted\",\"message\":\"disk\"}");
        g_assert_cmpuint(f->n_failed, ==, 1);
        g_assert_cmpint(worker(f, false), ==, -1); /* later */
        g_assert_true(due(f));

        restart(f, 0);
        fd = worker(f, false);
        (void)safe_close(fd); /* dies */
        turn(f);
        g_assert_true(due(f));

        restart(f, 0);
        fd = worker(f, false);
        roots = ready(f, fd);
        end(f, fd, STORE_DONE, "{\"freed\":1,\"objects\":1,\"chains\":[\"../x\"],\"contents\":[]}");
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
        fd = worker(f, true);
        roots = ready(f, fd);
        end(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(f->n_done, ==, 1);
        g_assert_true(due(f));
}

static void test_forget(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) roots = NULL;
        int fd, other = 0;

        collector_start(f->m.collector, 0);
        collect_then(&f->m, false, done, f);
        fd = worker(f, false);
        collect_then(&f->m, true, done, &other);
        collect_forget(&f->m, f);
        collect_forget(&f->m, &other);
        roots = ready(f, fd);
        end(f, fd, STORE_DONE, GONE);
        g_assert_cmpuint(f->n_done, ==, 0);
        g_assert_cmpint(worker(f, true), ==, -1);
}

/* While a record cannot be read nothing is freed. */
static void test_broken_records(Fixture *f, const void *data _unused_) {
        g_assert_cmpint(collect_mark(&f->m), ==, 0);
        collector_start(f->m.collector, 1);
        collect_then(&f->m, false, done, f);
        g_assert_cmpuint(f->n_failed, ==, 1);
        g_assert_cmpint(worker(f, false), ==, -1);
        g_assert_true(due(f));
}

static void test_not_before_start(Fixture *f, const void *data _unused_) {
        int fd;

        collect_then(&f->m, false, done, f);
        collect_schedule(&f->m);
        g_assert_cmpint(worker(f, false), ==, -1);
        collector_start(f->m.collector, 0);
        fd = worker(f, false);
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

#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("/collect/roots", test_roots);
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
