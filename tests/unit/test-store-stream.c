/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unit tests of streams: decompression at every border, endings that are too early or too late, limits, reading ahead.
 */

#include "store/stream.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "store/error.h"

/* A source that gives few bytes at a time. */
typedef struct {
        Stream base;
        const guint8 *data;
        gsize size;
        gsize at;
        gsize most;
} Drip;

static gssize drip_read(Stream *s, void *buffer, gsize size, GError **error G_GNUC_UNUSED) {
        Drip *d = (Drip *)s;

        size = MIN(MIN(size, d->most), d->size - d->at);
        if (size > 0)
                memcpy(buffer, d->data + d->at, size);
        d->at += size;
        return (gssize)size;
}

static Stream *drip(const GByteArray *data, gsize most) {
        Drip *d = g_new0(Drip, 1);

        d->base.read = drip_read;
        d->data = data->data;
        d->size = data->len;
        d->most = most;
        return &d->base;
}

static void add_gzip(GByteArray *out, const void *data, gsize size) {
        guint8 buffer[65536];
        z_stream z = {
                .next_in = (Bytef *)data, .avail_in = (uInt)size, .next_out = buffer, .avail_out = sizeof(buffer)
        };

        g_assert_cmpint(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), ==, Z_OK);
        g_assert_cmpint(deflate(&z, Z_FINISH), ==, Z_STREAM_END);
        g_byte_array_append(out, buffer, (guint)(sizeof(buffer) - z.avail_out));
        (void)deflateEnd(&z);
}

static void add_zstd(GByteArray *out, const void *data, gsize size) {
        guint8 buffer[65536];

        g_byte_array_append(out, buffer, (guint)ZSTD_compress(buffer, sizeof(buffer), data, size, 1));
}

static void fill(guint8 *data, gsize size) {
        for (gsize i = 0; i < size; i++)
                data[i] = (guint8)(i * i >> 3);
}

static gssize inflate_all(const GByteArray *in, gsize most, guint8 *out, gsize size, GError **error) {
        g_autoptr(Stream) s = NULL;
        StoreJob job;
        gssize n = -1;

        g_assert_true(store_job_init(&job, NULL));
        s = stream_new_inflate(drip(in, most), &job, error);
        if (s)
                n = stream_read_full(s, out, size, error);
        store_job_done(&job);
        return n;
}

static void check(const GByteArray *in, gsize most, const guint8 *data, gsize size) {
        g_autofree guint8 *out = g_malloc(size + 1);
        g_autoptr(GError) error = NULL;
        gssize n = inflate_all(in, most, out, size + 1, &error);

        g_assert_no_error(error);
        g_assert_cmpmem(out, (gsize)n, data, size);
}

static void test_members(void) {
        guint8 data[3000];

        fill(data, sizeof(data));
        for (gsize at = 0; at < sizeof(data); at += 37) {
                g_autoptr(GByteArray) gz = g_byte_array_new(), zs = g_byte_array_new();

                add_gzip(gz, data, at);
                add_gzip(gz, data + at, sizeof(data) - at);
                add_zstd(zs, data, at);
                add_zstd(zs, data + at, sizeof(data) - at);
                /* Inflating reads blocks of 128 KiB: a member's end also meets the end of what has been read. */
                check(gz, G_MAXSIZE, data, sizeof(data));
                check(gz, 5 + at % 11, data, sizeof(data));
                check(zs, 3 + at % 7, data, sizeof(data));
        }
}

/* Many members across many input buffers, so that borders fall everywhere. */
static void test_many_members(void) {
        g_autoptr(GByteArray) gz = g_byte_array_new(), plain = g_byte_array_new();
        g_autoptr(GRand) random = g_rand_new_with_seed(3);

        while (gz->len < 700000) {
                guint8 data[400];
                guint size = (guint)g_rand_int_range(random, 0, sizeof(data));

                for (guint i = 0; i < size; i++)
                        data[i] = (guint8)g_rand_int(random);
                add_gzip(gz, data, size);
                g_byte_array_append(plain, data, size);
        }
        check(gz, G_MAXSIZE, plain->data, plain->len);
        check(gz, 100003, plain->data, plain->len);
}

static void test_plain(void) {
        g_autoptr(GByteArray) in = g_byte_array_new();

        check(in, 1, (const guint8 *)"", 0);
        g_byte_array_append(in, (const guint8 *)"text", 4);
        check(in, 1, (const guint8 *)"text", 4);
}

static void refuse(const GByteArray *in, StoreFail code) {
        g_autoptr(GError) error = NULL;
        guint8 out[8192];

        g_assert_cmpint(inflate_all(in, 1000, out, sizeof(out), &error), ==, -1);
        g_assert_error(error, STORE_FAIL, (int)code);
}

