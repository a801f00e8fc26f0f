/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The order of imports, against a store that this test plays: it accepts the manager's connections and
 * answers when the test says so.
 */

#include <errno.h>

#include "daemon/error.h"
#include "daemon/image-store.h"
#include "shared/name.h"
#include "tests/unit/fake-store.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char *result(const char *name, const char *hex) {
        return g_strdup_printf("{\"images\":[{\"name\":\"%s\",\"digest\":\"sha256:%s\",\"config_digest\":\"sha256:%s\","
                               "\"media_type\":\"a/b\","
                               "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},\"size\":1,\"layers\":[{"
                               "\"diff_id\":\"sha256:%s\","
                               "\"digest\":\"sha256:%s\",\"size\":1}],\"chain_id\":\"sha256:%s\",\"rootfs\":{\"form\":"
                               "\"checkout\",\"path\":\"" DAVIT_STATE_DIR "/checkouts/%s\"},\"config\":{}}]}",
                               name, hex, hex, hex, hex, hex, hex);
}

static Job *begin(Fixture *f, const char *name) {
        const ImportOptions options = { .name = name, .format = "auto", .size = 3 };
        Job *job = NULL;

        g_assert_cmpint(image_import_begin(&f->m, "default", f->archive, &options, &job, NULL), ==, 0);
        return job;
}

/* A whole import. */
static void import(Fixture *f, const char *name, const char *hex) {
        g_autofree char *text = result(name, hex);
        Job *job = begin(f, name);

        answer(f, worker(f, NULL), STORE_DONE, text);
        g_assert_cmpint(job->state, ==, JOB_DONE);
}

static void test_import(Fixture *f, const void *data _unused_) {
        g_autoptr(JsonObject) request = NULL;
        g_autofree char *text = result("a:1", HEX_A);
        g_autofree const char **names = NULL;
        g_autoptr(GVariant) images = NULL;
        Image *image;
        Job *job;
        int fd;

        job = begin(f, "a:1");
        g_assert_cmpstr(job->type, ==, "import");
        g_assert_cmpstr(job->subject, ==, "a:1");
        fd = worker(f, &request);
        g_assert_cmpstr(json_object_get_string_member(request, "operation"), ==, "import");
        g_assert_false(json_object_has_member(request, "namespace"));
        g_assert_cmpstr(json_object_get_string_member(request, "name"), ==, "a:1");
        g_assert_cmpint(json_object_get_int_member(request, "size"), ==, 3);
        g_assert_cmpint(image_lookup(f->ns, "a:1", &image, NULL), ==, -ENOENT); /* not before the worker is done */
        answer(f, fd, STORE_DONE, text);
        g_assert_cmpint(job->state, ==, JOB_DONE);
        images = g_variant_lookup_value(job->result, "Images", G_VARIANT_TYPE_STRING_ARRAY);
        names = g_variant_get_strv(images, NULL);
        g_assert_cmpstr(names[0], ==, "a:1");
        g_assert_null(names[1]);
        g_assert_cmpint(image_lookup(f->ns, "a:1", &image, NULL), ==, 0);
}

/* Whatever a worker says that cannot be used ends the job and makes no image. */
static void test_bad_results(Fixture *f, const void *data _unused_) {
        g_autofree char *other = result("b:1", HEX_A), *path = result("a:1", "../../../etc");
        const struct {
                uint16_t type;
                const char *text, *error;
        } table[] = {
                { STORE_DONE, other, "Internal" }, /* not the name that was asked for */
                { STORE_DONE, path, "Internal" },
                { STORE_DONE, "{}", "Internal" },
                { STORE_DONE, "{\"images\":[]}", "Internal" },
                { STORE_ERROR, "{\"error\":\"InvalidArgument\",\"message\":\"layer 1\"}", "InvalidArgument" },
                { STORE_ERROR, "{\"error\":\"ResourceExhausted\",\"message\":\"disk\"}", "ResourceExhausted" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_autofree char *name = g_strconcat(DAVIT_BUS_ERROR, table[i].error, NULL);
                Job *job = begin(f, "a:1");

                answer(f, worker(f, NULL), table[i].type, table[i].text);
                g_assert_cmpint(job->state, ==, JOB_FAILED);
                g_assert_cmpstr(job->error, ==, name);
                g_assert_cmpuint(g_hash_table_size(f->ns->images), ==, 0);
        }
}

static void test_no_store(Fixture *f, const void *data _unused_) {
        const ImportOptions options = { .format = "auto" };
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Job *job = NULL;

        store_set_socket("/nonexistent/store");
        g_assert_cmpint(image_import_begin(&f->m, "default", f->archive, &options, &job, &error), ==, -EAGAIN);
        g_assert_cmpstr(error.name, ==, DAVIT_BUS_ERROR "Unavailable");
        g_assert_null(job);
        g_assert_cmpuint(g_hash_table_size(f->m.jobs), ==, 0);
}

static void test_many_imports(Fixture *f, const void *data _unused_) {
        Job *jobs[JOBS_AT_A_TIME + 2];
        int fds[JOBS_AT_A_TIME];
        g_autofree char *text = result("n:1", HEX_A);

        for (size_t i = 0; i < ELEMENTSOF(jobs); i++)
                jobs[i] = begin(f, "n:1");
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = worker(f, NULL);
                g_assert_cmpint(fds[i], >=, 0);
        }
        g_assert_cmpint(worker(f, NULL), ==, -1);
        g_assert_cmpint(job_cancel(jobs[JOBS_AT_A_TIME]), ==, 0); /* one that waits */
        g_assert_cmpint(jobs[JOBS_AT_A_TIME]->state, ==, JOB_CANCELLED);
        answer(f, fds[0], STORE_DONE, text);
        fds[0] = worker(f, NULL);
        g_assert_cmpint(fds[0], >=, 0);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                answer(f, fds[i], STORE_DONE, text);
        g_assert_cmpint(worker(f, NULL), ==, -1);
        for (size_t i = 0; i < ELEMENTSOF(jobs); i++)
                g_assert_cmpint(jobs[i]->state, ==, i == JOBS_AT_A_TIME ? JOB_CANCELLED : JOB_DONE);
}

