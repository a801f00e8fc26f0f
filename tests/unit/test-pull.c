/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Pulls, against workers of both kinds that this test plays: what each is asked, whose word ends the job, and that
 * nothing is kept unless both have said that all is well.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/error.h"
#include "daemon/lease.h"
#include "daemon/pull.h"
#include "daemon/roots.h"
#include "shared/image-name.h"
#include "shared/name.h"
#include "tests/unit/fake-store.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define NAME "registry.example/app:1"

typedef struct Pulling {
        Fixture f;
        char *socket;
        int registry; /* listens */
} Pulling;

static void set_up_pull(Pulling *p, const void *data) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        set_up(&p->f, data);
        config_set_defaults(&p->f.m.config);
        p->socket = g_strconcat(p->f.dir, "/registry", NULL);
        g_assert_cmpuint(g_strlcpy(address.sun_path, p->socket, sizeof(address.sun_path)), <, sizeof(address.sun_path));
        p->registry = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        g_assert_cmpint(bind(p->registry, (const struct sockaddr *)&address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(p->registry, 64), ==, 0);
        g_assert_cmpint(pulls_new(&p->f.m, &p->f.m.pulls), ==, 0);
        pulls_set_socket(p->f.m.pulls, p->socket);
}

static void tear_down_pull(Pulling *p, const void *data) {
        p->f.m.pulls = pulls_free(p->f.m.pulls);
        g_assert_null(p->f.m.holds);
        (void)safe_close(p->registry);
        config_done(&p->f.m.config);
        g_free(p->socket);
        tear_down(&p->f, data);
}

/* A worker's end of a connection, what it was asked and what it was given. */
typedef struct Worker {
        int sock, fd;
        JsonObject *request;
} Worker;

static bool accept_worker(int listener, Worker *ret) {
        g_autofree struct packet *packet = g_new0(struct packet, 1);
        struct store_message head;

        *ret = (Worker){ .sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC), .fd = -1 };
        if (ret->sock < 0)
                return false;
        g_assert_cmpint(packet_recv(ret->sock, packet), ==, 1);
        memcpy(&head, packet->data, sizeof(head));
        g_assert_cmpint(head.type, ==, STORE_REQUEST);
        g_assert_cmpint(
                store_text_parse((const char *)packet->data + sizeof(head), packet->size - sizeof(head), &ret->request),
                ==, 0);
        if (packet->n_fds > 0) {
                ret->fd = packet->fds[0];
                packet->fds[0] = -1;
        }
        packet_done(packet);
        return true;
}

static void worker_done(Worker *w) {
        w->sock = safe_close(w->sock);
        w->fd = safe_close(w->fd);
        g_clear_pointer(&w->request, json_object_unref);
}

/* Its last word. */
static void worker_ends(Pulling *p, Worker *w, uint16_t type, const char *text) {
        say(&p->f, w->sock, type, text);
        worker_done(w);
        turn(&p->f);
}

static Job *begin(Pulling *p, const PullOptions *options) {
        Job *job = NULL;

        g_assert_cmpint(pull_begin(&p->f.m, "default", options, &job, NULL), ==, 0);
        return job;
}

static const PullOptions plain = { .typed = NAME, .image.name = NAME, .authorization = -1 };
static const PullOptions missing = { .typed = NAME, .image.name = NAME, .authorization = -1, .missing = true };

static char *image(const char *name, const char *hex, const char *source) {
        return g_strdup_printf("{\"images\":[{\"name\":\"%s\",\"digest\":\"sha256:%s\",\"config_digest\":\"sha256:%s\","
                               "\"media_type\":\"a/b\",\"source\":\"sha256:%s\","
                               "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},\"size\":1,\"layers\":[{"
                               "\"diff_id\":\"sha256:%s\",\"digest\":\"sha256:%s\",\"size\":7}],"
                               "\"chain_id\":\"sha256:%s\",\"rootfs\":{},\"config\":{}}]}",
                               name, hex, hex, source, hex, hex, hex);
}

