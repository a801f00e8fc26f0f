/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Pulls from a registry that is played: two ports of loopback, and a list of requests that have to come, one a
 * connection, with what is answered to each. What the worker writes is read with the store's own reader.
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "registry/pull.h"
#include "shared/macros.h"
#include "store/archive.h"
#include "store/error.h"
#include "store/job.h"
#include "store/manifest.h"

#define LAYER_SIZE ((gsize)300000)
#define HEAD_MAX 8192
#define REPOSITORY "/v2/team/app/"

typedef struct {
        guint port;          /* which of the two it comes to */
        const char *path;    /* and for what */
        const char *has;     /* a header, or NULL */
        const char *has_not; /* a header, or NULL */
        GBytes *answer;
        gboolean endless; /* the answer's last byte comes again and again, as fast as it is taken */
        gsize last;       /* so many of its bytes come slowly, */
        gsize slow;       /* so many each hundredth of a second */
} Step;

typedef struct {
        int listen[2];
        guint16 port[2];
        GPtrArray *steps; /* Step */
        guint at;         /* the next one */
        GString *wrong;   /* what came instead */
        GThread *thread;
        int stop[2];
} Server;

typedef struct {
        guint8 layer[LAYER_SIZE];
        char layer_digest[DIGEST_STRING], config_digest[DIGEST_STRING], manifest_digest[DIGEST_STRING];
        char *config, *manifest;
} Sample;

static Sample sample;

static void digest_of(const void *data, gsize size, char ret[DIGEST_STRING]) {
        guint8 digest[DIGEST_SIZE];

        digest_bytes(data, size, digest);
        digest_string(digest, ret);
}

static void make_sample(void) {
        guint32 x = 1;

        for (gsize i = 0; i < LAYER_SIZE; i++) {
                x = x * 1664525 + 1013904223;
                sample.layer[i] = (guint8)(x >> 24);
        }
        digest_of(sample.layer, LAYER_SIZE, sample.layer_digest);
        sample.config = g_strdup_printf("{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\","
                                        "\"diff_ids\":[\"%s\"]}}",
                                        sample.layer_digest);
        digest_of(sample.config, strlen(sample.config), sample.config_digest);
        sample.manifest = g_strdup_printf("{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"config\":{"
                                          "\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"%s\",\"size\":%zu},"
                                          "\"layers\":[{\"mediaType\":\"" MEDIA_OCI_LAYER "\",\"digest\":\"%s\","
                                          "\"size\":%zu}]}",
                                          sample.config_digest, strlen(sample.config), sample.layer_digest, LAYER_SIZE);
        digest_of(sample.manifest, strlen(sample.manifest), sample.manifest_digest);
}

/* --- the registry --- */

/* For longer than any deadline here is. */
static void send_on(int sock, char byte) {
        gint64 until = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
        g_autofree char *bytes = g_malloc(LAYER_SIZE);

        memset(bytes, byte, LAYER_SIZE);
        while (g_get_monotonic_time() < until && send(sock, bytes, LAYER_SIZE, MSG_NOSIGNAL) > 0)
                ;
}

static void serve_one(Server *s, guint port) {
        _cleanup_close_ int sock = accept4(s->listen[port], NULL, NULL, SOCK_CLOEXEC);
        g_autofree char *wanted = NULL;
        char head[HEAD_MAX] = "";
        gsize size = 0, sent = 0, total;
        const Step *step;
        const char *data;
        gssize n;

        while (size < sizeof(head) - 1 && !strstr(head, "\r\n\r\n") &&
               (n = read(sock, head + size, sizeof(head) - 1 - size)) > 0)
                size += (gsize)n;
        step = s->at < s->steps->len ? s->steps->pdata[s->at++] : NULL;
        wanted = step ? g_strdup_printf("GET %s HTTP/1.1\r\n", step->path) : NULL;
        if (!step || step->port != port || g_ascii_strncasecmp(head, wanted, strlen(wanted)) != 0 ||
            (step->has && !strstr(head, step->has)) || (step->has_not && strstr(head, step->has_not))) {
                g_string_append_printf(s->wrong, "request %u, at port %u: %s", s->at, port, head);
                return;
        }
        if (!step->answer) { /* silence, until the other end has had enough */
                (void)!read(sock, head, 1);
                return;
        }
        data = g_bytes_get_data(step->answer, &total);
        while (sent < total - step->last && (n = send(sock, data + sent, total - step->last - sent, MSG_NOSIGNAL)) > 0)
                sent += (gsize)n;
        while (sent < total && (n = send(sock, data + sent, MIN(step->slow, total - sent), MSG_NOSIGNAL)) > 0) {
                sent += (gsize)n;
                g_usleep(10000); /* which is the speed it is about */
        }
        if (step->endless)
                send_on(sock, data[total - 1]);
        (void)shutdown(sock, SHUT_WR);
        while (read(sock, head, sizeof(head)) > 0)
                ;
}