static void test_endings(void) {
        g_autoptr(GByteArray) gz = g_byte_array_new(), zs = g_byte_array_new();
        guint8 data[2000];

        fill(data, sizeof(data));
        add_gzip(gz, data, sizeof(data));
        add_zstd(zs, data, sizeof(data));
        for (guint size = 4; size < zs->len; size += 3) {
                g_autoptr(GByteArray) a = g_byte_array_new(), b = g_byte_array_new();

                g_byte_array_append(a, gz->data, MIN(size, gz->len - 1));
                g_byte_array_append(b, zs->data, size);
                refuse(a, STORE_FAIL_INVALID);
                refuse(b, STORE_FAIL_INVALID);
        }
        gz->data[gz->len - 6] ^= 1; /* its checksum */
        refuse(gz, STORE_FAIL_INVALID);
        gz->data[gz->len - 6] ^= 1;
        g_byte_array_append(gz, (const guint8 *)"\0", 1);
        refuse(gz, STORE_FAIL_INVALID);
        g_byte_array_append(zs, (const guint8 *)"junk", 4);
        refuse(zs, STORE_FAIL_INVALID);
}

static void test_limits(void) {
        g_autoptr(GByteArray) zs = g_byte_array_new();
        g_autofree guint8 *zeros = g_malloc0(1 << 20);
        const char *const names[] = { "bytes", "ratio" };

        add_zstd(zs, zeros, 1 << 20);
        for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(Stream) s = NULL;
                StoreJob job;

                g_assert_true(store_job_init(&job, NULL));
                g_assert_true(store_limits_set(&job.limits, "ratio_floor", 1000, NULL));
                g_assert_true(store_limits_set(&job.limits, names[i], 100, NULL));
                s = stream_new_inflate(drip(zs, 1000), &job, NULL);
                g_assert_false(stream_drain(s, &error));
                g_assert_error(error, STORE_FAIL, STORE_FAIL_EXHAUSTED);
                store_job_done(&job);
        }
}

static void test_ahead(void) {
        g_autoptr(GByteArray) in = g_byte_array_new();
        g_autofree guint8 *out = NULL;
        g_autoptr(GError) error = NULL;
        Stream *s;

        g_byte_array_set_size(in, 3000000);
        fill(in->data, in->len);
        out = g_malloc(in->len + 1);
        s = stream_new_ahead(drip(in, 70001));
        g_assert_cmpint(stream_read_full(s, out, in->len + 1, &error), ==, (gssize)in->len);
        g_assert_cmpmem(out, in->len, in->data, in->len);
        g_assert_cmpint(stream_read(s, out, 1, &error), ==, 0);
        stream_free(s);
        /* Left in the middle, it stops. */
        s = stream_new_ahead(drip(in, 10));
        g_assert_cmpint(stream_read_full(s, out, 100, &error), ==, 100);
        stream_free(s);
        g_assert_no_error(error);
}

static void test_digest(void) {
        g_auto(Digest) d = { NULL };
        g_autoptr(Stream) s = NULL;
        guint8 sum[DIGEST_SIZE];
        char text[DIGEST_STRING];
        guint64 n = 0;

        digest_init(&d);
        s = stream_new_digest(stream_new_prefixed(stream_new_memory("c", 1), "ab", 2), &d, &n);
        g_assert_true(stream_drain(s, NULL));
        digest_final(&d, sum);
        digest_string(sum, text);
        /* FIPS 180-2, appendix B.1 */
        g_assert_cmpstr(text, ==, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        g_assert_cmpuint(n, ==, 3);
}

static void test_digest_strings(void) {
        static const char *const bad[] = { "", "sha256:", "sha256:../../etc/passwd",
                                           "SHA256:", "md5:0123456789abcdef0123456789abcdef" };
        g_autofree char *good =
                g_strconcat("sha256:", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", NULL);
        guint8 sum[DIGEST_SIZE];

        g_assert_true(digest_parse(good, sum, NULL));
        g_assert_cmpint(sum[1], ==, 0x23);
        for (guint i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_false(digest_parse(bad[i], sum, NULL));
        for (guint i = 7; good[i]; i++) {
                char c = good[i];

                good[i] = i % 2 ? 'G' : '/';
                g_assert_false(digest_parse(good, sum, NULL));
                good[i] = c;
        }
        good[70] = '\0';
        g_assert_false(digest_parse(good, sum, NULL));
        g_assert_false(digest_parse(NULL, sum, NULL));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/stream/members", test_members);
        g_test_add_func("/store/stream/many-members", test_many_members);
        g_test_add_func("/store/stream/plain", test_plain);
        g_test_add_func("/store/stream/endings", test_endings);
        g_test_add_func("/store/stream/limits", test_limits);
        g_test_add_func("/store/stream/ahead", test_ahead);
        g_test_add_func("/store/stream/digest", test_digest);
        g_test_add_func("/store/digest/strings", test_digest_strings);
        return g_test_run();
}