static char *fetched(const char *hex, unsigned bytes) {
        return g_strdup_printf("{\"digest\":\"sha256:%s\",\"manifest\":\"sha256:%s\",\"media_type\":\"a/b\",\"size\":9,"
                               "\"fetched\":%u}",
                               hex, hex, bytes);
}

static uint64_t result_number(const Job *job, const char *key) {
        uint64_t value = UINT64_MAX;

        g_assert_true(g_variant_lookup(job->result, key, "t", &value));
        return value;
}

static unsigned n_images(const Pulling *p) {
        return g_hash_table_size(p->f.ns->images);
}

/* A whole pull of NAME. */
static void pull(Pulling *p, const char *hex) {
        g_autofree char *result = image(NAME, hex, hex), *answer = fetched(hex, 5);
        Job *job = begin(p, &plain);
        Worker registry, store;

        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &registry, STORE_DONE, answer);
        worker_ends(p, &store, STORE_DONE, result);
        g_assert_cmpint(job->state, ==, JOB_DONE);
}

static bool at_end(int fd) {
        char byte;

        return read(fd, &byte, 1) == 0;
}

static void test_pull(Pulling *p, const void *data _unused_) {
        g_autofree char *result = image(NAME, HEX_A, HEX_A), *answer = fetched(HEX_A, 5);
        const char *digest = NULL;
        Worker registry, store;
        JsonObject *limits;
        Job *job = begin(p, &plain);

        g_assert_cmpstr(job->type, ==, "pull");
        g_assert_cmpstr(job->subject, ==, NAME);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        g_assert_cmpstr(json_object_get_string_member(registry.request, "reference"), ==, NAME);
        g_assert_false(json_object_has_member(registry.request, "digest_only"));
        g_assert_false(json_object_has_member(registry.request, "insecure"));
        g_assert_false(json_object_has_member(registry.request, "credentials"));
        limits = json_object_get_object_member(registry.request, "limits");
        g_assert_cmpint(json_object_get_int_member(limits, "retries"), ==, 4);
        g_assert_cmpstr(json_object_get_string_member(store.request, "operation"), ==, "import");
        g_assert_cmpstr(json_object_get_string_member(store.request, "format"), ==, "oci");
        g_assert_cmpstr(json_object_get_string_member(store.request, "name"), ==, NAME);
        g_assert_true(json_object_get_boolean_member(store.request, "ordered"));

        /* What the one writes the other reads, and no end before the one has said that all is well. */
        g_assert_cmpint(write(registry.fd, "x", 1), ==, 1);
        g_assert_cmpint(fd_set_nonblock(store.fd, true), ==, 0);
        g_assert_cmpint(read(store.fd, &(char){ 0 }, 1), ==, 1);
        registry.fd = safe_close(registry.fd);
        g_assert_cmpint(read(store.fd, &(char){ 0 }, 1), ==, -1);
        g_assert_cmpint(errno, ==, EAGAIN);
        worker_ends(p, &registry, STORE_DONE, answer);
        g_assert_true(at_end(store.fd));
        g_assert_cmpuint(n_images(p), ==, 0);
        worker_ends(p, &store, STORE_DONE, result);

        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_cmpuint(result_number(job, "Fetched"), ==, 5);
        g_assert_true(g_variant_lookup(job->result, "Digest", "&s", &digest));
        g_assert_cmpstr(digest, ==, "sha256:" HEX_A);
        g_assert_cmpuint(n_images(p), ==, 1);
}