static gpointer serve(gpointer data) {
        Server *s = data;
        GPollFD fds[] = { { s->listen[0], G_IO_IN, 0 }, { s->listen[1], G_IO_IN, 0 }, { s->stop[0], G_IO_HUP, 0 } };

        while (g_poll(fds, G_N_ELEMENTS(fds), -1) > 0 && fds[2].revents == 0)
                for (guint i = 0; i < 2; i++)
                        if (fds[i].revents)
                                serve_one(s, i);
        return NULL;
}

static void server_start(Server *s) {
        *s = (Server){ .steps = g_ptr_array_new(), .wrong = g_string_new(NULL) };
        for (guint i = 0; i < 2; i++) {
                struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
                socklen_t size = sizeof(a);

                s->listen[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
                g_assert_cmpint(bind(s->listen[i], (struct sockaddr *)&a, sizeof(a)), ==, 0);
                g_assert_cmpint(listen(s->listen[i], 16), ==, 0);
                g_assert_cmpint(getsockname(s->listen[i], (struct sockaddr *)&a, &size), ==, 0);
                s->port[i] = ntohs(a.sin_port);
        }
        g_assert_cmpint(pipe(s->stop), ==, 0);
}

/* Takes over @answer. */
static void step(Server *s, guint port, const char *path, const char *has, const char *has_not, GBytes *answer) {
        Step *t = g_new0(Step, 1);

        *t = (Step){ port, g_intern_string(path), has ? g_intern_string(has) : NULL, has_not, answer, FALSE, 0, 0 };
        g_ptr_array_add(s->steps, t);
}

/* Ends it; everything that was to come has come, and nothing else. */
static void server_end(Server *s) {
        (void)close(s->stop[1]);
        if (s->thread)
                (void)g_thread_join(s->thread);
        g_assert_cmpstr(s->wrong->str, ==, "");
        g_assert_cmpuint(s->at, ==, s->steps->len);
        for (guint i = 0; i < s->steps->len; i++) {
                Step *t = s->steps->pdata[i];

                g_clear_pointer(&t->answer, g_bytes_unref);
                g_free(t);
        }
        g_ptr_array_unref(s->steps);
        (void)g_string_free(s->wrong, TRUE);
        for (guint i = 0; i < 2; i++)
                (void)close(s->listen[i]);
        (void)close(s->stop[0]);
}

/* An answer of this status line, further headers, a length, and a body that may be cut off. */
static GBytes *answer(const char *status, const char *headers, const void *body, gsize size, gsize sent) {
        GString *text = g_string_new(NULL);

        g_string_printf(text, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n", status, headers,
                        size);
        g_string_append_len(text, body, (gssize)sent);
        return g_string_free_to_bytes(text);
}

static GBytes *document(const char *text, const char *type) {
        g_autofree char *headers = g_strdup_printf("Content-Type: %s\r\n", type);

        return answer("200 OK", headers, text, strlen(text), strlen(text));
}

static void step_manifest(Server *s, const char *has) {
        step(s, 0, REPOSITORY "manifests/1", has, NULL, document(sample.manifest, MEDIA_OCI_MANIFEST));
}

static void step_config(Server *s) {
        g_autofree char *path = g_strconcat(REPOSITORY "blobs/", sample.config_digest, NULL);

        step(s, 0, path, NULL, NULL, document(sample.config, "application/octet-stream"));
}

static void step_layer(Server *s, const char *has, GBytes *with) {
        g_autofree char *path = g_strconcat(REPOSITORY "blobs/", sample.layer_digest, NULL);

        step(s, 0, path, has, NULL, with);
}

static GBytes *whole_layer(void) {
        return answer("200 OK", "", sample.layer, LAYER_SIZE, LAYER_SIZE);
}

/* The layer from @from on, as an answer that says it begins at @said. */
static GBytes *layer_from(gsize from, gsize said) {
        g_autofree char *range =
                g_strdup_printf("Content-Range: bytes %zu-%zu/%zu\r\n", said, LAYER_SIZE - 1, LAYER_SIZE);

        return answer("206 Partial Content", range, sample.layer + from, LAYER_SIZE - from, LAYER_SIZE - from);
}

/* --- the worker --- */

/* Pulls team/app:1 with further members of the request; the result, or NULL with error. */
static JsonNode *pull(Server *s, const char *members, const char *credentials, int *ret_out, GError **error) {
        const char *platform = strstr(members, "platform") ? "" : ",\"platform\":\"linux/amd64\"";
        g_autofree char *request = g_strdup_printf("{\"reference\":\"127.0.0.1:%u/team/app:1\",\"insecure\":true%s%s}",
                                                   s->port[0], platform, members);
        _cleanup_close_ int secret = -1, out = memfd_create("out", MFD_CLOEXEC);
        g_auto(Pull) p = { .platform = NULL };
        g_auto(Operation) o = { .sock = -1 };
        JsonNode *result;

        if (credentials) {
                secret = memfd_create("credentials", MFD_CLOEXEC);
                g_assert_cmpint(write(secret, credentials, strlen(credentials)), ==, (gssize)strlen(credentials));
        }
        g_assert_true(pull_read(&p, request, strlen(request), NULL));
        g_assert_true(operation_init(&o, -1, -1, out, NULL));
        s->thread = g_thread_new("registry", serve, s);
        result = pull_run(&p, &o, secret, error);
        if (ret_out)
                *ret_out = take_fd(&out);
        return result;
}

static void pull_fails(Server *s, const char *members, const char *credentials, StoreFail code, const char *says) {
        g_autoptr(GError) error = NULL;

        g_assert_null(pull(s, members, credentials, NULL, &error));
        g_assert_error(error, STORE_FAIL, (int)code);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, says));
        g_assert_nonnull(strstr(error->message, "127.0.0.1"));
        server_end(s);
}

