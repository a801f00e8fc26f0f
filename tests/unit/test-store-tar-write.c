/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unit tests of the tar writer: whatever it writes the tar reader has to read back field by field, names, times and
 * attributes that no plain header can hold included, and the same entries have to give the same bytes.
 */

#include "store/tar-write.h"

#include <string.h>

#include "store/error.h"

typedef struct {
        const TarEntry *entries;
        const char *const *data;
        guint n;
        guint at;
} Source;

static int source_next(void *userdata, const TarEntry **ret, Stream **ret_data, GError **error G_GNUC_UNUSED) {
        Source *s = userdata;

        if (s->at == s->n)
                return 0;
        *ret = &s->entries[s->at];
        if (s->data && s->data[s->at])
                *ret_data = stream_new_memory(s->data[s->at], strlen(s->data[s->at]));
        s->at++;
        return 1;
}

static GByteArray *write_all(const TarEntry *entries, const char *const *data, guint n, GError **error) {
        Source source = { entries, data, n, 0 };
        g_autoptr(Stream) s = tar_write_stream(source_next, &source);
        g_autoptr(GByteArray) out = g_byte_array_new();
        guint8 buffer[333];
        gssize got;

        while ((got = stream_read(s, buffer, sizeof(buffer), error)) > 0)
                g_byte_array_append(out, buffer, (guint)got);
        return got < 0 ? NULL : g_steal_pointer(&out);
}

static void check_same(const TarEntry *want, const TarEntry *got, const char *path) {
        g_assert_cmpint(got->type, ==, want->type);
        g_assert_cmpstr(got->path, ==, path);
        g_assert_cmpstr(got->link, ==, want->link ? want->link : "");
        g_assert_cmpuint(got->mode, ==, want->mode);
        g_assert_cmpuint(got->uid, ==, want->uid);
        g_assert_cmpuint(got->gid, ==, want->gid);
        g_assert_cmpint(got->mtime, ==, want->mtime);
        g_assert_cmpuint(got->mtime_nsec, ==, want->mtime_nsec);
        g_assert_cmpuint(got->major, ==, want->major);
        g_assert_cmpuint(got->minor, ==, want->minor);
        g_assert_cmpuint(got->size, ==, want->type == TAR_FILE ? want->size : 0);
        if (want->xattrs)
                g_assert_cmpvariant(got->xattrs, want->xattrs);
        else
                g_assert_null(got->xattrs);
}

static void round_trip(const TarEntry *entries, const char *const *data, guint n) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GByteArray) one = write_all(entries, data, n, &error), two = write_all(entries, data, n, NULL);
        g_autoptr(Stream) s = NULL;
        g_autoptr(TarReader) r = NULL;
        StoreLimits limits;
        const TarEntry *e;

        g_assert_no_error(error);
        g_assert_cmpmem(one->data, one->len, two->data, two->len);
        store_limits_init(&limits);
        s = stream_new_memory(one->data, one->len);
        r = tar_reader_new(s, &limits);
        for (guint i = 0; i < n; i++) {
                g_autofree char *path = entries[i].type == TAR_DIRECTORY ? g_strconcat(entries[i].path, "/", NULL)
                                                                         : g_strdup(entries[i].path);
                char buffer[2048] = "";

                g_assert_cmpint(tar_reader_next(r, &e, &error), ==, 1);
                check_same(&entries[i], e, path);
                if (data && data[i]) {
                        g_assert_cmpint(tar_reader_data(r, buffer, sizeof(buffer), &error), ==, (gssize)e->size);
                        g_assert_cmpstr(buffer, ==, data[i]);
                }
        }
        g_assert_cmpint(tar_reader_next(r, &e, &error), ==, 0);
        g_assert_no_error(error);
        g_assert_true(tar_reader_marked(r));
}

static void one(TarEntry e) {
        round_trip(&e, NULL, 1);
}

/* @n bytes of path, a slash after every @step */
static char *long_path(gsize n, gsize step) {
        char *path = g_malloc(n + 1);

        for (gsize i = 0; i < n; i++)
                path[i] = step && i % step == step - 1 && i + 1 < n ? '/' : 'a';
        path[n] = '\0';
        return path;
}

static void test_types(void) {
        const TarEntry entries[] = {
                { .type = TAR_DIRECTORY, .path = (char *)"d", .mode = 01777, .mtime = 1 },
                { .type = TAR_FILE, .path = (char *)"d/f", .mode = 06755, .uid = 7, .gid = 8, .size = 5, .mtime = 2 },
                { .type = TAR_HARDLINK, .path = (char *)"h", .link = (char *)"d/f" },
                { .type = TAR_SYMLINK, .path = (char *)"s", .link = (char *)"../x", .mode = 0777 },
                { .type = TAR_CHAR, .path = (char *)"c", .mode = 0600, .major = 4095, .minor = 1048575 },
                { .type = TAR_BLOCK_DEVICE, .path = (char *)"b", .mode = 0600, .major = 8, .minor = 1 },
                { .type = TAR_FIFO, .path = (char *)"p", .mode = 0640 },
                { .type = TAR_FILE, .path = (char *)"empty", .mode = 0 },
                { .type = TAR_FILE, .path = (char *)"block", .mode = 0644, .size = 512 },
        };
        g_autofree char *block = g_strnfill(512, 'x');
        const char *data[] = { NULL, "hello", NULL, NULL, NULL, NULL, NULL, NULL, block };

        round_trip(entries, data, G_N_ELEMENTS(entries));
        round_trip(NULL, NULL, 0);
}

