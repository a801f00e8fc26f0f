/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Contents and their writers: what images bring along, what labels keep, and commits against a store that this test
 * plays. No bus.
 */

#include <errno.h>

#include "daemon/content-writer.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "shared/name.h"
#include "tests/unit/break-records.h"
#include "tests/unit/fake-store.h"
#include "tests/unit/image-sample.h"

#define HEX(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define A "sha256:" HEX("aa")
#define B "sha256:" HEX("bb")
#define C "sha256:" HEX("cc")
#define D "sha256:" HEX("dd")
#define DATA "data"

static ImageRecord *record_new(const char *name, const char *digest, const char *layer) {
        return image_sample(name, digest, C, layer, "\"rootfs\":{},\"config\":{}");
}

static GHashTable *labels(const char *key, const char *value) {
        GHashTable *l = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

        if (key)
                g_hash_table_insert(l, g_strdup(key), g_strdup(value));
        return l;
}

static Content *put(Fixture *f, const char *digest, const char *key, const char *value) {
        g_autoptr(GHashTable) l = labels(key, value);
        Content *c;

        g_assert_cmpint(content_put(f->ns, digest, 4, "", l, &c), ==, 0);
        return c;
}

/* What a manager does that was killed: forgets everything and reads the records. */
static void reload(Fixture *f) {
        ingests_done(f->ns);
        contents_done(f->ns);
        images_done(f->ns);
        images_init(f->ns);
        contents_init(f->ns);
        ingests_init(f->ns);
        g_assert_cmpint(images_load(f->ns), ==, 0);
        g_assert_cmpint(contents_load(f->ns), ==, 0);
        g_assert_cmpint(ingests_load(f->ns), ==, 0);
}

static bool there(Fixture *f, const char *digest, ContentKind kind) {
        const Content *c = g_hash_table_lookup(f->ns->contents, digest);

        return c && c->kind == kind;
}

static void test_derived(Fixture *f, const void *data _unused_) {
        Content *c;
        Image *image;

        g_assert_cmpint(image_put(f->ns, record_new("a:1", A, B), NULL), ==, 0);
        g_assert_cmpint(image_put(f->ns, record_new("d:1", D, B), NULL), ==, 0);
        for (int i = 0; i < 2; i++) {
                g_assert_true(there(f, A, CONTENT_MANIFEST) && there(f, B, CONTENT_LAYER) &&
                              there(f, C, CONTENT_CONFIG));
                g_assert_cmpuint(g_hash_table_size(f->ns->contents), ==, 4);
                g_assert_cmpuint(contents_count_recorded(f->ns), ==, 0);
                reload(f);
        }
        g_assert_cmpint(content_find(f->ns, A, &c, NULL), ==, 0);
        g_assert_cmpint(content_delete(c, NULL), ==, -EBUSY);
        g_assert_cmpint(content_set_labels(c, labels("davit.gc.root", ""), NULL), ==, 0);
        g_assert_cmpint(content_find(f->ns, B, &c, NULL), ==, 0);
        g_assert_cmpint(content_set_labels(c, labels("davit.gc.root", ""), NULL), ==, -EOPNOTSUPP);
        g_assert_cmpint(content_set_labels(c, labels("x", "y"), NULL), ==, 0);

        /* the labelled manifest stays for its own sake, the layer's labels go with the last image that has it */
        g_assert_cmpint(image_remove(g_hash_table_lookup(f->ns->images, "a:1"), NULL), ==, 0);
        g_assert_true(there(f, B, CONTENT_LAYER));
        image = g_hash_table_lookup(f->ns->images, "d:1");
        g_assert_cmpint(image_remove(image, NULL), ==, 0);
        for (int i = 0; i < 2; i++) {
                g_assert_true(there(f, A, CONTENT_MANIFEST));
                g_assert_cmpuint(g_hash_table_size(f->ns->contents), ==, 1);
                reload(f);
        }
}

static void on_root(RootKind kind, const char *target, const RootReason *why, void *userdata) {
        g_assert_cmpint(kind, ==, ROOT_CONTENT);
        g_assert_cmpstr(why->ns, ==, "default");
        g_hash_table_insert(userdata, g_strdup(target), g_strdup(why->type));
}

static GHashTable *roots(Fixture *f) {
        GHashTable *found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

        content_visit_roots(f->ns, on_root, found);
        return found;
}