static void check_stream(int fd, gboolean with_layer) {
        g_autofree char *member = g_strconcat("blobs/sha256/", sample.layer_digest + strlen("sha256:"), NULL);
        g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)image_free);
        g_autoptr(GError) error = NULL;
        g_autoptr(Archive) a = NULL;
        const Image *image;
        StoreJob job;

        g_assert_true(store_job_init(&job, &error));
        a = archive_open_tar(&job, fd, (guint64)lseek(fd, 0, SEEK_END), &error);
        g_assert_no_error(error);
        g_assert_true(oci_read(a, "linux/amd64", &job.limits, images, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(images->len, ==, 1);
        image = images->pdata[0];
        g_assert_cmpuint(image->names->len, ==, 1);
        g_assert_true(g_str_has_suffix(image->names->pdata[0], "/team/app:1"));
        g_assert_cmpint(archive_has(a, member), ==, with_layer);
        if (with_layer) {
                g_autoptr(GBytes) bytes = archive_read(a, member, LAYER_SIZE, &error);

                g_assert_no_error(error);
                g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), sample.layer, LAYER_SIZE);
        }
        store_job_done(&job);
}

static void pull_works(Server *s, const char *members, const char *credentials, gboolean with_layer) {
        _cleanup_close_ int out = -1;
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) result = pull(s, members, credentials, &out, &error);
        JsonObject *o;

        server_end(s);
        g_assert_no_error(error);
        o = json_node_get_object(result);
        g_assert_cmpstr(json_object_get_string_member(o, "digest"), ==, sample.manifest_digest);
        g_assert_cmpstr(json_object_get_string_member(o, "manifest"), ==, sample.manifest_digest);
        g_assert_cmpint(json_object_get_int_member(o, "size"), ==, (gint64)(LAYER_SIZE + strlen(sample.config)));
        check_stream(out, with_layer);
}