static void test_paths(void) {
        static const char *const odd[] = { "a b\nc", "\xc3\xa4/\xe6\x97\xa5", "bad\xff\xfe", "=", "42 x=y\n" };

        for (gsize n = 95; n < 110; n++)
                for (gsize step = 0; step < 60; step += 20) {
                        g_autofree char *path = long_path(n, step);

                        one((TarEntry){ .type = TAR_FIFO, .path = path });
                        one((TarEntry){ .type = TAR_DIRECTORY, .path = path });
                        one((TarEntry){ .type = TAR_SYMLINK, .path = (char *)"s", .link = path, .mode = 0777 });
                }
        for (gsize n = 250; n < 265; n++) {
                g_autofree char *path = long_path(n, 101), *name = long_path(n, 0);

                one((TarEntry){ .type = TAR_FIFO, .path = path });
                one((TarEntry){ .type = TAR_FIFO, .path = name });
                path[n - 1] = (char)0xff;
                one((TarEntry){ .type = TAR_HARDLINK, .path = path, .link = path });
        }
        for (guint i = 0; i < G_N_ELEMENTS(odd); i++)
                one((TarEntry){ .type = TAR_SYMLINK, .path = (char *)odd[i], .link = (char *)odd[i] });
}

static void test_numbers(void) {
        static const gint64 times[] = { 0, 1, 8589934591, 8589934592, 15032385535, -1, -2, G_MININT32 };
        static const guint32 nsecs[] = { 0, 1, 250000000, 999999999 };
        static const guint32 ids[] = { 0, 2097151, 2097152, 65534, G_MAXUINT32 - 1 };

        for (guint t = 0; t < G_N_ELEMENTS(times); t++)
                for (guint n = 0; n < G_N_ELEMENTS(nsecs); n++)
                        one((TarEntry){
                                .type = TAR_FIFO, .path = (char *)"p", .mtime = times[t], .mtime_nsec = nsecs[n] });
        for (guint i = 0; i < G_N_ELEMENTS(ids); i++)
                one((TarEntry){ .type = TAR_FIFO, .path = (char *)"p", .uid = ids[i], .gid = ids[i] });
}

/* A size that no header holds: only the headers are written, the data would be 8 GiB. */
static void test_large(void) {
        g_autoptr(GByteArray) out = g_byte_array_new();
        TarEntry large = { .type = TAR_FILE, .path = (char *)"f", .size = (guint64)8 << 30 };
        g_autoptr(GError) error = NULL;
        g_autoptr(Stream) s = NULL;
        g_autoptr(TarReader) r = NULL;
        const TarEntry *e;
        StoreLimits limits;

        g_assert_true(tar_write_header(out, &large, &error));
        store_limits_init(&limits);
        s = stream_new_memory(out->data, out->len);
        r = tar_reader_new(s, &limits);
        g_assert_cmpint(tar_reader_next(r, &e, &error), ==, 1);
        g_assert_cmpuint(e->size, ==, large.size);
}

static GVariant *attribute(const char *name, const void *value, gsize size) {
        GVariantBuilder b;

        g_variant_builder_init(&b, G_VARIANT_TYPE("a(ayay)"));
        g_variant_builder_add(&b, "(@ay@ay)", g_variant_new_bytestring(name),
                              g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, value, size, 1));
        return g_variant_ref_sink(g_variant_builder_end(&b));
}

static void test_xattrs(void) {
        static const char *const names[] = { "user.a", "user.a=b", "user.\xc3\xa4", "security.capability" };
        static const char value[] = "\0\n=\xff value";

        for (guint i = 0; i < G_N_ELEMENTS(names); i++)
                for (gsize size = 0; size <= sizeof(value); size++) {
                        g_autoptr(GVariant) xattrs = attribute(names[i], value, size);

                        one((TarEntry){ .type = TAR_FILE, .path = (char *)"f", .xattrs = xattrs });
                }
        for (gsize size = 60; size < 130; size++) {
                g_autofree char *filler = g_strnfill(size, 'v');
                g_autoptr(GVariant) xattrs = attribute("user.a", filler, size);

                one((TarEntry){ .type = TAR_FILE, .path = (char *)"f", .xattrs = xattrs });
        }
}

static void refuse(TarEntry e, const char *data) {
        g_autoptr(GError) error = NULL;

        g_assert_null(write_all(&e, &data, 1, &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_INTERNAL);
}

static void test_refusals(void) {
        refuse((TarEntry){ .type = TAR_FILE, .path = (char *)"f", .size = 5 }, "four");
        refuse((TarEntry){ .type = TAR_FILE, .path = (char *)"f", .size = 3 }, "four");
        refuse((TarEntry){ .type = TAR_FILE, .path = (char *)"f", .size = 3 }, NULL);
        refuse((TarEntry){ .type = TAR_FILE, .path = (char *)"" }, NULL);
        refuse((TarEntry){ .type = 'x', .path = (char *)"f" }, NULL);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/tar-write/types", test_types);
        g_test_add_func("/store/tar-write/paths", test_paths);
        g_test_add_func("/store/tar-write/numbers", test_numbers);
        g_test_add_func("/store/tar-write/large", test_large);
        g_test_add_func("/store/tar-write/xattrs", test_xattrs);
        g_test_add_func("/store/tar-write/refusals", test_refusals);
        return g_test_run();
}