/* Whoever fails first says why; the other is stopped, and nothing is kept. */
static void test_errors(Pulling *p, const void *data _unused_) {
        const char *const no = "{\"error\":\"PermissionDenied\",\"message\":\"registry.example says no\"}";
        const char *const full = "{\"error\":\"ResourceExhausted\",\"message\":\"the disk is full\"}";
        const char *const cut = "{\"error\":\"InvalidArgument\",\"message\":\"truncated\"}";
        Worker registry, store;
        Job *job;

        job = begin(p, &plain);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &registry, STORE_ERROR, no);
        g_assert_cmpint(job->state, ==, JOB_RUNNING); /* the store has not taken back yet what it has made */
        receive(store.sock, STORE_CANCEL, NULL);
        worker_ends(p, &store, STORE_ERROR, cut);
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        g_assert_cmpstr(job->error, ==, DAVIT_BUS_ERROR "PermissionDenied");
        g_assert_cmpstr(job->message, ==, "registry.example says no");

        job = begin(p, &plain);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &store, STORE_ERROR, full);
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        g_assert_cmpstr(job->error, ==, DAVIT_BUS_ERROR "ResourceExhausted");
        g_assert_true(at_end(registry.sock));
        worker_done(&registry);

        /* A worker that dies, of either kind. */
        job = begin(p, &plain);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_done(&registry);
        turn(&p->f);
        worker_done(&store);
        turn(&p->f);
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        g_assert_cmpstr(job->error, ==, DAVIT_BUS_ERROR "Unavailable");
        g_assert_nonnull(strstr(job->message, "registry worker"));

        g_assert_cmpuint(n_images(p), ==, 0);
}

/* Answers that do not fit the question, or each other. */
static void test_lies(Pulling *p, const void *data _unused_) {
        g_autofree char *other = image("b:1", HEX_A, HEX_A), *replaced = image(NAME, HEX_A, HEX_B),
                        *good = image(NAME, HEX_A, HEX_A), *a = fetched(HEX_A, 1);
        const struct {
                const char *answer, *result;
        } table[] = {
                { a, other },
                { a, replaced },
                { a, "{}" },
                { "{}", good },
                { "{\"digest\":\"sha256:x\"}", good },
                { "{\"digest\":\"sha256:" HEX_A "\",\"manifest\":\"../x\"}", good },
                { "{\"digest\":\"sha256:" HEX_A "\",\"fetched\":\"1\"}", good },
                { NULL, good }, /* a store that is done before there was anything */
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Job *job = begin(p, &plain);
                Worker registry, store;

                g_assert_true(accept_worker(p->registry, &registry));
                g_assert_true(accept_worker(p->f.listener, &store));
                if (table[i].answer)
                        worker_ends(p, &registry, STORE_DONE, table[i].answer);
                worker_ends(p, &store, STORE_DONE, table[i].result);
                worker_done(&registry);
                g_assert_cmpint(job->state, ==, JOB_FAILED);
                g_assert_cmpstr(job->error, ==, DAVIT_BUS_ERROR "Internal");
                g_assert_cmpuint(n_images(p), ==, 0);
        }
}

/* The store makes sure of what is here. */
static void made(Pulling *p) {
        Worker store;

        g_assert_true(accept_worker(p->f.listener, &store));
        g_assert_cmpstr(json_object_get_string_member(store.request, "operation"), ==, "rootfs");
        g_assert_cmpstr(json_object_get_string_member(store.request, "chain_id"), ==, "sha256:" HEX_A);
        worker_ends(p, &store, STORE_DONE, "{\"rootfs\":{}}");
}

/* What a store has published for a pull that has failed already is collected, before a restart or after it. */
static void test_garbage(Pulling *p, const void *data _unused_) {
        g_autofree char *good = image(NAME, HEX_A, HEX_A);
        Job *job = begin(p, &plain);
        Worker registry, store;

        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &registry, STORE_ERROR, "{\"error\":\"NotFound\",\"message\":\"no\"}");
        g_assert_cmpint(faccessat(p->f.m.state_fd, "collection-due", F_OK, 0), <, 0);
        worker_ends(p, &store, STORE_DONE, good);
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        g_assert_cmpstr(job->error, ==, DAVIT_BUS_ERROR "NotFound");
        g_assert_cmpint(faccessat(p->f.m.state_fd, "collection-due", F_OK, 0), ==, 0);
}