/* References are followed from what is kept, also in circles, and never from what is not. */
static void test_roots(Fixture *f, const void *data _unused_) {
        g_autoptr(GHashTable) none = NULL, all = NULL, expired = NULL;
        Content *a = put(f, A, "davit.gc.ref.content", B);

        (void)put(f, B, "davit.gc.ref.content.0", C);
        (void)put(f, C, "davit.gc.ref.content", A);
        (void)put(f, D, "davit.gc.ref.content", A);
        none = roots(f);
        g_assert_cmpuint(g_hash_table_size(none), ==, 0);

        g_hash_table_insert(a->labels, g_strdup("davit.gc.expire"), g_strdup("2200-01-01T00:00:00Z"));
        all = roots(f);
        g_assert_cmpuint(g_hash_table_size(all), ==, 3);
        g_assert_cmpstr(g_hash_table_lookup(all, B), ==, "content");
        g_assert_cmpstr(g_hash_table_lookup(all, C), ==, "content");

        g_hash_table_insert(a->labels, g_strdup("davit.gc.expire"), g_strdup("2000-01-01T00:00:00Z"));
        expired = roots(f);
        g_assert_cmpuint(g_hash_table_size(expired), ==, 0);
}

static void test_collected(Fixture *f, const void *data _unused_) {
        char *dropped[] = { (char *)A, (char *)D, NULL };

        g_assert_cmpint(image_put(f->ns, record_new("d:1", D, B), NULL), ==, 0);
        (void)put(f, A, NULL, NULL);
        contents_collected(&f->m, dropped, 1);
        g_assert_nonnull(g_hash_table_lookup(f->ns->contents, A)); /* committed again since the collection began */
        contents_collected(&f->m, dropped, UINT64_MAX);
        g_assert_null(g_hash_table_lookup(f->ns->contents, A));
        g_assert_true(there(f, D, CONTENT_MANIFEST)); /* an image still says it is there */
        reload(f);
        g_assert_null(g_hash_table_lookup(f->ns->contents, A));
}

static void test_labels(Fixture *f, const void *data _unused_) {
        static const struct {
                const char *key, *value;
                int r;
        } table[] = {
                { "a", "b", 0 },
                { "", "b", -EINVAL },
                { "davit.gc.root", "whatever", 0 },
                { "davit.gc.expire", "2030-01-31T12:00:00Z", 0 },
                { "davit.gc.expire", "2030-01-31T12:00:00+02:00", 0 },
                { "davit.gc.expire", "2030", -EINVAL },
                { "davit.gc.expire", "", -EINVAL },
                { "davit.gc.ref.content", A, 0 },
                { "davit.gc.ref.content.layer.0", A, 0 },
                { "davit.gc.ref.content", "aaaa", -EINVAL },
        };

        (void)f;
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_autoptr(GHashTable) l = labels(table[i].key, table[i].value);

                g_assert_cmpint(content_check_labels(l, NULL), ==, table[i].r);
        }
}

/* A namespace's own labels are records like those of what is in it. */
static void test_labels_of_namespace(Fixture *f, const void *data _unused_) {
        g_assert_cmpint(namespace_set_labels(f->ns, labels("a", "b"), NULL), ==, 0);
        break_records(f->m.state_fd, "namespace");
        g_assert_cmpint(namespace_set_labels(f->ns, labels("c", "d"), NULL), <, 0);
        mend_records(f->m.state_fd, "namespace");
        g_assert_cmpuint(g_hash_table_size(f->ns->labels), ==, 1);
        g_assert_cmpstr(g_hash_table_lookup(f->ns->labels, "a"), ==, "b");
        g_hash_table_remove_all(f->ns->labels);
        g_assert_cmpint(namespace_load(f->ns), ==, 0);
        g_assert_cmpstr(g_hash_table_lookup(f->ns->labels, "a"), ==, "b");
}

/* Where no record can be written nothing has changed. */
static void test_put_fails(Fixture *f, const void *data _unused_) {
        g_autoptr(GHashTable) l = labels("x", "new"), more = labels("z", "new");
        Content *c, *other;
        uint64_t updated;

        c = put(f, A, "x", "old");
        updated = c->updated;
        break_records(f->m.state_fd, "contents");
        g_assert_cmpint(content_put(f->ns, A, 5, "text/plain", l, &other), <, 0);
        g_assert_cmpint(content_put(f->ns, A, 5, "", more, &other), <, 0);
        g_assert_cmpint(content_put(f->ns, B, 5, "", l, &other), <, 0);
        g_assert_cmpuint(g_hash_table_size(f->ns->contents), ==, 1);
        g_assert_cmpstr(c->media_type, ==, "");
        g_assert_cmpuint(c->size, ==, 4);
        g_assert_cmpuint(c->updated, ==, updated);
        g_assert_cmpstr(g_hash_table_lookup(c->labels, "x"), ==, "old");
        g_assert_cmpuint(g_hash_table_size(c->labels), ==, 1);
        mend_records(f->m.state_fd, "contents");
        g_assert_cmpint(content_put(f->ns, A, 5, "text/plain", l, &other), ==, 0);
        g_assert_true(c == other);
        for (int i = 0; i < 2; i++) {
                g_assert_cmpint(content_find(f->ns, A, &c, NULL), ==, 0);
                g_assert_cmpstr(c->media_type, ==, "text/plain");
                g_assert_cmpstr(g_hash_table_lookup(c->labels, "x"), ==, "new");
                reload(f);
        }
}