static void test_whole(void) {
        Server s;

        server_start(&s);
        step_manifest(&s, "Accept: " MEDIA_OCI_INDEX);
        step_config(&s);
        step_layer(&s, NULL, whole_layer());
        pull_works(&s, "", NULL, TRUE);
}

static void test_layer_that_is_here(void) {
        g_autofree char *have = g_strdup_printf(",\"have\":[\"%s\"]", sample.layer_digest);
        Server s;

        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        pull_works(&s, have, NULL, FALSE);
}

static void test_cut_off(void) {
        const gsize half = LAYER_SIZE / 2;
        g_autofree char *range = g_strdup_printf("Range: bytes=%zu-\r\n", half);
        Server s;

        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, answer("200 OK", "", sample.layer, LAYER_SIZE, half));
        step_layer(&s, range, layer_from(half, half));
        pull_works(&s, "", NULL, TRUE);

        /* A registry that knows no ranges sends everything again. */
        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, answer("200 OK", "", sample.layer, LAYER_SIZE, half));
        step_layer(&s, range, whole_layer());
        pull_works(&s, "", NULL, TRUE);

        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, answer("200 OK", "", sample.layer, LAYER_SIZE, half));
        step_layer(&s, range, layer_from(half, half + 1));
        pull_fails(&s, "", NULL, STORE_FAIL_INVALID, "another part");

        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, answer("200 OK", "", sample.layer, LAYER_SIZE, half));
        pull_fails(&s, ",\"limits\":{\"retries\":0}", NULL, STORE_FAIL_UNAVAILABLE, sample.layer_digest);
}

static void test_wrong_bytes(void) {
        g_autofree guint8 *other = g_memdup2(sample.layer, LAYER_SIZE);
        Server s;

        other[LAYER_SIZE - 1] ^= 1;
        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, answer("200 OK", "", other, LAYER_SIZE, LAYER_SIZE));
        pull_fails(&s, "", NULL, STORE_FAIL_INVALID, "another digest");

        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, answer("200 OK", "", other, LAYER_SIZE - 1, LAYER_SIZE - 1));
        pull_fails(&s, "", NULL, STORE_FAIL_INVALID, "299999 bytes");

        /* Bytes count, not what is said of them. */
        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, answer("200 OK", "Content-Encoding: gzip\r\n", sample.layer, LAYER_SIZE, LAYER_SIZE));
        pull_works(&s, "", NULL, TRUE);
}

static void test_ambiguous(void) {
        Server s;

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, document(sample.manifest, MEDIA_DOCKER_MANIFEST));
        pull_fails(&s, "", NULL, STORE_FAIL_INVALID, "ambiguous");

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, document("{\"schemaVersion\":2}", "text/html"));
        pull_fails(&s, "", NULL, STORE_FAIL_INVALID, "neither a manifest nor an index");

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL,
             document("{\"schemaVersion\":1}", "application/vnd.docker.distribution.manifest.v1+prettyjws"));
        pull_fails(&s, "", NULL, STORE_FAIL_UNSUPPORTED, "schema 1");
}