/* A digest in the name is the only one that is taken. */
static void test_by_digest(Pulling *p, const void *data _unused_) {
        const char *const name = "registry.example/app@sha256:" HEX_A;
        const PullOptions options = { .typed = name, .image.name = name, .authorization = -1 };
        g_autofree char *wrong = fetched(HEX_B, 1), *right = fetched(HEX_A, 1), *result = image(name, HEX_A, HEX_A);
        Worker registry, store;
        Job *job;

        job = begin(p, &options);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &registry, STORE_DONE, wrong);
        worker_ends(p, &store, STORE_ERROR, "{\"error\":\"Unavailable\",\"message\":\"cancelled\"}");
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        g_assert_cmpstr(job->error, ==, DAVIT_BUS_ERROR "InvalidArgument");

        job = begin(p, &options);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &registry, STORE_DONE, right);
        worker_ends(p, &store, STORE_DONE, result);
        g_assert_cmpint(job->state, ==, JOB_DONE);

        job = begin(p, &options); /* nobody could say anything new about it */
        g_assert_false(accept_worker(p->registry, &registry));
        made(p);
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_cmpuint(result_number(job, "Fetched"), ==, 0);
}

/* What is here already: "missing" asks nobody, "always" asks what the name means now. */
static void test_policy(Pulling *p, const void *data _unused_) {
        const PullOptions arm = { .typed = NAME,
                                  .image = { .name = NAME, .platform = "linux/arm64" },
                                  .authorization = -1,
                                  .missing = true };
        g_autofree char *same = fetched(HEX_A, 3), *changed = fetched(HEX_B, 3), *result = image(NAME, HEX_B, HEX_B),
                        *first = image(NAME, HEX_A, HEX_A);
        Worker registry, store;
        Image *i;
        Job *job;

        pull(p, HEX_A);
        job = begin(p, &missing);
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_false(accept_worker(p->registry, &registry));

        job = begin(p, &plain);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(json_object_get_boolean_member(registry.request, "digest_only"));
        g_assert_cmpint(registry.fd, ==, -1);
        worker_ends(p, &registry, STORE_DONE, same);
        g_assert_cmpint(job->state, ==, JOB_RUNNING);
        made(p);
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_cmpuint(result_number(job, "Fetched"), ==, 0);
        g_assert_false(accept_worker(p->f.listener, &store));

        job = begin(p, &plain); /* here by its record, but the store has lost it */
        g_assert_true(accept_worker(p->registry, &registry));
        worker_ends(p, &registry, STORE_DONE, same);
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &store, STORE_ERROR, "{\"error\":\"NotFound\",\"message\":\"no such chain\"}");
        g_assert_cmpint(job->state, ==, JOB_RUNNING);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(registry.request, "have")), ==, 0);
        worker_ends(p, &registry, STORE_DONE, same);
        worker_ends(p, &store, STORE_DONE, first);
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_cmpuint(result_number(job, "Fetched"), ==, 3);

        job = begin(p, &plain); /* nothing that fetching it again would mend */
        g_assert_true(accept_worker(p->registry, &registry));
        worker_ends(p, &registry, STORE_DONE, same);
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &store, STORE_ERROR, "{\"error\":\"ResourceExhausted\",\"message\":\"the disk is full\"}");
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        g_assert_cmpstr(job->error, ==, DAVIT_BUS_ERROR "ResourceExhausted");
        g_assert_false(accept_worker(p->registry, &registry));
        g_assert_cmpuint(n_images(p), ==, 1);

        job = begin(p, &plain);
        g_assert_true(accept_worker(p->registry, &registry));
        worker_ends(p, &registry, STORE_DONE, changed);
        g_assert_cmpint(job->state, ==, JOB_RUNNING);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &registry, STORE_DONE, changed);
        worker_ends(p, &store, STORE_DONE, result);
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_cmpint(image_lookup(p->f.ns, NAME, &i, NULL), ==, 0);
        g_assert_cmpstr(i->record->digest, ==, "sha256:" HEX_B);
        g_assert_cmpstr(i->record->source, ==, "sha256:" HEX_B);

        job = begin(p, &plain); /* the registry is away: what is here stays, and the job says why */
        g_assert_true(accept_worker(p->registry, &registry));
        worker_ends(p, &registry, STORE_ERROR, "{\"error\":\"Unavailable\",\"message\":\"cannot resolve\"}");
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        g_assert_cmpuint(n_images(p), ==, 1);

        job = begin(p, &arm); /* here for another platform only */
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_cmpstr(json_object_get_string_member(registry.request, "platform"), ==, "linux/arm64");
        worker_done(&registry);
        turn(&p->f);
        g_assert_cmpint(job->state, ==, JOB_FAILED);
}