static void append(Fixture *f, const char *ref, const WriteOptions *options, uint64_t expected_offset) {
        uint64_t offset;
        int fd;

        g_assert_cmpint(content_write(f->ns, ref, options, NULL, &fd, &offset, NULL), ==, 0);
        g_assert_cmpuint(offset, ==, expected_offset);
        g_assert_cmpint(write(fd, DATA, strlen(DATA)), ==, strlen(DATA));
        (void)safe_close(fd);
}

static bool writing(Fixture *f, const char *ref) {
        return g_hash_table_contains(f->ns->ingests, ref);
}

static void test_write(Fixture *f, const void *data _unused_) {
        const WriteOptions options = { .total = 8, .digest = (char *)A }, nothing = { 0 }, other = { .total = 9 };
        uint64_t offset, updated;
        const Ingest *i;
        int fd;

        append(f, "ref", &options, 0);
        reload(f);
        append(f, "ref", &nothing, 4);
        g_assert_cmpint(content_write(f->ns, "ref", &other, NULL, &fd, &offset, NULL), ==, -EBUSY);
        i = g_hash_table_lookup(f->ns->ingests, "ref");
        g_assert_cmpuint(i->total, ==, 8);
        g_assert_cmpstr(i->digest, ==, A);
        g_assert_cmpint(ingest_stat(i, &offset, &updated), ==, 0);
        g_assert_cmpuint(offset, ==, 8);
        ingests_sweep(&f->m, 0);
        g_assert_cmpint(ingest_stat(i, &offset, &updated), ==, 0);
        g_assert_cmpint(content_abort(f->ns, "ref", NULL), ==, 0);
        reload(f);
        g_assert_cmpuint(g_hash_table_size(f->ns->ingests), ==, 0);
        g_assert_cmpint(content_abort(f->ns, "ref", NULL), ==, -ENOENT);
}

static void test_commit(Fixture *f, const void *data _unused_) {
        const WriteOptions options = { .media_type = (char *)"text/plain" }, expect = { .digest = (char *)A };
        g_autoptr(JsonObject) request = NULL;
        const char *digest = NULL;
        Content *c;
        Job *job;
        int fd;

        append(f, "ref", &options, 0);
        g_assert_cmpint(content_commit(f->ns, "ref", &expect, &job, NULL), ==, 0);
        g_assert_cmpint(content_commit(f->ns, "ref", &expect, &job, NULL), ==, -EBUSY);
        g_assert_cmpint(content_abort(f->ns, "ref", NULL), ==, -EBUSY);
        fd = worker(f, &request);
        g_assert_cmpstr(json_object_get_string_member(request, "operation"), ==, "content-commit");
        g_assert_cmpstr(json_object_get_string_member(request, "digest"), ==, A);
        g_assert_cmpint(json_object_get_int_member(request, "size"), ==, 4);
        g_assert_null(g_hash_table_lookup(f->ns->contents, A));
        answer(f, fd, STORE_DONE, "{\"digest\":\"" A "\",\"size\":4}");
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_true(g_variant_lookup(job->result, "Digest", "&s", &digest));
        g_assert_cmpstr(digest, ==, A);
        for (int i = 0; i < 2; i++) {
                g_assert_cmpint(content_find(f->ns, A, &c, NULL), ==, 0);
                g_assert_cmpuint(c->size, ==, 4);
                g_assert_cmpstr(c->media_type, ==, "text/plain");
                g_assert_false(writing(f, "ref"));
                reload(f);
        }
}

static void expects(Fixture *f, uint64_t total, const char *digest, const char *media_type, guint n_labels) {
        const Ingest *i = g_hash_table_lookup(f->ns->ingests, "ref");

        g_assert_cmpuint(i->total, ==, total);
        g_assert_cmpstr(i->digest, ==, digest);
        g_assert_cmpstr(i->media_type, ==, media_type);
        g_assert_cmpuint(g_hash_table_size(i->labels), ==, n_labels);
}