static void test_tries(void) {
        Server s;

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, answer("503 Busy", "", "", 0, 0));
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, whole_layer());
        pull_works(&s, "", NULL, TRUE);

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, answer("429 Slow", "Retry-After: 3600\r\n", "", 0, 0));
        pull_fails(&s, "", NULL, STORE_FAIL_EXHAUSTED, "in 3600 seconds");

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL,
             document("{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"what\\n?\"}]}", "application/json"));
        g_clear_pointer(&((Step *)s.steps->pdata[0])->answer, g_bytes_unref);
        pull_fails(&s, ",\"limits\":{\"retries\":0,\"stall_usec\":100000}", NULL, STORE_FAIL_UNAVAILABLE, "nothing");

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, answer("404 No", "", "", 0, 0));
        pull_fails(&s, "", NULL, STORE_FAIL_NOT_FOUND, "has no 'team/app:1'");
}

/* Bytes without end of which nothing is left, as fast as they are taken: no better than silence. */
static void test_emptiness(void) {
        static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: " MEDIA_OCI_MANIFEST "\r\n";
        static const char *const ways[] = {
                "Transfer-Encoding: chunked\r\n\r\n1;extension=x",
                "Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08name", /* a packed file's name */
        };

        for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
                g_autofree char *text = g_strconcat(head, ways[i], NULL);
                Server s;

                server_start(&s);
                step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, g_bytes_new(text, strlen(text)));
                ((Step *)s.steps->pdata[0])->endless = TRUE;
                pull_fails(&s, ",\"limits\":{\"retries\":0,\"stall_usec\":100000}", NULL, STORE_FAIL_UNAVAILABLE,
                           "not enough");
        }
}

/* A layer of which the end comes slowly. */
static void step_slow_layer(Server *s, gsize last, gsize slow) {
        Step *t;

        step_manifest(s, NULL);
        step_config(s);
        step_layer(s, NULL, whole_layer());
        t = s->steps->pdata[s->steps->len - 1];
        t->last = last;
        t->slow = slow;
}

/* Something always comes: what counts is how much of it on an average. */
static void test_speed(void) {
        Server s;

        server_start(&s);
        step_slow_layer(&s, LAYER_SIZE, 1);
        pull_fails(&s, ",\"limits\":{\"retries\":0,\"stall_usec\":500000}", NULL, STORE_FAIL_UNAVAILABLE,
                   "bytes came within");

        server_start(&s);
        step_slow_layer(&s, 8000, 50);
        pull_works(&s, ",\"limits\":{\"retries\":0,\"stall_usec\":500000}", NULL, TRUE);
}

/* Each wait is short enough, but there is an end to them: a while, and what bytes are worth. */
static void test_waits(void) {
        const HttpTimes times = { .connect_usec = 100000, .stall_usec = 100000 };
        const HttpRequest q = { .url = "http://127.0.0.1:1/" };
        g_auto(Operation) o = { .sock = -1 };
        g_auto(HttpAnswer) a = { HTTP_ENDED };
        g_autoptr(GError) error = NULL;
        Server s;

        server_start(&s);
        for (guint i = 0; i < 2; i++)
                step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, answer("503 Busy", "Retry-After: 3\r\n", "", 0, 0));
        pull_fails(&s, ",\"limits\":{\"stall_usec\":290000}", NULL, STORE_FAIL_UNAVAILABLE, "answers 503");

        g_assert_true(operation_init(&o, -1, -1, -1, NULL));
        o.progress.bytes_done = 10240;
        o.waited = 11 * G_USEC_PER_SEC;
        g_assert_cmpint(http_patience(&o, &times), ==, G_USEC_PER_SEC);
        o.waited += 2 * G_USEC_PER_SEC;
        g_assert_false(http_get(&o, &q, &times, &a, &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_UNAVAILABLE);
        g_assert_nonnull(strstr(error->message, "10240 bytes of layers are not enough for 13 seconds"));
}

/* What libcurl would undo unasked, one inside the other, before anybody could count what comes out. */
static void test_encodings(void) {
        static const char *const documents[] = {
                "Content-Encoding: gzip, gzip\r\n",
                "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n",
                "Content-Encoding: zstd\r\n",
                "Transfer-Encoding: gzip, chunked\r\n",
        };
        Server s;

        for (gsize i = 0; i < G_N_ELEMENTS(documents); i++) {
                server_start(&s);
                step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, answer("200 OK", documents[i], "", 0, 0));
                pull_fails(&s, "", NULL, STORE_FAIL_INVALID, "encoding that was not asked for");
        }

        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, answer("200 OK", "Transfer-Encoding: gzip\r\n", "", LAYER_SIZE, 0));
        pull_fails(&s, "", NULL, STORE_FAIL_INVALID, "encoding that was not asked for");
}

