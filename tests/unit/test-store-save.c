/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Parts of saving and composing that need no store: outputs and their patience, compression, archives as they are
 * written, platforms, changes of a configuration. Everything here is made by the test and goes with it.
 */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/archive-write.h"
#include "store/changes.h"
#include "store/error.h"
#include "store/json.h"
#include "store/output.h"
#include "store/platform.h"
#include "store/tar.h"

typedef struct {
        StoreJob job;
        char *directory;
        int fd;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        g_autoptr(GError) error = NULL;

        f->directory = g_dir_make_tmp("davit-save-XXXXXX", &error);
        g_assert_no_error(error);
        f->fd = open(f->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_assert_cmpint(f->fd, >=, 0);
        g_assert_true(store_job_init(&f->job, &error));
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        static const char *const names[] = { "blobs/sha256/a", "oci-layout", "x" };

        for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
                (void)unlinkat(f->fd, names[i], 0);
        (void)unlinkat(f->fd, "blobs/sha256", AT_REMOVEDIR);
        (void)unlinkat(f->fd, "blobs", AT_REMOVEDIR);
        g_assert_cmpint(rmdir(f->directory), ==, 0);
        (void)close(f->fd);
        g_free(f->directory);
        store_job_done(&f->job);
}

/* A pipe or socket whose reader does nothing: the writer gives up, and leaves the description's flags alone. */
static void stall(Fixture *f, int read_fd, int write_fd) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Output) o = output_new(&f->job, write_fd, 100, &error);
        g_autofree guint8 *data = g_malloc0(8 << 20);
        gint64 begun = g_get_monotonic_time();

        g_assert_no_error(error);
        g_assert_false(output_write(o, data, 8 << 20, &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_EXHAUSTED);
        g_assert_cmpint(g_get_monotonic_time() - begun, >=, 90000);
        g_assert_cmpuint(output_size(o), <, 8 << 20);
        g_assert_cmpint(fcntl(write_fd, F_GETFL) & O_NONBLOCK, ==, 0);
        (void)close(read_fd);
        (void)close(write_fd);
}

static void test_stalled(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        int fds[2];

        g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
        stall(f, fds[0], fds[1]);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
        stall(f, fds[0], fds[1]);
}