static void test_cancel(Fixture *f, const void *data _unused_) {
        Job *job = begin(f, "a:1");
        int fd = worker(f, NULL);

        g_assert_cmpint(job_cancel(job), ==, 0);
        g_assert_cmpint(job->state, ==, JOB_RUNNING);
        answer(f, fd, STORE_ERROR, "{\"error\":\"FailedPrecondition\",\"message\":\"cancelled\"}");
        g_assert_cmpint(job->state, ==, JOB_CANCELLED);

        job = begin(f, "a:1");
        fd = worker(f, NULL);
        g_assert_cmpint(job_cancel(job), ==, 0);
        (void)safe_close(fd);
        while (sd_event_run(f->m.event, 0) > 0)
                ;
        g_assert_cmpint(job->state, ==, JOB_CANCELLED);
}

/* Limits of the call go before those of the configuration, which go with every import. */
static void test_limits(Fixture *f, const void *data _unused_) {
        const ImportOptions options = { .format = "auto", .platform = "all", .limits = { [LIMIT_ENTRIES] = 7 } };
        g_autoptr(JsonObject) request = NULL;
        JsonObject *limits;
        Job *job;
        int fd;

        config_set_defaults(&f->m.config);
        g_assert_cmpint(image_import_begin(&f->m, "default", f->archive, &options, &job, NULL), ==, 0);
        fd = worker(f, &request);
        limits = json_object_get_object_member(request, "limits");
        g_assert_cmpuint(json_object_get_size(limits), ==, _LIMIT_MAX);
        g_assert_cmpint(json_object_get_int_member(limits, "entries"), ==, 7);
        g_assert_cmpint(json_object_get_int_member(limits, "layers"), ==, 256);
        g_assert_cmpstr(json_object_get_string_member(request, "platform"), ==, "all");
        answer(f, fd, STORE_ERROR, "{\"error\":\"ResourceExhausted\",\"message\":\"too many\"}");
        g_assert_cmpint(job->state, ==, JOB_FAILED);
        config_done(&f->m.config);
}

/* Names of one image stand together; what cannot be found or is too much starts no worker. */
static void test_save(Fixture *f, const void *data _unused_) {
        const SaveOptions oci = { "oci", "gzip" }, rootfs = { "rootfs", "none" };
        char *names[] = { (char *)"b:1", (char *)"a:1", (char *)"a2:1", (char *)"b:1", NULL },
             *missing[] = { (char *)"c:1", NULL };
        g_autoptr(JsonObject) request = NULL;
        JsonObject *second;
        JsonArray *images;
        guint64 bytes = 0;
        Image *image;
        Job *job;
        int fd;

        import(f, "a:1", HEX_A);
        import(f, "b:1", HEX_B);
        g_assert_cmpint(image_lookup(f->ns, "a:1", &image, NULL), ==, 0);
        g_assert_cmpint(image_tag(image, "a2:1", &image, NULL), ==, 0);
        g_assert_cmpint(image_save_begin(f->ns, missing, f->archive, &oci, &job, NULL), ==, -ENOENT);
        g_assert_cmpint(image_save_begin(f->ns, names, f->archive, &rootfs, &job, NULL), ==, -EINVAL);
        g_assert_cmpint(worker(f, NULL), ==, -1);

        g_assert_cmpint(image_save_begin(f->ns, names, f->archive, &oci, &job, NULL), ==, 0);
        fd = worker(f, &request);
        g_assert_cmpstr(json_object_get_string_member(request, "operation"), ==, "save");
        g_assert_cmpstr(json_object_get_string_member(request, "compression"), ==, "gzip");
        images = json_object_get_array_member(request, "images");
        g_assert_cmpuint(json_array_get_length(images), ==, 2);
        second = json_array_get_object_element(images, 1);
        g_assert_cmpstr(json_object_get_string_member(second, "digest"), ==, "sha256:" HEX_A);
        g_assert_false(json_object_has_member(second, "index"));
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(second, "names")), ==, 2);
        answer(f, fd, STORE_DONE, "{\"bytes\":77}");
        g_assert_cmpint(job->state, ==, JOB_DONE);
        g_assert_true(g_variant_lookup(job->result, "Bytes", "t", &bytes));
        g_assert_cmpuint(bytes, ==, 77);
}

/* The manager ends: every worker sees the end of its connection. */
static void test_shutdown(Fixture *f, const void *data _unused_) {
        uint8_t byte;
        int fd;

        (void)begin(f, "a:1");
        fd = worker(f, NULL);
        f->m.collector = collector_free(f->m.collector);
        f->m.store_jobs = store_jobs_free(f->m.store_jobs);
        g_assert_cmpint(recv(fd, &byte, 1, 0), ==, 0);
        (void)safe_close(fd);
}

#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("/image-store/import", test_import);
        ADD("/image-store/bad-results", test_bad_results);
        ADD("/image-store/no-store", test_no_store);
        ADD("/image-store/many-imports", test_many_imports);
        ADD("/image-store/cancel", test_cancel);
        ADD("/image-store/limits", test_limits);
        ADD("/image-store/save", test_save);
        ADD("/image-store/shutdown", test_shutdown);
        return g_test_run();
}