/* Each document is small enough, all of them together are not. */
static void test_documents(void) {
        enum { FIT = 8, SIZE = (4 << 20) - 4096 };
        g_autofree char *padding = g_strnfill(SIZE, ' '), *manifest = g_strconcat(sample.manifest, padding, NULL);
        g_autofree char *path = NULL;
        g_autoptr(GString) index = g_string_new("{\"schemaVersion\":2,\"manifests\":[");
        char digest[DIGEST_STRING];
        Server s;

        digest_of(manifest, strlen(manifest), digest);
        path = g_strconcat(REPOSITORY "manifests/", digest, NULL);
        for (guint i = 0; i <= FIT; i++)
                g_string_append_printf(index,
                                       "%s{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"%s\",\"size\":%zu,"
                                       "\"platform\":{\"os\":\"linux\",\"architecture\":\"a%u\"}}",
                                       i > 0 ? "," : "", digest, strlen(manifest), i);
        g_string_append(index, "]}");
        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, document(index->str, MEDIA_OCI_INDEX));
        for (guint i = 0; i < FIT; i++) {
                step(&s, 0, path, NULL, NULL, document(manifest, MEDIA_OCI_MANIFEST));
                step_config(&s);
        }
        pull_fails(&s, ",\"platform\":\"all\"", NULL, STORE_FAIL_EXHAUSTED, "33554432 bytes together");
}

static gpointer read_all(gpointer fd) {
        char data[1024];

        while (read(GPOINTER_TO_INT(fd), data, sizeof(data)) > 0)
                ;
        return NULL;
}