static void test_cancelled(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        g_autofree guint8 *zeros = g_malloc0(8 << 20);
        g_autoptr(GError) error = NULL;
        g_autoptr(Output) o = NULL;
        int fds[2];

        g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
        o = output_new(&f->job, fds[1], 60000, &error);
        g_assert_no_error(error);
        store_job_cancel(&f->job);
        g_assert_false(output_write(o, zeros, 8 << 20, &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_CANCELLED);
        (void)close(fds[0]);
        (void)close(fds[1]);
}

static void test_gone(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        int fds[2];

        for (int i = 0; i < 2; i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(Output) o = NULL;

                g_assert_cmpint(i ? pipe2(fds, O_CLOEXEC) : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==,
                                0);
                (void)close(fds[0]);
                o = output_new(&f->job, fds[1], 60000, &error);
                g_assert_no_error(error);
                g_assert_false(output_write(o, "x", 1, &error));
                g_assert_error(error, STORE_FAIL, STORE_FAIL_CANCELLED);
                (void)close(fds[1]);
        }
}

static void test_not_for_writing(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        g_autoptr(GError) error = NULL;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        g_assert_null(output_new(&f->job, fd, 100, &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_INVALID);
        (void)close(fd);
        g_clear_error(&error);
        g_assert_null(output_new(&f->job, f->fd, 100, &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_INVALID);
}

/* A source that gives its data in small, odd pieces. */
typedef struct {
        Stream base;
        const guint8 *data;
        gsize left;
        gsize most;
} Pieces;

static gssize pieces_read(Stream *s, void *buffer, gsize size, GError **error G_GNUC_UNUSED) {
        Pieces *p = (Pieces *)s;
        gsize n = MIN(MIN(size, p->left), p->most);

        memcpy(buffer, p->data, n);
        p->data += n;
        p->left -= n;
        return (gssize)n;
}

static Stream *pieces_new(const guint8 *data, gsize size, gsize most) {
        Pieces *p = g_new0(Pieces, 1);

        p->base.read = pieces_read;
        p->data = data;
        p->left = size;
        p->most = most;
        return &p->base;
}

/* The same bytes whatever pieces they come in, and what went in comes out. */
static void test_deflate(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        static const Compression kinds[] = { COMPRESSION_GZIP, COMPRESSION_ZSTD };
        static const gsize sizes[] = { 0, 1, 70000, 400001 };
        static const gsize pieces[] = { 1000003, 1000, 4097 };
        g_autofree guint8 *in = g_malloc(400001), *first = g_malloc(500000), *again = g_malloc(500000);

        for (gsize i = 0; i < 400001; i++)
                in[i] = (guint8)(i % 7 == 0 ? g_random_int() : i >> 8);
        for (gsize k = 0; k < G_N_ELEMENTS(kinds); k++)
                for (gsize s = 0; s < G_N_ELEMENTS(sizes); s++) {
                        gssize size = -1;

                        for (gsize p = 0; p < G_N_ELEMENTS(pieces); p++) {
                                g_autoptr(Stream) d = stream_new_deflate(pieces_new(in, sizes[s], pieces[p]), kinds[k]);
                                gssize n = stream_read_full(d, size < 0 ? first : again, 500000, NULL);

                                if (size >= 0)
                                        g_assert_cmpmem(again, n, first, size);
                                size = n;
                        }
                        g_autoptr(Stream) back =
                                stream_new_inflate(stream_new_memory(first, (gsize)size), &f->job, NULL);

                        g_assert_cmpmem(again, stream_read_full(back, again, 500000, NULL), in, sizes[s]);
                }
}

static void test_directory(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        g_autoptr(GError) error = NULL;
        struct stat st;

        for (int whole = 0; whole < 2; whole++) {
                g_autoptr(ArchiveWriter) w = archive_writer_new_directory(&f->job, f->fd, &error);

                g_assert_no_error(error);
                g_assert_true(archive_writer_mkdir(w, "blobs", &error));
                g_assert_true(archive_writer_mkdir(w, "blobs/sha256", &error));
                g_assert_true(archive_writer_bytes(w, "blobs/sha256/a", "data", 4, &error));
                g_assert_false(archive_writer_bytes(w, "blobs/sha256/a", "more", 4, &error));
                g_clear_error(&error);
                g_assert_false(archive_writer_bytes(w, "../x", "", 0, &error));
                g_clear_error(&error);
                if (whole)
                        g_assert_true(archive_writer_finish(w, &error));
                archive_writer_free(g_steal_pointer(&w));
                g_assert_cmpint(fstatat(f->fd, "blobs", &st, 0), ==, whole ? 0 : -1);
        }
        g_assert_null(archive_writer_new_directory(&f->job, f->fd, &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_INVALID);
}

/* A link in the way is not followed. */
static void test_directory_link(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        g_autoptr(ArchiveWriter) w = archive_writer_new_directory(&f->job, f->fd, NULL);
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(symlinkat("/tmp", f->fd, "x"), ==, 0);
        g_assert_false(archive_writer_bytes(w, "x/davit-test-file", "", 0, &error));
        g_assert_nonnull(error);
        g_assert_cmpint(access("/tmp/davit-test-file", F_OK), ==, -1);
}

static void test_platforms(void) {
        static const struct {
                const char *wanted;
                const char *offered;
                guint score;
        } rows[] = {
                { "linux/amd64", "linux/amd64", 2 },
                { "linux/amd64", "linux/amd64/v2", 0 },
                { "linux/amd64/v3", "linux/amd64/v2", 3 },
                { "linux/x86_64", "linux/amd64/v1", 2 },
                { "linux/arm", "linux/arm/v6", 7 },
                { "linux/arm/v6", "linux/arm/v7", 0 },
                { "linux/arm/v6", "linux/arm", 0 },
                { "linux/armhf", "linux/arm", 8 },
                { "linux/arm64", "linux/arm64/v8", 9 },
                { "linux/arm64", "linux/arm/v8", 0 },
                { "linux/amd64", "windows/amd64", 0 },
                { "linux/ppc64le/power9", "linux/ppc64le/power9", 100 },
                { "linux/ppc64le/power9", "linux/ppc64le", 0 },
        };
        static const char *const bad[] = {
                "", "linux", "linux/", "/amd64", "a/b/c/d", "Linux/amd64", "linux/amd64/../x"
        };

        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_auto(Platform) wanted = { NULL }, offered = { NULL };

                g_assert_true(platform_parse(rows[i].wanted, &wanted, NULL));
                g_assert_true(platform_parse(rows[i].offered, &offered, NULL));
                g_assert_cmpuint(platform_score(&wanted, &offered), ==, rows[i].score);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_auto(Platform) p = { NULL };

                g_assert_false(platform_parse(bad[i], &p, NULL));
        }
}

static void test_words(void) {
        static const struct {
                const char *text;
                const char *words; /* joined by '|'; NULL: refused */
        } rows[] = {
                { "", "" },
                { "a  b\tc", "a|b|c" },
                { "'a b' \"c d\"e", "a b|c de" },
                { "a\\ b \\\"", "a b|\"" },
                { "$A ${A}x '$A' \"$A\" \\$A", "1|1x|$A|1|$A" },
                { "$NONE- $ ${ ${A", "-|$|${|${A" },
                { "\"a\\b\\\"\" 'a\\b'", "a\\b\"|a\\b" },
                { "'open", NULL },
                { "\"open", NULL },
                { "\\", "\\" },
        };
        static const char config[] = "{\"Env\":[\"A=1\",\"AB=2\"]}";
        g_autoptr(JsonNode) root = json_parse(config, strlen(config), "test", NULL);

        g_assert_nonnull(root);
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_auto(GStrv) words = changes_words(rows[i].text, json_node_get_object(root), NULL);
                g_autofree char *joined = words ? g_strjoinv("|", words) : NULL;

                g_assert_cmpstr(joined, ==, rows[i].words);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        (void)signal(SIGPIPE, SIG_IGN); /* as main() does */
        g_test_add("/store/output/stalled", Fixture, NULL, set_up, test_stalled, tear_down);
        g_test_add("/store/output/cancelled", Fixture, NULL, set_up, test_cancelled, tear_down);
        g_test_add("/store/output/gone", Fixture, NULL, set_up, test_gone, tear_down);
        g_test_add("/store/output/not-for-writing", Fixture, NULL, set_up, test_not_for_writing, tear_down);
        g_test_add("/store/deflate", Fixture, NULL, set_up, test_deflate, tear_down);
        g_test_add("/store/archive-write/directory", Fixture, NULL, set_up, test_directory, tear_down);
        g_test_add("/store/archive-write/link", Fixture, NULL, set_up, test_directory_link, tear_down);
        g_test_add_func("/store/platform", test_platforms);
        g_test_add_func("/store/changes/words", test_words);
        return g_test_run();
}