/* Layers of images that are here are offered to both workers, and held as long as the pull lasts. */
static void test_have(Pulling *p, const void *data _unused_) {
        const PullOptions options = { .typed = "b.example/b:1", .image.name = "b.example/b:1", .authorization = -1 };
        g_autofree char *answer = fetched(HEX_B, 3), *result = image("b.example/b:1", HEX_B, HEX_B);
        Worker registry, store;
        JsonObject *layer;
        JsonArray *have;
        Image *i;
        Job *job;

        pull(p, HEX_A);
        job = begin(p, &options);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        have = json_object_get_array_member(registry.request, "have");
        g_assert_cmpuint(json_array_get_length(have), ==, 1);
        g_assert_cmpstr(json_array_get_string_element(have, 0), ==, "sha256:" HEX_A);
        have = json_object_get_array_member(store.request, "have");
        g_assert_cmpuint(json_array_get_length(have), ==, 1);
        layer = json_array_get_object_element(have, 0);
        g_assert_cmpstr(json_object_get_string_member(layer, "diff_id"), ==, "sha256:" HEX_A);
        g_assert_cmpint(json_object_get_int_member(layer, "size"), ==, 7);
        g_assert_cmpint(image_lookup(p->f.ns, NAME, &i, NULL), ==, 0);
        g_assert_cmpint(image_remove(i, NULL), ==, 0);
        g_assert_true(roots_have(&p->f.m, ROOT_CHAIN, "sha256:" HEX_A));

        /* The store has lost it all the same: the whole image is fetched, once. */
        worker_ends(p, &registry, STORE_DONE, answer);
        worker_ends(p, &store, STORE_ERROR, "{\"error\":\"FailedPrecondition\",\"message\":\"layer 1 is not here\"}");
        g_assert_cmpint(job->state, ==, JOB_RUNNING);
        g_assert_false(roots_have(&p->f.m, ROOT_CHAIN, "sha256:" HEX_A));
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(registry.request, "have")), ==, 0);
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(store.request, "have")), ==, 0);
        worker_ends(p, &registry, STORE_DONE, answer);
        worker_ends(p, &store, STORE_DONE, result);
        g_assert_cmpint(job->state, ==, JOB_DONE);

        job = begin(p, &plain);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &registry, STORE_DONE, answer);
        worker_ends(p, &store, STORE_ERROR, "{\"error\":\"FailedPrecondition\",\"message\":\"layer 1 is not here\"}");
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &registry, STORE_DONE, answer);
        worker_ends(p, &store, STORE_ERROR, "{\"error\":\"FailedPrecondition\",\"message\":\"layer 1 is not here\"}");
        g_assert_cmpint(job->state, ==, JOB_FAILED);
}

/* Cancelled at every point: waiting, asking, fetching, importing. */
static void test_cancel(Pulling *p, const void *data _unused_) {
        g_autofree char *answer = fetched(HEX_B, 3);
        Worker registry, store;
        Job *job;

        job = begin(p, &plain);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        g_assert_cmpint(job_cancel(job), ==, 0);
        g_assert_true(at_end(registry.sock));
        worker_done(&registry);
        receive(store.sock, STORE_CANCEL, NULL);
        worker_ends(p, &store, STORE_ERROR, "{\"error\":\"Unavailable\",\"message\":\"cancelled\"}");
        g_assert_cmpint(job->state, ==, JOB_CANCELLED);

        job = begin(p, &plain);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        worker_ends(p, &registry, STORE_DONE, answer);
        g_assert_cmpint(job_cancel(job), ==, 0);
        worker_done(&store);
        turn(&p->f);
        g_assert_cmpint(job->state, ==, JOB_CANCELLED);
        g_assert_cmpuint(n_images(p), ==, 0);

        pull(p, HEX_A);
        job = begin(p, &plain);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_cmpint(job_cancel(job), ==, 0);
        g_assert_cmpint(job->state, ==, JOB_CANCELLED);
        worker_done(&registry);
}