/* What is wrong shows as well in what was kept back until the reader took more. */
static void test_slow_reader(void) {
        g_autofree char *head =
                g_strdup_printf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n", LAYER_SIZE + 4);
        GString *text = g_string_new(head);
        g_autofree char *request = NULL;
        g_auto(Pull) p = { .platform = NULL };
        g_auto(Operation) o = { .sock = -1 };
        g_autoptr(GError) error = NULL;
        GThread *reader;
        int fds[2];
        Server s;

        g_string_append_len(text, (const char *)sample.layer, LAYER_SIZE);
        g_string_append(text, "more\r\n0\r\n\r\n");
        server_start(&s);
        step_manifest(&s, NULL);
        step_config(&s);
        step_layer(&s, NULL, g_string_free_to_bytes(text));
        request = g_strdup_printf("{\"reference\":\"127.0.0.1:%u/team/app:1\",\"insecure\":true,"
                                  "\"platform\":\"linux/amd64\",\"limits\":{\"retries\":0}}",
                                  s.port[0]);
        g_assert_cmpint(pipe(fds), ==, 0);
        g_assert_true(pull_read(&p, request, strlen(request), NULL));
        g_assert_true(operation_init(&o, -1, -1, fds[1], NULL));
        g_assert_cmpint(fcntl(fds[1], F_SETPIPE_SZ, 4096), ==, 4096);
        s.thread = g_thread_new("registry", serve, &s);
        reader = g_thread_new("reader", read_all, GINT_TO_POINTER(fds[0]));
        g_assert_null(pull_run(&p, &o, -1, &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_INVALID);
        g_assert_nonnull(strstr(error->message, "of which there are"));
        (void)close(fds[1]);
        (void)g_thread_join(reader);
        (void)close(fds[0]);
        server_end(&s);
}

/* A challenge that sends to the other port for a token. */
static GBytes *challenge(const Server *s) {
        g_autofree char *header = g_strdup_printf("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%u/token\","
                                                  "service=\"s\"\r\n",
                                                  s->port[1]);

        return answer("401 Who", header, "", 0, 0);
}

static void step_challenge(Server *s) {
        step(s, 0, REPOSITORY "manifests/1", NULL, "Authorization:", challenge(s));
}

#define TOKEN_PATH "/token?service=s&scope=repository%3ateam%2fapp%3apull"
#define CREDENTIALS "{\"username\":\"u\",\"password\":\"p\"}"

static void test_token(void) {
        g_autofree char *hosts = NULL;
        Server s;

        server_start(&s);
        step_challenge(&s);
        step(&s, 1, TOKEN_PATH, NULL, "Authorization:", document("{\"token\":\"T\"}", "application/json"));
        step_manifest(&s, "Authorization: Bearer T\r\n");
        step_config(&s);
        step_layer(&s, "Authorization: Bearer T\r\n", whole_layer());
        pull_works(&s, "", NULL, TRUE);

        /* One that is too old in the middle. */
        server_start(&s);
        step_challenge(&s);
        step(&s, 1, TOKEN_PATH, NULL, "Authorization:", document("{\"token\":\"T\"}", "application/json"));
        step_manifest(&s, "Authorization: Bearer T\r\n");
        step_config(&s);
        step_layer(&s, "Authorization: Bearer T\r\n", challenge(&s));
        step(&s, 1, TOKEN_PATH, NULL, "Authorization:", document("{\"access_token\":\"U\"}", "application/json"));
        step_layer(&s, "Authorization: Bearer U\r\n", whole_layer());
        pull_works(&s, "", NULL, TRUE);

        server_start(&s);
        step_challenge(&s);
        pull_fails(&s, "", CREDENTIALS, STORE_FAIL_DENIED, "TokenHosts=");

        server_start(&s);
        hosts = g_strdup_printf(",\"token_hosts\":[\"127.0.0.1:%u\"]", s.port[1]);
        step_challenge(&s);
        step(&s, 1, TOKEN_PATH, "Authorization: Basic dTpw\r\n", NULL, answer("401 No", "", "", 0, 0));
        pull_fails(&s, hosts, CREDENTIALS, STORE_FAIL_DENIED, "does not accept");

        server_start(&s);
        step_challenge(&s);
        step(&s, 1, TOKEN_PATH, NULL, NULL, document("{\"token\":\"a\\r\\nb\"}", "application/json"));
        pull_fails(&s, "", NULL, STORE_FAIL_UNAVAILABLE, "no token");

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, "Authorization:",
             answer("401 Who", "WWW-Authenticate: Bearer realm=\"file:///etc/passwd\"\r\n", "", 0, 0));
        pull_fails(&s, "", NULL, STORE_FAIL_UNAVAILABLE, "no URL");
}

#define BASIC "WWW-Authenticate: Basic realm=\"x\"\r\n"

/* A refusal says whether the registry knows who we are. */
static void test_refused(void) {
        static const struct {
                const char *status, *says;
        } ways[] = { { "401 Who", "does not accept the credentials" }, { "403 No", "does not let the holder" } };
        g_autofree char *hosts = NULL;
        Server s;

        for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
                server_start(&s);
                step(&s, 0, REPOSITORY "manifests/1", NULL, "Authorization:", answer("401 Who", BASIC, "", 0, 0));
                step(&s, 0, REPOSITORY "manifests/1", "Authorization: Basic dTpw\r\n", NULL,
                     answer(ways[i].status, BASIC, "", 0, 0));
                pull_fails(&s, "", CREDENTIALS, STORE_FAIL_DENIED, ways[i].says);
        }

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, "Authorization:", answer("401 Who", BASIC, "", 0, 0));
        pull_fails(&s, "", NULL, STORE_FAIL_DENIED, "without credentials");

        /* Who has got a token is known. */
        server_start(&s);
        hosts = g_strdup_printf(",\"token_hosts\":[\"127.0.0.1:%u\"]", s.port[1]);
        step_challenge(&s);
        step(&s, 1, TOKEN_PATH, "Authorization: Basic dTpw\r\n", NULL,
             document("{\"token\":\"T\"}", "application/json"));
        step(&s, 0, REPOSITORY "manifests/1", "Authorization: Bearer T\r\n", NULL, challenge(&s));
        pull_fails(&s, hosts, CREDENTIALS, STORE_FAIL_DENIED, "does not let the holder");
}