/* What a call says that comes to nothing was not said. */
static void test_expectations(Fixture *f, const void *data _unused_) {
        g_autoptr(GHashTable) l = labels("x", "y");
        const WriteOptions options = { .media_type = (char *)"a/b" }, large = { .total = 5, .labels = l },
                           all = { .total = 4, .digest = (char *)A, .media_type = (char *)"c/d", .labels = l },
                           other = { .digest = (char *)B };
        uint64_t offset;
        Job *job;
        int fd;

        append(f, "ref", &options, 0);
        break_records(f->m.state_fd, "ingests");
        g_assert_cmpint(content_write(f->ns, "ref", &all, NULL, &fd, &offset, NULL), <, 0);
        mend_records(f->m.state_fd, "ingests");
        expects(f, 0, "", "a/b", 0);
        g_assert_cmpint(content_commit(f->ns, "ref", &large, &job, NULL), ==, -EBUSY);
        expects(f, 0, "", "a/b", 0);
        g_assert_cmpint(content_commit(f->ns, "ref", &all, &job, NULL), ==, 0);
        expects(f, 4, A, "c/d", 1);
        answer(f, worker(f, NULL), STORE_ERROR, "{\"error\":\"InvalidArgument\",\"message\":\"digest\"}");
        expects(f, 0, "", "a/b", 0);
        g_assert_cmpint(content_commit(f->ns, "ref", &other, &job, NULL), ==, 0); /* as it was never said */
        answer(f, worker(f, NULL), STORE_DONE, "{\"digest\":\"" B "\",\"size\":4}");
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_false(writing(f, "ref"));
}

/* Whatever goes wrong, nothing is published and the writer can go on. */
static void test_commit_fails(Fixture *f, const void *data _unused_) {
        static const struct {
                uint16_t type;
                const char *text;
        } table[] = {
                { STORE_ERROR, "{\"error\":\"InvalidArgument\",\"message\":\"digest\"}" },
                { STORE_DONE, "{\"digest\":\"" B "\",\"size\":4}" },
                { STORE_DONE, "{\"digest\":\"" A "\",\"size\":5}" },
                { STORE_DONE, "{\"digest\":\"../x\",\"size\":4}" },
                { STORE_DONE, "{}" },
        };
        const WriteOptions options = { .digest = (char *)A }, large = { .total = 5 }, nothing = { 0 };
        Job *job;

        append(f, "ref", &options, 0);
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_assert_cmpint(content_commit(f->ns, "ref", &nothing, &job, NULL), ==, 0);
                answer(f, worker(f, NULL), table[i].type, table[i].text);
                g_assert_cmpint(job->state, ==, JOB_FAILED);
                g_assert_true(writing(f, "ref"));
                g_assert_cmpuint(g_hash_table_size(f->ns->contents), ==, 0);
        }
        g_assert_cmpint(content_commit(f->ns, "ref", &nothing, &job, NULL), ==, 0);
        g_assert_cmpint(job_cancel(job), ==, 0);
        answer(f, worker(f, NULL), STORE_ERROR, "{\"error\":\"FailedPrecondition\",\"message\":\"cancelled\"}");
        g_assert_cmpint(job->state, ==, JOB_CANCELLED);
        g_assert_cmpint(content_commit(f->ns, "ref", &large, &job, NULL), ==, -EBUSY);
        append(f, "ref", &nothing, 4);
}

static void test_read(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) request = NULL;
        Content *c = put(f, A, NULL, NULL);
        uint8_t byte;
        int fd, op;

        g_assert_cmpint(content_read(c, 5, 0, &fd, NULL), ==, -EINVAL);
        g_assert_cmpint(content_read(c, 1, 4, &fd, NULL), ==, -EINVAL);
        g_assert_cmpint(content_read(c, 1, 3, &fd, NULL), ==, 0);
        op = worker(f, &request);
        g_assert_cmpint(json_object_get_int_member(request, "offset"), ==, 1);
        g_assert_cmpint(json_object_get_int_member(request, "length"), ==, 3);
        g_assert_cmpstr(json_object_get_string_member(request, "kind"), ==, "blob");
        g_assert_true(roots_have(&f->m, ROOT_CONTENT, A)); /* while it is read */
        answer(f, op, STORE_DONE, "{\"size\":3}");
        g_assert_false(roots_have(&f->m, ROOT_CONTENT, A));
        g_assert_cmpint(read(fd, &byte, 1), ==, 0); /* the worker's end is the only one */
        (void)safe_close(fd);
}

#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("/content/derived", test_derived);
        ADD("/content/roots", test_roots);
        ADD("/content/collected", test_collected);
        ADD("/content/labels", test_labels);
        ADD("/content/labels-of-namespace", test_labels_of_namespace);
        ADD("/content/put-fails", test_put_fails);
        ADD("/content/write", test_write);
        ADD("/content/expectations", test_expectations);
        ADD("/content/commit", test_commit);
        ADD("/content/commit-fails", test_commit_fails);
        ADD("/content/read", test_read);
        return g_test_run();
}