/* A few at a time; one that waits has begun nothing. */
static void test_many(Pulling *p, const void *data _unused_) {
        Worker registry[4], store[4], more;
        Job *jobs[6];

        for (size_t i = 0; i < ELEMENTSOF(jobs); i++)
                jobs[i] = begin(p, &plain);
        for (size_t i = 0; i < ELEMENTSOF(registry); i++) {
                g_assert_true(accept_worker(p->registry, &registry[i]));
                g_assert_true(accept_worker(p->f.listener, &store[i]));
        }
        g_assert_false(accept_worker(p->registry, &more));
        g_assert_cmpint(job_cancel(jobs[4]), ==, 0);
        g_assert_cmpint(jobs[4]->state, ==, JOB_CANCELLED);
        worker_ends(p, &store[0], STORE_ERROR, "{\"error\":\"Internal\",\"message\":\"x\"}");
        worker_done(&registry[0]);
        g_assert_cmpint(jobs[0]->state, ==, JOB_FAILED);
        g_assert_true(accept_worker(p->registry, &more));
        worker_done(&more);
        for (size_t i = 1; i < ELEMENTSOF(registry); i++) {
                worker_done(&registry[i]);
                worker_done(&store[i]);
        }
        turn(&p->f);
}

/* Those that end as they begin end one after the other, not one inside the other. */
static void test_very_many(Pulling *p, const void *data _unused_) {
        enum { WAITING = 5000 };
        struct rlimit before, small;
        Worker registry[4], store[4];
        Job *last = NULL;

        for (size_t i = 0; i < ELEMENTSOF(registry); i++) {
                (void)begin(p, &plain);
                g_assert_true(accept_worker(p->registry, &registry[i]));
                g_assert_true(accept_worker(p->f.listener, &store[i]));
        }
        for (size_t i = 0; i < WAITING; i++)
                last = begin(p, &plain);
        pulls_set_socket(p->f.m.pulls, "/nonexistent/registry");
        g_assert_cmpint(getrlimit(RLIMIT_STACK, &before), ==, 0);
        small = (struct rlimit){ 256 * 1024, before.rlim_max };
        g_assert_cmpint(setrlimit(RLIMIT_STACK, &small), ==, 0);
        worker_ends(p, &store[0], STORE_ERROR, "{\"error\":\"Internal\",\"message\":\"x\"}");
        g_assert_cmpint(setrlimit(RLIMIT_STACK, &before), ==, 0);
        g_assert_cmpint(last->state, ==, JOB_FAILED);
        g_assert_cmpstr(last->error, ==, DAVIT_BUS_ERROR "Unavailable");
        for (size_t i = 0; i < ELEMENTSOF(registry); i++) {
                worker_done(&registry[i]);
                worker_done(&store[i]);
        }
        turn(&p->f);
}

static void test_no_workers(Pulling *p, const void *data _unused_) {
        Job *job;

        pulls_set_socket(p->f.m.pulls, "/nonexistent/registry");
        job = begin(p, &plain);
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        g_assert_cmpstr(job->error, ==, DAVIT_BUS_ERROR "Unavailable");
        g_assert_nonnull(strstr(job->message, "davit-registry.socket"));
        pulls_set_socket(p->f.m.pulls, p->socket);
        store_set_socket("/nonexistent/store");
        job = begin(p, &plain);
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        g_assert_cmpstr(job->error, ==, DAVIT_BUS_ERROR "Unavailable");
}