static void test_redirect(void) {
        g_autofree char *to = NULL;
        Server s;

        server_start(&s);
        to = g_strdup_printf("Location: http://127.0.0.1:%u/elsewhere\r\n", s.port[1]);
        step(&s, 0, REPOSITORY "manifests/1", NULL, "Authorization:", answer("401 Who", BASIC, "", 0, 0));
        step_manifest(&s, "Authorization: Basic dTpw\r\n");
        step_config(&s);
        step_layer(&s, "Authorization: Basic dTpw\r\n", answer("307 There", to, "", 0, 0));
        step(&s, 1, "/elsewhere", NULL, "Authorization:", whole_layer());
        pull_works(&s, "", CREDENTIALS, TRUE);

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, answer("302 There", "Location: file:///etc/x\r\n", "", 0, 0));
        pull_fails(&s, "", NULL, STORE_FAIL_INVALID, "no URL");
}

static void test_digest_only(void) {
        g_autofree char *index =
                g_strdup_printf("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MEDIA_OCI_MANIFEST
                                "\",\"digest\":\"%s\",\"size\":5,\"platform\":{\"os\":\"linux\","
                                "\"architecture\":\"s390x\"}},{\"mediaType\":\"" MEDIA_OCI_MANIFEST
                                "\",\"digest\":\"%s\",\"size\":%zu,\"platform\":{\"os\":\"linux\","
                                "\"architecture\":\"amd64\"}}]}",
                                sample.config_digest, sample.manifest_digest, strlen(sample.manifest));
        g_autoptr(JsonNode) result = NULL;
        g_autoptr(GError) error = NULL;
        char digest[DIGEST_STRING];
        JsonObject *o;
        Server s;

        digest_of(index, strlen(index), digest);
        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, document(index, MEDIA_OCI_INDEX));
        result = pull(&s, ",\"digest_only\":true", NULL, NULL, &error);
        server_end(&s);
        g_assert_no_error(error);
        o = json_node_get_object(result);
        g_assert_cmpstr(json_object_get_string_member(o, "digest"), ==, digest);
        g_assert_cmpstr(json_object_get_string_member(o, "manifest"), ==, sample.manifest_digest);
        g_assert_cmpstr(json_object_get_string_member(o, "media_type"), ==, MEDIA_OCI_INDEX);

        server_start(&s);
        step(&s, 0, REPOSITORY "manifests/1", NULL, NULL, document(index, MEDIA_OCI_INDEX));
        pull_fails(&s, ",\"digest_only\":true,\"platform\":\"linux/arm64\"", NULL, STORE_FAIL_NOT_FOUND, "linux/s390x");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        /* A proxy of whoever runs this is none of loopback's. */
        g_unsetenv("http_proxy");
        g_unsetenv("all_proxy");
        g_unsetenv("ALL_PROXY");
        make_sample();
        g_test_add_func("/registry/whole", test_whole);
        g_test_add_func("/registry/layer-that-is-here", test_layer_that_is_here);
        g_test_add_func("/registry/cut-off", test_cut_off);
        g_test_add_func("/registry/wrong-bytes", test_wrong_bytes);
        g_test_add_func("/registry/ambiguous", test_ambiguous);
        g_test_add_func("/registry/tries", test_tries);
        g_test_add_func("/registry/emptiness", test_emptiness);
        g_test_add_func("/registry/speed", test_speed);
        g_test_add_func("/registry/waits", test_waits);
        g_test_add_func("/registry/encodings", test_encodings);
        g_test_add_func("/registry/documents", test_documents);
        g_test_add_func("/registry/slow-reader", test_slow_reader);
        g_test_add_func("/registry/token", test_token);
        g_test_add_func("/registry/refused", test_refused);
        g_test_add_func("/registry/redirect", test_redirect);
        g_test_add_func("/registry/digest-only", test_digest_only);
        return g_test_run();
}