/* Credentials are handed on unread, to the registry's side alone; a lease gets the image, new or not. */
static void test_options(Pulling *p, const void *data _unused_) {
        _cleanup_close_ int secret = memfd_sealed("secret", "{\"token\":\"t\"}", 13);
        const PullOptions options = { .typed = NAME,
                                      .image = { .name = NAME, .lease = "l", .rootfs = "none" },
                                      .authorization = secret };
        const PullOptions again = {
                .typed = NAME, .image = { .name = NAME, .lease = "m" }, .authorization = -1, .missing = true
        };
        g_autofree char *answer = fetched(HEX_A, 3), *result = image(NAME, HEX_A, HEX_A);
        char *insecure[] = { (char *)"registry.example", NULL };
        const LeaseOptions none = { 0 };
        Worker registry, store;
        Lease *l, *second;
        Job *job;

        g_strfreev(p->f.m.config.insecure_registries);
        p->f.m.config.insecure_registries = g_strdupv(insecure);
        g_assert_cmpint(lease_create(p->f.ns, "l", &none, &l, NULL), ==, 0);
        g_assert_cmpint(lease_create(p->f.ns, "m", &none, &second, NULL), ==, 0);
        job = begin(p, &options);
        g_assert_true(accept_worker(p->registry, &registry));
        g_assert_true(accept_worker(p->f.listener, &store));
        g_assert_true(json_object_get_boolean_member(registry.request, "credentials"));
        g_assert_true(json_object_get_boolean_member(registry.request, "insecure"));
        g_assert_cmpstr(json_object_get_string_member(store.request, "rootfs"), ==, "none");
        worker_ends(p, &registry, STORE_DONE, answer);
        worker_ends(p, &store, STORE_DONE, result);
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_true(lease_has(l, "image", NAME));
        job = begin(p, &again);
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_true(lease_has(second, "image", NAME));
}

/* Who may be talked to in the clear. */
static void test_insecure(void) {
        char *hosts[] = { (char *)"a.example:5000", (char *)"B.example", NULL };
        const Config config = { .insecure_registries = hosts };
        static const char *const yes[] = { "a.example:5000/x:1", "b.example/x:1",      "localhost/x:1",
                                           "localhost:5000/x:1", "127.0.0.1:5000/x:1", "127.1.2.3/x:1" };
        static const char *const no[] = { "a.example/x:1",         "a.example:5001/x:1",    "b.example:80/x:1",
                                          "127.0.0.1.example/x:1", "localhost.example/x:1", "128.0.0.1/x:1",
                                          "docker.io/library/x:1" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++)
                g_assert_true(pull_host_insecure(&config, yes[i]));
        for (size_t i = 0; i < ELEMENTSOF(no); i++)
                g_assert_false(pull_host_insecure(&config, no[i]));
}

static void test_names(void) {
        static const struct {
                const char *name, *whole;
        } table[] = {
                { "debian", "docker.io/library/debian:latest" },
                { "debian:12", "docker.io/library/debian:12" },
                { "team/app", "docker.io/team/app:latest" },
                { "docker.io/debian", "docker.io/library/debian:latest" },
                { "docker.io/team/app:1", "docker.io/team/app:1" },
                { "host:5000/a", "host:5000/a:latest" },
                { "localhost/a", "localhost/a:latest" },
                { "a.example/a@sha256:" HEX_A, "a.example/a@sha256:" HEX_A },
                { "a:1@sha256:" HEX_A, "docker.io/library/a:1@sha256:" HEX_A },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *whole = NULL;

                g_assert_cmpint(image_name_qualify(table[i].name, "docker.io", &whole), ==, 0);
                g_assert_cmpstr(whole, ==, table[i].whole);
        }
        for (size_t i = 0; i < 2; i++) {
                _cleanup_free_ char *whole = NULL;

                g_assert_cmpint(image_name_qualify("a/b", i ? "host:5000" : "", &whole), ==, i ? 0 : -EINVAL);
        }
        g_assert_true(image_registry_valid("host:5000"));
        g_assert_false(image_registry_valid("host/a"));
        g_assert_false(image_registry_valid(""));
}

#define ADD(path, function) g_test_add(path, Pulling, NULL, set_up_pull, function, tear_down_pull)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("/pull/pull", test_pull);
        ADD("/pull/errors", test_errors);
        ADD("/pull/lies", test_lies);
        ADD("/pull/garbage", test_garbage);
        ADD("/pull/by-digest", test_by_digest);
        ADD("/pull/policy", test_policy);
        ADD("/pull/have", test_have);
        ADD("/pull/cancel", test_cancel);
        ADD("/pull/many", test_many);
        ADD("/pull/very-many", test_very_many);
        ADD("/pull/no-workers", test_no_workers);
        ADD("/pull/options", test_options);
        g_test_add_func("/pull/insecure", test_insecure);
        g_test_add_func("/pull/names", test_names);
        return g_test_run();
}
